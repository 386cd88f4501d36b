//! Logouts that begin at the provider.

use std::sync::PoisonError;

use tracing::info;

use super::{Session, Sessions};
use crate::clock::Timestamp;
use crate::identity::Identity;
use crate::store::StoreError;

/// What the provider says is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logout {
    /// The provider's issuer.
    pub issuer: String,
    /// One session there; without it, all of the subject's.
    pub sid: Option<String>,
    /// Whose; without it, whoever has the session.
    pub subject: Option<String>,
    /// When the provider said so. What it has vouched for since is not meant.
    pub issued: Timestamp,
}

/// Logouts of the last minutes: a login that was under way meanwhile is over, too.
#[derive(Debug, Default)]
pub(super) struct Tombstones(Vec<(Timestamp, Logout)>);

impl Sessions {
    /// Ends every session that the provider has ended, and the ones whose logins are just being finished. Answers how
    /// many were live.
    pub async fn end_as_told(&self, logout: Logout) -> Result<usize, StoreError> {
        // Before looking: whoever begins a session looks for tombstones after it is live.
        self.0
            .tombstones
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(logout.clone(), self.0.clock.now());
        let means = |session: &Session| {
            let standing = session.standing();
            logout.means(&standing.identity, standing.tokens.issued.unwrap_or(session.created))
        };
        self.end_where(means).await
    }

    /// Ends every session for which `over` holds. Answers how many.
    pub async fn end_where(&self, over: impl Fn(&Session) -> bool) -> Result<usize, StoreError> {
        let ending: Vec<_> =
            self.0.live.iter().filter(|session| over(session)).map(|session| session.id).collect();
        let ended: Vec<_> = ending.iter().filter_map(|id| Some(self.0.live.remove(id)?.1)).collect();
        for session in &ended {
            info!(event = "session_ended", user = %session.name, "a session was ended from outside");
        }
        self.close(ended.iter().map(|session| &**session));
        self.count();
        self.bury().await?;
        Ok(ended.len())
    }

    /// Whether the provider has ended this meanwhile.
    pub(super) fn is_buried(&self, session: &Session) -> bool {
        let standing = session.standing();
        self.was_ended(&standing.identity, standing.tokens.issued.unwrap_or(session.created))
    }

    /// Whether the provider has ended, in the last minutes, what it vouched for at `issued`.
    pub fn was_ended(&self, identity: &Identity, issued: Timestamp) -> bool {
        let tombstones = self.0.tombstones.lock().unwrap_or_else(PoisonError::into_inner);
        tombstones.0.iter().any(|(_, logout)| logout.means(identity, issued))
    }
}

impl Logout {
    /// Whether it is about what the provider vouched for at `issued`.
    pub fn means(&self, identity: &Identity, issued: Timestamp) -> bool {
        let whose = self.subject.as_ref().is_none_or(|subject| *subject == identity.subject);
        let which = match (&self.sid, &self.subject) {
            (Some(sid), _) => identity.sid.as_ref() == Some(sid),
            // By the provider's clock on both sides: a login after this logout goes on, if the token comes late or is
            // repeated.
            (None, Some(_)) => issued <= self.issued,
            (None, None) => false,
        };
        self.issuer == identity.issuer && whose && which
    }
}

impl Tombstones {
    fn add(&mut self, logout: Logout, now: Timestamp) {
        self.0.retain(|(until, _)| *until > now);
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push((now.saturating_add(KEPT), logout));
    }
}

/// Seconds in which a login that has its tokens already is surely finished.
const KEPT: u64 = 300;
/// Logouts that are remembered at once: each was signed by the provider.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn logout(sid: Option<&str>, subject: Option<&str>) -> Logout {
        let text = |text: &str| text.to_owned();
        Logout { issuer: text("https://kc"), sid: sid.map(text), subject: subject.map(text), issued: 100 }
    }

    fn identity(sid: Option<&str>) -> Identity {
        Identity {
            issuer: "https://kc".to_owned(),
            subject: "alice".to_owned(),
            sid: sid.map(str::to_owned),
            claims: serde_json::Map::new(),
        }
    }

    #[test]
    fn a_session_at_the_provider_is_one_session() {
        let ended = |logout: Logout, sid| logout.means(&identity(sid), 50);
        assert!(ended(logout(Some("s"), None), Some("s")));
        assert!(ended(logout(Some("s"), Some("alice")), Some("s")));
        assert!(!ended(logout(Some("s"), Some("alice")), Some("t")), "another session of hers");
        assert!(!ended(logout(Some("s"), Some("bob")), Some("s")), "somebody else's");
        assert!(!ended(logout(Some("s"), None), None));
        assert!(!ended(logout(None, None), Some("s")));
        let elsewhere = Logout { issuer: "https://other".to_owned(), ..logout(Some("s"), None) };
        assert!(!ended(elsewhere, Some("s")));
    }

    #[test]
    fn all_of_a_persons_sessions_are_those_before_the_logout() {
        let all = logout(None, Some("alice"));
        assert!(all.means(&identity(None), 100));
        assert!(!all.means(&identity(None), 101), "a login since then");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut tombstones = Tombstones::default();
        for _ in 0..MOST + 10 {
            tombstones.add(logout(Some("s"), None), 0);
        }
        assert_eq!(tombstones.0.len(), MOST);
        tombstones.add(logout(Some("s"), None), KEPT);
        assert_eq!(tombstones.0.len(), 1);
    }
}
