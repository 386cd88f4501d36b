//! What `jupyterhub-singleuser` images ask of a JupyterHub, and nothing else of it.
//!
//! A container asks whether a hub is there, sends its visitor's browser here to learn who it is, redeems the code it
//! gets, asks who holds a token, and reports activity. Codes and tokens are sealed values: nothing of them is kept
//! but which codes were used.

mod asking;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::authorize::Permit;
use super::caller::Caller;
use super::form::Form;
use super::head::Connection;
use super::page::json;
use super::refusal::Refusal;
use super::{Body, Gateway, see_other};
use crate::clock::Timestamp;
use crate::config::{HubLogin, Mode};
use crate::routes::{ApiPath, Endpoint, Resource, Route};
use crate::seal::{hex, random_text, sha256};
use crate::secret::Secret;
use crate::server_name::ServerName;
use crate::session::{Session, SessionId};
use crate::spawner::WorkspaceId;
use crate::user::UserName;
use crate::workspace::{Ready, State};

/// Announced to containers. All of JupyterHub 2 to 6 use the same endpoints; an image of another major version warns
/// in its log and goes on.
pub(super) const VERSION: &str = "5.4.6";

/// How long a code can be redeemed, in seconds: a container does it at once.
pub(super) const CODE_LIFETIME: u64 = 60;

/// What a code or a token stands for. A token is worth nothing once its session is over.
#[derive(Debug, Serialize, Deserialize)]
struct Grant {
    session: SessionId,
    /// Of the workspace.
    owner: String,
    server: String,
    instance: String,
    issued: Timestamp,
    /// Makes each one different.
    unique: String,
    /// Of a code: PKCE's challenge (RFC 7636), where the image sends one.
    challenge: Option<String>,
}

