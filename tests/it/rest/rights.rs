//! Nothing of the REST API is reached without the scope for it.

use support::client::Answer;

use support::hub::{EVERYONE, Hub, PROFILE};

use super::{Program, hub, json_of};
use crate::BINARY;

/// Every scope that there is; an administrator has them for everybody.
const SCOPES: [&str; 32] = [
    "access:servers",
    "servers",
    "read:users",
    "tokens",
    "read:tokens",
    "read:servers",
    "start:servers",
    "delete:servers",
    "read:users:name",
    "read:users:groups",
    "read:users:activity",
    "users:activity",
    "list:users",
    "users",
    "admin:users",
    "admin:sessions",
    "admin:servers",
    "delete:users",
    "admin:groups",
    "groups",
    "delete:groups",
    "read:groups",
    "list:groups",
    "read:groups:name",
    "access:services",
    "read:roles",
    "read:roles:users",
    "read:hub",
    "list:services",
    "read:services",
    "proxy",
    "shutdown",
];

/// Those that bring a part of `read:users` along.
const LOOK: &[&str] = &[
    "admin:users",
    "users",
    "list:users",
    "read:users",
    "read:users:name",
    "read:users:groups",
    "read:users:activity",
    "users:activity",
    "read:servers",
    "servers",
    "admin:servers",
    "read:roles",
    "read:roles:users",
];

const WATCH: &[&str] = &["read:servers", "servers", "admin:servers"];
const WATCH_OWN: &[&str] =
    &["read:servers", "servers", "admin:servers", "read:users", "users", "admin:users"];
const START: &[&str] = &["start:servers", "servers", "admin:servers"];
const STOP: &[&str] = &["delete:servers", "servers", "admin:servers"];
const REPORT: &[&str] = &["users:activity", "users", "admin:users"];

const SERVICES: &[&str] = &["read:hub", "list:services", "read:services"];

const SEE_GROUPS: &[&str] = &["read:groups", "list:groups", "admin:users", "groups", "admin:groups"];

/// What may be asked of others, harmlessly, and the scopes that allow it. `read:groups` shows users, too.
const OTHERS: &[(&str, &str, &str, &[&str])] = &[
    ("GET", "/users", "", &["list:users", "users", "admin:users"]),
    ("GET", "/users/bob", "", LOOK),
    ("GET", "/users/bob/server", "", WATCH),
    ("GET", "/users/bob/server/progress", "", WATCH),
    ("GET", "/users/bob/servers//progress", "", WATCH),
    ("POST", "/users/bob/server", "{\"profile\": \"none\"}", START),
    ("POST", "/users/bob/servers/x", "{\"profile\": \"none\"}", START),
    ("DELETE", "/users/bob/server", "", STOP),
    ("DELETE", "/users/bob/servers/x", "", STOP),
    ("POST", "/users/bob/activity", "{}", REPORT),
    ("GET", "/users/bob/tokens", "", &["admin:users", "tokens", "read:tokens"]),
    ("POST", "/users/bob/tokens", "{}", &["admin:users", "tokens"]),
    ("GET", "/users/bob/tokens/a0", "", &["admin:users", "tokens", "read:tokens"]),
    ("DELETE", "/users/bob/tokens/a0", "", &["admin:users", "tokens"]),
    ("GET", "/users/bob/sessions", "", &["admin:sessions"]),
    ("GET", "/sessions", "", &["admin:sessions"]),
    ("DELETE", "/sessions/000000000000", "", &["admin:sessions"]),
    ("POST", "/users", "{}", &["admin:users"]),
    ("POST", "/users/bob", "{}", &["admin:users"]),
    ("PATCH", "/users/bob", "{}", &["admin:users"]),
    ("GET", "/groups", "", SEE_GROUPS),
    ("POST", "/groups", "{}", &["admin:groups"]),
    (
        "GET",
        "/groups/x",
        "",
        &["read:groups", "list:groups", "read:groups:name", "admin:users", "groups", "admin:groups"],
    ),
    ("POST", "/groups/x", "[]", &["admin:groups"]),
    ("DELETE", "/groups/x", "", &["delete:groups", "admin:groups"]),
    ("POST", "/groups/x/users", "{}", &["groups", "admin:groups"]),
    ("DELETE", "/groups/x/users", "{}", &["groups", "admin:groups"]),
    ("PUT", "/groups/x/properties", "{}", &["groups", "admin:groups"]),
    ("GET", "/services", "", SERVICES),
    ("GET", "/services/x", "", SERVICES),
    ("POST", "/services/x", "{}", SERVICES),
    ("DELETE", "/services/x", "", SERVICES),
    ("GET", "/info", "", &["read:hub"]),
    ("GET", "/proxy", "", &["proxy"]),
    ("POST", "/proxy", "", &["proxy"]),
    ("PATCH", "/proxy", "{}", &["proxy"]),
    ("POST", "/shutdown", "{\"servers\": true}", &["shutdown"]),
];

