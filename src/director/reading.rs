//! How a packet is read: offered to its session, in one go or several, held, and let go when its rows stand.

use std::net::IpAddr;
use std::time::Duration;

use super::effects::Effects;
use super::held::{self, SoFar};
use super::interface::{Action, ControlPacket, Crowded, Decision, Hook, OutOfRange};
use super::key::client_of;
use super::pinholes::PortChoice;
use super::shares::Share;
use super::table::Slot;
use super::{Director, unread};
use crate::ftp::{Context, Direction, NO_PORT, Segment, Syn, Told, UnparsedReason, Verdict};
use crate::steer::{Placement, RowChange, range};
use crate::time::Time;
use crate::wire;

/// How often it is said that a cluster has no free port for a client.
const CROWDED_EVERY: Duration = Duration::from_secs(60);

impl Director {
    /// Hands a packet to its session, unless it must wait for its turn or come again.
    pub(super) fn segment(
        &mut self,
        now: Time,
        (slot, direction, syn): (Slot, Direction, Syn),
        packet: ControlPacket<'_>,
        (parsed, so_far): (&wire::Packet, SoFar),
        actions: &mut Vec<Action>,
    ) -> Decision {
        // The row thread is a flood behind, or this session asks for more rows than are written. TCP repeats what is dropped
        // before anyone has read it; what the session knew already would get no row when it comes again.
        let gone = packet.hook == Hook::Overheard;
        if !gone && !parsed.payload.is_empty() && (self.held.shares.behind() || self.asks_too_much(slot)) {
            return self.drop_held();
        }
        if self.held.has_rest((slot, direction)) {
            if gone {
                return self.miss(slot);
            }
            let ControlPacket { id, hook, mark, bytes, .. } = packet;
            let Some(client) = self.client(slot).filter(|client| self.may_come_later(*client, bytes)) else {
                return self.drop_held();
            };
            let segment = held::HeldSegment::new(client, (id, hook, mark), parsed.tcp.seq, bytes, so_far);
            return match self.held.hold_behind((slot, direction), segment) {
                Ok(()) => Decision::Held,
                Err(_) => self.drop_held(),
            };
        }
        self.find_lost_replies(slot);
        self.read(now, (slot, direction, syn), packet, (parsed, so_far), actions)
    }

    /// Hands a packet to its session and does what the session says.
    fn read(
        &mut self,
        now: Time,
        (slot, direction, syn): (Slot, Direction, Syn),
        packet: ControlPacket<'_>,
        (parsed, so_far): (&wire::Packet, SoFar),
        actions: &mut Vec<Action>,
    ) -> Decision {
        let ControlPacket { id, hook, mark, bytes, truncated } = packet;
        let heard = self.overhear(slot, direction, parsed, bytes);
        self.table.touch(slot, now);
        let Some(verdict) = self.inspect(now, (slot, hook, syn), parsed, bytes, actions) else { return unread() };
        self.note_events(slot, heard.as_ref());
        self.remember_events(slot, bytes.get(parsed.payload.clone()).unwrap_or_default());
        let effects = self.apply_events(now, slot);
        self.weigh(slot);
        let so_far = SoFar {
            keep_mark: so_far.keep_mark | effects.keep_mark,
            answer: effects.answer.or(so_far.answer),
            edited: so_far.edited | (verdict == Verdict::Edited && !truncated),
        };
        match verdict {
            Verdict::Drop => self.drop_held(),
            Verdict::Pass | Verdict::Edited => self.accept(now, slot, (id, hook, bytes), (so_far, effects), actions),
            Verdict::More if hook == Hook::Overheard => {
                self.write_rows(now, slot, effects, actions);
                Decision::Held
            }
            Verdict::Hold | Verdict::More => {
                // What was read is not read again.
                self.write_rows(now, slot, effects, actions);
                let Some(client) = self.client(slot).filter(|client| self.may_come_later(*client, bytes)) else {
                    if hook == Hook::Overheard {
                        return self.miss(slot);
                    }
                    let packet = ControlPacket { id, hook, mark, bytes, truncated };
                    return self.read_no_further(now, (slot, direction), packet, (parsed, so_far), actions);
                };
                let segment = held::HeldSegment::new(client, (id, hook, mark), parsed.tcp.seq, bytes, so_far);
                if verdict == Verdict::Hold {
                    self.held.hold_segment(slot, segment);
                } else {
                    let way = (slot, direction);
                    let turn = (!self.held.has_rest(way)).then(|| self.turn(now, slot));
                    self.held.hold_rest(way, segment, turn);
                }
                if hook == Hook::Overheard { unread() } else { Decision::Held }
            }
        }
    }

