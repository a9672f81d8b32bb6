//! A passive reply names a port: what the client is told, and what becomes of the line.

use super::passive::Spelling;
use super::passive_rewrite::{NamedPort, Naming, Written, refusal};
use super::replies::{Mark, code_of};
use super::same_length::Released;
use super::state::{Session, Turn};
use super::{Endpoint, Event, NO_PORT, RefuseReason, Told, UnparsedReason};

impl Session {
    /// A reply names a port: asks what the client shall be told, once for each. `None` if it must open nothing.
    pub(super) fn tell(&mut self, turn: &mut Turn<'_>, code: u16, spelling: Spelling) -> Option<NamedPort> {
        let port = spelling.port;
        let known = self.dialogue.told(port);
        if port < 1024 {
            if known.is_none() {
                turn.events.push(Event::Refuse { verb: self.dialogue.asker(), reason: RefuseReason::LowPort });
            }
            self.dialogue.tell(port, port);
            return None;
        }
        let told = known.map_or_else(|| (turn.ports)(port), Told::Port);
        let told = match told {
            Told::Port(told) => told,
            Told::Refuse(reason) => {
                turn.events.push(Event::UnparsedReply { code, reason });
                self.dialogue.tell(port, port);
                return None;
            }
        };
        self.dialogue.tell(port, told);
        Some(NamedPort { spelling, port: told, again: known.is_some() })
    }

    /// The line for the client, if its edit can be remembered.
    pub(super) fn write(&self, naming: &Naming<'_>, line: &[u8], from: usize, released: &Released) -> Written {
        if !self.may_edit_reply(line.len()) {
            return Written::Nothing;
        }
        match naming.write(line, from, released) {
            Written::Whole(out) if naming.named.port != NO_PORT => Written::Whole(out),
            _ if naming.policy.public_ports && self.may_refuse(line, released) => Written::Refusal(refusal(line)),
            written => written,
        }
    }

    /// Whether a line can become another reply: it is all of one, and nothing of it has left.
    fn may_refuse(&self, line: &[u8], released: &Released) -> bool {
        let alone = matches!(code_of(line), Some((_, Mark::Last | Mark::Missing))) && self.dialogue.open_reply() == 0;
        alone && released.bytes.is_empty()
    }

    /// Whether an edit of a line of this length can be remembered.
    pub(super) fn may_edit_reply(&self, length: usize) -> bool {
        self.heap.as_ref().is_none_or(|heap| heap.reply_patches.has_room(length))
    }

    /// Notes what a line became.
    pub(super) fn conclude(
        &mut self,
        naming: &Naming<'_>,
        seq: u32,
        (text, written): (&[u8], Written),
        events: &mut Vec<Event>,
    ) {
        let (verb, code, from) = (self.dialogue.asker(), naming.code, naming.said());
        let to = match &written {
            Written::Refusal(out) => {
                self.dialogue.tell(from.port, NO_PORT);
                self.heap().reply_patches.push_difference(seq, text, out);
                let taken = naming.named.port == NO_PORT;
                let reason = UnparsedReason::PortTaken;
                return events.push(if taken { Event::UnparsedReply { code, reason } } else { Event::NoRoom { code } });
            }
            Written::Whole(_) => naming.told(),
            Written::Address(_) => Endpoint { port: from.port, ..naming.told() },
            Written::Nothing => from,
        };
        if !naming.named.again {
            self.dialogue.tell(from.port, to.port);
            events.push(Event::ExpectPassive { verb, code, said: from, port: to.port });
        }
        if let Written::Whole(out) | Written::Address(out) = written {
            self.heap().reply_patches.push_difference(seq, text, &out);
        }
        if from != to {
            events.push(Event::Rewrite { code, from, to });
        }
        if naming.told() != to {
            events.push(Event::NoRoom { code });
        }
    }
}
