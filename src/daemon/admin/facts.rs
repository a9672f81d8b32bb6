//! Where the answers come from: what the daemon believes, and what the kernel says.

use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{Config, ServerByName};
use crate::daemon::health::{ServerAgent, ServerHealth};
use crate::daemon::metrics::observe::{Observed, Observer};
use crate::daemon::view::{History, View};
use crate::kernel::nftables::{Element, Elements};
use crate::kernel::{Errno, KernelError};
use crate::plan::advertised::Advertised;
use crate::plan::availability::Availability;
use crate::plan::mark_index::Indexes;
use crate::state::sets::Set;

/// What the daemon believes.
#[derive(Clone, Debug)]
pub struct Belief {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The mark indexes of its servers and ports.
    pub indexes: Indexes,
    /// Who gets no new sessions, and who fewer.
    pub availability: Availability,
    /// What the health checks found.
    pub health: Vec<ServerHealth>,
    /// What the agents on the servers said.
    pub agents: Vec<ServerAgent>,
    /// What `passive.advertise` stands for.
    pub advertised: Advertised,
    /// What became of the servers that the file has by name.
    pub by_name: Vec<ServerByName>,
    /// What happened to this daemon.
    pub history: History,
}

/// A set and the elements that stand in it.
pub type Dump = (Set, Vec<Element>);

/// The daemon and its kernel; in tests a stand-in for both. Each of these methods may block.
pub trait DaemonFacts: Send + Sync + 'static {
    /// What the daemon believes.
    fn belief(&self) -> Belief;

    /// What the kernel counts.
    ///
    /// # Errors
    /// When the kernel refuses to list.
    fn counted(&self, belief: &Belief) -> Result<Observed, String>;

    /// The dynamic rows that stand.
    ///
    /// # Errors
    /// When the kernel refuses to list.
    fn dynamic(&self) -> Result<Vec<Dump>, String>;
}

/// The running daemon and this kernel, on sockets of their own: the threads that steer wait for no listing.
pub struct Kernels {
    view: Arc<Mutex<View>>,
    observer: Arc<Mutex<Observer>>,
    elements: Mutex<Elements>,
}

impl Kernels {
    /// Opens a netlink socket for the listings.
    ///
    /// # Errors
    /// When the kernel lacks nf_tables.
    pub fn new(view: Arc<Mutex<View>>, observer: Arc<Mutex<Observer>>) -> Result<Self, KernelError> {
        Ok(Self { view, observer, elements: Mutex::new(Elements::connect()?) })
    }
}

impl DaemonFacts for Kernels {
    fn belief(&self) -> Belief {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        Belief {
            config: Arc::clone(&view.config),
            indexes: view.indexes.clone(),
            availability: view.availability.clone(),
            health: view.health.snapshot(),
            agents: view.agents.snapshot(),
            advertised: view.followed.known(),
            by_name: view.by_name.clone(),
            history: view.history.clone(),
        }
    }

    fn counted(&self, belief: &Belief) -> Result<Observed, String> {
        let mut observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner);
        observer.look(&belief.config, &belief.indexes).map_err(|error| error.to_string())
    }

    fn dynamic(&self) -> Result<Vec<Dump>, String> {
        let mut lists = self.elements.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dumps = Vec::new();
        for set in Set::all().filter(|set| set.is_dynamic()) {
            match lists.dump(set.text()) {
                Ok(elements) => dumps.push((set, elements)),
                // Someone has flushed the ruleset this very second.
                Err(error) if error.errno() == Some(Errno::ENOENT) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(dumps)
    }
}
