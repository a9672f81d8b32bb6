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
    /// Keeps this one, unless it is the same as the newest of its index.
    pub fn keep(&mut self, placement: &Placement) -> Kept {
        let newest = self.newest.get(&placement.index).copied();
        if let Some(kept) = newest.filter(|&kept| self.of(kept) == Some(placement)) {
            return kept;
        }
        let kept = Kept(self.all.len());
        self.all.push(*placement);
        self.newest.insert(placement.index, kept);
        kept
    }

    /// The one at this position.
    #[must_use]
    pub fn of(&self, kept: Kept) -> Option<&Placement> {
        self.all.get(kept.0)
    }
}
