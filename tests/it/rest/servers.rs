//! Servers by the REST API: start, stop, names, and how a start goes.

use serde_json::{Value, json};
use support::eventually::eventually;
use support::hub::Hub;

use super::{ADMIN, CULLER, Program, hub, json_of};

const NAMED: &str = "[spawner]\nnamed_servers = 1\n";
const OTHER: &str = "[[profile]]\nname = \"other\"\nimage = \"other:1\"\n";

async fn until_ready(program: &Program<'_>, path: &str) {
    eventually("the server is ready", || async { program.get(path).await["ready"] == true }).await;
}

/// The events of a stream.
fn events(text: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(|line| serde_json::from_str(line).expect("an event")).collect()
}

#[tokio::test]
async fn a_program_starts_its_owners_servers_and_stops_them() {
    let hub = hub(NAMED).await;
    hub.answer_at("alice", "").await;
    hub.answer_at("alice", "gpu").await;
    let mut alice = hub.signed_in("alice").await;
    let program = Program::new(&hub, &mut alice, &["servers"]).await;
    for (server, name) in [("/users/alice/server", "alice"), ("/users/alice/servers/gpu", "alice:gpu")] {
        assert_eq!(program.ask("POST", server, "").await.status, 202, "{server}");
        until_ready(&program, server).await;
        let again = program.ask("POST", server, "{}").await;
        let expected = json!({ "status": 400, "message": format!("{name} is already running") });
        assert_eq!((again.status, json_of(&again)), (400, expected));
    }
    let servers = program.get("/users/alice").await["servers"].clone();
    assert_eq!(servers["gpu"]["url"], "/user/alice/gpu/");
    assert_eq!(servers["gpu"]["progress_url"], "/hub/api/users/alice/servers/gpu/progress");
    let full = program.ask("POST", "/users/alice/servers/second", "").await;
    assert_eq!(full.status, 400);
    assert!(full.text().contains("which is the limit"), "{}", full.text());
    for wrong in ["lab", "-x", "A", "a%2Fb", "%2e%2e"] {
        let status = program.ask("POST", &format!("/users/alice/servers/{wrong}"), "").await.status;
        assert!(status == 400 || status == 404, "{wrong}: {status}");
    }
    let default = program.ask("DELETE", "/users/alice/server", "{\"remove\": true}").await;
    assert_eq!(default.status, 400, "{}", default.text());
    assert_eq!(program.ask("DELETE", "/users/alice/servers/second", "").await.status, 404);

    assert_eq!(program.ask("DELETE", "/users/alice/servers/gpu", "{\"remove\": true}").await.status, 202);
    eventually("it is removed", || async {
        program.ask("GET", "/users/alice/servers/gpu", "").await.status == 404
    })
    .await;
    let stopped = program.ask("DELETE", "/users/alice/server", "").await.status;
    assert!([202, 204].contains(&stopped), "{stopped}");
    hub.until_running(0).await;
    eventually("it has stopped", || async {
        program.ask("DELETE", "/users/alice/server", "").await.status == 204
    })
    .await;
    assert_eq!(program.get("/users/alice/server").await["stopped"], true);
}

#[tokio::test]
async fn no_program_starts_what_no_rule_grants_and_the_attempt_is_logged() {
    let rules = "[[rule]]\nusers = [\"alice\"]\nprofiles = [\"lab\"]\n";
    let sections =
        format!("{rules}[[rule]]\nusers = [\"ada\"]\nadmin = true\n{}{OTHER}", support::hub::PROFILE);
    let hub = Hub::with(crate::BINARY, &sections).await;
    let mut alice = hub.signed_in("alice").await;
    let own = Program::new(&hub, &mut alice, &["servers"]).await;
    let ada = Program::of_ada(&hub, &["admin:servers"]).await;
    for body in [
        json!({ "profile": "root" }),
        json!({ "profile": "other" }),
        json!({ "image": "evil:1" }),
        json!({ "image": "other:1" }),
        json!({ "profile": "lab", "image": "other:1" }),
        json!({ "user_options": { "image": "evil:1" } }),
    ] {
        for program in [&own, &ada] {
            let answer = program.ask("POST", "/users/alice/server", &body.to_string()).await;
            assert_eq!(answer.status, 403, "{body}: {}", answer.text());
            assert!(answer.header("www-authenticate").is_none(), "it is no matter of scopes");
        }
    }
    hub.process().until_logged("a choice that nobody offered: \"evil:1\"").await;
    for unknown in ["{\"mem_limit\": \"9G\"}", "{\"user_options\": {\"cmd\": \"sh\"}}", "[]", "x"] {
        assert_eq!(own.ask("POST", "/users/alice/server", unknown).await.status, 400, "{unknown}");
    }
    assert_eq!(hub.engine().count("POST", "/containers/create"), 0);
    hub.answer_at("alice", "").await;
    assert_eq!(own.ask("POST", "/users/alice/server", "{\"image\": \"lab:1\"}").await.status, 202);
    until_ready(&own, "/users/alice/server").await;
}

