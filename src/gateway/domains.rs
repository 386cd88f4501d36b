//! Hosts of users' own: which host a request belongs to, and how a browser that is signed in at the hub is known there.
//!
//! The id of a session stays at the hub's host. A browser that comes to a user's host is sent to the hub and back with a
//! code, as at a login: the code is good once, for a minute, at that host, in the browser that was sent.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{HeaderMap, SET_COOKIE};
use http::{Method, Request, Response};
use serde::{Deserialize, Serialize};

use super::authorize::Permit;
use super::form::Form;
use super::head::Head;
use super::home::signed_in;
use super::hosts::Origin;
use super::jupyterhub::CODE_LIFETIME;
use super::local_path::LocalPath;
use super::refusal::Refusal;
use super::{Body, Gateway, see_other};
use crate::clock::Timestamp;
use crate::cookies;
use crate::routes::{Endpoint, Route};
use crate::seal::{random_text, sha256};
use crate::session::SessionId;
use crate::user::{UserName, is_label_of};

/// What a code stands for.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    session: SessionId,
    /// Of the host that it is for.
    label: String,
    /// Of the browser that was sent: the hash of its cookie there.
    state: String,
    next: String,
    issued: Timestamp,
    /// Makes each one different.
    unique: String,
}

impl Gateway {
    /// What becomes of a request that belongs to another of the hub's hosts; `None`: it is where it belongs.
    pub(super) fn misplaced(&self, head: &Head<'_, '_>) -> Option<Result<Response<Body>, Refusal>> {
        if !self.0.hosts.has_users() {
            return None;
        }
        let place: Cow<'_, Origin> = match (&head.route, &head.at.label) {
            (Route::Workspace { owner, .. }, Some(label)) if is_label_of(label, owner) => return None,
            (Route::Workspace { owner, .. }, _) => {
                let owner = UserName::parse(owner).ok()?;
                Cow::Owned(self.0.hosts.of_user(&owner)?)
            }
            (Route::Own(Endpoint::Entered | Endpoint::CspReport), Some(_))
            | (Route::Own(_) | Route::Unknown, None) => return None,
            (Route::Own(_) | Route::Unknown, Some(_)) => Cow::Borrowed(self.0.hosts.main()),
        };
        // What changes something is not sent on: whoever sent it here meant something else.
        let looks = [Method::GET, Method::HEAD].contains(head.method) && !head.upgrade;
        Some(if looks {
            Ok(see_other(&format!("{}{}", place.origin, head.target)))
        } else {
            Err(Refusal::WrongHost { public: place.origin.clone() })
        })
    }

    /// Sends a person who opens a page at a user's host, and is not known there, to the hub.
    pub(super) fn ask_hub(&self, head: &Head<'_, '_>, headers: &HeaderMap) -> Response<Body> {
        let next = LocalPath::or_root(Some(head.target));
        // One cookie for all tabs: each comes back with a code of its own.
        let known = cookies::find(headers, cookies::ENTRY).filter(|cookie| cookie.len() == COOKIE_CHARACTERS);
        let made = known.is_none().then(random_text::<COOKIE_BYTES>);
        let state = state_of(known.or(made.as_deref()).unwrap_or_default());
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("state", &state).append_pair("next", next.as_str());
        let mut response = see_other(&format!("{}/hub/enter?{}", self.0.hosts.main().origin, query.finish()));
        if let Some(made) = made {
            response.headers_mut().append(SET_COOKIE, cookies::set(cookies::ENTRY, &made, None));
        }
        response
    }

    /// At the hub: back to the user's host that the browser came from, with a code.
    pub(super) fn enter<B>(&self, request: &Request<B>, permit: &Permit) -> Result<Response<Body>, Refusal> {
        let session = signed_in(permit)?;
        if *request.method() != Method::GET {
            return Err(Refusal::Method);
        }
        let query = Form::of_query(request.uri());
        let next = query.one("next").and_then(LocalPath::parse);
        let state = query.one("state").filter(|state| state.len() == STATE_CHARACTERS);
        let (Some(next), Some(state)) = (next, state) else {
            return Err(Refusal::BadRequest("an address of a server, and who asks for it"));
        };
        let path = next.as_str().split(['?', '#']).next().unwrap_or_default();
        let Ok(Route::Workspace { owner, below, .. }) = Route::find(path) else {
            return Err(Refusal::BadRequest("an address that is no server's"));
        };
        let owner = UserName::parse(&owner).map_err(|_no_name| Refusal::BadPath)?;
        let there = self.0.hosts.of_user(&owner).ok_or(Refusal::NotFound)?;
        if !self.may_come(&self.0.workspaces.at(&owner, below), &session.standing().user) {
            return Err(Refusal::NotYours);
        }
        let entry = Entry {
            session: session.id,
            label: owner.label(),
            state: state.to_owned(),
            next: next.to_string(),
            issued: self.0.clock.now(),
            unique: random_text::<9>(),
        };
        let code = self.0.sealer.seal("entry", &serde_json::to_vec(&entry).unwrap_or_default());
        Ok(see_other(&format!("{}/hub/entered?code={code}", there.origin)))
    }

    /// At the user's host: the browser is back.
    pub(super) fn entered<B>(&self, request: &Request<B>, at: &Origin) -> Result<Response<Body>, Refusal> {
        let label = at.label.as_deref().ok_or(Refusal::NotFound)?;
        if *request.method() != Method::GET {
            return Err(Refusal::Method);
        }
        let query = Form::of_query(request.uri());
        let code = query.one("code").unwrap_or_default();
        let entry: Option<Entry> =
            self.0.sealer.open("entry", code).and_then(|entry| serde_json::from_slice(&entry).ok());
        let cookie = cookies::find(request.headers(), cookies::ENTRY).unwrap_or_default();
        let now = self.0.clock.now();
        let good = |entry: &Entry| {
            entry.label == label
                && entry.state == state_of(cookie)
                && now.saturating_sub(entry.issued) <= CODE_LIFETIME
        };
        // Used up whoever brings it: one that came to another browser is in wrong hands, or was.
        let entry =
            entry.filter(|_| self.1.codes.redeem(code, now)).filter(good).ok_or(Refusal::LoginLost)?;
        let next = LocalPath::or_root(Some(&entry.next));
        let mut response = see_other(next.as_str());
        // A session that has ended meanwhile: the address itself leads to the login.
        if let Some(session) = self.0.sessions.by_id(&entry.session) {
            let headers = response.headers_mut();
            let cookie = self.0.sessions.cookie_at(&session, label);
            headers.append(SET_COOKIE, cookies::set(cookies::SESSION, cookie.expose(), None));
            let id = self.0.sessions.jupyterhub_id_at(&session, label);
            headers.append(SET_COOKIE, cookies::set(cookies::JUPYTERHUB_SESSION, id.expose(), None));
        }
        Ok(response)
    }
}

fn state_of(cookie: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(cookie.as_bytes()))
}

const COOKIE_BYTES: usize = 24;
const COOKIE_CHARACTERS: usize = 32;
const STATE_CHARACTERS: usize = 43;
