//! Commands that are missing: how long they are waited for, and how reading goes on behind them.
//!
//! Where replies are seen, the server's acknowledgement says what it has ([`Session::catch_up`]). Where they are not, nobody says
//! it: a client that acknowledges more than before, behind the gap, may have been answered to a command before the gap, and then its
//! TCP repeats what is missing. Only if that has not happened for a while is the gap taken for one of this director's alone.

use std::ops::Add;
use std::time::Duration;

use super::line::wipe;
use super::state::{Gap, LineMode, Session, Turn};
use super::stream::{Ahead, distance};
use super::{BlindReason, Event, Segment};
use crate::time::Time;

/// How long a client's bytes may be missing before they are given up: a few of its retransmissions.
const GAP: Duration = Duration::from_secs(30);

/// How long, where the client goes on and is answered meanwhile. A TCP that knows nothing of the way repeats what is not
/// acknowledged after a second, or three if the SYN was lost (RFC 6298 §2, §5.7), and then sends nothing new until that is
/// acknowledged (RFC 5681 §3.1: the loss window is one segment). Twice that, for ways that are slower than any satellite's.
const ANSWERED: Duration = Duration::from_secs(6);

impl Session {
    /// Missing commands are given up after a while.
    pub(super) fn await_commands(&mut self, now: Time) {
        let acknowledged = self.to_client.next;
        self.heap().gap.get_or_insert(Gap { until: now.add(GAP), since: now, acknowledged });
    }

    /// Whether others are missing before a segment of the client's.
    pub(super) fn is_early(&self, segment: &Segment<'_>) -> bool {
        !self.ciphered && distance(segment.seq, self.to_server.next) > 0
    }

    /// The client sends something from before the gap: what is missing may come yet.
    pub(super) fn reopen_gap(&mut self, now: Time) {
        let acknowledged = self.to_client.next;
        if let Some(gap) = self.heap.as_mut().and_then(|heap| heap.gap.as_mut()) {
            (gap.since, gap.acknowledged) = (now, acknowledged);
        }
    }

    /// Goes on with what came behind the gap, if its client, not answered here, sends something new behind that and was answered
    /// meanwhile. Should what is missing come yet, it is not let through: nobody would read it.
    pub(super) fn close_gap(&mut self, turn: &mut Turn<'_>, segment: &Segment<'_>) {
        let Some(heap) = &mut self.heap else { return };
        let (Some(gap), Some((first, last))) = (heap.gap, heap.ahead.first().zip(heap.ahead.last())) else { return };
        let answered = self.unheard && distance(self.to_client.next, gap.acknowledged) > 0;
        let goes_on = !segment.payload.is_empty() && distance(segment.seq, last) >= 0;
        if !answered || !goes_on || gap.since.add(ANSWERED) > turn.context.now {
            return;
        }
        if self.dialogue.asks_for_encryption() {
            // what is kept may be the rest of a record
            self.give_up_gap(turn.events);
            return;
        }
        // there may be another one behind this
        heap.gap = None;
        self.await_commands(turn.context.now);
        self.skip_commands(first, turn.events);
        self.forget(first);
    }

    /// Missing commands are given up. Should they come yet, they are not let through: nobody reads them any more, and a refused
    /// one could be among them.
    pub(super) fn give_up_gap(&mut self, events: &mut Vec<Event>) {
        let Some(heap) = &mut self.heap else { return };
        let end = heap.ahead.last();
        (heap.ahead, heap.gap) = (Ahead::default(), None);
        if let Some(end) = end {
            self.skip_commands(end, events);
            self.forget(end);
        }
    }

    /// Goes on reading behind bytes that are missing.
    pub(super) fn skip_commands(&mut self, to: u32, events: &mut Vec<Event>) {
        if distance(to, self.to_server.next) <= 0 {
            return;
        }
        // `to` may lie in the middle of a line: the first one is read leniently.
        let half = &mut self.to_server;
        (half.next, half.line, half.mode, half.lenient) = (to, 0, LineMode::Start, true);
        if let Some(heap) = &mut self.heap {
            wipe(&mut heap.command);
        }
        // Nobody knows how many commands were missed, so no reply can be matched to one until the counts meet again.
        self.dialogue.doubt();
        self.dim(BlindReason::Gap, events);
    }
}

#[cfg(test)]
mod tests {
    use crate::ftp::testing::Wire;
    use crate::ftp::{Direction, Flags, Verdict};

    /// A client whose CWD took another way, and which has sent a PASV behind it: where the CWD is missing, and the session.
    fn behind() -> (u32, Wire) {
        let mut wire = Wire::dr();
        wire.client("USER a\r\n");
        wire.next[1] += 20;
        wire.client("PASS b\r\n");
        let missing = wire.next[0];
        wire.next[0] += 8;
        wire.next[1] += 8;
        wire.client("PASV\r\n");
        assert_eq!(wire.told(), ["command USER", "command PASS"]);
        (missing, wire)
    }

