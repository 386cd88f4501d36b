//! How many connections there may be: all together, and from one client.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;

/// Places for connections.
#[derive(Debug)]
pub(super) struct Slots {
    limit: usize,
    limit_per_client: usize,
    taken: AtomicUsize,
    clients: [Mutex<HashMap<IpAddr, usize, RandomState>>; SHARDS],
}

/// The place of one connection; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    client: IpAddr,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// For nobody.
    All,
    /// For this client.
    Client,
}

impl Slots {
    pub(super) fn new(limit: usize, limit_per_client: usize) -> Self {
        Self { limit, limit_per_client, taken: AtomicUsize::new(0), clients: Default::default() }
    }

    pub(super) fn take(self: &Arc<Self>, client: IpAddr) -> Result<Slot, Full> {
        if self.taken.fetch_add(1, Ordering::AcqRel) >= self.limit {
            self.taken.fetch_sub(1, Ordering::AcqRel);
            return Err(Full::All);
        }
        let client = one(client);
        let mut shard = self.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        let count = shard.entry(client).or_insert(0);
        if *count >= self.limit_per_client {
            self.taken.fetch_sub(1, Ordering::AcqRel);
            return Err(Full::Client);
        }
        *count += 1;
        drop(shard);
        Ok(Slot { slots: Arc::clone(self), client })
    }

    fn shard(&self, client: IpAddr) -> &Mutex<HashMap<IpAddr, usize, RandomState>> {
        let last = match client {
            IpAddr::V4(address) => address.octets()[3],
            // Its network: the last octet that `one` leaves.
            IpAddr::V6(address) => address.octets()[7],
        };
        let [first, ..] = &self.clients;
        self.clients.get(usize::from(last) % SHARDS).unwrap_or(first)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut shard = self.slots.shard(self.client).lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = shard.entry(self.client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        drop(shard);
        self.slots.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What counts as one client: an address, or with IPv6 the network of 64 bits that any subscriber has to itself.
fn one(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

const SHARDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let slots = Arc::new(Slots::new(2, 8));
        let first = slots.take(ip("192.0.2.1")).unwrap();
        let _second = slots.take(ip("192.0.2.2")).unwrap();
        assert_eq!(slots.take(ip("192.0.2.3")).unwrap_err(), Full::All);
        drop(first);
        let _third = slots.take(ip("192.0.2.3")).unwrap();
    }

    #[test]
    fn one_client_cannot_take_the_places_of_others() {
        let slots = Arc::new(Slots::new(8, 1));
        let held = slots.take(ip("192.0.2.1")).unwrap();
        assert_eq!(slots.take(ip("192.0.2.1")).unwrap_err(), Full::Client);
        assert_eq!(
            slots.take(ip("::ffff:192.0.2.1")).unwrap_err(),
            Full::Client,
            "the same, as IPv6 writes it"
        );
        let _other = slots.take(ip("192.0.2.17")).unwrap();
        drop(held);
        let _again = slots.take(ip("192.0.2.1")).unwrap();
    }

    #[test]
    fn one_network_of_ipv6_is_one_client() {
        let slots = Arc::new(Slots::new(8, 1));
        let _held = slots.take(ip("2001:db8:0:1::1")).unwrap();
        assert_eq!(slots.take(ip("2001:db8:0:1:ffff::2")).unwrap_err(), Full::Client);
        let _other = slots.take(ip("2001:db8:0:2::1")).unwrap();
    }

    #[test]
    fn refusals_leave_nothing_behind() {
        let slots = Arc::new(Slots::new(1, 1));
        let held = slots.take(ip("192.0.2.1")).unwrap();
        for _ in 0..100 {
            assert!(slots.take(ip("192.0.2.1")).is_err());
        }
        drop(held);
        assert_eq!(slots.taken.load(Ordering::SeqCst), 0);
        assert!(slots.clients.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
