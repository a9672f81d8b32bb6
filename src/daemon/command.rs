//! What the daemon is told while it runs, and when it ends.

use tokio::sync::oneshot;

use crate::plan::availability::ServerName;

/// What the daemon is told while it runs, by the admin socket and the health checks.
#[derive(Debug)]
pub enum DaemonCommand {
    /// Reads the file again; answers what is wrong with it.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Drains a server (`true`: it gets no new sessions) or ends the drain.
    Drain {
        /// The server to drain or undrain.
        server: ServerName,
        /// Whether the server drains from now on.
        drained: bool,
        /// Answered when it is done: nothing, or why it was refused.
        answer: oneshot::Sender<Result<(), String>>,
    },
    /// A server's health checks fail (`true`), or succeed again: what holds stands in the `HealthView`.
    Down {
        /// The server that was checked.
        server: ServerName,
        /// Whether the server is down from now on.
        down: bool,
    },
    /// Another address goes into 227s: which one stands in `Followed`.
    Advertise,
    /// Addresses of this machine have come or gone.
    Addresses,
}

/// What SIGTERM leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// Every row: established transfers go on, and with disjoint ranges new ones too.
    KeepRows,
    /// No row: the kernel is as before `run`.
    Flush,
}
