//! Sessions: who is found by a cookie, and until when.

#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{COOKIE, HeaderMap, HeaderValue};
use hubgate::clock::Clock;
use hubgate::config::{self, Span};
use hubgate::cookies;
use hubgate::identity::Identity;
use hubgate::metrics::Metrics;
use hubgate::oidc::{Providers, Tokens};
use hubgate::seal::Sealer;
use hubgate::secret::Secret;
use hubgate::session::{Judge, Parts, Session, Sessions};
use hubgate::store::{SessionRow, Store};
use hubgate::tasks::Tasks;
use hubgate::user::{Claims, User, UserName};

const ISSUER: &str = "https://provider.example";
const PROVIDER: &str = "main";
const IDLE: Duration = Duration::from_hours(1);
const SECOND: Duration = Duration::from_secs(1);
const ABSOLUTE: Duration = Duration::from_secs(10_000);

struct Hub {
    sessions: Sessions,
    store: Store,
    clock: Clock,
    metrics: Metrics,
}

impl Hub {
    async fn new() -> Self {
        Self::over(Store::in_memory().await.expect("a store"), Clock::manual(1_000_000))
    }

    async fn at(folder: &Path, clock: Clock) -> Self {
        Self::over(Store::open(folder).await.expect("a store"), clock)
    }

    fn over(store: Store, clock: Clock) -> Self {
        Self::judged(store, clock, Arc::new(|_provider, _identity, name| Some(user(name.as_str()))))
    }

    fn judged(store: Store, clock: Clock, judge: Judge) -> Self {
        let config = config::Session {
            idle_timeout: Span(IDLE),
            absolute_timeout: Span(ABSOLUTE),
            ..config::Session::default()
        };
        let metrics = Metrics::new();
        // Nobody asks it.
        let provider = crate::oidc::provider(&crate::oidc::by_issuer(ISSUER), &clock).expect("a provider");
        let sessions = Sessions::new(Parts {
            config,
            judge,
            tell: Arc::new(|_user, _token| {}),
            providers: Providers::new(vec![(Arc::from(PROVIDER), provider)]),
            store: store.clone(),
            sealer: Arc::new(Sealer::new(&[7; 32])),
            clock: clock.clone(),
            metrics: metrics.clone(),
            tasks: Tasks::default(),
        });
        Self { sessions, store, clock, metrics }
    }

    /// The same hub after a restart: its memory is gone.
    fn restarted(&self) -> Self {
        Self::over(self.store.clone(), self.clock.clone())
    }

    async fn login(&self, name: &str) -> (HeaderMap, Arc<Session>) {
        let user = user(name);
        self.store.name_user(ISSUER, name, &user.name, self.clock.now()).await.expect("a name");
        let tokens = Tokens {
            id_token: Some(Secret::new("the-id-token")),
            refresh_token: Some(Secret::new("the-refresh-token")),
            ..Tokens::default()
        };
        let begun = self.sessions.begin(Arc::from(PROVIDER), user, identity(name), tokens).await;
        let (cookie, session) = begun.expect("a session");
        (headers(cookie.expose()), session)
    }

    async fn restore(&self) -> usize {
        self.sessions.restore().await.expect("sessions")
    }

    async fn rows(&self) -> Vec<SessionRow> {
        self.store.sessions().await.expect("rows")
    }
}

fn user(name: &str) -> User {
    let name = UserName::parse(name).expect("a user name");
    User {
        name,
        admin: false,
        profiles: [Arc::from("lab")].into(),
        routes: [].into(),
        groups: [].into(),
        claims: Claims::default(),
        memory: None,
        cpu: None,
    }
}

fn identity(name: &str) -> Identity {
    let claims = serde_json::json!({ "preferred_username": name, "groups": ["/lab"] });
    Identity {
        issuer: ISSUER.to_owned(),
        subject: name.to_owned(),
        sid: Some(format!("sid-{name}")),
        claims: claims.as_object().cloned().unwrap_or_default(),
    }
}

