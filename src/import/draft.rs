//! A cluster as it will be written, made of one control port of one VIP.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::choose::Front;
use super::found::{Check, CheckKind, Host, Place, Remarks, Server};
use super::text::shown;
use crate::config::unfit;
use crate::lvs::{ForwardingMethod, PortRange};

/// The schedulers of Linux (`net/netfilter/ipvs/Kconfig`).
const SCHEDULERS: [&str; 14] =
    ["rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos"];
/// The longest time of persistence, seconds: the longest that our file accepts.
const LONGEST: u32 = 24 * 86_400;

/// A cluster before it is written.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// The file's own name for it.
    pub name: Option<String>,
    pub vips: Vec<IpAddr>,
    pub ports: Vec<u16>,
    pub forwarding: ForwardingMethod,
    pub scheduler: String,
    /// Seconds; 0: none.
    pub persistence: u32,
    /// The passive range that is known to be that of all servers.
    pub range: Option<PortRange>,
    pub interface: Option<String>,
    pub sorry: Option<(IpAddr, Option<u16>)>,
    pub check: Check,
    pub servers: Vec<DraftServer>,
    /// Where it comes from.
    pub sources: BTreeSet<(Place, String)>,
    /// What to delete when it is written.
    pub delete: Remarks,
    pub remarks: Remarks,
}

/// A real server of a draft.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DraftServer {
    pub address: IpAddr,
    /// NAT: its control port, if that is not the cluster's.
    pub port: Option<u16>,
    pub weight: u32,
    /// Sessions with which it gets no new ones.
    pub max_sessions: Option<u32>,
    pub name: Option<String>,
    pub remarks: Remarks,
    /// The first address of the same machine, as far as that is known.
    pub machine: IpAddr,
}

impl Draft {
    /// The cluster of one control port of one VIP. What cannot be in it is said in its remarks.
    pub fn of(front: &Front) -> Self {
        let service = &*front.service;
        let mut draft = Self {
            name: service.name.clone(),
            vips: vec![front.vip],
            ports: vec![front.port],
            forwarding: forwarding(&service.servers),
            scheduler: service.scheduler.clone(),
            persistence: service.persistence.min(LONGEST),
            range: front.range,
            interface: service.interface.clone().filter(|name| is_interface(name)),
            sorry: None,
            check: service.check.clone(),
            servers: Vec::new(),
            sources: [(service.place.clone(), service.written.clone())].into(),
            delete: (*front.delete).clone(),
            remarks: service.remarks.clone(),
        };
        draft.scheduler();
        let mut seen = BTreeSet::new();
        for server in &service.servers {
            draft.server(server, front, &mut seen);
        }
        if let Some((host, port)) = &service.sorry {
            draft.sorry_server(host, *port, front);
        }
        draft
    }

    fn scheduler(&mut self) {
        if SCHEDULERS.contains(&self.scheduler.as_str()) {
            return;
        }
        self.remarks.guess(format!("Linux has no scheduler `{}`; wlc is taken.", shown(&self.scheduler)));
        self.scheduler = "wlc".to_owned();
    }

    fn server(&mut self, server: &Server, front: &Front, seen: &mut BTreeSet<IpAddr>) {
        let host = &server.host;
        let address = match host {
            Host::Address(address) => *address,
            Host::Name(name) => {
                let what =
                    format!("the real server {name}: import looks no names up; add it by hand: `address: {name}`.");
                self.remarks.left_out(what);
                return;
            }
        };
        let twice = !seen.insert(address);
        let twice = twice.then(|| "it stands there twice; one entry per address".to_owned());
        if let Some(why) = self.unusable(address, server, front.vip).or(twice) {
            self.remarks.left_out(format!("the real server {host}: {why}."));
            return;
        }
        let mut remarks = server.remarks.clone();
        let mut port = server.port.filter(|port| *port != front.port);
        if let Some(other) = port.filter(|_| self.forwarding != ForwardingMethod::Nat) {
            let method = self.forwarding.name();
            remarks.left_out(format!(
                "port {other}: in {method} a server listens on the port of the VIP, {}.",
                front.port
            ));
            port = None;
        }
        let weight = server.weight.min(u32::from(u16::MAX));
        if weight != server.weight {
            remarks.guess(format!("the weight {} is more than Linux takes; {weight} is taken.", server.weight));
        }
        if weight == 0 {
            remarks.note("weight 0: it is drained, and gets no new sessions.");
        }
        self.servers.push(DraftServer {
            address,
            port,
            weight,
            max_sessions: server.max_sessions.filter(|sessions| *sessions > 0),
            name: server.name.clone(),
            remarks,
            machine: address,
        });
    }

    /// Why a server cannot be in the cluster.
    fn unusable(&self, address: IpAddr, server: &Server, vip: IpAddr) -> Option<String> {
        if address.is_loopback() {
            return Some(
                "the director itself; an FTP server there needs a network namespace of its own (/usr/share/doc/ftpdirector/examples/SERVERS.md, On a director)"
                    .to_owned(),
            );
        }
        if let Some(sort) = unfit(address) {
            return Some(format!("it is {sort} address"));
        }
        if address == vip {
            return Some(
                "it is the VIP; an entry needs the server's own address (/usr/share/doc/ftpdirector/examples/SERVERS.md, On a director)".to_owned(),
            );
        }
        if address.is_ipv6() != vip.is_ipv6() {
            return Some("a server is of the family of its VIP".to_owned());
        }
        if server.forwarding != self.forwarding {
            let (own, all) = (server.forwarding.name(), self.forwarding.name());
            return Some(format!("it was reached by {own}; a cluster has one method, here {all}"));
        }
        None
    }

    fn sorry_server(&mut self, host: &Host, port: Option<u16>, front: &Front) {
        if let Some(web @ (80 | 443)) = port {
            self.remarks.left_out(format!("the sorry server {host}: port {web} is no FTP."));
            return;
        }
        let usable = host.address().filter(|address| {
            unfit(*address).is_none()
                && !self.vips.contains(address)
                && address.is_ipv6() == front.vip.is_ipv6()
                && self.servers.iter().all(|server| server.address != *address)
        });
        let Some(address) = usable else {
            let what = match host {
                Host::Address(address) if address.is_loopback() => "on the director itself it cannot be reached",
                _ => "it has to be an address of the family of the VIP, and that of no server and no VIP",
            };
            self.remarks.left_out(format!("the sorry server {host}: {what}."));
            return;
        };
        if self.check.kind == CheckKind::Off {
            self.remarks.left_out(format!("the sorry server {host}: without health checks no server is ever down."));
            return;
        }
        let own = port.filter(|port| *port != front.port && *port != 0);
        if let Some(other) = own.filter(|_| self.forwarding != ForwardingMethod::Nat) {
            let method = self.forwarding.name();
            self.remarks.left_out(format!("port {other} of the sorry server: {method} cannot change the port."));
        }
        self.sorry = Some((address, own.filter(|_| self.forwarding == ForwardingMethod::Nat)));
    }
}

/// Whether our file accepts the name of an interface.
fn is_interface(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':');
    (1..=15).contains(&name.len()) && name.chars().all(allowed) && name != "." && name != ".."
}

/// The method of most servers, the first one's if others are as many.
fn forwarding(servers: &[Server]) -> ForwardingMethod {
    let count = |method| servers.iter().filter(|server| server.forwarding == method).count();
    let first = servers.first().map_or(ForwardingMethod::Nat, |server| server.forwarding);
    let methods = ForwardingMethod::NAMED.map(|(_, method)| method);
    methods.into_iter().find(|method| count(*method) > count(first)).unwrap_or(first)
}
