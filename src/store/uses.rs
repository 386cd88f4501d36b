//! When workspaces were last used, and at which port those listen that chose one themselves.

use std::num::NonZeroU16;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use tracing::warn;

use super::{Store, StoreError, decode, failed, integer, timestamp};
use crate::clock::Timestamp;
use crate::server_name::ServerName;
use crate::user::UserName;

/// The last use of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UseRow {
    /// Whose.
    pub owner: UserName,
    /// Which of theirs.
    pub server: ServerName,
    /// Which start of it.
    pub instance: String,
    /// When it was last used.
    pub used: Timestamp,
    /// Where it said that it listens; `None`: where it was told to.
    pub port: Option<NonZeroU16>,
}

impl Store {
    /// All that are kept. A row that cannot be read is skipped and logged, not an error.
    pub async fn uses(&self) -> Result<Vec<UseRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM uses").fetch_all(&*self.pool()).await;
        let rows = rows.map_err(failed("reading when servers were last used"))?;
        let read = |row: &SqliteRow| {
            use_row(row).inspect_err(|error| warn!(error = %error, "the last use of a server cannot be read"))
        };
        Ok(rows.iter().filter_map(|row| read(row).ok()).collect())
    }

    /// Keeps these, each in place of the workspace's last one, and forgets those of `over`.
    pub async fn keep_uses(
        &self,
        uses: &[UseRow],
        over: &[(UserName, ServerName)],
    ) -> Result<(), StoreError> {
        if uses.is_empty() && over.is_empty() {
            return Ok(());
        }
        let failed = failed("noting the use of servers");
        let mut transaction = self.pool().begin().await.map_err(failed)?;
        for row in uses {
            let keep =
                "INSERT OR REPLACE INTO uses (owner, server, instance, used, port) VALUES (?, ?, ?, ?, ?)";
            let keep = sqlx::query(keep).bind(row.owner.as_str()).bind(row.server.as_str());
            let keep = keep.bind(&row.instance).bind(integer(row.used)).bind(row.port.map(NonZeroU16::get));
            keep.execute(&mut *transaction).await.map_err(failed)?;
        }
        for (owner, server) in over {
            let forget = sqlx::query("DELETE FROM uses WHERE owner = ? AND server = ?");
            let forget = forget.bind(owner.as_str()).bind(server.as_str());
            forget.execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }
}

fn use_row(row: &SqliteRow) -> Result<UseRow, sqlx::Error> {
    let (owner, server): (String, String) = (row.try_get("owner")?, row.try_get("server")?);
    Ok(UseRow {
        owner: UserName::parse(&owner).map_err(decode)?,
        server: ServerName::parse(&server).map_err(decode)?,
        instance: row.try_get("instance")?,
        used: timestamp(row, "used")?,
        port: row.try_get::<Option<u16>, _>("port")?.and_then(NonZeroU16::new),
    })
}
