//! Memory follows the runtime: at start, on a timer, and when the runtime says that something died.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::mapref::entry::Entry;
use futures_util::StreamExt;
use tracing::{info, warn};

use super::{StartError, Starting, State, Workspaces};
use crate::logging::cause;
use crate::spawner::{Phase, Progress, Running, SpawnError, Status, WorkspaceId};

impl Workspaces {
    /// Adopts what runs, drops what does not. Never touches a start or a stop that is under way.
    pub async fn reconcile(&self) -> Result<(), SpawnError> {
        self.compare(LastUse::Asked).await
    }

    /// The first of these after another process, which has just written down when each was last used. None is asked for
    /// that: one that expects a hub would ask this one who asks, and nobody is answered yet.
    pub async fn take_over(&self) -> Result<(), SpawnError> {
        self.compare(LastUse::Written).await
    }

    async fn compare(&self, last_use: LastUse) -> Result<(), SpawnError> {
        let asked = Instant::now();
        let running = self.0.spawner.list().await?;
        let alive: HashSet<Arc<str>> = running.iter().map(|running| Arc::clone(&running.instance)).collect();
        let listed = running.iter().map(|running| running.id.clone()).collect();
        for running in running {
            self.adopt(running, last_use);
        }
        self.0.uses.list(listed);
        self.write_missed_tokens();
        let gone = |state: &State| match state {
            State::Ready(ready) => !alive.contains(&ready.instance) && ready.since < asked,
            State::Starting(_) | State::Failing(_) | State::Stopping => false,
        };
        let lost: Vec<WorkspaceId> = self
            .0
            .states
            .iter()
            .filter(|entry| gone(entry.value()))
            .map(|entry| entry.key().clone())
            .collect();
        for id in lost {
            self.0.states.remove_if(&id, |_, state| gone(state));
            warn!(event = "workspace_gone", workspace = %id, "workspace is gone from the runtime");
        }
        self.count();
        Ok(())
    }

    /// Keeps memory true until the turn ends: follows the runtime's events, and compares every `interval`.
    pub async fn watch(&self, interval: Duration) {
        self.0.tasks.turn().resting.run_until_cancelled(self.follow(interval)).await;
    }

    async fn follow(&self, interval: Duration) {
        let mut pause = SOONEST;
        let mut told = false;
        'watching: loop {
            let mut events = self.0.spawner.events();
            // Compared after the events are followed: nothing falls between.
            if let Err(error) = self.reconcile().await {
                warn!(error = cause(&error), remedy = error.remedy(), "cannot list workspaces");
            }
            told = told || self.tell_exposure().await;
            let began = Instant::now();
            let until = tokio::time::sleep(interval);
            tokio::pin!(until);
            loop {
                tokio::select! {
                    () = &mut until => continue 'watching,
                    event = events.next() => {
                        let Some(event) = event else { break };
                        self.verify(&event.id, &event.instance).await;
                    }
                }
            }
            // The runtime went away. What ran may be gone with it, and its address soon another's.
            if began.elapsed() >= interval {
                pause = SOONEST;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(interval);
        }
    }

    /// Says whether workspaces reach each other. Answers whether that is known.
    async fn tell_exposure(&self) -> bool {
        let exposure = self.0.spawner.exposure().await;
        if let Ok(Some(exposure)) = &exposure {
            warn!(
                event = "workspaces_exposed",
                network = exposure.network,
                why = exposure.why,
                remedy = exposure.remedy,
                "workspaces reach each other past hubgate"
            );
        }
        exposure.is_ok()
    }

