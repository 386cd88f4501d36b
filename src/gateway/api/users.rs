//! Who calls, and who there is.

use std::collections::{BTreeMap, HashSet};

use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use super::access::LOOK;
use super::model::{Manner, Person, is_active};
use super::page::Page;
use crate::clock::Timestamp;
use crate::gateway::caller::Caller;
use crate::gateway::form::Form;
use crate::gateway::hosts::Origin;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::{Body, Gateway};
use crate::token::Scope;
use crate::user::UserName;
use crate::workspace::State;

/// Which users are asked for, by what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    /// With a server that runs, starts or stops.
    Active,
    /// With one that answers.
    Ready,
    /// Without any.
    Inactive,
}

/// In which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// As they came here.
    Id,
    Name,
    LastActivity,
}

impl Gateway {
    /// `/user`: who calls. Everybody who is known may ask that much, and their groups.
    pub(super) async fn api_own(&self, caller: &Caller, at: &Origin) -> Result<Response<Body>, Refusal> {
        let mut answer = json!({
            "scopes": caller.scopes().expanded(caller.name()),
            "token_id": match caller {
                Caller::Token(token) => Some(token.id.to_string()),
                Caller::Session(_) | Caller::Bearer(_) => None,
            },
            "session_id": null,
        });
        let range = self.range_of(caller, caller.name()).await?;
        let manner = Manner { range: &range, identity: true, stopped: false, at };
        super::merge(&mut answer, self.own_model(caller, manner).await?);
        Ok(json(StatusCode::OK, &answer))
    }

    /// `/users/<name>`.
    pub(super) async fn api_user_of<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        at: &Origin,
        name: &UserName,
    ) -> Result<Response<Body>, Refusal> {
        let range = self.allow(caller, (name, None), &LOOK, request).await?;
        let stopped = wants_stopped(request);
        if caller.name() == name {
            let manner = Manner { range: &range, identity: false, stopped, at };
            return Ok(json(StatusCode::OK, &self.own_model(caller, manner).await?));
        }
        let created = self.created(name).await?;
        let person = self.recalled(name.clone(), created).await?;
        let last = self.activity(Some(name)).get(name).copied();
        Ok(json(
            StatusCode::OK,
            &self.user_model(&person, last, Manner { range: &range, identity: false, stopped, at }),
        ))
    }

    /// When somebody came here first, which is not known of whoever only has a server. Nobody: there is no such user.
    pub(super) async fn created(&self, name: &UserName) -> Result<Option<Timestamp>, Refusal> {
        let created = self.0.people.since(name).await?;
        let runs = || self.0.workspaces.of(name).iter().any(|id| self.0.workspaces.state(id).is_some());
        if created.is_none() && !runs() { Err(Refusal::NoSuch("user")) } else { Ok(created) }
    }

    /// Whether there is somebody of this name: whoever asks for what is their own is there.
    pub(super) async fn check_known(&self, caller: &Caller, name: &UserName) -> Result<(), Refusal> {
        if caller.name() == name { Ok(()) } else { self.created(name).await.map(drop) }
    }

    async fn own_model(&self, caller: &Caller, manner: Manner<'_>) -> Result<Value, Refusal> {
        let name = caller.name();
        let groups = self.group_names(name, self.0.people.recall(name).await?.as_ref());
        let created = self.0.people.since(name).await?;
        let person = Person { name: name.clone(), created, user: Some(caller.user()), groups };
        let last = self.activity(Some(name)).get(name).copied();
        Ok(self.user_model(&person, last, manner))
    }

    /// `/users`: everybody who has a name here, or a server.
    pub(super) async fn api_users<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        at: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        self.allow_hub(caller, LIST, request)?;
        let page = Page::of(request)?;
        let query = Form::of_query(request.uri());
        let wanted = wanted(query.at_most_one("state")?)?;
        let (order, downwards) = order(query.at_most_one("sort")?)?;
        let filter = query.at_most_one("name_filter")?.unwrap_or_default().to_lowercase();
        let activity = self.activity(None);
        let mut all: Vec<_> = self.everybody().await?.into_iter().collect();
        let (running, range) = (self.running(), self.range(caller).await?);
        let asked = |name: &UserName| name.as_str().contains(&filter) && running.has(name, wanted);
        all.retain(|(name, _)| range.has(LIST, name) && asked(name));
        match order {
            Order::Name => {}
            Order::Id => all.sort_by_key(|(_, created)| created.unwrap_or(Timestamp::MAX)),
            Order::LastActivity => all.sort_by_key(|(name, _)| activity.get(name).copied()),
        }
        if downwards {
            all.reverse();
        }
        let total = all.len();
        let manner = Manner { range: &range, identity: false, stopped: wants_stopped(request), at };
        let mut items = Vec::new();
        for (name, created) in page.cut(all) {
            let person = self.recalled(name, created).await?;
            items.push(self.user_model(&person, activity.get(&person.name).copied(), manner));
        }
        Ok(page.answer(items.into(), total, request.uri(), at))
    }

    /// Everybody who has a name, with their first login, whoever is expected, and whoever only has a server.
    pub(super) async fn everybody(&self) -> Result<BTreeMap<UserName, Option<Timestamp>>, Refusal> {
        let people = self.0.people.all().await?;
        let mut all: BTreeMap<_, _> = people.into_iter().map(|row| (row.name, Some(row.created))).collect();
        for (name, since) in self.0.people.expected().await? {
            all.entry(name).or_insert(Some(since));
        }
        for (id, _) in self.0.workspaces.all() {
            all.entry(id.user).or_default();
        }
        Ok(all)
    }

    fn running(&self) -> Running {
        let mut running = Running::default();
        for (id, state) in self.0.workspaces.all() {
            if matches!(state, State::Ready(_)) {
                running.ready.insert(id.user.clone());
            }
            if is_active(Some(&state)) {
                running.active.insert(id.user);
            }
        }
        running
    }
}

/// Who has servers.
#[derive(Default)]
struct Running {
    active: HashSet<UserName>,
    ready: HashSet<UserName>,
}

impl Running {
    fn has(&self, name: &UserName, wanted: Wanted) -> bool {
        match wanted {
            Wanted::All => true,
            Wanted::Active => self.active.contains(name),
            Wanted::Ready => self.ready.contains(name),
            Wanted::Inactive => !self.active.contains(name),
        }
    }
}

fn wanted(state: Option<&str>) -> Result<Wanted, Refusal> {
    match state.unwrap_or_default() {
        "" => Ok(Wanted::All),
        "active" => Ok(Wanted::Active),
        "ready" => Ok(Wanted::Ready),
        "inactive" => Ok(Wanted::Inactive),
        _ => Err(Refusal::BadRequest("state must be active, ready or inactive")),
    }
}

/// The order, and whether it is turned round.
fn order(sort: Option<&str>) -> Result<(Order, bool), Refusal> {
    let sort = sort.unwrap_or("id");
    let (name, downwards) = sort.strip_prefix('-').map_or((sort, false), |name| (name, true));
    let order = match name {
        "id" => Order::Id,
        "name" => Order::Name,
        "last_activity" => Order::LastActivity,
        _ => return Err(Refusal::BadRequest("sort must be id, name or last_activity")),
    };
    Ok((order, downwards))
}

fn wants_stopped<B>(request: &Request<B>) -> bool {
    let query = Form::of_query(request.uri());
    query.one("include_stopped_servers").is_some_and(|text| !matches!(&*text.to_lowercase(), "0" | "false"))
}

const LIST: &[Scope] = &[Scope::ListUsers];
