//! Scopes with filters: a token reaches what they name, and nothing beside it.

use std::sync::Arc;

use hubgate::clock::Clock;
use hubgate::people::People;
use hubgate::seal::Sealer;
use hubgate::store::Store;
use hubgate::user::UserName;
use serde_json::{Value, json};
use support::hub::{EVERYONE, Hub, PROFILE};

use super::{ADA, Program, hub, json_of, names};
use crate::BINARY;
use crate::callers::{call, challenge};

/// What the tokens of a teacher's program reach.
const CLASS: &[&str] = &[
    "list:users!group=/class",
    "read:users!group=/class",
    "servers!group=/class",
    "read:groups!group=/class",
    "admin:sessions!group=/class",
    "tokens!group=/class",
];

async fn of_class(hub: &Hub, user: &str) {
    hub.signed_in_with(user, json!({ "groups": ["/class"] })).await;
}

#[tokio::test]
async fn a_token_for_one_server_reaches_no_other_of_its_owner() {
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{PROFILE}[spawner]\nnamed_servers = 2\n")).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    hub.answer_at("alice", "gpu").await;
    let all = Program::new(&hub, &mut alice, &["servers", "tokens"]).await;
    assert_eq!(all.ask("POST", "/users/alice/servers/gpu", "{\"profile\": \"lab\"}").await.status, 202);
    hub.until_open(&mut alice, "/user/alice/gpu/lab").await;

    for (one, other, server, others) in [
        ("gpu", "", "/user/alice/gpu/api", "/user/alice/api"),
        ("", "gpu", "/user/alice/api", "/user/alice/gpu/api"),
    ] {
        let filter = format!("server=alice/{one}");
        let scopes = [format!("access:servers!{filter}"), format!("servers!{filter}")];
        let program = Program::new(&hub, &mut alice, &[&scopes[0], &scopes[1]]).await;
        let told = program.get("/user").await;
        assert_eq!(told["name"], "alice");
        let told = told["scopes"].as_array().unwrap();
        for scope in ["access:servers", "servers", "read:servers", "start:servers", "delete:servers"] {
            assert!(told.contains(&json!(format!("{scope}!{filter}"))), "{scope}: {told:?}");
        }
        assert_eq!(told.len(), 5, "{told:?}");
        let authorization = &program.authorization;
        assert_eq!(call(&hub, "GET", server, authorization, "").await.status, 200, "{server}");
        let before = hub.traffic();
        let refused = call(&hub, "GET", others, authorization, "").await;
        assert_eq!(refused.status, 403, "{others}");
        assert!(challenge(&refused).contains("scope=\"access:servers\""), "{refused:?}");
        assert_eq!(hub.traffic(), before, "nothing comes to the other one");
        // Its own by the API; of the others nothing, whether they are there or not.
        let at = |server: &str| format!("/users/alice/servers/{server}");
        assert_eq!(program.get(&at(one)).await["ready"], true);
        for method in ["GET", "POST", "DELETE"] {
            for server in [other, "none"] {
                let answer = program.ask(method, &at(server), "").await;
                assert_eq!(
                    (answer.status, &json_of(&answer)["message"]),
                    (404, &json!("No such server")),
                    "{method} {server}"
                );
            }
        }
        assert_eq!(program.ask("GET", "/users/alice", "").await.status, 404, "she is more than one server");
        assert_eq!(program.ask("GET", "/users/alice/tokens", "").await.status, 403);
    }
    hub.until_running(2).await;
}

