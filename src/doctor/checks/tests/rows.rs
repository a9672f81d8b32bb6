//! A healthy machine with one thing wrong, and what the checks must say of it.

use serde_json::json;

use super::super::super::facts::{Link, Route, RoutingRule, Unseen};
use super::super::super::{Facts, Severity, sample};
use crate::config;
use crate::kernel::ipvs::ListedService;
use crate::lvs::{ForwardingMethod, PortRange, ServiceKey, Traffic, VirtualService};

pub type Row = (&'static str, fn() -> Facts, fn(&mut Facts), Severity, &'static str, &'static str);

fn address(text: &str) -> std::net::IpAddr {
    text.parse().expect("an address")
}

fn socket(text: &str) -> std::net::SocketAddr {
    text.parse().expect("an address and a port")
}

fn route(facts: &mut Facts, to: &str, gateway: Option<&str>, local: bool) {
    let route = Route { device: "eth0".into(), gateway: gateway.map(address), local, source: None };
    facts.routes.insert(address(to), route);
}

pub fn cluster(facts: &mut Facts) -> &mut config::Cluster {
    &mut facts.config.as_mut().expect("a configuration").clusters[0]
}

fn share_ranges(facts: &mut Facts) {
    for server in &mut cluster(facts).real_servers {
        server.passive_ports = PortRange::new(40000, 40099).expect("a range");
        server.shared = true;
    }
}

fn public_ports(facts: &mut Facts) {
    cluster(facts).public_ports = PortRange::new(8192, 8200);
}

pub fn rule(facts: &mut Facts, hook: &str, rule: serde_json::Value) {
    sample::chain(facts, hook, "accept", &[rule]);
}

fn tunnels() -> Facts {
    sample::facts(ForwardingMethod::Tun)
}

/// What is for the servers leaves with this address.
fn leaves_with(facts: &mut Facts, source: &str) {
    facts.routes.values_mut().for_each(|route| route.source = Some(address(source)));
}

/// A second interface towards the clients.
pub fn second_interface(facts: &mut Facts, mtu: u32) {
    facts.defaults = vec![(false, "eth1".into())];
    facts.links.push(Link {
        name: "eth1".into(),
        mtu,
        up: true,
        bridge: false,
        addresses: vec![(address("198.51.100.2"), 24)],
    });
    facts.links[1].addresses.retain(|(own, _)| *own != address("192.0.2.10"));
    facts.links[2].addresses.push((address("192.0.2.10"), 32));
}

/// A server of which every unprivileged port can be opened.
const UNDECLARED: &str =
    "clusters: [{name: a, vips: [192.0.2.10], forwarding: nat, real_servers: [{address: 10.0.0.11}]}]\n";

/// Check, machine, what is wrong, severity, part of the evidence, part of the cure.
pub const ROWS: &[Row] = &[
    (
        "configuration",
        sample::nat,
        |f| f.unreadable = Some("x.yaml: gone".into()),
        Severity::Fatal,
        "x.yaml",
        "--config",
    ),
    (
        "configuration",
        sample::nat,
        |f| f.problems = config::parse("clusters: []\n", "x.yaml").expect_err("a problem").list,
        Severity::Fatal,
        "x.yaml:1:",
        "",
    ),
    (
        "unseen",
        sample::nat,
        |f| {
            f.unseen.push(Unseen {
                need: None,
                tried: "nft list ruleset".into(),
                why: "Operation not permitted".into(),
            })
        },
        Severity::Warning,
        "not permitted",
        "root",
    ),
    (
        "versions",
        sample::nat,
        |f| f.too_old.push(("old".into(), "upgrade".into())),
        Severity::Fatal,
        "nft --version",
        "upgrade",
    ),
    (
        "features",
        sample::nat,
        |f| f.refused.push(("nf_tables does not take it".into(), "modprobe it".into())),
        Severity::Fatal,
        "nft -c",
        "modprobe it",
    ),
    (
        "configuration",
        sample::nat,
        |f| f.problems = config::parse(UNDECLARED, "x.yaml").expect("a file with a warning").warnings,
        Severity::Warning,
        "x.yaml:1:",
        "vsftpd     pasv_min_port=31000",
    ),
    (
        "modules",
        sample::nat,
        |f| {
            f.loadable.as_mut().expect("modules").remove("nft_queue");
        },
        Severity::Fatal,
        "modules.dep",
        "modprobe nft_queue",
    ),
    ("modules", sample::nat, |f| f.loadable = None, Severity::Warning, "/proc/modules", "modprobe -a"),
    (
        "ip-vs-ftp",
        sample::nat,
        |f| f.helper_ports = vec![2121, 21],
        Severity::Fatal,
        "ip_vs_app",
        "modprobe -r ip_vs_ftp",
    ),
    ("backup-only", sample::dr, |f| f.set("net/ipv4/vs/backup_only", "1"), Severity::Fatal, "= 1", "backup_only=0"),
    (
        "backup-only",
        sample::dr,
        |f| f.sysctls.retain(|name, _| !name.starts_with("net/ipv4/vs/")),
        Severity::Unknown,
        "",
        "",
    ),
    ("overload-defence", sample::dr, |f| f.set("net/ipv4/vs/secure_tcp", "2"), Severity::Note, "= 2", "secure_tcp=0"),
    ("services", sample::nat, foreign_service, Severity::Fatal, "192.0.2.10:21 wlc", "ipvsadm -D -t 192.0.2.10:21"),
    ("tunnel-source", tunnels, |f| leaves_with(f, "192.0.2.10"), Severity::Fatal, "src 192.0.2.10", "src ADDRESS"),
    (
        "tunnel-source",
        tunnels,
        |f| {
            cluster(f).vips.push(address("2001:db8::10"));
            leaves_with(f, "2001:db8::10");
        },
        Severity::Fatal,
        "src 2001:db8::10",
        "ip address change 2001:db8::10/128 dev eth0 preferred_lft 0",
    ),
    (
        "vip",
        sample::nat,
        |f| f.links[1].addresses.truncate(1),
        Severity::Fatal,
        "no 192.0.2.10",
        "ip address add 192.0.2.10/32 dev eth0",
    ),
    (
        "vip",
        sample::nat,
        |f| {
            f.links[1].addresses.truncate(1);
            f.keepalived.push(("k.conf".into(), "virtual_ipaddress {\n 192.0.2.10/32 dev eth0\n}".into()));
        },
        Severity::Warning,
        "k.conf:2",
        "keepalived",
    ),
    (
        "advertise",
        sample::nat,
        |f| cluster(f).advertise = config::Advertise::Interface("ppp0".into()),
        Severity::Warning,
        "no such interface",
        "passive.advertise",
    ),
    (
        "vip",
        sample::nat,
        |f| cluster(f).vip_interface = Some("eth9".into()),
        Severity::Fatal,
        "lo, eth0",
        "vip_interface",
    ),
    ("routes", sample::dr, |f| route(f, "10.0.0.11", Some("10.0.0.1"), false), Severity::Fatal, "via 10.0.0.1", "tun"),
    ("routes", sample::dr, |f| route(f, "10.0.0.11", None, true), Severity::Fatal, "local", "network namespace"),
    (
        "routes",
        sample::nat,
        |f| {
            f.routes.remove(&address("10.0.0.12"));
        },
        Severity::Fatal,
        "unreachable",
        "ip route add 10.0.0.12",
    ),
    ("ip-forward", sample::nat, |f| f.set("net/ipv4/ip_forward", "0"), Severity::Fatal, "= 0", "net.ipv4.ip_forward=1"),
    (
        "redirects",
        sample::nat,
        |f| f.set("net/ipv4/conf/all/send_redirects", "1"),
        Severity::Fatal,
        "net.ipv4.conf.all.send_redirects = 1",
        "sysctl -w net.ipv4.conf.all.send_redirects=0",
    ),
    (
        "redirects",
        sample::nat,
        |f| f.set("net/ipv4/conf/eth0/send_redirects", "1"),
        Severity::Fatal,
        "net.ipv4.conf.eth0.send_redirects = 1",
        "sysctl -w net.ipv4.conf.eth0.send_redirects=0",
    ),
    (
        "rp-filter",
        sample::nat,
        |f| {
            f.policies.push(RoutingRule { mark: None, text: "from 192.0.2.10 table 7".into() });
            f.set("net/ipv4/conf/all/rp_filter", "1");
        },
        Severity::Warning,
        "table 7",
        "net.ipv4.conf.eth0.rp_filter=2",
    ),
    (
        "accept-local",
        sample::dr,
        |f| f.set("net/ipv4/conf/eth0/accept_local", "1"),
        Severity::Note,
        "= 1",
        "accept_local=0",
    ),
    (
        "bridge",
        sample::dr,
        |f| {
            f.links[1].bridge = true;
            f.set("net/bridge/bridge-nf-call-iptables", "1");
            f.set("net/bridge/bridge-nf-call-ip6tables", "1");
        },
        Severity::Warning,
        "net.bridge.bridge-nf-call-iptables = 1\n10.0.0.11, 10.0.0.12, 10.0.0.13 behind eth0",
        "net.bridge.bridge-nf-call-iptables=0",
    ),
    (
        "mtu",
        sample::dr,
        |f| cluster(f).forwarding = ForwardingMethod::Tun,
        Severity::Warning,
        "mtu 1500 less 20",
        "mtu 1520",
    ),
    (
        "mtu",
        sample::nat,
        |f| second_interface(f, 9000),
        Severity::Warning,
        "eth1: mtu 9000; eth0: mtu 1500",
        "advmss 1460",
    ),
    ("ranges", sample::dr, share_ranges, Severity::Fatal, "rs1 40000-40099", "passive_ports"),
    (
        "occupied",
        sample::nat,
        |f| f.listening = ["192.0.2.10:31500", "192.0.2.10:31500", "127.0.0.1:31501"].map(socket).into(),
        Severity::Warning,
        "ss -ltn: 192.0.2.10:31500; rs1: passive_ports 31000-31999",
        "ss -ltnp 'sport = :31500'",
    ),
    (
        "occupied",
        sample::dr,
        |f| f.listening = ["0.0.0.0:33000", "10.0.0.10:33001", "0.0.0.0:22"].map(socket).into(),
        Severity::Note,
        "ss -ltn: 0.0.0.0:33000; rs3: passive_ports",
        "sport = :33000",
    ),
    (
        "occupied",
        sample::nat,
        |f| {
            foreign_service(f);
            f.foreign[0].service.key = ServiceKey::Tcp(socket("192.0.2.10:32999"));
        },
        Severity::Warning,
        "TCP 192.0.2.10:32999 wlc; rs2: passive_ports",
        "another port",
    ),
    (
        "occupied",
        sample::dr,
        |f| {
            cluster(f).real_servers[1].active_ports = PortRange::new(40000, 60999);
            f.listening = [socket("192.0.2.10:50000")].into();
        },
        Severity::Warning,
        "ss -ltn: 192.0.2.10:50000; rs2: active_ports 40000-60999",
        "sport = :50000",
    ),
    (
        "occupied",
        sample::nat,
        |f| {
            public_ports(f);
            f.listening = ["192.0.2.10:31500", "192.0.2.10:8195"].map(socket).into();
        },
        Severity::Warning,
        "ss -ltn: 192.0.2.10:8195; rs1: public_ports 8192-8200",
        "sport = :8195",
    ),
    ("tls", sample::nat, share_ranges, Severity::Warning, "rs1, rs2, rs3", "passive_ports"),
    ("tls", sample::nat, public_ports, Severity::Note, "public_ports: 8192-8200", "without `public_ports`"),
    (
        "conn-reuse",
        sample::dr,
        |f| f.set("net/ipv4/vs/conn_reuse_mode", "1"),
        Severity::Warning,
        "= 1",
        "conn_reuse_mode=3",
    ),
    (
        "conn-reuse",
        sample::dr,
        |f| {
            f.sysctls.remove("net/ipv4/vs/conn_reuse_mode");
        },
        Severity::Warning,
        "not loaded",
        "modprobe ip_vs",
    ),
    (
        "quiescent",
        sample::dr,
        |f| {
            f.set("net/ipv4/vs/expire_quiescent_template", "0");
            cluster(f).persistence = Some(std::time::Duration::from_secs(60));
        },
        Severity::Warning,
        "= 0",
        "expire_quiescent_template=1",
    ),
    (
        "firewall",
        sample::dr,
        |f| {
            rule(
                f,
                "input",
                json!([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}}, {"drop": null}]),
            )
        },
        Severity::Fatal,
        "SYN-ACK",
        "nft insert rule inet filter input position 10 ip daddr 192.0.2.10 tcp dport { 20, 21 } accept",
    ),
    (
        "firewall",
        sample::dr,
        |f| {
            cluster(f).real_servers[0].active_ports = PortRange::new(32500, 60999);
            sample::chain(f, "input", "drop", &[]);
        },
        Severity::Fatal,
        "SYN-ACK (INVALID for conntrack, which never saw the SYN) to 192.0.2.10:32500-60999",
        "tcp dport { 20, 21, 31000-31999, 32000-60999 } accept",
    ),
    (
        "firewall",
        sample::nat,
        |f| {
            rule(
                f,
                "forward",
                json!([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}}, {"drop": null}]),
            )
        },
        Severity::Fatal,
        "a server's SYN-ACK from 10.0.0.11:21",
        "ip saddr 10.0.0.13 tcp sport { 21, 33000-33999 } accept",
    ),
    (
        "firewall",
        sample::nat,
        |f| sample::chain(f, "input", "drop", &[]),
        Severity::Fatal,
        "policy drop",
        "nft add rule inet filter input ip daddr 192.0.2.10 tcp dport { 21, 31000-31999, 32000-32999, 33000-33999 } accept",
    ),
    (
        "firewall",
        sample::nat,
        |f| rule(f, "input", json!([{"xt": null}, {"drop": null}])),
        Severity::Warning,
        "rule 0",
        "accept",
    ),
    (
        "legacy-iptables",
        sample::nat,
        |f| f.legacy = vec![":INPUT DROP [0:0]".into()],
        Severity::Warning,
        "INPUT",
        "nftables",
    ),
    (
        "notrack",
        sample::nat,
        |f| rule(f, "prerouting", json!([{"notrack": null}])),
        Severity::Fatal,
        "rule 0",
        "nft delete rule",
    ),
    (
        "ct-helper",
        sample::dr,
        |f| rule(f, "prerouting", json!([{"ct helper": "ftp"}])),
        Severity::Warning,
        "rule 0",
        "delete",
    ),
    (
        "conntrack",
        sample::dr,
        |f| f.set("net/netfilter/nf_conntrack_tcp_loose", "0"),
        Severity::Warning,
        "= 0",
        "loose=1",
    ),
    (
        "conntrack",
        sample::nat,
        |f| {
            f.set("net/netfilter/nf_conntrack_count", "90");
            f.set("net/netfilter/nf_conntrack_max", "100");
        },
        Severity::Warning,
        "count = 90",
        "nf_conntrack_max=400",
    ),
    (
        "marks",
        sample::dr,
        |f| rule(f, "forward", json!([{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 0x0f70_0001}}])),
        Severity::Note,
        "rule 0",
        "fwmark_base",
    ),
    (
        "marks",
        sample::dr,
        |f| rule(f, "input", json!([{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 7}}])),
        Severity::Warning,
        "rule 0",
        "-95",
    ),
    (
        "marks",
        sample::dr,
        |f| f.policies.push(RoutingRule { mark: Some((1, 0xff)), text: "fwmark 0x1/0xff".into() }),
        Severity::Note,
        "0x1/0xff",
        "fwmark_base",
    ),
];

fn foreign_service(facts: &mut Facts) {
    let service = |at: &str| ListedService {
        service: VirtualService {
            key: ServiceKey::Tcp(at.parse().expect("an address")),
            scheduler: "wlc".into(),
            persistence: None,
        },
        flags: 0,
        netmask: 32,
        traffic: Traffic::default(),
        destinations: Vec::new(),
    };
    facts.foreign = vec![service("192.0.2.10:80"), service("192.0.2.10:21")];
}
