//! What goes over the admin socket, as both ends write and read it. Either end may be of a later release: what it says
//! beside this is not looked at.

use serde::{Deserialize, Serialize};

/// What was ended or revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How many.
    pub ended: usize,
}

/// Why nothing came of an order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Complaint {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}
