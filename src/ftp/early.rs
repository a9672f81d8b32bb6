//! Commands that come before others which they follow: they pass, and copies of them are read in their turn.

use super::bounce::refusal;
use super::commands::{Progress, line_length};
use super::edits::{CommandFate, Extent};
use super::line::{Scratch, clean, split, wipe};
use super::sight::is_likely;
use super::state::{LineMode, Session, Turn};
use super::stream::{advance, distance};
use super::verb::{Role, Verb};
use super::{Bounce, Context, Direction, Flags, Segment};

/// How many lines of a segment are looked at before it is read in its turn, so that a segment of empty lines costs no more.
const LINES: usize = 16;
/// How many lines may come again at once.
const AGAIN: usize = 1024;
/// How many of them may begin like one that names an address.
const LIKELY: usize = 64;

impl Session {
    /// Keeps a copy of a segment whose predecessors are missing. Says whether it may pass: what a refused command could
    /// be made of has to wait for its turn, and TCP sends it again.
    pub(super) fn keep_ahead(&mut self, turn: &mut Turn<'_>, segment: &Segment<'_>) -> bool {
        if !segment.payload.is_empty() {
            let allowed = turn.context.policy.bounce == Bounce::Allow;
            // Two versions of the same bytes: the server may take either, and only one of them would be read.
            let other = self.heap().ahead.contradicts(segment.seq, segment.payload);
            if !is_harmless(turn.context, segment.payload) || (other && !allowed) {
                return false;
            }
            // No room: this passes unread, and so does what was kept, for the server gets it all the same.
            if self.heap().ahead.keep(segment.seq, segment.payload).is_err() {
                self.give_up_gap(turn.events);
                self.skip_commands(advance(segment.seq, segment.payload.len()), turn.events);
                self.forget(self.to_server.next);
                return true;
            }
        }
        if segment.flags.has(Flags::FIN) {
            self.heap().ahead.fin = Some(advance(segment.seq, segment.payload.len()));
        }
        self.await_commands(turn.context.now);
        true
    }

    /// The next line of a copy that follows what was read. Says whether there was one. If it is refused, it can be
    /// overwritten only as far as it began in `segment`, which has not passed.
    pub(super) fn read_copy(&mut self, turn: &mut Turn<'_>, segment: Option<&mut Segment<'_>>) -> bool {
        let next = self.to_server.next;
        let Some((seq, mut copy)) = self.heap.as_mut().and_then(|heap| heap.ahead.take(next)) else { return false };
        // The copy may begin before `next`: segments overlap.
        let known = usize::try_from(distance(next, seq)).unwrap_or(usize::MAX);
        if let Some(rest) = copy.get(known..).filter(|rest| !rest.is_empty()) {
            let begin = next.wrapping_sub(self.to_server.line);
            let open = self.to_server.line > 0 && self.to_server.mode != LineMode::Overwrite;
            let length = line_length(rest, self.to_server.mode);
            let chunk = rest.get(..length).unwrap_or(rest);
            self.to_server.next = advance(next, length);
            let fate = self.command_bytes(turn, chunk);
            // The copy itself was harmless and has passed. A refused command can only have begun in `segment` and end in the
            // copy: its beginning is still here.
            if let (CommandFate::Overwrite(_), true, Some(segment)) = (fate, open, segment) {
                let from = usize::try_from(distance(begin, segment.seq)).unwrap_or(0);
                self.spoil(turn.context, segment, from..segment.payload.len(), Extent::Rest);
            }
            if length < rest.len() && !self.ciphered {
                self.heap().ahead.put_back(seq, copy);
                return true;
            }
        }
        wipe(&mut copy);
        true
    }

