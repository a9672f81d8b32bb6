//! How each transfer ended: counted once, and told to the transfer log.
//!
//! Where replies are seen (NAT) a transfer is counted at the server's final reply to its verb. Where they are not (DR, TUN) it is
//! counted as unknown when its verb is read; whether its data connection came is what [`super::Outcome`] says. A transfer whose
//! session ends, goes dark or is read elsewhere first is unknown too, or aborted if the client had asked for that.

use std::collections::BTreeSet;

use super::effects::Effects;
use super::interface::Setup;
use super::table::Slot;
use super::under_way::{Records, Transfer, TransferOutcome, TransferRecord, UnderWay};
use super::{Director, names_of};
use crate::ftp::{Mode, Named, Verb};
use crate::lvs::ForwardingMethod;
use crate::steer::Placement;
use crate::time::Time;

impl Director {
    /// Keeps a record of each transfer from now on, for [`Director::take_transfers`].
    pub fn log_transfers(&mut self) {
        self.records.get_or_insert_default();
    }

    /// The transfers that ended since the last call, and how many did not fit.
    pub fn take_transfers(&mut self) -> (Vec<TransferRecord>, u64) {
        self.records.as_mut().map(Records::take).unwrap_or_default()
    }

    /// What the client named with the commands of the last segment, where names are wanted.
    pub(super) fn take_names(&mut self, slot: Slot) -> Vec<Named> {
        self.table.entry_mut(slot).map(|entry| entry.ftp.take_names()).unwrap_or_default()
    }

    /// RETR, STOR, LIST, …
    pub(super) fn begin_transfer(
        &mut self,
        slot: Slot,
        placement: &Placement,
        (verb, mode): (Verb, Mode),
        path: Option<Box<[u8]>>,
    ) {
        let transfer = Transfer { verb, mode, landed: None, aborting: false, path };
        if placement.forwarding == ForwardingMethod::Nat {
            self.under_way(slot, |under_way| under_way.begin(transfer));
        } else {
            self.count_transfer(Time::ZERO, slot, &transfer, 0);
        }
    }

    /// The final reply to the oldest transfer; what is named is the last one's.
    pub(super) fn final_reply(&mut self, now: Time, slot: Slot, code: u16, effects: &mut Effects) {
        let last = self.end_transfer(now, slot, code);
        if last && code > 0 {
            self.transfer_over(now, slot, code, effects);
        }
    }

    /// The oldest transfer is over. Says whether it was the only one.
    fn end_transfer(&mut self, now: Time, slot: Slot, code: u16) -> bool {
        let Some(under_way) = self.table.entry_mut(slot).and_then(|entry| entry.under_way.as_mut()) else {
            return true;
        };
        let (ended, left) = (under_way.end(), under_way.open());
        if let Some(transfer) = ended {
            self.count_transfer(now, slot, &transfer, code);
        }
        self.under_way(slot, |_| {});
        left == 0
    }

    /// No final reply will be seen of what is under way.
    pub(super) fn give_up_transfers(&mut self, slot: Slot) {
        while self.table.entry(slot).and_then(|entry| entry.under_way.as_ref()).is_some_and(|some| some.open() > 0) {
            self.end_transfer(Time::ZERO, slot, 0);
        }
    }

    /// The user has a name.
    pub(super) fn name_user(&mut self, slot: Slot, name: Option<Box<[u8]>>) {
        if name.is_some() {
            self.under_way(slot, |under_way| under_way.user = name);
        }
    }

    /// The client has sent ABOR.
    pub(super) fn abort_transfers(&mut self, slot: Slot) {
        if let Some(under_way) = self.table.entry_mut(slot).and_then(|entry| entry.under_way.as_mut()) {
            under_way.abort();
        }
    }

    /// A data connection that the session expects has landed. Without a final reply nobody asks when.
    pub(super) fn note_landing(&mut self, now: Time, slot: Slot) {
        let index = self.table.entry(slot).map(|entry| entry.index);
        let placement = index.and_then(|index| self.placement(index));
        if placement.is_some_and(|placement| placement.forwarding == ForwardingMethod::Nat) {
            self.under_way(slot, |under_way| under_way.land(now));
        }
    }

    /// Another data connection is expected.
    pub(super) fn renounce_landing(&mut self, slot: Slot) {
        if self.table.entry(slot).is_some_and(|entry| entry.under_way.is_some()) {
            self.under_way(slot, UnderWay::renounce);
        }
    }

    /// Of servers that the next configuration does not have, or has by another name, the transfers are counted under the name that
    /// they have now.
    pub(super) fn part_with(&mut self, next: &Setup) {
        let stay: BTreeSet<_> = named(next).collect();
        let leave: BTreeSet<u16> =
            named(&self.setup).filter(|named| !stay.contains(named)).map(|(index, _)| index).collect();
        if leave.is_empty() {
            return;
        }
        let leaves = |&slot: &Slot| self.table.entry(slot).is_some_and(|entry| leave.contains(&entry.index));
        let slots: Vec<Slot> = self.busy.iter().copied().filter(leaves).collect();
        slots.into_iter().for_each(|slot| self.give_up_transfers(slot));
    }

    /// Changes what is under way in a session; nothing is owned by one that has nothing.
    fn under_way(&mut self, slot: Slot, change: impl FnOnce(&mut UnderWay)) {
        let Some(entry) = self.table.entry_mut(slot) else { return };
        let under_way = entry.under_way.get_or_insert_default();
        change(under_way);
        let busy = under_way.open() > 0;
        if under_way.is_idle() {
            entry.under_way = None;
        }
        if busy {
            self.busy.insert(slot);
        } else {
            self.busy.remove(&slot);
        }
    }

    fn count_transfer(&mut self, now: Time, slot: Slot, transfer: &Transfer, code: u16) {
        let Some(index) = self.table.entry(slot).map(|entry| entry.index) else { return };
        let Some(placement) = self.placement(index).copied() else { return };
        let Some(cluster) = self.setup.clusters.get(placement.cluster) else { return };
        let Some(server) = cluster.servers.get(placement.server) else { return };
        let outcome = TransferOutcome::of(code, transfer.aborting);
        self.counting.transfer(&placement, (transfer.verb, transfer.mode, outcome));
        // A SYN that nobody answered was no data connection.
        let timed = code > 0 && outcome != TransferOutcome::NoDataConnection;
        let duration = transfer.landed.filter(|_| timed).map(|landed| now.since(landed));
        if let Some((duration, counters)) = duration.zip(self.counting.cluster(placement.cluster)) {
            counters.transfer_seconds.observe(duration);
        }
        let (Some(records), Some(entry)) = (&mut self.records, self.table.entry(slot)) else { return };
        records.keep(TransferRecord {
            client: entry.key.client(),
            cluster: cluster.name.clone(),
            server: server.clone(),
            verb: transfer.verb,
            mode: transfer.mode,
            outcome,
            code: (code > 0).then_some(code),
            duration,
            user: entry.under_way.as_ref().and_then(|under_way| under_way.user.clone()),
            path: transfer.path.clone(),
        });
    }
}

/// The index of each server, with its cluster's name and its own.
fn named(setup: &Setup) -> impl Iterator<Item = (u16, (&str, &str))> {
    setup.placements.iter().filter_map(|(of, _)| Some((of.index, names_of(setup, of)?)))
}

/// What was named with a command of this verb, which is the first of them that is left.
pub(super) fn name_of(names: &mut Vec<Named>, verb: Verb) -> Option<Box<[u8]>> {
    let at = names.iter().position(|named| named.verb == verb)?;
    Some(names.remove(at).name.into_boxed_slice())
}
