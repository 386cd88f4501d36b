//! Whom a scope reaches, where it does not reach everybody: JupyterHub's filters.

use std::fmt;
use std::sync::Arc;

use super::Right;
use crate::server_name::ServerName;
use crate::user::{Group, GroupName, UserName, is_odd};

/// What narrows a scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Filter {
    /// `!user`: to the token's owner.
    Own,
    /// `!user=NAME`: to one user, who need not be here yet.
    User(UserName),
    /// `!group=NAME`: to whoever is in a group when it matters, or to that group.
    Group(GroupName),
    /// `!server=NAME/SERVER`: to one server of one user; the default one has no name.
    Server(UserName, ServerName),
    /// `!service=NAME`: to what is beside the hub under this name.
    Service(ServiceName),
}

/// What something beside the hub is called in its configuration, which need not have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceName(Arc<str>);

/// To what something is done.
#[derive(Debug, Clone, Copy)]
pub enum Target<'t> {
    /// A user, or a server of theirs.
    User {
        /// Whose it is.
        name: &'t UserName,
        /// Which server, if it is about one.
        server: Option<&'t ServerName>,
        /// The groups that the user is in.
        groups: &'t [Group],
    },
    /// A group.
    Group(&'t Group),
    /// What is beside the hub under this name.
    Service(&'t str),
    /// The hub as a whole.
    Hub,
}

impl Filter {
    /// What follows the `!`. `!user=NAME` of the owner is `!user`.
    pub(super) fn parse(text: &str, owner: Option<&UserName>) -> Option<Self> {
        let Some((kind, value)) = text.split_once('=') else {
            return (text == "user").then_some(Self::Own);
        };
        match kind {
            "user" => Some(Self::User(UserName::parse(value).ok()?).of_owner(owner)),
            "group" => Some(Self::Group(GroupName::parse(value).ok()?)),
            "service" => ServiceName::parse(value).map(Self::Service),
            "server" => {
                let (user, server) = value.split_once('/')?;
                Some(Self::Server(UserName::parse(user).ok()?, ServerName::parse(server).ok()?))
            }
            _ => None,
        }
    }

    /// The same, written as what it is to this owner.
    pub(super) fn of_owner(self, owner: Option<&UserName>) -> Self {
        if matches!(&self, Self::User(name) if Some(name) == owner) { Self::Own } else { self }
    }

    /// Whether it lets a token of this holder reach something. Groups of another provider are other
    /// groups; those of the hub's own are everybody's, and a provider's group of the same name hides them.
    pub(super) fn reaches(&self, target: &Target<'_>, holder: &Right) -> bool {
        let theirs = |group: &Group| group.is_own() || *group.provider == *holder.provider;
        let is = |group: &Group, named: &GroupName| *group.path == *named.as_str() && theirs(group);
        match (target, self) {
            (Target::User { name, .. }, Self::Own) => **name == holder.user.name,
            (Target::User { name, .. }, Self::User(user)) => *name == user,
            (Target::User { groups, .. }, Self::Group(named)) => groups.iter().any(|group| is(group, named)),
            (Target::User { name, server, .. }, Self::Server(user, wanted)) => {
                *name == user && *server == Some(wanted)
            }
            (Target::Group(group), Self::Group(named)) => is(group, named),
            (Target::Service(name), Self::Service(service)) => *name == &*service.0,
            (Target::User { .. }, Self::Service(_))
            | (Target::Group(_), Self::Own | Self::User(_) | Self::Server(..) | Self::Service(_))
            | (Target::Service(_), Self::Own | Self::User(_) | Self::Group(_) | Self::Server(..))
            | (Target::Hub, _) => false,
        }
    }

    /// Whether all that the other reaches is within this, as far as their words say: who is in a group is not asked.
    pub(super) fn covers(&self, other: &Self, owner: &UserName) -> bool {
        match (self, other) {
            (Self::Own, Self::Server(user, _)) => user == owner,
            (Self::User(whole), Self::Server(user, _)) => whole == user,
            _ => self == other,
        }
    }

    /// What a person reads behind the meaning of a scope that reaches everybody.
    pub(super) fn meaning(&self) -> String {
        match self {
            Self::Own => "but only what is yours".to_owned(),
            Self::User(user) => format!("but only of {user}"),
            Self::Group(group) => format!("but only of the group {group}"),
            Self::Service(service) => format!("but only {}", service.0),
            Self::Server(user, server) if server.is_default() => {
                format!("but only the server of {user} that has no name")
            }
            Self::Server(user, server) => format!("but only the server {server} of {user}"),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("user"),
            Self::User(user) => write!(f, "user={user}"),
            Self::Group(group) => write!(f, "group={group}"),
            Self::Server(user, server) => write!(f, "server={user}/{server}"),
            Self::Service(service) => write!(f, "service={}", service.0),
        }
    }
}

impl ServiceName {
    fn parse(text: &str) -> Option<Self> {
        let good = (1..=LONGEST).contains(&text.len()) && !text.contains(is_odd);
        good.then(|| Self(text.into()))
    }
}

/// In bytes.
const LONGEST: usize = 255;
