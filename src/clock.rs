//! Wall time: the system's, or one that a test moves.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01T00:00:00Z, as tokens, cookies and the store count them.
pub type Timestamp = u64;

/// A time in UTC, as `2025-01-31T12:00:00Z` (RFC 3339).
pub fn utc(time: Timestamp) -> String {
    // The year 9999 is the last that is written so.
    let time = UNIX_EPOCH + Duration::from_secs(time.min(253_402_300_799));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A time in ISO 8601 as Python and JavaScript write it: with `Z`, an offset, or neither, which is UTC.
pub fn read(text: &str) -> Option<Timestamp> {
    let (time, offset) = match text.len().checked_sub(6).and_then(|at| text.split_at_checked(at)) {
        Some((time, zone)) if zone.starts_with(['+', '-']) => (time, offset(zone)?),
        Some(_) | None => (text, 0),
    };
    let since = humantime::parse_rfc3339_weak(time).ok()?.duration_since(UNIX_EPOCH).ok()?;
    since.as_secs().checked_add_signed(-offset)
}

/// Seconds that a zone `+hh:mm` is before UTC.
fn offset(zone: &str) -> Option<i64> {
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = 3600 * i64::from(hours) + 60 * i64::from(minutes);
    (hours < 24 && minutes < 60).then_some(if zone.starts_with('-') { -seconds } else { seconds })
}

/// Tells the time of day. Deadlines use tokio's clock instead.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start` until [`Clock::advance`].
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(start))))
    }

    /// Moves a manual clock; the system's goes its own way.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(now) = &self.0 {
            now.fetch_add(by.as_secs(), Ordering::SeqCst);
        }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "the one place that asks the system for the time")]
            Source::System => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            Source::Manual(now) => now.load(Ordering::SeqCst),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(1_750_000_000), "2025-06-15T15:06:40Z");
        assert_eq!(utc(Timestamp::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn times_are_read_as_programs_write_them() {
        for text in [
            "2025-06-15T15:06:40Z",
            "2025-06-15T15:06:40.285851Z",
            "2025-06-15T15:06:40",
            "2025-06-15 15:06:40.5",
            "2025-06-15T17:06:40+02:00",
            "2025-06-15T09:36:40.123-05:30",
        ] {
            assert_eq!(read(text), Some(1_750_000_000), "{text}");
        }
        for wrong in [
            "",
            "now",
            "2025-06-15",
            "2025-06-15T15:06:40+0200",
            "2025-06-15T15:06:40+99:00",
            "ü+00:00",
            "1960-01-01T00:00:00Z",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
