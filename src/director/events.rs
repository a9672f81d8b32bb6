//! What the inspector read, turned into expectations, rows and counters.

use std::net::IpAddr;
use std::time::Duration;

use super::Director;
use super::effects::Effects;
use super::expectation::{Awaited, Expectation, Mode, Outcome, Phase, REPEATED, Target};
use super::pinholes::PortChoice;
use super::results::name_of;
use super::table::{Slot, TlsRows};
use super::trace::What;
use crate::ftp::{BlindReason, Event, Session, Source, UnparsedReason, Verb};
use crate::lvs::{ForwardingMethod, network};
use crate::state::sets::{Key, Name, Set};
use crate::steer::{Placement, Row, RowChange, active, exact, range, tls};
use crate::time::Time;

impl Director {
    /// Does what the events of the last segment say.
    pub(super) fn apply_events(&mut self, now: Time, slot: Slot) -> Effects {
        let (mut effects, mut given) = (Effects::default(), self.take_names(slot));
        let Some(placement) = self.table.entry(slot).and_then(|entry| self.placement(entry.index)).cloned() else {
            return effects;
        };
        // A blind session keeps its pinhole: what it says cannot be read any more. Nor can, yet, what comes behind a gap: where
        // replies are not seen the client may connect before that is over.
        let behind = |ftp: &Session| placement.forwarding != ForwardingMethod::Nat && ftp.is_behind();
        effects.keep_mark =
            self.table.entry(slot).is_some_and(|entry| entry.ftp.blind().is_some() || behind(&entry.ftp));
        let events = std::mem::take(&mut self.events);
        let last = events.iter().rposition(|event| names(event).is_some());
        for (at, event) in events.iter().enumerate() {
            self.count_event(&placement, event);
            if let Some(mode) = names(event).filter(|_| last.is_some_and(|last| at < last)) {
                self.skip(now, slot, &placement, mode, &mut effects);
                continue;
            }
            match event {
                Event::AskPassive { .. } => self.ask_passive(now, slot, &placement, &mut effects),
                Event::ExpectPassive { said, port, .. } => {
                    self.expect_passive(now, slot, &placement, (said.port, *port), &mut effects);
                }
                Event::ExpectActive { address, source, .. } => {
                    let earlier = *source == Source::Earlier;
                    let target = if earlier { Target::ActiveOrDefault(*address) } else { Target::Active(*address) };
                    self.expect_active(now, slot, &placement, target, &mut effects);
                }
                Event::Transfer { verb, mode } => {
                    self.begin_transfer(slot, &placement, (*verb, *mode), name_of(&mut given, *verb));
                    self.transfer(now, slot, &placement, &mut effects);
                }
                Event::TransferOver { code } => self.final_reply(now, slot, *code, &mut effects),
                Event::Cancel { .. } => self.end_expectation(now, slot, Outcome::Superseded, &mut effects),
                Event::End => {
                    self.end_expectation(now, slot, Outcome::Superseded, &mut effects);
                    self.end_blindness(slot, &mut effects);
                    self.give_up_transfers(slot);
                }
                Event::Blind { reason: BlindReason::Tls | BlindReason::Gssapi } => {
                    self.go_blind(now, slot, &placement, &mut effects);
                    self.give_up_transfers(slot);
                }
                Event::Command { verb } => {
                    self.heard_command(slot, &placement, *verb);
                    match verb {
                        Verb::Abor => self.abort_transfers(slot),
                        Verb::User => self.name_user(slot, name_of(&mut given, *verb)),
                        _ => {}
                    }
                }
                Event::Sighted => self.end_blindness(slot, &mut effects),
                _ => {}
            }
        }
        self.events = events;
        effects
    }

    /// A data connection that a later line of the same go supersedes: its row would not be written. Sixteen PORTs cost no more
    /// than one.
    fn skip(&mut self, now: Time, slot: Slot, placement: &Placement, named: Named, effects: &mut Effects) {
        self.end_expectation(now, slot, Outcome::Superseded, effects);
        let mode = match named {
            Named::Port(mode) => mode,
            // Nothing is expected yet.
            Named::Question if placement.forwarding == ForwardingMethod::Nat => return,
            Named::Question => Mode::Passive,
        };
        self.count_outcome(placement.index, mode, Outcome::Superseded);
        self.note(slot, What::Ended { mode, outcome: Outcome::Superseded });
    }

