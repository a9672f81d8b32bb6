//! Ways to steer a data connection to the real server of its control connection.
//!
//! Standing rows come from the configuration (`plan/desired.rs`); pinholes come and go with expectations: [`range`] (the
//! packet opens its own pinhole), [`exact`] (NAT, shared range), [`active`],
//! [`tls`] (nothing can be read).

pub mod active;
pub mod exact;
pub mod range;
pub mod tls;

use std::net::IpAddr;
use std::time::Duration;

use crate::lvs::ForwardingMethod;
use crate::state::sets::{Key, Set};

/// One (cluster, VIP, real server): what an index in the mark ranges stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The index in the mark ranges.
    pub index: u16,
    /// Position of the cluster in the configuration.
    pub cluster: usize,
    /// The VIP that clients of this placement connect to.
    pub vip: IpAddr,
    /// Position of the real server in its cluster.
    pub server: usize,
    /// The real server's address.
    pub address: IpAddr,
    /// How IPVS forwards to it.
    pub forwarding: ForwardingMethod,
    /// The passive range that is this server's alone; `None` where servers share one.
    pub own_range: Option<crate::lvs::PortRange>,
    /// Where the server's active data connections come from; `None`: from its control port − 1.
    pub active_port: Option<u16>,
    /// More ports that they may come from, if the server calls from any port: no service of the server listens there.
    pub active_ports: Option<crate::lvs::PortRange>,
    /// Whether no other server of the cluster calls from the same port.
    pub own_active_port: bool,
    /// The clients that a pinhole of this server lets in: the length of the client's network, 32 or 128 for the
    /// client alone, 0 for everyone. Less than that only with a range of its own.
    pub client_prefix: u8,
    /// The ports that the server may name, and where a free one is looked for when its own is taken.
    pub passive_ports: crate::lvs::PortRange,
    /// The ports of the VIP that clients are told in place of the server's, and no others (NAT); `None`: the server's own.
    /// With these the server has no range of its own.
    pub public_ports: Option<crate::lvs::PortRange>,
}

impl Placement {
    /// The port that the server's active data connections come from. RFC 959 §3.2: the server counts from its own control
    /// port, which is the far end's in every method.
    #[must_use]
    pub fn calls_from(&self, control_port: u16) -> u16 {
        self.active_port.unwrap_or_else(|| control_port.saturating_sub(1))
    }

    /// Whether an operator has declared that passive data connections to `port` are this server's to take. Nothing is opened
    /// below 1024.
    #[must_use]
    pub const fn declares(&self, port: u16) -> bool {
        port >= 1024 && self.passive_ports.contains(port)
    }

    /// The ports of the VIP that passive data connections of this server come to.
    #[must_use]
    pub fn ports_at_vip(&self) -> crate::lvs::PortRange {
        self.public_ports.unwrap_or(self.passive_ports)
    }
}

/// A dynamic row: it makes one expectation true.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    /// The set or map that it is an element of.
    pub set: Set,
    /// The key of the element, field by field.
    pub key: Key,
    /// The value of the element; empty in a set.
    pub value: Key,
}

/// What should become of a dynamic row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// Believed absent; stands from now on for this long, whatever stood under its key.
    Put(Row, Duration),
    /// Believed present; its timeout starts again.
    Refresh(Row, Duration),
    /// Deleted, if it is there.
    Delete(Set, Key),
}
