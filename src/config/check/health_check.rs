//! `health_check`: keys that a kind has no use for, and those that do not go together.

use super::checker::{One, TLS};
use crate::config::model::{Cluster, HealthCheck, HealthCheckKind, HealthCheckTls, RealServer};
use crate::lvs::{ForwardingMethod, PortRange};

/// The health checks of one cluster.
pub(super) fn within(one: &One<'_, '_, '_>) {
    if !one.sound("health_check") {
        return;
    }
    pace(one);
    login(one);
    if one.sound("ports") && one.servers_sound("port") {
        agent(one);
        certificate(one);
        implicit(one);
    }
}

/// A check that outlasts the interval: what hangs is found late.
fn pace(one: &One<'_, '_, '_>) {
    let HealthCheck { kind, interval, timeout, fall, .. } = &one.cluster.health_check;
    if timeout <= interval || *kind == HealthCheckKind::None {
        return;
    }
    let late = timeout.saturating_mul(*fall);
    let late = format!("a server that hangs is down after {late:?} (`fall` times `timeout`)");
    if written(one, "timeout") {
        let what = format!("longer than the interval, {interval:?}: {late}");
        one.warning(&one.path("health_check.timeout"), what, format!("at most {interval:?}, or a longer `interval`"));
    } else {
        let what = format!("shorter than the timeout, {timeout:?}: {late}");
        one.warning(&one.path("health_check.interval"), what, format!("at least {timeout:?}, or a shorter `timeout`"));
    }
}

/// An agent answers whoever connects: on a port that clients are let in to, them too; on the control port nobody else.
fn agent(one: &One<'_, '_, '_>) {
    let Cluster { health_check: HealthCheck { agent: Some(agent), .. }, real_servers, ports, forwarding, .. } =
        one.cluster
    else {
        return;
    };
    let path = one.path("health_check.agent");
    let controls = |server: &RealServer| server.port.map_or(ports.contains(agent), |port| port == *agent);
    if let Some(server) = real_servers.iter().find(|server| controls(server)) {
        let what = format!("{agent} is the control port of {}: an FTP server is no agent", server.name);
        one.error(&path, what, "the port of the program that tells the weight");
        return;
    }
    let declared =
        |server: &RealServer| server.passive_ports != PortRange::UNPRIVILEGED && server.passive_ports.contains(*agent);
    let called = |server: &RealServer| {
        *forwarding != ForwardingMethod::Nat && server.active_ports.is_some_and(|ports| ports.contains(*agent))
    };
    if let Some(server) = real_servers.iter().find(|server| declared(server) || called(server)) {
        let what = format!("{agent} lies in a range of {} that is opened to clients", server.name);
        one.warning(&path, what, "a port outside of `passive_ports` and `active_ports`");
    }
}

/// What nobody asks for, and a login that has no password.
fn login(one: &One<'_, '_, '_>) {
    let check = &one.cluster.health_check;
    let logs_in = matches!(check.kind, HealthCheckKind::Login | HealthCheckKind::Transfer);
    if check.password_file.is_some() && !logs_in {
        let cure = "`kind: login` or `kind: transfer`; or remove it";
        one.warning(&one.path("health_check.password_file"), "this kind of health check does not log in", cure);
    }
    if check.path != "/" && check.kind != HealthCheckKind::Transfer {
        let cure = "`kind: transfer`; or remove it";
        one.warning(&one.path("health_check.path"), "this kind of health check transfers nothing", cure);
    }
    let anonymous = ["anonymous", "ftp"].contains(&check.user.as_str());
    if !anonymous && !logs_in {
        let cure = "`kind: login` or `kind: transfer`; or remove it";
        one.warning(&one.path("health_check.user"), "this kind of health check does not log in", cure);
    }
    if logs_in && !anonymous && check.password_file.is_none() {
        let what = format!("{} logs in without a password_file: the password sent is `ftpdirector@`", check.user);
        one.warning(&one.path("health_check.user"), what, "`password_file`, a file that the user ftpdirector can read");
    }
}

/// Keys about TLS and certificates where there are none.
fn certificate(one: &One<'_, '_, '_>) {
    let Cluster { health_check: check, real_servers, .. } = one.cluster;
    let asked = check.tls.is_some_and(|tls| tls != HealthCheckTls::None);
    if asked && !reads(check) {
        let cure = "`kind: banner`, `login` or `transfer`; or remove it";
        one.warning(&one.path("health_check.tls"), "this kind of health check ends before TLS begins", cure);
        return;
    }
    let secure = reads(check) && real_servers.iter().any(|server| one.cluster.tls_to(server) != HealthCheckTls::None);
    // `verify: true` is the default: who writes it has asked for nothing.
    let asked = [("verify", !check.verify), ("ca_file", check.ca_file.is_some())];
    for (key, _) in asked.into_iter().filter(|(_, asked)| *asked && !secure && !real_servers.is_empty()) {
        let cure = "`tls: explicit` or `tls: implicit`; or remove it";
        one.warning(&one.path(&format!("health_check.{key}")), "without TLS there is no certificate", cure);
    }
    if secure && !check.verify && check.ca_file.is_some() {
        let cure = "`verify: true`, or remove it";
        one.warning(&one.path("health_check.ca_file"), "with `verify: false` nobody reads it", cure);
    }
}

/// The first control port is probed, and on 990 the server is silent until the client begins TLS.
fn implicit(one: &One<'_, '_, '_>) {
    let Cluster { ports, health_check: check, real_servers, .. } = one.cluster;
    if !reads(check) || matches!(check.tls, None | Some(HealthCheckTls::Implicit)) {
        return;
    }
    let path = one.path("health_check.tls");
    let at_990 = |server: &&RealServer| server.port == Some(TLS);
    if ports.first() == Some(&TLS) {
        let what = "the first control port is 990, where TLS begins at once";
        one.error(&path, what, "implicit, the default there; or another port before 990");
    } else if let Some(server) = real_servers.iter().find(at_990) {
        let what = format!("{} is probed at its port 990, where TLS begins at once", server.name);
        one.error(&path, what, "implicit, the default there");
    }
}

/// Whether the check goes on after the connection.
fn reads(check: &HealthCheck) -> bool {
    !matches!(check.kind, HealthCheckKind::None | HealthCheckKind::Tcp)
}

/// Whether a key of `health_check` stands in the file, whatever its value.
fn written(one: &One<'_, '_, '_>, key: &str) -> bool {
    one.checker.root().nearest(&one.path("health_check")).child(key).is_some()
}
