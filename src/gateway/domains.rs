//! Hosts of users' own: which host a request belongs to, and how a browser that is signed in at the hub is known there.
//!
//! The id of a session stays at the hub's host. A browser that comes to a user's host is sent to the hub and back with a
//! code, as at a login: the code is good once, for a minute, at that host, in the browser that was sent.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{HeaderMap, SET_COOKIE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use super::authorize::Permit;
use super::form::Form;
use super::head::{Head, is_ones_own_link};
use super::home::signed_in;
use super::hosts::Origin;
use super::jupyterhub::CODE_LIFETIME;
use super::local_path::LocalPath;
use super::page::{Action, Page};
use super::refusal::Refusal;
use super::tokens::refuse_scripts;
use super::{Body, Gateway, see_other};
use crate::clock::Timestamp;
use crate::cookies;
use crate::routes::{Endpoint, Route};
use crate::seal::{random_text, sha256};
use crate::session::{Session, SessionId};
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

/// Where a browser wants to be let in.
#[derive(Debug)]
struct Entrance {
    owner: UserName,
    /// The owner's.
    origin: String,
    state: String,
    next: LocalPath,
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
    pub(super) fn ask_hub(
        &self,
        head: &Head<'_, '_>,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Refusal> {
        self.check_rounds_at_host(headers)?;
        // One cookie for all tabs: each comes back with a code of its own.
        let known = cookies::find(headers, cookies::ENTRY).filter(|cookie| cookie.len() == COOKIE_CHARACTERS);
        let made = known.is_none().then(random_text::<COOKIE_BYTES>);
        let state = state_of(known.or(made.as_deref()).unwrap_or_default());
        let path = way_in(&state, head).ok_or(Refusal::BadPath)?;
        let mut response = see_other(&format!("{}{path}", self.0.hosts.main().origin));
        if let Some(made) = made {
            response.headers_mut().append(SET_COOKIE, cookies::set(cookies::ENTRY, &made, None));
        }
        Ok(response)
    }

    /// At the hub: back to the user's host that the browser came from, with a code. To somebody else's host, whose pages
    /// hear who comes, no other site leads anybody without a click of their own.
    pub(super) async fn enter(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
        navigation: bool,
    ) -> Result<Response<Body>, Refusal> {
        let session = signed_in(permit)?;
        match *request.method() {
            // Nor does a frame or a script.
            Method::GET if !navigation => Err(Refusal::CrossSite),
            Method::GET => {
                let entrance = self.entrance(session, &Form::of_query(request.uri()))?;
                let own = entrance.owner == session.name;
                if own || session.has_agreed(&entrance.owner) || is_ones_own_link(request.headers()) {
                    return Ok(self.let_in(session, &entrance));
                }
                Ok(self.entrance_page(session, &entrance))
            }
            Method::POST => {
                refuse_scripts(request.headers())?;
                let form = Form::of_body(request).await?;
                form.check(&self.page_token(session, PAGE))?;
                let entrance = self.entrance(session, &form)?;
                Ok(self.let_in(session, &entrance))
            }
            _ => Err(Refusal::Method),
        }
    }

    /// Where a browser wants to be let in, if whoever is signed in may be there.
    fn entrance(&self, session: &Session, form: &Form) -> Result<Entrance, Refusal> {
        let next = form.one("next").and_then(LocalPath::parse);
        let state = form.one("state").filter(|state| state.len() == STATE_CHARACTERS);
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
        Ok(Entrance { owner, origin: there.origin, state: state.to_owned(), next })
    }

    fn let_in(&self, session: &Session, entrance: &Entrance) -> Response<Body> {
        session.agree(&entrance.owner);
        let entry = Entry {
            session: session.id,
            label: entrance.owner.label(),
            state: entrance.state.clone(),
            next: entrance.next.to_string(),
            issued: self.0.clock.now(),
            unique: random_text::<9>(),
        };
        let code = self.0.sealer.seal("entry", &serde_json::to_vec(&entry).unwrap_or_default());
        see_other(&format!("{}/hub/entered?code={code}", entrance.origin))
    }

    fn entrance_page(&self, session: &Session, entrance: &Entrance) -> Response<Body> {
        let Entrance { owner, state, next, .. } = entrance;
        let fields = [("state", state.as_str()), ("next", next.as_str())];
        let page = Page {
            title: format!("Open a server of {owner}?"),
            paragraphs: vec![format!(
                "{owner} shares it with you. What you open there is theirs: they learn your name, and can see what you do in it. Open it only if you know them."
            )],
            actions: vec![
                Action::form_of(&self.page_token(session, PAGE), "Open", PAGE, &fields),
                Action::link("No", "/hub/home"),
            ],
            user: Some(session.name.to_string()),
            ..Page::default()
        };
        self.1.pages.render(StatusCode::OK, &page)
    }

    /// At the user's host: the browser is back.
    pub(super) fn entered<B>(
        &self,
        request: &Request<B>,
        at: &Origin,
        navigation: bool,
    ) -> Result<Response<Body>, Refusal> {
        let label = at.label.as_deref().ok_or(Refusal::NotFound)?;
        match *request.method() {
            Method::GET if !navigation => return Err(Refusal::CrossSite),
            Method::GET => {}
            _ => return Err(Refusal::Method),
        }
        self.check_rounds_at_host(request.headers())?;
        let query = Form::of_query(request.uri());
        let code = query.one("code").unwrap_or_default();
        let entry: Option<Entry> =
            self.0.sealer.open("entry", code).and_then(|entry| serde_json::from_slice(&entry).ok());
        let entry = entry.filter(|entry| entry.label == label).ok_or(Refusal::LoginLost)?;
        // Without it this browser keeps no cookies, or was never sent for this: it would only come back the same.
        let cookie = cookies::find(request.headers(), cookies::ENTRY).ok_or(Refusal::LoginLost)?;
        let now = self.0.clock.now();
        // Used up whoever brings it: one that came to another browser is in wrong hands, or was.
        let first = self.1.codes.redeem(code, now);
        let asked = entry.state == state_of(cookie);
        let good = first && asked && now.saturating_sub(entry.issued) <= CODE_LIFETIME;
        // What another browser wanted to see is not what this one asked for.
        let next = if asked { LocalPath::parse(&entry.next) } else { root_of(&entry.next) };
        let mut response = see_other(next.as_ref().map_or("/", LocalPath::as_str));
        let headers = response.headers_mut();
        self.count_round(request.headers(), headers);
        // Of no use any more, or of a session that has ended meanwhile: the address itself leads to the hub again.
        if let Some(session) = self.0.sessions.by_id(&entry.session).filter(|_| good) {
            let cookie = self.0.sessions.cookie_at(&session, label);
            headers.append(SET_COOKIE, cookies::set(cookies::SESSION, cookie.expose(), None));
            let id = self.0.sessions.jupyterhub_id_at(&session, label);
            headers.append(SET_COOKIE, cookies::set(cookies::JUPYTERHUB_SESSION, id.expose(), None));
        }
        Ok(response)
    }
}

/// The hub's address that lets a browser in, and back here: to what it asked for, or to as much of it as fits into one and
/// through a login.
fn way_in(state: &str, head: &Head<'_, '_>) -> Option<LocalPath> {
    let path = head.target.split('?').next().unwrap_or_default();
    let root = root_of(path);
    let wanted = [LocalPath::parse(head.target), LocalPath::parse(path), root];
    wanted.into_iter().flatten().find_map(|next| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("state", state).append_pair("next", next.as_str());
        LocalPath::parse(&format!("{PAGE}?{}", query.finish()))
    })
}

/// Where its owner's servers begin, of an address of one of them.
fn root_of(address: &str) -> Option<LocalPath> {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let Ok(Route::Workspace { owner, .. }) = Route::find(path) else { return None };
    LocalPath::parse(&format!("/user/{}/", UserName::parse(&owner).ok()?.path_segment()))
}

fn state_of(cookie: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(cookie.as_bytes()))
}

/// Where the hub lets a browser into a user's host.
const PAGE: &str = "/hub/enter";

const COOKIE_BYTES: usize = 24;
const COOKIE_CHARACTERS: usize = 32;
const STATE_CHARACTERS: usize = 43;
