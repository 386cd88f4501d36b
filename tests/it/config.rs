//! The configuration: what is refused, what is said of it, and that the example tells the truth.

#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use hubgate::config::{self, Config, ConfigError, Finding, Limit};

const EXAMPLE: &str = include_str!("../../config.toml.example");
const DEFINITION: &str = concat!(
    include_str!("../../src/config/mod.rs"),
    include_str!("../../src/config/admin.rs"),
    include_str!("../../src/config/hub_api.rs"),
    include_str!("../../src/config/profile.rs"),
    include_str!("../../src/config/provider.rs"),
    include_str!("../../src/config/route.rs"),
    include_str!("../../src/config/sharing.rs"),
);

/// As little as it takes; every line is changed by some test.
const SMALL: &str = r#"
public.url = "https://hub.example.org"
listen.https = []
[provider]
issuer = "https://keycloak.example.org/realms/lab"
client_id = "hubgate"
client_secret = { env = "PATH" }
[[rule]]
everyone = true
[[profile]]
name = "lab"
image = "jupyter"
"#;

fn parse(text: &str) -> Result<config::Loaded, ConfigError> {
    config::parse(text, Path::new("config.toml"))
}

/// Everything that is wrong with `text`, of whichever stage.
fn findings(text: &str) -> Vec<Finding> {
    match parse(text) {
        Ok(loaded) => config::check(&loaded),
        Err(error) => error.findings().to_vec(),
    }
}

fn keys(text: &str) -> Vec<String> {
    findings(text).into_iter().map(|finding| finding.key).collect()
}

/// The small configuration with `from` replaced.
fn small_but(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    SMALL.replace(from, to)
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().flat_map(|finding| [finding.to_string(), "\n".to_owned()]).collect()
}

#[test]
fn the_small_configuration_is_good() {
    assert_eq!(lines(&findings(SMALL)), "");
    assert!(parse(SMALL).unwrap().config.insecure_options().is_empty());
}

#[test]
fn every_finding_is_told_at_once_with_its_line() {
    let text = r#"[public]
url = "hub.example.org"

[listen]
https = ["0.0.0.0"]
header_timeout = 15
conections = 100

[provider]
isuer = "https://keycloak.example.org/realms/lab"
client_secret = "hunter2"

[session]
idle_timeout = "0s"
absolute_timeout = "12 hurs"

[[rule]]
everyone = "yes"
memory = "2 gigs"

[[profile]]
name = "lab"
image = "jupyter"
mode = "jupyterhub"
port = 70000

[[profile]]
image = ["jupyter"]
pids = -1
[[profile.volume]]
source = "/srv/{username}"

[forward]
connect_timeout = "0s"

[stoer]
folder = "/var/lib/hubgate"
"#;
    let found = findings(text);
    let places: Vec<_> =
        found.iter().map(|finding| (finding.line.unwrap_or_default(), finding.key.as_str())).collect();
    assert_eq!(
        places,
        [
            (2, "public.url"),
            (5, "listen.https[0]"),
            (6, "listen.header_timeout"),
            (7, "listen.conections"),
            (9, "provider.client_id"),
            (10, "provider.isuer"),
            (11, "provider.client_secret"),
            (15, "session.absolute_timeout"),
            (18, "rule[0].everyone"),
            (19, "rule[0].memory"),
            (24, "profile[0].mode"),
            (25, "profile[0].port"),
            (27, "profile[1].name"),
            (28, "profile[1].image"),
            (29, "profile[1].pids"),
            (30, "profile[1].volume[0].target"),
            (34, "forward.connect_timeout"),
            (36, "stoer"),
        ],
        "{}",
        lines(&found)
    );
    assert!(found.iter().all(|finding| !finding.remedy.is_empty() && !finding.what.is_empty()));
    assert!(!lines(&found).contains("hunter2"));
    let error = parse(text).unwrap_err();
    assert_eq!(error.to_string(), "the configuration has 18 errors");
}

#[test]
fn a_finding_reads_as_path_line_key_what_and_remedy() {
    let text = small_but("client_id", "client-id");
    assert_eq!(
        lines(&findings(&text)),
        "config.toml:4: provider.client_id: missing; add `client_id = \"…\"`\n\
         config.toml:6: provider.client-id: there is no such key; did you mean `client_id`?\n"
    );
}

#[test]
fn rules_across_sections_are_told_beside_wrong_values_of_other_sections() {
    let text = small_but("[[rule]]", "[forward]\nidle_timeout = 50\n[[rule]]").replace("everyone = true", "");
    assert_eq!(keys(&text), ["forward.idle_timeout", "rule[0]"]);
    let text = small_but("https://hub", "http://hub") + "[sesion]\n";
    assert_eq!(keys(&text), ["public.url", "sesion"]);
}

#[test]
fn what_only_follows_from_a_misspelling_is_not_told() {
    let text = small_but("[[profile]]", "[[profiles]]")
        .replace("everyone = true", "everyone = true\nprofiles = [\"lab\"]");
    assert_eq!(keys(&text), ["profiles"]);
    assert_eq!(keys(&small_but("[[rule]]", "[[rules]]")), ["rules"]);
    assert_eq!(keys(&small_but("issuer =", "isuer =")), ["provider.isuer"]);
    assert_eq!(keys(&small_but("listen.https", "listen.htps")), ["listen.htps"]);
}

#[test]
fn a_literal_secret_is_refused_and_not_repeated() {
    for literal in [
        "\"4711\"",
        "4711",
        "47.11",
        "[\"4711\"]",
        "{ value = \"4711\" }",
        "{ 4711 = \"x\" }",
        "{ file = 4711 }",
        "{ file = \"/x\", env = \"4711\" }",
        "{}",
        "1979-05-27",
    ] {
        let text = small_but("{ env = \"PATH\" }", literal);
        let error = parse(&text).unwrap_err();
        assert_eq!(keys(&text), ["provider.client_secret"], "{literal}");
        let said = format!("{error} {error:?} {}", lines(error.findings()));
        assert!(!said.contains("4711") && !said.contains("47.11"), "{said}");
        assert!(said.contains("{ file = "), "{said}");
        let text = small_but("client_secret = { env = \"PATH\" }", &format!("client_key = {literal}"));
        assert_eq!(keys(&text), ["provider.client_key"], "{literal}");
        let said = format!("{:?}", findings(&text));
        assert!(!said.contains("4711") && !said.contains("47.11"), "{said}");
    }
}

