//! Several connections on one pair of ports: the one that was there, and those that a SYN may have begun since.
//!
//! Anyone can forge a SYN and a segment behind it. So whatever comes after a SYN is followed as a session of its own *beside*
//! the one that was there, whose numbers are known to nobody else: a segment that fits them goes on where it was, with its
//! rows. Of a pair that is really used anew the old session ends with its connection's time.

use super::Director;
use super::interface::Action;
use super::key::client_of;
use super::reading::segment_of;
use super::table::Slot;
use crate::ftp::{Belonging, Direction, Flags, Session, Syn};
use crate::time::Time;
use crate::wire;

/// How many sessions one pair of ports may have. Of more the youngest goes: claims replace each other, never the one that was
/// there, be it the eldest or not.
const MOST: usize = 4;

/// Which session a segment is of.
pub(super) enum Owner {
    /// A session that is there.
    Session(Slot),
    /// The segment begins another connection, for which there is no room.
    Nobody,
    /// The segment is not read now, and may belong to a session that is there: it is dropped, and TCP repeats it.
    Later,
}

impl Director {
    /// Which of the sessions on its pair of ports a segment is of; `slot` is the session that was heard last.
    pub(super) fn whose(
        &mut self,
        now: Time,
        (slot, direction, syn): (Slot, Direction, Syn),
        (parsed, bytes): (&wire::Packet, &mut [u8]),
        actions: &mut Vec<Action>,
    ) -> Owner {
        let segment = segment_of(direction, parsed, bytes);
        let Some(entry) = self.table.entry(slot) else { return Owner::Nobody };
        if !self.table.has_others(slot) {
            if entry.ftp.owns(&segment) {
                return Owner::Session(slot);
            }
        } else if let Some(sure) = self.eldest_of(slot, |ftp| ftp.owns(&segment)) {
            // One that knows one half alone takes whatever fits that. The eldest first, since a claim can be led to its numbers.
            self.table.prefer(sure);
            return Owner::Session(sure);
        }
        let (key, index, closed) = (entry.key, entry.index, entry.ftp.closed());
        let belonging = entry.ftp.belonging(now, syn, &segment);
        if belonging.is_own() {
            return Owner::Session(slot);
        }
        let entries = || self.table.pair(&key).filter_map(|slot| Some((slot, &self.table.entry(slot)?.ftp)));
        let known = entries().find(|(_, ftp)| ftp.is_known_to(&segment)).map(|(slot, _)| slot);
        // Nor may it lie in the server's buffer until its turn comes on one of the connections.
        let beyond = |ftp: &Session| ftp.belonging(now, syn, &segment) == Belonging::Beyond;
        let theirs = known.or_else(|| entries().find(|(_, ftp)| beyond(ftp)).map(|(slot, _)| slot));
        if let Some(theirs) = theirs {
            self.table.prefer(theirs);
            return Owner::Session(theirs);
        }
        // One that was forged twice says it is nobody's, and must not speak for the others.
        let another = entries().any(|(_, ftp)| ftp.belonging(now, syn, &segment) == Belonging::Another);
        if !another || closed || segment.flags.has(Flags::RST) {
            return Owner::Session(slot);
        }
        // It would be dropped before it is read, and leave a session that knows no numbers, and takes what fits others'.
        if self.held.shares.behind() || self.held.shares.asks_too_much(client_of(&key)) {
            return Owner::Later;
        }
        let Some(placement) = self.placements.position(index) else { return Owner::Nobody };
        self.leave_room(now, slot, actions);
        if !self.has_room(now, placement, &key, actions) {
            let astray = self.eldest_of(slot, |ftp| ftp.may_reach(&segment)).is_some();
            return if astray { Owner::Later } else { Owner::Nobody };
        }
        Owner::Session(self.begin(now, key, index, Session::new()))
    }

    /// The first that began of those on the pair of ports of `slot` of which `is` is true.
    fn eldest_of(&self, slot: Slot, is: impl Fn(&Session) -> bool) -> Option<Slot> {
        let key = self.table.entry(slot)?.key;
        let entries = self.table.pair(&key).filter_map(|slot| Some((slot, self.table.entry(slot)?)));
        let (slot, _) = entries.filter(|(_, entry)| is(&entry.ftp)).min_by_key(|(_, entry)| entry.nth)?;
        Some(slot)
    }

    /// One more session may come beside those on the pair of ports of `slot`.
    fn leave_room(&mut self, now: Time, slot: Slot, actions: &mut Vec<Action>) {
        let Some(key) = self.table.entry(slot).map(|entry| entry.key) else { return };
        let youngest = self.table.pair(&key).max_by_key(|&slot| self.table.entry(slot).map(|entry| entry.nth));
        if self.table.pair(&key).count() >= MOST
            && let Some(youngest) = youngest
        {
            self.remove(now, youngest, actions);
        }
    }
}
