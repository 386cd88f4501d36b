//! What people click in the pages of their images to stop, restart and leave, in each version's own interface.

use support::process::{NAME, PORT, Process, USER_DOMAINS};

use crate::browser::{Browser, Http};
use crate::hub;
use crate::keycloak::Keycloak;
use crate::parts::part;

const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");
const USER: &str = "carol";

/// Where the servers of people are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// All at the hub's host.
    Hub,
    /// At a host of each user's own.
    Own,
}

impl At {
    fn server(self) -> String {
        let label = if self == Self::Own { format!("{USER}.") } else { String::new() };
        format!("https://{label}{NAME}:{PORT}/user/{USER}")
    }
}

/// A hub with one image, and a person's browser that shows a page of it.
async fn opens(image: &str, page: &str, keys: &str, at: At, port: u16) -> (Process, Browser) {
    let domains = if at == At::Own { USER_DOMAINS } else { "" };
    let profile = format!(
        "{domains}[[rule]]\nrealm_roles = [\"hub-user\"]\n\n\
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
async fn restarts_from_lab(image: &str, at: At, port: u16) {
    let (hub, browser) = opens(image, "/lab", "", at, port).await;
    browser.new_notebook().await;
    let lab = browser.window().await;

    browser.follow_to_new_window(async || browser.choose_in_file_menu("hub:control-panel").await).await;
    assert_eq!(browser.address().await, format!("{}/hub/home", hub.origin()));
    browser.press("Stop").await;
    browser.until_text("Start Jupyter").await;

    browser.show(&lab).await;
    browser.until_text("Server unavailable or unreachable").await;
    browser.follow_to_new_window(async || browser.press("Restart").await).await;
    if at == At::Own {
        // A page of a user's host is another site's to the hub: it starts nothing without a click.
        browser.press("Start Jupyter").await;
    }
    browser.new_notebook().await;
    assert!(browser.address().await.starts_with(&format!("{}/lab", at.server())));
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
    restarts_from_lab("HUBGATE_TEST_SINGLEUSER_3_1_IMAGE", At::Hub, 18231).await;
}

#[tokio::test]
async fn a_restart_is_clicked_in_jupyterlab_4_1() {
    restarts_from_lab("HUBGATE_TEST_SINGLEUSER_4_1_IMAGE", At::Hub, 18241).await;
}

#[tokio::test]
async fn a_restart_is_clicked_in_jupyterlab_4_5() {
    restarts_from_lab("HUBGATE_TEST_SINGLEUSER_IMAGE", At::Hub, 18255).await;
}

#[tokio::test]
async fn a_restart_is_clicked_in_jupyterlab_4_6() {
    restarts_from_lab("HUBGATE_TEST_SINGLEUSER_6_1_IMAGE", At::Hub, 18261).await;
}

#[tokio::test]
async fn a_restart_is_clicked_in_jupyterlab_4_1_at_a_host_of_ones_own() {
    restarts_from_lab("HUBGATE_TEST_SINGLEUSER_4_1_IMAGE", At::Own, 18242).await;
}

#[tokio::test]
async fn a_restart_is_clicked_in_jupyterlab_4_6_at_a_host_of_ones_own() {
    restarts_from_lab("HUBGATE_TEST_SINGLEUSER_6_1_IMAGE", At::Own, 18262).await;
}

/// The classic Notebook has a button for the hub's page, and one to leave.
async fn restarts_from_classic(at: At, port: u16) {
    let classic = "environment = { JUPYTERHUB_SINGLEUSER_APP = \"notebook.notebookapp.NotebookApp\" }\n";
    let (hub, browser) = opens("HUBGATE_TEST_SINGLEUSER_2_3_IMAGE", "/tree", classic, at, port).await;
    browser.find("#notebook_list").await;
    let tree = browser.window().await;

    browser.press("Control Panel").await;
    browser.until_text("Stop").await;
    assert_eq!(browser.address().await, format!("{}/hub/home", hub.origin()));
    browser.press("Stop").await;
    browser.press("Start Jupyter").await;
    browser.find("#notebook_list").await;
    assert_eq!(browser.address().await, format!("{}/tree", at.server()));

    browser.show(&tree).await;
    browser.press("Logout").await;
    signs_out(&browser).await;
    hub::clear(port).await;
}

#[tokio::test]
async fn a_restart_is_clicked_in_classic_notebook_6() {
    restarts_from_classic(At::Hub, 18223).await;
}

#[tokio::test]
async fn a_restart_is_clicked_in_classic_notebook_6_at_a_host_of_ones_own() {
    restarts_from_classic(At::Own, 18224).await;
}
