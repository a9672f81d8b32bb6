//! How transfers ended, and how long they took.

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Error, Registry};

use super::families as metric;
use crate::director::{Durations, Snapshot, TransferOutcome};

/// Adds both metrics. The first transfer of its verb and mode on a server begins the series of all its outcomes: all that there
/// could be are eighty for each server, and few are ever used.
///
/// # Errors
/// When a name or label is not valid: a bug.
pub fn register(registry: &Registry, snapshot: &Snapshot) -> Result<(), Error> {
    let transfers = metric::TRANSFERS.counters(registry)?;
    for (cluster, counted) in &snapshot.clusters {
        for (server, counters) in &counted.transfers {
            for (&(verb, mode, outcome), &count) in counters {
                let of = |outcome: TransferOutcome| {
                    let labels = [cluster.as_str(), server.as_str(), verb.name(), mode.name(), outcome.name()];
                    transfers.with_label_values(&labels)
                };
                TransferOutcome::ALL.into_iter().for_each(|outcome| drop(of(outcome)));
                of(outcome).inc_by(count);
            }
        }
    }
    registry.register(Box::new(TransferSeconds::of(snapshot)?))
}

/// The durations of each cluster as a histogram of Prometheus's.
struct TransferSeconds {
    desc: Desc,
    clusters: Vec<(String, Durations)>,
}

impl TransferSeconds {
    fn of(snapshot: &Snapshot) -> Result<Self, Error> {
        let metric::Metric { name, labels, help } = metric::TRANSFER_SECONDS;
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let desc = Desc::new(name.to_owned(), help.to_owned(), labels, Default::default())?;
        let clusters = snapshot.clusters.iter().map(|(name, counted)| (name.clone(), counted.transfer_seconds.clone()));
        Ok(Self { desc, clusters: clusters.collect() })
    }
}

impl Collector for TransferSeconds {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(self.clusters.iter().map(|(cluster, durations)| series(cluster, durations)).collect());
        vec![family]
    }
}

fn series(cluster: &str, durations: &Durations) -> Metric {
    let mut label = LabelPair::default();
    label.set_name("cluster".to_owned());
    label.set_value(cluster.to_owned());
    let bucket = |(bound, count): (std::time::Duration, u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound.as_secs_f64());
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(durations.cumulative().map(bucket).collect());
    histogram.set_sample_count(durations.count());
    histogram.set_sample_sum(durations.sum.as_secs_f64());
    let mut metric = Metric::from_label(vec![label]);
    metric.set_histogram(histogram);
    metric
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::{Encoder, TextEncoder};

    use super::*;
    use crate::director::Mode;
    use crate::ftp::Verb;

    fn text(snapshot: &Snapshot) -> String {
        let registry = Registry::new();
        register(&registry, snapshot).expect("good names");
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).expect("text");
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn a_cluster_without_a_transfer_has_an_empty_histogram() {
        let mut snapshot = Snapshot::default();
        snapshot.clusters.entry("lab".to_owned()).or_default();
        let text = text(&snapshot);
        assert!(text.contains("ftpdirector_transfer_seconds_bucket{cluster=\"lab\",le=\"3600\"} 0\n"), "{text}");
        assert!(text.contains("ftpdirector_transfer_seconds_count{cluster=\"lab\"} 0\n"), "{text}");
        assert!(!text.contains("transfers_total{"), "{text}");
    }

    #[test]
    fn the_first_transfer_of_its_kind_begins_all_its_outcomes() {
        let mut snapshot = Snapshot::default();
        let counted = snapshot.clusters.entry("lab".to_owned()).or_default();
        let of_server = counted.transfers.entry("rs1".to_owned()).or_default();
        of_server.insert((Verb::Retr, Mode::Passive, TransferOutcome::Refused), 2);
        for milliseconds in [5, 6, 30_000, 4_000_000] {
            counted.transfer_seconds.observe(Duration::from_millis(milliseconds));
        }
        let text = text(&snapshot);
        let count = |outcome: &str| {
            let labels = format!("cluster=\"lab\",mode=\"passive\",outcome=\"{outcome}\",server=\"rs1\",verb=\"RETR\"");
            let line =
                text.lines().find_map(|line| line.strip_prefix(&format!("ftpdirector_transfers_total{{{labels}}} ")));
            line.unwrap_or_else(|| panic!("{outcome} in\n{text}")).to_owned()
        };
        let counts = TransferOutcome::ALL.map(|outcome| count(outcome.name()));
        assert_eq!(counts, ["0", "0", "0", "2", "0", "0"]);
        for (bound, count) in [("0.005", 1), ("0.025", 2), ("10", 2), ("30", 3), ("3600", 3), ("+Inf", 4)] {
            let line = format!("ftpdirector_transfer_seconds_bucket{{cluster=\"lab\",le=\"{bound}\"}} {count}\n");
            assert!(text.contains(&line), "{line} in\n{text}");
        }
        assert!(text.contains("ftpdirector_transfer_seconds_sum{cluster=\"lab\"} 4030.011\n"), "{text}");
    }
}
