//! What systemd is told, and what it keeps for the next daemon.
//!
//! The queue outlives the daemon for a moment: systemd keeps its socket (sd_notify(3), `FDSTORE=1`; the unit's
//! `FileDescriptorStoreMax=`), so that control packets wait for the next daemon and none passes unread.
//!
//! A daemon that is ready leaves the socket with systemd. The next one takes it off before anything else, and leaves it again
//! when it is ready: if it fails to start, nobody holds the queue any more and `on_failure` decides, as it does when systemd starts
//! no other daemon and forgets the socket.

use std::os::fd::BorrowedFd;

use sd_notify::NotifyState;
use tracing::{debug, info, warn};

use crate::kernel::KernelError;
use crate::kernel::netlink::Netfilter;
use crate::kernel::queue::{self, Queue};

/// How many packets may wait in the kernel's queue; past that they are dropped and TCP repeats them.
const QUEUE_LENGTH: u32 = 16384;

/// How much of a packet we read: whole packets (the kernel's limit is 65531).
const COPY: u32 = 65531;

/// What systemd knows the socket by.
const NAME: &str = "queue";

/// The socket of the former daemon's queue, if there is one: from now on this process alone has it.
pub(super) fn take() -> Option<Netfilter> {
    let socket = Netfilter::kept(NAME)?;
    notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(NAME)]);
    Some(socket)
}

/// The queue: the former daemon's, if its socket was `kept` and has it, or taken anew.
///
/// # Errors
/// When another process has it.
pub(super) fn queue(number: u16, kept: Option<Netfilter>) -> Result<Queue, KernelError> {
    if let Err(error) = queue::reader(number) {
        let then = "how many packets wait in it and were dropped is not known: the unit gives that file to its group";
        warn!(%error, "/proc/net/netfilter/nfnetlink_queue cannot be read: {then}");
    }
    if let Some(kept) = kept
        && let Some(queue) = Queue::go_on(kept, number, QUEUE_LENGTH, COPY)?
    {
        info!("control packets have waited for this start");
        return Ok(queue);
    }
    Queue::open(number, QUEUE_LENGTH, COPY)
}

/// Leaves the queue's socket with systemd, where it started us.
pub(super) fn leave(queue: BorrowedFd<'_>) {
    // No descriptor of netlink tells that its far end is gone; systemd needs not look.
    let states = [NotifyState::FdStore, NotifyState::FdName(NAME), NotifyState::Custom("FDPOLL=0")];
    if let Err(error) = sd_notify::notify_with_fds(&states, &[queue]) {
        debug!(%error, "systemd keeps no socket for the next daemon");
    }
}

/// Tells systemd, where it started us (`Type=notify`).
pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd cannot be notified");
    }
}
