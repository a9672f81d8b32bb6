//! Which silent control connections are kept alive in IPVS: those whose data connections live, and those that have not been silent
//! for longer than the cluster's `idle`.
//!
//! IPVS is asked, not our own sessions: it knows when it would forget a connection, it also knows those that began before
//! this process, and a packet costs nothing here. Where a data connection belongs is known by its addresses only. So the
//! data connections of a client at a server that live when its control connection falls silent are taken for its own; any
//! that begin later are not: else a client that is gone would be kept for as long as others behind its address transfer.
//!
//! IPVS does not say when a connection last had a packet, but when it expires; what is remembered of one that is silent is when our
//! own keepalive made it expire. Where that has moved, one of the two ends has spoken, also under TLS and while nobody listened.

mod callers;
mod crowd;
mod data;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::lvs::{Connection, ConnectionState, ForwardingMethod};
use crate::steer::Placement;
use crate::time::Time;
pub use callers::Callers;
pub use crowd::Ceiling;
use crowd::Crowd;
use data::{Pair, SECOND, before};
pub use data::{SILENT, SilentData};

/// How often data connections that began meanwhile are believed to be a silent session's own. A command within the same second
/// as our own keepalive cannot be seen: both move the expiry to the same second.
const CHANCES: u8 = 2;

/// A control connection as IPVS lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControlConnection {
    /// Address and port of the client.
    pub client: SocketAddr,
    /// VIP and control port that the client connected to.
    pub vip: SocketAddr,
    /// Address and port of the real server.
    pub server: SocketAddr,
    /// The forwarding method of the connection.
    pub forwarding: ForwardingMethod,
}

impl ControlConnection {
    /// The end that is not the client's, as a session knows it.
    #[must_use]
    pub const fn far_end(&self) -> SocketAddr {
        match self.forwarding {
            ForwardingMethod::Nat => self.server,
            ForwardingMethod::Dr | ForwardingMethod::Tun => self.vip,
        }
    }
}

/// A place that clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlService {
    /// The forwarding method of its connections.
    pub forwarding: ForwardingMethod,
    /// How long a silent control connection is kept without a transfer; `None`: as long as IPVS keeps it.
    pub idle_control: Option<Duration>,
}

/// A control connection that has been idle for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// The control connection that is silent.
    pub control: ControlConnection,
    /// Time until IPVS forgets it, whole seconds.
    pub expires: Duration,
    /// Whether it may have a data connection.
    pub transfers: bool,
}

/// The ports of a data connection: the client's, and the one that the client sees.
type Ports = (u16, u16);

/// How long IPVS keeps an idle connection (`ipvsadm -L --timeout`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Timeout of established connections.
    pub tcp: Duration,
    /// Connections of which one side has sent a FIN.
    pub tcp_fin: Duration,
}

/// What one listing of all connections shows.
#[derive(Clone, Debug)]
pub struct Sight {
    controls: BTreeMap<SocketAddr, ControlService>,
    ceiling: Ceiling,
    /// Where data connections go, by VIP and real server.
    places: HashMap<Pair, Vec<Placement>>,
    idle: Idle,
    quiet: Vec<Quiet>,
    data: Vec<(Pair, Ports)>,
    /// Data connections of which IPVS has seen nothing for a while.
    silent: Vec<SilentData>,
    /// The clients and servers of these, and whether they have a control connection.
    paired: HashMap<Pair, bool>,
}

impl Sight {
    /// Nothing was seen yet. `controls` are our virtual services.
    #[must_use]
    pub fn new(
        controls: BTreeMap<SocketAddr, ControlService>,
        placements: impl IntoIterator<Item = Placement>,
        idle: Idle,
        ceiling: Ceiling,
    ) -> Self {
        let mut places: HashMap<Pair, Vec<Placement>> = HashMap::new();
        for placement in placements {
            places.entry((placement.vip, placement.address)).or_default().push(placement);
        }
        let (quiet, data, silent, paired) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
        Self { controls, ceiling, places, idle, quiet, data, silent, paired }
    }

