//! Servers: how they are, start, stop, and those with names.

use std::collections::BTreeMap;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Map, Value};
use tracing::info;

use super::access::{START, STOP, WATCH};
use super::{body, problem, shortened};
use crate::gateway::caller::Caller;
use crate::gateway::hosts::Origin;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::wanted::{NoStart, Wanted, not_offered};
use crate::gateway::{Body, Gateway, empty};
use crate::spawner::WorkspaceId;
use crate::workspace::{ServerError, State};

/// What may be said about a start.
#[derive(Debug, Default, PartialEq, Eq)]
struct StartOptions {
    wanted: Wanted,
    /// Options of the profile, by name.
    chosen: BTreeMap<String, String>,
}

/// What may be said about a stop.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StopOptions {
    /// Takes a named server away from its owner.
    remove: bool,
}

impl Gateway {
    /// `/users/<name>/server`, and `/users/<name>/servers/<server>`.
    pub(super) async fn api_server(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        at: &Origin,
        id: WorkspaceId,
    ) -> Result<Response<Body>, Refusal> {
        match *request.method() {
            Method::GET => {
                self.allow(caller, (&id.user, Some(&id.server)), &WATCH, &request).await?;
                self.check_there(caller, &id).await?;
                let state = self.0.workspaces.state(&id);
                Ok(json(StatusCode::OK, &self.server_model(&id, state.as_ref(), at)))
            }
            Method::POST => {
                self.allow(caller, (&id.user, Some(&id.server)), &START, &request).await?;
                self.api_start(request, caller, &id).await
            }
            Method::DELETE => {
                self.allow(caller, (&id.user, Some(&id.server)), &STOP, &request).await?;
                self.api_stop(request, caller, &id).await
            }
            _ => Err(Refusal::Method),
        }
    }

    /// A server is there if its owner is, and it is their default one, or was made.
    pub(super) async fn check_there(&self, caller: &Caller, id: &WorkspaceId) -> Result<(), Refusal> {
        if caller.name() != &id.user {
            self.created(&id.user).await?;
        }
        if self.0.workspaces.of(&id.user).contains(id) { Ok(()) } else { Err(Refusal::NoSuch("server")) }
    }

    /// 202: it starts, and will go on. 400: it cannot. 403: what nobody offered, or to whom nothing is.
    async fn api_start(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        id: &WorkspaceId,
    ) -> Result<Response<Body>, Refusal> {
        let options = match StartOptions::read(body(request).await?) {
            Ok(options) => options,
            Err(message) => return Ok(problem(StatusCode::BAD_REQUEST, &message)),
        };
        let user = if caller.name() == &id.user {
            caller.user()
        } else {
            let created = self.created(&id.user).await?;
            let person = self.recalled(id.user.clone(), created).await?;
            let Some(user) = person.user else {
                let message = format!("No rule lets {} in, by what the login service last said", id.user);
                return Ok(problem(StatusCode::FORBIDDEN, &message));
            };
            user
        };
        match self.0.workspaces.state(id) {
            Some(State::Ready(_)) => {
                let message = format!("{} is already running", log_name(id));
                return Ok(problem(StatusCode::BAD_REQUEST, &message));
            }
            Some(State::Starting(_)) => return Ok(empty(StatusCode::ACCEPTED)),
            Some(State::Stopping) => {
                let message = format!("{} is pending stop", log_name(id));
                return Ok(problem(StatusCode::BAD_REQUEST, &message));
            }
            Some(State::Failing(_)) | None => {}
        }
        let profile = match self.chosen(&user, &options.wanted) {
            Ok(profile) => profile,
            Err(NoStart::NotOffered(what)) => return Err(not_offered(&what)),
            Err(NoStart::Choose) => {
                let message =
                    format!("Choose a profile: {{\"profile\": …}}, one of {}", user.profiles.join(", "));
                return Ok(problem(StatusCode::BAD_REQUEST, &message));
            }
        };
        let known = self.0.workspaces.settled(profile).options;
        let is_known = |name: &&String| known.iter().any(|option| option.name == **name);
        if let Some(unknown) = options.chosen.keys().find(|name| !is_known(name)) {
            let names = known.iter().map(|option| option.name.as_str());
            let names: Vec<_> = ["profile", "image"].into_iter().chain(names).collect();
            let unknown = shortened(unknown);
            let message = format!("There is no option {unknown:?}, only {}", names.join(", "));
            return Ok(problem(StatusCode::BAD_REQUEST, &message));
        }
        let said = |name: &str| options.chosen.get(name).map(String::as_str);
        let chosen = self.0.workspaces.choose(profile, said)?;
        if let Err(error) = self.0.workspaces.add_server(id, self.0.clock.now()).await {
            return refused_server(error);
        }
        if caller.name() != &id.user {
            info!(event = "workspace_start_ordered", workspace = %id, by = %caller.name(), "an administrator starts a workspace");
        }
        self.0.workspaces.start(id, &user, profile, chosen);
        Ok(empty(StatusCode::ACCEPTED))
    }

