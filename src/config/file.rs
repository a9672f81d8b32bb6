//! The shape of the file: every key, its type and its default.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::by_name;
use super::host::{self, ServerAddress};
use super::include;
use super::model::{
    Admin, Advertise, Bounce, ClientMatch, Cluster, Config, DEFAULT_SOCKET, HealthCheck, HealthCheckKind,
    HealthCheckTls, Kernel, Limits, Log, LogFormat, LogLevel, Metrics, NoServers, OnFailure, RealServer, SorryServer,
    UnexpectedData,
};
use super::problem::{Wrong, quoted};
use super::section::{Elsewhere, Section};
use super::tree::{Node, NodeKind};
use super::value::{self, Read};
use crate::lvs::{ForwardingMethod, PortRange, Timeouts};

/// Longer than a server needs for a 227 and a client for its SYN, repeated four times (after 1, 3, 7 and 15 s, RFC 6298 §2); what
/// is slower than that names the transfer verb later, which opens the pinhole again. (pyftpdlib waits as long, vsftpd twice.)
const PINHOLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest `idle`: where both ends of a control connection are gone, and neither told, it is kept in vain so long.
const LONGEST_IDLE: Duration = Duration::from_secs(86_400);

/// The longest `slow_start`.
const LONGEST_START: Duration = Duration::from_secs(3600);

/// The keys of a cluster that are no use in `defaults`.
pub(super) const OF_ONE_CLUSTER: Elsewhere = Elsewhere {
    keys: &["name", "vips", "real_servers"],
    what: "no two clusters have this in common",
    cure: "write it in each cluster",
};

/// A file as far as it could be read, with defaults in place of what could not.
pub(super) struct Draft {
    pub config: Config,
    /// Where the items of each cluster stand in the file: those that could not be read are not in `config`.
    pub origins: Vec<Origin>,
}

/// Where a cluster's items stand in the file.
pub(super) struct Origin {
    /// The cluster's path in messages: `clusters[0]`.
    pub path: String,
    /// The indexes of `vips`, `ports` and `real_servers`.
    pub vips: Vec<usize>,
    pub ports: Vec<usize>,
    pub servers: Vec<usize>,
}

/// Reads the whole file.
pub(super) fn read(mut root: Section<'_, '_>) -> Draft {
    // Both are in the clusters by now; here it is said what is wrong with them, once.
    let _ = root.list("include", include::pattern);
    let _ = cluster(root.section("defaults").partial(&OF_ONE_CLUSTER));
    let clusters = root.sections("clusters").into_iter().map(|(_, section)| cluster(section));
    let (mut clusters, origins): (Vec<Cluster>, Vec<Origin>) = clusters.unzip();
    by_name::stand_in(&mut clusters);
    let config = Config {
        clusters,
        limits: limits(root.section("limits")),
        kernel: kernel(root.section("kernel")),
        metrics: metrics(root.section("metrics")),
        admin: admin(root.section("admin")),
        log: log(root.section("log")),
    };
    root.finish();
    Draft { config, origins }
}

