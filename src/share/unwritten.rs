//! What is new here, and perhaps not yet in the store: what failed is tried again by the next write.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use super::code::{Code, CodeId};
use super::grant::{Share, ShareId};
use super::kept;
use crate::seal::Sealer;
use crate::store::ShareNews;

/// By what the rows are called; nothing is a row that nobody has here.
#[derive(Debug, Default)]
pub(super) struct Unwritten(Mutex<News>);

#[derive(Debug, Default)]
struct News {
    shares: HashMap<ShareId, Option<Arc<Share>>>,
    codes: HashMap<CodeId, Option<Arc<Code>>>,
}

/// What is being written. Whoever stops waiting for that, or fails, puts it back.
pub(super) struct Batch<'a> {
    from: &'a Unwritten,
    news: News,
}

impl Unwritten {
    pub(super) fn share(&self, share: &Arc<Share>) {
        self.with(|news| news.shares.insert(share.id, Some(Arc::clone(share))));
    }

    pub(super) fn code(&self, code: &Arc<Code>) {
        self.with(|news| news.codes.insert(code.id, Some(Arc::clone(code))));
    }

    /// The row of a share that cannot be used.
    pub(super) fn no_share(&self, id: ShareId) {
        self.with(|news| news.shares.insert(id, None));
    }

    /// The row of a code that cannot be used.
    pub(super) fn no_code(&self, id: CodeId) {
        self.with(|news| news.codes.insert(id, None));
    }

    pub(super) fn take(&self) -> Batch<'_> {
        Batch { from: self, news: self.with(std::mem::take) }
    }

    fn with<T>(&self, change: impl FnOnce(&mut News) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Batch<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.news.shares.is_empty() && self.news.codes.is_empty()
    }

    /// How all of it stands now.
    pub(super) fn rows(&self, sealer: &Sealer) -> ShareNews {
        let mut rows = ShareNews::default();
        for (id, share) in &self.news.shares {
            match share.as_ref().filter(|share| !share.is_ended()) {
                Some(share) => rows.shares.push(kept::share_row(share, sealer)),
                None => rows.ended_shares.push(id.0),
            }
        }
        for (id, code) in &self.news.codes {
            match code.as_ref().filter(|code| !code.is_ended()) {
                Some(code) => rows.codes.push(kept::code_row(code, sealer)),
                None => rows.ended_codes.push(id.0),
            }
        }
        rows
    }

    /// It is in the store.
    pub(super) fn written(mut self) {
        self.news = News::default();
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let News { shares, codes } = std::mem::take(&mut self.news);
        self.from.with(|news| {
            put_back(&mut news.shares, shares);
            put_back(&mut news.codes, codes);
        });
    }
}

/// What has come meanwhile is newer.
fn put_back<K: Eq + Hash, V>(into: &mut HashMap<K, V>, from: HashMap<K, V>) {
    for (key, value) in from {
        into.entry(key).or_insert(value);
    }
}
