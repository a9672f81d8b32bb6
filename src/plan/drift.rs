//! What a look found to be put right: what someone else had changed (drift), and what was to be expected.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::reconcile::Plan;
use crate::lvs::ServiceKey;
use crate::state::{Change, LocalAddress};

/// What the look before knew would change by itself.
#[derive(Clone, Copy, Debug)]
pub struct Foreseen<'a> {
    /// Services and real servers that go when their last connection is gone.
    pub quiescing: &'a BTreeSet<(ServiceKey, SocketAddr)>,
    /// VIPs whose interface did not exist.
    pub absent: &'a [LocalAddress],
}

/// A row, rules or timeouts to be put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair<'a> {
    /// Drift: the timeouts of IPVS, where `kernel.timeouts` sets them.
    Timeouts,
    /// Drift: the rules, and how they differ.
    Rules(&'a [String]),
    /// Drift: so many elements are gone, with the table.
    Flushed(usize),
    /// Drift: this row was missing or changed.
    Row(&'a Change),
    /// No drift: the row's interface exists now.
    InterfaceCame(&'a Change),
    /// No drift: the row's last connection is gone.
    ConnectionsEnded(&'a Change),
}

impl Repair<'_> {
    /// How many rows another program had changed.
    #[must_use]
    pub fn drift(&self) -> u64 {
        match self {
            Self::Timeouts | Self::Rules(_) | Self::Row(_) => 1,
            Self::Flushed(elements) => u64::try_from(*elements).unwrap_or(u64::MAX),
            Self::InterfaceCame(_) | Self::ConnectionsEnded(_) => 0,
        }
    }
}

/// The repairs of a plan that a look made, in order.
#[must_use]
pub fn found<'a>(plan: &'a Plan, expected: Foreseen<'_>) -> Vec<Repair<'a>> {
    let mut all = Vec::new();
    all.extend(plan.timeouts.map(|_| Repair::Timeouts));
    all.extend(plan.rules.as_ref().map(|_| Repair::Rules(&plan.edited)));
    let flushed = |change: &Change| plan.flushed() && matches!(change, Change::AddElement(..));
    let elements = plan.changes.iter().filter(|change| flushed(change)).count();
    all.extend((elements > 0).then_some(Repair::Flushed(elements)));
    all.extend(plan.changes.iter().filter(|change| !flushed(change)).map(|change| classify(change, expected)));
    all
}

fn classify<'a>(change: &'a Change, expected: Foreseen<'_>) -> Repair<'a> {
    let Foreseen { quiescing, absent } = expected;
    match change {
        Change::AddAddress(to) if absent.contains(to) => Repair::InterfaceCame(change),
        Change::DeleteDestination(key, to) if quiescing.contains(&(*key, to.address)) => {
            Repair::ConnectionsEnded(change)
        }
        Change::DeleteService(key) if quiescing.iter().any(|(gone, _)| gone == key) => Repair::ConnectionsEnded(change),
        Change::DeleteAddress(_) => Repair::ConnectionsEnded(change),
        _ => Repair::Row(change),
    }
}
