//! VIPs that come and go: a director that takes over, and one that steps back.

use std::net::IpAddr;

use super::Director;
use super::interface::Action;
use crate::steer::{RowChange, range, tls};
use crate::time::Time;

/// How many rows are asked for at once.
const ROWS: usize = 256;

impl Director {
    /// IPVS has control connections of these clients with the servers of these indexes, and nobody knows what they asked for
    /// last: the VIP has just come to this machine, or this process to a machine that has it. A PASV or EPSV in flight must
    /// land, so each client gets the pinhole of its server for `pinhole_timeout`. Servers that share a range are known by
    /// exact rows only, which nobody can guess.
    pub fn took_over(&mut self, now: Time, clients: &[(IpAddr, u16)], actions: &mut Vec<Action>) {
        let mut changes = Vec::new();
        for &(client, index) in clients {
            let Some(placement) = self.placement(index).filter(|placement| range::steers(placement)) else { continue };
            let (pinhole, timeout) = (range::pinhole(self.setup.marks, placement, client), self.timeout(placement));
            changes.push(self.pinholes.open_for(pinhole, now, timeout));
        }
        ask(&changes, actions);
    }

    /// As [`Director::took_over`], of clients that may wait for a call: client, index, and the port of the server's end of the
    /// control connection. Nobody knows what their PORT said; the server may call any of the client's ports.
    pub fn may_be_called(&mut self, now: Time, clients: &[(IpAddr, u16, u16)], actions: &mut Vec<Action>) {
        let mut changes = Vec::new();
        for &(client, index, control) in clients {
            let Some(placement) = self.placement(index) else { continue };
            let (row, timeout) = (tls::calls(self.setup.marks, placement, client, control), self.timeout(placement));
            if !self.pinholes.is_taken(&row, now) {
                changes.push(self.pinholes.open_for(row, now, timeout));
            }
        }
        ask(&changes, actions);
    }

    /// These VIPs have left this machine. What their sessions say until they come back is not seen here: each is learned anew
    /// from its next packet. What waited for others before it goes on; what was not read to its end comes again.
    pub fn gave_up(&mut self, vips: &[IpAddr], actions: &mut Vec<Action>) {
        let Self { table, setup, placements, held, .. } = self;
        let vip = |index| placements.get(setup, index).map(|(of, _)| of.vip);
        let (mut changed, mut elsewhere) = (Vec::new(), Vec::new());
        for (slot, entry) in table.iter_mut() {
            if !vip(entry.index).is_some_and(|vip| vips.contains(&vip)) {
                continue;
            }
            entry.ftp.lose_track();
            let segments = held.take_segments(slot).into_iter();
            actions.extend(segments.map(|segment| Action::Release { id: segment.id, mark: None, bytes: None }));
            let rests = held.take_rests(slot).into_iter();
            actions.extend(rests.map(|segment| Action::Drop { id: segment.id }));
            if entry.heap > 0 {
                changed.push(slot);
            }
            if entry.under_way.is_some() {
                elsewhere.push(slot);
            }
        }
        elsewhere.into_iter().for_each(|slot| self.give_up_transfers(slot));
        changed.into_iter().for_each(|slot| self.weigh(slot));
    }
}

fn ask(changes: &[RowChange], actions: &mut Vec<Action>) {
    let some = changes.chunks(ROWS).map(|some| Action::Rows { ticket: None, changes: some.to_vec() });
    actions.extend(some);
}
