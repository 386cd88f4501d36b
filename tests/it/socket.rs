//! A websocket through the built program.

use support::client::{PATIENCE, read_answer};
use support::hub::{Hub, segment};
use support::upstream::frame;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

/// An open websocket to somebody's workspace, which sends every frame back.
pub(crate) struct Socket(TlsStream<TcpStream>);

impl Socket {
    /// Signs in and opens it. The workspace runs already.
    pub(crate) async fn open(hub: &Hub, user: &str) -> Self {
        let client = hub.signed_in(user).await;
        let mut stream = client.connect(&["http/1.1"]).await;
        let request = format!(
            "GET /user/{}/api/kernels/1/channels HTTP/1.1\r\nHost: {}\r\nOrigin: {}\r\nCookie: {}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            segment(user),
            hub.host(),
            hub.origin(),
            client.cookies()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let answer = timeout(PATIENCE, read_answer(&mut stream, true)).await.unwrap();
        assert_eq!(answer.status, 101, "{}", answer.text());
        Self(stream)
    }

    /// Sends a text and waits for it to come back.
    pub(crate) async fn echo(&mut self, text: &str) {
        echo(&mut self.0, text).await;
    }

    /// Waits until the hub has closed it.
    pub(crate) async fn until_closed(mut self) {
        let mut rest = Vec::new();
        drop(timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("an end in time"));
    }
}

/// Sends a text over a websocket and waits for it to come back.
pub(crate) async fn echo(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str) {
    // Masked with zeros.
    let mut sent = frame(0x81, text.as_bytes());
    sent[1] |= 0x80;
    sent.splice(2..2, [0; 4]);
    stream.write_all(&sent).await.unwrap();
    stream.flush().await.unwrap();
    let mut back = vec![0; text.len() + 2];
    timeout(PATIENCE, stream.read_exact(&mut back)).await.unwrap().unwrap();
    assert_eq!(back, frame(0x81, text.as_bytes()));
}
