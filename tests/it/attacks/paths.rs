//! Paths: what is judged is what is forwarded, and no reading of it is another user's.

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::client::Client;
use support::hub::Hub;

use super::BINARY;

const REFUSED: &[&str] = &[
    "/user/alice/../bob/tree",
    "/user/alice/..%2fbob/",
    "/user/alice/%2e%2e/bob/",
    "/user/alice/%2e%2e%2fbob/",
    "/user/alice/%252e%252e%252fbob/",
    "/user/alice/..;/bob/",
    "/user/alice/..%3b/bob/",
    "/user/alice/..%5cbob/",
    "/user/alice/..\\bob/",
    "//user/bob/",
    "/user//bob/",
    "/user/bob%00/",
    "/user/bo%00b/",
    "/user/bob%09",
    "/user/bob%20",
    "/user/bob%0a",
    "/user/bob%7f",
    "/%75ser/bob/",
    "/user/b%6fb/",
    "/./user/bob/",
    "/user/alice/%c0%ae%c0%ae/bob/",
    "/user/alice/%ff/x",
    "/user/alice/%EF%BC%8E%EF%BC%8E/bob",
    "/hub/../user/bob/",
    "/hub/%2e%2e/user/bob/",
    "/hub%2f..%2fuser/bob",
    "/public/../user/bob/",
    "/user/alice%3f/",
    "/user/alice%23/",
    "/USER/bob/",
    "/user/BOB/",
    "/user/ALICE/",
    "/user/alice;x/",
    "/user/alice%00/",
    "/user/alice./",
];

#[tokio::test]
async fn no_spelling_of_a_path_reaches_another_users_workspace() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    hub.run_workspace("bob").await;
    let mut alice = hub.signed_in("alice").await;
    let before = hub.traffic();
    for path in REFUSED {
        let answer = alice.fetch("GET", path, b"").await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
    }
    for path in [
        "/user/bob/",
        "/user/bob",
        "/user/bob/api/contents",
        "/user/bob/lab?x=/user/alice/",
        "/user/alic/",
        "/user/alice2/",
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let answer = alice.fetch(method, path, b"").await;
            assert_eq!(answer.status, 403, "{method} {path}");
        }
    }
    // Raw bytes that no browser sends.
    for path in ["/user/alice/\u{ff0e}\u{ff0e}/bob", "/user/alice/\u{e9}"] {
        let answer = raw(&hub, &alice.cookies(), "GET", path, &format!("Host: {}\r\n", hub.host())).await;
        assert_eq!(answer, 400, "{path}");
    }
    assert_eq!(hub.traffic(), before, "nothing of it reached a workspace");
}

#[tokio::test]
async fn a_request_has_one_authority_and_it_is_ours() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let alice = hub.signed_in("alice").await;
    let before = hub.traffic();
    let ours = format!("Host: {}\r\n", hub.host());
    for (method, target, hosts, status) in [
        ("GET", "https://other.example/user/alice/", ours.as_str(), 400),
        ("GET", "https://other.example/user/alice/", "Host: other.example\r\n", 421),
        ("GET", "http://169.254.169.254/", "Host: 169.254.169.254\r\n", 421),
        ("GET", "/user/alice/", "", 400),
        ("GET", "/user/alice/", "Host: evil.example\r\n", 421),
        ("GET", "/user/alice/", &format!("{ours}{ours}"), 400),
        ("GET", "/user/alice/", &format!("{ours}Host: evil.example\r\n"), 400),
        ("GET", "/user/alice@evil:80/", ours.as_str(), 400),
        ("OPTIONS", "*", ours.as_str(), 400),
        ("TRACE", "/user/alice/", ours.as_str(), 405),
        ("get", "/user/alice/", ours.as_str(), 405),
        ("FOO", "/user/alice/", ours.as_str(), 405),
    ] {
        assert_eq!(
            raw(&hub, &alice.cookies(), method, target, hosts).await,
            status,
            "{method} {target} {hosts:?}"
        );
    }
    let connect = raw(&hub, &alice.cookies(), "CONNECT", "evil:80", "Host: evil:80\r\n").await;
    assert!([400, 405, 421].contains(&connect), "{connect}");
    let long = format!("/user/alice/{}", "a".repeat(70_000));
    let answer = raw(&hub, &alice.cookies(), "GET", &long, &ours).await;
    assert!([400, 414, 431].contains(&answer), "{answer}");
    assert!([0, 400].contains(&raw(&hub, "", "GET", "", &ours).await));
    assert!([0, 400].contains(&raw(&hub, "", "GET", "user/alice/", &ours).await));
    assert_eq!(hub.traffic(), before, "nothing of it reached a workspace");
}

