//! Groups of the hub's own, beside those that the provider tells of.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};
use support::eventually::eventually;
use support::hub::{Hub, PROFILE};
use support::process::USER_DOMAINS;

use super::{ADA, Program, hub, json_of};
use crate::BINARY;

/// What keeps groups.
const GROUPS: &[&str] = &["admin:groups"];

fn users(names: &[&str]) -> String {
    json!({ "users": names }).to_string()
}

fn group(name: &str, users: &[&str]) -> Value {
    json!({ "kind": "group", "name": name, "users": users, "roles": [], "properties": {} })
}

#[tokio::test]
async fn an_administrators_program_makes_fills_empties_and_ends_groups() {
    let hub = hub("").await;
    for user in ["alice", "bob"] {
        hub.signed_in(user).await;
    }
    let program = Program::of_ada(&hub, GROUPS).await;
    // What is sent, and what a JupyterHub 5.4.6 answers to it.
    let long = "x".repeat(300);
    let steps: &[(&str, &str, &str, u16, Value)] = &[
        ("POST", "/groups/g1", "", 201, group("g1", &[])),
        ("POST", "/groups/g1", "", 409, json!("Group g1 already exists")),
        ("POST", "/groups/g2", &users(&["alice", "nobody"]), 400, json!("No such user: nobody")),
        ("POST", "/groups/g2", &users(&["alice"]), 201, group("g2", &["alice"])),
        ("POST", "/groups/g3", "[]", 400, Value::Null),
        ("POST", "/groups/g3", "{\"users\": \"alice\"}", 400, Value::Null),
        ("POST", "/groups/g3", "{\"x\": 1}", 400, Value::Null),
        (
            "POST",
            "/groups",
            "{\"groups\": [\"a/b c\", \"b\"]}",
            201,
            json!([group("a/b c", &[]), group("b", &[])]),
        ),
        ("POST", "/groups", "{\"groups\": [\"new\", \"b\"]}", 409, json!("Group b already exists")),
        ("POST", "/groups", "{}", 400, json!("Must specify at least one group to create")),
        ("GET", "/groups/new", "", 404, Value::Null),
        ("POST", "/groups/g1/users", &users(&["bob", "Alice"]), 200, group("g1", &["alice", "bob"])),
        ("POST", "/groups/g1/users", &users(&["alice"]), 200, group("g1", &["alice", "bob"])),
        ("POST", "/groups/g1/users", "{}", 400, json!("Must specify users to add")),
        ("POST", "/groups/g1/users", &users(&["nobody"]), 400, json!("No such user: nobody")),
        ("POST", "/groups/none/users", &users(&["alice"]), 404, json!("No such group: none")),
        ("DELETE", "/groups/g1/users", &users(&["bob"]), 200, group("g1", &["alice"])),
        ("DELETE", "/groups/g1/users", &users(&["bob"]), 200, group("g1", &["alice"])),
        ("PUT", "/groups/g1/properties", "[]", 400, json!("Must specify properties")),
        ("PUT", "/groups/none/properties", "{}", 404, json!("No such group: none")),
        ("GET", "/groups/a%2Fb%20c", "", 200, group("a/b c", &[])),
        ("DELETE", "/groups/a%2Fb%20c", "", 204, Value::Null),
        ("DELETE", "/groups/a%2Fb%20c", "", 404, json!("No such group: a/b c")),
        ("POST", &format!("/groups/{long}"), "", 404, Value::Null),
        // One that would be read as another.
        ("POST", "/groups/g1%E2%80%8B", "", 404, Value::Null),
        ("POST", "/groups", "{\"groups\": [\"g\u{202e}1\"]}", 400, json!("Invalid group name")),
    ];
    for (method, path, body, status, expected) in steps {
        let answer = program.ask(method, path, body).await;
        assert_eq!(answer.status, *status, "{method} {path} {body}: {}", answer.text());
        let said = json_of(&answer);
        match expected {
            Value::Null => {}
            Value::String(_) => assert_eq!(&said["message"], expected, "{method} {path} {body}"),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                assert_eq!(&said, expected, "{method} {path} {body}");
            }
        }
    }
    let noted = program.ask("PUT", "/groups/b/properties", "{\"a\": [1]}").await;
    assert_eq!((noted.status, &json_of(&noted)["properties"]), (200, &json!({ "a": [1] })));
    let names: Vec<_> = ["b", "g1", "g2"].into();
    assert_eq!(super::names(&program.get("/groups").await), names);
    let alice = Program::of_ada(&hub, &["admin:users"]).await.get("/users/alice").await;
    assert_eq!(alice["groups"], json!(["g1", "g2"]));
    let written = hub.process().log();
    for event in ["group_made", "group_filled", "group_emptied", "group_noted", "group_ended"] {
        let mut lines = written.lines().filter(|line| line.contains(event));
        assert!(lines.next().is_some_and(|line| line.contains("by=\"ada\"")), "{event}: {written}");
    }
    let made = written.lines().filter(|line| line.contains("group") && line.contains("g1"));
    assert_eq!(made.filter(|line| line.contains("INFO")).count(), 5, "each change once: {written}");
}

