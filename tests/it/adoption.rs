//! Containers that a JupyterHub's `DockerSpawner` started, taken over while they run. What they are told is what
//! DockerSpawner 12 and 14 told real ones, under JupyterHub 2.3.1 and 6.1.1.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use hubgate::config;
use hubgate::metrics::Metrics;
use hubgate::server_name::ServerName;
use hubgate::spawner::{self, Heir, Spawner, Status, WorkspaceId};
use hubgate::user::UserName;
use serde_json::{Value, json};
use support::client::{Answer, Client};
use support::docker::{Engine, Image, State};
use support::eventually::{eventually, found};
use support::hub::{ADOPTS, EVERYONE, Hub};
use url::Url;

use super::BINARY;
use crate::day::{plain, websocket};
use crate::socket::echo;

const TOKEN: &str = "a1b67b8efc1440e4af409b009088630b";
const API: &str = "http://172.30.77.1:8081/hub/api";

/// What a JupyterHub tells a server of this user; `name` is theirs as it writes it in paths.
fn environment(api: &str, user: &str, server: &str) -> Vec<(&'static str, String)> {
    let base = if server.is_empty() { format!("/user/{user}/") } else { format!("/user/{user}/{server}/") };
    let client =
        user.replace('@', "%40") + &if server.is_empty() { String::new() } else { format!("-{server}") };
    let scopes = format!("[\"access:servers!server={user}/{server}\", \"access:servers!user={user}\"]");
    vec![
        ("PATH", "/opt/conda/bin:/usr/bin:/bin".to_owned()),
        ("JUPYTERHUB_API_TOKEN", TOKEN.to_owned()),
        ("JPY_API_TOKEN", TOKEN.to_owned()),
        ("JUPYTERHUB_CLIENT_ID", format!("jupyterhub-user-{client}")),
        ("JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED", "0".to_owned()),
        ("JUPYTERHUB_HOST", String::new()),
        ("JUPYTERHUB_OAUTH_CALLBACK_URL", format!("{base}oauth_callback")),
        ("JUPYTERHUB_OAUTH_SCOPES", scopes.clone()),
        ("JUPYTERHUB_OAUTH_ACCESS_SCOPES", scopes),
        ("JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES", "[]".to_owned()),
        ("JUPYTERHUB_USER", user.to_owned()),
        ("JUPYTERHUB_SERVER_NAME", server.to_owned()),
        ("JUPYTERHUB_API_URL", api.to_owned()),
        ("JUPYTERHUB_ACTIVITY_URL", format!("{api}/users/{user}/activity")),
        ("JUPYTERHUB_BASE_URL", "/".to_owned()),
        ("JUPYTERHUB_SERVICE_PREFIX", base.clone()),
        ("JUPYTERHUB_SERVICE_URL", format!("http://0.0.0.0:8888{base}")),
        ("JUPYTERHUB_PUBLIC_URL", String::new()),
        ("JUPYTERHUB_PUBLIC_HUB_URL", String::new()),
        ("JUPYTER_IMAGE_SPEC", "hub:1".to_owned()),
    ]
}

/// The request by which DockerSpawner makes a container.
fn body(environment: &[(&str, String)]) -> Value {
    let lines: Vec<String> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "Image": "hub:1", "Env": lines, "Labels": { "maintainer": "of the image" },
        "HostConfig": { "NetworkMode": "hubgate", "AutoRemove": false, "Binds": ["jupyterhub-user-alice:/home/jovyan:rw"] },
    })
}

fn id(user: &str) -> WorkspaceId {
    WorkspaceId { user: UserName::parse(user).unwrap(), server: ServerName::default() }
}

const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 30, 77, 9);

/// A spawner that takes over what fits, if `adopts`.
fn spawner(engine: &Engine, adopts: bool) -> Arc<dyn Spawner> {
    let docker = config::Docker {
        socket: engine.socket().to_owned(),
        prefix: "jupyter".to_owned(),
        adopt_jupyterhub: adopts,
        ..config::Docker::default()
    };
    let heir = Heir {
        hub_api: Some(API.to_owned()),
        public_url: "https://hub.example".to_owned(),
        user_origins: None,
        images: vec![("other:1".to_owned(), "other".into()), ("hub:1".to_owned(), "hub".into())],
    };
    spawner::open(&config::Spawner { docker, ..config::Spawner::default() }, Some(heir), Metrics::new())
}

