//! What administrators type while the hub runs: `hubgate session` and its like. Each asks the hub by its admin socket, and
//! prints what it says.

mod ask;
mod explain;
mod session;
mod share;
mod table;
mod token;
mod upgrade;
mod user;
mod workspace;

use std::path::{Path, PathBuf};

use http::Method;
use serde_json::Value;
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};

use crate::config::{self, ConfigError};
use crate::server_name::ServerNameError;
use crate::store::StoreError;
use crate::user::{UserName, UserNameError};

use self::ask::Hub;

pub use self::ask::AskError;
pub use self::explain::ExplainCommand;
pub use self::session::SessionCommand;
pub use self::share::ShareCommand;
pub use self::token::TokenCommand;
pub use self::upgrade::UpgradeCommand;
pub use self::user::UserCommand;
pub use self::workspace::WorkspaceCommand;

/// Where the hub is, and how to print what it says.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Where {
    /// The hub's admin socket, in place of the configuration's
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The configuration, which names the socket
    #[arg(long, value_name = "FILE", default_value = config::PATH, conflicts_with = "socket")]
    pub config: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// It could not be done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OperateError {
    /// The configuration, where the socket's place stands.
    #[error("cannot use the configuration")]
    Config(#[from] ConfigError),
    /// The configuration has no socket.
    #[error("{} has admin.socket = \"off\"", .config.display())]
    Off {
        /// The configuration.
        config: PathBuf,
    },
    /// What was typed is nobody's name.
    #[error("{text:?} is no user name")]
    Name {
        /// What was typed.
        text: String,
        /// Why.
        source: UserNameError,
    },
    /// What was typed is no server's name.
    #[error(transparent)]
    Server(#[from] ServerNameError),
    /// What was typed is no id.
    #[error("{text:?} is no {what}'s id")]
    Id {
        /// What was typed.
        text: String,
        /// Of what.
        what: &'static str,
    },
    /// Nobody was named.
    #[error("nothing says whom to explain")]
    Nothing,
    /// A file of claims.
    #[error("cannot read claims from {}", .path.display())]
    Claims {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Which of several providers, or none of that name.
    #[error("the configuration has the providers {}", known.join(", "))]
    Provider {
        /// Their names.
        known: Vec<String>,
    },
    /// The store of a hub that does not run.
    #[error("hubgate does not run, and its store cannot be read")]
    Store(#[from] StoreError),
    /// Nobody of that name is in the store.
    #[error("of {name} nothing is known here{}", proposed(near))]
    Nobody {
        /// The name.
        name: UserName,
        /// Names like it.
        near: Vec<String>,
    },
    /// No runtime.
    #[error("cannot start a runtime")]
    Runtime(#[source] std::io::Error),
    /// The hub did not answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The hub answered that it cannot.
    #[error("{message}")]
    Refused {
        /// In its words.
        message: String,
        /// What it says is to be done.
        hint: Option<String>,
    },
}

impl OperateError {
    /// What to do.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Config(error) => Some(error.remedy()),
            Self::Off { .. } => Some("name a place there, and restart hubgate"),
            Self::Name { .. } => Some("write it as `hubgate user list` shows it"),
            Self::Server(_) => Some("`hubgate workspace list` shows those that there are"),
            Self::Id { .. } => Some("write it as the list shows it"),
            Self::Nothing => Some("name a user, or give --claims"),
            Self::Claims { .. } => Some("give a file with one JSON object, such as an ID token's payload"),
            Self::Provider { .. } => Some("choose one with --provider"),
            Self::Store(error) => Some(error.remedy()),
            Self::Nobody { .. } => {
                Some("whoever has not signed in since hubgate keeps it is explained by --claims")
            }
            Self::Runtime(_) => Some("raise the limits of this account"),
            Self::Ask(error) => Some(error.remedy()),
            Self::Refused { hint, .. } => hint.as_deref(),
        }
    }

    /// Whether the command line or the configuration is wrong.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_)
            | Self::Off { .. }
            | Self::Name { .. }
            | Self::Server(_)
            | Self::Id { .. }
            | Self::Nothing
            | Self::Claims { .. }
            | Self::Provider { .. } => true,
            Self::Store(_) | Self::Nobody { .. } | Self::Runtime(_) | Self::Ask(_) | Self::Refused { .. } => {
                false
            }
        }
    }
}

/// One request to the hub, and how its answer is put into words.
struct Order {
    method: Method,
    path: String,
    body: Option<Value>,
    words: fn(&Value) -> Result<String, AskError>,
}

impl Order {
    fn new(method: Method, path: String, words: fn(&Value) -> Result<String, AskError>) -> Self {
        Self { method, path, body: None, words }
    }
}

/// Does what was typed; answers what to print.
fn run(place: &Where, order: Order) -> Result<String, OperateError> {
    let hub = Hub::at(socket(place)?);
    let answer = runtime()?.block_on(hub.ask(order.method, &order.path, order.body.as_ref()))?;
    if place.json {
        return Ok(format!("{answer:#}"));
    }
    Ok((order.words)(&answer)?)
}

fn runtime() -> Result<Runtime, OperateError> {
    Builder::new_current_thread().enable_all().build().map_err(OperateError::Runtime)
}

fn socket(place: &Where) -> Result<PathBuf, OperateError> {
    if let Some(socket) = &place.socket {
        return Ok(socket.clone());
    }
    // Where there is none, hubgate could still be at its usual place.
    if !place.config.exists() && place.config == Path::new(config::PATH) {
        return Ok(PathBuf::from(config::Admin::SOCKET));
    }
    let config = config::load(&place.config)?.config;
    config.admin.socket.ok_or_else(|| OperateError::Off { config: place.config.clone() })
}

/// A name as it was typed, in its one spelling.
fn user(text: &str) -> Result<UserName, OperateError> {
    UserName::normalise(text).map_err(|source| OperateError::Name { text: text.to_owned(), source })
}

fn proposed(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; there is {}", near.join(", ")) }
}
