//! What is told of a workspace that does not run to whoever did not come to start it, as JupyterHub tells it.

use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::caller::Caller;
use super::{Gateway, Origin};
use crate::config::StoppedStatus;
use crate::spawner::WorkspaceId;

/// An answer to what was asked of a workspace that does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stopped {
    /// As this user's images understand it.
    pub status: StatusCode,
    /// It was no address for people, whatever they accept.
    pub api: bool,
    /// What was asked for.
    path: String,
    /// Where it can be started.
    spawn: String,
}

impl Stopped {
    /// For programs: some look for JupyterHub's words.
    pub(super) fn answer(&self) -> Value {
        let Self { status, path, spawn, .. } = self;
        let message = format!("JupyterHub server no longer running at {path}. Restart the server at {spawn}");
        json!({ "status": status.as_u16(), "message": message })
    }
}

/// Whether a request is none of a person who opens a page: what polls a server's API by a browser starts nothing.
pub(super) fn is_api<B>(request: &Request<B>) -> bool {
    request.method() != Method::GET || request.uri().path().split('/').any(|segment| segment == "api")
}

impl Gateway {
    pub(super) fn stopped<B>(
        &self,
        at: &Origin,
        request: &Request<B>,
        caller: &Caller,
        id: &WorkspaceId,
    ) -> Stopped {
        let path = id.path();
        let server = path.strip_prefix("/user/").unwrap_or_default().trim_end_matches('/');
        Stopped {
            status: self.stopped_status(caller),
            api: is_api(request),
            path: request.uri().path().to_owned(),
            spawn: format!("{}/hub/spawn/{server}", at.origin),
        }
    }

    /// One for all that a user may start: which of them a page was of that still asks is not known any more.
    fn stopped_status(&self, caller: &Caller) -> StatusCode {
        let user = caller.user();
        let mut theirs = user.profiles.iter().filter_map(|name| self.0.workspaces.profile(name));
        if theirs.any(|profile| profile.stopped_status == StoppedStatus::Unavailable) {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::FAILED_DEPENDENCY
        }
    }
}
