//! Shares and share codes as they are kept.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use tracing::warn;

use super::{Store, StoreError, decode, failed};
use crate::server_name::ServerName;
use crate::user::UserName;

/// A share as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRow {
    /// Which.
    pub id: [u8; 8],
    /// Whose workspace.
    pub owner: UserName,
    /// Which of theirs.
    pub server: ServerName,
    /// With whom, how much and until when, sealed.
    pub sealed: String,
}

/// A share code as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareCodeRow {
    /// What it is called in lists.
    pub id: [u8; 8],
    /// SHA-256 of the code.
    pub hash: [u8; 32],
    /// Whose workspace.
    pub owner: UserName,
    /// Which of theirs.
    pub server: ServerName,
    /// How much and until when, sealed.
    pub sealed: String,
}

/// What is new of shares and codes.
#[derive(Debug, Default)]
pub struct ShareNews {
    /// Shares as they are now.
    pub shares: Vec<ShareRow>,
    /// Shares that are no more.
    pub ended_shares: Vec<[u8; 8]>,
    /// Codes as they are now.
    pub codes: Vec<ShareCodeRow>,
    /// Codes that are no more.
    pub ended_codes: Vec<[u8; 8]>,
}

impl Store {
    /// All shares. A row that cannot be read is skipped and logged, not an error.
    pub async fn shares(&self) -> Result<Vec<ShareRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM shares").fetch_all(&*self.pool()).await;
        let read = |row: &SqliteRow| {
            share(row).inspect_err(|error| warn!(error = %error, "a share cannot be read")).ok()
        };
        Ok(rows.map_err(failed("reading the shares"))?.iter().filter_map(read).collect())
    }

    /// All share codes, likewise.
    pub async fn share_codes(&self) -> Result<Vec<ShareCodeRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM share_codes").fetch_all(&*self.pool()).await;
        let read = |row: &SqliteRow| {
            code(row).inspect_err(|error| warn!(error = %error, "a share code cannot be read")).ok()
        };
        Ok(rows.map_err(failed("reading the share codes"))?.iter().filter_map(read).collect())
    }

    /// Writes all of it down, or none. Owners must have been named: see [`Store::name_user`].
    pub async fn write_shares(&self, news: &ShareNews) -> Result<(), StoreError> {
        let failed = failed("keeping shares");
        let mut transaction = self.pool().begin().await.map_err(failed)?;
        for row in &news.shares {
            let keep = sqlx::query(
                "INSERT INTO shares (id, owner, server, sealed) VALUES (?, ?, ?, ?) \
                 ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed",
            );
            let keep = keep.bind(&row.id[..]).bind(row.owner.as_str()).bind(row.server.as_str());
            keep.bind(&row.sealed).execute(&mut *transaction).await.map_err(failed)?;
        }
        for row in &news.codes {
            let keep = sqlx::query(
                "INSERT INTO share_codes (id, hash, owner, server, sealed) VALUES (?, ?, ?, ?, ?) \
                 ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed",
            );
            let keep = keep.bind(&row.id[..]).bind(&row.hash[..]).bind(row.owner.as_str());
            let keep = keep.bind(row.server.as_str()).bind(&row.sealed);
            keep.execute(&mut *transaction).await.map_err(failed)?;
        }
        for id in &news.ended_shares {
            let delete = sqlx::query("DELETE FROM shares WHERE id = ?").bind(&id[..]);
            delete.execute(&mut *transaction).await.map_err(failed)?;
        }
        for id in &news.ended_codes {
            let delete = sqlx::query("DELETE FROM share_codes WHERE id = ?").bind(&id[..]);
            delete.execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }
}

fn share(row: &SqliteRow) -> Result<ShareRow, sqlx::Error> {
    let (owner, server) = workspace(row)?;
    Ok(ShareRow { id: bytes(row, "id")?, owner, server, sealed: row.try_get("sealed")? })
}

fn code(row: &SqliteRow) -> Result<ShareCodeRow, sqlx::Error> {
    let (owner, server) = workspace(row)?;
    let (id, hash) = (bytes(row, "id")?, bytes(row, "hash")?);
    Ok(ShareCodeRow { id, hash, owner, server, sealed: row.try_get("sealed")? })
}

fn workspace(row: &SqliteRow) -> Result<(UserName, ServerName), sqlx::Error> {
    let (owner, server): (String, String) = (row.try_get("owner")?, row.try_get("server")?);
    Ok((UserName::parse(&owner).map_err(decode)?, ServerName::parse(&server).map_err(decode)?))
}

fn bytes<const N: usize>(row: &SqliteRow, column: &str) -> Result<[u8; N], sqlx::Error> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes.try_into().map_err(|_bytes| sqlx::Error::Decode("an id of another length".into()))
}
