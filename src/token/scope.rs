//! What a token may do: a closed set, with JupyterHub's names. To whom, a `Filter` says.

use super::filter::Filter;

/// One thing that a token may do, to everybody whom its owner may do it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Reach workspaces: the owner's, and those that are shared with them.
    AccessServers,
    /// Start and stop workspaces, and see how they are.
    Servers,
    /// Read what the hub knows of users.
    ReadUsers,
    /// List, make and revoke tokens.
    Tokens,
    /// List them.
    ReadTokens,
    /// See how workspaces are.
    ReadServers,
    /// Start workspaces.
    StartServers,
    /// Stop workspaces.
    DeleteServers,
    /// See what users are called.
    ReadUsersName,
    /// See which groups users are in.
    ReadUsersGroups,
    /// See when users were active.
    ReadActivity,
    /// Say when they were.
    Activity,
    /// Share workspaces, and take that back.
    Shares,
    /// See with whom they are shared.
    ReadShares,
    /// See what is shared with users, and give it back.
    UsersShares,
    /// See it.
    ReadUsersShares,
    /// Come to what is beside the hub.
    AccessServices,
    /// See everybody. Of administrators only, as all that follow.
    ListUsers,
    /// Read all that is known of users, and say when they were active.
    Users,
    /// The same, and manage their tokens and shares.
    AdminUsers,
    /// End sessions.
    AdminSessions,
    /// All that can be done to workspaces but to reach them.
    AdminServers,
    /// Have users forgotten.
    DeleteUsers,
    /// Make and end groups of the hub's own, and fill them.
    AdminGroups,
    /// Fill and empty them, and see all groups.
    Groups,
    /// End them.
    DeleteGroups,
    /// See who is in which group.
    ReadGroups,
    /// See which groups there are.
    ListGroups,
    /// See what they are called.
    ReadGroupsName,
    /// See which roles anybody has: nobody has any here.
    ReadRoles,
    /// See those of users.
    ReadRolesUsers,
    /// Read what the hub is made of.
    ReadHub,
    /// See which services there are.
    ListServices,
    /// See how they are.
    ReadServices,
    /// See what is shared with a group, and take it back.
    GroupsShares,
    /// See it.
    ReadGroupsShares,
    /// See where requests go.
    Proxy,
    /// Stop the hub.
    Shutdown,
}

