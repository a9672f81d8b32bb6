//! The inputs: a packet, what the kernel has done, a data connection that landed, time.

use std::time::Duration;

use super::claims::Owner;
use super::effects::{Effects, rows_of};
use super::expectation::{Mode, Outcome};
use super::held::SoFar;
use super::interface::{Action, ControlPacket, Decision, Hook};
use super::key::{ConnectionKey, client_of};
use super::shares::Share;
use super::table::Slot;
use super::trace::What;
use super::unfinished::PART;
use super::{Director, unread};
use crate::ftp::{Context, Direction, Session, Syn};
use crate::lvs::{FirewallMark, ForwardingMethod, network};
use crate::state::Marks;
use crate::state::sets::Name;
use crate::steer::Row;
use crate::time::Time;
use crate::wire::{self, Flags};

/// In place of the caller's number, of a packet that waits for nothing.
const GONE: u64 = 0;

/// In how many goes a reply that has gone on is read.
const GOES: usize = 32;

/// How much longer than IPVS we remember a session.
const GRACE: Duration = Duration::from_secs(60);

/// How many sessions that IPVS has forgotten are forgotten at once, and how often.
const SWEEP: usize = 1024;
const SWEEP_EVERY: Duration = Duration::from_secs(1);

impl Director {
    /// The rows of the former process, and until when they stand: no session of ours takes their places.
    pub fn found(&mut self, rows: impl IntoIterator<Item = (Row, Time)>) {
        // What stands for a whole session under TLS is nobody's alone, nor is a pinhole, but these must not be shortened.
        let alone = |row: &Row| {
            matches!(
                row.set.name,
                Name::Exact
                    | Name::Translated
                    | Name::Active
                    | Name::ActiveAny
                    | Name::ActiveNat
                    | Name::ActiveTls
                    | Name::ActiveTlsNat
                    | Name::Open
                    | Name::TunnelOpen
            )
        };
        let rows = rows.into_iter().filter(|(row, _)| alone(row));
        rows.for_each(|(row, until)| self.pinholes.find(row, until));
    }

    /// A packet from the queue.
    pub fn packet(&mut self, now: Time, packet: ControlPacket<'_>, actions: &mut Vec<Action>) -> Decision {
        self.clock(now);
        let ControlPacket { hook, ref bytes, truncated, .. } = packet;
        let whole = wire::Packet::parse(bytes).ok();
        // Cannot be cut short below the queue's copy range of 64 KiB; what is missing cannot be read.
        let Some(parsed) = whole.filter(|parsed| !truncated || parsed.payload.end <= bytes.len()) else {
            self.snapshot.unreadable = self.snapshot.unreadable.saturating_add(1);
            return unread();
        };
        if !parsed.is_intact(bytes) {
            // The other end will not believe it, and neither may we.
            self.snapshot.unreadable = self.snapshot.unreadable.saturating_add(1);
            return unmarked(hook);
        }
        self.offer(now, packet, &parsed, actions)
    }

    /// A reply that has gone on already, and maybe a while ago: behind what its client said last nothing that the server may
    /// answer has to be held (NAT). It opens nothing, whatever it says.
    pub fn overheard(&mut self, now: Time, bytes: &mut [u8], actions: &mut Vec<Action>) {
        self.clock(now);
        let whole = wire::Packet::parse(bytes).ok().filter(|parsed| parsed.payload.end <= bytes.len());
        // The checksum may have been left to the hardware that it leaves by.
        let Some(parsed) = whole.filter(|parsed| parsed.is_intact(bytes) || parsed.is_unfinished(bytes)) else {
            self.snapshot.unreadable = self.snapshot.unreadable.saturating_add(1);
            return;
        };
        self.snapshot.replies_logged = self.snapshot.replies_logged.saturating_add(1);
        // It is short, so that this ends soon. Nothing that is decided reaches it any more.
        for _ in 0..GOES {
            let packet =
                ControlPacket { id: GONE, hook: Hook::Overheard, mark: 0, bytes: &mut *bytes, truncated: false };
            if self.offer(now, packet, &parsed, actions) != Decision::Held {
                break;
            }
        }
    }

