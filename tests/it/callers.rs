//! Programs in a user's name: what a token opens, and what it does not.

use serde_json::{Value, json};
use support::client::{Answer, PATIENCE, read_answer};
use support::eventually::eventually;
use support::hub::{EVERYONE, Hub, PROFILE};
use support::provider::Provider;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

use crate::BINARY;

const ALL: [&str; 4] = ["access:servers", "servers", "read:users", "tokens"];

/// Asks as a program does: no cookie, no origin.
pub(crate) async fn call(hub: &Hub, method: &str, path: &str, authorization: &str, body: &str) -> Answer {
    let headers = [("Authorization", authorization), ("Content-Type", "application/json")];
    hub.client().send(method, path, &headers, body.as_bytes()).await
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

pub(crate) fn challenge(answer: &Answer) -> &str {
    answer.header("www-authenticate").unwrap_or_default()
}

pub(crate) async fn websocket(
    hub: &Hub,
    authorization: &str,
    extra: &str,
) -> (u16, impl AsyncReadExt + AsyncWriteExt + Unpin + use<>) {
    let mut stream = hub.client().connect(&["http/1.1"]).await;
    let request = format!(
        "GET /user/alice/api/kernels/1/channels HTTP/1.1\r\nHost: {}\r\nAuthorization: {authorization}\r\n{extra}\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        hub.host(),
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream, true).await;
    (answer.status, stream)
}

#[tokio::test]
async fn a_program_with_a_token_reaches_its_owners_workspace_and_no_other() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    hub.run_workspace("bob").await;
    let token = hub.signed_in("alice").await.make_token(&["access:servers"]).await;
    let own = format!("token {}", hub.environment_of("alice", "JUPYTER_TOKEN").unwrap());
    for scheme in ["token", "Bearer", "bearer"] {
        let authorization = format!("{scheme} {token}");
        let answer = call(&hub, "GET", "/user/alice/api/contents", &authorization, "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let seen = hub.last_request("alice");
        assert_eq!(seen.all("authorization"), [own.as_str()], "the token itself stays with the hub");
    }
    let authorization = format!("token {token}");
    assert_eq!(call(&hub, "POST", "/user/alice/api/contents", &authorization, "{}").await.status, 200);
    assert_eq!(call(&hub, "DELETE", "/user/alice/api/x", &authorization, "").await.status, 200);
    assert_eq!(websocket(&hub, &authorization, "").await.0, 101, "a program has no origin");
    let before = hub.requests("bob");
    assert_eq!(call(&hub, "GET", "/user/bob/api/contents", &authorization, "").await.status, 403);
    assert_eq!(hub.requests("bob"), before);
    let log = hub.process().log();
    assert!(!log.contains(&token) && log.contains("by=\"api_token\""), "{log}");
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused_whatever_else_is_sent() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let token = alice.make_token(&ALL).await;
    let before = hub.requests("alice");
    let unknown = format!("hubgate_{}", "A".repeat(43));
    let cut = token.split_at(token.len() - 1).0.to_owned();
    for wrong in [unknown.as_str(), &cut, &format!("{token}A"), "hubgate_", "hubgate_'; --", "hubgate_%s%n"] {
        let authorization = format!("token {wrong}");
        let answer = call(&hub, "GET", "/user/alice/x", &authorization, "").await;
        assert_eq!(answer.status, 401, "{wrong}");
        assert!(challenge(&answer).contains("error=\"invalid_token\""), "{answer:?}");
        assert_eq!(json_of(&answer)["error"], "invalid_token");
        let headers = [("Authorization", authorization.as_str())];
        assert_eq!(
            alice.send("GET", "/user/alice/x", &headers, b"").await.status,
            401,
            "with a good cookie, too"
        );
        assert_eq!(websocket(&hub, &authorization, "").await.0, 401);
    }
    let twice = [("Authorization", format!("token {token}")), ("Authorization", "token other".to_owned())];
    let twice: Vec<_> = twice.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(hub.client().send("GET", "/user/alice/x", &twice, b"").await.status, 400);
    assert_eq!(hub.requests("alice"), before, "the workspace heard of none of them");
}

#[tokio::test]
async fn the_cookie_of_one_and_the_token_of_another_are_refused() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    hub.run_workspace("bob").await;
    let mut alice = hub.signed_in("alice").await;
    let alices = format!("token {}", alice.make_token(&ALL).await);
    let mut bob = hub.signed_in("bob").await;
    let bobs = format!("Bearer {}", bob.make_token(&ALL).await);
    let (before, before_bob) = (hub.requests("alice"), hub.requests("bob"));
    for path in ["/user/alice/x", "/user/bob/x", "/hub/api/user", "/hub/home", "/hub/token"] {
        let answer = alice.send("GET", path, &[("Authorization", &bobs)], b"").await;
        assert_eq!(answer.status, 400, "{path}");
    }
    assert_eq!((hub.requests("alice"), hub.requests("bob")), (before, before_bob));
    let answer = alice.send("POST", "/user/alice/x", &[("Authorization", &alices)], b"{}").await;
    assert_eq!(answer.status, 200, "of the same person, the token counts");
    let narrow = format!("token {}", alice.make_token(&["read:users"]).await);
    let answer = alice.send("GET", "/user/alice/x", &[("Authorization", &narrow)], b"").await;
    assert_eq!(answer.status, 403, "also where it may do less");
}

