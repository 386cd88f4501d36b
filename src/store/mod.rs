//! What must survive a restart: users and sessions.

use std::path::Path;

use thiserror::Error;

use crate::clock::Timestamp;
use crate::user::UserName;

/// The database; a clone is another handle.
#[derive(Debug, Clone)]
pub struct Store {
    pool: sqlx::SqlitePool,
}

/// A session as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// SHA-256 of the id in the cookie.
    pub id: [u8; 32],
    /// The user's name.
    pub user: UserName,
    /// The provider's issuer.
    pub issuer: String,
    /// The provider's `sub`.
    pub subject: String,
    /// The provider's `sid`.
    pub sid: Option<String>,
    /// When the login was.
    pub created: Timestamp,
    /// When it was last used, to the minute.
    pub last_seen: Timestamp,
    /// Identity and tokens, sealed.
    pub sealed: String,
}

/// The store failed, or refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The name belongs to another person.
    #[error("the user name {name} belongs to another account of the provider")]
    NameTaken {
        /// The name.
        name: UserName,
    },
    /// A file or folder.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The database.
    #[error("the database failed while {doing}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// Why.
        source: sqlx::Error,
    },
}

impl Store {
    /// Opens `hubgate.db` in `folder`, made when it is not there (folder 0700, file 0600), and brings it up to date.
    pub async fn open(_folder: &Path) -> Result<Self, StoreError> {
        todo!()
    }

    /// A store that is gone with the process.
    pub async fn in_memory() -> Result<Self, StoreError> {
        todo!()
    }

    /// The installation's sealing key, `key` in `folder` (0600): made at the first start.
    pub fn sealing_key(_folder: &Path) -> Result<[u8; 32], StoreError> {
        todo!()
    }

    /// The name of the person `(issuer, subject)`: the one they have, or from now on `wanted`. A name that another
    /// person has is refused.
    pub async fn name_user(
        &self,
        _issuer: &str,
        _subject: &str,
        _wanted: &UserName,
        _now: Timestamp,
    ) -> Result<UserName, StoreError> {
        todo!()
    }

    /// All sessions. A row that cannot be read is dropped and logged, not an error.
    pub async fn sessions(&self) -> Result<Vec<SessionRow>, StoreError> {
        todo!()
    }

    /// Keeps a new session.
    pub async fn insert_session(&self, _row: &SessionRow) -> Result<(), StoreError> {
        todo!()
    }

    /// Notes when sessions were last used.
    pub async fn touch_sessions(&self, _seen: &[([u8; 32], Timestamp)]) -> Result<(), StoreError> {
        todo!()
    }

    /// Forgets sessions.
    pub async fn delete_sessions(&self, _ids: &[[u8; 32]]) -> Result<(), StoreError> {
        todo!()
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let _ = &self.pool;
        todo!()
    }
}
