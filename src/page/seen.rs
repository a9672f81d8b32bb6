//! What the page is made of, and how much of it is shown.

use std::collections::BTreeMap;

use super::hour::Hour;
use crate::api::Status;
use crate::time::Time;

/// How many clusters are shown, those with a server that is down first.
pub const CLUSTERS: usize = 20;

/// How many servers of a cluster are shown.
pub const SERVERS: usize = 20;

/// What the page is made of.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// What `ftpdirector status` shows.
    pub status: &'a Status,
    /// How many findings `ftpdirector doctor` would have, by severity; `None` before the first examination.
    pub findings: Option<&'a BTreeMap<&'static str, u64>>,
    /// What was counted in the last hour.
    pub hour: &'a Hour,
    /// Now, on the clock of `hour`.
    pub at: Time,
    /// Now, seconds since the epoch.
    pub now: f64,
    /// The name of this machine; empty: not known.
    pub host: &'a str,
}
