//! An error number of the kernel, by its C name and text: `EEXIST (File exists)`.

use std::fmt;
use std::io;

/// A positive error number (`errno(3)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// No such file or directory: for a set element or a service, "not there".
    pub const ENOENT: Self = Self(libc::ENOENT);
    /// The object exists already.
    pub const EEXIST: Self = Self(libc::EEXIST);
    /// Operation not permitted: CAP_NET_ADMIN is missing, or another process has the queue or the log group.
    pub const EPERM: Self = Self(libc::EPERM);
    /// Device or resource busy.
    pub const EBUSY: Self = Self(libc::EBUSY);
    /// Nothing to read at present.
    pub const EAGAIN: Self = Self(libc::EAGAIN);
    /// No such process: IPVS's word for an unknown service.
    pub const ESRCH: Self = Self(libc::ESRCH);
    /// The socket's receive buffer overflowed; answers were lost.
    pub const ENOBUFS: Self = Self(libc::ENOBUFS);
    /// The set is full (`size` reached).
    pub const ENFILE: Self = Self(libc::ENFILE);

    /// The number in an `io::Error`; EIO when it carries none.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// The C name, where it is one that netlink answers with.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(number, _)| *number == self.0).map(|(_, name)| *name)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // io::Error writes "File exists (os error 17)".
        let text = io::Error::from_raw_os_error(self.0).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        match self.name() {
            Some(name) => write!(f, "{name} ({text})"),
            None => write!(f, "errno {} ({text})", self.0),
        }
    }
}

const NAMES: &[(i32, &str)] = &[
    (libc::EPERM, "EPERM"),
    (libc::ENOENT, "ENOENT"),
    (libc::ESRCH, "ESRCH"),
    (libc::EINTR, "EINTR"),
    (libc::EIO, "EIO"),
    (libc::ENXIO, "ENXIO"),
    (libc::E2BIG, "E2BIG"),
    (libc::EBADF, "EBADF"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::EACCES, "EACCES"),
    (libc::EFAULT, "EFAULT"),
    (libc::EBUSY, "EBUSY"),
    (libc::EEXIST, "EEXIST"),
    (libc::ENODEV, "ENODEV"),
    (libc::EINVAL, "EINVAL"),
    (libc::ENFILE, "ENFILE"),
    (libc::EMFILE, "EMFILE"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::EDOM, "EDOM"),
    (libc::ERANGE, "ERANGE"),
    (libc::EMSGSIZE, "EMSGSIZE"),
    (libc::EPROTO, "EPROTO"),
    (libc::EBADMSG, "EBADMSG"),
    (libc::EOVERFLOW, "EOVERFLOW"),
    (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
    (libc::EADDRINUSE, "EADDRINUSE"),
    (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
    (libc::ENETDOWN, "ENETDOWN"),
    (libc::ENETUNREACH, "ENETUNREACH"),
    (libc::ENOBUFS, "ENOBUFS"),
    (libc::ETIMEDOUT, "ETIMEDOUT"),
    (libc::ECONNREFUSED, "ECONNREFUSED"),
    (libc::EHOSTUNREACH, "EHOSTUNREACH"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_is_written_with_its_name_and_text() {
        assert_eq!(Errno::EEXIST.to_string(), "EEXIST (File exists)");
        assert_eq!(Errno(libc::EXDEV).to_string(), "errno 18 (Invalid cross-device link)");
    }
}
