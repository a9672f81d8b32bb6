//! The sessions: a slab, a hash index over it and a calendar of what is due.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::calm::Calm;
use super::expectation::Expectation;
use super::kept::{Kept, KeptPlacements};
use super::key::{ConnectionKey, client_of};
use super::under_way::UnderWay;
use crate::ftp::{Session, Verb};
use crate::state::Marks;
use crate::state::sets::Set;
use crate::steer::{Row, tls};
use crate::time::Time;

/// The rows of a session under TLS: made again when they are asked for, since ten thousand sessions of one client may have some.
pub struct TlsRows {
    /// What they were made from: a reload changes those of later sessions only.
    pub placement: Kept,
    /// The sets in which a row of another session stood.
    pub taken: Vec<Set>,
    /// When the session goes with them, unless IPVS is seen to have its connection meanwhile.
    pub review: Time,
    /// Whether IPVS was ever seen to have it.
    pub confirmed: bool,
}

impl TlsRows {
    /// The rows of the session of this connection; each is in a set of its own.
    pub fn rows(&self, marks: Marks, placements: &KeptPlacements, key: &ConnectionKey) -> impl Iterator<Item = Row> {
        let placement = placements.of(self.placement);
        let rows = placement.map(|placement| tls::rows(marks, placement, key.client(), key.server()));
        rows.into_iter().flatten().filter(|row| !self.taken.contains(&row.set))
    }
}

/// A session in the table.
pub struct SessionEntry {
    /// Both ends of the control connection.
    pub key: ConnectionKey,
    /// What the inspector knows of it.
    pub ftp: Session,
    /// The index of its (cluster, VIP, server): that of its marks.
    pub index: u16,
    /// Under TLS: the rows that stand as long as the session.
    pub standing: Option<Box<TlsRows>>,
    /// The data connection that may come.
    pub expectation: Option<Box<Expectation>>,
    /// Its transfers that are under way.
    pub under_way: Option<Box<UnderWay>>,
    /// When its first packet came.
    pub born: Time,
    /// How many sessions there had been before: of two sessions the elder has the lower number.
    pub nth: u64,
    /// The verb of its last command; `None` before the first was read.
    pub verb: Option<Verb>,
    /// When its last packet came, or IPVS was last seen to have it.
    pub seen: Time,
    /// What the rules know of its replies.
    pub calm: Calm,
    /// Bytes that the session owns outside of the table, when last looked at.
    pub heap: u32,
    /// The next session on the same pair of ports, or [`NOBODY`].
    beside: Slot,
    /// Until when the session has paid for the goes that it had: see [`SessionEntry::turn`].
    paid: Time,
    /// Its neighbours in the list of sessions by when they were seen.
    older: Slot,
    newer: Slot,
    /// When the session is due: what the calendar holds.
    due: Option<Time>,
}

/// What one more go at a packet of many lines costs a session, and how many goes it may owe: one connection gets 16,000 lines a
/// second read that way, and 300 that are pipelined at once.
const GO: Duration = Duration::from_millis(1);
const GOES: u32 = 20;

impl SessionEntry {
    /// When the session may have another go (the generic cell rate algorithm, ITU-T I.371).
    pub fn turn(&mut self, now: Time) -> Time {
        self.paid = self.paid.max(now) + GO;
        let ahead = self.paid.since(now);
        now + ahead.saturating_sub(GO * GOES)
    }
}

/// Position of a session in the slab.
pub type Slot = u32;

/// In place of a slot where there is no session.
const NOBODY: Slot = Slot::MAX;

/// A session in the index, with half of its hash: when the index grows it need not look at a million sessions for theirs.
#[derive(Clone, Copy, Debug)]
struct Indexed {
    half: u32,
    slot: Slot,
}

impl Indexed {
    /// As the index wants it: it finds the place by the lower bits, and tells neighbours apart by the upper ones.
    fn hash(half: u32) -> u64 {
        let half = u64::from(half);
        half << 32 | half
    }
}

/// All sessions: found by their connection, and by when they are due.
#[derive(Default)]
pub struct Table {
    entries: Vec<Option<SessionEntry>>,
    /// How many sessions there ever were: the next [`SessionEntry::nth`].
    ever: u64,
    free: Vec<Slot>,
    index: HashTable<Indexed>,
    hasher: DefaultHashBuilder,
    calendar: BTreeSet<(Time, Slot)>,
    /// The ends of the list of sessions by when they were seen.
    oldest: Option<Slot>,
    newest: Option<Slot>,
    /// How many sessions there are, by index.
    counts: Vec<u64>,
    /// How many there are of a client: its address, or its /64.
    clients: HashMap<IpAddr, u32>,
    /// How many sessions are under TLS and were never confirmed by IPVS.
    unconfirmed: usize,
}

