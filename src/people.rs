//! What the provider last said of each person who has a name here, kept sealed: who is away can still be judged.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Timestamp};
use crate::identity::Identity;
use crate::seal::Sealer;
use crate::store::{PersonRow, Store, StoreError};
use crate::user::UserName;

/// The people that the hub knows; a clone is another handle.
#[derive(Clone)]
pub struct People {
    store: Store,
    sealer: Arc<Sealer>,
    clock: Clock,
}

/// A person as the provider last described them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    version: u32,
    /// Which provider, by its name in the configuration.
    pub provider: String,
    /// What it said.
    pub identity: Identity,
    /// When.
    pub at: Timestamp,
    /// It said since that they may not enter any more, whatever the rules are.
    #[serde(default)]
    pub barred: bool,
}

#[derive(Serialize)]
struct Kept<'a> {
    version: u32,
    provider: &'a str,
    identity: &'a Identity,
    at: Timestamp,
    barred: bool,
}

impl People {
    /// The people in `store`.
    pub fn new(store: Store, sealer: Arc<Sealer>, clock: Clock) -> Self {
        Self { store, sealer, clock }
    }

    /// Keeps what `provider` said of the person who is called `name` here, at a login or a refresh.
    pub async fn remember(
        &self,
        name: &UserName,
        provider: &str,
        identity: &Identity,
    ) -> Result<(), StoreError> {
        let kept = Kept { version: VERSION, provider, identity, at: self.clock.now(), barred: false };
        self.keep(name, &kept).await
    }

    /// The same, of somebody whom it lets in no more: that holds until they sign in again.
    pub async fn bar(&self, name: &UserName, provider: &str, identity: &Identity) -> Result<(), StoreError> {
        let kept = Kept { version: VERSION, provider, identity, at: self.clock.now(), barred: true };
        self.keep(name, &kept).await
    }

    async fn keep(&self, name: &UserName, kept: &Kept<'_>) -> Result<(), StoreError> {
        let sealed = self.sealer.seal(&context(name), &plain(kept));
        self.store.keep_identity(&kept.identity.issuer, &kept.identity.subject, &sealed).await
    }

    /// What was last said of `name`. Nothing of whoever has not signed in since this is kept, or if it was changed.
    pub async fn recall(&self, name: &UserName) -> Result<Option<Known>, StoreError> {
        let Some(sealed) = self.store.identity(name).await? else { return Ok(None) };
        let known = self.sealer.open(&context(name), &sealed).and_then(|plain| parse(&plain));
        let Some(known) = known else { return Ok(None) };
        // Sealed for a name, and the name is this person's.
        let owner = self.store.name_of(&known.identity.issuer, &known.identity.subject).await?;
        Ok((owner.as_ref() == Some(name)).then_some(known))
    }

    /// What was last said of everybody whom the provider lets in, by name.
    pub async fn everybody(&self) -> Result<Vec<(UserName, Known)>, StoreError> {
        let mut everybody = Vec::new();
        for (at, (row, sealed)) in self.store.identities().await?.into_iter().enumerate() {
            let known = self.sealer.open(&context(&row.name), &sealed).and_then(|plain| parse(&plain));
            // Sealed for a name, and the name is this person's.
            let theirs =
                |known: &Known| known.identity.issuer == row.issuer && known.identity.subject == row.subject;
            if let Some(known) = known.filter(|known| !known.barred && theirs(known)) {
                everybody.push((row.name, known));
            }
            // Thousands take long, and others wait for this thread.
            if at % 64 == 63 {
                tokio::task::yield_now().await;
            }
        }
        Ok(everybody)
    }

    /// Whoever has this name here.
    pub async fn find(&self, name: &UserName) -> Result<Option<PersonRow>, StoreError> {
        self.store.person(name).await
    }

    /// Since when somebody is known: by their first login, or by an administrator who expects them.
    pub async fn since(&self, name: &UserName) -> Result<Option<Timestamp>, StoreError> {
        self.store.user_since(name).await
    }

    /// Expects people of these names: they are known before they come, and may enter no more than before. Answers who
    /// of them was not known, and is from now on.
    pub async fn expect(&self, names: &[UserName]) -> Result<Vec<(UserName, Timestamp)>, StoreError> {
        let now = self.clock.now();
        let new = self.store.expect_users(names, now).await?;
        Ok(new.into_iter().map(|name| (name, now)).collect())
    }

    /// How many are.
    pub async fn count_expected(&self) -> Result<usize, StoreError> {
        self.store.count_expected_users().await
    }

    /// Who is expected, and since when.
    pub async fn expected(&self) -> Result<Vec<(UserName, Timestamp)>, StoreError> {
        self.store.expected_users().await
    }

    /// Forgets somebody. What they have elsewhere, in memory, must have ended.
    pub async fn forget(&self, name: &UserName) -> Result<(), StoreError> {
        self.store.forget_user(name).await
    }

    /// Everybody who has a name here.
    pub async fn all(&self) -> Result<Vec<PersonRow>, StoreError> {
        self.store.people().await
    }

    /// What an identity's person is called here, if they have been here.
    pub async fn name_of(&self, identity: &Identity) -> Result<Option<UserName>, StoreError> {
        self.store.name_of(&identity.issuer, &identity.subject).await
    }
}

fn plain(kept: &Kept<'_>) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "strings, numbers and JSON values with string keys: all are JSON")]
    serde_json::to_vec(kept).expect("JSON")
}

fn parse(plain: &[u8]) -> Option<Known> {
    serde_json::from_slice(plain).ok().filter(|known: &Known| known.version == VERSION)
}

fn context(name: &UserName) -> String {
    format!("identity:{name}")
}

impl fmt::Debug for People {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("People")
    }
}

const VERSION: u32 = 1;
