//! The nouns of Linux Virtual Server, as ipvsadm(8) and keepalived use them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How IPVS hands a packet to a real server (`ipvsadm -m`, `-g`, `-i`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForwardingMethod {
    /// NAT (masquerading): both halves of a connection pass the director.
    Nat,
    /// Direct routing: only the client's half passes the director.
    Dr,
    /// IP-in-IP tunnelling: only the client's half passes the director.
    Tun,
}

impl ForwardingMethod {
    /// Every one, by the name that the configuration, the command line and the admin socket have for it.
    pub const NAMED: [(&'static str, Self); 3] = [("nat", Self::Nat), ("dr", Self::Dr), ("tun", Self::Tun)];

    /// `nat`, `dr` or `tun`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dr => "dr",
            Self::Tun => "tun",
        }
    }

    /// The option of ipvsadm: `m`, `g` or `i`.
    const fn option(self) -> char {
        match self {
            Self::Nat => 'm',
            Self::Dr => 'g',
            Self::Tun => 'i',
        }
    }
}

/// The firewall mark of a packet (`skb->mark`); IPVS compares all 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FirewallMark(pub u32);

impl fmt::Display for FirewallMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// An inclusive range of TCP ports, `first ≤ last`, written `31000-31999` (or one port, `31000`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Every unprivileged port, 1024 to 65535.
    pub const UNPRIVILEGED: Self = Self { first: 1024, last: 65535 };

    /// The range `first..=last`; `None` when empty or when it holds port 0.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first == 0 || first > last { None } else { Some(Self { first, last }) }
    }

    /// The lowest port of the range.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port of the range, included.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Whether `port` lies in the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Whether any port lies in both.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The same ports in ranges that do not overlap, in order.
    #[must_use]
    pub fn merged(mut ranges: Vec<Self>) -> Vec<Self> {
        ranges.sort_unstable();
        let mut merged: Vec<Self> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if last.overlaps(range) => last.last = last.last.max(range.last),
                _ => merged.push(range),
            }
        }
        merged
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl FromStr for PortRange {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |s: &str| s.trim().parse::<u16>().map_err(|_| ());
        Self::new(port(first)?, port(last)?).ok_or(())
    }
}

/// What a virtual service is known by: `ipvsadm -t VIP:PORT` or `ipvsadm -f MARK` (`-6` for IPv6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceKey {
    /// A TCP virtual service at an address and port.
    Tcp(SocketAddr),
    /// A firewall-mark service of one address family.
    Mark {
        /// The mark that a packet must carry.
        mark: FirewallMark,
        /// Whether the service is the IPv6 one of that mark (`ipvsadm -6`).
        ipv6: bool,
    },
}

impl fmt::Display for ServiceKey {
    /// As ipvsadm names it: `-t 192.0.2.10:21`, `-f 261095425`, `-f 261095425 -6`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "-t {address}"),
            Self::Mark { mark, ipv6 } => write!(f, "-f {}{}", mark.0, if *ipv6 { " -6" } else { "" }),
        }
    }
}

/// A virtual service without its real servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualService {
    /// How packets find it: address and port, or firewall mark.
    pub key: ServiceKey,
    /// The scheduler's kernel name (`rr`, `wlc`, …).
    pub scheduler: String,
    /// The persistence timeout; `None` without persistence. Seconds resolution.
    pub persistence: Option<Duration>,
}

impl VirtualService {
    /// The command that adds (`A`) or edits (`E`) it.
    #[must_use]
    pub fn ipvsadm(&self, command: char) -> String {
        let persistence = self.persistence.map(|timeout| format!(" -p {}", timeout.as_secs())).unwrap_or_default();
        format!("ipvsadm -{command} {} -s {}{persistence}", self.key, self.scheduler)
    }
}

/// How many connections, active and inactive, one real server may have of one service: `ipvsadm -x UPPER -y LOWER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// With so many it takes no new ones; 0: there is no threshold.
    pub upper: u32,
    /// With fewer than so many it takes new ones again, `0..=upper`; 0: with fewer than three quarters of `upper`.
    pub lower: u32,
}

impl Thresholds {
    /// Without a limit.
    pub const NONE: Self = Self { upper: 0, lower: 0 };

    /// At most so many, > 0: where one has ended, there is room for one.
    #[must_use]
    pub const fn at(most: u32) -> Self {
        Self { upper: most, lower: most }
    }

    /// Whether a server with so many connections takes no new ones.
    #[must_use]
    pub const fn reached(self, connections: u32) -> bool {
        self.upper != 0 && connections >= self.upper
    }
}

/// As options of ipvsadm, with a blank before each; nothing where there is no threshold.
impl fmt::Display for Thresholds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { upper, lower } = self;
        for (option, value) in [("-x", upper), ("-y", lower)] {
            if *value != 0 {
                write!(f, " {option} {value}")?;
            }
        }
        Ok(())
    }
}

