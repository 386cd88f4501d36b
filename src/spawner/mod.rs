//! What starts workspaces. It keeps no state of its own: the runtime is the record, by labels.

mod docker;
mod escape;
mod heir;
mod output;
mod process;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use escape::{container_name, escape, escape_server};
pub use heir::{Adopted, Heir};

use crate::clock::Timestamp;
use crate::config::{self, Mode, Preset};
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::server_name::ServerName;
use crate::user::{Limits, UserName};

/// A boxed cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Which workspace: one of a user's, by its server name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkspaceId {
    /// Whose.
    pub user: UserName,
    /// Which of theirs.
    pub server: ServerName,
}

impl WorkspaceId {
    /// Where browsers reach it: `/user/<name>/`, or `/user/<name>/<server>/`.
    pub fn path(&self) -> String {
        let user = self.user.path_segment();
        if self.server.is_default() {
            format!("/user/{user}/")
        } else {
            format!("/user/{user}/{}/", self.server)
        }
    }

    /// What an image of JupyterHub's is known by: its OAuth client id, which is also the name of its cookie.
    pub fn client_id(&self) -> String {
        let user = self.user.path_segment();
        let server = if self.server.is_default() { String::new() } else { format!("-{}", self.server) };
        format!("jupyterhub-user-{user}{server}")
    }

    /// Whether an image is known by this OAuth client id. JupyterHub writes `@` in it as `%40`, and gave it so to the
    /// containers that it started.
    pub fn is_client(&self, client_id: &str) -> bool {
        let own = self.client_id();
        client_id == own || client_id == own.replace('@', "%40")
    }
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.user)?;
        if self.server.is_default() { Ok(()) } else { write!(f, "/{}", self.server) }
    }
}

/// Everything a runtime must know to start a workspace.
#[derive(Clone, PartialEq)]
pub struct Spec {
    /// Which workspace.
    pub id: WorkspaceId,
    /// Random; a new one every start.
    pub instance: Arc<str>,
    /// The profile's name.
    pub profile: Arc<str>,
    /// How it and hubgate know each other.
    pub mode: Mode,
    /// What kind of image it is.
    pub preset: Preset,
    /// The image; empty for child processes.
    pub image: String,
    /// In place of the image's command.
    pub command: Option<Vec<String>>,
    /// Added to the image's environment. Holds secrets: never logged.
    pub environment: BTreeMap<String, String>,
    /// Where its server listens.
    pub port: u16,
    /// `uid:gid`, when not the image's own.
    pub user: Option<String>,
    /// What outlives it.
    pub mounts: Vec<Mount>,
    /// What is there before its first program runs, and ends with it.
    pub files: Vec<PutFile>,
    /// Memory and processors.
    pub limits: Limits,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Between the stop signal and the end.
    pub stop_timeout: Duration,
}

// Its environment holds secrets.
impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, instance, profile, mode, image, .. } = self;
        f.debug_struct("Spec")
            .field("id", id)
            .field("instance", instance)
            .field("profile", profile)
            .field("mode", mode)
            .field("image", image)
            .finish_non_exhaustive()
    }
}

/// A folder that outlives a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// An absolute path on the host, or else a volume's name.
    pub source: String,
    /// Where the workspace sees it.
    pub target: String,
    /// Owner of a folder that is made.
    pub owner: (u32, u32),
    /// Cannot be written from the workspace.
    pub read_only: bool,
}

/// A file in a workspace that hubgate writes, and only its owner reads.
#[derive(Debug, Clone)]
pub struct PutFile {
    /// An absolute path in the workspace. Its folder is made when it is not there, for the same owner.
    pub path: String,
    /// When it is not whoever the workspace runs as.
    pub owner: Option<(u32, u32)>,
    /// One line, without its end.
    pub content: Secret,
    /// For whom.
    pub purpose: Purpose,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A user's access token, where the profile wants it.
    AccessToken,
    /// What the preset tells a server that takes no arguments.
    Settings,
}

impl PartialEq for PutFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.owner == other.owner && self.content.matches(other.content.expose())
    }
}

/// What an image says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Entrypoint and command, as one list.
    pub command: Vec<String>,
    /// The length of the entrypoint in `command`.
    pub entrypoint: usize,
    /// Its environment.
    pub environment: Vec<String>,
    /// Who runs in it; empty: root.
    pub user: String,
    /// TCP ports that it exposes.
    pub ports: Vec<u16>,
    /// Folders that it keeps in volumes.
    pub volumes: Vec<String>,
    /// The command of its health check.
    pub health: Vec<String>,
}

impl Image {
    /// What its environment says.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

/// A workspace that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Which.
    pub id: WorkspaceId,
    /// Which start of it.
    pub instance: Arc<str>,
    /// The profile it was started from.
    pub profile: Arc<str>,
    /// How it and hubgate know each other.
    pub mode: Mode,
    /// What kind of image it is, if whoever started it knew.
    pub preset: Option<Preset>,
    /// Where its server listens, or will.
    pub address: SocketAddr,
    /// What it has from the hub that started it; hubgate's own have what hubgate gave them.
    pub adopted: Option<Adopted>,
    /// When it was made, if the runtime says so: each start of ours makes a new one.
    pub made: Option<Timestamp>,
}

