//! The port that a passive reply names, and the reply with what the client shall be told.

use std::net::{IpAddr, Ipv4Addr};

use super::passive::{Spelling, Style};
use super::same_length::{Released, Wanted, finish, fit, port_text};
use super::session::{Session, Turn};
use super::{Endpoint, Event, Policy, RefuseReason, Told};

/// A port that a reply names.
#[derive(Debug)]
pub(super) struct Named {
    /// Where and how.
    pub spelling: Spelling,
    /// The port that the client shall be told.
    port: u16,
    /// Whether another line of the same reply named it before.
    again: bool,
}

impl Session {
    /// A reply names a port: asks what the client shall be told, once for each. `None` if it must open nothing.
    pub(super) fn tell(&mut self, turn: &mut Turn<'_>, code: u16, spelling: Spelling) -> Option<Named> {
        let port = spelling.port;
        let known = self.told.filter(|(named, _)| *named == port);
        if port < 1024 {
            if known.is_none() {
                turn.events.push(Event::Refuse { verb: self.count.asker(), reason: RefuseReason::LowPort });
            }
            self.told = Some((port, port));
            return None;
        }
        let told = known.map_or_else(|| (turn.ports)(port), |(_, told)| Told::Port(told));
        let told = match told {
            Told::Port(told) => told,
            Told::Refuse(reason) => {
                turn.events.push(Event::UnparsedReply { code, reason });
                self.told = Some((port, port));
                return None;
            }
        };
        self.told = Some((port, told));
        Some(Named { spelling, port: told, again: known.is_some() })
    }

    /// The line for the client, if its edit can be remembered.
    pub(super) fn write(&self, naming: &Naming<'_>, line: &[u8], from: usize, released: &Released) -> Written {
        if self.may_edit_reply(line.len()) { naming.write(line, from, released) } else { Written::Nothing }
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
        let (verb, code, from) = (self.count.asker(), naming.code, naming.said());
        let to = match written {
            Written::Whole(_) => naming.told(),
            Written::Address(_) => Endpoint { port: from.port, ..naming.told() },
            Written::Nothing => from,
        };
        if !naming.named.again {
            self.told = Some((from.port, to.port));
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

/// What became of a line, in as many bytes.
pub(super) enum Written {
    /// It says all that it shall.
    Whole(Vec<u8>),
    /// It says the address, but has no room for the port: the server's own stays.
    Address(Vec<u8>),
    /// It has no room.
    Nothing,
}

/// How a port is told to the client.
pub(super) struct Naming<'a> {
    pub code: u16,
    pub named: &'a Named,
    pub policy: &'a Policy,
}

impl Naming<'_> {
    /// The address that the client is told, if it is not the server's.
    fn address(&self) -> Option<Ipv4Addr> {
        let address = self.named.spelling.address.as_ref();
        self.policy.advertise.filter(|_| address.is_some_and(|(ip, _)| ip.is_ipv4()))
    }

    fn said(&self) -> Endpoint {
        let spelling = &self.named.spelling;
        Endpoint { address: spelling.address.as_ref().map(|(ip, _)| *ip), port: spelling.port }
    }

    fn told(&self) -> Endpoint {
        Endpoint { address: self.address().map(IpAddr::V4).or(self.said().address), port: self.named.port }
    }

    /// The line for the client.
    fn write(&self, line: &[u8], from: usize, released: &Released) -> Written {
        let Named { spelling, port, .. } = self.named;
        let address = self.address().map(|address| address_text(address, spelling.style));
        let port = (*port != spelling.port).then(|| port_text(*port, spelling.style));
        let wanted = Wanted { address: address.as_deref(), port: port.as_deref().map(str::as_bytes) };
        let write = |wanted| match released.bytes.as_slice() {
            [] => fit(line, from, spelling, wanted),
            _ => finish(line, released, spelling, wanted),
        };
        match write(wanted) {
            Some(out) => Written::Whole(out),
            None => write(Wanted { port: None, ..wanted }).map_or(Written::Nothing, Written::Address),
        }
    }
}

/// The text of an address.
pub(super) fn address_text(address: Ipv4Addr, style: Style) -> Vec<u8> {
    let [a, b, c, d] = address.octets();
    match style {
        Style::Commas => format!("{a},{b},{c},{d}").into_bytes(),
        Style::Decimal => address.to_string().into_bytes(),
    }
}
