//! A real Chromium, driven over `WebDriver` as a person would drive it.

use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::wd::WindowHandle;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use support::eventually::{eventually, found};
use support::process::NAME;
use tokio::process::{Child, Command};

use crate::parts::part;

/// How long a page may take: JupyterLab on two cores beside Keycloak is not quick.
const PAGE: Duration = Duration::from_mins(2);

const FILE_MENU: &str = "//*[contains(@class, 'lm-MenuBar-itemLabel') and text()='File']";

/// Where a cell's code is written, in JupyterLab 4 and in 3.
const CELL: &str = ".jp-Notebook .jp-CodeCell .cm-content, .jp-Notebook .jp-CodeCell .CodeMirror";

/// The protocol that the browser may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http {
    /// HTTP/1.1 only.
    One,
    /// HTTP/2, with HTTP/1.1 for websockets.
    Two,
}

/// A browser with an empty profile.
pub(crate) struct Browser {
    client: Client,
    // Both end with the test: the driver ends its browser.
    _driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser that finds the hub at `hub`.
    pub(crate) async fn start(hub: IpAddr, http: Http) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let driver = Command::new(part("HUBGATE_TEST_CHROMEDRIVER"))
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver");
        eventually("chromedriver", || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        let profile = tempfile::TempDir::new_in(part("HUBGATE_TEST_RUN_DIR")).unwrap();
        let mut arguments: Vec<String> = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1400,1000",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        arguments.push(format!("--host-resolver-rules=MAP {NAME} {hub}, MAP *.{NAME} {hub}"));
        if http == Http::One {
            arguments.push("--disable-http2".to_owned());
        }
        let capabilities = json!({
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "goog:chromeOptions": { "binary": part("HUBGATE_TEST_CHROMIUM"), "args": arguments },
        });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a browser");
        Self { client, _driver: driver, _profile: profile }
    }

    /// Opens an address.
    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// The address that is shown.
    pub(crate) async fn address(&self) -> String {
        self.client.current_url().await.unwrap().to_string()
    }

