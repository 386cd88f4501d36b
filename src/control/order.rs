//! What administrators ask for: a request becomes an order, or is not understood. Pure.

use http::{Method, Uri};

use super::unanswered::Unanswered;
use crate::session::ShortId;
use crate::user::UserName;

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Of one user, or of all.
    ListSessions(Option<UserName>),
    EndSession(ShortId),
    EndSessionsOf(UserName),
    ListUsers,
    Explain(UserName),
    ListWorkspaces,
    StopWorkspace(UserName),
}

impl Order {
    pub(super) fn read(method: &Method, uri: &Uri, _body: &[u8]) -> Result<Self, Unanswered> {
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
            ("GET", ["workspaces"]) => Ok(Self::ListWorkspaces),
            ("DELETE", ["users", name, "workspace"]) => Ok(Self::StopWorkspace(user(name)?)),
            _ => Err(Unanswered::Unclear("there is nothing of that name")),
        }
    }
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
        assert_eq!(read("DELETE", "/users/anna%20b@epfl.ch/workspace"), Some(Order::StopWorkspace(anna())));
        for (method, path) in [
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
            ("GET", "/sessions/0123456789ab"),
            ("GET", "//sessions"),
            ("GET", "/"),
        ] {
            assert_eq!(read(method, path), None, "{method} {path}");
        }
    }
}
