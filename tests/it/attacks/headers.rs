//! Identity headers: nobody but hubgate says who somebody is.

use support::hub::Hub;
use support::upstream::Recorded;

use super::BINARY;

/// Headers that servers take for the word of a proxy in front of them.
const FORGED: &[&str] = &[
    "X-Hubgate-User",
    "x-hubgate-user",
    "X-HUBGATE-USER",
    "X-Hubgate-Anything",
    "X-Hub-User",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Ssl",
    "X-Forwarded-Uri",
    "X-Forwarded-Method",
    "Forwarded",
    "X-Real-IP",
    "X-Scheme",
    "X-Url-Scheme",
    "Front-End-Https",
    "X-Original-URL",
    "X-Original-URI",
    "X-Rewrite-URL",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Redirect",
    "X-Remote-User",
    "Remote-User",
    "REMOTE_USER",
    "X_Forwarded_Proto",
    "X_Forwarded_User",
    "X-Forwarded_User",
    "X.Forwarded.User",
    "X-Forwarded.User",
    "OIDC_CLAIM_sub",
    "OIDC_access_token",
    "X-SSL-Client-S-DN",
    "X-Client-Cert",
    "Client-Cert",
    "Client-Cert-Chain",
    "Proxy-Authorization",
    "Proxy",
];

fn values<'a>(request: &'a Recorded, name: &str) -> Vec<&'a str> {
    request
        .headers
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
        .collect()
}

/// What hubgate says, each once; and nothing that was forged.
fn says_the_truth(request: &Recorded, why: &str) {
    assert_eq!(values(request, "x-hubgate-user"), ["alice"], "{why}");
    assert_eq!(values(request, "x-forwarded-proto"), ["https"], "{why}");
    assert_eq!(values(request, "x-forwarded-host").len(), 1, "{why}");
    assert_eq!(values(request, "x-forwarded-for").len(), 1, "{why}");
    assert!(!head_text(request).contains("forged"), "{why}: {}", head_text(request));
    assert!(!head_text(request).contains("__Host-hubgate"), "{why}: our cookie got out");
}

#[tokio::test]
async fn a_forged_identity_header_is_removed() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let alice = hub.signed_in("alice").await;
    for name in FORGED {
        for value in ["forged", "forged, forged", "forged\r\n{name}: forged-again"] {
            let lines = format!("{name}: {}\r\n", value.replace("{name}", name));
            for method in ["GET", "OPTIONS", "DELETE"] {
                let answer = send(&hub, &alice.cookies(), method, &lines).await;
                assert!([200, 400].contains(&answer), "{method} {name}: {answer}");
                if answer == 200 {
                    says_the_truth(&hub.last_request("alice"), name);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_field_name_that_is_none_is_refused() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let alice = hub.signed_in("alice").await;
    let before = hub.requests("alice");
    for line in [
        "X-Forwarded-User : forged",
        "X-Forwarded-User\t: forged",
        "X-Forwarded\u{2010}User: forged",
        "X Forwarded: forged",
    ] {
        assert_eq!(send(&hub, &alice.cookies(), "GET", &format!("{line}\r\n")).await, 400, "{line:?}");
    }
    assert_eq!(hub.requests("alice"), before);
}

#[tokio::test]
async fn a_forged_header_on_a_websocket_is_removed() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let alice = hub.signed_in("alice").await;
    for connection in
        ["Upgrade", "keep-alive, Upgrade", "upgrade, X-Hubgate-User, Cookie, Host, X-Forwarded-For"]
    {
        for name in ["X-Hubgate-User", "X-Forwarded-User", "OIDC_CLAIM_sub", "X-Forwarded-For"] {
            let request = format!(
                "GET /user/alice/api/kernels/1/channels HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}; other=1\r\n\
                 Origin: {origin}\r\nConnection: {connection}\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{name}: forged\r\n\r\n",
                host = hub.host(),
                origin = hub.origin(),
                cookies = alice.cookies(),
            );
            assert_eq!(alice.raw(request.as_bytes()).await.status, 101, "{connection} {name}");
            let seen = hub.last_request("alice");
            says_the_truth(&seen, name);
            assert_eq!(values(&seen, "host"), [hub.host()], "{connection}");
            assert!(values(&seen, "cookie").concat().contains("other=1"), "{connection}");
        }
    }
}

#[tokio::test]
async fn connection_names_no_header_of_ours_away() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let alice = hub.signed_in("alice").await;
    let lines = "Connection: close, X-Forwarded-User, X-Hubgate-User, Cookie, Host, X-Forwarded-For, X-Forwarded-Proto\r\n\
                 X-Named: away\r\nConnection: x-named\r\n";
    assert_eq!(send(&hub, &format!("{}; other=1", alice.cookies()), "GET", lines).await, 200);
    let seen = hub.last_request("alice");
    says_the_truth(&seen, "connection");
    assert_eq!(values(&seen, "host"), [hub.host()]);
    assert!(values(&seen, "cookie").concat().contains("other=1"));
    assert!(values(&seen, "x-named").is_empty(), "what is named otherwise is for this hop only");
}

#[tokio::test]
async fn a_trailer_never_becomes_a_header() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let alice = hub.signed_in("alice").await;
    let request = format!(
        "POST /user/alice/x HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nOrigin: {}\r\nConnection: close\r\nTrailer: X-Hubgate-User\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Hubgate-User: forged\r\n\r\n",
        hub.host(),
        alice.cookies(),
        hub.origin(),
    );
    assert_eq!(alice.raw(request.as_bytes()).await.status, 200);
    let seen = hub.last_request("alice");
    says_the_truth(&seen, "trailer");
    assert!(!String::from_utf8_lossy(&seen.body).contains("forged"));
}

