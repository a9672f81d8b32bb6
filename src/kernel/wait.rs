//! Waiting for one of several descriptors, and being woken by another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

/// An eventfd: one thread waits on it, others wake that thread.
#[derive(Clone, Debug)]
pub struct Wake(Arc<OwnedFd>);

impl Wake {
    /// Makes an eventfd that nothing has woken yet.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// The waiting thread returns from [`wait`].
    pub fn wake(&self) {
        // Fails only when the counter is full: the thread is being woken then.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Takes back every wake until now, so that [`wait`] waits again.
    pub fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of `descriptors` can be read, or `timeout` is over (`None`: no limit); says which can (or are in error, which a
/// read tells).
///
/// # Errors
/// What poll(2) says; not EINTR.
pub fn wait<const N: usize>(descriptors: [BorrowedFd<'_>; N], timeout: Option<Duration>) -> io::Result<[bool; N]> {
    let mut polled = descriptors.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let ms = timeout.map_or(-1, |timeout| match timeout {
        Duration::ZERO => 0,
        // One millisecond more than asked for: never too early.
        timeout => i32::try_from(timeout.as_millis() + 1).unwrap_or(i32::MAX),
    });
    match poll(&mut polled, ms) {
        Ok(_) => Ok(polled.map(|fd| !fd.revents().is_empty())),
        Err(Errno::INTR) => Ok([false; N]),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_ends_the_waiting_until_it_is_forgotten() {
        let wake = Wake::new().expect("an eventfd");
        wake.clone().wake();
        wake.wake();
        assert_eq!(wait([wake.as_fd()], None).expect("poll"), [true]);
        wake.clear();
        // It would block, had the descriptor not been opened so.
        wake.clear();
        assert_eq!(wait([wake.as_fd()], Some(Duration::ZERO)).expect("poll"), [false]);
    }
}
