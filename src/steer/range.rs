//! Disjoint passive ranges: the port says which server, the door says which client may come.
//!
//! The daemon writes no row here. Its verdict leaves the control mark on the packet, and the chain `open` does
//! `update @open4 { ip saddr . meta mark timeout 10s }` before that packet leaves the director.

use super::Placement;

/// Whether a passive data connection to `port` (`None`: not seen) is steered by the range of the server alone.
#[must_use]
pub fn covers(placement: &Placement, port: Option<u16>) -> bool {
    match (placement.own_range, port) {
        (Some(range), Some(port)) => range.contains(port),
        (Some(_), None) => true,
        (None, _) => false,
    }
}
