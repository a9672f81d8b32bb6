//! THE table of sets: every set and map of `table inet ftpdirector`, its key, its value and who writes it.
//!
//! The rules hold only timeouts, limits, marks, the queue's number and netmasks ([`super::Rules`]); the rest of the configuration
//! lives here.

use std::fmt;
use std::net::IpAddr;

use crate::lvs::{FirewallMark, PortRange};

/// One field of a key or the value of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `ipv4_addr` or `ipv6_addr`, by the set's family.
    Address,
    /// A port: nft's `inet_service`.
    Port,
    /// A firewall mark: nft's `mark`.
    Mark,
}

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// An IPv4 or IPv6 address, by the set's family.
    Address(IpAddr),
    /// A TCP port.
    Port(u16),
    /// A range of ports (interval sets only).
    Ports(PortRange),
    /// A firewall mark, all 32 bits.
    Mark(FirewallMark),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Ports(range) => range.fmt(f),
            Self::Mark(mark) => mark.fmt(f),
        }
    }
}

/// The key of one element: its fields in the set's order.
pub type Key = Vec<Value>;

/// What writes a set, and so how it is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Written from the configuration, diffed, never refilled.
    Static,
    /// As [`Kind::Static`], with a range of ports in the key.
    Interval,
    /// As [`Kind::Static`], with a packet counter in each element.
    Counted,
    /// Written with the rules, by the transaction that writes them.
    Stamp,
    /// Written by the daemon while sessions run; each element carries a timeout.
    Timeout,
    /// Written by packets (`update @set { … }`); each element carries a timeout.
    Dynamic,
    /// As [`Kind::Dynamic`], but only for the rules themselves: a token bucket, or that a SYN was seen. The daemon neither reads
    /// it nor keeps it when tables are exchanged. Where one is full packets pass without, and are counted: a stranger's many
    /// addresses must not stop others.
    Bucket,
}

