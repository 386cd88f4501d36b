//! Visitors: who comes to a workspace that another user shares with them.

use http::{HeaderValue, Request, StatusCode};
use serde_json::{Value, json};

use super::Gateway;
use super::caller::Caller;
use super::head::Head;
use super::refusal::Refusal;
use crate::routes::Route;
use crate::share::{Access, Granted};
use crate::spawner::WorkspaceId;
use crate::user::{User, UserName};
use crate::workspace::State;

/// Somebody else's workspace, and the right to it at this moment.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) id: WorkspaceId,
    pub(super) granted: Granted,
}

impl Visit {
    /// Whether it may only be looked at.
    pub(super) fn looks_only(&self) -> bool {
        self.granted.access() < Access::Full
    }

    /// What of a path follows the workspace's own address, given what follows its owner's.
    pub(super) fn below<'a>(&self, below: &'a str) -> &'a str {
        match self.id.server.as_str() {
            "" => below,
            server => below.get(server.len() + 1..).unwrap_or_default(),
        }
    }
}

impl Gateway {
    /// The visit that a request is, if somebody else's workspace is shared with whoever makes it: only at that user's own
    /// host, as one origin cannot keep two users apart.
    pub(super) fn visit(&self, head: &Head<'_, '_>, caller: Option<&Caller>) -> Option<Visit> {
        let Route::Workspace { owner, below, .. } = &head.route else { return None };
        let caller = caller.filter(|caller| caller.name().as_str() != owner)?;
        head.at.label.as_ref()?;
        let id = self.0.workspaces.at(&UserName::parse(owner).ok()?, below);
        let granted = self.0.shares.find(&id, &caller.user())?;
        Some(Visit { id, granted })
    }

    /// Whether a workspace is somebody's own, or is shared with them.
    pub(super) fn may_come(&self, id: &WorkspaceId, user: &User) -> bool {
        id.user == user.name || (self.0.hosts.has_users() && self.0.shares.find(id, user).is_some())
    }

    /// A visitor comes to a workspace that does not serve: to start it is its owner's.
    pub(super) fn nobody_home<B>(request: &Request<B>, visit: &Visit, state: Option<State>) -> Refusal {
        match state {
            Some(State::Stopping) => Refusal::Stopping,
            Some(State::Starting(_) | State::Failing(_) | State::Ready(_)) | None => {
                Refusal::NobodyHome(NobodyHome {
                    owner: visit.id.user.clone(),
                    api: super::stopped::is_api(request),
                })
            }
        }
    }
}

/// The name by which a workspace knows whoever comes.
pub(super) fn name_value(name: &UserName) -> HeaderValue {
    HeaderValue::from_str(&name.path_segment()).unwrap_or(HeaderValue::from_static("-"))
}

/// A workspace that is shared does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NobodyHome {
    pub owner: UserName,
    /// It was no address for people, whatever they accept.
    pub api: bool,
}

impl NobodyHome {
    /// For programs, as JupyterHub tells of a server that does not run.
    pub(super) fn answer(&self) -> Value {
        let message = format!("the server of {} is not running", self.owner);
        json!({ "status": StatusCode::FAILED_DEPENDENCY.as_u16(), "message": message })
    }
}
