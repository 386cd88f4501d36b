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
        self.allow_hub(caller, MAY_READ, request)?;
        let page = Page::of(request)?;
        let all: Vec<_> = self.groups().await?.into_iter().collect();
        let total = all.len();
        let models = page.cut(all).into_iter().map(|(name, users)| model(&name, &users));
        Ok(page.answer(models.collect(), total, request.uri(), at))
    }

    /// `/groups/<name>`.
    pub(super) async fn api_group<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        segment: &str,
    ) -> Result<Response<Body>, Refusal> {
        self.allow_hub(caller, MAY_READ, request)?;
        let name = percent_decode_str(segment).decode_utf8().map_err(|_no_text| Refusal::NoSuch("group"))?;
        let groups = self.groups().await?;
        let users = groups.get(&*name).ok_or(Refusal::NoSuch("group"))?;
        Ok(json(StatusCode::OK, &model(&name, users)))
    }

    async fn groups(&self) -> Result<BTreeMap<String, Vec<UserName>>, Refusal> {
        let mut groups: BTreeMap<String, Vec<UserName>> = BTreeMap::new();
        for (name, known) in self.0.people.everybody().await? {
            for group in self.groups_of(&known) {
                groups.entry(group).or_default().push(name.clone());
            }
        }
        Ok(groups)
    }
}

fn model(name: &str, users: &[UserName]) -> Value {
    let users: Vec<_> = users.iter().map(UserName::as_str).collect();
    json!({ "kind": "group", "name": name, "users": users, "roles": [], "properties": {} })
}

const MAY_READ: &[Scope] = &[Scope::ReadGroups, Scope::AdminUsers];
