//! `hubgate connect`: what it finds out, what it says, and what it does at Keycloak.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::{Value, json};
use support::provider::{Lie, Provider};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::{BINARY, cli};

const PUBLIC: [&str; 2] = ["--public-url", "https://hub.example"];
const REGISTER: [&str; 3] = ["--register", "--admin-token-file", "-"];

/// How it ended, and what it wrote.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {}{}", self.out, self.err))
    }

    /// The level of the remark about this, and its words.
    fn remark(&self, about: &str) -> (String, String) {
        let report = self.json();
        let all = report["remarks"].as_array().unwrap().iter();
        let all = all.chain(report["registration"]["remarks"].as_array().into_iter().flatten());
        let remark = all.clone().find(|remark| remark["about"] == about);
        let remark = remark.unwrap_or_else(|| panic!("no remark about {about}: {}", self.out));
        (remark["level"].as_str().unwrap().to_owned(), remark["what"].as_str().unwrap().to_owned())
    }

    fn changes(&self) -> Vec<String> {
        let report = self.json();
        let changes = report["registration"]["changes"].as_array().unwrap().clone();
        changes.iter().map(|change| change.as_str().unwrap().to_owned()).collect()
    }
}

/// Runs `hubgate connect` with the hub's public URL, and with this on its standard input.
async fn connect_with(input: &str, issuer: &str, arguments: &[&str]) -> Ran {
    let mut child = Command::new(BINARY)
        .arg("connect")
        .arg(issuer)
        .args(PUBLIC)
        .args(arguments)
        .env("HUBGATE_TEST_TOKEN", Provider::ADMIN_TOKEN)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Whoever does not ask for it does not read it.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ran = Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
    for secret in [Provider::ADMIN_TOKEN, Provider::VIEWER_TOKEN, Provider::USER_TOKEN] {
        assert!(!ran.out.contains(secret) && !ran.err.contains(secret), "it printed the token");
    }
    ran
}

async fn connect(issuer: &str, arguments: &[&str]) -> Ran {
    connect_with("", issuer, arguments).await
}

/// With `--register`, an administrator's token and JSON.
async fn register(fake: &Provider, arguments: &[&str]) -> Ran {
    let arguments = [&REGISTER[..], &["--json"], arguments].concat();
    let ran = connect_with(Provider::ADMIN_TOKEN, &fake.issuer(), &arguments).await;
    for client in fake.clients() {
        if let Some(secret) = client["secret"].as_str() {
            assert!(!ran.out.contains(secret) && !ran.err.contains(secret), "it printed a client's secret");
        }
    }
    ran
}

#[tokio::test]
async fn the_issuer_is_found_with_and_without_the_old_prefix() {
    let fake = Provider::start().await;
    for (prefix, other) in [("", "/auth"), ("/auth", ""), ("/sso/auth", "/sso")] {
        fake.below(prefix);
        let issuer = fake.issuer();
        let wrong = issuer.replace(&format!("{prefix}/realms"), &format!("{other}/realms"));
        for asked in [
            issuer.clone(),
            format!("{issuer}/"),
            format!("{issuer}/.well-known/openid-configuration"),
            format!("{issuer}/account/?referrer=x"),
            wrong.clone(),
            format!("{wrong}/"),
        ] {
            let ran = connect(&asked, &["--json"]).await;
            assert_eq!((ran.code, &ran.json()["issuer"]), (Some(0), &json!(issuer)), "{asked}: {}", ran.err);
        }
        let (level, what) = connect(&wrong, &["--json"]).await.remark("place");
        assert_eq!(level, "note");
        assert!(what.starts_with(&format!("it is at {issuer}, not at {wrong} (")), "{what}");
    }
}

#[tokio::test]
async fn a_slash_at_the_end_of_the_issuer_is_the_providers_to_say() {
    let fake = Provider::start().await;
    fake.lie(Lie::DiscoveryOtherIssuer);
    for asked in [fake.issuer(), format!("{}/", fake.issuer())] {
        let ran = connect(&asked, &["--json"]).await;
        assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
        assert_eq!(ran.json()["issuer"], format!("{}/", fake.issuer()), "{asked}");
    }
}

