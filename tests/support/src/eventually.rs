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
    #[expect(clippy::disallowed_methods, reason = "slow machines say how slow they are")]
    let patience =
        std::env::var("HUBGATE_TEST_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let deadline = Instant::now() + Duration::from_secs(patience);
    while !condition().await {
        assert!(Instant::now() < deadline, "waited {patience} s in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
