//! `hubgate connect` at the real Keycloak: what it registers lets people in, with their groups and roles.

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use support::hub::path_and_query;
use support::process::{NAME, PORT, Process};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::keycloak::{Keycloak, sign_in};
use crate::parts::part;

const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");

/// A realm that knows nothing of hubgate.
fn realm() -> Value {
    let person = |name: &str| {
        json!({
            "username": name, "enabled": true, "email": format!("{name}@lab.example"), "emailVerified": true,
            "firstName": name, "lastName": "Example",
            "credentials": [{"type": "password", "value": format!("{name}-password"), "temporary": false}],
        })
    };
    let mut alice = person("alice");
    alice["realmRoles"] = json!(["default-roles-connect", "hub-user"]);
    alice["clientRoles"] = json!({"tool": ["large"]});
    alice["groups"] = json!(["/lab/alpha"]);
    let mut registrar = person("registrar");
    registrar["clientRoles"] = json!({"realm-management": ["manage-clients"]});
    json!({
        "realm": "connect", "enabled": true, "sslRequired": "external", "accessTokenLifespan": 600,
        "roles": {"realm": [{"name": "hub-user"}], "client": {"tool": [{"name": "large"}]}},
        "groups": [{"name": "lab", "subGroups": [{"name": "alpha"}]}],
        "clients": [{"clientId": "tool", "publicClient": true, "directAccessGrantsEnabled": true}],
        "users": [alice, registrar, person("nobody")],
    })
}

/// One profile for each way to be let in: whoever sees its title has been recognised by it.
const RULES: &str = "[[rule]]\ngroups = [\"/lab/alpha\"]\nprofiles = [\"group\"]\n\
    [[rule]]\nrealm_roles = [\"hub-user\"]\nprofiles = [\"realm\"]\n\
    [[rule]]\nclient_roles = [{ client = \"tool\", role = \"large\" }]\nprofiles = [\"client\"]\n\
    [[rule]]\ngroups = [\"alpha\"]\nprofiles = [\"bare\"]\n\
    [spawner]\nkind = \"insecure_process\"\n\
    [[profile]]\nname = \"group\"\ntitle = \"By the group\"\ncommand = [\"/bin/sleep\", \"60\"]\n\
    [[profile]]\nname = \"realm\"\ntitle = \"By the realm role\"\ncommand = [\"/bin/sleep\", \"60\"]\n\
    [[profile]]\nname = \"client\"\ntitle = \"By the client role\"\ncommand = [\"/bin/sleep\", \"60\"]\n\
    [[profile]]\nname = \"bare\"\ntitle = \"By a bare name\"\ncommand = [\"/bin/sleep\", \"60\"]\n";

/// Runs it for this issuer, with this token on its standard input.
async fn connect(issuer: &str, token: &str, arguments: &[&str]) -> Output {
    let mut child = Command::new(BINARY)
        .args(["connect", issuer, "--json", "--public-url", &format!("https://{NAME}:{PORT}")])
        .args(["--ca-file", &part("HUBGATE_TEST_KEYCLOAK_CA")])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(token.as_bytes()).await.unwrap();
    drop(stdin);
    child.wait_with_output().await.unwrap()
}

