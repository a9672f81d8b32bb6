//! A table of another version: which of its elements go into ours.

use std::time::Duration;

use crate::config::Config;
use crate::kernel::KernelError;
use crate::kernel::nftables::{Element, Elements};
use crate::kernel::read_state::{self, TableDump};
use crate::kernel::sets::ListedSet;
use crate::lvs::FirewallMark;
use crate::plan::exchange::{self, Exchanged, around};
use crate::plan::mark_index::{self, Indexes};
use crate::plan::reconcile::Plan;
use crate::state::Kept;
use crate::state::sets::{Field, Name, Set, Value};

/// Which sets are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// All but those of sessions' rows that are declared as ours: packets write some of them, between our look and our
    /// transaction too.
    Different,
    /// Every set of the table.
    All,
}

/// Sets go, and come again with what was in them, as far as it fits.
///
/// # Errors
/// When the kernel refuses to list.
fn sets_of(
    elements: &mut Elements,
    (which, sets): (Which, &[ListedSet]),
    desired: &exchange::StaticElements,
    active_port: impl Fn(FirewallMark) -> Option<u16>,
) -> Result<Exchanged, KernelError> {
    let mut all = around(&names(sets), desired);
    for set in Set::all() {
        let Some(standing) = sets.iter().find(|standing| standing.name == set.text()) else { continue };
        if which == Which::Different && standing.is_declared(set) {
            continue;
        }
        all.exchange.gone.push(standing.name.clone());
        if !set.is_static() && !set.is_dynamic() {
            continue;
        }
        let elements = read_state::listed(elements, set)?;
        let elements = elements.iter().filter(|element| !element.interval_end);
        let rows: Vec<_> = elements.map(|element| kept(set, standing, element, &active_port)).collect();
        if set.is_dynamic() {
            all.keep(set, rows);
        } else if rows.iter().all(Option::is_some) {
            all.exchange.rows.insert(set, rows.into_iter().flatten().collect());
        } else {
            all.fill(set, desired);
        }
    }
    Ok(all)
}

/// Writes the rules of a plan with `take` (or asks, with one that only checks). Where sets stand that are declared otherwise
/// the tables are exchanged: returns the transaction that was taken instead. nft and the kernel take some other
/// declarations in silence, and leave them (nft 1.1: `dynamic`; before Linux 6.5: `size`): so it is not asked alone.
///
/// # Errors
/// What was refused without an exchange, when that is refused, too.
pub(super) fn write(
    elements: &mut Elements,
    table: Option<&TableDump>,
    plan: &Plan,
    take: fn(&str) -> Result<(), KernelError>,
) -> Result<Option<(String, Exchanged)>, KernelError> {
    let (Some(plain), Some((rules, desired)), Some(table)) = (&plan.rules, &plan.ours, table) else {
        return Ok(None);
    };
    let other = |set: Set| table.sets.iter().any(|there| there.name == set.text() && !there.is_declared(set));
    let refused = if Set::all().filter(|set| set.is_dynamic()).any(other) {
        None
    } else {
        match take(plain) {
            Ok(()) => return Ok(None),
            Err(refused) => Some(refused),
        }
    };
    let each = if table.sets.is_empty() { &[][..] } else { &[Which::Different, Which::All] };
    for which in each {
        let port = |mark| active_port(&plan.config, &plan.indexes, mark);
        let exchanged = sets_of(elements, (*which, &table.sets), desired, port)?;
        let text = rules.exchange(&exchanged.exchange);
        if take(&text).is_ok() {
            return Ok(Some((text, exchanged)));
        }
    }
    refused.map_or_else(|| take(plain), Err).map(|()| None)
}

/// The names of sets that stand.
pub(super) fn names(sets: &[ListedSet]) -> Vec<String> {
    sets.iter().map(|set| set.name.clone()).collect()
}

/// An element of a set that stands, as it goes into ours.
fn kept(
    set: Set,
    standing: &ListedSet,
    element: &Element,
    active_port: &impl Fn(FirewallMark) -> Option<u16>,
) -> Option<Kept> {
    let (key, value) = if standing.like(set) {
        read_state::row(set, element)?
    } else {
        let older = older(set).filter(|older| standing.like_with(set, older))?;
        let (mut key, value) = read_state::row_with(set, older, element)?;
        let &[Value::Mark(mark)] = &value[..] else { return None };
        key.push(Value::Port(active_port(mark)?));
        (key, value)
    };
    // What never ends is no row of a session.
    let left = if set.is_dynamic() { Some(element.expires.filter(|left| *left > Duration::ZERO)?) } else { None };
    Some(Kept { key, value, left, counted: (element.packets, element.bytes) })
}

/// The key of an older version's set whose rows lack only the server's active port, at their end.
fn older(set: Set) -> Option<&'static [Field]> {
    match set.name.spec().key {
        [older @ .., Field::Port] if set.name == Name::Active => Some(older),
        _ => None,
    }
}

/// Where the server behind a data mark calls from, if from one port only.
fn active_port(config: &Config, indexes: &Indexes, mark: FirewallMark) -> Option<u16> {
    let index = mark_index::marks(config).data_index(mark)?;
    let placement = indexes.placements.iter().find(|placement| placement.index == index)?;
    let (cluster, server) = config.at(placement)?;
    let control = server.port.or_else(|| cluster.ports.first().copied())?;
    Some(server.calls_from(control))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::sets::Family;

    fn standing(name: &str, key: u32, value: u32) -> ListedSet {
        ListedSet { name: name.into(), key, value, ..ListedSet::default() }
    }

    const V4: Family = Family::V4;
    const MARK: u32 = 19;

    #[test]
    fn rows_are_kept_as_long_as_they_mean_the_same() {
        let set = Set { name: Name::Open, family: V4 };
        let element = Element {
            key: vec![10, 1, 0, 11, 1, 0, 0x73, 0x0f],
            expires: Some(Duration::from_secs(7)),
            ..Element::default()
        };
        let none = |_| None;
        let row = kept(set, &standing("open4", 7 << 6 | MARK, 0), &element, &none).expect("a row");
        assert_eq!((row.left, row.key.len()), (Some(Duration::from_secs(7)), 2));
        assert_eq!(kept(set, &standing("open4", 7 << 6 | 7, 0), &element, &none), None, "of another type");
        let eternal = Element { expires: None, ..element };
        assert_eq!(kept(set, &standing("open4", 7 << 6 | MARK, 0), &eternal, &none), None);
    }
}
