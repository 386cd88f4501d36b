//! Workspaces as child processes, for trying hubgate out. They all run as hubgate's own Unix user, so nothing keeps
//! them apart, and limits of memory, processors and processes are not enforced.
//!
//! Two workspaces of one machine cannot listen on the same port, so the port is chosen here when [`Spec::port`] is 0.
//! The caller leaves `{port}` in the command and in values of the environment as it is: the port takes its place.
//!
//! Files of a workspace are in a folder of its own, which takes the place of `{runtime}` in the same way.
//!
//! Children end with hubgate, except when it is killed and cannot end anything any more.

mod folder;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::{self, BoxStream};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;
use tracing::debug;

use self::folder::Folder;
use super::output::{Tail, hide_secrets, printable};
use super::{
    BoxError, Ended, Event, Exposure, Image, Phase, Progress, PutFile, Running, SpawnError, Spawner, Spec,
    Status, WorkspaceId,
};
use crate::metrics::{Call, Metrics};
use crate::tasks::Tasks;

/// Children of this process.
#[derive(Debug)]
pub(super) struct Process {
    children: Arc<Children>,
    /// Not the process's own: a child that does not end must not keep shutdown waiting, it is killed.
    tasks: Tasks,
    metrics: Metrics,
}

#[derive(Debug)]
struct Children {
    by_id: Mutex<HashMap<WorkspaceId, Entry>>,
    events: broadcast::Sender<Event>,
}

/// One child, alive or not.
#[derive(Debug, Clone)]
struct Entry {
    running: Running,
    group: Arc<Group>,
    /// Goes with the entry.
    folder: Option<Arc<Folder>>,
    /// `Some` when it has ended.
    ended: watch::Receiver<Option<Ended>>,
}

/// A process group, ended when nobody knows it any more.
#[derive(Debug)]
struct Group(Pid);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process_group(self.0, signal) {
            debug!(%error, "no process was left for a signal");
        }
    }
}

impl Children {
    fn lock(&self) -> MutexGuard<'_, HashMap<WorkspaceId, Entry>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &WorkspaceId) -> Option<Entry> {
        self.lock().get(id).cloned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for entry in self.children.lock().values().filter(|entry| entry.ended.borrow().is_none()) {
            entry.group.signal(Signal::KILL);
        }
    }
}

impl Process {
    pub(super) fn new(metrics: Metrics) -> Self {
        let (events, _) = broadcast::channel(EVENTS);
        let children = Arc::new(Children { by_id: Mutex::default(), events });
        Self { children, tasks: Tasks::default(), metrics }
    }

    fn counted<T>(&self, call: &'static str, result: Result<T, SpawnError>) -> Result<T, SpawnError> {
        let outcome = result.as_ref().err().map_or("ok", SpawnError::kind);
        self.metrics.spawner_calls.get_or_create(&Call { call, result: outcome }).inc();
        result
    }

    async fn start_or_find(&self, spec: &Spec, progress: &Progress) -> Result<Running, SpawnError> {
        if let Some(entry) = self.children.find(&spec.id) {
            if entry.ended.borrow().is_none() {
                return Ok(entry.running);
            }
            self.children.lock().remove(&spec.id);
        }
        progress.report(Phase::Creating);
        let failed = |source: BoxError| SpawnError::Create {
            doing: format!("start the process of {}", spec.id),
            source,
        };
        let port = if spec.port == 0 { free_port().map_err(|e| failed(e.into()))? } else { spec.port };
        let home = make_folders(spec).await.map_err(&failed)?;
        let folder = make_files(spec).await?;
        let mut command = command(spec, port, &home, folder.as_deref()).map_err(&failed)?;
        let child = command.spawn().map_err(|error| failed(error.into()))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = Arc::new(Group(group.ok_or_else(|| failed("it has no process id".into()))?));
        progress.report(Phase::Booting);

        let running = Running {
            id: spec.id.clone(),
            instance: Arc::clone(&spec.instance),
            profile: Arc::clone(&spec.profile),
            mode: spec.mode,
            preset: Some(spec.preset),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            adopted: None,
            // They end with whoever made them.
            made: None,
        };
        let (ending, ended) = watch::channel(None);
        let entry = Entry { running: running.clone(), group: Arc::clone(&group), folder, ended };
        self.children.lock().insert(spec.id.clone(), entry);
        let environment = spec.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let watching = Watching { child, group, running: running.clone(), environment };
        let events = self.children.events.clone();
        drop(self.tasks.spawn(watching.until_it_ends(ending, events)));
        Ok(running)
    }

