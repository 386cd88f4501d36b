//! A hub's day, with everything around it scripted: logins, starts, restarts, ends.

use serde_json::{Value, json};
use support::client::Client;
use support::eventually::eventually;
use support::hub::{EVERYONE, Hub, PROFILE, THREE_URLS, path_and_query};
use support::process::JSON_LOG;
use support::provider::Lie;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use url::Url;

use crate::BINARY;

/// Opens a websocket of the user's workspace, and answers the connection.
pub(crate) async fn websocket(client: &Client, user: &str) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
    let mut stream = client.connect(&["http/1.1"]).await;
    let request = format!(
        "GET /user/{user}/api/kernels/1/channels HTTP/1.1\r\nHost: {}\r\nOrigin: {}\r\nCookie: {}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        client.host(),
        format_args!("https://{}", client.host()),
        client.cookies(),
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = support::client::read_answer(&mut stream, true).await;
    assert_eq!(answer.status, 101, "{answer:?}");
    stream
}

/// Waits for the end of a connection; whatever still comes is read.
pub(crate) async fn closed(mut stream: impl AsyncReadExt + Unpin) {
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(support::client::PATIENCE, stream.read_to_end(&mut bytes)).await;
    drop(end.expect("an end in time"));
}

#[tokio::test]
async fn no_lie_of_the_provider_signs_anybody_in_or_starts_anything() {
    let hub = Hub::start(BINARY).await;
    for (lie, status) in [
        (Lie::IdTokenOtherNonce, 403),
        (Lie::IdTokenNoNonce, 403),
        (Lie::IdTokenOtherAudience, 403),
        (Lie::IdTokenOtherIssuer, 403),
        (Lie::IdTokenOtherAzp, 403),
        (Lie::IdTokenBadSignature, 403),
        (Lie::IdTokenNoSignature, 403),
        (Lie::IdTokenAlgorithmNone, 403),
        (Lie::IdTokenMacOfSecret, 403),
        (Lie::IdTokenMacOfPublicKey, 403),
        (Lie::IdTokenExpired, 403),
        (Lie::UserinfoOtherSubject, 403),
        (Lie::UserinfoArray, 403),
        (Lie::TokenNoIdToken, 403),
        (Lie::TokenServerError, 503),
        (Lie::AnswerOtherIss, 400),
        (Lie::AnswerNoIss, 400),
        (Lie::AnswerDenied, 403),
    ] {
        let why = format!("{lie:?}");
        hub.provider().lie(lie);
        let mut client = hub.client();
        let answer = hub.sign_in_at(&mut client, "alice", "/hub/login?next=/user/alice/lab").await;
        hub.provider().be_honest();
        assert_eq!((answer.status, answer.header("location")), (status, None), "{why}: {}", answer.text());
        assert!(answer.text().contains("Request number"), "{why}: a number to ask about");
        assert_eq!(client.cookie("__Host-hubgate"), None, "{why}");
        assert_eq!(client.open("/user/alice/lab").await.status, 303, "{why}: still a stranger");
    }
    assert_eq!(hub.engine().count("POST", "/containers/create"), 0, "nothing was started");
}

#[tokio::test]
async fn only_a_person_who_opens_a_page_is_sent_to_the_login() {
    let hub = Hub::start(BINARY).await;
    let mut client = hub.client();
    for path in ["/", "/hub/home", "/user/alice/lab", "/user/alice/api/contents"] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = client.fetch(method, path, b"").await;
            assert_eq!((answer.status, answer.header("location")), (401, None), "{method} {path}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert!(answer.header("www-authenticate").is_some() && answer.header("set-cookie").is_none());
        }
        let answer = client.open(path).await;
        assert_eq!(answer.status, 303);
        assert!(answer.header("location").unwrap().starts_with("/hub/login?next="), "{path}");
    }
    assert_eq!(hub.engine().count("POST", "/containers/create"), 0, "a stranger starts nothing");
}

#[tokio::test]
async fn several_tabs_sign_in_each_to_its_own_page() {
    let hub = Hub::start(BINARY).await;
    let mut client = hub.client();
    let mut back = Vec::new();
    for path in ["/user/alice/lab/a", "/user/alice/lab/b"] {
        let answer = client.open(&format!("/hub/login?next={path}")).await;
        back.push((path, hub.answer_of_provider(answer.header("location").unwrap(), "alice").await));
    }
    for (path, back) in &back {
        assert_eq!(client.open(back).await.header("location"), Some(*path));
    }
    // The back button: the answer was used up, and the session lives.
    assert_eq!(client.open(&back[0].1).await.header("location"), Some("/"));
    assert_eq!(hub.client().open(&back[0].1).await.status, 400, "in another browser it is nothing");
}

