//! A control connection: its two ends, and how much of what they said is on its way.

use std::net::SocketAddr;
use std::ops::Range;

use ftpdirector::facade::state::sets::{Key, Set};
use ftpdirector::facade::steer::Row;
use ftpdirector::facade::time::Time;

use super::ends::{Client, How, Kind, Replies};
use super::ground::LIVELY;

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// One direction: its first sequence number, and how much has left.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flow {
    pub first: u32,
    pub left: usize,
}

/// A row that a session was given and still needs.
#[derive(Clone, Debug)]
pub(super) struct Need {
    pub row: Row,
    pub until: Time,
}

/// A control connection.
#[derive(Debug)]
pub(super) struct Talk {
    pub client_end: SocketAddr,
    pub far_end: SocketAddr,
    pub server: usize,
    /// Which ends have said that they send no more.
    pub finished: [bool; 2],
    /// When one of its own ends last sent something.
    pub last: Time,
    /// When the director last read something of either end: from then on it knows where that end is.
    pub read: [Option<Time>; 2],
    pub flows: [Flow; 2],
    pub client: Client,
    pub replies: Replies,
    pub needs: Vec<Need>,
    /// Whether its client ever went past bytes that were not seen: what it said behind them may have been a PASV.
    pub gapped: bool,
    /// Whether a segment of its client's ever waited: it may be dropped, and never arrive.
    pub waited: bool,
    /// Whether its last segment began with something that had left before.
    again: bool,
    /// How many of its server's segments were ever held.
    pub held: u32,
    /// Where segments of its client began behind the last end of a line, since who reads may begin anywhere.
    starts: Vec<usize>,
}

impl Talk {
    pub(super) fn new(now: Time, client_end: SocketAddr, server: usize, far_end: SocketAddr, first: u32) -> Self {
        let flow = |first| Flow { first, left: 0 };
        Self {
            client_end,
            far_end,
            server,
            finished: [false; 2],
            last: now,
            read: [None; 2],
            flows: [flow(first), flow(first ^ 0x8000_0000)],
            client: Client::default(),
            replies: Replies::default(),
            needs: vec![],
            gapped: false,
            waited: false,
            again: false,
            held: 0,
            starts: vec![],
        }
    }

    pub(super) fn text(&self, side: Side) -> &[u8] {
        match side {
            Side::Client => &self.client.sent,
            Side::Server => &self.replies.sent,
        }
    }

    pub(super) fn seq(&self, side: Side, offset: usize) -> u32 {
        self.flows[side as usize].first.wrapping_add(u32::try_from(offset).expect("a short stream"))
    }

    /// Whether neither end has closed it.
    pub(super) fn open(&self) -> bool {
        self.finished == [false; 2]
    }

    /// Whether its client has sent anything.
    fn begun(&self) -> bool {
        self.flows[Side::Client as usize].left > 0
    }

    /// What was said and has not left.
    pub(super) fn waiting(&self, side: Side) -> Range<usize> {
        self.flows[side as usize].left..self.text(side).len()
    }

    /// The command that the server has to answer next, and what it asks for.
    pub(super) fn unanswered(&self) -> Option<(&[u8], Kind)> {
        let command = self.client.commands.get(self.replies.finals)?;
        let left = self.flows[Side::Client as usize].left;
        (command.text.end <= left).then_some(())?;
        Some((&self.client.sent[command.text.clone()], command.kind))
    }

    /// Whether this, its last segment, is the whole answer of an honest server to the only question of a client that said nothing
    /// odd.
    pub(super) fn had_to_be_held(&self, reply: &[u8]) -> bool {
        let client = &self.client;
        let plain =
            !self.veiled() && !self.replies.hostile && !client.bare && !client.uncounted && !self.gapped && self.open();
        let passive = |line: &[u8]| [&b"227 "[..], b"228 ", b"229 "].iter().any(|code| line.starts_with(code));
        let names = reply.iter().any(|byte| matches!(byte, b'(' | b'|'));
        let first = self.replies.sent.split(|byte| *byte == b'\n').filter(|line| passive(line)).count() == 1;
        // every pair of its numbers may be the port
        let answer = self.replies.named.iter().all(|(_, how)| *how == How::Answer);
        // after EPSV ALL nobody may ask for it (RFC 2428 §4)
        let never = client.commands.iter().any(|command| {
            let text = client.sent[command.text.clone()].to_ascii_uppercase();
            text.windows(4).any(|word| word == b"EPSV") && text.windows(3).any(|word| word == b"ALL")
        });
        plain
            && !self.waited
            && !never
            && !self.again
            && passive(reply)
            && reply.ends_with(b"\r\n")
            && names
            && first
            && answer
    }

