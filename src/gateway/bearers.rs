//! Access tokens of a provider that were verified: until they expire, nothing is computed or asked for them again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::forward::Lifeline;
use crate::identity::Identity;
use crate::session::Proof;
use crate::token::{Right, Scope, Scopes};

/// A program that a provider vouches for.
#[derive(Debug)]
pub(super) struct Bearer {
    /// SHA-256 of the token.
    pub(super) hash: [u8; 32],
    /// In whose name it calls.
    pub(super) right: Right,
    /// What is open for it hangs on this.
    pub(super) lifeline: Arc<Lifeline>,
    /// How well the person proved who they are, at the login that it comes from.
    pub(super) proof: Proof,
    ended: CancellationToken,
    /// Whom the provider vouches for, without the claims.
    identity: Identity,
    issued: Timestamp,
    /// Until when it is known.
    expires: Timestamp,
    /// Until when the provider vouches for it.
    good_until: Timestamp,
}

/// Those that are known.
pub(super) struct Bearers {
    // Keys are hashes; whoever could choose collisions would need the provider to sign them.
    known: DashMap<[u8; 32], Arc<Bearer>>,
    /// Ended before their time, with when that would have been: their signatures are good until then.
    ended: DashMap<[u8; 32], Timestamp>,
    /// Making room is one at a time.
    room: Mutex<()>,
    clock: Clock,
}

impl Bearer {
    /// When the provider vouched for it, and whom for.
    pub(super) fn vouched(&self) -> (&Identity, Timestamp) {
        (&self.identity, self.issued)
    }

    /// What it may do. Making tokens is not among it: what passes in minutes must not buy what stays for months.
    pub(super) fn scopes(&self) -> Scopes {
        Scopes::of(&self.right.user).iter().filter(|scope| *scope != Scope::Tokens).collect()
    }

    fn is_over(&self, now: Timestamp) -> bool {
        now >= self.expires
    }
}

impl Bearers {
    pub(super) fn new(clock: Clock) -> Self {
        Self { known: DashMap::new(), ended: DashMap::new(), room: Mutex::new(()), clock }
    }

    /// The one of this hash, unless it is over, or was issued before `not_before` says that those count no more.
    pub(super) fn find(
        &self,
        hash: &[u8; 32],
        not_before: impl Fn(&str) -> Timestamp,
    ) -> Option<Arc<Bearer>> {
        let bearer = Arc::clone(self.known.get(hash)?.value());
        let counts = !bearer.is_over(self.clock.now()) && bearer.issued >= not_before(&bearer.right.provider);
        if !counts {
            self.end(&bearer);
        }
        counts.then_some(bearer)
    }

    /// Whether the token of this hash was ended before its time.
    pub(super) fn was_ended(&self, hash: &[u8; 32]) -> bool {
        self.ended.get(hash).is_some_and(|until| self.clock.now() < *until)
    }

    /// Keeps a token that was just verified. Without a sound expiry it is good for this once.
    pub(super) fn keep(&self, hash: [u8; 32], right: Right, identity: &Identity) -> Arc<Bearer> {
        let time = |claim: &str| identity.claim(&[claim]).and_then(seconds);
        let now = self.clock.now();
        let ended = CancellationToken::new();
        let bearer = Arc::new(Bearer {
            hash,
            right,
            lifeline: Lifeline::new(ended.child_token()),
            ended,
            proof: Proof::of(identity),
            identity: Identity { claims: Map::new(), ..identity.clone() },
            issued: time("iat").unwrap_or_default(),
            expires: time("exp").unwrap_or(now).min(now + LONGEST),
            good_until: time("exp").unwrap_or(now + LONGEST),
        });
        let _turn = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        if self.known.len() >= MOST {
            self.sweep();
        }
        // Still full: the one that ends first makes room, with what is open for it.
        if self.known.len() >= MOST {
            let first =
                self.known.iter().min_by_key(|bearer| bearer.expires).map(|bearer| Arc::clone(&bearer));
            if let Some(first) = first {
                self.end(&first);
            }
        }
        if let Some(same) = self.known.insert(hash, Arc::clone(&bearer)) {
            same.ended.cancel();
        }
        bearer
    }

    /// Ends every one for which `over` holds, for good.
    pub(super) fn end_where(&self, over: impl Fn(&Bearer) -> bool) {
        self.known.retain(|hash, bearer| {
            let ends = over(bearer);
            if ends {
                bearer.ended.cancel();
                self.ended.insert(*hash, bearer.good_until);
            }
            !ends
        });
        while self.ended.len() > MOST {
            let first = self.ended.iter().min_by_key(|until| **until).map(|until| *until.key());
            let Some(first) = first else { return };
            self.ended.remove(&first);
        }
    }

    /// To be called on a timer: what is over takes along what is open for it.
    pub(super) fn sweep(&self) {
        let now = self.clock.now();
        self.ended.retain(|_, until| now < *until);
        self.known.retain(|_, bearer| {
            let over = bearer.is_over(now);
            if over {
                bearer.ended.cancel();
            }
            !over
        });
    }

    /// Ends one.
    pub(super) fn end(&self, bearer: &Bearer) {
        self.known.remove(&bearer.hash);
        bearer.ended.cancel();
    }
}

impl fmt::Debug for Bearers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bearers({})", self.known.len())
    }
}

/// RFC 7519's `NumericDate`, whole seconds or with a fraction.
fn seconds(value: &Value) -> Option<Timestamp> {
    let text = value.to_string();
    text.split('.').next()?.parse().ok()
}

/// More than people call at once.
const MOST: usize = 4096;

