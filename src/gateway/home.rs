//! The user's own pages: home, start, stop; and what a workspace's address shows while there is none.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::authorize::Permit;
use super::caller::Caller;
use super::form::Form;
use super::local_path::LocalPath;
use super::page::{Action, Page};
use super::refusal::Refusal;
use super::{Body, Gateway, see_other, with_query};
use crate::config;
use crate::routes::Route;
use crate::session::Session;
use crate::user::{User, UserName};
use crate::workspace::State;

impl Gateway {
    /// `/`: straight to the workspace if there is nothing to choose.
    pub(super) fn root(&self, permit: &Permit) -> Result<Response<Body>, Refusal> {
        let session = signed_in(permit)?;
        let state = self.0.workspaces.state(&self.0.workspaces.id(&session.name));
        let profile = match &state {
            Some(State::Ready(ready)) => self.0.workspaces.profile(&ready.profile),
            Some(State::Starting(starting)) => self.0.workspaces.profile(&starting.profile),
            Some(State::Failing(_) | State::Stopping) => None,
            None => self.only_profile(&session.standing().user),
        };
        Ok(match profile {
            Some(profile) => see_other(&landing(&session.name, profile)),
            None => see_other("/hub/home"),
        })
    }

    /// How the user's server is, and what can be done with it.
    pub(super) async fn home(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
    ) -> Result<Response<Body>, Refusal> {
        let session = signed_in(permit)?;
        let id = self.0.workspaces.id(&session.name);
        match *request.method() {
            Method::GET => Ok(self.home_page(session)),
            Method::POST => {
                let form = Form::of_body(request).await?;
                form.check_token(session)?;
                if form.one("action") != Some("stop") {
                    return Err(Refusal::BadRequest("an action that is not known"));
                }
                self.0.workspaces.stop(&id);
                Ok(see_other("/hub/home"))
            }
            _ => Err(Refusal::Method),
        }
    }

    fn home_page(&self, session: &Arc<Session>) -> Response<Body> {
        let user = &session.name;
        let open = |profile: &Arc<str>| {
            let profile = self.0.workspaces.profile(profile);
            Action::link("Open", &profile.map_or_else(|| base(user), |profile| landing(user, profile)))
        };
        let stop = || Action::form(session, "Stop", "/hub/home", &[("action", "stop")]).second();
        let state = self.0.workspaces.state(&self.0.workspaces.id(user));
        let busy = matches!(state, Some(State::Starting(_) | State::Stopping));
        let (what, actions) = match state {
            Some(State::Ready(ready)) => (
                format!("Your server runs {}.", self.title(&ready.profile)),
                vec![open(&ready.profile), stop()],
            ),
            Some(State::Starting(starting)) => (
                format!("Your server starts {}.", self.title(&starting.profile)),
                vec![open(&starting.profile)],
            ),
            Some(State::Stopping) => ("Your server is stopping.".to_owned(), vec![]),
            Some(State::Failing(failure)) => (
                format!("Your server did not start {}.", self.title(&failure.profile)),
                self.choices(session, &base(user)),
            ),
            None => ("Your server is not running.".to_owned(), self.choices(session, "")),
        };
        let mut actions = actions;
        if session.standing().user.admin {
            actions.push(Action::link("Administration", super::admin::PAGE));
        }
        let page = Page {
            title: format!("Welcome, {user}"),
            paragraphs: vec![what],
            actions,
            busy,
            user: Some(user.to_string()),
            notice: self.outage_notice(session),
            ..Page::default()
        };
        self.1.pages.render(StatusCode::OK, &page)
    }

    /// What a person must know who works on while the provider is away.
    fn outage_notice(&self, session: &Session) -> Option<String> {
        let until = self.0.sessions.outage(session)?;
        let minutes = until.saturating_sub(self.0.clock.now()).div_ceil(60);
        Some(format!(
            "The login service does not answer. You can go on working for {}; who signs out cannot sign in again until it is back.",
            if minutes < 120 { format!("{minutes} minutes") } else { format!("{} hours", minutes / 60) }
        ))
    }

    /// Shows what may be started, or starts it.
    pub(super) async fn spawn(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
        whose: &str,
    ) -> Result<Response<Body>, Refusal> {
        let session = signed_in(permit)?;
        let whose = whose.trim_end_matches('/');
        if !whose.is_empty() && UserName::from_path_segment(whose).ok().as_ref() != Some(&session.name) {
            return Err(Refusal::NotYours);
        }
        match *request.method() {
            Method::GET => Ok(self.spawn_page(session, Form::of_query(request.uri()).one("next"))),
            Method::POST => {
                let form = Form::of_body(request).await?;
                form.check_token(session)?;
                let profile = form.one("profile").and_then(|name| self.allowed_profile(session, name));
                // Whatever the form says, nobody starts what no rule gives them.
                let profile = profile.ok_or(Refusal::BadRequest("a profile that may not be started"))?;
                self.0.workspaces.start(&session.standing().user, profile);
                let next = form.one("next").filter(|next| !next.is_empty()).and_then(LocalPath::parse);
                Ok(see_other(&next.map_or_else(|| landing(&session.name, profile), |next| next.to_string())))
            }
            _ => Err(Refusal::Method),
        }
    }

