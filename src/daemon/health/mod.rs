//! The health checks at work: one task per (cluster, server), in a thread of its own so that a long look at the kernel
//! makes no server look slow.
//!
//! The agents on the servers are asked in the same thread (`agents`).
//!
//! What they found stands in a [`HealthView`]; [`DaemonCommand::Down`] says that there is something new in it.

mod agents;
mod links;
mod prober;
mod tls;
mod trust;

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

pub use agents::{AgentView, ServerAgent};

use agents::Agents;

use crate::config::{Config, HealthCheck, HealthCheckKind};
use crate::daemon::command::DaemonCommand;
use crate::daemon::health::prober::Probed;
use crate::daemon::health::trust::SystemAuthorities;
use crate::health::{HealthState, LEAST_PAUSE, Pace, ProbeOutcome, ProbeReport, RiseFall, Step, Transition};
use crate::lvs::PortRange;
use crate::plan::availability::{Availability, ServerName};
use crate::time::Time;

/// What is known of the health of one server.
#[derive(Clone, Debug)]
pub struct ServerHealth {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the real server, unique in its cluster.
    pub server: String,
    /// The address and control port that the probes go to.
    pub address: SocketAddr,
    /// What the probes so far make of the server.
    pub state: HealthState,
    /// Since when, seconds since the epoch.
    pub since: f64,
    /// The last step of the last probe.
    pub last_step: Option<Step>,
    /// Why the last probe failed, in the server's words if it said any; `None`: it was good.
    pub last_error: Option<String>,
    /// How long the steps of the last probe took, seconds.
    pub steps: Vec<(Step, f64)>,
    /// When the certificate that the server showed last ends, seconds since the epoch; `None`: it has shown none.
    pub certificate_ends: Option<f64>,
    /// Whether a file of the check could not be read at the last probe: the server is only greeted then.
    pub file_unreadable: bool,
}

/// What is known of every server that is probed.
#[derive(Clone, Default)]
pub struct HealthView(Arc<Mutex<BTreeMap<ServerName, Checked>>>);

struct Checked {
    health: ServerHealth,
    tally: RiseFall,
    /// The task whose reports count: one that was replaced may still send a report.
    task: u64,
}

