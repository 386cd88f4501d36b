//! Signing out, here and at the provider, and what begins there.

use std::time::Duration;

use serde_json::json;
use support::client::{Answer, Client};
use support::eventually::eventually;
use support::hub::{EVERYONE, Hub, PROFILE};
use support::provider::{Draft, Signed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use url::Url;

use crate::BINARY;
use crate::day::{closed, websocket};

const BACK_CHANNEL: &str = "/hub/backchannel-logout";

/// Signs in, and answers the browser with the name of the provider's session.
async fn signed_in(hub: &Hub, user: &str) -> (Client, String) {
    let mut client = hub.client();
    let (back, sid) = answer(hub, &mut client, user).await;
    assert_eq!(client.open(&back).await.status, 303);
    (client, sid)
}

/// A login up to the answer of the provider, and the provider's session in it.
async fn answer(hub: &Hub, client: &mut Client, user: &str) -> (String, String) {
    let begun = client.open("/hub/login?next=/hub/home").await;
    let back = hub.answer_of_provider(begun.header("location").unwrap(), user).await;
    let url = Url::parse(&format!("https://hub.example{back}")).unwrap();
    let sid = url.query_pairs().find(|(name, _)| name == "session_state").unwrap().1.into_owned();
    (back, sid)
}

async fn is_in(client: &Client) -> bool {
    client.clone().open("/hub/home").await.status == 200
}

/// The answer of section 2.8 of Back-Channel Logout 1.0.
fn is_refusal(answer: &Answer) {
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("invalid_request"), "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_logout_at_the_provider_closes_the_websockets_of_that_session_and_of_no_other() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let (alice, sid) = signed_in(&hub, "alice").await;
    let (elsewhere, _) = signed_in(&hub, "alice").await;
    let gone = websocket(&alice, "alice").await;
    let mut stays = websocket(&elsewhere, "alice").await;
    let answer = hub.provider().logout_token(Some(&sid)).post(&alice, BACK_CHANNEL).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    closed(gone).await;
    assert!(!is_in(&alice).await);
    let api = alice.clone().send("GET", "/user/alice/api/contents", &[], b"").await;
    assert_eq!(api.status, 401, "a page that is still open is told, not sent to a login");
    assert!(is_in(&elsewhere).await);
    stays.write_all(b"\x81\x81\0\0\0\0x").await.unwrap();
    assert!(stays.read_u8().await.is_ok(), "another session's websocket goes on");
}

#[tokio::test]
async fn slow_strangers_keep_no_logout_of_the_provider_waiting() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let (alice, sid) = signed_in(&hub, "alice").await;
    let gone = websocket(&alice, "alice").await;
    let mut stalled = Vec::new();
    for _ in 0..16 {
        let mut stream = hub.client().connect(&["http/1.1"]).await;
        let head = format!(
            "POST {BACK_CHANNEL} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
            hub.host(),
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // It is said when the body is waited for.
        let mut answer = [0; 12];
        timeout(Duration::from_secs(5), stream.read_exact(&mut answer)).await.expect("waits").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100");
        stalled.push(stream);
    }
    let logout = hub.provider().logout_token(Some(&sid));
    let answer = timeout(Duration::from_secs(5), logout.post(&alice, BACK_CHANNEL)).await.expect("no wait");
    assert_eq!(answer.status, 200, "{}", answer.text());
    closed(gone).await;
    assert!(!is_in(&alice).await);
    drop(stalled);
}

#[tokio::test]
async fn a_logout_without_a_session_ends_all_of_the_persons_sessions() {
    let hub = Hub::start(BINARY).await;
    let (first, _) = signed_in(&hub, "alice").await;
    let (second, _) = signed_in(&hub, "alice").await;
    let (bob, _) = signed_in(&hub, "bob").await;
    hub.provider().user("alice", json!({}));
    let logout = hub.provider().logout_token(None);
    assert_eq!(logout.post(&bob, BACK_CHANNEL).await.status, 200);
    assert!(!is_in(&first).await && !is_in(&second).await && is_in(&bob).await);
    // The same once more is no logout of those who have signed in since: a moment later by the provider's clock, which
    // counts in seconds.
    hub.provider().set_time(hubgate::clock::Clock::system().now() + 2);
    let (again, _) = signed_in(&hub, "alice").await;
    is_refusal(&logout.post(&bob, BACK_CHANNEL).await);
    assert!(is_in(&again).await);
    hub.process().until_logged("a logout token is refused").await;
}

#[tokio::test]
async fn a_session_nobody_has_is_logged_out_all_the_same() {
    let hub = Hub::start(BINARY).await;
    let answer = hub.provider().logout_token(Some("unknown")).post(&hub.client(), BACK_CHANNEL).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_logout_token_that_is_not_in_order_ends_nothing() {
    let hub = Hub::start(BINARY).await;
    let (alice, sid) = signed_in(&hub, "alice").await;
    let provider = hub.provider();
    let token = || provider.logout_token(Some(&sid));
    let event = "http://schemas.openid.net/event/backchannel-logout";
    let cases: Vec<(&str, Draft)> = vec![
        ("no signature", token().signed(Signed::Not)),
        ("algorithm none", token().signed(Signed::ByNobody)),
        ("another key", token().signed(Signed::ByAnotherKey)),
        ("an unknown key", token().signed(Signed::ByAnUnknownKey)),
        ("a MAC of the secret", token().signed(Signed::BySecret)),
        ("a MAC of the public key", token().signed(Signed::ByPublicKey)),
        ("another algorithm", token().signed(Signed::Ps256)),
        ("another audience", token().claim("aud", "other")),
        ("no audience", token().without("aud")),
        ("another issuer", token().claim("iss", "https://evil.example/realms/test")),
        ("a nonce", token().claim("nonce", "n")),
        ("no events", token().without("events")),
        ("another event", token().claim("events", json!({"http://schemas.openid.net/event/x": {}}))),
        ("an event that is no object", token().claim("events", json!({event: true}))),
        ("neither sid nor sub", token().without("sid").without("sub")),
        ("no jti", token().without("jti")),
        ("no iat", token().without("iat")),
        ("issued long ago", token().claim("iat", 1_000_000_000)),
        ("expired", token().claim("exp", 1_000_000_000)),
        ("an ID token", token().claim("typ", "ID")),
        ("an access token", token().header("typ", "at+jwt")),
    ];
    for (what, draft) in cases {
        let answer = draft.post(&alice, BACK_CHANNEL).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        assert!(is_in(&alice).await, "{what}");
    }
    assert_eq!(token().post(&alice, BACK_CHANNEL).await.status, 200, "the last is in order");
    assert!(!is_in(&alice).await);
}

#[tokio::test]
async fn a_logout_token_that_anybody_can_make_up_writes_no_warning() {
    let hub = Hub::start(BINARY).await;
    let warns = || {
        let log = hub.process().log();
        log.lines().any(|line| line.contains("WARN") && line.contains("a logout token is refused"))
    };
    let token = || hub.provider().logout_token(Some("s"));
    for signed in [Signed::Not, Signed::ByNobody, Signed::ByAnotherKey, Signed::ByAnUnknownKey] {
        is_refusal(&token().signed(signed).post(&hub.client(), BACK_CHANNEL).await);
    }
    is_refusal(&token().claim("iss", "https://evil.example").post(&hub.client(), BACK_CHANNEL).await);
    let told = || {
        let log = hub.process().log();
        log.lines()
            .filter(|line| line.contains(" INFO ") && line.contains("a logout token is refused"))
            .count()
    };
    eventually("each of them is told", || async { told() == 5 }).await;
    assert!(!warns(), "{}", hub.process().log());
    is_refusal(&token().claim("aud", "other").post(&hub.client(), BACK_CHANNEL).await);
    eventually("a warning", || async { warns() }).await;
}

#[tokio::test]
async fn a_logout_token_comes_in_a_form_and_in_no_other_way() {
    let hub = Hub::start(BINARY).await;
    let (alice, sid) = signed_in(&hub, "alice").await;
    let token = hub.provider().logout_token(Some(&sid)).token();
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let mut stranger = hub.client();
    let query = format!("{BACK_CHANNEL}?logout_token={token}");
    assert_eq!(stranger.send("GET", &query, &[], b"").await.status, 405);
    is_refusal(&stranger.send("POST", &query, &form, b"").await);
    let twice = format!("logout_token={token}&logout_token={token}");
    is_refusal(&stranger.send("POST", BACK_CHANNEL, &form, twice.as_bytes()).await);
    let json = json!({ "logout_token": token }).to_string();
    let answer =
        stranger.send("POST", BACK_CHANNEL, &[("Content-Type", "application/json")], json.as_bytes());
    assert_eq!(answer.await.status, 400);
    // Hardly more than is read: whoever sends much more may not get round to the answer.
    let large = format!("logout_token={}", "x".repeat(64 * 1024));
    let answer = stranger.send("POST", BACK_CHANNEL, &form, large.as_bytes()).await;
    assert_eq!(answer.status, 413);
    assert!(is_in(&alice).await);
    let once = format!("logout_token={token}");
    assert_eq!(stranger.send("POST", BACK_CHANNEL, &form, once.as_bytes()).await.status, 200);
    assert!(!is_in(&alice).await);
}

#[tokio::test]
async fn a_login_that_was_ended_before_it_was_finished_begins_no_session() {
    let hub = Hub::start(BINARY).await;
    let mut client = hub.client();
    let (back, sid) = answer(&hub, &mut client, "alice").await;
    assert_eq!(hub.provider().logout_token(Some(&sid)).post(&client, BACK_CHANNEL).await.status, 200);
    let answer = client.open(&back).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(client.cookie("__Host-hubgate").is_none());
    // The next one, with a session of its own at the provider, does.
    let (client, _) = signed_in(&hub, "alice").await;
    assert!(is_in(&client).await);
}

#[tokio::test]
async fn a_logout_that_was_said_once_holds_after_a_restart() {
    let mut hub = Hub::start(BINARY).await;
    let (alice, sid) = signed_in(&hub, "alice").await;
    assert_eq!(hub.provider().logout_token(Some(&sid)).post(&alice, BACK_CHANNEL).await.status, 200);
    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    assert!(!is_in(&alice).await);
}

#[tokio::test]
async fn a_frame_of_the_provider_ends_the_session_it_names() {
    let hub = Hub::start(BINARY).await;
    let (alice, sid) = signed_in(&hub, "alice").await;
    let (elsewhere, _) = signed_in(&hub, "alice").await;
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let issuer = encode(&hub.provider().issuer());
    let path = |iss: &str, sid: &str| format!("/hub/frontchannel-logout?iss={iss}&sid={sid}");
    // A frame of another site: browsers send no cookie.
    let frame = [
        ("Accept", "text/html"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "iframe"),
    ];
    let mut stranger = hub.client();
    for (wrong, status) in [
        ("/hub/frontchannel-logout".to_owned(), 400),
        (format!("/hub/frontchannel-logout?iss={issuer}"), 400),
        (format!("/hub/frontchannel-logout?sid={}", encode(&sid)), 400),
        (path(&issuer, ""), 400),
        (format!("{}&sid={}", path(&issuer, &encode(&sid)), encode(&sid)), 400),
        (path(&encode("https://evil.example"), &encode(&sid)), 404),
        (path(&issuer, "unknown"), 200),
    ] {
        assert_eq!(stranger.send("GET", &wrong, &frame, b"").await.status, status, "{wrong}");
        assert!(is_in(&alice).await, "{wrong}");
    }
    let right = path(&issuer, &encode(&sid));
    assert_eq!(stranger.send("POST", &right, &frame, b"").await.status, 403);
    let answer = stranger.send("GET", &right, &frame, b"").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-frame-options"), None, "the provider frames it");
    let origin = Url::parse(&hub.provider().issuer()).unwrap().origin().ascii_serialization();
    let policy = answer.header("content-security-policy").unwrap();
    assert_eq!(policy, format!("default-src 'none'; frame-ancestors {origin}"));
    assert!(!is_in(&alice).await && is_in(&elsewhere).await);
}

/// Signs out up to where the provider sends the browser back to.
async fn sign_out(hub: &Hub, client: &mut Client) -> Url {
    let asks = client.open("/hub/logout").await;
    let token = asks.field("form_token").unwrap();
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Origin", &*hub.origin()),
        ("Sec-Fetch-Site", "same-origin"),
    ];
    let answer = client.send("POST", "/hub/logout", &headers, format!("form_token={token}").as_bytes()).await;
    let to_provider = Url::parse(answer.header("location").unwrap()).unwrap();
    hub.provider().visit(&to_provider).await.unwrap()
}

#[tokio::test]
async fn who_is_back_from_the_provider_is_told_whether_they_are_signed_out_there() {
    let hub = Hub::start(BINARY).await;
    let (mut alice, _) = signed_in(&hub, "alice").await;
    let back = sign_out(&hub, &mut alice).await;
    assert!(back.query_pairs().any(|(name, _)| name == "state"));
    let page = alice.open(&format!("/hub/logout?{}", back.query().unwrap())).await;
    assert!(page.text().contains("here and at the login service"), "{}", page.text());
    let page = alice.open(&format!("/hub/logout?{}", back.query().unwrap())).await;
    assert!(!page.text().contains("at the login service"), "it is told once");

    for query in ["", "?state=", "?state=other"] {
        let (mut alice, _) = signed_in(&hub, "alice").await;
        sign_out(&hub, &mut alice).await;
        let page = alice.open(&format!("/hub/logout{query}")).await;
        assert_eq!(page.status, 200);
        assert!(page.text().contains("is not known"), "{query}: {}", page.text());
        assert!(!is_in(&alice).await, "the session is over all the same");
    }
}

#[tokio::test]
async fn who_signs_out_while_the_provider_is_away_is_signed_out_here() {
    let hub = Hub::start(BINARY).await;
    let (mut alice, _) = signed_in(&hub, "alice").await;
    let token = alice.open("/hub/logout").await.field("form_token").unwrap();
    let before = alice.clone();
    hub.provider().stop();
    let answer = alice.submit("/hub/logout", &[("form_token", &token)]).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!(alice.cookie("__Host-hubgate"), None);
    assert!(!is_in(&before).await, "the cookie opens nothing either, whether the browser goes on or not");
}

#[tokio::test]
async fn what_keycloaks_own_adapters_answer_is_not_there() {
    let hub = Hub::start(BINARY).await;
    let (alice, _) = signed_in(&hub, "alice").await;
    for path in ["/k_logout", "/k_push_not_before", "/hub/k_logout", "/k_version", "/k_test_available"] {
        assert_eq!(hub.client().send("POST", path, &[], b"x").await.status, 404, "{path}");
    }
    assert!(is_in(&alice).await);
}

#[tokio::test]
async fn a_browser_that_loses_its_session_again_and_again_goes_round_no_more() {
    let hub = Hub::start(BINARY).await;
    let mut client = hub.client();
    for round in 1..=3 {
        let (back, _) = answer(&hub, &mut client, "alice").await;
        assert_eq!(client.open(&back).await.status, 303, "round {round}");
        // The browser keeps everything but this.
        client.forget_cookie("__Host-hubgate");
    }
    let page = client.open("/hub/login?next=/user/alice/lab").await;
    assert_eq!(page.status, 400);
    assert!(page.header("location").is_none());
    assert!(page.text().contains("leads round in a circle"), "{}", page.text());
    assert!(page.text().contains("does not keep this hub"), "{}", page.text());
    let mut twin = client.clone();
    twin.set_cookie("x", "1; __Host-hubgate=a; __Host-hubgate=b");
    let page = twin.open("/hub/login").await;
    assert!(page.text().contains("two cookies of this hub"), "{}", page.text());
    // Nobody else is kept out.
    assert_eq!(hub.client().open("/hub/login").await.status, 303);
}

#[tokio::test]
async fn an_answer_counts_once() {
    let hub = Hub::start(BINARY).await;
    let mut client = hub.client();
    let (back, _) = answer(&hub, &mut client, "alice").await;
    let mut copy = client.clone();
    assert_eq!(client.open(&back).await.status, 303);
    let exchanged = hub.provider().count("token");
    assert_eq!(copy.open(&back).await.status, 400, "not even with its cookie");
    let again = client.open(&back).await;
    assert_eq!((again.status, again.header("location")), (303, Some("/")), "who is in goes on");
    assert_eq!(hub.provider().count("token"), exchanged, "the code was sent once");
}

#[tokio::test]
async fn who_comes_back_late_is_sent_again_and_then_to_where_they_wanted() {
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{PROFILE}[session]\nlogin_timeout = \"1s\"\n")).await;
    let mut client = hub.client();
    let (back, _) = answer(&hub, &mut client, "alice").await;
    let began = hubgate::clock::Clock::system().now();
    eventually("lunch is over", || async { hubgate::clock::Clock::system().now() > began + 2 }).await;
    let exchanged = hub.provider().count("token");
    let again = client.open(&back).await;
    assert_eq!(again.status, 303);
    assert_eq!(hub.provider().count("token"), exchanged, "the late code is not used");
    let back = hub.answer_of_provider(again.header("location").unwrap(), "alice").await;
    let done = client.open(&back).await;
    assert_eq!((done.status, done.header("location")), (303, Some("/hub/home")));
}
