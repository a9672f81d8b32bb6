//! What the rules ask of nf_tables and nft(8), in parts that can be tried one by one. A kernel is judged by what it takes, not by its
//! version: distributions put newer parts into older kernels, and leave others out.

use std::fmt::Write as _;

/// The table of the trials. It is dormant, so that no chain of it registers a hook: taking one away drops every queued packet of the
/// namespace. What NAT needs has connection tracking register its own, for the moment of the trial where nobody else uses it: where
/// a director of DR runs beside, control packets that wait at that moment come again.
const TABLE: &str = "inet ftpdirector-probe";

/// A part of what the rules need.
#[derive(Debug)]
pub struct Feature {
    /// What it is called in messages.
    pub name: &'static str,
    /// The kernel module that has it.
    pub module: &'static str,
    /// Sets and chains that need it, and little else.
    trial: &'static str,
}

/// What every table of ours needs.
static ALWAYS: [Feature; 12] = [
    Feature {
        name: "rules of the family inet",
        module: "nf_tables",
        trial: "
  chain plain_prerouting { type filter hook prerouting priority -95; policy accept; }
  chain plain_input { type filter hook input priority 110; policy accept; }
  chain plain_forward { type filter hook forward priority 0; policy accept; tcp flags & (fin | syn | rst | ack) == syn goto plain; }
  chain plain_postrouting { type filter hook postrouting priority 0; policy accept; meta l4proto tcp jump plain; }
  counter plain_counter { }
  chain plain {
    ip protocol 4 ip saddr 192.0.2.1 ip daddr 192.0.2.2 meta length < 1000 drop
    ip6 nexthdr 41 ip6 saddr 2001:db8::1 ip6 daddr 2001:db8::2 drop
    tcp sport 20 tcp dport 21 meta mark set meta mark & 0xfffcffff | 0x4000 return
    counter name plain_counter
  }",
    },
    Feature {
        name: "fragments (ip frag-off, exthdr frag)",
        module: "nf_tables",
        trial: "
  chain pieces {
    ip frag-off & 0x3fff != 0x0 drop
    exthdr frag exists drop
    frag frag-off 1 drop
  }",
    },
    Feature {
        name: "payload behind the TCP header (@ih, Linux 5.16)",
        module: "nf_tables",
        trial: "
  chain payload { @ih,0,8 != 20-23 accept; }",
    },
    Feature {
        name: "maps from several fields to marks",
        module: "nf_tables",
        trial: "
  map marks { type ipv4_addr . inet_service : mark; size 16; flags timeout; }
  chain marked { meta mark set ip daddr . tcp dport map @marks accept; }",
    },
    Feature {
        name: "sets that packets write and erase, with a limit in each element",
        module: "nft_limit",
        trial: "
  set buckets { type ipv6_addr . inet_service; size 16; flags timeout,dynamic; }
  chain buckets_filled {
    update @buckets { ip6 saddr & ffff:ffff:ffff:ffff:: . tcp dport timeout 3s limit rate over 5/second burst 10 packets } drop
    add @buckets { ip6 saddr . tcp dport timeout 60s limit rate over 5/second burst 10 packets }
    delete @buckets { ip6 saddr . tcp dport }
    limit rate over 100/second burst 200 packets return
  }",
    },
    Feature {
        name: "ranges of ports in a key of several fields (Linux 5.6)",
        module: "nf_tables",
        trial: "
  map ranges { type ipv4_addr . inet_service : mark; flags interval; }
  chain ranged { meta mark set ip daddr . tcp dport map @ranges return; }",
    },
    Feature {
        name: "a counter in each element of a set (Linux 5.7)",
        module: "nf_tables",
        trial: "
  set counted { type mark . ipv4_addr; counter; }
  chain counts { meta mark . ip daddr @counted accept; }",
    },
    Feature {
        name: "raw payload in the key of a set",
        module: "nf_tables",
        trial: "
  set raw { typeof @nh,96,32 . meta mark; size 16; flags timeout,dynamic; }
  chain raws { update @raw { @nh,96,32 . meta mark timeout 10s } accept; }",
    },
    Feature {
        name: "the next hop (rt nexthop)",
        module: "nf_tables",
        trial: "
  set hops { type mark . ipv4_addr; }
  chain next { meta mark . rt ip nexthop @hops accept; }",
    },
    Feature {
        name: "NFQUEUE with bypass (queue)",
        module: "nft_queue",
        trial: "
  chain queued { queue flags bypass to 2100; }",
    },
    Feature {
        name: "NFLOG (log group)",
        module: "nft_log and nfnetlink_log",
        trial: "
  chain logged { log prefix \"unexpected\" group 2100 snaplen 128; }",
    },
    Feature {
        name: "resets (reject with tcp reset)",
        module: "nft_reject_inet",
        trial: "
  chain refused { meta l4proto tcp reject with tcp reset; }",
    },
];

/// What a table with a NAT cluster needs beside that.
static NAT: [Feature; 2] = [
    Feature {
        name: "translation to what a map says (dnat, snat; Linux 5.6)",
        module: "nft_nat and nft_chain_nat",
        trial: "
  map forward { type ipv4_addr . inet_service : ipv4_addr . inet_service; size 16; flags timeout; }
  map source { type ipv4_addr . inet_service : ipv4_addr; size 16; flags timeout; }
  chain forward_nat { type nat hook prerouting priority -110; policy accept; dnat ip to ip saddr . tcp dport map @forward; }
  chain source_nat { type nat hook postrouting priority 90; policy accept; snat ip to ip saddr . tcp dport map @source; }",
    },
    Feature {
        name: "addresses as they were before translation (ct original)",
        module: "nft_ct",
        trial: "
  chain before { ip saddr . ct original ip saddr { 192.0.2.1 . 192.0.2.2 } accept; }",
    },
];

/// The features that a table needs without NAT clusters.
#[must_use]
pub fn always() -> Vec<&'static Feature> {
    ALWAYS.iter().collect()
}

