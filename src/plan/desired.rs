//! From the configuration to the rows that stand as long as it does: services, and elements of the static sets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::availability::Availability;
use super::mark_index::{Indexes, marks, persistence_mark, tag};
use crate::config::{Cluster, Config, OnFailure, RealServer, UnexpectedData};
use crate::lvs::{
    Destination, FirewallMark, ForwardingMethod, PortRange, ServiceKey, Thresholds, VirtualService, netmask,
};
use crate::state::sets::{Family, Name, Set, Value};
use crate::state::{LocalAddress, Marks, Network, Rules, Service, State};
use crate::steer::Placement;

/// What the rules depend on.
#[must_use]
pub fn rules(config: &Config, indexes: &Indexes) -> Rules {
    let marks = marks(config);
    // The default is the first cluster's; others get a rule with their control marks.
    let mut timeouts: Vec<(Duration, Vec<FirewallMark>)> = Vec::new();
    for (number, cluster) in config.clusters.iter().enumerate() {
        let of_cluster = indexes.placements.iter().filter(|placement| placement.cluster == number);
        let controls = of_cluster.map(|placement| marks.control(placement.index));
        match timeouts.iter_mut().find(|(timeout, _)| *timeout == cluster.pinhole_timeout) {
            Some((_, known)) => known.extend(controls),
            None => timeouts.push((cluster.pinhole_timeout, controls.collect())),
        }
    }
    // Only a timeout of its own needs its marks in the rules: with one for all, the rules stay the same whatever the
    // servers are.
    if let Some((_, marks)) = timeouts.first_mut() {
        marks.clear();
    }
    Rules {
        marks,
        queue: config.kernel.queue,
        nat: config.clusters.iter().any(|cluster| cluster.forwarding == ForwardingMethod::Nat),
        idle: config.kernel.tcp_timeout(),
        pinhole_timeouts: timeouts,
        networks: networks(config),
        connection_packets: config.limits.connection_packets,
        client_packets: config.limits.client_packets,
        client_connections: config.limits.client_connections,
    }
}

/// The networks of `client_match`, each once.
fn networks(config: &Config) -> Vec<Network> {
    let of_vips = config.clusters.iter().flat_map(|cluster| {
        let network = |vip: &IpAddr| Network { family: Family::of(*vip), length: cluster.client_match.prefix(*vip) };
        cluster.vips.iter().map(network)
    });
    let several = of_vips.filter(|network| network.length < if network.family == Family::V4 { 32 } else { 128 });
    several.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Every row that should stand.
#[must_use]
pub fn rows(config: &Config, indexes: &Indexes, availability: &Availability) -> State {
    let mut state = State::default();
    for cluster in &config.clusters {
        for &vip in &cluster.vips {
            if let Some(interface) = cluster.vip_interface.clone() {
                state.addresses.insert(LocalAddress { interface, address: vip });
            }
            Vip { cluster, vip, marks: marks(config), indexes, availability }.rows(&mut state);
        }
    }
    calling_ports(config, indexes, &mut state);
    active_alone(config, indexes, &mut state);
    for placement in &indexes.placements {
        server_rows(config, placement, indexes, &mut state);
        if let Some((cluster, server)) = config.at(placement)
            && availability.is_drained(cluster, server)
        {
            let data = Value::Mark(marks(config).data(placement.index));
            state.element(Set::once(Name::Drained), vec![data], vec![]);
        }
    }
    state
}

/// One VIP of one cluster.
struct Vip<'a> {
    cluster: &'a Cluster,
    vip: IpAddr,
    marks: Marks,
    indexes: &'a Indexes,
    availability: &'a Availability,
}

