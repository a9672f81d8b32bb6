//! The running daemon: start, reload, drain, a look at the kernel every second, stop.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc};
use tracing::{error, info, warn};

use super::account;
use super::admin::{self, AdminState, Kernels};
use super::advertise::Follower;
use super::by_name;
use super::command::{DaemonCommand, OnExit};
use super::error::{RunError, kernel_error, lines, system};
use super::examination;
use super::health::Health;
use super::keepalive::KeepaliveThread;
use super::messages::{Message, Packets};
use super::metrics::endpoint;
use super::metrics::observe::Observer;
use super::metrics::verdict_histogram;
use super::metrics_listener;
use super::names::{NameFollower, PATIENCE};
use super::packets::Thread;
use super::reconcile::{Reconciler, missing};
use super::row_writer;
use super::systemd;
use super::transfer_log::TransferLog;
use super::view::{History, View, hash, now};
use crate::config::{Config, Parsed, ResolvedFile};
use crate::director::Director;
use crate::kernel::log::{HEADERS, PacketLog, SHORT};
use crate::kernel::netlink::Netfilter;
use crate::kernel::nftables::Elements;
use crate::kernel::raw::is_local;
use crate::kernel::read_state;
use crate::lvs::ServiceKey;
use crate::plan::availability::{Availability, ServerName};
use crate::plan::director_config;
use crate::plan::drift::{self, Foreseen, Repair};
use crate::plan::mark_index::{Former, Indexes};
use crate::plan::reconcile::Plan;
use crate::resolver;
use crate::state::{LocalAddress, reply_group};
use crate::time::Time;

/// How long a start waits for the list of IPVS's connections: those that begin later are not taken over.
const FIRST_LIST: Duration = Duration::from_secs(1);

/// How long a start waits for the first answers of name servers to what 227s say.
const FIRST_ANSWERS: Duration = Duration::from_secs(1);

/// Why what is in force changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A file was read: it may be refused.
    File,
    /// Names have other addresses.
    Names,
    /// Servers were drained, or failed, or come back.
    Availability,
}

/// The running daemon: its threads, and what they share.
pub struct Daemon {
    kernel: Reconciler,
    packets: Packets,
    pub(super) health: Health,
    follower: Follower,
    /// What is known of the names of real servers.
    pub(super) names: NameFollower,
    /// The file as it was read, whatever its names stand for.
    pub(super) written: Parsed,
    /// What the names stand for by now is not in force yet: it is tried again at the next look.
    pub(super) behind: bool,
    thread: std::thread::JoinHandle<()>,
    pub(super) view: Arc<Mutex<View>>,
    /// What is deleted when its last connection is gone; that is no drift.
    quiescing: BTreeSet<(ServiceKey, SocketAddr)>,
    /// VIPs whose interface did not exist at the last look; that they are added when it comes is no drift.
    absent: Vec<LocalAddress>,
    /// The VIPs that are addresses of this machine.
    here: BTreeSet<IpAddr>,
    /// The begin of the clock of slow starts.
    started: Instant,
    /// Its thread goes with us.
    keepalive: KeepaliveThread,
    /// Its file goes with us.
    socket: Option<admin::Socket>,
}

