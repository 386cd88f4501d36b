//! The ways in which the real Keycloak may want a client to sign people in.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::KeyPair;
use serde_json::{Value, json};
use support::certs::write_secret;
use support::eventually::eventually;
use support::process::Process;
use tempfile::TempDir;

use crate::hub::{self, profile};
use crate::keycloak::Keycloak;
use crate::parts::part;
use crate::person::Person;

const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");

/// Renewed after a second or two, so that each way is seen to serve a renewal, too.
const SHORT: &str = "[session]\nrefresh_interval = \"2s\"\n[[rule]]\nrealm_roles = [\"hub-user\"]\n";

/// A hub with this in its section of the provider, whose client at Keycloak has these settings.
async fn hub_of(port: u16, provider: &str, client: Value, realm: Value) -> (Process, Keycloak) {
    let mut keycloak = Keycloak::own_realm(realm).await;
    keycloak.change_client(client).await;
    let provider = provider.replace("{http}", &keycloak.issuer_without_tls());
    let sections = format!("{SHORT}{}", profile("token", port));
    let hub = hub::start_in(&mut keycloak, BINARY, &provider, &sections, port).await;
    (hub, keycloak)
}

/// Somebody signs in and stays in over two renewals.
async fn serves(hub: &Process, keycloak: &Keycloak) -> Person {
    let alice = Person::sign_in(hub, keycloak, "alice").await;
    eventually("two renewals", || async {
        assert!(alice.is_in().await);
        hub.metric("hubgate_renewals_total{result=\"ok\"}").await > 1.5
    })
    .await;
    let (all, good) = ("hubgate_renewals_total", "hubgate_renewals_total{result=\"ok\"}");
    assert!((hub.metric(all).await - hub.metric(good).await).abs() < 0.5, "{}", hub.log());
    alice
}

#[tokio::test]
async fn userinfo_may_be_signed() {
    let signed = json!({ "attributes": { "user.info.response.signature.alg": "RS256" } });
    let (hub, keycloak) = hub_of(18111, "", signed, json!({})).await;
    serves(&hub, &keycloak).await;
}

#[tokio::test]
async fn requests_may_have_to_be_pushed() {
    let pushed = json!({ "attributes": { "require.pushed.authorization.requests": "true" } });
    let (hub, keycloak) = hub_of(18112, "pushed_requests = true\n", pushed, json!({})).await;
    let begun = hub.client().open("/hub/login").await;
    let location = begun.header("location").unwrap();
    assert!(location.contains("request_uri=urn") && !location.contains("redirect_uri"), "{location}");
    serves(&hub, &keycloak).await;
}

#[tokio::test]
async fn a_client_may_sign_with_a_key_in_place_of_a_secret() {
    let folder = TempDir::new().unwrap();
    let pair = KeyPair::generate().unwrap();
    write_secret(&folder.path().join("ec.pem"), &pair.serialize_pem());
    // An uncompressed point: 4, x, y.
    let (x, y) = pair.public_key_raw()[1..].split_at(32);
    let key = json!({
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "hub",
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    });
    let client = json!({ "clientAuthenticatorType": "client-jwt", "attributes": {
        "use.jwks.string": "true", "jwks.string": json!({ "keys": [key] }).to_string(),
        "token.endpoint.auth.signing.alg": "ES256",
    }});
    let provider = format!(
        "client_authentication = \"private_key_jwt\"\nclient_key = {{ file = \"{}\" }}\nclient_key_id = \"hub\"\n",
        folder.path().join("ec.pem").display()
    );
    let (hub, keycloak) = hub_of(18113, &provider, client, json!({})).await;
    serves(&hub, &keycloak).await;
}

#[tokio::test]
async fn a_client_may_be_known_by_a_certificate() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-subj", "/CN=hubgate"])
        .args(["-keyout", &path("rsa.pem"), "-outform", "DER", "-out", &path("certificate")])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{made:?}");
    let key = std::fs::read_to_string(path("rsa.pem")).unwrap();
    write_secret(&folder.path().join("rsa.pem"), &key);
    let certificate = STANDARD.encode(std::fs::read(path("certificate")).unwrap());
    let client = json!({ "clientAuthenticatorType": "client-jwt", "attributes": {
        "jwt.credential.certificate": certificate,
    }});
    // A pushed request is signed, too.
    let provider = format!(
        "client_authentication = \"private_key_jwt\"\nclient_key = {{ file = \"{}\" }}\npushed_requests = true\n",
        path("rsa.pem")
    );
    let (hub, keycloak) = hub_of(18114, &provider, client, json!({})).await;
    serves(&hub, &keycloak).await;
}

#[tokio::test]
async fn an_offline_token_outlives_keycloaks_session_and_is_taken_back_at_the_end() {
    let offline = "scopes = [\"openid\", \"profile\", \"email\", \"offline_access\"]\n";
    let (hub, mut keycloak) = hub_of(18115, offline, json!({}), json!({})).await;
    let mut alice = serves(&hub, &keycloak).await;
    assert_eq!(keycloak.offline_sessions("alice").await, 1);
    let form = alice.hub.open("/hub/logout").await.field("form_token").unwrap();
    assert_eq!(alice.hub.submit("/hub/logout", &[("form_token", &form)]).await.status, 303);
    let mut tries = 0;
    while keycloak.offline_sessions("alice").await > 0 {
        tries += 1;
        assert!(tries < 200, "the offline token lives on: {}", hub.log());
    }
}

#[tokio::test]
async fn keycloak_may_be_asked_inside_and_call_itself_by_its_public_name() {
    let public = part("HUBGATE_TEST_KEYCLOAK_URL");
    let named = json!({ "attributes": { "frontendUrl": public } });
    let inside = "discovery_url = \"{http}/.well-known/openid-configuration\"\n";
    let (hub, keycloak) = hub_of(18116, inside, json!({}), named).await;
    serves(&hub, &keycloak).await;
}
