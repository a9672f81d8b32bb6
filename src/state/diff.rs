//! From the actual state to the desired one, in an order that never marks a packet for a service that is not there.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::address::LocalAddress;
use super::change::Change;
use super::rows::{DestinationState, Service, State};
use super::sets::{Key, Set, Value};
use crate::lvs::{Destination, ServiceKey};

/// The steps from `actual` to `desired`, in order:
///
/// 1. firewall-mark services and their real servers are added and edited (no mark into the void, and never two servers in
///    one data service);
/// 2. elements are deleted and added; the caller puts neighbouring element changes into one nft transaction, so that a
///    range changes hands at one instant; `owned` says that a service is ours before it is there;
/// 3. address services are added and edited (new sessions only from here on);
/// 4. VIPs are added to their interfaces;
/// 5. what is no longer wanted is deleted, its `owned` element after its service, its address when no connection lives.
///
/// Deleting a service or real server under live entries silences them: it gets weight 0 instead, and is deleted by a
/// later diff when its last connection is gone.
#[must_use]
pub fn diff(actual: &State, desired: &State) -> Vec<Change> {
    let mut changes = Vec::new();
    services(actual, desired, Phase::Marks, &mut changes);
    elements(actual, desired, Batch::AllButDisowned, &mut changes);
    services(actual, desired, Phase::Addresses, &mut changes);
    changes.extend(desired.addresses.difference(&actual.addresses).cloned().map(Change::AddAddress));
    for (key, service) in &actual.services {
        match desired.services.get(key) {
            None => remove_service(*key, service, &mut changes),
            Some(kept) if matches!(key, ServiceKey::Tcp(_)) => remove_destinations(*key, service, kept, &mut changes),
            Some(_) => {}
        }
    }
    elements(actual, desired, Batch::Disowned, &mut changes);
    let gone = actual.addresses.difference(&desired.addresses);
    changes.extend(gone.filter(|gone| !in_use(actual, desired, gone)).cloned().map(Change::DeleteAddress));
    changes
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Marks,
    Addresses,
}

fn services(actual: &State, desired: &State, phase: Phase, changes: &mut Vec<Change>) {
    for (key, wanted) in &desired.services {
        if (phase == Phase::Marks) != matches!(key, ServiceKey::Mark { .. }) {
            continue;
        }
        let present = actual.services.get(key);
        match present {
            None => changes.push(Change::AddService(wanted.service.clone())),
            Some(present) if present.service != wanted.service => {
                changes.push(Change::EditService(wanted.service.clone()));
            }
            Some(_) => {}
        }
        if let (Phase::Marks, Some(present)) = (phase, present) {
            // Never two servers in one data service: the scheduler would choose between them.
            remove_destinations(*key, present, wanted, changes);
        }
        for (address, entry) in &wanted.destinations {
            match present.and_then(|service| service.destinations.get(address)) {
                None => changes.push(Change::AddDestination(*key, entry.destination.clone())),
                Some(there) if there.destination != entry.destination => {
                    changes.push(Change::EditDestination(*key, entry.destination.clone()));
                }
                Some(_) => {}
            }
        }
    }
}

fn remove_service(key: ServiceKey, service: &Service, changes: &mut Vec<Change>) {
    if !lives(service) {
        changes.push(Change::DeleteService(key));
        return;
    }
    // A data service goes on taking the data connections of the sessions that are still there; a service that is chosen
    // from (addresses, persistence) takes no new ones.
    let data = matches!(key, ServiceKey::Mark { .. }) && service.service.persistence.is_none();
    for entry in service.destinations.values().filter(|_| !data) {
        drain(key, entry, changes);
    }
}

fn remove_destinations(key: ServiceKey, service: &Service, kept: &Service, changes: &mut Vec<Change>) {
    for (address, entry) in &service.destinations {
        if kept.destinations.contains_key(address) {
            continue;
        }
        if entry.connections == 0 {
            changes.push(Change::DeleteDestination(key, entry.destination.clone()));
        } else {
            drain(key, entry, changes);
        }
    }
}

fn drain(key: ServiceKey, entry: &DestinationState, changes: &mut Vec<Change>) {
    if entry.destination.weight != 0 {
        changes.push(Change::EditDestination(key, Destination { weight: 0, ..entry.destination.clone() }));
    }
}

/// Whether an element of `owned` is about this service.
fn names(key: &Key, service: &ServiceKey) -> bool {
    matches!((key.as_slice(), service), ([Value::Address(address), Value::Port(port)], ServiceKey::Tcp(at))
        if *address == at.ip() && *port == at.port())
}

/// Whether an element of `nat_servers` is about a real server that still has connections of this service.
fn answers(key: &Key, service: &Service) -> bool {
    matches!(key.as_slice(), [Value::Address(address), Value::Port(port)]
        if service.destinations.get(&SocketAddr::new(*address, *port)).is_some_and(|entry| entry.connections > 0))
}

fn lives(service: &Service) -> bool {
    service.destinations.values().any(|entry| entry.connections > 0)
}

/// Whether live sessions of a service that leaves need the VIP, and no other service has it.
fn in_use(actual: &State, desired: &State, gone: &LocalAddress) -> bool {
    let elsewhere = desired.addresses.iter().any(|wanted| wanted.address == gone.address);
    let mut quiescing = actual.services.iter().filter(|(key, _)| !desired.services.contains_key(key));
    !elsewhere
        && quiescing.any(|(key, service)| {
            let here = match key {
                ServiceKey::Tcp(at) => at.ip() == gone.address,
                // With persistence the service's VIP is not known here.
                ServiceKey::Mark { ipv6, .. } => {
                    service.service.persistence.is_some() && *ipv6 == gone.address.is_ipv6()
                }
            };
            here && lives(service)
        })
}

#[derive(Clone, Copy, PartialEq)]
enum Batch {
    AllButDisowned,
    Disowned,
}

fn elements(actual: &State, desired: &State, which: Batch, changes: &mut Vec<Change>) {
    let none = BTreeMap::new();
    for set in Set::all().filter(|set| set.is_static()) {
        let is = actual.elements.get(&set).unwrap_or(&none);
        let should = desired.elements.get(&set).unwrap_or(&none);
        let owned = set.name == super::sets::Name::Owned;
        if owned == (which == Batch::Disowned) {
            for key in is.keys().filter(|key| is.get(*key) != should.get(*key)) {
                if owned && actual.services.iter().any(|(service, kept)| names(key, service) && lives(kept)) {
                    continue;
                }
                if set.name == super::sets::Name::NatServers && actual.services.values().any(|kept| answers(key, kept))
                {
                    continue;
                }
                changes.push(Change::DeleteElement(set, key.clone()));
            }
        }
        if which == Batch::AllButDisowned {
            for (key, value) in should.iter().filter(|(key, value)| is.get(*key) != Some(value)) {
                changes.push(Change::AddElement(set, key.clone(), value.clone()));
            }
        }
    }
}

#[cfg(test)]
#[path = "diff/tests.rs"]
mod tests;