/// One real server of a virtual service, `ipvsadm -r ADDRESS:PORT -w WEIGHT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Address and port; port 0 keeps the packet's own (firewall-mark services).
    pub address: SocketAddr,
    /// NAT, direct routing or tunnelling.
    pub forwarding: ForwardingMethod,
    /// The weight; 0 takes no new connections.
    pub weight: u32,
    /// How many connections it may have.
    pub thresholds: Thresholds,
}

impl Destination {
    /// The command that adds (`a`) or edits (`e`) it.
    #[must_use]
    pub fn ipvsadm(&self, command: char, service: &ServiceKey) -> String {
        let Self { address, forwarding, weight, thresholds } = self;
        format!("ipvsadm -{command} {service} -r {address} -{} -w {weight}{thresholds}", forwarding.option())
    }

    /// The command that deletes it.
    #[must_use]
    pub fn ipvsadm_delete(&self, service: &ServiceKey) -> String {
        format!("ipvsadm -d {service} -r {}", self.address)
    }
}

/// The network of `address` whose prefix has `length` bits: the address itself at 32 (IPv4) or 128 (IPv6) and more.
#[must_use]
pub fn network(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() & netmask4(length)).into()),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & netmask6(length)).into()),
    }
}

/// The netmask of `length` bits, of the family of `address`: `255.255.255.0`, `ffff:ffff:ffff:ffff::`.
#[must_use]
pub fn netmask(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(netmask4(length).into()),
        IpAddr::V6(_) => IpAddr::V6(netmask6(length).into()),
    }
}

/// A shift by the whole width is none in Rust.
fn netmask4(length: u8) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(length.into())).unwrap_or(0)
}

fn netmask6(length: u8) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(length.into())).unwrap_or(0)
}

/// The address of the other family never equals this one: both families of one address space.
#[must_use]
pub const fn is_ipv6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(_))
}

/// A TCP connection that IPVS keeps (`ipvsadm -L -n -c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Address and port of the client.
    pub client: SocketAddr,
    /// Where the client sends to.
    pub vip: SocketAddr,
    /// The real server that it goes to.
    pub server: SocketAddr,
    /// How far it is.
    pub state: ConnectionState,
    /// Time until IPVS forgets the connection, unless a packet comes. Seconds resolution, rounded down.
    pub expires: Duration,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Both ends may send.
    Established,
    /// One end has said that it sends no more.
    HalfClosed,
    /// Not yet open, or over.
    Other,
}

/// Whether a socket that listens at `listener` takes connections to `address`. `::` may take those of IPv4 too
/// (`IPV6_V6ONLY` cannot be seen), and counts as if it did.
#[must_use]
pub fn serves(listener: SocketAddr, address: IpAddr) -> bool {
    match listener.ip() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => true,
        own if own.is_unspecified() => address.is_ipv4(),
        own => own == address,
    }
}

/// IPVS's counters, up to 2 s late. What comes from real servers is seen in NAT only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Connections that IPVS scheduled.
    pub connections: u64,
    /// Packets from clients, of all connections.
    pub packets_in: u64,
    /// Packets from real servers.
    pub packets_out: u64,
    /// Bytes from clients, with IP headers.
    pub bytes_in: u64,
    /// Bytes from real servers, with IP headers.
    pub bytes_out: u64,
}

/// How long IPVS keeps idle connections of a network namespace: `ipvsadm --set TCP TCPFIN UDP`. Whole seconds; a timeout
/// that is set to 0 stays as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Established TCP connections; whole seconds.
    pub tcp: Duration,
    /// TCP after a FIN.
    pub tcp_fin: Duration,
    /// UDP packets; whole seconds.
    pub udp: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_every_length() {
        let of = |address: &str, length| network(address.parse().expect("an address"), length).to_string();
        for (address, length, expected) in [
            ("203.0.113.77", 0, "0.0.0.0"),
            ("203.0.113.77", 1, "128.0.0.0"),
            ("203.0.113.77", 24, "203.0.113.0"),
            ("203.0.113.77", 31, "203.0.113.76"),
            ("203.0.113.77", 32, "203.0.113.77"),
            ("203.0.113.77", 200, "203.0.113.77"),
            ("2001:db8:1:2:3::4", 0, "::"),
            ("2001:db8:1:2:3::4", 64, "2001:db8:1:2::"),
            ("2001:db8:1:2:3::4", 128, "2001:db8:1:2:3::4"),
        ] {
            assert_eq!(of(address, length), expected, "{address}/{length}");
        }
        assert_eq!(netmask(IpAddr::from([0, 0, 0, 0]), 20).to_string(), "255.255.240.0");
    }

    #[test]
    fn wildcards_serve_every_address() {
        let serves = |listener: &str, address: &str| {
            super::serves(listener.parse().expect("a listener"), address.parse().expect("an address"))
        };
        assert!(serves("0.0.0.0:21", "192.0.2.10") && !serves("0.0.0.0:21", "2001:db8::10"));
        assert!(serves("[::]:21", "192.0.2.10") && serves("[::]:21", "2001:db8::10"));
        assert!(serves("192.0.2.10:21", "192.0.2.10") && !serves("192.0.2.11:21", "192.0.2.10"));
    }
}
