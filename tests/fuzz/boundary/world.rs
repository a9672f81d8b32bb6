//! The director between its clients, its servers and the kernel.

mod calm;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use ftpdirector::facade::director::{Action, ControlPacket, Decision, Director, Hook};
use ftpdirector::facade::state::Marks;
use ftpdirector::facade::state::sets::{Name, Set, Value};
use ftpdirector::facade::steer::{Row, RowChange};
use ftpdirector::facade::time::Time;

use super::ground::{Ending, Ground, IDLE, MARKS, PINHOLE};
use super::kernel::Rows;
use super::memory;
use super::notes::{Notes, change_kind, change_text, decision_kind, hash};
use super::oracle::{self, Complaint, complain};
use super::talk::{Side, Talk};
use super::wire::{FIN, RST, Segment};

/// What a packet may cost, in bytes allocated and in rows changed.
const WORK: usize = 128 * 1024;
const CHANGES: usize = 64;
/// What the director may keep when an execution ends: [`Ending::Now`], `Quiet` and `Gone`; and for each session.
const KEPT: [(usize, usize); 3] = [(256 * 1024, 128 * 1024), (24 * 1024, 2048), (24 * 1024, 1024)];
/// The longest segment, and its most lines: few, so that what is kept for a segment's events does not hide what grows.
const SEGMENT: usize = 1448;
const LINES: usize = 32;
/// How many answers the kernel may owe.
const OWED: usize = 32;
/// What an execution may take.
const PACKETS: u32 = 400;
const BYTES: usize = 48 * 1024;

/// Who made the director act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// An end of this connection.
    Own(usize, Side),
    /// Someone who claims to be.
    Forged(usize, Side),
    /// Time, the kernel's answers.
    Nobody,
}

pub(super) struct World {
    pub ground: Ground,
    pub director: Director,
    pub now: Time,
    pub talks: Vec<Talk>,
    pub rows: Rows,
    /// Whether the kernel's answers wait until they are asked for.
    pub late: bool,
    /// Tickets without an answer, each with the rows it is for.
    pub tickets: VecDeque<(u64, Vec<Row>)>,
    held: Vec<(u64, Cause)>,
    packets: u32,
    /// Packets of somebody else.
    pub forged: u32,
    /// Whether a SYN came before one.
    pub begun: bool,
    /// The clients' ends of the connections that somebody pretended to begin anew.
    pub claimed: Vec<SocketAddr>,
    /// Whether one of them was begun anew after that.
    pub claimed_again: bool,
    /// Whether a packet was dropped while one of theirs waited for the kernel.
    pub squeezed: bool,
    /// The connections whose replies go on at once (NAT), by their ends.
    calm: calm::Calm,
    /// Whether they made the kernel remember a session under TLS for longer.
    pub kept_alive: bool,
    /// What came of everything but those: a sum, because rows are written again in no order.
    pub sum: u64,
    bytes: usize,
    actions: Vec<Action>,
    buffer: Vec<u8>,
    pub notes: Notes,
    /// Whether rows have changed since they were noted.
    changed: bool,
}

impl World {
    pub(super) fn new(ground: Ground) -> Self {
        let (director, notes) = (ground.director(), Notes::new(ground.forwarding));
        Self {
            ground,
            director,
            now: Time::ZERO,
            talks: vec![],
            rows: Rows::default(),
            late: false,
            tickets: VecDeque::new(),
            held: vec![],
            packets: 0,
            forged: 0,
            begun: false,
            claimed: vec![],
            claimed_again: false,
            squeezed: false,
            calm: calm::Calm::default(),
            kept_alive: false,
            sum: 0,
            bytes: 0,
            actions: vec![],
            buffer: vec![],
            notes,
            changed: false,
        }
    }

    /// Whether the execution has cost enough.
    pub(super) fn spent(&self) -> bool {
        self.packets >= PACKETS || self.bytes >= BYTES
    }

    /// One of the two ends sends what it said, in as many segments as it takes; `flags` besides ACK.
    pub(super) fn send(&mut self, id: usize, side: Side, range: Range<usize>, flags: u8) {
        let mut start = range.start;
        loop {
            let end = start + segment_length(self.talks[id].text(side).get(start..range.end).unwrap_or(&[]));
            let last = end >= range.end;
            self.send_one(id, side, start..end, if last { flags } else { 0 });
            if last || self.spent() {
                return;
            }
            start = end;
        }
    }

