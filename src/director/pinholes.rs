//! The dynamic rows that this process added, who holds them, and which ports they take.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::lvs::PortRange;
use crate::state::Marks;
use crate::state::sets::{Key, Name, Set, Value};
use crate::steer::{Placement, Row, RowChange, exact};
use crate::time::Time;

/// What goes into a reply when no port is free: discard (RFC 863). A data connection that fails is better than one that
/// lands on another session's server.
const NO_PORT: u16 = 9;

/// How many ports of a range are tried before giving up; more than that many of one client's are open at once.
const TRIES: u32 = 4096;

/// The dynamic ports (RFC 6335 §6): nobody offers a service there.
const DYNAMIC: PortRange = match PortRange::new(49152, 65535) {
    Some(range) => range,
    None => PortRange::UNPRIVILEGED,
};

struct Standing {
    value: Key,
    holders: u32,
    until: Time,
}

/// The rows of all sessions. Sessions of one client on one server share a row; the last to leave takes it away.
#[derive(Default)]
pub struct Pinholes {
    rows: HashMap<(Set, Key), Standing>,
}

impl Pinholes {
    /// How many rows stand.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Every row that should stand, for as long as it still should.
    pub fn standing(&self, now: Time) -> impl Iterator<Item = RowChange> {
        let live = self.rows.iter().filter(move |(_, standing)| standing.until > now);
        live.map(move |((set, key), standing)| {
            let row = Row { set: *set, key: key.clone(), value: standing.value.clone() };
            RowChange::Put(row, standing.until.since(now))
        })
    }

    /// One more session holds `row`.
    pub fn hold(&mut self, row: &Row, now: Time, timeout: Duration) -> RowChange {
        let id = (row.set, row.key.clone());
        let fresh = || Standing { value: row.value.clone(), holders: 0, until: now };
        let standing = self.rows.entry(id).or_insert_with(fresh);
        if standing.value != row.value {
            *standing = fresh();
        }
        let stands = standing.until > now;
        standing.holders = standing.holders.saturating_add(1);
        standing.until = now + timeout;
        if stands { RowChange::Refresh(row.clone(), timeout) } else { RowChange::Put(row.clone(), timeout) }
    }

    /// A session that holds `row` starts its time again; not if another session has taken its place meanwhile.
    pub fn refresh(&mut self, row: &Row, now: Time, timeout: Duration) -> Option<RowChange> {
        let standing = self.rows.get_mut(&(row.set, row.key.clone()))?;
        if standing.value != row.value {
            return None;
        }
        standing.until = now + timeout;
        Some(RowChange::Refresh(row.clone(), timeout))
    }

    /// Whether the place of `row` belongs to another session's data connection, or is no place at all.
    #[must_use]
    pub fn is_taken(&self, row: &Row, now: Time) -> bool {
        let standing = self.rows.get(&(row.set, row.key.clone()));
        row.key.contains(&Value::Port(NO_PORT))
            || standing.is_some_and(|standing| standing.value != row.value && standing.until > now)
    }

    /// A session no longer holds `row`; the last one takes it away.
    pub fn release(&mut self, row: &Row) -> Option<RowChange> {
        let id = (row.set, row.key.clone());
        let standing = self.rows.get_mut(&id)?;
        if standing.value != row.value {
            return None;
        }
        standing.holders = standing.holders.saturating_sub(1);
        if standing.holders > 0 {
            return None;
        }
        self.rows.remove(&id);
        Some(RowChange::Delete(id.0, id.1))
    }

    /// As [`Pinholes::release`], after the data connection came or the time is up: the kernel lets the row time out, and
    /// no transaction is spent on it. But a stale translation would send the port's next owner astray.
    pub fn forget(&mut self, row: &Row) -> Option<RowChange> {
        let gone = self.release(row)?;
        (row.set.name == Name::Translated).then_some(gone)
    }

    /// The VIP port to name for `port` of this server: the same, or a free one while the same port of another server
    /// stands open for this client: of the range first, since firewalls know it, then of the dynamic ports.
    ///
    /// A row whose data connection came is not free: a retransmitted SYN would carry the other server's mark.
    #[must_use]
    pub fn place(&self, marks: Marks, placement: &Placement, client: IpAddr, port: u16, now: Time) -> u16 {
        let free = |candidate: u16| {
            let row = exact::row(marks, placement, client, candidate);
            let translated = exact::translated(placement, client, candidate, port);
            if self.rows.contains_key(&(translated.set, translated.key)) {
                return false;
            }
            let standing = self.rows.get(&(row.set, row.key));
            standing.is_none_or(|standing| standing.until <= now || (candidate == port && standing.value == row.value))
        };
        if free(port) {
            return port;
        }
        let nearby = after(placement.passive_ports, port);
        nearby.chain(after(DYNAMIC, port)).find(|&candidate| free(candidate)).unwrap_or(NO_PORT)
    }
}

/// The ports of `range` in turn, from the one after `port`, at most [`TRIES`] of them.
fn after(range: PortRange, port: u16) -> impl Iterator<Item = u16> {
    let size = u32::from(range.last()) - u32::from(range.first()) + 1;
    let start = u32::from(port.clamp(range.first(), range.last()) - range.first());
    let offsets = (1..=TRIES.min(size)).map(move |step| (start + step) % size);
    offsets.filter_map(move |offset| u16::try_from(u32::from(range.first()) + offset).ok())
}
