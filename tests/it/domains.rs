//! A host of its own for each user.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use support::client::{Answer, Client, read_answer};
use support::eventually::found;
use support::hub::{EVERYONE, Hub, PROFILE};
use support::process::USER_DOMAINS;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use crate::BINARY;
use crate::day::{plain, websocket};

pub(crate) const HOME: &str = "hub.example:8443";
pub(crate) const ALICE: &str = "alice.hub.example:8443";
pub(crate) const BOB: &str = "bob.hub.example:8443";

async fn hub() -> Hub {
    Hub::with(BINARY, &format!("{USER_DOMAINS}{EVERYONE}{PROFILE}")).await
}

/// A browser with cookies for each host.
#[derive(Debug, Clone)]
pub(crate) struct Browser {
    at: BTreeMap<String, Client>,
    new: Client,
}

impl Browser {
    pub(crate) fn new(hub: &Hub) -> Self {
        Self { at: BTreeMap::new(), new: hub.client() }
    }

    /// One in which somebody has signed in, at the hub.
    pub(crate) async fn of(hub: &Hub, user: &str) -> Self {
        Self::signed_in(hub.signed_in(user).await)
    }

    /// The one that this client is at the hub.
    pub(crate) fn signed_in(client: Client) -> Self {
        Self { at: [(HOME.to_owned(), client.clone())].into(), new: client }
    }

    /// Another, at the hub, that has never been anywhere.
    pub(crate) fn new_client(&self) -> Client {
        self.new.fresh()
    }

    pub(crate) fn at(&mut self, host: &str) -> &mut Client {
        let new = self.new.at(host);
        self.at.entry(host.to_owned()).or_insert(new)
    }

    /// Opens a page, goes where it is sent within these hosts, and says where it was.
    pub(crate) async fn open(&mut self, url: &str) -> (Vec<String>, Answer) {
        let mut url = Url::parse(url).unwrap();
        let mut way = Vec::new();
        for _ in 0..10 {
            let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(443));
            let target = &url[url::Position::BeforePath..];
            let answer = self.at(&host).open(target).await;
            way.push(format!("{}{}", url.host_str().unwrap(), url.path()));
            let Some(location) = answer.header("location") else { return (way, answer) };
            url = url.join(location).unwrap();
            if !url.host_str().unwrap().ends_with("hub.example") {
                return (way, answer);
            }
        }
        panic!("it goes round: {way:?}");
    }

    /// The same until the server has started.
    pub(crate) async fn until_open(&mut self, url: &str) -> Answer {
        found(&format!("{url} to start"), Duration::ZERO, async || {
            Some(self.open(url).await.1).filter(|answer| answer.status != 503)
        })
        .await
    }
}

