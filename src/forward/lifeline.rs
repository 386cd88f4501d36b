//! What holds long answers open: the right to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

/// A right that websockets and other long answers hang on: they end with it, and it knows how many there are.
#[derive(Debug)]
pub struct Lifeline {
    ended: CancellationToken,
    open: AtomicUsize,
    within: Option<Arc<Self>>,
}

/// One thing that is open, counted until it is dropped.
#[derive(Debug)]
pub struct Hold(Arc<Lifeline>);

impl Lifeline {
    /// Ends when `ended` is cancelled.
    pub fn new(ended: CancellationToken) -> Arc<Self> {
        Arc::new(Self { ended, open: AtomicUsize::new(0), within: None })
    }

    /// A narrower right: it ends with its `parent` or before, and what is open on it is open on its parent, too.
    pub fn within(parent: &Arc<Self>) -> Arc<Self> {
        let ended = parent.ended.child_token();
        Arc::new(Self { ended, open: AtomicUsize::new(0), within: Some(Arc::clone(parent)) })
    }

    /// Whether it was made within this one.
    pub fn is_within(&self, parent: &Arc<Self>) -> bool {
        self.within.as_ref().is_some_and(|within| Arc::ptr_eq(within, parent))
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
        self.with_parents().for_each(|line| {
            line.open.fetch_add(1, Ordering::Relaxed);
        });
        Hold(Arc::clone(self))
    }

    fn with_parents(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |line| line.within.as_deref())
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
        self.0.with_parents().for_each(|line| {
            line.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrower_right_counts_on_its_parent_and_ends_before_it_or_with_it() {
        let parent = Lifeline::new(CancellationToken::new());
        let (one, other) = (Lifeline::within(&parent), Lifeline::within(&parent));
        assert!(one.is_within(&parent) && !parent.is_within(&parent) && !one.is_within(&other));
        let (hold, of_parent) = (one.hold(), parent.hold());
        assert_eq!((one.open(), other.open(), parent.open()), (1, 0, 2));
        one.cut();
        assert!(hold.is_cut() && !of_parent.is_cut() && !other.ended().is_cancelled());
        drop(hold);
        assert_eq!((one.open(), parent.open()), (0, 1));
        parent.cut();
        assert!(other.ended().is_cancelled() && of_parent.is_cut());
    }
}
