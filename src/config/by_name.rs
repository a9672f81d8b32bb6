//! Real servers that stand in the file by the name of a host: which names are to be looked up, and what their addresses make of
//! the file.
//!
//! Pure: what was looked up comes in as [`Answers`]. Whoever answers is a stranger, see [`ByName::refused`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::model::{Cluster, Config, RealServer};
use super::value::unfit;
use crate::lvs::is_ipv6;

/// A name, and the family of the address that is wanted of it: that of the cluster's VIPs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    /// As the file has it, in small letters.
    pub name: String,
    /// Whether IPv6 addresses are wanted; else IPv4 ones.
    pub ipv6: bool,
}

/// What the look-ups found: the addresses of a name, or why there are none. What is not in it was not looked up yet.
pub type Answers = BTreeMap<Host, Result<Vec<IpAddr>, String>>;

/// The servers that a file has by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ByName {
    /// In file order.
    servers: Vec<Named>,
}

/// A server without its address.
#[derive(Clone, Debug, PartialEq)]
struct Named {
    /// Position of its cluster in the file.
    cluster: usize,
    /// Its position in its cluster, counted with all others.
    position: usize,
    host: Host,
    /// Its address stands for the name, and is nobody's: see [`stand_in`].
    server: RealServer,
}

/// What decides, beside the answers, which address of a name is used.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// What the look-ups found.
    pub answers: &'a Answers,
    /// The configuration that stands: a server keeps its address while its name has it, and while there is no answer.
    pub standing: Option<&'a Config>,
    /// Addresses that sessions go to already: of several, one of these is taken.
    pub served: &'a BTreeSet<IpAddr>,
    /// Those among the answers that are addresses of this machine.
    pub own: &'a BTreeSet<IpAddr>,
}

/// A file with the addresses of its names.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedFile {
    /// What the file says; servers without an address are left out, as if they did not stand in it.
    pub config: Config,
    /// Every server that the file has by name, in file order.
    pub servers: Vec<ServerByName>,
}

/// What became of a server that the file has by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerByName {
    /// Name of its cluster.
    pub cluster: String,
    /// Name of the server.
    pub server: String,
    /// The name that is looked up.
    pub host: Host,
    /// The address in use; `None`: the server is left out.
    pub address: Option<IpAddr>,
    /// How many addresses of the name could be used.
    pub usable: usize,
    /// Why the last look-up gave no address that can be used; `None`: it gave the one in use.
    pub trouble: Option<String>,
}

impl ServerByName {
    /// What is wrong with the name, for who reads the file; `None`: nothing.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let Self { cluster, server, host, trouble, .. } = self;
        Some(format!("{cluster}/{server}: {} has no usable address: {}", host.name, trouble.as_ref()?))
    }
}

/// Gives each name of the file an address that no server may have (see [`unfit`]), so that what must hold between keys can be
/// checked before names are looked up: the same one to the same name.
pub(super) fn stand_in(clusters: &mut [Cluster]) {
    let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
    for cluster in clusters {
        let ipv6 = only_ipv6(cluster);
        for server in &mut cluster.real_servers {
            let Some(host) = &server.host else { continue };
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            let number = *numbers.entry(bare(host).to_owned()).or_insert(next);
            server.address = if ipv6 {
                Ipv6Addr::from(0xfe80_u128 << 112 | u128::from(number)).into()
            } else {
                Ipv4Addr::from(0xf000_0000 | number & 0x0fff_ffff).into()
            };
        }
    }
}

/// A name without the dot at its end.
fn bare(host: &str) -> &str {
    host.trim_end_matches('.')
}

fn only_ipv6(cluster: &Cluster) -> bool {
    !cluster.vips.is_empty() && cluster.vips.iter().all(|vip| is_ipv6(*vip))
}