#[tokio::test]
async fn a_browser_keeps_few_logins_that_were_begun() {
    let hub = Hub::start(BINARY).await;
    let mut client = hub.client();
    let mut last = String::new();
    for _ in 0..20 {
        last = client.open("/hub/login").await.header("location").unwrap().to_owned();
    }
    assert!(client.cookies().matches("__Host-hubgate-login-").count() <= 5, "{}", client.cookies());
    let back = hub.answer_of_provider(&last, "alice").await;
    assert_eq!(client.open(&back).await.status, 303, "the newest can be finished");
}

#[tokio::test]
async fn a_login_changes_the_session_id_and_ends_the_old_one() {
    let hub = Hub::start(BINARY).await;
    let mut client = hub.signed_in("alice").await;
    let old = client.clone();
    client.set_cookie("__Host-hubgate-unused", "x");
    let back = {
        let answer = hub.client().open("/hub/login").await;
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let (name, value) = cookie.split_once('=').unwrap();
        client.set_cookie(name, value);
        hub.answer_of_provider(answer.header("location").unwrap(), "alice").await
    };
    assert_eq!(client.open(&back).await.status, 303);
    assert_ne!(client.cookie("__Host-hubgate"), old.cookie("__Host-hubgate"));
    assert_eq!(old.clone().fetch("GET", "/hub/home", b"").await.status, 401, "the old id is worth nothing");
    assert_eq!(client.fetch("GET", "/hub/home", b"").await.status, 200);
}

#[tokio::test]
async fn the_second_of_two_people_with_one_name_is_refused_and_the_log_says_why() {
    let hub = Hub::start(BINARY).await;
    hub.signed_in("alice").await;
    let answer = hub.sign_in_at(&mut hub.client(), "ALICE", "/hub/login").await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("Your user name is taken"));
    hub.process().until_logged("belongs to another account of the provider").await;
    hub.process().until_logged("rename one of the accounts").await;
    hub.signed_in("alice").await;
}

#[tokio::test]
async fn nobody_enters_whom_no_rule_lets_in() {
    let rules = format!("[[rule]]\nrealm_roles = [\"hub-user\"]\n{PROFILE}");
    let hub = Hub::with(BINARY, &rules).await;
    let answer = hub.sign_in_at(&mut hub.client(), "mallory", "/hub/login").await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("You are not allowed in"), "{}", answer.text());
    hub.process().until_logged("no rule lets mallory in").await;
}

#[tokio::test]
async fn however_many_tabs_ask_there_is_one_start_and_it_outlives_them() {
    let hub = Hub::start(BINARY).await;
    hub.engine().hold("/start");
    let alice = hub.signed_in("alice").await;
    let asking = (0..30).map(|_| {
        let mut tab = alice.clone();
        async move { tab.open("/user/alice/lab").await }
    });
    for answer in futures_util::future::join_all(asking).await {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains("Your server is starting") && answer.header("refresh").is_some());
    }
    // Every tab is closed by now.
    hub.engine().release("/start");
    hub.until_running(1).await;
    assert_eq!(hub.engine().count("POST", "/containers/create"), 1);
    hub.run_workspace("alice").await;
    assert_eq!(hub.engine().containers().iter().filter(|c| c.name == "hubgate-alice").count(), 1);
}

#[tokio::test]
async fn the_home_page_looks_again_until_a_stop_is_done() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let home = alice.open("/hub/home").await;
    assert_eq!(home.header("refresh"), None, "nothing is under way");
    hub.engine().hold("/stop");
    let token = home.field("form_token").unwrap();
    assert_eq!(alice.submit("/hub/home", &[("form_token", &token), ("action", "stop")]).await.status, 303);
    let home = alice.open("/hub/home").await;
    assert!(home.text().contains("Your server is stopping") && home.header("refresh").is_some());
    hub.engine().release("/stop");
    hub.until_running(0).await;
    eventually("a home page from which to start again", || {
        let mut alice = alice.clone();
        async move { alice.open("/hub/home").await.text().contains("Start ") }
    })
    .await;
    assert_eq!(alice.open("/hub/home").await.header("refresh"), None);
}

