//! What administrators type on the hub's machine: the admin socket, and the commands over it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use support::client::read_answer;
use support::hub::Hub;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::BINARY;
use crate::callers::call;
use crate::socket::Socket;

/// What a command printed, and how it ended.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) async fn run(arguments: &[&str]) -> Said {
    let output = Command::new(BINARY).args(arguments).stdin(Stdio::null()).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A command about this hub, by its configuration.
pub(crate) async fn operate(hub: &Hub, arguments: &[&str]) -> Said {
    let config = hub.folder().join("config.toml").display().to_string();
    let mut all = arguments.to_vec();
    all.extend(["--config", &config]);
    run(&all).await
}

/// The same, which must go well; its JSON.
pub(crate) async fn json(hub: &Hub, arguments: &[&str]) -> Value {
    let mut all = arguments.to_vec();
    all.push("--json");
    let said = operate(hub, &all).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

/// The sessions of one user, by their short ids.
async fn sessions(hub: &Hub, user: &str) -> Vec<String> {
    let list = json(hub, &["session", "list", "--user", user]).await;
    let ids = list.as_array().unwrap().iter().map(|session| session["id"].as_str().unwrap().to_owned());
    ids.collect()
}

#[tokio::test]
async fn a_session_that_an_administrator_ends_takes_its_websockets_along() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let before = sessions(&hub, "alice").await;
    let gone = Socket::open(&hub, "alice").await;
    let with_one = sessions(&hub, "alice").await;
    let mut stays = Socket::open(&hub, "alice").await;
    let id = with_one.iter().find(|id| !before.contains(id)).unwrap();
    let list = operate(&hub, &["session", "list"]).await.out;
    let row = list.lines().find(|line| line.starts_with(id.as_str())).unwrap_or_else(|| panic!("{list}"));
    assert!(row.contains("alice  main") && row.ends_with("Z  1"), "one websocket is open: {row}");

    let said = operate(&hub, &["session", "end", id]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(0), "1 session ended\n"), "{}", said.err);
    gone.until_closed().await;
    stays.echo("another session of hers goes on").await;
    let left = sessions(&hub, "alice").await;
    assert!(!left.contains(id) && left.len() == before.len() + 1, "{left:?}");
    let uid = rustix::process::geteuid().as_raw();
    hub.process().until_logged("an administrator ended a session").await;
    let log = hub.process().log();
    let line = log.lines().find(|line| line.contains("an administrator ended a session")).unwrap();
    for told in ["session_ended", "user=alice", &format!("session={id}"), &format!("by=uid {uid}")] {
        assert!(line.contains(told), "{told} in {line}");
    }
}

#[tokio::test]
async fn all_sessions_of_a_user_end_and_nobody_elses() {
    let hub = Hub::start(BINARY).await;
    for user in ["alice", "alice2"] {
        hub.run_workspace(user).await;
    }
    let (mut alice, mut other) = (hub.signed_in("alice").await, hub.signed_in("alice2").await);
    let (one, two) = (Socket::open(&hub, "alice").await, Socket::open(&hub, "alice").await);
    let mut stays = Socket::open(&hub, "alice2").await;
    let count = sessions(&hub, "alice").await.len();
    let said = operate(&hub, &["session", "end", "--user", "Alice"]).await;
    assert_eq!((said.code, said.out), (Some(0), format!("{count} sessions ended\n")), "{}", said.err);
    one.until_closed().await;
    two.until_closed().await;
    assert_eq!(alice.fetch("GET", "/hub/home", b"").await.status, 401);
    assert_eq!(other.fetch("GET", "/hub/home", b"").await.status, 200);
    stays.echo("her neighbour goes on").await;
    assert_eq!(sessions(&hub, "alice").await.len(), 0);
    let again = operate(&hub, &["session", "end", "--user", "alice"]).await;
    assert_eq!((again.code, again.out.as_str()), (Some(0), "nobody of that name is signed in\n"));
}

#[tokio::test]
async fn a_session_that_was_ended_stays_ended_after_a_crash() {
    let mut hub = Hub::start(BINARY).await;
    let mut alice = hub.signed_in("alice").await;
    let id = sessions(&hub, "alice").await.pop().unwrap();
    assert_eq!(operate(&hub, &["session", "end", &id]).await.code, Some(0));
    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    assert_eq!(alice.fetch("GET", "/hub/home", b"").await.status, 401);
    assert_eq!(sessions(&hub, "alice").await.len(), 0, "the socket that the crash left was replaced");
}

