//! When which name is looked up, and what is known of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::config::{Answers, Host};
use crate::time::Time;

/// Bounds of the pause between two look-ups of a name, whatever the TTL: 0 says that an answer is not to be kept.
pub const SHORTEST: Duration = Duration::from_secs(5);
/// See [`SHORTEST`].
pub const LONGEST: Duration = Duration::from_secs(3600);

/// Pause after a look-up that gave no address.
pub const AGAIN: Duration = Duration::from_secs(10);

/// The names of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeMap<Host, Known>);

/// What is known of a name.
#[derive(Clone, Debug)]
struct Known {
    /// What its last look-up found; `None`: none is over yet.
    answer: Option<Result<Vec<IpAddr>, String>>,
    /// When it is looked up next; `None`: a look-up is under way.
    next: Option<Time>,
    /// Whether it is to be looked up at once when the one under way is over: the answer may be older than the question.
    again: bool,
    /// Whether it was looked up since that was last asked for.
    fresh: bool,
    /// Look-ups that gave no address.
    failures: u64,
}

impl Names {
    /// These are the names from now on. New ones are due at once; what is known of others is forgotten.
    pub fn configure(&mut self, hosts: BTreeSet<Host>, now: Time) {
        let new = || Known { answer: None, next: Some(now), again: false, fresh: false, failures: 0 };
        let mut old = std::mem::take(&mut self.0);
        self.0 = hosts.into_iter().map(|host| old.remove_entry(&host).unwrap_or_else(|| (host, new()))).collect();
    }

    /// Every name is due now, whatever its TTL: for a reload.
    pub fn refresh(&mut self, now: Time) {
        for known in self.0.values_mut() {
            known.again = known.next.is_none();
            known.fresh = false;
            known.next = known.next.map(|_| now);
        }
    }

    /// At most so many names that are due, those that wait longest first: names that nobody answers for must not keep others from their
    /// turn. They are under way from now on.
    pub fn due(&mut self, now: Time, most: usize) -> Vec<Host> {
        let mut due: Vec<_> =
            self.0.iter_mut().filter(|(_, known)| known.next.is_some_and(|next| next <= now)).collect();
        due.sort_by_key(|(_, known)| known.next);
        let due = due.into_iter().take(most);
        due.map(|(host, known)| {
            known.next = None;
            host.clone()
        })
        .collect()
    }

