//! A Docker Engine without containers: it speaks the engine's API on a Unix socket and remembers what it was asked.
//!
//! A container that starts gets a loopback address of its own (`127.x.y.z`), so that a test can let any server answer
//! there in the container's place. It passes the contract that real engines pass.

#![expect(clippy::missing_panics_doc, reason = "a stage that cannot be set fails the test")]

mod api;
mod files;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

pub use files::File;

/// The engine; it ends when it is dropped.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    socket: PathBuf,
    tasks: Mutex<JoinSet<()>>,
    _folder: TempDir,
}

/// A container, as it is now.
#[derive(Debug, Clone)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, without the slash that the API puts before it.
    pub name: String,
    /// The image it was made from.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its environment: what it was made with, without the image's.
    pub environment: BTreeMap<String, String>,
    /// What was asked for in place of the image's command.
    pub command: Option<Vec<String>>,
    /// Where its server listens.
    pub address: Ipv4Addr,
    /// Whether and how it runs.
    pub state: State,
    /// The whole request that made it.
    pub body: Value,
    /// What it has written.
    pub log: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// What was put into it, by path.
    pub files: BTreeMap<String, File>,
}

impl Container {
    /// A part of its `HostConfig`.
    pub fn host_config(&self, key: &str) -> &Value {
        self.body.pointer(&format!("/HostConfig/{key}")).unwrap_or(&Value::Null)
    }
}

/// Whether a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not yet.
    Created,
    /// Now.
    Running,
    /// No more.
    Exited {
        /// What its first process returned.
        code: i64,
        /// The kernel ended it for its memory.
        out_of_memory: bool,
    },
}

/// A request that the engine got.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Its path without the API's version.
    pub path: String,
    /// Its query's parameters.
    pub query: HashMap<String, String>,
    /// Its body.
    pub body: Value,
}

/// What the engine knows of an image.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Its entrypoint.
    pub entrypoint: Vec<String>,
    /// Its command.
    pub command: Vec<String>,
    /// Its environment, `NAME=value`.
    pub environment: Vec<String>,
    /// The user it runs as.
    pub user: String,
    /// Folders that it keeps in volumes.
    pub volumes: Vec<String>,
    /// Ports that it exposes: `8888/tcp`.
    pub ports: Vec<String>,
    /// Its health check: `CMD-SHELL` and what it runs.
    pub health: Vec<String>,
}

type OnStart = dyn Fn(&Container) + Send + Sync;

struct Shared {
    state: Mutex<Records>,
    /// Every event, as the API writes it.
    events: broadcast::Sender<Value>,
    /// Counts changes of containers.
    changes: watch::Sender<u64>,
    /// Parts of paths whose requests wait.
    held: watch::Sender<BTreeSet<String>>,
}

#[derive(Default)]
struct Records {
    images: BTreeMap<String, Image>,
    registry: BTreeMap<String, Image>,
    /// What the registry has sent, or is sending.
    pulls: Vec<String>,
    containers: Vec<Container>,
    volumes: BTreeMap<String, Value>,
    networks: BTreeMap<String, Value>,
    requests: Vec<Request>,
    history: Vec<Value>,
    addresses: HashMap<(String, String), Ipv4Addr>,
    next_address: Option<Ipv4Addr>,
    refusals: Vec<(String, u16, String)>,
    on_start: Option<Arc<OnStart>>,
    /// Programs beside containers' own.
    commands: HashMap<String, files::Command>,
    /// How the next of them end, whatever they do; the last first.
    exit_codes: Vec<i64>,
    /// It says that it is Podman.
    podman: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a container under the lock, and tells whoever waits for it.
    fn change(&self, reference: &str, change: impl FnOnce(&mut Container)) {
        if let Some(container) = self.lock().find_mut(reference) {
            change(container);
        }
        self.changes.send_modify(|count| *count += 1);
    }

    fn emit(&self, action: &str, container: &Container) {
        let mut attributes: BTreeMap<String, String> = container.labels.clone();
        attributes.insert("name".to_owned(), container.name.clone());
        attributes.insert("image".to_owned(), container.image.clone());
        if let State::Exited { code, .. } = container.state {
            attributes.insert("exitCode".to_owned(), code.to_string());
        }
        let event = json!({
            "Type": "container", "Action": action, "scope": "local", "time": now(),
            "Actor": { "ID": container.id, "Attributes": attributes },
        });
        let mut state = self.lock();
        state.history.push(event.clone());
        // Under the lock, so that a new listener gets it either here or from the history. Nobody may be listening.
        drop(self.events.send(event));
    }

    /// The first process of a container ends.
    fn end(&self, reference: &str, code: i64, out_of_memory: bool) {
        let Some(container) = self.lock().find(reference) else { return };
        if container.state != State::Running {
            return;
        }
        self.change(&container.id, |container| container.state = State::Exited { code, out_of_memory });
        let Some(container) = self.lock().find(&container.id) else { return };
        if out_of_memory {
            self.emit("oom", &container);
        }
        self.emit("die", &container);
    }
}

impl Records {
    fn position(&self, reference: &str) -> Option<usize> {
        let name = reference.trim_start_matches('/');
        self.containers.iter().position(|container| container.name == name || container.id == name)
    }

    fn find(&self, reference: &str) -> Option<Container> {
        self.containers.get(self.position(reference)?).cloned()
    }

    fn find_mut(&mut self, reference: &str) -> Option<&mut Container> {
        let position = self.position(reference)?;
        self.containers.get_mut(position)
    }

    fn address_of(&mut self, user: &str, server: &str) -> Ipv4Addr {
        *self.addresses.entry((user.to_owned(), server.to_owned())).or_insert_with(new_address)
    }
}

