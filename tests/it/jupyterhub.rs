//! What images made for a JupyterHub may expect, one behaviour at a time; `docs/jupyterhub.md` has the list.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use support::client::{Answer, Client};
use support::docker::State;
use support::eventually::eventually;
use support::hub::{EVERYONE, Hub, PROFILE};
use url::Url;

use super::BINARY;
use crate::callers::call;
use crate::day::plain;

const CALLBACK: &str = "/user/alice/oauth_callback";

/// A hub with one profile in mode `hub`, which has these keys besides.
async fn hub_with(keys: &str) -> Hub {
    let profile = format!("[[profile]]\nname = \"hub\"\nimage = \"hub:1\"\n{keys}\n");
    Hub::with(BINARY, &format!("{EVERYONE}{profile}[hub_api]\nlisten = \"{{address}}:8081\"\n")).await
}

/// Alice's container, as the hub knows it.
struct Container {
    api: Url,
    token: String,
}

impl Container {
    async fn of_alice(hub: &Hub) -> Self {
        hub.run_workspace("alice").await;
        let variable = |name: &str| hub.environment_of("alice", name).unwrap();
        let api = Url::parse(&variable("JUPYTERHUB_API_URL")).unwrap();
        Self { api, token: variable("JUPYTERHUB_API_TOKEN") }
    }

    async fn whose(&self, authorization: &str) -> (u16, Value) {
        plain(&self.api, "GET", "/hub/api/user", authorization, ("", "text/plain")).await
    }

    async fn redeem(&self, code: &str, more: &[(&str, &str)]) -> (u16, Value) {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("client_id", "jupyterhub-user-alice"),
                ("client_secret", self.token.as_str()),
                ("grant_type", "authorization_code"),
                ("redirect_uri", CALLBACK),
                ("code", code),
            ])
            .extend_pairs(more)
            .finish();
        let body = (form.as_str(), "application/x-www-form-urlencoded");
        plain(&self.api, "POST", "/hub/api/oauth2/token", "", body).await
    }

    async fn report(&self, path: &str, body: &Value) -> (u16, Value) {
        let own = format!("token {}", self.token);
        plain(&self.api, "POST", path, &own, (&body.to_string(), "application/json")).await
    }
}

/// Where the container sends a browser, but for what `change` replaces.
fn authorize(change: &[(&str, &str)]) -> String {
    let mut pairs = vec![
        ("client_id", "jupyterhub-user-alice"),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("state", "s1"),
    ];
    for (name, value) in change {
        pairs.retain(|(kept, _)| kept != name);
        pairs.push((name, value));
    }
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("/hub/api/oauth2/authorize?{query}")
}

/// The code that a browser goes back with.
fn code(answer: &Answer) -> String {
    let location = answer.header("location").unwrap_or_else(|| panic!("{} {}", answer.status, answer.text()));
    let url = Url::parse("https://hub.example").unwrap().join(location).unwrap();
    assert_eq!(url.path(), CALLBACK);
    url.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned()
}

#[tokio::test]
async fn a_code_goes_back_only_to_where_its_container_is() {
    let hub = hub_with("").await;
    Container::of_alice(&hub).await;
    let mut alice = hub.signed_in("alice").await;
    for (name, value) in [
        ("redirect_uri", "/user/alice/oauth_callback/"),
        ("redirect_uri", "/user/alice/oauth_callback?x"),
        ("redirect_uri", "/user/bob/oauth_callback"),
        ("redirect_uri", "//evil.example/user/alice/oauth_callback"),
        ("redirect_uri", "https://evil.example/user/alice/oauth_callback"),
        ("redirect_uri", ""),
        ("response_type", "token"),
        ("client_id", "jupyterhub-user-bob"),
        ("client_id", "service-announcement"),
    ] {
        let answer = alice.open(&authorize(&[(name, value)])).await;
        assert!(matches!(answer.status, 400 | 403), "{name}={value}: {}", answer.status);
        assert_eq!(answer.header("location"), None, "{name}={value}");
    }
    let absolute = format!("{}{CALLBACK}", hub.origin());
    assert_eq!(alice.open(&authorize(&[("redirect_uri", &absolute)])).await.status, 400, "it is a path");
    code(&alice.open(&authorize(&[])).await);
}

