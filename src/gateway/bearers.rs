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
use crate::token::{Reach, Right, Scope, Scoped, Scopes, Target};
use crate::user::UserName;

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

/// The access tokens of the providers that are known: for each, what it opens, and what is open for it.
pub struct Bearers {
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

    /// What it may do. Making tokens and shares is not among it: what passes in minutes must not buy what stays for months.
    pub(super) fn scopes(&self) -> Scopes {
        let all = Scopes::of(&self.right.user);
        let visits = Scoped { scope: Scope::AccessServers, filter: None };
        all.iter().filter(|entry| passes(entry.scope)).cloned().chain([visits]).collect()
    }

    /// Whether it may do one of these.
    pub(super) fn reach(&self, scopes: &[Scope], target: &Target<'_>) -> Reach {
        let passing: Vec<_> = scopes.iter().copied().filter(|scope| passes(*scope)).collect();
        self.right.reach(&passing, target)
    }

    fn is_over(&self, now: Timestamp) -> bool {
        now >= self.expires
    }
}

impl Bearers {
    /// None yet.
    pub fn new(clock: Clock) -> Self {
        Self { known: DashMap::new(), ended: DashMap::new(), room: Mutex::new(()), clock }
    }

    /// The one of this hash, unless it is over, or was issued before `not_before` says that those of its person count no
    /// more.
    pub(super) fn find(
        &self,
        hash: &[u8; 32],
        not_before: impl Fn(&str, &str) -> Timestamp,
    ) -> Option<Arc<Bearer>> {
        let bearer = Arc::clone(self.known.get(hash)?.value());
        let not_before = not_before(&bearer.right.provider, &bearer.identity.subject);
        let counts = !bearer.is_over(self.clock.now()) && bearer.issued >= not_before;
        if !counts {
            self.end(&bearer);
        }
        counts.then_some(bearer)
    }

    /// Whether the token of this hash was ended before its time.
    pub(super) fn was_ended(&self, hash: &[u8; 32]) -> bool {
        self.ended.get(hash).is_some_and(|until| self.clock.now() < *until)
    }

    /// Keeps a token that was just verified. Without a sound expiry it is good for this once. `None`: there is no room,
    /// because too many are in use.
    pub(super) fn keep(&self, hash: [u8; 32], right: Right, identity: &Identity) -> Option<Arc<Bearer>> {
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
        if !self.make_room(&bearer.identity) {
            return None;
        }
        if let Some(same) = self.known.insert(hash, Arc::clone(&bearer)) {
            same.ended.cancel();
        }
        Some(bearer)
    }

    /// Forgets a token that nothing is open for, the one that ends first: of the same person, if they have too many; of
    /// anybody, if there are too many. Whoever shows it again is looked at anew. What is open for somebody else's never
    /// makes room.
    fn make_room(&self, identity: &Identity) -> bool {
        if self.known.len() >= MOST_OF_ONE {
            let theirs = |bearer: &Bearer| is_same_person(&bearer.identity, identity);
            if self.known.iter().filter(|bearer| theirs(bearer)).count() >= MOST_OF_ONE {
                return self.forget_one(theirs);
            }
        }
        if self.known.len() >= MOST {
            self.sweep();
        }
        self.known.len() < MOST || self.forget_one(|_bearer| true)
    }