#[tokio::test]
async fn a_filter_by_group_reaches_whoever_is_in_it_when_it_is_asked() {
    let hub = hub("").await;
    hub.run_workspace("bob").await;
    hub.run_workspace("alice").await;
    of_class(&hub, "alice").await;
    hub.signed_in_with("bob", json!({ "groups": ["/other", "class"] })).await;
    let program = Program::of_ada(&hub, CLASS).await;
    assert_eq!(names(&program.get("/users").await), ["alice"]);
    assert_eq!(program.page("/users?limit=5").await["_pagination"]["total"], 1);
    let alice = program.get("/users/alice").await;
    assert_eq!((&alice["groups"], &alice["servers"][""]["ready"]), (&json!(["/class"]), &json!(true)));
    assert_eq!(names(&program.get("/groups").await), ["/class"]);
    assert_eq!(program.get("/groups/%2Fclass").await["users"], json!(["alice"]));
    assert_eq!(program.ask("GET", "/groups/%2Fother", "").await.status, 404);
    let sessions = program.get("/sessions").await;
    let theirs = sessions["sessions"].as_array().unwrap();
    assert!(!theirs.is_empty() && theirs.iter().all(|session| session["user"] == "alice"), "{sessions}");

    // Of whoever is outside, and of herself, as of whoever there is not.
    let outside = |path: &str, who: &str| path.replace("alice", who);
    let calls = [
        ("GET", "/users/alice"),
        ("GET", "/users/alice/server"),
        ("POST", "/users/alice/server"),
        ("DELETE", "/users/alice/server"),
        ("GET", "/users/alice/server/progress"),
        ("GET", "/users/alice/tokens"),
        ("GET", "/users/alice/sessions"),
        ("DELETE", "/users/alice/sessions"),
    ];
    for (method, path) in calls {
        let nobody = program.ask(method, &outside(path, "nobody"), "").await;
        assert_eq!(nobody.status, 404, "{method} {path}");
        let answer = program.ask(method, &outside(path, "bob"), "").await;
        assert_eq!((answer.status, &answer.body), (404, &nobody.body), "{method} {path}");
        assert_eq!(program.ask(method, &outside(path, "ada"), "").await.status, 404, "{method} {path}");
    }
    let of_bob = Program::of_ada(&hub, &["admin:sessions"]).await.get("/users/bob/sessions").await;
    let id = of_bob["sessions"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(program.ask("DELETE", &format!("/sessions/{id}"), "").await.status, 404);
    assert_eq!(program.ask("POST", "/users/alice/activity", "{}").await.status, 403, "it lacks the scope");
    hub.until_running(2).await;

    // Whoever comes into the group is reached, and whoever left it is not.
    of_class(&hub, "bob").await;
    hub.signed_in_with("alice", json!({ "groups": [] })).await;
    assert_eq!(names(&program.get("/users").await), ["bob"]);
    for (method, path) in calls {
        assert_eq!(program.ask(method, path, "").await.status, 404, "{method} {path}");
    }
    assert_eq!(program.ask("DELETE", "/users/bob/server", "").await.status, 202);
    hub.until_running(1).await;
}

#[tokio::test]
async fn whom_the_provider_lets_in_no_more_is_in_none_of_its_groups() {
    let hub = hub("").await;
    for user in ["alice", "bob"] {
        of_class(&hub, user).await;
    }
    let folder = hub.folder().join("state");
    let sealer = Arc::new(Sealer::new(&Store::sealing_key(&folder).unwrap()));
    let people = People::new(Store::open(&folder).await.unwrap(), sealer, Clock::system());
    let alice = UserName::parse("alice").unwrap();
    let known = people.recall(&alice).await.unwrap().unwrap();
    people.bar(&alice, &known.provider, &known.identity).await.unwrap();
    let program = Program::of_ada(&hub, CLASS).await;
    assert_eq!(names(&program.get("/users").await), ["bob"]);
    assert_eq!(program.ask("GET", "/users/alice", "").await.status, 404, "nor one by one");
    let all = Program::of_ada(&hub, &["admin:users"]).await;
    assert_eq!(all.get("/users/alice").await["groups"], json!([]));
    assert_eq!(all.get("/users/bob").await["groups"], json!(["/class"]));
}

#[tokio::test]
async fn a_filter_by_user_reaches_one_user_and_their_servers_only() {
    let hub = hub("").await;
    for user in ["alice", "bob"] {
        hub.run_workspace(user).await;
    }
    let scopes =
        ["list:users!user=alice", "list:users!user=carl", "read:servers!server=bob/", "list:users!user=bob"];
    let program = Program::of_ada(&hub, &scopes).await;
    let list = program.get("/users?sort=name").await;
    assert_eq!(names(&list), ["alice", "bob"]);
    assert!(list[0].get("servers").is_none(), "of alice, no servers: {list}");
    assert_eq!(list[1]["servers"][""]["ready"], true);
    assert_eq!(program.get("/users/bob/server").await["ready"], true);
    assert_eq!(program.ask("GET", "/users/alice/server", "").await.status, 404);
    assert_eq!(program.ask("GET", "/users/carl", "").await.status, 404);
    hub.signed_in("carl").await;
    assert_eq!(program.get("/users/carl").await["name"], "carl", "who may come later");
    assert_eq!(program.ask("DELETE", "/users/bob/server", "").await.status, 403);
    // What brings parts along brings them narrowed.
    let program = Program::of_ada(&hub, &["admin:users!user=alice", "admin:servers!user=alice"]).await;
    assert_eq!(names(&program.get("/users").await), ["alice"]);
    assert_eq!(program.get("/users/alice").await["servers"][""]["ready"], true);
    assert_eq!(program.ask("GET", "/users/bob", "").await.status, 404);
    assert_eq!(program.ask("GET", "/groups/x", "").await.status, 404);
    assert_eq!(program.ask("GET", "/info", "").await.status, 403);
}

#[tokio::test]
async fn an_administrators_scope_for_what_is_theirs_reaches_nobody_else() {
    let hub = hub("").await;
    hub.run_workspace("bob").await;
    let program = Program::of_ada(&hub, &["servers!user", "read:users!user=ada", "tokens!user"]).await;
    for (method, path) in
        [("GET", "/users/bob"), ("DELETE", "/users/bob/server"), ("GET", "/users/bob/tokens")]
    {
        let answer = program.ask(method, path, "").await;
        assert_eq!((answer.status, &json_of(&answer)["message"]), (404, &json!("No such user")), "{path}");
    }
    assert_eq!(program.ask("GET", "/users", "").await.status, 403);
    assert_eq!(program.get("/users/ada").await["admin"], true);
    // Without a filter, it is what an administrator may.
    let program = Program::of_ada(&hub, &["servers", "read:users"]).await;
    assert_eq!(program.get("/users/bob").await["servers"][""]["ready"], true);
    hub.until_running(1).await;
    assert_eq!(program.ask("DELETE", "/users/bob/server", "").await.status, 202);
    hub.until_running(0).await;
}

#[tokio::test]
async fn nobody_makes_a_token_by_filters_that_reach_beyond_them() {
    let hub = hub("").await;
    of_class(&hub, "alice").await;
    let mut alice = hub.signed_in_with("alice", json!({ "groups": ["/class"] })).await;
    let program = Program::new(&hub, &mut alice, &["tokens", "servers", "read:users"]).await;
    let make = async |program: &Program<'_>, scope: &str| {
        let body = json!({ "scopes": [scope] }).to_string();
        let answer = program.ask("POST", "/users/alice/tokens", &body).await;
        (answer.status, json_of(&answer)["scopes"].clone())
    };
    for (asked, made) in [
        ("servers!server=alice/gpu", "servers!server=alice/gpu"),
        ("servers!user=alice", "servers!user"),
        ("read:users:name", "read:users:name!user"),
        ("start:servers", "start:servers!user"),
    ] {
        assert_eq!(make(&program, asked).await, (201, json!([made])), "{asked}");
    }
    for beyond in [
        // Also where she is in it: others are, too.
        "servers!group=/class",
        "servers!user=bob",
        "servers!user=nobody",
        "servers!server=bob/",
        "read:users!group=/none",
        "access:servers!user=bob",
        "access:servers!server=bob/",
        "list:users!user",
        // Those that are none.
        "servers!server",
        "servers!service=x",
        "servers!group=",
        "read:users!server=alice/",
        // And what the token that asks lacks.
        "access:servers!server=alice/gpu",
    ] {
        assert_eq!(make(&program, beyond).await, (400, Value::Null), "{beyond}");
    }
    let many: Vec<_> = (0..65).map(|at| format!("servers!server=alice/s{at}")).collect();
    let body = json!({ "scopes": many }).to_string();
    assert_eq!(program.ask("POST", "/users/alice/tokens", &body).await.status, 400);

    // An administrator's token makes no wider one than itself.
    let program = Program::of_ada(&hub, &["tokens!user", "servers!group=/class", "servers!user=bob"]).await;
    let ask = async |scope: &str| {
        let body = json!({ "scopes": [scope] }).to_string();
        let answer = program.ask("POST", "/users/ada/tokens", &body).await;
        (answer.status, json_of(&answer)["scopes"].clone())
    };
    assert_eq!(ask("delete:servers!server=bob/").await, (201, json!(["delete:servers!server=bob/"])));
    assert_eq!(
        ask("read:servers").await,
        (201, json!(["read:servers!user=bob", "read:servers!group=/class"]))
    );
    for beyond in ["servers!user=alice", "servers!user", "servers!group=/other", "admin:servers!user=bob"] {
        assert_eq!(ask(beyond).await, (400, Value::Null), "{beyond}");
    }
}

