//! What each client has of what is bounded, counted as it comes and goes: places for packets without a verdict, rows that are
//! waited for, bytes.
//!
//! One client, an address or a /64, gets no more than a part, so that it can fill nothing. Many together can: places that
//! wait for rows are kept from all others, and of the bytes each gets less the fewer are left, so that some always are
//! (a dynamic threshold, Choudhury and Hahne 1998).

use std::net::IpAddr;

use hashbrown::HashMap;

/// How many packets may be kept at once.
const PLACES: usize = 4096;

/// How many of them may be there to be read later: packets of many lines, replies without their end.
const LATER: usize = PLACES / 2;

/// How many of these one client may have, and how many that wait for rows.
const LATER_OF_CLIENT: usize = LATER / 8;
const WAITING_OF_CLIENT: usize = PLACES / 8;

/// How many rows' acknowledgements may be waited for, and by the sessions of one client.
const TICKETS: usize = PLACES;
const TICKETS_OF_CLIENT: usize = PLACES / 8;

/// A client may have a seventh of the bytes that are free: an eighth of all of them while it is alone.
const BYTES: usize = 7;

/// What a client has, or all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Packets that wait for rows.
    pub waiting: usize,
    /// Packets that are read later.
    pub later: usize,
    /// Rows that are waited for.
    pub tickets: usize,
    /// Bytes of packets that are kept, and that sessions own beside the table.
    pub bytes: usize,
}

impl Share {
    const NOTHING: Self = Self { waiting: 0, later: 0, tickets: 0, bytes: 0 };

    /// The share of a packet of this many bytes that waits for rows.
    #[must_use]
    pub const fn waiting(bytes: usize) -> Self {
        Self { waiting: 1, bytes, ..Self::NOTHING }
    }

    /// The share of a packet of this many bytes that is read later.
    #[must_use]
    pub const fn later(bytes: usize) -> Self {
        Self { later: 1, bytes, ..Self::NOTHING }
    }

    /// The share of one acknowledgement of rows that is waited for.
    #[must_use]
    pub const fn ticket() -> Self {
        Self { tickets: 1, ..Self::NOTHING }
    }

    /// The share of this many bytes that a session owns.
    #[must_use]
    pub const fn bytes(bytes: usize) -> Self {
        Self { bytes, ..Self::NOTHING }
    }

    fn add(&mut self, other: Self) {
        self.waiting = self.waiting.saturating_add(other.waiting);
        self.later = self.later.saturating_add(other.later);
        self.tickets = self.tickets.saturating_add(other.tickets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn subtract(&mut self, other: Self) {
        self.waiting = self.waiting.saturating_sub(other.waiting);
        self.later = self.later.saturating_sub(other.later);
        self.tickets = self.tickets.saturating_sub(other.tickets);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }

    /// Packets that are kept, for either reason.
    #[must_use]
    pub const fn packets(&self) -> usize {
        self.waiting.saturating_add(self.later)
    }
}

/// The shares of all clients; a client that has nothing is not in it.
#[derive(Default)]
pub struct Shares {
    all: Share,
    clients: HashMap<IpAddr, Share>,
}

impl Shares {
    /// The sum of all shares.
    #[must_use]
    pub const fn all(&self) -> Share {
        self.all
    }

    /// How many clients have something.
    #[cfg(test)]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    fn of(&self, client: IpAddr) -> Share {
        self.clients.get(&client).copied().unwrap_or_default()
    }

    /// A client has more.
    pub fn take(&mut self, client: IpAddr, more: Share) {
        if more != Share::NOTHING {
            self.all.add(more);
            self.clients.entry(client).or_default().add(more);
        }
    }

    /// A client has less.
    pub fn give(&mut self, client: IpAddr, less: Share) {
        self.all.subtract(less);
        if let Some(share) = self.clients.get_mut(&client) {
            share.subtract(less);
            if *share == Share::NOTHING {
                self.clients.remove(&client);
            }
        }
    }

    /// Whether a packet of this client may wait for its row. The bytes are not asked about: these places bound them, and no
    /// memory that others fill may keep a row from its packet.
    #[must_use]
    pub fn may_wait(&self, client: IpAddr) -> bool {
        self.all.packets() < PLACES && self.of(client).waiting < WAITING_OF_CLIENT
    }

    /// Whether a packet of this client, of so many bytes, may be kept to be read later; `limit` is for the bytes of all.
    #[must_use]
    pub fn may_come_later(&self, client: IpAddr, bytes: usize, limit: usize) -> bool {
        self.all.packets() < PLACES
            && self.all.later < LATER
            && self.of(client).later < LATER_OF_CLIENT
            && self.may_own(client, bytes, limit)
    }

    /// Whether this client may have so many bytes more, where all may have `limit`.
    #[must_use]
    pub fn may_own(&self, client: IpAddr, more: usize, limit: usize) -> bool {
        let free = limit.checked_sub(self.all.bytes.saturating_add(more));
        free.is_some_and(|free| self.of(client).bytes.saturating_add(more).saturating_mul(BYTES) <= free)
    }

    /// Whether the sessions of this client have asked for rows faster than they are written.
    #[must_use]
    pub fn asks_too_much(&self, client: IpAddr) -> bool {
        self.of(client).tickets >= TICKETS_OF_CLIENT
    }

    /// Whether no more rows can be waited for: their thread is behind.
    #[must_use]
    pub const fn behind(&self) -> bool {
        self.all.tickets >= TICKETS
    }
}
