//! What goes into the history, and what is told of it: `ftpdirector explain`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use super::Director;
use super::expectation::Mode;
use super::history::Happening;
use super::moment::{Moment, Words, concerns_data};
use super::strangers::{Stranger, StrangerKind};
use super::table::{SessionEntry, Slot};
use super::trace::{What, line_of};
use crate::ftp::{Endpoint, Event, Verb};
use crate::time::Time;
use crate::wire::{self, Flags};

/// Whose sessions are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Those of a client's address.
    Client(IpAddr),
    /// One of them, by its port.
    Session(SocketAddr),
    /// The last one with a failure.
    Last,
}

impl FromStr for Whom {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "last" {
            return Ok(Self::Last);
        }
        let session = |end: SocketAddr| Self::Session(SocketAddr::new(end.ip().to_canonical(), end.port()));
        let address = text.parse().map(|address: IpAddr| Self::Client(address.to_canonical()));
        address.or_else(|_| text.parse().map(session)).map_err(|_| {
            "write a client's address (192.0.2.7), an address with its port (192.0.2.7:40000, [2001:db8::7]:40000), or last"
        })
    }
}

/// What is remembered of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The time of the answer.
    pub now: Time,
    /// The client; `None`: there was no failure.
    pub client: Option<IpAddr>,
    /// Its port, where one session was asked for, or failed.
    pub port: Option<u16>,
    /// That session's number, if it is certain.
    pub session: Option<u32>,
    /// What happened to the client, the oldest first.
    pub happenings: Vec<Happening>,
    /// The data connections that nobody expected since then, whosever they were.
    pub strangers: Vec<Stranger>,
    /// Until when some of them are missing, since there were too many; `None`: those that the kernel told of are all there.
    pub pushed_out: Option<Time>,
}

impl Director {
    /// The time of what is noted from now on.
    pub(super) fn clock(&mut self, now: Time) {
        self.history.set_time(now);
        self.strangers.set_time(now);
        if let Some(records) = &mut self.records {
            records.set_time(now);
        }
    }

    fn remember(&mut self, slot: Slot, moment: Moment) {
        let Some(entry) = self.table.entry(slot) else { return };
        self.history.push(entry.key.client(), number(entry), entry.index, moment);
    }

    /// Remembers what a trace would show, as far as an explanation needs it.
    pub(super) fn remember_what(&mut self, slot: Slot, what: &What) {
        match what {
            What::Open => self.remember(slot, Moment::Opened),
            What::Ended { mode, outcome } => self.remember(slot, Moment::Ended(*mode, *outcome)),
            What::Closed => self.remember(slot, Moment::Closed),
            _ => {}
        }
    }

    /// Remembers the events of one segment, of which `said` is the text, or of a timer.
    pub(super) fn remember_events(&mut self, slot: Slot, mut said: &[u8]) {
        let events = std::mem::take(&mut self.events);
        let one = || events.iter().filter(|event| matches!(event, Event::Reply { .. })).count() == 1;
        for event in &events {
            match *event {
                Event::Reply { code } if code >= 400 => {
                    let text = if one() { line_of(code, &mut said) } else { None };
                    self.remember_reply(slot, code, text);
                }
                Event::Rewrite { from, to, .. } => self.remember_told(slot, (from.port, to)),
                event => {
                    if let Some(moment) = moment_of(event) {
                        self.remember(slot, moment);
                    }
                }
            }
        }
        self.events = events;
    }

    /// A refusal, with the server's own words where they cannot echo a login: it is the only reply of its segment, no other
    /// command waits for one, and the last command was about data connections.
    fn remember_reply(&mut self, slot: Slot, code: u16, text: Option<String>) {
        let Some(entry) = self.table.entry(slot) else { return };
        let (verb, alone) = (entry.verb, entry.ftp.awaiting() == 0);
        self.remember(slot, Moment::Reply { verb, code });
        let shown = alone && code != 530 && verb.is_some_and(concerns_data);
        let text = text.filter(|_| shown).unwrap_or_default();
        // behind the code and a blank
        for words in Words::pieces(text.get(4..).unwrap_or_default().trim()) {
            self.remember(slot, Moment::Words(words));
        }
    }

    fn remember_told(&mut self, slot: Slot, (said, to): (u16, Endpoint)) {
        let Some(entry) = self.table.entry(slot) else { return };
        let (client, session) = (entry.key.client(), number(entry));
        self.history.add_to_last(client, session, |last| match last {
            Moment::Named { said: named, port, told, .. } if *named == said => {
                (*port, *told) = (to.port, ipv4(to.address));
                true
            }
            _ => false,
        });
    }