fn report(output: &Output) -> Value {
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{err}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_client_that_connect_registers_lets_people_in_with_their_groups_and_roles() {
    let mut keycloak = Keycloak::with_realm(realm()).await;
    let folder = TempDir::new().unwrap();
    let secret = folder.path().join("secret");
    let register = [
        "--register",
        "--admin-token-file",
        "-",
        "--secret-file",
        secret.to_str().unwrap(),
        "--api-client",
        "tool",
    ];

    let nobody = keycloak.token_of("nobody", "nobody-password").await;
    let refused = connect(&keycloak.issuer(), &nobody, &register).await;
    let err = String::from_utf8(refused.stderr).unwrap();
    assert!(err.contains("caused by: the token may not look for clients"), "{err}");

    // The old prefix is not there, and no more than one role is needed.
    let asked = keycloak.issuer().replace("/realms/", "/auth/realms/");
    let registrar = keycloak.token_of("registrar", "registrar-password").await;
    let first = report(&connect(&asked, &registrar, &register).await);
    assert_eq!((&first["issuer"], &first["discovery_url"]), (&json!(keycloak.issuer()), &Value::Null));
    assert_eq!(first["registration"]["outcome"], "created", "{first}");
    let client = keycloak.client("hubgate").await;
    let mappers = keycloak.client("tool").await["protocolMappers"].clone();
    assert!(
        mappers.as_array().unwrap().iter().any(|mapper| mapper["protocolMapper"] == "oidc-audience-mapper")
    );

    let again = report(&connect(&keycloak.issuer(), &registrar, &register).await);
    assert_eq!(again["registration"]["outcome"], "unchanged", "{again}");
    assert_eq!((keycloak.client("hubgate").await, &again["toml"]), (client, &first["toml"]));

    // By Keycloak's own scope, roles would come in the access token: here it is the mappers that bring them.
    keycloak.remove_scope("hubgate", "roles").await;
    let sections = format!("{}{RULES}", first["toml"].as_str().unwrap());
    let hub = Process::start(BINARY, &sections, "not used").await;
    hub.until_ready().await;
    let (mut alice, mut browser) = (hub.client(), keycloak.browser());
    let started = alice.open("/hub/login").await;
    let location = started.header("location").unwrap_or_else(|| panic!("{}", started.text())).to_owned();
    let back = sign_in(&mut browser, &location, "alice", "alice-password").await;
    assert!(back.as_str().starts_with(&format!("https://{NAME}:{PORT}/hub/oauth_callback?")), "{back}");
    let entered = alice.open(&path_and_query(back.as_str())).await;
    assert_eq!(entered.status, 303, "{}", entered.text());
    let home = alice.open("/hub/home").await.text();
    for title in ["By the group", "By the realm role", "By the client role"] {
        assert!(home.contains(title), "{title} is not in {home}");
    }
    assert!(!home.contains("By a bare name"), "groups come with their whole path");

    // Signing out of both leads back to the hub without a question.
    let form_token = alice.open("/hub/logout").await.field("form_token").unwrap();
    let answer = alice.submit("/hub/logout", &[("form_token", &form_token)]).await;
    let answer = browser.open(&path_and_query(answer.header("location").unwrap())).await;
    let after = answer.header("location").unwrap_or_else(|| panic!("{}", answer.text()));
    assert_eq!(after.split('?').next(), Some(format!("https://{NAME}:{PORT}/hub/logout").as_str()));
    keycloak.remove_realm().await;
}

#[tokio::test]
async fn a_client_of_the_realm_is_mended_and_stays_usable() {
    let mut keycloak = Keycloak::connect().await;
    let register = ["--register", "--admin-token-file", "-", "--client-id", "mended"];
    keycloak.add_client(json!({
        "clientId": "mended", "publicClient": true, "directAccessGrantsEnabled": true,
        "redirectUris": ["*", "https://other.example/cb"], "attributes": {"post.logout.redirect.uris": "+"},
        "protocolMappers": [{
            "name": "groups", "protocol": "openid-connect", "protocolMapper": "oidc-group-membership-mapper",
            "config": {"claim.name": "groups", "full.path": "false", "id.token.claim": "true"},
        }],
    }))
    .await;
    let would = report(&connect(&keycloak.issuer(), &keycloak.token().await, &register[1..]).await);
    let mended = report(&connect(&keycloak.issuer(), &keycloak.token().await, &register).await);
    assert_eq!(would["registration"]["changes"], mended["registration"]["changes"]);
    assert_eq!(mended["registration"]["outcome"], "changed", "{mended}");
    let client = keycloak.client("mended").await;
    assert_eq!(
        (&client["publicClient"], &client["directAccessGrantsEnabled"]),
        (&json!(false), &json!(false))
    );
    let callback = format!("https://{NAME}:{PORT}/hub/oauth_callback");
    let uris = client["redirectUris"].as_array().unwrap();
    assert_eq!(uris.len(), 2, "{uris:?}");
    assert!(uris.contains(&json!("https://other.example/cb")) && uris.contains(&json!(callback)), "{uris:?}");
    assert!(client["secret"].as_str().is_some_and(|secret| secret.len() > 16), "it has a secret now");
    let mappers = client["protocolMappers"].as_array().unwrap();
    assert_eq!(mappers.len(), 3, "{mappers:?}");
    let groups = mappers.iter().find(|mapper| mapper["name"] == "groups").unwrap();
    assert_eq!(groups["config"]["full.path"], "true");
    let again = report(&connect(&keycloak.issuer(), &keycloak.token().await, &register).await);
    assert_eq!(again["registration"]["changes"], json!([]), "{again}");
    keycloak.remove_client("mended").await;
}
