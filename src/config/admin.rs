//! `[admin]`: how administrators reach the running hub.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::units::Span;

/// `[admin]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// The Unix socket by which commands such as `hubgate session` reach the hub that runs: root and hubgate's own user
    /// may use it. `"off"`: there is none.
    #[serde(deserialize_with = "path_or_off")]
    pub socket: Option<PathBuf>,
    /// How well an administrator must be authenticated for the administration page, its API, and tokens that reach other
    /// users: one of these, the best first. Empty: an ordinary login will do.
    pub acr_values: Vec<String>,
    /// Who signed in at the provider longer ago must do so again for these.
    pub max_age: Option<Span>,
}

impl Admin {
    /// Where commands look for the hub that runs, if nothing says another place.
    pub const SOCKET: &str = "/run/hubgate/admin.sock";

    /// The longest path of a socket: Linux has room for 107 bytes (unix(7)), and hubgate makes it beside its place.
    pub const LONGEST: usize = 90;
}

impl Default for Admin {
    fn default() -> Self {
        Self { socket: Some(PathBuf::from(Self::SOCKET)), acr_values: Vec::new(), max_age: None }
    }
}

fn path_or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    deserializer.deserialize_any(SocketVisitor)
}

struct SocketVisitor;

impl Visitor<'_> for SocketVisitor {
    type Value = Option<PathBuf>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WRONG)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match text {
            "off" => Ok(None),
            path if path.starts_with('/') && path.len() <= Admin::LONGEST => Ok(Some(PathBuf::from(path))),
            _ => Err(E::custom(WRONG)),
        }
    }
}

const WRONG: &str = "not the place of a socket; write its whole path, of at most 90 bytes, or \"off\"";
