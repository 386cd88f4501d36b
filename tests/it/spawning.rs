//! Starting workspaces: in containers of an engine that is not real, and as child processes.

#[path = "../contract/spawner.rs"]
mod contract;

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use hubgate::config::{self, Escape, SpawnerKind};
use hubgate::metrics::Metrics;
use hubgate::spawner::{self, Mount, Phase, Progress, Pulled, PutFile, SpawnError, Spawner, Spec, Status};
use hubgate::user::Limits;
use serde_json::json;
use support::docker::{Engine, Image, State};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

use self::contract::{FILE, Runtime, Seen, file, id, name, spec, start};

const PREFIX: &str = "hubgate";
const IMAGE: &str = "lab:1";

struct Fake {
    engine: Engine,
}

impl Fake {
    fn new() -> Self {
        let engine = Engine::start();
        engine.add_image(IMAGE, Image { user: "1000".to_owned(), ..Image::default() });
        Self { engine }
    }

    fn open(&self, prefix: &str, metrics: Metrics) -> Arc<dyn Spawner> {
        open(self.engine.socket(), prefix, metrics)
    }
}

fn open(socket: &Path, prefix: &str, metrics: Metrics) -> Arc<dyn Spawner> {
    let docker =
        config::Docker { socket: socket.to_owned(), prefix: prefix.to_owned(), ..config::Docker::default() };
    spawner::open(&config::Spawner { docker, ..config::Spawner::default() }, None, metrics)
}

#[async_trait]
impl Runtime for Fake {
    fn spawner(&self) -> Arc<dyn Spawner> {
        self.open(PREFIX, Metrics::new())
    }
    fn prefix(&self) -> &'static str {
        PREFIX
    }
    fn image(&self) -> &'static str {
        IMAGE
    }
    fn command(&self) -> Option<Vec<String>> {
        None
    }
    async fn exit(&self, container: &str, code: i64) {
        let token = self.engine.container(container).unwrap().environment["JUPYTER_TOKEN"].clone();
        self.engine.write_log(container, &format!("leaving with {token}\n"));
        self.engine.die(container, code, false);
    }
    async fn exhaust_memory(&self, container: &str) {
        self.engine.die(container, 137, true);
    }
    async fn file(&self, container: &str, path: &str) -> Option<Seen> {
        let container = self.engine.container(container)?;
        let file = container.files.get(path)?;
        let (user, group) = file.owner;
        let (owner, mode) = (format!("{user}:{group}"), format!("{:o}", file.mode));
        Some(Seen { owner, mode, content: file.content.clone()? })
    }
    async fn inspect(&self, container: &str) -> String {
        let found = self.engine.container(container).unwrap();
        format!("{} {:?} {:?} {}", found.name, found.labels, found.environment, found.body)
    }
    async fn add_foreign(&self, container: &str) {
        self.engine.add_foreign(container, &[("org.example", "yes")]);
    }
    async fn runs(&self, container: &str) -> bool {
        self.engine.container(container).is_some_and(|container| container.state == State::Running)
    }
    async fn remove(&self, container: &str) {
        self.engine.remove(container);
    }
    async fn publish(&self) -> String {
        self.engine.publish_image("slow:1", Image::default());
        self.engine.hold("/images/create");
        "slow:1".to_owned()
    }
    fn let_go(&self) {
        self.engine.release("/images/create");
    }
    async fn forget(&self, _image: &str) {}
}

#[tokio::test]
async fn the_engine_of_the_tests_keeps_the_contract() {
    contract::contract(&Fake::new()).await;
}