    fn send_one(&mut self, id: usize, side: Side, range: Range<usize>, flags: u8) {
        let talk = &mut self.talks[id];
        let payload = talk.text(side).get(range.clone()).unwrap_or(&[]).to_vec();
        talk.leaves(self.now, side, range.end, &payload);
        if flags & (FIN | RST) != 0 {
            talk.needs.clear();
        }
        let other = if side == Side::Client { Side::Server } else { Side::Client };
        let (seq, ack) = (talk.seq(side, range.start), talk.seq(other, talk.flows[other as usize].left));
        let waited = self.is_held(id);
        let decision = self.segment(Cause::Own(id, side), seq, ack, flags | super::wire::ACK, &payload, false);
        // what is still held may never be read
        let held = self.is_held(id);
        let again = self.talks[..id].iter().any(|earlier| earlier.client_end == self.talks[id].client_end);
        let talk = &mut self.talks[id];
        // one that fills a gap may bring others with it
        let ends = match side {
            Side::Client => Talk::changes_its_mind(&payload) || range.end < talk.flows[0].left,
            Side::Server => !talk.keeps(side, &payload),
        };
        // nor is it known what was read of those that were held
        if ends || waited {
            talk.needs.clear();
        }
        talk.held += u32::from(side == Side::Server && decision == Some(Decision::Held));
        talk.waited |= side == Side::Client && decision == Some(Decision::Held);
        // what the director drops and nobody repeats it may give up
        talk.client.odd |= side == Side::Client && decision == Some(Decision::Drop) && !payload.is_empty();
        // one whose mark stays may have passed unread, behind what its client said from this port before
        let unread = again && side == Side::Client && matches!(decision, Some(Decision::Accept { mark: None, .. }));
        let read = decision.is_some_and(|decision| decision != Decision::Drop) && !unread && !payload.is_empty();
        if read && !held && !self.ground.crowded && (side == Side::Client || talk.read[0].is_some()) {
            talk.read[side as usize] = Some(self.now);
        }
    }

    /// A segment passes the rules; `None`: it is not queued.
    pub(super) fn segment(
        &mut self,
        cause: Cause,
        seq: u32,
        ack: u32,
        flags: u8,
        payload: &[u8],
        damaged: bool,
    ) -> Option<Decision> {
        let (Cause::Own(id, side) | Cause::Forged(id, side)) = cause else { return None };
        if (payload.is_empty() && flags & (FIN | RST) == 0) || (side == Side::Server && !self.ground.nat()) {
            return None;
        }
        if flags & (FIN | RST) == 0 && matches!(payload, [20..=23, ..]) && self.passes_blind(id, side) {
            // IPVS too would remember the connection for it
            self.kept_alive |= matches!(cause, Cause::Forged(..));
            return None;
        }
        let talk = &self.talks[id];
        let (from, to, hook) = match side {
            Side::Client => (talk.client_end, talk.far_end, Hook::Postrouting),
            Side::Server => (talk.far_end, talk.client_end, Hook::Forward),
        };
        let tunnelled = self.ground.forwarding == ftpdirector::facade::lvs::ForwardingMethod::Tun;
        let tunnel = tunnelled.then(|| self.ground.servers[talk.server].address);
        let segment = Segment { from, to, seq, ack, flags, payload, tunnel, damaged };
        let mut buffer = std::mem::take(&mut self.buffer);
        segment.write(&mut buffer);
        // what somebody else sends takes nothing from the others, so that the same can be played without it
        match cause {
            Cause::Forged(..) => self.forged += 1,
            _ => (self.packets, self.bytes) = (self.packets + 1, self.bytes + payload.len()),
        }
        oracle::explain(|| {
            let text = payload.escape_ascii();
            format!("{:?} {cause:?} seq {seq:#x} flags {flags:#x} \"{text}\"", self.now)
        });
        let told = hook == Hook::Forward && flags & (FIN | RST) == 0 && self.calm.has(self.now, to, from);
        let decision = if told { self.tell(cause, payload, &mut buffer) } else { self.offer(cause, hook, &mut buffer) };
        self.buffer = buffer;
        Some(decision)
    }

