//! The container's port: requests and websockets go on to workspaces, over kept connections and without what is not the
//! client's to say.
//!
//! It knows nothing of who may: whoever calls [`Forwarder::send`] has decided that.

mod activity;
mod body;
mod headers;
mod lifeline;
mod pool;
mod tunnel;
mod websocket;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, HOST};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use self::body::{Progress, RequestBody};
use self::pool::Lease;
use self::tunnel::Tunnel;
use self::websocket::Handshake;
use crate::config;
use crate::metrics::{Kind, Metrics};
use crate::tasks::Tasks;
use crate::upstream::Upstream;

pub use self::activity::Activity;
pub use self::body::ForwardedBody;
pub use self::lifeline::{Hold, Lifeline};
pub use self::pool::Pool;

/// A boxed cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Sends requests to workspaces; a clone is another handle.
#[derive(Debug, Clone)]
pub struct Forwarder(Arc<Settings>);

/// How long a request may stand still.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Until the head of the answer has come, once nothing of the request moves any more.
    pub response: Duration,
    /// Between two parts of the request's body.
    pub body: Duration,
}

/// What all pools share.
#[derive(Debug)]
struct Settings {
    connect_timeout: Duration,
    users: Deadlines,
    strangers: Deadlines,
    idle_timeout: Duration,
    idle_connections: usize,
    tunnel_timeout: Option<Duration>,
    workers: usize,
    tasks: Tasks,
    stopping: CancellationToken,
    metrics: Metrics,
}

/// What hubgate says about a request to the workspace that gets it.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The client's address, ready as a value.
    pub client: &'a HeaderValue,
    /// The public host (and port), as `X-Forwarded-Host`.
    pub host: &'a HeaderValue,
    /// The user's name, ready as a value (percent-encoded where it is not visible ASCII); `None`: nobody is known.
    pub user: Option<&'a HeaderValue>,
    /// What becomes of the client's `Authorization`.
    pub authorization: Authorization<'a>,
    /// What takes the place of every `jupyterhub-session-id` among the client's cookies; `None`: they are the upstream's own.
    pub session_id: Option<&'a str>,
    /// How the target begins, up to a slash, where the upstream is to see what follows only. It is told by
    /// `X-Forwarded-Prefix`, and its redirects within itself lead back there.
    pub prefix: Option<&'a HeaderValue>,
    /// When it ends, a websocket of this request is closed, and a response that still streams is cut off.
    pub lifeline: &'a Arc<Lifeline>,
    /// Where its use is noted: that it was answered well, and whatever moves in its bodies or websocket; `None`: it is
    /// no use.
    pub activity: Option<&'a Arc<Activity>>,
    /// Which worker runtime asks: connections stay with the runtime that made them.
    pub worker: usize,
}

/// What becomes of the client's `Authorization`.
#[derive(Debug, Clone, Copy)]
pub enum Authorization<'a> {
    /// It is the upstream's own.
    Kept,
    /// It is not for the upstream.
    Removed,
    /// This takes its place.
    Replaced(&'a HeaderValue),
}

/// A workspace did not answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// No connection.
    #[error("cannot connect to {upstream}")]
    Connect {
        /// Where.
        upstream: Upstream,
        /// Why.
        source: BoxError,
    },
    /// Too slow.
    #[error("{upstream} did not answer in {}s", .after.as_secs())]
    Timeout {
        /// Where.
        upstream: Upstream,
        /// How long was waited.
        after: Duration,
    },
    /// A connection, and then no proper answer.
    #[error("{upstream} broke off")]
    Broken {
        /// Where.
        upstream: Upstream,
        /// Why.
        source: BoxError,
    },
    /// The client's own body failed: it went away, or paused for too long.
    #[error("the request's body broke off")]
    Client {
        /// Why.
        source: BoxError,
    },
}

impl ForwardError {
    /// A label for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Timeout { .. } => "timeout",
            Self::Broken { .. } => "broken",
            Self::Client { .. } => "client",
        }
    }
}

