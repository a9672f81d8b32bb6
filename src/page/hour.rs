//! What was counted in the last hour, minute by minute and cluster by cluster.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::time::Time;

/// How many minutes are kept.
pub const MINUTES: usize = 60;

/// Of how many clusters they are kept, the first of the file: 5 KB each.
pub const CLUSTERS: usize = 256;

const MINUTE: u64 = 60_000;

/// Something that is counted of each cluster. A new one: a row here and in [`Counter::ALL`], a color in `style.css`, a place in a
/// chart (`chart.rs`), and its count in [`Counts`] where the daemon takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Data connections that came as expected.
    Came,
    /// Expected data connections that did not come in time.
    Missing,
    /// What was never believed: a third party's address, a privileged port.
    Refused,
    /// First packets of data connections that left for another server.
    Misdirected,
    /// First packets of data connections that nobody expected, where somebody should have.
    Unexpected,
    /// Transfers that the server called complete.
    Complete,
    /// Transfers that began and failed: no data connection, broken off, an error of the server.
    Failed,
    /// Transfers that the server refused: no such file, no permission.
    Denied,
    /// Transfers whose end is not seen (DR, TUN).
    Unseen,
}

impl Counter {
    /// All of them, in the order of [`Counts`].
    pub const ALL: [Self; 9] = [
        Self::Came,
        Self::Missing,
        Self::Refused,
        Self::Misdirected,
        Self::Unexpected,
        Self::Complete,
        Self::Failed,
        Self::Denied,
        Self::Unseen,
    ];

    /// Those that should stay 0.
    pub const FAILURES: [Self; 4] = [Self::Missing, Self::Refused, Self::Misdirected, Self::Unexpected];
}

/// What every counter of one cluster says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Counter::ALL.len()]);

impl Counts {
    /// What one counter says.
    #[must_use]
    pub const fn of(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Adds to one counter.
    pub const fn add(&mut self, counter: Counter, count: u64) {
        let sum = &mut self.0[counter as usize];
        *sum = sum.saturating_add(count);
    }

    /// What was counted since `before`; a counter that has gone back has begun again.
    fn since(&self, before: &Self) -> Self {
        let mut counted = Self::default();
        for counter in Counter::ALL {
            let (now, before) = (self.of(counter), before.of(counter));
            counted.add(counter, if now < before { now } else { now - before });
        }
        counted
    }
}

/// What is known of one cluster's minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// What was counted in it.
    pub counts: Counts,
    /// Sessions at its end.
    pub sessions: u64,
}

/// The last hour of a cluster, the oldest minute first; `None` where nothing is known.
pub type LastHour = [Option<Minute>; MINUTES];

#[derive(Clone, Debug)]
struct Series {
    before: Counts,
    /// By the number of the minute at whose end they were taken.
    minutes: VecDeque<(u64, Minute)>,
}

/// The last hour of every cluster.
#[derive(Clone, Debug, Default)]
pub struct Hour(BTreeMap<String, Series>);

impl Hour {
    /// Takes what is counted at `now`, about once a minute: each cluster with its counters and sessions. What a cluster counted
    /// before it is first seen belongs to no minute; a cluster that is no longer there is forgotten.
    pub fn record<'a>(&mut self, now: Time, clusters: impl IntoIterator<Item = (&'a str, Counts, u64)>) {
        let number = now.as_millis() / MINUTE;
        let mut there = BTreeSet::new();
        for (name, counts, sessions) in clusters.into_iter().take(CLUSTERS) {
            // A cluster that has left a VIP is listed twice.
            if !there.insert(name) {
                continue;
            }
            let Some(series) = self.0.get_mut(name) else {
                self.0.insert(name.to_owned(), Series { before: counts, minutes: VecDeque::new() });
                continue;
            };
            let minute = Minute { counts: counts.since(&series.before), sessions };
            series.before = counts;
            series.take(number, minute);
        }
        self.0.retain(|name, _| there.contains(name.as_str()));
    }

    /// The hour before `now` of a cluster; `None` when nothing is kept of it.
    #[must_use]
    pub fn of(&self, cluster: &str, now: Time) -> Option<LastHour> {
        let (series, now) = (self.0.get(cluster)?, now.as_millis() / MINUTE);
        let mut hour = [None; MINUTES];
        for &(number, minute) in &series.minutes {
            let age = usize::try_from(now.saturating_sub(number)).unwrap_or(MINUTES);
            let place = MINUTES.checked_sub(1).and_then(|last| last.checked_sub(age));
            if let Some(place) = place.and_then(|place| hour.get_mut(place)) {
                *place = Some(minute);
            }
        }
        Some(hour)
    }
}

