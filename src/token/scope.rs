//! What a token may do: a closed set, with JupyterHub's names.

use std::fmt;

use thiserror::Error;

use crate::user::{User, UserName};

/// One thing that a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Reach the owner's workspace.
    AccessServers,
    /// Start and stop it.
    Servers,
    /// Read what the hub knows of the owner.
    ReadUsers,
    /// List, make and revoke the owner's tokens.
    Tokens,
    /// See everybody. Of administrators only, as all that follow.
    ListUsers,
    /// Manage everybody.
    AdminUsers,
    /// End everybody's sessions.
    AdminSessions,
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u8);

/// A text that names no scope.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("there is no such scope")]
pub struct UnknownScope;

impl Scope {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::AccessServers,
        Self::Servers,
        Self::ReadUsers,
        Self::Tokens,
        Self::ListUsers,
        Self::AdminUsers,
        Self::AdminSessions,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::AccessServers => "access:servers",
            Self::Servers => "servers",
            Self::ReadUsers => "read:users",
            Self::Tokens => "tokens",
            Self::ListUsers => "list:users",
            Self::AdminUsers => "admin:users",
            Self::AdminSessions => "admin:sessions",
        }
    }

    /// What a person reads.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::AccessServers => "reach your server",
            Self::Servers => "start and stop your server",
            Self::ReadUsers => "read what this hub knows of you",
            Self::Tokens => "list, make and revoke your tokens",
            Self::ListUsers => "see all users",
            Self::AdminUsers => "manage other users and their servers",
            Self::AdminSessions => "end other users' sessions",
        }
    }

    /// Whether it reaches beyond the owner: it holds only while they are an administrator.
    pub fn is_admin(self) -> bool {
        match self {
            Self::AccessServers | Self::Servers | Self::ReadUsers | Self::Tokens => false,
            Self::ListUsers | Self::AdminUsers | Self::AdminSessions => true,
        }
    }

    /// Reads one scope of `owner`. JupyterHub's filters `!user` and `!user=<owner>` say what is so anyway.
    fn parse(text: &str, owner: Option<&UserName>) -> Result<Self, UnknownScope> {
        let (name, filter) = text.split_once('!').map_or((text, None), |(name, filter)| (name, Some(filter)));
        let scope = Self::ALL.into_iter().find(|scope| scope.name() == name).ok_or(UnknownScope)?;
        let own = match filter {
            None => true,
            Some("user") => !scope.is_admin(),
            Some(filter) => {
                let whose = filter.strip_prefix("user=");
                !scope.is_admin() && whose.is_some() && whose == owner.map(UserName::as_str)
            }
        };
        if own { Ok(scope) } else { Err(UnknownScope) }
    }

    fn bit(self) -> u8 {
        match self {
            Self::AccessServers => 1,
            Self::Servers => 1 << 1,
            Self::ReadUsers => 1 << 2,
            Self::Tokens => 1 << 3,
            Self::ListUsers => 1 << 4,
            Self::AdminUsers => 1 << 5,
            Self::AdminSessions => 1 << 6,
        }
    }
}

impl Scopes {
    /// None.
    pub const NONE: Self = Self(0);

    /// What whoever does not choose gets: to work with their own server. Not to make tokens.
    pub fn ordinary() -> Self {
        [Scope::AccessServers, Scope::Servers, Scope::ReadUsers].into_iter().collect()
    }

    /// All that `user` could give away now.
    pub fn of(user: &User) -> Self {
        Scope::ALL.into_iter().filter(|scope| user.admin || !scope.is_admin()).collect()
    }

    /// Reads the scopes of `owner`; one that is not known is refused, not left out.
    pub fn parse<'t>(
        texts: impl IntoIterator<Item = &'t str>,
        owner: Option<&UserName>,
    ) -> Result<Self, UnknownScope> {
        texts.into_iter().map(|text| Scope::parse(text, owner)).collect()
    }

    /// Whether `scope` is among them.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are in both.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of these are among `others`.
    pub fn within(self, others: Self) -> bool {
        self.and(others) == self
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { " " }, scope.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn alice() -> UserName {
        UserName::parse("alice").unwrap()
    }

    #[test]
    fn a_scope_that_is_not_known_is_refused() {
        let alice = alice();
        let parse = |text: &'static str| Scopes::parse([text], Some(&alice));
        for scope in Scope::ALL {
            assert_eq!(parse(scope.name()), Ok([scope].into_iter().collect()));
        }
        for own in ["access:servers!user", "access:servers!user=alice"] {
            assert_eq!(parse(own), Ok([Scope::AccessServers].into_iter().collect()), "{own}");
        }
        for unknown in [
            "",
            "admin",
            "inherit",
            "SERVERS",
            "servers ",
            "access:servers!",
            "access:servers!user=bob",
            "access:servers!user=",
            "access:servers!server=bob/",
            "access:servers!user!user",
            "admin:users!user",
            "list:users!user=alice",
            "read:users,servers",
        ] {
            assert_eq!(parse(unknown), Err(UnknownScope), "{unknown}");
        }
        assert_eq!(Scopes::parse(["servers!user=alice"], None), Err(UnknownScope));
    }

    #[test]
    fn nobody_can_give_away_what_they_do_not_have() {
        let user = |admin| User {
            name: alice(),
            admin,
            profiles: [Arc::from("lab")].into(),
            memory: None,
            cpu: None,
        };
        assert!(Scopes::of(&user(false)).iter().all(|scope| !scope.is_admin()));
        assert!(Scope::ALL.into_iter().all(|scope| Scopes::of(&user(true)).contains(scope)));
        assert!(Scopes::ordinary().within(Scopes::of(&user(false))));
        assert!(!Scopes::of(&user(true)).within(Scopes::of(&user(false))));
        assert!(!Scopes::ordinary().contains(Scope::Tokens));
        assert!(Scopes::NONE.is_empty() && Scopes::NONE.within(Scopes::NONE));
    }

    #[test]
    fn scopes_are_written_as_they_are_read() {
        let all: Scopes = Scope::ALL.into_iter().collect();
        assert_eq!(Scopes::parse(all.to_string().split(' '), None), Ok(all));
        assert_eq!(Scopes::ordinary().to_string(), "access:servers servers read:users");
        assert_eq!(Scopes::NONE.to_string(), "");
    }
}
