//! Who asks on the containers' listener, and what they may: a server of itself and its owner, and of whoever came to
//! it no more than who that is. What JupyterHub gives to these tokens, and nothing beside it.

use std::num::NonZeroU16;

use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::debug;

use super::{display_name, scopes, token};
use crate::clock::utc;
use crate::gateway::api::model::paths;
use crate::gateway::api::problem;
use crate::gateway::caller::Caller;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::{Body, Gateway, form};
use crate::secret::Secret;
use crate::server_name::ServerName;
use crate::spawner::WorkspaceId;
use crate::user::UserName;
use crate::workspace::Workspaces;

/// Whoever shows a token that is good on the containers' listener.
pub(super) enum Asking {
    /// A container, by its own token.
    Server(WorkspaceId),
    /// A container, by what it has of somebody who came to it.
    Visitor(Caller, WorkspaceId),
}

/// What batchspawner's images say before their server listens.
#[derive(Deserialize)]
struct Listens {
    port: NonZeroU16,
}

impl Asking {
    /// Whom they may read of.
    fn whose(&self) -> &UserName {
        match self {
            Self::Server(id) => &id.user,
            Self::Visitor(caller, _id) => caller.name(),
        }
    }
}

impl Gateway {
    /// Whose token this is. 403 is the answer that containers understand as "nobody's".
    fn asking(&self, headers: &HeaderMap) -> Result<Asking, Box<Response<Body>>> {
        let unknown = || Box::new(problem(StatusCode::FORBIDDEN, "Missing or invalid credentials."));
        let token = token(headers).ok_or_else(unknown)?;
        if let Some((caller, id)) = self.passed(token) {
            return Ok(Asking::Visitor(caller, id));
        }
        let came = || {
            let grant = self.open_grant("hub token", token)?;
            let session = self.0.sessions.by_id(&grant.session)?;
            let named = UserName::parse(&grant.owner).ok().zip(ServerName::parse(&grant.server).ok());
            let id = named.map(|(user, server)| WorkspaceId { user, server });
            let id = id.filter(|id| self.is_of(&grant, id))?;
            Some(Asking::Visitor(Caller::Session(session), id))
        };
        came().or_else(|| self.0.workspaces.holder_of(token).map(Asking::Server)).ok_or_else(unknown)
    }

    /// `/user`: whose token is this?
    pub(super) async fn api_user(&self, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
        let asking = match self.asking(headers) {
            Ok(asking) => asking,
            Err(refused) => return Ok(*refused),
        };
        let mut answer = self.model_of(&asking).await?;
        crate::gateway::api::merge(&mut answer, self.token_model(&asking));
        Ok(json(StatusCode::OK, &answer))
    }

    /// `/users/<name>`: what a token lets read of its own user, and of nobody else.
    pub(super) async fn api_user_named(
        &self,
        segment: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Refusal> {
        let asking = match self.asking(headers) {
            Ok(asking) => asking,
            Err(refused) => return Ok(*refused),
        };
        if UserName::from_path_segment(segment).ok().as_ref() != Some(asking.whose()) {
            return Ok(out_of_reach());
        }
        Ok(json(StatusCode::OK, &self.model_of(&asking).await?))
    }

    /// `/users/<name>/activity`: a container says when it was last used.
    pub(super) async fn api_activity(
        &self,
        segment: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let id = match self.asking(request.headers()) {
            Ok(Asking::Server(id)) => id,
            Ok(Asking::Visitor(..)) => return Ok(lacks_scope()),
            Err(refused) => return Ok(*refused),
        };
        if UserName::from_path_segment(segment).ok().as_ref() != Some(&id.user) {
            return Ok(out_of_reach());
        }
        let report = form::read(request).await?;
        Ok(self.take_report(&report, &id.user, |of| *of == id, Workspaces::note_report))
    }

    /// `/batchspawner`: a container says at which port its server is going to listen.
    pub(super) async fn api_port(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let id = match self.asking(request.headers()) {
            Ok(Asking::Server(id)) => id,
            Ok(Asking::Visitor(..)) => return Ok(lacks_scope()),
            Err(refused) => return Ok(*refused),
        };
        let Ok(Listens { port }) = serde_json::from_slice(&form::read(request).await?) else {
            return Ok(problem(StatusCode::BAD_REQUEST, "port must be a number from 1 to 65535"));
        };
        if !self.0.workspaces.note_port(&id, port).await? {
            return Ok(problem(
                StatusCode::CONFLICT,
                "a port is chosen while a server starts, where it has an address of its own",
            ));
        }
        debug!(workspace = %id, port, "a server chose its port");
        Ok(json(StatusCode::CREATED, &json!({ "message": "BatchSpawner data configured" })))
    }

    /// An address of JupyterHub's that no token of a container's opens.
    pub(super) fn api_denied(&self, headers: &HeaderMap) -> Response<Body> {
        self.asking(headers).map_or_else(|refused| *refused, |_asking| lacks_scope())
    }

    /// A user as far as the token goes: `read:users:name`, `read:users:groups`, and for the server `read:users:activity`.
    async fn model_of(&self, asking: &Asking) -> Result<Value, Refusal> {
        let name = asking.whose();
        let model = |admin: bool, groups: Vec<String>| json!({ "kind": "user", "name": name.as_str(), "admin": admin, "groups": groups });
        match asking {
            Asking::Server(id) => {
                let person = self.recalled(id.user.clone(), None).await?;
                let admin = person.user.is_some_and(|user| user.admin);
                let mut model = model(admin, person.groups);
                let last = self.activity(Some(name)).get(name).copied();
                crate::gateway::api::merge(&mut model, json!({ "last_activity": last.map(utc) }));
                Ok(model)
            }
            Asking::Visitor(caller, id) if id.user == *caller.name() => {
                let user = caller.user();
                Ok(model(user.admin, paths(&self.groups_of_user(&user))))
            }
            // Somebody else's container: who comes is its business, what else they are is not.
            Asking::Visitor(..) => Ok(model(false, Vec::new())),
        }
    }

    /// What `/user` says besides: what the token is and what it lets do.
    fn token_model(&self, asking: &Asking) -> Value {
        let name = asking.whose();
        match asking {
            Asking::Server(id) => {
                let mut scopes = scopes(id, name);
                scopes.insert(1, format!("read:users:activity!user={name}"));
                scopes.push(format!("users:activity!user={name}"));
                json!({ "scopes": scopes, "token_id": null, "session_id": null, "user_info": null })
            }
            Asking::Visitor(caller, id) => {
                let session = caller.session();
                let display_name = session.map_or_else(
                    || name.to_string(),
                    |session| display_name(&session.standing().identity.claims, name.as_str()),
                );
                let session_id = session.map(|session| self.jupyterhub_id(session, id));
                json!({
                    "scopes": scopes(id, name), "token_id": null,
                    "session_id": session_id.as_ref().map(Secret::expose),
                    "user_info": { "name": name.as_str(), "display_name": display_name },
                })
            }
        }
    }
}

/// JupyterHub's answer where a token reaches others of the kind: whether there is such a one is not said.
fn out_of_reach() -> Response<Body> {
    problem(StatusCode::NOT_FOUND, "No access to resources or resources not found")
}

/// And where it reaches none.
fn lacks_scope() -> Response<Body> {
    problem(StatusCode::FORBIDDEN, "Action is not authorized with current scopes")
}
