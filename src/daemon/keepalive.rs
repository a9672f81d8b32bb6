//! The keepalive thread: keeps silent control connections alive in IPVS for as long as their data connections live, or as the cluster's
//! `idle` says.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::messages::{Message, Packets};
use super::view::{History, View};
use crate::config::{Cluster, Config};
use crate::keepalive::{Callers, Ceiling, ControlConnection, ControlService, Idle, Keepalive, Quiet, SILENT, Sight};
use crate::kernel::conntrack::{self, Patience};
use crate::kernel::ipvs::Ipvs;
use crate::kernel::raw::{Raw, is_local};
use crate::kernel::{KernelError, connections};
use crate::lvs::ForwardingMethod;
use crate::steer::Placement;
use crate::time::Time;
use crate::wire::forge;

/// A listing of IPVS's connections takes at most this part of the time: a million connections take a while to list.
const SHARE: u32 = 20;

/// How often the timeout is asked for; more than one listing a second is never needed.
const BEAT: Duration = Duration::from_secs(1);

/// How many sessions the packet thread is asked about at once, so that packets do not wait for long.
const ASKED: usize = 1024;

/// VIPs that have come to this machine, and who waits until that is dealt with.
type TakeOver = (BTreeSet<IpAddr>, Sender<()>);

/// The thread that keeps control connections alive ends when this is dropped.
pub struct KeepaliveThread {
    /// The far end notices when it goes. `None`: there is no thread.
    line: Option<Sender<TakeOver>>,
}

impl KeepaliveThread {
    /// Starts the thread. Without CAP_NET_RAW it keeps nothing alive: idle control connections then end as they always did,
    /// and the log says so.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(view: Arc<Mutex<View>>, packets: Packets) -> io::Result<Self> {
        let raw = Raw::open().inspect_err(|error| {
            warn!(
                "no keepalives: long transfers may lose their idle control connections, and `idle` keeps none: {error}"
            );
        });
        let ipvs = match Ipvs::connect() {
            Ok(ipvs) => ipvs,
            Err(error) => {
                warn!(
                    "no keepalives: the connections of IPVS cannot be listed, and sessions under TLS end early: {error}"
                );
                return Ok(Self { line: None });
            }
        };
        let raw = raw.ok();
        let (line, orders) = channel();
        let keeper = Keeper { raw, ipvs, view, packets, origin: Instant::now(), complaint: None };
        thread::Builder::new().name("keepalive".into()).spawn(move || keeper.run(&orders))?;
        Ok(Self { line: Some(line) })
    }

    /// These VIPs have come to this machine: clients whose control connections IPVS has get their pinholes. Waits for that for
    /// `patience`: connections that begin later are not meant.
    pub fn took_over(&self, vips: BTreeSet<IpAddr>, patience: Duration) {
        // Without the thread nobody can list connections; the log has said so.
        let Some(line) = &self.line else { return };
        let (done, wait) = channel();
        if line.send((vips, done)).is_ok() {
            let _ = wait.recv_timeout(patience);
        }
    }
}

struct Keeper {
    /// The sockets that keepalives are sent through; `None` without CAP_NET_RAW.
    raw: Option<Raw>,
    ipvs: Ipvs,
    view: Arc<Mutex<View>>,
    packets: Packets,
    origin: Instant,
    /// The error that was logged last, so that it is logged once, until it is over.
    complaint: Option<String>,
}