#[tokio::test]
async fn no_provider_says_where_it_was_looked_for_and_why_it_is_not_there() {
    let fake = Provider::start().await;
    let root = fake.issuer().replace("/realms/test", "");
    let ran = connect(&format!("{root}/realms/other"), &[]).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    for place in ["/realms/other", "/auth/realms/other"] {
        let line = format!("\n    {root}{place}/.well-known/openid-configuration: it answers 404 Not Found");
        assert!(ran.err.contains(&line), "{}", ran.err);
    }
    assert!(ran.err.contains("\n  hint: compare the realm's name"), "{}", ran.err);
    for (lie, why) in [
        (Lie::DiscoveryHtml, "it answers 200 OK with \"text/html\", not JSON"),
        (Lie::DiscoveryServerError, "it answers 503 Service Unavailable"),
        (Lie::DiscoveryRedirect, "it answers 302 Found"),
    ] {
        fake.be_honest();
        fake.lie(lie);
        let ran = connect(&fake.issuer(), &[]).await;
        assert_eq!(ran.code, Some(1));
        assert!(ran.err.contains(why), "{}", ran.err);
    }
}

#[tokio::test]
async fn a_certificate_of_ones_own_authority_needs_the_authority() {
    let fake = Provider::start_with_tls().await;
    let ran = connect(&fake.issuer(), &[]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("UnknownIssuer") && ran.err.contains("give --ca-file"), "{}", ran.err);
    let ca_file = fake.authority().unwrap().to_str().unwrap().to_owned();
    assert_eq!(connect(&fake.issuer(), &["--ca-file", &ca_file]).await.code, Some(0));
}

#[tokio::test]
async fn what_is_no_address_is_a_wrong_command_line() {
    for (asked, public) in [
        ("https://", "https://hub.example"),
        ("https://kc.example/realms/lab", "http://hub.example"),
        ("https://kc.example/realms/lab", "https://hub.example/path"),
        ("https://kc.example/realms/lab", "https://user:word@hub.example"),
    ] {
        let output =
            Command::new(BINARY).args(["connect", asked, "--public-url", public]).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{asked} {public}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("\n  hint: "), "{asked} {public}");
    }
}

#[tokio::test]
async fn plain_http_to_another_machine_is_refused() {
    let ran = connect("http://kc.invalid/realms/lab", &[]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("which is not https"), "{}", ran.err);
}