impl HealthView {
    /// Every server that is probed, by cluster and name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ServerHealth> {
        self.lock().values().map(|entry| entry.health.clone()).collect()
    }

    /// The servers that take no new sessions.
    #[must_use]
    pub fn down(&self) -> BTreeSet<ServerName> {
        let entries = self.lock();
        let down = entries.iter().filter(|(_, entry)| entry.health.state == HealthState::Down);
        down.map(|(name, _)| name.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServerName, Checked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report into account. `None`: the task has been replaced.
    fn probed(&self, target: &Target, task: u64, report: &ProbeReport, unreadable: bool) -> Option<Transition> {
        let mut entries = self.lock();
        let entry = entries.get_mut(&target.server).filter(|entry| entry.task == task)?;
        let change = entry.tally.probed(report.outcome, now());
        let health = &mut entry.health;
        (health.state, health.since) = (entry.tally.standing(), seconds(entry.tally.since()));
        health.last_step = report.last_step();
        health.last_error = report.failure.as_ref().map(|failure| failure.error.clone());
        health.file_unreadable = unreadable;
        // A server that is down still has its certificate.
        health.certificate_ends = report.certificate_ends.map(seconds).or(health.certificate_ends);
        health.steps = report.steps.iter().map(|(step, took)| (*step, took.as_secs_f64())).collect();
        Some(change)
    }
}

/// A server that is probed, and how.
#[derive(Clone, Debug, PartialEq)]
struct Target {
    server: ServerName,
    probed: Probed,
}

/// The health checks of a configuration.
pub struct Health {
    view: HealthView,
    tasks: BTreeMap<ServerName, (Target, AbortHandle)>,
    agents: Agents,
    commands: mpsc::Sender<DaemonCommand>,
    runtime: Handle,
    system: SystemAuthorities,
    /// The thread ends when this is dropped.
    _stop: oneshot::Sender<()>,
    started: u64,
}

impl Health {
    /// Starts the thread. Nothing is probed until [`Health::resume`].
    ///
    /// # Errors
    /// When the operating system refuses a thread or a descriptor.
    pub fn start(commands: mpsc::Sender<DaemonCommand>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new().name("health".into()).spawn(move || {
            // It ends with an error, the drop of its sender.
            let _ = runtime.block_on(stopped);
            // A password file on a dead file system must not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok(Self {
            view: HealthView::default(),
            tasks: BTreeMap::new(),
            agents: Agents::default(),
            commands,
            runtime: handle,
            system: SystemAuthorities::default(),
            _stop: stop,
            started: 0,
        })
    }

    /// The results so far, shared with the threads that ask for them.
    #[must_use]
    pub fn view(&self) -> HealthView {
        self.view.clone()
    }

    /// What the agents said so far.
    #[must_use]
    pub fn agents(&self) -> AgentView {
        self.agents.view()
    }

    /// Probes what this configuration says from now on. A server whose check has not changed is not disturbed; one that is
    /// probed in another way keeps its standing, at another address it begins anew: if it is down in `standing`, until a probe is good,
    /// and if an agent drains it there, until that was asked.
    pub fn resume(&mut self, config: &Config, standing: &Availability) {
        self.agents.configure(config, standing, &self.runtime);
        let wanted = targets(config);
        let same = |name: &ServerName, target: &Target| wanted.get(name) == Some(target);
        self.tasks.retain(|name, (target, task)| {
            let stays = same(name, target);
            if !stays {
                task.abort();
            }
            stays
        });
        self.view
            .lock()
            .retain(|name, entry| wanted.get(name).is_some_and(|target| target.probed.address == entry.health.address));
        for (name, target) in wanted {
            if !self.tasks.contains_key(&name) {
                let suspect = standing.down.contains(&name);
                let task = self.watch(target.clone(), suspect);
                self.tasks.insert(name, (target, task));
            }
        }
    }

    fn watch(&mut self, target: Target, suspect: bool) -> AbortHandle {
        self.started += 1;
        let task = self.started;
        let (rise, fall, now) = (target.probed.check.rise, target.probed.check.fall, now());
        let mut entries = self.view.lock();
        match entries.entry(target.server.clone()) {
            btree_map::Entry::Occupied(mut entry) => {
                let entry = entry.get_mut();
                (entry.tally, entry.task) = (entry.tally.with(rise, fall), task);
                entry.health.certificate_ends =
                    entry.health.certificate_ends.filter(|_| target.probed.sees_certificate());
            }
            btree_map::Entry::Vacant(place) => {
                let tally = if suspect { RiseFall::suspect(rise, fall, now) } else { RiseFall::new(rise, fall, now) };
                let health = ServerHealth { state: tally.standing(), ..unknown(&target, now) };
                place.insert(Checked { health, tally, task });
            }
        }
        drop(entries);
        let watch = Watch { target, task, view: self.view.clone(), commands: self.commands.clone() };
        self.runtime.spawn(watch.run(self.system.clone())).abort_handle()
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        for (_, task) in self.tasks.values() {
            task.abort();
        }
    }
}

/// Every server that is probed, at its own address and the first control port.
fn targets(config: &Config) -> BTreeMap<ServerName, Target> {
    let mut targets = BTreeMap::new();
    for cluster in config.clusters.iter().filter(|cluster| cluster.health_check.kind != HealthCheckKind::None) {
        let first = cluster.ports.first().copied().unwrap_or(21);
        for server in &cluster.real_servers {
            let name = (cluster.name.clone(), server.name.clone());
            let address = SocketAddr::new(server.address, server.port.unwrap_or(first));
            let passive_ports = Some(server.passive_ports).filter(|range| *range != PortRange::UNPRIVILEGED);
            // Another agent is no other probe.
            let check = HealthCheck { agent: None, ..cluster.health_check.clone() };
            let tls = cluster.tls_to(server);
            let probed = Probed { address, check, tls, passive_ports };
            targets.insert(name.clone(), Target { server: name, probed });
        }
    }
    targets
}

fn unknown(target: &Target, now: Time) -> ServerHealth {
    let (cluster, server) = target.server.clone();
    ServerHealth {
        cluster,
        server,
        address: target.probed.address,
        state: HealthState::Unknown,
        since: seconds(now),
        last_step: None,
        last_error: None,
        steps: Vec::new(),
        certificate_ends: None,
        file_unreadable: false,
    }
}

/// What probes one server until it is aborted, or replaced.
struct Watch {
    target: Target,
    task: u64,
    view: HealthView,
    commands: mpsc::Sender<DaemonCommand>,
}

impl Watch {
    async fn run(self, system: SystemAuthorities) {
        let Self { target, task, view, commands } = self;
        let mut pace = Pace::new(target.probed.check.interval, RandomState::new().hash_one(&target.server));
        let (mut last_error, mut last_unreadable) = (None, None);
        sleep(pace.first()).await;
        loop {
            let next = Instant::now() + pace.pause();
            let (report, unreadable) = target.probed.probe(&system).await;
            let Some(change) = view.probed(&target, task, &report, unreadable.is_some()) else { return };
            if let Some(error) = unreadable.as_deref().filter(|error| last_unreadable.as_deref() != Some(*error)) {
                let (cluster, server) = (&target.server.0, &target.server.1);
                warn!(
                    cluster,
                    server, error, "a file of the health check cannot be read: the server is greeted, and no more"
                );
            }
            let told =
                unreadable.is_some() || last_error == report.failure.as_ref().map(|failure| failure.error.clone());
            say(&target, &report, change, told);
            (last_error, last_unreadable) = (report.failure.map(|failure| failure.error), unreadable);
            if matches!(change, Transition::Up | Transition::Down) {
                let down = change == Transition::Down;
                // A daemon that ends no longer listens.
                let _ = commands.send(DaemonCommand::Down { server: target.server.clone(), down }).await;
            }
            sleep_until(next.max(Instant::now() + LEAST_PAUSE)).await;
        }
    }
}

/// `told`: the log has the error already.
fn say(target: &Target, report: &ProbeReport, change: Transition, told: bool) {
    let ((cluster, server), address) = (&target.server, target.probed.address);
    let step = report.last_step().map_or("none", Step::name);
    let error = report.failure.as_ref().map_or("", |failure| failure.error.as_str());
    match (change, report.outcome) {
        (Transition::Up, _) => info!(cluster, server, %address, "server up"),
        (Transition::Down, _) => {
            let fall = target.probed.check.fall;
            warn!(cluster, server, %address, step, error, "server down: {fall} health checks failed in a row; live sessions go on, new ones go to other servers");
        }
        (Transition::Faltered, _) => info!(cluster, server, %address, step, error, "a health check failed"),
        (Transition::None, ProbeOutcome::Unsure) if !told => {
            warn!(cluster, server, %address, step, error, "a health check was not possible: the cause is on this machine");
        }
        (Transition::None, ProbeOutcome::Good) => debug!(cluster, server, %address, "a health check succeeded"),
        (Transition::None, _) => debug!(cluster, server, %address, step, error, "a health check failed"),
    }
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Seconds since the epoch.
fn seconds(time: Time) -> f64 {
    time.since(Time::ZERO).as_secs_f64()
}
