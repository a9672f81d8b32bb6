//! Passive ports that the routers in front of clients take for another protocol.

use super::checker::One;
use super::ranges::{all_of, at_vip};

/// Ports whose connections an application-level gateway reads and rewrites, whatever they carry (Linux's `nf_nat_pptp` and
/// `nf_nat_sip`, Cisco's "skinny"): the file breaks in the middle, or its connection never comes to be.
const READ_BY_ROUTERS: [(u16, &str); 4] = [(1723, "PPTP"), (2000, "SCCP"), (5060, "SIP"), (5061, "SIP")];

/// Ranges that hold such a port, each once, where it is written.
pub(super) fn within(one: &One<'_, '_, '_>) {
    for (path, range) in at_vip(one) {
        let held: Vec<_> = READ_BY_ROUTERS.iter().filter(|(port, _)| range.contains(*port)).collect();
        let named: Vec<String> = held.iter().map(|(port, protocol)| format!("{port} ({protocol})")).collect();
        let ports: Vec<String> = held.iter().map(|(port, _)| port.to_string()).collect();
        let list = |words: &[String]| all_of(&words.iter().map(String::as_str).collect::<Vec<_>>());
        if !held.is_empty() {
            let what = format!(
                "{range} holds {}: routers in front of clients may read data connections there as that protocol, and break them",
                list(&named)
            );
            let server = if one.cluster.public_ports.is_none() { ", here and in the server" } else { "" };
            let cure = format!("a range without {}{server}", list(&ports));
            one.warning(&path, what, cure);
        }
    }
}
