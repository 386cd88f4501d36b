//! Share codes: made, looked at, accepted, revoked.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tracing::{info, warn};

use super::code::{BYTES, Code, CodeId, hash};
use super::terms::{Access, Terms, With};
use super::{NewShare, Placed, Share, ShareError, Shares, kept};
use crate::clock::{Timestamp, utc};
use crate::seal;
use crate::secret::Secret;
use crate::spawner::WorkspaceId;
use crate::store::{ShareCodeRow, StoreError};
use crate::user::{User, UserName};

/// What a code is to share.
#[derive(Debug, Clone)]
pub struct NewCode {
    /// Which workspace.
    pub of: WorkspaceId,
    /// How much.
    pub access: Access,
    /// Until when it can be accepted; without it, for a day.
    pub expires: Option<Timestamp>,
    /// When the shares end that it makes; without it, as late as can be.
    pub share_expires: Option<Timestamp>,
    /// Who says so.
    pub by: UserName,
}

impl Shares {
    /// The longest that a code may live, in seconds.
    pub fn code_lifetime_max(&self) -> u64 {
        self.lifetime_max().map_or(LONGEST, |max| max.min(LONGEST))
    }

    /// A new code, with its text, which is nowhere else. It is in the store before this returns.
    pub async fn make_code(&self, new: NewCode) -> Result<(Secret, Arc<Code>), ShareError> {
        let now = self.0.clock.now();
        let max = self.code_lifetime_max();
        let expires = new.expires.unwrap_or(now + max.min(USUAL));
        let too_late = |end: Timestamp, max: u64| end <= now || end > now.saturating_add(max);
        let share_too_late = |end| too_late(end, self.lifetime_max().unwrap_or(u64::MAX));
        if too_late(expires, max) || new.share_expires.is_some_and(share_too_late) {
            return Err(ShareError::Lifetime { max });
        }
        let secret = Secret::new(seal::random_text::<BYTES>());
        let code = Arc::new(Code {
            id: CodeId(seal::random()),
            hash: seal::sha256(secret.expose().as_bytes()),
            of: new.of,
            access: new.access,
            by: new.by,
            created: now,
            // Whoever accepted it later would have nothing.
            expires: new.share_expires.map_or(expires, |end| end.min(expires)),
            share_expires: new.share_expires,
            refused: Mutex::default(),
            accepted: 0.into(),
            last_accepted: 0.into(),
            ended: false.into(),
        });
        let owner = &code.of.user;
        self.keep_code(&code);
        // Counted once it is there: of two that come at once, at most one is too many.
        if self.codes_of(owner).len() > Self::CODES_PER_OWNER {
            self.drop_code(&code);
            return Err(ShareError::TooManyCodes { owner: owner.clone() });
        }
        self.0.unwritten.code(&code);
        if let Err(error) = self.write().await {
            self.finish_code(&code, "the store failed");
            return Err(error.into());
        }
        info!(event = "share_code_made", owner = %owner, server = code.of.server.as_str(), code = %code.id, access = %code.access, expires = utc(code.expires), by = %code.by, "a share code was made");
        Ok((secret, code))
    }

    /// The code of this text, while it is good. Whatever is wrong with it, the answer is the same.
    pub fn code(&self, text: &str) -> Option<Arc<Code>> {
        let code = Arc::clone(&*self.0.codes.get(&hash(text)?)?);
        let good = code.is_live(self.0.clock.now()) && !self.0.resting.contains(&code.of.user);
        good.then_some(code)
    }

    /// The codes of an owner, oldest first.
    pub fn codes_of(&self, owner: &UserName) -> Vec<Arc<Code>> {
        let theirs = self.0.codes_by_owner.get(owner).map(|theirs| theirs.clone()).unwrap_or_default();
        self.good_codes(theirs)
    }

    /// All codes, by owner: for administrators.
    pub fn codes(&self, matches: impl Fn(&Code) -> bool) -> Vec<Arc<Code>> {
        let found = self.0.codes.iter().filter(|code| matches(code)).map(|code| Arc::clone(&code));
        self.good_codes(found.collect())
    }

    fn good_codes(&self, mut codes: Vec<Arc<Code>>) -> Vec<Arc<Code>> {
        let now = self.0.clock.now();
        codes.retain(|code| code.is_live(now));
        codes.sort_by(|a, b| (&a.of.user, a.created, a.id.0).cmp(&(&b.of.user, b.created, b.id.0)));
        codes
    }

    fn keep_code(&self, code: &Arc<Code>) {
        self.0.codes.insert(code.hash, Arc::clone(code));
        self.0.codes_by_owner.entry(code.of.user.clone()).or_default().push(Arc::clone(code));
    }

    fn drop_code(&self, code: &Code) {
        self.0.codes.remove(&code.hash);
        self.0.codes_by_owner.remove_if_mut(&code.of.user, |_owner, theirs| {
            theirs.retain(|other| other.id != code.id);
            theirs.is_empty()
        });
    }

    /// What somebody gets who accepts a code now.
    pub fn offer(&self, code: &Code) -> Terms {
        let latest = self.lifetime_max().map(|max| self.0.clock.now().saturating_add(max));
        let expires = [latest, code.share_expires].into_iter().flatten().min();
        Terms { access: code.access, expires }
    }

