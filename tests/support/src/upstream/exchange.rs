//! One request to the recording server, and what it may answer.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Log, Recorded};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are left.
    Length(u64),
    Chunked,
}

impl Framing {
    pub(super) fn of(request: &Recorded) -> Self {
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
    pub(super) stream: TcpStream,
    pub(super) buffer: BytesMut,
    pub(super) framing: Framing,
    pub(super) log: Arc<Log>,
    pub(super) index: usize,
    pub(super) close: bool,
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
