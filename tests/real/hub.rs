//! The built program in front of the real parts.

use std::process::Stdio;

use support::certs::Authority;
use support::process::Process;
use tokio::process::Command;

use crate::keycloak::{AUTHORITY, CLIENT_SECRET, Keycloak};
use crate::parts::part;

/// The network of the workspaces, with a gateway that is known beforehand.
pub(crate) const NETWORK: &str = "hubgate-real-tests";
const SUBNET: &str = "172.30.77.0/24";
/// Where containers reach the hub API. Several hubs share the network, each with a port.
pub(crate) const GATEWAY: &str = "172.30.77.1";

/// A profile of either mode, over the image made for it. Homes are this hub's own.
pub(crate) fn profile(mode: &str, port: u16) -> String {
    let image = match mode {
        "hub" => part("HUBGATE_TEST_SINGLEUSER_IMAGE"),
        _ => part("HUBGATE_TEST_LAB_IMAGE"),
    };
    format!(
        "[[profile]]\nname = \"{mode}\"\ntitle = \"JupyterLab\"\nimage = \"{image}\"\nmemory = \"1GiB\"\ncpu = \"1 cpu\"\n\
         [[profile.volume]]\nsource = \"hubgate-real-{port}-{{username}}\"\ntarget = \"/home/jovyan\"\nowner = \"1000:100\"\n"
    )
}

/// Starts a hub that signs in at the real Keycloak and runs these profiles on the real engine.
///
/// `port` keeps the hub APIs and container names of hubs apart.
pub(crate) async fn start(binary: &str, profiles: &str, port: u16) -> Process {
    start_with(binary, &format!("[[rule]]\nrealm_roles = [\"hub-user\"]\n\n{profiles}"), port).await
}

/// The same with rules of its own.
pub(crate) async fn start_with(binary: &str, rules_and_profiles: &str, port: u16) -> Process {
    start_with_engine(binary, rules_and_profiles, "", port).await
}

async fn start_with_engine(binary: &str, rules_and_profiles: &str, engine: &str, port: u16) -> Process {
    make_network().await;
    // JupyterLab opens what was open last: a home that an earlier run left shows no launcher.
    clear(port).await;
    start_among(binary, rules_and_profiles, engine, port).await
}

/// Starts a hub that finds containers of its prefix, and has these keys in its section of the engine.
pub(crate) async fn start_among(binary: &str, rules_and_profiles: &str, engine: &str, port: u16) -> Process {
    let mut keycloak = Keycloak::connect().await;
    let sections = format!(
        "{}{engine}\n[hub_api]\nlisten = \"{GATEWAY}:{port}\"\n\n{rules_and_profiles}",
        parts(&keycloak, "", port),
    );
    let process = Process::start(binary, &sections, CLIENT_SECRET).await;
    keycloak.register(&process.origin()).await;
    process.until_ready().await;
    process
}

/// Starts a hub whose containers know these hosts: `name:address`.
pub(crate) async fn start_beside(binary: &str, sections: &str, hosts: &[&str], port: u16) -> Process {
    start_with_engine(
        binary,
        &format!("[[rule]]\nrealm_roles = [\"hub-user\"]\n\n{sections}"),
        &format!("hosts = {hosts:?}\n"),
        port,
    )
    .await
}

/// Starts a hub that Keycloak can call, too: it has a name of its own there, and a certificate that Keycloak trusts.
/// `provider` is added to its section of the provider.
pub(crate) async fn start_in(
    keycloak: &mut Keycloak,
    binary: &str,
    provider: &str,
    sections: &str,
    port: u16,
) -> Process {
    make_network().await;
    clear(port).await;
    let name = format!("hub-{port}.example");
    let key = std::fs::read_to_string(part("HUBGATE_TEST_KEYCLOAK_CA_KEY")).unwrap();
    let authority = Authority::known(AUTHORITY, &key);
    let sections = format!("{}{sections}", parts(keycloak, provider, port));
    let process = Process::start_as(binary, &name, authority, &sections, CLIENT_SECRET).await;
    Keycloak::learn_host(&name, process.address().ip());
    keycloak.register(&process.origin()).await;
    process.until_ready().await;
    process
}

/// The sections of a provider and of an engine.
fn parts(keycloak: &Keycloak, provider: &str, port: u16) -> String {
    // A hub with a key has no secret.
    let secret =
        if provider.contains("client_key") { "" } else { "client_secret = { file = \"{folder}/secret\" }\n" };
    format!(
        "[provider]\nissuer = \"{issuer}\"\nclient_id = \"hubgate\"\n{secret}ca_file = \"{ca}\"\n{provider}\n\
         [spawner.docker]\nsocket = \"{socket}\"\nnetwork = \"{NETWORK}\"\nprefix = \"hubgate-real-{port}\"\n",
        issuer = keycloak.issuer(),
        ca = part("HUBGATE_TEST_KEYCLOAK_CA"),
        socket = part("HUBGATE_TEST_DOCKER").trim_start_matches("unix://"),
    )
}

/// Makes the network, where it is not there.
pub(crate) async fn make_network() {
    let created = docker(&["network", "create", "--subnet", SUBNET, "--gateway", GATEWAY, NETWORK]).await;
    let there = docker(&["network", "inspect", NETWORK]).await;
    assert!(created.0 || there.0, "the network {NETWORK}: {}", created.1);
}

/// Runs the engine's own client: success, and what it wrote.
pub(crate) async fn docker(arguments: &[&str]) -> (bool, String) {
    let socket = part("HUBGATE_TEST_DOCKER");
    let socket = format!("unix://{}", socket.trim_start_matches("unix://"));
    let output = Command::new("docker")
        .args(["-H", &socket])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Takes a hub's containers and homes away, before its test and after it.
pub(crate) async fn clear(port: u16) {
    let filter = format!("name=hubgate-real-{port}-");
    let (_, list) = docker(&["ps", "-aq", "--filter", &filter]).await;
    for id in list.split_whitespace() {
        docker(&["rm", "-f", id]).await;
    }
    let (_, list) = docker(&["volume", "ls", "-q", "--filter", &filter]).await;
    for name in list.split_whitespace() {
        docker(&["volume", "rm", name]).await;
    }
}