    /// PASV, EPSV. Where replies are seen nothing is expected before the server has named a port. Elsewhere a server with a
    /// range of its own is known by the port, and the pinhole opens now.
    fn ask_passive(&mut self, now: Time, slot: Slot, placement: &Placement, effects: &mut Effects) {
        self.end_expectation(now, slot, Outcome::Superseded, effects);
        if placement.forwarding == ForwardingMethod::Nat {
            return;
        }
        effects.keep_mark |= range::steers(placement);
        self.open(now, slot, placement, Target::Passive { port: 0, vip_port: 0 }, effects);
    }

    /// 227, 229: the port is known.
    fn expect_passive(
        &mut self,
        now: Time,
        slot: Slot,
        placement: &Placement,
        (port, vip_port): (u16, u16),
        effects: &mut Effects,
    ) {
        self.end_expectation(now, slot, Outcome::Superseded, effects);
        if range::steers(placement) {
            effects.answer = Some(placement.index);
        }
        self.open(now, slot, placement, Target::Passive { port, vip_port }, effects);
    }

    /// PORT, EPRT, or a transfer on the default data port.
    fn expect_active(&mut self, now: Time, slot: Slot, placement: &Placement, target: Target, effects: &mut Effects) {
        self.end_expectation(now, slot, Outcome::Superseded, effects);
        if let Target::Active(address) | Target::ActiveOrDefault(address) = target
            && address.is_ipv4() == placement.vip.is_ipv4()
        {
            self.open(now, slot, placement, target, effects);
        }
    }

    /// Expects a data connection: its rows are asked for, and it is awaited.
    pub(super) fn open(&mut self, now: Time, slot: Slot, placement: &Placement, target: Target, effects: &mut Effects) {
        let Some(key) = self.table.entry(slot).map(|entry| entry.key) else { return };
        let (client, index) = (key.client(), placement.index);
        let marks = self.setup.marks;
        let active = |address| active::rows(marks, placement, address, key.server());
        let mut rows = match target {
            Target::Passive { port: 0, .. } => Vec::new(),
            Target::Passive { .. } if range::steers(placement) => Vec::new(),
            Target::Passive { port, vip_port } if placement.public_ports.is_some() => {
                self.public_rows(now, placement, client.ip(), (port, vip_port))
            }
            Target::Passive { port, vip_port } => {
                let exact = exact::row(marks, placement, client.ip(), vip_port);
                let translated = exact::translated(placement, client.ip(), vip_port, port);
                if vip_port == port { vec![exact] } else { vec![exact, translated] }
            }
            Target::ActiveOrDefault(address) if address != client => [active(address), active(client)].concat(),
            Target::Active(address) | Target::ActiveOrDefault(address) => active(address),
        };
        self.drop_taken(now, placement, target, &mut rows);
        self.hold_rows(now, placement, &rows, effects);
        self.expect(now, slot, placement, target, rows);
        match target {
            Target::Passive { port: 0, .. } if !range::steers(placement) => {}
            Target::Passive { port, .. } => {
                // The client's data connection may come from any address of its network.
                self.await_data(slot, (index, Mode::Passive, network(client.ip(), placement.client_prefix), port));
            }
            Target::Active(address) => self.await_data(slot, (index, Mode::Active, address.ip(), address.port())),
            Target::ActiveOrDefault(address) => {
                self.await_data(slot, (index, Mode::Active, address.ip(), address.port()));
                self.await_data(slot, (index, Mode::Active, client.ip(), client.port()));
            }
        }
    }

    /// The rows of a public port; none where no public port was told, or it is taken meanwhile.
    fn public_rows(&mut self, now: Time, placement: &Placement, client: IpAddr, ports: (u16, u16)) -> Vec<Row> {
        let choice = PortChoice { marks: self.setup.marks, placement, reserved: &self.reserved };
        if !self.pinholes.is_free(&choice, client, ports, now) {
            if let Some(counters) = self.counting.cluster(placement.cluster) {
                counters.unparsed(UnparsedReason::PortTaken);
            }
            return Vec::new();
        }
        exact::public(self.setup.marks, placement, client, ports).into()
    }

