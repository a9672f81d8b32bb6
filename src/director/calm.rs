//! Which replies need not wait for the daemon (NAT).
//!
//! A reply is held because it may have to be changed, or opens something: that of PASV and EPSV, of what asks for encryption, and
//! of EPSV ALL. All others only have to be *seen*, late and many at once. So each packet of the client's leaves the director with a
//! mark that says which of the two is to come, and a rule writes that into the set `calm4` before the packet goes on.

use std::time::Duration;

use super::Director;
use super::table::Slot;
use crate::lvs::ForwardingMethod;
use crate::time::Time;

/// How long the rules go on believing it: half of the timeout in `src/state/table.nft`.
const BELIEVED: Duration = Duration::from_secs(30);

/// What the rules were told last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Calm {
    /// Nothing by this session; maybe by another on the same ports, or by a daemon before this one.
    #[default]
    Untold,
    /// That replies have to be held.
    No,
    /// At this time, that they have not.
    Since(Time),
}

impl Calm {
    /// Whether the rules know it already.
    fn says(self, now: Time, calm: bool) -> bool {
        match self {
            Self::Untold => false,
            Self::No => !calm,
            Self::Since(told) => calm && now.since(told) < BELIEVED,
        }
    }
}

impl Director {
    /// Replies went by of which nobody was told, and whose they were is not known.
    pub fn lost_replies(&mut self) {
        for (_, entry) in self.table.iter_mut() {
            if matches!(entry.calm, Calm::Since(_)) {
                entry.ftp.lose_replies();
            }
        }
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
