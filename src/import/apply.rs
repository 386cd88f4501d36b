//! Writes what the store can hold of another hub, while no hub uses it: who is expected, and groups of the hub's own.
//! Neither lets anybody in, and no rule reads either.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::ImportError;
use super::judge::Judged;
use crate::clock::Clock;
use crate::config::Config;
use crate::groups::Groups;
use crate::people::People;
use crate::seal::Sealer;
use crate::store::Store;
use crate::user::{GroupName, UserName};

/// What is new in the store.
#[derive(Debug, Default, Serialize)]
pub(super) struct Written {
    /// Who was not known, and is expected from now on.
    pub(super) users: usize,
    /// Groups that were made, or were there and got members.
    pub(super) groups: usize,
    /// Groups whose names cannot be.
    pub(super) left_out: Vec<String>,
}

/// Writes it; what is there already stays.
pub(super) async fn apply(config: &Config, judged: &Judged) -> Result<Written, ImportError> {
    let folder = &config.store.folder;
    is_ours(folder)?;
    if let Some(socket) = config.admin.socket.as_ref().filter(|socket| UnixStream::connect(socket).is_ok()) {
        return Err(ImportError::Runs { socket: socket.clone() });
    }
    let store = Store::open(folder).await?;
    let sealer = Arc::new(Sealer::new(&Store::sealing_key(folder)?));
    let names: Vec<UserName> =
        judged.names(false).into_iter().filter_map(|name| UserName::parse(name).ok()).collect();
    let people = People::new(store.clone(), Arc::clone(&sealer), Clock::system());
    let mut written = Written { users: people.expect(&names).await?.len(), ..Written::default() };
    let groups = Groups::new(store, sealer);
    groups.restore().await?;
    for group in &judged.groups {
        let Ok(name) = GroupName::parse(&group.name) else {
            written.left_out.push(group.name.clone());
            continue;
        };
        let members = members(judged, &group.name);
        if groups.find(&name).is_some() {
            groups.add(&name, members, BY).await?;
        } else {
            groups.make(&[name], &members, BY).await?;
        }
        written.groups += 1;
    }
    Ok(written)
}

fn members(judged: &Judged, group: &str) -> BTreeSet<UserName> {
    let theirs = judged.users.iter().filter(|person| person.groups.iter().any(|name| name == group));
    theirs.filter_map(|person| UserName::parse(person.here.as_deref()?).ok()).collect()
}

/// Files that another account made would be hubgate's to open no more.
fn is_ours(folder: &Path) -> Result<(), ImportError> {
    let owner = std::fs::metadata(folder)
        .map_err(|source| ImportError::NoStore { path: folder.to_owned(), source })?
        .uid();
    let us = rustix::process::geteuid().as_raw();
    if owner == us { Ok(()) } else { Err(ImportError::Stranger { path: folder.to_owned(), owner }) }
}

/// Who says so, in the log.
const BY: &str = "import";
