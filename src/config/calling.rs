//! Which ports of a VIP tell by themselves what server calls a client.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::model::{Cluster, Config, UnexpectedData};
use crate::lvs::{ForwardingMethod, PortRange};

impl Cluster {
    /// Whether a data connection without a row of its session goes where its port says.
    #[must_use]
    pub fn steers_by_port(&self) -> bool {
        self.unexpected_data == UnexpectedData::Pass
            && self.forwarding != ForwardingMethod::Nat
            && self.persistence.is_none()
    }
}

impl Config {
    /// VIP . port, where one server calls from, and nobody else of that VIP has anything to do with the port: no other server
    /// calls from it, it is no control port, and lies in no passive range and no `active_ports`.
    #[must_use]
    pub fn called_from_by_one(&self) -> BTreeSet<(IpAddr, u16)> {
        let mut callers: BTreeMap<(IpAddr, u16), usize> = BTreeMap::new();
        let mut others: BTreeMap<IpAddr, Vec<PortRange>> = BTreeMap::new();
        for cluster in &self.clusters {
            for &vip in &cluster.vips {
                let others = others.entry(vip).or_default();
                others.extend(cluster.ports.iter().filter_map(|&port| PortRange::new(port, port)));
                for (_, server) in cluster.servers(vip) {
                    others.extend(std::iter::once(cluster.ports_at_vip(server)).chain(server.active_ports));
                    let calls: BTreeSet<u16> = cluster.ports.iter().map(|&port| server.calls_from(port)).collect();
                    for port in calls {
                        *callers.entry((vip, port)).or_default() += 1;
                    }
                }
            }
        }
        let others: BTreeMap<IpAddr, Vec<PortRange>> =
            others.into_iter().map(|(vip, all)| (vip, PortRange::merged(all))).collect();
        let free = |vip: IpAddr, port: u16| {
            let ranges = others.get(&vip).map_or(&[][..], Vec::as_slice);
            let next = ranges.partition_point(|range| range.last() < port);
            ranges.get(next).is_none_or(|range| !range.contains(port))
        };
        let alone = callers.into_iter().filter(|&((vip, port), count)| count == 1 && free(vip, port));
        alone.map(|(place, _)| place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RealServer, sample};

    fn alone(config: &Config) -> Vec<u16> {
        config.called_from_by_one().into_iter().map(|(_, port)| port).collect()
    }

    #[test]
    fn a_port_that_anyone_else_uses_at_the_vip_tells_nothing() {
        let mut config = sample::config(ForwardingMethod::Dr);
        assert!(alone(&config).is_empty(), "all call from 20");
        for (server, port) in config.clusters[0].real_servers.iter_mut().zip([2021, 2022, 2022]) {
            server.active_port = Some(port);
        }
        assert_eq!(alone(&config), [2021]);
        let third = |change: fn(&mut RealServer)| {
            let mut config = config.clone();
            change(&mut config.clusters[0].real_servers[2]);
            alone(&config)
        };
        assert_eq!(third(|server| server.active_port = Some(2021)), [2022]);
        assert!(third(|server| server.active_ports = PortRange::new(2000, 2100)).is_empty());
        assert!(third(|server| server.passive_ports = PortRange::UNPRIVILEGED).is_empty());
        // Another cluster at the same VIP, or at another one.
        let mut other = config.clusters[0].clone();
        other.ports = vec![2021];
        other.real_servers.truncate(1);
        other.real_servers[0].active_port = Some(3021);
        config.clusters.push(other);
        assert_eq!(alone(&config), [3021], "2021 is a control port");
        config.clusters[1].ports = vec![990];
        config.clusters[1].real_servers[0].active_port = Some(2021);
        assert!(alone(&config).is_empty());
        config.clusters[1].vips = vec!["192.0.2.11".parse().expect("a VIP")];
        assert_eq!(alone(&config), [2021, 2021]);
    }

    #[test]
    fn one_server_behind_two_control_ports_calls_from_one_port_alone() {
        let mut config = sample::config(ForwardingMethod::Dr);
        config.clusters[0].ports = vec![21, 990];
        for (server, port) in config.clusters[0].real_servers.iter_mut().zip(2021..) {
            server.active_port = Some(port);
        }
        assert_eq!(alone(&config), [2021, 2022, 2023]);
    }
}
