//! One control connection: a segment or a timeout goes in, a verdict and events come out.

use super::early::is_harmless;
pub use super::state::Session;
use super::state::{Heap, LineMode, Turn, Unfinished};
use super::window::Belonging;
use super::{BlindReason, Context, Direction, Event, Flags, Segment, Told, Verdict};
use crate::time::Time;

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
        if segment.flags.has(Flags::RST) {
            self.reset(segment, events);
            return Verdict::Pass;
        }
        let belonging = self.belonging(context.now, context.syn, segment);
        match belonging {
            Belonging::Own | Belonging::Again => {}
            Belonging::Another => self.restart(events),
            Belonging::Nobody => return Verdict::Pass,
            Belonging::Beyond => return Verdict::Drop,
        }
        if belonging != Belonging::Again {
            self.note(context, segment);
        }
        if segment.flags.has(Flags::SYN) {
            return Verdict::Pass;
        }
        if self.is_forgotten(context, segment) {
            return Verdict::Drop;
        }
        if self.closed {
            // What completes a line that nobody reads any more must be harmless by itself.
            let late = segment.direction == Direction::ToServer && self.guessed && !self.ciphered;
            if late && !segment.payload.is_empty() && !is_harmless(context, segment.payload) {
                return Verdict::Drop;
            }
            return if self.repeat_edits(segment) { Verdict::Edited } else { Verdict::Pass };
        }
        if context.policy.implicit_tls && self.blind.is_none() {
            self.go_dark(BlindReason::Tls, events);
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
        let gap = heap.gap.map(|gap| gap.until);
        [heap.hold_until, gap, heap.edits_until].into_iter().flatten().min()
    }

    /// Gives up what was waited for, if its time is up. Held segments are then to be offered again, and come out.
    pub fn timeout(&mut self, context: &Context<'_>, events: &mut Vec<Event>) {
        let Some(heap) = &mut self.heap else { return };
        if heap.hold_until.is_some_and(|at| at <= context.now) {
            heap.hold_until = None;
            self.release(context, events);
        }
        if self.heap.as_ref().and_then(|heap| heap.gap).is_some_and(|gap| gap.until <= context.now) {
            self.give_up_gap(events);
        }
        if self.heap.as_ref().and_then(|heap| heap.edits_until).is_some_and(|at| at <= context.now) {
            self.age_edits(context.now);
        }
        self.tidy();
    }

    /// Whether the connection is closed.
    #[must_use]
    pub const fn closed(&self) -> bool {
        self.closed
    }

    /// Whether it is closed beyond doubt: the session can be forgotten. (Another one would begin in the middle of a line that the
    /// server still waits for.)
    #[must_use]
    pub const fn gone(&self) -> bool {
        self.closed && !self.guessed
    }

    /// Commands without a final reply, at most 255; where replies are not seen, 0.
    #[must_use]
    pub fn awaiting(&self) -> u8 {
        u8::try_from(self.dialogue.outstanding()).unwrap_or(u8::MAX)
    }

    /// Whether what its client said last was let through and is not read yet: commands before it are missing.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.heap.as_ref().is_some_and(|heap| !heap.ahead.is_empty())
    }

    /// Whether no reply that may come now has to be changed, opens anything, or ends what can be read (NAT): none of them need be
    /// held until it is read. What the server sends is read from its beginning, so that nothing is missed.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.heap.is_none()
            && self.blind.is_none()
            && !self.closed
            && self.to_server.known
            && !self.to_server.fin
            && self.to_server.mode == LineMode::Start
            && self.to_client.known
            && self.to_client.mode == LineMode::Start
            && self.dialogue.is_calm()
    }

    /// Why the connection cannot be read at present.
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
                .saturating_add(heap.edits.bytes())
                .saturating_add(heap.reply_patches.bytes())
        })
    }
}

#[cfg(test)]
mod tests;