    /// A record of a session under TLS is not queued.
    fn passes_blind(&mut self, id: usize, side: Side) -> bool {
        let talk = &self.talks[id];
        let [client, far] = [talk.client_end, talk.far_end];
        let end = |end: std::net::SocketAddr| [Value::Address(end.ip()), Value::Port(end.port())];
        let blind = (Set::of(Name::Blind, client.ip()), [end(client), end(far)].concat());
        match side {
            Side::Client => self.rows.record(&blind, &oracle::pinhole(&self.ground, talk), self.now, IDLE),
            Side::Server => self.rows.find(blind.0, &blind.1, self.now).is_some(),
        }
    }

    fn offer(&mut self, cause: Cause, hook: Hook, bytes: &mut [u8]) -> Decision {
        let (Cause::Own(id, _) | Cause::Forged(id, _)) = cause else { return Decision::Drop };
        let index = u16::try_from(self.talks[id].server).expect("few servers");
        let tag = if self.begun { Marks::BEGUN } else { 0 };
        let mark = if hook == Hook::Postrouting { MARKS.control(index).0 | tag } else { 0 };
        let waited = self.is_held(id);
        let forged = matches!(cause, Cause::Forged(..));
        let number = if forged { u64::from(self.forged) << 32 } else { self.packets.into() };
        let packet = ControlPacket { id: number, hook, mark, bytes, truncated: false };
        let (decision, cost) = memory::allocated(|| self.director.packet(self.now, packet, &mut self.actions));
        self.notes.see((13, cost / 4096));
        if cost > WORK {
            complain(Complaint::Work, || format!("{cost} bytes allocated for one packet"));
        }
        oracle::explain(|| format!("    {decision:?}"));
        match decision {
            Decision::Accept { mark, .. } => self.released(cause, mark),
            Decision::Held => self.held.push((number, cause)),
            Decision::Drop => self.squeezed |= self.held.iter().any(|(_, of)| matches!(of, Cause::Forged(..))),
        }
        let asks = self.actions.iter().any(|action| matches!(action, Action::Rows { ticket: Some(_), .. }));
        if asks && !waited && matches!(decision, Decision::Accept { .. }) {
            complain(Complaint::Early, || "a packet left before its rows stood".to_owned());
        }
        if !forged && (hook == Hook::Postrouting || calm::does_something(decision)) {
            self.add((number, decision_kind(decision)));
        }
        self.notes.happen((forged, hook == Hook::Forward, decision_kind(decision)));
        self.act(cause);
        self.read_on(cause);
        self.tick();
        decision
    }

    /// A packet of many lines is read to its end, however long that takes: what comes of it is its sender's.
    fn read_on(&mut self, cause: Cause) {
        // unless others have more to be read
        let other =
            |(_, of): &(u64, Cause)| !matches!((of, cause), (Cause::Own(of, _), Cause::Own(id, _)) if *of == id);
        let cause = if self.held.iter().any(other) { Cause::Nobody } else { cause };
        while self.director.has_turn(self.now + Duration::from_secs(60)) {
            if !self.director.has_turn(self.now) {
                self.now = self.now + Duration::from_millis(1);
            }
            self.director.resume(self.now, &mut self.actions);
            self.act(cause);
        }
    }

    /// A packet goes on; what its mark does to the pinholes.
    fn released(&mut self, cause: Cause, mark: Option<u32>) {
        let (Cause::Own(id, side) | Cause::Forged(id, side)) = cause else { return };
        let talk = &self.talks[id];
        let control = MARKS.control(u16::try_from(talk.server).expect("few servers")).0;
        let opens = match side {
            Side::Client => mark.unwrap_or(control) & !Marks::CALM == control,
            Side::Server => mark == Some(control),
        };
        if side == Side::Client {
            self.calm.leaves(self.now, talk.client_end, talk.far_end, mark);
        }
        if opens {
            let pinhole = oracle::pinhole(&self.ground, talk);
            // Behind a forged SYN it is a connection of its own, and one that cannot be read opens what is its address's: a gap
            // that is never filled is enough. What fits nobody's numbers passes as that connection's does.
            let claimed = matches!(cause, Cause::Forged(..)) && self.claimed.contains(&talk.client_end);
            if !self.begun && !claimed {
                self.check_pinhole(id, &pinhole);
            }
            self.rows.put(&pinhole, self.now + PINHOLE);
        }
    }

