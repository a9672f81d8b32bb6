//! What happened, counted: the one struct that `/metrics`, `status` and the tests read.

use std::collections::BTreeMap;

use super::expectation::{Mode, Outcome};

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
    /// Bytes that are held and kept beside the sessions.
    pub memory: usize,
}

/// Adds one to a counter of a map.
pub fn count<K: Ord>(counters: &mut BTreeMap<K, u64>, key: K) {
    let counter = counters.entry(key).or_default();
    *counter = counter.saturating_add(1);
}
