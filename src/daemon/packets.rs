//! The packet thread: owns the queue, the log group and the director. Everyone else talks to it through [`super::messages::Packets`].

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use prometheus::Histogram;
use prometheus::local::LocalHistogram;
use tracing::{error, warn};

use super::messages::{Message, RowsDone};
use super::repeated::Repeated;
use super::row_writer::Job;
use super::trace_subscribers::Listeners;
use super::transfer_log::TransferLog;
use crate::director::{self, Action, Crowded, Decision, Director, Hook, OutOfRange, Snapshot};
use crate::kernel::abi::nfnetlink_queue::NF_INET_FORWARD;
use crate::kernel::log::PacketLog;
use crate::kernel::queue::{PacketId, Queue, Taken, Verdicts};
use crate::kernel::wait::{Wake, wait};
use crate::state::UNEXPECTED;
use crate::time::Time;

/// What the thread works with.
pub struct Thread {
    /// The NFQUEUE that control packets wait in.
    pub queue: Queue,
    /// The NFLOG group that tells of data connections that landed.
    pub landings: PacketLog,
    /// The NFLOG group that tells of replies that nobody had to wait for.
    pub replies: PacketLog,
    /// The director: owned by this thread alone.
    pub director: Director,
    /// Messages from the other threads.
    pub inbox: Receiver<Message>,
    /// The answers of the row thread.
    pub done: Receiver<RowsDone>,
    /// Wakes the thread for messages and rows that are written.
    pub wake: Wake,
    /// Where rows are written.
    pub rows: Sender<Job>,
    /// The histogram `ftpdirector_verdict_seconds`.
    pub verdicts: Histogram,
    /// Where transfers are logged, if they are.
    pub transfers: Option<TransferLog>,
}

impl Thread {
    /// Starts the thread `packets`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn(self) -> io::Result<JoinHandle<()>> {
        let Self { queue, landings, replies, director, inbox, done, wake, rows, verdicts, transfers } = self;
        let (waiting, listeners) = (HashMap::new(), Listeners::default());
        let (origin, lost) = (Instant::now(), (0, 0));
        let (round, decided, verdicts) = (origin, 0, verdicts.local());
        let core = Core {
            director,
            rows,
            verdicts,
            transfers,
            origin,
            round,
            decided,
            waiting,
            next: 0,
            listeners,
            rows_gone: false,
            lost,
            unread: false,
        };
        let inbox = Inbox { messages: inbox, done };
        thread::Builder::new().name("packets".into()).spawn(move || {
            let logs = Logs { landings, replies, read: origin, lost: 0 };
            if let Err(error) = run(core, queue, logs, &inbox, &wake) {
                error!(%error, "the packet thread ends, and the daemon soon: nobody reads control packets");
            }
        })
    }
}

/// The director and what its actions need.
struct Core {
    director: Director,
    rows: Sender<Job>,
    verdicts: LocalHistogram,
    transfers: Option<TransferLog>,
    origin: Instant,
    /// When this round began: the clock is read once for all that is done in it.
    round: Instant,
    /// How many packets have had their verdict in it, at once.
    decided: u32,
    waiting: HashMap<u64, (PacketId, Instant)>,
    next: u64,
    listeners: Listeners,
    rows_gone: bool,
    /// Late verdicts, and overruns of the log.
    lost: (u64, u64),
    /// Whether messages may be left to be read.
    unread: bool,
}

/// What the other threads say.
struct Inbox {
    messages: Receiver<Message>,
    done: Receiver<RowsDone>,
}

/// How late what the logs tell may be read. Nobody waits for it, and waking costs more than reading: mostly it is read with the
/// next packet of the queue.
const LATE: Duration = Duration::from_millis(20);

/// The groups that tell of packets which have gone on.
struct Logs {
    landings: PacketLog,
    replies: PacketLog,
    /// When they were read last.
    read: Instant,
    /// How often replies had been lost then.
    lost: u64,
}

impl Logs {
    fn overruns(&self) -> u64 {
        self.landings.overruns().saturating_add(self.replies.overruns())
    }