    /// Lets somebody in by a code. What they have already is not made less.
    pub async fn accept(&self, code: &Arc<Code>, who: &User) -> Result<Arc<Share>, ShareError> {
        let owner = &code.of.user;
        if *owner == who.name {
            return Err(ShareError::Own { owner: owner.clone() });
        }
        self.check_code(code, &who.name)?;
        let placed = self.take(code, who)?;
        code.accepted.fetch_add(1, Ordering::Relaxed);
        code.last_accepted.fetch_max(self.0.clock.now(), Ordering::Relaxed);
        self.0.unwritten.code(code);
        let share = self.keep(placed).await?;
        let Terms { access, expires } = share.terms();
        info!(event = "share_accepted", owner = %owner, server = code.of.server.as_str(), with = %share.with, %access, expires = expires.map(utc), code = %code.id, "a share code was accepted");
        Ok(share)
    }

    /// Whether it is good, and for them.
    fn check_code(&self, code: &Code, who: &UserName) -> Result<(), ShareError> {
        if !code.is_live(self.0.clock.now()) || self.0.resting.contains(&code.of.user) {
            return Err(ShareError::Over);
        }
        if code.refuses(who) {
            return Err(ShareError::TakenBack { owner: code.of.user.clone() });
        }
        Ok(())
    }

    /// Puts what somebody gets by a code where it belongs. A code ends before what it has made, and refuses before: whoever
    /// ends or refuses it meanwhile has either not come to the shares yet, and finds this one, or is seen here.
    pub(super) fn take(&self, code: &Code, who: &User) -> Result<Placed, ShareError> {
        let offer = self.offer(code);
        let new = NewShare {
            of: code.of.clone(),
            with: With::User(who.name.clone()),
            access: offer.access,
            expires: offer.expires,
            by: code.by.clone(),
        };
        let best =
            |before: Option<Terms>| before.filter(|before| before.rank() > offer.rank()).unwrap_or(offer);
        let placed = self.place(new, best)?;
        if let Err(refused) = self.check_code(code, &who.name) {
            self.take_away(&placed, best(placed.before));
            return Err(refused);
        }
        Ok(placed)
    }

    /// What an owner takes back from somebody is not had again by a code that was there before.
    pub(super) fn refuse_by_codes(&self, of: &WorkspaceId, with: &With, terms: Option<Terms>) {
        let With::User(name) = with else { return };
        let more = |code: &Arc<Code>| terms.is_none_or(|terms| self.offer(code).rank() > terms.rank());
        let theirs = self.codes_of(&of.user).into_iter().filter(|code| code.of == *of);
        for code in theirs.filter(more) {
            if code.refuse(name) {
                self.0.unwritten.code(&code);
            } else {
                self.finish_code(&code, "it would have to refuse too many");
            }
        }
    }

    /// Ends a code, here at once and then in the store. The shares that it made stay.
    pub async fn end_code(&self, code: &Arc<Code>) -> Result<(), StoreError> {
        self.finish_code(code, "revoked");
        self.write().await
    }

    /// Ends all codes of a workspace. Answers how many there were.
    pub async fn end_codes_of(&self, of: &WorkspaceId) -> Result<usize, StoreError> {
        let ended = self.finish_codes_of(of, "revoked");
        self.write().await?;
        Ok(ended)
    }

    pub(super) fn finish_codes_of(&self, of: &WorkspaceId, why: &'static str) -> usize {
        let codes: Vec<_> = self.codes_of(&of.user).into_iter().filter(|code| code.of == *of).collect();
        for code in &codes {
            self.finish_code(code, why);
        }
        codes.len()
    }

    pub(super) fn end_codes_where(&self, ends: impl Fn(&Code) -> bool, why: &'static str) {
        let ending = self.0.codes.iter().filter(|code| ends(code));
        let ending: Vec<_> = ending.map(|code| Arc::clone(&code)).collect();
        for code in ending {
            self.finish_code(&code, why);
        }
    }

    pub(super) fn finish_code(&self, code: &Arc<Code>, why: &'static str) {
        if code.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        self.drop_code(code);
        self.0.unwritten.code(code);
        info!(event = "share_code_ended", owner = %code.of.user, server = code.of.server.as_str(), code = %code.id, why, "a share code ended");
    }

    pub(super) fn take_code_back(&self, row: &ShareCodeRow) {
        let Some(mut code) = kept::open_code(row, &self.0.sealer) else {
            warn!(event = "share_code_dropped", owner = %row.owner, "a share code was sealed elsewhere or changed");
            return self.0.unwritten.no_code(CodeId(row.id));
        };
        code.expires = code.expires.min(code.created.saturating_add(self.code_lifetime_max()));
        if !code.is_live(self.0.clock.now()) {
            return self.0.unwritten.no_code(code.id);
        }
        self.keep_code(&Arc::new(code));
    }
}

/// How long a code lives whose maker does not say, in seconds.
const USUAL: u64 = 86_400;

/// And the longest where nothing else says so: codes always end.
const LONGEST: u64 = 365 * 86_400;
