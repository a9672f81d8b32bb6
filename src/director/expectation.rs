//! What we believe will come: one data connection of one session, and which session a data connection that came was for.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use crate::ftp::Mode;
use crate::state::sets::Name;
use crate::steer::Row;
use crate::time::Time;

/// How long the rows of a data connection that came may still be needed: if the server loses the first SYN, its repetitions
/// (after 1, 3 and 7 seconds, RFC 6298 §2) must pass too.
pub(super) const REPEATED: Duration = Duration::from_secs(10);

/// Where a data connection goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// From the client to `vip_port` of the VIP, which is `port` of the server; 0 where nobody saw the reply.
    Passive {
        /// The port that the server named.
        port: u16,
        /// The port that the client was told.
        vip_port: u16,
    },
    /// From the server to the client.
    Active(SocketAddr),
    /// From the server to the client, here or at the default data port.
    ActiveOrDefault(SocketAddr),
}

impl Target {
    /// Who opens it.
    #[must_use]
    pub const fn mode(self) -> Mode {
        match self {
            Self::Passive { .. } => Mode::Passive,
            Self::Active(_) | Self::ActiveOrDefault(_) => Mode::Active,
        }
    }
}

/// What is known of the transfer that a data connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The transfer may begin. The rows stand until the deadline.
    Named,
    /// Its verb was sent, and its outcome is not known. The rows stand as long as IPVS has the control connection.
    Transferring {
        /// When IPVS is to be asked whether it has the control connection; `None`: it was asked, and has not answered.
        ask: Option<Time>,
    },
    /// The time was up, or the server refused: no rows stand. What was named stays named, and another transfer verb opens it
    /// again.
    Closed,
}

/// How an expectation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The data connection came.
    Used,
    /// The data connection did not come in time.
    Expired,
    /// The client changed its mind, or the server refused the transfer: another PORT or PASV, ABOR, 4xx, 5xx, the end of the
    /// session.
    Superseded,
    /// The command or reply was never believed: a third party, a privileged port.
    Refused,
}

impl Outcome {
    /// All outcomes, for metrics that list each.
    pub const ALL: [Self; 4] = [Self::Used, Self::Expired, Self::Superseded, Self::Refused];

    /// As metrics and traces have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Refused => "refused",
        }
    }
}

/// The data connection that a session has named; at most one per session.
pub struct Expectation {
    /// Where the data connection goes to.
    pub target: Target,
    /// How far its transfer has come.
    pub phase: Phase,
    /// The number of the expectation; no other ever gets it.
    pub serial: u64,
    /// The rows that let the data connection in; none where the control packet opens its own pinhole.
    pub rows: Vec<Row>,
    /// Until when the rows stand.
    pub deadline: Time,
    /// Whether the data connection came. The rows stay until the deadline: if the server loses the first SYN, the
    /// retransmission must still pass.
    pub used: bool,
    /// The ports under which the data connection is awaited.
    pub awaited: Vec<Awaited>,
    /// Whether a passive data connection comes through the pinhole of its control packets.
    pub by_range: bool,
}

impl Expectation {
    /// Who opens the data connection.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.target.mode()
    }

    /// When the timer of the expectation is due; `None`: it has none.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        match self.phase {
            Phase::Closed => None,
            Phase::Transferring { ask: Some(ask) } if !self.used => Some(ask.min(self.deadline)),
            Phase::Named | Phase::Transferring { .. } => Some(self.deadline),
        }
    }

    /// Whether it is open: its rows stand, or its control packets opened its pinhole.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase != Phase::Closed
    }

    /// Whether its data connection, once it has come, is connection tracking's: a repeated SYN needs no row.
    #[must_use]
    pub fn is_translated(&self) -> bool {
        self.rows.iter().any(|row| row.set.name == Name::Translated)
    }

    /// The data connection came at `now`.
    pub fn meet(&mut self, now: Time) {
        self.used = true;
        self.deadline = self.deadline.min(now + REPEATED);
    }
}

/// What identifies a data connection: index of the placement, who opens it (a port of the client's is none of the VIP's),
/// the client's address (passive: its network, where its data may come from), and the port that was named (0 where nobody
/// saw it).
pub type Awaited = (u16, Mode, IpAddr, u16);
