use serde_json::json;

use super::*;
use std::path::Path;

const CONFIG: &str = r#"public.url = "https://hub.example.org"
listen.https = []
[[provider]]
name = "kc"
issuer = "https://kc.example/realms/lab"
client_id = "hub"
client_secret = { env = "SECRET" }
[[provider]]
name = "eth"
issuer = "https://eth.example"
client_id = "hub"
client_secret = { env = "SECRET" }
[[rule]]
groups = ["/lab", "/other"]
profiles = ["lab"]

[[rule]]
realm_roles = ["big"]
profiles = ["gpu"]
memory = "16GiB"
cpu = "unlimited"

[[rule]]
users = ["alice"]
client_roles = [{ client = "hub.prod", role = "admin" }]
profiles = []
admin = true

[[rule]]
everyone = true
providers = ["eth"]

[[profile]]
name = "lab"
image = "lab:1"
memory = "4GiB"
cpu = "1.5 cpu"
[[profile.volume]]
source = "home-{username}"
target = "/home/jovyan"
[[profile.volume]]
source = "/data/{raw_username}"
target = "/data"
read_only = true

[[profile]]
name = "gpu"
image = "gpu:1"
"#;

fn explainer() -> Explainer {
    Explainer::new(&config::parse(CONFIG, Path::new("config.toml")).unwrap().config)
}

fn explain(provider: &str, claims: Value) -> Explanation {
    let identity = Identity {
        issuer: "https://kc.example/realms/lab".into(),
        subject: "1".into(),
        sid: None,
        claims: claims.as_object().cloned().unwrap(),
    };
    explainer().person(Described { provider, identity: &identity, name: None, at: None, barred: false })
}

#[test]
fn every_condition_that_holds_is_named_with_its_line() {
    let told = explain(
        "kc",
        json!({
            "preferred_username": "Alice", "groups": ["/lab", "/else"], "realm_access": {"roles": ["big"]},
            "resource_access": {"hub.prod": {"roles": ["admin"]}},
        }),
    );
    let says: Vec<_> =
        told.rules.iter().map(|rule| (rule.line, rule.matches, rule.why.join(" and "))).collect();
    let expected = [
        (Some(13), true, "group \"/lab\""),
        (Some(17), true, "realm role \"big\""),
        (Some(23), true, "the user's name and role \"admin\" of client \"hub.prod\""),
        (Some(29), false, "is for eth only"),
    ];
    assert_eq!(says, expected.map(|(line, matches, why)| (line, matches, why.to_owned())));
    let grants = told.grants.unwrap();
    assert!(grants.admin && grants.scopes.contains(&"admin:sessions".to_owned()));
    let limits: Vec<_> = grants.profiles.iter().map(|p| (p.profile.as_str(), p.memory, p.cpu)).collect();
    assert_eq!(limits, [("lab", Some(16 << 30), None), ("gpu", Some(16 << 30), None)]);
}

#[test]
fn volumes_and_containers_are_named_as_they_will_be() {
    let told = explain("eth", json!({"preferred_username": "anna@epfl.ch"}));
    assert_eq!(told.rules[3].why, ["everyone"]);
    let grants = told.grants.unwrap();
    let lab = &grants.profiles[0];
    assert_eq!(lab.container.as_deref(), Some("hubgate-anna-40epfl-2ech"));
    let volumes: Vec<_> = lab.volumes.iter().map(|v| (v.source.as_str(), v.read_only)).collect();
    assert_eq!(volumes, [("home-anna-40epfl-2ech", false), ("/data/anna@epfl.ch", true)]);
    assert_eq!((lab.memory, lab.cpu), (Some(4 << 30), Some(1.5)), "the profile's own");
    assert!(!grants.scopes.contains(&"admin:sessions".to_owned()));
}

#[test]
fn whoever_may_not_enter_is_told_why_and_what_to_do() {
    for (claims, user, why, hint) in [
        (json!({"preferred_username": "bob"}), Some("bob"), "no rule lets bob in", "add a [[rule]]"),
        (json!({}), None, "no claim \"preferred_username\" with text in it", "provider.username_claim"),
        (
            json!({"preferred_username": "../bob"}),
            None,
            "which is not safe in a path",
            "provider.username_claim",
        ),
    ] {
        let told = explain("kc", claims);
        assert_eq!((told.user.as_deref(), told.grants.is_some()), (user, false));
        let refused = told.refused.clone().unwrap();
        assert!(refused.why.contains(why) && refused.hint.contains(hint), "{refused:?}");
        assert!(told.words().contains("may not enter: "));
    }
    let only_admin =
        Identity { issuer: String::new(), subject: String::new(), sid: None, claims: serde_json::Map::new() };
    let alice = UserName::parse("alice").unwrap();
    let told = explainer().person(Described {
        provider: "kc",
        identity: &only_admin,
        name: Some(&alice),
        at: Some(0),
        barred: false,
    });
    assert!(told.refused.unwrap().why.contains("grant no profile"));
}

#[test]
fn a_claim_that_is_no_list_is_pointed_out() {
    let told = explain("kc", json!({"preferred_username": "bob", "groups": "/lab"}));
    assert!(told.words().contains("groups        none: the claim \"groups\" is no list"), "{}", told.words());
}

#[test]
fn what_a_provider_says_cannot_play_with_a_terminal() {
    let told = explain(
        "eth",
        json!({"preferred_username": "bob", "groups": ["\u{1b}[2J\n  administrator: yes"], "realm_access": {"roles": ["\u{202e}"]}}),
    );
    let words = told.words();
    assert!(!words.contains('\u{1b}') && !words.contains('\u{202e}'), "{words}");
    assert!(!words.lines().any(|line| line.starts_with("  administrator: yes")), "{words}");
}

#[test]
fn names_that_are_like_one_that_nobody_has_are_found() {
    let names = ["alice", "alicia", "bob", "anna.meier@epfl.ch"].map(|name| UserName::parse(name).unwrap());
    let near = |wanted| near(wanted, &names).into_iter().map(UserName::as_str).collect::<Vec<_>>();
    assert_eq!(near("alic"), ["alice", "alicia"]);
    assert_eq!(near("anna.meier"), ["anna.meier@epfl.ch"]);
    assert_eq!(near("zoe"), Vec::<&str>::new());
}

#[test]
fn sizes_are_said_as_they_are_written() {
    assert_eq!(words::memory(Some(16 << 30)), "16GiB");
    assert_eq!(words::memory(Some(1536 << 20)), "1536MiB");
    assert_eq!(words::memory(Some(1000)), "1000B");
    assert_eq!(words::memory(None), "unlimited");
    assert_eq!((words::cpu(Some(1.5)), words::cpu(None)), ("1.5".to_owned(), "unlimited".to_owned()));
}
