//! Personal API tokens: found in memory on every request, written through to the store.
//!
//! The program holds 256 random bits behind a prefix and nothing else; here and in the store a token is known by their
//! SHA-256. It is never worth more than its owner is now: while they may not enter it rests, and what only
//! administrators may is dead in it while they are none.

mod absent;
mod api_token;
pub mod device;
mod filter;
mod kept;
mod note;
mod scope;
mod scopes;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::{DashMap, DashSet};
use thiserror::Error;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config;
use crate::metrics::Metrics;
use crate::seal::{self, Sealer};
use crate::secret::Secret;
use crate::store::{ApiTokenRow, Store, StoreError};
use crate::user::UserName;

use api_token::Fresh;

pub use api_token::{ApiToken, NewToken, Owner, Right, TokenHash, TokenId};
pub use filter::{Filter, Target};
pub use note::{BadNote, Note};
pub use scope::Scope;
pub use scopes::{Reach, ScopeError, Scoped, Scopes};

/// All API tokens; a clone is another handle.
#[derive(Clone)]
pub struct ApiTokens(Arc<Inner>);

struct Inner {
    // Keys are hashes of random values that we made, and only they are inserted: nobody can choose collisions.
    live: DashMap<TokenHash, Arc<ApiToken>, foldhash::fast::FixedState>,
    /// Owners of those, and perhaps of some that have just ended.
    owners: DashMap<UserName, Arc<Owner>>,
    /// Owners who may not enter: their tokens are in the store only.
    resting: DashSet<UserName>,
    /// How many of whom are being made: they count, before they live.
    making: Mutex<HashMap<UserName, usize>>,
    /// Ended here, and perhaps not yet in the store: a delete that failed is tried again by the next sweep.
    doomed: Mutex<Vec<TokenId>>,
    lifetime: u64,
    lifetime_max: u64,
    store: Store,
    sealer: Arc<Sealer>,
    clock: Clock,
    metrics: Metrics,
}