fn cluster(mut s: Section<'_, '_>) -> (Cluster, Origin) {
    let name = s.required("name", name);
    let vips = s.required_list("vips", |n| value::host(n, "an address that clients connect to"));
    let vip_interface = s.optional("vip_interface", value::interface);
    let ports = s.list("ports", value::port).unwrap_or_else(|| vec![(0, 21)]);
    let forwarding = s.required("forwarding", forwarding).unwrap_or(ForwardingMethod::Nat);
    let scheduler = s.or("scheduler", "wlc".to_owned(), scheduler);
    let persistence = s.or("persistence", Duration::ZERO, value::seconds);
    let (passive_ports, public_ports, advertise) = passive(s.section("passive"));
    let pinhole_timeout = s.or("pinhole_timeout", PINHOLE_TIMEOUT, value::positive);
    let idle_control = s.optional("idle", idle);
    let unexpected_data = s.or("unexpected_data", UnexpectedData::Drop, unexpected_data);
    let client_match = s.or("client_match", ClientMatch::Address, client_match);
    let bounce = s.or("bounce", Bounce::Reject, |n| {
        value::choice(n, "bounce policy", &[("reject", Bounce::Reject), ("allow", Bounce::Allow)])
    });
    let on_failure = s.or("on_failure", OnFailure::Bypass, |n| {
        value::choice(n, "failure policy", &[("bypass", OnFailure::Bypass), ("hold", OnFailure::Hold)])
    });
    let sorry_server = s.optional("sorry_server", sorry_server);
    let no_servers = s.or("no_servers", NoServers::Keep, |n| {
        value::choice(n, "policy", &[("keep", NoServers::Keep), ("reject", NoServers::Reject)])
    });
    let health_check = health_check(s.section("health_check"));
    let slow_start = s.or("slow_start", Duration::ZERO, slow_start);
    let servers = s.sections("real_servers").into_iter();
    let servers = servers.filter_map(|(index, section)| Some((index, real_server(section, passive_ports)?)));
    let (servers, real_servers) = servers.unzip();
    let (vip_indexes, vips) = vips.into_iter().unzip();
    let (port_indexes, ports) = ports.into_iter().unzip();
    let origin = Origin { path: s.path().to_owned(), vips: vip_indexes, ports: port_indexes, servers };
    s.finish();
    let cluster = Cluster {
        name: name.unwrap_or_default(),
        vips,
        vip_interface,
        ports,
        quiescing_ports: Vec::new(),
        forwarding,
        scheduler,
        persistence: Some(persistence).filter(|timeout| !timeout.is_zero()),
        passive_ports,
        public_ports,
        advertise,
        pinhole_timeout,
        idle_control,
        unexpected_data,
        client_match,
        bounce,
        on_failure,
        sorry_server,
        no_servers,
        health_check,
        slow_start: Some(slow_start).filter(|over| !over.is_zero()),
        real_servers,
    };
    (cluster, origin)
}

fn slow_start(node: &Node) -> Read<Duration> {
    let over = value::duration(node)?;
    if over <= LONGEST_START {
        return Ok(over);
    }
    let what = format!("{} is too long", value::text(node, "a duration")?);
    Err(Wrong::new(what, "at most 1h"))
}

/// `None` when its address cannot be read.
fn real_server(mut s: Section<'_, '_>, cluster_range: Option<PortRange>) -> Option<RealServer> {
    let name = s.optional("name", name_of_server);
    let address = s.required("address", host::server);
    let port = s.optional("port", value::port);
    let weight = s.or("weight", 1, |n| value::small(n, "a weight", 0..=65535));
    let max_sessions = s.optional("max_sessions", value::count);
    let own_range = s.optional("passive_ports", value::unprivileged_range);
    let active_port = s.optional("active_port", value::port);
    let active_ports = s.optional("active_ports", value::unprivileged_range);
    let mark = s.optional("mark", |n| value::small(n, "an index", 0..=0x3fff));
    s.finish();
    let (address, host) = match address? {
        ServerAddress::Ip(address) => (address, None),
        ServerAddress::Name(name) => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), Some(name)),
    };
    let written = host.as_ref().map_or_else(|| address.to_string(), |host| host.trim_end_matches('.').to_owned());
    Some(RealServer {
        name: name.unwrap_or(written),
        address,
        host,
        port,
        weight: u32::from(weight),
        max_sessions,
        passive_ports: own_range.or(cluster_range).unwrap_or(PortRange::UNPRIVILEGED),
        shared: false,
        active_port,
        active_ports,
        mark,
    })
}

fn passive(mut s: Section<'_, '_>) -> (Option<PortRange>, Option<PortRange>, Advertise) {
    let ports = s.optional("ports", value::unprivileged_range);
    let public = s.optional("public_ports", value::public_range);
    let advertise = s.or("advertise", Advertise::Vip, advertise);
    s.finish();
    (ports, public, advertise)
}