    /// Takes in a connection that IPVS lists. Returns it if it is an established control connection.
    pub fn connection(&mut self, connection: &Connection) -> Option<ControlConnection> {
        let Connection { client, vip, server, state, expires } = *connection;
        let Some(&ControlService { forwarding, .. }) = self.controls.get(&vip) else {
            if self.lives(state, expires) && self.takes_data(vip, server.ip()) {
                let pair = (client.ip(), server.ip());
                self.data.push((pair, (client.port(), vip.port())));
                if state == ConnectionState::Established && self.is_quiet(expires) {
                    self.silent.push(SilentData { client, vip, pair, expires });
                    self.paired.insert(pair, false);
                }
            }
            return None;
        };
        let control = ControlConnection { client, vip, server, forwarding };
        if state != ConnectionState::Established {
            return None;
        }
        if self.is_quiet(expires) {
            self.quiet.push(Quiet { control, expires, transfers: true });
        }
        Some(control)
    }

    /// The server that a control connection leads to. (Of one that has several places at a VIP, each: data connections lead to
    /// the same machine.)
    pub fn places(&self, control: &ControlConnection) -> impl Iterator<Item = &Placement> {
        self.places.get(&(control.vip.ip(), control.server.ip())).into_iter().flatten()
    }

    /// A quarter of the time has passed: with a look in each quarter two more come before it is over.
    fn is_quiet(&self, expires: Duration) -> bool {
        expires < self.idle.tcp * 3 / 4
    }

    /// Whether the connections are to be offered once more, to [`Sight::again`]: some data connection is silent.
    #[must_use]
    pub fn wants_another(&self) -> bool {
        !self.silent.is_empty()
    }

    /// IPVS lists this one once more: is it the control connection of a silent data connection? (A list of all pairs would take
    /// more memory than all sessions.)
    pub fn again(&mut self, connection: &Connection) {
        if connection.state == ConnectionState::Established
            && self.controls.contains_key(&connection.vip)
            && let Some(has_control) = self.paired.get_mut(&(connection.client.ip(), connection.server.ip()))
        {
            *has_control = true;
        }
    }

    /// In DR and TUN a data connection that has ended is half closed for IPVS, which sees the client's half only.
    fn lives(&self, state: ConnectionState, expires: Duration) -> bool {
        match state {
            ConnectionState::Established => true,
            // The client's acknowledgements keep one that still transfers young: a quarter of `tcp` lies between two looks.
            ConnectionState::HalfClosed => self.idle.tcp_fin.saturating_sub(expires) <= self.idle.tcp / 4,
            ConnectionState::Other => false,
        }
    }

    /// Whether this is a port of a data connection: other services may have our VIPs too.
    fn takes_data(&self, vip: SocketAddr, server: IpAddr) -> bool {
        self.at(vip, server).any(|place| place.ports_at_vip().contains(vip.port()) || self.calls(place, vip))
    }

    /// The servers of which this is a call that its client has answered. (DR, TUN: in NAT IPVS knows nothing of calls.)
    pub fn answered(&self, connection: &Connection) -> impl Iterator<Item = &Placement> {
        let Connection { vip, server, .. } = *connection;
        self.at(vip, server.ip())
            .filter(move |place| place.forwarding != ForwardingMethod::Nat && self.calls(place, vip))
    }

    fn at(&self, vip: SocketAddr, server: IpAddr) -> impl Iterator<Item = &Placement> {
        self.places.get(&(vip.ip(), server)).into_iter().flatten()
    }

    /// Whether the server calls from this port of the VIP.
    fn calls(&self, place: &Placement, vip: SocketAddr) -> bool {
        // RFC 959 §3.2: a server calls from its control port − 1 unless the file says otherwise.
        let control = vip.port().checked_add(1).map(|port| SocketAddr::new(vip.ip(), port));
        let below_control = control.is_some_and(|control| self.controls.contains_key(&control));
        // `active_ports` are more ports, besides that one.
        place.active_port.map_or(below_control, |port| port == vip.port())
            || place.active_ports.is_some_and(|ports| ports.contains(vip.port()))
    }

