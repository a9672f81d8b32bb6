//! One control connection: what both directions have in common.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use super::command::is_readable;
use super::stream::{Ahead, Patches, advance, distance, is_elsewhere};
use super::unfinished::Unfinished;
use super::{BlindReason, CancelReason, Context, Direction, Event, Flags, Replies, Segment, Told, Verb, Verdict};
use crate::time::Time;

/// How long a client's bytes may be missing before the session goes blind: a few of its retransmissions.
const GAP: Duration = Duration::from_secs(30);

/// The state of one control connection. Idle it owns no memory but itself.
#[derive(Debug, Default)]
pub struct Session {
    pub(super) to_server: Half,
    pub(super) to_client: Half,
    pub(super) heap: Option<Box<Heap>>,
    /// The expectation that the last PORT, PASV or transfer made.
    pub(super) pending: Pending,
    /// Whether a transfer verb came after it.
    pub(super) began: bool,
    /// Whether PORT or PASV was ever given: if not, transfers use the default data port (RFC 959 §3.2).
    pub(super) named: bool,
    /// Whether EPSV ALL was accepted (RFC 2428 §4).
    pub(super) epsv_all: bool,
    /// Final replies until the one that answers EPSV ALL; 0 if none is awaited.
    pub(super) epsv_all_in: u8,
    /// Commands without a final reply.
    pub(super) awaiting: u8,
    /// Passive commands without a 227, 228 or 229.
    pub(super) asked: u8,
    /// The last of them.
    pub(super) asked_by: Verb,
    /// The verb of the unfinished command, once known.
    pub(super) verb: Verb,
    /// A security mechanism that was asked for (RFC 2228 §3).
    pub(super) auth: Auth,
    /// The code of a reply of several lines that is being read; 0 if none is.
    pub(super) multiline: u16,
    /// The port that this reply named, and the one that the client is told.
    pub(super) told: Option<(u16, u16)>,
    blind: Option<BlindReason>,
    closed: bool,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// The sequence number behind everything that was read.
    pub next: u32,
    /// How much of an unfinished line there is, in bytes.
    pub line: u32,
    /// What is done with its next bytes.
    pub mode: Mode,
    /// Whether `next` is known.
    pub known: bool,
    /// Whether reading began somewhere in the middle: the first line may be half a line.
    pub lenient: bool,
    fin: bool,
}

/// What is done with the bytes of an unfinished line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// There is none.
    #[default]
    Start,
    /// They are kept: what the line is, is not known yet.
    Keep,
    /// They are kept until the line is complete: a command whose argument matters.
    Argument,
    /// Everything that matters is known; they are not kept.
    Skip,
    /// They are overwritten: the command is refused.
    Overwrite,
}

/// Which kind of data connection is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pending {
    #[default]
    Nothing,
    Passive,
    Active,
}

/// What AUTH asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Auth {
    #[default]
    Nothing,
    Tls,
    Gssapi,
}

/// What a session needs now and then.
#[derive(Default)]
pub(super) struct Heap {
    /// The unfinished command.
    pub command: Vec<u8>,
    /// The unfinished reply.
    pub reply: Option<Unfinished>,
    /// Commands that came too early.
    pub ahead: Ahead,
    /// Edits of commands.
    pub command_patches: Patches,
    /// Edits of replies.
    pub reply_patches: Patches,
    /// The lowest sequence number of the replies that are held because others are missing before them.
    pub held: Option<u32>,
    /// Whether what is missing before them is given up.
    pub overdue: bool,
    /// When held segments are released.
    pub hold_until: Option<Time>,
    /// When missing commands are given up.
    pub gap_until: Option<Time>,
}

impl Heap {
    fn is_idle(&self) -> bool {
        self.command.is_empty()
            && self.reply.is_none()
            && self.ahead.is_empty()
            && self.command_patches.is_empty()
            && self.reply_patches.is_empty()
            && self.held.is_none()
            && self.hold_until.is_none()
    }
}

impl fmt::Debug for Heap {
    /// Never what clients sent: it may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap").finish_non_exhaustive()
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        super::line::wipe(&mut self.command);
    }
}

/// What a segment is judged with.
pub(super) struct Turn<'a> {
    pub context: &'a Context<'a>,
    pub ports: &'a mut dyn FnMut(u16) -> Told,
    pub events: &'a mut Vec<Event>,
}

