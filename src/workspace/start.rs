//! How a workspace comes up: its image, its container, and until it answers.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::plan;
use super::{Chosen, Failure, Ready, StartError, State, Workspaces};
use crate::config;
use crate::logging::cause;
use crate::preset;
use crate::seal::random_text;
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
        let outcome = self.bring_up_in_time(&id, &user, (&profile, chosen), &progress).await;
        self.0.metrics.workspace_start.observe(began.elapsed().as_secs_f64());
        match outcome {
            Ok(ready) => {
                info!(event = "workspace_ready", workspace = %id, profile = %ready.profile, mode = ?ready.mode, elapsed = ?began.elapsed(), "workspace ready");
                self.0.states.insert(id.clone(), State::Ready(Arc::new(ready)));
            }
            Err(error) => {
                Self::report(&id, &profile, &error);
                // What is left of it must not linger; it may not exist at all.
                if let Err(error) = self.end(&id, &profile.name, None).await {
                    warn!(workspace = %id, error = cause(&error), "cannot clear a failed start");
                }
                let failure = Failure { profile: profile.name.as_str().into(), at: Instant::now(), error };
                self.0.states.insert(id.clone(), State::Failing(Arc::new(failure)));
            }
        }
        self.forget_instance(&id);
        self.count();
    }

    fn report(id: &WorkspaceId, profile: &config::Profile, error: &StartError) {
        let log = match error {
            StartError::Spawn(SpawnError::Ended { log, .. }) => log.as_str(),
            StartError::Spawn(_)
            | StartError::Timeout { .. }
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

    /// How long a start may take is known for certain only when its image is.
    async fn bring_up_in_time(
        &self,
        id: &WorkspaceId,
        user: &User,
        (profile, chosen): (&config::Profile, Chosen),
        progress: &Progress,
    ) -> Result<Ready, StartError> {
        let began = tokio::time::Instant::now();
        let after = self.settled(profile).start_timeout;
        let image = tokio::time::timeout_at(began + after, self.0.spawner.image(&profile.image, progress));
        let image = image.await.map_err(|_elapsed| StartError::Timeout { after })??;
        self.0.kinds.note(&profile.name.as_str().into(), preset::find(profile, &image).preset);
        let after = self.settled(profile).start_timeout;
        let up = tokio::time::timeout_at(
            began + after,
            self.bring_up(id, user, (profile, &image, chosen), progress),
        );
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
        self.note_instance(id, &instance);
        let running = self.0.spawner.start(&spec, progress).await?;
        // An earlier start may have left one running: then it is that one's token that counts.
        self.note_instance(id, &running.instance);
        if running.instance == instance {
            self.catch_up(&id.user, &known);
        } else {
            self.catch_up_with_running(&id.user);
        }
        progress.report(Phase::Booting);
        let ready = self.ready(running);
        self.until_it_answers(&ready).await?;
        Ok(ready)
    }

    /// Waits for its server: any answer below 500 to `GET <prefix>api`, as JupyterHub does, or to its first page.
    pub(super) async fn until_it_answers(&self, ready: &Ready) -> Result<(), StartError> {
        let mut pause = Duration::from_millis(50);
        loop {
            if self.0.forwarder.probe(&ready.pool, &ready.readiness, &self.0.public_host).await {
                return Ok(());
            }
            if let Status::Ended(ended) = self.0.spawner.status(&ready.id).await? {
                let (code, out_of_memory, log) = (ended.exit_code, ended.out_of_memory, ended.log);
                return Err(SpawnError::Ended { code, out_of_memory, log }.into());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_secs(1));
        }
    }

    pub(super) fn note_instance(&self, id: &WorkspaceId, instance: &Arc<str>) {
        let mut starting = self.0.starting.lock().unwrap_or_else(PoisonError::into_inner);
        starting.insert(id.clone(), Arc::clone(instance));
    }

    pub(super) fn starting_instance(&self, id: &WorkspaceId) -> Option<Arc<str>> {
        self.0.starting.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(super) fn forget_instance(&self, id: &WorkspaceId) {
        self.0.starting.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}
