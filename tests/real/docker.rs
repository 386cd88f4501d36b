//! Real engines: Docker at `HUBGATE_TEST_DOCKER`, Podman at `HUBGATE_TEST_PODMAN` (addresses as `unix:///…`). They keep
//! the contract that the engine of the other tests keeps, and what they are asked for holds inside the container.

#[path = "../contract/spawner.rs"]
mod contract;

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hubgate::config;
use hubgate::metrics::Metrics;
use hubgate::secret::Secret;
use hubgate::spawner::{self, Mount, PutFile, Running, Spawner, Spec, Status};
use support::eventually::eventually;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use self::contract::{FILE, Runtime, Seen, file, id, name, spec, start};
use crate::registry::Registry;

/// Any image with `/bin/sh` and `python3`.
const IMAGE: &str = "hubgate-test/lab:1";

/// Waits until a test says how to end.
const PROGRAM: &str = r#"
trap 'exit 0' TERM
while :; do
  if [ -e /tmp/exit ]; then echo "leaving with $JUPYTER_TOKEN"; exit "$(cat /tmp/exit)"; fi
  if [ -e /tmp/memory ]; then exec dd if=/dev/zero of=/dev/null bs=512M count=1; fi
  sleep 0.1
done
"#;

/// An engine, and what one test makes on it.
struct Real {
    address: String,
    podman: bool,
    /// Begins the names of everything this test makes.
    prefix: &'static str,
    /// Where it fetches what is not here.
    registry: OnceCell<Registry>,
}

impl Real {
    fn docker(prefix: &'static str) -> Self {
        Self::at("HUBGATE_TEST_DOCKER", "unix:///var/run/docker.sock", prefix)
    }

    fn podman(prefix: &'static str) -> Self {
        Self::at("HUBGATE_TEST_PODMAN", "unix:///run/podman/podman.sock", prefix)
    }

    fn at(variable: &str, default: &str, prefix: &'static str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the set-up says where the parts are")]
        let address = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
        let real = Self { address, podman: variable.ends_with("PODMAN"), prefix, registry: OnceCell::new() };
        let version = real.run(&["version"]);
        assert!(version.status.success(), "{variable}: no engine at {}: {version:?}", real.address);
        real.clean();
        real
    }

    /// Runs the engine's own client.
    fn run(&self, arguments: &[&str]) -> Output {
        Command::new("docker")
            .args(["-H", &self.address])
            .args(arguments)
            .output()
            .expect("the docker command")
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What a shell in a container says.
    fn inside(&self, container: &str, script: &str) -> String {
        self.said(&["exec", container, "/bin/sh", "-c", script])
    }

    fn clean(&self) {
        let mine = format!("name={}-", self.prefix);
        for (list, remove) in [(["ps", "-aq"], &["rm", "-f"][..]), (["volume", "ls"], &["volume", "rm"])] {
            let quiet = if list[0] == "volume" { "-q" } else { "--no-trunc" };
            let found = self.run(&[list[0], list[1], quiet, "--filter", &mine]);
            for one in String::from_utf8_lossy(&found.stdout).lines() {
                self.run(&[remove, &[one]].concat());
            }
        }
        self.run(&["network", "rm", self.prefix]);
    }

    fn spec(&self, user: &str) -> Spec {
        spec(self, &id(user, ""), "i1")
    }

    async fn started(&self, spec: &Spec) -> (Running, String) {
        (start(&*self.spawner(), spec).await.unwrap(), name(self, &spec.id))
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.clean();
    }
}

#[async_trait]
impl Runtime for Real {
    fn spawner(&self) -> Arc<dyn Spawner> {
        let docker = config::Docker {
            socket: self.address.trim_start_matches("unix://").into(),
            prefix: self.prefix.to_owned(),
            network: self.prefix.to_owned(),
            ..config::Docker::default()
        };
        spawner::open(&config::Spawner { docker, ..config::Spawner::default() }, None, Metrics::new())
    }
    fn prefix(&self) -> &'static str {
        self.prefix
    }
    fn image(&self) -> &'static str {
        IMAGE
    }
    fn command(&self) -> Option<Vec<String>> {
        Some(["/bin/sh", "-c", PROGRAM].map(str::to_owned).to_vec())
    }
    async fn exit(&self, container: &str, code: i64) {
        self.inside(container, &format!("echo {code} > /tmp/exit.new && mv /tmp/exit.new /tmp/exit"));
    }
    async fn exhaust_memory(&self, container: &str) {
        self.inside(container, "touch /tmp/memory");
    }
    fn tells_out_of_memory(&self) -> bool {
        !self.podman
    }
    async fn file(&self, container: &str, path: &str) -> Option<Seen> {
        let said = self.inside(container, &format!("stat -c '%u:%g %a' {path}; cat {path}"));
        let (stat, content) = said.split_once('\n').unwrap_or((&said, ""));
        let (owner, mode) = stat.split_once(' ')?;
        Some(Seen { owner: owner.to_owned(), mode: mode.to_owned(), content: content.to_owned() })
    }
    async fn inspect(&self, container: &str) -> String {
        self.said(&["inspect", container])
    }
    async fn add_foreign(&self, container: &str) {
        self.said(&["run", "-d", "--name", container, "--entrypoint", "/bin/sleep", IMAGE, "600"]);
    }
    async fn runs(&self, container: &str) -> bool {
        self.said(&["inspect", "-f", "{{.State.Running}}", container]) == "true"
    }
    async fn remove(&self, container: &str) {
        self.run(&["rm", "-f", container]);
    }
    async fn publish(&self) -> String {
        self.registry.get_or_init(Registry::start).await.image()
    }
    fn let_go(&self) {
        self.registry.get().expect("what was published").let_go();
    }
    async fn forget(&self, image: &str) {
        self.said(&["rmi", image]);
    }
}

