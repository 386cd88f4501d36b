//! What must survive a restart: users, groups of the hub's own, sessions, API tokens, shares, and when workspaces were last
//! used.
//!
//! One database (`SQLite`) in a folder that only hubgate may read, and beside it the key that seals what is secret in it.
//! The workspaces are not here: the container runtime is their record.

mod api_tokens;
mod files;
mod groups;
mod people;
mod servers;
mod shares;
mod uses;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Row};
use thiserror::Error;
use tracing::warn;

use crate::clock::Timestamp;
use crate::user::UserName;

pub use api_tokens::ApiTokenRow;
pub use groups::GroupRow;
pub use people::PersonRow;
pub use servers::ServerRow;
pub use shares::{ShareCodeRow, ShareNews, ShareRow};
pub use uses::UseRow;

/// The database; a clone is another handle.
#[derive(Debug, Clone)]
pub struct Store {
    pool: Arc<ArcSwap<sqlx::SqlitePool>>,
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

impl StoreError {
    /// What an operator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NameTaken { .. } => "two accounts of the provider claim one name: rename one of them there",
            Self::File { .. } => {
                "store.folder must be hubgate's own (mode 0700), and its files readable by nobody else (mode 0600)"
            }
            Self::Database { .. } => {
                "see that the disk of store.folder is not full, and that the database is not of a newer release"
            }
        }
    }
}

