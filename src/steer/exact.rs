//! NAT servers that share a passive range: one row for each port that a 227 or 229 names, and another port in the reply
//! when another server's same port stands open for the same client. With `public_ports` every port is translated.

use std::net::IpAddr;

use super::{Placement, Row};
use crate::state::Marks;
use crate::state::sets::{Name, Set, Value};

/// `nft add element inet ftpdirector exact4 { CLIENT . VIP . PORT timeout 30s : MARK }`
#[must_use]
pub fn row(marks: Marks, placement: &Placement, client: IpAddr, port: u16) -> Row {
    Row {
        set: Set::of(Name::Exact, client),
        key: vec![Value::Address(client), Value::Address(placement.vip), Value::Port(port)],
        value: vec![Value::Mark(marks.data(placement.index))],
    }
}

/// `nft add element inet ftpdirector translated4 { CLIENT . VIP . PORT timeout 30s : SERVER . SERVER-PORT }`
///
/// Goes with a [`row`] for the same port, whose mark counts the connection as landed.
#[must_use]
pub fn translated(placement: &Placement, client: IpAddr, port: u16, server_port: u16) -> Row {
    Row {
        set: Set::of(Name::Translated, client),
        key: vec![Value::Address(client), Value::Address(placement.vip), Value::Port(port)],
        value: vec![Value::Address(placement.address), Value::Port(server_port)],
    }
}

/// Both rows of `vip_port`, which leads to `port` of the server, the same number or another.
///
/// The data connection is connection tracking's: once its first packet has passed, a repeated SYN needs no row.
#[must_use]
pub fn public(marks: Marks, placement: &Placement, client: IpAddr, (port, vip_port): (u16, u16)) -> [Row; 2] {
    [row(marks, placement, client, vip_port), translated(placement, client, vip_port, port)]
}
