//! What a user calls one of several workspaces: a [`ServerName`], safe wherever it is written.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Which of a user's workspaces: the default one, which has no name, or a named one.
///
/// A name has JupyterHub's form (version 6): 1 to 30 of `a`–`z`, `0`–`9` and `-`, with no `-` at an end. It stands in
/// paths, labels, names of containers and cookies as it is, and has one spelling only.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(Option<Arc<str>>);

/// A text that cannot name a workspace.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ServerNameError {
    /// Another form.
    #[error("a server's name has 1 to {} of a-z, 0-9 and '-', and no '-' at an end", ServerName::MAX_BYTES)]
    Form,
    /// A server without a name answers there.
    #[error("{0:?} is part of the addresses of servers without a name")]
    Reserved(String),
}

impl ServerName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 30;

    /// A name that a workspace has; nothing at all is the default one's.
    pub fn parse(text: &str) -> Result<Self, ServerNameError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let edge = text.starts_with('-') || text.ends_with('-');
        if text.len() > Self::MAX_BYTES || edge || !text.bytes().all(plain) {
            return Err(ServerNameError::Form);
        }
        Ok(Self(Some(text.into())))
    }

    /// A name for a workspace that is to be made. Below a user's address names stand where the default workspace has
    /// pages of its own: what Jupyter's servers and their usual extensions answer cannot be taken from it.
    pub fn parse_new(text: &str) -> Result<Self, ServerNameError> {
        let name = Self::parse(text)?;
        match name.as_str() {
            "" => Err(ServerNameError::Form),
            taken if RESERVED.contains(&taken) => Err(ServerNameError::Reserved(taken.to_owned())),
            _ => Ok(name),
        }
    }

    /// Whether it is the workspace without a name.
    pub fn is_default(&self) -> bool {
        self.0.is_none()
    }

    /// The name; empty for the default workspace.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

/// First segments of addresses of Jupyter Server, JupyterLab, Notebook, nbclassic, JupyterHub's single-user server, and
/// of the extensions that images of notebook hubs bring along.
const RESERVED: &[&str] = &[
    "api",
    "apps",
    "code-server",
    "consoles",
    "custom",
    "dask",
    "desktop",
    "doc",
    "edit",
    "files",
    "git",
    "git-pull",
    "hub",
    "jupytext",
    "kernelspecs",
    "lab",
    "login",
    "logout",
    "lsp",
    "metrics",
    "nbclassic",
    "nbconvert",
    "nbdime",
    "nbextensions",
    "nbgitpuller",
    "nbgrader",
    "notebooks",
    "panel",
    "proxy",
    "resources",
    "retro",
    "rstudio",
    "services",
    "shiny",
    "shutdown",
    "static",
    "streamlit",
    "tensorboard",
    "terminals",
    "theia",
    "tree",
    "user",
    "view",
    "voila",
    "vscode",
];

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_name_is_plain_wherever_it_is_written() {
        for good in ["gpu", "a", "run-2", "0", &"a".repeat(30)] {
            assert_eq!(ServerName::parse_new(good).unwrap().as_str(), good);
        }
        for bad in ["-a", "a-", "A", "a_b", "a.b", "a/b", "..", "a b", "ä", "a%20", &"a".repeat(31)] {
            assert_eq!(ServerName::parse(bad), Err(ServerNameError::Form), "{bad}");
        }
        assert!(ServerName::parse("").unwrap().is_default());
    }

    #[test]
    fn no_new_server_takes_a_page_from_the_default_one() {
        for taken in ["lab", "api", "tree", "proxy", "oauth_callback", ""] {
            assert!(ServerName::parse_new(taken).is_err(), "{taken}");
        }
        assert!(ServerName::parse("lab").is_ok(), "one that is there already is still found");
        assert!(RESERVED.is_sorted());
    }
}
