//! Waiting for one of several descriptors, and being woken by another thread.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// An eventfd: one thread waits on it, others wake that thread.
#[derive(Clone, Debug)]
pub struct Wake(Arc<File>);

impl Wake {
    /// A new one.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        #[expect(unsafe_code, reason = "eventfd has no wrapper in std")]
        // SAFETY: eventfd takes no pointer; the descriptor it returns is owned by nobody else.
        let fd = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Self(Arc::new(File::from(fd))))
    }

    /// The waiting thread returns from [`wait`].
    pub fn wake(&self) {
        // Fails only when the counter is full: the thread is being woken then.
        let _ = (&*self.0).write(&1_u64.to_ne_bytes());
    }

    /// Forgets earlier wakes.
    pub fn clear(&self) {
        let _ = (&*self.0).read(&mut [0; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of `descriptors` can be read, or `timeout` is over (`None`: no limit).
///
/// # Errors
/// What poll(2) says; not EINTR.
pub fn wait(descriptors: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
    let poll = |fd: &BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut polled: Vec<_> = descriptors.iter().map(poll).collect();
    let count = libc::nfds_t::try_from(polled.len()).unwrap_or(0);
    // One millisecond more than asked for: never too early.
    let ms = timeout.map_or(-1, |timeout| i32::try_from(timeout.as_millis() + 1).unwrap_or(i32::MAX));
    #[expect(unsafe_code, reason = "poll has no wrapper in std")]
    // SAFETY: `polled` holds `count` entries and outlives the call.
    let result = unsafe { libc::poll(polled.as_mut_ptr(), count, ms) };
    if result < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}