    /// The client says something so much later, answered meanwhile or not.
    fn goes_on(wire: &mut Wire, after_ms: u64, answered: bool, text: &str) {
        wire.timeout(after_ms);
        wire.next[1] += if answered { 50 } else { 0 };
        wire.client(text);
    }

    /// What comes from there, and whether it is let through.
    fn late(wire: &mut Wire, seq: u32, text: &[u8]) -> (Verdict, Vec<u8>) {
        let mut payload = text.to_vec();
        (wire.raw(Direction::ToServer, seq, Flags::ACK, &mut payload), payload)
    }

    #[test]
    fn a_client_that_was_answered_closes_the_gap() {
        let (_, mut wire) = behind();
        goes_on(&mut wire, 10, true, "RETR f\r\n");
        assert!(wire.told().is_empty(), "what is missing may come yet");
        goes_on(&mut wire, 5990, true, "PORT 198,51,100,7,200,0\r\n");
        assert_eq!(
            wire.told(),
            [
                "blind gap",
                "sighted",
                "command PASV",
                "ask passive PASV",
                "command RETR",
                "transfer RETR",
                "command PORT",
                "expect active PORT 198.51.100.7:51200"
            ]
        );
        assert_eq!((wire.session.heap_bytes(), wire.session.deadline()), (0, None));
    }

    #[test]
    fn one_that_was_not_answered_does_not() {
        let (_, mut wire) = behind();
        goes_on(&mut wire, 10_000, false, "NOOP\r\n");
        goes_on(&mut wire, 10_000, false, "NOOP\r\n");
        assert!(wire.told().is_empty());
        goes_on(&mut wire, 10_000, false, "PASV\r\n");
        assert_eq!(wire.told(), ["blind gap", "sighted", "command PASV", "ask passive PASV"]);
    }

    #[test]
    fn nor_does_one_that_repeats_itself() {
        let (missing, mut wire) = behind();
        wire.timeout(7000);
        wire.next[1] += 50;
        assert_eq!(late(&mut wire, missing + 8, b"PASV\r\n").0, Verdict::Pass);
        assert!(wire.told().is_empty());
        // and what is missing comes
        assert_eq!(late(&mut wire, missing, b"TYPE A\r\n").0, Verdict::Pass);
        assert_eq!(wire.told(), ["command TYPE", "command PASV", "ask passive PASV"]);
    }

    #[test]
    fn while_some_of_it_comes_it_is_waited_for() {
        let (missing, mut wire) = behind();
        wire.timeout(5999);
        assert_eq!(late(&mut wire, missing, b"TY").0, Verdict::Pass);
        goes_on(&mut wire, 5999, true, "NOOP\r\n");
        assert_eq!(late(&mut wire, missing - 8, b"PASS b\r\n").0, Verdict::Pass);
        goes_on(&mut wire, 5999, true, "NOOP\r\n");
        assert!(wire.told().is_empty());
        assert_eq!(late(&mut wire, missing - 8, b"PASS b\r\n").0, Verdict::Pass);
        goes_on(&mut wire, 6000, false, "NOOP\r\n");
        assert!(wire.told().is_empty(), "not answered since");
        goes_on(&mut wire, 0, true, "NOOP\r\n");
        assert_eq!(wire.told()[..3], ["blind gap", "sighted", "command PASV"]);
    }

    /// A `ClientHello` in two segments: the first is lost for as long as TCP takes to repeat it, or took another way.
    #[test]
    fn a_handshake_is_waited_for() {
        for comes in [true, false] {
            let mut wire = Wire::dr();
            wire.policy.bounce = crate::ftp::Bounce::Allow;
            wire.client("AUTH TLS\r\n");
            wire.told();
            let missing = wire.next[0];
            (wire.next[0], wire.next[1]) = (missing + 4, wire.next[1] + 30);
            wire.client([7; 40]);
            wire.timeout(6100);
            if comes {
                assert_eq!(late(&mut wire, missing, &[22, 3, 1, 1]).0, Verdict::Pass);
                assert_eq!(wire.told(), ["blind tls"]);
            }
            wire.next[1] += 2000;
            wire.client([20, 3, 3, 0, 1, 1]);
            assert_eq!(wire.told(), if comes { &[][..] } else { &["blind gap", "blind tls"] });
        }
    }

    /// What is missing could be the beginning of a refused command whose end has passed.
    #[test]
    fn what_comes_after_that_is_not_let_through() {
        let (missing, mut wire) = behind();
        goes_on(&mut wire, 6000, true, "NOOP\r\n");
        for text in [&b"TYPE A\r\n"[..], b"PORT 10,", b"PORT 10,0,0,99,0,25\r\n", b"TYPE A\r\nPASV\r\n"] {
            assert_eq!(late(&mut wire, missing, text).0, Verdict::Drop, "{}", text.escape_ascii());
        }
        assert_eq!(late(&mut wire, missing + 8, b"PASV\r\n").0, Verdict::Pass);
        wire.told();
        let next = wire.next[0];
        let (verdict, payload) = late(&mut wire, next, b"PORT 10,0,0,99,0,25\r\n");
        assert!(payload.starts_with(b"XXXX"), "{verdict:?} {}", payload.escape_ascii());
    }

