//! Programs without a browser: they show a code, and a person confirms it.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::client::{Answer, Client};
use support::hub::Hub;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use support::upstream::{Exchange, Upstream};

use super::callers::call;
use crate::BINARY;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const CLIENT: &str = "test tool";

async fn form(hub: &Hub, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = hub.client().send("POST", path, &kind, body.as_bytes()).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

async fn begin(hub: &Hub, scope: &str) -> (u16, Value) {
    form(hub, "/hub/api/oauth2/device_authorization", &[("client_id", CLIENT), ("scope", scope)]).await
}

async fn poll(hub: &Hub, begun: &Value) -> (u16, Value) {
    let code = begun["device_code"].as_str().unwrap();
    form(hub, "/hub/api/oauth2/token", &[("grant_type", GRANT), ("client_id", CLIENT), ("device_code", code)])
        .await
}

/// Opens the page with a code, and answers what it asks.
async fn answer(browser: &mut Client, code: &str, answer: &str) -> Answer {
    let page = browser.open(&format!("/hub/device?user_code={code}")).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let token = page.field("form_token").unwrap();
    browser.submit("/hub/device", &[("form_token", &token), ("user_code", code), ("answer", answer)]).await
}

#[tokio::test]
async fn a_person_lets_a_program_in_that_has_no_browser() {
    let hub = Hub::start(BINARY).await;
    let (status, begun) = begin(&hub, "read:users tokens").await;
    assert_eq!((status, begun["expires_in"].as_u64(), begun["interval"].as_u64()), (200, Some(600), Some(5)));
    let code = begun["user_code"].as_str().unwrap();
    assert_eq!(begun["verification_uri"], format!("{}/hub/device", hub.origin()));
    assert_eq!(begun["verification_uri_complete"], format!("{}/hub/device?user_code={code}", hub.origin()));
    assert_eq!(poll(&hub, &begun).await.1["error"], "authorization_pending");
    assert_eq!(poll(&hub, &begun).await.1["error"], "slow_down");

    let mut alice = hub.client();
    let login = alice.open(&format!("/hub/device?user_code={code}")).await;
    assert_eq!(login.status, 303, "whoever is not signed in signs in first");
    let landed = hub.sign_in_at(&mut alice, "alice", &format!("/hub/device?user_code={code}")).await;
    assert_eq!(landed.header("location"), Some(format!("/hub/device?user_code={code}").as_str()));
    let page = alice.open(&format!("/hub/device?user_code={code}")).await;
    for said in
        [CLIENT, "127.0.0.1", "read what this hub knows of you", "list, make and revoke your tokens", code]
    {
        assert!(page.text().contains(said), "{said}: {}", page.text());
    }
    assert_eq!(answer(&mut alice, code, "allow").await.status, 200);
    let (status, token) = poll(&hub, &begun).await;
    assert_eq!(
        (status, &token["token_type"], &token["scope"]),
        (200, &Value::from("Bearer"), &Value::from("read:users!user tokens!user"))
    );
    let authorization = format!("Bearer {}", token["access_token"].as_str().unwrap());
    let user = call(&hub, "GET", "/hub/api/user", &authorization, "").await;
    assert!(user.status == 200 && user.text().contains("alice"), "{}", user.text());
    assert_eq!(poll(&hub, &begun).await.1["error"], "invalid_grant", "once");
    assert_eq!(alice.open(&format!("/hub/device?user_code={code}")).await.status, 404, "used up");
    assert!(alice.open("/hub/token").await.text().contains("test tool from 127.0.0.1"));
    let log = hub.process().log();
    assert!(!log.contains("hubgate_") && !log.contains(code), "{log}");
}

#[tokio::test]
async fn a_program_hears_a_no_and_nobody_answers_in_anothers_name() {
    let hub = Hub::start(BINARY).await;
    let mut alice = hub.signed_in("alice").await;
    let (_, begun) = begin(&hub, "").await;
    let code = begun["user_code"].as_str().unwrap().to_owned();
    assert_eq!(answer(&mut alice, &code, "deny").await.status, 200);
    assert_eq!(poll(&hub, &begun).await.1["error"], "access_denied");

    let (_, begun) = begin(&hub, "").await;
    let code = begun["user_code"].as_str().unwrap().to_owned();
    let other = alice.open("/hub/logout").await.field("form_token").unwrap();
    for token in ["", "guessed", &other] {
        let fields = [("form_token", token), ("user_code", &code), ("answer", "allow")];
        assert_eq!(alice.submit("/hub/device", &fields).await.status, 403, "{token:?}");
    }
    let page = alice.open("/hub/device").await;
    let token = page.field("form_token").unwrap();
    let body = format!("form_token={token}&user_code={code}&answer=allow");
    for (name, value) in [("Origin", "https://evil.example"), ("Sec-Fetch-Mode", "cors")] {
        let headers = [("Content-Type", "application/x-www-form-urlencoded"), (name, value)];
        assert_eq!(alice.send("POST", "/hub/device", &headers, body.as_bytes()).await.status, 403, "{value}");
    }
    assert_eq!(poll(&hub, &begun).await.1["error"], "authorization_pending");

    // What was confirmed is worth as much as the session that confirmed it.
    answer(&mut alice, &code, "allow").await;
    alice.submit("/hub/logout", &[("form_token", &other)]).await;
    assert_eq!(poll(&hub, &begun).await.1["error"], "access_denied");
}

#[tokio::test]
async fn a_program_asks_for_what_there_is() {
    let hub = Hub::start(BINARY).await;
    assert_eq!(begin(&hub, "nonsense").await.1["error"], "invalid_scope");
    assert_eq!(begin(&hub, "access:servers!user=a/b").await.1["error"], "invalid_scope");
    for client in ["", "<script>", "a\nb", &"x".repeat(65)] {
        let fields = [("client_id", client)];
        let (status, answer) = form(&hub, "/hub/api/oauth2/device_authorization", &fields).await;
        assert_eq!((status, &answer["error"]), (400, &Value::from("invalid_client")), "{client}");
    }
    let (_, begun) = begin(&hub, "read:users admin:users").await;
    let code = begun["user_code"].as_str().unwrap().to_owned();
    let mut alice = hub.signed_in("alice").await;
    let page =
        alice.open(&format!("/hub/device?user_code={}", code.to_lowercase().replace('-', "%20"))).await;
    assert!(
        page.status == 200 && !page.text().contains("manage other users"),
        "no administrator: {}",
        page.text()
    );
    answer(&mut alice, &code, "allow").await;
    assert_eq!(poll(&hub, &begun).await.1["scope"], "read:users!user");

    for fields in [
        &[][..],
        &[("grant_type", "authorization_code"), ("client_id", CLIENT), ("code", "x")],
        &[("grant_type", GRANT), ("device_code", "x")],
        &[("grant_type", GRANT), ("client_id", CLIENT)],
        &[("grant_type", GRANT), ("client_id", CLIENT), ("device_code", "x"), ("device_code", "y")],
        &[("grant_type", GRANT), ("client_id", CLIENT), ("device_code", "'; --")],
    ] {
        let (status, answer) = form(&hub, "/hub/api/oauth2/token", fields).await;
        assert!(status == 400 && answer["error"].is_string(), "{fields:?}: {status} {answer}");
    }
    assert_eq!(hub.client().open("/hub/api/oauth2/token").await.status, 405);
}

#[tokio::test]
async fn codes_are_neither_guessed_nor_piled_up() {
    let hub = Hub::start(BINARY).await;
    let mut alice = hub.signed_in("alice").await;
    let (_, begun) = begin(&hub, "").await;
    let code = begun["user_code"].as_str().unwrap();
    for _ in 0..10 {
        assert_eq!(alice.open("/hub/device?user_code=BBBB-BBBB").await.status, 404);
    }
    assert_eq!(
        alice.open(&format!("/hub/device?user_code={code}")).await.status,
        429,
        "not even the right one"
    );
    let page = alice.open("/hub/device").await;
    let token = page.field("form_token").unwrap();
    let blind = alice
        .submit("/hub/device", &[("form_token", &token), ("user_code", code), ("answer", "allow")])
        .await;
    assert_eq!(blind.status, 429, "nor blindly");
    let mut statuses = Vec::new();
    for _ in 0..25 {
        statuses.push(begin(&hub, "").await.0);
    }
    assert_eq!(
        statuses.iter().filter(|status| **status == 429).count(),
        6,
        "twenty wait at most: {statuses:?}"
    );
}

/// A hub that answers these, one after the other, and the last one for ever.
async fn scripted(answers: Vec<(u16, Value)>) -> Upstream {
    let left = Arc::new(Mutex::new(answers));
    Upstream::with(move |mut exchange: Exchange| {
        let mut left = left.lock().unwrap();
        let (status, body) = if left.len() > 1 { left.remove(0) } else { left[0].clone() };
        drop(left);
        async move {
            exchange.read_body().await?;
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            exchange.write(format!("{head}{body}").as_bytes()).await?;
            Ok(exchange)
        }
    })
    .await
}

fn begun(code: &str) -> Value {
    json!({
        "device_code": "d", "user_code": code, "verification_uri": "https://hub.example/hub/device",
        "expires_in": 30, "interval": 1,
    })
}

async fn login(hub: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(BINARY).args(["login", hub]).args(arguments).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn hubgate_login_waits_for_the_answer_and_writes_the_token_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let hub = scripted(vec![
        (200, begun("WDJB-MJHT")),
        (400, json!({"error": "authorization_pending"})),
        (200, json!({"access_token": "hubgate_secret", "token_type": "Bearer"})),
    ])
    .await;
    let url = format!("http://{}", hub.address());
    let (code, out, err) =
        login(&url, &["--scope", "servers", "--scope", "tokens", "--file", path.to_str().unwrap()]).await;
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    assert!(err.contains("WDJB-MJHT") && err.contains("https://hub.example/hub/device"), "{err}");
    assert!(!err.contains("hubgate_secret"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "hubgate_secret\n");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let asked: Vec<_> =
        hub.requests().iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect();
    assert_eq!(asked[0], "client_id=hubgate+login&scope=servers+tokens");
    assert!(asked[1].contains("device_code=d") && asked.len() == 3, "{asked:?}");
}

#[tokio::test]
async fn hubgate_login_says_why_there_is_no_token() {
    for (answers, said) in [
        (
            vec![(200, begun("A-B")), (400, json!({"error": "access_denied"}))],
            "the answer in the browser was no",
        ),
        (vec![(200, begun("A-B")), (400, json!({"error": "expired_token"}))], "nobody confirmed"),
        (
            vec![(200, begun("A-B")), (400, json!({"error": "invalid_grant"}))],
            "the hub refuses: invalid_grant",
        ),
        (vec![(400, json!({"error": "invalid_scope"}))], "the hub refuses: invalid_scope"),
        (vec![(404, json!({"status": 404}))], "does not let programs in"),
        (vec![(200, begun("\u{1b}[2J"))], "does not let programs in"),
        (vec![(200, json!([]))], "does not let programs in"),
        (vec![(400, json!({"error": "\u{1b}[2J"}))], "does not let programs in"),
        (vec![(500, json!({}))], "cannot be asked"),
    ] {
        let hub = scripted(answers).await;
        let (code, out, err) = login(&format!("http://{}", hub.address()), &["--print"]).await;
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert!(err.contains(said) && err.contains("hint: ") && !err.contains('\u{1b}'), "{said}: {err}");
    }
    for url in
        ["http://hub.example", "https://hub.example/hub", "ftp://hub.example", "https://u:p@hub.example"]
    {
        let (code, _, err) = login(url, &["--print"]).await;
        assert_eq!(code, Some(2), "{url}: {err}");
        assert!(!err.contains("u:p"), "{err}");
    }
    let (code, _, err) = login("https://hub.example", &["--file", "/nowhere/token"]).await;
    assert!(code == Some(1) && err.contains("cannot write /nowhere/token"), "{err}");
    assert_eq!(login("https://hub.example", &[]).await.0, Some(2), "a place for the token is needed");
}

#[tokio::test]
async fn hubgate_login_signs_in_at_a_hub() {
    let hub = Arc::new(Hub::start(BINARY).await);
    let mut alice = hub.signed_in("alice").await;
    // The hub's name is no name of this machine: what goes in between knows where it is.
    let (behind, client) = (Arc::clone(&hub), hub.client());
    let between = Upstream::with(move |mut exchange: Exchange| {
        let (mut client, _hub) = (client.clone(), Arc::clone(&behind));
        async move {
            let body = exchange.read_body().await?;
            let target = exchange.request.target.clone();
            let kind = [("Content-Type", "application/x-www-form-urlencoded")];
            let answer = client.send("POST", &target, &kind, &body).await;
            let body = answer.text().replace("\"interval\":5", "\"interval\":1");
            let head = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n\r\n", answer.status, body.len());
            exchange.write(format!("{head}{body}").as_bytes()).await?;
            Ok(exchange)
        }
    })
    .await;
    let mut program = Command::new(BINARY)
        .args(["login", &format!("http://{}", between.address()), "--print", "--name", CLIENT])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().unwrap();
    let code = first.rsplit(' ').next().unwrap().to_owned();
    assert_eq!(answer(&mut alice, &code, "allow").await.status, 200, "{first}");
    let output = program.wait_with_output().await.unwrap();
    let token = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && token.starts_with("hubgate_"), "{token}");
    let user = call(&hub, "GET", "/hub/api/user", &format!("token {}", token.trim()), "").await;
    assert!(user.status == 200 && user.text().contains("alice"), "{}", user.text());
}