    /// A data connection that lives and that IPVS does not know, between a client, what it takes for the other end, and the
    /// real server.
    pub fn translated(&mut self, client: SocketAddr, vip: SocketAddr, server: IpAddr) {
        if self.places.contains_key(&(vip.ip(), server)) {
            self.data.push(((client.ip(), server), (client.port(), vip.port())));
        }
    }

    /// The control connections that have been idle for a while.
    #[must_use]
    pub fn quiet(&self) -> &[Quiet] {
        &self.quiet
    }

    /// Finds out which control connections may have a data connection. Forgets those that have none and are not kept without one, and
    /// the data connections that have no quiet one.
    pub fn pair(&mut self) {
        let wanted: HashSet<Pair> = self.quiet.iter().map(|quiet| pair(&quiet.control)).collect();
        self.data.retain(|(pair, _)| wanted.contains(pair));
        let busy: HashSet<Pair> = self.data.iter().map(|(pair, _)| *pair).collect();
        self.transfers(|quiet| busy.contains(&pair(&quiet.control)));
    }

    /// Of those that may have a data connection, `may` tells which do. The others are forgotten unless they are kept without one.
    pub fn transfers(&mut self, mut may: impl FnMut(&Quiet) -> bool) {
        let Self { quiet, controls, .. } = self;
        quiet.retain_mut(|quiet| {
            quiet.transfers = quiet.transfers && may(quiet);
            quiet.transfers || idle_control(controls, &quiet.control).is_some()
        });
    }
}

/// How long this control connection is kept without a transfer.
fn idle_control(controls: &BTreeMap<SocketAddr, ControlService>, control: &ControlConnection) -> Option<Duration> {
    controls.get(&control.vip)?.idle_control
}

const fn pair(control: &ControlConnection) -> Pair {
    (control.client.ip(), control.server.ip())
}

/// A control connection that was quiet, and was kept.
#[derive(Clone, Copy, Debug)]
struct Watch {
    /// The data connections that are taken for its own; `None`: it is kept without any.
    own: Option<u64>,
    /// When it last had a packet, or a data connection of its own.
    since: Time,
    /// When IPVS forgets it if it stays silent.
    expires: Time,
    /// How often `own` may be chosen again although nothing was heard.
    chances: u8,
}

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub struct Keepalive {
    watches: HashMap<ControlConnection, Watch>,
    /// Data connections that lived at one look and still do, by number: sessions that fell silent together share them.
    chosen: HashMap<u64, (Pair, HashSet<Ports>)>,
    next: u64,
    data: data::DataWatches,
}

/// What a look finds.
#[derive(Debug, Default)]
pub struct Looked {
    /// The control connections that get a keepalive now.
    pub kept: Vec<ControlConnection>,
    /// How many `idle` would keep, if these were not too many: by VIP and control port.
    pub left: BTreeMap<SocketAddr, u64>,
}

impl Keepalive {
    /// The data connections that get a keepalive now, the second time; the first: when IPVS was asked.
    pub fn look_at_data(&mut self, times: (Time, Time), sight: &Sight) -> Vec<SilentData> {
        self.data.look(times, &sight.silent, &sight.paired, sight.idle.tcp)
    }