    /// 204: it does not run. 202: it stops, or its start does.
    async fn api_stop(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        id: &WorkspaceId,
    ) -> Result<Response<Body>, Refusal> {
        let StopOptions { remove } = body(request).await?;
        self.check_there(caller, id).await?;
        if remove && id.server.is_default() {
            return Ok(problem(StatusCode::BAD_REQUEST, "Cannot delete the default server"));
        }
        if caller.name() != &id.user {
            info!(event = "workspace_stop_ordered", workspace = %id, by = %caller.name(), "an administrator stops a workspace");
        }
        let gone = if remove {
            self.0.shares.forget(id).await?;
            let removed = self.0.workspaces.stop_and_remove(id).await;
            // What was shared at the same moment; what is shared from now on, is of a server that goes.
            self.0.shares.forget(id).await?;
            match removed {
                Ok(gone) => gone,
                Err(error) => return refused_server(error),
            }
        } else {
            self.0.workspaces.stop(id);
            matches!(self.0.workspaces.state(id), None | Some(State::Failing(_)))
        };
        Ok(empty(if gone { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED }))
    }
}

impl StartOptions {
    /// JupyterHub's two forms: the options themselves, or, since version 6, beside a `display_name`. An option that is
    /// not known is refused: whoever asks for so much memory must hear that it was not heard.
    fn read(mut asked: Map<String, Value>) -> Result<Self, String> {
        let mut options = match asked.remove("user_options") {
            Some(Value::Object(options)) => options,
            Some(Value::Null) => Map::new(),
            Some(_) => return Err("user_options must be an object or null".to_owned()),
            None => {
                asked.remove("display_name");
                std::mem::take(&mut asked)
            }
        };
        asked.remove("display_name");
        let mut text = |key: &str| match options.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{key} must be a string")),
        };
        let wanted = Wanted { profile: text("profile")?, image: text("image")? };
        if let Some(unknown) = asked.keys().next() {
            let unknown = shortened(unknown);
            return Err(format!("There is nothing called {unknown:?} beside user_options"));
        }
        // Which of the rest the profile has is known when the profile is.
        let chosen = options.into_iter().map(|(name, value)| match value {
            Value::String(value) => Ok((name, value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Err(format!("{} must be a string", shortened(&name)))
            }
        });
        Ok(Self { wanted, chosen: chosen.collect::<Result<_, _>>()? })
    }
}

/// As JupyterHub calls it in messages.
fn log_name(id: &WorkspaceId) -> String {
    let named = if id.server.is_default() { "" } else { ":" };
    format!("{}{named}{}", id.user, id.server)
}

fn refused_server(error: ServerError) -> Result<Response<Body>, Refusal> {
    match error {
        ServerError::Store(error) => Err(error.into()),
        ServerError::Name(_) | ServerError::TooMany { .. } | ServerError::Runs => {
            Ok(problem(StatusCode::BAD_REQUEST, &error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(asked: Value) -> Result<StartOptions, String> {
        StartOptions::read(asked.as_object().cloned().unwrap())
    }

    #[test]
    fn options_come_in_both_of_jupyterhubs_forms_and_none_is_overheard() {
        let profile = |profile: Option<&str>, image: Option<&str>| {
            let text = |text: Option<&str>| text.map(ToOwned::to_owned);
            let wanted = Wanted { profile: text(profile), image: text(image) };
            Ok(StartOptions { wanted, chosen: BTreeMap::new() })
        };
        for (asked, expected) in [
            (json!({}), profile(None, None)),
            (json!({ "profile": "lab" }), profile(Some("lab"), None)),
            (json!({ "image": "lab:1", "profile": null }), profile(None, Some("lab:1"))),
            (
                json!({ "display_name": "x", "user_options": { "profile": "lab" } }),
                profile(Some("lab"), None),
            ),
            (json!({ "user_options": null }), profile(None, None)),
            (json!({ "display_name": "x" }), profile(None, None)),
        ] {
            assert_eq!(read(asked.clone()), expected, "{asked}");
        }
        let reset = read(json!({ "profile": "lab", "factory_reset": "1" })).unwrap();
        assert_eq!(reset.chosen["factory_reset"], "1");
        for wrong in [
            json!({ "mem_limit": 9 }),
            json!({ "profile": 7 }),
            json!({ "user_options": [] }),
            json!({ "user_options": {}, "cmd": "sh" }),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
