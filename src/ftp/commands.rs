//! The client's half: from bytes to commands.

use super::bounce::refusal;
use super::edits::{CommandFate, Extent};
use super::line::{Scratch, clean, condense, is_blank, is_word, split, wipe};
use super::sight::is_tls;
use super::state::{LineMode, Session, Turn};
use super::stream::{advance, distance};
use super::verb::Role;
use super::{BlindReason, Bounce, Context, Direction, Event, Flags, Replies, Segment, Verb, Verdict};

/// How many lines are read in one go; a client that pipelines sends a handful.
const LINES: usize = 16;
/// After how many bytes no other line is begun in one go.
const BYTES: u32 = 768;
/// How many bytes are looked at as one piece of a line.
const PIECE: usize = 768;

/// How far reading came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All there is was read.
    Done,
    /// There is more than is read in one go.
    More,
}

impl Session {
    pub(super) fn client_segment(&mut self, turn: &mut Turn<'_>, segment: &mut Segment<'_>) -> Verdict {
        self.take_up(segment);
        if self.is_early(segment) {
            self.close_gap(turn, segment);
        } else if !segment.payload.is_empty() {
            self.reopen_gap(turn.context.now);
        }
        if !self.is_early(segment) || self.has_copies() {
            if !self.judge_again(turn, segment) {
                return Verdict::Drop;
            }
            if self.read_on(turn, segment) == Progress::More {
                self.resumes = Some(segment.seq);
                return Verdict::More;
            }
        }
        if self.is_early(segment) && !self.keep_ahead(turn, segment) {
            return Verdict::Drop;
        }
        let edited = self.repeat_edits(segment);
        if segment.flags.has(Flags::FIN) && advance(segment.seq, segment.payload.len()) == self.to_server.next {
            self.finish(Direction::ToServer, turn.context.policy.replies, turn.events);
        }
        self.meet_fin(turn);
        if edited { Verdict::Edited } else { Verdict::Pass }
    }

    /// Whether there is a copy of what follows.
    fn has_copies(&self) -> bool {
        self.heap.as_ref().is_some_and(|heap| heap.ahead.has(self.to_server.next))
    }

    /// Reads what is new in a segment, then the copies that follow it: as many lines as are read in one go.
    fn read_on(&mut self, turn: &mut Turn<'_>, segment: &mut Segment<'_>) -> Progress {
        let begin = self.to_server.next;
        for _ in 0..LINES {
            let read = if self.ciphered {
                self.look_through(turn, segment)
            } else {
                let early = self.is_early(segment);
                self.read_line(turn, segment) || self.read_copy(turn, (!early).then_some(&mut *segment))
            };
            if !read {
                return Progress::Done;
            }
            if self.to_server.next.wrapping_sub(begin) >= BYTES {
                break;
            }
        }
        let end = advance(segment.seq, segment.payload.len());
        let unread = !self.is_early(segment) && distance(end, self.to_server.next) > 0;
        if unread || self.has_copies() { Progress::More } else { Progress::Done }
    }

    /// The next line of a segment, or the part of it that has come. Says whether there was one.
    fn read_line(&mut self, turn: &mut Turn<'_>, segment: &mut Segment<'_>) -> bool {
        let read = usize::try_from(distance(self.to_server.next, segment.seq)).unwrap_or(usize::MAX);
        let Some(rest) = segment.payload.get(read..).filter(|rest| !rest.is_empty()) else { return false };
        let length = line_length(rest, self.to_server.mode);
        let chunk = rest.get(..length).unwrap_or(rest);
        self.to_server.next = advance(self.to_server.next, length);
        if let CommandFate::Overwrite(extent) = self.command_bytes(turn, chunk) {
            self.spoil(turn.context, segment, read..read.saturating_add(length), extent);
        }
        true
    }

