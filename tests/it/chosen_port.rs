//! Images that choose the port of their server themselves and tell it: batchspawner's.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use support::eventually::eventually;
use support::hub::{EVERYONE, Hub};
use support::upstream::Upstream;
use url::Url;

use crate::BINARY;
use crate::day::plain;

/// Alice's container runs, and has not answered yet.
struct Coming {
    hub: Hub,
    address: Ipv4Addr,
}

impl Coming {
    async fn start() -> Self {
        let sections = format!(
            "{EVERYONE}[[profile]]\nname = \"batch\"\nimage = \"hub:1\"\n\
             [hub_api]\nlisten = \"{{address}}:8081\"\n"
        );
        let hub = Hub::with(BINARY, &sections).await;
        let address = hub.engine().address_for("alice");
        let mut alice = hub.signed_in("alice").await;
        assert_eq!(alice.open("/user/alice/").await.status, 503);
        eventually("her container", || async { hub.engine().containers().len() == 1 }).await;
        Self { hub, address }
    }

    /// What the container is told when it says this, with its own token.
    async fn says(&self, body: &Value) -> (u16, Value) {
        let token = self.hub.environment_of("alice", "JUPYTERHUB_API_TOKEN").unwrap();
        self.says_as(&token, body).await
    }

    async fn says_as(&self, token: &str, body: &Value) -> (u16, Value) {
        let api = Url::parse(&self.hub.environment_of("alice", "JUPYTERHUB_API_URL").unwrap()).unwrap();
        let (authorization, body) = (format!("token {token}"), body.to_string());
        plain(&api, "POST", "/hub/api/batchspawner", &authorization, (&body, "application/json")).await
    }
}

#[tokio::test]
async fn a_server_is_found_at_the_port_that_it_chose_and_after_a_restart() {
    let mut coming = Coming::start().await;
    let server = Upstream::bind(SocketAddr::new(coming.address.into(), 0)).await.unwrap();
    let said = coming.says(&json!({ "port": server.address().port() })).await;
    assert_eq!(said, (201, json!({ "message": "BatchSpawner data configured" })));
    let mut alice = coming.hub.signed_in("alice").await;
    coming.hub.until_open(&mut alice, "/user/alice/lab").await;
    assert_eq!(server.requests().last().unwrap().target, "/user/alice/lab");

    coming.hub.process_mut().kill().await;
    coming.hub.process_mut().start_again().await;
    coming.hub.until_open(&mut alice, "/user/alice/after").await;
    assert_eq!(server.requests().last().unwrap().target, "/user/alice/after");
}

#[tokio::test]
async fn a_port_is_chosen_by_a_server_itself_and_only_while_it_starts() {
    let coming = Coming::start().await;
    let server = Upstream::bind(SocketAddr::new(coming.address.into(), 0)).await.unwrap();
    for wrong in [json!({}), json!([]), json!({"port": 0}), json!({"port": 65536}), json!({"port": "x"})] {
        assert_eq!(coming.says(&wrong).await.0, 400, "{wrong}");
    }
    let port = json!({ "port": server.address().port() });
    assert_eq!(coming.says_as("nobodys", &port).await.0, 403);
    assert_eq!(server.connections(), 0);
    assert_eq!(coming.says(&port).await.0, 201);
    assert_eq!(coming.says(&port).await.0, 201, "it is so already");
    let mut alice = coming.hub.signed_in("alice").await;
    coming.hub.until_open(&mut alice, "/user/alice/lab").await;
    assert_eq!(coming.says(&json!({ "port": 1 })).await.0, 409, "it runs");
    assert_eq!(alice.open("/user/alice/lab").await.status, 200);
    let token = alice.make_token(&["access:servers"]).await;
    let headers = [("Authorization", format!("token {token}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let outside = coming.hub.client().send("POST", "/hub/api/batchspawner", &headers, b"{\"port\": 1}").await;
    assert_eq!(outside.status, 403, "nor is it there for anybody else");
}
