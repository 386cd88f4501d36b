//! What every spawner of containers must do, whatever is behind its socket.
#![expect(clippy::panic, reason = "what breaks the contract fails the test")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use hubgate::config::{Escape, Mode, Preset};
use hubgate::secret::Secret;
use hubgate::server_name::ServerName;
use hubgate::spawner::{
    Ended, Phase, Progress, Pulled, Purpose, PutFile, Running, SpawnError, Spawner, Spec, Status,
    WorkspaceId, container_name,
};
use hubgate::user::{Limits, UserName};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// An engine to try, and what only its own tools can do to a container.
#[async_trait]
pub(crate) trait Runtime: Send + Sync {
    /// A spawner over the engine, as a hubgate that has just started has it.
    fn spawner(&self) -> Arc<dyn Spawner>;
    /// Begins the names of its containers.
    fn prefix(&self) -> &str;
    /// An image that is there.
    fn image(&self) -> &str;
    /// What makes its containers wait for [`Runtime::exit`] and [`Runtime::exhaust_memory`].
    fn command(&self) -> Option<Vec<String>>;
    /// The container's program writes `leaving with <its JUPYTER_TOKEN>` and returns `code`.
    async fn exit(&self, container: &str, code: i64);
    /// The container's program uses more memory than it may.
    async fn exhaust_memory(&self, container: &str);
    /// Whether the engine says that memory was the reason. Podman 4's monitor often misses it.
    fn tells_out_of_memory(&self) -> bool {
        true
    }
    /// A file of the container.
    async fn file(&self, container: &str, path: &str) -> Option<Seen>;
    /// All that the engine tells of a container.
    async fn inspect(&self, container: &str) -> String;
    /// Somebody else starts a container of this name.
    async fn add_foreign(&self, container: &str);
    /// Whether a container of this name runs; any container.
    async fn runs(&self, container: &str) -> bool;
    /// Ends and removes a container, whoever made it.
    async fn remove(&self, container: &str);
    /// An image of one layer that the engine can fetch: half of it, until [`Runtime::let_go`].
    async fn publish(&self) -> String;
    /// Lets the engine fetch the rest.
    fn let_go(&self);
    /// Takes an image away.
    async fn forget(&self, image: &str);
}

/// A file as whoever is in the container sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// `uid:gid`
    pub(crate) owner: String,
    /// In octal digits.
    pub(crate) mode: String,
    /// What is in it.
    pub(crate) content: String,
}

const TOKEN: &str = "0123456789abcdef";

/// Passes if the spawner is one.
pub(crate) async fn contract(runtime: &dyn Runtime) {
    let ids = [id("anna@epfl.ch", ""), id("anna@epfl.ch", "gpu-1"), id("jan.müller", ""), id("bob", "")];
    for id in &ids {
        runtime.remove(&name(runtime, id)).await;
    }
    runtime.spawner().ping().await.unwrap();
    a_start_finds_what_runs_already(runtime, &ids).await;
    another_hubgate_finds_them_again(runtime, &ids).await;
    stopping_ends_one_and_no_other(runtime, &ids).await;
    an_end_is_told_with_its_reason(runtime, &ids[3]).await;
    too_much_memory_is_told(runtime, &ids[3]).await;
    a_file_is_there_from_the_start_and_is_replaced(runtime, &ids[3]).await;
    a_program_runs_beside_its_own(runtime, &ids[3]).await;
    a_foreign_container_is_left_alone(runtime, &ids[3]).await;
    an_image_that_nobody_has_is_named(runtime, &ids[3]).await;
    a_pull_says_how_far_it_is_and_outlives_the_start_that_wanted_it(runtime, &ids[3]).await;
    a_start_that_is_cancelled_leaves_nothing(runtime, &ids[3]).await;
}

async fn a_start_finds_what_runs_already(runtime: &dyn Runtime, ids: &[WorkspaceId]) {
    let spawner = runtime.spawner();
    for id in ids {
        assert_eq!(spawner.status(id).await.unwrap(), Status::Absent, "{id}");
        let first = start(&*spawner, &spec(runtime, id, "first")).await.unwrap();
        assert_eq!((&first.id, &*first.instance), (id, "first"));
        assert_eq!((&*first.profile, first.mode, first.address.port()), ("lab", Mode::Token, 8888));
        assert!(!first.address.ip().is_unspecified());
        let again = start(&*spawner, &spec(runtime, id, "second")).await.unwrap();
        assert_eq!(again, first, "the second start of {id}");
        assert_eq!(spawner.status(id).await.unwrap(), Status::Running(first));
    }
}