#[tokio::test]
async fn an_administrator_starts_a_server_with_its_owners_grants_and_stops_it() {
    let rules = "[[rule]]\nusers = [\"alice\"]\nprofiles = [\"lab\"]\nmemory = \"1GiB\"\n";
    let admin = "[[rule]]\nusers = [\"ada\"]\nadmin = true\nmemory = \"9GiB\"\n";
    let hub = Hub::with(crate::BINARY, &format!("{rules}{admin}{}{OTHER}", support::hub::PROFILE)).await;
    hub.answer_at("alice", "").await;
    hub.signed_in("alice").await;
    let program = Program::of_ada(&hub, ADMIN).await;
    assert_eq!(program.ask("POST", "/users/alice/server", "").await.status, 202, "she has one profile");
    until_ready(&program, "/users/alice/server").await;
    let container = hub.container_of("alice");
    assert_eq!(
        container.host_config("Memory"),
        &json!(1_u64 << 30),
        "what her rule grants, not the administrator's"
    );
    let before = hub.requests("alice");
    let enter = super::call(&hub, "GET", "/user/alice/", &program.authorization, "").await;
    assert_eq!(enter.status, 403, "to start it is not to enter it");
    assert_eq!(hub.requests("alice"), before);
    assert_eq!(program.ask("DELETE", "/users/alice/server", "").await.status, 202);
    hub.until_running(0).await;
    for event in ["workspace_start_ordered", "workspace_stop_ordered"] {
        hub.process().until_logged(event).await;
    }
    assert_eq!(program.ask("POST", "/users/nobody/server", "").await.status, 404);
}

#[tokio::test]
async fn the_progress_of_a_start_is_told_to_its_end() {
    let hub = hub("").await;
    hub.answer_at("alice", "").await;
    let mut alice = hub.signed_in("alice").await;
    let program = Program::new(&hub, &mut alice, &["servers"]).await;
    let path = "/users/alice/server/progress";
    let none = program.ask("GET", path, "").await;
    assert_eq!((none.status, &json_of(&none)["status"]), (400, &json!(400)));
    hub.engine().hold("/start");
    assert_eq!(program.ask("POST", "/users/alice/server", "").await.status, 202);
    let watched = async {
        let answer = program.ask("GET", path, "").await;
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        events(&answer.text())
    };
    let released = async {
        eventually("it is held", || async { hub.engine().count("POST", "/start") > 0 }).await;
        hub.engine().release("/start");
    };
    let (told, ()) = tokio::join!(watched, released);
    let (last, before) = told.split_last().expect("events");
    assert!(!before.is_empty());
    assert!(
        before.iter().all(|event| event["progress"].as_u64() < Some(100) && event["message"].is_string())
    );
    assert_eq!(
        (&last["progress"], &last["ready"], &last["url"]),
        (&json!(100), &json!(true), &json!("/user/alice/"))
    );
    let ready = events(&program.ask("GET", path, "").await.text());
    assert_eq!(ready, std::slice::from_ref(last), "of one that is ready already, the end");
}

#[tokio::test]
async fn a_start_that_fails_is_told_and_who_watches_without_the_right_hears_no_more() {
    let hub = hub("").await;
    let mut alice = hub.signed_in("alice").await;
    let program = Program::new(&hub, &mut alice, &["servers", "tokens"]).await;
    let watcher = Program::new(&hub, &mut alice, &["read:servers!user"]).await;
    let path = "/users/alice/server/progress";
    hub.engine().hold("/start");
    assert_eq!(program.ask("POST", "/users/alice/server", "").await.status, 202);
    let id = watcher.get("/user").await["token_id"].as_str().unwrap().to_owned();
    eventually("it is held", || async { hub.engine().count("POST", "/start") > 0 }).await;
    let following = watcher.begin(path).await;
    let revoked = program.ask("DELETE", &format!("/users/alice/tokens/{id}"), "").await;
    assert_eq!(revoked.status, 204);
    let told = following.rest().await;
    assert!(!told.contains("\"ready\""), "it ended before the start did: {told}");
    hub.engine().release("/start");
    hub.until_running(1).await;
    hub.engine().die(&hub.container_of("alice").name, 1, false);
    eventually("it has failed", || async {
        program.ask("GET", path, "").await.text().contains("\"failed\":true")
    })
    .await;
    let told = events(&program.ask("GET", path, "").await.text());
    assert_eq!((&told[0]["failed"], &told[0]["progress"]), (&json!(true), &json!(100)));
    let polled = alice.fetch("GET", "/user/alice/api/status", b"").await;
    assert_eq!(polled.status, 424, "a page that is still open offers a restart: {}", polled.text());
    assert!(polled.text().contains("Restart the server at"), "{}", polled.text());
    assert!(alice.open("/user/alice/lab").await.text().contains("did not start"), "people are told");
}

