//! `slow_start`: a server that comes back gets its weight in steps, so that a scheduler that counts connections does not send it
//! every new session at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::availability::{Availability, ServerName};
use super::start::Start;
use crate::config::{Config, RealServer};
use crate::time::Time;

impl Availability {
    /// Where the slow starts are at `now`. A server begins one that takes sessions by `self` and `config`, and took none by what
    /// was so before. Those of a cluster that is new do not: there is nobody to be spared.
    pub fn start_slowly(&mut self, config: &Config, before: (&Config, &Self), now: Time) {
        if self.starting.is_empty() && config.clusters.iter().all(|cluster| cluster.slow_start.is_none()) {
            return;
        }
        let (serving, served) = (self.serving(config), before.1.serving(before.0));
        let known: BTreeSet<&str> = before.0.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        self.starting.retain(|name, _| serving.contains_key(name));
        for cluster in &config.clusters {
            let Some(over) = cluster.slow_start else {
                self.starting.retain(|(of, _), _| *of != cluster.name);
                continue;
            };
            for server in &cluster.real_servers {
                let name = (cluster.name.clone(), server.name.clone());
                // At another address it is another machine.
                let was = served.get(&name);
                if was.is_some_and(|was| *was != server.address) {
                    self.starting.remove(&name);
                }
                let new = was != Some(&server.address) && serving.contains_key(&name);
                if new && known.contains(cluster.name.as_str()) {
                    self.starting.entry(name.clone()).or_insert_with(|| Start::at(now));
                }
                if let Some(start) = self.starting.remove(&name).and_then(|start| start.later(over, now)) {
                    self.starting.insert(name, start);
                }
            }
        }
    }

    /// The servers that take new sessions, and where.
    fn serving(&self, config: &Config) -> BTreeMap<ServerName, IpAddr> {
        let of_clusters = config.clusters.iter().flat_map(|cluster| {
            let serving =
                |server: &&RealServer| self.drained_by(cluster, server).is_none() && !self.is_down(cluster, server);
            let named = |server: &RealServer| ((cluster.name.clone(), server.name.clone()), server.address);
            cluster.real_servers.iter().filter(serving).map(named)
        });
        of_clusters.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::sample;
    use crate::lvs::ForwardingMethod;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    /// Three servers of weight 100, and 40 s to get there.
    fn config() -> Config {
        let mut config = sample::config(ForwardingMethod::Nat);
        config.clusters[0].slow_start = Some(Duration::from_secs(40));
        config.clusters[0].real_servers.iter_mut().for_each(|server| server.weight = 100);
        config
    }

    fn name(server: &str) -> ServerName {
        ("downloads".to_owned(), server.to_owned())
    }

    fn weights(config: &Config, availability: &Availability) -> Vec<u32> {
        let cluster = &config.clusters[0];
        let weight = |server| availability.weight(cluster, cluster.vips[0], server);
        cluster.real_servers.iter().map(weight).collect()
    }

    /// What becomes of `before` when `change` happens at `now`.
    fn after(config: &Config, before: &Availability, now: u64, change: impl FnOnce(&mut Availability)) -> Availability {
        let mut availability = before.clone();
        change(&mut availability);
        availability.start_slowly(config, (config, before), at(now));
        availability
    }

    #[test]
    fn who_comes_back_starts_slowly_and_nobody_else_does() {
        let config = config();
        let none = Availability::default();
        let down = after(&config, &none, 10, |all| all.down = [name("rs1")].into());
        assert_eq!(weights(&config, &down), [0, 100, 100]);
        let back = after(&config, &down, 20, |all| all.down.clear());
        assert_eq!(weights(&config, &back), [1, 100, 100]);
        let later = after(&config, &back, 40, |_| {});
        assert_eq!(weights(&config, &later), [50, 100, 100]);
        assert_eq!(after(&config, &back, 60, |_| {}), none);
        // It fails again meanwhile, and begins anew.
        let again = after(&config, &later, 41, |all| all.down = [name("rs1")].into());
        assert_eq!(weights(&config, &after(&config, &again, 50, |all| all.down.clear())), [1, 100, 100]);
        // An operator's drain, and an agent's.
        let drained = after(&config, &none, 10, |all| all.drained = [name("rs2")].into());
        assert_eq!(weights(&config, &after(&config, &drained, 11, |all| all.drained.clear())), [100, 1, 100]);
        let drained = after(&config, &none, 10, |all| all.asked = [(name("rs3"), 0)].into());
        let half = after(&config, &drained, 11, |all| all.asked = [(name("rs3"), 50)].into());
        assert_eq!(weights(&config, &half), [100, 100, 1]);
        assert_eq!(weights(&config, &after(&config, &half, 31, |_| {})), [100, 100, 25]);
    }

    #[test]
    fn a_reload_starts_what_is_new_in_a_cluster() {
        let config = config();
        let mut less = config.clone();
        less.clusters[0].real_servers.truncate(2);
        less.clusters[0].real_servers[0].weight = 0;
        let reloaded = |before: &Config, after: &Config| {
            let mut availability = Availability::default();
            availability.start_slowly(after, (before, &Availability::default()), at(5));
            weights(after, &availability)
        };
        assert_eq!(reloaded(&less, &config), [1, 100, 1]);
        let mut moved = config.clone();
        moved.clusters[0].real_servers[1].address = [10, 0, 0, 99].into();
        assert_eq!(reloaded(&config, &moved), [100, 1, 100], "another machine");
        let mut other = less.clone();
        other.clusters[0].name = "uploads".into();
        assert_eq!(reloaded(&other, &config), [100, 100, 100], "the whole cluster is new");
        let mut at_once = config.clone();
        at_once.clusters[0].slow_start = None;
        assert_eq!(reloaded(&less, &at_once), [100, 100, 100]);
    }

    #[test]
    fn a_key_that_goes_ends_the_start() {
        let mut config = config();
        let down = after(&config, &Availability::default(), 10, |all| all.down = [name("rs1")].into());
        let back = after(&config, &down, 20, |all| all.down.clear());
        config.clusters[0].slow_start = None;
        assert_eq!(weights(&config, &after(&config, &back, 21, |_| {})), [100, 100, 100]);
    }
}