fn health_check(mut s: Section<'_, '_>) -> HealthCheck {
    let check = HealthCheck {
        kind: s.or("kind", HealthCheckKind::Banner, health_check_kind),
        interval: s.or("interval", Duration::from_secs(5), value::positive),
        timeout: s.or("timeout", Duration::from_secs(3), value::positive),
        rise: s.or("rise", 2, value::count),
        fall: s.or("fall", 3, value::count),
        user: s.or("user", "anonymous".to_owned(), value::argument),
        password_file: s.optional("password_file", value::path),
        path: s.or("path", "/".to_owned(), value::argument),
        tls: s.optional("tls", health_check_tls),
        verify: s.or("verify", true, |n| value::choice(n, "answer", &[("true", true), ("false", false)])),
        ca_file: s.optional("ca_file", value::path),
        agent: s.optional("agent", value::port),
    };
    s.finish();
    check
}

fn limits(mut s: Section<'_, '_>) -> Limits {
    let limits = Limits {
        sessions: s.or("sessions", 1_000_000, value::size),
        line: s.or("line", 4096, line),
        connection_packets: s.or("connection_packets", 1000, packets),
        client_packets: s.or("client_packets", 4000, packets),
        client_connections: s.or("client_connections", 1000, packets),
        client_sessions: s.or("client_sessions", 10_000, value::count),
        memory: s.or("memory", 64 << 20, memory),
    };
    s.finish();
    limits
}

/// Packets a second for nft's `limit rate over N/second burst 2N packets`. More than a million is no limit: no daemon reads
/// so many.
fn packets(node: &Node) -> Read<u32> {
    let number = value::number(node, "packets a second", 1..=1_000_000)?;
    u32::try_from(number).map_err(|_| Wrong::new(format!("{number} is out of range"), "packets a second"))
}

/// At least 1 MiB: room for the segments that one lossy connection has under way.
fn memory(node: &Node) -> Read<usize> {
    let number = value::number(node, "a number of bytes", 1 << 20..=u64::from(u32::MAX))?;
    usize::try_from(number).map_err(|_| Wrong::new(format!("{number} is out of range"), "a smaller number"))
}

/// RFC 959 knows no longest line; servers take 4096 characters at most (vsftpd).
fn line(node: &Node) -> Read<usize> {
    value::small(node, "a length", 64..=65535).map(usize::from)
}

/// `sun_path` of unix(7) has 108 bytes; while it is made, the socket's name is longer.
fn socket(node: &Node) -> Read<PathBuf> {
    let path = value::path(node)?;
    if path.as_os_str().len() <= 90 {
        return Ok(path);
    }
    Err(Wrong::new("too long for a Unix socket", "a path of at most 90 characters"))
}

fn kernel(mut s: Section<'_, '_>) -> Kernel {
    let fwmark_base = s.or("fwmark_base", 0x0f70_0000, fwmark_base);
    let queue = s.or("queue", 2100, |n| value::small(n, "a queue number", 0..=65535));
    let timeouts = s.optional_section("timeouts").map(timeouts);
    s.finish();
    Kernel { fwmark_base, queue, timeouts }
}

fn timeouts(mut s: Section<'_, '_>) -> Timeouts {
    let timeouts = Timeouts {
        tcp: s.or("tcp", Duration::from_secs(900), value::positive_seconds),
        tcp_fin: s.or("tcp_fin", Duration::from_secs(120), value::positive_seconds),
        udp: s.or("udp", Duration::from_secs(300), value::positive_seconds),
    };
    s.finish();
    timeouts
}

fn metrics(mut s: Section<'_, '_>) -> Metrics {
    let listen = s.or_off("listen", SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9786), value::listen);
    s.finish();
    Metrics { listen }
}