#[tokio::test]
async fn a_crash_signs_nobody_out_and_what_runs_is_adopted() {
    let mut hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let created = hub.engine().count("POST", "/containers/create");
    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    eventually("alice's workspace again", || {
        let mut alice = alice.clone();
        async move { alice.fetch("GET", "/user/alice/x", b"").await.status == 200 }
    })
    .await;
    assert_eq!(alice.fetch("GET", "/hub/home", b"").await.status, 200, "nobody signs in again");
    assert_eq!(hub.engine().count("POST", "/containers/create"), created, "nothing was started anew");
}

#[tokio::test]
async fn a_session_that_ends_takes_its_websockets_along() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let other = hub.signed_in("alice").await;
    let (gone, mut stays) = (websocket(&alice, "alice").await, websocket(&other, "alice").await);
    let page = alice.open("/hub/logout").await;
    assert_eq!(page.status, 200, "GET only asks");
    let token = page.field("form_token").unwrap();
    assert_eq!(alice.clone().submit("/hub/logout", &[("form_token", "wrong")]).await.status, 403);
    let answer = alice.submit("/hub/logout", &[("form_token", &token)]).await;
    let provider = Url::parse(answer.header("location").unwrap()).unwrap();
    let parameter =
        |name: &str| provider.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    assert!(parameter("id_token_hint").is_some());
    assert_eq!(parameter("post_logout_redirect_uri"), Some(format!("{}/hub/logout", hub.origin())));
    closed(gone).await;
    stays.write_all(&support::upstream::frame(0x81, b"still here")).await.unwrap();
    assert!(stays.read_u8().await.is_ok(), "another session's websocket goes on");
    assert_eq!(alice.fetch("GET", "/user/alice/x", b"").await.status, 401);
}

#[tokio::test]
async fn a_workspace_that_dies_is_noticed() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let name = hub.container_of("alice").name;
    hub.engine().die(&name, 137, true);
    eventually("the death noticed", || {
        let mut alice = alice.clone();
        async move { alice.fetch("GET", "/user/alice/x", b"").await.status == 424 }
    })
    .await;
    hub.process().until_logged("workspace died").await;
    assert!(alice.open("/hub/home").await.text().contains("Your server is not running"));
}

#[tokio::test]
async fn a_user_starts_only_what_a_rule_grants() {
    let sections = format!(
        "[[rule]]\neveryone = true\nprofiles = [\"lab\", \"small\"]\n{PROFILE}\
         [[profile]]\nname = \"small\"\nimage = \"other:1\"\n[[profile]]\nname = \"secret\"\nimage = \"hub:1\"\n"
    );
    let hub = Hub::with(BINARY, &sections).await;
    let mut alice = hub.signed_in("alice").await;
    let answer = alice.open("/user/alice/lab").await;
    assert_eq!(answer.header("location"), Some("/hub/spawn?next=%2Fuser%2Falice%2Flab"), "there is a choice");
    let page = alice.open("/hub/spawn?next=%2Fuser%2Falice%2Flab").await;
    let token = page.field("form_token").unwrap();
    assert!(!page.text().contains("secret"), "{}", page.text());
    for profile in ["secret", "hub:1", "", "evil/root:latest"] {
        let fields = [("profile", profile), ("form_token", token.as_str()), ("image", "evil/root")];
        assert_eq!(alice.submit("/hub/spawn", &fields).await.status, 403, "{profile}");
    }
    assert_eq!(hub.engine().count("POST", "/containers/create"), 0);
    let answer = alice
        .submit("/hub/spawn", &[("profile", "small"), ("form_token", &token), ("next", "//evil.com")])
        .await;
    assert_eq!(answer.header("location"), Some("/user/alice/lab"));
    hub.until_running(1).await;
    assert_eq!(hub.container_of("alice").image, "other:1");
}

