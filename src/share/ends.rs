//! How shares end: revoked, given back, over, or with their workspace.

use std::sync::Arc;

use tracing::info;

use super::terms::{Access, Terms, With};
use super::{Share, Shares};
use crate::spawner::WorkspaceId;
use crate::store::StoreError;
use crate::user::{Group, UserName};

impl Shares {
    /// Leaves whoever has full access the right to look.
    pub async fn narrow(&self, share: &Arc<Share>) -> Result<(), StoreError> {
        let terms = Terms { access: Access::Read, ..share.terms() };
        self.refuse_by_codes(&share.of, &share.with, Some(terms));
        if share.change(terms, self.0.clock.now()) {
            info!(event = "share_changed", owner = %share.of.user, server = share.of.server.as_str(), with = %share.with, access = %terms.access, "a workspace is shared for looking only");
            self.0.unwritten.share(share);
        }
        self.write().await
    }

    /// Takes back what was shared, here at once and then in the store: no code that is there already gives it again.
    pub async fn end(&self, share: &Arc<Share>) -> Result<(), StoreError> {
        self.revoke(share);
        self.write().await
    }

    /// Whoever it is shared with gives it back. A code may give it to them again.
    pub async fn leave(&self, share: &Arc<Share>) -> Result<(), StoreError> {
        self.finish(share, "given back");
        self.write().await
    }

    fn revoke(&self, share: &Arc<Share>) {
        self.refuse_by_codes(&share.of, &share.with, None);
        self.finish(share, "revoked");
    }

    /// Takes back all that is shared of a workspace. Answers how many had it.
    pub async fn end_of(&self, of: &WorkspaceId) -> Result<usize, StoreError> {
        let theirs: Vec<_> = self.of(&of.user).into_iter().filter(|share| share.of == *of).collect();
        for share in &theirs {
            self.revoke(share);
        }
        self.write().await?;
        Ok(theirs.len())
    }

    /// A provider tells of these groups: they hide those of the hub's own that have their names, and close what is open
    /// for them.
    pub fn told(&self, groups: &[Group]) {
        for group in groups.iter().filter(|group| self.0.groups.hide(&group.path)) {
            self.close(&With::Group(Group::own(&group.path)));
        }
    }

    /// Fewer are in a group than before: what is open for it closes, and whoever is in it still comes again.
    pub fn close(&self, with: &With) {
        for share in self.with_only(with) {
            share.close();
        }
    }

    /// Whoever it was shared with is no more: a later one of the same name has nothing of it.
    pub async fn end_with(&self, with: &With) -> Result<(), StoreError> {
        for share in self.with_only(with) {
            self.finish(&share, "whoever it was shared with is no more");
        }
        self.write().await
    }

    /// Ends all shares and codes of an owner. Answers how many there were.
    pub async fn end_all_of(&self, owner: &UserName) -> Result<usize, StoreError> {
        // Codes first: what one of them gives at this moment is there to be ended.
        let codes = self.codes_of(owner);
        for code in &codes {
            self.finish_code(code, "revoked");
        }
        let shares = self.of(owner);
        for share in &shares {
            self.finish(share, "revoked");
        }
        self.write().await?;
        Ok(shares.len() + codes.len())
    }

    /// A workspace is no more, and nobody may come to another of the same name by its shares and codes.
    pub async fn forget(&self, of: &WorkspaceId) -> Result<(), StoreError> {
        self.finish_codes_of(of, GONE);
        for share in self.of(&of.user).iter().filter(|share| share.of == *of) {
            self.finish(share, GONE);
        }
        self.write().await
    }

    /// The same of all workspaces that are not there. To be written down by the next [`Shares::sweep`].
    pub fn forget_gone(&self, is_there: impl Fn(&WorkspaceId) -> bool) {
        self.end_codes_where(|code| !is_there(&code.of), GONE);
        for share in self.all(|share| !is_there(&share.of)) {
            self.finish(&share, GONE);
        }
    }

    pub(super) fn finish(&self, share: &Arc<Share>, why: &'static str) {
        if !share.end() {
            return;
        }
        if let Some(mut theirs) = self.0.live.get_mut(&share.of.user) {
            *theirs = theirs.iter().filter(|other| other.id != share.id).cloned().collect();
        }
        self.0.live.remove_if(&share.of.user, |_owner, theirs| theirs.is_empty());
        self.0.by_with.remove_if_mut(&share.with, |_with, theirs| {
            theirs.retain(|other| other.id != share.id);
            theirs.is_empty()
        });
        self.0.unwritten.share(share);
        info!(event = "share_ended", owner = %share.of.user, server = share.of.server.as_str(), with = %share.with, access = %share.terms().access, why, "a workspace is shared no more");
    }

    /// An owner was judged again: whether they may enter. While not, nobody does by their word.
    pub fn judged(&self, owner: &UserName, may_enter: bool) {
        if may_enter && self.0.resting.remove(owner).is_none() {
            return;
        }
        if !may_enter && self.0.enabled {
            self.0.resting.insert(owner.clone());
        }
        let theirs = self.0.live.get(owner).map(|theirs| Arc::clone(&theirs)).unwrap_or_default();
        for share in theirs.iter() {
            // As it is by now: another may have judged them meanwhile.
            share.rest(self.0.resting.contains(owner));
        }
    }

    /// To be called every second or so: ends what is over, and closes what is open for it.
    pub fn expire(&self) {
        let now = self.0.clock.now();
        let over = |share: &&Arc<Share>| share.terms().over(now);
        let lists: Vec<_> = self.0.live.iter().map(|theirs| Arc::clone(&theirs)).collect();
        for share in lists.iter().flat_map(|theirs| theirs.iter()).filter(over) {
            self.finish(share, "over");
        }
        self.end_codes_where(|code| code.expires <= now, "over");
    }
}

const GONE: &str = "the workspace is no more";
