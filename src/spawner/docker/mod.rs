//! Workspaces as containers, by the Docker Engine API over its Unix socket; Podman's has the same.

mod adopt;
mod container;
mod engine;
mod events;
mod exec;
mod files;
mod image;
mod network;
mod pull;
mod storage;
mod tar;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::container::LogOutput;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use self::adopt::Adoption;
use self::container::{INSTANCE, Labels, USER};
use self::engine::{Connected, Engine, PROMPT, SLOW, is_unreadable, refused_with};
use self::pull::Pulls;
use super::output::{self, Tail};
use super::{
    Ended, Event, Exposure, Heir, Image, Phase, Progress, PutFile, Running, SpawnError, Spawner, Spec,
    Status, WorkspaceId, container_name,
};
use crate::clock::{self, Timestamp};
use crate::config::{self, Escape};
use crate::logging::cause;
use crate::metrics::{Call, Metrics};

/// Containers on one engine.
#[derive(Debug)]
pub(super) struct Docker {
    engine: Arc<Engine>,
    names: Names,
    network: String,
    hosts: Vec<String>,
    /// Where containers of a JupyterHub are taken over.
    adoption: Option<Arc<Adoption>>,
    pulls: Pulls,
    /// One at a time looks whether the network is there: older engines make two of one name.
    network_check: Semaphore,
    metrics: Metrics,
}

/// How containers of this installation are called. Another on the same engine has another prefix.
#[derive(Debug, Clone)]
struct Names {
    prefix: Arc<str>,
    escape: Escape,
}

impl Names {
    fn of(&self, id: &WorkspaceId) -> String {
        container_name(&self.prefix, id, self.escape)
    }

    /// The workspace of a container with this name and these labels, if it is one of ours.
    fn id_of(&self, name: &str, labels: &Labels) -> Option<WorkspaceId> {
        let id = container::id_of(labels)?;
        (self.of(&id) == name.trim_start_matches('/')).then_some(id)
    }

    /// Whether a container's name begins as those of this installation do.
    fn begin(&self, name: &str) -> bool {
        let name = name.trim_start_matches('/');
        name.strip_prefix(&*self.prefix).is_some_and(|rest| rest.starts_with('-'))
    }
}

impl Docker {
    pub(super) fn new(config: &config::Spawner, heir: Option<Heir>, metrics: Metrics) -> Self {
        let names = Names { prefix: config.docker.prefix.as_str().into(), escape: config.escape };
        let heir = heir.filter(|_| config.docker.adopt_jupyterhub);
        let network = &config.docker.network;
        Self {
            engine: Arc::new(Engine::new(config.docker.socket.clone())),
            adoption: heir.map(|heir| Arc::new(Adoption::new(heir, names.clone(), network.clone()))),
            names,
            network: network.clone(),
            hosts: config.docker.hosts.clone(),
            pulls: Pulls::new(config.docker.pull_idle_timeout.0, metrics.clone()),
            network_check: Semaphore::new(1),
            metrics,
        }
    }

    /// Counts a call, and forgets an engine that was not there.
    fn counted<T>(&self, call: &'static str, result: Result<T, SpawnError>) -> Result<T, SpawnError> {
        self.engine.note(&result);
        let outcome = result.as_ref().err().map_or("ok", SpawnError::kind);
        self.metrics.spawner_calls.get_or_create(&Call { call, result: outcome }).inc();
        result
    }

    async fn look_up_image(&self, image: &str, progress: &Progress) -> Result<Image, SpawnError> {
        let engine = self.engine.connect().await?;
        image::find_or_pull(&engine, &self.pulls, image, progress).await.map(image::described)
    }

    async fn look_for_image(&self, image: &str) -> Result<Option<Image>, SpawnError> {
        let engine = self.engine.connect().await?;
        Ok(image::find_named(&engine, image).await?.map(image::described))
    }

