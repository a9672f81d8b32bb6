//! Addresses that we add to interfaces (`vip_interface`).

use std::fmt;
use std::net::IpAddr;

/// `IFA_PROTO` of the addresses that we add: how they are told from other programs', also after a restart. `ip address`
/// shows it as `proto 0x46`. The kernel uses 1 to 3 (linux/if_addr.h).
pub const PROTOCOL: u8 = 0x46;

/// A VIP on an interface: /32 or /128.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalAddress {
    /// Name of the interface, at most 15 bytes.
    pub interface: String,
    /// The VIP that the interface gets.
    pub address: IpAddr,
}

impl LocalAddress {
    /// Length of the prefix: 32 for IPv4, 128 for IPv6.
    #[must_use]
    pub const fn length(&self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// `ip address add …`
    pub(super) fn add(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ip address add {self} proto {PROTOCOL:#x}")?;
        // Deprecated, as keepalived does it: the director's own connections come from an address that is its own.
        if self.address.is_ipv6() { f.write_str(" nodad preferred_lft 0") } else { Ok(()) }
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} dev {}", self.address, self.length(), self.interface)
    }
}