/// The state of a workspace in its runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// There is none.
    Absent,
    /// It runs.
    Running(Running),
    /// It ended on its own.
    Ended(Ended),
}

/// How a workspace ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code, where there is one.
    pub exit_code: Option<i64>,
    /// It used more memory than its limit.
    pub out_of_memory: bool,
    /// The last lines it wrote, for the administrator's log.
    pub log: String,
}

/// A workspace changed on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which.
    pub id: WorkspaceId,
    /// Which start of it.
    pub instance: Arc<str>,
}

/// What a start is doing, for whoever watches, and whether it is wanted still.
#[derive(Debug, Clone)]
pub struct Progress {
    phase: watch::Sender<Phase>,
    cancelled: CancellationToken,
}

/// One phase of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing yet.
    Waiting,
    /// Fetching the image.
    Pulling(Pulled),
    /// Making volumes and the container.
    Creating,
    /// Its server is coming up.
    Booting,
}

/// How far an image is fetched, where the runtime says. Of layers that were here before nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Bytes so far.
    pub done: u64,
    /// Of so many, once that is known of all layers.
    pub total: Option<u64>,
    /// The layers that it is made of,
    pub layers: usize,
    /// those that are here,
    pub fetched: usize,
    /// and those that are ready for use.
    pub unpacked: usize,
}

impl Progress {
    /// Nothing done yet; the receiver sees each phase.
    pub fn new() -> (Self, watch::Receiver<Phase>) {
        let (phase, receiver) = watch::channel(Phase::Waiting);
        (Self { phase, cancelled: CancellationToken::new() }, receiver)
    }

    /// Says what is done now.
    pub fn report(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Cancelled when nobody wants it any more.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Whether to go on. To be asked between two calls of a runtime: one that is broken off may be carried out all the
    /// same, and what it makes would be left behind.
    pub fn check(&self) -> Result<(), SpawnError> {
        if self.cancelled.is_cancelled() { Err(SpawnError::Cancelled) } else { Ok(()) }
    }
}

/// A runtime that can hold workspaces.
#[async_trait]
pub trait Spawner: fmt::Debug + Send + Sync {
    /// What `image` says of itself; fetched first when it is not there.
    async fn image(&self, image: &str, progress: &Progress) -> Result<Image, SpawnError>;
    /// What `image` says of itself, if it is there.
    async fn find_image(&self, image: &str) -> Result<Option<Image>, SpawnError>;
    /// Starts the workspace, or finds the one that runs already. What ended before is taken away. One that is cancelled
    /// on the way goes no further than it must; what there is of it then is the caller's to stop.
    async fn start(&self, spec: &Spec, progress: &Progress) -> Result<Running, SpawnError>;
    /// How it is.
    async fn status(&self, id: &WorkspaceId) -> Result<Status, SpawnError>;
    /// Runs a program in a running workspace, beside its own, and waits for it: how it ended, and the last lines that it
    /// wrote. `None`: the workspace does not run.
    async fn run(
        &self,
        id: &WorkspaceId,
        command: &[String],
        user: Option<&str>,
    ) -> Result<Option<Ended>, SpawnError>;
    /// Ends it, softly first. Stopping what does not run is not an error.
    async fn stop(&self, id: &WorkspaceId, timeout: Duration) -> Result<(), SpawnError>;
    /// Replaces a file of a running workspace: whoever reads it sees the old or the new one, never half of one and
    /// never none. Only that start of it is meant; what does not run gets its files when it starts, and is no error.
    async fn put(&self, id: &WorkspaceId, instance: &str, file: &PutFile) -> Result<(), SpawnError>;
    /// Every workspace of this installation that runs, whoever started it.
    async fn list(&self) -> Result<Vec<Running>, SpawnError>;
    /// What changed on its own, as it happens; ends when the runtime goes away.
    fn events(&self) -> BoxStream<'static, Event>;
    /// Whether a workspace has an address of its own, at which nothing but its own programs listens.
    fn isolates(&self) -> bool;
    /// How workspaces reach each other past hubgate, as far as the runtime tells; `None`: they do not.
    async fn exposure(&self) -> Result<Option<Exposure>, SpawnError>;
    /// Whether the runtime answers.
    async fn ping(&self) -> Result<(), SpawnError>;
}

/// Workspaces reach each other past hubgate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// On which network.
    pub network: String,
    /// Why.
    pub why: &'static str,
    /// What an administrator can do.
    pub remedy: &'static str,
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "workspaces reach each other on the network {}: {}", self.network, self.why)
    }
}