impl Forwarder {
    /// With these deadlines; `strangers`: where nobody is known.
    pub fn new(
        config: &config::Forward,
        strangers: Deadlines,
        workers: usize,
        tasks: Tasks,
        metrics: Metrics,
    ) -> Self {
        Self(Arc::new(Settings {
            connect_timeout: config.connect_timeout.0,
            users: Deadlines {
                response: config.response_timeout.or_longest(),
                body: config.body_timeout.or_longest(),
            },
            strangers,
            idle_timeout: config.idle_timeout.0,
            idle_connections: config.idle_connections,
            tunnel_timeout: config.tunnel_timeout.value().map(|timeout| timeout.0),
            workers,
            stopping: tasks.stopping(),
            tasks,
            metrics,
        }))
    }

    /// Connections to one instance, none yet. Dropping the last handle closes the idle ones.
    pub fn pool(&self, upstream: Upstream) -> Arc<Pool> {
        Arc::new(Pool::new(upstream, Arc::clone(&self.0)))
    }

    /// Sends a request to the workspace and answers with its response, both bodies streaming. The request's target is
    /// sent byte for byte. A websocket handshake becomes a tunnel that lives on after this returns.
    pub async fn send(
        &self,
        request: Request<Incoming>,
        pool: &Arc<Pool>,
        about: About<'_>,
    ) -> Result<Response<ForwardedBody>, ForwardError> {
        let result = match Handshake::find(&request) {
            Some(handshake) => self.open_websocket(request, handshake, pool, about).await,
            None => self.exchange(request, pool, about).await,
        };
        if let Err(error) = &result {
            self.0.metrics.upstream_errors.get_or_create(&Kind { kind: error.kind() }).inc();
        }
        result
    }

    /// Whether a workspace's server answers `GET <path>` with a status below 500 (JupyterHub's own test).
    pub async fn probe(&self, pool: &Arc<Pool>, path: &str, host: &HeaderValue) -> bool {
        let request = Request::get(path).header(HOST, host).header(CONNECTION, "close");
        let Ok(request) = request.body(RequestBody::empty()) else { return false };
        let answer = async {
            let mut sender = pool.connect_once().await.ok()?;
            sender.send_request(request).await.ok()
        };
        let answer = timeout(PROBE_TIMEOUT, answer).await.ok().flatten();
        answer.is_some_and(|answer| !answer.status().is_server_error() && !answer.status().is_informational())
    }

    /// What a workspace's server answers `GET <path>` with, asked by hubgate itself: a body with status 200, if it is there in
    /// time and not too large.
    pub async fn ask(
        &self,
        pool: &Arc<Pool>,
        path: &str,
        host: &HeaderValue,
        authorization: &HeaderValue,
    ) -> Option<Bytes> {
        let request = Request::get(path).header(HOST, host).header(CONNECTION, "close");
        let request = request.header(AUTHORIZATION, authorization).body(RequestBody::empty()).ok()?;
        let answer = async {
            let mut sender = pool.connect_once().await.ok()?;
            let answer =
                sender.send_request(request).await.ok().filter(|it| it.status() == StatusCode::OK)?;
            let body = Limited::new(answer.into_body(), ASK_SIZE).collect();
            Some(body.await.ok()?.to_bytes())
        };
        timeout(ASK_TIMEOUT, answer).await.ok().flatten()
    }

    /// An ordinary request. It is sent a second time only where the workspace cannot have acted on the first, which
    /// happens when it closes a kept connection at the moment it is used again.
    async fn exchange(
        &self,
        request: Request<Incoming>,
        pool: &Arc<Pool>,
        about: About<'_>,
    ) -> Result<Response<ForwardedBody>, ForwardError> {
        let mut request = self.prepare(request, &about)?;
        let progress = request.body().progress();
        let limit = self.deadlines(&about).response;
        if let Some(lease) = pool.checkout(about.worker) {
            let spare = is_repeatable(&request).then(|| copy(&request));
            match Self::attempt(lease, request, progress.as_deref(), limit).await {
                Ok(response) => return finish(response, pool, &about),
                Err(failure) => request = failure.repeat(spare).map_err(|failure| failure.of(pool))?,
            }
        }
        let lease = pool.connect(about.worker).await?;
        let response = Self::attempt(lease, request, progress.as_deref(), limit).await;
        finish(response.map_err(|failure| failure.of(pool))?, pool, &about)
    }