/// JupyterHub's clients take anything but 403 for the hub's own failure.
#[tokio::test]
async fn a_bad_token_is_403_to_jupyterhubs_clients_and_401_to_oauths() {
    let hub = Hub::start(BINARY).await;
    let mut alice = hub.signed_in("alice").await;
    let api = ["/hub/api/user", "/hub/api/users/alice", "/hub/api/users", "/hub/api/groups/x"];
    for bad in ["x", "hubgate_x", "eyJh.eyJp.c2ln", "0123456789abcdef0123456789abcdef"] {
        for path in api {
            for (scheme, status) in [("token", 403), ("Token", 403), ("Bearer", 401)] {
                let answer = call(&hub, "GET", path, &format!("{scheme} {bad}"), "").await;
                assert_eq!(answer.status, status, "{path} {scheme} {bad}");
                assert_eq!(json_of(&answer)["status"], status, "{path} {scheme} {bad}");
                assert!(challenge(&answer).starts_with("Bearer realm"), "{answer:?}");
            }
            let page = [("Authorization", "token hubgate_x"), ("Accept", "text/html")];
            let answer = hub.client().send("GET", path, &page, b"").await;
            assert_eq!((answer.status, &json_of(&answer)["status"]), (403, &json!(403)), "{path}");
        }
        let elsewhere = call(&hub, "GET", "/user/alice/x", &format!("token {bad}"), "").await;
        assert_eq!(elsewhere.status, 401, "only the API is JupyterHub's");
    }
    assert_eq!(call(&hub, "GET", "/hub/api/user", "", "").await.status, 401, "without any");
    let bad = [("Authorization", "token hubgate_x")];
    assert_eq!(alice.send("GET", "/hub/api/user", &bad, b"").await.status, 403, "whatever the cookie says");
}

#[tokio::test]
async fn basic_and_a_workspaces_own_token_are_no_session() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let own = hub.environment_of("alice", "JUPYTER_TOKEN").unwrap();
    let mut alice = hub.signed_in("alice").await;
    for authorization in ["Basic YWxpY2U6eA==", &format!("token {own}"), "Bearer eyJh.eyJp.c2ln", "token x"] {
        assert_eq!(
            call(&hub, "GET", "/user/alice/x", authorization, "").await.status,
            401,
            "{authorization}"
        );
        // Jupyter's pages send their server's token with each request: that goes on beside a session.
        let answer = alice.send("GET", "/user/alice/x", &[("Authorization", authorization)], b"").await;
        assert_eq!(answer.status, 200, "{authorization}");
        assert_eq!(hub.last_request("alice").all("authorization"), [format!("token {own}")]);
    }
}

