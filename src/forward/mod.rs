//! The container's port: pooled connections, headers, tunnels.

mod headers;
mod pool;
mod tunnel;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use hyper::body::{Body, Frame, Incoming};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::metrics::Metrics;
use crate::tasks::Tasks;
use crate::upstream::Upstream;

pub use pool::Pool;

/// A boxed cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Sends requests to workspaces; a clone is another handle.
#[derive(Debug, Clone)]
pub struct Forwarder;

/// What hubgate says about a request to the workspace that gets it.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The client's address, ready as a value.
    pub client: &'a HeaderValue,
    /// The public host (and port), as `X-Forwarded-Host`.
    pub host: &'a HeaderValue,
    /// The user's name, ready as a value (percent-encoded where it is not visible ASCII).
    pub user: &'a HeaderValue,
    /// In place of the client's `Authorization`; `None` leaves the client's.
    pub authorization: Option<&'a HeaderValue>,
    /// When it is cancelled, a websocket of this request is closed.
    pub ended: &'a CancellationToken,
    /// Which worker runtime asks: connections stay with the runtime that made them.
    pub worker: usize,
}

/// The response's body, straight from the workspace.
#[derive(Debug)]
pub struct ForwardedBody;

impl Body for ForwardedBody {
    type Data = Bytes;
    type Error = BoxError;
    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        todo!()
    }
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
    /// With these deadlines. `body_timeout`: how long a request body may pause.
    pub fn new(
        _config: &config::Forward,
        _body_timeout: Duration,
        _workers: usize,
        _tasks: Tasks,
        _metrics: Metrics,
    ) -> Self {
        todo!()
    }

    /// Connections to one instance, none yet. Dropping the last handle closes the idle ones.
    pub fn pool(&self, _upstream: Upstream) -> Arc<Pool> {
        todo!()
    }

    /// Sends a request to the workspace and answers with its response, both bodies streaming. The request's target is
    /// sent byte for byte. A websocket handshake becomes a tunnel that lives on after this returns.
    pub async fn send(
        &self,
        _request: Request<Incoming>,
        _pool: &Arc<Pool>,
        _about: About<'_>,
    ) -> Result<Response<ForwardedBody>, ForwardError> {
        todo!()
    }

    /// Whether a workspace's server answers `GET <path>` with a status below 500 (JupyterHub's own test).
    pub async fn probe(&self, _pool: &Arc<Pool>, _path: &str, _host: &HeaderValue) -> bool {
        todo!()
    }
}
