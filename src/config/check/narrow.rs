//! Passive ranges that are too small to be meant.

use super::checker::One;
use super::ranges::written;

/// A range of one port: mostly the half of one.
pub(super) fn within(one: &One<'_, '_, '_>) {
    for (path, range) in written(one) {
        if range.first() == range.last() {
            let first = range.first();
            let what = format!("{first} is one port: the server can wait for one data connection at a time");
            let begin = first.min(u16::MAX - 999);
            let cure = format!("FIRST-LAST, like {begin}-{}, the same in the server", begin.saturating_add(999));
            one.warning(&path, what, cure);
        }
    }
}