/// The same of what is one's own.
const OWN: &[(&str, &str, &str, &[&str])] = &[
    ("GET", "/users/ada", "", LOOK),
    ("DELETE", "/users/ada", "", &["delete:users", "admin:users"]),
    ("POST", "/users/ada", "{}", &["admin:users"]),
    ("PATCH", "/users/ada", "{}", &["admin:users"]),
    ("GET", "/users/ada/server", "", WATCH_OWN),
    ("GET", "/users/ada/server/progress", "", WATCH_OWN),
    ("POST", "/users/ada/server", "{\"profile\": \"none\"}", START),
    ("POST", "/users/ada/servers/x", "{\"profile\": \"none\"}", START),
    ("DELETE", "/users/ada/server", "", STOP),
    ("DELETE", "/users/ada/servers/x", "", STOP),
    ("POST", "/users/ada/activity", "{}", REPORT),
    ("GET", "/users/ada/tokens", "", &["tokens", "read:tokens"]),
    ("GET", "/users/ada/tokens/a0", "", &["tokens", "read:tokens"]),
    ("DELETE", "/users/ada/tokens/a0", "", &["tokens"]),
    ("GET", "/users/ada/sessions", "", &["read:users", "users", "admin:users", "admin:sessions"]),
];

/// Whether an answer is that of something that is not to be had.
fn is_refused(answer: &Answer) -> bool {
    let lacks = answer.header("www-authenticate").is_some_and(|why| why.contains("insufficient_scope"));
    let hidden = answer.status == 404 && json_of(answer)["message"] == "No such user";
    assert!(answer.status < 500, "{}", answer.text());
    answer.status == 401 || answer.status == 403 && lacks || hidden
}

#[tokio::test]
async fn nothing_of_the_api_is_reached_without_its_scope() {
    let hub = hub("").await;
    hub.signed_in("bob").await;
    let mut ada = hub.signed_in("ada").await;
    for scope in SCOPES {
        let program = Program::new(&hub, &mut ada, &[scope]).await;
        for (method, path, body, allowing) in OTHERS.iter().chain(OWN) {
            let answer = program.ask(method, path, body).await;
            let by_group = matches!(scope, "read:groups" | "groups" | "admin:groups")
                && (*method, *path) == ("GET", "/users/bob");
            let allowed = allowing.contains(&scope) || by_group;
            assert_eq!(!is_refused(&answer), allowed, "{method} {path} with {scope}: {}", answer.text());
        }
        assert_eq!(program.ask("GET", "/user", "").await.status, 200);
        // The same scope for what is theirs: of others there is nothing, whoever they are.
        if !OWN.iter().any(|(_, _, _, allowing)| allowing.contains(&scope)) {
            continue;
        }
        let own = format!("{scope}!user");
        let program = Program::new(&hub, &mut ada, &[&own]).await;
        for (method, path, body, allowing) in OTHERS.iter().chain(OWN) {
            let answer = program.ask(method, path, body).await;
            let mine = path.starts_with("/users/ada")
                || matches!(*path, "/users" | "/sessions" | "/sessions/000000000000");
            // Its filter names nobody's group: it finds none.
            if scope == "admin:users" && *method == "GET" && path.starts_with("/groups") {
                assert!(matches!((answer.status, answer.text().as_str()), (200, "[]") | (404, _)), "{path}");
                continue;
            }
            let allowed = mine && allowing.contains(&scope);
            assert_eq!(!is_refused(&answer), allowed, "{method} {path} with {own}: {}", answer.text());
        }
    }
    assert_eq!(hub.engine().count("POST", "/containers/create"), 0);
}

