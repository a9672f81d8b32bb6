//! Passive ports that the routers in front of clients take for another protocol.

use std::collections::BTreeMap;

use super::checker::One;
use super::ranges::{all_of, range_path};
use crate::lvs::PortRange;

/// Ports whose connections an application-level gateway reads and rewrites, whatever they carry (Linux's `nf_nat_pptp` and
/// `nf_nat_sip`, Cisco's "skinny"): the file breaks in the middle, or its connection never comes to be.
const READ_BY_ROUTERS: [(u16, &str); 4] = [(1723, "PPTP"), (2000, "SCCP"), (5060, "SIP"), (5061, "SIP")];

/// Ranges that hold such a port, each once, where it is written.
pub(super) fn within(one: &One<'_, '_, '_>) {
    if !one.sound("passive") || !one.servers_sound("passive_ports") {
        return;
    }
    let servers = one.cluster.real_servers.iter().enumerate();
    // Who declares no range is warned of more than that.
    let declared = servers.filter(|(_, server)| server.passive_ports != PortRange::UNPRIVILEGED);
    let written: BTreeMap<String, PortRange> =
        declared.map(|(index, server)| (range_path(one, index), server.passive_ports)).collect();
    for (path, range) in written {
        let held: Vec<_> = READ_BY_ROUTERS.iter().filter(|(port, _)| range.contains(*port)).collect();
        let named: Vec<String> = held.iter().map(|(port, protocol)| format!("{port} ({protocol})")).collect();
        let ports: Vec<String> = held.iter().map(|(port, _)| port.to_string()).collect();
        let list = |words: &[String]| all_of(&words.iter().map(String::as_str).collect::<Vec<_>>());
        if !held.is_empty() {
            let what = format!(
                "{range} holds {}: routers in front of clients may read data connections there as that protocol, and break them",
                list(&named)
            );
            let cure = format!("a range without {}, here and in the server", list(&ports));
            one.warning(&path, what, cure);
        }
    }
}
