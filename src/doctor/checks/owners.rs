//! Programs that write the firewall themselves: what others write into their chains is gone when they write again.

use std::collections::{BTreeMap, BTreeSet};

use super::super::firewall::{Chain, RulePlace, Ruleset};
use crate::config::Cluster;
use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;
use crate::lvs::{ForwardingMethod, PortRange};

/// What accepts packets, as nft says it, and the ports.
pub type Accept = BTreeMap<String, BTreeSet<PortRange>>;

/// A program that writes rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Docker, in iptables' `filter` or in tables of its own.
    Docker,
    /// firewalld, in table `inet firewalld`.
    Firewalld,
}

impl Owner {
    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "Docker",
            Self::Firewalld => "firewalld",
        }
    }

    /// Whose a rule or policy is.
    pub fn of(place: &RulePlace, ruleset: &Ruleset) -> Option<Self> {
        let words: Vec<&str> = place.chain.split(' ').collect();
        let [family, table, chain] = words[..] else { return None };
        match (table, chain) {
            ("firewalld", _) => Some(Self::Firewalld),
            ("docker-bridges", _) => Some(Self::Docker),
            ("filter", chain) if chain.starts_with("DOCKER") => Some(Self::Docker),
            // It sets the policy when it starts.
            ("filter", "FORWARD") if place.handle.is_none() && docker_user(ruleset, family) => Some(Self::Docker),
            _ => None,
        }
    }

    /// How packets are let pass so that they still are after the program has written its rules again; `None`: by any rule.
    pub fn cure(self, place: &RulePlace, ruleset: &Ruleset, accept: &Accept) -> Option<String> {
        let family = place.chain.split(' ').next().unwrap_or_default();
        match self {
            Self::Docker if docker_user(ruleset, family) => {
                let command = if family == "ip6" { "ip6tables" } else { "iptables" };
                let lines = accept.iter().map(|(start, ports)| {
                    let ports = PortRange::merged(ports.iter().copied().collect());
                    iptables(command, "filter", "DOCKER-USER", (start, &ports))
                });
                let lines: Vec<String> = lines.collect();
                Some(format!("{}\n(Docker leaves the rules in DOCKER-USER alone, and no others)", lines.join("\n")))
            }
            Self::Docker => None,
            Self::Firewalld => Some(firewalld(accept)),
        }
    }
}

fn docker_user(ruleset: &Ruleset, family: &str) -> bool {
    let is = |chain: &&Chain| chain.family == family && chain.table == "filter" && chain.name == "DOCKER-USER";
    ruleset.chains.iter().any(|chain| is(&chain))
}

/// The lines of iptables that accept these packets in a chain.
pub fn iptables(command: &str, table: &str, chain: &str, (start, ports): (&str, &[PortRange])) -> String {
    let table = if table == "filter" { String::new() } else { format!("-t {table} ") };
    let words: Vec<&str> = start.split(' ').collect();
    let side = |word: &str| if word.starts_with('s') { ("-s", "--sports") } else { ("-d", "--dports") };
    match words[..] {
        [_, end, address, "tcp", _] => {
            let (flag, multiport) = side(end);
            let ports: Vec<String> = ports.iter().map(|range| range.to_string().replace('-', ":")).collect();
            // multiport holds 15 ports, a range counting twice.
            let lines = ports.chunks(7).map(|ports| {
                format!(
                    "{command} {table}-I {chain} -p tcp {flag} {address} -m multiport {multiport} {} -j ACCEPT",
                    ports.join(",")
                )
            });
            lines.collect::<Vec<_>>().join("\n")
        }
        [_, end, address, ..] => {
            let protocol = if command == "iptables" { "4" } else { "41" };
            format!("{command} {table}-I {chain} -p {protocol} {} {address} -j ACCEPT", side(end).0)
        }
        _ => String::new(),
    }
}

