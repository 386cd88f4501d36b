//! Sessions as people see them in lists: what they are called there, and what is told of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::{Session, SessionId, Sessions};
use crate::clock::utc;
use crate::store::StoreError;
use crate::user::UserName;

/// What a session is called in lists and addresses: the beginning of its id's hash. It opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShortId(u64);

/// A session in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its [`ShortId`].
    pub id: String,
    /// Whose.
    pub user: String,
    /// Where they signed in.
    pub provider: String,
    /// When the login was, in UTC.
    pub created: String,
    /// The last request, in UTC.
    pub last_seen: String,
    /// Websockets and other long answers that are open.
    pub open: usize,
    /// The provider cannot be asked: the session goes on until then.
    pub outage_until: Option<String>,
}

impl ShortId {
    /// Of a session's id.
    pub fn of(id: &SessionId) -> Self {
        Self(id.iter().take(6).fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    /// Reads 12 hexadecimal digits; nothing else reaches a look-up.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 12 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        u64::from_str_radix(text, 16).ok().filter(|_| plain).map(Self)
    }
}

impl fmt::Display for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl Sessions {
    /// The live session that is called so. If two were, neither: the wrong one must not end.
    pub fn called(&self, id: ShortId) -> Option<Arc<Session>> {
        let mut found = self.all().into_iter().filter(|session| ShortId::of(&session.id) == id);
        let session = found.next()?;
        found.next().is_none().then_some(session)
    }

    /// The live sessions of one person, oldest first.
    pub fn of(&self, name: &UserName) -> Vec<Arc<Session>> {
        let mut theirs = self.all();
        theirs.retain(|session| session.name == *name);
        theirs.sort_by_key(|session| (session.created, session.id));
        theirs
    }

    /// What a list tells of a session.
    pub fn listed(&self, session: &Session) -> Listed {
        Listed {
            id: ShortId::of(&session.id).to_string(),
            user: session.name.to_string(),
            provider: session.provider.to_string(),
            created: utc(session.created),
            last_seen: utc(session.last_seen.load(Ordering::Relaxed)),
            open: session.standing().lifeline.open(),
            outage_until: self.outage(session).map(utc),
        }
    }

    /// Ends these sessions, here at once and then in the store.
    pub async fn end_each(&self, sessions: &[Arc<Session>]) -> Result<(), StoreError> {
        for session in sessions {
            self.0.live.remove(&session.id);
        }
        self.close(sessions.iter().map(|session| &**session));
        self.count();
        self.bury().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_id_has_one_spelling() {
        let id = ShortId::of(&[0xab; 32]);
        assert_eq!(id.to_string(), "abababababab");
        assert_eq!(ShortId::parse("abababababab"), Some(id));
        assert_eq!(ShortId::parse("00000000000f").unwrap().to_string(), "00000000000f");
        for wrong in [
            "",
            "ab",
            "ABABABABABAB",
            "abababababab0",
            "+bababababab",
            "ab ab ab abab",
            "é".repeat(6).as_str(),
        ] {
            assert_eq!(ShortId::parse(wrong), None, "{wrong:?}");
        }
    }
}