    /// Waits for an element.
    pub(crate) async fn find(&self, css: &str) -> Element {
        let deadline = Instant::now() + PAGE;
        loop {
            if let Ok(element) = self.client.find(Locator::Css(css)).await {
                return element;
            }
            if Instant::now() > deadline {
                let shot = self.screenshot("missing").await;
                panic!("no {css} at {}; see {}", self.address().await, shot.display());
            }
            // The engine plugs a cable into this machine for each container that starts; Chromium drops what it was
            // loading then. A person would press "Reload".
            if self.text().await.contains("ERR_NETWORK_CHANGED") {
                drop(self.client.refresh().await);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the page's text has this in it.
    pub(crate) async fn until_text(&self, text: &str) {
        eventually(&format!("{text:?} on the page"), || async {
            let shown = self.text().await;
            if shown.contains("ERR_NETWORK_CHANGED") {
                drop(self.client.refresh().await);
            }
            shown.contains(text)
        })
        .await;
    }

    /// The page's text.
    pub(crate) async fn text(&self) -> String {
        let script = "return document.body ? document.body.innerText : ''";
        let value = self.client.execute(script, vec![]).await;
        value.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Runs a script in the page, and answers what it returns.
    pub(crate) async fn script(&self, script: &str) -> serde_json::Value {
        self.client.execute(script, vec![]).await.unwrap_or(serde_json::Value::Null)
    }

    /// The window that is shown, to come back to.
    pub(crate) async fn window(&self) -> WindowHandle {
        self.client.window().await.unwrap()
    }

    /// Shows a window.
    pub(crate) async fn show(&self, window: &WindowHandle) {
        self.client.switch_to_window(window.clone()).await.unwrap();
    }

    /// Clicks what opens another window, until there is one, and shows that.
    pub(crate) async fn follow_to_new_window(&self, click: impl AsyncFn()) {
        let before = self.client.windows().await.unwrap();
        click().await;
        let opened = found("another window", PAGE, async || {
            let windows = self.client.windows().await.unwrap();
            windows.into_iter().find(|window| !before.contains(window))
        })
        .await;
        self.show(&opened).await;
    }

    /// Clicks a button, whatever it is inside of, once it is there.
    pub(crate) async fn press(&self, label: &str) {
        let button = format!("//button[normalize-space()='{label}'] | //a[normalize-space()='{label}']");
        eventually(&format!("a button {label:?} to press"), || async {
            match self.client.find(Locator::XPath(&button)).await {
                Ok(button) => button.click().await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
    }

    /// Chooses a command in `JupyterLab`'s File menu.
    pub(crate) async fn choose_in_file_menu(&self, command: &str) {
        let item = format!("li.lm-Menu-item[data-command='{command}']");
        eventually(&format!("{command} in the File menu"), || async {
            if let Ok(item) = self.client.find(Locator::Css(&item)).await {
                return item.click().await.is_ok();
            }
            if let Ok(menu) = self.client.find(Locator::XPath(FILE_MENU)).await {
                // What lies over it, as a dialog, may take the click.
                drop(menu.click().await);
            }
            false
        })
        .await;
    }

    /// Fills in Keycloak's own login form.
    pub(crate) async fn sign_in(&self, user: &str, password: &str) {
        self.fill_in(user, password).await;
        // Where a reload had to repeat the form, Keycloak asks again.
        eventually("the login done", || async {
            let shown = self.text().await;
            if shown.contains("ERR_NETWORK_CHANGED") {
                drop(self.client.refresh().await);
            }
            shown.contains("Action expired") || !self.address().await.contains("/realms/")
        })
        .await;
        if self.text().await.contains("Action expired") {
            self.fill_in(user, password).await;
        }
    }

    async fn fill_in(&self, user: &str, password: &str) {
        self.find("#username").await.send_keys(user).await.unwrap();
        self.find("#password").await.send_keys(password).await.unwrap();
        self.find("#kc-login").await.click().await.unwrap();
    }

    /// Opens a notebook from JupyterLab's launcher.
    pub(crate) async fn new_notebook(&self) {
        // A card that is drawn is not yet one that listens.
        self.find(".jp-LauncherCard[data-category='Notebook']").await;
        eventually("a notebook from the launcher", || async {
            if self.client.find(Locator::Css(CELL)).await.is_ok() {
                return true;
            }
            if let Ok(card) =
                self.client.find(Locator::Css(".jp-LauncherCard[data-category='Notebook']")).await
            {
                // It may go away between the two.
                drop(card.click().await);
            }
            false
        })
        .await;
        self.until_kernel_idle().await;
    }

    /// A notebook that was changed asks before it lets go; nobody is here to answer.
    pub(crate) async fn forget_changes(&self) {
        let script = "window.onbeforeunload = null; \
                      window.addEventListener('beforeunload', e => e.stopImmediatePropagation(), true)";
        self.script(script).await;
    }

    /// Waits until the notebook's kernel waits for work.
    pub(crate) async fn until_kernel_idle(&self) {
        // The indicator is idle before there is a kernel at all; the status bar names the kernel, too.
        let script = "const bar = document.querySelector('#jp-main-statusbar')?.innerText ?? ''; \
                      const name = document.querySelector('.jp-Toolbar-kernelName')?.innerText ?? ''; \
                      return name.includes('Python') && /Python[^|]*\\|\\s*Idle/.test(bar)";
        let deadline = Instant::now() + PAGE;
        while self.script(script).await != serde_json::Value::Bool(true) {
            if Instant::now() > deadline {
                let shot = self.screenshot("kernel").await;
                panic!("the kernel is not idle; see {}", shot.display());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until JupyterLab has its websockets again. It knows nothing of a kernel that was idle before: it will be
    /// told when there is something to tell.
    pub(crate) async fn until_reconnected(&self) {
        eventually("the kernel's websocket again", || async {
            let script = "return document.querySelector('#jp-main-statusbar')?.innerText ?? ''";
            let bar = self.script(script).await;
            bar.as_str().is_some_and(|bar| bar.contains("Unknown") || bar.contains("Idle"))
        })
        .await;
    }

    /// Runs code in the notebook's last cell.
    pub(crate) async fn run(&self, code: &str) {
        // JupyterLab says in a dialog that the hub was away for a moment; a person closes it.
        self.script(
            "document.querySelectorAll('.jp-Dialog .jp-mod-accept').forEach(button => button.click())",
        )
        .await;
        let cells = self.client.find_all(Locator::Css(CELL)).await.unwrap();
        cells.last().expect("a cell").click().await.unwrap();
        let cell = self.client.active_element().await.unwrap();
        cell.send_keys(code).await.unwrap();
        cell.send_keys(&format!("{}{}", char::from(Key::Shift), char::from(Key::Enter))).await.unwrap();
    }

    /// Waits until the notebook's last output is this.
    pub(crate) async fn until_output(&self, wanted: &str) {
        let script =
            "return [...document.querySelectorAll('.jp-OutputArea-output')].map(o => o.innerText.trim())";
        let mut seen = serde_json::Value::Null;
        for _ in 0..600 {
            seen = self.script(script).await;
            let outputs = seen.as_array().cloned().unwrap_or_default();
            if outputs.last().and_then(|output| output.as_str()) == Some(wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let shot = self.screenshot("output").await;
        panic!("{wanted:?} was awaited; outputs are {seen}; see {}", shot.display());
    }

    /// Keeps a picture of the page, and says where.
    pub(crate) async fn screenshot(&self, name: &str) -> PathBuf {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = folder.join(format!("{name}-{}.png", std::process::id()));
        if let Ok(png) = self.client.screenshot().await {
            std::fs::write(&path, png).unwrap();
        }
        path
    }

    /// Ends the browser.
    pub(crate) async fn close(self) {
        self.client.close().await.unwrap();
    }
}
