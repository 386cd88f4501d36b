//! The demo's OpenID provider: a login form, one client, two users.
//!
//! It answers on loopback only and forgets everything when it ends. It keeps no login of its own, so every sign-in asks
//! for a password, and signing out has nothing to end here.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, LOCATION, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use url::Url;

use super::form::{self, Form};
use super::page;
use super::tokens::Signer;
use crate::clock::{Clock, Timestamp};
use crate::seal;
use crate::secret::Secret;

/// How long a code can be turned into tokens.
const CODE_AGE: Duration = Duration::from_mins(1);

/// How long an access token opens userinfo, and an ID token is good.
const TOKEN_AGE: Duration = Duration::from_mins(5);

/// Codes and access tokens kept at once; far more than two users need.
const MAX_GRANTS: usize = 1024;

/// Somebody who can sign in.
#[derive(Debug, Clone)]
pub(super) struct Person {
    /// `sub` and `preferred_username`.
    pub(super) name: &'static str,
    /// Their name in full.
    pub(super) full_name: &'static str,
    /// Paths of their groups.
    pub(super) groups: &'static [&'static str],
    /// Made at start.
    pub(super) password: Secret,
}

/// The one client: hubgate.
#[derive(Debug)]
pub(super) struct Client {
    /// Its name here.
    pub(super) id: &'static str,
    /// Its secret here.
    pub(super) secret: Secret,
    /// Where its users come back signed in: exactly this. Signed out, they may come back to any page of its origin.
    pub(super) callback: Url,
}

/// A sign-in on its way to tokens.
struct Grant {
    person: &'static str,
    nonce: Option<String>,
    challenge: String,
    expires: Timestamp,
}

/// What an access token opens.
struct Access {
    person: &'static str,
    expires: Timestamp,
}

/// The provider itself; answers requests one by one.
pub(super) struct Provider {
    issuer: String,
    client: Client,
    people: Vec<Person>,
    signer: Signer,
    clock: Clock,
    codes: Mutex<HashMap<String, Grant>>,
    access: Mutex<HashMap<String, Access>>,
}

impl Provider {
    /// With a new signing key. `issuer` is the URL it is reached at, without a slash at its end.
    pub(super) fn new(
        issuer: String,
        client: Client,
        people: Vec<Person>,
        clock: Clock,
    ) -> Result<Self, Unspecified> {
        let signer = Signer::new()?;
        Ok(Self { issuer, client, people, signer, clock, codes: Mutex::default(), access: Mutex::default() })
    }

