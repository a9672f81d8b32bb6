//! Which segments belong to the connection that is followed, and what begins and ends it.
//!
//! Whoever knows the addresses and ports can send a segment, and is believed only if he knows the numbers too, as a
//! TCP has it since RFC 5961: both of them near what is expected, or for a RST the very next.

use super::early::is_harmless;
use super::state::{Half, Heard, LineMode, Session};
use super::stream::{WINDOW, advance, distance, is_elsewhere};
use super::{CancelReason, Context, Direction, Event, Flags, Replies, Segment, Syn};
use crate::time::Time;

/// How far ahead of what it has a server may keep bytes: far more than net.ipv4.tcp_rmem lets a receive buffer grow.
const FURTHEST: i32 = 1 << 24;

/// How long, in seconds, a SYN may have been that of the connection that is followed.
const YOUNG: u32 = 60;

/// Which connection a segment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belonging {
    /// The connection that this session follows.
    Own,
    /// The first segment of another connection on the same ports.
    Another,
    /// A segment from someone who does not know this connection's numbers.
    Nobody,
    /// The client's, of what it said before, and it acknowledges more than was heard of: that much is not believed.
    Again,
    /// The client's, but not to be read here, or further ahead than anything is kept.
    Beyond,
}

impl Belonging {
    /// Whether the segment is to be read by this session.
    #[must_use]
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Own | Self::Again)
    }
}

impl Session {
    /// The connection that a segment belongs to, at `now`, by what was seen of a SYN.
    #[must_use]
    pub fn belonging(&self, now: Time, syn: Syn, segment: &Segment<'_>) -> Belonging {
        let (half, other) = self.halves(segment.direction);
        if segment.flags.has(Flags::SYN) {
            let own = !half.known || (!self.closed && !is_elsewhere(segment.seq.wrapping_add(1), half.next));
            return if own { Belonging::Own } else { Belonging::Another };
        }
        if !segment.flags.has(Flags::ACK) {
            return Belonging::Nobody; // no TCP reads it (RFC 9293 §3.10.7.4)
        }
        let ack = !other.known || !is_elsewhere(segment.ack, other.next);
        if ack && (!half.known || !is_elsewhere(segment.seq, half.next)) {
            return Belonging::Own;
        }
        if let Some(astray) = self.with_another_ack(segment) {
            return astray;
        }
        // Passed on, it would wait in the server's buffer for the bytes before it, and come to be read unseen.
        // (No server's buffer reaches further; and a session that a forged first segment led to the wrong numbers must not
        // drop what is right.)
        let ahead =
            segment.direction == Direction::ToServer && (1..=FURTHEST).contains(&distance(segment.seq, half.next));
        let beyond = ack && ahead && !self.ciphered && !self.closed;
        if beyond && other.known {
            return Belonging::Beyond;
        }
        if syn == Syn::Seen && self.may_be_replaced(now) && !segment.payload.is_empty() {
            return Belonging::Another;
        }
        if beyond || self.may_reach(segment) { Belonging::Beyond } else { Belonging::Nobody }
    }

    /// Whose a segment is that fits the client's number alone. A server may take it, for it believes acknowledgements of long
    /// ago (RFC 5961 §5.2); TCP repeats it with one that fits, if it is the client's own. Where the replies do not pass here
    /// an acknowledgement can be far ahead behind a long one, since those without a payload do not come here either: then the
    /// very next number is proof enough, what was read is judged again, and what is early comes again behind what it follows.
    fn with_another_ack(&self, segment: &Segment<'_>) -> Option<Belonging> {
        let (half, other) = self.halves(segment.direction);
        if is_elsewhere(segment.seq, half.next) || !self.may_reach(segment) {
            return None;
        }
        let believable = self.unheard && distance(segment.ack, other.next) > 0;
        Some(match distance(segment.seq, half.next) {
            0 if believable => Belonging::Own,
            ..0 if believable => Belonging::Again,
            _ => Belonging::Beyond,
        })
    }

    /// Whether the server may come to read what the client sends here, whatever it acknowledges.
    #[must_use]
    pub fn may_reach(&self, segment: &Segment<'_>) -> bool {
        segment.direction == Direction::ToServer
            && self.is_whole()
            && !self.ciphered
            && !self.closed
            && !segment.payload.is_empty()
            && (-FURTHEST..=FURTHEST).contains(&distance(segment.seq, self.to_server.next))
    }

