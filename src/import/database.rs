//! A JupyterHub's database, as it is on the disk. Whoever could write to it wrote whatever they liked: what comes from
//! here is text without a meaning, of bounded size.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions as _, Row as _};

use super::ImportError;

/// What is read of it. Nothing of this is trusted.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) users: Vec<User>,
    /// Group and member.
    pub(super) members: Vec<(String, i64)>,
    /// Groups, with members and without.
    pub(super) groups: Vec<String>,
    pub(super) servers: Vec<Server>,
    /// API tokens and services, which are only counted.
    pub(super) tokens: i64,
    pub(super) services: i64,
}

/// Somebody who may sign in there.
#[derive(Debug)]
pub(super) struct User {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) admin: bool,
}

/// A server that a user has, or had.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) owner: i64,
    /// Empty for the one without a name.
    pub(super) name: String,
    pub(super) running: bool,
    /// What its spawner keeps of it: JSON.
    pub(super) state: String,
}

/// Reads a database without changing anything about it, or beside it.
pub(super) async fn read(path: &Path) -> Result<Known, ImportError> {
    let mut database = Database { connection: open(path).await?, path: path.to_owned() };
    database.is_a_hubs().await?;
    let users = database.rows("users", MOST, USERS).await?;
    let members = database.rows("members of groups", MOST * 10, MEMBERS).await?;
    let groups = database.rows("groups", MOST, GROUPS).await?;
    let servers = database.rows("servers", MOST, SERVERS).await?;
    let failed = |what| database.failed(what);
    Ok(Known {
        users: users.iter().map(user).collect::<Result<_, _>>().map_err(failed("users"))?,
        members: members.iter().map(member).collect::<Result<_, _>>().map_err(failed("members of groups"))?,
        groups: groups.iter().map(name).collect::<Result<_, _>>().map_err(failed("groups"))?,
        servers: servers.iter().map(server).collect::<Result<_, _>>().map_err(failed("servers"))?,
        tokens: database.count("API tokens", TOKENS).await?,
        services: database.count("services", SERVICES).await?,
    })
}

struct Database {
    connection: SqliteConnection,
    path: PathBuf,
}

impl Database {
    /// The tables that are read are tables: what a view or a virtual table of the same name would do when it is read is
    /// its maker's to say.
    async fn is_a_hubs(&mut self) -> Result<(), ImportError> {
        let named = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND rootpage > 0 AND name = ?";
        for table in TABLES {
            let there = sqlx::query_scalar::<_, i64>(named).bind(table).fetch_one(&mut self.connection).await;
            if there.map_err(self.failed("tables"))? > 0 {
                continue;
            }
            let path = self.path.clone();
            // Roles came with 2.0.
            return Err(match *table {
                "roles" | "user_role_map" => ImportError::Old { path },
                table => ImportError::Foreign { path, table },
            });
        }
        Ok(())
    }

    async fn rows(
        &mut self,
        what: &'static str,
        most: usize,
        query: &'static str,
    ) -> Result<Vec<SqliteRow>, ImportError> {
        let limit = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
        let rows = sqlx::query(query).bind(limit).fetch_all(&mut self.connection).await;
        let rows = rows.map_err(self.failed(what))?;
        if rows.len() > most {
            return Err(ImportError::TooMany { path: self.path.clone(), what, most });
        }
        Ok(rows)
    }

    async fn count(&mut self, what: &'static str, query: &'static str) -> Result<i64, ImportError> {
        let counted = sqlx::query_scalar(query).fetch_one(&mut self.connection).await;
        counted.map_err(self.failed(what))
    }

    fn failed(&self, what: &'static str) -> impl Fn(sqlx::Error) -> ImportError + use<> {
        failed(self.path.clone(), what)
    }
}

/// More than any hub has.
const MOST: usize = 100_000;
/// Bytes of a database, likewise.
const MOST_BYTES: u64 = 1 << 30;

const TABLES: &[&str] = &[
    "users",
    "groups",
    "user_group_map",
    "spawners",
    "api_tokens",
    "services",
    "oauth_clients",
    "roles",
    "user_role_map",
];

const USERS: &str = "SELECT users.id AS id, substr(CAST(users.name AS TEXT), 1, 300) AS name, \
    coalesce(users.admin, 0) <> 0 OR users.id IN (SELECT user_role_map.user_id FROM user_role_map \
    JOIN roles ON roles.id = user_role_map.role_id WHERE roles.name = 'admin') AS admin \
    FROM users ORDER BY users.name LIMIT ?";
