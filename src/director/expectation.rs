//! What we believe will come: one data connection of one session, and which session a data connection that came was for.

use std::net::IpAddr;

use crate::steer::Row;
use crate::time::Time;

/// Who opens the data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// The client (PASV, EPSV).
    Passive,
    /// The server (PORT, EPRT).
    Active,
}

impl Mode {
    /// Both.
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

/// How an expectation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The data connection came.
    Used,
    /// It did not come in time.
    Expired,
    /// The client changed its mind: another PORT or PASV, ABOR, the end of the session.
    Superseded,
    /// It was never believed: a third party, a privileged port.
    Refused,
}

impl Outcome {
    /// All.
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

/// One pending per session.
pub struct Expectation {
    /// Who opens the data connection.
    pub mode: Mode,
    /// Its number, never given twice.
    pub serial: u64,
    /// The rows that make it true; none where the control packet opens its own pinhole.
    pub rows: Vec<Row>,
    /// When it ends.
    pub deadline: Time,
    /// Whether the data connection came. The rows stay until the deadline: if the server loses the first SYN, the
    /// retransmission must still pass.
    pub used: bool,
    /// Under which ports it is awaited.
    pub awaited: Vec<Awaited>,
    /// Whether a passive data connection comes through the pinhole of its control packets.
    pub by_range: bool,
}

impl Expectation {
    /// When it wants to be looked at.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        Some(self.deadline)
    }
}

/// What identifies a data connection: index of the placement, who opens it (a port of the client's is none of the VIP's),
/// the client's address (passive: its network, where its data may come from), and the port that was named (0 where nobody
/// saw it).
pub type Awaited = (u16, Mode, IpAddr, u16);