#[test]
fn no_value_is_repeated_wherever_it_stands() {
    for (from, to) in [
        ("client_id = \"hubgate\"", "client_id = 4711"),
        ("client_id = \"hubgate\"", "client_id = \"hubgate\"\nca_file = 4711"),
        ("client_id = \"hubgate\"", "client_id = \"hubgate\"\ntoken_url = \"4711\""),
        ("client_id = \"hubgate\"", "client_id = \"hubgate\"\ntoken_url = \"http://u:4711@x\""),
        ("everyone = true", "everyone = \"4711\""),
        ("image = \"jupyter\"", "image = \"jupyter\"\nenvironment = { TOKEN = 4711 }"),
        ("image = \"jupyter\"", "image = \"jupyter\"\nmode = \"4711\""),
        ("image = \"jupyter\"", "image = \"jupyter\"\nstopped_status = 4711"),
        ("image = \"jupyter\"", "image = \"jupyter\"\nmemory = \"4711\""),
        ("image = \"jupyter\"", "image = \"jupyter\"\nport = 4711.5"),
        ("image = \"jupyter\"", "image = \"jupyter\"\nport = \"4711"),
        ("public.url = \"https://hub.example.org\"", "public = \"4711\""),
        ("listen.https = []", "listen.https = [\"4711\"]"),
    ] {
        let found = findings(&small_but(from, to));
        assert!(!found.is_empty(), "{to}");
        assert!(!lines(&found).contains("4711"), "{}", lines(&found));
    }
}

#[test]
fn a_silent_hour_is_survived_unless_somebody_wants_less() {
    let forward = |text: &str| parse(&format!("{text}\n{SMALL}")).unwrap().config.forward;
    let hour = Duration::from_hours(1);
    let usual = forward("");
    for limit in [usual.response_timeout, usual.body_timeout] {
        assert!(limit.value().is_none_or(|span| span.0 > hour));
    }
    let off = forward("forward.response_timeout = \"unlimited\"\nforward.body_timeout = \"unlimited\"");
    assert_eq!((off.response_timeout, off.body_timeout), (Limit::Unlimited, Limit::Unlimited));
}

#[test]
fn a_bare_number_is_refused_and_the_finding_shows_how_to_write_it() {
    for (key, value, shown) in [
        ("session.idle_timeout", "3600", "\"30s\""),
        ("listen.header_size", "65536", "\"512MiB\""),
        ("forward.tunnel_timeout", "0", "\"unlimited\""),
    ] {
        let found = findings(&format!("{key} = {value}\n{SMALL}"));
        let [finding] = found.as_slice() else { panic!("{}", lines(&found)) };
        assert_eq!((finding.key.as_str(), finding.line), (key, Some(1)));
        assert!(finding.remedy.contains(shown), "{finding}");
    }
    let found = findings(&small_but("image = ", "cpu = 2\nimage = "));
    assert!(
        lines(&found).contains("profile[0].cpu: not a number of processors with its unit; write \"2 cpu\"")
    );
}

#[test]
fn an_unknown_key_suggests_the_one_that_was_meant() {
    for (from, to, meant) in [
        ("client_id", "clientid", "did you mean `client_id`?"),
        ("[[profile]]", "[[profiles]]", "did you mean `profile`?"),
        ("everyone", "everybody", "did you mean `everyone`?"),
        ("image =", "imge =", "did you mean `image`?"),
    ] {
        let found = findings(&small_but(from, to));
        assert!(found.iter().any(|finding| finding.remedy == meant), "{}", lines(&found));
    }
    let found = findings(&format!("password = 1\n{SMALL}"));
    assert!(lines(&found).contains("the keys here are public, listen, certificate"), "{}", lines(&found));
}

#[test]
fn a_section_of_the_wrong_shape_is_told_how_to_be_written() {
    let found = findings(&small_but("[[rule]]", "[rule]"));
    assert!(lines(&found).contains("write [[…rule]], once for each"), "{}", lines(&found));
    let found = findings(&small_but("[[rule]]", "[[session]]\n[[rule]]"));
    assert!(lines(&found).contains("write [session], once"), "{}", lines(&found));
    let found = findings(&small_but("listen.https = []", "listen.https = \"0.0.0.0:443\""));
    assert!(lines(&found).contains("listen.https: not a value of the right kind; write a list"));
}

#[test]
fn several_providers_are_told_apart() {
    let second = |keys: &str| {
        format!(
            "{}\n[[provider]]\nissuer = \"https://kc.example.org/realms/b\"\nclient_id = \"hubgate\"\n\
             client_secret = {{ env = \"PATH\" }}\n{keys}",
            small_but("[provider]", "[[provider]]\nname = \"a\"")
        )
    };
    assert_eq!(keys(&second("name = \"b\"")), [""; 0]);
    assert_eq!(keys(&second("name = \"b\"\nhost = \"b.hub.example.org\"")), [""; 0]);
    for (written, key) in [
        ("", "provider[1].name"),
        ("name = \"a\"", "provider[1].name"),
        ("name = \"A\"", "provider[1].name"),
        ("name = \"\"", "provider[1].name"),
        ("name = \"a/b\"", "provider[1].name"),
        ("name = \"b\"\nhost = \"https://b.example.org\"", "provider[1].host"),
        ("name = \"b\"\nhost = \"B.example.org\"", "provider[1].host"),
        ("name = \"b\"\nhost = \"hub.example.org\"", "provider[1].host"),
        ("name = \"b\"\ntimeout = \"0s\"", "provider[1].timeout"),
        ("name = \"b\"\nisuer = \"x\"", "provider[1].isuer"),
        ("name = \"b\"\n[[rule]]\nproviders = [\"a\", \"c\"]\neveryone = true", "rule[1].providers[1]"),
    ] {
        assert_eq!(keys(&second(written)), [key], "{written}");
    }
    let config = parse(&second("name = \"b\"")).unwrap().config;
    let callbacks: Vec<_> = config.provider.iter().map(|one| config.callback_of(one).to_string()).collect();
    let shared = "https://hub.example.org/hub/oauth_callback";
    assert_eq!(callbacks, [format!("{shared}/a"), format!("{shared}/b")]);
    let config = parse(&second("name = \"b\"\nhost = \"b.hub.example.org\"")).unwrap().config;
    let callbacks: Vec<_> = config.provider.iter().map(|one| config.callback_of(one).to_string()).collect();
    assert_eq!(callbacks, [shared, "https://b.hub.example.org/hub/oauth_callback"]);
}