    /// Drops a workspace that does not run any more.
    pub(super) async fn verify(&self, id: &WorkspaceId, instance: &Arc<str>) {
        let is_it = |state: &State| matches!(state, State::Ready(ready) if ready.instance == *instance);
        if !self.0.states.get(id).is_some_and(|state| is_it(&state)) {
            return;
        }
        match self.0.spawner.status(id).await {
            Ok(Status::Running(running)) if running.instance == *instance => {}
            Ok(Status::Ended(ended)) => {
                warn!(event = "workspace_died", workspace = %id, exit_code = ended.exit_code, out_of_memory = ended.out_of_memory, last_lines = ended.log, "workspace died");
                self.0.states.remove_if(id, |_, state| is_it(state));
            }
            Ok(Status::Running(_) | Status::Absent) => {
                warn!(event = "workspace_gone", workspace = %id, "workspace is gone from the runtime");
                self.0.states.remove_if(id, |_, state| is_it(state));
            }
            Err(error) => {
                warn!(workspace = %id, error = cause(&error), "cannot ask for a workspace");
            }
        }
        self.count();
    }

    /// Takes over a workspace that runs and is not known. It counts as starting until it answers.
    fn adopt(&self, running: Running, last_use: LastUse) {
        self.0.named.adopt(&running.id);
        if self.profile(&running.profile).is_none() {
            warn!(workspace = %running.id, profile = %running.profile, "a workspace runs a profile that is not configured any more");
        }
        let (progress, phase) = Progress::new();
        progress.report(Phase::Booting);
        let id = running.id.clone();
        let cancelled = progress.cancelled().clone();
        let profile = Arc::clone(&running.profile);
        let starting = Starting { profile, since: Instant::now(), phase, cancelled };
        match self.0.states.entry(id.clone()) {
            // What a failed start left behind runs all the same.
            Entry::Occupied(mut entry) if matches!(entry.get(), State::Failing(_)) => {
                entry.insert(State::Starting(starting));
            }
            Entry::Occupied(_) => return,
            Entry::Vacant(entry) => {
                entry.insert(State::Starting(starting));
            }
        }
        self.note_instance(&id, &running.instance, self.token_of(&running));
        self.catch_up_with_running(&id.user);
        let (workspaces, given) = (self.clone(), self.0.tasks.turn().given);
        self.0.tasks.spawn(async move {
            let adopting = workspaces.wait_for(running, last_use, progress);
            if given.run_until_cancelled(adopting).await.is_none() {
                workspaces.let_go(&id);
            }
        });
    }

    /// The rest of an adoption.
    async fn wait_for(&self, running: Running, last_use: LastUse, progress: Progress) {
        let mut ready = self.ready(running);
        let (id, profile, preset) = (ready.id.clone(), Arc::clone(&ready.profile), ready.preset);
        let answered = tokio::select! {
            answered = tokio::time::timeout(PATIENCE, self.until_it_answers(&mut ready)) => answered,
            () = progress.cancelled().cancelled() => Ok(Err(StartError::Cancelled)),
        };
        if last_use == LastUse::Asked && matches!(answered, Ok(Ok(()))) {
            // It may compute since long before there was this hubgate.
            self.ask_if_idle(&ready).await;
        }
        let is_starting = |_: &WorkspaceId, state: &State| matches!(state, State::Starting(_));
        if matches!(answered, Ok(Ok(()))) && self.become_ready(ready) {
            info!(event = "workspace_adopted", workspace = %id, profile = %profile, "workspace adopted");
        } else if self.0.states.remove_if(&id, is_starting).is_some() {
            warn!(workspace = %id, "a running workspace does not answer");
        } else {
            // Somebody stopped it meanwhile: that is no start that they cancelled.
            self.finish_stop(&id, &profile, preset).await;
        }
        drop(progress);
        self.forget_instance(&id);
        self.count();
    }
}

/// How it is known when a workspace that is adopted was last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastUse {
    /// It says so itself, if it seems idle.
    Asked,
    /// The store has it.
    Written,
}

/// What runs answers within this time.
const PATIENCE: Duration = Duration::from_mins(1);
/// After the runtime went away, it is looked for again so soon at first.
const SOONEST: Duration = Duration::from_millis(100);
