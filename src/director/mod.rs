//! The pure core: a packet or another input goes in, verdicts and row changes come out. No clock, no sockets.
//!
//! **Rows before verdict**: a packet whose lines made a row is held until the kernel has acknowledged it.

mod counters;
mod events;
mod expectation;
mod held;
mod interface;
mod listing;
mod pinholes;
mod table;
mod trace;
pub mod vigil;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

pub use counters::{ClusterCounters, Snapshot};
pub use expectation::{Mode, Outcome};
pub use interface::{Action, Cluster, Decision, Hook, IMPLICIT_TLS, Packet, Policies, Setup};
pub use listing::{Expected, Holder, Listed, Listing};
pub use trace::{Filter, TraceEvent, What};

use crate::ftp::{Context, Direction, Event, Segment, Session, Syn, Told, Verb, Verdict};
use crate::lvs::{FirewallMark, ForwardingMethod, network};
use crate::steer::{Placement, RowChange, range};
use crate::time::Time;
use crate::wire::{self, Flags};
use counters::count;
use events::Effects;
use expectation::Waiting;
use held::Held;
use pinholes::Pinholes;
use table::{Key, Slot, Table};

/// A session under TLS without a queued packet for this long is forgotten; its next packet makes it known again. TCP's own keep-alive
/// takes two hours (RFC 1122 §4.2.3.6).
const IDLE: Duration = Duration::from_secs(2 * 3600);

/// How much longer than IPVS we remember a session that is not under TLS.
const GRACE: Duration = Duration::from_secs(60);

/// How many sessions a sweep looks at, and how often there is one: a million in four minutes.
const SWEEP: usize = 4096;
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The sessions and what is expected of them.
pub struct Director {
    setup: Setup,
    placements: HashMap<u16, usize>,
    table: Table,
    waiting: Waiting,
    pinholes: Pinholes,
    held: Held,
    snapshot: Snapshot,
    events: Vec<Event>,
    next: u64,
    swept: Time,
    /// While someone listens.
    tracer: Option<Box<trace::Tracer>>,
}

