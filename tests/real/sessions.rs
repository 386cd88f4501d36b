//! Sessions at the real Keycloak: renewed, ended from there, and taken less far, with a terminal of the real
//! `JupyterLab` open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use serde_json::json;
use support::client::{Client, read_answer};
use support::eventually::eventually;
use support::hub::path_and_query;
use support::process::Process;
use tokio::io::AsyncWriteExt as _;
use url::Url;

use crate::hub::{self, profile};
use crate::keycloak::{Keycloak, attribute, target};
use crate::person::{Person, closed, is_open};

const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");

/// Who may enter where nothing else is said.
const RULE: &str = "[[rule]]\nrealm_roles = [\"hub-user\"]\n";

/// Renewed at the provider so often; the sweep that does it comes by every second.
const OFTEN: &str = "[session]\nrefresh_interval = \"2s\"\n";
/// What such a session outlives a loss of its right by, at most: the interval, the sweep, and a slow machine's calls to
/// Keycloak.
const STATED: Duration = Duration::from_secs(2 + 1 + 5);

const RENEWED: &str = "hubgate_renewals_total{result=\"ok\"}";
const RENEWALS: &str = "hubgate_renewals_total";

/// What a metric counts.
async fn count(hub: &Process, metric: &str) -> u32 {
    let count = hub.metric(metric).await;
    (0..=u32::MAX).find(|whole| f64::from(*whole) >= count).unwrap_or(u32::MAX)
}

/// Prints what was measured.
fn measured(what: &str, time: Duration) {
    #[expect(clippy::print_stderr, reason = "a measurement is to be read")]
    {
        eprintln!("measured: {what}: {} ms", time.as_millis());
    }
}

/// Asks on one connection again and again, and once more when `over` is said. Answers how often; each time it was let
/// in.
async fn ask_until(browser: Client, start: Arc<AtomicBool>, over: Arc<AtomicBool>) -> usize {
    // Not earlier: a connection without a request does not last.
    eventually("the start", || async { start.load(Ordering::Relaxed) }).await;
    let mut stream = browser.connect(&["http/1.1"]).await;
    let request = format!(
        "GET /hub/home HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n",
        browser.host(),
        browser.cookies()
    );
    let mut asked = 0;
    loop {
        let last = over.load(Ordering::Relaxed);
        stream.write_all(request.as_bytes()).await.unwrap();
        // What TLS has taken may not be on its way yet.
        stream.flush().await.unwrap();
        let answer = read_answer(&mut stream, false).await;
        assert_eq!(answer.status, 200, "request {asked}: {}", answer.text());
        asked += 1;
        if last {
            return asked;
        }
    }
}

#[tokio::test]
async fn a_storm_across_the_expiry_makes_one_renewal_and_no_request_fails() {
    const LIFE: u64 = 25;
    // A renewal is due when four fifths of an access token's life are over, less what a slow login took of it.
    const DUE: Duration = Duration::from_secs(LIFE / 5 * 4 - 4);
    let rotating = json!({ "revokeRefreshToken": true, "refreshTokenMaxReuse": 0 });
    let mut keycloak = Keycloak::own_realm(rotating).await;
    let life = json!({ "attributes": { "access.token.lifespan": LIFE.to_string() } });
    keycloak.change_client(life).await;
    let sections = format!("{RULE}{}", profile("token", 18101));
    let hub = hub::start_in(&mut keycloak, BINARY, "", &sections, 18101).await;
    let alice = Person::sign_in(&hub, &keycloak, "alice").await;
    let began = Instant::now();
    assert_eq!(count(&hub, RENEWALS).await, 0);

    let (start, over) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let storm = (0..200).map(|_| ask_until(alice.hub.clone(), Arc::clone(&start), Arc::clone(&over)));
    let driver = async {
        let soon = DUE.saturating_sub(Duration::from_secs(4));
        eventually("the expiry near", || async { began.elapsed() > soon }).await;
        assert_eq!(count(&hub, RENEWALS).await, 0);
        start.store(true, Ordering::Relaxed);
        eventually("a renewal", || async { count(&hub, RENEWALS).await > 0 }).await;
        over.store(true, Ordering::Relaxed);
        Instant::now()
    };
    let (asked, renewed) = tokio::join!(join_all(storm), driver);
    let after = count(&hub, RENEWALS).await;
    assert!(renewed.elapsed() < DUE, "the storm lasted until the next renewal");
    assert_eq!((after, count(&hub, RENEWED).await), (1, 1), "after {} requests", asked.iter().sum::<usize>());
    measured(&format!("{} requests of 200 across the expiry", asked.iter().sum::<usize>()), began.elapsed());

    // Had a token been used twice, Keycloak would have ended the session by now.
    eventually("three more renewals", || async {
        assert!(alice.is_in().await);
        count(&hub, RENEWED).await >= 4
    })
    .await;
    assert_eq!(count(&hub, RENEWALS).await, count(&hub, RENEWED).await, "none failed");
    assert_eq!(keycloak.sessions("alice").await, 1);
    hub::clear(18101).await;
}

