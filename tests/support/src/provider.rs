//! An OpenID provider in this process, in the shape of Keycloak 26: one realm, one client, and whoever is to sign in
//! next is signed in at once. It can be told to [lie](Lie).
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test whose provider is broken must stop"
)]

mod admin;
mod authorization;
mod draft;
mod http;
mod keys;
mod lie;
mod sessions;
mod tls;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use url::Url;

pub use authorization::ClientProof;
pub use draft::{Draft, Signed};
pub use keys::ClientKey;
pub use lie::Lie;

use authorization::Refusal;
use keys::SigningKey;
use sessions::{Refresh, Rules, Session};
use tls::Tls;

/// The provider; a clone is another handle. It goes with [`Provider::stop`], or with the runtime.
#[derive(Clone)]
pub struct Provider(Arc<Shared>);

struct Shared {
    address: SocketAddr,
    tls: Option<Tls>,
    /// 0: the machine's clock.
    now: AtomicU64,
    /// What stands in the paths before `/realms`.
    prefix: Mutex<String>,
    state: Mutex<State>,
}

struct State {
    server: Option<AbortHandle>,
    /// What it calls itself, when not by its address.
    name: Option<String>,
    client: ClientProof,
    /// The client's.
    secret: String,
    pushed_only: bool,
    /// Requests for logins that were pushed, by reference.
    pushed: BTreeMap<String, Vec<(String, String)>>,
    /// The `jti` of those that were used.
    assertions: BTreeSet<String>,
    refusal: Option<Refusal>,
    /// Go over those of ID tokens.
    id_token_claims: Map<String, Value>,
    /// The media type and the body of userinfo, whatever is asked.
    userinfo: Option<(String, String)>,
    user: User,
    role_mapper: bool,
    redirect_uris: Vec<String>,
    post_logout_redirect_uris: Vec<String>,
    lies: BTreeSet<Lie>,
    /// The first signs.
    keys: Vec<Arc<SigningKey>>,
    /// Issued, by code.
    grants: BTreeMap<String, Grant>,
    /// By access token.
    sessions: BTreeMap<String, Grant>,
    /// Who there is, by `sub`.
    people: BTreeMap<String, User>,
    /// By `sid`.
    online: BTreeMap<String, Session>,
    refresh_tokens: BTreeMap<String, Refresh>,
    rules: Rules,
    requests: Vec<Seen>,
    /// Goes over the description; null takes away.
    description: Map<String, Value>,
    clients: Vec<Value>,
}

/// Who signs in.
#[derive(Clone)]
struct User {
    claims: Map<String, Value>,
}

/// What a browser has been given a code for.
#[derive(Clone)]
struct Grant {
    user: User,
    redirect_uri: String,
    challenge: String,
    nonce: Option<String>,
    scopes: String,
    sid: String,
    /// How.
    acr: String,
    /// When the person signed in.
    authenticated: u64,
}

/// A request that it has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `GET`, `POST`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// `Authorization`.
    pub authorization: Option<String>,
    /// Parameters of the query.
    pub query: Vec<(String, String)>,
    /// Parameters of the body.
    pub form: Vec<(String, String)>,
    /// The names of its header fields.
    pub fields: Vec<String>,
}

impl Provider {
    /// Its only client.
    pub const CLIENT_ID: &str = "hub";
    /// The client's secret, with what careless encoding would change.
    pub const CLIENT_SECRET: &str = "s:e%c+r ét";

    /// On a port of its own, without TLS. Alice signs in, until [`Provider::user`] says otherwise.
    pub async fn start() -> Self {
        Self::start_at(None).await
    }

    /// The same with TLS, by an authority of its own.
    pub async fn start_with_tls() -> Self {
        Self::start_at(Some(Tls::new())).await
    }