impl Store {
    /// Opens `hubgate.db` in `folder`, made when it is not there (folder 0700, file 0600), and brings it up to date.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let file = files::database(folder)?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            // Writes are few (logins, a sweep a minute), and a name that was given away must stay given.
            .synchronous(SqliteSynchronous::Full);
        Self::connect(options, SqlitePoolOptions::new().max_connections(CONNECTIONS)).await
    }

    /// Looks into a store that another process may be using, and changes nothing in it: the database as it is, and
    /// the sealing key.
    pub async fn look(folder: &Path) -> Result<(Self, [u8; 32]), StoreError> {
        let (file, key) = files::existing(folder)?;
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        let options = options.busy_timeout(PATIENCE).disable_statement_logging();
        let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(PATIENCE);
        let pool = pool.connect_with(options).await.map_err(failed("opening it"))?;
        Ok((Self::over(pool), key))
    }

    /// A store that is gone with the process.
    pub async fn in_memory() -> Result<Self, StoreError> {
        // Every connection to `:memory:` is a database of its own, so there is one, for ever.
        let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        Self::connect(SqliteConnectOptions::new().in_memory(true), pool).await
    }

    async fn connect(options: SqliteConnectOptions, pool: SqlitePoolOptions) -> Result<Self, StoreError> {
        let options = options.foreign_keys(true).busy_timeout(PATIENCE).disable_statement_logging();
        let pool = pool.acquire_timeout(PATIENCE).connect_with(options);
        let pool = pool.await.map_err(failed("opening it"))?;
        let migrations = sqlx::migrate!("src/store/migrations");
        migrations.run(&pool).await.map_err(|error| failed("bringing it up to date")(error.into()))?;
        Ok(Self::over(pool))
    }

    fn over(pool: sqlx::SqlitePool) -> Self {
        Self { pool: Arc::new(ArcSwap::from_pointee(pool)) }
    }

    fn pool(&self) -> Arc<sqlx::SqlitePool> {
        self.pool.load_full()
    }

    /// Leaves the database to another process: whatever is asked from now on fails, and nothing more is written.
    pub async fn leave(&self) -> Result<(), StoreError> {
        let closed = tokio::time::timeout(PATIENCE, self.pool().close()).await;
        closed.map_err(|_late| failed("leaving it")(sqlx::Error::PoolTimedOut))
    }

    /// Takes it back as it is.
    pub async fn take_back(&self) -> Result<(), StoreError> {
        let options = self.pool().connect_options().as_ref().clone();
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
        let pool = pool.connect_with(options).await.map_err(failed("opening it"))?;
        self.pool.store(Arc::new(pool));
        Ok(())
    }

    /// The installation's sealing key, `key` in `folder` (0600): made at the first start.
    pub fn sealing_key(folder: &Path) -> Result<[u8; 32], StoreError> {
        files::sealing_key(folder)
    }

    /// The name of the person `(issuer, subject)`: the one they have, or from now on `wanted`. A name that another
    /// person has is refused.
    pub async fn name_user(
        &self,
        issuer: &str,
        subject: &str,
        wanted: &UserName,
        now: Timestamp,
    ) -> Result<UserName, StoreError> {
        // One statement decides, so two first logins at once cannot both get the name.
        sqlx::query(
            "INSERT INTO users (issuer, subject, name, created) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(issuer)
        .bind(subject)
        .bind(wanted.as_str())
        .bind(integer(now))
        .execute(&*self.pool())
        .await
        .map_err(failed("naming a user"))?;
        let name: Option<String> =
            sqlx::query_scalar("SELECT name FROM users WHERE issuer = ? AND subject = ?")
                .bind(issuer)
                .bind(subject)
                .fetch_optional(&*self.pool())
                .await
                .map_err(failed("looking a user up"))?;
        let Some(name) = name else { return Err(StoreError::NameTaken { name: wanted.clone() }) };
        UserName::parse(&name).map_err(|error| failed("reading a user's name")(decode(error)))
    }

    /// All sessions. A row that cannot be read is dropped and logged, not an error.
    pub async fn sessions(&self) -> Result<Vec<SessionRow>, StoreError> {
        let rows = sqlx::query("SELECT rowid, * FROM sessions").fetch_all(&*self.pool()).await;
        let mut sessions = Vec::new();
        for row in rows.map_err(failed("reading the sessions"))? {
            match session(&row) {
                Ok(session) => sessions.push(session),
                Err(error) => self.drop_row(&row, error).await?,
            }
        }
        Ok(sessions)
    }

    async fn drop_row(&self, row: &SqliteRow, error: sqlx::Error) -> Result<(), StoreError> {
        let number: i64 = row.try_get("rowid").map_err(failed("reading the sessions"))?;
        warn!(row = number, error = %error, "a session cannot be read and is dropped");
        let delete = sqlx::query("DELETE FROM sessions WHERE rowid = ?").bind(number);
        delete.execute(&*self.pool()).await.map_err(failed("dropping a session"))?;
        Ok(())
    }

    /// Keeps a new session. Its person must have been named: see [`Store::name_user`].
    pub async fn insert_session(&self, row: &SessionRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO sessions (id, user, issuer, subject, sid, created, last_seen, sealed) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&row.id[..])
        .bind(row.user.as_str())
        .bind(&row.issuer)
        .bind(&row.subject)
        .bind(&row.sid)
        .bind(integer(row.created))
        .bind(integer(row.last_seen))
        .bind(&row.sealed)
        .execute(&*self.pool())
        .await
        .map_err(failed("keeping a session"))?;
        Ok(())
    }

    /// Puts new sealed contents into a session's row. A session that is not there any more stays away.
    pub async fn update_session(
        &self,
        id: &[u8; 32],
        sid: Option<&str>,
        sealed: &str,
    ) -> Result<(), StoreError> {
        let update = sqlx::query("UPDATE sessions SET sid = ?, sealed = ? WHERE id = ?");
        let update = update.bind(sid).bind(sealed).bind(&id[..]).execute(&*self.pool()).await;
        update.map(drop).map_err(failed("keeping a renewed session"))
    }

    /// Notes when sessions were last used.
    pub async fn touch_sessions(&self, seen: &[([u8; 32], Timestamp)]) -> Result<(), StoreError> {
        if seen.is_empty() {
            return Ok(());
        }
        let failed = failed("noting the use of sessions");
        let mut transaction = self.pool().begin().await.map_err(failed)?;
        for (id, when) in seen {
            let touch = sqlx::query("UPDATE sessions SET last_seen = ? WHERE id = ?");
            touch.bind(integer(*when)).bind(&id[..]).execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Forgets sessions.
    pub async fn delete_sessions(&self, ids: &[[u8; 32]]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let failed = failed("forgetting sessions");
        let mut transaction = self.pool().begin().await.map_err(failed)?;
        for id in ids {
            let delete = sqlx::query("DELETE FROM sessions WHERE id = ?");
            delete.bind(&id[..]).execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&*self.pool()).await.map_err(failed("asking whether it answers"))?;
        Ok(())
    }
}

fn session(row: &SqliteRow) -> Result<SessionRow, sqlx::Error> {
    let id: Vec<u8> = row.try_get("id")?;
    let user: String = row.try_get("user")?;
    Ok(SessionRow {
        id: id.try_into().map_err(|_id| sqlx::Error::Decode("an id of another length".into()))?,
        user: UserName::parse(&user).map_err(decode)?,
        issuer: row.try_get("issuer")?,
        subject: row.try_get("subject")?,
        sid: row.try_get("sid")?,
        created: timestamp(row, "created")?,
        last_seen: timestamp(row, "last_seen")?,
        sealed: row.try_get("sealed")?,
    })
}

fn timestamp(row: &SqliteRow, column: &str) -> Result<Timestamp, sqlx::Error> {
    Timestamp::try_from(row.try_get::<i64, _>(column)?).map_err(decode)
}

/// The database's integers have a sign; no clock of ours reaches it.
fn integer(time: Timestamp) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError + Copy {
    move |source| StoreError::Database { doing, source }
}

const CONNECTIONS: u32 = 4;

/// How long one call waits for a connection, or for another writer.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_was_left_takes_nothing_until_it_is_taken_back() {
        let folder = tempfile::TempDir::new().unwrap();
        let (store, name) = (Store::open(folder.path()).await.unwrap(), UserName::parse("anna").unwrap());
        let other = store.clone();
        store.leave().await.unwrap();
        assert!(other.name_user("https://kc", "1", &name, 1).await.is_err());
        // Another process's, meanwhile.
        Store::open(folder.path()).await.unwrap().name_user("https://kc", "2", &name, 1).await.unwrap();
        store.take_back().await.unwrap();
        let taken = other.name_user("https://kc", "1", &name, 1).await;
        assert!(matches!(taken, Err(StoreError::NameTaken { .. })));
    }
}
