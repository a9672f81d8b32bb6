//! `config --effective`: a configuration as a file, with every key.

use std::time::Duration;

use serde_yaml::Value;

use super::by_name::ByName;
use super::model::{
    Advertise, Bounce, ClientMatch, Cluster, Config, HealthCheck, HealthCheckKind, HealthCheckTls, LogFormat, LogLevel,
    NoServers, OnFailure, RealServer, UnexpectedData,
};
use crate::lvs::{ForwardingMethod, PortRange};

/// The file that says the same as those that `config` and `by_name` were read from, with every default written out; also one that depends on
/// other keys, where one value says it. A key that is `null` has no value in force, or several.
///
/// # Errors
///
/// None is known: what YAML cannot say is not in a configuration.
pub fn effective(config: &Config, by_name: &ByName) -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(&file(&filled(&by_name.whole(config))))
}

/// The configuration with the defaults filled in that depend on other keys. It means the same.
pub(super) fn filled(config: &Config) -> Config {
    let mut filled = config.clone();
    for (cluster, given) in filled.clusters.iter_mut().zip(&config.clusters) {
        let reads = !matches!(given.health_check.kind, HealthCheckKind::None | HealthCheckKind::Tcp);
        let tls = one(given.real_servers.iter().map(|server| given.tls_to(server)));
        cluster.health_check.tls = given.health_check.tls.or(tls.filter(|_| reads));
        for (server, given_server) in cluster.real_servers.iter_mut().zip(&given.real_servers) {
            server.active_port = given_server.active_port.or_else(|| calls_from(given, given_server));
            let nat = given.forwarding == ForwardingMethod::Nat;
            server.port = given_server.port.or_else(|| one(given.ports.iter().copied()).filter(|_| nat));
        }
    }
    filled
}

/// The one port that a server calls from. With `active_ports` and persistence `active_port` says that the server calls from no
/// other under TLS: that was not said.
fn calls_from(cluster: &Cluster, server: &RealServer) -> Option<u16> {
    if server.active_ports.is_some() && cluster.persistence.is_some() {
        return None;
    }
    one(cluster.ports.iter().map(|&port| server.calls_from(port))).filter(|&port| port != 0)
}

/// What all of these are.
fn one<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

fn file(config: &Config) -> Value {
    let Config { clusters, limits, kernel, metrics, admin, log } = config;
    let timeouts = kernel.timeouts.as_ref().map(|timeouts| {
        map([("tcp", duration(timeouts.tcp)), ("tcp_fin", duration(timeouts.tcp_fin)), ("udp", duration(timeouts.udp))])
    });
    map([
        ("clusters", clusters.iter().map(cluster).collect()),
        (
            "limits",
            map([
                ("sessions", limits.sessions.into()),
                ("line", limits.line.into()),
                ("connection_packets", limits.connection_packets.into()),
                ("client_packets", limits.client_packets.into()),
                ("client_connections", limits.client_connections.into()),
                ("client_sessions", limits.client_sessions.into()),
                ("memory", limits.memory.into()),
            ]),
        ),
        (
            "kernel",
            map([
                ("fwmark_base", kernel.fwmark_base.into()),
                ("queue", kernel.queue.into()),
                ("timeouts", timeouts.unwrap_or(Value::Null)),
            ]),
        ),
        ("metrics", map([("listen", metrics.listen.map_or(Value::Null, text))])),
        ("admin", map([("socket", text(admin.socket.display()))])),
        (
            "log",
            map([
                ("level", level(log.level).into()),
                ("format", if log.format == LogFormat::Text { "text" } else { "json" }.into()),
                ("transfers", log.transfers.into()),
                ("names", log.names.into()),
            ]),
        ),
    ])
}

