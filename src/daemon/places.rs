//! Places at a listener: so many in all, and so many for one source, so that no source takes them all. A connection beyond
//! that is closed at once: while it waited it would hold a descriptor that nft, the health checks and the others need.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::lvs::netmask;

/// The places; clones share them.
#[derive(Clone, Debug)]
pub struct Places<S> {
    most: usize,
    each: usize,
    taken: Arc<Mutex<BTreeMap<S, usize>>>,
}

/// A place that is taken; free again when this is dropped.
#[derive(Debug)]
pub struct Seat<S: Ord> {
    source: S,
    taken: Arc<Mutex<BTreeMap<S, usize>>>,
}

impl<S: Ord + Clone> Places<S> {
    /// `most` places in all, `each` for one source.
    #[must_use]
    pub fn new(most: usize, each: usize) -> Self {
        Self { most, each, taken: Arc::default() }
    }

    /// A place for `source`; `None` when all are taken, or when `source` has its share.
    #[must_use]
    pub fn take(&self, source: S) -> Option<Seat<S>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&source).copied().unwrap_or_default();
        if own >= self.each || taken.values().sum::<usize>() >= self.most {
            return None;
        }
        taken.insert(source.clone(), own + 1);
        drop(taken);
        Some(Seat { source, taken: Arc::clone(&self.taken) })
    }
}

impl<S: Ord> Drop for Seat<S> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.source) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.source);
            }
        }
    }
}

/// The source that a connection counts for: the address, in IPv6 its /64, which one host has for itself.
#[must_use]
pub fn source(address: IpAddr) -> IpAddr {
    match (address.to_canonical(), netmask(Ipv6Addr::UNSPECIFIED.into(), 64)) {
        (IpAddr::V6(address), IpAddr::V6(mask)) => IpAddr::V6(address & mask),
        (address, _) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_share_and_leaves_the_rest() {
        let places = Places::new(3, 2);
        let first = places.take("a");
        assert!(first.is_some());
        let _second = places.take("a").expect("its second");
        assert!(places.take("a").is_none(), "a third of the same");
        let _third = places.take("b").expect("the others' place");
        assert!(places.take("c").is_none(), "a fourth in all");
        drop(first);
        assert!(places.take("a").is_some());
    }

    #[test]
    fn a_host_is_one_source() {
        let source = |text: &str| super::source(text.parse().expect("an address"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:0:0:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    }
}
