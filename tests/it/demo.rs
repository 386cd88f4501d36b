//! `hubgate demo`: what it prints is what opens it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};

use support::client::{Answer, Client, PATIENCE, read_answer};
use support::eventually::eventually;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::BINARY;

struct Demo {
    folder: TempDir,
    address: SocketAddr,
    words: String,
    child: Child,
}

impl Demo {
    /// With a workspace that never answers: what is tried here ends before it.
    async fn start(folder: TempDir) -> Self {
        let address = free_pair();
        let mut child = Command::new(BINARY)
            .args(["demo", "--port", &address.port().to_string(), "--folder"])
            .arg(folder.path())
            .args(["--", "/bin/sleep", "600"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut words = String::new();
        while !words.contains("Ctrl-C") {
            let mut buffer = [0; 4096];
            let count = timeout(PATIENCE, stdout.read(&mut buffer)).await.unwrap().unwrap();
            assert!(count > 0, "it ended, and said: {words}");
            words.push_str(&String::from_utf8_lossy(buffer.get(..count).unwrap()));
        }
        eventually("the demo to listen", || async { TcpStream::connect(address).await.is_ok() }).await;
        Self { folder, address, words, child }
    }

    async fn stop(mut self) -> TempDir {
        self.child.kill().await.unwrap();
        self.folder
    }

    fn client(&self) -> Client {
        let certificate = fs::read_to_string(self.folder.path().join("certificate.pem")).unwrap();
        Client::new(self.address, &format!("localhost:{}", self.address.port()), &certificate)
    }

    fn password(&self, user: &str) -> String {
        let line = self.words.lines().find(|line| line.trim_start().starts_with(user)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    }

    /// Signs in as people do, and says what came back to the hub.
    async fn sign_in(&self, client: &mut Client, user: &str, password: &str) -> Answer {
        let login = client.open("/hub/login?next=/hub/home").await;
        let url = url::Url::parse(login.header("location").unwrap()).unwrap();
        let target = &url[url::Position::BeforePath..];
        let form = ask(&url, &format!("GET {target}"), "").await;
        assert!(form.text().contains("type=\"password\""), "{}", form.text());
        let fields = [("username", user), ("password", password)];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let answer = ask(&url, &format!("POST {target}"), &body).await;
        let Some(back) = answer.header("location") else { return answer };
        let back = url::Url::parse(back).unwrap();
        client.open(&back[url::Position::BeforePath..]).await
    }
}

/// A port that is free, as is the next one. Below the ports of outgoing connections, which come and go.
fn free_pair() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 4096).unwrap();
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (start.wrapping_add(step) % 4096) * 2;
        let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if free(port) && free(port + 1) {
            return SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        }
    }
}

/// One request to the provider, without TLS.
async fn ask(url: &url::Url, line: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(url.socket_addrs(|| None).unwrap().as_slice()).await.unwrap();
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    timeout(PATIENCE, read_answer(&mut stream, false)).await.unwrap()
}

#[tokio::test]
async fn the_demo_lets_in_whom_it_names_and_nobody_else() {
    let demo = Demo::start(TempDir::new().unwrap()).await;
    assert!(demo.words.contains("NOT FOR THE INTERNET"));
    for user in ["alice", "bob"] {
        let mut client = demo.client();
        let wrong = demo.sign_in(&mut client, user, "guessed").await;
        assert_eq!(wrong.status, 403);
        let answer = demo.sign_in(&mut client, user, &demo.password(user)).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/hub/home")), "{}", answer.text());
        let home = client.open("/hub/home").await;
        assert!(home.status == 200 && home.text().contains(user), "{}", home.text());
        let other = if user == "alice" { "bob" } else { "alice" };
        assert_eq!(client.open(&format!("/user/{other}/lab")).await.status, 403);
    }
}

#[tokio::test]
async fn the_demo_signs_nobody_out_when_it_starts_again() {
    let demo = Demo::start(TempDir::new().unwrap()).await;
    let mut client = demo.client();
    demo.sign_in(&mut client, "alice", &demo.password("alice")).await;
    let session = client.cookie("__Host-hubgate").unwrap().to_owned();
    let certificate = fs::read(demo.folder.path().join("certificate.pem")).unwrap();

    let demo = Demo::start(demo.stop().await).await;
    let mut client = demo.client();
    client.set_cookie("__Host-hubgate", &session);
    assert_eq!(client.open("/hub/home").await.status, 200);
    assert_eq!(fs::read(demo.folder.path().join("certificate.pem")).unwrap(), certificate, "trusted once");
}

#[tokio::test]
async fn what_the_demo_keeps_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let demo = Demo::start(TempDir::new().unwrap()).await;
    for name in ["certificate.key", "client-secret", "config.toml"] {
        let mode = fs::metadata(demo.folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    let config = fs::read_to_string(demo.folder.path().join("config.toml")).unwrap();
    for user in ["alice", "bob"] {
        assert!(!config.contains(&demo.password(user)));
    }
}
