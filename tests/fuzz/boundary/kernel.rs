//! The kernel's rows, as the director's actions and verdicts make them.

use std::time::Duration;

use ftpdirector::facade::state::sets::{Key, Name, Set};
use ftpdirector::facade::steer::{Row, RowChange};
use ftpdirector::facade::time::Time;

/// A row and when it times out.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub row: Row,
    pub until: Time,
}

/// Every row.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub standing: Vec<Standing>,
}

impl Rows {
    pub(super) fn find(&self, set: Set, key: &Key, now: Time) -> Option<&Standing> {
        self.standing.iter().find(|one| one.row.set == set && one.row.key == *key && one.until > now)
    }

    pub(super) fn apply(&mut self, change: &RowChange, now: Time) {
        match change {
            RowChange::Put(row, timeout) | RowChange::Refresh(row, timeout) => self.put(row, now + *timeout),
            RowChange::Delete(set, key) => self.standing.retain(|one| one.row.set != *set || one.row.key != *key),
        }
    }

    /// `update @SET { KEY timeout … }`, or a new element.
    pub(super) fn put(&mut self, row: &Row, until: Time) {
        let same = |one: &&mut Standing| one.row.set == row.set && one.row.key == row.key;
        match self.standing.iter_mut().find(same) {
            Some(standing) => *standing = Standing { row: row.clone(), until },
            None => self.standing.push(Standing { row: row.clone(), until }),
        }
    }

    pub(super) fn expire(&mut self, now: Time) {
        self.standing.retain(|one| one.until > now);
    }

    /// Someone flushes the dynamic sets.
    pub(super) fn flush(&mut self) {
        self.standing.clear();
    }

    /// A TLS record passes: the rules of the chain `blind` start both rows' time again. Whether there is such a rule.
    pub(super) fn record(&mut self, blind: &(Set, Key), pinhole: &Row, now: Time, idle: Duration) -> bool {
        let Some(standing) = self.find(blind.0, &blind.1, now) else { return false };
        let row = standing.row.clone();
        self.put(&row, now + idle);
        self.put(pinhole, now + idle);
        true
    }
}

/// Whether a row is one that a session under TLS has for as long as it lives.
pub(super) const fn is_long(name: Name) -> bool {
    matches!(name, Name::Open | Name::TunnelOpen | Name::Blind | Name::ActiveTls | Name::ActiveTlsNat)
}
