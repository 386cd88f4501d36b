//! `hubgate token`.

use http::Method;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::ask::AskError;
use super::table::table;
use super::{OperateError, Order, Where, run, user};
use crate::config::Span;
use crate::control::wire::{Ended, NewToken, Token};
use crate::token::TokenId;

/// What programs hold.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum TokenCommand {
    /// API tokens that are in force
    List {
        /// Of one user
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Where the hub is
        #[command(flatten)]
        place: Where,
    },
    /// Make a token in a user's name; prints it, this once
    Create {
        /// In whose name
        #[arg(long, value_name = "NAME")]
        user: String,
        /// What it may do, as far as the user may: servers!server=alice/gpu, list:users!group=/class; may be given several
        /// times [default: their own server]
        #[arg(long, value_name = "SCOPE")]
        scope: Vec<String>,
        /// What it is for
        #[arg(long, value_name = "TEXT", default_value = "made by an administrator")]
        note: String,
        /// How long it lives: "12h", "30days" [default: `api.token_lifetime`]
        #[arg(long, value_name = "SPAN", value_parser = lifetime)]
        lifetime: Option<u64>,
        /// Where the hub is
        #[command(flatten)]
        place: Where,
    },
    /// Revoke one token, or all of a user, at once
    Revoke {
        /// The token, as the list calls it
        #[arg(value_name = "ID", required_unless_present = "user", conflicts_with = "user")]
        id: Option<String>,
        /// All tokens of this user
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Where the hub is
        #[command(flatten)]
        place: Where,
    },
}

impl TokenCommand {
    /// Does it; answers what to print.
    pub fn run(self) -> Result<String, OperateError> {
        match self {
            Self::List { user: whose, place } => {
                let path = match whose {
                    Some(whose) => format!("/users/{}/tokens", user(&whose)?.path_segment()),
                    None => "/tokens".to_owned(),
                };
                run(&place, Order::new(Method::GET, path, list))
            }
            Self::Create { user: whose, scope, note, lifetime, place } => {
                let path = format!("/users/{}/tokens", user(&whose)?.path_segment());
                let body = json!({ "scopes": scope, "note": note, "lifetime": lifetime });
                run(&place, Order { body: Some(body), ..Order::new(Method::POST, path, made) })
            }
            Self::Revoke { id, user: whose, place } => {
                let path = match (id, whose) {
                    (_, Some(whose)) => format!("/users/{}/tokens", user(&whose)?.path_segment()),
                    (id, None) => format!("/tokens/{}", token(&id.unwrap_or_default())?),
                };
                run(&place, Order::new(Method::DELETE, path, revoked))
            }
        }
    }
}

fn lifetime(text: &str) -> Result<u64, &'static str> {
    let span = Span::parse(text).ok_or("write it with its unit, such as 12h or 30days")?;
    Ok(span.0.as_secs())
}

fn token(text: &str) -> Result<TokenId, OperateError> {
    TokenId::parse(text).ok_or_else(|| OperateError::Id { text: text.to_owned(), what: "token" })
}

fn list(answer: &Value) -> Result<String, AskError> {
    let tokens = Vec::<Token>::deserialize(answer).map_err(AskError::Foreign)?;
    let row = |token: &Token| {
        [
            token.id.clone(),
            token.user.clone(),
            token.expires.clone(),
            token.last_used.clone().unwrap_or_else(|| "never".to_owned()),
            token.scopes.join(" "),
            token.note.clone(),
        ]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    Ok(table(["TOKEN", "USER", "ENDS", "LAST USED", "MAY", "NOTE"], &rows))
}

/// The token alone, so that a script can take it.
fn made(answer: &Value) -> Result<String, AskError> {
    Ok(NewToken::deserialize(answer).map_err(AskError::Foreign)?.token)
}

fn revoked(answer: &Value) -> Result<String, AskError> {
    let Ended { ended } = Ended::deserialize(answer).map_err(AskError::Foreign)?;
    Ok(match ended {
        0 => "nobody of that name has a token that is in force".to_owned(),
        1 => "1 token revoked".to_owned(),
        many => format!("{many} tokens revoked"),
    })
}
