//! Warnings that repeat: said once a minute, counted meanwhile.

use std::time::{Duration, Instant};

/// From one line to the next.
const PAUSE: Duration = Duration::from_secs(60);

/// A warning that may be due often: it is logged once a minute.
#[derive(Debug, Default)]
pub struct Repeated {
    said: Option<Instant>,
    kept: u64,
}

impl Repeated {
    /// The event happened at `now`. If it is to be logged: how often that was held back since the last log line.
    pub fn say(&mut self, now: Instant) -> Option<u64> {
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < PAUSE) {
            self.kept = self.kept.saturating_add(1);
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute_with_the_number_of_those_kept_back() {
        let (start, mut warning) = (Instant::now(), Repeated::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        let said = [0, 1, 59, 60, 61, 300].map(|second| warning.say(after(second)));
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