impl Daemon {
    /// Writes the rows, takes the queue (goes on with the former daemon's, if its socket was `kept`), starts the threads.
    pub async fn start(
        (written, file): (Parsed, &Path),
        kept: Option<Netfilter>,
        commands: mpsc::Sender<DaemonCommand>,
    ) -> Result<Self, RunError> {
        let Parsed { config, by_name, .. } = &written;
        let mut kernel = Reconciler::connect(config).map_err(RunError::Kernel)?;
        // Before anything is changed: a second daemon ends here.
        let admin = admin::bind(&config.admin.socket)?;
        let listen = |address| endpoint::listen(address).map_err(|error| RunError::Listen { address, error });
        let listener = config.metrics.listen.map(listen).transpose()?;
        // Names are asked before packets can wait for the answers.
        let mut follower = Follower::start(commands.clone()).map_err(kernel_error)?;
        follower.configure(config);
        let names = NameFollower::start();
        names.configure(&[by_name]);
        tokio::join!(follower.first_answers(FIRST_ANSWERS), names.answered(PATIENCE));
        let look = kernel.look(config).map_err(kernel_error)?;
        let ResolvedFile { config, servers } = resolver::resolve(&written, &names.answers(), None, &look.served());
        by_name::say(&[], &servers);
        look.other_machines(&config).map_err(RunError::Kernel)?;
        let inforce = look.inforce(&config, None);
        let availability = look.availability(&inforce).map_err(kernel_error)?;
        let plan = look.plan(&inforce, &availability, None).map_err(RunError::Kernel)?;
        let queue = systemd::queue(config.kernel.queue, kept).map_err(kernel_error)?;
        let socket_of_queue = queue.as_fd().try_clone_to_owned().map_err(system("the queue's socket"))?;
        let landings = PacketLog::open(config.kernel.queue, HEADERS).map_err(kernel_error)?;
        let replies = PacketLog::open(reply_group(config.kernel.queue), SHORT).map_err(kernel_error)?;
        let mut elements = Elements::connect().map_err(kernel_error)?;
        kernel.carry_out(&plan).map_err(kernel_error)?;
        // Nobody has written any yet.
        let _ = kernel.lost_rows();
        let found = read_state::dynamic(&mut elements).map_err(kernel_error)?;
        account::changes(&plan);

        let (packets, inbox, wake) = Packets::line().map_err(system("eventfd"))?;
        let (jobs, work) = channel();
        let (answers, done) = channel();
        row_writer::spawn(elements, work, answers, packets.wake()).map_err(system("row thread"))?;
        let verdicts = verdict_histogram();
        follower.configure(&plan.config);
        let followed = follower.followed();
        let mut director =
            Director::new(director_config::setup(&plan.config, &plan.indexes, &followed.known(), &plan.services));
        // The packet thread's clock begins when it does.
        director.found(found.into_iter().map(|(row, left)| (row, Time::ZERO + left)));
        let transfers = if config.log.transfers {
            director.log_transfers();
            Some(TransferLog::start(io::stdout()).map_err(system("transfer log thread"))?)
        } else {
            None
        };
        let thread = Thread {
            queue,
            landings,
            replies,
            director,
            inbox,
            done,
            wake,
            rows: jobs,
            verdicts: verdicts.clone(),
            transfers,
        };
        let thread = thread.spawn().map_err(system("packet thread"))?;

        let mut health = Health::start(commands.clone()).map_err(system("health check thread"))?;
        health.resume(&config, &availability);
        let history = History { reload_good: true, reloaded_at: now(), hash: hash(&written), ..History::default() };
        let Plan { config: inforce, indexes, quiescing, absent, services, .. } = plan;
        let config = Arc::new(config);
        let view = Arc::new(Mutex::new(View {
            config: View::share(&config, inforce),
            file: config,
            indexes,
            availability,
            health: health.view(),
            agents: health.agents(),
            followed,
            looked_up: names.looked_up(),
            by_name: servers,
            services,
            history,
        }));
        let keepalive =
            KeepaliveThread::start(Arc::clone(&view), packets.clone()).map_err(system("keepalive thread"))?;
        let observer = Arc::new(Mutex::new(Observer::connect().map_err(kernel_error)?));
        match listener {
            Some(listener) => metrics_listener::serve(listener, &view, &observer, &packets, verdicts)?,
            None => info!("metrics.listen is null: neither metrics nor the page for people are served"),
        }
        let said = examination::at_start(&view.lock().unwrap_or_else(PoisonError::into_inner).file);
        tokio::spawn(examination::watch(Arc::clone(&view), said));
        let socket = match admin {
            Some((socket, listener)) => {
                let listener = UnixListener::from_std(listener).map_err(system("admin socket"))?;
                let facts = Kernels::new(Arc::clone(&view), observer).map_err(kernel_error)?;
                let state = AdminState::new(facts, packets.clone(), commands, file);
                tokio::spawn(admin::serve(listener, admin::LIMITS, state));
                Some(socket)
            }
            None => None,
        };
        // An interface that comes later must not keep the others waiting.
        let complaint = lines(&missing(&absent));
        let (here, started) = (BTreeSet::new(), Instant::now());
        let mut daemon = Self {
            kernel,
            packets,
            health,
            follower,
            names,
            written,
            behind: false,
            thread,
            view,
            quiescing,
            absent,
            socket,
            here,
            started,
            keepalive,
        };
        daemon.follow_vips(FIRST_LIST);
        if !complaint.is_empty() {
            daemon.complain(complaint);
        }
        systemd::leave(socket_of_queue.as_fd());
        Ok(daemon)
    }

    /// What wakes whoever waits for other addresses of real servers.
    #[must_use]
    pub fn news_of_names(&self) -> Arc<Notify> {
        self.names.news()
    }

    /// Does what it is told.
    pub async fn command(&mut self, command: DaemonCommand, reread: &impl Fn() -> Result<Parsed, String>) {
        match command {
            // Whoever asked may have gone.
            DaemonCommand::Reload(answer) => drop(answer.send(self.reload(reread).await)),
            DaemonCommand::Drain { server, drained, answer } => drop(answer.send(self.drain(server, drained))),
            // A command that waited may be out of date.
            DaemonCommand::Down { .. } => self.follow_health(),
            // When the packet thread is gone, the next beat says so.
            DaemonCommand::Advertise => drop(self.configure_packets()),
            DaemonCommand::Addresses => self.follow_vips(Duration::ZERO),
        }
    }

