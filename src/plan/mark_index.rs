//! Which (cluster, VIP, server) has which index in the mark ranges, kept over reloads and restarts.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::config::{Cluster, Config, RealServer};
use crate::lvs::{FirewallMark, PortRange, ServiceKey};
use crate::state::sets::{Name, Set, Value};
use crate::state::{Marks, State};
use crate::steer::Placement;

/// Indexes of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes {
    /// Every (cluster, VIP, server), in file order.
    pub placements: Vec<Placement>,
    /// (VIP, control port) → index of its tag.
    pub tags: BTreeMap<(IpAddr, u16), u16>,
}

/// More (cluster, VIP, server) than there are indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than 16384 combinations of cluster, VIP and real server (or of VIP and control port)")]
pub struct TooMany;

/// The indexes that the kernel's rows already speak of.
pub(super) struct KnownIndexes {
    /// (VIP, control port, server) → index, from `tags` and `server_marks`.
    pub(super) by_server: BTreeMap<(IpAddr, u16, IpAddr), u16>,
    /// index → real server, from the firewall-mark services.
    by_service: BTreeMap<u16, IpAddr>,
    tags: BTreeMap<(IpAddr, u16), u16>,
}

impl KnownIndexes {
    pub(super) fn read(marks: Marks, actual: &State) -> Self {
        let mut tags = BTreeMap::new();
        let mut by_server = BTreeMap::new();
        for (key, value) in rows(actual, Name::Tags) {
            if let ([Value::Address(vip), Value::Port(port)], [Value::Mark(tag)]) = (key, value)
                && let Some(index) = marks.tag_index(*tag)
            {
                tags.insert((*vip, *port), index);
            }
        }
        let by_tag: BTreeMap<u16, (IpAddr, u16)> = tags.iter().map(|(&at, &tag)| (tag, at)).collect();
        for (key, value) in rows(actual, Name::ServerMarks) {
            if let ([Value::Mark(tag), Value::Address(server)], [Value::Mark(control)]) = (key, value)
                && let (Some(tag), Some(index)) = (marks.tag_index(*tag), marks.control_index(*control))
                && let Some(&(vip, port)) = by_tag.get(&tag)
            {
                by_server.insert((vip, port, *server), index);
            }
        }
        let by_service = actual.services.iter().filter_map(|(key, service)| {
            let ServiceKey::Mark { mark, .. } = key else { return None };
            Some((marks.data_index(*mark)?, service.destinations.keys().next()?.ip()))
        });
        Self { by_server, by_service: by_service.collect(), tags }
    }
}

fn rows(actual: &State, name: Name) -> impl Iterator<Item = (&[Value], &[Value])> {
    let sets = Set::all().filter(move |set| set.name == name);
    sets.filter_map(|set| actual.elements.get(&set)).flatten().map(|(key, value)| (key.as_slice(), value.as_slice()))
}

/// The indexes of the configuration in force, for what the kernel has forgotten: rows of sessions that were lost with the table are
/// written again, and speak of these.
#[derive(Clone, Copy, Debug)]
pub struct Former<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// Its indexes.
    pub indexes: &'a Indexes,
}

impl Former<'_> {
    /// (VIP, control port, server) → index.
    fn by_server(&self) -> BTreeMap<(IpAddr, u16, IpAddr), u16> {
        let of = |placement: &Placement| {
            let Placement { vip, address, index, .. } = *placement;
            let cluster = self.config.clusters.get(placement.cluster);
            let ports = cluster.map(|cluster| cluster.ports.clone()).unwrap_or_default();
            ports.into_iter().map(move |port| ((vip, port, address), index))
        };
        self.indexes.placements.iter().flat_map(of).collect()
    }
}

/// As [`assign_after`], where nothing is known but what the kernel has.
///
/// # Errors
/// When the indexes do not suffice.
pub fn assign(config: &Config, marks: Marks, actual: &State) -> Result<Indexes, TooMany> {
    assign_after(config, marks, actual, None)
}

