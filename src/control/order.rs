//! What administrators ask for: a request becomes an order, or is not understood. Pure.

use http::{Method, Uri};

use super::unanswered::Unanswered;
use super::wire::Wanted;
use crate::server_name::ServerName;
use crate::session::ShortId;
use crate::share::{CodeId, ShareId};
use crate::spawner::WorkspaceId;
use crate::token::{Note, Scopes, TokenId};
use crate::user::UserName;

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Of one user, or of all.
    ListTokens(Option<UserName>),
    MakeToken(UserName, WantedToken),
    RevokeToken(TokenId),
    RevokeTokensOf(UserName),
    /// Of one user, or of all.
    ListSessions(Option<UserName>),
    EndSession(ShortId),
    EndSessionsOf(UserName),
    /// Of one owner, or of all.
    ListShares(Option<UserName>),
    EndShare(ShareId),
    EndShareCode(CodeId),
    EndSharesOf(UserName),
    ListUsers,
    Explain(UserName),
    ListWorkspaces,
    StopWorkspace(WorkspaceId),
    Upgrade,
}

/// What a token is to be made for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WantedToken {
    pub(super) scopes: Scopes,
    pub(super) note: Note,
    /// Seconds.
    pub(super) lifetime: Option<u64>,
}

impl Order {
    pub(super) fn read(method: &Method, uri: &Uri, body: &[u8]) -> Result<Self, Unanswered> {
        let path = uri.path().strip_prefix('/').unwrap_or_default();
        let segments: Vec<&str> = path.split('/').collect();
        match (method.as_str(), segments.as_slice()) {
            ("GET", ["sessions"]) => Ok(Self::ListSessions(None)),
            ("DELETE", ["sessions", id]) => ShortId::parse(id)
                .map(Self::EndSession)
                .ok_or(Unanswered::Unclear("a session's id has 12 digits")),
            ("GET", ["users", name, "sessions"]) => Ok(Self::ListSessions(Some(user(name)?))),
            ("DELETE", ["users", name, "sessions"]) => Ok(Self::EndSessionsOf(user(name)?)),
            ("GET", ["users"]) => Ok(Self::ListUsers),
            ("GET", ["users", name, "explanation"]) => Ok(Self::Explain(user(name)?)),
            ("GET", ["tokens"]) => Ok(Self::ListTokens(None)),
            ("DELETE", ["tokens", id]) => {
                TokenId::parse(id).map(Self::RevokeToken).ok_or(Unanswered::Unclear("that is no token's id"))
            }
            ("GET", ["users", name, "tokens"]) => Ok(Self::ListTokens(Some(user(name)?))),
            ("POST", ["users", name, "tokens"]) => {
                let name = user(name)?;
                let wanted = WantedToken::read(body, &name)?;
                Ok(Self::MakeToken(name, wanted))
            }
            ("DELETE", ["users", name, "tokens"]) => Ok(Self::RevokeTokensOf(user(name)?)),
            ("GET", ["shares"]) => Ok(Self::ListShares(None)),
            ("DELETE", ["shares", id]) => share(id),
            ("GET", ["users", name, "shares"]) => Ok(Self::ListShares(Some(user(name)?))),
            ("DELETE", ["users", name, "shares"]) => Ok(Self::EndSharesOf(user(name)?)),
            ("GET", ["workspaces"]) => Ok(Self::ListWorkspaces),
            ("DELETE", ["users", name, "workspace"]) => workspace(name, "").map(Self::StopWorkspace),
            ("DELETE", ["users", name, "workspace", server]) => {
                workspace(name, server).map(Self::StopWorkspace)
            }
            ("POST", ["upgrade"]) => Ok(Self::Upgrade),
            _ => Err(Unanswered::Unclear("there is nothing of that name")),
        }
    }
}

impl WantedToken {
    fn read(body: &[u8], owner: &UserName) -> Result<Self, Unanswered> {
        let Wanted { scopes, note, lifetime } = serde_json::from_slice(body)
            .map_err(|_other| Unanswered::Unclear("that is no description of a token"))?;
        let named = Scopes::parse(scopes.iter().map(String::as_str), Some(owner));
        let named = named.map_err(Unanswered::Scope)?;
        Ok(Self {
            scopes: if named.is_empty() { Scopes::ordinary() } else { named },
            note: Note::parse(&note).map_err(|_bad| Unanswered::Note)?,
            lifetime,
        })
    }
}

/// A share, or a link.
fn share(id: &str) -> Result<Order, Unanswered> {
    let link = || CodeId::parse(id).map(Order::EndShareCode);
    let found = ShareId::parse(id).map(Order::EndShare).or_else(link);
    found.ok_or(Unanswered::Unclear("that is no share's id"))
}

