//! What belongs together: a data connection from its PORT or PASV to its end.

use std::net::Ipv4Addr;

use crate::director::{Happening, Mode, Moment, Outcome, concerns_data};
use crate::ftp::{BlindReason, RefuseReason, Source, UnparsedReason, Verb};
use crate::time::Time;

/// How a client asked for a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// PASV, EPSV.
    Passive(Verb),
    /// PORT, EPRT, or neither before a transfer: the client's port.
    Active(Verb, u16, Source),
    /// In a way that opens nothing.
    Refused(Verb, RefuseReason),
    /// In words that were not understood.
    Unread(Verb, UnparsedReason),
    /// It is not known: the beginning is no longer remembered.
    Unknown,
}

/// What the server named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedPort {
    /// When the reply was read.
    pub at: Time,
    /// 227, 228 or 229.
    pub code: u16,
    /// The port in the server's reply.
    pub said: u16,
    /// The port that the client was told.
    pub port: u16,
    /// The address in the server's reply, if it names one.
    pub address: Option<Ipv4Addr>,
    /// The address that the client was told, if any.
    pub told: Option<Ipv4Addr>,
}

/// A reply of 400 or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When the reply was read.
    pub at: Time,
    /// The command that it answers.
    pub verb: Option<Verb>,
    /// The reply's code.
    pub code: u16,
    /// The server's words, printable; empty where they are not kept.
    pub words: String,
}

/// One data connection that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// How it was asked for.
    pub asking: Asking,
    /// When the command was read.
    pub at: Time,
    /// What the server named (NAT, passive).
    pub named: Option<NamedPort>,
    /// The port outside of the declared range that it named.
    pub undeclared: Option<u16>,
    /// Whether the reply could not be rewritten.
    pub no_room: bool,
    /// Whether every port that the client could have been told was taken.
    pub crowded: bool,
    /// The transfer verb.
    pub began: Option<(Time, Verb)>,
    /// When the data connection came.
    pub landed: Option<Time>,
    /// When it was not waited for any longer, and why.
    pub ended: Option<(Time, Outcome)>,
    /// The server's refusal.
    pub refusal: Option<Refusal>,
    /// The server's final reply to the transfer.
    pub over: Option<(Time, u16)>,
    /// Whether the client has taken it back (ABOR).
    pub aborted: bool,
}

impl Attempt {
    fn new(asking: Asking, at: Time) -> Self {
        Self {
            asking,
            at,
            named: None,
            undeclared: None,
            no_room: false,
            crowded: false,
            began: None,
            landed: None,
            ended: None,
            refusal: None,
            over: None,
            aborted: false,
        }
    }

    /// Which end was to open it, where that is known.
    #[must_use]
    pub const fn mode(&self) -> Option<Mode> {
        match self.asking {
            Asking::Passive(_) => Some(Mode::Passive),
            Asking::Active(..) => Some(Mode::Active),
            _ => None,
        }
    }

    /// Since when the data connection could come.
    #[must_use]
    pub fn since(&self) -> Time {
        match (self.mode(), self.began) {
            (Some(Mode::Active), Some((at, _))) => at,
            _ => self.named.map_or(self.at, |named| named.at),
        }
    }

    /// Until when it was waited for; `None`: it still is.
    #[must_use]
    pub fn until(&self) -> Option<Time> {
        let refused = self.refusal.as_ref().map(|refusal| refusal.at);
        let over = self.over.map(|(at, _)| at);
        refused.or(over).or(self.ended.map(|(at, _)| at))
    }
}

/// Everything that is remembered of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// The data connections, the oldest first.
    pub attempts: Vec<Attempt>,
    /// A refusal that concerns no data connection: of the login, mostly.
    pub refusal: Option<Refusal>,
    /// Why the session cannot be read.
    pub blind: Option<BlindReason>,
    /// A limit because of which it is not read, or not wholly.
    pub limited: Option<&'static str>,
    /// Data connections of the client that no session is known to have waited for: how many, and when the last of them came.
    pub landed: Option<(u32, Time)>,
    /// Since when anything is known of the session itself; `None`: nothing is.
    pub began: Option<Time>,
    /// When it ended.
    pub closed: Option<Time>,
}

