//! What servers that seem idle say themselves.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubgate::clock::{Clock, utc};
use hubgate::config;
use hubgate::metrics::Metrics;
use hubgate::user::{Claims, User, UserName};
use hubgate::workspace::{Chosen, Ready, State, Workspaces};
use support::docker::{Engine, Image};
use support::eventually::found;
use support::upstream::{Exchange, Recorded, Upstream};

use crate::access_token::workspaces;

const HOUR: Duration = Duration::from_hours(1);

/// A server of alice's, and what it answers when it is asked for its kernels and terminals.
struct Lab {
    workspaces: Workspaces,
    ready: Arc<Ready>,
    clock: Clock,
    upstream: Upstream,
    says: Arc<Mutex<[(&'static str, String); 2]>>,
    _engine: Engine,
}

impl Lab {
    async fn start() -> Self {
        Self::start_as("token").await
    }

    async fn start_as(mode: &str) -> Self {
        let engine = Engine::start();
        let image = Image { user: "1000".to_owned(), command: vec!["lab".to_owned()], ..Image::default() };
        engine.add_image("lab:1", image);
        let says = Arc::new(Mutex::new([("200 OK", "[]".to_owned()), ("200 OK", "[]".to_owned())]));
        let said = Arc::clone(&says);
        let address = SocketAddr::new(engine.address_for("alice").into(), 8888);
        let upstream = Upstream::bind_with(address, move |mut exchange: Exchange| {
            let [kernels, terminals] = said.lock().unwrap().clone();
            async move {
                let asked = exchange.request.target.clone();
                let (status, body) = match asked.split('?').next() {
                    Some("/user/alice/api/kernels") => kernels,
                    Some("/user/alice/api/terminals") => terminals,
                    _ => ("200 OK", "{}".to_owned()),
                };
                exchange.respond(status, "", body).await?;
                Ok(exchange)
            }
        });
        let upstream = upstream.await.unwrap();
        let clock = Clock::manual(Clock::system().now());
        let profile: config::Profile =
            toml::from_str(&format!("name = \"lab\"\nimage = \"lab:1\"\nmode = \"{mode}\"")).unwrap();
        let workspaces = workspaces(&engine, &profile, &Metrics::new(), clock.clone()).await;
        let user = User {
            name: UserName::parse("alice").unwrap(),
            admin: false,
            profiles: ["lab".into()].into(),
            routes: [].into(),
            groups: [].into(),
            claims: Claims::default(),
            memory: None,
            cpu: None,
        };
        let id = workspaces.id(&user.name);
        workspaces.start(&id, &user, &Arc::new(profile), Chosen::default());
        let ready = found("the server to be ready", Duration::ZERO, async || match workspaces.state(&id) {
            Some(State::Ready(ready)) => Some(ready),
            _ => None,
        })
        .await;
        Self { workspaces, ready, clock, upstream, says, _engine: engine }
    }

    fn says(&self, kernels: (&'static str, &str), terminals: (&'static str, &str)) {
        let owned = |(status, body): (&'static str, &str)| (status, body.to_owned());
        *self.says.lock().unwrap() = [owned(kernels), owned(terminals)];
    }

    /// An hour passes, and idle servers are asked: how many seconds it has been idle then.
    async fn idle_after_an_hour(&self) -> u64 {
        self.clock.advance(HOUR);
        self.workspaces.ask_idle().await;
        self.clock.now() - self.ready.activity.last()
    }

    fn asked(&self) -> Vec<Recorded> {
        let requests = self.upstream.requests();
        requests.into_iter().filter(|request| request.target.contains("no_track_activity")).collect()
    }
}

/// In a list of one: its state, and how many seconds before `now` it last did something.
fn one(state: &str, now: u64, ago: u64) -> String {
    format!(r#"[{{"id": "1", "execution_state": "{state}", "last_activity": "{}"}}]"#, utc(now - ago))
}

#[tokio::test]
async fn a_kernel_that_computes_in_silence_keeps_its_server_in_use() {
    let lab = Lab::start().await;
    let now = lab.clock.now();
    lab.says(("200 OK", &one("busy", now, 7200)), ("404 Not Found", ""));
    assert_eq!(lab.idle_after_an_hour().await, 0);
    let [kernels, _] = lab.asked().try_into().unwrap();
    assert_eq!(kernels.header("authorization").map(|value| value.starts_with("token ")), Some(true));
    assert!(!kernels.has("cookie") && !kernels.has("x-hubgate-user"));

    lab.says(("200 OK", &one("idle", now + 7200, 600)), ("200 OK", "[]"));
    assert_eq!(lab.idle_after_an_hour().await, 600, "when it was last used");
    lab.says(("200 OK", "[]"), ("200 OK", &one("", now + 10800, 60)));
    assert_eq!(lab.idle_after_an_hour().await, 60, "a terminal's use");
    lab.says(("200 OK", "[]"), ("200 OK", "[]"));
    assert_eq!(lab.idle_after_an_hour().await, 3660, "and nothing runs any more");
}

#[tokio::test]
async fn a_server_is_asked_when_it_seems_idle_and_then_once_in_minutes() {
    let lab = Lab::start().await;
    lab.workspaces.ask_idle().await;
    assert_eq!(lab.asked().len(), 0, "it was used a moment ago");
    lab.clock.advance(Duration::from_mins(5));
    for _ in 0..3 {
        lab.workspaces.ask_idle().await;
        assert_eq!(lab.asked().len(), 2, "kernels and terminals");
    }
    lab.clock.advance(Duration::from_mins(5));
    lab.workspaces.ask_idle().await;
    assert_eq!(lab.asked().len(), 4);
}

#[tokio::test]
async fn whatever_a_server_says_of_its_use_is_bounded() {
    let lab = Lab::start().await;
    let now = lab.clock.now();
    let endless = format!("[{}]", " ".repeat(512 * 1024));
    let mut idle = 0;
    for (status, body) in [
        ("200 OK", "<html>"),
        ("200 OK", "{\"execution_state\": \"busy\"}"),
        ("200 OK", endless.as_str()),
        ("403 Forbidden", &one("busy", now, 0)),
        ("302 Found", &one("busy", now, 0)),
        ("500 X", ""),
    ] {
        idle += HOUR.as_secs();
        lab.says((status, body), (status, body));
        assert_eq!(lab.idle_after_an_hour().await, idle, "{status} {body:.20}");
    }
    // A clock that goes wrong, or a server that wants to live for ever.
    lab.says(("200 OK", &one("idle", now + 1_000_000_000, 0)), ("200 OK", "[]"));
    assert_eq!(lab.idle_after_an_hour().await, 0);
    lab.says(("200 OK", "[]"), ("200 OK", "[]"));
    assert_eq!(lab.idle_after_an_hour().await, HOUR.as_secs(), "never in the future");
}

#[tokio::test]
async fn an_open_page_keeps_a_server_only_where_nobody_can_say_more() {
    let lab = Lab::start().await;
    lab.clock.advance(HOUR);
    lab.ready.activity.note_poll();
    assert_eq!(lab.idle_after_an_hour().await, 2 * HOUR.as_secs());
    lab.says(("404 Not Found", ""), ("404 Not Found", ""));
    lab.ready.activity.note_poll();
    assert_eq!(lab.idle_after_an_hour().await, HOUR.as_secs(), "it was looked at an hour ago");
}

#[tokio::test]
async fn an_image_that_expects_a_hub_is_asked_by_its_own_token_and_reports_no_open_page() {
    let lab = Lab::start_as("hub").await;
    lab.says(("200 OK", &one("busy", lab.clock.now(), 7200)), ("200 OK", "[]"));
    assert_eq!(lab.idle_after_an_hour().await, 0);
    let expected = format!("token {}", lab.ready.token.expose());
    assert!(lab.asked().iter().all(|asked| asked.header("authorization") == Some(expected.as_str())));

    let idle = || lab.clock.now() - lab.ready.activity.last();
    lab.clock.advance(HOUR);
    lab.ready.activity.note_poll();
    lab.workspaces.note_report(&lab.ready.id, lab.clock.now() - 1);
    assert_eq!(idle(), HOUR.as_secs(), "what it was asked by an open page");
    lab.workspaces.note_report(&lab.ready.id, lab.clock.now() - 60);
    assert_eq!(idle(), 60, "what its kernels did before");
    lab.workspaces.note_activity(&lab.ready.id, lab.clock.now());
    assert_eq!(idle(), 0, "what somebody else says");
}