#[test]
fn what_is_missing_is_told_key_by_key() {
    let all = ["public.url", "provider.client_id", "certificate", "rule", "profile"];
    assert_eq!(keys(""), all);
    assert_eq!(keys("public.url = \"https://hub.example.org\""), all[1..]);
}

#[test]
fn broken_syntax_is_told_with_its_line_and_without_its_text() {
    let found =
        findings("[public]\nurl = \"https://hub.example.org\"\n\n[provider]\nclient_secret = \"hunter2\n");
    assert_eq!(found.first().map(|finding| finding.line), Some(Some(5)), "{}", lines(&found));
    assert!(!lines(&found).contains("hunter2"));
    assert_eq!(findings("a = 1\na = 2\n").first().and_then(|finding| finding.line), Some(2));
}

#[test]
fn a_file_that_cannot_be_read_says_which() {
    let missing = config::load(Path::new("/nonexistent/config.toml")).unwrap_err();
    assert_eq!(missing.to_string(), "cannot read /nonexistent/config.toml");
    assert!(missing.findings().is_empty());
}

/// One slip each, and the one key it is told under.
const SLIPS: &[(&str, &str, &str)] = &[
    ("https://hub", "http://hub", "public.url"),
    ("hub.example.org\"", "hub.example.org/hub\"", "public.url"),
    ("hub.example.org\"", "hub.example.org?a=b\"", "public.url"),
    ("hub.example.org\"", "hub.example.org#a\"", "public.url"),
    ("https://hub", "https://me:secret@hub", "public.url"),
    ("listen.https = []", "listen.https = []\npublic.user_domain = \"*.example.org\"", "public.user_domain"),
    ("listen.https = []", "listen.https = []\nsharing.enabled = true", "sharing.enabled"),
    ("listen.https = []", "listen.https = []\nsharing.lifetime_max = \"59s\"", "sharing.lifetime_max"),
    (
        "listen.https = []\n[provider]",
        "listen.https = []\npublic.user_domain = \"*.users.example\"\n[provider]\nhost = \"eth.example.org\"",
        "public.user_domain",
    ),
    ("listen.https = []", "listen.https = [\"127.0.0.1:443\"]", "certificate"),
    (
        "listen.https = []",
        "listen.http = [\"0.0.0.0:80\", \"10.0.0.1:80\"]\nlisten.https = []",
        "listen.http[1]",
    ),
    ("listen.https = []", "listen.operations = \"0.0.0.0:80\"\nlisten.https = []", "listen.operations"),
    ("listen.https = []", "listen.https = []\nhub_api.listen = \"127.0.0.1:9180\"", "hub_api.listen"),
    ("listen.https = []", "listen.https = []\nlisten.workers = 0", "listen.workers"),
    (
        "listen.https = []",
        "listen.https = []\nlisten.connections = 10\nlisten.connections_per_client = 0",
        "listen.connections_per_client",
    ),
    ("listen.https = []", "listen.https = []\nlisten.connections = 10", "listen.connections_per_client"),
    ("listen.https = []", "listen.https = []\nlisten.header_size = \"1KiB\"", "listen.header_size"),
    ("listen.https = []", "listen.https = []\nlisten.header_size = \"1GiB\"", "listen.header_size"),
    ("listen.https = []", "listen.https = []\nlisten.header_count = 1", "listen.header_count"),
    ("listen.https = []", "listen.https = []\nlisten.handshake_timeout = \"0s\"", "listen.handshake_timeout"),
    ("listen.https = []", "listen.https = []\nlisten.header_timeout = \"0s\"", "listen.header_timeout"),
    ("listen.https = []", "listen.https = []\nlisten.idle_timeout = \"0s\"", "listen.idle_timeout"),
    ("listen.https = []", "listen.https = []\nlisten.body_timeout = \"0s\"", "listen.body_timeout"),
    ("issuer = \"https://keycloak.example.org/realms/lab\"", "", "provider.issuer"),
    ("client_id", "token_url = \"https://k.example/t\"\nclient_id", "provider.issuer"),
    ("https://keycloak", "http://keycloak", "provider.issuer"),
    ("https://keycloak", "ftp://keycloak", "provider.issuer"),
    ("https://keycloak.example.org/", "", "provider.issuer"),
    ("realms/lab", "realms/lab?a", "provider.issuer"),
    ("https://keycloak", "https://me:secret@keycloak", "provider.issuer"),
    ("client_id", "logout_url = \"http://k.example/t\"\nclient_id", "provider.logout_url"),
    ("client_id", "scopes = [\"profile\"]\nclient_id", "provider.scopes"),
    ("client_id", "scopes = [\"openid\", \"profile email\"]\nclient_id", "provider.scopes[1]"),
    ("\"hubgate\"", "\"\"", "provider.client_id"),
    ("client_id", "username_claim = \"\"\nclient_id", "provider.username_claim"),
    ("client_id", "groups_claim = \"\"\nclient_id", "provider.groups_claim"),
    ("client_id", "timeout = \"0s\"\nclient_id", "provider.timeout"),
    ("client_id", "clock_skew = \"1h\"\nclient_id", "provider.clock_skew"),
    ("client_id", "ca_file = \"/nonexistent\"\nclient_id", "provider.ca_file"),
    ("client_secret = { env = \"PATH\" }", "", "provider.client_secret"),
    (
        "client_secret = { env = \"PATH\" }",
        "client_authentication = \"private_key_jwt\"",
        "provider.client_key",
    ),
    ("client_secret", "client_key = { env = \"PATH\" }\nclient_secret", "provider.client_key"),
    ("client_secret", "client_key_id = \"a\"\nclient_secret", "provider.client_key_id"),
    ("client_secret", "client_key_algorithm = \"PS256\"\nclient_secret", "provider.client_key_algorithm"),
    (
        "client_secret",
        "client_authentication = \"private_key_jwt\"\nclient_key = { env = \"PATH\" }\nclient_secret",
        "provider.client_secret",
    ),
    (
        "client_secret",
        "client_authentication = \"private_key_jwt\"\nclient_key_algorithm = \"ES384\"\nclient_key",
        "provider.client_key_algorithm",
    ),
    ("client_id", "discovery_url = \"http://k.example/\"\nclient_id", "provider.discovery_url"),
    ("client_id", "former_issuers = [\"\"]\nclient_id", "provider.former_issuers[0]"),
    (
        "client_id",
        "former_issuers = [\"https://keycloak.example.org/realms/lab\"]\nclient_id",
        "provider.former_issuers",
    ),
    ("client_id", "acr_values = [\"a b\"]\nclient_id", "provider.acr_values[0]"),
    ("client_id", "identity_provider_hints = [\"\"]\nclient_id", "provider.identity_provider_hints[0]"),
    ("client_id", "signing_algorithms = []\nclient_id", "provider.signing_algorithms"),
    ("client_id", "trusted_audiences = [\"\"]\nclient_id", "provider.trusted_audiences[0]"),
    ("client_id", "api_clients = [\"\"]\nclient_id", "provider.api_clients[0]"),
    ("{ env = \"PATH\" }", "{ env = \"HUBGATE_TEST_IS_NOT_SET\" }", "provider.client_secret"),
    ("{ env = \"PATH\" }", "{ file = \"/nonexistent\" }", "provider.client_secret"),
    ("{ env = \"PATH\" }", "{ file = \"/dev/null\" }", "provider.client_secret"),
    ("{ env = \"PATH\" }", "{ credential = \"oidc\" }", "provider.client_secret"),
    ("[[rule]]", "[session]\nidle_timeout = \"0s\"\n[[rule]]", "session.idle_timeout"),
    ("[[rule]]", "[session]\nlogin_timeout = \"0s\"\n[[rule]]", "session.login_timeout"),
    ("[[rule]]", "[session]\nabsolute_timeout = \"1h\"\n[[rule]]", "session.absolute_timeout"),
    ("[[rule]]", "[session]\nabsolute_timeout = \"401days\"\n[[rule]]", "session.absolute_timeout"),
    ("[[rule]]\neveryone = true", "", "rule"),
    ("everyone = true", "", "rule[0]"),
    ("everyone = true", "admin = true", "rule[0]"),
    ("everyone = true", "everyone = false", "rule[0]"),
    ("everyone = true", "users = [\"alice\", \"a/b\"]", "rule[0].users[1]"),
    ("everyone = true", "groups = [\"\"]", "rule[0].groups[0]"),
    ("everyone = true", "realm_roles = [\"\"]", "rule[0].realm_roles[0]"),
    ("everyone = true", "client_roles = [{ client = \"\", role = \"a\" }]", "rule[0].client_roles[0]"),
    ("everyone = true", "everyone = true\nprofiles = [\"lab\", \"gpu\"]", "rule[0].profiles[1]"),
    ("everyone = true", "everyone = true\nprofiles = []", "rule[0].profiles"),
    ("everyone = true", "everyone = true\nmemory = \"1KiB\"", "rule[0].memory"),
    ("everyone = true", "everyone = true\ncpu = \"0 cpu\"", "rule[0].cpu"),
    ("[[profile]]\nname = \"lab\"\nimage = \"jupyter\"", "", "profile"),
    ("image = ", "image = \"a\"\n[[profile]]\nname = \"lab\"\nimage = ", "profile[1].name"),
    ("\"lab\"", "\"my lab\"", "profile[0].name"),
    ("\"lab\"", "\"\"", "profile[0].name"),
    ("image = \"jupyter\"", "", "profile[0].image"),
    ("\"jupyter\"", "\"jupyter lab\"", "profile[0].image"),
    ("image = ", "port = 0\nimage = ", "profile[0].port"),
    ("image = ", "command = []\nimage = ", "profile[0].command"),
    ("[[profile]]", "[spawner]\nkind = \"insecure_process\"\n[[profile]]", "profile[0].command"),
    ("image = ", "default_url = \"lab\"\nimage = ", "profile[0].default_url"),
    ("image = ", "default_url = \"//evil.example\"\nimage = ", "profile[0].default_url"),
    ("image = ", "user = \"jovyan\"\nimage = ", "profile[0].user"),
    ("image = ", "user = \"1000\"\nimage = ", "profile[0].user"),
    ("image = ", "pids = 0\nimage = ", "profile[0].pids"),
    (
        "[[profile]]",
        "[hub_api]\nlisten = \"172.18.0.1:8081\"\n[[profile]]\nmode = \"hub\"\npreset = \"web\"",
        "profile[0].mode",
    ),
    (
        "[[profile]]",
        "[hub_api]\nlisten = \"172.18.0.1:8081\"\n[[profile]]\nmode = \"hub\"\nstrip_path = true",
        "profile[0].strip_path",
    ),
    (
        "image = ",
        "option = [{ name = \"next\", environment = \"A\", choices = [{ value = \"1\" }] }]\nimage = ",
        "profile[0].option[0].name",
    ),
    (
        "image = ",
        "option = [{ name = \"a\", environment = \"A=\", choices = [{ value = \"1\" }] }]\nimage = ",
        "profile[0].option[0].environment",
    ),
    (
        "image = ",
        "option = [{ name = \"a\", environment = \"A\", choices = [] }]\nimage = ",
        "profile[0].option[0].choices",
    ),
    ("image = ", "stop_commands = [[]]\nimage = ", "profile[0].stop_commands[0]"),
    ("image = ", "stop_user = \"a b\"\nimage = ", "profile[0].stop_user"),
    (
        "image = ",
        "mode = \"token\"\nenvironment = { JUPYTERHUB_API_TOKEN = \"x\" }\nimage = ",
        "profile[0].environment",
    ),
    ("image = ", "environment = { A = \"{claim:}\" }\nimage = ", "profile[0].environment"),
    ("image = ", "environment = { A = \"{claim:email\" }\nimage = ", "profile[0].environment"),
    ("image = ", "command = [\"run\", \"{claim:email}\"]\nimage = ", "profile[0].command"),
    ("image = ", "memory = \"0B\"\nimage = ", "profile[0].memory"),
    ("image = ", "cpu = \"0.001 cpu\"\nimage = ", "profile[0].cpu"),
    ("image = ", "start_timeout = \"0s\"\nimage = ", "profile[0].start_timeout"),
    ("image = ", "stop_timeout = \"0s\"\nimage = ", "profile[0].stop_timeout"),
    ("image = ", "environment = { \"A=B\" = \"c\" }\nimage = ", "profile[0].environment"),
    ("image = ", "mode = \"hub\"\nimage = ", "hub_api.listen"),
    ("image = ", "mode = \"token\"\nhub_login = \"header\"\nimage = ", "profile[0].hub_login"),
    ("image = ", "volume = [{ source = \"a\", target = \"home\" }]\nimage = ", "profile[0].volume[0].target"),
    ("image = ", "volume = [{ source = \"a\", target = \"/\" }]\nimage = ", "profile[0].volume[0].target"),
    (
        "image = ",
        "volume = [{ source = \"a\", target = \"/a/../b\" }]\nimage = ",
        "profile[0].volume[0].target",
    ),
    (
        "image = ",
        "volume = [{ source = \"a\", target = \"/a\" }, { source = \"b\", target = \"/a/\" }]\nimage = ",
        "profile[0].volume[1].target",
    ),
    ("image = ", "volume = [{ source = \"\", target = \"/a\" }]\nimage = ", "profile[0].volume[0].source"),
    ("image = ", "volume = [{ source = \"./a\", target = \"/a\" }]\nimage = ", "profile[0].volume[0].source"),
    (
        "image = ",
        "volume = [{ source = \"/a/../b\", target = \"/a\" }]\nimage = ",
        "profile[0].volume[0].source",
    ),
    (
        "image = ",
        "volume = [{ source = \"/a/{user}\", target = \"/a\" }]\nimage = ",
        "profile[0].volume[0].source",
    ),
    (
        "image = ",
        "volume = [{ source = \"a\", target = \"/a\", owner = \"jovyan\" }]\nimage = ",
        "profile[0].volume[0].owner",
    ),
    ("image = ", "access_token_file = \"run/token\"\nimage = ", "profile[0].access_token_file"),
    ("image = ", "access_token_file = \"/token\"\nimage = ", "profile[0].access_token_file"),
    ("image = ", "access_token_file = \"/run/x/\"\nimage = ", "profile[0].access_token_file"),
    ("image = ", "access_token_file = \"/run//token\"\nimage = ", "profile[0].access_token_file"),
    ("image = ", "access_token_file = \"/run/../home/token\"\nimage = ", "profile[0].access_token_file"),
    ("image = ", "access_token_file = \"/run/x/./token\"\nimage = ", "profile[0].access_token_file"),
    ("image = ", "access_token_file = \"/run/x/to\\nken\"\nimage = ", "profile[0].access_token_file"),
    ("image = ", "access_token_file = \"/dev/shm/token\"\nimage = ", "profile[0].access_token_file"),
    (
        "image = ",
        "access_token_file = \"/run/hubgate/a-path-that-is-longer-than-the-archive-has-room-for-and-that-is-more-than-a-hundred-bytes/token\"\nimage = ",
        "profile[0].access_token_file",
    ),
    (
        "image = ",
        "volume = [{ source = \"a\", target = \"/home/jovyan/\" }]\naccess_token_file = \"/home/jovyan/.cache/token\"\nimage = ",
        "profile[0].access_token_file",
    ),
    (
        "image = ",
        "access_token_file = \"/run/hubgate/token\"\naccess_token_owner = \"jovyan\"\nimage = ",
        "profile[0].access_token_owner",
    ),
    ("image = ", "access_token_owner = \"1:1\"\nimage = ", "profile[0].access_token_owner"),
    ("[[profile]]", "[spawner]\ndocker.network = \"\"\n[[profile]]", "spawner.docker.network"),
    ("[[profile]]", "[spawner]\ndocker.hosts = [\"registry\"]\n[[profile]]", "spawner.docker.hosts[0]"),
    ("[[profile]]", "[[route]]\nname = \"a\"\npath = \"/a\"\nfolder = \"/a\"\n[[profile]]", "route[0].path"),
    (
        "[[profile]]",
        "[[route]]\nname = \"a\"\npath = \"/a/../b/\"\nfolder = \"/a\"\n[[profile]]",
        "route[0].path",
    ),
    (
        "[[profile]]",
        "[[route]]\nname = \"a\"\npath = \"/User/x/\"\nfolder = \"/a\"\n[[profile]]",
        "route[0].path",
    ),
    (
        "[[profile]]",
        "[[route]]\nname = \"a\"\npath = \"/hub/\"\nfolder = \"/a\"\n[[profile]]",
        "route[0].path",
    ),
    (
        "[[profile]]",
        "[[route]]\nname = \"a b\"\npath = \"/a/\"\nfolder = \"/a\"\n[[profile]]",
        "route[0].name",
    ),
    ("[[profile]]", "[[route]]\nname = \"a\"\npath = \"/a/\"\n[[profile]]", "route[0]"),
    (
        "[[profile]]",
        "[[route]]\nname = \"a\"\npath = \"/a/\"\nfolder = \"a\"\n[[profile]]",
        "route[0].folder",
    ),
    (
        "[[profile]]",
        "[[route]]\nname = \"a\"\npath = \"/a/\"\nfolder = \"/a\"\nupstream = \"127.0.0.1:1\"\n[[profile]]",
        "route[0]",
    ),
    (
        "[[profile]]",
        "[[route]]\nname = \"a\"\npath = \"/a/\"\nfolder = \"/a\"\nstrip_path = true\n[[profile]]",
        "route[0].strip_path",
    ),
    (
        "image = ",
        "volume = [{ source = \"hub-{username}-{servername}\", target = \"/h\" }]\nimage = ",
        "profile[0].volume[0].source",
    ),
    (
        "image = ",
        "volume = [{ source = \"hub-{servername}-{username}\", target = \"/h\" }]\nimage = ",
        "profile[0].volume[0].source",
    ),
    (
        "image = ",
        "volume = [{ source = \"{raw_username}.{servername}\", target = \"/h\" }]\nimage = ",
        "profile[0].volume[0].source",
    ),
    ("everyone = true", "everyone = true\nroutes = [\"none\"]", "rule[0].routes[0]"),
    ("[[profile]]", "[spawner]\ndocker.network = \"host\"\n[[profile]]\nports = [8050]", "profile[0].ports"),
    (
        "[[profile]]",
        "[spawner]\nkind = \"insecure_process\"\n[[profile]]\ncommand = [\"x\"]\nports = \"any\"",
        "profile[0].ports",
    ),
    ("[[profile]]", "[spawner]\ndocker.prefix = \"a b\"\n[[profile]]", "spawner.docker.prefix"),
    (
        "[[profile]]",
        "[spawner]\ndocker.adopt_jupyterhub = true\n[[profile]]",
        "spawner.docker.adopt_jupyterhub",
    ),
    (
        "[[profile]]",
        "[spawner]\ndocker.reconcile_interval = \"0s\"\n[[profile]]",
        "spawner.docker.reconcile_interval",
    ),
    ("[[profile]]", "[hub_api]\nlisten = \"0.0.0.0:8081\"\n[[profile]]", "hub_api.url"),
    ("[[profile]]", "[hub_api]\nlisten = \"193.0.2.1:8081\"\n[[profile]]", "hub_api.listen"),
    ("[[profile]]", "[hub_api]\nlisten = \"[2001:db8::1]:8081\"\n[[profile]]", "hub_api.listen"),
    (
        "[[profile]]",
        "[hub_api]\nlisten = \"0.0.0.0:8081\"\nurl = \"http://10.0.0.1:8081/hub/api\"\n[[profile]]",
        "hub_api.listen",
    ),
    ("[[profile]]", "[hub_api]\nurl = \"http://10.0.0.1:8081/hub/api\"\n[[profile]]", "hub_api.listen"),
    (
        "[[profile]]",
        "[hub_api]\nlisten = \"10.0.0.1:8081\"\nurl = \"http://10.0.0.1:8081/\"\n[[profile]]",
        "hub_api.url",
    ),
    ("[[rule]]", "[forward]\nconnect_timeout = \"0s\"\n[[rule]]", "forward.connect_timeout"),
    ("[[rule]]", "[forward]\nresponse_timeout = \"0s\"\n[[rule]]", "forward.response_timeout"),
    ("[[rule]]", "[forward]\nbody_timeout = \"0s\"\n[[rule]]", "forward.body_timeout"),
    ("[[rule]]", "[forward]\nidle_timeout = \"0s\"\n[[rule]]", "forward.idle_timeout"),
    ("[[rule]]", "[forward]\ntunnel_timeout = \"0s\"\n[[rule]]", "forward.tunnel_timeout"),
    ("[[rule]]", "[admin]\nacr_values = [\"gold\", \"a b\"]\n[[rule]]", "admin.acr_values[1]"),
    ("[[rule]]", "[admin]\nacr_values = [\"\"]\n[[rule]]", "admin.acr_values[0]"),
    ("[[rule]]", "[admin]\nmax_age = \"0s\"\n[[rule]]", "admin.max_age"),
    ("[[rule]]", "[log]\nfilter = \"hubgate=verbose\"\n[[rule]]", "log.filter"),
];

