//! VIPs that come: a director that takes over. (Those that leave: `in_parts`.)

use std::net::{IpAddr, SocketAddr};

use super::Director;
use super::interface::Action;
use crate::steer::{Placement, RowChange, active, range, tls};
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

    /// IPVS has these calls, which their clients have answered: client, the VIP and the port of it that was called from, index. The
    /// rows of the former process that they were for have done their work, and their clients may name the same ports again.
    /// (IPVS remembers a call for two minutes more. Was the port named once more meanwhile, for the same server, that call can
    /// lose its row to another session of its client.)
    pub fn answered(&mut self, calls: &[(SocketAddr, SocketAddr, u16)]) {
        for &(client, vip, index) in calls {
            let Some(placement) = self.placement(index).copied() else { continue };
            self.pinholes.answered(&active::row_of_call(self.setup.marks, &placement, client, vip.port()));
            // The other row of a server with `active_ports` goes by the port that it calls from at first. Of an unusual control
            // port that is not known here: such a row ends by itself.
            let any = placement.active_ports.is_some();
            for port in [vip.port(), placement.calls_from(21), placement.calls_from(990)].into_iter().filter(|_| any) {
                let of_one_port = Placement { active_ports: None, ..placement };
                self.pinholes.answered(&active::row_of_call(self.setup.marks, &of_one_port, client, port));
            }
        }
    }
}

fn ask(changes: &[RowChange], actions: &mut Vec<Action>) {
    let some = changes.chunks(ROWS).map(|some| Action::Rows { ticket: None, changes: some.to_vec() });
    actions.extend(some);
}
