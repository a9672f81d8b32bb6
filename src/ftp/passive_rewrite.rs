//! The line of a passive reply with what the client shall be told.
//!
//! The address matters more than the port: a client that gets the server's own address reaches nothing (NAT), while a port
//! that found no room stays the server's, and is expected as such. So a line with room for one of the two gets the address.

use std::net::{IpAddr, Ipv4Addr};

use super::passive::{Spelling, Style};
use super::same_length::{Released, Wanted, finish, fit, fit_by_words, port_text};
use super::{Endpoint, Policy};

/// A port that a reply names.
#[derive(Debug)]
pub(super) struct NamedPort {
    /// Where the port stands in the line, and how it is written.
    pub spelling: Spelling,
    /// The port that the client shall be told.
    pub port: u16,
    /// Whether another line of the same reply named it before.
    pub again: bool,
}

/// What became of a line, in as many bytes.
pub(super) enum Written {
    /// The line says all that it shall.
    Whole(Vec<u8>),
    /// The line says the address, but has no room for the port: the server's own port stays.
    Address(Vec<u8>),
    /// The line has no room.
    Nothing,
    /// The line refuses what the client asked for.
    Refusal(Vec<u8>),
}

/// How a port is told to the client.
pub(super) struct Naming<'a> {
    pub code: u16,
    pub named: &'a NamedPort,
    pub policy: &'a Policy,
}

impl Naming<'_> {
    /// The address that the client is told, if it is not the server's.
    fn address(&self) -> Option<Ipv4Addr> {
        let address = self.named.spelling.address.as_ref();
        self.policy.advertise.filter(|_| address.is_some_and(|(ip, _)| ip.is_ipv4()))
    }

    pub(super) fn said(&self) -> Endpoint {
        let spelling = &self.named.spelling;
        Endpoint { address: spelling.address.as_ref().map(|(ip, _)| *ip), port: spelling.port }
    }

    pub(super) fn told(&self) -> Endpoint {
        Endpoint { address: self.address().map(IpAddr::V4).or(self.said().address), port: self.named.port }
    }

    /// The line for the client.
    pub(super) fn write(&self, line: &[u8], from: usize, released: &Released) -> Written {
        let NamedPort { spelling, port, .. } = self.named;
        let address = self.address().map(|address| address_text(address, spelling.style));
        // An unchanged port keeps its spelling (`121,026`): a text of our own might be shorter, for nothing.
        let port = (*port != spelling.port).then(|| port_text(*port, spelling.style));
        let wanted = Wanted { address: address.as_deref(), port: port.as_deref().map(str::as_bytes) };
        let write = |wanted| match released.bytes.as_slice() {
            [] => fit(line, from, spelling, wanted),
            _ => finish(line, released, spelling, wanted),
        };
        let by_words = || {
            let whole = self.policy.public_ports && released.bytes.is_empty();
            whole.then(|| fit_by_words(line, from, spelling, wanted)).flatten()
        };
        match write(wanted).or_else(by_words) {
            Some(out) => Written::Whole(out),
            None => write(Wanted { port: None, ..wanted }).map_or(Written::Nothing, Written::Address),
        }
    }
}

/// What the client gets for a line that can name no port for it, in as many bytes: 425 is the refusal that clients take for one of
/// the moment (RFC 959 §4.2.1).
pub(super) fn refusal(line: &[u8]) -> Vec<u8> {
    let mut out = b"425 No data port is free, try again.".to_vec();
    out.resize(line.len(), b' ');
    out
}

/// The text of an address.
pub(super) fn address_text(address: Ipv4Addr, style: Style) -> Vec<u8> {
    let [a, b, c, d] = address.octets();
    match style {
        Style::Commas => format!("{a},{b},{c},{d}").into_bytes(),
        Style::Decimal => address.to_string().into_bytes(),
    }
}