    /// A reply that has gone on cannot be read, and does not come again: reading goes on with the next.
    fn miss(&mut self, slot: Slot) -> Decision {
        self.lose_replies(slot);
        unread()
    }

    /// There is no room to keep a packet until it can be read: the rest of it goes unread, if it may.
    fn read_no_further(
        &mut self,
        now: Time,
        (slot, direction): (Slot, Direction),
        packet: ControlPacket<'_>,
        (parsed, mut so_far): (&wire::Packet, SoFar),
        actions: &mut Vec<Action>,
    ) -> Decision {
        let ControlPacket { id, hook, bytes, truncated, .. } = packet;
        let Some(entry) = self.table.entry_mut(slot) else { return unread() };
        let Some((placement, policies)) = self.placements.get(&self.setup, entry.index) else { return unread() };
        let (policy, client) = (policies.of(entry.key.server().port()), entry.key.client());
        let (cluster, context) = (placement.cluster, Context { now, policy, client, syn: Syn::Unseen });
        self.events.clear();
        let before = parsed.payload_sum(bytes);
        let mut segment = segment_of(direction, parsed, bytes);
        let verdict = entry.ftp.pass_unread(&context, &mut segment, &mut self.events);
        if verdict == Verdict::Drop {
            return self.drop_held();
        }
        if verdict == Verdict::Edited {
            parsed.amend(bytes, before);
            so_far.edited |= !truncated;
        }
        self.count_limited(cluster, "memory");
        self.remember_limit(slot, "memory");
        self.note_events(slot, None);
        self.remember_events(slot, &[]);
        let effects = self.apply_events(now, slot);
        self.weigh(slot);
        so_far.keep_mark |= effects.keep_mark;
        self.accept(now, slot, (id, hook, bytes), (so_far, effects), actions)
    }

    /// What the session makes of a segment.
    fn inspect(
        &mut self,
        now: Time,
        (slot, hook, syn): (Slot, Hook, Syn),
        parsed: &wire::Packet,
        bytes: &mut [u8],
        actions: &mut Vec<Action>,
    ) -> Option<Verdict> {
        let entry = self.table.entry_mut(slot)?;
        let (placement, policies) = self.placements.get(&self.setup, entry.index)?;
        let (client, pinholes) = (entry.key.client(), &mut self.pinholes);
        let (mut undeclared, mut crowded) = (None, false);
        let place = PortChoice { marks: self.setup.marks, placement, reserved: &self.reserved };
        let mut ports = |port: u16| {
            if hook == Hook::Overheard {
                return Told::Refuse(UnparsedReason::Unasked);
            }
            if !placement.declares(port) {
                undeclared = Some(port);
                return Told::Refuse(UnparsedReason::OutOfRange);
            }
            if range::steers(placement) {
                return Told::Port(port);
            }
            let told = pinholes.place(&place, client.ip(), port, now);
            crowded |= told == NO_PORT;
            Told::Port(told)
        };
        let context = Context { now, policy: policies.of(entry.key.server().port()), client, syn };
        self.events.clear();
        let before = parsed.payload_sum(bytes);
        let mut segment = segment_of(hook.direction(), parsed, bytes);
        let verdict = entry.ftp.segment(&context, &mut segment, &mut ports, &mut self.events);
        if matches!(verdict, Verdict::Edited | Verdict::More) {
            parsed.amend(bytes, before);
        }
        if let Some(port) = undeclared {
            let placement = *placement;
            self.remember_undeclared(slot, port);
            actions.extend(self.complain(&placement, port));
        } else if crowded {
            let placement = *placement;
            self.remember_crowded(slot);
            actions.extend(self.crowded(now, &placement, client.ip()));
        }
        Some(verdict)
    }

