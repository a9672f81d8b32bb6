//! The dynamic rows that this process added, which sessions hold them, and which ports they take.

use std::net::IpAddr;
use std::time::Duration;

use indexmap::{Equivalent, IndexMap};

use super::reserved::Reserved;
use super::resting::Resting;
use crate::ftp::NO_PORT;
use crate::lvs::PortRange;
use crate::state::Marks;
use crate::state::sets::{Key, Name, Set, Value};
use crate::steer::{Placement, Row, RowChange, exact};
use crate::time::Time;

/// How many ports of a range are tried: with half of them open for one client, 32 in a row are taken once in 2³².
const TRIES: u32 = 32;

/// From one try to the next, so that neighbours that are taken together are left at once; a prime, and no divisor of a range
/// that people write.
const STRIDE: u32 = 7_919;

/// How many public ports are looked at: all of a range that a partner's firewall names port by port.
const MOST_PUBLIC: u32 = 256;

/// The dynamic ports (RFC 6335 §6): services are not offered there.
const DYNAMIC: PortRange = match PortRange::new(49152, 65535) {
    Some(range) => range,
    None => PortRange::UNPRIVILEGED,
};

/// Which process a row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowOrigin {
    /// A session of this process asked for it.
    Ours,
    /// It stood when this process began. Its session may live: it is not deleted, and ends by itself.
    Found,
}

struct PinholeState {
    value: Key,
    holders: u32,
    /// How many holders still wait for their data connection; of a row that was found, and that nobody here holds yet, whether
    /// its session may wait for it.
    waiting: u32,
    until: Time,
    origin: RowOrigin,
}

/// The place of a row, to find what stands there. It hashes as the pair that owns its key.
#[derive(Hash)]
struct Place<'a>(Set, &'a [Value]);

impl<'a> Place<'a> {
    fn of(row: &'a Row) -> Self {
        Self(row.set, &row.key)
    }
}

impl Equivalent<(Set, Key)> for Place<'_> {
    fn equivalent(&self, (set, key): &(Set, Key)) -> bool {
        self.0 == *set && self.1 == key.as_slice()
    }
}

/// The rows of all sessions. Sessions of one client on one server share a row; it goes with the last of them.
#[derive(Default)]
pub struct Pinholes {
    /// By position too, so that a million can be gone through in parts: from the last to the first, because the last row takes the
    /// place of one that goes.
    rows: IndexMap<(Set, Key), PinholeState>,
    /// When the last row that was found ends.
    found_until: Option<Time>,
    /// How many rows, the first ones, are still to be looked through for found ones that have ended.
    unswept: usize,
    /// Where the next port is looked for.
    cursor: u32,
    /// Public ports that clients were told in vain.
    resting: Resting,
}

impl Pinholes {
    /// How many rows stand.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Of the `most` rows before position `end` those that should stand, each for as long as it still should.
    pub fn standing(&self, now: Time, end: usize, most: usize) -> impl Iterator<Item = RowChange> {
        let end = end.min(self.rows.len());
        let part = self.rows.get_range(end.saturating_sub(most)..end).into_iter().flatten();
        let live = part.filter(move |(_, standing)| standing.until > now);
        live.map(move |((set, key), standing)| {
            let row = Row { set: *set, key: key.clone(), value: standing.value.clone() };
            RowChange::Put(row, standing.until.since(now))
        })
    }

    /// Notes a row of the former process, which stands until `until`.
    pub fn find(&mut self, row: Row, until: Time) {
        let standing = PinholeState { value: row.value, holders: 0, waiting: 1, until, origin: RowOrigin::Found };
        self.rows.entry((row.set, row.key)).or_insert(standing);
        self.found_until = self.found_until.max(Some(until));
    }

    /// Forgets the rows that were found when the last of them has ended; looks at no more than `most` rows. Says whether some are left
    /// to be looked at.
    pub fn expire_found(&mut self, now: Time, most: usize) -> bool {
        if self.found_until.is_some_and(|until| until <= now) {
            self.found_until = None;
            self.unswept = self.rows.len();
        }
        let end = self.unswept.min(self.rows.len());
        self.unswept = end.saturating_sub(most);
        for at in (self.unswept..end).rev() {
            if self.rows.get_index(at).is_some_and(|(_, standing)| standing.holders == 0) {
                self.rows.swap_remove_index(at);
            }
        }
        self.unswept > 0
    }