impl Director {
    /// A director without sessions.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let mut director = Self {
            setup: Setup { placements: Vec::new(), clusters: Vec::new(), ..setup },
            placements: HashMap::new(),
            table: Table::default(),
            waiting: Waiting::default(),
            pinholes: Pinholes::default(),
            held: Held::default(),
            snapshot: Snapshot::default(),
            events: Vec::new(),
            next: 1,
            swept: Time::ZERO,
            tracer: None,
        };
        director.configure(setup);
        director
    }

    /// Another configuration from now on; sessions stay.
    pub fn configure(&mut self, setup: Setup) {
        self.placements = setup.placements.iter().enumerate().map(|(at, (of, _))| (of.index, at)).collect();
        for cluster in &setup.clusters {
            self.snapshot.clusters.entry(cluster.name.clone()).or_default();
        }
        self.setup = setup;
    }

    /// A packet from the queue.
    pub fn packet(&mut self, now: Time, packet: Packet<'_>, actions: &mut Vec<Action>) -> Decision {
        let Packet { id, hook, mark, bytes, truncated } = packet;
        let Ok(parsed) = wire::Packet::parse(bytes) else {
            self.snapshot.unreadable = self.snapshot.unreadable.saturating_add(1);
            return unread();
        };
        let Some((slot, direction)) = self.session_of(now, hook, mark, &parsed, actions) else { return unread() };
        if truncated && parsed.payload.end > bytes.len() {
            // Cannot happen below the queue's copy range of 64 KiB; what is missing cannot be read.
            self.snapshot.unreadable = self.snapshot.unreadable.saturating_add(1);
            return unread();
        }
        let again = self.held.segments(slot) > 0;
        let decision =
            self.segment(now, slot, direction, Packet { id, hook, mark, bytes, truncated }, &parsed, actions);
        // Also when this packet waits for its row: what it completed may go with it.
        if again {
            self.offer_again(now, slot, actions);
        }
        self.finish(now, slot, actions);
        decision
    }

    /// The session that a packet belongs to. A FORWARD packet alone never makes one.
    fn session_of(
        &mut self,
        now: Time,
        hook: Hook,
        mark: u32,
        packet: &wire::Packet,
        actions: &mut Vec<Action>,
    ) -> Option<(Slot, Direction)> {
        if hook == Hook::Forward {
            let slot = self.table.find(&Key::new(packet.destination, packet.source))?;
            return Some((slot, Direction::ToClient));
        }
        let index = self.setup.marks.control_index(FirewallMark(mark))?;
        let placement = *self.placements.get(&index)?;
        let key = Key::new(packet.source, packet.destination);
        if let Some(slot) = self.table.find(&key) {
            if self.table.entry(slot).is_some_and(|entry| entry.index == index) {
                return Some((slot, Direction::ToServer));
            }
            // The same pair of ports on another real server is another connection.
            self.remove(now, slot, actions);
        }
        if packet.payload.is_empty() {
            return None;
        }
        if self.table.len() >= self.setup.most_sessions {
            self.snapshot.over_limit = self.snapshot.over_limit.saturating_add(1);
            return None;
        }
        self.setup.placements.get(placement)?;
        let slot = self.table.insert(now, key, index, Session::new());
        self.count_connection(index);
        self.note_open(slot);
        Some((slot, Direction::ToServer))
    }

    /// Hands a packet to its session and does what the session says.
    fn segment(
        &mut self,
        now: Time,
        slot: Slot,
        direction: Direction,
        packet: Packet<'_>,
        parsed: &wire::Packet,
        actions: &mut Vec<Action>,
    ) -> Decision {
        // The row thread is a flood behind. TCP repeats what is dropped before anyone has read it; what the session knew
        // already would get no row when it comes again.
        if !parsed.payload.is_empty() && self.held.behind() {
            return self.drop_held();
        }
        let heard = self.overhear(slot, direction, parsed, packet.bytes);
        let Some(entry) = self.table.entry_mut(slot) else { return unread() };
        entry.seen = now;
        let Some((placement, policies)) =
            self.placements.get(&entry.index).and_then(|&at| self.setup.placements.get(at))
        else {
            return unread();
        };
        let Packet { id, hook, mark, bytes, truncated } = packet;
        let (marks, pinholes, client) = (self.setup.marks, &self.pinholes, entry.key.client());
        let mut ports = |port: u16| {
            if range::covers(placement, Some(port)) {
                return Told::Port(port);
            }
            Told::Port(pinholes.place(marks, placement, client.ip(), port, now))
        };
        let context = Context { now, policy: policies.of(entry.key.server().port()), client, syn: Syn::Unseen };
        self.events.clear();
        let before = parsed.payload_sum(bytes);
        let tcp = &parsed.tcp;
        let mut segment =
            Segment { direction, seq: tcp.seq, ack: tcp.ack, flags: tcp.flags, payload: parsed.payload_mut(bytes) };
        let verdict = entry.ftp.segment(&context, &mut segment, &mut ports, &mut self.events);
        if verdict == Verdict::Edited {
            parsed.amend(bytes, before);
        }
        self.note_events(slot, heard.as_ref());
        let effects = self.apply_events(now, slot);
        match verdict {
            Verdict::Hold if !self.held.full() => {
                self.held
                    .hold_segment(slot, held::Segment { id, hook, mark, seq: parsed.tcp.seq, bytes: bytes.to_vec() });
                Decision::Held
            }
            Verdict::Hold | Verdict::More | Verdict::Drop => self.drop_held(),
            Verdict::Pass | Verdict::Edited => {
                let edited = verdict == Verdict::Edited && !truncated;
                self.accept(now, slot, (id, hook, bytes), edited, effects, actions)
            }
        }
    }

    /// The packet goes on, at once or when its rows stand.
    fn accept(
        &mut self,
        now: Time,
        slot: Slot,
        (id, hook, bytes): (u64, Hook, &[u8]),
        edited: bool,
        effects: Effects,
        actions: &mut Vec<Action>,
    ) -> Decision {
        let mark = match hook {
            Hook::Forward => None,
            Hook::Postrouting if effects.keep_mark => None,
            Hook::Postrouting => Some(0),
        };
        self.note_door(slot, hook, &effects);
        self.note_rows(slot, &effects);
        let (wait, remove) = (effects.wait, effects.remove);
        if !remove.is_empty() {
            actions.push(Action::Rows { ticket: None, changes: remove });
        }
        if !wait.is_empty() {
            self.open_ticket(now, slot, wait, actions);
        }
        let Some(ticket) = self.held.waits_for(slot) else { return Decision::Accept { mark, edited } };
        if self.held.full() {
            return self.drop_held();
        }
        self.held.hold(ticket, held::Packet { id, mark, bytes: edited.then(|| bytes.to_vec()) });
        Decision::Held
    }

    /// Rows that what the session sends from now on waits for.
    fn open_ticket(&mut self, now: Time, slot: Slot, changes: Vec<RowChange>, actions: &mut Vec<Action>) {
        let ticket = self.number();
        self.held.open(ticket, slot, now);
        actions.push(Action::Rows { ticket: Some(ticket), changes });
    }

    fn drop_held(&mut self) -> Decision {
        self.snapshot.held_dropped = self.snapshot.held_dropped.saturating_add(1);
        Decision::Drop
    }

    /// Packets that waited for the rest of their line are looked at again, in the order of their sequence numbers, for as
    /// long as one of them comes out and may let another go.
    fn offer_again(&mut self, now: Time, slot: Slot, actions: &mut Vec<Action>) {
        loop {
            let segments = self.held.take_segments(slot);
            let waited = segments.len();
            for segment in segments {
                self.offer_segment(now, slot, segment, actions);
            }
            let waiting = self.held.segments(slot);
            if waiting == 0 || waiting >= waited {
                return;
            }
        }
    }

    fn offer_segment(&mut self, now: Time, slot: Slot, segment: held::Segment, actions: &mut Vec<Action>) {
        let held::Segment { id, hook, mark, mut bytes, .. } = segment;
        let Ok(parsed) = wire::Packet::parse(&bytes) else {
            actions.push(Action::Release { id, mark: None, bytes: None });
            return;
        };
        let direction = if hook == Hook::Forward { Direction::ToClient } else { Direction::ToServer };
        let packet = Packet { id, hook, mark, bytes: &mut bytes, truncated: false };
        match self.segment(now, slot, direction, packet, &parsed, actions) {
            Decision::Accept { mark, edited } => {
                actions.push(Action::Release { id, mark, bytes: edited.then_some(bytes) });
            }
            Decision::Drop => actions.push(Action::Drop { id }),
            Decision::Held => {}
        }
    }

    /// The kernel has the rows of `ticket`, or refused them: the packets that waited go on.
    pub fn rows_done(&mut self, ticket: u64, refused: bool, actions: &mut Vec<Action>) {
        if refused {
            self.snapshot.rows_failed = self.snapshot.rows_failed.saturating_add(1);
        }
        let slot = self.held.slot(ticket);
        if let Some(slot) = slot {
            self.note(slot, What::Stand { refused });
        }
        let packets = self.held.release(ticket);
        actions.extend(packets.into_iter().map(|held| Action::Release {
            id: held.id,
            mark: held.mark,
            bytes: held.bytes,
        }));
        // A session that closed meanwhile was kept for its row.
        if let Some((slot, seen)) = slot.and_then(|slot| Some((slot, self.table.entry(slot)?.seen))) {
            self.finish(seen, slot, actions);
        }
    }

    /// Someone took the dynamic rows away: what is still expected is written again.
    pub fn rows_lost(&self, now: Time, actions: &mut Vec<Action>) {
        let mut changes: Vec<RowChange> = self.pinholes.standing(now).collect();
        // Doors that control packets opened; those of sessions under TLS are among the rows.
        changes.extend(self.table.iter().filter_map(|entry| {
            let expectation = entry.expectation.as_ref().filter(|one| one.by_range && one.deadline > now)?;
            let door = range::door(self.setup.marks, self.placement(entry.index)?, entry.key.client().ip());
            Some(RowChange::Put(door, expectation.deadline.since(now)))
        }));
        if !changes.is_empty() {
            actions.push(Action::Rows { ticket: None, changes });
        }
    }

    /// A data connection was seen on its way to the right server.
    pub fn landed(&mut self, mark: u32, packet: &[u8]) {
        let Some(index) = self.setup.marks.data_index(FirewallMark(mark)) else { return };
        let Ok(packet) = wire::Packet::parse(packet) else { return };
        let Some(&at) = self.placements.get(&index) else { return };
        let Some((placement, _)) = self.setup.placements.get(at) else { return };
        let (client, port) = match (packet.tcp.flags.has(Flags::SYN.with(Flags::ACK)), placement.forwarding) {
            // The client answers the server's call (active, DR and TUN).
            (true, _) => (packet.source.ip(), packet.source.port()),
            // The server calls, with the VIP as its source by now (active, NAT).
            (false, ForwardingMethod::Nat) if packet.source.ip() == placement.vip => {
                (packet.destination.ip(), packet.destination.port())
            }
            (false, _) => (network(packet.source.ip(), placement.client_prefix), packet.destination.port()),
        };
        let exactly = self.waiting.take((index, client, port), &self.table);
        if let Some(slot) = exactly.or_else(|| self.waiting.take((index, client, 0), &self.table)) {
            self.used(slot);
        }
    }

    /// Whether a control connection that is silent may have a data connection. One that cannot be read may, and one that
    /// is not known: it began before this process.
    #[must_use]
    pub fn may_transfer(&self, client: SocketAddr, far_end: SocketAddr) -> bool {
        let session = self.table.find(&Key::new(client, far_end)).and_then(|slot| self.table.entry(slot));
        let Some(entry) = session else { return true };
        let Some(verb) = entry.verb.filter(|_| entry.ftp.blind().is_none()) else { return true };
        // RFC 959 §4.1.3: STAT, ABOR and QUIT may be sent during a transfer; NOOP is sent by clients.
        verb.transfers() || matches!(verb, Verb::Noop | Verb::Stat | Verb::Abor | Verb::Quit)
    }

    /// IPVS was made to remember a control connection that is silent; so do we.
    pub fn refreshed(&mut self, now: Time, client: SocketAddr, far_end: SocketAddr) {
        let Some(slot) = self.table.find(&Key::new(client, far_end)) else { return };
        if let Some(entry) = self.table.entry_mut(slot) {
            entry.seen = now;
        }
        self.note(slot, What::Refreshed);
    }

    /// Time has passed. To be called at [`Director::due`], or any time.
    pub fn tick(&mut self, now: Time, actions: &mut Vec<Action>) {
        while let Some(slot) = self.table.next_due(now) {
            self.events.clear();
            let Some(entry) = self.table.entry_mut(slot) else { continue };
            let at = self.placements.get(&entry.index);
            if let Some((_, policies)) = at.and_then(|&at| self.setup.placements.get(at)) {
                let policy = policies.of(entry.key.server().port());
                let context = Context { now, policy, client: entry.key.client(), syn: Syn::Unseen };
                entry.ftp.timeout(&context, &mut self.events);
            }
            self.note_events(slot, None);
            let mut effects = self.apply_events(now, slot);
            self.note_rows(slot, &effects);
            let wait = std::mem::take(&mut effects.wait);
            actions.extend(rows(effects));
            if !wait.is_empty() {
                self.open_ticket(now, slot, wait, actions);
            }
            self.expire(now, slot, actions);
            self.refresh(now, slot, actions);
            self.offer_again(now, slot, actions);
            self.finish(now, slot, actions);
        }
        for held in self.held.overdue(now) {
            self.snapshot.held_dropped = self.snapshot.held_dropped.saturating_add(1);
            actions.push(Action::Drop { id: held.id });
        }
        if now.since(self.swept) >= SWEEP_EVERY {
            self.swept = now;
            // What IPVS has forgotten cannot go on; under TLS most packets are not queued, and silence says little.
            let limit = before(now, self.setup.idle + GRACE);
            for slot in self.table.idle(limit, before(now, IDLE), SWEEP) {
                self.remove(now, slot, actions);
            }
        }
    }

    /// When [`Director::tick`] should be called next.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        self.table.due().into_iter().chain(self.held.due()).min()
    }

    /// Everything that was counted, and what there is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.snapshot.clone();
        for (placement, _) in &self.setup.placements {
            if let Some(names) = self.names(placement) {
                snapshot.sessions.entry(names).or_default();
            }
        }
        let mut by_index: HashMap<u16, u64> = HashMap::new();
        for entry in self.table.iter() {
            *by_index.entry(entry.index).or_default() += 1;
        }
        for (index, sessions) in by_index {
            if let Some(names) = self.placement(index).and_then(|placement| self.names(placement)) {
                *snapshot.sessions.entry(names).or_default() += sessions;
            }
        }
        snapshot.pinholes = self.pinholes.len();
        snapshot.held = self.held.len();
        snapshot
    }

    /// After anything happened to a session: it leaves, or its next time is written down.
    fn finish(&mut self, now: Time, slot: Slot, actions: &mut Vec<Action>) {
        if self.table.entry(slot).is_some_and(|entry| entry.ftp.closed()) && self.held.waits_for(slot).is_none() {
            self.remove(now, slot, actions);
        } else {
            self.table.schedule(slot);
        }
    }

    fn remove(&mut self, now: Time, slot: Slot, actions: &mut Vec<Action>) {
        let mut effects = Effects::default();
        self.end_expectation(now, slot, Outcome::Superseded, &mut effects);
        self.end_blindness(slot, &mut effects);
        self.note_rows(slot, &effects);
        self.note_closed(slot);
        actions.extend(rows(effects));
        for segment in self.held.take_segments(slot) {
            actions.push(Action::Release { id: segment.id, mark: None, bytes: None });
        }
        self.table.remove(slot);
    }

    fn placement(&self, index: u16) -> Option<&Placement> {
        self.placements.get(&index).and_then(|&at| self.setup.placements.get(at)).map(|(placement, _)| placement)
    }

    fn names(&self, placement: &Placement) -> Option<(String, String)> {
        let cluster = self.setup.clusters.get(placement.cluster)?;
        Some((cluster.name.clone(), cluster.servers.get(placement.server)?.clone()))
    }

    fn count_connection(&mut self, index: u16) {
        let names = self.placement(index).and_then(|placement| self.names(placement));
        if let Some((cluster, server)) = names
            && let Some(counters) = self.snapshot.clusters.get_mut(&cluster)
        {
            count(&mut counters.control_connections, server);
        }
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        number
    }
}

/// How a packet passes that is not read: the mark stays, so that its range still steers.
const fn unread() -> Decision {
    Decision::Accept { mark: None, edited: false }
}

fn rows(effects: Effects) -> Option<Action> {
    let mut changes = effects.remove;
    changes.extend(effects.wait);
    (!changes.is_empty()).then_some(Action::Rows { ticket: None, changes })
}

/// `now` minus `by`; the origin at the earliest.
fn before(now: Time, by: Duration) -> Time {
    Time::from_millis(now.as_millis().saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests;
