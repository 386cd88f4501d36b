//! Connections to workspaces: kept, used again, tried again, closed.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use http::HeaderValue;
use hubgate::config::{Forward, Limit};
use hubgate::forward::Deadlines;
use hubgate::upstream::Upstream as Address;
use support::upstream::{Exchange, Upstream, soon};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::rig::{Gate, Options, instance, limit, span};

const POST: &str = "POST /x HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 4\r\n\r\nbody";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn with_forward(forward: Forward) -> Options {
    Options { forward, ..Options::default() }
}

/// Answers a connection's first request, and hangs up on its second without a word.
async fn forgetful() -> Upstream {
    let answered = std::sync::Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    Upstream::with(move |mut exchange: Exchange| {
        let first = answered.lock().unwrap().insert(exchange.request.connection);
        async move {
            exchange.read_body().await?;
            if !first {
                return Ok(exchange.close());
            }
            exchange.write(OK).await?;
            Ok(exchange)
        }
    })
    .await
}

#[tokio::test]
async fn one_connection_serves_one_request_after_another() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    for _ in 0..3 {
        assert_eq!(gate.get("").await.status, 200);
        assert_eq!(gate.ask(POST).await.status, 200);
    }
    assert_eq!(upstream.connections(), 1);
    gate.wait_connections(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_requests_at_once_get_each_their_own_answer() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..16 {
        let mut client = gate.client().await;
        clients.spawn(async move {
            for round in 0..50 {
                let line = format!("GET /{number}/{round} HTTP/1.1\r\n");
                client.write(format!("{line}Host: hub.example\r\n\r\n")).await;
                let answer = client.read().await;
                assert!(answer.status == 200 && answer.body.starts_with(line.as_bytes()), "{answer:?}");
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    assert_eq!(upstream.requests().len(), 16 * 50);
    assert_eq!(gate.errors(), [""; 0]);
}

#[tokio::test]
async fn a_response_without_a_body_frees_its_connection_at_once() {
    let upstream = Upstream::with(|mut exchange: Exchange| async move {
        let answer = match exchange.request.target.as_str() {
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nETag: \"1\"\r\n\r\n",
            "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        };
        exchange.write(answer).await?;
        Ok(exchange)
    })
    .await;
    let gate = Gate::before(&upstream).await;
    let head = gate.ask("HEAD /head HTTP/1.1\r\nHost: hub.example\r\n\r\n").await;
    assert_eq!((head.header("content-length"), head.header("etag")), (Some("12345"), Some("\"1\"")));
    let chunked = gate.ask("HEAD /chunked HTTP/1.1\r\nHost: hub.example\r\n\r\n").await;
    assert_eq!((chunked.status, chunked.header("content-length")), (200, None));
    for (target, status) in [("/204", 204), ("/304", 304), ("/0", 200)] {
        let answer = gate.ask(&format!("GET {target} HTTP/1.1\r\nHost: hub.example\r\n\r\n")).await;
        assert_eq!((answer.status, answer.body.len()), (status, 0));
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_get_is_sent_again_when_a_kept_connection_was_closed_without_a_word() {
    let upstream = forgetful().await;
    let gate = Gate::before(&upstream).await;
    gate.get("").await;
    let answer = gate.get("X-Own: 1\r\nCookie: __Host-hubgate=secret\r\nX-Hubgate-User: admin\r\n").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
    let requests = upstream.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[1].head, requests[2].head, "and the same");
    assert_eq!((requests[2].connection, requests[2].header("cookie")), (1, None));
}

#[tokio::test]
async fn a_written_request_that_may_change_something_is_never_sent_again() {
    for request in [
        POST,
        "POST /x HTTP/1.1\r\nHost: hub.example\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: hub.example\r\n\r\n",
        "DELETE /x HTTP/1.1\r\nHost: hub.example\r\n\r\n",
    ] {
        let upstream = forgetful().await;
        let gate = Gate::before(&upstream).await;
        gate.get("").await;
        let answer = gate.ask(request).await;
        assert_eq!((answer.status, answer.header("x-error")), (502, Some("broken")), "{request}");
        assert_eq!(upstream.requests().len(), 2, "{request}");
        assert_eq!(gate.counted("broken"), 1);
    }
}

#[tokio::test]
async fn a_get_with_a_body_is_never_sent_again() {
    let upstream = forgetful().await;
    let gate = Gate::before(&upstream).await;
    gate.get("").await;
    let answer = gate.ask("GET / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 1\r\n\r\nx").await;
    assert_eq!(answer.status, 502);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn nothing_is_sent_again_once_an_answer_has_begun() {
    let upstream = Upstream::with(|mut exchange: Exchange| async move {
        if exchange.request.target == "/half" {
            exchange.write("HTTP/1.1 200 O").await?;
            return Ok(exchange.close());
        }
        exchange.write(OK).await?;
        Ok(exchange)
    })
    .await;
    let gate = Gate::before(&upstream).await;
    gate.get("").await;
    let answer = gate.ask("GET /half HTTP/1.1\r\nHost: hub.example\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("x-error")), (502, Some("broken")));
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_new_connection_that_fails_is_not_tried_again() {
    let upstream = Upstream::with(|exchange: Exchange| async move { exchange.reset() }).await;
    let gate = Gate::before(&upstream).await;
    let answer = gate.get("").await;
    assert_eq!((answer.status, answer.header("x-error")), (502, Some("broken")));
    assert_eq!(upstream.requests().len(), 1);
    gate.wait_connections(0).await;
}

/// A workspace that closes its connection just after the gate has read the next request, and before the gate can know:
/// the request was not written, so even a POST is sent on another connection.
#[tokio::test]
async fn an_unwritten_post_is_sent_on_another_connection() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (close, closing) = mpsc::channel::<()>();
    let (closed, told) = mpsc::channel();
    let workspace = std::thread::spawn(move || {
        let answer = |stream: &mut std::net::TcpStream| {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).unwrap();
            stream.write_all(OK.as_bytes()).unwrap();
            String::from_utf8(buffer[..count].to_vec()).unwrap()
        };
        let (mut first, _) = listener.accept().unwrap();
        answer(&mut first);
        closing.recv().unwrap();
        drop(first);
        closed.send(()).unwrap();
        answer(&mut listener.accept().unwrap().0)
    });
    let unused = Upstream::start().await;
    let gate = Gate::before(&unused).await.beside(Address { address, instance: "1".into() }).await;
    let mut client = gate.client().await;
    client.write(POST).await;
    assert_eq!(client.read().await.status, 200);

    // Nothing here waits for anything: the runtime sees the request first, then the end of the kept connection.
    client.stream.try_write(POST.as_bytes()).unwrap();
    close.send(()).unwrap();
    told.recv().unwrap();

    assert_eq!(client.read().await.status, 200);
    assert!(workspace.join().unwrap().ends_with("body"));
    assert_eq!(gate.errors(), [""; 0]);
}

#[tokio::test]
async fn two_instances_never_share_a_connection_even_at_one_address() {
    let upstream = Upstream::start().await;
    let alice = Gate::before(&upstream).await;
    let bob = alice.beside(instance(&upstream, "2")).await;
    for _ in 0..2 {
        assert_eq!(alice.get("").await.status, 200);
        assert_eq!(bob.get("").await.status, 200);
    }
    let used: Vec<_> = upstream.requests().iter().map(|request| request.connection).collect();
    assert_eq!(used, [0, 1, 0, 1]);
}

#[tokio::test]
async fn dropping_the_pool_closes_its_connections() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    assert_eq!(gate.get("").await.status, 200);
    assert_eq!(upstream.open(), 1);
    drop(gate.pool);
    upstream.wait_open(0).await;
}

#[tokio::test]
async fn a_closed_pool_keeps_nothing() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    assert_eq!(gate.get("").await.status, 200);
    gate.pool.close();
    upstream.wait_open(0).await;
    assert_eq!(gate.get("").await.status, 200);
    upstream.wait_open(0).await;
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn shutdown_closes_idle_connections() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    assert_eq!(gate.get("").await.status, 200);
    gate.tasks.stop();
    upstream.wait_open(0).await;
    soon(gate.tasks.ended()).await;
}

#[tokio::test]
async fn a_connection_idle_for_too_long_is_closed() {
    let upstream = Upstream::start().await;
    let forward = Forward { idle_timeout: span(Duration::from_millis(30)), ..Forward::default() };
    let gate = Gate::with(&upstream, with_forward(forward)).await;
    for round in 1..3 {
        assert_eq!(gate.get("").await.status, 200);
        upstream.wait_open(0).await;
        assert_eq!(upstream.connections(), round);
    }
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_the_limit() {
    let upstream = Upstream::start().await;
    let forward = Forward { idle_connections: 2, ..Forward::default() };
    let gate = Gate::with(&upstream, with_forward(forward)).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = gate.client().await;
        client.write("POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 1\r\n\r\n").await;
        clients.push(client);
    }
    upstream.wait_requests(4).await;
    for client in &mut clients {
        client.write("x").await;
        assert_eq!(client.read().await.status, 200);
    }
    upstream.wait_open(2).await;
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_answer_closes_the_workspaces_connection() {
    let upstream = Upstream::with(|mut exchange: Exchange| async move {
        exchange.wait_closed().await?;
        Ok(exchange.close())
    })
    .await;
    let gate = Gate::before(&upstream).await;
    let mut client = gate.client().await;
    client.write("GET / HTTP/1.1\r\nHost: hub.example\r\n\r\n").await;
    upstream.wait_requests(1).await;
    drop(client);
    upstream.wait_open(0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_during_a_silent_answer_closes_the_workspaces_connection() {
    let upstream = Upstream::with(|mut exchange: Exchange| async move {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        exchange.write(format!("{head}5\r\nevent\r\n")).await?;
        exchange.wait_closed().await?;
        Ok(exchange.close())
    })
    .await;
    let gate = Gate::before(&upstream).await;
    let mut client = gate.client().await;
    client.write("GET /events HTTP/1.1\r\nHost: hub.example\r\n\r\n").await;
    client.read_head().await;
    assert_eq!(client.read_chunk().await.unwrap(), b"event");
    drop(client);
    upstream.wait_open(0).await;
}

#[tokio::test]
async fn a_connection_is_not_used_again_before_a_request_answered_early_was_sent() {
    let upstream = Upstream::with(|mut exchange: Exchange| async move {
        exchange.write(OK).await?;
        exchange.read_body().await?;
        Ok(exchange)
    })
    .await;
    let gate = Gate::before(&upstream).await;
    let mut slow = gate.client().await;
    slow.write("POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 4\r\n\r\nbo").await;
    assert_eq!(slow.read().await.status, 200);
    assert_eq!(gate.get("").await.status, 200);
    assert_eq!(upstream.connections(), 2);
    let first = &upstream.requests()[0];
    assert_eq!((first.connection, first.complete), (0, false));
}

#[tokio::test]
async fn a_workspace_that_refuses_is_a_connect_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    drop(listener);
    let unused = Upstream::start().await;
    let gate = Gate::before(&unused).await.beside(Address { address, instance: "1".into() }).await;
    let answer = gate.get("").await;
    assert_eq!((answer.status, answer.header("x-error")), (502, Some("connect")));
    assert_eq!(gate.errors(), [format!("connect: cannot connect to {address}")]);
    assert_eq!(gate.counted("connect"), 1);
    assert_eq!(gate.metrics.upstream_connections.get(), 0);
}

#[tokio::test]
async fn a_workspace_that_does_not_answer_in_time_is_a_timeout_and_tried_once() {
    let upstream = Upstream::with(|mut exchange: Exchange| async move {
        if exchange.request.target == "/slow" {
            exchange.wait_closed().await?;
            return Ok(exchange.close());
        }
        exchange.write(OK).await?;
        Ok(exchange)
    })
    .await;
    let short = Duration::from_millis(200);
    let forward = Forward { response_timeout: limit(short), ..Forward::default() };
    // However long users may wait, a stranger may not.
    let forever = Forward { response_timeout: Limit::Unlimited, ..Forward::default() };
    let strangers = Deadlines { response: short, body: Duration::from_mins(1) };
    let stranger = Options { user: None, strangers, ..with_forward(forever) };
    for (options, before) in [(with_forward(forward), 0), (stranger, 2)] {
        let gate = Gate::with(&upstream, options).await;
        gate.get("").await;
        let answer = gate.ask("GET /slow HTTP/1.1\r\nHost: hub.example\r\n\r\n").await;
        assert_eq!((answer.status, answer.header("x-error")), (502, Some("timeout")));
        upstream.wait_open(0).await;
        assert_eq!(upstream.requests().len(), before + 2);
    }
}

#[tokio::test]
async fn what_is_no_http_is_a_broken_answer() {
    for nonsense in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", ""] {
        let upstream = Upstream::with(move |mut exchange: Exchange| async move {
            exchange.write(nonsense).await?;
            Ok(exchange.close())
        })
        .await;
        let gate = Gate::before(&upstream).await;
        let answer = gate.get("").await;
        assert_eq!((answer.status, answer.header("x-error")), (502, Some("broken")), "{nonsense:?}");
    }
}

#[tokio::test]
async fn a_probe_asks_whether_the_server_answers() {
    let upstream = Upstream::with(|mut exchange: Exchange| async move {
        let status = exchange.request.target.trim_start_matches('/').to_owned();
        if status == "never" {
            exchange.wait_closed().await?;
        } else {
            exchange.respond(&format!("{status} X"), "", "body").await?;
        }
        Ok(exchange)
    })
    .await;
    let gate = Gate::before(&upstream).await;
    let host = HeaderValue::from_static("hub.example");
    for (path, ready) in
        [("/200", true), ("/302", true), ("/404", true), ("/500", false), ("/503", false), ("/never", false)]
    {
        assert_eq!(gate.forwarder.probe(&gate.pool, path, &host).await, ready, "{path}");
    }
    assert!(!gate.forwarder.probe(&gate.pool, "no path", &host).await);
    assert_eq!(upstream.requests()[0].header("host"), Some("hub.example"));
    upstream.wait_open(0).await;
    let address = upstream.address();
    drop(upstream);
    soon(async { while tokio::net::TcpStream::connect(address).await.is_ok() {} }).await;
    assert!(!gate.forwarder.probe(&gate.pool, "/200", &host).await);
}

#[tokio::test]
async fn a_connect_request_is_not_forwarded() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    let mut client = gate.client().await;
    client.write("CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\n\r\n").await;
    assert_eq!(client.read_head().await.status, 502);
    client.stream.shutdown().await.unwrap();
    assert_eq!(upstream.connections(), 0);
}
