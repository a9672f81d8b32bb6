//! What must hold of every row, whatever anybody sends.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use ftpdirector::facade::ftp::Bounce;
use ftpdirector::facade::lvs::{ForwardingMethod, network};
use ftpdirector::facade::state::sets::{Key, Name, Set, Value};
use ftpdirector::facade::steer::{Row, RowChange};
use ftpdirector::facade::time::Time;

use super::ends::How;
use super::ground::{Ground, IDLE, LIVELY, MARKS, PINHOLE};
use super::kernel::is_long;
use super::talk::{Need, Side, Talk};
use super::world::{Cause, World};

/// How long a reply may be held before it is read for good, and how much longer for each that is held: each may have a gap
/// before it that is waited for.
const HELD: Duration = Duration::from_secs(3);
const HELD_EACH: Duration = Duration::from_secs(1);

macro_rules! complaints {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// What is wrong. The text stands in the finding; `WITHOUT=window,deleted` goes on without these.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum Complaint {
            $($(#[$doc])* $name,)*
        }

        impl Complaint {
            const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

complaints! {
    /// A row that no client of its session asked for.
    Asked "asked",
    /// A port that the server never named.
    Answered "answered",
    /// A port that the server named in answer to something else: what was asked for had been refused.
    Refused "refused",
    /// A port that stood inside a reply of several lines.
    Inside "inside",
    /// A port behind an LF that ends no line of this server.
    BareLf "bare-lf",
    /// A port that the operator did not declare to be this server's.
    Declared "declared",
    /// A row that wins over another server's own range.
    Range "range",
    /// A port of the VIP that no client is told.
    Public "public",
    /// A port of the VIP that the server does not call from.
    VipPort "vip-port",
    /// A port below 1024.
    Low "low",
    /// A row that another session needs was replaced or shortened.
    Replaced "replaced",
    /// A row that another session needs was deleted.
    Deleted "deleted",
    /// Somebody outside the window changed a row.
    Window "window",
    /// A row that stands longer than what was asked for.
    Lasting "lasting",
    /// A row, or a session, for a connection that IPVS has forgotten.
    HalfOpen "half-open",
    /// A packet left before its rows stood.
    Early "early",
    /// A reply was not held that names the port which its client asked for.
    Unheld "unheld",
    /// More memory than sessions can need at once, when nothing is expected, and when none is left.
    Memory "memory",
    /// The same when nothing is expected.
    Quiet "memory-quiet",
    /// The same when no session is left.
    Gone "memory-gone",
    /// More work than a packet is worth.
    Work "work",
    /// A packet that is held for ever.
    Stuck "stuck",
}

/// Ends the execution, unless this complaint is known.
pub(super) fn complain(complaint: Complaint, what: impl FnOnce() -> String) {
    assert!(is_known(complaint), "{}: {}", complaint.text(), what());
}

/// Whether it is to go on without this complaint.
pub(super) fn is_known(complaint: Complaint) -> bool {
    static WITHOUT: OnceLock<Vec<String>> = OnceLock::new();
    let without = WITHOUT.get_or_init(|| {
        let names = std::env::var("WITHOUT").unwrap_or_default();
        names.split(',').map(str::to_owned).collect()
    });
    without.iter().any(|known| known == complaint.text())
}

/// Tells what happens, with `EXPLAIN=1`.
pub(super) fn explain(what: impl FnOnce() -> String) {
    static EXPLAIN: OnceLock<bool> = OnceLock::new();
    if *EXPLAIN.get_or_init(|| std::env::var_os("EXPLAIN").is_some()) {
        eprintln!("{}", what());
    }
}

/// The pinhole of a control connection's client.
pub(super) fn pinhole(ground: &Ground, talk: &Talk) -> Row {
    let tunnelled = ground.forwarding == ForwardingMethod::Tun;
    let client = talk.client_end.ip();
    let prefix = if ground.servers[talk.server].own.is_some() { ground.prefix } else { 128 };
    let control = MARKS.control(u16::try_from(talk.server).expect("few servers"));
    Row {
        set: Set::of(if tunnelled { Name::TunnelOpen } else { Name::Open }, client),
        key: vec![Value::Address(network(client, prefix)), Value::Mark(control)],
        value: vec![],
    }
}

/// Whether one of these may have opened this pinhole.
fn may_open(ground: &Ground, talk: &Talk, row: &Row) -> bool {
    (talk.client.asked || talk.veiled() || talk.gapped) && pinhole(ground, talk).key == row.key
}

/// Whom a row is for, and what it leads to.
type Judgement = Result<Vec<usize>, (Complaint, String)>;

impl World {
    /// A packet opens the pinhole of its client.
    pub(super) fn check_pinhole(&self, by: usize, pinhole: &Row) {
        let by = &self.talks[by];
        let steers = self.ground.servers[by.server].own.is_some();
        // a connection that the director does not follow is steered by its range alone
        let followed = by.followed(Side::Client, self.now);
        if steers && followed && !self.talks.iter().any(|talk| may_open(&self.ground, talk, pinhole)) {
            complain(Complaint::Asked, || format!("a packet opens a pinhole: {pinhole:?}"));
        }
    }

    /// A row changes.
    pub(super) fn check(&mut self, cause: Cause, change: &RowChange, all: &[RowChange]) {
        if let Cause::Forged(id, side) = cause {
            let talk = &self.talks[id];
            complain(Complaint::Window, || format!("{side:?} of {} was forged: {change:?}", talk.client_end));
        }
        let own = if let Cause::Own(id, _) = cause { Some(id) } else { None };
        match change {
            RowChange::Put(row, timeout) | RowChange::Refresh(row, timeout) => {
                let until = self.now + *timeout;
                self.check_others(cause, row.set, &row.key, Some((&row.value, until)));
                match self.judge(row, all) {
                    Ok(talks) => self.check_time(cause, row, until, &talks),
                    Err((complaint, what)) => complain(complaint, || format!("{what}: {row:?}")),
                }
            }
            RowChange::Delete(set, key) => {
                self.forgets(cause, *set, key);
                self.check_others(cause, *set, key, None);
                if let Some(id) = own {
                    self.talks[id].needs.retain(|need| need.row.set != *set || need.row.key != *key);
                }
            }
        }
    }

    /// A session under TLS that IPVS was not seen to have goes, and all that it had with it.
    fn forgets(&mut self, cause: Cause, set: Set, key: &Key) {
        if cause == Cause::Nobody
            && set.name == Name::Blind
            && let [Value::Address(client), Value::Port(port), ..] = key[..]
        {
            let client = SocketAddr::new(client, port);
            self.talks.iter_mut().filter(|talk| talk.client_end == client).for_each(|talk| talk.needs.clear());
        }
    }

    /// No other session needs what stands at this place.
    fn check_others(&self, cause: Cause, set: Set, key: &Key, becomes: Option<(&Key, Time)>) {
        let own = if let Cause::Own(id, _) = cause { Some(id) } else { None };
        if cause == Cause::Nobody && is_long(set.name) {
            // its own time may be up; see `forgets`
            return;
        }
        for (id, talk) in self.talks.iter().enumerate().filter(|(id, _)| Some(*id) != own) {
            if cause == Cause::Nobody && self.is_held(id) {
                // what is read of that now may take back what its client has asked for since
                continue;
            }
            if is_long(set.name) && talk.last + LIVELY <= self.now {
                // nor is one under TLS that IPVS has not been seen to have for so long still there
                continue;
            }
            if cause == Cause::Nobody && !talk.replies.sent.ends_with(b"\r\n") {
                // a reply whose end does not come is read without it, after a while
                continue;
            }
            let Some(need) = talk.need(set, key, self.now) else { continue };
            if becomes.is_none_or(|(value, until)| *value != need.row.value || until < need.until) {
                complain(if becomes.is_some() { Complaint::Replaced } else { Complaint::Deleted }, || {
                    format!("{id} ({}) still needs {:?}; it becomes {becomes:?}", talk.client_end, need.row)
                });
            }
        }
    }

    /// A row stands no longer than its session can want it.
    fn check_time(&mut self, cause: Cause, row: &Row, until: Time, talks: &[usize]) {
        let last = talks.iter().map(|id| self.talks[*id].last).max().unwrap_or_default();
        let held = talks.iter().map(|id| self.talks[*id].held).sum();
        // A transfer that IPVS was seen to have keeps its rows for as long again.
        let transfers = talks.iter().any(|id| self.talks[*id].client.transferred);
        let pinhole = if transfers { 2 * PINHOLE } else { PINHOLE };
        let (most, complaint) = if is_long(row.set.name) {
            (2 * IDLE + Duration::from_secs(60), Complaint::HalfOpen)
        } else {
            (pinhole + HELD + HELD_EACH * held, Complaint::Lasting)
        };
        if until > last + most {
            let left = until.since(last);
            complain(complaint, || format!("{left:?} after the last packet of its connection: {row:?}"));
        }
        // one data connection at a time: an exact row and its translation have one key
        let other = |need: &Need| !is_long(row.set.name) && !is_long(need.row.set.name) && need.row.key != row.key;
        if let (Cause::Nobody, [id]) = (cause, talks)
            && self.talks[*id].need(row.set, &row.key, self.now).is_none()
        {
            // what is read on of a segment of many commands changes its mind as well
            self.talks[*id].needs.retain(|need| !other(need));
        }
        if let Cause::Own(id, _) = cause
            && talks.contains(&id)
            && self.talks[id].open()
        {
            let needs = &mut self.talks[id].needs;
            let same = |need: &Need| need.row.set == row.set && need.row.key == row.key;
            needs.retain(|need| !other(need) && !same(need));
            // one under TLS that IPVS is not seen to have goes sooner than its rows
            let until = if is_long(row.set.name) { until.min(self.now + LIVELY) } else { until };
            needs.push(Need { row: row.clone(), until });
        }
    }

    fn judge(&self, row: &Row, all: &[RowChange]) -> Judgement {
        match (row.set.name, row.key.as_slice(), row.value.as_slice()) {
            (
                Name::Active,
                &[Value::Address(client), Value::Port(port), Value::Address(_), ref vip_port @ ..],
                [Value::Mark(mark)],
            ) => {
                let server = MARKS.data_index(*mark).map(usize::from);
                let calls = server.map(|server| Value::Port(self.ground.calls_from(server)));
                if vip_port.first().copied() != calls {
                    complain(Complaint::VipPort, || format!("not {calls:?}: {row:?}"));
                }
                self.active(server, SocketAddr::new(client, port))
            }
            (Name::ActiveNat, &[Value::Address(server), Value::Address(client), Value::Port(port)], _) => {
                self.active(self.server(server), SocketAddr::new(client, port))
            }
            (Name::Exact, &[Value::Address(client), _, Value::Port(port)], [Value::Mark(mark)]) => {
                let server = MARKS.data_index(*mark).map(usize::from);
                self.passive(server, client, port, self.translation(row, all).unwrap_or(port))
            }
            (
                Name::Translated,
                &[Value::Address(client), _, Value::Port(port)],
                &[Value::Address(server), Value::Port(to)],
            ) => self.passive(self.server(server), client, port, to),
            (Name::Open | Name::TunnelOpen, _, _) => {
                self.some(Complaint::Asked, |talk| may_open(&self.ground, talk, row))
            }
            (Name::Blind, &[Value::Address(client), Value::Port(port), ..], _) => {
                let end = SocketAddr::new(client, port);
                self.some(Complaint::Asked, |talk| talk.veiled() && talk.client_end == end)
            }
            (Name::ActiveTls, &[Value::Address(client), _, Value::Port(port)], [Value::Mark(mark)]) => {
                let server = MARKS.data_index(*mark).map(usize::from);
                self.calls(server, client, port)
            }
            (Name::ActiveTlsNat, &[Value::Address(server), Value::Port(port), Value::Address(client)], _) => {
                self.calls(self.server(server), client, port)
            }
            _ => Err((Complaint::Asked, "nobody knows this row".to_owned())),
        }
    }

    fn server(&self, address: IpAddr) -> Option<usize> {
        self.ground.servers.iter().position(|server| server.address == address)
    }

    /// Those of whom something is true; there must be one.
    fn some(&self, complaint: Complaint, is_so: impl Fn(&Talk) -> bool) -> Judgement {
        let talks: Vec<usize> = (0..self.talks.len()).filter(|id| is_so(&self.talks[*id])).collect();
        if talks.is_empty() { Err((complaint, "nobody".to_owned())) } else { Ok(talks) }
    }

    /// The server calls the client at `to`.
    fn active(&self, server: Option<usize>, to: SocketAddr) -> Judgement {
        if to.port() < 1024 {
            complain(Complaint::Low, || format!("{server:?} calls {to}"));
        }
        self.some(Complaint::Asked, |talk| {
            let own = talk.client_end.ip() == to.ip() || self.ground.bounce == Bounce::Allow;
            let named = own && talk.client.named.contains(&to);
            Some(talk.server) == server && (named || (talk.client.transferred && talk.client_end == to))
        })
    }

    /// A server calls a session under TLS from `port`.
    fn calls(&self, server: Option<usize>, client: IpAddr, port: u16) -> Judgement {
        if server.map(|server| self.ground.calls_from(server)) != Some(port) {
            complain(Complaint::VipPort, || format!("{server:?} does not call {client} from port {port}"));
        }
        self.some(Complaint::Asked, |talk| {
            talk.veiled() && talk.client_end.ip() == client && Some(talk.server) == server
        })
    }

    /// The port of the server behind an exact row.
    fn translation(&self, row: &Row, all: &[RowChange]) -> Option<u16> {
        let set = Set { name: Name::Translated, family: row.set.family };
        let same = |row: &&Row, key: &Key| row.set == set && row.key == *key;
        let coming = all.iter().find_map(|change| match change {
            RowChange::Put(other, _) | RowChange::Refresh(other, _) => {
                Some(other).filter(|other| same(other, &row.key))
            }
            RowChange::Delete(..) => None,
        });
        let standing = || self.rows.find(set, &row.key, self.now).map(|standing| &standing.row);
        match coming.or_else(standing)?.value.as_slice() {
            [_, Value::Port(port)] => Some(*port),
            _ => None,
        }
    }

    /// The client connects to `port` of the VIP and reaches `to` of the server.
    fn passive(&self, server: Option<usize>, client: IpAddr, port: u16, to: u16) -> Judgement {
        let Some(server) = server else { return Err((Complaint::Asked, "no server of ours".to_owned())) };
        if port < 1024 || to < 1024 {
            complain(Complaint::Low, || format!("port {port} for {client} leads to {to} of {server}"));
        }
        let others = self.ground.servers.iter().enumerate().filter(|(other, _)| *other != server);
        if others.filter_map(|(_, other)| other.own).any(|own| own.contains(port)) {
            complain(Complaint::Range, || format!("port {port} for {client} leads to {to} of {server}"));
        }
        if self.ground.public.is_some_and(|public| !public.contains(port)) {
            complain(Complaint::Public, || format!("port {port} for {client} leads to {to} of {server}"));
        }
        if self.ground.servers[server].passive.is_some_and(|range| !range.contains(to)) {
            complain(Complaint::Declared, || format!("port {port} for {client} leads to {to} of {server}"));
        }
        let asked = self.some(Complaint::Asked, |talk| {
            talk.server == server && talk.client_end.ip() == client && talk.client.asked
        })?;
        let how = |id: usize| {
            let Talk { client, replies, .. } = &self.talks[id];
            let named = replies.named.iter().filter(|(port, _)| *port == to);
            let how = named.map(|(_, how)| *how).min();
            // who counts commands otherwise may count replies otherwise
            if how == Some(How::Elsewhere) && client.is_uncounted() { Some(How::Answer) } else { how }
        };
        let answered: Vec<usize> = asked.iter().copied().filter(|id| how(*id) == Some(How::Answer)).collect();
        if !answered.is_empty() {
            return Ok(answered);
        }
        let complaint = match asked.iter().filter_map(|id| how(*id)).min() {
            Some(How::Elsewhere) => Complaint::Refused,
            Some(How::Inside) => Complaint::Inside,
            Some(How::BareLf) => Complaint::BareLf,
            Some(How::Answer) | None => Complaint::Answered,
        };
        Err((complaint, format!("port {to}")))
    }
}