/// No provider's word is taken for longer without looking again.
const LONGEST: u64 = 3600;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::user::{User, UserName};

    const NOW: Timestamp = 1_000_000;

    fn identity(exp: Value) -> Identity {
        Identity {
            issuer: "https://kc.example/realms/r".into(),
            subject: "1".into(),
            sid: None,
            claims: json!({ "iat": NOW - 10, "exp": exp }).as_object().cloned().unwrap(),
        }
    }

    fn right(admin: bool) -> Right {
        let name = UserName::parse("alice").unwrap();
        let user = User {
            name,
            admin,
            profiles: [Arc::from("lab")].into(),
            routes: [].into(),
            memory: None,
            cpu: None,
        };
        Right { provider: "main".into(), user }
    }

    fn never(_provider: &str) -> Timestamp {
        0
    }

    #[test]
    fn an_access_token_is_known_until_it_expires_and_what_is_open_for_it_ends_then() {
        let clock = Clock::manual(NOW);
        let bearers = Bearers::new(clock.clone());
        let bearer = bearers.keep([1; 32], right(false), &identity(json!(NOW + 60)));
        clock.advance(Duration::from_secs(59));
        bearers.sweep();
        assert!(bearers.find(&[1; 32], never).is_some() && !bearer.ended.is_cancelled());
        assert!(bearers.find(&[2; 32], never).is_none());
        clock.advance(Duration::from_secs(1));
        assert!(bearers.find(&[1; 32], never).is_none());
        assert!(bearer.ended.is_cancelled());
        let swept = bearers.keep([1; 32], right(false), &identity(json!(NOW + 100)));
        clock.advance(Duration::from_mins(1));
        bearers.sweep();
        assert!(swept.ended.is_cancelled() && bearers.known.is_empty());
    }

    #[test]
    fn an_access_token_from_before_counts_no_more() {
        let bearers = Bearers::new(Clock::manual(NOW));
        let bearer = bearers.keep([1; 32], right(false), &identity(json!(NOW + 60)));
        assert!(bearers.find(&[1; 32], |_provider| NOW - 10).is_some());
        assert!(bearers.find(&[1; 32], |_provider| NOW - 9).is_none());
        assert!(bearer.ended.is_cancelled());
    }

    #[test]
    fn an_access_token_ends_with_the_session_at_the_provider() {
        let bearers = Bearers::new(Clock::manual(NOW));
        let of = |sid: &str| Identity { sid: Some(sid.into()), ..identity(json!(NOW + 60)) };
        let gone = bearers.keep([1; 32], right(false), &of("a"));
        let stays = bearers.keep([2; 32], right(false), &of("b"));
        bearers.end_where(|bearer| {
            let (identity, issued) = bearer.vouched();
            identity.sid.as_deref() == Some("a") && issued == NOW - 10
        });
        assert!(gone.ended.is_cancelled() && !stays.ended.is_cancelled());
        assert!(bearers.was_ended(&[1; 32]) && !bearers.was_ended(&[2; 32]));
        assert!(bearers.find(&[1; 32], never).is_none() && bearers.find(&[2; 32], never).is_some());
    }

    #[test]
    fn an_access_token_that_was_ended_is_taken_no_more_as_long_as_it_would_be_good() {
        let clock = Clock::manual(NOW);
        let bearers = Bearers::new(clock.clone());
        let long = NOW + 3 * LONGEST;
        bearers.keep([1; 32], right(false), &identity(json!(long)));
        bearers.end_where(|_bearer| true);
        clock.advance(Duration::from_secs(3 * LONGEST - 1));
        bearers.sweep();
        assert!(bearers.was_ended(&[1; 32]), "though it was known for less");
        clock.advance(Duration::from_secs(1));
        assert!(!bearers.was_ended(&[1; 32]), "its own time is up");
        bearers.sweep();
        assert!(bearers.ended.is_empty());
        for count in 0..MOST + 10 {
            let hash = crate::seal::sha256(&count.to_be_bytes());
            bearers.keep(hash, right(false), &identity(json!(long + LONGEST)));
            if count % 1000 == 0 {
                bearers.end_where(|_bearer| true);
            }
        }
        bearers.end_where(|_bearer| true);
        assert!(bearers.ended.len() <= MOST);
    }

    #[test]
    fn without_a_sound_expiry_nothing_is_remembered() {
        let bearers = Bearers::new(Clock::manual(NOW));
        for exp in [json!(null), json!("1e300"), json!(-1), json!(1e300), json!([NOW + 60])] {
            bearers.keep([1; 32], right(false), &identity(exp.clone()));
            assert!(bearers.find(&[1; 32], never).is_none(), "{exp}");
        }
        bearers.keep([1; 32], right(false), &identity(json!(u64::MAX)));
        assert!(bearers.find(&[1; 32], never).unwrap().expires <= NOW + LONGEST);
        bearers.keep([1; 32], right(false), &identity(json!(1_000_060.5)));
        assert!(bearers.find(&[1; 32], never).is_some());
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let bearers = Bearers::new(Clock::manual(NOW));
        for count in 0..MOST + 10 {
            let hash = crate::seal::sha256(&count.to_be_bytes());
            let expires = NOW + 60 + u64::try_from(count).unwrap() / 1000;
            bearers.keep(hash, right(false), &identity(json!(expires)));
        }
        assert_eq!(bearers.known.len(), MOST);
    }

    #[test]
    fn an_access_token_makes_no_tokens() {
        let bearers = Bearers::new(Clock::manual(NOW));
        for admin in [false, true] {
            let scopes = bearers.keep([1; 32], right(admin), &identity(json!(NOW + 60))).scopes();
            assert!(!scopes.contains(Scope::Tokens) && scopes.contains(Scope::AccessServers));
            assert_eq!(scopes.contains(Scope::AdminUsers), admin);
        }
    }
}
