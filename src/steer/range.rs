//! Disjoint passive ranges: the port says which server, the pinhole says which client may come.
//!
//! The daemon writes no row here (but under TLS, and when someone has flushed the set). In DR and TUN its verdict leaves the control
//! mark on PASV and EPSV, and the chain `open` does `update @open4 { ip saddr . meta mark timeout 30s }` before that packet leaves
//! the director. In NAT it is the server's 227 or 229 that gets the mark and opens the pinhole, in the chain `answer`: a PASV that
//! the server refuses opens nothing.

use std::net::IpAddr;

use super::{Placement, Row};
use crate::lvs::{ForwardingMethod, network};
use crate::state::Marks;
use crate::state::sets::{Name, Set, Value};

/// The pinhole of one client, or of its network where `client_match` says so: `open4 { CLIENT . CONTROL-MARK }`,
/// `tunnel_open4` in TUN.
#[must_use]
pub fn pinhole(marks: Marks, placement: &Placement, client: IpAddr) -> Row {
    let name = if placement.forwarding == ForwardingMethod::Tun { Name::TunnelOpen } else { Name::Open };
    let key =
        vec![Value::Address(network(client, placement.client_prefix)), Value::Mark(marks.control(placement.index))];
    Row { set: Set::of(name, client), key, value: vec![] }
}

/// Whether passive data connections to this server are steered by its range alone.
#[must_use]
pub const fn steers(placement: &Placement) -> bool {
    placement.own_range.is_some()
}
