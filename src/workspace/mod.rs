//! Users' workspaces: who has one, how it is, one start at a time. Memory is a cache; the runtime is the record.

mod access_token;
mod ask;
mod display_name;
mod doors;
mod ending;
mod kinds;
mod named;
mod options;
mod plan;
mod prepull;
mod reconcile;
mod start;
mod state;
mod uses;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

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
use crate::seal::Sealer;
use crate::secret::Secret;
use crate::server_name::ServerName;
use crate::spawner::{Progress, Running, Spawner, WorkspaceId};
use crate::store::StoreError;
use crate::tasks::Tasks;
use crate::upstream::Upstream;
use crate::user::{User, UserName};

use self::access_token::AccessTokens;
use self::doors::Doors;
use self::kinds::Kinds;

pub use display_name::{DisplayName, DisplayNameError};
pub use named::{NamedServers, ServerError};
pub use options::{Chosen, NoChoice};
pub use plan::{Place, mounts};
pub use state::{Failure, Ready, StartError, Starting, State};
pub use uses::Uses;

/// All workspaces; a clone is another handle.
#[derive(Clone)]
pub struct Workspaces(Arc<Shared>);

struct Shared {
    states: DashMap<WorkspaceId, State, RandomState>,
    profiles: Vec<Arc<config::Profile>>,
    kinds: Kinds,
    place: Place,
    prepull: bool,
    spawner: Arc<dyn Spawner>,
    forwarder: Forwarder,
    sealer: Arc<Sealer>,
    public_host: HeaderValue,
    metrics: Metrics,
    tasks: Tasks,
    /// Which start of each is under way, and the secret that it shares with hubgate.
    starting: Mutex<HashMap<WorkspaceId, (Arc<str>, Secret)>>,
    access_tokens: AccessTokens,
    named: NamedServers,
    uses: Uses,
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
    /// Their images are fetched before anybody starts one.
    pub prepull: bool,
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
    /// When they were last used before.
    pub uses: Uses,
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
            prepull: parts.prepull,
            spawner: parts.spawner,
            forwarder: parts.forwarder,
            sealer: parts.sealer,
            public_host: HeaderValue::from_str(&host).unwrap_or(HeaderValue::from_static("localhost")),
            metrics: parts.metrics,
            tasks: parts.tasks,
            starting: Mutex::default(),
            access_tokens: AccessTokens::new(),
            named: parts.named,
            uses: parts.uses,
            leaving: DashSet::new(),
            clock: parts.clock,
        }))
    }

    /// Reads which users have workspaces with names, and when theirs were last used.
    pub async fn restore(&self) -> Result<(), StoreError> {
        self.0.named.restore().await?;
        self.0.uses.restore().await
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

    /// Gives a user one more workspace, which does not run yet, and answers whether it is new: one that is there already, as
    /// the default one always is, stays as it is.
    pub async fn add_server(
        &self,
        id: &WorkspaceId,
        display_name: Option<DisplayName>,
        now: Timestamp,
    ) -> Result<bool, ServerError> {
        self.0.named.add(id, display_name, now).await
    }

    /// What people see a named workspace called, if not by its name.
    pub fn display_name(&self, id: &WorkspaceId) -> Option<DisplayName> {
        self.0.named.display_name(id)
    }

    /// Shows a named workspace by another name.
    pub async fn show_as(&self, id: &WorkspaceId, name: &DisplayName) -> Result<(), StoreError> {
        self.0.named.show_as(id, name, self.0.clock.now()).await
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
        let cancelled = progress.cancelled().clone();
        let starting = State::Starting(Starting { profile: name, since: Instant::now(), phase, cancelled });
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
        let given = self.0.tasks.turn().given;
        self.0.tasks.spawn(async move {
            let starting = workspaces.run_start(id.clone(), user, (profile, chosen), progress);
            if given.run_until_cancelled(starting).await.is_none() {
                workspaces.let_go(&id);
            }
        });
    }

    /// Stops a workspace; its owner's websockets end with it. One that starts is cancelled: whoever starts it takes away
    /// what there is of it.
    pub fn stop(&self, id: &WorkspaceId) {
        let former = match self.0.states.get_mut(id).as_deref_mut() {
            Some(state @ (State::Ready(_) | State::Starting(_))) => std::mem::replace(state, State::Stopping),
            Some(State::Failing(_) | State::Stopping) | None => return,
        };
        self.count();
        match former {
            State::Ready(ready) => {
                let (workspaces, id) = (self.clone(), id.clone());
                let writing = self.0.tasks.writing();
                self.0.tasks.spawn(async move {
                    let _writing = writing;
                    workspaces.finish_stop(&id, &ready.profile, ready.preset).await;
                });
            }
            State::Starting(starting) => starting.cancelled.cancel(),
            State::Failing(_) | State::Stopping => {}
        }
    }

    /// The rest of a stop.
    async fn finish_stop(&self, id: &WorkspaceId, profile: &str, preset: Preset) {
        match self.end(id, profile, Some(preset)).await {
            Ok(()) => info!(event = "workspace_stopped", workspace = %id, "workspace stopped"),
            Err(error) => {
                warn!(workspace = %id, error = cause(&error), remedy = error.remedy(), "cannot stop workspace");
            }
        }
        self.0.states.remove(id);
        self.count();
        self.leave_if_told(id).await;
    }

    /// Takes it away from its owner, if that was to happen when it has stopped.
    async fn leave_if_told(&self, id: &WorkspaceId) {
        if self.0.leaving.contains(id) {
            self.leave(id).await;
            self.0.leaving.remove(id);
        }
    }

    /// A start has come to its end, and the workspace is ready: unless it was cancelled just before.
    fn become_ready(&self, ready: Ready) -> bool {
        let id = ready.id.clone();
        match self.0.states.get_mut(&id).as_deref_mut() {
            Some(state @ State::Starting(_)) => {
                *state = State::Ready(Arc::new(ready));
                true
            }
            Some(State::Ready(_) | State::Failing(_) | State::Stopping) | None => false,
        }
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
        let removed = self.remove_server(id).await;
        self.0.leaving.remove(id);
        removed.map(|()| true)
    }

    /// Whether it is there, and not about to be taken away.
    pub fn keeps(&self, id: &WorkspaceId) -> bool {
        let there = id.server.is_default() || self.0.named.find(&id.user, id.server.as_str()).is_some();
        there && !self.0.leaving.contains(id)
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

    /// A container says that it was used at that time. It counts what an open page asks by itself, which is no use.
    pub fn note_report(&self, id: &WorkspaceId, when: Timestamp) {
        if let Some(State::Ready(ready)) = self.state(id)
            && !(ready.may_be_asked() && ready.activity.was_poll(when))
        {
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

    /// The same of one that runs: another hub that started it has given it its own.
    fn token_of(&self, running: &Running) -> Secret {
        let given = running.adopted.as_ref().map(|adopted| adopted.token.clone());
        given.unwrap_or_else(|| self.token(&running.instance))
    }

    /// Whose token this is: the running workspace of `id`, if it is its own.
    pub fn holds_token(&self, id: &WorkspaceId, token: &str) -> bool {
        match self.state(id) {
            Some(State::Ready(ready)) => ready.token.matches(token),
            // A container asks for its hub before it answers itself: the instance is on its way.
            Some(State::Starting(_)) => {
                let starting = self.0.starting.lock().unwrap_or_else(PoisonError::into_inner);
                starting.get(id).is_some_and(|(_, secret)| secret.matches(token))
            }
            Some(State::Failing(_) | State::Stopping) | None => false,
        }
    }

    /// The workspace whose own token this is.
    pub fn holder_of(&self, token: &str) -> Option<WorkspaceId> {
        let holds = |state: &State| matches!(state, State::Ready(ready) if ready.token.matches(token));
        let ready = self.0.states.iter().find(|entry| holds(entry.value())).map(|entry| entry.key().clone());
        let coming = || {
            let starting = self.0.starting.lock().unwrap_or_else(PoisonError::into_inner);
            starting.iter().find(|(_, (_, secret))| secret.matches(token)).map(|(id, _)| id.clone())
        };
        ready.or_else(coming).filter(|id| self.holds_token(id, token))
    }

    fn ready(&self, running: Running) -> Ready {
        let upstream = Upstream { address: running.address, instance: Arc::clone(&running.instance) };
        let token = self.token_of(&running);
        let authorization = match running.mode {
            Mode::Token => header(&format!("token {}", token.expose()), true),
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
        // A clock may have been set back, and the runtime's may be another.
        let now = self.0.clock.now();
        let past = |time: Option<Timestamp>| time.map_or(now, |time| time.min(now));
        let last = past(self.0.uses.last(&running.id, &running.instance));
        let doors = Doors::new(isolated.map(|profile| profile.ports.clone()).unwrap_or_default());
        Ready {
            preset,
            prefix: strips.and_then(|_| header(base.trim_end_matches('/'), false)),
            readiness: profile
                .map_or_else(|| format!("{base}api"), |profile| preset::readiness(profile, preset, &base)),
            doors,
            token,
            pool: self.0.forwarder.pool(upstream),
            authorization,
            user: header(&running.id.user.path_segment(), false).unwrap_or(HeaderValue::from_static("-")),
            id: running.id,
            instance: running.instance,
            profile: running.profile,
            mode: running.mode,
            since: Instant::now(),
            started: past(running.made),
            activity: Activity::since(self.0.clock.clone(), last),
            asked: AtomicU64::new(0),
        }
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
