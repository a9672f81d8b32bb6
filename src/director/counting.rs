//! Counting by number: the packet thread looks nothing up by its name. Names are put to the numbers when they are shown.
//!
//! A cluster keeps its number as long as the process runs, and so does a server in its cluster: what leaves the configuration and
//! comes back goes on where it was.

use std::collections::BTreeMap;

use super::counters::{ClusterCounters, Durations, count};
use super::expectation::{Mode, Outcome};
use super::interface::ClusterSetup;
use super::under_way::TransferOutcome;
use crate::ftp::{BlindReason, Event, UnparsedReason, Verb};
use crate::steer::Placement;

/// The counters of every cluster that there ever was.
#[derive(Default)]
pub struct Counting {
    clusters: Vec<ClusterCounts>,
    /// The numbers of each cluster of the configuration in force, by its position.
    positions: Vec<Numbers>,
}

/// A cluster's number, and those of its servers, by their position.
struct Numbers {
    cluster: usize,
    servers: Vec<usize>,
}

/// What is counted of one cluster.
pub struct ClusterCounts {
    name: String,
    servers: Vec<ServerCounts>,
    commands: [u64; Verb::COUNT],
    expectations: [[u64; Outcome::ALL.len()]; Mode::ALL.len()],
    rewritten: u64,
    unparsed: [u64; UnparsedReason::ALL.len()],
    no_room: u64,
    blind: [u64; BlindReason::ALL.len()],
    limited: BTreeMap<&'static str, u64>,
    /// How long transfers took.
    pub transfer_seconds: Durations,
}

struct ServerCounts {
    name: String,
    connections: u64,
    transfers: BTreeMap<(Verb, Mode, TransferOutcome), u64>,
}

impl Counting {
    /// Takes the clusters of another configuration.
    pub fn configure(&mut self, setup: &[ClusterSetup]) {
        self.positions.clear();
        let mut clusters = numbers(self.clusters.iter().map(|cluster| &cluster.name));
        for ClusterSetup { name, servers, .. } in setup {
            let cluster = numbered(&mut self.clusters, &mut clusters, name, ClusterCounts::new);
            let Some(counts) = self.clusters.get_mut(cluster) else { continue };
            let mut known = numbers(counts.servers.iter().map(|server| &server.name));
            let number = |name: &String| numbered(&mut counts.servers, &mut known, name, ServerCounts::new);
            self.positions.push(Numbers { cluster, servers: servers.iter().map(number).collect() });
        }
    }

    /// The counters of the cluster at this position of the configuration.
    pub fn cluster(&mut self, position: usize) -> Option<&mut ClusterCounts> {
        self.clusters.get_mut(self.positions.get(position)?.cluster)
    }

    fn server(&mut self, placement: &Placement) -> Option<&mut ServerCounts> {
        let numbers = self.positions.get(placement.cluster)?;
        self.clusters.get_mut(numbers.cluster)?.servers.get_mut(*numbers.servers.get(placement.server)?)
    }

    /// A control connection was seen first.
    pub fn connection(&mut self, placement: &Placement) {
        if let Some(server) = self.server(placement) {
            add_one(Some(&mut server.connections));
        }
    }

    /// A transfer is over.
    pub fn transfer(&mut self, placement: &Placement, what: (Verb, Mode, TransferOutcome)) {
        if let Some(server) = self.server(placement) {
            count(&mut server.transfers, what);
        }
    }

    /// All counters, by the names of the clusters.
    #[must_use]
    pub fn shown(&self) -> BTreeMap<String, ClusterCounters> {
        self.clusters.iter().map(|cluster| (cluster.name.clone(), cluster.shown())).collect()
    }
}

impl ServerCounts {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), connections: 0, transfers: BTreeMap::new() }
    }
}

impl ClusterCounts {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            servers: Vec::new(),
            commands: [0; Verb::COUNT],
            expectations: [[0; Outcome::ALL.len()]; Mode::ALL.len()],
            rewritten: 0,
            unparsed: [0; UnparsedReason::ALL.len()],
            no_room: 0,
            blind: [0; BlindReason::ALL.len()],
            limited: BTreeMap::new(),
            transfer_seconds: Durations::default(),
        }
    }

    /// Counts what the inspector tells, as far as it is counted.
    pub fn event(&mut self, event: &Event) {
        match *event {
            Event::Command { verb } => add_one(self.commands.get_mut(verb as usize)),
            Event::Refuse { .. } => self.outcome(Mode::Active, Outcome::Refused),
            Event::Rewrite { .. } => add_one(Some(&mut self.rewritten)),
            Event::NoRoom { .. } => add_one(Some(&mut self.no_room)),
            Event::UnparsedCommand { reason, .. } | Event::UnparsedReply { reason, .. } => self.unparsed(reason),
            Event::Blind { reason } => add_one(self.blind.get_mut(reason as usize)),
            _ => {}
        }
    }

    /// An expectation ended.
    pub fn outcome(&mut self, mode: Mode, outcome: Outcome) {
        let counts = self.expectations.get_mut(mode as usize);
        add_one(counts.and_then(|counts| counts.get_mut(outcome as usize)));
    }

    /// A line could not be read.
    pub fn unparsed(&mut self, reason: UnparsedReason) {
        add_one(self.unparsed.get_mut(reason as usize));
    }

    /// A packet was over a limit of the director's.
    pub fn limit(&mut self, limit: &'static str) {
        count(&mut self.limited, limit);
    }

    fn shown(&self) -> ClusterCounters {
        let connections = self.servers.iter().map(|server| (server.name.clone(), server.connections));
        let verbs = Verb::all().chain([Verb::Other]).map(Verb::name);
        let expectations = Mode::ALL.iter().zip(&self.expectations).flat_map(|(&mode, counts)| {
            Outcome::ALL.iter().zip(counts).map(move |(&outcome, &count)| ((mode, outcome), count))
        });
        let unparsed = UnparsedReason::ALL.iter().map(|reason| reason.name()).zip(self.unparsed);
        let blind = BlindReason::ALL.iter().map(|reason| reason.name());
        let transfers = self.servers.iter().filter(|server| !server.transfers.is_empty());
        ClusterCounters {
            control_connections: counted(connections),
            commands: counted(verbs.zip(self.commands)),
            expectations: counted(expectations),
            rewritten: self.rewritten,
            unparsed: counted(unparsed.chain([("no_room", self.no_room)])),
            blind: counted(blind.zip(self.blind)),
            limited: self.limited.clone(),
            transfers: transfers.map(|server| (server.name.clone(), server.transfers.clone())).collect(),
            transfer_seconds: self.transfer_seconds.clone(),
        }
    }
}

