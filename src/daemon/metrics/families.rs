//! Metrics with labels, made for one scrape.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// Counters of this name; none yet.
///
/// # Errors
/// When a name or label is not valid: a bug.
pub(super) fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

/// Gauges of this name; none yet.
///
/// # Errors
/// When a name or label is not valid: a bug.
pub(super) fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}
