//! Which session a data connection that came was for.

use std::collections::{BTreeSet, HashMap};

use super::expectation::Awaited;
use super::table::Slot;

/// Which sessions wait for a data connection, the oldest first. One entry for each key that a session's only expectation is
/// awaited under: what ends is taken out.
#[derive(Default)]
pub struct Waiting {
    queues: HashMap<Awaited, BTreeSet<(u64, Slot)>>,
}

impl Waiting {
    /// How many entries there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.queues.values().map(BTreeSet::len).sum()
    }

    /// A session waits from now on.
    pub fn add(&mut self, awaited: Awaited, slot: Slot, serial: u64) {
        self.queues.entry(awaited).or_default().insert((serial, slot));
    }

    /// The session that has waited longest.
    #[must_use]
    pub fn first(&self, awaited: Awaited) -> Option<Slot> {
        self.queues.get(&awaited)?.first().map(|&(_, slot)| slot)
    }

    /// A session waits no longer.
    pub fn remove(&mut self, awaited: Awaited, slot: Slot, serial: u64) {
        let Some(queue) = self.queues.get_mut(&awaited) else { return };
        queue.remove(&(serial, slot));
        if queue.is_empty() {
            self.queues.remove(&awaited);
        }
    }
}