#[test]
fn every_slip_is_found_and_told_under_its_key() {
    for (from, to, key) in SLIPS {
        let text = small_but(from, to);
        let loaded = match parse(&text) {
            Ok(loaded) => loaded,
            Err(error) => panic!("{to} does not parse: {}", lines(error.findings())),
        };
        let found = config::check(&loaded);
        let told: Vec<_> = found.iter().map(|finding| finding.key.as_str()).collect();
        assert_eq!(told, [*key], "{to}:\n{}", lines(&found));
    }
}

#[test]
fn the_hub_api_listens_only_where_something_in_a_container_may_call_it() {
    let listens = |profile: &str, more: &str| {
        let text = small_but("[[profile]]", &format!("[[profile]]\n{profile}"));
        let text = format!("{text}\n[hub_api]\nlisten = \"172.18.0.1:8081\"\n{more}");
        assert_eq!(lines(&findings(&text)), "");
        parse(&text).unwrap().config.hub_api_address().is_some()
    };
    assert!(listens("mode = \"hub\"", ""));
    assert!(listens("", ""), "what the image is, is seen when it is here");
    assert!(!listens("mode = \"token\"", ""));
    let route =
        "[[route]]\nname = \"apps\"\npath = \"/apps/\"\nfolder = \"/srv\"\npublic = true\ncontainers = ";
    assert!(listens("mode = \"token\"", &format!("{route}true")));
    assert!(!listens("mode = \"token\"", &format!("{route}false")));
    assert!(listens("mode = \"token\"", "[spawner]\ndocker.adopt_jupyterhub = true"));
}

