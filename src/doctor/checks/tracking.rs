//! Connection tracking: what must be tracked, what must not be touched, and whether there is room.

use std::collections::{BTreeMap, BTreeSet};

use super::super::facts::sysctl_cure;
use super::super::firewall::{Effect, Holds, RulePlace, walk};
use super::traffic::legs;
use crate::config::Cluster;
use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;
use crate::lvs::ForwardingMethod;

/// What other programs' rules do to packets of `cluster`, by rule: the names of the packets.
fn effects(
    facts: &Facts,
    cluster: &Cluster,
    wanted: impl Fn(&Effect) -> bool,
) -> BTreeMap<RulePlace, (Holds, BTreeSet<String>)> {
    let mut found: BTreeMap<RulePlace, (Holds, BTreeSet<String>)> = BTreeMap::new();
    for leg in legs(facts, cluster) {
        for &(hook, below) in leg.hooks {
            let walked = walk(&facts.ruleset, &leg.packet, hook, |base| base.priority < below);
            for effect in walked.effects.into_iter().filter(|effect| wanted(effect)) {
                let entry = found.entry(effect.place).or_insert((effect.meets, BTreeSet::new()));
                entry.0 = entry.0.max(effect.meets);
                entry.1.insert(leg.packet.what.clone());
            }
        }
    }
    found
}

fn list(packets: &BTreeSet<String>) -> String {
    packets.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
}

fn delete(place: &RulePlace) -> String {
    match (place.iptables(), place.handle) {
        (Some((command, table, chain)), _) => {
            format!("{command} -t {table} -S {chain}   # find the rule, then delete it with -D")
        }
        (None, handle) => format!("nft delete rule {} handle {}", place.chain, handle.unwrap_or_default()),
    }
}

/// `notrack` where NAT needs conntrack: the source of an active data connection is translated by it.
pub fn notrack(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for cluster in facts.clusters().iter().filter(|cluster| cluster.forwarding == ForwardingMethod::Nat) {
        let is_notrack = |effect: &Effect| effect.statement.get("notrack").is_some();
        for (place, (meets, packets)) in effects(facts, cluster, is_notrack) {
            let what = format!("cluster {}: packets of its sessions are not tracked", cluster.name);
            let finding = if meets == Holds::Yes { Finding::fatal(what) } else { Finding::warning(what) };
            findings.push(
                finding
                    .seen(format!("{place}\n{}", list(&packets)))
                    .means("active data connections keep the server's private source address: active transfers hang")
                    .cure(delete(&place)),
            );
        }
    }
    findings
}

/// `ct helper ftp` on our control packets.
pub fn helper(facts: &Facts) -> Vec<Finding> {
    let is_ftp = |effect: &Effect| {
        if effect.statement["xt"]["name"] == "CT" {
            return true;
        }
        let Some(name) = effect.statement.get("ct helper").and_then(serde_json::Value::as_str) else { return false };
        let declared = facts.ruleset.helpers.iter().find(|((family, table, own), _)| {
            own == name && effect.place.chain.starts_with(&format!("{family} {table} "))
        });
        declared.is_none_or(|(_, kind)| kind == "ftp")
    };
    let mut findings = Vec::new();
    for cluster in facts.clusters() {
        for (place, (_, packets)) in effects(facts, cluster, is_ftp) {
            let what = if place.text.contains("[iptables target CT]") {
                format!(
                    "could not prove that no conntrack helper reads the control connections of cluster {}",
                    cluster.name
                )
            } else {
                format!("cluster {}: conntrack's FTP helper reads its control connections too", cluster.name)
            };
            findings.push(
                Finding::warning(what)
                    .seen(format!("{place}\n{}", list(&packets)))
                    .means("it expects data connections by addresses that are not theirs, drops control packets that it cannot parse, and with NAT rewrites replies a second time")
                    .cure(delete(&place)),
            );
        }
    }
    if facts.on("net/netfilter/nf_conntrack_helper") {
        findings.push(
            Finding::warning("conntrack helpers take every connection to port 21 by themselves")
                .seen("net.netfilter.nf_conntrack_helper = 1")
                .means("nf_conntrack_ftp, if loaded, reads our control connections too")
                .cure(sysctl_cure([("net/netfilter/nf_conntrack_helper", "0")])),
        );
    }
    findings
}

/// Room in conntrack's table, and connections that it did not see begin.
pub fn table(facts: &Facts) -> Vec<Finding> {
    const LOOSE: &str = "net/netfilter/nf_conntrack_tcp_loose";
    const MAX: &str = "net/netfilter/nf_conntrack_max";
    let mut findings = Vec::new();
    if facts.number(LOOSE) == Some(0) && !facts.clusters().is_empty() {
        findings.push(
            Finding::warning("conntrack takes established connections for invalid")
                .seen("net.netfilter.nf_conntrack_tcp_loose = 0")
                .means("with net.ipv4.vs.conntrack=0 every packet of a client after its SYN is INVALID: any `ct state invalid drop` ends all sessions")
                .cure(sysctl_cure([(LOOSE, "1")])),
        );
    }
    let nat = facts.clusters().iter().any(|cluster| cluster.forwarding == ForwardingMethod::Nat);
    let numbers = facts.number("net/netfilter/nf_conntrack_count").zip(facts.number(MAX));
    if let Some((count, max)) = numbers.filter(|(count, max)| nat && *max > 0 && count * 5 >= max * 4) {
        let what = format!("conntrack's table is {} % full, and a cluster is nat", count * 100 / max);
        let finding = if count * 100 >= max * 99 { Finding::fatal(what) } else { Finding::warning(what) };
        findings.push(
            finding
                .seen(format!("net.netfilter.nf_conntrack_count = {count}, net.netfilter.nf_conntrack_max = {max}"))
                .means("when it is full the kernel drops new connections (dmesg: nf_conntrack: table full, dropping packet)")
                .cure(sysctl_cure([(MAX, (max * 4).to_string().as_str())])),
        );
    }
    findings
}
