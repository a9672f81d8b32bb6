//! What concerns every session, or every row, and is not done: each tick does a part of it.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use super::table::Slot;
use crate::time::Time;

/// How many sessions, or rows, a part is of.
pub const PART: usize = 512;

/// What is under way.
#[derive(Default)]
pub struct Unfinished {
    /// Rows that are written again.
    pub lost: Option<LostRows>,
    /// VIPs that have left, the first to leave first.
    pub leaving: VecDeque<Leaving>,
    /// When the last part was done, if more are to come.
    pub more: Option<Time>,
}

impl Unfinished {
    /// When the next part is due: at once.
    #[must_use]
    pub const fn due(&self) -> Option<Time> {
        self.more
    }
}

/// The dynamic rows are written again, from the last to the first; then the pinholes that control packets opened.
pub struct LostRows {
    /// Of the rows so many, the first ones, are left to be written.
    pub rows: usize,
    /// The slot of the first session whose pinhole is.
    pub from: Slot,
}

/// VIPs have left this machine.
pub struct Leaving {
    /// The addresses that have left.
    pub vips: Vec<IpAddr>,
    /// The sessions in the slots before this one have been told.
    pub from: Slot,
    /// How many sessions there had been: those that began later were never meant.
    pub ever: u64,
    /// Those that were heard meanwhile, and told before that.
    pub heard: BTreeSet<Slot>,
}
