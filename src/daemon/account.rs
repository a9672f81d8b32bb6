//! What the daemon does to the kernel's rows, as lines of its log.

use tracing::{debug, info, warn};

use crate::config::Config;
use crate::plan::availability::Availability;
use crate::plan::drift::Repair;
use crate::plan::reconcile::Plan;
use crate::state::Change;

/// What was changed, as commands.
pub fn changes(plan: &Plan) {
    rules(plan);
    plan.words().for_each(|words| info!("{words}"));
}

/// The same, where servers only have another part of their weight than a while ago.
pub fn steps(plan: &Plan) {
    rules(plan);
    for words in plan.words() {
        if words.starts_with("ipvsadm -e ") { debug!("{words}") } else { info!("{words}") }
    }
}

fn rules(plan: &Plan) {
    if plan.rules.is_some() {
        info!("nft: rules of table inet ftpdirector written");
    }
}

/// Slow starts that begin or have come to their end.
pub fn starts(file: &Config, before: &Availability, after: &Availability) {
    for (cluster, server) in after.starting.keys().filter(|name| !before.starting.contains_key(*name)) {
        let of = file.clusters.iter().find(|of| of.name == *cluster);
        let over = of.and_then(|of| of.slow_start).unwrap_or_default();
        info!(cluster, server, "the server starts slowly: it has its whole weight in {over:?}");
    }
    for (cluster, server) in before.starting.keys().filter(|name| !after.starting.contains_key(*name)) {
        info!(cluster, server, "the slow start is over");
    }
}

/// What was put right.
pub fn repair(found: &Repair<'_>) {
    match found {
        Repair::Timeouts => warn!("another program changed the IPVS timeouts: set again"),
        Repair::Rules(edited) => {
            let edited = edited.join("; ");
            warn!("another program changed the rules of table inet ftpdirector ({edited}): written again");
        }
        Repair::Flushed(elements) => {
            warn!("another program emptied table inet ftpdirector: {elements} elements written again")
        }
        Repair::InterfaceCame(change) => info!("{change}: the interface exists now"),
        Repair::ConnectionsEnded(change) => info!("{change}: the last connection has ended"),
        Repair::Row(change @ Change::EditDestination(..)) => {
            warn!("put right: {change} (to take a server out by hand: ftpdirector drain CLUSTER/SERVER)");
        }
        Repair::Row(change) => warn!("put right: {change}"),
    }
}
