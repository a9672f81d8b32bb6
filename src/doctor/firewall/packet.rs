//! Whether a match of a rule holds for a packet of ours.

use std::net::IpAddr;

use serde_json::Value;

use super::super::facts::within;
use super::{Chain, Ruleset};
use crate::lvs::PortRange;

/// Whether a match holds; the order is how answers of one rule add up: the least wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    /// For none of the packets.
    No,
    /// For some of the ports, or we cannot read it.
    Unsure,
    /// For some clients, or some of the time.
    Some,
    /// For all of them.
    Yes,
}

impl Holds {
    const fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    const fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            other => other,
        }
    }
}

/// A kind of packet that must pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketClass {
    /// Its name: `the client's SYN to 192.0.2.10:21`.
    pub what: String,
    /// What accepts it, as nft says it: `ip daddr 192.0.2.10 tcp dport`, and the ports.
    pub accept: (String, Option<PortRange>),
    /// Whether it is IPv6; else IPv4.
    pub ipv6: bool,
    /// Source address; `None`: that of any client.
    pub source: Option<IpAddr>,
    /// Destination address; `None`: that of any client.
    pub destination: Option<IpAddr>,
    /// Source ports; `None`: any.
    pub source_ports: Option<PortRange>,
    /// Destination ports; `None`: any.
    pub destination_ports: Option<PortRange>,
    /// What conntrack says of it: `new`, `established`, `invalid`, `untracked`.
    pub state: &'static str,
    /// TCP flags; empty: not TCP.
    pub flags: &'static [&'static str],
    /// The interfaces that it may come in through; empty: unknown.
    pub inputs: Vec<String>,
}

/// One side of a comparison.
enum Operand {
    Address(Option<IpAddr>),
    Ports(Option<PortRange>),
    /// One of these words or numbers.
    Word(Vec<String>),
    /// Of any of these interfaces.
    Interface(Vec<String>),
    Flags,
    /// Depends on the client or on time.
    Client,
    /// A value of the other family, or of another protocol: it never holds.
    Other,
    Unread,
}

impl PacketClass {
    /// Whether a `match` statement holds.
    pub fn holds(&self, statement: &Value, chain: &Chain, ruleset: &Ruleset) -> Holds {
        let (left, right) = (&statement["left"], &statement["right"]);
        let op = statement["op"].as_str().unwrap_or("==");
        if let Some(parts) = left.get("&").and_then(Value::as_array) {
            return self.masked(parts, right, op);
        }
        let field = self.field(left);
        if matches!(field, Operand::Flags) {
            let any = words(right).iter().any(|flag| self.flags.contains(&flag.as_str()));
            return match op {
                "in" => Holds::of(any),
                "!" => Holds::of(!any),
                "!=" => Holds::of(!same(self.flags, &words(right))),
                _ => Holds::of(same(self.flags, &words(right))),
            };
        }
        match op {
            "==" | "in" => self.one_of(left, right, chain, ruleset),
            "!=" if matches!(field, Operand::Other) => Holds::No,
            "!=" | "!" => self.one_of(left, right, chain, ruleset).not(),
            "<" | ">" | "<=" | ">=" => match (field, right.as_u64().and_then(|port| u16::try_from(port).ok())) {
                (Operand::Ports(Some(ports)), Some(limit)) => {
                    let holds = |port: u16| match op {
                        "<" => port < limit,
                        ">" => port > limit,
                        "<=" => port <= limit,
                        _ => port >= limit,
                    };
                    match (holds(ports.first()), holds(ports.last())) {
                        (true, true) => Holds::Yes,
                        (false, false) => Holds::No,
                        _ => Holds::Unsure,
                    }
                }
                (Operand::Client | Operand::Ports(None), _) => Holds::Some,
                _ => Holds::Unsure,
            },
            _ => Holds::Unsure,
        }
    }

