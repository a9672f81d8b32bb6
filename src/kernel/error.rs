//! What went wrong between us and Linux.

use std::io;

use super::Errno;

/// An error of this room. Its text says what we tried, on what, what the kernel said and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A kernel module is neither loaded nor built in.
    #[error("the kernel has no {0}: modprobe {0}")]
    NoModule(&'static str),
    /// A program, a version of a program or a version of the kernel is missing.
    #[error("{what}: {cure}")]
    Missing {
        /// What is missing, with the version that was found.
        what: String,
        /// What to install or change.
        cure: String,
    },
    /// The process lacks CAP_NET_ADMIN.
    #[error(
        "{tried}: {errno}: run as root, or give the service CAP_NET_ADMIN (systemd: AmbientCapabilities=CAP_NET_ADMIN)"
    )]
    Permission {
        /// What we tried, in ipvsadm or nft words.
        tried: String,
        /// What the kernel said: EPERM or EACCES.
        errno: Errno,
    },
    /// Another program holds what we need.
    #[error("{tried}: {holder}: {cure}")]
    Conflict {
        /// What we tried, as a command or in words.
        tried: String,
        /// Who or what is in the way.
        holder: String,
        /// How to get it out of the way.
        cure: String,
    },
    /// The kernel said no.
    #[error("{tried}: {errno}{}", Because(said))]
    Refused {
        /// What we tried, in ipvsadm or nft words.
        tried: String,
        /// What the kernel answered.
        errno: Errno,
        /// The kernel's own words (extended acknowledgement) or our explanation.
        said: Option<String>,
    },
    /// `nft` refused a text.
    #[error("{tried}: {said}")]
    Nft {
        /// The nft command, with its arguments.
        tried: String,
        /// What it wrote to its standard error.
        said: String,
    },
    /// An answer of the kernel that we cannot read.
    #[error("{tried}: the kernel's answer cannot be parsed: {why}")]
    Garbled {
        /// The question, as a command.
        tried: String,
        /// What is wrong with the answer.
        why: String,
    },
}

impl KernelError {
    /// The sysexits code of a process that ends with this error: 69 something is missing or in the way, 77 no permission, else 70.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NoModule(_) | Self::Missing { .. } | Self::Conflict { .. } => 69,
            Self::Permission { .. } => 77,
            Self::Refused { .. } | Self::Nft { .. } | Self::Garbled { .. } => 70,
        }
    }

    /// What the kernel answered, where it answered with a number.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Self::Permission { errno, .. } | Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// An error number that came back from `tried`: EPERM and EACCES mean that we lack CAP_NET_ADMIN.
    #[must_use]
    pub fn refused(tried: impl Into<String>, errno: Errno, said: Option<String>) -> Self {
        let tried = tried.into();
        match errno.0 {
            libc::EPERM | libc::EACCES => Self::Permission { tried, errno },
            _ => Self::Refused { tried, errno, said },
        }
    }

    /// A failed system call.
    #[must_use]
    pub fn io(tried: impl Into<String>, error: &io::Error) -> Self {
        Self::refused(tried, Errno::of(error), None)
    }
}

/// `: text`, or nothing.
struct Because<'a>(&'a Option<String>);

impl std::fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |text| write!(f, ": {text}"))
    }
}
