//! The snapshot and the kernel's counters, in the Prometheus text format.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, Histogram, HistogramOpts, IntGauge, Registry, TextEncoder};

use super::counted::KernelCounters;
use super::families::{counters, gauges};
use super::owners::Connection;
use super::servers::Servers;
use crate::daemon::view::History;
use crate::director::{Mode, Outcome, Snapshot};
use crate::ftp::{BlindReason, UnparsedReason};
use crate::lvs::ForwardingMethod;

/// The one metric that is observed while packets pass; all others are read when asked for.
///
/// # Panics
/// Never: the buckets are constant and valid.
#[must_use]
pub fn verdict_histogram() -> Histogram {
    let buckets = vec![1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25, 1.0, 2.0];
    let options = HistogramOpts::new(
        "ftpdirector_verdict_seconds",
        "From a control packet's arrival in the daemon to its verdict, the kernel's acknowledgement of its rows included.",
    );
    let histogram = Histogram::with_opts(options.buckets(buckets));
    #[expect(clippy::expect_used, reason = "constant, sorted buckets and a constant name")]
    histogram.expect("constant options")
}

/// Everything a scrape shows.
pub struct Scrape<'a> {
    /// The director's counters.
    pub snapshot: &'a Snapshot,
    /// The kernel's counters.
    pub kernel: &'a KernelCounters,
    /// The verdict latency.
    pub verdicts: &'a Histogram,
    /// The NFQUEUE number.
    pub queue: u16,
    /// Reloads and drift.
    pub history: &'a History,
    /// Weights and health.
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
        self.clusters(&registry)?;
        self.data(&registry)?;
        self.ipvs(&registry)?;
        self.history(&registry)?;
        self.servers.register(&registry)?;
        let build = gauges(&registry, "ftpdirector_build_info", "1, labelled with the version.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    fn history(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let help = "Rows found missing or changed by someone else and put right.";
        let drift = prometheus::IntCounter::new("ftpdirector_kernel_drift_total", help)?;
        drift.inc_by(self.history.drift);
        registry.register(Box::new(drift))?;
        let help = "Times that an idle control connection was kept alive in IPVS because its data connection lives.";
        let refreshed = counters(registry, "ftpdirector_refreshed_total", help, &["cluster"])?;
        for cluster in self.snapshot.clusters.keys() {
            let count = self.history.refreshed.get(cluster).copied().unwrap_or_default();
            refreshed.with_label_values(&[cluster]).inc_by(count);
        }
        let help = "1 if the last reload was good, 0 if the old configuration went on.";
        let good = IntGauge::new("ftpdirector_config_reload_success", help)?;
        good.set(i64::from(self.history.reload_good));
        registry.register(Box::new(good))?;
        let help = "When the configuration in force was read, seconds since the epoch.";
        let at = prometheus::Gauge::new("ftpdirector_config_reload_timestamp_seconds", help)?;
        at.set(self.history.reloaded_at);
        registry.register(Box::new(at))
    }

    fn sessions(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let help = "Control connections that are followed now.";
        let sessions = gauges(registry, "ftpdirector_sessions", help, &["cluster", "server"])?;
        for ((cluster, server), &count) in &self.snapshot.sessions {
            sessions.with_label_values(&[cluster, server]).set(whole(count));
        }
        for (name, help, count) in [
            ("ftpdirector_pinholes", "Dynamic rows of this process that stand now.", self.snapshot.pinholes),
            (
                "ftpdirector_held_packets",
                "Control packets that wait for a row or the rest of their line.",
                self.snapshot.held,
            ),
            (
                "ftpdirector_kept_bytes",
                "What is held and kept beside the sessions: packets that wait, beginnings of lines, edits. limits.memory bounds all but rewritten packets that wait for a row.",
                self.snapshot.memory,
            ),
        ] {
            let gauge = IntGauge::new(name, help)?;
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            registry.register(Box::new(gauge))?;
        }
        let snapshot = self.snapshot;
        for (name, help, count) in [
            (
                "ftpdirector_unreadable_packets_total",
                "Queued packets that are not whole TCP segments, or whose checksum is wrong.",
                snapshot.unreadable,
            ),
            (
                "ftpdirector_over_limit_total",
                "Control packets passed unread: limits.sessions was reached.",
                snapshot.over_limit,
            ),
            ("ftpdirector_rows_failed_total", "Pinholes that the kernel refused.", snapshot.rows_failed),
            (
                "ftpdirector_held_dropped_total",
                "Held control packets that were dropped; TCP repeats them.",
                snapshot.held_dropped,
            ),
            (
                "ftpdirector_late_verdicts_total",
                "Verdicts for packets that the kernel had dropped: their interface or a base chain went away.",
                snapshot.late_verdicts,
            ),
            (
                "ftpdirector_log_overruns_total",
                "Times that the log of landed data connections overflowed: some then count as expired though they came.",
                snapshot.log_overruns,
            ),
            (
                "ftpdirector_landings_logged_total",
                "First packets of data connections that the kernel told the daemon of: of many to one port it tells of some.",
                snapshot.landings_logged,
            ),
        ] {
            let counter = prometheus::IntCounter::new(name, help)?;
            counter.inc_by(count);
            registry.register(Box::new(counter))?;
        }
        let help = "PASV and EPSV that found no room for their row in open4 or its like: their data connections were not expected.";
        let full = prometheus::IntCounter::new("ftpdirector_doors_full_total", help)?;
        full.inc_by(self.kernel.doors_full);
        registry.register(Box::new(full))?;
        let help = "Control packets that the kernel dropped because the queue or its socket was full.";
        let dropped = counters(registry, "ftpdirector_queue_dropped_total", help, &["queue"])?;
        dropped.with_label_values(&[&self.queue.to_string()]).inc_by(self.kernel.queue_dropped);
        Ok(())
    }

    fn clusters(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let make = |name, help, labels: &[&str]| counters(registry, name, help, labels);
        let connections = make(
            "ftpdirector_control_connections_total",
            "Control connections first seen by this process.",
            &["cluster", "server"],
        )?;
        let commands = make("ftpdirector_commands_total", "FTP commands read.", &["cluster", "verb"])?;
        let help = "Data connections that were expected, by how that ended.";
        let expectations = make("ftpdirector_expectations_total", help, &["cluster", "mode", "result"])?;
        let help = "Replies whose address or port was rewritten.";
        let rewritten = make("ftpdirector_replies_rewritten_total", help, &["cluster"])?;
        let help = "Lines that were passed on without being understood; SYNs with data (syn_data), dropped.";
        let unparsed = make("ftpdirector_unparsed_total", help, &["cluster", "reason"])?;
        let help = "Sessions whose control connection could no longer be read.";
        let blind = make("ftpdirector_blind_sessions_total", help, &["cluster", "reason"])?;
        // From the beginning: what is counted first would be no increase.
        for cluster in &self.servers.config.clusters {
            rewritten.with_label_values(&[&cluster.name]);
            for server in &cluster.real_servers {
                connections.with_label_values(&[&cluster.name, &server.name]);
            }
            for mode in [Mode::Passive, Mode::Active] {
                for outcome in [Outcome::Used, Outcome::Expired, Outcome::Superseded, Outcome::Refused] {
                    expectations.with_label_values(&[&cluster.name, mode_label(mode), outcome_label(outcome)]);
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
                let labels = [cluster.as_str(), mode_label(mode), outcome_label(outcome)];
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
        let help = "First packets of data connections, counted in the kernel by where they really went.";
        let labels = ["cluster", "server", "result"];
        let data = counters(registry, "ftpdirector_data_connections_total", help, &labels)?;
        for counted in &self.kernel.servers {
            let of = |result| data.with_label_values(&[counted.cluster.as_str(), counted.server.as_str(), result]);
            of("landed").inc_by(counted.landed);
            of("misdirected").inc_by(counted.misdirected);
        }
        let help = "First packets of data connections that nobody expected.";
        let unexpected = counters(registry, "ftpdirector_unexpected_data_total", help, &["cluster"])?;
        for (cluster, count) in &self.kernel.unexpected {
            unexpected.with_label_values(&[cluster]).inc_by(*count);
        }
        let help = "Fragments to a control port: dropped, since what comes in pieces cannot be read.";
        let fragments = counters(registry, "ftpdirector_fragments_dropped_total", help, &["cluster"])?;
        for (cluster, count) in &self.kernel.fragments {
            fragments.with_label_values(&[cluster]).inc_by(*count);
        }
        self.limited(registry)
    }

    fn limited(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let help = "Over one of `limits`: control packets dropped (connection_packets, client_packets, and SYNs: client_connections; TCP repeats them) or passed unread (client_sessions), sessions that lost what was kept for them (memory); packets that passed because a limit had no place left to count them (full).";
        let limited = counters(registry, "ftpdirector_limited_total", help, &["cluster", "limit"])?;
        for cluster in &self.servers.config.clusters {
            for limit in ["client_sessions", "memory"] {
                limited.with_label_values(&[cluster.name.as_str(), limit]);
            }
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
        let help = "Connections that IPVS scheduled.";
        let labels = ["cluster", "server", "connection"];
        let connections = counters(registry, "ftpdirector_ipvs_connections_total", help, &labels)?;
        let help = "Bytes that IPVS forwarded, IP headers included; out (from the real server) in NAT only.";
        let labels = ["cluster", "server", "connection", "direction"];
        let bytes = counters(registry, "ftpdirector_ipvs_bytes_total", help, &labels)?;
        let help = "Packets that IPVS forwarded; out (from the real server) in NAT only.";
        let packets = counters(registry, "ftpdirector_ipvs_packets_total", help, &labels)?;
        for of in &self.kernel.servers {
            let (cluster, server) = (of.cluster.as_str(), of.server.as_str());
            let found = self.servers.config.clusters.iter().find(|found| found.name == cluster);
            let replies_seen = found.is_some_and(|found| found.forwarding == ForwardingMethod::Nat);
            for (connection, traffic) in [(Connection::Control, &of.control), (Connection::Data, &of.data)] {
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

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

const fn mode_label(mode: Mode) -> &'static str {
    match mode {
        Mode::Passive => "passive",
        Mode::Active => "active",
    }
}

const fn outcome_label(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Used => "used",
        Outcome::Expired => "expired",
        Outcome::Superseded => "superseded",
        Outcome::Refused => "refused",
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