    /// When the next name is due; `None`: all are under way, or there is none.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        self.0.values().filter_map(|known| known.next).min()
    }

    /// A look-up is over: addresses and their TTL, or why there are none. Returns whether anything else than before is known.
    pub fn learn(&mut self, host: &Host, found: Result<(Vec<IpAddr>, Duration), String>, now: Time) -> bool {
        let Some(known) = self.0.get_mut(host) else { return false };
        let pause = found.as_ref().map_or(AGAIN, |(_, ttl)| (*ttl).clamp(SHORTEST, LONGEST));
        let again = std::mem::take(&mut known.again);
        (known.next, known.fresh) = (Some(if again { now } else { now + pause }), !again);
        known.failures = known.failures.saturating_add(u64::from(found.is_err()));
        let answer = Some(found.map(|(addresses, _)| addresses));
        let other = known.answer != answer;
        known.answer = answer;
        other
    }

    /// Whether every name was looked up since it was new, or since the last [`Names::refresh`].
    #[must_use]
    pub fn fresh(&self) -> bool {
        self.0.values().all(|known| known.fresh)
    }

    /// What the look-ups found.
    #[must_use]
    pub fn answers(&self) -> Answers {
        self.0.iter().filter_map(|(host, known)| Some((host.clone(), known.answer.clone()?))).collect()
    }

    /// How many look-ups of a name gave no address, since it is one of the names.
    #[must_use]
    pub fn failures(&self, host: &Host) -> u64 {
        self.0.get(host).map_or(0, |known| known.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Host {
        Host { name: name.into(), ipv6: false }
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn found(last: u8, ttl: u64) -> Result<(Vec<IpAddr>, Duration), String> {
        Ok((vec![[10, 0, 0, last].into()], Duration::from_secs(ttl)))
    }

    fn names(names: &[&str]) -> Names {
        let mut all = Names::default();
        all.configure(names.iter().map(|name| host(name)).collect(), at(0));
        all
    }

    #[test]
    fn a_name_is_looked_up_again_when_its_ttl_is_over() {
        for (ttl, next) in [(0, 5), (5, 5), (300, 300), (86_400, 3600)] {
            let mut names = names(&["a"]);
            assert_eq!(names.due(at(0), 9), [host("a")]);
            assert_eq!((names.due(at(0), 9), names.next()), (vec![], None), "it is under way");
            assert!(names.learn(&host("a"), found(1, ttl), at(0)));
            assert_eq!(names.next(), Some(at(next)), "{ttl}");
            assert!(names.due(at(next - 1), 9).is_empty());
            assert_eq!(names.due(at(next), 9), [host("a")]);
            assert!(!names.learn(&host("a"), found(1, ttl), at(next)), "the same again");
            assert_eq!(names.due(at(next + next), 9), [host("a")]);
            assert!(names.learn(&host("a"), found(2, ttl), at(next + next)));
        }
    }

    #[test]
    fn failures_are_counted_and_tried_again() {
        let mut names = names(&["a", "b"]);
        assert_eq!(names.due(at(0), 1), [host("a")], "no more than asked for");
        assert!(names.learn(&host("a"), Err("SERVFAIL".into()), at(15)));
        assert_eq!((names.failures(&host("a")), names.failures(&host("b"))), (1, 0));
        assert_eq!(names.due(at(15), 9), [host("b")]);
        names.learn(&host("b"), found(2, 60), at(15));
        for (round, now) in [25, 35, 45].into_iter().enumerate() {
            assert!(names.due(at(now - 1), 9).is_empty());
            assert_eq!(names.due(at(now), 9), [host("a")]);
            assert!(!names.learn(&host("a"), Err("SERVFAIL".into()), at(now)), "nothing new");
            assert_eq!(names.failures(&host("a")), round as u64 + 2);
        }
        assert_eq!(names.due(at(55), 9), [host("a")]);
        assert!(names.learn(&host("a"), found(1, 60), at(55)));
        assert_eq!(
            names.answers(),
            Answers::from([(host("a"), Ok(vec![[10, 0, 0, 1].into()])), (host("b"), Ok(vec![[10, 0, 0, 2].into()]))])
        );
        assert_eq!(names.failures(&host("a")), 4);
    }

    #[test]
    fn names_that_nobody_answers_for_keep_no_other_from_its_turn() {
        let mut names = names(&["a", "b", "c", "d", "e"]);
        let mut asked = BTreeSet::new();
        // Two at a time, 15 s each, and never an answer.
        for now in (0..60).step_by(15) {
            for host in names.due(at(now), 2) {
                names.learn(&host, Err("timed out".into()), at(now + 15));
                asked.insert(host.name);
            }
        }
        assert_eq!(asked.len(), 5, "{asked:?}");
    }

    #[test]
    fn a_reload_asks_for_all_and_waits_for_answers_that_are_newer() {
        let mut names = names(&["a", "b"]);
        assert!(!names.fresh());
        names.due(at(0), 9);
        names.learn(&host("a"), found(1, 3600), at(0));
        // b is under way.
        names.refresh(at(10));
        assert_eq!(names.due(at(10), 9), [host("a")]);
        names.learn(&host("a"), found(1, 3600), at(10));
        names.learn(&host("b"), found(2, 3600), at(10));
        assert!(!names.fresh(), "b was asked before");
        assert_eq!(names.due(at(10), 9), [host("b")]);
        names.learn(&host("b"), found(2, 3600), at(11));
        assert!(names.fresh());
        assert_eq!(names.next(), Some(at(3610)));
    }

    #[test]
    fn what_the_file_names_no_longer_is_forgotten() {
        let mut all = names(&["a", "b"]);
        all.due(at(0), 9);
        all.learn(&host("a"), found(1, 60), at(0));
        all.configure([host("a"), host("c")].into(), at(7));
        assert!(!all.learn(&host("b"), found(2, 60), at(8)), "nobody asks any more");
        assert_eq!(all.answers().into_keys().collect::<Vec<_>>(), [host("a")]);
        assert_eq!(all.next(), Some(at(7)));
        assert!(names(&[]).fresh() && names(&[]).next().is_none());
    }
}
