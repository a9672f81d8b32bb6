//! What is let go without having been read to its end, because there is no room to keep it.

use super::early::is_harmless;
use super::line::wipe;
use super::state::{LineMode, Session};
use super::stream::{advance, distance};
use super::{BlindReason, Context, Direction, Event, Flags, Segment, Verdict};

impl Session {
    /// In place of keeping a segment that is to be offered again ([`Verdict::Hold`], [`Verdict::More`]): what was not read of
    /// it goes unread, and reading goes on behind it. [`Verdict::Drop`] where a refused command could be made of the rest:
    /// TCP repeats it, and it is read on then.
    pub fn pass_unread(
        &mut self,
        context: &Context<'_>,
        segment: &mut Segment<'_>,
        events: &mut Vec<Event>,
    ) -> Verdict {
        let end = advance(segment.seq, segment.payload.len());
        if segment.direction == Direction::ToServer {
            // What comes with the same number may be another text, dropped or not.
            self.resumes = None;
        }
        match segment.direction {
            // What is still missing before it would be skipped with it.
            Direction::ToServer if self.is_early(segment) || !self.may_skip_commands(context, segment) => {
                return Verdict::Drop;
            }
            Direction::ToServer => {
                self.dim(BlindReason::Memory, events);
                self.skip_copies(end, events);
            }
            Direction::ToClient => {
                self.dim(BlindReason::Memory, events);
                let read = distance(self.to_client.next, end) >= 0;
                let whole = segment.payload.last().is_none_or(|last| *last == b'\n');
                let mode = if whole { LineMode::Start } else { LineMode::Skip };
                self.skip_replies(if read { self.to_client.next } else { end }, mode);
            }
        }
        if segment.flags.has(Flags::FIN) {
            self.finish(segment.direction, context.policy.replies, events);
        }
        let edited = self.repeat_edits(segment);
        self.tidy();
        if edited { Verdict::Edited } else { Verdict::Pass }
    }

    fn may_skip_commands(&self, context: &Context<'_>, segment: &Segment<'_>) -> bool {
        let read = usize::try_from(distance(self.to_server.next, segment.seq)).unwrap_or(0);
        let rest = segment.payload.get(read..).unwrap_or(&[]);
        rest.is_empty() || (!self.ciphered && self.to_server.mode == LineMode::Start && is_harmless(context, rest))
    }

    /// Commands up to `end` are not read, nor the copies that follow them. Those passed because they are harmless, so that they
    /// may pass once more. Copies behind a hole stay: what fills it is to be read.
    fn skip_copies(&mut self, mut end: u32, events: &mut Vec<Event>) {
        while let Some((seq, mut copy)) = self.heap.as_mut().and_then(|heap| heap.ahead.take(end)) {
            let behind = advance(seq, copy.len());
            wipe(&mut copy);
            if distance(behind, end) > 0 {
                end = behind;
            }
        }
        self.skip_commands(end, events);
    }
}
