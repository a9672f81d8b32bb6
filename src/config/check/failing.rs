//! What a cluster does when its servers fail.

use super::checker::{One, TLS, family};
use crate::config::model::{Cluster, HealthCheckKind, RealServer};
use crate::lvs::{ForwardingMethod, is_ipv6};

/// One cluster's health checks and sorry server.
pub(super) fn within(one: &One<'_, '_, '_>) {
    implicit_tls(one);
    login(one);
    sorry_server(one);
}

/// A password that nobody asks for, and a login that has none.
fn login(one: &One<'_, '_, '_>) {
    let check = &one.cluster.health_check;
    if !one.sound("health_check") {
        return;
    }
    let logs_in = matches!(check.kind, HealthCheckKind::Login | HealthCheckKind::Transfer);
    if check.password_file.is_some() && !logs_in {
        let cure = "`kind: login` or `kind: transfer`; or remove it";
        one.warning(&one.path("health_check.password_file"), "this kind of health check does not log in", cure);
    }
    let anonymous = ["anonymous", "ftp"].contains(&check.user.as_str());
    if logs_in && !anonymous && check.password_file.is_none() {
        let what = format!("{} logs in without a password_file: the password sent is `ftpdirector@`", check.user);
        one.warning(&one.path("health_check.user"), what, "`password_file`, a file that the user ftpdirector can read");
    }
}

/// The first control port is probed, and on 990 the server is silent until the client begins TLS.
fn implicit_tls(one: &One<'_, '_, '_>) {
    let Cluster { ports, health_check, real_servers, .. } = one.cluster;
    let reads = !matches!(health_check.kind, HealthCheckKind::None | HealthCheckKind::Tcp);
    let probed = |server: &RealServer| server.port.or(ports.first().copied()) == Some(TLS);
    if let Some(server) = real_servers.iter().find(|server| server.port.is_some() && probed(server))
        && ports.first() != Some(&TLS)
        && reads
        && one.sound("health_check.kind")
        && one.servers_sound("port")
    {
        let what = format!("{} is probed at its port 990: a health check cannot read TLS", server.name);
        one.error(&one.path("health_check.kind"), what, "tcp or none");
    }
    if ports.first() == Some(&TLS) && reads && one.sound("health_check.kind") && one.sound("ports") {
        let what = "the first control port is 990: a health check cannot read TLS";
        one.error(&one.path("health_check.kind"), what, "tcp or none, or another port before 990");
    }
}

/// The sorry server takes the servers' place in their own services.
fn sorry_server(one: &One<'_, '_, '_>) {
    let Cluster { sorry_server: Some(sorry), vips, real_servers, ports, .. } = one.cluster else { return };
    let path = one.path("sorry_server");
    if one.cluster.health_check.kind == HealthCheckKind::None && one.sound("health_check") {
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
