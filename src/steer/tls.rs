//! Control connections under TLS: nothing can be read, so pinholes stay open for as long as the session lives.

use std::net::{IpAddr, SocketAddr};

use super::{Placement, Row, range};
use crate::lvs::ForwardingMethod;
use crate::state::Marks;
use crate::state::sets::{Name, Set, Value};

/// The rows of one session. `server` is the far end of the control connection as POSTROUTING sees it.
///
/// - `open4 { CLIENT . CONTROL-MARK }` (passive; with a range of its own only), `tunnel_open4` in TUN; the client's network
///   where `client_match` says so;
/// - `blind4 { CLIENT . PORT . SERVER . PORT }`: TLS records are no longer queued and refresh both rows themselves. Not in
///   TUN, where the connection is inside another packet;
/// - active: `active_tls_nat4 { SERVER . ACTIVE-PORT . CLIENT : VIP }` in NAT; in DR and TUN
///   `active_tls4 { CLIENT . VIP . ACTIVE-PORT : DATA-MARK }`, where the server has an active port of its own.
#[must_use]
pub fn rows(marks: Marks, placement: &Placement, client: SocketAddr, server: SocketAddr) -> Vec<Row> {
    let (address, port) = (Value::Address(client.ip()), Value::Port(client.port()));
    let row = |name, key, value| Row { set: Set::of(name, client.ip()), key, value };
    let mut rows = Vec::new();
    if placement.own_range.is_some() {
        rows.push(range::pinhole(marks, placement, client.ip()));
    }
    if placement.forwarding == ForwardingMethod::Nat || placement.own_active_port {
        rows.push(calls(marks, placement, client.ip(), server.port()));
    }
    if placement.forwarding != ForwardingMethod::Tun {
        let end = [Value::Address(server.ip()), Value::Port(server.port())];
        rows.push(row(Name::Blind, vec![address, port, end[0], end[1]], vec![]));
    }
    rows
}

/// The server may call any port of the client from its active port. In DR and TUN a client must have no session with another
/// server that calls from the same port. `control` is the port of the server's end of the control connection.
#[must_use]
pub fn calls(marks: Marks, placement: &Placement, client: IpAddr, control: u16) -> Row {
    let (address, vip) = (Value::Address(client), Value::Address(placement.vip));
    let active = Value::Port(placement.calls_from(control));
    let row = |name, key, value| Row { set: Set::of(name, client), key, value };
    if placement.forwarding == ForwardingMethod::Nat {
        row(Name::ActiveTlsNat, vec![Value::Address(placement.address), active, address], vec![vip])
    } else {
        row(Name::ActiveTls, vec![address, vip, active], vec![Value::Mark(marks.data(placement.index))])
    }
}