    /// Answers one request, whose body has been read.
    pub(super) fn respond(&self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        // A name that leads here by somebody else's DNS is not ours: no page of theirs may talk to this provider.
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if self.issuer.strip_prefix("http://") != Some(host) {
            return self.refuse(StatusCode::MISDIRECTED_REQUEST, "This address is not the demo's.");
        }
        let query = request.uri().query().unwrap_or_default();
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/.well-known/openid-configuration") => data(StatusCode::OK, &self.description()),
            (&Method::GET, "/keys") => data(StatusCode::OK, self.signer.keys()),
            (&Method::GET, "/authorize") => self.ask(query, false),
            (&Method::POST, "/authorize") => self.sign_in(query, request),
            (&Method::POST, "/token") => self.token(request),
            (&Method::GET | &Method::POST, "/userinfo") => self.userinfo(request.headers()),
            (&Method::GET, "/logout") => self.sign_out(query),
            _ => self.refuse(StatusCode::NOT_FOUND, "There is no such page. Open the hub instead."),
        }
    }

    fn description(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "userinfo_endpoint": at("/userinfo"),
            "jwks_uri": at("/keys"),
            "end_session_endpoint": at("/logout"),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", "profile", "email"],
            "claims_supported": ["sub", "preferred_username", "name", "email", "groups"],
            "authorization_response_iss_parameter_supported": true,
        })
    }

    /// The login form. What the client asked for stays in the form's address and is checked again when it comes back.
    fn ask(&self, query: &str, wrong: bool) -> Response<Full<Bytes>> {
        if self.asked(query).is_none() {
            return self.refuse(StatusCode::BAD_REQUEST, "The hub's request cannot be understood.");
        }
        let status = if wrong { StatusCode::FORBIDDEN } else { StatusCode::OK };
        self.html(status, page::login(&format!("/authorize?{query}"), wrong))
    }

    fn sign_in(&self, query: &str, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let Some(asked) = self.asked(query) else { return self.ask(query, false) };
        let Some(form) = posted(request) else { return self.ask(query, true) };
        let name = form.field("username").unwrap_or_default().trim().to_lowercase();
        let password = form.field("password").unwrap_or_default();
        let known = self.people.iter().find(|person| person.name == name);
        let Some(person) = known.filter(|person| person.password.matches(password)) else {
            return self.ask(query, true);
        };
        let code = seal::random_text::<32>();
        let grant = Grant {
            person: person.name,
            nonce: asked.field("nonce").map(str::to_owned),
            challenge: asked.field("code_challenge").unwrap_or_default().to_owned(),
            expires: self.after(CODE_AGE),
        };
        let mut codes = locked(&self.codes);
        let now = self.clock.now();
        codes.retain(|_, grant| grant.expires > now);
        if codes.len() >= MAX_GRANTS {
            return self.refuse(StatusCode::SERVICE_UNAVAILABLE, "Too many sign-ins at once. Try again.");
        }
        codes.insert(code.clone(), grant);
        drop(codes);
        let mut back = self.client.callback.clone();
        let state = asked.field("state").unwrap_or_default();
        back.query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", state)
            .append_pair("iss", &self.issuer);
        see_other(&back)
    }

    /// The client's request, if it is one we answer. Anything else is told to the user and not to the client: a
    /// redirect is only sent where the client is known to be (RFC 9700 section 4.11.2).
    fn asked(&self, query: &str) -> Option<Form> {
        let form = Form::parse(query)?;
        let scopes = form.field("scope")?;
        let right = form.field("client_id")? == self.client.id
            && form.field("redirect_uri")? == self.client.callback.as_str()
            && form.field("response_type")? == "code"
            && scopes.split(' ').any(|scope| scope == "openid")
            && form.field("code_challenge_method")? == "S256"
            && form.field("code_challenge")?.len() == 43
            && form.field("state").is_some();
        right.then_some(form)
    }

    fn token(&self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let Some(form) = posted(request) else { return failed("invalid_request") };
        if !self.is_client(request.headers(), &form) {
            let mut response = data(StatusCode::UNAUTHORIZED, &json!({"error": "invalid_client"}));
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"token\""));
            return response;
        }
        if form.field("grant_type") != Some("authorization_code") {
            return failed("unsupported_grant_type");
        }
        // Taken out before it is judged: a code that was tried once, rightly or wrongly, is spent.
        let grant = locked(&self.codes).remove(form.field("code").unwrap_or_default());
        let verifier = form.field("code_verifier").unwrap_or_default();
        let challenge = URL_SAFE_NO_PAD.encode(seal::sha256(verifier.as_bytes()));
        let Some(grant) = grant.filter(|grant| {
            grant.expires > self.clock.now()
                && grant.challenge == challenge
                && form.field("redirect_uri") == Some(self.client.callback.as_str())
        }) else {
            return failed("invalid_grant");
        };
        self.issue(&grant).unwrap_or_else(|| failed("server_error"))
    }

    /// RFC 6749 section 2.3.1: by Basic authentication, or by fields; not by both.
    fn is_client(&self, headers: &HeaderMap, form: &Form) -> bool {
        let posted = form.field("client_secret");
        let (id, secret) = match (headers.get(AUTHORIZATION), posted) {
            (Some(value), None) => match basic(value) {
                Some(pair) => pair,
                None => return false,
            },
            (None, Some(secret)) => {
                (form.field("client_id").unwrap_or_default().to_owned(), secret.to_owned())
            }
            (Some(_), Some(_)) | (None, None) => return false,
        };
        id == self.client.id && self.client.secret.matches(&secret)
    }

    fn issue(&self, grant: &Grant) -> Option<Response<Full<Bytes>>> {
        let person = self.people.iter().find(|person| person.name == grant.person)?;
        let now = self.clock.now();
        let mut claims = about(person);
        let fields = claims.as_object_mut()?;
        fields.insert("iss".into(), json!(self.issuer));
        fields.insert("aud".into(), json!(self.client.id));
        fields.insert("iat".into(), json!(now));
        fields.insert("auth_time".into(), json!(now));
        fields.insert("exp".into(), json!(self.after(TOKEN_AGE)));
        fields.insert("sid".into(), json!(seal::random_text::<16>()));
        if let Some(nonce) = &grant.nonce {
            fields.insert("nonce".into(), json!(nonce));
        }
        let id_token = self.signer.sign(&claims).ok()?;
        let access_token = seal::random_text::<32>();
        let mut access = locked(&self.access);
        access.retain(|_, access| access.expires > now);
        if access.len() >= MAX_GRANTS {
            return None;
        }
        access.insert(access_token.clone(), Access { person: person.name, expires: self.after(TOKEN_AGE) });
        drop(access);
        Some(data(
            StatusCode::OK,
            &json!({
                "access_token": access_token, "token_type": "Bearer", "expires_in": TOKEN_AGE.as_secs(),
                "id_token": id_token, "scope": "openid profile email",
            }),
        ))
    }

    fn userinfo(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let now = self.clock.now();
        let person = token.and_then(|token| {
            let access = locked(&self.access);
            let found = access.get(token).filter(|access| access.expires > now)?;
            self.people.iter().find(|person| person.name == found.person)
        });
        let Some(person) = person else {
            let mut response = data(StatusCode::UNAUTHORIZED, &json!({"error": "invalid_token"}));
            let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            return response;
        };
        data(StatusCode::OK, &about(person))
    }

    /// OpenID Connect RP-Initiated Logout 1.0: back to the client, if it is the client who asks.
    fn sign_out(&self, query: &str) -> Response<Full<Bytes>> {
        let back = Form::parse(query).and_then(|form| {
            let token = self.signer.open(form.field("id_token_hint")?)?;
            let mut back = Url::parse(form.field("post_logout_redirect_uri")?).ok()?;
            let ours = token.get("aud")? == self.client.id && back.origin() == self.client.callback.origin();
            if let Some(state) = form.field("state") {
                back.query_pairs_mut().append_pair("state", state);
            }
            ours.then_some(back)
        });
        match back {
            Some(back) => see_other(&back),
            None => self.html(StatusCode::OK, page::message("Signed out", "You can close this page.")),
        }
    }

    fn refuse(&self, status: StatusCode, text: &str) -> Response<Full<Bytes>> {
        self.html(status, page::message("This did not work", text))
    }

    fn html(&self, status: StatusCode, html: String) -> Response<Full<Bytes>> {
        let mut response = response(status, "text/html; charset=utf-8", html);
        // `form-action` is also asked for the redirect that follows the form: it must let the hub through.
        let policy = format!(
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' {}",
            self.client.callback.origin().ascii_serialization()
        );
        if let Ok(policy) = HeaderValue::try_from(policy) {
            response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
        }
        response
    }

    fn after(&self, age: Duration) -> Timestamp {
        self.clock.now().saturating_add(age.as_secs())
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// What the provider says of a person.
fn about(person: &Person) -> Value {
    json!({
        "sub": person.name, "preferred_username": person.name, "name": person.full_name,
        "email": format!("{}@demo.invalid", person.name), "email_verified": true, "groups": person.groups,
    })
}

/// The form in a request's body.
fn posted(request: &Request<Bytes>) -> Option<Form> {
    let kind = request.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let kind = kind.split(';').next()?.trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return None;
    }
    Form::parse(std::str::from_utf8(request.body()).ok()?)
}

/// Name and secret of Basic authentication, each of them form-encoded first (RFC 6749 section 2.3.1).
fn basic(value: &HeaderValue) -> Option<(String, String)> {
    let encoded = value.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some((form::decode(id)?, form::decode(secret)?))
}

// A panic while a map is held leaves it whole: nothing is half done between two lines.
fn locked<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(error: &str) -> Response<Full<Bytes>> {
    data(StatusCode::BAD_REQUEST, &json!({"error": error}))
}

fn data(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    response(status, "application/json", value.to_string())
}

fn see_other(to: &Url) -> Response<Full<Bytes>> {
    let mut response = response(StatusCode::SEE_OTHER, "text/plain", String::new());
    if let Ok(value) = HeaderValue::from_str(to.as_str()) {
        response.headers_mut().insert(LOCATION, value);
    }
    response
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let fixed: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    response.headers_mut().extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

#[cfg(test)]
mod tests;