#[tokio::test]
async fn the_admin_socket_is_for_root_and_hubgates_user_alone() {
    let hub = Hub::start(BINARY).await;
    let path = hub.folder().join("admin.sock");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!hub.process().log().contains("admin_refused"));
    // Root can become somebody else; others cannot try.
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(hub.folder(), fs::Permissions::from_mode(0o755)).unwrap();
        let folder = TempDir::new_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = folder.path().join("hubgate");
        fs::copy(BINARY, &program).unwrap();
        let list = |uid| {
            let mut list = Command::new(&program);
            list.args(["session", "list", "--socket"]).arg(&path).uid(uid);
            list
        };
        assert_eq!(list(0).output().await.unwrap().status.code(), Some(0));
        let output = list(65_534).output().await.unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
        hub.process().until_logged("admin_refused").await;
        assert!(hub.process().log().contains("by=uid 65534"));
    }
}

#[tokio::test]
async fn one_hub_has_the_socket_and_a_second_says_so() {
    let hub = Hub::start(BINARY).await;
    let folder = TempDir::new().unwrap();
    let config = crate::cli::write(folder.path(), 0, "");
    let text = fs::read_to_string(&config).unwrap();
    let own = folder.path().join("admin.sock").display().to_string();
    let taken = hub.folder().join("admin.sock").display().to_string();
    fs::write(&config, text.replace(&own, &taken)).unwrap();
    let said = run(&["serve", "--config", &config]).await;
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains(&format!("caused by: another program answers on {taken}\n")), "{}", said.err);
    assert!(said.err.contains("\n  hint: stop the hubgate that runs already"), "{}", said.err);
    assert_eq!(operate(&hub, &["session", "list"]).await.code, Some(0), "the first keeps it");
}

#[tokio::test]
async fn a_command_that_reaches_no_hub_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("admin.sock").display().to_string();
    let said = run(&["session", "list", "--socket", &socket]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    assert!(
        said.err.starts_with(&format!("error: cannot reach hubgate at {socket}\n  caused by: ")),
        "{}",
        said.err
    );
    assert!(said.err.contains("\n  hint: hubgate does not run, or this is not its socket: "), "{}", said.err);
    // It is there, and nobody is behind it.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert_eq!(run(&["session", "list", "--socket", &socket]).await.code, Some(1));

    let config = crate::cli::write(folder.path(), 0, "");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(&format!("\"{socket}\""), "\"off\"")).unwrap();
    let said = run(&["session", "list", "--config", &config]).await;
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("has admin.socket = \"off\""), "{}", said.err);
    let said = run(&["session", "list", "--config", "/nowhere/config.toml"]).await;
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("cannot read /nowhere/config.toml"), "{}", said.err);
}

#[tokio::test]
async fn what_is_nobodys_id_ends_nothing() {
    let hub = Hub::start(BINARY).await;
    hub.signed_in("alice").await;
    for (id, code, told) in [
        ("000000000000", 1, "error: there is no session 000000000000\n  hint: `hubgate session list`"),
        ("alice", 2, "error: \"alice\" is no session's id\n"),
        ("", 2, "error: \"\" is no session's id\n"),
    ] {
        let said = operate(&hub, &["session", "end", id]).await;
        assert_eq!(said.code, Some(code), "{id}: {}", said.err);
        assert!(said.err.contains(told), "{id}: {}", said.err);
    }
    let said = operate(&hub, &["session", "end", "--user", "../alice"]).await;
    assert_eq!(said.code, Some(2), "{}", said.err);
    let said = operate(&hub, &["session", "end"]).await;
    assert_eq!(said.code, Some(2), "neither one nor all of somebody");
    assert_eq!(sessions(&hub, "alice").await.len(), 1);
}

/// Sends bytes as they are; the answer's status, 0 for none.
async fn raw(socket: &Path, bytes: &[u8]) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // Whoever is refused may be hung up on before all of it is sent.
    drop(stream.write_all(bytes).await);
    let answer = read_answer(&mut stream, false).await;
    (answer.status, answer.text())
}

