//! What the lines of one packet ask for.

use super::interface::Action;
use crate::steer::RowChange;

/// What the lines of one packet ask for.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Rows that must stand before the packet goes on.
    pub wait: Vec<RowChange>,
    /// Rows to delete; no packet waits for that.
    pub remove: Vec<RowChange>,
    /// Whether the packet opens its own pinhole on its way out.
    pub keep_mark: bool,
    /// The index of the server whose reply this is, if it opens the client's pinhole (NAT).
    pub answer: Option<u16>,
}

/// All rows as one action that no packet waits for.
pub(super) fn rows_of(effects: Effects) -> Option<Action> {
    let mut changes = effects.remove;
    changes.extend(effects.wait);
    (!changes.is_empty()).then_some(Action::Rows { ticket: None, changes })
}
