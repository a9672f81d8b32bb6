//! Where replies are not seen: a gap among the commands that is closed on the client's word, and what comes of it later.
//!
//! A client that acknowledges more than before, in a segment behind the gap, has most likely been answered: the missing commands
//! took another way, and nobody repeats them. But a client that sends several commands at once may have been answered to one
//! before the gap, and then TCP repeats what is missing. So it may still come, and is judged and read when it does.

use std::ops::Add;

use super::early::is_refused;
use super::sight::is_likely;
use super::state::{GAP, LineMode, Session, Turn};
use super::stream::{advance, distance};
use super::{Bounce, Segment};
use crate::time::Time;

/// How many gaps may stand open at once. Another one is waited for.
const GAPS: usize = 4;
/// How many commands that come late are read at once; the rest is judged, but goes unread.
const LINES: usize = 16;
/// How many of the lines may begin like one that names an address, since each of these costs a parse.
const LIKELY: usize = 64;

/// Commands that did not come, behind which reading went on.
#[derive(Debug)]
pub(super) struct Gap {
    /// Where they begin: at the beginning of a line.
    from: u32,
    /// Where they end.
    to: u32,
    /// After that they are not let through any more.
    pub until: Time,
}

impl Session {
    /// Whether others are missing before a segment of the client's.
    pub(super) fn is_ahead(&self, segment: &Segment<'_>) -> bool {
        !self.ciphered && distance(segment.seq, self.to_server.next) > 0
    }

    /// Goes on reading behind the gap before a segment, if that tells of new replies. Not in the middle of a line: its end
    /// must come in its turn.
    pub(super) fn close_gap(&mut self, turn: &mut Turn<'_>, segment: &Segment<'_>) {
        let between = self.to_server.mode == LineMode::Start && self.heap().gaps.len() < GAPS;
        if !turn.acknowledges || !self.unheard || !between {
            return;
        }
        let copy = self.heap().ahead.first();
        let to = copy.filter(|copy| distance(*copy, segment.seq) < 0).unwrap_or(segment.seq);
        let gap = Gap { from: self.to_server.next, to, until: turn.context.now.add(GAP) };
        self.heap().gaps.push(gap);
        self.skip_commands(to, turn.events);
    }

    /// Reads what a segment has of the commands that were missing. Says whether it may pass: it must begin where they begin,
    /// and complete its last line there, so that nothing else can be made of it and what has passed.
    pub(super) fn read_late(&mut self, turn: &mut Turn<'_>, segment: &Segment<'_>) -> bool {
        if self.ciphered || self.heap.as_ref().is_none_or(|heap| heap.gaps.is_empty()) {
            return true;
        }
        let end = advance(segment.seq, segment.payload.len());
        let mut gaps = std::mem::take(&mut self.heap().gaps);
        let passes = gaps
            .iter_mut()
            .filter(|gap| distance(gap.to, segment.seq) > 0 && distance(end, gap.from) > 0)
            .all(|gap| self.fill(turn, gap, segment, end));
        gaps.retain(|gap| gap.from != gap.to);
        self.heap().gaps = gaps;
        passes
    }

    /// A segment that ends at `end` has some of a gap.
    fn fill(&mut self, turn: &mut Turn<'_>, gap: &mut Gap, segment: &Segment<'_>, end: u32) -> bool {
        let to = if distance(end, gap.to) > 0 { gap.to } else { end };
        let offset = |seq| usize::try_from(distance(seq, segment.seq)).ok();
        let range = offset(gap.from).zip(offset(to));
        let Some(part) = range.and_then(|(from, to)| segment.payload.get(from..to)) else { return false };
        let lines = || part.split_inclusive(|b| *b == b'\n');
        if turn.context.policy.bounce == Bounce::Reject {
            let whole = part.last() == Some(&b'\n');
            let mut likely = lines().filter(|line| is_likely(line));
            let refused = likely.by_ref().take(LIKELY).any(|line| is_refused(turn.context, line));
            if !whole || refused || likely.next().is_some() {
                return false;
            }
        }
        for line in lines().filter(|line| line.last() == Some(&b'\n')).take(LINES) {
            let _ = self.command(turn, line);
        }
        gap.from = to;
        true
    }

    /// What is missing since long before `now` is not let through any more: nobody would read it.
    pub(super) fn close_late(&mut self, now: Option<Time>) {
        let Some(heap) = &mut self.heap else { return };
        let mut ends = Vec::new();
        heap.gaps.retain(|gap| {
            let stays = now.is_some_and(|now| gap.until > now);
            ends.extend((!stays).then_some(gap.to));
            stays
        });
        ends.into_iter().for_each(|end| self.forget(end));
    }
}

#[cfg(test)]
mod tests {
    use crate::ftp::testing::Wire;
    use crate::ftp::{Direction, Flags, Verdict};

    /// A client whose CWD took another way, and who was answered to it: where that is missing, and the session.
    fn answered() -> (u32, Wire) {
        let mut wire = Wire::dr();
        wire.client("USER a\r\n");
        wire.next[1] += 20;
        wire.client("PASS b\r\n");
        let missing = wire.next[0];
        wire.next[0] += 12;
        wire.next[1] += 8;
        wire.told();
        (missing, wire)
    }

