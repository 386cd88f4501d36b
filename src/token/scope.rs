//! What a token may do: a closed set, with JupyterHub's names.

use std::fmt;

use thiserror::Error;

use crate::user::{User, UserName};

/// One thing that a token may do.
///
/// JupyterHub's scopes reach everybody unless a filter narrows them. Here those do not that are for their owner's own things, as
/// most tokens are: `access:servers`, `servers`, `read:users`, `tokens` and `shares` among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Reach the owner's workspaces.
    AccessServers,
    /// Start and stop them, and see how they are.
    Servers,
    /// Read what the hub knows of the owner.
    ReadUsers,
    /// List, make and revoke the owner's tokens.
    Tokens,
    /// See how the owner's workspaces are: a part of `servers` and of `read:users`, as the next two are of `servers`.
    ReadOwnServers,
    /// Start the owner's workspaces.
    StartOwnServers,
    /// Stop the owner's workspaces.
    DeleteOwnServers,
    /// Say when the owner was active.
    OwnActivity,
    /// Share the owner's workspaces, and take that back.
    Shares,
    /// See with whom they are shared: a part of `shares`.
    ReadShares,
    /// See what others share with the owner, and give it back.
    UsersShares,
    /// See it: a part of `users:shares`.
    ReadUsersShares,
    /// See everybody. Of administrators only, as all that follow.
    ListUsers,
    /// Manage everybody.
    AdminUsers,
    /// End everybody's sessions.
    AdminSessions,
    /// Start and stop everybody's workspaces.
    AdminServers,
    /// See how everybody's workspaces are.
    ReadServers,
    /// Start everybody's workspaces.
    StartServers,
    /// Stop everybody's workspaces.
    DeleteServers,
    /// See when everybody was active.
    ReadActivity,
    /// Say when somebody was active.
    Activity,
    /// See who is in which group.
    ReadGroups,
    /// Read what the hub is made of.
    ReadHub,
    /// See what is shared with a group, and take it back.
    GroupsShares,
    /// See it.
    ReadGroupsShares,
    /// See where requests go.
    Proxy,
    /// Stop the hub.
    Shutdown,
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u32);

/// A text that names no scope.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("there is no such scope")]
pub struct UnknownScope;

