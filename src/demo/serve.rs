//! Gives the provider a thread, a port on loopback, and HTTP/1.1.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::provider::Provider;
use crate::tasks::Tasks;

/// Connections at once; two people and one hub need a handful.
const MAX_CONNECTIONS: usize = 64;

/// Bytes of a request's body; the longest is hubgate's request for tokens.
const MAX_BODY: usize = 16 * 1024;

/// Until a head, and until a body has arrived.
const DEADLINE: Duration = Duration::from_secs(15);

/// Where the provider listens.
pub(super) struct Door(TcpListener);

impl Door {
    /// Takes `port` of loopback, or any that is free.
    pub(super) fn bind(port: Option<u16>) -> io::Result<Self> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).map(Self)
    }

    /// Which port it is.
    pub(super) fn port(&self) -> io::Result<u16> {
        Ok(self.0.local_addr()?.port())
    }

    /// Answers requests on a thread of its own, as long as the process lives.
    pub(super) fn open(self, provider: Provider) -> io::Result<()> {
        self.0.set_nonblocking(true)?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            if let Err(error) = runtime.block_on(accept(self.0, Arc::new(provider))) {
                let error: &dyn Error = &error;
                warn!(error, "the demo's provider is gone");
            }
        };
        thread::Builder::new().name("demo-provider".to_owned()).spawn(work)?;
        Ok(())
    }
}

async fn accept(listener: TcpListener, provider: Arc<Provider>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let tasks = Tasks::default();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Closed never: then there is nothing left to do here.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _client)) => {
                let provider = Arc::clone(&provider);
                tasks.spawn(async move {
                    serve(stream, provider).await;
                    drop(place);
                });
            }
            Err(error) => {
                let error: &dyn Error = &error;
                warn!(error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    Ok(())
}

async fn serve(stream: TcpStream, provider: Arc<Provider>) {
    let answer = service_fn(move |request| answer(Arc::clone(&provider), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(DEADLINE)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = connection.await {
        let error: &dyn Error = &error;
        debug!(error, "a connection to the demo's provider broke");
    }
}

async fn answer(
    provider: Arc<Provider>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let response = if let Ok(Ok(body)) = timeout(DEADLINE, Limited::new(body, MAX_BODY).collect()).await {
        provider.respond(&Request::from_parts(head, body.to_bytes()))
    } else {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response
    };
    Ok(response)
}
