//! What an operator and the health checks say about servers, beside the file.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::mark_index::{self, Indexes};
use crate::config::{Cluster, Config, HealthCheckKind, NoServers, RealServer};
use crate::lvs::ServiceKey;
use crate::state::State;
use crate::state::sets::{Name, Set, Value};

/// A server, by the names of its cluster and of the server itself.
pub type ServerName = (String, String);

/// Servers that get no new sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Availability {
    /// Servers that an operator drains: `ftpdirector drain CLUSTER/SERVER`.
    pub drained: BTreeSet<ServerName>,
    /// Servers that are down by their health checks.
    pub down: BTreeSet<ServerName>,
}

impl Availability {
    /// The drains that the kernel remembers from before a restart, and the servers that had been taken out: they stay out until
    /// their first health check says something.
    #[must_use]
    pub fn standing(config: &Config, indexes: &Indexes, actual: &State) -> Self {
        let marks = mark_index::marks(config);
        let drained = actual.elements.get(&Set::once(Name::Drained));
        let remembered = indexes.placements.iter().filter(|placement| {
            let key = vec![Value::Mark(marks.data(placement.index))];
            drained.is_some_and(|drained| drained.contains_key(&key))
        });
        let names = remembered.filter_map(|placement| {
            let (cluster, server) = config.at(placement)?;
            Some((cluster.name.clone(), server.name.clone()))
        });
        let mut availability = Self { drained: names.collect(), down: BTreeSet::new() };
        for cluster in config.clusters.iter().filter(|cluster| cluster.health_check.kind != HealthCheckKind::None) {
            let out = cluster.real_servers.iter().filter(|server| {
                server.weight > 0
                    && !availability.is_drained(cluster, server)
                    && taken_out(config, indexes, (cluster, server), actual)
            });
            let out: Vec<ServerName> = out.map(|server| (cluster.name.clone(), server.name.clone())).collect();
            availability.down.extend(out);
        }
        availability
    }

    /// Forgets servers that the configuration no longer has.
    pub fn retain(&mut self, config: &Config) {
        let known = |(cluster, server): &ServerName| {
            let cluster = config.clusters.iter().find(|known| known.name == *cluster);
            cluster.is_some_and(|cluster| cluster.real_servers.iter().any(|known| known.name == *server))
        };
        self.drained.retain(known);
        self.down.retain(known);
    }

    /// Whether an operator drains this server.
    #[must_use]
    pub fn is_drained(&self, cluster: &Cluster, server: &RealServer) -> bool {
        self.drained.contains(&(cluster.name.clone(), server.name.clone()))
    }

    /// Whether the server's health checks fail.
    #[must_use]
    pub fn is_down(&self, cluster: &Cluster, server: &RealServer) -> bool {
        self.down.contains(&(cluster.name.clone(), server.name.clone()))
    }

    /// Whether every server of this VIP that could take sessions is down.
    #[must_use]
    pub fn all_down(&self, cluster: &Cluster, vip: IpAddr) -> bool {
        let mut willing = cluster
            .servers(vip)
            .map(|(_, server)| server)
            .filter(|server| server.weight > 0 && !self.is_drained(cluster, server))
            .peekable();
        willing.peek().is_some() && willing.all(|server| self.is_down(cluster, server))
    }

    /// The weight of a server's control service: the configured one, or 0.
    ///
    /// While all servers are down, `no_servers: keep` goes on as before the last failed; a sorry server or `reject` takes
    /// over from every one of them.
    #[must_use]
    pub fn weight(&self, cluster: &Cluster, vip: IpAddr, server: &RealServer) -> u32 {
        if self.is_drained(cluster, server) {
            return 0;
        }
        let sorry = cluster.sorry_server.is_some_and(|sorry| sorry.address.is_ipv4() == vip.is_ipv4());
        let keep = !sorry && cluster.no_servers == NoServers::Keep;
        let down = self.is_down(cluster, server) && !(keep && self.all_down(cluster, vip));
        if down { 0 } else { server.weight }
    }
}

/// Whether a server stands in its control services (with persistence: that of their mark) with weight 0.
fn taken_out(config: &Config, indexes: &Indexes, (cluster, server): (&Cluster, &RealServer), actual: &State) -> bool {
    let places = cluster.places().filter(|(vip, _)| vip.is_ipv4() == server.address.is_ipv4());
    let mut weights = places.filter_map(|(vip, port)| {
        let (key, port) = if cluster.persistence.is_some() {
            (mark_index::persistence(config, indexes, cluster, vip), 0)
        } else {
            (ServiceKey::Tcp(SocketAddr::new(vip, port)), server.port.unwrap_or(port))
        };
        let service = actual.services.get(&key)?;
        Some(service.destinations.get(&SocketAddr::new(server.address, port))?.destination.weight)
    });
    weights.next() == Some(0) && weights.all(|weight| weight == 0)
}

#[cfg(test)]
mod tests;