    /// Offers a packet to the session that it belongs to.
    fn offer(
        &mut self,
        now: Time,
        packet: ControlPacket<'_>,
        parsed: &wire::Packet,
        actions: &mut Vec<Action>,
    ) -> Decision {
        let ControlPacket { id, hook, mark, bytes, truncated } = packet;
        if parsed.tcp.flags.has(Flags::SYN) {
            // A connection's own first packet is not queued; beside FIN or RST it begins none (RFC 9293 §3.10.7.4).
            return unmarked(hook);
        }
        let begun = hook == Hook::Postrouting && mark & Marks::BEGUN != 0;
        let syn = if begun { Syn::Seen } else { Syn::Unseen };
        let mark = mark & !Marks::BEGUN;
        let Some((slot, direction)) = self.session_of(now, hook, mark, (parsed, bytes), actions) else {
            // The end of a connection that is not known asks for nothing.
            return match hook {
                _ if parsed.payload.is_empty() => unmarked(hook),
                Hook::Forward if !truncated => self.unasked(parsed, bytes),
                _ => unread(),
            };
        };
        let slot = match self.whose(now, (slot, direction, syn), (parsed, bytes), actions) {
            Owner::Session(slot) => slot,
            Owner::Nobody => return unread(),
            Owner::Later => return self.drop_held(),
        };
        let again = self.held.segments(slot) > 0;
        let packet = ControlPacket { id, hook, mark, bytes, truncated };
        let decision = self.segment(now, (slot, direction, syn), packet, (parsed, SoFar::default()), actions);
        // Also when this packet waits for its row: what it completed may go with it.
        if again {
            self.offer_again(now, slot, actions);
        }
        self.finish(now, slot, actions);
        decision
    }

    /// The session that a packet belongs to. Only a packet of the client makes one.
    fn session_of(
        &mut self,
        now: Time,
        hook: Hook,
        mark: u32,
        (packet, bytes): (&wire::Packet, &mut [u8]),
        actions: &mut Vec<Action>,
    ) -> Option<(Slot, Direction)> {
        if hook != Hook::Postrouting {
            let key = ConnectionKey::new(packet.destination, packet.source);
            self.catch_up(&key, actions);
            // Of one that was at another director, the client's next word shows where the two streams are.
            let astray = |slot: &Slot| self.table.entry(*slot).is_some_and(|entry| entry.ftp.has_lost_track());
            let slot = self.table.find(&key).filter(|slot| !astray(slot));
            if slot.is_none() {
                self.greetings.hear(now, key, packet, bytes);
            }
            return Some((slot?, Direction::ToClient));
        }
        let index = self.setup.marks.control_index(FirewallMark(mark))?;
        let placement = self.placements.position(index)?;
        let key = ConnectionKey::new(packet.source, packet.destination);
        self.catch_up(&key, actions);
        while let Some(slot) = self.table.find(&key) {
            if self.table.entry(slot).is_some_and(|entry| entry.index == index) {
                return Some((slot, Direction::ToServer));
            }
            // The same pair of ports on another real server is another connection: IPVS has forgotten what was before.
            self.remove(now, slot, actions);
        }
        if packet.payload.is_empty() || !self.has_room(now, placement, &key, actions) {
            return None;
        }
        let ftp = self.greetings.take(&key).unwrap_or_default();
        Some((self.begin(now, key, index, ftp), Direction::ToServer))
    }

    /// Begins a session that was not seen before.
    pub(super) fn begin(&mut self, now: Time, key: ConnectionKey, index: u16, ftp: Session) -> Slot {
        let slot = self.table.insert(now, key, index, ftp);
        self.count_connection(index);
        self.note_open(slot);
        slot
    }

    /// Whether one more session of this client may be read. When the table is full, one that IPVS has forgotten makes room.
    pub(super) fn has_room(
        &mut self,
        now: Time,
        placement: usize,
        key: &ConnectionKey,
        actions: &mut Vec<Action>,
    ) -> bool {
        let Some((placement, _)) = self.setup.placements.get(placement) else { return false };
        let (cluster, index) = (placement.cluster, placement.index);
        if self.table.of_client(key) >= self.setup.limits.client_sessions {
            self.count_limited(cluster, "client_sessions");
            self.history.push_limit(key.client(), None, index, "client_sessions");
            return false;
        }
        if self.table.len() < self.setup.limits.sessions {
            return true;
        }
        if let Some(forgotten) = self.table.forgotten(self.forgets_before(now)) {
            self.remove(now, forgotten, actions);
            return true;
        }
        self.snapshot.over_limit = self.snapshot.over_limit.saturating_add(1);
        self.history.push_limit(key.client(), None, index, "sessions");
        false
    }