/// The features that a table needs with a NAT cluster.
#[must_use]
pub fn with_nat() -> Vec<&'static Feature> {
    ALWAYS.iter().chain(&NAT).collect()
}

/// A table that needs these features, for `nft -c -f -`.
#[must_use]
pub fn trial(features: &[&Feature]) -> String {
    let mut text = format!("table {TABLE} {{\n  flags dormant");
    for feature in features {
        let _ = write!(text, "{}", feature.trial);
    }
    text.push_str("\n}\n");
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::lvs::FirewallMark;
    use crate::state::sets::Family;
    use crate::state::{Marks, Network, Rules};

    /// nft's words in a text: no names, numbers and addresses.
    fn words(text: &str) -> BTreeSet<&str> {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("table ") && !line.starts_with('#'));
        let mut found = BTreeSet::new();
        for line in lines {
            let mut after_noun = false;
            for word in
                line.split(|c: char| !c.is_ascii_alphanumeric() && !"_-@,".contains(c)).filter(|w| !w.is_empty())
            {
                let name =
                    std::mem::replace(&mut after_noun, ["chain", "goto", "jump", "counter", "name"].contains(&word));
                // A declaration: `meta mark set …` and `… map @name` stand inside of a line.
                let declared =
                    line.starts_with(&format!("set {word} {{")) || line.starts_with(&format!("map {word} {{"));
                let payload = word.starts_with("@ih") || word.starts_with("@nh");
                if payload {
                    found.insert(&word[..3]);
                } else if !name && !declared && word != "ffff" && word.starts_with(|c: char| c.is_ascii_lowercase()) {
                    found.extend(word.split(','));
                }
            }
        }
        found
    }

    fn rules(nat: bool) -> Rules {
        let pinhole_timeouts =
            vec![(Duration::from_secs(10), vec![]), (Duration::from_secs(30), vec![FirewallMark(0x0f73_0001)])];
        Rules {
            marks: Marks { base: 0x0f70_0000 },
            queue: 2100,
            nat,
            idle: Duration::from_secs(900),
            pinhole_timeouts,
            networks: vec![Network { family: Family::V4, length: 24 }, Network { family: Family::V6, length: 64 }],
            connection_packets: 100,
            client_packets: 5000,
            client_connections: 1000,
        }
    }

    /// A rule with a new word needs a trial, or a kernel without it is refused by nft's words only, after the start.
    #[test]
    fn every_word_of_the_rules_is_tried() {
        for (nat, features) in [(false, always()), (true, with_nat())] {
            let (table, trial) = (rules(nat).table(), trial(&features));
            let (used, tried) = (words(&table), words(&trial));
            assert!(used.len() > 50, "only {used:?}: this test no longer sees the rules");
            let left: Vec<_> = used.difference(&tried).collect();
            assert!(left.is_empty(), "the rules (NAT: {nat}) have words that no feature tries: {left:?}");
        }
    }

    #[test]
    fn no_trial_registers_a_hook() {
        assert!(trial(&with_nat()).starts_with("table inet ftpdirector-probe {\n  flags dormant\n"));
    }

    /// Tried together, the trials must not name the same chain or set twice.
    #[test]
    fn every_name_in_the_trials_is_one_features_alone() {
        let text = trial(&with_nat());
        let names = text.lines().map(str::trim).filter_map(|line| {
            let (noun, rest) = line.split_once(' ')?;
            let declares = ["chain", "set", "map", "counter"].contains(&noun) && rest.contains('{');
            declares.then(|| rest.split_once(' ').map_or(rest, |(name, _)| name))
        });
        let mut seen = BTreeSet::new();
        for name in names {
            assert!(seen.insert(name), "{name} stands twice");
        }
        assert!(seen.len() > 20, "{seen:?}");
    }
}
