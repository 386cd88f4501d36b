//! Upgraded connections: bytes go both ways until one side, the session or the process ends.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::activity::{Activity, is_heartbeat};
use super::lifeline::Hold;
use super::pool::Open;

/// Two connections that become one, and what ends it.
pub(super) struct Tunnel {
    pub(super) client: OnUpgrade,
    pub(super) workspace: OnUpgrade,
    /// Counts as open on the lifeline.
    pub(super) hold: Hold,
    /// The lifeline's end.
    pub(super) ended: CancellationToken,
    /// What moves in it is use of the workspace.
    pub(super) activity: Option<Arc<Activity>>,
    /// The process's end.
    pub(super) stopping: CancellationToken,
    /// How long nothing may come from either side.
    pub(super) idle: Option<Duration>,
    /// Open tunnels.
    pub(super) open: Gauge,
}

impl Tunnel {
    /// Copies until the end.
    pub(super) async fn run(self) {
        let Self { client, workspace, hold: _hold, ended, activity, stopping, idle, open } = self;
        let upgraded = async { Ok::<_, hyper::Error>((client.await?, workspace.await?)) };
        let (client, workspace) = match timeout(UPGRADE_TIMEOUT, upgraded).await {
            Ok(Ok(both)) => both,
            Ok(Err(error)) => return debug!(%error, "websocket not opened"),
            Err(_elapsed) => return debug!("websocket not opened in time"),
        };
        let open = Open::new(&open);
        let (mut client, mut workspace) = (TokioIo::new(client), TokioIo::new(workspace));
        tokio::select! {
            result = copy(&mut client, &mut workspace, activity.as_deref(), idle) => {
                if let Err(error) = result {
                    debug!(%error, "websocket broke off");
                }
            }
            () = ended.cancelled() => debug!("websocket closed: the right to it has ended"),
            () = stopping.cancelled() => debug!("websocket closed: shutting down"),
        }
        drop(open);
        // For the goodbye of TLS. What the other side thinks of it is of no more interest.
        let goodbye = async { tokio::join!(client.shutdown(), workspace.shutdown()) };
        drop(timeout(GOODBYE_TIMEOUT, goodbye).await);
    }
}

/// Copies both ways until both sides have ended, one has failed, or nothing has moved for too long.
async fn copy(
    client: &mut TokioIo<Upgraded>,
    workspace: &mut TokioIo<Upgraded>,
    activity: Option<&Activity>,
    idle: Option<Duration>,
) -> io::Result<()> {
    let (mut up, mut down) = (Half::default(), Half::default());
    let mut last = Instant::now();
    let mut deadline = pin!(sleep_until(last));
    // Not before it is needed: a deadline that is never polled costs nothing.
    let mut armed = false;
    poll_fn(|context| {
        let (mut client, mut workspace) = (Pin::new(&mut *client), Pin::new(&mut *workspace));
        let upwards = up.poll(context, client.as_mut(), workspace.as_mut())?;
        let downwards = down.poll(context, workspace, client)?;
        if upwards.is_ready() && downwards.is_ready() {
            return Poll::Ready(Ok(()));
        }
        let moved = std::mem::take(&mut up.moved) | std::mem::take(&mut down.moved);
        if moved {
            last = Instant::now();
        }
        let used = std::mem::take(&mut up.used) | std::mem::take(&mut down.used);
        if let Some(activity) = activity.filter(|_| used) {
            activity.note();
        }
        // A peer that has said its last word waits for the other's, but not for ever.
        let half_closed = upwards.is_ready() || downwards.is_ready();
        let limit = if half_closed { Some(idle.map_or(LINGER, |idle| idle.min(LINGER))) } else { idle };
        let Some(limit) = limit else { return Poll::Pending };
        if !armed || half_closed {
            armed = true;
            deadline.as_mut().reset(last + limit);
        }
        while deadline.as_mut().poll(context).is_ready() {
            if last + limit <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            deadline.as_mut().reset(last + limit);
        }
        Poll::Pending
    })
    .await
}

/// One direction.
#[derive(Default)]
struct Half {
    buffer: Vec<u8>,
    /// What of the buffer is to be written yet.
    from: usize,
    to: usize,
    state: State,
    unflushed: bool,
    moved: bool,
    /// Something moved that is more than a sign of life.
    used: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Copying,
    /// The reader has ended, the writer is told.
    Ending,
    Ended,
}

impl Half {
    /// Copies what can be copied now. Ready when the reader has ended and the writer was told so.
    fn poll<R: AsyncRead, W: AsyncWrite>(
        &mut self,
        context: &mut Context<'_>,
        mut reader: Pin<&mut R>,
        mut writer: Pin<&mut W>,
    ) -> Poll<io::Result<()>> {
        while self.state == State::Copying {
            if self.from == self.to {
                match self.poll_fill(context, reader.as_mut()) {
                    Poll::Ready(read) => read?,
                    Poll::Pending => {
                        if self.unflushed {
                            ready!(writer.as_mut().poll_flush(context))?;
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    }
                }
            }
            while let Some(bytes) = self.buffer.get(self.from..self.to).filter(|bytes| !bytes.is_empty()) {
                let written = ready!(writer.as_mut().poll_write(context, bytes))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.from += written;
                self.moved = true;
                self.unflushed = true;
            }
        }
        if self.state == State::Ending {
            ready!(writer.as_mut().poll_shutdown(context))?;
            self.state = State::Ended;
            self.moved = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads into the buffer, which begins small and grows when it was filled: most websockets are quiet.
    fn poll_fill<R: AsyncRead>(
        &mut self,
        context: &mut Context<'_>,
        reader: Pin<&mut R>,
    ) -> Poll<io::Result<()>> {
        if self.to == self.buffer.len() && self.buffer.len() < LARGE_BUFFER {
            let size = if self.buffer.is_empty() { SMALL_BUFFER } else { LARGE_BUFFER };
            self.buffer.resize(size, 0);
        }
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(reader.poll_read(context, &mut buffer))?;
        (self.from, self.to) = (0, buffer.filled().len());
        self.used |= !buffer.filled().is_empty() && !is_heartbeat(buffer.filled());
        self.moved = true;
        if self.to == 0 {
            self.state = State::Ending;
        }
        Poll::Ready(Ok(()))
    }
}

const SMALL_BUFFER: usize = 1024;
const LARGE_BUFFER: usize = 16 * 1024;

/// Until the client has got the 101.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one side may stay quiet after the other has ended.
const LINGER: Duration = Duration::from_mins(1);
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
