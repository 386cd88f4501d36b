//! The client that hubgate is at the provider: its settings and mappers, as Keycloak writes them, and what a client that
//! is there already lacks. Pure.

use serde_json::{Map, Value, json};
use url::Url;

use super::hub::at;

/// What hubgate needs to be at the provider.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) id: String,
    /// Of the hub, for people of this provider.
    pub(super) origin: Url,
    /// Where browsers come back after signing in.
    pub(super) callback: Url,
    pub(super) groups_claim: String,
    /// It proves itself by a key of its own, not by a secret.
    pub(super) by_key: bool,
}

/// One claim that a client's tokens get.
#[derive(Debug, Clone)]
pub(super) struct Mapper {
    /// Its name, where it is made.
    pub(super) name: String,
    /// What Keycloak's console calls this kind.
    pub(super) title: &'static str,
    kind: &'static str,
    /// The setting by which one that is there already is known.
    key: (&'static str, String),
    /// What it must say.
    needs: Vec<(&'static str, &'static str)>,
    /// What it says besides, where it is made.
    also: Vec<(&'static str, &'static str)>,
}

/// A client or a mapper as Keycloak writes it.
pub(super) type Object = Map<String, Value>;

impl Client {
    /// Where browsers come back after signing out.
    pub(super) fn after_logout(&self) -> String {
        at(&self.origin, "/hub/logout").into()
    }

    /// Where the provider says that a session has ended.
    pub(super) fn backchannel_logout(&self) -> String {
        at(&self.origin, "/hub/backchannel-logout").into()
    }

    /// The same by way of the browser.
    pub(super) fn frontchannel_logout(&self) -> String {
        at(&self.origin, "/hub/frontchannel-logout").into()
    }

    /// The client, to be made.
    pub(super) fn representation(&self) -> Object {
        let attributes = self.attributes().into_iter().chain([(AFTER_LOGOUT, self.after_logout())]);
        let attributes: Object = attributes.map(|(name, value)| (name.to_owned(), value.into())).collect();
        let mappers: Vec<Value> = self.mappers().iter().map(Mapper::representation).collect();
        let switches = SWITCHES.into_iter().map(|(name, value)| (name, value.into()));
        let client = [
            ("clientId", self.id.clone().into()),
            ("name", "hubgate".into()),
            ("protocol", "openid-connect".into()),
            ("enabled", true.into()),
            ("baseUrl", self.origin.as_str().into()),
            ("redirectUris", json!([self.callback.as_str()])),
            ("webOrigins", json!([])),
            ("clientAuthenticatorType", self.authenticator().into()),
            ("serviceAccountsEnabled", false.into()),
            ("attributes", attributes.into()),
            ("protocolMappers", mappers.into()),
        ];
        client.into_iter().chain(switches).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// What Keycloak calls the way that it proves itself.
    pub(super) fn authenticator(&self) -> &'static str {
        if self.by_key { "client-jwt" } else { "client-secret" }
    }