#[tokio::test]
async fn it_says_exactly_what_to_register() {
    let fake = Provider::start().await;
    let ran = connect(&fake.issuer(), &["--client-id", "lab-hub"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for setting in [
        "Client ID                            lab-hub\n",
        "Client authentication                on (a confidential client)\n",
        "Valid redirect URIs                  https://hub.example/hub/oauth_callback\n",
        "Valid post logout redirect URIs      https://hub.example/hub/logout\n",
        "Backchannel logout URL               https://hub.example/hub/backchannel-logout\n",
        "Backchannel logout session required  on\n",
        "https://hub.example/hub/frontchannel-logout",
        "PKCE method                          S256\n",
        "Token Claim Name groups, Full group path on, Add to ID token on, Add to userinfo on",
        "Token Claim Name realm_access.roles",
        "Token Claim Name resource_access.${client_id}.roles",
        "Included Client Audience lab-hub",
        "Full scope allowed: switch it off",
        &format!("issuer = \"{}\"\nclient_id = \"lab-hub\"\n", fake.issuer()),
    ] {
        assert!(ran.out.contains(setting), "{setting:?} is not in {}", ran.out);
    }
    assert_eq!(fake.writes(), 0);
}

#[tokio::test]
async fn the_printed_section_is_a_configuration() {
    let fake = Provider::start_with_tls().await;
    let folder = TempDir::new().unwrap();
    let config = cli::write(folder.path(), 1, "");
    let ca_file = fake.authority().unwrap().to_str().unwrap().to_owned();
    let secret = folder.path().join("new-secret");
    let ran = register(&fake, &["--ca-file", &ca_file, "--secret-file", secret.to_str().unwrap()]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let text = fs::read_to_string(&config).unwrap();
    let (before, rest) = text.split_once("[provider]").unwrap();
    let (_, after) = rest.split_once("[store]").unwrap();
    let section = ran.json()["toml"].as_str().unwrap().to_owned();
    fs::write(&config, format!("{before}{section}[store]{after}")).unwrap();
    let checked = Command::new(BINARY).args(["check", "--config", &config]).output().await.unwrap();
    assert_eq!(String::from_utf8(checked.stderr).unwrap(), "");

    // What the configuration says need not be said again.
    let output =
        Command::new(BINARY).args(["connect", "--json", "--config", &config]).output().await.unwrap();
    let again: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&again["issuer"], &again["toml"]), (&json!(fake.issuer()), &json!(section)));
    assert_eq!(again["client"]["redirectUris"], json!(["https://hub.example/hub/oauth_callback"]));
}

#[tokio::test]
async fn one_of_several_providers_has_a_redirect_uri_of_its_own() {
    let fake = Provider::start().await;
    let ran = connect(&fake.issuer(), &["--json", "--provider-name", "eth"]).await;
    assert_eq!(ran.json()["client"]["redirectUris"], json!(["https://hub.example/hub/oauth_callback/eth"]));
    assert!(ran.json()["toml"].as_str().unwrap().starts_with("[[provider]]\nname = \"eth\"\nissuer = "));

    let folder = TempDir::new().unwrap();
    let config = cli::write(folder.path(), 1, "");
    let text = fs::read_to_string(&config).unwrap().replace("https://kc.example/realms/lab", &fake.issuer());
    let text = text.replace("[provider]\n", "[[provider]]\nname = \"eth\"\n");
    let second = "[[provider]]\nname = \"epfl\"\nhost = \"epfl.example\"\nissuer = \"https://kc.example/realms/lab\"\n\
                  client_id = \"hub\"\nclient_secret = { env = \"X\" }\n";
    fs::write(&config, format!("{text}{second}")).unwrap();
    let issuer = fake.issuer();
    let run = async |more: &[&str]| {
        let arguments = [&["connect", "--json", "--config", &config, &issuer], more].concat();
        Command::new(BINARY).args(arguments).output().await.unwrap()
    };
    let undecided = run(&[]).await;
    assert_eq!(undecided.status.code(), Some(2));
    assert!(
        String::from_utf8(undecided.stderr).unwrap().contains("the providers eth, epfl\n  hint: choose one")
    );
    for (name, callback) in [
        ("eth", "https://hub.example/hub/oauth_callback"),
        ("epfl", "https://epfl.example/hub/oauth_callback"),
    ] {
        let report: Value = serde_json::from_slice(&run(&["--provider-name", name]).await.stdout).unwrap();
        assert_eq!(report["client"]["redirectUris"], json!([callback]), "{name}: {report}");
    }
}

#[tokio::test]
async fn a_configuration_with_another_issuer_is_told() {
    let fake = Provider::start().await;
    let folder = TempDir::new().unwrap();
    let config = cli::write(folder.path(), 1, "");
    let arguments = ["connect", "--json", "--config", &config, &fake.issuer()];
    let output = Command::new(BINARY).args(arguments).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("the configuration has another issuer: https://kc.example/realms/lab"), "{text}");
}

#[tokio::test]
async fn a_keycloak_that_does_not_know_of_its_proxy_is_told() {
    let fake = Provider::start_with_tls().await;
    let ca_file = fake.authority().unwrap().to_str().unwrap().to_owned();
    let plain = fake.issuer().replace("https://", "http://");
    fake.describe(json!({"issuer": plain}));
    let ran = connect(&fake.issuer(), &["--ca-file", &ca_file]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.out);
    assert!(
        ran.out.contains(&format!("it calls itself {plain}, though it was found by https")),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("hint: Keycloak: start it with --proxy-headers=xforwarded"), "{}", ran.out);

    fake.describe(
        json!({"token_endpoint": "http://kc.example/token", "jwks_uri": "http://kc.example/certs"}),
    );
    let ran = connect(&fake.issuer(), &["--ca-file", &ca_file, "--json"]).await;
    let told = (
        "error".to_owned(),
        "would have people and tokens come without TLS: token_endpoint, jwks_uri".to_owned(),
    );
    assert_eq!((ran.code, ran.remark("http")), (Some(1), told));
}

