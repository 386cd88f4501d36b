//! The admin socket: what `hubgate session` and its like ask of the hub that runs. HTTP/1.1 and JSON, for whoever is root
//! or hubgate's own user on this machine; nobody else is listened to.

mod answer;
mod order;
mod shares;
mod socket;
mod unanswered;
mod upgrade;
pub mod wire;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

use self::order::Order;
use self::unanswered::Unanswered;
use crate::clock::Clock;
use crate::explain::Explainer;
use crate::gateway::Gateway;
use crate::logging::cause;
use crate::people::People;
use crate::session::Sessions;
use crate::share::Shares;
use crate::tasks::Tasks;
use crate::token::ApiTokens;
use crate::workspace::Workspaces;

pub use socket::{Socket, SocketError};
pub use upgrade::{NotUpgraded, Upgrade, Upgraded};

/// Answers administrators of this machine; a clone is another handle.
#[derive(Clone)]
pub struct Control(Arc<Parts>);

/// What a [`Control`] works with.
#[derive(Debug)]
pub struct Parts {
    /// Who is signed in.
    pub sessions: Sessions,
    /// What programs hold.
    pub api_tokens: ApiTokens,
    /// Who lets whom in.
    pub shares: Shares,
    /// What runs.
    pub workspaces: Workspaces,
    /// Who has been here.
    pub people: People,
    /// Whose programs call with tokens of the provider.
    pub gateway: Gateway,
    /// Tells why.
    pub explainer: Explainer,
    /// The time of day.
    pub clock: Clock,
    /// Asks the process to let another take over.
    pub upgrades: mpsc::Sender<Upgrade>,
}

/// Who asks: a Unix user that may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Peer {
    uid: u32,
}

impl Control {
    /// Over these parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Answers until the turn ends. No error ends it.
    pub fn serve(self, socket: &Socket, tasks: &Tasks) -> impl Future<Output = ()> + Send + use<> {
        let (listener, tasks) = (socket.listener(), tasks.clone());
        async move {
            match listener.and_then(UnixListener::from_std) {
                Ok(listener) => self.accept(listener, tasks).await,
                Err(error) => error!(error = cause(&error), "cannot wait for administrators"),
            }
        }
    }

    async fn accept(self, listener: UnixListener, tasks: Tasks) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let resting = tasks.turn().resting;
        let accepting = async {
            loop {
                // Whoever comes when all are taken waits in the socket's queue.
                let Ok(taken) = Arc::clone(&places).acquire_owned().await else { return };
                let stream = accept(&listener).await;
                let control = self.clone();
                tasks.spawn(async move {
                    let _taken = taken;
                    control.converse(stream).await;
                });
            }
        };
        resting.run_until_cancelled(accepting).await;
    }

    async fn converse(self, stream: UnixStream) {
        let peer = match stream.peer_cred() {
            Ok(peer) => Peer { uid: peer.uid() },
            Err(error) => return warn!(error = cause(&error), "cannot tell who uses the admin socket"),
        };
        if !peer.may() {
            warn!(event = "admin_refused", by = %peer, "somebody else than root or hubgate's user is at the admin socket");
            return;
        }
        let answer = service_fn(|request| self.respond(request, peer));
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_buf_size(HEAD_BYTES)
            // One order a connection: nobody waits here for the next.
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), answer);
        match timeout(DEADLINE, serving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(error = cause(&error), "an administrator's connection broke off"),
            Err(_late) => debug!("an administrator's connection took too long"),
        }
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let outcome = match read(request).await {
            Ok(order) => self.perform(order, peer).await,
            Err(refused) => Err(refused),
        };
        Ok(match outcome {
            Ok(answer) => json(StatusCode::OK, &answer),
            Err(refused) => {
                refused.log();
                json(refused.status(), &refused.words())
            }
        })
    }
}

/// The order in a request.
async fn read(request: Request<Incoming>) -> Result<Order, Unanswered> {
    let (head, body) = request.into_parts();
    let body = timeout(BODY_DEADLINE, Limited::new(body, BODY_BYTES).collect()).await;
    let body = body.map_err(|_late| Unanswered::Unclear("the body is late"))?;
    let body = body.map_err(|_broken| Unanswered::Unclear("the body is too long, or broke off"))?;
    Order::read(&head.method, &head.uri, &body.to_bytes())
}

async fn accept(listener: &UnixListener) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                warn!(error = cause(&error), "cannot accept connections on the admin socket");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn json(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{value}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl Peer {
    /// The socket's mode says the same; this holds wherever the socket was moved or handed to.
    fn may(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.uid)
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control")
    }
}

/// More than administrators type at once.
const CONNECTIONS: usize = 16;
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
const HEAD_BYTES: usize = 16 * 1024;
const BODY_BYTES: usize = 64 * 1024;
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// For one order, its answer included: an upgrade takes longest.
const DEADLINE: Duration = Duration::from_mins(3);
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_hubgates_own_user_are_listened_to() {
        let own = rustix::process::geteuid().as_raw();
        assert!(Peer { uid: 0 }.may() && Peer { uid: own }.may());
        assert!(!Peer { uid: own + 1 }.may() && !Peer { uid: u32::MAX }.may());
    }
}
