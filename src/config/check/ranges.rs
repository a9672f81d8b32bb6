//! Which server a passive port belongs to: ranges of one cluster's servers, and of clusters behind one VIP.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::checker::{Checker, One, TLS};
use super::public;
use crate::config::file::Origin;
use crate::config::model::{Cluster, Config, RealServer};
use crate::config::tree::NodeKind;
use crate::lvs::{ForwardingMethod, PortRange, is_ipv6};

/// Sets `shared` of every server.
pub(super) fn share(config: &mut Config) {
    for cluster in &mut config.clusters {
        for ipv6 in [false, true] {
            let family = cluster.real_servers.iter_mut().filter(|server| is_ipv6(server.address) == ipv6);
            let mut servers: Vec<_> = family.collect();
            servers.sort_by_key(|server| server.passive_ports);
            // In order of their first port, a range overlaps an earlier one if it starts before the furthest end.
            let mut furthest: Option<(usize, u16)> = None;
            for index in 0..servers.len() {
                let range = servers[index].passive_ports;
                if let Some((holder, last)) = furthest.filter(|(_, last)| range.first() <= *last) {
                    servers[index].shared = true;
                    servers[holder].shared = true;
                    furthest = Some(if range.last() > last { (index, range.last()) } else { (holder, last) });
                } else {
                    furthest = Some((index, range.last()));
                }
            }
        }
    }
}

/// The ranges of one cluster's servers.
pub(super) fn within(one: &One<'_, '_, '_>) {
    let Cluster { persistence, real_servers, .. } = one.cluster;
    let sound = one.sound("passive") && one.sound("persistence") && one.servers_sound("passive_ports");
    let Some((method, name)) = one.forwarding().filter(|_| sound) else { return };
    // Every unprivileged port is as good as no range: it cannot be told from other services of the VIP.
    let undeclared = |index: &usize| real_servers[*index].passive_ports == PortRange::UNPRIVILEGED;
    if persistence.is_some() {
        if let Some(index) = (0..real_servers.len()).find(undeclared) {
            one.checker.error(
                &range_path(one, index),
                format!("persistence needs to know the passive range, and {} has none", real_servers[index].name),
                "the range of the FTP servers, like 31000-31999",
            );
        }
        return;
    }
    let mut free = Free::new(one.cluster);
    let (default, declared): (Vec<usize>, Vec<usize>) = (0..real_servers.len()).partition(undeclared);
    if let Some(&first) = default.first() {
        let names: Vec<&str> = default.iter().map(|&index| real_servers[index].name.as_str()).collect();
        let (who, path, cure) = (all_of(&names), range_path(one, first), free.cure(&default, real_servers));
        if method == ForwardingMethod::Nat {
            let what = format!(
                "{who} may use any unprivileged port: whatever listens above 1023 there is open to a client that gets the server to name it in a 227 or 229"
            );
            one.checker.warning(&path, what, cure);
        } else {
            let what =
                format!("{who} may use any unprivileged port; in {name} the director does not see which one it is");
            one.checker.error(&path, what, cure);
        }
    }
    if method == ForwardingMethod::Nat {
        return nat_overlaps(one, &declared, &mut free);
    }
    for (at, &index) in declared.iter().enumerate().filter(|(_, index)| real_servers[**index].shared) {
        let server = &real_servers[index];
        let Some(&other) = declared[..at].iter().find(|&&other| overlap(&real_servers[other], server)) else {
            continue;
        };
        let (range, other) = (server.passive_ports, &real_servers[other]);
        let what = format!("{range} of {} overlaps {} of {}", server.name, other.passive_ports, other.name);
        let what = format!("{what}; in {name} the director does not see whose port it is");
        one.checker.error(&range_path(one, index), what, free.cure(&[index], real_servers));
    }
}

