//! A researcher's day: from a Keycloak login to a running notebook and back, through a crash of the hub.

use rustix::process::Signal;
use support::client::Client;
use support::eventually::eventually;
use support::process::NAME;
use tokio::net::TcpStream;

use crate::browser::{Browser, Http};
use crate::hub::{self, profile};
use crate::keycloak::Keycloak;

const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");

/// Opens Lab signed out, signs in at Keycloak, computes, signs out; the next visit must sign in again.
async fn a_day(mode: &str, http: Http, user: &str, port: u16) {
    let hub = hub::start(BINARY, &profile(mode, port), port).await;
    let browser = Browser::start(hub.address().ip(), http).await;
    let lab = format!("{}/user/{user}/lab", hub.origin());
    let mut keycloak = Keycloak::connect().await;
    keycloak.end_sessions(user).await;

    browser.open(&lab).await;
    browser.sign_in(user, &format!("{user}-password")).await;
    browser.new_notebook().await;
    assert!(browser.address().await.starts_with(&lab), "{}", browser.address().await);
    browser.run("6*7").await;
    browser.until_output("42").await;
    protocol_is(&browser, http).await;

    // An administrator's token lives for a minute only.
    let mut keycloak = Keycloak::connect().await;
    assert!(keycloak.sessions(user).await > 0);
    browser.forget_changes().await;
    browser.open(&format!("{}/hub/logout", hub.origin())).await;
    browser.find("form button").await.click().await.unwrap();
    browser.until_text("You are signed out").await;
    let mut tries = 0;
    while keycloak.sessions(user).await > 0 {
        tries += 1;
        assert!(tries < 50, "the session goes on at Keycloak");
    }

    browser.open(&lab).await;
    browser.find("#kc-login").await;
    browser.close().await;
    hub::clear(port).await;
}

/// What the page itself was loaded with.
async fn protocol_is(browser: &Browser, http: Http) {
    let protocol =
        browser.script("return performance.getEntriesByType('navigation')[0].nextHopProtocol").await;
    let wanted = if http == Http::One { "http/1.1" } else { "h2" };
    assert_eq!(protocol.as_str(), Some(wanted));
}

#[tokio::test]
async fn a_researcher_works_in_a_plain_jupyter_image_over_http_1() {
    a_day("token", Http::One, "alice", 18081).await;
}

#[tokio::test]
async fn a_researcher_works_in_a_plain_jupyter_image_over_http_2() {
    a_day("token", Http::Two, "bob", 18082).await;
}

#[tokio::test]
async fn a_researcher_works_in_a_jupyterhub_image_over_http_1() {
    a_day("hub", Http::One, "carol", 18083).await;
}

#[tokio::test]
async fn a_researcher_works_in_a_jupyterhub_image_over_http_2() {
    a_day("hub", Http::Two, "alice", 18084).await;
}

#[tokio::test]
async fn a_kernel_and_its_websocket_outlive_a_crash_and_a_new_certificate() {
    let port = 18085;
    let mut hub = hub::start(BINARY, &profile("token", port), port).await;
    let browser = Browser::start(hub.address().ip(), Http::Two).await;
    browser.open(&format!("{}/user/bob/lab", hub.origin())).await;
    browser.sign_in("bob", "bob-password").await;
    browser.new_notebook().await;
    browser.run("import time; kept = 41; time.sleep(8); kept += 1").await;

    hub.kill().await;
    hub.start_again().await;
    hub.until_ready().await;
    hub.until_logged("workspace adopted").await;
    browser.until_kernel_idle().await;
    eventually("the browser's websockets again", || async { hub.metric("hubgate_tunnels").await > 0.0 })
        .await;
    browser.until_kernel_idle().await;
    browser.run("print(kept)").await;
    browser.until_output("42").await;
    assert!(
        browser.address().await.contains("/user/bob/lab"),
        "nobody signed in again: {}",
        browser.address().await
    );

    let before = certificate(&hub.client()).await;
    let upgrades = "hubgate_requests_total{route=\"workspace\",status=\"1xx\"}";
    let (open, opened) = (hub.metric("hubgate_tunnels").await, hub.metric(upgrades).await);
    hub.authority().write_pair(hub.folder(), &[NAME]);
    hub.signal(Signal::HUP);
    eventually("the new certificate", || async { certificate(&hub.client()).await != before }).await;
    browser.run("print(kept + 1)").await;
    browser.until_output("43").await;
    assert!(open > 0.0);
    assert!((hub.metric("hubgate_tunnels").await - open).abs() < 0.5, "no websocket was closed");
    assert!((hub.metric(upgrades).await - opened).abs() < 0.5, "and none was opened in place of another");
    browser.close().await;
    hub::clear(port).await;
}

/// The certificate that a new connection is shown.
pub(crate) async fn certificate(client: &Client) -> Vec<u8> {
    let stream = client.connect(&["http/1.1"]).await;
    let (_, session): (&TcpStream, _) = stream.get_ref();
    session.peer_certificates().unwrap()[0].to_vec()
}
