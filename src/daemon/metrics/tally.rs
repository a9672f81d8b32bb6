//! Counters that never go back, made of kernel counters that begin again whenever their row is made anew.
//!
//! A counter of ours is the sum of several rows (one a VIP and port). If one of them begins at zero again the sum falls to
//! the rest, and `rate()` takes the whole rest for news; so what was lost is remembered here.

use std::collections::BTreeMap;

/// `N` counters for each label, each the sum over the rows of that label.
#[derive(Debug)]
pub struct Tally<Row, Label, const N: usize> {
    /// What each row said last, and whose it was. One that a listing leaves out stays: a dump that others write to meanwhile
    /// may skip some.
    seen: BTreeMap<Row, (Label, [u64; N])>,
    totals: BTreeMap<Label, [u64; N]>,
}

impl<Row, Label, const N: usize> Default for Tally<Row, Label, N> {
    fn default() -> Self {
        Self { seen: BTreeMap::new(), totals: BTreeMap::new() }
    }
}

impl<Row: Ord, Label: Ord + Clone, const N: usize> Tally<Row, Label, N> {
    /// Takes in what the rows say now.
    pub fn follow(&mut self, rows: impl IntoIterator<Item = (Row, Label, [u64; N])>) {
        for (row, label, now) in rows {
            let before = self.seen.get(&row).map_or([0; N], |(_, before)| *before);
            let began_again = now.iter().zip(&before).any(|(now, before)| now < before);
            let before = if began_again { [0; N] } else { before };
            let total = self.totals.entry(label.clone()).or_insert([0; N]);
            for ((total, now), before) in total.iter_mut().zip(now).zip(before) {
                *total = total.saturating_add(now - before);
            }
            self.seen.insert(row, (label, now));
        }
    }

    /// The counters of a label: zero before its first row.
    pub fn of(&self, label: &Label) -> [u64; N] {
        self.totals.get(label).copied().unwrap_or([0; N])
    }

    /// Forgets the labels that are no longer wanted.
    pub fn retain(&mut self, wanted: impl Fn(&Label) -> bool) {
        self.totals.retain(|label, _| wanted(label));
        self.seen.retain(|_, (label, _)| wanted(label));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_begins_again_takes_nothing_away() {
        let mut tally = Tally::<&str, &str, 2>::default();
        tally.follow([("vip1", "rs1", [5, 500]), ("vip2", "rs1", [7, 700]), ("vip1b", "rs2", [1, 1])]);
        assert_eq!(tally.of(&"rs1"), [12, 1200]);
        // vip2's service was deleted and made anew, and has already served a connection.
        tally.follow([("vip1", "rs1", [6, 600]), ("vip2", "rs1", [1, 50])]);
        assert_eq!(tally.of(&"rs1"), [14, 1350]);
        // A listing that leaves one out says nothing of it.
        tally.follow([("vip1", "rs1", [6, 600])]);
        tally.follow([("vip1", "rs1", [6, 600]), ("vip2", "rs1", [4, 110])]);
        assert_eq!(tally.of(&"rs1"), [17, 1410]);
        assert_eq!(tally.of(&"rs2"), [1, 1]);
        // Begun again and by bytes past what it was: connections tell.
        tally.follow([("vip1", "rs1", [2, 9000])]);
        assert_eq!(tally.of(&"rs1"), [19, 10_410]);
        tally.retain(|label| *label == "rs1");
        assert_eq!((tally.of(&"rs1"), tally.of(&"rs2")), ([19, 10_410], [0, 0]));
    }
}