#[tokio::test]
async fn a_name_from_the_provider_cannot_write_headers() {
    let hub = Hub::start(BINARY).await;
    let long = "x".repeat(64 * 1024);
    for (claim, status) in [
        ("bob\r\nX-Hubgate-User: alice", 403),
        ("bob\nadmin", 403),
        ("bob\0", 403),
        ("bob,alice", 403),
        ("bob;alice", 403),
        (long.as_str(), 403),
        ("Böb 😀", 403),
        ("böb", 303),
    ] {
        let answer = hub.sign_in_at(&mut hub.client(), claim, "/hub/login").await;
        assert_eq!(answer.status, status, "{:?}", claim.get(..20));
    }
    hub.run_workspace("böb").await;
    let mut client = hub.signed_in("böb").await;
    assert_eq!(client.fetch("GET", "/user/b%C3%B6b/x", b"").await.status, 200);
    assert_eq!(
        values(&hub.last_request("böb"), "x-hubgate-user"),
        ["b%C3%B6b"],
        "visible ASCII, and nothing lost"
    );
}

#[tokio::test]
async fn a_proxy_protocol_preface_is_no_request() {
    let hub = Hub::start(BINARY).await;
    let preface = b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
    assert!([0, 400].contains(&hub.client().raw(preface).await.status));
    let binary =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x01\0\x02GET / HTTP/1.1\r\n\r\n";
    assert!([0, 400].contains(&hub.client().raw(binary).await.status));
    assert_eq!(hub.client().open("/hub/logout").await.status, 200, "and the hub goes on");
}

#[tokio::test]
async fn whoever_reaches_a_container_directly_has_no_token_for_it() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    hub.run_workspace("bob").await;
    let token = |user: &str| {
        let environment = hub.environment_of(user, "JUPYTER_TOKEN").unwrap();
        assert!(environment.len() >= 43, "256 bits");
        environment
    };
    assert_ne!(token("alice"), token("bob"));
    let mut alice = hub.signed_in("alice").await;
    assert_eq!(alice.fetch("GET", "/user/alice/x", b"").await.status, 200);
    let seen = hub.last_request("alice");
    assert_eq!(values(&seen, "authorization"), [format!("token {}", token("alice"))]);
    // A client's own is not passed on beside it.
    let lines = "Authorization: token stolen\r\nAuthorization: Bearer other\r\n";
    assert_eq!(send(&hub, &alice.cookies(), "GET", lines).await, 200);
    assert_eq!(values(&hub.last_request("alice"), "authorization"), [format!("token {}", token("alice"))]);
}

#[tokio::test]
async fn a_container_cannot_speak_for_the_hub() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    hub.answer_with(
        "alice",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: __Host-hubgate=evil; Path=/; Secure\r\n\
         Set-Cookie: __host-HUBGATE-login-x=evil; Path=/\r\nSet-Cookie: =__Host-hubgate=evil\r\nSet-Cookie: own=1; Path=/user/alice/\r\n\
         X-Hubgate-User: bob\r\nStrict-Transport-Security: max-age=0\r\nClear-Site-Data: \"*\"\r\n\
         Service-Worker-Allowed: /\r\nAlt-Svc: h3=\":443\"\r\nCross-Origin-Opener-Policy: same-origin\r\nX-Own: kept\r\nContent-Security-Policy: default-src 'self'\r\n\r\nok",
    );
    let mut alice = hub.signed_in("alice").await;
    let answer = alice.fetch("GET", "/user/alice/x", b"").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.all("set-cookie"), ["own=1; Path=/user/alice/"]);
    for gone in [
        "x-hubgate-user",
        "clear-site-data",
        "service-worker-allowed",
        "alt-svc",
        "cross-origin-opener-policy",
    ] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    assert!(answer.all("strict-transport-security").iter().all(|value| !value.contains("max-age=0")));
    assert_eq!(answer.header("x-own"), Some("kept"));
    assert_eq!(answer.header("content-security-policy"), Some("default-src 'self'"));
}

#[tokio::test]
async fn what_opens_a_page_of_the_hub_cannot_reach_into_it() {
    let hub = Hub::start(BINARY).await;
    let mut alice = hub.signed_in("alice").await;
    let brands = |version: &str| format!("\"Not)A;Brand\";v=\"8\", \"Chromium\";v=\"{version}\"");
    for (brands, expected) in [
        (None, "same-origin"),
        (Some(brands("130")), "same-origin"),
        (Some("\"Chromium\";v=\"".to_owned()), "same-origin"),
        (Some(brands("131")), "noopener-allow-popups"),
        (Some(brands("1000")), "noopener-allow-popups"),
    ] {
        for page in ["/hub/home", "/hub/token", "/hub/device", "/hub/nowhere"] {
            let mut headers = vec![("Accept", "text/html"), ("Sec-Fetch-Site", "none")];
            headers.extend(brands.as_deref().map(|brands| ("Sec-CH-UA", brands)));
            let answer = alice.send("GET", page, &headers, b"").await;
            assert_eq!(answer.all("cross-origin-opener-policy"), [expected], "{page} {brands:?}");
        }
    }
}

async fn send(hub: &Hub, cookies: &str, method: &str, lines: &str) -> u16 {
    let close = if lines.to_ascii_lowercase().contains("connection:") { "" } else { "Connection: close\r\n" };
    let request = format!(
        "{method} /user/alice/x HTTP/1.1\r\nHost: {}\r\nOrigin: {}\r\nCookie: {cookies}\r\n{close}{lines}\r\n",
        hub.host(),
        hub.origin()
    );
    hub.client().raw(request.as_bytes()).await.status
}

fn head_text(request: &Recorded) -> String {
    String::from_utf8_lossy(&request.head).into_owned()
}