#[tokio::test]
async fn a_container_whose_name_and_environment_are_its_users_is_taken_over() {
    let engine = Engine::start();
    let container = engine.run_foreign("jupyter-alice", body(&environment(API, "alice", "")), ADDRESS);
    let anna = environment(API, "anna@epfl.ch", "gpu");
    engine.run_foreign("jupyter-anna-40epfl-2ech--gpu", body(&anna), Ipv4Addr::new(172, 30, 77, 10));
    let found = spawner(&engine, true).list().await.unwrap();
    let mut found: Vec<_> = found.iter().map(|running| (running.id.to_string(), running)).collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["alice", "anna@epfl.ch/gpu"]);
    let alice = found[0].1;
    assert_eq!((&*alice.instance, &*alice.profile), (container.as_str(), "hub"));
    assert_eq!(alice.address.to_string(), "172.30.77.9:8888");
    assert!(alice.adopted.as_ref().unwrap().token.matches(TOKEN));
    assert!(!format!("{alice:?}").contains(TOKEN));
    // Another hubgate that comes later finds the same.
    assert_eq!(spawner(&engine, true).status(&id("alice")).await.unwrap(), Status::Running(alice.clone()));

    let without_the_key = spawner(&engine, false);
    assert_eq!(without_the_key.list().await.unwrap(), []);
    assert_eq!(without_the_key.status(&id("alice")).await.unwrap(), Status::Absent);
}

#[tokio::test]
async fn a_container_that_does_not_fit_in_every_part_is_never_touched() {
    let engine = Engine::start();
    engine.add_image("hub:1", Image::default());
    let spawner = spawner(&engine, true);
    let bobs = "http://0.0.0.0:8888/user/bob/";
    let changes: &[&[(&str, Option<&str>)]] = &[
        &[("JUPYTERHUB_USER", Some("bob"))],
        &[("JUPYTERHUB_USER", Some("Alice"))],
        &[("JUPYTERHUB_USER", None)],
        &[("JUPYTERHUB_USER", Some("../alice"))],
        &[("JUPYTERHUB_SERVER_NAME", Some("gpu"))],
        &[("JUPYTERHUB_SERVICE_PREFIX", Some("/user/bob/"))],
        &[("JUPYTERHUB_SERVICE_PREFIX", Some("/user/alice"))],
        &[("JUPYTERHUB_CLIENT_ID", Some("jupyterhub-user-bob"))],
        &[("JUPYTERHUB_CLIENT_ID", Some("service-x"))],
        &[("JUPYTERHUB_API_URL", Some("http://jupyterhub:8081/hub/api"))],
        &[("JUPYTERHUB_API_URL", None)],
        &[("JUPYTERHUB_OAUTH_CALLBACK_URL", Some("/user/bob/oauth_callback"))],
        &[("JUPYTERHUB_OAUTH_CALLBACK_URL", Some("https://evil.example/user/alice/oauth_callback"))],
        &[("JUPYTERHUB_BASE_URL", Some("/jupyter/"))],
        &[("JUPYTERHUB_HOST", Some("https://hub.example"))],
        &[("JUPYTERHUB_API_TOKEN", None)],
        &[("JUPYTERHUB_API_TOKEN", Some(""))],
        &[("JUPYTERHUB_API_TOKEN", Some("short"))],
        &[("JUPYTERHUB_API_TOKEN", Some("0123456789abcdef 0123456789abcdef"))],
        &[("JUPYTERHUB_SERVICE_URL", Some(bobs))],
        &[("JUPYTERHUB_SERVICE_URL", Some("https://0.0.0.0:8888/user/alice/"))],
        &[("JUPYTERHUB_SERVICE_URL", Some("http://0.0.0.0:x/user/alice/"))],
    ];
    let unfit = changes.iter().map(|change| {
        let mut environment = environment(API, "alice", "");
        for (name, value) in *change {
            environment.retain(|(kept, _)| kept != name);
            environment.extend(value.map(|value| (*name, value.to_owned())));
        }
        (format!("{change:?}"), body(&environment))
    });
    let said = environment(API, "alice", "");
    let twice = body(&[said.clone(), vec![("JUPYTERHUB_API_TOKEN", TOKEN.replace('a', "b"))]].concat());
    let with = |pointer: &str, value: Value| {
        let mut body = body(&said);
        *body.pointer_mut(pointer).unwrap() = value;
        (pointer.to_owned(), body)
    };
    let others = [
        ("a variable twice".to_owned(), twice),
        with("/Image", json!("unknown:1")),
        with("/HostConfig/NetworkMode", json!("elsewhere")),
        with("/Labels", json!({ "io.hubgate.user": "bob", "io.hubgate.server": "" })),
        ("nothing".to_owned(), json!({ "Image": "hub:1" })),
    ];
    for (what, body) in unfit.chain(others) {
        let container = engine.run_foreign("jupyter-alice", body, ADDRESS);
        assert_eq!(spawner.list().await.unwrap(), [], "{what}");
        assert_eq!(spawner.status(&id("alice")).await.unwrap(), Status::Absent, "{what}");
        spawner.stop(&id("alice"), Duration::from_secs(1)).await.unwrap();
        let ran = spawner.run(&id("alice"), &["id".to_owned()], None).await.unwrap();
        assert_eq!(ran, None, "{what}");
        assert_eq!(engine.container(&container).unwrap().state, State::Running, "{what}");
        assert_eq!(engine.container(&container).unwrap().name, "jupyter-alice", "{what}");
        engine.remove(&container);
    }
    assert_eq!(engine.count("POST", "/rename"), 0);
    // Under another user's name it is nobody's either.
    engine.run_foreign("jupyter-bob", body(&said), ADDRESS);
    assert_eq!(spawner.list().await.unwrap(), []);
}

