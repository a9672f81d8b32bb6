//! Replies counted against commands: which command a reply answers, and whether that command asked for a port.
//!
//! Every command is answered by one final reply (RFC 959 §4.2: codes from 200 on), in the order of the commands. So a
//! 227, 228 or 229 names a port only at the place of the PASV, EPSV, LPSV or CPSV that asked.

use super::Verb;
use super::open_transfers::{Ended, FinalReply, OpenTransfers};
use super::passive::is_passive;

/// How many passive commands can be open at once; of more than these the replies pass unread.
const ASKS: usize = 4;

/// The commands and final replies of one connection, numbered modulo 2¹⁶.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    /// The number that the next command gets.
    sent: u16,
    /// The number of the command that the next final reply answers.
    answered: u16,
    /// The numbers of the open passive commands, oldest first.
    numbers: [u16; ASKS],
    verbs: [Verb; ASKS],
    open: u8,
    opening: Opening,
    /// The number of an EPSV ALL whose reply has not come.
    epsv_all: Option<u16>,
    /// The transfer verbs whose final reply has not come.
    transfers: OpenTransfers,
    /// Whether more replies may be missing, or have come, than were counted. Then a passive reply is taken for the oldest
    /// open command's, wherever it comes.
    uncertain: bool,
}

/// How far a connection's beginning has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Opening {
    /// A first 220 is the greeting, and answers no command.
    #[default]
    Greeting,
    /// Commands have come, and still no reply.
    Pipelined,
    /// Every final reply answers a command.
    Over,
}

/// So many commands are open that they cannot be numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

/// What a reply settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// 2xx to EPSV ALL: the server takes EPSV only from now on.
    pub epsv_all: bool,
    /// The transfers that are over.
    pub transfers: Ended,
}

impl Count {
    /// How many commands have no final reply yet.
    pub(super) const fn outstanding(&self) -> u16 {
        self.sent.wrapping_sub(self.answered)
    }

    /// Counts another command of the client.
    pub(super) fn command(&mut self, verb: Verb) -> Result<(), Overflow> {
        self.opening = match (self.opening, verb) {
            // these are answered by a 220 too (RFC 7151 §3.1, RFC 959 §5.4)
            (Opening::Greeting, Verb::Host | Verb::Rein) => Opening::Over,
            (Opening::Greeting, _) => Opening::Pipelined,
            (opening, _) => opening,
        };
        if self.outstanding() == u16::MAX {
            let mut transfers = self.transfers;
            transfers.lose_numbers();
            *self = Self { opening: Opening::Over, uncertain: true, transfers, ..Self::default() };
            return Err(Overflow);
        }
        self.sent = self.sent.wrapping_add(1);
        Ok(())
    }

    /// The last command asks for a port.
    pub(super) fn ask(&mut self, verb: Verb) {
        if usize::from(self.open) == ASKS {
            if !self.uncertain {
                return;
            }
            self.forget_oldest();
        }
        let at = usize::from(self.open);
        if let (Some(number), Some(slot)) = (self.numbers.get_mut(at), self.verbs.get_mut(at)) {
            (*number, *slot) = (self.sent.wrapping_sub(1), verb);
            self.open = self.open.saturating_add(1);
        }
    }

    /// The last command is EPSV ALL.
    pub(super) const fn ask_epsv_all(&mut self) {
        self.epsv_all = Some(self.sent.wrapping_sub(1));
    }

    /// The last command is a transfer verb. Returns how many older ones get no reply that could be told from others.
    pub(super) fn begin_transfer(&mut self) -> u8 {
        self.transfers.begin(self.sent.wrapping_sub(1), !self.uncertain)
    }

    /// REIN: whatever EPSV ALL is answered, it is over.
    pub(super) const fn forget_epsv_all(&mut self) {
        self.epsv_all = None;
    }

    /// Whatever was open is not answered any more.
    pub(super) fn forget(&mut self) {
        *self = Self { opening: Opening::Over, ..Self::default() };
    }

    /// From here on replies and commands may be out of step, until nothing is open.
    pub(super) const fn doubt(&mut self) {
        if !self.uncertain {
            self.transfers.doubt();
        }
        self.uncertain = true;
    }

    /// Whether a 220 would be the greeting.
    pub(super) fn awaits_greeting(&self) -> bool {
        self.opening != Opening::Over
    }

    /// Whether a reply of this code, if it came now, would name a port that was asked for.
    pub(super) fn awaits(&self, code: u16) -> bool {
        is_passive(code) && self.oldest().is_some_and(|(number, _)| self.uncertain || number == self.answered)
    }

    /// Whether neither a PASV nor its like nor EPSV ALL is open.
    pub(super) const fn is_calm(&self) -> bool {
        self.open == 0 && self.epsv_all.is_none()
    }

    /// The command that such a reply answers.
    pub(super) fn asker(&self) -> Verb {
        self.oldest().map_or(Verb::Other, |(_, verb)| verb)
    }

    fn oldest(&self) -> Option<(u16, Verb)> {
        let [number, ..] = self.numbers;
        let [verb, ..] = self.verbs;
        (self.open > 0).then_some((number, verb))
    }

    fn forget_oldest(&mut self) {
        self.numbers.rotate_left(1);
        self.verbs.rotate_left(1);
        self.open = self.open.saturating_sub(1);
    }

    /// Counts a complete reply of the server, and matches it to a command.
    pub(super) fn reply(&mut self, code: u16) -> Settled {
        let greets = self.awaits_greeting() && matches!(code, 120 | 220 | 421);
        if code != 120 {
            self.opening = Opening::Over;
        }
        if matches!(code, 125 | 150) {
            self.transfers.begun();
        }
        if greets || code < 200 {
            return Settled::default();
        }
        let (names_port, in_step) = (self.awaits(code), !self.uncertain);
        let number = match self.oldest() {
            Some((number, _)) if names_port => {
                self.forget_oldest();
                number
            }
            Some((number, _)) if number == self.answered && code < 300 => {
                // Servers send a line too many now and then, and the 227 comes behind it.
                self.doubt();
                return Settled::default();
            }
            Some((number, _)) if number == self.answered => {
                self.forget_oldest();
                number
            }
            _ => self.answered,
        };
        if self.outstanding() > 0 {
            self.answered = number.wrapping_add(1);
        }
        let epsv_all = self.settle_epsv_all(number, code);
        let left = self.outstanding();
        let transfers = self.transfers.reply(FinalReply { code, number, in_step, names_port, left });
        if left == 0 {
            (self.open, self.uncertain) = (0, false);
        }
        Settled { epsv_all, transfers }
    }

    fn settle_epsv_all(&mut self, number: u16, code: u16) -> bool {
        let Some(asked) = self.epsv_all else { return false };
        if number.wrapping_sub(asked).cast_signed() < 0 {
            return false;
        }
        self.epsv_all = None;
        number == asked && code < 300
    }
}
