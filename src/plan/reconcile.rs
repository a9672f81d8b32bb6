//! What a configuration asks of the kernel as it was seen: what is in the way, and what would change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::availability::Availability;
use super::desired;
use super::exchange::{self, StaticElements};
use super::mark_index::{self, Former, Indexes, TooMany};
use super::quiescing::Notes;
use crate::config::{Cluster, Config};
use crate::lvs::{ForwardingMethod, ServiceKey, Timeouts, serves};
use crate::state::{Change, LocalAddress, Rules, State, diff};

/// The kernel and the machine, as they were seen at one look.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// The rows of ours that are in the kernel.
    pub actual: &'a State,
    /// What is known of table `inet ftpdirector`.
    pub table: SeenTable,
    /// `VIP:PORT` of IPVS's services that we did not make.
    pub others: &'a [SocketAddr],
    /// TCP sockets that listen; one that listens on every address stands as `0.0.0.0` or `::`.
    pub listening: Vec<SocketAddr>,
    /// The ports of `ip_vs_ftp`; empty where it is not loaded.
    pub helper: Vec<u16>,
    /// IPVS's timeouts in force.
    pub timeouts: Timeouts,
    /// The interfaces of `vip_interface` that exist, with all their addresses, whoever added them.
    pub interfaces: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Whether the kernel keeps who added an address; it matters with `vip_interface` only.
    pub keeps_who_added: bool,
    /// What is in force; `None` at a start.
    pub former: Option<Former<'a>>,
}

/// Our nftables table, as far as it decides whether it is to be written.
#[derive(Clone, Debug, Default)]
pub struct SeenTable {
    /// Whether the table is there.
    pub there: bool,
    /// The numbers in the set `version`: of the rules' text, and of what the kernel made of it.
    pub versions: BTreeSet<u32>,
    /// The fingerprint of its rules; `None` while the ruleset changes too fast to be listed.
    pub fingerprint: Option<u32>,
    /// The rules are ours, and `version` does not say so yet.
    pub unstamped: bool,
    /// The names of its sets, also of those that we do not declare; empty while they cannot be listed.
    pub sets: Vec<String>,
}

/// How our rules stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableState {
    /// As they were written, or they cannot be listed at present.
    Right,
    /// There is no table.
    Gone,
    /// The rules of another configuration or version stand.
    OtherVersion,
    /// Another program has changed them.
    Edited,
}

impl TableState {
    /// What is wrong, where no more is known; `None`: nothing.
    const fn words(self) -> Option<&'static str> {
        match self {
            Self::Right => None,
            Self::Gone => Some("the table is gone"),
            Self::OtherVersion => Some("the table is of another version"),
            Self::Edited => Some("the rules were changed"),
        }
    }
}

impl SeenTable {
    /// How rules of this version stand.
    #[must_use]
    pub fn state(&self, version: u32) -> TableState {
        if !self.there {
            return TableState::Gone;
        }
        if !self.versions.contains(&version) {
            return TableState::OtherVersion;
        }
        match self.fingerprint {
            Some(fingerprint) if !self.unstamped && self.versions != BTreeSet::from([version, fingerprint]) => {
                TableState::Edited
            }
            _ => TableState::Right,
        }
    }
}

/// Another program holds what we need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What we would do.
    pub tried: String,
    /// Who or what is in the way.
    pub holder: String,
    /// How to get it out of the way.
    pub cure: String,
}

/// Why a configuration cannot be put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// There are not marks enough.
    TooMany(TooMany),
    /// Everything that is in the way.
    By(Vec<Obstacle>),
}

/// What a configuration asks of this kernel.
#[derive(Debug)]
pub struct Plan {
    /// Which (cluster, VIP, server) has which index.
    pub indexes: Indexes,
    /// The configuration with what quiesces: the indexes speak of this one.
    pub config: Config,
    /// What a person should know before the plan is carried out.
    pub notes: Notes,
    /// How our rules stand.
    pub table: TableState,
    /// The rules, when others (or none) stand in the kernel.
    pub rules: Option<String>,
    /// How those that stand differ from ours, in words.
    pub edited: Vec<String>,
    /// Services, real servers and elements, in the order in which they are to be changed.
    pub changes: Vec<Change>,
    /// IPVS's timeouts, where the configuration wants others: `ipvsadm --set`.
    pub timeouts: Option<Timeouts>,
    /// Services of others at our VIPs: IPVS's, and sockets that listen.
    pub services: Vec<SocketAddr>,
    /// Interfaces of `vip_interface` that do not exist: their VIPs are not among the changes.
    pub absent: Vec<LocalAddress>,
    /// The services that should stand.
    pub wanted: BTreeSet<ServiceKey>,
    /// What the rules are made of, for when the kernel refuses them because a set stands that is declared otherwise.
    pub ours: Option<(Rules, StaticElements)>,
    /// Services and real servers that go when their last connection is gone: their deletion is no drift.
    pub quiescing: BTreeSet<(ServiceKey, SocketAddr)>,
}

