//! Services, real servers and sync daemons as IPVS lists them.

use std::fmt;

use crate::lvs::{Destination, Traffic, VirtualService};

/// A real server as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedDestination {
    /// What was configured. Where the kernel lists LOCALNODE, `local` is set and `forwarding` is a guess; Linux 6.12 lists a
    /// local address with the method that was asked for.
    pub destination: Destination,
    /// Whether it is listed as LOCALNODE.
    pub local: bool,
    /// Connections in ESTABLISHED (ActiveConn of `ipvsadm -L`).
    pub active: u32,
    /// Connections in any other state (InActConn of `ipvsadm -L`).
    pub inactive: u32,
    /// Persistence templates that point to it.
    pub persistent: u32,
    /// IPVS's counters of the real server (`ipvsadm -L --stats`).
    pub traffic: Traffic,
}

impl ListedDestination {
    /// Whether it has as many connections as its threshold lets it have.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.destination.thresholds.reached(self.active.saturating_add(self.inactive))
    }
}

/// A virtual service as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedService {
    /// Key, scheduler and persistence.
    pub service: VirtualService,
    /// `IP_VS_SVC_F_*` of linux/ip_vs.h, without `IP_VS_SVC_F_HASHED`.
    pub flags: u32,
    /// Bits of the client's address that persistence looks at: 32 or 128 unless another program has set a netmask.
    pub netmask: u8,
    /// IPVS's counters of the service (`ipvsadm -L --stats`).
    pub traffic: Traffic,
    /// Its real servers, in the kernel's order.
    pub destinations: Vec<ListedDestination>,
}

/// A sync daemon of the kernel: it tells other directors of connections, or hears of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncDaemon {
    /// Which of the two it does.
    pub role: SyncRole,
    /// The interface of its multicast.
    pub interface: String,
    /// The number that directors of one group have in common, 0 to 255.
    pub id: u32,
}

/// What a sync daemon does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncRole {
    /// Tells others of connections.
    Master,
    /// Hears of the connections of others.
    Backup,
}

impl SyncRole {
    /// What `ipvsadm` calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Backup => "backup",
        }
    }
}

/// As `ipvsadm -l --daemon` shows it.
impl fmt::Display for SyncDaemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sync daemon (mcast={}, syncid={})", self.role.name(), self.interface, self.id)
    }
}
