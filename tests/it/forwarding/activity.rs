//! What counts as use of a workspace.

use std::time::Duration;

use hubgate::clock::Timestamp;
use hubgate::upstream::Upstream as Address;
use support::upstream::{Exchange, Upstream, soon};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::rig::{Gate, telling};

const MINUTE: Duration = Duration::from_mins(1);

/// When it was last used before, a minute ago by the gate's clock.
fn a_minute_passes(gate: &Gate) -> Timestamp {
    let before = gate.activity.last();
    gate.clock.advance(MINUTE);
    before
}

#[tokio::test]
async fn only_what_is_answered_well_is_use() {
    let upstream = Upstream::with(|mut exchange: Exchange| async move {
        let status = exchange.request.target.trim_start_matches('/').to_owned();
        exchange.respond(&format!("{status} X"), "", "body").await?;
        Ok(exchange)
    })
    .await;
    let gate = Gate::before(&upstream).await;
    for (status, is_use) in
        [(200, true), (302, false), (403, false), (404, false), (500, false), (503, false), (201, true)]
    {
        let before = a_minute_passes(&gate);
        let answer = gate.ask(&format!("GET /{status} HTTP/1.1\r\nHost: hub.example\r\n\r\n")).await;
        assert_eq!(answer.status, status);
        assert_eq!(gate.activity.last() > before, is_use, "{status}");
    }
    for status in [200, 403] {
        let before = a_minute_passes(&gate);
        let handshake = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let request = format!("GET /{status} HTTP/1.1\r\nHost: hub.example\r\n{handshake}\r\n");
        assert_eq!(gate.ask(&request).await.status, status);
        assert_eq!(gate.activity.last(), before, "a websocket that is refused with {status}");
    }
}

#[tokio::test]
async fn what_nothing_answers_is_no_use() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let unused = Upstream::start().await;
    let gate = Gate::before(&unused).await.beside(Address { address, instance: "1".into() }).await;
    let before = a_minute_passes(&gate);
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for fields in ["", upgrade] {
        assert_eq!(gate.get(fields).await.header("x-error"), Some("connect"));
    }
    assert_eq!(gate.activity.last(), before);

    let upstream = Upstream::with(|exchange: Exchange| async move { exchange.reset() }).await;
    let gate = Gate::before(&upstream).await;
    let before = a_minute_passes(&gate);
    assert_eq!(gate.get("").await.header("x-error"), Some("broken"));
    assert_eq!(gate.activity.last(), before);
}

#[tokio::test]
async fn a_long_download_is_use_until_its_end() {
    let (send, receive) = mpsc::unbounded_channel::<&str>();
    let receive = std::sync::Arc::new(tokio::sync::Mutex::new(receive));
    let upstream = Upstream::with(move |mut exchange: Exchange| {
        let receive = std::sync::Arc::clone(&receive);
        async move {
            let status = exchange.request.target.trim_start_matches('/').to_owned();
            let head = format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n");
            exchange.write(head).await?;
            while let Some(chunk) = receive.lock().await.recv().await {
                exchange.write(chunk).await?;
            }
            Ok(exchange.close())
        }
    })
    .await;
    let gate = Gate::before(&upstream).await;
    let mut client = gate.client().await;
    client.write("GET /200 HTTP/1.1\r\nHost: hub.example\r\n\r\n").await;
    assert_eq!(client.read_head().await.status, 200);
    for _ in 0..3 {
        let before = a_minute_passes(&gate);
        send.send("4\r\nmore\r\n").unwrap();
        assert_eq!(client.read_chunk().await.unwrap(), b"more");
        assert_eq!(gate.activity.last(), before + MINUTE.as_secs());
    }
}

#[tokio::test]
async fn a_long_upload_is_use_until_its_end_and_a_refused_one_is_none() {
    let (upstream, mut told) = telling("403 X").await;
    let gate = Gate::before(&upstream).await;
    let mut client = gate.client().await;
    let before = a_minute_passes(&gate);
    client.write("POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 4\r\n\r\n").await;
    upstream.wait_requests(1).await;
    client.write("body").await;
    assert_eq!(client.read().await.status, 403);
    assert_eq!(gate.activity.last(), before);
    soon(told.recv()).await.unwrap();

    client.write("POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 12\r\n\r\n").await;
    upstream.wait_requests(2).await;
    for _ in 0..3 {
        let before = a_minute_passes(&gate).max(gate.clock.now() - MINUTE.as_secs());
        client.write("more").await;
        soon(told.recv()).await.unwrap();
        assert_eq!(gate.activity.last(), before + MINUTE.as_secs());
    }
    assert_eq!(client.read().await.status, 403);
}
