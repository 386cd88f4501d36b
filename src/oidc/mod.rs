//! The provider: where it is, its keys, and every token of its: at a login, at a refresh, at logout, and of API callers.
//!
//! Whoever comes from here as an [`Identity`](crate::identity::Identity) is who the provider says. Which user that is,
//! and whether they may enter, is for `mapping`; sessions, cookies and redirects are for others.

mod answer;
mod assertion;
mod bearer;
mod claims;
mod client;
mod discovery;
mod exchange;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod http;
mod jwt;
mod keys;
mod login;
mod logout;
mod logout_token;
mod not_before;
mod person;
pub mod probe;
mod providers;
mod refresh;
mod request;
mod userinfo;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::header::{ACCEPT, HeaderValue};
use ::http::{Method, Request};
use arc_swap::ArcSwapOption;
use thiserror::Error;
use tokio::sync::Semaphore;
use tracing::info;
use url::Url;

use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::secret::Secret;

use self::client::Client;
use self::discovery::{Description, Known};
use self::http::Http;
use self::logout_token::Used;
use self::not_before::NotBefore;
use self::request::Requests;

pub use self::answer::Answer;
pub use self::bearer::BearerError;
pub use self::login::Login;
pub use self::logout_token::{LogoutToken, LogoutTokenError};
pub use self::providers::Providers;
pub use self::request::{StepUp, Want};

/// A boxed cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The provider; a clone is another handle.
#[derive(Debug, Clone)]
pub struct Provider(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    title: Option<String>,
    description: Description,
    client: Client,
    requests: Requests,
    /// From the configuration: goes before what the provider says.
    logout_url: Option<Url>,
    /// For whom ID tokens may be besides us.
    trusted_audiences: Vec<String>,
    /// Whose access tokens may call us.
    api_clients: Vec<String>,
    /// Whether a service account's may.
    service_accounts: bool,
    http: Http,
    clock: Clock,
    /// Seconds.
    skew: u64,
    known: ArcSwapOption<Known>,
    search: Search,
    not_before: NotBefore,
    /// Logout tokens that were seen.
    used: Used,
}

/// One search for the provider at a time; whoever waited for one that failed shares its failure. Else many people who
/// sign in while the provider hangs would each wait for all before them.
#[derive(Debug)]
struct Search {
    turn: Semaphore,
    failures: AtomicUsize,
    last: Mutex<Option<Arc<OidcError>>>,
}

/// What the provider gave at a login. Sealed wherever it is kept.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    /// Names the session at logout (`id_token_hint`).
    pub id_token: Option<Secret>,
    /// Opens userinfo.
    pub access_token: Option<Secret>,
    /// Gets fresh ones.
    pub refresh_token: Option<Secret>,
    /// When the provider last vouched for whose they are: see [`Provider::not_before`].
    pub issued: Option<Timestamp>,
    /// When the access token expires; `None`: it does not say.
    pub expires: Option<Timestamp>,
    /// When the refresh token expires, unless it is used before; `None`: it does not, or does not say.
    pub refresh_expires: Option<Timestamp>,
}

/// The provider did not do what was asked, or lied.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OidcError {
    /// It does not answer, or not as a provider does (an outage).
    #[error("the provider at {address} does not answer")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// Why.
        source: BoxError,
    },
    /// It refused: the user cancelled, the client is wrong, …
    #[error("the provider refused: {error}{}", description.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// RFC 6749 error code, visible ASCII of at most 64 bytes.
        error: String,
        /// Its description, cut and cleaned.
        description: Option<String>,
    },
    /// It renewed the tokens, and then could not say for whom. They must be kept: those before may count no more
    /// (refresh token rotation), and whoever shows one again is taken for a thief.
    #[error("the provider renewed its tokens, and no more")]
    Interrupted {
        /// The new ones.
        tokens: Box<Tokens>,
        /// What went wrong then.
        source: Arc<Self>,
    },
    /// The answer does not belong to this login attempt.
    #[error("the answer does not belong to this login: {0}")]
    Mismatch(&'static str),
    /// What it says cannot be believed.
    #[error("the provider's answer cannot be trusted: {what}")]
    Untrusted {
        /// Which check failed.
        what: &'static str,
        /// Details.
        source: Option<BoxError>,
    },
    /// Who it is, is certain, but not as certain as was asked for.
    #[error("the person was not authenticated as asked for: {0}")]
    Weak(String),
    /// Its description is not usable.
    #[error("the provider's settings are not usable: {what}")]
    Settings {
        /// What is wrong.
        what: String,
        /// Why.
        source: Option<BoxError>,
    },
}

impl Provider {
    /// How far its clock may be from ours, in seconds.
    pub fn clock_skew(&self) -> u64 {
        self.0.skew
    }

