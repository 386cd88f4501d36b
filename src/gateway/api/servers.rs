//! Servers: how they are, start, stop, and those with names.

use std::collections::BTreeMap;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Map, Value};
use tracing::info;

use super::access::{START, STOP, WATCH};
use super::{body, problem, shortened, wrong};
use crate::gateway::caller::Caller;
use crate::gateway::hosts::Origin;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::wanted::{NoStart, Wanted, not_offered};
use crate::gateway::{Body, Gateway, empty};
use crate::spawner::WorkspaceId;
use crate::user::{User, UserName};
use crate::workspace::{DisplayName, ServerError, State};

/// What may be said about a start.
#[derive(Debug, Default, PartialEq, Eq)]
struct StartOptions {
    wanted: Wanted,
    /// Options of the profile, by name.
    chosen: BTreeMap<String, String>,
    /// What people are to see a named one called.
    display_name: Option<DisplayName>,
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
            Method::PUT => {
                self.allow(caller, (&id.user, Some(&id.server)), &START, &request).await?;
                self.api_make_server(request, caller, at, &id).await
            }
            Method::PATCH => {
                self.allow(caller, (&id.user, Some(&id.server)), &START, &request).await?;
                self.api_change_server(request, caller, at, &id).await
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

    /// The owner of a server as the rules have them now; nobody, if these let them in no more, or they have never come.
    async fn owner_now(&self, caller: &Caller, name: &UserName) -> Result<Option<User>, Refusal> {
        if caller.name() == name {
            return Ok(Some(caller.user()));
        }
        let created = self.created(name).await?;
        Ok(self.recalled(name.clone(), created).await?.user)
    }

    /// A server is there if its owner is, and it is their default one, or was made.
    pub(super) async fn check_there(&self, caller: &Caller, id: &WorkspaceId) -> Result<(), Refusal> {
        if caller.name() != &id.user {
            self.created(&id.user).await?;
        }
        if self.0.workspaces.of(&id.user).contains(id) { Ok(()) } else { Err(Refusal::NoSuch("server")) }
    }

    /// 201: it is there, and does not run. 409: it was there already.
    async fn api_make_server(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        at: &Origin,
        id: &WorkspaceId,
    ) -> Result<Response<Body>, Refusal> {
        let mut asked: Map<String, Value> = body(request).await?;
        // Nothing in them is nothing to keep.
        if asked.get("user_options").is_some_and(is_nothing) {
            asked.remove("user_options");
        }
        let shown = match shown_as(asked) {
            Ok(shown) => shown,
            Err(message) => return Ok(wrong(&message)),
        };
        if self.owner_now(caller, &id.user).await?.is_none() {
            return Ok(no_rule(&id.user));
        }
        match self.0.workspaces.add_server(id, shown, self.0.clock.now()).await {
            Ok(true) => {
                let state = self.0.workspaces.state(id);
                Ok(json(StatusCode::CREATED, &self.server_model(id, state.as_ref(), at)))
            }
            Ok(false) => {
                let which = if id.server.is_default() { "a default server" } else { id.server.as_str() };
                Ok(problem(StatusCode::CONFLICT, &format!("User {} already has {which}", id.user)))
            }
            Err(error) => refused_server(error),
        }
    }

    /// Shows one by another name. Its own stands in its address, and in the names of its container and volumes.
    async fn api_change_server(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        at: &Origin,
        id: &WorkspaceId,
    ) -> Result<Response<Body>, Refusal> {
        let asked: Map<String, Value> = body(request).await?;
        self.check_there(caller, id).await?;
        let name = match shown_as(asked) {
            Ok(Some(name)) => name,
            Ok(None) => return Ok(wrong("Say the display_name to show it by")),
            Err(message) => return Ok(wrong(&message)),
        };
        if id.server.is_default() {
            return Ok(wrong("The default server is shown by its owner's name"));
        }
        self.0.workspaces.show_as(id, &name).await?;
        let state = self.0.workspaces.state(id);
        Ok(json(StatusCode::OK, &self.server_model(id, state.as_ref(), at)))
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
            Err(message) => return Ok(wrong(&message)),
        };
        let Some(user) = self.owner_now(caller, &id.user).await? else { return Ok(no_rule(&id.user)) };
        match self.0.workspaces.state(id) {
            Some(State::Ready(_)) => {
                let message = format!("{} is already running", log_name(id));
                return Ok(wrong(&message));
            }
            Some(State::Starting(_)) => return Ok(empty(StatusCode::ACCEPTED)),
            Some(State::Stopping) => {
                let message = format!("{} is pending stop", log_name(id));
                return Ok(wrong(&message));
            }
            Some(State::Failing(_)) | None => {}
        }
        let profile = match self.chosen(&user, &options.wanted) {
            Ok(profile) => profile,
            Err(NoStart::NotOffered(what)) => return Err(not_offered(&what)),
            Err(NoStart::Choose) => {
                let message =
                    format!("Choose a profile: {{\"profile\": …}}, one of {}", user.profiles.join(", "));
                return Ok(wrong(&message));
            }
        };
        let known = self.0.workspaces.settled(profile).options;
        let is_known = |name: &&String| known.iter().any(|option| option.name == **name);
        if let Some(unknown) = options.chosen.keys().find(|name| !is_known(name)) {
            let names = known.iter().map(|option| option.name.as_str());
            let names: Vec<_> = ["profile", "image"].into_iter().chain(names).collect();
            let unknown = shortened(unknown);
            let message = format!("There is no option {unknown:?}, only {}", names.join(", "));
            return Ok(wrong(&message));
        }
        let said = |name: &str| options.chosen.get(name).map(String::as_str);
        let chosen = self.0.workspaces.choose(profile, said)?;
        let shown = options.display_name;
        match self.0.workspaces.add_server(id, shown.clone(), self.0.clock.now()).await {
            Ok(true) => {}
            Ok(false) => {
                if let Some(name) = shown.filter(|_| !id.server.is_default()) {
                    self.0.workspaces.show_as(id, &name).await?;
                }
            }
            Err(error) => return refused_server(error),
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
            return Ok(wrong("Cannot delete the default server"));
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
        let display_name = take_display_name(&mut asked)?;
        let mut options = match asked.remove("user_options") {
            Some(Value::Object(options)) => options,
            Some(Value::Null) => Map::new(),
            Some(_) => return Err("user_options must be an object or null".to_owned()),
            None => std::mem::take(&mut asked),
        };
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
        Ok(Self { wanted, chosen: chosen.collect::<Result<_, _>>()?, display_name })
    }
}

fn no_rule(name: &UserName) -> Response<Body> {
    let message = format!("No rule lets {name} in, by what the login service last said");
    problem(StatusCode::FORBIDDEN, &message)
}

/// What a server is to be shown by, where nothing else can be said of it.
fn shown_as(mut asked: Map<String, Value>) -> Result<Option<DisplayName>, String> {
    let shown = take_display_name(&mut asked)?;
    match asked.keys().next().map(String::as_str) {
        None => Ok(shown),
        Some("name") => {
            Err("A server keeps its name, by which its home is found; see display_name".to_owned())
        }
        Some("user_options") => {
            Err("Options are said when a server starts, and are not kept before".to_owned())
        }
        Some(unknown) => Err(format!("There is nothing called {:?} beside display_name", shortened(unknown))),
    }
}

fn is_nothing(options: &Value) -> bool {
    options.is_null() || options.as_object().is_some_and(Map::is_empty)
}

/// `""` is none, as to a JupyterHub.
fn take_display_name(asked: &mut Map<String, Value>) -> Result<Option<DisplayName>, String> {
    match asked.remove("display_name") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => DisplayName::parse(&text).map(Some).map_err(|wrong| wrong.to_string()),
        Some(_) => Err("display_name must be a string".to_owned()),
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
            Ok(wrong(&error.to_string()))
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
            Ok(StartOptions { wanted, ..StartOptions::default() })
        };
        for (asked, expected) in [
            (json!({}), profile(None, None)),
            (json!({ "profile": "lab" }), profile(Some("lab"), None)),
            (json!({ "image": "lab:1", "profile": null }), profile(None, Some("lab:1"))),
            (json!({ "user_options": { "profile": "lab" } }), profile(Some("lab"), None)),
            (json!({ "user_options": null, "display_name": null }), profile(None, None)),
            (json!({ "display_name": "" }), profile(None, None)),
        ] {
            assert_eq!(read(asked.clone()), expected, "{asked}");
        }
        let shown = read(json!({ "display_name": "My lab", "user_options": { "profile": "lab" } })).unwrap();
        assert_eq!(shown.display_name, DisplayName::parse("My lab").ok());
        assert_eq!(shown.wanted.profile.as_deref(), Some("lab"));
        let reset = read(json!({ "profile": "lab", "factory_reset": "1" })).unwrap();
        assert_eq!(reset.chosen["factory_reset"], "1");
        for wrong in [
            json!({ "mem_limit": 9 }),
            json!({ "profile": 7 }),
            json!({ "display_name": 7 }),
            json!({ "display_name": "a\nb" }),
            json!({ "user_options": [] }),
            json!({ "user_options": {}, "cmd": "sh" }),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
