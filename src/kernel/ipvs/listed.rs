//! What IPVS lists.

use crate::lvs::{Destination, VirtualService};

/// Counters since the service or destination was made. IPVS publishes them up to 2 s late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections scheduled since the service was made.
    pub connections: u64,
    /// Packets from clients, since it was made.
    pub packets_in: u64,
    /// Packets from real servers (NAT only).
    pub packets_out: u64,
    /// Bytes from clients, IP headers included.
    pub bytes_in: u64,
    /// Bytes from real servers (NAT only).
    pub bytes_out: u64,
}

/// A real server as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedDestination {
    /// What was configured. A local address is listed as LOCALNODE whatever was asked for: then `local` is set and
    /// `forwarding` is a guess.
    pub destination: Destination,
    /// Whether the address is the director's own.
    pub local: bool,
    /// Connections in ESTABLISHED.
    pub active: u32,
    /// Connections in any other state.
    pub inactive: u32,
    /// Persistence templates that point to it.
    pub persistent: u32,
    /// Its counters.
    pub traffic: Traffic,
}

/// A virtual service as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedService {
    /// Key, scheduler and persistence.
    pub service: VirtualService,
    /// `IP_VS_SVC_F_*` without HASHED.
    pub flags: u32,
    /// Bits of the client's address that persistence looks at: 32 or 128 unless someone chose otherwise.
    pub netmask: u8,
    /// Its counters.
    pub traffic: Traffic,
    /// Its real servers, in the kernel's order.
    pub destinations: Vec<ListedDestination>,
}