/// A user whose server runs at their own host.
pub(crate) async fn working(hub: &Hub, user: &str) -> Browser {
    hub.answer_at(user, "").await;
    let mut browser = Browser::of(hub, user).await;
    let answer = browser.until_open(&format!("https://{HOME}/user/{user}/started")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    browser
}

#[tokio::test]
async fn a_users_server_is_at_a_host_of_their_own() {
    let hub = hub().await;
    working(&hub, "alice").await;
    let mut browser = Browser::of(&hub, "alice").await;
    let (way, answer) = browser.open(&format!("https://{HOME}/user/alice/lab?a=%2F")).await;
    let expected = [
        "hub.example/user/alice/lab",
        "alice.hub.example/user/alice/lab",
        "hub.example/hub/enter",
        "alice.hub.example/hub/entered",
        "alice.hub.example/user/alice/lab",
    ];
    assert_eq!((way, answer.status), (expected.map(str::to_owned).to_vec(), 200));
    let seen = hub.last_request("alice");
    assert_eq!(seen.target, "/user/alice/lab?a=%2F");
    for name in ["host", "x-forwarded-host"] {
        assert_eq!(seen.header(name), Some(ALICE), "{name}");
    }
    assert!(!seen.header("cookie").is_some_and(|cookies| cookies.contains("hubgate")), "{seen:?}");
    // From now on there is no detour.
    let (way, _) = browser.open(&format!("https://{ALICE}/user/alice/lab")).await;
    assert_eq!(way, ["alice.hub.example/user/alice/lab"]);
    let answer = browser.at(ALICE).fetch("POST", "/user/alice/api/contents", b"{}").await;
    assert_eq!(answer.status, 200, "a page there is of this origin");
}

#[tokio::test]
async fn whoever_is_signed_out_signs_in_at_the_hub_and_is_back_at_their_page() {
    let hub = hub().await;
    working(&hub, "alice").await;
    let mut browser = Browser::new(&hub);
    let (way, answer) = browser.open(&format!("https://{ALICE}/user/alice/lab")).await;
    assert_eq!(way, ["alice.hub.example/user/alice/lab", "hub.example/hub/enter", "hub.example/hub/login"]);
    let back = hub.answer_of_provider(answer.header("location").unwrap(), "alice").await;
    let (way, answer) = browser.open(&format!("https://{HOME}{back}")).await;
    assert_eq!(way.last().unwrap(), "alice.hub.example/user/alice/lab", "{way:?}");
    assert_eq!(answer.status, 200);
    // A script is told so, and not sent round.
    let answer = hub.client().at(ALICE).fetch("GET", "/user/alice/api/contents", b"").await;
    assert_eq!((answer.status, answer.header("location")), (401, None));
}

#[tokio::test]
async fn what_a_browser_holds_at_one_host_is_worth_nothing_at_another() {
    let hub = hub().await;
    let mut alice = working(&hub, "alice").await;
    let mut bob = working(&hub, "bob").await;
    let session =
        |browser: &mut Browser, host: &str| browser.at(host).cookie("__Host-hubgate").unwrap().to_owned();
    let (at_hub, at_alice) = (session(&mut alice, HOME), session(&mut alice, ALICE));
    let at_bob = session(&mut bob, BOB);
    let before = (hub.requests("alice"), hub.requests("bob"));
    let (proof_of_bob, id_of_alice) =
        (at_bob.split_once('.').unwrap().1, at_alice.split_once('.').unwrap().0);
    for (host, target, cookie) in [
        (ALICE, "/user/alice/api/contents", at_hub.clone()),
        (ALICE, "/user/alice/api/contents", at_bob.clone()),
        (ALICE, "/user/alice/api/contents", format!("{id_of_alice}.{proof_of_bob}")),
        (ALICE, "/user/alice/api/contents", format!("{at_alice}x")),
        (ALICE, "/user/alice/api/contents", format!("{id_of_alice}.")),
        (BOB, "/user/bob/api/contents", at_alice.clone()),
        (HOME, "/hub/api/user", at_alice.clone()),
    ] {
        let mut client = hub.client().at(host);
        client.set_cookie("__Host-hubgate", &cookie);
        let answer = client.fetch("GET", target, b"").await;
        assert!(matches!(answer.status, 401 | 403), "{cookie} at {host}: {}", answer.status);
    }
    assert_eq!((hub.requests("alice"), hub.requests("bob")), before, "no server heard of it");
    let ids = [alice.at(HOME).clone(), alice.at(ALICE).clone()]
        .map(|client| client.cookie("jupyterhub-session-id").unwrap().to_owned());
    assert_ne!(ids[0], ids[1], "what images see is of this host only");
}

#[tokio::test]
async fn each_address_is_at_one_host_and_nothing_that_changes_something_is_sent_on() {
    let hub = hub().await;
    let mut alice = working(&hub, "alice").await;
    working(&hub, "bob").await;
    let before = (hub.requests("alice"), hub.requests("bob"));
    for (host, path, place) in [
        (ALICE, "/", HOME),
        (ALICE, "/hub/home", HOME),
        (ALICE, "/hub/token?a=b", HOME),
        (ALICE, "/hub/logout", HOME),
        (ALICE, "/hub/enter?state=x", HOME),
        (ALICE, "/hub/api/users/alice/tokens", HOME),
        (ALICE, "/nothing", HOME),
        (ALICE, "/user/bob/lab", BOB),
        (HOME, "/user/bob/lab", BOB),
        (HOME, "/user/alice/lab", ALICE),
        (HOME, "/user/anna@epfl.ch/lab", "u-anna-epfl-ch--974c535aa749c0b81b7aca7c2104efa2.hub.example:8443"),
    ] {
        let answer = alice.at(host).open(path).await;
        let expected = format!("https://{place}{path}");
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, Some(expected.as_str())),
            "{host}{path}"
        );
        let answer = alice.at(host).fetch("POST", path, b"{}").await;
        assert_eq!((answer.status, answer.header("location")), (421, None), "{host}{path}");
        assert!(answer.header("set-cookie").is_none());
    }
    let answer = alice.at(HOME).open("/hub/entered?code=x").await;
    assert_eq!(answer.status, 404, "it is for users' hosts");
    let socket = [
        ("Upgrade", "websocket"),
        ("Connection", "upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Origin", "https://hub.example:8443"),
    ];
    let answer = alice.at(HOME).send("GET", "/user/alice/api/kernels/1/channels", &socket, b"").await;
    assert_eq!(answer.status, 421);
    for other in ["x.alice.hub.example:8443", "alice.hub.example.:8443", "alice.hub.example:8080"] {
        let request = format!("GET /user/alice/lab HTTP/1.1\r\nHost: {other}\r\nConnection: close\r\n\r\n");
        assert_eq!(hub.client().at(ALICE).raw(request.as_bytes()).await.status, 421, "{other}");
    }
    assert_eq!((hub.requests("alice"), hub.requests("bob")), before, "no server heard of it");
}

