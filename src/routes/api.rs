//! Addresses of the REST API, with the methods that each has: the one list of them, which the API's description is
//! compared with.

use http::Method;

/// An address below `/hub/api`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiPath<'a> {
    /// What it is about.
    pub resource: Resource,
    /// The first part of it that somebody chose, as it stands: mostly a user's name.
    pub name: &'a str,
    /// The second one: the name of a server, the id of a token.
    pub item: &'a str,
    /// The third one: the name of a server behind that of its owner.
    pub part: &'a str,
}

/// What an address of the REST API is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Says that a hub is here.
    Root,
    /// A container sends a browser there to learn who it is.
    Authorize,
    /// A container redeems a code; a program without a browser asks for its token.
    OauthToken,
    /// A program without a browser asks to be let in.
    DeviceAuthorization,
    /// It answers.
    Health,
    /// The description of all this.
    OpenApi,
    /// What the hub is made of.
    Info,
    /// Who calls.
    Caller,
    /// Everybody.
    Users,
    /// A user.
    User,
    /// A user's default server.
    Server,
    /// How its start goes.
    Progress,
    /// A user's server with a name.
    NamedServer,
    /// How its start goes.
    NamedProgress,
    /// A container says at which port it listens.
    Port,
    /// When a user was active.
    Activity,
    /// A user's tokens.
    Tokens,
    /// One of them.
    Token,
    /// Where a user is signed in.
    UserSessions,
    /// Everybody's sessions.
    Sessions,
    /// One of them.
    Session,
    /// All groups.
    Groups,
    /// A group.
    Group,
    /// Who is in a group.
    GroupUsers,
    /// What is noted of a group.
    GroupProperties,
    /// What a user shares.
    Shares,
    /// With whom a server is shared.
    ServerShares,
    /// The codes by which a user shares.
    ShareCodes,
    /// Those of a server.
    ServerShareCodes,
    /// What is shared with a user.
    UserShared,
    /// One server that is.
    UserSharedServer,
    /// What is shared with a group.
    GroupShared,
    /// One server that is.
    GroupSharedServer,
    /// There are none.
    Services,
    /// Nor is there one of any name.
    Service,
    /// Where requests go.
    Proxy,
    /// The end.
    Shutdown,
}

/// Every address below `/hub/api`, as its description writes it, and its methods.
pub const ADDRESSES: &[(&str, Resource, &[Method])] = &[
    ("", Resource::Root, LOOKED_AT),
    ("/oauth2/authorize", Resource::Authorize, &[Method::GET]),
    ("/oauth2/token", Resource::OauthToken, &[Method::POST]),
    ("/oauth2/device_authorization", Resource::DeviceAuthorization, &[Method::POST]),
    ("/batchspawner", Resource::Port, &[Method::POST]),
    ("/health", Resource::Health, LOOKED_AT),
    ("/openapi.json", Resource::OpenApi, &[Method::GET]),
    ("/info", Resource::Info, &[Method::GET]),
    ("/user", Resource::Caller, &[Method::GET]),
    ("/users", Resource::Users, &[Method::GET, Method::POST]),
    ("/users/{name}", Resource::User, USER),
    ("/users/{name}/server", Resource::Server, SERVER),
    ("/users/{name}/server/progress", Resource::Progress, &[Method::GET]),
    ("/users/{name}/servers/{server_name}", Resource::NamedServer, NAMED_SERVER),
    ("/users/{name}/servers/{server_name}/progress", Resource::NamedProgress, &[Method::GET]),
    ("/users/{name}/activity", Resource::Activity, &[Method::POST]),
    ("/users/{name}/tokens", Resource::Tokens, &[Method::GET, Method::POST]),
    ("/users/{name}/tokens/{token_id}", Resource::Token, &[Method::GET, Method::DELETE]),
    ("/users/{name}/sessions", Resource::UserSessions, &[Method::GET, Method::DELETE]),
    ("/sessions", Resource::Sessions, &[Method::GET]),
    ("/sessions/{session_id}", Resource::Session, &[Method::DELETE]),
    ("/groups", Resource::Groups, &[Method::GET, Method::POST]),
    ("/groups/{name}", Resource::Group, SERVER),
    ("/groups/{name}/users", Resource::GroupUsers, &[Method::POST, Method::DELETE]),
    ("/groups/{name}/properties", Resource::GroupProperties, &[Method::PUT]),
    ("/shares/{name}", Resource::Shares, &[Method::GET]),
    ("/shares/{name}/{server_name}", Resource::ServerShares, SHARES),
    ("/share-codes/{name}", Resource::ShareCodes, &[Method::GET]),
    ("/share-codes/{name}/{server_name}", Resource::ServerShareCodes, SERVER),
    ("/users/{name}/shared", Resource::UserShared, &[Method::GET]),
    ("/users/{name}/shared/{owner}/{server_name}", Resource::UserSharedServer, SHARED),
    ("/groups/{name}/shared", Resource::GroupShared, &[Method::GET]),
    ("/groups/{name}/shared/{owner}/{server_name}", Resource::GroupSharedServer, SHARED),
    ("/services", Resource::Services, &[Method::GET]),
    ("/services/{name}", Resource::Service, SERVER),
    ("/proxy", Resource::Proxy, &[Method::GET, Method::POST, Method::PATCH]),
    ("/shutdown", Resource::Shutdown, &[Method::POST]),
];

