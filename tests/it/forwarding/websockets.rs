//! Upgraded connections.

use std::time::Duration;

use hubgate::config::Forward;
use support::upstream::{Exchange, Upstream, accept_key, frame, soon};
use tokio::io::AsyncWriteExt as _;

use super::rig::{Answer, Client, Gate, Options, limit};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn handshake(fields: &str) -> String {
    format!(
        "GET /user/alice/api/kernels/1/channels?session_id=x HTTP/1.1\r\nHost: hub.example\r\n\
         Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\n{fields}\r\n"
    )
}

async fn open(gate: &Gate, fields: &str) -> (Client, Answer) {
    let mut client = gate.client().await;
    client.write(handshake(fields)).await;
    let answer = client.read_head().await;
    (client, answer)
}

/// A frame as browsers send it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = frame(first, payload);
    frame[1] |= 0x80;
    let head = frame.len() - payload.len();
    let body: Vec<_> = frame.split_off(head).iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b).collect();
    frame.extend(mask);
    frame.extend(body);
    frame
}

#[tokio::test]
async fn a_websocket_passes_frames_of_every_kind_unchanged() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    let fields = "Sec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org, other\r\n\
                  Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
                  Origin: https://hub.example\r\nCookie: a=1; __Host-hubgate=secret\r\nX-Hubgate-User: admin\r\n";
    let (mut client, answer) = open(&gate, fields).await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert_eq!(answer.header("connection"), Some("Upgrade"));
    assert_eq!(answer.header("sec-websocket-accept"), Some(&*accept_key(KEY)));
    assert_eq!(answer.header("sec-websocket-protocol"), Some("v1.kernel.websocket.jupyter.org"));

    let request = upstream.request();
    assert_eq!(request.header("connection"), Some("Upgrade"));
    assert_eq!(request.header("upgrade"), Some("websocket"));
    assert_eq!(request.header("sec-websocket-key"), Some(KEY));
    assert_eq!(request.header("sec-websocket-version"), Some("13"));
    assert_eq!(
        request.header("sec-websocket-extensions"),
        Some("permessage-deflate; client_max_window_bits")
    );
    assert_eq!(request.header("origin"), Some("https://hub.example"));
    assert_eq!(request.header("cookie"), Some("a=1"));
    assert_eq!(request.header("x-hubgate-user"), Some("alice"));

    // Text, binary, ping, pong, fragments, compressed, empty.
    for first in [0x81, 0x82, 0x89, 0x8a, 0x01, 0x80, 0xc1] {
        for payload in [&b""[..], b"hello"] {
            client.write(masked(first, payload)).await;
            assert_eq!(client.read_exact(payload.len() + 2).await, frame(first, payload));
        }
    }
    let megabyte: Vec<u8> = (0..1_u32 << 20).map(|at| u8::try_from(at % 251).unwrap()).collect();
    client.write(masked(0x82, &megabyte)).await;
    assert!(client.read_exact(megabyte.len() + 10).await == frame(0x82, &megabyte));

    assert_eq!(gate.metrics.tunnels.get(), 1);
    client.write(masked(0x88, &[3, 232])).await;
    assert_eq!(client.read_to_end().await, frame(0x88, &[3, 232]));
    drop(client);
    upstream.wait_open(0).await;
    assert_eq!(upstream.connections(), 1);
    gate.tasks.stop();
    soon(gate.tasks.ended()).await;
    assert_eq!(gate.metrics.tunnels.get(), 0);
    assert_eq!(gate.metrics.upstream_connections.get(), 0);
}

#[tokio::test]
async fn what_either_side_sends_with_the_handshake_is_not_lost() {
    let upstream = Upstream::with(|mut exchange: Exchange| async move {
        let head = format!(
            "HTTP/1.1 101 X\r\nUpgrade: WebSocket\r\nConnection: x, upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\nfirst",
            accept_key(KEY)
        );
        exchange.write(head).await?;
        let early = exchange.read_raw().await?;
        exchange.write(early).await?;
        Ok(exchange.close())
    })
    .await;
    let gate = Gate::before(&upstream).await;
    let mut client = gate.client().await;
    client.write(handshake("") + "second").await;
    assert_eq!(client.read_head().await.status, 101);
    assert_eq!(client.read_to_end().await, b"firstsecond");
}

#[tokio::test]
async fn the_end_of_one_side_leaves_the_other_open() {
    let upstream = Upstream::with(|mut exchange: Exchange| async move {
        exchange.accept_websocket().await?;
        exchange.wait_closed().await?;
        exchange.write("after the client's end").await?;
        Ok(exchange.close())
    })
    .await;
    let gate = Gate::before(&upstream).await;
    let (mut client, _) = open(&gate, "").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.read_to_end().await, b"after the client's end");

    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Upstream::with(move |mut exchange: Exchange| {
        let tell = tell.clone();
        async move {
            exchange.accept_websocket().await?;
            exchange.shutdown().await?;
            tell.send(exchange.read_raw().await?).map_err(std::io::Error::other)?;
            Ok(exchange.close())
        }
    })
    .await;
    let gate = Gate::before(&upstream).await;
    let (mut client, _) = open(&gate, "").await;
    assert_eq!(client.read_to_end().await, b"");
    client.write("after the workspace's end").await;
    assert_eq!(soon(told.recv()).await.unwrap(), "after the workspace's end");
    client.stream.shutdown().await.unwrap();
    upstream.wait_open(0).await;
}

