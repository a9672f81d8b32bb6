//! Control ports of VIPs → clusters: what has the same servers is one cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::draft::{Draft, DraftServer};
use super::found::Check;
use crate::lvs::{ForwardingMethod, PortRange};

/// Where TLS begins at once.
const TLS: u16 = 990;

/// What two drafts have in common if they differ in nothing but their VIPs.
type Settings = (Vec<u16>, ForwardingMethod, String, u32, Option<PortRange>, Check);

/// Merges what belongs together, in the order of the first of each.
pub(super) fn merge(drafts: Vec<Draft>) -> Vec<Draft> {
    families(vips(ports(drafts)))
}

fn settings(draft: &Draft) -> Settings {
    let Draft { ports, forwarding, scheduler, persistence, range, check, .. } = draft;
    (ports.clone(), *forwarding, scheduler.clone(), *persistence, *range, check.clone())
}

/// Groups by a key, in the order of the first of each group.
fn grouped<K: Ord>(drafts: Vec<Draft>, key: impl Fn(&Draft) -> K) -> Vec<Vec<Draft>> {
    let mut index: BTreeMap<K, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<Draft>> = Vec::new();
    for draft in drafts {
        let at = *index.entry(key(&draft)).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => group.push(draft),
            None => groups.push(vec![draft]),
        }
    }
    groups
}

fn joined(group: Vec<Draft>, join: impl Fn(&mut Draft, Draft)) -> Option<Draft> {
    let mut drafts = group.into_iter();
    let mut first = drafts.next()?;
    for draft in drafts {
        first.sources.extend(draft.sources.iter().cloned());
        first.remarks.take(&draft.remarks);
        first.delete.take(&draft.delete);
        first.name = first.name.take().or_else(|| draft.name.clone());
        join(&mut first, draft);
    }
    Some(first)
}

/// One VIP, the same servers, other control ports. As two clusters their passive ranges would meet.
fn ports(drafts: Vec<Draft>) -> Vec<Draft> {
    let servers = |draft: &Draft| -> BTreeSet<IpAddr> { draft.servers.iter().map(|server| server.address).collect() };
    let groups = grouped(drafts, |draft| (draft.vips.clone(), draft.forwarding, servers(draft)));
    groups.into_iter().flat_map(led_alike).collect()
}

/// Of one VIP and the same servers: those that can be one cluster, each as one.
fn led_alike(mut group: Vec<Draft>) -> Vec<Draft> {
    // `port: 2121` leads every control port of a cluster there, but not 990, where TLS begins at once.
    let to = group.iter().find(|draft| draft.servers.iter().any(|server| server.port.is_some())).and_then(leads_to);
    if let Some(to) = to {
        for draft in &mut group {
            if leads_to(draft) == Some(to) && draft.ports != [TLS] && to != TLS {
                draft.servers.iter_mut().for_each(|server| server.port = Some(to));
            }
        }
    }
    let ports = |draft: &Draft| -> BTreeSet<(IpAddr, Option<u16>)> {
        draft.servers.iter().map(|server| (server.address, server.port)).collect()
    };
    let alike = grouped(group, ports);
    alike
        .into_iter()
        .filter_map(|group| {
            let merged = joined(group, join_ports);
            merged.map(|mut draft| {
                // Alone, it needs no `port` that is its own.
                if let [own] = *draft.ports {
                    draft.servers.iter_mut().for_each(|server| server.port = server.port.filter(|port| *port != own));
                }
                draft
            })
        })
        .collect()
}

/// The one port of all servers that a draft's one control port leads to.
fn leads_to(draft: &Draft) -> Option<u16> {
    let [own] = *draft.ports else { return None };
    let mut ports = draft.servers.iter().map(|server| server.port.unwrap_or(own));
    let first = ports.next()?;
    ports.all(|port| port == first).then_some(first)
}

fn join_ports(first: &mut Draft, draft: Draft) {
    let weights = |draft: &Draft| -> BTreeSet<(IpAddr, u32, Option<u32>)> {
        draft.servers.iter().map(|server| (server.address, server.weight, server.max_sessions)).collect()
    };
    let alike = first.scheduler == draft.scheduler
        && first.persistence == draft.persistence
        && first.check == draft.check
        && first.sorry == draft.sorry
        && weights(first) == weights(&draft);
    let ports: BTreeSet<u16> = first.ports.iter().chain(&draft.ports).copied().collect();
    if !alike {
        let (kept, added) = (list(&first.ports), list(&draft.ports));
        first.remarks.guess(format!(
            "scheduler, weights, max_sessions, persistence, sorry server or checks of port {added} were others than those of port {kept}, which are taken: one cluster has the same for all."
        ));
    }
    first.range = first.range.or(draft.range);
    first.ports = ports.into_iter().collect();
}

fn list(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// The same servers and settings, other VIPs.
fn vips(drafts: Vec<Draft>) -> Vec<Draft> {
    let servers = |draft: &Draft| -> Vec<(IpAddr, Option<u16>, u32, Option<u32>)> {
        draft.servers.iter().map(|server| (server.address, server.port, server.weight, server.max_sessions)).collect()
    };
    let groups = grouped(drafts, |draft| (settings(draft), servers(draft), draft.sorry, draft.interface.clone()));
    let join = |first: &mut Draft, draft: Draft| {
        let new: Vec<IpAddr> = draft.vips.into_iter().filter(|vip| !first.vips.contains(vip)).collect();
        first.vips.extend(new);
    };
    groups.into_iter().filter_map(|group| joined(group, join)).collect()
}

/// A cluster of IPv4 and one of IPv6 that differ in nothing but addresses: the same machines, one after the other.
fn families(drafts: Vec<Draft>) -> Vec<Draft> {
    let shape = |draft: &Draft| -> Vec<(Option<u16>, u32)> {
        draft.servers.iter().map(|server| (server.port, server.weight)).collect()
    };
    let groups = grouped(drafts, |draft| (settings(draft), shape(draft), draft.interface.clone()));
    groups.into_iter().flat_map(pair).collect()
}

fn pair(group: Vec<Draft>) -> Vec<Draft> {
    let both = group.len() == 2 && ipv6(&group[0]) != ipv6(&group[1]) && !group[0].servers.is_empty();
    if !both {
        return group;
    }
    let join = |first: &mut Draft, draft: Draft| {
        let pairs: Vec<String> = first
            .servers
            .iter()
            .zip(&draft.servers)
            .take(8)
            .map(|(one, other)| format!("{} and {}", one.address, other.address))
            .collect();
        let more = if first.servers.len() > pairs.len() { ", …" } else { "" };
        first.remarks.guess(format!(
            "IPv4 and IPv6 are one cluster; {}{more} are taken for the same machine, by their order: they have the same passive range.",
            pairs.join(", ")
        ));
        let machines: Vec<IpAddr> = first.servers.iter().map(|server| server.machine).collect();
        let twins = draft.servers.into_iter().zip(machines);
        first.servers.extend(twins.map(|(server, machine)| DraftServer { machine, name: None, ..server }));
        first.vips.extend(draft.vips);
        match (first.sorry, draft.sorry) {
            (None, sorry) => first.sorry = sorry,
            (Some(_), Some((address, _))) => {
                first.remarks.left_out(format!("the sorry server {address}: a cluster has one."));
            }
            (Some(_), None) => {}
        }
    };
    joined(group, join).into_iter().collect()
}

fn ipv6(draft: &Draft) -> bool {
    draft.vips.iter().any(IpAddr::is_ipv6)
}
