//! What must hold between keys. Values that could not be read are left alone: one mistake, one problem.

mod active;
mod by_name;
mod checker;
mod clients;
mod failing;
mod health_check;
mod idle;
mod limits;
mod log;
mod named;
mod narrow;
mod patience;
mod public;
mod ranges;
mod routers;
mod scheduler;
mod slow_start;
mod thresholds;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub(super) use checker::Checker;
use checker::{One, TLS, family};
pub(super) use named::files as named_files;

use super::file::{Draft, Origin};
use super::model::{Advertise, Cluster, Config};
use crate::lvs::{ForwardingMethod, is_ipv6};

/// Each mark range numbers its rows with 14 bits.
const INDEXES: usize = 0x4000;

/// Checks the whole file, and finds which servers share their range.
pub(super) fn check(draft: &mut Draft, checker: &Checker<'_, '_>) {
    ranges::share(&mut draft.config);
    let Draft { config, origins } = draft;
    for (cluster, origin) in config.clusters.iter().zip(&*origins) {
        let one = One { cluster, origin, checker };
        one.unique();
        one.families();
        one.servers();
        one.combinations();
        failing::within(&one);
        health_check::within(&one);
        idle::within(&one, &config.kernel);
        slow_start::within(&one);
        thresholds::within(&one);
        patience::within(&one);
        scheduler::within(&one);
        narrow::within(&one);
        by_name::within(&one);
    }
    limits::check(&config.limits, checker);
    log::check(&config.log, checker);
    let fits = indexes(config, checker);
    names(config, origins, checker);
    marks(config, origins, checker);
    addresses(config, origins, checker);
    interfaces(config, origins, checker);
    active::sources(config, origins, checker);
    active::ports(config, origins, checker);
    if fits {
        active::declared(config, origins, checker);
        active::unexpected(config, origins, checker);
        for (cluster, origin) in config.clusters.iter().zip(&*origins) {
            let one = One { cluster, origin, checker };
            ranges::within(&one);
            public::within(&one);
            routers::within(&one);
        }
        ranges::between(config, origins, checker);
    }
}

