//! Starts that somebody wants no more: by the API, by the pages, by the command line.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::docker::Image;
use support::eventually::{eventually, found};
use support::hub::{EVERYONE, Hub};

use super::{Program, hub, json_of};
use crate::BINARY;
use crate::control::operate;

const SERVER: &str = "/users/alice/server";
const VOLUME: &str = "[[profile.volume]]\nsource = \"home-{username}\"\ntarget = \"/home/jovyan\"\n";
const NOT_AHEAD: &str = "# docker: prepull = false\n";
const BIG: &str = "[[profile]]\nname = \"big\"\nimage = \"big:1\"\n";

/// How many requests the engine got whose path holds `part`.
fn asked(hub: &Hub, part: &str) -> usize {
    hub.engine().requests().iter().filter(|request| request.path.contains(part)).count()
}

/// Starts a server, and waits until the engine keeps it waiting at `part`.
async fn start_up_to(hub: &Hub, program: &Program<'_>, server: &str, part: &str) {
    hub.engine().hold(part);
    let before = asked(hub, part);
    let answer = program.ask("POST", server, "").await;
    assert_eq!(answer.status, 202, "{part}: {}", answer.text());
    eventually(part, || async { asked(hub, part) > before }).await;
}

async fn until_stopped(program: &Program<'_>, server: &str) {
    eventually("it has stopped", || async {
        let model = program.get(server).await;
        model["stopped"] == true && model["pending"] == Value::Null
    })
    .await;
}

async fn until_ready(program: &Program<'_>, server: &str) {
    eventually("it is ready", || async { program.get(server).await["ready"] == true }).await;
}

#[tokio::test]
async fn a_start_is_cancelled_at_every_stage_and_leaves_nothing_but_the_home() {
    let hub = hub(&format!("{VOLUME}[spawner]\nnamed_servers = 1\n")).await;
    let mut alice = hub.signed_in("alice").await;
    let program = Program::new(&hub, &mut alice, &["servers"]).await;
    for server in [SERVER, "/users/alice/servers/gpu"] {
        for stage in ["lab:1/json", "/networks", "/wait", "/containers/create", "/start"] {
            // The second of her servers finds the home that the first has made.
            if stage == "/wait" && server != SERVER {
                continue;
            }
            start_up_to(&hub, &program, server, stage).await;
            for again in ["first", "again"] {
                assert_eq!(program.ask("DELETE", server, "").await.status, 202, "{stage}, {again}");
            }
            assert_eq!(program.get(server).await["pending"], "stop", "{stage}");
            hub.engine().release(stage);
            until_stopped(&program, server).await;
            assert!(hub.engine().containers().is_empty(), "{stage}: {:?}", hub.engine().containers());
            assert_eq!(program.ask("DELETE", server, "").await.status, 204, "{stage}");
        }
        // Nothing answers in its container.
        assert_eq!(program.ask("POST", server, "").await.status, 202);
        hub.until_running(1).await;
        assert_eq!(program.ask("DELETE", server, "").await.status, 202);
        until_stopped(&program, server).await;
        assert!(hub.engine().containers().is_empty());
        assert_eq!(hub.engine().volumes(), ["home-alice"]);
    }
    hub.answer_at("alice", "").await;
    assert_eq!(program.ask("POST", SERVER, "").await.status, 202, "at once");
    until_ready(&program, SERVER).await;
}

