//! What the threads of the daemon share: what is in force, and what happened.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::advertise::Followed;
use super::health::{AgentView, HealthView};
use super::names::LookedUp;
use crate::config::{Config, Parsed, ServerByName};
use crate::plan::availability::Availability;
use crate::plan::mark_index::Indexes;
use crate::state::fingerprint::{START, fnv};

/// What reload, scrape and status share.
pub struct View {
    /// What the file says.
    pub file: Arc<Config>,
    /// The configuration in force: the file's, with what quiesces. The same one, where nothing does.
    pub config: Arc<Config>,
    /// The mark indexes of its servers and ports.
    pub indexes: Indexes,
    /// Who gets no new sessions, and who fewer.
    pub availability: Availability,
    /// What the health checks found.
    pub health: HealthView,
    /// What the agents on the servers said.
    pub agents: AgentView,
    /// What `passive.advertise` stands for.
    pub followed: Followed,
    /// What is known of the names of real servers.
    pub looked_up: LookedUp,
    /// What became of the servers that the file has by name.
    pub by_name: Vec<ServerByName>,
    /// Services of others at our VIPs.
    pub services: Vec<SocketAddr>,
    /// What happened to this daemon.
    pub history: History,
}

impl View {
    /// The configuration in force for what `file` says, held once where the two are equal.
    #[must_use]
    pub fn share(file: &Arc<Config>, inforce: Config) -> Arc<Config> {
        if inforce == **file { Arc::clone(file) } else { Arc::new(inforce) }
    }
}

/// A hash of the clusters of a file, so that files of two directors can be compared; those of one version of ftpdirector.
#[must_use]
pub fn hash(file: &Parsed) -> String {
    // Not of the addresses that names have: the directors of a pair may hear of a new one at different times.
    let clusters = file.by_name.whole(&file.config).clusters;
    format!("{:08x}", fnv(START, format!("{clusters:?}").as_bytes()))
}

/// Seconds since the epoch.
#[must_use]
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// What happened to this daemon.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Rows found missing or changed by someone else and put right.
    pub drift: u64,
    /// Whether the last reload was good.
    pub reload_good: bool,
    /// When the configuration in force was read, seconds since the epoch.
    pub reloaded_at: f64,
    /// A hash of the clusters in the file that is in force.
    pub hash: String,
    /// How often a silent control connection was kept alive in IPVS, by cluster.
    pub refreshed: BTreeMap<String, u64>,
    /// How often one was not, since `idle` kept too many already.
    pub idle_left: BTreeMap<String, u64>,
    /// How many findings `doctor` would have, by severity; `None` before the first examination.
    pub findings: Option<BTreeMap<&'static str, u64>>,
    /// Why the kernel's rows cannot be put right at present.
    pub complaint: Option<String>,
}
