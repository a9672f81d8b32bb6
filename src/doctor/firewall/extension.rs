//! Rules of iptables-nft with extensions of iptables: `nft -j` only names them, but nft's text translates most.

use serde_json::{Value, json};

use super::{Holds, PacketClass, Rule};
use crate::lvs::PortRange;

/// What an extension is to a packet.
pub enum Extension {
    /// A match: it decides whether the rule holds.
    Match(Holds),
    /// A target that ends the way, as the native statement.
    Verdict(&'static str),
    /// A target that does something, as the native statement where we can tell.
    Effect(Value, Holds),
    /// An extension that does not matter.
    Nothing,
}

/// Reads `{"xt": {"type": "match", "name": "conntrack"}}` (nft 1.0.6) with the help of the rule's text.
pub fn extension(rule: &Rule, body: &Value, packet: &PacketClass) -> Extension {
    match (body["type"].as_str(), body["name"].as_str()) {
        (Some("match"), Some("comment")) => Extension::Nothing,
        (Some("match"), Some("multiport")) => Extension::Match(multiport(&rule.text, packet)),
        (Some("match"), Some("conntrack" | "state")) => Extension::Match(state(&rule.text, packet)),
        (
            Some("match"),
            Some("limit" | "hashlimit" | "recent" | "geoip" | "set" | "connlimit" | "iprange" | "time"),
        ) => Extension::Match(Holds::Some),
        (Some("target"), Some("REJECT")) => Extension::Verdict("reject"),
        (Some("target"), Some("NFQUEUE")) => Extension::Verdict("queue"),
        (Some("target"), Some("CT")) if rule.text.contains("notrack") => {
            Extension::Effect(json!({"notrack": null}), Holds::Yes)
        }
        // A helper, a zone or a timeout: nft cannot say which.
        (Some("target"), Some("CT")) => Extension::Effect(json!({"xt": body}), Holds::Unsure),
        (Some("target"), _) => Extension::Nothing,
        _ => Extension::Match(Holds::Unsure),
    }
}

/// `ct state invalid counter drop`.
fn state(text: &str, packet: &PacketClass) -> Holds {
    let Some(states) = text.split("ct state ").nth(1).and_then(|rest| rest.split_whitespace().next()) else {
        return Holds::Unsure;
    };
    // Beside the state the extension may ask for more (`ct direction …`, `ct original …`).
    if text.contains('!') || text.matches("ct ").count() > 1 {
        return Holds::Unsure;
    }
    if states.split(',').any(|state| state == packet.state) { Holds::Yes } else { Holds::No }
}

/// `meta l4proto tcp tcp dport { 21, 31000-31999 } counter accept`.
fn multiport(text: &str, packet: &PacketClass) -> Holds {
    let ports_of = |side: &str| {
        let rest = text.split(side).nth(1)?.trim_start();
        let list = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()).or_else(|| rest.split(' ').next())?;
        list.split(',').map(|ports| ports.trim().parse::<PortRange>().ok()).collect::<Option<Vec<_>>>()
    };
    let (listed, own) = match (ports_of(" dport "), ports_of(" sport ")) {
        (Some(listed), None) => (listed, packet.destination_ports),
        (None, Some(listed)) => (listed, packet.source_ports),
        _ => return Holds::Unsure,
    };
    let Some(own) = own else { return Holds::Some };
    let whole = |range: &PortRange| range.contains(own.first()) && range.contains(own.last());
    if listed.iter().any(whole) {
        Holds::Yes
    } else if listed.iter().any(|range| range.overlaps(own)) {
        Holds::Unsure
    } else {
        Holds::No
    }
}
