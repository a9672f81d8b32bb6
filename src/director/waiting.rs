//! Which session a data connection that came was for.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::expectation::Awaited;
use super::table::Slot;

/// Which sessions wait for a data connection, the oldest first. One entry for each key that a session's only expectation is
/// awaited under: what ends is taken out.
#[derive(Default)]
pub struct Waiting {
    queues: HashMap<Awaited, Queue>,
}

/// A session that waits, by the number of its expectation: the oldest has the lowest.
type Waiter = (u64, Slot);

/// The sessions that wait for the same: mostly it is one.
enum Queue {
    One(Waiter),
    More(BTreeSet<Waiter>),
}

impl Waiting {
    /// How many entries there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        let length = |queue: &Queue| if let Queue::More(waiters) = queue { waiters.len() } else { 1 };
        self.queues.values().map(length).sum()
    }

    /// A session waits from now on.
    pub fn add(&mut self, awaited: Awaited, slot: Slot, serial: u64) {
        let waiter = (serial, slot);
        match self.queues.entry(awaited) {
            Entry::Vacant(entry) => _ = entry.insert(Queue::One(waiter)),
            Entry::Occupied(entry) => {
                let queue = entry.into_mut();
                match queue {
                    Queue::One(first) => *queue = Queue::More(BTreeSet::from([*first, waiter])),
                    Queue::More(waiters) => _ = waiters.insert(waiter),
                }
            }
        }
    }

    /// The session that has waited longest.
    #[must_use]
    pub fn first(&self, awaited: Awaited) -> Option<Slot> {
        let first = match self.queues.get(&awaited)? {
            Queue::One(waiter) => waiter,
            Queue::More(waiters) => waiters.first()?,
        };
        Some(first.1)
    }

    /// A session waits no longer.
    pub fn remove(&mut self, awaited: Awaited, slot: Slot, serial: u64) {
        let Entry::Occupied(mut entry) = self.queues.entry(awaited) else { return };
        let over = match entry.get_mut() {
            Queue::One(waiter) => *waiter == (serial, slot),
            Queue::More(waiters) => {
                waiters.remove(&(serial, slot));
                waiters.is_empty()
            }
        };
        if over {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::director::Mode;

    #[test]
    fn the_one_that_has_waited_longest_comes_first_however_many_there_are() {
        let awaited = (0, Mode::Passive, [192, 0, 2, 1].into(), 31_000);
        let mut waiting = Waiting::default();
        for (slot, serial) in [(7, 3), (5, 1), (6, 2), (6, 2)] {
            waiting.add(awaited, slot, serial);
        }
        assert_eq!((waiting.first(awaited), waiting.len()), (Some(5), 3));
        waiting.remove(awaited, 5, 2);
        assert_eq!(waiting.len(), 3, "another's number");
        for (slot, serial, next) in [(5, 1, Some(6)), (7, 3, Some(6)), (6, 2, None)] {
            waiting.remove(awaited, slot, serial);
            assert_eq!(waiting.first(awaited), next);
        }
        waiting.add(awaited, 5, 4);
        waiting.remove(awaited, 5, 3);
        assert_eq!(waiting.first(awaited), Some(5), "another's number");
        waiting.remove(awaited, 5, 4);
        assert!(waiting.queues.is_empty());
    }
}
