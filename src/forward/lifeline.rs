//! What holds long answers open: the right to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

/// A right that websockets and other long answers hang on: they end with it, and it knows how many there are.
#[derive(Debug)]
pub struct Lifeline {
    ended: CancellationToken,
    open: AtomicUsize,
}

/// One thing that is open, counted until it is dropped.
#[derive(Debug)]
pub struct Hold(Arc<Lifeline>);

impl Lifeline {
    /// Ends when `ended` is cancelled.
    pub fn new(ended: CancellationToken) -> Arc<Self> {
        Arc::new(Self { ended, open: AtomicUsize::new(0) })
    }

    /// How many things are open on it.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Ends it, and with it all that is open.
    pub fn cut(&self) {
        self.ended.cancel();
    }

    /// Cancelled at the end.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// One more thing that is open on it.
    pub fn hold(self: &Arc<Self>) -> Hold {
        self.open.fetch_add(1, Ordering::Relaxed);
        Hold(Arc::clone(self))
    }
}

impl Hold {
    /// Whether the right has ended.
    pub(super) fn is_cut(&self) -> bool {
        self.0.ended.is_cancelled()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