/// NAT: servers may share a range. Two that overlap and are not the same are mostly a mistake.
fn nat_overlaps(one: &One<'_, '_, '_>, declared: &[usize], free: &mut Free) {
    if one.cluster.public_ports.is_some() {
        return;
    }
    let servers = &one.cluster.real_servers;
    for (at, &index) in declared.iter().enumerate().filter(|(_, index)| servers[**index].shared) {
        let server = &servers[index];
        let crosses = |other: &RealServer| other.passive_ports != server.passive_ports && overlap(other, server);
        let Some(&other) = declared[..at].iter().find(|&&other| crosses(&servers[other])) else { continue };
        let (range, other) = (server.passive_ports, &servers[other]);
        let what = format!(
            "{range} of {} overlaps {} of {}: only the daemon knows which of the two a port belongs to, so passive data connections \
             fail under TLS and while it is down",
            server.name, other.passive_ports, other.name
        );
        let cure = format!("{}\nmeant so: one range for all, `passive: {{ports: …}}`", free.cure(&[index], servers));
        one.checker.warning(&range_path(one, index), what, cure);
    }
}

/// `ftp1, ftp2 and 3 more`
pub(super) fn all_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] if first.len() < 4 => format!("{} and {last}", first.join(", ")),
        [a, b, c, more @ ..] => format!("{a}, {b}, {c} and {} more", more.len()),
        [_, _] => names.join(" and "),
    }
}

fn overlap(a: &RealServer, b: &RealServer) -> bool {
    is_ipv6(a.address) == is_ipv6(b.address) && a.passive_ports.overlaps(b.passive_ports)
}

/// Whether the server names a range of its own.
fn own(one: &One<'_, '_, '_>, index: usize) -> bool {
    let server = format!("{}.real_servers[{}]", one.origin.path, one.origin.servers[index]);
    let written = one.checker.root().nearest(&server).child("passive_ports");
    written.is_some_and(|node| node.kind != NodeKind::Null)
}

/// Where the effective range of a server is written.
fn range_path(one: &One<'_, '_, '_>, index: usize) -> String {
    if own(one, index) { one.server_path(index, "passive_ports") } else { one.path("passive.ports") }
}

/// The ranges that the file declares for servers of a cluster, each once, with where it is written; none if one cannot be read.
pub(super) fn written(one: &One<'_, '_, '_>) -> BTreeMap<String, PortRange> {
    if !one.sound("passive") || !one.servers_sound("passive_ports") {
        return BTreeMap::new();
    }
    let servers = one.cluster.real_servers.iter().enumerate();
    // Who declares no range is warned of more than what is in it.
    let declared = servers.filter(|(_, server)| server.passive_ports != PortRange::UNPRIVILEGED);
    declared.map(|(index, server)| (range_path(one, index), server.passive_ports)).collect()
}

/// As [`written`], of the ports that clients are told: the public ones in place of the servers'.
pub(super) fn at_vip(one: &One<'_, '_, '_>) -> BTreeMap<String, PortRange> {
    match one.cluster.public_ports {
        Some(public) if one.sound("passive") => BTreeMap::from([(one.path(public::KEY), public)]),
        Some(_) => BTreeMap::new(),
        None => written(one),
    }
}

/// Proposes ranges that no server of the cluster has.
struct Free {
    next: u16,
    explained: bool,
}

impl Free {
    fn new(cluster: &Cluster) -> Self {
        let ranges = cluster.real_servers.iter().map(|server| server.passive_ports);
        let last = ranges.filter(|range| *range != PortRange::UNPRIVILEGED).map(PortRange::last).max();
        Self { next: last.unwrap_or(30_999).saturating_add(1), explained: false }
    }

    /// The next range of about the size of `like`.
    fn range(&mut self, like: PortRange) -> Option<PortRange> {
        let width = if like == PortRange::UNPRIVILEGED { 999 } else { (like.last() - like.first()).max(99) };
        let range = PortRange::new(self.next, self.next.checked_add(width)?)?;
        self.next = range.last().checked_add(1)?;
        Some(range)
    }

