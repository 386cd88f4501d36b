//! Bodies: they stream, as they come, and end as they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hubgate::config::{Forward, Limit};
use hubgate::forward::Deadlines;
use support::upstream::{Exchange, Upstream, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::rig::{Gate, Options, limit, telling};

const LARGE: usize = 64 * 1024 * 1024;

/// What sockets on the loopback may hold between two programs, and far less than [`LARGE`].
const IN_SOCKETS: usize = 24 * 1024 * 1024;

#[tokio::test]
async fn a_response_streams_as_it_comes() {
    let more = Arc::new(Notify::new());
    let upstream = {
        let more = Arc::clone(&more);
        Upstream::with(move |mut exchange: Exchange| {
            let more = Arc::clone(&more);
            async move {
                exchange.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await?;
                more.notified().await;
                exchange.write("6\r\nsecond\r\n0\r\n\r\n").await?;
                Ok(exchange)
            }
        })
        .await
    };
    let gate = Gate::before(&upstream).await;
    let mut client = gate.client().await;
    client.write("GET / HTTP/1.1\r\nHost: hub.example\r\n\r\n").await;
    client.read_head().await;
    assert_eq!(client.read_chunk().await.unwrap(), b"first");
    more.notify_one();
    assert_eq!(client.read_chunk().await.unwrap(), b"second");
    assert_eq!(client.read_chunk().await, None);
}

#[tokio::test]
async fn a_response_that_still_streams_is_cut_off_with_the_right_to_it() {
    let upstream = Upstream::with(|mut exchange: Exchange| async move {
        exchange.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").await?;
        // An event stream: it has no end of its own.
        std::future::pending::<()>().await;
        Ok(exchange)
    })
    .await;
    let gate = Gate::before(&upstream).await;
    let mut client = gate.client().await;
    client.write("GET /events HTTP/1.1\r\nHost: hub.example\r\n\r\n").await;
    client.read_head().await;
    assert_eq!(client.read_chunk().await.unwrap(), b"data: 1\n\n");
    let open = async {
        while gate.lifeline.open() == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(open).await;
    gate.lifeline.cut();
    assert_eq!(client.read_to_end().await, b"", "and no last chunk: it is not whole");
    gate.wait_connections(0).await;
    assert_eq!(gate.lifeline.open(), 0);
}

#[tokio::test]
async fn a_request_streams_as_it_comes() {
    let (upstream, mut told) = telling("200 OK").await;
    let gate = Gate::before(&upstream).await;
    let mut client = gate.client().await;
    client
        .write("POST / HTTP/1.1\r\nHost: hub.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        .await;
    assert_eq!(soon(told.recv()).await.unwrap(), "first");
    client.write("6\r\nsecond\r\n").await;
    assert_eq!(soon(told.recv()).await.unwrap(), "second");
    client.write("0\r\n\r\n").await;
    assert_eq!(client.read().await.status, 200);
    assert_eq!(upstream.request().header("transfer-encoding"), Some("chunked"));
    assert!(!upstream.request().has("content-length"));
}

#[tokio::test]
async fn a_large_upload_waits_for_its_reader_and_arrives_whole() {
    let (start, arrived) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let upstream = {
        let (start, arrived) = (Arc::clone(&start), Arc::clone(&arrived));
        Upstream::with(move |mut exchange: Exchange| {
            let (start, arrived) = (Arc::clone(&start), Arc::clone(&arrived));
            async move {
                start.notified().await;
                while let Some(count) = exchange.skip_chunk().await? {
                    arrived.fetch_add(count, Ordering::Relaxed);
                }
                exchange.respond("200 OK", "", "").await?;
                Ok(exchange)
            }
        })
        .await
    };
    let gate = Gate::before(&upstream).await;
    let mut client = gate.client().await;
    client.write(format!("PUT / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    let piece = vec![7; 64 * 1024];
    let mut sent = 0;
    while sent < LARGE {
        let rest = piece.len().min(LARGE - sent);
        match timeout(Duration::from_millis(300), client.stream.write(&piece[..rest])).await {
            Ok(count) => sent += count.unwrap(),
            Err(_stalled) => {
                assert!(sent < IN_SOCKETS, "{sent} bytes were taken that nobody reads");
                start.notify_one();
            }
        }
    }
    assert_eq!(client.read().await.status, 200);
    assert_eq!(arrived.load(Ordering::Relaxed), LARGE);
}

#[tokio::test]
async fn a_large_download_waits_for_its_reader_and_arrives_whole() {
    let sent = Arc::new(AtomicUsize::new(0));
    let upstream = {
        let sent = Arc::clone(&sent);
        Upstream::with(move |mut exchange: Exchange| {
            let sent = Arc::clone(&sent);
            async move {
                exchange.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")).await?;
                let piece = vec![7; 64 * 1024];
                while sent.load(Ordering::Relaxed) < LARGE {
                    exchange.write(&piece).await?;
                    sent.fetch_add(piece.len(), Ordering::Relaxed);
                }
                Ok(exchange)
            }
        })
        .await
    };
    let gate = Gate::before(&upstream).await;
    let mut client = gate.client().await;
    client.write("GET / HTTP/1.1\r\nHost: hub.example\r\n\r\n").await;
    client.read_head().await;
    let mut before = 0;
    let stalled = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = sent.load(Ordering::Relaxed);
            if now == before {
                break now;
            }
            before = now;
        }
    };
    let stalled = soon(stalled).await;
    assert!(stalled < IN_SOCKETS, "{stalled} bytes were taken that nobody reads");
    let mut buffer = vec![0; 256 * 1024];
    let mut got = client.buffered();
    while got < LARGE {
        let count = soon(client.stream.read(&mut buffer)).await.unwrap();
        assert!(count > 0 && buffer[..count].iter().all(|byte| *byte == 7));
        got += count;
    }
    assert_eq!(got, LARGE);
}

#[tokio::test]
async fn a_requests_trailers_are_dropped() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    let answer = gate
        .ask(
            "POST / HTTP/1.1\r\nHost: hub.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-Hubgate-User\r\n\r\n\
             4\r\nbody\r\n0\r\nX-Hubgate-User: admin\r\n\r\n",
        )
        .await;
    assert_eq!(answer.status, 200);
    let request = upstream.request();
    assert_eq!((&request.body[..], &request.trailers[..]), (&b"body"[..], &b""[..]));
    assert_eq!(request.header("x-hubgate-user"), Some("alice"));
    assert!(!request.has("trailer"));
}

#[tokio::test]
async fn a_responses_trailers_reach_a_client_that_reads_them() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Hubgate-User\r\n\r\n\
         4\r\nbody\r\n0\r\nX-Sum: 1\r\nX-Hubgate-User: admin\r\n\r\n",
    )
    .await;
    let gate = Gate::before(&upstream).await;
    let answer = gate.get("TE: trailers\r\nConnection: TE\r\n").await;
    assert_eq!((&answer.body[..], &*answer.trailers), (&b"body"[..], "x-sum: 1\n"));
    let answer = gate.get("").await;
    assert_eq!((&answer.body[..], &*answer.trailers), (&b"body"[..], ""));
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_from_us_once_its_body_is_wanted() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    let mut client = gate.client().await;
    let head = "POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    client.write(head).await;
    assert_eq!(client.read_head().await.status, 100);
    client.write("body").await;
    assert_eq!(client.read().await.status, 200);
    assert!(!upstream.request().has("expect"));
    assert_eq!(upstream.request().body, b"body");

    let address = upstream.address();
    drop(upstream);
    soon(async { while TcpStream::connect(address).await.is_ok() {} }).await;
    gate.wait_connections(0).await;
    let mut client = gate.client().await;
    client.write(head).await;
    assert_eq!(client.read_head().await.status, 502, "no 100 where nobody wants the body");
}