    /// Whether a SYN that was seen can be that of another connection.
    fn may_be_replaced(&self, now: Time) -> bool {
        self.closed || self.heard != Heard::More || seconds(now).wrapping_sub(self.since) >= YOUNG
    }

    /// Whether the sender has seen this connection: both numbers are near, as far as they are known, or it is a RST with
    /// the very next.
    #[must_use]
    pub fn is_known_to(&self, segment: &Segment<'_>) -> bool {
        let (half, other) = self.halves(segment.direction);
        let near = (half.known || other.known)
            && (!half.known || !is_elsewhere(segment.seq, half.next))
            && (!other.known || !is_elsewhere(segment.ack, other.next));
        let next = half.next.wrapping_add(u32::from(half.fin));
        let ends = segment.flags.has(Flags::RST) && half.known && (segment.seq == half.next || segment.seq == next);
        !self.closed && (ends || (near && segment.flags.has(Flags::ACK)))
    }

    /// Whether a segment is this connection's whatever others on its ports know: the numbers of both halves are known, and fit, or
    /// that of the client does and the server may take it.
    #[must_use]
    pub fn owns(&self, segment: &Segment<'_>) -> bool {
        let near = self.may_reach(segment) && !is_elsewhere(segment.seq, self.to_server.next);
        self.is_whole() && (near || self.is_known_to(segment))
    }

    /// Whether both of its numbers are known.
    const fn is_whole(&self) -> bool {
        self.to_server.known && self.to_client.known
    }

    pub(super) const fn halves(&self, direction: Direction) -> (&Half, &Half) {
        match direction {
            Direction::ToServer => (&self.to_server, &self.to_client),
            Direction::ToClient => (&self.to_client, &self.to_server),
        }
    }

    /// Another connection on the same ports.
    pub(super) fn restart(&mut self, events: &mut Vec<Event>) {
        if !self.closed {
            self.close(events);
        }
        *self = Self::default();
    }

    /// What a segment of this connection says by its numbers alone.
    pub(super) fn note(&mut self, context: &Context<'_>, segment: &Segment<'_>) {
        if !self.to_server.known && !self.to_client.known {
            self.since = seconds(context.now);
            if segment.direction == Direction::ToServer {
                // What the client has of the replies; of one that passed before, it may not know yet.
                self.to_client.next = segment.ack;
            }
        }
        if segment.flags.has(Flags::SYN) {
            self.take_up_at(segment.direction, segment.seq.wrapping_add(1));
            return;
        }
        self.unheard = context.policy.replies == Replies::Unseen;
        let unread = self.unheard || self.ciphered;
        if segment.direction == Direction::ToServer && unread {
            self.follow_acknowledgements(segment.ack);
        }
        if distance(self.to_server.next, self.forgotten).unsigned_abs() > WINDOW {
            self.forgotten = self.to_server.next.wrapping_sub(WINDOW);
        }
        let fresh = !self.to_server.known || distance(segment.seq, self.to_server.next) >= 0;
        if segment.direction == Direction::ToServer && fresh && !segment.payload.is_empty() {
            self.heard = if self.heard == Heard::Nothing { Heard::Once } else { Heard::More };
        }
        self.acknowledge(segment);
    }

    /// Where replies are not read: how far they have come.
    fn follow_acknowledgements(&mut self, ack: u32) {
        let half = &mut self.to_client;
        if !half.known || distance(ack, half.next) > 0 {
            (half.known, half.next) = (true, ack);
        }
    }

    fn take_up_at(&mut self, direction: Direction, next: u32) {
        let half = self.half(direction);
        if half.known {
            return;
        }
        (half.known, half.next) = (true, next);
        if direction == Direction::ToServer {
            (self.begin, self.forgotten) = (next, next);
        }
    }

    /// Takes the stream up at a segment if nothing of it is known: the SYN may never have been seen.
    pub(super) fn take_up(&mut self, segment: &Segment<'_>) {
        let silent = segment.payload.is_empty() && !segment.flags.has(Flags::FIN);
        if !silent && !self.halves(segment.direction).0.known {
            // Replies passed unread between: this command may have come again, and one of them was its own.
            if segment.direction == Direction::ToClient && self.to_server.known && segment.seq != self.to_client.next {
                self.dialogue.doubt();
            }
            self.take_up_at(segment.direction, segment.seq);
            self.half(segment.direction).lenient = true;
        }
    }

