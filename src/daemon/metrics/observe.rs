//! The kernel's counters: where data connections really went, and IPVS's own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::config::Config;
use crate::daemon::metrics::owners::{Owner, Owners, SessionPart};
use crate::daemon::metrics::tally::Tally;
use crate::daemon::metrics::{KernelCounters, Limited, ServerCounters};
use crate::kernel::ipvs::{Ipvs, ListedService};
use crate::kernel::nftables::Elements;
use crate::kernel::{Errno, KernelError, queue, read_state};
use crate::lvs::{ServiceKey, Traffic};
use crate::plan::availability::ServerName;
use crate::plan::mark_index;
use crate::plan::mark_index::Indexes;
use crate::state::FULL;
use crate::state::sets::{Family, Key, Name, Set, Value};

/// Reads the counters in the elements of `landed`, `misdirected` and `unexpected`, those of IPVS and those of the queue,
/// and keeps them from going back. There is one observer for the whole daemon, so that every answer has the same totals.
pub struct Observer {
    ipvs: Ipvs,
    elements: Elements,
    landed: Tally<Key, ServerName, 1>,
    misdirected: Tally<Key, ServerName, 1>,
    unexpected: Tally<Key, String, 1>,
    full: Tally<&'static str, &'static str, 1>,
    limited: Tally<(Name, Key), (String, &'static str), 1>,
    fragments: Tally<Key, String, 1>,
    syn_data: Tally<Key, String, 1>,
    traffic: Tally<(ServiceKey, SocketAddr), Owner, 5>,
    full_servers: BTreeSet<ServerName>,
}

/// What one look at the kernel showed.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Every service of IPVS, those of other programs included.
    pub services: Vec<ListedService>,
    /// The kernel's counters, kept from going back.
    pub counters: KernelCounters,
}

impl Observer {
    /// Opens the netlink sockets.
    ///
    /// # Errors
    /// When the kernel lacks IPVS or nf_tables.
    pub fn connect() -> Result<Self, KernelError> {
        Ok(Self {
            ipvs: Ipvs::connect()?,
            elements: Elements::connect()?,
            landed: Tally::default(),
            misdirected: Tally::default(),
            unexpected: Tally::default(),
            full: Tally::default(),
            limited: Tally::default(),
            fragments: Tally::default(),
            syn_data: Tally::default(),
            traffic: Tally::default(),
            full_servers: BTreeSet::new(),
        })
    }

    /// Reads the services and the counters.
    ///
    /// # Errors
    /// When the kernel refuses to list.
    pub fn look(&mut self, config: &Config, indexes: &Indexes) -> Result<Observed, KernelError> {
        let services = self.ipvs.services()?;
        self.follow_services(config, indexes, &services);
        self.follow_landings(config, indexes)?;
        let unexpected = self.follow_unexpected(config, indexes)?;
        let limited = self.follow_limited(config, indexes)?;
        let fragments = self.follow_fragments(config, indexes)?;
        let syn_data = self.follow_syn_data(config, indexes)?;
        let queue_dropped = queue::stats(config.kernel.queue)
            .map_or(0, |stats| u64::from(stats.queue_dropped) + u64::from(stats.user_dropped));
        let servers = servers(config).into_iter().map(|name| self.server(name)).collect();
        let doors_full = self.follow_full()?;
        let counters = KernelCounters { servers, unexpected, limited, fragments, syn_data, queue_dropped, doors_full };
        Ok(Observed { services, counters })
    }

    fn server(&self, name: ServerName) -> ServerCounters {
        let traffic = |connection| {
            let [connections, packets_in, packets_out, bytes_in, bytes_out] =
                self.traffic.of(&(name.clone(), connection));
            Traffic { connections, packets_in, packets_out, bytes_in, bytes_out }
        };
        let ([landed], [misdirected]) = (self.landed.of(&name), self.misdirected.of(&name));
        let [control, data] = SessionPart::ALL.map(traffic);
        let full = self.full_servers.contains(&name);
        ServerCounters { cluster: name.0, server: name.1, landed, misdirected, full, control, data }
    }

