//! `ftpdirector run`: clock, signals, threads, metrics.

mod account;
pub mod admin;
mod advertise;
mod by_name;
mod command;
mod control;
mod error;
mod examination;
pub mod health;
mod keepalive;
mod meanwhile;
mod messages;
mod metrics;
mod metrics_listener;
pub mod named_files;
mod names;
mod packets;
mod page;
mod places;
mod reconcile;
mod reload;
mod repeated;
mod row_writer;
mod serving;
mod systemd;
mod trace_subscribers;
mod transfer_log;
mod view;

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info};

pub use command::{DaemonCommand, OnExit};
pub use error::RunError;
pub use metrics::families::{METRICS, Metric};
pub use reconcile::{Flushed, Reconciler, flush};

use crate::config::Parsed;
use control::Daemon;
use error::system;
use systemd::notify;

/// Time from one look at the kernel to the next: IPVS sends no notice when it is changed.
const LOOK: Duration = Duration::from_secs(1);

/// Time from one glance at our table to the next: when it is gone, new data connections fail until a look puts it back. One
/// question, whatever there is in it.
const GLANCE: Duration = Duration::from_millis(100);

/// A look takes at most this part of the time (a thousand services take a while to list).
const SHARE: u32 = 20;

/// From one sign of life to the next: well inside the `WatchdogSec` of `deploy/ftpdirector.service`, however rare looks are.
const BEAT: Duration = Duration::from_secs(2);

/// Runs until SIGTERM or SIGINT. `reread` gives the configuration anew from `file` for a reload, or what is wrong with
/// it.
///
/// # Errors
/// Why the daemon could not start.
pub fn run(
    written: Parsed,
    file: &Path,
    on_exit: OnExit,
    reread: impl Fn() -> Result<Parsed, String> + Sync,
) -> Result<(), RunError> {
    let kept = systemd::take();
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system("tokio"))?;
    runtime.block_on(async {
        // The far ends are held by the health checks and the admin socket, which send the commands.
        let (commands, mut inbox) = mpsc::channel(64);
        let mut daemon = Daemon::start((written, file), kept, commands).await?;
        let names = daemon.news_of_names();
        let mut signals = DaemonSignals::watch().map_err(system("signal handler"))?;
        info!(version = env!("CARGO_PKG_VERSION"), "ready");
        notify(&[NotifyState::Ready]);
        let (mut next_look, mut next_beat) = (Instant::now() + LOOK, Instant::now() + BEAT);
        let mut next_glance = Instant::now() + GLANCE;
        // However long a file makes it: the old configuration goes on meanwhile.
        let reread = || meanwhile::beating(&reread, BEAT, &mut || notify(&[NotifyState::Watchdog]));
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    SignalAsked::Stop => break,
                    // What went wrong is in the log.
                    SignalAsked::Reload => drop(daemon.reload(&reread).await),
                },
                Some(command) = inbox.recv() => daemon.command(command, &reread).await,
                () = names.notified() => daemon.follow_names(),
                () = sleep_until(next_look) => {
                    let took = daemon.look();
                    next_look = Instant::now() + LOOK.max(took * SHARE);
                }
                () = sleep_until(next_glance) => {
                    let gone = daemon.table_is_gone();
                    if gone {
                        next_look = Instant::now();
                    }
                    // Who takes it away again and again does not keep us busy.
                    next_glance = Instant::now() + if gone { LOOK } else { GLANCE };
                }
                () = sleep_until(next_beat) => {
                    if !daemon.alive().await {
                        // Its own last words are in the log. Whoever started us starts us again; the rows stand.
                        return Err(system("packet thread")(io::Error::other("it ended")));
                    }
                    notify(&[NotifyState::Watchdog]);
                    next_beat = Instant::now() + BEAT;
                }
            }
        }
        notify(&[NotifyState::Stopping]);
        daemon.stop(on_exit);
        Ok(())
    })
}

/// As many descriptors as we may have. The listeners' are bounded; health checks need some for each real server, nft four.
fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        debug!(%error, "the limit of descriptors stays as it is");
    }
}

enum SignalAsked {
    Stop,
    Reload,
}

struct DaemonSignals {
    term: Signal,
    int: Signal,
    hangup: Signal,
}

impl DaemonSignals {
    fn watch() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> SignalAsked {
        tokio::select! {
            _ = self.term.recv() => SignalAsked::Stop,
            _ = self.int.recv() => SignalAsked::Stop,
            _ = self.hangup.recv() => SignalAsked::Reload,
        }
    }
}
