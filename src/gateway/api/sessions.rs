//! Who is signed in, for programs: everybody's sessions for administrators, and one's own.
//!
//! A person's own browser is the one place where a notebook's code could ask for this in an administrator's name, so a
//! session's request must show what only the page `/hub/admin` was given; a token needs the scope.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::{need, problem};
use crate::gateway::admin::PAGE;
use crate::gateway::authorize::Permit;
use crate::gateway::caller::Caller;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::tokens::refuse_scripts;
use crate::gateway::{Body, Gateway, empty};
use crate::secret::Secret;
use crate::session::{Listed, Session, ShortId};
use crate::token::Scope;
use crate::user::UserName;

impl Gateway {
    /// `/hub/api/sessions` and `/hub/api/sessions/<id>`.
    pub(in crate::gateway) async fn api_sessions(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
        id: &str,
    ) -> Result<Response<Body>, Refusal> {
        let caller = super::known(permit)?;
        self.check_administrator(caller, request.method(), request.headers())?;
        match (id, request.method()) {
            ("", &Method::GET) => Ok(self.listed(self.0.sessions.all())),
            (id, &Method::DELETE) if !id.is_empty() => {
                let Some(session) = ShortId::parse(id).and_then(|id| self.0.sessions.called(id)) else {
                    return Ok(problem(StatusCode::NOT_FOUND, "No such session"));
                };
                self.end_sessions(vec![session], caller.name()).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            _ => Err(Refusal::Method),
        }
    }

    /// `/hub/api/users/<name>/sessions`.
    pub(super) async fn api_sessions_of(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        name: &UserName,
    ) -> Result<Response<Body>, Refusal> {
        let (method, headers) = (request.method(), request.headers());
        match caller {
            // Their own.
            Caller::Session(session) if session.name == *name => {
                check_shown(method, headers, &session.form_token)?;
            }
            Caller::Token(_) | Caller::Bearer(_) if caller.name() == name && *method == Method::GET => {
                need(caller, Scope::ReadUsers)?;
            }
            Caller::Session(_) | Caller::Token(_) | Caller::Bearer(_) => {
                self.check_administrator(caller, method, headers)?;
            }
        }
        match *method {
            Method::GET => Ok(self.listed(self.0.sessions.of(name))),
            Method::DELETE => {
                self.end_all_of(name, caller.name()).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            _ => Err(Refusal::Method),
        }
    }

    /// Whether a caller may see and end what is other people's.
    fn check_administrator(
        &self,
        caller: &Caller,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        let Caller::Session(session) = caller else {
            need(caller, Scope::AdminSessions)?;
            return self.check_proof(caller);
        };
        if !session.standing().user.admin {
            return Err(Refusal::NotFound);
        }
        refuse_scripts(headers)?;
        self.check_proof(caller)?;
        check_shown(method, headers, &self.page_token(session, PAGE))
    }

    fn listed(&self, mut sessions: Vec<Arc<Session>>) -> Response<Body> {
        sessions.sort_by(|a, b| (&a.name, a.created, a.id).cmp(&(&b.name, b.created, b.id)));
        let sessions: Vec<Listed> = sessions.iter().map(|session| self.0.sessions.listed(session)).collect();
        json(StatusCode::OK, &json!({ "sessions": sessions }))
    }
}

/// What changes something comes with what a page of ours was given: a cookie alone is sent by whoever makes a browser
/// send it.
fn check_shown(method: &Method, headers: &HeaderMap, token: &Secret) -> Result<(), Refusal> {
    let shown = headers.get(FORM_TOKEN).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if *method == Method::GET || token.matches(shown) { Ok(()) } else { Err(Refusal::CrossSite) }
}

const FORM_TOKEN: HeaderName = HeaderName::from_static("x-form-token");