async fn another_hubgate_finds_them_again(runtime: &dyn Runtime, ids: &[WorkspaceId]) {
    let spawner = runtime.spawner();
    let listed = ours(&*spawner, ids).await;
    assert_eq!(listed.len(), ids.len());
    for running in listed {
        assert_eq!(&*running.instance, "first");
        assert_eq!(spawner.status(&running.id).await.unwrap(), Status::Running(running));
    }
}

async fn stopping_ends_one_and_no_other(runtime: &dyn Runtime, ids: &[WorkspaceId]) {
    let spawner = runtime.spawner();
    let patience = Duration::from_secs(5);
    for (stopped, id) in ids.iter().enumerate() {
        spawner.stop(id, patience).await.unwrap();
        assert_eq!(spawner.status(id).await.unwrap(), Status::Absent, "{id}");
        assert_eq!(ours(&*spawner, ids).await.len(), ids.len() - stopped - 1);
        spawner.stop(id, patience).await.unwrap();
    }
}

async fn an_end_is_told_with_its_reason(runtime: &dyn Runtime, id: &WorkspaceId) {
    let spawner = runtime.spawner();
    start(&*spawner, &spec(runtime, id, "third")).await.unwrap();
    let mut events = spawner.events();
    runtime.exit(&name(runtime, id), 3).await;
    let told = async {
        while let Some(event) = events.next().await {
            if event.id == *id && &*event.instance == "third" {
                return;
            }
        }
        panic!("the events end");
    };
    timeout(DEADLINE, told).await.expect("an event tells of the end");
    let ended = ended(&*spawner, id).await;
    assert_eq!((ended.exit_code, ended.out_of_memory), (Some(3), false));
    assert_eq!(ended.log.trim(), "leaving with [secret]");
    assert!(ours(&*spawner, std::slice::from_ref(id)).await.is_empty(), "what has ended is not listed");
    let next = start(&*spawner, &spec(runtime, id, "fourth")).await.unwrap();
    assert_eq!(&*next.instance, "fourth");
}

async fn too_much_memory_is_told(runtime: &dyn Runtime, id: &WorkspaceId) {
    let spawner = runtime.spawner();
    runtime.exhaust_memory(&name(runtime, id)).await;
    let ended = ended(&*spawner, id).await;
    assert_eq!(ended.exit_code, Some(137), "{ended:?}");
    assert!(ended.out_of_memory || !runtime.tells_out_of_memory(), "{ended:?}");
    spawner.stop(id, Duration::from_secs(5)).await.unwrap();
    assert_eq!(spawner.status(id).await.unwrap(), Status::Absent, "what has ended can be taken away");
}

async fn a_file_is_there_from_the_start_and_is_replaced(runtime: &dyn Runtime, id: &WorkspaceId) {
    let spawner = runtime.spawner();
    let container = name(runtime, id);
    spawner.put(id, "files", &file("before-it-was-there")).await.unwrap();
    let with_file = Spec { files: vec![file("first-of-the-tokens")], ..spec(runtime, id, "files") };
    start(&*spawner, &with_file).await.unwrap();
    let seen = |content: &str| {
        Some(Seen { owner: "1000:100".to_owned(), mode: "400".to_owned(), content: content.to_owned() })
    };
    assert_eq!(runtime.file(&container, FILE).await, seen("first-of-the-tokens"));
    // Another hubgate: nothing but the container says what is in it.
    let spawner = runtime.spawner();
    for content in ["second-of-the-tokens", &"long".repeat(4000), "", "last-of-the-tokens"] {
        spawner.put(id, "files", &file(content)).await.unwrap();
        assert_eq!(runtime.file(&container, FILE).await, seen(content));
    }
    spawner.put(id, "another-start", &file("for-another-start")).await.unwrap();
    let refused = spawner.put(id, "files", &file("two\nlines")).await;
    assert!(matches!(refused, Err(SpawnError::File { .. })), "{refused:?}");
    assert_eq!(runtime.file(&container, FILE).await, seen("last-of-the-tokens"));
    let told = runtime.inspect(&container).await;
    assert!(told.contains(&container) && !told.contains("of-the-tokens"), "{told}");
    spawner.stop(id, Duration::from_secs(5)).await.unwrap();
    spawner.put(id, "files", &file("after-it-was-gone")).await.unwrap();
    assert_eq!(spawner.status(id).await.unwrap(), Status::Absent);
}

