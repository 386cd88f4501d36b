//! `hubgate session`.

use http::Method;
use serde::Deserialize as _;
use serde_json::Value;

use super::ask::AskError;
use super::table::table;
use super::{OperateError, Order, Where, run, user};
use crate::control::wire::Ended;
use crate::session::{Listed, ShortId};

/// Who is signed in.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum SessionCommand {
    /// Who is signed in, since when, and what is open for them
    List {
        /// Of one user
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Where the hub is
        #[command(flatten)]
        place: Where,
    },
    /// End one session, or all of a user, at once: with their websockets
    End {
        /// The session, as the list calls it
        #[arg(value_name = "ID", required_unless_present = "user", conflicts_with = "user")]
        id: Option<String>,
        /// All sessions of this user
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Where the hub is
        #[command(flatten)]
        place: Where,
    },
}

impl SessionCommand {
    /// Does it; answers what to print.
    pub fn run(self) -> Result<String, OperateError> {
        match self {
            Self::List { user: whose, place } => {
                let path = match whose {
                    Some(whose) => format!("/users/{}/sessions", user(&whose)?.path_segment()),
                    None => "/sessions".to_owned(),
                };
                run(&place, Order::new(Method::GET, path, list))
            }
            Self::End { id, user: whose, place } => {
                let path = match (id, whose) {
                    (_, Some(whose)) => format!("/users/{}/sessions", user(&whose)?.path_segment()),
                    (id, None) => format!("/sessions/{}", short(&id.unwrap_or_default())?),
                };
                run(&place, Order::new(Method::DELETE, path, ended))
            }
        }
    }
}

fn short(text: &str) -> Result<ShortId, OperateError> {
    ShortId::parse(text).ok_or_else(|| OperateError::Id { text: text.to_owned(), what: "session" })
}

fn list(answer: &Value) -> Result<String, AskError> {
    let sessions = Vec::<Listed>::deserialize(answer).map_err(AskError::Foreign)?;
    let row = |session: &Listed| {
        let note = session.outage_until.as_ref().map(|until| format!("provider away, goes on until {until}"));
        [
            session.id.clone(),
            session.user.clone(),
            session.provider.clone(),
            session.created.clone(),
            session.last_seen.clone(),
            session.open.to_string(),
            note.unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = sessions.iter().map(row).collect();
    Ok(table(["SESSION", "USER", "PROVIDER", "SIGNED IN", "LAST SEEN", "OPEN", ""], &rows))
}

fn ended(answer: &Value) -> Result<String, AskError> {
    let Ended { ended } = Ended::deserialize(answer).map_err(AskError::Foreign)?;
    Ok(match ended {
        0 => "nobody of that name is signed in".to_owned(),
        1 => "1 session ended".to_owned(),
        many => format!("{many} sessions ended"),
    })
}
