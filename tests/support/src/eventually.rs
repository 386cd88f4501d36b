//! Waiting for what must come, without guessing how long it takes.

use std::future::Future;
use std::time::{Duration, Instant};

/// Asks again and again until `condition` holds; fails, saying what was awaited, after `HUBGATE_TEST_PATIENCE`
/// seconds (20).
pub async fn eventually<F, A>(what: &str, mut condition: F)
where
    F: FnMut() -> A,
    A: Future<Output = bool>,
{
    let patience = patience();
    let deadline = Instant::now() + patience;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asks again and again until there is an answer, for `limit` at most, or [`eventually`]'s patience if that is longer.
pub async fn found<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let patience = patience().max(limit);
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How long a test waits for anything.
pub(crate) fn patience() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "slow machines say how slow they are")]
    let seconds = std::env::var("HUBGATE_TEST_PATIENCE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}
