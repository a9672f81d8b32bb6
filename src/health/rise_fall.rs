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

use super::ProbeOutcome;
use crate::time::Time;

/// What the health checks make of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// Neither passed nor failed yet; takes sessions.
    Unknown,
    /// The server's probes pass; it gets new sessions.
    Up,
    /// The server's probes fail, or failed before a restart; it gets no new sessions.
    Down,
}

impl HealthState {
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
pub enum Transition {
    /// No change of state.
    None,
    /// A good server failed, for the first time in a row.
    Faltered,
    /// The server counts as up from now on.
    Up,
    /// The server counts as down from now on.
    Down,
}

/// The state of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RiseFall {
    rise: NonZeroU32,
    fall: NonZeroU32,
    standing: HealthState,
    since: Time,
    /// Probes in a row that speak against the standing.
    against: u32,
}

impl RiseFall {
    /// A server that was not probed yet. `rise` and `fall` count as 1 where they are 0.
    #[must_use]
    pub fn new(rise: u32, fall: u32, now: Time) -> Self {
        let (rise, fall) = (whole(rise), whole(fall));
        Self { rise, fall, standing: HealthState::Unknown, since: now, against: 0 }
    }

    /// A server that was down when the daemon was last there: the first good probe brings it up.
    #[must_use]
    pub fn suspect(rise: u32, fall: u32, now: Time) -> Self {
        let unknown = Self::new(rise, fall, now);
        Self { standing: HealthState::Down, against: unknown.rise.get() - 1, ..unknown }
    }

    /// The same server with other `rise` and `fall`; what was counted in a row is counted anew.
    #[must_use]
    pub fn with(&self, rise: u32, fall: u32) -> Self {
        let (rise, fall) = (whole(rise), whole(fall));
        Self { rise, fall, against: 0, ..*self }
    }

    /// What the server counts as.
    #[must_use]
    pub const fn standing(&self) -> HealthState {
        self.standing
    }

    /// When the state began.
    #[must_use]
    pub const fn since(&self) -> Time {
        self.since
    }

    /// Takes a probe's outcome into account.
    pub fn probed(&mut self, outcome: ProbeOutcome, now: Time) -> Transition {
        let against = match (self.standing, outcome) {
            (_, ProbeOutcome::Unsure) => return Transition::None,
            (HealthState::Unknown, ProbeOutcome::Good) => return self.turn(HealthState::Up, now),
            (HealthState::Up | HealthState::Unknown, ProbeOutcome::Bad) => self.fall,
            (HealthState::Down, ProbeOutcome::Good) => self.rise,
            (HealthState::Up, ProbeOutcome::Good) | (HealthState::Down, ProbeOutcome::Bad) => {
                self.against = 0;
                return Transition::None;
            }
        };
        self.against = self.against.saturating_add(1);
        match (self.against >= against.get(), self.standing) {
            (true, HealthState::Down) => self.turn(HealthState::Up, now),
            (true, HealthState::Up | HealthState::Unknown) => self.turn(HealthState::Down, now),
            (false, HealthState::Up | HealthState::Unknown) if self.against == 1 => Transition::Faltered,
            (false, _) => Transition::None,
        }
    }

    fn turn(&mut self, standing: HealthState, now: Time) -> Transition {
        (self.standing, self.since, self.against) = (standing, now, 0);
        if standing == HealthState::Down { Transition::Down } else { Transition::Up }
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
        let mut tally = RiseFall::new(rise, fall, Time::ZERO);
        let mut changes = String::new();
        for (second, outcome) in outcomes.chars().enumerate() {
            let outcome = match outcome {
                '+' => ProbeOutcome::Good,
                '-' => ProbeOutcome::Bad,
                _ => ProbeOutcome::Unsure,
            };
            let now = Time::from_millis(u64::try_from(second).unwrap() * 1000);
            let before = tally.clone();
            let change = tally.probed(outcome, now);
            let turned = matches!(change, Transition::Up | Transition::Down);
            assert_eq!(tally.standing() != before.standing(), turned);
            assert_eq!(tally.since(), if turned { now } else { before.since() });
            changes.push(match change {
                Transition::None => '.',
                Transition::Faltered => 'f',
                Transition::Up => 'U',
                Transition::Down => 'D',
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
        for standing in [HealthState::Unknown, HealthState::Up, HealthState::Down] {
            for outcome in [ProbeOutcome::Good, ProbeOutcome::Bad, ProbeOutcome::Unsure] {
                for (against, rise, fall) in [(0, 1, 1), (0, 2, 2), (1, 2, 2)] {
                    let mut tally = RiseFall { standing, against, ..RiseFall::new(rise, fall, now) };
                    tally.probed(outcome, later);
                    let turns = against + 1 == rise;
                    let expected = match (standing, outcome) {
                        (_, ProbeOutcome::Unsure) => standing,
                        (HealthState::Unknown | HealthState::Up, ProbeOutcome::Good) => HealthState::Up,
                        (HealthState::Down, ProbeOutcome::Good) if turns => HealthState::Up,
                        (HealthState::Unknown | HealthState::Up, ProbeOutcome::Bad) if turns => HealthState::Down,
                        (standing, _) => standing,
                    };
                    assert_eq!(tally.standing(), expected, "{standing:?} {outcome:?} after {against}");
                }
            }
        }
    }

    #[test]
    fn the_first_good_probe_clears_a_suspect() {
        let suspect = RiseFall::suspect(3, 3, Time::ZERO);
        assert_eq!(suspect.standing(), HealthState::Down);
        assert_eq!(suspect.clone().probed(ProbeOutcome::Good, Time::from_millis(1)), Transition::Up);
        let mut still = suspect;
        assert_eq!(still.probed(ProbeOutcome::Bad, Time::from_millis(1)), Transition::None);
        assert_eq!(still.probed(ProbeOutcome::Good, Time::from_millis(2)), Transition::None);
        assert_eq!(still.standing(), HealthState::Down);
    }

    #[test]
    fn other_numbers_keep_the_standing() {
        let mut tally = RiseFall::new(2, 1, Time::ZERO);
        assert_eq!(tally.probed(ProbeOutcome::Bad, Time::from_millis(1)), Transition::Down);
        tally.probed(ProbeOutcome::Good, Time::from_millis(2));
        let mut tally = tally.with(2, 3);
        assert_eq!((tally.standing(), tally.since()), (HealthState::Down, Time::from_millis(1)));
        assert_eq!(tally.probed(ProbeOutcome::Good, Time::from_millis(3)), Transition::None);
        assert_eq!(tally.probed(ProbeOutcome::Good, Time::from_millis(4)), Transition::Up);
    }
}
