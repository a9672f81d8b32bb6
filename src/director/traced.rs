//! What `ftpdirector trace` shows: each command, reply, expectation and row of the sessions that someone listens to.
//!
//! While no trace runs each of these costs one branch. Arguments of commands are never shown, and the text of a reply
//! only where it cannot echo a login: [`Talk`].

use super::effects::Effects;
use super::filter::Filter;
use super::table::{SessionEntry, Slot};
use super::trace::{Talk, TraceEvent, TracedSegment, Tracer, What, line_of};
use super::{Director, names_of};
use crate::ftp::{Direction, Event};
use crate::steer::{Row, range};
use crate::wire;

/// How many events may wait until they are fetched; more are counted as lost.
const MOST: usize = 16_384;

impl Director {
    /// Keeps events of sessions that one of these filters wants, for [`Director::take_trace`]; none: keeps nothing.
    pub fn listen(&mut self, filters: Vec<Filter>) {
        if filters.is_empty() {
            self.tracer = None;
        } else {
            self.tracer.get_or_insert_default().filters = filters;
        }
    }

    /// The events since the last call, and how many did not fit.
    pub fn take_trace(&mut self) -> (Vec<TraceEvent>, u64) {
        let taken = |tracer: &mut Box<Tracer>| (std::mem::take(&mut tracer.events), std::mem::take(&mut tracer.lost));
        self.tracer.as_mut().map(taken).unwrap_or_default()
    }

    /// Keeps one event of a session.
    pub(super) fn note(&mut self, slot: Slot, what: What) {
        self.remember_what(slot, &what);
        let Some(tracer) = &self.tracer else { return };
        let Some(entry) = self.table.entry(slot) else { return };
        let (client, far_end) = (entry.key.client(), entry.key.server());
        let Some(placement) = self.placement(entry.index) else { return };
        let Some((cluster, server)) = names_of(&self.setup, placement) else { return };
        if !tracer.filters.iter().any(|filter| filter.wants(client.ip(), cluster, server)) {
            return;
        }
        let (cluster, server) = (cluster.to_owned(), server.to_owned());
        let Some(tracer) = &mut self.tracer else { return };
        if tracer.events.len() >= MOST {
            tracer.lost = tracer.lost.saturating_add(1);
        } else {
            tracer.events.push(TraceEvent { client, far_end, cluster, server, what });
        }
    }

    /// What a segment looks like before the inspector may edit it; `None` while no trace runs.
    pub(super) fn overhear(
        &self,
        slot: Slot,
        direction: Direction,
        packet: &wire::Packet,
        bytes: &[u8],
    ) -> Option<TracedSegment> {
        self.tracer.as_ref()?;
        let entry = self.table.entry(slot)?;
        let shown = direction == Direction::ToClient && entry.ftp.blind().is_none();
        let said = if shown { bytes.get(packet.payload.clone()).unwrap_or_default().to_vec() } else { Vec::new() };
        Some(TracedSegment { seq: packet.tcp.seq, ack: packet.tcp.ack, awaiting: entry.ftp.awaiting(), said })
    }

    /// Keeps the events of one segment, or of a timer.
    pub(super) fn note_events(&mut self, slot: Slot, heard: Option<&TracedSegment>) {
        let Some(tracer) = self.tracer.as_mut().filter(|_| !self.events.is_empty()) else { return };
        let awaiting = self.table.entry(slot).map_or(0, |entry| entry.ftp.awaiting());
        // Of a session that was there before anybody listened it is not known what is being answered.
        let before = heard.map_or(awaiting, |heard| heard.awaiting);
        let talk = tracer.talks.entry(slot).or_insert(Talk { secret: before });
        let mut lines = heard.map(|heard| heard.said.as_slice()).unwrap_or_default();
        let (seq, ack) = heard.map_or((0, 0), |heard| (heard.seq, heard.ack));
        let mut noted = Vec::with_capacity(self.events.len());
        for event in &self.events {
            noted.push(match *event {
                Event::Command { verb } => {
                    talk.command(verb, awaiting);
                    What::Command { verb, seq, ack }
                }
                Event::Reply { code } => {
                    let (text, shown) = (line_of(code, &mut lines), talk.reply(code));
                    What::Reply { code, seq, ack, text: text.filter(|_| shown) }
                }
                other => What::Told(other),
            });
        }
        for what in noted {
            self.note(slot, what);
        }
    }

    /// Keeps the rows that the daemon asks for.
    pub(super) fn note_rows(&mut self, slot: Slot, effects: &Effects) {
        if self.tracer.is_none() {
            return;
        }
        for change in effects.wait.iter().chain(&effects.remove) {
            self.note(slot, What::Row(change.clone()));
        }
    }

    /// Keeps the row that a control packet with its mark writes itself.
    pub(super) fn note_pinhole(&mut self, slot: Slot) {
        if self.tracer.is_none() {
            return;
        }
        let Some(entry) = self.table.entry(slot).filter(|entry| entry.ftp.blind().is_none()) else { return };
        let Some(row) = self.pinhole(entry) else { return };
        let Some(timeout) = self.placement(entry.index).map(|placement| self.timeout(placement)) else { return };
        self.note(slot, What::Opened { row, timeout });
    }

    /// The row of `open` that a session's own packets write.
    pub(super) fn pinhole(&self, entry: &SessionEntry) -> Option<Row> {
        let placement = self.placement(entry.index)?;
        Some(range::pinhole(self.setup.marks, placement, entry.key.client().ip()))
    }

    /// Keeps that a session began.
    pub(super) fn note_open(&mut self, slot: Slot) {
        if let Some(tracer) = &mut self.tracer {
            tracer.talks.insert(slot, Talk { secret: 0 });
        }
        self.note(slot, What::Open);
    }

    /// Keeps that a session is forgotten.
    pub(super) fn note_closed(&mut self, slot: Slot) {
        self.note(slot, What::Closed);
        if let Some(tracer) = &mut self.tracer {
            tracer.talks.remove(&slot);
        }
    }
}