impl Session {
    /// A session of which nothing has been seen.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Offers a segment before it is released. Events are appended to `events`. `ports` is called once for every port
    /// that a passive reply names and returns what to tell the client, normally the same. A port whose text is longer
    /// may find no room in the reply ([`Event::NoRoom`]).
    pub fn segment(
        &mut self,
        context: &Context<'_>,
        segment: &mut Segment<'_>,
        ports: &mut dyn FnMut(u16) -> Told,
        events: &mut Vec<Event>,
    ) -> Verdict {
        if !self.belongs(segment) {
            self.restart(events);
        }
        if segment.flags.has(Flags::RST) {
            self.reset(segment, events);
            return Verdict::Pass;
        }
        if segment.flags.has(Flags::SYN) {
            self.begin(segment);
            return Verdict::Pass;
        }
        self.acknowledge(segment);
        if self.closed {
            return if self.repeat_edits(segment) { Verdict::Edited } else { Verdict::Pass };
        }
        if context.policy.implicit_tls && self.blind.is_none() {
            self.go_blind(BlindReason::Tls, events);
        }
        let mut turn = Turn { context, ports, events };
        let verdict = match segment.direction {
            Direction::ToServer => self.client_segment(&mut turn, segment),
            Direction::ToClient => self.server_segment(&mut turn, segment),
        };
        self.tidy();
        verdict
    }

