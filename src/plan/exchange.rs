//! A table of another version: which of its elements go into ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::state::sets::{Key, Set};
use crate::state::{Change, Exchange, Kept, is_name};

/// Rows of sessions that are kept at most: nft needs about a kilobyte for each.
const MOST: usize = 100_000;

/// The elements that the static sets should have.
pub type StaticElements = BTreeMap<Set, BTreeMap<Key, Key>>;

/// How the tables are exchanged.
#[derive(Debug, Default)]
pub struct Exchanged {
    /// What the transaction does beside writing the rules.
    pub exchange: Exchange,
    /// Static sets that it fills as the configuration has them; the others go on as they were.
    pub filled: BTreeSet<Set>,
    /// Rows of sessions that go along. (Those in sets that stay are not counted.)
    pub kept: usize,
    /// Rows of sessions that do not go along, by set: they do not fit, or are too many.
    pub lost: BTreeMap<&'static str, usize>,
}

impl fmt::Display for Exchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kept, lost, .. } = self;
        write!(f, "the table of another version is replaced: {kept} rows of sessions are kept")?;
        if !lost.is_empty() {
            let each = lost.iter().map(|(set, count)| format!("{count} of {set}"));
            write!(
                f,
                ", {} are lost: the next data connection of these sessions may fail once",
                each.collect::<Vec<_>>().join(", ")
            )?;
        }
        Ok(())
    }
}

/// `sets` stand: those that we do not declare go; ours that do not stand are filled from the first moment on. Nothing
/// while it is not known which sets there are.
#[must_use]
pub fn around(sets: &[String], desired: &StaticElements) -> Exchanged {
    if sets.is_empty() {
        return Exchanged::default();
    }
    let declared: BTreeSet<_> = Set::all().map(Set::text).collect();
    let gone = sets.iter().filter(|set| !declared.contains(set.as_str()) && is_name(set));
    let gone = gone.cloned().collect();
    let mut all = Exchanged { exchange: Exchange { gone, ..Exchange::default() }, ..Exchanged::default() };
    for set in Set::all().filter(|set| set.is_static() && !sets.iter().any(|there| there == set.text())) {
        all.fill(set, desired);
    }
    all
}

impl Exchanged {
    /// Whether the transaction makes a change for an element unnecessary.
    #[must_use]
    pub fn fills(&self, change: &Change) -> bool {
        matches!(change, Change::AddElement(set, ..) | Change::DeleteElement(set, _) if self.filled.contains(set))
    }

    /// A static set comes as the configuration has it.
    pub fn fill(&mut self, set: Set, desired: &StaticElements) {
        let rows = desired.get(&set).into_iter().flatten();
        let kept =
            |(key, value): (&Key, &Key)| Kept { key: key.clone(), value: value.clone(), left: None, counted: (0, 0) };
        self.exchange.rows.insert(set, rows.map(kept).collect());
        self.filled.insert(set);
    }

    /// A set of sessions' rows comes with those that fit (`Some`), as many as there is room for.
    pub fn keep(&mut self, set: Set, rows: Vec<Option<Kept>>) {
        let found = rows.len();
        let rows: Vec<_> = rows.into_iter().flatten().take(MOST.saturating_sub(self.kept)).collect();
        self.kept += rows.len();
        if rows.len() < found {
            self.lost.insert(set.text(), found - rows.len());
        }
        self.exchange.rows.insert(set, rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::sets::{Family, Name, Value};

    #[test]
    fn an_unknown_set_goes_and_a_missing_one_is_filled() {
        let vips = Set { name: Name::Vips, family: Family::V4 };
        let row = vec![Value::Address([10, 0, 0, 100].into())];
        let desired: StaticElements = [(vips, [(row.clone(), vec![])].into())].into();
        let others = Set::all().filter(|set| *set != vips).map(|set| set.text().to_owned());
        let sets: Vec<_> = others.chain(["old".to_owned(), "a;b".to_owned()]).collect();
        let around = around(&sets, &desired);
        assert_eq!(around.exchange.gone, ["old"]);
        assert_eq!(around.filled, [vips].into());
        assert_eq!(around.exchange.rows[&vips][0].key, row);
        assert_eq!(super::around(&[], &desired).exchange, Exchange::default(), "nobody knows");
    }

    #[test]
    fn what_is_lost_is_counted() {
        let set = Set { name: Name::Open, family: Family::V4 };
        let row = Kept { key: vec![], value: vec![], left: None, counted: (0, 0) };
        let mut all = Exchanged::default();
        all.keep(set, vec![Some(row.clone()), None, None]);
        all.keep(Set { name: Name::Exact, family: Family::V4 }, vec![Some(row); MOST]);
        assert_eq!((all.kept, all.lost["open4"], all.lost["exact4"]), (MOST, 2, 1));
        assert!(all.to_string().contains("1 of exact4, 2 of open4 are lost"), "{all}");
    }
}