#[tokio::test]
async fn the_end_of_a_container_that_was_taken_over_is_heard_of() {
    let engine = Engine::start();
    let container = engine.run_foreign("jupyter-alice", body(&environment(API, "alice", "")), ADDRESS);
    let spawner = spawner(&engine, true);
    let mut events = spawner.events();
    let (first, ()) = tokio::join!(events.next(), async {
        spawner.list().await.unwrap();
        engine.run_foreign("jupyter-else", json!({ "Image": "else" }), ADDRESS);
        engine.die("jupyter-else", 0, false);
        engine.die("jupyter-alice", 1, false);
    });
    let first = first.unwrap();
    assert_eq!((first.id, &*first.instance), (id("alice"), container.as_str()));
    assert!(
        matches!(spawner.status(&id("alice")).await.unwrap(), Status::Ended(ended) if ended.exit_code == Some(1))
    );
}

/// A hub that takes over, and what Alice's container knows of it.
struct Inherited {
    hub: Hub,
    api: Url,
    container: String,
}

impl Inherited {
    async fn start(api: impl Fn(&str) -> String, automatic: bool) -> Self {
        let profile = "[[profile]]\nname = \"hub\"\nimage = \"hub:1\"\n";
        let hub_api = "[hub_api]\nlisten = \"{address}:8081\"\n";
        let hub = Hub::with(BINARY, &format!("{EVERYONE}{profile}{hub_api}{ADOPTS}")).await;
        hub.answer_at("alice", "").await;
        let here = format!("http://{}:8081/hub/api", hub.process().address().ip());
        let mut request = body(&environment(&api(&here), "alice", ""));
        request["HostConfig"]["AutoRemove"] = json!(automatic);
        let address = hub.engine().address_for("alice");
        let container = hub.engine().run_foreign("jupyter-alice", request, address);
        Self { hub, api: Url::parse(&here).unwrap(), container }
    }

    async fn until_open(&self, client: &mut Client) -> Answer {
        found("the server", Duration::ZERO, async || {
            Some(client.open("/user/alice/lab").await).filter(|answer| answer.status == 200)
        })
        .await
    }