#[tokio::test]
async fn a_workspaces_own_100_and_early_hints_are_not_the_answer() {
    let upstream = Upstream::answering(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\
         Content-Length: 2\r\n\r\nok",
    )
    .await;
    let gate = Gate::before(&upstream).await;
    assert_eq!(gate.get("").await.status, 200);
}

#[tokio::test]
async fn a_client_that_breaks_off_its_body_breaks_off_the_request() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    let mut client = gate.client().await;
    client.write("POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 10\r\n\r\nhalf").await;
    upstream.wait_requests(1).await;
    drop(client);
    upstream.wait_open(0).await;
    assert!(!upstream.request().complete);
}

/// A stranger's body may pause for a moment only.
const SHORT: Deadlines = Deadlines { response: Duration::from_mins(5), body: Duration::from_millis(50) };

#[tokio::test]
async fn a_client_that_pauses_for_too_long_is_at_fault() {
    let forward = Forward { body_timeout: limit(Duration::from_millis(50)), ..Forward::default() };
    let user = Options { forward, ..Options::default() };
    let stranger = Options { strangers: SHORT, user: None, ..Options::default() };
    for options in [user, stranger] {
        let upstream = Upstream::start().await;
        let gate = Gate::with(&upstream, options).await;
        let mut client = gate.client().await;
        client.write("POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 10\r\n\r\nhalf").await;
        let answer = client.read_head().await;
        assert_eq!((answer.status, answer.header("x-error")), (502, Some("client")));
        upstream.wait_open(0).await;
        assert_eq!(gate.counted("client"), 1);
    }
}

