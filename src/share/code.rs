//! One share code: whoever holds it, and is signed in, is let in.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::terms::Access;
use crate::clock::Timestamp;
use crate::seal;
use crate::spawner::WorkspaceId;
use crate::user::UserName;

/// SHA-256 of a code.
pub(super) type CodeHash = [u8; 32];

/// What a code is called in lists and addresses: it opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeId(pub(super) [u8; 8]);

/// A code that makes shares, for as many people as have it.
#[derive(Debug)]
pub struct Code {
    /// Which.
    pub id: CodeId,
    pub(super) hash: CodeHash,
    /// What it shares.
    pub of: WorkspaceId,
    /// How much.
    pub access: Access,
    /// Who made it.
    pub by: UserName,
    /// When.
    pub created: Timestamp,
    /// When nobody can accept it any more.
    pub expires: Timestamp,
    /// When the shares end that it makes.
    pub share_expires: Option<Timestamp>,
    /// Whom it lets in no more.
    pub(super) refused: Mutex<BTreeSet<UserName>>,
    pub(super) accepted: AtomicU64,
    /// 0: never.
    pub(super) last_accepted: AtomicU64,
    pub(super) ended: AtomicBool,
}

impl Code {
    /// How often it was accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// When it was last accepted.
    pub fn last_accepted(&self) -> Option<Timestamp> {
        let when = self.last_accepted.load(Ordering::Relaxed);
        (when > 0).then_some(when)
    }

    /// Whether it lets somebody in no more: its owner has taken back from them what they had.
    pub fn refuses(&self, who: &UserName) -> bool {
        self.names().contains(who)
    }

    /// All of those.
    pub fn refused(&self) -> Vec<UserName> {
        self.names().iter().cloned().collect()
    }

    /// From now on it does not let them in. `false`: it can remember no more names.
    pub(super) fn refuse(&self, who: &UserName) -> bool {
        let mut names = self.names();
        if names.contains(who) {
            return true;
        }
        let room = names.len() < MOST_REFUSED;
        if room {
            names.insert(who.clone());
        }
        room
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<UserName>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        !self.is_ended() && now < self.expires
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

impl CodeId {
    /// Reads `sc_` and 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sc_")?;
        let plain = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = u64::from_str_radix(digits, 16).ok().filter(|_| plain)?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for CodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sc_{:016x}", u64::from_be_bytes(self.0))
    }
}

/// The hash of a code's text. There is one spelling: 43 characters of base64url, unused bits zero.
pub(super) fn hash(text: &str) -> Option<CodeHash> {
    let mut decoded = [0; BYTES + 4];
    // Longer text is refused here, too: there is no room for it.
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut decoded).ok()?;
    (length == BYTES && text.len() == CHARACTERS).then(|| seal::sha256(text.as_bytes()))
}

/// A code is so many random bytes: nobody guesses one.
pub(super) const BYTES: usize = 32;
const CHARACTERS: usize = 43;

/// Names that one code remembers to let in no more.
pub(super) const MOST_REFUSED: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_and_its_id_have_one_spelling() {
        let good = "A".repeat(CHARACTERS);
        assert_eq!(hash(&good), Some(seal::sha256(good.as_bytes())));
        let short = "A".repeat(CHARACTERS - 1);
        for wrong in
            ["", &short, &format!("{good}A"), &format!("{good}="), &format!("{short}B"), &format!("{short}+")]
        {
            assert_eq!(hash(wrong), None, "{wrong:?}");
        }
        let id = CodeId([0, 1, 2, 3, 4, 5, 6, 0xff]);
        assert_eq!(id.to_string(), "sc_00010203040506ff");
        assert_eq!(CodeId::parse("sc_00010203040506ff"), Some(id));
        for wrong in ["", "sc_", "sc_1", "00010203040506ff", "sc_00010203040506FF", "sc_00010203040506ff0"] {
            assert_eq!(CodeId::parse(wrong), None, "{wrong:?}");
        }
    }
}
