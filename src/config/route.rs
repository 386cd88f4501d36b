//! `[[route]]`: what is beside the hub at its address.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// `[[route]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name in rules and logs.
    pub name: String,
    /// Where it begins and everything below it: `/registry/`.
    pub path: String,
    /// Files of this folder.
    pub folder: Option<PathBuf>,
    /// Or a program that speaks HTTP here: `127.0.0.1:3000`.
    pub upstream: Option<SocketAddr>,
    /// The program sees what follows `path`, not the whole path.
    #[serde(default)]
    pub strip_path: bool,
    /// For everybody, signed in or not; else for whoever a rule grants it.
    #[serde(default)]
    pub public: bool,
    /// Containers find it at the hub API, too, under the same path. Only what is public.
    #[serde(default)]
    pub containers: bool,
    /// Variables that every container gets, each with the URL of a path below this one as containers reach it. A profile's own
    /// `environment` has the last word.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}
