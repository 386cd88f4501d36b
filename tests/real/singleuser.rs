//! Images with JupyterHub's single-user server, of each version that people run, by both ways to know who opens them.
//! A client without a browser's help goes through what a browser does, hop by hop.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use support::client::{Answer, Client, PATIENCE};
use support::eventually::eventually;
use support::process::Process;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use url::Url;

use crate::hub::{self, GATEWAY};
use crate::keycloak::Keycloak;
use crate::parts::part;
use crate::person::Person;

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

async fn serves(version: Version) {
    let port = version.port;
    let hub = hub::start_with(BINARY, &profiles(&version), port).await;
    let keycloak = Keycloak::connect().await;
    for (user, way) in [("alice", Way::OAuth), ("bob", Way::Header)] {
        let person = Person::sign_in(&hub, &keycloak, user).await;
        Day { hub: &hub, version: &version, way, base: format!("/user/{user}"), browser: person.hub }
            .pass()
            .await;
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
    hub: &'a Process,
    version: &'a Version,
    way: Way,
    base: String,
    browser: Client,
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

    fn user(&self) -> &str {
        self.base.rsplit('/').next().unwrap()
    }

    fn page(&self) -> String {
        format!("{}{}", self.base, self.version.page.0)
    }

    fn api(&self, path: &str) -> String {
        format!("{}/api/{path}", self.base)
    }

    /// Opens the page until the server has started.
    async fn opens_when_ready(&mut self) -> Answer {
        let page = self.page();
        for _ in 0..1200 {
            let answer = self.browser.open(&page).await;
            if answer.status != 503 {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        panic!("{page} does not start: {}", self.hub.log());
    }

    async fn lands(&mut self) {
        let mut answer = self.opens_when_ready().await;
        let mut hops = Vec::new();
        while (300..400).contains(&answer.status) && hops.len() < 10 {
            let location = self.local(answer.header("location").unwrap());
            hops.push(location.split('?').next().unwrap().to_owned());
            answer = self.browser.open(&location).await;
        }
        let callback = format!("{}/oauth_callback", self.base);
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

    /// Path and query of a redirect.
    fn local(&self, location: &str) -> String {
        let url = Url::parse(&self.hub.origin()).unwrap().join(location).unwrap();
        assert_eq!(url.origin().ascii_serialization(), self.hub.origin(), "{location}");
        url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
    }

    /// A script's request with what the page adds: where the hub's word does, it needs none.
    async fn fetch(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let xsrf = self.browser.cookie("_xsrf").unwrap_or_default().to_owned();
        fetch(&mut self.browser, method, path, &xsrf, body).await
    }

    async fn saves_a_notebook(&mut self) {
        let path = self.api("contents/saved.ipynb");
        let notebook = json!({
            "type": "notebook", "format": "json",
            "content": {
                "nbformat": 4, "nbformat_minor": 4, "metadata": {},
                "cells": [{"cell_type": "markdown", "metadata": {}, "source": "kept"}],
            },
        });
        match self.way {
            Way::OAuth => {
                let answer = fetch(&mut self.browser, "PUT", &path, "", &notebook).await;
                assert_eq!(answer.status, 403, "without the page's proof: {}", answer.text());
            }
            // The image would take anything: it is hubgate that looks where it comes from.
            Way::Header => self.browser.forget_cookie("_xsrf"),
        }
        let answer = self.fetch("PUT", &path, &notebook).await;
        assert_eq!(answer.status, 201, "{}", answer.text());

        // A laptop that goes to another network: the proof that the page holds must stay good.
        let xsrf = self.browser.cookie("_xsrf").unwrap_or_default().to_owned();
        for last in [2, 3] {
            let mut elsewhere = self.browser.moved_to(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
            let answer = fetch(&mut elsewhere, "PUT", &path, &xsrf, &notebook).await;
            assert_eq!(answer.status, 200, "from 127.0.0.{last}: {}", answer.text());
        }
        let answer = self.fetch("GET", &path, &Value::Null).await;
        let read: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(read["content"]["cells"][0]["source"], "kept", "{}", answer.text());
    }

    async fn uses_a_terminal(&mut self) {
        let terminals = self.api("terminals");
        let made = self.fetch("POST", &terminals, &Value::Null).await;
        assert_eq!(made.status, 200, "{}", made.text());
        let made: Value = serde_json::from_slice(&made.body).unwrap();
        let path = format!("{}/terminals/websocket/{}", self.base, made["name"].as_str().unwrap());
        let mut socket = self.socket(&path, &self.hub.origin()).await.unwrap();
        socket.send(Message::text(json!(["stdin", "echo $((6*7))-echo\r"]).to_string())).await.unwrap();
        until_said(&mut socket, "42-echo").await;
    }

    async fn runs_a_kernel(&mut self) {
        let kernels = self.api("kernels");
        let made = self.fetch("POST", &kernels, &json!({"name": "python3"})).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let made: Value = serde_json::from_slice(&made.body).unwrap();
        let path = self.api(&format!("kernels/{}/channels?session_id=s1", made["id"].as_str().unwrap()));
        assert_eq!(
            self.socket(&path, "https://evil.example").await.err(),
            Some(403),
            "a page of another site"
        );
        let mut socket = self.socket(&path, &self.hub.origin()).await.unwrap();
        let execute = json!({
            "channel": "shell", "parent_header": {}, "metadata": {}, "buffers": [],
            "header": {
                "msg_id": "m1", "session": "s1", "username": "", "msg_type": "execute_request", "version": "5.3",
                "date": "2026-01-01T00:00:00Z",
            },
            "content": {
                "code": "6*7", "silent": false, "store_history": true, "user_expressions": {},
                "allow_stdin": false, "stop_on_error": true,
            },
        });
        socket.send(Message::text(execute.to_string())).await.unwrap();
        until_said(&mut socket, "\"text/plain\": \"42\"").await;
    }

    /// Opens a websocket as a page of this origin does; or the status that refuses it.
    async fn socket(&self, path: &str, origin: &str) -> Result<WebSocketStream<TlsStream<TcpStream>>, u16> {
        use tokio_tungstenite::tungstenite::Error;
        let host = self.browser.host();
        let mut request = format!("wss://{host}{path}").into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("origin", origin.parse().unwrap());
        headers.insert("cookie", self.browser.cookies().parse().unwrap());
        let stream = self.browser.connect(&["http/1.1"]).await;
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    async fn is_heard_of(&self) {
        let line = format!("activity reported user={}", self.user());
        eventually("the container's report", || async { self.hub.log().contains(&line) }).await;
    }

    /// The container asks the hub about every token, and takes none that the hub does not know.
    async fn knows_its_own_from_others(&mut self) {
        let api = Url::parse(&format!("http://{GATEWAY}:{}/hub/api/user", self.version.port)).unwrap();
        let (status, answer) = plain_get(&api, "token nobody's").await;
        assert_eq!((status, &answer["status"]), (403, &json!(403)));
        let (target, headers) = (self.api("contents"), [("Authorization", "token nobody's")]);
        let answer = self.browser.fresh().send("GET", &target, &headers, b"").await;
        assert_eq!(answer.status, 401, "hubgate itself lets nobody through: {}", answer.text());
        // With nothing of the container's own.
        let mut bare = self.browser.fresh();
        for name in ["__Host-hubgate", "jupyterhub-session-id"] {
            bare.set_cookie(name, self.browser.cookie(name).unwrap());
        }
        let answer = bare.send("GET", &target, &headers, b"").await;
        match self.way {
            Way::OAuth => assert_eq!(answer.status, 403, "{}", answer.text()),
            Way::Header => assert_eq!(answer.status, 200, "not what the page says counts: {}", answer.text()),
        }
        if self.way == Way::Header {
            let evil = [("Origin", "https://evil.example"), ("Content-Type", "text/plain")];
            let answer = self.browser.send("POST", &target, &evil, b"{}").await;
            assert_eq!(answer.status, 403, "another site's: {}", answer.text());
        }
    }

    /// What "Hub Control Panel" and "Restart Server" open.
    async fn restarts_from_the_menu(&mut self) {
        let home = self.browser.open("/hub/home").await;
        let token = home.field("form_token").unwrap();
        let answer = self.browser.submit("/hub/home", &[("action", "stop"), ("form_token", &token)]).await;
        assert_eq!(answer.status, 303);
        let status = self.api("status");
        eventually("the end of the server", || {
            let (mut browser, status) = (self.browser.clone(), status.clone());
            async move { browser.fetch("GET", &status, b"").await.status == 424 }
        })
        .await;
        for spawn in [format!("/hub/spawn/{}/", self.user()), "/hub/spawn".to_owned()] {
            let page = self.browser.open(&spawn).await;
            assert!(page.status == 200 && page.field("profile").is_some(), "{spawn}: {}", page.text());
        }
        let page = self.browser.open("/hub/spawn").await;
        let fields =
            ["profile", "form_token", "next"].map(|name| (name, page.field(name).unwrap_or_default()));
        let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
        let answer = self.browser.submit("/hub/spawn", &fields).await;
        assert_eq!(answer.header("location"), Some(self.page().as_str()), "{}", answer.text());
        // Its cookies are another instance's now: whoever comes is known again without being asked.
        self.lands().await;
        let logo = self.browser.open("/hub/logo").await;
        assert_eq!(logo.status, 200);
        assert!(logo.header("content-type").is_some_and(|kind| kind.starts_with("image/")));
    }

    async fn signs_out(&mut self) {
        let before = self.browser.clone();
        let logout = format!("{}/logout", self.base);
        let answer = self.browser.open(&logout).await;
        let location = self.local(answer.header("location").unwrap_or_else(|| panic!("{}", answer.text())));
        assert_eq!(location, "/hub/logout");
        let page = self.browser.open(&location).await;
        let token = page.field("form_token").unwrap();
        let answer = self.browser.submit("/hub/logout", &[("form_token", &token)]).await;
        assert_eq!(answer.status, 303);
        let contents = self.api("contents");
        let mut before = before;
        let answer = before.fetch("GET", &contents, b"").await;
        assert_eq!(answer.status, 401, "with all cookies that there were: {}", answer.text());
    }
}

async fn fetch(browser: &mut Client, method: &str, path: &str, xsrf: &str, body: &Value) -> Answer {
    let origin = format!("https://{}", browser.host());
    let headers = [
        ("Accept", "*/*"),
        ("Origin", origin.as_str()),
        ("Sec-Fetch-Mode", "cors"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Dest", "empty"),
        ("Content-Type", "application/json"),
        ("X-XSRFToken", xsrf),
    ];
    // A page that has no proof sends none.
    let headers = if xsrf.is_empty() { &headers[..6] } else { &headers[..] };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    browser.send(method, path, headers, body.as_bytes()).await
}

async fn until_said(socket: &mut WebSocketStream<TlsStream<TcpStream>>, wanted: &str) {
    let mut said = String::new();
    let whole = async {
        while let Some(message) = socket.next().await {
            said.push_str(message.unwrap().to_text().unwrap_or_default());
            if said.contains(wanted) {
                return true;
            }
        }
        false
    };
    let found = tokio::time::timeout(PATIENCE, whole).await;
    assert_eq!(found, Ok(true), "{wanted:?} in {said}");
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
