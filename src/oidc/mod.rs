//! The provider: where it is, its keys, one login, one logout.

mod http;
mod login;
mod logout;

use thiserror::Error;
use url::Url;

use crate::clock::Clock;
use crate::config;
use crate::secret::Secret;

pub use login::{Answer, Login};

/// A boxed cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The provider; a clone is another handle.
#[derive(Debug, Clone)]
pub struct Provider;

/// What the provider gave at a login. Sealed wherever it is kept.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    /// Names the session at logout (`id_token_hint`).
    pub id_token: Option<Secret>,
    /// Opens userinfo.
    pub access_token: Option<Secret>,
    /// Gets fresh ones.
    pub refresh_token: Option<Secret>,
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
    #[error("the provider refused: {error}")]
    Refused {
        /// RFC 6749 error code, visible ASCII of at most 64 bytes.
        error: String,
        /// Its description, cut and cleaned.
        description: Option<String>,
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
    /// Its description is not usable.
    #[error("the provider's settings are not usable: {what}")]
    Settings {
        /// What is wrong.
        what: String,
        /// Why.
        source: Option<BoxError>,
    },
}

impl OidcError {
    /// Stub.
    pub fn remedy(&self) -> &'static str {
        todo!()
    }
}

impl Provider {
    /// From the configuration; asks nobody yet. `callback` is our redirect URI.
    pub fn new(
        _config: &config::Provider,
        _callback: Url,
        _secret: Secret,
        _clock: Clock,
    ) -> Result<Self, OidcError> {
        todo!()
    }

    /// Finds endpoints and keys if they are not known yet. Cheap once they are.
    pub async fn ready(&self) -> Result<(), OidcError> {
        todo!()
    }

    /// Whether [`Provider::ready`] has succeeded.
    pub fn is_ready(&self) -> bool {
        todo!()
    }

    /// Begins a login: where to send the browser, and what must come back with it.
    pub async fn begin(&self) -> Result<(Url, Login), OidcError> {
        todo!()
    }
}