    async fn start_at(tls: Option<Tls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = State {
            server: None,
            name: None,
            client: ClientProof::default(),
            secret: Self::CLIENT_SECRET.to_owned(),
            pushed_only: false,
            pushed: BTreeMap::new(),
            assertions: BTreeSet::new(),
            refusal: None,
            id_token_claims: Map::new(),
            userinfo: None,
            user: User { claims: Map::new() },
            role_mapper: false,
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            lies: BTreeSet::new(),
            keys: vec![SigningKey::first()],
            grants: BTreeMap::new(),
            sessions: BTreeMap::new(),
            people: BTreeMap::new(),
            online: BTreeMap::new(),
            refresh_tokens: BTreeMap::new(),
            rules: Rules::default(),
            requests: Vec::new(),
            description: Map::new(),
            clients: Vec::new(),
        };
        let address = listener.local_addr().unwrap();
        let provider = Self(Arc::new(Shared {
            address,
            tls,
            now: AtomicU64::new(0),
            prefix: Mutex::default(),
            state: Mutex::new(state),
        }));
        provider.user("alice", json!({}));
        provider.serve(listener);
        provider
    }

    /// The file (PEM) with the authority of its certificate: what `provider.ca_file` is to be.
    pub fn authority(&self) -> Option<&Path> {
        self.0.tls.as_ref().map(Tls::authority)
    }

    /// Its issuer: what `provider.issuer` is to be.
    pub fn issuer(&self) -> String {
        let name = self.state().name.clone();
        name.unwrap_or_else(|| self.base())
    }

    /// Its realm at its own address.
    fn base(&self) -> String {
        let scheme = if self.0.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{}{REALM}", self.0.address, self.prefix())
    }

    /// One of its endpoints: `auth`, `token`, `userinfo`, `certs`, `logout`.
    pub fn endpoint(&self, name: &str) -> Url {
        Url::parse(&format!("{}/protocol/openid-connect/{name}", self.base())).unwrap()
    }

    /// Where its description is, at its own address.
    pub fn description_url(&self) -> Url {
        Url::parse(&format!("{}/.well-known/openid-configuration", self.base())).unwrap()
    }

    /// Calls itself by this issuer from now on, as browsers know it, wherever it is asked: Keycloak's `hostname`.
    pub fn call_itself(&self, issuer: &str) {
        self.state().name = Some(issuer.to_owned());
    }

    /// Who signs in from now on, and what is true of them in sessions that they have. `claims` go over the usual ones; `null` takes one away. As at Keycloak,
    /// `realm_access` and `resource_access` are in the access token only.
    pub fn user(&self, name: &str, claims: Value) {
        let mut all = json!({
            "sub": format!("f:ldap:{name}"), "preferred_username": name, "email": format!("{name}@example.org"),
            "email_verified": true, "name": name, "given_name": name, "family_name": "Example",
            "realm_access": {"roles": ["default-roles-test", "offline_access", "uma_authorization"]},
        });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let mut claims = all.as_object().unwrap().clone();
        claims.retain(|_, value| !value.is_null());
        let sub = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut state = self.state();
        state.user = User { claims };
        let user = state.user.clone();
        state.people.insert(sub, user);
    }

    /// Puts roles into ID tokens and userinfo, too: Keycloak's *Add to ID token* and *Add to userinfo*.
    pub fn map_roles(&self) {
        self.state().role_mapper = true;
    }

    /// Registers a redirect URI, exactly. Until there is one, any is taken.
    pub fn register(&self, redirect_uri: &str) {
        self.state().redirect_uris.push(redirect_uri.to_owned());
    }

    /// Registers where browsers may go after logout. Until there is one, any place is.
    pub fn register_after_logout(&self, uri: &str) {
        self.state().post_logout_redirect_uris.push(uri.to_owned());
    }

    /// Tells a lie from now on, with the others.
    pub fn lie(&self, lie: Lie) {
        self.state().lies.insert(lie);
    }

    /// Puts these claims into ID tokens from now on, over the usual ones; `null` takes one away.
    pub fn claim_in_id_tokens(&self, claims: Value) {
        self.state().id_token_claims.clone_from(claims.as_object().unwrap());
    }

