//! A server that does nothing but forward, and a client that writes and reads bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderValue, Request, Response};
use http_body_util::{Either, Full};
use hubgate::clock::Clock;
use hubgate::config::{self, Limit, Span};
use hubgate::forward::{About, Activity, Authorization, Deadlines, ForwardedBody, Forwarder, Lifeline, Pool};
use hubgate::metrics::{Kind, Metrics};
use hubgate::tasks::Tasks;
use hubgate::upstream::Upstream as Address;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::upstream::{Exchange, Upstream, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a forwarding server needs.
pub(super) struct Gate {
    pub(super) forwarder: Forwarder,
    pub(super) metrics: Metrics,
    pub(super) tasks: Tasks,
    pub(super) pool: Arc<Pool>,
    pub(super) lifeline: Arc<Lifeline>,
    pub(super) activity: Arc<Activity>,
    pub(super) clock: Clock,
    pub(super) address: SocketAddr,
    errors: Arc<Mutex<Vec<String>>>,
}

/// What differs between tests.
pub(super) struct Options {
    pub(super) forward: config::Forward,
    /// Of nobody known.
    pub(super) strangers: Deadlines,
    pub(super) user: Option<&'static str>,
    pub(super) authorization: Option<&'static str>,
    pub(super) http2: bool,
}

impl Default for Options {
    fn default() -> Self {
        let forward = config::Forward::default();
        Self {
            forward,
            strangers: Deadlines { response: Duration::from_mins(5), body: Duration::from_secs(30) },
            user: Some("alice"),
            authorization: None,
            http2: false,
        }
    }
}

/// The address of the upstream, as the instance of that name.
pub(super) fn instance(upstream: &Upstream, name: &str) -> Address {
    Address { address: upstream.address(), instance: name.into() }
}

/// An upstream that tells of each piece of a body as it comes, and answers at its end.
pub(super) async fn telling(status: &'static str) -> (Upstream, mpsc::UnboundedReceiver<Bytes>) {
    let (tell, told) = mpsc::unbounded_channel();
    let upstream = Upstream::with(move |mut exchange: Exchange| {
        let tell = tell.clone();
        async move {
            while let Some(piece) = exchange.read_chunk().await? {
                tell.send(piece).map_err(std::io::Error::other)?;
            }
            exchange.respond(status, "", "").await?;
            Ok(exchange)
        }
    })
    .await;
    (upstream, told)
}

impl Gate {
    pub(super) async fn before(upstream: &Upstream) -> Self {
        Self::with(upstream, Options::default()).await
    }

    pub(super) async fn with(upstream: &Upstream, options: Options) -> Self {
        let (metrics, tasks) = (Metrics::new(), Tasks::default());
        let strangers = options.strangers;
        let forwarder = Forwarder::new(&options.forward, strangers, 1, tasks.clone(), metrics.clone());
        Self::around(forwarder, instance(upstream, "1"), tasks, metrics, &options).await
    }

    /// Another one, with the same forwarder.
    pub(super) async fn beside(&self, address: Address) -> Self {
        let (tasks, metrics) = (self.tasks.clone(), self.metrics.clone());
        Self::around(self.forwarder.clone(), address, tasks, metrics, &Options::default()).await
    }

    async fn around(
        forwarder: Forwarder,
        address: Address,
        tasks: Tasks,
        metrics: Metrics,
        options: &Options,
    ) -> Self {
        let pool = forwarder.pool(address);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (lifeline, errors) = (Lifeline::new(CancellationToken::new()), Arc::default());
        let clock = Clock::manual(1_000_000);
        let activity = Activity::new(clock.clone());
        let service = Service {
            forwarder: forwarder.clone(),
            pool: Arc::downgrade(&pool),
            lifeline: Arc::clone(&lifeline),
            activity: Arc::clone(&activity),
            user: options.user.map(HeaderValue::from_static),
            authorization: options.authorization.map(HeaderValue::from_static),
            errors: Arc::clone(&errors),
        };
        tasks.spawn(serve(listener, service, tasks.clone(), options.http2));
        Self { forwarder, metrics, tasks, pool, lifeline, activity, clock, address, errors }
    }

    pub(super) async fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, buffer: BytesMut::new() }
    }

    /// Counted errors of that kind.
    pub(super) fn counted(&self, kind: &'static str) -> u64 {
        self.metrics.upstream_errors.get_or_create(&Kind { kind }).get()
    }

    /// Waits until the metric counts so many connections to workspaces.
    pub(super) async fn wait_connections(&self, count: i64) {
        let reached = async {
            while self.metrics.upstream_connections.get() != count {
                tokio::task::yield_now().await;
            }
        };
        soon(reached).await;
    }

    /// Sends one request on its own connection.
    pub(super) async fn ask(&self, request: &str) -> Answer {
        let mut client = self.client().await;
        client.write(request).await;
        let head_only = request.starts_with("HEAD ");
        if head_only { client.read_head().await } else { client.read().await }
    }

    /// `GET` with these fields, each with its `\r\n`.
    pub(super) async fn get(&self, fields: &str) -> Answer {
        self.ask(&format!("GET /user/alice/lab HTTP/1.1\r\nHost: hub.example\r\n{fields}\r\n")).await
    }

    /// The kinds and texts of the errors so far.
    pub(super) fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap().clone()
    }
}