impl Keeper {
    fn run(mut self, orders: &Receiver<TakeOver>) {
        let mut keepalive = Keepalive::default();
        let (mut looked, mut took): (Option<Instant>, _) = (None, Duration::ZERO);
        loop {
            match orders.recv_timeout(BEAT) {
                Ok((vips, done)) => {
                    let result = self.take_over(&vips);
                    // Nobody may wait any more.
                    let _ = done.send(());
                    self.complain(result.err());
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Asked each time: `ipvsadm --set` tells nobody.
            match self.ipvs.timeouts() {
                Ok(timeouts) if looked.is_some_and(|looked| looked.elapsed() < self.pause(took, timeouts.tcp)) => {}
                Ok(timeouts) => {
                    let began = Instant::now();
                    let result = self.look(&mut keepalive, Idle { tcp: timeouts.tcp, tcp_fin: timeouts.tcp_fin });
                    (looked, took) = (Some(began), began.elapsed());
                    self.complain(result.err());
                }
                Err(error) => self.complain(Some(error)),
            }
        }
    }

    /// Pause until the next listing; the first confirmation of a session under TLS should not wait for long.
    fn pause(&self, took: Duration, tcp: Duration) -> Duration {
        let wanted = self.packets.ask_and_wait(Message::WantsConfirmation) == Some(true);
        if wanted { (took * SHARE).min(pause(took, tcp)) } else { pause(took, tcp) }
    }

    fn complain(&mut self, error: Option<KernelError>) {
        let complaint = error.map(|error| error.to_string());
        if let Some(complaint) = complaint.as_ref().filter(|complaint| self.complaint.as_ref() != Some(complaint)) {
            warn!("keepalives for idle control connections failed: {complaint}");
        }
        self.complaint = complaint;
    }

    /// Lists every connection once, and sends the keepalives that are due. Goes on after an error.
    fn look(&mut self, keepalive: &mut Keepalive, idle: Idle) -> Result<(), KernelError> {
        // What IPVS says of an entry is as old as the list; what is made of it begins when it is sent.
        let listed = self.now();
        let mut sight = self.sight(idle);
        let mut established = Vec::with_capacity(ASKED);
        connections::each(&mut |connection| {
            established.extend(sight.connection(connection).as_ref().map(session));
            if established.len() >= ASKED {
                self.confirm(&mut established);
            }
        })?;
        self.confirm(&mut established);
        let nat = |quiet: &Quiet| quiet.control.forwarding == ForwardingMethod::Nat;
        let tracked = if sight.quiet().iter().any(nat) { translated(&mut sight) } else { Ok(()) };
        sight.pair();
        self.ask(&mut sight);
        let found = keepalive.look((listed, self.now()), &sight);
        self.count(found.left, |history| &mut history.idle_left);
        let mut sent = Ok(());
        for some in found.kept.chunks(ASKED) {
            let (controls, result) = self.send(some.to_vec(), |control| (control.client, control.vip));
            keepalive.sent(self.now(), &controls, idle);
            self.tell(&controls);
            sent = sent.and(result);
        }
        if !sight.wants_another() {
            return tracked.and(sent);
        }
        connections::each(&mut |connection| sight.again(connection))?;
        let kept = keepalive.look_at_data((listed, self.now()), &sight);
        let (_, data) = self.send(kept, |data| (data.client, data.vip));
        tracked.and(sent).and(data)
    }

    /// Tells the packet thread whose pinholes to open, now that these VIPs are here, and which calls have come.
    fn take_over(&self, vips: &BTreeSet<IpAddr>) -> Result<(), KernelError> {
        let mut sight = self.sight(Idle { tcp: Duration::ZERO, tcp_fin: Duration::ZERO });
        let (mut clients, mut callers, mut connected) = (BTreeSet::new(), Callers::default(), 0_u64);
        let mut answered = Vec::with_capacity(ASKED);
        let tell = |calls: &mut Vec<_>| self.packets.tell(Message::Answered(std::mem::take(calls)));
        connections::each(&mut |connection| {
            let call = |place: &Placement| (connection.client, connection.vip, place.index);
            answered.extend(sight.answered(connection).map(call));
            if answered.len() >= ASKED {
                let _ = tell(&mut answered);
            }
            let Some(control) = sight.connection(connection) else { return };
            // A call may also belong to a connection at a VIP that was here before.
            let came = vips.contains(&control.vip.ip());
            connected = connected.saturating_add(u64::from(came));
            for place in sight.places(&control) {
                clients.extend(came.then_some((control.client.ip(), place.index)));
                callers.add(&control, place, came);
            }
            if clients.len() >= ASKED {
                self.open(&mut clients);
            }
        })?;
        let _ = tell(&mut answered);
        self.open(&mut clients);
        let called: Vec<_> = callers.known().collect();
        for some in called.chunks(ASKED) {
            let _ = self.packets.tell(Message::MayBeCalled(some.to_vec()));
        }
        let vips = vips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        info!(vips, control_connections = connected, "VIPs are here: their clients' pinholes open for pinhole_timeout");
        Ok(())
    }

    fn open(&self, clients: &mut BTreeSet<(IpAddr, u16)>) {
        let _ = self.packets.tell(Message::TookOver(std::mem::take(clients).into_iter().collect()));
    }

    /// Tells the packet thread of connections that IPVS has, and forgets them.
    fn confirm(&self, established: &mut Vec<(SocketAddr, SocketAddr)>) {
        // If the packet thread is gone, the daemon ends soon.
        let _ = self.packets.tell(Message::Confirmed(std::mem::take(established)));
    }

    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    fn sight(&self, idle: Idle) -> Sight {
        let view = self.lock();
        let service = |cluster: &Cluster| {
            let Cluster { forwarding, idle_control, .. } = *cluster;
            ControlService { forwarding, idle_control }
        };
        let controls = services(&view.config).map(|(vip, cluster)| (vip, service(cluster))).collect();
        let limits = &view.config.limits;
        let ceiling = Ceiling::within(limits.sessions, limits.client_sessions);
        Sight::new(controls, view.indexes.placements.iter().copied(), idle, ceiling)
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds out which sessions have told that they transfer nothing.
    fn ask(&self, sight: &mut Sight) {
        let transferring = sight.quiet().iter().filter(|quiet| quiet.transfers);
        let sessions: Vec<_> = transferring.map(|quiet| session(&quiet.control)).collect();
        let ask = |some: &[_]| self.packets.ask_and_wait(|answer| Message::MayTransfer(some.to_vec(), answer));
        let answers: Vec<bool> = sessions.chunks(ASKED).map_while(ask).flatten().collect();
        let mut may = answers.into_iter();
        sight.transfers(|_| may.next().unwrap_or(false));
    }

    /// Sends a keepalive for each, from the client to the VIP; returns those for which it did.
    fn send<T>(
        &self,
        mut connections: Vec<T>,
        ends: impl Fn(&T) -> (SocketAddr, SocketAddr),
    ) -> (Vec<T>, Result<(), KernelError>) {
        let vips: BTreeSet<_> = connections.iter().map(|connection| ends(connection).1.ip()).collect();
        // The other director of a pair has the connections too, but not the VIP: it must not send into the network.
        let local: BTreeSet<_> = vips.into_iter().filter(|&vip| is_local(vip)).collect();
        let mut result = Ok(());
        connections.retain(|connection| {
            let (client, vip) = ends(connection);
            let packet = forge::stale_ack(client, vip).filter(|_| local.contains(&vip.ip()));
            let sent = packet.zip(self.raw.as_ref()).map(|(packet, raw)| raw.send(&packet, vip.ip()));
            let is_sent = matches!(sent, Some(Ok(())));
            if let Some(Err(error)) = sent {
                result = Err(error);
            }
            is_sent
        });
        (connections, result)
    }

    /// Counts the keepalives that were sent, and tells the traces that run.
    fn tell(&self, controls: &[ControlConnection]) {
        if controls.is_empty() {
            return;
        }
        let mut counts: BTreeMap<SocketAddr, u64> = BTreeMap::new();
        for control in controls {
            let count = counts.entry(control.vip).or_default();
            *count = count.saturating_add(1);
        }
        self.count(counts, |history| &mut history.refreshed);
        // If the packet thread is gone, the daemon ends soon.
        let _ = self.packets.tell(Message::Refreshed(controls.iter().map(session).collect()));
    }

    /// Adds to a counter of each cluster.
    fn count(&self, counts: BTreeMap<SocketAddr, u64>, counter: impl Fn(&mut History) -> &mut BTreeMap<String, u64>) {
        let mut guard = self.lock();
        let View { config, history, .. } = &mut *guard;
        for (name, more) in services(config).filter_map(|(vip, cluster)| Some((&cluster.name, counts.get(&vip)?))) {
            let count = counter(history).entry(name.clone()).or_default();
            *count = count.saturating_add(*more);
        }
    }
}

/// The client and the far end by which the packet thread knows a control connection.
const fn session(control: &ControlConnection) -> (SocketAddr, SocketAddr) {
    (control.client, control.far_end())
}

/// From one look to the next: a quarter of the time that IPVS keeps an idle connection, so that there are two looks at least
/// in what a quiet one has left; less often where the list is long, as far as that allows.
fn pause(took: Duration, tcp: Duration) -> Duration {
    (tcp / 4).max((took * SHARE).min(tcp * 2 / 5))
}

/// The virtual services of each cluster.
fn services(config: &Config) -> impl Iterator<Item = (SocketAddr, &Cluster)> {
    let of = |cluster| Cluster::places(cluster).map(move |place| (SocketAddr::from(place), cluster));
    config.clusters.iter().flat_map(of)
}

/// The data connections that connection tracking translates: IPVS does not know them.
fn translated(sight: &mut Sight) -> Result<(), KernelError> {
    let patience = Patience::of_kernel();
    for tracked in conntrack::translated()?.iter().filter(|tracked| tracked.lives(patience, SILENT)) {
        let (original, reply) = (tracked.original, tracked.reply);
        // Active: the server calls the client, and seems to be the VIP.
        sight.translated(original.destination, reply.destination, original.source.ip());
        // Passive, to another port than the server's.
        sight.translated(original.source, original.destination, reply.source.ip());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_looks_enough_and_not_too_many() {
        let seconds = |took: f64, tcp| pause(Duration::from_secs_f64(took), Duration::from_secs(tcp)).as_secs_f64();
        assert_eq!(seconds(0.01, 900), 225.0);
        assert_eq!(seconds(0.01, 20), 5.0);
        // A table that takes long to list is listed less often, as far as the timeout allows.
        assert_eq!(seconds(13.0, 900), 260.0);
        assert_eq!(seconds(60.0, 900), 360.0);
    }
}