#[tokio::test]
async fn a_code_is_good_once_and_with_the_verifier_of_its_challenge() {
    let hub = hub_with("").await;
    let container = Container::of_alice(&hub).await;
    let mut alice = hub.signed_in("alice").await;
    let verifier = "a-verifier-of-at-least-forty-three-characters-0";
    let challenge = URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()));
    let proven = authorize(&[("code_challenge", &challenge), ("code_challenge_method", "S256")]);
    let invalid = (400, json!({"error": "invalid_grant"}));

    let with_challenge = code(&alice.open(&proven).await);
    assert_eq!(container.redeem(&with_challenge, &[]).await, invalid, "no verifier");
    let wrong = [("code_verifier", "another-verifier-of-at-least-43-characters-000")];
    assert_eq!(container.redeem(&with_challenge, &wrong).await, invalid, "another verifier");
    let right = [("code_verifier", verifier)];
    assert_eq!(container.redeem(&with_challenge, &right).await.0, 200);
    assert_eq!(container.redeem(&with_challenge, &right).await, invalid, "a second time");

    // Images before JupyterHub 6 send none.
    let without = code(&alice.open(&authorize(&[])).await);
    assert_eq!(container.redeem(&without, &[]).await.0, 200);
    let plain = authorize(&[("code_challenge", verifier), ("code_challenge_method", "plain")]);
    assert_eq!(alice.open(&plain).await.status, 400, "a challenge that proves nothing");
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
}

#[tokio::test]
async fn a_container_reports_for_itself_and_for_nobody_else() {
    let hub = hub_with("").await;
    let container = Container::of_alice(&hub).await;
    let now = "2026-01-01T00:00:00.123456Z";
    let of = |server: &str| json!({"servers": {server: {"last_activity": now}}, "last_activity": now});
    assert_eq!(container.report("/hub/api/users/alice/activity", &of("")).await.0, 200);
    let (status, answer) = container.report("/hub/api/users/alice/activity", &of("nope")).await;
    assert_eq!((status, &answer["message"]), (400, &json!("No such server 'nope' for user alice")));
    for other in ["nobody", "bob", "a%2Fb"] {
        // As a JupyterHub: its scope is for its own user, and whether there are others is not said.
        let (status, answer) = container.report(&format!("/hub/api/users/{other}/activity"), &of("")).await;
        assert_eq!((status, &answer["message"]), (404, &json!(OUT_OF_REACH)), "{other}");
    }
    for body in [json!({}), json!([]), json!("x"), json!({"servers": {"": {}}})] {
        assert_eq!(container.report("/hub/api/users/alice/activity", &body).await.0, 400, "{body}");
    }
}

/// What a token hears of everybody whom its scopes leave out.
const OUT_OF_REACH: &str = "No access to resources or resources not found";

/// What no token of a container's may ask.
const DENIED: &[(&str, &str)] = &[
    ("GET", "/hub/api/users"),
    ("POST", "/hub/api/users"),
    ("POST", "/hub/api/users/alice"),
    ("DELETE", "/hub/api/users/alice"),
    ("GET", "/hub/api/users/alice/server"),
    ("POST", "/hub/api/users/alice/server"),
    ("DELETE", "/hub/api/users/alice/server"),
    ("GET", "/hub/api/users/alice/tokens"),
    ("POST", "/hub/api/users/alice/tokens"),
    ("GET", "/hub/api/users/alice/sessions"),
    ("GET", "/hub/api/sessions"),
    ("GET", "/hub/api/groups"),
    ("GET", "/hub/api/groups/nbgrader-physics"),
    ("GET", "/hub/api/info"),
    ("GET", "/hub/api/proxy"),
    ("POST", "/hub/api/shutdown"),
];

