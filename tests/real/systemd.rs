//! The service as docs/operations.md installs it, on a machine that a real systemd runs.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use support::certs::{Authority, write_secret};
use support::client::{Client, read_answer};
use support::eventually::eventually;
use support::process::NAME;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

use crate::browser::{Browser, Http};
use crate::hub::{self, GATEWAY, NETWORK, docker, profile};
use crate::journey::certificate;
use crate::keycloak::{CLIENT_SECRET, Keycloak};
use crate::parts::part;

const OPERATIONS: &str = include_str!("../../docs/operations.md");
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// A machine with systemd and Docker, and hubgate installed on it.
struct Machine {
    name: String,
    /// Its `/src/here`.
    folder: tempfile::TempDir,
    authority: Authority,
    address: IpAddr,
    /// What the hub asks Keycloak goes through these.
    forwarding: JoinSet<()>,
}

impl Machine {
    /// `port` keeps the workspaces of hubs apart.
    async fn start(port: u16) -> Self {
        hub::make_network().await;
        hub::clear(port).await;
        let name = format!("hubgate-real-systemd-{port}");
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        authority.write_pair(folder.path(), &[NAME]);
        write_secret(&folder.path().join("secret"), CLIENT_SECRET);
        boot(&name, folder.path()).await;
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = said(&["inspect", "--format", format, &name]).await.parse().unwrap();
        let machine = Self { name, folder, authority, address, forwarding: JoinSet::new() };
        eventually("systemd is up", || async {
            machine.tried("systemctl is-system-running").await.1.trim() == "running"
        })
        .await;
        machine.install(port).await;
        machine
    }

    /// By the commands that the documentation gives.
    async fn install(&self, port: u16) {
        // As Docker's package does it.
        self.run("groupadd --non-unique --gid $(stat -c %g /run/docker.sock) docker").await;
        let (_, rest) = OPERATIONS.split_once("**On the machine**").unwrap();
        let commands = rest.split("```").nth(1).unwrap().trim_start_matches("sh\n");
        std::fs::write(self.folder.path().join("install"), commands).unwrap();
        self.run("cp here/cert.pem fullchain.pem; cp here/key.pem privkey.pem").await;
        self.run("sh -ex here/install <here/secret").await;
        self.run("cp here/keycloak.pem /etc/hubgate/keycloak.pem && chmod 644 /etc/hubgate/keycloak.pem")
            .await;
        self.configure(&configuration(port)).await;
        self.run("systemctl daemon-reload").await;
    }

    async fn configure(&self, text: &str) {
        std::fs::write(self.folder.path().join("config.toml"), text).unwrap();
        self.run("install -m 640 -g hubgate here/config.toml /etc/hubgate/config.toml").await;
    }

    /// Lets the hub reach Keycloak where the browser does: at a port of loopback.
    async fn reach_keycloak(&mut self) {
        let keycloak =
            Url::parse(&part("HUBGATE_TEST_KEYCLOAK_URL")).unwrap().socket_addrs(|| None).unwrap()[0];
        let listener = TcpListener::bind((GATEWAY, 0)).await.unwrap();
        let passage = listener.local_addr().unwrap();
        self.forwarding.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                open.spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(keycloak).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                });
            }
        });
        let proxy = format!(
            "systemd-run --unit=keycloak systemd-socket-activate --listen={keycloak} /lib/systemd/systemd-socket-proxyd {passage}"
        );
        self.run(&proxy).await;
    }

    /// Runs a command in `/src`, a clone with the program built: success, and what it said.
    async fn tried(&self, command: &str) -> (bool, String) {
        docker(&["exec", "--workdir", "/src", &self.name, "/bin/sh", "-c", command]).await
    }

    async fn run(&self, command: &str) -> String {
        let (done, text) = self.tried(command).await;
        assert!(done, "{command}: {text}");
        text.trim().to_owned()
    }

    /// A property of the service.
    async fn service(&self, property: &str) -> String {
        self.run(&format!("systemctl show --property={property} --value hubgate")).await
    }

    fn client(&self) -> Client {
        Client::new(SocketAddr::new(self.address, 443), NAME, &self.authority.pem())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let engine = |arguments: &[&str]| Command::new("docker").args(arguments).output();
        if std::thread::panicking() {
            let journal = engine(&["exec", &self.name, "journalctl", "--no-pager", "--lines=200"]);
            #[expect(clippy::print_stderr, reason = "a test that fails prints what it saw")]
            if let Ok(journal) = journal {
                eprintln!("{}", String::from_utf8_lossy(&journal.stdout));
            }
        }
        drop(engine(&["rm", "-f", "-v", &self.name]));
    }
}

