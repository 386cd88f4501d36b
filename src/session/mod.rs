//! Logged-in browsers: found in memory on every request, written through to the store.
//!
//! The browser holds 256 random bits and nothing else. Here and in the store a session is known by their SHA-256, so
//! whoever reads the store cannot be anybody; identity and tokens are sealed there.

mod at_host;
mod elsewhere;
mod kept;
mod listed;
mod proof;
mod renew;
mod standing;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;
use http::HeaderMap;
use thiserror::Error;
use tokio::sync::Semaphore;
use tracing::info;

use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::cookies;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::oidc::{Providers, Tokens};
use crate::seal::{self, Sealer};
use crate::secret::Secret;
use crate::store::{SessionRow, Store, StoreError};
use crate::tasks::Tasks;
use crate::user::{User, UserName};

use self::elsewhere::Tombstones;
use self::standing::Fresh;

pub use self::elsewhere::Logout;
pub use self::listed::{Listed, ShortId};
pub use self::proof::Proof;
pub use self::renew::Renewed;
pub use self::standing::{Session, Standing};

/// SHA-256 of the id in the cookie: the id itself is nowhere but in the browser.
pub type SessionId = [u8; 32];

/// All sessions; a clone is another handle.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    // Keys are hashes of random values that we made, and only they are inserted: nobody can choose collisions.
    live: DashMap<SessionId, Arc<Session>, foldhash::fast::FixedState>,
    /// Ended here, and perhaps not yet in the store: a delete that failed is tried again by the next sweep.
    doomed: Mutex<Vec<SessionId>>,
    tombstones: Mutex<Tombstones>,
    /// Renewals at once: a provider that comes back must not be asked for everybody at the same moment.
    renewals: Semaphore,
    idle_timeout: u64,
    absolute_timeout: u64,
    refresh_interval: u64,
    outage_grace: u64,
    judge: Judge,
    tell: Tell,
    providers: Providers,
    store: Store,
    sealer: Arc<Sealer>,
    clock: Clock,
    metrics: Metrics,
    tasks: Tasks,
}

/// What the user of this name may do now, by what the provider of this name says; `None`: they may not enter.
pub type Judge = Arc<dyn Fn(&str, &Identity, &UserName) -> Option<User> + Send + Sync>;

