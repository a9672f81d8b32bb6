//! Active connections in NAT that no session's row covers: under TLS, and while the daemon is away.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Checker, One};
use crate::config::file::Origin;
use crate::config::{Config, standing};
use crate::lvs::{ForwardingMethod, is_ipv6};

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
                    let active = standing::active_port(server, port);
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
