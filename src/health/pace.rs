//! When to probe: every interval, give or take a tenth, so that probes of many servers do not fall into step.

use std::time::Duration;

/// The least pause after a probe that took longer than the interval.
pub const LEAST_PAUSE: Duration = Duration::from_millis(10);

/// The first probes of a start are spread over this, or over the interval if that is shorter.
const FIRST: Duration = Duration::from_secs(1);

/// The pauses of one server. The same seed gives the same pauses.
#[derive(Clone, Debug)]
pub struct Pace {
    interval: Duration,
    state: u64,
}

impl Pace {
    /// Pauses of `interval`, give or take a tenth.
    #[must_use]
    pub const fn new(interval: Duration, seed: u64) -> Self {
        Self { interval, state: seed }
    }

    /// How long before the first probe: less than a second.
    pub fn first(&mut self) -> Duration {
        self.interval.min(FIRST).mul_f64(self.fraction())
    }

    /// From the beginning of one probe to that of the next: the interval ± 10 %.
    pub fn pause(&mut self) -> Duration {
        self.interval.mul_f64(0.2_f64.mul_add(self.fraction(), 0.9))
    }

    /// The next of an even spread over 0 … 1.
    fn fraction(&mut self) -> f64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let high = u32::try_from((bits ^ (bits >> 31)) >> 32).unwrap_or_default();
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_within_a_tenth_and_use_all_of_it() {
        let interval = Duration::from_secs(10);
        let mut pace = Pace::new(interval, 7);
        let pauses: Vec<Duration> = (0..1000).map(|_| pace.pause()).collect();
        let (shortest, longest) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(*shortest >= Duration::from_secs(9) && *shortest < Duration::from_millis(9_050), "{shortest:?}");
        assert!(*longest <= Duration::from_secs(11) && *longest > Duration::from_millis(10_950), "{longest:?}");
        let mean = pauses.iter().sum::<Duration>() / 1000;
        assert!(mean.abs_diff(interval) < Duration::from_millis(100), "{mean:?}");
    }

    #[test]
    fn a_seed_repeats_and_another_does_not() {
        let pauses = |seed| {
            let mut pace = Pace::new(Duration::from_secs(5), seed);
            (pace.first(), pace.pause(), pace.pause())
        };
        assert_eq!(pauses(1), pauses(1));
        assert_ne!(pauses(1), pauses(2));
    }

    #[test]
    fn first_probes_come_within_a_second() {
        for seed in 0..100 {
            assert!(Pace::new(Duration::from_secs(3600), seed).first() < FIRST);
            assert!(Pace::new(Duration::from_millis(50), seed).first() < Duration::from_millis(50));
        }
    }
}
