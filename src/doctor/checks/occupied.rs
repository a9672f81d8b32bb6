//! Others at the ports of passive data connections. (At `active_ports` nobody is in the way: only answers to a server's call
//! are steered there.)

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::config::RealServer;
use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;
use crate::lvs::{PortRange, ServiceKey, serves};

const MEANS: &str = "it gets no connections at the VIP: what comes to this port is dropped, unless a session of that server \
                     expects it";

/// Sockets and virtual services of others inside of a declared range; each once, with the first server that has its port.
pub fn ports(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listener in facts.listening.iter().collect::<BTreeSet<_>>() {
        let Some((vip, server)) = ranged(facts, *listener, |vip| serves(*listener, vip)) else { continue };
        let port = listener.port();
        // Who listens on all addresses may not mean this one.
        let finding = if listener.ip().is_unspecified() { Finding::note } else { Finding::warning };
        let cure = format!(
            "ss -ltnp 'sport = :{port}'\nnames it: give it a port outside of the range, or the server another range"
        );
        findings.push(
            finding(what("a program of this machine listens", vip, port, server))
                .seen(format!("ss -ltn: {listener}; {}: passive_ports {}", server.name, server.passive_ports))
                .means(MEANS)
                .cure(cure),
        );
    }
    for listed in &facts.foreign {
        let ServiceKey::Tcp(at) = listed.service.key else { continue };
        let Some((vip, server)) = ranged(facts, at, |vip| vip == at.ip()) else { continue };
        let scheduler = &listed.service.scheduler;
        findings.push(
            Finding::warning(what("another program has a virtual service", vip, at.port(), server))
                .seen(format!(
                    "ipvsadm -L -n: TCP {at} {scheduler}; {}: passive_ports {}",
                    server.name, server.passive_ports
                ))
                .means(MEANS)
                .cure("another port for it, or another range for the server"),
        );
    }
    findings
}

/// The first server whose declared range has this port, at a VIP that it is served at.
fn ranged(facts: &Facts, at: SocketAddr, serves: impl Fn(IpAddr) -> bool) -> Option<(IpAddr, &RealServer)> {
    facts.clusters().iter().find_map(|cluster| {
        cluster.vips.iter().filter(|vip| serves(**vip)).find_map(|&vip| {
            let mut servers = cluster.real_servers.iter().filter(|server| server.address.is_ipv6() == vip.is_ipv6());
            let has = |server: &&RealServer| {
                server.passive_ports != PortRange::UNPRIVILEGED && server.passive_ports.contains(at.port())
            };
            Some((vip, servers.find(has)?))
        })
    })
}

fn what(who: &str, vip: IpAddr, port: u16, server: &RealServer) -> String {
    format!("{who} at port {port} of {vip}, inside the passive range of {}", server.name)
}