#[tokio::test]
async fn a_start_that_is_cancelled_while_its_image_is_pulled_ends_and_the_pull_goes_on() {
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{NOT_AHEAD}{BIG}")).await;
    hub.engine().publish_image("big:1", Image { command: vec!["jupyter".to_owned()], ..Image::default() });
    let mut alice = hub.signed_in("alice").await;
    let program = Program::new(&hub, &mut alice, &["servers"]).await;
    start_up_to(&hub, &program, SERVER, "/images/create").await;
    let deleted = program.ask("DELETE", SERVER, "").await.status;
    assert!([202, 204].contains(&deleted), "{deleted}");
    until_stopped(&program, SERVER).await;
    hub.answer_at("alice", "").await;
    assert_eq!(program.ask("POST", SERVER, "").await.status, 202, "at once");
    hub.engine().release("/images/create");
    until_ready(&program, SERVER).await;
    assert_eq!(
        hub.engine().count("POST", "/images/create"),
        1,
        "the second start waited for the first's pull"
    );
}

#[tokio::test]
async fn whoever_follows_a_start_hears_that_it_was_cancelled() {
    let hub = hub("").await;
    let mut alice = hub.signed_in("alice").await;
    let program = Program::new(&hub, &mut alice, &["servers"]).await;
    start_up_to(&hub, &program, SERVER, "/start").await;
    let path = format!("{SERVER}/progress");
    let following = program.begin(&path).await;
    assert_eq!(program.ask("DELETE", SERVER, "").await.status, 202);
    let told = following.rest().await;
    let cancelled = json!({ "progress": 100, "failed": true, "message": "Spawn cancelled" });
    let last = |text: &str| {
        let line = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
        serde_json::from_str::<Value>(line.expect("an event")).expect("JSON")
    };
    assert_eq!(last(&told), cancelled, "before the engine has answered");
    hub.engine().release("/start");
    until_stopped(&program, SERVER).await;
    assert_eq!(last(&program.ask("GET", &path, "").await.text()), cancelled);
}

#[tokio::test]
async fn the_page_of_a_start_cancels_it_and_then_offers_to_start_again() {
    let hub = hub("").await;
    hub.engine().hold("/start");
    let mut alice = hub.signed_in("alice").await;
    let page = alice.open("/user/alice/lab?a=b").await;
    assert_eq!((page.status, page.text().contains(">Cancel</button>")), (503, true), "{}", page.text());
    assert!(alice.open("/hub/home").await.text().contains(">Cancel</button>"));
    eventually("the engine at it", || async { asked(&hub, "/start") > 0 }).await;
    let token = page.field("form_token").expect("a form");
    let forged = alice.submit("/hub/home", &[("action", "stop"), ("server", "")]).await;
    assert_eq!(forged.status, 403, "another site cancels nothing");
    assert!(alice.open("/user/alice/lab?a=b").await.text().contains("is starting"));
    let form = [("form_token", token.as_str()), ("action", "stop"), ("server", "")];
    assert_eq!(alice.submit("/hub/home", &form).await.header("location"), Some("/hub/home"));
    hub.engine().release("/start");

    let page = found("the start to be over", Duration::ZERO, async || {
        Some(alice.open("/user/alice/lab?a=b").await).filter(|page| page.status != 503)
    });
    let page = page.await;
    assert!(page.text().contains("The start was cancelled"), "{}", page.text());
    assert_eq!(page.header("refresh"), None, "a page that looks again by itself would start it again");
    assert_eq!(
        alice.fetch("GET", "/user/alice/api/status", b"").await.status,
        424,
        "as one that does not run"
    );
    let home = alice.open("/hub/home").await.text();
    assert!(home.contains("the start of JupyterLab was cancelled"), "{home}");
    assert_eq!(hub.engine().count("POST", "/containers/create"), 1, "nobody started it again");

    hub.answer_at("alice", "").await;
    let token = page.field("form_token").expect("a form");
    assert!(page.field("next").is_some_and(|next| !next.is_empty()), "it leads back here: {}", page.text());
    let form = [("form_token", token.as_str()), ("profile", "lab"), ("next", "/user/alice/lab?a=b")];
    let started = alice.submit("/hub/spawn", &form).await;
    assert_eq!(started.header("location"), Some("/user/alice/lab?a=b"));
    hub.until_open(&mut alice, "/user/alice/lab?a=b").await;
}

