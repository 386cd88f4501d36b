//! Signing programs in that have no browser (RFC 8628): what they ask, and the page where a person confirms it.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tracing::info;

use super::authorize::Permit;
use super::form::Form;
use super::head::Connection;
use super::home::signed_in;
use super::hosts::Origin;
use super::page::{Action, Input, Page, json};
use super::refusal::Refusal;
use super::tokens::{date, refuse_scripts, right};
use super::{Body, Gateway};
use crate::session::Session;
use crate::token::device::{
    Answer, Asked, Begun, ClientLabel, DeviceError, DeviceLogins, Guesser, UserCode, Verdict,
};
use crate::token::{NewToken, Note, Scoped, Scopes, TokenError};

const PAGE: &str = "/hub/device";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

impl Gateway {
    /// `POST /hub/api/oauth2/device_authorization`: a program asks to be let in.
    pub(super) async fn api_device(
        &self,
        connection: &Connection,
        request: Request<Incoming>,
        at: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        if *request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        let form = Form::of_body(request).await?;
        let Some(client) = form.one("client_id").and_then(ClientLabel::parse) else {
            return Ok(refused(
                "invalid_client",
                "client_id says what the program is called, in plain letters",
            ));
        };
        let scopes = match Scopes::parse_words(form.one("scope").unwrap_or_default(), None) {
            Ok(scopes) => scopes,
            Err(error) => return Ok(refused("invalid_scope", &error.to_string())),
        };
        let scopes = if scopes.is_empty() { Scopes::ordinary() } else { scopes };
        let asked = Asked { client, scopes, address: connection.client.ip() };
        let Begun { device_code, user_code } = match self.1.device_logins.begin(asked) {
            Ok(begun) => begun,
            Err(error) => {
                let words =
                    json!({ "error": "temporarily_unavailable", "error_description": error.to_string() });
                return Ok(json(StatusCode::TOO_MANY_REQUESTS, &words));
            }
        };
        let page = at.page(PAGE);
        let mut complete = page.clone();
        complete.query_pairs_mut().append_pair("user_code", &user_code.to_string());
        Ok(json(
            StatusCode::OK,
            &json!({
                "device_code": device_code.expose(), "user_code": user_code.to_string(),
                "verification_uri": page.as_str(), "verification_uri_complete": complete.as_str(),
                "expires_in": DeviceLogins::LIFETIME, "interval": DeviceLogins::INTERVAL,
            }),
        ))
    }

    /// `POST /hub/api/oauth2/token`: the same program asks for its token.
    pub(super) async fn api_device_token(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        if *request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        let form = Form::of_body(request).await?;
        if form.one("grant_type") != Some(GRANT) {
            return Ok(refused("unsupported_grant_type", "only device codes are redeemed here"));
        }
        let (Some(client), Some(code)) =
            (form.one("client_id").and_then(ClientLabel::parse), form.one("device_code"))
        else {
            return Ok(refused("invalid_request", "client_id and device_code are needed"));
        };
        match self.1.device_logins.poll(code, &client) {
            Verdict::Pending => Ok(refused("authorization_pending", "nobody has answered yet")),
            Verdict::SlowDown => Ok(refused("slow_down", "wait five seconds longer from now on")),
            Verdict::Denied => Ok(refused("access_denied", "the answer was no")),
            Verdict::Expired => Ok(refused("expired_token", "nobody answered in time")),
            Verdict::Unknown => Ok(refused("invalid_grant", "there is no such code, or it was used")),
            Verdict::Allowed { session, asked } => self.hand_out(&session, asked).await,
        }
    }

    /// The confirmation is worth as much as the session that gave it is now.
    async fn hand_out(&self, session: &[u8; 32], asked: Asked) -> Result<Response<Body>, Refusal> {
        let Some(session) = self.0.sessions.by_id(session) else {
            return Ok(refused("access_denied", "whoever confirmed it has signed out since"));
        };
        let right = right(&session);
        let note = format!("{} from {}", asked.client, asked.address);
        let scopes = asked.scopes.of_owner(&session.name).and(&self.grantable(&session), &session.name);
        let new = NewToken { scopes, note: Note::parse(&note).unwrap_or_default(), expires: None };
        match self.0.api_tokens.create(right, new).await {
            Ok((secret, token)) => Ok(json(
                StatusCode::OK,
                &json!({
                    "access_token": secret.expose(), "token_type": "Bearer",
                    "expires_in": token.expires.saturating_sub(token.created), "scope": token.scopes().to_string(),
                }),
            )),
            Err(TokenError::Store(error)) => Err(error.into()),
            Err(refusal) => Ok(refused("access_denied", &refusal.to_string())),
        }
    }