/// The sets, without their address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// VIPs of the clusters.
    Vips,
    /// VIP . control port of the address services that we made.
    Owned,
    /// VIP . control port, of all clusters.
    Controls,
    /// VIP . control port → tag.
    Tags,
    /// tag . server → control mark.
    ServerMarks,
    /// VIP . passive range of one server → its control mark.
    Ranges,
    /// VIP . declared passive ports → tag; a SYN to them that no session expects is unexpected.
    Passive,
    /// VIP . control ports, active ports and passive ports of a cluster with persistence → its persistence mark.
    Persistent,
    /// server . active port → VIP: the source of active data connections in a NAT cluster with persistence.
    PersistentActive,
    /// VIP . active port → tag (DR, TUN); a SYN-ACK to it that no session expects is unexpected, and so is any SYN.
    ActivePorts,
    /// data mark . VIP's ports that the server calls from (`active_ports`, DR, TUN).
    ActiveRanges,
    /// VIP . active port of one server alone → its data mark (`unexpected_data: pass`; DR, TUN): a SYN-ACK to it that no session
    /// expects passes.
    ActiveAlone,
    /// VIP . ports that any of its servers calls from (`active_ports`, DR, TUN) → tag; a SYN to them is unexpected.
    CallingPorts,
    /// server . active port → tag (NAT); a SYN from it that no session expects would leak its private source.
    NatActive,
    /// VIP . server → data mark (NAT): what the source translation made of an active data connection.
    ActiveServers,
    /// server . control port: replies worth reading (NAT).
    NatServers,
    /// data mark . server: where a data SYN should be going; its counters prove where they went.
    Landed,
    /// data marks; counts the data SYNs that went elsewhere.
    Misdirected,
    /// tags; counts unexpected data SYNs.
    Unexpected,
    /// tags with `unexpected_data: reject`.
    RejectTags,
    /// tags with `unexpected_data: pass`.
    PassTags,
    /// control marks with `on_failure: hold`.
    Hold,
    /// control marks; counts control packets over `limits.connection_packets`.
    OverConnection,
    /// control marks; counts control packets over `limits.client_packets`.
    OverClient,
    /// server . control port (NAT); counts replies over `limits.connection_packets`.
    OverReplies,
    /// server . control port (NAT); counts replies over `limits.client_packets`.
    OverClientReplies,
    /// tags; counts SYNs of control connections over `limits.client_connections`.
    OverConnections,
    /// tags; counts fragments to a control port.
    Fragments,
    /// tags; counts SYNs with data to a control port.
    SynData,
    /// tags and control marks; counts packets that passed because the set of a token bucket, or `begun`, was full.
    BucketsFull,
    /// control mark . netmask: servers whose pinholes let the client's whole network in (`client_match`). No element: the
    /// client alone.
    Networks,
    /// Data marks of the servers that an operator drains; so a drain survives a restart.
    Drained,
    /// Two elements: a hash of the rules as we wrote them, and one of the rules as the kernel listed them then.
    Version,
    /// client . control mark: a passive data connection may come (written by the control packet, or the reply in NAT; by the
    /// daemon for sessions under TLS).
    Open,
    /// As [`Name::Open`], for tunnelled control packets.
    TunnelOpen,
    /// client . VIP . port → data mark: a passive data connection to exactly this port.
    Exact,
    /// client . VIP . port → server . port: when another server's same port has taken the `exact` row.
    Translated,
    /// client . client port . VIP . active port → data mark: the SYN-ACK of an active data connection (DR, TUN).
    Active,
    /// client . client port . VIP → data mark: the same where the server calls from any of its `active_ports`.
    ActiveAny,
    /// server . client . client port → VIP: the source of an active data connection (NAT).
    ActiveNat,
    /// client . client port . server's end . its port: control connections under TLS, which need not be queued.
    Blind,
    /// client . client port . server . its port: control connections whose replies need not be held (NAT).
    Calm,
    /// client . VIP . active port → data mark: active data connections of a TLS session, or after a VIP came (DR, TUN).
    ActiveTls,
    /// server . active port . client → VIP: active data connections of a TLS session, or after a VIP came (NAT).
    ActiveTlsNat,
    /// client . client port . VIP . control port: a SYN was seen within the last minute.
    Begun,
    /// client . client port . server's end . its port: a token bucket for the control packets of a connection.
    ConnectionPackets,
    /// As [`Name::ConnectionPackets`], for tunnelled control packets: client . both ports.
    TunnelConnectionPackets,
    /// client (IPv6: its /64): a token bucket for its control packets.
    ClientPackets,
    /// client (IPv6: its /64) . VIP . control port: the same for the SYNs of control connections.
    ClientConnections,
    /// As [`Name::ClientConnections`], of clients that were over it within the last minute: a twentieth.
    SlowedConnections,
    /// As [`Name::ClientPackets`], for tunnelled control packets.
    TunnelClientPackets,
    /// As [`Name::ConnectionPackets`], for replies (NAT).
    ConnectionReplies,
    /// As [`Name::ClientPackets`], for replies (NAT).
    ClientReplies,
    /// client . port: a token bucket for the log of first packets of data connections.
    Landings,
    /// client: the same for all its ports.
    ClientLandings,
    /// As [`Name::ClientLandings`], for tunnelled packets.
    TunnelLandings,
    /// source (IPv6: its /64): a token bucket for the log of data connections that nobody expected.
    Strangers,
}

/// What a set is made of.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The name of the set, without its family.
    pub name: Name,
    /// nft's name of the set, for IPv4 and for IPv6.
    pub text: [&'static str; 2],
    /// Whether there is one for IPv4 and one for IPv6.
    pub per_family: bool,
    /// The fields of its key.
    pub key: &'static [Field],
    /// The fields of its value; empty for a set.
    pub value: &'static [Field],
    /// What writes the set, and so how it is declared.
    pub kind: Kind,
}

use Field::{Address, Mark, Port};
use Kind::{Bucket, Counted, Dynamic, Interval, Stamp, Static, Timeout};

/// A set that exists once a family. A macro, because only `concat!` makes a `&'static str` of two.
macro_rules! both {
    ($name:ident, $text:literal, $key:expr, $value:expr, $kind:expr) => {
        Spec {
            name: Name::$name,
            text: [concat!($text, "4"), concat!($text, "6")],
            per_family: true,
            key: $key,
            value: $value,
            kind: $kind,
        }
    };
}

const fn once(name: Name, text: &'static str, kind: Kind) -> Spec {
    Spec { name, text: [text, text], per_family: false, key: &[Mark], value: &[], kind }
}

