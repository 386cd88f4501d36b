//! The real Keycloak: its administration, as far as tests need it.

use std::net::SocketAddr;

use serde_json::{Value, json};
use support::client::{Answer, Client};
use url::Url;

use crate::parts::part;

/// The secret of every client that tests register.
pub(crate) const CLIENT_SECRET: &str = "hubgate-test-secret";

/// An administrator of the realm.
pub(crate) struct Keycloak {
    client: Client,
    realm: String,
    token: String,
}

impl Keycloak {
    /// Signs in at the running Keycloak.
    pub(crate) async fn connect() -> Self {
        let url = Url::parse(&part("HUBGATE_TEST_KEYCLOAK_URL")).unwrap();
        let address: SocketAddr = url.socket_addrs(|| None).unwrap()[0];
        let ca = std::fs::read_to_string(part("HUBGATE_TEST_KEYCLOAK_CA")).unwrap();
        let host = format!("{}:{}", url.host_str().unwrap(), url.port_or_known_default().unwrap());
        let client = Client::new(address, &host, &ca);
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "password")
            .append_pair("client_id", "admin-cli")
            .append_pair("username", &part("HUBGATE_TEST_KEYCLOAK_ADMIN"))
            .append_pair("password", &part("HUBGATE_TEST_KEYCLOAK_PASSWORD"))
            .finish();
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        let path = "/realms/master/protocol/openid-connect/token";
        let answer = client.fresh().send("POST", path, &kind, form.as_bytes()).await;
        let token: Value =
            serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}", answer.text()));
        let token = token["access_token"].as_str().expect("an administrator's token").to_owned();
        Self { client, realm: part("HUBGATE_TEST_REALM"), token }
    }

    /// The issuer.
    pub(crate) fn issuer(&self) -> String {
        format!("{}/realms/{}", part("HUBGATE_TEST_KEYCLOAK_URL").trim_end_matches('/'), self.realm)
    }

    /// Lets this hub be the client `hubgate`: its exact redirect and post-logout URIs.
    pub(crate) async fn register(&mut self, origin: &str) {
        let found = self.call("GET", "/clients?clientId=hubgate", None).await;
        let mut client: Value = serde_json::from_slice(&found.body).unwrap();
        let client = client.get_mut(0).expect("the client hubgate in the realm").take();
        let mut client = client;
        let id = client["id"].as_str().unwrap().to_owned();
        // Tests run side by side, each with a hub of its own.
        let add = |list: &mut Value, uri: String| {
            let mut uris: Vec<Value> = list.as_array().cloned().unwrap_or_default();
            if !uris.contains(&json!(uri)) {
                uris.push(json!(uri));
            }
            *list = Value::Array(uris);
        };
        add(&mut client["redirectUris"], format!("{origin}/hub/oauth_callback"));
        client["attributes"]["post.logout.redirect.uris"] = json!(format!("{origin}/hub/logout"));
        let answer = self.call("PUT", &format!("/clients/{id}"), Some(client)).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// Ends all of a user's sessions: what an earlier test left.
    pub(crate) async fn end_sessions(&mut self, user: &str) {
        let id = self.id_of(user).await;
        let answer = self.call("POST", &format!("/users/{id}/logout"), None).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// How many sessions a user has.
    pub(crate) async fn sessions(&mut self, user: &str) -> usize {
        let id = self.id_of(user).await;
        let answer = self.call("GET", &format!("/users/{id}/sessions"), None).await;
        let sessions: Value = serde_json::from_slice(&answer.body).unwrap();
        sessions.as_array().map_or(0, Vec::len)
    }

    async fn id_of(&mut self, user: &str) -> String {
        let found = self.call("GET", &format!("/users?exact=true&username={user}"), None).await;
        let users: Value = serde_json::from_slice(&found.body).unwrap();
        users[0]["id"].as_str().expect("the user in the realm").to_owned()
    }

    async fn call(&mut self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let path = format!("/admin/realms/{}{path}", self.realm);
        let bearer = format!("Bearer {}", self.token);
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.client.fresh().send(method, &path, &headers, body.as_bytes()).await
    }
}
