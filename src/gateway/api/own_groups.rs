//! Groups of the hub's own: made, filled, emptied and ended, as JupyterHub does it. Those that the provider tells of are
//! changed there.

use std::collections::BTreeSet;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Value};
use tracing::info;

use super::groups::model;
use super::{body, problem};
use crate::gateway::caller::Caller;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::{Body, Gateway, empty, form};
use crate::groups::{GroupError, GroupName, Groups, OwnGroup};
use crate::share::With;
use crate::token::{Reach, Scope, Target};
use crate::user::{Group, UserName};

/// What is said of a group that is to be made.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Of several.
    #[serde(default)]
    groups: Vec<String>,
    /// It stands in the address.
    #[serde(default, rename = "name")]
    _name: Option<String>,
    /// Nobody has any.
    #[serde(default, rename = "roles")]
    _roles: Vec<String>,
    users: Option<Vec<String>>,
}

/// An answer that says what is wrong, where something is.
type Checked<T> = Result<T, Response<Body>>;

impl Gateway {
    /// `POST /groups`: makes several at once, all of them or none.
    pub(super) async fn api_make_groups(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
    ) -> Result<Response<Body>, Refusal> {
        self.allow_hub(caller, MAKE, &request)?;
        let asked: Asked = body(request).await?;
        if asked.groups.is_empty() {
            return Ok(wrong("Must specify at least one group to create"));
        }
        let Ok(names) = asked.groups.iter().map(|name| GroupName::parse(name)).collect::<Result<Vec<_>, _>>()
        else {
            return Ok(wrong("Invalid group name"));
        };
        for name in &names {
            Self::reach_group(caller, name, MAKE)?;
        }
        self.make_groups(caller, &names, asked.users.unwrap_or_default(), Into::into).await
    }

    /// `/groups/<name>`, to make or end it.
    pub(super) async fn api_change_group(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        segment: &str,
    ) -> Result<Response<Body>, Refusal> {
        let name = group_name(segment)?;
        if request.method() == Method::DELETE {
            self.allow_change(caller, &name, END, &request)?;
            return self.end_group(caller, &name).await;
        }
        self.allow_change(caller, &name, MAKE, &request)?;
        let asked: Asked = body(request).await?;
        let first = |made: Vec<Value>| made.into_iter().next().unwrap_or_default();
        self.make_groups(caller, &[name], asked.users.unwrap_or_default(), first).await
    }

    async fn make_groups(
        &self,
        caller: &Caller,
        names: &[GroupName],
        users: Vec<String>,
        answer: impl FnOnce(Vec<Value>) -> Value,
    ) -> Result<Response<Body>, Refusal> {
        for name in names {
            // There is one already, and its name is the provider's.
            if self.is_told(name).await? {
                return Ok(wrong(MANAGED));
            }
        }
        let users = match self.named_users(&users).await? {
            Ok(users) => users,
            Err(wrong) => return Ok(wrong),
        };
        match self.0.groups.make(names, &users).await {
            Ok(made) => {
                for group in &made {
                    told(caller, &group.name, "made");
                }
                let made = made.iter().map(|group| own_model(group)).collect();
                Ok(json(StatusCode::CREATED, &answer(made)))
            }
            Err(error) => refused(error),
        }
    }

