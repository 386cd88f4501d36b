//! Who is signed in, for programs: everybody's sessions for administrators, and one's own.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::access::{SESSIONS, check_reach, check_shown};
use crate::gateway::caller::Caller;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::{Body, Gateway, empty};
use crate::session::{Listed, Session, ShortId};
use crate::token::Scope;
use crate::user::UserName;

impl Gateway {
    /// `/sessions`.
    pub(super) async fn api_sessions<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
    ) -> Result<Response<Body>, Refusal> {
        self.allow_hub(caller, SESSIONS, request)?;
        let range = self.range(caller).await?;
        let all = self.0.sessions.all().into_iter();
        Ok(self.listed(all.filter(|session| range.has(SESSIONS, &session.name)).collect()))
    }

    /// `/sessions/<id>`.
    pub(super) async fn api_end_session<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        id: &str,
    ) -> Result<Response<Body>, Refusal> {
        self.allow_hub(caller, SESSIONS, request)?;
        let session = ShortId::parse(id).and_then(|id| self.0.sessions.called(id));
        let session = session.ok_or(Refusal::NoSuch("session"))?;
        if !self.range_of(caller, &session.name).await?.has(SESSIONS, &session.name) {
            return Err(Refusal::NoSuch("session"));
        }
        self.end_sessions(vec![session], caller.name()).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// `/users/<name>/sessions`.
    pub(super) async fn api_sessions_of<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        name: &UserName,
    ) -> Result<Response<Body>, Refusal> {
        let (method, headers) = (request.method(), request.headers());
        let range = self.range_of(caller, name).await?;
        match caller {
            // Their own.
            Caller::Session(session) if session.name == *name => {
                check_shown(method, headers, &session.form_token)?;
            }
            Caller::Token(_) | Caller::Bearer(_) if caller.name() == name && *method == Method::GET => {
                let scopes = [Scope::ReadUsers, Scope::AdminSessions];
                check_reach(caller, range.to(&scopes, name, None), &scopes, "user")?;
            }
            Caller::Session(_) | Caller::Token(_) | Caller::Bearer(_) => {
                check_reach(caller, range.to(SESSIONS, name, None), SESSIONS, "user")?;
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

    fn listed(&self, mut sessions: Vec<Arc<Session>>) -> Response<Body> {
        sessions.sort_by(|a, b| (&a.name, a.created, a.id).cmp(&(&b.name, b.created, b.id)));
        let sessions: Vec<Listed> = sessions.iter().map(|session| self.0.sessions.listed(session)).collect();
        json(StatusCode::OK, &json!({ "sessions": sessions }))
    }
}
