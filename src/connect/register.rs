//! Brings a realm's client to what hubgate needs, or says what that would take. Once it is so, nothing is written.

use serde_json::Value;

use super::client::{Client, Mapper, Object};
use super::keycloak::{Admin, AdminError};
use super::remark::Remark;

/// What was done, or would be.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) outcome: Outcome,
    pub(super) changes: Vec<String>,
    /// About what is the administrators' to decide.
    pub(super) remarks: Vec<Remark>,
    /// Keycloak's own name of the client, once it is there.
    pub(super) id: Option<String>,
}

/// What became of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was not there.
    Created,
    /// It was there, and lacked something.
    Changed,
    /// It was as it should be.
    Unchanged,
}

/// Registers the client, and lets the clients `callers` call its API. Without `write`, only looks.
pub(super) async fn register(
    admin: &Admin<'_>,
    client: &Client,
    callers: &[String],
    write: bool,
) -> Result<Registered, AdminError> {
    let mut work = Work { admin, write, changes: Vec::new() };
    let there = admin.find(&client.id).await?;
    let created = there.is_none();
    let there = if let Some(there) = there {
        Some(work.mend(client, there).await?)
    } else {
        work.create(client).await?
    };
    for caller in callers {
        work.mend_caller(client, caller).await?;
    }
    let changes = work.changes;
    let outcome = match (created, changes.is_empty()) {
        (true, _) => Outcome::Created,
        (false, false) => Outcome::Changed,
        (false, true) => Outcome::Unchanged,
    };
    let remarks = there.as_ref().map(|there| left_to_decide(client, there)).unwrap_or_default();
    let id = there.as_ref().and_then(|client| client.get("id")).and_then(Value::as_str).map(str::to_owned);
    Ok(Registered { outcome, changes, remarks, id })
}

/// Changes to a realm.
struct Work<'w> {
    admin: &'w Admin<'w>,
    write: bool,
    changes: Vec<String>,
}

impl Work<'_> {
    async fn create(&mut self, client: &Client) -> Result<Option<Object>, AdminError> {
        self.changes.push(format!("the client {} is new, with its mappers", client.id));
        if !self.write {
            return Ok(None);
        }
        self.admin.create(&client.representation()).await?;
        self.admin.find(&client.id).await
    }

    async fn mend(&mut self, client: &Client, mut there: Object) -> Result<Object, AdminError> {
        let protocol = there.get("protocol").and_then(Value::as_str).unwrap_or(OPENID);
        if protocol != OPENID {
            return Err(AdminError::OtherProtocol { id: client.id.clone(), protocol: protocol.to_owned() });
        }
        let id = id(&there, &client.id)?;
        let changes = client.mend(&mut there);
        if !changes.is_empty() && self.write {
            self.admin.change(&id, &there).await?;
        }
        self.changes.extend(changes);
        self.mend_mappers(&id, &there, &client.mappers(), "").await?;
        Ok(there)
    }

    async fn mend_caller(&mut self, client: &Client, caller: &str) -> Result<(), AdminError> {
        let there =
            self.admin.find(caller).await?.ok_or_else(|| AdminError::NoClient { id: caller.to_owned() })?;
        let id = id(&there, caller)?;
        self.mend_mappers(&id, &there, &client.caller_mappers(), &format!(" of the client {caller}")).await
    }

    async fn mend_mappers(
        &mut self,
        id: &str,
        there: &Object,
        mappers: &[Mapper],
        whose: &str,
    ) -> Result<(), AdminError> {
        let all = there.get("protocolMappers").and_then(Value::as_array).cloned().unwrap_or_default();
        for mapper in mappers {
            let Some(mut own) = all.iter().find(|other| mapper.is(other)).cloned() else {
                let mut new = mapper.representation();
                let name = mapper.name_beside(&all);
                self.changes.push(format!("the mapper \"{name}\"{whose} is new"));
                if let Some(place) = new.get_mut("name") {
                    *place = name.into();
                }
                if self.write {
                    self.admin.add_mapper(id, &new).await?;
                }
                continue;
            };
            if mapper.mend(&mut own) {
                let name = own.get("name").and_then(Value::as_str).unwrap_or_default();
                self.changes.push(format!("the mapper \"{name}\"{whose} is changed"));
                if self.write {
                    self.admin.change_mapper(id, &own).await?;
                }
            }
        }
        Ok(())
    }
}

/// What a client is allowed beyond what hubgate needs, or is kept from.
fn left_to_decide(wanted: &Client, client: &Object) -> Vec<Remark> {
    let is = |name: &str| client.get(name).and_then(Value::as_bool);
    let attribute = |name: &str| {
        client.get("attributes").and_then(|attributes| attributes.get(name)).and_then(Value::as_str)
    };
    let mut remarks = Vec::new();
    if is("enabled") == Some(false) {
        remarks.push(Remark::error("enabled", "the client is disabled in Keycloak", "enable it"));
    }
    if is("fullScopeAllowed") == Some(true) {
        remarks.push(Remark::note("full_scope", FULL_SCOPE, FULL_SCOPE_OFF));
    }
    if is("serviceAccountsEnabled") == Some(true) {
        remarks.push(Remark::note(
            "service_account",
            "the client has a service account, which hubgate does not use",
            "switch it off, unless something else needs it",
        ));
    }
    if attribute("dpop.bound.access.tokens") == Some("true") {
        remarks.push(Remark::error(
            "dpop",
            "the client's access tokens are bound to a key (DPoP), which hubgate does not support",
            "switch off \"Require DPoP bound tokens\" at the client",
        ));
    }
    let kind = client.get("clientAuthenticatorType").and_then(Value::as_str).unwrap_or("client-secret");
    if kind != wanted.authenticator() {
        let what = format!("the client proves itself by {kind}, but hubgate by {}", wanted.authenticator());
        let remedy = "change provider.client_authentication, or the client's Credentials in Keycloak";
        remarks.push(Remark::error("client_authentication", what, remedy));
    } else if wanted.by_key {
        let remedy = "import the certificate or public key of provider.client_key there (Keys), if that is not done yet";
        remarks.push(Remark::note("client_key", "Keycloak must know the hub's public key", remedy));
    }
    remarks
}

fn id(client: &Object, name: &str) -> Result<String, AdminError> {
    let id = client.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
    id.map(str::to_owned).ok_or_else(|| AdminError::NoClient { id: name.to_owned() })
}

const OPENID: &str = "openid-connect";
pub(super) const FULL_SCOPE: &str = "Full scope allowed is on: the hub's access tokens hold all roles of their user, also those of other clients";
pub(super) const FULL_SCOPE_OFF: &str = "switch it off (Client scopes, the dedicated scope, Scope), after assigning there the roles that your rules name";
