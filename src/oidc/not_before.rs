//! Before when tokens count no more: *not before*, as Keycloak says it in each of its token responses.
//!
//! It says one number, the latest of the realm's, the client's and that person's own, which an administrator moves by
//! signing somebody out. So what it says is true of the person whom the response is about. Of others it says no more than
//! that their sessions are to be renewed, in case it is the realm's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use super::Provider;
use crate::clock::Timestamp;

/// What was heard: the latest of all, and by subject.
#[derive(Debug, Default)]
pub(super) struct NotBefore {
    latest: AtomicU64,
    people: RwLock<HashMap<String, Timestamp>>,
}

impl Provider {
    /// The latest that the provider has said of anybody: sessions from before are to be renewed.
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before.latest.load(Ordering::Relaxed)
    }

    /// Before when what was issued to this subject counts no more.
    pub fn not_before_of(&self, subject: &str) -> Timestamp {
        self.0.not_before.of(subject)
    }

    /// It was said of this subject. A time in the future would refuse everything that is issued until then.
    pub(super) fn hear_not_before(&self, subject: Option<&str>, not_before: Timestamp) {
        let now = self.0.clock.now().saturating_add(self.0.skew);
        self.0.not_before.hear(subject, not_before.min(now));
    }
}

impl NotBefore {
    pub(super) fn of(&self, subject: &str) -> Timestamp {
        let people = self.people.read().unwrap_or_else(PoisonError::into_inner);
        people.get(subject).copied().unwrap_or_default()
    }

    fn hear(&self, subject: Option<&str>, not_before: Timestamp) {
        self.latest.fetch_max(not_before, Ordering::Relaxed);
        let Some(subject) = subject.filter(|subject| self.of(subject) < not_before) else { return };
        let mut people = self.people.write().unwrap_or_else(PoisonError::into_inner);
        // What was revoked longest ago has expired, if anything has.
        if people.len() >= MOST
            && let Some(first) = people.iter().min_by_key(|(_, when)| **when).map(|(who, _)| who.clone())
        {
            people.remove(&first);
        }
        let said = people.entry(subject.to_owned()).or_default();
        *said = not_before.max(*said);
    }
}

/// People of whom it is remembered: more than a hub has, and the provider alone can add one.
const MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_one_person_is_said_of_nobody_else() {
        let not_before = NotBefore::default();
        not_before.hear(Some("bob"), 100);
        not_before.hear(Some("bob"), 50);
        not_before.hear(None, 200);
        assert_eq!((not_before.of("bob"), not_before.of("alice")), (100, 0));
        assert_eq!(not_before.latest.load(Ordering::Relaxed), 200);
        not_before.hear(Some("alice"), 0);
        assert_eq!(not_before.people.read().unwrap().len(), 1, "nothing is nothing to remember");
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let not_before = NotBefore::default();
        for count in 0..MOST {
            not_before.people.write().unwrap().insert(count.to_string(), 1000);
        }
        not_before.people.write().unwrap().insert("0".to_owned(), 1);
        not_before.hear(Some("new"), 2000);
        assert_eq!((not_before.of("new"), not_before.of("0"), not_before.of("1")), (2000, 0, 1000));
        assert_eq!(not_before.people.read().unwrap().len(), MOST);
    }
}
