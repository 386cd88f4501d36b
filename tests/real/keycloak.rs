//! The real Keycloak: its administration, as far as tests need it.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use support::client::{Answer, Client, read_answer};
use support::hub::path_and_query;
use tokio::io::AsyncWriteExt as _;
use url::Url;

use crate::parts::part;

/// The secret of every client that tests register.
pub(crate) const CLIENT_SECRET: &str = "hubgate-test-secret";

/// The common name of the authority that Keycloak trusts.
pub(crate) const AUTHORITY: &str = "hubgate test authority";

/// How long a call may take: a new realm, with its keys and its people's passwords, is much work on a busy machine.
const SLOW: Duration = Duration::from_mins(2);

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

    /// A realm that no other test has, with the people and the client of the shared one: what is changed in it changes
    /// nothing for others.
    pub(crate) async fn own_realm(changes: Value) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let name = format!("own-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let realm = include_str!("../parts/realm.json")
            .replace("default-roles-lab", &format!("default-roles-{name}"));
        let mut realm: Value = serde_json::from_str(&realm).unwrap();
        merge(&mut realm, changes);
        realm["realm"] = json!(name);
        Self::with_realm(realm).await
    }

    /// Another administrator of the same realm.
    pub(crate) async fn again(&self) -> Self {
        Self { realm: self.realm.clone(), ..Self::connect().await }
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

    /// The same on the port without TLS.
    pub(crate) fn issuer_without_tls(&self) -> String {
        format!("{}/realms/{}", part("HUBGATE_TEST_KEYCLOAK_HTTP_URL").trim_end_matches('/'), self.realm)
    }

    /// Tells Keycloak where a host is.
    pub(crate) fn learn_host(name: &str, address: IpAddr) {
        let mut hosts =
            std::fs::OpenOptions::new().append(true).open(part("HUBGATE_TEST_KEYCLOAK_HOSTS")).unwrap();
        writeln!(hosts, "{address} {name}").unwrap();
    }

    /// Lets this hub be the client `hubgate`: its exact redirect and post-logout URIs.
    pub(crate) async fn register(&mut self, origin: &str) {
        let mut client = self.client("hubgate").await;
        // Tests run side by side, each with a hub of its own.
        let mut uris: Vec<Value> = client["redirectUris"].as_array().cloned().unwrap_or_default();
        let uri = json!(format!("{origin}/hub/oauth_callback"));
        if !uris.contains(&uri) {
            uris.push(uri);
        }
        client["redirectUris"] = Value::Array(uris);
        client["attributes"]["post.logout.redirect.uris"] = json!(format!("{origin}/hub/logout"));
        self.set_client(client).await;
    }

    /// Changes the client `hubgate`.
    pub(crate) async fn change_client(&mut self, changes: Value) {
        let mut client = self.client("hubgate").await;
        merge(&mut client, changes);
        self.set_client(client).await;
    }

    async fn set_client(&mut self, client: Value) {
        let path = format!("/clients/{}", client["id"].as_str().unwrap());
        self.done("PUT", &path, Some(client)).await;
    }

    /// Changes the realm.
    pub(crate) async fn change_realm(&mut self, changes: Value) {
        self.done("PUT", "", Some(changes)).await;
    }

    /// Changes a user.
    pub(crate) async fn change_user(&mut self, user: &str, changes: Value) {
        let path = format!("/users/{}", self.id_of(user).await);
        let found = self.call("GET", &path, None).await;
        let mut user: Value = serde_json::from_slice(&found.body).unwrap();
        merge(&mut user, changes);
        self.done("PUT", &path, Some(user)).await;
    }

    /// Takes a realm role away from a user.
    pub(crate) async fn take_role(&mut self, user: &str, role: &str) {
        let found = self.call("GET", &format!("/roles/{role}"), None).await;
        let role: Value = serde_json::from_slice(&found.body).unwrap();
        let path = format!("/users/{}/role-mappings/realm", self.id_of(user).await);
        self.done("DELETE", &path, Some(json!([role]))).await;
    }

    /// Ends all of a user's sessions.
    pub(crate) async fn end_sessions(&mut self, user: &str) {
        let path = format!("/users/{}/logout", self.id_of(user).await);
        self.done("POST", &path, None).await;
    }

    /// Ends one session.
    pub(crate) async fn end_session(&mut self, sid: &str) {
        self.done("DELETE", &format!("/sessions/{sid}"), None).await;
    }

    /// How many sessions a user has.
    pub(crate) async fn sessions(&mut self, user: &str) -> usize {
        let id = self.id_of(user).await;
        let answer = self.call("GET", &format!("/users/{id}/sessions"), None).await;
        let sessions: Value = serde_json::from_slice(&answer.body).unwrap();
        sessions.as_array().map_or(0, Vec::len)
    }

    /// How many sessions of offline tokens a user has.
    pub(crate) async fn offline_sessions(&mut self, user: &str) -> usize {
        let client = self.client("hubgate").await;
        let id = self.id_of(user).await;
        let path = format!("/users/{id}/offline-sessions/{}", client["id"].as_str().unwrap());
        let answer = self.call("GET", &path, None).await;
        let sessions: Value = serde_json::from_slice(&answer.body).unwrap();
        sessions.as_array().map_or(0, Vec::len)
    }

    /// Adds an RSA key that signs from now on, and answers those that have signed until now.
    pub(crate) async fn add_key(&mut self) -> Vec<Value> {
        let found = self.call("GET", "/components?type=org.keycloak.keys.KeyProvider", None).await;
        let keys: Vec<Value> = serde_json::from_slice(&found.body).unwrap();
        let old: Vec<Value> = keys.into_iter().filter(|key| key["providerId"] == "rsa-generated").collect();
        assert!(!old.is_empty());
        let key = json!({
            "name": "newer", "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
            "parentId": old[0]["parentId"],
            "config": { "priority": ["200"], "enabled": ["true"], "active": ["true"], "algorithm": ["RS256"] },
        });
        self.done("POST", "/components", Some(key)).await;
        old
    }

    /// Changes what a key does.
    pub(crate) async fn change_key(&mut self, key: &Value, config: Value) {
        let mut key = key.clone();
        merge(&mut key["config"], config);
        let path = format!("/components/{}", key["id"].as_str().unwrap());
        self.done("PUT", &path, Some(key)).await;
    }

    /// Lets browsers sign in with a second step where a level above the first is asked for: the password once more.
    pub(crate) async fn ask_in_two_steps(&mut self) {
        let flow = |alias: &str| json!({ "alias": alias, "type": "basic-flow", "description": "" });
        let top = json!({ "alias": "steps", "providerId": "basic-flow", "topLevel": true, "builtIn": false });
        self.done("POST", "/authentication/flows", Some(top)).await;
        let part = |provider: &str| json!({ "provider": provider });
        self.add_execution("steps", "execution", part("auth-cookie"), "ALTERNATIVE").await;
        self.add_execution("steps", "flow", flow("steps-of-forms"), "ALTERNATIVE").await;
        for (level, lasts, form) in
            [("1", "36000", "auth-username-password-form"), ("2", "0", "auth-password-form")]
        {
            let step = format!("step-{level}");
            self.add_execution("steps-of-forms", "flow", flow(&step), "CONDITIONAL").await;
            let condition = part("conditional-level-of-authentication");
            let condition = self.add_execution(&step, "execution", condition, "REQUIRED").await;
            let config = json!({ "loa-condition-level": level, "loa-max-age": lasts });
            let config = json!({ "alias": step, "config": config });
            let path = format!("/authentication/executions/{condition}/config");
            self.done("POST", &path, Some(config)).await;
            self.add_execution(&step, "execution", part(form), "REQUIRED").await;
        }
        self.change_realm(json!({ "browserFlow": "steps" })).await;
    }

    /// Adds a step to a flow: its id.
    async fn add_execution(&mut self, flow: &str, kind: &str, what: Value, requirement: &str) -> String {
        let path = format!("/authentication/flows/{flow}/executions");
        self.done("POST", &format!("{path}/{kind}"), Some(what)).await;
        let found = self.call("GET", &path, None).await;
        let mut all: Vec<Value> = serde_json::from_slice(&found.body).unwrap();
        // Those of flows below are listed, too.
        let mut added = all.iter_mut().rfind(|execution| execution["level"] == 0).unwrap().take();
        added["requirement"] = json!(requirement);
        let id = added["id"].as_str().unwrap().to_owned();
        let answer = self.call("PUT", &path, Some(added)).await;
        assert!(matches!(answer.status, 202 | 204), "{}: {}", answer.status, answer.text());
        id
    }

    async fn id_of(&mut self, user: &str) -> String {
        let found = self.call("GET", &format!("/users?exact=true&username={user}"), None).await;
        let users: Value = serde_json::from_slice(&found.body).unwrap();
        users[0]["id"].as_str().expect("the user in the realm").to_owned()
    }

    async fn done(&mut self, method: &str, path: &str, body: Option<Value>) {
        let answer = self.call(method, path, body).await;
        assert!(matches!(answer.status, 201 | 204), "{method} {path}: {} {}", answer.status, answer.text());
    }

    async fn call(&mut self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.request(method, &format!("/admin/realms/{}{path}", self.realm), body).await
    }

    async fn request(&mut self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let send = async |client: &Client, token: &str| {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                client.host(),
                body.len(),
            );
            let mut stream = client.connect(&["http/1.1"]).await;
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            tokio::time::timeout(SLOW, read_answer(&mut stream, false)).await.expect("an answer in time")
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
    let mut page = browser.open(&path_and_query(authorize)).await;
    // From a pushed request to its login.
    while let Some(on) = page.header("location").filter(|on| on.contains(browser.host())) {
        page = browser.open(&path_and_query(on)).await;
    }
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

/// Puts `changes` over a description; objects are merged, all else is replaced.
fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (name, value) in changes {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, changes) => *into = changes,
    }
}

/// The first address of this kind in a page: `action` of its form, `src` of its frame.
pub(crate) fn attribute(page: &str, name: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!(" {name}=\""))?;
    Some(rest.split_once('"')?.0.replace("&amp;", "&"))
}

/// What to ask Keycloak for, by an address in one of its pages: with its origin, or without.
pub(crate) fn target(address: &str) -> String {
    if address.starts_with('/') { address.to_owned() } else { path_and_query(address) }
}