/// A spawner could not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The runtime itself is not there.
    #[error("the container runtime at {address} does not answer")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// Why.
        source: BoxError,
    },
    /// The image is not here and cannot be fetched.
    #[error("cannot pull image {image}")]
    Pull {
        /// Which.
        image: String,
        /// Why.
        source: BoxError,
    },
    /// Something on the way to a running container.
    #[error("cannot {doing}")]
    Create {
        /// What was tried, with its name.
        doing: String,
        /// Why.
        source: BoxError,
    },
    /// A file could not be put into a workspace.
    #[error("cannot write {path} in the workspace of {id}")]
    File {
        /// Which.
        path: String,
        /// In which workspace.
        id: WorkspaceId,
        /// What it is for.
        purpose: Purpose,
        /// Why.
        source: BoxError,
    },
    /// Nobody wants the start any more.
    #[error("the start was cancelled")]
    Cancelled,
    /// It started, and ended before it was ready.
    #[error("the workspace ended with exit code {code:?}{}", if *.out_of_memory { ", out of memory" } else { "" })]
    Ended {
        /// Its exit code.
        code: Option<i64>,
        /// It used more memory than its limit.
        out_of_memory: bool,
        /// The last lines it wrote.
        log: String,
    },
}

impl SpawnError {
    /// What an administrator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable { source, .. } if is_forbidden(&**source) => {
                "let hubgate's Unix user open the runtime's socket: make it a member of the group docker"
            }
            Self::Unreachable { .. } => "start the container runtime, or correct spawner.docker.socket",
            Self::Pull { .. } => "pull or build the image by hand, or correct profile.image",
            Self::Create { .. } => {
                "read the cause; compare profile and spawner settings with what the runtime offers"
            }
            Self::File { purpose: Purpose::Settings, .. } => {
                "the file is the preset's own: correct profile.preset, or use an image that keeps no volume around its folder"
            }
            Self::File { purpose: Purpose::AccessToken, .. } => {
                "give profile.access_token_file a folder of its own, and name its owner in profile.access_token_owner; the image needs /bin/sh, mkdir, mv and rm"
            }
            Self::Cancelled => "start it again",
            Self::Ended { .. } => "read the workspace's last lines in this log; run the image by hand",
        }
    }

    /// A label for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Pull { .. } => "pull",
            Self::Create { .. } => "create",
            Self::File { .. } => "file",
            Self::Cancelled => "cancelled",
            Self::Ended { .. } => "ended",
        }
    }
}

/// Whether a permission is what is missing, however deep the cause lies.
fn is_forbidden(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    })
}

/// The reference of an image with a tag: without one, it is the newest, and a pull would fetch every tag of its repository.
fn tagged(image: &str) -> Cow<'_, str> {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains([':', '@']) { image.into() } else { format!("{image}:latest").into() }
}

/// The spawner that the configuration names; as an heir it takes over what another hub started, where the configuration says
/// so. Asks nobody yet.
pub fn open(config: &config::Spawner, heir: Option<Heir>, metrics: Metrics) -> Arc<dyn Spawner> {
    match config.kind {
        config::SpawnerKind::Docker => Arc::new(docker::Docker::new(config, heir, metrics)),
        config::SpawnerKind::InsecureProcess => Arc::new(process::Process::new(metrics)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_file_that_cannot_be_written_has_the_remedy_of_what_it_is_for() {
        let remedy = |purpose| {
            let user = UserName::parse("alice").unwrap();
            let id = WorkspaceId { user, server: ServerName::default() };
            SpawnError::File { path: "/etc/x".to_owned(), id, purpose, source: "it is in a volume".into() }
                .remedy()
        };
        assert!(remedy(Purpose::AccessToken).contains("profile.access_token_file"));
        let settings = remedy(Purpose::Settings);
        assert!(settings.contains("profile.preset") && !settings.contains("access_token"), "{settings}");
    }

    /// As clients wrap it.
    #[derive(Debug, Error)]
    #[error("client error (Connect)")]
    struct Connect(#[source] io::Error);

    #[test]
    fn an_image_has_one_tag() {
        for (image, asked) in [
            ("busybox", "busybox:latest"),
            ("registry:5000/lab", "registry:5000/lab:latest"),
            ("registry:5000/lab:4", "registry:5000/lab:4"),
            ("lab@sha256:00ff", "lab@sha256:00ff"),
        ] {
            assert_eq!(tagged(image), asked);
        }
    }

    #[test]
    fn a_permission_that_is_missing_is_told_from_a_runtime_that_is_not_there() {
        let unreachable = |kind: io::ErrorKind| SpawnError::Unreachable {
            address: "/var/run/docker.sock".to_owned(),
            source: Connect(io::Error::from(kind)).into(),
        };
        assert!(unreachable(io::ErrorKind::PermissionDenied).remedy().contains("group docker"));
        assert!(unreachable(io::ErrorKind::NotFound).remedy().contains("start the container runtime"));
    }
}
