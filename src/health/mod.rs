//! Health checks without a socket or a clock: what a probe says and expects to hear ([`Probe`]), when a server counts as
//! up or down ([`RiseFall`]), when the next probe is due ([`Pace`]).
//!
//! ```text
//! bytes, connections, the clock ─▶ Probe ─▶ Action …  ─▶ ProbeReport ─▶ RiseFall ─▶ Transition
//! ```
//!
//! Beside them, what the agent on a server asks for ([`AgentStanding`]).

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::arithmetic_side_effects
    )
)]

mod agent;
mod certificate;
mod pace;
mod probe;
mod reply;
mod report;
mod rise_fall;

pub use agent::{AgentLine, AgentReader, AgentStanding};
pub use certificate::{Certificate, date};
pub use pace::{LEAST_PAUSE, Pace};
pub use probe::{IpVersion, PeerCertificate, Probe, ProbeAction, ProbeEvent, Script};
pub use report::{Failure, ProbeOutcome, ProbeReport, Step};
pub use rise_fall::{HealthState, RiseFall, Transition};