fn headers(cookie: &str) -> HeaderMap {
    raw_headers(&[&format!("{}={cookie}", cookies::SESSION)])
}

fn raw_headers(fields: &[&str]) -> HeaderMap {
    fields.iter().map(|field| (COOKIE, HeaderValue::from_str(field).expect("a header"))).collect()
}

fn hex_digit(value: u8) -> char {
    char::from_digit(value.into(), 16).expect("a hexadecimal digit")
}

fn cookie(headers: &HeaderMap) -> String {
    cookies::find(headers, cookies::SESSION).expect("a cookie").to_owned()
}

#[tokio::test]
async fn a_session_is_found_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_000_000);
    let hub = Hub::at(folder.path(), clock.clone()).await;
    let (browser, before) = hub.login("alice").await;
    drop(hub);

    let hub = Hub::at(folder.path(), clock).await;
    assert!(hub.sessions.find(&browser).is_none(), "nothing is restored yet");
    assert_eq!(hub.restore().await, 1);
    let after = hub.sessions.find(&browser).expect("the session");
    assert_eq!(after.created, before.created);
    let (standing, before_it) = (after.standing(), before.standing());
    assert_eq!(standing.user, before_it.user);
    assert_eq!(standing.identity, before_it.identity);
    assert!(standing.tokens.refresh_token.as_ref().unwrap().matches("the-refresh-token"));
    assert!(standing.tokens.id_token.as_ref().unwrap().matches("the-id-token"));
    assert!(standing.tokens.access_token.is_none());
    assert!(after.jupyterhub_id.matches(before.jupyterhub_id.expose()));
    assert!(after.form_token.matches(before.form_token.expose()));
    assert!(!after.form_token.matches(after.jupyterhub_id.expose()));
    assert_eq!(hub.metrics.sessions.get(), 1);
}

#[tokio::test]
async fn an_idle_session_is_over() {
    let hub = Hub::new().await;
    let (browser, session) = hub.login("alice").await;
    hub.clock.advance(IDLE.saturating_sub(SECOND));
    assert!(hub.sessions.find(&browser).is_some(), "and used, so it goes on");
    hub.clock.advance(IDLE.saturating_sub(SECOND));
    assert!(hub.sessions.by_id(&session.id).is_some(), "but this is no use");
    hub.clock.advance(Duration::from_secs(1));
    assert!(hub.sessions.find(&browser).is_none());
    assert!(hub.sessions.by_id(&session.id).is_none());

    hub.sessions.sweep().await.unwrap();
    assert!(session.ended.is_cancelled());
    assert!(hub.rows().await.is_empty());
    assert_eq!(hub.metrics.sessions.get(), 0);
}

#[tokio::test]
async fn a_session_is_over_at_its_absolute_end_however_busy_it_is() {
    let hub = Hub::new().await;
    let (browser, session) = hub.login("alice").await;
    for _ in 0..9 {
        hub.clock.advance(Duration::from_secs(1000));
        assert!(hub.sessions.find(&browser).is_some());
    }
    hub.clock.advance(Duration::from_secs(999));
    assert!(hub.sessions.find(&browser).is_some());
    hub.clock.advance(Duration::from_secs(1));
    assert!(hub.sessions.find(&browser).is_none());
    hub.sessions.sweep().await.unwrap();
    assert!(session.ended.is_cancelled());
}

#[tokio::test]
async fn a_session_that_ended_while_the_hub_was_down_is_not_taken_back() {
    let hub = Hub::new().await;
    let (browser, _session) = hub.login("alice").await;
    hub.clock.advance(IDLE);
    let hub = hub.restarted();
    assert_eq!(hub.restore().await, 0);
    assert!(hub.sessions.find(&browser).is_none());
    assert!(hub.rows().await.is_empty());
}