#[tokio::test]
async fn groups_of_the_hub_survive_a_restart_and_are_told_to_whoever_is_in_them() {
    let mut hub = hub("").await;
    let mut alice = hub.signed_in_with("alice", json!({ "groups": ["lab"] })).await;
    let own = Program::new(&hub, &mut alice, &["access:servers"]).await.authorization;
    let of_ada = Program::of_ada(&hub, GROUPS).await.authorization;
    let program = Program { hub: &hub, authorization: of_ada.clone() };
    assert_eq!(program.ask("POST", "/groups/nbgrader-physics", &users(&["alice"])).await.status, 201);
    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    hub.process().until_ready().await;
    let groups = Program { hub: &hub, authorization: of_ada }.get("/groups").await;
    assert_eq!(groups, json!([group("lab", &["alice"]), group("nbgrader-physics", &["alice"])]));
    let user = Program { hub: &hub, authorization: own }.get("/user").await;
    assert_eq!(user["groups"], json!(["lab", "nbgrader-physics"]));
}

#[tokio::test]
async fn a_group_that_the_provider_tells_of_is_changed_there_and_hides_ours() {
    let hub = hub("").await;
    hub.signed_in_with("alice", json!({ "groups": ["lab"] })).await;
    hub.signed_in("bob").await;
    let program = Program::of_ada(&hub, GROUPS).await;
    let managed = async |method: &str, path: &str, body: &str| {
        let answer = program.ask(method, path, body).await;
        let expected = (400, json!("Group management via API is disabled"));
        assert_eq!((answer.status, json_of(&answer)["message"].clone()), expected, "{method} {path}");
    };
    for (method, path, body) in [
        ("POST", "/groups/lab", "{}"),
        ("POST", "/groups", "{\"groups\": [\"lab\"]}"),
        ("DELETE", "/groups/lab", ""),
        ("POST", "/groups/lab/users", "{\"users\": [\"bob\"]}"),
        ("DELETE", "/groups/lab/users", "{\"users\": [\"alice\"]}"),
        ("PUT", "/groups/lab/properties", "{}"),
    ] {
        managed(method, path, body).await;
    }
    // One that comes later with the name of ours.
    assert_eq!(program.ask("POST", "/groups/late", &users(&["bob"])).await.status, 201);
    hub.signed_in_with("alice", json!({ "groups": ["lab", "late"] })).await;
    assert_eq!(program.get("/groups/late").await["users"], json!(["alice"]));
    managed("POST", "/groups/late/users", "{\"users\": [\"bob\"]}").await;
    let bob = Program::of_ada(&hub, &["admin:users"]).await.get("/users/bob").await;
    assert_eq!(bob["groups"], json!([]));
    assert_eq!(program.ask("DELETE", "/groups/late", "").await.status, 204, "ours can go");
    managed("DELETE", "/groups/late", "").await;
    // And when it is gone there, the name is free.
    hub.signed_in_with("alice", json!({ "groups": [] })).await;
    assert_eq!(program.ask("POST", "/groups/late", &users(&["bob"])).await.status, 201);
    assert_eq!(program.get("/groups/late").await["users"], json!(["bob"]));
}

#[tokio::test]
async fn ours_is_hidden_no_longer_than_the_provider_tells_of_its_own() {
    let hub = hub("").await;
    hub.signed_in("bob").await;
    let program = Program::of_ada(&hub, GROUPS).await;
    let people = Program::of_ada(&hub, &["admin:users"]).await;
    assert_eq!(program.ask("POST", "/groups/lab", &users(&["bob"])).await.status, 201);
    hub.signed_in_with("alice", json!({ "groups": ["lab"] })).await;
    assert_eq!(people.get("/users/bob").await["groups"], json!([]));
    hub.signed_in_with("alice", json!({ "groups": [] })).await;
    // Whoever fills it is not told that he is in it while he is not.
    let filled = program.ask("POST", "/groups/lab/users", &users(&["bob"])).await;
    assert_eq!((filled.status, json_of(&filled)), (200, group("lab", &["bob"])));
    assert_eq!(people.get("/users/bob").await["groups"], json!(["lab"]));
    // Nor does it stay hidden from whoever asks for those that a token for it reaches.
    hub.signed_in_with("alice", json!({ "groups": ["lab"] })).await;
    hub.signed_in_with("alice", json!({ "groups": [] })).await;
    let of_lab = Program::of_ada(&hub, &["list:users!group=lab"]).await;
    assert_eq!(super::names(&of_lab.get("/users").await), ["bob"]);
}