    /// A websocket's handshake, on a connection that nothing else ever uses.
    async fn open_websocket(
        &self,
        mut request: Request<Incoming>,
        handshake: Handshake,
        pool: &Arc<Pool>,
        about: About<'_>,
    ) -> Result<Response<ForwardedBody>, ForwardError> {
        let client = hyper::upgrade::on(&mut request);
        let mut request = self.prepare(request, &about)?;
        headers::ask_for_websocket(request.headers_mut());
        let mut sender = pool.connect_once().await?;
        let limit = self.deadlines(&about).response;
        let response = Self::answer(&mut sender, request, None, limit).await;
        let mut response = response.map_err(|failure| failure.of(pool))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // A page that asks in vain, again and again, is no use.
            return finish((response, None), pool, &About { activity: None, ..about });
        }
        if !handshake.is_accepted(&response) {
            return Err(broken(pool, "the answer to a websocket's handshake is none"));
        }
        if let Some(activity) = about.activity {
            activity.note();
        }
        let tunnel = Tunnel {
            client,
            workspace: hyper::upgrade::on(&mut response),
            hold: about.lifeline.hold(),
            ended: about.lifeline.ended().clone(),
            activity: about.activity.cloned(),
            stopping: self.0.stopping.clone(),
            idle: self.0.tunnel_timeout,
            open: self.0.metrics.tunnels.clone(),
        };
        self.0.tasks.spawn(tunnel.run());
        let mut response = response.map(|_none| ForwardedBody::empty());
        headers::for_client(response.headers_mut());
        headers::ask_for_websocket(response.headers_mut());
        Ok(response)
    }

    /// Turns the client's request into the one that the workspace gets.
    fn prepare(
        &self,
        request: Request<Incoming>,
        about: &About<'_>,
    ) -> Result<Request<RequestBody>, ForwardError> {
        if request.method() == Method::CONNECT {
            return Err(ForwardError::Client { source: "CONNECT is not for workspaces".into() });
        }
        let pause = self.deadlines(about).body;
        let mut request = request.map(|body| RequestBody::new(body, pause, about.lifeline, about.activity));
        let target = std::mem::take(request.uri_mut());
        headers::for_workspace(request.headers_mut(), target.authority(), about);
        let (method, length) = (request.method().clone(), request.body().length());
        headers::frame(request.headers_mut(), &method, length);
        *request.uri_mut() = origin_form(target, about.prefix);
        *request.version_mut() = Version::HTTP_11;
        request.extensions_mut().clear();
        Ok(request)
    }

    fn deadlines(&self, about: &About<'_>) -> Deadlines {
        if about.user.is_some() { self.0.users } else { self.0.strangers }
    }

    async fn attempt(
        mut lease: Lease,
        request: Request<RequestBody>,
        progress: Option<&Progress>,
        limit: Duration,
    ) -> Result<(Response<Incoming>, Option<Lease>), Box<Failure>> {
        lease.connection.listen();
        match Self::answer(&mut lease.connection.sender, request, progress, limit).await {
            Ok(response) => Ok((response, Some(lease))),
            Err(mut failure) => {
                failure.heard = lease.connection.heard();
                Err(failure)
            }
        }
    }

    /// Sends the request and waits so long for the response's head.
    async fn answer(
        sender: &mut SendRequest<RequestBody>,
        request: Request<RequestBody>,
        progress: Option<&Progress>,
        limit: Duration,
    ) -> Result<Response<Incoming>, Box<Failure>> {
        let mut response = pin!(sender.try_send_request(request));
        let mut deadline = Instant::now() + limit;
        loop {
            match timeout_at(deadline, &mut response).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(mut error)) => {
                    let unsent = error.take_message();
                    let cause = Cause::Connection(error.into_error());
                    return Err(Box::new(Failure { cause, unsent, heard: true }));
                }
                // A long upload has not been slow as long as it moves.
                Err(_elapsed) => match progress.map(|progress| progress.last() + limit) {
                    Some(later) if later > Instant::now() => deadline = later,
                    Some(_) | None => {
                        let cause = Cause::Timeout(limit);
                        return Err(Box::new(Failure { cause, unsent: None, heard: true }));
                    }
                },
            }
        }
    }
}

