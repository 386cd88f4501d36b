//! How many connections at once: in all, and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The connections that are open.
#[derive(Debug, Clone)]
pub(super) struct Clients(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    most_each: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    each: HashMap<IpAddr, usize>,
}

/// A connection's place among them, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    clients: Clients,
    address: IpAddr,
}

impl Clients {
    pub(super) fn new(most: usize, most_each: usize) -> Self {
        Self(Arc::new(Shared { most, most_each, open: Mutex::default() }))
    }

    /// A place for one more connection from `address`, if there is one.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Place> {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Open { all, each } = &mut *open;
        let count = each.entry(address).or_default();
        if *all >= self.0.most || *count >= self.0.most_each {
            if *count == 0 {
                each.remove(&address);
            }
            return None;
        }
        *all += 1;
        *count += 1;
        Some(Place { clients: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.clients.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        if let Some(count) = open.each.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.each.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_places_than_there_are() {
        let clients = Clients::new(3, 2);
        let [a, b] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(IpAddr::from);
        let first = clients.admit(a).unwrap();
        let _second = clients.admit(a).unwrap();
        assert!(clients.admit(a).is_none(), "two from one address");
        let _third = clients.admit(b).unwrap();
        assert!(clients.admit(b).is_none(), "three in all");
        drop(first);
        assert!(clients.admit(b).is_some());
        assert_eq!(clients.0.open.lock().unwrap().each.len(), 2, "nothing is kept of who left");
    }
}
