//! Who tried user codes that are none.

use std::collections::HashMap;
use std::net::IpAddr;

use super::network;
use crate::clock::Timestamp;

/// Who types a code.
#[derive(Debug, Clone, Copy)]
pub struct Guesser {
    /// The session.
    pub session: [u8; 32],
    /// Where it is.
    pub address: IpAddr,
}

/// Wrong codes, by who tried them.
#[derive(Debug, Default)]
pub(super) struct Guesses(HashMap<Key, Count>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Session([u8; 32]),
    Network(IpAddr),
}

#[derive(Debug)]
struct Count {
    since: Timestamp,
    wrong: u32,
}

impl Guesses {
    pub(super) fn may_try(&mut self, by: Guesser, now: Timestamp) -> bool {
        self.0.retain(|_, count| now < count.since + WINDOW);
        // With no room to count, nobody may guess.
        self.0.len() + 2 <= MOST_COUNTED
            && by.keys().iter().all(|(key, most)| self.0.get(key).is_none_or(|count| count.wrong < *most))
    }

    pub(super) fn note_wrong(&mut self, by: Guesser, now: Timestamp) {
        for (key, _) in by.keys() {
            self.0.entry(key).or_insert(Count { since: now, wrong: 0 }).wrong += 1;
        }
    }
}

impl Guesser {
    fn keys(&self) -> [(Key, u32); 2] {
        [
            (Key::Session(self.session), MOST_PER_SESSION),
            (Key::Network(network(self.address)), MOST_PER_ADDRESS),
        ]
    }
}

/// Wrong codes of one session in a window: people mistype.
const MOST_PER_SESSION: u32 = 10;

/// Of one address: an institute mistypes more.
const MOST_PER_ADDRESS: u32 = 100;

/// Seconds.
const WINDOW: u64 = 600;

const MOST_COUNTED: usize = 16_384;