/// Why a connection gave no response.
struct Failure {
    cause: Cause,
    /// The request, when not a byte of it was written.
    unsent: Option<Request<RequestBody>>,
    /// Whether the workspace may have begun to answer.
    heard: bool,
}

enum Cause {
    Timeout(Duration),
    Connection(hyper::Error),
}

impl Failure {
    /// The request to send again: the unsent one, or `spare` if the workspace said nothing to the first.
    fn repeat(
        mut self: Box<Self>,
        spare: Option<Request<RequestBody>>,
    ) -> Result<Request<RequestBody>, Box<Self>> {
        let spare = spare.filter(|_copy| !self.heard && matches!(self.cause, Cause::Connection(_)));
        self.unsent.take().or(spare).ok_or(self)
    }

    fn of(self: Box<Self>, pool: &Pool) -> ForwardError {
        let upstream = pool.upstream().clone();
        match self.cause {
            Cause::Timeout(after) => ForwardError::Timeout { upstream, after },
            // The only code of ours that hyper calls is the request's body.
            Cause::Connection(error) if error.is_user() => ForwardError::Client { source: error.into() },
            Cause::Connection(error) => ForwardError::Broken { upstream, source: error.into() },
        }
    }
}

/// Turns the workspace's response into the one that the client gets.
fn finish(
    (mut response, lease): (Response<Incoming>, Option<Lease>),
    pool: &Pool,
    about: &About<'_>,
) -> Result<Response<ForwardedBody>, ForwardError> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(broken(pool, "it switches protocols, which nobody asked for"));
    }
    // As JupyterHub's proxy has it: neither what leads elsewhere nor what was refused.
    let activity = about.activity.filter(|_| response.status().is_success());
    if let Some(activity) = activity {
        activity.note();
    }
    headers::for_client(response.headers_mut());
    if let Some(prefix) = about.prefix {
        headers::lead_back(response.headers_mut(), prefix);
    }
    *response.version_mut() = Version::HTTP_11;
    Ok(response.map(|body| ForwardedBody::new(body, lease, about.lifeline, activity)))
}

fn broken(pool: &Pool, why: &'static str) -> ForwardError {
    ForwardError::Broken { upstream: pool.upstream().clone(), source: why.into() }
}

/// Methods that change nothing, without a body to send again.
fn is_repeatable(request: &Request<RequestBody>) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method())
        && request.body().length() == headers::Length::None
}

/// The same request once more; it has no body.
fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    copy
}

/// The target as origin servers read it: the path and query as they came, no host before it.
fn origin_form(target: Uri, prefix: Option<&HeaderValue>) -> Uri {
    if let Some(rest) = prefix.and_then(|prefix| beyond(&target, prefix)) {
        return rest.into();
    }
    if target.scheme().is_none() && target.authority().is_none() {
        return target;
    }
    target.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")).into()
}

/// What follows `prefix` in the path, with the query.
fn beyond(target: &Uri, prefix: &HeaderValue) -> Option<PathAndQuery> {
    let whole = target.path_and_query()?.as_str();
    let rest = whole.strip_prefix(prefix.to_str().ok()?).filter(|rest| rest.starts_with('/'))?;
    PathAndQuery::try_from(rest).ok()
}

const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Of a hundred kernels and more.
const ASK_SIZE: usize = 256 * 1024;

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
