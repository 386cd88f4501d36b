//! Accepts connections: from our own sockets or systemd's, within limits, with TLS under a deadline, then HTTP/1.1
//! or HTTP/2. What is answered is others' matter.

mod bind;
mod http;
mod limits;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::http::HeaderValue;
use hyper_util::rt::TokioIo;
use rustls::ProtocolVersion;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use self::http::{Held, Protocols};
use self::limits::{Full, Slot, Slots};
use crate::admin::Admin;
use crate::config;
use crate::gateway::{Connection, Gateway, Redirect};
use crate::logging::cause;
use crate::metrics::{Kind, Metrics, Outcome};
use crate::tasks::Tasks;

pub use bind::{Addresses, Inherited, ListenError, Listeners, bind};

/// What answers the requests of a listener.
#[derive(Debug, Clone)]
pub enum Service {
    /// The hub, for browsers.
    Public(Gateway),
    /// The hub, for containers.
    HubApi(Gateway),
    /// Sends browsers from plain HTTP to the hub.
    Redirect(Arc<Redirect>),
    /// Health and metrics.
    Operations(Arc<Admin>),
}

/// What all listeners share: limits, deadlines, what counts and what spawns.
pub struct Listener {
    tls: TlsAcceptor,
    handshake_timeout: Duration,
    protocols: Protocols,
    public: Arc<Slots>,
    containers: Arc<Slots>,
    operations: Arc<Slots>,
    tasks: Tasks,
    metrics: Metrics,
    said_full: Mutex<Option<Instant>>,
}

/// Where a connection comes in.
#[derive(Debug, Clone)]
struct Door {
    service: Service,
    tls: bool,
    worker: usize,
}

impl Listener {
    /// With these limits; `hsts` is how long browsers are to remember that this host speaks TLS only.
    pub fn new(
        listen: &config::Listen,
        tls: Arc<rustls::ServerConfig>,
        hsts: Duration,
        tasks: Tasks,
        metrics: Metrics,
    ) -> Self {
        let slots = || Arc::new(Slots::new(listen.connections, listen.connections_per_client));
        Self {
            tls: TlsAcceptor::from(tls),
            handshake_timeout: listen.handshake_timeout.0,
            protocols: Protocols::new(listen, hsts, tasks.clone()),
            public: slots(),
            // Apart, so that neither containers nor strangers shut the door on the other, or on the operator.
            containers: slots(),
            operations: Arc::new(Slots::new(OPERATIONS_CONNECTIONS, OPERATIONS_CONNECTIONS)),
            tasks,
            metrics,
            said_full: Mutex::default(),
        }
    }

