//! Packets without a verdict: those that wait for a row, and those that wait for the rest of their line.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::interface::Hook;
use super::shares::{Share, Shares};
use super::table::Slot;
use crate::ftp::Direction;
use crate::time::Time;

/// How many rows' acknowledgements one session may wait for.
const MOST_TICKETS: usize = 8;

/// How many packets of one session may stand behind one that is read in several goes.
const MOST_RESTS: usize = 16;

/// How long a packet may wait for a row. After that it is dropped: TCP repeats it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A packet that waits for a row.
#[derive(Debug, PartialEq, Eq)]
pub struct WaitingPacket {
    /// The caller's number for the packet.
    pub id: u64,
    /// The mark it goes on with; `None` leaves it.
    pub mark: Option<u32>,
    /// The packet's bytes, where they were changed.
    pub bytes: Option<Vec<u8>>,
}

impl WaitingPacket {
    fn share(&self) -> Share {
        Share::waiting(self.bytes.as_ref().map_or(0, Vec::len))
    }
}

/// A session and one of its two directions.
pub type Way = (Slot, Direction);

struct Ticket {
    /// `None`: the session has gone, and others may stand in its slot.
    slot: Option<Slot>,
    client: IpAddr,
    since: Time,
    packets: Vec<WaitingPacket>,
}

/// A packet that is offered to the inspector again.
pub struct HeldSegment {
    /// The client whose share it counts for.
    pub client: IpAddr,
    /// The caller's number for the packet.
    pub id: u64,
    /// The hook where the packet was queued.
    pub hook: Hook,
    /// Firewall mark that the packet was queued with.
    pub mark: u32,
    /// TCP sequence number of its first payload byte.
    pub seq: u32,
    /// The packet, from the IP header on.
    pub bytes: Vec<u8>,
    /// What reading it has come to so far, where it takes more than one go.
    pub so_far: SoFar,
}

impl HeldSegment {
    /// A copy of a client's packet: its id, where it was queued and its mark.
    #[must_use]
    pub fn new(client: IpAddr, (id, hook, mark): (u64, Hook, u32), seq: u32, bytes: &[u8], so_far: SoFar) -> Self {
        Self { client, id, hook, mark, seq, bytes: bytes.to_vec(), so_far }
    }
}

/// What the part of a packet that was read already asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoFar {
    /// Whether the packet opens its own pinhole.
    pub keep_mark: bool,
    /// Whether its bytes were changed.
    pub edited: bool,
    /// The index of the server whose reply it is, if it opens the client's pinhole (NAT).
    pub answer: Option<u16>,
}

/// All packets without a verdict, and the rows that they wait for.
#[derive(Default)]
pub struct Held {
    tickets: HashMap<u64, Ticket>,
    oldest: VecDeque<(Time, u64)>,
    segments: HashMap<Slot, Vec<HeldSegment>>,
    /// Packets that are read in several goes, the first of each direction in part, and those that came behind it.
    rests: HashMap<Way, VecDeque<HeldSegment>>,
    /// When each direction of a session has its next turn.
    turns: BTreeSet<(Time, Way)>,
    /// The open tickets of each session, in the order in which they were opened.
    open: HashMap<Slot, Vec<u64>>,
    /// What the clients have of all this, and of the bytes that sessions own.
    pub shares: Shares,
}

impl Held {
    /// Whether a session, or its client with all its sessions, has asked for rows faster than they are written.
    #[must_use]
    pub fn asks_too_much(&self, slot: Slot, client: IpAddr) -> bool {
        self.open.get(&slot).is_some_and(|open| open.len() >= MOST_TICKETS) || self.shares.asks_too_much(client)
    }

    /// The row that a session waits for: what it sends meanwhile waits too, lest a retransmission overtake the row.
    #[must_use]
    pub fn waits_for(&self, slot: Slot) -> Option<u64> {
        self.open.get(&slot)?.last().copied()
    }

    /// A session waits for `ticket` from now on.
    pub fn open(&mut self, ticket: u64, slot: Slot, client: IpAddr, now: Time) {
        self.tickets.insert(ticket, Ticket { slot: Some(slot), client, since: now, packets: Vec::new() });
        self.shares.take(client, Share::ticket());
        self.oldest.push_back((now, ticket));
        self.open.entry(slot).or_default().push(ticket);
    }

    /// A packet waits for `ticket`.
    pub fn hold(&mut self, ticket: u64, packet: WaitingPacket) {
        if let Some(ticket) = self.tickets.get_mut(&ticket) {
            self.shares.take(ticket.client, packet.share());
            ticket.packets.push(packet);
        }
    }

    /// The session that `ticket` is of.
    #[must_use]
    pub fn slot(&self, ticket: u64) -> Option<Slot> {
        self.tickets.get(&ticket)?.slot
    }

    /// The rows of `ticket` stand (or never will): its packets may go.
    pub fn release(&mut self, ticket: u64) -> Vec<WaitingPacket> {
        let Some(done) = self.tickets.remove(&ticket) else { return Vec::new() };
        if let Some(Entry::Occupied(mut open)) = done.slot.map(|slot| self.open.entry(slot)) {
            open.get_mut().retain(|&other| other != ticket);
            if open.get().is_empty() {
                open.remove();
            }
        }
        self.shares.give(done.client, Share::ticket());
        done.packets.iter().for_each(|packet| self.shares.give(done.client, packet.share()));
        done.packets
    }

