//! Signing in and out: `/hub/login`, `/hub/oauth_callback`, `/hub/logout`.

use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue, SET_COOKIE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::authorize::Permit;
use super::form::Form;
use super::local_path::LocalPath;
use super::page::{Action, Page};
use super::refusal::Refusal;
use super::{Body, Gateway, Origin, see_other};
use crate::clock::Timestamp;
use crate::cookies;
use crate::identity::Identity;
use crate::metrics::Outcome;
use crate::oidc::{self, Answer, OidcError, Want};
use crate::session::Session;
use crate::user::{User, UserName};

/// A login under way, as its sealed cookie holds it.
#[derive(Debug, Serialize, Deserialize)]
struct Attempt {
    /// At which provider: its name.
    provider: String,
    login: oidc::Login,
    next: String,
    begun: Timestamp,
    /// Begun again by itself, because the provider asked for it: at most once.
    again: bool,
}

/// More login attempts at once than tabs that anybody finishes; the oldest go first.
const MOST_ATTEMPTS: usize = 5;

impl Gateway {
    /// Sends a browser to the provider, with a cookie that remembers why.
    pub(super) async fn login(
        &self,
        request: &Parts,
        permit: &Permit,
        at: &Origin,
        navigation: bool,
    ) -> Result<Response<Body>, Refusal> {
        let query = Form::of_query(&request.uri);
        let next = LocalPath::or_root(query.one("next"));
        if request.method != Method::GET {
            return Err(Refusal::Method);
        }
        if permit.session().is_some() {
            return Ok(see_other(next.as_str()));
        }
        // A picture or a script must not fill the browser with cookies of logins that nobody sees.
        if !navigation {
            return Err(Refusal::LoginRequired { next: None });
        }
        let provider = match (query.one("provider"), &*at.providers) {
            (None, [only]) => only,
            (None, several) => return Ok(self.choose_provider(several, &next)),
            (Some(name), all) => all.iter().find(|known| &***known == name).ok_or(Refusal::NotFound)?,
        };
        self.begin_login(&request.headers, provider, &next, false).await
    }

    fn choose_provider(&self, providers: &[Arc<str>], next: &LocalPath) -> Response<Body> {
        let next: String = url::form_urlencoded::byte_serialize(next.as_str().as_bytes()).collect();
        let link = |name: &Arc<str>| {
            let title = self.0.providers.title(name).unwrap_or(name);
            Action::link(title, &format!("/hub/login?provider={name}&next={next}"))
        };
        let page = Page {
            title: "Sign in".to_owned(),
            paragraphs: vec!["Where do you have your account?".to_owned()],
            actions: providers.iter().map(link).collect(),
            ..Page::default()
        };
        self.1.pages.render(StatusCode::OK, &page)
    }

    async fn begin_login(
        &self,
        headers: &HeaderMap,
        provider: &str,
        next: &LocalPath,
        again: bool,
    ) -> Result<Response<Body>, Refusal> {
        let at = self.0.providers.find(provider).ok_or(Refusal::NotFound)?;
        let (url, login) = at.begin(&Want::default()).await?;
        let provider = provider.to_owned();
        let mut response = see_other(url.as_str());
        self.drop_old_attempts(headers, response.headers_mut());
        let name = attempt_cookie(&login.state);
        let attempt = Attempt { provider, login, next: next.to_string(), begun: self.0.clock.now(), again };
        let plain = serde_json::to_vec(&attempt).unwrap_or_default();
        let sealed = self.0.sealer.seal(&name, &plain);
        response.headers_mut().append(SET_COOKIE, cookies::set(&name, &sealed, Some(self.0.login_timeout)));
        Ok(response)
    }

    /// The provider sends the browser back: checks the answer, then begins a session.
    pub(super) async fn callback(&self, request: &Parts, permit: &Permit) -> Result<Response<Body>, Refusal> {
        if request.method != Method::GET {
            return Err(Refusal::Method);
        }
        let answer = Answer::parse(request.uri.query().unwrap_or_default())?;
        let name = attempt_cookie(&answer.state);
        let Some(attempt) = self.attempt(&request.headers, &name) else {
            // The back button, or the second of two tabs: whoever is signed in just goes on.
            return if permit.session().is_some() { Ok(see_other("/")) } else { Err(Refusal::LoginLost) };
        };
        let outcome = self.finish_login(request, &attempt, &answer).await;
        let result = match &outcome {
            Ok(_) => "ok",
            Err(refusal) => refusal.label(),
        };
        self.0.metrics.logins.get_or_create(&Outcome { result }).inc();
        let mut response = match outcome {
            Err(Refusal::Oidc(OidcError::Refused { error, .. }))
                if !attempt.again && error == "temporarily_unavailable" =>
            {
                // Keycloak: its login page had expired.
                let next = LocalPath::or_root(Some(&attempt.next));
                self.begin_login(&request.headers, &attempt.provider, &next, true).await?
            }
            other => other?,
        };
        // Used up, whatever came of it.
        response.headers_mut().append(SET_COOKIE, cookies::clear(&name));
        Ok(response)
    }