    /// RST ends the connection if its number is the very next (RFC 5961 §3.2), or both of its numbers are near: some
    /// systems' are a little off, and of an encrypted connection the very next is not always known.
    pub(super) fn reset(&mut self, segment: &Segment<'_>, events: &mut Vec<Event>) {
        let (half, other) = self.halves(segment.direction);
        let next = half.next.wrapping_add(u32::from(half.fin));
        let exact = half.known && (segment.seq == half.next || segment.seq == next);
        let acks = segment.flags.has(Flags::ACK) && other.known;
        let near =
            acks && half.known && !is_elsewhere(segment.seq, half.next) && !is_elsewhere(segment.ack, other.next);
        // the first word of a server
        let first = acks && !half.known && segment.ack == other.next;
        if !self.closed && (exact || near || first) {
            // To a RST that is near a server answers with a challenge (RFC 5961 §3.2), and the connection goes on.
            // Nor is the next number here that of a server which waits for what was given up.
            let waits = (!exact && self.awaits_more()) || self.has_given_up();
            self.guessed = segment.direction == Direction::ToServer && waits;
            self.close(events);
        }
    }

    /// Notes a FIN that ends everything up to `next`.
    pub(super) fn finish(&mut self, direction: Direction, replies: Replies, events: &mut Vec<Event>) {
        let half = self.half(direction);
        half.fin = true;
        if direction == Direction::ToServer {
            self.dialogue.end_commands(CancelReason::Fin, events);
        }
        // Behind bytes that were given up a FIN has not come yet to the server, which waits for them.
        self.guessed |= direction == Direction::ToServer && self.has_given_up();
        let both = self.to_server.fin && self.to_client.fin;
        if !self.closed && (both || (direction == Direction::ToServer && replies == Replies::Unseen)) {
            self.close(events);
        }
    }

    /// Whether more of a line may come that has begun, or bytes that others follow.
    fn awaits_more(&self) -> bool {
        self.to_server.mode != LineMode::Start || self.heap.as_ref().is_some_and(|heap| !heap.ahead.is_empty())
    }

    /// Whether bytes of the client's were given up that a server may still wait for.
    fn has_given_up(&self) -> bool {
        let recent = distance(self.to_server.next, self.forgotten).unsigned_abs() < WINDOW;
        recent && self.forgotten != self.begin
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        self.dialogue.cancel(CancelReason::Close, events);
        self.closed = true;
        events.push(Event::End);
    }

    /// Forgets edits that need not be made again, and learns which bytes of the client's came by another way.
    fn acknowledge(&mut self, segment: &Segment<'_>) {
        if segment.direction == Direction::ToServer {
            if let Some(heap) = &mut self.heap {
                heap.reply_patches.acknowledge(segment.ack);
            }
            return;
        }
        if let Some(heap) = &mut self.heap {
            heap.edits.acknowledge(segment.ack);
        }
        // what the server has, it does not take again
        if distance(segment.ack, self.forgotten) >= 0 {
            self.forgotten = segment.ack.wrapping_sub(WINDOW);
        }
    }

    /// Whether the client sends again what must not pass as it is. One byte is a keep-alive (RFC 1122 §4.2.3.6). What lies
    /// before everything that was seen may have been overtaken, and passes if nothing can be made of it.
    pub(super) fn is_forgotten(&self, context: &Context<'_>, segment: &Segment<'_>) -> bool {
        let end = advance(segment.seq, segment.payload.len());
        let probe = segment.payload.len() == 1 && end == self.to_server.next;
        segment.direction == Direction::ToServer
            && self.to_server.known
            && self.resumes != Some(segment.seq)
            && (!self.ciphered || self.has_given_up())
            && !segment.payload.is_empty()
            && !probe
            && distance(segment.seq, self.forgotten) < 0
            && !(distance(end, self.begin) <= 0 && is_harmless(context, segment.payload))
    }

    /// What the client sends again from before `end` is not let through.
    pub(super) fn forget(&mut self, end: u32) {
        if distance(end, self.forgotten) > 0 {
            self.forgotten = end;
        }
    }
}

/// A time of day for comparisons: seconds, modulo 2³².
pub(super) fn seconds(now: Time) -> u32 {
    u32::try_from(now.as_millis().wrapping_div(1000) & u64::from(u32::MAX)).unwrap_or(0)
}
