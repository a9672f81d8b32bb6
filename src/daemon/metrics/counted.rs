//! What the kernel counted.

use crate::lvs::Traffic;

/// What the kernel counted for one (cluster, server), over all its VIPs and ports. None of it goes back while we run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerCounters {
    /// Name of the cluster, unique in the file: the label `cluster`.
    pub cluster: String,
    /// Name of the server, unique in its cluster: the label `server`.
    pub server: String,
    /// First packets of data connections that went to this server as they should.
    pub landed: u64,
    /// First packets of this server's data connections that went elsewhere.
    pub misdirected: u64,
    /// Whether it has as many control connections of one VIP and port as IPVS lets it have (`max_sessions`).
    pub full: bool,
    /// IPVS's counters of its control connections.
    pub control: Traffic,
    /// IPVS's counters of its data connections. Active ones in NAT, and those whose port is translated, are the connection
    /// tracking's: IPVS sees none of them.
    pub data: Traffic,
}

/// A cluster's name, a limit's, and how many packets were over it (`full`: passed because its set was full).
pub type Limited = (String, &'static str, u64);

/// What the kernel counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelCounters {
    /// The counters of every server in force, those that quiesce included.
    pub servers: Vec<ServerCounters>,
    /// Unexpected data connections, by cluster.
    pub unexpected: Vec<(String, u64)>,
    /// Packets over a limit of the kernel's token buckets.
    pub limited: Vec<Limited>,
    /// Fragments to control ports, by cluster.
    pub fragments: Vec<(String, u64)>,
    /// SYNs with data to control ports, by cluster.
    pub syn_data: Vec<(String, u64)>,
    /// Control packets that the queue lost: it was full, or our socket's buffer was.
    pub queue_dropped: u64,
    /// Control packets whose pinhole found its set full.
    pub doors_full: u64,
}
