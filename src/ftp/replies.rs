//! The server's half: from bytes to replies, and what each reply means.

use super::commands;
use super::line::trim_end;
use super::numbers::decimal;
use super::passive::{CODE, LineProgress, More, is_passive, parse};
use super::passive_rewrite::Naming;
use super::state::{LineMode, Session, Turn, Unfinished};
use super::stream::{advance, distance};
use super::{Direction, Event, Flags, Replies, Segment, UnparsedReason, Verdict};

/// How many lines are read in one go. They cost less than commands.
const LINES: usize = 32;
/// After how many bytes no other line is begun in one go.
const BYTES: u32 = 1024;
/// How many bytes are looked at as one piece of a line.
const PIECE: usize = 1024;

/// What a line is to a reply (RFC 959 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The first of several lines, `227-…`.
    First(u16),
    /// Any line of a reply of several lines but the first and the last.
    Between(u16),
    /// The last line, or the only one, `227 …`.
    Last(u16),
    /// A line without a code where a reply should begin.
    NoCode,
}

impl Class {
    pub(super) const fn code(self) -> u16 {
        match self {
            Self::First(code) | Self::Between(code) | Self::Last(code) => code,
            Self::NoCode => 0,
        }
    }

    /// Where free text begins.
    pub(super) const fn text_from(self) -> usize {
        match self {
            Self::First(_) | Self::Last(_) => CODE,
            Self::Between(_) | Self::NoCode => 0,
        }
    }
}

impl Session {
    pub(super) fn server_segment(&mut self, turn: &mut Turn<'_>, segment: &mut Segment<'_>) -> Verdict {
        if turn.context.policy.replies == Replies::Unseen {
            return Verdict::Pass;
        }
        self.take_up(segment);
        if self.ciphered {
            self.follow(segment);
        } else if self.to_server.known && self.catch_up(turn, segment.ack) == commands::Progress::More {
            return Verdict::More;
        }
        let fin = segment.flags.has(Flags::FIN);
        if segment.payload.is_empty() && !fin {
            return Verdict::Pass;
        }
        let missing = distance(segment.seq, self.to_client.next);
        if missing > 0 && !self.skips_gap(segment) {
            return self.hold_behind_gap(turn.context, segment);
        }
        if self.read_replies(turn, segment) == commands::Progress::More {
            return Verdict::More;
        }
        let end = advance(segment.seq, segment.payload.len());
        if self.is_undecided(end) {
            return Verdict::Hold;
        }
        let changed = self.repeat_edits(segment);
        if fin && end == self.to_client.next {
            self.finish(Direction::ToClient, turn.context.policy.replies, turn.events);
        }
        if changed { Verdict::Edited } else { Verdict::Pass }
    }

    /// Reads what is new in a segment, as many lines as are read in one go.
    fn read_replies(&mut self, turn: &mut Turn<'_>, segment: &Segment<'_>) -> commands::Progress {
        let begin = self.to_client.next;
        for _ in 0..LINES {
            let read = usize::try_from(distance(self.to_client.next, segment.seq)).unwrap_or(usize::MAX);
            let Some(rest) = segment.payload.get(read..).filter(|rest| !rest.is_empty() && !self.ciphered) else {
                return commands::Progress::Done;
            };
            if self.to_client.next.wrapping_sub(begin) >= BYTES {
                break;
            }
            let length = self.read_reply(turn, rest.get(..PIECE).unwrap_or(rest));
            self.to_client.next = advance(self.to_client.next, length);
            if self.ciphered {
                self.follow(segment);
            }
            self.settle_holds(turn.context);
        }
        commands::Progress::More
    }

    /// Reads the next line of a stream, or the part of it that has come. Returns its length.
    fn read_reply(&mut self, turn: &mut Turn<'_>, rest: &[u8]) -> usize {
        let seq = self.to_client.next;
        if self.to_client.mode == LineMode::Start {
            self.expect_greeting(rest);
            let skipped = self.ends.remainder(rest);
            if skipped > 0 {
                return skipped;
            }
        }
        let end = self.ends.end(rest);
        let chunk = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
        if end.is_none() {
            self.keep_reply(turn, chunk, seq);
            return chunk.len();
        }
        let before = self.heap.as_mut().and_then(|heap| heap.reply.take());
        match (before, self.to_client.mode) {
            (None, LineMode::Start) => self.reply(turn, trim_end(chunk), Unfinished::new(seq)),
            // a line whose beginning was not kept
            (None, _) | (_, LineMode::Discard) => self.dialogue.doubt(),
            (Some(mut line), mode) => {
                if mode != LineMode::Skip {
                    line.raw.extend_from_slice(chunk);
                }
                let raw = std::mem::take(&mut line.raw);
                self.reply(turn, trim_end(&raw), line);
            }
        }
        (self.to_client.mode, self.to_client.lenient) = (LineMode::Start, false);
        chunk.len()
    }

