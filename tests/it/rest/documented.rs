//! The calls of JupyterHub's own guides, as their examples write them: what each is answered, and that the answer has what
//! they read in it.

use hubgate::token::Scope;
use serde_json::{Value, json};
use support::client::Answer;
use support::eventually::eventually;
use support::hub::{EVERYONE, Hub, PROFILE};
use support::process::USER_DOMAINS;

use super::{ADA, json_of};
use crate::BINARY;

/// A call and its answer: method, address, body, status, and what is in the answer. `"…"` stands for any value there.
type Row = (&'static str, &'static str, &'static str, u16, Value);

/// Asks as `curl` does: its body has the type of a form, whatever it is.
async fn curl(hub: &Hub, (method, path, body): (&str, &str, &str), token: &str) -> Answer {
    let authorization = format!("token {token}");
    let mut headers =
        vec![("Authorization", authorization.as_str()), ("Accept", "*/*"), ("User-Agent", "curl/8.5.0")];
    if !body.is_empty() {
        headers.push(("Content-Type", "application/x-www-form-urlencoded"));
    }
    hub.client().send(method, path, &headers, body.as_bytes()).await
}

/// Whether an answer has all that is expected of it.
fn has(answer: &Value, expected: &Value) -> bool {
    match (answer, expected) {
        (_, Value::String(any)) if any == "…" => true,
        (Value::Object(answer), Value::Object(expected)) => {
            expected.iter().all(|(key, value)| answer.get(key).is_some_and(|found| has(found, value)))
        }
        (Value::Array(answer), Value::Array(expected)) => {
            answer.len() == expected.len() && answer.iter().zip(expected).all(|(one, two)| has(one, two))
        }
        (answer, expected) => answer == expected,
    }
}

async fn follow(hub: &Hub, token: &str, rows: &[Row]) {
    for (method, path, body, status, expected) in rows {
        let answer = curl(hub, (method, path, body), token).await;
        let found = json_of(&answer);
        let good = answer.status == *status && (expected.is_null() || has(&found, expected));
        assert!(good, "{method} {path} {body}: {} {}", answer.status, answer.text());
    }
}

/// A token of all that a person may give away, as those of JupyterHub's examples are, where they say nothing else.
async fn everything(hub: &Hub, user: &str, admin: bool) -> String {
    let all = Scope::ALL.into_iter().filter(|scope| admin || !scope.is_admin());
    let names: Vec<_> = all.map(Scope::name).collect();
    hub.signed_in(user).await.make_token(&names).await
}

#[tokio::test]
async fn the_calls_of_using_jupyterhubs_rest_api_are_answered() {
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{ADA}{PROFILE}[spawner]\nnamed_servers = 3\n")).await;
    for server in ["", "servera", "serverb"] {
        hub.answer_at("ada", server).await;
    }
    let ada = everything(&hub, "ada", true).await;
    // howto/rest.md
    follow(
        &hub,
        &ada,
        &[
            (
                "POST",
                "/hub/api/users/ada/tokens",
                "{\"scopes\": [\"list:users\"]}",
                201,
                json!({ "token": "…", "id": "…", "user": "ada", "scopes": ["list:users"] }),
            ),
            (
                "POST",
                "/hub/api/users/ada/tokens",
                "{\"expires_in\": 60}",
                201,
                json!({ "token": "…", "expires_at": "…" }),
            ),
            (
                "POST",
                "/hub/api/users/ada/tokens",
                "{\"scopes\": [\"inherit\"]}",
                201,
                json!({ "token": "…", "user": "ada" }),
            ),
            ("GET", "/hub/api/users", "", 200, json!([{ "name": "ada", "kind": "user", "admin": true }])),
            ("POST", "/hub/api/users", "{\"usernames\": [\"user1\", \"user2\"]}", 201, json!(["…", "…"])),
            ("POST", "/hub/api/groups/formgrade-data301", "", 201, json!({ "name": "formgrade-data301" })),
            (
                "POST",
                "/hub/api/groups/formgrade-data301/users",
                "{\"name\": \"mygroup\", \"users\": [\"user1\", \"user2\"]}",
                200,
                json!({ "name": "formgrade-data301", "users": ["user1", "user2"] }),
            ),
            ("GET", "/hub/api/users?offset=0&limit=20", "", 200, json!(["…", "…", "…"])),
            ("POST", "/hub/api/users/ada/server", "", 202, Value::Null),
            ("POST", "/hub/api/users/ada/servers/servera", "", 202, Value::Null),
            ("POST", "/hub/api/users/ada/servers/serverb", "", 202, Value::Null),
        ],
    )
    .await;
    for server in ["servera", "serverb"] {
        let path = format!("/hub/api/users/ada/servers/{server}");
        until_ready(&hub, &ada, &path).await;
        assert_eq!(curl(&hub, ("DELETE", &path, ""), &ada).await.status, 202, "{server}");
    }
    let accept = [
        ("Authorization", format!("token {ada}")),
        ("Accept", "application/jupyterhub-pagination+json".to_owned()),
    ];
    let accept: Vec<_> = accept.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let page = hub.client().send("GET", "/hub/api/users?offset=0&limit=2", &accept, b"").await;
    let next = json!({ "offset": 2, "limit": 2, "url": "…" });
    let pages = json!({ "offset": 0, "limit": 2, "total": 3, "next": next });
    let expected = json!({ "items": ["…", "…"], "_pagination": pages });
    assert!(has(&json_of(&page), &expected), "{}", page.text());
}

async fn until_ready(hub: &Hub, token: &str, path: &str) {
    eventually("the server is ready", || async {
        json_of(&curl(hub, ("GET", path, ""), token).await)["ready"] == true
    })
    .await;
}

#[tokio::test]
async fn the_calls_of_starting_servers_with_the_jupyterhub_api_are_answered() {
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{ADA}{PROFILE}")).await;
    hub.answer_at("test-1", "").await;
    hub.signed_in("test-1").await;
    let ada = everything(&hub, "ada", true).await;
    // tutorial/server-api.md
    let user = |servers: Value| {
        json!({
            "admin": false, "groups": [], "pending": "…", "server": "…", "name": "test-1", "kind": "user",
            "last_activity": "…", "created": "…", "roles": [], "servers": servers,
        })
    };
    let server = |pending: &str, ready: Value| {
        json!({
            "name": "", "last_activity": "…", "started": "…", "pending": pending, "ready": ready,
            "url": "/user/test-1/", "user_options": "…",
            "progress_url": "/hub/api/users/test-1/server/progress",
        })
    };
    follow(
        &hub,
        &ada,
        &[
            ("GET", "/hub/api/users/test-1", "", 200, user(json!({}))),
            ("POST", "/hub/api/users/test-1/servers/", "", 202, Value::Null),
            ("GET", "/hub/api/users/test-1", "", 200, user(json!({ "": server("…", "…".into()) }))),
        ],
    )
    .await;
    let progress = curl(&hub, ("GET", "/hub/api/users/test-1/servers//progress", ""), &ada).await;
    let last = progress.text().lines().rfind(|line| line.starts_with("data:")).map(ToOwned::to_owned);
    let last: Value = serde_json::from_str(last.unwrap_or_default().trim_start_matches("data:")).unwrap();
    let link = "Server ready at <a href=\"/user/test-1/\">/user/test-1/</a>";
    let ready = json!({
        "progress": 100, "ready": true, "message": "Server ready at /user/test-1/", "html_message": link,
        "url": "/user/test-1/",
    });
    assert!(has(&last, &ready), "{last}");
    follow(
        &hub,
        &ada,
        &[
            ("GET", "/hub/api/users/test-1/servers/", "", 200, server("…", true.into())),
            ("GET", "/hub/api/users/test-1", "", 200, user(json!({ "": server("…", true.into()) }))),
            ("DELETE", "/hub/api/users/test-1/servers/", "", 202, Value::Null),
        ],
    )
    .await;
    eventually("it is absent", || async {
        json_of(&curl(&hub, ("GET", "/hub/api/users/test-1", ""), &ada).await)["servers"] == json!({})
    })
    .await;
    follow(&hub, &ada, &[("DELETE", "/hub/api/users/test-1/servers/", "", 204, Value::Null)]).await;
    // Whoever starts their own server talks to it with the same token.
    let own = everything(&hub, "test-1", false).await;
    follow(&hub, &own, &[("POST", "/hub/api/users/test-1/servers/", "", 202, Value::Null)]).await;
    until_ready(&hub, &own, "/hub/api/users/test-1/server").await;
    follow(&hub, &own, &[("GET", "/user/test-1/api/status", "", 200, Value::Null)]).await;
}

#[tokio::test]
async fn the_calls_of_services_are_answered() {
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{ADA}{PROFILE}")).await;
    let ada = everything(&hub, "ada", true).await;
    // reference/services.md: what a service asks with the token of whoever comes.
    let none = json!({ "status": 404, "message": "…" });
    follow(
        &hub,
        &ada,
        &[
            ("GET", "/hub/api/user", "", 200, json!({ "name": "ada", "groups": [], "scopes": "…" })),
            ("GET", "/hub/api/services", "", 200, json!({})),
            ("GET", "/hub/api/services/whoami", "", 404, none.clone()),
            (
                "POST",
                "/hub/api/services/whoami",
                "{\"url\": \"http://10.0.1.1:1984\", \"api_token\": \"super-secret\"}",
                400,
                json!({ "status": 400, "message": "…" }),
            ),
            ("DELETE", "/hub/api/services/whoami", "", 404, none),
            (
                "PATCH",
                "/hub/api/proxy",
                "{\"api_url\": \"http://127.0.0.1:9001\"}",
                400,
                json!({ "message": "…" }),
            ),
        ],
    )
    .await;
}

/// A hub where Barb shares, with her token for it.
async fn sharing() -> (Hub, String) {
    let sections = format!("{USER_DOMAINS}{EVERYONE}{ADA}{PROFILE}[sharing]\nenabled = true\n");
    let hub = Hub::with(BINARY, &sections).await;
    hub.signed_in("shared-with").await;
    hub.signed_in_with("barb", json!({ "groups": ["groupname"] })).await;
    let mut barb = hub.signed_in_with("barb", json!({ "groups": ["groupname"] })).await;
    let barb = barb.make_token(&["shares!user"]).await;
    (hub, barb)
}

/// What each share and each code of hers has.
fn of_barb(more: &Value) -> Value {
    let server = json!({ "user": { "name": "barb" }, "name": "", "url": "…", "ready": false });
    let scopes = json!(["read:servers!server=barb/", "access:servers!server=barb/"]);
    let mut of_barb = json!({ "server": server, "scopes": scopes, "created_at": "…" });
    of_barb.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    of_barb
}

fn with_user() -> Value {
    of_barb(&json!({ "user": { "name": "shared-with" }, "group": null, "kind": "…" }))
}

fn with_group() -> Value {
    of_barb(&json!({ "user": null, "group": { "name": "groupname" }, "kind": "…" }))
}

fn list(item: &Value) -> Value {
    let pages = json!({ "offset": 0, "limit": "…", "total": 1, "next": null });
    json!({ "items": [item], "_pagination": pages })
}

#[tokio::test]
async fn the_calls_of_sharing_access_to_user_servers_are_answered() {
    let (hub, barb) = sharing().await;
    let server = "/hub/api/shares/barb/";
    // reference/sharing.md, tutorial/sharing.md
    let all = "{\"scopes\": [], \"user\": \"shared-with\"}";
    let access = "{\"scopes\": [\"access:servers!server=barb/\"], \"user\": \"shared-with\"}";
    let never_shared = "{\"user\": \"shared-with\", \"scopes\": [\"shares!server=barb/\"]}";
    follow(
        &hub,
        &barb,
        &[
            ("POST", server, all, 200, with_user()),
            ("POST", server, access, 200, with_user()),
            ("GET", server, "", 200, list(&with_user())),
            // What was never shared is taken back already.
            ("PATCH", server, never_shared, 200, with_user()),
            ("PATCH", server, "{\"user\": \"shared-with\"}", 200, json!({})),
            ("POST", server, "{\"group\": \"groupname\"}", 200, with_group()),
            ("DELETE", server, "", 204, Value::Null),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_calls_of_codes_that_share_are_answered() {
    let (hub, barb) = sharing().await;
    let server = "/hub/api/share-codes/barb/";
    let code = of_barb(&json!({
        "id": "…", "expires_at": "…", "exchange_count": 0, "last_exchanged_at": null,
    }));
    // Who may start a server and share it is not for a share to say.
    let beyond = "{\"scopes\": [\"access:servers!server=barb/\", \"servers!server=barb/\"]}";
    let refused = json!({ "message": "Not a scope that can be shared: servers!server=barb/" });
    // reference/sharing.md, tutorial/sharing.md
    follow(
        &hub,
        &barb,
        &[
            ("POST", server, "", 200, code.clone()),
            ("GET", server, "", 200, list(&code)),
            ("DELETE", server, "", 204, Value::Null),
            ("POST", server, beyond, 400, refused),
        ],
    )
    .await;
    let asked = "{\"scopes\": [\"access:servers!server=barb/\"], \"expires_in\": 3600}";
    for by in ["id", "code"] {
        let made = json_of(&curl(&hub, ("POST", server, asked), &barb).await);
        let path = format!("{server}?{by}={}", made[by].as_str().unwrap());
        assert_eq!(curl(&hub, ("DELETE", &path, ""), &barb).await.status, 204, "{path}");
    }
}

#[tokio::test]
async fn the_calls_of_whom_a_server_is_shared_with_are_answered() {
    let (hub, barb) = sharing().await;
    for with in ["{\"user\": \"shared-with\"}", "{\"group\": \"groupname\"}"] {
        assert_eq!(curl(&hub, ("POST", "/hub/api/shares/barb/", with), &barb).await.status, 200, "{with}");
    }
    let other = hub.signed_in("shared-with").await.make_token(&["self"]).await;
    // reference/sharing.md
    follow(
        &hub,
        &other,
        &[
            ("GET", "/hub/api/users/shared-with/shared", "", 200, list(&with_user())),
            ("GET", "/hub/api/users/shared-with/shared/barb/", "", 200, with_user()),
            ("DELETE", "/hub/api/users/shared-with/shared/barb/", "", 204, Value::Null),
            ("GET", "/hub/api/users/shared-with/shared/barb/", "", 404, Value::Null),
        ],
    )
    .await;
    let ada = everything(&hub, "ada", true).await;
    follow(
        &hub,
        &ada,
        &[
            ("GET", "/hub/api/groups/groupname/shared", "", 200, list(&with_group())),
            ("GET", "/hub/api/groups/groupname/shared/barb/", "", 200, with_group()),
            ("DELETE", "/hub/api/groups/groupname/shared/barb/", "", 204, Value::Null),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_link_that_shares_is_good_with_the_slash_that_the_documentation_gives_it() {
    let sections = format!("{USER_DOMAINS}{EVERYONE}{PROFILE}[sharing]\nenabled = true\n");
    let hub = Hub::with(BINARY, &sections).await;
    let barb = hub.signed_in("barb").await.make_token(&["shares!user"]).await;
    let made = json_of(&curl(&hub, ("POST", "/hub/api/share-codes/barb/", ""), &barb).await);
    let path = made["accept_url"].as_str().unwrap().replace("accept-share?", "accept-share/?");
    let page = hub.signed_in("shared-with").await.open(&path).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(page.field("code").as_deref(), made["code"].as_str());
}