#[tokio::test]
async fn a_provider_that_calls_itself_otherwise_is_used_by_that_name() {
    let public = Provider::start().await;
    let inside = Provider::start().await;
    inside.describe(json!({"issuer": public.issuer()}));
    let ran = connect(&inside.issuer(), &["--json"]).await;
    assert_eq!((ran.code, &ran.json()["issuer"]), (Some(0), &json!(public.issuer())), "{}", ran.out);
    assert_eq!(ran.json()["discovery_url"], Value::Null);

    public.stop();
    let ran = connect(&inside.issuer(), &["--json"]).await;
    let document = format!("{}/.well-known/openid-configuration", inside.issuer());
    assert_eq!(
        (&ran.json()["issuer"], &ran.json()["discovery_url"]),
        (&json!(public.issuer()), &json!(document))
    );
    assert_eq!(ran.remark("issuer").0, "warning");
    assert!(ran.json()["toml"].as_str().unwrap().contains(&format!("discovery_url = \"{document}\"\n")));
}

#[tokio::test]
async fn what_a_provider_lacks_is_told_and_how_bad_it_is() {
    let fake = Provider::start().await;
    for (members, about, level, words) in [
        (
            json!({"code_challenge_methods_supported": null}),
            "pkce",
            "warning",
            "does not say that it supports PKCE",
        ),
        (json!({"code_challenge_methods_supported": ["plain"]}), "pkce", "error", "protects nothing"),
        (json!({"end_session_endpoint": null}), "end_session", "warning", "stays signed in at the provider"),
        (
            json!({"backchannel_logout_supported": null}),
            "backchannel_logout",
            "warning",
            "has no back-channel logout",
        ),
        (
            json!({"backchannel_logout_session_supported": false}),
            "backchannel_logout",
            "warning",
            "which session",
        ),
        (json!({"require_pushed_authorization_requests": true}), "par", "note", "which hubgate then uses"),
        (json!({"authorization_response_iss_parameter_supported": false}), "iss", "note", "RFC 9207"),
        (json!({"grant_types_supported": ["implicit"]}), "flow", "error", "authorization code flow"),
        (json!({"response_types_supported": ["token"]}), "flow", "error", "authorization code flow"),
        (json!({"grant_types_supported": ["authorization_code"]}), "refresh", "warning", "no refresh tokens"),
        (
            json!({"token_endpoint_auth_methods_supported": ["tls_client_auth"]}),
            "client_authentication",
            "error",
            "by client_secret_basic, but by tls_client_auth",
        ),
        (
            json!({"id_token_signing_alg_values_supported": ["HS256", "none"]}),
            "signatures",
            "error",
            "by HS256, none, and",
        ),
        (json!({"id_token_signing_alg_values_supported": null}), "signatures", "error", "does not say how"),
        (json!({"token_endpoint": null}), "endpoints", "error", "no token_endpoint"),
        (json!({"userinfo_endpoint": null}), "endpoints", "warning", "must be in the ID token"),
        (json!({"jwks_uri": fake.endpoint("nowhere")}), "trial", "error", "hubgate would not take it"),
        (json!({}), "trial", "good", "has fetched its keys"),
        (json!({}), "clock", "note", "does not tell the time"),
    ] {
        fake.describe(members.clone());
        let ran = connect(&fake.issuer(), &["--json"]).await;
        let (found, what) = ran.remark(about);
        assert_eq!(
            (found.as_str(), ran.code == Some(0)),
            (level, level != "error"),
            "{members}: {}",
            ran.out
        );
        assert!(what.contains(words), "{members}: {what}");
    }
}

#[tokio::test]
async fn a_provider_that_signs_in_another_way_is_configured_so() {
    let fake = Provider::start().await;
    fake.describe(json!({"id_token_signing_alg_values_supported": ["ES256", "HS256"]}));
    let ran = connect(&fake.issuer(), &["--json"]).await;
    assert_eq!(ran.remark("signatures").0, "good", "{}", ran.out);
    // Its keys are of another kind, which shows that they are looked at.
    assert_eq!(ran.remark("trial").0, "error", "{}", ran.out);
    assert!(
        ran.json()["toml"].as_str().unwrap().contains("signing_algorithms = [\"ES256\"]\n"),
        "{}",
        ran.out
    );
}