#[test]
fn containers_learn_where_the_host_and_its_routes_are_on_their_network() {
    let route = "[[route]]\nname = \"apps\"\npath = \"/apps/\"\nfolder = \"/srv\"\npublic = true\ncontainers = true\n\
                 environment = { AIIDALAB_REGISTRY = \"api/v1\", APPS = \"\" }\n";
    let hosts = "[spawner]\ndocker.hosts = [\"registry:host-gateway\", \"other:10.0.0.9\"]\n";
    let of = |api: &str| parse(&format!("{SMALL}\n{route}{hosts}[hub_api]\n{api}")).unwrap().config;
    let config = of("listen = \"172.18.0.1:8081\"");
    assert_eq!(config.docker_hosts(), ["registry:172.18.0.1", "other:10.0.0.9"]);
    let url = |name: &str, url: &str| (name.to_owned(), url.to_owned());
    assert_eq!(
        config.route_environment(),
        [
            url("AIIDALAB_REGISTRY", "http://172.18.0.1:8081/apps/api/v1"),
            url("APPS", "http://172.18.0.1:8081/apps/")
        ]
    );
    let config = of("listen = \"0.0.0.0:8081\"\nurl = \"http://hub:8081/hub/api\"\ninsecure_anywhere = true");
    assert_eq!(config.docker_hosts(), ["registry:host-gateway", "other:10.0.0.9"], "the engine knows");
    assert_eq!(config.route_environment()[1], url("APPS", "http://hub:8081/apps/"));
    assert_eq!(config.insecure_options(), ["hub_api.insecure_anywhere"]);
    for (from, to) in [("api/v1", "/api"), ("api/v1", "../x"), ("APPS", "\"A B\""), ("containers = true", "")]
    {
        let text = format!("{SMALL}\n[hub_api]\nlisten = \"10.0.0.1:81\"\n{}", route.replace(from, to));
        assert_eq!(keys(&text), ["route[0].environment"], "{to}");
    }
}

