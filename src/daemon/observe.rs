//! The kernel's counters: where data connections really went.

use std::collections::BTreeMap;

use super::metrics::{KernelCounters, ServerCounters};
use crate::config::index::Indexes;
use crate::config::{Config, standing};
use crate::kernel::elements::Elements;
use crate::kernel::{Errno, KernelError, actual, queue};
use crate::state::FULL;
use crate::state::sets::{Family, Key, Name, Set, Value};

/// Reads the counters in the elements of `landed`, `misdirected` and `unexpected`, that of full sets, and those of the queue.
///
/// # Errors
/// When the kernel refuses to list.
pub fn counters(elements: &mut Elements, config: &Config, indexes: &Indexes) -> Result<KernelCounters, KernelError> {
    let marks = standing::marks(config);
    let mut landed = packets(elements, Set { name: Name::Landed, family: Family::V4 })?;
    landed.extend(packets(elements, Set { name: Name::Landed, family: Family::V6 })?);
    let misdirected = packets(elements, Set::once(Name::Misdirected))?;
    let unexpected = packets(elements, Set::once(Name::Unexpected))?;
    let count = |counted: &BTreeMap<Key, u64>, key: &[Value]| counted.get(key).copied().unwrap_or_default();
    let mut counters = KernelCounters::default();
    for placement in &indexes.placements {
        let Some(cluster) = config.clusters.get(placement.cluster) else { continue };
        let Some(server) = cluster.real_servers.get(placement.server) else { continue };
        let data = Value::Mark(marks.data(placement.index));
        counters.servers.push(ServerCounters {
            cluster: cluster.name.clone(),
            server: server.name.clone(),
            landed: count(&landed, &[data, Value::Address(placement.address)]),
            misdirected: count(&misdirected, &[data]),
        });
    }
    let mut by_cluster: BTreeMap<&str, u64> = BTreeMap::new();
    for cluster in &config.clusters {
        let places = cluster.vips.iter().flat_map(|&vip| cluster.ports.iter().map(move |&port| (vip, port)));
        let tags = places.filter_map(|place| indexes.tags.get(&place));
        let sum = tags.map(|&tag| count(&unexpected, &[Value::Mark(marks.tag(tag))])).sum::<u64>();
        *by_cluster.entry(&cluster.name).or_default() += sum;
    }
    counters.unexpected = by_cluster.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    counters.queue_dropped = queue::stats(config.kernel.queue)
        .map_or(0, |stats| u64::from(stats.queue_dropped) + u64::from(stats.user_dropped));
    let named = match elements.counters() {
        Err(error) if error.errno() == Some(Errno::ENOENT) => Vec::new(),
        named => named?,
    };
    counters.doors_full = named.iter().find(|counter| counter.name == FULL).map_or(0, |counter| counter.packets);
    Ok(counters)
}

fn packets(elements: &mut Elements, set: Set) -> Result<BTreeMap<Key, u64>, KernelError> {
    let dumped = match elements.dump(set.text()) {
        // Someone has flushed the ruleset this very second: what was counted is gone.
        Err(error) if error.errno() == Some(Errno::ENOENT) => Vec::new(),
        dumped => dumped?,
    };
    Ok(dumped.iter().filter_map(|element| Some((actual::row(set, element)?.0, element.packets))).collect())
}
