//! Workspaces with names: which users have, found in memory, written through to the store.

use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::server_name::{ServerName, ServerNameError};
use crate::spawner::WorkspaceId;
use crate::store::{Store, StoreError};
use crate::user::UserName;

/// Everybody's named workspaces.
#[derive(Debug)]
pub struct NamedServers {
    by_user: DashMap<UserName, Vec<ServerName>, RandomState>,
    /// How many there are in all: where nobody has one, no request looks further.
    count: AtomicUsize,
    /// How many a user may have.
    most: u32,
    store: Store,
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
        for (user, server) in self.store.servers().await? {
            self.keep(&user, server);
        }
        Ok(())
    }

    /// The user's workspace of this name.
    pub(super) fn find(&self, user: &UserName, name: &str) -> Option<ServerName> {
        if self.count.load(Ordering::Relaxed) == 0 || name.is_empty() {
            return None;
        }
        self.by_user.get(user)?.iter().find(|server| server.as_str() == name).cloned()
    }

    /// All of a user, by name.
    pub(super) fn of(&self, user: &UserName) -> Vec<ServerName> {
        self.by_user.get(user).map(|servers| servers.clone()).unwrap_or_default()
    }

    pub(super) fn most(&self) -> u32 {
        self.most
    }

    pub(super) async fn add(&self, id: &WorkspaceId, now: Timestamp) -> Result<(), ServerError> {
        let WorkspaceId { user, server } = id;
        if server.is_default() || self.find(user, server.as_str()).is_some() {
            return Ok(());
        }
        ServerName::parse_new(server.as_str())?;
        // Kept before the store is asked: of two at once for the last place, one gets it.
        if !self.keep_if_room(user, server)? {
            return Ok(());
        }
        if let Err(error) = self.store.insert_server(user, server, now).await {
            self.forget(user, server);
            return Err(error.into());
        }
        Ok(())
    }

    pub(super) async fn remove(&self, id: &WorkspaceId) -> Result<(), ServerError> {
        self.store.delete_server(&id.user, &id.server).await?;
        self.forget(&id.user, &id.server);
        Ok(())
    }

    /// One that runs is there, whatever the store says.
    pub(super) fn adopt(&self, id: &WorkspaceId) {
        if !id.server.is_default() && self.find(&id.user, id.server.as_str()).is_none() {
            self.keep(&id.user, id.server.clone());
        }
    }

    /// Whether it is a new one.
    fn keep_if_room(&self, user: &UserName, server: &ServerName) -> Result<bool, ServerError> {
        let mut servers = self.by_user.entry(user.clone()).or_default();
        if servers.contains(server) {
            return Ok(false);
        }
        let most = usize::try_from(self.most).unwrap_or(usize::MAX);
        if servers.len() >= most {
            return Err(ServerError::TooMany { user: user.clone(), most: self.most });
        }
        insert(&mut servers, server.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    fn keep(&self, user: &UserName, server: ServerName) {
        let mut servers = self.by_user.entry(user.clone()).or_default();
        if !servers.contains(&server) {
            insert(&mut servers, server);
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn forget(&self, user: &UserName, server: &ServerName) {
        self.by_user.remove_if_mut(user, |_, servers| {
            let before = servers.len();
            servers.retain(|kept| kept != server);
            self.count.fetch_sub(before - servers.len(), Ordering::Relaxed);
            servers.is_empty()
        });
    }
}

fn insert(servers: &mut Vec<ServerName>, server: ServerName) {
    servers.push(server);
    servers.sort_unstable();
}
