//! A person at a browser without a screen: they sign in by Keycloak's own form, and open a terminal.

use std::time::{Duration, Instant};

use support::client::{Answer, Client, PATIENCE, read_answer};
use support::eventually::eventually;
use support::hub::path_and_query;
use support::process::Process;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::keycloak::{Keycloak, sign_in};

/// One person, signed in.
#[derive(Clone)]
pub(crate) struct Person {
    /// What they are called.
    pub(crate) name: String,
    /// Their browser at the hub.
    pub(crate) hub: Client,
    /// The same browser at Keycloak.
    pub(crate) keycloak: Client,
    /// Their session at Keycloak.
    pub(crate) sid: String,
}

impl Person {
    /// Signs in with an empty browser.
    pub(crate) async fn sign_in(hub: &Process, keycloak: &Keycloak, name: &str) -> Self {
        let (person, answer) = Self::try_to_sign_in(hub, keycloak, name).await;
        assert_eq!(answer.status, 303, "{name}: {}", answer.text());
        person
    }

    /// The same; and what the hub says to it.
    pub(crate) async fn try_to_sign_in(hub: &Process, keycloak: &Keycloak, name: &str) -> (Self, Answer) {
        let (mut browser, mut there) = (hub.client(), keycloak.browser());
        let begun = browser.open("/hub/login?next=/hub/home").await;
        let location = begun.header("location").unwrap_or_else(|| panic!("no login: {}", begun.text()));
        let password = format!("{name}-password");
        let url = sign_in(&mut there, location, name, &password).await;
        let sid = url.query_pairs().find(|(name, _)| name == "session_state").unwrap().1.into_owned();
        let answer = browser.open(&path_and_query(url.as_str())).await;
        (Self { name: name.to_owned(), hub: browser, keycloak: there, sid }, answer)
    }

    /// Whether they are signed in at the hub.
    pub(crate) async fn is_in(&self) -> bool {
        // As a program: it is sent to no login.
        match self.hub.clone().fetch("GET", "/hub/home", b"").await.status {
            200 => true,
            401 => false,
            other => panic!("{}: {other}", self.name),
        }
    }

    /// Opens a terminal in their workspace, which starts by that, and answers its websocket once it has said something.
    pub(crate) async fn terminal(&self) -> TlsStream<TcpStream> {
        let base = format!("/user/{}", self.name);
        eventually("the workspace", || {
            let (mut browser, path) = (self.hub.clone(), format!("{base}/lab"));
            async move {
                let answer = browser.open(&path).await;
                assert!(matches!(answer.status, 200 | 503), "{} {}", answer.status, answer.text());
                answer.status == 200
            }
        })
        .await;
        let made = self.hub.clone().fetch("POST", &format!("{base}/api/terminals"), b"").await;
        assert_eq!(made.status, 200, "{}", made.text());
        let terminal: serde_json::Value = serde_json::from_slice(&made.body).unwrap();
        let terminal = terminal["name"].as_str().expect("a terminal");
        let mut stream = self.hub.connect(&["http/1.1"]).await;
        let request = format!(
            "GET {base}/terminals/websocket/{terminal} HTTP/1.1\r\nHost: {host}\r\nOrigin: https://{host}\r\n\
             Cookie: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.hub.cookies(),
            host = self.hub.host(),
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let answer = read_answer(&mut stream, true).await;
        assert_eq!(answer.status, 101, "{}", answer.text());
        // The shell's prompt.
        tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("a prompt").unwrap();
        stream
    }
}

/// When a connection ends; whatever still comes is read.
pub(crate) async fn closed(mut stream: TlsStream<TcpStream>, within: Duration) -> Instant {
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(within, stream.read_to_end(&mut bytes)).await;
    // A connection that is cut ends, too.
    drop(end.unwrap_or_else(|_| panic!("open after {within:?}")));
    Instant::now()
}

/// Whether a websocket is still open: it answers a ping.
pub(crate) async fn is_open(stream: &mut TlsStream<TcpStream>) -> bool {
    if stream.write_all(b"\x89\x80\0\0\0\0").await.is_err() || stream.flush().await.is_err() {
        return false;
    }
    let mut bytes = [0; 4096];
    loop {
        match tokio::time::timeout(PATIENCE, stream.read(&mut bytes)).await {
            Ok(Ok(0) | Err(_)) | Err(_) => return false,
            Ok(Ok(length)) if bytes[..length].windows(2).any(|pair| pair == b"\x8a\0") => return true,
            Ok(Ok(_)) => {}
        }
    }
}
