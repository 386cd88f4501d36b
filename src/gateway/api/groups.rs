//! Groups: those that the provider tells of, as it last said who is in them, and the hub's own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::group_path;
use super::page::Page;
use crate::gateway::caller::Caller;
use crate::gateway::hosts::Origin;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::{Body, Gateway};
use crate::groups::OwnGroup;
use crate::token::{Reach, Scope, Target};
use crate::user::{Group, UserName};

/// A group that a caller reaches.
#[derive(Default)]
struct Reached {
    users: BTreeSet<UserName>,
    own: Option<Arc<OwnGroup>>,
    /// Whether they may see who is in it.
    read: bool,
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
        let total = all.len();
        let models = page.cut(all).into_iter().map(|(name, group)| described(&name, &group));
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
        let name = group_path(segment)?;
        let mut groups = self.groups(caller, MAY_LOOK).await?;
        let group = groups.remove(&*name).ok_or(Refusal::NoSuch("group"))?;
        Ok(json(StatusCode::OK, &described(&name, &group)))
    }

    /// The groups that a caller reaches by these scopes, and who is in them.
    async fn groups(
        &self,
        caller: &Caller,
        scopes: &[Scope],
    ) -> Result<BTreeMap<Arc<str>, Reached>, Refusal> {
        let mut told = BTreeMap::<Group, Vec<UserName>>::new();
        for (name, groups) in self.told_of_everybody().await? {
            for group in groups.iter() {
                told.entry(group.clone()).or_default().push(name.clone());
            }
        }
        let has =
            |scopes: &[Scope], group: &Group| caller.reach(scopes, &Target::Group(group)) == Reach::Reaches;
        let mut reached = BTreeMap::<Arc<str>, Reached>::new();
        for (group, users) in told.into_iter().filter(|(group, _)| has(scopes, group)) {
            let read = has(MAY_READ, &group);
            let one = reached.entry(group.path).or_default();
            one.read |= read;
            // Of one path, whoever vouches for the caller has their own.
            one.users.extend(users.into_iter().filter(|_user| read));
        }
        for own in self.0.groups.all() {
            let group = Group::own(own.name.as_str());
            if has(scopes, &group) {
                let read = has(MAY_READ, &group);
                reached.insert(group.path, Reached { users: BTreeSet::new(), own: Some(own), read });
            }
        }
        Ok(reached)
    }
}

/// A group, and who is in it, for whoever may see that.
fn described(name: &str, group: &Reached) -> Value {
    match &group.own {
        _ if !group.read => json!({ "kind": "group", "name": name }),
        Some(own) => model(name, &own.users, &own.properties),
        None => model(name, &group.users, &Map::new()),
    }
}

/// A group as JupyterHub describes it.
pub(super) fn model(name: &str, users: &BTreeSet<UserName>, properties: &Map<String, Value>) -> Value {
    let users: Vec<_> = users.iter().map(UserName::as_str).collect();
    json!({ "kind": "group", "name": name, "users": users, "roles": [], "properties": properties })
}

const MAY_LIST: &[Scope] = &[Scope::ReadGroups, Scope::ListGroups, Scope::AdminUsers];
const MAY_LOOK: &[Scope] = &[Scope::ReadGroups, Scope::ReadGroupsName, Scope::AdminUsers];
const MAY_READ: &[Scope] = &[Scope::ReadGroups, Scope::AdminUsers];