#[tokio::test]
async fn a_token_opens_what_its_scopes_name_and_nothing_else() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let asks = [
        ("GET", "/user/alice/x", "access:servers"),
        ("GET", "/hub/api/users/alice/sessions", "read:users"),
        ("POST", "/hub/api/users/alice/server", "servers"),
        ("GET", "/hub/api/users/alice/tokens", "tokens"),
        ("POST", "/hub/api/users/alice/tokens", "tokens"),
        ("GET", "/hub/api/users/alice/tokens/a0000000000000000", "tokens"),
        ("DELETE", "/hub/api/users/alice/tokens/a0000000000000000", "tokens"),
    ];
    for scope in ALL {
        let token = format!("token {}", alice.make_token(&[scope]).await);
        for (method, path, needed) in asks {
            let answer = call(&hub, method, path, &token, "").await;
            let refused = answer.status == 403 && challenge(&answer).contains("insufficient_scope");
            assert_eq!(refused, scope != needed, "{method} {path} with {scope}: {}", answer.text());
            assert!(!refused || challenge(&answer).contains(&format!("scope=\"{needed}\"")));
        }
        for path in ["/", "/hub/home", "/hub/spawn", "/hub/token", "/hub/device"] {
            assert_eq!(call(&hub, "GET", path, &token, "").await.status, 401, "{path} is for people");
        }
        assert_eq!(call(&hub, "GET", "/hub/api/oauth2/authorize", &token, "").await.status, 403);
    }
    let page = alice.open("/hub/token").await;
    let form_token = page.field("form_token").unwrap();
    for scope in ["admin:users", "admin:sessions", "list:users", "nonsense", "access:servers!user=bob"] {
        let fields = [
            ("form_token", form_token.as_str()),
            ("action", "make"),
            ("lifetime", "86400"),
            ("scope", "read:users"),
            ("scope", scope),
        ];
        assert_eq!(alice.submit("/hub/token", &fields).await.status, 400, "{scope}");
    }
}

#[tokio::test]
async fn another_site_cannot_use_a_token_in_a_browser() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let token = format!("token {}", hub.signed_in("alice").await.make_token(&ALL).await);
    let before = hub.requests("alice");
    for (name, value) in [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")] {
        let headers = [("Authorization", token.as_str()), (name, value)];
        for path in ["/user/alice/x", "/hub/api/users/alice/tokens", "/hub/api/users/alice/server"] {
            assert_eq!(hub.client().send("POST", path, &headers, b"{}").await.status, 403, "{path} {value}");
        }
        let extra = format!("{name}: {value}\r\n");
        assert_eq!(websocket(&hub, &token, &extra).await.0, 403, "{value}");
    }
    assert_eq!(hub.requests("alice"), before);
    let own = format!("Origin: {}\r\n", hub.origin());
    assert_eq!(websocket(&hub, &token, &own).await.0, 101);
}

#[tokio::test]
async fn a_revoked_token_takes_its_websockets_along() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let token = format!("token {}", alice.make_token(&ALL).await);
    let other = format!("token {}", alice.make_token(&ALL).await);
    let ((_, mut gone), (_, mut stays)) =
        (websocket(&hub, &token, "").await, websocket(&hub, &other, "").await);
    let user = json_of(&call(&hub, "GET", "/hub/api/user", &token, "").await);
    let path = format!("/hub/api/users/alice/tokens/{}", user["token_id"].as_str().unwrap());
    assert_eq!(call(&hub, "DELETE", &path, &token, "").await.status, 204, "a token may end itself");
    let mut bytes = Vec::new();
    drop(tokio::time::timeout(PATIENCE, gone.read_to_end(&mut bytes)).await.expect("an end in time"));
    stays.write_all(&support::upstream::frame(0x81, b"still here")).await.unwrap();
    assert!(stays.read_u8().await.is_ok(), "another token's goes on");
    assert_eq!(call(&hub, "GET", "/user/alice/x", &token, "").await.status, 401);
    assert_eq!(call(&hub, "GET", &path, &other, "").await.status, 404);
}

#[tokio::test]
async fn tokens_outlive_the_session_and_a_restart_and_rest_with_a_lost_role() {
    let rules = format!("[[rule]]\nrealm_roles = [\"hub-user\"]\n{PROFILE}");
    let mut hub = Hub::with(BINARY, &rules).await;
    hub.provider().map_roles();
    let member = json!({"realm_access": {"roles": ["hub-user"]}});
    let sign_in = async |hub: &Hub, claims: &Value| {
        let mut browser = hub.client();
        let answer = browser.open("/hub/login").await;
        hub.provider().user("alice", claims.clone());
        let url = Url::parse(answer.header("location").unwrap()).unwrap();
        let back = hub.provider().visit(&url).await.unwrap();
        let status = browser.open(&support::hub::path_and_query(back.as_str())).await.status;
        (status, browser)
    };
    let (status, mut alice) = sign_in(&hub, &member).await;
    assert_eq!(status, 303);
    let token = format!("token {}", alice.make_token(&ALL).await);
    let form_token = alice.open("/hub/logout").await.field("form_token").unwrap();
    alice.submit("/hub/logout", &[("form_token", &form_token)]).await;
    let status = async |hub: &Hub| call(hub, "GET", "/hub/api/user", &token, "").await.status;
    assert_eq!(status(&hub).await, 200, "a program goes on when its owner signs out");
    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    eventually("the hub again", || async { status(&hub).await == 200 }).await;
    assert_eq!(sign_in(&hub, &json!({})).await.0, 403, "the role is lost");
    assert_eq!(status(&hub).await, 403);
    assert_eq!(sign_in(&hub, &member).await.0, 303, "and given back");
    assert_eq!(status(&hub).await, 200);
}