/// Without an ID token there is none.
#[test]
fn a_proof_of_administrators_that_no_provider_could_give_is_found() {
    let urls = "authorize_url = \"https://k.example/a\"\ntoken_url = \"https://k.example/t\"\n\
                userdata_url = \"https://k.example/u\"";
    let by_urls = small_but("issuer = \"https://keycloak.example.org/realms/lab\"", urls);
    for (admin, told) in [
        ("", &[][..]),
        ("max_age = \"1h\"", &["admin.max_age"]),
        ("acr_values = [\"gold\"]\nmax_age = \"1h\"", &["admin.acr_values", "admin.max_age"]),
    ] {
        assert_eq!(keys(&format!("{by_urls}\n[admin]\n{admin}\n")), told, "{admin}");
    }
}

/// What looks like a slip, and is right.
#[test]
fn what_is_unusual_but_right_is_not_found() {
    let urls = "authorize_url = \"https://k.example/a\"\ntoken_url = \"https://k.example/t\"\n\
                userdata_url = \"https://k.example/u\"\nscopes = [\"profile\"]";
    for (from, to) in [
        ("https://hub.example.org", "https://hub.example.org:8443/"),
        ("https://hub.example.org", "https://[2001:db8::1]"),
        (
            "image = ",
            "volume = [{ source = \"a\", target = \"/home/jovyan\" }]\naccess_token_file = \"/home/jovyan2/token\"\naccess_token_owner = \"0:0\"\nimage = ",
        ),
        ("https://keycloak.example.org", "http://localhost:8080"),
        ("https://keycloak.example.org", "http://127.0.0.1:8080"),
        ("https://keycloak.example.org", "http://[::1]:8080"),
        ("issuer = \"https://keycloak.example.org/realms/lab\"", urls),
        ("client_secret", "client_authentication = \"private_key_jwt\"\nclient_key_id = \"a\"\nclient_key"),
        ("client_secret", "client_authentication = \"client_secret_post\"\nclient_secret"),
        ("client_id", "trusted_audiences = [\"the other\"]\nclient_id"),
        ("client_id", "discovery_url = \"http://localhost:8080/x\"\nclient_id"),
        ("listen.https = []", "listen.https = []\nlisten.http = [\"0.0.0.0:80\", \"[::]:80\"]"),
        ("listen.https = []", "listen.https = []\nlisten.http = [\"127.0.0.1:0\", \"127.0.0.1:0\"]"),
        ("listen.https = []", "listen.https = []\nlisten.drain_timeout = \"0s\"\npublic.hsts = \"0s\""),
        ("everyone = true", "realm_roles = [\"hub-user\"]\nprofiles = [\"lab\"]\nmemory = \"unlimited\""),
        ("everyone = true", "users = [\"Alice\", \"anna@epfl.ch\"]"),
        ("image = ", "mode = \"hub\"\nimage = \"a\"\n[hub_api]\nlisten = \"172.18.0.1:8081\"\n#"),
        ("image = ", "volume = [{ source = \"/srv/{raw_username}\", target = \"/home/aiida\" }]\nimage = "),
        ("image = ", "volume = [{ source = \"home-{username}\", target = \"/home/aiida\" }]\nimage = "),
        ("image = ", "user = \"1000:100\"\nimage = "),
        ("listen.https = []", "listen.https = []\npublic.user_domain = \"*.hub.example.org\""),
        ("listen.https = []", "listen.https = []\npublic.user_domain = \"*.hub-users.example\""),
        (
            "listen.https = []",
            "listen.https = []\npublic.user_domain = \"*.hub-users.example\"\n\
             sharing = { enabled = true, lifetime_max = \"unlimited\" }",
        ),
    ] {
        assert_eq!(lines(&findings(&small_but(from, to))), "", "{to}");
    }
}

