//! From the configuration to what the director needs.

use std::net::{Ipv4Addr, SocketAddr};

use super::advertised::Advertised;
use super::mark_index::{self, Indexes};
use crate::config::{Cluster, Config};
use crate::director::{self, Policies, SessionLimits, Setup};
use crate::ftp::{Policy, Replies};
use crate::lvs::ForwardingMethod;

/// The director's view of a configuration. `services` are other programs' services at the VIPs.
#[must_use]
pub fn setup(config: &Config, indexes: &Indexes, advertised: &Advertised, services: &[SocketAddr]) -> Setup {
    let placements = indexes.placements.iter().filter_map(|placement| {
        let cluster = config.clusters.get(placement.cluster)?;
        let address = advertised.address(&cluster.advertise, placement.vip);
        let explicit = policy(config, cluster, address);
        Some((*placement, Policies { implicit: Policy { implicit_tls: true, ..explicit.clone() }, explicit }))
    });
    Setup {
        marks: mark_index::marks(config),
        clusters: config.clusters.iter().map(cluster).collect(),
        placements: placements.collect(),
        limits: SessionLimits {
            sessions: config.limits.sessions,
            client_sessions: config.limits.client_sessions,
            memory: config.limits.memory,
        },
        services: services.to_vec(),
        idle: config.kernel.tcp_timeout(),
    }
}

fn cluster(cluster: &Cluster) -> director::ClusterSetup {
    director::ClusterSetup {
        name: cluster.name.clone(),
        servers: cluster.real_servers.iter().map(|server| server.name.clone()).collect(),
        pinhole_timeout: cluster.pinhole_timeout,
    }
}

fn policy(config: &Config, cluster: &Cluster, advertise: Option<Ipv4Addr>) -> Policy {
    let seen = cluster.forwarding == ForwardingMethod::Nat;
    Policy {
        replies: if seen { Replies::Seen } else { Replies::Unseen },
        advertise: advertise.filter(|_| seen),
        bounce: cluster.bounce,
        line_limit: config.limits.line,
        implicit_tls: false,
        names: config.log.names,
        public_ports: seen && cluster.public_ports.is_some(),
    }
}
