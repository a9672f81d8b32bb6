//! Packets without a verdict: those that wait for a row, and those that wait for the rest of their line.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::table::Slot;
use crate::time::Time;

/// How many packets may wait at once.
const MOST: usize = 4096;

/// How long a packet may wait for a row. After that it is dropped: TCP repeats it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A packet that waits for a row.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet {
    /// As the caller names it.
    pub id: u64,
    /// The mark it goes on with; `None` leaves it.
    pub mark: Option<u32>,
    /// Its bytes, where they were changed.
    pub bytes: Option<Vec<u8>>,
}

struct Ticket {
    slot: Slot,
    since: Time,
    packets: Vec<Packet>,
}

/// A packet that is offered to the inspector again.
pub struct Segment {
    /// As the caller names it.
    pub id: u64,
    /// Where it was queued.
    pub hook: super::Hook,
    /// Its mark.
    pub mark: u32,
    /// Its sequence number.
    pub seq: u32,
    /// The packet.
    pub bytes: Vec<u8>,
}

/// All held packets.
#[derive(Default)]
pub struct Held {
    tickets: HashMap<u64, Ticket>,
    oldest: VecDeque<(Time, u64)>,
    latest: HashMap<Slot, u64>,
    segments: HashMap<Slot, Vec<Segment>>,
    count: usize,
}

impl Held {
    /// How many packets wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no more can be held.
    #[must_use]
    pub fn full(&self) -> bool {
        self.count >= MOST
    }

    /// The row that a session waits for: what it sends meanwhile waits too, lest a retransmission overtake the row.
    #[must_use]
    pub fn waits_for(&self, slot: Slot) -> Option<u64> {
        self.latest.get(&slot).copied()
    }

    /// A session waits for `ticket` from now on.
    pub fn open(&mut self, ticket: u64, slot: Slot, now: Time) {
        self.tickets.insert(ticket, Ticket { slot, since: now, packets: Vec::new() });
        self.oldest.push_back((now, ticket));
        self.latest.insert(slot, ticket);
    }

    /// A packet waits for `ticket`.
    pub fn hold(&mut self, ticket: u64, packet: Packet) {
        if let Some(ticket) = self.tickets.get_mut(&ticket) {
            ticket.packets.push(packet);
            self.count = self.count.saturating_add(1);
        }
    }

    /// The session that `ticket` is of.
    #[must_use]
    pub fn slot(&self, ticket: u64) -> Option<Slot> {
        self.tickets.get(&ticket).map(|ticket| ticket.slot)
    }

    /// The rows of `ticket` stand (or never will): its packets may go.
    pub fn release(&mut self, ticket: u64) -> Vec<Packet> {
        let Some(done) = self.tickets.remove(&ticket) else { return Vec::new() };
        if self.latest.get(&done.slot) == Some(&ticket) {
            self.latest.remove(&done.slot);
        }
        self.count = self.count.saturating_sub(done.packets.len());
        done.packets
    }

    /// The packets whose rows did not come in time. Their tickets stay open: what TCP repeats waits for the row too.
    pub fn overdue(&mut self, now: Time) -> Vec<Packet> {
        let mut overdue = Vec::new();
        while let Some(&(since, number)) = self.oldest.front() {
            let Some(ticket) = self.tickets.get_mut(&number).filter(|ticket| ticket.since == since) else {
                self.oldest.pop_front();
                continue;
            };
            if now.since(since) < PATIENCE {
                break;
            }
            ticket.since = now;
            overdue.append(&mut ticket.packets);
            self.oldest.pop_front();
            self.oldest.push_back((now, number));
        }
        self.count = self.count.saturating_sub(overdue.len());
        overdue
    }

    /// Whether no more rows can be waited for: their thread is behind.
    #[must_use]
    pub fn behind(&self) -> bool {
        self.tickets.len() >= MOST
    }

    /// When the oldest ticket is overdue.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        self.oldest.front().map(|&(since, _)| since + PATIENCE)
    }

    /// A packet waits for the rest of its line.
    pub fn hold_segment(&mut self, slot: Slot, segment: Segment) {
        self.segments.entry(slot).or_default().push(segment);
        self.count = self.count.saturating_add(1);
    }

    /// How many packets of a session wait for the rest of their line.
    #[must_use]
    pub fn segments(&self, slot: Slot) -> usize {
        self.segments.get(&slot).map_or(0, Vec::len)
    }

    /// The packets of a session that wait for the rest of their line, in the order of their sequence numbers.
    pub fn take_segments(&mut self, slot: Slot) -> Vec<Segment> {
        let mut segments = self.segments.remove(&slot).unwrap_or_default();
        if let Some(first) = segments.first().map(|segment| segment.seq) {
            // Distances from any of them, as signed numbers: right across a wrap (RFC 9293 §3.4).
            segments.sort_by_key(|segment| segment.seq.wrapping_sub(first).cast_signed());
        }
        self.count = self.count.saturating_sub(segments.len());
        segments
    }
}
