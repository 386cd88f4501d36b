//! Logged-in browsers: found in memory on every request, written through to the store.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::oidc::Tokens;
use crate::seal::Sealer;
use crate::secret::Secret;
use crate::store::{Store, StoreError};
use crate::user::{User, UserName};

/// SHA-256 of the id in the cookie: the id itself is nowhere but in the browser.
pub type SessionId = [u8; 32];

/// One logged-in browser.
#[derive(Debug)]
pub struct Session {
    /// Which.
    pub id: SessionId,
    /// Who, and what they may do.
    pub user: User,
    /// As whom the provider knows them.
    pub identity: Identity,
    /// What the provider gave.
    pub tokens: Tokens,
    /// When the login was.
    pub created: Timestamp,
    /// Cancelled when the session ends: whoever holds something open for it lets go.
    pub ended: CancellationToken,
    /// The value of `jupyterhub-session-id`.
    pub jupyterhub_id: Secret,
    /// Must come with every form of ours.
    pub form_token: Secret,
    #[expect(dead_code, reason = "stub")]
    last_seen: AtomicU64,
}

/// All sessions; a clone is another handle.
#[derive(Debug, Clone)]
pub struct Sessions;

impl Sessions {
    /// None yet: see [`Sessions::restore`].
    pub fn new(
        _config: &config::Session,
        _store: Store,
        _sealer: Arc<Sealer>,
        _clock: Clock,
        _metrics: Metrics,
    ) -> Self {
        todo!()
    }

    /// Takes back what the store has. `judge` says what the user may do now; whoever may not enter any more loses
    /// the session. Answers how many live.
    pub async fn restore(
        &self,
        _judge: impl Fn(&Identity, &UserName) -> Option<User> + Send,
    ) -> Result<usize, StoreError> {
        todo!()
    }

    /// A new session, with the value of its cookie. It is in the store before this returns.
    pub async fn begin(
        &self,
        _user: User,
        _identity: Identity,
        _tokens: Tokens,
    ) -> Result<(Secret, Arc<Session>), StoreError> {
        todo!()
    }

    /// The live session of a request's cookie; notes that it was used.
    pub fn find(&self, _headers: &HeaderMap) -> Option<Arc<Session>> {
        todo!()
    }

    /// The live session of this id, without noting a use.
    pub fn by_id(&self, _id: &SessionId) -> Option<Arc<Session>> {
        todo!()
    }

    /// Ends a session, here at once and then in the store.
    pub async fn end(&self, _session: &Session) -> Result<(), StoreError> {
        todo!()
    }

    /// To be called on a timer: ends what is over, writes down when sessions were last used.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        todo!()
    }
}