/// The position of each name.
fn numbers<'a>(names: impl Iterator<Item = &'a String>) -> BTreeMap<String, usize> {
    names.enumerate().map(|(number, name)| (name.clone(), number)).collect()
}

/// The position of the one of this name, or of the one that `make` adds.
fn numbered<T>(
    known: &mut Vec<T>,
    numbers: &mut BTreeMap<String, usize>,
    name: &str,
    make: impl FnOnce(&str) -> T,
) -> usize {
    if let Some(&number) = numbers.get(name) {
        return number;
    }
    known.push(make(name));
    let number = known.len().saturating_sub(1);
    numbers.insert(name.to_owned(), number);
    number
}

fn add_one(counter: Option<&mut u64>) {
    if let Some(counter) = counter {
        *counter = counter.saturating_add(1);
    }
}

/// What was counted at all.
fn counted<K: Ord>(counters: impl Iterator<Item = (K, u64)>) -> BTreeMap<K, u64> {
    counters.filter(|&(_, count)| count > 0).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lvs::{ForwardingMethod, PortRange};

    fn cluster(name: &str, servers: &[&str]) -> ClusterSetup {
        let servers = servers.iter().map(|server| (*server).to_owned()).collect();
        ClusterSetup { name: name.into(), servers, pinhole_timeout: Duration::ZERO }
    }

    /// A connection, a command and a transfer of the server at this place of the configuration.
    fn happens(counting: &mut Counting, cluster: usize, server: usize) {
        let placement = Placement {
            index: 0,
            cluster,
            vip: [192, 0, 2, 10].into(),
            server,
            address: [10, 0, 0, 11].into(),
            forwarding: ForwardingMethod::Nat,
            own_range: None,
            active_port: None,
            active_ports: None,
            own_active_port: false,
            client_prefix: 32,
            passive_ports: PortRange::UNPRIVILEGED,
            public_ports: None,
        };
        counting.connection(&placement);
        counting.transfer(&placement, (Verb::Retr, Mode::Passive, TransferOutcome::Complete));
        if let Some(counts) = counting.cluster(cluster) {
            counts.event(&Event::Command { verb: Verb::Retr });
        }
    }

    #[test]
    fn what_leaves_and_comes_back_at_another_place_goes_on_where_it_was() {
        let mut counting = Counting::default();
        counting.configure(&[cluster("a", &["rs1", "rs2"]), cluster("b", &["rs1"])]);
        happens(&mut counting, 0, 1);
        happens(&mut counting, 1, 0);
        counting.configure(&[cluster("b", &["rs1", "rs3"])]);
        happens(&mut counting, 0, 0);
        // It is not in the configuration.
        happens(&mut counting, 1, 0);
        happens(&mut counting, 0, 2);
        counting.configure(&[cluster("c", &[]), cluster("b", &["rs3"]), cluster("a", &["rs2"])]);
        happens(&mut counting, 1, 0);
        happens(&mut counting, 2, 0);
        let shown = counting.shown();
        let of = |name: &str| {
            let shown = &shown[name];
            let transfers = shown.transfers.values().flat_map(BTreeMap::values).sum::<u64>();
            (shown.control_connections.clone(), shown.commands.get("RETR").copied(), transfers)
        };
        let servers = |servers: &[(&str, u64)]| servers.iter().map(|(name, count)| ((*name).into(), *count)).collect();
        assert_eq!(of("a"), (servers(&[("rs2", 2)]), Some(2), 2));
        assert_eq!(of("b"), (servers(&[("rs1", 2), ("rs3", 1)]), Some(4), 3));
        assert_eq!(of("c"), (servers(&[]), None, 0));
    }

    /// What is shown of a variant must be what was counted for it.
    #[test]
    fn every_number_is_the_position_in_its_list() {
        assert!(Verb::all().chain([Verb::Other]).enumerate().all(|(at, verb)| verb as usize == at));
        assert_eq!(Verb::Other as usize + 1, Verb::COUNT);
        assert!(Mode::ALL.iter().enumerate().all(|(at, &mode)| mode as usize == at));
        assert!(Outcome::ALL.iter().enumerate().all(|(at, &outcome)| outcome as usize == at));
        assert!(UnparsedReason::ALL.iter().enumerate().all(|(at, &reason)| reason as usize == at));
        assert!(BlindReason::ALL.iter().enumerate().all(|(at, &reason)| reason as usize == at));
    }
}
