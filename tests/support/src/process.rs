//! The built program, running: started from a configuration, killed, started again, told to reload.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::certs::{Authority, write_secret};
use crate::client::{Client, PATIENCE, read_answer};
use crate::eventually::eventually;

/// The name that the hub's certificate and public URL have.
pub const NAME: &str = "hub.example";

/// A second name that its certificate has, for a provider with a host of its own.
pub const OTHER_NAME: &str = "other.hub.example";

/// `hubgate serve`, in a folder of its own, on a loopback address of its own.
#[derive(Debug)]
pub struct Process {
    binary: PathBuf,
    name: String,
    folder: TempDir,
    address: IpAddr,
    authority: Authority,
    child: Child,
    /// The process that has taken over from the first.
    successor: Option<Pid>,
    log: Arc<Mutex<String>>,
}

/// In a hub's sections: its log is JSON.
pub const JSON_LOG: &str = "# JSON log\n";

/// In a hub's sections: each user has a host of their own below its name.
pub const USER_DOMAINS: &str = "# user domains\n";

/// The TLS port; the address is what differs between hubs.
pub const PORT: u16 = 8443;
const OPERATIONS: u16 = 9180;
const REDIRECT: u16 = 8080;

impl Process {
    /// Starts the program with these sections beside `[public]`, `[listen]`, `[[certificate]]`, `[store]` and
    /// `[log]`. `{folder}` in them is the hub's folder, `{address}` its own loopback address. The provider's secret is the file `secret`.
    pub async fn start(binary: &str, sections: &str, secret: &str) -> Self {
        Self::start_as(binary, NAME, Authority::new(), sections, secret).await
    }

    /// The same for a hub of another name than [`NAME`], whose certificate `authority` signs.
    pub async fn start_as(
        binary: &str,
        name: &str,
        authority: Authority,
        sections: &str,
        secret: &str,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let address = own_address();
        let star = format!("*.{name}");
        let apart = sections.contains(USER_DOMAINS);
        let names = if apart { vec![name, &star] } else { vec![name, OTHER_NAME] };
        authority.write_pair(folder.path(), &names);
        let users = if apart { format!("user_domain = \"{star}\"\n") } else { String::new() };
        write_secret(&folder.path().join("secret"), secret);
        let here = folder.path().display().to_string();
        // A test that has more to say of [admin] begins the section itself.
        let socket = format!("[admin]\nsocket = \"{here}/admin.sock\"\n");
        let (sections, admin) = match sections.split_once("[admin]\n") {
            Some((before, after)) => (format!("{before}{socket}{after}"), String::new()),
            None => (sections.to_owned(), socket),
        };
        let config = format!(
            "[public]\nurl = \"https://{name}:{PORT}\"\ncontact = \"Ask the lab.\"\n{users}\n\
             [listen]\nhttps = [\"{address}:{PORT}\"]\nhttp = [\"{address}:{REDIRECT}\"]\noperations = \"{address}:{OPERATIONS}\"\n\
             workers = 2\ndrain_timeout = \"2s\"\n\n\
             [[certificate]]\nchain = \"{here}/cert.pem\"\nkey = \"{here}/key.pem\"\n\n\
             {admin}\n\
             [store]\nfolder = \"{here}/state\"\n\n[log]\nfilter = \"info,hubgate=debug\"\n{}\n{}",
            if sections.contains(JSON_LOG) { "format = \"json\"\n" } else { "" },
            sections.replace("{folder}", &here).replace("{address}", &address.to_string())
        );
        std::fs::write(folder.path().join("config.toml"), config).unwrap();
        let log = Arc::default();
        let child = spawn(Path::new(binary), folder.path(), &log);
        let process = Self {
            binary: binary.into(),
            name: name.to_owned(),
            folder,
            address,
            authority,
            child,
            successor: None,
            log,
        };
        process.until_alive().await;
        process
    }

    /// Ends it as a power cut would.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts it again where it was.
    pub async fn start_again(&mut self) {
        self.child = spawn(&self.binary, self.folder.path(), &self.log);
        self.until_alive().await;
    }

