//! The client's half: from bytes to commands.

use std::ops::Range;

use super::act::refusal;
use super::line::{Scratch, clean, is_blank, is_word, split, wipe};
use super::session::{Mode, Session, Turn};
use super::stream::{advance, distance};
use super::verb::Role;
use super::{BlindReason, Bounce, Direction, Event, Flags, Segment, Verb, Verdict};

/// How many commands one segment may hold; who pipelines sends a handful.
const LINES: u32 = 256;

/// What becomes of the bytes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
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
    /// More of it.
    Rest,
}

impl Session {
    pub(super) fn client_segment(&mut self, turn: &mut Turn<'_>, segment: &mut Segment<'_>) -> Verdict {
        self.take_up(segment);
        if self.blind().is_some() {
            if is_readable(segment.payload) && !turn.context.policy.implicit_tls {
                self.regain_sight(segment, turn.events);
            } else {
                self.follow(segment);
            }
        }
        let fin = segment.flags.has(Flags::FIN);
        let before = distance(segment.seq, self.to_server.next);
        let mut changed = false;
        if before > 0 {
            self.keep_ahead(turn, segment);
        } else if self.blind().is_none() {
            let read = usize::try_from(before.saturating_neg()).unwrap_or(usize::MAX);
            if read < segment.payload.len() {
                changed = self.read_on(turn, segment, read);
            }
        }
        changed |= self.repeat_edits(segment);
        let early_fin = self.heap.as_ref().and_then(|heap| heap.ahead.fin) == Some(self.to_server.next);
        if early_fin || (fin && advance(segment.seq, segment.payload.len()) == self.to_server.next) {
            if let Some(heap) = &mut self.heap {
                heap.ahead.fin = None;
            }
            self.finish(Direction::ToServer, turn.context.policy.replies, turn.events);
        }
        if changed { Verdict::Edited } else { Verdict::Pass }
    }

    /// A segment whose predecessors are missing passes; a copy of it is read in its turn.
    fn keep_ahead(&mut self, turn: &mut Turn<'_>, segment: &Segment<'_>) {
        if segment.flags.has(Flags::FIN) {
            self.heap().ahead.fin = Some(advance(segment.seq, segment.payload.len()));
        }
        if !segment.payload.is_empty() && self.heap().ahead.keep(segment.seq, segment.payload).is_err() {
            self.go_blind(BlindReason::Gap, turn.events);
            self.follow(segment);
        }
        if self.heap.as_ref().is_some_and(|heap| !heap.ahead.is_empty()) {
            self.await_commands(turn.context.now);
        }
    }

    /// Reads what is new in a segment, then the copies that follow it. Says whether it overwrote something.
    fn read_on(&mut self, turn: &mut Turn<'_>, segment: &mut Segment<'_>, read: usize) -> bool {
        self.to_server.next = advance(segment.seq, segment.payload.len());
        let mut edits: Option<Range<usize>> = None;
        self.read_commands(turn, segment.payload, read, &mut edits);
        // a line that begins in this segment may end in a copy; by then only this part can be overwritten
        let line = usize::try_from(self.to_server.line).unwrap_or(usize::MAX);
        let tail = segment.payload.len().saturating_sub(line).max(read)..segment.payload.len();
        let mut open = line > 0 && self.to_server.mode != Mode::Overwrite;
        while let Some((seq, mut copy)) = self.heap.as_mut().and_then(|heap| heap.ahead.take(self.to_server.next)) {
            let known = usize::try_from(distance(self.to_server.next, seq)).unwrap_or(usize::MAX);
            if self.blind().is_none() && known < copy.len() {
                self.to_server.next = advance(seq, copy.len());
                let ends = copy.get(known..).is_some_and(|new| memchr::memchr(b'\n', new).is_some());
                let mut refused = None;
                self.read_commands(turn, &mut copy, known, &mut refused);
                if open && refused.is_some_and(|range| range.start == known) {
                    overwrite(segment.payload, tail.clone(), Extent::Rest, &mut edits);
                }
                open &= !ends;
            }
            wipe(&mut copy);
        }
        let Some(range) = edits else { return false };
        let bytes = segment.payload.get(range.clone()).unwrap_or(&[]);
        self.heap().command_patches.push(advance(segment.seq, range.start), bytes);
        true
    }

