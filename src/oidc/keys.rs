//! The provider's keys: kept, and fetched again when a token names one that is not among them, or when they are old.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use openidconnect::core::{CoreJsonWebKey, CoreJwsSigningAlgorithm as Algorithm};
use tokio::sync::Semaphore;
use tracing::{info, warn};
use url::Url;

use super::http::{Http, place};
use super::jwt::{Jwt, Unverified, Verified, usable_keys};
use super::{Detail, OidcError, get};
use crate::clock::{Clock, Timestamp};
use crate::logging::cause;

/// The keys in use, and where they come from.
pub(super) struct Keys {
    url: Url,
    /// What may sign tokens: from the configuration, never from a token.
    algorithms: Vec<Algorithm>,
    /// The last good ones stay, whatever the provider says later.
    set: ArcSwap<Vec<CoreJsonWebKey>>,
    /// Held by whoever fetches.
    turn: Semaphore,
    /// Before when no token's unknown key is looked for.
    next: Mutex<Timestamp>,
    /// When the set is old. `None`: it has not been used yet.
    due: Mutex<Option<Timestamp>>,
}

impl Keys {
    /// Fetches them for the first time.
    pub(super) async fn fetch(url: Url, algorithms: Vec<Algorithm>, http: &Http) -> Result<Self, OidcError> {
        let set = fetch(&url, &algorithms, http).await?;
        Ok(Self::new(url, algorithms, set))
    }

    fn new(url: Url, algorithms: Vec<Algorithm>, set: Vec<CoreJsonWebKey>) -> Self {
        Self {
            url,
            algorithms,
            set: ArcSwap::from_pointee(set),
            turn: Semaphore::new(1),
            next: Mutex::new(0),
            due: Mutex::new(None),
        }
    }

    /// Verifies a token by the keys that are known, and by new ones when it is not signed by any of these.
    pub(super) async fn verify(
        &self,
        jwt: &Jwt<'_>,
        http: &Http,
        clock: &Clock,
    ) -> Result<Verified, OidcError> {
        jwt.check_algorithm(&self.algorithms)?;
        self.renew(http, clock).await;
        match jwt.verify(&self.set.load()) {
            Ok(verified) => return Ok(verified),
            Err(Unverified::Forged(error)) => return Err(forged(error)),
            Err(Unverified::NoKey) => {}
        }
        match jwt.verify(&self.newer(http, clock).await?) {
            Ok(verified) => Ok(verified),
            Err(Unverified::Forged(error)) => Err(forged(error)),
            Err(Unverified::NoKey) => Err(OidcError::untrusted("no key of its signs its token", None)),
        }
    }

    /// Fetches the set again when it is old: a key that the provider has disabled signs on for ever else, as long as no
    /// token names a new one. One caller waits for that, the others do not; while the set cannot be fetched, the keys
    /// that are known serve.
    async fn renew(&self, http: &Http, clock: &Clock) {
        let now = clock.now();
        let due = *self.due().get_or_insert(now.saturating_add(LIFETIME));
        if now < due {
            return;
        }
        let Ok(_turn) = self.turn.try_acquire() else { return };
        *self.due() = Some(now.saturating_add(PAUSE));
        match fetch(&self.url, &self.algorithms, http).await {
            Ok(set) => self.replace(set, now),
            Err(error) => warn!(error = cause(&error), "provider keys cannot be fetched again"),
        }
    }

    fn replace(&self, set: Vec<CoreJsonWebKey>, now: Timestamp) {
        info!(keys = set.len(), "provider keys fetched again");
        self.set.store(Arc::new(set));
        *self.due() = Some(now.saturating_add(LIFETIME));
    }

    /// The keys that are fetched now, or that another login has just fetched. Tokens with made-up keys cause one fetch
    /// in [`PAUSE`].
    async fn newer(&self, http: &Http, clock: &Clock) -> Result<Arc<Vec<CoreJsonWebKey>>, OidcError> {
        let _turn = self.turn.acquire().await;
        if clock.now() < self.next() {
            return Ok(self.set.load_full());
        }
        let fetched = fetch(&self.url, &self.algorithms, http).await;
        let pause = if fetched.is_ok() { PAUSE } else { PAUSE_AFTER_FAILURE };
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = clock.now().saturating_add(pause);
        self.replace(fetched?, clock.now());
        Ok(self.set.load_full())
    }

    fn next(&self) -> Timestamp {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(any(test, fuzzing))]
impl Keys {
    /// These and no others, whatever tokens name.
    pub(super) fn fixed(url: Url, algorithms: Vec<Algorithm>, set: Vec<CoreJsonWebKey>) -> Self {
        Self { next: Mutex::new(Timestamp::MAX), ..Self::new(url, algorithms, set) }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("url", &place(&self.url))
            .field("keys", &self.set.load().len())
            .finish_non_exhaustive()
    }
}

async fn fetch(url: &Url, algorithms: &[Algorithm], http: &Http) -> Result<Vec<CoreJsonWebKey>, OidcError> {
    let response = http.json(get(url)?).await?;
    if !response.status().is_success() {
        return Err(OidcError::unreachable(place(url), Detail(format!("it answers {}", response.status()))));
    }
    usable_keys(response.body(), algorithms).map_err(|source| OidcError::Settings {
        what: format!("{} holds no usable keys for provider.signing_algorithms", place(url)),
        source: Some(source),
    })
}

fn forged(error: openidconnect::SignatureVerificationError) -> OidcError {
    OidcError::Untrusted { what: "the signature of its token is wrong", source: Some(error.into()) }
}

/// Seconds after which a set is old, whatever its headers say: Keycloak's say nothing of use (`no-cache`).
const LIFETIME: u64 = 600;
/// Seconds from one fetch of the keys to the next.
const PAUSE: u64 = 60;
/// The same after a fetch that failed: a new key is then still unknown, and everybody is locked out.
const PAUSE_AFTER_FAILURE: u64 = 5;
