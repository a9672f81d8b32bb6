//! What the file no longer names and sessions still use: real servers, control ports, VIPs, whole clusters.
//!
//! They stay in the configuration in force, take no new sessions (weight 0), and go with their last control connection. So a
//! removed server's sessions are steered like everyone else's until they end.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::mark_index::{self, Indexes, KnownIndexes};
use crate::config::{Cluster, Config, RealServer};
use crate::lvs::{ForwardingMethod, PortRange, ServiceKey};
use crate::state::sets::{Name, Set, Value};
use crate::state::{Marks, State};

/// `config` with what `before` named beside it and still has connections in the kernel.
#[must_use]
pub fn with(config: &Config, before: &Config, actual: &State) -> Config {
    let marks = mark_index::marks(config);
    let mut result = config.clone();
    for old in &before.clusters {
        for &vip in &old.vips {
            for &port in &old.ports {
                let servers = old.servers(vip).map(|(_, server)| server);
                let used: Vec<&RealServer> = servers
                    .filter(|server| match connections(actual, marks, (vip, port), server.address) {
                        Some(count) => count > 0,
                        // Someone took it away: whether its connections are over is known when it is back. (With
                        // persistence the service of the first port is that of all.)
                        None => old.persistence.is_none() || old.ports.first() == Some(&port),
                    })
                    .collect();
                if !used.is_empty()
                    && let Some(at) = place(&mut result, config, old, (vip, port))
                {
                    keep(&mut result, at, &used);
                }
            }
        }
    }
    result
}

/// What the kernel's rows say was configured, beside `config`: for a daemon that has just started. A VIP that no cluster has
/// any more is not in it.
#[must_use]
pub fn remembered(config: &Config, actual: &State) -> Config {
    let marks = mark_index::marks(config);
    let mut before = config.clone();
    for ((vip, port, address), index) in KnownIndexes::read(marks, actual).by_server {
        let at_vip = |cluster: &&mut Cluster| cluster.vips.contains(&vip);
        let Some(cluster) = before.clusters.iter_mut().find(at_vip) else { continue };
        if !cluster.ports.contains(&port) {
            cluster.ports.push(port);
        }
        if !cluster.real_servers.iter().any(|server| server.address == address) {
            cluster.real_servers.push(server_of(actual, marks, (vip, port, address), index));
        }
    }
    before
}

/// What a person should know before a plan is carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// What sessions will notice.
    pub harm: BTreeSet<String>,
    /// Servers and ports that stay until their last connection is gone.
    pub quiescing: BTreeSet<String>,
}

/// What a human should know before `inforce` is put in force: `file` with what quiesces.
#[must_use]
pub fn notes(file: &Config, inforce: &Config, indexes: &Indexes, actual: &State) -> Notes {
    let marks = mark_index::marks(inforce);
    let mut notes = Notes::default();
    for placement in &indexes.placements {
        let Some((cluster, server)) = inforce.at(placement) else { continue };
        let ports = cluster.ports.iter();
        let counts = ports.filter_map(|&port| connections(actual, marks, (placement.vip, port), placement.address));
        let left = counts.sum::<u64>();
        if left == 0 {
            continue;
        }
        let name = format!("{}/{} ({})", cluster.name, server.name, placement.address);
        let named = file.clusters.iter().filter(|named| named.vips.contains(&placement.vip));
        if !named.flat_map(|named| &named.real_servers).any(|named| named.address == server.address) {
            // What a name stood for may be no longer in the file, or no longer the name's.
            let at_vip = file.clusters.iter().filter(|of| of.vips.contains(&placement.vip));
            let by_name = at_vip.flat_map(|of| &of.real_servers).any(|server| server.host.is_some());
            let where_from = if by_name { "in the file, nor the address of a name in it" } else { "in the file" };
            notes.quiescing.insert(format!(
                "{name} is no longer {where_from}: it is removed when its last connection ends ({left} now)"
            ));
        }
        let standing_range = range_of(actual, marks, placement.index);
        let within = |range: PortRange| {
            placement.own_range.is_some_and(|own| own.contains(range.first()) && own.contains(range.last()))
        };
        if let Some(range) = standing_range.filter(|range| !within(*range)) {
            notes.harm.insert(format!(
                "{name}: ports {range} are its own no longer: passive transfers of its {left} connections that use them will \
                 fail (to lose none, drain it first)"
            ));
        }
        let key = ServiceKey::Mark { mark: marks.data(placement.index), ipv6: placement.vip.is_ipv6() };
        let data = actual.services.get(&key).and_then(|service| service.destinations.values().next());
        if data.is_some_and(|data| data.destination.forwarding != placement.forwarding) {
            notes.harm.insert(format!(
                "{name}: its {left} connections keep their forwarding method, their new data connections get another: they \
                 will fail unless the server serves both (to lose none, drain it first)"
            ));
        }
    }
    notes
}

