//! `hubgate workspace`.

use http::Method;
use serde::Deserialize as _;
use serde_json::Value;

use super::ask::AskError;
use super::table::table;
use super::{OperateError, Order, Where, run, user};
use crate::control::wire::{Begun, Workspace};
use crate::server_name::ServerName;

/// Whose server runs.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum WorkspaceCommand {
    /// All servers that run, start or failed to
    List {
        /// Where the hub is
        #[command(flatten)]
        place: Where,
    },
    /// Stop a user's server, or cancel its start
    Stop {
        /// Whose; USER/SERVER is one with a name
        #[arg(value_name = "USER[/SERVER]")]
        user: String,
        /// Where the hub is
        #[command(flatten)]
        place: Where,
    },
}

impl WorkspaceCommand {
    /// Does it; answers what to print.
    pub fn run(self) -> Result<String, OperateError> {
        match self {
            Self::List { place } => run(&place, Order::new(Method::GET, "/workspaces".to_owned(), list)),
            Self::Stop { user: whose, place } => {
                let (whose, server) =
                    whose.split_once('/').map_or((&*whose, ""), |(whose, server)| (whose, server));
                let server = ServerName::parse(server)?;
                let server = if server.is_default() { String::new() } else { format!("/{server}") };
                let path = format!("/users/{}/workspace{server}", user(whose)?.path_segment());
                run(&place, Order::new(Method::DELETE, path, stopping))
            }
        }
    }
}

fn list(answer: &Value) -> Result<String, AskError> {
    let workspaces = Vec::<Workspace>::deserialize(answer).map_err(AskError::Foreign)?;
    let row = |workspace: &Workspace| {
        let profile = workspace.profile.clone().unwrap_or_default();
        let server =
            if workspace.server.is_empty() { String::new() } else { format!("/{}", workspace.server) };
        [format!("{}{server}", workspace.user), workspace.state.clone(), profile]
    };
    let rows: Vec<_> = workspaces.iter().map(row).collect();
    Ok(table(["SERVER", "STATE", "PROFILE"], &rows))
}

fn stopping(answer: &Value) -> Result<String, AskError> {
    let Begun { state } = Begun::deserialize(answer).map_err(AskError::Foreign)?;
    Ok(format!("the server is {state}"))
}
