//! The pure core: a packet or another input goes in, verdicts and row changes come out. No clock, no sockets.
//!
//! **Rows before verdict**: a packet whose lines made a row is held until the kernel has acknowledged it.

mod advertised;
mod calm;
mod claims;
mod counters;
mod counting;
mod effects;
mod events;
mod expectation;
mod filter;
mod greeting;
mod held;
mod history;
mod in_parts;
mod indexes;
mod inputs;
mod interface;
mod kept;
mod key;
mod leaving;
mod listing;
mod moment;
mod pinholes;
mod reading;
mod remembered;
mod reserved;
mod resting;
mod results;
mod shares;
mod silent;
mod strangers;
mod table;
mod takeover;
mod trace;
mod traced;
mod transfers;
mod unasked;
mod under_way;
mod unfinished;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};

pub use counters::{Durations, Snapshot};
pub use expectation::{Mode, Outcome};
pub use filter::Filter;
pub use history::Happening;
pub use interface::{
    Action, ClusterSetup, ControlPacket, Crowded, Decision, Hook, OutOfRange, Policies, SessionLimits, Setup,
};
pub use listing::{Expected, Holder, Listed, Page};
#[cfg(test)]
pub use moment::Words;
pub use moment::{Moment, concerns_data};
pub use remembered::{Account, Whom};
pub use strangers::{Stranger, StrangerKind, concerns, ran_dry};
pub use trace::{TraceEvent, What};
pub use under_way::{TransferOutcome, TransferRecord};

use crate::ftp::Event;
use crate::steer::Placement;
use crate::time::Time;
use advertised::Advertised;
use counting::Counting;
use greeting::Greetings;
use held::Held;
use history::History;
use indexes::Indexes;
use kept::KeptPlacements;
use pinholes::Pinholes;
use reserved::Reserved;
use strangers::Strangers;
use table::{Slot, Table};
use unfinished::Unfinished;
use waiting::Waiting;

/// The sessions and what is expected of them.
pub struct Director {
    setup: Setup,
    placements: Indexes,
    /// The placements of sessions under TLS.
    kept: KeptPlacements,
    table: Table,
    waiting: Waiting,
    pinholes: Pinholes,
    reserved: Reserved,
    greetings: Greetings,
    advertised: Advertised,
    held: Held,
    /// What concerns all sessions, and is not done.
    unfinished: Unfinished,
    /// Sessions with transfers under way (NAT).
    busy: BTreeSet<Slot>,
    /// Sessions whose slow transfer IPVS is to be asked about.
    doubted: BTreeSet<Slot>,
    /// Servers whose passive range was complained of, by index.
    complained: BTreeSet<u16>,
    /// Clusters that had no free port for a client, by position, and when that was said last.
    crowds: BTreeMap<usize, Time>,
    /// What is counted of clusters and servers; the rest is in `snapshot`.
    counting: Counting,
    snapshot: Snapshot,
    events: Vec<Event>,
    next: u64,
    swept: Time,
    /// When replies were lost last that were not held.
    lost: Option<Time>,
    /// Keeps events while a `ftpdirector trace` runs; `None` otherwise.
    tracer: Option<Box<trace::Tracer>>,
    /// What happened lately.
    history: History,
    /// Data connections that nobody expected.
    strangers: Strangers,
    /// Keeps transfers that are over where somebody logs them; `None` otherwise.
    records: Option<under_way::Records>,
}

impl Director {
    /// A director without sessions.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let mut director = Self {
            setup: Setup { placements: Vec::new(), clusters: Vec::new(), services: Vec::new(), ..setup },
            placements: Indexes::default(),
            kept: KeptPlacements::default(),
            table: Table::default(),
            waiting: Waiting::default(),
            pinholes: Pinholes::default(),
            reserved: Reserved::default(),
            greetings: Greetings::default(),
            advertised: Advertised::default(),
            held: Held::default(),
            unfinished: Unfinished::default(),
            busy: BTreeSet::new(),
            doubted: BTreeSet::new(),
            complained: BTreeSet::new(),
            crowds: BTreeMap::new(),
            counting: Counting::default(),
            snapshot: Snapshot::default(),
            events: Vec::new(),
            next: 1,
            swept: Time::ZERO,
            lost: None,
            tracer: None,
            history: History::default(),
            strangers: Strangers::default(),
            records: None,
        };
        director.configure(setup);
        director
    }

    /// Takes another configuration; sessions stay.
    pub fn configure(&mut self, setup: Setup) {
        self.part_with(&setup);
        self.placements = Indexes::of(&setup);
        self.counting.configure(&setup.clusters);
        self.reserved = Reserved::of(&setup);
        self.greetings.configure(&setup);
        self.advertised = Advertised::of(&setup);
        self.crowds.clear();
        self.setup = setup;
    }

    /// Everything that was counted, and how many sessions, rows and packets there are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot { clusters: self.counting.shown(), ..self.snapshot.clone() };
        for (placement, _) in &self.setup.placements {
            if let Some(names) = self.names(placement) {
                snapshot.sessions.entry(names).or_default();
            }
        }
        for (index, sessions) in self.table.counts().filter(|&(_, sessions)| sessions > 0) {
            if let Some(names) = self.placement(index).and_then(|placement| self.names(placement)) {
                *snapshot.sessions.entry(names).or_default() += sessions;
            }
        }
        snapshot.pinholes = self.pinholes.len();
        let kept = self.held.shares.all();
        (snapshot.held, snapshot.memory) = (kept.packets(), kept.bytes);
        snapshot
    }

    fn placement(&self, index: u16) -> Option<&Placement> {
        self.placements.get(&self.setup, index).map(|(placement, _)| placement)
    }

    fn names(&self, placement: &Placement) -> Option<(String, String)> {
        let (cluster, server) = names_of(&self.setup, placement)?;
        Some((cluster.to_owned(), server.to_owned()))
    }

    fn count_connection(&mut self, index: u16) {
        if let Some((placement, _)) = self.placements.get(&self.setup, index) {
            self.counting.connection(placement);
        }
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        number
    }
}

/// The names of a placement's cluster and server.
fn names_of<'a>(setup: &'a Setup, placement: &Placement) -> Option<(&'a str, &'a str)> {
    let cluster = setup.clusters.get(placement.cluster)?;
    Some((cluster.name.as_str(), cluster.servers.get(placement.server)?.as_str()))
}

/// How a packet passes that is not read: the mark stays, so that its range still steers.
const fn unread() -> Decision {
    Decision::Accept { mark: None, edited: false }
}

#[cfg(test)]
mod tests;