#[tokio::test]
async fn a_clock_that_is_off_is_told() {
    let fake = Provider::start().await;
    let now = hubgate::clock::Clock::system().now();
    for (theirs, level, words) in [
        (now, "good", "agree"),
        (now - 20, "note", "seconds behind ours"),
        (now - 3600, "warning", "behind ours, more than provider.clock_skew: logins are refused"),
        (now + 3600, "warning", "ahead of ours"),
    ] {
        fake.set_time(theirs);
        let ran = connect(&fake.issuer(), &["--json"]).await;
        let (found, what) = ran.remark("clock");
        assert_eq!(found, level, "{what}");
        assert!(what.contains(words), "{what}");
    }
}

#[tokio::test]
async fn what_a_provider_writes_cannot_steer_the_terminal() {
    let fake = Provider::start().await;
    fake.describe(json!({"id_token_signing_alg_values_supported": ["\u{1b}[2Jgood", "\u{202e}x"]}));
    let ran = connect(&fake.issuer(), &[]).await;
    assert!(ran.out.contains("\\u{1b}[2Jgood, \\u{202e}x"), "{}", ran.out);
    assert!(!ran.out.contains(['\u{1b}', '\u{202e}']));
}

#[tokio::test]
async fn a_client_is_registered_with_all_that_it_needs() {
    let fake = Provider::start().await;
    fake.below("/auth");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("secret");
    let ran = register(&fake, &["--secret-file", file.to_str().unwrap()]).await;
    assert_eq!(
        (ran.code, &ran.json()["registration"]["outcome"]),
        (Some(0), &json!("created")),
        "{}",
        ran.err
    );
    let client = fake.client("hubgate");
    for (name, value) in [
        ("publicClient", json!(false)),
        ("standardFlowEnabled", json!(true)),
        ("implicitFlowEnabled", json!(false)),
        ("directAccessGrantsEnabled", json!(false)),
        ("serviceAccountsEnabled", json!(false)),
        ("frontchannelLogout", json!(false)),
        ("redirectUris", json!(["https://hub.example/hub/oauth_callback"])),
        ("webOrigins", json!([])),
    ] {
        assert_eq!(client[name], value, "{name}");
    }
    for (name, value) in [
        ("pkce.code.challenge.method", "S256"),
        ("post.logout.redirect.uris", "https://hub.example/hub/logout"),
        ("backchannel.logout.url", "https://hub.example/hub/backchannel-logout"),
        ("backchannel.logout.session.required", "true"),
        ("frontchannel.logout.url", "https://hub.example/hub/frontchannel-logout"),
        ("frontchannel.logout.session.required", "true"),
    ] {
        assert_eq!(client["attributes"][name], value, "{name}");
    }
    let mappers = client["protocolMappers"].as_array().unwrap();
    let claims: Vec<&str> =
        mappers.iter().map(|mapper| mapper["config"]["claim.name"].as_str().unwrap()).collect();
    assert_eq!(claims, ["groups", "realm_access.roles", "resource_access.${client_id}.roles"]);
    assert_eq!(mappers[0]["config"]["full.path"], "true");
    assert!(mappers.iter().all(|mapper| mapper["config"]["userinfo.token.claim"] == "true"));
    assert_eq!(fs::read_to_string(&file).unwrap().trim_end(), client["secret"].as_str().unwrap());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(ran.remark("full_scope").0, "note");
}

#[tokio::test]
async fn registering_twice_changes_nothing_and_says_so() {
    let fake = Provider::start().await;
    fake.add_client(json!({"clientId": "lab-tool"}));
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("secret");
    let arguments = ["--secret-file", file.to_str().unwrap(), "--api-client", "lab-tool"];
    assert_eq!(register(&fake, &arguments).await.code, Some(0));
    let (clients, writes) = (fake.clients(), fake.writes());
    let again = register(&fake, &arguments).await;
    assert_eq!(again.json()["registration"]["outcome"], "unchanged", "{}", again.out);
    assert_eq!(again.changes(), Vec::<String>::new());
    assert_eq!((fake.writes(), fake.clients()), (writes, clients));
    let arguments = [&REGISTER[..], &arguments].concat();
    let words = connect_with(Provider::ADMIN_TOKEN, &fake.issuer(), &arguments).await;
    assert!(
        words.out.contains("The client hubgate is as it should be: nothing was changed\n"),
        "{}",
        words.out
    );
    assert!(words.out.contains(&format!("its secret was in {} already", file.display())), "{}", words.out);
}