    /// No port was free, the reply had no room for another, or another session has named the same: this data connection fails
    /// rather than take another's place.
    fn drop_taken(&mut self, now: Time, placement: &Placement, target: Target, rows: &mut Vec<Row>) {
        if rows.iter().any(|row| self.pinholes.is_taken(row, now)) {
            match target {
                // One of the two is enough.
                Target::ActiveOrDefault(_) => {
                    // A port has one row, or two whose keys begin alike: without one of them the other would lead some calls astray.
                    let port = |row: &Row| row.key.iter().take(3).cloned().collect::<Key>();
                    let taken = rows.iter().filter(|row| self.pinholes.is_taken(row, now));
                    let taken: Vec<Key> = taken.map(port).collect();
                    rows.retain(|row| !taken.contains(&port(row)));
                }
                Target::Passive { .. } | Target::Active(_) => rows.clear(),
            }
            if let Some(counters) = self.counting.cluster(placement.cluster) {
                counters.unparsed(UnparsedReason::PortTaken);
            }
        }
    }

    /// The data connection came: counted once; its rows stay for its repetitions.
    pub(super) fn used(&mut self, now: Time, slot: Slot) {
        let Some(entry) = self.table.entry_mut(slot) else { return };
        let index = entry.index;
        let Some(expectation) = entry.expectation.as_mut() else { return };
        expectation.meet(now);
        let (mode, serial, awaited) =
            (expectation.mode(), expectation.serial, std::mem::take(&mut expectation.awaited));
        expectation.rows.iter().for_each(|row| self.pinholes.met(row));
        awaited.into_iter().for_each(|awaited| self.waiting.remove(awaited, slot, serial));
        self.doubted.remove(&slot);
        self.count_outcome(index, mode, Outcome::Used);
        self.note(slot, What::Ended { mode, outcome: Outcome::Used });
        self.note_landing(now, slot);
        self.table.schedule(slot);
    }

    /// The session expects nothing any more.
    pub(super) fn end_expectation(&mut self, now: Time, slot: Slot, outcome: Outcome, effects: &mut Effects) {
        drop(self.let_go(now, slot, outcome, effects));
    }

    /// Takes a session's expectation away: its rows go, and nothing is awaited any more.
    pub(super) fn let_go(
        &mut self,
        now: Time,
        slot: Slot,
        outcome: Outcome,
        effects: &mut Effects,
    ) -> Option<Box<Expectation>> {
        let entry = self.table.entry_mut(slot)?;
        let index = entry.index;
        let mut expectation = entry.expectation.take()?;
        self.doubted.remove(&slot);
        if !expectation.used && expectation.is_open() {
            self.count_outcome(index, expectation.mode(), outcome);
            self.note(slot, What::Ended { mode: expectation.mode(), outcome });
            // one whose data connection came waits no longer
            expectation.rows.iter().for_each(|row| self.pinholes.met(row));
            if self.placement(index).is_some_and(|placement| placement.public_ports.is_some()) {
                self.pinholes.rest(&expectation.rows, now, now + REPEATED);
            }
        }
        // Without its translation an exact row leads to a port that nobody named: both go together.
        let pair = expectation.rows.iter().any(|row| row.set.name == Name::Translated);
        let outlives = pair && expectation.rows.iter().any(|row| self.pinholes.stands(row, now));
        let leave = !outlives && (expectation.used || expectation.deadline <= now);
        let pinholes = &mut self.pinholes;
        let let_go = |row| if leave { pinholes.forget(row) } else { pinholes.release(row) };
        let gone: Vec<_> = expectation.rows.iter().filter_map(let_go).collect();
        for change in gone {
            // What the same packet asked for and took back is not written at all.
            let asked = effects.wait.len();
            effects.wait.retain(|wait| !(matches!(wait, RowChange::Put(..)) && place(wait) == place(&change)));
            if effects.wait.len() == asked {
                effects.remove.push(change);
            }
        }
        for awaited in std::mem::take(&mut expectation.awaited) {
            self.waiting.remove(awaited, slot, expectation.serial);
        }
        Some(expectation)
    }

    /// Under TLS nothing can be expected: pinholes for as long as the session lives, at first for `pinhole_timeout`. IPVS
    /// must be seen to have the connection for more: two packets with a forged address must not hold a pinhole.
    fn go_blind(&mut self, now: Time, slot: Slot, placement: &Placement, effects: &mut Effects) {
        self.end_blindness(slot, effects);
        let Some(key) = self.table.entry(slot).map(|entry| entry.key) else { return };
        let soon = self.timeout(placement);
        let review = now + self.confirmed_for().max(soon);
        let mut standing =
            TlsRows { placement: self.kept.keep(placement), taken: Vec::new(), review, confirmed: false };
        for row in tls::rows(self.setup.marks, placement, key.client(), key.server()) {
            if self.pinholes.is_taken(&row, now) {
                standing.taken.push(row.set);
            } else {
                effects.wait.push(self.pinholes.hold(&row, now, soon));
            }
        }
        self.table.stand(slot, Some(standing));
    }

