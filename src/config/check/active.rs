//! Where active data connections come from, and those that no session's row covers: under TLS, and while the daemon is away.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::checker::{Checker, One};
use super::ranges::all_of;
use crate::config::file::Origin;
use crate::config::model::{Config, RealServer};
use crate::lvs::{ForwardingMethod, PortRange, is_ipv6};

/// VIP → control port → the cluster that has the port.
type ControlPorts<'a> = BTreeMap<IpAddr, BTreeMap<u16, (&'a str, &'a Origin)>>;

/// `active_ports`, of the servers that call from any port of a range.
pub(super) fn declared(config: &Config, origins: &[Origin], checker: &Checker<'_, '_>) {
    let mut control = ControlPorts::new();
    for (cluster, origin) in config.clusters.iter().zip(origins) {
        for vip in &cluster.vips {
            let holder = (cluster.name.as_str(), origin);
            control.entry(*vip).or_default().extend(cluster.ports.iter().map(|port| (*port, holder)));
        }
    }
    for (cluster, origin) in config.clusters.iter().zip(origins) {
        let one = One { cluster, origin, checker };
        for (index, server) in cluster.real_servers.iter().enumerate() {
            if let Some(range) = server.active_ports {
                calls_from(&control, &one, index, range);
            }
        }
    }
}

fn calls_from(control: &ControlPorts<'_>, one: &One<'_, '_, '_>, index: usize, range: PortRange) {
    let (server, path) = (&one.cluster.real_servers[index], one.server_path(index, "active_ports"));
    let Some((method, name)) = one.forwarding() else { return };
    if method == ForwardingMethod::Nat {
        let what = format!("no effect in {name}: there the director sees the SYN of the server, from any port");
        return one.warning(&path, what, "remove it");
    }
    let mut behind = one.cluster.vips.iter().filter(|vip| is_ipv6(**vip) == is_ipv6(server.address));
    let held = behind.find_map(|vip| Some((vip, control.get(vip)?.range(range.first()..=range.last()).next()?)));
    if let Some((vip, (port, (holder, origin)))) = held {
        let holder = format!("{holder}{}", one.checker.elsewhere(&origin.path, &one.origin.path));
        let what = format!("{range} holds {port}, a control port of {holder} at {vip}");
        let cure = format!("a range without {port}, as net.ipv4.ip_local_port_range of the server has it");
        one.error(&path, what, cure);
    }
    // A row for the whole range would lead everyone to all of it, with or without a session.
    if one.cluster.persistence.is_some() && server.active_port.is_none() && one.sound("persistence") {
        let what = format!(
            "persistence does not cover these ports: active data connections of {} under TLS are not steered",
            server.name
        );
        one.warning(&path, what, "passive clients under TLS; or a server that calls from one port, its `active_port`");
    }
}

/// With persistence, the cluster's mark stands for its active ports too. The ports of everybody else at that VIP must be others.
pub(super) fn ports(config: &Config, origins: &[Origin], checker: &Checker<'_, '_>) {
    let sound = |one: &One<'_, '_, '_>| one.sound("vips") && one.sound("ports") && one.servers_sound("passive_ports");
    for (at, (cluster, origin)) in config.clusters.iter().zip(origins).enumerate() {
        let one = One { cluster, origin, checker };
        if cluster.persistence.is_none() || !sound(&one) {
            continue;
        }
        for (index, server) in cluster.real_servers.iter().enumerate() {
            let taken = cluster.ports.iter().find_map(|&port| {
                let active = server.calls_from(port);
                let vips = cluster.vips.iter().filter(|vip| is_ipv6(**vip) == is_ipv6(server.address));
                vips.into_iter().find_map(|&vip| Some((active, vip, holder(config, at, vip, active)?)))
            });
            let Some((active, vip, (other, holder))) = taken else { continue };
            let file =
                origins.get(other).map_or_else(String::new, |other| checker.elsewhere(&other.path, &origin.path));
            let what =
                format!("active data connections of {} come to {vip}:{active}, which is {holder}{file}", server.name);
            let cure = "an `active_port` of its own for this server, or another port or range there";
            let key =
                if server.active_port.is_some() { one.server_path(index, "active_port") } else { one.path("ports") };
            checker.error(&key, what, cure);
            break;
        }
    }
}

