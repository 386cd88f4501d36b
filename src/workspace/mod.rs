//! Users' workspaces: who has one, how it is, one start at a time. Memory is a cache; the runtime is the record.

mod access_token;
mod doors;
mod ending;
mod kinds;
mod named;
mod options;
mod plan;
mod reconcile;
mod state;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::mapref::entry::Entry;
use dashmap::{DashMap, DashSet};
use foldhash::fast::RandomState;
use http::HeaderValue;
use tracing::{info, warn};
use url::Url;

use crate::clock::{Clock, Timestamp};
use crate::config::{self, Mode, Preset};
use crate::forward::{Activity, Forwarder, Pool};
use crate::logging::cause;
use crate::metrics::{Metrics, State as StateLabel};
use crate::preset;
use crate::seal::{Sealer, random_text};
use crate::secret::Secret;
use crate::server_name::ServerName;
use crate::spawner::{Image, Phase, Progress, Running, SpawnError, Spawner, Status, WorkspaceId};
use crate::store::StoreError;
use crate::tasks::Tasks;
use crate::upstream::Upstream;
use crate::user::{User, UserName};

use self::access_token::AccessTokens;
use self::doors::Doors;
use self::kinds::Kinds;

pub use named::{NamedServers, ServerError};
pub use options::{Chosen, NoChoice};
pub use plan::{Place, mounts};
pub use state::{Failure, Ready, StartError, Starting, State};

/// All workspaces; a clone is another handle.
#[derive(Clone)]
pub struct Workspaces(Arc<Shared>);

struct Shared {
    states: DashMap<WorkspaceId, State, RandomState>,
    profiles: Vec<Arc<config::Profile>>,
    kinds: Kinds,
    place: Place,
    spawner: Arc<dyn Spawner>,
    forwarder: Forwarder,
    sealer: Arc<Sealer>,
    public_host: HeaderValue,
    metrics: Metrics,
    tasks: Tasks,
    starting: Mutex<HashMap<WorkspaceId, Arc<str>>>,
    access_tokens: AccessTokens,
    named: NamedServers,
    /// Named ones that are to be taken away from their owners when they have stopped.
    leaving: DashSet<WorkspaceId>,
    clock: Clock,
}

/// What a [`Workspaces`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// What users may start.
    pub profiles: Vec<config::Profile>,
    /// What containers are told of their surroundings.
    pub place: Place,
    /// What runs them.
    pub spawner: Arc<dyn Spawner>,
    /// What reaches them.
    pub forwarder: Forwarder,
    /// Derives their tokens.
    pub sealer: Arc<Sealer>,
    /// The hub's origin.
    pub public: Url,
    /// Which have names.
    pub named: NamedServers,
    /// Says when they are used.
    pub clock: Clock,
    /// Counts them.
    pub metrics: Metrics,
    /// Runs starts.
    pub tasks: Tasks,
}

impl Workspaces {
    /// None yet: see [`Workspaces::reconcile`].
    pub fn new(parts: Parts) -> Self {
        let host = parts.public.host_str().unwrap_or_default();
        let host = parts.public.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Self(Arc::new(Shared {
            states: DashMap::with_hasher(RandomState::default()),
            profiles: parts.profiles.into_iter().map(Arc::new).collect(),
            kinds: Kinds::default(),
            place: parts.place,
            spawner: parts.spawner,
            forwarder: parts.forwarder,
            sealer: parts.sealer,
            public_host: HeaderValue::from_str(&host).unwrap_or(HeaderValue::from_static("localhost")),
            metrics: parts.metrics,
            tasks: parts.tasks,
            starting: Mutex::default(),
            access_tokens: AccessTokens::new(),
            named: parts.named,
            leaving: DashSet::new(),
            clock: parts.clock,
        }))
    }

    /// Reads which users have workspaces with names.
    pub async fn restore(&self) -> Result<(), StoreError> {
        self.0.named.restore().await
    }

    /// The id of a user's default workspace.
    pub fn id(&self, user: &UserName) -> WorkspaceId {
        WorkspaceId { user: user.clone(), server: ServerName::default() }
    }

    /// Which of a user's workspaces answers at `below`, the part of a path behind `/user/<name>/`: a named one where
    /// its first segment is the name of one, letter for letter; else the default one.
    pub fn at(&self, user: &UserName, below: &str) -> WorkspaceId {
        let segment = below.split('/').next().unwrap_or_default();
        let server = self.0.named.find(user, segment).unwrap_or_default();
        WorkspaceId { user: user.clone(), server }
    }