impl Vip<'_> {
    fn rows(&self, state: &mut State) {
        let vip = Value::Address(self.vip);
        state.element(Set::of(Name::Vips, self.vip), vec![vip], vec![]);
        for &port in &self.cluster.ports {
            let tag = tag(self.marks, self.indexes, self.vip, port);
            state.element(Set::of(Name::Tags, self.vip), vec![vip, Value::Port(port)], vec![tag]);
            state.element(Set::of(Name::Controls, self.vip), vec![vip, Value::Port(port)], vec![]);
            state.element(Set::once(Name::Unexpected), vec![tag], vec![]);
            for name in [Name::Fragments, Name::SynData, Name::OverConnections, Name::BucketsFull] {
                state.element(Set::once(name), vec![tag], vec![]);
            }
            match self.cluster.unexpected_data {
                UnexpectedData::Drop => {}
                UnexpectedData::Reject => state.element(Set::once(Name::RejectTags), vec![tag], vec![]),
                UnexpectedData::Pass => state.element(Set::once(Name::PassTags), vec![tag], vec![]),
            }
            if self.cluster.persistence.is_none() {
                state.element(Set::of(Name::Owned, self.vip), vec![vip, Value::Port(port)], vec![]);
                self.control_service(port, state);
            }
        }
        let tag = tag(self.marks, self.indexes, self.vip, self.cluster.ports.first().copied().unwrap_or_default());
        for range in self.declared_ranges() {
            state.element(Set::of(Name::Passive, self.vip), vec![vip, Value::Ports(range)], vec![tag]);
        }
        if let Some(timeout) = self.cluster.persistence {
            self.persistent(timeout, state);
        }
    }

    /// The Red Hat recipe: control port and passive ports share one mark, whose service has all real servers and
    /// persistence (`ipvsadm -A -f MARK -p TIMEOUT`). Pinholes win over it.
    fn persistent(&self, timeout: Duration, state: &mut State) {
        let mark = persistence_mark(self.marks, self.indexes, self.cluster, self.vip);
        let service = state.service(VirtualService {
            key: ServiceKey::Mark { mark, ipv6: self.vip.is_ipv6() },
            scheduler: self.cluster.scheduler.clone(),
            persistence: Some(timeout),
        });
        let mut ports: BTreeSet<u16> = self.cluster.ports.iter().copied().collect();
        for (_, server) in self.cluster.servers(self.vip) {
            service.destination(Destination {
                address: SocketAddr::new(server.address, 0),
                forwarding: self.cluster.forwarding,
                weight: self.availability.weight(self.cluster, self.vip, server),
                // This service has data connections too, which are never refused; the file may not ask for it.
                thresholds: Thresholds::NONE,
            });
            // For the client's SYN-ACK in DR and TUN. In NAT it belongs to a connection that the server began.
            if self.cluster.forwarding != ForwardingMethod::Nat {
                ports.extend(self.cluster.ports.iter().map(|&port| server.calls_from(port)));
            }
        }
        self.sorry_server(0, service);
        let singles = ports.into_iter().filter_map(|port| PortRange::new(port, port));
        for range in singles.chain(self.declared_ranges()) {
            let key = vec![Value::Address(self.vip), Value::Ports(range)];
            state.element(Set::of(Name::Persistent, self.vip), key, vec![Value::Mark(mark)]);
        }
    }

    /// While every server is down. Port 0 keeps the packet's own.
    fn sorry_server(&self, port: u16, service: &mut Service) {
        if let Some(sorry) = &self.cluster.sorry_server
            && sorry.address.is_ipv4() == self.vip.is_ipv4()
            && self.availability.all_down(self.cluster, self.vip)
        {
            let port = if port == 0 { 0 } else { sorry.port.unwrap_or(port) };
            let address = SocketAddr::new(sorry.address, port);
            let (forwarding, thresholds) = (self.cluster.forwarding, Thresholds::NONE);
            service.destination(Destination { address, forwarding, weight: 1, thresholds });
        }
    }

    /// `ipvsadm -A -t VIP:PORT`, with all real servers.
    fn control_service(&self, port: u16, state: &mut State) {
        let quiescing = self.cluster.quiescing_ports.contains(&port);
        let service = state.service(VirtualService {
            key: ServiceKey::Tcp(SocketAddr::new(self.vip, port)),
            scheduler: self.cluster.scheduler.clone(),
            persistence: None,
        });
        for (_, server) in self.cluster.servers(self.vip) {
            service.destination(Destination {
                address: SocketAddr::new(server.address, server.port.unwrap_or(port)),
                forwarding: self.cluster.forwarding,
                weight: if quiescing { 0 } else { self.availability.weight(self.cluster, self.vip, server) },
                thresholds: server.max_sessions.map_or(Thresholds::NONE, Thresholds::at),
            });
        }
        if !quiescing {
            self.sorry_server(port, service);
        }
    }

    /// The passive ports that the configuration declares, without overlaps (an interval set holds none).
    fn declared_ranges(&self) -> Vec<PortRange> {
        let servers = self.cluster.servers(self.vip).map(|(_, server)| self.cluster.ports_at_vip(server));
        PortRange::merged(servers.filter(|range| *range != PortRange::UNPRIVILEGED).collect())
    }
}

/// The ports that servers call from, with the tag of the VIP's first such cluster: clusters at one VIP may share them.
fn calling_ports(config: &Config, indexes: &Indexes, state: &mut State) {
    let mut at_vip: BTreeMap<IpAddr, (Value, Vec<PortRange>)> = BTreeMap::new();
    for cluster in config.clusters.iter().filter(|cluster| cluster.forwarding != ForwardingMethod::Nat) {
        for &vip in &cluster.vips {
            let ports = cluster.servers(vip).filter_map(|(_, server)| server.active_ports);
            let tag = tag(marks(config), indexes, vip, cluster.ports.first().copied().unwrap_or_default());
            at_vip.entry(vip).or_insert((tag, Vec::new())).1.extend(ports);
        }
    }
    for (vip, (tag, ranges)) in at_vip {
        for range in PortRange::merged(ranges) {
            let key = vec![Value::Address(vip), Value::Ports(range)];
            state.element(Set::of(Name::CallingPorts, vip), key, vec![tag]);
        }
    }
}

