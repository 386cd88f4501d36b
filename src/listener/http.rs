//! HTTP over one connection, until it ends or is to end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{RETRY_AFTER, STRICT_TRANSPORT_SECURITY};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::{Place, Service};
use crate::config;
use crate::gateway::{Body, BoxError, Connection};
use crate::logging::cause;
use crate::tasks::{Tasks, Turn};

/// How HTTP is spoken, whatever answers.
#[derive(Debug)]
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<Executor>,
    header_count: usize,
    idle_timeout: Duration,
    hsts: Option<HeaderValue>,
    tasks: Tasks,
}

impl Protocols {
    pub(super) fn new(listen: &config::Listen, hsts: Duration, tasks: Tasks) -> Self {
        let hsts = hsts.as_secs();
        Self {
            http1: http1(listen),
            http2: http2(listen, tasks.clone()),
            header_count: listen.header_count,
            idle_timeout: listen.idle_timeout.0,
            hsts: (hsts > 0).then(|| HeaderValue::from_str(&format!("max-age={hsts}")).ok()).flatten(),
            tasks,
        }
    }

    pub(super) async fn http1<T>(&self, io: Held<T>, connection: Connection, service: Service)
    where
        T: Read + Write + Unpin + Send + 'static,
    {
        let client = connection.client;
        let answering = Arc::new(self.answering(connection, service));
        let (turn, open) = (answering.turn.clone(), Arc::clone(&answering.open));
        let answer = service_fn(|request| Arc::clone(&answering).answer(request));
        let serving = self.http1.serve_connection(io, answer).with_upgrades();
        tokio::pin!(serving);
        let result = tokio::select! {
            biased;
            result = &mut serving => result,
            () = self.leaving(&turn, &open) => {
                serving.as_mut().graceful_shutdown();
                tokio::select! { result = serving => result, () = self.left(&turn, &open) => return }
            }
        };
        if let Err(error) = result {
            debug!(%client, error = cause(&error), "connection broke off");
        }
    }

    pub(super) async fn http2<T>(&self, io: Held<T>, connection: Connection, service: Service)
    where
        T: Read + Write + Unpin + Send + 'static,
    {
        let client = connection.client;
        let answering = Arc::new(self.answering(connection, service));
        let (turn, open) = (answering.turn.clone(), Arc::clone(&answering.open));
        let answer = service_fn(move |request| Arc::clone(&answering).answer(request));
        let serving = self.http2.serve_connection(io, answer);
        tokio::pin!(serving);
        let result = tokio::select! {
            biased;
            result = &mut serving => result,
            () = async {
                tokio::select! {
                    () = turn.resting.cancelled() => {}
                    () = open.idle(self.idle_timeout) => {}
                }
            } => {
                serving.as_mut().graceful_shutdown();
                tokio::select! { result = serving => result, () = self.left(&turn, &open) => return }
            }
        };
        if let Err(error) = result {
            debug!(%client, error = cause(&error), "connection broke off");
        }
    }

    /// Resolves when a connection is to end after the request that it has. Whoever has just connected is answered, as long
    /// as this process answers.
    async fn leaving(&self, turn: &Turn, open: &Open) {
        turn.resting.cancelled().await;
        tokio::select! {
            () = open.begun.notified() => {}
            () = turn.given.cancelled() => {}
            () = self.tasks.stopping().cancelled_owned() => {}
        }
    }

    /// Resolves when nothing comes of a connection any more: its requests are answered, and new ones are another
    /// process's.
    async fn left(&self, turn: &Turn, open: &Open) {
        turn.given.cancelled().await;
        open.idle(self.idle_timeout).await;
    }

    fn answering(&self, connection: Connection, service: Service) -> Answering {
        Answering {
            hsts: self.hsts.clone().filter(|_| connection.tls.is_some()),
            header_count: self.header_count,
            service,
            connection,
            open: Arc::new(Open::default()),
            turn: self.tasks.turn(),
        }
    }
}

fn http1(listen: &config::Listen) -> http1::Builder {
    let header_size = usize::try_from(listen.header_size.0).unwrap_or(usize::MAX);
    let mut builder = http1::Builder::new();
    builder
        // Without a timer the deadline would be silently none.
        .timer(TokioTimer::new())
        .header_read_timeout(listen.header_timeout.0)
        // The buffer holds the head; hyper answers 431 when that does not fit.
        .max_buf_size(header_size.max(HTTP1_LEAST_BUFFER))
        .max_header_size(header_size);
    // Up to its own limit hyper parses on the stack; below, `Answering` counts.
    if listen.header_count > HTTP1_STACK_HEADERS {
        builder.max_headers(listen.header_count);
    }
    builder
}