#[tokio::test]
async fn a_token_by_the_command_line_keeps_its_filters_over_a_restart() {
    let mut hub = Hub::with(BINARY, &format!("{EVERYONE}{ADA}{PROFILE}")).await;
    for user in ["ada", "alice", "bob"] {
        hub.signed_in(user).await;
    }
    of_class(&hub, "alice").await;
    let scopes = ["--scope", "list:users!group=/class", "--scope", "access:servers!server=ada/gpu"];
    let made =
        crate::control::operate(&hub, &[&["token", "create", "--user", "ada"][..], &scopes].concat()).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    let refused =
        crate::control::operate(&hub, &["token", "create", "--user", "bob", "--scope", "servers!user=alice"])
            .await;
    assert!(
        refused.code == Some(1) && refused.err.contains("cannot give away these scopes"),
        "{}",
        refused.err
    );
    hub.process_mut().start_again().await;
    let program = Program { hub: &hub, authorization: format!("token {}", made.out.trim()) };
    assert_eq!(names(&program.get("/users").await), ["alice"]);
    let told = crate::control::operate(&hub, &["token", "list", "--user", "ada"]).await.out;
    assert!(
        told.contains("access:servers!server=ada/gpu") && told.contains("list:users!group=/class"),
        "{told}"
    );
}
