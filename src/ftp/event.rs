//! What a session tells.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::Verb;

/// Something that happened on a control connection. No event carries text of the connection: no password can leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A complete command of the client.
    Command {
        /// The verb; `Other` if it is not in the table.
        verb: Verb,
    },
    /// A complete reply; of a reply of several lines the event comes with the last.
    Reply {
        /// The three-digit reply code.
        code: u16,
    },
    /// The server will connect to the client at this address: after PORT, EPRT or LPRT.
    ExpectActive {
        /// The command that it is about.
        verb: Verb,
        /// Where the data connection goes to.
        address: SocketAddr,
        /// Whether the client named the address.
        source: Source,
    },
    /// The client asked for a port to connect to. Where replies are not seen this is all there will be.
    AskPassive {
        /// The command that it is about.
        verb: Verb,
    },
    /// The server named the port that the client will connect to.
    ExpectPassive {
        /// The command it answers.
        verb: Verb,
        /// 227, 228 or 229.
        code: u16,
        /// What the server said, which is not to be believed: the address may be private, zero or a lie.
        said: Endpoint,
        /// The port that the client is told: what `ports` chose, unless the reply has no room for it.
        port: u16,
    },
    /// A transfer begins: the pending expectation's deadline starts again.
    Transfer {
        /// The command that it is about.
        verb: Verb,
        /// Who opens its data connection, by the last PORT or PASV.
        mode: Mode,
    },
    /// The server's own final reply to a transfer verb. Where replies are seen there is one for each [`Event::Transfer`], in their
    /// order, until the connection ends, goes dark ([`BlindReason::Tls`], [`BlindReason::Gssapi`]) or
    /// [loses track](super::Session::lose_track): of those that are open then none is told.
    TransferOver {
        /// The three-digit reply code; 0 if it was not seen, or cannot be told from others.
        code: u16,
    },
    /// The pending expectation ends.
    Cancel {
        /// The cause, by the name that metrics and traces use.
        reason: CancelReason,
    },
    /// A command or reply that must open nothing.
    Refuse {
        /// The command that it is about.
        verb: Verb,
        /// The cause, by the name that metrics and traces use.
        reason: RefuseReason,
    },
    /// A reply was rewritten.
    Rewrite {
        /// The three-digit reply code.
        code: u16,
        /// What the server said.
        from: Endpoint,
        /// What the client is told.
        to: Endpoint,
    },
    /// A reply's text leaves no room for all that it should say: it passes with the server's own port, or as it was. With public
    /// ports it becomes a refusal, if it still can.
    NoRoom {
        /// The three-digit reply code.
        code: u16,
    },
    /// What follows makes no sense, or is encrypted. Where a line begins that names an address, it is read even so.
    Blind {
        /// The cause, by the name that metrics and traces use.
        reason: BlindReason,
    },
    /// The connection can be read again.
    Sighted,
    /// A command that could not be understood; it passed untouched.
    UnparsedCommand {
        /// The verb; `Other` if it is not in the table.
        verb: Verb,
        /// The cause, by the name that metrics and traces use.
        reason: UnparsedReason,
    },
    /// A reply that could not be understood; it passed untouched.
    UnparsedReply {
        /// The reply's code; 0 where it has none.
        code: u16,
        /// The cause, by the name that metrics and traces use.
        reason: UnparsedReason,
    },
    /// The connection is closed, or another one took its place.
    End,
}

/// Who opens the data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// The client (PASV, EPSV).
    Passive,
    /// The server (PORT, EPRT).
    Active,
}

impl Mode {
    /// Both modes, for metrics that list each.
    pub const ALL: [Self; 2] = [Self::Passive, Self::Active];

    /// As metrics, traces and listings have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passive => "passive",
            Self::Active => "active",
        }
    }
}

/// Who chose the address of an active data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A PORT, EPRT or LPRT.
    Command,
    /// No command: a transfer without any of them goes to the client's control port (RFC 959 §3.2).
    Default,
    /// A PORT, EPRT or LPRT for an earlier transfer. Most servers keep it, as RFC 959 §3.2 has it, others go back to the
    /// client's control port: it is one of the two.
    Earlier,
}