#[tokio::test]
async fn the_tokens_of_a_disabled_account_rest_over_a_restart_until_its_next_login() {
    let sections = format!("{EVERYONE}{PROFILE}[session]\nrefresh_interval = \"1s\"\n");
    let mut hub = Hub::with(BINARY, &sections).await;
    let mut alice = hub.signed_in("alice").await;
    let token = format!("token {}", alice.make_token(&ALL).await);
    let status = async |hub: &Hub| call(hub, "GET", "/hub/api/user", &token, "").await.status;
    assert_eq!(status(&hub).await, 200);
    let access = || format!("Bearer {}", hub.provider().access_token_for(Provider::CLIENT_ID).token());
    let (known, unseen) = (access(), access());
    assert_eq!(call(&hub, "GET", "/hub/api/user", &known, "").await.status, 200);
    hub.provider().disable("alice");
    eventually("the hub hears of it", || {
        let mut alice = alice.clone();
        async move { alice.fetch("GET", "/hub/home", b"").await.status == 401 }
    })
    .await;
    eventually("the tokens rest", || async { status(&hub).await == 403 }).await;
    for theirs in [&known, &unseen] {
        let refused = || async { call(&hub, "GET", "/hub/api/user", theirs, "").await.status == 401 };
        eventually("the provider's own access tokens are worth nothing either", refused).await;
    }
    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    hub.process().until_ready().await;
    assert_eq!(status(&hub).await, 403, "the rules let her in, and her provider does not");
    hub.signed_in("alice").await;
    assert_eq!(status(&hub).await, 200);
}

#[tokio::test]
async fn a_token_in_an_address_opens_nothing() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let own = hub.signed_in("alice").await.make_token(&["access:servers", "read:users"]).await;
    let access = hub.provider().access_token_for(Provider::CLIENT_ID).token();
    let reached = hub.requests("alice");
    for token in [own, access] {
        for path in ["/hub/api/user", "/user/alice/x"] {
            let answer = call(&hub, "GET", path, &format!("Bearer {token}"), "").await;
            assert_eq!(answer.status, 200, "in its header: {}", answer.text());
            for name in ["access_token", "token", "id_token"] {
                let answer = hub.client().send("GET", &format!("{path}?{name}={token}"), &[], b"").await;
                assert_eq!(answer.status, 401, "RFC 9700 section 4.3.2: {path} {name}");
            }
        }
    }
    assert_eq!(hub.requests("alice"), reached + 2, "only those with a header");
}

#[tokio::test]
async fn an_access_token_of_the_realm_opens_what_was_issued_for_this_hub() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    hub.provider().user("alice", json!({}));
    let bearer = |draft: &support::provider::Draft| format!("Bearer {}", draft.token());
    let good = || hub.provider().access_token_for(Provider::CLIENT_ID);
    let token = bearer(&good());
    for _ in 0..3 {
        assert_eq!(call(&hub, "GET", "/user/alice/x", &token, "").await.status, 200);
    }
    let own = hub.environment_of("alice", "JUPYTER_TOKEN").unwrap();
    assert_eq!(hub.last_request("alice").all("authorization"), [format!("token {own}")]);
    assert_eq!(call(&hub, "GET", "/user/bob/x", &token, "").await.status, 403);
    let before = hub.requests("alice");
    let mut alice = hub.signed_in("alice").await;
    for (why, draft) in [
        ("Audience", good().claim("aud", "account").claim("azp", "other-app")),
        ("may not call", hub.provider().access_token_for("other-app")),
        ("expired", good().claim("exp", 1_000_000)),
        ("ID token", good().claim("typ", "ID")),
        ("another kind", good().claim("typ", "Refresh")),
        ("another kind", good().claim("typ", "Action")),
        ("another kind", hub.provider().logout_token(None)),
        ("not valid", good().signed(support::provider::Signed::ByAnotherKey)),
        ("not valid", good().signed(support::provider::Signed::ByNobody)),
        ("service account", hub.provider().service_account_token(Provider::CLIENT_ID)),
    ] {
        let bad = bearer(&draft);
        let answer = call(&hub, "GET", "/user/alice/x", &bad, "").await;
        assert_eq!(answer.status, 401, "{why}: {}", answer.text());
        assert!(
            challenge(&answer).contains("error=\"invalid_token\"") && challenge(&answer).contains(why),
            "{why}: {answer:?}"
        );
        let beside = alice.send("GET", "/user/alice/x", &[("Authorization", &bad)], b"").await;
        assert_eq!(beside.status, 401, "{why}: whatever the cookie says");
    }
    let scoped = call(&hub, "GET", "/hub/api/users/alice/tokens", &token, "").await;
    assert_eq!(scoped.status, 403, "what passes in minutes buys nothing that stays");
    hub.provider().user("carol", json!({}));
    let carols = bearer(&good());
    let answer = alice.send("GET", "/user/alice/x", &[("Authorization", &carols)], b"").await;
    assert_eq!(answer.status, 400, "two people");
    assert_eq!(call(&hub, "GET", "/hub/api/user", &carols, "").await.status, 200, "no browser was needed");
    assert_eq!(hub.requests("alice"), before);
    assert!(!hub.process().log().contains("eyJ"), "no token in the log");
}

