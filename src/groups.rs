//! Groups of the hub's own, beside the provider's: administrators make and fill them by the REST API. Found in memory,
//! written through to the store.
//!
//! They say nothing of who may enter, and grant nothing: rules read what the provider vouches for, and nothing else. A
//! group of this name that the provider tells of hides the own one as long as it does.

mod kept;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Map, Value};
use thiserror::Error;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::seal::Sealer;
use crate::store::{Store, StoreError};
use crate::user::{GroupName, UserName};

/// All groups of the hub's own; a clone is another handle.
#[derive(Clone)]
pub struct Groups(Arc<Inner>);

struct Inner {
    all: RwLock<BTreeMap<GroupName, Arc<OwnGroup>>>,
    hidden: RwLock<Hidden>,
    /// One writer at a time: what is older must not come after what is newer.
    turn: Semaphore,
    store: Store,
    sealer: Arc<Sealer>,
}

/// Names of own groups that the provider has a group of, too.
#[derive(Default)]
struct Hidden {
    names: BTreeSet<GroupName>,
    told: Told,
}

/// How often a provider has told of a group of ours: whoever looks up what is told of says as of when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told(u64);

/// A group of the hub's own.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnGroup {
    /// The name.
    pub name: GroupName,
    /// Who is in it.
    pub users: BTreeSet<UserName>,
    /// What whoever keeps it notes of it: nothing here reads that.
    pub properties: Map<String, Value>,
}

/// A group cannot be made or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GroupError {
    /// There is one already.
    #[error("Group {name} already exists")]
    Exists {
        /// Which.
        name: GroupName,
    },
    /// There is none.
    #[error("No such group: {name}")]
    Unknown {
        /// Which.
        name: GroupName,
    },
    /// More than [`Groups::MOST`].
    #[error("there are {} groups already", Groups::MOST)]
    TooMany,
    /// More than [`Groups::MOST_USERS`].
    #[error("a group has at most {} users", Groups::MOST_USERS)]
    TooManyUsers,
    /// Longer than [`Groups::MOST_NOTED`].
    #[error("properties have at most {} bytes", Groups::MOST_NOTED)]
    TooLong,
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl Hidden {
    /// Answers whether it was not before.
    fn add(&mut self, name: &GroupName) -> bool {
        let new = self.names.insert(name.clone());
        if new {
            warn!(event = "group_hidden", group = %name, "the provider has a group of this name, and it counts in place of the hub's");
        }
        new
    }
}

impl Groups {
    /// The most groups.
    pub const MOST: usize = 1000;

    /// The most users of one.
    pub const MOST_USERS: usize = 5000;

    /// The longest properties of one, in bytes of JSON.
    pub const MOST_NOTED: usize = 16 * 1024;

    /// None yet: see [`Groups::restore`].
    pub fn new(store: Store, sealer: Arc<Sealer>) -> Self {
        let (all, hidden) = (RwLock::default(), RwLock::default());
        Self(Arc::new(Inner { all, hidden, turn: Semaphore::new(1), store, sealer }))
    }

    /// Takes back what the store has. Answers how many there are.
    pub async fn restore(&self) -> Result<usize, StoreError> {
        let rows = self.0.store.own_groups().await?;
        let mut all = BTreeMap::new();
        for row in &rows {
            match kept::open(row, &self.0.sealer) {
                Some(group) => drop(all.insert(group.name.clone(), Arc::new(group))),
                None => {
                    warn!(
                        event = "group_dropped",
                        group = row.name,
                        "a group was sealed elsewhere or changed"
                    );
                }
            }
        }
        let count = all.len();
        *self.0.all.write().unwrap_or_else(PoisonError::into_inner) = all;
        Ok(count)
    }

