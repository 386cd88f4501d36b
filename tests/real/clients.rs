//! Clients of JupyterHub's REST API, as Python's index has them: the idle culler, nbgrader, and schemathesis with the API's
//! own description. jupyterhub-ssh is not in that index: what it sends is sent here.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use support::eventually::{eventually, found};
use support::hub::{EVERYONE, Hub, PROFILE};
use support::process::{NAME, USER_DOMAINS};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::hub;
use crate::parts::part;
use crate::visitor::{Visitor, until_said};

const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");

/// Ada is an administrator.
const ADA: &str = "[[rule]]\nusers = [\"ada\"]\nadmin = true\n[spawner]\nnamed_servers = 3\n";

/// What the documentation of jupyterhub-idle-culler asks for.
const CULLER: &[&str] = &["list:users", "read:users:activity", "read:servers", "delete:servers"];

const ALL: &[&str] = &[
    "access:servers",
    "servers",
    "read:users",
    "tokens",
    "users:activity!user",
    "list:users",
    "admin:users",
    "admin:sessions",
    "admin:servers",
    "read:servers",
    "read:users:activity",
    "users:activity",
    "admin:groups",
    "read:hub",
    "proxy",
    "shutdown",
];

/// With this in its profile.
async fn hub_with(more: &str) -> Hub {
    Hub::with(BINARY, &format!("{EVERYONE}{ADA}{PROFILE}{more}")).await
}

