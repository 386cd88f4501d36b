//! Images with JupyterHub's single-user server, of each version that people run, by both ways to know who opens them.
//! A client without a browser's help goes through what a browser does, hop by hop.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use support::client::Answer;
use support::eventually::eventually;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use url::Url;

use crate::hub::{self, GATEWAY};
use crate::parts::part;
use crate::visitor::{Visitor, fetch, notebook, run, until_said};

const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");

/// A version, and how its images are set up.
struct Version {
    /// The setting that has its image.
    image: &'static str,
    /// The page where users land, and what only that page has in it.
    page: (&'static str, &'static str),
    /// What such an image needs in its environment.
    environment: &'static str,
    /// Keeps its hub apart from others.
    port: u16,
}

/// How the container learns who opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It sends the browser to hubgate, as it would to a JupyterHub.
    OAuth,
    /// hubgate says so in each request.
    Header,
}

const LAB: (&str, &str) = ("/lab", "jupyter-config-data");
const CLASSIC: (&str, &str) = ("/tree", "notebook_list");
const CLASSIC_APP: &str = "JUPYTERHUB_SINGLEUSER_APP = \"notebook.notebookapp.NotebookApp\", ";

#[tokio::test]
async fn version_2_3_with_classic_notebook_6() {
    serves(Version {
        image: "HUBGATE_TEST_SINGLEUSER_2_3_IMAGE",
        page: CLASSIC,
        environment: CLASSIC_APP,
        port: 18123,
    })
    .await;
}

#[tokio::test]
async fn version_3_1_with_jupyterlab_3() {
    serves(Version { image: "HUBGATE_TEST_SINGLEUSER_3_1_IMAGE", page: LAB, environment: "", port: 18131 })
        .await;
}

#[tokio::test]
async fn version_4_1_with_jupyterlab_4_1() {
    serves(Version { image: "HUBGATE_TEST_SINGLEUSER_4_1_IMAGE", page: LAB, environment: "", port: 18141 })
        .await;
}

#[tokio::test]
async fn version_5_5_with_jupyterlab_4_5() {
    serves(Version { image: "HUBGATE_TEST_SINGLEUSER_IMAGE", page: LAB, environment: "", port: 18155 }).await;
}

#[tokio::test]
async fn version_6_1_with_jupyterlab_4_6() {
    serves(Version { image: "HUBGATE_TEST_SINGLEUSER_6_1_IMAGE", page: LAB, environment: "", port: 18161 })
        .await;
}

/// Its first program is batchspawner's, which chooses a port, tells it, and becomes the server.
#[tokio::test]
async fn an_image_that_chooses_its_port_itself_is_found_there() {
    let port = 18142;
    let image = part("HUBGATE_TEST_SINGLEUSER_4_1_IMAGE");
    let profile = format!(
        "[[profile]]\nname = \"batch\"\nimage = \"{image}\"\ndefault_url = \"/lab\"\nmemory = \"1GiB\"\ncpu = \"1 cpu\"\n\
         command = [\"batchspawner-singleuser\", \"jupyterhub-singleuser\"]\n"
    );
    let hub = hub::start(BINARY, &profile, port).await;
    let mut alice = Visitor::sign_in(&hub, "alice").await;
    let (_, answer) = alice.lands("/user/alice/lab").await;
    assert!(answer.status == 200 && answer.text().contains(LAB.1), "{}", answer.text());
    let container = format!("hubgate-real-{port}-alice");
    let asks = "import os, urllib.request as r; r.urlopen('http://127.0.0.1:8888' + os.environ['JUPYTERHUB_SERVICE_PREFIX'] + 'api')";
    let (there, said) = hub::docker(&["exec", &container, "/opt/jupyter/bin/python", "-c", asks]).await;
    assert!(!there && said.contains("Connection refused"), "nothing is where the hub said: {said}");
    alice.computes("6*7", "\"text/plain\": \"42\"").await;
    hub::clear(port).await;
}

async fn serves(version: Version) {
    let port = version.port;
    let hub = hub::start_with(BINARY, &profiles(&version), port).await;
    for (user, way) in [("alice", Way::OAuth), ("bob", Way::Header)] {
        Day { version: &version, way, at: Visitor::sign_in(&hub, user).await }.pass().await;
    }
    hub::clear(port).await;
}