    /// Sends a signal to the first process of this hub.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.first(), signal).unwrap();
    }

    fn first(&self) -> Pid {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        pid.expect("a running program")
    }

    /// The process that serves.
    pub fn serving(&self) -> Pid {
        self.successor.unwrap_or_else(|| self.first())
    }

    /// Another program lies now where it was started from.
    pub fn replace_binary(&self, text: &str) {
        let new = self.folder().join("hubgate.new");
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::rename(new, &self.binary).unwrap();
    }

    /// Has the process that serves hand over to another: by its signal, or as a command orders it.
    pub async fn upgrade(&mut self) -> Pid {
        let before = self.log().matches("event=\"handed_over\"").count();
        kill_process(self.serving(), Signal::USR2).unwrap();
        eventually(&format!("another process; it says {}", self.log()), || async {
            self.log().matches("event=\"handed_over\"").count() > before
        })
        .await;
        let log = self.log();
        let line = log.lines().rfind(|line| line.contains("event=\"handed_over\"")).unwrap();
        let (_, after) = line.split_once(" pid=").expect("a number");
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        let pid = Pid::from_raw(digits.parse().unwrap()).unwrap();
        self.successor = Some(pid);
        pid
    }

    /// Whether a process of this hub runs.
    pub fn runs(&self, pid: Pid) -> bool {
        // One that ended and that nobody asked for yet has no command line.
        let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
        let folder = self.folder().as_os_str().as_encoded_bytes();
        line.is_ok_and(|line| line.windows(folder.len()).any(|part| part == folder))
    }

    /// Waits for it to end by itself; its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("an end in time").unwrap().code()
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it has written this.
    pub async fn until_logged(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), || async { self.log().contains(text) }).await;
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Who signed its certificate.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Where it listens with TLS.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.address, PORT)
    }

    /// Where it redirects from.
    pub fn redirect_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, REDIRECT)
    }

    /// Its origin, as browsers see it.
    pub fn origin(&self) -> String {
        format!("https://{}", self.host())
    }

    /// Its host and port.
    pub fn host(&self) -> String {
        format!("{}:{PORT}", self.name)
    }

    /// A browser that has never been here.
    pub fn client(&self) -> Client {
        Client::new(self.address(), &self.host(), &self.authority.pem())
    }

    /// A browser that has never been here, at the second name.
    pub fn client_elsewhere(&self) -> Client {
        Client::new(self.address(), &format!("{OTHER_NAME}:{PORT}"), &self.authority.pem())
    }

    /// A page of the operations listener: status and body.
    pub async fn operations(&self, path: &str) -> (u16, String) {
        let address = SocketAddr::new(self.address, OPERATIONS);
        let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else { return (0, String::new()) };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream, false).await;
        (answer.status, answer.text())
    }

    /// The sum of a metric's values, all its labels together.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.operations("/metrics").await;
        let lines = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until it is ready for people.
    pub async fn until_ready(&self) {
        eventually("the hub ready", || async { self.operations("/readyz").await.0 == 200 }).await;
    }

    async fn until_alive(&self) {
        eventually(&format!("the hub alive; it says {}", self.log()), || async {
            self.operations("/healthz").await.0 == 200
        })
        .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // With it go all that it has taken over from.
        if let Some(pid) = self.successor.filter(|pid| self.runs(*pid)) {
            // It may end at this moment by itself.
            kill_process(pid, Signal::KILL).unwrap_or_default();
        }
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "a test that fails prints what it saw")]
            {
                eprintln!("the hub's log:\n{}", self.log());
            }
        }
    }
}

fn spawn(binary: &Path, folder: &Path, log: &Arc<Mutex<String>>) -> Child {
    let mut child = Command::new(binary)
        .args(["serve", "--config"])
        .arg(folder.join("config.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    keep(child.stdout.take().unwrap(), Arc::clone(log));
    keep(child.stderr.take().unwrap(), Arc::clone(log));
    child
}

fn keep(stream: impl tokio::io::AsyncRead + Unpin + Send + 'static, log: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stream).lines();
    #[expect(clippy::disallowed_methods, reason = "a test has no Tasks")]
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

/// A loopback address that no other test of this run has: several hubs, the same ports.
pub fn own_address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    // Another test binary may run beside this one.
    let [.., run] = std::process::id().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 1 + (run % 250), 1 + high, 1 + (low % 250)))
}