#[tokio::test]
async fn an_unchanged_jupyterhub_image_finds_the_hub_it_expects() {
    let sections = format!(
        "{EVERYONE}[[profile]]\nname = \"hub\"\nimage = \"hub:1\"\n[hub_api]\nlisten = \"{{address}}:8081\"\n"
    );
    let hub = Hub::with(BINARY, &sections).await;
    hub.run_workspace("alice").await;
    let variable = |name: &str| hub.environment_of("alice", name).unwrap();
    let api = Url::parse(&variable("JUPYTERHUB_API_URL")).unwrap();
    let own = format!("token {}", variable("JUPYTERHUB_API_TOKEN"));
    let ask = async |method: &str, path: &str, authorization: &str, form: &str| -> (u16, Value) {
        let body = (
            form,
            if form.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" },
        );
        plain(&api, method, path, authorization, body).await
    };

    let (status, hello) = ask("GET", "/hub/api", "", "").await;
    assert!(status == 200 && hello["version"].is_string());

    let mut alice = hub.signed_in("alice").await;
    let query = "client_id=jupyterhub-user-alice&redirect_uri=%2Fuser%2Falice%2Foauth_callback&response_type=code&state=s1";
    let answer = alice.open(&format!("/hub/api/oauth2/authorize?{query}")).await;
    let back = Url::parse(&hub.origin()).unwrap().join(answer.header("location").unwrap()).unwrap();
    assert!(path_and_query(back.as_str()).starts_with("/user/alice/oauth_callback?code="), "{back}");
    let code = back.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();

    let redeem = format!(
        "client_id=jupyterhub-user-alice&client_secret={}&grant_type=authorization_code&code={code}&redirect_uri=%2Fuser%2Falice%2Foauth_callback",
        variable("JUPYTERHUB_API_TOKEN"),
    );
    let wrong = redeem.replace("client_secret=", "client_secret=x");
    assert_eq!(ask("POST", "/hub/api/oauth2/token", "", &wrong).await.0, 400);
    let (status, token) = ask("POST", "/hub/api/oauth2/token", "", &redeem).await;
    assert_eq!(status, 200, "{token}");
    assert_eq!(
        ask("POST", "/hub/api/oauth2/token", "", &redeem).await,
        (400, json!({"error": "invalid_grant"}))
    );

    let bearer = format!("token {}", token["access_token"].as_str().unwrap());
    let (status, user) = ask("GET", "/hub/api/user", &bearer, "").await;
    assert_eq!((status, &user["name"]), (200, &json!("alice")));
    assert!(user["scopes"].as_array().unwrap().contains(&json!("access:servers!server=alice/")));
    assert_eq!(ask("GET", "/hub/api/user", "token nobody", "").await.0, 403);

    let activity = json!({"servers": {"": {"last_activity": "2026-01-01T00:00:00Z"}}, "last_activity": "2026-01-01T00:00:00Z"});
    assert_eq!(ask("POST", "/hub/api/users/alice/activity", &own, &activity.to_string()).await.0, 200);
    assert_eq!(ask("POST", "/hub/api/users/bob/activity", &own, &activity.to_string()).await.0, 404);
    assert_eq!(ask("POST", "/hub/api/users/alice/activity", &bearer, &activity.to_string()).await.0, 403);

    // Somebody else's container is nobody's to enter.
    let mut bob = hub.signed_in("bob").await;
    assert_eq!(bob.open(&format!("/hub/api/oauth2/authorize?{query}")).await.status, 403);
    // And the token dies with the session.
    let form_token = alice.open("/hub/logout").await.field("form_token").unwrap();
    alice.submit("/hub/logout", &[("form_token", &form_token)]).await;
    assert_eq!(ask("GET", "/hub/api/user", &bearer, "").await.0, 403);
}

#[tokio::test]
async fn while_the_provider_is_away_whoever_is_signed_in_is_told_and_works_on_for_a_stated_time() {
    let session = "[session]\nrefresh_interval = \"1s\"\noutage_grace = \"6s\"\n";
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{PROFILE}{session}")).await;
    hub.run_workspace("alice").await;
    let alice = hub.signed_in("alice").await;
    let home = || {
        let mut alice = alice.clone();
        async move { alice.open("/hub/home").await }
    };
    assert!(!home().await.text().contains("The login service does not answer"));
    hub.provider().stop();
    eventually("the home page says so", || async {
        home().await.text().contains("The login service does not answer. You can go on working for")
    })
    .await;
    assert_eq!(alice.clone().fetch("GET", "/user/alice/x", b"").await.status, 200, "her work goes on");
    let stranger = hub.client().open("/hub/login").await;
    assert_eq!(stranger.status, 503);
    assert!(stranger.text().contains("Signing in is not possible right now"), "{}", stranger.text());

    eventually("the time is over", || async { home().await.status == 503 }).await;
    assert!(home().await.text().contains("has been away for too long"));
    assert_eq!(alice.clone().fetch("GET", "/user/alice/x", b"").await.status, 503);
    hub.provider().restart().await;
    eventually("she is in again, without a login", || async { home().await.status == 200 }).await;
}

