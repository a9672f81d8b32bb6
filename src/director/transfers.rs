//! What becomes of an expectation while its transfer takes its time: slow servers, slow users, transfers that are refused.
//!
//! What was named stays named until it is superseded or used, or the session ends (RFC 959 §3.2). Its rows stand while a data
//! connection may come: for `pinhole_timeout` after PORT, PASV or its reply; from a transfer verb on until the server's final
//! reply where replies are seen (NAT), else until the next command. Nobody holds a row that long with a few forged packets:
//! IPVS is asked whether it has the control connection before `pinhole_timeout` is over.

use super::Director;
use super::effects::{Effects, rows_of};
use super::expectation::{Outcome, Phase, Target};
use super::interface::Action;
use super::pinholes::PortChoice;
use super::table::Slot;
use crate::ftp::Verb;
use crate::lvs::ForwardingMethod;
use crate::steer::{Placement, range};
use crate::time::Time;

/// A row that is younger is not written again for a transfer verb.
const YOUNG: std::time::Duration = std::time::Duration::from_secs(1);

impl Director {
    /// RETR, STOR, LIST …: the time starts again; the server of an active transfer calls only now.
    pub(super) fn transfer(&mut self, now: Time, slot: Slot, placement: &Placement, effects: &mut Effects) {
        let timeout = self.timeout(placement);
        let Some(expectation) = self.table.entry_mut(slot).and_then(|entry| entry.expectation.as_mut()) else { return };
        if expectation.used {
            return;
        }
        let (target, closed) = (expectation.target, !expectation.is_open());
        let begun = Phase::Transferring { ask: Some(now + timeout / 2) };
        if closed {
            if !self.may_open_again(now, slot, placement, target) {
                return;
            }
            self.open(now, slot, placement, target, effects);
        }
        let Some(expectation) = self.table.entry_mut(slot).and_then(|entry| entry.expectation.as_mut()) else { return };
        expectation.phase = begun;
        effects.keep_mark |= expectation.by_range;
        if closed || (now + timeout).since(expectation.deadline) < YOUNG {
            return;
        }
        expectation.deadline = now + timeout;
        let rows = expectation.rows.clone();
        effects.wait.extend(rows.iter().filter_map(|row| self.pinholes.refresh(row, now, timeout)));
    }

    /// Whether what was named may still be opened: a reload may have declared other ports since, and another session of the client
    /// may have the place now.
    fn may_open_again(&self, now: Time, slot: Slot, placement: &Placement, target: Target) -> bool {
        let Some(client) = self.table.entry(slot).map(|entry| entry.key.client().ip()) else { return false };
        match target {
            Target::Passive { port: 0, .. } | Target::Active(_) | Target::ActiveOrDefault(_) => true,
            Target::Passive { port, .. } if !placement.declares(port) => false,
            Target::Passive { .. } if range::steers(placement) => true,
            Target::Passive { port, vip_port } => {
                let choice = PortChoice { marks: self.setup.marks, placement, reserved: &self.reserved };
                self.pinholes.is_free(&choice, client, (port, vip_port), now)
            }
        }
    }

    /// The server's final reply to the transfer verb. One that was refused has no data connection any more.
    pub(super) fn transfer_over(&mut self, now: Time, slot: Slot, code: u16, effects: &mut Effects) {
        let Some(expectation) = self.table.entry_mut(slot).and_then(|entry| entry.expectation.as_mut()) else { return };
        if expectation.used && expectation.is_translated() {
            // Public ports are few.
            return self.end_expectation(now, slot, Outcome::Used, effects);
        }
        if !matches!(expectation.phase, Phase::Transferring { .. }) || expectation.used {
            return;
        }
        expectation.phase = Phase::Named;
        self.doubted.remove(&slot);
        if code >= 400 {
            self.close(now, slot, Outcome::Superseded, effects);
        }
    }

    /// Where replies are not seen, the next command says that the transfer is over, or never began.
    pub(super) fn heard_command(&mut self, slot: Slot, placement: &Placement, verb: Verb) {
        let Some(entry) = self.table.entry_mut(slot) else { return };
        entry.verb = Some(verb);
        let Some(expectation) = entry.expectation.as_mut() else { return };
        if placement.forwarding != ForwardingMethod::Nat && matches!(expectation.phase, Phase::Transferring { .. }) {
            expectation.phase = Phase::Named;
            self.doubted.remove(&slot);
        }
    }

    /// IPVS has the control connection of these rows, established: the transfer that still waits for its data connection keeps
    /// them for as long again, from now on, so that they never lapse in between.
    pub(super) fn confirm_transfer(&mut self, now: Time, slot: Slot, actions: &mut Vec<Action>) {
        if !self.doubted.remove(&slot) {
            return;
        }
        let Some(placement) = self.table.entry(slot).and_then(|entry| self.placement(entry.index)).copied() else {
            return;
        };
        let timeout = self.timeout(&placement);
        let Some(entry) = self.table.entry_mut(slot) else { return };
        let client = entry.key.client().ip();
        let Some(expectation) = entry.expectation.as_mut() else { return };
        if !matches!(expectation.phase, Phase::Transferring { .. }) || expectation.used {
            return;
        }
        expectation.phase = Phase::Transferring { ask: Some(now + timeout / 2) };
        expectation.deadline = now + timeout;
        let (by_range, rows) = (expectation.by_range, expectation.rows.clone());
        let mut effects = Effects::default();
        if by_range {
            let pinhole = range::pinhole(self.setup.marks, &placement, client);
            effects.wait.push(self.pinholes.open_for(pinhole, now, timeout));
        }
        effects.wait.extend(rows.iter().filter_map(|row| self.pinholes.refresh(row, now, timeout)));
        self.note_rows(slot, &effects);
        actions.extend(rows_of(effects));
        self.table.touch(slot, now);
        self.table.schedule(slot);
    }

    /// The time of a session's expectation may be up, or half of it.
    pub(super) fn expire(&mut self, now: Time, slot: Slot, actions: &mut Vec<Action>) {
        let Some(entry) = self.table.entry_mut(slot) else { return };
        let Some(expectation) = entry.expectation.as_mut().filter(|expectation| expectation.is_open()) else { return };
        let (used, over) = (expectation.used, expectation.deadline <= now);
        if let Phase::Transferring { ask } = &mut expectation.phase
            && !used
            && ask.take_if(|ask| *ask <= now).is_some()
        {
            self.doubted.insert(slot);
        }
        if !over {
            return;
        }
        let mut effects = Effects::default();
        if used {
            self.end_expectation(now, slot, Outcome::Expired, &mut effects);
        } else {
            self.close(now, slot, Outcome::Expired, &mut effects);
        }
        self.note_rows(slot, &effects);
        actions.extend(rows_of(effects));
    }

    /// No data connection came: its rows go, what was named stays named.
    fn close(&mut self, now: Time, slot: Slot, outcome: Outcome, effects: &mut Effects) {
        let Some(mut expectation) = self.let_go(now, slot, outcome, effects) else { return };
        expectation.phase = Phase::Closed;
        expectation.rows = Vec::new();
        if let Some(entry) = self.table.entry_mut(slot) {
            entry.expectation = Some(expectation);
        }
    }
}