#[tokio::test]
async fn a_back_channel_logout_ends_the_access_tokens_of_the_session_too() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    hub.provider().user("alice", json!({}));
    let of = |sid: &str| {
        let draft = hub.provider().access_token_for(Provider::CLIENT_ID).claim("sid", sid);
        format!("Bearer {}", draft.token())
    };
    let (known, unseen, other) = (of("s1"), of("s1"), of("s2"));
    let (status, mut gone) = websocket(&hub, &known, "").await;
    assert_eq!((status, call(&hub, "GET", "/user/alice/x", &other, "").await.status), (101, 200));
    let told = hub.provider().logout_token(Some("s1")).post(&hub.client(), "/hub/backchannel-logout").await;
    assert_eq!(told.status, 200, "{}", told.text());
    let mut bytes = Vec::new();
    drop(tokio::time::timeout(PATIENCE, gone.read_to_end(&mut bytes)).await.expect("an end in time"));
    for ended in [known, unseen] {
        assert_eq!(call(&hub, "GET", "/user/alice/x", &ended, "").await.status, 401);
    }
    assert_eq!(call(&hub, "GET", "/user/alice/x", &other, "").await.status, 200, "another session's goes on");
}

#[tokio::test]
async fn a_front_channel_logout_ends_the_access_tokens_of_the_session_too() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    hub.provider().user("alice", json!({}));
    let of = |sid: &str| {
        let draft = hub.provider().access_token_for(Provider::CLIENT_ID).claim("sid", sid);
        format!("Bearer {}", draft.token())
    };
    let (known, other) = (of("s1"), of("s2"));
    let (status, mut gone) = websocket(&hub, &known, "").await;
    let (_, mut stays) = websocket(&hub, &other, "").await;
    assert_eq!(status, 101);
    let named = |issuer: &str, sid: &str| {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("iss", issuer), ("sid", sid)])
            .finish();
        format!("/hub/frontchannel-logout?{query}")
    };
    let issuer = hub.provider().issuer();
    assert_eq!(hub.client().open(&named("https://other.example", "s1")).await.status, 404);
    assert_eq!(call(&hub, "GET", "/user/alice/x", &known, "").await.status, 200, "nothing has ended yet");
    assert_eq!(hub.client().open(&named(&issuer, "s1")).await.status, 200);
    let mut bytes = Vec::new();
    drop(tokio::time::timeout(PATIENCE, gone.read_to_end(&mut bytes)).await.expect("an end in time"));
    for _ in 0..2 {
        let answer = call(&hub, "GET", "/user/alice/x", &known, "").await;
        assert_eq!(answer.status, 401, "its signature is as good as before");
        assert!(challenge(&answer).contains("invalid_token"));
    }
    stays.write_all(&support::upstream::frame(0x81, b"still here")).await.unwrap();
    assert!(stays.read_u8().await.is_ok(), "another session's goes on");
    assert_eq!(call(&hub, "GET", "/user/alice/x", &other, "").await.status, 200);
}