/// Is told what is new of a user.
pub type Tell = Arc<dyn Fn(&UserName, News<'_>) + Send + Sync>;

/// What is new of a user.
#[derive(Debug, Clone, Copy)]
pub enum News<'a> {
    /// Their newest access token; `None` when their last session is over.
    Token(Option<&'a Secret>),
    /// What the provider of this name says of them now, and what the rules make of it; `None`: they may not enter any
    /// more.
    Judged(&'a Arc<str>, &'a Identity, Option<&'a User>),
    /// They may do less than before by what the provider says now, or nothing: what was granted elsewhere on its earlier
    /// word counts no more.
    Less,
}

/// What a [`Sessions`] is made of.
pub struct Parts {
    /// `[session]`
    pub config: config::Session,
    /// Judges whenever something new is known of a user.
    pub judge: Judge,
    /// Is told what is new of users.
    pub tell: Tell,
    /// Renew what sessions may do.
    pub providers: Providers,
    /// Where they survive a restart.
    pub store: Store,
    /// Seals what is secret there.
    pub sealer: Arc<Sealer>,
    /// When they are over.
    pub clock: Clock,
    /// Counts them.
    pub metrics: Metrics,
    /// Runs renewals.
    pub tasks: Tasks,
}

/// A session did not begin.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BeginError {
    /// The store could not keep it.
    #[error("the session cannot be kept")]
    Store(#[from] StoreError),
    /// The provider has ended it while it began.
    #[error("the provider has ended the session while it began")]
    LoggedOut,
}

impl Sessions {
    /// None yet: see [`Sessions::restore`].
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            live: DashMap::default(),
            doomed: Mutex::default(),
            tombstones: Mutex::default(),
            renewals: Semaphore::new(RENEWALS),
            idle_timeout: parts.config.idle_timeout.0.as_secs(),
            absolute_timeout: parts.config.absolute_timeout.0.as_secs(),
            refresh_interval: parts.config.refresh_interval.0.as_secs().max(1),
            outage_grace: parts.config.outage_grace.0.as_secs(),
            judge: parts.judge,
            tell: parts.tell,
            providers: parts.providers,
            store: parts.store,
            sealer: parts.sealer,
            clock: parts.clock,
            metrics: parts.metrics,
            tasks: parts.tasks,
        }))
    }

    /// Takes back what the store has, judged anew: whoever may not enter any more loses the session. Answers how many
    /// live.
    pub async fn restore(&self) -> Result<usize, StoreError> {
        for row in self.0.store.sessions().await? {
            match self.revive(&row) {
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
        let users: BTreeSet<_> = self.0.live.iter().map(|session| session.name.clone()).collect();
        self.tell_newest_tokens(users.iter());
        Ok(self.0.live.len())
    }

    fn revive(&self, row: &SessionRow) -> Result<Session, &'static str> {
        let sealed = self.0.sealer.open(&context(&row.id), &row.sealed).ok_or("it was sealed elsewhere")?;
        let kept = kept::open(row, sealed).ok_or("it is of another release or was changed")?;
        if self.is_over(row.created, row.last_seen) {
            return Err("it is over");
        }
        let provider = match &kept.provider {
            Some(name) => self.0.providers.name(name),
            None => self.0.providers.first(),
        };
        let provider = provider.ok_or("its provider is configured no more")?;
        let same =
            self.0.providers.find(&provider).is_some_and(|known| known.is_still(&kept.identity.issuer));
        if !same {
            return Err("its provider is called otherwise now");
        }
        let user = (self.0.judge)(&provider, &kept.identity, &row.user);
        let user = user.ok_or("the user may not enter any more")?;
        let mut session = self.session(row.id, provider, user, kept.identity, kept.tokens, row.created);
        session.proof = kept.proof;
        session.last_seen.store(row.last_seen, Ordering::Relaxed);
        session.written.store(row.last_seen, Ordering::Relaxed);
        Ok(session)
    }

    /// A new session, with the value of its cookie. It is in the store before this returns. Its person must have a
    /// name in the store. Their oldest session ends when they have too many.
    pub async fn begin(
        &self,
        provider: Arc<str>,
        user: User,
        identity: Identity,
        tokens: Tokens,
    ) -> Result<(Secret, Arc<Session>), BeginError> {
        let secret = seal::random::<ID_BYTES>();
        let now = self.0.clock.now();
        let session = Arc::new(self.session(seal::sha256(&secret), provider, user, identity, tokens, now));
        let standing = session.standing();
        let row = SessionRow {
            id: session.id,
            user: session.name.clone(),
            issuer: standing.identity.issuer.clone(),
            subject: standing.identity.subject.clone(),
            sid: standing.identity.sid.clone(),
            created: now,
            last_seen: now,
            sealed: self.sealed(&session),
        };
        self.0.store.insert_session(&row).await?;
        self.0.live.insert(session.id, Arc::clone(&session));
        if self.is_buried(&session) {
            self.end(&session).await?;
            return Err(BeginError::LoggedOut);
        }
        self.end_surplus(&session.name);
        self.count();
        self.tell_token(&session);
        Ok((Secret::new(URL_SAFE_NO_PAD.encode(secret)), session))
    }

    /// A session has a new token, which is then the newest of its person's.
    fn tell_token(&self, session: &Session) {
        (self.0.tell)(&session.name, News::Token(session.standing().tokens.access_token.as_ref()));
    }

    /// Of several sessions of one person it is the newest token that counts.
    fn tell_newest_token(&self, name: &UserName) {
        self.tell_newest_tokens(std::iter::once(name));
    }

    /// The same for several people, in one pass: many sessions may end at once.
    fn tell_newest_tokens<'a>(&self, names: impl Iterator<Item = &'a UserName>) {
        let mut newest: HashMap<&UserName, Option<Arc<Standing>>> = names.map(|name| (name, None)).collect();
        for session in &self.0.live {
            let Some(newest) = newest.get_mut(&session.name) else { continue };
            let standing = session.standing();
            if newest.as_ref().is_none_or(|newest| newest.tokens.issued <= standing.tokens.issued) {
                *newest = Some(standing);
            }
        }
        for (name, newest) in newest {
            let token = newest.as_ref().and_then(|standing| standing.tokens.access_token.as_ref());
            (self.0.tell)(name, News::Token(token));
        }
    }

    fn sealed(&self, session: &Session) -> String {
        self.0.sealer.seal(&context(&session.id), &kept::plain(session))
    }

    /// The live session of a request's cookie; notes that it was used. Whatever is wrong with the cookie, or with
    /// the session, the answer is the same.
    pub fn find(&self, headers: &HeaderMap) -> Option<Arc<Session>> {
        let session = self.by_id(&parse(cookies::find(headers, cookies::SESSION)?)?)?;
        self.note(&session);
        Some(session)
    }

    /// It is used now.
    fn note(&self, session: &Session) {
        let now = self.0.clock.now();
        // A request a microsecond must not fight over the cache line: it is written once a second.
        if session.last_seen.load(Ordering::Relaxed) < now {
            session.last_seen.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// The live session of this id, without noting a use.
    pub fn by_id(&self, id: &SessionId) -> Option<Arc<Session>> {
        let session = Arc::clone(self.0.live.get(id)?.value());
        self.is_live(&session).then_some(session)
    }

    /// Ends a session, here at once and then in the store.
    pub async fn end(&self, session: &Session) -> Result<(), StoreError> {
        self.0.live.remove(&session.id);
        self.close(std::iter::once(session));
        self.count();
        self.bury().await
    }

    /// Every live session.
    pub fn all(&self) -> Vec<Arc<Session>> {
        let all = self.0.live.iter().map(|session| Arc::clone(&session));
        all.filter(|session| self.is_live(session)).collect()
    }

    /// The same, and those that are over and not swept yet: something may be open for them.
    pub fn everyone(&self) -> Vec<Arc<Session>> {
        self.0.live.iter().map(|session| Arc::clone(&session)).collect()
    }

    /// What is open for sessions that are not found any more closes; the store forgets them soon.
    fn close<'a>(&self, sessions: impl Iterator<Item = &'a Session>) {
        let of = sessions.map(|session| {
            session.ended.cancel();
            self.doom(session.id);
            &session.name
        });
        self.tell_newest_tokens(of);
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
        let over =
            over.iter().filter_map(|id| self.0.live.remove_if(id, |_, session| !self.is_live(session)));
        let over: Vec<_> = over.map(|(_, session)| session).collect();
        for session in &over {
            info!(event = "session_over", user = %session.name, "a session is over");
        }
        self.close(over.iter().map(|session| &**session));
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
        provider: Arc<str>,
        user: User,
        identity: Identity,
        tokens: Tokens,
        created: Timestamp,
    ) -> Session {
        let hex = hex(&id);
        Session::new(Fresh {
            id,
            provider,
            due: self.due(&tokens),
            user,
            identity,
            tokens,
            created,
            jupyterhub_id: self.0.sealer.derive("jupyterhub-session-id", &hex),
            form_token: self.0.sealer.derive("form", &hex),
        })
    }

    fn is_live(&self, session: &Session) -> bool {
        !self.is_over(session.created, session.last_seen.load(Ordering::Relaxed))
    }

    /// How long a session that is used no more lasts from now on, in seconds.
    pub fn left(&self, session: &Session) -> u64 {
        let ends = [
            session.created.saturating_add(self.0.absolute_timeout),
            session.last_seen().saturating_add(self.0.idle_timeout),
        ];
        ends.into_iter().min().unwrap_or_default().saturating_sub(self.0.clock.now())
    }

    fn is_over(&self, created: Timestamp, last_seen: Timestamp) -> bool {
        let now = self.0.clock.now();
        now >= last_seen.saturating_add(self.0.idle_timeout)
            || now >= created.saturating_add(self.0.absolute_timeout)
    }

    /// Ends the sessions that one person has beyond [`PER_USER`], oldest use first: a program that logs in again
    /// and again must not fill the memory.
    fn end_surplus(&self, name: &UserName) {
        let theirs = self.0.live.iter().filter(|session| session.name == *name);
        let mut theirs: Vec<_> = theirs.map(|session| Arc::clone(&session)).collect();
        let surplus = theirs.len().saturating_sub(PER_USER);
        theirs.sort_by_key(|session| session.last_seen.load(Ordering::Relaxed));
        theirs.truncate(surplus);
        for session in &theirs {
            self.0.live.remove(&session.id);
        }
        self.close(theirs.iter().map(|session| &**session));
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

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The session that a cookie's value names. There is one spelling: 43 characters of base64url, unused bits zero.
pub(crate) fn parse(value: &str) -> Option<SessionId> {
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

/// Renewals under way at once.
const RENEWALS: usize = 32;

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