/// A client in Python, to which the hub has a name and a certificate that it trusts.
fn client(hub: &Hub, program: &str) -> Command {
    let folder = hub.folder();
    let names = format!(
        "import socket\nfind = socket.getaddrinfo\n\
         socket.getaddrinfo = lambda host, *more, **named: find({:?} if host in ({NAME:?}, b{NAME:?}) else host, *more, **named)\n",
        hub.process().address().ip().to_string(),
    );
    std::fs::write(folder.join("sitecustomize.py"), names).unwrap();
    std::fs::write(folder.join("authority.pem"), hub.process().authority().pem()).unwrap();
    let mut command = Command::new(Path::new(&part("HUBGATE_TEST_CLIENTS")).join(program));
    command.current_dir(folder).env("PYTHONPATH", folder).env("SSL_CERT_FILE", folder.join("authority.pem"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

#[tokio::test]
async fn the_idle_culler_stops_the_server_that_nobody_uses_and_no_other() {
    let hub = hub_with("").await;
    for user in ["alice", "bob"] {
        hub.run_workspace(user).await;
    }
    let culler = hub.signed_in("ada").await.make_token(CULLER).await;
    let mut bob = hub.signed_in("bob").await;
    let using = async {
        loop {
            assert_eq!(bob.fetch("GET", "/user/bob/lab", b"").await.status, 200, "his goes on");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let culling = async {
        let mut command = client(&hub, "python");
        command.args(["-m", "jupyterhub_idle_culler", "--timeout=5", "--cull-every=1", "--api-page-size=1"]);
        command.env("JUPYTERHUB_API_URL", format!("{}/hub/api", hub.origin()));
        let child = command.env("JUPYTERHUB_API_TOKEN", &culler).spawn().unwrap();
        hub.until_running(1).await;
        // It looks through all servers once more, and once more.
        let looks = || hub.process().log().matches("by=\"api_token\"").count();
        let before = looks();
        eventually("it looks again", || async { looks() >= before + 6 }).await;
        child
    };
    let mut child = tokio::select! {
        child = culling => child,
        () = using => panic!("it never ends"),
    };
    child.start_kill().unwrap();
    let said = said(&child.wait_with_output().await.unwrap());
    assert!(said.contains("Culling server alice (inactive for"), "{said}");
    assert!(!said.contains("Culling server bob") && !said.contains("Traceback"), "{said}");
    assert!(said.contains("Fetching page 2"), "in pages: {said}");
    assert_eq!(hub.container_of("bob").state, support::docker::State::Running);
    let log = hub.process().log();
    assert!(log.contains("workspace_stop_ordered") && log.contains("by=ada"), "{log}");
}

/// nbgrader's own functions, in the name of this user. `tell` is what it does with them.
fn nbgrader(tell: &str) -> String {
    format!(
        "import logging\nlogging.basicConfig()\n\
         from nbgrader.auth.jupyterhub import JupyterHubAuthPlugin\n\
         plugin = JupyterHubAuthPlugin()\n{tell}\n\
         print('courses', sorted(plugin.get_student_courses('*')))\n"
    )
}

#[tokio::test]
async fn nbgrader_makes_courses_and_puts_students_into_them_and_out() {
    let hub = hub_with("").await;
    let groups = json!({"groups": ["nbgrader-physics", "formgrade-maths", "/lab"]});
    let mut ada = hub.signed_in_with("ada", groups).await;
    let token = ada.make_token(&["read:users", "list:users", "admin:groups"]).await;
    let say = async |tell: &str| {
        let mut command = client(&hub, "python");
        command.args(["-c", &nbgrader(tell)]).env("JUPYTERHUB_USER", "ada");
        command.env("REQUESTS_CA_BUNDLE", hub.folder().join("authority.pem"));
        command.env("JUPYTERHUB_API_URL", format!("{}/hub/api", hub.origin()));
        let output = command.env("JUPYTERHUB_API_TOKEN", &token).output().await.unwrap();
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        said
    };
    let added = say("plugin.add_student_to_course('ada', 'chemistry')").await;
    assert!(added.contains("courses ['chemistry', 'maths', 'physics']") && !added.contains("NOT"), "{added}");
    let removed = say("plugin.remove_student_from_course('ada', 'chemistry')").await;
    assert!(removed.contains("courses ['maths', 'physics']") && !removed.contains("NOT"), "{removed}");
    let managed = say("plugin.add_student_to_course('ada', 'physics')").await;
    assert!(managed.contains("NOT added"), "the provider's: {managed}");
}

/// As nbgrader does it: the teacher's program with a token for it, the student's with what their container has.
#[tokio::test]
async fn nbgrader_in_a_container_finds_the_courses_of_its_student() {
    let port = 18209;
    let rules = "[[rule]]\nrealm_roles = [\"hub-user\"]\n[[rule]]\nusers = [\"alice\"]\nadmin = true\n";
    let hub = hub::start_with(BINARY, &format!("{rules}{}", hub::profile("hub", port)), port).await;
    let mut person = Visitor::sign_in(&hub, "alice").await.browser;
    let token = person.make_token(&["servers", "read:users", "admin:groups"]).await;
    let authorization = format!("token {token}");
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    let client = hub.client();
    let ask = |method: &'static str, path: &'static str, body: &'static [u8]| {
        let mut client = client.clone();
        async move { client.send(method, &format!("/hub/api{path}"), &headers, body).await }
    };
    let made = ask("POST", "/groups/nbgrader-physics", b"{\"users\": [\"alice\"]}").await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(ask("POST", "/users/alice/server", b"").await.status, 202);
    found("the server to be ready", Duration::from_mins(2), async || {
        let server = ask("GET", "/users/alice/server", b"").await;
        serde_json::from_slice::<Value>(&server.body).ok().filter(|server| server["ready"] == true)
    })
    .await;

    let container = format!("hubgate-real-{port}-alice");
    let library = Path::new(&part("HUBGATE_TEST_CLIENTS")).join("../lib");
    let python = std::fs::read_dir(library).unwrap().next().unwrap().unwrap().path();
    // What nbgrader asks a hub with needs nothing of the rest of it.
    let asking = python.join("site-packages/nbgrader/auth");
    let run = async |arguments: &[&str]| {
        let (done, said) = hub::docker(arguments).await;
        assert!(done, "{arguments:?}: {said}");
        said
    };
    run(&["exec", &container, "mkdir", "-p", "/tmp/grading/nbgrader"]).await;
    run(&["cp", asking.to_str().unwrap(), &format!("{container}:/tmp/grading/nbgrader/auth")]).await;
    let script = nbgrader(
        "from nbgrader.auth.jupyterhub import _query_jupyterhub_api as ask\n\
         print('who', ask('GET', '/user')['groups'])\n\
         plugin.add_student_to_course('alice', 'chemistry')",
    );
    let said = run(&["exec", "--env", "PYTHONPATH=/tmp/grading", &container, "python3", "-c", &script]).await;
    assert!(
        said.contains("who ['/lab/alpha', 'nbgrader-physics']") && said.contains("courses ['physics']"),
        "{said}"
    );
    assert!(said.contains("NOT added"), "no student puts themselves into a course: {said}");
    hub::clear(port).await;
}

#[tokio::test]
async fn what_jupyterhub_ssh_sends_starts_a_server_and_opens_a_terminal() {
    let port = 18208;
    let hub = hub::start(BINARY, &hub::profile("token", port), port).await;
    let mut person = Visitor::sign_in(&hub, "alice").await.browser;
    let token = person.make_token(&["servers", "read:users", "access:servers"]).await;
    let authorization = format!("token {token}");
    let headers = [("Authorization", authorization.as_str())];
    let client = hub.client();
    let ask = |method: &'static str, path: String| {
        let mut client = client.clone();
        async move { client.send(method, &path, &headers, b"").await }
    };

    let asked = ask("POST", "/hub/api/users/alice/server".to_owned()).await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let server = found("the server to be ready", Duration::from_mins(2), async || {
        let user = ask("GET", "/hub/api/users/alice".to_owned()).await;
        assert_eq!(user.status, 200, "{}", user.text());
        let server = serde_json::from_slice::<Value>(&user.body).unwrap()["servers"][""].take();
        Some(server).filter(|server| server["ready"] == true)
    })
    .await;
    let url = server["url"].as_str().unwrap_or_else(|| panic!("{server}")).trim_end_matches('/');
    let asked = ask("POST", "/hub/api/users/alice/server".to_owned()).await;
    assert_eq!(asked.status, 400, "it runs: {}", asked.text());

    let made = ask("POST", format!("{url}/api/terminals")).await;
    let made: Value = serde_json::from_slice(&made.body).unwrap();
    let terminal = made["name"].as_str().unwrap();
    let target = format!("wss://{}{url}/terminals/websocket/{terminal}", client.host());
    let mut request = target.into_client_request().unwrap();
    request.headers_mut().insert("authorization", authorization.parse().unwrap());
    let stream = client.connect(&["http/1.1"]).await;
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    for words in [json!(["set_size", 24, 24]), json!(["stdin", "echo $((6*7))-ssh\r"])] {
        socket.send(Message::text(words.to_string())).await.unwrap();
    }
    until_said(&mut socket, "42-ssh").await;
    socket.close(None).await.unwrap();
    let ended = ask("DELETE", format!("{url}/api/terminals/{terminal}")).await;
    assert!(matches!(ended.status, 204 | 404), "{}", ended.text());
    hub::clear(port).await;
}

#[tokio::test]
async fn what_the_description_of_the_api_says_is_so() {
    // Servers that it makes up never answer: what watches their starts is not to wait for long.
    let hub = hub_with("start_timeout = \"2s\"\n").await;
    for user in ["ada", "alice"] {
        hub.run_workspace(user).await;
    }
    let token = hub.signed_in("ada").await.make_token(ALL).await;
    // What is random meets nobody; so once more with a name that there is.
    for names in ["", "[parameters]\n\"path.name\" = \"alice\"\n"] {
        // It finds its own token, revokes it, and is nobody from then on; and the other one ends the hub.
        let but = ["--exclude-operation-id", "revoke_token", "--exclude-path", "/shutdown"];
        try_the_api(&hub, &token, names, &but).await;
    }
}

#[tokio::test]
async fn what_the_description_of_the_api_says_of_shares_is_so() {
    let sections = format!("{USER_DOMAINS}{EVERYONE}{ADA}{PROFILE}[sharing]\nenabled = true\n");
    let hub = Hub::with(BINARY, &sections).await;
    hub.signed_in("bob").await;
    let mut ada = hub.signed_in("ada").await;
    let form_token = ada.open("/hub/home").await.field("form_token").expect("a form");
    let fields = [("form_token", form_token.as_str()), ("action", "add"), ("server", "gpu")];
    assert_eq!(ada.submit("/hub/home", &fields).await.status, 303);
    let scopes = ["shares", "users:shares", "groups:shares", "admin:users", "list:users"];
    let token = ada.make_token(&scopes).await;
    let hers =
        "[parameters]\n\"path.name\" = \"ada\"\n\"path.owner\" = \"ada\"\n\"path.server_name\" = \"gpu\"\n";
    for names in ["", hers] {
        try_the_api(&hub, &token, names, &["--include-tag", "shares"]).await;
    }
    assert!(hub.process().log().contains("share_code_made"), "it has come far");
}

/// Has schemathesis ask what the description of the API describes, with these values where they fit.
async fn try_the_api(hub: &Hub, token: &str, names: &str, which: &[&str]) {
    std::fs::write(hub.folder().join("schemathesis.toml"), format!("{names}{REFUSALS}")).unwrap();
    let mut command = client(hub, "schemathesis");
    command.arg("run").arg(format!("{}/hub/api/openapi.json", hub.origin()));
    let authorization = format!("token {token}");
    command.args(["--tls-verify", "authority.pem", "--header", &format!("Authorization: {authorization}")]);
    command.args(which);
    command.args(["--phases", "examples,coverage,fuzzing"]);
    // A kept connection may end at the moment it is used again.
    command.args(["--max-examples", "20", "--seed", "1", "--request-retries", "2"]);
    command.args(["--checks", CHECKS, "--no-color", "--warnings", "off"]);
    let output = command.output().await.unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{names}: {said}");
    let headers = [("Authorization", authorization.as_str())];
    let answer = hub.client().send("GET", "/hub/api/users", &headers, b"").await;
    assert_eq!(answer.status, 200, "its token is good");
    assert!(!hub.process().log().contains("panicked"), "{}", hub.process().log());
}

/// How what the description forbids may be refused; 413 is not among those that it knows by itself.
const REFUSALS: &str = "[checks.negative_data_rejection]\nexpected-statuses = [\"4xx\", \"5xx\"]\n";

/// What must hold of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,unsupported_method,allow_header_conformance,\
    ignored_auth,negative_data_rejection";
