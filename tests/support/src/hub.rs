//! The built program with everything around it that a test can script: a provider, a container engine, and a
//! recording upstream for each workspace.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use url::Url;

use crate::client::{Answer, Client};
use crate::docker::{Container, Engine, Image};
use crate::eventually::{eventually, found};
use crate::process::Process;
use crate::provider::Provider;
use crate::upstream::{Exchange, Recorded, Upstream};

/// A hub.
#[derive(Debug)]
pub struct Hub {
    process: Process,
    provider: Provider,
    engine: Engine,
    workspaces: Mutex<BTreeMap<String, Workspace>>,
}

/// A recording upstream, and what it answers instead of echoing.
#[derive(Debug)]
struct Workspace {
    upstream: Arc<Upstream>,
    answer: Arc<Mutex<Option<Bytes>>>,
}

/// The profile that [`Hub::start`] offers: an image of an ordinary Jupyter server.
pub const PROFILE: &str = "[[profile]]\nname = \"lab\"\ntitle = \"JupyterLab\"\nimage = \"lab:1\"\n";

/// Whoever the provider signs in may enter.
pub const EVERYONE: &str = "[[rule]]\neveryone = true\n";

/// In a hub's sections: the provider is described by its three URLs, as pyiron's hub does, not by its issuer.
pub const THREE_URLS: &str = "# three URLs\n";

/// What follows it in a hub's sections is of its own provider, which has another beside it.
const FIRST_OF_TWO: &str = "# first of two\n";

/// In a hub's sections: what follows it is of its provider.
pub const ITS_PROVIDER: &str = "# its provider\n";

/// In a hub's sections: it takes over what a JupyterHub started, and looks for it all the time.
pub const ADOPTS: &str = "# adopts\n";

/// In a hub's sections, before a key of `[spawner.docker]`, a line of its own.
pub const DOCKER: &str = "# docker: ";

impl Hub {
    /// With one profile, open to everybody.
    pub async fn start(binary: &str) -> Self {
        Self::with(binary, &format!("{EVERYONE}{PROFILE}")).await
    }

    /// With these rules, profiles and other sections.
    pub async fn with(binary: &str, sections: &str) -> Self {
        let hub = Self::not_ready(binary, sections).await;
        hub.process.until_ready().await;
        hub
    }

    /// With two providers: what is in `first` and `second` is added to their sections.
    pub async fn of_two(binary: &str, first: &str, second: &str) -> (Self, Provider) {
        let other = Provider::start().await;
        let beside = format!(
            "{EVERYONE}{PROFILE}[[provider]]\nissuer = \"{}\"\nclient_id = \"{}\"\n\
             client_secret = {{ file = \"{{folder}}/secret\" }}\n{second}\n{}{first}\n",
            other.issuer(),
            Provider::CLIENT_ID,
            FIRST_OF_TWO,
        );
        let hub = Self::with(binary, &beside).await;
        (hub, other)
    }

