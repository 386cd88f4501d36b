//! Logged-in browsers: found in memory on every request, written through to the store.
//!
//! The browser holds 256 random bits and nothing else. Here and in the store a session is known by their SHA-256, so
//! whoever reads the store cannot be anybody; identity and tokens are sealed there.

mod kept;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;
use http::HeaderMap;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::cookies;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::oidc::Tokens;
use crate::seal::{self, Sealer};
use crate::secret::Secret;
use crate::store::{SessionRow, Store, StoreError};
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
    last_seen: AtomicU64,
    /// The `last_seen` that the store knows.
    written: AtomicU64,
}

/// All sessions; a clone is another handle.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    // Keys are hashes of random values that we made, and only they are inserted: nobody can choose collisions.
    live: DashMap<SessionId, Arc<Session>, foldhash::fast::FixedState>,
    /// Ended here, and perhaps not yet in the store: a delete that failed is tried again by the next sweep.
    doomed: Mutex<Vec<SessionId>>,
    idle_timeout: u64,
    absolute_timeout: u64,
    store: Store,
    sealer: Arc<Sealer>,
    clock: Clock,
    metrics: Metrics,
}

impl Sessions {
    /// None yet: see [`Sessions::restore`].
    pub fn new(
        config: &config::Session,
        store: Store,
        sealer: Arc<Sealer>,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        Self(Arc::new(Inner {
            live: DashMap::default(),
            doomed: Mutex::default(),
            idle_timeout: config.idle_timeout.0.as_secs(),
            absolute_timeout: config.absolute_timeout.0.as_secs(),
            store,
            sealer,
            clock,
            metrics,
        }))
    }

    /// Takes back what the store has. `judge` says what the user may do now; whoever may not enter any more loses
    /// the session. Answers how many live.
    pub async fn restore(
        &self,
        judge: impl Fn(&Identity, &UserName) -> Option<User> + Send,
    ) -> Result<usize, StoreError> {
        for row in self.0.store.sessions().await? {
            match self.revive(&row, &judge) {
                Ok(session) => {
                    self.0.live.entry(row.id).or_insert_with(|| Arc::new(session));
                }
                Err(why) => {
                    info!(event = "session_dropped", user = %row.user, why, "a session was not taken back");
                    self.doom(row.id);
                }
            }
        }
        self.bury().await?;
        self.count();
        Ok(self.0.live.len())
    }