/// A hub that Keycloak tells of logouts.
async fn told_of_logouts(keycloak: &mut Keycloak, port: u16) -> Process {
    let sections = format!("{RULE}{}", profile("token", port));
    let hub = hub::start_in(keycloak, BINARY, "", &sections, port).await;
    let back_channel = json!({ "attributes": {
        "backchannel.logout.url": format!("{}/hub/backchannel-logout", hub.origin()),
        "backchannel.logout.session.required": "true",
    }});
    keycloak.change_client(back_channel).await;
    hub
}

/// That a terminal which closed at `end` did so within a second of the arrival of this logout token, the hub's `nth`.
async fn closed_within_a_second_of(hub: &Process, nth: usize, end: Instant) {
    let mut arrived = None;
    eventually("the hub's line about the logout token", || {
        let log = hub.log();
        let line = log.lines().filter(|line| line.contains("route=\"provider-logout\"")).nth(nth - 1);
        arrived = line.map(arrival);
        async move { arrived.is_some() }
    })
    .await;
    #[expect(clippy::disallowed_methods, reason = "compared with the log's time of day")]
    let ago = SystemTime::now().duration_since(arrived.unwrap()).expect("one clock");
    // It cannot have closed before.
    let took = ago.checked_sub(end.elapsed()).expect("it closed before the logout token arrived");
    measured("a logout token's arrival, to its terminal's end", took);
    assert!(took < Duration::from_secs(1), "{took:?}\n{}", hub.log());
}

/// When a request began, by its line in the hub's log: what it was written at, less what it took.
fn arrival(line: &str) -> SystemTime {
    let (written, _) = line.split_once(' ').unwrap();
    let written = humantime::parse_rfc3339(written).unwrap_or_else(|error| panic!("{error}: {line}"));
    let (_, took) = line.split_once("elapsed_us=").unwrap();
    let took: u64 = took.split(' ').next().unwrap().parse().unwrap();
    written - Duration::from_micros(took)
}

#[tokio::test]
async fn a_logout_by_an_administrator_closes_an_open_terminal_within_a_second() {
    let mut keycloak = Keycloak::own_realm(json!({})).await;
    let hub = told_of_logouts(&mut keycloak, 18102).await;
    let alice = Person::sign_in(&hub, &keycloak, "alice").await;
    let elsewhere = Person::sign_in(&hub, &keycloak, "alice").await;
    let (gone, mut stays) = (alice.terminal().await, elsewhere.terminal().await);

    // One session: Keycloak's page for it, "Sign out".
    let end = async { keycloak.end_session(&alice.sid).await };
    let ((), end) = tokio::join!(end, closed(gone, Duration::from_mins(1)));
    closed_within_a_second_of(&hub, 1, end).await;
    assert!(!alice.is_in().await);
    assert!(elsewhere.is_in().await && is_open(&mut stays).await, "another session goes on");

    // All of a user's.
    let bob = Person::sign_in(&hub, &keycloak, "bob").await;
    let end = async { keycloak.end_sessions("alice").await };
    let ((), end) = tokio::join!(end, closed(stays, Duration::from_mins(1)));
    closed_within_a_second_of(&hub, 2, end).await;
    assert!(!elsewhere.is_in().await && bob.is_in().await);
    assert_eq!(count(&hub, "hubgate_provider_logouts_total").await, 2);
    assert_eq!(count(&hub, "hubgate_provider_logouts_total{result=\"ok\"}").await, 2);
    hub::clear(18102).await;
}