#[tokio::test]
async fn a_client_that_is_there_is_mended_and_keeps_what_is_others() {
    let fake = Provider::start().await;
    fake.add_client(json!({
        "clientId": "hubgate", "publicClient": true, "directAccessGrantsEnabled": true, "implicitFlowEnabled": true,
        "frontchannelLogout": true, "description": "the hub of the lab", "rootUrl": "https://hub.example",
        "redirectUris": ["*", "https://hub.example/*", "/*", "https://other.example/cb", "https://other.example/*"],
        "attributes": {"post.logout.redirect.uris": "+##https://hub.example/*", "exclude.issuer.from.auth.response": "true",
            "acr.loa.map": "{}"},
        "protocolMappers": [
            {"name": "groups", "protocolMapper": "oidc-usermodel-attribute-mapper", "config": {"claim.name": "teams"}},
            {"name": "old groups", "protocolMapper": "oidc-group-membership-mapper",
             "config": {"claim.name": "groups", "full.path": "false", "id.token.claim": "true", "access.token.claim": "true"}},
        ],
    }));
    let would =
        connect_with(Provider::ADMIN_TOKEN, &fake.issuer(), &["--json", "--admin-token-file", "-"]).await;
    assert_eq!((fake.writes(), &would.json()["registration"]["written"]), (0, &json!(false)));
    let ran = register(&fake, &[]).await;
    assert_eq!(ran.json()["registration"]["outcome"], "changed", "{}", ran.err);
    assert_eq!(ran.changes(), would.changes());
    let client = fake.client("hubgate");
    for name in ["publicClient", "directAccessGrantsEnabled", "implicitFlowEnabled", "frontchannelLogout"] {
        assert_eq!(client[name], json!(false), "{name}");
    }
    assert_eq!(
        client["redirectUris"],
        json!([
            "https://other.example/cb",
            "https://other.example/*",
            "https://hub.example/hub/oauth_callback"
        ])
    );
    let attributes = &client["attributes"];
    assert_eq!(attributes["post.logout.redirect.uris"], "+##https://hub.example/hub/logout");
    assert_eq!(attributes["exclude.issuer.from.auth.response"], "false");
    assert_eq!(
        (&attributes["acr.loa.map"], &client["description"]),
        (&json!("{}"), &json!("the hub of the lab"))
    );
    let mappers = client["protocolMappers"].as_array().unwrap();
    let names: Vec<&str> = mappers.iter().map(|mapper| mapper["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["groups", "old groups", "realm roles", "client roles"]);
    let config = &mappers[1]["config"];
    assert_eq!((&config["full.path"], &config["userinfo.token.claim"]), (&json!("true"), &json!("true")));
    assert_eq!(config["access.token.claim"], "true", "what was there stays");
    assert_eq!(register(&fake, &[]).await.changes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_mapper_whose_name_is_taken_gets_another() {
    let fake = Provider::start().await;
    let taken =
        json!([{"name": "groups", "protocolMapper": "oidc-usermodel-attribute-mapper", "config": {}}]);
    fake.add_client(json!({"clientId": "hubgate", "protocolMappers": taken}));
    let ran = register(&fake, &[]).await;
    assert!(
        ran.changes().contains(&"the mapper \"groups (hubgate)\" is new".to_owned()),
        "{}{}",
        ran.out,
        ran.err
    );
}

#[tokio::test]
async fn a_client_of_callers_gets_the_audience() {
    let fake = Provider::start().await;
    fake.add_client(json!({"clientId": "lab-tool"}));
    let ran = register(&fake, &["--api-client", "lab-tool"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let mappers = fake.client("lab-tool")["protocolMappers"].as_array().unwrap().clone();
    assert_eq!(mappers[0]["protocolMapper"], "oidc-audience-mapper");
    assert_eq!(mappers[0]["config"]["included.client.audience"], "hubgate");
    assert_eq!(mappers[0]["config"]["access.token.claim"], "true");
    assert_eq!(mappers[1]["config"]["claim.name"], "groups");
    assert!(ran.json()["toml"].as_str().unwrap().contains("api_clients = [\"lab-tool\"]\n"), "{}", ran.out);

    let ran = register(&fake, &["--api-client", "nobody"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("caused by: there is no client nobody in the realm"), "{}", ran.err);
}

#[tokio::test]
async fn a_token_comes_from_a_file_a_variable_or_the_standard_input() {
    let fake = Provider::start().await;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("token");
    let answer = json!({"access_token": Provider::ADMIN_TOKEN, "expires_in": 60}).to_string();
    fs::write(&path, &answer).unwrap();
    let from_file = ["--register", "--admin-token-file", path.to_str().unwrap()];
    let from_variable = ["--register", "--admin-token-env", "HUBGATE_TEST_TOKEN"];
    for (input, arguments) in [
        ("", &from_file[..]),
        ("", &from_variable),
        (answer.as_str(), &REGISTER),
        (concat!(" token-of-an-administrator", "\r\n\n"), &REGISTER),
    ] {
        let ran = connect_with(input, &fake.issuer(), arguments).await;
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.err);
    }
    for arguments in [&["--register"][..], &["--admin-token", "x"], &["--secret-file", "x"]] {
        assert_eq!(connect(&fake.issuer(), arguments).await.code, Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn each_refusal_of_keycloak_has_its_remedy() {
    let fake = Provider::start().await;
    fake.add_client(json!({"clientId": "saml", "protocol": "saml"}));
    let elsewhere = fake.issuer().replace("/realms/test", "/elsewhere");
    for (token, arguments, error, hint) in [
        ("expired", &[][..], "does not take the token", "get a new one right before"),
        ("a\u{1}b", &[], "given as the administrator's token is none", "give the access token alone"),
        (Provider::USER_TOKEN, &[], "the token may not look for clients", "the role manage-clients"),
        (Provider::VIEWER_TOKEN, &[], "the token may not register the client", "the role manage-clients"),
        (Provider::ADMIN_TOKEN, &["--client-id", "saml"], "speaks saml, not OpenID Connect", "--client-id"),
        (
            Provider::ADMIN_TOKEN,
            &["--admin-url", &elsewhere],
            "no administration of this realm",
            "--admin-url",
        ),
        (
            Provider::ADMIN_TOKEN,
            &["--admin-url", "http://kc.invalid"],
            "cannot ask Keycloak's",
            "--admin-url",
        ),
    ] {
        let arguments = [&REGISTER[..], arguments].concat();
        let ran = connect_with(token, &fake.issuer(), &arguments).await;
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{token}");
        assert!(ran.err.contains(error), "{error}: {}", ran.err);
        assert!(ran.err.split("\n  hint: ").nth(1).unwrap().contains(hint), "{hint}: {}", ran.err);
    }
    assert_eq!(fake.writes(), 1, "only the viewer got as far as to write");
}

#[tokio::test]
async fn another_provider_than_keycloak_is_described_in_general_words() {
    let fake = Provider::start().await;
    fake.describe(json!({"authorization_endpoint": format!("{}/authorize", fake.issuer())}));
    let ran = connect(&fake.issuer(), &[]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.out);
    assert!(ran.out.contains("https://hub.example/hub/oauth_callback"), "{}", ran.out);
    assert!(!ran.out.contains("Client scopes"), "{}", ran.out);
    let ran = connect_with(Provider::ADMIN_TOKEN, &fake.issuer(), &REGISTER).await;
    assert!(ran.err.contains("is not a realm of Keycloak"), "{}", ran.err);
    assert_eq!((ran.code, fake.writes()), (Some(1), 0));
}

#[tokio::test]
async fn a_file_that_holds_something_else_is_not_overwritten() {
    let fake = Provider::start().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("precious");
    fs::write(&file, "precious").unwrap();
    let ran = register(&fake, &["--secret-file", file.to_str().unwrap()]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("is there already, and holds something else"), "{}", ran.err);
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[tokio::test]
async fn what_keeps_a_client_from_working_is_told() {
    let fake = Provider::start().await;
    for (settings, about, level) in [
        (json!({"enabled": false}), "enabled", "error"),
        (json!({"attributes": {"dpop.bound.access.tokens": "true"}}), "dpop", "error"),
        (json!({"clientAuthenticatorType": "client-jwt"}), "client_authentication", "error"),
        (json!({"serviceAccountsEnabled": true}), "service_account", "note"),
    ] {
        let mut client = settings.clone();
        client["clientId"] = json!(about);
        fake.add_client(client);
        let ran = register(&fake, &["--client-id", about]).await;
        assert_eq!(
            (ran.remark(about).0.as_str(), ran.code == Some(0)),
            (level, level != "error"),
            "{settings}"
        );
    }
}