    fn read_commands(
        &mut self,
        turn: &mut Turn<'_>,
        payload: &mut [u8],
        from: usize,
        edits: &mut Option<Range<usize>>,
    ) {
        let (mut at, mut lines) = (from, 0_u32);
        while self.blind().is_none()
            && let Some(rest) = payload.get(at..).filter(|rest| !rest.is_empty())
        {
            let end = memchr::memchr(b'\n', rest).map(|end| end.saturating_add(1));
            let chunk = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
            let range = at..at.saturating_add(chunk.len());
            at = range.end;
            if let Fate::Overwrite(extent) = self.command_bytes(turn, chunk, end.is_some()) {
                overwrite(payload, range, extent, edits);
            }
            lines = lines.saturating_add(1);
            if lines > LINES {
                self.go_blind(BlindReason::Limit, turn.events);
            }
        }
    }

    /// The next bytes of a line, up to its end if it is `complete`.
    fn command_bytes(&mut self, turn: &mut Turn<'_>, chunk: &[u8], complete: bool) -> Fate {
        let half = &mut self.to_server;
        if half.mode == Mode::Start && is_tls(chunk) {
            self.go_blind(BlindReason::Tls, turn.events);
            return Fate::Pass;
        }
        half.line = half.line.saturating_add(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
        if usize::try_from(half.line).unwrap_or(usize::MAX) > turn.context.policy.line_limit {
            self.go_blind(BlindReason::Overlong, turn.events);
            return Fate::Pass;
        }
        let fate = match half.mode {
            Mode::Start if complete => self.command(turn, chunk),
            Mode::Start | Mode::Keep | Mode::Argument => self.keep_command(turn, chunk, complete),
            Mode::Skip if complete => self.skipped(turn),
            Mode::Skip => Fate::Pass,
            Mode::Overwrite => Fate::Overwrite(Extent::Rest),
        };
        if complete && self.blind().is_none() {
            (self.to_server.line, self.to_server.mode, self.to_server.lenient) = (0, Mode::Start, false);
            if let Some(heap) = &mut self.heap {
                wipe(&mut heap.command);
            }
        }
        fate
    }

    /// Keeps the pieces of a command: only its first word, if nothing depends on the rest.
    fn keep_command(&mut self, turn: &mut Turn<'_>, chunk: &[u8], complete: bool) -> Fate {
        let rest = if self.to_server.mode == Mode::Argument { chunk } else { self.keep_word(turn, chunk) };
        if self.blind().is_some() {
            return Fate::Pass;
        }
        if self.to_server.mode == Mode::Skip {
            return if complete { self.skipped(turn) } else { Fate::Pass };
        }
        let mut kept = std::mem::take(&mut self.heap().command);
        kept.extend_from_slice(rest);
        let fate = if complete { self.command(turn, &kept) } else { self.judge_early(turn, &kept) };
        match (complete, fate) {
            (false, Fate::Pass) => self.heap().command = kept,
            _ => wipe(&mut kept),
        }
        fate
    }

    /// Keeps bytes up to the blank behind the first word, which decides about the rest; returns the rest.
    fn keep_word<'a>(&mut self, turn: &mut Turn<'_>, chunk: &'a [u8]) -> &'a [u8] {
        self.to_server.mode = Mode::Keep;
        let (mut rest, mut scratch): (_, Scratch) = (chunk, [0; 512]);
        let mut kept = std::mem::take(&mut self.heap().command);
        while let Some(blank) = rest.iter().position(|b| is_blank(*b)) {
            let (before, behind) = rest.split_at_checked(blank).unwrap_or((rest, &[]));
            kept.extend_from_slice(before);
            let (word, _) = split(clean(&kept, &mut scratch));
            let (verb, empty, readable) = (Verb::parse(word), word.is_empty(), is_word(word));
            rest = behind;
            if !empty && verb.argument_matters() {
                self.to_server.mode = Mode::Argument;
                break;
            }
            wipe(&mut kept);
            if !empty {
                (self.verb, self.to_server.mode, rest) = (verb, Mode::Skip, &[]);
                if !readable && !self.to_server.lenient {
                    self.go_blind(BlindReason::Garbage, turn.events);
                }
                break;
            }
            rest = behind.get(1..).unwrap_or(&[]);
        }
        self.heap().command = kept;
        rest
    }

    /// The end of a command of which only the verb was kept.
    fn skipped(&mut self, turn: &mut Turn<'_>) -> Fate {
        match self.verb {
            // the end of a line whose beginning was not seen
            Verb::Other if self.to_server.lenient => Fate::Pass,
            verb => self.act(turn, verb, &[]),
        }
    }

    /// Refuses an unfinished command as soon as its text allows: later only its last bytes could be overwritten.
    fn judge_early(&mut self, turn: &mut Turn<'_>, kept: &[u8]) -> Fate {
        let mut scratch: Scratch = [0; 512];
        let (word, argument) = split(clean(kept, &mut scratch));
        let verb = Verb::parse(word);
        let Role::Active(form) = verb.role() else { return Fate::Pass };
        let Some(reason) = refusal(turn.context, form, argument) else { return Fate::Pass };
        if turn.context.policy.bounce == Bounce::Allow {
            return Fate::Pass;
        }
        self.to_server.mode = Mode::Overwrite;
        self.count_command(turn, verb);
        turn.events.push(Event::Refuse { verb, reason });
        Fate::Overwrite(Extent::First)
    }

    /// A complete line.
    fn command(&mut self, turn: &mut Turn<'_>, line: &[u8]) -> Fate {
        let mut scratch: Scratch = [0; 512];
        let (word, argument) = split(clean(line, &mut scratch));
        let verb = Verb::parse(word);
        match (word.is_empty(), is_word(word)) {
            (true, _) => Fate::Pass,
            // the end of a line whose beginning was not seen
            _ if self.to_server.lenient && verb == Verb::Other => Fate::Pass,
            (_, false) => {
                self.go_blind(BlindReason::Garbage, turn.events);
                Fate::Pass
            }
            (_, true) => self.act(turn, verb, argument),
        }
    }

    pub(super) fn count_command(&mut self, turn: &mut Turn<'_>, verb: Verb) {
        self.awaiting = self.awaiting.saturating_add(1);
        turn.events.push(Event::Command { verb });
    }
}

/// Makes a command, or the part of it that is at hand, something that no server knows, in as many bytes; the line's end
/// stays, unless nothing else is left to change.
fn overwrite(payload: &mut [u8], range: Range<usize>, extent: Extent, edits: &mut Option<Range<usize>>) {
    let Some(bytes) = payload.get_mut(range.clone()) else { return };
    let text = super::line::trim_end(bytes).len();
    let text = if text == 0 && extent == Extent::First { bytes.len().saturating_sub(1) } else { text };
    for byte in bytes.iter_mut().take(text).filter(|byte| **byte != b' ') {
        *byte = b'X';
    }
    if text > 0 {
        let start = edits.as_ref().map_or(range.start, |edits| edits.start.min(range.start));
        let end = range.start.saturating_add(text);
        *edits = Some(start..edits.as_ref().map_or(end, |edits| edits.end.max(end)));
    }
}

/// A TLS record where a command should begin (RFC 8446 §5.1): types 20 to 23, version 3.x.
fn is_tls(chunk: &[u8]) -> bool {
    matches!(chunk, [0x14..=0x17] | [0x14..=0x17, 3, ..])
}

/// Whether a segment of a connection that could not be read begins with a plain command.
pub(super) fn is_readable(payload: &[u8]) -> bool {
    let Some(line) = memchr::memchr(b'\n', payload).and_then(|end| payload.get(..end)) else { return false };
    let line = super::line::trim_end(line);
    let verb = Verb::parse(split(line).0);
    verb != Verb::Other
        && !matches!(verb.role(), Role::Wrapped | Role::Protect)
        && line.iter().all(|b| *b == b'\t' || !b.is_ascii_control())
}