    /// A segment of its own leaves, up to `end`.
    pub(super) fn leaves(&mut self, now: Time, side: Side, end: usize, payload: &[u8]) {
        self.last = now;
        // who was forgotten is met again in the middle
        let forgotten = self.begun() && !self.followed(Side::Client, now);
        // what comes before the first segment that was seen is not read
        let late = side == Side::Client && !self.begun() && end > payload.len();
        self.client.uncounted |= forgotten || late;
        // a reply of several lines whose beginning was not seen is not known to be one
        let unseen = side == Side::Server && self.flows[side as usize].left == 0 && end > payload.len();
        self.replies.crafty |= unseen;
        self.gapped |= side == Side::Client && end > self.flows[0].left + payload.len();
        let flow = &mut self.flows[side as usize];
        self.again = end < flow.left + payload.len();
        // and with something old there is a gap behind it
        self.client.odd |= forgotten && side == Side::Client && end < flow.left;
        flow.left = flow.left.max(end);
        let lines = || payload.split(|byte| *byte == b'\n');
        // of more lines the rest may go unread
        self.client.odd |= side == Side::Client && lines().count() > 16 + 1;
        let followed = self.followed(Side::Client, now);
        if side == Side::Client && (self.veiled() || !followed) {
            // who did not read before may begin anywhere
            lines().for_each(|line| self.client.ask(line));
            self.starts.push(end.saturating_sub(payload.len()));
        }
        // also what goes on when the first part of it has been read
        if side == Side::Client && !self.starts.is_empty() {
            self.ask_from_starts();
        }
        // nor does he know where the replies were
        self.replies.crafty |= self.replies.hostile && (self.veiled() || forgotten);
        if side == Side::Server && self.replies.crafty {
            lines().for_each(|line| self.replies.tell(line));
        }
        if !self.keeps(side, payload) {
            self.needs.clear();
        }
    }

    /// Asks for what stands behind each beginning of a segment, as far as it has left.
    fn ask_from_starts(&mut self) {
        let left = self.flows[Side::Client as usize].left;
        for start in std::mem::take(&mut self.starts) {
            let rest = self.client.sent.get(start..left).unwrap_or(&[]);
            match rest.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    let line = rest[..=end].to_vec();
                    self.client.ask(&line);
                }
                None => self.starts.push(start),
            }
        }
    }

    /// Whether the director must still know where this end is.
    pub(super) fn followed(&self, side: Side, now: Time) -> bool {
        let since = if self.veiled() { Some(Time::ZERO) } else { self.read[side as usize] };
        since.is_some_and(|since| since + LIVELY > now) && self.read[side as usize].is_some()
    }

    /// Whether it may be beyond reading: under TLS, or not to be understood.
    pub(super) fn veiled(&self) -> bool {
        self.client.odd || self.replies.agreed
    }

    /// Whether a segment of its own cannot end what it expects, or make it expect something else.
    pub(super) fn keeps(&self, side: Side, payload: &[u8]) -> bool {
        match side {
            // a refusal ends what a transfer waited for
            Side::Server => {
                !payload.windows(2).any(|two| two == b"22") && !payload.iter().any(|b| matches!(b, b'4' | b'5'))
            }
            Side::Client if self.veiled() => matches!(payload, [20..=23, ..]),
            Side::Client => payload.split_inclusive(|byte| *byte == b'\n').all(|line| {
                [&b"NOOP"[..], b"RETR", b"LIST", b"USER", b"STAT"].iter().any(|verb| line.starts_with(verb))
                    && line.ends_with(b"\n")
            }),
        }
    }

    /// Whether this segment may have taken back what was asked for. What it names after that is not looked at: a port
    /// of somebody else's is refused, and gives nothing back.
    pub(super) fn changes_its_mind(payload: &[u8]) -> bool {
        let verbs = [&b"ABOR"[..], b"QUIT", b"REIN", b"PASV", b"P@SW", b"EPSV", b"LPSV", b"CPSV", b"\xff"];
        // TLS that turns out to be none
        let pretends = payload.iter().any(|byte| matches!(byte, 20..=23)) && payload.contains(&b'\n');
        pretends || payload.split(|byte| *byte == b'\n').any(|line| verbs.iter().any(|verb| line.starts_with(verb)))
    }

    /// A row that it needs at this place.
    pub(super) fn need(&self, set: Set, key: &Key, now: Time) -> Option<&Need> {
        self.needs.iter().find(|need| need.row.set == set && need.row.key == *key && need.until > now)
    }
}