    fn forget_one(&self, of: impl Fn(&Bearer) -> bool) -> bool {
        let idle = self.known.iter().filter(|bearer| of(bearer) && bearer.lifeline.open() == 0);
        let first = idle.min_by_key(|bearer| bearer.expires).map(|bearer| Arc::clone(&bearer));
        first.inspect(|first| self.end(first)).is_some()
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

    /// Ends those that somebody's programs have called with: they need new ones from the provider.
    pub fn end_of(&self, name: &UserName) {
        self.end_where(|bearer| bearer.right.user.name == *name);
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

fn passes(scope: Scope) -> bool {
    !matches!(scope, Scope::Tokens | Scope::ReadTokens | Scope::Shares)
}

/// RFC 7519's `NumericDate`, whole seconds or with a fraction.
fn seconds(value: &Value) -> Option<Timestamp> {
    let text = value.to_string();
    text.split('.').next()?.parse().ok()
}

fn is_same_person(one: &Identity, other: &Identity) -> bool {
    one.issuer == other.issuer && one.subject == other.subject
}

/// More than people call at once.
const MOST: usize = 4096;

/// Of one person: more than their programs use at once.
const MOST_OF_ONE: usize = 64;

/// No provider's word is taken for longer without looking again.
const LONGEST: u64 = 3600;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::user::{Claims, User};

    const NOW: Timestamp = 1_000_000;

    fn identity(exp: Value) -> Identity {
        Identity {
            issuer: "https://kc.example/realms/r".into(),
            subject: "1".into(),
            sid: None,
            claims: json!({ "iat": NOW - 10, "exp": exp }).as_object().cloned().unwrap(),
        }
    }

    fn of(subject: &str, exp: Value) -> Identity {
        Identity { subject: subject.to_owned(), ..identity(exp) }
    }

    fn right(admin: bool) -> Right {
        let name = UserName::parse("alice").unwrap();
        let user = User {
            name,
            admin,
            profiles: [Arc::from("lab")].into(),
            routes: [].into(),
            groups: [].into(),
            claims: Claims::default(),
            memory: None,
            cpu: None,
        };
        Right { provider: "main".into(), user }
    }

    fn never(_provider: &str, _subject: &str) -> Timestamp {
        0
    }

    #[test]
    fn an_access_token_is_known_until_it_expires_and_what_is_open_for_it_ends_then() {
        let clock = Clock::manual(NOW);
        let bearers = Bearers::new(clock.clone());
        let bearer = bearers.keep([1; 32], right(false), &identity(json!(NOW + 60))).unwrap();
        clock.advance(Duration::from_secs(59));
        bearers.sweep();
        assert!(bearers.find(&[1; 32], never).is_some() && !bearer.ended.is_cancelled());
        assert!(bearers.find(&[2; 32], never).is_none());
        clock.advance(Duration::from_secs(1));
        assert!(bearers.find(&[1; 32], never).is_none());
        assert!(bearer.ended.is_cancelled());
        let swept = bearers.keep([1; 32], right(false), &identity(json!(NOW + 100))).unwrap();
        clock.advance(Duration::from_mins(1));
        bearers.sweep();
        assert!(swept.ended.is_cancelled() && bearers.known.is_empty());
    }

    #[test]
    fn an_access_token_from_before_counts_no_more() {
        let bearers = Bearers::new(Clock::manual(NOW));
        let bearer = bearers.keep([1; 32], right(false), &identity(json!(NOW + 60))).unwrap();
        assert!(bearers.find(&[1; 32], |_, _| NOW - 10).is_some());
        assert!(bearers.find(&[1; 32], |_, _| NOW - 9).is_none());
        assert!(bearer.ended.is_cancelled());
    }

    #[test]
    fn an_access_token_ends_with_the_session_at_the_provider() {
        let bearers = Bearers::new(Clock::manual(NOW));
        let of = |sid: &str| Identity { sid: Some(sid.into()), ..identity(json!(NOW + 60)) };
        let gone = bearers.keep([1; 32], right(false), &of("a")).unwrap();
        let stays = bearers.keep([2; 32], right(false), &of("b")).unwrap();
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
            bearers.keep(hash, right(false), &of(&count.to_string(), json!(long + LONGEST)));
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
            bearers.keep(hash, right(false), &of(&count.to_string(), json!(expires)));
        }
        assert_eq!(bearers.known.len(), MOST);
    }

    #[test]
    fn one_person_pushes_out_nobody_elses_access_tokens_and_nothing_that_is_open() {
        let bearers = Bearers::new(Clock::manual(NOW));
        let hash = |count: usize| crate::seal::sha256(&count.to_be_bytes());
        let bobs = bearers.keep(hash(MOST), right(false), &of("bob", json!(NOW + 1))).unwrap();
        let used = bearers.keep(hash(0), right(false), &identity(json!(NOW + 2))).unwrap();
        let open = used.lifeline.hold();
        for count in 1..MOST {
            bearers.keep(hash(count), right(false), &identity(json!(NOW + 60))).unwrap();
        }
        assert_eq!(bearers.known.len(), 1 + MOST_OF_ONE);
        assert!(!bobs.ended.is_cancelled() && !used.ended.is_cancelled());
        drop(open);
        bearers.keep(hash(MOST + 1), right(false), &identity(json!(NOW + 60))).unwrap();
        assert!(used.ended.is_cancelled(), "it ends first");
    }

    #[test]
    fn no_access_token_takes_the_place_of_one_in_use() {
        let bearers = Bearers::new(Clock::manual(NOW));
        let mut open = Vec::new();
        for count in 0..MOST {
            let person = of(&(count / MOST_OF_ONE).to_string(), json!(NOW + 60));
            let kept =
                bearers.keep(crate::seal::sha256(&count.to_be_bytes()), right(false), &person).unwrap();
            open.push((kept.lifeline.hold(), kept));
        }
        let carols = of("carol", json!(NOW + 60));
        assert!(bearers.keep([9; 32], right(false), &carols).is_none());
        assert!(open.iter().all(|(_, kept)| !kept.ended.is_cancelled()));
        open.pop();
        assert!(bearers.keep([9; 32], right(false), &carols).is_some());
    }

    #[test]
    fn an_access_token_makes_no_tokens() {
        let bearers = Bearers::new(Clock::manual(NOW));
        for admin in [false, true] {
            let bearer = bearers.keep([1; 32], right(admin), &identity(json!(NOW + 60))).unwrap();
            let name = bearer.right.user.name.clone();
            let own = Target::User { name: &name, server: None, groups: &[] };
            for scope in Scope::ALL {
                let lasts = matches!(scope, Scope::Tokens | Scope::ReadTokens | Scope::Shares);
                let expected = !lasts && (admin || !scope.is_admin());
                assert_eq!(bearer.reach(&[scope], &own) == Reach::Reaches, expected, "{}", scope.name());
                assert_eq!(bearer.scopes().iter().any(|entry| entry.scope == scope), expected);
            }
        }
    }
}
