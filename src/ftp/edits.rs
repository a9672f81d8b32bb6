//! What is overwritten in the client's half: where, and no more, so that a retransmission is overwritten again.

use super::line::is_blank;
use super::stream::{advance, distance};

/// How many stretches are remembered of one session. For the next the oldest is forgotten, and a retransmission of it dropped.
const MOST: usize = 64;

/// How long, in seconds, where the server's acknowledgements are not seen. A client gives a segment up after this at the
/// latest, or nearly so (RFC 1122 §4.2.3.5: R2 is at least 100 s).
pub(super) const LIFETIME: u16 = 120;

/// What becomes of the bytes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandFate {
    /// The server gets them.
    Pass,
    /// The server must not understand it.
    Overwrite(Extent),
}

/// What of a refused command is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The first that can be overwritten.
    First,
    /// Bytes behind those that were overwritten before.
    Rest,
}

/// A stretch of the stream of which every byte becomes X that is no blank and no line's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edit {
    seq: u32,
    length: Length,
    /// When the edit was made, seconds modulo 2¹⁶.
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

/// The edits of one session, in the order in which they were made.
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

    /// Remembers an edit; returns the end of the edit that is forgotten for it.
    pub(super) fn push(&mut self, seq: u32, length: Length, now: u16) -> Option<u32> {
        // A refused command that comes byte by byte is one stretch. A line's end is one of its own: in it every byte changes,
        // blanks and line ends too.
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

    /// Makes the edits in a segment; says whether one of them reaches into it.
    pub(super) fn apply(&self, seq: u32, payload: &mut [u8]) -> bool {
        let mut reaches = false;
        for edit in &self.0 {
            // TCP may cut a retransmission otherwise: it may begin in the middle of the stretch, or end there.
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
            // Seconds wrap after 18 hours. Nothing gets so old: a timer calls this when the first is due.
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
pub(super) fn overwrite(bytes: &mut [u8], length: Length) {
    for byte in bytes.iter_mut().filter(|byte| length.is_end() || is_text(**byte)) {
        *byte = b'X';
    }
}

/// Whether a byte is neither blank nor part of a line's end.
pub(super) const fn is_text(byte: u8) -> bool {
    !is_blank(byte) && !matches!(byte, b'\r' | b'\n')
}
