//! What happened per second between two answers of the daemon.

use std::collections::BTreeMap;

use crate::api::{Server, Status};

/// One answer of the daemon, and when it came.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Seconds since any fixed moment.
    pub at: f64,
    /// The daemon's answer to `GET /status`.
    pub status: Status,
}

/// What happens on one server each second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// New control connections a second.
    pub sessions: f64,
    /// Data connections, wherever they went.
    pub data: f64,
    /// Bytes from clients, of control and data connections.
    pub bytes_in: f64,
    /// Bytes from the server, where they are seen.
    pub bytes_out: f64,
}

impl std::ops::AddAssign for Rate {
    fn add_assign(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.data += other.data;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}

/// The counters that rates are made of.
#[derive(Clone, Copy)]
struct Counters {
    sessions: u64,
    data: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Counters {
    fn of(server: &Server) -> Option<Self> {
        let (control, data) = (server.control_traffic?, server.data_traffic?);
        Some(Self {
            sessions: control.connections,
            data: server.landed?.saturating_add(server.misdirected?),
            bytes_in: control.bytes_in.saturating_add(data.bytes_in),
            bytes_out: control.bytes_out.saturating_add(data.bytes_out),
        })
    }
}

/// The rates by cluster and server. A server is missing where one of the answers does not know it, or where the daemon was
/// restarted in between.
#[must_use]
pub fn rates(before: &Sample, now: &Sample) -> BTreeMap<(String, String), Rate> {
    let seconds = now.at - before.at;
    if seconds <= 0.0 || now.status.uptime_seconds < before.status.uptime_seconds {
        return BTreeMap::new();
    }
    let of = |sample: &Sample| -> BTreeMap<(String, String), Counters> {
        let servers = sample.status.clusters.iter().flat_map(|cluster| &cluster.servers);
        let counted =
            servers.filter_map(|server| Some(((server.cluster.clone(), server.name.clone()), Counters::of(server)?)));
        counted.collect()
    };
    let earlier = of(before);
    let rate = |(name, now): ((String, String), Counters)| {
        let before = earlier.get(&name)?;
        let each = |now: u64, before: u64| now.checked_sub(before).map(|more| more as f64 / seconds);
        let rate = Rate {
            sessions: each(now.sessions, before.sessions)?,
            data: each(now.data, before.data)?,
            bytes_in: each(now.bytes_in, before.bytes_in)?,
            bytes_out: each(now.bytes_out, before.bytes_out)?,
        };
        Some((name, rate))
    };
    of(now).into_iter().filter_map(rate).collect()
}