impl Story {
    /// Gathers what happened to a session.
    #[must_use]
    pub fn of(happenings: &[Happening]) -> Self {
        let mut story = Self::default();
        for one in happenings {
            story.began = story.began.or(one.session.map(|_| one.at));
            story.add(one.at, one.moment);
        }
        story
    }

    fn add(&mut self, at: Time, moment: Moment) {
        match moment {
            Moment::Opened | Moment::Sighted => self.blind = None,
            Moment::Said(Verb::Abor) => {
                if let Some(last) = self.attempts.last_mut().filter(|last| last.over.is_none()) {
                    last.aborted = true;
                }
            }
            Moment::Said(_) => {}
            Moment::Asked(verb) => self.ask(Asking::Passive(verb), at),
            Moment::Called { verb, port, source } => self.ask(Asking::Active(verb, port, source), at),
            Moment::Refused(verb, reason) => self.ask(Asking::Refused(verb, reason), at),
            Moment::Unread(verb, reason) if concerns_data(verb) => self.ask(Asking::Unread(verb, reason), at),
            Moment::Unread(..) => {}
            Moment::Named { code, said, port, address, told } => {
                self.current(at).named = Some(NamedPort { at, code, said, port, address, told });
            }
            Moment::Undeclared(port) => self.current(at).undeclared = Some(port),
            Moment::NoRoom(_) => self.current(at).no_room = true,
            Moment::Crowded => self.current(at).crowded = true,
            Moment::Began(verb) => self.begin(at, verb),
            Moment::Reply { verb, code } => self.refuse(Refusal { at, verb, code, words: String::new() }),
            Moment::Words(words) => {
                let last = self.attempts.last_mut().and_then(|attempt| attempt.refusal.as_mut());
                if let Some(refusal) = last.filter(|refusal| refusal.at == at).or(self.refusal.as_mut()) {
                    refusal.words.push_str(words.text());
                }
            }
            Moment::Over(code) => self.current(at).over = Some((at, code)),
            Moment::Ended(_, Outcome::Used) => self.current(at).landed = Some(at),
            Moment::Ended(_, outcome) => self.current(at).ended = Some((at, outcome)),
            Moment::Blind(reason) => self.blind = Some(reason),
            Moment::Limited(limit) => self.limited = Some(limit),
            Moment::Landed { times, .. } => {
                let before = self.landed.map_or(0, |(count, _)| count);
                self.landed = Some((before.saturating_add(u32::from(times)), at));
            }
            Moment::Closed => self.closed = Some(at),
        }
    }

    fn ask(&mut self, asking: Asking, at: Time) {
        self.attempts.push(Attempt::new(asking, at));
    }

    /// A transfer verb; a second one after the same PORT or PASV is another attempt.
    fn begin(&mut self, at: Time, verb: Verb) {
        let attempt = self.current(at);
        if attempt.began.is_some() {
            let again = Attempt { named: attempt.named, ..Attempt::new(attempt.asking, at) };
            self.attempts.push(again);
        }
        self.current(at).began = Some((at, verb));
    }

    fn refuse(&mut self, refusal: Refusal) {
        if refusal.verb.is_some_and(|verb| concerns_data(verb) && verb != Verb::Auth) {
            let current = self.current(refusal.at);
            // What comes behind the end of a transfer is no answer to it: the 421 of a silent session.
            if current.over.is_none() {
                current.refusal = Some(refusal);
            }
        } else if refusal.verb.is_some_and(|verb| matches!(verb, Verb::User | Verb::Pass | Verb::Acct | Verb::Auth)) {
            self.refusal = Some(refusal);
        }
    }

    fn current(&mut self, at: Time) -> &mut Attempt {
        if self.attempts.is_empty() {
            self.attempts.push(Attempt::new(Asking::Unknown, at));
        }
        let last = self.attempts.len().saturating_sub(1);
        &mut self.attempts[last]
    }
}