#[tokio::test]
async fn a_disabled_user_is_out_within_the_stated_time() {
    let mut keycloak = Keycloak::own_realm(json!({})).await;
    let sections = format!("{OFTEN}{RULE}{}", profile("token", 18103));
    let hub = hub::start_in(&mut keycloak, BINARY, "", &sections, 18103).await;
    let alice = Person::sign_in(&hub, &keycloak, "alice").await;
    let terminal = alice.terminal().await;
    let bob = Person::sign_in(&hub, &keycloak, "bob").await;
    keycloak.change_user("alice", json!({ "enabled": false })).await;
    let disabled = Instant::now();
    let end = closed(terminal, STATED).await;
    measured("a user disabled, to their terminal's end", end - disabled);
    assert!(!alice.is_in().await && bob.is_in().await);
    hub.until_logged("User disabled").await;
    hub::clear(18103).await;
}

#[tokio::test]
async fn who_loses_the_role_that_lets_them_in_is_out_within_the_stated_time() {
    let mut keycloak = Keycloak::own_realm(json!({})).await;
    let sections = format!("{OFTEN}{RULE}{}", profile("token", 18104));
    let hub = hub::start_in(&mut keycloak, BINARY, "", &sections, 18104).await;
    let alice = Person::sign_in(&hub, &keycloak, "alice").await;
    let terminal = alice.terminal().await;
    let bob = Person::sign_in(&hub, &keycloak, "bob").await;
    keycloak.take_role("alice", "hub-user").await;
    let taken = Instant::now();
    let end = closed(terminal, STATED).await;
    measured("a role taken away, to the terminal's end", end - taken);
    assert!(!alice.is_in().await && bob.is_in().await);
    let (_, refused) = Person::try_to_sign_in(&hub, &keycloak, "alice").await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    hub::clear(18104).await;
}

#[tokio::test]
async fn who_loses_an_administrators_role_stays_with_less() {
    let mut keycloak = Keycloak::own_realm(json!({})).await;
    let extra = profile("token", 18105).replace("\"token\"", "\"extra\"").replace("JupyterLab", "Extra");
    let sections = format!(
        "{OFTEN}{RULE}profiles = [\"token\"]\n\
         [[rule]]\nrealm_roles = [\"hub-admin\"]\nadmin = true\nprofiles = [\"extra\"]\n{}{extra}",
        profile("token", 18105)
    );
    let hub = hub::start_in(&mut keycloak, BINARY, "", &sections, 18105).await;
    let mut carol = Person::sign_in(&hub, &keycloak, "carol").await;
    let page = carol.hub.open("/hub/spawn").await;
    assert!(page.text().contains("Start Extra"), "{}", page.text());
    let form = page.field("form_token").unwrap();
    let started = carol.hub.submit("/hub/spawn", &[("form_token", &form), ("profile", "token")]).await;
    assert_eq!(started.status, 303, "{}", started.text());
    let terminal = carol.terminal().await;

    keycloak.take_role("carol", "hub-admin").await;
    let taken = Instant::now();
    let end = closed(terminal, STATED).await;
    measured("an administrator's role taken away, to the terminal's end", end - taken);
    assert!(carol.is_in().await, "they may still enter");
    // What is opened anew is opened with less.
    is_open(&mut carol.terminal().await).await;
    let page = carol.hub.open("/hub/home").await;
    let form = page.field("form_token").unwrap();
    let refused = carol.hub.submit("/hub/spawn", &[("form_token", &form), ("profile", "extra")]).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    hub::clear(18105).await;
}