impl One<'_, '_, '_> {
    fn unique(&self) {
        let Cluster { vips, ports, real_servers, .. } = self.cluster;
        for index in repeated(vips) {
            self.error(&self.vip_path(index), format!("the VIP {} stands here twice", vips[index]), "keep one of them");
        }
        for index in repeated(ports) {
            let path = format!("{}.ports[{}]", self.origin.path, self.origin.ports[index]);
            self.error(&path, format!("the port {} stands here twice", ports[index]), "keep one of them");
        }
        let addresses: Vec<IpAddr> = real_servers.iter().map(|server| server.address).collect();
        for index in repeated(&addresses) {
            let what = match &real_servers[index].host {
                Some(host) => format!("the name {host} is that of another server of this cluster"),
                None => format!("the address {} is that of another server of this cluster", addresses[index]),
            };
            self.error(
                &self.server_path(index, "address"),
                what,
                "one entry per address; a higher `weight` gives it more sessions",
            );
        }
        let names: Vec<&str> = real_servers.iter().map(|server| server.name.as_str()).collect();
        for index in repeated(&names).filter(|&index| !addresses[..index].contains(&addresses[index])) {
            let what = format!("the name {:?} is that of another server of this cluster", names[index]);
            self.error(&self.server_path(index, "name"), what, "a name of its own");
        }
    }

    /// Every VIP needs a server of its family, and every server a VIP.
    fn families(&self) {
        if !self.sound("vips") || !self.servers_sound("address") || by_name::ambiguous(self) {
            return;
        }
        let Cluster { vips, real_servers, .. } = self.cluster;
        for (index, vip) in vips.iter().enumerate() {
            if !real_servers.iter().any(|server| is_ipv6(server.address) == is_ipv6(*vip)) {
                let family = family(*vip);
                let what = format!("an {family} VIP, and no {family} server");
                self.error(
                    &self.vip_path(index),
                    what,
                    format!("add a real server with an {family} address, or remove the VIP"),
                );
            }
        }
        for (index, server) in real_servers.iter().enumerate() {
            if !vips.iter().any(|vip| is_ipv6(*vip) == is_ipv6(server.address)) {
                let family = family(server.address);
                let what = format!("an {family} server, and no {family} VIP");
                self.error(
                    &self.server_path(index, "address"),
                    what,
                    format!("add an {family} VIP, or remove the server"),
                );
            }
        }
    }

    fn servers(&self) {
        let Cluster { real_servers, ports, persistence, .. } = self.cluster;
        if self.servers_sound("weight") && !real_servers.is_empty() && real_servers.iter().all(|s| s.weight == 0) {
            let what = "every server has weight 0: the cluster gets no new sessions";
            self.checker.warning(&self.path("real_servers"), what, "a weight of at least 1 for one of them");
        }
        let method = self.forwarding();
        for (index, server) in real_servers.iter().enumerate() {
            let Some(port) = server.port else { continue };
            if ports.len() > 1 && ports.contains(&TLS) {
                let what = format!("port 990, where TLS begins at once, and another port both lead to port {port}");
                self.error(&self.server_path(index, "port"), what, "a cluster of its own for port 990");
            }
            let path = self.server_path(index, "port");
            match method {
                Some((ForwardingMethod::Dr | ForwardingMethod::Tun, name)) => self.error(
                    &path,
                    format!("{name} cannot change the port"),
                    "remove it, and let the server listen on the cluster's control ports",
                ),
                _ if persistence.is_some() && ports.iter().any(|control| *control != port) => self.error(
                    &path,
                    "persistence cannot change the port: its service is a firewall mark",
                    "remove it, and let the server listen on the cluster's control ports",
                ),
                _ => {}
            }
        }
    }

    fn combinations(&self) {
        let Cluster { advertise, ports, persistence, real_servers, .. } = self.cluster;
        let outside_nat = self.forwarding().filter(|(method, _)| *method != ForwardingMethod::Nat);
        if let Some((_, name)) = outside_nat.filter(|_| *advertise != Advertise::Vip) {
            let what = format!("in {name} the replies do not pass the director: nothing can be advertised");
            self.error(
                &self.path("passive.advertise"),
                what,
                "vip; set the address in the FTP servers (vsftpd: pasv_address)",
            );
        }
        let shared = real_servers.iter().any(|server| server.shared);
        clients::within(self);
        let tls = ports.iter().position(|port| *port == TLS);
        let hidden = shared && persistence.is_none() && self.cluster.public_ports.is_none();
        if let Some(index) = tls.filter(|_| hidden && self.servers_sound("passive_ports")) {
            let path = format!("{}.ports[{}]", self.origin.path, self.origin.ports[index]);
            let what = "TLS hides the passive ports, and the servers share a passive range";
            self.checker.warning(&path, what, "one range per server (`passive_ports`)");
        }
    }
}

/// The indexes of the items that stand in the list before.
fn repeated<T: Ord>(items: &[T]) -> impl Iterator<Item = usize> {
    let mut seen = BTreeSet::new();
    items
        .iter()
        .enumerate()
        .filter(|(_, item)| !seen.insert(*item))
        .map(|(index, _)| index)
        .collect::<Vec<_>>()
        .into_iter()
}

/// Whether there are enough marks for every (cluster, VIP, server) and every (VIP, control port).
fn indexes(config: &Config, checker: &Checker<'_, '_>) -> bool {
    let rows = |count: fn(&Cluster) -> usize| config.clusters.iter().map(count).fold(0_usize, usize::saturating_add);
    let servers = rows(|cluster| {
        let of_vip = |vip: &IpAddr| cluster.real_servers.iter().filter(|s| is_ipv6(s.address) == is_ipv6(*vip)).count();
        // Two sums over the families, not one over the VIPs: the lists come from a stranger.
        let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = cluster.vips.iter().partition(|vip| is_ipv6(**vip));
        let product = |vips: &[IpAddr]| vips.first().map_or(0, |vip| vips.len().saturating_mul(of_vip(vip)));
        product(&v4).saturating_add(product(&v6))
    });
    let ports = rows(|cluster| cluster.vips.len().saturating_mul(cluster.ports.len()));
    let mut fits = true;
    for (count, what) in [(servers, "VIPs with their real servers"), (ports, "VIPs with their control ports")] {
        if count > INDEXES {
            let cure = format!("at most {INDEXES}, the number of firewall marks; split the file over more directors");
            checker.error("clusters", format!("{count} {what} are too many"), cure);
            fits = false;
        }
    }
    fits
}

