//! How far a server has come that gets its weight in steps.

use std::time::Duration;

use crate::time::Time;

/// How many steps there are: one every 30 s of ten minutes.
const STEPS: u32 = 20;

/// A server on its way to its whole weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// When it came back.
    began: Time,
    /// Steps that are done, `0..STEPS`.
    steps: u32,
}

impl Start {
    /// A server that comes back at `now`.
    #[must_use]
    pub const fn at(now: Time) -> Self {
        Self { began: now, steps: 0 }
    }

    /// Its weight at this step: never 0, and at most `whole`, which is > 0.
    #[must_use]
    pub fn weight(self, whole: u32) -> u32 {
        let part = u64::from(whole).saturating_mul(self.steps.into()) / u64::from(STEPS);
        u32::try_from(part).unwrap_or(whole).max(1)
    }

    /// Where it is at `now`; `None`: at its whole weight, `over` is over.
    #[must_use]
    pub fn later(self, over: Duration, now: Time) -> Option<Self> {
        let done = now.since(self.began).as_millis().saturating_mul(STEPS.into());
        let steps = u32::try_from(done.checked_div(over.as_millis())?).unwrap_or(STEPS);
        (steps < STEPS).then_some(Self { steps, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn the_weight_grows_in_steps_and_is_whole_at_the_end() {
        let over = Duration::from_secs(40);
        let weight = |whole, seconds: u64| {
            Start::at(at(7)).later(over, at(7 + seconds)).map_or(whole, |start| start.weight(whole))
        };
        for (whole, weights) in [
            (100, [1, 1, 5, 25, 50, 95, 100]),
            (1, [1; 7]),
            (2, [1, 1, 1, 1, 1, 1, 2]),
            (65535, [1, 1, 3276, 16383, 32767, 62258, 65535]),
        ] {
            let found = [0, 1, 2, 10, 20, 39, 40].map(|seconds| weight(whole, seconds));
            assert_eq!(found, weights, "{whole}");
        }
        assert_eq!(Start::at(at(7)).later(over, at(0)), Some(Start::at(at(7))), "a clock that goes back");
        assert_eq!(Start::at(at(0)).later(over, Time::from_millis(u64::MAX)), None);
        assert_eq!(Start::at(at(0)).later(Duration::from_nanos(1), at(0)), None);
    }
}
