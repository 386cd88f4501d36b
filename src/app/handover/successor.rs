//! Starting the process that is to take over.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::timeout;
use tracing::warn;

use super::HandoverError;
use super::link::{Link, LinkError, send_blocking};
use super::words::{FromNew, Hello, LANGUAGE};
use crate::control::Socket;
use crate::logging::cause;
use crate::tasks::Tasks;

/// The file that this program was started from, and its configuration.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    config: PathBuf,
}

impl Program {
    /// As this process was started. To be called at its start: later, another file may lie there.
    pub fn running(config: &Path) -> io::Result<Self> {
        let given = std::env::args_os().next().filter(|name| Path::new(name).components().count() > 1);
        // By the name that was typed: where it is a link, a new release is behind the same one.
        let path = match given {
            Some(path) => std::path::absolute(path)?,
            None => std::env::current_exe()?,
        };
        Ok(Self { path, config: config.to_owned() })
    }

    fn arguments(&self, step: &'static str) -> [&OsStr; 5] {
        let text = |text: &'static str| OsStr::new(text);
        [text("serve"), text("--config"), self.config.as_os_str(), text("--handover"), text(step)]
    }
}

/// The first of two processes: starts the second, which is then nobody's child but init's, as the service manager wants
/// it, and ends.
pub fn begin(config: &Path) -> Result<(), HandoverError> {
    let failed = |source| HandoverError::Start { path: "/proc/self/exe".into(), source };
    let path = std::env::current_exe().map_err(failed)?;
    let program = Program { path: path.clone(), config: config.to_owned() };
    // Its standard input is the link. It is called as this one: by that name it looks for what comes after it.
    let name = std::env::args_os().next().unwrap_or_else(|| path.clone().into_os_string());
    let started = std::process::Command::new(&path).arg0(name).args(program.arguments("take")).spawn();
    started.map(drop).map_err(|source| HandoverError::Start { path, source })
}

/// A process that takes over, or has.
pub(crate) struct Successor {
    pub(crate) pid: u32,
    pub(crate) version: String,
    pub(crate) link: Link<FromNew>,
}

impl Successor {
    /// Starts it, hands it the sockets, and waits until its configuration is good.
    pub(crate) async fn start(
        program: &Program,
        listeners: &[TcpListener],
        admin: Option<&Socket>,
        tasks: &Tasks,
    ) -> Result<Self, HandoverError> {
        let failed = |source| HandoverError::Start { path: program.path.clone(), source };
        let (mut ours, theirs) = UnixStream::pair().map_err(failed)?;
        let started = Command::new(&program.path)
            .args(program.arguments("begin"))
            // The service manager's for this process alone.
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .kill_on_drop(true)
            .spawn();
        let mut first = started.map_err(failed)?;
        ours.set_write_timeout(Some(STARTED)).map_err(failed)?;
        let handed = hand(&mut ours, listeners, admin);
        let ended = timeout(STARTED, first.wait()).await;
        let ended = ended.map_err(|_late| HandoverError::Silent("did not start in time"))?.map_err(failed)?;
        if !ended.success() {
            return Err(HandoverError::Silent("ended at once"));
        }
        match handed {
            // Whoever found something wrong may have ended sooner than it was told anything.
            Err(LinkError::Broken(source)) if source.kind() == io::ErrorKind::BrokenPipe => {
                return Err(HandoverError::Silent("ended before it was prepared"));
            }
            handed => handed?,
        }
        let mut link = Link::new(ours, tasks).map_err(failed)?;
        match timeout(PREPARED, link.next()).await {
            Ok(Some(FromNew::Prepared { pid, version })) => Ok(Self { pid, version, link }),
            Ok(Some(FromNew::Failed { why })) => Err(HandoverError::Refused(why)),
            Ok(Some(_)) => Err(HandoverError::Silent("says something else than that it is prepared")),
            Ok(None) => Err(HandoverError::Silent("ended before it was prepared")),
            Err(_late) => Err(HandoverError::Silent("was not prepared in time")),
        }
    }

    /// Ends it, and waits until it is gone: only then may this process go on.
    pub(crate) async fn end(&mut self) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // It holds its end of the link as long as it lives, so this is no other process of that number.
        if let Some(pid) = pid.filter(|_| !self.link.is_over())
            && let Err(error) = kill_process(pid, Signal::KILL)
        {
            warn!(error = cause(&error), pid = self.pid, "cannot end the process that was to take over");
        }
        let gone = async { while self.link.next().await.is_some() {} };
        if timeout(STARTED, gone).await.is_err() {
            warn!(pid = self.pid, "the process that was to take over does not end");
        }
    }
}

/// The sockets, which no other process can come by on the way, and what they are.
fn hand(link: &mut UnixStream, listeners: &[TcpListener], admin: Option<&Socket>) -> Result<(), LinkError> {
    let mut sockets: Vec<BorrowedFd<'_>> = listeners.iter().map(std::os::fd::AsFd::as_fd).collect();
    sockets.extend(admin.map(Socket::as_fd));
    let message = SendAncillaryMessage::ScmRights(&sockets);
    let mut space = vec![MaybeUninit::uninit(); message.size()];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let sent = beside
        .push(message)
        .then(|| sendmsg(link.as_fd(), &[IoSlice::new(&[0])], &mut beside, SendFlags::NOSIGNAL));
    let sent = sent.unwrap_or(Err(rustix::io::Errno::MSGSIZE));
    sent.map_err(|error| LinkError::Broken(error.into()))?;
    let hello = Hello {
        language: LANGUAGE,
        listeners: listeners.len(),
        admin: admin.map(|socket| socket.path().to_owned()),
    };
    send_blocking(link, &hello)
}

const STARTED: Duration = Duration::from_secs(10);
const PREPARED: Duration = Duration::from_secs(15);