    /// Does what the director wants, and what comes of it.
    fn act(&mut self, cause: Cause) {
        let mut cause = cause;
        loop {
            let actions = std::mem::take(&mut self.actions);
            let changes =
                actions.iter().map(|action| if let Action::Rows { changes, .. } = action { changes.len() } else { 0 });
            let changes: usize = changes.sum();
            if cause != Cause::Nobody && changes > CHANGES {
                complain(Complaint::Work, || format!("{changes} rows for one packet"));
            }
            for action in actions {
                self.act_one(cause, action);
            }
            let owed = if self.late { OWED } else { 0 };
            if self.tickets.len() <= owed {
                break;
            }
            while self.tickets.len() > owed
                && let Some((ticket, _)) = self.tickets.pop_front()
            {
                self.director.rows_done(ticket, false, &mut self.actions);
            }
            cause = Cause::Nobody;
        }
    }

    fn act_one(&mut self, cause: Cause, action: Action) {
        oracle::explain(|| format!("    {:?} {cause:?} {action:?}", self.now));
        match action {
            Action::Rows { ticket, changes } => {
                for change in &changes {
                    self.check(cause, change, &changes);
                    self.rows.apply(change, self.now);
                    self.changed = true;
                    self.add(change_text(change));
                    self.notes.happen(change_kind(change));
                }
                if let Some(ticket) = ticket {
                    let rows = changes.into_iter().filter_map(|change| match change {
                        RowChange::Put(row, _) | RowChange::Refresh(row, _) => Some(row),
                        RowChange::Delete(..) => None,
                    });
                    self.tickets.push_back((ticket, rows.collect()));
                }
            }
            Action::Release { id, mark, bytes } => {
                if let Some(of) = self.take_held(id) {
                    self.released(of, mark);
                    let changed = mark.is_some() || bytes.is_some();
                    if matches!(of, Cause::Own(_, side) if side == Side::Client || changed) {
                        self.add((id, calm::opens(mark)));
                    }
                    self.notes.happen((10, mark.is_some()));
                }
            }
            Action::Drop { id } => {
                // read on because something was forged, and found no row in time
                self.squeezed |= matches!(cause, Cause::Forged(..));
                self.take_held(id);
                self.notes.happen(11);
            }
            Action::OutOfRange(_) => self.notes.happen(16),
            Action::Crowded(_) => self.notes.happen(17),
        }
    }

    fn add(&mut self, what: impl std::hash::Hash) {
        self.sum = self.sum.wrapping_add(hash((self.packets, what)));
    }

    /// Whether something of this connection is held.
    pub(super) fn is_held(&self, id: usize) -> bool {
        self.held.iter().any(|(_, of)| matches!(of, Cause::Own(other, _) if *other == id))
    }

    fn take_held(&mut self, id: u64) -> Option<Cause> {
        let at = self.held.iter().position(|(held, _)| *held == id)?;
        let of = self.held.swap_remove(at).1;
        if let Cause::Own(id, Side::Server) = of {
            // a reply that is read so late may end what its client has asked for since
            self.talks[id].needs.clear();
        }
        Some(of)
    }

    /// The kernel answers `ticket`.
    pub(super) fn answer(&mut self, refused: bool) {
        let Some((ticket, rows)) = self.tickets.pop_front() else { return };
        if refused {
            for row in &rows {
                self.rows.apply(&RowChange::Delete(row.set, row.key.clone()), self.now);
                self.talks.iter_mut().for_each(|talk| talk.needs.retain(|need| need.row != *row));
            }
        }
        self.director.rows_done(ticket, refused, &mut self.actions);
        self.act(Cause::Nobody);
    }

    /// A client's answer to this server's call has passed.
    pub(super) fn met(&mut self, port: &Value, mark: &Value) {
        let met = |row: &Row| row.set.name == Name::Active && row.key.get(1) == Some(port) && row.value.contains(mark);
        self.talks.iter_mut().for_each(|talk| talk.needs.retain(|need| !met(&need.row)));
    }