    /// One more session holds `row`, which is not taken.
    pub fn hold(&mut self, row: &Row, now: Time, timeout: Duration) -> RowChange {
        let fresh =
            || PinholeState { value: row.value.clone(), holders: 0, waiting: 0, until: now, origin: RowOrigin::Ours };
        let standing = self.rows.entry((row.set, row.key.clone())).or_insert_with(fresh);
        // What was found and has ended is nobody's.
        let over = standing.origin == RowOrigin::Found && standing.holders == 0 && standing.until <= now;
        if standing.value != row.value || over {
            *standing = fresh();
        }
        if standing.holders == 0 {
            // The same place again, at the same server: what it was found for is over.
            standing.waiting = 0;
        }
        let stands = standing.until > now;
        standing.holders = standing.holders.saturating_add(1);
        standing.waiting = standing.waiting.saturating_add(1);
        standing.until = standing.until.max(now + timeout);
        let left = standing.until.since(now);
        if stands { RowChange::Refresh(row.clone(), left) } else { RowChange::Put(row.clone(), left) }
    }

    /// A session that holds `row` starts its time again; not if another session has taken its place meanwhile.
    pub fn refresh(&mut self, row: &Row, now: Time, timeout: Duration) -> Option<RowChange> {
        let standing = self.rows.get_mut(&Place::of(row))?;
        if standing.value != row.value {
            return None;
        }
        standing.until = standing.until.max(now + timeout);
        Some(RowChange::Refresh(row.clone(), standing.until.since(now)))
    }

    /// A pinhole that control packets opened stands on for `timeout`; longer where a session under TLS holds it.
    pub fn open_for(&mut self, pinhole: Row, now: Time, timeout: Duration) -> RowChange {
        self.refresh(&pinhole, now, timeout).unwrap_or(RowChange::Refresh(pinhole, timeout))
    }

    /// Whether the place of `row` belongs to another session's data connection, or is no place at all. A client may name a port
    /// again on another session when the data connection that it was for has come: IPVS knows that one by now.
    #[must_use]
    pub fn is_taken(&self, row: &Row, now: Time) -> bool {
        let again = matches!(row.set.name, Name::Active | Name::ActiveAny);
        let needed = |standing: &PinholeState| !again || standing.waiting > 0;
        let standing = self.rows.get(&Place::of(row));
        row.key.contains(&Value::Port(NO_PORT))
            || standing.is_some_and(|there| there.value != row.value && there.until > now && needed(there))
    }

    /// The data connection of a row that was found, and that no session here holds, has come.
    pub fn answered(&mut self, row: &Row) {
        if let Some(standing) = self.rows.get_mut(&Place::of(row))
            && standing.value == row.value
            && standing.holders == 0
        {
            standing.waiting = 0;
        }
    }

    /// A session that holds `row` waits for its data connection no longer.
    pub fn met(&mut self, row: &Row) {
        if let Some(standing) = self.rows.get_mut(&Place::of(row))
            && standing.value == row.value
        {
            standing.waiting = standing.waiting.saturating_sub(1);
        }
    }

    /// A session no longer holds `row`; the last one takes it away.
    pub fn release(&mut self, row: &Row) -> Option<RowChange> {
        let place = Place::of(row);
        let standing = self.rows.get_mut(&place)?;
        if standing.value != row.value {
            return None;
        }
        standing.holders = standing.holders.saturating_sub(1);
        if standing.holders > 0 || standing.origin == RowOrigin::Found {
            return None;
        }
        let ((set, key), _) = self.rows.swap_remove_entry(&place)?;
        Some(RowChange::Delete(set, key))
    }

    /// As [`Pinholes::release`], after the data connection came or the time is up: the kernel lets the row time out, and
    /// no transaction is spent on it. But a stale translation would send the port's next owner astray.
    pub fn forget(&mut self, row: &Row) -> Option<RowChange> {
        let gone = self.release(row)?;
        (row.set.name == Name::Translated).then_some(gone)
    }

    /// Whether `candidate` may be named for `port` of this server.
    #[must_use]
    pub fn is_free(&self, what: &PortChoice<'_>, client: IpAddr, (port, candidate): (u16, u16), now: Time) -> bool {
        let PortChoice { marks, placement, reserved } = *what;
        let row = exact::row(marks, placement, client, candidate);
        let translated = exact::translated(placement, client, candidate, port);
        if reserved.keeps(placement, candidate) {
            return false;
        }
        if let Some(public) = placement.public_ports {
            return public.contains(candidate) && self.are_vacant(&[row, translated], now);
        }
        if self.rows.contains_key(&Place::of(&translated)) {
            return false;
        }
        let standing = self.rows.get(&Place::of(&row));
        standing.is_none_or(|standing| standing.until <= now || (candidate == port && standing.value == row.value))
    }

    /// Whether this row is to stand on.
    #[must_use]
    pub fn stands(&self, row: &Row, now: Time) -> bool {
        let standing = self.rows.get(&Place::of(row));
        standing.is_some_and(|standing| standing.value == row.value && standing.until > now)
    }

