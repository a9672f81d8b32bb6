//! Sequence numbers, copies of what came too early, and the bytes that retransmissions must carry again.

use super::line::wipe;

/// How far apart two sequence numbers of one connection can be: more than a control connection ever has in flight,
/// little enough that a new connection on the same ports is told apart (its numbers differ by far more, RFC 6528).
pub(super) const WINDOW: u32 = 1 << 18;

/// How many bytes that came too early are kept, per session.
const AHEAD_BYTES: usize = 16 * 1024;
/// In how many pieces.
const AHEAD_PIECES: usize = 32;

/// How many edits of replies are remembered, until they are acknowledged.
const PATCHES: usize = 16;
/// How many bytes they may have.
const PATCH_BYTES: usize = 16 * 1024;

/// How far `seq` lies behind (< 0) or ahead of `other` (RFC 9293 §3.4: modulo 2³²).
pub(super) const fn distance(seq: u32, other: u32) -> i32 {
    seq.wrapping_sub(other).cast_signed()
}

/// Whether `seq` cannot belong to the connection whose next number is `next`.
pub(super) const fn is_elsewhere(seq: u32, next: u32) -> bool {
    distance(seq, next).unsigned_abs() > WINDOW
}

/// `seq` advanced by a length.
pub(super) fn advance(seq: u32, by: usize) -> u32 {
    seq.wrapping_add(u32::try_from(by).unwrap_or(u32::MAX))
}

/// Copies of segments that came before the ones they follow.
#[derive(Default)]
pub(super) struct Ahead {
    pieces: Vec<(u32, Vec<u8>)>,
    /// Where the stream ends, if a FIN came too early.
    pub fin: Option<u32>,
}

/// There is no room for another copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Ahead {
    pub(super) const fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.fin.is_none()
    }

    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().fold(0, |total, (_, piece)| total.saturating_add(piece.capacity()))
    }

    /// Keeps a copy of a segment that came before its turn.
    pub(super) fn keep(&mut self, seq: u32, payload: &[u8]) -> Result<(), Full> {
        if self.pieces.iter().any(|(at, piece)| *at == seq && piece.len() >= payload.len()) {
            return Ok(());
        }
        if self.pieces.len() >= AHEAD_PIECES || self.bytes().saturating_add(payload.len()) > AHEAD_BYTES {
            return Err(Full);
        }
        self.pieces.push((seq, payload.to_vec()));
        Ok(())
    }

    /// Puts a piece back of which the last bytes are still to be read.
    pub(super) fn put_back(&mut self, seq: u32, piece: Vec<u8>) {
        self.pieces.push((seq, piece));
    }

    /// Whether there is something behind `next` that follows it.
    pub(super) fn has(&self, next: u32) -> bool {
        self.pieces
            .iter()
            .any(|(seq, piece)| distance(*seq, next) <= 0 && distance(advance(*seq, piece.len()), next) > 0)
    }

    /// Whether a segment says otherwise than a piece where both have bytes. Which of them a server takes is its own
    /// choice.
    pub(super) fn contradicts(&self, seq: u32, payload: &[u8]) -> bool {
        self.pieces.iter().any(|(at, piece)| {
            let offset = distance(*at, seq);
            let ours = piece.get(usize::try_from(offset.saturating_neg()).unwrap_or(0)..);
            let theirs = payload.get(usize::try_from(offset).unwrap_or(0)..);
            ours.zip(theirs).is_some_and(|(ours, theirs)| ours.iter().zip(theirs).any(|(a, b)| a != b))
        })
    }

    /// Where the first piece begins.
    pub(super) fn first(&self) -> Option<u32> {
        let mut begins = self.pieces.iter().map(|(seq, _)| *seq);
        let one = begins.next()?;
        Some(begins.fold(one, |first, seq| if distance(seq, first) < 0 { seq } else { first }))
    }

    /// Where the last piece ends.
    pub(super) fn last(&self) -> Option<u32> {
        let mut ends = self.pieces.iter().map(|(seq, piece)| advance(*seq, piece.len()));
        let one = ends.next()?;
        Some(ends.fold(one, |last, end| if distance(end, last) > 0 { end } else { last }))
    }

    /// Takes a piece that begins at or before `next`; the caller skips what it has.
    pub(super) fn take(&mut self, next: u32) -> Option<(u32, Vec<u8>)> {
        let at = self.pieces.iter().position(|(seq, _)| distance(*seq, next) <= 0)?;
        Some(self.pieces.swap_remove(at))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.pieces.iter_mut().for_each(|(_, piece)| wipe(piece));
    }
}

