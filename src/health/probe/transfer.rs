//! One transfer over a passive data connection.

use super::super::Step;
use crate::lvs::PortRange;

/// How much of a file is read: then the data connection is closed.
pub(super) const ENOUGH: u64 = 1 << 20;

/// How a server is asked for a passive port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PassiveVerb {
    /// RFC 959; IPv4 only.
    Pasv,
    /// RFC 2428; IPv4 and IPv6.
    Epsv,
}

impl PassiveVerb {
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Pasv => "PASV",
            Self::Epsv => "EPSV",
        }
    }

    /// The code of the reply that names a port.
    pub const fn code(self) -> u16 {
        match self {
            Self::Pasv => 227,
            Self::Epsv => 229,
        }
    }

    pub const fn ask(self) -> Step {
        match self {
            Self::Pasv => Step::Pasv,
            Self::Epsv => Step::Epsv,
        }
    }

    pub const fn connect(self) -> Step {
        match self {
            Self::Pasv => Step::PasvConnect,
            Self::Epsv => Step::EpsvConnect,
        }
    }

    pub const fn transfer(self) -> Step {
        match self {
            Self::Pasv => Step::PasvTransfer,
            Self::Epsv => Step::EpsvTransfer,
        }
    }
}

/// What is wrong with a port that the server names outside of its declared range. It may well be open from the director.
pub(super) fn outside(port: u16, range: PortRange) -> String {
    format!(
        "passive port {port} is outside passive_ports {range}: clients do not get through to it; \
         make the server's range (vsftpd: pasv_min_port, pasv_max_port) and passive_ports agree"
    )
}

/// What is known of a transfer: it is over when the data connection is closed and the final reply is there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Transfer {
    /// The port that the server named.
    pub port: u16,
    /// Bytes received on the data connection.
    pub bytes: u64,
    /// Whether the data connection is closed.
    pub closed: bool,
    /// The probe closed the data connection itself: it had read enough.
    pub cut: bool,
    /// Whether the final reply came.
    pub replied: bool,
    /// Under TLS: whether its session is that of the control connection; `None`: its handshake is not over.
    pub resumed: Option<bool>,
}

impl Transfer {
    pub const fn is_over(self) -> bool {
        self.closed && self.replied
    }

    /// What a refusal with this code may come of: `; …`, or nothing. 425 is ProFTPD's, 522 vsftpd's.
    pub const fn explain(self, code: u16) -> &'static str {
        match (self.resumed, code) {
            (Some(false), 425 | 522) => {
                "; the server gave no TLS session that the data connection could resume \
                 (vsftpd: require_ssl_reuse, ProFTPD: NoSessionReuseRequired)"
            }
            _ => "",
        }
    }
}