#[tokio::test]
async fn who_signs_out_here_is_signed_out_at_keycloak_and_told_so() {
    let mut keycloak = Keycloak::own_realm(json!({})).await;
    let hub = told_of_logouts(&mut keycloak, 18106).await;
    let mut alice = Person::sign_in(&hub, &keycloak, "alice").await;
    assert_eq!(keycloak.sessions("alice").await, 1);
    let form = alice.hub.open("/hub/logout").await.field("form_token").unwrap();
    let answer = alice.hub.submit("/hub/logout", &[("form_token", &form)]).await;
    let there = answer.header("location").expect("on to Keycloak").to_owned();
    assert!(there.starts_with(&keycloak.issuer()) && there.contains("id_token_hint="), "{there}");
    assert!(!alice.is_in().await);
    let answer = alice.keycloak.open(&path_and_query(&there)).await;
    let back =
        answer.header("location").unwrap_or_else(|| panic!("Keycloak asks: {}", answer.text())).to_owned();
    assert!(back.starts_with(&format!("{}/hub/logout?state=", hub.origin())), "{back}");
    assert_eq!(keycloak.sessions("alice").await, 0);
    let page = alice.hub.open(&path_and_query(&back)).await;
    assert!(page.text().contains("You are signed out here and at the login service."), "{}", page.text());
    // Keycloak tells the hub, too, whose session is over already.
    eventually("Keycloak's word", || async {
        count(&hub, "hubgate_provider_logouts_total{result=\"ok\"}").await == 1
    })
    .await;
    let form = alice.keycloak.open(&path_and_query(&hub_login(&mut alice.hub).await)).await;
    assert!(attribute(&form.text(), "action").is_some(), "the next login asks for a password");
}

/// Where a login leads.
async fn hub_login(browser: &mut Client) -> String {
    browser.open("/hub/login").await.header("location").expect("a login").to_owned()
}

#[tokio::test]
async fn a_logout_at_keycloak_ends_the_session_by_the_frame_of_its_page() {
    let mut keycloak = Keycloak::own_realm(json!({})).await;
    let sections = format!("{RULE}{}", profile("token", 18107));
    let hub = hub::start_in(&mut keycloak, BINARY, "", &sections, 18107).await;
    let front_channel = json!({ "frontchannelLogout": true, "attributes": {
        "frontchannel.logout.url": format!("{}/hub/frontchannel-logout", hub.origin()),
        "frontchannel.logout.session.required": "true",
    }});
    keycloak.change_client(front_channel).await;
    let mut alice = Person::sign_in(&hub, &keycloak, "alice").await;
    let elsewhere = Person::sign_in(&hub, &keycloak, "alice").await;

    // They sign out at Keycloak itself, as by "Sign out" in its account pages.
    let path = path_and_query(&format!("{}/protocol/openid-connect/logout", keycloak.issuer()));
    let asks = alice.keycloak.open(&path).await;
    let action = attribute(&asks.text(), "action").unwrap_or_else(|| panic!("{}", asks.text()));
    let code = asks.field("session_code").unwrap_or_default();
    let fields = [("session_code", &*code), ("confirmLogout", "Logout")];
    let page = alice.keycloak.submit(&target(&action), &fields).await;
    let shown = page.text();
    let frame = shown.split_once("<iframe").and_then(|(_, frame)| attribute(frame, "src"));
    let frame = frame.unwrap_or_else(|| panic!("no frame: {} {shown}", page.status));
    let url = Url::parse(&frame).unwrap();
    assert!(frame.starts_with(&format!("{}/hub/frontchannel-logout?", hub.origin())), "{frame}");
    let named =
        |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    assert_eq!((named("iss"), named("sid")), (Some(keycloak.issuer()), Some(alice.sid.clone())));
    let policy = page.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains(&hub.host()), "browsers would not load the frame: {policy}");
    assert!(alice.is_in().await, "nothing has loaded it yet");

    // A browser loads it as a frame of another site: without cookies.
    let as_a_frame = [
        ("Accept", "text/html"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "iframe"),
    ];
    let loaded = hub.client().send("GET", &path_and_query(&frame), &as_a_frame, b"").await;
    assert_eq!(loaded.status, 200, "{}", loaded.text());
    let ancestors = loaded.header("content-security-policy").unwrap_or_default();
    assert!(ancestors.contains(&format!("frame-ancestors https://{}", alice.keycloak.host())), "{ancestors}");
    assert!(!alice.is_in().await && elsewhere.is_in().await);
}