    fn revive(
        &self,
        row: &SessionRow,
        judge: impl Fn(&Identity, &UserName) -> Option<User>,
    ) -> Result<Session, &'static str> {
        let sealed = self.0.sealer.open(&context(&row.id), &row.sealed).ok_or("it was sealed elsewhere")?;
        let (identity, tokens) = kept::open(row, sealed).ok_or("it is of another release or was changed")?;
        if self.over(row.created, row.last_seen) {
            return Err("it is over");
        }
        let user = judge(&identity, &row.user).ok_or("the user may not enter any more")?;
        let mut session = self.session(row.id, user, identity, tokens, row.created);
        session.last_seen = AtomicU64::new(row.last_seen);
        session.written = AtomicU64::new(row.last_seen);
        Ok(session)
    }

    /// A new session, with the value of its cookie. It is in the store before this returns. Its person must have a
    /// name in the store. Their oldest session ends when they have too many.
    pub async fn begin(
        &self,
        user: User,
        identity: Identity,
        tokens: Tokens,
    ) -> Result<(Secret, Arc<Session>), StoreError> {
        let secret = seal::random::<ID_BYTES>();
        let now = self.0.clock.now();
        let session = Arc::new(self.session(seal::sha256(&secret), user, identity, tokens, now));
        let row = SessionRow {
            id: session.id,
            user: session.user.name.clone(),
            issuer: session.identity.issuer.clone(),
            subject: session.identity.subject.clone(),
            sid: session.identity.sid.clone(),
            created: now,
            last_seen: now,
            sealed: self.0.sealer.seal(&context(&session.id), &kept::plain(&session)),
        };
        self.0.store.insert_session(&row).await?;
        self.0.live.insert(session.id, Arc::clone(&session));
        self.end_surplus(&session.user.name);
        self.count();
        Ok((Secret::new(URL_SAFE_NO_PAD.encode(secret)), session))
    }

    /// The live session of a request's cookie; notes that it was used. Whatever is wrong with the cookie, or with
    /// the session, the answer is the same.
    pub fn find(&self, headers: &HeaderMap) -> Option<Arc<Session>> {
        let session = self.by_id(&parse(cookies::find(headers, cookies::SESSION)?)?)?;
        let now = self.0.clock.now();
        // A request a microsecond must not fight over the cache line: it is written once a second.
        if session.last_seen.load(Ordering::Relaxed) < now {
            session.last_seen.fetch_max(now, Ordering::Relaxed);
        }
        Some(session)
    }

    /// The live session of this id, without noting a use.
    pub fn by_id(&self, id: &SessionId) -> Option<Arc<Session>> {
        let session = Arc::clone(self.0.live.get(id)?.value());
        self.is_live(&session).then_some(session)
    }

    /// Ends a session, here at once and then in the store.
    pub async fn end(&self, session: &Session) -> Result<(), StoreError> {
        self.0.live.remove(&session.id);
        session.ended.cancel();
        self.count();
        self.doom(session.id);
        self.bury().await
    }

    /// To be called on a timer: ends what is over, writes down when sessions were last used.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let mut seen = Vec::new();
        let mut over = Vec::new();
        for session in &self.0.live {
            if !self.is_live(&session) {
                over.push(session.id);
            } else if session.unwritten() >= WRITE_EVERY {
                seen.push(Arc::clone(&session));
            }
        }
        for id in over {
            if let Some((_, session)) = self.0.live.remove_if(&id, |_, session| !self.is_live(session)) {
                info!(event = "session_over", user = %session.user.name, "a session is over");
                session.ended.cancel();
                self.doom(id);
            }
        }
        self.count();
        let written = self.write(&seen).await;
        self.bury().await?;
        written
    }

    async fn write(&self, seen: &[Arc<Session>]) -> Result<(), StoreError> {
        let moved: Vec<_> =
            seen.iter().map(|session| (session.id, session.last_seen.load(Ordering::Relaxed))).collect();
        self.0.store.touch_sessions(&moved).await?;
        for (session, (_, when)) in seen.iter().zip(moved) {
            session.written.store(when, Ordering::Relaxed);
        }
        Ok(())
    }

    fn session(
        &self,
        id: SessionId,
        user: User,
        identity: Identity,
        tokens: Tokens,
        created: Timestamp,
    ) -> Session {
        let hex = hex(&id);
        Session {
            id,
            user,
            identity,
            tokens,
            created,
            ended: CancellationToken::new(),
            jupyterhub_id: self.0.sealer.derive("jupyterhub-session-id", &hex),
            form_token: self.0.sealer.derive("form", &hex),
            last_seen: AtomicU64::new(created),
            written: AtomicU64::new(created),
        }
    }

    fn is_live(&self, session: &Session) -> bool {
        !self.over(session.created, session.last_seen.load(Ordering::Relaxed))
    }

    fn over(&self, created: Timestamp, last_seen: Timestamp) -> bool {
        let now = self.0.clock.now();
        now >= last_seen.saturating_add(self.0.idle_timeout)
            || now >= created.saturating_add(self.0.absolute_timeout)
    }

    /// Ends the sessions that one person has beyond [`PER_USER`], oldest use first: a program that logs in again
    /// and again must not fill the memory.
    fn end_surplus(&self, name: &UserName) {
        let theirs = self.0.live.iter().filter(|session| session.user.name == *name);
        let mut theirs: Vec<_> = theirs.map(|session| Arc::clone(&session)).collect();
        let surplus = theirs.len().saturating_sub(PER_USER);
        theirs.sort_by_key(|session| session.last_seen.load(Ordering::Relaxed));
        for session in theirs.iter().take(surplus) {
            self.0.live.remove(&session.id);
            session.ended.cancel();
            self.doom(session.id);
        }
    }

    fn doom(&self, id: SessionId) {
        self.0.doomed.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    /// Deletes in the store what has ended here.
    async fn bury(&self) -> Result<(), StoreError> {
        let doomed = self.0.doomed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.0.store.delete_sessions(&doomed).await?;
        let mut left = self.0.doomed.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|id| !doomed.contains(id));
        Ok(())
    }

    fn count(&self) {
        self.0.metrics.sessions.set(i64::try_from(self.0.live.len()).unwrap_or(i64::MAX));
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({})", self.0.live.len())
    }
}

impl Session {
    /// Seconds of use that the store does not know of.
    fn unwritten(&self) -> u64 {
        self.last_seen.load(Ordering::Relaxed).saturating_sub(self.written.load(Ordering::Relaxed))
    }
}

/// The session that a cookie's value names. There is one spelling: 43 characters of base64url, unused bits zero.
fn parse(value: &str) -> Option<SessionId> {
    if value.len() != ID_CHARACTERS {
        return None;
    }
    let mut decoded = [0; 36];
    let length = URL_SAFE_NO_PAD.decode_slice(value, &mut decoded).ok()?;
    let secret = decoded.get(..length)?;
    (length == ID_BYTES).then(|| seal::sha256(secret))
}

/// What seals a session's row to its place.
fn context(id: &SessionId) -> String {
    format!("session:{}", hex(id))
}

fn hex(id: &SessionId) -> String {
    use fmt::Write as _;
    id.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _always = write!(text, "{byte:02x}");
        text
    })
}

const ID_BYTES: usize = 32;
const ID_CHARACTERS: usize = 43;

/// Seconds between two writes of one session's last use.
const WRITE_EVERY: u64 = 60;

/// Live sessions of one person: more browsers than anybody has.
const PER_USER: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let good = "A".repeat(43);
        assert_eq!(parse(&good), Some(seal::sha256(&[0; 32])));
        for wrong in ["", "A", &"A".repeat(42), &"A".repeat(44), &format!("{good}="), &"é".repeat(43)] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
        let mut unused_bits = good.clone();
        unused_bits.replace_range(42.., "B");
        assert_eq!(parse(&unused_bits), None);
        for alphabet in ["+", "/", "=", "%", " "] {
            let mut other = good.clone();
            other.replace_range(..1, alphabet);
            assert_eq!(parse(&other), None, "{alphabet:?}");
        }
    }
}