    /// Hands everything that was told to the director.
    fn pass_on(&mut self, core: &mut Core, actions: &mut Vec<Action>) -> io::Result<()> {
        let now = core.now();
        let [landings, replies] = wait([self.landings.as_fd(), self.replies.as_fd()], Some(Duration::ZERO))?;
        if landings || replies {
            self.read = core.round;
        }
        if landings {
            self.landings.receive(&mut |logged| match logged.prefix {
                UNEXPECTED => core.director.unexpected(now, logged.payload),
                _ => core.director.landed(now, logged.mark, logged.payload),
            })?;
        }
        if !replies {
            return Ok(());
        }
        let mut bytes = Vec::new();
        self.replies.receive(&mut |logged| {
            bytes.clear();
            bytes.extend_from_slice(logged.payload);
            core.director.overheard(now, &mut bytes, actions);
        })?;
        // All that came before is read by now.
        let lost = self.replies.overruns();
        if std::mem::replace(&mut self.lost, lost) != lost {
            core.director.lost_replies(now);
        }
        Ok(())
    }
}

/// Waits for a packet, a message, or something that is due. Says whether a packet waits.
fn rest(core: &mut Core, queue: &Queue, logs: &Logs, wake: &Wake) -> io::Result<bool> {
    let due = core.director.due().map_or(Duration::from_secs(1), |due| due.since(core.now()));
    let due = if core.unread { Duration::ZERO } else { due };
    let (queue, woken) = (queue.as_fd(), wake.as_fd());
    let [packets, woken] = match LATE.saturating_sub(core.round.duration_since(logs.read)) {
        Duration::ZERO => {
            let [packets, woken, ..] = wait([queue, woken, logs.landings.as_fd(), logs.replies.as_fd()], Some(due))?;
            [packets, woken]
        }
        early => wait([queue, woken], Some(due.min(early)))?,
    };
    if woken {
        wake.clear();
    }
    core.round = Instant::now();
    Ok(packets)
}

fn run(mut core: Core, mut queue: Queue, mut logs: Logs, inbox: &Inbox, wake: &Wake) -> io::Result<()> {
    let (mut actions, mut trouble) = (Vec::new(), Repeated::default());
    loop {
        core.lost = (queue.late(), logs.overruns());
        let packets = rest(&mut core, &queue, &logs, wake)?;
        if !core.hear(inbox, &mut actions) {
            core.give_up(queue.verdicts());
            let flushed = queue.flush();
            core.last_transfers();
            return flushed;
        }
        core.act(&mut actions, queue.verdicts());
        // Bounded, so that a flood of packets does not keep acknowledgements and timers waiting.
        for round in 0..16 {
            if round > 0 {
                core.round = Instant::now();
            }
            let taken =
                if packets { passing(queue.take(), &mut trouble)?.unwrap_or_default() } else { Taken::default() };
            // Everything that these packets are an answer to has been told by now: a reply that the client has read, a data
            // connection that came before the command which supersedes its expectation.
            let told = logs.pass_on(&mut core, &mut actions);
            passing(told, &mut trouble)?;
            core.act(&mut actions, queue.verdicts());
            let more = taken.is_full();
            queue.hand_on(taken, &mut |packet, verdicts| {
                core.packet(packet, &mut actions, verdicts);
                core.act(&mut actions, verdicts);
            });
            passing(queue.flush_much(), &mut trouble)?;
            // Packets of many lines are read in turn with those of others.
            let now = core.now();
            let resumed = core.director.has_turn(now);
            core.director.resume(now, &mut actions);
            core.act(&mut actions, queue.verdicts());
            passing(queue.flush(), &mut trouble)?;
            core.observe();
            if !more && !resumed {
                break;
            }
        }
        core.director.tick(core.now(), &mut actions);
        core.act(&mut actions, queue.verdicts());
        passing(queue.flush(), &mut trouble)?;
        if core.rows_gone {
            return Err(io::Error::other("the row thread is gone"));
        }
        if let Some(transfers) = &core.transfers {
            transfers.pass_on(&mut core.director);
        }
        if !core.listeners.is_empty() {
            core.listeners.pass_on(&mut core.director);
        }
    }
}