/// One profile for each way, and one person for each profile.
fn profiles(version: &Version) -> String {
    let of = |name: &str, keys: &str| {
        format!(
            "[[profile]]\nname = \"{name}\"\nimage = \"{image}\"\nmode = \"hub\"\n{keys}default_url = \"{page}\"\n\
             memory = \"1GiB\"\ncpu = \"1 cpu\"\n\
             environment = {{ {environment}JUPYTERHUB_ACTIVITY_INTERVAL = \"1\" }}\n\
             [[profile.volume]]\nsource = \"hubgate-real-{port}-{{username}}\"\ntarget = \"/home/jovyan\"\nowner = \"1000:100\"\n",
            image = part(version.image),
            page = version.page.0,
            environment = version.environment,
            port = version.port,
        )
    };
    let rules = "[[rule]]\nusers = [\"alice\"]\nprofiles = [\"oauth\"]\n\
                 [[rule]]\nusers = [\"bob\"]\nprofiles = [\"header\"]\n";
    [rules, &of("oauth", ""), &of("header", "hub_login = \"header\"\n")].concat()
}

/// One person's day with their server.
struct Day<'a> {
    version: &'a Version,
    way: Way,
    at: Visitor<'a>,
}

impl Day<'_> {
    async fn pass(mut self) {
        self.lands().await;
        self.saves_a_notebook().await;
        self.uses_a_terminal().await;
        self.runs_a_kernel().await;
        self.is_heard_of().await;
        self.knows_its_own_from_others().await;
        self.restarts_from_the_menu().await;
        self.signs_out().await;
    }

    fn page(&self) -> String {
        format!("{}{}", self.at.base, self.version.page.0)
    }

    async fn lands(&mut self) {
        let page = self.page();
        let (hops, answer) = self.at.lands(&page).await;
        let callback = format!("{}/oauth_callback", self.at.base);
        let expected = match self.way {
            Way::OAuth => vec!["/hub/api/oauth2/authorize".to_owned(), callback, self.page()],
            Way::Header => vec![],
        };
        assert_eq!(hops, expected, "{}", answer.text());
        self.is_the_page(&answer);
    }

    fn is_the_page(&self, answer: &Answer) {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains(self.version.page.1), "{}", answer.text());
    }

    async fn saves_a_notebook(&mut self) {
        let path = self.at.api("contents/saved.ipynb");
        let notebook = notebook("kept");
        match self.way {
            Way::OAuth => {
                let answer = fetch(&mut self.at.browser, "PUT", &path, "", &notebook).await;
                assert_eq!(answer.status, 403, "without the page's proof: {}", answer.text());
            }
            // The image would take anything: it is hubgate that looks where it comes from.
            Way::Header => self.at.browser.forget_cookie("_xsrf"),
        }
        let answer = self.at.fetch("PUT", &path, &notebook).await;
        assert_eq!(answer.status, 201, "{}", answer.text());

        // A laptop that goes to another network: the proof that the page holds must stay good.
        let xsrf = self.at.browser.cookie("_xsrf").unwrap_or_default().to_owned();
        for last in [2, 3] {
            let mut elsewhere = self.at.browser.moved_to(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
            let answer = fetch(&mut elsewhere, "PUT", &path, &xsrf, &notebook).await;
            assert_eq!(answer.status, 200, "from 127.0.0.{last}: {}", answer.text());
        }
        assert_eq!(self.at.reads("saved.ipynb").await, "kept");
    }

    async fn uses_a_terminal(&mut self) {
        let terminals = self.at.api("terminals");
        let made = self.at.fetch("POST", &terminals, &Value::Null).await;
        assert_eq!(made.status, 200, "{}", made.text());
        let made: Value = serde_json::from_slice(&made.body).unwrap();
        let path = format!("{}/terminals/websocket/{}", self.at.base, made["name"].as_str().unwrap());
        let mut socket = self.at.socket(&path, &self.at.hub.origin()).await.unwrap();
        socket.send(Message::text(json!(["stdin", "echo $((6*7))-echo\r"]).to_string())).await.unwrap();
        until_said(&mut socket, "42-echo").await;
    }

    async fn runs_a_kernel(&mut self) {
        let path = self.at.kernel().await;
        assert_eq!(
            self.at.socket(&path, "https://evil.example").await.err(),
            Some(403),
            "a page of another site"
        );
        let mut socket = self.at.socket(&path, &self.at.hub.origin()).await.unwrap();
        run(&mut socket, "6*7", "\"text/plain\": \"42\"").await;
    }

    async fn is_heard_of(&self) {
        let line = format!("activity reported user={}", self.at.user());
        eventually("the container's report", || async { self.at.hub.log().contains(&line) }).await;
    }

    /// The container asks the hub about every token, and takes none that the hub does not know.
    async fn knows_its_own_from_others(&mut self) {
        let api = Url::parse(&format!("http://{GATEWAY}:{}/hub/api/user", self.version.port)).unwrap();
        let (status, answer) = plain_get(&api, "token nobody's").await;
        assert_eq!((status, &answer["status"]), (403, &json!(403)));
        let (target, headers) = (self.at.api("contents"), [("Authorization", "token nobody's")]);
        let answer = self.at.browser.fresh().send("GET", &target, &headers, b"").await;
        assert_eq!(answer.status, 401, "hubgate itself lets nobody through: {}", answer.text());
        // With nothing of the container's own.
        let mut bare = self.at.browser.fresh();
        for name in ["__Host-hubgate", "jupyterhub-session-id"] {
            bare.set_cookie(name, self.at.browser.cookie(name).unwrap());
        }
        let answer = bare.send("GET", &target, &headers, b"").await;
        match self.way {
            Way::OAuth => assert_eq!(answer.status, 403, "{}", answer.text()),
            Way::Header => assert_eq!(answer.status, 200, "not what the page says counts: {}", answer.text()),
        }
        if self.way == Way::Header {
            let evil = [("Origin", "https://evil.example"), ("Content-Type", "text/plain")];
            let answer = self.at.browser.send("POST", &target, &evil, b"{}").await;
            assert_eq!(answer.status, 403, "another site's: {}", answer.text());
        }
    }

    /// What "Hub Control Panel" and "Restart Server" open.
    async fn restarts_from_the_menu(&mut self) {
        self.at.stops().await;
        // One's own link starts what there is, and says so twice in the same way.
        for spawn in [format!("/hub/spawn/{}/", self.at.user()), "/hub/spawn".to_owned()] {
            let answer = self.at.browser.open(&spawn).await;
            assert_eq!(answer.status, 303, "{spawn}: {}", answer.text());
        }
        // Its cookies are another instance's now: whoever comes is known again without being asked.
        self.lands().await;
        let logo = self.at.browser.open("/hub/logo").await;
        assert_eq!(logo.status, 200);
        assert!(logo.header("content-type").is_some_and(|kind| kind.starts_with("image/")));
    }

    async fn signs_out(&mut self) {
        let before = self.at.browser.clone();
        let logout = format!("{}/logout", self.at.base);
        let answer = self.at.browser.open(&logout).await;
        let location =
            self.at.local(answer.header("location").unwrap_or_else(|| panic!("{}", answer.text())));
        assert_eq!(location, "/hub/logout");
        let page = self.at.browser.open(&location).await;
        let token = page.field("form_token").unwrap();
        let answer = self.at.browser.submit("/hub/logout", &[("form_token", &token)]).await;
        assert_eq!(answer.status, 303);
        let contents = self.at.api("contents");
        let mut before = before;
        let answer = before.fetch("GET", &contents, b"").await;
        assert_eq!(answer.status, 401, "with all cookies that there were: {}", answer.text());
    }
}

/// A container's request, from this machine's side of its network.
async fn plain_get(url: &Url, authorization: &str) -> (u16, Value) {
    use tokio::io::AsyncWriteExt as _;
    let address = url.socket_addrs(|| None).unwrap()[0];
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: {authorization}\r\n\r\n",
        url.path()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = support::client::read_answer(&mut stream, false).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}
