//! Open redirects: whatever is asked for, a browser ends on this hub.

use support::client::{Answer, Client};
use support::hub::Hub;
use url::Url;

use super::BINARY;

/// Every way that is known to have fooled somebody, as the value of `next` before it is encoded.
const TARGETS: &[&str] = &[
    "/\\evil.com",
    "/\n/evil.com",
    "/\t/evil.com",
    "/\r/evil.com",
    "/ /evil.com",
    "/%0a/evil.com",
    "/%09/evil.com",
    "/%0d/evil.com",
    "/%20/evil.com",
    "/./\\evil.com",
    "/%2f%2fevil.com",
    "//evil.com",
    "///evil.com",
    "////evil.com",
    "/../\\evil.com",
    "/;@evil.com",
    "//%5cevil.com",
    "/.//evil.com",
    "/..//evil.com",
    "/x/../..//evil.com",
    "\\\\evil.com",
    "\\/evil.com",
    "https://evil.com",
    "https:evil.com",
    "http:/evil.com",
    "//evil.com:443/",
    "//evil%E3%80%82com",
    "https://badexample.com/",
    "https://hub.example.evil.com/",
    "https://evil.com#.hub.example",
    "https://evil.com?.hub.example",
    "https://hub.example@evil.com/",
    "https://evil.com\\.hub.example",
    "https://evil.com\\@hub.example/",
    "https://hub.example//other.domain/",
    "javascript:alert(1)",
    "data:text/html,x",
    " https://evil.com",
    "\u{2028}//evil.com",
    "/\u{ff0f}evil.com",
    "/a\r\nSet-Cookie: x=y",
    "@evil.com",
    ".evil.com",
    "<>//evil.com",
    "/\0/evil.com",
    "//\\@evil.com",
    "//google.com%2F@hub.example",
    "////hub.example@evil.com",
    "/<>//evil.com",
    "/http://evil.com",
    "http;//evil.com",
    "〱evil.com",
    "ya.ru\\evil.com",
];

fn stays_here(hub: &Hub, answer: &Answer, why: &str) {
    let base = Url::parse(&hub.origin()).unwrap();
    for location in answer.all("location") {
        let resolved = base.join(location).unwrap_or_else(|_| panic!("{why}: {location:?} is no address"));
        assert_eq!(resolved.origin(), base.origin(), "{why}: {location:?}");
    }
    for (name, value) in &answer.headers {
        assert!(!value.contains(['\r', '\n']) && !name.contains(' '), "{why}: {name}: {value:?}");
    }
    assert!(answer.header("set-cookie").is_none_or(|cookie| !cookie.starts_with("x=y")), "{why}");
}

fn encoded(target: &str) -> String {
    url::form_urlencoded::byte_serialize(target.as_bytes()).collect()
}

/// The end of a login that began with `next`.
async fn after_login(hub: &Hub, client: &mut Client, next: &str) -> Answer {
    hub.sign_in_at(client, "alice", &format!("/hub/login?next={}", encoded(next))).await
}

#[tokio::test]
async fn a_login_ends_on_this_hub_wherever_next_points() {
    let hub = Hub::start(BINARY).await;
    for target in TARGETS {
        let mut client = hub.client();
        let answer = after_login(&hub, &mut client, target).await;
        assert_eq!(answer.status, 303, "{target:?}: {}", answer.text());
        assert!(answer.header("location").is_some(), "{target:?}");
        stays_here(&hub, &answer, target);
        // The other branch: signed in already.
        let again = client.open(&format!("/hub/login?next={}", encoded(target))).await;
        assert_eq!(again.status, 303, "{target:?}");
        stays_here(&hub, &again, target);
    }
}

#[tokio::test]
async fn a_deep_link_is_kept_through_a_login() {
    let hub = Hub::start(BINARY).await;
    for target in ["/user/alice/lab/tree/a%20b.ipynb?x=1&y=%2F%2Fz", "/hub/home"] {
        let answer = after_login(&hub, &mut hub.client(), target).await;
        assert_eq!(answer.header("location"), Some(target));
    }
}