    /// The control connections that get a keepalive now, the second time; the first: when IPVS was asked.
    pub fn look(&mut self, (listed, now): (Time, Time), sight: &Sight) -> Looked {
        // A watch that was to expire by now belongs to a connection that has ended, or spoke and is no longer quiet. No other goes: of
        // one that nobody watches, our last keepalive would look like its last packet.
        self.watches.retain(|_, watch| watch.expires + SECOND > listed);
        let living = self.living(sight);
        let mut today: HashMap<Pair, u64> = HashMap::new();
        // They have their places already, so that of too many it is not others at each look.
        let mut crowd = Crowd::default();
        let without = self.watches.iter().filter(|(_, watch)| watch.own.is_none());
        without.for_each(|(control, _)| crowd.add(control.client.ip()));
        let mut found = Looked::default();
        for quiet in &sight.quiet {
            let (control, expires) = (quiet.control, listed + quiet.expires);
            let watch = self.watches.get(&control).copied();
            // Later than our own keepalive made it: the client or the server spoke meanwhile, and all begins anew.
            let old = watch.filter(|watch| expires <= watch.expires + SECOND);
            let since =
                old.map_or_else(|| before(listed, sight.idle.tcp.saturating_sub(quiet.expires)), |old| old.since);
            let chances = old.map_or(CHANCES, |old| old.chances);
            let own = living.get(&pair(&control)).filter(|_| quiet.transfers);
            let own = own.and_then(|living| self.own(&control, old, living, &mut today));
            let (own, since, chances) = match own {
                Some((own, chances)) => (Some(own), listed, chances),
                // IPVS would forget it too early.
                None if idle_control(&sight.controls, &control).is_some_and(|idle| expires < since + idle) => {
                    if watch.is_none_or(|watch| watch.own.is_some())
                        && !crowd.admits(control.client.ip(), sight.ceiling)
                    {
                        let left = found.left.entry(control.vip).or_default();
                        *left = left.saturating_add(1);
                        continue;
                    }
                    (None, since, chances)
                }
                None => continue,
            };
            self.watches.insert(control, Watch { own, since, expires: now + sight.idle.tcp, chances });
            found.kept.push(control);
        }
        found
    }

    /// These have got their keepalive by now: sending many takes a while.
    pub fn sent(&mut self, now: Time, sent: &[ControlConnection], idle: Idle) {
        for control in sent {
            if let Some(watch) = self.watches.get_mut(control) {
                watch.expires = now + idle.tcp;
            }
        }
    }

    /// The data connections that live. Chosen ones only ever get fewer: one that begins after its session fell silent is somebody
    /// else's. Of a pair whose sessions are not quiet at this look nothing is known: the keepalives of the look before may be younger
    /// than a quarter of the timeout.
    fn living(&mut self, sight: &Sight) -> HashMap<Pair, HashSet<Ports>> {
        let used: HashSet<u64> = self.watches.values().filter_map(|watch| watch.own).collect();
        self.chosen.retain(|number, _| used.contains(number));
        let mut living: HashMap<Pair, HashSet<Ports>> = HashMap::new();
        for (pair, ports) in &sight.data {
            living.entry(*pair).or_default().insert(*ports);
        }
        for (pair, own) in self.chosen.values_mut() {
            if let Some(living) = living.get(pair) {
                own.retain(|ports| living.contains(ports));
            }
        }
        living
    }

    /// The data connections by which a control connection lives, and how often they may be chosen again.
    fn own(
        &mut self,
        control: &ControlConnection,
        old: Option<Watch>,
        living: &HashSet<Ports>,
        today: &mut HashMap<Pair, u64>,
    ) -> Option<(u64, u8)> {
        let lives = |own: &u64| self.chosen.get(own).is_some_and(|(_, own)| !own.is_empty());
        let chances = match old {
            Some(Watch { own, chances, .. }) => match own.filter(lives) {
                Some(own) => return Some((own, chances)),
                // Its data connections have ended, and nobody acknowledged a 226, which IPVS would have seen: the client is gone. Or
                // the 226 and the next transfer fell into the second of our own keepalive.
                None => chances.checked_sub(1)?,
            },
            None => CHANCES,
        };
        // All sessions of a pair that fall silent at one look share a choice: which data connection is whose, nobody can tell.
        let own = today.entry(pair(control)).or_insert_with(|| {
            self.next = self.next.wrapping_add(1);
            self.chosen.insert(self.next, (pair(control), living.clone()));
            self.next
        });
        Some((*own, chances))
    }
}

#[cfg(test)]
mod tests;
