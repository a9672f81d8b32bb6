//! What an execution showed, in numbers: inputs that show something new are kept.

use std::hash::{Hash, Hasher};

use ftpdirector::facade::director::Decision;
use ftpdirector::facade::lvs::ForwardingMethod;
use ftpdirector::facade::state::sets::Name;
use ftpdirector::facade::steer::{Row, RowChange};
use ftpdirector::facade::time::Time;

use super::kernel::Rows;
use super::talk::Talk;

#[derive(Debug)]
pub(super) struct Notes {
    /// What was seen.
    pub features: Vec<u64>,
    forwarding: ForwardingMethod,
    last: u64,
}

impl Notes {
    pub(super) fn new(forwarding: ForwardingMethod) -> Self {
        Self { features: vec![], forwarding, last: 0 }
    }

    /// Something was seen.
    pub(super) fn see(&mut self, what: impl Hash) {
        self.features.push(hash(what));
    }

    /// Something happened, and after what.
    pub(super) fn happen(&mut self, what: impl Hash) {
        let this = hash(what);
        self.see((self.last, this, self.forwarding));
        self.last = this;
    }

    /// What stands, and how many need it.
    pub(super) fn stand(&mut self, rows: &Rows, talks: &[Talk], now: Time) {
        let mut all = 0_u64;
        for standing in &rows.standing {
            let Row { set, key, .. } = &standing.row;
            let needed = talks.iter().filter(|talk| talk.need(*set, key, now).is_some()).count();
            all |= 1 << (hash((set.name, needed.min(2))) % 64);
        }
        self.see((all, self.forwarding));
    }
}

pub(super) fn hash(what: impl Hash) -> u64 {
    let mut hasher = Mix(0);
    what.hash(&mut hasher);
    hasher.finish()
}

/// A hash that is cheap, and the same in every run.
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 29
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}

pub(super) const fn decision_kind(decision: Decision) -> u8 {
    match decision {
        Decision::Accept { mark: None, edited: false } => 0,
        Decision::Accept { mark: None, edited: true } => 1,
        Decision::Accept { mark: Some(_), edited: false } => 2,
        Decision::Accept { mark: Some(_), edited: true } => 3,
        Decision::Drop => 4,
        Decision::Held => 5,
    }
}

pub(super) const fn change_kind(change: &RowChange) -> (u8, Name) {
    match change {
        RowChange::Put(row, _) => (20, row.set.name),
        RowChange::Refresh(row, _) => (21, row.set.name),
        RowChange::Delete(set, _) => (22, set.name),
    }
}

/// All of a change.
pub(super) fn change_text(change: &RowChange) -> impl Hash {
    match change {
        RowChange::Put(row, timeout) => (0, row.set, &row.key, Some((&row.value, *timeout))),
        RowChange::Refresh(row, timeout) => (1, row.set, &row.key, Some((&row.value, *timeout))),
        RowChange::Delete(set, key) => (2, *set, key, None),
    }
}
