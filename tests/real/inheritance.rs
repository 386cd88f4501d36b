//! The day on which a hub changes from JupyterHub to hubgate: what runs goes on.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use support::eventually::eventually;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::hub::{self, GATEWAY, NETWORK, docker};
use crate::parts::part;
use crate::visitor::{Visitor, run};

const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");
const PORT: u16 = 18170;

/// Of the service by whose orders the JupyterHub starts a server.
const ORDERS: &str = "0123456789abcdef0123456789abcdef";

/// As DockerSpawner is set up on a network of its own; nothing but its own port is open, so it needs no proxy.
const CONFIG: &str = r#"
from jupyterhub.proxy import Proxy

class NoProxy(Proxy):
    should_start = False
    routes = {}
    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}
    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)
    async def get_all_routes(self):
        return dict(self.routes)

c = get_config()
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.hub_ip = "{gateway}"
c.JupyterHub.hub_port = {port}
c.JupyterHub.bind_url = "http://127.0.0.1:{public}"
c.JupyterHub.cleanup_servers = False
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allowed_users = {"alice"}
c.JupyterHub.services = [{"name": "orders", "api_token": "{orders}"}]
c.JupyterHub.load_roles = [{"name": "orders", "scopes": ["admin:servers"], "services": ["orders"]}]
c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.DockerSpawner.image = "{image}"
c.DockerSpawner.prefix = "hubgate-real-{port}"
c.DockerSpawner.network_name = "{network}"
c.DockerSpawner.volumes = {"hubgate-real-{port}-{username}": "/home/jovyan"}
c.DockerSpawner.environment = {"JUPYTERHUB_ACTIVITY_INTERVAL": "1"}
c.DockerSpawner.start_timeout = 180
c.DockerSpawner.http_timeout = 180
"#;

/// Asks the server in the container for a kernel, by the container's own token, and lets it remember something.
const KERNEL: &str = r#"
import glob, json, os, time, urllib.request
from jupyter_client import BlockingKernelClient
url = "http://127.0.0.1:8888" + os.environ["JUPYTERHUB_SERVICE_PREFIX"] + "api/kernels"
headers = {"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"], "Content-Type": "application/json"}
request = urllib.request.Request(url, data=b'{"name": "python3"}', headers=headers, method="POST")
kernel = json.load(urllib.request.urlopen(request))["id"]
files = glob.glob(os.path.expanduser("~/.local/share/jupyter/runtime/kernel-" + kernel + ".json"))
client = BlockingKernelClient(connection_file=files[0])
client.load_connection_file()
client.start_channels()
client.wait_for_ready(timeout=60)
client.execute_interactive("remembered = 41", timeout=60)
open(os.path.expanduser("~/kept.txt"), "w").write("before the change")
print("kernel=" + kernel)
"#;

struct JupyterHub {
    child: Child,
    folder: TempDir,
}

impl JupyterHub {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let image = part("HUBGATE_TEST_SINGLEUSER_6_1_IMAGE");
        let config = [
            ("{gateway}", GATEWAY),
            ("{port}", &PORT.to_string()),
            ("{public}", &(PORT + 1).to_string()),
            ("{orders}", ORDERS),
            ("{image}", &image),
            ("{network}", NETWORK),
        ]
        .iter()
        .fold(CONFIG.to_owned(), |config, (blank, value)| config.replace(blank, value));
        std::fs::write(folder.path().join("jupyterhub_config.py"), config).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(Path::new(&part("HUBGATE_TEST_JUPYTERHUB")).join("jupyterhub"));
        command.current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        let socket = part("HUBGATE_TEST_DOCKER");
        command.env("DOCKER_HOST", format!("unix://{}", socket.trim_start_matches("unix://")));
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { child, folder }
    }

    /// Asks its API until the answer is this status.
    async fn until(&self, method: &str, path: &str, status: &str) {
        let url = format!("http://{GATEWAY}:{PORT}/hub/api{path}");
        let authorization = format!("Authorization: token {ORDERS}");
        eventually(&format!("{method} {path} says {status}"), || async {
            let mut command = Command::new("curl");
            command.args([
                "-s",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "-X",
                method,
                "-H",
                &authorization,
                &url,
            ]);
            let said = command.output().await.unwrap().stdout;
            String::from_utf8_lossy(&said) == status
        })
        .await;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// As the service manager stops it: the servers stay.
    async fn stop(mut self) -> String {
        let id = self.child.id().unwrap().to_string();
        Command::new("kill").args(["-TERM", &id]).status().await.unwrap();
        self.child.wait().await.unwrap();
        self.log()
    }
}

