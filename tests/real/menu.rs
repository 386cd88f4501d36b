//! What people click in the pages of their images to stop, restart and leave, in each version's own interface.

use support::process::Process;

use crate::browser::{Browser, Http};
use crate::hub;
use crate::keycloak::Keycloak;
use crate::parts::part;

const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");
const USER: &str = "carol";

/// A hub with one image, and a person's browser that shows a page of it.
async fn opens(image: &str, page: &str, keys: &str, port: u16) -> (Process, Browser) {
    let profile = format!(
        "[[rule]]\nrealm_roles = [\"hub-user\"]\n\n\
         [[profile]]\nname = \"lab\"\ntitle = \"Jupyter\"\nimage = \"{image}\"\nmode = \"hub\"\n{keys}\
         default_url = \"{page}\"\nmemory = \"1GiB\"\ncpu = \"1 cpu\"\n",
        image = part(image),
    );
    let hub = hub::start_with(BINARY, &profile, port).await;
    Keycloak::connect().await.end_sessions(USER).await;
    let browser = Browser::start(hub.address().ip(), Http::Two).await;
    browser.open(&format!("{}/user/{USER}{page}", hub.origin())).await;
    browser.sign_in(USER, &format!("{USER}-password")).await;
    (hub, browser)
}

/// JupyterLab has its restart in the dialog that says that the server is gone; what leads there, and out, is in its
/// File menu.
async fn restarts_from_lab(image: &str, port: u16) {
    let (hub, browser) = opens(image, "/lab", "", port).await;
    browser.new_notebook().await;
    let lab = browser.window().await;

    browser.follow_to_new_window(async || browser.choose_in_file_menu("hub:control-panel").await).await;
    assert_eq!(browser.address().await, format!("{}/hub/home", hub.origin()));
    browser.press("Stop").await;
    browser.until_text("Start Jupyter").await;

    browser.show(&lab).await;
    browser.until_text("Server unavailable or unreachable").await;
    browser.follow_to_new_window(async || browser.press("Restart").await).await;
    browser.press("Start Jupyter").await;
    browser.new_notebook().await;
    assert!(browser.address().await.starts_with(&format!("{}/user/{USER}/lab", hub.origin())));
    browser.run("6*7").await;
    browser.until_output("42").await;

    browser.forget_changes().await;
    browser.choose_in_file_menu("hub:logout").await;
    signs_out(&browser).await;
    hub::clear(port).await;
}

async fn signs_out(browser: &Browser) {
    browser.until_text("Sign out").await;
    browser.find("article form button").await.click().await.unwrap();
    browser.until_text("You are signed out").await;
}

#[tokio::test]
async fn a_restart_is_clicked_in_jupyterlab_3() {
    restarts_from_lab("HUBGATE_TEST_SINGLEUSER_3_1_IMAGE", 18231).await;
}

#[tokio::test]
async fn a_restart_is_clicked_in_jupyterlab_4_1() {
    restarts_from_lab("HUBGATE_TEST_SINGLEUSER_4_1_IMAGE", 18241).await;
}

#[tokio::test]
async fn a_restart_is_clicked_in_jupyterlab_4_5() {
    restarts_from_lab("HUBGATE_TEST_SINGLEUSER_IMAGE", 18255).await;
}

#[tokio::test]
async fn a_restart_is_clicked_in_jupyterlab_4_6() {
    restarts_from_lab("HUBGATE_TEST_SINGLEUSER_6_1_IMAGE", 18261).await;
}

/// The classic Notebook has a button for the hub's page, and one to leave.
#[tokio::test]
async fn a_restart_is_clicked_in_classic_notebook_6() {
    let port = 18223;
    let classic = "environment = { JUPYTERHUB_SINGLEUSER_APP = \"notebook.notebookapp.NotebookApp\" }\n";
    let (hub, browser) = opens("HUBGATE_TEST_SINGLEUSER_2_3_IMAGE", "/tree", classic, port).await;
    browser.find("#notebook_list").await;
    let tree = browser.window().await;

    browser.press("Control Panel").await;
    browser.until_text("Stop").await;
    assert_eq!(browser.address().await, format!("{}/hub/home", hub.origin()));
    browser.press("Stop").await;
    browser.press("Start Jupyter").await;
    browser.find("#notebook_list").await;

    browser.show(&tree).await;
    browser.press("Logout").await;
    signs_out(&browser).await;
    hub::clear(port).await;
}