/// Every set that we own.
pub const SETS: &[Spec] = &[
    both!(Vips, "vips", &[Address], &[], Static),
    both!(Owned, "owned", &[Address, Port], &[], Static),
    both!(Controls, "controls", &[Address, Port], &[], Static),
    both!(Tags, "tags", &[Address, Port], &[Mark], Static),
    both!(ServerMarks, "server_marks", &[Mark, Address], &[Mark], Static),
    both!(Ranges, "ranges", &[Address, Port], &[Mark], Interval),
    both!(Passive, "passive", &[Address, Port], &[Mark], Interval),
    both!(Persistent, "persistent", &[Address, Port], &[Mark], Interval),
    both!(PersistentActive, "persistent_active", &[Address, Port], &[Address], Static),
    both!(ActivePorts, "active_ports", &[Address, Port], &[Mark], Static),
    Spec { key: &[Mark, Port], ..once(Name::ActiveRanges, "active_ranges", Interval) },
    both!(ActiveAlone, "active_alone", &[Address, Port], &[Mark], Static),
    both!(CallingPorts, "calling_ports", &[Address, Port], &[Mark], Interval),
    both!(NatActive, "nat_active", &[Address, Port], &[Mark], Static),
    both!(ActiveServers, "active_servers", &[Address, Address], &[Mark], Static),
    both!(NatServers, "nat_servers", &[Address, Port], &[], Static),
    both!(Landed, "landed", &[Mark, Address], &[], Counted),
    once(Name::Misdirected, "misdirected", Counted),
    once(Name::Unexpected, "unexpected", Counted),
    once(Name::RejectTags, "reject_tags", Static),
    once(Name::PassTags, "pass_tags", Static),
    once(Name::Hold, "hold", Static),
    once(Name::OverConnection, "over_connection", Counted),
    once(Name::OverClient, "over_client", Counted),
    both!(OverReplies, "over_replies", &[Address, Port], &[], Counted),
    both!(OverClientReplies, "over_client_replies", &[Address, Port], &[], Counted),
    once(Name::OverConnections, "over_connections", Counted),
    once(Name::Fragments, "fragments", Counted),
    once(Name::SynData, "syn_data", Counted),
    once(Name::BucketsFull, "buckets_full", Counted),
    both!(Networks, "networks", &[Mark, Address], &[], Static),
    once(Name::Drained, "drained", Static),
    once(Name::Version, "version", Stamp),
    both!(Open, "open", &[Address, Mark], &[], Dynamic),
    both!(TunnelOpen, "tunnel_open", &[Address, Mark], &[], Dynamic),
    both!(Exact, "exact", &[Address, Address, Port], &[Mark], Timeout),
    both!(Translated, "translated", &[Address, Address, Port], &[Address, Port], Timeout),
    both!(Active, "active", &[Address, Port, Address, Port], &[Mark], Timeout),
    both!(ActiveAny, "active_any", &[Address, Port, Address], &[Mark], Timeout),
    both!(ActiveNat, "active_nat", &[Address, Address, Port], &[Address], Timeout),
    both!(Blind, "blind", &[Address, Port, Address, Port], &[], Dynamic),
    both!(ActiveTls, "active_tls", &[Address, Address, Port], &[Mark], Timeout),
    both!(ActiveTlsNat, "active_tls_nat", &[Address, Port, Address], &[Address], Timeout),
    both!(Calm, "calm", &[Address, Port, Address, Port], &[], Bucket),
    both!(Begun, "begun", &[Address, Port, Address, Port], &[], Bucket),
    both!(ConnectionPackets, "connection_packets", &[Address, Port, Address, Port], &[], Bucket),
    both!(TunnelConnectionPackets, "tunnel_connection_packets", &[Address, Mark], &[], Bucket),
    both!(ClientPackets, "client_packets", &[Address], &[], Bucket),
    both!(ClientConnections, "client_connections", &[Address, Address, Port], &[], Bucket),
    both!(SlowedConnections, "slowed_connections", &[Address, Address, Port], &[], Bucket),
    both!(TunnelClientPackets, "tunnel_client_packets", &[Address], &[], Bucket),
    both!(ConnectionReplies, "connection_replies", &[Address, Port, Address, Port], &[], Bucket),
    both!(ClientReplies, "client_replies", &[Address], &[], Bucket),
    both!(Landings, "landings", &[Address, Port], &[], Bucket),
    both!(ClientLandings, "client_landings", &[Address], &[], Bucket),
    both!(TunnelLandings, "tunnel_landings", &[Address], &[], Bucket),
    both!(Strangers, "strangers", &[Address], &[], Bucket),
];

impl Name {
    /// What the set is made of.
    #[must_use]
    pub fn spec(self) -> &'static Spec {
        // Every name has a row: `every_name_has_a_row` holds it.
        SETS.iter().find(|spec| spec.name == self).unwrap_or(&SETS[0])
    }
}