    /// A user's workspaces, the default one first, whether they run or not.
    pub fn of(&self, user: &UserName) -> Vec<WorkspaceId> {
        let id = |server| WorkspaceId { user: user.clone(), server };
        std::iter::once(id(ServerName::default())).chain(self.0.named.of(user).into_iter().map(id)).collect()
    }

    /// Gives a user one more workspace, which does not run yet. One that is there already, as the default one always is,
    /// stays as it is.
    pub async fn add_server(&self, id: &WorkspaceId, now: Timestamp) -> Result<(), ServerError> {
        self.0.named.add(id, now).await
    }

    /// Takes a named workspace that does not run away from its owner. Its volumes stay.
    pub async fn remove_server(&self, id: &WorkspaceId) -> Result<(), ServerError> {
        // Nobody starts it meanwhile.
        match self.0.states.entry(id.clone()) {
            Entry::Occupied(mut entry) if matches!(entry.get(), State::Failing(_)) => {
                entry.insert(State::Stopping);
            }
            Entry::Occupied(_) => return Err(ServerError::Runs),
            Entry::Vacant(entry) => {
                entry.insert(State::Stopping);
            }
        }
        let removed = self.0.named.remove(id).await;
        self.0.states.remove_if(id, |_, state| matches!(state, State::Stopping));
        self.count();
        removed
    }

    /// How many named workspaces a user may have.
    pub fn most_named(&self) -> u32 {
        self.0.named.most()
    }

    /// How it is; `None`: it does not run.
    pub fn state(&self, id: &WorkspaceId) -> Option<State> {
        self.0.states.get(id).map(|state| state.clone())
    }