#[derive(Clone)]
struct Service {
    forwarder: Forwarder,
    // The test's is the only handle.
    pool: std::sync::Weak<Pool>,
    lifeline: Arc<Lifeline>,
    activity: Arc<Activity>,
    user: Option<HeaderValue>,
    authorization: Option<HeaderValue>,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Service {
    async fn answer(self, request: Request<Incoming>) -> Response<Either<ForwardedBody, Full<Bytes>>> {
        let about = About {
            client: &HeaderValue::from_static("192.0.2.7"),
            host: &HeaderValue::from_static("hub.example"),
            user: self.user.as_ref(),
            authorization: self.authorization.as_ref().map_or(Authorization::Kept, Authorization::Replaced),
            session_id: None,
            prefix: None,
            lifeline: &self.lifeline,
            activity: Some(&self.activity),
            worker: 0,
        };
        let pool = self.pool.upgrade().unwrap();
        match self.forwarder.send(request, &pool, about).await {
            Ok(response) => response.map(Either::Left),
            Err(error) => {
                self.errors.lock().unwrap().push(format!("{}: {error}", error.kind()));
                let response = Response::builder().status(502).header("x-error", error.kind());
                response.body(Either::Right(Full::default())).unwrap()
            }
        }
    }
}

async fn serve(listener: TcpListener, service: Service, tasks: Tasks, http2: bool) {
    let stopping = tasks.stopping();
    while let Some(Ok((stream, _))) = stopping.run_until_cancelled(listener.accept()).await {
        let (service, stopping) = (service.clone(), stopping.clone());
        tasks.spawn(async move {
            let answer = service_fn(move |request| {
                let answer = service.clone().answer(request);
                async { Ok::<_, Infallible>(answer.await) }
            });
            let io = TokioIo::new(stream);
            if http2 {
                let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                stopping.run_until_cancelled(serving.serve_connection(io, answer)).await;
            } else {
                let serving = hyper::server::conn::http1::Builder::new();
                let serving = serving.serve_connection(io, answer).with_upgrades();
                stopping.run_until_cancelled(serving).await;
            }
        });
    }
}

/// A response as it came.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    pub(super) trailers: String,
}

impl Answer {
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} came {} times", all.len());
        all.first().copied()
    }
}

/// A connection to the gate.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    buffer: BytesMut,
}

impl Client {
    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// A whole response.
    pub(super) async fn read(&mut self) -> Answer {
        let mut answer = self.read_head().await;
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.read_chunk().await {
                answer.body.extend(chunk);
            }
            loop {
                let line = self.read_line().await;
                if line.is_empty() {
                    break;
                }
                answer.trailers.push_str(&line);
                answer.trailers.push('\n');
            }
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().unwrap();
            answer.body = self.read_exact(length).await;
        } else if !matches!(answer.status, 101 | 204 | 304) {
            answer.body = self.read_to_end().await;
        }
        answer
    }

    /// Up to the empty line.
    pub(super) async fn read_head(&mut self) -> Answer {
        let mut head = String::new();
        loop {
            let line = self.read_line().await;
            if line.is_empty() {
                break;
            }
            head.push_str(&line);
            head.push('\n');
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, ..Answer::default() }
    }

    /// One chunk of a chunked body; `None` for the last.
    pub(super) async fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.read_line().await, 16).unwrap();
        if size == 0 {
            return None;
        }
        let chunk = self.read_exact(size).await;
        assert_eq!(self.read_line().await, "");
        Some(chunk)
    }

    pub(super) async fn read_exact(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill().await > 0, "ended after {:?}", self.buffer);
        }
        self.buffer.split_to(count).to_vec()
    }

    /// How much was read and not asked for.
    pub(super) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// What comes until the end; also until a reset.
    pub(super) async fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        self.buffer.split().to_vec()
    }

    async fn read_line(&mut self) -> String {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = self.buffer.split_to(at);
                self.buffer.advance(2);
                return String::from_utf8(line.to_vec()).unwrap();
            }
            assert!(self.fill().await > 0, "ended after {:?}", self.buffer);
        }
    }

    async fn fill(&mut self) -> usize {
        soon(self.stream.read_buf(&mut self.buffer)).await.unwrap_or(0)
    }
}

/// So many seconds or parts of them, as the configuration has it.
pub(super) fn span(duration: Duration) -> Span {
    Span(duration)
}

/// At most that.
pub(super) fn limit(duration: Duration) -> Limit<Span> {
    Limit::Value(span(duration))
}