/// A token could not be made or ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// More than [`ApiTokens::PER_OWNER`].
    #[error("{owner} has {} tokens already", ApiTokens::PER_OWNER)]
    TooMany {
        /// Who.
        owner: UserName,
    },
    /// It could do nothing, or more than its owner may.
    #[error("{owner} cannot give away these scopes")]
    Scopes {
        /// Who.
        owner: UserName,
    },
    /// It would live for no time, or too long.
    #[error("a token lives from now on, and at most {max}s")]
    Lifetime {
        /// `api.token_lifetime_max`, in seconds.
        max: u64,
    },
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl ApiTokens {
    /// The most that one person can have: a program that makes them in a loop must not fill the memory.
    pub const PER_OWNER: usize = 100;

    /// Begins every token, so that scanners for leaked secrets find it.
    pub const PREFIX: &str = "hubgate_";

    /// How long a token lives whose owner does not say, in seconds.
    pub fn lifetime(&self) -> u64 {
        self.0.lifetime.min(self.0.lifetime_max)
    }

    /// The longest that one may live, in seconds.
    pub fn lifetime_max(&self) -> u64 {
        self.0.lifetime_max
    }

    /// None yet: see [`ApiTokens::restore`].
    pub fn new(
        config: &config::Api,
        store: Store,
        sealer: Arc<Sealer>,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        Self(Arc::new(Inner {
            live: DashMap::default(),
            owners: DashMap::new(),
            resting: DashSet::new(),
            making: Mutex::default(),
            doomed: Mutex::default(),
            lifetime: config.token_lifetime.0.as_secs(),
            lifetime_max: config.token_lifetime_max.0.as_secs(),
            store,
            sealer,
            clock,
            metrics,
        }))
    }

    /// Takes back what the store has. `judge` says what an owner may do now; the tokens of whoever may not enter rest.
    /// Answers how many live.
    pub async fn restore(
        &self,
        judge: impl AsyncFn(&UserName) -> Result<Option<Right>, StoreError>,
    ) -> Result<usize, StoreError> {
        let rows = self.0.store.api_tokens(None).await?;
        for row in &rows {
            if self.0.owners.contains_key(&row.owner) || self.0.resting.contains(&row.owner) {
                continue;
            }
            match judge(&row.owner).await? {
                Some(right) => drop(self.owner(right)),
                None => drop(self.0.resting.insert(row.owner.clone())),
            }
        }
        for row in &rows {
            if let Some(owner) = self.0.owners.get(&row.owner).map(|owner| Arc::clone(&owner)) {
                self.take_back(row, owner);
            }
        }
        self.bury().await?;
        self.count();
        Ok(self.0.live.len())
    }

    /// Somebody was judged again: what their tokens may do from now on. `None`: they may not enter, and their tokens
    /// rest until they may.
    pub async fn judged(&self, name: &UserName, right: Option<Right>) -> Result<(), StoreError> {
        match right {
            Some(right) if self.0.resting.remove(name).is_some() => {
                let owner = self.owner(right);
                let rows = self.0.store.api_tokens(Some(name)).await.inspect_err(|_failed| {
                    self.0.resting.insert(name.clone());
                })?;
                for row in &rows {
                    self.take_back(row, Arc::clone(&owner));
                }
            }
            Some(right) => {
                let owner = self.0.owners.get(name).map(|owner| Arc::clone(&owner));
                if owner.is_some_and(|owner| owner.judged(right)) {
                    self.of(name).iter().for_each(|token| token.interrupt());
                }
            }
            None => self.rest(name),
        }
        self.count();
        Ok(())
    }

    fn rest(&self, name: &UserName) {
        // Also without a token: whoever makes one now looks here, once it could be found.
        self.0.resting.insert(name.clone());
        if self.0.owners.remove(name).is_none() {
            return;
        }
        info!(event = "api_tokens_rest", user = %name, "the owner of API tokens may not enter any more");
        self.0.live.retain(|_, token| {
            let theirs = token.owner.name == *name;
            if theirs {
                token.ended.cancel();
            }
            !theirs
        });
    }

    /// A new token of whoever has this right, with its text, which is nowhere else. It is in the store before this
    /// returns.
    pub async fn create(&self, right: Right, new: NewToken) -> Result<(Secret, Arc<ApiToken>), TokenError> {
        let now = self.0.clock.now();
        let expires = new.expires.unwrap_or(now + self.lifetime());
        if expires <= now || expires > now + self.0.lifetime_max {
            return Err(TokenError::Lifetime { max: self.0.lifetime_max });
        }
        let name = right.user.name.clone();
        let owner = self.owner(right.clone());
        // Whether the servers of others that it names are shared with them is for whoever asks to know.
        let held = Scopes::of(&right.user).with_visits(new.scopes.visits());
        let scopes = new.scopes.given_by(&held, &name).filter(|scopes| !scopes.is_empty());
        let scopes = scopes.filter(|_| !self.rests(&owner));
        let Some(scopes) = scopes else { return Err(TokenError::Scopes { owner: name }) };
        let _place = self.reserve(&name)?;
        let secret = Secret::new(format!("{}{}", Self::PREFIX, seal::random_text::<TOKEN_BYTES>()));
        let token = Arc::new(ApiToken::new(Fresh {
            id: TokenId(seal::random()),
            hash: seal::sha256(secret.expose().as_bytes()),
            owner,
            scopes,
            note: new.note,
            created: now,
            expires,
            last_used: None,
        }));
        let row = ApiTokenRow {
            id: token.id.0,
            hash: token.hash,
            owner: name.clone(),
            expires,
            last_used: None,
            sealed: self.0.sealer.seal(&context(&token.hash), &kept::plain(&token)),
        };
        self.0.store.insert_api_token(&row).await?;
        self.0.live.insert(token.hash, Arc::clone(&token));
        // Looked at once it can be found: whoever is barred from now on takes it along.
        if self.rests(&token.owner) {
            self.end(&token);
            self.bury().await?;
            return Err(TokenError::Scopes { owner: name });
        }
        self.count();
        info!(event = "api_token_made", user = %token.owner.name, token = %token.id, scopes = %token.made_for(), "an API token was made");
        Ok((secret, token))
    }

    /// Whether an owner may not enter any more, or was barred since this was their entry.
    fn rests(&self, owner: &Arc<Owner>) -> bool {
        let current = self.0.owners.get(&owner.name).is_some_and(|current| Arc::ptr_eq(&current, owner));
        !current || self.0.resting.contains(&owner.name)
    }

    /// A place among the tokens of one person, kept until the token has its own.
    fn reserve(&self, name: &UserName) -> Result<Place<'_>, TokenError> {
        let mut making = self.0.making.lock().unwrap_or_else(PoisonError::into_inner);
        let places = making.get(name).copied().unwrap_or_default();
        if self.of(name).len() + places >= Self::PER_OWNER {
            return Err(TokenError::TooMany { owner: name.clone() });
        }
        making.insert(name.clone(), places + 1);
        Ok(Place { making: &self.0.making, name: name.clone() })
    }

    /// The live token of this text; notes that it was used. Whatever is wrong with it, the answer is the same.
    pub fn find(&self, text: &str) -> Option<Arc<ApiToken>> {
        let token = self.by_hash(&parse(text)?)?;
        let now = self.0.clock.now();
        // A request a microsecond must not fight over the cache line: it is written once a second.
        if token.last_used.load(Ordering::Relaxed) < now {
            token.last_used.fetch_max(now, Ordering::Relaxed);
        }
        Some(token)
    }

    /// The live token of this hash, without noting a use.
    pub fn by_hash(&self, hash: &TokenHash) -> Option<Arc<ApiToken>> {
        let token = Arc::clone(self.0.live.get(hash)?.value());
        (self.0.clock.now() < token.expires).then_some(token)
    }

    /// The live token that is called so.
    pub fn called(&self, id: TokenId) -> Option<Arc<ApiToken>> {
        let now = self.0.clock.now();
        let token = self.0.live.iter().find(|token| token.id == id && now < token.expires)?;
        Some(Arc::clone(token.value()))
    }

    /// All that are held here, those too whose time is over since they were last looked through.
    pub fn everyone(&self) -> Vec<Arc<ApiToken>> {
        self.0.live.iter().map(|token| Arc::clone(&token)).collect()
    }

    /// All live tokens, by owner.
    pub fn all(&self) -> Vec<Arc<ApiToken>> {
        let now = self.0.clock.now();
        let live = self.0.live.iter().filter(|token| now < token.expires);
        let mut all: Vec<_> = live.map(|token| Arc::clone(&token)).collect();
        all.sort_by(|a, b| (&a.owner.name, a.created, a.id.0).cmp(&(&b.owner.name, b.created, b.id.0)));
        all
    }

    /// The live tokens of one person, oldest first.
    pub fn of(&self, owner: &UserName) -> Vec<Arc<ApiToken>> {
        let now = self.0.clock.now();
        let theirs = self.0.live.iter().filter(|token| token.owner.name == *owner && now < token.expires);
        let mut theirs: Vec<_> = theirs.map(|token| Arc::clone(&token)).collect();
        theirs.sort_by_key(|token| (token.created, token.id.0));
        theirs
    }

    /// Ends a token, here at once and then in the store.
    pub async fn revoke(&self, token: &ApiToken) -> Result<(), StoreError> {
        self.end(token);
        info!(event = "api_token_revoked", user = %token.owner.name, token = %token.id, "an API token was revoked");
        self.count();
        self.bury().await
    }

    /// Ends all tokens of one person, resting ones too. Answers how many lived.
    pub async fn revoke_all(&self, owner: &UserName) -> Result<usize, StoreError> {
        let live = self.of(owner);
        for token in &live {
            self.end(token);
        }
        for row in self.0.store.api_tokens(Some(owner)).await? {
            self.doom(TokenId(row.id));
        }
        self.0.resting.remove(owner);
        info!(event = "api_tokens_revoked", user = %owner, count = live.len(), "all API tokens of a user were revoked");
        self.count();
        self.bury().await?;
        Ok(live.len())
    }

    /// To be called on a timer: ends what is over, writes down when tokens were last used.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        let all: Vec<_> = self.0.live.iter().map(|token| Arc::clone(&token)).collect();
        let (live, over): (Vec<_>, Vec<_>) = all.into_iter().partition(|token| now < token.expires);
        for token in over {
            info!(event = "api_token_over", user = %token.owner.name, token = %token.id, "an API token is over");
            self.end(&token);
        }
        self.count();
        let written = self.write(live.iter().filter(|token| token.unwritten() >= WRITE_EVERY)).await;
        drop(live);
        // An owner without a token is held by nobody else.
        self.0.owners.retain(|_, owner| Arc::strong_count(owner) > 1);
        self.bury().await?;
        written
    }

    async fn write(&self, used: impl Iterator<Item = &Arc<ApiToken>>) -> Result<(), StoreError> {
        let moved: Vec<_> = used.map(|token| (token, token.last_used.load(Ordering::Relaxed))).collect();
        let rows: Vec<_> = moved.iter().map(|(token, when)| (token.id.0, *when)).collect();
        self.0.store.touch_api_tokens(&rows).await?;
        for (token, when) in moved {
            token.written.store(when, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A row becomes a live token again. One that cannot be opened was sealed elsewhere or changed, and is dropped.
    fn take_back(&self, row: &ApiTokenRow, owner: Arc<Owner>) {
        let doomed = self.0.doomed.lock().unwrap_or_else(PoisonError::into_inner).contains(&TokenId(row.id));
        if doomed || self.0.live.contains_key(&row.hash) {
            return;
        }
        let plain = self.0.sealer.open(&context(&row.hash), &row.sealed);
        let Some((opened, scopes)) = plain.and_then(|plain| kept::open(row, &plain)) else {
            warn!(event = "api_token_dropped", user = %row.owner, "an API token was sealed elsewhere or changed");
            return self.doom(TokenId(row.id));
        };
        if row.expires <= self.0.clock.now() {
            return self.doom(TokenId(row.id));
        }
        let token = ApiToken::new(Fresh {
            id: TokenId(row.id),
            hash: row.hash,
            owner,
            scopes,
            note: Note::parse(&opened.note).unwrap_or_default(),
            created: opened.created,
            expires: row.expires,
            last_used: row.last_used,
        });
        self.0.live.insert(row.hash, Arc::new(token));
    }

    /// The one entry of an owner. What they may do is for [`ApiTokens::judged`] to change.
    fn owner(&self, right: Right) -> Arc<Owner> {
        let entry = self.0.owners.entry(right.user.name.clone());
        Arc::clone(&entry.or_insert_with(|| Arc::new(Owner::new(right))))
    }

    fn end(&self, token: &ApiToken) {
        self.0.live.remove(&token.hash);
        token.ended.cancel();
        self.doom(token.id);
    }

    fn doom(&self, id: TokenId) {
        self.0.doomed.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    /// Deletes in the store what has ended here.
    async fn bury(&self) -> Result<(), StoreError> {
        let doomed = self.0.doomed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ids: Vec<_> = doomed.iter().map(|id| id.0).collect();
        self.0.store.delete_api_tokens(&ids).await?;
        let mut left = self.0.doomed.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|id| !doomed.contains(id));
        Ok(())
    }

    fn count(&self) {
        self.0.metrics.api_tokens.set(i64::try_from(self.0.live.len()).unwrap_or(i64::MAX));
    }
}

/// Counts as a token until it is dropped.
struct Place<'a> {
    making: &'a Mutex<HashMap<UserName, usize>>,
    name: UserName,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        match making.get_mut(&self.name) {
            Some(places) if *places > 1 => *places -= 1,
            Some(_) | None => drop(making.remove(&self.name)),
        }
    }
}

