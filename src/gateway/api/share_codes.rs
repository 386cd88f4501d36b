//! Share codes, for programs.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{READ_SHARES, SHARES};
use super::page::Page;
use super::shares::{NO_TIME, asked_access, may_give, scopes, tell_order};
use super::{body, wrong};
use crate::clock::utc;
use crate::gateway::caller::Caller;
use crate::gateway::form::Form;
use crate::gateway::hosts::Origin;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::share::accept_path;
use crate::gateway::{Body, Gateway, empty};
use crate::share::{Code, CodeId, NewCode, ShareError};
use crate::spawner::WorkspaceId;
use crate::user::UserName;

/// JupyterHub's form, and what we add to it: `access` and `share_expires_in`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    scopes: Option<Vec<String>>,
    access: Option<String>,
    expires_in: Option<i64>,
    share_expires_in: Option<i64>,
}

impl Gateway {
    /// `/share-codes/<owner>`.
    pub(super) async fn api_codes<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        at: &Origin,
        owner: &UserName,
    ) -> Result<Response<Body>, Refusal> {
        self.allow(caller, (owner, None), &READ_SHARES, request).await?;
        self.check_known(caller, owner).await?;
        self.code_list(request, self.0.shares.codes_of(owner), at)
    }

    /// `/share-codes/<owner>/<server>`.
    pub(super) async fn api_codes_of(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        at: &Origin,
        id: WorkspaceId,
    ) -> Result<Response<Body>, Refusal> {
        let act = if request.method() == Method::GET { &READ_SHARES } else { &SHARES };
        self.allow(caller, (&id.user, Some(&id.server)), act, &request).await?;
        self.check_there(caller, &id).await?;
        let theirs = || self.0.shares.codes_of(&id.user).into_iter().filter(|code| code.of == id);
        match *request.method() {
            Method::GET => self.code_list(&request, theirs().collect(), at),
            Method::POST => self.api_make_code(request, caller, at, id).await,
            Method::DELETE => self.api_end_code(&request, caller, &id, theirs()).await,
            _ => Err(Refusal::Method),
        }
    }

    async fn api_make_code(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        at: &Origin,
        id: WorkspaceId,
    ) -> Result<Response<Body>, Refusal> {
        if let Some(refused) = may_give(caller, &id) {
            return Ok(refused);
        }
        let asked: Asked = body(request).await?;
        let access = match asked_access(asked.access.as_deref(), asked.scopes.as_deref(), &id) {
            Ok(access) => access,
            Err(message) => return Ok(wrong(&message)),
        };
        let times = (self.in_seconds(asked.expires_in), self.in_seconds(asked.share_expires_in));
        let (Ok(expires), Ok(share_expires)) = times else { return Ok(wrong(NO_TIME)) };
        let new = NewCode { of: id, access, expires, share_expires, by: caller.name().clone() };
        match self.0.shares.make_code(new).await {
            Ok((secret, code)) => {
                self.check_kept(&code.of).await?;
                let path = accept_path(&secret);
                let mut model = self.code_model(&code, at);
                let full = format!("{}{path}", at.origin);
                super::merge(
                    &mut model,
                    json!({ "code": secret.expose(), "accept_url": path, "full_accept_url": full }),
                );
                Ok(json(StatusCode::OK, &model))
            }
            Err(ShareError::Store(error)) => Err(error.into()),
            Err(refused) => Ok(wrong(&refused.to_string())),
        }
    }

    /// One, by itself or by its id, or all of a server.
    async fn api_end_code<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        id: &WorkspaceId,
        mut theirs: impl Iterator<Item = Arc<Code>> + Send,
    ) -> Result<Response<Body>, Refusal> {
        let query = Form::of_query(request.uri());
        let wanted = match (query.at_most_one("code")?, query.at_most_one("id")?) {
            (None, None) => {
                tell_order(caller, id);
                self.0.shares.end_codes_of(id).await?;
                return Ok(empty(StatusCode::NO_CONTENT));
            }
            (Some(text), _) => self.0.shares.code(text).map(|code| code.id),
            (None, Some(text)) => CodeId::parse(text),
        };
        let code = theirs.find(|code| Some(code.id) == wanted).ok_or(Refusal::NoSuch("share code"))?;
        tell_order(caller, id);
        self.0.shares.end_code(&code).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    fn code_list<B>(
        &self,
        request: &Request<B>,
        codes: Vec<Arc<Code>>,
        at: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        let page = Page::enclosed(request)?;
        let total = codes.len();
        let models = page.cut(codes).iter().map(|code| self.code_model(code, at)).collect();
        Ok(page.answer(models, total, request.uri(), at))
    }

    fn code_model(&self, code: &Code, at: &Origin) -> Value {
        json!({
            "server": self.shared_server(&code.of, at), "scopes": scopes(code.access, &code.of),
            "access": code.access.name(), "id": code.id.to_string(), "created_at": utc(code.created),
            "expires_at": utc(code.expires), "share_expires_at": code.share_expires.map(utc),
            "exchange_count": code.accepted(), "last_exchanged_at": code.last_accepted().map(utc),
        })
    }
}
