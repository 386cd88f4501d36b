//! Administrators prove to the real Keycloak who they are before they administer: by a login that is fresh, and by one of
//! a higher level.

use std::time::{Duration, Instant};

use serde_json::json;
use support::client::Answer;
use support::eventually::eventually;
use support::hub::path_and_query;
use support::process::Process;
use url::Url;

use crate::hub::{self, profile};
use crate::keycloak::{Keycloak, sign_in};
use crate::person::Person;

const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");

/// A hub whose administrators must prove this.
async fn hub_asking(keycloak: &mut Keycloak, admin: &str, port: u16) -> Process {
    let sections = format!(
        "[[rule]]\nrealm_roles = [\"hub-user\"]\n[[rule]]\nrealm_roles = [\"hub-admin\"]\nadmin = true\n\
         [admin]\n{admin}\n{}",
        profile("token", port)
    );
    hub::start_in(keycloak, BINARY, "clock_skew = \"2s\"\n", &sections, port).await
}

/// What the way to Keycloak asks for.
fn asked(answer: &Answer, name: &str) -> Option<String> {
    let url = Url::parse(answer.header("location").unwrap_or_default()).ok()?;
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Goes where the hub sends them, types the password there, and comes back: what the hub says then.
async fn prove(person: &mut Person, answer: &Answer) -> Answer {
    let there = answer.header("location").unwrap_or_else(|| panic!("no way on: {}", answer.text()));
    let password = format!("{}-password", person.name);
    // Keycloak knows this browser: that it shows a page at all is what was asked for.
    let back = sign_in(&mut person.keycloak, there, &person.name, &password).await;
    person.hub.open(&path_and_query(back.as_str())).await
}

/// Whether the sessions of everybody are shown to them.
async fn sees_sessions(person: &Person) -> bool {
    match person.hub.clone().send("GET", "/hub/api/sessions", &[], b"").await.status {
        200 => true,
        401 => false,
        other => panic!("{}: {other}", person.name),
    }
}

#[tokio::test]
async fn an_administrator_who_signed_in_long_ago_signs_in_again_before_they_administer() {
    const FRESH: Duration = Duration::from_secs(10 + 2);
    let mut keycloak = Keycloak::own_realm(json!({})).await;
    let hub = hub_asking(&mut keycloak, "max_age = \"10s\"", 18121).await;
    let mut carol = Person::sign_in(&hub, &keycloak, "carol").await;
    let since = Instant::now();
    let mut bob = Person::sign_in(&hub, &keycloak, "bob").await;
    eventually("a login of long ago", || async { since.elapsed() > FRESH + Duration::from_secs(1) }).await;
    for _ in 0..2 {
        let answer = carol.hub.open("/hub/admin").await;
        assert_eq!((answer.status, asked(&answer, "max_age").as_deref()), (303, Some("10")));
        assert!(!sees_sessions(&carol).await && carol.is_in().await, "without it, she does all else");
    }
    let before = carol.clone();
    let answer = carol.hub.open("/hub/admin").await;
    let back = prove(&mut carol, &answer).await;
    assert_eq!(back.header("location"), Some("/hub/admin"), "{} {}", back.text(), hub.log());
    let page = carol.hub.open("/hub/admin").await;
    assert_eq!(page.status, 200, "{} {}", page.text(), hub.log());
    assert!(page.text().contains("<strong>bob</strong>") && sees_sessions(&carol).await);
    assert!(!before.is_in().await, "the session of before is over");
    assert_eq!(bob.hub.open("/hub/admin").await.status, 404);
    assert!(bob.is_in().await, "others are asked for nothing");
}

#[tokio::test]
async fn an_administrator_reaches_a_higher_level_at_keycloak_before_they_administer() {
    let mut keycloak = Keycloak::own_realm(json!({})).await;
    keycloak.ask_in_two_steps().await;
    let levels = json!({ "silver": 1, "gold": 2 }).to_string();
    keycloak.change_client(json!({ "attributes": { "acr.loa.map": levels } })).await;
    let hub = hub_asking(&mut keycloak, "acr_values = [\"gold\"]", 18122).await;
    let mut carol = Person::sign_in(&hub, &keycloak, "carol").await;
    let answer = carol.hub.open("/hub/admin").await;
    assert_eq!((answer.status, asked(&answer, "acr_values").as_deref()), (303, Some("gold")));
    assert!(!sees_sessions(&carol).await && carol.is_in().await);
    let before = carol.clone();
    let back = prove(&mut carol, &answer).await;
    assert_eq!(back.header("location"), Some("/hub/admin"), "{} {}", back.text(), hub.log());
    let page = carol.hub.open("/hub/admin").await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(sees_sessions(&carol).await && !before.is_in().await);

    // A level that Keycloak has no flow for is not taken for reached.
    let only = json!({ "silver": 1, "gold": 3 }).to_string();
    keycloak.change_client(json!({ "attributes": { "acr.loa.map": only } })).await;
    let mut carol = Person::sign_in(&hub, &keycloak, "carol").await;
    let answer = carol.hub.open("/hub/admin").await;
    let there = path_and_query(answer.header("location").expect("a way to Keycloak"));
    let mut answer = carol.keycloak.open(&there).await;
    if answer.header("location").is_none() {
        let action = crate::keycloak::attribute(&answer.text(), "action")
            .unwrap_or_else(|| panic!("{}", answer.text()));
        let fields = [("username", "carol"), ("password", "carol-password"), ("credentialId", "")];
        answer = carol.keycloak.submit(&crate::keycloak::target(&action), &fields).await;
    }
    // Keycloak refuses by itself, or sends her back with the level that she has.
    if let Some(back) = answer.header("location").map(str::to_owned) {
        let refused = carol.hub.open(&path_and_query(&back)).await;
        assert_eq!(refused.status, 403, "{}", refused.text());
    }
    assert_eq!(carol.hub.open("/hub/admin").await.status, 303);
    assert!(!sees_sessions(&carol).await);
}
