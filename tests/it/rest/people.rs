//! Users who are expected before they come, and who are forgotten.

use serde_json::{Value, json};
use support::eventually::eventually;
use support::provider::Provider;

use super::{Program, hub, json_of, names};

fn message(answer: &support::client::Answer) -> Value {
    json_of(answer)["message"].clone()
}

#[tokio::test]
async fn an_administrators_program_expects_users_who_then_are_known() {
    let hub = hub("").await;
    let program = Program::of_ada(&hub, &["admin:users"]).await;
    let made = program.ask("POST", "/users/alice", "").await;
    let said = json_of(&made);
    assert_eq!((made.status, &said["name"], &said["admin"]), (201, &json!("alice"), &json!(false)));
    assert!(said["created"].is_string() && said["groups"] == json!([]), "{said}");
    let again = program.ask("POST", "/users/alice", "").await;
    assert_eq!((again.status, message(&again)), (409, json!("User alice already exists")));
    let several = program.ask("POST", "/users", "{\"usernames\": [\"Bob\", \"alice\"]}").await;
    assert_eq!((several.status, names(&json_of(&several))), (201, vec!["bob"]));
    let all = program.ask("POST", "/users", "{\"usernames\": [\"bob\", \"alice\"]}").await;
    assert_eq!((all.status, message(&all)), (409, json!("All 2 users already exist")));
    for (path, body, expected) in [
        ("/users", "{}", json!("Must specify at least one user to create")),
        ("/users", "{\"usernames\": [\"ok\", \"a/b\"]}", json!("Invalid username: a/b")),
        ("/users/a%5Cb", "", json!("Invalid username: a\\b")),
        (
            "/users/dora",
            "{\"admin\": true}",
            json!("Who administers is for the rules of the hub's configuration to say"),
        ),
        (
            "/users",
            "{\"usernames\": [\"x\"], \"admin\": true}",
            json!("Who administers is for the rules of the hub's configuration to say"),
        ),
    ] {
        let answer = program.ask("POST", path, body).await;
        assert_eq!((answer.status, message(&answer)), (400, expected), "{path} {body}");
    }
    assert_eq!(program.ask("POST", "/users/dora", "[]").await.status, 400);
    assert_eq!(names(&program.get("/users?sort=name").await), ["ada", "alice", "bob"]);
    assert_eq!(program.get("/users/bob").await["name"], "bob");
    // When they come, they are one and the same.
    hub.signed_in("alice").await;
    assert_eq!(names(&program.get("/users?sort=name").await), ["ada", "alice", "bob"]);
    assert_eq!(program.ask("POST", "/users/alice", "").await.status, 409);
}

#[tokio::test]
async fn a_user_is_changed_by_the_provider_and_by_the_rules() {
    let hub = hub("[[rule]]\nusers = [\"eve\"]\nadmin = true\n").await;
    for user in ["alice", "eve"] {
        hub.signed_in(user).await;
    }
    let program = Program::of_ada(&hub, &["admin:users"]).await;
    for (body, says) in [("{\"name\": \"bob\"}", "login service"), ("{\"admin\": true}", "rules")] {
        let answer = program.ask("PATCH", "/users/alice", body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(message(&answer).as_str().unwrap().contains(says), "{}", answer.text());
    }
    for nothing in ["{}", "{\"name\": \"alice\", \"admin\": false}"] {
        let answer = program.ask("PATCH", "/users/alice", nothing).await;
        assert_eq!((answer.status, &json_of(&answer)["name"]), (200, &json!("alice")), "{nothing}");
    }
    assert_eq!(program.ask("PATCH", "/users/nobody", "{}").await.status, 404);
    // Nor is anybody told that they administer no more while they do.
    let answer = program.ask("PATCH", "/users/eve", "{\"admin\": false}").await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(program.ask("PATCH", "/users/eve", "{\"admin\": true}").await.status, 200, "she does");
}

#[tokio::test]
async fn who_comes_while_they_are_forgotten_is_out_with_what_they_came_by() {
    let hub = hub("").await;
    let keeps = Program::of_ada(&hub, &["admin:users"]).await;
    hub.provider().user("alice", json!({}));
    let alice = || Program {
        hub: &hub,
        authorization: format!("Bearer {}", hub.provider().access_token_for(Provider::CLIENT_ID).token()),
    };
    assert_eq!(alice().get("/user").await["name"], "alice");
    let mut store = super::groups::store_of(&hub).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut store).await.unwrap();
    let (forgotten, late) = tokio::join!(keeps.ask("DELETE", "/users/alice", ""), async {
        eventually("what she had ends", || async { hub.process().log().contains("api_tokens_revoked") })
            .await;
        let late = alice();
        assert_eq!(late.get("/user").await["name"], "alice", "she is not forgotten yet");
        sqlx::raw_sql("ROLLBACK").execute(&mut store).await.unwrap();
        late
    });
    assert_eq!(forgotten.status, 204, "{}", forgotten.text());
    assert_eq!(late.ask("GET", "/user", "").await.status, 401);
    assert_eq!(keeps.ask("GET", "/users/alice", "").await.status, 404);
}

