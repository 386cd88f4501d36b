//! What images need: how they are stopped, what they are told, what may be chosen at their start.

use std::net::SocketAddr;
use std::time::Duration;

use support::client::Client;
use support::docker::Image;
use support::eventually::{eventually, found};
use support::hub::{EVERYONE, Hub};
use support::upstream::Upstream;

use crate::BINARY;

const FULL_STACK: &str = "[[profile]]\nname = \"aiidalab\"\nimage = \"aiidalab/full-stack:1\"\n";

fn full_stack() -> Image {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    Image {
        entrypoint: words(&["tini", "-g", "--"]),
        command: words(&["start-notebook.sh"]),
        environment: words(&["AIIDALAB_APPS=/home/jovyan/apps", "DOCKER_STACKS_JUPYTER_CMD=notebook"]),
        user: "jovyan".to_owned(),
        ..Image::default()
    }
}

async fn hub(profile: &str) -> Hub {
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{profile}")).await;
    hub.engine().add_image("aiidalab/full-stack:1", full_stack());
    hub
}

async fn stop(hub: &Hub) {
    let mut alice = hub.signed_in("alice").await;
    let token = alice.open("/hub/home").await.field("form_token").expect("a form");
    alice.submit("/hub/home", &[("form_token", &token), ("action", "stop"), ("server", "")]).await;
}

/// What the engine was asked at the end, in its order: programs inside, then the stop.
fn asked(hub: &Hub) -> Vec<String> {
    let requests = hub.engine().requests();
    let told = requests.iter().filter(|request| request.method == "POST").filter_map(|request| {
        if request.path.ends_with("/exec") {
            let words = request.body.pointer("/Cmd")?.as_array()?.iter();
            return Some(words.filter_map(|word| word.as_str()).collect::<Vec<_>>().join(" "));
        }
        request.path.ends_with("/stop").then(|| "stop".to_owned())
    });
    told.collect()
}

const IN_ORDER: [&str; 4] = [
    "verdi daemon stop",
    "bash -c PATH=/opt/conda/envs/aiida-core-services/bin:$PATH exec rabbitmqctl stop",
    "bash -c PATH=/opt/conda/envs/aiida-core-services/bin:$PATH exec pg_ctl -m fast stop",
    "stop",
];

#[tokio::test]
async fn what_an_image_runs_inside_is_stopped_in_its_order_before_the_container() {
    let hub = hub(FULL_STACK).await;
    hub.run_workspace("alice").await;
    stop(&hub).await;
    hub.until_running(0).await;
    assert_eq!(asked(&hub), IN_ORDER);
}

#[tokio::test]
async fn a_hub_that_has_just_started_stops_in_the_same_order() {
    let mut hub = hub(FULL_STACK).await;
    hub.run_workspace("alice").await;
    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    hub.process().until_ready().await;
    let alice = hub.signed_in("alice").await;
    eventually("alice's workspace again", || {
        let mut alice = alice.clone();
        async move { alice.fetch("GET", "/user/alice/x", b"").await.status == 200 }
    })
    .await;
    stop(&hub).await;
    hub.until_running(0).await;
    assert_eq!(asked(&hub), IN_ORDER);
}

#[tokio::test]
async fn what_fails_inside_is_logged_and_does_not_keep_a_workspace_from_stopping() {
    let commands = "stop_commands = [[\"first\", \"word\"], [\"second\"]]\nstop_user = \"aiida\"\n";
    let hub = hub(&format!("{FULL_STACK}{commands}")).await;
    hub.run_workspace("alice").await;
    hub.engine().fail_next_command(3);
    stop(&hub).await;
    hub.until_running(0).await;
    assert_eq!(asked(&hub), ["first word", "second", "stop"]);
    let requests = hub.engine().requests();
    let exec = requests.iter().find(|request| request.path.ends_with("/exec")).expect("an exec");
    assert_eq!(exec.body["User"], "aiida");
    hub.process().until_logged("stop_command_failed").await;
}

