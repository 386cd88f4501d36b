//! The REST API of the public listeners, for programs in a user's name, in JupyterHub's forms and status codes: the
//! user, their server, their tokens. What containers ask is in `jupyterhub`.

mod sessions;
mod tokens;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::authorize::Permit;
use super::caller::Caller;
use super::page::json;
use super::program::ProgramRefusal;
use super::refusal::Refusal;
use super::{Body, Gateway, empty, form};
use crate::clock::Timestamp;
use crate::token::Scope;
use crate::user::UserName;
use crate::workspace::State;

/// What may be said about a start.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StartOptions {
    profile: Option<String>,
}

impl Gateway {
    /// `/hub/api/user`: who calls. Everybody who is known may ask that much.
    pub(super) fn api_own(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
    ) -> Result<Response<Body>, Refusal> {
        let caller = known(permit)?;
        if *request.method() != Method::GET {
            return Err(Refusal::Method);
        }
        let name = caller.name();
        let mut answer = json!({
            "kind": "user", "name": name.as_str(), "scopes": scopes(caller),
            "token_id": match caller {
                Caller::Token(token) => Some(token.id.to_string()),
                Caller::Session(_) | Caller::Bearer(_) => None,
            },
        });
        if caller.scopes().contains(Scope::ReadUsers) {
            merge(&mut answer, self.user_model(caller));
        }
        Ok(json(StatusCode::OK, &answer))
    }

    /// `/hub/api/users/<name>` and what is below it. Of somebody else there is nothing, whether they exist or not.
    pub(super) async fn api_users(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
        rest: &str,
    ) -> Result<Response<Body>, Refusal> {
        let caller = known(permit)?;
        let (name, below) = rest.split_once('/').unwrap_or((rest, ""));
        if let (Ok(name), "sessions") = (UserName::from_path_segment(name), below) {
            return self.api_sessions_of(request, caller, &name).await;
        }
        if UserName::from_path_segment(name).ok().as_ref() != Some(caller.name()) {
            return Ok(problem(StatusCode::NOT_FOUND, "No such user"));
        }
        match (below, request.method().clone()) {
            ("", Method::GET) => {
                need(caller, Scope::ReadUsers)?;
                Ok(json(StatusCode::OK, &self.user_model(caller)))
            }
            ("server", Method::POST) => {
                need(caller, Scope::Servers)?;
                self.api_start(request, caller).await
            }
            ("server", Method::DELETE) => {
                need(caller, Scope::Servers)?;
                Ok(self.api_stop(caller))
            }
            ("" | "server", _) => Err(Refusal::Method),
            ("tokens", _) => self.api_tokens(request, caller).await,
            (below, _) => match below.strip_prefix("tokens/") {
                Some(id) => self.api_token_of(request, caller, id).await,
                None => Err(Refusal::NotFound),
            },
        }
    }

    /// 201: it runs. 202: it starts, and will go on. 400: it cannot.
    async fn api_start(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
    ) -> Result<Response<Body>, Refusal> {
        let options: StartOptions = body(request).await?;
        let user = caller.user();
        let id = self.0.workspaces.id(&user.name);
        match self.0.workspaces.state(&id) {
            Some(State::Ready(_)) => {
                return Ok(problem(StatusCode::BAD_REQUEST, "The server is already running"));
            }
            Some(State::Starting(_)) => return Ok(empty(StatusCode::ACCEPTED)),
            Some(State::Stopping) => return Err(Refusal::Stopping),
            Some(State::Failing(_)) | None => {}
        }
        let profile = match &options.profile {
            Some(name) => {
                let granted = user.profiles.iter().any(|granted| **granted == **name);
                self.0.workspaces.profile(name).filter(|_| granted)
            }
            None => self.only_profile(&user),
        };
        let Some(profile) = profile else {
            let profiles = user.profiles.join(", ");
            let message = format!("Choose a profile: {{\"profile\": …}}, one of {profiles}");
            return Ok(problem(StatusCode::BAD_REQUEST, &message));
        };
        self.0.workspaces.start(&id, &user, &Arc::clone(profile));
        Ok(empty(StatusCode::ACCEPTED))
    }

    /// 204: it does not run. 202: it stops.
    fn api_stop(&self, caller: &Caller) -> Response<Body> {
        let id = self.0.workspaces.id(caller.name());
        self.0.workspaces.stop(&id);
        let gone = matches!(self.0.workspaces.state(&id), None | Some(State::Failing(_)));
        empty(if gone { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED })
    }

    fn user_model(&self, caller: &Caller) -> Value {
        let user = caller.user();
        let state = self.0.workspaces.state(&self.0.workspaces.id(&user.name));
        let url = self.0.workspaces.id(&user.name).path();
        let (ready, pending) = match &state {
            Some(State::Ready(_)) => (true, None),
            Some(State::Starting(_)) => (false, Some("spawn")),
            Some(State::Stopping) => (false, Some("stop")),
            Some(State::Failing(_)) | None => (false, None),
        };
        let profile = match &state {
            Some(State::Ready(ready)) => Some(&ready.profile),
            Some(State::Starting(starting)) => Some(&starting.profile),
            Some(State::Failing(_) | State::Stopping) | None => None,
        };
        let mut servers = json!({});
        if ready || pending.is_some() {
            servers = json!({ "": {
                "name": "", "ready": ready, "pending": pending, "stopped": false, "url": url,
                "user_options": { "profile": profile },
            } });
        }
        json!({
            "kind": "user", "name": user.name.as_str(), "admin": user.admin, "groups": [], "roles": [],
            "server": ready.then_some(&url), "pending": pending, "servers": servers,
            "profiles": user.profiles,
        })
    }
}

fn known(permit: &Permit) -> Result<&Caller, Refusal> {
    permit.caller().ok_or(Refusal::LoginRequired { next: None })
}

fn need(caller: &Caller, scope: Scope) -> Result<(), Refusal> {
    if caller.scopes().contains(scope) { Ok(()) } else { Err(ProgramRefusal::Scope(scope).into()) }
}

/// As JupyterHub writes them: what is about the owner says so.
fn scopes(caller: &Caller) -> Vec<String> {
    let name = caller.name();
    let written = |scope: Scope| {
        let own = if scope.is_admin() { String::new() } else { format!("!user={name}") };
        format!("{}{own}", scope.name())
    };
    caller.scopes().iter().map(written).collect()
}

/// The JSON object in a body; nothing at all is an empty one.
async fn body<T: DeserializeOwned + Default>(request: Request<Incoming>) -> Result<T, Refusal> {
    let bytes = form::read(request).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    let wrong = |_error| Refusal::BadRequest("not the JSON it should be");
    let object: Map<String, Value> = serde_json::from_slice(&bytes).map_err(wrong)?;
    serde_json::from_value(Value::Object(object)).map_err(wrong)
}

/// An error as JupyterHub writes it.
fn problem(status: StatusCode, message: &str) -> Response<Body> {
    json(status, &json!({ "status": status.as_u16(), "message": message }))
}

/// RFC 3339.
fn time(timestamp: Timestamp) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(timestamp)).to_string()
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}