async fn a_program_runs_beside_its_own(runtime: &dyn Runtime, id: &WorkspaceId) {
    let spawner = runtime.spawner();
    let ends_with = |code: i64| ["/bin/sh".to_owned(), "-c".to_owned(), format!("exit {code}")];
    assert_eq!(spawner.run(id, &ends_with(7), None).await.unwrap(), None, "nothing runs yet");
    start(&*spawner, &spec(runtime, id, "run")).await.unwrap();
    for (user, code) in [(None, 7), (Some("2000:2000"), 0)] {
        let ended = spawner.run(id, &ends_with(code), user).await.unwrap().expect("it runs");
        assert_eq!(ended.exit_code, Some(code), "{user:?}");
    }
    assert!(matches!(spawner.status(id).await.unwrap(), Status::Running(_)), "nothing has come of it");
    spawner.stop(id, Duration::from_secs(5)).await.unwrap();
}

async fn a_foreign_container_is_left_alone(runtime: &dyn Runtime, id: &WorkspaceId) {
    let spawner = runtime.spawner();
    let name = name(runtime, id);
    runtime.add_foreign(&name).await;
    let refused = start(&*spawner, &spec(runtime, id, "fifth")).await;
    let Err(SpawnError::Create { doing, .. }) = refused else { panic!("{refused:?}") };
    assert!(doing.contains(&name), "{doing}");
    assert_eq!(spawner.status(id).await.unwrap(), Status::Absent);
    assert!(ours(&*spawner, std::slice::from_ref(id)).await.is_empty());
    spawner.stop(id, Duration::from_secs(1)).await.unwrap();
    assert!(runtime.runs(&name).await, "somebody else's container was stopped");
    runtime.remove(&name).await;
}