    async fn start_or_find(&self, spec: &Spec, progress: &Progress) -> Result<Running, SpawnError> {
        let engine = self.engine.connect().await?;
        let name = self.names.of(&spec.id);
        let doing = format!("create container {name}");
        if let Some(found) = inspect(&engine, &name).await? {
            if self.owner(&found).as_ref() != Some(&spec.id) {
                let source = "a container that hubgate did not make for this workspace has its name".into();
                return Err(SpawnError::Create { doing, source });
            }
            if is_running(&found) {
                return self.running(&found, &doing);
            }
            self.make_room(&engine, &found, &name).await?;
        }
        let image = image::find_or_pull(&engine, &self.pulls, &spec.image, progress).await?;
        progress.report(Phase::Creating);
        self.ensure_network(&engine).await?;
        progress.check()?;
        storage::prepare(&engine, &name, spec).await?;
        progress.check()?;
        let body = container::body(spec, &image, (&self.network, &self.hosts), engine.podman);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let created =
            engine.call(&doing, SLOW, |client| client.create_container(Some(options), body)).await?;
        let filled = files::put_all(&engine, &created.id, spec, &image).await;
        if let Err(error) = filled.and_then(|()| progress.check()) {
            discard(&engine, &created.id, &name).await;
            return Err(error);
        }
        progress.report(Phase::Booting);
        self.boot(&engine, &created.id, &name).await
    }

    async fn boot(&self, engine: &Connected, id: &str, name: &str) -> Result<Running, SpawnError> {
        let doing = format!("start container {name}");
        let started = engine.call(&doing, SLOW, |client| client.start_container(id, None)).await;
        if let Err(error) = started {
            discard(engine, id, name).await;
            return Err(error);
        }
        let Some(found) = inspect(engine, id).await? else {
            let source = "it was removed while it started".into();
            return Err(SpawnError::Create { doing, source });
        };
        if !is_running(&found) {
            let Ended { exit_code: code, out_of_memory, log } = ended(engine, &found).await;
            return Err(SpawnError::Ended { code, out_of_memory, log });
        }
        let running = self.running(&found, &doing);
        if running.is_err() {
            discard(engine, id, name).await;
        }
        running
    }

    fn running(&self, found: &ContainerInspectResponse, doing: &str) -> Result<Running, SpawnError> {
        let networks = found.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
        let address = container::address_on(&self.network, networks).ok_or_else(|| SpawnError::Create {
            doing: doing.to_owned(),
            source: format!("it has no address on network {}", self.network).into(),
        })?;
        let made = found.created.as_deref().and_then(clock::read);
        let labelled = labels_of(found).and_then(|labels| container::running(labels, address, made));
        let running = labelled.or_else(|| self.adoption.as_ref()?.running(found));
        running.ok_or_else(|| SpawnError::Create {
            doing: doing.to_owned(),
            source: "its labels are not hubgate's".into(),
        })
    }

    async fn look_at(&self, id: &WorkspaceId) -> Result<Status, SpawnError> {
        let engine = self.engine.connect().await?;
        let Some(found) = self.inspect_ours(&engine, id).await? else { return Ok(Status::Absent) };
        if is_running(&found) {
            let doing = format!("inspect container {}", self.names.of(id));
            return self.running(&found, &doing).map(Status::Running);
        }
        // Never started: a start is on its way, or broke off and left nothing that ran.
        let state = found.state.as_ref().and_then(|state| state.status);
        if state == Some(ContainerStateStatusEnum::CREATED) {
            return Ok(Status::Absent);
        }
        Ok(Status::Ended(ended(&engine, &found).await))
    }

    async fn stop_and_remove(&self, id: &WorkspaceId, patience: Duration) -> Result<(), SpawnError> {
        let engine = self.engine.connect().await?;
        let Some(found) = self.inspect_ours(&engine, id).await? else { return Ok(()) };
        let name = self.names.of(id);
        // By its own id: the name may be another container's by the time the programs have ended.
        let container = found.id.as_deref().unwrap_or(&name);
        if is_running(&found) {
            // Whole seconds, and rather one more than none.
            let seconds = patience.as_secs() + u64::from(patience.subsec_nanos() > 0);
            let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
            let options = StopContainerOptionsBuilder::new().t(seconds).build();
            let doing = format!("stop container {name}");
            let deadline = patience.saturating_add(PROMPT);
            engine.find(&doing, deadline, |client| client.stop_container(container, Some(options))).await?;
        }
        self.make_room(&engine, &found, &name).await
    }

    async fn run_inside(
        &self,
        id: &WorkspaceId,
        command: &[String],
        user: Option<&str>,
    ) -> Result<Option<Ended>, SpawnError> {
        let engine = self.engine.connect().await?;
        let Some(found) = self.inspect_ours(&engine, id).await?.filter(is_running) else { return Ok(None) };
        let name = self.names.of(id);
        let container = found.id.as_deref().unwrap_or(&name);
        let environment = found.config.iter().filter_map(|config| config.env.as_ref()).flatten();
        let hidden: Vec<&str> = environment.map(String::as_str).collect();
        exec::run(&engine, container, command, user, &hidden).await.map(Some)
    }

