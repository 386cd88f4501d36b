//! When a workspace was last used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{Clock, Timestamp};

/// When something was last used, to the second; it only moves forward.
#[derive(Debug)]
pub struct Activity {
    clock: Clock,
    last: AtomicU64,
}

impl Activity {
    /// Something that comes into use now.
    pub fn new(clock: Clock) -> Arc<Self> {
        let last = AtomicU64::new(clock.now());
        Arc::new(Self { clock, last })
    }

    /// It is used now.
    pub fn note(&self) {
        self.note_at(self.clock.now());
    }

    /// It was used then.
    pub fn note_at(&self, when: Timestamp) {
        // Written once a second: requests on many cores must not fight over the cache line.
        if self.last.load(Ordering::Relaxed) < when {
            self.last.fetch_max(when, Ordering::Relaxed);
        }
    }

    /// When it was.
    pub fn last(&self) -> Timestamp {
        self.last.load(Ordering::Relaxed)
    }
}

/// Whether what came over a websocket is one ping or pong (RFC 6455 section 5.5): Jupyter's servers send them as long as
/// a page is open, whether somebody sits before it or not.
pub(super) fn is_heartbeat(bytes: &[u8]) -> bool {
    let [0x89 | 0x8a, second, rest @ ..] = bytes else { return false };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    rest.len() == usize::from(second & 0x7f) + mask
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn activity_only_moves_forward() {
        let clock = Clock::manual(100);
        let activity = Activity::new(clock.clone());
        assert_eq!(activity.last(), 100);
        activity.note_at(50);
        assert_eq!(activity.last(), 100);
        clock.advance(Duration::from_secs(7));
        activity.note();
        assert_eq!(activity.last(), 107);
    }

    #[test]
    fn a_ping_is_no_use() {
        for heartbeat in [
            &[0x89, 0][..],
            &[0x8a, 0x80, 1, 2, 3, 4],
            &[0x89, 2, b'h', b'i'],
            &[0x8a, 0x82, 1, 2, 3, 4, 5, 6],
        ] {
            assert!(is_heartbeat(heartbeat), "{heartbeat:?}");
        }
        for used in [&[][..], &[0x89], &[0x81, 0], &[0x89, 0, 0x81, 0], &[0x89, 4, b'h', b'i'], b"hello"] {
            assert!(!is_heartbeat(used), "{used:?}");
        }
    }
}