    /// The session ended, or can be read again (CCC).
    pub(super) fn end_blindness(&mut self, slot: Slot, effects: &mut Effects) {
        let Some(standing) = self.table.stand(slot, None) else { return };
        let Some(entry) = self.table.entry(slot) else { return };
        let placement = self.placement(entry.index);
        let soon = placement.map_or(Duration::from_secs(10), |placement| self.timeout(placement));
        for row in standing.rows(self.setup.marks, &self.kept, &entry.key) {
            match self.pinholes.release(&row) {
                // Another session of this client may just have opened the same pinhole: it closes by itself.
                Some(RowChange::Delete(set, _)) if matches!(set.name, Name::Open | Name::TunnelOpen) => {
                    effects.remove.push(RowChange::Refresh(row, soon));
                }
                change => effects.remove.extend(change),
            }
        }
    }

    fn hold_rows(&mut self, now: Time, placement: &Placement, rows: &[Row], effects: &mut Effects) {
        let timeout = self.timeout(placement);
        // Removals go first: a row that goes and is made again by the same packet stands afterwards.
        effects.wait.extend(rows.iter().map(|row| self.pinholes.hold(row, now, timeout)));
    }

    fn expect(&mut self, now: Time, slot: Slot, placement: &Placement, target: Target, rows: Vec<Row>) {
        let (serial, deadline) = (self.number(), now + self.timeout(placement));
        let by_range = target.mode() == Mode::Passive && range::steers(placement);
        self.renounce_landing(slot);
        if let Some(entry) = self.table.entry_mut(slot) {
            entry.expectation = Some(Box::new(Expectation {
                target,
                phase: Phase::Named,
                serial,
                rows,
                deadline,
                used: false,
                awaited: Vec::new(),
                by_range,
            }));
        }
    }

    fn await_data(&mut self, slot: Slot, awaited: Awaited) {
        let Some(entry) = self.table.entry(slot) else { return };
        let Some(serial) = entry.expectation.as_ref().map(|expectation| expectation.serial) else { return };
        self.waiting.add(awaited, slot, serial);
        if let Some(expectation) = self.table.entry_mut(slot).and_then(|entry| entry.expectation.as_mut()) {
            expectation.awaited.push(awaited);
        }
    }

    pub(super) fn timeout(&self, placement: &Placement) -> Duration {
        self.setup.clusters.get(placement.cluster).map_or(Duration::from_secs(10), |cluster| cluster.pinhole_timeout)
    }

    /// A packet was over a limit of the director's.
    pub(super) fn count_limited(&mut self, cluster: usize, limit: &'static str) {
        if let Some(counters) = self.counting.cluster(cluster) {
            counters.limit(limit);
        }
    }

    fn count_outcome(&mut self, index: u16, mode: Mode, outcome: Outcome) {
        let cluster = self.placement(index).map(|placement| placement.cluster);
        if let Some(counters) = cluster.and_then(|cluster| self.counting.cluster(cluster)) {
            counters.outcome(mode, outcome);
        }
    }

    pub(super) fn count_event(&mut self, placement: &Placement, event: &Event) {
        if let Some(counters) = self.counting.cluster(placement.cluster) {
            counters.event(event);
        }
    }
}

/// What an event says of the only data connection that a session may expect.
#[derive(Clone, Copy)]
enum Named {
    /// Where the data connection goes to.
    Port(Mode),
    /// That the client has asked for a port, and no reply has named it.
    Question,
}

const fn names(event: &Event) -> Option<Named> {
    match event {
        Event::ExpectActive { .. } => Some(Named::Port(Mode::Active)),
        Event::ExpectPassive { .. } => Some(Named::Port(Mode::Passive)),
        Event::AskPassive { .. } => Some(Named::Question),
        _ => None,
    }
}

/// The place in the kernel that a change is about.
const fn place(change: &RowChange) -> (Set, &Key) {
    match change {
        RowChange::Put(row, _) | RowChange::Refresh(row, _) => (row.set, &row.key),
        RowChange::Delete(set, key) => (*set, key),
    }
}
