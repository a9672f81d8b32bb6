//! Machines on which another program manages IPVS or the firewall too.

use serde_json::{Value, json};

use super::super::super::facts::Link;
use super::super::super::{Facts, Severity, sample};
use super::rows::Row;
use crate::kernel::directors::RunningDirector;
use crate::kernel::ipvs::{ListedDestination, ListedService};
use crate::lvs::{Destination, FirewallMark, ForwardingMethod, ServiceKey, Thresholds, Traffic, VirtualService};

fn add_link(facts: &mut Facts, name: &str) {
    facts.links.push(Link { name: name.into(), mtu: 1500, up: false, bridge: false, addresses: vec![] });
}

/// A daemon under this file.
pub fn director(pid: u32, file: &str) -> RunningDirector {
    RunningDirector { pid, command: format!("ftpdirector run --config {file}") }
}

/// A firewall-mark service with one server at port 0, as we make them.
fn marked(to: &str) -> ListedService {
    let address = to.parse().expect("an address and a port");
    let destination =
        Destination { address, forwarding: ForwardingMethod::Nat, weight: 1, thresholds: Thresholds::NONE };
    let key = ServiceKey::Mark { mark: FirewallMark(0x0e70_0001), ipv6: false };
    ListedService {
        service: VirtualService { key, scheduler: "rr".into(), persistence: None },
        flags: 0,
        netmask: 32,
        traffic: Traffic::default(),
        destinations: vec![ListedDestination {
            destination,
            local: false,
            active: 0,
            inactive: 0,
            persistent: 0,
            traffic: Traffic::default(),
        }],
    }
}

/// A table of chains: name, hook, policy, rules.
pub fn table(facts: &mut Facts, family: &str, table: &str, chains: &[(&str, Option<&str>, &str, Value)]) {
    let mut objects = Vec::new();
    for (name, hook, policy, rules) in chains {
        let mut chain = json!({"family": family, "table": table, "name": name});
        if let Some(hook) = hook {
            chain = json!({"family": family, "table": table, "name": name, "type": "filter", "hook": hook, "prio": 0, "policy": policy});
        }
        objects.push(json!({"chain": chain}));
        for (number, expressions) in rules.as_array().into_iter().flatten().enumerate() {
            let rule =
                json!({"family": family, "table": table, "chain": name, "handle": number + 10, "expr": expressions});
            objects.push(json!({"rule": rule}));
        }
    }
    facts.ruleset.add(&json!({"nftables": objects}), "");
}

/// As Docker leaves iptables' table when it has started.
pub fn docker(facts: &mut Facts, policy: &str) {
    let to = |chain: &str| json!([[{"jump": {"target": chain}}]]);
    let none = || json!([]);
    table(
        facts,
        "ip",
        "filter",
        &[
            ("FORWARD", Some("forward"), policy, to("DOCKER-USER")),
            ("DOCKER-USER", None, "", none()),
            ("DOCKER", None, "", none()),
        ],
    );
}

/// firewalld with a zone in which nothing is open.
fn firewalld(facts: &mut Facts, hook: &str) {
    let chain = format!("filter_{}", hook.to_uppercase());
    table(
        facts,
        "inet",
        "firewalld",
        &[(&chain, Some(hook), "accept", json!([[{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]]))],
    );
}

/// As [`super::rows::ROWS`].
pub const ROWS: &[Row] = &[
    (
        "other-director",
        sample::nat,
        |f| (f.directors, f.answers) = (vec![director(12, "/etc/a.yaml"), director(34, "/etc/b.yaml")], true),
        Severity::Fatal,
        "pid 34: ftpdirector run --config /etc/b.yaml\none answers at /run/ftpdirector/admin.sock",
        "one daemon for a network namespace",
    ),
    (
        "other-director",
        sample::dr,
        |f| f.directors = vec![director(12, "/etc/b.yaml")],
        Severity::Warning,
        "pid 12: ftpdirector run --config /etc/b.yaml\nnobody answers",
        "systemctl stop",
    ),
    (
        "other-director",
        sample::nat,
        |f| f.queue_reader = Some(4711),
        Severity::Warning,
        "nfnetlink_queue: 2100 4711",
        "ps -p 4711\nanother number for one of the two: `kernel.queue`",
    ),
    (
        "other-director",
        sample::nat,
        |f| f.foreign = vec![marked("10.0.0.12:0"), marked("10.0.0.99:0"), marked("10.0.0.12:80")],
        Severity::Warning,
        "FWM 242221057 (0x0e700001) to 10.0.0.12:0",
        "ipvsadm -D -f 242221057\n",
    ),
    (
        "firewall-programs",
        sample::nat,
        |f| docker(f, "accept"),
        Severity::Note,
        "nft chain ip filter DOCKER-USER",
        "{\"iptables\": false}",
    ),
    (
        "firewall-programs",
        sample::nat,
        |f| table(f, "ip", "docker-bridges", &[("filter-FORWARD", Some("forward"), "accept", json!([]))]),
        Severity::Note,
        "docker-bridges",
        "DOCKER-USER",
    ),
    (
        "firewall-programs",
        sample::dr,
        |f| firewalld(f, "output"),
        Severity::Note,
        "nft table inet firewalld",
        "firewall-cmd",
    ),
    (
        "firewall",
        sample::nat,
        |f| docker(f, "drop"),
        Severity::Fatal,
        "nft chain ip filter FORWARD: policy drop",
        "iptables -I DOCKER-USER -p tcp -s 10.0.0.11 -m multiport --sports 20,21,",
    ),
    (
        "firewall",
        sample::dr,
        |f| firewalld(f, "input"),
        Severity::Fatal,
        "inet firewalld filter_INPUT",
        "firewall-cmd --permanent --add-rich-rule='rule family=\"ipv4\" destination address=\"192.0.2.10\" port port=\"21\" protocol=\"tcp\" accept'",
    ),
    (
        "firewall",
        sample::nat,
        |f| firewalld(f, "forward"),
        Severity::Fatal,
        "inet firewalld filter_FORWARD",
        "firewall-cmd --permanent --policy=ftpdirector --add-rich-rule='rule family=\"ipv4\" source address=\"10.0.0.11\" source-port port=\"21\" protocol=\"tcp\" accept'",
    ),
    (
        "kubernetes",
        sample::nat,
        |f| add_link(f, "kube-ipvs0"),
        Severity::Warning,
        "ip link: kube-ipvs0",
        "--ipvs-exclude-cidrs (ipvs.excludeCIDRs in its configuration) 192.0.2.10/32\n",
    ),
    (
        "kubernetes",
        sample::dr,
        |f| add_link(f, "kube-dummy-if"),
        Severity::Warning,
        "kube-dummy-if",
        "--excluded-cidrs",
    ),
    (
        "keepalived",
        sample::nat,
        |f| f.keepalived.push(("k.conf".into(), "global_defs {\n  lvs_flush\n ! lvs_flush\n}".into())),
        Severity::Warning,
        "k.conf:2: lvs_flush",
        "reload keepalived",
    ),
    (
        "keepalived",
        sample::nat,
        |f| {
            f.keepalived
                .push(("k.conf".into(), "virtual_server 192.0.2.10 21 {\n}\nvirtual_server 192.0.2.10 80 {".into()))
        },
        Severity::Fatal,
        "k.conf:1",
        "delete",
    ),
];
