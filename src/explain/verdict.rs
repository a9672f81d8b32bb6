//! The verdicts.

use std::net::IpAddr;
use std::time::Duration;

use super::attempt::Refusal;
use crate::ftp::{BlindReason, RefuseReason, UnparsedReason, Verb};

/// What became of a client's last data connection that failed, or of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No failure is remembered.
    NoFailure,
    /// Nothing is known of the client.
    NeverSeen,
    /// Nothing is known of it, and there are clusters that take nobody.
    NoServers,
    /// A session, and no data connection was asked for.
    NothingAsked,
    /// Nothing failed.
    Fine {
        /// How many data connections came.
        landed: usize,
    },
    /// The data connection may still come.
    Waiting {
        /// So far.
        waited: Duration,
    },
    /// The data connection came, and the server has not said that the transfer is over.
    Running,
    /// The data connection came; the server's replies are not seen.
    Landed,
    /// The data connection came from another address.
    OtherAddress {
        /// Where it came from.
        from: IpAddr,
        /// The port that it went to.
        port: u16,
        /// Whether that port was named to this client.
        sure: bool,
    },
    /// No SYN came (passive).
    NoSyn {
        /// For so long.
        waited: Duration,
    },
    /// No SYN came, and the reply had no room for the address.
    NotRewritten,
    /// As many data connections of the client are awaited as there are ports for them.
    PortsTaken,
    /// The server has not answered PASV or EPSV.
    NoReply {
        /// For so long.
        waited: Duration,
    },
    /// The data connection came when it was not, or no longer, expected.
    TooLate {
        /// After it was asked for.
        after: Duration,
    },
    /// The client connected to another port than it was told.
    WrongPort {
        /// The port that it came to.
        came: u16,
        /// The port that it was told.
        named: u16,
    },
    /// The server named a port outside of its declared range.
    OutOfRange {
        /// The port that it named.
        port: u16,
    },
    /// The server said no.
    ServerRefused {
        /// What it said.
        refusal: Refusal,
    },
    /// The director opened nothing for a PORT or the like.
    Bounce {
        /// The command.
        verb: Verb,
        /// What of the command was refused.
        reason: RefuseReason,
    },
    /// A command could not be understood.
    NotUnderstood {
        /// The command.
        verb: Verb,
        /// What of its argument is no address or port.
        reason: UnparsedReason,
    },
    /// The server did not call (active, NAT).
    NoCall {
        /// For so long.
        waited: Duration,
    },
    /// The server called from a port that it is not known to call from.
    OtherActivePort {
        /// The port that it called from.
        port: u16,
    },
    /// The server called, and the client did not answer (NAT).
    NoAnswer {
        /// The client's port.
        port: Option<u16>,
    },
    /// The server did not call, or the client did not answer (DR, TUN).
    NoCallOrAnswer {
        /// For so long.
        waited: Duration,
    },
    /// The session is not read, or not wholly, because of one of the `limits`.
    OverLimit {
        /// Its key.
        limit: &'static str,
    },
    /// The server's health checks fail.
    ServerDown {
        /// What the last check found, printable.
        why: String,
    },
    /// The data connection reached the server, and the server has none.
    Reset {
        /// What it said.
        refusal: Option<Refusal>,
        /// The port that it named.
        port: Option<u16>,
    },
    /// The data connection was up, and broke off.
    BrokeOff {
        /// What the server said.
        refusal: Option<Refusal>,
    },
    /// The control connection is under TLS.
    Encrypted {
        /// How many data connections of the client landed.
        landed: u32,
    },
    /// The control connection cannot be read.
    Unreadable {
        /// What it was given up for.
        reason: BlindReason,
    },
}

impl Verdict {
    /// The name in `explain --json`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoFailure => "no_failure",
            Self::NeverSeen => "never_seen",
            Self::NoServers => "no_servers",
            Self::NothingAsked => "nothing_asked",
            Self::Fine { .. } => "fine",
            Self::Waiting { .. } => "waiting",
            Self::Running => "running",
            Self::Landed => "landed",
            Self::OtherAddress { .. } => "other_address",
            Self::NoSyn { .. } => "no_syn",
            Self::NotRewritten => "not_rewritten",
            Self::PortsTaken => "ports_taken",
            Self::NoReply { .. } => "no_reply",
            Self::TooLate { .. } => "too_late",
            Self::WrongPort { .. } => "wrong_port",
            Self::OutOfRange { .. } => "out_of_range",
            Self::ServerRefused { .. } => "server_refused",
            Self::Bounce { .. } => "bounce",
            Self::NotUnderstood { .. } => "not_understood",
            Self::NoCall { .. } => "no_call",
            Self::OtherActivePort { .. } => "other_active_port",
            Self::NoAnswer { .. } => "no_answer",
            Self::NoCallOrAnswer { .. } => "no_call_or_answer",
            Self::OverLimit { .. } => "over_limit",
            Self::ServerDown { .. } => "server_down",
            Self::Reset { .. } => "reset",
            Self::BrokeOff { .. } => "broke_off",
            Self::Encrypted { .. } => "encrypted",
            Self::Unreadable { .. } => "unreadable",
        }
    }

    /// Whether something failed.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        !matches!(
            self,
            Self::NoFailure
                | Self::NeverSeen
                | Self::NothingAsked
                | Self::Fine { .. }
                | Self::Waiting { .. }
                | Self::Running
                | Self::Landed
                | Self::Encrypted { .. }
        )
    }
}