impl Plan {
    /// What `config`, with what quiesces, asks of the kernel that was seen. Its notes are empty.
    ///
    /// # Errors
    /// Everything that is in the way.
    pub fn new(config: &Config, availability: &Availability, seen: &Seen<'_>) -> Result<Self, Blocked> {
        let marks = mark_index::marks(config);
        let indexes = mark_index::assign_after(config, marks, seen.actual, seen.former).map_err(Blocked::TooMany)?;
        let mut desired = desired::rows(config, &indexes, availability);
        let mut obstacles = foreign(&desired, seen.others);
        obstacles.extend(helper(config, &seen.helper));
        obstacles.extend(nameless(&desired, seen.keeps_who_added));
        if !obstacles.is_empty() {
            return Err(Blocked::By(obstacles));
        }
        let absent = seen.addresses(&mut desired);
        let ours = desired::rules(config, &indexes);
        let table = seen.table.state(ours.version().0);
        let same = table == TableState::Right;
        let around = exchange::around(&seen.table.sets, &desired.elements);
        let mut changes = diff(seen.actual, &desired);
        changes.retain(|change| same || !around.fills(change));
        let wanted_timeouts = config.kernel.timeouts.filter(|wanted| *wanted != seen.timeouts);
        Ok(Self {
            config: config.clone(),
            indexes,
            notes: Notes::default(),
            table,
            rules: (!same).then(|| ours.exchange(&around.exchange)),
            edited: table.words().map(str::to_owned).into_iter().collect(),
            changes,
            timeouts: wanted_timeouts,
            services: services(config, seen),
            absent,
            wanted: desired.services.keys().copied().collect(),
            quiescing: quiescing(seen.actual, &desired),
            ours: (!same).then_some((ours, desired.elements)),
        })
    }

    /// Whether the dynamic rows are gone, with the table.
    #[must_use]
    pub fn flushed(&self) -> bool {
        self.table == TableState::Gone
    }

    /// Whether this is a NAT server: it may call clients from any port. A connection of its own that is not translated, and was not
    /// answered, loses nothing with its entry: its next SYN makes another.
    #[must_use]
    pub fn calls(&self, source: IpAddr) -> bool {
        let mut nat = self.config.clusters.iter().filter(|cluster| cluster.forwarding == ForwardingMethod::Nat);
        nat.any(|cluster| cluster.real_servers.iter().any(|server| server.address == source))
    }

    /// Every change in ipvsadm and nft words, without the rules.
    pub fn words(&self) -> impl Iterator<Item = String> {
        let timeouts = self.timeouts.as_ref().map(|Timeouts { tcp, tcp_fin, udp }| {
            format!("ipvsadm --set {} {} {}", tcp.as_secs(), tcp_fin.as_secs(), udp.as_secs())
        });
        timeouts.into_iter().chain(self.changes.iter().map(ToString::to_string))
    }

    /// Whether nothing would change.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_none() && self.timeouts.is_none() && self.changes.is_empty()
    }
}

impl Seen<'_> {
    /// Takes out of `desired` the VIPs that another program has added, and those whose interface does not exist; returns
    /// these.
    fn addresses(&self, desired: &mut State) -> Vec<LocalAddress> {
        let mut absent = Vec::new();
        let actual = &self.actual.addresses;
        desired.addresses.retain(|wanted| {
            let Some(there) = self.interfaces.get(&wanted.interface) else {
                absent.push(wanted.clone());
                return false;
            };
            !there.contains(&wanted.address) || actual.contains(wanted)
        });
        absent
    }
}