#[tokio::test]
async fn a_command_that_hangs_leaves_the_others_and_the_stop_their_time() {
    let keys = "stop_commands = [[\"hangs\"], [\"second\"]]\nstop_timeout = \"2s\"\n";
    let hub = hub(&format!("{FULL_STACK}{keys}")).await;
    hub.run_workspace("alice").await;
    hub.engine().hold("/exec/");
    stop(&hub).await;
    hub.until_running(0).await;
    assert_eq!(asked(&hub), ["hangs", "second", "stop"]);
    let requests = hub.engine().requests();
    let stopped = requests.iter().find(|request| request.path.ends_with("/stop")).expect("a stop");
    let left: u64 = stopped.query["t"].parse().unwrap();
    assert!((1..=2).contains(&left), "{left} s are left for the signal");
    hub.engine().release("/exec/");
}

#[tokio::test]
async fn users_land_where_their_image_begins() {
    let hub = hub(FULL_STACK).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let answer = alice.open("/").await;
    assert_eq!(answer.header("location"), Some("/user/alice/apps/apps/home/start.ipynb"));
    assert_eq!(hub.container_of("alice").labels["io.hubgate.preset"], "aiidalab-full-stack");
}

#[tokio::test]
async fn what_an_image_is_counts_and_not_what_its_name_let_expect() {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let lab = Image { command: words(&["jupyter", "lab"]), ..Image::default() };
    let tools = ("aiidalab-tools:1", lab, "/user/alice/lab", "jupyter", 9..=10);
    let everything = (
        "lab/all:1",
        full_stack(),
        "/user/alice/apps/apps/home/start.ipynb",
        "aiidalab-full-stack",
        60..=120,
    );
    for (name, image, page, preset, time) in [tools, everything] {
        let profile = format!("[[profile]]\nname = \"it\"\nimage = \"{name}\"\n");
        let hub = Hub::with(BINARY, &format!("{EVERYONE}{profile}")).await;
        // Nothing shows what it is before it is pulled.
        hub.engine().publish_image(name, image);
        let mut alice = hub.signed_in("alice").await;
        hub.run_workspace("alice").await;
        assert_eq!(alice.open("/").await.header("location"), Some(page), "{name}");
        assert_eq!(hub.container_of("alice").labels["io.hubgate.preset"], preset, "{name}");
        stop(&hub).await;
        hub.until_running(0).await;
        assert_eq!(asked(&hub).len() > 1, preset == "aiidalab-full-stack", "{name}: {:?}", asked(&hub));
        let requests = hub.engine().requests();
        let stopped = requests.iter().find(|request| request.path.ends_with("/stop")).expect("a stop");
        let left: u64 = stopped.query["t"].parse().unwrap();
        assert!(time.contains(&left), "{name}: {left} s");
    }
}

#[tokio::test]
async fn aiida_is_told_who_its_user_is_as_the_provider_says() {
    let told = "environment = { UNIT = \"{claim:unit}\", AIIDA_USER_LAST_NAME = \"of {claim:unit}\" }\n";
    let hub = hub(&format!("{FULL_STACK}{told}")).await;
    let claims = serde_json::json!({
        "email": "alice@lab.example", "email_verified": true, "given_name": "Alice\nHOME=/",
        "family_name": "Archer", "organization": ["acme"], "unit": "THEOS",
    });
    let alice = hub.signed_in_with("alice", claims).await;
    hub.answer_at("alice", "").await;
    hub.until_open(&mut alice.clone(), "/user/alice/x").await;
    let told = |name: &str| hub.environment_of("alice", name);
    assert_eq!(told("AIIDA_USER_EMAIL").as_deref(), Some("alice@lab.example"));
    assert_eq!(told("AIIDA_USER_INSTITUTION").as_deref(), Some("acme"));
    assert_eq!(told("AIIDA_USER_FIRST_NAME"), None, "no name that would be another variable");
    assert_eq!(told("AIIDA_USER_LAST_NAME").as_deref(), Some("of THEOS"), "the profile has the last word");
    assert_eq!(told("UNIT").as_deref(), Some("THEOS"));
}

