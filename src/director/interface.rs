//! What goes into the core and what comes out of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::ftp::{Direction, Policy};
use crate::lvs::PortRange;
use crate::state::Marks;
use crate::steer::{Placement, RowChange};

/// Where a packet was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Real server → client, NAT, before IPVS rewrites the source.
    Forward,
    /// Client → real server, after IPVS chose.
    Postrouting,
    /// As `Forward`, of a packet that has gone on already: see [`super::Director::overheard`].
    Overheard,
}

impl Hook {
    /// Which way packets go there.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::Forward | Self::Overheard => Direction::ToClient,
            Self::Postrouting => Direction::ToServer,
        }
    }
}

/// A packet that waits for its verdict.
#[derive(Debug)]
pub struct ControlPacket<'a> {
    /// The caller's number for the packet; comes back in [`Action::Release`] and [`Action::Drop`].
    pub id: u64,
    /// The hook where the packet was queued.
    pub hook: Hook,
    /// Its firewall mark: a control mark, with [`Marks::BEGUN`] while the connection's SYN is less than a minute old.
    pub mark: u32,
    /// From the IP header on; changed in place when [`Decision::Accept`] says `edited`.
    pub bytes: &'a mut [u8],
    /// Whether `bytes` is only its beginning.
    pub truncated: bool,
}

/// The verdict on the packet that was just handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The packet goes on.
    Accept {
        /// The mark that the packet gets; `None` leaves its mark.
        mark: Option<u32>,
        /// Whether the packet's bytes were changed.
        edited: bool,
    },
    /// The packet is dropped: TCP repeats it.
    Drop,
    /// The packet waits: an [`Action`] will come for its id.
    Held,
}

/// What should happen besides the verdict.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// These rows should stand; [`super::Director::rows_done`] is to be called when they do. No packet waits for deletions.
    Rows {
        /// The number to give to [`super::Director::rows_done`]; `None`: no packet waits.
        ticket: Option<u64>,
        /// The rows to put and to delete, in this order.
        changes: Vec<RowChange>,
    },
    /// A held packet goes on.
    Release {
        /// The packet that goes on, by its [`ControlPacket::id`].
        id: u64,
        /// The mark that the packet gets; `None` leaves its mark.
        mark: Option<u32>,
        /// The bytes that the packet gets; `None` leaves its bytes.
        bytes: Option<Vec<u8>>,
    },
    /// A held packet is dropped.
    Drop {
        /// The packet that is dropped, by its [`ControlPacket::id`].
        id: u64,
    },
    /// A person should look: a server names passive ports that its configuration does not declare. Said once a server.
    OutOfRange(OutOfRange),
    /// A person should look: no port was free for a client's data connection. Said once a minute for each cluster.
    Crowded(Crowded),
}

/// A server whose passive range in the configuration is not the one that it uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfRange {
    /// Name of the cluster that the server belongs to.
    pub cluster: String,
    /// Name of the server, unique in its cluster.
    pub server: String,
    /// The port that the server's reply named.
    pub port: u16,
    /// The server's `passive_ports` in the configuration.
    pub declared: PortRange,
}

/// A client for which no port was free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crowded {
    /// Name of the cluster that its server belongs to.
    pub cluster: String,
    /// The client's address: each has all ports for itself.
    pub client: IpAddr,
    /// The VIP that it connected to.
    pub vip: IpAddr,
    /// The ports there that it could have been told.
    pub ports: PortRange,
}

/// What the director knows of one cluster.
#[derive(Clone, Debug)]
pub struct ClusterSetup {
    /// Name of the cluster, unique in the file.
    pub name: String,
    /// The names of its real servers, by position in the file.
    pub servers: Vec<String>,
    /// How long an expectation waits for its data connection.
    pub pinhole_timeout: Duration,
}

/// How the sessions of one (cluster, VIP, server) are read.
#[derive(Clone, Debug)]
pub struct Policies {
    /// On every control port but 990.
    pub explicit: Policy,
    /// On port 990 (`IMPLICIT_TLS`).
    pub implicit: Policy,
}

impl Policies {
    /// The policy of a control port.
    #[must_use]
    pub const fn of(&self, port: u16) -> &Policy {
        if port == IMPLICIT_TLS { &self.implicit } else { &self.explicit }
    }
}

/// ftps, the control port under TLS from its first byte (RFC 4217 §A names it; IANA assigned it).
pub const IMPLICIT_TLS: u16 = 990;

/// What the sessions may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions. More pass unread.
    pub sessions: usize,
    /// Sessions of one client: an IPv4 address, an IPv6 /64. More pass unread.
    pub client_sessions: u32,
    /// Bytes for what is held and kept beside the sessions; one client gets an eighth. What is over goes unread.
    pub memory: usize,
}

/// What the configuration says, as the director needs it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The firewall marks, by class and index.
    pub marks: Marks,
    /// The clusters, by position in the file.
    pub clusters: Vec<ClusterSetup>,
    /// Every (cluster, VIP, server), with how its sessions are read.
    pub placements: Vec<(Placement, Policies)>,
    /// The director's part of `limits`.
    pub limits: SessionLimits,
    /// Services of others at the VIPs, and sockets that listen there (a wildcard address: at every VIP of its family).
    pub services: Vec<SocketAddr>,
    /// How long IPVS keeps an idle TCP connection; the rows of a session under TLS stand as long.
    pub idle: Duration,
}
