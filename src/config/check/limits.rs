//! `limits`: what one client may do is no less than what one of its connections may.

use super::checker::Checker;
use crate::config::model::Limits;

pub(super) fn check(limits: &Limits, checker: &Checker<'_, '_>) {
    let (each, all) = (limits.connection_packets, limits.client_packets);
    let [of_connection, of_client] = ["limits.connection_packets", "limits.client_packets"];
    if all >= each || !checker.sound(of_connection) || !checker.sound(of_client) {
        return;
    }
    let what = format!("a client may send {all} packets a second, and each of its connections {each}");
    // Where the greater one was written: the other is at its default.
    if checker.root().nearest("limits").child("client_packets").is_some() {
        checker.error(of_client, what, format!("at least {each}, or fewer `connection_packets`"));
    } else {
        checker.error(of_connection, what, format!("at most {all}, or more `client_packets`"));
    }
}
