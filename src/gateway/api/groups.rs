//! Groups: those that the provider tells of, as it last said who is in them, and the hub's own.

use std::collections::{BTreeMap, BTreeSet};

use http::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::page::Page;
use crate::gateway::caller::Caller;
use crate::gateway::hosts::Origin;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::{Body, Gateway};
use crate::share::With;
use crate::token::Scope;
use crate::user::{Group, UserName};

/// A group as it is described.
#[derive(Debug, Default)]
struct Described {
    users: BTreeSet<UserName>,
    properties: Map<String, Value>,
}

impl Gateway {
    /// `/groups`.
    pub(super) async fn api_groups<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        at: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        self.allow_hub(caller, MAY_LIST, request)?;
        let page = Page::of(request)?;
        let all: Vec<_> = self.groups(caller, MAY_LIST).await?.into_iter().collect();
        let members = self.groups(caller, MAY_READ).await?;
        let total = all.len();
        let models = page.cut(all).into_iter().map(|(name, _)| described(&name, members.get(&name)));
        Ok(page.answer(models.collect(), total, request.uri(), at))
    }

    /// `/groups/<name>`.
    pub(super) async fn api_group<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        segment: &str,
    ) -> Result<Response<Body>, Refusal> {
        self.allow_hub(caller, MAY_LOOK, request)?;
        let name = percent_decode_str(segment).decode_utf8().map_err(|_no_text| Refusal::NoSuch("group"))?;
        if !self.groups(caller, MAY_LOOK).await?.contains_key(&*name) {
            return Err(Refusal::NoSuch("group"));
        }
        let members = self.groups(caller, MAY_READ).await?;
        Ok(json(StatusCode::OK, &described(&name, members.get(&*name))))
    }

    /// The groups that a caller reaches by these scopes, and who is in them.
    async fn groups(
        &self,
        caller: &Caller,
        scopes: &[Scope],
    ) -> Result<BTreeMap<String, Described>, Refusal> {
        let range = self.range(caller).await?;
        let (mut told, mut reached) = (BTreeSet::new(), BTreeMap::<String, Described>::new());
        for (name, known) in self.0.people.everybody().await? {
            for group in self.told_groups(&known) {
                if range.has_group(scopes, &group) {
                    reached.entry(group.path.to_string()).or_default().users.insert(name.clone());
                }
                told.insert(group.path);
            }
        }
        for hidden in self.0.groups.hide_only(|name| told.contains(name)) {
            self.0.shares.close(&With::Group(Group::own(hidden.as_str())));
        }
        for group in self.0.groups.all() {
            if range.has_group(scopes, &Group::own(group.name.as_str())) {
                let (users, properties) = (group.users.clone(), group.properties.clone());
                reached.insert(group.name.to_string(), Described { users, properties });
            }
        }
        Ok(reached)
    }
}

/// A group, and who is in it, for whoever may see that.
fn described(name: &str, group: Option<&Described>) -> Value {
    let bare = || json!({ "kind": "group", "name": name });
    group.map_or_else(bare, |group| model(name, &group.users, &group.properties))
}

/// A group as JupyterHub describes it.
pub(super) fn model(name: &str, users: &BTreeSet<UserName>, properties: &Map<String, Value>) -> Value {
    let users: Vec<_> = users.iter().map(UserName::as_str).collect();
    json!({ "kind": "group", "name": name, "users": users, "roles": [], "properties": properties })
}

const MAY_LIST: &[Scope] = &[Scope::ReadGroups, Scope::ListGroups, Scope::AdminUsers];
const MAY_LOOK: &[Scope] = &[Scope::ReadGroups, Scope::ReadGroupsName, Scope::AdminUsers];
const MAY_READ: &[Scope] = &[Scope::ReadGroups, Scope::AdminUsers];
