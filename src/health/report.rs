//! What a probe found.

use std::time::Duration;

use crate::time::Time;

/// A part of a probe: the one that took so long, or the one that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The control connection opens.
    Connect,
    /// The greeting, a 220.
    Banner,
    /// AUTH TLS and its 234.
    Auth,
    /// The handshake of TLS on the control connection.
    Tls,
    /// The server's certificate, looked at when the handshake is over.
    Certificate,
    /// USER and its reply.
    User,
    /// PASS, and the file that the password stands in.
    Password,
    /// PBSZ, which TLS needs before PROT (RFC 4217 §9).
    Pbsz,
    /// PROT P: data connections under TLS.
    Prot,
    /// PASV and its 227.
    Pasv,
    /// The data connection to the port of the 227 opens.
    PasvConnect,
    /// LIST or RETR over it, until the 226.
    PasvTransfer,
    /// EPSV and its 229.
    Epsv,
    /// The data connection to the port of the 229 opens.
    EpsvConnect,
    /// LIST or RETR over it, until the 226.
    EpsvTransfer,
    /// QUIT. Whatever comes of it, the server has passed.
    Quit,
}

impl Step {
    /// The word of logs and labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Banner => "banner",
            Self::Auth => "auth",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::User => "user",
            Self::Password => "password",
            Self::Pbsz => "pbsz",
            Self::Prot => "prot",
            Self::Pasv => "pasv",
            Self::PasvConnect => "pasv_connect",
            Self::PasvTransfer => "pasv_transfer",
            Self::Epsv => "epsv",
            Self::EpsvConnect => "epsv_connect",
            Self::EpsvTransfer => "epsv_transfer",
            Self::Quit => "quit",
        }
    }
}

/// What a probe says of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// The server serves, as far as the check goes.
    Good,
    /// The server failed a step.
    Bad,
    /// Nothing: the trouble is ours (no descriptors left, no password file, no authorities).
    Unsure,
}

/// Where and why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The step that it got to.
    pub step: Step,
    /// Why, in the server's words if it said any; never the password.
    pub error: String,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// What it says of the server.
    pub outcome: ProbeOutcome,
    /// How long each step took, in order; the last is the one that failed, if one did.
    pub steps: Vec<(Step, Duration)>,
    /// Why the outcome is not good.
    pub failure: Option<Failure>,
    /// When the certificate that the server showed ends, since the epoch.
    pub certificate_ends: Option<Time>,
}

impl ProbeReport {
    /// A probe that could not be made, for a reason that is not the server's.
    #[must_use]
    pub fn unsure(step: Step, error: String) -> Self {
        let failure = Some(Failure { step, error });
        Self { outcome: ProbeOutcome::Unsure, steps: Vec::new(), failure, certificate_ends: None }
    }

    /// The last step that was begun.
    #[must_use]
    pub fn last_step(&self) -> Option<Step> {
        self.failure.as_ref().map(|failure| failure.step).or_else(|| Some(self.steps.last()?.0))
    }
}