const MEMBERS: &str = "SELECT user_group_map.user_id AS id, substr(CAST(groups.name AS TEXT), 1, 300) AS name \
    FROM user_group_map JOIN groups ON groups.id = user_group_map.group_id ORDER BY groups.name LIMIT ?";
const GROUPS: &str =
    "SELECT substr(CAST(groups.name AS TEXT), 1, 300) AS name FROM groups ORDER BY groups.name LIMIT ?";
const SERVERS: &str = "SELECT user_id AS id, substr(CAST(coalesce(name, '') AS TEXT), 1, 300) AS name, \
    server_id IS NOT NULL AS running, substr(CAST(coalesce(state, '') AS TEXT), 1, 4096) AS state \
    FROM spawners WHERE user_id IS NOT NULL ORDER BY user_id, name LIMIT ?";
// Not those that JupyterHub gave to servers.
const TOKENS: &str = "SELECT count(*) FROM api_tokens WHERE user_id IS NOT NULL AND client_id = 'jupyterhub' \
    AND coalesce(note, '') NOT LIKE 'Server at %'";
const SERVICES: &str = "SELECT count(*) FROM services";

/// How long another program's writing is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

async fn open(path: &Path) -> Result<SqliteConnection, ImportError> {
    let is_wal = look(path)?;
    let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
    let options = options.busy_timeout(PATIENCE);
    // Functions and virtual tables that a schema names are not called for it.
    let options = options.pragma("trusted_schema", "OFF").pragma("cell_size_check", "ON");
    // A database of this kind that nobody has open would be given two files beside it by whoever reads it.
    let options = if is_wal { options.immutable(true) } else { options };
    options.connect().await.map_err(failed(path.to_owned(), "anything"))
}

/// Whether it is a database, and whether it is one that keeps new changes beside it.
fn look(path: &Path) -> Result<bool, ImportError> {
    let unreadable = |source| ImportError::File { path: path.to_owned(), source };
    let is_file = std::fs::metadata(path).map_err(unreadable)?.is_file();
    if !is_file {
        // A pipe would be waited for, and a device has no end.
        return Err(ImportError::NoDatabase { path: path.to_owned() });
    }
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.len() > MOST_BYTES {
        return Err(ImportError::TooLarge { path: path.to_owned(), most: MOST_BYTES });
    }
    let mut head = Vec::new();
    file.take(20).read_to_end(&mut head).map_err(unreadable)?;
    // https://www.sqlite.org/fileformat.html, section 1.3.
    let Some(&[_, read_version]) =
        head.strip_prefix(b"SQLite format 3\0".as_slice()).and_then(|rest| rest.get(2..))
    else {
        return Err(ImportError::NoDatabase { path: path.to_owned() });
    };
    let is_wal = read_version == 2;
    let mut beside = path.as_os_str().to_owned();
    beside.push("-wal");
    if is_wal && std::fs::metadata(beside).is_ok_and(|beside| beside.len() > 0) {
        return Err(ImportError::Incomplete { path: path.to_owned() });
    }
    Ok(is_wal)
}

fn failed(path: PathBuf, what: &'static str) -> impl Fn(sqlx::Error) -> ImportError {
    move |source| {
        let path = path.clone();
        // SQLite's primary result codes, in the low byte: 5 BUSY, 6 LOCKED, 26 NOTADB.
        let code = source.as_database_error().and_then(sqlx::error::DatabaseError::code);
        match code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff) {
            Some(5 | 6) => ImportError::Locked { path },
            Some(26) => ImportError::NoDatabase { path },
            _ => ImportError::Database { path, what, source },
        }
    }
}

fn user(row: &SqliteRow) -> Result<User, sqlx::Error> {
    Ok(User { id: row.try_get("id")?, name: name(row)?, admin: row.try_get("admin")? })
}

fn member(row: &SqliteRow) -> Result<(String, i64), sqlx::Error> {
    Ok((name(row)?, row.try_get("id")?))
}

fn server(row: &SqliteRow) -> Result<Server, sqlx::Error> {
    Ok(Server {
        owner: row.try_get("id")?,
        name: name(row)?,
        running: row.try_get("running")?,
        state: text(row, "state")?,
    })
}

fn name(row: &SqliteRow) -> Result<String, sqlx::Error> {
    text(row, "name")
}

/// A database's text need not be UTF-8.
fn text(row: &SqliteRow, column: &str) -> Result<String, sqlx::Error> {
    let bytes: Option<Vec<u8>> = row.try_get(column)?;
    Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}
