//! The real Keycloak: its administration, as far as tests need it.

use std::net::SocketAddr;

use serde_json::{Value, json};
use support::client::{Answer, Client};
use support::hub::path_and_query;
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
        let token = administrator(&client).await;
        Self { client, realm: part("HUBGATE_TEST_REALM"), token }
    }

    /// Signs in, and makes a realm, of which it is then the administrator.
    pub(crate) async fn with_realm(realm: Value) -> Self {
        let mut keycloak = Self::connect().await;
        let name = realm["realm"].as_str().unwrap().to_owned();
        let answer = keycloak.request("POST", "/admin/realms", Some(realm)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        // A token says which realms it is for.
        Self { realm: name, ..Self::connect().await }
    }

    /// Takes the realm away.
    pub(crate) async fn remove_realm(mut self) {
        let answer = self.call("DELETE", "", None).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// A token of one of the realm's users.
    pub(crate) async fn token_of(&self, user: &str, password: &str) -> String {
        token(&self.client, &self.realm, [user, password]).await
    }

    /// The client of this name.
    pub(crate) async fn client(&mut self, client_id: &str) -> Value {
        let found = self.call("GET", &format!("/clients?clientId={client_id}"), None).await;
        let mut clients: Value = serde_json::from_slice(&found.body).unwrap();
        clients[0].take()
    }

    /// Registers a client.
    pub(crate) async fn add_client(&mut self, client: Value) {
        let answer = self.call("POST", "/clients", Some(client)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    /// Takes a client away.
    pub(crate) async fn remove_client(&mut self, client_id: &str) {
        let id = self.client(client_id).await["id"].as_str().unwrap().to_owned();
        let answer = self.call("DELETE", &format!("/clients/{id}"), None).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// An administrator's token, new: it lives a minute.
    pub(crate) async fn token(&self) -> String {
        administrator(&self.client).await
    }

    /// Takes one of its scopes away from a client.
    pub(crate) async fn remove_scope(&mut self, client_id: &str, scope: &str) {
        let id = self.client(client_id).await["id"].as_str().unwrap().to_owned();
        let path = format!("/clients/{id}/default-client-scopes");
        let scopes: Value = serde_json::from_slice(&self.call("GET", &path, None).await.body).unwrap();
        let scope = scopes.as_array().unwrap().iter().find(|other| other["name"] == scope).unwrap();
        let answer = self.call("DELETE", &format!("{path}/{}", scope["id"].as_str().unwrap()), None).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// A browser at Keycloak, without a screen.
    pub(crate) fn browser(&self) -> Client {
        self.client.fresh()
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
        self.request(method, &format!("/admin/realms/{}{path}", self.realm), body).await
    }

    async fn request(&mut self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let send = async |client: &Client, token: &str| {
            let bearer = format!("Bearer {token}");
            let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
            client.fresh().send(method, path, &headers, body.as_bytes()).await
        };
        let answer = send(&self.client, &self.token).await;
        if answer.status != 401 {
            return answer;
        }
        // A test may last longer than a token.
        self.token = administrator(&self.client).await;
        send(&self.client, &self.token).await
    }
}

async fn administrator(client: &Client) -> String {
    let credentials = [&*part("HUBGATE_TEST_KEYCLOAK_ADMIN"), &*part("HUBGATE_TEST_KEYCLOAK_PASSWORD")];
    token(client, "master", credentials).await
}

async fn token(client: &Client, realm: &str, [user, password]: [&str; 2]) -> String {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "password")
        .append_pair("client_id", "admin-cli")
        .append_pair("username", user)
        .append_pair("password", password)
        .finish();
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let path = format!("/realms/{realm}/protocol/openid-connect/token");
    let answer = client.fresh().send("POST", &path, &kind, form.as_bytes()).await;
    let token: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}", answer.text()));
    token["access_token"].as_str().unwrap_or_else(|| panic!("no token: {}", answer.text())).to_owned()
}

/// Signs in at the login page that this address opens: where the browser is sent back to.
pub(crate) async fn sign_in(browser: &mut Client, authorize: &str, user: &str, password: &str) -> Url {
    let page = browser.open(&path_and_query(authorize)).await;
    let text = page.text();
    let (_, form) =
        text.split_once("id=\"kc-form-login\"").unwrap_or_else(|| panic!("no login page: {text}"));
    let (_, action) = form.split_once("action=\"").unwrap();
    let action = action.split('"').next().unwrap().replace("&amp;", "&");
    let fields = [("username", user), ("password", password), ("credentialId", "")];
    let answer = browser.submit(&path_and_query(&action), &fields).await;
    let location = answer.header("location").unwrap_or_else(|| panic!("not signed in: {}", answer.text()));
    Url::parse(location).unwrap()
}
