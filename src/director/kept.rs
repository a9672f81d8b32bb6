//! What sessions under TLS were made from, kept once for all of them: ten thousand of one client may have some.

use std::collections::HashMap;

use crate::steer::Placement;

/// The position of a placement that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept(usize);

/// Every placement that a session under TLS was made from, also those that a reload has changed since.
#[derive(Debug, Default)]
pub struct KeptPlacements {
    all: Vec<Placement>,
    /// The newest of each index.
    newest: HashMap<u16, Kept>,
}

impl KeptPlacements {
    /// Keeps this one, unless it is there.
    pub fn keep(&mut self, placement: &Placement) -> Kept {
        let newest = self.newest.get(&placement.index).copied();
        if let Some(kept) = newest.filter(|&kept| self.of(kept) == Some(placement)) {
            return kept;
        }
        // A reload may bring back what an earlier one had changed.
        let kept = Kept(self.all.iter().position(|kept| kept == placement).unwrap_or(self.all.len()));
        if kept.0 == self.all.len() {
            self.all.push(*placement);
        }
        self.newest.insert(placement.index, kept);
        kept
    }

    /// The one at this position.
    #[must_use]
    pub fn of(&self, kept: Kept) -> Option<&Placement> {
        self.all.get(kept.0)
    }
}
