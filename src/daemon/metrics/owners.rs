//! Which server, and which of its connections, is a destination that IPVS lists for?

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::config::Config;
use crate::kernel::ipvs::{ListedDestination, ListedService};
use crate::lvs::ServiceKey;
use crate::plan::availability::ServerName;
use crate::plan::mark_index::{self, Indexes};

/// Which of the two connections of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionPart {
    /// The control connection. With `persistence` also data connections that no row has steered: they share a service.
    Control,
    /// The data connections that a row has steered.
    Data,
}

impl SessionPart {
    /// Both parts, for metrics that list each.
    pub const ALL: [Self; 2] = [Self::Control, Self::Data];

    /// The value of the label `connection`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Data => "data",
        }
    }
}

/// A server's name, and which of its connections.
pub type Owner = (ServerName, SessionPart);

/// The owner of each destination, by service and destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners(BTreeMap<(ServiceKey, SocketAddr), Owner>);

impl Owners {
    /// The owners by a configuration: the destinations of the services that [`crate::plan::desired::rows`] makes.
    #[must_use]
    pub fn of(config: &Config, indexes: &Indexes) -> Self {
        let marks = mark_index::marks(config);
        let mut owners = Self::default();
        for placement in &indexes.placements {
            let Some((cluster, server)) = config.at(placement) else { continue };
            let name = (cluster.name.clone(), server.name.clone());
            let key = ServiceKey::Mark { mark: marks.data(placement.index), ipv6: placement.vip.is_ipv6() };
            let address = SocketAddr::new(placement.address, 0);
            owners.0.insert((key, address), (name, SessionPart::Data));
        }
        for cluster in &config.clusters {
            for &vip in &cluster.vips {
                for (_, server) in cluster.servers(vip) {
                    let owner = ((cluster.name.clone(), server.name.clone()), SessionPart::Control);
                    for &port in &cluster.ports {
                        let key = match cluster.persistence {
                            None => ServiceKey::Tcp(SocketAddr::new(vip, port)),
                            Some(_) => {
                                let Some(&tag) = indexes.tags.get(&(vip, port)) else { continue };
                                ServiceKey::Mark { mark: marks.persistence(tag), ipv6: vip.is_ipv6() }
                            }
                        };
                        let at = if cluster.persistence.is_some() { 0 } else { server.port.unwrap_or(port) };
                        owners.0.insert((key, SocketAddr::new(server.address, at)), owner.clone());
                    }
                }
            }
        }
        owners
    }

    /// The destinations that are ours, with their owners.
    pub fn among<'a, 's>(
        &'a self,
        services: &'s [ListedService],
    ) -> impl Iterator<Item = (ServiceKey, &'s ListedDestination, &'a Owner)> {
        services.iter().flat_map(move |service| {
            let key = service.service.key;
            let ours = move |to: &'s ListedDestination| {
                let owner = self.0.get(&(key, to.destination.address))?;
                Some((key, to, owner))
            };
            service.destinations.iter().filter_map(ours)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config;
    use crate::plan::availability::Availability;
    use crate::plan::desired;

    /// With NAT ports of their own, two control ports, both families, and persistence.
    const FILE: &str = "clusters:
  - {name: nat, vips: [192.0.2.10, '2001:db8::10'], ports: [21, 921], forwarding: nat, real_servers: [
     {name: a, address: 10.0.0.1, port: 2121, passive_ports: 31000-31999},
     {name: b, address: 10.0.0.2, passive_ports: 32000-32999}, {name: c, address: 'fd00::3'}]}
  - {name: sticky, vips: [192.0.2.11], forwarding: dr, persistence: 300s, passive: {ports: 40000-40999}, real_servers: [
     {name: a, address: 10.0.0.1}, {name: b, address: 10.0.0.2}]}
";

    #[test]
    fn every_destination_that_we_make_has_its_owner() {
        let config = config::parse(FILE, "test.yaml").expect("a good file").config;
        let indexes = mark_index::assign(&config, mark_index::marks(&config), &Default::default()).expect("few");
        let owners = Owners::of(&config, &indexes);
        let state = desired::rows(&config, &indexes, &Availability::default());
        let made: BTreeSet<_> = state
            .services
            .iter()
            .flat_map(|(key, service)| service.destinations.keys().map(move |to| (*key, *to)))
            .collect();
        assert_eq!(owners.0.keys().copied().collect::<BTreeSet<_>>(), made);
        let of = |key, to: &str| owners.0[&(key, to.parse().expect("an address"))].clone();
        let name = |cluster: &str, server: &str| (cluster.to_owned(), server.to_owned());
        let control = ServiceKey::Tcp("192.0.2.10:921".parse().expect("the VIP"));
        assert_eq!(of(control, "10.0.0.1:2121"), (name("nat", "a"), SessionPart::Control));
        let data = indexes.placements.iter().find(|placement| placement.cluster == 1 && placement.server == 1);
        let mark = mark_index::marks(&config).data(data.expect("a placement").index);
        assert_eq!(of(ServiceKey::Mark { mark, ipv6: false }, "10.0.0.2:0"), (name("sticky", "b"), SessionPart::Data));
    }
}