#[tokio::test]
async fn what_is_unlimited_for_users_waits_for_both_sides() {
    let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let upstream = {
        let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
        Upstream::with(move |exchange: Exchange| {
            let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
            async move {
                asked.notify_one();
                answer.notified().await;
                exchange.echo().await
            }
        })
        .await
    };
    let forward =
        Forward { response_timeout: Limit::Unlimited, body_timeout: Limit::Unlimited, ..Forward::default() };
    // What strangers have is not for users.
    let options = Options { forward, strangers: SHORT, ..Options::default() };
    let gate = Gate::with(&upstream, options).await;
    let mut client = gate.client().await;
    client.write("POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 10\r\n\r\nhalf").await;
    soon(asked.notified()).await;
    // A stranger who begins later has had too long when they are refused; so would the user have.
    let elsewhere = Upstream::start().await;
    let gate_of_stranger =
        Gate::with(&elsewhere, Options { strangers: SHORT, user: None, ..Options::default() }).await;
    let mut stranger = gate_of_stranger.client().await;
    stranger.write("POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 10\r\n\r\nhalf").await;
    assert_eq!(stranger.read_head().await.status, 502);
    client.write("second").await;
    answer.notify_one();
    let answer = client.read().await;
    assert_eq!(answer.status, 200, "{:?}", gate.errors());
    assert!(answer.body.ends_with(b"halfsecond"));
}

#[tokio::test]
async fn an_upload_longer_than_the_deadline_of_the_answer_is_fine_while_it_moves() {
    let upstream = Upstream::start().await;
    let forward = Forward { response_timeout: limit(Duration::from_millis(250)), ..Forward::default() };
    let gate = Gate::with(&upstream, Options { forward, ..Options::default() }).await;
    let mut client = gate.client().await;
    client.write("POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 8\r\n\r\n").await;
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    for byte in b"in time!" {
        pace.tick().await;
        client.write([*byte]).await;
    }
    let answer = client.read().await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.ends_with(b"in time!"));
}

#[tokio::test]
async fn a_request_says_in_one_way_how_long_its_body_is() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    for (request, length, chunked, body) in [
        ("GET / HTTP/1.1\r\n\r\n", None, false, ""),
        ("GET / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody", Some("4"), false, "body"),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", None, true, "body"),
        ("POST / HTTP/1.1\r\n\r\n", Some("0"), false, ""),
        ("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", Some("0"), false, ""),
        ("POST / HTTP/1.1\r\nContent-Length: 004\r\n\r\nbody", Some("004"), false, "body"),
        ("POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody", Some("4"), false, "body"),
        (
            "PUT / HTTP/1.1\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
            None,
            true,
            "body",
        ),
        ("DELETE / HTTP/1.1\r\n\r\n", None, false, ""),
    ] {
        let answer = gate.ask(&request.replacen("\r\n", "\r\nHost: hub.example\r\n", 1)).await;
        assert_eq!(answer.status, 200, "{request}");
        let seen = upstream.requests().pop().unwrap();
        assert_eq!(seen.header("content-length"), length, "{request}");
        assert_eq!(seen.has("transfer-encoding"), chunked, "{request}");
        assert_eq!(seen.body, body.as_bytes(), "{request}");
    }
}

#[tokio::test]
async fn a_response_that_ends_with_its_connection_is_passed_on_whole() {
    let upstream = Upstream::with(|mut exchange: Exchange| async move {
        exchange.write("HTTP/1.0 200 Fine\r\nServer: old\r\n\r\nuntil the end").await?;
        Ok(exchange.close())
    })
    .await;
    let gate = Gate::before(&upstream).await;
    let answer = gate.get("").await;
    assert!(answer.head.starts_with("HTTP/1.1 200 Fine\n"), "{}", answer.head);
    assert_eq!(answer.body, b"until the end");
}

#[tokio::test]
async fn a_response_cut_short_does_not_look_whole() {
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let upstream = Upstream::with(move |mut exchange: Exchange| async move {
            exchange.write(cut).await?;
            Ok(exchange.close())
        })
        .await;
        let gate = Gate::before(&upstream).await;
        let mut client = gate.client().await;
        client.write("GET / HTTP/1.1\r\nHost: hub.example\r\n\r\n").await;
        client.read_head().await;
        let rest = client.read_to_end().await;
        assert!(!rest.ends_with(b"0\r\n\r\n") && rest.len() < 10, "{rest:?}");
    }
}
