//! When a workspace was last used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{Clock, Timestamp};

/// When something was last used, to the second; it only moves forward.
#[derive(Debug)]
pub struct Activity {
    clock: Clock,
    last: AtomicU64,
    /// When an open page looked around by itself; never: 0.
    polled: AtomicU64,
}

impl Activity {
    /// Something that comes into use now.
    pub fn new(clock: Clock) -> Arc<Self> {
        let now = clock.now();
        Self::since(clock, now)
    }

    /// Something that was last used then.
    pub fn since(clock: Clock, last: Timestamp) -> Arc<Self> {
        Arc::new(Self { clock, last: AtomicU64::new(last), polled: AtomicU64::new(0) })
    }

    /// It is used now.
    pub fn note(&self) {
        self.note_at(self.clock.now());
    }

    /// A page that is open somewhere looks around: no use, unless nobody can say more.
    pub fn note_poll(&self) {
        let now = self.clock.now();
        if self.polled.load(Ordering::Relaxed) < now {
            self.polled.store(now, Ordering::Relaxed);
        }
    }

    /// Whether that was when an open page looked around, by a clock that is off by no more than a second.
    pub fn was_poll(&self, when: Timestamp) -> bool {
        self.polled.load(Ordering::Relaxed).abs_diff(when) <= 1
    }

    /// Nobody can say more: whoever looked around used it.
    pub fn count_polls(&self) {
        self.note_at(self.polled.load(Ordering::Relaxed));
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

/// What a body notes as it moves on. The clock is asked for the first part after a pause, and for one in sixteen of
/// those that come without.
#[derive(Debug)]
pub(super) struct Moving {
    activity: Option<Arc<Activity>>,
    /// What moves in the second after it belongs to the beginning, which the answer's status judges.
    begun: Timestamp,
    skip: u8,
}

impl Moving {
    /// What it notes nothing of.
    pub(super) fn unnoted() -> Self {
        Self { activity: None, begun: 0, skip: 0 }
    }

    /// The body of a request that comes in now.
    pub(super) fn request(activity: Option<&Arc<Activity>>) -> Self {
        Self::since(activity, |activity| activity.clock.now())
    }

    /// The body of an answer that was noted a moment ago.
    pub(super) fn response(activity: Option<&Arc<Activity>>) -> Self {
        Self::since(activity, Activity::last)
    }

    fn since(activity: Option<&Arc<Activity>>, begun: impl FnOnce(&Activity) -> Timestamp) -> Self {
        let begun = activity.map_or(0, |activity| begun(activity));
        Self { activity: activity.cloned(), begun, skip: SKIPPED }
    }

    /// A part has come.
    pub(super) fn moved(&mut self) {
        let Some(activity) = &self.activity else { return };
        if let Some(fewer) = self.skip.checked_sub(1) {
            self.skip = fewer;
            return;
        }
        self.skip = SKIPPED;
        let now = activity.clock.now();
        if now > self.begun + 1 {
            activity.note_at(now);
        }
    }

    /// The next part is waited for.
    pub(super) fn paused(&mut self) {
        self.skip = 0;
    }
}

const SKIPPED: u8 = 15;

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