#[tokio::test]
async fn a_containers_token_reads_who_its_owner_is_and_nothing_else() {
    let hub = hub_with("").await;
    let container = Container::of_alice(&hub).await;
    let groups = json!({ "groups": ["nbgrader-physics", "formgrade-maths"] });
    let mut alice = hub.signed_in_with("alice", groups).await;
    hub.signed_in("bob").await;
    let own = format!("token {}", container.token);
    let ask = async |method: &'static str, path: &str, authorization: &str| {
        plain(&container.api, method, path, authorization, ("", "application/json")).await
    };
    let (status, mut user) = ask("GET", "/hub/api/users/alice", &own).await;
    assert!(status == 200 && user["last_activity"].is_string(), "{user}");
    user["last_activity"].take();
    let known = json!({
        "kind": "user", "name": "alice", "admin": false, "last_activity": null,
        "groups": ["formgrade-maths", "nbgrader-physics"],
    });
    assert_eq!(user, known);
    let (status, caller) = container.whose(&own).await;
    for key in ["kind", "name", "admin", "groups"] {
        assert_eq!((status, &caller[key]), (200, &known[key]), "{key}");
    }
    let scopes = json!([
        "access:servers!server=alice/",
        "read:users:activity!user=alice",
        "read:users:groups!user=alice",
        "read:users:name!user=alice",
        "users:activity!user=alice",
    ]);
    assert_eq!(caller["scopes"], scopes);

    // Whoever came to it: who they are, and no more.
    let code = code(&alice.open(&authorize(&[])).await);
    let bought = container.redeem(&code, &[]).await.1["access_token"].as_str().unwrap().to_owned();
    let visitor = format!("token {bought}");
    let (status, user) = ask("GET", "/hub/api/users/alice", &visitor).await;
    assert_eq!((status, &user["groups"]), (200, &known["groups"]));
    assert_eq!(user.get("last_activity"), None, "{user}");
    assert_eq!(container.whose(&visitor).await.1["scopes"], json!([&scopes[0], &scopes[2], &scopes[3]]));
    assert_eq!(ask("POST", "/hub/api/users/alice/activity", &visitor).await.0, 403);

    for good in [&own, &visitor] {
        for (method, path) in DENIED {
            assert_eq!(ask(method, path, good).await.0, 403, "{method} {path}");
        }
        for other in ["bob", "nobody", "a%2Fb"] {
            let (status, answer) = ask("GET", &format!("/hub/api/users/{other}"), good).await;
            assert_eq!((status, &answer["message"]), (404, &json!(OUT_OF_REACH)), "{other}");
        }
    }
    let cut = format!("token {}A", container.token.split_at(42).0);
    for wrong in ["", "token ", "token nobody", cut.as_str(), &format!("token hubgate_{}", "A".repeat(43))] {
        for (method, path) in
            DENIED.iter().chain(&[("GET", "/hub/api/user"), ("GET", "/hub/api/users/alice")])
        {
            assert_eq!(ask(method, path, wrong).await.0, 403, "{method} {path} {wrong}");
        }
    }
}

#[tokio::test]
async fn a_token_that_a_code_buys_promises_no_more_than_its_session_has() {
    let session = "[session]\nidle_timeout = \"1h\"\nabsolute_timeout = \"2h\"\n";
    let profile = "[[profile]]\nname = \"hub\"\nimage = \"hub:1\"\n[hub_api]\nlisten = \"{address}:8081\"\n";
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{profile}{session}")).await;
    let container = Container::of_alice(&hub).await;
    let mut alice = hub.signed_in("alice").await;
    let code = code(&alice.open(&authorize(&[])).await);
    let (status, token) = container.redeem(&code, &[]).await;
    let lasts = token["expires_in"].as_u64().unwrap();
    assert!(status == 200 && (1..=3600).contains(&lasts), "{token}");
}