    /// What its connections run in.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Accepts until the turn ends; no error ends it. Connections go on in tasks of their own. With `tls`, whatever does
    /// not begin a handshake is turned away; `worker` is the runtime this runs on.
    pub async fn accept(self: Arc<Self>, socket: TcpListener, service: Service, tls: bool, worker: usize) {
        let door = Door { service, tls, worker };
        let turn = self.tasks.turn();
        let stopped = turn.resting.cancelled();
        tokio::pin!(stopped);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stopped => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, client)) => self.admit(stream, client, &door),
                // This one is gone before it was accepted (accept(2)); the next may be good.
                Err(error) if is_passing(&error) => {
                    debug!(%error, "a connection failed before it was accepted");
                }
                Err(error) => {
                    warn!(error = cause(&error), "cannot accept connections");
                    tokio::select! { () = &mut stopped => return, () = sleep(ACCEPT_PAUSE) => {} }
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, client: SocketAddr, door: &Door) {
        // As IPv4 where it is: a socket of both families writes it as IPv6.
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let Some(slot) = self.slot(&door.service, client) else { return };
        let place = Place::new(slot, &self.metrics);
        let (listener, door) = (Arc::clone(self), door.clone());
        self.tasks.spawn(async move {
            if let Err(error) = tune(&stream) {
                debug!(%client, error = cause(&error), "cannot set the options of a connection");
            }
            listener.serve(stream, client, door, place).await;
        });
    }

    fn slot(&self, service: &Service, client: SocketAddr) -> Option<Slot> {
        let slots = match service {
            Service::Public(_) | Service::Redirect(_) => &self.public,
            Service::HubApi(_) => &self.containers,
            Service::Operations(_) => &self.operations,
        };
        match slots.take(client.ip()) {
            Ok(slot) => return Some(slot),
            Err(Full::Client) => {
                debug!(%client, "too many connections from one client");
                self.metrics.refusals.get_or_create(&Kind { kind: "connections_per_client" }).inc();
            }
            Err(Full::All) => {
                self.metrics.refusals.get_or_create(&Kind { kind: "connections" }).inc();
                let mut said = self.said_full.lock().unwrap_or_else(PoisonError::into_inner);
                if said.is_none_or(|said| said.elapsed() > FULL_PAUSE) {
                    *said = Some(Instant::now());
                    warn!("too many connections: new ones are closed until others end");
                }
            }
        }
        None
    }

    async fn serve(&self, stream: TcpStream, client: SocketAddr, door: Door, place: Place) {
        let mut connection = Connection {
            client,
            client_value: address_value(client),
            server_name: None,
            tls: None,
            worker: door.worker,
        };
        if !door.tls {
            let io = Held::new(TokioIo::new(stream), place);
            return self.protocols.http1(io, connection, door.service).await;
        }
        let Some(stream) = self.handshake(stream, client).await else { return };
        let (_, session) = stream.get_ref();
        connection.server_name = session.server_name().map(Arc::from);
        connection.tls = session.protocol_version().map(version);
        let http2 = session.alpn_protocol() == Some(b"h2");
        let io = Held::new(TokioIo::new(stream), place);
        if http2 {
            self.protocols.http2(io, connection, door.service).await;
        } else {
            self.protocols.http1(io, connection, door.service).await;
        }
    }

    async fn handshake(&self, stream: TcpStream, client: SocketAddr) -> Option<TlsStream<TcpStream>> {
        let handshake = async {
            let mut first = [0];
            if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
                turn_away(stream).await?;
                return Ok(None);
            }
            self.tls.accept(stream).await.map(Some)
        };
        let (stream, result) = match timeout(self.handshake_timeout, handshake).await {
            Ok(Ok(Some(stream))) => (Some(stream), "ok"),
            Ok(Ok(None)) => (None, "not_tls"),
            Ok(Err(error)) => {
                debug!(%client, error = cause(&error), "TLS handshake failed");
                (None, "failed")
            }
            Err(_elapsed) => (None, "timeout"),
        };
        self.metrics.tls_handshakes.get_or_create(&Outcome { result }).inc();
        stream
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// The place that a connection takes, the tunnel that it becomes included.
#[derive(Debug)]
struct Place {
    metrics: Metrics,
    _slot: Slot,
}

impl Place {
    fn new(slot: Slot, metrics: &Metrics) -> Self {
        metrics.connections.inc();
        Self { metrics: metrics.clone(), _slot: slot }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    [ConnectionAborted, ConnectionReset, Interrupted, TimedOut].contains(&error.kind())
}

/// The small frames of a websocket go at once; a peer that is gone, or takes nothing any more, is noticed.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_mins(1)).with_interval(Duration::from_secs(15));
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(STALLED))
}

/// Says in plain HTTP that this is not the place for it, and reads a little of what comes: a socket that is closed
/// with unread bytes resets the connection, and the client might never see the answer.
async fn turn_away(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(NOT_TLS).await?;
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    for _ in 0..64 {
        if stream.read(&mut unread).await? == 0 {
            break;
        }
    }
    Ok(())
}

#[expect(clippy::expect_used, reason = "an IP address is visible ASCII")]
fn address_value(client: SocketAddr) -> HeaderValue {
    HeaderValue::from_str(&client.ip().to_string()).expect("an address that fits a header")
}

fn version(version: ProtocolVersion) -> &'static str {
    if version == ProtocolVersion::TLSv1_2 { "TLSv1.2" } else { "TLSv1.3" }
}

/// The first byte of a TLS handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 29\r\n\
    Connection: close\r\n\r\n\
    This port speaks https only.\n";

/// When descriptors run out, trying again at once only heats the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Between two warnings that there is no place left.
const FULL_PAUSE: Duration = Duration::from_secs(10);

/// How long a client may leave what it is sent unacknowledged, or take none of it.
const STALLED: Duration = Duration::from_mins(2);

const OPERATIONS_CONNECTIONS: usize = 256;