    /// Whether the value of `left` is `right`, or one of the set that `right` is.
    pub fn one_of(&self, left: &Value, right: &Value, chain: &Chain, ruleset: &Ruleset) -> Holds {
        let items = match right {
            Value::String(name) if name.starts_with('@') => match ruleset.set(chain, &name[1..]) {
                Some(items) => items,
                None => return Holds::Unsure,
            },
            Value::Array(items) => items,
            _ => right.get("set").and_then(Value::as_array).map_or(std::slice::from_ref(right), Vec::as_slice),
        };
        if let Some(parts) = left.get("concat").and_then(Value::as_array) {
            let fields: Vec<Operand> = parts.iter().map(|part| self.field(part)).collect();
            return items.iter().map(|item| all(&fields, item)).max().unwrap_or(Holds::No);
        }
        let field = self.field(left);
        if let Operand::Ports(Some(ports)) = field {
            return covered(ports, items);
        }
        items.iter().map(|item| is(&field, bare(item))).max().unwrap_or(match field {
            Operand::Unread => Holds::Unsure,
            _ => Holds::No,
        })
    }

    fn field(&self, left: &Value) -> Operand {
        if let Some(payload) = left.get("payload") {
            let (protocol, field) = (payload["protocol"].as_str(), payload["field"].as_str());
            let other = matches!(protocol, Some("ip")) && self.ipv6 || matches!(protocol, Some("ip6")) && !self.ipv6;
            return match (protocol, field) {
                _ if other => Operand::Other,
                (Some("ip" | "ip6"), Some("saddr")) => Operand::Address(self.source),
                (Some("ip" | "ip6"), Some("daddr")) => Operand::Address(self.destination),
                (Some("ip" | "ip6"), Some("protocol" | "nexthdr")) => Operand::Word(self.protocol()),
                (Some("tcp" | "th"), _) if self.flags.is_empty() => Operand::Other,
                (Some("tcp" | "th"), Some("sport")) => Operand::Ports(self.source_ports),
                (Some("tcp" | "th"), Some("dport")) => Operand::Ports(self.destination_ports),
                (Some("tcp"), Some("flags")) => Operand::Flags,
                (Some("udp" | "udplite" | "icmp" | "icmpv6" | "sctp" | "dccp" | "igmp" | "esp" | "ah"), _) => {
                    Operand::Other
                }
                _ => Operand::Unread,
            };
        }
        if let Some(key) = left.get("ct").and_then(|ct| ct["key"].as_str()) {
            return match key {
                "state" => Operand::Word(vec![self.state.into()]),
                // IPVS's DNAT is not conntrack's.
                "status" => Operand::Word(vec![]),
                _ => Operand::Unread,
            };
        }
        match left.get("meta").and_then(|meta| meta["key"].as_str()) {
            Some("l4proto") => Operand::Word(self.protocol()),
            Some("nfproto") => Operand::Word(vec![if self.ipv6 { "ipv6" } else { "ipv4" }.into()]),
            Some("protocol") => Operand::Word(vec![if self.ipv6 { "ip6" } else { "ip" }.into()]),
            Some("iifname" | "iif") => Operand::Interface(self.inputs.clone()),
            Some("pkttype") => Operand::Word(vec!["host".into(), "unicast".into()]),
            Some(_) => Operand::Client,
            None => match left.get("fib") {
                // To our own address, from somewhere.
                Some(fib) if fib["result"] == "type" && fib["flags"].to_string().contains("daddr") => {
                    match self.to_us() {
                        true => Operand::Word(vec!["local".into()]),
                        false => Operand::Word(vec!["unicast".into()]),
                    }
                }
                Some(_) => Operand::Client,
                None => Operand::Unread,
            },
        }
    }

    /// Whether the packet goes to this machine's own address, as far as rules before IPVS can see.
    fn to_us(&self) -> bool {
        self.source.is_none()
    }

    fn protocol(&self) -> Vec<String> {
        let names: &[&str] = match (self.flags.is_empty(), self.ipv6) {
            (false, _) => &["tcp", "6"],
            (true, false) => &["ipencap", "ipip", "4"],
            (true, true) => &["ipv6", "41"],
        };
        names.iter().map(|&name| name.into()).collect()
    }

    /// `tcp flags & MASK == FLAGS`, `meta mark & …`.
    fn masked(&self, parts: &[Value], right: &Value, op: &str) -> Holds {
        let [left, mask] = parts else { return Holds::Unsure };
        if !matches!(self.field(left), Operand::Flags) {
            return Holds::Unsure;
        }
        let mask = words(mask);
        let kept: Vec<&str> = self.flags.iter().copied().filter(|flag| mask.iter().any(|word| word == flag)).collect();
        let equal = same(&kept, &words(right));
        match op {
            "==" => Holds::of(equal),
            "!=" => Holds::of(!equal),
            _ => Holds::Unsure,
        }
    }
}