    /// Answers this at userinfo, whatever is asked.
    pub fn answer_userinfo(&self, kind: &str, body: &str) {
        self.state().userinfo = Some((kind.to_owned(), body.to_owned()));
    }

    /// Ends all lies.
    pub fn be_honest(&self) {
        let mut state = self.state();
        state.lies.clear();
        state.refusal = None;
        state.id_token_claims.clear();
        state.userinfo = None;
    }

    /// Serves everything below this prefix from now on, as Keycloak did below `/auth`.
    pub fn below(&self, prefix: &str) {
        prefix.clone_into(&mut self.0.prefix.lock().unwrap());
    }

    /// Says these of itself from now on, in place of what is so; `null` takes a member away.
    pub fn describe(&self, members: Value) {
        self.state().description.clone_from(members.as_object().unwrap());
    }

    /// Signs by a new key from now on; tokens of the old one can still be verified.
    pub fn rotate_keys(&self) {
        self.state().keys.insert(0, SigningKey::generate());
    }

    /// Gives its client another secret: the one before counts no more.
    pub fn change_secret(&self, secret: &str) {
        secret.clone_into(&mut self.state().secret);
    }

    /// Disables the keys that it has had, and signs by a new one.
    pub fn disable_keys(&self) {
        self.state().keys = vec![SigningKey::generate()];
    }

    /// Signs by a new key of this kind from now on: `ES256`, `PS256`, `EdDSA`, …
    pub fn sign_by(&self, algorithm: &'static str) {
        self.state().keys.insert(0, SigningKey::generate_for(algorithm));
    }

    /// Sets its clock: seconds since 1970.
    pub fn set_time(&self, now: u64) {
        self.0.now.store(now, Ordering::SeqCst);
    }

    /// All requests, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.state().requests.clone()
    }

    /// How many requests an endpoint got: `token`, `certs`, `openid-configuration`.
    pub fn count(&self, endpoint: &str) -> usize {
        self.state().requests.iter().filter(|seen| seen.path.rsplit('/').next() == Some(endpoint)).count()
    }

    /// Plays the browser: opens the authorization URL, and gives the query with which it is sent back.
    pub async fn sign_in(&self, authorize: &Url) -> String {
        let location = self.visit(authorize).await.unwrap_or_else(|page| panic!("{page}"));
        location.query().unwrap_or_default().to_owned()
    }

    /// Opens one of its pages: where it sends the browser, or what it shows.
    pub async fn visit(&self, url: &Url) -> Result<Url, String> {
        http::visit(self.0.address, self.0.tls.as_ref(), url).await
    }

    /// Goes away: connections are refused.
    pub fn stop(&self) {
        if let Some(server) = self.state().server.take() {
            server.abort();
        }
    }

    /// Comes back after [`Provider::stop`], at the same address and with the same keys.
    pub async fn restart(&self) {
        self.stop();
        self.serve(TcpListener::bind(self.0.address).await.unwrap());
    }

    fn serve(&self, listener: TcpListener) {
        let handle = http::serve(self.clone(), listener);
        self.state().server = Some(handle);
    }

    fn prefix(&self) -> String {
        self.0.prefix.lock().unwrap().clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn lies(&self, lie: Lie) -> bool {
        self.state().lies.contains(&lie)
    }

    fn now(&self) -> u64 {
        match self.0.now.load(Ordering::SeqCst) {
            0 => system_time(),
            now => now,
        }
    }
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Provider").field(&self.0.address).finish()
    }
}

#[expect(clippy::disallowed_methods, reason = "it stands for another machine, whose clock is its own")]
fn system_time() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A name that nobody guesses.
fn random() -> String {
    let mut bytes = [0; 18];
    rand::fill(&mut bytes).unwrap();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The path of its realm.
const REALM: &str = "/realms/test";