    async fn replace(&self, id: &WorkspaceId, instance: &str, file: &PutFile) -> Result<(), SpawnError> {
        let is_meant = |entry: &Entry| &*entry.running.instance == instance && entry.ended.borrow().is_none();
        let Some(entry) = self.children.find(id).filter(is_meant) else { return Ok(()) };
        let failed = |source| SpawnError::File {
            path: file.path.clone(),
            id: id.clone(),
            purpose: file.purpose,
            source,
        };
        let folder = entry.folder.ok_or_else(|| failed("it was started without files".into()))?;
        folder.write(file).await.map_err(|error| failed(error.into()))
    }

    async fn end(&self, id: &WorkspaceId, patience: Duration) -> Result<(), SpawnError> {
        let Some(entry) = self.children.find(id) else { return Ok(()) };
        let mut ended = entry.ended.clone();
        for (signal, patience) in [(Signal::TERM, patience), (Signal::KILL, AFTER_KILL)] {
            if ended.borrow().is_some() {
                break;
            }
            entry.group.signal(signal);
            let waited = timeout(patience, ended.wait_for(Option::is_some)).await;
            if matches!(waited, Ok(Err(_))) {
                // Whoever watched it is gone, and the child with it.
                break;
            }
        }
        if ended.borrow().is_none() && ended.has_changed().is_ok() {
            let source = "it does not end, not even by SIGKILL".into();
            return Err(SpawnError::Create { doing: format!("stop the process of {id}"), source });
        }
        let mut children = self.children.lock();
        if children.get(id).is_some_and(|now| now.running.instance == entry.running.instance) {
            children.remove(id);
        }
        Ok(())
    }
}

#[async_trait]
impl Spawner for Process {
    async fn image(&self, _image: &str, _progress: &Progress) -> Result<Image, SpawnError> {
        Ok(Image::default())
    }

    async fn find_image(&self, _image: &str) -> Result<Option<Image>, SpawnError> {
        Ok(Some(Image::default()))
    }

    async fn start(&self, spec: &Spec, progress: &Progress) -> Result<Running, SpawnError> {
        self.counted("start", self.start_or_find(spec, progress).await)
    }

    async fn status(&self, id: &WorkspaceId) -> Result<Status, SpawnError> {
        let Some(entry) = self.children.find(id) else { return Ok(Status::Absent) };
        let ended = entry.ended.borrow().clone();
        Ok(ended.map_or(Status::Running(entry.running), Status::Ended))
    }

    /// A process has no inside to run anything in.
    async fn run(
        &self,
        _id: &WorkspaceId,
        _command: &[String],
        _user: Option<&str>,
    ) -> Result<Option<Ended>, SpawnError> {
        Ok(None)
    }

    async fn stop(&self, id: &WorkspaceId, timeout: Duration) -> Result<(), SpawnError> {
        self.counted("stop", self.end(id, timeout).await)
    }

    async fn put(&self, id: &WorkspaceId, instance: &str, file: &PutFile) -> Result<(), SpawnError> {
        self.counted("put", self.replace(id, instance, file).await)
    }

    async fn list(&self) -> Result<Vec<Running>, SpawnError> {
        let children = self.children.lock();
        let alive = children.values().filter(|entry| entry.ended.borrow().is_none());
        Ok(alive.map(|entry| entry.running.clone()).collect())
    }

    fn events(&self) -> BoxStream<'static, Event> {
        let next = |mut events: broadcast::Receiver<Event>| async move {
            // Whoever reads too slowly for the queue starts again, and compares with the list.
            events.recv().await.ok().map(|event| (event, events))
        };
        stream::unfold(self.children.events.subscribe(), next).boxed()
    }

    fn isolates(&self) -> bool {
        false
    }

    async fn exposure(&self) -> Result<Option<Exposure>, SpawnError> {
        // All of them are one Unix user: there is nothing to keep apart, and whoever chose that was told.
        Ok(None)
    }

    async fn ping(&self) -> Result<(), SpawnError> {
        Ok(())
    }
}

/// Endings that wait for whoever reads them.
const EVENTS: usize = 256;
/// Until a killed process is gone.
const AFTER_KILL: Duration = Duration::from_secs(5);
/// How long what a child left open may keep its output open.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How much of a line reaches the log.
const LINE: usize = 1024;
/// Where programs are found; `PATH` in the profile's environment overrides it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The port is free now. Another program may take it first; then the workspace's server does not start.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Makes the mounts' folders, for nobody but their owner; the first is home.
async fn make_folders(spec: &Spec) -> Result<String, BoxError> {
    for mount in &spec.mounts {
        if !Path::new(&mount.source).is_absolute() {
            return Err(format!("the process spawner has folders, and no volumes: {}", mount.source).into());
        }
        tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(&mount.source).await?;
    }
    Ok(spec.mounts.first().map_or_else(|| "/".to_owned(), |mount| mount.source.clone()))
}