/// What stands and is not wanted.
fn quiescing(actual: &State, desired: &State) -> BTreeSet<(ServiceKey, SocketAddr)> {
    let destinations =
        actual.services.iter().flat_map(|(key, service)| service.destinations.keys().map(move |to| (*key, *to)));
    let wanted = |key: &ServiceKey, to: &SocketAddr| {
        desired.services.get(key).is_some_and(|service| service.destinations.contains_key(to))
    };
    destinations.filter(|(key, to)| !wanted(key, to)).collect()
}

/// What else takes connections at our VIPs.
fn services(config: &Config, seen: &Seen<'_>) -> Vec<SocketAddr> {
    let vips: BTreeSet<_> = config.clusters.iter().flat_map(|cluster| &cluster.vips).copied().collect();
    let all = seen.others.iter().chain(&seen.listening).copied();
    let ours: BTreeSet<_> = all.filter(|&at| vips.iter().any(|&vip| serves(at, vip))).collect();
    ours.into_iter().collect()
}

/// Address services at our VIPs and ports that we did not make.
fn foreign(desired: &State, others: &[SocketAddr]) -> Vec<Obstacle> {
    let at_ours = others.iter().filter(|&&address| desired.services.contains_key(&ServiceKey::Tcp(address)));
    let conflict = |address| Obstacle {
        tried: format!("ipvsadm -A -t {address}"),
        holder: "a virtual service exists that ftpdirector did not create".into(),
        cure: format!(
            "remove it (ipvsadm -D -t {address}, or the virtual_server from keepalived.conf) and start again"
        ),
    };
    at_ours.map(conflict).collect()
}

/// `ip_vs_ftp` would read and rewrite the same connections.
fn helper(config: &Config, bound: &[u16]) -> Vec<Obstacle> {
    let ours = config.clusters.iter().flat_map(|cluster| cluster.ports.iter().map(move |port| (cluster, port)));
    let both = ours.filter(|(_, port)| bound.contains(port));
    let conflict = |(cluster, port): (&Cluster, &u16)| {
        Obstacle {
        tried: format!("cluster {}, port {port}", cluster.name),
        holder: "the kernel helper ip_vs_ftp is bound to this port and would rewrite control connections too".into(),
        cure:
            "modprobe -r ip_vs_ftp, and keep it from being loaded: echo blacklist ip_vs_ftp > /etc/modprobe.d/ip_vs_ftp.conf"
                .into(),
    }
    };
    both.map(conflict).collect()
}

/// VIPs that we would add, and not know again.
fn nameless(desired: &State, keeps_who_added: bool) -> Vec<Obstacle> {
    if keeps_who_added {
        return Vec::new();
    }
    let obstacle = |wanted: &LocalAddress| Obstacle {
        tried: Change::AddAddress(wanted.clone()).to_string(),
        holder: "this kernel does not keep who added an address (IFA_PROTO, Linux 5.18)".into(),
        cure: "leave out `vip_interface`, and let keepalived or the configuration of the network add the VIP".into(),
    };
    desired.addresses.iter().map(obstacle).collect()
}

/// Real servers and sorry servers at one of this machine's `addresses`: IPVS leaves their packets to the local stack, where
/// nobody can tell them from those that IPVS did not take.
#[must_use]
pub fn own_servers(config: &Config, addresses: &BTreeSet<IpAddr>) -> Vec<Obstacle> {
    let mut own = BTreeMap::new();
    for cluster in &config.clusters {
        let servers = cluster.real_servers.iter().map(|server| server.address);
        for address in servers.chain(cluster.sorry_server.map(|sorry| sorry.address)) {
            if addresses.contains(&address) {
                own.entry(address).or_insert(&cluster.name);
            }
        }
    }
    let obstacle = |(address, cluster): (IpAddr, &String)| Obstacle {
        tried: format!("cluster {cluster}, server {address}"),
        holder: "this is an address of this machine, and what IPVS gives to the machine itself cannot be read".into(),
        cure: format!("let the FTP server run on another machine, or here {NAMESPACE}"),
    };
    own.into_iter().map(obstacle).collect()
}

/// Where a director's own FTP server belongs.
pub const NAMESPACE: &str = "in a network namespace of its own, at an address of its own (/usr/share/doc/ftpdirector/examples/SERVERS.md, \"On a director\")";

#[cfg(test)]
mod tests;
