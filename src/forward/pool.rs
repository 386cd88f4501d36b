//! Connections to one workspace instance.
//!
//! They are kept per worker runtime, used last in, first out, and each belongs to its [`Pool`] alone: another instance
//! that got the same address never sees one.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::gauge::Gauge;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::body::RequestBody;
use super::{ForwardError, Settings};
use crate::upstream::Upstream;

/// Connections to one instance. The idle ones close when the last handle is dropped, or by [`Pool::close`].
pub struct Pool {
    upstream: Upstream,
    settings: Arc<Settings>,
    shards: Box<[Mutex<Shard>]>,
    closed: CancellationToken,
}

/// What one worker keeps.
#[derive(Default)]
struct Shard {
    /// By the time of their last use, oldest first.
    idle: Vec<Idle>,
    /// Whether a task watches their age.
    swept: bool,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// An open connection, and whether the workspace said anything since [`Connection::listen`].
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    heard: Arc<AtomicBool>,
}

/// A connection in use. It goes back only by [`Lease::give_back`]: dropped in any other way, it closes.
pub(super) struct Lease {
    pub(super) connection: Connection,
    pool: Arc<Pool>,
    worker: usize,
}

impl Pool {
    pub(super) fn new(upstream: Upstream, settings: Arc<Settings>) -> Self {
        let shards = (0..settings.workers.max(1)).map(|_| Mutex::default()).collect();
        Self { upstream, settings, shards, closed: CancellationToken::new() }
    }

    /// Whose connections these are.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Closes the idle connections now, and the others after the response each is used for. New ones can still be
    /// made, but none is kept.
    pub fn close(&self) {
        self.closed.cancel();
        for shard in &self.shards {
            lock(shard).idle.clear();
        }
    }

    /// The connection used last that can be used again.
    pub(super) fn checkout(self: &Arc<Self>, worker: usize) -> Option<Lease> {
        let mut shard = lock(self.shard(worker)?);
        if shard.idle.is_empty() {
            return None;
        }
        let oldest = Instant::now().checked_sub(self.settings.idle_timeout);
        shard.idle.retain(|idle| {
            !idle.connection.sender.is_closed() && oldest.is_none_or(|oldest| idle.since > oldest)
        });
        // One that is not ready still sends the body of a request that was answered early.
        let at = shard.idle.iter().rposition(|idle| idle.connection.sender.is_ready())?;
        let connection = shard.idle.remove(at).connection;
        Some(Lease { connection, pool: Arc::clone(self), worker })
    }

    /// A new connection that [`Lease::give_back`] can keep.
    pub(super) async fn connect(self: &Arc<Self>, worker: usize) -> Result<Lease, ForwardError> {
        let socket = self.dial().await?;
        let heard = Arc::clone(&socket.heard);
        let (sender, driver) = self.handshake(socket).await?;
        let open = Open::new(&self.settings.metrics.upstream_connections);
        self.settings.tasks.spawn(async move {
            let _open = open;
            if let Err(error) = driver.await {
                debug!(%error, "connection to a workspace broke off");
            }
        });
        Ok(Lease { connection: Connection { sender, heard }, pool: Arc::clone(self), worker })
    }

    /// A new connection for one request alone, which may become a tunnel.
    pub(super) async fn connect_once(&self) -> Result<SendRequest<RequestBody>, ForwardError> {
        let socket = self.dial().await?;
        let (sender, driver) = self.handshake(socket).await?;
        let open = Open::new(&self.settings.metrics.upstream_connections);
        self.settings.tasks.spawn(async move {
            let _open = open;
            if let Err(error) = driver.with_upgrades().await {
                debug!(%error, "connection to a workspace broke off");
            }
        });
        Ok(sender)
    }

    async fn dial(&self) -> Result<Socket, ForwardError> {
        let failed = |source: io::Error| ForwardError::Connect {
            upstream: self.upstream.clone(),
            source: source.into(),
        };
        let connecting = timeout(self.settings.connect_timeout, TcpStream::connect(self.upstream.address));
        let stream = connecting.await.map_err(io::Error::from).and_then(|made| made).map_err(failed)?;
        // A keystroke in a terminal must not wait for the acknowledgement of the one before.
        stream.set_nodelay(true).map_err(failed)?;
        // A container's network can vanish without a word; a websocket or a stream of events would wait for ever.
        SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE).map_err(failed)?;
        Ok(Socket { stream, heard: Arc::default() })
    }

    async fn handshake(
        &self,
        socket: Socket,
    ) -> Result<(SendRequest<RequestBody>, http1::Connection<TokioIo<Socket>, RequestBody>), ForwardError>
    {
        let made = http1::Builder::new().handshake(TokioIo::new(socket)).await;
        made.map_err(|source| ForwardError::Broken { upstream: self.upstream.clone(), source: source.into() })
    }

    fn shard(&self, worker: usize) -> Option<&Mutex<Shard>> {
        self.shards.get(worker.checked_rem(self.shards.len())?)
    }

    /// Closes what was idle for too long, as long as there is something idle.
    async fn sweep(pool: Weak<Self>, worker: usize, closed: CancellationToken, every: Duration) {
        let Some(stopping) = pool.upgrade().map(|pool| pool.settings.stopping.clone()) else { return };
        let mut wake = Instant::now() + every;
        loop {
            let stop = tokio::select! {
                () = sleep_until(wake) => false,
                () = closed.cancelled() => true,
                () = stopping.cancelled() => true,
            };
            let Some(pool) = pool.upgrade() else { return };
            let Some(mut shard) = pool.shard(worker).map(lock) else { return };
            let now = Instant::now();
            shard
                .idle
                .retain(|idle| !stop && idle.since + every > now && !idle.connection.sender.is_closed());
            let Some(oldest) = shard.idle.first() else {
                shard.swept = false;
                return;
            };
            wake = oldest.since + every;
        }
    }
}

impl Connection {
    /// From now on, [`Connection::heard`] tells of what comes.
    pub(super) fn listen(&self) {
        self.heard.store(false, Ordering::Relaxed);
    }

    /// Whether the workspace sent a byte.
    pub(super) fn heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }
}

impl Lease {
    /// Keeps the connection for the next request. Its response must have been read to the end.
    pub(super) fn give_back(self) {
        let Self { connection, pool, worker } = self;
        let settings = &pool.settings;
        if connection.sender.is_closed() || settings.idle_connections == 0 {
            return;
        }
        let Some(mut shard) = pool.shard(worker).map(lock) else { return };
        // Asked under the lock: whoever closes the pool says so first, and empties the shards after.
        if pool.closed.is_cancelled() || settings.stopping.is_cancelled() {
            return;
        }
        if shard.idle.len() >= settings.idle_connections {
            shard.idle.remove(0);
        }
        shard.idle.push(Idle { connection, since: Instant::now() });
        if !shard.swept {
            shard.swept = true;
            let (weak, closed) = (Arc::downgrade(&pool), pool.closed.clone());
            settings.tasks.spawn(Pool::sweep(weak, worker, closed, settings.idle_timeout));
        }
    }
}

const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_mins(1)).with_interval(Duration::from_secs(15));

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // Whoever panicked did so between whole steps: a list of connections is never half made.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts something as open while it lives.
pub(super) struct Open(Gauge);

impl Open {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A connection that remembers whether anything came.
struct Socket {
    stream: TcpStream,
    heard: Arc<AtomicBool>,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    // hyper sends a head and a body's parts in one call only where this says so.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Ends the tasks that watch the shards.
        self.closed.cancel();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("pool", &self.pool).finish_non_exhaustive()
    }
}
