//! How a workspace comes up: its image, its container, and until it answers.

use std::num::NonZeroU16;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::plan;
use super::{Chosen, Failure, Ready, StartError, State, Workspaces};
use crate::config::{self, Preset};
use crate::logging::cause;
use crate::preset;
use crate::seal::random_text;
use crate::secret::Secret;
use crate::spawner::{Image, Phase, Progress, SpawnError, Status, WorkspaceId};
use crate::user::User;

impl Workspaces {
    pub(super) async fn run_start(
        &self,
        id: WorkspaceId,
        user: User,
        (profile, chosen): (Arc<config::Profile>, Chosen),
        progress: Progress,
    ) {
        let began = Instant::now();
        let outcome = match self.bring_up_in_time(&id, &user, (&profile, chosen), &progress).await {
            // Whatever went wrong besides, it was wanted no more.
            Err(_) if progress.cancelled().is_cancelled() => Err(StartError::Cancelled),
            outcome => outcome,
        };
        if !matches!(outcome, Err(StartError::Cancelled)) {
            self.0.metrics.workspace_start.observe(began.elapsed().as_secs_f64());
        }
        match outcome {
            Ok(ready) => {
                let (runs, mode, preset) = (Arc::clone(&ready.profile), ready.mode, ready.preset);
                if self.become_ready(ready) {
                    info!(event = "workspace_ready", workspace = %id, profile = %runs, ?mode, elapsed = ?began.elapsed(), "workspace ready");
                } else {
                    self.give_up(&id, &profile, StartError::Cancelled, Some(preset)).await;
                }
            }
            Err(error) => self.give_up(&id, &profile, error, None).await,
        }
        self.forget_instance(&id);
        self.count();
        self.leave_if_told(&id).await;
    }

    /// What is left of a start must not linger; it may not exist at all.
    async fn give_up(
        &self,
        id: &WorkspaceId,
        profile: &config::Profile,
        error: StartError,
        preset: Option<Preset>,
    ) {
        if matches!(error, StartError::Cancelled) {
            info!(event = "workspace_start_cancelled", workspace = %id, profile = profile.name, "a start was cancelled");
        } else {
            Self::report(id, profile, &error);
        }
        if let Err(error) = self.end(id, &profile.name, preset).await {
            warn!(workspace = %id, error = cause(&error), remedy = error.remedy(), "cannot clear a start");
        }
        let failure = Failure { profile: profile.name.as_str().into(), at: Instant::now(), error };
        self.0.states.insert(id.clone(), State::Failing(Arc::new(failure)));
    }

    fn report(id: &WorkspaceId, profile: &config::Profile, error: &StartError) {
        let log = match error {
            StartError::Spawn(SpawnError::Ended { log, .. }) => log.as_str(),
            StartError::Spawn(_)
            | StartError::Timeout { .. }
            | StartError::Cancelled
            | StartError::NoHubApi { .. }
            | StartError::NoCommand { .. } => "",
        };
        warn!(
            event = "workspace_failed",
            workspace = %id,
            profile = profile.name,
            image = profile.image,
            error = cause(error),
            remedy = error.remedy(),
            last_lines = log,
            "workspace did not start",
        );
    }

    /// The image first: fetching it may take hours, which are none of the start's own time. What kind it is says how long
    /// that is.
    async fn bring_up_in_time(
        &self,
        id: &WorkspaceId,
        user: &User,
        (profile, chosen): (&config::Profile, Chosen),
        progress: &Progress,
    ) -> Result<Ready, StartError> {
        let stopping = self.0.tasks.stopping();
        let image = tokio::select! {
            image = self.0.spawner.image(&profile.image, progress) => image?,
            // A pull does not outlive hubgate: nothing would come of waiting for it.
            () = stopping.cancelled() => return Err(StartError::Cancelled),
        };
        self.0.kinds.note(&profile.name.as_str().into(), preset::find(profile, &image).preset);
        let after = self.settled(profile).start_timeout;
        let up = tokio::time::timeout(after, self.bring_up(id, user, (profile, &image, chosen), progress));
        up.await.unwrap_or(Err(StartError::Timeout { after }))
    }

    async fn bring_up(
        &self,
        id: &WorkspaceId,
        user: &User,
        (profile, image, chosen): (&config::Profile, &Image, Chosen),
        progress: &Progress,
    ) -> Result<Ready, StartError> {
        let instance: Arc<str> = random_text::<16>().into();
        let token = self.token(&instance);
        let mut spec = plan::spec(id, user, profile, image, &self.0.place, &instance, &token)?;
        spec.environment.extend(chosen.0);
        let known = self.0.access_tokens.known(&id.user);
        spec.files.extend(plan::access_token_file(profile, &self.0.place, known.token.as_ref()));
        self.note_instance(id, &instance, token);
        let running = self.0.spawner.start(&spec, progress).await?;
        // An earlier start may have left one running: then it is that one's token that counts.
        self.note_instance(id, &running.instance, self.token_of(&running));
        if running.instance == instance {
            self.catch_up(&id.user, &known);
        } else {
            self.catch_up_with_running(&id.user);
        }
        progress.report(Phase::Booting);
        let mut ready = self.ready(running);
        tokio::select! {
            answers = self.until_it_answers(&mut ready) => answers?,
            () = progress.cancelled().cancelled() => return Err(StartError::Cancelled),
        }
        Ok(ready)
    }

    /// Waits for its server: any answer below 500 to `GET <prefix>api`, as JupyterHub does, or to its first page. Where it
    /// listens, it may say itself meanwhile.
    pub(super) async fn until_it_answers(&self, ready: &mut Ready) -> Result<(), StartError> {
        let mut pause = Duration::from_millis(50);
        loop {
            self.follow_port(ready);
            if self.0.forwarder.probe(&ready.pool, &ready.readiness, &self.0.public_host).await {
                return Ok(());
            }
            match self.0.spawner.status(&ready.id).await? {
                Status::Running(_) => {}
                Status::Ended(ended) => {
                    let (code, out_of_memory, log) = (ended.exit_code, ended.out_of_memory, ended.log);
                    return Err(SpawnError::Ended { code, out_of_memory, log }.into());
                }
                // Somebody took it away: nothing will ever answer.
                Status::Absent => {
                    let gone = SpawnError::Ended { code: None, out_of_memory: false, log: String::new() };
                    return Err(gone.into());
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_secs(1));
        }
    }

    /// Looks for it where it said that it listens.
    fn follow_port(&self, ready: &mut Ready) {
        let upstream = ready.pool.upstream();
        let port = self.0.uses.port(&ready.id, &ready.instance).map(NonZeroU16::get);
        if let Some(port) = port.filter(|port| *port != upstream.address.port()) {
            let mut upstream = upstream.clone();
            upstream.address.set_port(port);
            ready.pool = self.0.forwarder.pool(upstream);
        }
    }

    pub(super) fn note_instance(&self, id: &WorkspaceId, instance: &Arc<str>, token: Secret) {
        let mut starting = self.0.starting.lock().unwrap_or_else(PoisonError::into_inner);
        starting.insert(id.clone(), (Arc::clone(instance), token));
    }

    pub(super) fn starting_instance(&self, id: &WorkspaceId) -> Option<Arc<str>> {
        let starting = self.0.starting.lock().unwrap_or_else(PoisonError::into_inner);
        starting.get(id).map(|(instance, _)| Arc::clone(instance))
    }

    pub(super) fn forget_instance(&self, id: &WorkspaceId) {
        self.0.starting.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}
