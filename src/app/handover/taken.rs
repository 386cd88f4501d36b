//! The other end: what a process that takes over is given.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tracing::debug;

use super::HandoverError;
use super::link::{Link, read_blocking, send_blocking};
use super::words::{FromNew, FromOld, Hello, LANGUAGE};
use crate::app::AppError;
use crate::app::run::chain;
use crate::control::Socket;
use crate::logging::cause;
use crate::tasks::Tasks;

/// Sockets, and the link to the process that had them.
#[derive(Debug)]
pub(crate) struct Taken {
    sockets: Vec<TcpListener>,
    admin: Option<(PathBuf, UnixListener)>,
    stream: UnixStream,
}

impl Taken {
    /// From standard input, which is no use for anything else.
    pub(crate) fn receive() -> Result<Self, HandoverError> {
        let link = io::stdin().as_fd().try_clone_to_owned().map_err(HandoverError::Take)?;
        let nothing = File::open("/dev/null").map_err(HandoverError::Take)?;
        rustix::stdio::dup2_stdin(nothing).map_err(|error| HandoverError::Take(error.into()))?;
        Self::from(UnixStream::from(link))
    }

    fn from(mut stream: UnixStream) -> Result<Self, HandoverError> {
        stream.set_read_timeout(Some(PATIENCE)).map_err(HandoverError::Take)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(HandoverError::Take)?;
        let mut given = descriptors(&stream).map_err(HandoverError::Take)?.into_iter();
        let hello: Hello = read_blocking(&mut stream)?;
        if hello.language != LANGUAGE {
            let why = format!("it speaks the language {LANGUAGE}, not {}", hello.language);
            send_blocking(&mut stream, &FromNew::Failed { why })?;
            return Err(HandoverError::Silent("is of another language"));
        }
        let sockets = given.by_ref().take(hello.listeners).map(TcpListener::from).collect();
        let admin = hello.admin.zip(given.next().map(UnixListener::from));
        Ok(Self { sockets, admin, stream })
    }

    /// The listening sockets.
    pub(crate) fn sockets(&mut self) -> Vec<TcpListener> {
        std::mem::take(&mut self.sockets)
    }

    /// The admin socket, where it is to be; if it is to be elsewhere now, another one.
    pub(crate) fn admin(&mut self, path: Option<&Path>) -> Result<Option<Socket>, HandoverError> {
        let Some(path) = path else { return Ok(None) };
        let same = self.admin.take().filter(|(there, _)| there == path);
        match same {
            Some((_, listener)) => Ok(Some(Socket::adopt(path, listener))),
            None => Ok(Some(Socket::bind(path)?)),
        }
    }

    /// Says that it will not come to it.
    pub(crate) fn fail(mut stream: UnixStream, error: &AppError) {
        if let Err(error) = send_blocking(&mut stream, &FromNew::Failed { why: chain(error) }) {
            debug!(error = cause(&error), "the hubgate that runs does not listen");
        }
    }

    /// Another handle of the link, to say that it failed.
    pub(crate) fn stream(&self) -> Result<UnixStream, HandoverError> {
        self.stream.try_clone().map_err(HandoverError::Take)
    }

    /// Says that the configuration is good, and waits until store and runtime are free.
    pub(crate) async fn prepared(self, tasks: &Tasks) -> Result<Link<FromOld>, HandoverError> {
        let mut link = Link::new(self.stream, tasks).map_err(HandoverError::Take)?;
        let (pid, version) = (std::process::id(), env!("CARGO_PKG_VERSION").to_owned());
        link.send(&FromNew::Prepared { pid, version }).await?;
        match link.next().await {
            Some(FromOld::Go) => Ok(link),
            Some(_) | None => Err(HandoverError::Silent("is not wanted any more")),
        }
    }
}

impl Link<FromOld> {
    /// Says that it will not come to it.
    pub(crate) async fn fail(&mut self, error: &AppError) {
        if let Err(error) = self.send(&FromNew::Failed { why: chain(error) }).await {
            debug!(error = cause(&error), "the hubgate that runs does not listen");
        }
    }

    /// Says that connections are served here, and waits until the service manager knows.
    pub(crate) async fn ready(&mut self) -> Result<(), HandoverError> {
        self.send(&FromNew::Ready).await?;
        match self.next().await {
            Some(FromOld::Main) => Ok(()),
            Some(_) | None => Err(HandoverError::Silent("was left alone")),
        }
    }
}

fn descriptors(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let read = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut beside, flags)?;
    if read.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let rights = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        RecvAncillaryMessage::ScmCredentials(_) | _ => None,
    });
    Ok(rights.flatten().collect())
}

/// As many as the kernel passes at once (`SCM_MAX_FD`).
const MOST: usize = 253;

const PATIENCE: Duration = Duration::from_secs(10);
