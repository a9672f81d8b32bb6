//! Replies that cannot be released yet: others are missing before them, or their own end is.

use std::ops::Add;
use std::time::Duration;

use super::line::trim_end;
use super::passive::{CODE, LineProgress, More, Spelling, Style, is_passive, parse};
use super::passive_rewrite::{NamedPort, Naming, Written, address_text};
use super::replies::Class;
use super::same_length::{Filler, Released, begin, extend};
use super::state::{LineMode, Session, Turn, Unfinished};
use super::stream::{advance, distance};
use super::{Context, Event, NO_PORT, Policy, Segment, UnparsedReason, Verdict};

/// How long replies are held because others are missing before them.
const HOLD: Duration = Duration::from_secs(1);
/// How long a reply is held because its end is missing. Shorter: with Nagle's algorithm the server sends the rest only
/// when this is acknowledged, so that nothing is gained by waiting.
const HOLD_LINE: Duration = Duration::from_millis(200);
/// How many bytes may be held.
const HELD_BYTES: usize = 64 * 1024;

impl Session {
    /// A segment whose predecessors are missing may complete a reply that has to be rewritten.
    pub(super) fn hold_behind_gap(&mut self, context: &Context<'_>, segment: &Segment<'_>) -> Verdict {
        let heap = self.heap();
        // Those that were given up may never have come again: their time is over, this one's begins.
        if heap.held.is_none() || heap.hold_until.is_none() {
            // a line that is held already waits for what is missing now, not for the server
            let more = HOLD.saturating_sub(HOLD_LINE);
            heap.hold_until = Some(heap.hold_until.map_or(context.now.add(HOLD), |until| until.add(more)));
        }
        let (first, last) = heap.held.unwrap_or((segment.seq, segment.seq));
        heap.held = Some((
            if distance(segment.seq, first) < 0 { segment.seq } else { first },
            if distance(segment.seq, last) > 0 { segment.seq } else { last },
        ));
        Verdict::Hold
    }

    /// Whether the bytes before a segment are given up: they did not come in time, or too much is held behind them.
    pub(super) fn skips_gap(&mut self, segment: &Segment<'_>) -> bool {
        let missing = usize::try_from(distance(segment.seq, self.to_client.next)).unwrap_or(0);
        let last = self.heap.as_ref().and_then(|heap| heap.overdue);
        let overdue = last.is_some_and(|last| distance(segment.seq, last) <= 0);
        if !overdue && missing.saturating_add(segment.payload.len()) <= HELD_BYTES {
            return false;
        }
        self.skip_replies(segment.seq, LineMode::Start);
        true
    }

    /// Goes on reading at `to`, behind bytes that are missing or are not read.
    pub(super) fn skip_replies(&mut self, to: u32, mode: LineMode) {
        let half = &mut self.to_client;
        (half.next, half.lenient, half.mode) = (to, true, mode);
        self.ends.settle();
        self.ends.skip();
        self.dialogue.doubt();
        if let Some(heap) = &mut self.heap {
            (heap.reply, heap.held, heap.hold_until) = (None, None, None);
            heap.overdue = heap.overdue.filter(|last| distance(*last, to) > 0);
        }
    }

    /// Whether bytes before `end` may still have to change.
    pub(super) fn is_undecided(&self, end: u32) -> bool {
        let line = self.heap.as_ref().and_then(|heap| heap.reply.as_ref());
        self.to_client.mode == LineMode::Keep
            && line.is_some_and(|line| distance(end, advance(line.seq, line.decided)) > 0)
    }

    /// After reading on: until when what is held may be held.
    pub(super) fn settle_holds(&mut self, context: &Context<'_>) {
        let next = self.to_client.next;
        let undecided = self.is_undecided(next);
        let Some(heap) = &mut self.heap else { return };
        if heap.held.is_some_and(|(first, _)| distance(first, next) <= 0) {
            heap.held = None;
        }
        heap.overdue = heap.overdue.filter(|last| distance(*last, next) > 0);
        match (undecided, heap.held) {
            (true, _) => _ = heap.hold_until.get_or_insert(context.now.add(HOLD_LINE)),
            (false, None) => heap.hold_until = None,
            (false, Some(_)) => {}
        }
    }

