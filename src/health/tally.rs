//! When a server counts as up or down.
//!
//! ```text
//!            good                     `fall` bad ones in a row
//! unknown ──────────▶ up ───────────────────────────────────────▶ down
//!    │                 ▲ ◀──────────────────────────────────────── ▲
//!    │                         `rise` good ones in a row           │
//!    └─────────────────────────────────────────────────────────────┘ `fall` bad ones in a row
//! ```
//!
//! A server nobody has looked at yet takes sessions: after a restart none is refused that was served before. One that was down
//! before the restart takes none until its first good probe.

use std::num::NonZeroU32;

use super::Outcome;
use crate::time::Time;

/// What the health checks make of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Neither passed nor failed yet; takes sessions.
    Unknown,
    /// Takes sessions.
    Up,
    /// Takes no new sessions.
    Down,
}

impl Standing {
    /// The word of `status`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What a probe changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// A good server failed, for the first time in a row.
    Faltered,
    /// It counts as up from now on.
    Up,
    /// It counts as down from now on.
    Down,
}

/// The state of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    rise: NonZeroU32,
    fall: NonZeroU32,
    standing: Standing,
    since: Time,
    /// Probes in a row that speak against the standing.
    against: u32,
}

impl Tally {
    /// A server nobody has looked at. `rise` and `fall` count as 1 where they are 0.
    #[must_use]
    pub fn new(rise: u32, fall: u32, now: Time) -> Self {
        let (rise, fall) = (whole(rise), whole(fall));
        Self { rise, fall, standing: Standing::Unknown, since: now, against: 0 }
    }

    /// A server that was down when the daemon was last there: the first good probe brings it up.
    #[must_use]
    pub fn suspect(rise: u32, fall: u32, now: Time) -> Self {
        let unknown = Self::new(rise, fall, now);
        Self { standing: Standing::Down, against: unknown.rise.get() - 1, ..unknown }
    }

    /// The same server under other numbers; what was counted in a row is counted anew.
    #[must_use]
    pub fn with(&self, rise: u32, fall: u32) -> Self {
        let (rise, fall) = (whole(rise), whole(fall));
        Self { rise, fall, against: 0, ..*self }
    }

    /// What the server counts as.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Since when.
    #[must_use]
    pub const fn since(&self) -> Time {
        self.since
    }

    /// Takes a probe's outcome into account.
    pub fn probed(&mut self, outcome: Outcome, now: Time) -> Change {
        let against = match (self.standing, outcome) {
            (_, Outcome::Unsure) => return Change::None,
            (Standing::Unknown, Outcome::Good) => return self.turn(Standing::Up, now),
            (Standing::Up | Standing::Unknown, Outcome::Bad) => self.fall,
            (Standing::Down, Outcome::Good) => self.rise,
            (Standing::Up, Outcome::Good) | (Standing::Down, Outcome::Bad) => {
                self.against = 0;
                return Change::None;
            }
        };
        self.against = self.against.saturating_add(1);
        match (self.against >= against.get(), self.standing) {
            (true, Standing::Down) => self.turn(Standing::Up, now),
            (true, Standing::Up | Standing::Unknown) => self.turn(Standing::Down, now),
            (false, Standing::Up | Standing::Unknown) if self.against == 1 => Change::Faltered,
            (false, _) => Change::None,
        }
    }

    fn turn(&mut self, standing: Standing, now: Time) -> Change {
        (self.standing, self.since, self.against) = (standing, now, 0);
        if standing == Standing::Down { Change::Down } else { Change::Up }
    }
}

