//! Which reply is a transfer's own final one.
//!
//! Replies come in the order of the commands (RFC 959 §4.2), so its number says it. Where numbers may be out of step (ABOR is
//! answered once or twice, some servers answer NOOP and STAT while a transfer runs) what only a transfer is told does: after 125 or
//! 150 the code of its end (RFC 959 §5.4).

/// How many transfers can be open at once; clients that pipeline have one or two. Of more the oldest is given up.
const MOST: usize = 3;

/// Transfer verbs whose own final reply has not come, oldest first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpenTransfers {
    /// The numbers of the commands.
    numbers: [u16; MOST],
    open: u8,
    /// How many of them, the oldest, had their numbers before anything was out of step.
    sure: u8,
    /// Whether the oldest has its 125 or 150.
    begun: bool,
}

/// The transfers that a reply ends, in their order. What it says is said of one of them: the replies of the others passed unseen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    /// How many older than that one.
    pub before: u8,
    /// Whether there is that one.
    pub own: bool,
    /// How many younger than that one.
    pub after: u8,
}

/// A final reply, and what is known of the command that it answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct FinalReply {
    pub code: u16,
    /// The number of the command, as far as commands and replies are in step.
    pub number: u16,
    /// Whether they are.
    pub in_step: bool,
    /// Whether it is the reply to a PASV or EPSV, by what it says.
    pub names_port: bool,
    /// How many commands have no final reply yet, without this one.
    pub left: u16,
}

impl OpenTransfers {
    /// Another transfer verb. Returns how many older ones are given up: of these no reply is waited for.
    pub(super) fn begin(&mut self, number: u16, in_step: bool) -> u8 {
        // A client sends the next transfer when it has the last one's reply, which was not recognized.
        let unrecognized = !in_step && !self.begun && self.sure == 0;
        let full = usize::from(self.open) == MOST;
        let given_up = if unrecognized { self.open } else { u8::from(full) };
        self.forget(given_up);
        if let Some(last) = self.numbers.get_mut(usize::from(self.open)) {
            *last = number;
            self.open = self.open.saturating_add(1);
        }
        given_up
    }

    /// 125 or 150: a transfer has begun.
    pub(super) const fn begun(&mut self) {
        self.begun = self.open > 0;
    }

    /// From here on numbers may be out of step.
    pub(super) const fn doubt(&mut self) {
        self.sure = self.open;
    }

    /// Nobody knows any more which reply answers which command.
    pub(super) const fn lose_numbers(&mut self) {
        (self.sure, self.begun) = (0, false);
    }

    /// A final reply: which transfers it ends.
    pub(super) fn reply(&mut self, reply: FinalReply) -> Ended {
        if self.open == 0 {
            return Ended::default();
        }
        let own = self.begun && ends_transfer(reply.code);
        if reply.left == 0 {
            return self.end_all(own, reply.names_port);
        }
        if own {
            self.forget(1);
            return Ended { own, ..Ended::default() };
        }
        if self.begun {
            // A NOOP or STAT is answered while the transfer runs.
            return Ended::default();
        }
        self.end_reached(reply)
    }

    /// Every command is answered.
    fn end_all(&mut self, oldest: bool, names_port: bool) -> Ended {
        let others = self.open.saturating_sub(1);
        let ended = match (oldest, names_port) {
            (true, _) => Ended { before: 0, own: true, after: others },
            (false, false) => Ended { before: others, own: true, after: 0 },
            (false, true) => Ended { before: self.open, own: false, after: 0 },
        };
        self.forget(self.open);
        ended
    }

    /// By their numbers.
    fn end_reached(&mut self, reply: FinalReply) -> Ended {
        let known = if reply.in_step { self.open } else { self.sure };
        let known = self.numbers.iter().take(usize::from(known));
        let reached = known.take_while(|number| reply.number.wrapping_sub(**number).cast_signed() >= 0);
        let (count, last) = reached.fold((0_u8, None), |(count, _), number| (count.saturating_add(1), Some(*number)));
        let own = last == Some(reply.number) && !reply.names_port;
        self.forget(count);
        Ended { before: count.saturating_sub(u8::from(own)), own, after: 0 }
    }

    /// The oldest are open no more.
    fn forget(&mut self, count: u8) {
        if count > 0 {
            self.numbers.rotate_left(usize::from(count).min(MOST));
            self.open = self.open.saturating_sub(count);
            self.sure = self.sure.saturating_sub(count);
            self.begun = false;
        }
    }
}

/// Whether a code is one that ends a transfer which has begun (RFC 959 §5.4; 522 is vsftpd's where a TLS session is not resumed).
const fn ends_transfer(code: u16) -> bool {
    matches!(code, 225 | 226 | 250 | 400..=499 | 522 | 550..=559)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, number: u16, left: u16) -> FinalReply {
        FinalReply { code, number, in_step: true, names_port: false, left }
    }

    const OWN: Ended = Ended { before: 0, own: true, after: 0 };
    const NONE: Ended = Ended { before: 0, own: false, after: 0 };

    #[test]
    fn in_step_the_number_says_it() {
        let mut open = OpenTransfers::default();
        assert_eq!((open.begin(u16::MAX, true), open.begin(1, true)), (0, 0));
        // what was said before it is answered first
        assert_eq!(open.reply(reply(200, u16::MAX - 1, 3)), NONE);
        assert_eq!(open.reply(reply(550, u16::MAX, 2)), OWN);
        assert_eq!(open.reply(reply(200, 0, 1)), NONE);
        assert_eq!(open.reply(reply(226, 1, 0)), OWN);
        assert_eq!(open.reply(reply(226, 2, 0)), NONE);
    }

    #[test]
    fn one_that_has_begun_ends_with_a_code_of_its_own() {
        let mut open = OpenTransfers::default();
        assert_eq!(open.begin(0, true), 0);
        open.begun();
        // a NOOP, a STAT and an ABOR that the server does not know are answered meanwhile
        for (code, left) in [(200, 3), (211, 2), (502, 1)] {
            assert_eq!(open.reply(reply(code, 3 - left, left)), NONE);
        }
        assert_eq!(open.reply(reply(426, 3, 0)), OWN);
    }

    #[test]
    fn out_of_step_only_older_numbers_count() {
        let mut open = OpenTransfers::default();
        assert_eq!(open.begin(4, true), 0);
        open.doubt();
        let out = |code, number, left| FinalReply { in_step: false, ..reply(code, number, left) };
        assert_eq!(open.reply(out(550, 4, 1)), OWN);
        assert_eq!(open.begin(6, false), 0);
        // could be anything's
        assert_eq!(open.reply(out(550, 6, 1)), NONE);
        // the client goes on: it has seen the end of the other
        assert_eq!(open.begin(8, false), 1);
        open.begun();
        assert_eq!(open.reply(out(226, 7, 1)), OWN);
        assert_eq!(open.begin(9, false), 0);
        // a 227 is no transfer's
        let names_port = FinalReply { names_port: true, ..out(227, 10, 0) };
        assert_eq!(open.reply(names_port), Ended { before: 1, own: false, after: 0 });
    }

    #[test]
    fn of_too_many_the_oldest_is_given_up() {
        let mut open = OpenTransfers::default();
        let given_up: Vec<u8> = (0..5).map(|number| open.begin(number, true)).collect();
        assert_eq!(given_up, [0, 0, 0, 1, 1]);
        open.begun();
        assert_eq!(open.reply(reply(226, 2, 0)), Ended { before: 0, own: true, after: 2 });
    }
}
