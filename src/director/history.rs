//! What happened to sessions lately, also to those that have ended: what `ftpdirector explain` tells of.
//!
//! One ring for all clients, of which the oldest entry goes first. A client has a part of it at most, so that nobody pushes out
//! what happened to others. Entries are words of fixed size: nothing that a client or server sends makes the ring grow.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hashbrown::HashMap;

use super::expectation::Outcome;
use super::key::one_client;
use super::moment::Moment;
use crate::time::Time;

/// How many entries are kept of all clients together, and of one. An entry is 64 bytes; a transfer that succeeds makes five.
pub const MOST: usize = 65_536;
/// The part of one client: an IPv4 address, an IPv6 /64.
pub const SHARE: u32 = 1024;
/// How long an entry is kept at most.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);

/// A client that gives up after so long has waited in vain, and not only changed its mind.
const IN_VAIN: Duration = Duration::from_secs(3);

/// How often it is noted that a client is over a limit: each packet is.
const LIMITED_EVERY: Duration = Duration::from_secs(10);

/// In place of a position where there is none.
const NONE: u32 = u32::MAX;

/// Something that happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happening {
    /// When it happened, on the packet thread's clock; of landings in a row the last.
    pub at: Time,
    /// The client's end of the control connection; port 0 for a data connection that could not be assigned to one.
    pub client: SocketAddr,
    /// The session's number; `None` for what belongs to no session that is read.
    pub session: Option<u32>,
    /// The index of its (cluster, VIP, server).
    pub index: u16,
    /// What happened.
    pub moment: Moment,
}

struct Entry {
    at: Time,
    /// The lower half of an IPv6 address.
    host: u64,
    /// [`NONE`]: no session.
    session: u32,
    /// Its neighbours among all entries.
    older: u32,
    newer: u32,
    /// The client's next; the next free place.
    next: u32,
    list: u32,
    port: u16,
    index: u16,
    moment: Moment,
}

/// The entries of one client, the oldest first.
struct List {
    /// The address, or the /64.
    owner: IpAddr,
    oldest: u32,
    newest: u32,
    count: u32,
    /// The last data connection that was asked for and has not come: its session, and since when.
    asked: Option<(u32, Time)>,
    /// When it was last noted that a limit was exceeded.
    limited: Option<Time>,
}

/// The ring.
pub struct History {
    entries: Vec<Entry>,
    free: u32,
    count: usize,
    oldest: u32,
    newest: u32,
    lists: Vec<List>,
    free_lists: Vec<u32>,
    of: HashMap<IpAddr, u32>,
    now: Time,
    failed: Option<(SocketAddr, Option<u32>)>,
    most: usize,
    share: u32,
}

impl Default for History {
    fn default() -> Self {
        Self::with_room(MOST, SHARE)
    }
}

impl History {
    /// A ring of `most` entries, `share` of one client; both at least 2.
    #[must_use]
    pub fn with_room(most: usize, share: u32) -> Self {
        let (oldest, newest, free) = (NONE, NONE, NONE);
        // At once, so that no packet waits while it grows; the kernel gives a page when it is used first.
        let entries = Vec::with_capacity(most);
        let (lists, free_lists, of) = (Vec::new(), Vec::new(), HashMap::new());
        let (count, now, failed) = (0, Time::ZERO, None);
        Self { entries, free, count, oldest, newest, lists, free_lists, of, now, failed, most, share }
    }

    /// The time of all that happens from now on; what is too old is forgotten.
    pub fn set_time(&mut self, now: Time) {
        self.now = now;
        while self.entry(self.oldest).is_some_and(|entry| now.since(entry.at) >= KEPT) {
            self.forget(self.oldest);
        }
    }