/// The workspace's files in a folder of its own, if it has any.
async fn make_files(spec: &Spec) -> Result<Option<Arc<Folder>>, SpawnError> {
    let Some(first) = spec.files.first() else { return Ok(None) };
    let failed = |file: &PutFile, error: io::Error| SpawnError::File {
        path: file.path.clone(),
        id: spec.id.clone(),
        purpose: file.purpose,
        source: error.into(),
    };
    let folder = Folder::make().await.map_err(|error| failed(first, error))?;
    for file in &spec.files {
        folder.write(file).await.map_err(|error| failed(file, error))?;
    }
    Ok(Some(Arc::new(folder)))
}

fn command(spec: &Spec, port: u16, home: &str, folder: Option<&Folder>) -> Result<Command, BoxError> {
    let placed = |text: &str| {
        let text = text.replace("{port}", &port.to_string());
        folder.map_or_else(|| text.clone(), |folder| folder.place(&text))
    };
    let mut words = spec.command.iter().flatten().map(|word| placed(word));
    let Some(program) = words.next() else {
        return Err("the profile has no command, and a process no image to take it from".into());
    };
    let mut command = Command::new(program);
    command
        .args(words)
        // hubgate's own environment may hold its secrets.
        .env_clear()
        .envs([("PATH", PATH), ("HOME", home), ("LANG", "C.UTF-8")])
        .envs(spec.environment.iter().map(|(name, value)| (name, placed(value))))
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}

/// A child that somebody looks after.
struct Watching {
    child: Child,
    group: Arc<Group>,
    running: Running,
    environment: Vec<String>,
}

impl Drop for Watching {
    /// Also when the runtime drops the task: then nothing else ends what the child itself started.
    fn drop(&mut self) {
        self.group.signal(Signal::KILL);
    }
}

impl Watching {
    async fn until_it_ends(mut self, ending: watch::Sender<Option<Ended>>, events: broadcast::Sender<Event>) {
        let tail = Mutex::new(Tail::default());
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let exited = {
            let output = Output { id: &self.running.id, environment: &self.environment, tail: &tail };
            let reading = async { tokio::join!(output.read(stdout), output.read(stderr)) };
            let waiting = async {
                let exited = self.child.wait().await;
                // A workspace is over when its first process is: kernels do not stay behind.
                self.group.signal(Signal::KILL);
                exited
            };
            let (reading, waiting) = (std::pin::pin!(reading), std::pin::pin!(waiting));
            match select(reading, waiting).await {
                Either::Left((_, waiting)) => waiting.await,
                Either::Right((exited, reading)) => {
                    if timeout(LAST_WORDS, reading).await.is_err() {
                        debug!(workspace = %self.running.id, "its output stays open");
                    }
                    exited
                }
            }
        };
        let tail = tail.into_inner().unwrap_or_else(PoisonError::into_inner);
        let ended = Ended {
            exit_code: exited.ok().and_then(exit_code),
            out_of_memory: false,
            log: tail.text(self.environment.iter().map(String::as_str)),
        };
        ending.send_replace(Some(ended));
        let event = Event { id: self.running.id.clone(), instance: Arc::clone(&self.running.instance) };
        // Nobody may be listening.
        drop(events.send(event));
    }
}

/// As shells say it: what a signal ended has 128 and its number.
fn exit_code(status: ExitStatus) -> Option<i64> {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).map(i64::from)
}

/// Where the output of one child goes: to the log, line by line, and its end is kept.
struct Output<'a> {
    id: &'a WorkspaceId,
    environment: &'a [String],
    tail: &'a Mutex<Tail>,
}

impl Output<'_> {
    async fn read(&self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut buffer = vec![0; 4096];
        let mut line = Vec::new();
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let bytes = buffer.get(..count).unwrap_or_default();
            self.tail.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
            for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                line.extend(piece);
                if piece.ends_with(b"\n") || line.len() >= LINE {
                    self.log(&line);
                    line.clear();
                }
            }
        }
        if !line.is_empty() {
            self.log(&line);
        }
    }

    fn log(&self, line: &[u8]) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            let line =
                hide_secrets(&String::from_utf8_lossy(line), self.environment.iter().map(String::as_str));
            debug!(workspace = %self.id, line = printable(&line), "output");
        }
    }
}