#[tokio::test]
async fn keys_change_under_load_and_nobody_notices() {
    let mut keycloak = Keycloak::own_realm(json!({})).await;
    keycloak.change_client(json!({ "attributes": { "access.token.lifespan": "5" } })).await;
    let sections = format!("{RULE}{}", profile("token", 18108));
    let hub = hub::start_in(&mut keycloak, BINARY, "", &sections, 18108).await;
    let alice = Person::sign_in(&hub, &keycloak, "alice").await;
    let over = Arc::<AtomicBool>::default();
    let requests =
        (0..8).map(|_| ask_until(alice.hub.clone(), Arc::new(AtomicBool::new(true)), Arc::clone(&over)));
    let mut admin = keycloak.again().await;
    let logins = async {
        while !over.load(Ordering::Relaxed) {
            Person::sign_in(&hub, &keycloak, "bob").await;
        }
    };
    let driver = async {
        go_on(&hub, "before").await;
        let old = admin.add_key().await;
        go_on(&hub, "with a newer key").await;
        for (what, config) in
            [("passive", json!({ "active": ["false"] })), ("disabled", json!({ "enabled": ["false"] }))]
        {
            for key in &old {
                admin.change_key(key, config.clone()).await;
            }
            go_on(&hub, what).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    let (asked, (), ()) = tokio::join!(join_all(requests), logins, driver);
    assert!(asked.iter().all(|asked| *asked > 0));
    // One look at all of them: a renewal may end between two.
    let (_, metrics) = hub.operations("/metrics").await;
    for counted in [RENEWALS, "hubgate_logins_total"] {
        let mut results = metrics.lines().filter(|line| line.starts_with(counted));
        assert!(results.all(|line| line.contains("result=\"ok\"")), "{metrics}\n{}", hub.log());
    }
    hub.until_logged("provider keys fetched again").await;
}

/// Waits for two more renewals and two more logins.
async fn go_on(hub: &Process, when: &str) {
    let counts =
        || async { (count(hub, RENEWED).await, count(hub, "hubgate_logins_total{result=\"ok\"}").await) };
    let (renewals, logins) = counts().await;
    eventually(&format!("renewals and logins, {when}"), || async {
        let now = counts().await;
        now.0 >= renewals + 2 && now.1 >= logins + 2
    })
    .await;
}

#[tokio::test]
async fn what_keycloak_issued_before_not_before_ends_with_the_next_login_of_anybody() {
    let mut keycloak = Keycloak::own_realm(json!({})).await;
    let sections = format!("{RULE}{}", profile("token", 18109));
    let hub = hub::start_in(&mut keycloak, BINARY, "", &sections, 18109).await;
    let alice = Person::sign_in(&hub, &keycloak, "alice").await;
    let clock = hubgate::clock::Clock::system();
    let not_before = clock.now() + 1;
    eventually("a later second", || async { clock.now() > not_before }).await;
    keycloak.change_realm(json!({ "notBefore": not_before })).await;
    let bob = Person::sign_in(&hub, &keycloak, "bob").await;
    let begun = Instant::now();
    eventually("the old session over", || async { !alice.is_in().await }).await;
    measured("a login after not-before, to the end of an older session", begun.elapsed());
    assert!(bob.is_in().await);
}
