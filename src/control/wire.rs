//! What goes over the admin socket, as both ends write and read it. Either end may be of a later release: what it says
//! beside this is not looked at.

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
    /// `starting`, `ready`, `failing` or `stopping`.
    pub state: String,
    /// What it runs.
    pub profile: Option<String>,
}

/// What goes on after the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// How the server is now.
    pub state: String,
}

/// Why nothing came of an order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Complaint {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}
