//! Disjoint passive ranges: the port says which server, the door says which client may come.
//!
//! The daemon writes no row here (but under TLS, and when someone has flushed the set). Its verdict leaves the control mark on the packet, and the chain `open` does
//! `update @open4 { ip saddr . meta mark timeout 10s }` before that packet leaves the director.

use std::net::IpAddr;

use super::{Placement, Row};
use crate::lvs::{ForwardingMethod, network};
use crate::state::Marks;
use crate::state::sets::{Name, Set, Value};

/// The door of one client, or of its network where `client_match` says so: `open4 { CLIENT . CONTROL-MARK }`,
/// `tunnel_open4` in TUN.
#[must_use]
pub fn door(marks: Marks, placement: &Placement, client: IpAddr) -> Row {
    let name = if placement.forwarding == ForwardingMethod::Tun { Name::TunnelOpen } else { Name::Open };
    let key =
        vec![Value::Address(network(client, placement.client_prefix)), Value::Mark(marks.control(placement.index))];
    Row { set: Set::of(name, client), key, value: vec![] }
}

/// Whether a passive data connection to `port` (`None`: not seen) is steered by the range of the server alone.
#[must_use]
pub fn covers(placement: &Placement, port: Option<u16>) -> bool {
    match (placement.own_range, port) {
        (Some(range), Some(port)) => range.contains(port),
        (Some(_), None) => true,
        (None, _) => false,
    }
}
