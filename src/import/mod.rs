//! `hubgate import`: what another hub knows, and what becomes of it here. There nothing is written, and here only what was
//! asked for.

mod apply;
mod database;
mod judge;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::config::{self, ConfigError};
use crate::groups::GroupError;
use crate::store::StoreError;

use self::apply::Written;
use self::judge::Judged;

/// Which hub.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum ImportCommand {
    /// A JupyterHub: reads its database, and says what becomes of its users, groups, servers and tokens here
    #[command(name = "jupyterhub")]
    JupyterHub {
        /// Its database. It is only read, and the hub may be running
        #[arg(long, value_name = "FILE", default_value = "jupyterhub.sqlite")]
        database: PathBuf,
        /// Write its users, as people who are expected, and its groups into the store. hubgate must not be running
        #[arg(long)]
        apply: bool,
        /// The configuration, which names the store
        #[arg(long, value_name = "FILE", default_value = config::PATH)]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl ImportCommand {
    /// Does it; answers what to print.
    pub fn run(self) -> Result<String, ImportError> {
        let Self::JupyterHub { database, apply, config, json } = self;
        // Before anything else is said: what was asked for can be done.
        let config = apply.then(|| config::load(&config)).transpose()?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(ImportError::Runtime)?;
        let outcome = runtime.block_on(async {
            let read = timeout(PATIENCE, database::read(&database)).await;
            let judged = Judged::new(read.map_err(|_elapsed| ImportError::Slow { path: database.clone() })??);
            let written = match &config {
                Some(loaded) => Some(apply::apply(&loaded.config, &judged).await?),
                None => None,
            };
            Ok::<_, ImportError>((judged, written))
        });
        // What still reads must not keep the program from ending.
        runtime.shutdown_background();
        let (judged, written) = outcome?;
        if json {
            let answer = Answer { judged: &judged, written: written.as_ref() };
            return Ok(format!("{:#}", serde_json::json!(answer)));
        }
        Ok(report::words(&database, &judged, written.as_ref()))
    }
}

/// What programs read.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    judged: &'a Judged,
    written: Option<&'a Written>,
}

/// A file can be made so that reading it has no end.
const PATIENCE: Duration = Duration::from_mins(1);

/// Another hub's database cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The configuration, where the store's place stands.
    #[error("cannot use the configuration")]
    Config(#[from] ConfigError),
    /// A hub that runs has its store in memory.
    #[error("hubgate runs: it answers at {}", .socket.display())]
    Runs {
        /// Where.
        socket: PathBuf,
    },
    /// No store yet.
    #[error("there is no store at {}", .path.display())]
    NoStore {
        /// Its folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else's.
    #[error("{} belongs to the Unix user {owner}", .path.display())]
    Stranger {
        /// Its folder.
        path: PathBuf,
        /// Whose.
        owner: u32,
    },
    /// The store.
    #[error("cannot write into the store")]
    Store(#[from] StoreError),
    /// Groups.
    #[error("cannot make a group")]
    Group(#[from] GroupError),
    /// No runtime.
    #[error("cannot start a runtime")]
    Runtime(#[source] std::io::Error),
    /// The file.
    #[error("cannot read {}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something else than a database.
    #[error("{} is no SQLite database", .path.display())]
    NoDatabase {
        /// Which.
        path: PathBuf,
    },
    /// No hub's database is so large.
    #[error("{} is larger than {} MiB", .path.display(), .most >> 20)]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Bytes that are read at most.
        most: u64,
    },
    /// It has more entries of a kind than are read.
    #[error("{} has more than {most} {what}", .path.display())]
    TooMany {
        /// Which.
        path: PathBuf,
        /// Of what.
        what: &'static str,
        /// How many are read.
        most: usize,
    },
    /// Changes that are not in the file itself.
    #[error("{} is not complete: its newest changes are in the file beside it that ends in -wal", .path.display())]
    Incomplete {
        /// Which.
        path: PathBuf,
    },
    /// It has other tables.
    #[error("{} is no JupyterHub's database: it has no table {table}", .path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// A table that each JupyterHub's has.
        table: &'static str,
    },
    /// JupyterHub before 2.0.
    #[error("{} is the database of a JupyterHub before 2.0", .path.display())]
    Old {
        /// Which.
        path: PathBuf,
    },
    /// Somebody writes to it all the time.
    #[error("{} is locked by another program", .path.display())]
    Locked {
        /// Which.
        path: PathBuf,
    },
    /// It takes too long.
    #[error("{} could not be read in {} seconds", .path.display(), PATIENCE.as_secs())]
    Slow {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be understood.
    #[error("cannot read {what} from {}", .path.display())]
    Database {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why.
        source: sqlx::Error,
    },
}

impl ImportError {
    /// What to do.
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::Config(error) => error.remedy(),
            Self::Runs { .. } => "stop it first; what is written counts from its next start on",
            Self::NoStore { .. } => "start hubgate once, and stop it: then store.folder is there",
            Self::Stranger { .. } => "run this as that user: `sudo -u hubgate hubgate import …`",
            Self::Store(error) => error.remedy(),
            Self::Group(_) => "take the groups out there that are not needed, and do it again",
            Self::Runtime(_) => "raise the limits of this account",
            Self::File { .. } => {
                "name the file with --database: c.JupyterHub.db_url says where it is; read it as a user who may"
            }
            Self::NoDatabase { .. } => {
                "give the file that c.JupyterHub.db_url names; a hub's PostgreSQL or MySQL is not read"
            }
            Self::TooLarge { .. } | Self::TooMany { .. } => "see that it is a JupyterHub's database",
            Self::Incomplete { .. } | Self::Locked { .. } | Self::Slow { .. } => {
                "make a copy, and give that: `sqlite3 jupyterhub.sqlite \".backup copy.sqlite\"`"
            }
            Self::Foreign { .. } => "give the file that c.JupyterHub.db_url names",
            Self::Old { .. } => {
                "bring a copy of it up to date first: `jupyterhub upgrade-db` of JupyterHub 2 or later"
            }
            Self::Database { .. } => {
                "see that it is a JupyterHub's database and whole: `sqlite3 jupyterhub.sqlite \"pragma integrity_check\"`"
            }
        })
    }

    /// Whether another file, or another command line, is what it takes.
    pub fn is_configuration(&self) -> bool {
        !matches!(
            self,
            Self::Runtime(_)
                | Self::Locked { .. }
                | Self::Slow { .. }
                | Self::Runs { .. }
                | Self::NoStore { .. }
                | Self::Store(_)
                | Self::Group(_)
        )
    }
}
