//! What counts once: remembered for as long as it could be tried again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;
use crate::seal::sha256;

/// What was used.
#[derive(Debug)]
pub(super) struct OneTime {
    used: Mutex<Used>,
    /// Seconds after which nothing can be tried again.
    lifetime: u64,
}

#[derive(Debug, Default)]
struct Used {
    /// By its hash.
    when: HashMap<[u8; 32], Timestamp>,
    /// Swept when there are so many: not at each use, which would take longer the more there are.
    full: usize,
}

impl OneTime {
    pub(super) fn new(lifetime: u64) -> Self {
        Self { used: Mutex::default(), lifetime }
    }

    /// True the first time. A flood of more than [`MOST`] at once is forgotten as a whole: that something counts once is
    /// here a second lock on a door that the provider, or a seal, has locked already.
    pub(super) fn redeem(&self, value: &str, now: Timestamp) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let Used { when, full } = &mut *used;
        let over = |redeemed: Timestamp| redeemed.saturating_add(self.lifetime) < now;
        if when.len() >= *full {
            when.retain(|_, redeemed| !over(*redeemed));
            if when.len() >= MOST {
                when.clear();
            }
            *full = (when.len() * 2).max(64);
        }
        when.insert(sha256(value.as_bytes()), now).is_none_or(over)
    }
}

const MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_once_while_it_could_be_tried_again() {
        let once = OneTime::new(10);
        assert!(once.redeem("a", 100) && once.redeem("b", 105));
        assert!(!once.redeem("a", 110));
        assert!(once.redeem("b", 121));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let once = OneTime::new(10);
        for value in 0..MOST * 2 {
            assert!(once.redeem(&value.to_string(), 100));
        }
        assert!(once.used.lock().unwrap().when.len() <= MOST * 2);
        for value in 0..200 {
            once.redeem(&format!("later {value}"), 10_000 + value);
        }
        let left = once.used.lock().unwrap().when.len();
        assert!(left <= MOST * 2, "{left}");
    }
}
