//! Whom a caller reaches: their scopes, and who is in which group where those name groups.

use std::collections::HashMap;

use super::access::WATCH;
use crate::gateway::Gateway;
use crate::gateway::caller::Caller;
use crate::gateway::refusal::Refusal;
use crate::people::Known;
use crate::server_name::ServerName;
use crate::spawner::WorkspaceId;
use crate::token::{Reach, Scope, Target};
use crate::user::{Group, UserName};

/// Whom a caller reaches at this moment.
#[derive(Debug)]
pub(super) struct Range<'c> {
    caller: &'c Caller,
    /// Of those who were looked up, and only where it matters.
    groups: HashMap<UserName, Vec<Group>>,
}

impl Gateway {
    /// As far as one user goes.
    pub(super) async fn range_of<'c>(
        &self,
        caller: &'c Caller,
        name: &UserName,
    ) -> Result<Range<'c>, Refusal> {
        let mut groups = HashMap::new();
        if caller.names_groups() {
            let known = self.0.people.recall(name).await?;
            groups.insert(name.clone(), self.memberships(name, known.as_ref()));
        }
        Ok(Range { caller, groups })
    }

    /// Of everybody.
    pub(super) async fn range<'c>(&self, caller: &'c Caller) -> Result<Range<'c>, Refusal> {
        let mut groups = HashMap::new();
        if caller.names_groups() {
            for group in self.0.groups.all() {
                for user in &group.users {
                    groups.insert(user.clone(), self.memberships(user, None));
                }
            }
            for (name, known) in self.0.people.everybody().await? {
                let theirs = self.memberships(&name, Some(&known));
                groups.insert(name, theirs);
            }
        }
        Ok(Range { caller, groups })
    }

    /// The groups that somebody is in, as their provider last said, and the hub's own.
    pub(super) fn memberships(&self, name: &UserName, known: Option<&Known>) -> Vec<Group> {
        let told = known.map(|known| self.told_groups(known)).unwrap_or_default();
        let own = self.0.groups.of(name);
        told.into_iter().chain(own.iter().map(|group| Group::own(group.as_str()))).collect()
    }

    /// Those that their provider tells of.
    pub(super) fn told_groups(&self, known: &Known) -> Vec<Group> {
        let group = |path: String| Group { provider: known.provider.as_str().into(), path: path.into() };
        self.groups_of(known).into_iter().map(group).collect()
    }
}

impl Range<'_> {
    /// Whether they may do one of these to a user, or to a server of theirs.
    pub(super) fn to(&self, scopes: &[Scope], name: &UserName, server: Option<&ServerName>) -> Reach {
        let groups = self.groups.get(name).map(Vec::as_slice).unwrap_or_default();
        self.caller.reach(scopes, &Target::User { name, server, groups })
    }

    /// Whether they may do one of these to a user.
    pub(super) fn has(&self, scopes: &[Scope], name: &UserName) -> bool {
        self.to(scopes, name, None) == Reach::Reaches
    }

    /// Whether they may do one of these to a group.
    pub(super) fn has_group(&self, scopes: &[Scope], group: &Group) -> bool {
        self.caller.reach(scopes, &Target::Group(group)) == Reach::Reaches
    }

    /// Whether they see how a server is.
    pub(super) fn sees(&self, id: &WorkspaceId) -> bool {
        let scopes = if *self.caller.name() == id.user { WATCH.own } else { WATCH.others };
        self.to(scopes, &id.user, Some(&id.server)) == Reach::Reaches
    }
}