    /// A session goes. What waits for its rows goes on with them.
    pub fn part(&mut self, slot: Slot) {
        for ticket in self.open.remove(&slot).unwrap_or_default() {
            if let Some(ticket) = self.tickets.get_mut(&ticket) {
                ticket.slot = None;
            }
        }
    }

    /// The packets whose rows did not come in time. Their tickets stay open: what TCP repeats waits for the row too.
    pub fn overdue(&mut self, now: Time) -> Vec<WaitingPacket> {
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
            ticket.packets.iter().for_each(|packet| self.shares.give(ticket.client, packet.share()));
            overdue.append(&mut ticket.packets);
            self.oldest.pop_front();
            self.oldest.push_back((now, number));
        }
        overdue
    }

    /// When the oldest ticket is overdue.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        self.oldest.front().map(|&(since, _)| since + PATIENCE)
    }

    /// A packet waits for the rest of its line.
    pub fn hold_segment(&mut self, slot: Slot, segment: HeldSegment) {
        self.keep(&segment);
        self.segments.entry(slot).or_default().push(segment);
    }

    fn keep(&mut self, segment: &HeldSegment) {
        self.shares.take(segment.client, Share::later(segment.bytes.len()));
    }

    fn lose<'a>(&mut self, segments: impl IntoIterator<Item = &'a HeldSegment>) {
        for segment in segments {
            self.shares.give(segment.client, Share::later(segment.bytes.len()));
        }
    }

    /// Whether a packet of this direction is read in several goes, and has not come to its end.
    #[must_use]
    pub fn has_rest(&self, way: Way) -> bool {
        self.rests.contains_key(&way)
    }

    /// A packet that was read in part; it is read on at `turn`. `None`: it was taken for that, and gets its turn when it
    /// [is given back](Held::rest_done).
    pub fn hold_rest(&mut self, way: Way, segment: HeldSegment, turn: Option<Time>) {
        self.keep(&segment);
        self.rests.entry(way).or_default().push_front(segment);
        self.turns.extend(turn.map(|turn| (turn, way)));
    }

    /// Keeps a packet that came behind one that is read in several goes.
    ///
    /// # Errors
    /// The packet, when there are too many already.
    pub fn hold_behind(&mut self, way: Way, segment: HeldSegment) -> Result<(), HeldSegment> {
        if self.rests.get(&way).is_none_or(|rests| rests.len() >= MOST_RESTS) {
            return Err(segment);
        }
        self.keep(&segment);
        self.rests.entry(way).or_default().push_back(segment);
        Ok(())
    }

    /// The next packet whose turn it is by `now`, with its session and direction.
    pub fn take_rest(&mut self, now: Time) -> Option<(Way, HeldSegment)> {
        while let Some(&(turn, way)) = self.turns.first().filter(|(turn, _)| *turn <= now) {
            self.turns.remove(&(turn, way));
            let Some(segment) = self.rests.get_mut(&way).and_then(VecDeque::pop_front) else { continue };
            self.lose([&segment]);
            return Some((way, segment));
        }
        None
    }

    /// The packet that was taken was read on: it, or the next of its session, gets a turn.
    pub fn rest_done(&mut self, way: Way, turn: Time) {
        match self.rests.get(&way).map(VecDeque::is_empty) {
            Some(true) => drop(self.rests.remove(&way)),
            Some(false) => _ = self.turns.insert((turn, way)),
            None => {}
        }
    }

    /// When the next packet that is read in several goes has its turn.
    #[must_use]
    pub fn next_turn(&self) -> Option<Time> {
        self.turns.first().map(|&(turn, _)| turn)
    }

    /// All that a session that ends has left to read.
    pub fn take_rests(&mut self, slot: Slot) -> VecDeque<HeldSegment> {
        let mut rests = VecDeque::new();
        for direction in [Direction::ToServer, Direction::ToClient] {
            if let Some(more) = self.rests.remove(&(slot, direction)) {
                self.turns.retain(|&(_, turn)| turn != (slot, direction));
                rests.extend(more);
            }
        }
        self.lose(&rests);
        rests
    }

    /// How many packets of a session wait for the rest of their line.
    #[must_use]
    pub fn segments(&self, slot: Slot) -> usize {
        self.segments.get(&slot).map_or(0, Vec::len)
    }

    /// The packets of a session that wait for the rest of their line, in the order of their sequence numbers.
    pub fn take_segments(&mut self, slot: Slot) -> Vec<HeldSegment> {
        let mut segments = self.segments.remove(&slot).unwrap_or_default();
        if let Some(first) = segments.first().map(|segment| segment.seq) {
            // Distances from any of them, as signed numbers: right across a wrap (RFC 9293 §3.4).
            segments.sort_by_key(|segment| segment.seq.wrapping_sub(first).cast_signed());
        }
        self.lose(&segments);
        segments
    }
}
