//! A table of another version: what of it goes into ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::{Kernel, Plan};
use crate::config::Config;
use crate::kernel::KernelError;
use crate::kernel::actual;
use crate::kernel::elements::{Element, Elements};
use crate::kernel::sets::Standing;
use crate::lvs::FirewallMark;
use crate::plan::mark_index;
use crate::plan::mark_index::Indexes;
use crate::state::sets::{Field, Key, Name, Set, Value};
use crate::state::{Change, Exchange, Kept, is_name};

/// Rows of sessions that are kept at most: nft needs about a kilobyte for each.
const MOST: usize = 100_000;

/// The elements that the static sets should have.
pub type Desired = BTreeMap<Set, BTreeMap<Key, Key>>;

/// How the tables are exchanged.
#[derive(Debug, Default)]
pub struct Exchanged {
    /// What the transaction does beside writing the rules.
    pub exchange: Exchange,
    /// Static sets that it fills as the configuration has them; the others go on as they were.
    pub filled: BTreeSet<Set>,
    /// Rows of sessions that go along. (Those in sets that stay are not counted.)
    pub kept: usize,
    /// Those that are not, by set: they do not fit, or are too many.
    pub lost: BTreeMap<&'static str, usize>,
}

impl fmt::Display for Exchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kept, lost, .. } = self;
        write!(f, "the table of another version is exchanged: {kept} rows of sessions went along")?;
        if !lost.is_empty() {
            let each = lost.iter().map(|(set, count)| format!("{count} of {set}"));
            write!(f, ", {} are not: their next data connection may fail once", each.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

/// Sets that we do not declare go; ours that do not stand are filled from the first moment on. Nothing where nobody knows
/// which sets there are.
#[must_use]
pub(super) fn around(sets: &[Standing], desired: &Desired) -> Exchanged {
    if sets.is_empty() {
        return Exchanged::default();
    }
    let declared: BTreeSet<_> = Set::all().map(Set::text).collect();
    let gone = sets.iter().filter(|set| !declared.contains(set.name.as_str()) && is_name(&set.name));
    let gone = gone.map(|set| set.name.clone()).collect();
    let mut all = Exchanged { exchange: Exchange { gone, ..Exchange::default() }, ..Exchanged::default() };
    for set in Set::all().filter(|set| set.is_static() && !sets.iter().any(|there| there.name == set.text())) {
        all.fill(set, desired);
    }
    all
}

/// Which sets are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// All but those of sessions' rows that are declared as ours: packets write some of them, between our look and our
    /// transaction too.
    Different,
    /// All.
    All,
}

/// Sets go, and come again with what was in them, as far as it fits.
///
/// # Errors
/// When the kernel refuses to list.
fn sets_of(
    elements: &mut Elements,
    (which, sets): (Which, &[Standing]),
    desired: &Desired,
    active_port: impl Fn(FirewallMark) -> Option<u16>,
) -> Result<Exchanged, KernelError> {
    let mut all = around(sets, desired);
    for set in Set::all() {
        let Some(standing) = sets.iter().find(|standing| standing.name == set.text()) else { continue };
        if which == Which::Different && standing.is_declared(set) {
            continue;
        }
        all.exchange.gone.push(standing.name.clone());
        if !set.is_static() && !set.is_dynamic() {
            continue;
        }
        let elements = actual::listed(elements, set)?;
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

impl Kernel {
    /// Writes the rules of a plan with `take` (or asks, with one that only checks). Where sets stand that are declared otherwise
    /// the tables are exchanged: returns the transaction that was taken instead. nft and the kernel take some other
    /// declarations in silence, and leave them (nft 1.1: `dynamic`; before Linux 6.5: `size`): so it is not asked alone.
    ///
    /// # Errors
    /// What was refused without an exchange, when that is refused, too.
    pub(super) fn write(
        &mut self,
        plan: &Plan,
        take: fn(&str) -> Result<(), KernelError>,
    ) -> Result<Option<(String, Exchanged)>, KernelError> {
        let (Some(plain), Some((rules, desired)), Some(table)) = (&plan.rules, &plan.ours, &self.table) else {
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
            let exchanged = sets_of(&mut self.elements, (*which, &table.sets), desired, port)?;
            let text = rules.exchange(&exchanged.exchange);
            if take(&text).is_ok() {
                return Ok(Some((text, exchanged)));
            }
        }
        refused.map_or_else(|| take(plain), Err).map(|()| None)
    }
}

impl Exchanged {
    /// Whether the transaction makes a change for an element unnecessary.
    #[must_use]
    pub fn fills(&self, change: &Change) -> bool {
        matches!(change, Change::AddElement(set, ..) | Change::DeleteElement(set, _) if self.filled.contains(set))
    }

    fn fill(&mut self, set: Set, desired: &Desired) {
        let rows = desired.get(&set).into_iter().flatten();
        let kept =
            |(key, value): (&Key, &Key)| Kept { key: key.clone(), value: value.clone(), left: None, counted: (0, 0) };
        self.exchange.rows.insert(set, rows.map(kept).collect());
        self.filled.insert(set);
    }

    fn keep(&mut self, set: Set, rows: Vec<Option<Kept>>) {
        let found = rows.len();
        let rows: Vec<_> = rows.into_iter().flatten().take(MOST.saturating_sub(self.kept)).collect();
        self.kept += rows.len();
        if rows.len() < found {
            self.lost.insert(set.text(), found - rows.len());
        }
        self.exchange.rows.insert(set, rows);
    }
}

/// An element of a set that stands, as it goes into ours.
fn kept(
    set: Set,
    standing: &Standing,
    element: &Element,
    active_port: &impl Fn(FirewallMark) -> Option<u16>,
) -> Option<Kept> {
    let (key, value) = if standing.like(set) {
        actual::row(set, element)?
    } else {
        let older = older(set).filter(|older| standing.like_with(set, older))?;
        let (mut key, value) = actual::row_with(set, older, element)?;
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
    let cluster = config.clusters.get(placement.cluster)?;
    let server = cluster.real_servers.get(placement.server)?;
    let control = server.port.or_else(|| cluster.ports.first().copied())?;
    Some(server.active_port.unwrap_or_else(|| control.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::sets::Family;

    fn standing(name: &str, key: u32, value: u32) -> Standing {
        Standing { name: name.into(), key, value, ..Standing::default() }
    }

    const V4: Family = Family::V4;
    const MARK: u32 = 19;

    #[test]
    fn an_unknown_set_goes_and_a_missing_one_is_filled() {
        let vips = Set { name: Name::Vips, family: V4 };
        let row = vec![Value::Address([10, 0, 0, 100].into())];
        let desired: Desired = [(vips, [(row.clone(), vec![])].into())].into();
        let others = Set::all().filter(|set| *set != vips).map(|set| standing(set.text(), 0, 0));
        let sets: Vec<_> = others.chain([standing("old", 0, 0), standing("a;b", 0, 0)]).collect();
        let around = around(&sets, &desired);
        assert_eq!(around.exchange.gone, ["old"]);
        assert_eq!(around.filled, [vips].into());
        assert_eq!(around.exchange.rows[&vips][0].key, row);
        assert_eq!(super::around(&[], &desired).exchange, Exchange::default(), "nobody knows");
    }

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

    #[test]
    fn what_is_lost_is_counted() {
        let set = Set { name: Name::Open, family: V4 };
        let row = Kept { key: vec![], value: vec![], left: None, counted: (0, 0) };
        let mut all = Exchanged::default();
        all.keep(set, vec![Some(row.clone()), None, None]);
        all.keep(Set { name: Name::Exact, family: V4 }, vec![Some(row); MOST]);
        assert_eq!((all.kept, all.lost["open4"], all.lost["exact4"]), (MOST, 2, 1));
        assert!(all.to_string().contains("1 of exact4, 2 of open4 are not"), "{all}");
    }
}