/// The words of `"syn"`, `["syn", "ack"]`, `{"|": ["syn", "ack"]}`, `0`.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::String(word) => vec![word.clone()],
        Value::Array(items) => items.iter().flat_map(words).collect(),
        Value::Object(map) => map.values().flat_map(words).collect(),
        _ => Vec::new(),
    }
}

fn same(left: &[&str], right: &[String]) -> bool {
    left.len() == right.len() && left.iter().all(|word| right.iter().any(|other| other == word))
}

/// An element without its timeout, comment or counter.
fn bare(item: &Value) -> &Value {
    item.get("elem").map_or(item, |elem| &elem["val"])
}

/// Every field against its part of a concatenation.
fn all(fields: &[Operand], item: &Value) -> Holds {
    let Some(parts) = bare(item).get("concat").and_then(Value::as_array) else { return Holds::Unsure };
    fields.iter().zip(parts).map(|(field, part)| is(field, part)).min().unwrap_or(Holds::Unsure)
}

/// How much of `ports` the items hold. The elements of a set never overlap.
fn covered(ports: PortRange, items: &[Value]) -> Holds {
    let mut held = 0;
    for item in items {
        let Some(other) = port_range(bare(item)) else { return Holds::Unsure };
        if ports.overlaps(other) {
            held += u32::from(ports.last().min(other.last())) - u32::from(ports.first().max(other.first())) + 1;
        }
    }
    match held {
        0 => Holds::No,
        held if held > u32::from(ports.last() - ports.first()) => Holds::Yes,
        _ => Holds::Unsure,
    }
}

fn port_range(item: &Value) -> Option<PortRange> {
    let port = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    match item.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        Some([first, last]) => PortRange::new(port(first)?.max(1), port(last)?),
        _ => PortRange::new(port(item)?, port(item)?),
    }
}

fn is(field: &Operand, item: &Value) -> Holds {
    match field {
        Operand::Other => Holds::No,
        Operand::Client | Operand::Address(None) | Operand::Ports(None) => Holds::Some,
        Operand::Unread | Operand::Flags => Holds::Unsure,
        Operand::Address(Some(address)) => address_is(*address, item),
        Operand::Ports(Some(ports)) => covered(*ports, std::slice::from_ref(item)),
        Operand::Word(values) => match item {
            Value::String(word) => Holds::of(values.contains(word)),
            Value::Number(number) => Holds::of(values.contains(&number.to_string())),
            _ => Holds::Unsure,
        },
        Operand::Interface(inputs) => match item.as_str() {
            Some(pattern) => interface(inputs, pattern),
            None => Holds::Unsure,
        },
    }
}

fn address_is(address: IpAddr, item: &Value) -> Holds {
    let parse = |value: &Value| value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
    if let Some(prefix) = item.get("prefix") {
        let length = prefix["len"].as_u64().and_then(|length| u8::try_from(length).ok());
        return match (parse(&prefix["addr"]), length) {
            (Some(network), Some(length)) => Holds::of(within(address, network, length)),
            _ => Holds::Unsure,
        };
    }
    match item.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        Some([first, last]) => match (parse(first), parse(last)) {
            (Some(first), Some(last)) => Holds::of((first..=last).contains(&address)),
            _ => Holds::Unsure,
        },
        _ => parse(item).map_or(Holds::Unsure, |other| Holds::of(other == address)),
    }
}

/// Whether the packet comes in through an interface that nft writes as `eth0` or `eth*`.
fn interface(inputs: &[String], pattern: &str) -> Holds {
    let fits = |name: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    match inputs.iter().filter(|name| fits(name)).count() {
        _ if inputs.is_empty() => {
            if pattern == "lo" {
                Holds::No
            } else {
                Holds::Some
            }
        }
        0 => Holds::No,
        count => {
            if count == inputs.len() {
                Holds::Yes
            } else {
                Holds::Some
            }
        }
    }
}
