//! One request over the admin socket.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::OperateError;
use crate::control::wire::Complaint;

/// The hub that runs, by its socket.
#[derive(Debug)]
pub(super) struct Hub {
    socket: PathBuf,
}

/// The hub did not answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AskError {
    /// Nobody is there, or it must not be used.
    #[error("cannot reach hubgate at {}", .socket.display())]
    Reach {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It broke off, or is late.
    #[error("hubgate did not answer at {}", .socket.display())]
    Broken {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answered, in no words that are known.
    #[error("the answer cannot be understood")]
    Foreign(#[source] serde_json::Error),
}

impl AskError {
    /// What to do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Reach { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run this as root, or as hubgate's own user"
            }
            Self::Reach { .. } => {
                "hubgate does not run, or this is not its socket: name its configuration with --config, or the socket with --socket"
            }
            // It hangs up on whoever is neither.
            Self::Broken { .. } => "run this as root, or as hubgate's own user, and see hubgate's log",
            Self::Foreign(_) => "use the hubgate of the same release as the one that runs",
        }
    }
}

impl Hub {
    pub(super) fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// What it answers.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, OperateError> {
        let broken = |source| AskError::Broken { socket: self.socket.clone(), source };
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|source| AskError::Reach { socket: self.socket.clone(), source })?;
        let answered = timeout(DEADLINE, converse(stream, method, path, body)).await;
        let (status, body) = answered.map_err(|late| broken(late.into()))?.map_err(broken)?;
        if status == StatusCode::OK {
            return understood(&body).map_err(OperateError::from);
        }
        let Complaint { message, hint } = understood(&body)?;
        Err(OperateError::Refused { message, hint })
    }
}

async fn converse(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let body = Full::<Bytes>::from(body.map(Value::to_string).unwrap_or_default());
    let request = Request::builder().method(method).uri(path).header(HOST, "hubgate").body(body)?;
    let asking = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await?.to_bytes();
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((status, body))
    };
    tokio::pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        ended = connection => {
            ended?;
            asking.await
        }
    }
}

/// What the hub says, in known words.
fn understood<T: DeserializeOwned>(body: &[u8]) -> Result<T, AskError> {
    serde_json::from_slice(body).map_err(AskError::Foreign)
}

/// As long as the hub takes for one order, and a little.
const DEADLINE: Duration = Duration::from_secs(185);
/// A hundred thousand sessions.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;