    async fn replace(&self, id: &WorkspaceId, instance: &str, file: &PutFile) -> Result<(), SpawnError> {
        let engine = self.engine.connect().await?;
        let is_meant = |found: &ContainerInspectResponse| {
            let label = labels_of(found).and_then(|labels| labels.get(INSTANCE));
            is_running(found) && label.is_some_and(|label| label == instance)
        };
        let Some(found) = self.inspect_ours(&engine, id).await?.filter(is_meant) else { return Ok(()) };
        let name = self.names.of(id);
        let container = found.id.as_deref().unwrap_or(&name);
        let replaced = files::replace(&engine, container, id, file).await;
        if replaced.is_err() && !self.inspect_ours(&engine, id).await?.is_some_and(|found| is_meant(&found)) {
            debug!(workspace = %id, "it ended while a file was put into it");
            return Ok(());
        }
        replaced
    }

    async fn list_running(&self) -> Result<Vec<Running>, SpawnError> {
        let engine = self.engine.connect().await?;
        let filters = HashMap::from([("label", vec![USER]), ("status", vec!["running"])]);
        let options = ListContainersOptionsBuilder::new().filters(&filters).build();
        let found =
            engine.call("list containers", PROMPT, |client| client.list_containers(Some(options))).await?;
        let mut workspaces = Vec::new();
        for summary in found {
            let Some(id) = self.listed(&summary) else { continue };
            match self.summary_running(&summary) {
                Some(running) => workspaces.push(running),
                // The list of some engines has no addresses.
                None => match self.look_at(&id).await {
                    Ok(Status::Running(running)) => workspaces.push(running),
                    Ok(Status::Absent | Status::Ended(_)) => {}
                    Err(error @ SpawnError::Unreachable { .. }) => return Err(error),
                    // One odd container is no reason to lose sight of all others.
                    Err(error) => {
                        warn!(workspace = %id, error = cause(&error), "a container cannot be understood, and is passed over");
                    }
                },
            }
        }
        workspaces.extend(self.list_adopted(&engine).await?);
        Ok(workspaces)
    }

    /// Whose container it is: by its labels, or as one that was taken over.
    fn owner(&self, found: &ContainerInspectResponse) -> Option<WorkspaceId> {
        let labelled = labels_of(found).and_then(container::id_of);
        labelled.or_else(|| self.adoption.as_ref()?.owner(found))
    }

    fn listed(&self, summary: &ContainerSummary) -> Option<WorkspaceId> {
        let labels = summary.labels.as_ref()?;
        summary.names.iter().flatten().find_map(|name| self.names.id_of(name, labels))
    }

    fn summary_running(&self, summary: &ContainerSummary) -> Option<Running> {
        let networks = summary.network_settings.as_ref()?.networks.as_ref();
        let made = summary.created.and_then(|time| Timestamp::try_from(time).ok());
        container::running(summary.labels.as_ref()?, container::address_on(&self.network, networks)?, made)
    }

    async fn inspect_ours(
        &self,
        engine: &Connected,
        id: &WorkspaceId,
    ) -> Result<Option<ContainerInspectResponse>, SpawnError> {
        let found = inspect(engine, &self.names.of(id)).await?;
        Ok(found.filter(|found| self.owner(found).as_ref() == Some(id)))
    }
}

#[async_trait]
impl Spawner for Docker {
    async fn image(&self, image: &str, progress: &Progress) -> Result<Image, SpawnError> {
        self.counted("image", self.look_up_image(image, progress).await)
    }

    async fn find_image(&self, image: &str) -> Result<Option<Image>, SpawnError> {
        self.counted("image", self.look_for_image(image).await)
    }

    async fn start(&self, spec: &Spec, progress: &Progress) -> Result<Running, SpawnError> {
        self.counted("start", self.start_or_find(spec, progress).await)
    }

    async fn status(&self, id: &WorkspaceId) -> Result<Status, SpawnError> {
        self.counted("status", self.look_at(id).await)
    }

    async fn run(
        &self,
        id: &WorkspaceId,
        command: &[String],
        user: Option<&str>,
    ) -> Result<Option<Ended>, SpawnError> {
        self.counted("run", self.run_inside(id, command, user).await)
    }