/// A request of a container: no TLS, JSON comes back.
pub(crate) async fn plain(
    api: &Url,
    method: &str,
    path: &str,
    authorization: &str,
    (body, kind): (&str, &str),
) -> (u16, Value) {
    let address = api.socket_addrs(|| None).unwrap()[0];
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let authorization =
        if authorization.is_empty() { String::new() } else { format!("Authorization: {authorization}\r\n") };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{authorization}Content-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = support::client::read_answer(&mut stream, false).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn nothing_secret_is_in_any_log() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    alice.fetch("GET", "/user/alice/x?token=query-canary", b"").await;
    alice.open("/hub/login?next=/query-canary").await;
    hub.provider().lie(Lie::IdTokenBadSignature);
    hub.sign_in_at(&mut hub.client(), "alice", "/hub/login").await;
    hub.process().until_logged("cannot be trusted").await;
    let log = hub.process().log();
    let token = hub.environment_of("alice", "JUPYTER_TOKEN").unwrap();
    for (name, secret) in [
        ("session id", alice.cookie("__Host-hubgate").unwrap()),
        ("workspace token", token.as_str()),
        ("query", "query-canary"),
        ("client secret", support::provider::Provider::CLIENT_SECRET),
        ("token", "eyJ"),
        ("code", "code="),
    ] {
        assert!(!log.contains(secret), "{name} in the log: {log}");
    }
    let requests = log.lines().filter(|line| line.contains("hubgate::access")).count();
    assert!(requests > 5, "one line a request");
}

#[tokio::test]
async fn a_provider_that_comes_late_is_found_without_a_restart() {
    let hub = Hub::start(BINARY).await;
    hub.provider().stop();
    let mut client = hub.client();
    // What is known of it is kept; a login fails where it needs the provider itself.
    let location = client.open("/hub/login").await.header("location").map(str::to_owned);
    assert!(location.is_some_and(|location| location.starts_with(&hub.provider().issuer())));
    hub.provider().restart().await;
    hub.signed_in("alice").await;
}

#[tokio::test]
async fn a_provider_that_has_another_name_signs_everybody_in_again_as_who_they_were() {
    let mut hub = Hub::start(BINARY).await;
    let mut alice = hub.signed_in("alice").await;
    let (old, new) = (hub.provider().issuer(), hub.provider().issuer().replace("/realms", "/auth/realms"));
    hub.provider().below("/auth");
    let path = hub.folder().join("config.toml");
    let config = std::fs::read_to_string(&path).unwrap().replace(&old, &new);
    std::fs::write(&path, &config).unwrap();
    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    hub.process().until_ready().await;
    assert_eq!(alice.open("/hub/home").await.status, 303, "the word of another provider is not taken");
    let answer = hub.sign_in_at(&mut alice, "alice", "/hub/home").await;
    assert_eq!(answer.status, 403, "nobody of a provider that is not said to be the same gets a name");

    let known = config.replace("client_id =", &format!("former_issuers = [\"{old}\"]\nclient_id ="));
    std::fs::write(&path, known).unwrap();
    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    hub.process().until_ready().await;
    let answer = hub.sign_in_at(&mut alice, "alice", "/hub/home").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/hub/home")), "{}", answer.text());
    assert!(alice.open("/hub/home").await.text().contains("alice"));
}

#[tokio::test]
async fn three_urls_describe_a_provider_as_well_and_the_log_can_be_json() {
    let hub = Hub::with(BINARY, &format!("{THREE_URLS}{JSON_LOG}{EVERYONE}{PROFILE}")).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    assert_eq!(alice.fetch("GET", "/user/alice/x?canary", b"").await.status, 200);
    hub.process().until_logged("workspace ready").await;
    let log = hub.process().log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let requests = lines.iter().filter(|line| line["target"] == "hubgate::access");
    let of_alice = requests.filter(|line| line["user"] == "alice" && line["route"] == "workspace");
    assert!(of_alice.count() > 0, "one object a request: {log}");
    assert!(!log.contains("canary"));
}