#[tokio::test]
async fn no_more_groups_are_made_at_once_than_there_may_be() {
    let hub = hub("").await;
    hub.signed_in_with("alice", json!({ "groups": ["lab"] })).await;
    let program = Program::of_ada(&hub, GROUPS).await;
    let mut names: Vec<_> = (0..1000).map(|at| format!("g{at}")).collect();
    names.push("lab".to_owned());
    let answer = program.ask("POST", "/groups", &json!({ "groups": names }).to_string()).await;
    let message = json_of(&answer)["message"].clone();
    assert_eq!((answer.status, message), (400, json!("there are 1000 groups already")));
    assert_eq!(super::names(&program.get("/groups").await), ["lab"]);
}

#[tokio::test]
async fn who_may_list_groups_sees_who_is_in_those_that_they_may_read() {
    let hub = hub("").await;
    hub.signed_in_with("alice", json!({ "groups": ["class", "lab"] })).await;
    let program = Program::of_ada(&hub, GROUPS).await;
    for name in ["mine", "other"] {
        assert_eq!(program.ask("POST", &format!("/groups/{name}"), &users(&["alice"])).await.status, 201);
    }
    let scopes = ["list:groups", "read:groups!group=class", "read:groups!group=mine"];
    let program = Program::of_ada(&hub, &scopes).await;
    let bare = |name: &str| json!({ "kind": "group", "name": name });
    let all = [group("class", &["alice"]), bare("lab"), group("mine", &["alice"]), bare("other")];
    assert_eq!(program.get("/groups").await, json!(all));
    assert_eq!(program.get("/groups?limit=2&offset=2").await, json!(all[2..]));
    assert_eq!(program.get("/groups/mine").await, all[2]);
    assert_eq!(program.get("/groups/other").await, all[3]);
}

