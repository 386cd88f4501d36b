//! What is told of a workspace that does not run to whoever did not come to start it, as JupyterHub tells it.

use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::authorize::Permit;
use super::caller::Caller;
use super::refusal::Refusal;
use super::{Body, Gateway, Origin, see_other, with_query};
use crate::config::StoppedStatus;
use crate::routes::Route;
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
        Stopped { api: is_api(request), ..self.stopped_at(at, request.uri().path(), caller, id) }
    }

    /// `/hub/user/<name>/…`, where a JupyterHub takes what no server took. A page goes on to the server; all else is answered
    /// as of one that is stopped, and goes nowhere: whoever follows a redirect asks for something else there.
    pub(super) fn at_hub<B>(
        &self,
        at: &Origin,
        request: &Request<B>,
        permit: &Permit,
        rest: &str,
    ) -> Result<Response<Body>, Refusal> {
        let path = format!("/user/{rest}");
        if [Method::GET, Method::HEAD].contains(request.method()) {
            return Ok(see_other(&with_query(&path, request)));
        }
        let caller = permit.caller().ok_or(Refusal::LoginRequired { next: None })?;
        let Ok(Route::Workspace { owner, below, .. }) = Route::find(&path) else {
            return Err(Refusal::BadPath);
        };
        if caller.name().as_str() != owner {
            return Err(Refusal::NotYours);
        }
        let id = self.0.workspaces.at(caller.name(), below);
        Err(Refusal::Stopped(self.stopped_at(at, &path, caller, &id)))
    }

    fn stopped_at(&self, at: &Origin, path: &str, caller: &Caller, id: &WorkspaceId) -> Stopped {
        let own = id.path();
        let server = own.strip_prefix("/user/").unwrap_or_default().trim_end_matches('/');
        Stopped {
            status: self.stopped_status(caller),
            api: true,
            path: path.to_owned(),
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
