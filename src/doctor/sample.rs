//! Healthy machines for the tests of this room.

use serde_json::{Value, json};

use super::Facts;
use super::facts::{Link, Route};
use crate::config::sample;
use crate::lvs::ForwardingMethod;

/// One interface, the VIP on it, three servers on the same network, clients behind a router.
pub fn facts(forwarding: ForwardingMethod) -> Facts {
    let address = |text: &str| text.parse().expect("an address");
    let on_link = || Route { device: "eth0".into(), gateway: None, local: false, source: Some(address("10.0.0.10")) };
    let mut facts = Facts {
        config: Some(sample::config(forwarding)),
        links: vec![
            Link { name: "lo".into(), mtu: 65536, up: true, bridge: false, addresses: vec![(address("127.0.0.1"), 8)] },
            Link {
                name: "eth0".into(),
                mtu: 1500,
                up: true,
                bridge: false,
                addresses: vec![(address("10.0.0.10"), 24), (address("192.0.2.10"), 32)],
            },
        ],
        routes: (11..=13).map(|n| (address(&format!("10.0.0.{n}")), on_link())).collect(),
        routes_known: true,
        defaults: vec![(false, "eth0".into())],
        ..Facts::default()
    };
    facts.loadable = Some(super::gather::wanted_modules(facts.config.as_ref()));
    for (sysctl, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/eth0/send_redirects", "0"),
        ("net/ipv4/vs/backup_only", "0"),
        ("net/ipv4/vs/conn_reuse_mode", "3"),
        ("net/ipv4/vs/conntrack", "0"),
        ("net/ipv4/vs/expire_quiescent_template", "1"),
        ("net/netfilter/nf_conntrack_tcp_loose", "1"),
    ] {
        facts.set(sysctl, value);
    }
    facts
}

pub fn nat() -> Facts {
    facts(ForwardingMethod::Nat)
}

pub fn dr() -> Facts {
    facts(ForwardingMethod::Dr)
}

/// A ruleset of one chain `inet filter CHAIN` at priority 0 of a hook; its rules as JSON expressions.
pub fn chain(facts: &mut Facts, hook: &str, policy: &str, rules: &[Value]) {
    let (table, name) = ("filter", hook);
    let mut objects = vec![json!({"chain": {"family": "inet", "table": table, "name": name, "type": "filter",
        "hook": hook, "prio": 0, "policy": policy}})];
    let mut listing = format!("table inet {table} {{ # handle 1\n\tchain {name} {{ # handle 1\n");
    for (number, expressions) in rules.iter().enumerate() {
        let handle = number + 10;
        objects.push(
            json!({"rule": {"family": "inet", "table": table, "chain": name, "handle": handle, "expr": expressions}}),
        );
        listing += &format!("\t\trule {number} # handle {handle}\n");
    }
    facts.ruleset.add(&json!({"nftables": objects}), &listing);
}
