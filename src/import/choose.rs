//! Which services are FTP, and at which VIPs: by port, by what the file says, by the marks that other files set.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;

use super::found::{Found, Host, Key, MarkRule, Protocol, Remarks, Service};
use crate::lvs::PortRange;

/// The control ports of FTP, in clear and under TLS.
const CONTROL: [u16; 2] = [21, 990];
/// The port that active data connections come from.
const DATA: u16 = 20;
/// The largest network of a rule whose addresses are taken for VIPs.
const ADDRESSES: usize = 16;
/// The most VIPs of one mark.
const VIPS: usize = 256;
/// The most control ports of VIPs, of all services together.
const FRONTS: usize = 8192;
/// A range that is wider means every port.
const WIDE: u16 = 50_000;

/// A control port of a VIP, with the service behind it.
#[derive(Debug)]
pub(super) struct Front {
    pub vip: IpAddr,
    pub port: u16,
    /// The passive range that the marks tell.
    pub range: Option<PortRange>,
    pub service: Rc<Service>,
    /// What to delete when this is written.
    pub delete: Rc<Remarks>,
}

/// What is FTP, and what is not.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub fronts: Vec<Front>,
    /// FTP without an address: one sentence each.
    pub unplaced: Remarks,
    /// Services that are no FTP, in a word or two.
    pub left: BTreeSet<String>,
    /// Their ports, by VIP.
    pub others: BTreeMap<IpAddr, BTreeSet<u16>>,
    /// Services for the data connections of these VIPs: what to delete when the VIP is written.
    pub data: Vec<(IpAddr, String)>,
    /// Lines of what could be deleted that services need which are not written.
    pub keep: BTreeSet<String>,
}

/// What all services are judged by.
struct Judge<'f> {
    found: &'f Found,
    /// The ports that are FTP.
    control: BTreeSet<u16>,
    marks: BTreeMap<u32, Vec<&'f MarkRule>>,
}

/// Chooses the FTP services.
pub(super) fn choose(found: &Found) -> Chosen {
    let mut chosen = Chosen::default();
    let mut judge = Judge { found, control: CONTROL.into(), marks: BTreeMap::new() };
    judge.control.extend(found.helper.iter().flat_map(|helper| &helper.ports));
    for rule in &found.marks {
        judge.marks.entry(rule.mark).or_default().push(rule);
    }
    let mut data: Vec<&Service> = Vec::new();
    let mut seen: BTreeSet<(u32, bool)> = BTreeSet::new();
    for service in &found.services {
        if chosen.fronts.len() > FRONTS {
            chosen.unplaced.note(format!("more than {FRONTS} control ports of VIPs: the services behind them."));
            break;
        }
        if service.protocol != Protocol::Tcp {
            chosen.left.insert(service.short());
            continue;
        }
        match &service.key {
            Key::Place(_, DATA) => data.push(service),
            Key::Place(host, port) => judge.at_place(host, *port, service, &mut chosen),
            Key::Mark { mark, ipv6 } if seen.insert((*mark, *ipv6)) => judge.by_mark(*mark, service, &mut chosen),
            Key::Mark { .. } => {
                chosen.left.insert(format!("{} a second time", service.short()));
            }
        }
    }
    // Port 20 of a VIP with FTP was there for data connections.
    let vips: BTreeSet<IpAddr> = chosen.fronts.iter().map(|front| front.vip).collect();
    for service in data {
        let (Key::Place(host, _), place, written) = (&service.key, &service.place, &service.written) else { continue };
        if let Some(vip) = host.address().filter(|vip| vips.contains(vip)) {
            let why = "port 20: data connections are steered by ftpdirector";
            chosen.data.push((vip, format!("{place}: {written}  ({why})")));
        } else {
            chosen.left.insert(service.short());
        }
    }
    chosen
}

