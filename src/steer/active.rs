//! Active data connections: the server calls the client.
//!
//! NAT: the server's SYN passes the director and gets the VIP as its source. DR, TUN: only the client's SYN-ACK passes,
//! and its mark tells IPVS which server it answers.

use std::net::SocketAddr;

use super::{Placement, Row};
use crate::lvs::ForwardingMethod;
use crate::state::Marks;
use crate::state::sets::{Name, Set, Value};

/// NAT: `nft add element inet ftpdirector active_nat4 { SERVER . CLIENT . PORT timeout 10s : VIP }`;
/// DR, TUN: `nft add element inet ftpdirector active4 { CLIENT . PORT . VIP timeout 10s : MARK }`.
#[must_use]
pub fn row(marks: Marks, placement: &Placement, client: SocketAddr) -> Row {
    let (address, port, vip) = (Value::Address(client.ip()), Value::Port(client.port()), Value::Address(placement.vip));
    match placement.forwarding {
        ForwardingMethod::Nat => Row {
            set: Set::of(Name::ActiveNat, client.ip()),
            key: vec![Value::Address(placement.address), address, port],
            value: vec![vip],
        },
        ForwardingMethod::Dr | ForwardingMethod::Tun => Row {
            set: Set::of(Name::Active, client.ip()),
            key: vec![address, port, vip],
            value: vec![Value::Mark(marks.data(placement.index))],
        },
    }
}
