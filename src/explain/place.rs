//! What the configuration and the health checks say of the server of a session.

use std::net::IpAddr;
use std::time::Duration;

use crate::lvs::{ForwardingMethod, PortRange};

/// One (cluster, VIP, real server).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the server, unique in its cluster.
    pub server: String,
    /// The VIP that the client connected to.
    pub vip: IpAddr,
    /// The server's own address.
    pub address: IpAddr,
    /// How IPVS forwards to it.
    pub forwarding: ForwardingMethod,
    /// The passive ports that it may name.
    pub passive_ports: PortRange,
    /// The ports of the VIP that clients are told in place of these.
    pub public_ports: Option<PortRange>,
    /// The port that it calls from.
    pub active_port: u16,
    /// More ports that it may call from.
    pub active_ports: Option<PortRange>,
    /// `pinhole_timeout`.
    pub timeout: Duration,
    /// Whether it takes sessions.
    pub standing: Standing,
}

impl Place {
    /// The ports of the VIP that passive data connections come to.
    #[must_use]
    pub fn ports_at_vip(&self) -> PortRange {
        self.public_ports.unwrap_or(self.passive_ports)
    }

    /// Whether the director sees what the server answers.
    #[must_use]
    pub fn sees_replies(&self) -> bool {
        self.forwarding == ForwardingMethod::Nat
    }
}

/// Whether a server takes new sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Up,
    /// An operator drains it, or its weight is 0.
    Drained,
    /// Its health checks fail: why the last one did.
    Down(String),
}
