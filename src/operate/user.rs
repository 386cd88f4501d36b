//! `hubgate user`.

use http::Method;
use serde::Deserialize as _;
use serde_json::Value;

use super::ask::AskError;
use super::table::table;
use super::{OperateError, Order, Where, run};
use crate::control::wire::User;

/// Who has been here.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum UserCommand {
    /// Everybody who has signed in at least once
    List {
        /// Where the hub is
        #[command(flatten)]
        place: Where,
    },
}

impl UserCommand {
    /// Does it; answers what to print.
    pub fn run(self) -> Result<String, OperateError> {
        let Self::List { place } = self;
        run(&place, Order::new(Method::GET, "/users".to_owned(), list))
    }
}

fn list(answer: &Value) -> Result<String, AskError> {
    let users = Vec::<User>::deserialize(answer).map_err(AskError::Foreign)?;
    let row = |user: &User| {
        [
            user.name.clone(),
            user.created.clone(),
            user.sessions.to_string(),
            user.tokens.to_string(),
            user.workspace.clone().unwrap_or_default(),
            user.issuer.escape_debug().to_string(),
        ]
    };
    let rows: Vec<_> = users.iter().map(row).collect();
    Ok(table(["USER", "FIRST LOGIN", "SESSIONS", "TOKENS", "SERVER", "ISSUER"], &rows))
}
