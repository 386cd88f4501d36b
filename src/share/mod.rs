//! Workspaces that their owners share: who may come to whose, found in memory on every request, written through to the
//! store.
//!
//! A share is never worth more than its owner: while they may not enter, nobody does by their word. It ends when it is
//! over, revoked, or the workspace is no more, and takes along what is open for it.

mod code;
mod codes;
mod ends;
mod grant;
mod kept;
mod terms;
#[cfg(test)]
mod tests;
mod unwritten;

use std::fmt;
use std::sync::Arc;

use dashmap::{DashMap, DashSet};
use thiserror::Error;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::clock::{Clock, Timestamp, utc};
use crate::config;
use crate::forward::Lifeline;
use crate::groups::Groups;
use crate::seal::{self, Sealer};
use crate::server_name::ServerName;
use crate::spawner::WorkspaceId;
use crate::store::{Store, StoreError};
use crate::user::{Group, User, UserName};

use code::CodeHash;
use grant::Fresh;
use unwritten::Unwritten;

pub use code::{Code, CodeId};
pub use codes::NewCode;
pub use grant::{Granted, Share, ShareId};
pub use terms::{Access, Terms, With};

/// All shares and share codes; a clone is another handle.
#[derive(Clone)]
pub struct Shares(Arc<Inner>);

struct Inner {
    enabled: bool,
    /// `sharing.lifetime_max`, in seconds.
    lifetime_max: Option<u64>,
    /// By owner. Whoever looks takes the list as it is: it is replaced, never changed.
    live: DashMap<UserName, Arc<[Arc<Share>]>>,
    /// The same by whom they are with, so that nobody looks through everybody's.
    by_with: DashMap<With, Vec<Arc<Share>>>,
    codes: DashMap<CodeHash, Arc<Code>>,
    codes_by_owner: DashMap<UserName, Vec<Arc<Code>>>,
    /// Owners who may not enter.
    resting: DashSet<UserName>,
    unwritten: Unwritten,
    /// One writer at a time: what is older must not come after what is newer.
    turn: Semaphore,
    /// The hub's own.
    groups: Groups,
    store: Store,
    sealer: Arc<Sealer>,
    clock: Clock,
}

/// What is to be shared.
#[derive(Debug, Clone)]
pub struct NewShare {
    /// Which workspace.
    pub of: WorkspaceId,
    /// With whom.
    pub with: With,
    /// How much.
    pub access: Access,
    /// Until when; without it, as long as can be.
    pub expires: Option<Timestamp>,
    /// Who says so.
    pub by: UserName,
}

/// Something could not be shared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ShareError {
    /// It is theirs.
    #[error("{owner} has it already: it is theirs")]
    Own {
        /// Who.
        owner: UserName,
    },
    /// More than [`Shares::PER_OWNER`].
    #[error("{owner} has {} shares already", Shares::PER_OWNER)]
    TooMany {
        /// Who.
        owner: UserName,
    },
    /// More than [`Shares::CODES_PER_OWNER`].
    #[error("{owner} has {} share codes already", Shares::CODES_PER_OWNER)]
    TooManyCodes {
        /// Who.
        owner: UserName,
    },
    /// It would be for no time, or too long.
    #[error("it lasts from now on, and at most {max}s")]
    Lifetime {
        /// In seconds.
        max: u64,
    },
    /// The code is not good any more.
    #[error("the share code is over")]
    Over,
    /// The code lets them in no more.
    #[error("{owner} has taken back what the share code gave")]
    TakenBack {
        /// Whose workspace it is.
        owner: UserName,
    },
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// A share where it belongs, which the store does not know yet.
struct Placed {
    share: Arc<Share>,
    /// What it gave before; `None`: it is new.
    before: Option<Terms>,
}

impl Shares {
    /// The most shares that one owner can have.
    pub const PER_OWNER: usize = 100;

    /// And codes.
    pub const CODES_PER_OWNER: usize = 20;

