//! Public ports that clients were told in vain: while a SYN to them may still come, others are told first.

use std::collections::{HashMap, VecDeque};

use crate::state::sets::Key;
use crate::time::Time;

/// How many places are remembered. With more, those that rest longest are told again: a client that asks for many has no more than its own
/// ports, and takes from others what they have only for caution.
const MOST: usize = 65_536;

/// Places of the VIP, each of one client, and until when they rest.
#[derive(Default)]
pub struct Resting {
    places: HashMap<Key, Time>,
    /// In the order in which they came to rest, which is that of their ends too, but for the clock's steps.
    order: VecDeque<(Key, Time)>,
}

impl Resting {
    /// This place rests until `until`.
    pub fn add(&mut self, place: Key, now: Time, until: Time) {
        while self.order.len() >= MOST || self.order.front().is_some_and(|(_, until)| *until <= now) {
            let Some((over, until)) = self.order.pop_front() else { break };
            // It may rest again since.
            if self.places.get(&over) == Some(&until) {
                self.places.remove(&over);
            }
        }
        self.places.insert(place.clone(), until);
        self.order.push_back((place, until));
    }

    /// Until when this place rests; `None`: it does not.
    #[must_use]
    pub fn until(&self, place: &Key, now: Time) -> Option<Time> {
        self.places.get(place).copied().filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::sets::Value;

    fn place(port: u16) -> Key {
        vec![Value::Port(port)]
    }

    fn at(second: u64) -> Time {
        Time::from_millis(1000 * second)
    }

    #[test]
    fn a_place_rests_until_its_time_is_over_and_is_forgotten() {
        let mut resting = Resting::default();
        resting.add(place(1), at(0), at(10));
        resting.add(place(1), at(5), at(15));
        assert_eq!((resting.until(&place(1), at(14)), resting.until(&place(1), at(15))), (Some(at(15)), None));
        assert_eq!(resting.until(&place(2), at(0)), None);
        // The end of its first rest is not that of the second.
        resting.add(place(2), at(12), at(22));
        assert_eq!(resting.until(&place(1), at(12)), Some(at(15)));
        resting.add(place(3), at(22), at(32));
        assert_eq!((resting.places.len(), resting.order.len()), (1, 1));
    }

    #[test]
    fn as_many_as_there_are_take_no_more_memory() {
        let mut resting = Resting::default();
        for n in 0..2 * MOST {
            let key = vec![Value::Port(u16::try_from(n % 65_536).expect("16 bits")), Value::Port(u16::from(n < MOST))];
            resting.add(key, at(0), at(10));
        }
        assert_eq!((resting.places.len(), resting.order.len()), (MOST, MOST));
    }
}
