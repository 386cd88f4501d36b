//! Users' access tokens of the provider, as files in those of their workspaces whose profile asks for it.
//!
//! The newest token that was given counts, whichever session it came from. Here tokens are in memory only; who gives
//! them keeps them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::{State, Workspaces, plan};
use crate::config;
use crate::logging::cause;
use crate::secret::Secret;
use crate::spawner::{SpawnError, WorkspaceId};
use crate::user::UserName;

/// What is known of users' tokens.
#[derive(Debug)]
pub(super) struct AccessTokens {
    table: Mutex<Table>,
    /// After an outage everybody's tokens come at once, and each is a program in a container.
    turns: Semaphore,
}

#[derive(Debug, Default)]
struct Table {
    by_user: HashMap<UserName, Given>,
    /// Counts what was given.
    last: u64,
}

/// What was given for a user.
#[derive(Debug, Clone)]
struct Given {
    /// None: their last session is over.
    token: Option<Secret>,
    /// Another one: there is something to write.
    number: u64,
    /// A task writes, and looks again when it has.
    writing: bool,
    /// The runtime was away.
    missed: bool,
}

/// A token as it was when a workspace was started with it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) token: Option<Secret>,
    number: Option<u64>,
}

impl AccessTokens {
    pub(super) fn new() -> Self {
        Self { table: Mutex::default(), turns: Semaphore::new(WRITERS) }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token that a workspace of this user starts with.
    pub(super) fn known(&self, user: &UserName) -> Known {
        let table = self.lock();
        let given = table.by_user.get(user);
        Known { token: given.and_then(|given| given.token.clone()), number: given.map(|given| given.number) }
    }

    /// Whether another was given since.
    fn is_outdated(&self, user: &UserName, known: &Known) -> bool {
        self.lock().by_user.get(user).map(|given| given.number) != known.number
    }
}

impl Table {
    /// Notes that `change` makes something to write; whether a task is needed for it.
    fn change(&mut self, user: &UserName, change: impl FnOnce(&mut Given)) -> bool {
        self.last += 1;
        let empty = Given { token: None, number: 0, writing: false, missed: false };
        let given = self.by_user.entry(user.clone()).or_insert(empty);
        change(given);
        given.number = self.last;
        given.missed = false;
        !std::mem::replace(&mut given.writing, true)
    }

    /// What was written is the newest: the task is over. Nothing is kept of users without a token.
    fn settle(&mut self, user: &UserName, number: u64, missed: bool) -> bool {
        let Some(given) = self.by_user.get_mut(user) else { return true };
        if given.number != number {
            return false;
        }
        given.writing = false;
        given.missed = missed;
        if given.token.is_none() && !missed {
            self.by_user.remove(user);
        }
        true
    }
}

impl Workspaces {
    /// The user's newest access token; `None` when their last session is over, which leaves the file empty. Returns at
    /// once: it is written in its own time, where a workspace that runs or starts has a profile that asks for it.
    pub fn give_token(&self, user: &UserName, token: Option<&Secret>) {
        if !self.0.profiles.iter().any(|profile| profile.access_token_file.is_some()) {
            return;
        }
        self.write_token(user, |given| given.token = token.cloned());
    }

    /// A workspace has just been started with `known`: it may have missed another while its container was made.
    pub(super) fn catch_up(&self, user: &UserName, known: &Known) {
        if self.0.access_tokens.is_outdated(user, known) {
            self.write_token(user, |_| {});
        }
    }

    /// A workspace came to be known that ran already: whatever is known of its owner's token is written.
    pub(super) fn catch_up_with_running(&self, user: &UserName) {
        if self.0.access_tokens.known(user).number.is_some() {
            self.write_token(user, |_| {});
        }
    }

    /// The runtime is back.
    pub(super) fn write_missed_tokens(&self) {
        let missed: Vec<UserName> = {
            let table = self.0.access_tokens.lock();
            let missed = table.by_user.iter().filter(|(_, given)| given.missed && !given.writing);
            missed.map(|(user, _)| user.clone()).collect()
        };
        for user in missed {
            self.write_token(&user, |_| {});
        }
    }

    /// One task a user at most, which writes until there is nothing newer.
    fn write_token(&self, user: &UserName, change: impl FnOnce(&mut Given)) {
        if !self.0.access_tokens.lock().change(user, change) {
            return;
        }
        let (workspaces, user) = (self.clone(), user.clone());
        let writing = self.0.tasks.writing();
        self.0.tasks.spawn(async move {
            let _writing = writing;
            loop {
                let _turn = workspaces.0.access_tokens.turns.acquire().await;
                let Some(given) = workspaces.0.access_tokens.lock().by_user.get(&user).cloned() else {
                    return;
                };
                let missed = workspaces.write_everywhere(&user, given.token.as_ref()).await;
                if workspaces.0.access_tokens.lock().settle(&user, given.number, missed) {
                    return;
                }
            }
        });
    }

    /// Whether the runtime was away.
    async fn write_everywhere(&self, user: &UserName, token: Option<&Secret>) -> bool {
        let mut missed = false;
        for (id, instance, profile) in self.that_ask(user) {
            let Some(file) = plan::access_token_file(&profile, &self.0.place, token) else { continue };
            match self.0.spawner.put(&id, &instance, &file).await {
                Ok(()) => debug!(workspace = %id, signed_in = token.is_some(), "access token written"),
                Err(error) => {
                    warn!(event = "access_token_not_written", workspace = %id, error = cause(&error), remedy = error.remedy(), "a workspace has no fresh access token");
                    missed |= matches!(error, SpawnError::Unreachable { .. });
                }
            }
        }
        missed
    }

    /// The user's workspaces whose profile asks for a token.
    fn that_ask(&self, user: &UserName) -> Vec<(WorkspaceId, Arc<str>, Arc<config::Profile>)> {
        let theirs = self.0.states.iter().filter(|entry| entry.key().user == *user);
        let running = theirs.filter_map(|entry| {
            let (instance, profile) = match entry.value() {
                State::Ready(ready) => (Arc::clone(&ready.instance), &ready.profile),
                State::Starting(starting) => (self.starting_instance(entry.key())?, &starting.profile),
                State::Failing(_) | State::Stopping => return None,
            };
            Some((entry.key().clone(), instance, Arc::clone(self.profile(profile)?)))
        });
        running.filter(|(_, _, profile)| profile.access_token_file.is_some()).collect()
    }
}

/// So many files are written at once.
const WRITERS: usize = 8;