    /// The server named a port that is not declared.
    pub(super) fn remember_undeclared(&mut self, slot: Slot, port: u16) {
        self.remember(slot, Moment::Undeclared(port));
    }

    /// No port was free for what the server named.
    pub(super) fn remember_crowded(&mut self, slot: Slot) {
        self.remember(slot, Moment::Crowded);
    }

    /// A session is not read wholly because of a limit.
    pub(super) fn remember_limit(&mut self, slot: Slot, limit: &'static str) {
        let Some(entry) = self.table.entry(slot) else { return };
        self.history.push_limit(entry.key.client(), number(entry), entry.index, limit);
    }

    /// A data connection landed that no session is known to have waited for.
    pub(super) fn remember_landing(&mut self, client: IpAddr, index: u16, mode: Mode, port: u16) {
        if !self.history.knows(client) {
            return;
        }
        let client = SocketAddr::new(client, 0);
        let another = |last: &mut Moment| match last {
            Moment::Landed { mode: before, port: last, times } if *before == mode => {
                (*last, *times) = (port, times.saturating_add(1));
                true
            }
            _ => false,
        };
        if !self.history.add_to_last(client, None, another) {
            self.history.push(client, None, index, Moment::Landed { mode, port, times: 1 });
        }
    }

    /// The kernel logged the first packet of a data connection that it expected from nobody.
    pub fn unexpected(&mut self, now: Time, packet: &[u8]) {
        self.clock(now);
        let Ok(packet) = wire::Packet::parse(packet) else { return };
        let (source, destination) = (packet.source, packet.destination);
        let at_vip = self.setup.placements.iter().any(|(placement, _)| placement.vip == destination.ip());
        let kind = match (at_vip, packet.tcp.flags.has(Flags::ACK)) {
            (true, false) => StrangerKind::Syn,
            (true, true) => StrangerKind::Answer,
            (false, _) => StrangerKind::Call,
        };
        let known = self.history.knows(if kind == StrangerKind::Call { destination.ip() } else { source.ip() });
        // Of what no client here is the end of nobody will ask.
        if known || kind == StrangerKind::Syn {
            self.strangers.push(Stranger { at: now, kind, source, destination, known });
        }
    }

    /// What is remembered of the sessions that `whom` means.
    #[must_use]
    pub fn account(&self, now: Time, whom: Whom) -> Account {
        let (client, port, session) = match whom {
            Whom::Client(client) => (Some(client), None, None),
            Whom::Session(end) => (Some(end.ip()), Some(end.port()), None),
            Whom::Last => match self.history.failed() {
                Some((end, session)) => (Some(end.ip()), Some(end.port()), session),
                None => (None, None, None),
            },
        };
        let happenings = client.map(|client| self.history.of(client)).unwrap_or_default();
        let strangers = happenings.first().map(|first| self.strangers.since(first.at)).unwrap_or_default();
        let pushed_out = self.strangers.pushed_out();
        Account { now, client, port, session, happenings, strangers, pushed_out }
    }
}

/// The number of a session; one of two thousand million others may have it too.
fn number(entry: &SessionEntry) -> Option<u32> {
    u32::try_from(entry.nth & u64::from(u32::MAX >> 1)).ok()
}

/// What is kept of an event; `None`: nothing.
fn moment_of(event: Event) -> Option<Moment> {
    Some(match event {
        Event::Command { verb: verb @ (Verb::User | Verb::Auth | Verb::Abor | Verb::Rein | Verb::Quit) } => {
            Moment::Said(verb)
        }
        Event::AskPassive { verb } => Moment::Asked(verb),
        Event::ExpectPassive { code, said, port, .. } => {
            let address = ipv4(said.address);
            Moment::Named { code, said: said.port, port, address, told: address }
        }
        Event::ExpectActive { verb, address, source } => Moment::Called { verb, port: address.port(), source },
        Event::Transfer { verb, .. } => Moment::Began(verb),
        Event::TransferOver { code } => Moment::Over(code),
        Event::Refuse { verb, reason } => Moment::Refused(verb, reason),
        Event::UnparsedCommand { verb, reason } => Moment::Unread(verb, reason),
        Event::NoRoom { code } => Moment::NoRoom(code),
        Event::Blind { reason } => Moment::Blind(reason),
        Event::Sighted => Moment::Sighted,
        _ => return None,
    })
}

fn ipv4(address: Option<IpAddr>) -> Option<Ipv4Addr> {
    match address {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    }
}
