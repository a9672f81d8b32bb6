//! Why the daemon did not start, or ended.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::kernel::KernelError;

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The kernel lacks something, or something is in the way: everything at once.
    #[error("{}", lines(.0))]
    Kernel(Vec<KernelError>),
    /// The metrics endpoint cannot listen.
    #[error("metrics.listen: {address}: {error}: is another ftpdirector running, or another program on that port?")]
    Listen {
        /// `metrics.listen` of the file.
        address: SocketAddr,
        /// The error of bind(2) or listen(2).
        error: io::Error,
    },
    /// The admin socket's path is taken.
    #[error("admin.socket: {}: {why}", socket.display())]
    Admin {
        /// `admin.socket` of the file.
        socket: PathBuf,
        /// By whom or what, and what to do.
        why: String,
    },
    /// The operating system refuses a thread, a descriptor or a signal handler.
    #[error("{what}: {error}")]
    System {
        /// What was to be started or opened.
        what: &'static str,
        /// The error of the system.
        error: io::Error,
    },
}

impl RunError {
    /// The sysexits code of a process that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // No permission explains everything else that failed.
            Self::Kernel(errors) => errors.iter().map(KernelError::exit_code).max().unwrap_or(70),
            Self::Listen { .. } | Self::Admin { .. } => 69,
            Self::System { .. } => 70,
        }
    }
}

pub(super) fn lines(errors: &[KernelError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |error| RunError::System { what, error }
}

pub(super) fn kernel_error(error: KernelError) -> RunError {
    RunError::Kernel(vec![error])
}
