//! Users' access tokens in files of their workspaces.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubgate::clock::Clock;
use hubgate::config::{self, Escape};
use hubgate::forward::{Deadlines, Forwarder};
use hubgate::metrics::Metrics;
use hubgate::seal::Sealer;
use hubgate::secret::Secret;
use hubgate::spawner;
use hubgate::store::Store;
use hubgate::tasks::Tasks;
use hubgate::user::{Claims, User, UserName};
use hubgate::workspace::{Chosen, NamedServers, Parts, Place, State, Uses, Workspaces};
use support::docker::{Engine, File, Image};
use support::eventually::eventually;
use support::hub::{EVERYONE, Hub, PROFILE};
use support::upstream::Upstream;

use crate::BINARY;

const ASKS: &str = "access_token_file = \"/run/hubgate/access_token\"";
const FILE: &str = "/run/hubgate/access_token";

/// Workspaces on an engine, without a gateway before them.
struct Lab {
    engine: Engine,
    profile: Arc<config::Profile>,
    workspaces: Workspaces,
    metrics: Metrics,
    upstreams: Mutex<Vec<Upstream>>,
}

impl Lab {
    async fn new(profile: &str) -> Self {
        let engine = Engine::start();
        let image =
            Image { user: "1000:100".to_owned(), command: vec!["lab".to_owned()], ..Image::default() };
        engine.add_image("lab:1", image);
        let profile = format!("name = \"lab\"\nimage = \"lab:1\"\n{profile}");
        let profile: config::Profile = toml::from_str(&profile).unwrap();
        let metrics = Metrics::new();
        let workspaces = workspaces(&engine, &profile, &metrics, Clock::system()).await;
        Self { engine, profile: Arc::new(profile), workspaces, metrics, upstreams: Mutex::default() }
    }

    fn give(&self, user: &str, token: Option<&str>) {
        self.workspaces.give_token(&name(user), token.map(Secret::new).as_ref());
    }

    async fn start(&self, user: &str) {
        let address = SocketAddr::new(self.engine.address_for(user).into(), 8888);
        let upstream = Upstream::bind(address).await.unwrap();
        self.upstreams.lock().unwrap().push(upstream);
        let profiles = ["lab".into()].into();
        let user = User {
            name: name(user),
            admin: false,
            profiles,
            routes: [].into(),
            groups: [].into(),
            claims: Claims::default(),
            memory: None,
            cpu: None,
        };
        self.workspaces.start(&self.workspaces.id(&user.name), &user, &self.profile, Chosen::default());
    }

    async fn ready(&self, user: &str) {
        eventually("the workspace is ready", async || self.is_ready(user)).await;
    }

    fn is_ready(&self, user: &str) -> bool {
        let state = self.workspaces.state(&self.workspaces.id(&name(user)));
        assert!(!matches!(state, Some(State::Failing(_))), "{state:?}");
        matches!(state, Some(State::Ready(_)))
    }

    fn file(&self, user: &str) -> Option<File> {
        self.engine.container(&format!("hubgate-{user}"))?.files.get(FILE).cloned()
    }

    async fn until_file_is(&self, user: &str, content: &str) {
        eventually("the file has the token", async || self.file(user) == Some(file(content))).await;
    }

    fn counts(&self, call: &str, result: &str, count: u32) -> bool {
        let line = format!("spawner_calls_total{{call=\"{call}\",result=\"{result}\"}} {count}\n");
        self.metrics.encode().unwrap().contains(&line)
    }
}

/// With one profile, and nobody's yet.
pub(crate) async fn workspaces(
    engine: &Engine,
    profile: &config::Profile,
    metrics: &Metrics,
    clock: Clock,
) -> Workspaces {
    let docker = config::Docker { socket: engine.socket().to_owned(), ..config::Docker::default() };
    let spawner = config::Spawner { docker, ..config::Spawner::default() };
    let (tasks, forward) = (Tasks::default(), config::Forward::default());
    let strangers = Deadlines { response: Duration::from_mins(1), body: Duration::from_mins(1) };
    Workspaces::new(Parts {
        profiles: vec![profile.clone()],
        place: Place {
            user_origins: None,
            public_url: "https://hub.example".to_owned(),
            hub_api: Some("http://172.17.0.1:8081/hub/api".to_owned()),
            routes: vec![],
            escape: Escape::Current,
            images: true,
        },
        prepull: false,
        spawner: spawner::open(&spawner, None, metrics.clone()),
        forwarder: Forwarder::new(&forward, strangers, 1, tasks.clone(), metrics.clone()),
        sealer: Arc::new(Sealer::new(&[7; 32])),
        public: "https://hub.example".parse().unwrap(),
        named: NamedServers::new(Store::in_memory().await.unwrap(), 0),
        uses: Uses::new(Store::in_memory().await.unwrap()),
        clock,
        metrics: metrics.clone(),
        tasks,
    })
}

