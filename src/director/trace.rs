//! What `ftpdirector trace` shows: each command, reply, expectation and row of the sessions that someone listens to.
//!
//! While nobody listens each of these costs one branch. Arguments of commands are never shown, and the text of a reply
//! only where it cannot echo a login: [`Talk`].

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Director;
use super::events::Effects;
use super::expectation::{Mode, Outcome};
use super::table::Slot;
use crate::ftp::{Direction, Event, Verb};
use crate::steer::{Row, RowChange, range};
use crate::wire;

/// How many events may wait until they are fetched; more are counted as lost.
const MOST: usize = 16_384;

/// How much of a reply's line is shown, bytes.
const TEXT: usize = 200;

/// Which sessions someone listens to; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The client's address.
    pub client: Option<IpAddr>,
    /// `SERVER` or `CLUSTER/SERVER`.
    pub server: Option<String>,
}

impl Filter {
    /// Whether an event of this session is wanted.
    #[must_use]
    pub fn wants(&self, client: IpAddr, cluster: &str, server: &str) -> bool {
        let named = |wanted: &String| match wanted.split_once('/') {
            Some(both) => both == (cluster, server),
            None => wanted == server,
        };
        self.client.is_none_or(|wanted| wanted == client) && self.server.as_ref().is_none_or(named)
    }
}

/// Something that happened to one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// The client's end of the control connection.
    pub client: SocketAddr,
    /// The other end as POSTROUTING sees it: the VIP in DR and TUN, the real server in NAT.
    pub far_end: SocketAddr,
    /// The cluster's name.
    pub cluster: String,
    /// The server's name.
    pub server: String,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The session's first packet came by.
    Open,
    /// A command, without its argument.
    Command {
        /// Its verb.
        verb: Verb,
        /// TCP sequence number of the segment that completed it.
        seq: u32,
        /// TCP acknowledgement number.
        ack: u32,
    },
    /// A reply.
    Reply {
        /// Its code.
        code: u16,
        /// TCP sequence number of the segment that completed it.
        seq: u32,
        /// TCP acknowledgement number.
        ack: u32,
        /// Its last line as the server sent it, where that cannot echo a login and lies in one segment.
        text: Option<String>,
    },
    /// Anything else that the inspector tells.
    Told(Event),
    /// The daemon asks the kernel for this.
    Row(RowChange),
    /// The control packet writes this row itself on its way out.
    Door {
        /// The row.
        row: Row,
        /// How long it stands.
        timeout: Duration,
    },
    /// The kernel has answered for the rows that a packet waited for.
    Stand {
        /// Whether it refused one.
        refused: bool,
    },
    /// The expectation ended; [`Outcome::Used`]: its data connection has landed.
    Ended {
        /// Who was to open the data connection.
        mode: Mode,
        /// How it ended.
        outcome: Outcome,
    },
    /// It is silent, its data connection lives: IPVS was made to remember it.
    Refreshed,
    /// The session is forgotten.
    Closed,
}

/// What is kept while someone listens.
#[derive(Debug, Default)]
pub(super) struct Tracer {
    filters: Vec<Filter>,
    events: Vec<TraceEvent>,
    talks: HashMap<Slot, Talk>,
    lost: u64,
}

/// Whether replies may be shown. Servers echo names, and some echo what they take for a command: after USER, PASS and
/// ACCT nothing is shown until as many replies have come as commands were unanswered then.
#[derive(Debug)]
struct Talk {
    secret: u8,
}

impl Talk {
    fn command(&mut self, verb: Verb, awaiting: u8) {
        if matches!(verb, Verb::User | Verb::Pass | Verb::Acct) {
            self.secret = awaiting.max(1);
        }
    }

    /// Whether the text of this reply may be shown.
    fn reply(&mut self, code: u16) -> bool {
        let shown = self.secret == 0 && !matches!(code, 202 | 230..=234 | 331 | 332 | 334 | 335 | 530);
        if code >= 200 {
            self.secret = self.secret.saturating_sub(1);
        }
        shown
    }
}

/// A segment of which the session is about to tell.
pub(super) struct Heard {
    seq: u32,
    ack: u32,
    awaiting: u8,
    said: Vec<u8>,
}

impl Director {
    /// Keeps events of sessions that one of these wants, for [`Director::take_trace`]; none: keeps nothing.
    pub fn listen(&mut self, filters: Vec<Filter>) {
        if filters.is_empty() {
            self.tracer = None;
        } else {
            self.tracer.get_or_insert_default().filters = filters;
        }
    }

    /// The events since the last call, and how many did not fit.
    pub fn take_trace(&mut self) -> (Vec<TraceEvent>, u64) {
        let taken = |tracer: &mut Box<Tracer>| (std::mem::take(&mut tracer.events), std::mem::take(&mut tracer.lost));
        self.tracer.as_mut().map(taken).unwrap_or_default()
    }