    /// The VIP port to name for `port` of this server: the same, or a free one while the same port of another server
    /// stands open for this client, or is somebody else's at that VIP: of the range first, since firewalls know it, then of
    /// the dynamic ports.
    ///
    /// A row whose data connection came is not free: a retransmitted SYN would carry the other server's mark.
    #[must_use]
    pub fn place(&mut self, what: &PortChoice<'_>, client: IpAddr, port: u16, now: Time) -> u16 {
        let placement = what.placement;
        if let Some(public) = placement.public_ports {
            return self.place_public(what, public, (client, port), now);
        }
        let free = |candidate: u16| self.is_free(what, client, (port, candidate), now);
        if free(port) {
            return port;
        }
        let nearby = tries(placement.passive_ports, port, self.cursor);
        let found = nearby.chain(tries(DYNAMIC, port, self.cursor)).find(|&candidate| free(candidate));
        self.cursor = self.cursor.wrapping_add(1);
        found.unwrap_or(NO_PORT)
    }

    /// A client was told a public port and has not called it, and what was expected there is over: a SYN that is late must not lead to the
    /// next session's server, as long as there is another port.
    pub fn rest(&mut self, rows: &[Row], now: Time, until: Time) {
        for row in rows.iter().filter(|row| row.set.name == Name::Translated) {
            self.resting.add(row.key.clone(), now, until);
        }
    }

    /// The public port to name for `port` of this server: the same if it is one, else one that leads nowhere for this client; rather none
    /// that was told in vain a moment ago. Rows are each address's own: nobody takes another's ports.
    fn place_public(
        &mut self,
        what: &PortChoice<'_>,
        public: PortRange,
        (client, port): (IpAddr, u16),
        now: Time,
    ) -> u16 {
        let mut rows = exact::public(what.marks, what.placement, client, (port, port));
        self.cursor = self.cursor.wrapping_add(1);
        let mut tired = None;
        for candidate in public_tries(public, port, self.cursor) {
            rows.iter_mut().for_each(|row| rename(row, candidate));
            if what.reserved.keeps(what.placement, candidate) || !self.are_vacant(&rows, now) {
                continue;
            }
            match self.resting.until(&rows[1].key, now) {
                None => return candidate,
                // Of those that rest the one that has rested longest.
                Some(until) => tired = tired.min(Some((until, candidate))).or(Some((until, candidate))),
            }
        }
        tired.map_or(NO_PORT, |(_, candidate)| candidate)
    }

    /// Whether nothing stands in the places of these rows, nor is held there. What was found may be awaited until it ends.
    fn are_vacant(&self, rows: &[Row], now: Time) -> bool {
        let over = |standing: &PinholeState| standing.holders == 0 && standing.until <= now;
        rows.iter().all(|row| self.rows.get(&Place::of(row)).is_none_or(over))
    }
}

/// The row for another port of the VIP.
fn rename(row: &mut Row, port: u16) {
    if let Some(named) = row.key.last_mut() {
        *named = Value::Port(port);
    }
}

/// What [`Pinholes::place`] chooses by.
#[derive(Clone, Copy)]
pub struct PortChoice<'a> {
    /// The ranges of firewall marks, by class.
    pub marks: Marks,
    /// The (cluster, VIP, server) whose reply names the port.
    pub placement: &'a Placement,
    /// The ranges and services at the VIPs that are not the session's to use.
    pub reserved: &'a Reserved,
}

/// Public ports: `port` first if it is one, else from anywhere on, each once.
fn public_tries(public: PortRange, port: u16, cursor: u32) -> impl Iterator<Item = u16> {
    let size = u32::from(public.last()) - u32::from(public.first()) + 1;
    let start = if public.contains(port) { u32::from(port - public.first()) } else { cursor.wrapping_mul(STRIDE) };
    let offsets = (0..size.min(MOST_PUBLIC)).map(move |step| (start % size + step) % size);
    offsets.filter_map(move |offset| u16::try_from(u32::from(public.first()) + offset).ok())
}

/// Some ports of `range`: the ones after `port`, then others all over it, from `cursor` on.
fn tries(range: PortRange, port: u16, cursor: u32) -> impl Iterator<Item = u16> {
    let size = u32::from(range.last()) - u32::from(range.first()) + 1;
    let start = u32::from(port.clamp(range.first(), range.last()) - range.first());
    let near = (1..=TRIES.min(size - 1)).map(move |step| start + step);
    let far = (1..=TRIES).map(move |step| cursor.wrapping_add(step).wrapping_mul(STRIDE));
    let offsets = near.chain(far).map(move |offset| offset % size);
    offsets.filter_map(move |offset| u16::try_from(u32::from(range.first()) + offset).ok())
}