/// The active ports that one server alone calls from, where what no session of this director expects may pass: the control
/// connection may be at another one.
fn active_alone(config: &Config, indexes: &Indexes, state: &mut State) {
    let alone = config.called_from_by_one();
    for placement in &indexes.placements {
        let Some((cluster, server)) = config.at(placement).filter(|(cluster, _)| cluster.steers_by_port()) else {
            continue;
        };
        let data = Value::Mark(marks(config).data(placement.index));
        let ports = cluster.ports.iter().map(|&port| server.calls_from(port));
        for port in ports.filter(|&port| alone.contains(&(placement.vip, port))) {
            let key = vec![Value::Address(placement.vip), Value::Port(port)];
            state.element(Set::of(Name::ActiveAlone, placement.vip), key, vec![data]);
        }
    }
}

/// The rows of one (cluster, VIP, server).
fn server_rows(config: &Config, placement: &Placement, indexes: &Indexes, state: &mut State) {
    let marks = marks(config);
    let (data, control) = (marks.data(placement.index), Value::Mark(marks.control(placement.index)));
    let (vip, server) = (Value::Address(placement.vip), Value::Address(placement.address));
    let service = state.service(VirtualService {
        key: ServiceKey::Mark { mark: data, ipv6: placement.vip.is_ipv6() },
        scheduler: "rr".into(),
        persistence: None,
    });
    // Port 0 keeps the packet's own port. Weight 1 also while the server drains, and no threshold: its sessions still transfer.
    let (address, forwarding) = (SocketAddr::new(placement.address, 0), placement.forwarding);
    service.destination(Destination { address, forwarding, weight: 1, thresholds: Thresholds::NONE });
    let data = Value::Mark(data);
    state.element(Set::of(Name::Landed, placement.vip), vec![data, server], vec![]);
    state.element(Set::once(Name::Misdirected), vec![data], vec![]);
    for name in [Name::OverConnection, Name::OverClient, Name::BucketsFull] {
        state.element(Set::once(name), vec![control], vec![]);
    }
    if let Some(range) = placement.own_range {
        state.element(Set::of(Name::Ranges, placement.vip), vec![vip, Value::Ports(range)], vec![control]);
        let mask = netmask(placement.vip, placement.client_prefix);
        if mask != netmask(placement.vip, u8::MAX) {
            let key = vec![control, Value::Address(mask)];
            state.element(Set::of(Name::Networks, placement.vip), key, vec![]);
        }
    }
    let Some((cluster, real_server)) = config.at(placement) else { return };
    if cluster.on_failure == OnFailure::Hold {
        state.element(Set::once(Name::Hold), vec![control], vec![]);
    }
    for &port in &cluster.ports {
        let tag = tag(marks, indexes, placement.vip, port);
        state.element(Set::of(Name::ServerMarks, placement.vip), vec![tag, server], vec![control]);
        let port = Port { number: port, tag, data, persistent: cluster.persistence.is_some() };
        port_rows(placement, real_server, &port, state);
    }
}

/// One control port of one (cluster, VIP, server).
struct Port {
    number: u16,
    tag: Value,
    data: Value,
    persistent: bool,
}

/// The rows of one control port on one real server.
fn port_rows(placement: &Placement, real_server: &RealServer, port: &Port, state: &mut State) {
    let &Port { number: port, tag, data, persistent } = port;
    let (vip, server) = (Value::Address(placement.vip), Value::Address(placement.address));
    let active = Value::Port(real_server.calls_from(port));
    // Where two clusters share a server, a VIP and an active port the first in the file keeps the row.
    let mut once = |name, key: Vec<Value>, value| {
        state.elements.entry(Set::of(name, placement.vip)).or_default().entry(key).or_insert(value);
    };
    if placement.forwarding == ForwardingMethod::Nat {
        let control = Value::Port(real_server.port.unwrap_or(port));
        for name in [Name::NatServers, Name::OverReplies, Name::OverClientReplies] {
            once(name, vec![server, control], vec![]);
        }
        once(Name::NatActive, vec![server, active], vec![tag]);
        once(Name::ActiveServers, vec![vip, server], vec![data]);
        if persistent {
            once(Name::PersistentActive, vec![server, active], vec![vip]);
        }
        return;
    }
    once(Name::ActivePorts, vec![vip, active], vec![tag]);
    let Some(ports) = real_server.active_ports else { return };
    let number = real_server.calls_from(port);
    let single = PortRange::new(number, number).filter(|_| !ports.contains(number));
    for range in single.into_iter().chain([ports]) {
        state.element(Set::once(Name::ActiveRanges), vec![data, Value::Ports(range)], vec![]);
    }
}

#[cfg(test)]
mod tests;
