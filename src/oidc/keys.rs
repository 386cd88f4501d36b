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

/// Who has brought a token: whoever makes up names of keys must not use up the searches of those who do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The provider, as its answer to a call of ours.
    Provider,
    /// Whoever can reach us.
    Anybody,
}

/// So many searches at once, and then one in a while (the virtual scheduling of a leaky bucket).
#[derive(Debug, Clone, Copy, Default)]
struct Searches {
    /// When there would be none to spare, had nobody saved any.
    due: Timestamp,
}

/// The keys in use, and where they come from.
pub(super) struct Keys {
    url: Url,
    /// What may sign tokens: from the configuration, never from a token.
    algorithms: Vec<Algorithm>,
    /// The last good ones stay, whatever the provider says later.
    set: ArcSwap<Vec<CoreJsonWebKey>>,
    /// Held by whoever fetches.
    turn: Semaphore,
    /// How often keys may be looked for that strangers' tokens name.
    searches: Mutex<Searches>,
    /// Before when nobody looks again, because the last fetch failed.
    pause: Mutex<Timestamp>,
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
            searches: Mutex::default(),
            pause: Mutex::new(0),
            due: Mutex::new(None),
        }
    }

    /// Verifies a token by the keys that are known, and by new ones when it is not signed by any of these.
    pub(super) async fn verify(
        &self,
        jwt: &Jwt<'_>,
        by: Source,
        http: &Http,
        clock: &Clock,
    ) -> Result<Verified, OidcError> {
        jwt.check_algorithm(&self.algorithms)?;
        self.renew(http, clock).await;
        let known = self.set.load_full();
        match jwt.verify(&known) {
            Ok(verified) => return Ok(verified),
            Err(Unverified::Forged(error)) => return Err(forged(error)),
            Err(Unverified::NoKey) => {}
        }
        match jwt.verify(&self.newer(&known, by, http, clock).await?) {
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

    /// The keys that are fetched now, or that somebody else has fetched since `known`. The provider's own answers may
    /// always look: each of them is a call to it already, and one fetch at a time serves all who wait.
    async fn newer(
        &self,
        known: &Arc<Vec<CoreJsonWebKey>>,
        by: Source,
        http: &Http,
        clock: &Clock,
    ) -> Result<Arc<Vec<CoreJsonWebKey>>, OidcError> {
        let Ok(_turn) = self.turn.acquire().await else { return Ok(self.set.load_full()) };
        let current = self.set.load_full();
        if !Arc::ptr_eq(&current, known) {
            return Ok(current);
        }
        let now = clock.now();
        // Whether the key is the provider's cannot be known: that must end no session and cost nobody their roles.
        if now < *self.pause() {
            let detail = Detail("its keys could not be fetched a moment ago".to_owned());
            return Err(OidcError::unreachable(place(&self.url), detail));
        }
        if by == Source::Anybody && !self.searches().take(now) {
            return Ok(current);
        }
        match fetch(&self.url, &self.algorithms, http).await {
            Ok(set) => self.replace(set, clock.now()),
            Err(error) => {
                warn!(error = cause(&error), "provider keys cannot be fetched");
                *self.pause() = clock.now().saturating_add(PAUSE_AFTER_FAILURE);
                return Err(error);
            }
        }
        Ok(self.set.load_full())
    }

    fn searches(&self) -> MutexGuard<'_, Searches> {
        self.searches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pause(&self) -> MutexGuard<'_, Timestamp> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Searches {
    fn take(&mut self, now: Timestamp) -> bool {
        let may = self.due <= now.saturating_add(EVERY * (AT_ONCE - 1));
        if may {
            self.due = self.due.max(now).saturating_add(EVERY);
        }
        may
    }
}

#[cfg(any(test, fuzzing))]
impl Keys {
    /// These and no others, whatever tokens name.
    pub(super) fn fixed(url: Url, algorithms: Vec<Algorithm>, set: Vec<CoreJsonWebKey>) -> Self {
        let keys = Self::new(url, algorithms, set);
        keys.turn.close();
        keys
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
/// Seconds from one attempt to renew an old set to the next.
const PAUSE: u64 = 60;
/// Searches for keys that tokens name: so many at once, for keys that change several times in a row …
const AT_ONCE: u64 = 4;
/// … and then one in so many seconds: whoever floods us with names of keys makes us no flood for the provider.
const EVERY: u64 = 15;
/// Seconds without a search after one that failed: a new key is then still unknown, and everybody is locked out.
const PAUSE_AFTER_FAILURE: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_looked_for_a_few_times_at_once_and_then_once_in_a_while() {
        let mut searches = Searches::default();
        let mut count = |now| (0..100).filter(|_| searches.take(now)).count();
        assert_eq!(count(1000), 4);
        assert_eq!((count(1014), count(1015), count(1016)), (0, 1, 0));
        assert_eq!(count(1047), 2);
        assert_eq!(count(10_000), 4, "no more are saved");
    }
}