#[tokio::test]
async fn the_hub_sets_the_cookie_that_the_images_xsrf_check_hangs_on() {
    let hub = hub_with("").await;
    let container = Container::of_alice(&hub).await;
    let mut alice = hub.client();
    let answer = hub.sign_in_at(&mut alice, "alice", "/hub/login").await;
    let cookies = answer.all("set-cookie");
    let cookie = cookies.iter().find(|cookie| cookie.starts_with("jupyterhub-session-id=")).unwrap();
    for attribute in ["Path=/", "HttpOnly", "SameSite=Lax", "Secure"] {
        assert!(cookie.split("; ").any(|part| part == attribute), "{attribute} in {cookie}");
    }
    // The container sees it, and hears the same of the hub.
    alice.fetch("GET", "/user/alice/x", b"").await;
    let sent = hub.last_request("alice").header("cookie").unwrap().to_owned();
    let id = alice.cookie("jupyterhub-session-id").unwrap().to_owned();
    assert!(sent.contains(&format!("jupyterhub-session-id={id}")), "{sent}");
    let code = code(&alice.open(&authorize(&[])).await);
    let token = container.redeem(&code, &[]).await.1["access_token"].as_str().unwrap().to_owned();
    assert_eq!(container.whose(&format!("token {token}")).await.1["session_id"], json!(id));
    let other = hub.signed_in("alice").await;
    assert_ne!(other.cookie("jupyterhub-session-id"), Some(id.as_str()), "each login has its own");
    for cookie in alice.cookies().split("; ") {
        assert!(!cookie.starts_with("_xsrf="), "it would be taken for the image's: {cookie}");
    }
}

#[tokio::test]
async fn an_image_in_hub_mode_hears_no_word_of_who_comes_unless_its_profile_wants_it() {
    let hub = hub_with("").await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    alice.fetch("GET", "/user/alice/x", b"").await;
    assert_eq!(hub.last_request("alice").header("authorization"), None);
    let own = [("Authorization", "token the-pages-own")];
    alice.send("GET", "/user/alice/x", &own, b"").await;
    assert_eq!(hub.last_request("alice").header("authorization"), Some("token the-pages-own"));
}

const BY_HEADER: &str = "hub_login = \"header\"";

#[tokio::test]
async fn an_image_is_told_who_comes_where_its_profile_wants_it() {
    let hub = hub_with(BY_HEADER).await;
    let container = Container::of_alice(&hub).await;
    let mut alice = hub.signed_in("alice").await;
    alice.fetch("GET", "/user/alice/x", b"").await;
    let said = hub.last_request("alice").header("authorization").unwrap().to_owned();
    assert!(said.starts_with("token "), "{said}");
    // What a page sends of its own counts for nothing beside the hub's word, and that stays the same.
    let own = [("Authorization", "token the-pages-own")];
    alice.send("GET", "/user/alice/y", &own, b"").await;
    assert_eq!(hub.last_request("alice").all("authorization"), [said.as_str()]);

    let (status, user) = container.whose(&said).await;
    assert_eq!((status, &user["name"], &user["kind"]), (200, &json!("alice"), &json!("user")));
    assert_eq!(user["session_id"], json!(alice.cookie("jupyterhub-session-id")));
    assert!(user["scopes"].as_array().unwrap().contains(&json!("access:servers!server=alice/")));
    let end = if said.ends_with('A') { "B" } else { "A" };
    let forged = format!("{}{end}", said.split_at(said.len() - 1).0);
    assert_eq!(container.whose(&forged).await.0, 403, "forged");
}

