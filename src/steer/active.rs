//! Active data connections: the server calls the client.
//!
//! NAT: the server's SYN passes the director and gets the VIP as its source. DR, TUN: only the client's SYN-ACK passes,
//! and its mark tells IPVS which server it answers.

use std::net::SocketAddr;

use super::{Placement, Row};
use crate::lvs::ForwardingMethod;
use crate::state::Marks;
use crate::state::sets::{Name, Set, Value};

/// NAT: `nft add element inet ftpdirector active_nat4 { SERVER . CLIENT . PORT timeout 30s : VIP }`;
/// DR, TUN: `nft add element inet ftpdirector active4 { CLIENT . PORT . VIP . ACTIVE-PORT timeout 30s : MARK }`, or
/// `active_any4 { CLIENT . PORT . VIP timeout 30s : MARK }` where the server calls from any of its `active_ports`.
///
/// The VIP's port is part of it: a SYN-ACK that its client sends to another port of the VIP must not reach that port of the
/// server. `control` is the server's end of the control connection.
#[must_use]
pub fn row(marks: Marks, placement: &Placement, client: SocketAddr, control: SocketAddr) -> Row {
    row_of_call(marks, placement, client, placement.calls_from(control.port()))
}

/// As [`row`], of a call whose own port (`calls_from`) is known: from IPVS's entry of it, for instance.
#[must_use]
pub fn row_of_call(marks: Marks, placement: &Placement, client: SocketAddr, calls_from: u16) -> Row {
    let (address, port, vip) = (Value::Address(client.ip()), Value::Port(client.port()), Value::Address(placement.vip));
    let row = |name, key, value| Row { set: Set::of(name, client.ip()), key, value: vec![value] };
    let mark = Value::Mark(marks.data(placement.index));
    match (placement.forwarding, placement.active_ports) {
        (ForwardingMethod::Nat, _) => row(Name::ActiveNat, vec![Value::Address(placement.address), address, port], vip),
        (ForwardingMethod::Dr | ForwardingMethod::Tun, Some(_)) => row(Name::ActiveAny, vec![address, port, vip], mark),
        (ForwardingMethod::Dr | ForwardingMethod::Tun, None) => {
            row(Name::Active, vec![address, port, vip, Value::Port(calls_from)], mark)
        }
    }
}