/// A program that knows nothing of `/user/alice/`.
async fn dashboard(hub: &Hub) -> Upstream {
    let address = SocketAddr::new(hub.engine().address_for("alice").into(), 3000);
    Upstream::bind_with(address, |mut exchange| async move {
        let gone = exchange.request.target == "/moved";
        if gone {
            exchange.write(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n").await?;
            return Ok(exchange);
        }
        exchange.echo().await
    })
    .await
    .unwrap()
}

async fn until(client: &mut Client, path: &str) {
    found(&format!("{path} to start"), Duration::ZERO, async || {
        Some(client.open(path).await).filter(|answer| answer.status == 200)
    })
    .await;
}

#[tokio::test]
async fn a_program_that_knows_no_prefix_sees_paths_of_its_own_and_its_redirects_lead_back() {
    let profile = "[[profile]]\nname = \"dash\"\nimage = \"dash:1\"\nport = 3000\npreset = \"web\"\nstrip_path = true\n";
    let hub = hub(profile).await;
    hub.engine().add_image("dash:1", Image::default());
    let program = dashboard(&hub).await;
    let mut alice = hub.signed_in("alice").await;
    until(&mut alice, "/user/alice/a?b=c").await;
    let seen: Vec<String> = program.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(seen.first().map(String::as_str), Some("/"), "its first page says that it is up");
    assert!(seen.contains(&"/a?b=c".to_owned()), "{seen:?}");
    assert!(!seen.iter().any(|target| target.contains("/user/")), "{seen:?}");
    let moved = alice.fetch("GET", "/user/alice/moved", b"").await;
    assert_eq!(moved.header("location"), Some("/user/alice/there"));
}

const OPTION: &str = "[[profile.option]]\nname = \"threads\"\ntitle = \"Threads\"\nenvironment = \"N_THREADS\"\n\
    choices = [{ value = \"1\", title = \"One\" }, { value = \"8\", title = \"Eight\" }]\n";

#[tokio::test]
async fn what_is_chosen_holds_for_one_start_and_only_what_is_offered_can_be() {
    let hub = hub(&format!("{FULL_STACK}{OPTION}")).await;
    hub.answer_at("alice", "").await;
    let mut alice = hub.signed_in("alice").await;
    let page = alice.open("/hub/spawn").await;
    assert!(page.text().contains("<option value=\"8\">Eight</option>"), "{}", page.text());
    assert!(
        page.text().contains("name=\"factory_reset\""),
        "the image's name lets expect AiiDAlab: {}",
        page.text()
    );
    let token = page.field("form_token").expect("a form");
    let form = |threads: &'static str| {
        [("form_token", token.clone()), ("profile", "aiidalab".to_owned()), ("threads", threads.to_owned())]
    };
    let mut sender = alice.clone();
    let mut send = async |fields: [(&'static str, String); 3]| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        sender.submit("/hub/spawn", &fields).await
    };
    let refused = send(form("9")).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains("threads"), "{}", refused.text());
    hub.process().until_logged("no_choice").await;
    assert!(hub.engine().containers().is_empty());

    assert_eq!(send(form("8")).await.status, 303);
    hub.until_running(1).await;
    assert_eq!(hub.environment_of("alice", "N_THREADS").as_deref(), Some("8"));
    assert_eq!(hub.environment_of("alice", "AIIDALAB_FACTORY_RESET"), None);
    let client = alice.clone();
    hub.until_open(&mut client.clone(), "/user/alice/x").await;
    stop(&hub).await;
    hub.until_running(0).await;
    hub.until_open(&mut client.clone(), "/user/alice/x").await;
    assert_eq!(hub.environment_of("alice", "N_THREADS").as_deref(), Some("1"), "the first choice again");
}

#[tokio::test]
async fn a_link_chooses_but_does_not_start_what_is_not_usual() {
    let hub = hub(&format!("{FULL_STACK}{OPTION}")).await;
    hub.answer_at("alice", "").await;
    let mut alice = hub.signed_in("alice").await;
    let page = alice.open("/hub/spawn?profile=aiidalab&factory_reset=2&threads=8").await;
    assert_eq!(page.status, 200, "{}", page.text());
    let text = page.text();
    let (eight, one) = (text.find("value=\"8\"").unwrap(), text.find("value=\"1\">One").unwrap());
    assert!(eight < one, "what the link chose stands first: {text}");
    assert!(hub.engine().containers().is_empty());
    let elsewhere = [
        ("Accept", "text/html"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
        ("Sec-Fetch-Site", "cross-site"),
    ];
    let page = alice.send("GET", "/hub/spawn?profile=aiidalab&factory_reset=2", &elsewhere, b"").await.text();
    let (nothing, everything) = (page.find("value=\"\">Nothing").unwrap(), page.find("value=\"2\"").unwrap());
    assert!(nothing < everything, "another site chooses nothing: {page}");
    let started = alice.open("/hub/spawn?profile=aiidalab&threads=1").await;
    assert_eq!(started.status, 303, "a link that changes nothing starts: {}", started.text());
}