#[tokio::test]
async fn what_goes_through_a_websocket_is_use_and_a_heartbeat_is_none() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    let (mut client, _) = open(&gate, "").await;
    let before = gate.activity.last();
    gate.clock.advance(Duration::from_mins(1));
    // A pong, which the upstream answers as it answers all frames.
    let pong = masked(0x8a, b"");
    client.write(pong).await;
    client.read_exact(2).await;
    assert_eq!(gate.activity.last(), before);
    client.write(masked(0x81, b"x")).await;
    client.read_exact(3).await;
    assert_eq!(gate.activity.last(), before + 60);
}

#[tokio::test]
async fn a_websocket_ends_with_its_session() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    let (mut client, _) = open(&gate, "").await;
    client.write(masked(0x81, b"x")).await;
    client.read_exact(3).await;
    gate.lifeline.cut();
    assert_eq!(client.read_to_end().await, b"");
    upstream.wait_open(0).await;
    let (mut late, answer) = open(&gate, "").await;
    assert_eq!(answer.status, 101);
    assert_eq!(late.read_to_end().await, b"", "an ended session opens none");
}

#[tokio::test]
async fn a_websocket_ends_with_the_process() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    let (mut client, _) = open(&gate, "").await;
    client.write(masked(0x81, b"x")).await;
    client.read_exact(3).await;
    gate.tasks.stop();
    assert_eq!(client.read_to_end().await, b"");
    upstream.wait_open(0).await;
    soon(gate.tasks.ended()).await;
}

#[tokio::test]
async fn a_websocket_that_stays_quiet_for_too_long_is_closed() {
    let upstream = Upstream::start().await;
    let forward = Forward { tunnel_timeout: limit(Duration::from_millis(50)), ..Forward::default() };
    let gate = Gate::with(&upstream, Options { forward, ..Options::default() }).await;
    let (mut client, _) = open(&gate, "").await;
    assert_eq!(client.read_to_end().await, b"");
    upstream.wait_open(0).await;
}

#[tokio::test]
async fn a_client_that_vanishes_takes_the_workspaces_side_with_it() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    let (mut client, _) = open(&gate, "").await;
    client.write(masked(0x81, b"x")).await;
    client.read_exact(3).await;
    client.stream.set_zero_linger().unwrap();
    drop(client);
    upstream.wait_open(0).await;
}

#[tokio::test]
async fn a_refused_handshake_leaves_the_next_request_a_request() {
    let upstream = Upstream::with(|mut exchange: Exchange| async move {
        let status = if exchange.request.has("upgrade") { "426 Upgrade Required" } else { "200 OK" };
        exchange.respond(status, "", "body").await?;
        Ok(exchange)
    })
    .await;
    let gate = Gate::before(&upstream).await;
    let mut client = gate.client().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: hub.example\r\nX-Hubgate-User: admin\r\n\r\n";
    client.write(handshake("") + smuggled).await;
    let answer = client.read().await;
    assert_eq!((answer.status, &answer.body[..]), (426, &b"body"[..]));
    assert_eq!(client.read().await.status, 200);
    let smuggled = upstream.requests().pop().unwrap();
    assert_eq!(smuggled.target, "/smuggled");
    assert_eq!(smuggled.header("x-hubgate-user"), Some("alice"), "judged like any request");
    assert_eq!(upstream.connections(), 2, "the handshake's connection is used once");
}

#[tokio::test]
async fn a_wrong_answer_to_a_handshake_opens_no_tunnel() {
    let right = accept_key(KEY);
    for head in [
        "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".to_owned(),
        "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n"
            .to_owned(),
        format!("HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {right}\r\n"),
        format!("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {right}\r\n"),
    ] {
        let upstream = Upstream::answering(head.clone() + "\r\n").await;
        let gate = Gate::before(&upstream).await;
        let (_client, answer) = open(&gate, "").await;
        assert_eq!((answer.status, answer.header("x-error")), (502, Some("broken")), "{head}");
        upstream.wait_open(0).await;
        assert_eq!(gate.metrics.tunnels.get(), 0);
    }
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_an_error() {
    let upstream = Upstream::answering(format!(
        "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        accept_key(KEY)
    ))
    .await;
    let gate = Gate::before(&upstream).await;
    let answer = gate.get("Connection: Upgrade\r\nUpgrade: h2c\r\n").await;
    assert_eq!((answer.status, answer.header("x-error")), (502, Some("broken")));
    assert!(gate.errors()[0].ends_with("broke off"), "{:?}", gate.errors());
}
