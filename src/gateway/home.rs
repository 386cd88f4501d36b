//! The user's own pages: home, start, stop; and what a workspace's address shows while there is none.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tracing::info;

use super::authorize::Permit;
use super::caller::Caller;
use super::form::Form;
use super::local_path::LocalPath;
use super::page::{Action, Input, Page, Row};
use super::refusal::Refusal;
use super::stopped::is_api;
use super::wanted::{NoStart, Wanted, not_offered};
use super::{Body, Gateway, Origin, head, see_other, with_query};
use crate::config;
use crate::routes::Route;
use crate::server_name::ServerName;
use crate::session::Session;
use crate::spawner::WorkspaceId;
use crate::user::{User, UserName};
use crate::workspace::{ServerError, State};

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
            Some(profile) => see_other(&self.landing(&self.0.workspaces.id(&session.name), profile)),
            None => see_other("/hub/home"),
        })
    }

    /// How the user's servers are, and what can be done with them.
    pub(super) async fn home(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
    ) -> Result<Response<Body>, Refusal> {
        let session = signed_in(permit)?;
        match *request.method() {
            Method::GET => Ok(self.home_page(session)),
            Method::POST => {
                let form = Form::of_body(request).await?;
                form.check_token(session)?;
                self.change(session, &form).await
            }
            _ => Err(Refusal::Method),
        }
    }

    /// Stops a server, makes one with a name, or takes one away.
    async fn change(&self, session: &Arc<Session>, form: &Form) -> Result<Response<Body>, Refusal> {
        let name = form.one("server").unwrap_or_default();
        match form.one("action") {
            // Or its start.
            Some("stop") => self.0.workspaces.stop(&self.theirs(session, name)?),
            Some("add") => {
                let id = self.new_server(session, name).await?;
                return Ok(see_other(&spawn_path(&id)));
            }
            Some("remove") => {
                let id = self.theirs(session, name)?;
                self.0.workspaces.remove_server(&id).await?;
                self.0.shares.forget(&id).await?;
                info!(event = "server_removed", workspace = %id, "a named server was removed");
            }
            _ => return Err(Refusal::BadRequest("an action that is not known")),
        }
        Ok(see_other("/hub/home"))
    }

    /// The user's server of this name, which must be there.
    fn theirs(&self, session: &Session, name: &str) -> Result<WorkspaceId, Refusal> {
        let mut all = self.0.workspaces.of(&session.name).into_iter();
        all.find(|id| id.server.as_str() == name).ok_or(Refusal::BadRequest("a server that is not there"))
    }

    /// A server of this name, made if it is not there.
    async fn new_server(&self, session: &Session, name: &str) -> Result<WorkspaceId, Refusal> {
        let server = ServerName::parse_new(name.trim()).map_err(ServerError::from)?;
        let id = WorkspaceId { user: session.name.clone(), server };
        self.0.workspaces.add_server(&id, None, self.0.clock.now()).await?;
        Ok(id)
    }

    fn home_page(&self, session: &Arc<Session>) -> Response<Body> {
        let user = &session.name;
        let all = self.0.workspaces.of(user);
        let states: Vec<_> = all.iter().map(|id| (id, self.0.workspaces.state(id))).collect();
        let busy =
            states.iter().any(|(_, state)| matches!(state, Some(State::Starting(_) | State::Stopping)));
        let mut described = states.iter().map(|(id, state)| self.described(session, id, state.as_ref()));
        let (what, mut actions) = described.next().unwrap_or_default();
        let named = all.iter().skip(1).zip(described);
        let rows = named.map(|(id, (line, actions))| Row {
            title: match self.0.workspaces.display_name(id) {
                Some(shown) => format!("{} ({})", shown.as_str(), id.server),
                None => id.server.to_string(),
            },
            lines: vec![line],
            actions,
        });
        let mut rows: Vec<_> = rows.collect();
        let most = usize::try_from(self.0.workspaces.most_named()).unwrap_or(usize::MAX);
        if rows.len() < most {
            let name = Input::Text {
                name: "server",
                label: "Name of another server",
                value: String::new(),
                length: ServerName::MAX_BYTES,
            };
            let add = Action::form(session, "Add", "/hub/home", &[("action", "add")]);
            actions.push(add.second().asking(vec![name]));
        }
        rows.extend(self.shared_with(session).into_iter().map(|(_share, row)| row));
        if self.0.shares.enabled() {
            actions.push(Action::link("Sharing", super::share::PAGE));
        }
        if session.standing().user.admin {
            actions.push(Action::link("Administration", super::admin::PAGE));
        }
        let page = Page {
            title: format!("Welcome, {user}"),
            paragraphs: vec![what],
            rows,
            actions,
            busy,
            user: Some(user.to_string()),
            notice: self.outage_notice(session),
            ..Page::default()
        };
        self.1.pages.render(StatusCode::OK, &page)
    }

    /// How one server is, and what can be done with it.
    fn described(
        &self,
        session: &Arc<Session>,
        id: &WorkspaceId,
        state: Option<&State>,
    ) -> (String, Vec<Action>) {
        let server = id.server.as_str();
        let whose = if id.server.is_default() { "Your server" } else { "It" };
        let open = |profile: &Arc<str>| {
            let profile = self.0.workspaces.profile(profile);
            Action::link("Open", &profile.map_or_else(|| id.path(), |profile| self.landing(id, profile)))
        };
        let form = |label: &str, action: &str| {
            Action::form(session, label, "/hub/home", &[("action", action), ("server", server)]).second()
        };
        let stopped = |next: &str| {
            let mut actions = self.choices(session, id, next);
            if !id.server.is_default() {
                actions.push(form("Remove", "remove"));
            }
            actions
        };
        match state {
            Some(State::Ready(ready)) => (
                format!("{whose} runs {}.", self.title(&ready.profile)),
                vec![open(&ready.profile), form("Stop", "stop")],
            ),
            Some(State::Starting(starting)) => {
                let actions = vec![open(&starting.profile), form("Cancel", "stop")];
                (format!("{whose} starts {}.", self.title(&starting.profile)), actions)
            }
            Some(State::Stopping) => (format!("{whose} is stopping."), vec![]),
            Some(State::Failing(failure)) if failure.is_cancelled() => {
                let title = self.title(&failure.profile);
                (format!("{whose} does not run: the start of {title} was cancelled."), stopped(&id.path()))
            }
            Some(State::Failing(failure)) => {
                (format!("{whose} did not start {}.", self.title(&failure.profile)), stopped(&id.path()))
            }
            None => (format!("{whose} is not running."), stopped("")),
        }
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

    /// Shows what may be started, or starts it. The path says which server, a query which profile: a link of one's own
    /// starts it, one of another site shows it to be confirmed.
    pub(super) async fn spawn(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
        which: &str,
    ) -> Result<Response<Body>, Refusal> {
        let session = signed_in(permit)?;
        let (whose, server) =
            which.trim_end_matches('/').split_once('/').unwrap_or((which.trim_end_matches('/'), ""));
        if !whose.is_empty() && UserName::from_path_segment(whose).ok().as_ref() != Some(&session.name) {
            return Err(Refusal::NotYours);
        }
        let server = ServerName::parse(server).map_err(|_no_name| Refusal::NotFound)?;
        let id = WorkspaceId { user: session.name.clone(), server };
        match *request.method() {
            Method::GET => {
                let link = Form::of_link(request.uri());
                let (profile, named) = self.wanted(session, &link)?;
                let own = head::is_ones_own_link(request.headers());
                if let Some(profile) = profile
                    && own
                    && self.starts_at_once(&id, profile, &link, named)
                {
                    return self.start(session, &id, profile, &link).await;
                }
                Ok(self.spawn_page(session, &id, profile.filter(|_| named), (&link, own)))
            }
            Method::POST => {
                let form = Form::of_body(request).await?;
                form.check_token(session)?;
                match self.wanted(session, &form)? {
                    (Some(profile), _) => self.start(session, &id, profile, &form).await,
                    (None, _) => Ok(self.spawn_page(session, &id, None, (&form, true))),
                }
            }
            _ => Err(Refusal::Method),
        }
    }

    /// The profile that a form or a link leads to, if it leads to one, and whether that is named. Whatever they say,
    /// nobody starts what no rule gives them.
    fn wanted(
        &self,
        session: &Session,
        form: &Form,
    ) -> Result<(Option<&Arc<config::Profile>>, bool), Refusal> {
        let wanted = Wanted::of(form)?;
        match self.chosen(&session.standing().user, &wanted) {
            Ok(profile) => Ok((Some(profile), wanted.is_named())),
            Err(NoStart::Choose) => Ok((None, false)),
            Err(NoStart::NotOffered(what)) => Err(not_offered(&what)),
        }
    }

    /// A link may choose, but what differs from the usual is confirmed: a reset, for example, by one's own click. Where a
    /// link names nothing and there is nothing to choose, it starts what there is, as JupyterHub does.
    fn starts_at_once(&self, id: &WorkspaceId, profile: &config::Profile, link: &Form, named: bool) -> bool {
        let options = self.0.workspaces.settled(profile).options;
        let usual = options.iter().all(|option| {
            let mut chosen = link.all(&option.name);
            chosen.all(|chosen| option.choices.first().is_some_and(|first| first.value == chosen))
        });
        usual && (named || (options.is_empty() && self.0.workspaces.state(id).is_none()))
    }

    async fn start(
        &self,
        session: &Arc<Session>,
        id: &WorkspaceId,
        profile: &Arc<config::Profile>,
        form: &Form,
    ) -> Result<Response<Body>, Refusal> {
        let chosen = self.0.workspaces.choose(profile, |option| form.one(option))?;
        self.0.workspaces.add_server(id, None, self.0.clock.now()).await?;
        self.0.workspaces.start(id, &session.standing().user, profile, chosen);
        let next = form.one("next").filter(|next| !next.is_empty()).and_then(LocalPath::parse);
        // It may run something else already.
        let state = self.0.workspaces.state(id);
        let running =
            state.as_ref().and_then(State::profile).and_then(|name| self.0.workspaces.profile(name));
        let there = || self.landing(id, running.unwrap_or(profile));
        Ok(see_other(&next.map_or_else(there, |next| next.to_string())))
    }

    fn spawn_page(
        &self,
        session: &Arc<Session>,
        id: &WorkspaceId,
        wanted: Option<&Arc<config::Profile>>,
        (query, own): (&Form, bool),
    ) -> Response<Body> {
        let next =
            query.one("next").and_then(LocalPath::parse).map(|next| next.to_string()).unwrap_or_default();
        match self.0.workspaces.state(id) {
            Some(State::Ready(_) | State::Starting(_)) => {
                let there = if id.server.is_default() { "/".to_owned() } else { id.path() };
                return see_other(if next.is_empty() { &there } else { &next });
            }
            Some(State::Failing(_) | State::Stopping) | None => {}
        }
        let mut actions = self.choices(session, id, &next);
        if let Some(profile) = wanted {
            actions = vec![self.choice(session, id, profile, (&next, own.then_some(query)))];
        }
        let title = if id.server.is_default() {
            "Start your server".to_owned()
        } else {
            format!("Start your server {}", id.server)
        };
        let page = Page {
            title,
            paragraphs: vec!["What do you want to work with?".to_owned()],
            actions,
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
        let path = format!("/user/{}/{rest}", session.name.path_segment());
        Route::find(&path).map_err(|_bad| Refusal::BadPath)?;
        Ok(see_other(&with_query(&path, request)))
    }

    /// A request to a workspace that is not ready. A person who opens its page starts it; a program is told how it is.
    pub(super) fn not_ready(
        &self,
        at: &Origin,
        request: &Request<Incoming>,
        caller: &Caller,
        id: &WorkspaceId,
        state: Option<State>,
        navigation: bool,
    ) -> Result<Response<Body>, Refusal> {
        let navigation = navigation && !is_api(request) && caller.session().is_some();
        match state {
            Some(State::Starting(starting)) => {
                let phase = starting.phase.borrow().clone();
                let offers = if navigation { Self::cancelling(at, caller, id) } else { Vec::new() };
                Err(Refusal::Starting { phase, title: self.title(&starting.profile), offers })
            }
            Some(State::Failing(failure)) if failure.is_cancelled() && navigation => {
                let offers = self.starting_again(at, request, caller, id);
                Err(Refusal::Cancelled { title: self.title(&failure.profile), offers })
            }
            // Programs act on one answer for what does not run, as JupyterHub's; people are told why.
            Some(State::Failing(failure)) if failure.is_cancelled() || is_api(request) => {
                Err(Refusal::Stopped(self.stopped(at, request, caller, id)))
            }
            Some(State::Failing(failure)) => {
                let image = self.0.workspaces.profile(&failure.profile).map(|profile| profile.image.clone());
                Err(Refusal::Failing { failure, image: image.unwrap_or_default() })
            }
            Some(State::Stopping) => Err(Refusal::Stopping),
            Some(State::Ready(_)) | None if !navigation => {
                Err(Refusal::Stopped(self.stopped(at, request, caller, id)))
            }
            Some(State::Ready(_)) | None => {
                let user = caller.user();
                let Some(profile) = self.only_profile(&user) else {
                    let here = with_query(request.uri().path(), request);
                    return Ok(see_other(&spawn_path_back_to(id, &here)));
                };
                let chosen = self.0.workspaces.choose(profile, |_option| None)?;
                self.0.workspaces.start(id, &user, profile, chosen);
                let phase = crate::spawner::Phase::Waiting;
                let offers = Self::cancelling(at, caller, id);
                Err(Refusal::Starting { phase, title: self.title(&profile.name), offers })
            }
        }
    }

    pub(super) fn choices(&self, session: &Arc<Session>, id: &WorkspaceId, next: &str) -> Vec<Action> {
        let standing = session.standing();
        let allowed = standing.user.profiles.iter().filter_map(|name| self.0.workspaces.profile(name));
        allowed.map(|profile| self.choice(session, id, profile, (next, None))).collect()
    }

    /// The form that starts a profile. What a link of one's own chose stands first in its options; what another site wants to
    /// be chosen is nobody's choice.
    fn choice(
        &self,
        session: &Session,
        id: &WorkspaceId,
        profile: &config::Profile,
        (next, link): (&str, Option<&Form>),
    ) -> Action {
        let label = format!("Start {}", self.title(&profile.name));
        let selects = self.0.workspaces.settled(profile).options.into_iter().map(|option| {
            let chosen = link.and_then(|link| link.one(&option.name));
            let mut choices = option.choices;
            choices.sort_by_key(|choice| Some(choice.value.as_str()) != chosen);
            let shown = |choice: config::Choice| (choice.value.clone(), choice.title.unwrap_or(choice.value));
            Input::Select {
                label: option.title.unwrap_or_else(|| option.name.clone()).into(),
                name: option.name.into(),
                options: choices.into_iter().map(shown).collect(),
            }
        });
        let form =
            Action::form(session, &label, &spawn_path(id), &[("profile", &profile.name), ("next", next)]);
        form.asking(selects.collect())
    }

    /// Where a user lands in a profile.
    fn landing(&self, id: &WorkspaceId, profile: &config::Profile) -> String {
        format!("{}{}", id.path(), self.0.workspaces.settled(profile).default_url.trim_start_matches('/'))
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

/// Where a server is started, to come back to an address of it.
pub(super) fn spawn_path_back_to(id: &WorkspaceId, here: &str) -> String {
    let next = url::form_urlencoded::byte_serialize(here.as_bytes()).collect::<String>();
    format!("{}?next={next}", spawn_path(id))
}

/// Where a server is started.
fn spawn_path(id: &WorkspaceId) -> String {
    if id.server.is_default() {
        "/hub/spawn".to_owned()
    } else {
        format!("/hub/spawn/{}/{}", id.user.path_segment(), id.server)
    }
}