#[tokio::test]
async fn a_container_may_do_nothing_it_was_not_given() {
    let fake = Fake::new();
    let id = id("alice", "");
    start(&*fake.spawner(), &spec(&fake, &id, "i1")).await.unwrap();
    let container = fake.engine.container(&name(&fake, &id)).unwrap();
    for (key, value) in [
        ("CapDrop", json!(["ALL"])),
        ("SecurityOpt", json!(["no-new-privileges"])),
        ("PidsLimit", json!(64)),
        ("Memory", json!(64 << 20)),
        ("MemorySwap", json!(64 << 20)),
        ("CpuQuota", json!(50_000)),
        ("Init", json!(true)),
        ("NetworkMode", json!("hubgate")),
        ("LogConfig", json!({ "Type": "json-file", "Config": { "max-size": "10m", "max-file": "3" } })),
    ] {
        assert_eq!(container.host_config(key), &value, "{key}");
    }
    assert_eq!(container.body["User"], "1000:100");
    assert!(!format!("{:?}", container.labels).contains("0123456789abcdef"), "{:?}", container.labels);
}

#[tokio::test]
async fn workspaces_on_the_network_do_not_reach_each_other() {
    let fake = Fake::new();
    let spawner = fake.spawner();
    let specs = ["alice", "bob", "carol"].map(|user| spec(&fake, &id(user, ""), "i1"));
    let [a, b, c] = &specs;
    let (a, b, c) = tokio::join!(start(&*spawner, a), start(&*spawner, b), start(&*spawner, c));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    let network = fake.engine.network("hubgate").unwrap();
    assert_eq!(network["Options"]["com.docker.network.bridge.enable_icc"], "false");
    assert_eq!(fake.engine.count("POST", "/networks/create"), 1);
}

#[tokio::test]
async fn a_network_on_which_workspaces_reach_each_other_is_told_of_with_its_remedy() {
    let fake = Fake::new();
    let on = |network: &str| {
        let docker = config::Docker {
            socket: fake.engine.socket().to_owned(),
            network: network.to_owned(),
            ..config::Docker::default()
        };
        spawner::open(&config::Spawner { docker, ..config::Spawner::default() }, None, Metrics::new())
    };
    let icc = |said: &str| json!({ "com.docker.network.bridge.enable_icc": said });
    fake.engine.add_network("open", "bridge", &icc("true"));
    fake.engine.add_network("plain", "bridge", &json!({}));
    fake.engine.add_network("apart", "bridge", &icc("false"));
    fake.engine.add_network("wide", "overlay", &icc("false"));
    for network in ["open", "plain", "wide", "bridge"] {
        let exposure = on(network).exposure().await.unwrap().unwrap_or_else(|| panic!("{network}"));
        assert_eq!(exposure.network, network);
        assert!(exposure.remedy.contains("enable_icc=false"), "{exposure}");
    }
    for network in ["host", "container:x"] {
        let exposure = on(network).exposure().await.unwrap().unwrap();
        assert!(exposure.remedy.contains("spawner.docker.network"), "{exposure}");
    }
    for network in ["apart", "hubgate"] {
        assert_eq!(on(network).exposure().await.unwrap(), None, "{network}");
    }
    // One that hubgate made is as it made it.
    start(&*fake.spawner(), &spec(&fake, &id("alice", ""), "i1")).await.unwrap();
    assert_eq!(on("hubgate").exposure().await.unwrap(), None);
    fake.engine.be_podman();
    let exposure = on("hubgate").exposure().await.unwrap().unwrap();
    assert!(exposure.to_string().contains("podman cannot keep them apart"), "{exposure}");
}