/// An address and port as a reply spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address; `None` in a 229 (RFC 2428 §3).
    pub address: Option<IpAddr>,
    /// The port, 1 to 65535.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => SocketAddr::new(address, self.port).fmt(f),
            None => write!(f, "*:{}", self.port),
        }
    }
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in metrics, traces and `replay`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

reasons! {
    /// Why an expectation ends before its deadline.
    CancelReason {
        /// The client sent ABOR (RFC 959 §4.1.3).
        Abort "abort",
        /// REIN, and no transfer had begun.
        Reinitialize "rein",
        /// QUIT, and no transfer had begun.
        Quit "quit",
        /// The client sent FIN, and no transfer had begun.
        Fin "fin",
        /// The control connection is closed.
        Close "close",
    }
}

reasons! {
    /// Why a command or reply opens nothing.
    RefuseReason {
        /// It names another host than the control connection's client (RFC 2577 §3).
        ThirdParty "third-party",
        /// It names an address of the other family.
        Family "family",
        /// It names a port below 1024 (RFC 2577 §3).
        LowPort "low-port",
        /// The client had promised to use EPSV only (RFC 2428 §4).
        EpsvAll "epsv-all",
        /// It names an octet above 255 or a port above 65535: a lenient server would take it modulo 256 for another host.
        Impossible "impossible",
    }
}

reasons! {
    /// Why a connection cannot be read.
    BlindReason {
        /// TLS, explicit or implicit (RFC 4217).
        Tls "tls",
        /// GSSAPI or another mechanism of RFC 2228.
        Gssapi "gssapi",
        /// What arrives is no text.
        Garbage "garbage",
        /// A command longer than `limits.line`.
        Overlong "overlong",
        /// Bytes are missing and did not come.
        Gap "gap",
        /// More commands without a reply than can be counted.
        Limit "limit",
        /// What would have to be kept to read it is over `limits.memory`.
        Memory "memory",
    }
}

reasons! {
    /// Why a command or reply could not be understood.
    UnparsedReason {
        /// It does not follow its grammar.
        Malformed "malformed",
        /// An octet above 255, a port byte above 255, port 0: nothing wraps.
        Impossible "impossible",
        /// A passive reply that answers no passive command.
        Unasked "unasked",
        /// A reply without a code.
        NoCode "no-code",
        /// A reply longer than `limits.line`.
        Overlong "overlong",
        /// Bytes are missing and did not come in time.
        Gap "gap",
        /// A port outside the server's declared passive range.
        OutOfRange "out_of_range",
        /// No free port for it at the VIP, or no room in the reply for one. With public ports it becomes a refusal, if it still can.
        PortTaken "port_taken",
    }
}

impl fmt::Display for Event {
    /// One line, as `trace` and the transcripts show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { verb } => write!(f, "command {verb}"),
            Self::Reply { code } => write!(f, "reply {code}"),
            Self::ExpectActive { verb, address, source: Source::Command } => {
                write!(f, "expect active {verb} {address}")
            }
            Self::ExpectActive { verb, address, source: Source::Default } => {
                write!(f, "expect active {verb} {address} by default")
            }
            Self::ExpectActive { verb, address, source: Source::Earlier } => {
                write!(f, "expect active {verb} {address} as before, or by default")
            }
            Self::AskPassive { verb } => write!(f, "ask passive {verb}"),
            Self::ExpectPassive { verb, code, said, port } => {
                write!(f, "expect passive {verb} {code} {said} as {port}")
            }
            Self::Transfer { verb, .. } => write!(f, "transfer {verb}"),
            Self::TransferOver { code: 0 } => f.write_str("transfer over unseen"),
            Self::TransferOver { code } => write!(f, "transfer over {code}"),
            Self::Cancel { reason } => write!(f, "cancel {reason}"),
            Self::Refuse { verb, reason } => write!(f, "refuse {verb} {reason}"),
            Self::Rewrite { code, from, to } => write!(f, "rewrite {code} {from} to {to}"),
            Self::NoRoom { code } => write!(f, "no room {code}"),
            Self::Blind { reason } => write!(f, "blind {reason}"),
            Self::Sighted => f.write_str("sighted"),
            Self::UnparsedCommand { verb, reason } => write!(f, "unparsed {verb} {reason}"),
            Self::UnparsedReply { code, reason } => write!(f, "unparsed {code:03} {reason}"),
            Self::End => f.write_str("end"),
        }
    }
}
