//! The REST API: users, servers, groups, and what administrators see of the hub.

mod cancel;
mod documented;
mod filters;
mod groups;
mod people;
mod pulls;
mod rights;
mod servers;

use std::collections::BTreeSet;

use hubgate::clock::{Clock, utc};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::client::{Answer, Client};
use support::eventually::eventually;
use support::hub::{EVERYONE, Hub, PROFILE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::BINARY;
use crate::callers::call;

/// An answer that has begun.
struct Begun(TlsStream<TcpStream>);

impl Begun {
    /// Its head, and the chunks that it comes in, to its end.
    async fn rest(mut self) -> String {
        let mut rest = Vec::new();
        // How the connection ends does not matter.
        drop(self.0.read_to_end(&mut rest).await);
        String::from_utf8(rest).unwrap()
    }
}

/// Ada is an administrator.
const ADA: &str = "[[rule]]\nusers = [\"ada\"]\nadmin = true\n";

/// All scopes that reach other users.
const ADMIN: &[&str] = &[
    "list:users",
    "admin:users",
    "admin:servers",
    "read:servers",
    "read:users:activity",
    "users:activity",
    "read:groups",
    "read:hub",
    "proxy",
    "shutdown",
];

/// What the documentation of jupyterhub-idle-culler asks for.
const CULLER: &[&str] = &["list:users", "read:users:activity", "read:servers", "delete:servers"];

async fn hub(more: &str) -> Hub {
    Hub::with(BINARY, &format!("{EVERYONE}{ADA}{PROFILE}{more}")).await
}

/// A program of Ada's.
struct Program<'h> {
    hub: &'h Hub,
    authorization: String,
}

impl<'h> Program<'h> {
    async fn new(hub: &'h Hub, browser: &mut Client, scopes: &[&str]) -> Self {
        Self { hub, authorization: format!("token {}", browser.make_token(scopes).await) }
    }

    async fn of_ada(hub: &'h Hub, scopes: &[&str]) -> Self {
        Self::new(hub, &mut hub.signed_in("ada").await, scopes).await
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        call(self.hub, method, &format!("/hub/api{path}"), &self.authorization, body).await
    }

