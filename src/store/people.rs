//! What the provider last said of each person.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError, decode, failed, integer, timestamp};
use crate::clock::Timestamp;
use crate::user::UserName;

/// Somebody who has a name here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonRow {
    /// The name.
    pub name: UserName,
    /// The provider's issuer.
    pub issuer: String,
    /// The provider's `sub`.
    pub subject: String,
    /// Their first login.
    pub created: Timestamp,
}

impl Store {
    /// Keeps what the provider said of a person; of whoever has no name here, nothing.
    pub async fn keep_identity(&self, issuer: &str, subject: &str, sealed: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE users SET identity = ? WHERE issuer = ? AND subject = ?")
            .bind(sealed)
            .bind(issuer)
            .bind(subject)
            .execute(&*self.pool())
            .await
            .map_err(failed("keeping an identity"))?;
        Ok(())
    }

    /// What was kept of the person of this name.
    pub async fn identity(&self, name: &UserName) -> Result<Option<String>, StoreError> {
        let sealed: Option<Option<String>> = sqlx::query_scalar("SELECT identity FROM users WHERE name = ?")
            .bind(name.as_str())
            .fetch_optional(&*self.pool())
            .await
            .map_err(failed("looking an identity up"))?;
        Ok(sealed.flatten())
    }

    /// Whoever has this name here.
    pub async fn person(&self, name: &UserName) -> Result<Option<PersonRow>, StoreError> {
        let failed = failed("looking a user up");
        let query = sqlx::query("SELECT name, issuer, subject, created FROM users WHERE name = ?");
        let row = query.bind(name.as_str()).fetch_optional(&*self.pool()).await.map_err(failed)?;
        row.as_ref().map(person).transpose().map_err(failed)
    }

    /// What was kept of everybody, by name; a row that cannot be read is left out.
    pub async fn identities(&self) -> Result<Vec<(PersonRow, String)>, StoreError> {
        let query = sqlx::query(
            "SELECT name, issuer, subject, created, identity FROM users WHERE identity IS NOT NULL ORDER BY name",
        );
        let rows = query.fetch_all(&*self.pool()).await.map_err(failed("listing users"))?;
        let read = |row: &SqliteRow| Ok::<_, sqlx::Error>((person(row)?, row.try_get("identity")?));
        Ok(rows.iter().filter_map(|row| read(row).ok()).collect())
    }

    /// Everybody who has a name here, by name.
    pub async fn people(&self) -> Result<Vec<PersonRow>, StoreError> {
        let failed = failed("listing users");
        let query = sqlx::query("SELECT name, issuer, subject, created FROM users ORDER BY name");
        let rows = query.fetch_all(&*self.pool()).await.map_err(failed)?;
        rows.iter().map(person).collect::<Result<_, _>>().map_err(failed)
    }

    /// Keeps the names of people who are expected. Answers which of them nobody has yet, and nobody is expected by.
    pub async fn expect_users(
        &self,
        names: &[UserName],
        now: Timestamp,
    ) -> Result<Vec<UserName>, StoreError> {
        let failed = failed("expecting users");
        let mut transaction = self.pool().begin().await.map_err(failed)?;
        let mut new = Vec::new();
        for name in names {
            let expect = sqlx::query(
                "INSERT INTO awaited_users (name, created) SELECT ?1, ?2 \
                 WHERE NOT EXISTS (SELECT 1 FROM users WHERE name = ?1) ON CONFLICT DO NOTHING",
            );
            let expect = expect.bind(name.as_str()).bind(integer(now));
            if expect.execute(&mut *transaction).await.map_err(failed)?.rows_affected() > 0 {
                new.push(name.clone());
            }
        }
        transaction.commit().await.map_err(failed)?;
        Ok(new)
    }

    /// Everybody who is expected, and since when, by name.
    pub async fn expected_users(&self) -> Result<Vec<(UserName, Timestamp)>, StoreError> {
        let failed = failed("listing users");
        let query = sqlx::query("SELECT name, created FROM awaited_users ORDER BY name");
        let rows = query.fetch_all(&*self.pool()).await.map_err(failed)?;
        let read = |row: &SqliteRow| {
            let name: String = row.try_get("name")?;
            Ok((UserName::parse(&name).map_err(decode)?, timestamp(row, "created")?))
        };
        rows.iter().map(read).collect::<Result<_, _>>().map_err(failed)
    }

    /// How many are.
    pub async fn count_expected_users(&self) -> Result<usize, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM awaited_users")
            .fetch_one(&*self.pool())
            .await
            .map_err(failed("counting users"))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Since when a name is somebody's, or expected to be.
    pub async fn user_since(&self, name: &UserName) -> Result<Option<Timestamp>, StoreError> {
        let failed = failed("looking a user up");
        let query = sqlx::query(
            "SELECT created FROM users WHERE name = ?1 UNION ALL SELECT created FROM awaited_users WHERE name = ?1",
        );
        let row = query.bind(name.as_str()).fetch_optional(&*self.pool()).await.map_err(failed)?;
        row.map(|row| timestamp(&row, "created")).transpose().map_err(failed)
    }

    /// Forgets a user, and all that is theirs: sessions, API tokens, named servers, shares. The name is anybody's then.
    pub async fn forget_user(&self, name: &UserName) -> Result<(), StoreError> {
        let failed = failed("forgetting a user");
        let mut transaction = self.pool().begin().await.map_err(failed)?;
        for delete in ["DELETE FROM users WHERE name = ?", "DELETE FROM awaited_users WHERE name = ?"] {
            sqlx::query(delete).bind(name.as_str()).execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Whoever was known by the issuer `former` is known by `issuer` from now on, with the same `sub`. Answers how many.
    /// Who has come under both stays two.
    pub async fn rename_issuer(&self, former: &str, issuer: &str) -> Result<u64, StoreError> {
        let renamed = sqlx::query("UPDATE OR IGNORE users SET issuer = ? WHERE issuer = ?")
            .bind(issuer)
            .bind(former)
            .execute(&*self.pool())
            .await
            .map_err(failed("renaming an issuer"))?;
        Ok(renamed.rows_affected())
    }

    /// The name of the person `(issuer, subject)`, if they have one.
    pub async fn name_of(&self, issuer: &str, subject: &str) -> Result<Option<UserName>, StoreError> {
        let name: Option<String> =
            sqlx::query_scalar("SELECT name FROM users WHERE issuer = ? AND subject = ?")
                .bind(issuer)
                .bind(subject)
                .fetch_optional(&*self.pool())
                .await
                .map_err(failed("looking a user up"))?;
        let parse = |name: String| UserName::parse(&name);
        let unreadable = |error| failed("reading a user's name")(decode(error));
        name.map(parse).transpose().map_err(unreadable)
    }
}

fn person(row: &SqliteRow) -> Result<PersonRow, sqlx::Error> {
    let name: String = row.try_get("name")?;
    Ok(PersonRow {
        name: UserName::parse(&name).map_err(decode)?,
        issuer: row.try_get("issuer")?,
        subject: row.try_get("subject")?,
        created: timestamp(row, "created")?,
    })
}
