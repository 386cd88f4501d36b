//! Groups of the hub's own as they are kept.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use tracing::warn;

use super::{Store, StoreError, failed};

/// A group as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// The name.
    pub name: String,
    /// Who is in it, and what was noted of it, sealed.
    pub sealed: String,
}

impl Store {
    /// All groups. A row that cannot be read is skipped and logged, not an error.
    pub async fn own_groups(&self) -> Result<Vec<GroupRow>, StoreError> {
        let rows =
            sqlx::query("SELECT name, sealed FROM own_groups ORDER BY name").fetch_all(&*self.pool()).await;
        let read = |row: &SqliteRow| {
            let group = || Ok(GroupRow { name: row.try_get("name")?, sealed: row.try_get("sealed")? });
            group().inspect_err(|error: &sqlx::Error| warn!(error = %error, "a group cannot be read")).ok()
        };
        Ok(rows.map_err(failed("reading the groups"))?.iter().filter_map(read).collect())
    }

    /// Keeps groups as they are now: all of them, or none.
    pub async fn write_own_groups(&self, rows: &[GroupRow]) -> Result<(), StoreError> {
        let failed = failed("keeping groups");
        let mut transaction = self.pool().begin().await.map_err(failed)?;
        for row in rows {
            let keep = sqlx::query(
                "INSERT INTO own_groups (name, sealed) VALUES (?, ?) \
                 ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed",
            );
            keep.bind(&row.name).bind(&row.sealed).execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Forgets a group. Answers whether there was one.
    pub async fn delete_own_group(&self, name: &str) -> Result<bool, StoreError> {
        let delete = sqlx::query("DELETE FROM own_groups WHERE name = ?").bind(name);
        let deleted = delete.execute(&*self.pool()).await.map_err(failed("forgetting a group"))?;
        Ok(deleted.rows_affected() > 0)
    }
}