/// An address that no other container of this machine's tests has.
fn new_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let process = u8::try_from(1 + std::process::id() % 250).unwrap_or(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let octet = |value: u32| u8::try_from(value).unwrap_or(1);
    Ipv4Addr::new(127, process, octet(number / 250 % 250), octet(number % 250 + 1))
}

#[expect(clippy::disallowed_methods, reason = "the engine's own time, as a real one's")]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

impl Engine {
    /// An engine on a socket of its own, with no images.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("docker.sock");
        let mut state = Records::default();
        for name in ["bridge", "host", "none"] {
            state.networks.insert(name.to_owned(), json!({ "Name": name, "Id": name, "Driver": name }));
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            events: broadcast::channel(1024).0,
            changes: watch::channel(0).0,
            held: watch::channel(BTreeSet::new()).0,
        });
        let engine = Self { shared, socket, tasks: Mutex::default(), _folder: folder };
        engine.restart();
        engine
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// An image that is there.
    pub fn add_image(&self, name: &str, image: Image) {
        self.shared.lock().images.insert(name.to_owned(), image);
    }

    /// An image that can be pulled.
    pub fn publish_image(&self, name: &str, image: Image) {
        self.shared.lock().registry.insert(name.to_owned(), image);
    }

    /// Images whose pull has begun, in order.
    pub fn pulls(&self) -> Vec<String> {
        self.shared.lock().pulls.clone()
    }

    /// The address that a user's (unnamed) workspace gets whenever it starts.
    pub fn address_for(&self, user: &str) -> Ipv4Addr {
        self.address_for_server(user, "")
    }

    /// As [`Engine::address_for`], for a named server.
    pub fn address_for_server(&self, user: &str, server: &str) -> Ipv4Addr {
        self.shared.lock().address_of(user, server)
    }

    /// The next container that starts gets this address.
    pub fn set_next_address(&self, address: Ipv4Addr) {
        self.shared.lock().next_address = Some(address);
    }

    /// Called for each container that starts, before its start is answered.
    pub fn on_start(&self, call: impl Fn(&Container) + Send + Sync + 'static) {
        self.shared.lock().on_start = Some(Arc::new(call));
    }

    /// The next request whose path holds `part` is refused.
    pub fn refuse_next(&self, part: &str, status: u16, message: &str) {
        self.shared.lock().refusals.push((part.to_owned(), status, message.to_owned()));
    }

    /// The next program that is put beside a container's own ends so, and does nothing.
    pub fn fail_next_command(&self, exit_code: i64) {
        self.shared.lock().exit_codes.insert(0, exit_code);
    }

    /// Requests whose path holds `part` wait until [`Engine::release`]; a pull waits in its middle.
    pub fn hold(&self, part: &str) {
        self.shared.held.send_modify(|held| {
            held.insert(part.to_owned());
        });
    }

    /// Lets what was held go on.
    pub fn release(&self, part: &str) {
        self.shared.held.send_modify(|held| {
            held.remove(part);
        });
    }

    /// The first process of a container ends by itself.
    pub fn die(&self, name: &str, exit_code: i64, out_of_memory: bool) {
        self.shared.end(name, exit_code, out_of_memory);
    }

    /// A container writes something.
    pub fn write_log(&self, name: &str, text: &str) {
        self.shared.change(name, |container| container.log.push_str(text));
    }

    /// A container that somebody else made and started.
    pub fn add_foreign(&self, name: &str, labels: &[(&str, &str)]) {
        let body = json!({ "Image": "other", "Labels": labels.iter().copied().collect::<BTreeMap<_, _>>() });
        let mut state = self.shared.lock();
        let mut container = api::new_container(name, body);
        container.state = State::Running;
        state.containers.push(container);
    }

    /// A container that somebody else made by this request, and that runs at this address; answers its id.
    pub fn run_foreign(&self, name: &str, body: Value, address: Ipv4Addr) -> String {
        let mut container = api::new_container(name, body);
        container.state = State::Running;
        container.address = address;
        let id = container.id.clone();
        self.shared.lock().containers.push(container);
        id
    }

    /// A container is gone, without a word to whoever made it.
    pub fn remove(&self, name: &str) {
        api::take_away(&self.shared, name);
    }

    /// Every container, ended ones too, oldest first.
    pub fn containers(&self) -> Vec<Container> {
        self.shared.lock().containers.clone()
    }

    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<Container> {
        self.shared.lock().find(name)
    }

    /// Names of the volumes.
    pub fn volumes(&self) -> Vec<String> {
        self.shared.lock().volumes.keys().cloned().collect()
    }

    /// From now on it says that it is Podman.
    pub fn be_podman(&self) {
        self.shared.lock().podman = true;
    }

    /// A network that somebody else has made.
    pub fn add_network(&self, name: &str, driver: &str, options: &Value) {
        let network = json!({ "Name": name, "Id": name, "Driver": driver, "Options": options });
        self.shared.lock().networks.insert(name.to_owned(), network);
    }

    /// What a network was made with.
    pub fn network(&self, name: &str) -> Option<Value> {
        self.shared.lock().networks.get(name).cloned()
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// How many requests there were of a method whose path holds `part`.
    pub fn count(&self, method: &str, part: &str) -> usize {
        let matches = |request: &&Request| request.method == method && request.path.contains(part);
        self.shared.lock().requests.iter().filter(matches).count()
    }

    /// The daemon goes away, with every connection. Containers go on.
    pub fn stop(&self) {
        *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) = JoinSet::new();
        drop(std::fs::remove_file(&self.socket));
    }

    /// The daemon is back.
    pub fn restart(&self) {
        self.stop();
        let listener = UnixListener::bind(&self.socket).unwrap();
        let serving = api::serve(Arc::clone(&self.shared), listener);
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(serving);
    }
}