    /// Looks at lines that were read before and come again: the server may have dropped the first copy, which a client
    /// can bring about, and then get another command here. Says whether the segment may pass.
    pub(super) fn judge_again(&mut self, turn: &mut Turn<'_>, segment: &mut Segment<'_>) -> bool {
        let read = usize::try_from(distance(self.to_server.next, segment.seq)).unwrap_or(0);
        // The same segment, to be read on (`Verdict::More`): its lines were judged in the first go.
        let resumed = self.resumes.take() == Some(segment.seq);
        if resumed || self.ciphered || turn.context.policy.bounce == Bounce::Allow {
            return true;
        }
        if self.heap.as_ref().is_some_and(|heap| heap.ahead.contradicts(segment.seq, segment.payload)) {
            return false;
        }
        // What was overwritten the first time is X again, before its lines are looked at.
        self.repeat_edits(segment);
        let (mut at, mut likely) = (0_usize, 0_usize);
        for _ in 0..AGAIN {
            let Some(rest) = segment.payload.get(at..).filter(|rest| !rest.is_empty() && at < read) else { break };
            let line = rest.get(..line_length(rest, LineMode::Start)).unwrap_or(rest);
            let range = at..at.saturating_add(line.len());
            at = range.end;
            if !is_likely(line) {
                continue;
            }
            likely = likely.saturating_add(1);
            // Each costs a parse, and one segment may bring hundreds; no honest client repeats so many.
            if likely > LIKELY {
                return false;
            }
            // told already, or by one who is not to be told
            if is_refused(turn.context, line) {
                self.spoil(turn.context, segment, range.start..range.end.min(read), Extent::First);
            }
        }
        // what was read ended in the middle of a line; so does what comes again
        let ended = read.checked_sub(1).and_then(|last| segment.payload.get(last)) == Some(&b'\n');
        !ended || read >= segment.payload.len() || self.to_server.mode == LineMode::Start
    }

    /// The server acknowledges bytes that did not come here: they took another way, and nothing is to be waited for.
    pub(super) fn catch_up(&mut self, turn: &mut Turn<'_>, ack: u32) -> Progress {
        let early = self.heap.as_ref().and_then(|heap| heap.ahead.fin);
        let fin = early.or(self.to_server.fin.then_some(self.to_server.next));
        // a FIN has a number of its own
        let ack = fin.filter(|fin| fin.wrapping_add(1) == ack).unwrap_or(ack);
        for _ in 0..LINES {
            if self.read_copy(turn, None) {
                continue;
            }
            if distance(ack, self.to_server.next) <= 0 {
                self.meet_fin(turn);
                return Progress::Done;
            }
            let copy = self.heap.as_ref().and_then(|heap| heap.ahead.first());
            let to = copy.filter(|seq| distance(ack, *seq) > 0).unwrap_or(ack);
            self.skip_commands(to, turn.events);
        }
        Progress::More
    }

    /// A FIN that came too early has its turn.
    pub(super) fn meet_fin(&mut self, turn: &mut Turn<'_>) {
        let next = self.to_server.next;
        let fin = self.heap.as_mut().and_then(|heap| heap.ahead.fin.take_if(|fin| distance(*fin, next) <= 0));
        if fin == Some(next) {
            self.finish(Direction::ToServer, turn.context.policy.replies, turn.events);
        }
    }
}

/// Whether nothing that is refused can be made of a segment, whatever lies before it: it holds whole lines, each with a
/// verb that is known.
pub(super) fn is_harmless(context: &Context<'_>, payload: &[u8]) -> bool {
    if context.policy.bounce == Bounce::Allow {
        return true;
    }
    let lines = payload.split_inclusive(|b| *b == b'\n').take(LINES.saturating_add(1)).enumerate();
    let known = |line: &[u8]| {
        let mut scratch = Scratch::default();
        Verb::parse(split(clean(line, &mut scratch)).0) != Verb::Other
    };
    // Without its end the last line could become another command with what follows.
    payload.last() == Some(&b'\n')
        && lines.into_iter().all(|(at, line)| {
            at < LINES && line.len() <= context.policy.line_limit && known(line) && !is_refused(context, line)
        })
}

/// Whether a line, as far as it has come, is a command that is refused.
fn is_refused(context: &Context<'_>, line: &[u8]) -> bool {
    let mut scratch = Scratch::default();
    let (word, argument) = split(clean(line, &mut scratch));
    match Verb::parse(word).role() {
        Role::Active(form) => refusal(context, form, argument).is_some(),
        _ => false,
    }
}