#[tokio::test]
async fn docker_keeps_the_contract() {
    contract::contract(&Real::docker("hubgate-real-contract")).await;
}

#[tokio::test]
async fn podman_keeps_the_contract() {
    contract::contract(&Real::podman("hubgate-real-contract")).await;
}

#[tokio::test]
async fn limits_hold_inside_the_container() {
    let real = Real::docker("hubgate-real-limits");
    let mut spec = real.spec("alice");
    spec.limits.cpu = Some(0.25);
    let (_, container) = real.started(&spec).await;

    // Three seconds of trying, with what it costs at the end (`times`: minutes and seconds, user and system).
    let busy = "end=$(($(date +%s) + 3)); while [ $(date +%s) -lt $end ]; do :; done; times";
    let used: f64 = real.inside(&container, busy).split_whitespace().map(seconds).sum();
    assert!(used > 0.1 && used < 1.5, "a quarter of a processor gave {used} s in three to four seconds");

    let (_, crowded) = real.started(&real.spec("bob")).await;
    let crowd = "i=0; while [ $i -lt 100 ]; do sleep 20 & i=$((i+1)); done";
    assert!(
        !real.run(&["exec", &crowded, "/bin/sh", "-c", crowd]).status.success(),
        "more than 64 processes"
    );

    real.exhaust_memory(&container).await;
    let spawner = real.spawner();
    eventually("the end of a workspace that takes too much memory", async || {
        matches!(spawner.status(&spec.id).await.unwrap(), Status::Ended(ended) if ended.out_of_memory)
    })
    .await;
}

/// `0m1.25s`
fn seconds(text: &str) -> f64 {
    let (minutes, seconds) = text.trim_end_matches('s').split_once('m').unwrap();
    minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
}

#[tokio::test]
async fn a_container_has_no_privilege_and_cannot_get_one() {
    let real = Real::docker("hubgate-real-privilege");
    let (_, container) = real.started(&real.spec("alice")).await;
    let status = real.inside(&container, "cat /proc/self/status");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Uid:"), "1000");
}

async fn new_folders_have_the_right_owner(real: Real) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(path("old")).unwrap();
    let mount = |source: String, target: &str, owner| Mount {
        source,
        target: target.to_owned(),
        owner,
        read_only: false,
    };
    let volume = format!("{}-home", real.prefix);
    let mut spec = real.spec("alice");
    spec.mounts = vec![
        mount(volume.clone(), "/home/new", (1000, 100)),
        mount(path("new/deep"), "/mnt/new", (1000, 100)),
        mount(path("old"), "/mnt/old", (1000, 100)),
    ];
    let (_, container) = real.started(&spec).await;
    let owners = real.inside(&container, "stat -c %u:%g /home/new /mnt/new /mnt/old");
    assert_eq!(owners.lines().collect::<Vec<_>>(), ["1000:100", "1000:100", "0:0"]);
    real.inside(&container, "echo kept > /home/new/notebook");

    let spawner = real.spawner();
    spawner.stop(&spec.id, Duration::from_secs(5)).await.unwrap();
    let (_, container) = real.started(&spec).await;
    assert_eq!(real.inside(&container, "cat /home/new/notebook"), "kept");
    let mine = format!("name={}-", real.prefix);
    assert_eq!(real.said(&["ps", "-aq", "--filter", &mine]).lines().count(), 1, "a helper is left");
}

#[tokio::test]
async fn new_folders_have_the_right_owner_on_docker() {
    new_folders_have_the_right_owner(Real::docker("hubgate-real-owner")).await;
}

#[tokio::test]
async fn new_folders_have_the_right_owner_on_podman() {
    new_folders_have_the_right_owner(Real::podman("hubgate-real-owner")).await;
}