impl Judge<'_> {
    fn at_place(&self, host: &Host, port: u16, service: &Service, chosen: &mut Chosen) {
        let helper = self.found.helper.as_ref().filter(|_| port == 0);
        let why = evidence(service).or_else(|| helper.map(|helper| format!("{} loads ip_vs_ftp", helper.place)));
        let mut service = service.clone();
        let port = match (port, why) {
            (0, Some(why)) => {
                service
                    .remarks
                    .guess(format!("the service takes every port of {host}; it is FTP, for {why}. Port 21 is taken."));
                service
                    .remarks
                    .note(format!("what else {host} serves needs services of its own when this one is gone."));
                21
            }
            (port, _) if self.control.contains(&port) => port,
            (port, Some(why)) if port != 0 => {
                service.remarks.guess(format!("port {port} is FTP, for {why}."));
                port
            }
            (port, _) => {
                if let Some(vip) = host.address() {
                    chosen.others.entry(vip).or_default().insert(port);
                }
                chosen.keep.extend(deleted(&service, &[]).lines());
                chosen.left.insert(service.short());
                return;
            }
        };
        let delete = deleted(&service, &[]);
        match host.address() {
            Some(vip) => {
                let (service, delete) = (Rc::new(service), Rc::new(delete));
                chosen.fronts.push(Front { vip, port, range: None, service, delete });
            }
            None => {
                chosen.keep.extend(delete.lines());
                let (place, written) = (&service.place, &service.written);
                chosen.unplaced.note(format!(
                    "{place}: {written}: `{host}` is no address; names are not looked up (`ipvsadm -S -n` writes addresses)."
                ));
            }
        }
    }

    fn by_mark(&self, mark: u32, service: &Service, chosen: &mut Chosen) {
        let (found, known) = (self.found, &self.control);
        let rules = self.marks.get(&mark).map_or(&[] as &[_], Vec::as_slice);
        let mut service = service.clone();
        let why = evidence(&service);
        let flagged = matches!(service.key, Key::Mark { ipv6: true, .. });
        let ipv6 = service
            .servers
            .iter()
            .find_map(|server| server.host.address())
            .map_or(flagged, |address| address.is_ipv6());
        let Marked { mut vips, mut control, every_port, ranges, others } = marked(rules, ipv6, known, &mut service);
        if let Some((host, port)) = &service.beside {
            if vips.is_empty() {
                vips.extend(host.address());
            }
            if rules.is_empty() && (known.contains(port) || why.is_some()) {
                control.insert(*port);
            }
        }
        if control.is_empty() && (every_port || rules.is_empty()) {
            let Some(ports) = self.guessed(mark, why.as_deref(), every_port, &mut service) else {
                chosen.keep.extend(deleted(&service, rules).lines());
                chosen.left.insert(format!("{} (no rule of these files says that it is FTP)", service.short()));
                return;
            };
            control.extend(ports);
        }
        let delete = deleted(&service, rules);
        if control.is_empty() {
            chosen.keep.extend(delete.lines());
            chosen.left.insert(service.short());
            return;
        }
        if vips.is_empty() && !found.moved.is_empty() {
            vips.extend(found.moved.iter().filter(|vip| vip.is_ipv6() == ipv6));
            service.remarks.guess(format!("no rule says which address has mark {mark}: what VRRP moves is taken."));
        }
        shared_mark(mark, every_port, &others, &mut service);
        let range = passive(ranges, every_port, &control, &mut service);
        if vips.is_empty() {
            chosen.keep.extend(delete.lines());
            let (place, written) = (&service.place, &service.written);
            chosen.unplaced.note(format!(
                "{place}: {written}: no file says which address has mark {mark}: give the rules that set it too, as \
                 `iptables-save` or `nft list ruleset` writes them."
            ));
            return;
        }
        let (service, delete) = (Rc::new(service), Rc::new(delete));
        for &vip in &vips {
            for &port in &control {
                let (service, delete) = (Rc::clone(&service), Rc::clone(&delete));
                chosen.fronts.push(Front { vip, port, range, service, delete });
            }
        }
    }

    /// The control ports of a mark that no rule gives a control port; `None`: nothing says that it is FTP.
    fn guessed(&self, mark: u32, why: Option<&str>, every_port: bool, service: &mut Service) -> Option<BTreeSet<u16>> {
        let helper = self.found.helper.as_ref();
        match (why, helper) {
            (Some(why), _) => service.remarks.guess(format!("mark {mark} is FTP, for {why}. Port 21 is taken.")),
            (None, Some(helper)) if every_port => {
                let place = &helper.place;
                service
                    .remarks
                    .guess(format!("mark {mark} is FTP, since {place} loads ip_vs_ftp. Its ports are taken."));
            }
            _ => return None,
        }
        Some(helper.map_or_else(|| BTreeSet::from([21]), |helper| helper.ports.clone()))
    }
}

/// Why a service is FTP that its port does not give away.
fn evidence(service: &Service) -> Option<String> {
    if let Some(why) = &service.says_ftp {
        return Some(format!("the file says {why}"));
    }
    let ftp = |port: Option<u16>| port.is_some_and(|port| CONTROL.contains(&port));
    if !service.servers.is_empty() && service.servers.iter().all(|server| ftp(server.port)) {
        return Some("its real servers listen on an FTP port".to_owned());
    }
    if ftp(service.checked_port) {
        return Some("its checks go to an FTP port".to_owned());
    }
    let name = service.name.as_ref()?.to_ascii_lowercase();
    let named = name.contains("ftp") && !name.contains("tftp") && !name.contains("sftp");
    named.then(|| "its name says so".to_owned())
}

