//! What is known of those that run through a restart of hubgate: when they were last used, written down by each sweep, and
//! at which port they said that they listen.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{State, Workspaces};
use crate::clock::Timestamp;
use crate::spawner::WorkspaceId;
use crate::store::{Store, StoreError, UseRow};

/// What the store knows of the last use of each workspace.
#[derive(Debug)]
pub struct Uses {
    kept: Mutex<HashMap<WorkspaceId, UseRow>>,
    /// All that run, as the runtime last told: until it has, none is over.
    listed: Mutex<Option<HashSet<WorkspaceId>>>,
    store: Store,
}

impl Uses {
    /// None yet.
    pub fn new(store: Store) -> Self {
        Self { kept: Mutex::default(), listed: Mutex::default(), store }
    }

    /// Those that the store knows.
    pub(super) async fn restore(&self) -> Result<(), StoreError> {
        let rows = self.store.uses().await?;
        self.lock().extend(rows.into_iter().map(|row| (id_of(&row), row)));
        Ok(())
    }

    /// When this start of it was last used, as far as is known.
    pub(super) fn last(&self, id: &WorkspaceId, instance: &str) -> Option<Timestamp> {
        self.lock().get(id).filter(|row| row.instance == instance).map(|row| row.used)
    }

    /// Where this start of it said that it listens.
    pub(super) fn port(&self, id: &WorkspaceId, instance: &str) -> Option<NonZeroU16> {
        self.lock().get(id).filter(|row| row.instance == instance).and_then(|row| row.port)
    }

    /// This is all that runs.
    pub(super) fn list(&self, running: HashSet<WorkspaceId>) {
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
    }

    fn listed(&self) -> Option<HashSet<WorkspaceId>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes down what is new in `used`, and forgets what is not `known`, where that is all there is.
    async fn write(
        &self,
        mut used: Vec<UseRow>,
        known: Option<&HashSet<WorkspaceId>>,
    ) -> Result<(), StoreError> {
        let over: Vec<WorkspaceId> = {
            let kept = self.lock();
            used.retain(|row| kept.get(&id_of(row)) != Some(row));
            let is_over = |id: &&WorkspaceId| known.is_some_and(|known| !known.contains(*id));
            kept.keys().filter(is_over).cloned().collect()
        };
        let named: Vec<_> = over.iter().map(|id| (id.user.clone(), id.server.clone())).collect();
        self.store.keep_uses(&used, &named).await?;
        let mut kept = self.lock();
        kept.retain(|id, _| !over.contains(id));
        kept.extend(used.into_iter().map(|row| (id_of(&row), row)));
        Ok(())
    }

    /// Keeps one, now.
    async fn keep(&self, row: UseRow) -> Result<(), StoreError> {
        self.store.keep_uses(std::slice::from_ref(&row), &[]).await?;
        self.lock().insert(id_of(&row), row);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkspaceId, UseRow>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workspaces {
    /// A container says at which of its ports its server is going to listen: batchspawner's images choose it themselves.
    /// Answers whether that can be heeded: only while it starts, and where it has an address of its own, for all of them
    /// are its own ports there.
    pub async fn note_port(&self, id: &WorkspaceId, port: NonZeroU16) -> Result<bool, StoreError> {
        let starts = matches!(self.state(id), Some(State::Starting(_)));
        let Some(instance) = self.starting_instance(id).filter(|_| starts && self.0.spawner.isolates())
        else {
            return Ok(false);
        };
        let now = self.0.clock.now();
        let said = self.0.uses.lock().get(id).filter(|row| row.instance == *instance).cloned();
        if let Some(said) = said.filter(|row| row.port.is_some()) {
            // Who says it on and on has nothing written for it.
            if said.port == Some(port) || said.used == now {
                return Ok(said.port == Some(port));
            }
        }
        let (owner, server) = (id.user.clone(), id.server.clone());
        let (instance, used) = (instance.as_ref().to_owned(), now);
        self.0.uses.keep(UseRow { owner, server, instance, used, port: Some(port) }).await?;
        Ok(true)
    }

    /// Writes down when they were last used.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        // Before they are looked through: what is found meanwhile is not over.
        let listed = self.0.uses.listed();
        let complete = listed.is_some();
        // One that runs and does not answer is none of ours, until it does.
        let (mut used, mut known) = (Vec::new(), listed.unwrap_or_default());
        for (id, state) in self.all() {
            if let State::Ready(ready) = state {
                used.push(UseRow {
                    owner: id.user.clone(),
                    server: id.server.clone(),
                    instance: ready.instance.as_ref().to_owned(),
                    used: ready.activity.last(),
                    port: self.0.uses.port(&id, &ready.instance),
                });
            }
            known.insert(id);
        }
        self.0.uses.write(used, complete.then_some(&known)).await
    }
}

fn id_of(row: &UseRow) -> WorkspaceId {
    WorkspaceId { user: row.owner.clone(), server: row.server.clone() }
}