    /// Makes the weights what health checks, agents and slow starts say. What fails is tried again at the next look.
    pub(super) fn follow_health(&mut self) {
        let (file, before) = self.standing();
        let mut availability = before.clone();
        availability.down = self.health.view().down();
        availability.down.extend(self.health.agents().down());
        availability.asked = self.health.agents().asks();
        availability.start_slowly(&file, (&file, &before), self.now());
        if availability != before
            && let Err(error) = self.apply(&file, availability, Cause::Availability)
        {
            self.complain(error);
        }
    }

    /// On the clock of slow starts.
    fn now(&self) -> Time {
        Time::ZERO + self.started.elapsed()
    }

    /// Said once, until it is over.
    pub(super) fn complain(&self, complaint: String) {
        let mut view = self.lock();
        if view.history.complaint.as_ref() != Some(&complaint) {
            error!("{complaint}");
            view.history.complaint = Some(complaint);
        }
    }

    fn drain(&mut self, server: ServerName, drained: bool) -> Result<(), String> {
        let (file, mut availability) = self.standing();
        let cluster = file.clusters.iter().find(|cluster| cluster.name == server.0);
        let known = cluster.is_some_and(|cluster| cluster.real_servers.iter().any(|known| known.name == server.1));
        if !known {
            let named = self.lock().by_name.iter().any(|of| of.cluster == server.0 && of.server == server.1);
            let why = if named { "its name has no address" } else { "it is no longer in the configuration" };
            return Err(format!("{}/{}: {why}, and it gets no new sessions", server.0, server.1));
        }
        info!(cluster = server.0, server = server.1, drained, "drain");
        if drained {
            availability.drained.insert(server)
        } else {
            availability.drained.remove(&server)
        };
        self.apply(&file, availability, Cause::Availability)
    }

    /// What the file says, and which servers get no new sessions.
    pub(super) fn standing(&self) -> (Arc<Config>, Availability) {
        let view = self.lock();
        (Arc::clone(&view.file), view.availability.clone())
    }

    /// The configuration in force, with what quiesces, and its indexes.
    fn in_force(&self) -> (Arc<Config>, Indexes) {
        let view = self.lock();
        (Arc::clone(&view.config), view.indexes.clone())
    }

    /// Makes the kernel what these say, in one step, and remembers them.
    pub(super) fn apply(
        &mut self,
        file: &Arc<Config>,
        mut availability: Availability,
        cause: Cause,
    ) -> Result<(), String> {
        let look = self.kernel.look(file).map_err(|error| error.to_string())?;
        let (before, served) = self.standing();
        let (standing, indexes) = self.in_force();
        availability.start_slowly(file, (&before, &served), self.now());
        let inforce = View::share(file, look.inforce(file, Some(&standing)));
        let former = Former { config: &standing, indexes: &indexes };
        let plan = look.plan(&inforce, &availability, Some(former)).map_err(|errors| lines(&errors))?;
        // A configuration that was good goes on when its interface vanishes: the looks complain.
        if cause == Cause::File {
            if !plan.absent.is_empty() {
                return Err(lines(&missing(&plan.absent)));
            }
            look.other_machines(file).map_err(|errors| lines(&errors))?;
        }
        if *file != before {
            let notes = look.notes(file, &plan);
            notes.harm.iter().for_each(|note| warn!("{note}"));
            notes.quiescing.iter().for_each(|note| info!("{note}"));
        }
        self.carry_out(&plan)?;
        let steps = *file == before && availability.serves_as(&served);
        let say = if steps { account::steps } else { account::changes };
        say(&plan);
        account::starts(file, &served, &availability);
        self.quiescing = plan.quiescing;
        let mut view = self.lock();
        // Weights are nothing to the packet thread, and steps are many.
        let known = steps && *view.config == *inforce && view.indexes == plan.indexes && view.services == plan.services;
        (view.file, view.config) = (Arc::clone(file), Arc::clone(&inforce));
        (view.indexes, view.availability) = (plan.indexes, availability);
        view.services = plan.services;
        drop(view);
        if known {
            return Ok(());
        }
        self.follower.configure(&inforce);
        self.follow_vips(Duration::ZERO);
        if self.configure_packets() { Ok(()) } else { Err("the packet thread is gone".into()) }
    }

