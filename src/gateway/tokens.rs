//! `/hub/token`: the user's API tokens, for people.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::authorize::Permit;
use super::form::Form;
use super::head::is_scripted;
use super::home::signed_in;
use super::hosts::Origin;
use super::page::{Action, Input, Page, Row};
use super::program::ProgramRefusal;
use super::refusal::Refusal;
use super::{Body, Gateway, see_other};
use crate::clock::Timestamp;
use crate::seal::hex;
use crate::secret::Secret;
use crate::session::Session;
use crate::token::{ApiToken, NewToken, Note, Right, Scope, Scoped, Scopes, TokenError, TokenId};

/// How long tokens may live that are made on the page.
const LIFETIMES: [(u64, &str); 5] = [
    (3600, "an hour"),
    (86_400, "a day"),
    (7 * 86_400, "a week"),
    (30 * 86_400, "30 days"),
    (90 * 86_400, "90 days"),
];

impl Gateway {
    /// Lists, makes and revokes.
    pub(super) async fn tokens(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
        at: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        let session = signed_in(permit)?;
        refuse_scripts(request.headers())?;
        match *request.method() {
            Method::GET => Ok(self.tokens_page(session, None)),
            Method::POST => {
                let form = Form::of_body(request).await?;
                form.check(&self.page_token(session, "/hub/token"))?;
                match form.one("action") {
                    Some("make") => self.make_on_page(session, &form, at).await,
                    Some("revoke") => self.revoke_on_page(session, &form).await,
                    _ => Err(Refusal::BadRequest("an action that is not known")),
                }
            }
            _ => Err(Refusal::Method),
        }
    }

    async fn make_on_page(
        &self,
        session: &Arc<Session>,
        form: &Form,
        at: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        let scopes = Scopes::parse(form.all("scope"), Some(&session.name));
        let note = Note::parse(form.one("note").unwrap_or_default());
        let lifetime = form.one("lifetime").and_then(|text| text.parse::<u64>().ok());
        let (Ok(scopes), Ok(note), Some(lifetime)) = (scopes, note, lifetime) else {
            return Ok(self
                .tokens_page(session, Some("Choose what it may do, and keep the note to one short line.")));
        };
        let given = |held: &Scopes| scopes.given_by(held, &session.name);
        let Some(scopes) = given(&self.grantable(session)) else {
            let complaint = if given(&self.held(&session.standing().user)).is_some() {
                "Open the administration page first: it asks you to prove who you are."
            } else {
                "Choose something it may do that you may do yourself."
            };
            return Ok(self.tokens_page(session, Some(complaint)));
        };
        let new = NewToken { scopes, note, expires: Some(self.0.clock.now().saturating_add(lifetime)) };
        match self.0.api_tokens.create(right(session), new).await {
            Ok((secret, token)) => Ok(self.shown_once(session, &secret, &token, at)),
            Err(TokenError::Store(error)) => Err(error.into()),
            Err(TokenError::TooMany { .. }) => Ok(self
                .tokens_page(session, Some("You have as many tokens as one person can have. Revoke some."))),
            Err(_refused) => {
                Ok(self.tokens_page(session, Some("Choose something it may do, and a shorter time.")))
            }
        }
    }

    async fn revoke_on_page(&self, session: &Arc<Session>, form: &Form) -> Result<Response<Body>, Refusal> {
        let id = form.one("id").and_then(TokenId::parse);
        let theirs = self.0.api_tokens.of(&session.name);
        if let Some(token) = theirs.into_iter().find(|token| Some(token.id) == id) {
            self.0.api_tokens.revoke(&token).await?;
        }
        Ok(see_other("/hub/token"))
    }