/// What to delete when the service is written.
fn deleted(service: &Service, rules: &[&MarkRule]) -> Remarks {
    let mut delete = Remarks::default();
    delete.note(format!("{}: {}", service.place, service.written));
    for rule in rules {
        delete.note(format!("{}: {}", rule.place, rule.written));
    }
    delete
}

/// What the rules of a mark say.
struct Marked {
    vips: BTreeSet<IpAddr>,
    control: BTreeSet<u16>,
    /// Whether a rule covers every port.
    every_port: bool,
    ranges: Vec<PortRange>,
    /// Ports of something else.
    others: BTreeSet<u16>,
}

fn marked(rules: &[&MarkRule], ipv6: bool, known: &BTreeSet<u16>, service: &mut Service) -> Marked {
    let mut marked = Marked {
        vips: BTreeSet::new(),
        control: BTreeSet::new(),
        every_port: false,
        ranges: Vec::new(),
        others: BTreeSet::new(),
    };
    for rule in rules {
        if let Some(unread) = &rule.unread {
            let place = &rule.place;
            service.remarks.guess(format!(
                "{place}: the mark is set on a condition (`{unread}`); here it is every packet to the VIP."
            ));
        }
        for network in rule.addresses.iter().filter(|network| network.addr().is_ipv6() == ipv6) {
            if marked.vips.len() < VIPS {
                marked.vips.extend(hosts(*network, service));
            } else {
                service.remarks.left_out(format!("the mark is set for more than {VIPS} addresses: the others."));
            }
        }
        marked.every_port |= rule.ports.is_empty();
        for range in &rule.ports {
            let width = range.last() - range.first();
            if width >= WIDE {
                marked.every_port = true;
            } else if width > 0 && range.first() >= PortRange::UNPRIVILEGED.first() {
                marked.ranges.push(*range);
            } else {
                marked.control.extend(known.range(range.first()..=range.last()));
                let ports = (range.first()..=range.last()).take(ADDRESSES);
                marked.others.extend(ports.filter(|port| !known.contains(port) && *port != DATA));
            }
        }
    }
    marked
}

/// The addresses of a small network.
fn hosts(network: IpNet, service: &mut Service) -> Vec<IpAddr> {
    let hosts: Vec<IpAddr> = network.hosts().take(ADDRESSES + 1).collect();
    match hosts.len() {
        1 => hosts,
        2..=ADDRESSES => {
            service
                .remarks
                .guess(format!("the mark is set for the network {network}: each of its addresses is taken for a VIP."));
            hosts
        }
        _ => {
            service
                .remarks
                .left_out(format!("the mark is set for the network {network}: too many addresses to be VIPs."));
            Vec::new()
        }
    }
}

/// Says what else has the mark.
fn shared_mark(mark: u32, every_port: bool, others: &BTreeSet<u16>, service: &mut Service) {
    if every_port {
        service.remarks.note(format!(
            "mark {mark} is on every port of the VIP: if something else than FTP is behind it, keep its service, and let the rule name those ports."
        ));
    } else if !others.is_empty() {
        let ports: Vec<String> = others.iter().take(8).map(u16::to_string).collect();
        let more = if others.len() > ports.len() { ", …" } else { "" };
        service.remarks.note(format!(
            "mark {mark} is on other ports too ({}{more}): if that is not FTP, keep its service and these ports in the rules.",
            ports.join(", ")
        ));
    }
}

/// The passive range among the ports that have the mark.
fn passive(
    ranges: Vec<PortRange>,
    every_port: bool,
    control: &BTreeSet<u16>,
    service: &mut Service,
) -> Option<PortRange> {
    let ranges = PortRange::merged(ranges);
    let widest = ranges.iter().copied().max_by_key(|range| range.last() - range.first())?;
    if control.iter().any(|port| widest.contains(*port)) || every_port {
        return None;
    }
    if ranges.len() > 1 {
        let all: Vec<String> = ranges.iter().take(8).map(PortRange::to_string).collect();
        service.remarks.guess(format!(
            "the marks are on several ranges ({}); the widest is taken for the passive range of all servers.",
            all.join(", ")
        ));
    }
    Some(widest)
}
