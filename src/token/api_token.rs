//! One API token, and what it may do now.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::{Note, Reach, Scope, Scopes, Target};
use crate::clock::Timestamp;
use crate::forward::Lifeline;
use crate::user::{User, UserName};

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// What a token is called in lists and addresses: it opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId(pub(super) [u8; 8]);

/// One API token.
#[derive(Debug)]
pub struct ApiToken {
    /// Which.
    pub id: TokenId,
    /// What it is found by.
    pub hash: TokenHash,
    /// Whose.
    pub owner: Arc<Owner>,
    /// What its owner wrote about it.
    pub note: Note,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by itself.
    pub expires: Timestamp,
    /// Cancelled when it ends, or rests: whoever holds something open for it lets go.
    pub ended: CancellationToken,
    scopes: Scopes,
    lifeline: ArcSwap<Lifeline>,
    /// 0: never.
    pub(super) last_used: AtomicU64,
    /// The `last_used` that the store knows.
    pub(super) written: AtomicU64,
}

/// What [`ApiToken::new`] takes.
pub(super) struct Fresh {
    pub(super) id: TokenId,
    pub(super) hash: TokenHash,
    pub(super) owner: Arc<Owner>,
    pub(super) scopes: Scopes,
    pub(super) note: Note,
    pub(super) created: Timestamp,
    pub(super) expires: Timestamp,
    pub(super) last_used: Option<Timestamp>,
}

/// Somebody who has tokens.
#[derive(Debug)]
pub struct Owner {
    /// Their name.
    pub name: UserName,
    right: ArcSwap<Right>,
}

/// The right of somebody to be here.
#[derive(Debug, Clone)]
pub struct Right {
    /// Who vouches for them: the provider's name in the configuration.
    pub provider: Arc<str>,
    /// Who they are, and what the rules grant them.
    pub user: User,
}

/// What a token is made for.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What it may do.
    pub scopes: Scopes,
    /// What its owner writes about it.
    pub note: Note,
    /// When it ends by itself; without it, after the configured time.
    pub expires: Option<Timestamp>,
}

impl ApiToken {
    pub(super) fn new(fresh: Fresh) -> Self {
        let ended = CancellationToken::new();
        let last_used = fresh.last_used.unwrap_or_default();
        Self {
            id: fresh.id,
            hash: fresh.hash,
            owner: fresh.owner,
            note: fresh.note,
            created: fresh.created,
            expires: fresh.expires,
            lifeline: ArcSwap::new(Lifeline::new(ended.child_token())),
            ended,
            scopes: fresh.scopes,
            last_used: AtomicU64::new(last_used),
            written: AtomicU64::new(last_used),
        }
    }

    /// What it may do now: nothing that its owner may not.
    pub fn scopes(&self) -> Scopes {
        let held = Scopes::of(&self.owner.right.load().user).with_visits(self.scopes.visits());
        self.scopes.and(&held, &self.owner.name)
    }

    /// Whether it may do one of these now.
    pub fn reach(&self, scopes: &[Scope], target: &Target<'_>) -> Reach {
        self.scopes.reach(scopes, target, &self.owner.right.load())
    }

    /// What it was made for, whatever its owner may do now.
    pub fn made_for(&self) -> &Scopes {
        &self.scopes
    }

    /// What is open for it hangs on this.
    pub fn lifeline(&self) -> Arc<Lifeline> {
        self.lifeline.load_full()
    }

    /// Closes what is open without ending the token.
    pub(super) fn interrupt(&self) {
        self.lifeline.swap(Lifeline::new(self.ended.child_token())).cut();
    }

    /// When it was last used.
    pub fn last_used(&self) -> Option<Timestamp> {
        let when = self.last_used.load(Ordering::Relaxed);
        (when > 0).then_some(when)
    }

    /// Seconds of use that the store does not know of.
    pub(super) fn unwritten(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed).saturating_sub(self.written.load(Ordering::Relaxed))
    }
}

impl Right {
    /// Whether whoever has it may do one of these by themselves, with no token that says less.
    pub fn reach(&self, scopes: &[Scope], target: &Target<'_>) -> Reach {
        let may = scopes.iter().any(|scope| super::scopes::may(*scope, target, &self.user));
        if may { Reach::Reaches } else { Reach::Lacks }
    }
}

impl Owner {
    pub(super) fn new(right: Right) -> Self {
        Self { name: right.user.name.clone(), right: ArcSwap::from_pointee(right) }
    }

    /// What they may do now.
    pub fn right(&self) -> Arc<Right> {
        self.right.load_full()
    }

    /// Puts a new right in place of the old; answers whether it is less.
    pub(super) fn judged(&self, right: Right) -> bool {
        let old = self.right.swap(Arc::new(right));
        self.right.load().user.has_less_than(&old.user)
    }
}

impl TokenId {
    /// Reads `a` and 16 hexadecimal digits; nothing else reaches a look-up.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('a')?;
        let plain = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = u64::from_str_radix(digits, 16).ok().filter(|_| plain)?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a{:016x}", u64::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = TokenId([0, 1, 2, 3, 4, 5, 6, 0xff]);
        assert_eq!(id.to_string(), "a00010203040506ff");
        assert_eq!(TokenId::parse("a00010203040506ff"), Some(id));
        for wrong in [
            "",
            "a",
            "a1",
            "00010203040506ff",
            "a00010203040506FF",
            "a+0010203040506ff",
            "a00010203040506ff0",
            "a%s%n%s%n%s%n%s%n",
            "a1\r\nDEL users\r\n1",
            "a'; DROP TABLE --",
        ] {
            assert_eq!(TokenId::parse(wrong), None, "{wrong:?}");
        }
    }
}