impl Table {
    /// How many sessions there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len().saturating_sub(self.free.len())
    }

    /// The session of this connection; of several on the pair of ports the one that was heard last.
    #[must_use]
    pub fn find(&self, key: &ConnectionKey) -> Option<Slot> {
        let same = |indexed: &Indexed| self.entry(indexed.slot).is_some_and(|entry| entry.key == *key);
        self.index.find(Indexed::hash(self.half(key)), same).map(|indexed| indexed.slot)
    }

    /// The session in a slot.
    #[must_use]
    pub fn entry(&self, slot: Slot) -> Option<&SessionEntry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    /// The session in a slot, to be changed.
    pub fn entry_mut(&mut self, slot: Slot) -> Option<&mut SessionEntry> {
        self.entries.get_mut(slot as usize)?.as_mut()
    }

    /// Adds a session, beside those on the same pair of ports.
    pub fn insert(&mut self, now: Time, key: ConnectionKey, index: u16, ftp: Session) -> Slot {
        let (standing, expectation, under_way, verb, due) = (None, None, None, None, None);
        let (older, newer, heap, paid) = (NOBODY, NOBODY, 0, Time::ZERO);
        let before = self.find(&key);
        let (born, seen, beside) = (now, now, before.unwrap_or(NOBODY));
        let calm = Calm::default();
        let nth = self.ever;
        self.ever = self.ever.wrapping_add(1);
        let entry = SessionEntry {
            key,
            ftp,
            index,
            standing,
            expectation,
            under_way,
            born,
            nth,
            verb,
            seen,
            calm,
            heap,
            beside,
            paid,
            older,
            newer,
            due,
        };
        let at = usize::from(entry.index);
        if self.counts.len() <= at {
            self.counts.resize(at.saturating_add(1), 0);
        }
        if let Some(count) = self.counts.get_mut(at) {
            *count = count.saturating_add(1);
        }
        *self.clients.entry(client_of(&key)).or_default() += 1;
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
        match before {
            Some(before) => self.lead(&key, before, slot),
            None => self.enter(&key, slot),
        }
        self.append(slot);
        slot
    }

    /// Half of the hash of a pair of ports.
    fn half(&self, key: &ConnectionKey) -> u32 {
        u32::try_from(self.hasher.hash_one(key) >> 32).unwrap_or_default()
    }

    /// The first session of a pair of ports.
    fn enter(&mut self, key: &ConnectionKey, slot: Slot) {
        let half = self.half(key);
        let hash_of = |indexed: &Indexed| Indexed::hash(indexed.half);
        self.index.insert_unique(Indexed::hash(half), Indexed { half, slot }, hash_of);
    }

    /// Makes `slot` what [`Table::find`] finds, instead of `before`.
    fn lead(&mut self, key: &ConnectionKey, before: Slot, slot: Slot) {
        let hash = Indexed::hash(self.half(key));
        if let Some(found) = self.index.find_mut(hash, |other| other.slot == before) {
            found.slot = slot;
        }
    }

    /// The sessions on this pair of ports, the one that was heard last first.
    pub fn pair(&self, key: &ConnectionKey) -> impl Iterator<Item = Slot> {
        std::iter::successors(self.find(key), |&slot| self.beside(slot))
    }

    /// Whether other sessions are on the pair of ports of this one, which was heard last.
    #[must_use]
    pub fn has_others(&self, slot: Slot) -> bool {
        self.beside(slot).is_some()
    }

    fn beside(&self, slot: Slot) -> Option<Slot> {
        self.entry(slot).map(|entry| entry.beside).filter(|&beside| beside != NOBODY)
    }

    /// Notes that of the sessions on its pair of ports this one was heard last.
    pub fn prefer(&mut self, slot: Slot) {
        let Some(key) = self.entry(slot).map(|entry| entry.key) else { return };
        let Some(first) = self.find(&key).filter(|&first| first != slot) else { return };
        self.part(&key, slot);
        self.lead(&key, first, slot);
        if let Some(entry) = self.entry_mut(slot) {
            entry.beside = first;
        }
    }

    /// Takes a session out of those on its pair of ports.
    fn part(&mut self, key: &ConnectionKey, slot: Slot) {
        let (before, beside) = (self.pair(key).find(|&other| self.beside(other) == Some(slot)), self.beside(slot));
        match (before.and_then(|before| self.entry_mut(before)), beside) {
            (Some(before), beside) => before.beside = beside.unwrap_or(NOBODY),
            (None, Some(beside)) => self.lead(key, slot, beside),
            (None, None) => {
                let hash = Indexed::hash(self.half(key));
                if let Ok(found) = self.index.find_entry(hash, |other| other.slot == slot) {
                    found.remove();
                }
            }
        }
    }

    /// Removes a session from the table.
    pub fn remove(&mut self, slot: Slot) -> Option<SessionEntry> {
        self.unlink(slot);
        let key = self.entry(slot)?.key;
        self.part(&key, slot);
        let entry = self.entries.get_mut(slot as usize)?.take()?;
        if let Some(count) = self.counts.get_mut(usize::from(entry.index)) {
            *count = count.saturating_sub(1);
        }
        let client = client_of(&entry.key);
        if let Some(count) = self.clients.get_mut(&client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.clients.remove(&client);
            }
        }
        if entry.standing.as_ref().is_some_and(|standing| !standing.confirmed) {
            self.unconfirmed = self.unconfirmed.saturating_sub(1);
        }
        if let Some(due) = entry.due {
            self.calendar.remove(&(due, slot));
        }
        self.free.push(slot);
        Some(entry)
    }

    /// Writes into the calendar when the session wants to be looked at.
    pub fn schedule(&mut self, slot: Slot) {
        let Some(entry) = self.entries.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let expectation = entry.expectation.as_ref().and_then(|expectation| expectation.due());
        let review = entry.standing.as_ref().map(|standing| standing.review);
        let due = [entry.ftp.deadline(), expectation, review].into_iter().flatten().min();
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

    /// Notes that a session was seen at `now`.
    pub fn touch(&mut self, slot: Slot, now: Time) {
        if self.newest != Some(slot) {
            self.unlink(slot);
            self.append(slot);
        }
        if let Some(entry) = self.entry_mut(slot) {
            entry.seen = now;
        }
    }

    /// The session that was not seen for the longest time, if that was before `limit`.
    #[must_use]
    pub fn forgotten(&self, limit: Time) -> Option<Slot> {
        self.oldest.filter(|&slot| self.entry(slot).is_some_and(|entry| entry.seen < limit))
    }

    /// How many sessions there are of each index, from 0 on.
    pub fn counts(&self) -> impl Iterator<Item = (u16, u64)> {
        (0..=u16::MAX).zip(self.counts.iter().copied())
    }

    /// How many sessions the client of `key` has.
    #[must_use]
    pub fn of_client(&self, key: &ConnectionKey) -> u32 {
        self.clients.get(&client_of(key)).copied().unwrap_or_default()
    }

    /// Gives a session under TLS its rows, or takes them.
    pub fn stand(&mut self, slot: Slot, standing: Option<TlsRows>) -> Option<Box<TlsRows>> {
        let fresh = standing.as_ref().is_some_and(|standing| !standing.confirmed);
        let entry = self.entry_mut(slot)?;
        let old = std::mem::replace(&mut entry.standing, standing.map(Box::new));
        let gone = old.as_ref().is_some_and(|old| !old.confirmed);
        self.unconfirmed = self.unconfirmed.saturating_add(usize::from(fresh)).saturating_sub(usize::from(gone));
        old
    }

    /// IPVS was seen to have the connection of a session under TLS: its rows, which stay until `review` now.
    pub fn confirm(&mut self, slot: Slot, review: Time) -> Option<(&TlsRows, ConnectionKey)> {
        let entry = self.entries.get_mut(slot as usize)?.as_mut()?;
        let standing = entry.standing.as_mut()?;
        if !std::mem::replace(&mut standing.confirmed, true) {
            self.unconfirmed = self.unconfirmed.saturating_sub(1);
        }
        standing.review = review;
        Some((standing, entry.key))
    }

    /// Whether there is a session under TLS that IPVS was never seen to have.
    #[must_use]
    pub const fn any_unconfirmed(&self) -> bool {
        self.unconfirmed > 0
    }

    fn unlink(&mut self, slot: Slot) {
        let Some((older, newer)) = self.entry(slot).map(|entry| (entry.older, entry.newer)) else { return };
        if let Some(entry) = self.entry_mut(older) {
            entry.newer = newer;
        }
        if let Some(entry) = self.entry_mut(newer) {
            entry.older = older;
        }
        let somebody = |slot| Some(slot).filter(|&slot| slot != NOBODY);
        if self.oldest == Some(slot) {
            self.oldest = somebody(newer);
        }
        if self.newest == Some(slot) {
            self.newest = somebody(older);
        }
    }

    fn append(&mut self, slot: Slot) {
        let older = self.newest.replace(slot).unwrap_or(NOBODY);
        match self.entry_mut(older) {
            Some(entry) => entry.newer = slot,
            None => self.oldest = Some(slot),
        }
        if let Some(entry) = self.entry_mut(slot) {
            (entry.older, entry.newer) = (older, NOBODY);
        }
    }

    /// The sessions in the slots from `from` on, at most `count` slots of them, and where to go on.
    pub fn page(&self, from: Slot, count: usize) -> (impl Iterator<Item = &SessionEntry>, Option<Slot>) {
        let from = (from as usize).min(self.entries.len());
        let to = from.saturating_add(count).min(self.entries.len());
        let next = (to < self.entries.len()).then(|| Slot::try_from(to).unwrap_or(NOBODY));
        (self.entries.get(from..to).unwrap_or(&[]).iter().flatten(), next)
    }

    /// Every session, in slot order.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = &SessionEntry> {
        self.entries.iter().flatten()
    }

    /// How many slots there are, used or not.
    #[must_use]
    pub fn slots(&self) -> Slot {
        Slot::try_from(self.entries.len()).unwrap_or(NOBODY)
    }

    /// How many sessions there ever were: a later one has this [`SessionEntry::nth`] or a higher one.
    #[must_use]
    pub const fn ever(&self) -> u64 {
        self.ever
    }
}
