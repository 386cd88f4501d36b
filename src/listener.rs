//! Accepts connections: from our own sockets or systemd's, within limits, with TLS under a deadline, then HTTP/1.1
//! or HTTP/2.

mod bind;
mod limits;

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::admin::Admin;
use crate::config;
use crate::gateway::{Body, Connection, Gateway, Redirect};
use crate::metrics::{Metrics, Outcome};
use crate::tasks::Tasks;

pub use bind::{ListenError, Listeners, bind};

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

/// What all listeners share.
pub struct Listener {
    config: config::Listen,
    tls: TlsAcceptor,
    hsts: Option<HeaderValue>,
    clients: limits::Clients,
    tasks: Tasks,
    metrics: Metrics,
}

/// One connection, and what it takes to answer on it.
struct Served {
    listener: Arc<Listener>,
    connection: Connection,
    service: Service,
}

impl Listener {
    /// With these limits; `hsts` is how long browsers are to remember that this host speaks TLS only.
    pub fn new(
        config: config::Listen,
        tls: Arc<rustls::ServerConfig>,
        hsts: Duration,
        tasks: Tasks,
        metrics: Metrics,
    ) -> Self {
        let hsts = (!hsts.is_zero()).then(|| format!("max-age={}", hsts.as_secs()));
        Self {
            clients: limits::Clients::new(config.connections, config.connections_per_client),
            hsts: hsts.and_then(|value| HeaderValue::from_str(&value).ok()),
            tls: TlsAcceptor::from(tls),
            config,
            tasks,
            metrics,
        }
    }

    /// Accepts until shutdown. `tls`: with TLS; `worker`: the runtime this runs on.
    pub async fn accept(self: Arc<Self>, listener: TcpListener, service: Service, tls: bool, worker: usize) {
        let stopping = self.tasks.stopping();
        loop {
            let accepted = tokio::select! {
                () = stopping.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, client)) => self.admit(stream, client, service.clone(), tls, worker),
                // Out of descriptors, or the client is gone already: neither ends the listener.
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn admit(
        self: &Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        service: Service,
        tls: bool,
        worker: usize,
    ) {
        let Some(place) = self.clients.admit(client.ip()) else {
            debug!(%client, "too many connections");
            return;
        };
        // Small frames of a websocket must not wait for an acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%client, error = &error as &dyn std::error::Error, "cannot set TCP_NODELAY");
        }
        let listener = Arc::clone(self);
        self.tasks.spawn(async move {
            listener.metrics.connections.inc();
            if tls {
                Arc::clone(&listener).serve_tls(stream, client, service, worker).await;
            } else {
                let connection = connection(client, None, None, worker);
                let served = Served { listener: Arc::clone(&listener), connection, service };
                served.http1(stream).await;
            }
            listener.metrics.connections.dec();
            drop(place);
        });
    }

    async fn serve_tls(
        self: Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        service: Service,
        worker: usize,
    ) {
        let handshake = tokio::time::timeout(self.config.handshake_timeout.0, self.tls.accept(stream)).await;
        let result = match &handshake {
            Ok(Ok(_)) => "ok",
            Ok(Err(_)) => "failed",
            Err(_) => "timeout",
        };
        self.metrics.tls_handshakes.get_or_create(&Outcome { result }).inc();
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                debug!(%client, error = &error as &dyn std::error::Error, "TLS handshake failed");
                return;
            }
            Err(_late) => return,
        };
        let (_, session) = stream.get_ref();
        let http2 = session.alpn_protocol() == Some(b"h2");
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let connection = connection(client, session.server_name().map(Into::into), Some(version), worker);
        let served = Served { listener: self, connection, service };
        if http2 { served.http2(stream).await } else { served.http1(stream).await }
    }
}

impl Served {
    async fn http1(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { listener, connection, .. } = &self;
        let (connection, config) = (connection.clone(), listener.config.clone());
        let stopping = listener.tasks.stopping();
        let limit = usize::try_from(config.header_size.0).unwrap_or(usize::MAX);
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_timeout.0.min(config.idle_timeout.0))
            .max_buf_size(limit.max(8192))
            .max_headers(config.header_count);
        let served = Arc::new(self);
        let answer = service_fn(move |request| Arc::clone(&served).answer(request));
        let serving = builder.serve_connection(TokioIo::new(stream), answer).with_upgrades();
        tokio::pin!(serving);
        let outcome = tokio::select! {
            outcome = serving.as_mut() => outcome,
            () = stopping.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        log_end(&connection, outcome);
    }

    async fn http2(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { listener, connection, .. } = &self;
        let (connection, config) = (connection.clone(), listener.config.clone());
        let stopping = listener.tasks.stopping();
        let limit = u32::try_from(config.header_size.0).unwrap_or(u32::MAX);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_header_list_size(limit)
            .max_concurrent_streams(128)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .max_send_buf_size(128 * 1024)
            // Resets in numbers are an attack (CVE-2023-44487, CVE-2025-8671).
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(64)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        let served = Arc::new(self);
        let answer = service_fn(move |request| Arc::clone(&served).answer(request));
        let serving = builder.serve_connection(TokioIo::new(stream), answer);
        tokio::pin!(serving);
        let outcome = tokio::select! {
            outcome = serving.as_mut() => outcome,
            () = stopping.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        log_end(&connection, outcome);
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let Self { listener, connection, service } = &*self;
        if request.headers().len() > listener.config.header_count {
            let mut response = Response::new(Body::full("Too many header fields.\n"));
            *response.status_mut() = http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Ok(response);
        }
        let mut response = match service {
            Service::Public(gateway) => gateway.handle(connection, request).await,
            Service::HubApi(gateway) => gateway.handle_hub_api(connection, request).await,
            Service::Redirect(redirect) => redirect.handle(&request),
            Service::Operations(admin) => admin.handle(&request).await,
        };
        if let (Some(_), Some(hsts)) = (connection.tls, &listener.hsts) {
            response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        Ok(response)
    }
}

#[expect(clippy::expect_used, reason = "an IP address is visible ASCII")]
fn connection(
    client: SocketAddr,
    server_name: Option<Arc<str>>,
    tls: Option<&'static str>,
    worker: usize,
) -> Connection {
    let ip = client.ip().to_canonical().to_string();
    let client_value = HeaderValue::from_str(&ip).expect("an address that fits a header");
    Connection { client, client_value, server_name, tls, worker }
}

fn log_end(connection: &Connection, outcome: Result<(), hyper::Error>) {
    if let Err(error) = outcome {
        debug!(client = %connection.client, error = &error as &dyn std::error::Error, "connection ended early");
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}
