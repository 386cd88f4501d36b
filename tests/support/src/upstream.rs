//! A workspace's server that keeps every byte it gets, and answers as it is told.
//!
//! It speaks HTTP/1.1 by hand, so that what a proxy wrote is seen as it was written.
#![expect(clippy::unwrap_used, reason = "a test's helper: what must not fail fails the test")]

mod exchange;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use self::exchange::Framing;

pub use self::exchange::{Exchange, accept_key, frame};

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// Which connection it came on, from 0.
    pub connection: usize,
    /// From the method to the empty line, byte for byte.
    pub head: Vec<u8>,
    /// `GET`
    pub method: String,
    /// What stood between the method and the version.
    pub target: String,
    /// Names as written, values without the space around them, in their order.
    pub headers: Vec<(String, String)>,
    /// What was read of the body, without the framing.
    pub body: Vec<u8>,
    /// The raw lines after the last chunk.
    pub trailers: Vec<u8>,
    /// Whether the body was read to its end.
    pub complete: bool,
}

impl Recorded {
    /// The value of the one field of that name; `None` if there is none.
    ///
    /// # Panics
    /// If there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} came {} times", all.len());
        all.first().copied()
    }

    /// The values of all fields of that name, in whatever case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether there is a field of that name.
    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }
}

/// The server. It stops when it is dropped, and its connections close.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    log: Arc<Log>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Log {
    requests: Mutex<Vec<Recorded>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
}

type Answering = Pin<Box<dyn Future<Output = io::Result<Exchange>> + Send>>;
type Script = Arc<dyn Fn(Exchange) -> Answering + Send + Sync>;

impl Upstream {
    /// On a free port of the loopback: answers as [`Exchange::echo`] does.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start() -> Self {
        Self::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
    }

    /// The same, at that address.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::bind_with(address, Exchange::echo).await
    }

    /// Answers every request with these bytes, once it has come whole.
    pub async fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response = Bytes::from(response.into());
        Self::with(move |mut exchange: Exchange| {
            let response = response.clone();
            async move {
                exchange.read_body().await?;
                exchange.write(&response).await?;
                Ok(exchange)
            }
        })
        .await
    }

    /// Answers as the script says, which gets each request when its head has come.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn with<F, A>(script: F) -> Self
    where
        F: Fn(Exchange) -> A + Send + Sync + 'static,
        A: Future<Output = io::Result<Exchange>> + Send + 'static,
    {
        Self::bind_with("127.0.0.1:0".parse().unwrap(), script).await.unwrap()
    }

    /// The same, at that address.
    #[expect(clippy::disallowed_methods, reason = "a test's server has no shutdown to wait for it")]
    pub async fn bind_with<F, A>(address: SocketAddr, script: F) -> io::Result<Self>
    where
        F: Fn(Exchange) -> A + Send + Sync + 'static,
        A: Future<Output = io::Result<Exchange>> + Send + 'static,
    {
        let script: Script = Arc::new(move |exchange| Box::pin(script(exchange)));
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let log = Arc::new(Log::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&log), script));
        Ok(Self { address, log, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far.
    ///
    /// # Panics
    /// If a script has panicked.
    pub fn requests(&self) -> Vec<Recorded> {
        self.log.requests.lock().unwrap().clone()
    }

    /// The one request so far.
    ///
    /// # Panics
    /// If there were none, or more.
    pub fn request(&self) -> Recorded {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.log.accepted.load(Ordering::SeqCst)
    }

    /// How many of them are open.
    pub fn open(&self) -> usize {
        self.log.open.load(Ordering::SeqCst)
    }

    /// Waits until so many connections are open.
    ///
    /// # Panics
    /// After ten seconds.
    pub async fn wait_open(&self, count: usize) {
        self.wait(|log| log.open.load(Ordering::SeqCst) == count).await;
    }

    /// Waits until so many requests have begun.
    ///
    /// # Panics
    /// After ten seconds.
    pub async fn wait_requests(&self, count: usize) {
        self.wait(|log| log.requests.lock().unwrap().len() >= count).await;
    }

    async fn wait(&self, done: impl Fn(&Log) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(&self.log) {
            assert!(Instant::now() < deadline, "still {:?}", self.log);
            sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, log: Arc<Log>, script: Script) {
    // Aborted with this task.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let number = log.accepted.fetch_add(1, Ordering::SeqCst);
        log.open.fetch_add(1, Ordering::SeqCst);
        let open = Open(Arc::clone(&log));
        let script = Arc::clone(&script);
        connections.spawn(async move {
            let log = Arc::clone(&open.0);
            let _open = open;
            serve(stream, number, log, script).await.unwrap_or_default();
        });
        while connections.try_join_next().is_some() {}
    }
}

struct Open(Arc<Log>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(stream: TcpStream, number: usize, log: Arc<Log>, script: Script) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = Some((stream, BytesMut::new()));
    while let Some((mut stream, mut buffer)) = connection.take() {
        let Some(mut request) = read_head(&mut stream, &mut buffer).await? else { return Ok(()) };
        request.connection = number;
        let framing = Framing::of(&request);
        request.complete = framing == Framing::Length(0);
        let index = {
            let mut requests = log.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        let exchange =
            Exchange { request, stream, buffer, framing, log: Arc::clone(&log), index, close: false };
        let exchange = script(exchange).await?;
        if !exchange.close {
            connection = Some((exchange.stream, exchange.buffer));
        }
    }
    Ok(())
}

async fn read_head(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Option<Recorded>> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = buffer.split_to(end).to_vec();
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().splitn(3, ' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Ok(Some(Recorded { head, method, target, headers, ..Recorded::default() }))
}

/// Waits for something that must come soon.
///
/// # Panics
/// After ten seconds.
pub async fn soon<F: Future>(what: F) -> F::Output {
    timeout(PATIENCE, what).await.unwrap()
}

const PATIENCE: Duration = Duration::from_secs(10);
