//! The mark that a client's packet leaves with, for the rules behind the queue: whether it opens its pinhole, and whether the
//! replies that follow have to be held ([`Calm`]).

use super::Director;
use super::calm::Calm;
use super::table::Slot;
use crate::lvs::ForwardingMethod;
use crate::time::Time;

impl Director {
    /// Replies went by of which nobody was told, and whose they were is not known: of each session whose replies were not held
    /// until now the next that is seen is where reading goes on.
    pub const fn lost_replies(&mut self, now: Time) {
        self.lost = Some(now);
    }

    /// Before anything of a session is read: whether some of its replies may have been lost.
    pub(super) fn find_lost_replies(&mut self, slot: Slot) {
        let Some(lost) = self.lost else { return };
        let told = self.table.entry(slot).map(|entry| entry.calm);
        if matches!(told, Some(Calm::Since(told)) if told <= lost) {
            self.lose_replies(slot);
        }
    }

    /// Replies of a session are missing: how its transfers ended is not known, and the rules are told anew.
    pub(super) fn lose_replies(&mut self, slot: Slot) {
        if let Some(entry) = self.table.entry_mut(slot) {
            entry.ftp.lose_replies();
            entry.calm = Calm::Untold;
        }
        self.give_up_transfers(slot);
    }

    /// The mark that a client's packet goes on with; `None` leaves its own, by which it opens its pinhole.
    pub(super) fn left_mark(&mut self, now: Time, slot: Slot, opens: bool) -> Option<u32> {
        let unsaid = (!opens).then_some(0);
        let Some(entry) = self.table.entry(slot) else { return unsaid };
        let (index, calm) = (entry.index, entry.ftp.is_calm());
        if self.placement(index).is_none_or(|placement| placement.forwarding != ForwardingMethod::Nat) {
            return unsaid;
        }
        // A mark that opens says the one or the other in any case.
        if !opens && entry.calm.says(now, calm) {
            return unsaid;
        }
        if let Some(entry) = self.table.entry_mut(slot) {
            entry.calm = if calm { Calm::Since(now) } else { Calm::No };
        }
        if opens && !calm { None } else { Some(self.setup.marks.read(index, opens, calm).0) }
    }
}