    /// What its container is called when it has ended.
    fn aside(&self) -> String {
        format!("jupyter-alice.{}", self.container.chars().take(12).collect::<String>())
    }

    async fn whose(&self, authorization: &str) -> (u16, Value) {
        plain(&self.api, "GET", "/hub/api/user", authorization, ("", "text/plain")).await
    }

    /// What the container does with a browser that it does not know.
    async fn signs_in(&self, client: &mut Client) -> (u16, Value) {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("client_id", "jupyterhub-user-alice"),
                ("redirect_uri", "/user/alice/oauth_callback"),
                ("response_type", "code"),
                ("state", "s1"),
            ])
            .finish();
        let answer = client.open(&format!("/hub/api/oauth2/authorize?{query}")).await;
        let back = answer.header("location").unwrap_or_else(|| panic!("{} {}", answer.status, answer.text()));
        let back = Url::parse("https://hub.example").unwrap().join(back).unwrap();
        assert_eq!(back.path(), "/user/alice/oauth_callback");
        let code = back.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("client_id", "jupyterhub-user-alice"),
                ("client_secret", TOKEN),
                ("grant_type", "authorization_code"),
                ("redirect_uri", "/user/alice/oauth_callback"),
                ("code", &code),
            ])
            .finish();
        let body = (form.as_str(), "application/x-www-form-urlencoded");
        plain(&self.api, "POST", "/hub/api/oauth2/token", "", body).await
    }

    async fn reports(&self, token: &str) -> u16 {
        let now = "2026-01-01T00:00:00.123456Z";
        let body = json!({"servers": {"": {"last_activity": now}}, "last_activity": now}).to_string();
        let authorization = format!("token {token}");
        let body = (body.as_str(), "application/json");
        plain(&self.api, "POST", "/hub/api/users/alice/activity", &authorization, body).await.0
    }

    async fn stop(&self, client: &mut Client) {
        let form = client.open("/hub/home").await;
        let token = form.field("form_token").unwrap();
        let answer = client.submit("/hub/home", &[("action", "stop"), ("form_token", &token)]).await;
        assert!(answer.status < 400, "{} {}", answer.status, answer.text());
        eventually("the stop", || async {
            let container = self.hub.engine().container(&self.container);
            container.is_none_or(|container| container.name != "jupyter-alice")
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_a_jupyterhub_started_goes_on_as_its_users_own() {
    let mut inherited = Inherited::start(str::to_owned, false).await;
    let mut alice = inherited.hub.signed_in("alice").await;
    inherited.until_open(&mut alice).await;
    // By its own token it is known, and whoever opens it to it.
    for _ in 0..2 {
        let (status, bought) = inherited.signs_in(&mut alice).await;
        assert_eq!(status, 200, "{bought}");
        let (status, whose) =
            inherited.whose(&format!("token {}", bought["access_token"].as_str().unwrap())).await;
        assert_eq!((status, &whose["name"]), (200, &json!("alice")));
        assert_eq!(whose["scopes"][0], "access:servers!server=alice/");
        let (status, whose) = inherited.whose(&format!("token {TOKEN}")).await;
        assert_eq!((status, &whose["name"]), (200, &json!("alice")), "its own");
        assert_eq!(inherited.reports(TOKEN).await, 200);
        assert_eq!(inherited.reports(&TOKEN.replace('a', "b")).await, 403);
        assert_eq!(inherited.reports("").await, 403);
        // A hubgate that comes later knows it again.
        inherited.hub.process_mut().kill().await;
        inherited.hub.process_mut().start_again().await;
        inherited.hub.process().until_ready().await;
        inherited.until_open(&mut alice).await;
    }
    let mut bob = inherited.hub.signed_in("bob").await;
    assert_eq!(bob.open("/user/alice/lab").await.status, 403);
    assert_eq!(inherited.hub.engine().count("POST", "/containers/create"), 0);

    inherited.stop(&mut alice).await;
    let aside = inherited.hub.engine().container(&inherited.container).unwrap();
    assert_eq!(aside.name, inherited.aside());
    assert!(matches!(aside.state, State::Exited { .. }), "{:?}", aside.state);
    eventually("its token is nobody's", || async { inherited.reports(TOKEN).await == 403 }).await;

    inherited.hub.until_open(&mut alice, "/user/alice/lab").await;
    let next = inherited.hub.container_of("alice");
    assert_eq!(next.name, "jupyter-alice");
    assert_ne!(next.environment["JUPYTERHUB_API_TOKEN"], TOKEN);
    assert_eq!(inherited.reports(TOKEN).await, 403);
    assert!(!inherited.hub.process().log().contains(TOKEN));
}

#[tokio::test]
async fn what_a_jupyterhub_would_remove_when_it_stops_is_removed() {
    let inherited = Inherited::start(str::to_owned, true).await;
    let mut alice = inherited.hub.signed_in("alice").await;
    inherited.until_open(&mut alice).await;
    inherited.stop(&mut alice).await;
    assert!(inherited.hub.engine().container(&inherited.container).is_none());
    inherited.hub.until_open(&mut alice, "/user/alice/lab").await;
    assert_eq!(inherited.hub.container_of("alice").name, "jupyter-alice");
}

#[tokio::test]
async fn what_is_not_taken_over_is_said_once_with_what_to_set() {
    let elsewhere = |_: &str| "http://jupyterhub:8081/hub/api".to_owned();
    let inherited = Inherited::start(elsewhere, false).await;
    let said = || inherited.hub.process().log().matches("container_not_adopted").count();
    eventually("the log's word", || async { said() > 0 }).await;
    let looks = || inherited.hub.engine().count("GET", "/containers/json");
    let before = looks();
    eventually("more looks", || async { looks() > before + 6 }).await;
    assert_eq!(said(), 1);
    let log = inherited.hub.process().log();
    assert!(log.contains("http://jupyterhub:8081/hub/api") && log.contains("set hub_api.url"), "{log}");
    assert!(!log.contains(TOKEN), "{log}");
    // Its user's start says that there is something in the way, and leaves it alone.
    let mut alice = inherited.hub.signed_in("alice").await;
    alice.open("/user/alice/lab").await;
    eventually("the start's failure", || async {
        inherited
            .hub
            .process()
            .log()
            .contains("a container that hubgate did not make for this workspace has its name")
    })
    .await;
    assert_eq!(inherited.hub.engine().container(&inherited.container).unwrap().state, State::Running);
}

#[tokio::test]
async fn a_container_that_a_jupyterhub_left_behind_makes_room_and_is_kept() {
    let inherited = Inherited::start(str::to_owned, false).await;
    let mut alice = inherited.hub.signed_in("alice").await;
    inherited.until_open(&mut alice).await;
    inherited.hub.engine().die("jupyter-alice", 0, false);
    let mut again = inherited.hub.signed_in("alice").await;
    found("the next start", Duration::ZERO, async || {
        again.open("/user/alice/lab").await;
        inherited.hub.engine().container("jupyter-alice").filter(|next| next.id != inherited.container)
    })
    .await;
    let aside = inherited.hub.engine().container(&inherited.container).unwrap();
    assert_eq!(aside.name, inherited.aside());
}

#[tokio::test]
async fn a_server_that_a_jupyterhub_started_goes_on_through_an_upgrade() {
    let mut inherited = Inherited::start(str::to_owned, false).await;
    let mut alice = inherited.hub.signed_in("alice").await;
    inherited.until_open(&mut alice).await;
    let mut socket = websocket(&alice, "alice").await;
    let (_, bought) = inherited.signs_in(&mut alice).await;
    let bought = format!("token {}", bought["access_token"].as_str().unwrap());
    inherited.hub.process_mut().upgrade().await;
    echo(&mut socket, "after").await;
    assert_eq!(alice.open("/user/alice/lab").await.status, 200);
    assert_eq!(inherited.whose(&bought).await.0, 200);
    assert_eq!(inherited.reports(TOKEN).await, 200);
    assert_eq!(inherited.hub.engine().containers().len(), 1);
    inherited.stop(&mut alice).await;
}
