//! Groups, as the provider last said who is in them.

use std::collections::BTreeMap;

use http::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::page::Page;
use crate::gateway::caller::Caller;
use crate::gateway::hosts::Origin;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::{Body, Gateway};
use crate::token::Scope;
use crate::user::UserName;

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
        let models = page.cut(all).into_iter().map(|(name, _)| model(&name, members.get(&name)));
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
        Ok(json(StatusCode::OK, &model(&name, members.get(&*name))))
    }

    /// The groups that a caller reaches by these scopes, and who is in them.
    async fn groups(
        &self,
        caller: &Caller,
        scopes: &[Scope],
    ) -> Result<BTreeMap<String, Vec<UserName>>, Refusal> {
        let range = self.range(caller).await?;
        let mut groups: BTreeMap<String, Vec<UserName>> = BTreeMap::new();
        for (name, known) in self.0.people.everybody().await? {
            for group in self.memberships(&name, &known) {
                if range.has_group(scopes, &group) {
                    groups.entry(group.path.as_ref().to_owned()).or_default().push(name.clone());
                }
            }
        }
        Ok(groups)
    }
}

/// A group, and who is in it, for whoever may see that.
fn model(name: &str, users: Option<&Vec<UserName>>) -> Value {
    let Some(users) = users else { return json!({ "kind": "group", "name": name }) };
    let users: Vec<_> = users.iter().map(UserName::as_str).collect();
    json!({ "kind": "group", "name": name, "users": users, "roles": [], "properties": {} })
}

const MAY_LIST: &[Scope] = &[Scope::ReadGroups, Scope::ListGroups, Scope::AdminUsers];
const MAY_LOOK: &[Scope] = &[Scope::ReadGroups, Scope::ReadGroupsName, Scope::AdminUsers];
const MAY_READ: &[Scope] = &[Scope::ReadGroups, Scope::AdminUsers];