    fn spawn_page(&self, session: &Arc<Session>, next: Option<&str>) -> Response<Body> {
        let next = next.and_then(LocalPath::parse).map(|next| next.to_string()).unwrap_or_default();
        match self.0.workspaces.state(&self.0.workspaces.id(&session.name)) {
            Some(State::Ready(_) | State::Starting(_)) => {
                return see_other(if next.is_empty() { "/" } else { &next });
            }
            Some(State::Failing(_) | State::Stopping) | None => {}
        }
        let page = Page {
            title: "Start your server".to_owned(),
            paragraphs: vec!["What do you want to work with?".to_owned()],
            actions: self.choices(session, &next),
            user: Some(session.name.to_string()),
            notice: self.outage_notice(session),
            ..Page::default()
        };
        self.1.pages.render(StatusCode::OK, &page)
    }

    /// Links for whoever is signed in (nbgitpuller's): on to the same path in their own workspace.
    pub(super) fn user_redirect(
        request: &Request<Incoming>,
        permit: &Permit,
        rest: &str,
    ) -> Result<Response<Body>, Refusal> {
        let session = signed_in(permit)?;
        let path = format!("{}{rest}", base(&session.name));
        Route::find(&path).map_err(|_bad| Refusal::BadPath)?;
        Ok(see_other(&with_query(&path, request)))
    }

    /// A request to a workspace that is not ready. A person who opens its page starts it; a program is told how it is.
    pub(super) fn not_ready(
        &self,
        request: &Request<Incoming>,
        caller: &Caller,
        state: Option<State>,
        navigation: bool,
    ) -> Result<Response<Body>, Refusal> {
        let navigation = navigation && caller.session().is_some();
        match state {
            Some(State::Starting(starting)) => {
                let phase = starting.phase.borrow().clone();
                Err(Refusal::Starting { phase, title: self.title(&starting.profile) })
            }
            Some(State::Failing(failure)) => {
                let image = self.0.workspaces.profile(&failure.profile).map(|profile| profile.image.clone());
                Err(Refusal::Failing { failure, image: image.unwrap_or_default() })
            }
            Some(State::Stopping) => Err(Refusal::Stopping),
            Some(State::Ready(_)) | None if !navigation => Err(Refusal::NotRunning),
            Some(State::Ready(_)) | None => {
                let user = caller.user();
                let Some(profile) = self.only_profile(&user) else {
                    let here = with_query(request.uri().path(), request);
                    let next = url::form_urlencoded::byte_serialize(here.as_bytes()).collect::<String>();
                    return Ok(see_other(&format!("/hub/spawn?next={next}")));
                };
                self.0.workspaces.start(&user, profile);
                let phase = crate::spawner::Phase::Waiting;
                Err(Refusal::Starting { phase, title: self.title(&profile.name) })
            }
        }
    }

    fn choices(&self, session: &Arc<Session>, next: &str) -> Vec<Action> {
        let standing = session.standing();
        let allowed = standing.user.profiles.iter().filter_map(|name| self.0.workspaces.profile(name));
        let form = |profile: &Arc<config::Profile>| {
            let label = format!("Start {}", profile.title.as_ref().unwrap_or(&profile.name));
            Action::form(session, &label, "/hub/spawn", &[("profile", &profile.name), ("next", next)])
        };
        allowed.map(form).collect()
    }

    fn allowed_profile(&self, session: &Session, name: &str) -> Option<&Arc<config::Profile>> {
        self.0.workspaces.profile(name).filter(|_| session.standing().grants(name))
    }

    pub(super) fn only_profile(&self, user: &User) -> Option<&Arc<config::Profile>> {
        match &*user.profiles {
            [only] => self.0.workspaces.profile(only),
            _ => None,
        }
    }

    pub(super) fn title(&self, profile: &str) -> String {
        let title = self.0.workspaces.profile(profile).and_then(|profile| profile.title.clone());
        title.unwrap_or_else(|| profile.to_owned())
    }
}

pub(super) fn signed_in(permit: &Permit) -> Result<&Arc<Session>, Refusal> {
    permit.session().ok_or(Refusal::LoginRequired { next: None })
}

pub(super) fn base(user: &UserName) -> String {
    format!("/user/{}/", user.path_segment())
}

/// Where a user lands in a profile.
fn landing(user: &UserName, profile: &config::Profile) -> String {
    format!("{}{}", base(user), profile.default_url.trim_start_matches('/'))
}
