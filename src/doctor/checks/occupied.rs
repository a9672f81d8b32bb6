//! Other programs at the ports of data connections: passive ranges, and `active_ports`, where no client may connect.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::config::RealServer;
use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;
use crate::lvs::{ForwardingMethod, PortRange, ServiceKey, serves};

const MEANS: &str = "it gets no connections at the VIP: what comes to this port is dropped, unless a session of that server \
                     expects it";

/// A range of ports that a server needs for itself, or the cluster for all of its servers.
struct Range<'a> {
    vip: IpAddr,
    server: &'a RealServer,
    /// The key of the configuration that holds the range.
    field: &'static str,
    ports: PortRange,
}

impl Range<'_> {
    fn what(&self, who: &str, port: u16) -> String {
        let Self { vip, server, field, .. } = self;
        format!("{who} at port {port} of {vip}, inside the {field} of {}", server.name)
    }
}

impl fmt::Display for Range<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.server.name, self.field, self.ports)
    }
}

/// Sockets and virtual services of others inside of a declared range; each once, with the first server that has its port.
pub fn ports(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listener in facts.listening.iter().collect::<BTreeSet<_>>() {
        let Some(range) = ranged(facts, *listener, |vip| serves(*listener, vip)) else { continue };
        let port = listener.port();
        // A socket that listens on all addresses may not be meant for this one.
        let finding = if listener.ip().is_unspecified() { Finding::note } else { Finding::warning };
        let cure = format!(
            "ss -ltnp 'sport = :{port}'\nnames it: give it a port outside of the range, or the server another range"
        );
        findings.push(
            finding(range.what("a program of this machine listens", port))
                .seen(format!("ss -ltn: {listener}; {range}"))
                .means(MEANS)
                .cure(cure),
        );
    }
    for listed in &facts.foreign {
        let ServiceKey::Tcp(at) = listed.service.key else { continue };
        let Some(range) = ranged(facts, at, |vip| vip == at.ip()) else { continue };
        let scheduler = &listed.service.scheduler;
        findings.push(
            Finding::warning(range.what("another program has a virtual service", at.port()))
                .seen(format!("ipvsadm -L -n: TCP {at} {scheduler}; {range}"))
                .means(MEANS)
                .cure("another port for it, or another range for the server"),
        );
    }
    findings
}

/// The first range that has this port, at a VIP that it is declared for.
fn ranged(facts: &Facts, at: SocketAddr, serves: impl Fn(IpAddr) -> bool) -> Option<Range<'_>> {
    facts.clusters().iter().find_map(|cluster| {
        cluster.vips.iter().filter(|vip| serves(**vip)).find_map(|&vip| {
            let servers = cluster.real_servers.iter().filter(|server| server.address.is_ipv6() == vip.is_ipv6());
            let ranges = servers.flat_map(|server| {
                let key = if cluster.public_ports.is_some() { "public_ports" } else { "passive_ports" };
                let passive = Some(cluster.ports_at_vip(server)).filter(|ports| *ports != PortRange::UNPRIVILEGED);
                // In NAT the director sees the server's own SYN.
                let active = server.active_ports.filter(|_| cluster.forwarding != ForwardingMethod::Nat);
                let range = |field, ports: Option<PortRange>| Some(Range { vip, server, field, ports: ports? });
                [range(key, passive), range("active_ports", active)]
            });
            ranges.flatten().find(|range| range.ports.contains(at.port()))
        })
    })
}