    /// One event of a session.
    pub(super) fn note(&mut self, slot: Slot, what: What) {
        let Some(tracer) = &self.tracer else { return };
        let Some(entry) = self.table.entry(slot) else { return };
        let (client, far_end) = (entry.key.client(), entry.key.server());
        let Some(placement) = self.placement(entry.index) else { return };
        let Some((cluster, server)) = self.names(placement) else { return };
        if !tracer.filters.iter().any(|filter| filter.wants(client.ip(), &cluster, &server)) {
            return;
        }
        let Some(tracer) = &mut self.tracer else { return };
        if tracer.events.len() >= MOST {
            tracer.lost = tracer.lost.saturating_add(1);
        } else {
            tracer.events.push(TraceEvent { client, far_end, cluster, server, what });
        }
    }

    /// What a segment looks like before the inspector may edit it; `None` while nobody listens.
    pub(super) fn overhear(
        &self,
        slot: Slot,
        direction: Direction,
        packet: &wire::Packet,
        bytes: &[u8],
    ) -> Option<Heard> {
        self.tracer.as_ref()?;
        let entry = self.table.entry(slot)?;
        let shown = direction == Direction::ToClient && entry.ftp.blind().is_none();
        let said = if shown { bytes.get(packet.payload.clone()).unwrap_or_default().to_vec() } else { Vec::new() };
        Some(Heard { seq: packet.tcp.seq, ack: packet.tcp.ack, awaiting: entry.ftp.awaiting(), said })
    }

    /// The events of one segment, or of a timer.
    pub(super) fn note_events(&mut self, slot: Slot, heard: Option<&Heard>) {
        let Some(tracer) = self.tracer.as_mut().filter(|_| !self.events.is_empty()) else { return };
        let awaiting = self.table.entry(slot).map_or(0, |entry| entry.ftp.awaiting());
        // Of a session that was there before anybody listened it is not known what is being answered.
        let before = heard.map_or(awaiting, |heard| heard.awaiting);
        let talk = tracer.talks.entry(slot).or_insert(Talk { secret: before });
        let mut lines = heard.map(|heard| heard.said.as_slice()).unwrap_or_default();
        let (seq, ack) = heard.map_or((0, 0), |heard| (heard.seq, heard.ack));
        let mut noted = Vec::with_capacity(self.events.len());
        for event in &self.events {
            noted.push(match *event {
                Event::Command { verb } => {
                    talk.command(verb, awaiting);
                    What::Command { verb, seq, ack }
                }
                Event::Reply { code } => {
                    let (text, shown) = (line_of(code, &mut lines), talk.reply(code));
                    What::Reply { code, seq, ack, text: text.filter(|_| shown) }
                }
                other => What::Told(other),
            });
        }
        for what in noted {
            self.note(slot, what);
        }
    }

    /// Rows that the daemon asks for.
    pub(super) fn note_rows(&mut self, slot: Slot, effects: &Effects) {
        if self.tracer.is_none() {
            return;
        }
        for change in effects.wait.iter().chain(&effects.remove) {
            self.note(slot, What::Row(change.clone()));
        }
    }

    /// The row that a control packet which keeps its mark writes itself.
    pub(super) fn note_door(&mut self, slot: Slot) {
        if self.tracer.is_none() {
            return;
        }
        let Some(entry) = self.table.entry(slot).filter(|entry| entry.ftp.blind().is_none()) else { return };
        let Some(row) = self.door(entry) else { return };
        let Some(timeout) = self.placement(entry.index).map(|placement| self.timeout(placement)) else { return };
        self.note(slot, What::Door { row, timeout });
    }

    /// The row of `open` that a session's own packets write.
    pub(super) fn door(&self, entry: &super::table::Entry) -> Option<Row> {
        let placement = self.placement(entry.index)?;
        Some(range::door(self.setup.marks, placement, entry.key.client().ip()))
    }

    /// A session that nobody had seen.
    pub(super) fn note_open(&mut self, slot: Slot) {
        if let Some(tracer) = &mut self.tracer {
            tracer.talks.insert(slot, Talk { secret: 0 });
            self.note(slot, What::Open);
        }
    }

    /// A session that is forgotten.
    pub(super) fn note_closed(&mut self, slot: Slot) {
        self.note(slot, What::Closed);
        if let Some(tracer) = &mut self.tracer {
            tracer.talks.remove(&slot);
        }
    }
}

/// The line that ends a reply with this code, printable and short; `lines` goes on behind it.
fn line_of(code: u16, lines: &mut &[u8]) -> Option<String> {
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
