//! The packets of a cluster's sessions that other people's rules see, hook by hook.
//!
//! What conntrack says of them: with `net.ipv4.vs.conntrack=0` nothing is ever confirmed, so that each packet of a
//! client is looked at as the first of its connection: SYN and ACK are NEW (the ACK only with
//! `nf_conntrack_tcp_loose=1`), SYN-ACK and FIN are INVALID. With `conntrack=1` NAT is tracked as usual; of DR and TUN
//! only one half is seen, so all but the SYN is INVALID. Measured on 6.12: the NAT replies. Not measured: the client's
//! SYN-ACK, the FIN and DR with `conntrack=1` (by the table `tcp_conntracks` of nf_conntrack_proto_tcp.c).

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::facts::Facts;
use super::super::firewall::PacketClass;
use crate::config::{Cluster, RealServer};
use crate::lvs::{ForwardingMethod, PortRange};

const SYN: &[&str] = &["syn"];
const SYN_ACK: &[&str] = &["syn", "ack"];
const ACK: &[&str] = &["ack"];
const FIN: &[&str] = &["fin", "ack"];

/// One kind of packet and the hooks that it passes before IPVS takes it, or after.
pub struct Leg {
    /// The packets that must pass.
    pub packet: PacketClass,
    /// Hook and the priorities below which its chains count.
    pub hooks: &'static [(&'static str, i64)],
    /// What fails when it is dropped.
    pub breaks: &'static str,
}

const IN: &[(&str, i64)] = &[("prerouting", i64::MAX), ("input", 99)];
const THROUGH: &[(&str, i64)] = &[("prerouting", i64::MAX), ("forward", 100)];
/// A first packet whose destination connection tracking translates (`translate`, -110; read: all such chains run at -100), before
/// that and behind it.
const TRANSLATED: &[(&str, i64)] = &[("prerouting", -100)];
const ONWARD: &[(&str, i64)] = &[("forward", i64::MAX), ("postrouting", i64::MAX)];
const OUT: &[(&str, i64)] = &[("output", i64::MAX), ("postrouting", i64::MAX)];

/// What conntrack says of the packets of a cluster.
struct States {
    ack: &'static str,
    close: &'static str,
    reply: &'static str,
    sent: &'static str,
}

impl States {
    fn of(facts: &Facts, cluster: &Cluster) -> Self {
        let loose = facts.number("net/netfilter/nf_conntrack_tcp_loose") != Some(0);
        match (facts.conntrack(), cluster.forwarding == ForwardingMethod::Nat) {
            (false, _) => Self {
                ack: if loose { "new" } else { "invalid" },
                close: "invalid",
                reply: "invalid",
                sent: "untracked",
            },
            (true, true) => Self { ack: "established", close: "established", reply: "established", sent: "new" },
            (true, false) => Self { ack: "invalid", close: "invalid", reply: "invalid", sent: "new" },
        }
    }
}

/// Every kind of packet of a cluster.
pub fn legs(facts: &Facts, cluster: &Cluster) -> Vec<Leg> {
    let states = States::of(facts, cluster);
    let mut legs = Vec::new();
    for &vip in &cluster.vips {
        let servers: Vec<&RealServer> =
            cluster.real_servers.iter().filter(|server| server.address.is_ipv6() == vip.is_ipv6()).collect();
        let inputs = facts.client_devices(vip).into_iter().map(str::to_owned).collect();
        incoming(&Side { cluster, vip, servers: &servers, states: &states, inputs }, &mut legs);
        if cluster.forwarding == ForwardingMethod::Nat {
            for server in &servers {
                replies(facts, cluster, server, &states, &mut legs);
            }
        }
        for server in servers {
            sent(cluster, vip, server, &states, &mut legs);
        }
    }
    legs
}

struct Side<'a> {
    cluster: &'a Cluster,
    vip: IpAddr,
    servers: &'a [&'a RealServer],
    states: &'a States,
    inputs: Vec<String>,
}

const fn ip(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "ip6" } else { "ip" }
}

const fn single(port: u16) -> Option<PortRange> {
    PortRange::new(port, port)
}

/// The server's own control ports.
fn control_ports(cluster: &Cluster, server: &RealServer) -> BTreeSet<u16> {
    cluster.ports.iter().map(|&port| server.port.unwrap_or(port)).collect()
}

/// The source ports of the server's active data connections.
fn active_ports(cluster: &Cluster, server: &RealServer) -> BTreeSet<PortRange> {
    if let Some(range) = server.active_ports {
        return [range].into();
    }
    let ports = control_ports(cluster, server).into_iter();
    ports.filter_map(|port| single(server.active_port.unwrap_or_else(|| port.saturating_sub(1)))).collect()
}

