//! What cannot be read, and what is read all the same.
//!
//! What is encrypted is followed by its numbers alone. Any other stream that makes no sense is read on: at the start of
//! a line a command may stand, and a server that is more patient than the inspector would read it.

use super::line::{Scratch, clean, is_blank, split, wipe};
use super::state::{Half, LineMode, Session, Turn};
use super::stream::{Ahead, advance, distance};
use super::verb::Role;
use super::{BlindReason, Event, Flags, Segment, Verb};

/// No verb with what clients put before it is longer, in bytes.
const BEGINNING: usize = 32;

/// How many lines are looked at for the price of one that is read.
const STARTS: usize = 16;

/// What lines that should be encrypted turned out to be.
enum Candidate {
    /// A line that begins here names an address.
    Active(usize),
    /// No line up to here names an address.
    More(usize),
    /// No line that could name an address.
    Nothing,
}

/// The verbs that name an address.
const ACTIVE: [&[u8]; 3] = [b"PORT", b"EPRT", b"LPRT"];

impl Session {
    /// Tells that something makes no sense. Reading goes on with the next line.
    pub(super) fn dim(&mut self, reason: BlindReason, events: &mut Vec<Event>) {
        if self.blind.is_none() || (reason == BlindReason::Tls && self.blind != Some(reason)) {
            self.blind = Some(reason);
            events.push(Event::Blind { reason });
        }
    }

    /// A command makes sense again.
    pub(super) fn sight(&mut self, events: &mut Vec<Event>) {
        if self.blind.is_some() {
            (self.blind, self.ciphered) = (None, false);
            events.push(Event::Sighted);
        }
    }

    /// What follows is encrypted. What is expected stays expected, and edits are still repeated.
    pub(super) fn go_dark(&mut self, reason: BlindReason, events: &mut Vec<Event>) {
        (self.blind, self.ciphered) = (Some(reason), true);
        events.push(Event::Blind { reason });
        for half in [&mut self.to_server, &mut self.to_client] {
            (half.line, half.mode) = (0, LineMode::Start);
        }
        self.dialogue.end_in_the_dark();
        self.ends.settle();
        if let Some(heap) = &mut self.heap {
            wipe(&mut heap.command);
            heap.ahead = Ahead::default();
            (heap.reply, heap.held, heap.hold_until, heap.gap, heap.overdue) = (None, None, None, None, None);
        }
    }

    /// Frees what is kept beside the session itself, for want of memory. What was overwritten is not let through again
    /// otherwise, and of a command that has begun the rest is overwritten. Reading goes on with the next line.
    pub fn give_up_memory(&mut self, events: &mut Vec<Event>) {
        if self.heap.is_none() {
            return;
        }
        self.dim(BlindReason::Memory, events);
        self.give_up_gap(events);
        // What is encrypted was not overwritten, and may come again.
        let edits = self.heap.as_ref().and_then(|heap| heap.edits.last_end());
        let end = if self.ciphered { edits } else { Some(self.to_server.next) };
        self.heap = None;
        if matches!(self.to_server.mode, LineMode::Keep | LineMode::Argument) {
            self.to_server.mode = LineMode::Overwrite;
        }
        if self.to_client.mode == LineMode::Keep {
            self.to_client.mode = LineMode::Skip;
        }
        end.into_iter().for_each(|end| self.forget(end));
        self.dialogue.doubt();
    }

    /// What comes next was said elsewhere meanwhile: where the two streams are is not known any more. Replies and commands may be
    /// out of step, and what lies before the next segment is let through only if nothing can be made of it.
    pub fn lose_track(&mut self) {
        if self.closed {
            return;
        }
        (self.to_server, self.to_client) = (Half::default(), Half::default());
        (self.heap, self.resumes) = (None, None);
        self.ends.settle();
        self.ends.skip();
        self.dialogue.lose_track();
    }

    /// Replies went by that nobody read: the next that is seen is where reading goes on.
    pub fn lose_replies(&mut self) {
        if !self.closed && !self.ciphered {
            self.to_client = Half { fin: self.to_client.fin, ..Half::default() };
            self.dialogue.lose_track();
            if let Some(heap) = &mut self.heap {
                (heap.reply, heap.held, heap.hold_until, heap.overdue) = (None, None, None, None);
            }
            self.tidy();
        }
    }

    /// Whether nothing was seen since then, or ever.
    #[must_use]
    pub const fn has_lost_track(&self) -> bool {
        !self.closed && !self.to_server.known && !self.to_client.known && self.blind.is_none()
    }

    /// Follows a stream that is not read.
    pub(super) fn follow(&mut self, segment: &Segment<'_>) {
        let end = advance(segment.seq, segment.payload.len());
        let half = self.half(segment.direction);
        if distance(end, half.next) > 0 || segment.flags.has(Flags::FIN) {
            half.next = end;
        }
    }

