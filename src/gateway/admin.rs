//! `/hub/admin`: who is signed in and what runs, for administrators. To others there is no such page.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tracing::info;

use super::authorize::Permit;
use super::form::Form;
use super::home::signed_in;
use super::local_path::LocalPath;
use super::page::{Action, Page, Row};
use super::refusal::Refusal;
use super::tokens::{date, refuse_scripts};
use super::{Body, Gateway, see_other};
use crate::secret::Secret;
use crate::server_name::ServerName;
use crate::session::{Session, ShortId};
use crate::spawner::WorkspaceId;
use crate::user::UserName;
use crate::workspace::State;

/// What the page shows of one user.
#[derive(Default)]
struct Present {
    sessions: Vec<Arc<Session>>,
    workspaces: Vec<(ServerName, State)>,
}

impl Gateway {
    /// Lists, ends and stops.
    pub(super) async fn admin(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
    ) -> Result<Response<Body>, Refusal> {
        let session = signed_in(permit)?;
        if !session.standing().user.admin {
            return Err(Refusal::NotFound);
        }
        refuse_scripts(request.headers())?;
        match *request.method() {
            Method::GET if !self.is_proven(session) => {
                let next = LocalPath::or_root(Some(PAGE));
                self.prove(request.headers(), session, &next).await
            }
            Method::GET => Ok(self.admin_page(session, Form::of_query(request.uri()).one("user"))),
            // What was to be done is shown once more, and clicked once more, after the proof.
            Method::POST if !self.is_proven(session) => Ok(see_other(PAGE)),
            Method::POST => {
                let form = Form::of_body(request).await?;
                form.check(&self.page_token(session, PAGE))?;
                self.administer(session, &form).await
            }
            _ => Err(Refusal::Method),
        }
    }

    async fn administer(&self, by: &Session, form: &Form) -> Result<Response<Body>, Refusal> {
        let user = || form.one("user").and_then(|name| UserName::parse(name).ok());
        let unknown = Refusal::BadRequest("an action that is not known");
        match form.one("action") {
            Some("end") => {
                let id = form.one("id").and_then(ShortId::parse).ok_or(unknown)?;
                // One that is over already is as it should be.
                let ending = self.0.sessions.called(id).into_iter().collect();
                self.end_sessions(ending, &by.name).await?;
            }
            Some("end_all") => {
                self.end_all_of(&user().ok_or(unknown)?, &by.name).await?;
            }
            Some("stop") => {
                let user = user().ok_or_else(|| Refusal::BadRequest("an action that is not known"))?;
                let server = ServerName::parse(form.one("server").unwrap_or_default());
                let server = server.map_err(|_no_name| unknown)?;
                let id = WorkspaceId { user, server };
                self.0.workspaces.stop(&id);
                info!(event = "workspace_stop_ordered", workspace = %id, by = %by.name, "an administrator stops a workspace");
            }
            _ => return Err(unknown),
        }
        Ok(see_other(PAGE))
    }

    /// Ends all of a user's sessions because `by` says so, and what their programs have of the provider.
    pub(super) async fn end_all_of(&self, name: &UserName, by: &UserName) -> Result<(), Refusal> {
        self.end_access_tokens_of(name);
        self.end_sessions(self.0.sessions.of(name), by).await
    }

    /// Ends sessions because `by` says so: their own, or an administrator somebody else's.
    pub(super) async fn end_sessions(&self, ending: Vec<Arc<Session>>, by: &UserName) -> Result<(), Refusal> {
        let result = self.0.sessions.end_each(&ending).await;
        for session in &ending {
            info!(event = "session_ended", user = %session.name, session = %ShortId::of(&session.id), by = %by, "a session was ended by hand");
        }
        Ok(result?)
    }

    fn admin_page(&self, session: &Arc<Session>, only: Option<&str>) -> Response<Body> {
        let page_token = self.page_token(session, PAGE);
        let mut present = self.present();
        if let Some(only) = only {
            present.retain(|name, _| name.as_str() == only);
        }
        let sessions: usize = present.values().map(|user| user.sessions.len()).sum();
        let mut paragraphs = vec![match (present.len(), only) {
            (0, Some(_)) => "Nobody of this name is signed in or has a server.".to_owned(),
            (users, _) => format!("{} of {}.", count(sessions, "session"), count(users, "user")),
        }];
        if present.len() > MOST_USERS {
            paragraphs.push(format!("The first {MOST_USERS} are shown; {PAGE}?user=NAME shows one."));
        }
        let rows = present.iter().take(MOST_USERS);
        let rows = rows.flat_map(|(name, user)| self.rows(name, user, session, &page_token)).collect();
        let page = Page {
            title: "Administration".to_owned(),
            paragraphs,
            rows,
            actions: vec![Action::link("Your home page", "/hub/home")],
            user: Some(session.name.to_string()),
            ..Page::default()
        };
        self.1.pages.render(StatusCode::OK, &page)
    }

    /// Everybody who is signed in, or has a server.
    fn present(&self) -> BTreeMap<UserName, Present> {
        let mut present: BTreeMap<UserName, Present> = BTreeMap::new();
        for session in self.0.sessions.all() {
            present.entry(session.name.clone()).or_default().sessions.push(session);
        }
        for (id, state) in self.0.workspaces.all() {
            present.entry(id.user).or_default().workspaces.push((id.server, state));
        }
        for user in present.values_mut() {
            user.sessions.sort_by_key(|session| (session.created, session.id));
        }
        present
    }

    fn rows(&self, name: &UserName, user: &Present, own: &Session, page_token: &Secret) -> Vec<Row> {
        let form = |label: &str, fields: &[(&str, &str)]| {
            vec![Action::form_of(page_token, label, PAGE, fields).second()]
        };
        let mut rows = vec![Row {
            title: name.to_string(),
            lines: vec![count(user.sessions.len(), "session")],
            actions: if user.sessions.is_empty() {
                vec![]
            } else {
                form(&format!("End all of {name}"), &[("action", "end_all"), ("user", name.as_str())])
            },
        }];
        for (server, state) in &user.workspaces {
            let runs = state.profile().map(|profile| self.title(profile)).unwrap_or_default();
            let stop = match state {
                State::Ready(_) => Some("Stop"),
                State::Starting(_) => Some("Cancel"),
                State::Failing(_) | State::Stopping => None,
            };
            rows.push(Row {
                title: format!("Server {server}").trim_end().to_owned(),
                lines: vec![format!("{} {runs}", state.label())],
                actions: stop.map_or_else(Vec::new, |label| {
                    form(label, &[("action", "stop"), ("user", name.as_str()), ("server", server.as_str())])
                }),
            });
        }
        rows.extend(user.sessions.iter().map(|session| {
            let listed = self.0.sessions.listed(session);
            let yours = if session.id == own.id { ", this one" } else { "" };
            Row {
                title: format!("Session {}{yours}", listed.id),
                lines: vec![
                    format!("signed in {} at {}", date(session.created), listed.provider),
                    format!(
                        "last seen {}, {} open",
                        listed.last_seen.replace(['T', 'Z'], " ").trim(),
                        listed.open
                    ),
                ],
                actions: form("End", &[("action", "end"), ("id", &listed.id)]),
            }
        }));
        rows
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Its address, and what its forms are for.
pub(super) const PAGE: &str = "/hub/admin";

/// More than anybody reads at once.
const MOST_USERS: usize = 200;