    /// IPVS no longer has a session that was last seen before this time.
    fn forgets_before(&self, now: Time) -> Time {
        before(now, self.setup.idle + GRACE)
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

    /// A data connection was seen on its way to the right server.
    pub fn landed(&mut self, now: Time, mark: u32, packet: &[u8]) {
        self.clock(now);
        let Some(index) = self.setup.marks.data_index(FirewallMark(mark)) else { return };
        let Ok(packet) = wire::Packet::parse(packet) else { return };
        let Some((placement, _)) = self.placements.get(&self.setup, index) else { return };
        let (mode, client, port) = match (packet.tcp.flags.has(Flags::SYN.with(Flags::ACK)), placement.forwarding) {
            // The client answers the server's call (active, DR and TUN).
            (true, _) => (Mode::Active, packet.source.ip(), packet.source.port()),
            // The server calls, with the VIP as its source by now (active, NAT).
            (false, ForwardingMethod::Nat) if packet.source.ip() == placement.vip => {
                (Mode::Active, packet.destination.ip(), packet.destination.port())
            }
            (false, _) => {
                let client = network(packet.source.ip(), placement.client_prefix);
                (Mode::Passive, client, packet.destination.port())
            }
        };
        self.snapshot.landings_logged = self.snapshot.landings_logged.saturating_add(1);
        let exactly = self.waiting.first((index, mode, client, port));
        if let Some(slot) = exactly.or_else(|| self.waiting.first((index, mode, client, 0))) {
            self.used(now, slot);
        } else {
            let end = if mode == Mode::Passive { packet.source.ip() } else { client };
            self.remember_landing(end, index, mode, port);
        }
    }

    /// Time has passed. To be called at [`Director::due`], or any time.
    pub fn tick(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.clock(now);
        // All sessions may be due at once. The rest is still due when this returns.
        for _ in 0..PART {
            let Some(slot) = self.table.next_due(now) else { break };
            self.events.clear();
            let Some(index) = self.table.entry(slot).map(|entry| entry.index) else { continue };
            // Of a server that the configuration no longer has nothing is read, and nothing is due again and again.
            if self.placements.position(index).is_none() {
                self.remove(now, slot, actions);
                continue;
            }
            let Some(entry) = self.table.entry_mut(slot) else { continue };
            if let Some((_, policies)) = self.placements.get(&self.setup, entry.index) {
                let policy = policies.of(entry.key.server().port());
                let context = Context { now, policy, client: entry.key.client(), syn: Syn::Unseen };
                entry.ftp.timeout(&context, &mut self.events);
            }
            self.note_events(slot, None);
            self.remember_events(slot, &[]);
            let effects = self.apply_events(now, slot);
            self.weigh(slot);
            self.write_rows(now, slot, effects, actions);
            self.expire(now, slot, actions);
            if self.is_unconfirmed(now, slot) {
                self.remove(now, slot, actions);
                continue;
            }
            self.offer_again(now, slot, actions);
            self.finish(now, slot, actions);
        }
        for held in self.held.overdue(now) {
            self.snapshot.held_dropped = self.snapshot.held_dropped.saturating_add(1);
            actions.push(Action::Drop { id: held.id });
        }
        if now.since(self.swept) >= SWEEP_EVERY {
            self.swept = now;
            let limit = self.forgets_before(now);
            for _ in 0..SWEEP {
                // What IPVS has forgotten cannot go on.
                let Some(slot) = self.table.forgotten(limit) else { break };
                self.remove(now, slot, actions);
            }
        }
        self.go_on(now, actions);
    }

    /// When [`Director::tick`] should be called next, and [`Director::resume`].
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        let part = self.unfinished.due();
        self.table.due().into_iter().chain(self.held.due()).chain(self.held.next_turn()).chain(part).min()
    }

    /// After anything happened to a session: it leaves, or its next time is written down.
    pub(super) fn finish(&mut self, now: Time, slot: Slot, actions: &mut Vec<Action>) {
        if self.table.entry(slot).is_some_and(|entry| entry.ftp.gone()) && self.held.waits_for(slot).is_none() {
            self.remove(now, slot, actions);
        } else {
            self.table.schedule(slot);
        }
    }

    /// Forgets a session: its rows go, what was held goes on.
    pub(super) fn remove(&mut self, now: Time, slot: Slot, actions: &mut Vec<Action>) {
        let mut effects = Effects::default();
        self.end_expectation(now, slot, Outcome::Superseded, &mut effects);
        self.end_blindness(slot, &mut effects);
        self.give_up_transfers(slot);
        self.note_rows(slot, &effects);
        self.note_closed(slot);
        actions.extend(rows_of(effects));
        for segment in self.held.take_segments(slot) {
            actions.push(Action::Release { id: segment.id, mark: None, bytes: None });
        }
        // What was not read to its end comes again.
        actions.extend(self.held.take_rests(slot).into_iter().map(|segment| Action::Drop { id: segment.id }));
        self.held.part(slot);
        if let Some(entry) = self.table.remove(slot) {
            self.held.shares.give(client_of(&entry.key), Share::bytes(entry.heap as usize));
        }
    }
}

/// How a packet passes that opens nothing.
const fn unmarked(hook: Hook) -> Decision {
    let mark = match hook {
        Hook::Forward | Hook::Overheard => None,
        Hook::Postrouting => Some(0),
    };
    Decision::Accept { mark, edited: false }
}

/// `now` minus `by`; the origin at the earliest.
fn before(now: Time, by: Duration) -> Time {
    Time::from_millis(now.as_millis().saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}