    /// The same, but does not wait until it is ready.
    pub async fn not_ready(binary: &str, sections: &str) -> Self {
        let provider = Provider::start().await;
        let engine = Engine::start();
        for name in ["lab:1", "other:1"] {
            engine.add_image(name, jupyter(&["tini", "--"], &["jupyter", "lab"]));
        }
        engine.add_image("hub:1", jupyter(&["tini", "--"], &["jupyterhub-singleuser"]));
        // A test of another description of the provider brings its own.
        let issuer = format!("issuer = \"{}\"\n", provider.issuer());
        let urls = ["auth", "token", "userinfo"].map(|name| provider.endpoint(name).to_string());
        let described = if sections.contains(THREE_URLS) {
            format!(
                "authorize_url = \"{}\"\ntoken_url = \"{}\"\nuserdata_url = \"{}\"\n",
                urls[0], urls[1], urls[2]
            )
        } else {
            issuer
        };
        let (sections, section) = match (sections.split_once(FIRST_OF_TWO), sections.split_once(ITS_PROVIDER))
        {
            (Some((sections, keys)), _) => (sections, format!("[[provider]]\n{keys}")),
            (None, Some((sections, keys))) => (sections, format!("[provider]\n{keys}")),
            (None, None) => (sections, "[provider]\n".to_owned()),
        };
        let proof = if section.contains("client_key") {
            ""
        } else {
            "client_secret = { file = \"{folder}/secret\" }\n"
        };
        let adopts = if sections.contains(ADOPTS) {
            "prefix = \"jupyter\"\nadopt_jupyterhub = true\nreconcile_interval = \"100ms\"\n"
        } else {
            ""
        };
        let docker = sections.lines().filter_map(|line| line.strip_prefix(DOCKER));
        let docker = docker.collect::<Vec<_>>().join("\n");
        let all = format!(
            "{sections}\n{section}{described}client_id = \"{}\"\n{proof}\
             [spawner.docker]\nsocket = \"{}\"\n{adopts}{docker}\n",
            Provider::CLIENT_ID,
            engine.socket().display(),
        );
        let process = Process::start(binary, &all, Provider::CLIENT_SECRET).await;
        if !section.starts_with("[[") {
            provider.register(&format!("{}/hub/oauth_callback", process.origin()));
        }
        provider.register_after_logout(&format!("{}/hub/logout", process.origin()));
        Self { process, provider, engine, workspaces: Mutex::default() }
    }

    /// The program.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The program, to be killed and started again.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The provider.
    pub fn provider(&self) -> &Provider {
        &self.provider
    }

    /// The container engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its origin.
    pub fn origin(&self) -> String {
        self.process.origin()
    }

    /// Its host and port.
    pub fn host(&self) -> String {
        self.process.host()
    }

    /// A browser that has never been here.
    pub fn client(&self) -> Client {
        self.process.client()
    }

    /// A browser in which `user` has signed in.
    pub async fn signed_in(&self, user: &str) -> Client {
        let mut client = self.client();
        let answer = self.sign_in_at(&mut client, user, "/hub/login").await;
        assert_eq!(answer.status, 303, "{user}: {}", answer.text());
        client
    }

    /// A browser in which `user` has signed in, of whom the provider says `claims`.
    pub async fn signed_in_with(&self, user: &str, claims: Value) -> Client {
        let mut client = self.client();
        let location = client.open("/hub/login").await.header("location").expect("a login").to_owned();
        self.provider.user(user, claims);
        let back = self.provider.visit(&Url::parse(&location).unwrap()).await.unwrap();
        let answer = client.open(&path_and_query(back.as_str())).await;
        assert_eq!(answer.status, 303, "{user}: {}", answer.text());
        client
    }

    /// Opens `start`, signs in as `user` where it leads, and answers what the hub says in the end.
    pub async fn sign_in_at(&self, client: &mut Client, user: &str, start: &str) -> Answer {
        let mut answer = client.open(start).await;
        while answer.header("location").is_some_and(|location| location.starts_with("/hub/login")) {
            let location = answer.header("location").unwrap().to_owned();
            answer = client.open(&location).await;
        }
        let location = answer.header("location").unwrap_or_else(|| panic!("no login: {}", answer.text()));
        let back = self.answer_of_provider(location, user).await;
        client.open(&back).await
    }

    /// What the provider sends the browser back with, for this authorization URL: path and query.
    pub async fn answer_of_provider(&self, location: &str, user: &str) -> String {
        self.provider.user(user, json!({}));
        let back = self.provider.visit(&Url::parse(location).unwrap()).await.unwrap();
        path_and_query(back.as_str())
    }

    /// Starts `user`'s workspace, as they would by opening it.
    pub async fn run_workspace(&self, user: &str) {
        self.answer_at(user, "").await;
        let mut client = self.signed_in(user).await;
        self.until_open(&mut client, &format!("/user/{}/started", segment(user))).await;
    }

