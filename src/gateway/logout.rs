//! Signing out: `/hub/logout`.

use std::sync::Arc;
use std::time::Duration;

use http::header::SET_COOKIE;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tracing::{info, warn};

use super::authorize::Permit;
use super::form::Form;
use super::page::{Action, Page};
use super::refusal::Refusal;
use super::{Body, Gateway, Origin, see_other};
use crate::cookies;
use crate::logging::cause;
use crate::seal::random_text;
use crate::session::Session;

impl Gateway {
    /// GET asks; POST ends the session here, then sends the browser on to end it at the provider.
    pub(super) async fn logout(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
        at: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        let Some(session) = permit.session().cloned() else { return Ok(self.signed_out(&request)) };
        if *request.method() == Method::GET {
            return Ok(self.ask_to_sign_out(&session));
        }
        if *request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        Form::of_body(request).await?.check_token(&session)?;
        self.0.sessions.end(&session).await?;
        info!(event = "logout", user = %session.name, "signed out");
        self.revoke_offline(&session);
        let mut response = self.to_provider(&session, at).unwrap_or_else(|| see_other("/hub/logout"));
        for name in [cookies::SESSION, cookies::JUPYTERHUB_SESSION, cookies::ROUNDS] {
            response.headers_mut().append(SET_COOKIE, cookies::clear(name));
        }
        Ok(response)
    }

    /// On to the provider, to end its session too; what comes back with the browser tells whether it was there
    /// (OpenID Connect RP-Initiated Logout 1.0).
    fn to_provider(&self, session: &Session, at: &Origin) -> Option<Response<Body>> {
        let provider = self.0.providers.find(&session.provider)?;
        let state = random_text::<32>();
        let tokens = &session.standing().tokens;
        let url = provider.logout_url(tokens.id_token.as_ref(), &at.page("/hub/logout"), Some(&state))?;
        let mut response = see_other(url.as_str());
        let sealed = self.0.sealer.seal(cookies::LOGOUT, state.as_bytes());
        response
            .headers_mut()
            .append(SET_COOKIE, cookies::set(cookies::LOGOUT, &sealed, Some(THERE_AND_BACK)));
        Some(response)
    }

    /// An offline token outlives the provider's session: nobody is to find it later.
    fn revoke_offline(&self, session: &Session) {
        let provider = self.0.providers.find(&session.provider).filter(|provider| provider.asks_offline());
        let token = session.standing().tokens.refresh_token.clone();
        let (Some(provider), Some(token)) = (provider.cloned(), token) else { return };
        self.0.tasks.spawn(async move {
            if let Err(error) = provider.revoke(&token).await {
                warn!(error = cause(&error), "an offline token cannot be taken back at the provider");
            }
        });
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

    /// What a browser sees that is signed out, and what one sees that is back from the provider.
    fn signed_out<B>(&self, request: &Request<B>) -> Response<Body> {
        let sent = cookies::find(request.headers(), cookies::LOGOUT);
        let sent = sent.and_then(|sealed| self.0.sealer.open(cookies::LOGOUT, sealed));
        let query = Form::of_query(request.uri());
        // Without its own state it may be anybody who sends the browser here.
        let back = sent.as_ref().map(|sent| query.one("state").map(str::as_bytes) == Some(sent));
        let what = match back {
            Some(true) => "You are signed out here and at the login service.",
            Some(false) => {
                "You are signed out here. Whether you are at the login service is not known: close the browser to be sure."
            }
            None => "Sign in to get back to your server.",
        };
        let page = Page {
            title: "You are signed out".to_owned(),
            paragraphs: vec![what.to_owned()],
            actions: vec![Action::link("Sign in", "/hub/login")],
            ..Page::default()
        };
        let mut response = self.1.pages.render(StatusCode::OK, &page);
        if back.is_some() {
            response.headers_mut().append(SET_COOKIE, cookies::clear(cookies::LOGOUT));
        }
        response
    }
}

/// How long a browser may be at the provider for a logout.
const THERE_AND_BACK: Duration = Duration::from_mins(10);
