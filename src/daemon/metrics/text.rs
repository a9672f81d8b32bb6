//! The snapshot and the kernel's counters, in the Prometheus text format.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, Histogram, HistogramOpts, Registry, TextEncoder};

use super::counted::KernelCounters;
use super::families as metric;
use super::owners::SessionPart;
use super::servers::Servers;
use super::transfers;
use crate::daemon::view::History;
use crate::director::{Mode, Outcome, Snapshot};
use crate::ftp::{BlindReason, UnparsedReason};
use crate::lvs::ForwardingMethod;

/// The only metric that is observed while packets pass; all others are read when asked for.
///
/// # Panics
/// Never: the buckets are constant and valid.
#[must_use]
pub fn verdict_histogram() -> Histogram {
    let buckets = vec![1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25, 1.0, 2.0];
    let options = HistogramOpts::new(metric::VERDICT_SECONDS.name, metric::VERDICT_SECONDS.help);
    let histogram = Histogram::with_opts(options.buckets(buckets));
    #[expect(clippy::expect_used, reason = "constant, sorted buckets and a constant name")]
    histogram.expect("constant options")
}

/// The labels of a metric that has none.
const NONE: [&str; 0] = [];

/// Everything a scrape shows.
pub struct Scrape<'a> {
    /// What the director counted, and how many sessions, rows and packets there are.
    pub snapshot: &'a Snapshot,
    /// What nftables, IPVS and the queue counted.
    pub kernel: &'a KernelCounters,
    /// Time from a control packet's arrival to its verdict, in seconds.
    pub verdicts: &'a Histogram,
    /// The number of the NFQUEUE, for the label `queue`.
    pub queue: u16,
    /// Whether the last reload was good, when it was, and how many rows drifted.
    pub history: &'a History,
    /// Weights and health checks of the real servers.
    pub servers: Servers<'a>,
}