    fn tokens_page(&self, session: &Arc<Session>, complaint: Option<&str>) -> Response<Body> {
        let page_token = self.page_token(session, "/hub/token");
        let rows = self.0.api_tokens.of(&session.name).iter().map(|token| row(token, &page_token)).collect();
        let what = "Programs that hold one of these tokens work in your name, as far as it allows.";
        let page = Page {
            title: "Your tokens".to_owned(),
            paragraphs: std::iter::once(what).chain(complaint).map(str::to_owned).collect(),
            rows,
            actions: vec![self.make_form(session, &page_token)],
            user: Some(session.name.to_string()),
            ..Page::default()
        };
        self.1.pages.render(if complaint.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK }, &page)
    }

    fn make_form(&self, session: &Session, page_token: &Secret) -> Action {
        let ordinary = Scopes::ordinary();
        let choice = |scoped: Scoped| Input::Choice {
            name: "scope",
            label: format!("It may {} ({})", scoped.meaning(), scoped.name()),
            chosen: ordinary.iter().any(|one| *one == scoped),
            value: scoped.name(),
        };
        let options = lifetimes(self.0.api_tokens.lifetime_max());
        let mut inputs = vec![Input::Text {
            name: "note",
            label: "What is it for?",
            value: String::new(),
            length: Note::MAX_CHARACTERS,
        }];
        let standing = session.standing();
        let useful = |scoped: &Scoped| {
            if scoped.scope == Scope::AccessServices {
                return !standing.user.routes.is_empty();
            }
            self.0.shares.enabled() || !scoped.scope.is_about_shares()
        };
        let admin = standing.user.admin && self.is_proven(session);
        inputs.extend(Scopes::choices(admin).into_iter().filter(useful).map(choice));
        inputs.push(Input::Select { name: "lifetime".into(), label: "It lives for".into(), options });
        Action::form_of(page_token, "Make a token", "/hub/token", &[("action", "make")]).asking(inputs)
    }

    fn shown_once(
        &self,
        session: &Arc<Session>,
        secret: &Secret,
        token: &ApiToken,
        at: &Origin,
    ) -> Response<Body> {
        let page = Page {
            title: "Your new token".to_owned(),
            paragraphs: vec![
                "Copy it now: it is shown this once. Whoever has it works in your name.".to_owned(),
                format!("It ends on {}.", date(token.expires)),
                format!("Programs send it to {} as: Authorization: token …", at.origin),
            ],
            shown: Some(secret.expose().to_owned()),
            actions: vec![Action::link("Done", "/hub/token")],
            user: Some(session.name.to_string()),
            ..Page::default()
        };
        self.1.pages.render(StatusCode::OK, &page)
    }

    /// Must come with the forms of one page. Not the session's own: code in a workspace's page can read that from other
    /// pages of the hub, but no script reads a page that makes tokens: see [`refuse_scripts`].
    pub(super) fn page_token(&self, session: &Session, page: &str) -> Secret {
        self.0.sealer.derive(&format!("form {page}"), &hex(&session.id))
    }
}

/// Pages that give something away for long are for people: a script of the same origin can be a notebook's. Browsers
/// say truly what a request is for, and scripts cannot change it (Fetch Metadata).
pub(super) fn refuse_scripts(headers: &HeaderMap) -> Result<(), Refusal> {
    if is_scripted(headers) { Err(ProgramRefusal::Scripted.into()) } else { Ok(()) }
}

/// What a person may give away.
pub(super) fn right(session: &Session) -> Right {
    Right { provider: Arc::clone(&session.provider), user: session.standing().user.clone() }
}

/// How long something may live, to be chosen: in seconds, and in words.
pub(super) fn lifetimes(most: u64) -> Vec<(String, String)> {
    let shorter = LIFETIMES.iter().filter(|(seconds, _)| *seconds <= most);
    let mut options: Vec<_> =
        shorter.map(|(seconds, words)| (seconds.to_string(), (*words).to_owned())).collect();
    if options.is_empty() {
        options.push((most.to_string(), humantime::format_duration(Duration::from_secs(most)).to_string()));
    }
    options
}

pub(super) fn date(timestamp: Timestamp) -> String {
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(timestamp)).to_string();
    format!("{} UTC", text.replace('T', " ").trim_end_matches('Z'))
}

fn row(token: &ApiToken, page_token: &Secret) -> Row {
    let note = token.note.as_str();
    let may = token.scopes().names();
    let used =
        token.last_used().map_or_else(|| "never used".to_owned(), |when| format!("last used {}", date(when)));
    Row {
        title: if note.is_empty() { "A token without a note".to_owned() } else { note.to_owned() },
        lines: vec![
            may.join(" "),
            format!("made {}, ends {}, {used}", date(token.created), date(token.expires)),
        ],
        actions: vec![
            Action::form_of(
                page_token,
                "Revoke",
                "/hub/token",
                &[("action", "revoke"), ("id", &token.id.to_string())],
            )
            .second(),
        ],
    }
}
