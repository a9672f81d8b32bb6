//! What concerns every session, or every row: done in parts, each call a part, so that packets do not wait while a million sessions are
//! gone through.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Director;
use super::interface::Action;
use super::key::ConnectionKey;
use super::table::Slot;
use super::unfinished::{Leaving, LostRows, PART};
use crate::steer::{RowChange, range};
use crate::time::Time;

impl Director {
    /// Another program took the dynamic rows away: what is still expected is written again.
    pub fn rows_lost(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.unfinished.lost = Some(LostRows { rows: self.pinholes.len(), from: 0 });
        self.go_on(now, actions);
    }

    /// These VIPs have left this machine. What their sessions say until they come back is not seen here: each is learned anew
    /// from its next packet. What waited for others before it goes on; what was not read to its end comes again.
    pub fn gave_up(&mut self, now: Time, vips: &[IpAddr], actions: &mut Vec<Action>) {
        let ever = self.table.ever();
        self.unfinished.leaving.push_back(Leaving { vips: vips.to_vec(), from: 0, ever, heard: BTreeSet::new() });
        self.go_on(now, actions);
    }

    /// Does the next part of what is under way.
    pub(super) fn go_on(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.write_lost_rows(now, actions);
        self.leave_some(actions);
        let unswept = self.pinholes.expire_found(now, PART);
        let more = unswept || self.unfinished.lost.is_some() || !self.unfinished.leaving.is_empty();
        self.unfinished.more = more.then_some(now);
    }

    fn write_lost_rows(&mut self, now: Time, actions: &mut Vec<Action>) {
        let Some(LostRows { rows, from }) = self.unfinished.lost.take() else { return };
        let mut changes: Vec<RowChange> = self.pinholes.standing(now, rows, PART).collect();
        if rows > PART {
            self.unfinished.lost = Some(LostRows { rows: rows.saturating_sub(PART), from });
        } else {
            // Pinholes that control packets opened; those of sessions under TLS are among the rows.
            let (entries, next) = self.table.page(from, PART);
            changes.extend(entries.filter_map(|entry| {
                let expectation =
                    entry.expectation.as_ref().filter(|one| one.by_range && one.is_open() && one.deadline > now)?;
                let pinhole = range::pinhole(self.setup.marks, self.placement(entry.index)?, entry.key.client().ip());
                Some(RowChange::Put(pinhole, expectation.deadline.since(now)))
            }));
            self.unfinished.lost = next.map(|from| LostRows { rows: 0, from });
        }
        if !changes.is_empty() {
            actions.push(Action::Rows { ticket: None, changes });
        }
    }

    /// Tells some of the sessions whose VIP has left.
    fn leave_some(&mut self, actions: &mut Vec<Action>) {
        let Some(mut leaving) = self.unfinished.leaving.pop_front() else { return };
        let part = Slot::try_from(PART).unwrap_or(Slot::MAX);
        let (from, end) = (leaving.from, leaving.from.saturating_add(part).min(self.table.slots()));
        leaving.from = end;
        for slot in from..end {
            if self.is_meant(slot, &leaving) && !leaving.heard.contains(&slot) {
                self.lose_track(slot, actions);
            }
        }
        if end < self.table.slots() {
            self.unfinished.leaving.push_front(leaving);
        }
    }

    /// A packet of this connection came. Its VIP is here again, or it was on its way: what the session is to be told it is told before.
    pub(super) fn catch_up(&mut self, key: &ConnectionKey, actions: &mut Vec<Action>) {
        if self.unfinished.leaving.is_empty() {
            return;
        }
        let slots: Vec<Slot> = self.table.pair(key).collect();
        let mut all = std::mem::take(&mut self.unfinished.leaving);
        for slot in slots {
            for leaving in &mut all {
                if slot >= leaving.from && self.is_meant(slot, leaving) && leaving.heard.insert(slot) {
                    self.lose_track(slot, actions);
                }
            }
        }
        self.unfinished.leaving = all;
    }

    fn is_meant(&self, slot: Slot, leaving: &Leaving) -> bool {
        let entry = self.table.entry(slot).filter(|entry| entry.nth < leaving.ever);
        let vip = entry.and_then(|entry| self.placement(entry.index)).map(|placement| placement.vip);
        vip.is_some_and(|vip| leaving.vips.contains(&vip))
    }

    /// A session goes on elsewhere.
    fn lose_track(&mut self, slot: Slot, actions: &mut Vec<Action>) {
        let Some(entry) = self.table.entry_mut(slot) else { return };
        entry.ftp.lose_track();
        let (heap, under_way) = (entry.heap, entry.under_way.is_some());
        let segments = self.held.take_segments(slot).into_iter();
        actions.extend(segments.map(|segment| Action::Release { id: segment.id, mark: None, bytes: None }));
        let rests = self.held.take_rests(slot).into_iter();
        actions.extend(rests.map(|segment| Action::Drop { id: segment.id }));
        if under_way {
            self.give_up_transfers(slot);
        }
        if heap > 0 {
            self.weigh(slot);
        }
    }
}