    /// Decides what can be decided about replies that were held too long.
    pub(super) fn release(&mut self, context: &Context<'_>, events: &mut Vec<Event>) {
        let line = self.heap.as_mut().and_then(|heap| heap.reply.take());
        if let Some(mut line) = line {
            if self.to_client.mode == LineMode::Keep {
                self.release_line(context, &mut line, events);
            }
            self.heap().reply = Some(line);
        }
        if let Some(heap) = &mut self.heap
            && let Some((_, last)) = heap.held
        {
            heap.overdue = Some(last);
            events.push(Event::UnparsedReply { code: 0, reason: UnparsedReason::Gap });
        }
    }

    /// Releases an unfinished line in a form that whatever follows can complete, if there is one.
    fn release_line(&mut self, context: &Context<'_>, line: &mut Unfinished, events: &mut Vec<Event>) {
        let class = self.classify(&line.raw);
        if let Some(named) = line.named.take().or_else(|| self.without_end(context.policy, class, &line.raw)) {
            let text = trim_end(&line.raw);
            let naming = Naming { code: class.code(), named: &named, policy: context.policy };
            let out = self.write(&naming, text, class.text_from(), &line.released);
            self.conclude(&naming, line.seq, (text, out), events);
            line.done = Some(Ok(()));
            self.to_client.mode = LineMode::Skip;
        } else if line.released.bytes.len() < line.raw.len() {
            // with others missing before its end, the rest may never be seen: better the server's own words
            let lost = self.heap().held.is_some() && line.released.address_at.is_none();
            let begun = if lost || !self.may_edit_reply(line.raw.len()) {
                None
            } else {
                begin_or_extend(context.policy, class, line, Filler::Zeros)
            };
            let begun = begun.unwrap_or_else(|| {
                let mut released = std::mem::take(&mut line.released);
                released.bytes.extend_from_slice(line.raw.get(released.bytes.len()..).unwrap_or(&[]));
                released
            });
            self.heap().reply_patches.push_difference(line.seq, &line.raw, &begun.bytes);
            line.released = begun;
        }
        line.decided = line.raw.len();
    }

    /// What a line says with which nothing is wrong but that its end is missing, where a public port was to be told: nobody can be asked
    /// for one any more.
    fn without_end(&self, policy: &Policy, class: Class, line: &[u8]) -> Option<NamedPort> {
        let progress = policy.public_ports.then(|| parse(class.code(), line, class.text_from(), More::Maybe))?;
        let LineProgress::Done(spelling) = progress else { return None };
        let known = self.dialogue.told(spelling.port);
        Some(NamedPort { port: known.unwrap_or(NO_PORT), again: known.is_some(), spelling })
    }

    /// Keeps the pieces of a line as long as it may name a port, and decides early what can be decided.
    pub(super) fn keep_reply(&mut self, turn: &mut Turn<'_>, chunk: &[u8], seq: u32) {
        if matches!(self.to_client.mode, LineMode::Skip | LineMode::Discard) {
            return;
        }
        let mut line = self.heap().reply.take().unwrap_or_else(|| Unfinished::new(seq));
        line.raw.extend_from_slice(chunk);
        self.to_client.mode = LineMode::Keep;
        let class = self.classify(&line.raw);
        if line.raw.len() < CODE {
            // the code itself never changes, but for a refusal
            let refusable = turn.context.policy.public_ports && (227..=229).any(|code| self.dialogue.awaits_port(code));
            let undecided = refusable || is_passive(self.dialogue.open_reply());
            line.decided = if undecided { 0 } else { line.raw.len() };
        } else if !self.is_awaited(class) {
            self.to_client.mode = LineMode::Skip;
        } else if line.raw.len() > turn.context.policy.line_limit {
            self.give_up(&mut line, UnparsedReason::Overlong);
        } else {
            if !turn.context.policy.public_ports {
                line.decided = line.decided.max(class.text_from());
            }
            self.decide_early(turn, class, &mut line);
        }
        if self.to_client.mode == LineMode::Skip {
            line.raw.truncate(CODE);
        }
        self.heap().reply = Some(line);
    }

