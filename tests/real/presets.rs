//! Images as people have them behind their hubs, each for a day: sign in, start, land, save, compute, stop, and find it
//! all again. Where the original image is not to be had, its start is made again; `docs/jupyterhub.md` says how it differs.

use serde_json::Value;
use support::eventually::eventually;
use support::process::Process;

use crate::browser::{Browser, Http};
use crate::hub::{self, GATEWAY};
use crate::parts::part;
use crate::visitor::{Visitor, run};

const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");

/// JupyterLab's page, and what only that has in it.
const LAB: (&str, &str) = ("/lab", "jupyter-config-data");
/// The classic notebook's first page, wherever it is.
const TREE: (&str, &str) = ("/", "notebook_list");

/// A profile with a home of its own for each of its users.
fn profile(name: &str, image: &str, port: u16, home: (&str, &str), keys: &str) -> String {
    format!(
        "[[profile]]\nname = \"{name}\"\nimage = \"{}\"\nmemory = \"2GiB\"\ncpu = \"2 cpu\"\n{keys}\n\
         [[profile.volume]]\nsource = \"hubgate-real-{port}-{{username}}\"\ntarget = \"{}\"\nowner = \"{}\"\n",
        part(image),
        home.0,
        home.1,
    )
}

const JOVYAN: (&str, &str) = ("/home/jovyan", "1000:100");

/// Runs a shell's words in the user's container, as whoever began it.
async fn inside(port: u16, user: &str, script: &str) -> String {
    let container = format!("hubgate-real-{port}-{user}");
    let (done, said) = hub::docker(&["exec", &container, "/bin/bash", "-c", script]).await;
    assert!(done, "{script}: {said}");
    said.trim().to_owned()
}

async fn is_healthy(port: u16, user: &str) {
    let container = format!("hubgate-real-{port}-{user}");
    eventually("the image's own health check", || async {
        let health = ["inspect", "--format", "{{.State.Health.Status}}", &container];
        hub::docker(&health).await.1.trim() == "healthy"
    })
    .await;
}

/// Starts this profile and arrives at its page; then saves, computes, stops, and starts once more.
async fn passes_a_day(visitor: &mut Visitor<'_>, profile: &str, page: (&str, &str)) {
    arrives(visitor, profile, page).await;
    let saved = visitor.saves("kept.ipynb", "kept").await;
    assert_eq!(saved.status, 201, "{}", saved.text());
    visitor.computes("6*7", "\"text/plain\": \"42\"").await;
    visitor.stops().await;
    arrives(visitor, profile, page).await;
    assert_eq!(visitor.reads("kept.ipynb").await, "kept");
}

async fn arrives(visitor: &mut Visitor<'_>, profile: &str, page: (&str, &str)) {
    visitor.chooses(profile, &[]).await;
    lands(visitor, page).await;
}

async fn lands(visitor: &mut Visitor<'_>, (page, marker): (&str, &str)) {
    // Where the address of a server alone leads.
    let path = format!("{}{page}", visitor.base);
    let (_, answer) = visitor.lands(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains(marker), "{}", answer.text());
}

/// Runs as root before the notebook: says so, and makes a lecture to fetch.
const HOOK: &str = r#"#!/bin/bash
set -e
id -u >/run/hook
git config --system --add safe.directory '*'
git init --quiet --initial-branch main /srv/lecture
cd /srv/lecture
echo '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}' >first.ipynb
git add first.ipynb
git -c user.name=teacher -c user.email=teacher@example.org commit --quiet --message first
"#;

