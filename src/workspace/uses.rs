//! When workspaces were last used, through a restart of hubgate: written down by each sweep.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{State, Workspaces};
use crate::clock::Timestamp;
use crate::spawner::WorkspaceId;
use crate::store::{Store, StoreError, UseRow};

/// What the store knows of the last use of each workspace.
#[derive(Debug)]
pub struct Uses {
    kept: Mutex<HashMap<WorkspaceId, UseRow>>,
    /// Whether the runtime has been asked for all that run: until then, none is over.
    complete: AtomicBool,
    store: Store,
}

impl Uses {
    /// None yet.
    pub fn new(store: Store) -> Self {
        Self { kept: Mutex::default(), complete: AtomicBool::new(false), store }
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

    /// Whatever runs is known from now on.
    pub(super) fn complete(&self) {
        self.complete.store(true, Ordering::Relaxed);
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

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkspaceId, UseRow>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workspaces {
    /// Writes down when they were last used.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        // Before they are looked through: what is found meanwhile is not over.
        let complete = self.0.uses.complete.load(Ordering::Relaxed);
        let (mut used, mut known) = (Vec::new(), HashSet::new());
        for (id, state) in self.all() {
            if let State::Ready(ready) = state {
                used.push(UseRow {
                    owner: id.user.clone(),
                    server: id.server.clone(),
                    instance: ready.instance.as_ref().to_owned(),
                    used: ready.activity.last(),
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
