//! Signing out: `/hub/logout`.

use std::sync::Arc;

use http::header::SET_COOKIE;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tracing::info;

use super::authorize::Permit;
use super::form::Form;
use super::page::{Action, Page};
use super::refusal::Refusal;
use super::{Body, Gateway, Origin, see_other};
use crate::cookies;
use crate::session::Session;

impl Gateway {
    /// GET asks; POST ends the session here, then sends the browser on to end it at the provider.
    pub(super) async fn logout(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
        at: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        let Some(session) = permit.session().cloned() else { return Ok(self.signed_out()) };
        if *request.method() == Method::GET {
            return Ok(self.ask_to_sign_out(&session));
        }
        if *request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        Form::of_body(request).await?.check_token(&session)?;
        self.0.sessions.end(&session).await?;
        info!(event = "logout", user = %session.name, "signed out");
        let standing = session.standing();
        let id_token = standing.tokens.id_token.as_ref();
        let back = at.page("/hub/logout");
        let provider = self.0.providers.find(&session.provider);
        let mut response = match provider.and_then(|provider| provider.logout_url(id_token, &back, None)) {
            Some(url) => see_other(url.as_str()),
            None => see_other("/hub/logout"),
        };
        for name in [cookies::SESSION, cookies::JUPYTERHUB_SESSION] {
            response.headers_mut().append(SET_COOKIE, cookies::clear(name));
        }
        Ok(response)
    }

    fn ask_to_sign_out(&self, session: &Arc<Session>) -> Response<Body> {
        let page = Page {
            title: "Sign out?".to_owned(),
            paragraphs: vec![
                "You will be signed out here and at the login service. Your server goes on running."
                    .to_owned(),
            ],
            actions: vec![Action::form(session, "Sign out", "/hub/logout", &[]), Action::link("Stay", "/")],
            user: Some(session.name.to_string()),
            ..Page::default()
        };
        self.1.pages.render(StatusCode::OK, &page)
    }

    fn signed_out(&self) -> Response<Body> {
        let page = Page {
            title: "You are signed out".to_owned(),
            paragraphs: vec!["Sign in to get back to your server.".to_owned()],
            actions: vec![Action::link("Sign in", "/hub/login")],
            ..Page::default()
        };
        self.1.pages.render(StatusCode::OK, &page)
    }
}