    fn attributes(&self) -> [(&'static str, String); 5] {
        [
            ("pkce.code.challenge.method", "S256".to_owned()),
            ("backchannel.logout.url", self.backchannel_logout()),
            ("backchannel.logout.session.required", "true".to_owned()),
            ("frontchannel.logout.url", self.frontchannel_logout()),
            ("frontchannel.logout.session.required", "true".to_owned()),
        ]
    }

    /// Groups, and roles. Roles go into userinfo, not into the ID token: the browser carries that one in a URL when it
    /// signs out.
    pub(super) fn mappers(&self) -> Vec<Mapper> {
        let person = vec![("userinfo.token.claim", "true"), ("multivalued", "true")];
        let roles = |name: &str, title, kind, claim: &str| Mapper {
            name: name.to_owned(),
            title,
            kind,
            key: (CLAIM, claim.to_owned()),
            needs: person.clone(),
            also: vec![
                ("id.token.claim", "false"),
                ("access.token.claim", "false"),
                ("jsonType.label", "String"),
            ],
        };
        vec![
            Mapper {
                name: "groups".to_owned(),
                title: "Group Membership",
                kind: "oidc-group-membership-mapper",
                key: (CLAIM, self.groups_claim.clone()),
                needs: vec![
                    ("full.path", "true"),
                    ("id.token.claim", "true"),
                    ("userinfo.token.claim", "true"),
                ],
                also: vec![("access.token.claim", "false")],
            },
            roles("realm roles", "User Realm Role", "oidc-usermodel-realm-role-mapper", "realm_access.roles"),
            roles(
                "client roles",
                "User Client Role",
                "oidc-usermodel-client-role-mapper",
                "resource_access.${client_id}.roles",
            ),
        ]
    }

    /// What a client needs whose access tokens shall open the hub's API: this hub among its audiences, and groups in
    /// the access token. Roles are there by Keycloak's own scope.
    pub(super) fn caller_mappers(&self) -> Vec<Mapper> {
        vec![
            Mapper {
                name: format!("audience {}", self.id),
                title: "Audience",
                kind: "oidc-audience-mapper",
                key: ("included.client.audience", self.id.clone()),
                needs: vec![("access.token.claim", "true")],
                also: vec![("id.token.claim", "false")],
            },
            Mapper {
                name: "groups".to_owned(),
                title: "Group Membership",
                kind: "oidc-group-membership-mapper",
                key: (CLAIM, self.groups_claim.clone()),
                needs: vec![("full.path", "true"), ("access.token.claim", "true")],
                also: vec![("id.token.claim", "false"), ("userinfo.token.claim", "false")],
            },
        ]
    }

    /// Mends a client that is there, and says what was changed.
    pub(super) fn mend(&self, client: &mut Object) -> Vec<String> {
        let mut changes = Vec::new();
        for (name, value) in SWITCHES {
            if client.get(name).and_then(Value::as_bool) != Some(value) {
                client.insert(name.to_owned(), Value::Bool(value));
                changes.push(format!("{name} is now {value}"));
            }
        }
        self.mend_redirects(client, &mut changes);
        let root = client.get("rootUrl").and_then(Value::as_str).unwrap_or_default().to_owned();
        let attributes = client.entry("attributes").or_insert_with(|| json!({}));
        if !attributes.is_object() {
            *attributes = json!({});
        }
        let Value::Object(attributes) = attributes else { return changes };
        for (name, value) in self.attributes() {
            if attributes.get(name).and_then(Value::as_str) != Some(&value) {
                changes.push(format!("{name} is now {value}"));
                attributes.insert(name.to_owned(), value.into());
            }
        }
        // hubgate refuses answers that do not say whose they are, where the provider says that they do.
        if attributes.get(NO_ISS).and_then(Value::as_str) == Some("true") {
            attributes.insert(NO_ISS.to_owned(), "false".into());
            changes.push(format!("{NO_ISS} is now false"));
        }
        self.mend_after_logout(attributes, &root, &mut changes);
        changes
    }

    /// Others may share the client, so their addresses stay; but a pattern that matches the hub's own would let any
    /// page of the hub take codes, also a user's.
    fn mend_redirects(&self, client: &mut Object, changes: &mut Vec<String>) {
        let there = client.get("redirectUris").and_then(Value::as_array).cloned().unwrap_or_default();
        let there: Vec<String> = there.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let root = client.get("rootUrl").and_then(Value::as_str).unwrap_or_default();
        let kept = exact(&there, self.callback.as_str(), root, ("redirectUris", &mut *changes));
        if kept != there {
            client.insert("redirectUris".to_owned(), json!(kept));
        }
    }

    fn mend_after_logout(&self, attributes: &mut Object, root: &str, changes: &mut Vec<String>) {
        let text = attributes.get(AFTER_LOGOUT).and_then(Value::as_str).unwrap_or_default();
        let there: Vec<String> =
            text.split(SEPARATOR).filter(|uri| !uri.is_empty()).map(str::to_owned).collect();
        let kept = exact(&there, &self.after_logout(), root, (AFTER_LOGOUT, changes));
        if kept != there {
            attributes.insert(AFTER_LOGOUT.to_owned(), kept.join(SEPARATOR).into());
        }
    }
}

/// The addresses with `ours`, and without patterns that match it. Keycloak reads those that begin with a slash below the
/// client's `root`.
fn exact(there: &[String], ours: &str, root: &str, (name, changes): (&str, &mut Vec<String>)) -> Vec<String> {
    let matches = |uri: &&String| {
        let Some(start) = uri.strip_suffix('*') else { return false };
        let below = if start.starts_with('/') { root.trim_end_matches('/') } else { "" };
        ours.starts_with(&format!("{below}{start}"))
    };
    let (patterns, mut kept): (Vec<&String>, Vec<&String>) = there.iter().partition(matches);
    changes.extend(patterns.iter().map(|uri| format!("{name} no longer has {uri}")));
    let ours = ours.to_owned();
    if !kept.contains(&&ours) {
        changes.push(format!("{name} now has {ours}"));
        kept.push(&ours);
    }
    kept.into_iter().cloned().collect()
}

impl Mapper {
    /// Its settings, in the words of Keycloak's console.
    pub(super) fn words(&self) -> String {
        let title = |name: &str| WORDS.iter().find(|(known, _)| *known == name).map(|(_, title)| *title);
        let switch = |value: &str| if value == "true" { "on" } else { "off" }.to_owned();
        let key = title(self.key.0).map(|title| format!("{title} {}", self.key.1));
        let others = self
            .needs
            .iter()
            .chain(&self.also)
            .filter_map(|(name, value)| Some(format!("{} {}", title(name)?, switch(value))));
        key.into_iter().chain(others).collect::<Vec<_>>().join(", ")
    }

