//! Elements, keys and counters as values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Name of our table, of family inet.
pub const TABLE: &str = "ftpdirector";

/// One field of a key (or of the data of a `dnat` map).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// nft's `ipv4_addr` or `ipv6_addr`, in network order.
    Ip(IpAddr),
    /// nft's `inet_service`: a port, big-endian.
    Port(u16),
    /// nft's `mark`, in host order.
    Mark(u32),
}

/// The bytes of a key: each field of a concatenation padded to 4 bytes, a lone field as it is.
#[must_use]
pub fn key(parts: &[Part]) -> Vec<u8> {
    let mut key = Vec::with_capacity(parts.len() * 4);
    for part in parts {
        match *part {
            Part::Ip(IpAddr::V4(ip)) => key.extend_from_slice(&ip.octets()),
            Part::Ip(IpAddr::V6(ip)) => key.extend_from_slice(&ip.octets()),
            Part::Port(port) => key.extend_from_slice(&port.to_be_bytes()),
            Part::Mark(mark) => key.extend_from_slice(&mark.to_ne_bytes()),
        }
        if parts.len() > 1 {
            key.resize(key.len().next_multiple_of(4), 0);
        }
    }
    key
}

/// What a map's element holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Data {
    /// nft's `mark`: the value of most maps.
    Mark(u32),
    /// nft's `ipv4_addr`, for `snat`.
    Ipv4(Ipv4Addr),
    /// nft's `ipv6_addr`, for `snat`.
    Ipv6(Ipv6Addr),
    /// Anything else, as `key` builds it.
    Bytes(Vec<u8>),
}

/// An element to be written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NftElement {
    /// Name of the set or map.
    pub set: &'static str,
    /// As `key` builds it.
    pub key: Vec<u8>,
    /// `None` in a set.
    pub data: Option<Data>,
    /// `None` takes the set's own. Milliseconds resolution.
    pub timeout: Option<Duration>,
}

/// One change. Afterwards the element is there with this data and a full timeout, or it is gone, whatever was there
/// before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ElementChange {
    /// Believed absent: `nft add element`. Where it is there after all, it is replaced.
    Add(NftElement),
    /// Believed present: `nft delete element` and `add element` in one transaction. Where it is not there, it is added.
    Replace(NftElement),
    /// `nft delete element`; success where it is not there.
    Delete {
        /// Name of the set or map.
        set: &'static str,
        /// As `key` builds it.
        key: Vec<u8>,
    },
}

impl ElementChange {
    /// The set or map it changes.
    #[must_use]
    pub const fn set(&self) -> &'static str {
        match self {
            Self::Add(row) | Self::Replace(row) => row.set,
            Self::Delete { set, .. } => set,
        }
    }

    /// The key of the element it changes.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Add(row) | Self::Replace(row) => &row.key,
            Self::Delete { key, .. } => key,
        }
    }
}

/// An element as the kernel lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// The key of the element, or its lower end.
    pub key: Vec<u8>,
    /// The upper end, inclusive, of a concatenated range.
    pub key_end: Option<Vec<u8>>,
    /// Whether the element only closes the interval before it (sets of plain intervals).
    pub interval_end: bool,
    /// What the map holds.
    pub data: Option<Vec<u8>>,
    /// The timeout that it was given; `None`: it has none.
    pub timeout: Option<Duration>,
    /// How long it still lives.
    pub expires: Option<Duration>,
    /// Packets that matched, where elements have counters.
    pub packets: u64,
    /// Bytes that matched, IP headers included.
    pub bytes: u64,
}

/// A named counter of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// The name of the counter.
    pub name: String,
    /// Packets counted since the table was made.
    pub packets: u64,
    /// Bytes counted since the table was made.
    pub bytes: u64,
}