    fn late(wire: &mut Wire, seq: u32, text: &[u8]) -> (Verdict, Vec<u8>) {
        let mut payload = text.to_vec();
        (wire.raw(Direction::ToServer, seq, Flags::ACK, &mut payload), payload)
    }

    #[test]
    fn a_gap_is_closed_by_a_client_that_was_answered() {
        let (_, mut wire) = answered();
        wire.client("PASV\r\n");
        assert_eq!(wire.told(), ["blind gap", "sighted", "command PASV", "ask passive PASV"]);
    }

    #[test]
    fn copies_are_read_when_the_gap_before_them_closes() {
        let (_, mut wire) = answered();
        wire.next[1] -= 8;
        wire.client("USER a\r\n");
        wire.client("PASS b\r\n");
        wire.client("TYPE I\r\n".repeat(12));
        assert!(wire.told().is_empty());
        wire.next[1] += 8;
        wire.client("TYPE I\r\n".repeat(12) + "EPSV\r\n");
        assert_eq!(wire.told()[..4], ["blind gap", "sighted", "command USER", "command PASS"]);
        // another gap behind it is waited for
        let other = wire.next[0];
        wire.next[0] += 6;
        wire.client("PORT 198,51,100,7,200,0\r\n");
        assert!(wire.told().is_empty());
        let _ = late(&mut wire, other, b"NOOP\r\n");
        assert_eq!(wire.told()[..2], ["command NOOP", "command PORT"]);
    }

    #[test]
    fn what_comes_late_is_read_once() {
        let (missing, mut wire) = answered();
        wire.client("NOOP\r\n");
        wire.told();
        // in two segments, and together with what is before and behind it
        assert_eq!(late(&mut wire, missing, b"PASV\r\n").0, Verdict::Pass);
        assert_eq!(wire.told(), ["command PASV", "ask passive PASV"]);
        assert_eq!(late(&mut wire, missing - 8, b"PASS b\r\nPASV\r\nEPSV\r\nNOOP\r\n").0, Verdict::Pass);
        assert_eq!(wire.told(), ["command EPSV", "ask passive EPSV"]);
        assert_eq!(late(&mut wire, missing, b"PASV\r\nEPSV\r\n").0, Verdict::Pass);
        assert!(wire.told().is_empty());
        assert_eq!((wire.session.heap_bytes(), wire.session.deadline()), (0, None));
    }

    #[test]
    fn nothing_that_is_refused_comes_late() {
        let pieces: [(u32, &[u8]); 6] = [
            // becomes a command with what has passed
            (0, b"PORT 10,0,0,"),
            (0, b"NOOP\r\nPORT 1"),
            (6, b"PORT\r\n"),
            (0_u32.wrapping_sub(4), b"XX\r\nNOOP\r\nPORT 10,0,0,99,0,25\r\n"),
            // whose end is another line's
            (0, b"PORT 10,0,0,99,0,25\r\n"),
            (0, b"\xff\xf4PORT 10,0,0,99,0,25\r\n"),
        ];
        for (at, text) in pieces {
            let (missing, mut wire) = answered();
            wire.client("NOOP\r\n");
            let (verdict, _) = late(&mut wire, missing.wrapping_add(at), text);
            assert_eq!(verdict, Verdict::Drop, "{}", text.escape_ascii());
        }
        // a whole line is overwritten, and the server says what it thinks of that
        let mut wire = Wire::dr();
        wire.client("USER a\r\n");
        let missing = wire.next[0];
        (wire.next[0], wire.next[1]) = (missing + 21, wire.next[1] + 8);
        wire.client("NOOP\r\n");
        let (verdict, payload) = late(&mut wire, missing, b"PORT 10,0,0,99,0,25\r\n");
        assert!(payload.starts_with(b"XXXX"), "{verdict:?} {}", payload.escape_ascii());
    }

    #[test]
    fn what_comes_too_late_is_not_let_through() {
        let (missing, mut wire) = answered();
        wire.client("NOOP\r\n");
        wire.timeout(30_000);
        assert_eq!(late(&mut wire, missing, b"NOOP\r\nNOOP\r\n").0, Verdict::Drop);
        assert_eq!((wire.session.heap_bytes(), wire.session.deadline()), (0, None));
    }

    /// Whoever leaves gaps and claims to be answered costs no more memory for it, and after a few is waited for.
    #[test]
    fn gaps_are_few() {
        let (_, mut wire) = answered();
        for _ in 0..6 {
            wire.client("NOOP\r\n");
            wire.next = [wire.next[0] + 6, wire.next[1] + 8];
        }
        assert_eq!(wire.told().iter().filter(|event| *event == "command NOOP").count(), 4);
        wire.timeout(30_000);
        wire.client("NOOP\r\n");
        wire.timeout(30_000);
        assert_eq!((wire.session.heap_bytes(), wire.session.deadline()), (0, None));
    }

    #[test]
    fn in_the_middle_of_a_line_a_gap_is_waited_for() {
        let (_, mut wire) = answered();
        wire.next = [wire.next[0] - 12, wire.next[1] - 8];
        wire.client("PO");
        wire.next = [wire.next[0] + 12, wire.next[1] + 8];
        wire.client("PASV\r\n");
        assert!(wire.told().is_empty());
        wire.timeout(30_000);
        assert_eq!(wire.told(), ["blind gap"]);
    }
}
