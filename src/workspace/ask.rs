//! What servers that seem idle say themselves. A kernel that computes sends nothing for hours, and a page that nobody sits
//! before looks around all day: neither is seen in what goes through hubgate.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use serde::Deserialize;
use tracing::debug;

use super::{Ready, State, Workspaces, header};
use crate::clock::{self, Timestamp};

/// A kernel or a terminal, as Jupyter's API lists it. The server is its user's: whatever it says here can only keep it from
/// being thought idle, which its user could by using it.
#[derive(Debug, Deserialize)]
struct Listed {
    #[serde(default)]
    execution_state: Option<String>,
    #[serde(default)]
    last_activity: Option<String>,
}

impl Workspaces {
    /// Asks each server that seems to have been idle for some minutes, and has not been asked for as long.
    pub async fn ask_idle(&self) {
        let ready = self.all().into_iter().filter_map(|(_, state)| match state {
            State::Ready(ready) => Some(ready),
            State::Starting(_) | State::Failing(_) | State::Stopping => None,
        });
        let asked = stream::iter(ready);
        asked.for_each_concurrent(AT_ONCE, async |ready| self.ask_if_idle(&ready).await).await;
    }

    /// Asks one, if it is due.
    pub(super) async fn ask_if_idle(&self, ready: &Ready) {
        let now = self.0.clock.now();
        let last = ready.activity.last().max(ready.asked.load(Ordering::Relaxed));
        if !ready.may_be_asked() || now.saturating_sub(last) < EVERY.as_secs() {
            return;
        }
        ready.asked.store(now, Ordering::Relaxed);
        if let Some(when) = self.last_use(ready, now).await {
            ready.activity.note_at(when);
        } else {
            debug!(workspace = %ready.id, "a server does not say when it was used");
            ready.activity.count_polls();
        }
    }

    /// When its kernels and terminals last did something, and none later than now; 0: they never did. `None`: it does not
    /// say.
    async fn last_use(&self, ready: &Ready, now: Timestamp) -> Option<Timestamp> {
        // By its own token, which a plain server demands, and of which one that expects a hub asks hubgate whose it is.
        let authorization = header(&format!("token {}", ready.token.expose()), true)?;
        let base = if ready.prefix.is_some() { "/".to_owned() } else { ready.id.path() };
        // Where a server counts its own use, this is none.
        let path = |what: &str| format!("{base}api/{what}?no_track_activity=1");
        let (kernels, terminals) = (path("kernels"), path("terminals"));
        let ask = |path| self.0.forwarder.ask(&ready.pool, path, &self.0.public_host, &authorization);
        let (kernels, terminals) = tokio::join!(ask(&kernels), ask(&terminals));
        // Not every server has terminals.
        let terminals = terminals.and_then(|body| latest(&body, now)).unwrap_or(0);
        Some(latest(&kernels?, now)?.max(terminals))
    }
}

/// The latest use in a list; what computes is used now.
fn latest(body: &[u8], now: Timestamp) -> Option<Timestamp> {
    let all: Vec<Listed> = serde_json::from_slice(body).ok()?;
    let used = all.iter().map(|one| match one.execution_state.as_deref() {
        Some("busy") => now,
        Some(_) | None => one.last_activity.as_deref().and_then(clock::read).unwrap_or(0),
    });
    Some(used.max().unwrap_or(0).min(now))
}

/// Between two questions to one server. Whoever stops idle ones should wait for longer.
const EVERY: Duration = Duration::from_mins(5);

/// So many are asked at once.
const AT_ONCE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = 1_750_000_000;

    #[test]
    fn what_a_server_says_of_its_use_is_bounded_by_now() {
        let read = |body: &str| latest(body.as_bytes(), NOW);
        assert_eq!(read("[]"), Some(0));
        let idle = r#"{"id": "1", "execution_state": "idle", "last_activity": "2025-06-15T15:00:00.5Z"}"#;
        assert_eq!(read(&format!("[{idle}]")), Some(NOW - 400));
        assert_eq!(read(&format!(r#"[{idle}, {{"execution_state": "busy"}}]"#)), Some(NOW));
        assert_eq!(read(r#"[{"name": "1", "last_activity": "2025-06-15T15:06:00Z"}]"#), Some(NOW - 40));
        assert_eq!(read(r#"[{"last_activity": "2999-01-01T00:00:00Z"}]"#), Some(NOW), "no future");
        assert_eq!(read(r#"[{"last_activity": "soon"}, {}]"#), Some(0));
        for wrong in ["", "{}", "7", "[7]", r#"[{"last_activity": 7}]"#, "[[[[", "<html>"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
