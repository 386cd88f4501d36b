//! Other sites: what a page of theirs can make a signed-in browser do, which is nothing.

use support::client::Client;
use support::hub::Hub;

use super::BINARY;

/// Origins of other sites, however near they look to `https://HOST`.
fn foreign(host: &str) -> Vec<String> {
    vec![
        "https://evil.example".to_owned(),
        "null".to_owned(),
        format!("http://{host}"),
        format!("https://{host}.evil.example"),
        format!("https://evil.{host}"),
        format!("https://{host}@evil.example"),
        format!("https://{host} https://evil.example"),
        format!("https://{}", host.split(':').next().unwrap()),
        format!("https://{host}/"),
    ]
}

async fn handshake(client: &mut Client, origin: Option<&str>) -> u16 {
    let mut headers = vec![
        ("Upgrade", "websocket"),
        ("Connection", "upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    headers.extend(origin.map(|origin| ("Origin", origin)));
    client.send("GET", "/user/alice/api/kernels/1/channels", &headers, b"").await.status
}

#[tokio::test]
async fn a_websocket_from_another_origin_is_refused() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let before = hub.requests("alice");
    for origin in foreign(&hub.host()) {
        assert_eq!(handshake(&mut alice, Some(&origin)).await, 403, "{origin}");
    }
    assert_eq!(handshake(&mut alice, None).await, 403, "every browser sends an origin");
    assert_eq!(hub.requests("alice"), before, "the workspace heard of none of them");
    let own = hub.origin();
    assert_ne!(handshake(&mut alice, Some(&own)).await, 403, "our own pages may");
}

#[tokio::test]
async fn another_site_cannot_change_anything_in_a_workspace() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    let before = hub.requests("alice");
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        for origin in foreign(&hub.host()) {
            let headers = [("Origin", origin.as_str())];
            let answer = alice.send(method, "/user/alice/api/contents", &headers, b"{}").await;
            assert_eq!(answer.status, 403, "{method} from {origin}");
        }
        for site in ["cross-site", "same-site"] {
            let headers = [("Sec-Fetch-Site", site)];
            let answer = alice.send(method, "/user/alice/api/contents", &headers, b"{}").await;
            assert_eq!(answer.status, 403, "{method} from {site}");
        }
    }
    assert_eq!(hub.requests("alice"), before, "the workspace heard of none of them");
    let answer = alice.fetch("POST", "/user/alice/api/contents", b"{}").await;
    assert_ne!(answer.status, 403, "our own pages may");
    assert_eq!(hub.requests("alice"), before + 1);
}

#[tokio::test]
async fn another_site_cannot_use_the_hubs_own_pages() {
    let hub = Hub::start(BINARY).await;
    let mut alice = hub.signed_in("alice").await;
    let page = alice.open("/hub/logout").await;
    let token = page.field("form_token").unwrap();
    let body = format!("form_token={token}");
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    for target in ["/hub/logout", "/hub/home", "/hub/spawn"] {
        for origin in foreign(&hub.host()) {
            let headers = [form, ("Origin", origin.as_str())];
            let answer = alice.send("POST", target, &headers, body.as_bytes()).await;
            assert_eq!(answer.status, 403, "{target} from {origin}, though it knows the token");
        }
        let answer = alice.send("POST", target, &[form], body.as_bytes()).await;
        assert_eq!(answer.status, 403, "{target} from nobody");
    }
    for fields in [&[][..], &[("form_token", "guessed")], &[("form_token", &token), ("form_token", &token)]] {
        assert_eq!(alice.submit("/hub/logout", fields).await.status, 403, "without the page's token");
    }
    assert_eq!(alice.open("/hub/home").await.status, 200, "still signed in");
}

#[tokio::test]
async fn the_cookie_of_a_session_stays_with_this_host_and_away_from_scripts() {
    let hub = Hub::start(BINARY).await;
    let mut client = hub.client();
    let answer = hub.sign_in_at(&mut client, "alice", "/hub/login").await;
    let cookies = answer.all("set-cookie");
    let session = cookies.iter().find(|cookie| cookie.starts_with("__Host-hubgate=")).unwrap();
    for attribute in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(session.split("; ").any(|part| part == attribute), "{attribute} in {session}");
    }
    assert!(!session.contains("Domain"), "{session}");
}
