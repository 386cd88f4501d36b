//! Spawned work: counted, so that shutdown can wait for it.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The only way to spawn. Tasks run on the runtime of whoever spawns them.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// What changes what others are told of, or the store.
    writers: TaskTracker,
    turn: Arc<Mutex<Turn>>,
}

/// The time in which this process serves. It may give its turn to another process, and take another if that one cannot.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Cancelled when nothing new is to be begun: by shutdown, too.
    pub resting: CancellationToken,
    /// Cancelled when another process has the store and the runtime: nothing is to be done there any more.
    pub given: CancellationToken,
}

impl Default for Tasks {
    fn default() -> Self {
        let stop = CancellationToken::new();
        let turn = Arc::new(Mutex::new(Turn::new(&stop)));
        Self { tracker: TaskTracker::new(), stop, writers: TaskTracker::new(), turn }
    }
}

impl Turn {
    fn new(stop: &CancellationToken) -> Self {
        Self { resting: stop.child_token(), given: CancellationToken::new() }
    }
}

impl Tasks {
    /// Runs `work` to its end, or until the process goes.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.tracker.track_future(work))
    }

    /// Resolves when shutdown has begun: listeners stop accepting, idle connections close.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Begins shutdown.
    pub fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
    }

    /// Waits until every task has ended. Call [`Tasks::stop`] first.
    pub async fn ended(&self) {
        self.tracker.wait().await;
    }

    /// The present turn.
    pub fn turn(&self) -> Turn {
        self.lock().clone()
    }

    /// Takes a new turn, after one that another process could not take.
    pub fn resume(&self) {
        *self.lock() = Turn::new(&self.stop);
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held by whoever writes to the store, or changes what a runtime has.
    pub fn writing(&self) -> TaskTrackerToken {
        self.writers.token()
    }

    /// Waits until nobody writes.
    pub async fn written(&self) {
        self.writers.close();
        self.writers.wait().await;
        self.writers.reopen();
    }

    /// How many tasks run.
    pub fn running(&self) -> usize {
        self.tracker.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_turn_ends_with_the_process_and_another_may_follow_it() {
        let tasks = Tasks::default();
        let first = tasks.turn();
        first.resting.cancel();
        first.given.cancel();
        tasks.resume();
        let second = tasks.turn();
        assert!(!second.resting.is_cancelled() && !second.given.is_cancelled());
        tasks.stop();
        assert!(second.resting.is_cancelled() && !second.given.is_cancelled());
    }

    #[tokio::test]
    async fn whoever_writes_is_waited_for() {
        let tasks = Tasks::default();
        let writing = tasks.writing();
        assert!(tokio::time::timeout(Duration::from_millis(1), tasks.written()).await.is_err());
        drop(writing);
        tasks.written().await;
        let again = tasks.writing();
        assert!(tokio::time::timeout(Duration::from_millis(1), tasks.written()).await.is_err());
        drop(again);
    }
}
