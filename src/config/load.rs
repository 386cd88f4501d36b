//! Reads the file: syntax, unknown keys and wrong values, each with its line.

use std::path::Path;

use thiserror::Error;

use super::{Config, Finding};

/// The configuration cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// All that is wrong in it.
    #[error("{} in the configuration", .0.len())]
    Findings(Vec<Finding>),
}

/// A configuration, and where its keys stand.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
}

/// Reads and parses a file.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.display().to_string(), source })?;
    parse(&text, path)
}

/// Parses `text`; `path` is for messages.
pub fn parse(_text: &str, _path: &Path) -> Result<Loaded, ConfigError> {
    todo!()
}