    /// From the configuration; asks nobody yet. `callback` is our redirect URI, and `credential` what
    /// [`config::Provider::credential`] says.
    pub fn new(
        config: &config::Provider,
        callback: Url,
        credential: Secret,
        clock: Clock,
    ) -> Result<Self, OidcError> {
        let http = Http::new(config.ca_file.as_deref(), config.timeout.0, config.insecure_http)?;
        if let Some(url) = &config.logout_url {
            http.check("provider.logout_url", url)?;
        }
        Ok(Self(Arc::new(Shared {
            title: config.title.clone(),
            description: Description::new(config, &http)?,
            client: Client::new(config, callback, credential)?,
            requests: Requests::new(config),
            logout_url: config.logout_url.clone(),
            trusted_audiences: config.trusted_audiences.clone(),
            api_clients: config.api_clients.clone(),
            service_accounts: config.service_accounts,
            http,
            clock,
            skew: config.clock_skew.0.as_secs(),
            known: ArcSwapOption::empty(),
            search: Search { turn: Semaphore::new(1), failures: AtomicUsize::new(0), last: Mutex::new(None) },
            not_before: NotBefore::default(),
            used: Used::default(),
        })))
    }

    /// Whether the provider is known, and calls itself so.
    pub fn is_called(&self, issuer: &str) -> bool {
        self.0.known.load().as_ref().is_some_and(|known| known.issuer == issuer)
    }

    /// Where its pages are from.
    pub fn origins(&self) -> Vec<String> {
        let known = self.0.known.load();
        let issuer = known.iter().filter_map(|known| Url::parse(&known.issuer).ok());
        let authorize = known.iter().map(|known| known.authorize.clone());
        let mut origins: Vec<_> =
            issuer.chain(authorize).map(|url| url.origin().ascii_serialization()).collect();
        origins.dedup();
        origins
    }

    /// Whether it is asked for tokens that outlive its own session.
    pub fn asks_offline(&self) -> bool {
        self.0.client.scopes.iter().any(|scope| scope == "offline_access")
    }

    /// Whether the configuration calls it so.
    pub fn is_issuer(&self, issuer: &str) -> bool {
        self.0.description.is_issuer(issuer)
    }

    /// Whether it is still the one that vouched for somebody under this name.
    pub fn is_still(&self, issuer: &str) -> bool {
        self.0.description.issuer() == issuer
    }

    /// Our redirect URI there.
    pub fn callback(&self) -> &Url {
        &self.0.client.callback
    }

    /// Finds endpoints and keys if they are not known yet. Cheap once they are.
    pub async fn ready(&self) -> Result<(), OidcError> {
        self.known().await.map(drop)
    }

    /// Whether [`Provider::ready`] has succeeded.
    pub fn is_ready(&self) -> bool {
        self.0.known.load().is_some()
    }

    async fn known(&self) -> Result<Arc<Known>, OidcError> {
        let Shared { known, search, .. } = &*self.0;
        let find = async || {
            let found = Box::pin(self.0.description.resolve(&self.0.http)).await?;
            info!(issuer = %found.issuer, "provider found");
            let found = Arc::new(found);
            known.store(Some(Arc::clone(&found)));
            Ok(found)
        };
        search.unless(|| known.load_full(), find).await
    }

    /// Whether it can be asked: a browser that is sent to a provider that is away shows an error of its own, which tells
    /// nobody what to do. Asked for only if it has not answered for a while.
    async fn is_there(&self, known: &Known) -> Result<(), OidcError> {
        let http = &self.0.http;
        let there = || http.heard_within(FRESH).then_some(());
        self.0.search.unless(there, async || http.is_there(&known.token).await).await
    }
}

impl Search {
    /// What is there already, or what the one search finds.
    async fn unless<T>(
        &self,
        there: impl Fn() -> Option<T>,
        find: impl AsyncFnOnce() -> Result<T, OidcError>,
    ) -> Result<T, OidcError> {
        if let Some(there) = there() {
            return Ok(there);
        }
        let failures = self.failures.load(Ordering::SeqCst);
        let _turn = self.turn.acquire().await;
        if let Some(there) = there() {
            return Ok(there);
        }
        if self.failures.load(Ordering::SeqCst) != failures
            && let Some(error) = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
        {
            return Err(repeated(&error));
        }
        find().await.map_err(|error| {
            let error = Arc::new(error);
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&error));
            self.failures.fetch_add(1, Ordering::SeqCst);
            repeated(&error)
        })
    }
}

/// An answer of the provider counts so long as a sign that it is there.
const FRESH: Duration = Duration::from_secs(10);