/// By load balancers, too.
const LOOKED_AT: &[Method] = &[Method::GET, Method::HEAD];

const USER: &[Method] = &[Method::GET, Method::POST, Method::PATCH, Method::DELETE];

const SERVER: &[Method] = &[Method::GET, Method::POST, Method::DELETE];

const NAMED_SERVER: &[Method] = &[Method::GET, Method::PUT, Method::PATCH, Method::POST, Method::DELETE];

const SHARES: &[Method] = &[Method::GET, Method::POST, Method::PATCH, Method::DELETE];

const SHARED: &[Method] = &[Method::GET, Method::DELETE];

impl<'a> ApiPath<'a> {
    /// The address at this path, which is what follows `/hub/api` in it.
    pub fn find(path: &'a str) -> Option<Self> {
        ADDRESSES.iter().find_map(|(template, resource, _)| matched(template, *resource, path))
    }

    /// The address at a whole path.
    pub fn at(path: &'a str) -> Option<Self> {
        let below = path.strip_prefix("/hub/api")?;
        Self::find(if below == "/" { "" } else { below })
    }
}

impl Resource {
    /// Whether it is for everybody, known or not.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Health | Self::OpenApi)
    }

    /// Whether it is there only where workspaces are shared.
    pub fn is_about_shares(self) -> bool {
        matches!(
            self,
            Self::Shares
                | Self::ServerShares
                | Self::ShareCodes
                | Self::ServerShareCodes
                | Self::UserShared
                | Self::UserSharedServer
                | Self::GroupShared
                | Self::GroupSharedServer
        )
    }

    /// Its methods.
    pub fn methods(self) -> &'static [Method] {
        let row = ADDRESSES.iter().find(|(_, resource, _)| *resource == self);
        row.map(|(_, _, methods)| *methods).unwrap_or_default()
    }
}

fn matched<'a>(template: &str, resource: Resource, path: &'a str) -> Option<ApiPath<'a>> {
    let mut parts = path.split('/');
    let mut chosen = [""; 3];
    let mut slots = chosen.iter_mut();
    for segment in template.split('/') {
        let part = parts.next()?;
        if segment.starts_with('{') {
            *slots.next()? = part;
        } else if segment != part {
            return None;
        }
    }
    let [name, item, part] = chosen;
    parts.next().is_none().then_some(ApiPath { resource, name, item, part })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_api_is_exact() {
        for (path, resource, name, item) in [
            ("", Resource::Root, "", ""),
            ("/users/alice", Resource::User, "alice", ""),
            ("/users/alice/server", Resource::Server, "alice", ""),
            ("/users/a%20b/servers/gpu/progress", Resource::NamedProgress, "a%20b", "gpu"),
            ("/users/alice/servers/", Resource::NamedServer, "alice", ""),
            ("/groups/%2Flab%2Fx", Resource::Group, "%2Flab%2Fx", ""),
            ("/shares/alice", Resource::Shares, "alice", ""),
            ("/shares/alice/", Resource::ServerShares, "alice", ""),
            ("/shares/alice/gpu", Resource::ServerShares, "alice", "gpu"),
            ("/users/bob/shared/alice/", Resource::UserSharedServer, "bob", "alice"),
        ] {
            assert_eq!(ApiPath::find(path), Some(ApiPath { resource, name, item, part: "" }), "{path}");
        }
        for path in [
            "/x",
            "/users/",
            "/users/alice/",
            "/users/alice/x",
            "/user/",
            "/users//server/x",
            "/Users",
            "users",
        ] {
            let found = ApiPath::find(path).filter(|found| !found.name.is_empty());
            assert_eq!(found, None, "{path}");
        }
    }

    #[test]
    fn every_resource_has_one_address() {
        for (at, (template, resource, methods)) in ADDRESSES.iter().enumerate() {
            assert_eq!(ADDRESSES.iter().position(|(_, other, _)| other == resource), Some(at), "{template}");
            assert!(!methods.is_empty() && template.matches('{').count() <= 3, "{template}");
        }
    }
}