/// The address family of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Addresses are IPv4; also the family of sets without addresses.
    V4,
    /// Addresses are IPv6: the sets whose names end in 6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// One set of the table: a name in a family. Sets without a family are kept under `Family::V4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set {
    /// Its name without the family.
    pub name: Name,
    /// The family of its addresses.
    pub family: Family,
}

impl Set {
    /// The set `name` for addresses like `address`.
    #[must_use]
    pub fn of(name: Name, address: IpAddr) -> Self {
        Self { name, family: Family::of(address) }
    }

    /// A set that exists once.
    #[must_use]
    pub const fn once(name: Name) -> Self {
        Self { name, family: Family::V4 }
    }

    /// nft's name of the set: `open4`.
    #[must_use]
    pub fn text(self) -> &'static str {
        let [ipv4, ipv6] = self.name.spec().text;
        if self.family == Family::V4 { ipv4 } else { ipv6 }
    }

    /// Every set of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        SETS.iter().flat_map(|spec| {
            let families: &[Family] = if spec.per_family { &[Family::V4, Family::V6] } else { &[Family::V4] };
            families.iter().map(|&family| Self { name: spec.name, family })
        })
    }

    /// Whether its rows come from the configuration and are diffed.
    #[must_use]
    pub fn is_static(self) -> bool {
        !matches!(self.name.spec().kind, Stamp | Timeout | Dynamic | Bucket)
    }

    /// Whether its rows come and go with sessions.
    #[must_use]
    pub fn is_dynamic(self) -> bool {
        matches!(self.name.spec().kind, Timeout | Dynamic)
    }

    /// Its declaration, as it stands in `nft list table inet ftpdirector`.
    #[must_use]
    pub fn declaration(self) -> String {
        let spec = self.name.spec();
        let of = |fields: &[Field]| {
            let names = fields.iter().map(|field| match (field, self.family) {
                (Address, Family::V4) => "ipv4_addr",
                (Address, Family::V6) => "ipv6_addr",
                (Port, _) => "inet_service",
                (Mark, _) => "mark",
            });
            names.collect::<Vec<_>>().join(" . ")
        };
        let key = self.raw_key().map_or_else(|| format!("type {}", of(spec.key)), |key| format!("typeof {key}"));
        let (noun, value) =
            if spec.value.is_empty() { ("set", String::new()) } else { ("map", format!(" : {}", of(spec.value))) };
        let flags = match spec.kind {
            Static | Stamp => "",
            Interval => " flags interval;",
            Counted => " counter;",
            Timeout => " size 1048576; flags timeout;",
            // Anyone can forge the sources, and one bucket for all stands behind it.
            Bucket if spec.name == Name::Strangers => " size 4096; flags timeout,dynamic;",
            // Only what stays for a minute needs so many.
            Bucket if !matches!(spec.name, Name::Begun | Name::Calm) => " size 262144; flags timeout,dynamic;",
            Dynamic | Bucket => " size 1048576; flags timeout,dynamic;",
        };
        format!("{noun} {self} {{ {key}{value};{flags} }}")
    }

    /// A tunnelled client's address and ports are read from inside the packet: raw payload has a type of its own.
    fn raw_key(self) -> Option<&'static str> {
        Some(match (self.name, self.family) {
            (Name::TunnelOpen, Family::V4) => "@nh,96,32 . meta mark",
            (Name::TunnelOpen, Family::V6) => "@nh,64,128 . meta mark",
            (Name::TunnelConnectionPackets, Family::V4) => "@nh,256,32 . @nh,320,32",
            (Name::TunnelConnectionPackets, Family::V6) => "@nh,384,128 . @nh,640,32",
            (Name::TunnelClientPackets | Name::TunnelLandings, Family::V4) => "@nh,256,32",
            (Name::TunnelClientPackets | Name::TunnelLandings, Family::V6) => "@nh,384,64",
            _ => return None,
        })
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_row() {
        for set in Set::all() {
            assert_eq!(set.name.spec().name, set.name);
        }
        assert_eq!(Set { name: Name::ActiveNat, family: Family::V6 }.text(), "active_nat6");
    }

    #[test]
    fn declarations_are_nft() {
        assert_eq!(
            Set { name: Name::Ranges, family: Family::V4 }.declaration(),
            "map ranges4 { type ipv4_addr . inet_service : mark; flags interval; }"
        );
        assert_eq!(
            Set { name: Name::Landed, family: Family::V6 }.declaration(),
            "set landed6 { type mark . ipv6_addr; counter; }"
        );
        assert_eq!(Set::once(Name::Hold).declaration(), "set hold { type mark; }");
    }
}