    fn give_up(&mut self, line: &mut Unfinished, reason: UnparsedReason) {
        line.done = Some(Err(reason));
        self.to_client.mode = LineMode::Skip;
    }

    fn decide_early(&mut self, turn: &mut Turn<'_>, class: Class, line: &mut Unfinished) {
        if line.named.is_some() {
            return;
        }
        let whole = line.raw.len();
        let policy = turn.context.policy;
        match parse(class.code(), &line.raw, class.text_from(), More::Maybe) {
            // Nobody would keep the port that is free now until the line has ended.
            LineProgress::Done(_) if policy.public_ports => {}
            LineProgress::Done(spelling) => self.name_early(turn, class, line, spelling),
            LineProgress::Failed(reason) => self.give_up(line, reason),
            // It may become a refusal, from its first byte on.
            _ if policy.public_ports => {}
            LineProgress::PortOnly => line.decided = whole,
            LineProgress::Text | LineProgress::Address { .. } if policy.advertise.is_none() => line.decided = whole,
            LineProgress::Port { port_from, .. } if policy.advertise.is_none() && port_from == whole => {
                line.decided = whole
            }
            LineProgress::Text | LineProgress::Unsettled => {}
            LineProgress::Address { .. } if line.released.address_at.is_none() => {}
            LineProgress::Port { port_from, .. } if line.released.address_at.is_none() && port_from < whole => {}
            LineProgress::Address { .. } | LineProgress::Port { .. } => {
                let room = self.may_edit_reply(line.raw.len());
                if let Some(begun) = begin_or_extend(policy, class, line, Filler::Nothing).filter(|_| room) {
                    self.heap().reply_patches.push_difference(line.seq, &line.raw, &begun.bytes);
                    (line.released, line.decided) = (begun, whole);
                }
            }
        }
    }

    /// A port is named, though the line's end has not come: releases the line, unless its end must change.
    fn name_early(&mut self, turn: &mut Turn<'_>, class: Class, line: &mut Unfinished, spelling: Spelling) {
        let Some(named) = self.tell(turn, class.code(), spelling) else {
            line.done = Some(Ok(()));
            self.to_client.mode = LineMode::Skip;
            return;
        };
        let naming = Naming { code: class.code(), named: &named, policy: turn.context.policy };
        let out = self.write(&naming, &line.raw, class.text_from(), &line.released);
        let tail = line.raw.get(named.spelling.port_at.end..).unwrap_or(&[]);
        if matches!(&out, Written::Whole(out) if out.ends_with(tail)) {
            self.conclude(&naming, line.seq, (&line.raw, out), turn.events);
            line.done = Some(Ok(()));
            self.to_client.mode = LineMode::Skip;
        } else {
            line.named = Some(named);
        }
    }
}

/// What an unfinished 227 can begin with, whatever its address turns out to be: as if its missing numbers had one digit.
fn begin_or_extend(policy: &Policy, class: Class, line: &Unfinished, filler: Filler) -> Option<Released> {
    let raw = line.raw.as_slice();
    let new = address_text(policy.advertise?, Style::Commas);
    let progress = parse(class.code(), raw, class.text_from(), More::Maybe);
    if line.released.address_at.is_some() {
        let old = if let LineProgress::Port { address, .. } = &progress { Some(address) } else { None };
        return extend(raw, &line.released, old, &new, filler);
    }
    let old = match progress {
        LineProgress::Text if class.code() == 227 && matches!(raw.last(), Some(b'(' | b'=')) => {
            raw.len()..raw.len().saturating_add("0,0,0,0".len())
        }
        LineProgress::Address { at, numbers } => {
            let missing = 4_usize.saturating_sub(numbers).saturating_mul(",0".len());
            let comma = usize::from(raw.last().is_none_or(|b| !b.is_ascii_digit()));
            at..raw.len().saturating_add(missing).saturating_sub(comma)
        }
        LineProgress::Port { address, .. } => address,
        _ => return None,
    };
    begin(raw, class.text_from().max(line.released.bytes.len()), &old, &new)
}