fn admin(mut s: Section<'_, '_>) -> Admin {
    let socket = s.or("socket", PathBuf::from(DEFAULT_SOCKET), socket);
    s.finish();
    Admin { socket }
}

fn log(mut s: Section<'_, '_>) -> Log {
    let level = s.or("level", LogLevel::Info, log_level);
    let format = s.or("format", LogFormat::Text, |n| {
        value::choice(n, "log format", &[("text", LogFormat::Text), ("json", LogFormat::Json)])
    });
    let (transfers, names) = (s.or("transfers", false, value::yes_or_no), s.or("names", false, value::yes_or_no));
    s.finish();
    Log { level, format, transfers, names }
}

fn name(node: &Node) -> Read<String> {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-');
    value::word(node, "a cluster name", 32, allowed, "1 to 32 of a-z, 0-9 and -")
}

fn name_of_server(node: &Node) -> Read<String> {
    let allowed = |c: char| c.is_ascii_graphic() && c != '/';
    value::word(node, "a server name", 64, allowed, "1 to 64 visible ASCII characters without /")
}

fn scheduler(node: &Node) -> Read<String> {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_');
    value::word(
        node,
        "a scheduler name",
        15,
        allowed,
        "a scheduler of the kernel in small letters, like rr, wrr, lc, wlc or sh",
    )
}

fn forwarding(node: &Node) -> Read<ForwardingMethod> {
    value::choice(node, "forwarding method", &ForwardingMethod::NAMED)
}

fn idle(node: &Node) -> Read<Duration> {
    let idle = value::positive(node)?;
    if idle <= LONGEST_IDLE {
        return Ok(idle);
    }
    let what = format!("{} is too long", value::text(node, "a duration")?);
    Err(Wrong::new(what, "at most 1d: a client that is gone without a word is kept so long"))
}

fn unexpected_data(node: &Node) -> Read<UnexpectedData> {
    use UnexpectedData::{Drop, Pass, Reject};
    value::choice(node, "policy", &[("drop", Drop), ("reject", Reject), ("pass", Pass)])
}

fn health_check_kind(node: &Node) -> Read<HealthCheckKind> {
    use HealthCheckKind::{Banner, Login, None, Tcp, Transfer};
    let words = [("none", None), ("tcp", Tcp), ("banner", Banner), ("login", Login), ("transfer", Transfer)];
    value::choice(node, "kind of health check", &words)
}

fn health_check_tls(node: &Node) -> Read<HealthCheckTls> {
    use HealthCheckTls::{Explicit, Implicit, None};
    value::choice(node, "way to begin TLS", &[("none", None), ("explicit", Explicit), ("implicit", Implicit)])
}

fn log_level(node: &Node) -> Read<LogLevel> {
    use LogLevel::{Debug, Error, Info, Trace, Warn};
    let words = [("error", Error), ("warn", Warn), ("info", Info), ("debug", Debug), ("trace", Trace)];
    value::choice(node, "log level", &words)
}

/// `address`, `any`, `/24`, `/64` or `/24 /64`.
fn client_match(node: &Node) -> Read<ClientMatch> {
    const CURE: &str = "address, any, or prefix lengths: /24 (IPv4), /64 (IPv6), or \"/24 /64\"";
    let text = value::text(node, "a client match")?;
    let wrong = || Wrong::new(format!("unknown client match {}", quoted(text)), CURE);
    match text {
        "address" => return Ok(ClientMatch::Address),
        "any" => return Ok(ClientMatch::Any),
        _ => {}
    }
    let length = |word: &str| word.strip_prefix('/').and_then(|digits| digits.parse::<u8>().ok()).ok_or_else(wrong);
    let lengths = text.split_whitespace().map(length).collect::<Read<Vec<u8>>>()?;
    match lengths.as_slice() {
        [ipv4 @ 0..=32] => Ok(ClientMatch::Prefix { ipv4: *ipv4, ipv6: 128 }),
        [ipv6 @ 33..=128] => Ok(ClientMatch::Prefix { ipv4: 32, ipv6: *ipv6 }),
        [ipv4 @ 0..=32, ipv6 @ 0..=128] => Ok(ClientMatch::Prefix { ipv4: *ipv4, ipv6: *ipv6 }),
        _ => Err(wrong()),
    }
}

