//! What a cluster does when all of its servers fail.

use super::checker::{One, family};
use crate::config::model::{Cluster, HealthCheck, HealthCheckKind};
use crate::lvs::{ForwardingMethod, is_ipv6};

/// The sorry server takes the servers' place in their own services.
pub(super) fn within(one: &One<'_, '_, '_>) {
    let Cluster { sorry_server: Some(sorry), vips, real_servers, ports, .. } = one.cluster else { return };
    let path = one.path("sorry_server");
    let HealthCheck { kind, agent, .. } = &one.cluster.health_check;
    if *kind == HealthCheckKind::None && agent.is_none() && one.sound("health_check") {
        let what = "without health checks no server is ever down: the sorry server is never used";
        one.warning(&path, what, "another `health_check.kind`, or no sorry server");
    }
    if one.sound("vips") && !vips.iter().any(|vip| is_ipv6(*vip) == is_ipv6(sorry.address)) {
        let family = family(sorry.address);
        let what = format!("an {family} sorry server, and no {family} VIP");
        one.error(&path, what, format!("add an {family} VIP, or an address of the other family"));
    }
    if let Some(server) = real_servers.iter().find(|server| server.address == sorry.address) {
        let what = format!("{} is the address of {}, which is down when this is needed", sorry.address, server.name);
        one.error(&path, what, "another server's address, or none and `no_servers: keep`");
    }
    if one.cluster.persistence.is_some() && sorry.port.is_some() && one.sound("persistence") {
        let cure = "remove the port, and let it listen on the cluster's control ports";
        one.error(&path, "persistence keeps the port that the client used", cure);
    }
    let Some((method, name)) = one.forwarding() else { return };
    if method != ForwardingMethod::Nat && sorry.port.is_some_and(|port| ports.iter().any(|own| *own != port)) {
        let cure = "remove the port, and let it listen on the cluster's control ports";
        one.error(&path, format!("{name} cannot change the port"), cure);
    }
}