    /// Notes what happened to a session.
    pub fn push(&mut self, client: SocketAddr, session: Option<u32>, index: u16, moment: Moment) {
        let owner = one_client(client.ip());
        let list = self.list_of(owner);
        let (oldest, count) = self.lists.get(list as usize).map_or((NONE, 0), |list| (list.oldest, list.count));
        if count >= self.share {
            self.forget(oldest);
        } else if self.count >= self.most {
            self.forget(self.oldest);
        }
        // It may have gone with its only entry.
        let list = if count == 1 { self.list_of(owner) } else { list };
        self.watch(list, client, session, moment);
        let at = self.place(Entry {
            at: self.now,
            host: host(client.ip()),
            session: session.unwrap_or(NONE),
            older: NONE,
            newer: NONE,
            next: NONE,
            list,
            port: client.port(),
            index,
            moment,
        });
        self.link(at);
        let Some(list) = self.lists.get_mut(list as usize) else { return };
        let last = std::mem::replace(&mut list.newest, at);
        list.count = list.count.saturating_add(1);
        if last == NONE {
            list.oldest = at;
        } else if let Some(entry) = self.entry_mut(last) {
            entry.next = at;
        }
    }

    /// Notes that a control connection is not read, or not wholly, because of a limit; not again and again.
    pub fn push_limit(&mut self, client: SocketAddr, session: Option<u32>, index: u16, limit: &'static str) {
        let list = self.of.get(&one_client(client.ip())).and_then(|&list| self.lists.get(list as usize));
        let last = list.and_then(|list| list.limited);
        if last.is_none_or(|last| self.now.since(last) >= LIMITED_EVERY) {
            self.push(client, session, index, Moment::Limited(limit));
        }
    }

    /// Offers the newest entry of a client, if it is of this session, to be added to. If `add` takes it, it happened now.
    pub fn add_to_last(
        &mut self,
        client: SocketAddr,
        session: Option<u32>,
        add: impl FnOnce(&mut Moment) -> bool,
    ) -> bool {
        let list = self.of.get(&one_client(client.ip())).and_then(|&list| self.lists.get(list as usize));
        let newest = list.map_or(NONE, |list| list.newest);
        let (now, host, session) = (self.now, host(client.ip()), session.unwrap_or(NONE));
        let entry = self.entry_mut(newest).filter(|entry| entry.session == session && entry.host == host);
        let Some(entry) = entry else { return false };
        if !add(&mut entry.moment) {
            return false;
        }
        entry.at = now;
        // What is young must not stand before what is old, which would not be forgotten then.
        self.unlink(newest);
        self.link(newest);
        true
    }

    /// Whether anything is known of this client (IPv6: of its /64).
    #[must_use]
    pub fn knows(&self, client: IpAddr) -> bool {
        self.of.contains_key(&one_client(client))
    }

    /// What happened to this client, the oldest first.
    #[must_use]
    pub fn of(&self, client: IpAddr) -> Vec<Happening> {
        self.walk(client).collect()
    }

    /// The session of the last failure, if anything of it is left.
    #[must_use]
    pub fn failed(&self) -> Option<(SocketAddr, Option<u32>)> {
        let (client, session) = self.failed?;
        let left = self.walk(client.ip()).any(|happening| happening.session == session);
        left.then_some((client, session))
    }

    fn walk(&self, client: IpAddr) -> impl Iterator<Item = Happening> {
        let list = self.of.get(&one_client(client)).and_then(|&list| self.lists.get(list as usize));
        let first = list.map_or(NONE, |list| list.oldest);
        let entries = std::iter::successors(self.entry(first), |entry| self.entry(entry.next));
        let host = host(client);
        entries.filter(move |entry| entry.host == host).map(move |entry| Happening {
            at: entry.at,
            client: SocketAddr::new(client, entry.port),
            session: (entry.session != NONE).then_some(entry.session),
            index: entry.index,
            moment: entry.moment,
        })
    }

    /// Keeps in mind which session failed last.
    fn watch(&mut self, list: u32, client: SocketAddr, session: Option<u32>, moment: Moment) {
        let Some(list) = self.lists.get_mut(list as usize) else { return };
        let number = session.unwrap_or(NONE);
        let asked = list.asked.filter(|(asker, _)| *asker == number);
        let failed = match moment {
            Moment::Asked(_) | Moment::Called { .. } => {
                list.asked = Some((number, self.now));
                false
            }
            Moment::Ended(_, outcome) => {
                list.asked = None;
                let in_vain = asked.is_some_and(|(_, since)| self.now.since(since) >= IN_VAIN);
                outcome == Outcome::Expired || (outcome == Outcome::Superseded && in_vain)
            }
            Moment::Limited(_) => {
                list.limited = Some(self.now);
                true
            }
            moment => moment.is_failure(),
        };
        if failed {
            self.failed = Some((client, session));
        }
    }