    /// Reports that no port was free for a client, once a minute for each cluster.
    fn crowded(&mut self, now: Time, placement: &Placement, client: IpAddr) -> Option<Action> {
        let (cluster, _) = self.names(placement)?;
        let last = self.crowds.get(&placement.cluster);
        if last.is_some_and(|last| now.since(*last) < CROWDED_EVERY) {
            return None;
        }
        self.crowds.insert(placement.cluster, now);
        let ports = placement.ports_at_vip();
        Some(Action::Crowded(Crowded { cluster, client, vip: placement.vip, ports }))
    }

    /// Reports a port outside the declared range, once for each server.
    fn complain(&mut self, placement: &Placement, port: u16) -> Option<Action> {
        let (cluster, server) = self.names(placement)?;
        let declared = placement.passive_ports;
        let first = self.complained.insert(placement.index);
        first.then_some(Action::OutOfRange(OutOfRange { cluster, server, port, declared }))
    }

    /// The bytes that the session owns may have changed. What is over its client's part of `limits.memory` is not kept.
    pub(super) fn weigh(&mut self, slot: Slot) {
        let Some(entry) = self.table.entry_mut(slot) else { return };
        let (client, had, mut has) = (client_of(&entry.key), entry.heap as usize, entry.ftp.heap_bytes());
        let over = has > had && !self.held.shares.may_own(client, has.saturating_sub(had), self.setup.limits.memory);
        if over {
            self.events.clear();
            entry.ftp.give_up_memory(&mut self.events);
            has = entry.ftp.heap_bytes();
        }
        if has != had {
            entry.heap = u32::try_from(has).unwrap_or(u32::MAX);
            let has = Share::bytes(entry.heap as usize);
            self.held.shares.give(client, Share::bytes(had));
            self.held.shares.take(client, has);
        }
        let index = entry.index;
        if over && let Some(placement) = self.placement(index).copied() {
            self.count_limited(placement.cluster, "memory");
            self.remember_limit(slot, "memory");
            self.note_events(slot, None);
            self.remember_events(slot, &[]);
            let events = std::mem::take(&mut self.events);
            events.iter().for_each(|event| self.count_event(&placement, event));
            self.events = events;
        }
    }

    /// Whether a packet of this client may be kept to be read later.
    fn may_come_later(&self, client: IpAddr, bytes: &[u8]) -> bool {
        self.held.shares.may_come_later(client, bytes.len(), self.setup.limits.memory)
    }

    /// The client of a session: its address, or its /64.
    fn client(&self, slot: Slot) -> Option<IpAddr> {
        self.table.entry(slot).map(|entry| client_of(&entry.key))
    }

    /// Reads on in a packet that holds more lines than are read in one go. One go; to be called while
    /// [`Director::has_turn`]. Between two calls others have theirs.
    pub fn resume(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.clock(now);
        let Some((way, segment)) = self.held.take_rest(now) else { return };
        let (slot, direction) = way;
        let held::HeldSegment { id, hook, mark, mut bytes, so_far, .. } = segment;
        let decision = match wire::Packet::parse(&bytes) {
            Ok(parsed) => {
                let packet = ControlPacket { id, hook, mark, bytes: &mut bytes, truncated: false };
                self.read(now, (slot, direction, Syn::Unseen), packet, (&parsed, so_far), actions)
            }
            Err(_) => unread(),
        };
        self.settle(id, decision, bytes, actions);
        let turn = self.turn(now, slot);
        self.held.rest_done(way, turn);
        self.finish(now, slot, actions);
    }

    /// Gives the verdict on a packet that was kept.
    fn settle(&mut self, id: u64, decision: Decision, bytes: Vec<u8>, actions: &mut Vec<Action>) {
        match decision {
            Decision::Accept { mark, edited } => {
                actions.push(Action::Release { id, mark, bytes: edited.then_some(bytes) });
            }
            Decision::Drop => actions.push(Action::Drop { id }),
            Decision::Held => {}
        }
    }

