//! One logged-in browser, and what it may do now.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::renew::Flight;
use super::{Proof, SessionId};
use crate::clock::Timestamp;
use crate::forward::Lifeline;
use crate::identity::Identity;
use crate::oidc::Tokens;
use crate::secret::Secret;
use crate::user::{User, UserName};

/// One logged-in browser. Who it is never changes; what it may do does.
#[derive(Debug)]
pub struct Session {
    /// Which.
    pub id: SessionId,
    /// Whose.
    pub name: UserName,
    /// The provider that they signed in at, by its name in the configuration.
    pub provider: Arc<str>,
    /// When the login was.
    pub created: Timestamp,
    /// How well they proved then who they are.
    pub proof: Proof,
    /// Cancelled when the session ends: whoever holds something open for it lets go.
    pub ended: CancellationToken,
    /// The value of `jupyterhub-session-id`.
    pub jupyterhub_id: Secret,
    /// Must come with every form of ours.
    pub form_token: Secret,
    standing: ArcSwap<Standing>,
    pub(super) last_seen: AtomicU64,
    /// The `last_seen` that the store knows.
    pub(super) written: AtomicU64,
    /// When the standing is to be renewed.
    pub(super) due: AtomicU64,
    /// Since when the provider has failed to renew it; 0: it has not.
    pub(super) trouble: AtomicU64,
    /// The renewal that is under way.
    pub(super) flight: Mutex<Option<Flight>>,
    /// Others at whose hosts this browser has been let in by a click, the latest last.
    agreed: Mutex<VecDeque<UserName>>,
}

/// What a session may do, as the provider said last.
#[derive(Debug)]
pub struct Standing {
    /// Who, and what the rules grant them.
    pub user: User,
    /// As whom the provider knows them.
    pub identity: Identity,
    /// What the provider gave.
    pub tokens: Tokens,
    /// What is open on the word of this standing: it closes, and asks anew, when less is granted than before. It ends
    /// with the session, too.
    pub lifeline: Arc<Lifeline>,
}

/// What [`Session::new`] takes.
pub(super) struct Fresh {
    pub(super) id: SessionId,
    pub(super) provider: Arc<str>,
    pub(super) user: User,
    pub(super) identity: Identity,
    pub(super) tokens: Tokens,
    pub(super) created: Timestamp,
    pub(super) jupyterhub_id: Secret,
    pub(super) form_token: Secret,
    pub(super) due: Timestamp,
}

impl Session {
    /// When it was last used.
    pub fn last_seen(&self) -> Timestamp {
        self.last_seen.load(Ordering::Relaxed)
    }

    pub(super) fn new(fresh: Fresh) -> Self {
        let ended = CancellationToken::new();
        let Fresh { user, identity, tokens, .. } = fresh;
        Self {
            id: fresh.id,
            name: user.name.clone(),
            provider: fresh.provider,
            created: fresh.created,
            proof: Proof::of(&identity),
            jupyterhub_id: fresh.jupyterhub_id,
            form_token: fresh.form_token,
            standing: ArcSwap::from_pointee(Standing {
                user,
                identity,
                tokens,
                lifeline: Lifeline::new(ended.child_token()),
            }),
            ended,
            last_seen: AtomicU64::new(fresh.created),
            written: AtomicU64::new(fresh.created),
            due: AtomicU64::new(fresh.due),
            trouble: AtomicU64::new(0),
            flight: Mutex::new(None),
            agreed: Mutex::default(),
        }
    }

    /// Whether a click has led this browser to somebody else's host before.
    pub fn has_agreed(&self, owner: &UserName) -> bool {
        self.agreed().contains(owner)
    }

    /// A click leads it there.
    pub fn agree(&self, owner: &UserName) {
        let mut agreed = self.agreed();
        if *owner == self.name || agreed.contains(owner) {
            return;
        }
        // Whom it forgets, it asks about again.
        if agreed.len() >= MOST_AGREED {
            agreed.pop_front();
        }
        agreed.push_back(owner.clone());
    }

    fn agreed(&self) -> MutexGuard<'_, VecDeque<UserName>> {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it may do now.
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// Puts a new standing in place of the old. What is open stays open, unless the rules grant less now.
    pub(super) fn stand(&self, user: User, identity: Identity, tokens: Tokens) {
        let old = self.standing();
        let less = user.has_less_than(&old.user);
        let lifeline = if less { self.lifeline() } else { Arc::clone(&old.lifeline) };
        self.standing.store(Arc::new(Standing { user, identity, tokens, lifeline }));
        if less {
            old.lifeline.cut();
        }
    }

    /// Closes what is open without ending the session.
    pub(super) fn interrupt(&self) {
        let old = self.standing();
        let (user, identity, tokens) = (old.user.clone(), old.identity.clone(), old.tokens.clone());
        self.standing.store(Arc::new(Standing { user, identity, tokens, lifeline: self.lifeline() }));
        old.lifeline.cut();
    }

    fn lifeline(&self) -> Arc<Lifeline> {
        Lifeline::new(self.ended.child_token())
    }

    /// Seconds of use that the store does not know of.
    pub(super) fn unwritten(&self) -> u64 {
        self.last_seen.load(Ordering::Relaxed).saturating_sub(self.written.load(Ordering::Relaxed))
    }
}

impl Standing {
    /// Whether a workspace that runs this profile may be used.
    pub fn grants(&self, profile: &str) -> bool {
        self.user.profiles.iter().any(|granted| &**granted == profile)
    }
}

/// Others at whose hosts a browser is remembered to have been let in.
const MOST_AGREED: usize = 50;
