//! Real servers that stand in the file by name, in the log.

use std::collections::BTreeMap;

use tracing::{debug, info, warn};

use crate::config::ServerByName;

/// Says what is different with the servers that stand in the file by name: each thing once.
pub fn say(before: &[ServerByName], now: &[ServerByName]) {
    let known: BTreeMap<_, _> = before.iter().map(|of| ((&of.cluster, &of.server, &of.host), of)).collect();
    for of in now {
        let ServerByName { cluster, server, host, address, usable, trouble } = of;
        let (host, old) = (host.name.as_str(), known.get(&(cluster, server, host)));
        match (address, old.and_then(|old| old.address)) {
            (Some(address), None) => info!(cluster, server, host, %address, of = usable, "the name has an address"),
            (Some(address), Some(was)) if *address != was => {
                let then = "new sessions go there, live ones go on";
                info!(cluster, server, host, %address, %was, of = usable, "the name has another address: {then}");
            }
            _ => {}
        }
        match (trouble, old.and_then(|old| old.trouble.as_ref())) {
            (Some(trouble), None) => {
                let then =
                    if address.is_some() { "its last one goes on" } else { "until it has one the server is left out" };
                warn!(cluster, server, host, "the name has no usable address: {trouble}; {then}");
            }
            (Some(trouble), Some(was)) if trouble != was => {
                debug!(cluster, server, host, "the name has no usable address: {trouble}");
            }
            (None, Some(_)) => info!(cluster, server, host, "the name has a usable address again"),
            _ => {}
        }
    }
}