impl Scope {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::AccessServers,
        Self::Servers,
        Self::ReadUsers,
        Self::Tokens,
        Self::ReadOwnServers,
        Self::StartOwnServers,
        Self::DeleteOwnServers,
        Self::OwnActivity,
        Self::Shares,
        Self::ReadShares,
        Self::UsersShares,
        Self::ReadUsersShares,
        Self::ListUsers,
        Self::AdminUsers,
        Self::AdminSessions,
        Self::AdminServers,
        Self::ReadServers,
        Self::StartServers,
        Self::DeleteServers,
        Self::ReadActivity,
        Self::Activity,
        Self::ReadGroups,
        Self::ReadHub,
        Self::GroupsShares,
        Self::ReadGroupsShares,
        Self::Proxy,
        Self::Shutdown,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::AccessServers => "access:servers",
            Self::Servers => "servers",
            Self::ReadUsers => "read:users",
            Self::Tokens => "tokens",
            Self::ReadOwnServers => "read:servers!user",
            Self::StartOwnServers => "start:servers!user",
            Self::DeleteOwnServers => "delete:servers!user",
            Self::OwnActivity => "users:activity!user",
            Self::Shares => "shares",
            Self::ReadShares => "read:shares",
            Self::UsersShares => "users:shares",
            Self::ReadUsersShares => "read:users:shares",
            Self::ListUsers => "list:users",
            Self::AdminUsers => "admin:users",
            Self::AdminSessions => "admin:sessions",
            Self::AdminServers => "admin:servers",
            Self::ReadServers => "read:servers",
            Self::StartServers => "start:servers",
            Self::DeleteServers => "delete:servers",
            Self::ReadActivity => "read:users:activity",
            Self::Activity => "users:activity",
            Self::ReadGroups => "read:groups",
            Self::ReadHub => "read:hub",
            Self::GroupsShares => "groups:shares",
            Self::ReadGroupsShares => "read:groups:shares",
            Self::Proxy => "proxy",
            Self::Shutdown => "shutdown",
        }
    }

    /// What a person reads.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::AccessServers => "reach your server",
            Self::Servers => "start and stop your server",
            Self::ReadUsers => "read what this hub knows of you",
            Self::Tokens => "list, make and revoke your tokens",
            Self::ReadOwnServers => "see how your server is",
            Self::StartOwnServers => "start your server",
            Self::DeleteOwnServers => "stop your server",
            Self::OwnActivity => "say when you were active",
            Self::Shares => "share your server, and take that back",
            Self::ReadShares => "see with whom you share your server",
            Self::UsersShares => "see what others share with you, and give it back",
            Self::ReadUsersShares => "see what others share with you",
            Self::ListUsers => "see all users",
            Self::AdminUsers => "manage other users: what is known of them, their tokens",
            Self::AdminSessions => "end other users' sessions",
            Self::AdminServers => "start and stop other users' servers",
            Self::ReadServers => "see how other users' servers are",
            Self::StartServers => "start other users' servers",
            Self::DeleteServers => "stop other users' servers",
            Self::ReadActivity => "see when other users were active",
            Self::Activity => "say when other users were active",
            Self::ReadGroups => "see who is in which group",
            Self::ReadHub => "read what this hub is made of",
            Self::GroupsShares => "see what is shared with groups, and take it back",
            Self::ReadGroupsShares => "see what is shared with groups",
            Self::Proxy => "see where requests go",
            Self::Shutdown => "stop this hub",
        }
    }

    /// Whether it reaches beyond the owner: it holds only while they are an administrator.
    pub fn is_admin(self) -> bool {
        self.bit() > Scopes::OWN.0
    }

    /// Whether another scope of the owner's holds it: people choose the whole.
    pub fn is_part(self) -> bool {
        matches!(
            self,
            Self::ReadOwnServers
                | Self::StartOwnServers
                | Self::DeleteOwnServers
                | Self::ReadShares
                | Self::ReadUsersShares
        )
    }

    /// Whether it is worth nothing where nothing is shared.
    pub fn is_about_shares(self) -> bool {
        matches!(
            self,
            Self::Shares
                | Self::ReadShares
                | Self::UsersShares
                | Self::ReadUsersShares
                | Self::GroupsShares
                | Self::ReadGroupsShares
        )
    }

    /// Reads one scope of `owner`. JupyterHub's filters `!user` and `!user=<owner>` make a scope that reaches everybody
    /// one of the owner's; of the others they say what is so anyway.
    fn parse(text: &str, owner: Option<&UserName>) -> Result<Self, UnknownScope> {
        let (name, own) = match text.split_once('!') {
            None => (text, false),
            Some((name, "user")) => (name, true),
            Some((name, filter)) => {
                let whose = filter.strip_prefix("user=");
                let own = whose.is_some() && whose == owner.map(UserName::as_str);
                (name, if own { true } else { return Err(UnknownScope) })
            }
        };
        let is_it = |scope: &Self| {
            let (written, narrow) =
                scope.name().split_once('!').map_or((scope.name(), false), |(n, _)| (n, true));
            written == name && if own { !scope.is_admin() } else { !narrow }
        };
        Self::ALL.into_iter().find(is_it).ok_or(UnknownScope)
    }

    /// Those of everybody are below those of administrators.
    const fn bit(self) -> u32 {
        match self {
            Self::AccessServers => 1,
            Self::Servers => 1 << 1,
            Self::ReadUsers => 1 << 2,
            Self::Tokens => 1 << 3,
            Self::ReadOwnServers => 1 << 4,
            Self::StartOwnServers => 1 << 5,
            Self::DeleteOwnServers => 1 << 6,
            Self::OwnActivity => 1 << 7,
            Self::Shares => 1 << 8,
            Self::ReadShares => 1 << 9,
            Self::UsersShares => 1 << 10,
            Self::ReadUsersShares => 1 << 11,
            Self::ListUsers => 1 << 12,
            Self::AdminUsers => 1 << 13,
            Self::AdminSessions => 1 << 14,
            Self::AdminServers => 1 << 15,
            Self::ReadServers => 1 << 16,
            Self::StartServers => 1 << 17,
            Self::DeleteServers => 1 << 18,
            Self::ReadActivity => 1 << 19,
            Self::Activity => 1 << 20,
            Self::ReadGroups => 1 << 21,
            Self::ReadHub => 1 << 22,
            Self::GroupsShares => 1 << 23,
            Self::ReadGroupsShares => 1 << 24,
            Self::Proxy => 1 << 25,
            Self::Shutdown => 1 << 26,
        }
    }
}

impl Scopes {
    /// None.
    pub const NONE: Self = Self(0);

    /// Those of everybody, about what is their own.
    const OWN: Self = Self((Scope::ReadUsersShares.bit() << 1) - 1);

    /// Those, and those of administrators.
    const ALL: Self = Self((Scope::Shutdown.bit() << 1) - 1);

    /// What whoever does not choose gets: to work with their own server. Not to make tokens.
    pub fn ordinary() -> Self {
        [Scope::AccessServers, Scope::Servers, Scope::ReadUsers].into_iter().collect()
    }

    /// All that `user` could give away now.
    pub fn of(user: &User) -> Self {
        if user.admin { Self::ALL } else { Self::OWN }
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

    /// Whether one of `scopes` is among them.
    pub fn contains_any(self, scopes: &[Scope]) -> bool {
        scopes.iter().any(|scope| self.contains(*scope))
    }

    /// Whether it may do anything to what is not its owner's.
    pub fn reaches_others(self) -> bool {
        self.0 > Self::OWN.0
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
        for (own, scope) in [
            ("access:servers!user", Scope::AccessServers),
            ("access:servers!user=alice", Scope::AccessServers),
            ("start:servers", Scope::StartServers),
            ("start:servers!user", Scope::StartOwnServers),
            ("start:servers!user=alice", Scope::StartOwnServers),
            ("users:activity!user", Scope::OwnActivity),
        ] {
            assert_eq!(parse(own), Ok([scope].into_iter().collect()), "{own}");
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
            "start:servers!user=bob",
            "start:servers!server=alice/",
            "shutdown!user",
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
            routes: [].into(),
            groups: [].into(),
            claims: crate::user::Claims::default(),
            memory: None,
            cpu: None,
        };
        assert!(Scopes::of(&user(false)).iter().all(|scope| !scope.is_admin()));
        assert_eq!(Scopes::of(&user(true)), Scope::ALL.into_iter().collect());
        let own = Scope::ALL.into_iter().filter(|scope| !scope.is_admin()).collect();
        assert_eq!(Scopes::of(&user(false)), own);
        assert!(!Scopes::of(&user(false)).reaches_others() && Scope::Shutdown.is_admin());
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
