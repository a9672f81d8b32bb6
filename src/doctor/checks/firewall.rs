//! Rules of others that drop what FTP on IPVS needs.

use std::collections::{BTreeMap, BTreeSet};

use super::super::firewall::{PacketClass, PacketFate, RulePlace, walk};
use super::owners::{Accept, Owner, iptables};
use super::traffic::{Leg, legs};
use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;
use crate::lvs::PortRange;

/// What one rule, or one policy, of another program does to our packets.
#[derive(Default)]
struct Trouble {
    /// Whether the rule surely drops one of them.
    sure: bool,
    packets: Vec<String>,
    breaks: BTreeSet<&'static str>,
    accept: Accept,
}

impl Trouble {
    fn add(&mut self, leg: &Leg, sure: bool) {
        self.sure |= sure;
        if !self.packets.contains(&leg.packet.what) {
            self.packets.push(leg.packet.what.clone());
        }
        self.breaks.insert(leg.breaks);
        let PacketClass { accept: (start, ports), .. } = &leg.packet;
        self.accept.entry(start.clone()).or_default().extend(ports);
    }
}

/// Every packet of every cluster through every chain.
pub fn packets(facts: &Facts) -> Vec<Finding> {
    let mut troubles: BTreeMap<RulePlace, Trouble> = BTreeMap::new();
    for leg in facts.clusters().iter().flat_map(|cluster| legs(facts, cluster)) {
        for &(hook, below) in leg.hooks {
            match walk(&facts.ruleset, &leg.packet, hook, |base| base.priority < below).fate {
                PacketFate::Passes => {}
                PacketFate::Dropped(place) => troubles.entry(place).or_default().add(&leg, true),
                PacketFate::Unproved(places) => {
                    for place in places {
                        troubles.entry(place).or_default().add(&leg, false);
                    }
                }
            }
        }
    }
    troubles.into_iter().map(|(place, trouble)| finding(facts, &place, &trouble)).collect()
}

fn finding(facts: &Facts, place: &RulePlace, trouble: &Trouble) -> Finding {
    let packets = &trouble.packets;
    let first = packets.first().map_or("", String::as_str);
    let more =
        if packets.len() > 1 { format!(", and {} more kinds of packet", packets.len() - 1) } else { String::new() };
    let owner = Owner::of(place, &facts.ruleset);
    let whose = owner.map(|owner| format!(" of {}", owner.name())).unwrap_or_default();
    let finding = if trouble.sure {
        Finding::fatal(format!("a rule{whose} drops {first}{more}"))
    } else {
        Finding::warning(format!("could not prove that {first} passes{more}"))
    };
    let breaks: Vec<&str> = trouble.breaks.iter().copied().collect();
    let file = "(and the same where your rules are kept, for example /etc/nftables.conf)";
    finding.seen(format!("{place}\n{}", packets.join("\n"))).means(breaks.join("; ")).cure(
        owner
            .and_then(|owner| owner.cure(place, &facts.ruleset, &trouble.accept))
            .unwrap_or_else(|| format!("{}\n{file}", cure(place, &trouble.accept))),
    )
}

/// Accepts the packets before the rule that drops them.
fn cure(place: &RulePlace, accept: &Accept) -> String {
    let lines = accept.iter().map(|(start, ports)| (start, PortRange::merged(ports.iter().copied().collect()))).map(
        |(start, ports)| match place.iptables() {
            Some((command, table, chain)) => iptables(command, table, chain, (start, &ports)),
            None => {
                let listed: Vec<String> = ports.iter().map(ToString::to_string).collect();
                let matched = match &listed[..] {
                    [] => start.clone(),
                    [one] => format!("{start} {one}"),
                    _ => format!("{start} {{ {} }}", listed.join(", ")),
                };
                match place.handle {
                    Some(handle) => {
                        format!("nft insert rule {} position {handle} {matched} accept", place.chain)
                    }
                    None => format!("nft add rule {} {matched} accept", place.chain),
                }
            }
        },
    );
    lines.collect::<Vec<_>>().join("\n")
}

/// iptables-legacy: rules that nft does not list. Only lines that could matter are shown.
pub fn legacy(facts: &Facts) -> Vec<Finding> {
    let matters = |line: &&String| {
        let policy = line.starts_with(':') && line.contains(" DROP ");
        let drops =
            ["-j DROP", "-j REJECT", "NOTRACK", "--notrack", "--helper ftp"].iter().any(|word| line.contains(word));
        policy || drops
    };
    let lines: Vec<&str> = facts.legacy.iter().filter(matters).map(String::as_str).collect();
    if lines.is_empty() {
        return Vec::new();
    }
    vec![
        Finding::warning("could not prove that iptables-legacy's rules let FTP pass")
            .seen(lines.join("\n"))
            .means("they run beside nftables, before IPVS; what they drop never reaches it")
            .cure("move them to nftables (iptables-legacy-save | iptables-restore), or check by hand that the VIPs' control ports, passive ranges and active ports are accepted"),
    ]
}