#[tokio::test]
async fn a_scope_for_one_group_or_user_makes_fills_and_ends_no_other() {
    let hub = hub("").await;
    hub.signed_in("bob").await;
    let scopes = ["admin:groups!group=mine", "admin:users!user=carol"];
    let program = Program::of_ada(&hub, &scopes).await;
    let all = Program::of_ada(&hub, &["admin:groups"]).await;
    assert_eq!(all.ask("POST", "/groups/other", "").await.status, 201);
    for (method, path, body) in [
        ("POST", "/groups/new", ""),
        ("POST", "/groups", "{\"groups\": [\"mine\", \"new\"]}"),
        ("DELETE", "/groups/other", ""),
        ("POST", "/groups/other/users", "{\"users\": [\"bob\"]}"),
        ("DELETE", "/groups/other/users", "{\"users\": [\"bob\"]}"),
        ("PUT", "/groups/other/properties", "{}"),
        ("POST", "/users", "{\"usernames\": [\"carol\", \"dora\"]}"),
        ("POST", "/users/dora", ""),
        ("PATCH", "/users/bob", "{}"),
        ("DELETE", "/users/bob", ""),
    ] {
        assert_eq!(program.ask(method, path, body).await.status, 404, "{method} {path}");
    }
    for (method, path, body, status) in [
        ("POST", "/groups", "{\"groups\": [\"mine\"]}", 201),
        ("POST", "/groups/mine/users", "{\"users\": [\"bob\"]}", 200),
        ("DELETE", "/groups/mine", "", 204),
        ("POST", "/users", "{\"usernames\": [\"carol\"]}", 201),
        ("DELETE", "/users/carol", "", 204),
    ] {
        let answer = program.ask(method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }
    assert_eq!(super::names(&all.get("/groups").await), ["other"]);
}

/// Who fills groups would else let people in, and make themselves administrators.
#[tokio::test]
async fn no_rule_reads_a_group_of_the_hubs_own() {
    let rules = "[[rule]]\ngroups = [\"staff\"]\nadmin = true\n[[rule]]\nusers = [\"ada\"]\nadmin = true\n\
                 [[rule]]\nusers = [\"alice\"]\nprofiles = [\"lab\"]\n[[rule]]\ngroups = [\"big\"]\n";
    let big = "[[profile]]\nname = \"big\"\nimage = \"big:1\"\n";
    let hub = Hub::with(BINARY, &format!("{rules}{PROFILE}{big}")).await;
    let mut alice = hub.signed_in("alice").await;
    let program = Program::of_ada(&hub, &["admin:groups", "admin:users", "admin:servers"]).await;
    assert_eq!(program.ask("POST", "/users/carol", "").await.status, 201);
    for name in ["staff", "big"] {
        let made = program.ask("POST", &format!("/groups/{name}"), &users(&["alice", "carol"])).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    let user = program.get("/users/alice").await;
    assert_eq!((&user["groups"], &user["admin"]), (&json!(["big", "staff"]), &json!(false)));
    assert_eq!(user["profiles"], json!(["lab"]));
    assert_eq!(alice.open("/hub/admin").await.status, 404);
    let mut again = hub.signed_in("alice").await;
    assert_eq!(again.open("/hub/admin").await.status, 404);
    let started = program.ask("POST", "/users/alice/server", "{\"profile\": \"big\"}").await;
    assert_eq!(started.status, 403, "{}", started.text());
    // She is expected, and in a group that a rule names: she may not enter all the same.
    let mut carol = hub.client();
    let answer = hub.sign_in_at(&mut carol, "carol", "/hub/login").await;
    assert_eq!(answer.status, 403, "{}", answer.text());
}

#[tokio::test]
async fn what_is_shared_with_a_group_of_the_hubs_is_open_to_whoever_is_in_it_now() {
    let sections =
        format!("{USER_DOMAINS}{}{ADA}{PROFILE}[sharing]\nenabled = true\n", support::hub::EVERYONE);
    let hub = Hub::with(BINARY, &sections).await;
    hub.answer_at("alice", "").await;
    let mut alice = hub.signed_in("alice").await;
    let shares = Program::new(&hub, &mut alice, &["shares", "servers"]).await;
    assert_eq!(shares.ask("POST", "/users/alice/server", "").await.status, 202);
    eventually("her server", || async { shares.get("/users/alice/server").await["ready"] == true }).await;
    let mut bob = hub.signed_in("bob").await;
    let visits = Program::new(&hub, &mut bob, &["access:servers"]).await.authorization;
    let program = Program::of_ada(&hub, GROUPS).await;
    assert_eq!(program.ask("POST", "/groups/physics", &users(&["alice", "bob"])).await.status, 201);
    let visit = async || {
        let headers = [("Authorization", visits.as_str())];
        let client = hub.client();
        client.at(crate::domains::ALICE).send("GET", "/user/alice/api/contents", &headers, b"").await.status
    };
    assert_eq!(visit().await, 403);
    let answer = shares.ask("POST", "/shares/alice/", "{\"group\": \"physics\"}").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(visit().await, 200);
    assert_eq!(program.ask("DELETE", "/groups/physics/users", &users(&["bob"])).await.status, 200);
    assert_eq!(visit().await, 403, "he is out of it");
    assert_eq!(program.ask("POST", "/groups/physics/users", &users(&["bob"])).await.status, 200);
    assert_eq!(visit().await, 200);
    assert_eq!(program.ask("DELETE", "/groups/physics", "").await.status, 204);
    assert_eq!(program.ask("POST", "/groups/physics", &users(&["bob"])).await.status, 201);
    assert_eq!(visit().await, 403, "another group of the same name");

    // Also where the end of the former could not be written down.
    assert_eq!(program.ask("POST", "/groups/physics/users", &users(&["alice"])).await.status, 200);
    let answer = shares.ask("POST", "/shares/alice/", "{\"group\": \"physics\"}").await;
    assert_eq!((answer.status, visit().await), (200, 200), "{}", answer.text());
    let mut store = store_of(&hub).await;
    let broken = "CREATE TRIGGER broken BEFORE DELETE ON own_groups BEGIN SELECT RAISE(ABORT, 'broken'); END";
    sqlx::raw_sql(broken).execute(&mut store).await.unwrap();
    assert_eq!(program.ask("DELETE", "/groups/physics", "").await.status, 500);
    assert_eq!(visit().await, 403, "it is over at once");
    assert_eq!(program.ask("POST", "/groups/physics", &users(&["bob"])).await.status, 201);
    assert_eq!(visit().await, 403, "another group of the same name");
    assert_eq!(program.ask("DELETE", "/groups/physics", "").await.status, 500);
    sqlx::raw_sql("DROP TRIGGER broken").execute(&mut store).await.unwrap();
    assert_eq!(program.ask("DELETE", "/groups/physics", "").await.status, 204, "what was left of it");
}

/// What the hub keeps, beside the hub.
pub(super) async fn store_of(hub: &Hub) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(hub.folder().join("state/hubgate.db"));
    options.connect().await.unwrap()
}