#[tokio::test]
async fn who_is_signed_out_everywhere_is_so_with_access_tokens_too() {
    let ada = "[[rule]]\nusers = [\"ada\"]\nadmin = true\n";
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{ada}{PROFILE}")).await;
    hub.run_workspace("alice").await;
    let mut ada = hub.signed_in("ada").await;
    let admin = format!("token {}", ada.make_token(&["admin:sessions"]).await);
    let form_token = ada.open("/hub/admin").await.field("form_token").unwrap();
    let bearer = |user: &str| {
        hub.provider().user(user, json!({}));
        format!("Bearer {}", hub.provider().access_token_for(Provider::CLIENT_ID).token())
    };
    let bobs = bearer("bob");
    for way in ["page", "api", "command", "herself"] {
        let token = bearer("alice");
        let (status, mut gone) = websocket(&hub, &token, "").await;
        assert_eq!((status, call(&hub, "GET", "/hub/api/user", &bobs, "").await.status), (101, 200), "{way}");
        let path = "/hub/api/users/alice/sessions";
        match way {
            "page" => {
                let all = [("form_token", form_token.as_str()), ("action", "end_all"), ("user", "alice")];
                assert_eq!(ada.submit("/hub/admin", &all).await.status, 303);
            }
            "api" => assert_eq!(call(&hub, "DELETE", path, &admin, "").await.status, 204),
            "command" => {
                let ended = crate::control::operate(&hub, &["session", "end", "--user", "alice"]).await;
                assert_eq!(ended.code, Some(0), "{}", ended.err);
            }
            _ => {
                let mut alice = hub.signed_in("alice").await;
                let own = alice.open("/hub/logout").await.field("form_token").unwrap();
                let headers = [("Origin", hub.origin()), ("X-Form-Token", own)];
                let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                assert_eq!(alice.send("DELETE", path, &headers, b"").await.status, 204);
            }
        }
        let mut bytes = Vec::new();
        drop(tokio::time::timeout(PATIENCE, gone.read_to_end(&mut bytes)).await.expect("an end in time"));
        assert_eq!(call(&hub, "GET", "/hub/api/user", &token, "").await.status, 401, "{way}");
        assert_eq!(call(&hub, "GET", "/hub/api/user", &bobs, "").await.status, 200, "{way}: nobody else's");
    }
    assert_eq!(
        call(&hub, "GET", "/hub/api/user", &bearer("alice"), "").await.status,
        200,
        "a new one is good"
    );
}

#[tokio::test]
async fn a_program_starts_and_stops_its_owners_server() {
    let hub = Hub::start(BINARY).await;
    let token = format!("token {}", hub.signed_in("alice").await.make_token(&ALL).await);
    let user = async || json_of(&call(&hub, "GET", "/hub/api/users/alice", &token, "").await);
    assert_eq!(user().await["servers"], json!({}));
    assert_eq!(call(&hub, "GET", "/user/alice/x", &token, "").await.status, 424);
    assert_eq!(
        hub.engine().count("POST", "/containers/create"),
        0,
        "a program that only looks starts nothing"
    );
    let bad = call(&hub, "POST", "/hub/api/users/alice/server", &token, "{\"profile\": \"evil\"}").await;
    assert_eq!(bad.status, 403, "{}", bad.text());
    assert_eq!(call(&hub, "POST", "/hub/api/users/alice/server", &token, "not json").await.status, 400);
    assert_eq!(call(&hub, "POST", "/hub/api/users/bob/server", &token, "").await.status, 404);
    hub.run_workspace("alice").await;
    let model = user().await;
    assert_eq!((&model["server"], &model["servers"][""]["ready"]), (&json!("/user/alice/"), &json!(true)));
    assert_eq!(call(&hub, "POST", "/hub/api/users/alice/server", &token, "").await.status, 400, "it runs");
    let status = call(&hub, "DELETE", "/hub/api/users/alice/server", &token, "").await.status;
    assert!(status == 202 || status == 204, "{status}");
    eventually("the server stopped", || async { user().await["servers"] == json!({}) }).await;
    assert_eq!(call(&hub, "DELETE", "/hub/api/users/alice/server", &token, "").await.status, 204);
    let started = call(&hub, "POST", "/hub/api/users/alice/server", &token, "{\"profile\": \"lab\"}").await;
    assert_eq!(started.status, 202);
    hub.until_running(1).await;
}

