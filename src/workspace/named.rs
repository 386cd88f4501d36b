//! Workspaces with names: which users have, found in memory, written through to the store.

use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use thiserror::Error;

use super::DisplayName;
use crate::clock::Timestamp;
use crate::server_name::{ServerName, ServerNameError};
use crate::spawner::WorkspaceId;
use crate::store::{ServerRow, Store, StoreError};
use crate::user::UserName;

/// Everybody's named workspaces.
#[derive(Debug)]
pub struct NamedServers {
    by_user: DashMap<UserName, Vec<Named>, RandomState>,
    /// How many there are in all: where nobody has one, no request looks further.
    count: AtomicUsize,
    /// How many a user may have.
    most: u32,
    store: Store,
}

/// One of a user's.
#[derive(Debug)]
struct Named {
    server: ServerName,
    /// What people see it called, if not by its name.
    display_name: Option<DisplayName>,
}

/// A named workspace could not be made, or taken away.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The text cannot name one.
    #[error(transparent)]
    Name(#[from] ServerNameError),
    /// The user has as many as they may.
    #[error("{user} has {most} servers with names already, which is the limit")]
    TooMany {
        /// Who.
        user: UserName,
        /// How many they may have.
        most: u32,
    },
    /// It runs, starts or stops.
    #[error("the server still runs")]
    Runs,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NamedServers {
    /// None yet; a user may have `most`.
    pub fn new(store: Store, most: u32) -> Self {
        Self { by_user: DashMap::default(), count: AtomicUsize::new(0), most, store }
    }

    /// Those that the store knows.
    pub(super) async fn restore(&self) -> Result<(), StoreError> {
        for ServerRow { owner, name, display_name } in self.store.servers().await? {
            // One that cannot be shown any more has its own name still.
            let display_name = display_name.and_then(|text| DisplayName::parse(&text).ok());
            self.keep(&owner, Named { server: name, display_name });
        }
        Ok(())
    }

    /// The user's workspace of this name.
    pub(super) fn find(&self, user: &UserName, name: &str) -> Option<ServerName> {
        if self.count.load(Ordering::Relaxed) == 0 || name.is_empty() {
            return None;
        }
        self.by_user
            .get(user)?
            .iter()
            .map(|named| &named.server)
            .find(|server| server.as_str() == name)
            .cloned()
    }

    /// All of a user, by name.
    pub(super) fn of(&self, user: &UserName) -> Vec<ServerName> {
        let names = |named: &Vec<Named>| named.iter().map(|named| named.server.clone()).collect();
        self.by_user.get(user).map(|named| names(&named)).unwrap_or_default()
    }

    pub(super) fn most(&self) -> u32 {
        self.most
    }

    /// What people see it called, if not by its name.
    pub(super) fn display_name(&self, id: &WorkspaceId) -> Option<DisplayName> {
        if id.server.is_default() {
            return None;
        }
        self.by_user.get(&id.user)?.iter().find(|named| named.server == id.server)?.display_name.clone()
    }

    /// Shows one that is there by another name.
    pub(super) async fn show_as(
        &self,
        id: &WorkspaceId,
        name: &DisplayName,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.store.show_server_as(&id.user, (&id.server, name.as_str()), now).await?;
        if let Some(mut servers) = self.by_user.get_mut(&id.user)
            && let Some(named) = servers.iter_mut().find(|named| named.server == id.server)
        {
            named.display_name = Some(name.clone());
        }
        Ok(())
    }

    /// Answers whether there is one more now.
    pub(super) async fn add(
        &self,
        id: &WorkspaceId,
        display_name: Option<DisplayName>,
        now: Timestamp,
    ) -> Result<bool, ServerError> {
        let WorkspaceId { user, server } = id;
        if server.is_default() || self.find(user, server.as_str()).is_some() {
            return Ok(false);
        }
        ServerName::parse_new(server.as_str())?;
        // Kept before the store is asked: of two at once for the last place, one gets it.
        let named = Named { server: server.clone(), display_name: display_name.clone() };
        if !self.keep_if_room(user, named)? {
            return Ok(false);
        }
        let kept = (server, display_name.as_ref().map(DisplayName::as_str));
        if let Err(error) = self.store.insert_server(user, kept, now).await {
            self.forget(user, server);
            return Err(error.into());
        }
        Ok(true)
    }

    pub(super) async fn remove(&self, id: &WorkspaceId) -> Result<(), ServerError> {
        self.store.delete_server(&id.user, &id.server).await?;
        self.forget(&id.user, &id.server);
        Ok(())
    }

    /// One that runs is there, whatever the store says.
    pub(super) fn adopt(&self, id: &WorkspaceId) {
        if !id.server.is_default() && self.find(&id.user, id.server.as_str()).is_none() {
            self.keep(&id.user, Named { server: id.server.clone(), display_name: None });
        }
    }

    /// Whether it is a new one.
    fn keep_if_room(&self, user: &UserName, new: Named) -> Result<bool, ServerError> {
        let mut servers = self.by_user.entry(user.clone()).or_default();
        if has(&servers, &new.server) {
            return Ok(false);
        }
        let most = usize::try_from(self.most).unwrap_or(usize::MAX);
        if servers.len() >= most {
            return Err(ServerError::TooMany { user: user.clone(), most: self.most });
        }
        insert(&mut servers, new);
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    fn keep(&self, user: &UserName, new: Named) {
        let mut servers = self.by_user.entry(user.clone()).or_default();
        if !has(&servers, &new.server) {
            insert(&mut servers, new);
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn forget(&self, user: &UserName, server: &ServerName) {
        self.by_user.remove_if_mut(user, |_, servers| {
            let before = servers.len();
            servers.retain(|kept| kept.server != *server);
            self.count.fetch_sub(before - servers.len(), Ordering::Relaxed);
            servers.is_empty()
        });
    }
}

fn has(servers: &[Named], server: &ServerName) -> bool {
    servers.iter().any(|named| named.server == *server)
}

fn insert(servers: &mut Vec<Named>, new: Named) {
    servers.push(new);
    servers.sort_unstable_by(|one, other| one.server.cmp(&other.server));
}