    /// The next bytes of a line, perhaps with its end.
    pub(super) fn command_bytes(&mut self, turn: &mut Turn<'_>, chunk: &[u8]) -> CommandFate {
        let complete = chunk.last() == Some(&b'\n');
        match (self.to_server.mode, chunk.first()) {
            (LineMode::Start, Some(b'\r' | b'\n')) if complete && super::line::trim_end(chunk).is_empty() => {
                return CommandFate::Pass;
            }
            (LineMode::Start, _) if is_tls(chunk) => return self.record(turn, complete),
            _ => {}
        }
        let half = &mut self.to_server;
        half.line = half.line.saturating_add(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
        let overlong = usize::try_from(half.line).unwrap_or(usize::MAX) > turn.context.policy.line_limit;
        let fate = match half.mode {
            LineMode::Start | LineMode::Keep | LineMode::Argument | LineMode::Skip if overlong => {
                self.overlong(turn, chunk, complete)
            }
            LineMode::Start if complete => self.command(turn, chunk),
            LineMode::Start | LineMode::Keep | LineMode::Argument => self.keep_command(turn, chunk, complete),
            LineMode::Skip if complete => self.skipped(turn),
            LineMode::Discard if complete => self.unknown(),
            LineMode::Skip | LineMode::Discard => CommandFate::Pass,
            LineMode::Overwrite => CommandFate::Overwrite(Extent::Rest),
        };
        if complete && !self.ciphered {
            (self.to_server.line, self.to_server.mode, self.to_server.lenient) = (0, LineMode::Start, false);
            if let Some(heap) = &mut self.heap {
                wipe(&mut heap.command);
            }
        }
        fate
    }

    /// A TLS record where a command should begin. Where the server is heard, it says when encryption begins.
    fn record(&mut self, turn: &mut Turn<'_>, complete: bool) -> CommandFate {
        if turn.context.policy.replies == Replies::Unseen && self.dialogue.asks_for_encryption() {
            self.go_dark(BlindReason::Tls, turn.events);
        } else {
            self.dim(BlindReason::Tls, turn.events);
            self.dialogue.doubt();
        }
        self.to_server.mode = if complete { LineMode::Start } else { LineMode::Discard };
        CommandFate::Pass
    }

    /// A line that is longer than any command: what its first words refuse is refused even so. What telnet commands and
    /// blanks make long, is not.
    fn overlong(&mut self, turn: &mut Turn<'_>, chunk: &[u8], complete: bool) -> CommandFate {
        let mut kept = std::mem::take(&mut self.heap().command);
        kept.extend_from_slice(chunk);
        let mut fate = CommandFate::Pass;
        if self.to_server.mode != LineMode::Skip {
            let mut text = condense(&kept);
            if text.len() <= turn.context.policy.line_limit.wrapping_div(2) {
                wipe(&mut kept);
                (self.to_server.line, self.to_server.mode) =
                    (u32::try_from(text.len()).unwrap_or(u32::MAX), LineMode::Keep);
                fate = self.keep_command(turn, &text, complete);
                wipe(&mut text);
                return fate;
            }
            fate = self.judge_early(turn, &kept);
        }
        wipe(&mut kept);
        if fate == CommandFate::Pass {
            self.dim(BlindReason::Overlong, turn.events);
            self.to_server.mode = LineMode::Discard;
            if complete {
                self.unknown();
            }
        }
        fate
    }

    /// The end of a line that means nothing.
    fn unknown(&mut self) -> CommandFate {
        self.dialogue.count_unknown();
        CommandFate::Pass
    }

    /// Keeps the pieces of a command: only its first word, if nothing depends on the rest.
    fn keep_command(&mut self, turn: &mut Turn<'_>, chunk: &[u8], complete: bool) -> CommandFate {
        let rest = if self.to_server.mode == LineMode::Argument { chunk } else { self.keep_word(turn, chunk) };
        match self.to_server.mode {
            LineMode::Skip if complete => return self.skipped(turn),
            LineMode::Discard if complete => return self.unknown(),
            LineMode::Skip | LineMode::Discard => return CommandFate::Pass,
            _ => {}
        }
        let mut kept = std::mem::take(&mut self.heap().command);
        kept.extend_from_slice(rest);
        let fate = if complete { self.command(turn, &kept) } else { self.judge_early(turn, &kept) };
        match (complete, fate) {
            (false, CommandFate::Pass) => self.heap().command = kept,
            _ => wipe(&mut kept),
        }
        fate
    }

    /// Keeps bytes up to the blank behind the first word, which decides about the rest; returns the rest.
    fn keep_word<'a>(&mut self, turn: &mut Turn<'_>, chunk: &'a [u8]) -> &'a [u8] {
        self.to_server.mode = LineMode::Keep;
        let (mut rest, mut scratch) = (chunk, Scratch::default());
        let mut kept = std::mem::take(&mut self.heap().command);
        while let Some(blank) = rest.iter().position(|b| is_blank(*b)) {
            let (before, behind) = rest.split_at_checked(blank).unwrap_or((rest, &[]));
            kept.extend_from_slice(before);
            let (word, _) = split(clean(&kept, &mut scratch));
            let (verb, empty, readable) = (Verb::parse(word), word.is_empty(), is_word(word));
            rest = behind;
            if !empty && keeps_argument(turn.context, verb) {
                self.to_server.mode = LineMode::Argument;
                break;
            }
            wipe(&mut kept);
            if !empty {
                (self.verb, self.to_server.mode, rest) = (verb, LineMode::Skip, &[]);
                if !readable {
                    self.to_server.mode = LineMode::Discard;
                    self.note_garbage(turn);
                }
                break;
            }
            rest = behind.get(1..).unwrap_or(&[]);
        }
        self.heap().command = kept;
        rest
    }

    /// The end of a command of which only the verb was kept.
    fn skipped(&mut self, turn: &mut Turn<'_>) -> CommandFate {
        match self.verb {
            // the end of a line whose beginning was not seen
            Verb::Other if self.to_server.lenient => self.unknown(),
            verb => self.act(turn, verb, &[]),
        }
    }

    /// Refuses an unfinished command as soon as its text allows: later only its last bytes could be overwritten.
    fn judge_early(&mut self, turn: &mut Turn<'_>, kept: &[u8]) -> CommandFate {
        let mut scratch = Scratch::default();
        let (word, argument) = split(clean(kept, &mut scratch));
        let verb = Verb::parse(word);
        let Role::Active(form) = verb.role() else { return CommandFate::Pass };
        let Some(reason) = refusal(turn.context, form, argument) else { return CommandFate::Pass };
        if turn.context.policy.bounce == Bounce::Allow {
            return CommandFate::Pass;
        }
        self.to_server.mode = LineMode::Overwrite;
        self.count_command(turn, verb);
        turn.events.push(Event::Refuse { verb, reason });
        CommandFate::Overwrite(Extent::First)
    }

    /// Reads a complete line, its end included.
    fn command(&mut self, turn: &mut Turn<'_>, line: &[u8]) -> CommandFate {
        let mut scratch = Scratch::default();
        let (word, argument) = split(clean(line, &mut scratch));
        let verb = Verb::parse(word);
        match (word.is_empty(), is_word(word)) {
            (true, _) => CommandFate::Pass,
            // the end of a line whose beginning was not seen
            _ if self.to_server.lenient && verb == Verb::Other => self.unknown(),
            (_, false) => {
                self.note_garbage(turn);
                self.unknown()
            }
            (_, true) => self.act(turn, verb, argument),
        }
    }

    /// A command that is known, or may be one.
    fn act(&mut self, turn: &mut Turn<'_>, verb: Verb, argument: &[u8]) -> CommandFate {
        self.count_command(turn, verb);
        if turn.context.policy.names && verb.names_something() {
            self.keep_name(verb, argument);
        }
        let fate = self.dialogue.command(turn.context, verb, argument, turn.events);
        // The 235 that begins the encryption (RFC 2228 §3) is not seen.
        if verb == Verb::Adat && turn.context.policy.replies == Replies::Unseen {
            self.go_dark(BlindReason::Gssapi, turn.events);
        }
        fate
    }

    fn note_garbage(&mut self, turn: &mut Turn<'_>) {
        if !self.to_server.lenient {
            self.dim(BlindReason::Garbage, turn.events);
        }
    }

    fn count_command(&mut self, turn: &mut Turn<'_>, verb: Verb) {
        if verb != Verb::Other {
            self.sight(turn.events);
        }
        let overflow = self.dialogue.count_command(turn.context.policy.replies, verb).is_err();
        if self.blind.is_none() {
            turn.events.push(Event::Command { verb });
        }
        if overflow {
            self.dim(BlindReason::Limit, turn.events);
        }
    }
}

/// Whether the argument of a command is kept until it is complete.
fn keeps_argument(context: &Context<'_>, verb: Verb) -> bool {
    verb.argument_matters() || (context.policy.names && verb.names_something())
}

/// How many bytes belong to the next line of a stream, or to the next piece of it. Lines that are empty are one.
pub(super) fn line_length(bytes: &[u8], mode: LineMode) -> usize {
    let piece = bytes.get(..PIECE).unwrap_or(bytes);
    if mode == LineMode::Start {
        let ends = piece.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        if let Some(last) = memchr::memrchr(b'\n', piece.get(..ends).unwrap_or(&[])) {
            return last.saturating_add(1);
        }
    }
    memchr::memchr(b'\n', piece).map_or(piece.len(), |end| end.saturating_add(1))
}
