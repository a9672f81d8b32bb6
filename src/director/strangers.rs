//! First packets of data connections that no session expected: the kernel logs some of them, through token buckets.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::history::KEPT;
use super::key::one_client;
use crate::time::Time;

/// How many are kept, and how many of one source.
const MOST: usize = 2048;
const SHARE: usize = 128;

/// When this many are told of in a second, the kernel's bucket for all of them may have run dry: others are not known of
/// (`$over_told` in `state/ruleset.rs`).
pub const DRY: usize = 90;

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrangerKind {
    /// A SYN to a passive port of the VIP, or to a port that servers call from.
    Syn,
    /// A client's SYN-ACK to a port of the VIP (DR, TUN): its server called from there.
    Answer,
    /// A server's SYN to a client (NAT).
    Call,
}

/// A data connection that nobody expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// When the kernel's log was read: up to 20 ms after the packet.
    pub at: Time,
    /// What it is.
    pub kind: StrangerKind,
    /// Where the packet came from: the client, or the server of a call.
    pub source: SocketAddr,
    /// Where it went to: the VIP, or the client of a call.
    pub destination: SocketAddr,
    /// Whether its source had a control connection of its own here.
    pub known: bool,
}

/// The last of them.
#[derive(Default)]
pub struct Strangers {
    /// The oldest first.
    kept: VecDeque<Stranger>,
    /// When the last came that had to make room for those of others.
    pushed_out: Option<Time>,
}

impl Strangers {
    /// Keeps one; the oldest of its source, or of all, makes room.
    pub fn push(&mut self, stranger: Stranger) {
        let source = one_client(stranger.source.ip());
        let same = |other: &Stranger| one_client(other.source.ip()) == source;
        if self.kept.iter().filter(|other| same(other)).count() >= SHARE
            && let Some(oldest) = self.kept.iter().position(same)
        {
            self.kept.remove(oldest);
        } else if self.kept.len() >= MOST {
            self.pushed_out = self.kept.pop_front().map(|oldest| oldest.at);
        }
        self.kept.push_back(stranger);
    }

    /// Forgets what is too old.
    pub fn set_time(&mut self, now: Time) {
        while self.kept.front().is_some_and(|oldest| now.since(oldest.at) >= KEPT) {
            self.kept.pop_front();
        }
    }

    /// Those since then, the oldest first.
    #[must_use]
    pub fn since(&self, since: Time) -> Vec<Stranger> {
        self.kept.iter().filter(|stranger| stranger.at >= since).copied().collect()
    }

    /// When the last came that had to make room: of those until then some are missing.
    #[must_use]
    pub const fn pushed_out(&self) -> Option<Time> {
        self.pushed_out
    }
}

/// Whether so many came within a second that others may not have been logged.
#[must_use]
pub fn ran_dry(strangers: &[Stranger]) -> bool {
    let times = strangers.iter().map(|stranger| stranger.at);
    let later = strangers.iter().map(|stranger| stranger.at).skip(DRY - 1);
    times.zip(later).any(|(first, last)| last.since(first) <= Duration::from_secs(1))
}

/// Whether it came from the client at `address`, or went to it.
#[must_use]
pub fn concerns(stranger: &Stranger, address: IpAddr) -> bool {
    match stranger.kind {
        StrangerKind::Syn | StrangerKind::Answer => stranger.source.ip() == address,
        StrangerKind::Call => stranger.destination.ip() == address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(source: u8, at: u64) -> Stranger {
        let (source, destination) =
            (SocketAddr::from(([192, 0, 2, source], 1)), SocketAddr::from(([192, 0, 2, 10], 31000)));
        Stranger { at: Time::from_millis(at), kind: StrangerKind::Syn, source, destination, known: false }
    }

    #[test]
    fn one_source_pushes_no_other_out_and_all_are_bounded() {
        let mut strangers = Strangers::default();
        strangers.push(stranger(1, 0));
        (1..5000).for_each(|at| strangers.push(stranger(2, at)));
        assert_eq!(strangers.kept.len(), 1 + SHARE);
        assert_eq!(strangers.kept.front().map(|oldest| oldest.at), Some(Time::ZERO));
        assert_eq!(strangers.pushed_out(), None, "they were its own");
        for source in 3..=255 {
            (0..SHARE as u64).for_each(|at| strangers.push(stranger(source, 5000 + at)));
        }
        assert_eq!(strangers.kept.len(), MOST);
        assert_eq!(strangers.pushed_out(), Some(Time::from_millis(5000 + 127)), "of the last source but sixteen");
        strangers.set_time(Time::from_millis(6000) + KEPT);
        assert!(strangers.kept.is_empty());
    }

    #[test]
    fn a_flood_is_known_by_its_pace() {
        let many: Vec<_> = (0..DRY as u64).map(|n| stranger(1, n)).collect();
        assert!(ran_dry(&many) && !ran_dry(&many[1..]));
        let slow: Vec<_> = (0..DRY as u64).map(|n| stranger(1, n * 20)).collect();
        assert!(!ran_dry(&slow) && !ran_dry(&[]));
    }
}
