//! Named workspaces as they are kept.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use tracing::warn;

use super::{Store, StoreError, decode, failed, integer};
use crate::clock::Timestamp;
use crate::server_name::ServerName;
use crate::user::UserName;

impl Store {
    /// All named workspaces, with their owners. A row that cannot be read is skipped and logged, not an error.
    pub async fn servers(&self) -> Result<Vec<(UserName, ServerName)>, StoreError> {
        let query = sqlx::query("SELECT owner, name FROM servers ORDER BY owner, name");
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
        name: &ServerName,
        created: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO servers (owner, name, created) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(owner.as_str())
            .bind(name.as_str())
            .bind(integer(created))
            .execute(&*self.pool())
            .await
            .map_err(failed("keeping a named server"))?;
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

fn server(row: &SqliteRow) -> Result<(UserName, ServerName), sqlx::Error> {
    let (owner, name): (String, String) = (row.try_get("owner")?, row.try_get("name")?);
    Ok((UserName::parse(&owner).map_err(decode)?, ServerName::parse(&name).map_err(decode)?))
}