/// Memory that the kernel lacks for a moment ends nothing: verdicts are kept and sent with the next.
fn passing<T>(result: io::Result<T>, trouble: &mut Repeated) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN | libc::EINTR)) =>
        {
            if let Some(kept_back) = trouble.say(Instant::now()) {
                warn!(%error, kept_back, "sending to the packet queue failed: tried again with the next packet");
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl Core {
    /// When this round began.
    fn now(&self) -> Time {
        Time::ZERO + self.round.duration_since(self.origin)
    }

    /// The verdicts of this round are sent.
    fn observe(&mut self) {
        if self.decided > 0 {
            let took = self.round.elapsed().as_secs_f64();
            (0..std::mem::take(&mut self.decided)).for_each(|_| self.verdicts.observe(took));
        }
        // Once for all of them; nothing, if there was none.
        self.verdicts.flush();
    }

    /// Drops what waits, so that TCP repeats it: the queue may outlive us, and a packet without a verdict with it.
    fn give_up(&mut self, verdicts: &mut Verdicts) {
        self.waiting.drain().for_each(|(_, (id, _))| verdicts.drop(id));
    }

    /// What is over is logged; what is under way goes on without us.
    fn last_transfers(&mut self) {
        if let Some(transfers) = self.transfers.take() {
            transfers.pass_on(&mut self.director);
            transfers.finish();
        }
    }

    /// Reads what the other threads say: all answers that packets wait for, and messages up to the first that is about many sessions.
    /// Says whether the thread is to go on.
    fn hear(&mut self, inbox: &Inbox, actions: &mut Vec<Action>) -> bool {
        for RowsDone { ticket, refused } in inbox.done.try_iter() {
            self.director.rows_done(ticket, refused, actions);
        }
        self.unread = false;
        while !self.unread {
            match inbox.messages.try_recv() {
                Ok(Message::Stop) | Err(TryRecvError::Disconnected) => return false,
                Ok(message) => {
                    self.unread = message.is_long();
                    self.message(message, actions);
                }
                Err(TryRecvError::Empty) => break,
            }
        }
        true
    }

    fn message(&mut self, message: Message, actions: &mut Vec<Action>) {
        match message {
            // The asker may have gone.
            Message::Snapshot(answer) => {
                let (late_verdicts, log_overruns) = self.lost;
                let transfers_unlogged = self.transfers.as_ref().map_or(0, TransferLog::lost);
                let snapshot = self.director.snapshot();
                drop(answer.send(Snapshot { late_verdicts, log_overruns, transfers_unlogged, ..snapshot }));
            }
            Message::Sessions(from, wanted, answer) => {
                drop(answer.send(self.director.sessions(self.now(), from, &wanted)));
            }
            Message::Holders(from, answer) => drop(answer.send(self.director.holders(from))),
            Message::MayTransfer(sessions, answer) => {
                let may = sessions.into_iter().map(|(client, far_end)| self.director.may_transfer(client, far_end));
                drop(answer.send(may.collect()));
            }
            Message::Refreshed(sessions) => {
                let now = self.now();
                sessions.into_iter().for_each(|(client, far_end)| self.director.refreshed(now, client, far_end));
            }
            Message::Confirmed(sessions) => {
                let now = self.now();
                let each = |(client, far_end)| self.director.confirmed(now, client, far_end, actions);
                sessions.into_iter().for_each(each);
            }
            Message::WantsConfirmation(answer) => drop(answer.send(self.director.wants_confirmation())),
            Message::Explain(whom, answer) => drop(answer.send(self.director.account(self.now(), whom))),
            Message::Listen(listener) => self.listeners.add(listener, &mut self.director),
            Message::Ping(answer) => drop(answer.send(())),
            Message::Configure(setup) => self.director.configure(*setup),
            Message::TookOver(clients) => self.director.took_over(self.now(), &clients, actions),
            Message::MayBeCalled(clients) => self.director.may_be_called(self.now(), &clients, actions),
            Message::Answered(calls) => self.director.answered(&calls),
            Message::GaveUp(vips) => self.director.gave_up(self.now(), &vips, actions),
            Message::RowsLost => self.director.rows_lost(self.now(), actions),
            Message::Stop => {}
        }
    }

    fn packet(
        &mut self,
        packet: crate::kernel::queue::QueuedPacket<'_>,
        actions: &mut Vec<Action>,
        verdicts: &mut Verdicts,
    ) {
        let crate::kernel::queue::QueuedPacket { id, hook, mark, payload, truncated, .. } = packet;
        self.next = self.next.wrapping_add(1);
        // The other hook that queues is POSTROUTING.
        let hook = if hook == NF_INET_FORWARD { Hook::Forward } else { Hook::Postrouting };
        let offered = director::ControlPacket { id: self.next, hook, mark, bytes: &mut *payload, truncated };
        match self.director.packet(self.now(), offered, actions) {
            Decision::Accept { mark, edited } => verdicts.accept(id, mark, edited.then_some(&*payload)),
            Decision::Drop => verdicts.drop(id),
            Decision::Held => {
                self.waiting.insert(self.next, (id, self.round));
                return;
            }
        }
        self.decided = self.decided.saturating_add(1);
    }

    fn act(&mut self, actions: &mut Vec<Action>, verdicts: &mut Verdicts) {
        for action in actions.drain(..) {
            match action {
                Action::Rows { ticket, changes } => {
                    self.rows_gone |= self.rows.send(Job { ticket, changes }).is_err();
                }
                Action::Release { id, mark, bytes } => {
                    if let Some((id, since)) = self.waiting.remove(&id) {
                        verdicts.accept(id, mark, bytes.as_deref());
                        self.verdicts.observe(since.elapsed().as_secs_f64());
                    }
                }
                Action::Drop { id } => {
                    if let Some((id, _)) = self.waiting.remove(&id) {
                        verdicts.drop(id);
                    }
                }
                Action::OutOfRange(what) => warn!("{}", Misconfigured(&what)),
                Action::Crowded(what) => warn!("{}", NoPortFree(&what)),
            }
        }
    }
}

/// What is wrong between a server and the configuration, and the cure.
struct Misconfigured<'a>(&'a OutOfRange);

impl fmt::Display for Misconfigured<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OutOfRange { cluster, server, port, declared } = self.0;
        write!(
            f,
            "{cluster}/{server} names passive port {port}, outside its passive_ports {declared}: nothing is opened there, so these \
             transfers fail; make the server's own range and passive_ports the same (vsftpd: pasv_min_port={}, \
             pasv_max_port={}); further ones are only counted",
            declared.first(),
            declared.last()
        )
    }
}