    async fn end_group(&self, caller: &Caller, name: &GroupName) -> Result<Response<Body>, Refusal> {
        if !self.0.groups.end(name).await? {
            let managed = self.is_told(name).await?;
            return if managed { Ok(wrong(MANAGED)) } else { Ok(none(name)) };
        }
        told(caller, name, "ended");
        self.0.shares.end_with(&With::Group(Group::own(name.as_str()))).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// `/groups/<name>/users`: adds users, or takes them out.
    pub(super) async fn api_group_users(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        segment: &str,
    ) -> Result<Response<Body>, Refusal> {
        let name = group_name(segment)?;
        self.allow_change(caller, &name, FILL, &request)?;
        if let Some(refused) = self.not_ours(&name).await? {
            return Ok(refused);
        }
        let adds = request.method() == Method::POST;
        let asked: Asked = body(request).await?;
        let Some(users) = asked.users else {
            return Ok(wrong(if adds {
                "Must specify users to add"
            } else {
                "Must specify users to delete"
            }));
        };
        let users = match self.named_users(&users).await? {
            Ok(users) => users,
            Err(wrong) => return Ok(wrong),
        };
        let changed = if adds {
            self.0.groups.add(&name, users).await
        } else {
            let changed = self.0.groups.remove(&name, &users).await;
            self.0.shares.close(&With::Group(Group::own(name.as_str())));
            changed
        };
        match changed {
            Ok(group) => {
                told(caller, &name, if adds { "filled" } else { "emptied" });
                Ok(json(StatusCode::OK, &own_model(&group)))
            }
            Err(error) => refused(error),
        }
    }

    /// `/groups/<name>/properties`: notes others.
    pub(super) async fn api_group_properties(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        segment: &str,
    ) -> Result<Response<Body>, Refusal> {
        let name = group_name(segment)?;
        self.allow_change(caller, &name, FILL, &request)?;
        if let Some(refused) = self.not_ours(&name).await? {
            return Ok(refused);
        }
        let bytes = form::read(request).await?;
        let Ok(properties) = serde_json::from_slice::<Map<String, Value>>(&bytes) else {
            return Ok(wrong("Must specify properties"));
        };
        match self.0.groups.note(&name, properties).await {
            Ok(group) => Ok(json(StatusCode::OK, &own_model(&group))),
            Err(error) => refused(error),
        }
    }

    fn allow_change<B>(
        &self,
        caller: &Caller,
        name: &GroupName,
        scopes: &[Scope],
        request: &Request<B>,
    ) -> Result<(), Refusal> {
        let reach = caller.reach(scopes, &Target::Group(&Group::own(name.as_str())));
        self.allow_group(caller, reach, scopes, request)
    }

    /// Of one of several, once the request as a whole is allowed: a scope may be for some groups.
    fn reach_group(caller: &Caller, name: &GroupName, scopes: &[Scope]) -> Result<(), Refusal> {
        match caller.reach(scopes, &Target::Group(&Group::own(name.as_str()))) {
            Reach::Reaches => Ok(()),
            Reach::Elsewhere => Err(Refusal::NoSuch("group")),
            Reach::Lacks => Err(Self::lacks(caller, scopes)),
        }
    }

    /// Why a group cannot be changed: it is the provider's, or there is none.
    async fn not_ours(&self, name: &GroupName) -> Result<Option<Response<Body>>, Refusal> {
        if self.is_told(name).await? {
            return Ok(Some(wrong(MANAGED)));
        }
        Ok(self.0.groups.find(name).is_none().then(|| none(name)))
    }

    /// Whether a provider tells of a group of this name.
    async fn is_told(&self, name: &GroupName) -> Result<bool, Refusal> {
        let everybody = self.0.people.everybody().await?;
        Ok(everybody.iter().any(|(_, known)| self.groups_of(known).iter().any(|path| path == name.as_str())))
    }

    /// Users who are known here, or expected.
    async fn named_users(&self, names: &[String]) -> Result<Checked<BTreeSet<UserName>>, Refusal> {
        if names.len() > Groups::MOST_USERS {
            return Ok(Err(wrong("Too many users")));
        }
        let known = self.everybody().await?;
        let mut users = BTreeSet::new();
        for text in names {
            let name = UserName::normalise(text).ok().filter(|name| known.contains_key(name));
            let Some(name) = name else {
                let text: String = text.chars().take(40).collect();
                return Ok(Err(wrong(&format!("No such user: {text}"))));
            };
            users.insert(name);
        }
        Ok(Ok(users))
    }
}

/// The name of a group that an address names: of what cannot be one, there is none.
fn group_name(segment: &str) -> Result<GroupName, Refusal> {
    let none = || Refusal::NoSuch("group");
    let text = percent_decode_str(segment).decode_utf8().map_err(|_no_text| none())?;
    GroupName::parse(&text).map_err(|_no_name| none())
}

fn own_model(group: &OwnGroup) -> Value {
    model(group.name.as_str(), &group.users, &group.properties)
}

pub(super) fn refused(error: GroupError) -> Result<Response<Body>, Refusal> {
    let message = error.to_string();
    match error {
        GroupError::Store(error) => Err(error.into()),
        GroupError::Exists { .. } => Ok(problem(StatusCode::CONFLICT, &message)),
        GroupError::Unknown { name } => Ok(none(&name)),
        GroupError::TooMany | GroupError::TooManyUsers | GroupError::TooLong => Ok(wrong(&message)),
    }
}

fn none(name: &GroupName) -> Response<Body> {
    problem(StatusCode::NOT_FOUND, &format!("No such group: {name}"))
}

fn wrong(message: &str) -> Response<Body> {
    problem(StatusCode::BAD_REQUEST, message)
}

fn told(caller: &Caller, group: &GroupName, what: &'static str) {
    info!(event = "group_changed", %group, what, by = %caller.name(), "an administrator changes a group");
}

/// JupyterHub's words where its authenticator manages groups.
const MANAGED: &str = "Group management via API is disabled";

const MAKE: &[Scope] = &[Scope::AdminGroups];
const FILL: &[Scope] = &[Scope::Groups];
const END: &[Scope] = &[Scope::DeleteGroups];