/// Where the hub sends a browser back to, which came from a user's host.
async fn code_for(browser: &mut Browser, page: &str) -> String {
    let to_hub = browser.at(ALICE).open(page).await.header("location").unwrap().to_owned();
    let to_hub = Url::parse(&to_hub).unwrap();
    let answer = browser.at(HOME).open(&to_hub[url::Position::BeforePath..]).await;
    let back = Url::parse(answer.header("location").unwrap()).unwrap();
    assert_eq!(back.host_str(), Some("alice.hub.example"));
    back[url::Position::BeforePath..].to_owned()
}

#[tokio::test]
async fn a_code_for_a_host_is_good_once_and_in_the_browser_that_asked() {
    let hub = hub().await;
    working(&hub, "alice").await;
    let mut alice = Browser::of(&hub, "alice").await;
    // Somebody who gets it sent, or finds it: it began in another browser.
    let code = code_for(&mut alice, "/user/alice/lab").await;
    let mut other = Browser::new(&hub);
    other.at(ALICE).open("/user/alice/lab").await;
    let answer = other.at(ALICE).open(&code).await;
    assert_eq!(answer.header("location"), Some("/user/alice/"), "it has to ask for itself");
    assert_eq!(other.at(ALICE).cookie("__Host-hubgate"), None);
    let mut none = Browser::new(&hub);
    let answer = none.at(ALICE).open(&code).await;
    assert_eq!((answer.status, none.at(ALICE).cookie("__Host-hubgate")), (400, None));
    alice.at(ALICE).open(&code).await;
    assert_eq!(alice.at(ALICE).cookie("__Host-hubgate"), None, "it is used up");
    // At another host of hers it would be somebody else's.
    let code = code_for(&mut alice, "/user/alice/lab").await;
    let cookie = alice.at(ALICE).cookie("__Host-hubgate-entry").unwrap().to_owned();
    alice.at(BOB).set_cookie("__Host-hubgate-entry", &cookie);
    let answer = alice.at(BOB).open(&code).await;
    assert_eq!((answer.status, alice.at(BOB).cookie("__Host-hubgate")), (400, None));

    // The rounds before were hers, too.
    alice.at(ALICE).forget_cookie("__Host-hubgate-rounds");
    let code = code_for(&mut alice, "/user/alice/lab").await;
    let answer = alice.at(ALICE).open(&code).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/user/alice/lab")));
    let first = alice.at(ALICE).cookie("__Host-hubgate").unwrap().to_owned();
    alice.at(ALICE).forget_cookie("__Host-hubgate");
    let answer = alice.at(ALICE).open(&code).await;
    assert_eq!((answer.status, alice.at(ALICE).cookie("__Host-hubgate")), (303, None), "a second time");
    assert_eq!(
        answer.header("location"),
        Some("/user/alice/lab"),
        "by the back button: through the hub again"
    );
    let (way, answer) = alice.open(&format!("https://{ALICE}/user/alice/lab")).await;
    assert_eq!((way.len(), answer.status), (4, 200), "{way:?}");
    alice.at(ALICE).forget_cookie("__Host-hubgate");
    alice.at(ALICE).forget_cookie("__Host-hubgate-rounds");
    // Two tabs, two codes.
    let codes = [code_for(&mut alice, "/user/alice/a").await, code_for(&mut alice, "/user/alice/b").await];
    for (code, page) in codes.iter().zip(["/user/alice/a", "/user/alice/b"]) {
        assert_eq!(alice.at(ALICE).open(code).await.header("location"), Some(page));
    }
    assert_eq!(alice.at(ALICE).cookie("__Host-hubgate"), Some(first.as_str()), "one session, one cookie");
}

