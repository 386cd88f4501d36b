//! What an old process and the one that takes over from it say.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::server_name::ServerName;
use crate::session::SessionId;
use crate::spawner::WorkspaceId;
use crate::token::TokenId;
use crate::user::{Claims, Group, User, UserName};

/// The language. Another release may speak another one: then it refuses, and hubgate is restarted.
pub(crate) const LANGUAGE: u32 = 1;

/// The first word, with the sockets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) language: u32,
    /// How many sockets listen for TCP connections. The next one, if there is one, is the admin socket.
    pub(crate) listeners: usize,
    /// Where the admin socket is.
    pub(crate) admin: Option<PathBuf>,
}

/// From the old process to the new one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromOld {
    /// The store and the runtime are yours.
    Go,
    /// The service manager knows: you are the one.
    Main,
    /// Something is open here on the word of somebody.
    Line(Line),
    /// So much is open on it now; nothing: it is forgotten.
    Open { number: u32, open: usize },
    /// A workspace was used through what is open here.
    Used { place: Place, when: Timestamp },
}

/// From the new process to the old one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromNew {
    /// The configuration is good.
    Prepared { pid: u32, version: String },
    /// Connections are served here now.
    Ready,
    /// It did not come to that.
    Failed { why: String },
    /// The right to it has ended: close what is open on it.
    Cut { number: u32 },
    /// Yet another process has taken over.
    Aged,
}

/// A right that something is open on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) number: u32,
    pub(crate) whose: Whose,
    /// At somebody else's workspace, which is shared.
    pub(crate) visit: Option<Place>,
    /// What they may do there; of everybody, nothing is said.
    pub(crate) granted: Option<Granted>,
    pub(crate) open: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Whose {
    Session(SessionId),
    Token(String),
    /// At a route that is public.
    Everybody(Arc<str>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    user: String,
    server: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Granted {
    user: String,
    admin: bool,
    profiles: Vec<String>,
    routes: Vec<String>,
    groups: Vec<(String, String)>,
}

impl Place {
    pub(crate) fn of(id: &WorkspaceId) -> Self {
        Self { user: id.user.to_string(), server: id.server.as_str().to_owned() }
    }

    pub(crate) fn id(&self) -> Option<WorkspaceId> {
        let user = UserName::parse(&self.user).ok()?;
        Some(WorkspaceId { user, server: ServerName::parse(&self.server).ok()? })
    }
}

impl Whose {
    pub(crate) fn token(id: TokenId) -> Self {
        Self::Token(id.to_string())
    }
}

impl Granted {
    pub(crate) fn of(user: &User) -> Self {
        let texts = |names: &[Arc<str>]| names.iter().map(ToString::to_string).collect();
        let group = |group: &Group| (group.provider.to_string(), group.path.to_string());
        Self {
            user: user.name.to_string(),
            admin: user.admin,
            profiles: texts(&user.profiles),
            routes: texts(&user.routes),
            groups: user.groups.iter().map(group).collect(),
        }
    }

    /// As far as it matters for what is open.
    pub(crate) fn user(&self) -> Option<User> {
        let texts = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        let group = |(provider, path): &(String, String)| Group {
            provider: provider.as_str().into(),
            path: path.as_str().into(),
        };
        Some(User {
            name: UserName::parse(&self.user).ok()?,
            admin: self.admin,
            profiles: texts(&self.profiles),
            routes: texts(&self.routes),
            groups: self.groups.iter().map(group).collect(),
            claims: Claims::default(),
            memory: None,
            cpu: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_might_do_is_told_whole() {
        let user = User {
            name: UserName::parse("anna b").unwrap(),
            admin: true,
            profiles: [Arc::from("lab"), Arc::from("gpu")].into(),
            routes: [Arc::from("docs")].into(),
            groups: [Group { provider: "main".into(), path: "/physics".into() }].into(),
            claims: Claims::default(),
            memory: None,
            cpu: None,
        };
        assert_eq!(Granted::of(&user).user(), Some(user));
    }

    #[test]
    fn a_place_that_is_none_is_nowhere() {
        let id =
            WorkspaceId { user: UserName::parse("anna").unwrap(), server: ServerName::parse("gpu").unwrap() };
        assert_eq!(Place::of(&id).id(), Some(id));
        assert_eq!(Place { user: "a/b".into(), server: String::new() }.id(), None);
        assert_eq!(Place { user: "anna".into(), server: "../bob".into() }.id(), None);
    }
}