#[test]
fn the_missing_of_three_urls_is_named() {
    let text =
        small_but("issuer = \"https://keycloak.example.org/realms/lab\"", "token_url = \"https://k/t\"");
    assert_eq!(keys(&text), ["provider.authorize_url", "provider.userdata_url"]);
}

#[test]
fn options_that_relax_a_protection_are_named() {
    let text = small_but("client_id", "insecure_http = true\nclient_id")
        .replace("https://keycloak", "http://keycloak")
        .replace("image = ", "command = [\"jupyter\", \"lab\"]\nimage = ")
        + "[spawner]\nkind = \"insecure_process\"\n";
    assert_eq!(lines(&findings(&text)), "");
    assert_eq!(
        parse(&text).unwrap().config.insecure_options(),
        ["provider.insecure_http", "spawner.kind = insecure_process"]
    );
}

#[test]
fn keys_and_secrets_that_everybody_can_read_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for name in ["chain", "key", "secret"] {
        fs::write(path(name), "content\n").unwrap();
    }
    let text = small_but("{ env = \"PATH\" }", &format!("{{ file = \"{}\" }}", path("secret")))
        + &format!("[[certificate]]\nchain = \"{}\"\nkey = \"{}\"\n", path("chain"), path("key"));
    let mode = |mode| {
        for name in ["key", "secret"] {
            fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
        }
    };
    mode(0o644);
    let found = findings(&text);
    let told: Vec<_> = found.iter().map(|finding| finding.key.as_str()).collect();
    assert_eq!(told, ["provider.client_secret", "certificate[0].key"]);
    assert!(found[0].remedy.contains("chmod o= "), "{}", found[0]);
    assert!(!lines(&found).contains("content"));
    mode(0o640);
    assert_eq!(lines(&findings(&text)), "");

    fs::remove_file(path("key")).unwrap();
    fs::remove_file(path("chain")).unwrap();
    fs::create_dir(path("chain")).unwrap();
    assert_eq!(keys(&text), ["certificate[0].chain", "certificate[0].key"]);
}