fn workspace(name: &str, server: &str) -> Result<WorkspaceId, Unanswered> {
    let server =
        ServerName::parse(server).map_err(|_no_name| Unanswered::Unclear("that is no server's name"))?;
    Ok(WorkspaceId { user: user(name)?, server })
}

fn user(segment: &str) -> Result<UserName, Unanswered> {
    UserName::from_path_segment(segment).map_err(|_no_name| Unanswered::Unclear("that is no user name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, path: &str) -> Option<Order> {
        Order::read(&method.parse().unwrap(), &path.parse().unwrap(), b"").ok()
    }

    #[test]
    fn an_order_is_read_in_one_way() {
        let anna = || UserName::parse("anna b@epfl.ch").unwrap();
        let of_anna = "/users/anna%20b@epfl.ch/sessions";
        assert_eq!(read("GET", "/sessions"), Some(Order::ListSessions(None)));
        assert_eq!(read("GET", of_anna), Some(Order::ListSessions(Some(anna()))));
        assert_eq!(read("DELETE", of_anna), Some(Order::EndSessionsOf(anna())));
        assert_eq!(
            read("DELETE", "/sessions/0123456789ab"),
            Some(Order::EndSession(ShortId::parse("0123456789ab").unwrap()))
        );
        assert_eq!(read("GET", "/users/anna%20b@epfl.ch/explanation"), Some(Order::Explain(anna())));
        assert_eq!(
            read("DELETE", "/users/anna%20b@epfl.ch/workspace"),
            Some(Order::StopWorkspace(WorkspaceId { user: anna(), server: ServerName::default() }))
        );
        assert_eq!(
            read("DELETE", "/users/anna%20b@epfl.ch/workspace/gpu"),
            Some(Order::StopWorkspace(WorkspaceId {
                user: anna(),
                server: ServerName::parse("gpu").unwrap()
            }))
        );
        assert_eq!(read("DELETE", "/users/anna%20b@epfl.ch/tokens"), Some(Order::RevokeTokensOf(anna())));
        assert_eq!(read("DELETE", "/users/anna%20b@epfl.ch/shares"), Some(Order::EndSharesOf(anna())));
        assert_eq!(read("POST", "/upgrade"), Some(Order::Upgrade));
        let (share, link) = ("s00010203040506ff", "sc_00010203040506ff");
        assert_eq!(read("DELETE", &format!("/shares/{share}")), ShareId::parse(share).map(Order::EndShare));
        assert_eq!(read("DELETE", &format!("/shares/{link}")), CodeId::parse(link).map(Order::EndShareCode));
        for (method, path) in [
            ("DELETE", "/shares"),
            ("DELETE", "/shares/s1"),
            ("POST", "/shares"),
            ("DELETE", "/tokens"),
            ("DELETE", "/tokens/a1"),
            ("POST", "/tokens"),
            ("POST", "/users/x/tokens"),
            ("DELETE", "/users"),
            ("DELETE", "/workspaces"),
            ("GET", "/users/x/workspace"),
            ("DELETE", "/sessions"),
            ("DELETE", "/sessions/"),
            ("DELETE", "/sessions/*"),
            ("DELETE", "/users//sessions"),
            ("DELETE", "/users/ALICE/sessions"),
            ("DELETE", "/users/a%2fb/sessions"),
            ("POST", "/sessions"),
            ("GET", "/upgrade"),
            ("GET", "/sessions/0123456789ab"),
            ("GET", "//sessions"),
            ("GET", "/"),
        ] {
            assert_eq!(read(method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn a_token_is_described_whole_and_by_scopes_that_there_are() {
        let read = |body: &str| {
            let path = "/users/anna/tokens".parse().unwrap();
            Order::read(&Method::POST, &path, body.as_bytes())
        };
        let made = |body: &str| match read(body) {
            Ok(Order::MakeToken(_, wanted)) => wanted,
            other => panic!("{other:?}"),
        };
        let plain = made(r#"{"scopes": [], "note": " x ", "lifetime": null}"#);
        assert_eq!((plain.scopes, plain.note.as_str(), plain.lifetime), (Scopes::ordinary(), "x", None));
        let one = made(r#"{"scopes": ["tokens!user=anna"], "note": "", "lifetime": 60}"#);
        assert_eq!((one.scopes.to_string().as_str(), one.lifetime), ("tokens!user", Some(60)));
        for wrong in [
            "",
            "{}",
            r#"{"scopes": ["admin"], "note": "", "lifetime": null}"#,
            r#"{"scopes": ["tokens!server=bob/"], "note": "", "lifetime": null}"#,
            r#"{"scopes": [], "note": "a\nb", "lifetime": null}"#,
            r#"{"scopes": [], "note": "", "lifetime": -1}"#,
            r#"{"scopes": [], "note": "", "lifetime": null, "admin": true}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
