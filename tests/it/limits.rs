//! What one client can take from the others: time, memory, places.

use std::time::Duration;

use hubgate::config::{Size, Span};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::client::PATIENCE;
use support::eventually::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::door::{Door, GET, ORIGIN, ask, until_closed};

const SOON: Span = Span(Duration::from_millis(300));

/// How long it took until the other side closed.
async fn closed_after(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    until_closed(stream).await;
    began.elapsed()
}

#[tokio::test]
async fn a_silent_client_is_cut_off_at_the_handshake_deadline() {
    let door = Door::open(|listen| listen.handshake_timeout = SOON).await;
    let mut silent = door.tcp().await;
    let mut stuck = door.tcp().await;
    // The head of a record of 512 bytes, and nothing of them.
    stuck.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
    assert!(closed_after(&mut silent).await >= Duration::from_millis(200));
    until_closed(&mut stuck).await;
    eventually("both counted", || async { door.handshakes("timeout") == 2 }).await;
    assert_eq!(ask(&mut door.tls(&[]).await, GET).await.status, 308, "others are served");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let door = Door::plain(|listen| listen.header_timeout = SOON).await;
    let mut stream = door.tcp().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: hub.example\r\n").await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let dribble = async {
        // A byte now and then does not keep it alive.
        while writer.write_all(b"X-A: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut bytes = Vec::new();
    tokio::select! {
        _ = reader.read_to_end(&mut bytes) => {}
        () = dribble => {}
        () = tokio::time::sleep(PATIENCE) => panic!("still open"),
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let door = Door::plain(|listen| listen.header_timeout = SOON).await;
    let mut stream = door.tcp().await;
    assert_eq!(ask(&mut stream, GET).await.status, 308);
    assert!(closed_after(&mut stream).await >= Duration::from_millis(200));
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed() {
    let door = Door::open(|listen| listen.idle_timeout = SOON).await;
    let stream = door.tls(&["h2"]).await;
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    let connection = door.tasks.spawn(connection);
    let request = || http::Request::get(format!("{ORIGIN}/")).body(String::new()).unwrap();
    assert_eq!(sender.send_request(request()).await.unwrap().status(), 308);
    let began = Instant::now();
    drop(timeout(PATIENCE, connection).await.expect("an end in time"));
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    assert!(sender.send_request(request()).await.is_err());
}

fn with_fields(count: usize, length: usize) -> String {
    let value = "x".repeat(length);
    let fields: Vec<String> = (0..count).map(|at| format!("X-{at}: {value}\r\n")).collect();
    let fields = fields.concat();
    format!("GET / HTTP/1.1\r\nHost: hub.example\r\n{fields}\r\n")
}

#[tokio::test]
async fn a_head_with_too_many_or_too_large_fields_is_refused() {
    for count in [40, 128] {
        let door = Door::plain(|listen| listen.header_count = count).await;
        let fits = ask(&mut door.tcp().await, &with_fields(count - 1, 1)).await;
        assert_eq!(fits.status, 308, "{count}");
        let over = ask(&mut door.tcp().await, &with_fields(count, 1)).await;
        assert_eq!(over.status, 431, "{count}");
    }
    let door = Door::plain(|listen| listen.header_size = Size::kibibytes(16)).await;
    assert_eq!(ask(&mut door.tcp().await, &with_fields(8, 1500)).await.status, 308);
    assert_eq!(ask(&mut door.tcp().await, &with_fields(12, 1500)).await.status, 431);
    assert_eq!(ask(&mut door.tcp().await, &with_fields(1, 20_000)).await.status, 431);
}

#[tokio::test]
async fn http2_has_the_same_limits() {
    let door = Door::open(|listen| {
        listen.header_count = 20;
        listen.header_size = Size::kibibytes(16);
    });
    let door = door.await;
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let io = TokioIo::new(door.tls(&["h2"]).await);
    let (mut sender, connection) = builder.handshake(io).await.unwrap();
    door.tasks.spawn(connection);
    for (count, length, status) in [(10, 10, 308), (21, 10, 431), (10, 10, 308), (12, 1500, 431)] {
        let mut request = http::Request::get(format!("{ORIGIN}/"));
        for at in 0..count {
            request = request.header(format!("x-{at}"), "x".repeat(length));
        }
        let request = request.body(String::new()).unwrap();
        let answer = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
        assert_eq!(answer.status(), status, "{count} of {length}");
    }
}

/// Whether a new connection is served.
async fn is_served(door: &Door) -> bool {
    let mut stream = door.tcp().await;
    if stream.write_all(GET.as_bytes()).await.is_err() {
        return false;
    }
    let mut first = [0];
    matches!(timeout(PATIENCE, stream.read(&mut first)).await.unwrap(), Ok(1))
}

#[tokio::test]
async fn one_client_has_only_so_many_connections() {
    let door = Door::plain(|listen| listen.connections_per_client = 2).await;
    let mut first = door.tcp().await;
    let mut second = door.tcp().await;
    assert_eq!(ask(&mut first, GET).await.status, 308);
    assert_eq!(ask(&mut second, GET).await.status, 308);
    assert!(!is_served(&door).await);
    assert_eq!(ask(&mut second, GET).await.status, 308, "whoever is in stays in");
    drop(first);
    eventually("a place that is free again", || is_served(&door)).await;
}

#[tokio::test]
async fn all_clients_together_have_only_so_many_connections() {
    let door = Door::plain(|listen| listen.connections = 2).await;
    let (mut first, mut second) = (door.tcp().await, door.tcp().await);
    assert_eq!(ask(&mut first, GET).await.status, 308);
    assert_eq!(ask(&mut second, GET).await.status, 308);
    assert!(!is_served(&door).await);
    assert_eq!(door.metrics.connections.get(), 2);
    drop((first, second));
    eventually("free places", || is_served(&door)).await;
    eventually("all gone", || async { door.metrics.connections.get() == 0 }).await;
}

#[tokio::test]
async fn the_plain_port_redirects_what_is_only_looked_at() {
    let door = Door::plain(|_| {}).await;
    for (request, status, location) in [
        ("GET /a?b=c HTTP/1.1\r\nHost: hub.example", 308, Some("https://hub.example/a?b=c")),
        ("GET //evil.example HTTP/1.1\r\nHost: evil.example", 308, Some("https://hub.example//evil.example")),
        ("GET / HTTP/1.0", 308, Some("https://hub.example/")),
        ("POST /hub/login HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 0", 405, None),
        ("OPTIONS * HTTP/1.1\r\nHost: hub.example", 405, None),
        ("GET /a\rb HTTP/1.1\r\nHost: hub.example", 400, None),
    ] {
        let answer = ask(&mut door.tcp().await, &format!("{request}\r\nCookie: a=b\r\n\r\n")).await;
        assert_eq!((answer.status, answer.header("location")), (status, location), "{request}");
        assert_eq!(answer.header("set-cookie"), None);
    }
    for target in ["http://evil.example/x", "//user@evil.example/", "/\\evil.example", "/%0d%0aA:b"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        let answer = ask(&mut door.tcp().await, &request).await;
        let location = answer.header("location").unwrap_or("https://hub.example/");
        assert!(location.starts_with("https://hub.example/"), "{target}: {location}");
    }
}

#[tokio::test]
async fn connections_end_when_shutdown_begins() {
    let door = Door::open(|_| {}).await;
    let mut idle = door.tls(&[]).await;
    assert_eq!(ask(&mut idle, GET).await.status, 308);
    let mut unused = door.tls(&[]).await;
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let io = TokioIo::new(door.tls(&["h2"]).await);
    let (mut sender, http2) = builder.handshake(io).await.unwrap();
    let request = http::Request::get(format!("{ORIGIN}/")).body(String::new()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "not of the tasks whose end is waited for")]
    let http2 = tokio::spawn(http2);
    assert_eq!(sender.send_request(request).await.unwrap().status(), 308);
    door.tasks.stop();
    until_closed(&mut idle).await;
    until_closed(&mut unused).await;
    timeout(PATIENCE, http2).await.unwrap().unwrap().unwrap();
    timeout(PATIENCE, door.tasks.ended()).await.unwrap();
    assert!(TcpStream::connect(door.address).await.is_err(), "nobody accepts any more");
}