    fn list_of(&mut self, owner: IpAddr) -> u32 {
        if let Some(&list) = self.of.get(&owner) {
            return list;
        }
        let fresh = List { owner, oldest: NONE, newest: NONE, count: 0, asked: None, limited: None };
        let at = self.free_lists.pop();
        let place = at.and_then(|at| self.lists.get_mut(at as usize));
        let list = match (at, place) {
            (Some(at), Some(place)) => {
                *place = fresh;
                at
            }
            _ => {
                self.lists.push(fresh);
                position(self.lists.len())
            }
        };
        self.of.insert(owner, list);
        list
    }

    fn place(&mut self, entry: Entry) -> u32 {
        self.count = self.count.saturating_add(1);
        let free = self.free;
        if let Some(place) = self.entries.get_mut(free as usize) {
            self.free = place.next;
            *place = entry;
            return free;
        }
        self.entries.push(entry);
        position(self.entries.len())
    }

    /// Forgets an entry that is the oldest of its client's.
    fn forget(&mut self, at: u32) {
        let free = self.free;
        let Some(entry) = self.entry_mut(at) else { return };
        let (next, list) = (entry.next, entry.list);
        entry.next = free;
        (self.free, self.count) = (at, self.count.saturating_sub(1));
        self.unlink(at);
        let Some(own) = self.lists.get_mut(list as usize) else { return };
        (own.oldest, own.count) = (next, own.count.saturating_sub(1));
        if own.count == 0 {
            let owner = own.owner;
            self.of.remove(&owner);
            self.free_lists.push(list);
        }
    }

    /// Makes an entry the newest of all.
    fn link(&mut self, at: u32) {
        let before = std::mem::replace(&mut self.newest, at);
        match self.entry_mut(before) {
            Some(entry) => entry.newer = at,
            None => self.oldest = at,
        }
        if let Some(entry) = self.entry_mut(at) {
            (entry.older, entry.newer) = (before, NONE);
        }
    }