fn http2(listen: &config::Listen, tasks: Tasks) -> http2::Builder<Executor> {
    let mut builder = http2::Builder::new(Executor(tasks));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        // What a client may send unread, a stream and in all; and what waits for it.
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(2 * 1024 * 1024)
        .max_send_buf_size(128 * 1024)
        .max_header_list_size(u32::try_from(listen.header_size.0).unwrap_or(u32::MAX))
        // A peer that is gone would hold its streams for ever.
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        // Rapid reset (CVE-2023-44487) and its kin (CVE-2025-8671) end the connection.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64);
    builder
}

/// Answers the requests of one connection.
#[derive(Debug)]
struct Answering {
    service: Service,
    connection: Connection,
    header_count: usize,
    hsts: Option<HeaderValue>,
    open: Arc<Open>,
    /// The turn in which the connection came.
    turn: Turn,
}

impl Answering {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Answered>, Infallible> {
        let open = OpenRequest::new(&self.open);
        let mut response = if self.turn.given.is_cancelled() {
            given_away()
        } else if request.headers().len() > self.header_count {
            too_many_headers()
        } else {
            match &self.service {
                Service::Public(gateway) => gateway.handle(&self.connection, request).await,
                Service::HubApi(gateway) => gateway.handle_hub_api(&self.connection, request).await,
                Service::Redirect(redirect) => redirect.handle(&request),
                Service::Operations(admin) => admin.handle(&request).await,
            }
        };
        if let Some(hsts) = &self.hsts {
            response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        Ok(response.map(|body| Answered { body, _open: open }))
    }
}

fn too_many_headers() -> Response<Body> {
    let mut response = Response::new(Body::full("The request has too many header fields.\n"));
    *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    response
}

/// What is known here may be true no more; a new connection goes to the process that knows.
fn given_away() -> Response<Body> {
    let mut response = Response::new(Body::full("hubgate is being upgraded. Try again.\n"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A response's body; its request is open until it has gone.
struct Answered {
    body: Body,
    _open: OpenRequest,
}

impl hyper::body::Body for Answered {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The open requests of one connection. HTTP/1.1 connections have hyper's own deadline between requests.
#[derive(Debug)]
struct Open {
    began: Instant,
    count: AtomicUsize,
    /// When the last request ended, in milliseconds since `began`.
    ended: AtomicU64,
    /// Told when there is a request.
    begun: Notify,
}

impl Default for Open {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            count: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
            begun: Notify::new(),
        }
    }
}

impl Open {
    /// Resolves when there has been no open request for so long.
    async fn idle(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let ended = self.began + Duration::from_millis(self.ended.load(Ordering::Acquire));
            let since = if self.count.load(Ordering::Acquire) == 0 { ended } else { now };
            if now >= since + limit {
                return;
            }
            sleep_until(since + limit).await;
        }
    }
}

#[derive(Debug)]
struct OpenRequest(Arc<Open>);

impl OpenRequest {
    fn new(open: &Arc<Open>) -> Self {
        open.count.fetch_add(1, Ordering::AcqRel);
        open.begun.notify_one();
        Self(Arc::clone(open))
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let elapsed = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.ended.store(elapsed, Ordering::Release);
        self.0.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A connection's bytes, with the place it takes: both go to the tunnel when it is upgraded.
pub(super) struct Held<T> {
    io: T,
    _place: Place,
}

impl<T> Held<T> {
    pub(super) fn new(io: T, place: Place) -> Self {
        Self { io, _place: place }
    }
}

impl<T: Read + Unpin> Read for Held<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

// Vectored writes are passed on: a response's head and body go in one TLS record.
impl<T: Write + Unpin> Write for Held<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }
}

/// Runs the streams of HTTP/2 connections.
#[derive(Debug, Clone)]
struct Executor(Tasks);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, work: F) {
        self.0.spawn(work);
    }
}

/// hyper's own least.
const HTTP1_LEAST_BUFFER: usize = 8192;

/// So many header fields hyper parses without a heap allocation.
const HTTP1_STACK_HEADERS: usize = 100;