/// Gives every (cluster, VIP, server) of `config` its index: the pinned one, else the one it has in the kernel, else
/// the `former` one, else the lowest that is free, in file order.
///
/// # Errors
/// When the indexes do not suffice.
pub fn assign_after(
    config: &Config,
    marks: Marks,
    actual: &State,
    former: Option<Former<'_>>,
) -> Result<Indexes, TooMany> {
    let standing = KnownIndexes::read(marks, actual);
    let wanted = wanted(config);
    let mut taken = BTreeSet::new();
    let mut chosen: Vec<Option<u16>> = vec![None; wanted.len()];
    let take = |index: Option<u16>, slot: &mut Option<u16>, taken: &mut BTreeSet<u16>| {
        if slot.is_none()
            && let Some(index) = index
            && taken.insert(index)
        {
            *slot = Some(index);
        }
    };
    for (slot, (_, _, server)) in chosen.iter_mut().zip(&wanted) {
        take(server.mark, slot, &mut taken);
    }
    for (slot, (cluster, vip, server)) in chosen.iter_mut().zip(&wanted) {
        let kept = cluster.ports.iter().find_map(|&port| standing.by_server.get(&(*vip, port, server.address)));
        take(kept.copied(), slot, &mut taken);
    }
    // Mostly the kernel has forgotten nothing.
    if let Some(former) = former.filter(|_| chosen.contains(&None)) {
        let by_server = former.by_server();
        for (slot, (cluster, vip, server)) in chosen.iter_mut().zip(&wanted) {
            let kept = cluster.ports.iter().find_map(|&port| by_server.get(&(*vip, port, server.address)));
            take(kept.copied(), slot, &mut taken);
        }
    }
    for (slot, (_, _, server)) in chosen.iter_mut().zip(&wanted).filter(|(slot, _)| slot.is_none()) {
        let mut same = standing.by_service.iter().filter(|(_, address)| **address == server.address);
        let kept = same.find(|(index, _)| !taken.contains(index)).map(|(&index, _)| index);
        take(kept, slot, &mut taken);
    }
    // What is taken stays taken: nobody looks at an index twice, however many there are.
    let mut all = 0..=Marks::MAX_INDEX;
    for slot in chosen.iter_mut().filter(|slot| slot.is_none()) {
        let free = all.find(|index| !taken.contains(index) && !standing.by_service.contains_key(index));
        take(free, slot, &mut taken);
    }
    let indexes: Option<Vec<u16>> = chosen.into_iter().collect();
    let former = former.map(|former| &former.indexes.tags);
    Ok(Indexes { placements: placements(config, &indexes.ok_or(TooMany)?), tags: tags(config, &standing, former)? })
}

/// Every (cluster, VIP, server) of one family, in file order.
fn wanted(config: &Config) -> Vec<(&Cluster, IpAddr, &RealServer)> {
    let clusters = config.clusters.iter().flat_map(|cluster| cluster.vips.iter().map(move |&vip| (cluster, vip)));
    clusters.flat_map(|(cluster, vip)| cluster.servers(vip).map(move |(_, server)| (cluster, vip, server))).collect()
}

fn placements(config: &Config, indexes: &[u16]) -> Vec<Placement> {
    let mut indexes = indexes.iter();
    let mut placements = Vec::new();
    for (number, cluster) in config.clusters.iter().enumerate() {
        for &vip in &cluster.vips {
            for ((position, server), &index) in cluster.servers(vip).zip(indexes.by_ref()) {
                let own: Vec<u16> = cluster.ports.iter().map(|&port| server.calls_from(port)).collect();
                let meets =
                    |other: &RealServer| cluster.ports.iter().any(|&port| own.contains(&other.calls_from(port)));
                let same = cluster.servers(vip).filter(|(_, other)| meets(other));
                let has_own = server.passive_ports != PortRange::UNPRIVILEGED && cluster.public_ports.is_none();
                placements.push(Placement {
                    index,
                    cluster: number,
                    vip,
                    server: position,
                    address: server.address,
                    forwarding: cluster.forwarding,
                    own_range: (has_own && !server.shared).then_some(server.passive_ports),
                    active_port: server.active_port,
                    active_ports: server.active_ports,
                    own_active_port: same.count() == 1,
                    client_prefix: cluster.client_match.prefix(vip),
                    passive_ports: server.passive_ports,
                    public_ports: cluster.public_ports,
                });
            }
        }
    }
    placements
}

fn tags(
    config: &Config,
    standing: &KnownIndexes,
    former: Option<&BTreeMap<(IpAddr, u16), u16>>,
) -> Result<BTreeMap<(IpAddr, u16), u16>, TooMany> {
    let wanted: Vec<_> = config.clusters.iter().flat_map(Cluster::places).collect();
    let mut tags: BTreeMap<_, _> =
        wanted.iter().filter_map(|at| standing.tags.get(at).map(|&tag| (*at, tag))).collect();
    let mut taken: BTreeSet<u16> = tags.values().copied().collect();
    let mut all = 0..=Marks::MAX_INDEX;
    for at in wanted {
        if let Entry::Vacant(tag) = tags.entry(at) {
            let kept = former.and_then(|former| former.get(&at)).copied().filter(|tag| !taken.contains(tag));
            let free = match kept {
                Some(kept) => kept,
                None => all.find(|tag| !taken.contains(tag)).ok_or(TooMany)?,
            };
            taken.insert(free);
            tag.insert(free);
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests;

/// The marks of a configuration.
#[must_use]
pub const fn marks(config: &Config) -> Marks {
    Marks { base: config.kernel.fwmark_base }
}

/// The service that balances the control connections of a cluster with `persistence`.
#[must_use]
pub fn persistence(config: &Config, indexes: &Indexes, cluster: &Cluster, vip: IpAddr) -> ServiceKey {
    ServiceKey::Mark { mark: persistence_mark(marks(config), indexes, cluster, vip), ipv6: vip.is_ipv6() }
}

/// The mark of that service.
pub(super) fn persistence_mark(marks: Marks, indexes: &Indexes, cluster: &Cluster, vip: IpAddr) -> FirewallMark {
    let first = cluster.ports.first().copied().unwrap_or_default();
    marks.persistence(indexes.tags.get(&(vip, first)).copied().unwrap_or_default())
}

/// The tag of control packets to `port` of `vip`.
pub(super) fn tag(marks: Marks, indexes: &Indexes, vip: IpAddr, port: u16) -> Value {
    Value::Mark(marks.tag(indexes.tags.get(&(vip, port)).copied().unwrap_or_default()))
}
