//! Tokens, for programs: list, make, look at, revoke.

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::info;

use super::access::{READ_TOKENS, TOKENS};
use super::{body, problem, wrong};
use crate::clock::utc;
use crate::gateway::caller::Caller;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::{Body, Gateway, empty};
use crate::token::{ApiToken, NewToken, Note, Scopes, TokenError, TokenId};
use crate::user::UserName;

/// JupyterHub's form of asking for a token.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    note: Option<String>,
    expires_in: Option<i64>,
    scopes: Option<Vec<String>>,
    /// JupyterHub's older way to say it: refused, not ignored.
    roles: Option<Vec<String>>,
}

impl Gateway {
    /// `/users/<name>/tokens`.
    pub(super) async fn api_tokens(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        owner: &UserName,
    ) -> Result<Response<Body>, Refusal> {
        let act = if request.method() == Method::GET { &READ_TOKENS } else { &TOKENS };
        self.allow(caller, (owner, None), act, &request).await?;
        self.check_known(caller, owner).await?;
        match *request.method() {
            Method::GET => {
                let tokens: Vec<_> = self.0.api_tokens.of(owner).iter().map(|token| model(token)).collect();
                Ok(json(StatusCode::OK, &json!({ "api_tokens": tokens })))
            }
            // Whoever has an administrator's token must not become anybody by it.
            Method::POST if caller.name() != owner => {
                let message = "Nobody makes tokens in somebody else's name but the machine's operator, with hubgate token";
                Ok(problem(StatusCode::FORBIDDEN, message))
            }
            Method::POST => self.make_token(request, caller).await,
            _ => Err(Refusal::Method),
        }
    }

    /// `/users/<name>/tokens/<id>`.
    pub(super) async fn api_token_of<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        owner: &UserName,
        id: &str,
    ) -> Result<Response<Body>, Refusal> {
        let act = if request.method() == Method::GET { &READ_TOKENS } else { &TOKENS };
        self.allow(caller, (owner, None), act, request).await?;
        self.check_known(caller, owner).await?;
        let theirs = self.0.api_tokens.of(owner);
        let token = TokenId::parse(id).and_then(|id| theirs.into_iter().find(|token| token.id == id));
        let token = token.ok_or(Refusal::NoSuch("token"))?;
        match *request.method() {
            Method::GET => Ok(json(StatusCode::OK, &model(&token))),
            Method::DELETE => {
                if caller.name() != owner {
                    info!(event = "api_token_end_ordered", user = %owner, token = %token.id, by = %caller.name(), "an administrator revokes a token");
                }
                self.0.api_tokens.revoke(&token).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            _ => Err(Refusal::Method),
        }
    }

    async fn make_token(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
    ) -> Result<Response<Body>, Refusal> {
        // Code in a workspace's page can send the hub whatever the browser's own pages can. What it makes so would
        // outlive the session, and the page: people make tokens on a page that no script reads.
        let Caller::Token(parent) = caller else {
            let message = "Make tokens at /hub/token, with hubgate login, or with an API token that has the scope tokens";
            return Ok(problem(StatusCode::FORBIDDEN, message));
        };
        let asked: Asked = body(request).await?;
        let new = match self.new_token(&asked, caller, parent) {
            Ok(new) => new,
            Err(message) => return Ok(wrong(&message)),
        };
        match self.0.api_tokens.create(caller.right(), new).await {
            Ok((secret, token)) => {
                let mut answer = model(&token);
                super::merge(&mut answer, json!({ "token": secret.expose() }));
                Ok(json(StatusCode::CREATED, &answer))
            }
            Err(TokenError::Store(error)) => Err(error.into()),
            Err(refused) => Ok(wrong(&refused.to_string())),
        }
    }

    /// Nothing that is made with a token may do more than it, or live longer.
    fn new_token(&self, asked: &Asked, caller: &Caller, parent: &ApiToken) -> Result<NewToken, String> {
        if asked.roles.is_some() {
            return Err("Say scopes, not roles".to_owned());
        }
        let scopes = match &asked.scopes {
            None => Scopes::ordinary().and(&caller.scopes(), caller.name()),
            Some(list) => {
                // JupyterHub's word for all that the one has that makes it.
                let (inherit, named): (Vec<_>, Vec<_>) =
                    list.iter().map(String::as_str).partition(|scope| *scope == "inherit");
                let named =
                    Scopes::parse(named, Some(caller.name())).map_err(|refused| refused.to_string())?;
                let inherited = (!inherit.is_empty()).then(|| caller.scopes());
                let asked: Scopes =
                    inherited.iter().chain([&named]).flat_map(Scopes::iter).cloned().collect();
                let given = asked.given_by(&caller.scopes(), caller.name());
                let given = given.and_then(|given| given.given_by(&self.held(&caller.user()), caller.name()));
                given.ok_or("A token cannot give away scopes that it or its owner lacks")?
            }
        };
        let note = Note::parse(asked.note.as_deref().unwrap_or_default()).map_err(|bad| bad.to_string())?;
        let now = self.0.clock.now();
        let expires = match asked.expires_in.map(u64::try_from) {
            None => parent.expires.min(now + self.0.api_tokens.lifetime()),
            Some(Ok(seconds)) if seconds > 0 => now.saturating_add(seconds),
            Some(_) => return Err("expires_in must be greater than zero".to_owned()),
        };
        if expires > parent.expires {
            return Err("A token cannot make one that lives longer than itself".to_owned());
        }
        Ok(NewToken { scopes, note, expires: Some(expires) })
    }
}

fn model(token: &ApiToken) -> Value {
    let name = &token.owner.name;
    let scopes = token.scopes().names();
    json!({
        "kind": "api_token", "id": token.id.to_string(), "user": name.as_str(), "roles": [], "scopes": scopes,
        "note": token.note.as_str(), "created": utc(token.created), "expires_at": utc(token.expires),
        "last_activity": token.last_used().map(utc), "session_id": null, "oauth_client": "JupyterHub",
    })
}