/// What comes to this machine is accepted in the default zone, what passes it by a policy between all zones.
fn firewalld(accept: &Accept) -> String {
    let mut lines = Vec::new();
    let mut passes = false;
    for (start, ports) in accept {
        let words: Vec<&str> = start.split(' ').collect();
        let [family, end, address, ..] = words[..] else { continue };
        let family = if family == "ip6" { "ipv6" } else { "ipv4" };
        let (side, port, whom) = if end == "saddr" {
            passes = true;
            ("source", "source-port", "--policy=ftpdirector")
        } else {
            ("destination", "port", "")
        };
        let rule = |element: String| {
            let whom = if whom.is_empty() { String::new() } else { format!("{whom} ") };
            let matched = format!("rule family=\"{family}\" {side} address=\"{address}\"");
            format!("firewall-cmd --permanent {whom}--add-rich-rule='{matched} {element} accept'")
        };
        let merged = PortRange::merged(ports.iter().copied().collect());
        if merged.is_empty() {
            // Tunnelled packets.
            lines.push(rule(format!("protocol value=\"{}\"", if family == "ipv6" { "ipv6" } else { "ipencap" })));
        }
        lines.extend(merged.iter().map(|range| rule(format!("{port} port=\"{range}\" protocol=\"tcp\""))));
    }
    if passes {
        let made = [
            "firewall-cmd --permanent --new-policy=ftpdirector",
            "firewall-cmd --permanent --policy=ftpdirector --add-ingress-zone=ANY",
            "firewall-cmd --permanent --policy=ftpdirector --add-egress-zone=ANY",
        ];
        lines.splice(0..0, made.map(str::to_owned));
    }
    lines.push("firewall-cmd --reload".into());
    lines.push("(in another zone than the default one: --zone=ZONE)".into());
    lines.join("\n")
}

/// Such programs whose rules our packets meet.
pub fn programs(facts: &Facts) -> Vec<Finding> {
    [docker(facts), firewalld_here(facts)].into_iter().flatten().collect()
}

/// Docker's rules are at forward, which only NAT's packets pass.
fn docker(facts: &Facts) -> Option<Finding> {
    let docker =
        |chain: &&Chain| chain.table == "docker-bridges" || chain.table == "filter" && chain.name.starts_with("DOCKER");
    let legacy = || facts.legacy.iter().find(|line| line.starts_with(":DOCKER")).cloned();
    let chain = facts.ruleset.chains.iter().find(docker).map(|chain| format!("nft chain {}", chain.place(None).chain));
    let seen = chain.or_else(legacy)?;
    let nat: Vec<&str> = names(facts, |cluster| cluster.forwarding == ForwardingMethod::Nat);
    (!nat.is_empty()).then(|| {
        Finding::note(format!("Docker's rules are on the way of {}", nat.join(", ")))
            .seen(seen)
            .means("when Docker starts it may set the policy of FORWARD to drop, and puts its rules before all others: replies of NAT servers are then dropped")
            .cure("nothing, as long as the check `firewall` is good; let what it finds pass in the chain DOCKER-USER, or start Docker with {\"iptables\": false} where it is not needed")
    })
}

fn firewalld_here(facts: &Facts) -> Option<Finding> {
    let chain = facts.ruleset.chains.iter().find(|chain| chain.table == "firewalld" && chain.base.is_some())?;
    let all = names(facts, |_| true);
    (!all.is_empty()).then(|| {
        Finding::note(format!("firewalld's rules are on the way of {}", all.join(", ")))
            .seen(format!("nft table {} firewalld", chain.family))
            .means("it drops what its zones do not name, and deletes what others write into its table at each reload")
            .cure("nothing, as long as the check `firewall` is good; let what it finds pass with firewall-cmd --permanent")
    })
}

fn names(facts: &Facts, wanted: impl Fn(&Cluster) -> bool) -> Vec<&str> {
    facts.clusters().iter().filter(|cluster| wanted(cluster)).map(|cluster| cluster.name.as_str()).collect()
}