#[tokio::test]
async fn a_new_volume_gets_its_owner_once() {
    let fake = Fake::new();
    let spawner = fake.spawner();
    let id = id("anna@epfl.ch", "");
    let volume = Mount {
        source: "home-anna".to_owned(),
        target: "/home/jovyan".to_owned(),
        owner: (1000, 100),
        read_only: false,
    };
    let spec = Spec { mounts: vec![volume], ..spec(&fake, &id, "i1") };
    start(&*spawner, &spec).await.unwrap();
    assert_eq!(fake.engine.volumes(), ["home-anna"]);
    let helpers = || {
        let requests = fake.engine.requests().into_iter();
        requests.filter(|r| r.path == "/containers/create" && r.query["name"].ends_with(".folders")).collect()
    };
    let made: Vec<_> = helpers();
    assert_eq!(made.len(), 1);
    let body = &made[0].body;
    assert_eq!(body["User"], "0:0");
    assert_eq!(body["HostConfig"]["NetworkMode"], "none");
    assert_eq!(body["HostConfig"]["Binds"], json!(["home-anna:/home/jovyan"]));
    assert_eq!(body["Cmd"], json!(["folders", "1000:100", "/home/jovyan", "new"]));
    assert_eq!(fake.engine.containers().len(), 1, "the helper is gone");

    spawner.stop(&id, Duration::from_secs(1)).await.unwrap();
    assert_eq!(fake.engine.volumes(), ["home-anna"], "a volume outlives its workspace");
    start(&*spawner, &spec).await.unwrap();
    assert_eq!(helpers().len(), 1);
}

#[tokio::test]
async fn a_volume_whose_owner_was_not_given_is_tried_again() {
    let fake = Fake::new();
    let spawner = fake.spawner();
    let volume = Mount {
        source: "home".to_owned(),
        target: "/home/jovyan".to_owned(),
        owner: (1000, 100),
        read_only: false,
    };
    let spec = Spec { mounts: vec![volume], ..spec(&fake, &id("alice", ""), "i1") };
    fake.engine.refuse_next("/start", 500, "no space left on device");
    assert!(matches!(start(&*spawner, &spec).await, Err(SpawnError::Create { .. })));
    start(&*spawner, &spec).await.unwrap();
    let helpers = fake.engine.requests().into_iter().filter(|r| r.path == "/containers/create");
    assert_eq!(helpers.filter(|r| r.query["name"].ends_with(".folders")).count(), 2);
    assert_eq!(fake.engine.containers().len(), 1);
}

#[tokio::test]
async fn a_folder_of_the_host_is_made_and_an_existing_one_is_not_touched() {
    let fake = Fake::new();
    let spawner = fake.spawner();
    let folder = tempfile::tempdir().unwrap();
    let mount = |name: &str| Mount {
        source: folder.path().join(name).to_str().unwrap().to_owned(),
        target: format!("/mnt/{name}"),
        owner: (1000, 100),
        read_only: false,
    };
    std::fs::create_dir(folder.path().join("old")).unwrap();
    let spec = Spec { mounts: vec![mount("new"), mount("old")], ..spec(&fake, &id("alice", ""), "i1") };
    start(&*spawner, &spec).await.unwrap();
    assert!(folder.path().join("new").is_dir());
    let helper = fake.engine.requests().into_iter().find(|r| r.path == "/containers/create").unwrap();
    assert_eq!(helper.body["Cmd"], json!(["folders", "1000:100", "/mnt/new", "old"]));
}

#[tokio::test]
async fn a_volume_cannot_be_named_so_that_it_means_something_else() {
    let fake = Fake::new();
    for source in ["anna@epfl.ch", "../x", "a b", ""] {
        let mount = Mount {
            source: source.to_owned(),
            target: "/home".to_owned(),
            owner: (1000, 100),
            read_only: false,
        };
        let spec = Spec { mounts: vec![mount], ..spec(&fake, &id("anna", ""), "i1") };
        assert!(matches!(start(&*fake.spawner(), &spec).await, Err(SpawnError::Create { .. })), "{source}");
    }
}