#[tokio::test]
async fn who_is_forgotten_has_nothing_here_any_more_but_their_home() {
    let hub = hub("").await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let hers = Program::new(&hub, &mut alice, &["read:users", "access:servers"]).await;
    let keeps = Program::of_ada(&hub, &["admin:groups", "admin:users"]).await;
    assert_eq!(keeps.ask("POST", "/groups/physics", "{\"users\": [\"alice\"]}").await.status, 201);
    let own = keeps.ask("DELETE", "/users/ada", "").await;
    assert_eq!((own.status, message(&own)), (400, json!("Cannot delete yourself!")));
    assert_eq!(keeps.ask("DELETE", "/users/nobody", "").await.status, 404);
    let path = "/users/alice/activity";
    let reports = Program::of_ada(&hub, &["users:activity"]).await;
    assert_eq!(reports.ask("POST", path, "{\"last_activity\": \"2001-01-01T00:00:00Z\"}").await.status, 200);
    for (method, body) in [("DELETE", ""), ("PATCH", "{}")] {
        let answer = keeps.ask(method, "/users/ALICE", body).await;
        assert_eq!(answer.status, 404, "{method}: she is called otherwise");
    }
    assert_eq!(keeps.ask("DELETE", "/users/alice", "").await.status, 204);

    assert_eq!(alice.fetch("GET", "/hub/home", b"").await.status, 401, "her session is over");
    assert_eq!(hers.ask("GET", "/user", "").await.status, 403, "her token is revoked");
    hub.until_running(0).await;
    eventually("nobody of this name", || async { keeps.ask("GET", "/users/alice", "").await.status == 404 })
        .await;
    assert_eq!(keeps.ask("DELETE", "/users/alice", "").await.status, 404);
    assert_eq!(keeps.get("/groups/physics").await["users"], json!([]));
    let log = hub.process().log();
    assert!(log.contains("user_forgotten") && log.contains("by=ada"), "{log}");
    // Whoever comes by this name is new.
    assert_eq!(keeps.ask("POST", "/users/alice", "").await.status, 201);
    assert_eq!(keeps.get("/users/alice").await["last_activity"], Value::Null);
    let mut again = hub.signed_in("alice").await;
    let user = Program::new(&hub, &mut again, &["read:users"]).await.get("/user").await;
    assert_eq!(user["groups"], json!([]));
    // And who was only expected is not any more.
    assert_eq!(keeps.ask("POST", "/users/carol", "").await.status, 201);
    assert_eq!(keeps.ask("DELETE", "/users/carol", "").await.status, 204);
    assert_eq!(keeps.ask("GET", "/users/carol", "").await.status, 404);
}
