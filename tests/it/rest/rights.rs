//! Nothing of the REST API is reached without the scope for it.

use support::client::Answer;

use support::hub::{EVERYONE, Hub, PROFILE};

use super::{Program, hub, json_of};
use crate::BINARY;

/// Every scope that there is.
const SCOPES: [&str; 21] = [
    "access:servers",
    "servers",
    "read:users",
    "tokens",
    "read:servers!user",
    "start:servers!user",
    "delete:servers!user",
    "users:activity!user",
    "list:users",
    "admin:users",
    "admin:sessions",
    "admin:servers",
    "read:servers",
    "start:servers",
    "delete:servers",
    "read:users:activity",
    "users:activity",
    "read:groups",
    "read:hub",
    "proxy",
    "shutdown",
];

const LOOK: &[&str] =
    &["admin:users", "list:users", "read:users:activity", "read:servers", "admin:servers", "read:groups"];

/// What may be asked of others, harmlessly, and the scopes that allow it.
const OTHERS: &[(&str, &str, &str, &[&str])] = &[
    ("GET", "/users", "", &["list:users", "admin:users"]),
    ("GET", "/users/bob", "", LOOK),
    ("GET", "/users/bob/server", "", &["read:servers", "admin:servers"]),
    ("GET", "/users/bob/server/progress", "", &["read:servers", "admin:servers"]),
    ("GET", "/users/bob/servers//progress", "", &["read:servers", "admin:servers"]),
    ("POST", "/users/bob/server", "{\"profile\": \"none\"}", &["start:servers", "admin:servers"]),
    ("POST", "/users/bob/servers/x", "{\"profile\": \"none\"}", &["start:servers", "admin:servers"]),
    ("DELETE", "/users/bob/server", "", &["delete:servers", "admin:servers"]),
    ("DELETE", "/users/bob/servers/x", "", &["delete:servers", "admin:servers"]),
    ("POST", "/users/bob/activity", "{}", &["users:activity", "admin:users"]),
    ("GET", "/users/bob/tokens", "", &["admin:users"]),
    ("POST", "/users/bob/tokens", "{}", &["admin:users"]),
    ("GET", "/users/bob/tokens/a0", "", &["admin:users"]),
    ("DELETE", "/users/bob/tokens/a0", "", &["admin:users"]),
    ("GET", "/users/bob/sessions", "", &["admin:sessions"]),
    ("GET", "/sessions", "", &["admin:sessions"]),
    ("DELETE", "/sessions/000000000000", "", &["admin:sessions"]),
    ("GET", "/groups", "", &["read:groups", "admin:users"]),
    ("GET", "/groups/x", "", &["read:groups", "admin:users"]),
    ("GET", "/services", "", &["read:hub"]),
    ("GET", "/info", "", &["read:hub"]),
    ("GET", "/proxy", "", &["proxy"]),
    ("POST", "/proxy", "", &["proxy"]),
    ("POST", "/shutdown", "{\"servers\": true}", &["shutdown"]),
];

/// The same of what is one's own.
const OWN: &[(&str, &str, &str, &[&str])] = &[
    ("GET", "/users/ada", "", &["read:users", "servers", "read:servers!user"]),
    ("GET", "/users/ada/server", "", &["read:users", "servers", "read:servers!user"]),
    ("GET", "/users/ada/server/progress", "", &["read:users", "servers", "read:servers!user"]),
    ("POST", "/users/ada/server", "{\"profile\": \"none\"}", &["servers", "start:servers!user"]),
    ("POST", "/users/ada/servers/x", "{\"profile\": \"none\"}", &["servers", "start:servers!user"]),
    ("DELETE", "/users/ada/server", "", &["servers", "delete:servers!user"]),
    ("DELETE", "/users/ada/servers/x", "", &["servers", "delete:servers!user"]),
    ("POST", "/users/ada/activity", "{}", &["users:activity!user"]),
    ("GET", "/users/ada/tokens", "", &["tokens"]),
    ("GET", "/users/ada/tokens/a0", "", &["tokens"]),
    ("DELETE", "/users/ada/tokens/a0", "", &["tokens"]),
    ("GET", "/users/ada/sessions", "", &["read:users"]),
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
            let allowed = allowing.contains(&scope);
            assert_eq!(!is_refused(&answer), allowed, "{method} {path} with {scope}: {}", answer.text());
        }
        assert_eq!(program.ask("GET", "/user", "").await.status, 200);
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
    for scope in ["admin:servers", "start:servers", "users:activity", "shutdown", "proxy"] {
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