/// The cluster that has this port of the VIP, and as what; the one at `at` may have it in a passive range.
fn holder(config: &Config, at: usize, vip: IpAddr, port: u16) -> Option<(usize, String)> {
    config.clusters.iter().enumerate().filter(|(_, other)| other.vips.contains(&vip)).find_map(|(index, other)| {
        let mut servers = other.real_servers.iter().filter(|server| is_ipv6(server.address) == is_ipv6(vip));
        if index != at && other.ports.contains(&port) {
            return Some((index, format!("a control port of {}", other.name)));
        }
        let persistent = index != at && other.persistence.is_some();
        let mut calls = servers.clone().flat_map(|server| other.ports.iter().map(|&own| server.calls_from(own)));
        if persistent && calls.any(|own| own == port) {
            return Some((index, format!("an active port of {}", other.name)));
        }
        if let Some(public) = other.public_ports {
            return public
                .contains(port)
                .then(|| (index, format!("among the public ports {public} of {}", other.name)));
        }
        let ranged = servers
            .find(|server| server.passive_ports != PortRange::UNPRIVILEGED && server.passive_ports.contains(port))?;
        Some((index, format!("in the passive range {} of {} in {}", ranged.passive_ports, ranged.name, other.name)))
    })
}

/// What may pass without a row of its session goes where its port says; servers that share the port they call from are not told
/// apart so.
pub(super) fn unexpected(config: &Config, origins: &[Origin], checker: &Checker<'_, '_>) {
    let alone = config.called_from_by_one();
    for (cluster, origin) in config.clusters.iter().zip(origins) {
        let one = One { cluster, origin, checker };
        let sound = ["vips", "ports", "unexpected_data", "persistence"].iter().all(|key| one.sound(key))
            && ["address", "active_port", "active_ports"].iter().all(|key| one.servers_sound(key));
        if one.forwarding().filter(|_| sound && cluster.steers_by_port()).is_none() {
            continue;
        }
        let known = |server: &&RealServer| {
            let mut vips = cluster.vips.iter().filter(|vip| is_ipv6(**vip) == is_ipv6(server.address));
            let known = |vip| cluster.ports.iter().all(|&port| alone.contains(&(vip, server.calls_from(port))));
            server.active_ports.is_none() && vips.all(|&vip| known(vip))
        };
        let unknown = cluster.real_servers.iter().filter(|server| !known(server));
        let names: Vec<&str> = unknown.map(|server| server.name.as_str()).collect();
        if names.is_empty() {
            continue;
        }
        let what = format!(
            "active data connections of {} come from ports that do not say which server calls: those whose PORT this director has not read (another director has, or no daemon ran) are dropped",
            all_of(&names)
        );
        let cure = "a port of its own for each server, `active_port: 2021`, 2022, … here and in the server (vsftpd: connect_from_port_20=YES, ftp_data_port=2021), and no `active_ports`";
        one.warning(&one.path("unexpected_data"), what, cure);
    }
}

/// With persistence, server and active port alone say which VIP becomes their source: the first that has them.
pub(super) fn sources(config: &Config, origins: &[Origin], checker: &Checker<'_, '_>) {
    let mut first: BTreeMap<(IpAddr, u16), IpAddr> = BTreeMap::new();
    for (cluster, origin) in config.clusters.iter().zip(origins) {
        let one = One { cluster, origin, checker };
        let nat = matches!(one.forwarding(), Some((ForwardingMethod::Nat, _)));
        if !nat || cluster.persistence.is_none() || !one.sound("vips") || !one.sound("ports") {
            continue;
        }
        let mut told = false;
        for &vip in &cluster.vips {
            for server in cluster.real_servers.iter().filter(|server| is_ipv6(server.address) == is_ipv6(vip)) {
                for &port in &cluster.ports {
                    let active = server.calls_from(port);
                    let source = *first.entry((server.address, active)).or_insert(vip);
                    if source == vip || std::mem::replace(&mut told, true) {
                        continue;
                    }
                    let what = format!(
                        "active data connections of {} (port {active}) that cannot be read leave as {source}, also to clients of {vip}",
                        server.name
                    );
                    let cure =
                        "passive clients; or a cluster for each VIP, whose FTP services have an `active_port` each";
                    checker.warning(&one.path("persistence"), what, cure);
                }
            }
        }
    }
}