/// Reads a file without a pause until told to end, and says how often it was whole, and what else it was.
const READER: &str = r#"
import collections, os
seen = collections.Counter()
while not os.path.exists("/tmp/done"):
    try:
        text = open("/run/hubgate/access_token").read()
        seen["whole" if len(text) == 4000 and len(set(text)) == 1 else f"{len(text)} bytes"] += 1
    except OSError as error:
        seen[error.strerror] += 1
    open("/tmp/begun", "w").close()
print(*(f"{what}: {count}" for what, count in seen.items()), sep=", ")
"#;

async fn a_file_is_whole_from_the_first_instruction_on(real: Real) {
    let spawner = real.spawner();
    let content = |round: u8| char::from(b'a' + round % 26).to_string().repeat(4000);
    let program = format!("cat {FILE} >/tmp/first; {PROGRAM}");
    let spec = Spec {
        files: vec![file(&content(0))],
        command: Some(["/bin/sh", "-c", &program].map(str::to_owned).to_vec()),
        ..real.spec("alice")
    };
    let (_, container) = real.started(&spec).await;
    eventually("the program has begun", async || real.inside(&container, "cat /tmp/first") == content(0))
        .await;
    let said = real.inside(&container, "stat -c '%u:%g %a' /run /run/hubgate /run/hubgate/access_token");
    let said: Vec<_> = said.lines().collect();
    assert!(said[0].starts_with("0:0 "), "the image's own folder has another owner: {said:?}");
    assert_eq!(said[1..], ["1000:100 700", "1000:100 400"]);

    real.said(&["exec", "-d", &container, "/bin/sh", "-c", &format!("python3 -c '{READER}' >/tmp/seen")]);
    eventually("the reader has begun", async || {
        real.run(&["exec", &container, "test", "-e", "/tmp/begun"]).status.success()
    })
    .await;
    for round in 0..50 {
        spawner.put(&spec.id, "i1", &file(&content(round))).await.unwrap();
    }
    real.inside(&container, "touch /tmp/done");
    eventually("the reader has ended", async || !real.inside(&container, "cat /tmp/seen").is_empty()).await;
    let seen = real.inside(&container, "cat /tmp/seen");
    assert!(seen.starts_with("whole: ") && !seen.contains(','), "{seen}");
    assert_eq!(real.inside(&container, "ls -A /run/hubgate"), "access_token", "something is left beside it");

    // Another owner, in an image that knows none by that number; and nothing that the engine tells holds the content.
    let owned = PutFile { owner: Some((4711, 4711)), ..file("owned-content") };
    let spec = Spec { user: Some("0:0".to_owned()), files: vec![owned.clone()], ..real.spec("bob") };
    let (_, container) = real.started(&spec).await;
    spawner.put(&spec.id, "i1", &PutFile { content: Secret::new("newer-content"), ..owned }).await.unwrap();
    let seen = real.file(&container, FILE).await.unwrap();
    assert_eq!((seen.owner.as_str(), seen.content.as_str()), ("4711:4711", "newer-content"));
    assert!(!real.said(&["inspect", &container]).contains("-content"));
}

#[tokio::test]
async fn a_file_is_whole_from_the_first_instruction_on_with_docker() {
    a_file_is_whole_from_the_first_instruction_on(Real::docker("hubgate-real-file")).await;
}

#[tokio::test]
async fn a_file_is_whole_from_the_first_instruction_on_with_podman() {
    a_file_is_whole_from_the_first_instruction_on(Real::podman("hubgate-real-file")).await;
}

#[tokio::test]
async fn workspaces_do_not_reach_each_other_but_hubgate_reaches_both() {
    let real = Real::docker("hubgate-real-apart");
    let (alice, _) = real.started(&real.spec("alice")).await;
    let (bob, bobs) = real.started(&real.spec("bob")).await;
    for (running, user) in [(&alice, "alice"), (&bob, "bob")] {
        let container = name(&real, &id(user, ""));
        real.said(&["exec", "-d", &container, "python3", "-m", "http.server", "8888"]);
        eventually("hubgate reaches the workspace", async || {
            TcpStream::connect(running.address).await.is_ok()
        })
        .await;
    }
    let connect = |address: String, port: u16| {
        let script = format!("import socket; socket.create_connection(('{address}', {port}), 3)");
        real.run(&["exec", &bobs, "python3", "-c", &script])
    };
    assert!(connect("127.0.0.1".to_owned(), 8888).status.success(), "the probe itself");
    let reached = connect(alice.address.ip().to_string(), alice.address.port());
    assert!(!reached.status.success(), "bob reaches alice's workspace");
    assert!(String::from_utf8_lossy(&reached.stderr).contains("timed out"), "{reached:?}");
}