    /// The group of this name, hidden or not.
    pub fn find(&self, name: &GroupName) -> Option<Arc<OwnGroup>> {
        self.0.all.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Those that no group of the provider's hides, by name.
    pub fn all(&self) -> Vec<Arc<OwnGroup>> {
        self.shown(|_group| true, Arc::clone)
    }

    /// Which of them somebody is in.
    pub fn of(&self, user: &UserName) -> Vec<GroupName> {
        self.shown(|group| group.users.contains(user), |group| group.name.clone())
    }

    fn shown<T>(&self, wanted: impl Fn(&OwnGroup) -> bool, take: impl Fn(&Arc<OwnGroup>) -> T) -> Vec<T> {
        // In this order, wherever both are held.
        let hidden = self.0.hidden.read().unwrap_or_else(PoisonError::into_inner);
        let all = self.0.all.read().unwrap_or_else(PoisonError::into_inner);
        let shown = all.values().filter(|group| wanted(group) && !hidden.names.contains(&group.name));
        shown.map(take).collect()
    }

    /// Whether somebody is in this one, and no group of the provider's hides it.
    pub fn has(&self, name: &str, user: &UserName) -> bool {
        let hidden = self.0.hidden.read().unwrap_or_else(PoisonError::into_inner);
        let all = self.0.all.read().unwrap_or_else(PoisonError::into_inner);
        !hidden.names.contains(name) && all.get(name).is_some_and(|group| group.users.contains(user))
    }

    /// To be asked before it is looked up of which groups the provider tells: see [`Groups::hide_only`].
    pub fn told(&self) -> Told {
        self.0.hidden.read().unwrap_or_else(PoisonError::into_inner).told
    }

    /// The provider tells of a group of this name. Answers whether it hides one from now on.
    pub fn hide(&self, name: &str) -> bool {
        let mut hidden = self.0.hidden.write().unwrap_or_else(PoisonError::into_inner);
        let all = self.0.all.read().unwrap_or_else(PoisonError::into_inner);
        let Some((name, _)) = all.get_key_value(name) else { return false };
        hidden.told.0 += 1;
        hidden.add(name)
    }

    /// Those that are hidden are these, of all names that the provider has. Answers which were not before. If it has told
    /// of one of ours `since` that was looked up, somebody is in it of whom that look knows nothing: then none is shown
    /// again.
    pub fn hide_only(&self, since: Told, told: impl Fn(&str) -> bool) -> Vec<GroupName> {
        let mut hidden = self.0.hidden.write().unwrap_or_else(PoisonError::into_inner);
        if hidden.told == since {
            hidden.names.retain(|name| told(name.as_str()));
        }
        let all = self.0.all.read().unwrap_or_else(PoisonError::into_inner);
        all.keys().filter(|name| told(name.as_str()) && hidden.add(name)).cloned().collect()
    }

    /// Makes groups, each with these users, because `by` says so. They are in the store before this returns; all of them, or none.
    pub async fn make(
        &self,
        names: &[GroupName],
        users: &BTreeSet<UserName>,
        by: &str,
    ) -> Result<Vec<Arc<OwnGroup>>, GroupError> {
        let _turn = self.0.turn.acquire().await;
        if users.len() > Self::MOST_USERS {
            return Err(GroupError::TooManyUsers);
        }
        let names: BTreeSet<_> = names.iter().collect();
        if let Some(name) = names.iter().find(|name| self.find(name).is_some()) {
            return Err(GroupError::Exists { name: GroupName::clone(name) });
        }
        let count = self.0.all.read().unwrap_or_else(PoisonError::into_inner).len();
        if count + names.len() > Self::MOST {
            return Err(GroupError::TooMany);
        }
        let group = |name: &&GroupName| {
            let (name, users) = (GroupName::clone(name), users.clone());
            Arc::new(OwnGroup { name, users, properties: Map::new() })
        };
        let made: Vec<_> = names.iter().map(group).collect();
        let rows: Vec<_> = made.iter().map(|group| kept::row(group, &self.0.sealer)).collect();
        self.0.store.write_own_groups(&rows).await?;
        for group in &made {
            info!(event = "group_made", group = %group.name, users = group.users.len(), by, "a group is made");
            self.put(group);
        }
        Ok(made)
    }

    /// Adds users to a group. Who is in it stays there.
    pub async fn add(
        &self,
        name: &GroupName,
        users: BTreeSet<UserName>,
        by: &str,
    ) -> Result<Arc<OwnGroup>, GroupError> {
        let changed = self.change(name, |group| group.users.extend(users)).await?;
        info!(event = "group_filled", group = %name, users = changed.users.len(), by, "users are added to a group");
        Ok(changed)
    }

    /// Takes users out of a group, here at once and then in the store.
    pub async fn remove(
        &self,
        name: &GroupName,
        users: &BTreeSet<UserName>,
        by: &str,
    ) -> Result<Arc<OwnGroup>, GroupError> {
        let changed = self.change(name, |group| group.users.retain(|user| !users.contains(user))).await?;
        info!(event = "group_emptied", group = %name, users = changed.users.len(), by, "users are taken out of a group");
        Ok(changed)
    }

    /// Notes other properties of a group.
    pub async fn note(
        &self,
        name: &GroupName,
        properties: Map<String, Value>,
        by: &str,
    ) -> Result<Arc<OwnGroup>, GroupError> {
        let changed = self.change(name, |group| group.properties = properties).await?;
        info!(event = "group_noted", group = %name, by, "properties of a group are noted");
        Ok(changed)
    }

    async fn change(
        &self,
        name: &GroupName,
        act: impl FnOnce(&mut OwnGroup),
    ) -> Result<Arc<OwnGroup>, GroupError> {
        let _turn = self.0.turn.acquire().await;
        let before = self.find(name).ok_or_else(|| GroupError::Unknown { name: name.clone() })?;
        let mut group = OwnGroup::clone(&before);
        act(&mut group);
        if group.users.len() > Self::MOST_USERS {
            return Err(GroupError::TooManyUsers);
        }
        if kept::noted(&group.properties).len() > Self::MOST_NOTED {
            return Err(GroupError::TooLong);
        }
        let group = Arc::new(group);
        // Nobody gets in before it is written down, and nobody stays in until it is.
        let fewer = Arc::new(OwnGroup {
            users: before.users.intersection(&group.users).cloned().collect(),
            ..OwnGroup::clone(&before)
        });
        self.put(&fewer);
        self.0.store.write_own_groups(&[kept::row(&group, &self.0.sealer)]).await?;
        self.put(&group);
        Ok(group)
    }

    /// Ends a group, here at once and then in the store. Answers whether there was one.
    pub async fn end(&self, name: &GroupName, by: &str) -> Result<bool, StoreError> {
        let _turn = self.0.turn.acquire().await;
        let was = self.0.all.write().unwrap_or_else(PoisonError::into_inner).remove(name).is_some();
        self.0.hidden.write().unwrap_or_else(PoisonError::into_inner).names.remove(name);
        // It may be there still where an earlier end could not be written down.
        let was = self.0.store.delete_own_group(name.as_str()).await? || was;
        if was {
            info!(event = "group_ended", group = %name, by, "a group is no more");
        }
        Ok(was)
    }

    /// Takes somebody out of all groups: another of the same name is in none.
    pub async fn forget(&self, user: &UserName, by: &str) -> Result<(), GroupError> {
        let all: Vec<_> =
            self.0.all.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let theirs = all.iter().filter(|group| group.users.contains(user));
        for group in theirs {
            match self.remove(&group.name, &BTreeSet::from([user.clone()]), by).await {
                Ok(_) | Err(GroupError::Unknown { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn put(&self, group: &Arc<OwnGroup>) {
        let mut all = self.0.all.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(group.name.clone(), Arc::clone(group));
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Groups")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> GroupName {
        GroupName::parse(text).unwrap()
    }

    fn users(names: &[&str]) -> BTreeSet<UserName> {
        names.iter().map(|name| UserName::parse(name).unwrap()).collect()
    }

    async fn groups() -> (Groups, Store) {
        let store = Store::in_memory().await.unwrap();
        (Groups::new(store.clone(), Arc::new(Sealer::new(&[7; 32]))), store)
    }

    #[tokio::test]
    async fn groups_are_found_again_and_whoever_writes_to_the_store_puts_nobody_into_them() {
        let (groups, store) = groups().await;
        groups.make(&[name("a"), name("b")], &users(&["alice"]), "ada").await.unwrap();
        groups.add(&name("a"), users(&["bob"]), "ada").await.unwrap();
        let noted = Map::from_iter([("x".to_owned(), Value::from(1))]);
        groups.note(&name("b"), noted, "ada").await.unwrap();
        let again = Groups::new(store.clone(), Arc::clone(&groups.0.sealer));
        assert_eq!(again.restore().await.unwrap(), 2);
        assert_eq!(again.all(), groups.all());
        assert!(again.has("a", &UserName::parse("bob").unwrap()));

        // The members of one group are no other's, and what was sealed elsewhere is nothing.
        let rows = store.own_groups().await.unwrap();
        let swapped = GroupRow { name: "b".to_owned(), sealed: rows[0].sealed.clone() };
        store.write_own_groups(&[swapped]).await.unwrap();
        assert_eq!(again.restore().await.unwrap(), 1);
        let elsewhere = Groups::new(store, Arc::new(Sealer::new(&[8; 32])));
        assert_eq!(elsewhere.restore().await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_group_is_made_once_and_ends_for_good() {
        let (groups, _) = groups().await;
        groups.make(&[name("a")], &users(&["alice"]), "ada").await.unwrap();
        let exists = groups.make(&[name("new"), name("a")], &users(&[]), "ada").await;
        assert!(matches!(exists, Err(GroupError::Exists { name }) if name.as_str() == "a"));
        assert_eq!(groups.find(&name("new")), None, "all or none");
        assert!(
            groups.end(&name("a"), "ada").await.unwrap() && !groups.end(&name("a"), "ada").await.unwrap()
        );
        let gone = groups.add(&name("a"), users(&["bob"]), "ada").await;
        assert!(matches!(gone, Err(GroupError::Unknown { .. })));
        groups.make(&[name("a")], &users(&[]), "ada").await.unwrap();
        assert!(groups.of(&UserName::parse("alice").unwrap()).is_empty());
    }

    #[tokio::test]
    async fn somebody_who_is_forgotten_is_in_no_group() {
        let (groups, _) = groups().await;
        let alice = UserName::parse("alice").unwrap();
        groups.make(&[name("a"), name("b")], &users(&["alice", "bob"]), "ada").await.unwrap();
        groups.forget(&alice, "ada").await.unwrap();
        assert!(groups.of(&alice).is_empty());
        assert_eq!(groups.of(&UserName::parse("bob").unwrap()), [name("a"), name("b")]);
    }

    #[tokio::test]
    async fn a_group_of_the_providers_hides_ours_as_long_as_there_is_one() {
        let (groups, _) = groups().await;
        let alice = UserName::parse("alice").unwrap();
        groups.make(&[name("a"), name("b")], &users(&["alice"]), "ada").await.unwrap();
        assert!(groups.hide("a") && !groups.hide("a") && !groups.hide("of the provider alone"));
        assert!(!groups.has("a", &alice) && groups.has("b", &alice));
        assert_eq!(groups.of(&alice), [name("b")]);
        assert_eq!(groups.hide_only(groups.told(), |told| told == "b"), [name("b")]);
        assert_eq!(groups.of(&alice), [name("a")]);
        groups.end(&name("b"), "ada").await.unwrap();
        groups.make(&[name("b")], &users(&["alice"]), "ada").await.unwrap();
        assert!(groups.has("b", &alice), "another one is not hidden by what was");
    }

    #[tokio::test]
    async fn a_login_hides_a_group_for_longer_than_an_older_look_at_what_is_told_shows_it() {
        let (groups, _) = groups().await;
        groups.make(&[name("a")], &users(&["alice"]), "ada").await.unwrap();
        for hidden_before in [false, true] {
            let before = groups.told();
            assert_eq!(groups.hide("a"), !hidden_before);
            assert!(groups.hide_only(before, |_told| false).is_empty());
            assert!(groups.all().is_empty(), "of whoever came since, that look knows nothing");
        }
        assert!(groups.hide_only(groups.told(), |_told| false).is_empty());
        assert!(groups.has("a", &UserName::parse("alice").unwrap()));
    }

    #[tokio::test]
    async fn groups_have_bounds() {
        let (groups, _) = groups().await;
        let many = (0..=Groups::MOST_USERS).map(|at| UserName::parse(&format!("u{at}")).unwrap()).collect();
        let full = groups.make(&[name("a")], &many, "ada").await;
        assert!(matches!(full, Err(GroupError::TooManyUsers)));
        groups.make(&[name("a")], &users(&["alice"]), "ada").await.unwrap();
        assert!(matches!(groups.add(&name("a"), many, "ada").await, Err(GroupError::TooManyUsers)));
        assert_eq!(groups.find(&name("a")).unwrap().users, users(&["alice"]), "as it was");
        let long = Map::from_iter([("x".to_owned(), Value::from("y".repeat(Groups::MOST_NOTED)))]);
        assert!(matches!(groups.note(&name("a"), long, "ada").await, Err(GroupError::TooLong)));
        let names: Vec<_> = (0..Groups::MOST).map(|at| name(&format!("g{at}"))).collect();
        assert!(matches!(groups.make(&names, &users(&[]), "ada").await, Err(GroupError::TooMany)));
    }

    use crate::store::GroupRow;
}
