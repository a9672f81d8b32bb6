//! The sessions: a slab, a hash index over it and a calendar of what is due.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::expectation::Expectation;
use crate::ftp::{Session, Verb};
use crate::steer::Row;
use crate::time::Time;

/// One end of a connection in 18 bytes, so that a million keys stay small; IPv4 is kept mapped (RFC 4291 §2.5.5.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct End {
    address: [u8; 16],
    port: u16,
}

impl End {
    fn of(end: SocketAddr) -> Self {
        let address = match end.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        Self { address, port: end.port() }
    }

    fn socket(self) -> SocketAddr {
        SocketAddr::new(IpAddr::from(self.address).to_canonical(), self.port)
    }
}

/// A control connection as both hooks see it: the client, and the server's end (the VIP in DR and TUN, the real server
/// in NAT).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    client: End,
    server: End,
}

impl Key {
    /// The connection between these two.
    #[must_use]
    pub fn new(client: SocketAddr, server: SocketAddr) -> Self {
        Self { client: End::of(client), server: End::of(server) }
    }

    /// The client's end.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        self.client.socket()
    }

    /// The server's end.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.server.socket()
    }
}

/// The rows of a session under TLS, and when their time must start again.
pub struct Standing {
    /// The rows.
    pub rows: Vec<Row>,
    /// When they are to be refreshed.
    pub refresh: Time,
}

/// One session.
pub struct Entry {
    /// The control connection.
    pub key: Key,
    /// What the inspector knows of it.
    pub ftp: Session,
    /// Its placement.
    pub index: u16,
    /// The rows that stand as long as a session under TLS.
    pub standing: Option<Box<Standing>>,
    /// The data connection that may come.
    pub expectation: Option<Box<Expectation>>,
    /// When its first packet came.
    pub born: Time,
    /// Its last command.
    pub verb: Option<Verb>,
    /// When its last packet came, or IPVS was last made to remember it.
    pub seen: Time,
    /// When it wants to be looked at; what the calendar holds.
    due: Option<Time>,
}

/// Position of a session in the slab.
pub type Slot = u32;

/// All sessions.
#[derive(Default)]
pub struct Table {
    entries: Vec<Option<Entry>>,
    free: Vec<Slot>,
    index: HashTable<Slot>,
    hasher: DefaultHashBuilder,
    calendar: BTreeSet<(Time, Slot)>,
    sweep: usize,
}

impl Table {
    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// The session of this connection.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<Slot> {
        let same = |&slot: &Slot| self.entry(slot).is_some_and(|entry| entry.key == *key);
        self.index.find(self.hasher.hash_one(key), same).copied()
    }

    /// The session in a slot.
    #[must_use]
    pub fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    /// The session in a slot, to be changed.
    pub fn entry_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.entries.get_mut(slot as usize)?.as_mut()
    }

    /// Adds a session; its key is not in the table.
    pub fn insert(&mut self, now: Time, key: Key, index: u16, ftp: Session) -> Slot {
        let (standing, expectation, verb, due) = (None, None, None, None);
        let entry = Entry { key, ftp, index, standing, expectation, born: now, verb, seen: now, due };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.entries.push(None);
                // `limits.sessions` keeps the table far below 2^32.
                Slot::try_from(self.entries.len().saturating_sub(1)).unwrap_or(Slot::MAX)
            }
        };
        if let Some(place) = self.entries.get_mut(slot as usize) {
            *place = Some(entry);
        }
        let Self { index, hasher, entries, .. } = self;
        let hash_of = |&slot: &Slot| {
            let key = entries.get(slot as usize).and_then(Option::as_ref).map(|entry| entry.key);
            key.map_or(0, |key| hasher.hash_one(key))
        };
        index.insert_unique(hasher.hash_one(key), slot, hash_of);
        slot
    }

    /// Takes a session out.
    pub fn remove(&mut self, slot: Slot) -> Option<Entry> {
        let entry = self.entries.get_mut(slot as usize)?.take()?;
        if let Some(due) = entry.due {
            self.calendar.remove(&(due, slot));
        }
        if let Ok(found) = self.index.find_entry(self.hasher.hash_one(entry.key), |&other| other == slot) {
            found.remove();
        }
        self.free.push(slot);
        Some(entry)
    }

    /// Writes into the calendar when the session wants to be looked at.
    pub fn schedule(&mut self, slot: Slot) {
        let Some(entry) = self.entries.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let expectation = entry.expectation.as_ref().and_then(|expectation| expectation.due());
        let refresh = entry.standing.as_ref().map(|standing| standing.refresh);
        let due = [entry.ftp.deadline(), expectation, refresh].into_iter().flatten().min();
        if due == entry.due {
            return;
        }
        if let Some(old) = entry.due {
            self.calendar.remove(&(old, slot));
        }
        if let Some(new) = due {
            self.calendar.insert((new, slot));
        }
        entry.due = due;
    }

    /// The next session that is due by `now`; it leaves the calendar.
    pub fn next_due(&mut self, now: Time) -> Option<Slot> {
        let &(due, slot) = self.calendar.first()?;
        if due > now {
            return None;
        }
        self.calendar.pop_first();
        if let Some(entry) = self.entry_mut(slot) {
            entry.due = None;
        }
        Some(slot)
    }

    /// When the next session is due.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        self.calendar.first().map(|&(due, _)| due)
    }

    /// Looks at the next `count` slots and names the sessions that were last seen before `limit`, or before `blind` if they
    /// are under TLS.
    pub fn idle(&mut self, limit: Time, blind: Time, count: usize) -> Vec<Slot> {
        let mut idle = Vec::new();
        for _ in 0..count.min(self.entries.len()) {
            self.sweep = if self.sweep + 1 < self.entries.len() { self.sweep + 1 } else { 0 };
            if let Some(Some(entry)) = self.entries.get(self.sweep)
                && entry.seen < if entry.standing.is_some() { blind } else { limit }
                && let Ok(slot) = Slot::try_from(self.sweep)
            {
                idle.push(slot);
            }
        }
        idle
    }

    /// Every session, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }
}