impl Scrape<'_> {
    /// The text exposition format, version 0.0.4.
    ///
    /// # Errors
    /// When a name or label is not valid: a bug.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(Shared(self.verdicts.clone())))?;
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        self.sessions(&registry)?;
        transfers::register(&registry, self.snapshot)?;
        self.clusters(&registry)?;
        self.data(&registry)?;
        self.ipvs(&registry)?;
        self.history(&registry)?;
        self.servers.register(&registry)?;
        let build = metric::BUILD_INFO.gauges(&registry)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    fn history(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        metric::KERNEL_DRIFT.counters(registry)?.with_label_values(&NONE).inc_by(self.history.drift);
        let refreshed = metric::REFRESHED.counters(registry)?;
        for cluster in self.snapshot.clusters.keys() {
            let count = self.history.refreshed.get(cluster).copied().unwrap_or_default();
            refreshed.with_label_values(&[cluster]).inc_by(count);
        }
        let good = metric::CONFIG_RELOAD_SUCCESS.gauges(registry)?;
        good.with_label_values(&NONE).set(i64::from(self.history.reload_good));
        let findings = metric::DOCTOR_FINDINGS.gauges(registry)?;
        for (severity, &count) in self.history.findings.iter().flatten() {
            findings.with_label_values(&[severity]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let info = metric::CONFIG_INFO.gauges(registry)?;
        info.with_label_values(&[&self.history.hash]).set(1);
        let at = metric::CONFIG_RELOAD_TIMESTAMP.seconds(registry)?;
        at.with_label_values(&NONE).set(self.history.reloaded_at);
        Ok(())
    }

    fn sessions(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let snapshot = self.snapshot;
        let sessions = metric::SESSIONS.gauges(registry)?;
        for ((cluster, server), &count) in &snapshot.sessions {
            sessions.with_label_values(&[cluster, server]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for (metric, now) in [
            (metric::PINHOLES, snapshot.pinholes),
            (metric::HELD_PACKETS, snapshot.held),
            (metric::KEPT_BYTES, snapshot.memory),
        ] {
            metric.gauges(registry)?.with_label_values(&NONE).set(i64::try_from(now).unwrap_or(i64::MAX));
        }
        for (metric, count) in [
            (metric::UNREADABLE_PACKETS, snapshot.unreadable),
            (metric::OVER_LIMIT, snapshot.over_limit),
            (metric::ROWS_FAILED, snapshot.rows_failed),
            (metric::HELD_DROPPED, snapshot.held_dropped),
            (metric::LATE_VERDICTS, snapshot.late_verdicts),
            (metric::LOG_OVERRUNS, snapshot.log_overruns),
            (metric::LANDINGS_LOGGED, snapshot.landings_logged),
            (metric::REPLIES_LOGGED, snapshot.replies_logged),
            (metric::TRANSFERS_UNLOGGED, snapshot.transfers_unlogged),
            (metric::DOORS_FULL, self.kernel.doors_full),
        ] {
            metric.counters(registry)?.with_label_values(&NONE).inc_by(count);
        }
        let dropped = metric::QUEUE_DROPPED.counters(registry)?;
        dropped.with_label_values(&[&self.queue.to_string()]).inc_by(self.kernel.queue_dropped);
        Ok(())
    }

    fn clusters(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let connections = metric::CONTROL_CONNECTIONS.counters(registry)?;
        let commands = metric::COMMANDS.counters(registry)?;
        let expectations = metric::EXPECTATIONS.counters(registry)?;
        let rewritten = metric::REPLIES_REWRITTEN.counters(registry)?;
        let unparsed = metric::UNPARSED.counters(registry)?;
        let blind = metric::BLIND_SESSIONS.counters(registry)?;
        // Every series begins at 0: a counter that begins at its first event would show no increase.
        for cluster in &self.servers.config.clusters {
            rewritten.with_label_values(&[&cluster.name]);
            for server in &cluster.real_servers {
                connections.with_label_values(&[&cluster.name, &server.name]);
            }
            for mode in Mode::ALL {
                for outcome in Outcome::ALL {
                    expectations.with_label_values(&[&cluster.name, mode.name(), outcome.name()]);
                }
            }
            for reason in UnparsedReason::ALL {
                unparsed.with_label_values(&[cluster.name.as_str(), reason.name()]);
            }
            for reason in BlindReason::ALL {
                blind.with_label_values(&[cluster.name.as_str(), reason.name()]);
            }
        }
        for (cluster, count) in &self.kernel.syn_data {
            unparsed.with_label_values(&[cluster.as_str(), "syn_data"]).inc_by(*count);
        }
        for (cluster, counted) in &self.snapshot.clusters {
            rewritten.with_label_values(&[cluster]).inc_by(counted.rewritten);
            for (server, &count) in &counted.control_connections {
                connections.with_label_values(&[cluster, server]).inc_by(count);
            }
            for (verb, &count) in &counted.commands {
                commands.with_label_values(&[cluster.as_str(), verb]).inc_by(count);
            }
            for (&(mode, outcome), &count) in &counted.expectations {
                let labels = [cluster.as_str(), mode.name(), outcome.name()];
                expectations.with_label_values(&labels).inc_by(count);
            }
            for (reason, &count) in &counted.unparsed {
                unparsed.with_label_values(&[cluster.as_str(), reason]).inc_by(count);
            }
            for (reason, &count) in &counted.blind {
                blind.with_label_values(&[cluster.as_str(), reason]).inc_by(count);
            }
        }
        Ok(())
    }

    fn data(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let data = metric::DATA_CONNECTIONS.counters(registry)?;
        for counted in &self.kernel.servers {
            let of = |result| data.with_label_values(&[counted.cluster.as_str(), counted.server.as_str(), result]);
            of("landed").inc_by(counted.landed);
            of("misdirected").inc_by(counted.misdirected);
        }
        let unexpected = metric::UNEXPECTED_DATA.counters(registry)?;
        for (cluster, count) in &self.kernel.unexpected {
            unexpected.with_label_values(&[cluster]).inc_by(*count);
        }
        let fragments = metric::FRAGMENTS_DROPPED.counters(registry)?;
        for (cluster, count) in &self.kernel.fragments {
            fragments.with_label_values(&[cluster]).inc_by(*count);
        }
        self.limited(registry)
    }

    fn limited(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let limited = metric::LIMITED.counters(registry)?;
        for cluster in &self.servers.config.clusters {
            for limit in ["client_sessions", "memory"] {
                limited.with_label_values(&[cluster.name.as_str(), limit]);
            }
            let left = self.history.idle_left.get(&cluster.name).copied().unwrap_or_default();
            limited.with_label_values(&[cluster.name.as_str(), "idle"]).inc_by(left);
        }
        for (cluster, limit, count) in &self.kernel.limited {
            limited.with_label_values(&[cluster.as_str(), limit]).inc_by(*count);
        }
        for (cluster, counted) in &self.snapshot.clusters {
            for (limit, &count) in &counted.limited {
                limited.with_label_values(&[cluster.as_str(), limit]).inc_by(count);
            }
        }
        Ok(())
    }

    fn ipvs(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let connections = metric::IPVS_CONNECTIONS.counters(registry)?;
        let bytes = metric::IPVS_BYTES.counters(registry)?;
        let packets = metric::IPVS_PACKETS.counters(registry)?;
        let full = metric::SERVER_FULL.gauges(registry)?;
        for of in &self.kernel.servers {
            let (cluster, server) = (of.cluster.as_str(), of.server.as_str());
            let found = self.servers.config.clusters.iter().find(|found| found.name == cluster);
            let replies_seen = found.is_some_and(|found| found.forwarding == ForwardingMethod::Nat);
            let named = found.and_then(|found| found.real_servers.iter().find(|named| named.name == server));
            if named.is_some_and(|named| named.max_sessions.is_some()) {
                full.with_label_values(&[cluster, server]).set(i64::from(of.full));
            }
            for (connection, traffic) in [(SessionPart::Control, &of.control), (SessionPart::Data, &of.data)] {
                let connection = connection.name();
                connections.with_label_values(&[cluster, server, connection]).inc_by(traffic.connections);
                let inwards = [cluster, server, connection, "in"];
                bytes.with_label_values(&inwards).inc_by(traffic.bytes_in);
                packets.with_label_values(&inwards).inc_by(traffic.packets_in);
                if replies_seen {
                    let outwards = [cluster, server, connection, "out"];
                    bytes.with_label_values(&outwards).inc_by(traffic.bytes_out);
                    packets.with_label_values(&outwards).inc_by(traffic.packets_out);
                }
            }
        }
        Ok(())
    }
}

/// The histogram outlives the registry of one scrape.
struct Shared(Histogram);

impl Collector for Shared {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config;
    use crate::daemon::health::{ServerAgent, ServerHealth};
    use crate::daemon::metrics::ServerCounters;
    use crate::director::TransferOutcome;
    use crate::ftp::Verb;
    use crate::health::{HealthState, Step};
    use crate::plan::availability::Availability;

    /// A scrape in which everything that is counted is counted once.
    fn scrape() -> String {
        let file = "clusters: [{name: lab, vips: [192.0.2.10], forwarding: nat, real_servers: [{name: rs1, address: 10.0.0.1, max_sessions: 9}]}]";
        let config = config::parse(file, "test.yaml").expect("a good file").config;
        let (lab, rs1) = (|| "lab".to_owned(), || "rs1".to_owned());
        let sessions = BTreeMap::from([((lab(), rs1()), 2)]);
        let mut snapshot = Snapshot { sessions, ..Snapshot::default() };
        let counted = snapshot.clusters.entry(lab()).or_default();
        counted.commands.insert("RETR", 3);
        let retr = (Verb::Retr, Mode::Passive, TransferOutcome::Complete);
        counted.transfers.insert(rs1(), BTreeMap::from([(retr, 3)]));
        let kernel = KernelCounters {
            servers: vec![ServerCounters { cluster: lab(), server: rs1(), landed: 5, ..ServerCounters::default() }],
            unexpected: vec![(lab(), 7)],
            fragments: vec![(lab(), 11)],
            ..KernelCounters::default()
        };
        let health = [ServerHealth {
            cluster: lab(),
            server: rs1(),
            address: "10.0.0.1:21".parse().expect("an address"),
            state: HealthState::Up,
            since: 0.0,
            last_step: None,
            last_error: None,
            steps: vec![(Step::Connect, 0.25)],
            certificate_ends: Some(1.0),
            file_unreadable: false,
        }];
        let agents = [ServerAgent::sample("lab", "rs1")];
        let availability = Availability::default();
        let host = config::Host { name: "rs1".into(), ipv6: false };
        let (address, usable) = (Some([10, 0, 0, 1].into()), 1);
        let by_name =
            [(config::ServerByName { cluster: lab(), server: rs1(), host, address, usable, trouble: None }, 2)];
        let availability = &availability;
        let servers = Servers { config: &config, availability, health: &health, agents: &agents, by_name: &by_name };
        let findings = Some(BTreeMap::from([("fatal", 1)]));
        let (verdicts, history) = (verdict_histogram(), History { findings, ..History::default() });
        let scrape = Scrape {
            snapshot: &snapshot,
            kernel: &kernel,
            verdicts: &verdicts,
            queue: 2100,
            history: &history,
            servers,
        };
        scrape.text().expect("good names")
    }

    #[test]
    fn every_metric_is_served_with_its_help_and_labels() {
        let text = scrape();
        for metric::Metric { name, labels, help } in metric::METRICS {
            assert!(text.contains(&format!("# HELP {name} {help}\n")), "no {name} in\n{text}");
            let series = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| !rest.starts_with("_b")));
            let series = series.unwrap_or_default();
            assert!(labels.iter().all(|label| series.contains(&format!("{label}=\""))), "{series}");
        }
    }
}
