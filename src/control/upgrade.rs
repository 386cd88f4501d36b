//! An administrator's order that another process take over.

use serde_json::Value;
use thiserror::Error;
use tokio::sync::oneshot;
use tracing::info;

use super::answer::shown;
use super::unanswered::Unanswered;
use super::{Control, Peer, wire};

/// An order, and where it is answered.
#[derive(Debug)]
pub struct Upgrade(pub oneshot::Sender<Result<Upgraded, NotUpgraded>>);

/// The process that serves now.
#[derive(Debug)]
pub struct Upgraded {
    /// Its number.
    pub pid: u32,
    /// Its release.
    pub version: String,
}

/// Nothing came of it: the same process goes on.
#[derive(Debug, Error)]
#[error("{why}")]
pub struct NotUpgraded {
    /// Why.
    pub why: String,
    /// What to do.
    pub remedy: &'static str,
}

impl Control {
    pub(super) async fn upgrade(&self, peer: Peer) -> Result<Value, Unanswered> {
        info!(event = "upgrade_ordered", by = %peer, "an administrator orders an upgrade");
        let (sender, answer) = oneshot::channel();
        let busy = || NotUpgraded {
            why: "another upgrade is under way, or hubgate stops".into(),
            remedy: "try again",
        };
        self.0.upgrades.try_send(Upgrade(sender)).map_err(|_full| Unanswered::Upgrade(busy()))?;
        let upgraded = answer.await.unwrap_or_else(|_gone| Err(busy()));
        let Upgraded { pid, version } = upgraded.map_err(Unanswered::Upgrade)?;
        Ok(shown(wire::Upgraded { pid, version }))
    }
}
