//! What became of a data connection, and of a session.

use std::time::Duration;

use super::attempt::{Asking, Attempt};
use super::case::Case;
use super::place::{Place, Standing};
use super::verdict::Verdict;
use crate::director::{Mode, Outcome, Stranger, StrangerKind};
use crate::ftp::BlindReason;
use crate::lvs::network;
use crate::time::Time;

/// Who gives up sooner has changed its mind.
const IN_VAIN: Duration = Duration::from_secs(3);
/// A server that has not answered a PASV for so long hangs.
const SILENT: Duration = Duration::from_secs(5);
/// So long after it was given up a data connection may still come.
const LATE: Duration = Duration::from_secs(60);

impl Case<'_> {
    /// The verdict, and the data connection that it is about.
    #[must_use]
    pub fn judge(&self) -> (Option<usize>, Verdict) {
        if self.client.is_none() {
            return (None, Verdict::NoFailure);
        }
        let story = self.story;
        if story.began.is_none() {
            let unseen = || if self.closed.is_empty() { Verdict::NeverSeen } else { Verdict::NoServers };
            return (None, story.limited.map_or_else(unseen, |limit| Verdict::OverLimit { limit }));
        }
        match story.blind {
            Some(BlindReason::Tls | BlindReason::Gssapi) => return (None, self.encrypted()),
            Some(reason) => return (None, Verdict::Unreadable { reason }),
            None => {}
        }
        let failed = |(at, attempt)| Some((at, self.failed(attempt)?));
        if let Some((at, verdict)) = story.attempts.iter().enumerate().rev().find_map(failed) {
            return (Some(at), verdict);
        }
        let last = story.attempts.len().checked_sub(1);
        let verdict = match (story.attempts.last(), &story.refusal) {
            (Some(attempt), _) => self.state(attempt),
            (None, Some(refusal)) => Verdict::ServerRefused { refusal: refusal.clone() },
            (None, None) => self.down().unwrap_or(Verdict::NothingAsked),
        };
        (last, verdict)
    }

    /// Why a data connection failed; `None`: it did not, or not yet.
    fn failed(&self, attempt: &Attempt) -> Option<Verdict> {
        match attempt.asking {
            Asking::Refused(verb, reason) => return Some(Verdict::Bounce { verb, reason }),
            Asking::Unread(verb, reason) => return Some(Verdict::NotUnderstood { verb, reason }),
            _ => {}
        }
        let code = code(attempt);
        if attempt.aborted || code.is_some_and(|code| code < 400) {
            return None;
        }
        if let Some(port) = attempt.undeclared {
            return Some(Verdict::OutOfRange { port });
        }
        if attempt.crowded && attempt.landed.is_none() {
            return Some(Verdict::PortsTaken);
        }
        // Not implemented: the client tries another command. 425: pyftpdlib calls before it answers PORT.
        match (&attempt.refusal, attempt.began) {
            (Some(refusal), None) if refusal.code == 502 || (refusal.code == 500 && !self.is_last(attempt)) => {
                return None;
            }
            (Some(refusal), None) if refusal.code != 425 => {
                return Some(Verdict::ServerRefused { refusal: refusal.clone() });
            }
            _ => {}
        }
        if attempt.landed.is_some() { self.after_landing(attempt) } else { self.not_landed(attempt) }
    }

    fn after_landing(&self, attempt: &Attempt) -> Option<Verdict> {
        let Some(code) = code(attempt) else {
            return self.down().filter(|_| self.is_last(attempt) && attempt.ended.is_none());
        };
        let refusal = attempt.refusal.clone();
        Some(match (code, attempt.mode(), refusal) {
            (425, Some(Mode::Active), _) => Verdict::NoAnswer { port: port(attempt) },
            (425, _, refusal) => Verdict::Reset { refusal, port: port(attempt) },
            (426, _, refusal) => Verdict::BrokeOff { refusal },
            (_, _, Some(refusal)) => Verdict::ServerRefused { refusal },
            (..) => return None,
        })
    }

    fn not_landed(&self, attempt: &Attempt) -> Option<Verdict> {
        let (code, mode) = (code(attempt), attempt.mode()?);
        // 425, 426, 421: it waited for the data connection in vain.
        if code.is_some_and(|code| !matches!(code, 421 | 425 | 426)) {
            return attempt.refusal.clone().map(|refusal| Verdict::ServerRefused { refusal });
        }
        let seen = self.place.is_some_and(Place::sees_replies);
        let until = attempt.until().or(self.story.closed).unwrap_or(self.now);
        let waited = until.since(attempt.since());
        if seen && mode == Mode::Passive && attempt.named.is_none() {
            return (code.is_none() && self.is_last(attempt) && waited >= SILENT)
                .then(|| self.down().unwrap_or(Verdict::NoReply { waited }));
        }
        if let Some(verdict) = self.place.and_then(|place| self.stranger(attempt, place)) {
            return Some(verdict);
        }
        let given_up = (attempt.ended.is_some() || self.story.closed.is_some()) && waited >= IN_VAIN;
        let expired = matches!(attempt.ended, Some((_, Outcome::Expired)));
        if !(code.is_some() || given_up || expired) || (mode == Mode::Active && attempt.began.is_none()) {
            return None;
        }
        let limited = self.story.limited.map(|limit| Verdict::OverLimit { limit });
        Some(limited.or_else(|| self.down()).unwrap_or(match mode {
            Mode::Passive if attempt.no_room => Verdict::NotRewritten,
            Mode::Passive => Verdict::NoSyn { waited },
            Mode::Active if seen => Verdict::NoCall { waited },
            Mode::Active => Verdict::NoCallOrAnswer { waited },
        }))
    }

    /// What came instead, if it is known.
    fn stranger(&self, attempt: &Attempt, place: &Place) -> Option<Verdict> {
        let until = attempt.until().map_or(self.now, |until| until + LATE);
        let near = self.strangers.iter().filter(|one| one.at >= attempt.at && one.at <= until);
        let after = |one: &Stranger| one.at.since(attempt.since());
        match attempt.asking {
            Asking::Passive(_) => {
                let named = attempt.named.map(|named| named.port);
                let meant = |port| named.map_or_else(|| place.ports_at_vip().contains(port), |named| named == port);
                let syns = near.filter(|one| one.kind == StrangerKind::Syn && one.destination.ip() == place.vip);
                let mut syns: Vec<&Stranger> = syns.collect();
                syns.sort_by_key(|one| (!meant(one.destination.port()), one.source.ip() != self.address));
                syns.into_iter().find_map(|one| {
                    let (own, port) = (one.source.ip() == self.address, one.destination.port());
                    match (meant(port), own, named) {
                        (true, true, _) => Some(Verdict::TooLate { after: after(one) }),
                        (true, false, _) if self.may_be_ours(one, named.is_some()) => {
                            Some(Verdict::OtherAddress { from: one.source.ip(), port, sure: named.is_some() })
                        }
                        (false, true, Some(named)) => Some(Verdict::WrongPort { came: port, named }),
                        _ => None,
                    }
                })
            }
            Asking::Active(_, asked, _) => near.into_iter().find_map(|one| match one.kind {
                StrangerKind::Answer if one.source.ip() == self.address && one.source.port() == asked => {
                    let port = one.destination.port();
                    let usual = port == place.active_port;
                    Some(if usual { Verdict::TooLate { after: after(one) } } else { Verdict::OtherActivePort { port } })
                }
                StrangerKind::Call if one.destination.ip() == self.address && one.destination.port() == asked => {
                    Some(Verdict::TooLate { after: after(one) })
                }
                _ => None,
            }),
            _ => None,
        }
    }

    /// Whether a data connection from another address may be this client's. Where its port is not known, only one from nearby.
    fn may_be_ours(&self, one: &Stranger, sure: bool) -> bool {
        let length = if self.address.is_ipv4() { 16 } else { 32 };
        let same_family = one.source.is_ipv4() == self.address.is_ipv4();
        let near = same_family && network(one.source.ip(), length) == network(self.address, length);
        !one.known && (sure || near)
    }

    /// Under TLS only the kernel's log is known.
    fn encrypted(&self) -> Verdict {
        let Some(place) = self.place else { return Verdict::Encrypted { landed: 0 } };
        let began = self.story.began.unwrap_or(Time::ZERO);
        let (landed, last) = self.story.landed.map_or((0, began), |(landed, last)| (landed, last.max(began)));
        let other = self.strangers.iter().rev().find(|one| {
            let port = one.destination.port();
            let passive = one.kind == StrangerKind::Syn && place.ports_at_vip().contains(port);
            passive && one.destination.ip() == place.vip && one.at >= last && self.may_be_ours(one, false)
        });
        if let Some(one) = other.filter(|one| one.source.ip() != self.address) {
            return Verdict::OtherAddress { from: one.source.ip(), port: one.destination.port(), sure: false };
        }
        self.down().filter(|_| self.story.closed.is_none()).unwrap_or(Verdict::Encrypted { landed })
    }

    /// How a data connection stands that has not failed.
    fn state(&self, attempt: &Attempt) -> Verdict {
        let landed = self.story.attempts.iter().filter(|attempt| attempt.landed.is_some()).count();
        let over = attempt.over.is_some() || self.story.closed.is_some();
        match (attempt.landed, attempt.ended, self.place.is_some_and(Place::sees_replies)) {
            (Some(_), None, true) if !over => Verdict::Running,
            (Some(_), _, false) => Verdict::Landed,
            (None, None, _) if !over && attempt.refusal.is_none() => {
                Verdict::Waiting { waited: self.now.since(attempt.since()) }
            }
            _ => Verdict::Fine { landed },
        }
    }

    fn down(&self) -> Option<Verdict> {
        match &self.place?.standing {
            Standing::Down(why) => Some(Verdict::ServerDown { why: why.clone() }),
            _ => None,
        }
    }

    fn is_last(&self, attempt: &Attempt) -> bool {
        self.story.attempts.last().is_some_and(|last| std::ptr::eq(last, attempt))
    }
}

/// The code that the server ended it with.
fn code(attempt: &Attempt) -> Option<u16> {
    attempt.refusal.as_ref().map(|refusal| refusal.code).or(attempt.over.map(|(_, code)| code))
}

fn port(attempt: &Attempt) -> Option<u16> {
    match attempt.asking {
        Asking::Active(_, port, _) => Some(port),
        _ => attempt.named.map(|named| named.said),
    }
}