    /// When [`Session::timeout`] wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let heap = self.heap.as_ref()?;
        heap.hold_until.into_iter().chain(heap.gap_until).min()
    }

    /// Gives up what was waited for, if its time is up. Held segments are then to be offered again, and come out.
    pub fn timeout(&mut self, context: &Context<'_>, events: &mut Vec<Event>) {
        let Some(heap) = &mut self.heap else { return };
        if heap.hold_until.is_some_and(|at| at <= context.now) {
            heap.hold_until = None;
            self.release(context, events);
        }
        if self.heap.as_ref().and_then(|heap| heap.gap_until).is_some_and(|at| at <= context.now) {
            self.go_blind(BlindReason::Gap, events);
        }
        self.tidy();
    }

    /// Whether the connection is closed: the session can be forgotten.
    #[must_use]
    pub const fn closed(&self) -> bool {
        self.closed
    }

    /// Commands without a final reply; where replies are not seen it only grows.
    #[must_use]
    pub const fn awaiting(&self) -> u8 {
        self.awaiting
    }

    /// Why it cannot be read at present.
    #[must_use]
    pub const fn blind(&self) -> Option<BlindReason> {
        self.blind
    }

    /// Bytes owned beyond `size_of::<Session>()`.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.heap.as_ref().map_or(0, |heap| {
            size_of::<Heap>()
                .saturating_add(heap.command.capacity())
                .saturating_add(heap.reply.as_ref().map_or(0, Unfinished::bytes))
                .saturating_add(heap.ahead.bytes())
                .saturating_add(heap.command_patches.bytes())
                .saturating_add(heap.reply_patches.bytes())
        })
    }

    /// There is no memory for what reading it would keep.
    pub fn give_up_memory(&mut self, events: &mut Vec<Event>) {
        self.go_blind(BlindReason::Memory, events);
        self.heap = None;
    }

    /// The memory for what an idle session does not have.
    pub(super) fn heap(&mut self) -> &mut Heap {
        self.heap.get_or_insert_default()
    }

    pub(super) fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }

    /// Whether a segment can belong to the connection that was followed so far.
    fn belongs(&mut self, segment: &Segment<'_>) -> bool {
        let (closed, blind) = (self.closed, self.blind.is_some());
        let half = self.half(segment.direction);
        if segment.flags.has(Flags::SYN) {
            return !half.known || (!closed && !is_elsewhere(segment.seq.wrapping_add(1), half.next));
        }
        // of a blind connection not every segment need come here
        let silent = segment.payload.is_empty() || (blind && !is_readable(segment.payload));
        !half.known || (silent && !closed) || segment.flags.has(Flags::RST) || !is_elsewhere(segment.seq, half.next)
    }

    /// Another connection on the same ports.
    fn restart(&mut self, events: &mut Vec<Event>) {
        if !self.closed {
            self.close(events);
        }
        *self = Self::default();
    }

    fn begin(&mut self, segment: &Segment<'_>) {
        let half = self.half(segment.direction);
        if !half.known {
            (half.known, half.next) = (true, segment.seq.wrapping_add(1));
        }
    }

    /// RST ends the connection, unless somebody far outside the window made it up.
    fn reset(&mut self, segment: &Segment<'_>, events: &mut Vec<Event>) {
        let half = self.half(segment.direction);
        let forged = half.known && is_elsewhere(segment.seq, half.next) && self.blind.is_none();
        if !self.closed && !forged {
            self.close(events);
        }
    }

    /// Makes remembered edits in a retransmission; says whether that changed it.
    pub(super) fn repeat_edits(&self, segment: &mut Segment<'_>) -> bool {
        let Some(heap) = &self.heap else { return false };
        match segment.direction {
            Direction::ToServer => heap.command_patches.apply(segment.seq, segment.payload),
            Direction::ToClient => heap.reply_patches.apply(segment.seq, segment.payload),
        }
    }

    /// Forgets edits that need not be made again.
    fn acknowledge(&mut self, segment: &Segment<'_>) {
        if let Some(heap) = &mut self.heap
            && segment.flags.has(Flags::ACK)
        {
            match segment.direction {
                Direction::ToServer => heap.reply_patches.acknowledge(segment.ack),
                Direction::ToClient => heap.command_patches.acknowledge(segment.ack),
            }
        }
    }

    /// Takes the stream up at a segment if nothing of it is known: the SYN may never have been seen.
    pub(super) fn take_up(&mut self, segment: &Segment<'_>) {
        let silent = segment.payload.is_empty() && !segment.flags.has(Flags::FIN);
        let half = self.half(segment.direction);
        if !half.known && !silent {
            (half.known, half.next, half.lenient) = (true, segment.seq, true);
        }
    }

    /// Notes a FIN that ends everything up to `next`.
    pub(super) fn finish(&mut self, direction: Direction, replies: Replies, events: &mut Vec<Event>) {
        let half = self.half(direction);
        half.fin = true;
        if direction == Direction::ToServer && !self.began {
            self.cancel(CancelReason::Fin, events);
        }
        let both = self.to_server.fin && self.to_client.fin;
        if !self.closed && (both || (direction == Direction::ToServer && replies == Replies::Unseen)) {
            self.close(events);
        }
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        self.cancel(CancelReason::Close, events);
        self.closed = true;
        events.push(Event::End);
    }

    /// Ends the pending expectation, if there is one.
    pub(super) fn cancel(&mut self, reason: CancelReason, events: &mut Vec<Event>) {
        if self.pending != Pending::Nothing {
            self.pending = Pending::Nothing;
            events.push(Event::Cancel { reason });
        }
    }

    /// Stops reading. What is expected stays expected, and edits are still repeated.
    pub(super) fn go_blind(&mut self, reason: BlindReason, events: &mut Vec<Event>) {
        self.blind = Some(reason);
        events.push(Event::Blind { reason });
        for half in [&mut self.to_server, &mut self.to_client] {
            (half.line, half.mode) = (0, Mode::Start);
        }
        (self.asked, self.awaiting, self.epsv_all_in, self.multiline) = (0, 0, 0, 0);
        (self.auth, self.told) = (Auth::Nothing, None);
        if let Some(heap) = &mut self.heap {
            super::line::wipe(&mut heap.command);
            heap.ahead = Ahead::default();
            (heap.reply, heap.held, heap.hold_until, heap.gap_until, heap.overdue) = (None, None, None, None, false);
        }
    }

    /// Reads again, from a segment of the client on.
    pub(super) fn regain_sight(&mut self, segment: &Segment<'_>, events: &mut Vec<Event>) {
        self.blind = None;
        events.push(Event::Sighted);
        (self.to_server.next, self.to_server.lenient) = (segment.seq, false);
        self.to_client.known = false;
    }

    /// Follows a stream that is not read.
    pub(super) fn follow(&mut self, segment: &Segment<'_>) {
        let end = advance(segment.seq, segment.payload.len());
        let half = self.half(segment.direction);
        if distance(end, half.next) > 0 || segment.flags.has(Flags::FIN) {
            half.next = end;
        }
    }

    /// Missing commands are given up after a while.
    pub(super) fn await_commands(&mut self, now: Time) {
        self.heap().gap_until.get_or_insert(now.add(GAP));
    }

    fn tidy(&mut self) {
        let Some(heap) = &mut self.heap else { return };
        if heap.ahead.is_empty() {
            heap.gap_until = None;
        }
        if heap.hold_until.is_none() {
            heap.command_patches.trim();
            heap.reply_patches.trim();
        }
        if heap.is_idle() {
            self.heap = None;
        }
    }
}

#[cfg(test)]
mod tests;
