//! Control connections that say nothing, or nothing that is queued: which may have a data connection, and which IPVS still has.

use std::net::SocketAddr;
use std::time::Duration;

use super::Director;
use super::effects::{Effects, rows_of};
use super::interface::Action;
use super::key::ConnectionKey;
use super::table::{SessionEntry, Slot};
use super::trace::What;
use crate::ftp::Verb;
use crate::time::Time;

impl Director {
    /// Whether a control connection that is silent may have a data connection. One that cannot be read may, and one that
    /// is not known: it began before this process.
    #[must_use]
    pub fn may_transfer(&self, client: SocketAddr, far_end: SocketAddr) -> bool {
        let key = ConnectionKey::new(client, far_end);
        let mut sessions = self.table.pair(&key).filter_map(|slot| self.table.entry(slot)).peekable();
        sessions.peek().is_none() || sessions.any(may_transfer)
    }

    /// IPVS was made to remember a control connection that is silent; so do we.
    pub fn refreshed(&mut self, now: Time, client: SocketAddr, far_end: SocketAddr) {
        for slot in self.pair(client, far_end) {
            self.table.touch(slot, now);
            self.note(slot, What::Refreshed);
        }
    }

    /// IPVS has this connection, established. One under TLS keeps its pinholes and its place for that, and only for that: its
    /// packets are mostly not queued, and anyone can forge the first. While one is not confirmed IPVS is looked at again and again:
    /// what was confirmed a short while ago is not written again, or ten thousand sessions would ask for more rows than are written.
    pub fn confirmed(&mut self, now: Time, client: SocketAddr, far_end: SocketAddr, actions: &mut Vec<Action>) {
        let review = now + self.confirmed_for();
        for slot in self.pair(client, far_end) {
            self.confirm_transfer(now, slot, actions);
            if self.was_confirmed(slot, now + self.confirmed_for().saturating_sub(self.setup.idle / 8)) {
                self.table.touch(slot, now);
                continue;
            }
            let Some((standing, key)) = self.table.confirm(slot, review) else { continue };
            let rows = standing.rows(self.setup.marks, &self.kept, &key);
            // As long as IPVS keeps it from now on, should this process end; while it runs, the review takes them away.
            let wait = rows.filter_map(|row| self.pinholes.refresh(&row, now, self.setup.idle)).collect();
            self.table.touch(slot, now);
            let effects = Effects { wait, ..Effects::default() };
            self.note_rows(slot, &effects);
            actions.extend(rows_of(effects));
            self.table.schedule(slot);
        }
    }

    /// Whether IPVS was seen to have a session under TLS, and it stays at least until then for that.
    fn was_confirmed(&self, slot: Slot, until: Time) -> bool {
        let standing = self.table.entry(slot).and_then(|entry| entry.standing.as_ref());
        standing.is_some_and(|standing| standing.confirmed && standing.review > until)
    }

    /// The sessions on a pair of ports: IPVS has one connection there, and does not say which of them it is.
    fn pair(&self, client: SocketAddr, far_end: SocketAddr) -> Vec<Slot> {
        self.table.pair(&ConnectionKey::new(client, far_end)).collect()
    }

    /// Whether a session under TLS waits to be confirmed for the first time, or a slow transfer.
    #[must_use]
    pub fn wants_confirmation(&self) -> bool {
        self.table.any_unconfirmed() || !self.doubted.is_empty()
    }

    /// How long what was confirmed stays so: IPVS is looked at at least every two fifths of its timeout.
    pub(super) fn confirmed_for(&self) -> Duration {
        self.setup.idle / 2
    }

    /// Whether a session under TLS has outlived what is known of it.
    pub(super) fn is_unconfirmed(&self, now: Time, slot: Slot) -> bool {
        let standing = self.table.entry(slot).and_then(|entry| entry.standing.as_ref());
        standing.is_some_and(|standing| standing.review <= now)
    }
}

fn may_transfer(entry: &SessionEntry) -> bool {
    let Some(verb) = entry.verb.filter(|_| entry.ftp.blind().is_none()) else { return true };
    // RFC 959 §4.1.3: STAT, ABOR and QUIT may be sent during a transfer; NOOP is sent by clients.
    verb.transfers() || matches!(verb, Verb::Noop | Verb::Stat | Verb::Abor | Verb::Quit)
}