impl OidcError {
    /// What an administrator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "see whether the provider runs and can be reached from here, and whether its certificate names the host that it is asked at and comes from an authority in provider.ca_file (or the system's)"
            }
            Self::Refused { error, .. } => match error.as_str() {
                "invalid_client" | "unauthorized_client" => {
                    "compare provider.client_id and provider.client_secret (or client_key) with the client at the provider, and provider.client_authentication with the method it is set to: Keycloak takes that one only; the client must be confidential and allow the standard flow"
                }
                "invalid_scope" | "insufficient_scope" => {
                    "compare provider.scopes with the scopes of the client at the provider"
                }
                "invalid_grant" => "sign in again; see that the client's redirect URI is this hub's callback",
                "access_denied" => {
                    "sign in again; the login was cancelled, or the account may not use this client"
                }
                "login_required"
                | "interaction_required"
                | "consent_required"
                | "account_selection_required" => "sign in again, with the provider's pages",
                _ => "read the provider's own log",
            },
            Self::Interrupted { source, .. } => source.remedy(),
            Self::Mismatch(_) => "sign in again, in one tab; see that public.url is what browsers use",
            Self::Weak(_) => {
                "see that the provider knows provider.acr_values and can reach them (Keycloak: ACR to LoA mapping, and a flow with step-up), and that the account has what they need"
            }
            Self::Untrusted { what, .. } if what.contains("clock") => {
                "set the clock of this machine and the provider's (NTP), or raise provider.clock_skew"
            }
            Self::Untrusted { what, .. } if what.contains("trusted_audiences") => {
                "list them in provider.trusted_audiences, or take the audience mapper from the ID token at the provider"
            }
            Self::Untrusted { what, .. } if what.contains("signing_algorithms") => {
                "set the client's signature algorithms at the provider to one of provider.signing_algorithms, or list what it uses there"
            }
            Self::Untrusted { .. } => {
                "compare provider.issuer and provider.client_id with the provider's client; if they are right, somebody may be interfering"
            }
            Self::Settings { .. } => {
                "correct [provider] in the configuration, or the provider's own settings"
            }
        }
    }

    /// Whether it may be over by itself, or with another configuration: nobody has lied, and nobody is refused.
    pub fn is_trouble(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Interrupted { .. } | Self::Settings { .. })
    }

    /// A label for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Refused { .. } => "refused",
            Self::Interrupted { .. } => "interrupted",
            Self::Mismatch(_) => "mismatch",
            Self::Untrusted { .. } => "untrusted",
            Self::Weak(_) => "weak",
            Self::Settings { .. } => "settings",
        }
    }

    /// Whether the provider could not do without showing a page, after [`Want::prompt_none`] (section 3.1.2.6).
    pub fn needs_person(&self) -> bool {
        self.is_refusal(&[
            "login_required",
            "interaction_required",
            "consent_required",
            "account_selection_required",
        ])
    }

    /// Whether the same login, begun once more, may well succeed: Keycloak's page had expired
    /// (`authentication_expired`), or what was handed over beforehand.
    pub fn may_pass(&self) -> bool {
        self.is_refusal(&["temporarily_unavailable", "invalid_request_uri"])
    }

    fn is_refusal(&self, codes: &[&str]) -> bool {
        matches!(self, Self::Refused { error, .. } if codes.contains(&error.as_str()))
    }

    fn unreachable(address: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Unreachable { address: address.into(), source: source.into() }
    }

    fn untrusted(what: &'static str, detail: Option<String>) -> Self {
        Self::Untrusted { what, source: detail.map(|detail| Detail(detail).into()) }
    }

    fn settings(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Settings { what: what.into(), source: Some(source.into()) }
    }
}

/// The failure of a search, for each who waited for it.
fn repeated(error: &Arc<OidcError>) -> OidcError {
    match &**error {
        OidcError::Unreachable { address, .. } => OidcError::unreachable(address, Cause(Arc::clone(error))),
        OidcError::Settings { what, .. } => OidcError::settings(what, Cause(Arc::clone(error))),
        OidcError::Untrusted { what, .. } => {
            OidcError::Untrusted { what, source: Some(Cause(Arc::clone(error)).into()) }
        }
        OidcError::Mismatch(what) => OidcError::Mismatch(what),
        OidcError::Interrupted { source, .. } => repeated(source),
        OidcError::Weak(what) => OidcError::Weak(what.clone()),
        OidcError::Refused { error, description } => {
            OidcError::Refused { error: error.clone(), description: description.clone() }
        }
    }
}

/// The cause of an error that several share. It says what the cause says, since the error itself is said already.
#[derive(Debug)]
struct Cause(Arc<OidcError>);

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.0).and_then(std::error::Error::source)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::error::Error::source(&*self.0) {
            Some(source) => fmt::Display::fmt(source, f),
            None => f.write_str("no more is known"),
        }
    }
}

/// A cause in words.
#[derive(Debug, Error)]
#[error("{0}")]
struct Detail(String);

/// A request for a JSON document.
fn get(url: &Url) -> Result<Request<Vec<u8>>, OidcError> {
    Request::builder()
        .method(Method::GET)
        .uri(url.as_str())
        .header(ACCEPT, HeaderValue::from_static("application/json"))
        .body(Vec::new())
        .map_err(|source| OidcError::settings(format!("{} cannot be asked", http::place(url)), source))
}
