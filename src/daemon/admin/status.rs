//! `status`: what the daemon believes and what the kernel counts, server by server.

use std::collections::BTreeMap;

use super::facts::Belief;
use crate::api::{
    self, AdvertiseStatus, AgentStatus, ClusterStatus, ConfigState, Connections, HealthStatus, Server, ServerState,
    Status, UnresolvedServer,
};
use crate::config::{self, RealServer, ServerByName};
use crate::daemon::advertise::named;
use crate::daemon::health::{ServerAgent, ServerHealth};
use crate::daemon::metrics::ServerCounters;
use crate::daemon::metrics::observe::Observed;
use crate::daemon::metrics::owners::{Owner, Owners, SessionPart};
use crate::director::Snapshot;
use crate::kernel::ipvs::ListedDestination;
use crate::plan::availability::DrainedBy;

/// What `status` is made of.
pub struct Sources<'a> {
    /// What the daemon believes.
    pub belief: &'a Belief,
    /// The packet thread's counts.
    pub snapshot: &'a Snapshot,
    /// The kernel's counts, or why there are none.
    pub counted: &'a Result<Observed, String>,
    /// IPVS's destinations by the server and connection that they are for.
    listed: BTreeMap<Owner, Vec<&'a ListedDestination>>,
}

impl<'a> Sources<'a> {
    /// What `status` is made of.
    #[must_use]
    pub fn new(belief: &'a Belief, snapshot: &'a Snapshot, counted: &'a Result<Observed, String>) -> Self {
        let owners = Owners::of(&belief.config, &belief.indexes);
        let mut listed: BTreeMap<Owner, Vec<&ListedDestination>> = BTreeMap::new();
        if let Ok(observed) = counted {
            for (_, to, owner) in owners.among(&observed.services) {
                listed.entry(owner.clone()).or_default().push(to);
            }
        }
        Self { belief, snapshot, counted, listed }
    }

    /// The answer to `GET /status`.
    #[must_use]
    pub fn status(&self, file: &str, uptime_seconds: u64) -> Status {
        let Self { belief, snapshot, counted, .. } = self;
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

    fn cluster(&self, cluster: &config::Cluster) -> ClusterStatus {
        ClusterStatus {
            name: cluster.name.clone(),
            vips: cluster.vips.clone(),
            ports: cluster.ports.clone(),
            forwarding: cluster.forwarding.name().to_owned(),
            scheduler: cluster.scheduler.clone(),
            advertise: self.belief.advertised.source(&cluster.advertise).map(|source| AdvertiseStatus {
                source: named(&cluster.advertise),
                address: source.address,
                error: source.trouble.clone(),
            }),
            servers: cluster.real_servers.iter().map(|server| self.server(cluster, server)).collect(),
            unresolved: self.unresolved(cluster),
        }
    }

    /// The servers that are left out of a cluster of the file; one that quiesces under its name has none.
    fn unresolved(&self, cluster: &config::Cluster) -> Vec<UnresolvedServer> {
        let first = self.belief.config.clusters.iter().find(|first| first.name == cluster.name);
        if first.is_none_or(|first| !std::ptr::eq(first, cluster)) {
            return Vec::new();
        }
        let of_it = self.belief.by_name.iter().filter(|of| of.cluster == cluster.name && of.address.is_none());
        let told = of_it.map(|ServerByName { server, host, trouble, .. }| UnresolvedServer {
            name: server.clone(),
            host: host.name.clone(),
            error: trouble.clone().unwrap_or_default(),
        });
        told.collect()
    }

    /// Why the last look-up of a server's name gave no address that can be used.
    fn host_error(&self, cluster: &config::Cluster, server: &RealServer) -> Option<String> {
        server.host.as_ref()?;
        let mut named = self.belief.by_name.iter().filter(|of| of.cluster == cluster.name);
        named.find(|of| of.server == server.name)?.trouble.clone()
    }

    /// One server of `GET /status`, with IPVS's and the director's counts.
    #[must_use]
    pub fn server(&self, cluster: &config::Cluster, server: &RealServer) -> Server {
        let Self { belief, snapshot, counted, .. } = self;
        let names = (cluster.name.clone(), server.name.clone());
        let observed = counted.as_ref().ok();
        let counters = observed.map(|observed| {
            let same = |of: &&ServerCounters| of.cluster == names.0 && of.server == names.1;
            observed.counters.servers.iter().find(same).cloned().unwrap_or_default()
        });
        let of = |connection| {
            observed.map(|_| self.listed.get(&(names.clone(), connection)).map(Vec::as_slice).unwrap_or_default())
        };
        let [control, data] = SessionPart::ALL.map(of);
        let listed = control.as_ref().and_then(|control| control.iter().map(|to| to.destination.weight).max());
        let full = control.as_ref().is_some_and(|control| control.iter().any(|to| to.is_full()));
        let mut vips = cluster.vips.iter().filter(|vip| vip.is_ipv4() == server.address.is_ipv4());
        let believed = vips.next().map_or(0, |&vip| belief.availability.weight(cluster, vip, server));
        Server {
            cluster: names.0.clone(),
            name: names.1.clone(),
            address: server.address,
            state: self.state(cluster, server),
            weight: server.weight,
            effective_weight: listed.unwrap_or(believed),
            sessions: snapshot.sessions.get(&names).copied().unwrap_or_default(),
            control: control.map(connections),
            data: data.map(connections),
            control_traffic: counters.as_ref().map(|counters| counters.control),
            data_traffic: counters.as_ref().map(|counters| counters.data),
            landed: counters.as_ref().map(|counters| counters.landed),
            misdirected: counters.as_ref().map(|counters| counters.misdirected),
            health: belief.health.iter().find(|of| of.cluster == names.0 && of.server == names.1).map(health),
            drained_by: belief.availability.drained_by(cluster, server).map(drained_by),
            max_sessions: server.max_sessions,
            full,
            agent: belief.agents.iter().find(|of| of.cluster == names.0 && of.server == names.1).map(agent),
            host: server.host.clone(),
            host_error: self.host_error(cluster, server),
        }
    }

    fn state(&self, cluster: &config::Cluster, server: &RealServer) -> ServerState {
        let availability = &self.belief.availability;
        if availability.drained_by(cluster, server).is_some() {
            ServerState::Drained
        } else if availability.is_down(cluster, server) {
            ServerState::Down
        } else {
            ServerState::Up
        }
    }
}

const fn drained_by(whom: DrainedBy) -> api::DrainedBy {
    match whom {
        DrainedBy::File => api::DrainedBy::File,
        DrainedBy::Administrator => api::DrainedBy::Administrator,
        DrainedBy::Agent => api::DrainedBy::Agent,
    }
}

fn agent(of: &ServerAgent) -> AgentStatus {
    let ServerAgent { standing, said, error, .. } = of.clone();
    AgentStatus { standing: standing.words(), down: standing.is_down(), said, error }
}

fn health(of: &ServerHealth) -> HealthStatus {
    HealthStatus {
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