    /// Looks through what should be encrypted. The client may have ended the encryption (RFC 4217 §12), and a segment
    /// that begins with a plain command shows it. Or there never was any: the server is not always heard, and then what
    /// names an address is read wherever a line begins. Says whether reading goes on.
    pub(super) fn look_through(&mut self, turn: &mut Turn<'_>, segment: &Segment<'_>) -> bool {
        let before = distance(segment.seq, self.to_server.next);
        let read = usize::try_from(before.saturating_neg()).unwrap_or(0);
        let begin = advance(segment.seq, read);
        let bytes = segment.payload.get(read..).unwrap_or(&[]);
        if bytes.is_empty() || turn.context.policy.implicit_tls {
            self.follow(segment);
            return false;
        }
        if before > 0 {
            self.end_beginning(LineMode::Start);
        }
        if self.to_server.mode == LineMode::Keep && self.continues_active(bytes) {
            self.to_server.next = begin;
        } else if before >= 0 && is_readable(bytes) {
            self.end_beginning(LineMode::Start);
            self.to_server.next = begin;
        } else {
            match self.find_active(bytes) {
                Candidate::Active(at) => {
                    self.end_beginning(LineMode::Start);
                    self.to_server.next = advance(begin, at);
                }
                Candidate::More(at) => {
                    self.end_beginning(LineMode::Start);
                    self.to_server.next = advance(begin, at);
                    return true;
                }
                Candidate::Nothing => {
                    self.follow(segment);
                    return false;
                }
            }
        }
        self.to_server.lenient = false;
        self.to_client.known = false;
        self.sight(turn.events);
        true
    }

    fn end_beginning(&mut self, mode: LineMode) {
        (self.to_server.line, self.to_server.mode) = (0, mode);
        if let Some(heap) = &mut self.heap {
            wipe(&mut heap.command);
        }
    }

    /// Whether a line that began in an earlier segment turns out to name an address. Its beginning is kept.
    fn continues_active(&mut self, bytes: &[u8]) -> bool {
        let Some(heap) = &mut self.heap else { return false };
        let (kept, mut line) = (heap.command.len(), std::mem::take(&mut heap.command));
        line.extend(bytes.iter().take(BEGINNING));
        let active = is_active(&line);
        line.truncate(kept);
        heap.command = line;
        active
    }

    /// Looks for a line that names an address. Of the last line the beginning is kept, if it may become one.
    fn find_active(&mut self, bytes: &[u8]) -> Candidate {
        let first = (self.to_server.mode == LineMode::Start).then_some(0);
        let starts = memchr::memchr_iter(b'\n', bytes).map(|end| end.saturating_add(1));
        let mut last = None;
        for (count, at) in first.into_iter().chain(starts).enumerate() {
            let line = bytes.get(at..).unwrap_or(&[]);
            if is_active(line) {
                return Candidate::Active(at);
            }
            if count >= STARTS && !line.is_empty() {
                return Candidate::More(at);
            }
            last = Some(line);
        }
        self.keep_beginning(bytes, last);
        Candidate::Nothing
    }

    fn keep_beginning(&mut self, bytes: &[u8], last: Option<&[u8]>) {
        let mut line = if last.is_none() { self.kept() } else { Vec::new() };
        let goes_on = last.is_some() || self.to_server.mode == LineMode::Keep;
        line.extend(last.unwrap_or(bytes).iter().take(BEGINNING));
        if goes_on && line.is_empty() {
            self.end_beginning(LineMode::Start);
        } else if goes_on && may_become_active(&line) {
            self.to_server.line = u32::try_from(line.len()).unwrap_or(u32::MAX);
            self.to_server.mode = LineMode::Keep;
            self.heap().command = line;
        } else {
            self.end_beginning(LineMode::Discard);
        }
    }

    fn kept(&mut self) -> Vec<u8> {
        self.heap.as_mut().map(|heap| std::mem::take(&mut heap.command)).unwrap_or_default()
    }
}

/// A TLS record where a command should begin (RFC 8446 §5.1): types 20 to 23, version 3.x.
pub(super) fn is_tls(chunk: &[u8]) -> bool {
    matches!(chunk, [0x14..=0x17] | [0x14..=0x17, 3, ..])
}

/// Whether a segment begins with a plain command.
fn is_readable(payload: &[u8]) -> bool {
    let Some(line) = memchr::memchr(b'\n', payload).and_then(|end| payload.get(..end)) else { return false };
    let line = super::line::trim_end(line);
    let verb = Verb::parse(split(line).0);
    verb != Verb::Other
        && !matches!(verb.role(), Role::Wrapped | Role::Protect)
        && line.iter().all(|b| *b == b'\t' || !b.is_ascii_control())
}

/// Whether a line can name an address, by its first byte.
pub(super) fn is_likely(line: &[u8]) -> bool {
    let byte = line.first().map_or(b'\n', u8::to_ascii_uppercase);
    matches!(byte, b'P' | b'E' | b'L' | b'\r' | 0 | 0xf0..) || is_blank(byte)
}

/// The beginning of a line, cleaned; `None` for the most of what is no text.
fn beginning<'a>(line: &'a [u8], scratch: &'a mut Scratch) -> Option<&'a [u8]> {
    let line = line.get(..BEGINNING).unwrap_or(line);
    let line = line.split(|b| *b == b'\n').next()?;
    is_likely(line).then(|| clean(line, scratch))
}

/// Whether a line is a command that names an address.
fn is_active(line: &[u8]) -> bool {
    let mut scratch = Scratch::default();
    let Some(line) = beginning(line, &mut scratch) else { return false };
    let (word, _) = split(line);
    word.len() < line.len() && matches!(Verb::parse(word).role(), Role::Active(_))
}

/// Whether a line can become such a command with what follows.
fn may_become_active(line: &[u8]) -> bool {
    let mut scratch = Scratch::default();
    let Some(text) = beginning(line, &mut scratch) else { return false };
    line.len() < BEGINNING
        && ACTIVE.iter().any(|verb| verb.get(..text.len()).is_some_and(|v| v.eq_ignore_ascii_case(text)))
}
