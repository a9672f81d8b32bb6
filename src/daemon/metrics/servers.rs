//! Weights and health checks, in the Prometheus text format.

use std::collections::BTreeSet;

use prometheus::{IntGaugeVec, Registry};

use super::families as metric;
use crate::config::{Config, ServerByName};
use crate::daemon::health::{ServerAgent, ServerHealth};
use crate::health::HealthState;
use crate::plan::availability::Availability;

/// What a scrape shows of the real servers.
pub struct Servers<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// Which servers are drained or down.
    pub availability: &'a Availability,
    /// What the health checks found.
    pub health: &'a [ServerHealth],
    /// What the agents said.
    pub agents: &'a [ServerAgent],
    /// What became of the servers that the file has by name, and how often a look-up gave no address.
    pub by_name: &'a [(ServerByName, u64)],
}

impl Servers<'_> {
    /// Adds their metrics to `registry`.
    ///
    /// # Errors
    /// When a name or label is not valid: a bug.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let weights = metric::SERVER_WEIGHT.gauges(registry)?;
        let mut seen = BTreeSet::new();
        for cluster in &self.config.clusters {
            for server in &cluster.real_servers {
                // A cluster that has left a VIP is there twice, the file's first: at the old VIP all weights are 0.
                if !seen.insert((&cluster.name, &server.name)) {
                    continue;
                }
                // The same for every VIP that the server serves.
                let Some(&vip) = cluster.vips.iter().find(|vip| vip.is_ipv4() == server.address.is_ipv4()) else {
                    continue;
                };
                let weight = self.availability.weight(cluster, vip, server);
                weights.with_label_values(&[&cluster.name, &server.name]).set(i64::from(weight));
            }
        }
        let up = metric::SERVER_UP.gauges(registry)?;
        self.agents(registry, &up)?;
        self.names(registry)?;
        let asked: BTreeSet<(&str, &str)> =
            self.agents.iter().map(|of| (of.cluster.as_str(), of.server.as_str())).collect();
        // Of the last probe, as blackbox_exporter does: a histogram per step and server would be thousands of series.
        let seconds = metric::HEALTH_CHECK_SECONDS.seconds(registry)?;
        let ends = metric::CERTIFICATE_EXPIRY.seconds(registry)?;
        let unreadable = metric::FILE_UNREADABLE.gauges(registry)?;
        for health in self.health {
            let (cluster, server) = (health.cluster.as_str(), health.server.as_str());
            let is_up = health.state != HealthState::Down;
            // Else the agent's word stands.
            if !is_up || !asked.contains(&(cluster, server)) {
                up.with_label_values(&[cluster, server]).set(i64::from(is_up));
            }
            unreadable.with_label_values(&[cluster, server]).set(i64::from(health.file_unreadable));
            if let Some(at) = health.certificate_ends {
                ends.with_label_values(&[cluster, server]).set(at);
            }
            for (step, took) in &health.steps {
                seconds.with_label_values(&[cluster, server, step.name()]).set(*took);
            }
        }
        Ok(())
    }

    fn names(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let resolved = metric::NAME_RESOLVED.gauges(registry)?;
        let failures = metric::NAME_FAILURES.counters(registry)?;
        for (ServerByName { cluster, server, trouble, .. }, failed) in self.by_name {
            resolved.with_label_values(&[cluster, server]).set(i64::from(trouble.is_none()));
            failures.with_label_values(&[cluster, server]).inc_by(*failed);
        }
        Ok(())
    }

    /// Where there are health checks too, both must find the server up.
    fn agents(&self, registry: &Registry, up: &IntGaugeVec) -> Result<(), prometheus::Error> {
        let answers = metric::AGENT_ANSWERS.gauges(registry)?;
        let unknown = metric::AGENT_UNKNOWN.counters(registry)?;
        for agent in self.agents {
            let labels = [agent.cluster.as_str(), agent.server.as_str()];
            up.with_label_values(&labels).set(i64::from(!agent.standing.is_down()));
            answers.with_label_values(&labels).set(i64::from(agent.error.is_none()));
            unknown.with_label_values(&labels).inc_by(agent.unknown);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, TextEncoder};

    use super::*;
    use crate::config::{self, Host};
    use crate::health::{AgentLine, AgentStanding, Step};

    #[test]
    fn weights_follow_the_overlay_and_steps_the_last_probe() {
        let file = "clusters:\n  - {name: lab, vips: [192.0.2.10], forwarding: nat, real_servers: [\n    \
                    {name: rs1, address: 10.0.0.1, weight: 7}, {name: rs2, address: 10.0.0.2, weight: 8}]}\n";
        let mut config = config::parse(file, "test.yaml").expect("a good file").config;
        // It has just moved here from another VIP.
        let mut quiescing = config.clusters[0].clone();
        quiescing.vips = vec!["192.0.2.9".parse().expect("an address")];
        quiescing.real_servers.iter_mut().for_each(|server| server.weight = 0);
        config.clusters.push(quiescing);
        let name = |server: &str| ("lab".to_owned(), server.to_owned());
        let availability = Availability { down: [name("rs1")].into(), ..Availability::default() };
        let health = ServerHealth {
            cluster: "lab".into(),
            server: "rs1".into(),
            address: "10.0.0.1:21".parse().expect("an address"),
            state: HealthState::Down,
            since: 0.0,
            last_step: Some(Step::Banner),
            last_error: Some("no answer within 3s".into()),
            steps: vec![(Step::Connect, 0.25), (Step::Banner, 2.75)],
            certificate_ends: Some(1_793_491_200.0),
            file_unreadable: true,
        };
        let standing = AgentStanding::default().after(&AgentLine::of("down"));
        let mut agent = ServerAgent::sample("lab", "rs2");
        (agent.standing, agent.error, agent.unknown) = (standing, Some("Connection refused".into()), 5);
        let registry = Registry::new();
        let host = Host { name: "ftp2.example.net".into(), ipv6: false };
        let trouble = Some("SERVFAIL".to_owned());
        let named =
            ServerByName { cluster: "lab".into(), server: "rs2".into(), host, address: None, usable: 0, trouble };
        Servers {
            config: &config,
            availability: &availability,
            health: &[health],
            agents: &[agent],
            by_name: &[(named, 3)],
        }
        .register(&registry)
        .expect("good names");
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).expect("text");
        let text = String::from_utf8(text).expect("UTF-8");
        for line in [
            r#"ftpdirector_server_weight{cluster="lab",server="rs1"} 0"#,
            r#"ftpdirector_server_weight{cluster="lab",server="rs2"} 8"#,
            r#"ftpdirector_server_up{cluster="lab",server="rs1"} 0"#,
            r#"ftpdirector_health_check_seconds{cluster="lab",server="rs1",step="banner"} 2.75"#,
            r#"ftpdirector_server_certificate_expiry_seconds{cluster="lab",server="rs1"} 1793491200"#,
            r#"ftpdirector_health_check_file_unreadable{cluster="lab",server="rs1"} 1"#,
            r#"ftpdirector_server_up{cluster="lab",server="rs2"} 0"#,
            r#"ftpdirector_agent_answers{cluster="lab",server="rs2"} 0"#,
            r#"ftpdirector_agent_unknown_words_total{cluster="lab",server="rs2"} 5"#,
            r#"ftpdirector_server_name_resolved{cluster="lab",server="rs2"} 0"#,
            r#"ftpdirector_server_name_failures_total{cluster="lab",server="rs2"} 3"#,
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
        assert!(!text.contains(r#"agent_answers{cluster="lab",server="rs1"}"#), "{text}");
    }
}