#[tokio::test]
async fn whoever_is_no_administrator_finds_nothing_of_others_whether_they_exist_or_not() {
    let hub = hub("").await;
    hub.signed_in("bob").await;
    let mut alice = hub.signed_in("alice").await;
    let own = ["access:servers", "servers", "read:users", "tokens"];
    let program = Program::new(&hub, &mut alice, &own).await;
    for (method, path, body, _) in OTHERS {
        let answer = program.ask(method, path, body).await;
        assert!(is_refused(&answer), "{method} {path}: {} {}", answer.status, answer.text());
        let unknown = path.replace("/bob", "/nobody");
        let other = program.ask(method, &unknown, body).await;
        assert_eq!((other.status, &other.body), (answer.status, &answer.body), "{method} {unknown}");
        let headers = [("Content-Type", "application/json")];
        let path = format!("/hub/api{path}");
        assert_eq!(hub.client().send(method, &path, &headers, body.as_bytes()).await.status, 401, "{path}");
        let session = alice.fetch(method, &path, body.as_bytes()).await;
        assert!(session.status == 404 || session.status == 403, "{method} {path}: {}", session.text());
    }
    for scope in ["admin:servers", "users", "start:servers!user=bob", "shutdown", "proxy"] {
        let page = alice.open("/hub/token").await;
        let fields = [
            ("form_token", page.field("form_token").unwrap()),
            ("action", "make".to_owned()),
            ("lifetime", "86400".to_owned()),
            ("scope", scope.to_owned()),
        ];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(alice.submit("/hub/token", &fields).await.status, 400, "{scope}");
    }
}

#[tokio::test]
async fn an_administrators_browser_changes_nothing_of_others_by_a_notebooks_code() {
    let hub = hub("").await;
    hub.run_workspace("bob").await;
    let mut ada = hub.signed_in("ada").await;
    for (method, path, body, _) in OTHERS {
        // As code in a page of the hub's origin does: with the cookie, and marks that no script can change.
        let answer = ada.fetch(method, &format!("/hub/api{path}"), body.as_bytes()).await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
    }
    hub.until_running(1).await;
}

#[tokio::test]
async fn an_administrators_scopes_are_lost_with_the_role() {
    let rules = format!("{EVERYONE}[[rule]]\nrealm_roles = [\"boss\"]\nadmin = true\n{PROFILE}");
    let hub = Hub::with(BINARY, &rules).await;
    hub.provider().map_roles();
    let boss = serde_json::json!({ "realm_access": { "roles": ["boss"] } });
    let mut eve = hub.signed_in_with("eve", boss).await;
    let program = Program::new(&hub, &mut eve, &["list:users", "admin:servers", "shutdown"]).await;
    assert_eq!(program.ask("GET", "/users", "").await.status, 200);
    hub.signed_in_with("eve", serde_json::json!({ "realm_access": { "roles": [] } })).await;
    for (method, path) in [("GET", "/users"), ("DELETE", "/users/eve/server"), ("POST", "/shutdown")] {
        assert_eq!(program.ask(method, path, "").await.status, 403, "{path}");
    }
}