    /// Changes the kernel. What the packet thread has to write again it is told of, also when the rest was refused.
    fn carry_out(&mut self, plan: &Plan) -> Result<(), String> {
        let done = self.kernel.carry_out(plan);
        if self.kernel.lost_rows() {
            let _ = self.packets.tell(Message::RowsLost);
        }
        done.map_err(|error| error.to_string())
    }

    /// VIPs come and go: the other director of a pair has had them meanwhile, or has them now.
    fn follow_vips(&mut self, patience: Duration) {
        let config = Arc::clone(&self.lock().config);
        let vips: BTreeSet<IpAddr> = config.clusters.iter().flat_map(|cluster| &cluster.vips).copied().collect();
        let here: BTreeSet<IpAddr> = vips.into_iter().filter(|&vip| is_local(vip)).collect();
        let came: BTreeSet<IpAddr> = here.difference(&self.here).copied().collect();
        let left: Vec<IpAddr> = self.here.difference(&here).copied().collect();
        self.here = here;
        if !left.is_empty() {
            info!(vips = left.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "), "VIPs have left");
            let _ = self.packets.tell(Message::GaveUp(left));
        }
        if !came.is_empty() {
            self.keepalive.took_over(came, patience);
        }
    }

    /// Tells the packet thread what is in force; `false` when it is gone.
    #[must_use]
    fn configure_packets(&self) -> bool {
        let view = self.lock();
        let setup = director_config::setup(&view.config, &view.indexes, &view.followed.known(), &view.services);
        drop(view);
        self.packets.tell(Message::Configure(Box::new(setup)))
    }

    /// Whether another program took our table away.
    pub fn table_is_gone(&mut self) -> bool {
        self.kernel.table_is_gone()
    }

    /// Puts right what someone else changed; takes away what has lost its last connection. Returns how long the look itself
    /// took: what it finds must not make the next one late.
    pub fn look(&mut self) -> Duration {
        // The kernel tells of an address before packets to it end here.
        self.follow_vips(Duration::ZERO);
        let (file, availability) = self.standing();
        let (inforce, indexes) = self.in_force();
        let began = Instant::now();
        let planned = self.kernel.look(&inforce).map_err(|error| error.to_string()).and_then(|look| {
            let former = Former { config: &inforce, indexes: &indexes };
            let plan = look.plan(&inforce, &availability, Some(former)).map_err(|errors| lines(&errors))?;
            let stays = look.inforce(&file, Some(&inforce)) == *inforce;
            let mut wrong = missing(&plan.absent);
            wrong.extend(look.other_machines(&file).err().into_iter().flatten());
            Ok((plan, stays, wrong))
        });
        let took = began.elapsed();
        let done = planned.and_then(|planned| self.carry_out(&planned.0).map(|()| planned));
        match done {
            Ok((plan, stays, wrong)) => {
                let drift = self.drift(&plan);
                let mut view = self.lock();
                view.history.drift = view.history.drift.saturating_add(drift);
                // Someone flushed what the indexes were remembered by: the packet thread must speak of the new ones.
                let renumbered = view.indexes != plan.indexes || view.services != plan.services;
                (view.indexes, view.services) = (plan.indexes, plan.services);
                if wrong.is_empty() && !self.behind {
                    view.history.complaint = None;
                }
                drop(view);
                if renumbered {
                    let _ = self.configure_packets();
                }
                if !wrong.is_empty() {
                    self.complain(lines(&wrong));
                }
                self.absent = plan.absent;
                if !stays && let Err(error) = self.apply(&file, availability, Cause::Availability) {
                    self.complain(error);
                }
            }
            Err(error) => self.complain(format!("the rows in the kernel cannot be put right: {error}")),
        }
        // Last: what others changed has been told from what we change now, and was counted.
        if self.behind {
            self.follow_names();
        }
        self.follow_health();
        took
    }

    /// How many rows someone else had changed; says so. An address whose interface was missing was nobody's change.
    fn drift(&self, plan: &Plan) -> u64 {
        let found = drift::found(plan, Foreseen { quiescing: &self.quiescing, absent: &self.absent });
        for found in &found {
            account::repair(found);
        }
        found.iter().map(Repair::drift).fold(0, u64::saturating_add)
    }

    /// Whether the packet thread answers.
    pub async fn alive(&self) -> bool {
        self.packets.alive().await
    }

    /// Ends the threads; takes the rows away if asked to.
    pub fn stop(mut self, on_exit: OnExit) {
        drop(self.socket.take());
        let _ = self.packets.tell(Message::Stop);
        // The queue is closed when the thread ends.
        let _ = self.thread.join();
        if on_exit == OnExit::Flush {
            let config = Arc::clone(&self.view.lock().unwrap_or_else(PoisonError::into_inner).config);
            for error in self.kernel.flush(&config) {
                error!(%error, "flush");
            }
        }
        info!("stopped");
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