/// Takes the servers by name out of a file that was checked.
pub(super) fn take(config: &mut Config) -> ByName {
    let mut servers = Vec::new();
    for (cluster, of) in config.clusters.iter_mut().enumerate() {
        for (position, server) in std::mem::take(&mut of.real_servers).into_iter().enumerate() {
            match server.host.clone() {
                Some(name) => {
                    let host = Host { name, ipv6: is_ipv6(server.address) };
                    servers.push(Named { cluster, position, host, server });
                }
                None => of.real_servers.push(server),
            }
        }
    }
    ByName { servers }
}

impl ByName {
    /// The names that are to be looked up, each once.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<Host> {
        self.servers.iter().map(|named| named.host.clone()).collect()
    }

    /// `config`, the same file's, with every server in its place. The addresses of those by name are nobody's: this is to be
    /// shown or compared.
    #[must_use]
    pub fn whole(&self, config: &Config) -> Config {
        let all: Vec<_> = self.servers.iter().map(|named| Some(named.server.address)).collect();
        self.filled(config, &all)
    }

    /// `config`, the same file's, with the servers whose names have an address that can be used.
    #[must_use]
    pub fn resolve(&self, config: &Config, ground: &Ground<'_>) -> ResolvedFile {
        let last = self.last(config, ground);
        let usable: Vec<_> = self.servers.iter().map(|named| usable(named, config, ground)).collect();
        let mut chosen =
            Chosen { addresses: vec![None; self.servers.len()], taken: vec![BTreeMap::new(); config.clusters.len()] };
        let each = || self.servers.iter().zip(&usable).enumerate();
        // What is in use stays in use, whatever else a name has, and while it has nothing.
        for (at, (named, usable)) in each() {
            let stays = last[at].filter(|last| usable.as_ref().map_or(true, |usable| usable.contains(last)));
            chosen.take(at, named, stays);
        }
        for (at, (named, usable)) in each() {
            let usable = usable.as_deref().unwrap_or_default();
            let served = usable.iter().filter(|address| ground.served.contains(address));
            let free = served.chain(usable).find(|address| chosen.is_free(named, **address));
            chosen.take(at, named, free.copied());
        }
        for (at, (named, _)) in each() {
            chosen.take(at, named, last[at]);
        }
        let told = each().map(|(at, (named, usable))| chosen.told(at, named, usable, config)).collect();
        ResolvedFile { config: self.filled(config, &chosen.addresses), servers: told }
    }

    /// The addresses in use, as far as they could be given today. No cluster has a name twice.
    fn last(&self, config: &Config, ground: &Ground<'_>) -> Vec<Option<IpAddr>> {
        let clusters = ground.standing.iter().flat_map(|standing| &standing.clusters);
        let servers = clusters.flat_map(|cluster| cluster.real_servers.iter().map(move |server| (cluster, server)));
        let standing: BTreeMap<(&str, &str), IpAddr> = servers
            .filter_map(|(cluster, server)| {
                Some(((cluster.name.as_str(), bare(server.host.as_ref()?)), server.address))
            })
            .collect();
        let last = |named: &Named| {
            let cluster = config.clusters.get(named.cluster)?;
            let last = *standing.get(&(cluster.name.as_str(), bare(&named.host.name)))?;
            let fits = is_ipv6(last) == named.host.ipv6 && refused(last, cluster, config, &BTreeSet::new()).is_none();
            fits.then_some(last)
        };
        self.servers.iter().map(last).collect()
    }

    /// `config` with the servers that have an address, each in its place.
    fn filled(&self, config: &Config, addresses: &[Option<IpAddr>]) -> Config {
        let mut config = config.clone();
        let mut named = self.servers.iter().zip(addresses).peekable();
        for (number, cluster) in config.clusters.iter_mut().enumerate() {
            let mut others = std::mem::take(&mut cluster.real_servers).into_iter();
            for position in 0.. {
                let here = |(named, _): &(&Named, _)| named.cluster == number && named.position == position;
                if let Some((named, address)) = named.next_if(here) {
                    let server = address.map(|address| RealServer { address, ..named.server.clone() });
                    cluster.real_servers.extend(server);
                } else if let Some(other) = others.next() {
                    cluster.real_servers.push(other);
                } else {
                    break;
                }
            }
        }
        config
    }
}