/// `GET /hub/api`: here is a hub.
pub(super) fn root() -> Response<Body> {
    let mut response = json(StatusCode::OK, &json!({ "version": VERSION }));
    let name = HeaderName::from_static("x-jupyterhub-version");
    let headers = response.headers_mut();
    headers.insert(name, HeaderValue::from_static(VERSION));
    // Pages elsewhere may learn that here is a hub, as of a JupyterHub. Nothing else of the API is open to them.
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

impl Gateway {
    /// Containers' requests.
    pub(super) async fn hub_api(
        &self,
        connection: &Connection,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let path = request.uri().path().to_owned();
        let writing = self.0.tasks.writing();
        match Route::find(&path) {
            Ok(Route::Own(Endpoint::ApiRoot)) => Ok(root()),
            Ok(Route::Own(Endpoint::ApiToken)) if request.method() == Method::POST => {
                self.api_token(request).await
            }
            Ok(Route::Own(Endpoint::Api(ApiPath { resource: Resource::Caller, .. })))
                if request.method() == Method::GET =>
            {
                self.api_user(request.headers()).await
            }
            Ok(Route::Own(Endpoint::Api(ApiPath { resource: Resource::User, name, .. })))
                if request.method() == Method::GET =>
            {
                self.api_user_named(name, request.headers()).await
            }
            Ok(Route::Own(Endpoint::Api(ApiPath { resource: Resource::Activity, name, .. })))
                if request.method() == Method::POST =>
            {
                self.api_activity(name, request).await
            }
            Ok(Route::Own(Endpoint::Api(ApiPath { resource: Resource::Port, .. })))
                if request.method() == Method::POST =>
            {
                self.api_port(request).await
            }
            Ok(Route::Own(Endpoint::Api(_))) => Ok(self.api_denied(request.headers())),
            Ok(Route::Unknown) => {
                drop(writing);
                Box::pin(self.beside_containers(connection, request)).await
            }
            Ok(_) => Err(Refusal::NotFound),
            Err(_) => Err(Refusal::BadPath),
        }
    }

    /// A browser comes from its container to be told who it is; it is back there with a code at once.
    pub(super) fn api_authorize(
        &self,
        request: &Request<Incoming>,
        permit: &Permit,
    ) -> Result<Response<Body>, Refusal> {
        let Some(session) = permit.session() else { return Err(Refusal::LoginRequired { next: None }) };
        let query = Form::of_query(request.uri());
        // The user's own containers and those that are shared with them: another client is not theirs to enter.
        let client = query.one("client_id").unwrap_or_default();
        let user = &session.standing().user;
        let shared = std::iter::once_with(|| self.0.shares.with(user)).flatten();
        let theirs = self.0.workspaces.of(&session.name).into_iter();
        let theirs = theirs.chain(shared.map(|share| share.of.clone()));
        let mut theirs = theirs.filter(|id| id.is_client(client) && self.may_come(id, user)).peekable();
        if theirs.peek().is_none() {
            return Err(Refusal::NotYours);
        }
        let callback = |id: &WorkspaceId| {
            let origin = self.0.hosts.of_user(&id.user).map(|origin| origin.origin).unwrap_or_default();
            format!("{origin}{}oauth_callback", id.path())
        };
        let registered = theirs.find(|id| query.one("redirect_uri") == Some(&callback(id)));
        let Some(id) = registered.filter(|_| query.one("response_type") == Some("code")) else {
            return Err(Refusal::BadRequest("not what this container registered"));
        };
        let challenge = match (query.one("code_challenge"), query.one("code_challenge_method")) {
            (None, _) => None,
            (Some(challenge), Some("S256")) => Some(challenge.to_owned()),
            (Some(_), _) => return Err(Refusal::BadRequest("a code challenge of another kind than S256")),
        };
        let ready = match self.0.workspaces.state(&id) {
            Some(State::Ready(ready)) if ready.mode == Mode::Hub => ready,
            _ => return Err(Refusal::NotRunning),
        };
        let code = self.seal_grant("hub code", session.id, (&id, &ready.instance), challenge);
        let mut back = url::form_urlencoded::Serializer::new(String::new());
        back.append_pair("code", &code);
        if let Some(state) = query.one("state") {
            back.append_pair("state", state);
        }
        Ok(see_other(&format!("{}?{}", callback(&id), back.finish())))
    }

    /// A container redeems a code.
    async fn api_token(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let form = Form::of_body(request).await?;
        let refused = |error: &str| Ok(json(StatusCode::BAD_REQUEST, &json!({ "error": error })));
        if form.one("grant_type") != Some("authorization_code") {
            return refused("unsupported_grant_type");
        }
        let (Some(client), Some(secret)) = (form.one("client_id"), form.one("client_secret")) else {
            return refused("invalid_request");
        };
        let Some(id) = self.client(client, secret) else { return refused("invalid_client") };
        let code = form.one("code").unwrap_or_default();
        let grant = self.open_grant("hub code", code).filter(|grant| self.is_of(grant, &id));
        let Some(grant) = grant.filter(|grant| proves(grant, form.one("code_verifier"))) else {
            return refused("invalid_grant");
        };
        let now = self.0.clock.now();
        if now.saturating_sub(grant.issued) > CODE_LIFETIME || !self.1.codes.redeem(code, now) {
            return refused("invalid_grant");
        }
        let Some(session) = self.0.sessions.by_id(&grant.session) else { return refused("invalid_grant") };
        let token = self.seal_grant("hub token", grant.session, (&id, &grant.instance), None);
        let scope = scopes(&id, &session.name).join(" ");
        let expires_in = self.0.sessions.left(&session);
        Ok(json(
            StatusCode::OK,
            &json!({ "access_token": token, "token_type": "Bearer", "expires_in": expires_in, "scope": scope }),
        ))
    }

    /// The workspace that an image is known as by this id and secret. `a-b` may be a user, or the server `b` of `a`: the
    /// secret says which.
    fn client(&self, id: &str, secret: &str) -> Option<WorkspaceId> {
        // An owner and a server at their longest, every byte of the one encoded.
        let most = 3 * UserName::MAX_BYTES + 1 + ServerName::MAX_BYTES;
        let named = id.strip_prefix("jupyterhub-user-").filter(|named| named.len() <= most)?;
        let cuts = named.match_indices('-').map(|(at, _)| at).chain([named.len()]);
        let owners = cuts.filter_map(|at| UserName::from_path_segment(named.get(..at)?).ok());
        owners
            .flat_map(|owner| self.0.workspaces.of(&owner))
            .find(|workspace| workspace.is_client(id) && self.0.workspaces.holds_token(workspace, secret))
    }

    /// What a container in hub mode is given in place of a program's own token, and of a browser's session where its
    /// profile says so: it asks whose it is, as it does with those that it got by a code. It is made of what is known
    /// anyway, so a container sees the same one as long as it runs.
    pub(super) fn pass(&self, caller: &Caller, ready: &Ready) -> Option<HeaderValue> {
        if ready.mode != Mode::Hub {
            return None;
        }
        let (kind, hash) = match caller {
            Caller::Session(session) if self.says_who_comes(ready) => ("s", &session.id),
            Caller::Session(_) => return None,
            Caller::Token(token) => ("t", &token.hash),
            Caller::Bearer(bearer) => ("b", &bearer.hash),
        };
        // Names of users may hold the dots that part this.
        let owner = URL_SAFE_NO_PAD.encode(ready.id.user.as_str());
        let named = format!("{kind}.{owner}.{}.{}", ready.id.server, hex(hash));
        let proof = self.0.sealer.derive("hub pass", &format!("{named}.{}", ready.instance));
        let mut value = HeaderValue::from_str(&format!("token {named}.{}", proof.expose())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// What an image that expects a hub binds its XSRF tokens to, when a browser comes: at each host another.
    pub(super) fn session_id(&self, caller: &Caller, ready: &Ready) -> Option<String> {
        let session = caller.session().filter(|_| ready.mode == Mode::Hub)?;
        Some(self.jupyterhub_id(session, &ready.id).expose().to_owned())
    }

    /// The one that a browser of this session has where this workspace is.
    fn jupyterhub_id(&self, session: &Session, id: &WorkspaceId) -> Secret {
        if self.0.hosts.has_users() {
            self.0.sessions.jupyterhub_id_at(session, &id.user.label())
        } else {
            session.jupyterhub_id.clone()
        }
    }

    fn says_who_comes(&self, ready: &Ready) -> bool {
        let profile = self.0.workspaces.profile(&ready.profile);
        profile.is_some_and(|profile| profile.hub_login == HubLogin::Header)
    }

    /// Whom a pass stands for, as long as their session or token is good and the same container runs.
    fn passed(&self, pass: &str) -> Option<(Caller, WorkspaceId)> {
        let (named, proof) = pass.rsplit_once('.')?;
        let mut parts = named.split('.');
        let (kind, owner, server, hash) =
            (parts.next()?, parts.next()?, parts.next()?, unhex(parts.next()?)?);
        let owner = String::from_utf8(URL_SAFE_NO_PAD.decode(owner).ok()?).ok()?;
        let caller = match kind {
            "s" => Caller::Session(self.0.sessions.by_id(&hash)?),
            "t" => Caller::Token(self.0.api_tokens.by_hash(&hash)?),
            "b" => Caller::Bearer(self.known_bearer(&hash)?),
            _ => return None,
        };
        let id = WorkspaceId { user: UserName::parse(&owner).ok()?, server: ServerName::parse(server).ok()? };
        let Some(State::Ready(ready)) = self.0.workspaces.state(&id) else { return None };
        let expected = self.0.sealer.derive("hub pass", &format!("{named}.{}", ready.instance));
        let good = expected.matches(proof) && caller.may_enter(&id);
        (good && self.may_come(&id, &caller.user())).then_some((caller, id))
    }

    fn seal_grant(
        &self,
        context: &str,
        session: SessionId,
        (id, instance): (&WorkspaceId, &str),
        challenge: Option<String>,
    ) -> String {
        let grant = Grant {
            session,
            owner: id.user.to_string(),
            server: id.server.to_string(),
            instance: instance.to_owned(),
            issued: self.0.clock.now(),
            unique: random_text::<9>(),
            challenge,
        };
        self.0.sealer.seal(context, &serde_json::to_vec(&grant).unwrap_or_default())
    }

    fn open_grant(&self, context: &str, sealed: &str) -> Option<Grant> {
        serde_json::from_slice(&self.0.sealer.open(context, sealed)?).ok()
    }

    /// The grant is for the container that runs as `id` now, and whoever has its session may come there.
    fn is_of(&self, grant: &Grant, id: &WorkspaceId) -> bool {
        let named = grant.owner == id.user.as_str() && grant.server == id.server.as_str();
        let session = self.0.sessions.by_id(&grant.session);
        let comes = named && session.is_some_and(|session| self.may_come(id, &session.standing().user));
        let runs = match self.0.workspaces.state(id) {
            Some(State::Ready(ready)) => *ready.instance == *grant.instance,
            Some(State::Starting(_) | State::Failing(_) | State::Stopping) | None => false,
        };
        comes && runs
    }
}

/// The verifier belongs to the challenge that the code was asked with (RFC 7636 section 4.6).
fn proves(grant: &Grant, verifier: Option<&str>) -> bool {
    match (&grant.challenge, verifier) {
        (None, _) => true,
        (Some(challenge), Some(verifier)) => {
            URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes())) == *challenge
        }
        (Some(_), None) => false,
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Vec<u8> = digits.chunks(2).map(byte).collect::<Option<_>>()?;
    bytes.try_into().ok()
}

/// What a container's token lets do that is `name`'s.
fn scopes(id: &WorkspaceId, name: &UserName) -> Vec<String> {
    vec![
        format!("access:servers!server={}/{}", id.user, id.server),
        format!("read:users:groups!user={name}"),
        format!("read:users:name!user={name}"),
    ]
}

fn display_name(claims: &serde_json::Map<String, Value>, name: &str) -> String {
    claims.get("name").and_then(Value::as_str).unwrap_or(name).chars().take(100).collect()
}

/// `Authorization: token …`, or `Bearer …`.
fn token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("token") || scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim())
}