impl fmt::Debug for ApiTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiTokens({})", self.0.live.len())
    }
}

/// The hash of a token's text. There is one spelling: the prefix, and 43 characters of base64url, unused bits zero.
pub(crate) fn parse(text: &str) -> Option<TokenHash> {
    let random = text.strip_prefix(ApiTokens::PREFIX)?;
    let mut decoded = [0; TOKEN_BYTES + 4];
    // Longer text is refused here, too: there is no room for it.
    let length = URL_SAFE_NO_PAD.decode_slice(random, &mut decoded).ok()?;
    (length == TOKEN_BYTES && random.len() == TOKEN_CHARACTERS).then(|| seal::sha256(text.as_bytes()))
}

/// What seals a token's row to its place.
fn context(hash: &TokenHash) -> String {
    format!("api token:{}", seal::hex(hash))
}

const TOKEN_BYTES: usize = 32;
const TOKEN_CHARACTERS: usize = 43;

/// Seconds between two writes of one token's last use.
const WRITE_EVERY: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_one_spelling() {
        let good = format!("hubgate_{}", "A".repeat(43));
        assert_eq!(parse(&good), Some(seal::sha256(good.as_bytes())));
        for wrong in [
            "",
            "hubgate_",
            &"A".repeat(43),
            &format!("hubgate_{}", "A".repeat(42)),
            &format!("hubgate_{}", "A".repeat(44)),
            &format!("{good}="),
            &format!("HUBGATE_{}", "A".repeat(43)),
            &format!("hubgate_{}B", "A".repeat(42)),
            &format!("hubgate_{}+", "A".repeat(42)),
            &format!("hubgate_{}", "é".repeat(43)),
            &format!("hubgate_{}", "A".repeat(100_000)),
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