    /// Whether such a packet has its turn.
    #[must_use]
    pub fn has_turn(&self, now: Time) -> bool {
        self.held.next_turn().is_some_and(|turn| turn <= now)
    }

    fn turn(&mut self, now: Time, slot: Slot) -> Time {
        self.table.entry_mut(slot).map_or(now, |entry| entry.turn(now))
    }

    fn asks_too_much(&self, slot: Slot) -> bool {
        self.client(slot).is_some_and(|client| self.held.asks_too_much(slot, client))
    }

    /// The packet goes on, at once or when its rows stand.
    fn accept(
        &mut self,
        now: Time,
        slot: Slot,
        (id, hook, bytes): (u64, Hook, &[u8]),
        (so_far, effects): (SoFar, Effects),
        actions: &mut Vec<Action>,
    ) -> Decision {
        let SoFar { keep_mark, edited, answer } = so_far;
        let mark = match hook {
            // The reply opens the pinhole (NAT).
            Hook::Forward => answer.map(|index| self.setup.marks.control(index).0),
            Hook::Postrouting => self.left_mark(now, slot, keep_mark),
            Hook::Overheard => None,
        };
        if (hook == Hook::Postrouting && keep_mark) || (hook == Hook::Forward && answer.is_some()) {
            self.note_pinhole(slot);
        }
        self.write_rows(now, slot, effects, actions);
        if hook == Hook::Overheard {
            return unread();
        }
        let Some(ticket) = self.held.waits_for(slot) else { return Decision::Accept { mark, edited } };
        if !self.client(slot).is_some_and(|client| self.held.shares.may_wait(client)) {
            return self.drop_held();
        }
        self.held.hold(ticket, held::WaitingPacket { id, mark, bytes: edited.then(|| bytes.to_vec()) });
        Decision::Held
    }

    /// Asks for the rows that must stand before the session's packets go on, and takes others away.
    pub(super) fn write_rows(&mut self, now: Time, slot: Slot, effects: Effects, actions: &mut Vec<Action>) {
        self.note_rows(slot, &effects);
        let (wait, remove) = (effects.wait, effects.remove);
        if !remove.is_empty() {
            actions.push(Action::Rows { ticket: None, changes: remove });
        }
        if !wait.is_empty() {
            self.open_ticket(now, slot, wait, actions);
        }
    }

    /// Rows that what the session sends from now on waits for.
    pub(super) fn open_ticket(&mut self, now: Time, slot: Slot, changes: Vec<RowChange>, actions: &mut Vec<Action>) {
        let Some(client) = self.client(slot) else { return };
        let ticket = self.number();
        self.held.open(ticket, slot, client, now);
        actions.push(Action::Rows { ticket: Some(ticket), changes });
    }

    pub(super) fn drop_held(&mut self) -> Decision {
        self.snapshot.held_dropped = self.snapshot.held_dropped.saturating_add(1);
        Decision::Drop
    }

    /// Packets that waited for the rest of their line are looked at again, in the order of their sequence numbers, for as
    /// long as one of them comes out and may let another go.
    pub(super) fn offer_again(&mut self, now: Time, slot: Slot, actions: &mut Vec<Action>) {
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

    fn offer_segment(&mut self, now: Time, slot: Slot, segment: held::HeldSegment, actions: &mut Vec<Action>) {
        let held::HeldSegment { id, hook, mark, mut bytes, so_far, .. } = segment;
        let decision = match wire::Packet::parse(&bytes) {
            Ok(parsed) => {
                let packet = ControlPacket { id, hook, mark, bytes: &mut bytes, truncated: false };
                self.segment(now, (slot, hook.direction(), Syn::Unseen), packet, (&parsed, so_far), actions)
            }
            Err(_) => unread(),
        };
        self.settle(id, decision, bytes, actions);
    }
}

/// A packet as the inspector sees it.
pub(super) fn segment_of<'a>(direction: Direction, parsed: &wire::Packet, bytes: &'a mut [u8]) -> Segment<'a> {
    let tcp = &parsed.tcp;
    Segment { direction, seq: tcp.seq, ack: tcp.ack, flags: tcp.flags, payload: parsed.payload_mut(bytes) }
}