    fn follow_services(&mut self, config: &Config, indexes: &Indexes, services: &[ListedService]) {
        let owners = Owners::of(config, indexes);
        self.traffic.follow(owners.among(services).map(|(key, to, owner)| {
            let Traffic { connections, packets_in, packets_out, bytes_in, bytes_out } = to.traffic;
            let counts = [connections, packets_in, packets_out, bytes_in, bytes_out];
            ((key, to.destination.address), owner.clone(), counts)
        }));
        let full = owners.among(services).filter(|(_, to, _)| to.is_full());
        self.full_servers = full.map(|(_, _, (name, _))| name.clone()).collect();
        let wanted = servers(config);
        self.traffic.retain(|(name, _)| wanted.contains(name));
    }

    fn follow_full(&mut self) -> Result<u64, KernelError> {
        let named = match self.elements.counters() {
            Err(error) if error.errno() == Some(Errno::ENOENT) => Vec::new(),
            named => named?,
        };
        let full = named.iter().find(|counter| counter.name == FULL);
        self.full.follow(full.map(|counter| (FULL, FULL, [counter.packets])));
        let [full] = self.full.of(&FULL);
        Ok(full)
    }

    fn follow_landings(&mut self, config: &Config, indexes: &Indexes) -> Result<(), KernelError> {
        let mut landed = packets(&mut self.elements, Set { name: Name::Landed, family: Family::V4 })?;
        landed.extend(packets(&mut self.elements, Set { name: Name::Landed, family: Family::V6 })?);
        let misdirected = packets(&mut self.elements, Set::once(Name::Misdirected))?;
        let marks = mark_index::marks(config);
        for placement in &indexes.placements {
            let Some((cluster, server)) = config.at(placement) else { continue };
            let name = (cluster.name.clone(), server.name.clone());
            let data = Value::Mark(marks.data(placement.index));
            let went = |counted: &BTreeMap<Key, u64>, key: Key| counted.get(&key).map(|&count| (key, [count]));
            let here = went(&landed, vec![data, Value::Address(placement.address)]);
            self.landed.follow(here.map(|(key, count)| (key, name.clone(), count)));
            let elsewhere = went(&misdirected, vec![data]);
            self.misdirected.follow(elsewhere.map(|(key, count)| (key, name.clone(), count)));
        }
        let wanted = servers(config);
        self.landed.retain(|name| wanted.contains(name));
        self.misdirected.retain(|name| wanted.contains(name));
        Ok(())
    }

    fn follow_unexpected(&mut self, config: &Config, indexes: &Indexes) -> Result<Vec<(String, u64)>, KernelError> {
        let counted = packets(&mut self.elements, Set::once(Name::Unexpected))?;
        Ok(by_cluster(&mut self.unexpected, &counted, config, indexes))
    }

    fn follow_fragments(&mut self, config: &Config, indexes: &Indexes) -> Result<Vec<(String, u64)>, KernelError> {
        let counted = packets(&mut self.elements, Set::once(Name::Fragments))?;
        Ok(by_cluster(&mut self.fragments, &counted, config, indexes))
    }

    fn follow_syn_data(&mut self, config: &Config, indexes: &Indexes) -> Result<Vec<(String, u64)>, KernelError> {
        let counted = packets(&mut self.elements, Set::once(Name::SynData))?;
        Ok(by_cluster(&mut self.syn_data, &counted, config, indexes))
    }

