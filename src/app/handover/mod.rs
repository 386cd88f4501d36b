//! An upgrade without a gap: the program that runs starts the one that lies at its path now, hands it the listening
//! sockets, lets it take over, and then keeps only what is open, until that ends.
//!
//! At no moment do two processes write to the store or change what the runtime has, but for an image that is being fetched:
//! the old one is quiet before the new one opens either, and goes on as before if the new one cannot. From then on the new
//! one alone knows who may do what: it says which rights have ended, and the old one closes what hung on them. If it is gone,
//! the old one closes all.

mod lines;
mod linger;
mod link;
mod successor;
mod taken;
mod words;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use self::link::{Link, LinkError};
use self::successor::Successor;
use self::words::{FromNew, FromOld};
use super::run::sweep;
use super::workers::Workers;
use super::{App, AppError};
use crate::control::Socket;

pub use self::successor::{Program, begin};

pub(crate) use self::lines::Before;
pub(crate) use self::linger::{Linger, linger};
pub(crate) use self::taken::Taken;

/// Another process could not take over.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// This program was not started as a service would start it.
    #[error("hubgate does not know the file that it was started from")]
    NoProgram,
    /// What it started lives in it.
    #[error("users' servers are child processes of this one, and would end with it")]
    Children,
    /// Nothing outlives it where it is.
    #[error("hubgate is the first process of its container, which would end with it")]
    First,
    /// The new program cannot be run.
    #[error("cannot start {}", .path.display())]
    Start {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended, or said nothing.
    #[error("the new program {0}")]
    Silent(&'static str),
    /// It said why.
    #[error("the new program cannot take over: {0}")]
    Refused(String),
    /// It speaks otherwise.
    #[error("cannot speak with the new program")]
    Link(#[from] LinkError),
    /// What is under way does not end.
    #[error("requests, renewals or stops of servers that are under way do not end")]
    Busy,
    /// The store cannot be left.
    #[error("the store cannot be handed over")]
    Store(#[from] crate::store::StoreError),
    /// The admin socket.
    #[error("cannot use the admin socket")]
    Admin(#[from] crate::control::SocketError),
    /// Only of a program that was started to take over.
    #[error("cannot take over the sockets of the hubgate that runs")]
    Take(#[source] io::Error),
}

impl HandoverError {
    /// What an administrator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoProgram | Self::Children | Self::First => "restart hubgate instead",
            Self::Start { .. } => "put the new program where the old one was started from",
            Self::Silent(_) | Self::Refused(_) => "`hubgate check` and the log say what is wrong with it",
            Self::Link(_) => "restart hubgate instead: the two releases do not know each other",
            Self::Busy => "try again",
            Self::Store(error) => error.remedy(),
            Self::Admin(error) => error.remedy(),
            Self::Take(_) => "leave --handover to hubgate itself: `hubgate upgrade`",
        }
    }
}

/// What is handed over, and what it takes.
pub(crate) struct Handover<'a> {
    pub(crate) app: &'a App,
    pub(crate) workers: &'a Workers,
    pub(crate) admin: Option<&'a Socket>,
    pub(crate) program: Option<&'a Program>,
    /// Servers are child processes.
    pub(crate) has_children: bool,
}

/// A process that has taken over.
pub(crate) struct Handed {
    pub(crate) pid: u32,
    pub(crate) version: String,
    pub(crate) link: Link<FromNew>,
}

impl Handed {
    /// Says that the service manager knows.
    pub(crate) async fn tell_main(&mut self) -> Result<(), LinkError> {
        self.link.send(&FromOld::Main).await
    }
}

impl Handover<'_> {
    /// Tries; if it fails, nothing is as it was only for a moment: see [`Handover::take_back`].
    pub(crate) async fn attempt(&self) -> Result<Handed, Failed> {
        let mut successor = self.prepare().await.map_err(|error| Failed { error, left: Left::Nothing })?;
        info!(
            event = "handover_begins",
            pid = successor.pid,
            version = successor.version,
            "another hubgate is ready to take over"
        );
        if let Err(error) = self.be_quiet().await {
            successor.end().await;
            return Err(Failed { error, left: Left::Turn });
        }
        match self.give(&mut successor).await {
            Ok(()) => {
                let Successor { pid, version, link } = successor;
                Ok(Handed { pid, version, link })
            }
            Err(error) => {
                successor.end().await;
                Err(Failed { error, left: Left::Store })
            }
        }
    }

    /// Starts it. It has read its configuration, and opened nothing, when this returns.
    async fn prepare(&self) -> Result<Successor, HandoverError> {
        let program = self.program.ok_or(HandoverError::NoProgram)?;
        if self.has_children {
            return Err(HandoverError::Children);
        }
        if std::process::id() == 1 {
            return Err(HandoverError::First);
        }
        self.until_settled().await?;
        let sockets = self.workers.sockets().map_err(HandoverError::Take)?;
        Successor::start(program, &sockets, self.admin, &self.app.tasks).await
    }

    /// A server that starts at the moment would have to be started anew. One that stops would be left half stopped: its
    /// commands before the stop signal done, and no signal sent.
    async fn until_settled(&self) -> Result<(), HandoverError> {
        let (workspaces, began) = (&self.app.workspaces, Instant::now());
        // Those that begin to stop meanwhile are waited for at the end: else whoever starts and stops theirs on and on kept
        // everybody's hub from being upgraded.
        let stopping = workspaces.stopping();
        let still = || !workspaces.stopping().is_disjoint(&stopping);
        while still() || (workspaces.are_busy() && began.elapsed() < SETTLED) {
            if began.elapsed() >= STOPPED {
                return Err(HandoverError::Busy);
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Nothing new is accepted: it waits, for this process or the other. What changes anything ends.
    async fn be_quiet(&self) -> Result<(), HandoverError> {
        for tasks in [&self.app.tasks, self.app.watched.tasks()] {
            tasks.turn().resting.cancel();
        }
        // Whoever has just connected is answered here.
        sleep(CONNECTED).await;
        // Stops of servers, which nobody can refuse any more.
        let stopped = async {
            while !self.app.workspaces.stopping().is_empty() {
                sleep(PAUSE).await;
            }
        };
        timeout(QUIET, stopped).await.map_err(|_late| HandoverError::Busy)?;
        // A moment without any request need not come: whoever is still here then is refused what they ask next.
        if timeout(MOMENT, self.app.tasks.written()).await.is_err() {
            debug!("requests come on and on");
        }
        Ok(())
    }

    /// The store and the runtime are the other's, from the first line on.
    async fn give(&self, successor: &mut Successor) -> Result<(), HandoverError> {
        for tasks in [&self.app.tasks, self.app.watched.tasks()] {
            tasks.turn().given.cancel();
        }
        // Whoever came in the meantime. A renewal must not find the store closed: its refresh token counts once.
        timeout(QUIET, self.app.tasks.written()).await.map_err(|_late| HandoverError::Busy)?;
        sweep(
            &self.app.sessions,
            &self.app.api_tokens,
            &self.app.shares,
            &self.app.gateway,
            &self.app.workspaces,
        )
        .await;
        self.app.admin.store.leave().await?;
        successor.link.send(&FromOld::Go).await?;
        match timeout(READY, successor.link.next()).await {
            Ok(Some(FromNew::Ready)) => Ok(()),
            Ok(Some(FromNew::Failed { why })) => Err(HandoverError::Refused(why)),
            Ok(Some(_)) => Err(HandoverError::Silent("says something else than that it is ready")),
            Ok(None) => Err(HandoverError::Silent("ended before it was ready")),
            Err(_late) => Err(HandoverError::Silent("was not ready in time")),
        }
    }

    /// Goes on as before. If that cannot be, this process is no use any more.
    pub(crate) async fn take_back(&self, left: Left) -> Result<(), AppError> {
        if left == Left::Nothing {
            return Ok(());
        }
        if left == Left::Store {
            self.app.admin.store.take_back().await.map_err(HandoverError::Store)?;
        }
        self.app.tasks.resume();
        self.app.watched.tasks().resume();
        self.workers.accept(self.app)
    }
}

/// It failed, and this much is to be taken back.
pub(crate) struct Failed {
    pub(crate) error: HandoverError,
    pub(crate) left: Left,
}

/// What was left to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    Turn,
    Store,
}

/// How long a server that starts is waited for.
const SETTLED: Duration = Duration::from_secs(10);
/// How long one that stops is waited for.
const STOPPED: Duration = Duration::from_secs(40);
/// As long as the hub's own requests and a provider's answers may take: longer than a form's body.
const QUIET: Duration = Duration::from_secs(20);
/// For a moment without requests.
const MOMENT: Duration = Duration::from_secs(3);
/// Between looks at what is under way.
const PAUSE: Duration = Duration::from_millis(50);
/// From a connection to its first request.
const CONNECTED: Duration = Duration::from_secs(1);
/// Until the new one has brought the database up to date, and found what runs.
const READY: Duration = Duration::from_secs(30);