#[tokio::test]
async fn the_hub_sends_nobody_to_where_they_may_not_be() {
    let hub = hub().await;
    working(&hub, "alice").await;
    let mut bob = Browser::of(&hub, "bob").await;
    let before = hub.requests("alice");
    let (way, answer) = bob.open(&format!("https://{ALICE}/user/alice/lab")).await;
    assert_eq!(way, ["alice.hub.example/user/alice/lab", "hub.example/hub/enter"]);
    assert_eq!((answer.status, answer.header("location")), (403, None));
    assert_eq!((bob.at(ALICE).cookie("__Host-hubgate"), hub.requests("alice")), (None, before));

    let state = "A".repeat(43);
    for next in [
        "",
        "/",
        "/hub/home",
        "https://evil.example/user/bob/",
        "//evil.example/user/bob/",
        "/user/bob\\@evil.example",
        "/user//evil.example/",
        "/user/",
        "/user/bob/%2e%2e/alice/",
        "/user/-/",
        "evil",
    ] {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("state", &state)
            .append_pair("next", next)
            .finish();
        let answer = bob.at(HOME).open(&format!("/hub/enter?{query}")).await;
        assert_eq!((answer.status, answer.header("location")), (400, None), "{next}");
    }
    for state in ["", "short", &"A".repeat(44)] {
        let answer = bob.at(HOME).open(&format!("/hub/enter?state={state}&next=/user/bob/")).await;
        assert_eq!((answer.status, answer.header("location")), (400, None), "{state}");
    }
    // Nor anybody who opens no page: a frame, a picture, a script, a page that is loaded ahead.
    let there = format!("/hub/enter?state={state}&next=/user/bob/");
    assert_eq!(bob.at(HOME).open(&there).await.status, 303);
    for (mode, dest, purpose) in [
        ("navigate", "iframe", None),
        ("no-cors", "image", None),
        ("cors", "empty", None),
        ("navigate", "document", Some("prefetch")),
    ] {
        let mut headers = vec![("Accept", "text/html"), ("Sec-Fetch-Mode", mode), ("Sec-Fetch-Dest", dest)];
        headers.extend(purpose.map(|purpose| ("Sec-Purpose", purpose)));
        for (host, path) in [(HOME, there.as_str()), (BOB, "/hub/entered?code=x")] {
            let answer = bob.at(host).send("GET", path, &headers, b"").await;
            assert_eq!((answer.status, answer.header("location")), (403, None), "{mode} {dest} {path}");
        }
    }
}

