//! `pinhole_timeout`: a pinhole that is closed before a client can use it.

use std::time::Duration;

use super::checker::One;

/// A SYN that is lost comes again after a second (RFC 6298 §2), and half a second later over a long road.
const LEAST: Duration = Duration::from_millis(1500);

pub(super) fn within(one: &One<'_, '_, '_>) {
    let chosen = one.cluster.pinhole_timeout;
    if chosen >= LEAST || !one.sound("pinhole_timeout") {
        return;
    }
    let what = format!(
        "{chosen:?} is too short: where one packet is lost the client's SYN comes again after 1s, and the pinhole is closed"
    );
    one.warning(&one.path("pinhole_timeout"), what, "at least 2s; 30s is the default");
}