#[tokio::test]
async fn a_start_that_is_cancelled_as_it_becomes_ready_leaves_nothing() {
    let hub = hub("").await;
    hub.answer_at("alice", "").await;
    let mut alice = hub.signed_in("alice").await;
    let program = Program::new(&hub, &mut alice, &["servers"]).await;
    for _ in 0..8 {
        let before = hub.requests("alice");
        assert_eq!(program.ask("POST", SERVER, "").await.status, 202);
        eventually("it is asked whether it is up", || async { hub.requests("alice") > before }).await;
        let deleted = program.ask("DELETE", SERVER, "").await.status;
        assert!([202, 204].contains(&deleted), "{deleted}");
        until_stopped(&program, SERVER).await;
        assert!(hub.engine().containers().is_empty());
    }
}

#[tokio::test]
async fn a_server_with_a_name_is_taken_away_while_it_starts() {
    let hub = hub("[spawner]\nnamed_servers = 1\n").await;
    let mut alice = hub.signed_in("alice").await;
    let program = Program::new(&hub, &mut alice, &["servers"]).await;
    let server = "/users/alice/servers/gpu";
    start_up_to(&hub, &program, server, "/start").await;
    assert_eq!(program.ask("DELETE", server, "{\"remove\": true}").await.status, 202);
    hub.engine().release("/start");
    eventually("it is gone", || async { program.ask("GET", server, "").await.status == 404 }).await;
    assert!(hub.engine().containers().is_empty());
}

#[tokio::test]
async fn an_administrator_cancels_a_start_from_the_command_line() {
    let hub = hub("").await;
    let mut alice = hub.signed_in("alice").await;
    let program = Program::new(&hub, &mut alice, &["servers"]).await;
    start_up_to(&hub, &program, SERVER, "/start").await;
    let said = operate(&hub, &["workspace", "stop", "alice"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(0), "the server is stopping\n"), "{}", said.err);
    hub.engine().release("/start");
    until_stopped(&program, SERVER).await;
    hub.process().until_logged("workspace_start_cancelled").await;
    let list = operate(&hub, &["workspace", "list"]).await.out;
    assert!(list.contains("alice") && list.contains("cancelled"), "{list}");
    let again = operate(&hub, &["workspace", "stop", "alice"]).await;
    assert_ne!(again.code, Some(0), "there is nothing to stop");
}

#[tokio::test]
async fn a_server_that_is_found_again_and_does_not_answer_can_be_stopped() {
    let mut hub = hub("").await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let authorization = Program::new(&hub, &mut alice, &["servers"]).await.authorization;
    hub.process_mut().kill().await;
    hub.close_workspace("alice");
    hub.process_mut().start_again().await;
    let program = Program { hub: &hub, authorization };
    eventually("it is found", || async { program.get(SERVER).await["pending"] == "spawn" }).await;
    assert_eq!(program.ask("DELETE", SERVER, "").await.status, 202);
    until_stopped(&program, SERVER).await;
    assert!(hub.engine().containers().is_empty());
    let progress = program.ask("GET", &format!("{SERVER}/progress"), "").await;
    assert_eq!(
        (progress.status, &json_of(&progress)["status"]),
        (400, &json!(400)),
        "no start was cancelled"
    );
}

#[tokio::test]
async fn a_hub_that_stops_waits_for_no_pull() {
    let mut hub = Hub::with(BINARY, &format!("{EVERYONE}{NOT_AHEAD}{BIG}")).await;
    hub.engine().publish_image("big:1", Image::default());
    let mut alice = hub.signed_in("alice").await;
    let program = Program::new(&hub, &mut alice, &["servers"]).await;
    start_up_to(&hub, &program, SERVER, "/images/create").await;
    hub.process().signal(Signal::TERM);
    assert_eq!(hub.process_mut().ended().await, Some(0));
    hub.process().until_logged("every connection has ended").await;
}
