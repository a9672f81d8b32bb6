//! Overwriting commands that are refused, and again what a retransmission brings.

use std::ops::{Add, Range};
use std::time::Duration;

use super::edits::{Extent, LIFETIME, Length, is_text, overwrite};
use super::state::Session;
use super::stream::{advance, distance};
use super::{Context, Direction, Replies, Segment};
use crate::time::Time;

impl Session {
    /// Makes a command, or the part of it that is at hand, something that no server knows, in as many bytes; the line's
    /// end stays, unless nothing else is left to change.
    pub(super) fn spoil(
        &mut self,
        context: &Context<'_>,
        segment: &mut Segment<'_>,
        range: Range<usize>,
        extent: Extent,
    ) {
        let Some(bytes) = segment.payload.get_mut(range.clone()).filter(|bytes| !bytes.is_empty()) else { return };
        if bytes.iter().any(|byte| is_text(*byte)) {
            overwrite(bytes, Length::text(bytes.len()));
            self.remember_text(context, segment, range);
        } else if extent == Extent::First {
            // Only the line feed is left to change, so the server reads on to the next one: two lines are one command to it.
            if *bytes == *b"\n" {
                self.dialogue.doubt();
            }
            overwrite(bytes.get_mut(..1).unwrap_or(&mut []), Length::end());
            self.remember(context, advance(segment.seq, range.start), Length::end());
        }
    }

    fn remember_text(&mut self, context: &Context<'_>, segment: &Segment<'_>, range: Range<usize>) {
        // Blanks between two stretches are never changed, so both can be remembered as one.
        let mut start = range.start;
        let last = self.heap.as_ref().and_then(|heap| heap.edits.last_end());
        if let Some(end) = last.and_then(|end| usize::try_from(distance(end, segment.seq)).ok())
            && segment.payload.get(end..start).is_some_and(|between| !between.iter().any(|byte| is_text(*byte)))
        {
            start = end;
        }
        while start < range.end {
            let length = range.end.saturating_sub(start).min(Length::MOST);
            self.remember(context, advance(segment.seq, start), Length::text(length));
            start = start.saturating_add(length);
        }
    }

    fn remember(&mut self, context: &Context<'_>, seq: u32, length: Length) {
        let heap = self.heap();
        // In NAT the server's acknowledgement says when no retransmission can come; in DR and TUN only time does.
        if context.policy.replies == Replies::Unseen {
            heap.edits_until.get_or_insert(context.now.add(Duration::from_secs(u64::from(LIFETIME))));
        }
        if let Some(end) = heap.edits.push(seq, length, stamp(context.now)) {
            self.forget(end);
        }
    }

    /// Makes remembered edits in a retransmission; says whether it carries one.
    pub(super) fn repeat_edits(&self, segment: &mut Segment<'_>) -> bool {
        let Some(heap) = &self.heap else { return false };
        match segment.direction {
            Direction::ToServer => heap.edits.apply(segment.seq, segment.payload),
            Direction::ToClient => heap.reply_patches.apply(segment.seq, segment.payload),
        }
    }

    /// Forgets the edits that are too old for a retransmission.
    pub(super) fn age_edits(&mut self, now: Time) {
        let Some(heap) = &mut self.heap else { return };
        let (forgotten, left) = heap.edits.age(stamp(now));
        heap.edits_until = left.map(|left| now.add(Duration::from_secs(u64::from(left))));
        if let Some(end) = forgotten {
            self.forget(end);
        }
    }
}

/// `now` in seconds modulo 2¹⁶, as edits keep it.
fn stamp(now: Time) -> u16 {
    u16::try_from(now.as_millis().wrapping_div(1000) & u64::from(u16::MAX)).unwrap_or(0)
}
