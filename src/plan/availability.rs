//! What an operator and the health checks say about servers, beside the file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::mark_index::{self, Indexes};
use super::start::Start;
use crate::config::{Cluster, Config, HealthCheck, HealthCheckKind, NoServers, RealServer};
use crate::lvs::ServiceKey;
use crate::state::State;
use crate::state::sets::{Name, Set, Value};

/// A server, by the names of its cluster and of the server itself.
pub type ServerName = (String, String);

/// Servers that get no new sessions, or fewer than by their weight in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Availability {
    /// Servers that an operator drains: `ftpdirector drain CLUSTER/SERVER`.
    pub drained: BTreeSet<ServerName>,
    /// Servers that are down by their health checks, or by what their agents say.
    pub down: BTreeSet<ServerName>,
    /// How much of their weight the agents of servers ask for, percent; 0 is a drain. A server that is not here has all of it.
    pub asked: BTreeMap<ServerName, u32>,
    /// Servers that came back and have not yet their whole weight (`slow_start`).
    pub starting: BTreeMap<ServerName, Start>,
}

/// Who drains a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainedBy {
    /// The file: its weight there is 0.
    File,
    /// An operator: `ftpdirector drain CLUSTER/SERVER`.
    Administrator,
    /// The agent on the server.
    Agent,
}

impl Availability {
    /// The drains that the kernel remembers from before a restart, and the servers that had been taken out: they stay out until
    /// their first health check says something, and until their agent was asked for the first time.
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
        let mut availability = Self { drained: names.collect(), ..Self::default() };
        for cluster in &config.clusters {
            let HealthCheck { kind, agent, .. } = &cluster.health_check;
            let out = cluster.real_servers.iter().filter(|server| {
                server.weight > 0
                    && !availability.is_drained(cluster, server)
                    && taken_out(config, indexes, (cluster, server), actual)
            });
            let out: Vec<ServerName> = out.map(|server| (cluster.name.clone(), server.name.clone())).collect();
            if agent.is_some() {
                availability.asked.extend(out.iter().map(|name| (name.clone(), 0)));
            }
            if *kind != HealthCheckKind::None {
                availability.down.extend(out);
            }
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
        self.asked.retain(|name, _| known(name));
        self.starting.retain(|name, _| known(name));
    }

    /// A server keeps its drain when its name becomes known: as long as a start knows none, it stands by its address.
    pub fn follow(&mut self, before: &Config, now: &Config) {
        if self.drained.is_empty() {
            return;
        }
        for cluster in &now.clusters {
            let old = before.clusters.iter().filter(|old| old.name == cluster.name);
            let nameless = old.flat_map(|old| old.real_servers.iter().map(move |server| (old, server)));
            let nameless = nameless.filter(|(_, server)| server.name == server.address.to_string());
            let drained: BTreeSet<IpAddr> = nameless
                .filter(|(old, server)| self.is_drained(old, server))
                .map(|(_, server)| server.address)
                .collect();
            let named = cluster.real_servers.iter().filter(|server| server.host.is_some());
            let named = named.filter(|server| drained.contains(&server.address));
            self.drained.extend(named.map(|server| (cluster.name.clone(), server.name.clone())));
        }
    }

    /// Servers whose names have another address, of a cluster with health checks, are down until a check there is good: else a
    /// name that moves faster than checks can fail (honestly, as some name servers rotate theirs) would keep every check from being heard. What
    /// was known of them goes with the returned value to whoever checks: [`Self::down`], and what their agents asked for.
    pub fn follow_names(&mut self, before: &Config, now: &Config) -> Self {
        let mut moved = Self::default();
        for cluster in now.clusters.iter().filter(|cluster| cluster.health_check.kind != HealthCheckKind::None) {
            let old = before.clusters.iter().find(|old| old.name == cluster.name);
            let old: BTreeMap<&str, IpAddr> = old
                .into_iter()
                .flat_map(|old| &old.real_servers)
                .filter(|server| server.host.is_some())
                .map(|server| (server.name.as_str(), server.address))
                .collect();
            let other = |server: &&RealServer| {
                let was = old.get(server.name.as_str());
                server.host.is_some() && was.is_some_and(|was| *was != server.address)
            };
            for server in cluster.real_servers.iter().filter(other) {
                let name = (cluster.name.clone(), server.name.clone());
                moved.asked.extend(self.asked.get(&name).map(|percent| (name.clone(), *percent)));
                moved.down.insert(name);
            }
        }
        self.down.extend(moved.down.iter().cloned());
        moved
    }

    /// Whether an operator drains this server.
    #[must_use]
    pub fn is_drained(&self, cluster: &Cluster, server: &RealServer) -> bool {
        self.drained.contains(&(cluster.name.clone(), server.name.clone()))
    }

    /// Who keeps new sessions from this server, whatever its health is.
    #[must_use]
    pub fn drained_by(&self, cluster: &Cluster, server: &RealServer) -> Option<DrainedBy> {
        if server.weight == 0 {
            return Some(DrainedBy::File);
        }
        let name = (cluster.name.clone(), server.name.clone());
        if self.drained.contains(&name) {
            return Some(DrainedBy::Administrator);
        }
        (self.asked.get(&name) == Some(&0)).then_some(DrainedBy::Agent)
    }

    /// Whether the same servers take new sessions as with `other`, so that only weights between 0 and the whole differ.
    #[must_use]
    pub fn serves_as(&self, other: &Self) -> bool {
        let drains = |of: &Self| -> Vec<ServerName> {
            of.asked.iter().filter(|(_, percent)| **percent == 0).map(|(name, _)| name.clone()).collect()
        };
        self.drained == other.drained && self.down == other.down && drains(self) == drains(other)
    }

    /// Whether the server's health checks fail, or its agent says that it is down.
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
            .filter(|server| self.drained_by(cluster, server).is_none())
            .peekable();
        willing.peek().is_some() && willing.all(|server| self.is_down(cluster, server))
    }

    /// The weight of a server's control service: the configured one, the part of it that its agent asks for or that its slow start
    /// has come to, or 0.
    ///
    /// While all servers are down, `no_servers: keep` goes on as before the last failed; a sorry server or `reject` takes
    /// over from every one of them.
    #[must_use]
    pub fn weight(&self, cluster: &Cluster, vip: IpAddr, server: &RealServer) -> u32 {
        if self.drained_by(cluster, server).is_some() {
            return 0;
        }
        let sorry = cluster.sorry_server.is_some_and(|sorry| sorry.address.is_ipv4() == vip.is_ipv4());
        let keep = !sorry && cluster.no_servers == NoServers::Keep;
        let down = self.is_down(cluster, server) && !(keep && self.all_down(cluster, vip));
        if down {
            return 0;
        }
        let name = (cluster.name.clone(), server.name.clone());
        let whole = self.asked.get(&name).map_or(server.weight, |&percent| part(server.weight, percent));
        self.starting.get(&name).map_or(whole, |start| start.weight(whole))
    }
}

/// So many percent of a weight that is > 0, `1..=65535`.
fn part(weight: u32, percent: u32) -> u32 {
    let part = u64::from(weight).saturating_mul(percent.into()) / 100;
    u32::try_from(part).unwrap_or(u32::MAX).clamp(1, HEAVIEST)
}

/// The heaviest weight, as in the file.
const HEAVIEST: u32 = 65535;

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
