//! What goes over the admin socket, as both ends write and read it. Either end may be of a later release: what it says
//! beside this is not looked at.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What was ended or revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How many.
    pub ended: usize,
}

/// Somebody who has a name here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// The provider's issuer.
    pub issuer: String,
    /// Their first login, in UTC.
    pub created: String,
    /// How often they are signed in.
    pub sessions: usize,
    /// How many API tokens they have that are in force.
    pub tokens: usize,
    /// How their server is, if there is one.
    pub workspace: Option<String>,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// Whose.
    pub user: String,
    /// Which of theirs; empty: the default one.
    #[serde(default)]
    pub server: String,
    /// `starting`, `ready`, `failing` or `stopping`.
    pub state: String,
    /// What it runs.
    pub profile: Option<String>,
}

/// An API token. Its text is not here: it opens what the token opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What it is called.
    pub id: String,
    /// Whose.
    pub user: String,
    /// What its owner wrote about it.
    pub note: String,
    /// What it may do now.
    pub scopes: Vec<String>,
    /// When it was made, in UTC.
    pub created: String,
    /// When it ends, in UTC.
    pub expires: String,
    /// When it was last used, in UTC.
    pub last_used: Option<String>,
}

/// A share, or a link that makes them. Its secret is not here, and nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// What it is called.
    pub id: String,
    /// Whose server.
    pub owner: String,
    /// Which of theirs; empty: the default one.
    pub server: String,
    /// `user`, `group` or `link`.
    pub kind: String,
    /// The name of the user or the group.
    pub with: Option<String>,
    /// `read` or `full`.
    pub access: String,
    /// When it ends, in UTC.
    pub expires: Option<String>,
}

/// What a token is to be made for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// What it may do; nothing said: what tokens ordinarily may.
    pub scopes: Vec<String>,
    /// What it is for.
    pub note: String,
    /// Seconds; nothing said: as configured.
    pub lifetime: Option<u64>,
}

/// A token that was just made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// Its text, which is nowhere else.
    pub token: String,
    /// What it is called.
    pub id: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it ends, in UTC.
    pub expires: String,
}

// Whoever has the text works in its owner's name.
impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What goes on after the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// How the server is now.
    pub state: String,
}

/// Another process has taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// Its number.
    pub pid: u32,
    /// Its release.
    pub version: String,
}

/// Why nothing came of an order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Complaint {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}
