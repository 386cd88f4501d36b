//! The clients of its realm, by Keycloak's Admin REST API: answers as Keycloak 26.7 gives them.

use http::Method;
use http::header::LOCATION;
use serde_json::{Map, Value, json};

use super::http::{Answer, answer, json_answer};
use super::{Provider, Seen, random};

impl Provider {
    /// May do everything.
    pub const ADMIN_TOKEN: &str = "token-of-an-administrator";
    /// May look at clients, and change none.
    pub const VIEWER_TOKEN: &str = "token-of-a-viewer";
    /// May do nothing at all.
    pub const USER_TOKEN: &str = "token-of-a-user";

    /// The clients that are registered, as the administration shows them.
    pub fn clients(&self) -> Vec<Value> {
        self.state().clients.clone()
    }

    /// One of them.
    pub fn client(&self, client_id: &str) -> Value {
        let clients = self.clients();
        clients.into_iter().find(|client| client["clientId"] == client_id).unwrap()
    }

    /// Registers a client beforehand.
    pub fn add_client(&self, client: Value) {
        let client = registered(client);
        self.state().clients.push(client);
    }

    /// How often the administration was asked to change something.
    pub fn writes(&self) -> usize {
        let write = |seen: &&Seen| seen.path.contains("/admin/realms/") && seen.method != "GET";
        self.state().requests.iter().filter(write).count()
    }

    /// `path` is what follows `/admin/realms/`.
    pub(super) fn administer(&self, method: &Method, path: &str, seen: &Seen, body: &[u8]) -> Answer {
        let token = seen.authorization.as_deref().and_then(|value| value.strip_prefix("Bearer "));
        let writes = method != Method::GET;
        match token {
            Some(Self::ADMIN_TOKEN) => {}
            Some(Self::VIEWER_TOKEN) if !writes => {}
            Some(Self::VIEWER_TOKEN | Self::USER_TOKEN) => return error(403, "HTTP 403 Forbidden"),
            Some(_) | None => return error(401, "HTTP 401 Unauthorized"),
        }
        let segments: Vec<&str> = path.split('/').collect();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        match (method, segments.as_slice()) {
            (_, [realm, ..]) if *realm != "test" => error(404, "Realm not found."),
            (&Method::GET, [_, "clients"]) => {
                let mut found = self.clients();
                found.retain(|client| {
                    Some(client["clientId"].as_str().unwrap()) == seen.query_value("clientId")
                });
                json_answer(200, &Value::Array(found))
            }
            (&Method::POST, [_, "clients"]) => self.create(body),
            (_, [_, "clients", id, rest @ ..]) => {
                let at = self.state().clients.iter().position(|client| client["id"] == *id);
                let Some(at) = at else { return error(404, "Could not find client") };
                self.of_client(method, at, rest, body)
            }
            _ => error(404, "Unable to find matching target resource method"),
        }
    }

    fn create(&self, client: Value) -> Answer {
        let name = client["clientId"].as_str().unwrap().to_owned();
        if self.clients().iter().any(|other| other["clientId"] == name.as_str()) {
            return json_answer(409, &json!({"errorMessage": format!("Client {name} already exists")}));
        }
        let client = registered(client);
        let location = format!("/clients/{}", client["id"].as_str().unwrap());
        self.state().clients.push(client);
        created(&location)
    }

    fn of_client(&self, method: &Method, at: usize, rest: &[&str], body: Value) -> Answer {
        let mut state = self.state();
        let client = &mut state.clients[at];
        match (method, rest) {
            (&Method::PUT, []) => {
                merge(client, body);
                nothing()
            }
            (&Method::GET, ["client-secret"]) => {
                json_answer(200, &json!({"type": "secret", "value": client["secret"]}))
            }
            (&Method::POST, ["protocol-mappers", "models"]) => {
                let mappers = client["protocolMappers"].as_array_mut().unwrap();
                if mappers.iter().any(|other| other["name"] == body["name"]) {
                    return json_answer(
                        409,
                        &json!({"errorMessage": "Protocol mapper exists with same name"}),
                    );
                }
                let mut mapper = mapper(body);
                mapper["config"]["introspection.token.claim"] = json!("true");
                mappers.push(mapper);
                created("/protocol-mappers/models/new")
            }
            (&Method::PUT, ["protocol-mappers", "models", id]) => {
                let mappers = client["protocolMappers"].as_array_mut().unwrap();
                match mappers.iter_mut().find(|mapper| mapper["id"] == *id) {
                    Some(place) => *place = body,
                    None => return error(404, "Model not found"),
                }
                nothing()
            }
            _ => error(404, "Unable to find matching target resource method"),
        }
    }
}

/// What Keycloak makes of a client that is registered.
fn registered(client: Value) -> Value {
    let mut whole = json!({
        "id": random(), "surrogateAuthRequired": false, "enabled": true, "alwaysDisplayInConsole": false,
        "clientAuthenticatorType": "client-secret", "redirectUris": [], "webOrigins": [], "notBefore": 0,
        "bearerOnly": false, "consentRequired": false, "standardFlowEnabled": true, "implicitFlowEnabled": false,
        "directAccessGrantsEnabled": false, "serviceAccountsEnabled": false, "publicClient": false,
        "frontchannelLogout": false, "protocol": "openid-connect",
        "attributes": {"realm_client": "false", "client.secret.creation.time": "1700000000"},
        "authenticationFlowBindingOverrides": {}, "fullScopeAllowed": true, "nodeReRegistrationTimeout": -1,
        "protocolMappers": [], "defaultClientScopes": ["web-origins", "acr", "profile", "roles", "basic", "email"],
        "optionalClientScopes": ["address", "phone", "organization", "offline_access", "microprofile-jwt"],
        "access": {"view": true, "configure": true, "manage": true},
    });
    merge(&mut whole, client);
    whole
}

/// Attributes are merged, mappers replaced where they are given; a confidential client has a secret.
fn merge(client: &mut Value, body: Value) {
    for (name, value) in body.as_object().unwrap() {
        match name.as_str() {
            "attributes" => {
                for (name, value) in value.as_object().unwrap() {
                    client["attributes"][name] = value.clone();
                }
            }
            "protocolMappers" => {
                client["protocolMappers"] = value.as_array().unwrap().iter().cloned().map(mapper).collect();
            }
            _ => client[name] = value.clone(),
        }
    }
    if client["publicClient"] == json!(true) {
        client.as_object_mut().unwrap().remove("secret");
    } else if !client["secret"].is_string() {
        client["secret"] = json!(random());
    }
}

fn mapper(mut mapper: Value) -> Value {
    mapper["id"] = json!(random());
    mapper["consentRequired"] = json!(false);
    if !mapper["config"].is_object() {
        mapper["config"] = Value::Object(Map::new());
    }
    mapper
}

fn created(path: &str) -> Answer {
    let mut response = answer(201, "application/json", String::new());
    response.headers_mut().insert(LOCATION, format!("http://keycloak.example/admin{path}").parse().unwrap());
    response
}

fn nothing() -> Answer {
    answer(204, "application/json", String::new())
}

fn error(status: u16, text: &str) -> Answer {
    json_answer(status, &json!({"error": text}))
}
