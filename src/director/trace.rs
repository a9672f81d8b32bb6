//! What happens to single sessions, for those that follow it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::expectation::{Mode, Outcome};
use super::filter::Filter;
use super::table::Slot;
use crate::ftp::{Event, Verb};
use crate::steer::{Row, RowChange};

/// How much of a reply's line is shown, bytes.
const TEXT: usize = 200;

/// Something that happened to one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// The client's end of the control connection.
    pub client: SocketAddr,
    /// The other end as POSTROUTING sees it: the VIP in DR and TUN, the real server in NAT.
    pub far_end: SocketAddr,
    /// Name of the session's cluster.
    pub cluster: String,
    /// Name of the session's real server, unique in its cluster.
    pub server: String,
    /// The kind of event, with what it has to say.
    pub what: What,
}

/// The kinds of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The session's first packet came by.
    Open,
    /// A command, without its argument.
    Command {
        /// The verb; `Other` if it is not in the table.
        verb: Verb,
        /// TCP sequence number of the segment that completed it.
        seq: u32,
        /// TCP acknowledgement number of that segment.
        ack: u32,
    },
    /// A complete reply.
    Reply {
        /// The three-digit reply code.
        code: u16,
        /// TCP sequence number of the segment that completed it.
        seq: u32,
        /// TCP acknowledgement number of that segment.
        ack: u32,
        /// The last line of the reply as the server sent it, where that cannot echo a login and lies in one segment.
        text: Option<String>,
    },
    /// Anything else that the inspector tells.
    Told(Event),
    /// The daemon asks the kernel to put or to delete this row.
    Row(RowChange),
    /// The control packet writes this row itself on its way out.
    Opened {
        /// The row that the packet writes with `update @set`.
        row: Row,
        /// How long the row stands.
        timeout: Duration,
    },
    /// The kernel has answered for the rows that a packet waited for.
    Stand {
        /// Whether the kernel refused one of the rows.
        refused: bool,
    },
    /// The expectation ended; [`Outcome::Used`]: its data connection has landed.
    Ended {
        /// Which end was to open the data connection.
        mode: Mode,
        /// Used, expired, superseded or refused.
        outcome: Outcome,
    },
    /// The control connection was silent while a data connection lives: a keepalive made IPVS remember it.
    Refreshed,
    /// The session is forgotten.
    Closed,
}

/// What is kept while a trace runs.
#[derive(Debug, Default)]
pub(super) struct Tracer {
    pub filters: Vec<Filter>,
    pub events: Vec<TraceEvent>,
    pub talks: HashMap<Slot, Talk>,
    pub lost: u64,
}

/// Whether replies may be shown. Servers echo names, and some echo what they take for a command: after USER, PASS and
/// ACCT nothing is shown until as many replies have come as commands were unanswered then.
#[derive(Debug)]
pub(super) struct Talk {
    pub secret: u8,
}

impl Talk {
    /// Notes a command; `awaiting` commands before it are unanswered.
    pub(super) fn command(&mut self, verb: Verb, awaiting: u8) {
        if matches!(verb, Verb::User | Verb::Pass | Verb::Acct) {
            self.secret = awaiting.max(1);
        }
    }

    /// Whether the text of this reply may be shown.
    pub(super) fn reply(&mut self, code: u16) -> bool {
        let shown = self.secret == 0 && !matches!(code, 202 | 230..=234 | 331 | 332 | 334 | 335 | 530);
        if code >= 200 {
            self.secret = self.secret.saturating_sub(1);
        }
        shown
    }
}

/// A segment of which the session is about to tell.
pub(super) struct TracedSegment {
    pub seq: u32,
    pub ack: u32,
    pub awaiting: u8,
    pub said: Vec<u8>,
}

/// The line that ends a reply with this code, printable and short; `lines` goes on behind it.
pub(super) fn line_of(code: u16, lines: &mut &[u8]) -> Option<String> {
    let digits = code.to_string();
    while !lines.is_empty() {
        let end = lines.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = lines.split_at_checked(end.saturating_add(1))?;
        *lines = rest;
        let after = line.strip_prefix(digits.as_bytes());
        if after.is_some_and(|after| matches!(after.first(), Some(b' ' | b'\r' | b'\n' | b'\t'))) {
            let shown = line.iter().take_while(|byte| !matches!(byte, b'\r' | b'\n')).take(TEXT);
            let printable = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
            return Some(shown.map(printable).collect());
        }
    }
    None
}