/// `vip`, an IPv4 address, `{interface: ppp0}` or `{dns: name}`.
fn advertise(node: &Node) -> Read<Advertise> {
    const CURE: &str = "vip, an IPv4 address, {interface: NAME} or {dns: NAME}";
    if let NodeKind::Map(entries) = &node.kind {
        let [entry] = entries.as_slice() else {
            return Err(Wrong::new(format!("expected one key, found {}", entries.len()), CURE));
        };
        return match entry.key.as_str() {
            "interface" => value::interface(&entry.value).map(Advertise::Interface),
            "dns" => dns_name(&entry.value).map(Advertise::Dns),
            other => Err(Wrong::new(format!("unknown key {}", quoted(other)), CURE)),
        };
    }
    match value::text(node, "what to advertise")? {
        "vip" => Ok(Advertise::Vip),
        name if value::is_name(name) => {
            let cure = if name.contains('.') { format!("{{dns: {name}}}") } else { CURE.to_owned() };
            Err(Wrong::new(format!("{} is no IP address", quoted(name)), cure))
        }
        _ => match value::host(node, "an address that clients reach").map_err(|wrong| Wrong::new(wrong.what, CURE))? {
            IpAddr::V4(address) => Ok(Advertise::Address(address)),
            IpAddr::V6(address) => Err(Wrong::new(format!("{address} cannot stand in a 227: it is IPv6"), CURE)),
        },
    }
}

fn dns_name(node: &Node) -> Read<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let name = value::word(node, "a DNS name", 253, allowed, "a name like ftp.example.net")?;
    let mut labels = name.strip_suffix('.').unwrap_or(&name).split('.');
    if !labels.clone().all(|label| (1..=63).contains(&label.len())) {
        return Err(Wrong::new(format!("{} is not a DNS name", quoted(&name)), "labels of 1 to 63 characters"));
    }
    // No top-level domain is a number (RFC 3696 §2).
    match labels.next_back() {
        Some(last) if last.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(Wrong::new(format!("{} is not a DNS name", quoted(&name)), "an address stands without `dns`"))
        }
        _ => Ok(name),
    }
}

/// `ADDRESS` or `ADDRESS:PORT`, an IPv6 address with a port in brackets; port 1 to 65535.
fn sorry_server(node: &Node) -> Read<SorryServer> {
    let text = value::text(node, "ADDRESS or ADDRESS:PORT")?;
    let (address, port) = match text.parse::<SocketAddr>() {
        Ok(socket) => (socket.ip().to_string(), Some(socket.port())),
        Err(_) => (text.trim_start_matches('[').trim_end_matches(']').to_owned(), None),
    };
    if port == Some(0) {
        return Err(Wrong::new("port 0", "a port, 1 to 65535, or none"));
    }
    let address = Node { place: node.place, kind: NodeKind::Plain(address) };
    value::host(&address, "ADDRESS or ADDRESS:PORT").map(|address| SorryServer { address, port })
}

fn fwmark_base(node: &Node) -> Read<u32> {
    let base = value::number(node, "a firewall mark", 0..=u64::from(u32::MAX))?;
    match u32::try_from(base) {
        Ok(base) if base != 0 && base & 0x3_ffff == 0 => Ok(base),
        _ => Err(Wrong::new(
            format!("{base:#x} is no base: marks up to base + 0x3ffff are ours"),
            format!("not 0, and a multiple of 0x40000, like {:#010x}", (base & 0xfffc_0000).max(0x0004_0000)),
        )),
    }
}
