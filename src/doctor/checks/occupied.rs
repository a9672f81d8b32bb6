//! Others at the ports that data connections use.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::{Facts, Finding};
use crate::config::{Cluster, RealServer};
use crate::kernel::listening::serves;
use crate::lvs::{ForwardingMethod, PortRange, ServiceKey};

/// Ports of a VIP that lead to one server, and by which key of the file.
struct Claim<'a> {
    vip: IpAddr,
    server: &'a RealServer,
    key: &'static str,
    range: PortRange,
}

fn claims(cluster: &Cluster) -> impl Iterator<Item = Claim<'_>> {
    let nat = cluster.forwarding == ForwardingMethod::Nat;
    cluster.vips.iter().flat_map(move |&vip| {
        let servers = cluster.real_servers.iter().filter(move |server| server.address.is_ipv6() == vip.is_ipv6());
        servers.flat_map(move |server| {
            let passive = Some(server.passive_ports).filter(|range| *range != PortRange::UNPRIVILEGED);
            let active = server.active_ports.filter(|_| !nat);
            let both = [("passive_ports", passive), ("active_ports", active)];
            both.into_iter().filter_map(move |(key, range)| Some(Claim { vip, server, key, range: range? }))
        })
    })
}

/// Sockets and virtual services of others inside of a range; each once, with the first server that claims its port.
pub fn ports(facts: &Facts) -> Vec<Finding> {
    let claims: Vec<Claim<'_>> = facts.clusters().iter().flat_map(claims).collect();
    let mut findings = Vec::new();
    for listener in facts.listening.iter().collect::<BTreeSet<_>>() {
        let claimed = claims.iter().find(|claim| claim.range.contains(listener.port()) && serves(*listener, claim.vip));
        let Some(claim) = claimed else { continue };
        // Who listens on all addresses may not mean this one.
        let finding = if listener.ip().is_unspecified() { Finding::note } else { Finding::warning };
        let seen = format!("ss -ltn: {listener}; {}", written(claim));
        findings.push(finding(what("a program of this machine listens", claim, listener.port())).seen(seen).means(
            "it cannot be reached at the VIP: what comes to this port is dropped or belongs to a session of that server",
        ).cure(format!("ss -ltnp 'sport = :{0}' names it: give it a port outside of the range, or the server a range without {0}", listener.port())));
    }
    for listed in &facts.foreign {
        let ServiceKey::Tcp(at) = listed.service.key else { continue };
        let Some(claim) = claims.iter().find(|claim| claim.vip == at.ip() && claim.range.contains(at.port())) else {
            continue;
        };
        let seen = format!("ipvsadm -L -n: TCP {at} {}; {}", listed.service.scheduler, written(claim));
        findings.push(
            Finding::warning(what("someone else has a virtual service", claim, at.port()))
                .seen(seen)
                .means(
                    "it gets no connections: what comes to this port is dropped or belongs to a session of that server",
                )
                .cure(format!("another port for it, or for the server a range without {}", at.port())),
        );
    }
    findings
}

fn what(who: &str, claim: &Claim<'_>, port: u16) -> String {
    let Claim { vip, server, key, .. } = claim;
    let kind = if *key == "passive_ports" { "passive range" } else { "active ports" };
    format!("{who} at port {port} of {vip}, inside the {kind} of {}", server.name)
}

fn written(claim: &Claim<'_>) -> String {
    format!("{}: {} {}", claim.server.name, claim.key, claim.range)
}
