//! What administrators type while the hub runs: `hubgate session` and its like. Each asks the hub by its admin socket, and
//! prints what it says.

mod ask;
mod session;
mod table;

use std::path::{Path, PathBuf};

use http::Method;
use serde_json::Value;
use thiserror::Error;

use crate::config::{self, ConfigError};
use crate::user::{UserName, UserNameError};

use self::ask::Hub;

pub use self::ask::AskError;
pub use self::session::SessionCommand;

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
    /// What was typed is no id.
    #[error("{text:?} is no {what}'s id")]
    Id {
        /// What was typed.
        text: String,
        /// Of what.
        what: &'static str,
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
            Self::Id { .. } => Some("write it as the list shows it"),
            Self::Runtime(_) => Some("raise the limits of this account"),
            Self::Ask(error) => Some(error.remedy()),
            Self::Refused { hint, .. } => hint.as_deref(),
        }
    }

    /// Whether the command line or the configuration is wrong.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_) | Self::Off { .. } | Self::Name { .. } | Self::Id { .. } => true,
            Self::Runtime(_) | Self::Ask(_) | Self::Refused { .. } => false,
        }
    }
}

/// One request to the hub, and how its answer is put into words.
struct Order {
    method: Method,
    path: String,
    words: fn(&Value) -> Result<String, AskError>,
}

/// Does what was typed; answers what to print.
fn run(place: &Where, order: Order) -> Result<String, OperateError> {
    let hub = Hub::at(socket(place)?);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(OperateError::Runtime)?;
    let answer = runtime.block_on(hub.ask(order.method, &order.path))?;
    if place.json {
        return Ok(format!("{answer:#}"));
    }
    Ok((order.words)(&answer)?)
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