#[tokio::test]
async fn docker_stacks_as_root_with_the_users_number_and_hooks_in_both_modes() {
    use std::os::unix::fs::PermissionsExt as _;
    let port = 18201;
    let hooks = tempfile::TempDir::new_in(part("HUBGATE_TEST_RUN_DIR")).unwrap();
    let hook = hooks.path().join("10_lecture");
    std::fs::write(&hook, HOOK).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let hooks = format!(
        "[[profile.volume]]\nsource = \"{}\"\ntarget = \"/usr/local/bin/before-notebook.d\"\nread_only = true\n",
        hooks.path().display()
    );
    let of = |mode: &str| {
        let keys = format!(
            "mode = \"{mode}\"\nuser = \"0:0\"\nenvironment = {{ NB_UID = \"4321\", NB_GID = \"4321\", CHOWN_HOME = \"yes\" }}"
        );
        profile(mode, "HUBGATE_TEST_STACKS_IMAGE", port, JOVYAN, &keys) + &hooks
    };
    let hub = hub::start(BINARY, &[of("token"), of("hub")].concat(), port).await;
    for (user, mode) in [("alice", "token"), ("bob", "hub")] {
        let mut visitor = Visitor::sign_in(&hub, user).await;
        passes_a_day(&mut visitor, mode, LAB).await;
        is_healthy(port, user).await;
        assert_eq!(inside(port, user, "cat /run/hook").await, "0", "the hook ran as root");
        assert_eq!(inside(port, user, "stat -c %u:%g ~jovyan/kept.ipynb").await, "4321:4321", "{mode}");
        visitor.computes("import os; os.getuid() * 10", "\"text/plain\": \"43210\"").await;
        let running = inside(port, user, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await;
        assert_eq!(running.contains("jupyterhub-singleuser"), mode == "hub", "{running}");
    }
    a_link_fetches_the_lecture(&hub).await;
    hub::clear(port).await;
}

/// Each version of the notebook knows its options by another name, and begins at another page.
#[tokio::test]
async fn a_classic_notebook_is_told_its_address_whichever_it_is() {
    let port = 18208;
    let stacks = "environment = { DOCKER_STACKS_JUPYTER_CMD = \"nbclassic\" }";
    let plain = "mode = \"token\"\ncommand = [\"jupyter\", \"notebook\", \"--no-browser\"]";
    let profiles = [
        profile("nbclassic", "HUBGATE_TEST_STACKS_IMAGE", port, JOVYAN, stacks),
        profile("notebook-6", "HUBGATE_TEST_SINGLEUSER_2_3_IMAGE", port, JOVYAN, plain),
    ];
    let hub = hub::start(BINARY, &profiles.concat(), port).await;
    for (user, profile) in [("alice", "nbclassic"), ("bob", "notebook-6")] {
        let mut visitor = Visitor::sign_in(&hub, user).await;
        passes_a_day(&mut visitor, profile, TREE).await;
    }
    hub::clear(port).await;
}

/// A link of nbgitpuller's, as a teacher gives it to everybody.
async fn a_link_fetches_the_lecture(hub: &Process) {
    let browser = Browser::start(hub.address().ip(), Http::Two).await;
    let link = "/hub/user-redirect/git-pull?repo=%2Fsrv%2Flecture&branch=main&urlpath=lab%2Ftree%2Flecture%2Ffirst.ipynb";
    browser.open(&format!("{}{link}", hub.origin())).await;
    browser.sign_in("alice", "alice-password").await;
    eventually("the lecture", || async {
        browser.address().await.ends_with("/lab/tree/lecture/first.ipynb")
    })
    .await;
    browser.find(".jp-NotebookPanel").await;
    browser.close().await;
}

#[tokio::test]
async fn aiidalab_full_stack_from_its_long_first_start_to_its_factory_reset() {
    let port = 18202;
    let registry = tempfile::TempDir::new_in(part("HUBGATE_TEST_RUN_DIR")).unwrap();
    let api = registry.path().join("api/v1");
    std::fs::create_dir_all(&api).unwrap();
    std::fs::write(api.join("apps_index.json"), r#"{"apps": {}, "categories": {}}"#).unwrap();
    let url = format!("http://{GATEWAY}:{port}/registry/api/v1");
    // Everything is found from the image.
    let aiidalab = profile("aiidalab", "HUBGATE_TEST_AIIDALAB_IMAGE", port, JOVYAN, "");
    let route = format!(
        "[[route]]\nname = \"registry\"\npath = \"/registry/\"\nfolder = \"{}\"\npublic = true\ncontainers = true\n\
         environment = {{ AIIDALAB_REGISTRY = \"api/v1\" }}\n",
        registry.path().display()
    );
    let profiles = [aiidalab, route].concat();
    let hub = hub::start_beside(BINARY, &profiles, &["registry:host-gateway"], port).await;
    let mut visitor = Visitor::sign_in(&hub, "alice").await;
    passes_a_day(&mut visitor, "aiidalab", HOME_APP).await;
    is_healthy(port, "alice").await;
    has_its_services(port, "alice").await;
    has_its_user(port, "alice", "Archer").await;
    let by_name = format!("http://registry:{port}/registry/api/v1/apps_index.json");
    for index in [format!("{url}/apps_index.json"), by_name] {
        let said = inside(port, "alice", &format!("aiidalab info; curl -fsS {index}")).await;
        assert!(said.contains(&url) && said.contains("\"categories\""), "{said}");
    }
    ended_in_order(&hub, port, "alice").await;
    factory_resets(&mut visitor, port).await;
    hub::clear(port).await;
}

const HOME_APP: (&str, &str) = ("/apps/apps/home/start.ipynb", "appmode");

/// Runs a shell's words as whoever owns `AiiDA`'s data there.
async fn as_owner(port: u16, user: &str, script: &str) -> String {
    inside(port, user, &format!("if ((EUID)); then {script}; else su $SYSTEM_USER -c '{script}'; fi")).await
}

async fn has_its_services(port: u16, user: &str) {
    // The daemon is the last to come.
    eventually("AiiDA's daemon", || async {
        as_owner(port, user, "verdi status || true").await.contains("Daemon is running")
    })
    .await;
    let said = as_owner(port, user, "verdi status").await;
    for wanted in ["postgresql+psycopg", "RabbitMQ v3"] {
        assert!(said.contains(wanted), "{said}");
    }
}

/// Whoever signed in is `AiiDA`'s user.
async fn has_its_user(port: u16, user: &str, last_name: &str) {
    let said = as_owner(port, user, "verdi user list").await;
    assert!(said.contains(&format!("{user}@lab.example")) && said.contains(last_name), "{said}");
    assert!(!said.contains("aiida@localhost") && !said.contains("Giuseppe"), "{said}");
}

/// What `AiiDA` keeps in its database and its repository.
async fn keeps_a_number(port: u16, user: &str) -> String {
    let keep =
        "python -c \"from aiida import load_profile, orm; load_profile(); print(orm.Int(42).store().uuid)\"";
    let uuid = as_owner(port, user, keep).await;
    uuid.lines().last().unwrap_or_default().to_owned()
}

async fn knows_the_number(port: u16, user: &str, uuid: &str) {
    let look = format!(
        "python -c \"from aiida import load_profile, orm; load_profile(); print(orm.load_node(\\\"{uuid}\\\").value)\""
    );
    let said = as_owner(port, user, &look).await;
    assert!(said.ends_with("42"), "{said}");
}

/// It was stopped once: each service by its own command, and none of them was killed.
async fn ended_in_order(hub: &Process, port: u16, user: &str) {
    let log = hub.log();
    let at = |command: &str| log.find(command).unwrap_or_else(|| panic!("{command} was not run: {log}"));
    let order = [at("verdi daemon stop"), at("rabbitmqctl stop"), at("pg_ctl -m fast stop")];
    assert!(order.is_sorted(), "{log}");
    assert!(!log.contains("stop_command_failed"), "{log}");
    // The database says at its next start how it ended, and the broker when it does.
    let said = as_owner(port, user, "cat ~/.postgresql/logfile ~/.rabbitmq/log/rabbit@localhost.log").await;
    for wanted in ["database system was shut down at", "Successfully stopped RabbitMQ and its dependencies"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert!(!said.contains("not properly shut down"), "{said}");
}

/// Level 1 takes the apps and what was installed for the user; level 2 takes the home.
async fn factory_resets(visitor: &mut Visitor<'_>, port: u16) {
    inside(port, "alice", "mkdir -p ~/apps/mine ~/.local/mine && touch ~/mine").await;
    let left = "cd; ls -d apps/mine .local/mine mine .aiida 2>/dev/null | xargs echo";
    for (level, wanted) in [("1", ".aiida mine"), ("2", "")] {
        visitor.stops().await;
        visitor.chooses("aiidalab", &[("factory_reset", level)]).await;
        lands(visitor, HOME_APP).await;
        let mut found = inside(port, "alice", left).await;
        if level == "2" {
            // AiiDA asks for its folder whenever it is called.
            found = found.replace(".aiida", "");
        }
        assert_eq!(found.trim(), wanted, "level {level}");
    }
}

#[tokio::test]
async fn aiidalab_classic_as_a_service_of_an_init_that_takes_no_arguments_in_both_modes() {
    let port = 18203;
    let aiida = ("/home/aiida", "1000:1000");
    let of = |mode: &str| {
        let keys = format!("mode = \"{mode}\"\n");
        profile(mode, "HUBGATE_TEST_CLASSIC_IMAGE", port, aiida, &keys)
    };
    let hub = hub::start(BINARY, &[of("hub"), of("token")].concat(), port).await;
    for (user, mode, last_name) in [("alice", "hub", "Archer"), ("bob", "token", "Baker")] {
        let mut visitor = Visitor::sign_in(&hub, user).await;
        arrives(&mut visitor, mode, HOME_APP).await;
        has_its_services(port, user).await;
        has_its_user(port, user, last_name).await;
        let uuid = keeps_a_number(port, user).await;
        visitor.stops().await;
        assert!(!hub.log().contains("stop_command_failed"), "{}", hub.log());
        is_shut_down(port, user).await;
        passes_a_day(&mut visitor, mode, HOME_APP).await;
        has_its_services(port, user).await;
        ended_in_order(&hub, port, user).await;
        knows_the_number(port, user, &uuid).await;
        assert_eq!(inside(port, user, "stat -c %U /home/aiida/kept.ipynb").await, "aiida", "{mode}");
        let running = inside(port, user, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await;
        assert_eq!(running.contains("aiidalab-singleuser"), mode == "hub", "{running}");
    }
    hub::clear(port).await;
}

/// Of the database that a stopped container left in its volume.
async fn is_shut_down(port: u16, user: &str) {
    let volume = format!("hubgate-real-{port}-{user}:/home/aiida:ro");
    let look =
        ["run", "--rm", "--network", "none", "--entrypoint", "/usr/lib/postgresql/15/bin/pg_controldata"];
    let image = part("HUBGATE_TEST_CLASSIC_IMAGE");
    let (done, said) =
        hub::docker(&[&look[..], &["--volume", &volume, &image, "/home/aiida/.postgresql"]].concat()).await;
    assert!(done && said.contains("state:               shut down"), "{said}");
}

#[tokio::test]
async fn pyiron_base_with_its_notebooks_in_a_new_home() {
    pyiron("base", "pyiron_base.__name__", 18204).await;
}

#[tokio::test]
async fn pyiron_atomistics_with_its_notebooks_in_a_new_home() {
    pyiron("atomistics", "pyiron_atomistics.__name__", 18205).await;
}

#[tokio::test]
async fn pyiron_continuum_with_its_notebooks_in_a_new_home() {
    pyiron("continuum", "pyiron_continuum.__name__", 18206).await;
}

async fn pyiron(kind: &str, then: &str, port: u16) {
    let image = format!("HUBGATE_TEST_PYIRON_{}_IMAGE", kind.to_uppercase());
    let hub = hub::start(BINARY, &profile("pyiron", &image, port, JOVYAN, ""), port).await;
    let mut visitor = Visitor::sign_in(&hub, "alice").await;
    passes_a_day(&mut visitor, "pyiron", LAB).await;
    assert_eq!(inside(port, "alice", "id -u; echo $OMPI_MCA_rmaps_base_oversubscribe").await, "1000\nyes");
    let notebook = visitor.api(&format!("contents/notebooks_{kind}/{kind}.ipynb"));
    let answer = visitor.fetch("GET", &notebook, &Value::Null).await;
    let code: Value = serde_json::from_slice(&answer.body).unwrap();
    let code = code["content"]["cells"][0]["source"].as_str().unwrap_or_else(|| panic!("{}", answer.text()));
    // What it imports is large, and is compiled at its first use.
    let path = visitor.kernel().await;
    let mut socket = visitor.socket(&path, &hub.origin()).await.unwrap();
    run(&mut socket, &format!("{code}; {then}"), &format!("'pyiron_{kind}'")).await;
    hub::clear(port).await;
}

#[tokio::test]
async fn a_dashboard_that_is_told_its_prefix_and_editors_that_know_of_none() {
    let port = 18207;
    let home = ("/home/web", "1000:100");
    let dashboard = "preset = \"web\"\ncommand = [\"streamlit\", \"run\", \"/opt/dashboard.py\", \
         \"--server.port={port}\", \"--server.address=0.0.0.0\", \"--server.baseUrlPath={base_url}\", \
         \"--server.headless=true\", \"--browser.gatherUsageStats=false\"]";
    // It knows nothing of the path that leads to it.
    let editor = "preset = \"web\"\nstrip_path = true\ncommand = [\"marimo\", \"edit\", \"--headless\", \"--no-token\", \
         \"--skip-update-check\", \"--host\", \"0.0.0.0\", \"--port\", \"{port}\"]";
    let code = "preset = \"web\"\nstrip_path = true\ncommand = [\"code-server\", \"--auth=none\", \
         \"--bind-addr=0.0.0.0:{port}\", \"--disable-workspace-trust\", \"--disable-telemetry\", \"/home/web\"]";
    let profiles = [
        profile("dashboard", "HUBGATE_TEST_WEB_IMAGE", port, home, dashboard),
        profile("editor", "HUBGATE_TEST_WEB_IMAGE", port, home, editor),
        profile("code", "HUBGATE_TEST_WEB_IMAGE", port, home, code),
    ]
    .concat();
    let hub = hub::start(BINARY, &profiles, port).await;
    let browser = Browser::start(hub.address().ip(), Http::Two).await;
    let mut visitor = Visitor::sign_in(&hub, "alice").await;
    arrives(&mut visitor, "dashboard", ("/", "Streamlit")).await;
    browser.open(&format!("{}/user/alice/", hub.origin())).await;
    browser.sign_in("alice", "alice-password").await;
    // It draws nothing before its websocket has told it what.
    browser.until_text("Measurements").await;
    browser.until_text("42").await;
    visitor.stops().await;
    arrives(&mut visitor, "editor", ("/", "marimo")).await;
    browser.open(&format!("{}/user/alice/?file=__new__", hub.origin())).await;
    browser.find(".cm-content").await;
    inside(port, "alice", "touch ~/kept").await;
    visitor.stops().await;
    arrives(&mut visitor, "editor", ("/", "marimo")).await;
    assert!(inside(port, "alice", "ls ~").await.contains("kept"));
    visitor.stops().await;
    arrives(&mut visitor, "code", ("/?folder=/home/web", "Microsoft Corporation")).await;
    browser.open(&format!("{}/user/alice/", hub.origin())).await;
    // Its page is there at once; what is in the home it hears by its websocket.
    browser.find(".monaco-workbench").await;
    browser.until_text("kept").await;
    browser.close().await;
    hub::clear(port).await;
}