    /// Asks for what is told bit by bit, and waits until it begins.
    async fn begin(&self, path: &str) -> Begun {
        let client = self.hub.client();
        let mut stream = client.connect(&["http/1.1"]).await;
        let (host, authorization) = (client.host(), &self.authorization);
        let head = format!(
            "GET /hub/api{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        Begun(stream)
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        json_of(&answer)
    }

    /// A page with its description.
    async fn page(&self, path: &str) -> Value {
        let accept = "application/jupyterhub-pagination+json";
        let headers = [("Authorization", self.authorization.as_str()), ("Accept", accept)];
        let answer = self.hub.client().send("GET", &format!("/hub/api{path}"), &headers, b"").await;
        let kind = Some("application/json");
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{}", answer.text());
        json_of(&answer)
    }
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().filter_map(|user| user["name"].as_str()).collect()
}

#[tokio::test]
async fn administrators_list_users_in_pages() {
    let hub = hub("").await;
    let program = Program::of_ada(&hub, ADMIN).await;
    for user in ["carl", "bob"] {
        hub.signed_in(user).await;
    }
    hub.run_workspace("alice").await;
    assert_eq!(names(&program.get("/users?sort=name").await), ["ada", "alice", "bob", "carl"]);
    assert_eq!(names(&program.get("/users?sort=-name").await), ["carl", "bob", "alice", "ada"]);
    assert_eq!(names(&program.get("/users?name_filter=AR").await), ["carl"]);
    for state in ["active", "ready"] {
        assert_eq!(names(&program.get(&format!("/users?state={state}")).await), ["alice"], "{state}");
    }
    assert_eq!(names(&program.get("/users?state=inactive&sort=name").await), ["ada", "bob", "carl"]);
    assert_eq!(names(&program.get("/users?sort=name&limit=1&offset=2").await), ["bob"]);
    assert_eq!(
        names(&program.get("/users?sort=name&limit=0&offset=-1").await),
        ["alice"],
        "as JupyterHub does"
    );

    let mut page = program.page("/users?sort=name&limit=3").await;
    assert_eq!(names(&page["items"]), ["ada", "alice", "bob"]);
    let next = format!("{}/hub/api/users?sort=name&offset=3&limit=3", hub.origin());
    let described =
        json!({ "offset": 0, "limit": 3, "total": 4, "next": { "offset": 3, "limit": 3, "url": next } });
    assert_eq!(page["_pagination"], described);
    page = program.page(next.split_once("/hub/api").unwrap().1).await;
    assert_eq!(names(&page["items"]), ["carl"]);
    assert_eq!(page["_pagination"]["next"], Value::Null);
    assert_eq!(program.page("/users").await["_pagination"]["limit"], 50, "a page has a size by itself");
    for wrong in ["state=x", "sort=x", "limit=x", "offset=1.5"] {
        let answer = program.ask("GET", &format!("/users?{wrong}"), "").await;
        assert_eq!((answer.status, &json_of(&answer)["status"]), (400, &json!(400)), "{wrong}");
    }
}

#[tokio::test]
async fn a_user_and_their_server_are_described_as_jupyterhub_does() {
    let hub = hub("").await;
    hub.run_workspace("alice").await;
    let program = Program::of_ada(&hub, ADMIN).await;
    let user = program.get("/users/alice").await;
    for (key, value) in [
        ("kind", json!("user")),
        ("name", json!("alice")),
        ("admin", json!(false)),
        ("server", json!("/user/alice/")),
        ("pending", Value::Null),
        ("groups", json!([])),
        ("profiles", json!(["lab"])),
    ] {
        assert_eq!(user[key], value, "{key}: {user}");
    }
    let server = &user["servers"][""];
    for (key, value) in [
        ("name", json!("")),
        ("ready", json!(true)),
        ("stopped", json!(false)),
        ("pending", Value::Null),
        ("url", json!("/user/alice/")),
        ("progress_url", json!("/hub/api/users/alice/server/progress")),
        ("full_url", json!(format!("{}/user/alice/", hub.origin()))),
        ("user_options", json!({ "profile": "lab" })),
    ] {
        assert_eq!(server[key], value, "{key}: {server}");
    }
    for time in [&user["created"], &user["last_activity"], &server["started"], &server["last_activity"]] {
        assert!(time.as_str().is_some_and(|time| time.len() == 20 && time.ends_with('Z')), "{user}");
    }
    assert!(server.get("state").is_none());
    assert_eq!(&program.get("/users/alice/server").await, server);
    let bob = hub.signed_in("bob").await;
    drop(bob);
    assert_eq!(program.get("/users/bob").await["servers"], json!({}));
    let stopped = &program.get("/users/bob?include_stopped_servers=1").await["servers"][""];
    assert_eq!((&stopped["stopped"], &stopped["ready"]), (&json!(true), &json!(false)));
    assert_eq!(program.ask("GET", "/users/nobody", "").await.status, 404);
    let own = program.get("/user").await;
    assert_eq!((&own["name"], &own["token_id"].is_string()), (&json!("ada"), &true));
}

#[tokio::test]
async fn a_token_of_any_scope_says_who_its_owner_is_and_in_which_groups() {
    let hub = hub("").await;
    let mut ada = hub.signed_in_with("ada", json!({ "groups": ["lab", "nbgrader-physics"] })).await;
    for (scope, more) in [("access:servers", false), ("read:users", true)] {
        let user = Program::new(&hub, &mut ada, &[scope]).await.get("/user").await;
        let expected = [
            ("kind", json!("user")),
            ("name", json!("ada")),
            ("admin", json!(true)),
            ("groups", json!(["lab", "nbgrader-physics"])),
            ("session_id", Value::Null),
        ];
        for (key, value) in expected {
            assert_eq!(user[key], value, "{key} with {scope}: {user}");
        }
        assert_eq!(user.get("created").is_some(), more, "{user}");
        assert_eq!(user.get("servers").is_some(), more, "{user}");
    }
}

#[tokio::test]
async fn what_is_seen_of_others_goes_as_far_as_the_scopes() {
    let hub = hub("").await;
    hub.run_workspace("alice").await;
    let mut ada = hub.signed_in("ada").await;
    let mut keys = async |scopes: &[&str]| {
        let program = Program::new(&hub, &mut ada, scopes).await;
        let user = program.get("/users/alice").await;
        user.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(&["list:users"]).await, ["admin", "kind", "name"]);
    assert_eq!(keys(&["read:users:activity"]).await, ["admin", "kind", "last_activity", "name"]);
    assert_eq!(keys(&["read:groups"]).await, ["admin", "groups", "kind", "name"]);
    assert_eq!(keys(&["read:servers"]).await, ["admin", "kind", "name", "pending", "server", "servers"]);
    let all = keys(&["admin:users"]).await;
    assert_eq!(all, ["admin", "created", "groups", "kind", "last_activity", "name", "profiles", "roles"]);
}

#[tokio::test]
async fn groups_are_those_that_the_provider_said() {
    let hub = hub("").await;
    hub.signed_in_with("alice", json!({ "groups": ["/lab/a", "staff"] })).await;
    hub.signed_in_with("bob", json!({ "groups": ["staff"] })).await;
    let program = Program::of_ada(&hub, &["read:groups"]).await;
    let group = |name: &str, users: Value| json!({ "kind": "group", "name": name, "users": users, "roles": [], "properties": {} });
    let (lab, staff) = (group("/lab/a", json!(["alice"])), group("staff", json!(["alice", "bob"])));
    assert_eq!(program.get("/groups").await, json!([lab, staff]));
    assert_eq!(program.get("/groups/%2Flab%2Fa").await, lab);
    assert_eq!(program.get("/users/alice").await["groups"], json!(["/lab/a", "staff"]));
    assert_eq!(program.page("/groups?limit=1").await["_pagination"]["total"], 2);
    assert_eq!(program.ask("GET", "/groups/none", "").await.status, 404);
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let hub = hub("").await;
    let program = Program::of_ada(&hub, ADMIN).await;
    for (method, path, allowed) in [
        ("DELETE", "/users", "GET, POST"),
        ("PUT", "/users/ada", "GET, POST, PATCH, DELETE"),
        ("PUT", "/groups/x", "GET, POST, DELETE"),
        ("GET", "/groups/x/users", "POST, DELETE"),
        ("POST", "/groups/x/properties", "PUT"),
        ("PUT", "/users/ada/server", "GET, POST, DELETE"),
    ] {
        let answer = program.ask(method, path, "{}").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{method} {path}");
        assert_eq!(json_of(&answer)["message"], "This address has no such method");
    }
    for path in ["/nothing", "/users/", "/users/ada/x", "/users/ada/servers/gpu/x"] {
        assert_eq!(program.ask("GET", path, "").await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_hub_says_what_it_is_and_where_requests_go() {
    let hub = hub("").await;
    hub.run_workspace("alice").await;
    let program = Program::of_ada(&hub, ADMIN).await;
    for path in ["/hub/health", "/hub/api/health"] {
        assert_eq!(hub.client().send("GET", path, &[], b"").await.status, 200, "{path}");
    }
    let root = json_of(&hub.client().send("GET", "/hub/api/", &[], b"").await);
    let info = program.get("/info").await;
    assert_eq!(info["version"], root["version"]);
    assert!(info["spawner"]["class"].is_string() && info["authenticator"]["class"].is_string());
    assert_eq!(program.get("/services").await, json!({}));
    let routes = program.get("/proxy").await;
    assert_eq!(routes["/"]["data"], json!({ "hub": true }));
    let route = &routes["/user/alice/"];
    let target = format!("http://{}:8888", hub.engine().address_for("alice"));
    assert_eq!((&route["routespec"], &route["target"]), (&json!("/user/alice/"), &json!(target)));
    assert_eq!((&route["data"]["user"], &route["data"]["server_name"]), (&json!("alice"), &json!("")));
    assert_eq!(program.ask("POST", "/proxy", "").await.status, 200);
    let items = program.page("/proxy?limit=1").await;
    assert!(items["items"]["/"].is_object() && items["_pagination"]["total"] == 2, "{items}");
}

#[tokio::test]
async fn the_description_of_the_api_has_every_address_and_method_and_no_other() {
    let hub = hub("").await;
    let answer = hub.client().send("GET", "/hub/api/openapi.json", &[], b"").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let described = json_of(&answer);
    assert_eq!(
        (&described["openapi"], &described["servers"][0]["url"]),
        (&json!("3.1.0"), &json!("/hub/api"))
    );
    let mut written = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for (path, operations) in described["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            written.insert((path.clone(), method.to_uppercase()));
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path} {method}");
        }
    }
    let rooted = |path: &str| if path.is_empty() { "/".to_owned() } else { path.to_owned() };
    let served = hubgate::routes::ADDRESSES
        .iter()
        .flat_map(|(path, _, methods)| methods.iter().map(move |method| (rooted(path), method.to_string())));
    assert_eq!(written, served.collect());
}

#[tokio::test]
async fn an_administrator_shuts_the_hub_down_and_servers_stay() {
    let mut hub = hub("").await;
    hub.run_workspace("alice").await;
    let program = Program::of_ada(&hub, &["shutdown"]).await;
    for wrong in ["{\"servers\": true}", "{\"proxy\": false}", "{\"servers\": 7}", "[]"] {
        assert_eq!(program.ask("POST", "/shutdown", wrong).await.status, 400, "{wrong}");
    }
    let answer = program.ask("POST", "/shutdown", "{\"servers\": false, \"proxy\": true}").await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    drop(program);
    assert_eq!(hub.process_mut().ended().await, Some(0));
    hub.until_running(1).await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_not_used() {
    let hub = hub("").await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let own = Program::new(&hub, &mut alice, &["access:servers", "read:users"]).await;
    let last =
        async || own.get("/users/alice").await["servers"][""]["last_activity"].as_str().unwrap().to_owned();
    hub.close_workspace("alice");
    let (before, now) = (last().await, || utc(Clock::system().now()));
    eventually("a second to pass", || async { now() > before }).await;
    for _ in 0..3 {
        assert_eq!(call(&hub, "GET", "/user/alice/x", &own.authorization, "").await.status, 503);
    }
    assert_eq!(last().await, before);
}

#[tokio::test]
async fn a_page_that_is_only_open_does_not_use_its_server() {
    let hub = hub("").await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let own = Program::new(&hub, &mut alice, &["access:servers", "read:users"]).await;
    let last =
        async || own.get("/users/alice").await["servers"][""]["last_activity"].as_str().unwrap().to_owned();
    let before = last().await;
    eventually("a second to pass", || async { utc(Clock::system().now()) > before }).await;
    let ask = async |path: &str| {
        let path = format!("/user/alice/{path}");
        assert_eq!(call(&hub, "GET", &path, &own.authorization, "").await.status, 200, "{path}");
    };
    for poll in ["api/kernels?1", "api/sessions", "api/terminals", "api/contents/a?content=1"] {
        ask(poll).await;
    }
    assert_eq!(last().await, before);
    ask("api/contents/a.ipynb?type=notebook").await;
    assert!(last().await > before);
}

#[tokio::test]
async fn a_new_hubgate_knows_when_a_server_was_started_and_last_used() {
    let mut hub = hub("").await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let own = Program::new(&hub, &mut alice, &["access:servers", "read:users"]).await.authorization;
    let server = async |hub: &Hub| {
        json_of(&call(hub, "GET", "/hub/api/users/alice", &own, "").await)["servers"][""].clone()
    };
    let a_second_passes = async || {
        let now = || Clock::system().now();
        let began = now();
        eventually("a second to pass", || async { now() > began }).await;
    };
    a_second_passes().await;
    assert_eq!(call(&hub, "GET", "/user/alice/x", &own, "").await.status, 200);
    let before = server(&hub).await;
    assert!(before["last_activity"].as_str() > before["started"].as_str(), "{before}");
    a_second_passes().await;
    hub.process().signal(Signal::TERM);
    assert_eq!(hub.process_mut().ended().await, Some(0));
    hub.process_mut().start_again().await;
    eventually("it is found again", || async { server(&hub).await["ready"] == true }).await;
    let after = server(&hub).await;
    for time in ["started", "last_activity"] {
        assert_eq!(after[time], before[time], "{time}");
    }
}

#[tokio::test]
async fn use_of_a_server_is_activity_and_reports_only_move_it_forward() {
    let hub = hub("").await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let own = Program::new(&hub, &mut alice, &["users:activity!user", "access:servers", "read:users"]).await;
    let last =
        async || own.get("/users/alice").await["servers"][""]["last_activity"].as_str().unwrap().to_owned();
    let before = last().await;
    eventually("its use counts", || async {
        call(&hub, "GET", "/user/alice/x", &own.authorization, "").await;
        last().await > before
    })
    .await;
    let report = |time: &str| format!("{{\"servers\": {{\"\": {{\"last_activity\": \"{time}\"}}}}}}");
    let used = last().await;
    let path = "/users/alice/activity";
    assert_eq!(own.ask("POST", path, &report("2001-01-01T00:00:00Z")).await.status, 200);
    assert_eq!(last().await, used, "only forward");
    for (wrong, said) in [
        (report("2999-01-01T00:00:00Z"), "future"),
        (report("soon"), "a time"),
        ("{}".to_owned(), "at least one"),
        ("7".to_owned(), "not a report"),
        ("{\"servers\": {\"nope\": {\"last_activity\": \"2001-01-01T00:00:00Z\"}}}".to_owned(), "'nope'"),
    ] {
        let answer = own.ask("POST", path, &wrong).await;
        assert_eq!(answer.status, 400, "{wrong}");
        assert!(answer.text().contains(said), "{}", answer.text());
    }
    assert_eq!(own.ask("POST", "/users/bob/activity", &report("2001-01-01T00:00:00Z")).await.status, 404);
    let program = Program::of_ada(&hub, &["users:activity"]).await;
    assert_eq!(program.ask("POST", path, "{\"last_activity\": \"2001-01-01T00:00:00Z\"}").await.status, 200);
    assert_eq!(
        program.ask("POST", "/users/none/activity", &report("2001-01-01T00:00:00Z")).await.status,
        404
    );
}
