//! What people see when a real part is not there.

use std::process::Stdio;

use support::eventually::eventually;
use support::process::Process;
use tokio::process::Command;

use crate::browser::{Browser, Http};
use crate::hub::{self, profile};
use crate::parts::part;

const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");

fn provider() -> String {
    format!(
        "[provider]\nissuer = \"{}/realms/{}\"\nclient_id = \"hubgate\"\nclient_secret = {{ file = \"{{folder}}/secret\" }}\n\
         ca_file = \"{}\"\n[[rule]]\neveryone = true\n",
        part("HUBGATE_TEST_KEYCLOAK_URL").trim_end_matches('/'),
        part("HUBGATE_TEST_REALM"),
        part("HUBGATE_TEST_KEYCLOAK_CA"),
    )
}

#[tokio::test]
async fn without_an_engine_people_sign_in_and_read_what_is_wrong() {
    let sections =
        format!("{}[spawner.docker]\nsocket = \"{{folder}}/none.sock\"\n{}", provider(), profile("token", 0));
    let hub = Process::start(BINARY, &sections, crate::keycloak::CLIENT_SECRET).await;
    crate::keycloak::Keycloak::connect().await.register(&hub.origin()).await;
    let browser = Browser::start(hub.address().ip(), Http::Two).await;
    browser.open(&format!("{}/user/carol/lab", hub.origin())).await;
    browser.sign_in("carol", "carol-password").await;
    browser.until_text("The container service of this hub does not answer").await;
    browser.open(&format!("{}/hub/home", hub.origin())).await;
    browser.until_text("Welcome, carol").await;
    hub.until_logged("start the container runtime, or correct spawner.docker.socket").await;
    browser.close().await;
}

#[tokio::test]
async fn an_image_that_is_not_there_is_named() {
    let port = 18086;
    let missing = "[[profile]]\nname = \"lab\"\nimage = \"localhost:1/nobody/has-this:0\"\n";
    let hub = hub::start(BINARY, missing, port).await;
    let browser = Browser::start(hub.address().ip(), Http::Two).await;
    browser.open(&format!("{}/user/carol/lab", hub.origin())).await;
    browser.sign_in("carol", "carol-password").await;
    browser.until_text("The image localhost:1/nobody/has-this:0 is not on this hub").await;
    hub.until_logged("pull or build the image by hand").await;
    browser.close().await;
}

#[tokio::test]
async fn without_keycloak_a_page_says_so_until_it_is_back() {
    let port = 18087;
    keycloak("stop").await;
    let sections = format!(
        "{}\n[spawner.docker]\nsocket = \"{}\"\nprefix = \"hubgate-real-{port}\"\n{}",
        provider(),
        part("HUBGATE_TEST_DOCKER").trim_start_matches("unix://"),
        profile("token", port),
    );
    let hub = Process::start(BINARY, &sections, crate::keycloak::CLIENT_SECRET).await;
    assert_eq!(hub.operations("/readyz").await.0, 503);
    let browser = Browser::start(hub.address().ip(), Http::Two).await;
    browser.open(&format!("{}/user/carol/lab", hub.origin())).await;
    browser.until_text("Signing in is not possible right now").await;
    keycloak("start").await;
    eventually("the hub ready by itself", || async { hub.operations("/readyz").await.0 == 200 }).await;
    browser.open(&format!("{}/user/carol/lab", hub.origin())).await;
    browser.find("#kc-login").await;
    browser.close().await;
}

async fn keycloak(what: &str) {
    let status =
        Command::new(part("HUBGATE_TEST_KEYCLOAK_CTL")).arg(what).stdin(Stdio::null()).status().await;
    assert!(status.unwrap().success(), "keycloak {what}");
}
