//! Users and servers as JupyterHub describes them.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::range::Range;
use crate::clock::{Timestamp, utc};
use crate::gateway::Gateway;
use crate::gateway::hosts::Origin;
use crate::gateway::refusal::Refusal;
use crate::people::Known;
use crate::spawner::WorkspaceId;
use crate::token::Scope;
use crate::user::{Group, User, UserName};
use crate::workspace::{DisplayName, State};

/// Somebody, as they are described.
pub(in crate::gateway) struct Person {
    pub(in crate::gateway) name: UserName,
    /// Their first login.
    pub(in crate::gateway) created: Option<Timestamp>,
    /// What the rules grant them, if they may enter.
    pub(in crate::gateway) user: Option<User>,
    pub(in crate::gateway) groups: Vec<String>,
}

/// How a description is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner<'a> {
    /// What of it is shown.
    pub(super) range: &'a Range<'a>,
    /// With their groups, whatever the range is.
    pub(super) identity: bool,
    /// With servers that do not run.
    pub(super) stopped: bool,
    /// Where addresses begin.
    pub(super) at: &'a Origin,
}

impl Gateway {
    /// What is known of the person of this name.
    pub(in crate::gateway) async fn recalled(
        &self,
        name: UserName,
        created: Option<Timestamp>,
    ) -> Result<Person, Refusal> {
        let known = self.0.people.recall(&name).await?;
        let groups = self.group_names(&name, known.as_ref());
        let user = known.and_then(|known| self.granted(&name, &known));
        Ok(Person { name, created, user, groups })
    }

    /// What the rules grant somebody now, by what the provider last said of them.
    pub(super) fn granted(&self, name: &UserName, known: &Known) -> Option<User> {
        let judge = || self.0.mapping.user(&known.provider, &known.identity, name.clone()).ok();
        (!known.barred).then(judge).flatten()
    }

    /// Which groups somebody is in, as they are described: the provider's and the hub's own.
    pub(super) fn group_names(&self, name: &UserName, known: Option<&Known>) -> Vec<String> {
        paths(&self.memberships(name, known))
    }

    /// When each user was last active: everybody, or one.
    pub(in crate::gateway) fn activity(&self, only: Option<&UserName>) -> HashMap<UserName, Timestamp> {
        let mut latest: HashMap<UserName, Timestamp> = HashMap::new();
        let mut note = |name: &UserName, when: Timestamp| {
            let last = latest.entry(name.clone()).or_default();
            *last = when.max(*last);
        };
        let sessions = only.map_or_else(|| self.0.sessions.all(), |name| self.0.sessions.of(name));
        for session in sessions {
            note(&session.name, session.last_seen());
        }
        let tokens = only.map_or_else(|| self.0.api_tokens.all(), |name| self.0.api_tokens.of(name));
        for token in tokens {
            if let Some(when) = token.last_used() {
                note(&token.owner.name, when);
            }
        }
        for (id, state) in self.0.workspaces.all() {
            if let State::Ready(ready) = state {
                note(&id.user, ready.activity.last());
            }
        }
        self.1.reported.each(note);
        latest
    }

    /// A user as JupyterHub describes them, as far as the range goes.
    pub(super) fn user_model(&self, person: &Person, last: Option<Timestamp>, manner: Manner<'_>) -> Value {
        let name = &person.name;
        let shown = |scopes: &[Scope]| manner.range.has(scopes, name);
        let admin = person.user.as_ref().is_some_and(|user| user.admin);
        let mut model = json!({ "kind": "user", "name": name.as_str(), "admin": admin });
        let mut add = |shown: bool, keys: Value| {
            if shown {
                super::merge(&mut model, keys);
            }
        };
        let profiles = person.user.as_ref().map(|user| Arc::clone(&user.profiles)).unwrap_or_default();
        let created = person.created.map(utc);
        add(shown(&[Scope::ReadUsers]), json!({ "created": created, "profiles": profiles }));
        add(shown(&[Scope::ReadUsers, Scope::ReadRolesUsers]), json!({ "roles": [] }));
        let groups = manner.identity || shown(&[Scope::ReadUsersGroups, Scope::ReadGroups]);
        add(groups, json!({ "groups": person.groups }));
        add(shown(&[Scope::ReadActivity]), json!({ "last_activity": last.map(utc) }));
        let seen: Vec<_> =
            self.0.workspaces.of(name).into_iter().filter(|id| manner.range.sees(id)).collect();
        add(!seen.is_empty(), json!({ "servers": self.server_models(&seen, manner) }));
        if let Some(id) = seen.iter().find(|id| id.server.is_default()) {
            let state = self.0.workspaces.state(id);
            let server = matches!(state, Some(State::Ready(_))).then(|| self.address_of(id));
            add(true, json!({ "server": server, "pending": pending(state.as_ref()) }));
        }
        model
    }

    fn server_models(&self, seen: &[WorkspaceId], manner: Manner<'_>) -> Map<String, Value> {
        let models = seen.iter().filter_map(|id| {
            let state = self.0.workspaces.state(id);
            let shown = manner.stopped || is_active(state.as_ref());
            let model = || (id.server.to_string(), self.server_model(id, state.as_ref(), manner.at));
            shown.then(model)
        });
        models.collect()
    }

    /// A server as JupyterHub describes it.
    pub(super) fn server_model(&self, id: &WorkspaceId, state: Option<&State>, at: &Origin) -> Value {
        let ready = match state {
            Some(State::Ready(ready)) => Some(ready),
            Some(State::Starting(_) | State::Failing(_) | State::Stopping) | None => None,
        };
        let profile = state.and_then(State::profile);
        let shown = self.0.workspaces.display_name(id);
        let options = profile.map(|profile| json!({ "profile": profile })).unwrap_or(json!({}));
        let progress = progress_path(id);
        let there = self.0.hosts.of_user(&id.user);
        let there = there.as_ref().unwrap_or(at);
        json!({
            "name": id.server.as_str(),
            "display_name": shown.as_ref().map_or(id.server.as_str(), DisplayName::as_str),
            "full_name": format!("{}/{}", id.user, id.server),
            "ready": ready.is_some(),
            "pending": pending(state),
            "stopped": !is_active(state),
            "started": ready.map(|ready| utc(ready.started)),
            "last_activity": ready.map(|ready| utc(ready.activity.last())),
            "user_options": options,
            "full_url": format!("{}{}", there.origin, id.path()),
            "full_progress_url": format!("{}{progress}", at.origin),
            "url": self.address_of(id),
            "progress_url": progress,
        })
    }
}

/// The paths of groups, as they are described: in order, and none of them twice.
pub(in crate::gateway) fn paths(groups: &[Group]) -> Vec<String> {
    let mut paths: Vec<_> = groups.iter().map(|group| group.path.to_string()).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// Where the progress of a start is told.
fn progress_path(id: &WorkspaceId) -> String {
    let user = id.user.path_segment();
    if id.server.is_default() {
        format!("/hub/api/users/{user}/server/progress")
    } else {
        format!("/hub/api/users/{user}/servers/{}/progress", id.server)
    }
}

/// JupyterHub's word for what is under way.
pub(super) fn pending(state: Option<&State>) -> Option<&'static str> {
    match state? {
        State::Starting(_) => Some("spawn"),
        State::Stopping => Some("stop"),
        State::Ready(_) | State::Failing(_) => None,
    }
}

/// Whether it runs, or is about to, or does so still.
pub(super) fn is_active(state: Option<&State>) -> bool {
    match state {
        Some(State::Starting(_) | State::Ready(_) | State::Stopping) => true,
        Some(State::Failing(_)) | None => false,
    }
}