/// Whom no port was left for, and the cure.
struct NoPortFree<'a>(&'a Crowded);

impl fmt::Display for NoPortFree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Crowded { cluster, client, vip, ports } = self.0;
        write!(
            f,
            "{cluster}: no port is free at {vip} for {client}: as many of its data connections are awaited as there are ports in \
             {ports}, so its PASV or EPSV failed; a larger range holds more at a time; further ones are only counted for a minute"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::daemon::metrics::verdict_histogram;
    use crate::director::{SessionLimits, Setup};
    use crate::state::Marks;

    fn core() -> Core {
        let limits = SessionLimits { sessions: 10, client_sessions: 10, memory: 1 << 20 };
        let (marks, idle) = (Marks { base: 0x0f70_0000 }, Duration::from_secs(900));
        let director =
            Director::new(Setup { marks, clusters: vec![], placements: vec![], limits, services: vec![], idle });
        Core {
            director,
            rows: channel().0,
            verdicts: verdict_histogram().local(),
            transfers: None,
            origin: Instant::now(),
            round: Instant::now(),
            decided: 0,
            waiting: HashMap::new(),
            next: 0,
            listeners: Listeners::default(),
            rows_gone: false,
            lost: (0, 0),
            unread: false,
        }
    }

    #[test]
    fn packets_come_between_messages_about_many_sessions_and_rows_before_all() {
        let (mut core, mut actions) = (core(), Vec::new());
        let ((messages, inbox), (answers, done)) = (channel(), channel());
        let inbox = Inbox { messages: inbox, done };
        let (pong, mut ponged) = tokio::sync::oneshot::channel();
        messages.send(Message::Confirmed(Vec::new())).expect("a line");
        messages.send(Message::Ping(pong)).expect("a line");
        messages.send(Message::Refreshed(Vec::new())).expect("a line");
        (0..2000).for_each(|ticket| answers.send(RowsDone { ticket, refused: true }).expect("a line"));
        assert!(core.hear(&inbox, &mut actions) && core.unread, "the first is about many sessions");
        assert_eq!(core.director.snapshot().rows_failed, 2000, "no packet waits longer than it must");
        assert!(ponged.try_recv().is_err());
        assert!(core.hear(&inbox, &mut actions) && core.unread);
        assert!(ponged.try_recv().is_ok());
        assert!(core.hear(&inbox, &mut actions) && !core.unread, "nothing is left");
        messages.send(Message::Stop).expect("a line");
        assert!(!core.hear(&inbox, &mut actions));
    }
}
