//! What happened, counted: the one struct that `/metrics`, `status` and the tests read.

use std::collections::BTreeMap;
use std::time::Duration;

use super::expectation::{Mode, Outcome};
use super::under_way::TransferOutcome;
use crate::ftp::Verb;

/// The counters of one cluster. Each only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterCounters {
    /// Control connections first seen, by server.
    pub control_connections: BTreeMap<String, u64>,
    /// Commands that were read, by verb; `other` for verbs that are not known.
    pub commands: BTreeMap<&'static str, u64>,
    /// Expectations that ended, by who opens the data connection and how they ended.
    pub expectations: BTreeMap<(Mode, Outcome), u64>,
    /// Replies whose address or port was rewritten.
    pub rewritten: u64,
    /// Lines that could not be read, by reason.
    pub unparsed: BTreeMap<&'static str, u64>,
    /// Sessions that went blind, by reason.
    pub blind: BTreeMap<&'static str, u64>,
    /// Packets over one of the director's limits, by limit.
    pub limited: BTreeMap<&'static str, u64>,
    /// Transfers by server, and by verb, who opened the data connection, and how they ended. A server that leaves and comes back
    /// goes on where it was.
    pub transfers: BTreeMap<String, BTreeMap<(Verb, Mode, TransferOutcome), u64>>,
    /// How long transfers took, from the first packet of the data connection to the final reply.
    pub transfer_seconds: Durations,
}

/// Durations, by how long they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many were at most as long as the bound of the same position, and longer than the one before; the last: longer than all.
    counts: [u64; Self::BOUNDS.len() + 1],
    /// All together.
    pub sum: Duration,
}

impl Durations {
    /// The upper bounds, in milliseconds: from a listing in the same room to an image over a slow line.
    pub const BOUNDS: [u64; 14] =
        [5, 25, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000];

    /// Counts one.
    pub fn observe(&mut self, duration: Duration) {
        let at = Self::BOUNDS.partition_point(|bound| Duration::from_millis(*bound) < duration);
        if let Some(count) = self.counts.get_mut(at) {
            *count = count.saturating_add(1);
        }
        self.sum = self.sum.saturating_add(duration);
    }

    /// Each bound, and how many were at most as long.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        let so_far = self.counts.iter().scan(0_u64, |sum, count| {
            *sum = sum.saturating_add(*count);
            Some(*sum)
        });
        Self::BOUNDS.into_iter().map(Duration::from_millis).zip(so_far)
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// What was counted since the process began, and what there is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The counters of each cluster, by the cluster's name.
    pub clusters: BTreeMap<String, ClusterCounters>,
    /// Sessions that are followed now, by cluster and server.
    pub sessions: BTreeMap<(String, String), u64>,
    /// Dynamic rows that stand now.
    pub pinholes: usize,
    /// Packets that wait for a row or for the rest of their line.
    pub held: usize,
    /// Packets that could not be read at all (not TCP, cut short, a wrong checksum).
    pub unreadable: u64,
    /// Control packets passed unread because `limits.sessions` was reached.
    pub over_limit: u64,
    /// Rows that the kernel refused.
    pub rows_failed: u64,
    /// Packets dropped because too many were held, or too long: TCP repeats them.
    pub held_dropped: u64,
    /// Verdicts for packets that the kernel had dropped meanwhile.
    pub late_verdicts: u64,
    /// Times that the log of landed data connections, or that of replies, overflowed.
    pub log_overruns: u64,
    /// Data connections that the log told of: of many to one port only some.
    pub landings_logged: u64,
    /// Replies that went on without waiting to be read (NAT).
    pub replies_logged: u64,
    /// Transfers that the transfer log has lost.
    pub transfers_unlogged: u64,
    /// Bytes that are held and kept beside the sessions.
    pub memory: usize,
}

/// Adds one to a counter of a map.
pub fn count<K: Ord>(counters: &mut BTreeMap<K, u64>, key: K) {
    let counter = counters.entry(key).or_default();
    *counter = counter.saturating_add(1);
}