    /// Takes an entry out of the order of all.
    fn unlink(&mut self, at: u32) {
        let Some((older, newer)) = self.entry(at).map(|entry| (entry.older, entry.newer)) else { return };
        match self.entry_mut(older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
        match self.entry_mut(newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }

    fn entry(&self, at: u32) -> Option<&Entry> {
        self.entries.get(at as usize)
    }

    fn entry_mut(&mut self, at: u32) -> Option<&mut Entry> {
        self.entries.get_mut(at as usize)
    }
}

/// The position of the last of so many.
fn position(count: usize) -> u32 {
    u32::try_from(count.saturating_sub(1)).unwrap_or(NONE)
}

/// The part of an address that distinguishes those of one client.
fn host(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(_) => 0,
        IpAddr::V6(address) => low(address),
    }
}

fn low(address: Ipv6Addr) -> u64 {
    let [.., a, b, c, d] = address.segments();
    [a, b, c, d].into_iter().fold(0, |low, part| low << 16 | u64::from(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::director::expectation::Mode;
    use crate::ftp::Verb;

    fn client(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 40000))
    }

    fn codes(history: &History, client: SocketAddr) -> Vec<u16> {
        let code = |happening: Happening| if let Moment::Over(code) = happening.moment { code } else { 0 };
        history.of(client.ip()).into_iter().map(code).collect()
    }

    #[test]
    fn what_goes_on_does_not_keep_what_is_older_than_a_day() {
        let landed = || Moment::Landed { mode: Mode::Passive, port: 31000, times: 1 };
        let mut history = History::with_room(10, 5);
        history.push(client(1), None, 0, landed());
        history.push(client(2), None, 0, Moment::Over(226));
        history.set_time(Time::ZERO + KEPT / 2);
        assert!(!history.add_to_last(client(1), None, |_| false), "not taken, and not renewed");
        assert!(history.add_to_last(client(1), None, |last| matches!(last, Moment::Landed { .. })));
        history.set_time(Time::ZERO + KEPT);
        assert!(history.knows(client(1).ip()) && !history.knows(client(2).ip()));
        history.set_time(Time::ZERO + KEPT + KEPT / 2);
        assert!(!history.knows(client(1).ip()) && history.of.is_empty() && history.count == 0);
    }

    #[test]
    fn an_entry_is_64_bytes() {
        assert_eq!((size_of::<Entry>(), size_of::<Moment>()), (64, 24));
    }

    #[test]
    fn one_client_pushes_nobody_out() {
        let mut history = History::with_room(10, 4);
        history.push(client(1), Some(1), 0, Moment::Over(226));
        for code in 100..200 {
            history.push(client(2), Some(2), 0, Moment::Over(code));
        }
        assert_eq!((codes(&history, client(1)), codes(&history, client(2))), (vec![226], vec![196, 197, 198, 199]));
        assert_eq!(history.count, 5);
        assert!(history.knows(client(1).ip()) && !history.knows(client(3).ip()));
    }

    #[test]
    fn a_limit_is_noted_once_in_a_while() {
        let mut history = History::default();
        for at in 0..100 {
            history.set_time(Time::from_millis(at * 300));
            history.push_limit(client(1), None, 0, "client_sessions");
            history.push(client(1), Some(1), 0, Moment::Over(226));
        }
        let limits = history.of(client(1).ip()).into_iter().filter(|one| matches!(one.moment, Moment::Limited(_)));
        assert_eq!(limits.count(), 3);
    }

    #[test]
    fn the_oldest_go_first_and_places_are_used_again() {
        let mut history = History::with_room(10, 4);
        for n in 0..100 {
            history.push(client(n), Some(u32::from(n)), 0, Moment::Over(u16::from(n)));
        }
        // The newcomer's list is there before the oldest goes.
        assert_eq!((history.count, history.entries.len(), history.lists.len(), history.of.len()), (10, 10, 11, 10));
        assert_eq!((codes(&history, client(89)), codes(&history, client(90))), (vec![], vec![90]));
    }

    #[test]
    fn the_hosts_of_one_network_share_and_are_told_apart() {
        let mut history = History::with_room(10, 4);
        let host = |n: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, n], 1));
        for n in 0..6 {
            history.push(host(n), None, 0, Moment::Over(n));
        }
        assert_eq!((codes(&history, host(1)), codes(&history, host(5)), history.count), (vec![], vec![5], 4));
        assert_eq!(history.of(host(5).ip()).first().map(|one| one.client), Some(host(5)));
    }

    #[test]
    fn a_day_later_it_is_forgotten() {
        let mut history = History::default();
        history.push(client(1), None, 0, Moment::Opened);
        history.set_time(Time::ZERO + KEPT / 2);
        history.push(client(1), None, 0, Moment::Closed);
        history.set_time(Time::ZERO + KEPT);
        assert_eq!(
            (history.count, history.of(client(1).ip()).first().map(|one| one.at)),
            (1, Some(Time::ZERO + KEPT / 2))
        );
        history.set_time(Time::ZERO + KEPT * 2);
        assert_eq!((history.count, history.knows(client(1).ip()), history.of.len()), (0, false, 0));
    }

    #[test]
    fn the_last_failure_is_remembered_as_long_as_it_is_there() {
        let mut history = History::with_room(4, 2);
        assert_eq!(history.failed(), None);
        history.push(client(1), Some(7), 0, Moment::Over(425));
        history.push(client(2), Some(8), 0, Moment::Over(226));
        assert_eq!(history.failed(), Some((client(1), Some(7))));
        history.push(client(2), Some(8), 0, Moment::Asked(Verb::Pasv));
        history.set_time(Time::from_millis(1000));
        history.push(client(2), Some(8), 0, Moment::Ended(Mode::Passive, Outcome::Superseded));
        assert_eq!(history.failed(), Some((client(1), Some(7))), "it changed its mind");
        history.push(client(2), Some(8), 0, Moment::Asked(Verb::Pasv));
        history.set_time(Time::from_millis(9000));
        history.push(client(2), Some(8), 0, Moment::Ended(Mode::Passive, Outcome::Superseded));
        assert_eq!(history.failed(), Some((client(2), Some(8))));
        for n in 3..9 {
            history.push(client(n), None, 0, Moment::Opened);
        }
        assert_eq!(history.failed(), None);
    }
}