#[tokio::test]
async fn what_an_image_is_told_is_worth_nothing_elsewhere_and_ends_with_the_session() {
    let hub = hub_with(BY_HEADER).await;
    let container = Container::of_alice(&hub).await;
    hub.run_workspace("bob").await;
    let mut alice = hub.signed_in("alice").await;
    alice.fetch("GET", "/user/alice/x", b"").await;
    // It stands in the image's pages: whoever reads it there has no more than they had.
    let said = hub.last_request("alice").header("authorization").unwrap().to_owned();
    for target in ["/user/alice/x", "/hub/api/user", "/hub/home"] {
        let answer = hub.client().send("GET", target, &[("Authorization", said.as_str())], b"").await;
        assert_eq!(answer.status, if target.starts_with("/hub/api") { 403 } else { 401 }, "{target}");
    }
    let mut bob = hub.signed_in("bob").await;
    let answer = bob.send("GET", "/user/alice/x", &[("Authorization", said.as_str())], b"").await;
    assert_eq!(answer.status, 403);
    bob.send("GET", "/user/bob/x", &[("Authorization", said.as_str())], b"").await;
    assert_ne!(hub.last_request("bob").header("authorization"), Some(said.as_str()));
    let mut again = hub.signed_in("alice").await;
    again.fetch("GET", "/user/alice/x", b"").await;
    assert_ne!(
        hub.last_request("alice").header("authorization"),
        Some(said.as_str()),
        "each session has its own"
    );

    let form_token = alice.open("/hub/logout").await.field("form_token").unwrap();
    alice.submit("/hub/logout", &[("form_token", &form_token)]).await;
    assert_eq!(container.whose(&said).await.0, 403, "it ends with its session");
    let said = hub.last_request("alice").header("authorization").unwrap().to_owned();
    assert_eq!(container.whose(&said).await.0, 200, "and no other does");
}