/// A line that `#` makes a comment: `#key = value`. What explains has a space there.
fn setting(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
}

fn uncommented() -> String {
    EXAMPLE.lines().flat_map(|line| [setting(line).unwrap_or(line), "\n"]).collect()
}

#[test]
fn the_example_is_good_but_for_files_that_only_its_machine_has() {
    assert_eq!(keys(EXAMPLE), ["certificate[0].chain", "certificate[0].key", "provider.client_secret"]);
}

#[test]
fn the_example_is_read_with_every_line_in_force() {
    let whole = uncommented();
    let loaded = parse(&whole).unwrap_or_else(|error| panic!("{}", lines(error.findings())));
    let found = config::check(&loaded);
    let wrong: Vec<_> = found.iter().filter(|finding| !finding.what.starts_with("cannot read")).collect();
    let told: Vec<_> = wrong.iter().map(|finding| finding.key.as_str()).collect();
    let alternatives = [
        "public.user_domain",
        "provider.issuer",
        "provider.client_secret",
        "provider.client_key",
        "provider.client_key",
        "provider.client_key_id",
        "provider.client_key_algorithm",
        "route[0]",
        "route[0].environment",
    ];
    assert_eq!(told, alternatives, "{}", lines(&found));
}

#[test]
fn the_defaults_in_the_example_are_the_defaults() {
    let shown = |text: &str| match parse(text) {
        Ok(loaded) => format!("{:?}", loaded.config),
        Err(error) => panic!("{}", lines(error.findings())),
    };
    let default = shown(EXAMPLE);
    let mut compared = 0;
    let all: Vec<_> = EXAMPLE.lines().collect();
    for (index, line) in all.iter().enumerate() {
        let Some(setting) = setting(line) else { continue };
        let mut changed = all.clone();
        changed[index] = setting;
        let is_default = shown(&changed.join("\n")) == default;
        let example = all[index - 1].contains("one by default");
        assert_eq!(is_default, !example, "{setting}");
        compared += 1;
    }
    assert!(compared > 50, "{compared} lines compared");
}

#[test]
fn the_example_explains_every_key_and_section() {
    let explains = |line: &&str| line.starts_with("# ");
    let lines: Vec<_> = EXAMPLE.lines().collect();
    let mut seen = BTreeSet::new();
    let mut section = "";
    for (index, line) in lines.iter().enumerate() {
        let line = setting(line).unwrap_or(line);
        if line.starts_with('[') {
            section = line;
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#'))
            && seen.insert((section, key))
        {
            assert!(explains(&lines[index - 1]), "{section} {key}");
        }
    }
}

#[test]
fn the_example_has_every_key() {
    let table: toml::Table = uncommented().parse().unwrap();
    let mut shown = BTreeSet::new();
    collect(&toml::Value::Table(table), "", &mut shown);
    let structs = structs();
    let mut defined = BTreeSet::new();
    define(&structs, "Config", "", &mut defined);
    assert!(defined.contains("profile.volume.read_only") && defined.contains("rule.client_roles.role"));
    let missing: Vec<_> = defined.difference(&shown).collect();
    assert!(missing.is_empty(), "config.toml.example lacks {missing:?}");
}

/// Every key of a document, without indices.
fn collect(value: &toml::Value, path: &str, keys: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(value, &path, keys);
                keys.insert(path);
            }
        }
        toml::Value::Array(list) => list.iter().for_each(|value| collect(value, path, keys)),
        toml::Value::String(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_) => {}
    }
}

/// The fields of every struct in the definition of the configuration, with their types.
fn structs() -> BTreeMap<String, Vec<(String, String)>> {
    let mut structs = BTreeMap::new();
    let mut current: Option<&mut Vec<(String, String)>> = None;
    for line in DEFINITION.lines() {
        if let Some(name) = line.strip_prefix("pub struct ").and_then(|rest| rest.strip_suffix(" {")) {
            current = Some(structs.entry(name.to_owned()).or_default());
        } else if line == "}" {
            current = None;
        } else if let (Some(fields), Some(field)) = (&mut current, line.strip_prefix("    pub ")) {
            let (name, kind) = field.trim_end_matches(',').split_once(": ").expect("a field");
            fields.push((name.to_owned(), kind.to_owned()));
        }
    }
    structs
}

fn define(
    structs: &BTreeMap<String, Vec<(String, String)>>,
    name: &str,
    path: &str,
    keys: &mut BTreeSet<String>,
) {
    for (field, kind) in structs.get(name).into_iter().flatten() {
        let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
        let inner = kind.trim_start_matches("Option<").trim_start_matches("Vec<").trim_end_matches('>');
        define(structs, inner, &path, keys);
        keys.insert(path);
    }
}

#[test]
fn the_defaults_are_the_safe_choice() {
    let config: Config = parse(SMALL).unwrap().config;
    assert!(!config.provider[0].insecure_http);
    assert_eq!(config.spawner.kind, config::SpawnerKind::Docker);
    let rule = config::Rule::default();
    assert!(!rule.everyone && !rule.admin);
    assert!(config.listen.operations.is_some_and(|address| address.ip().is_loopback()));
}
