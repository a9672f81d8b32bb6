//! The control connection: from the bytes of two TCP directions to what they mean for data connections.
//!
//! A [`Session`] is offered every segment of one control connection before it is released, and answers with a
//! [`Verdict`] and with [`Event`]s. It knows no clock, socket or kernel; time comes in with the [`Context`].
//!
//! ```text
//!                                  ┌─▶ commands ───────────────┐
//!                                  │    (line, verb; early, gap: out of order)
//! Segment ─▶ session ─▶ window ─▶ ─┤                           ├─▶ dialogue ─▶ Event, overwritten command
//!            (state)               │                           │   (asks, bounce)
//!                                  └─▶ replies, partial_reply ─┴─▶ telling ─▶ Event, rewritten reply
//!                                       (line ends, passive)       (passive_rewrite, same_length)
//! ```

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::arithmetic_side_effects
    )
)]

mod address;
mod address_only;
mod asks;
#[cfg(test)]
mod astray;
mod bounce;
mod commands;
mod dialogue;
mod early;
mod edits;
mod ends;
mod event;
mod gap;
#[cfg(test)]
mod hostile;
mod line;
mod names;
mod numbers;
mod open_transfers;
mod overwrite;
mod partial_reply;
mod passive;
mod passive_rewrite;
mod replies;
mod same_length;
mod session;
mod sight;
mod state;
mod stream;
mod telling;
#[cfg(test)]
mod testing;
mod unread;
mod verb;
mod window;

use std::net::{Ipv4Addr, SocketAddr};

pub use crate::wire::Flags;
pub(crate) use address_only::readdress;
pub use event::{BlindReason, CancelReason, Endpoint, Event, Mode, RefuseReason, Source, UnparsedReason};
pub(crate) use passive::named_port;
pub(crate) use replies::{Mark, code_of};
pub use session::Session;
pub use state::Named;
pub use verb::Verb;
pub use window::Belonging;

use crate::time::Time;

/// Which way a segment travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Client to server: commands.
    ToServer,
    /// Server to client: replies.
    ToClient,
}

/// One TCP segment of a control connection. Its payload is edited in place; its length never changes.
#[derive(Debug)]
pub struct Segment<'a> {
    /// Which way it travels.
    pub direction: Direction,
    /// TCP sequence number of the first byte of `payload`.
    pub seq: u32,
    /// Acknowledgement number; counts with [`Flags::ACK`].
    pub ack: u32,
    /// TCP control bits: FIN, SYN, RST, ACK, …
    pub flags: Flags,
    /// The payload, where it lies in the packet.
    pub payload: &'a mut [u8],
}

/// Whether the server's half of a control connection passes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Replies {
    /// NAT: both halves pass.
    Seen,
    /// DR and TUN: the server answers the client directly.
    Unseen,
}

/// What becomes of a PORT, EPRT or LPRT that names another host than the client (RFC 2577 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bounce {
    /// The command opens nothing and is made unreadable for the server, so that the client gets the server's own 500 or 501.
    Reject,
    /// The command is an expectation like any other (transfers between two servers). Ports below 1024 open nothing even so.
    Allow,
}

/// What all sessions of one virtual service and real server have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether the server's half is seen.
    pub replies: Replies,
    /// The address that a 227 shall carry; `None` leaves the server's.
    pub advertise: Option<Ipv4Addr>,
    /// Whether the client may be told other ports than the server's alone: a reply that cannot say one becomes a refusal. Only
    /// where replies are seen.
    pub public_ports: bool,
    /// What becomes of a PORT to a third party.
    pub bounce: Bounce,
    /// The longest command line, in bytes (`limits.line`).
    pub line_limit: usize,
    /// TLS from the first byte (port 990): nothing is readable.
    pub implicit_tls: bool,
    /// Whether the names of users and files are kept for [`Session::take_names`].
    pub names: bool,
}

/// What is known about a segment's session from outside.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The current time, of the monotonic clock.
    pub now: Time,
    /// What holds for its virtual service and real server.
    pub policy: &'a Policy,
    /// The client's end of the control connection.
    pub client: SocketAddr,
    /// Whether a SYN of this pair of ports passed here within the last minute.
    pub syn: Syn,
}

/// Whether the beginning of a connection was seen. Only a SYN begins one: without it, numbers outside the window of the
/// connection that is followed are somebody's who does not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syn {
    /// None passed within the last minute.
    Unseen,
    /// A SYN did; it may be that of the connection that is followed.
    Seen,
}

/// What goes into a reply when no port is free: discard (RFC 863). A data connection that fails is better than one that
/// lands on another session's server.
pub const NO_PORT: u16 = 9;

/// What the client shall be told of a port that a reply names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// This port, normally the same.
    Port(u16),
    /// Nothing is expected there, and the reply passes as it is.
    Refuse(UnparsedReason),
}

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Release it as it is.
    Pass,
    /// Release it; its payload was changed and the checksum must follow ([`crate::wire::Packet::amend`]).
    Edited,
    /// Keep it, unchanged. After every further segment of the connection, whatever its verdict, and after
    /// [`Session::timeout`], offer all that is held again, in the order of sequence numbers, and once more as long as one
    /// of them came out. After [`Event::End`] release what is held as it is: it belongs to a connection that is over.
    Hold,
    /// It holds more lines than are read in one go. What was read may be changed already: keep it as it is now, and offer it
    /// again before anything else of this direction.
    More,
    /// Drop it: TCP repeats it, and must.
    Drop,
}