#[tokio::test]
async fn a_tampered_cookie_is_nobodys() {
    let hub = Hub::new().await;
    let (browser, session) = hub.login("alice").await;
    let good = cookie(&browser);
    assert_eq!(good.len(), 43);
    for at in 0..good.len() {
        for with in ["A", "B", "-", "=", "%"] {
            let mut changed = good.clone();
            changed.replace_range(at..=at, with);
            assert!(changed == good || hub.sessions.find(&headers(&changed)).is_none(), "{at} {with}");
        }
        assert!(hub.sessions.find(&headers(good.split_at(at).0)).is_none(), "cut at {at}");
    }
    let hex: String = session.id.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit).collect();
    for wrong in ["", "'; --", "%s%n", &hex, &format!("{good}="), &good.repeat(1000), &format!("\"{good}\"")]
    {
        assert!(hub.sessions.find(&headers(wrong)).is_none());
    }
    // What the store holds is not what the browser holds.
    let stored = URL_SAFE_NO_PAD.encode(session.id);
    assert!(hub.sessions.find(&headers(&stored)).is_none());
    assert!(hub.sessions.find(&HeaderMap::new()).is_none());
    assert!(hub.sessions.find(&browser).is_some());
}

#[tokio::test]
async fn a_cookie_sent_twice_is_nobodys() {
    let hub = Hub::new().await;
    let (browser, _session) = hub.login("alice").await;
    let good = cookie(&browser);
    for fields in [
        vec![format!("__Host-hubgate=evil; __Host-hubgate={good}")],
        vec![format!("__Host-hubgate={good}; __Host-hubgate=evil")],
        vec![format!("__Host-hubgate={good}; __Host-hubgate={good}")],
        vec!["__Host-hubgate=evil".to_owned(), format!("__Host-hubgate={good}")],
        vec![format!("hubgate={good}")],
        vec![format!("__Host-hubgate-login-1={good}")],
    ] {
        let fields: Vec<_> = fields.iter().map(String::as_str).collect();
        assert!(hub.sessions.find(&raw_headers(&fields)).is_none(), "{fields:?}");
    }
    let with_others = format!("a=1; __Host-hubgate={good}; b=2");
    assert!(hub.sessions.find(&raw_headers(&[&with_others])).is_some());
}

#[tokio::test]
async fn every_login_has_an_id_of_its_own() {
    let hub = Hub::new().await;
    let (first, _) = hub.login("alice").await;
    let (second, _) = hub.login("alice").await;
    assert_ne!(cookie(&first), cookie(&second));
    assert!(hub.sessions.find(&first).is_some());
    assert!(hub.sessions.find(&second).is_some());
}

#[tokio::test]
async fn a_row_from_elsewhere_is_dropped_and_the_others_live() {
    let hub = Hub::new().await;
    let (browser, _session) = hub.login("alice").await;
    let (_, bobs) = hub.login("bob").await;
    let rows = hub.rows().await;
    let alices = rows.iter().find(|row| row.user.as_str() == "alice").unwrap();
    let bobs_row = rows.iter().find(|row| row.id == bobs.id).unwrap();
    let other_key = Sealer::new(&[8; 32]);
    let own_key = Sealer::new(&[7; 32]);
    let context = |id: u8| format!("session:{}", format!("{id:02x}").repeat(32));
    let elsewhere = [
        // A corrupt row, one moved to another id, one sealed by another installation.
        SessionRow { id: [1; 32], sealed: "garbage".to_owned(), ..alices.clone() },
        SessionRow { id: [2; 32], ..alices.clone() },
        SessionRow { id: [3; 32], sealed: other_key.seal(&context(3), b"{}"), ..alices.clone() },
        // Rows of another release.
        SessionRow { id: [4; 32], sealed: own_key.seal(&context(4), b"{}"), ..alices.clone() },
        SessionRow { id: [5; 32], sealed: own_key.seal(&context(5), b"\x80"), ..alices.clone() },
    ];
    for row in &elsewhere {
        hub.store.insert_session(row).await.unwrap();
    }
    // Bob's row, made out to alice.
    hub.store.delete_sessions(&[bobs.id]).await.unwrap();
    let made_out =
        SessionRow { user: alices.user.clone(), subject: alices.subject.clone(), ..bobs_row.clone() };
    hub.store.insert_session(&made_out).await.unwrap();

    let hub = hub.restarted();
    assert_eq!(hub.restore().await, 1);
    assert!(hub.sessions.find(&browser).is_some());
    assert_eq!(hub.rows().await.len(), 1, "what was dropped is gone for good");
}

