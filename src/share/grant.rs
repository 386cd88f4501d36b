//! One share, and what is open for it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::terms::{Access, Terms, With};
use crate::clock::Timestamp;
use crate::forward::Lifeline;
use crate::spawner::WorkspaceId;
use crate::user::UserName;

/// What a share is called in forms and in the store: it opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShareId(pub(super) [u8; 8]);

/// A workspace is shared with somebody. With whom never changes; how much, and until when, does.
#[derive(Debug)]
pub struct Share {
    /// Which.
    pub id: ShareId,
    /// What is shared.
    pub of: WorkspaceId,
    /// With whom.
    pub with: With,
    /// Who made it.
    pub by: UserName,
    /// When.
    pub created: Timestamp,
    standing: Mutex<Standing>,
}

#[derive(Debug)]
struct Standing {
    terms: Terms,
    /// When these terms were set.
    since: Timestamp,
    ended: bool,
    /// The owner may not enter, and neither may whoever they let in.
    rests: bool,
    /// What is open for it. Whoever holds something open holds its lifeline.
    lines: Vec<Weak<Lifeline>>,
}

/// What [`Share::new`] takes.
pub(super) struct Fresh {
    pub(super) id: ShareId,
    pub(super) of: WorkspaceId,
    pub(super) with: With,
    pub(super) by: UserName,
    pub(super) created: Timestamp,
    pub(super) terms: Terms,
    pub(super) since: Timestamp,
    pub(super) rests: bool,
}

/// The right to somebody else's workspace at this moment.
#[derive(Debug, Clone)]
pub struct Granted {
    share: Arc<Share>,
    terms: Terms,
}

impl Share {
    pub(super) fn new(fresh: Fresh) -> Self {
        let Fresh { id, of, with, by, created, terms, since, rests } = fresh;
        let standing = Standing { terms, since, ended: false, rests, lines: Vec::new() };
        Self { id, of, with, by, created, standing: Mutex::new(standing) }
    }

    /// How much is shared now, and until when.
    pub fn terms(&self) -> Terms {
        self.standing().terms
    }

    /// When its terms were set.
    pub(super) fn since(&self) -> Timestamp {
        self.standing().since
    }

    /// Whether it has ended.
    pub fn is_ended(&self) -> bool {
        self.standing().ended
    }

    /// What it gives now, if it is not over.
    pub(super) fn granted(self: &Arc<Self>, now: Timestamp) -> Option<Granted> {
        let standing = self.standing();
        let good = !standing.ended && !standing.rests && !standing.terms.over(now);
        good.then(|| Granted { share: Arc::clone(self), terms: standing.terms })
    }

    /// Sets other terms. What is open closes if they are narrower. `false`: it has ended.
    pub(super) fn change(&self, terms: Terms, now: Timestamp) -> bool {
        let mut standing = self.standing();
        if standing.ended {
            return false;
        }
        let narrower = terms.access < standing.terms.access;
        standing.terms = terms;
        standing.since = now;
        if narrower {
            cut(standing);
        }
        true
    }

    /// Ends it, and with it what is open. `false`: it has ended before.
    pub(super) fn end(&self) -> bool {
        let mut standing = self.standing();
        let first = !standing.ended;
        standing.ended = true;
        cut(standing);
        first
    }

    /// Closes what is open for it, and lets in again whoever may come.
    pub(super) fn close(&self) {
        cut(self.standing());
    }

    /// Lets nobody in while its owner may not enter.
    pub(super) fn rest(&self, rests: bool) {
        let mut standing = self.standing();
        standing.rests = rests;
        if rests {
            cut(standing);
        }
    }

    /// What is open for it.
    pub(super) fn open(&self) -> Vec<Arc<Lifeline>> {
        let lines: Vec<_> = self.standing().lines.iter().filter_map(Weak::upgrade).collect();
        lines.into_iter().filter(|line| line.open() > 0).collect()
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what is open, once nobody else waits for the lock.
fn cut(mut standing: MutexGuard<'_, Standing>) {
    let lines = std::mem::take(&mut standing.lines);
    drop(standing);
    for line in lines.iter().filter_map(Weak::upgrade) {
        line.cut();
    }
}

impl Granted {
    /// How much is shared.
    pub fn access(&self) -> Access {
        self.terms.access
    }

    /// Until when.
    pub fn expires(&self) -> Option<Timestamp> {
        self.terms.expires
    }

    pub(super) fn rank(&self) -> (Access, Timestamp) {
        self.terms.rank()
    }

    /// What is open on the word of this hangs on the answer: it ends with the share, with as much access as this, and
    /// with what the visitor has themselves. `None`: it has just ended.
    pub fn lifeline(&self, within: &Arc<Lifeline>) -> Option<Arc<Lifeline>> {
        let mut standing = self.share.standing();
        if standing.ended || standing.rests || standing.terms.access < self.terms.access {
            return None;
        }
        let mut known = None;
        standing.lines.retain(|line| {
            let Some(line) = line.upgrade() else { return false };
            let good = !line.ended().is_cancelled();
            if good && line.is_within(within) {
                known = Some(line);
            }
            good
        });
        if known.is_none() {
            let line = Lifeline::within(within);
            standing.lines.push(Arc::downgrade(&line));
            known = Some(line);
        }
        known
    }
}

impl ShareId {
    /// Reads `s` and 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('s')?;
        let plain = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = u64::from_str_radix(digits, 16).ok().filter(|_| plain)?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{:016x}", u64::from_be_bytes(self.0))
    }
}