/// Starts the machine: `/src` is what a clone with a built program holds, and `here` in it the test's own folder.
async fn boot(name: &str, folder: &Path) {
    let keycloak = std::fs::read(part("HUBGATE_TEST_KEYCLOAK_CA")).unwrap();
    std::fs::write(folder.join("keycloak.pem"), keycloak).unwrap();
    docker(&["rm", "-f", "-v", name]).await;
    let socket = part("HUBGATE_TEST_DOCKER");
    let socket = format!("{}:/run/docker.sock", socket.trim_start_matches("unix://"));
    let binary = format!("{}:/src/target/release/hubgate:ro", env!("CARGO_BIN_EXE_hubgate"));
    let deploy = format!("{REPOSITORY}/deploy:/src/deploy:ro");
    let example = format!("{REPOSITORY}/config.toml.example:/src/config.toml.example:ro");
    let here = format!("{}:/src/here", folder.display());
    // What systemd needs that a container does not have by itself.
    let machine = [
        "run",
        "-d",
        "--name",
        name,
        "--hostname",
        "hub",
        "--network",
        NETWORK,
        "--label",
        "hubgate.test=systemd",
        "--cap-add",
        "SYS_ADMIN",
        "--cap-add",
        "NET_ADMIN",
        "--security-opt",
        "seccomp=unconfined",
        "--security-opt",
        "apparmor=unconfined",
        "--cgroupns=host",
        "--volume",
        "/sys/fs/cgroup:/sys/fs/cgroup:rw",
        "--tmpfs",
        "/run",
        "--tmpfs",
        "/run/lock",
        "--tmpfs",
        "/tmp",
    ];
    let volumes = ["-v", &socket, "-v", &binary, "-v", &deploy, "-v", &example, "-v", &here];
    said(&[&machine, &volumes[..], &[&part("HUBGATE_TEST_SYSTEMD_IMAGE")]].concat()).await;
}

async fn said(arguments: &[&str]) -> String {
    let (done, text) = docker(arguments).await;
    assert!(done, "{arguments:?}: {text}");
    text.trim().to_owned()
}

/// What an administrator writes: the keys without a default, and the rest as it is.
fn configuration(port: u16) -> String {
    format!(
        "[public]\nurl = \"https://{NAME}\"\n\
         [[certificate]]\nchain = \"/etc/hubgate/tls/fullchain.pem\"\nkey = \"/etc/hubgate/tls/privkey.pem\"\n\
         [provider]\nissuer = \"{}/realms/{}\"\nclient_id = \"hubgate\"\n\
         client_secret = {{ credential = \"oidc-client-secret\" }}\nca_file = \"/etc/hubgate/keycloak.pem\"\n\
         [[rule]]\nrealm_roles = [\"hub-user\"]\n\
         [spawner.docker]\nnetwork = \"{NETWORK}\"\nprefix = \"hubgate-real-{port}\"\n{}",
        part("HUBGATE_TEST_KEYCLOAK_URL").trim_end_matches('/'),
        part("HUBGATE_TEST_REALM"),
        profile("token", port),
    )
}

