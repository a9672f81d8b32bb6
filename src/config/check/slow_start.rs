//! `slow_start`: where a lower weight changes nothing.

use super::checker::One;

/// Schedulers that ask for no weights but 0, with one each that does.
const UNWEIGHTED: [(&str, &str); 3] = [("rr", "wrr"), ("lc", "wlc"), ("dh", "mh")];

/// The key in one cluster.
pub(super) fn within(one: &One<'_, '_, '_>) {
    if one.cluster.slow_start.is_none() {
        return;
    }
    let (path, scheduler) = (one.path("slow_start"), one.cluster.scheduler.as_str());
    let unweighted = UNWEIGHTED.iter().find(|(name, _)| *name == scheduler);
    if let Some((_, weighted)) = unweighted.filter(|_| one.sound("scheduler")) {
        let what = format!("the scheduler {scheduler} asks for no weights: a server gets its whole part at once");
        one.warning(&path, what, format!("`scheduler: {weighted}`, or no slow_start"));
        return;
    }
    let servers = &one.cluster.real_servers;
    let small = servers.iter().find(|server| server.weight == 1).filter(|_| servers.len() > 1);
    if let Some(server) = small.filter(|_| one.servers_sound("weight")) {
        let what = format!("{} has weight 1: below that there is only 0, and no room to grow", server.name);
        one.warning(&path, what, "larger weights, like 100 for each server");
    }
}