#[tokio::test]
async fn who_may_not_enter_any_more_has_no_session_after_a_restart() {
    let hub = Hub::new().await;
    let (alice, _) = hub.login("alice").await;
    let (bob, _) = hub.login("bob").await;
    let judge = |provider: &str, identity: &Identity, name: &UserName| {
        assert_eq!((provider, identity.strings(&["groups"])), (PROVIDER, vec!["/lab"]));
        (name.as_str() == "alice").then(|| User { admin: true, ..user("alice") })
    };
    let hub = Hub::judged(hub.store.clone(), hub.clock.clone(), Arc::new(judge));
    assert_eq!(hub.restore().await, 1);
    assert!(hub.sessions.find(&alice).is_some_and(|session| session.standing().user.admin), "judged anew");
    assert!(hub.sessions.find(&bob).is_none());
    assert_eq!(hub.rows().await.len(), 1);
}

#[tokio::test]
async fn what_is_open_for_a_session_ends_with_it() {
    let hub = Hub::new().await;
    let (alice, session) = hub.login("alice").await;
    let (bob, bobs) = hub.login("bob").await;
    let open = session.ended.clone();
    hub.sessions.end(&session).await.unwrap();
    assert!(open.is_cancelled());
    assert!(hub.sessions.find(&alice).is_none());
    assert!(hub.sessions.by_id(&session.id).is_none());
    assert!(hub.sessions.find(&bob).is_some() && !bobs.ended.is_cancelled());
    assert_eq!(hub.metrics.sessions.get(), 1);
    assert_eq!(hub.rows().await.len(), 1);
    assert_eq!(hub.restarted().restore().await, 1, "nor is it back after a restart");
}

#[tokio::test]
async fn requests_do_not_write_to_the_store() {
    let hub = Hub::new().await;
    let (browser, _session) = hub.login("alice").await;
    let begun = hub.rows().await;
    for _ in 0..59 {
        hub.clock.advance(Duration::from_secs(1));
        hub.sessions.find(&browser).unwrap();
        hub.sessions.sweep().await.unwrap();
    }
    assert_eq!(hub.rows().await, begun, "not within a minute, however often it is swept");
    hub.clock.advance(Duration::from_secs(1));
    hub.sessions.find(&browser).unwrap();
    assert_eq!(hub.rows().await, begun, "and never by a request");
    hub.sessions.sweep().await.unwrap();
    assert_eq!(hub.rows().await[0].last_seen, hub.clock.now());

    let written = hub.rows().await;
    hub.clock.advance(Duration::from_mins(10));
    hub.sessions.sweep().await.unwrap();
    assert_eq!(hub.rows().await, written, "what was not used is not written");
}

#[tokio::test]
async fn what_is_stored_tells_neither_cookie_nor_tokens() {
    let hub = Hub::new().await;
    let (browser, session) = hub.login("alice").await;
    let stored = format!("{:?} {:?} {:?}", hub.rows().await, session, hub.sessions);
    for secret in [cookie(&browser).as_str(), "the-id-token", "the-refresh-token"] {
        assert!(!stored.contains(secret));
    }
}

#[tokio::test]
async fn one_person_cannot_fill_the_memory_with_sessions() {
    let hub = Hub::new().await;
    let (oldest, first) = hub.login("alice").await;
    let (bob, _) = hub.login("bob").await;
    hub.clock.advance(Duration::from_secs(1));
    for _ in 0..64 {
        hub.login("alice").await;
    }
    assert!(hub.sessions.find(&oldest).is_none() && first.ended.is_cancelled());
    assert!(hub.sessions.find(&bob).is_some());
    assert_eq!(hub.metrics.sessions.get(), 65);
    hub.sessions.sweep().await.unwrap();
    assert_eq!(hub.rows().await.len(), 65);
}
