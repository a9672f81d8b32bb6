//! `passive.public_ports`: the ports of the VIP that clients are told in place of the servers' own.

use super::checker::{One, TLS};
use crate::config::model::{Cluster, UnexpectedData};
use crate::lvs::ForwardingMethod;

/// The key.
pub(super) const KEY: &str = "passive.public_ports";

/// What the public ports need, and what cannot be had with them: only a 227 that can be read and rewritten names one.
pub(super) fn within(one: &One<'_, '_, '_>) {
    let Cluster { public_ports, ports, persistence, unexpected_data, .. } = one.cluster;
    let Some(range) = public_ports.filter(|_| one.sound("passive")) else { return };
    let path = one.path(KEY);
    if let Some((_, name)) = one.forwarding().filter(|(method, _)| *method != ForwardingMethod::Nat) {
        let what = format!("in {name} the replies do not pass the director: clients are told the servers' own ports");
        return one.error(&path, what, "`forwarding: nat`, or remove it");
    }
    if persistence.is_some() && one.sound("persistence") {
        let what = "persistence leads clients to the servers' own ports, and public ports close these";
        one.error(&path, what, "remove it, or `persistence`");
    }
    if let Some(index) = ports.iter().position(|port| *port == TLS).filter(|_| one.sound("ports")) {
        let path = format!("{}.ports[{}]", one.origin.path, one.origin.ports[index]);
        let what = "TLS hides the replies of port 990, so that nobody can tell its clients the public ports";
        one.error(&path, what, "a cluster of its own for port 990, without `public_ports`");
    }
    if *unexpected_data == UnexpectedData::Pass && one.sound("unexpected_data") {
        let what = "no effect on passive data connections: a public port says nothing of whose it is";
        one.warning(&one.path("unexpected_data"), what, "drop or reject, or no `public_ports`");
    }
    if range.first() == range.last() {
        let what = format!("{range} is one port: one data connection of each client address can be awaited at a time");
        one.warning(&path, what, "FIRST-LAST, like 8192-8200");
    }
}