#[tokio::test]
async fn a_kernel_of_a_jupyterhub_lives_on_under_hubgate() {
    hub::make_network().await;
    hub::clear(PORT).await;
    let jupyterhub = JupyterHub::start();
    jupyterhub.until("GET", "/", "200").await;
    jupyterhub.until("POST", "/users/alice/server", "400").await;
    let name = format!("hubgate-real-{PORT}-alice");
    let (_, before) = docker(&["inspect", "--format", "{{.Id}}", &name]).await;
    let (ran, said) = docker(&["exec", &name, "python3", "-c", KERNEL]).await;
    assert!(ran, "{said}\n{}", jupyterhub.log());
    let kernel = said.split_once("kernel=").unwrap().1.trim().to_owned();
    let log = jupyterhub.stop().await;
    assert!(log.contains("Leaving single-user servers running"), "{log}");

    let sections = format!(
        "[[rule]]\nusers = [\"alice\"]\n[[profile]]\nname = \"lab\"\nimage = \"{image}\"\nmode = \"hub\"\n\
         [[profile.volume]]\nsource = \"hubgate-real-{PORT}-{{username}}\"\ntarget = \"/home/jovyan\"\nowner = \"1000:100\"\n",
        image = part("HUBGATE_TEST_SINGLEUSER_6_1_IMAGE"),
    );
    let hub = hub::start_among(BINARY, &sections, "adopt_jupyterhub = true\n", PORT).await;
    hub.until_logged("workspace_adopted").await;
    let mut alice = Visitor::sign_in(&hub, "alice").await;
    let (hops, page) = alice.lands("/user/alice/lab").await;
    assert_eq!(hops[..2], ["/hub/api/oauth2/authorize", "/user/alice/oauth_callback"], "{}", page.text());
    assert_eq!(page.status, 200, "{}", page.text());
    let kernels = alice.fetch("GET", "/user/alice/api/kernels", &Value::Null).await;
    assert!(kernels.text().contains(&kernel), "{}", kernels.text());
    let path = format!("/user/alice/api/kernels/{kernel}/channels?session_id=s1");
    let mut socket = alice.socket(&path, &hub.origin()).await.unwrap();
    run(&mut socket, "remembered + 1", "\"text/plain\": \"42\"").await;
    eventually("the container's report", || async { hub.log().contains("activity reported user=alice") })
        .await;
    let (_, after) = docker(&["inspect", "--format", "{{.Id}}", &name]).await;
    assert_eq!(before, after);

    alice.stops().await;
    alice.lands("/user/alice/lab").await;
    let (_, next) =
        docker(&["inspect", "--format", "{{.Id}} {{index .Config.Labels \"io.hubgate.user\"}}", &name]).await;
    assert!(!next.contains(before.trim()) && next.trim().ends_with(" alice"), "{next}");
    let kept = alice.fetch("GET", "/user/alice/api/contents/kept.txt", &Value::Null).await;
    assert!(kept.text().contains("before the change"), "{}", kept.text());
    let (_, aside) = docker(&["inspect", "--format", "{{.Name}}", before.trim()]).await;
    assert_eq!(aside.trim(), format!("/{name}.{}", before.chars().take(12).collect::<String>()));
    hub::clear(PORT).await;
}
