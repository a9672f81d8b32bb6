//! The sessions as plain data, for `ftpdirector sessions` and `pinholes`.

use std::net::SocketAddr;
use std::time::Duration;

use super::Director;
use super::expectation::{Expectation, Mode};
use super::filter::Filter;
use super::table::SessionEntry;
use crate::ftp::{BlindReason, Replies, Verb};
use crate::state::sets::{Key, Set, Value};
use crate::time::Time;

/// One session, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The client's end of the control connection.
    pub client: SocketAddr,
    /// The other end as POSTROUTING sees it: the VIP in DR and TUN, the real server in NAT.
    pub far_end: SocketAddr,
    /// Name of the cluster that the client connected to.
    pub cluster: String,
    /// Name of the real server that IPVS chose, unique in its cluster.
    pub server: String,
    /// Time since its first packet that this process saw.
    pub age: Duration,
    /// Time since its last packet that this process saw, or since IPVS was last made to remember it.
    pub idle: Duration,
    /// The verb of the last command; `None` before the first was read.
    pub verb: Option<Verb>,
    /// Whether a command waits for its reply; `None` where replies are not seen.
    pub pending: Option<bool>,
    /// The data connection that may come, or came a moment ago.
    pub expectation: Option<Expected>,
    /// Why the session cannot be read; `None`: it is read.
    pub blind: Option<BlindReason>,
}

/// A data connection that may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Which end opens it.
    pub mode: Mode,
    /// The port that it goes to; `None`: any port of the server's range.
    pub port: Option<u16>,
    /// Time until it is given up.
    pub remaining: Duration,
    /// Whether the data connection came already.
    pub used: bool,
}

/// A part of a list: each request gets one page, so that packets do not wait for a million sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// How many sessions there are, wanted or not.
    pub total: usize,
    /// The entries of this page.
    pub items: Vec<T>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<u32>,
}

/// How many sessions one page looks at.
const PAGE: usize = 512;

/// A row of sessions (its set and key), and the client's end of a session that holds it.
pub type Holder = (Set, Key, SocketAddr);

impl Director {
    /// The sessions that `wanted` wants of the page that begins at `from`, 0 for the first.
    #[must_use]
    pub fn sessions(&self, now: Time, from: u32, wanted: &Filter) -> Page<Listed> {
        let (entries, next) = self.table.page(from, PAGE);
        let entries = entries.filter(|entry| wanted.wants_client(entry.key.client().ip()));
        let listed = entries.filter_map(|entry| self.listed(entry, now));
        let items = listed.filter(|listed| wanted.wants_server(Some((&listed.cluster, &listed.server)))).collect();
        Page { total: self.table.len(), items, next }
    }

    fn listed(&self, entry: &SessionEntry, now: Time) -> Option<Listed> {
        let (placement, policy) = self.placements.get(&self.setup, entry.index)?;
        let (cluster, server) = self.names(placement)?;
        let open = entry.expectation.as_deref().filter(|expectation| expectation.is_open());
        Some(Listed {
            client: entry.key.client(),
            far_end: entry.key.server(),
            cluster,
            server,
            age: now.since(entry.born),
            idle: now.since(entry.seen),
            verb: entry.verb,
            pending: (policy.explicit.replies == Replies::Seen).then(|| entry.ftp.awaiting() > 0),
            expectation: open.map(|expectation| expected(expectation, now)),
            blind: entry.ftp.blind(),
        })
    }

    /// Which sessions the rows are there for, by the page of sessions that begins at `from`.
    #[must_use]
    pub fn holders(&self, from: u32) -> Page<Holder> {
        let (entries, next) = self.table.page(from, PAGE);
        let busy = entries.filter(|entry| entry.expectation.is_some() || entry.standing.is_some());
        let held = busy.flat_map(|entry| {
            let expectation = entry.expectation.as_deref().filter(|expectation| expectation.is_open());
            let pinhole = expectation.filter(|expectation| expectation.by_range).and_then(|_| self.pinhole(entry));
            let rows = expectation.into_iter().flat_map(|expectation| &expectation.rows);
            let standing =
                entry.standing.iter().flat_map(|standing| standing.rows(self.setup.marks, &self.kept, &entry.key));
            let held = rows.cloned().chain(standing).chain(pinhole);
            held.map(|row| (row.set, row.key, entry.key.client()))
        });
        Page { total: self.table.len(), items: held.collect(), next }
    }
}

fn expected(expectation: &Expectation, now: Time) -> Expected {
    // Every row that makes an expectation true has one port in its key.
    let port_of = |value: &Value| if let Value::Port(port) = value { Some(*port) } else { None };
    Expected {
        mode: expectation.mode(),
        port: expectation.rows.first().and_then(|row| row.key.iter().find_map(port_of)),
        remaining: expectation.deadline.since(now),
        used: expectation.used,
    }
}