#[tokio::test]
async fn the_cullers_scopes_do_what_the_culler_does_and_no_more() {
    let hub = hub("").await;
    hub.run_workspace("alice").await;
    let program = Program::of_ada(&hub, CULLER).await;
    let page = program.page("/users?state=ready").await;
    let server = &page["items"][0]["servers"][""];
    assert!(server["ready"] == true && server["last_activity"].is_string() && server["started"].is_string());
    assert_eq!(program.ask("POST", "/users/alice/server", "").await.status, 403);
    assert_eq!(program.ask("DELETE", "/users/alice/server", "").await.status, 202);
    hub.until_running(0).await;
}

#[tokio::test]
async fn a_server_is_made_before_it_runs_and_shown_by_another_name() {
    let mut hub = hub("[spawner]\nnamed_servers = 2\n").await;
    hub.answer_at("alice", "gpu").await;
    let mut alice = hub.signed_in("alice").await;
    {
        let program = Program::new(&hub, &mut alice, &["servers"]).await;
        let gpu = "/users/alice/servers/gpu";
        assert_eq!(
            program.ask("PATCH", gpu, r#"{"display_name": "x"}"#).await.status,
            404,
            "it is not there"
        );
        let made = program.ask("PUT", gpu, r#"{"display_name": "My <GPU>", "user_options": {}}"#).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let made = json_of(&made);
        assert_eq!((&made["name"], &made["display_name"]), (&json!("gpu"), &json!("My <GPU>")));
        assert_eq!((&made["stopped"], &made["full_name"]), (&json!(true), &json!("alice/gpu")));
        assert_eq!(program.ask("PUT", gpu, "").await.status, 409, "once");
        assert_eq!(
            program.ask("PUT", "/users/alice/servers/", "").await.status,
            409,
            "the default one is there"
        );
        assert_eq!(hub.engine().count("POST", "/containers/create"), 0, "nothing runs");
        for wrong in [
            r#"{"display_name": "a  b"}"#,
            r#"{"display_name": 7}"#,
            r#"{"name": "cpu"}"#,
            r#"{"display_name": "x", "user_options": {"profile": "lab"}}"#,
            r#"{"display_name": "x", "cmd": "sh"}"#,
        ] {
            for (method, server) in [("PUT", "second"), ("PATCH", "gpu")] {
                let answer = program.ask(method, &format!("/users/alice/servers/{server}"), wrong).await;
                assert_eq!(answer.status, 400, "{method} {wrong}: {}", answer.text());
            }
        }
        assert_eq!(program.ask("PATCH", gpu, "").await.status, 400, "nothing is said");
        assert_eq!(program.ask("PUT", "/users/alice/servers/second", "").await.status, 201);
        assert_eq!(program.get("/users/alice/servers/second").await["display_name"], "second");
        assert_eq!(program.ask("PUT", "/users/alice/servers/third", "").await.status, 400, "the limit");
        let changed = program.ask("PATCH", gpu, r#"{"display_name": "Ihre GPU"}"#).await;
        assert_eq!((changed.status, &json_of(&changed)["display_name"]), (200, &json!("Ihre GPU")));
        assert_eq!(program.ask("POST", gpu, r#"{"display_name": "Ours & <theirs>"}"#).await.status, 202);
        until_ready(&program, gpu).await;
        let looks = Program::new(&hub, &mut alice, &["read:servers"]).await;
        assert_eq!(looks.ask("PATCH", gpu, r#"{"display_name": "x"}"#).await.status, 403);
        assert_eq!(looks.ask("PUT", "/users/alice/servers/fourth", "").await.status, 403);
    }
    let program = Program::of_ada(&hub, &["admin:users", "admin:servers"]).await;
    assert_eq!(program.ask("PUT", "/users/nobody/servers/gpu", "").await.status, 404);
    assert_eq!(program.ask("POST", "/users/late", "").await.status, 201, "is expected");
    assert_eq!(program.ask("PUT", "/users/late/servers/gpu", "").await.status, 403, "and has never come");
    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    let home = alice.open("/hub/home").await.text();
    assert!(home.contains("<strong>Ours &amp; &lt;theirs&gt; (gpu)</strong>"), "{home}");
    assert!(home.contains("<strong>second</strong>"), "{home}");
}