    /// A range for each of some servers, and how to tell the first; explained once.
    fn cure(&mut self, indexes: &[usize], servers: &[RealServer]) -> String {
        const CURE: &str = "one range per server, here (`passive_ports`) and in the server";
        let some = indexes.iter().take(3).map(|&index| &servers[index]);
        let proposed: Vec<_> = some.map_while(|server| Some((server, self.range(server.passive_ports)?))).collect();
        let [(server, range), ..] = proposed.as_slice() else { return CURE.to_owned() };
        let list: Vec<String> = proposed.iter().map(|(server, range)| format!("{} {range}", server.name)).collect();
        let etc = if indexes.len() > proposed.len() { ", …" } else { "" };
        let cure = format!("{CURE}, like {}{etc}", list.join(", "));
        if std::mem::replace(&mut self.explained, true) {
            return cure;
        }
        let (first, last) = (range.first(), range.last());
        format!(
            "{cure}\ntell {}:\n  vsftpd     pasv_min_port={first}\n             pasv_max_port={last}\n  \
             ProFTPD    PassivePorts {first} {last}\n  Pure-FTPd  -p {first}:{last}\n  \
             pyftpdlib  passive_ports = range({first}, {})",
            server.name,
            u32::from(last) + 1
        )
    }
}

/// One cluster, and the ranges that it has at its VIPs, as far as they can be read.
struct Front<'a, 'r, 't> {
    one: One<'a, 'r, 't>,
    /// Which cluster of the file.
    number: usize,
    /// (index of the server, or `None`: `public_ports`; the range, whether it is IPv6)
    ranges: Vec<(Option<usize>, PortRange, bool)>,
}

impl Front<'_, '_, '_> {
    fn of_family(&self, vip: IpAddr) -> impl Iterator<Item = (&Self, Option<usize>, PortRange)> {
        let family = self.ranges.iter().filter(move |(_, _, ipv6)| *ipv6 == is_ipv6(vip));
        family.map(move |(index, range, _)| (self, *index, *range))
    }
}

/// Clusters behind one VIP: control ports and ranges must not meet.
pub(super) fn between(config: &Config, origins: &[Origin], checker: &Checker<'_, '_>) {
    let clusters = config.clusters.iter().zip(origins).enumerate();
    let fronts: Vec<Front<'_, '_, '_>> = clusters
        .map(|(number, (cluster, origin))| {
            let one = One { cluster, origin, checker };
            let sound = one.sound("passive") && one.servers_sound("passive_ports");
            let public = cluster.public_ports;
            let servers = cluster.real_servers.iter().enumerate().filter(|_| sound && public.is_none());
            let servers = servers.map(|(index, s)| (Some(index), s.passive_ports, is_ipv6(s.address)));
            let public = [false, true].into_iter().filter_map(|ipv6| Some((None, public?, ipv6))).filter(|_| sound);
            let ranges = servers.chain(public).collect();
            Front { one, number, ranges }
        })
        .collect();
    let mut vips: BTreeMap<IpAddr, Vec<&Front<'_, '_, '_>>> = BTreeMap::new();
    for front in &fronts {
        for vip in BTreeSet::from_iter(&front.one.cluster.vips) {
            vips.entry(*vip).or_default().push(front);
        }
    }
    for (vip, fronts) in &vips {
        control_ports(*vip, fronts);
        ranges(*vip, fronts);
    }
}