    async fn stop(&self, id: &WorkspaceId, timeout: Duration) -> Result<(), SpawnError> {
        self.counted("stop", self.stop_and_remove(id, timeout).await)
    }

    async fn put(&self, id: &WorkspaceId, instance: &str, file: &PutFile) -> Result<(), SpawnError> {
        self.counted("put", self.replace(id, instance, file).await)
    }

    async fn list(&self) -> Result<Vec<Running>, SpawnError> {
        self.counted("list", self.list_running().await)
    }

    fn events(&self) -> BoxStream<'static, Event> {
        events::watch(Arc::clone(&self.engine), self.names.clone(), self.adoption.clone())
    }

    fn isolates(&self) -> bool {
        self.has_own_address()
    }

    async fn exposure(&self) -> Result<Option<Exposure>, SpawnError> {
        self.counted("network", self.find_exposure().await)
    }

    async fn ping(&self) -> Result<(), SpawnError> {
        let result = async {
            let engine = self.engine.connect().await?;
            engine.call("ping", PING, bollard::Docker::ping).await.map(drop)
        };
        self.counted("ping", result.await)
    }
}

/// Who asks whether the engine is there waits for the answer.
const PING: Duration = Duration::from_secs(5);
/// How much of a log is read for its last lines: a line may be long.
const LOG_BYTES: usize = 1024 * 1024;

async fn inspect(engine: &Connected, name: &str) -> Result<Option<ContainerInspectResponse>, SpawnError> {
    let doing = format!("inspect container {name}");
    let deadline = Instant::now() + PROMPT;
    loop {
        let found = engine.find(&doing, PROMPT, |client| client.inspect_container(name, None)).await;
        match found {
            // Podman has states that Docker has not ("stopped", "configured"), on the way to one of Docker's.
            Err(error) if engine.podman && is_unreadable(&error) && Instant::now() < deadline => {
                sleep(Duration::from_millis(100)).await;
            }
            found => return found,
        }
    }
}

fn labels_of(found: &ContainerInspectResponse) -> Option<&Labels> {
    found.config.as_ref()?.labels.as_ref()
}

fn is_running(found: &ContainerInspectResponse) -> bool {
    found.state.as_ref().and_then(|state| state.running) == Some(true)
}

async fn ended(engine: &Connected, found: &ContainerInspectResponse) -> Ended {
    let state = found.state.clone().unwrap_or_default();
    let log = read_log(engine, found.id.as_deref().unwrap_or_default()).await;
    let environment = found.config.iter().filter_map(|config| config.env.as_ref()).flatten();
    Ended {
        exit_code: state.exit_code,
        out_of_memory: state.oom_killed == Some(true),
        log: log.text(environment.map(String::as_str)),
    }
}

/// The end of a container's log; what cannot be read is left out, since it only explains something worse.
async fn read_log(engine: &Connected, id: &str) -> Tail {
    let mut tail = Tail::default();
    let lines = output::LINES.to_string();
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&lines).build();
    let reading = async {
        let mut log = engine.client().logs(id, Some(options)).boxed();
        let mut read = 0_usize;
        while let Some(Ok(
            LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message },
        )) = log.next().await
        {
            read = read.saturating_add(message.len());
            tail.push(&message);
            if read > LOG_BYTES {
                break;
            }
        }
    };
    if timeout(PROMPT, reading).await.is_err() {
        debug!(container = id, "the log ends late");
    }
    tail
}

/// Takes a container away, whatever it does; its volumes stay. That it is gone already is no error.
async fn remove(engine: &Connected, id: &str, name: &str) -> Result<(), SpawnError> {
    let doing = format!("remove container {name}");
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    let removed = engine.find(&doing, SLOW, |client| client.remove_container(id, Some(options))).await;
    match removed {
        Err(error) if refused_with(&error, 409) => gone(engine, id, error).await,
        result => result.map(drop),
    }
}

/// Somebody else removes it already: waits until it is gone.
async fn gone(engine: &Connected, id: &str, conflict: SpawnError) -> Result<(), SpawnError> {
    let deadline = Instant::now() + PROMPT;
    while Instant::now() < deadline {
        if inspect(engine, id).await?.is_none() {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err(conflict)
}

/// Takes away what could not be started; the error that made it useless is the one to report.
async fn discard(engine: &Connected, id: &str, name: &str) {
    if let Err(error) = remove(engine, id, name).await {
        warn!(container = name, %error, "a container that did not start is left behind");
    }
}
