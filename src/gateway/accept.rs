//! `/hub/accept-share?code=…`: what a link asks, and its answer.
//!
//! Whoever is not signed in is sent to sign in, whether the code is good or not. The code is in the address, so pages that
//! are opened from here must not hear of it.

use std::sync::Arc;

use http::header::{HeaderValue, REFERRER_POLICY};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::authorize::Permit;
use super::form::Form;
use super::home::signed_in;
use super::page::{Action, Page};
use super::refusal::Refusal;
use super::share::{may, until, whose};
use super::tokens::refuse_scripts;
use super::{Body, Gateway, see_other};
use crate::session::Session;
use crate::share::{Code, ShareError};

/// Where it is.
pub(super) const PAGE: &str = "/hub/accept-share";

impl Gateway {
    /// Asks, then accepts.
    pub(super) async fn accept_share(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
    ) -> Result<Response<Body>, Refusal> {
        let session = signed_in(permit)?;
        if !self.0.shares.enabled() {
            return Err(Refusal::NotFound);
        }
        refuse_scripts(request.headers())?;
        let answer = match *request.method() {
            Method::GET => {
                let query = Form::of_query(request.uri());
                let text = query.one("code").unwrap_or_default();
                self.good_code(text).map(|code| self.acceptance(session, &code, text))
            }
            Method::POST => {
                let form = Form::of_body(request).await?;
                form.check(&self.page_token(session, PAGE))?;
                match self.good_code(form.one("code").unwrap_or_default()) {
                    Some(code) => self.accept_code(session, &code).await?,
                    None => None,
                }
            }
            _ => return Err(Refusal::Method),
        };
        let mut response = answer.unwrap_or_else(|| self.bad_code(session));
        // Not a word of the path to anybody, this hub's own neighbours included.
        response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("strict-origin"));
        Ok(response)
    }

    /// The code of this text, if its server is there still.
    fn good_code(&self, text: &str) -> Option<Arc<Code>> {
        let code = self.0.shares.code(text)?;
        self.0.workspaces.of(&code.of.user).contains(&code.of).then_some(code)
    }

    async fn accept_code(
        &self,
        session: &Session,
        code: &Arc<Code>,
    ) -> Result<Option<Response<Body>>, Refusal> {
        let user = session.standing().user.clone();
        match self.0.shares.accept(code, &user).await {
            Ok(share) => {
                self.check_kept(&share.of).await?;
                session.agree(&share.of.user);
                Ok(Some(see_other(&self.address_of(&share.of))))
            }
            Err(ShareError::Own { .. }) => Ok(Some(self.own_code(session))),
            Err(ShareError::TakenBack { .. }) => Ok(Some(self.taken_back(session, code))),
            Err(ShareError::Store(error)) => Err(error.into()),
            Err(ShareError::TooMany { .. }) => {
                let what = "Its owner shares with as many as they can: they must revoke something first.";
                Ok(Some(self.told(session, StatusCode::CONFLICT, "This cannot be shared with you", what)))
            }
            Err(_over) => Ok(None),
        }
    }

    fn acceptance(&self, session: &Session, code: &Code, text: &str) -> Response<Body> {
        if code.of.user == session.name {
            return self.own_code(session);
        }
        if code.refuses(&session.name) {
            return self.taken_back(session, code);
        }
        let offer = self.0.shares.offer(code);
        let page = Page {
            title: format!("{} shares a server with you", code.of.user),
            paragraphs: vec![
                format!("It is {}. You may {}, {}.", whose(&code.of), may(offer.access), until(offer)),
                "Accept only from somebody you know: what you open there is theirs, and they can see what you do in it.".to_owned(),
            ],
            actions: vec![
                Action::form_of(&self.page_token(session, PAGE), "Accept", PAGE, &[("code", text)]),
                Action::link("No", "/hub/home"),
            ],
            user: Some(session.name.to_string()),
            ..Page::default()
        };
        self.1.pages.render(StatusCode::OK, &page)
    }

    fn own_code(&self, session: &Session) -> Response<Body> {
        let what = "Send this link to others: they accept it, and are let in.";
        self.told(session, StatusCode::CONFLICT, "This is your own server", what)
    }

    fn taken_back(&self, session: &Session, code: &Code) -> Response<Body> {
        let what = format!(
            "{} has taken back from you what you had, so it does not let you in. Ask them for another.",
            code.of.user
        );
        self.told(session, StatusCode::FORBIDDEN, "This link is not for you any more", &what)
    }

    /// Whatever is wrong with it.
    fn bad_code(&self, session: &Session) -> Response<Body> {
        let what = "It was not copied whole, its time is up, or it was revoked. Ask whoever gave it to you for another.";
        self.told(session, StatusCode::NOT_FOUND, "This link leads nowhere", what)
    }

    fn told(&self, session: &Session, status: StatusCode, title: &str, what: &str) -> Response<Body> {
        let page = Page {
            title: title.to_owned(),
            paragraphs: vec![what.to_owned()],
            actions: vec![Action::link("Home", "/hub/home")],
            user: Some(session.name.to_string()),
            ..Page::default()
        };
        self.1.pages.render(status, &page)
    }
}
