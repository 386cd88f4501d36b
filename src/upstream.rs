//! An address that requests are forwarded to.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// One running instance of something that answers HTTP/1.1 in the clear on a private network.
///
/// The instance is part of it: a container that is gone and another that got its address are two upstreams, so a
/// connection to the one is never used for the other.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// Which instance it is: a container's instance id.
    pub instance: Arc<str>,
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({}, {})", self.address, self.instance)
    }
}