/// What was changed in one direction, by sequence number, so that a retransmission comes out identical, however cut.
#[derive(Debug, Default)]
pub(super) struct Patches(Vec<(u32, Box<[u8]>)>);

impl Patches {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().fold(0, |total, (_, bytes)| total.saturating_add(bytes.len()).saturating_add(24))
    }

    /// Remembers the bytes that a retransmission of `seq` must carry.
    pub(super) fn push(&mut self, seq: u32, bytes: &[u8]) {
        self.0.push((seq, bytes.into()));
    }

    /// Whether another edit of a line of this length can be remembered.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.0.len() < PATCHES && self.bytes().saturating_add(length) <= PATCH_BYTES
    }

    /// Remembers how `new` differs from `old`.
    pub(super) fn push_difference(&mut self, seq: u32, old: &[u8], new: &[u8]) {
        let differs = |(a, b): (&u8, &u8)| a != b;
        let Some(first) = old.iter().zip(new).position(differs) else { return };
        let last = old.iter().zip(new).rposition(differs).unwrap_or(first);
        self.push(advance(seq, first), new.get(first..=last).unwrap_or(&[]));
    }

    /// Makes the edits in a segment; says whether that changed it.
    pub(super) fn apply(&self, seq: u32, payload: &mut [u8]) -> bool {
        let mut changed = false;
        for (at, bytes) in &self.0 {
            let offset = distance(*at, seq);
            let skip = usize::try_from(offset.saturating_neg()).unwrap_or(0);
            let into = usize::try_from(offset).unwrap_or(0);
            let (Some(from), Some(to)) = (bytes.get(skip..), payload.get_mut(into..)) else { continue };
            for (byte, new) in to.iter_mut().zip(from) {
                changed |= byte != new;
                *byte = *new;
            }
        }
        changed
    }

    /// Forgets what the other side has acknowledged.
    pub(super) fn acknowledge(&mut self, ack: u32) {
        self.0.retain(|(seq, bytes)| distance(advance(*seq, bytes.len()), ack) > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_wrap() {
        assert_eq!(distance(5, u32::MAX), 6);
        assert_eq!(distance(u32::MAX, 5), -6);
        assert!(is_elsewhere(1 << 20, 0) && is_elsewhere(0, 1 << 20) && !is_elsewhere(100, u32::MAX - 100));
    }

    #[test]
    fn patches_reach_any_cut() {
        let mut patches = Patches::default();
        patches.push_difference(u32::MAX - 1, b"ab12ef", b"ab99ef");
        for (seq, from) in [(u32::MAX - 1, 0..6), (u32::MAX, 1..3), (0, 2..3), (1, 3..6), (u32::MAX, 1..6)] {
            let mut payload = b"ab12ef"[from.clone()].to_vec();
            assert!(patches.apply(seq, &mut payload), "{from:?}");
            assert_eq!(payload, b"ab99ef"[from], "{seq}");
        }
        let mut elsewhere = *b"ab12ef";
        assert!(!patches.apply(4, &mut elsewhere) && !patches.apply(0_u32.wrapping_sub(90), &mut elsewhere));
        patches.acknowledge(1);
        assert!(!patches.is_empty());
        patches.acknowledge(2);
        assert!(patches.is_empty());
    }

    #[test]
    fn copies_are_bounded() {
        let mut ahead = Ahead::default();
        assert_eq!(ahead.keep(10, &[0; AHEAD_BYTES]), Ok(()));
        assert_eq!(ahead.keep(10, &[0; 5]), Ok(()), "a retransmission");
        assert_eq!(ahead.keep(90_000, &[0; 1]), Err(Full));
        assert!(ahead.take(9).is_none());
        assert_eq!(ahead.take(12).map(|(seq, _)| seq), Some(10));
        for n in 0..32 {
            assert_eq!(ahead.keep(n * 2, b"x"), Ok(()));
        }
        assert_eq!(ahead.keep(100, b"x"), Err(Full));
    }
}