/// Where `port` of `vip` goes on: the cluster that has both, else the one that has the VIP (it gets a quiescing port), else one
/// that is quiescing itself.
fn place(result: &mut Config, config: &Config, old: &Cluster, (vip, port): (IpAddr, u16)) -> Option<usize> {
    let has = |cluster: &Cluster, vip: &IpAddr| cluster.vips.contains(vip) && cluster.ports.contains(&port);
    if let Some(at) = result.clusters.iter().position(|cluster| has(cluster, &vip)) {
        return Some(at);
    }
    let same = result.clusters.iter().position(|cluster| cluster.name == old.name && cluster.vips.contains(&vip));
    let at = same.or_else(|| result.clusters.iter().position(|cluster| cluster.vips.contains(&vip)));
    let Some(at) = at else {
        let gone = |vip: &&IpAddr| !config.clusters.iter().any(|cluster| cluster.vips.contains(vip));
        let vips = old.vips.iter().filter(gone).copied().collect();
        let quiescing = Cluster { vips, sorry_server: None, real_servers: Vec::new(), ..old.clone() };
        result.clusters.push(quiescing);
        return Some(result.clusters.len() - 1);
    };
    let cluster = result.clusters.get(at)?;
    // With persistence all ports are one service, which goes on; a VIP:PORT of another cluster is that one's.
    let taken = cluster.vips.iter().any(|vip| result.clusters.iter().any(|other| has(other, vip)));
    if cluster.persistence.is_some() || taken {
        return None;
    }
    let cluster = result.clusters.get_mut(at)?;
    cluster.ports.push(port);
    cluster.quiescing_ports.push(port);
    Some(at)
}

/// Adds the servers that the cluster does not have, without new sessions.
fn keep(result: &mut Config, at: usize, used: &[&RealServer]) {
    for server in used {
        let Some(cluster) = result.clusters.get(at) else { return };
        if cluster.real_servers.iter().any(|other| other.address == server.address) {
            continue;
        }
        let mut quiescing = RealServer { weight: 0, mark: None, host: None, ..(*server).clone() };
        if cluster.real_servers.iter().any(|other| other.name == quiescing.name) {
            // As a restart would call it: a name is one server's, for labels, drains and health.
            quiescing.name = quiescing.address.to_string();
        }
        let near = result.clusters.iter().filter(|other| other.vips.iter().any(|vip| cluster.vips.contains(vip)));
        let overlaps = |other: &RealServer| other.passive_ports.overlaps(quiescing.passive_ports);
        let declared = |other: &&RealServer| other.passive_ports != PortRange::UNPRIVILEGED;
        if near.flat_map(|other| &other.real_servers).filter(declared).any(overlaps) {
            // Whoever has it now owns it. In NAT the replies say which port is whose.
            (quiescing.passive_ports, quiescing.shared) = (PortRange::UNPRIVILEGED, true);
        }
        if let Some(cluster) = result.clusters.get_mut(at) {
            cluster.real_servers.push(quiescing);
        }
    }
}