async fn an_image_that_nobody_has_is_named(runtime: &dyn Runtime, id: &WorkspaceId) {
    let spawner = runtime.spawner();
    // A registry that does not answer: the name is never looked up anywhere else.
    let image = "127.0.0.1:9/hubgate-test/nobody-has-this:1";
    let spec = Spec { image: image.to_owned(), ..spec(runtime, id, "sixth") };
    let refused = start(&*spawner, &spec).await;
    let Err(SpawnError::Pull { image: named, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(named, image);
    assert_eq!(spawner.status(id).await.unwrap(), Status::Absent);
}

async fn a_pull_says_how_far_it_is_and_outlives_the_start_that_wanted_it(
    runtime: &dyn Runtime,
    id: &WorkspaceId,
) {
    let spawner = runtime.spawner();
    let image = runtime.publish().await;
    let spec = Spec { image: image.clone(), ..spec(runtime, id, "seventh") };
    let (progress, mut phases) = Progress::new();
    let cancelling = async {
        reach(&mut phases, is_on_its_way).await;
        progress.cancelled().cancel();
    };
    let (cancelled, ()) = tokio::join!(spawner.start(&spec, &progress), cancelling);
    assert!(matches!(cancelled, Err(SpawnError::Cancelled)), "{cancelled:?}");
    assert_eq!(spawner.status(id).await.unwrap(), Status::Absent);
    assert_eq!(spawner.find_image(&image).await.unwrap(), None, "half of it is none");
    // Whoever comes next finds it where it is.
    let (progress, mut phases) = Progress::new();
    let watching = async {
        reach(&mut phases, is_on_its_way).await;
        runtime.let_go();
    };
    let (fetched, ()) = tokio::join!(spawner.image(&image, &progress), watching);
    let fetched = fetched.unwrap();
    assert_eq!(spawner.find_image(&image).await.unwrap(), Some(fetched));
    runtime.forget(&image).await;
}

fn is_on_its_way(phase: &Phase) -> bool {
    let Phase::Pulling(Pulled { done, total: Some(total), layers: 1, fetched: 0, .. }) = phase else {
        return false;
    };
    (1..*total).contains(done)
}

async fn a_start_that_is_cancelled_leaves_nothing(runtime: &dyn Runtime, id: &WorkspaceId) {
    let spawner = runtime.spawner();
    let moments: [fn(&Phase) -> bool; 3] = [
        |_any| true,
        |phase| matches!(phase, Phase::Creating | Phase::Booting),
        |phase| matches!(phase, Phase::Booting),
    ];
    for (number, moment) in moments.into_iter().enumerate() {
        let (progress, mut phases) = Progress::new();
        let cancelling = async {
            reach(&mut phases, moment).await;
            progress.cancelled().cancel();
        };
        let spec = Spec { files: vec![file("of-a-start")], ..spec(runtime, id, "eighth") };
        let (started, ()) = tokio::join!(biased; spawner.start(&spec, &progress), cancelling);
        assert!(matches!(started, Ok(_) | Err(SpawnError::Cancelled)), "{number}: {started:?}");
        assert!(number > 0 || started.is_err(), "what was cancelled before anything was made");
        spawner.stop(id, Duration::from_secs(5)).await.unwrap();
        assert_eq!(spawner.status(id).await.unwrap(), Status::Absent, "{number}");
        assert!(ours(&*spawner, std::slice::from_ref(id)).await.is_empty(), "{number}");
    }
    let next = start(&*spawner, &spec(runtime, id, "ninth")).await.unwrap();
    assert_eq!(&*next.instance, "ninth");
    spawner.stop(id, Duration::from_secs(5)).await.unwrap();
}

async fn reach(phases: &mut watch::Receiver<Phase>, moment: fn(&Phase) -> bool) {
    let reached = timeout(DEADLINE, phases.wait_for(moment)).await;
    reached.expect("it comes so far").expect("a start that goes on");
}

/// How long anything may take that happens by itself.
const DEADLINE: Duration = Duration::from_secs(30);

async fn ended(spawner: &dyn Spawner, id: &WorkspaceId) -> Ended {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let status = spawner.status(id).await.unwrap();
        if let Status::Ended(ended) = status {
            return ended;
        }
        assert!(Instant::now() < deadline, "{id} does not end: {status:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Starts and tells nobody how far it is.
pub(crate) async fn start(spawner: &dyn Spawner, spec: &Spec) -> Result<Running, SpawnError> {
    spawner.start(spec, &Progress::new().0).await
}

async fn ours(spawner: &dyn Spawner, ids: &[WorkspaceId]) -> Vec<Running> {
    let mut listed = spawner.list().await.unwrap();
    listed.retain(|running| ids.contains(&running.id));
    listed
}

/// The name of a workspace's container.
pub(crate) fn name(runtime: &dyn Runtime, id: &WorkspaceId) -> String {
    container_name(runtime.prefix(), id, Escape::Current)
}

/// A workspace.
pub(crate) fn id(user: &str, server: &str) -> WorkspaceId {
    WorkspaceId { user: UserName::parse(user).unwrap(), server: ServerName::parse(server).unwrap() }
}

/// Where tests put a file.
pub(crate) const FILE: &str = "/run/hubgate/access_token";

/// The file, for whoever the container runs as.
pub(crate) fn file(content: &str) -> PutFile {
    PutFile {
        path: FILE.to_owned(),
        owner: None,
        content: Secret::new(content),
        purpose: Purpose::AccessToken,
    }
}

/// A small workspace.
pub(crate) fn spec(runtime: &dyn Runtime, id: &WorkspaceId, instance: &str) -> Spec {
    Spec {
        id: id.clone(),
        instance: instance.into(),
        profile: "lab".into(),
        mode: Mode::Token,
        preset: Preset::Jupyter,
        image: runtime.image().to_owned(),
        command: runtime.command(),
        environment: [("JUPYTER_TOKEN".to_owned(), TOKEN.to_owned())].into(),
        port: 8888,
        user: Some("1000:100".to_owned()),
        mounts: Vec::new(),
        files: Vec::new(),
        limits: Limits { memory: Some(64 << 20), cpu: Some(0.5) },
        pids: Some(64),
        stop_timeout: Duration::from_secs(5),
    }
}
