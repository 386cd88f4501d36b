//! Ports of a workspace beside that of its server.

use std::net::SocketAddr;
use std::sync::Arc;

use support::hub::{EVERYONE, Hub, PROFILE};
use support::upstream::{Exchange, Upstream};

use crate::BINARY;

const ALLOWED: &str = "ports = [8050, \"8500-8510\", 8888]\n";

/// A hub with alice's workspace, and what listens at a port of it.
async fn hub(profile: &str, port: u16) -> (Hub, Upstream) {
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{PROFILE}{profile}")).await;
    hub.run_workspace("alice").await;
    let program = Upstream::bind(at(&hub, port)).await.unwrap();
    (hub, program)
}

fn at(hub: &Hub, port: u16) -> SocketAddr {
    SocketAddr::new(hub.engine().address_for("alice").into(), port)
}

#[tokio::test]
async fn a_port_that_the_profile_allows_is_reached_without_the_rest_of_the_path() {
    let (hub, program) = hub(ALLOWED, 8050).await;
    let mut alice = hub.signed_in("alice").await;
    for (path, seen) in [
        ("/user/alice/proxy/8050/", "/"),
        ("/user/alice/proxy/8050/a%2Fb?x=%20&y", "/a%2Fb?x=%20&y"),
        ("/user/alice/proxy/8050//double", "//double"),
        ("/user/alice/proxy/absolute/8050/whole", "/user/alice/proxy/absolute/8050/whole"),
    ] {
        assert_eq!(alice.fetch("GET", path, b"").await.status, 200, "{path}");
        let request = program.requests().pop().unwrap();
        assert_eq!(request.target, seen, "{path}");
        let prefix = request.header("x-forwarded-prefix");
        assert_eq!(prefix.is_some(), !path.contains("absolute"), "{path}");
        assert!(prefix.is_none_or(|prefix| prefix == "/user/alice/proxy/8050"));
        let held = String::from_utf8_lossy(&request.head);
        let token = hub.environment_of("alice", "JUPYTER_TOKEN").unwrap();
        assert!(!held.contains(&token) && !held.contains("__Host-hubgate"), "{held}");
        assert_eq!(request.header("x-hubgate-user"), Some("alice"));
    }
    let bare = alice.open("/user/alice/proxy/8050?q").await;
    assert_eq!((bare.status, bare.header("location")), (303, Some("/user/alice/proxy/8050/?q")));
}

#[tokio::test]
async fn every_other_port_is_the_servers_own_business() {
    let (hub, _program) = hub(ALLOWED, 8500).await;
    let mut alice = hub.signed_in("alice").await;
    // Its own port, too: there hubgate would speak for the user.
    for path in [
        "/user/alice/proxy/8888/",
        "/user/alice/proxy/22/",
        "/user/alice/proxy/8511/",
        "/user/alice/proxy/08500/",
    ] {
        assert_eq!(alice.fetch("GET", path, b"").await.status, 200, "{path}");
        assert_eq!(hub.last_request("alice").target, path, "as jupyter-server-proxy in the image sees it");
    }
    let before = hub.traffic();
    assert_eq!(hub.signed_in("bob").await.fetch("GET", "/user/alice/proxy/8500/", b"").await.status, 403);
    assert_eq!(hub.client().fetch("GET", "/user/alice/proxy/8500/", b"").await.status, 401);
    assert_eq!(hub.traffic(), before);
}

#[tokio::test]
async fn no_port_is_reached_unless_the_profile_says_so() {
    let (hub, program) = hub("", 8050).await;
    let mut alice = hub.signed_in("alice").await;
    assert_eq!(alice.fetch("GET", "/user/alice/proxy/8050/x", b"").await.status, 200);
    assert_eq!(hub.last_request("alice").target, "/user/alice/proxy/8050/x");
    assert_eq!(program.connections(), 0);
}

#[tokio::test]
async fn a_websocket_to_a_port_is_carried() {
    let (hub, program) = hub("ports = \"any\"\n", 8765).await;
    let alice = hub.signed_in("alice").await;
    let mut stream = alice.connect(&["http/1.1"]).await;
    let request = format!(
        "GET /user/alice/proxy/8765/ws?x HTTP/1.1\r\nHost: {}\r\nOrigin: {}\r\nCookie: {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        hub.host(),
        hub.origin(),
        alice.cookies(),
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let answer = support::client::read_answer(&mut stream, true).await;
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(program.requests().pop().unwrap().target, "/ws?x");
}

#[tokio::test]
async fn a_redirect_of_a_program_that_does_not_know_where_it_is_leads_back_to_it() {
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{PROFILE}{ALLOWED}")).await;
    hub.run_workspace("alice").await;
    let program = Upstream::bind_with(at(&hub, 8050), |mut exchange: Exchange| async move {
        let there = exchange.request.target.trim_start_matches("/to?").to_owned();
        exchange.read_body().await?;
        exchange
            .write(format!("HTTP/1.1 302 Found\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n").as_bytes())
            .await?;
        Ok(exchange)
    });
    let _program = Arc::new(program.await.unwrap());
    let mut alice = hub.signed_in("alice").await;
    for (said, heard) in [
        ("/login", "/user/alice/proxy/8050/login"),
        ("/user/alice/proxy/8050/x", "/user/alice/proxy/8050/x"),
        ("//other.example/x", "//other.example/x"),
        ("https://other.example/", "https://other.example/"),
        ("relative", "relative"),
    ] {
        let answer = alice.fetch("GET", &format!("/user/alice/proxy/8050/to?{said}"), b"").await;
        assert_eq!((answer.status, answer.header("location")), (302, Some(heard)), "{said}");
    }
}

#[tokio::test]
async fn where_nothing_listens_a_page_says_so_and_the_workspace_stays() {
    let (hub, _program) = hub(ALLOWED, 8050).await;
    let mut alice = hub.signed_in("alice").await;
    let answer = alice.open("/user/alice/proxy/8501/").await;
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("No program in your server listens on port 8501"), "{}", answer.text());
    assert_eq!(alice.fetch("GET", "/user/alice/x", b"").await.status, 200);
}

#[tokio::test]
async fn a_programs_token_never_reaches_a_port() {
    let (hub, program) = hub(ALLOWED, 8050).await;
    let mut alice = hub.signed_in("alice").await;
    let secret = alice.make_token(&["access:servers"]).await;
    let mut client = hub.client();
    let bearer = format!("token {secret}");
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(client.send("GET", "/user/alice/proxy/8050/", &headers, b"").await.status, 200);
    assert_eq!(program.requests().pop().unwrap().header("authorization"), None);
    // What is the program's own is left alone.
    assert_eq!(
        alice.send("GET", "/user/alice/proxy/8050/", &[("authorization", "Basic eDp5")], b"").await.status,
        200
    );
    assert_eq!(program.requests().pop().unwrap().header("authorization"), Some("Basic eDp5"));
}