#[tokio::test]
async fn a_pull_tells_how_far_it_is() {
    let fake = Fake::new();
    let spawner = fake.spawner();
    fake.engine.publish_image("big:1", Image { command: vec!["lab".to_owned()], ..Image::default() });
    fake.engine.hold("/images/create");
    let (progress, mut phases) = Progress::new();
    let pulling = spawner.image("big:1", &progress);
    let watching = async {
        let half = Pulled { done: 400_000_000, total: Some(1_000_000_000), layers: 1, ..Pulled::default() };
        let half = Phase::Pulling(half);
        phases.wait_for(|phase| *phase == half).await.unwrap();
        fake.engine.release("/images/create");
    };
    let (image, ()) = tokio::join!(pulling, watching);
    assert_eq!(image.unwrap().command, ["lab"]);
    assert!(matches!(*phases.borrow(), Phase::Pulling(Pulled { done: 400_000_000.., .. })));
}

#[tokio::test]
async fn an_engine_that_goes_away_is_named_and_found_again() {
    let fake = Fake::new();
    let metrics = Metrics::new();
    let spawner = fake.open(PREFIX, metrics.clone());
    start(&*spawner, &spec(&fake, &id("alice", ""), "i1")).await.unwrap();
    let mut events = spawner.events();
    fake.engine.die("hubgate-alice", 0, false);
    assert!(timeout(Duration::from_secs(5), events.next()).await.unwrap().is_some());
    fake.engine.stop();
    assert_eq!(timeout(Duration::from_secs(5), events.next()).await.unwrap(), None);
    let error = spawner.list().await.unwrap_err();
    assert!(matches!(error, SpawnError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(fake.engine.socket().to_str().unwrap()), "{error}");
    assert!(error.source().is_some());
    fake.engine.restart();
    spawner.ping().await.unwrap();
    assert_eq!(spawner.list().await.unwrap(), []);
    let text = metrics.encode().unwrap();
    assert!(text.contains(r#"spawner_calls_total{call="list",result="unreachable"} 1"#), "{text}");
    assert!(text.contains(r#"spawner_calls_total{call="start",result="ok"} 1"#), "{text}");
}

#[tokio::test]
async fn a_user_whose_container_would_have_anothers_name_does_not_get_it() {
    let fake = Fake::new();
    let docker = config::Docker { socket: fake.engine.socket().to_owned(), ..config::Docker::default() };
    let config = config::Spawner { docker, escape: Escape::Legacy, ..config::Spawner::default() };
    let spawner = spawner::open(&config, None, Metrics::new());
    let (anna, other) = (id("anna", "gpu"), id("anna--gpu", ""));
    start(&*spawner, &spec(&fake, &anna, "i1")).await.unwrap();
    let refused = start(&*spawner, &spec(&fake, &other, "i2")).await;
    assert!(matches!(refused, Err(SpawnError::Create { .. })), "{refused:?}");
    assert_eq!(spawner.status(&other).await.unwrap(), Status::Absent);
    spawner.stop(&other, Duration::from_secs(1)).await.unwrap();
    assert!(matches!(spawner.status(&anna).await.unwrap(), Status::Running(_)));
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_said_to_be_the_reason() {
    let spawner = open(Path::new("/nonexistent/docker.sock"), PREFIX, Metrics::new());
    let error = spawner.ping().await.unwrap_err();
    assert_eq!(error.to_string(), "the container runtime at /nonexistent/docker.sock does not answer");
    assert_eq!(error.source().unwrap().to_string(), "No such file or directory (os error 2)");
    assert!(error.remedy().starts_with("start the container runtime"), "{}", error.remedy());
    assert_eq!(spawner.events().next().await, None);
}

#[tokio::test]
async fn a_container_that_cannot_start_is_not_left_behind() {
    let fake = Fake::new();
    fake.engine.refuse_next("/start", 400, "exec: \"lab\": executable file not found in $PATH");
    let refused = start(&*fake.spawner(), &spec(&fake, &id("alice", ""), "i1")).await;
    let Err(error @ SpawnError::Create { .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(error.to_string(), "cannot start container hubgate-alice");
    assert!(error.source().unwrap().to_string().contains("executable file not found"));
    assert_eq!(fake.engine.containers().len(), 0);
}

#[tokio::test]
async fn a_file_that_cannot_be_put_into_a_container_keeps_it_from_starting() {
    let fake = Fake::new();
    let keeps = Image { user: "1000".to_owned(), volumes: vec!["/run".to_owned()], ..Image::default() };
    fake.engine.add_image("keeps:1", keeps);
    fake.engine.add_image("strange:1", Image { user: "nobody-knows".to_owned(), ..Image::default() });
    let id = id("alice", "");
    let spec = |image: &str| Spec {
        image: image.to_owned(),
        user: None,
        files: vec![file("secret-content")],
        ..spec(&fake, &id, "i1")
    };
    for (image, why) in [
        ("keeps:1", "the image keeps /run in a volume, which may outlive the container"),
        ("strange:1", "the image does not say who nobody-knows is"),
    ] {
        let error = start(&*fake.spawner(), &spec(image)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot write {FILE} in the workspace of alice"));
        assert_eq!(error.source().unwrap().to_string(), why);
        assert!(error.remedy().contains("access_token_owner"), "{}", error.remedy());
    }
    fake.engine.refuse_next("/archive", 500, "no space left on device");
    let error = start(&*fake.spawner(), &spec(IMAGE)).await.unwrap_err();
    assert!(matches!(error, SpawnError::Create { .. }), "{error:?}");
    assert_eq!(fake.engine.count("POST", "/start"), 0);
    assert_eq!(fake.engine.containers().len(), 0, "nothing is left behind");
}

#[tokio::test]
async fn a_user_whom_the_image_knows_by_name_owns_the_file() {
    let fake = Fake::new();
    for (user, owner) in [("jovyan", "1000:100"), ("1000", "1000:100"), ("", "0:0"), ("7:8", "7:8")] {
        fake.engine.add_image("named:1", Image { user: user.to_owned(), ..Image::default() });
        let id = id("alice", "");
        let files = vec![file("content")];
        let spec = Spec { image: "named:1".to_owned(), user: None, files, ..spec(&fake, &id, "i1") };
        start(&*fake.spawner(), &spec).await.unwrap();
        assert_eq!(fake.file("hubgate-alice", FILE).await.unwrap().owner, owner, "{user:?}");
        fake.engine.remove("hubgate-alice");
    }
}

#[tokio::test]
async fn why_a_file_was_not_replaced_is_told() {
    let fake = Fake::new();
    let (id, spawner) = (id("alice", ""), fake.spawner());
    start(&*spawner, &Spec { files: vec![file("old")], ..spec(&fake, &id, "i1") }).await.unwrap();
    for (exit_code, why) in [
        (80, "what was to be written did not arrive"),
        (81, "its folder cannot be made"),
        (82, "its folder cannot be written to, or the disk is full"),
        (83, "it cannot be put in the place of the old one"),
        (127, "the image lacks a program that this needs"),
        (137, "the shell that writes it did not end well"),
    ] {
        fake.engine.fail_next_command(exit_code);
        let error = spawner.put(&id, "i1", &file("new-content")).await.unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), why, "{exit_code}");
        assert!(!format!("{error:?}").contains("new-content"));
    }
    assert_eq!(fake.file("hubgate-alice", FILE).await.unwrap().content, "old");
}

#[tokio::test]
async fn a_container_that_ends_while_a_file_is_put_into_it_is_no_error() {
    let fake = Fake::new();
    let (id, spawner) = (id("alice", ""), fake.spawner());
    start(&*spawner, &Spec { files: vec![file("old")], ..spec(&fake, &id, "i1") }).await.unwrap();
    fake.engine.hold("/exec");
    let new = file("new");
    let ending = async {
        eventually("it is about to be written", || async {
            (fake.engine.count("POST", "/exec") == 1).then_some(())
        })
        .await;
        fake.engine.die("hubgate-alice", 0, false);
        fake.engine.release("/exec");
    };
    let (put, ()) = tokio::join!(spawner.put(&id, "i1", &new), ending);
    put.unwrap();
}

#[tokio::test]
async fn two_hubs_on_one_engine_do_not_see_each_other() {
    let fake = Fake::new();
    let (one, other) = (fake.spawner(), fake.open("other", Metrics::new()));
    let id = id("alice", "");
    start(&*one, &spec(&fake, &id, "i1")).await.unwrap();
    assert_eq!(other.list().await.unwrap(), []);
    assert_eq!(other.status(&id).await.unwrap(), Status::Absent);
    other.stop(&id, Duration::from_secs(1)).await.unwrap();
    assert_eq!(one.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_engine_that_says_nothing_does_not_hold_a_caller_for_ever() {
    let fake = Fake::new();
    let spawner = fake.spawner();
    spawner.ping().await.unwrap();
    fake.engine.hold("/_ping");
    let asked = Instant::now();
    let error = spawner.ping().await.unwrap_err();
    assert!(matches!(error, SpawnError::Unreachable { .. }), "{error:?}");
    assert!(asked.elapsed() < Duration::from_secs(10));
}

fn processes() -> Arc<dyn Spawner> {
    let config = config::Spawner { kind: SpawnerKind::InsecureProcess, ..config::Spawner::default() };
    spawner::open(&config, None, Metrics::new())
}

fn process(home: &Path, script: &str) -> Spec {
    Spec {
        command: Some(["/bin/sh", "-c", script].map(str::to_owned).to_vec()),
        environment: [("API_TOKEN".to_owned(), "0123456789abcdef".to_owned())].into(),
        port: 0,
        user: None,
        mounts: vec![Mount {
            source: home.to_str().unwrap().to_owned(),
            target: "/home".to_owned(),
            owner: (1000, 100),
            read_only: false,
        }],
        limits: Limits::default(),
        ..spec(&Fake::new(), &id("alice", ""), "i1")
    }
}

async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_process_starts_once_and_has_a_home_and_a_port() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("alice");
    let spawner = processes();
    let mut spec =
        process(&home, r#"echo "{port} $PORT $HOME $PWD $PATH ${CARGO_HOME-none}" > said; exec sleep 600"#);
    spec.environment.insert("PORT".to_owned(), "{port}".to_owned());
    let running = start(&*spawner, &spec).await.unwrap();
    assert!(running.address.ip().is_loopback() && running.address.port() != 0);
    let again = start(&*spawner, &Spec { instance: "i2".into(), ..spec.clone() }).await.unwrap();
    assert_eq!(again, running);
    assert_eq!(spawner.list().await.unwrap(), std::slice::from_ref(&running));
    let said = eventually("it says where it is", || async {
        std::fs::read_to_string(home.join("said")).ok().filter(|said| said.ends_with('\n'))
    });
    let (port, home) = (running.address.port(), home.display());
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(said.await, format!("{port} {port} {home} {home} {path} none\n"));
    spawner.stop(&spec.id, Duration::from_secs(5)).await.unwrap();
    assert_eq!(spawner.status(&spec.id).await.unwrap(), Status::Absent);
    spawner.stop(&spec.id, Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_process_that_ends_is_told_with_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let spawner = processes();
    let mut events = spawner.events();
    let spec = process(folder.path(), "echo one; echo $API_TOKEN >&2; exit 3");
    start(&*spawner, &spec).await.unwrap();
    let event = timeout(Duration::from_secs(20), events.next()).await.unwrap().unwrap();
    assert_eq!((&event.id, &*event.instance), (&spec.id, "i1"));
    let Status::Ended(ended) = spawner.status(&spec.id).await.unwrap() else { panic!() };
    assert_eq!((ended.exit_code, ended.out_of_memory), (Some(3), false));
    let mut log: Vec<_> = ended.log.lines().collect();
    log.sort_unstable();
    assert_eq!(log, ["[secret]", "one"]);
    assert_eq!(spawner.list().await.unwrap(), []);
    let again = Spec { instance: "i2".into(), ..process(folder.path(), "exec sleep 600") };
    assert_eq!(&*start(&*spawner, &again).await.unwrap().instance, "i2");
}

#[tokio::test]
async fn what_a_process_started_ends_with_it_even_when_it_does_not_want_to() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Both ignore the polite signal; the grandchild holds a connection that closes when it is gone.
    let script = format!(
        "trap '' TERM; bash -c \"trap '' TERM; exec 3<>/dev/tcp/127.0.0.1/{port}; echo here >&3; sleep 600\" & sleep 600"
    );
    for dropped in [false, true] {
        let spawner = processes();
        let spec = process(folder.path(), &script);
        start(&*spawner, &spec).await.unwrap();
        let (mut connection, _) = timeout(Duration::from_secs(20), listener.accept()).await.unwrap().unwrap();
        let mut here = [0; 5];
        connection.read_exact(&mut here).await.unwrap();
        connection.write_all(b"x").await.unwrap();
        if dropped {
            drop(spawner);
        } else {
            spawner.stop(&spec.id, Duration::from_millis(100)).await.unwrap();
        }
        let mut rest = Vec::new();
        let closed = timeout(Duration::from_secs(20), connection.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "the grandchild lives on");
    }
}

#[tokio::test]
async fn a_process_finds_its_file_by_the_environment_and_nobody_sees_half_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let spawner = processes();
    let file = |content: &str| PutFile { path: "{runtime}/access_token".to_owned(), ..file(content) };
    let script = r#"stat -c %a $TOKEN_FILE > first; cat $TOKEN_FILE >> first; echo " $TOKEN_FILE" >> first; exec sleep 600"#;
    let mut spec = process(folder.path(), script);
    spec.environment.insert("TOKEN_FILE".to_owned(), "{runtime}/access_token".to_owned());
    spec.files = vec![file("first")];
    start(&*spawner, &spec).await.unwrap();
    let said = eventually("it says what it read", || async {
        std::fs::read_to_string(folder.path().join("first"))
            .ok()
            .filter(|said| said.ends_with("access_token\n"))
    });
    let said = said.await;
    let path = said.trim().strip_prefix("600\nfirst ").map(Path::new).unwrap();
    assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);

    let whole = "x".repeat(100_000);
    let reading = tokio::task::spawn_blocking({
        let (path, whole) = (path.to_owned(), whole.clone());
        move || {
            (0..2000).all(|_| [whole.as_str(), "first"].contains(&&*std::fs::read_to_string(&path).unwrap()))
        }
    });
    for _ in 0..50 {
        spawner.put(&spec.id, "i1", &file("first")).await.unwrap();
        spawner.put(&spec.id, "i1", &file(&whole)).await.unwrap();
    }
    assert!(reading.await.unwrap(), "half a file was read");
    spawner.put(&spec.id, "another-start", &file("for another")).await.unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), whole);

    spawner.stop(&spec.id, Duration::from_secs(5)).await.unwrap();
    assert!(!path.parent().unwrap().exists(), "the folder outlives its process");
    spawner.put(&spec.id, "i1", &file("too late")).await.unwrap();
}

#[tokio::test]
async fn a_process_without_a_command_or_with_a_volume_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let spawner = processes();
    let spec = process(folder.path(), "true");
    let no_command = Spec { command: None, ..spec.clone() };
    let mut volume = spec.clone();
    volume.mounts[0].source = "home-alice".to_owned();
    let no_program = Spec { command: Some(vec!["/no/such/program".to_owned()]), ..spec };
    for spec in [no_command, volume, no_program] {
        let refused = start(&*spawner, &spec).await;
        assert!(matches!(refused, Err(SpawnError::Create { .. })), "{refused:?}");
    }
    assert_eq!(spawner.list().await.unwrap(), []);
}
