//! Our rows as a value: what stands in the kernel, or what should.

use std::collections::{BTreeMap, BTreeSet};

use super::address::LocalAddress;
use super::sets::{Key, Set};
use crate::lvs::{Destination, ServiceKey, VirtualService};

/// One real server of a service, and how many connections the kernel counts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationState {
    /// The real server as IPVS knows it.
    pub destination: Destination,
    /// Active and inactive connections; 0 in a desired state.
    pub connections: u32,
}

/// A virtual service and its real servers, by address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Key, scheduler and persistence.
    pub service: VirtualService,
    /// Its real servers, by address and port.
    pub destinations: BTreeMap<std::net::SocketAddr, DestinationState>,
}

/// Our rows: IPVS services, the elements of the static sets (the value is empty for a set), and addresses of interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Our services in IPVS, with their real servers.
    pub services: BTreeMap<ServiceKey, Service>,
    /// Elements of the static sets.
    pub elements: BTreeMap<Set, BTreeMap<Key, Key>>,
    /// VIPs that we add to interfaces.
    pub addresses: BTreeSet<LocalAddress>,
}

impl State {
    /// Adds an element to a static set; `value` is empty for a set.
    pub fn element(&mut self, set: Set, key: Key, value: Key) {
        self.elements.entry(set).or_default().insert(key, value);
    }

    /// Adds a service without real servers, unless it is there.
    pub fn service(&mut self, service: VirtualService) -> &mut Service {
        let key = service.key;
        self.services.entry(key).or_insert_with(|| Service { service, destinations: BTreeMap::new() })
    }
}

impl Service {
    /// Adds a real server.
    pub fn destination(&mut self, destination: Destination) {
        self.destinations.insert(destination.address, DestinationState { destination, connections: 0 });
    }
}