    /// Something answers where the container of `user`'s server will be: the upstream is called `user`, or
    /// `user/server`.
    pub async fn answer_at(&self, user: &str, server: &str) {
        let address = SocketAddr::new(self.engine.address_for_server(user, server).into(), 8888);
        let answer: Arc<Mutex<Option<Bytes>>> = Arc::default();
        let scripted = Arc::clone(&answer);
        let upstream = Upstream::bind_with(address, move |mut exchange: Exchange| {
            let scripted = scripted.lock().unwrap().clone();
            async move {
                let Some(bytes) = scripted else { return exchange.echo().await };
                exchange.read_body().await?;
                exchange.write(&bytes).await?;
                Ok(exchange)
            }
        });
        let upstream = Arc::new(upstream.await.unwrap());
        let name = if server.is_empty() { user.to_owned() } else { format!("{user}/{server}") };
        self.workspaces.lock().unwrap().insert(name, Workspace { upstream, answer });
    }

    /// Opens `path` of a workspace, which starts it, until it answers.
    pub async fn until_open(&self, client: &mut Client, path: &str) {
        let answer = found(&format!("{path} to start"), Duration::ZERO, async || {
            Some(client.open(path).await).filter(|answer| answer.status != 503)
        })
        .await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }

    /// What `user`'s workspace answers from now on.
    pub fn answer_with(&self, user: &str, bytes: &str) {
        let workspaces = self.workspaces.lock().unwrap();
        *workspaces[user].answer.lock().unwrap() = Some(Bytes::from(bytes.to_owned()));
    }

    /// Ends what `user`'s workspace listens with, of which the engine knows nothing.
    pub fn close_workspace(&self, user: &str) {
        self.workspaces.lock().unwrap().remove(user);
    }

    /// The upstream of `user`'s workspace.
    pub fn upstream(&self, user: &str) -> Arc<Upstream> {
        Arc::clone(&self.workspaces.lock().unwrap()[user].upstream)
    }

    /// The last request that reached `user`'s workspace.
    pub fn last_request(&self, user: &str) -> Recorded {
        self.upstream(user).requests().pop().expect("a request")
    }

    /// How many requests reached `user`'s workspace.
    pub fn requests(&self, user: &str) -> usize {
        self.upstream(user).requests().len()
    }

    /// How many connections and requests reached all workspaces.
    pub fn traffic(&self) -> (usize, usize) {
        let workspaces = self.workspaces.lock().unwrap();
        let upstreams = || workspaces.values().map(|workspace| &workspace.upstream);
        (upstreams().map(|up| up.connections()).sum(), upstreams().map(|up| up.requests().len()).sum())
    }

    /// The container of `user`'s workspace.
    pub fn container_of(&self, user: &str) -> Container {
        let is_theirs =
            |container: &Container| container.labels.get("io.hubgate.user").map(String::as_str) == Some(user);
        self.engine.containers().into_iter().rfind(is_theirs).expect("a container")
    }

    /// One variable of a workspace's environment.
    pub fn environment_of(&self, user: &str, name: &str) -> Option<String> {
        self.container_of(user).environment.get(name).cloned()
    }

    /// Waits until the engine has so many containers that run.
    pub async fn until_running(&self, count: usize) {
        use crate::docker::State;
        eventually(&format!("{count} running containers"), || async {
            self.engine
                .containers()
                .iter()
                .filter(|container| matches!(container.state, State::Running))
                .count()
                == count
        })
        .await;
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.process.folder()
    }
}

/// A user's name in a path.
pub fn segment(user: &str) -> String {
    url::form_urlencoded::byte_serialize(user.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
        .replace("%40", "@")
}

/// A URL without its origin.
pub fn path_and_query(url: &str) -> String {
    let url = Url::parse(url).unwrap();
    url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
}

fn jupyter(entrypoint: &[&str], command: &[&str]) -> Image {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    Image { entrypoint: words(entrypoint), command: words(command), ..Image::default() }
}
