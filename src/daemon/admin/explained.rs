//! `explain`: what the packet thread remembers, beside what the configuration and the health checks say.

use std::time::Duration;

use super::facts::Belief;
use crate::api::{ExplainedEvent, Explanation};
use crate::config::{Cluster, RealServer};
use crate::director::Account;
use crate::explain::{Place, Standing, explain};
use crate::time::Time;

/// The answer to `GET /explain`; `wall` is the time of the answer since the epoch.
#[must_use]
pub fn explanation(asked: String, account: &Account, belief: &Belief, wall: Duration) -> Explanation {
    let found = explain(account, |index| place(belief, index), &closed(belief));
    let at = |at: Time| wall.saturating_sub(account.now.since(at)).as_secs_f64();
    let names = found.index.and_then(|index| place(belief, index)).map(|place| (place.cluster, place.server));
    let (cluster, server) = names.unzip();
    Explanation {
        asked,
        session: found.session,
        cluster,
        server,
        sessions: u64::try_from(found.sessions).unwrap_or(u64::MAX),
        events: found.lines.into_iter().map(|line| ExplainedEvent { at: at(line.at), text: line.text }).collect(),
        expected: found.expected,
        came: found.came,
        verdict: found.verdict.name().to_owned(),
        failed: found.verdict.is_failure(),
        sentence: found.sentence,
        cure: found.cure,
    }
}

/// What an index stands for; `None`: the configuration no longer has it.
fn place(belief: &Belief, index: u16) -> Option<Place> {
    let placement = belief.indexes.placements.iter().find(|placement| placement.index == index)?;
    let (cluster, server) = belief.config.at(placement)?;
    let control = server.port.or_else(|| cluster.ports.first().copied()).unwrap_or(21);
    let standing = if belief.availability.is_down(cluster, server) {
        Standing::Down(why_down(belief, cluster, server))
    } else if belief.availability.drained_by(cluster, server).is_some() {
        Standing::Drained
    } else {
        Standing::Up
    };
    Some(Place {
        cluster: cluster.name.clone(),
        server: server.name.clone(),
        vip: placement.vip,
        address: placement.address,
        forwarding: placement.forwarding,
        passive_ports: placement.passive_ports,
        public_ports: placement.public_ports,
        active_port: placement.calls_from(control),
        active_ports: placement.active_ports,
        timeout: cluster.pinhole_timeout,
        standing,
    })
}

/// What a server's agent said, or its health checks.
fn why_down(belief: &Belief, cluster: &Cluster, server: &RealServer) -> String {
    let names = (&cluster.name, &server.name);
    let agent = belief.agents.iter().find(|agent| (&agent.cluster, &agent.server) == names);
    if let Some(said) = agent.filter(|agent| agent.standing.is_down()).and_then(|agent| agent.said.as_ref()) {
        return format!("its agent says \"{said}\"");
    }
    let health = belief.health.iter().find(|health| (&health.cluster, &health.server) == names);
    health.map_or_else(String::new, |health| {
        let step = health.last_step.map_or("its health check", |step| step.name());
        format!("{step}: {}", health.last_error.as_deref().unwrap_or("no answer"))
    })
}

/// The clusters of which no server takes new sessions, with the reason.
fn closed(belief: &Belief) -> Vec<(String, String)> {
    let out = |cluster: &Cluster| {
        let down = cluster.real_servers.iter().filter(|server| belief.availability.is_down(cluster, server)).count();
        let willing = cluster.real_servers.iter().filter(|server| {
            let drained = belief.availability.drained_by(cluster, server).is_some();
            !drained && !belief.availability.is_down(cluster, server)
        });
        let drained = cluster.real_servers.len().saturating_sub(down);
        (willing.count() == 0).then(|| (cluster.name.clone(), format!("{down} down, {drained} drained")))
    };
    belief.config.clusters.iter().filter_map(out).collect()
}
