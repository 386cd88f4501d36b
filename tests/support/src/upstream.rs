//! A workspace's server that keeps every byte it gets, and answers as it is told.
//!
//! It speaks HTTP/1.1 by hand, so that what a proxy wrote is seen as it was written.
#![expect(clippy::unwrap_used, reason = "a test's helper: what must not fail fails the test")]

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// So many bytes are left.
    Length(u64),
    Chunked,
}

impl Framing {
    fn of(request: &Recorded) -> Self {
        if request.all("transfer-encoding").iter().any(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Self::Chunked;
        }
        Self::Length(request.all("content-length").first().map_or(0, |length| length.parse().unwrap()))
    }
}

/// One request and the connection to answer it on.
#[derive(Debug)]
pub struct Exchange {
    /// The head, as it came.
    pub request: Recorded,
    stream: TcpStream,
    buffer: BytesMut,
    framing: Framing,
    log: Arc<Log>,
    index: usize,
    close: bool,
}

impl Exchange {
    /// The next piece of the body, as it comes; `None` at the end. It is recorded.
    pub async fn read_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let piece = self.next_piece().await?;
        self.record(|request| match &piece {
            Some(piece) => request.body.extend_from_slice(piece),
            None => request.complete = true,
        });
        Ok(piece)
    }

    /// Like [`Exchange::read_chunk`], but only the number of bytes is kept, by the caller.
    pub async fn skip_chunk(&mut self) -> io::Result<Option<usize>> {
        let piece = self.next_piece().await?;
        if piece.is_none() {
            self.record(|request| request.complete = true);
        }
        Ok(piece.map(|piece| piece.len()))
    }

    /// The whole body.
    pub async fn read_body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(piece) = self.read_chunk().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// Writes bytes as they are.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// A response with that status line's end, these fields (each with its `\r\n`) and that body.
    pub async fn respond(&mut self, status: &str, fields: &str, body: impl AsRef<[u8]>) -> io::Result<()> {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n", body.len());
        self.write([head.as_bytes(), body].concat()).await
    }

    /// What the client sends next, whatever it is; empty at its end.
    pub async fn read_raw(&mut self) -> io::Result<Bytes> {
        if self.buffer.is_empty() {
            self.stream.read_buf(&mut self.buffer).await?;
        }
        Ok(self.buffer.split().freeze())
    }

    /// Waits until the client closes.
    pub async fn wait_closed(&mut self) -> io::Result<()> {
        while !self.read_raw().await?.is_empty() {}
        Ok(())
    }

    /// Says that nothing more comes, and goes on listening.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Closes after this response.
    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// Closes now, as a crashed process does: with a reset.
    pub fn reset(mut self) -> io::Result<Self> {
        self.stream.set_zero_linger()?;
        self.close = true;
        Ok(self)
    }

    /// Accepts the websocket handshake that this request is.
    pub async fn accept_websocket(&mut self) -> io::Result<()> {
        let accept = accept_key(self.request.header("sec-websocket-key").unwrap_or_default());
        let protocol = self.request.header("sec-websocket-protocol").and_then(|all| all.split(',').next());
        let protocol =
            protocol.map(|one| format!("sec-websocket-protocol: {}\r\n", one.trim())).unwrap_or_default();
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: {accept}\r\n{protocol}\r\n"
        );
        self.write(head).await
    }

    /// Sends each frame back that comes, unmasked, until a close frame or the end.
    pub async fn echo_frames(&mut self) -> io::Result<()> {
        while let Some((first, payload)) = self.read_frame().await? {
            self.write(frame(first, &payload)).await?;
            if first & 0x0f == 8 {
                break;
            }
        }
        Ok(())
    }

    /// The default: a websocket echoes frames, any other request gets its own head and body back as
    /// `application/octet-stream`.
    pub async fn echo(mut self) -> io::Result<Self> {
        if self.request.header("upgrade").is_some() {
            self.accept_websocket().await?;
            self.echo_frames().await?;
            return Ok(self.close());
        }
        let body = self.read_body().await?;
        let echo =
            if self.request.method == "HEAD" { Vec::new() } else { [&self.request.head[..], &body].concat() };
        self.respond("200 OK", "content-type: application/octet-stream\r\n", echo).await?;
        Ok(self)
    }

    /// One frame: its first byte and its payload, unmasked; `None` at the end.
    pub async fn read_frame(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        if !self.buffered(2).await? {
            return Ok(None);
        }
        let (first, second) = (self.buffer.get_u8(), self.buffer.get_u8());
        let length = match second & 0x7f {
            126 if self.buffered(2).await? => u64::from(self.buffer.get_u16()),
            127 if self.buffered(8).await? => self.buffer.get_u64(),
            short => u64::from(short),
        };
        let masked = second & 0x80 != 0;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        if !self.buffered(length + if masked { 4 } else { 0 }).await? {
            return Ok(None);
        }
        let mask = if masked { self.buffer.split_to(4).to_vec() } else { vec![0; 4] };
        let payload = self.buffer.split_to(length);
        Ok(Some((first, payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect())))
    }

    async fn buffered(&mut self, count: usize) -> io::Result<bool> {
        while self.buffer.len() < count {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn next_piece(&mut self) -> io::Result<Option<Bytes>> {
        match self.framing {
            Framing::Length(0) => Ok(None),
            Framing::Length(left) => {
                self.need(1).await?;
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
                self.framing = Framing::Length(left - u64::try_from(count).unwrap());
                Ok(Some(self.buffer.split_to(count).freeze()))
            }
            Framing::Chunked => {
                let line = self.read_line().await?;
                let size = line[..].split(|byte| *byte == b';').next().unwrap_or_default();
                let size = String::from_utf8_lossy(size);
                let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
                if size > 0 {
                    self.need(size).await?;
                    let piece = self.buffer.split_to(size).freeze();
                    self.read_line().await?;
                    return Ok(Some(piece));
                }
                loop {
                    let line = self.read_line().await?;
                    if line.is_empty() {
                        break;
                    }
                    self.record(|request| request.trailers.extend([&line[..], b"\r\n"].concat()));
                }
                self.framing = Framing::Length(0);
                Ok(None)
            }
        }
    }

    async fn read_line(&mut self) -> io::Result<BytesMut> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = self.buffer.split_to(at);
                self.buffer.advance(2);
                return Ok(line);
            }
            let more = self.buffer.len() + 1;
            self.need(more).await?;
        }
    }

    async fn need(&mut self, count: usize) -> io::Result<()> {
        if self.buffered(count).await? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn record(&self, change: impl FnOnce(&mut Recorded)) {
        if let Some(request) = self.log.requests.lock().unwrap().get_mut(self.index) {
            change(request);
        }
    }
}

/// `Sec-WebSocket-Accept` for a key (RFC 6455 section 4.2.2).
pub fn accept_key(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    STANDARD.encode(hash)
}

/// An unmasked frame with that first byte (FIN, RSV and opcode).
///
/// # Panics
/// If the payload does not fit a `u64`.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length < 126 => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend(u64::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// Waits for something that must come soon.
///
/// # Panics
/// After ten seconds.
pub async fn soon<F: Future>(what: F) -> F::Output {
    timeout(PATIENCE, what).await.unwrap()
}

const PATIENCE: Duration = Duration::from_secs(10);