    /// `/hub/device`: a person types the code, reads who asks for what, and answers.
    pub(super) async fn device(
        &self,
        connection: &Connection,
        request: Request<Incoming>,
        permit: &Permit,
    ) -> Result<Response<Body>, Refusal> {
        let session = signed_in(permit)?;
        refuse_scripts(request.headers())?;
        let by = Guesser { session: session.id, address: connection.client.ip() };
        match *request.method() {
            Method::GET => match Form::of_query(request.uri()).one("user_code") {
                Some(code) => Ok(self.ask(session, code, by)),
                None => Ok(self.type_code(session, StatusCode::OK, "")),
            },
            Method::POST => {
                let form = Form::of_body(request).await?;
                form.check(&self.page_token(session, PAGE))?;
                let code = form.one("user_code").unwrap_or_default();
                match form.one("answer") {
                    None => Ok(self.ask(session, code, by)),
                    Some("allow") => {
                        Ok(self.answer(session, code, by, Answer::Allow { session: session.id }))
                    }
                    Some("deny") => Ok(self.answer(session, code, by, Answer::Deny)),
                    Some(_) => Err(Refusal::BadRequest("an answer that is not known")),
                }
            }
            _ => Err(Refusal::Method),
        }
    }

    fn type_code(&self, session: &Session, status: StatusCode, complaint: &str) -> Response<Body> {
        let what = "Type the code that the program shows. Only if you have just started it yourself!";
        let input = Input::Text { name: "user_code", label: "Code", value: String::new(), length: 16 };
        let page = Page {
            title: "Let a program in".to_owned(),
            paragraphs: [complaint, what]
                .iter()
                .filter(|text| !text.is_empty())
                .map(|&text| text.to_owned())
                .collect(),
            actions: vec![
                Action::form_of(&self.page_token(session, PAGE), "Go on", PAGE, &[]).asking(vec![input]),
            ],
            user: Some(session.name.to_string()),
            ..Page::default()
        };
        self.1.pages.render(status, &page)
    }

    /// What is asked with a code; else the status and the words that say that nothing is.
    fn find(&self, code: &str, by: Guesser) -> Result<(UserCode, Asked), (StatusCode, &'static str)> {
        match self.1.device_logins.look(code, by) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => {
                Err((StatusCode::NOT_FOUND, "There is no such code: it was mistyped, used, or is too old."))
            }
            Err(DeviceError::Guessing | DeviceError::Busy) => {
                Err((StatusCode::TOO_MANY_REQUESTS, "Too many wrong codes were tried. Wait ten minutes."))
            }
        }
    }

    fn ask(&self, session: &Arc<Session>, code: &str, by: Guesser) -> Response<Body> {
        let (code, asked) = match self.find(code, by) {
            Ok(found) => found,
            Err((status, complaint)) => return self.type_code(session, status, complaint),
        };
        let scopes = asked.scopes.of_owner(&session.name).and(&self.grantable(session), &session.name);
        let may: Vec<_> = scopes.iter().map(Scoped::meaning).collect();
        let ends = date(self.0.clock.now() + self.0.api_tokens.lifetime());
        let (page_token, code) = (self.page_token(session, PAGE), code.to_string());
        let form = |label, answer| {
            Action::form_of(&page_token, label, PAGE, &[("user_code", &code), ("answer", answer)])
        };
        let page = Page {
            title: "Let this program in?".to_owned(),
            paragraphs: vec![
                format!(
                    "A program at the address {} that calls itself {} wants to work in your name.",
                    asked.address, asked.client
                ),
                format!("It could {}, until {ends}.", may.join("; ")),
                "It must show the code below. If you did not start it yourself just now, say no: somebody else may \
                 have sent you here, to get in under your name."
                    .to_owned(),
            ],
            shown: Some(code.clone()),
            actions: vec![form("Let it in", "allow"), form("No", "deny").second()],
            user: Some(session.name.to_string()),
            ..Page::default()
        };
        self.1.pages.render(StatusCode::OK, &page)
    }

    fn answer(&self, session: &Arc<Session>, code: &str, by: Guesser, answer: Answer) -> Response<Body> {
        let code = match self.find(code, by) {
            Ok((code, _)) => code,
            Err((status, complaint)) => return self.type_code(session, status, complaint),
        };
        let Some(asked) = self.1.device_logins.answer(&code, answer) else {
            return self.type_code(
                session,
                StatusCode::NOT_FOUND,
                "This was answered already, or is too old.",
            );
        };
        let allowed = answer != Answer::Deny;
        info!(event = "device_login", user = %session.name, allowed, client = %asked.client, address = %asked.address, scopes = %asked.scopes, "a program asked to be let in");
        let (title, what) = if allowed {
            ("The program is let in", "It goes on by itself. You can revoke its token at any time.")
        } else {
            ("The program is not let in", "It will hear so.")
        };
        let page = Page {
            title: title.to_owned(),
            paragraphs: vec![what.to_owned()],
            actions: vec![Action::link("Your tokens", "/hub/token"), Action::link("Home", "/hub/home")],
            user: Some(session.name.to_string()),
            ..Page::default()
        };
        self.1.pages.render(StatusCode::OK, &page)
    }
}

/// RFC 6749 section 5.2.
fn refused(error: &str, description: &str) -> Response<Body> {
    let words: Value = json!({ "error": error, "error_description": description });
    json(StatusCode::BAD_REQUEST, &words)
}
