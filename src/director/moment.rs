//! The kinds of entries in the history: a few words each.

use std::net::Ipv4Addr;

use super::expectation::{Mode, Outcome};
use crate::ftp::{BlindReason, RefuseReason, Source, UnparsedReason, Verb};

/// How many bytes of a server's words stand in one entry, and how many entries they may take.
const PIECE: usize = 22;
const PIECES: usize = 4;

/// Something that happened to a session, in 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Its first packet came by.
    Opened,
    /// USER, AUTH, ABOR, REIN or QUIT.
    Said(Verb),
    /// PASV or EPSV: the client asks for a port.
    Asked(Verb),
    /// The server named a port (NAT).
    Named {
        /// 227, 228 or 229.
        code: u16,
        /// The port that the server named.
        said: u16,
        /// The port that the client was told.
        port: u16,
        /// The address in the server's reply; `None` in a 229, and if it is IPv6.
        address: Option<Ipv4Addr>,
        /// The address that the client was told; `None` as above.
        told: Option<Ipv4Addr>,
    },
    /// The client is to be called at this port of its address: PORT, EPRT, or a transfer without any.
    Called {
        /// The command.
        verb: Verb,
        /// The client's port.
        port: u16,
        /// Who chose the port.
        source: Source,
    },
    /// A transfer verb.
    Began(Verb),
    /// A reply of 400 or more.
    Reply {
        /// The command that it answers; `None`: none was read.
        verb: Option<Verb>,
        /// 400 to 599, mostly.
        code: u16,
    },
    /// The text of the reply before, or more of it.
    Words(Words),
    /// The server's final reply to a transfer.
    Over(u16),
    /// The data connection came, or did not.
    Ended(Mode, Outcome),
    /// A command that opens nothing: a third party, a privileged port.
    Refused(Verb, RefuseReason),
    /// A command that could not be understood.
    Unread(Verb, UnparsedReason),
    /// The server named a port outside of its declared range.
    Undeclared(u16),
    /// Every port that the client could have been told was taken.
    Crowded,
    /// A reply that could not be rewritten, or not wholly.
    NoRoom(u16),
    /// The control connection can no longer be read.
    Blind(BlindReason),
    /// It can again.
    Sighted,
    /// It is not read because of one of the `limits`: its key.
    Limited(&'static str),
    /// Data connections that came in, and were nobody's that is known: those of sessions under TLS.
    Landed {
        /// Which end opened them.
        mode: Mode,
        /// The port of the last: the VIP's (passive), the client's (active).
        port: u16,
        /// How many in a row.
        times: u16,
    },
    /// The session is forgotten.
    Closed,
}

impl Moment {
    /// Whether someone may ask why.
    #[must_use]
    pub fn is_failure(self) -> bool {
        match self {
            // 421 ends a session, of a transfer too, whose end says it. Not implemented (502, or 500): the client tries another.
            Self::Reply { code: 421 | 502, .. } => false,
            Self::Reply { verb: Some(Verb::Auth | Verb::Epsv | Verb::Eprt | Verb::Lprt), code: 500 } => false,
            Self::Reply { verb, .. } => verb.is_some_and(|verb| concerns_data(verb) && verb != Verb::Auth),
            Self::Over(code) => code >= 400,
            Self::Refused(..) | Self::Undeclared(_) | Self::Crowded | Self::NoRoom(_) | Self::Limited(_) => true,
            _ => false,
        }
    }
}

/// Whether a command is about data connections: the server's words in answer to it are kept.
#[must_use]
pub fn concerns_data(verb: Verb) -> bool {
    let named = matches!(verb, Verb::Port | Verb::Eprt | Verb::Lprt | Verb::Auth);
    named || verb.transfers() || verb.asks_for_port()
}

/// A piece of a server's words: printable ASCII.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Words {
    length: u8,
    bytes: [u8; PIECE],
}

impl Words {
    /// A text in pieces; what does not fit is left out, and what is not printable is a dot.
    pub fn pieces(text: &str) -> impl Iterator<Item = Self> {
        text.as_bytes().chunks(PIECE).take(PIECES).map(|chunk| {
            let mut bytes = [b'.'; PIECE];
            let printable = chunk.iter().map(|&byte| if (b' '..=b'~').contains(&byte) { byte } else { b'.' });
            bytes.iter_mut().zip(printable).for_each(|(place, byte)| *place = byte);
            Self { length: u8::try_from(chunk.len()).unwrap_or_default(), bytes }
        })
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.text(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_bounded_and_printable() {
        let said = |text: &str| Words::pieces(text).map(|words| words.text().to_owned()).collect::<String>();
        assert_eq!(said("550 no such file"), "550 no such file");
        assert_eq!(said("a\x1b[31m\u{202e}b\r\n\0"), "a.[31m...b...");
        assert_eq!(said(&"x".repeat(1000)), "x".repeat(PIECE * PIECES));
        assert_eq!(said(""), "");
    }
}
