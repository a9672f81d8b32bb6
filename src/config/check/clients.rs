//! `client_match`: which clients may use a passive row, and what that means for transfers from server to server.

use super::checker::One;
use crate::config::model::{Bounce, ClientMatch};
use crate::lvs::{PortRange, is_ipv6};

pub(super) fn within(one: &One<'_, '_, '_>) {
    let path = one.path("client_match");
    if !one.checker.sound(&path) || !one.sound("vips") {
        return;
    }
    let (vips, chosen) = (&one.cluster.vips, one.cluster.client_match);
    if let ClientMatch::Prefix { ipv4, ipv6 } = chosen {
        let without = |length: u8, full: u8, ipv6: bool| {
            length < full && !vips.is_empty() && vips.iter().all(|vip| is_ipv6(*vip) != ipv6)
        };
        if without(ipv4, 32, false) {
            let what = format!("/{ipv4} is a network of IPv4 (lengths up to 32 are), and there is no IPv4 VIP");
            one.error(&path, what, "an IPv6 network like /64; one that is shorter than /33 is written \"/32 /24\"");
        } else if without(ipv6, 128, true) {
            let what = format!("/{ipv6} is a network of IPv6, and there is no IPv6 VIP");
            one.error(&path, what, "an IPv4 network like /24");
        }
    }
    ranges(one, chosen, &path);
    from_server_to_server(one, chosen);
}

/// Between two servers (FXP) each takes the data connection from the other, not from the client whose sessions both are:
/// `bounce` opens the half in which our server calls, `client_match` the one in which it is called.
fn from_server_to_server(one: &One<'_, '_, '_>, chosen: ClientMatch) {
    if one.cluster.bounce == Bounce::Reject || chosen == ClientMatch::Any || !one.sound("bounce") {
        return;
    }
    let what = "any client may let the servers connect to other hosts (FTP bounce, RFC 2577), and yet only the active half of a \
                site-to-site transfer gets in: the data connection of the passive half comes from the other server, not from the client";
    let cure = "`reject`, if there are no such transfers; or `client_match: any` too, with one range per server";
    one.warning(&one.path("bounce"), what, cure);
}

/// With a wider network only the port of a data connection says which server it is for: the ranges must be disjoint.
fn ranges(one: &One<'_, '_, '_>, chosen: ClientMatch, path: &str) {
    if !one.servers_sound("passive_ports") || !one.sound("passive") {
        return;
    }
    if one.cluster.public_ports.is_some() {
        if one.cluster.vips.iter().any(|vip| chosen.prefix(*vip) < if is_ipv6(*vip) { 128 } else { 32 }) {
            let what = "a public port is known by its client's address: data from another address than the control connection's is nobody's";
            one.error(
                path,
                what,
                "`client_match: address`, or one range per server (`passive_ports`) and no `public_ports`",
            );
        }
        return;
    }
    let vip_of = |ipv6: bool| one.cluster.vips.iter().find(move |vip| is_ipv6(**vip) == ipv6);
    let without = one.cluster.real_servers.iter().find(|server| {
        let ipv6 = is_ipv6(server.address);
        let open = vip_of(ipv6).is_some_and(|vip| chosen.prefix(*vip) < if ipv6 { 128 } else { 32 });
        open && (server.shared || server.passive_ports == PortRange::UNPRIVILEGED)
    });
    if let Some(server) = without {
        let what = format!(
            "data from another address than the control connection's is known by its server's ports alone, and {} has no range of its own",
            server.name
        );
        one.error(path, what, "one range per server (`passive_ports`), or `client_match: address`");
    }
}
