//! A user's access token in their container: fresh while they are signed in, and gone afterwards.

use serde_json::json;
use support::eventually::eventually;
use support::hub::{EVERYONE, Hub, PROFILE};

use crate::BINARY;

const FILE: &str = "/run/hubgate/access_token";

/// What alice's container has in the file; nothing where it is not there, or empty.
fn token(hub: &Hub) -> String {
    let container = hub.container_of("alice");
    container.files.get(FILE).and_then(|file| file.content.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_container_has_its_users_token_as_long_as_they_are_signed_in() {
    let sections =
        format!("[session]\nrefresh_interval = \"1s\"\n{EVERYONE}{PROFILE}access_token_file = \"{FILE}\"\n");
    let hub = Hub::with(BINARY, &sections).await;
    hub.run_workspace("alice").await;
    let first = token(&hub);
    assert_eq!(first.split('.').count(), 3, "a token: {first:?}");
    for (name, value) in &hub.container_of("alice").environment {
        assert!(!value.contains(&first), "{name}");
    }
    let mut alice = hub.signed_in("alice").await;
    // Whoever is at work keeps it fresh.
    eventually("a fresh token", || {
        let mut alice = alice.clone();
        let (hub, first) = (&hub, &first);
        async move {
            alice.open("/hub/home").await;
            let now = token(hub);
            !now.is_empty() && now != *first
        }
    })
    .await;
    hub.provider().user("alice", json!({}));
    let logout = hub.provider().logout_token(None).claim("iat", hubgate::clock::Clock::system().now() + 5);
    assert_eq!(logout.post(&alice, "/hub/backchannel-logout").await.status, 200);
    eventually("no token", || async { token(&hub).is_empty() }).await;
    assert_eq!(alice.open("/hub/home").await.status, 303);
    assert!(!hub.process().log().contains(&first), "nor is it in the log");
}
