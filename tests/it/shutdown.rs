//! SIGTERM: requests go on for a while, websockets end, nothing new begins.

use std::time::Duration;

use rustix::process::Signal;
use support::client::Answer;
use support::eventually::eventually;
use support::hub::Hub;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use crate::BINARY;
use crate::door::ask;
use crate::socket::Socket;

/// A request to alice's workspace of which the second half is still to come.
pub(crate) struct Upload(TlsStream<TcpStream>);

impl Upload {
    pub(crate) async fn begin(hub: &Hub) -> Self {
        let client = hub.signed_in("alice").await;
        let before = hub.requests("alice");
        let mut stream = client.connect(&["http/1.1"]).await;
        let head = format!(
            "PUT /user/alice/api/contents/a HTTP/1.1\r\nHost: {}\r\nOrigin: {}\r\nCookie: {}\r\nContent-Length: 10\r\n\r\n",
            hub.host(),
            hub.origin(),
            client.cookies()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(b"first").await.unwrap();
        stream.flush().await.unwrap();
        eventually("the workspace at it", || async { hub.requests("alice") > before }).await;
        Self(stream)
    }

    pub(crate) async fn finish(&mut self) -> Answer {
        ask(&mut self.0, "other").await
    }
}

/// `drain_timeout` of the program under test.
const DRAIN: Duration = Duration::from_secs(2);

#[tokio::test]
async fn sigterm_ends_an_idle_hub_at_once() {
    let mut hub = Hub::start(BINARY).await;
    let _kept = hub.client().connect(&["http/1.1"]).await;
    let began = Instant::now();
    hub.process().signal(Signal::TERM);
    assert_eq!(hub.process_mut().ended().await, Some(0));
    assert!(began.elapsed() < DRAIN, "{:?}", began.elapsed());
    hub.process().until_logged("every connection has ended").await;
}

#[tokio::test]
async fn a_request_goes_on_while_nothing_new_is_accepted() {
    let mut hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let mut upload = Upload::begin(&hub).await;
    hub.process().signal(Signal::TERM);
    let address = hub.process().address();
    eventually("nobody accepting", || async { TcpStream::connect(address).await.is_err() }).await;

    let (status, body) = hub.process().operations("/readyz").await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("\"draining\":true"), "{body}");
    assert_eq!(hub.process().operations("/healthz").await.0, 200, "alive until the end");

    let answer = upload.finish().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(hub.process_mut().ended().await, Some(0));
    hub.process().until_logged("every connection has ended").await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_cut_off() {
    let mut hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let _upload = Upload::begin(&hub).await;
    let began = Instant::now();
    hub.process().signal(Signal::TERM);
    assert_eq!(hub.process_mut().ended().await, Some(0));
    assert!(began.elapsed() >= DRAIN, "{:?}", began.elapsed());
    hub.process().until_logged("connections are cut off").await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let _upload = Upload::begin(&hub).await;
    hub.process().signal(Signal::TERM);
    hub.process().until_logged("event=\"stopping\"").await;
    hub.process().signal(Signal::INT);
    assert_eq!(hub.process_mut().ended().await, Some(0));
    hub.process().until_logged("a second signal").await;
}

#[tokio::test]
async fn websockets_are_closed_at_once_so_that_browsers_come_back_soon() {
    let mut hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let mut socket = Socket::open(&hub, "alice").await;
    socket.echo("open").await;
    let began = Instant::now();
    hub.process().signal(Signal::TERM);
    socket.until_closed().await;
    assert_eq!(hub.process_mut().ended().await, Some(0));
    assert!(began.elapsed() < DRAIN, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_websocket_takes_the_place_of_a_connection_as_long_as_it_is_open() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let connections = || hub.process().metric("hubgate_connections");
    // The connection that asks counts, too.
    eventually("no other connection", || async { (connections().await - 1.0).abs() < 0.1 }).await;
    let mut socket = Socket::open(&hub, "alice").await;
    socket.echo("open").await;
    eventually("the websocket's place alone", || async { (connections().await - 2.0).abs() < 0.1 }).await;
    drop(socket);
    eventually("its place free again", || async { (connections().await - 1.0).abs() < 0.1 }).await;
}
