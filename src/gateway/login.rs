//! Signing in: `/hub/login`, `/hub/oauth_callback`.

use std::sync::Arc;

use http::header::{HeaderMap, SET_COOKIE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tracing::info;

use super::attempts::{Attempt, attempt_cookie};
use super::authorize::Permit;
use super::form::{self, Form};
use super::local_path::LocalPath;
use super::page::{Action, Page};
use super::refusal::Refusal;
use super::{Body, Gateway, Origin, see_other};
use crate::config::ResponseMode;
use crate::cookies;
use crate::identity::Identity;
use crate::metrics::Outcome;
use crate::oidc::{Answer, OidcError, Provider, Want};
use crate::token::Right;
use crate::user::{User, UserName};

/// The longest hint that is passed on to the provider, in bytes.
const LONGEST_HINT: usize = 256;

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
        let next = LocalPath::or_root(query.one("next").or_else(|| at.local(query.one("target_link_uri")?)));
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
        let provider = match (query.one("provider"), query.one("iss"), &*at.providers) {
            (Some(name), _, all) => all.iter().find(|known| &***known == name).ok_or(Refusal::NotFound)?,
            (None, Some(issuer), all) => self.named_by(issuer, all)?,
            (None, None, [only]) => only,
            (None, None, several) => return Ok(self.choose_provider(several, &next)),
        };
        self.check_rounds(&request.headers)?;
        let short = |name: &str| query.one(name).filter(|hint| hint.len() <= LONGEST_HINT).map(str::to_owned);
        let want = Want { idp_hint: short("idp"), login_hint: short("login_hint"), ..Want::default() };
        self.begin_login(&request.headers, provider, &next, &want, None).await
    }

    /// The provider that somebody else wants people to sign in at (OpenID Connect Core 1.0, section 4): one of ours, or
    /// they would be sent to whoever asks for their password.
    fn named_by<'a>(&self, issuer: &str, providers: &'a [Arc<str>]) -> Result<&'a Arc<str>, Refusal> {
        let is_it =
            |name: &&Arc<str>| self.0.providers.find(name).is_some_and(|provider| provider.is_issuer(issuer));
        providers.iter().find(is_it).ok_or(Refusal::BadRequest("a login at a provider that is none of ours"))
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

    /// `before`: the attempt that this one takes the place of.
    pub(super) async fn begin_login(
        &self,
        headers: &HeaderMap,
        provider: &str,
        next: &LocalPath,
        want: &Want,
        before: Option<&Attempt>,
    ) -> Result<Response<Body>, Refusal> {
        let at = self.0.providers.find(provider).ok_or(Refusal::NotFound)?;
        let (url, login) = at.begin(want).await?;
        let provider = provider.to_owned();
        let mut response = see_other(url.as_str());
        self.drop_old_attempts(headers, response.headers_mut());
        let had = self.0.sessions.find(headers).map(|session| session.id);
        let attempt = Attempt {
            provider,
            login,
            next: next.to_string(),
            begun: self.0.clock.now(),
            again: before.is_some(),
            leaves: had.or_else(|| before?.leaves),
        };
        response.headers_mut().append(SET_COOKIE, self.remember(attempt, at.response_mode()));
        Ok(response)
    }

    /// The provider sends the browser back: checks the answer, then begins a session.
    pub(super) async fn callback(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
    ) -> Result<Response<Body>, Refusal> {
        let (request, answer) = self.returned(request).await?;
        let request = &request;
        let name = attempt_cookie(&answer.state);
        let Some(attempt) = self.attempt(&request.headers, &name) else {
            // The back button, or the second of two tabs: whoever is signed in just goes on.
            return if permit.session().is_some() { Ok(see_other("/")) } else { Err(Refusal::LoginLost) };
        };
        // Once, whatever comes of it: the cookie may have been copied, and a code is sent to the provider only once.
        if !self.1.finished.redeem(&answer.state, self.0.clock.now()) {
            return if permit.session().is_some() { Ok(see_other("/")) } else { Err(Refusal::LoginLost) };
        }
        let outcome = self.finish_login(request, &attempt, &answer).await;
        let result = match &outcome {
            Ok(_) => "ok",
            Err(refusal) => refusal.label(),
        };
        self.0.metrics.logins.get_or_create(&Outcome { result }).inc();
        let mut response = match outcome {
            Err(refusal) if !attempt.again && self.is_worth_another(&attempt, &refusal) => {
                let next = LocalPath::or_root(Some(&attempt.next));
                let want = Want { step_up: Some(attempt.login.strength()), ..Want::default() };
                self.begin_login(&request.headers, &attempt.provider, &next, &want, Some(&attempt)).await?
            }
            other => other?,
        };
        // Used up, whatever came of it.
        response.headers_mut().append(SET_COOKIE, cookies::clear(&name));
        Ok(response)
    }

    /// Whether a new login, which asks nobody for anything if the provider still knows them, is likely to do better.
    fn is_worth_another(&self, attempt: &Attempt, refusal: &Refusal) -> bool {
        let late = self.is_late(attempt);
        if let Refusal::Oidc(error) = refusal {
            let expired = matches!(error, OidcError::Refused { error, .. } if error == "invalid_grant");
            return error.may_pass() || (expired && late);
        }
        late && matches!(refusal, Refusal::LoginLost)
    }

    /// What the browser brings back, in the one way that was asked for (RFC 9700 section 4.1: an answer that comes in
    /// another was made to).
    async fn returned(&self, request: Request<Incoming>) -> Result<(Parts, Answer), Refusal> {
        let mode = mode(request.method());
        let path = request.uri().path();
        let asked = |provider: &Provider| {
            provider.callback().path() == path && Some(provider.response_mode()) == mode
        };
        if !self.0.providers.iter().any(|(_, provider)| asked(provider)) {
            return Err(Refusal::Method);
        }
        let (parts, body) = request.into_parts();
        let answer = match mode {
            None | Some(ResponseMode::Query) => Answer::parse(parts.uri.query().unwrap_or_default())?,
            Some(ResponseMode::FormPost) => {
                let mut request = Request::new(body);
                request.headers_mut().clone_from(&parts.headers);
                let form = form::encoded(request).await?;
                Answer::parse(&String::from_utf8_lossy(&form))?
            }
        };
        Ok((parts, answer))
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
        // A provider that sends browsers back where another one should, or as another one should, cannot have that one's
        // code sent to it (RFC 9700 section 4.4.2.2).
        let same_way = Some(provider.response_mode()) == mode(&request.method);
        if provider.callback().path() != request.uri.path() || !same_way {
            return Err(OidcError::Mismatch("it comes back where another provider should").into());
        }
        if self.is_late(attempt) {
            return Err(Refusal::LoginLost);
        }
        let (identity, tokens) = provider.finish(&attempt.login, answer).await?;
        let user = self.admit(&name, &identity).await?;
        // Sessions that this browser has, or had when it left for the provider, are over: an id could have been planted.
        let left = attempt.leaves.and_then(|id| self.0.sessions.by_id(&id));
        for old in left.into_iter().chain(self.0.sessions.find(&request.headers)) {
            self.0.sessions.end(&old).await?;
        }
        let (cookie, session) = self.0.sessions.begin(name, user, identity, tokens).await?;
        info!(event = "login", user = %session.name, admin = session.standing().user.admin, "signed in");
        let mut response = see_other(LocalPath::or_root(Some(&attempt.next)).as_str());
        self.count_round(&request.headers, response.headers_mut());
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
        self.0.shares.told(&self.0.mapping.groups(provider, identity));
        let right = user.map(|user| Right { provider: provider.into(), user: user.clone() });
        Ok(self.0.api_tokens.judged(name, right).await?)
    }
}

/// How an answer comes back that a request of this method brings.
fn mode(method: &Method) -> Option<ResponseMode> {
    match *method {
        Method::GET => Some(ResponseMode::Query),
        Method::POST => Some(ResponseMode::FormPost),
        _ => None,
    }
}
