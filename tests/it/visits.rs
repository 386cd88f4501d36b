//! Visitors of a workspace that is shared with them: what reaches it, and when that ends.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::client::Client;
use support::eventually::eventually;
use support::hub::{EVERYONE, Hub, PROFILE};
use support::process::USER_DOMAINS;
use url::Url;

use crate::BINARY;
use crate::day::{closed, plain, websocket};
use crate::domains::{ALICE, BOB, Browser, HOME, working};

const ON: &str = "[sharing]\nenabled = true\n";

async fn hub() -> Hub {
    Hub::with(BINARY, &format!("{USER_DOMAINS}{EVERYONE}{PROFILE}{ON}")).await
}

/// Alice's own browser, and what she shares.
struct Alice {
    browser: Browser,
    token: String,
}

impl Alice {
    /// Her server runs.
    async fn working(hub: &Hub) -> Self {
        let mut browser = working(hub, "alice").await;
        let token = browser.at(HOME).make_token(&["shares", "servers"]).await;
        Self { browser, token: format!("token {token}") }
    }

    async fn asks(&self, method: &str, path: &str, body: &Value) -> Value {
        let headers = [("Authorization", self.token.as_str()), ("Content-Type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.browser.new_client().send(method, path, &headers, body.as_bytes()).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }

    async fn shares(&self, body: Value) {
        self.asks("POST", "/hub/api/shares/alice/", &body).await;
    }
}

/// Bob, who has signed in and has been to Alice's host.
async fn bob_at_hers(hub: &Hub) -> Browser {
    let mut bob = Browser::of(hub, "bob").await;
    let (_, answer) = bob.open(&format!("https://{ALICE}/user/alice/lab")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    bob
}

async fn handshake(client: &mut Client, path: &str) -> u16 {
    let origin = format!("https://{}", client.host());
    let headers = [
        ("Origin", origin.as_str()),
        ("Upgrade", "websocket"),
        ("Connection", "upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    client.send("GET", path, &headers, b"").await.status
}

#[tokio::test]
async fn a_visitor_with_full_access_works_in_the_server_under_their_own_name() {
    let hub = hub().await;
    let alice = Alice::working(&hub).await;
    hub.signed_in("bob").await;
    let mut carol = Browser::of(&hub, "carol").await;
    alice.shares(json!({ "user": "bob" })).await;
    let own = hub.last_request("alice").header("authorization").map(str::to_owned);
    let mut bob = bob_at_hers(&hub).await;
    let seen = hub.last_request("alice");
    assert_eq!((seen.header("x-hubgate-user"), seen.header("host")), (Some("bob"), Some(ALICE)));
    assert!(
        own.is_some() && seen.header("authorization") == own.as_deref(),
        "the server's own token, as ever"
    );
    assert!(!seen.header("cookie").is_some_and(|cookies| cookies.contains("hubgate")), "{seen:?}");

    let before = hub.requests("alice");
    for method in ["GET", "PUT", "POST", "DELETE"] {
        assert_eq!(
            bob.at(ALICE).fetch(method, "/user/alice/api/contents/x", b"{}").await.status,
            200,
            "{method}"
        );
    }
    assert_eq!(hub.requests("alice"), before + 4);
    websocket(bob.at(ALICE), "alice").await;
    // To the hub it is another site.
    let from =
        [("Origin", "https://alice.hub.example:8443"), ("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(bob.at(HOME).send("POST", "/hub/home", &from, b"action=stop").await.status, 403);
    // Nobody else comes along.
    let before = hub.requests("alice");
    let (_, answer) = carol.open(&format!("https://{ALICE}/user/alice/lab")).await;
    assert_eq!((answer.status, hub.requests("alice")), (403, before));
}

#[tokio::test]
async fn whoever_may_look_sees_pages_and_files_and_can_change_nothing() {
    let hub = hub().await;
    let alice = Alice::working(&hub).await;
    hub.signed_in("bob").await;
    alice.shares(json!({ "user": "bob", "access": "read" })).await;
    let mut bob = bob_at_hers(&hub).await;
    for path in
        ["lab/tree/a%20b.ipynb?x=y", "api/contents/a", "files/a.png", "api/sessions", "static/x.js", ""]
    {
        let answer = bob.at(ALICE).fetch("GET", &format!("/user/alice/{path}"), b"").await;
        assert_eq!(answer.status, 200, "{path}");
    }
    let before = hub.requests("alice");
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let answer = bob.at(ALICE).fetch(method, "/user/alice/api/contents/a", b"{}").await;
        assert_eq!(answer.status, 403, "{method}");
    }
    // What does something though it is a GET.
    for path in [
        "git-pull?repo=https://x.example/a",
        "git-pull/api",
        "proxy/8050/",
        "rstudio/",
        "terminals/1",
        "api/events/subscribe",
    ] {
        let answer = bob.at(ALICE).open(&format!("/user/alice/{path}")).await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.text().contains("look at this server only"), "{path}: {}", answer.text());
    }
    for path in ["api/kernels/1/channels", "terminals/websocket/1", "lab"] {
        assert_eq!(handshake(bob.at(ALICE), &format!("/user/alice/{path}")).await, 403, "{path}");
    }
    assert_eq!(hub.requests("alice"), before, "the server heard of none of them");
}

#[tokio::test]
async fn what_is_open_for_a_visitor_ends_with_the_share_and_their_own_stays() {
    let hub = hub().await;
    let mut alice = Alice::working(&hub).await;
    working(&hub, "bob").await;
    alice.shares(json!({ "user": "bob" })).await;
    let mut bob = bob_at_hers(&hub).await;
    let (_, answer) = bob.open(&format!("https://{BOB}/user/bob/lab")).await;
    assert_eq!(answer.status, 200);
    let mut own = websocket(bob.at(BOB), "bob").await;
    let mut hers = websocket(alice.browser.at(ALICE), "alice").await;

    let visiting = websocket(bob.at(ALICE), "alice").await;
    alice.shares(json!({ "user": "bob", "access": "read" })).await;
    closed(visiting).await;
    assert_eq!(handshake(bob.at(ALICE), "/user/alice/api/kernels/1/channels").await, 403, "narrowed");

    alice.shares(json!({ "user": "bob", "access": "full" })).await;
    let visiting = websocket(bob.at(ALICE), "alice").await;
    alice.asks("PATCH", "/hub/api/shares/alice/", &json!({ "user": "bob" })).await;
    closed(visiting).await;
    let before = hub.requests("alice");
    let answer = bob.at(ALICE).fetch("GET", "/user/alice/api/contents", b"").await;
    assert_eq!((answer.status, hub.requests("alice")), (403, before), "revoked");

    for socket in [&mut own, &mut hers] {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        socket.write_all(b"\x81\x80\0\0\0\0").await.unwrap();
        assert!(socket.read_u8().await.is_ok(), "what is one's own goes on");
    }
}

#[tokio::test]
async fn a_visit_ends_with_the_visitors_session_too() {
    let hub = hub().await;
    let alice = Alice::working(&hub).await;
    hub.signed_in("bob").await;
    alice.shares(json!({ "user": "bob" })).await;
    let mut bob = bob_at_hers(&hub).await;
    let visiting = websocket(bob.at(ALICE), "alice").await;
    let token = bob.at(HOME).open("/hub/logout").await.field("form_token").unwrap();
    bob.at(HOME).submit("/hub/logout", &[("form_token", &token)]).await;
    closed(visiting).await;
    assert_eq!(bob.at(ALICE).fetch("GET", "/user/alice/api/contents", b"").await.status, 401);
}

#[tokio::test]
async fn whoever_only_looks_does_not_keep_a_server_in_use() {
    // No page asks this by itself.
    const OPENED: &str = "/user/alice/api/contents/a.ipynb?type=notebook";
    let hub = hub().await;
    let mut alice = Alice::working(&hub).await;
    hub.signed_in("bob").await;
    alice.shares(json!({ "user": "bob", "access": "read" })).await;
    let used = async |alice: &Alice| {
        let user = alice.asks("GET", "/hub/api/users/alice", &Value::Null).await;
        user["servers"][""]["last_activity"].as_str().expect("a time").to_owned()
    };
    let mut bob = bob_at_hers(&hub).await;
    let before = used(&alice).await;
    let began = Instant::now();
    let before_his = hub.requests("alice");
    eventually("he looks for more than a second", || {
        let mut bob = bob.clone();
        async move {
            assert_eq!(bob.at(ALICE).fetch("GET", OPENED, b"").await.status, 200);
            began.elapsed() > Duration::from_millis(1100)
        }
    })
    .await;
    assert!(hub.requests("alice") > before_his);
    assert_eq!(used(&alice).await, before);
    // Whoever works in it does, and so does she.
    alice.shares(json!({ "user": "bob", "access": "full" })).await;
    assert_eq!(bob.at(ALICE).fetch("GET", OPENED, b"").await.status, 200);
    let by_bob = used(&alice).await;
    assert!(by_bob > before, "{by_bob} {before}");
    alice.browser.at(ALICE).fetch("GET", OPENED, b"").await;
    assert!(used(&alice).await >= by_bob);
}

#[tokio::test]
async fn a_visitor_starts_nothing() {
    let hub = hub().await;
    let alice = Alice::working(&hub).await;
    hub.signed_in("bob").await;
    alice.shares(json!({ "user": "bob" })).await;
    let mut bob = bob_at_hers(&hub).await;
    alice.asks("DELETE", "/hub/api/users/alice/server", &Value::Null).await;
    hub.until_running(0).await;
    eventually("the end of the server", || {
        let mut bob = bob.clone();
        async move { bob.at(ALICE).fetch("GET", "/user/alice/api/contents", b"").await.status == 424 }
    })
    .await;
    let (_, page) = bob.open(&format!("https://{ALICE}/user/alice/lab")).await;
    assert_eq!(page.status, 424);
    assert!(page.text().contains("alice has shared it with you"), "{}", page.text());
    for spawn in ["/hub/spawn/alice", "/hub/spawn/alice/?profile=lab"] {
        assert_eq!(bob.at(HOME).open(spawn).await.status, 403, "{spawn}");
    }
    hub.until_running(0).await;
}

#[tokio::test]
async fn a_visit_is_to_the_server_that_is_shared_and_to_no_other() {
    let named = "[spawner]\nnamed_servers = 1\n";
    let hub = Hub::with(BINARY, &format!("{USER_DOMAINS}{EVERYONE}{PROFILE}{ON}{named}")).await;
    let alice = Alice::working(&hub).await;
    hub.signed_in("bob").await;
    hub.answer_at("alice", "gpu").await;
    alice.asks("POST", "/hub/api/users/alice/servers/gpu", &json!({ "profile": "lab" })).await;
    alice.asks("POST", "/hub/api/shares/alice/gpu", &json!({ "user": "bob", "access": "read" })).await;
    let mut bob = Browser::of(&hub, "bob").await;
    let answer = bob.until_open(&format!("https://{ALICE}/user/alice/gpu/lab")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(hub.last_request("alice/gpu").header("x-hubgate-user"), Some("bob"));
    let before = hub.requests("alice");
    for path in ["/user/alice/lab", "/user/alice/gpux/lab", "/user/alice/lab/gpu/"] {
        assert_eq!(bob.at(ALICE).fetch("GET", path, b"").await.status, 403, "{path}");
    }
    assert_eq!(bob.at(ALICE).fetch("GET", "/user/alice/gpu/git-pull", b"").await.status, 403);
    assert_eq!(hub.requests("alice"), before, "the other server heard of none of them");
}

#[tokio::test]
async fn a_group_visits_as_long_as_one_is_in_it() {
    let refresh = "[session]\nrefresh_interval = \"1s\"\n";
    let hub = Hub::with(BINARY, &format!("{USER_DOMAINS}{EVERYONE}{PROFILE}{ON}{refresh}")).await;
    let in_lab = json!({ "groups": ["/lab"] });
    hub.signed_in_with("alice", in_lab.clone()).await;
    let alice = Alice::working(&hub).await;
    let lab = hub.signed_in_with("alice", in_lab.clone()).await.make_token(&["shares"]).await;
    let alice = Alice { token: format!("token {lab}"), ..alice };
    alice.shares(json!({ "group": "/lab" })).await;
    let client = hub.signed_in_with("bob", in_lab).await;
    let mut bob = Browser::signed_in(client);
    let (_, answer) = bob.open(&format!("https://{ALICE}/user/alice/lab")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let visiting = websocket(bob.at(ALICE), "alice").await;
    hub.provider().user("bob", json!({ "groups": [] }));
    closed(visiting).await;
    let answer = bob.at(ALICE).fetch("GET", "/user/alice/api/contents", b"").await;
    assert_eq!(answer.status, 403, "{}", answer.text());
}

#[tokio::test]
async fn a_link_leads_to_the_server_it_shares() {
    let hub = hub().await;
    let alice = Alice::working(&hub).await;
    let made = alice.asks("POST", "/hub/api/share-codes/alice/", &json!({ "access": "full" })).await;
    let code = made["code"].as_str().unwrap();
    let mut bob = Browser::of(&hub, "bob").await;
    let page = bob.at(HOME).open(&format!("/hub/accept-share?code={code}")).await;
    let fields = ["form_token", "code"].map(|name| (name, page.field(name).expect("a form")));
    let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = bob.at(HOME).submit("/hub/accept-share", &fields).await;
    let there =
        Url::parse(&format!("https://{HOME}")).unwrap().join(answer.header("location").unwrap()).unwrap();
    let (way, answer) = bob.open(there.as_str()).await;
    assert_eq!(answer.status, 200, "{way:?}");
    assert!(way.last().unwrap().starts_with("alice.hub.example/user/alice/"), "{way:?}");
    let home = bob.at(HOME).open("/hub/home").await.text();
    assert!(home.contains("alice"), "{home}");
}

#[tokio::test]
async fn no_other_site_leads_a_visitor_to_somebody_elses_server_without_a_click() {
    let hub = hub().await;
    let alice = Alice::working(&hub).await;
    hub.signed_in("bob").await;
    alice.shares(json!({ "user": "bob" })).await;
    let lab = "/user/alice/lab?x=1";
    // Any page may send his browser there, hers among them.
    for site in [Some("cross-site"), Some("same-site"), None] {
        let before = hub.requests("alice");
        let mut bob = Browser::of(&hub, "bob").await;
        let mut headers = vec![("Accept", "text/html")];
        if let Some(site) = site {
            headers.extend([("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]);
            headers.push(("Sec-Fetch-Site", site));
        }
        let answer = bob.at(ALICE).send("GET", lab, &headers, b"").await;
        let to_hub = Url::parse(answer.header("location").unwrap()).unwrap();
        let page = bob.at(HOME).send("GET", &to_hub[url::Position::BeforePath..], &headers, b"").await;
        assert_eq!((page.status, page.header("location")), (200, None), "{site:?}");
        assert!(page.text().contains("Open a server of alice?"), "{}", page.text());
        assert_eq!(hub.requests("alice"), before, "her server hears nothing of him");
        let fields = ["form_token", "state", "next"].map(|name| (name, page.field(name).expect("a form")));
        let mut fields: Vec<_> =
            fields.iter().map(|(name, value)| (*name, value.replace("&#x2f;", "/"))).collect();
        // A form of another page's is none.
        let of_home = bob.at(HOME).open("/hub/home").await.field("form_token").unwrap();
        let token = std::mem::replace(&mut fields[0].1, of_home);
        let sent: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(bob.at(HOME).submit("/hub/enter", &sent).await.status, 403);
        fields[0].1 = token;
        let sent: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = bob.at(HOME).submit("/hub/enter", &sent).await;
        let (way, answer) = bob.open(answer.header("location").unwrap()).await;
        assert_eq!((answer.status, way.last().unwrap().as_str()), (200, "alice.hub.example/user/alice/lab"));
        assert_eq!(hub.last_request("alice").header("x-hubgate-user"), Some("bob"));
        // He is not asked again.
        bob.at(ALICE).forget_cookie("__Host-hubgate");
        let answer = bob.at(HOME).send("GET", &to_hub[url::Position::BeforePath..], &headers, b"").await;
        assert_eq!(answer.status, 303);
    }
}

#[tokio::test]
async fn a_program_visits_in_its_owners_name() {
    let hub = hub().await;
    let alice = Alice::working(&hub).await;
    let token = hub.signed_in("bob").await.make_token(&["access:servers"]).await;
    let other = hub.signed_in("bob").await.make_token(&["read:users"]).await;
    alice.shares(json!({ "user": "bob" })).await;
    for (token, expected) in [(&token, 200), (&other, 403)] {
        let authorization = format!("token {token}");
        let headers = [("Authorization", authorization.as_str())];
        let answer = hub.client().at(ALICE).send("POST", "/user/alice/api/contents", &headers, b"{}").await;
        assert_eq!(answer.status, expected, "{}", answer.text());
    }
    let seen = hub.last_request("alice");
    assert_eq!(seen.header("x-hubgate-user"), Some("bob"));
    assert!(!seen.header("authorization").is_some_and(|value| value.contains(&token)), "{seen:?}");
}

#[tokio::test]
async fn an_image_of_jupyterhubs_is_told_which_visitor_comes() {
    for (login, keys) in [("oauth", ""), ("header", "hub_login = \"header\"\n")] {
        let profile = format!("[[profile]]\nname = \"hub\"\nimage = \"hub:1\"\n{keys}");
        let sections =
            format!("{USER_DOMAINS}{EVERYONE}{profile}{ON}[hub_api]\nlisten = \"{{address}}:8081\"\n");
        let hub = Hub::with(BINARY, &sections).await;
        let alice = Alice::working(&hub).await;
        hub.signed_in_with("bob", json!({ "groups": ["secret-project"] })).await;
        let variable = |name: &str| hub.environment_of("alice", name).unwrap();
        let api = Url::parse(&variable("JUPYTERHUB_API_URL")).unwrap();
        let callback = variable("JUPYTERHUB_OAUTH_CALLBACK_URL");
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("client_id", "jupyterhub-user-alice").append_pair("response_type", "code");
        let ask =
            format!("/hub/api/oauth2/authorize?{}", query.append_pair("redirect_uri", &callback).finish());
        let mut stranger = Browser::of(&hub, "bob").await;
        assert_eq!(stranger.at(HOME).open(&ask).await.status, 403, "nothing is shared yet");
        alice.shares(json!({ "user": "bob" })).await;
        let mut bob = bob_at_hers(&hub).await;
        let whose = async |authorization: String| {
            plain(&api, "GET", "/hub/api/user", &authorization, ("", "text/plain")).await
        };
        let token = if login == "header" {
            hub.last_request("alice").header("authorization").unwrap().to_owned()
        } else {
            let answer = bob.at(HOME).open(&ask).await;
            let back = Url::parse(answer.header("location").unwrap()).unwrap();
            let code = back.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
            let form = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs([
                    ("client_id", "jupyterhub-user-alice"),
                    ("client_secret", &variable("JUPYTERHUB_API_TOKEN")),
                    ("grant_type", "authorization_code"),
                    ("code", &code),
                ])
                .finish();
            let body = (form.as_str(), "application/x-www-form-urlencoded");
            let (status, answer) = plain(&api, "POST", "/hub/api/oauth2/token", "", body).await;
            assert_eq!(status, 200, "{answer}");
            format!("token {}", answer["access_token"].as_str().unwrap())
        };
        let (status, answer) = whose(token.clone()).await;
        assert_eq!((status, &answer["name"]), (200, &json!("bob")), "{login}: {answer}");
        let scopes = answer["scopes"].as_array().unwrap();
        assert!(scopes.contains(&json!("access:servers!server=alice/")), "{login}: {answer}");
        // In what groups he is, is no business of hers.
        assert_eq!((&answer["groups"], &answer["admin"]), (&json!([]), &json!(false)), "{login}");
        // It is worth nothing once nothing is shared.
        alice.asks("PATCH", "/hub/api/shares/alice/", &json!({ "user": "bob" })).await;
        assert_eq!(whose(token).await.0, 403, "{login}");
    }
}

#[tokio::test]
async fn whoever_may_look_sees_nothing_of_a_program_that_is_no_jupyter_server() {
    let dashboard = "[[profile]]\nname = \"dashboard\"\nimage = \"lab:1\"\npreset = \"web\"\n";
    let hub = Hub::with(BINARY, &format!("{USER_DOMAINS}{EVERYONE}{dashboard}{ON}")).await;
    let alice = Alice::working(&hub).await;
    hub.signed_in("bob").await;
    alice.shares(json!({ "user": "bob", "access": "read" })).await;
    let mut bob = Browser::of(&hub, "bob").await;
    let before = hub.requests("alice");
    for path in ["", "?action=delete", "files/x", "api/contents"] {
        let (_, answer) = bob.open(&format!("https://{ALICE}/user/alice/{path}")).await;
        assert_eq!((answer.status, hub.requests("alice")), (403, before), "{path}");
    }
    alice.shares(json!({ "user": "bob", "access": "full" })).await;
    let (_, answer) = bob.open(&format!("https://{ALICE}/user/alice/files/x")).await;
    assert_eq!(answer.status, 200);
}