#[tokio::test]
async fn a_logout_names_no_other_place() {
    let hub = Hub::start(BINARY).await;
    let mut client = hub.signed_in("alice").await;
    for target in TARGETS {
        for name in ["next", "logout", "post_logout_redirect_uri", "rd"] {
            let answer = client.open(&format!("/hub/logout?{name}={}", encoded(target))).await;
            assert_eq!(answer.status, 200, "asks, and goes nowhere");
            stays_here(&hub, &answer, target);
        }
    }
    let mut stranger = hub.client();
    let answer = stranger.open("/hub/logout?logout=%2F%09%2Fevil.com").await;
    assert_eq!((answer.status, answer.header("location")), (200, None));
}

#[tokio::test]
async fn a_third_party_cannot_choose_where_a_login_ends() {
    let hub = Hub::start(BINARY).await;
    let issuer = encoded(&hub.provider().issuer());
    let start = format!("/hub/login?iss={issuer}&target_link_uri=https%3A%2F%2Fevil.com%2F");
    let answer = hub.sign_in_at(&mut hub.client(), "alice", &start).await;
    assert_eq!(answer.header("location"), Some("/"));
}

#[tokio::test]
async fn the_requested_path_itself_is_no_redirect() {
    let hub = Hub::start(BINARY).await;
    for target in TARGETS.iter().filter(|target| target.starts_with('/')) {
        let printable = target.bytes().all(|b| b.is_ascii_graphic());
        let line = if printable { (*target).to_owned() } else { continue };
        let mut client = hub.client();
        let answer = client.open(&line).await;
        stays_here(&hub, &answer, target);
        let mut client = hub.signed_in("alice").await;
        let answer = client.open(&line).await;
        stays_here(&hub, &answer, target);
    }
    let answer = hub.client().open("//evil.com/%2e%2e").await;
    stays_here(&hub, &answer, "//evil.com/%2e%2e");
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_changed_login_cookie_is_refused() {
    let hub = Hub::start(BINARY).await;
    let mut client = hub.client();
    let answer = client.open("/hub/login?next=/hub/home").await;
    let (name, value) = {
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let (name, value) = cookie.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    };
    let back = hub.answer_of_provider(answer.header("location").unwrap(), "alice").await;
    for at in (0..value.len()).step_by(7) {
        let mut changed = value.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        client.set_cookie(&name, &String::from_utf8(changed).unwrap());
        let answer = client.open(&back).await;
        assert_eq!((answer.status, answer.header("location")), (400, None), "byte {at}");
        assert!(client.cookie("__Host-hubgate").is_none());
    }
    client.set_cookie(&name, &value);
    assert_eq!(client.open(&back).await.status, 303, "and unchanged it is good");
}

#[tokio::test]
async fn the_login_page_never_repeats_a_post_elsewhere() {
    let hub = Hub::start(BINARY).await;
    let answer = hub.client().submit("/hub/login?next=/x", &[("a", "b")]).await;
    assert!(![307, 308].contains(&answer.status), "{}", answer.status);
    assert_eq!(answer.header("location"), None);
}

#[tokio::test]
async fn a_forwarded_host_changes_no_address() {
    let hub = Hub::start(BINARY).await;
    let headers = [
        ("Accept", "text/html"),
        ("X-Forwarded-Host", "evil.com"),
        ("X-Forwarded-Proto", "http"),
        ("Forwarded", "host=evil.com"),
        ("X-Original-Host", "evil.com"),
    ];
    let answer = hub.client().send("GET", "/", &headers, b"").await;
    stays_here(&hub, &answer, "first hop");
    let answer = hub.client().send("GET", "/hub/login", &headers, b"").await;
    let location = Url::parse(answer.header("location").unwrap()).unwrap();
    let redirect = location.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1;
    assert_eq!(redirect, format!("{}/hub/oauth_callback", hub.origin()));
}
