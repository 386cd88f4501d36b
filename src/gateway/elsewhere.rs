//! Logouts that begin at the provider: `/hub/backchannel-logout`, `/hub/frontchannel-logout`.
//!
//! Neither needs a session of whoever asks. The first believes what the provider has signed; the second, which a frame
//! of the provider's page asks for, whoever knows the name of the provider's session.

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tracing::{error, info, warn};

use super::form::Form;
use super::page::json;
use super::refusal::Refusal;
use super::{Body, Gateway, empty};
use crate::identity::Identity;
use crate::logging::cause;
use crate::metrics::Outcome;
use crate::oidc::{LogoutToken, LogoutTokenError, OidcError};
use crate::session::Logout;

impl Gateway {
    /// OpenID Connect Back-Channel Logout 1.0: the provider itself says that sessions are over.
    pub(super) async fn backchannel_logout(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        if *request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        // Before the turn: whoever sends slowly keeps nobody else's logout waiting.
        let form = Form::of_body(request).await?;
        // Signatures cost: a flood of forged ones waits for itself, not for the requests of others.
        let _turn = self.1.logouts.acquire().await;
        let token = if let Some(token) = form.one("logout_token") {
            self.0.providers.logout_token(token).await
        } else {
            let error = OidcError::Mismatch("there is not exactly one logout_token in it");
            Err(LogoutTokenError::Unverified(error))
        };
        let result = token.as_ref().map_or_else(|error| error.reason().kind(), |_| "ok");
        self.0.metrics.provider_logouts.get_or_create(&Outcome { result }).inc();
        match token {
            Ok(token) => Ok(self.end_as_told(token).await),
            Err(error) => Ok(refused(&error)),
        }
    }

    async fn end_as_told(&self, token: LogoutToken) -> Response<Body> {
        let LogoutToken { issuer, subject, sid, issued, .. } = token;
        let logout = Logout { issuer, sid, subject, issued };
        let ended = self.0.sessions.end_as_told(logout.clone()).await;
        self.0.bearers.end_where(|bearer| {
            let (identity, issued) = bearer.vouched();
            logout.means(identity, issued)
        });
        match ended {
            Ok(ended) => info!(event = "provider_logout", ended, "the provider has ended sessions"),
            // They are over all the same; the store is tried again.
            Err(error) => error!(error = cause(&error), "sessions that are over cannot be deleted yet"),
        }
        // Section 2.8.
        let mut response = empty(StatusCode::OK);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// OpenID Connect Front-Channel Logout 1.0: a page of the provider shows this in a frame. Browsers send no cookie
    /// of ours there, so it is the two names that count, and both must be given.
    pub(super) async fn frontchannel_logout<B>(
        &self,
        request: &Request<B>,
    ) -> Result<Response<Body>, Refusal> {
        if *request.method() != Method::GET {
            return Err(Refusal::Method);
        }
        let query = Form::of_query(request.uri());
        let (Some(issuer), Some(sid)) = (query.one("iss"), query.one("sid").filter(|sid| !sid.is_empty()))
        else {
            return Err(Refusal::BadRequest("a front-channel logout names iss and sid"));
        };
        let (_, provider) = self.0.providers.of_issuer(issuer).ok_or(Refusal::NotFound)?;
        let is_it = |identity: &Identity| identity.issuer == issuer && identity.sid.as_deref() == Some(sid);
        self.0.bearers.end_where(|bearer| is_it(bearer.vouched().0));
        let ended = self.0.sessions.end_where(|session| is_it(&session.standing().identity));
        match ended.await {
            Ok(ended) => info!(event = "provider_logout", ended, "a page of the provider has ended sessions"),
            Err(error) => error!(error = cause(&error), "sessions that are over cannot be deleted yet"),
        }
        let mut response = Response::new(Body::full("<!doctype html><title>Signed out</title>"));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let policy = format!("default-src 'none'; frame-ancestors {}", provider.origins().join(" "));
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        Ok(response)
    }
}

/// Section 2.8: 400, and no session is touched. What the provider cannot be asked now is not its mistake.
fn refused(error: &LogoutTokenError) -> Response<Body> {
    let reason = error.reason();
    if let LogoutTokenError::Verified(_) = error {
        let remedy = reason.remedy();
        warn!(event = "provider_logout_refused", error = cause(reason), remedy, "a logout token is refused");
    } else {
        // Anybody can send such: it is told, and is nothing to wake an administrator for.
        info!(event = "provider_logout_refused", error = cause(reason), "a logout token is refused");
    }
    let (status, error) = if reason.is_trouble() {
        (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
    } else {
        (StatusCode::BAD_REQUEST, "invalid_request")
    };
    json(status, &json!({ "error": error }))
}
