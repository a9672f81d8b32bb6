//! Servers that stand in the file by the name of a host.

use super::checker::One;
use crate::config::model::Cluster;
use crate::lvs::is_ipv6;

/// The longest name of a server, as in the file.
const LONGEST: usize = 64;

/// Whether it is not plain which address of a name is meant; says so.
pub(super) fn ambiguous(one: &One<'_, '_, '_>) -> bool {
    let Cluster { vips, real_servers, .. } = one.cluster;
    let Some(index) = real_servers.iter().position(|server| server.host.is_some()) else { return false };
    let both = [true, false].iter().all(|ipv6| vips.iter().any(|vip| is_ipv6(*vip) == *ipv6));
    if both {
        let what = "a name stands for one address, and the cluster has VIPs of both families";
        let cure = "a cluster of its own for the IPv6 VIPs; or the server's addresses, an entry each";
        one.error(&one.server_path(index, "address"), what, cure);
    }
    both
}

/// What a server whose address may change cannot have.
pub(super) fn within(one: &One<'_, '_, '_>) {
    for (index, server) in one.cluster.real_servers.iter().enumerate() {
        let Some(host) = &server.host else { continue };
        if server.mark.is_some() {
            let what = format!("a mark pins the index of an address, and {host} may come to have another one");
            one.error(&one.server_path(index, "mark"), what, "no mark; or the server's address instead of its name");
        }
        if server.name.len() > LONGEST {
            let what = "too long to be the name of the server too";
            one.error(
                &one.server_path(index, "address"),
                what,
                format!("a `name` of at most {LONGEST} characters beside it"),
            );
        }
    }
}