    /// None yet: see [`Shares::restore`].
    pub fn new(
        config: &config::Sharing,
        groups: Groups,
        store: Store,
        sealer: Arc<Sealer>,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(Inner {
            enabled: config.enabled,
            lifetime_max: config.lifetime_max.value().map(|max| max.0.as_secs()),
            live: DashMap::new(),
            by_with: DashMap::new(),
            codes: DashMap::new(),
            codes_by_owner: DashMap::new(),
            resting: DashSet::new(),
            unwritten: Unwritten::default(),
            turn: Semaphore::new(1),
            groups,
            store,
            sealer,
            clock,
        }))
    }

    /// Whether anything is shared at all. Where not, what the store has stays there, and counts for nothing.
    pub fn enabled(&self) -> bool {
        self.0.enabled
    }

    /// The longest that a share may last, in seconds.
    pub fn lifetime_max(&self) -> Option<u64> {
        self.0.lifetime_max
    }

    /// Takes back what the store has. `judge` says whether an owner may enter. Answers how many shares there are.
    pub async fn restore(
        &self,
        judge: impl AsyncFn(&UserName) -> Result<bool, StoreError>,
    ) -> Result<usize, StoreError> {
        if !self.0.enabled {
            return Ok(0);
        }
        let (shares, codes) = (self.0.store.shares().await?, self.0.store.share_codes().await?);
        let mut owners: Vec<_> = shares.iter().map(|row| &row.owner).collect();
        owners.extend(codes.iter().map(|row| &row.owner));
        owners.sort_unstable();
        owners.dedup();
        for owner in owners {
            if !judge(owner).await? {
                self.0.resting.insert(owner.clone());
            }
        }
        for row in &shares {
            let Some(fresh) = kept::open_share(row, &self.0.sealer) else {
                warn!(event = "share_dropped", owner = %row.owner, "a share was sealed elsewhere or changed");
                self.0.unwritten.no_share(ShareId(row.id));
                continue;
            };
            self.take_back(fresh);
        }
        for row in &codes {
            self.take_code_back(row);
        }
        self.write().await?;
        Ok(self.0.live.iter().map(|shares| shares.len()).sum())
    }

    /// The longest share may have become shorter since.
    fn take_back(&self, mut fresh: Fresh) {
        if let Some(max) = self.0.lifetime_max {
            let latest = fresh.since.saturating_add(max);
            fresh.terms.expires = Some(fresh.terms.expires.map_or(latest, |expires| expires.min(latest)));
        }
        if fresh.terms.over(self.0.clock.now()) {
            return self.0.unwritten.no_share(fresh.id);
        }
        fresh.rests = self.0.resting.contains(&fresh.of.user);
        self.insert(&Arc::new(Share::new(fresh)));
    }

    fn insert(&self, share: &Arc<Share>) {
        let mut theirs = self.0.live.entry(share.of.user.clone()).or_default();
        self.add(&mut theirs, share);
    }

    /// Adds a share to its owner's, which are held: whoever ends it looks for it there first.
    fn add(&self, theirs: &mut Arc<[Arc<Share>]>, share: &Arc<Share>) {
        *theirs = theirs.iter().chain([share]).cloned().collect();
        self.0.by_with.entry(share.with.clone()).or_default().push(Arc::clone(share));
    }

    /// The best of what a user and their groups have of a workspace that is another's.
    pub fn find(&self, of: &WorkspaceId, who: &User) -> Option<Granted> {
        if !self.0.enabled {
            return None;
        }
        let theirs = Arc::clone(&*self.0.live.get(&of.user)?);
        let now = self.0.clock.now();
        let covering =
            theirs.iter().filter(|share| share.of == *of && share.with.covers(who, &self.0.groups));
        covering.filter_map(|share| share.granted(now)).max_by_key(Granted::rank)
    }

    /// Shares a workspace, or sets other terms for whom it is shared with. It is in the store before this returns.
    pub async fn make(&self, new: NewShare) -> Result<Arc<Share>, ShareError> {
        if new.with == With::User(new.of.user.clone()) {
            return Err(ShareError::Own { owner: new.of.user });
        }
        let terms = Terms { access: new.access, expires: self.until(new.expires)? };
        let placed = self.place(new, |_before| terms)?;
        if placed.before.is_some_and(|before| before.rank() > terms.rank()) {
            self.refuse_by_codes(&placed.share.of, &placed.share.with, Some(terms));
            // Once more, for what a code has given between the two.
            placed.share.change(terms, self.0.clock.now());
        }
        self.keep(placed).await
    }

    /// When a share would end that is to end then; without a wish, as late as can be.
    fn until(&self, wanted: Option<Timestamp>) -> Result<Option<Timestamp>, ShareError> {
        let now = self.0.clock.now();
        let latest = self.0.lifetime_max.map(|max| now.saturating_add(max));
        let Some(wanted) = wanted else { return Ok(latest) };
        if wanted <= now || latest.is_some_and(|latest| latest < wanted) {
            return Err(ShareError::Lifetime { max: self.0.lifetime_max.unwrap_or(u64::MAX) });
        }
        Ok(Some(wanted))
    }

    /// Writes down what was placed.
    async fn keep(&self, Placed { share, before }: Placed) -> Result<Arc<Share>, ShareError> {
        self.0.unwritten.share(&share);
        if let Err(error) = self.write().await {
            if before.is_none() {
                self.finish(&share, "the store failed");
            }
            return Err(error.into());
        }
        let Terms { access, expires } = share.terms();
        if before != Some(share.terms()) {
            let event = if before.is_none() { "share_made" } else { "share_changed" };
            info!(event, owner = %share.of.user, server = share.of.server.as_str(), with = %share.with, %access, expires = expires.map(utc), by = %share.by, "a workspace is shared");
        }
        Ok(share)
    }

    /// The share of these two, with the terms that `decide` makes of those before.
    fn place(&self, new: NewShare, decide: impl Fn(Option<Terms>) -> Terms) -> Result<Placed, ShareError> {
        let now = self.0.clock.now();
        let owner = new.of.user.clone();
        // Held to the end of this: nobody else adds to the list meanwhile.
        let mut theirs = self.0.live.entry(owner.clone()).or_default();
        // What is over is about to go.
        let live = || theirs.iter().filter(|share| !share.is_ended() && !share.terms().over(now));
        if let Some(known) = live().find(|share| share.of == new.of && share.with == new.with) {
            let before = known.terms();
            if known.change(decide(Some(before)), now) {
                return Ok(Placed { share: Arc::clone(known), before: Some(before) });
            }
        }
        if live().count() >= Self::PER_OWNER {
            return Err(ShareError::TooMany { owner });
        }
        let share = Arc::new(Share::new(Fresh {
            id: ShareId(seal::random()),
            of: new.of,
            with: new.with,
            by: new.by,
            created: now,
            terms: decide(None),
            since: now,
            rests: self.0.resting.contains(&owner),
        }));
        self.add(&mut theirs, &share);
        Ok(Placed { share, before: None })
    }

    /// Undoes it, if nobody has set other terms meanwhile.
    fn take_away(&self, Placed { share, before }: &Placed, given: Terms) {
        match before {
            None => self.finish(share, "what gave it has ended"),
            Some(before) if share.terms() == given => {
                share.change(*before, self.0.clock.now());
                self.0.unwritten.share(share);
            }
            Some(_) => {}
        }
    }

    /// What an owner shares, oldest first.
    pub fn of(&self, owner: &UserName) -> Vec<Arc<Share>> {
        let theirs = self.0.live.get(owner).map(|theirs| Arc::clone(&theirs));
        self.good(theirs.iter().flat_map(|theirs| theirs.iter()))
    }

    /// What others share with somebody, or with a group of theirs.
    pub fn with(&self, who: &User) -> Vec<Arc<Share>> {
        let provided = who.groups.iter().cloned();
        let own = self.0.groups.of(&who.name).into_iter().map(|name| Group::own(name.as_str()));
        let mut all: Vec<_> = std::iter::once(With::User(who.name.clone()))
            .chain(provided.chain(own).map(With::Group))
            .flat_map(|with| self.with_only(&with))
            .filter(|share| share.with.covers(who, &self.0.groups) && share.of.user != who.name)
            .collect();
        by_owner(&mut all);
        all
    }

    /// The servers of it.
    pub fn servers_with(&self, who: &User) -> Vec<(UserName, ServerName)> {
        let server = |share: &Arc<Share>| (share.of.user.clone(), share.of.server.clone());
        self.with(who).iter().map(server).collect()
    }

    /// What is shared with one person by name, or with one group.
    pub fn with_only(&self, with: &With) -> Vec<Arc<Share>> {
        let theirs = self.0.by_with.get(with).map(|theirs| theirs.clone()).unwrap_or_default();
        self.good(theirs.iter())
    }

    /// What is shared with whomever `matches` says: for administrators.
    pub fn all(&self, matches: impl Fn(&&Arc<Share>) -> bool) -> Vec<Arc<Share>> {
        let lists: Vec<_> = self.0.live.iter().map(|theirs| Arc::clone(&theirs)).collect();
        self.good(lists.iter().flat_map(|theirs| theirs.iter()).filter(matches))
    }

    /// What is open for visitors, and where.
    pub fn open(&self) -> Vec<(WorkspaceId, Arc<Lifeline>)> {
        let lists: Vec<_> = self.0.live.iter().map(|theirs| Arc::clone(&theirs)).collect();
        let shares = lists.iter().flat_map(|theirs| theirs.iter());
        shares.flat_map(|share| share.open().into_iter().map(|line| (share.of.clone(), line))).collect()
    }

    fn good<'s>(&self, shares: impl Iterator<Item = &'s Arc<Share>>) -> Vec<Arc<Share>> {
        let now = self.0.clock.now();
        let good = shares.filter(|share| !share.is_ended() && !share.terms().over(now));
        let mut good: Vec<_> = good.cloned().collect();
        by_owner(&mut good);
        good
    }

    /// To be called on a timer: ends what is over, and writes down what is not written down yet.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        self.expire();
        self.write().await
    }

    async fn write(&self) -> Result<(), StoreError> {
        // Never closed; without a turn, two writers would only do the same work.
        let _turn = self.0.turn.acquire().await;
        let batch = self.0.unwritten.take();
        if batch.is_empty() {
            return Ok(());
        }
        self.0.store.write_shares(&batch.rows(&self.0.sealer)).await?;
        batch.written();
        Ok(())
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shares({})", self.0.live.len())
    }
}

/// Stable: of one second, as they came.
fn by_owner(shares: &mut [Arc<Share>]) {
    shares.sort_by(|a, b| (&a.of.user, a.created).cmp(&(&b.of.user, b.created)));
}
