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
/// DR, TUN: `nft add element inet ftpdirector active4 { CLIENT . PORT . VIP . ACTIVE-PORT timeout 30s : MARK }`, and where the server
/// calls from any of its `active_ports` also `active_any4 { CLIENT . PORT . VIP timeout 30s : MARK }`: `active4` is asked first, and
/// may still have the row of a transfer of the same client port at a server that calls from that port alone.
///
/// The VIP's port is part of it: a SYN-ACK that its client sends to another port of the VIP must not reach that port of the
/// server. `control` is the server's end of the control connection.
#[must_use]
pub fn rows(marks: Marks, placement: &Placement, client: SocketAddr, control: SocketAddr) -> Vec<Row> {
    let calls_from = placement.calls_from(control.port());
    let row = row_of_call(marks, placement, client, calls_from);
    if row.set.name != Name::ActiveAny {
        return vec![row];
    }
    let of_one_port = Placement { active_ports: None, ..*placement };
    vec![row_of_call(marks, &of_one_port, client, calls_from), row]
}

/// The row that leads the answer to a call from `calls_from`; with `active_ports` the one of any port.
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
