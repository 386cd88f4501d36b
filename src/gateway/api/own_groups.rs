//! Groups of the hub's own: made, filled, emptied and ended, as JupyterHub does it. Those that the provider tells of are
//! changed there.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::access::check_reach_of_group;
use super::groups::model;
use super::{body, group_path, problem, shortened, wrong};
use crate::gateway::caller::Caller;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::{Body, Gateway, empty, form};
use crate::groups::{GroupError, Groups, OwnGroup};
use crate::share::With;
use crate::store::StoreError;
use crate::token::Scope;
use crate::user::{Group, GroupName, UserName};

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
            check_reach_of_group(caller, &Group::own(name.as_str()), MAKE)?;
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
        if names.len() > Groups::MOST {
            return refused(GroupError::TooMany);
        }
        let told = self.told_paths().await?;
        // There is one already, and its name is the provider's.
        if names.iter().any(|name| told.contains(name.as_str())) {
            return Ok(wrong(MANAGED));
        }
        let users = match self.named_users(&users).await? {
            Ok(users) => users,
            Err(wrong) => return Ok(wrong),
        };
        // Nothing is left of an earlier one, whatever kept its end from being written down.
        for name in names.iter().filter(|name| self.0.groups.find(name).is_none()) {
            self.0.shares.end_with(&shared_with(name)).await?;
        }
        match self.0.groups.make(names, &users, caller.name().as_str()).await {
            Ok(made) => {
                let made = made.iter().map(|group| own_model(group)).collect();
                Ok(json(StatusCode::CREATED, &answer(made)))
            }
            Err(error) => refused(error),
        }
    }

    async fn end_group(&self, caller: &Caller, name: &GroupName) -> Result<Response<Body>, Refusal> {
        if !self.end_whole(name, caller.name()).await? {
            let managed = self.told_paths().await?.contains(name.as_str());
            return if managed { Ok(wrong(MANAGED)) } else { Ok(none(name)) };
        }
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// Ends a group, and whatever was shared with it: that does not stay behind where whoever asks for it goes away.
    async fn end_whole(&self, name: &GroupName, by: &UserName) -> Result<bool, StoreError> {
        let (hub, name, by) = (self.clone(), name.clone(), by.clone());
        let writing = self.0.tasks.writing();
        let ending = self.0.tasks.spawn(async move {
            let _writing = writing;
            let was = hub.0.groups.end(&name, by.as_str()).await;
            // Whether it could be written down or not, and if an earlier end could not be, once more.
            hub.0.shares.end_with(&shared_with(&name)).await?;
            was
        });
        match ending.await {
            Ok(was) => was,
            Err(broken) => std::panic::resume_unwind(broken.into_panic()),
        }
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
        let by = caller.name().as_str();
        let changed = if adds {
            self.0.groups.add(&name, users, by).await
        } else {
            let changed = self.0.groups.remove(&name, &users, by).await;
            self.0.shares.close(&shared_with(&name));
            changed
        };
        match changed {
            Ok(group) => Ok(json(StatusCode::OK, &own_model(&group))),
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
        match self.0.groups.note(&name, properties, caller.name().as_str()).await {
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
        self.allow_group(caller, &Group::own(name.as_str()), scopes, request)
    }

    /// Why a group cannot be changed: it is the provider's, or there is none.
    async fn not_ours(&self, name: &GroupName) -> Result<Option<Response<Body>>, Refusal> {
        if self.told_paths().await?.contains(name.as_str()) {
            return Ok(Some(wrong(MANAGED)));
        }
        Ok(self.0.groups.find(name).is_none().then(|| none(name)))
    }

    /// What the groups are called that a provider tells of.
    async fn told_paths(&self) -> Result<HashSet<Arc<str>>, Refusal> {
        let told = self.told_of_everybody().await?;
        let groups = told.iter().flat_map(|(_, groups)| groups.iter());
        Ok(groups.map(|group| Arc::clone(&group.path)).collect())
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
                return Ok(Err(wrong(&format!("No such user: {}", shortened(text)))));
            };
            users.insert(name);
        }
        Ok(Ok(users))
    }
}

/// The name of a group that an address names: of what cannot be one, there is none.
fn group_name(segment: &str) -> Result<GroupName, Refusal> {
    GroupName::parse(&group_path(segment)?).map_err(|_no_name| Refusal::NoSuch("group"))
}

fn shared_with(name: &GroupName) -> With {
    With::Group(Group::own(name.as_str()))
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

/// JupyterHub's words where its authenticator manages groups.
const MANAGED: &str = "Group management via API is disabled";

const MAKE: &[Scope] = &[Scope::AdminGroups];
const FILL: &[Scope] = &[Scope::Groups];
const END: &[Scope] = &[Scope::DeleteGroups];