/// Jupyter checks neither where a websocket comes from nor the page's proof when the hub's word is in the header.
#[tokio::test]
async fn no_other_site_acts_where_the_image_looks_at_nothing_but_the_hubs_word() {
    let hub = hub_with(BY_HEADER).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let before = hub.requests("alice");
    let own = hub.origin();
    let socket = |origin: Option<&'static str>, site: Option<&'static str>| {
        let mut headers = vec![
            ("Upgrade", "websocket"),
            ("Connection", "upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        headers.extend(origin.map(|origin| ("Origin", origin)));
        headers.extend(site.map(|site| ("Sec-Fetch-Site", site)));
        headers
    };
    for headers in [
        socket(Some("https://evil.example"), None),
        socket(Some("https://evil.hub.example:8443"), Some("same-site")),
        socket(Some("null"), None),
        socket(None, Some("cross-site")),
        socket(None, None),
    ] {
        let answer = alice.send("GET", "/user/alice/api/kernels/1/channels", &headers, b"").await;
        assert_eq!(answer.status, 403, "{headers:?}");
    }
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        for headers in [
            &[("Origin", "https://evil.example")][..],
            &[("Origin", "null")],
            &[("Sec-Fetch-Site", "cross-site")],
            &[("Sec-Fetch-Site", "same-site")],
            &[("Origin", own.as_str()), ("Sec-Fetch-Site", "cross-site")],
            &[],
        ] {
            let answer = alice.send(method, "/user/alice/api/contents/x", headers, b"{}").await;
            assert_eq!(answer.status, 403, "{method} {headers:?}");
        }
    }
    assert_eq!(hub.requests("alice"), before, "the image heard of none of them");
    assert_eq!(alice.fetch("PUT", "/user/alice/api/contents/x", b"{}").await.status, 200);
}

async fn stopped(hub: &Hub) -> Client {
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let form_token = alice.open("/hub/home").await.field("form_token").unwrap();
    alice.submit("/hub/home", &[("form_token", &form_token), ("action", "stop")]).await;
    eventually("the end of the server", || {
        let mut alice = alice.clone();
        async move { alice.open("/hub/home").await.text().contains("not running") }
    })
    .await;
    alice
}

#[tokio::test]
async fn a_stopped_server_tells_programs_so_in_jupyterhubs_words_and_people_by_a_page() {
    let hub = hub_with("").await;
    let mut alice = stopped(&hub).await;
    let created = hub.engine().count("POST", "/containers/create");
    let message = format!(
        "JupyterHub server no longer running at /user/alice/api/contents. Restart the server at {}/hub/spawn/alice",
        hub.origin()
    );
    let is_told = |answer: &Answer, message: &str| {
        assert_eq!(answer.status, 424, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(told["message"], json!(message));
    };
    is_told(&alice.fetch("GET", "/user/alice/api/contents", b"").await, &message);
    is_told(&alice.fetch("PUT", "/user/alice/api/contents", b"{}").await, &message);
    // Though it is opened as a page is.
    is_told(&alice.open("/user/alice/api/contents").await, &message);
    let posted = alice.submit("/user/alice/x", &[("a", "b")]).await;
    is_told(&posted, &message.replace("api/contents", "x"));
    assert_eq!(hub.engine().count("POST", "/containers/create"), created, "none of them starts it");

    let frame = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe")];
    let page = alice.send("GET", "/user/alice/lab", &frame, b"").await;
    assert_eq!(page.status, 424);
    assert!(page.text().contains("Your server is not running"), "{}", page.text());
    let page = alice.open("/user/alice/lab").await;
    assert_eq!(page.status, 503);
    assert!(page.text().contains("Your server is starting"), "{}", page.text());
}

#[tokio::test]
async fn whatever_is_sent_to_the_hub_for_a_server_goes_nowhere_and_is_told_that_it_does_not_run() {
    let hub = hub_with("").await;
    let mut alice = stopped(&hub).await;
    let token = format!("token {}", alice.make_token(&["access:servers"]).await);
    let before = (hub.engine().count("POST", "/containers/create"), hub.traffic());
    let message = format!(
        "JupyterHub server no longer running at /user/alice/api/contents. Restart the server at {}/hub/spawn/alice",
        hub.origin()
    );
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let by_page = alice.fetch(method, "/hub/user/alice/api/contents", b"{}").await;
        let by_token = call(&hub, method, "/hub/user/alice/api/contents", &token, "{}").await;
        for answer in [by_page, by_token] {
            assert_eq!((answer.status, answer.header("location")), (424, None), "{method} {}", answer.text());
            let told: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!((&told["status"], &told["message"]), (&json!(424), &json!(message)));
        }
    }
    let to_bob = alice.fetch("POST", "/hub/user/bob/api/contents", b"{}").await;
    assert_eq!(to_bob.status, 403, "{}", to_bob.text());
    let stranger = hub.client().fetch("POST", "/hub/user/alice/api/contents", b"{}").await;
    assert_eq!(stranger.status, 401, "{}", stranger.text());
    let odd = alice.fetch("POST", "/hub/user/", b"{}").await.status;
    assert!((400..500).contains(&odd), "{odd}");
    let page = alice.open("/hub/user/alice/lab?a=b").await;
    assert_eq!((page.status, page.header("location")), (303, Some("/user/alice/lab?a=b")));
    let after = (hub.engine().count("POST", "/containers/create"), hub.traffic());
    assert_eq!(after, before, "none of them starts it or comes to it");
}

#[tokio::test]
async fn old_jupyterlabs_are_told_of_a_stopped_server_by_the_status_that_they_know() {
    let hub = hub_with("stopped_status = 503").await;
    let mut alice = stopped(&hub).await;
    let answer = alice.fetch("GET", "/user/alice/api/contents", b"").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("JupyterHub server no longer running"), "{}", answer.text());
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_away_and_not_broken() {
    let hub = hub_with("").await;
    hub.run_workspace("alice").await;
    let alice = hub.signed_in("alice").await;
    hub.close_workspace("alice");
    eventually("word that it is away", || {
        let mut alice = alice.clone();
        async move {
            let status = alice.fetch("GET", "/user/alice/api/contents", b"").await.status;
            assert!(matches!(status, 200 | 503), "{status}");
            status == 503
        }
    })
    .await;
}

#[tokio::test]
async fn the_address_of_a_server_gets_its_slash() {
    let hub = hub_with("").await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let answer = alice.open("/user/alice?a=b").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/user/alice/?a=b")));
}

#[tokio::test]
async fn every_address_that_images_open_is_there() {
    let hub = hub_with("").await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    for (target, status, location) in [
        ("/hub/", 200, None),
        ("/hub/home", 200, None),
        ("/hub/spawn", 303, Some("/")),
        ("/hub/spawn/alice", 303, Some("/")),
        ("/hub/spawn/alice/", 303, Some("/")),
        ("/hub/logout", 200, None),
        ("/hub/logo", 200, None),
        ("/hub/user-redirect/lab/tree/a.ipynb?x=1", 303, Some("/user/alice/lab/tree/a.ipynb?x=1")),
        ("/hub/user/alice/lab", 303, Some("/user/alice/lab")),
        ("/hub/login?next=%2Fuser%2Falice%2Flab", 303, Some("/user/alice/lab")),
    ] {
        let answer = alice.open(target).await;
        assert_eq!((answer.status, answer.header("location")), (status, location), "{target}");
    }
    let report = [("Content-Type", "application/csp-report"), ("Sec-Fetch-Site", "same-origin")];
    let answer = alice.send("POST", "/hub/security/csp-report", &report, b"{\"csp-report\":{}}").await;
    assert_eq!(answer.status, 204);
    let mut bob = hub.signed_in("bob").await;
    assert_eq!(bob.open("/hub/spawn/alice").await.status, 403, "somebody else's");
    // A stranger comes back to where a link of the image's led, once signed in.
    let answer = hub.client().open("/hub/user-redirect/git-pull?repo=x").await;
    let login = answer.header("location").unwrap_or_default().to_owned();
    assert!(login.starts_with("/hub/login?next=%2Fhub%2Fuser-redirect%2Fgit-pull"), "{login}");
}

#[tokio::test]
async fn an_image_gets_every_variable_that_its_single_user_server_reads() {
    let keys = "default_url = \"/tree\"\nenvironment = { JUPYTERHUB_SINGLEUSER_APP = \"notebook.notebookapp.NotebookApp\" }";
    let hub = hub_with(keys).await;
    let container = Container::of_alice(&hub).await;
    let api = container.api.as_str().trim_end_matches('/').to_owned();
    let (public, token) = (hub.origin(), container.token.clone());
    let scopes = "[\"access:servers!server=alice/\",\"access:servers!user=alice\"]";
    for (name, value) in [
        ("JUPYTERHUB_API_TOKEN", token.as_str()),
        ("JPY_API_TOKEN", token.as_str()),
        ("JUPYTERHUB_API_URL", api.as_str()),
        ("JUPYTERHUB_ACTIVITY_URL", &format!("{api}/users/alice/activity")),
        ("JUPYTERHUB_SERVICE_URL", "http://0.0.0.0:8888/user/alice/"),
        ("JUPYTERHUB_SERVICE_PREFIX", "/user/alice/"),
        ("JUPYTERHUB_CLIENT_ID", "jupyterhub-user-alice"),
        ("JUPYTERHUB_OAUTH_ACCESS_SCOPES", scopes),
        ("JUPYTERHUB_OAUTH_SCOPES", scopes),
        ("JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES", "[]"),
        ("JUPYTERHUB_OAUTH_CALLBACK_URL", CALLBACK),
        ("JUPYTERHUB_BASE_URL", "/"),
        ("JUPYTERHUB_HOST", ""),
        ("JUPYTERHUB_USER", "alice"),
        ("JUPYTERHUB_SERVER_NAME", ""),
        ("JUPYTERHUB_DEFAULT_URL", "/tree"),
        ("JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED", "0"),
        ("JUPYTERHUB_PUBLIC_URL", &format!("{public}/user/alice/")),
        ("JUPYTERHUB_PUBLIC_HUB_URL", &format!("{public}/hub/")),
        ("JUPYTERHUB_SINGLEUSER_APP", "notebook.notebookapp.NotebookApp"),
    ] {
        assert_eq!(hub.environment_of("alice", name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(hub.environment_of("alice", "JUPYTER_TOKEN"), None, "that is for servers without a hub");
}

#[tokio::test]
async fn only_a_profile_that_needs_a_hub_calls_for_its_listener() {
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{PROFILE}")).await;
    hub.run_workspace("alice").await;
    for name in ["JUPYTERHUB_API_URL", "JUPYTERHUB_API_TOKEN", "JUPYTERHUB_ACTIVITY_URL"] {
        assert_eq!(hub.environment_of("alice", name), None, "{name}");
    }
    assert!(matches!(hub.container_of("alice").state, State::Running));
}