    /// IPVS has a control connection.
    pub(super) fn confirm(&mut self, client: SocketAddr, far_end: SocketAddr) {
        self.director.confirmed(self.now, client, far_end, &mut self.actions);
        self.act(Cause::Nobody);
    }

    /// Every answer that is owed.
    pub(super) fn settle(&mut self) {
        self.late = false;
        self.act(Cause::Nobody);
    }

    /// Someone flushes the dynamic rows.
    pub(super) fn flush(&mut self) {
        self.rows.flush();
        self.director.rows_lost(self.now, &mut self.actions);
        self.act(Cause::Nobody);
    }

    fn tick(&mut self) {
        self.director.tick(self.now, &mut self.actions);
        self.act(Cause::Nobody);
    }

    /// Time passes.
    pub(super) fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        // no kernel owes an answer for a minute
        if by > Duration::from_secs(60) {
            let late = std::mem::take(&mut self.late);
            self.act(Cause::Nobody);
            self.late = late;
        }
        for _ in 0..4096 {
            // sessions end when somebody looks
            let look = self.now + Duration::from_secs(200);
            let due = self.director.due().map_or(look, |due| due.min(look));
            if due >= end {
                break;
            }
            // never twice at one time
            self.now = due.max(self.now + Duration::from_millis(1));
            self.tick();
            self.read_on(Cause::Nobody);
        }
        self.now = end.max(self.now);
        oracle::explain(|| format!("{:?}", self.now));
        self.tick();
        self.rows.expire(self.now);
        self.notes.happen((12, by > PINHOLE));
    }

    /// After a step.
    pub(super) fn note_rows(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.notes.stand(&self.rows, &self.talks, self.now);
        }
    }

    /// What is left at the end.
    pub(super) fn end(mut self) -> Vec<u64> {
        self.settle();
        let sessions = self.talks.len().min(self.ground.most_sessions());
        let (kept, complaint) = match self.ground.ending {
            Ending::Now => (KEPT[0], Complaint::Memory),
            Ending::Quiet => {
                self.pass(Duration::from_secs(61));
                (KEPT[1], Complaint::Quiet)
            }
            Ending::Gone => {
                self.pass(2 * IDLE + Duration::from_secs(120));
                (KEPT[2], Complaint::Gone)
            }
        };
        self.notes.see((15, self.ground.ending, self.bytes / 1024));
        let snapshot = self.director.snapshot();
        let left = snapshot.sessions.values().sum::<u64>();
        if self.ground.ending == Ending::Gone && (left > 0 || snapshot.pinholes > 0) {
            complain(Complaint::HalfOpen, || format!("{left} sessions and {} rows for ever", snapshot.pinholes));
        }
        if self.ground.ending != Ending::Now && (snapshot.held > 0 || !self.held.is_empty()) {
            complain(Complaint::Stuck, || format!("{} packets held for ever", snapshot.held));
        }
        if let Some(cluster) = snapshot.clusters.values().next() {
            let counts = cluster.unparsed.iter().chain(&cluster.blind).chain(&cluster.commands);
            counts.for_each(|(name, count)| self.notes.see((*name, count.ilog2())));
            cluster.expectations.iter().for_each(|(what, count)| self.notes.see((what, count.ilog2())));
        }
        drop(snapshot);
        let Self { director, mut notes, ground, .. } = self;
        // The ring of what `explain` remembers has its size from the beginning.
        let owned = memory::owned(director).saturating_sub(memory::owned(ground.director()));
        oracle::explain(|| format!("{owned} bytes for {sessions} sessions"));
        // sessions that stay for ever are another complaint
        if ground.ending != Ending::Gone || left == 0 {
            notes.see((14, complaint, owned / 1024));
            if owned > kept.0 + kept.1 * sessions {
                complain(complaint, || format!("{owned} bytes for {sessions} sessions"));
            }
        }
        notes.features
    }
}

/// How much of a text goes into one segment.
fn segment_length(text: &[u8]) -> usize {
    let mut lines = 0;
    let ends = text.iter().take(SEGMENT).position(|byte| {
        lines += usize::from(*byte == b'\n');
        lines == LINES
    });
    ends.map_or(text.len().min(SEGMENT), |at| at + 1)
}
