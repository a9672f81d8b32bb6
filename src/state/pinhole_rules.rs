//! Pinholes: the rules by which a control packet opens one and a data SYN passes through it.
//!
//! A pinhole is the client's own, or its network's where `client_match` says so. Netmasks are part of a rule, so each length
//! in the configuration has rules of its own; which servers they are for stands in the sets `networks4` and `networks6`.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ruleset::{FULL, Network, Rules};
use super::sets::Family;
use crate::lvs::{FirewallMark, netmask};

/// Which end of a packet the client is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// Restricts a rule to the servers of a timeout; the default, which comes last, is for all.
fn only(number: usize, marks: &[FirewallMark]) -> String {
    if number == 0 {
        return String::new();
    }
    let marks: Vec<_> = marks.iter().map(ToString::to_string).collect();
    format!("meta mark {{ {} }} ", marks.join(", "))
}

impl Network {
    fn mask(self) -> IpAddr {
        match self.family {
            Family::V4 => netmask(IpAddr::V4(Ipv4Addr::UNSPECIFIED), self.length),
            Family::V6 => netmask(IpAddr::V6(Ipv6Addr::UNSPECIFIED), self.length),
        }
    }

    /// Matches the control marks of the servers that it is for. nft takes no constant into a concatenation, but
    /// `saddr & M | M` is M whatever the address.
    fn servers(self, client: End) -> String {
        let mask = self.mask();
        format!("meta mark . {} | {mask} @networks{}", self.address(client), self.suffix())
    }

    /// The network of the packet's client.
    fn address(self, client: End) -> String {
        let ip = if self.family == Family::V4 { "ip" } else { "ip6" };
        let end = if client == End::Source { "saddr" } else { "daddr" };
        format!("{ip} {end} & {}", self.mask())
    }

    const fn suffix(self) -> &'static str {
        match self.family {
            Family::V4 => "4",
            Family::V6 => "6",
        }
    }

    /// The network of an address that is read as raw payload.
    fn raw(self, field: &str) -> String {
        match self.mask() {
            IpAddr::V4(mask) => format!("{field} & {:#010x}", mask.to_bits()),
            IpAddr::V6(mask) => format!("{field} & {:#034x}", mask.to_bits()),
        }
    }
}

impl Rules {
    /// The chain that opens a pinhole: its rules once a timeout, the default last.
    pub(super) fn open(&self) -> String {
        let mut text = String::from("\tchain open {\n");
        for (number, (timeout, marks)) in self.pinhole_timeouts.iter().enumerate().rev() {
            let only = only(number, marks);
            let ms = timeout.as_millis();
            for network in &self.networks {
                let (servers, source) = (network.servers(End::Source), network.address(End::Source));
                let suffix = network.suffix();
                let (tunnelled, inner) = match network.family {
                    Family::V4 => ("ip protocol 4", network.raw("@nh,256,32")),
                    Family::V6 => ("ip6 nexthdr 41", network.raw("@nh,384,128")),
                };
                let _ = write!(
                    text,
                    "\t\t{only}{tunnelled} {servers} update @tunnel_open{suffix} {{ {inner} . meta mark timeout {ms}ms }} accept\n\
                     \t\t{only}{servers} update @open{suffix} {{ {source} . meta mark timeout {ms}ms }} accept\n"
                );
            }
            let _ = write!(
                text,
                "\t\t{only}ip protocol 4 update @tunnel_open4 {{ @nh,256,32 . meta mark timeout {ms}ms }} accept\n\
                 \t\t{only}ip6 nexthdr 41 update @tunnel_open6 {{ @nh,384,128 . meta mark timeout {ms}ms }} accept\n\
                 \t\t{only}update @open4 {{ ip saddr . meta mark timeout {ms}ms }} accept\n\
                 \t\t{only}update @open6 {{ ip6 saddr . meta mark timeout {ms}ms }} accept\n"
            );
        }
        // An `update` that finds its set full ends its rule, not the chain.
        let _ = write!(text, "\t\tcounter name {FULL}\n\t}}\n");
        text
    }

    /// The chain by which a reply that names a port opens the client's pinhole (NAT); the mark has done its work then.
    pub(super) fn answer(&self) -> String {
        let mut text = String::from("\tchain answer {\n");
        for (number, (timeout, marks)) in self.pinhole_timeouts.iter().enumerate().rev() {
            let only = only(number, marks);
            let ms = timeout.as_millis();
            for network in &self.networks {
                let (servers, client) = (network.servers(End::Destination), network.address(End::Destination));
                let suffix = network.suffix();
                let _ = writeln!(
                    text,
                    "\t\t{only}{servers} update @open{suffix} {{ {client} . meta mark timeout {ms}ms }} meta mark set 0x0 accept"
                );
            }
            let _ = write!(
                text,
                "\t\t{only}update @open4 {{ ip daddr . meta mark timeout {ms}ms }} meta mark set 0x0 accept\n\
                 \t\t{only}update @open6 {{ ip6 daddr . meta mark timeout {ms}ms }} meta mark set 0x0 accept\n"
            );
        }
        let _ = write!(text, "\t\tcounter name {FULL} meta mark set 0x0\n\t}}\n");
        text
    }

    /// Lines of the chain `ranged` of a family: the pinhole of a network lets a data SYN in.
    pub(super) fn through_networks(&self, family: Family) -> String {
        let of_family = self.networks.iter().filter(|network| network.family == family);
        let lines = of_family.map(|network| {
            let (servers, source) = (network.servers(End::Source), network.address(End::Source));
            let raw = network.raw("$raw_saddr");
            format!(
                "\t\t{source} . meta mark @open$4 {servers} meta mark set meta mark & $to_data return\n\
                 \t\t{raw} . meta mark @tunnel_open$4 {servers} meta mark set meta mark & $to_data return\n"
            )
        });
        lines.collect()
    }

    /// Lines of the chain `blind` of a family: a TLS record keeps the pinhole of a network open.
    pub(super) fn blind_networks(&self, family: Family) -> String {
        let of_family = self.networks.iter().filter(|network| network.family == family);
        let lines = of_family.map(|network| {
            let (servers, source) = (network.servers(End::Source), network.address(End::Source));
            format!(
                "\t\t{servers} update @blind$4 {{ $ip saddr . tcp sport . $ip daddr . tcp dport timeout $idle }} \
                 update @open$4 {{ {source} . meta mark timeout $idle }} meta mark set 0x0 return\n"
            )
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_netmask_is_written_as_nft_reads_it() {
        let network = Network { family: Family::V4, length: 20 };
        assert_eq!(network.servers(End::Source), "meta mark . ip saddr & 255.255.240.0 | 255.255.240.0 @networks4");
        assert_eq!(network.raw("@nh,96,32"), "@nh,96,32 & 0xfffff000");
        let network = Network { family: Family::V6, length: 64 };
        assert_eq!(network.address(End::Source), "ip6 saddr & ffff:ffff:ffff:ffff::");
        assert_eq!(network.raw("@nh,64,128"), "@nh,64,128 & 0xffffffffffffffff0000000000000000");
        let everyone = Network { family: Family::V6, length: 0 };
        assert_eq!(everyone.raw("@nh,64,128"), "@nh,64,128 & 0x00000000000000000000000000000000");
    }
}
