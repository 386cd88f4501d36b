//! What a share says: with whom, how much, until when.

use std::fmt;

use crate::clock::Timestamp;
use crate::groups::Groups;
use crate::user::{Group, User, UserName};

/// How much of a workspace is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// To look at it.
    Read,
    /// To work in it as its owner does.
    Full,
}

impl Access {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Full => "full",
        }
    }

    /// From [`Access::name`], exactly.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Read, Self::Full].into_iter().find(|access| access.name() == text)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// With whom a workspace is shared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum With {
    /// One person.
    User(UserName),
    /// Whoever is in a group.
    Group(Group),
}

impl With {
    /// Whether it is shared with them, or with a group of theirs, as the provider or the hub has it.
    pub fn covers(&self, who: &User, groups: &Groups) -> bool {
        match self {
            Self::User(name) => *name == who.name,
            Self::Group(group) if group.is_own() => groups.has(&group.path, &who.name),
            Self::Group(group) => who.groups.contains(group),
        }
    }

    /// `user` or `group`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Group(_) => "group",
        }
    }

    /// The name of the one or the other.
    pub fn name(&self) -> &str {
        match self {
            Self::User(name) => name.as_str(),
            Self::Group(group) => &group.path,
        }
    }
}

impl fmt::Display for With {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

/// How much is shared, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How much.
    pub access: Access,
    /// The end, if there is one.
    pub expires: Option<Timestamp>,
}

impl Terms {
    /// Whether they are over.
    pub fn over(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// More access goes before a later end.
    pub(super) fn rank(&self) -> (Access, Timestamp) {
        (self.access, self.expires.unwrap_or(Timestamp::MAX))
    }
}