fn name(user: &str) -> UserName {
    UserName::parse(user).unwrap()
}

/// As whoever the image runs as may read it.
fn file(content: &str) -> File {
    File { owner: (1000, 100), mode: 0o400, content: Some(content.to_owned()) }
}

#[tokio::test]
async fn a_workspace_has_its_owners_newest_access_token_from_the_first_instruction() {
    let lab = Lab::new(ASKS).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let looking = Arc::clone(&seen);
    lab.engine.on_start(move |container| looking.lock().unwrap().push(container.files.get(FILE).cloned()));
    lab.give("alice", Some("token-of-one-session"));
    lab.give("alice", Some("token-of-a-newer-session"));
    lab.give("bob", Some("token-of-bob"));
    lab.start("alice").await;
    lab.ready("alice").await;
    assert_eq!(*seen.lock().unwrap(), [Some(file("token-of-a-newer-session"))]);
    let container = lab.engine.container("hubgate-alice").unwrap();
    assert_eq!(container.environment["HUBGATE_ACCESS_TOKEN_FILE"], FILE);
    let folder = File { owner: (1000, 100), mode: 0o700, content: None };
    assert_eq!(container.files.get("/run/hubgate"), Some(&folder));
    assert_eq!(container.files.len(), 2, "a folder of the image was given another owner");
    assert!(!container.body.to_string().contains("token-of"), "{}", container.body);
    assert_eq!(lab.engine.count("POST", "/exec"), 0, "nothing was left to write");
}

#[tokio::test]
async fn whoever_is_signed_in_nowhere_has_an_empty_file() {
    let lab = Lab::new(ASKS).await;
    lab.start("alice").await;
    lab.ready("alice").await;
    assert_eq!(lab.file("alice"), Some(file("")));
    lab.give("alice", Some("token"));
    lab.until_file_is("alice", "token").await;
    lab.give("alice", None);
    lab.until_file_is("alice", "").await;
}

#[tokio::test]
async fn a_file_can_have_another_owner_than_the_image() {
    let lab = Lab::new(&format!("{ASKS}\naccess_token_owner = \"4711:5\"")).await;
    lab.start("alice").await;
    lab.ready("alice").await;
    assert_eq!(lab.file("alice").unwrap().owner, (4711, 5));
    lab.give("alice", Some("token"));
    let theirs = File { owner: (4711, 5), ..file("token") };
    eventually("it is written as the owner", async || lab.file("alice").as_ref() == Some(&theirs)).await;
}

#[tokio::test]
async fn a_token_that_came_while_the_container_was_made_is_not_lost() {
    for (first, second) in [(Some("first"), Some("second")), (Some("first"), None), (None, Some("second"))] {
        let lab = Lab::new(ASKS).await;
        lab.give("alice", first);
        lab.engine.hold("/start");
        lab.start("alice").await;
        eventually("the container is about to start", async || lab.engine.count("POST", "/start") == 1).await;
        assert_eq!(lab.file("alice"), Some(file(first.unwrap_or_default())));
        lab.give("alice", second);
        eventually("it finds nothing that runs", async || lab.counts("put", "ok", 1)).await;
        lab.engine.release("/start");
        lab.until_file_is("alice", second.unwrap_or_default()).await;
    }
}

#[tokio::test]
async fn the_last_of_many_tokens_is_written_and_not_all_of_them() {
    let lab = Lab::new(ASKS).await;
    lab.start("alice").await;
    lab.ready("alice").await;
    lab.engine.hold("/exec");
    for number in 0..100 {
        lab.give("alice", Some(&format!("token-{number}")));
    }
    lab.engine.release("/exec");
    lab.until_file_is("alice", "token-99").await;
    assert!(lab.engine.count("POST", "/containers/") < 10, "{:?}", lab.engine.requests());
}