/// No VIP:port in two clusters, and none inside a passive range.
fn control_ports(vip: IpAddr, fronts: &[&Front<'_, '_, '_>]) {
    let mut control: BTreeMap<u16, &Front<'_, '_, '_>> = BTreeMap::new();
    for front in fronts {
        let One { cluster, origin, checker } = &front.one;
        for (index, port) in cluster.ports.iter().enumerate() {
            let first = *control.entry(*port).or_insert(front);
            if first.number != front.number {
                let path = format!("{}.ports[{}]", origin.path, origin.ports[index]);
                let holder = &first.one;
                let place = checker.named(&holder.origin.path, &origin.path);
                let what = format!("port {port} of {vip} belongs to {} ({place})", holder.cluster.name);
                checker.error(&path, what, "another port, or another VIP");
            }
        }
    }
    for (Front { one, .. }, index, range) in fronts.iter().flat_map(|front| front.of_family(vip)) {
        if let Some((port, holder)) = control.range(range.first()..=range.last()).next() {
            let range = described(one, index, range);
            let what = format!("{range} holds {port}, a control port of {}", holder.one.called_from(one));
            let servers = if index.is_some() { ", as the FTP servers have it" } else { "" };
            one.checker.error(&told_path(one, index), what, format!("a range without {port}{servers}"));
        }
    }
}

/// Where a range at the VIP is written: that of a server, or the public ports.
fn told_path(one: &One<'_, '_, '_>, index: Option<usize>) -> String {
    index.map_or_else(|| one.path(public::KEY), |index| range_path(one, index))
}

/// A range as the file has it.
fn described(one: &One<'_, '_, '_>, index: Option<usize>, range: PortRange) -> String {
    let default = index.is_some_and(|index| one.cluster.passive_ports.is_none() && !own(one, index));
    if default { format!("the default range {range}") } else { range.to_string() }
}

/// No range of one cluster meets one of another.
fn ranges(vip: IpAddr, fronts: &[&Front<'_, '_, '_>]) {
    if fronts.len() < 2 {
        return;
    }
    let all: Vec<_> = fronts.iter().flat_map(|front| front.of_family(vip)).collect();
    let mut cures: BTreeMap<(usize, usize), Option<String>> = BTreeMap::new();
    for (at, (front, index, range)) in all.iter().enumerate() {
        let meets = |(other, _, their): &&(&Front<'_, '_, '_>, Option<usize>, PortRange)| {
            other.number != front.number && their.overlaps(*range)
        };
        if let Some((other, their_index, their)) = all[..at].iter().find(meets) {
            let (ours, theirs) = (described(&front.one, *index, *range), described(&other.one, *their_index, *their));
            let name = other.one.called_from(&front.one);
            let what = format!("{ours} overlaps {theirs} of {name} behind the same VIP {vip}");
            let cure = "ranges that do not overlap, in both clusters and their servers";
            let pair = cures.entry((other.number, front.number));
            let merged = pair.or_insert_with(|| merged(other.one.cluster, front.one.cluster)).as_ref();
            let cure = merged.map_or_else(|| cure.to_owned(), |merged| format!("{merged}; or {cure}"));
            front.one.checker.error(&told_path(&front.one, *index), what, cure);
        }
    }
}

/// More control ports than these are not put into a cure.
const PORTS_TOLD: usize = 16;

/// How to write two clusters as one, where they are the same servers behind other control ports. `ranges` leads a port of
/// a VIP to one control mark, which is one server of one cluster: as one cluster these share their ranges, as two they cannot.
fn merged(a: &Cluster, b: &Cluster) -> Option<String> {
    let servers = |cluster: &Cluster| BTreeSet::from_iter(cluster.real_servers.iter().map(|server| server.address));
    let vips = |cluster: &Cluster| BTreeSet::from_iter(cluster.vips.iter().copied());
    // The lists come from a stranger: what is not as long is not compared, and what is too long is not told.
    let as_long = a.real_servers.len() == b.real_servers.len() && a.vips.len() == b.vips.len();
    let short = a.ports.len().saturating_add(b.ports.len()) <= PORTS_TOLD;
    let alike = a.forwarding == b.forwarding && a.public_ports == b.public_ports;
    if !alike || !as_long || !short || vips(a) != vips(b) || servers(a) != servers(b) {
        return None;
    }
    let ports: BTreeSet<u16> = a.ports.iter().chain(&b.ports).copied().collect();
    let written: Vec<String> = ports.iter().map(u16::to_string).collect();
    let written = format!("one cluster with `ports: [{}]`", written.join(", "));
    // A server's `port` beside the one control port that leads to it, if there is but one.
    let leads = || {
        [a, b].into_iter().flat_map(|cluster| {
            let sole = if let [port] = *cluster.ports { Some(port) } else { None };
            cluster.real_servers.iter().map(move |server| (server.port, sole))
        })
    };
    if leads().all(|(port, sole)| port.is_none() || port == sole) {
        let renamed = leads().any(|(port, _)| port.is_some());
        return Some(if renamed { format!("{written}, its servers without `port`") } else { written });
    }
    // One `port` of a server holds for every control port of its cluster, but TLS begins at once on 990 alone.
    let to = leads().find_map(|(port, _)| port)?;
    let one_port = leads().all(|(port, sole)| port.or(sole) == Some(to)) && !ports.contains(&TLS);
    one_port.then(|| format!("{written}, its servers with `port: {to}`"))
}