/// From a client to the VIP.
fn incoming(side: &Side<'_>, legs: &mut Vec<Leg>) {
    let Side { cluster, vip, states, .. } = *side;
    let mut leg = |what: &str, hooks, ports: PortRange, (state, flags), breaks| {
        let packet = PacketClass {
            what: format!("{what} to {vip}:{ports}"),
            accept: (format!("{} daddr {vip} tcp dport", ip(vip)), Some(ports)),
            ipv6: vip.is_ipv6(),
            source: None,
            destination: Some(vip),
            source_ports: None,
            destination_ports: Some(ports),
            state,
            flags,
            inputs: side.inputs.clone(),
        };
        legs.push(Leg { packet, hooks, breaks });
    };
    for port in cluster.ports.iter().filter_map(|&port| single(port)) {
        leg("a client's SYN", IN, port, ("new", SYN), "nobody can log in");
        leg("a client's command", IN, port, (states.ack, ACK), "sessions hang after the first packet");
        leg(
            "a client's FIN",
            IN,
            port,
            (states.close, FIN),
            "connections never close: IPVS counts them as open for 15 minutes",
        );
    }
    let hooks = if cluster.public_ports.is_some() { TRANSLATED } else { IN };
    let ranges: BTreeSet<PortRange> = side.servers.iter().map(|server| cluster.ports_at_vip(server)).collect();
    for range in ranges {
        leg("a client's passive data SYN", hooks, range, ("new", SYN), "passive transfers hang");
    }
    if cluster.forwarding != ForwardingMethod::Nat {
        let active: BTreeSet<PortRange> =
            side.servers.iter().flat_map(|server| active_ports(cluster, server)).collect();
        for ports in active {
            let state = ("invalid", SYN_ACK);
            leg(
                "a client's active data SYN-ACK (INVALID for conntrack, which never saw the SYN)",
                IN,
                ports,
                state,
                "active transfers hang",
            );
        }
    }
}

/// From a NAT server to a client, before IPVS rewrites the source.
fn replies(facts: &Facts, cluster: &Cluster, server: &RealServer, states: &States, legs: &mut Vec<Leg>) {
    let address = server.address;
    let inputs: Vec<String> = facts.device(address).into_iter().map(str::to_owned).collect();
    let mut leg = |what: &str, ports: PortRange, (state, flags), breaks| {
        let packet = PacketClass {
            what: format!("{what} from {address}:{ports}"),
            accept: (format!("{} saddr {address} tcp sport", ip(address)), Some(ports)),
            ipv6: address.is_ipv6(),
            source: Some(address),
            destination: None,
            source_ports: Some(ports),
            destination_ports: None,
            state,
            flags,
            inputs: inputs.clone(),
        };
        legs.push(Leg { packet, hooks: THROUGH, breaks });
    };
    for port in control_ports(cluster, server).into_iter().filter_map(single) {
        leg("a server's SYN-ACK", port, (states.reply, SYN_ACK), "clients never see the 220");
    }
    let state = if cluster.public_ports.is_some() { "established" } else { states.reply };
    leg("a server's passive data SYN-ACK", server.passive_ports, (state, SYN_ACK), "passive transfers hang");
    for ports in active_ports(cluster, server) {
        leg("a server's active data SYN", ports, ("new", SYN), "active transfers hang");
    }
}

/// From IPVS to a real server.
fn sent(cluster: &Cluster, vip: IpAddr, server: &RealServer, states: &States, legs: &mut Vec<Leg>) {
    let tunnel = cluster.forwarding == ForwardingMethod::Tun;
    let destination = if cluster.forwarding == ForwardingMethod::Dr { vip } else { server.address };
    let family = ip(destination);
    let mut leg = |what: String, (hooks, state), ports: Option<PortRange>, accept, breaks| {
        let packet = PacketClass {
            what,
            accept: (accept, ports),
            ipv6: vip.is_ipv6(),
            source: None,
            destination: Some(destination),
            source_ports: None,
            destination_ports: ports,
            state,
            flags: if tunnel { &[] } else { SYN },
            inputs: Vec::new(),
        };
        legs.push(Leg { packet, hooks, breaks });
    };
    if tunnel {
        let protocol = if vip.is_ipv6() { "ip6 nexthdr 41" } else { "ip protocol 4" };
        let what = format!("tunnelled packets to {destination}");
        leg(
            what,
            (OUT, states.sent),
            None,
            format!("{family} daddr {destination} {protocol}"),
            "nothing reaches this server",
        );
        return;
    }
    let accept = format!("{family} daddr {destination} tcp dport");
    for port in control_ports(cluster, server).into_iter().filter_map(single) {
        leg(
            format!("control packets that IPVS sends on to {destination}:{port}"),
            (OUT, states.sent),
            Some(port),
            accept.clone(),
            "nobody can log in",
        );
    }
    let range = server.passive_ports;
    let (way, what) = match cluster.public_ports {
        Some(_) => ((ONWARD, "new"), "data packets that go on translated"),
        None => ((OUT, states.sent), "data packets that IPVS sends on"),
    };
    leg(format!("{what} to {destination}:{range}"), way, Some(range), accept, "passive transfers hang");
}