    /// What the token buckets dropped, or had no place for: control packets by the server's mark, replies by its address and
    /// port, SYNs by the tag.
    fn follow_limited(&mut self, config: &Config, indexes: &Indexes) -> Result<Vec<Limited>, KernelError> {
        let marks = mark_index::marks(config);
        for (name, limit) in BUCKETS {
            let sets = Set::all().filter(|set| set.name == name);
            let mut counted = BTreeMap::new();
            for set in sets {
                counted.extend(packets(&mut self.elements, set)?);
            }
            for placement in &indexes.placements {
                let Some((cluster, server)) = config.at(placement) else { continue };
                let mark = vec![Value::Mark(marks.control(placement.index))];
                let ports = cluster.ports.iter().map(|&port| Value::Port(server.port.unwrap_or(port)));
                let keys = ports.map(|port| vec![Value::Address(server.address), port]).chain([mark]);
                let rows = keys.filter_map(|key| {
                    let count = *counted.get(&key)?;
                    Some(((name, key), (cluster.name.clone(), limit), [count]))
                });
                self.limited.follow(rows);
            }
            for (cluster, key) in tags(config, indexes) {
                let row = counted.get(&key).map(|&count| ((name, key), (cluster.to_owned(), limit), [count]));
                self.limited.follow(row);
            }
        }
        let known = |(name, _): &(String, &str)| config.clusters.iter().any(|cluster| cluster.name == *name);
        self.limited.retain(known);
        let of = |cluster: &str, limit| {
            let [count] = self.limited.of(&(cluster.to_owned(), limit));
            (cluster.to_owned(), limit, count)
        };
        let limits = ["connection_packets", "client_packets", "client_connections", "full"];
        let clusters = config.clusters.iter().map(|cluster| cluster.name.as_str());
        Ok(clusters.flat_map(|cluster| limits.map(|limit| of(cluster, limit))).collect())
    }
}

/// The sets that count what was over a limit, or passed because there was no place to count it.
const BUCKETS: [(Name, &str); 6] = [
    (Name::OverConnection, "connection_packets"),
    (Name::OverReplies, "connection_packets"),
    (Name::OverClient, "client_packets"),
    (Name::OverClientReplies, "client_packets"),
    (Name::OverConnections, "client_connections"),
    (Name::BucketsFull, "full"),
];

/// Each cluster's name with the key of each of its tags.
fn tags<'a>(config: &'a Config, indexes: &'a Indexes) -> impl Iterator<Item = (&'a str, Key)> {
    let marks = mark_index::marks(config);
    config.clusters.iter().flat_map(move |cluster| {
        let key = move |place| Some(vec![Value::Mark(marks.tag(*indexes.tags.get(&place)?))]);
        cluster.places().filter_map(key).map(|key| (cluster.name.as_str(), key))
    })
}

/// What is counted by tag, by cluster.
fn by_cluster(
    tally: &mut Tally<Key, String, 1>,
    counted: &BTreeMap<Key, u64>,
    config: &Config,
    indexes: &Indexes,
) -> Vec<(String, u64)> {
    let rows = |(cluster, key): (&str, Key)| counted.get(&key).map(|&count| (key, cluster.to_owned(), [count]));
    tally.follow(tags(config, indexes).filter_map(rows));
    tally.retain(|name| config.clusters.iter().any(|cluster| cluster.name == *name));
    let of = |name: &String| {
        let [count] = tally.of(name);
        (name.clone(), count)
    };
    config.clusters.iter().map(|cluster| of(&cluster.name)).collect()
}

/// Every server of a configuration.
fn servers(config: &Config) -> BTreeSet<ServerName> {
    let of_cluster = |cluster: &crate::config::Cluster| {
        let name = cluster.name.clone();
        let servers = cluster.real_servers.iter().map(move |server| (name.clone(), server.name.clone()));
        servers.collect::<Vec<_>>()
    };
    config.clusters.iter().flat_map(of_cluster).collect()
}

fn packets(elements: &mut Elements, set: Set) -> Result<BTreeMap<Key, u64>, KernelError> {
    let dumped = match elements.dump(set.text()) {
        // Another program has flushed the ruleset this very second: what was counted is gone.
        Err(error) if error.errno() == Some(Errno::ENOENT) => Vec::new(),
        dumped => dumped?,
    };
    Ok(dumped.iter().filter_map(|element| Some((read_state::row(set, element)?.0, element.packets))).collect())
}