const fn whole(count: u32) -> NonZeroU32 {
    match NonZeroU32::new(count) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+` good, `-` bad, `?` unsure; the answer: `.` nothing, `f` faltered, `U` up, `D` down.
    fn play(rise: u32, fall: u32, outcomes: &str) -> String {
        let mut tally = Tally::new(rise, fall, Time::ZERO);
        let mut changes = String::new();
        for (second, outcome) in outcomes.chars().enumerate() {
            let outcome = match outcome {
                '+' => Outcome::Good,
                '-' => Outcome::Bad,
                _ => Outcome::Unsure,
            };
            let now = Time::from_millis(u64::try_from(second).unwrap() * 1000);
            let before = tally.clone();
            let change = tally.probed(outcome, now);
            let turned = matches!(change, Change::Up | Change::Down);
            assert_eq!(tally.standing() != before.standing(), turned);
            assert_eq!(tally.since(), if turned { now } else { before.since() });
            changes.push(match change {
                Change::None => '.',
                Change::Faltered => 'f',
                Change::Up => 'U',
                Change::Down => 'D',
            });
        }
        changes
    }

    #[test]
    fn rise_and_fall() {
        for (rise, fall, outcomes, changes) in [
            (2, 3, "+++", "U.."),
            (2, 3, "---", "f.D"),
            (2, 3, "--+---", "f.Uf.D"),
            (2, 3, "+--+--+---", "Uf..f..f.D"),
            (2, 3, "---++", "f.D.U"),
            (2, 3, "---+-+-++", "f.D.....U"),
            (2, 3, "---++---", "f.D.Uf.D"),
            (1, 1, "-+-+", "DUDU"),
            (0, 0, "-+", "DU"),
            (2, 2, "-?-?+?+", "f.D...U"),
            (2, 3, "???", "..."),
        ] {
            assert_eq!(play(rise, fall, outcomes), changes, "rise {rise}, fall {fall}, {outcomes}");
        }
    }

    #[test]
    fn every_standing_with_every_outcome() {
        let (now, later) = (Time::ZERO, Time::from_millis(5));
        for standing in [Standing::Unknown, Standing::Up, Standing::Down] {
            for outcome in [Outcome::Good, Outcome::Bad, Outcome::Unsure] {
                for (against, rise, fall) in [(0, 1, 1), (0, 2, 2), (1, 2, 2)] {
                    let mut tally = Tally { standing, against, ..Tally::new(rise, fall, now) };
                    tally.probed(outcome, later);
                    let turns = against + 1 == rise;
                    let expected = match (standing, outcome) {
                        (_, Outcome::Unsure) => standing,
                        (Standing::Unknown | Standing::Up, Outcome::Good) => Standing::Up,
                        (Standing::Down, Outcome::Good) if turns => Standing::Up,
                        (Standing::Unknown | Standing::Up, Outcome::Bad) if turns => Standing::Down,
                        (standing, _) => standing,
                    };
                    assert_eq!(tally.standing(), expected, "{standing:?} {outcome:?} after {against}");
                }
            }
        }
    }

    #[test]
    fn the_first_good_probe_clears_a_suspect() {
        let suspect = Tally::suspect(3, 3, Time::ZERO);
        assert_eq!(suspect.standing(), Standing::Down);
        assert_eq!(suspect.clone().probed(Outcome::Good, Time::from_millis(1)), Change::Up);
        let mut still = suspect;
        assert_eq!(still.probed(Outcome::Bad, Time::from_millis(1)), Change::None);
        assert_eq!(still.probed(Outcome::Good, Time::from_millis(2)), Change::None);
        assert_eq!(still.standing(), Standing::Down);
    }

    #[test]
    fn other_numbers_keep_the_standing() {
        let mut tally = Tally::new(2, 1, Time::ZERO);
        assert_eq!(tally.probed(Outcome::Bad, Time::from_millis(1)), Change::Down);
        tally.probed(Outcome::Good, Time::from_millis(2));
        let mut tally = tally.with(2, 3);
        assert_eq!((tally.standing(), tally.since()), (Standing::Down, Time::from_millis(1)));
        assert_eq!(tally.probed(Outcome::Good, Time::from_millis(3)), Change::None);
        assert_eq!(tally.probed(Outcome::Good, Time::from_millis(4)), Change::Up);
    }
}
