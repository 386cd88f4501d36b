//! API tokens as they are kept.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tracing::warn;

use super::{Store, StoreError, decode, failed, integer, timestamp};
use crate::clock::Timestamp;
use crate::user::UserName;

/// An API token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiTokenRow {
    /// What it is called in lists.
    pub id: [u8; 8],
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// Whose it is.
    pub owner: UserName,
    /// When it ends by itself.
    pub expires: Timestamp,
    /// When it was last used, to the minute.
    pub last_used: Option<Timestamp>,
    /// What it may do, and what its owner wrote about it, sealed.
    pub sealed: String,
}

impl Store {
    /// All API tokens, or one owner's. A row that cannot be read is skipped and logged, not an error.
    pub async fn api_tokens(&self, owner: Option<&UserName>) -> Result<Vec<ApiTokenRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM api_tokens WHERE ?1 IS NULL OR owner = ?1")
            .bind(owner.map(UserName::as_str))
            .fetch_all(&*self.pool())
            .await
            .map_err(failed("reading the API tokens"))?;
        let read = |row: &SqliteRow| {
            api_token(row).inspect_err(|error| warn!(error = %error, "an API token cannot be read"))
        };
        Ok(rows.iter().filter_map(|row| read(row).ok()).collect())
    }

    /// Keeps a new API token. Its owner must have been named: see [`Store::name_user`].
    pub async fn insert_api_token(&self, row: &ApiTokenRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO api_tokens (id, hash, owner, expires, last_used, sealed) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&row.id[..])
        .bind(&row.hash[..])
        .bind(row.owner.as_str())
        .bind(integer(row.expires))
        .bind(row.last_used.map(integer))
        .bind(&row.sealed)
        .execute(&*self.pool())
        .await
        .map_err(failed("keeping an API token"))?;
        Ok(())
    }

    /// Notes when API tokens were last used.
    pub async fn touch_api_tokens(&self, used: &[([u8; 8], Timestamp)]) -> Result<(), StoreError> {
        if used.is_empty() {
            return Ok(());
        }
        let failed = failed("noting the use of API tokens");
        let mut transaction = self.pool().begin().await.map_err(failed)?;
        for (id, when) in used {
            let touch = sqlx::query("UPDATE api_tokens SET last_used = ? WHERE id = ?");
            touch.bind(integer(*when)).bind(&id[..]).execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Forgets API tokens.
    pub async fn delete_api_tokens(&self, ids: &[[u8; 8]]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let failed = failed("forgetting API tokens");
        let mut transaction = self.pool().begin().await.map_err(failed)?;
        for id in ids {
            let delete = sqlx::query("DELETE FROM api_tokens WHERE id = ?");
            delete.bind(&id[..]).execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }
}

fn api_token(row: &SqliteRow) -> Result<ApiTokenRow, sqlx::Error> {
    let length = |_bytes| sqlx::Error::Decode("an id of another length".into());
    let last_used = row.try_get::<Option<i64>, _>("last_used")?;
    Ok(ApiTokenRow {
        id: row.try_get::<Vec<u8>, _>("id")?.try_into().map_err(length)?,
        hash: row.try_get::<Vec<u8>, _>("hash")?.try_into().map_err(length)?,
        owner: UserName::parse(row.try_get("owner")?).map_err(decode)?,
        expires: timestamp(row, "expires")?,
        last_used: last_used.map(Timestamp::try_from).transpose().map_err(decode)?,
        sealed: row.try_get("sealed")?,
    })
}