fn names(config: &Config, origins: &[Origin], checker: &Checker<'_, '_>) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (cluster, origin) in config.clusters.iter().zip(origins) {
        let path = format!("{}.name", origin.path);
        if !checker.sound(&path) {
            continue;
        }
        if let Some(first) = seen.get(cluster.name.as_str()) {
            let first = checker.named(first, &path);
            checker.error(&path, format!("the name {:?} is that of {first}", cluster.name), "a name of its own");
        }
        seen.entry(&cluster.name).or_insert(&origin.path);
    }
}

fn marks(config: &Config, origins: &[Origin], checker: &Checker<'_, '_>) {
    let mut seen: BTreeMap<u16, String> = BTreeMap::new();
    for (cluster, origin) in config.clusters.iter().zip(origins) {
        let one = One { cluster, origin, checker };
        for (index, server) in cluster.real_servers.iter().enumerate() {
            let Some(mark) = server.mark else { continue };
            let path = one.server_path(index, "mark");
            if let Some(first) = seen.get(&mark) {
                let first = checker.named(first, &path);
                checker.error(&path, format!("the mark {mark} stands at {first} too"), "a mark of its own, 0 to 16383");
            }
            let vips: BTreeSet<&IpAddr> = cluster.vips.iter().collect();
            let of_family = vips.iter().filter(|vip| is_ipv6(***vip) == is_ipv6(server.address)).count();
            if of_family > 1 {
                let what = format!("a mark pins one index, and the server needs one for each of {of_family} VIPs");
                checker.error(&path, what, "a cluster of its own for each VIP, or no mark");
            }
            seen.entry(mark).or_insert(path);
        }
    }
    for (cluster, origin) in config.clusters.iter().zip(origins) {
        let one = One { cluster, origin, checker };
        let without = cluster.real_servers.iter().position(|server| server.mark.is_none());
        let Some(index) = without.filter(|_| !seen.is_empty() && one.servers_sound("mark")) else { continue };
        let what = format!(
            "{} has no mark and others have: directors that share connections may mean different servers by one mark",
            cluster.real_servers[index].name
        );
        one.warning(&one.server_path(index, "mark"), what, "a mark for every server of the file, or for none");
    }
}

/// A VIP is on one interface: taking the VIP off there takes it from every cluster.
fn interfaces(config: &Config, origins: &[Origin], checker: &Checker<'_, '_>) {
    let mut seen: BTreeMap<IpAddr, (&Cluster, &str)> = BTreeMap::new();
    for (cluster, origin) in config.clusters.iter().zip(origins) {
        let one = One { cluster, origin, checker };
        if !one.sound("vip_interface") {
            continue;
        }
        for vip in &cluster.vips {
            let &mut (first, path) = seen.entry(*vip).or_insert((cluster, &origin.path));
            if first.vip_interface != cluster.vip_interface {
                let path = checker.named(path, &origin.path);
                let what = format!("{path} has the VIP {vip} too, and another vip_interface");
                checker.warning(
                    &one.path("vip_interface"),
                    what,
                    "the same interface in both clusters: when one is removed it takes the VIP along",
                );
                break;
            }
        }
    }
}

/// No VIP is a server of any cluster.
fn addresses(config: &Config, origins: &[Origin], checker: &Checker<'_, '_>) {
    let mut vips: BTreeMap<IpAddr, &Origin> = BTreeMap::new();
    for (cluster, origin) in config.clusters.iter().zip(origins) {
        for vip in &cluster.vips {
            vips.entry(*vip).or_insert(origin);
        }
    }
    for (cluster, origin) in config.clusters.iter().zip(origins) {
        let one = One { cluster, origin, checker };
        for (index, server) in cluster.real_servers.iter().enumerate() {
            if let Some(holder) = vips.get(&server.address) {
                let what = format!("{} is a VIP{}", server.address, checker.elsewhere(&holder.path, &origin.path));
                checker.error(&one.server_path(index, "address"), what, "the server's own address");
            }
        }
        if let Some((sorry, holder)) = cluster.sorry_server.and_then(|sorry| Some((sorry, vips.get(&sorry.address)?))) {
            let what = format!("{} is a VIP{}", sorry.address, checker.elsewhere(&holder.path, &origin.path));
            checker.error(&one.path("sorry_server"), what, "the server's own address");
        }
    }
}