    /// How lines end is learned from a greeting, if the stream begins with one.
    fn expect_greeting(&mut self, first: &[u8]) {
        let begins = |code: &[u8]| first.iter().zip(code).all(|(a, b)| a == b);
        if self.ends.is_new() && !(self.dialogue.awaits_greeting() && (begins(b"220") || begins(b"120"))) {
            self.ends.settle();
        }
    }

    /// A complete line; of one of which nothing more matters, the code.
    fn reply(&mut self, turn: &mut Turn<'_>, text: &[u8], mut line: Unfinished) {
        let class = self.classify(text);
        if class == Class::NoCode {
            if !text.is_empty() && !self.to_client.lenient {
                turn.events.push(Event::UnparsedReply { code: 0, reason: UnparsedReason::NoCode });
            }
            return;
        }
        let code = class.code();
        let done = match (line.done.take(), self.is_awaited(class)) {
            (Some(done), _) => done,
            (None, true) => self.passive_reply(turn, class, text, line),
            (None, false) => Err(UnparsedReason::Unasked),
        };
        match class {
            Class::First(_) => self.dialogue.begin_reply(code),
            Class::Between(_) | Class::NoCode => {}
            Class::Last(_) => {
                if let (Err(reason), true, false) = (done, is_passive(code), self.dialogue.has_told()) {
                    turn.events.push(Event::UnparsedReply { code, reason });
                }
                self.replied(turn, code);
            }
        }
    }

    fn passive_reply(
        &mut self,
        turn: &mut Turn<'_>,
        class: Class,
        text: &[u8],
        mut line: Unfinished,
    ) -> Result<(), UnparsedReason> {
        let named = match line.named.take() {
            Some(named) => Some(named),
            None => match parse(class.code(), text, class.text_from(), More::No) {
                LineProgress::Done(spelling) => self.tell(turn, class.code(), spelling),
                LineProgress::Failed(reason) => return Err(reason),
                _ => return Err(UnparsedReason::Malformed),
            },
        };
        let Some(named) = named else { return Ok(()) };
        let naming = Naming { code: class.code(), named: &named, policy: turn.context.policy };
        let out = self.write(&naming, text, class.text_from(), &line.released);
        self.conclude(&naming, line.seq, (text, out), turn.events);
        Ok(())
    }

    /// Takes a complete reply into account.
    fn replied(&mut self, turn: &mut Turn<'_>, code: u16) {
        turn.events.push(Event::Reply { code });
        if let Some(encryption) = self.dialogue.reply(code, turn.events) {
            self.go_dark(encryption, turn.events);
        }
    }

    /// Whether a line may name the port that the client asked for.
    pub(super) fn is_awaited(&self, class: Class) -> bool {
        self.dialogue.awaits_port(class.code())
    }

    pub(super) fn classify(&self, line: &[u8]) -> Class {
        match (self.dialogue.open_reply(), code_of(line)) {
            (0, Some((code, Mark::More))) => Class::First(code),
            (0, Some((code, Mark::Last | Mark::Missing))) => Class::Last(code),
            (0, None) => Class::NoCode,
            (open, Some((code, Mark::Last))) if code == open => Class::Last(code),
            // a refusal that never ended, and then the transfer began
            (400.., Some((code @ 100..200, Mark::Last))) => Class::Last(code),
            (open, _) => Class::Between(open),
        }
    }
}

/// What follows a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// `-`: other lines of this reply follow.
    More,
    /// A blank or the line's end.
    Last,
    /// Text at once, as in `227(…)` and `227Entering`: clients take that for a reply's last line too, but for no end of one of
    /// several lines (RFC 959 §4.2).
    Missing,
}

/// The code at the start of a line, and whether other lines follow; `None`: the line is no reply by itself.
pub(crate) fn code_of(line: &[u8]) -> Option<(u16, Mark)> {
    let (digits, rest) = line.split_first_chunk::<3>()?;
    let mark = match rest.first() {
        Some(b'-') => Mark::More,
        Some(b' ' | b'\t') | None => Mark::Last,
        Some(b'(' | b'a'..=b'z' | b'A'..=b'Z') => Mark::Missing,
        Some(_) => return None,
    };
    let plain = digits.iter().all(u8::is_ascii_digit);
    let code = u16::try_from(decimal(digits)).ok().filter(|code| plain && *code >= 100)?;
    Some((code, mark))
}