    async fn finish_login(
        &self,
        request: &Parts,
        attempt: &Attempt,
        answer: &Answer,
    ) -> Result<Response<Body>, Refusal> {
        let (Some(name), Some(provider)) =
            (self.0.providers.name(&attempt.provider), self.0.providers.find(&attempt.provider))
        else {
            return Err(Refusal::LoginLost);
        };
        // A provider that sends browsers back where another one should cannot have that one's code sent to it
        // (RFC 9700 section 4.4.2.2).
        if provider.callback().path() != request.uri.path() {
            return Err(OidcError::Mismatch("it comes back where another provider should").into());
        }
        let (identity, tokens) = provider.finish(&attempt.login, answer).await?;
        let user = self.admit(&name, &identity).await?;
        // A session that this browser had is over: its id could have been planted.
        if let Some(old) = self.0.sessions.find(&request.headers) {
            self.0.sessions.end(&old).await?;
        }
        let (cookie, session) = self.0.sessions.begin(name, user, identity, tokens).await?;
        info!(event = "login", user = %session.name, admin = session.standing().user.admin, "signed in");
        let mut response = see_other(LocalPath::or_root(Some(&attempt.next)).as_str());
        let headers = response.headers_mut();
        headers.append(SET_COOKIE, cookies::set(cookies::SESSION, cookie.expose(), None));
        headers.append(
            SET_COOKIE,
            cookies::set(cookies::JUPYTERHUB_SESSION, session.jupyterhub_id.expose(), None),
        );
        Ok(response)
    }

    /// Which user a verified identity is, with the name that is theirs for good.
    async fn admit(&self, provider: &str, identity: &Identity) -> Result<User, Refusal> {
        let wanted = self.0.mapping.name(provider, identity)?;
        // Judged before the name is taken: whoever may not enter reserves none.
        if let Err(refused) = self.0.mapping.user(provider, identity, wanted.clone()) {
            if let Some(name) = self.0.people.name_of(identity).await? {
                self.learn(&name, provider, identity, None).await?;
            }
            return Err(refused.into());
        }
        let name =
            self.0.store.name_user(&identity.issuer, &identity.subject, &wanted, self.0.clock.now()).await?;
        let user = self.0.mapping.user(provider, identity, name.clone());
        self.learn(&name, provider, identity, user.as_ref().ok()).await?;
        Ok(user?)
    }

    /// What the provider says of a person now, and what the rules make of it, holds for their tokens too.
    async fn learn(
        &self,
        name: &UserName,
        provider: &str,
        identity: &Identity,
        user: Option<&User>,
    ) -> Result<(), Refusal> {
        self.0.people.remember(name, provider, identity).await?;
        Ok(self.0.api_tokens.judged(name, user).await?)
    }

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

    fn attempt(&self, headers: &HeaderMap, name: &str) -> Option<Attempt> {
        self.open_attempt(name, cookies::find(headers, name)?)
    }

    fn open_attempt(&self, name: &str, sealed: &str) -> Option<Attempt> {
        let plain = self.0.sealer.open(name, sealed)?;
        let attempt: Attempt = serde_json::from_slice(&plain).ok()?;
        let age = self.0.clock.now().saturating_sub(attempt.begun);
        (age <= self.0.login_timeout.as_secs()).then_some(attempt)
    }

    /// Keeps the newest attempts of this browser, so that its cookies stay few.
    fn drop_old_attempts(&self, request: &HeaderMap, response: &mut HeaderMap) {
        let of_login = |(name, _): &(&str, &str)| name.starts_with(cookies::LOGIN_PREFIX) && is_token(name);
        let mut attempts: Vec<(Timestamp, &str)> = cookies::pairs(request)
            .filter(of_login)
            .map(|(name, sealed)| (self.open_attempt(name, sealed).map_or(0, |attempt| attempt.begun), name))
            .collect();
        attempts.sort_unstable();
        let too_many = (attempts.len() + 1).saturating_sub(MOST_ATTEMPTS);
        let stale = |(at, (begun, _)): &(usize, &(Timestamp, &str))| *begun == 0 || *at < too_many;
        let clear: Vec<HeaderValue> =
            attempts.iter().enumerate().filter(stale).map(|(_, (_, name))| cookies::clear(name)).collect();
        for cookie in clear {
            response.append(SET_COOKIE, cookie);
        }
    }
}

/// The attempt's cookie: named after its state, so that several tabs do not meet.
fn attempt_cookie(state: &str) -> String {
    use base64::Engine as _;
    let digest = crate::seal::sha256(state.as_bytes());
    let short = digest.get(..9).unwrap_or_default();
    format!("{}{}", cookies::LOGIN_PREFIX, base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(short))
}

/// Only names that we could have given are written back.
fn is_token(name: &str) -> bool {
    name.len() < 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}