    /// The mapper, to be made.
    pub(super) fn representation(&self) -> Value {
        let mut config = Map::new();
        for (name, value) in self.needs.iter().chain(&self.also) {
            config.insert((*name).to_owned(), (*value).into());
        }
        config.insert(self.key.0.to_owned(), self.key.1.clone().into());
        json!({
            "name": self.name, "protocol": "openid-connect", "protocolMapper": self.kind, "config": config,
        })
    }

    /// Whether this one of a client's mappers has the same purpose.
    pub(super) fn is(&self, mapper: &Value) -> bool {
        let config = mapper.get("config").and_then(|config| config.get(self.key.0)).and_then(Value::as_str);
        mapper.get("protocolMapper").and_then(Value::as_str) == Some(self.kind) && config == Some(&self.key.1)
    }

    /// Mends one that is there, and says whether it had to be.
    pub(super) fn mend(&self, mapper: &mut Value) -> bool {
        let Some(Value::Object(config)) = mapper.get_mut("config") else { return false };
        let mut changed = false;
        for (name, value) in &self.needs {
            if config.get(*name).and_then(Value::as_str) != Some(value) {
                config.insert((*name).to_owned(), (*value).into());
                changed = true;
            }
        }
        changed
    }

    /// A name that none of these mappers has.
    pub(super) fn name_beside(&self, others: &[Value]) -> String {
        let taken =
            |name: &str| others.iter().any(|other| other.get("name").and_then(Value::as_str) == Some(name));
        if taken(&self.name) { format!("{} (hubgate)", self.name) } else { self.name.clone() }
    }
}

/// A confidential client of the standard flow, which alone is used.
const SWITCHES: [(&str, bool); 6] = [
    ("publicClient", false),
    ("bearerOnly", false),
    ("standardFlowEnabled", true),
    ("implicitFlowEnabled", false),
    ("directAccessGrantsEnabled", false),
    // With it, browsers carry the news of a logout, as far as they let it through; without it, Keycloak tells us itself.
    ("frontchannelLogout", false),
];
const AFTER_LOGOUT: &str = "post.logout.redirect.uris";
/// Between the URIs of one attribute.
const SEPARATOR: &str = "##";
/// *Exclude Issuer From Authentication Response*.
const NO_ISS: &str = "exclude.issuer.from.auth.response";
const CLAIM: &str = "claim.name";
/// What the console calls a mapper's settings.
const WORDS: [(&str, &str); 7] = [
    (CLAIM, "Token Claim Name"),
    ("included.client.audience", "Included Client Audience"),
    ("full.path", "Full group path"),
    ("multivalued", "Multivalued"),
    ("id.token.claim", "Add to ID token"),
    ("access.token.claim", "Add to access token"),
    ("userinfo.token.claim", "Add to userinfo"),
];
