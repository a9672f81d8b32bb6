//! What an index of the marks stands for in the configuration in force: found by the number itself, since every packet asks.

use super::interface::{Policies, Setup};
use crate::steer::Placement;

/// The position of each index's placement.
#[derive(Default)]
pub struct Indexes(Vec<Option<u32>>);

impl Indexes {
    /// Those of a configuration.
    pub fn of(setup: &Setup) -> Self {
        let mut positions = Vec::new();
        for (at, (placement, _)) in setup.placements.iter().enumerate() {
            let index = usize::from(placement.index);
            if positions.len() <= index {
                positions.resize(index.saturating_add(1), None);
            }
            if let Some(position) = positions.get_mut(index) {
                *position = u32::try_from(at).ok();
            }
        }
        Self(positions)
    }

    /// The position of an index's placement.
    #[must_use]
    pub fn position(&self, index: u16) -> Option<usize> {
        self.0.get(usize::from(index)).copied().flatten().map(|at| at as usize)
    }

    /// An index's placement, and how its sessions are read; `setup` is the configuration that these are of.
    #[must_use]
    pub fn get<'a>(&self, setup: &'a Setup, index: u16) -> Option<&'a (Placement, Policies)> {
        setup.placements.get(self.position(index)?)
    }
}