#[tokio::test]
async fn whatever_comes_over_the_admin_socket_does_no_harm() {
    let hub = Hub::start(BINARY).await;
    hub.signed_in("alice").await;
    let socket = hub.folder().join("admin.sock");
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
    let body = "x".repeat(70_000);
    let large =
        format!("DELETE /sessions/0 HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    for (bytes, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00"[..], 400),
        (b"GET /users/..%2f/sessions HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /users/%ff/sessions HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"PATCH / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"DELETE /users/alice/sessions/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (long.as_bytes(), 431),
        (large.as_bytes(), 400),
    ] {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        let (found, text) = raw(&socket, bytes).await;
        assert!(found == status || (status == 431 && found == 414), "{start:?}: {found} {text}");
    }
    // Others who say nothing are no reason to wait for long.
    let idle: Vec<_> = futures_util::future::join_all((0..16).map(|_| UnixStream::connect(&socket))).await;
    assert_eq!(sessions(&hub, "alice").await.len(), 1);
    drop(idle);
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_from_the_command_line() {
    let hub = Hub::start(BINARY).await;
    let mut alice = hub.signed_in("alice").await;
    let own = alice.make_token(&["read:users"]).await;
    let said = operate(
        &hub,
        &[
            "token",
            "create",
            "--user",
            "Alice",
            "--note",
            "nightly",
            "--lifetime",
            "1h",
            "--scope",
            "servers",
        ],
    )
    .await;
    let token = said.out.trim().to_owned();
    assert!(said.code == Some(0) && token.starts_with("hubgate_"), "{}", said.err);
    assert_eq!(said.out, format!("{token}\n"), "nothing else, for scripts");
    let authorization = format!("token {token}");
    let answer = call(&hub, "GET", "/hub/api/user", &authorization, "").await;
    assert!(answer.status == 200 && answer.text().contains("servers!user=alice"), "{}", answer.text());

    let list = json(&hub, &["token", "list", "--user", "alice"]).await;
    let nightly = list.as_array().unwrap().iter().find(|token| token["note"] == "nightly").unwrap();
    assert_eq!((&nightly["user"], &nightly["scopes"]), (&json!("alice"), &json!(["servers!user"])));
    assert!(nightly["last_used"].is_string());
    let words = operate(&hub, &["token", "list"]).await.out;
    assert!(words.contains("nightly") && !words.contains(&token) && !words.contains(&own), "{words}");

    let id = nightly["id"].as_str().unwrap();
    let said = operate(&hub, &["token", "revoke", id]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(0), "1 token revoked\n"), "{}", said.err);
    assert_eq!(call(&hub, "GET", "/hub/api/user", &authorization, "").await.status, 403);
    let own = format!("token {own}");
    assert_eq!(call(&hub, "GET", "/hub/api/user", &own, "").await.status, 200, "only the one");
    let said = operate(&hub, &["token", "revoke", "--user", "alice"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(0), "1 token revoked\n"));
    assert_eq!(call(&hub, "GET", "/hub/api/user", &own, "").await.status, 403);
    let log = hub.process().log();
    assert!(log.contains("api_token_ordered") && log.contains("by=uid ") && !log.contains(&token), "{log}");
}

#[tokio::test]
async fn no_token_is_made_that_its_owner_could_not_have() {
    let hub = Hub::start(BINARY).await;
    hub.signed_in("alice").await;
    for (arguments, code, told) in [
        (
            &["--scope", "admin:users"][..],
            1,
            "alice cannot give away these scopes\n  hint: `hubgate explain`",
        ),
        (&["--scope", "everything"], 1, "there is no such scope\n  hint: the scopes are access:servers, "),
        (&["--lifetime", "9years"], 1, "at most 7776000s\n  hint: choose a shorter time"),
        (&["--lifetime", "0s"], 1, "a token lives from now on"),
        (&["--lifetime", "7"], 2, "write it with its unit"),
        (&["--note", "a\nb"], 1, "the note cannot be kept\n  hint: write one line"),
    ] {
        let mut all = vec!["token", "create", "--user", "alice"];
        all.extend(arguments);
        let said = operate(&hub, &all).await;
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{arguments:?}: {}", said.err);
        assert!(said.err.contains(told), "{arguments:?}: {}", said.err);
    }
    let said = operate(&hub, &["token", "create", "--user", "alic"]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.starts_with("error: nobody called alic has been here; there is alice\n"),
        "{}",
        said.err
    );
    let said = operate(&hub, &["token", "revoke", "a0000000000000000"]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.starts_with("error: there is no token a0000000000000000 that is in force\n"),
        "{}",
        said.err
    );
    assert_eq!(operate(&hub, &["token", "revoke", "x"]).await.code, Some(2));
    assert_eq!(json(&hub, &["token", "list"]).await, json!([]));
}