    /// Nor behind what looks like the beginning of encryption, or the end of the connection: a server that waits for what is
    /// missing has read neither.
    #[test]
    fn nor_is_it_in_the_dark_or_behind_the_end() {
        for end in [&b"ADAT x\r\n"[..], b"AUTH TLS\r\n\x16\x03\x01", b""] {
            let (missing, mut wire) = behind();
            goes_on(&mut wire, 6000, true, "NOOP\r\n");
            if end.is_empty() {
                let next = wire.next[0];
                let _ = wire.raw(Direction::ToServer, next, Flags::RST, &mut []);
                assert!(wire.session.closed() && !wire.session.gone());
            }
            wire.client(end);
            for text in [&b"PORT 10,"[..], b"PORT 10,0,0,99,0,25\r\n"] {
                let verdict = late(&mut wire, missing, text).0;
                assert_eq!(verdict, Verdict::Drop, "{} {}", end.escape_ascii(), text.escape_ascii());
            }
        }
    }

    /// One with a FIN, and then more: nothing waits for ever.
    #[test]
    fn what_is_still_missing_has_its_time() {
        let (missing, mut wire) = behind();
        let _ = wire.raw(Direction::ToServer, missing + 14, Flags::FIN.with(Flags::ACK), &mut []);
        wire.next[0] += 6;
        wire.client("EPSV\r\n");
        wire.timeout(6000);
        wire.next[1] += 50;
        // what closes the gap is behind another one, and must come in its turn
        let next = wire.next[0];
        assert_eq!(late(&mut wire, next, b"HELO\r\n").0, Verdict::Drop);
        assert_eq!(wire.told()[..3], ["blind gap", "sighted", "command PASV"]);
        assert!(wire.session.deadline().is_some());
        wire.timeout(30_000);
        assert_eq!(late(&mut wire, next, b"HELO\r\n").0, Verdict::Pass);
        assert_eq!((wire.session.heap_bytes(), wire.session.deadline()), (0, None));
    }

    /// A FIN where the client goes on is none.
    #[test]
    fn nothing_is_kept_for_a_fin_that_was_none() {
        let (missing, mut wire) = behind();
        let _ = wire.raw(Direction::ToServer, missing + 14, Flags::FIN.with(Flags::ACK), &mut []);
        goes_on(&mut wire, 6000, true, "NOOP\r\n");
        assert_eq!((wire.session.heap_bytes(), wire.session.deadline()), (0, None));
    }

    /// No room to read on in copies: what is missing behind them is not skipped with them.
    #[test]
    fn what_is_early_does_not_go_unread() {
        let mut wire = Wire::dr();
        let start = wire.next[0];
        let sixteen = "NOOP\r\n".repeat(16);
        for at in [96, 192] {
            assert_eq!(late(&mut wire, start + at, sixteen.as_bytes()).0, Verdict::Pass);
        }
        assert_eq!(late(&mut wire, start, sixteen.as_bytes()).0, Verdict::More);
        let mut payload = b"RETR x\r\n".to_vec();
        let seq = start + 288 + 21;
        assert_eq!(wire.raw(Direction::ToServer, seq, Flags::ACK, &mut payload), Verdict::More);
        let context = crate::ftp::Context {
            now: wire.now,
            policy: &wire.policy,
            client: wire.client,
            syn: crate::ftp::Syn::Unseen,
        };
        let mut segment = crate::ftp::Segment {
            direction: Direction::ToServer,
            seq,
            ack: wire.next[1],
            flags: Flags::ACK,
            payload: &mut payload,
        };
        assert_eq!(wire.session.pass_unread(&context, &mut segment, &mut wire.events), Verdict::Drop);
        let (verdict, payload) = late(&mut wire, start + 288, b"PORT 10,0,0,99,0,25\r\n");
        assert!(verdict == Verdict::More || payload.starts_with(b"XXXX"), "{verdict:?}");
    }

    /// Another gap behind the first is waited for anew, and copies of many lines are read in several goes.
    #[test]
    fn gaps_close_one_after_the_other() {
        let (_, mut wire) = behind();
        wire.client("TYPE I\r\n".repeat(16));
        wire.client("TYPE I\r\n".repeat(16));
        let other = wire.next[0];
        wire.next[0] += 6;
        wire.client("EPSV\r\n");
        goes_on(&mut wire, 6000, true, "NOOP\r\n");
        assert!(wire.session.deadline().is_some_and(|at| at.as_millis() == 36_000));
        let told = wire.told();
        assert_eq!(told.iter().filter(|event| *event == "command TYPE").count(), 32);
        assert!(!told.iter().any(|event| event.contains("EPSV")), "{told:?}");
        assert_eq!(late(&mut wire, other, b"NOOP\r\n").0, Verdict::Pass);
        assert_eq!(wire.told(), ["command NOOP", "command EPSV", "ask passive EPSV", "command NOOP"]);
    }
}