/// How many connections IPVS counts from this VIP and port to this server; `None` when it has no such destination.
fn connections(actual: &State, marks: Marks, (vip, port): (IpAddr, u16), server: IpAddr) -> Option<u64> {
    let by_address = actual.services.get(&ServiceKey::Tcp(SocketAddr::new(vip, port)));
    let tag = actual.elements.get(&Set::of(Name::Tags, vip));
    let tag = tag.and_then(|tags| tags.get(&vec![Value::Address(vip), Value::Port(port)]));
    let mark = tag.and_then(|tag| if let [Value::Mark(tag)] = tag[..] { marks.tag_index(tag) } else { None });
    let by_mark = mark.and_then(|index| {
        actual.services.get(&ServiceKey::Mark { mark: marks.persistence(index), ipv6: vip.is_ipv6() })
    });
    let destinations = by_address.into_iter().chain(by_mark).flat_map(|service| &service.destinations);
    let to_it = destinations.filter(|(to, _)| to.ip() == server).map(|(_, entry)| u64::from(entry.connections));
    to_it.reduce(u64::saturating_add)
}

/// A real server as its rows tell it.
fn server_of(actual: &State, marks: Marks, (vip, port, address): (IpAddr, u16, IpAddr), index: u16) -> RealServer {
    let control = actual.services.get(&ServiceKey::Tcp(SocketAddr::new(vip, port)));
    let to =
        control.and_then(|control| control.destinations.values().find(|to| to.destination.address.ip() == address));
    let own = to.map(|to| to.destination.address.port()).filter(|&own| own != port);
    let nat = to.is_some_and(|to| to.destination.forwarding == ForwardingMethod::Nat);
    let range = range_of(actual, marks, index);
    let calls = actual.elements.get(&Set::of(Name::NatActive, address)).into_iter().flatten();
    let called = calls.map(|(key, _)| key.as_slice()).find_map(|key| match *key {
        [Value::Address(from), Value::Port(port)] if from == address => Some(port),
        _ => None,
    });
    let (alone, any) = calls_of(actual, marks, vip, index);
    RealServer {
        name: address.to_string(),
        address,
        host: None,
        port: own.filter(|_| nat),
        weight: 0,
        max_sessions: to.map(|to| to.destination.thresholds.upper).filter(|&upper| upper > 0),
        passive_ports: range.unwrap_or(PortRange::UNPRIVILEGED),
        shared: range.is_none(),
        active_port: called.or(alone),
        active_ports: any,
        mark: None,
    }
}

/// The port that a server in DR or TUN calls from, where one row tells it, and the range that it may call from.
fn calls_of(actual: &State, marks: Marks, vip: IpAddr, index: u16) -> (Option<u16>, Option<PortRange>) {
    let data = Value::Mark(marks.data(index));
    let alone = actual.elements.get(&Set::of(Name::ActiveAlone, vip)).into_iter().flatten();
    let alone = alone.filter(|(_, value)| value.first() == Some(&data)).filter_map(|(key, _)| match *key.as_slice() {
        [Value::Address(at), Value::Port(port)] if at == vip => Some(port),
        _ => None,
    });
    let ranges = actual.elements.get(&Set::once(Name::ActiveRanges)).into_iter().flatten();
    let ranges = ranges.filter_map(|(key, _)| match *key.as_slice() {
        [mark, Value::Ports(range)] if mark == data => Some(range),
        _ => None,
    });
    let any = ranges.clone().max_by_key(|range| range.last().saturating_sub(range.first()));
    let beside = ranges.filter(|range| Some(*range) != any).map(PortRange::first);
    (only(alone).or_else(|| only(beside)), any)
}

/// The port, if there is one alone: with several control ports each has its own.
fn only(mut ports: impl Iterator<Item = u16>) -> Option<u16> {
    ports.next().filter(|_| ports.next().is_none())
}

/// The range that steers to this index.
fn range_of(actual: &State, marks: Marks, index: u16) -> Option<PortRange> {
    let control = Value::Mark(marks.control(index));
    let sets = Set::all().filter(|set| set.name == Name::Ranges);
    let mut rows = sets.filter_map(|set| actual.elements.get(&set)).flatten();
    rows.find_map(|(key, value)| match (key.as_slice(), value.as_slice()) {
        ([_, Value::Ports(range)], [mark]) if *mark == control => Some(*range),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