#[tokio::test]
async fn a_name_that_must_be_escaped_is_one_user_in_both_forms() {
    let hub = Hub::start(BINARY).await;
    let users: [(&str, &[&str]); 3] = [
        ("a@b.c", &["/user/a@b.c/x", "/user/a%40b.c/x"]),
        ("a b", &["/user/a%20b/x"]),
        ("ü", &["/user/%C3%BC/x", "/user/%c3%bc/x"]),
    ];
    for (user, forms) in users {
        hub.run_workspace(user).await;
        let mut client = hub.signed_in(user).await;
        for form in forms {
            let answer = client.fetch("GET", form, b"").await;
            assert_eq!(answer.status, 200, "{form}: {}", answer.text());
            assert_eq!(hub.last_request(user).target, *form, "as it was sent");
        }
    }
}

#[tokio::test]
async fn a_path_is_forwarded_byte_for_byte() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    for target in [
        "/user/alice/api/contents/a%2Fb%2fc.ipynb",
        "/user/alice/files/100%25.txt",
        "/user/alice/files/100%2525.txt",
        "/user/alice/files/a%20b;v=1/%C3%BC",
        "/user/alice//x//",
        "/user/alice/a?b=%0d%0a&c=/../x#".trim_end_matches('#'),
        "/user/alice/%7Euser/(a)!*'$&+,=:@",
        "/user/alice/a|b",
        "/user/alice/?",
        "/user/alice/.hidden/...",
        "/user/alice/%0d%0aX:%20y",
    ] {
        let answer = alice.fetch("GET", target, b"").await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        assert_eq!(hub.last_request("alice").target, target);
    }
}

/// The status of one request made of these bytes.
async fn raw(hub: &Hub, cookies: &str, method: &str, target: &str, hosts: &str) -> u16 {
    let request =
        format!("{method} {target} HTTP/1.1\r\n{hosts}Cookie: {cookies}\r\nConnection: close\r\n\r\n");
    hub.client().raw(request.as_bytes()).await.status
}

/// The status of a GET over HTTP/2, with this `:authority` and this `host`.
async fn over_http2(client: &Client, authority: &str, host: Option<&str>, path: &str) -> u16 {
    let stream = TokioIo::new(client.connect(&["h2"]).await);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let mut request =
        Request::builder().uri(format!("https://{authority}{path}")).header("cookie", client.cookies());
    if let Some(host) = host {
        request = request.header("host", host);
    }
    let sending = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap());
    tokio::select! {
        answer = sending => answer.unwrap().status().as_u16(),
        ended = connection => panic!("{authority}: the connection ended: {ended:?}"),
    }
}

#[tokio::test]
async fn over_http2_authority_and_host_are_one_and_ours() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    hub.run_workspace("bob").await;
    let alice = hub.signed_in("alice").await;
    let ours = hub.host();
    assert_eq!(over_http2(&alice, &ours, None, "/user/alice/x").await, 200);
    assert_eq!(hub.last_request("alice").header("host"), Some(ours.as_str()), "HTTP/1.1 needs it");
    let before = hub.traffic();
    for (authority, host, path, status) in [
        (ours.as_str(), Some("other.example"), "/user/alice/x", 400),
        ("other.example", Some(ours.as_str()), "/user/alice/x", 400),
        ("other.example", None, "/user/alice/x", 421),
        (ours.as_str(), None, "/user/bob/x", 403),
        (ours.as_str(), None, "/user/alice/%2e%2e/bob/x", 400),
        (ours.as_str(), None, "/USER/bob/x", 400),
    ] {
        assert_eq!(over_http2(&alice, authority, host, path).await, status, "{authority} {host:?} {path}");
    }
    assert_eq!(hub.traffic(), before, "nothing of it reached a workspace");
}