/// What a scope is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Users,
    Servers,
    Groups,
    /// What is beside the hub.
    Services,
    /// The hub as a whole.
    Hub,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 38] = [
        Self::AccessServers,
        Self::Servers,
        Self::ReadUsers,
        Self::Tokens,
        Self::ReadTokens,
        Self::ReadServers,
        Self::StartServers,
        Self::DeleteServers,
        Self::ReadUsersName,
        Self::ReadUsersGroups,
        Self::ReadActivity,
        Self::Activity,
        Self::Shares,
        Self::ReadShares,
        Self::UsersShares,
        Self::ReadUsersShares,
        Self::AccessServices,
        Self::ListUsers,
        Self::Users,
        Self::AdminUsers,
        Self::AdminSessions,
        Self::AdminServers,
        Self::DeleteUsers,
        Self::AdminGroups,
        Self::Groups,
        Self::DeleteGroups,
        Self::ReadGroups,
        Self::ListGroups,
        Self::ReadGroupsName,
        Self::ReadRoles,
        Self::ReadRolesUsers,
        Self::ReadHub,
        Self::ListServices,
        Self::ReadServices,
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
            Self::ReadTokens => "read:tokens",
            Self::ReadServers => "read:servers",
            Self::StartServers => "start:servers",
            Self::DeleteServers => "delete:servers",
            Self::ReadUsersName => "read:users:name",
            Self::ReadUsersGroups => "read:users:groups",
            Self::ReadActivity => "read:users:activity",
            Self::Activity => "users:activity",
            Self::Shares => "shares",
            Self::ReadShares => "read:shares",
            Self::UsersShares => "users:shares",
            Self::ReadUsersShares => "read:users:shares",
            Self::AccessServices => "access:services",
            Self::ListUsers => "list:users",
            Self::Users => "users",
            Self::AdminUsers => "admin:users",
            Self::AdminSessions => "admin:sessions",
            Self::AdminServers => "admin:servers",
            Self::DeleteUsers => "delete:users",
            Self::AdminGroups => "admin:groups",
            Self::Groups => "groups",
            Self::DeleteGroups => "delete:groups",
            Self::ReadGroups => "read:groups",
            Self::ListGroups => "list:groups",
            Self::ReadGroupsName => "read:groups:name",
            Self::ReadRoles => "read:roles",
            Self::ReadRolesUsers => "read:roles:users",
            Self::ReadHub => "read:hub",
            Self::ListServices => "list:services",
            Self::ReadServices => "read:services",
            Self::GroupsShares => "groups:shares",
            Self::ReadGroupsShares => "read:groups:shares",
            Self::Proxy => "proxy",
            Self::Shutdown => "shutdown",
        }
    }

    /// The scope of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// What a person reads, of a scope that reaches everybody.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::AccessServers => "reach your server",
            Self::Servers => "start and stop everybody's servers",
            Self::ReadUsers => "read what this hub knows of everybody",
            Self::Tokens => "list and revoke everybody's tokens, and make yours",
            Self::ReadTokens => "list everybody's tokens",
            Self::ReadServers => "see how other users' servers are",
            Self::StartServers => "start other users' servers",
            Self::DeleteServers => "stop other users' servers",
            Self::ReadUsersName => "see what other users are called",
            Self::ReadUsersGroups => "see which groups other users are in",
            Self::ReadActivity => "see when other users were active",
            Self::Activity => "say when other users were active",
            Self::Shares => "share your server, and take back what anybody shares",
            Self::ReadShares => "see with whom anybody shares servers",
            Self::UsersShares => "see what is shared with anybody, and give it back",
            Self::ReadUsersShares => "see what is shared with anybody",
            Self::AccessServices => "reach what is beside this hub",
            Self::ListUsers => "see all users",
            Self::Users => "read all that is known of other users, and say when they were active",
            Self::AdminUsers => {
                "manage other users: who is expected and who is forgotten, what is known of them, their tokens"
            }
            Self::AdminSessions => "end other users' sessions",
            Self::AdminServers => "start and stop other users' servers",
            Self::DeleteUsers => "have other users forgotten",
            Self::AdminGroups => "make groups of this hub's own, fill and end them",
            Self::Groups => "fill and empty groups of this hub's own",
            Self::DeleteGroups => "end groups of this hub's own",
            Self::ReadGroups => "see who is in which group",
            Self::ListGroups | Self::ReadGroupsName => "see which groups there are",
            Self::ReadRoles | Self::ReadRolesUsers => "see which roles there are: none here",
            Self::ReadHub => "read what this hub is made of",
            Self::ListServices | Self::ReadServices => "see which services there are",
            Self::GroupsShares => "see what is shared with groups, and take it back",
            Self::ReadGroupsShares => "see what is shared with groups",
            Self::Proxy => "see where requests go",
            Self::Shutdown => "stop this hub",
        }
    }

    /// The same, of one that reaches its owner only; of those that nobody has for themselves alone, nothing.
    pub(super) fn own_meaning(self) -> Option<&'static str> {
        match self {
            Self::AccessServers => Some("reach your server, and none that is shared with you"),
            Self::Servers => Some("start and stop your server"),
            Self::ReadUsers => Some("read what this hub knows of you"),
            Self::Tokens => Some("list, make and revoke your tokens"),
            Self::ReadTokens => Some("list your tokens"),
            Self::ReadServers => Some("see how your server is"),
            Self::StartServers => Some("start your server"),
            Self::DeleteServers => Some("stop your server"),
            Self::ReadUsersName => Some("see what you are called"),
            Self::ReadUsersGroups => Some("see which groups you are in"),
            Self::ReadActivity => Some("see when you were active"),
            Self::Activity => Some("say when you were active"),
            Self::Shares => Some("share your server, and take that back"),
            Self::ReadShares => Some("see with whom you share your server"),
            Self::UsersShares => Some("see what others share with you, and give it back"),
            Self::ReadUsersShares => Some("see what others share with you"),
            Self::AccessServices
            | Self::ListUsers
            | Self::Users
            | Self::AdminUsers
            | Self::AdminSessions
            | Self::AdminServers
            | Self::DeleteUsers
            | Self::AdminGroups
            | Self::Groups
            | Self::DeleteGroups
            | Self::ReadGroups
            | Self::ListGroups
            | Self::ReadGroupsName
            | Self::ReadRoles
            | Self::ReadRolesUsers
            | Self::ReadHub
            | Self::ListServices
            | Self::ReadServices
            | Self::GroupsShares
            | Self::ReadGroupsShares
            | Self::Proxy
            | Self::Shutdown => None,
        }
    }

    /// Whether nobody but an administrator has it, not even for what is their own.
    pub fn is_admin(self) -> bool {
        self > Self::AccessServices
    }

    /// Whether another scope holds it: people choose the whole.
    pub(super) fn is_part(self) -> bool {
        Self::ALL.iter().any(|whole| !whole.is_admin() && whole.parts().contains(&self))
    }

    /// Whether administrators choose it for others by itself, though everybody has it for themselves.
    pub(super) fn reaches_others_alone(self) -> bool {
        matches!(
            self,
            Self::ReadServers
                | Self::StartServers
                | Self::DeleteServers
                | Self::ReadActivity
                | Self::Activity
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

    /// What it brings along, as JupyterHub has it; and what those bring. To manage shares brings no access here.
    pub(super) fn parts(self) -> &'static [Self] {
        match self {
            Self::Servers => &[Self::ReadServers, Self::StartServers, Self::DeleteServers],
            Self::ReadUsers => &[Self::ReadUsersName, Self::ReadUsersGroups, Self::ReadActivity],
            Self::Tokens => &[Self::ReadTokens],
            Self::ReadServers | Self::ListUsers => &[Self::ReadUsersName],
            Self::Activity => &[Self::ReadActivity],
            Self::Shares => &[Self::ReadShares, Self::UsersShares],
            Self::UsersShares => &[Self::ReadUsersShares],
            Self::Users => &[Self::ReadUsers, Self::ListUsers, Self::Activity],
            Self::AdminUsers => &[Self::Users, Self::DeleteUsers, Self::ReadRolesUsers],
            Self::AdminGroups => &[Self::Groups, Self::DeleteGroups],
            Self::Groups => &[Self::ReadGroups, Self::ListGroups],
            Self::AdminServers => &[Self::Servers],
            Self::ReadGroups | Self::ListGroups => &[Self::ReadGroupsName],
            Self::GroupsShares => &[Self::ReadGroupsShares],
            Self::ReadRoles => &[Self::ReadRolesUsers],
            Self::AccessServers
            | Self::AccessServices
            | Self::ReadRolesUsers
            | Self::ReadTokens
            | Self::StartServers
            | Self::DeleteServers
            | Self::ReadUsersName
            | Self::ReadUsersGroups
            | Self::ReadActivity
            | Self::ReadShares
            | Self::ReadUsersShares
            | Self::AdminSessions
            | Self::DeleteUsers
            | Self::DeleteGroups
            | Self::ReadGroupsName
            | Self::ReadHub
            | Self::ListServices
            | Self::ReadServices
            | Self::ReadGroupsShares
            | Self::Proxy
            | Self::Shutdown => &[],
        }
    }

    /// Whether whoever has this one has the other.
    pub(super) fn includes(self, other: Self) -> bool {
        self == other || self.parts().iter().any(|part| part.includes(other))
    }

    fn about(self) -> About {
        match self {
            Self::AccessServers
            | Self::Servers
            | Self::ReadServers
            | Self::StartServers
            | Self::DeleteServers
            | Self::AdminServers
            | Self::Shares
            | Self::ReadShares => About::Servers,
            Self::AccessServices => About::Services,
            Self::ReadUsers
            | Self::Tokens
            | Self::ReadTokens
            | Self::ReadUsersName
            | Self::ReadUsersGroups
            | Self::ReadActivity
            | Self::Activity
            | Self::UsersShares
            | Self::ReadUsersShares
            | Self::ListUsers
            | Self::Users
            | Self::AdminUsers
            | Self::AdminSessions
            | Self::DeleteUsers
            | Self::ReadRoles
            | Self::ReadRolesUsers => About::Users,
            Self::AdminGroups
            | Self::Groups
            | Self::DeleteGroups
            | Self::ReadGroups
            | Self::ListGroups
            | Self::ReadGroupsName
            | Self::GroupsShares
            | Self::ReadGroupsShares => About::Groups,
            Self::ReadHub | Self::ListServices | Self::ReadServices | Self::Proxy | Self::Shutdown => {
                About::Hub
            }
        }
    }

    pub(super) fn is_about_groups(self) -> bool {
        self.about() == About::Groups
    }

    /// Whether a filter narrows it to something. JupyterHub takes any filter behind any scope; one that says nothing of
    /// what a scope is about could be taken for a bound that it is not.
    pub(super) fn takes(self, filter: &Filter) -> bool {
        match (self.about(), filter) {
            (About::Servers, Filter::Own | Filter::User(_) | Filter::Group(_) | Filter::Server(..))
            | (About::Users, Filter::Own | Filter::User(_) | Filter::Group(_))
            | (About::Groups, Filter::Group(_))
            | (About::Services, Filter::Service(_)) => true,
            (About::Servers, Filter::Service(_))
            | (About::Users, Filter::Server(..) | Filter::Service(_))
            | (About::Groups, Filter::Own | Filter::User(_) | Filter::Server(..) | Filter::Service(_))
            | (About::Services, Filter::Own | Filter::User(_) | Filter::Group(_) | Filter::Server(..))
            | (About::Hub, _) => false,
        }
    }
}