    /// All that are known, by user.
    pub fn all(&self) -> Vec<(WorkspaceId, State)> {
        let states = self.0.states.iter().map(|entry| (entry.key().clone(), entry.value().clone()));
        let mut all: Vec<_> = states.collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    /// A profile by name.
    pub fn profile(&self, name: &str) -> Option<&Arc<config::Profile>> {
        self.0.profiles.iter().find(|profile| profile.name == name)
    }

    /// Starts a workspace, unless it runs, starts or stops already. It goes on when whoever asked is gone.
    pub fn start(&self, id: &WorkspaceId, user: &User, profile: &Arc<config::Profile>, chosen: Chosen) {
        debug_assert_eq!(id.user, user.name, "a workspace is its owner's to start");
        let (progress, phase) = Progress::new();
        let name: Arc<str> = profile.name.as_str().into();
        let starting = State::Starting(Starting { profile: name, since: Instant::now(), phase });
        match self.0.states.entry(id.clone()) {
            Entry::Occupied(mut entry) => match entry.get() {
                State::Failing(_) => {
                    entry.insert(starting);
                }
                State::Starting(_) | State::Ready(_) | State::Stopping => return,
            },
            Entry::Vacant(entry) => {
                entry.insert(starting);
            }
        }
        self.count();
        let (workspaces, id, user, profile) = (self.clone(), id.clone(), user.clone(), Arc::clone(profile));
        self.0.tasks.spawn(async move { workspaces.run_start(id, user, (profile, chosen), progress).await });
    }

    /// Stops a workspace. Its owner's websockets end with it.
    pub fn stop(&self, id: &WorkspaceId) {
        let ready = match self.0.states.get_mut(id).as_deref_mut() {
            Some(state) => match std::mem::replace(state, State::Stopping) {
                State::Ready(ready) => ready,
                other @ (State::Starting(_) | State::Failing(_) | State::Stopping) => {
                    *state = other;
                    return;
                }
            },
            None => return,
        };
        self.count();
        let (workspaces, id) = (self.clone(), id.clone());
        self.0.tasks.spawn(async move {
            match workspaces.end(&id, &ready.profile, Some(ready.preset)).await {
                Ok(()) => info!(event = "workspace_stopped", workspace = %id, "workspace stopped"),
                Err(error) => warn!(workspace = %id, error = cause(&error), remedy = error.remedy(), "cannot stop workspace"),
            }
            workspaces.0.states.remove(&id);
            workspaces.count();
            if workspaces.0.leaving.remove(&id).is_some() {
                workspaces.leave(&id).await;
            }
        });
    }

    /// Stops a named workspace, if it runs, and takes it away from its owner when it has stopped. Answers whether that
    /// has happened.
    pub async fn stop_and_remove(&self, id: &WorkspaceId) -> Result<bool, ServerError> {
        self.0.leaving.insert(id.clone());
        self.stop(id);
        match self.state(id) {
            Some(State::Stopping) => return Ok(false),
            Some(State::Starting(_) | State::Ready(_) | State::Failing(_)) | None => {}
        }
        self.0.leaving.remove(id);
        self.remove_server(id).await.map(|()| true)
    }

    async fn leave(&self, id: &WorkspaceId) {
        match self.remove_server(id).await {
            Ok(()) => info!(event = "server_removed", workspace = %id, "a named server was removed"),
            Err(error) => warn!(workspace = %id, error = cause(&error), "cannot remove a named server"),
        }
    }

    /// A connection to a ready workspace failed: find out whether it still runs.
    pub fn suspect(&self, ready: &Arc<Ready>) {
        let (workspaces, ready) = (self.clone(), Arc::clone(ready));
        self.0.tasks.spawn(async move { workspaces.verify(&ready.id, &ready.instance).await });
    }

    /// Somebody says that a workspace was used at that time.
    pub fn note_activity(&self, id: &WorkspaceId, when: Timestamp) {
        if let Some(State::Ready(ready)) = self.state(id) {
            ready.activity.note_at(when);
        }
    }

    /// Connections to another port of a workspace, if its owner may reach it: kept ones, or new ones that are to be kept when something answers.
    pub fn door(&self, ready: &Ready, port: u16) -> Option<Arc<Pool>> {
        ready.doors.find(port, ready.pool.upstream(), &self.0.forwarder)
    }

    /// The secret that a container of this instance shares with hubgate.
    pub fn token(&self, instance: &str) -> Secret {
        self.0.sealer.derive("workspace", instance)
    }

    /// Whose token this is: the running workspace of `id`, if it is its own.
    pub fn holds_token(&self, id: &WorkspaceId, token: &str) -> bool {
        match self.state(id) {
            Some(State::Ready(ready)) => self.token(&ready.instance).matches(token),
            // A container asks for its hub before it answers itself: the instance is on its way.
            Some(State::Starting(_)) => {
                let starting = self.0.starting.lock().unwrap_or_else(PoisonError::into_inner);
                starting.get(id).is_some_and(|instance| self.token(instance).matches(token))
            }
            Some(State::Failing(_) | State::Stopping) | None => false,
        }
    }

    async fn run_start(
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

    fn ready(&self, running: Running) -> Ready {
        let upstream = Upstream { address: running.address, instance: Arc::clone(&running.instance) };
        let authorization = match running.mode {
            Mode::Token => header(&format!("token {}", self.token(&running.instance).expose()), true),
            Mode::Hub => None,
        };
        let profile = self.profile(&running.profile);
        let kind = || profile.map_or(Preset::Jupyter, |profile| self.0.kinds.of(profile));
        let preset = running.preset.unwrap_or_else(kind);
        self.0.kinds.note(&running.profile, preset);
        let base = running.id.path();
        let strips = profile.filter(|profile| profile.strip_path);
        // Where a workspace has no address of its own, its ports are everybody's on this machine.
        let isolated = profile.filter(|_| self.0.spawner.isolates());
        let doors = Doors::new(isolated.map(|profile| profile.ports.clone()).unwrap_or_default());
        Ready {
            preset,
            prefix: strips.and_then(|_| header(base.trim_end_matches('/'), false)),
            readiness: profile
                .map_or_else(|| format!("{base}api"), |profile| preset::readiness(profile, preset, &base)),
            doors,
            pool: self.0.forwarder.pool(upstream),
            authorization,
            user: header(&running.id.user.path_segment(), false).unwrap_or(HeaderValue::from_static("-")),
            id: running.id,
            instance: running.instance,
            profile: running.profile,
            mode: running.mode,
            since: Instant::now(),
            started: self.0.clock.now(),
            activity: Activity::new(self.0.clock.clone()),
        }
    }

    /// Waits for its server: any answer below 500 to `GET <prefix>api`, as JupyterHub does, or to its first page.
    async fn until_it_answers(&self, ready: &Ready) -> Result<(), StartError> {
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

    fn note_instance(&self, id: &WorkspaceId, instance: &Arc<str>) {
        let mut starting = self.0.starting.lock().unwrap_or_else(PoisonError::into_inner);
        starting.insert(id.clone(), Arc::clone(instance));
    }

    fn starting_instance(&self, id: &WorkspaceId) -> Option<Arc<str>> {
        self.0.starting.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn forget_instance(&self, id: &WorkspaceId) {
        self.0.starting.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn count(&self) {
        let mut counts = [("starting", 0), ("ready", 0), ("failing", 0), ("stopping", 0)];
        for state in &self.0.states {
            let label = state.label();
            for (name, count) in &mut counts {
                *count += i64::from(*name == label);
            }
        }
        for (state, count) in counts {
            self.0.metrics.workspaces.get_or_create(&StateLabel { state }).set(count);
        }
    }
}

fn header(text: &str, secret: bool) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(secret);
    Some(value)
}

impl fmt::Debug for Workspaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workspaces({})", self.0.states.len())
    }
}