#[tokio::test]
async fn tokens_are_made_with_tokens_and_never_do_more_than_those() {
    let hub = Hub::start(BINARY).await;
    let mut alice = hub.signed_in("alice").await;
    let token = format!("token {}", alice.make_token(&["tokens", "read:users"]).await);
    let tokens = "/hub/api/users/alice/tokens";
    let answer = call(
        &hub,
        "POST",
        tokens,
        &token,
        "{\"note\": \"n\", \"scopes\": [\"read:users!user\"], \"expires_in\": 60}",
    )
    .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made = json_of(&answer);
    assert!(made["token"].as_str().unwrap().starts_with("hubgate_"));
    assert_eq!(
        (&made["user"], &made["note"], &made["scopes"]),
        (&json!("alice"), &json!("n"), &json!(["read:users!user"]))
    );
    let all = call(&hub, "POST", tokens, &token, "{\"scopes\": [\"inherit\"], \"expires_in\": 60}").await;
    let all = json_of(&all);
    assert_eq!(all["scopes"], json!(["read:users!user", "tokens!user"]), "as much as the one that makes it");
    let id = all["id"].as_str().unwrap();
    assert_eq!(call(&hub, "DELETE", &format!("{tokens}/{id}"), &token, "").await.status, 204);
    for wrong in [
        json!({"scopes": ["self"]}),
        json!({"scopes": ["admin:services"]}),
        json!({"scopes": ["inherit", "nonsense"]}),
        json!({"scopes": ["inherit"], "expires_in": 90_000}),
        json!({"scopes": ["servers"]}),
        json!({"scopes": ["read:users", "admin:users"]}),
        json!({"scopes": ["nonsense"]}),
        json!({"scopes": []}),
        json!({"scopes": "tokens"}),
        json!({"roles": ["user"]}),
        json!({"expires_in": 0}),
        json!({"expires_in": -5}),
        json!({"expires_in": 90_000}),
        json!({"expires_in": "60"}),
        json!({"expires_in": 1e300}),
        json!({"note": "a\nb"}),
        json!({"note": "x".repeat(201)}),
        json!([]),
    ] {
        assert_eq!(call(&hub, "POST", tokens, &token, &wrong.to_string()).await.status, 400, "{wrong}");
    }
    let list = json_of(&call(&hub, "GET", tokens, &token, "").await);
    let list = list["api_tokens"].as_array().unwrap();
    assert_eq!(list.len(), 2);
    assert!(!list.iter().any(|one| one.get("token").is_some()), "shown once");
    let one = format!("{tokens}/{}", made["id"].as_str().unwrap());
    assert_eq!(json_of(&call(&hub, "GET", &one, &token, "").await)["expires_at"], made["expires_at"]);
    for id in ["", "a1", "x", "..", "%00", "a0000000000000000", "'%20--", "%25s%25n", "%0d%0a"] {
        let status = call(&hub, "DELETE", &format!("{tokens}/{id}"), &token, "").await.status;
        assert!(status == 404 || status == 400, "{id}: {status}");
    }
    assert_eq!(call(&hub, "DELETE", &one, &token, "").await.status, 204);
    assert_eq!(call(&hub, "DELETE", &one, &token, "").await.status, 404);
    assert_eq!(call(&hub, "GET", "/hub/api/users/bob/tokens", &token, "").await.status, 404);
    assert_eq!(call(&hub, "PUT", tokens, &token, "").await.status, 405);

    // A browser's session lists and revokes; it makes none here.
    assert_eq!(alice.fetch("GET", tokens, b"").await.status, 200);
    assert_eq!(alice.fetch("POST", tokens, b"{}").await.status, 403);
    let left = json_of(&alice.fetch("GET", tokens, b"").await);
    let left = left["api_tokens"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("{tokens}/{left}");
    for headers in [vec![], vec![("Origin", "https://evil.example")], vec![("Sec-Fetch-Site", "cross-site")]]
    {
        assert_eq!(alice.send("DELETE", &path, &headers, b"").await.status, 403, "{headers:?}");
    }
    assert_eq!(alice.fetch("DELETE", &path, b"").await.status, 204);
}

#[tokio::test]
async fn no_script_makes_a_token_with_a_browsers_session() {
    let hub = Hub::start(BINARY).await;
    let mut alice = hub.signed_in("alice").await;
    let page_token = alice.open("/hub/token").await.field("form_token").unwrap();
    let session_token = alice.open("/hub/logout").await.field("form_token").unwrap();
    for target in ["/hub/token", "/hub/device"] {
        assert_eq!(alice.fetch("GET", target, b"").await.status, 403, "a script reads no {target}");
        let framed = [
            ("Accept", "text/html"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Dest", "iframe"),
            ("Sec-Fetch-Site", "same-origin"),
        ];
        assert_eq!(alice.send("GET", target, &framed, b"").await.status, 403, "nor a frame");
    }
    let form = |token: &str| format!("form_token={token}&action=make&lifetime=3600&scope=read:users");
    assert_eq!(alice.fetch("POST", "/hub/token", form(&page_token).as_bytes()).await.status, 403);
    let fields = [
        ("form_token", session_token.as_str()),
        ("action", "make"),
        ("lifetime", "3600"),
        ("scope", "read:users"),
    ];
    assert_eq!(alice.submit("/hub/token", &fields).await.status, 403, "other pages' token is not enough");
    let list = json_of(&alice.fetch("GET", "/hub/api/users/alice/tokens", b"").await);
    assert_eq!(list["api_tokens"], json!([]));
}

#[tokio::test]
async fn a_token_is_shown_once_and_revoked_on_the_page() {
    let hub = Hub::start(BINARY).await;
    let mut alice = hub.signed_in("alice").await;
    let token = alice.make_token(&["read:users"]).await;
    let page = alice.open("/hub/token").await;
    assert!(page.text().contains("a test") && !page.text().contains(&token));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let (form_token, id) = (page.field("form_token").unwrap(), page.field("id").unwrap());
    let mut bob = hub.signed_in("bob").await;
    let bobs = bob.open("/hub/token").await.field("form_token").unwrap();
    bob.submit("/hub/token", &[("form_token", &bobs), ("action", "revoke"), ("id", &id)]).await;
    let authorization = format!("token {token}");
    assert_eq!(
        call(&hub, "GET", "/hub/api/user", &authorization, "").await.status,
        200,
        "not bob's to revoke"
    );
    let answer =
        alice.submit("/hub/token", &[("form_token", &form_token), ("action", "revoke"), ("id", &id)]).await;
    assert_eq!(answer.status, 303);
    assert_eq!(call(&hub, "GET", "/hub/api/user", &authorization, "").await.status, 403);
    for lifetime in ["0", "-1", "999999999", "x", ""] {
        let fields = [
            ("form_token", form_token.as_str()),
            ("action", "make"),
            ("lifetime", lifetime),
            ("scope", "read:users"),
        ];
        assert_eq!(alice.submit("/hub/token", &fields).await.status, 400, "{lifetime:?}");
    }
}

#[tokio::test]
async fn a_program_enters_an_image_that_expects_a_jupyterhub() {
    let sections = format!(
        "{EVERYONE}[[profile]]\nname = \"hub\"\nimage = \"hub:1\"\n[hub_api]\nlisten = \"{{address}}:8081\"\n"
    );
    let hub = Hub::with(BINARY, &sections).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let token = alice.make_token(&["access:servers"]).await;
    let authorization = format!("token {token}");
    assert_eq!(call(&hub, "GET", "/user/alice/x", &authorization, "").await.status, 200);
    let pass = hub.last_request("alice").header("authorization").unwrap().to_owned();
    assert!(!pass.contains(&token), "the container never holds the token itself");
    call(&hub, "GET", "/user/alice/y", &authorization, "").await;
    assert_eq!(
        hub.last_request("alice").header("authorization"),
        Some(pass.as_str()),
        "it remembers one answer"
    );
    assert_eq!(
        call(&hub, "GET", "/hub/api/user", &pass, "").await.status,
        403,
        "it opens nothing from outside"
    );

    let api = Url::parse(&hub.environment_of("alice", "JUPYTERHUB_API_URL").unwrap()).unwrap();
    let ask =
        async |pass: &str| crate::day::plain(&api, "GET", "/hub/api/user", pass, ("", "text/plain")).await;
    let (status, user) = ask(&pass).await;
    assert_eq!((status, &user["name"]), (200, &json!("alice")));
    assert!(user["scopes"].as_array().unwrap().contains(&json!("access:servers!server=alice/")));
    assert_eq!(ask(&authorization).await.0, 403, "nor does the token itself from inside");
    let (start, end) = pass.split_at(pass.len() - 1);
    assert_eq!(ask(&format!("{start}{}", if end == "A" { "B" } else { "A" })).await.0, 403, "forged");
    let page = alice.open("/hub/token").await;
    let fields = [
        ("form_token", page.field("form_token").unwrap()),
        ("action", "revoke".to_owned()),
        ("id", page.field("id").unwrap()),
    ];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    alice.submit("/hub/token", &fields).await;
    assert_eq!(ask(&pass).await.0, 403, "it ends with the token");
}
