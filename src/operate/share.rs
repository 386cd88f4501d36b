//! `hubgate share`.

use http::Method;
use serde::Deserialize as _;
use serde_json::Value;

use super::ask::AskError;
use super::table::table;
use super::{OperateError, Order, Where, run, user};
use crate::control::wire::{Ended, Share};
use crate::share::{CodeId, ShareId};

/// Whom users let into their servers.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum ShareCommand {
    /// Shares and links that are in force
    List {
        /// Of one owner
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Where the hub is
        #[command(flatten)]
        place: Where,
    },
    /// Revoke one share or link, or all of an owner, at once
    Revoke {
        /// The share or link, as the list calls it
        #[arg(value_name = "ID", required_unless_present = "user", conflicts_with = "user")]
        id: Option<String>,
        /// All shares and links of this owner
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Where the hub is
        #[command(flatten)]
        place: Where,
    },
}

impl ShareCommand {
    /// Does it; answers what to print.
    pub fn run(self) -> Result<String, OperateError> {
        match self {
            Self::List { user: whose, place } => {
                let path = match whose {
                    Some(whose) => format!("/users/{}/shares", user(&whose)?.path_segment()),
                    None => "/shares".to_owned(),
                };
                run(&place, Order::new(Method::GET, path, list))
            }
            Self::Revoke { id, user: whose, place } => {
                let path = match (id, whose) {
                    (_, Some(whose)) => format!("/users/{}/shares", user(&whose)?.path_segment()),
                    (id, None) => format!("/shares/{}", share(&id.unwrap_or_default())?),
                };
                run(&place, Order::new(Method::DELETE, path, revoked))
            }
        }
    }
}

fn share(text: &str) -> Result<String, OperateError> {
    let known = ShareId::parse(text).is_some() || CodeId::parse(text).is_some();
    if known { Ok(text.to_owned()) } else { Err(OperateError::Id { text: text.to_owned(), what: "share" }) }
}

fn list(answer: &Value) -> Result<String, AskError> {
    let shares = Vec::<Share>::deserialize(answer).map_err(AskError::Foreign)?;
    let row = |share: &Share| {
        let with = share.with.as_ref().map(|with| format!("{} {}", share.kind, with.escape_debug()));
        [
            share.id.clone(),
            share.owner.clone(),
            share.server.clone(),
            with.unwrap_or_else(|| share.kind.clone()),
            share.access.clone(),
            share.expires.clone().unwrap_or_else(|| "never".to_owned()),
        ]
    };
    let rows: Vec<_> = shares.iter().map(row).collect();
    Ok(table(["SHARE", "OWNER", "SERVER", "WITH", "MAY", "ENDS"], &rows))
}

fn revoked(answer: &Value) -> Result<String, AskError> {
    let Ended { ended } = Ended::deserialize(answer).map_err(AskError::Foreign)?;
    Ok(match ended {
        0 => "nobody of that name shares anything".to_owned(),
        1 => "1 share revoked".to_owned(),
        many => format!("{many} shares revoked"),
    })
}
