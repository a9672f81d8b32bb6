//! Ports of the VIPs that no passive reply may be told: they are somebody else's.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::interface::Setup;
use crate::lvs::PortRange;
use crate::steer::Placement;

/// Which ports of the VIPs are kept from sessions.
#[derive(Debug, Default)]
pub struct Reserved {
    /// Other services: of IPVS, and sockets that listen. A wildcard address stands for every VIP of its family.
    services: HashSet<SocketAddr>,
    /// The declared passive ranges at each VIP, public ones in place of the servers', in order, none touching another.
    ranges: BTreeMap<IpAddr, Vec<PortRange>>,
}

impl Reserved {
    /// What a configuration, and the services that the operator has beside it, keep for themselves.
    #[must_use]
    pub fn of(setup: &Setup) -> Self {
        let mut ranges: BTreeMap<IpAddr, Vec<PortRange>> = BTreeMap::new();
        let declared =
            setup.placements.iter().map(|(placement, _)| placement).filter(|placement| is_declared(placement));
        for placement in declared {
            ranges.entry(placement.vip).or_default().push(placement.ports_at_vip());
        }
        ranges.values_mut().for_each(merge);
        Self { services: setup.services.iter().copied().collect(), ranges }
    }

    /// Whether `port` of the placement's VIP is kept from its server: another service's, or in a range that is not its own.
    #[must_use]
    pub fn keeps(&self, placement: &Placement, port: u16) -> bool {
        // `::` may take connections to IPv4 addresses too (ipv6(7), IPV6_V6ONLY).
        let at = [placement.vip, Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        let wildcards = if placement.vip.is_ipv4() { 3 } else { 2 };
        if at.iter().take(wildcards).any(|&address| self.services.contains(&SocketAddr::new(address, port))) {
            return true;
        }
        let own = is_declared(placement) && placement.ports_at_vip().contains(port);
        !own && self.ranges.get(&placement.vip).is_some_and(|ranges| holds(ranges, port))
    }
}

fn merge(ranges: &mut Vec<PortRange>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let meets = last.overlaps(*next);
        if meets {
            *last = PortRange::new(last.first(), last.last().max(next.last())).unwrap_or(*last);
        }
        meets
    });
}

fn holds(ranges: &[PortRange], port: u16) -> bool {
    let behind = ranges.partition_point(|range| range.first() <= port);
    behind.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|range| range.contains(port))
}

/// Without a range of its own a server may name any unprivileged port.
fn is_declared(placement: &Placement) -> bool {
    placement.ports_at_vip() != PortRange::UNPRIVILEGED
}