impl Series {
    fn take(&mut self, number: u64, minute: Minute) {
        match self.minutes.back_mut() {
            // Two looks in one minute are one.
            Some((last, known)) if *last == number => {
                Counter::ALL.iter().for_each(|&counter| known.counts.add(counter, minute.counts.of(counter)));
                known.sessions = minute.sessions;
            }
            _ => self.minutes.push_back((number, minute)),
        }
        while self.minutes.len() > MINUTES {
            self.minutes.pop_front();
        }
    }
}

/// What was counted in some minutes as a whole.
#[must_use]
pub fn total(minutes: &[Option<Minute>], counter: Counter) -> u64 {
    minutes.iter().flatten().map(|minute| minute.counts.of(counter)).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: u64) -> Time {
        // Never quite on time.
        Time::from_millis(minute * MINUTE + 7)
    }

    fn came(count: u64) -> Counts {
        let mut counts = Counts::default();
        counts.add(Counter::Came, count);
        counts
    }

    /// The minutes that are known, by their age, with what came in them.
    fn known(hour: &Hour, now: Time) -> Vec<(usize, u64)> {
        let hour = hour.of("a", now).expect("a cluster");
        let ages = hour.iter().rev().enumerate();
        ages.filter_map(|(age, minute)| Some((age, minute.as_ref()?.counts.of(Counter::Came)))).collect()
    }

    #[test]
    fn each_minute_has_what_was_counted_in_it() {
        let mut hour = Hour::default();
        // The process counted before anybody looked.
        for (minute, count) in [(0, 100), (1, 103), (2, 103), (4, 110)] {
            hour.record(at(minute), [("a", came(count), minute)]);
        }
        assert_eq!(known(&hour, at(4)), [(0, 7), (2, 0), (3, 3)]);
        assert_eq!(known(&hour, at(6)), [(2, 7), (4, 0), (5, 3)]);
        assert_eq!(hour.of("a", at(4)).expect("a cluster")[59].map(|minute| minute.sessions), Some(4));
        assert_eq!(total(&hour.of("a", at(4)).expect("a cluster"), Counter::Came), 10);
        // Two looks in one minute.
        hour.record(at(4), [("a", came(112), 9)]);
        assert_eq!(known(&hour, at(4))[0], (0, 9));
    }

    #[test]
    fn a_counter_that_goes_back_has_begun_again() {
        let mut hour = Hour::default();
        for (minute, count) in [(0, 100), (1, 105), (2, 3), (3, u64::MAX)] {
            hour.record(at(minute), [("a", came(count), 0)]);
        }
        assert_eq!(known(&hour, at(3)), [(0, u64::MAX - 3), (1, 3), (2, 5)]);
        assert_eq!(total(&hour.of("a", at(3)).expect("a cluster"), Counter::Came), u64::MAX);
    }

    #[test]
    fn an_hour_is_kept_of_so_many_clusters() {
        let mut hour = Hour::default();
        let names: Vec<String> = (0..1000).map(|number| format!("c{number}")).collect();
        for minute in 0..200 {
            hour.record(at(minute), names.iter().map(|name| (name.as_str(), came(minute), 0)));
        }
        assert_eq!(hour.0.len(), CLUSTERS);
        assert!(hour.0.values().all(|series| series.minutes.len() == MINUTES));
        assert!(hour.of("c0", at(199)).expect("kept").iter().all(Option::is_some));
        assert!(hour.of("c999", at(199)).is_none());
        // Long ago, or a clock that stands still.
        assert!(hour.of("c0", at(400)).expect("kept").iter().all(Option::is_none));
        assert!(hour.of("c0", at(0)).is_some());
        // A reload took all but one away; it comes again and begins anew.
        hour.record(at(200), [("c0", came(1), 0), ("c0", came(99), 0)]);
        assert_eq!(hour.0.len(), 1);
    }
}