#[tokio::test]
async fn few_files_are_written_at_once() {
    let lab = Lab::new(ASKS).await;
    let users: Vec<String> = (0..12).map(|number| format!("user-{number}")).collect();
    for user in &users {
        lab.start(user).await;
    }
    for user in &users {
        lab.ready(user).await;
    }
    lab.engine.hold("/exec");
    for user in &users {
        lab.give(user, Some("token"));
    }
    eventually("some begin", async || lab.engine.count("POST", "/exec") == 8).await;
    lab.engine.release("/exec");
    for user in &users {
        eventually("everybody has theirs", async || {
            let containers = lab.engine.containers();
            let files = containers.iter().filter_map(|container| container.files.get(FILE));
            files.filter(|found| **found == file("token")).count() == users.len()
        })
        .await;
        assert!(lab.is_ready(user));
    }
}

#[tokio::test]
async fn a_profile_that_does_not_ask_gets_no_access_token() {
    let lab = Lab::new("").await;
    lab.give("alice", Some("token"));
    lab.start("alice").await;
    lab.ready("alice").await;
    lab.give("alice", Some("another"));
    let container = lab.engine.container("hubgate-alice").unwrap();
    assert!(container.files.is_empty() && !container.environment.contains_key("HUBGATE_ACCESS_TOKEN_FILE"));
    assert_eq!(lab.engine.count("PUT", "/archive") + lab.engine.count("POST", "/exec"), 0);
}

#[tokio::test]
async fn a_hub_that_was_restarted_writes_into_the_workspaces_it_finds() {
    let lab = Lab::new(ASKS).await;
    lab.give("alice", Some("old"));
    lab.start("alice").await;
    lab.ready("alice").await;
    let restarted = workspaces(&lab.engine, &lab.profile, &Metrics::new(), Clock::system()).await;
    // Before it has found any: sessions are back first.
    restarted.give_token(&name("alice"), Some(&Secret::new("renewed")));
    restarted.reconcile().await.unwrap();
    lab.until_file_is("alice", "renewed").await;
    restarted.give_token(&name("alice"), Some(&Secret::new("renewed-again")));
    lab.until_file_is("alice", "renewed-again").await;
}

#[tokio::test]
async fn a_token_that_the_runtime_missed_is_written_when_it_is_back() {
    let lab = Lab::new(ASKS).await;
    lab.start("alice").await;
    lab.ready("alice").await;
    lab.engine.stop();
    lab.give("alice", Some("token"));
    eventually("it is not there", async || lab.counts("put", "unreachable", 1)).await;
    assert_eq!(lab.file("alice"), Some(file("")));
    lab.engine.restart();
    eventually("it is back", async || lab.workspaces.reconcile().await.is_ok()).await;
    lab.until_file_is("alice", "token").await;
}

#[tokio::test]
async fn a_file_that_cannot_be_written_harms_nothing_else() {
    let lab = Lab::new(ASKS).await;
    lab.start("alice").await;
    lab.ready("alice").await;
    lab.engine.fail_next_command(82);
    lab.give("alice", Some("token"));
    eventually("it is counted", async || lab.counts("put", "file", 1)).await;
    assert_eq!(lab.file("alice"), Some(file("")), "the old one stays");
    assert!(lab.is_ready("alice"));
    lab.give("alice", Some("another"));
    lab.until_file_is("alice", "another").await;
}

#[tokio::test]
async fn signing_in_and_out_brings_the_access_token_and_takes_it_away() {
    let hub =
        Hub::with(BINARY, &format!("{EVERYONE}{PROFILE}{ASKS}\naccess_token_owner = \"1000:100\"\n")).await;
    hub.run_workspace("alice").await;
    let content = || {
        let container = hub.engine().container("hubgate-alice").unwrap();
        container.files.get(FILE).cloned().unwrap().content.unwrap()
    };
    let first = content();
    assert!(!first.is_empty(), "{}", hub.process().log());
    let mut browser = hub.signed_in("alice").await;
    eventually("the token of the newer session", async || content() != first && !content().is_empty()).await;
    let second = content();
    assert!(!hub.process().log().contains(&second) && !hub.process().log().contains(&first));
    let container = hub.engine().container("hubgate-alice").unwrap();
    assert!(!container.body.to_string().contains(&first), "{}", container.body);
    let form_token = browser.open("/hub/logout").await.field("form_token").unwrap();
    browser.submit("/hub/logout", &[("form_token", &form_token)]).await;
    // Another session of theirs goes on.
    assert!(!content().is_empty());
}
