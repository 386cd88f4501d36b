//! Whom a caller reaches: their scopes, and who is in which group where those name groups.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::access::WATCH;
use crate::gateway::Gateway;
use crate::gateway::caller::Caller;
use crate::gateway::refusal::Refusal;
use crate::people::Known;
use crate::server_name::ServerName;
use crate::share::With;
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
        let mut groups = HashMap::<_, Vec<_>>::new();
        if caller.names_groups() {
            for (name, told) in self.told_of_everybody().await? {
                let named = told.iter().filter(|group| caller.names_group(&group.path));
                groups.entry(name).or_default().extend(named.cloned());
            }
            for group in self.0.groups.all() {
                let own = Group::own(group.name.as_str());
                for user in group.users.iter().filter(|_user| caller.names_group(&own.path)) {
                    groups.entry(user.clone()).or_default().push(own.clone());
                }
            }
        }
        Ok(Range { caller, groups })
    }

    /// Everybody whom their provider lets in, with the groups that it tells of. From now on these hide the hub's own of
    /// the same names, and no others do.
    pub(super) async fn told_of_everybody(&self) -> Result<Vec<(UserName, Arc<[Group]>)>, Refusal> {
        let since = self.0.groups.told();
        let everybody = self.0.people.everybody().await?.into_iter();
        let told = everybody.map(|(name, known)| (name, self.told_groups(&known)));
        let told: Vec<_> = told.collect();
        let groups = told.iter().flat_map(|(_, groups)| groups.iter());
        let paths: HashSet<_> = groups.map(|group| &*group.path).collect();
        for hidden in self.0.groups.hide_only(since, |name| paths.contains(name)) {
            self.0.shares.close(&With::Group(Group::own(hidden.as_str())));
        }
        Ok(told)
    }

    /// The groups that somebody is in, as their provider last said, and the hub's own.
    pub(super) fn memberships(&self, name: &UserName, known: Option<&Known>) -> Vec<Group> {
        let told = known.map(|known| self.told_groups(known)).unwrap_or_default();
        let own = self.0.groups.of(name);
        told.iter().cloned().chain(own.iter().map(|group| Group::own(group.as_str()))).collect()
    }

    /// Those that their provider tells of. Whom it lets in no more, it vouches for in no group.
    pub(super) fn told_groups(&self, known: &Known) -> Arc<[Group]> {
        if known.barred { [].into() } else { self.0.mapping.groups(&known.provider, &known.identity) }
    }
}

impl Range<'_> {
    /// Whose it is.
    pub(super) fn caller(&self) -> &Caller {
        self.caller
    }

    /// Whether they may do one of these to a user, or to a server of theirs.
    pub(super) fn to(&self, scopes: &[Scope], name: &UserName, server: Option<&ServerName>) -> Reach {
        let groups = self.groups.get(name).map(Vec::as_slice).unwrap_or_default();
        self.caller.reach(scopes, &Target::User { name, server, groups })
    }

    /// Whether they may do one of these to a user.
    pub(super) fn has(&self, scopes: &[Scope], name: &UserName) -> bool {
        self.to(scopes, name, None) == Reach::Reaches
    }

    /// Whether they see how a server is.
    pub(super) fn sees(&self, id: &WorkspaceId) -> bool {
        let scopes = if *self.caller.name() == id.user { WATCH.own } else { WATCH.others };
        self.to(scopes, &id.user, Some(&id.server)) == Reach::Reaches
    }
}