#[tokio::test]
async fn two_cookies_of_one_name_at_a_users_host_end_in_a_page_and_not_in_a_circle() {
    let hub = hub().await;
    working(&hub, "alice").await;
    for name in ["__Host-hubgate", "__Host-hubgate-entry", "__Host-hubgate-rounds"] {
        let mut alice = Browser::of(&hub, "alice").await;
        alice.open(&format!("https://{ALICE}/user/alice/lab")).await;
        // A page at another user's host has set one for all hosts of the domain, and does so again and again.
        let both = format!("1; {name}=a; {name}=b");
        alice.at(ALICE).set_cookie("x", &both);
        alice.at(ALICE).forget_cookie("__Host-hubgate");
        let (way, answer) = alice.open(&format!("https://{ALICE}/user/alice/lab")).await;
        assert_eq!((way.len(), answer.status), (1, 400), "{name}: {way:?}");
        assert!(answer.text().contains("two cookies of this hub"), "{name}: {}", answer.text());
        assert!(answer.text().contains("Remove the cookies"), "{name}: {}", answer.text());
        // Without them all is well.
        alice.at(ALICE).forget_cookie("x");
        let (way, answer) = alice.open(&format!("https://{ALICE}/user/alice/lab")).await;
        assert_eq!(answer.status, 200, "{name}: {way:?}");
    }
}

#[tokio::test]
async fn a_browser_that_loses_its_cookie_at_a_users_host_goes_round_no_more() {
    let hub = hub().await;
    working(&hub, "alice").await;
    let page = format!("https://{ALICE}/user/alice/lab");
    let mut alice = Browser::of(&hub, "alice").await;
    for _round in 0..3 {
        assert_eq!(alice.open(&page).await.1.status, 200);
        alice.at(ALICE).forget_cookie("__Host-hubgate");
    }
    let (way, answer) = alice.open(&page).await;
    assert_eq!((way.len(), answer.status), (1, 400), "{way:?}");
    assert!(answer.text().contains("does not keep this hub"), "{}", answer.text());
    // One that keeps none at all is told so when it is back.
    let mut deaf = Browser::of(&hub, "alice").await;
    let code = code_for(&mut deaf, "/user/alice/lab").await;
    *deaf.at(ALICE) = deaf.at(ALICE).fresh();
    let answer = deaf.at(ALICE).open(&code).await;
    assert_eq!((answer.status, answer.header("location")), (400, None));
}

#[tokio::test]
async fn an_address_that_cannot_be_come_back_to_leads_to_as_much_of_it_as_can() {
    let hub = hub().await;
    working(&hub, "alice").await;
    let (long, longer) = ("a".repeat(4096), "%20".repeat(1300));
    for (page, expected) in [
        (format!("lab/tree/x?y={long}"), "lab/tree/x"),
        (format!("lab/tree/x?y={longer}"), "lab/tree/x"),
        (format!("lab/tree/{long}?y=1"), ""),
        (format!("lab/tree/{longer}"), ""),
        ("lab/tree/x?y=a\\b".to_owned(), "lab/tree/x"),
    ] {
        for mut browser in [Browser::of(&hub, "alice").await, Browser::new(&hub)] {
            let (way, answer) = browser.open(&format!("https://{ALICE}/user/alice/{page}")).await;
            let (way, answer) = if answer.status == 303 {
                let back = hub.answer_of_provider(answer.header("location").unwrap(), "alice").await;
                browser.open(&format!("https://{HOME}{back}")).await
            } else {
                (way, answer)
            };
            assert_eq!(answer.status, 200, "{way:?}");
            assert_eq!(*way.last().unwrap(), format!("alice.hub.example/user/alice/{expected}"));
        }
    }
}

