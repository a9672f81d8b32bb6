//! What was overwritten in the client's half: where, and no more. A retransmission is overwritten again.

use std::ops::{Add, Range};
use std::time::Duration;

use super::commands::Extent;
use super::line::is_blank;
use super::session::Session;
use super::stream::{advance, distance};
use super::{Context, Direction, Replies, Segment};
use crate::time::Time;

/// How many stretches are remembered.
const MOST: usize = 64;

/// How long, in seconds, where the server's acknowledgements are not seen. A client gives a segment up after this at the
/// latest, or nearly so (RFC 1122 §4.2.3.5: R2 is at least 100 s).
const LIFETIME: u16 = 120;

/// A stretch of the stream of which every byte becomes X that is no blank and no line's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edit {
    seq: u32,
    length: Length,
    /// Seconds, modulo 2¹⁶.
    made: u16,
}

/// How much, and what of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Length(u16);

impl Length {
    const END: u16 = 1 << 15;
    /// The longest, in bytes.
    pub(super) const MOST: usize = 0x7fff;

    /// This many bytes: their text.
    pub(super) fn text(length: usize) -> Self {
        Self(u16::try_from(length).unwrap_or(u16::MAX).min(Self::END.wrapping_sub(1)))
    }

    /// One byte of a line's end.
    pub(super) const fn end() -> Self {
        Self(1 | Self::END)
    }

    const fn bytes(self) -> usize {
        (self.0 & !Self::END) as usize
    }

    const fn is_end(self) -> bool {
        self.0 & Self::END != 0
    }
}

impl Edit {
    fn end(&self) -> u32 {
        advance(self.seq, self.length.bytes())
    }
}

/// All of them, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Edits(Vec<Edit>);

impl Edits {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.0.capacity().saturating_mul(size_of::<Edit>())
    }

    /// Where the last one ends.
    pub(super) fn last_end(&self) -> Option<u32> {
        self.0.last().map(Edit::end)
    }

    /// Remembers one; returns the end of one that is forgotten for it.
    pub(super) fn push(&mut self, seq: u32, length: Length, now: u16) -> Option<u32> {
        if let Some(last) = self.0.last_mut()
            && !last.length.is_end()
            && !length.is_end()
            && last.end() == seq
            && let whole = last.length.bytes().saturating_add(length.bytes())
            && whole <= Length::MOST
        {
            last.length = Length::text(whole);
            last.made = now;
            return None;
        }
        let forgotten = (self.0.len() >= MOST).then(|| self.0.remove(0).end());
        self.0.push(Edit { seq, length, made: now });
        forgotten
    }

    /// Makes them in a segment; says whether one of them reaches into it.
    pub(super) fn apply(&self, seq: u32, payload: &mut [u8]) -> bool {
        let mut reaches = false;
        for edit in &self.0 {
            let offset = distance(edit.seq, seq);
            let into = usize::try_from(offset).unwrap_or(0);
            let behind = usize::try_from(offset.saturating_neg()).unwrap_or(0);
            let length = edit.length.bytes().saturating_sub(behind);
            let end = into.saturating_add(length).min(payload.len());
            let Some(bytes) = payload.get_mut(into..end).filter(|bytes| !bytes.is_empty()) else { continue };
            reaches = true;
            overwrite(bytes, edit.length);
        }
        reaches
    }

    /// Forgets what the server has acknowledged.
    pub(super) fn acknowledge(&mut self, ack: u32) {
        self.0.retain(|edit| distance(edit.end(), ack) > 0);
    }

    /// Forgets what is old; returns the end of the last of these, and the seconds until the next is.
    pub(super) fn age(&mut self, now: u16) -> (Option<u32>, Option<u16>) {
        let mut forgotten: Option<u32> = None;
        self.0.retain(|edit| {
            let old = now.wrapping_sub(edit.made) >= LIFETIME;
            if old && forgotten.is_none_or(|end| distance(edit.end(), end) > 0) {
                forgotten = Some(edit.end());
            }
            !old
        });
        let left = self.0.iter().map(|edit| LIFETIME.saturating_sub(now.wrapping_sub(edit.made))).min();
        (forgotten, left)
    }
}

/// Makes a text, or one byte of its end, something that no server knows.
fn overwrite(bytes: &mut [u8], length: Length) {
    for byte in bytes.iter_mut().filter(|byte| length.is_end() || is_text(**byte)) {
        *byte = b'X';
    }
}

const fn is_text(byte: u8) -> bool {
    !is_blank(byte) && !matches!(byte, b'\r' | b'\n')
}

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
            if *bytes == *b"\n" {
                self.count.doubt(); // the next line is its end now
            }
            overwrite(bytes.get_mut(..1).unwrap_or(&mut []), Length::end());
            self.remember(context, advance(segment.seq, range.start), Length::end());
        }
    }

    fn remember_text(&mut self, context: &Context<'_>, segment: &Segment<'_>, range: Range<usize>) {
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

/// Seconds, modulo 2¹⁶.
fn stamp(now: Time) -> u16 {
    u16::try_from(now.as_millis().wrapping_div(1000) & u64::from(u16::MAX)).unwrap_or(0)
}
