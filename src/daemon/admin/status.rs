//! `status`: what the daemon believes and what the kernel counts, server by server.

use std::net::{IpAddr, SocketAddr};

use super::facts::{Belief, Counted};
use super::shape::{Advertise, Cluster, ConfigState, Connections, Health, Server, ServerState, Status};
use crate::config::{self, RealServer, standing};
use crate::daemon::advertise::named;
use crate::daemon::health::ServerHealth;
use crate::director::Snapshot;
use crate::kernel::ipvs::ListedDestination;
use crate::lvs::{ForwardingMethod, ServiceKey};

/// What `status` is made of.
pub struct Sources<'a> {
    /// What the daemon believes.
    pub belief: &'a Belief,
    /// The packet thread's counts.
    pub snapshot: &'a Snapshot,
    /// The kernel's counts, or why there are none.
    pub counted: &'a Result<Counted, String>,
}

impl Sources<'_> {
    /// Everything.
    #[must_use]
    pub fn status(&self, file: &str, uptime_seconds: u64) -> Status {
        let Self { belief, snapshot, counted } = self;
        let history = &belief.history;
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds,
            config: ConfigState {
                file: file.to_owned(),
                reload_good: history.reload_good,
                read_at: history.reloaded_at,
            },
            drift: history.drift,
            kernel_error: history.complaint.clone().or_else(|| counted.as_ref().err().cloned()),
            sessions: snapshot.sessions.values().sum(),
            pinholes: count(snapshot.pinholes),
            held: count(snapshot.held),
            clusters: belief.config.clusters.iter().map(|cluster| self.cluster(cluster)).collect(),
        }
    }

    fn cluster(&self, cluster: &config::Cluster) -> Cluster {
        Cluster {
            name: cluster.name.clone(),
            vips: cluster.vips.clone(),
            ports: cluster.ports.clone(),
            forwarding: forwarding(cluster.forwarding).to_owned(),
            scheduler: cluster.scheduler.clone(),
            advertise: self.belief.advertised.source(&cluster.advertise).map(|source| Advertise {
                source: named(&cluster.advertise),
                address: source.address,
                error: source.trouble.clone(),
            }),
            servers: cluster.real_servers.iter().map(|server| self.server(cluster, server)).collect(),
        }
    }

    /// One server.
    #[must_use]
    pub fn server(&self, cluster: &config::Cluster, server: &RealServer) -> Server {
        let Self { belief, snapshot, counted } = self;
        let names = (cluster.name.clone(), server.name.clone());
        let counters = counted.as_ref().ok().map(|counted| {
            let same = |of: &&crate::daemon::metrics::ServerCounters| of.cluster == names.0 && of.server == names.1;
            counted.counters.servers.iter().filter(same).fold((0, 0), |(landed, misdirected), of| {
                (of.landed.saturating_add(landed), of.misdirected.saturating_add(misdirected))
            })
        });
        let control = self.control(cluster, server);
        let listed = control.as_ref().and_then(|control| control.iter().map(|to| to.destination.weight).max());
        let mut vips = cluster.vips.iter().filter(|vip| vip.is_ipv4() == server.address.is_ipv4());
        let believed = vips.next().map_or(0, |&vip| belief.overlay.weight(cluster, vip, server));
        Server {
            cluster: names.0.clone(),
            name: names.1.clone(),
            address: server.address,
            state: self.state(cluster, server),
            weight: server.weight,
            effective_weight: listed.unwrap_or(believed),
            sessions: snapshot.sessions.get(&names).copied().unwrap_or_default(),
            control: control.as_deref().map(connections),
            data: self.data(&names).as_deref().map(connections),
            landed: counters.map(|(landed, _)| landed),
            misdirected: counters.map(|(_, misdirected)| misdirected),
            health: belief.health.iter().find(|of| of.cluster == names.0 && of.server == names.1).map(health),
        }
    }

    fn state(&self, cluster: &config::Cluster, server: &RealServer) -> ServerState {
        let overlay = &self.belief.overlay;
        if overlay.is_drained(cluster, server) || server.weight == 0 {
            ServerState::Drained
        } else if overlay.is_down(cluster, server) {
            ServerState::Down
        } else {
            ServerState::Up
        }
    }

    /// The server in its cluster's control services.
    fn control(&self, cluster: &config::Cluster, server: &RealServer) -> Option<Vec<&ListedDestination>> {
        let services = &self.counted.as_ref().ok()?.services;
        let belief = self.belief;
        let marks = standing::marks(&belief.config);
        let vips = cluster.vips.iter().filter(|vip| vip.is_ipv4() == server.address.is_ipv4());
        let places: Vec<(IpAddr, u16)> =
            vips.flat_map(|&vip| cluster.ports.iter().map(move |&port| (vip, port))).collect();
        let ours = |key: &ServiceKey, to: &SocketAddr| {
            places.iter().any(|&(vip, port)| match *key {
                ServiceKey::Tcp(at) => {
                    at == SocketAddr::new(vip, port)
                        && *to == SocketAddr::new(server.address, server.port.unwrap_or(port))
                }
                ServiceKey::Mark { mark, .. } => {
                    let tag = belief.indexes.tags.get(&(vip, port));
                    tag.is_some_and(|&tag| mark == marks.persistence(tag)) && to.ip() == server.address
                }
            })
        };
        let all = services.iter().flat_map(|service| service.destinations.iter().map(move |to| (service, to)));
        let found = all.filter(|(service, to)| ours(&service.service.key, &to.destination.address));
        Some(found.map(|(_, to)| to).collect())
    }

    /// The server in its data services, one a VIP.
    fn data(&self, names: &(String, String)) -> Option<Vec<&ListedDestination>> {
        let services = &self.counted.as_ref().ok()?.services;
        let config = &self.belief.config;
        let marks = standing::marks(config);
        let of_server = self.belief.indexes.placements.iter().filter(|placement| {
            let cluster = config.clusters.get(placement.cluster);
            let server = cluster.and_then(|cluster| cluster.real_servers.get(placement.server));
            cluster.is_some_and(|cluster| cluster.name == names.0) && server.is_some_and(|of| of.name == names.1)
        });
        let wanted: Vec<_> = of_server.map(|placement| marks.data(placement.index)).collect();
        let is_wanted = |key: &ServiceKey| matches!(key, ServiceKey::Mark { mark, .. } if wanted.contains(mark));
        let found = services.iter().filter(|service| is_wanted(&service.service.key));
        Some(found.flat_map(|service| &service.destinations).collect())
    }
}

fn health(of: &ServerHealth) -> Health {
    Health {
        state: of.state.name().to_owned(),
        since: of.since,
        step: of.last_step.map(|step| step.name().to_owned()),
        error: of.last_error.clone(),
        seconds: of.steps.iter().map(|(step, took)| (step.name().to_owned(), *took)).collect(),
    }
}

fn connections(destinations: &[&ListedDestination]) -> Connections {
    destinations.iter().fold(Connections::default(), |sum, to| Connections {
        active: sum.active.saturating_add(u64::from(to.active)),
        inactive: sum.inactive.saturating_add(u64::from(to.inactive)),
    })
}

/// As the configuration spells it.
const fn forwarding(method: ForwardingMethod) -> &'static str {
    match method {
        ForwardingMethod::Nat => "nat",
        ForwardingMethod::Dr => "dr",
        ForwardingMethod::Tun => "tun",
    }
}