#[tokio::test]
async fn a_page_of_one_users_host_can_do_nothing_at_the_hub_or_at_another_host() {
    let hub = hub().await;
    let mut alice = working(&hub, "alice").await;
    let mut bob = working(&hub, "bob").await;
    let token = bob.at(HOME).open("/hub/home").await.field("form_token").unwrap();
    let body = format!("form_token={token}&action=stop");
    let from = [
        ("Origin", "https://alice.hub.example:8443"),
        ("Sec-Fetch-Site", "same-site"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let answer = bob.at(HOME).send("POST", "/hub/home", &from, body.as_bytes()).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    let before = hub.requests("bob");
    let answer = bob.at(BOB).send("POST", "/user/bob/api/contents", &from, b"{}").await;
    assert_eq!(answer.status, 403);
    let socket = [
        from[0],
        ("Upgrade", "websocket"),
        ("Connection", "upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let answer = bob.at(BOB).send("GET", "/user/bob/api/kernels/1/channels", &socket, b"").await;
    assert_eq!((answer.status, hub.requests("bob")), (403, before));
    // What a page loads from another host as a picture or a script brings that host's cookies along.
    for (mode, dest) in
        [("no-cors", "image"), ("no-cors", "script"), ("cors", "empty"), ("navigate", "iframe")]
    {
        let loads = [("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", mode), ("Sec-Fetch-Dest", dest)];
        let answer = bob.at(BOB).send("GET", "/user/bob/proxy/8050/delete?id=1", &loads, b"").await;
        assert_eq!((answer.status, hub.requests("bob")), (403, before), "{mode} {dest}");
    }
    let opens =
        [("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")];
    assert_eq!(
        bob.at(BOB).send("GET", "/user/bob/lab", &opens, b"").await.status,
        200,
        "a link may lead there"
    );
    // No page anywhere is told that it may read an answer.
    for host in [HOME, BOB] {
        let answer = bob.at(host).send("GET", "/hub/api/user", &from[..2], b"").await;
        assert!(answer.header("access-control-allow-origin").is_none(), "{host}");
    }
    let answer = alice.at(ALICE).fetch("POST", "/user/alice/api/contents", b"{}").await;
    assert_eq!(answer.status, 200, "at its own host it may");
}

#[tokio::test]
async fn the_end_of_a_session_is_the_end_at_every_host() {
    let hub = hub().await;
    let mut alice = working(&hub, "alice").await;
    let mut socket = websocket(alice.at(ALICE), "alice").await;
    let token = alice.at(HOME).open("/hub/logout").await.field("form_token").unwrap();
    alice.at(HOME).submit("/hub/logout", &[("form_token", &token)]).await;
    let mut rest = Vec::new();
    assert!(socket.read_to_end(&mut rest).await.is_ok(), "the websocket is closed");
    let answer = alice.at(ALICE).fetch("GET", "/user/alice/api/contents", b"").await;
    assert_eq!(answer.status, 401);
    let (way, _) = alice.open(&format!("https://{ALICE}/user/alice/lab")).await;
    assert_eq!(way.last().unwrap(), "hub.example/hub/login", "{way:?}");
}

#[tokio::test]
async fn a_restart_of_hubgate_signs_nobody_out_at_their_own_host() {
    let mut hub = hub().await;
    let mut alice = working(&hub, "alice").await;
    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    hub.process().until_ready().await;
    let (way, answer) = alice.open(&format!("https://{ALICE}/user/alice/lab")).await;
    assert_eq!((way.len(), answer.status), (1, 200), "{way:?}");
}

#[tokio::test]
async fn programs_reach_a_server_at_its_users_host() {
    let hub = hub().await;
    let mut alice = working(&hub, "alice").await;
    let token = alice.at(HOME).make_token(&["access:servers"]).await;
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str())];
    let mut program = hub.client().at(ALICE);
    let answer = program.send("PUT", "/user/alice/api/contents/x", &headers, b"{}").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = hub.client().send("PUT", "/user/alice/api/contents/x", &headers, b"{}").await;
    assert_eq!(answer.status, 421, "and nowhere else");
    assert!(answer.text().contains(&format!("https://{ALICE}")), "{}", answer.text());
}

#[tokio::test]
async fn an_image_of_jupyterhubs_knows_its_own_host_and_the_hubs() {
    let profile = "[[profile]]\nname = \"hub\"\nimage = \"hub:1\"\n";
    let sections = format!("{USER_DOMAINS}{EVERYONE}{profile}[hub_api]\nlisten = \"{{address}}:8081\"\n");
    let hub = Hub::with(BINARY, &sections).await;
    let mut alice = working(&hub, "alice").await;
    let variable = |name: &str| hub.environment_of("alice", name).unwrap();
    let callback = format!("https://{ALICE}/user/alice/oauth_callback");
    assert_eq!(variable("JUPYTERHUB_HOST"), format!("https://{HOME}"));
    assert_eq!(variable("JUPYTERHUB_OAUTH_CALLBACK_URL"), callback);
    assert_eq!(variable("JUPYTERHUB_PUBLIC_URL"), format!("https://{ALICE}/user/alice/"));
    assert_eq!(variable("JUPYTERHUB_PUBLIC_HUB_URL"), format!("https://{HOME}/hub/"));
    assert_eq!(variable("JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED"), "1");
    let ask = |redirect: &str| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("client_id", "jupyterhub-user-alice").append_pair("response_type", "code");
        format!("/hub/api/oauth2/authorize?{}", query.append_pair("redirect_uri", redirect).finish())
    };
    let answer = alice.at(HOME).open(&ask(&callback)).await;
    assert!(answer.header("location").is_some_and(|back| back.starts_with(&format!("{callback}?code="))));
    for wrong in ["/user/alice/oauth_callback", &format!("https://{HOME}/user/alice/oauth_callback")] {
        assert_eq!(alice.at(HOME).open(&ask(wrong)).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn whatever_a_neighbour_sets_an_image_sees_the_session_id_of_its_own_host() {
    for keys in ["", "hub_login = \"header\"\n"] {
        let profile = format!("[[profile]]\nname = \"hub\"\nimage = \"hub:1\"\n{keys}");
        let sections = format!("{USER_DOMAINS}{EVERYONE}{profile}[hub_api]\nlisten = \"{{address}}:8081\"\n");
        let hub = Hub::with(BINARY, &sections).await;
        let mut alice = working(&hub, "alice").await;
        let id = alice.at(ALICE).cookie("jupyterhub-session-id").unwrap().to_owned();
        // Set with `Domain=hub.example` by a page at another user's host: the browser sends it here, too, before or behind
        // the one of this host.
        alice.at(ALICE).forget_cookie("jupyterhub-session-id");
        for tossed in [
            "1".to_owned(),
            "1; jupyterhub-session-id=evil".to_owned(),
            format!("1; jupyterhub-session-id=evil; jupyterhub-session-id={id}"),
            format!("1; jupyterhub-session-id={id}; jupyterhub-session-id=evil; =jupyterhub-session-id=evil"),
        ] {
            alice.at(ALICE).set_cookie("x", &tossed);
            let answer = alice.at(ALICE).fetch("PUT", "/user/alice/api/contents/x", b"{}").await;
            assert_eq!(answer.status, 200, "{tossed}");
            let seen = hub.last_request("alice").header("cookie").unwrap().to_owned();
            assert_eq!(seen, format!("jupyterhub-session-id={id}; x=1"), "{tossed}");
        }
        // The hub says the same of whoever comes.
        if let Some(pass) = hub.last_request("alice").header("authorization").filter(|_| !keys.is_empty()) {
            let api = Url::parse(&hub.environment_of("alice", "JUPYTERHUB_API_URL").unwrap()).unwrap();
            let (_, told) = plain(&api, "GET", "/hub/api/user", pass, ("", "text/plain")).await;
            assert_eq!((&told["name"], &told["session_id"]), (&json!("alice"), &json!(id)));
        } else {
            assert!(keys.is_empty(), "it is told by a header");
        }
    }
}

#[tokio::test]
async fn plain_http_leads_to_the_same_host_with_tls() {
    let hub = hub().await;
    for host in ["alice.hub.example", "hub.example"] {
        let mut stream = TcpStream::connect(hub.process().redirect_address()).await.unwrap();
        let request = format!("GET /user/alice/lab HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream, false).await;
        let expected = format!("https://{host}:8443/user/alice/lab");
        assert_eq!(answer.header("location"), Some(expected.as_str()));
    }
}
