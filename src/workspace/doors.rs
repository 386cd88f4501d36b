//! Ports of a workspace beside that of its server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Ports;
use crate::forward::{Forwarder, Pool};
use crate::upstream::Upstream;

/// The ports of one instance that its owner may reach, and connections to those in use.
#[derive(Debug)]
pub struct Doors {
    allowed: Ports,
    open: Mutex<HashMap<u16, Arc<Pool>>>,
}

impl Doors {
    pub(super) fn new(allowed: Ports) -> Self {
        Self { allowed, open: Mutex::default() }
    }

    /// The connections to `port`. The server's own port is no other way in: there hubgate speaks for the user.
    pub(super) fn find(&self, port: u16, server: &Upstream, forwarder: &Forwarder) -> Option<Arc<Pool>> {
        if !self.allowed.contains(port) || server.address.port() == port {
            return None;
        }
        if let Some(pool) = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&port) {
            return Some(Arc::clone(pool));
        }
        let mut upstream = server.clone();
        upstream.address.set_port(port);
        Some(forwarder.pool(upstream))
    }

    /// Something answers at `port`: its connections are kept. Beyond so many ports they are closed after each use.
    pub fn keep(&self, port: u16, pool: &Arc<Pool>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() < MOST_KEPT {
            open.entry(port).or_insert_with(|| Arc::clone(pool));
        }
    }
}

/// So many ports of one instance keep their connections.
const MOST_KEPT: usize = 32;