#[tokio::test]
async fn the_first_visitor_starts_the_service_and_its_work_outlives_reload_upgrade_crash_and_restart() {
    let port = 18090;
    let mut machine = Machine::start(port).await;
    machine.reach_keycloak().await;
    Keycloak::connect().await.register(&format!("https://{NAME}")).await;
    machine.run("systemctl enable --now hubgate-https.socket hubgate-http.socket").await;
    assert_eq!(machine.service("ActiveState").await, "inactive", "nobody came yet");

    let browser = Browser::start(machine.address, Http::Two).await;
    browser.open(&format!("http://{NAME}/user/alice/lab")).await;
    browser.sign_in("alice", "alice-password").await;
    browser.new_notebook().await;
    browser.run("kept = 41").await;
    assert_eq!(machine.service("ActiveState").await, "active");
    assert_eq!(machine.service("StatusText").await, "serving");
    assert_eq!(machine.run("curl -sS http://127.0.0.1:9180/healthz").await, "ok");
    machine.run("curl -sSf http://127.0.0.1:9180/readyz").await;

    // A reload: another certificate, the same connections.
    let client = machine.client();
    let before = certificate(&client).await;
    let mut kept = client.connect(&["http/1.1"]).await;
    let request = format!("GET /hub/api/ HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    machine.authority.write_pair(machine.folder.path(), &[NAME]);
    machine.run("install -m 644 here/cert.pem /etc/hubgate/tls/fullchain.pem").await;
    machine.run("install -m 640 -g hubgate here/key.pem /etc/hubgate/tls/privkey.pem").await;
    machine.run("systemctl reload hubgate").await;
    eventually("the new certificate", || async { certificate(&client).await != before }).await;
    kept.write_all(request.as_bytes()).await.unwrap();
    kept.flush().await.unwrap();
    assert_ne!(read_answer(&mut kept, false).await.status, 0, "the connection from before the reload");
    browser.run("kept += 1; print(kept)").await;
    browser.until_output("42").await;

    // An upgrade: another process is the service's, and the websocket is the same.
    let before = machine.service("MainPID").await;
    machine.run("hubgate upgrade").await;
    assert_ne!(machine.service("MainPID").await, before);
    assert_eq!(machine.service("ActiveState").await, "active");
    browser.run("kept += 1; print(kept)").await;
    browser.until_output("43").await;
    machine.run(&format!("kill -0 {before}")).await;
    let ping = machine.service("WatchdogTimestampMonotonic").await;
    eventually("a sign of life of the new process", || async {
        machine.service("WatchdogTimestampMonotonic").await != ping
    })
    .await;

    // A crash: who comes meanwhile waits, and the notebook goes on.
    machine.run("systemctl kill --kill-who=main --signal=KILL hubgate").await;
    assert_eq!(machine.client().open("/").await.status, 303, "an answer, from the next one");
    assert_eq!(machine.service("NRestarts").await, "1");
    browser.until_reconnected().await;
    browser.run("kept += 1; print(kept)").await;
    browser.until_output("44").await;
    browser.close().await;

    // A restart: the same.
    let (_, answer) =
        tokio::join!(machine.run("systemctl restart hubgate"), async { machine.client().open("/").await });
    assert_eq!(answer.status, 303);

    machine.run("systemctl stop hubgate-https.socket hubgate-http.socket hubgate").await;
    assert_eq!(machine.service("Result").await, "success");
    assert_eq!(machine.service("ExecMainStatus").await, "0");
    assert_eq!(machine.service("ActiveState").await, "inactive");
    hub::clear(port).await;
}

#[tokio::test]
async fn the_service_can_write_to_its_state_and_nowhere_else() {
    let machine = Machine::start(18091).await;
    // A shell in the place of hubgate's own process, as the unit would confine it.
    let probe = "[Service]\nExecStartPre=/bin/sh /src/here/probe\n";
    std::fs::write(machine.folder.path().join("probe.conf"), probe).unwrap();
    std::fs::write(machine.folder.path().join("probe"), PROBE).unwrap();
    machine.run("install -D -m 644 here/probe.conf /etc/systemd/system/hubgate.service.d/probe.conf").await;
    machine.run("touch /tmp/others /home/others && systemctl daemon-reload && systemctl start hubgate").await;

    let found = machine.run("cat /var/lib/hubgate/probe").await;
    let said = |key: &str| {
        let lines = found.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    // All but the state is gone with the service, and the folders for temporary files are its own.
    assert_eq!(said("writes"), ["/run/hubgate", "/tmp", "/var/lib/hubgate", "/var/tmp"], "{found}");
    assert_eq!(said("sees"), [""; 0], "files of others: {found}");
    assert_eq!(said("credential"), [CLIENT_SECRET]);
    assert_eq!(said("secret"), ["unreadable"], "the file it comes from is root's");

    let main = machine.service("MainPID").await;
    let status = machine.run(&format!("cat /proc/{main}/status")).await;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000400", "{set} more or less than low ports");
    }
    assert_eq!((field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()), ("1", "2"));
    assert_eq!(field("Uid:"), machine.run("id -u hubgate").await);
    // Tenths. It is at 1.5: the network, Unix sockets and Docker's group are what it is for.
    machine.run("systemd-analyze security --threshold=16 hubgate").await;
}

#[tokio::test]
async fn a_wrong_configuration_is_told_and_not_tried_again() {
    let port = 18092;
    let machine = Machine::start(port).await;
    // As the documentation checks it, by hand.
    machine.run("CREDENTIALS_DIRECTORY=/etc/hubgate hubgate check").await;
    machine.configure(&configuration(port).replace("client_id", "client_ip")).await;
    assert!(!machine.tried("systemctl start hubgate").await.0, "it cannot start");
    let journal = machine.run("journalctl --no-pager --unit=hubgate").await;
    assert!(journal.contains("/etc/hubgate/config.toml:") && journal.contains("client_ip"), "{journal}");
    assert_eq!(machine.service("ExecMainStatus").await, "2");
    assert_eq!(machine.service("ActiveState").await, "failed", "and does not wait to try again");
    assert_eq!(machine.service("NRestarts").await, "0");

    machine.configure(&configuration(port)).await;
    machine.run("systemctl start hubgate").await;
    assert_eq!(machine.service("ActiveState").await, "active");
}

/// What the service may write to, and what of others it sees.
const PROBE: &str = r#"find / -path /proc -prune -o -writable -type d -print 2>/dev/null | sort | sed 's/^/writes /' >/var/lib/hubgate/probe.new
for file in /tmp/others /home/others; do [ -e "$file" ] && echo "sees $file"; done >>/var/lib/hubgate/probe.new
echo "credential $(cat "$CREDENTIALS_DIRECTORY/oidc-client-secret")" >>/var/lib/hubgate/probe.new
cat /etc/hubgate/oidc-client-secret 2>/dev/null || echo "secret unreadable" >>/var/lib/hubgate/probe.new
mv /var/lib/hubgate/probe.new /var/lib/hubgate/probe
"#;
