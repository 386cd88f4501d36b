//! How a workspace is, and why it could not be started.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use http::HeaderValue;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::doors::Doors;
use crate::clock::Timestamp;
use crate::config::{Mode, Preset};
use crate::forward::{Activity, Pool};
use crate::secret::Secret;
use crate::spawner::{Phase, SpawnError, WorkspaceId};

/// How a workspace is. None at all: it does not run.
#[derive(Debug, Clone)]
pub enum State {
    /// It is being started.
    Starting(Starting),
    /// It answers.
    Ready(Arc<Ready>),
    /// The last start failed, or was cancelled.
    Failing(Arc<Failure>),
    /// It is being stopped.
    Stopping,
}

/// A start that is under way.
#[derive(Debug, Clone)]
pub struct Starting {
    /// The profile's name.
    pub profile: Arc<str>,
    /// Since when.
    pub since: Instant,
    /// What it is doing.
    pub phase: watch::Receiver<Phase>,
    /// Cancelled when it is wanted no more.
    pub cancelled: CancellationToken,
}

/// A workspace that answers.
#[derive(Debug)]
pub struct Ready {
    /// Which.
    pub id: WorkspaceId,
    /// Which start of it.
    pub instance: Arc<str>,
    /// The profile it runs.
    pub profile: Arc<str>,
    /// How it and hubgate know each other.
    pub mode: Mode,
    /// What kind of image it runs.
    pub preset: Preset,
    /// What it does not see of paths; `None`: it sees all.
    pub prefix: Option<HeaderValue>,
    /// The path whose answer says that it is up.
    pub readiness: String,
    /// Connections to it.
    pub pool: Arc<Pool>,
    /// Its other ports that its owner may reach.
    pub doors: Doors,
    /// The secret that it shares with hubgate.
    pub token: Secret,
    /// What hubgate puts in place of the client's `Authorization`.
    pub authorization: Option<HeaderValue>,
    /// The owner's name as a header value.
    pub user: HeaderValue,
    /// When hubgate came to know it.
    pub since: Instant,
    /// When it started, in wall time.
    pub started: Timestamp,
    /// When it was last used: what went through hubgate, and what it said itself.
    pub activity: Arc<Activity>,
    /// When it was last asked what it does; never: 0.
    pub(super) asked: AtomicU64,
}

impl Ready {
    /// Whether hubgate can ask it what its kernels and terminals do: Jupyter's servers have an answer.
    pub fn may_be_asked(&self) -> bool {
        self.preset != Preset::Web
    }
}

/// A start that failed, or was cancelled.
#[derive(Debug)]
pub struct Failure {
    /// The profile's name.
    pub profile: Arc<str>,
    /// When.
    pub at: Instant,
    /// Why.
    pub error: StartError,
}

impl Failure {
    /// Whether somebody wanted it so.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.error, StartError::Cancelled)
    }
}

impl State {
    /// The profile that runs, starts or failed to; of one that is stopping it is not known.
    pub fn profile(&self) -> Option<&Arc<str>> {
        match self {
            Self::Starting(starting) => Some(&starting.profile),
            Self::Ready(ready) => Some(&ready.profile),
            Self::Failing(failure) => Some(&failure.profile),
            Self::Stopping => None,
        }
    }

    /// A closed set of names for metrics and the API.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Starting(_) => "starting",
            Self::Ready(_) => "ready",
            // Nobody has to see to it.
            Self::Failing(failure) if failure.is_cancelled() => "cancelled",
            Self::Failing(_) => "failing",
            Self::Stopping => "stopping",
        }
    }
}

/// A workspace could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The runtime could not.
    #[error("the spawner failed")]
    Spawn(#[from] SpawnError),
    /// It was not ready in the profile's `start_timeout`.
    #[error("not ready after {}s", .after.as_secs())]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// Somebody wants it no more, or hubgate stops.
    #[error("the start was cancelled")]
    Cancelled,
    /// The image wants a hub, and hubgate offers none to containers.
    #[error("the image {image} expects a hub, and hub_api.listen is not set")]
    NoHubApi {
        /// Which.
        image: String,
    },
    /// A profile without a command for a runtime without images.
    #[error("the profile {profile} has no command")]
    NoCommand {
        /// Which.
        profile: String,
    },
}

impl StartError {
    /// A label for metrics and pages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Spawn(error) => error.kind(),
            Self::Timeout { .. } => "timeout",
            Self::Cancelled => "cancelled",
            Self::NoHubApi { .. } => "no_hub_api",
            Self::NoCommand { .. } => "no_command",
        }
    }

    /// What an administrator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Spawn(error) => error.remedy(),
            Self::Timeout { .. } => {
                "read the container's log; raise profile.start_timeout for images that take long"
            }
            Self::Cancelled => "start it again",
            Self::NoHubApi { .. } => {
                "set hub_api.listen to an address that containers reach, or profile.mode = \"token\""
            }
            Self::NoCommand { .. } => "set profile.command",
        }
    }
}