fn cluster(cluster: &Cluster) -> Value {
    let passive = map([
        ("ports", cluster.passive_ports.map_or(Value::Null, text)),
        ("public_ports", cluster.public_ports.map_or(Value::Null, text)),
        ("advertise", advertise(&cluster.advertise)),
    ]);
    map([
        ("name", text(&cluster.name)),
        ("vips", cluster.vips.iter().map(text).collect()),
        ("vip_interface", cluster.vip_interface.as_ref().map_or(Value::Null, text)),
        ("ports", cluster.ports.iter().copied().map(Value::from).collect()),
        ("forwarding", cluster.forwarding.name().into()),
        ("scheduler", text(&cluster.scheduler)),
        ("persistence", duration(cluster.persistence.unwrap_or_default())),
        ("passive", passive),
        ("pinhole_timeout", duration(cluster.pinhole_timeout)),
        ("idle", cluster.idle_control.map_or(Value::Null, duration)),
        ("unexpected_data", unexpected_data(cluster.unexpected_data).into()),
        ("client_match", client_match(cluster.client_match)),
        ("bounce", if cluster.bounce == Bounce::Reject { "reject" } else { "allow" }.into()),
        ("on_failure", if cluster.on_failure == OnFailure::Bypass { "bypass" } else { "hold" }.into()),
        (
            "sorry_server",
            cluster.sorry_server.map_or(Value::Null, |sorry| match sorry.port {
                Some(port) => text(std::net::SocketAddr::new(sorry.address, port)),
                None => text(sorry.address),
            }),
        ),
        ("no_servers", if cluster.no_servers == NoServers::Keep { "keep" } else { "reject" }.into()),
        ("health_check", health_check(&cluster.health_check)),
        ("slow_start", duration(cluster.slow_start.unwrap_or_default())),
        ("real_servers", cluster.real_servers.iter().map(real_server).collect()),
    ])
}

fn health_check(check: &HealthCheck) -> Value {
    let kind = match check.kind {
        HealthCheckKind::None => "none",
        HealthCheckKind::Tcp => "tcp",
        HealthCheckKind::Banner => "banner",
        HealthCheckKind::Login => "login",
        HealthCheckKind::Transfer => "transfer",
    };
    let tls = |tls| match tls {
        HealthCheckTls::None => "none",
        HealthCheckTls::Explicit => "explicit",
        HealthCheckTls::Implicit => "implicit",
    };
    map([
        ("kind", kind.into()),
        ("interval", duration(check.interval)),
        ("timeout", duration(check.timeout)),
        ("rise", check.rise.into()),
        ("fall", check.fall.into()),
        ("user", text(&check.user)),
        ("password_file", check.password_file.as_ref().map_or(Value::Null, |path| text(path.display()))),
        ("path", text(&check.path)),
        ("tls", check.tls.map_or(Value::Null, |way| tls(way).into())),
        ("verify", check.verify.into()),
        ("ca_file", check.ca_file.as_ref().map_or(Value::Null, |path| text(path.display()))),
        ("agent", check.agent.map_or(Value::Null, Value::from)),
    ])
}

fn real_server(server: &RealServer) -> Value {
    let port = |port: Option<u16>| port.map_or(Value::Null, Value::from);
    let range = |range: Option<PortRange>| range.map_or(Value::Null, text);
    map([
        ("name", text(&server.name)),
        ("address", server.host.as_ref().map_or_else(|| text(server.address), text)),
        ("port", port(server.port)),
        ("weight", server.weight.into()),
        ("max_sessions", server.max_sessions.map_or(Value::Null, Value::from)),
        ("passive_ports", range(Some(server.passive_ports))),
        ("active_port", port(server.active_port)),
        ("active_ports", range(server.active_ports)),
        ("mark", port(server.mark)),
    ])
}

fn unexpected_data(policy: UnexpectedData) -> &'static str {
    match policy {
        UnexpectedData::Drop => "drop",
        UnexpectedData::Reject => "reject",
        UnexpectedData::Pass => "pass",
    }
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

fn client_match(clients: ClientMatch) -> Value {
    match clients {
        ClientMatch::Address => "address".into(),
        ClientMatch::Any => "any".into(),
        ClientMatch::Prefix { ipv4, ipv6 } => format!("/{ipv4} /{ipv6}").into(),
    }
}

fn advertise(advertise: &Advertise) -> Value {
    match advertise {
        Advertise::Vip => "vip".into(),
        Advertise::Address(address) => text(address),
        Advertise::Interface(name) => map([("interface", text(name))]),
        Advertise::Dns(name) => map([("dns", text(name))]),
    }
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Mapping(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

fn text(value: impl ToString) -> Value {
    Value::String(value.to_string())
}

/// `1h30m`, `500ms`; exact, as whole milliseconds are all that a file can say.
fn duration(duration: Duration) -> Value {
    let mut rest = duration.as_millis();
    let mut said = String::new();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if rest >= length {
            said.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    Value::String(if said.is_empty() { "0s".to_owned() } else { said })
}

#[cfg(test)]
mod tests;