/// The addresses of a name that can be used, the lowest first: their order in an answer means nothing.
fn usable(named: &Named, config: &Config, ground: &Ground<'_>) -> Result<Vec<IpAddr>, String> {
    let Some(answer) = ground.answers.get(&named.host) else { return Err("it was not looked up yet".to_owned()) };
    let Some(cluster) = config.clusters.get(named.cluster) else { return Ok(Vec::new()) };
    let (mut usable, mut why) = (BTreeSet::new(), None);
    for &address in answer.as_ref().map_err(String::clone)? {
        if is_ipv6(address) != named.host.ipv6 {
            continue;
        }
        match refused(address, cluster, config, ground.own) {
            None => {
                usable.insert(address);
            }
            Some(reason) => {
                why.get_or_insert(reason);
            }
        }
    }
    if !usable.is_empty() {
        return Ok(usable.into_iter().collect());
    }
    Err(why.unwrap_or_else(|| format!("no {} address", if named.host.ipv6 { "IPv6" } else { "IPv4" })))
}

/// Why a server of this cluster cannot have that address, whoever says so.
fn refused(address: IpAddr, cluster: &Cluster, config: &Config, own: &BTreeSet<IpAddr>) -> Option<String> {
    if let Some(sort) = unfit(address) {
        return Some(format!("{address} is {sort} address"));
    }
    if config.clusters.iter().any(|cluster| cluster.vips.contains(&address)) {
        return Some(format!("{address} is a VIP"));
    }
    if own.contains(&address) {
        return Some(format!("{address} is an address of this machine"));
    }
    if cluster.sorry_server.is_some_and(|sorry| sorry.address == address) {
        return Some(format!("{address} is the address of the sorry server"));
    }
    let other = cluster.real_servers.iter().find(|other| other.address == address)?;
    Some(format!("{address} is the address of the server {}", other.name))
}

/// The addresses that were given to names so far.
struct Chosen {
    /// Of each server by name.
    addresses: Vec<Option<IpAddr>>,
    /// Of each cluster: who has which.
    taken: Vec<BTreeMap<IpAddr, String>>,
}

impl Chosen {
    fn is_free(&self, named: &Named, address: IpAddr) -> bool {
        self.taken.get(named.cluster).is_some_and(|taken| !taken.contains_key(&address))
    }

    /// Gives a server without an address this one, if it is free.
    fn take(&mut self, at: usize, named: &Named, address: Option<IpAddr>) {
        let Some(address) = address.filter(|address| self.is_free(named, *address)) else { return };
        if let (Some(slot @ None), Some(taken)) = (self.addresses.get_mut(at), self.taken.get_mut(named.cluster)) {
            *slot = Some(address);
            taken.insert(address, named.server.name.clone());
        }
    }

    fn told(&self, at: usize, named: &Named, usable: &Result<Vec<IpAddr>, String>, config: &Config) -> ServerByName {
        let address = self.addresses.get(at).copied().flatten();
        let trouble = match usable {
            Err(why) => Some(why.clone()),
            Ok(usable) if address.is_some_and(|address| usable.contains(&address)) => None,
            Ok(usable) => usable.first().and_then(|first| {
                let holder = self.taken.get(named.cluster)?.get(first)?;
                Some(format!("{first} is the address of the server {holder}"))
            }),
        };
        ServerByName {
            cluster: config.clusters.get(named.cluster).map(|cluster| cluster.name.clone()).unwrap_or_default(),
            server: named.server.name.clone(),
            host: named.host.clone(),
            address,
            usable: usable.as_ref().map_or(0, Vec::len),
            trouble,
        }
    }
}

#[cfg(test)]
mod tests;
