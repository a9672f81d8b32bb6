//! Packets against rules as `nft -j` (1.0.6) shows them.

use serde_json::{Value, json};

use super::*;
use crate::lvs::PortRange;

/// A client's SYN to 10.0.0.100:PORTS through eth0.
fn syn(ports: &str) -> PacketClass {
    PacketClass {
        what: String::new(),
        accept: (String::new(), None),
        ipv6: false,
        source: None,
        destination: Some("10.0.0.100".parse().expect("an address")),
        source_ports: None,
        destination_ports: Some(ports.parse().expect("a range")),
        state: "new",
        flags: &["syn"],
        inputs: vec!["eth0".into()],
    }
}

/// The client's SYN-ACK of an active data connection.
fn syn_ack() -> PacketClass {
    PacketClass { state: "invalid", flags: &["syn", "ack"], ..syn("20") }
}

fn matches(left: Value, op: &str, right: Value) -> Value {
    json!({"match": {"op": op, "left": left, "right": right}})
}

fn dport(right: Value) -> Value {
    matches(json!({"payload": {"protocol": "tcp", "field": "dport"}}), "==", right)
}

fn state(right: Value) -> Value {
    matches(json!({"ct": {"key": "state"}}), "in", right)
}

fn meta(key: &str, right: Value) -> Value {
    matches(json!({"meta": {"key": key}}), "==", right)
}

fn ip(field: &str, right: Value) -> Value {
    matches(json!({"payload": {"protocol": "ip", "field": field}}), "==", right)
}

/// A ruleset with an input chain; `rules` are its expressions.
fn ruleset(policy: &str, rules: &[Vec<Value>]) -> Ruleset {
    let named = |name: &str| json!({"family": "inet", "table": "filter", "name": name});
    let set = |name: &str, elements: Value| {
        let mut body = named(name);
        body["elem"] = elements;
        json!({"set": body})
    };
    let mut base = named("input");
    for (key, value) in
        [("type", json!("filter")), ("hook", json!("input")), ("prio", json!(0)), ("policy", json!(policy))]
    {
        base[key] = value;
    }
    let rule = |chain: &str, handle: usize, expressions: &[Value]| json!({"rule": {"family": "inet", "table": "filter", "chain": chain, "handle": handle, "expr": expressions}});
    let mut objects = vec![
        set("ports", json!([21, {"range": [31000, 31999]}])),
        set("banned", json!(["192.0.2.7", {"prefix": {"addr": "198.51.100.0", "len": 24}}])),
        json!({"chain": base}),
        json!({"chain": named("other")}),
        rule("other", 1, &[dport(json!(21)), json!({"accept": null})]),
    ];
    objects.extend(rules.iter().enumerate().map(|(number, rule_of)| rule("input", number + 10, rule_of)));
    let mut ruleset = Ruleset::default();
    ruleset.add(&json!({"nftables": objects}), "");
    ruleset
}

/// `p` passes, `d` dropped, `u` not proved.
fn fate(ruleset: &Ruleset, packet: &PacketClass) -> char {
    match walk(ruleset, packet, "input", |base| base.priority < 99).fate {
        PacketFate::Passes => 'p',
        PacketFate::Dropped(_) => 'd',
        PacketFate::Unproved(_) => 'u',
    }
}

