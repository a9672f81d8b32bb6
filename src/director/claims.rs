//! Several connections on one pair of ports: the one that was there, and those that a SYN may have begun since.
//!
//! Anyone can forge a SYN and a segment behind it. So whatever comes after a SYN is followed as a session of its own *beside*
//! the one that was there, whose numbers are known to nobody else: a segment that fits them goes on where it was, with its
//! rows. Of a pair that is really used anew the old session ends with its connection's time.

use super::Director;
use super::interface::Action;
use super::reading::segment_of;
use super::table::Slot;
use crate::ftp::{Belonging, Direction, Flags, Session, Syn};
use crate::time::Time;
use crate::wire;

/// How many sessions one pair of ports may have. Of more the one goes that was not heard for longest, but never the eldest:
/// it cannot be followed by claiming something.
const MOST: usize = 4;

impl Director {
    /// Which of the sessions on its pair of ports a segment is of; `slot` is the one that was heard last. `None`: the segment
    /// begins another connection, for which there is no room.
    pub(super) fn whose(
        &mut self,
        now: Time,
        (slot, direction, syn): (Slot, Direction, Syn),
        (parsed, bytes): (&wire::Packet, &mut [u8]),
        actions: &mut Vec<Action>,
    ) -> Option<Slot> {
        let segment = segment_of(direction, parsed, bytes);
        let entry = self.table.entry(slot)?;
        let (key, index, closed) = (entry.key, entry.index, entry.ftp.closed());
        let belonging = entry.ftp.belonging(now, syn, &segment);
        if belonging == Belonging::Own {
            return Some(slot);
        }
        let entries = || self.table.pair(&key).filter_map(|slot| Some((slot, &self.table.entry(slot)?.ftp)));
        let known = entries().find(|(_, ftp)| ftp.is_known_to(&segment)).map(|(slot, _)| slot);
        // Nor may it lie in the server's buffer until its turn comes on one of the connections.
        let beyond = |ftp: &Session| ftp.belonging(now, syn, &segment) == Belonging::Beyond;
        let theirs = known.or_else(|| entries().find(|(_, ftp)| beyond(ftp)).map(|(slot, _)| slot));
        if let Some(theirs) = theirs {
            self.table.prefer(theirs);
            return Some(theirs);
        }
        if belonging != Belonging::Another || closed || segment.flags.has(Flags::RST) {
            return Some(slot);
        }
        let placement = *self.placements.get(&index)?;
        self.leave_room(now, slot, actions);
        let room = self.has_room(now, placement, &key, actions);
        room.then(|| self.begin(now, key, index, Session::new()))
    }

    /// One more session may come beside those on the pair of ports of `slot`.
    fn leave_room(&mut self, now: Time, slot: Slot, actions: &mut Vec<Action>) {
        let Some(key) = self.table.entry(slot).map(|entry| entry.key) else { return };
        let pair: Vec<Slot> = self.table.pair(&key).collect();
        let born = |slot| self.table.entry(slot).map(|entry| entry.born);
        let seen = |slot| self.table.entry(slot).map(|entry| entry.seen);
        // Of those that began at one time the last in the row did first.
        let eldest = pair.iter().rev().min_by_key(|&&slot| born(slot));
        let stalest = pair.iter().filter(|&other| Some(other) != eldest).min_by_key(|&&slot| seen(slot));
        if pair.len() >= MOST
            && let Some(&stalest) = stalest
        {
            self.remove(now, stalest, actions);
        }
    }
}
