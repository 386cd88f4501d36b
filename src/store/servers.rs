//! Named workspaces as they are kept.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use tracing::warn;

use super::{Store, StoreError, decode, failed, integer};
use crate::clock::Timestamp;
use crate::server_name::ServerName;
use crate::user::UserName;

/// A named workspace as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerRow {
    /// Whose.
    pub owner: UserName,
    /// Which of theirs.
    pub name: ServerName,
    /// What people see it called, if not by its name.
    pub display_name: Option<String>,
}

impl Store {
    /// All named workspaces. A row that cannot be read is skipped and logged, not an error.
    pub async fn servers(&self) -> Result<Vec<ServerRow>, StoreError> {
        let query = sqlx::query("SELECT owner, name, display_name FROM servers ORDER BY owner, name");
        let rows = query.fetch_all(&*self.pool()).await.map_err(failed("reading the named servers"))?;
        let read = |row: &SqliteRow| {
            server(row).inspect_err(|error| warn!(error = %error, "a named server cannot be read"))
        };
        Ok(rows.iter().filter_map(|row| read(row).ok()).collect())
    }

    /// Keeps a named workspace. Its owner must have been named: see [`Store::name_user`].
    pub async fn insert_server(
        &self,
        owner: &UserName,
        (name, display_name): (&ServerName, Option<&str>),
        created: Timestamp,
    ) -> Result<(), StoreError> {
        let keep = "INSERT INTO servers (owner, name, created, display_name) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
        sqlx::query(keep)
            .bind(owner.as_str())
            .bind(name.as_str())
            .bind(integer(created))
            .bind(display_name)
            .execute(&*self.pool())
            .await
            .map_err(failed("keeping a named server"))?;
        Ok(())
    }

    /// Has a named workspace shown by another name. One that only the runtime knew is kept from now on, if its owner has been
    /// named.
    pub async fn show_server_as(
        &self,
        owner: &UserName,
        (name, display_name): (&ServerName, &str),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let keep = "INSERT INTO servers (owner, name, created, display_name) SELECT name, ?, ?, ? FROM users WHERE name = ? \
                    ON CONFLICT (owner, name) DO UPDATE SET display_name = excluded.display_name";
        sqlx::query(keep)
            .bind(name.as_str())
            .bind(integer(now))
            .bind(display_name)
            .bind(owner.as_str())
            .execute(&*self.pool())
            .await
            .map_err(failed("keeping what a server is called"))?;
        Ok(())
    }

    /// Forgets a named workspace.
    pub async fn delete_server(&self, owner: &UserName, name: &ServerName) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM servers WHERE owner = ? AND name = ?")
            .bind(owner.as_str())
            .bind(name.as_str())
            .execute(&*self.pool())
            .await
            .map_err(failed("forgetting a named server"))?;
        Ok(())
    }
}

fn server(row: &SqliteRow) -> Result<ServerRow, sqlx::Error> {
    let (owner, name): (String, String) = (row.try_get("owner")?, row.try_get("name")?);
    Ok(ServerRow {
        owner: UserName::parse(&owner).map_err(decode)?,
        name: ServerName::parse(&name).map_err(decode)?,
        display_name: row.try_get("display_name")?,
    })
}