#[test]
fn fates_with_policy_drop() {
    let accept = || json!({"accept": null});
    let drop = || json!({"drop": null});
    let vmap = |key: Value, set: Value| json!({"vmap": {"key": key, "data": {"set": set}}});
    let ct = || json!({"ct": {"key": "state"}});
    let flags = |right: Value| {
        let left = json!({"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["fin", "syn", "rst", "ack"]]});
        matches(left, "==", right)
    };
    // Rules; then the fates of a SYN to 21, one to 31000-31999, and the SYN-ACK.
    let rows: Vec<(Vec<Vec<Value>>, &str)> = vec![
        (vec![], "ddd"),
        (vec![vec![dport(json!(21)), accept()]], "pdd"),
        (vec![vec![dport(json!("@ports")), accept()]], "ppd"),
        (vec![vec![dport(json!({"set": [{"range": [31000, 31499]}]})), accept()]], "dud"),
        (vec![vec![dport(json!({"set": [{"range": [31000, 31499]}, {"range": [31500, 32000]}]})), accept()]], "dpd"),
        (vec![vec![state(json!("invalid")), drop()], vec![accept()]], "ppd"),
        (vec![vec![matches(ct(), "==", json!({"set": ["invalid", "untracked"]})), drop()], vec![accept()]], "ppd"),
        (vec![vec![state(json!(["established", "related"])), accept()]], "ddd"),
        (
            vec![vec![vmap(ct(), json!([["established", {"accept": null}], ["new", {"jump": {"target": "other"}}]]))]],
            "pdd",
        ),
        (vec![vec![meta("iifname", json!("lo")), accept()]], "ddd"),
        (vec![vec![meta("iifname", json!("eth*")), accept()]], "ppp"),
        (vec![vec![meta("l4proto", json!({"set": ["tcp", "udp"]})), accept()]], "ppp"),
        (vec![vec![ip("protocol", json!("icmp")), accept()]], "ddd"),
        (vec![vec![ip("saddr", json!("@banned")), drop()], vec![accept()]], "ppp"),
        (vec![vec![ip("saddr", json!("@banned")), accept()]], "uuu"),
        (vec![vec![ip("daddr", json!({"prefix": {"addr": "10.0.0.0", "len": 24}})), accept()]], "ppp"),
        (vec![vec![ip("daddr", json!("10.0.0.10")), accept()]], "ddd"),
        (vec![vec![flags(json!("syn")), accept()]], "ppd"),
        (vec![vec![flags(json!(["syn", "ack"])), accept()]], "ddp"),
        (vec![vec![flags(json!({"|": ["syn", "ack"]})), accept()]], "ddp"),
        (vec![vec![json!({"limit": {"rate": 10, "per": "second"}}), accept()]], "uuu"),
        (vec![vec![json!({"xt": null}), accept()]], "uuu"),
        (vec![vec![json!({"queue": {"num": 7}})]], "uuu"),
        (vec![vec![json!({"jump": {"target": "other"}})], vec![dport(json!(20)), accept()]], "pdp"),
        (
            vec![
                vec![matches(json!({"payload": {"protocol": "tcp", "field": "dport"}}), "!=", json!(21)), drop()],
                vec![accept()],
            ],
            "pdd",
        ),
        (
            vec![vec![matches(json!({"payload": {"protocol": "tcp", "field": "dport"}}), ">=", json!(1024)), accept()]],
            "dpd",
        ),
        (
            vec![vec![
                matches(
                    json!({"concat": [{"payload": {"protocol": "ip", "field": "daddr"}}, {"payload": {"protocol": "tcp", "field": "dport"}}]}),
                    "==",
                    json!({"set": [{"concat": ["10.0.0.100", 21]}]}),
                ),
                accept(),
            ]],
            "pdd",
        ),
        (
            vec![vec![matches(json!({"fib": {"result": "type", "flags": ["daddr"]}}), "==", json!("local")), accept()]],
            "ppp",
        ),
    ];
    for (number, (rules, expected)) in rows.iter().enumerate() {
        let ruleset = ruleset("drop", rules);
        let found: String = [syn("21"), syn("31000-31999"), syn_ack()].iter().map(|p| fate(&ruleset, p)).collect();
        assert_eq!(&found, expected, "row {number}: {rules:?}");
    }
}

#[test]
fn chains_after_ipvs_do_not_count() {
    let ruleset = ruleset("drop", &[]);
    assert_eq!(walk(&ruleset, &syn("21"), "input", |base| base.priority < 0).fate, PacketFate::Passes);
    assert_eq!(walk(&ruleset, &syn("21"), "forward", |_| true).fate, PacketFate::Passes);
}

/// What iptables-nft 1.8.9 wrote, as nft 1.0.6 shows it:
/// `iptables -A INPUT RULE` with each of these rules, and `-P INPUT DROP`.
#[test]
fn iptables_extensions_are_read_from_their_text() {
    let xt = |kind: &str, name: &str| json!({"xt": {"type": kind, "name": name}});
    let tcp = || meta("l4proto", json!("tcp"));
    let (accept, drop) = (|| json!({"accept": null}), || json!({"drop": null}));
    // Expressions, text; the fates of a SYN to 21, one to 31000-31999, and the SYN-ACK; with policy accept for drops.
    let rows = [
        // -m conntrack --ctstate INVALID -j DROP
        (vec![xt("match", "conntrack"), drop()], "ct state invalid counter packets 0 bytes 0 drop", "accept", "ppd"),
        // -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
        (
            vec![xt("match", "conntrack"), accept()],
            "ct state related,established counter packets 0 bytes 0 accept",
            "drop",
            "ddd",
        ),
        // -p tcp -m multiport --dports 21,31000:31999 -j ACCEPT
        (
            vec![tcp(), xt("match", "multiport"), accept()],
            "meta l4proto tcp tcp dport { 21, 31000-31999 } counter accept",
            "drop",
            "ppd",
        ),
        // -p tcp -m comment --comment hi -j ACCEPT
        (
            vec![tcp(), xt("match", "comment"), accept()],
            "meta l4proto tcp  counter packets 0 bytes 0 accept",
            "drop",
            "ppp",
        ),
        // -j REJECT
        (vec![xt("target", "REJECT")], "counter packets 0 bytes 0 reject", "accept", "ddd"),
        // -j LOG
        (vec![xt("target", "LOG")], "counter packets 0 bytes 0 log", "accept", "ppp"),
        // -m owner, not translated
        (vec![xt("match", "owner"), drop()], "xt match owner drop", "accept", "uuu"),
    ];
    for (expressions, text, policy, expected) in rows {
        let json = json!({"nftables": [
            {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "type": "filter", "hook": "input", "prio": 0, "policy": policy}},
            {"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "handle": 4, "expr": expressions}},
        ]});
        let listing = format!(
            "# Warning: table ip filter is managed by iptables-nft, do not touch!\ntable ip filter {{ # handle 1\n\tchain INPUT {{ # handle 1\n\t\t{text} # handle 4\n"
        );
        let mut ruleset = Ruleset::default();
        ruleset.add(&json, &listing);
        let found: String = [syn("21"), syn("31000-31999"), syn_ack()].iter().map(|p| fate(&ruleset, p)).collect();
        assert_eq!(found, expected, "{text}");
        if let PacketFate::Dropped(place) = walk(&ruleset, &syn_ack(), "input", |_| true).fate
            && policy == "accept"
        {
            let extension =
                if text.contains("reject") { " [iptables target REJECT]" } else { " [iptables match conntrack]" };
            assert_eq!(place.to_string(), format!("nft chain ip filter INPUT: {text}{extension} # handle 4"));
            assert_eq!(place.iptables(), Some(("iptables", "filter", "INPUT")));
        }
    }
}

#[test]
fn rubbish_is_no_crash() {
    let mut ruleset = Ruleset::default();
    for json in [
        json!(null),
        json!({"nftables": 1}),
        json!({"nftables": [1, {}, {"rule": 1}, {"chain": {"hook": "input"}}, {"rule": {"expr": [1, {"match": 1}, {"vmap": 1}]}}]}),
    ] {
        ruleset.add(&json, "table\n\t\tx # handle y\n");
    }
    let _ = fate(&ruleset, &syn("21"));
    assert_eq!(PortRange::new(0, 1), None);
}
