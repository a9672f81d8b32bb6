//! The agents on the servers: one task per (cluster, server) asks, beside the health checks and as often as they do.
//!
//! What they ask for stands in an [`AgentView`]; the daemon's looks follow it. So an agent that changes its mind all the time
//! costs no more than one that does not.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::health::{AgentLine, AgentReader, AgentStanding, LEAST_PAUSE, Pace};
use crate::plan::availability::{Availability, ServerName};

/// So often an agent that kept its server out before a restart may fail to answer: it may be restarted itself.
const PATIENCE: u8 = 12;

/// What is known of the agent of one server.
#[derive(Clone, Debug)]
pub struct ServerAgent {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the real server, unique in its cluster.
    pub server: String,
    /// Where it is asked.
    pub address: SocketAddr,
    /// What it has asked for so far.
    pub standing: AgentStanding,
    /// The last line that it said, printable ASCII; `None` before the first.
    pub said: Option<String>,
    /// Why it did not answer the last time; `None`: it did, or was not asked yet.
    pub error: Option<String>,
    /// Words that mean nothing, since it is asked.
    pub unknown: u64,
    /// How often its agent may fail to answer before a server that had been taken out when the daemon started gets its weight.
    held: u8,
}

#[cfg(test)]
impl ServerAgent {
    /// One that has said nothing yet.
    pub fn sample(cluster: &str, server: &str) -> Self {
        let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(3));
        let address = SocketAddr::from(([10, 0, 0, 1], 8080));
        unheard(&Target { server: (cluster.into(), server.into()), address, interval, timeout }, 0)
    }
}

/// What is known of every agent.
#[derive(Clone, Default)]
pub struct AgentView(Arc<Mutex<BTreeMap<ServerName, Asked>>>);

struct Asked {
    agent: ServerAgent,
    /// The task whose answers count: one that was replaced may still bring one.
    task: u64,
}

impl AgentView {
    /// Every agent, by cluster and server.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ServerAgent> {
        self.lock().values().map(|asked| asked.agent.clone()).collect()
    }

    /// How much of their weight the servers shall have, percent, those that shall not have the whole.
    #[must_use]
    pub fn asks(&self) -> BTreeMap<ServerName, u32> {
        let entries = self.lock();
        let percent = |agent: &ServerAgent| if agent.held > 0 { 0 } else { agent.standing.asks() };
        let all = entries.iter().map(|(name, asked)| (name, percent(&asked.agent)));
        all.filter(|(_, percent)| *percent != 100).map(|(name, percent)| (name.clone(), percent)).collect()
    }

    /// The servers that cannot serve.
    #[must_use]
    pub fn down(&self) -> BTreeSet<ServerName> {
        let entries = self.lock();
        let down = entries.iter().filter(|(_, asked)| asked.agent.standing.is_down());
        down.map(|(name, _)| name.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServerName, Asked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an answer into account. Returns what was known before it; `None`: the task has been replaced.
    fn answered(&self, target: &Target, task: u64, answer: &Result<AgentLine, String>) -> Option<ServerAgent> {
        let mut entries = self.lock();
        let agent = &mut entries.get_mut(&target.server).filter(|asked| asked.task == task)?.agent;
        let before = agent.clone();
        match answer {
            Ok(line) => {
                agent.held = 0;
                agent.standing = agent.standing.after(line);
                (agent.said, agent.error) = (Some(line.text.clone()), None);
                let unknown = line.unknown.as_ref().map_or(0, |(_, count)| u64::from(*count));
                agent.unknown = agent.unknown.saturating_add(unknown);
            }
            // What it said last goes on: whether the server serves is for the health checks to find.
            Err(error) => {
                agent.held = agent.held.saturating_sub(1);
                agent.error = Some(error.clone());
            }
        }
        Some(before)
    }
}

/// An agent that is asked, and how.
#[derive(Clone, Debug, PartialEq)]
struct Target {
    server: ServerName,
    address: SocketAddr,
    interval: Duration,
    timeout: Duration,
}

/// The agents of a configuration.
#[derive(Default)]
pub struct Agents {
    view: AgentView,
    tasks: BTreeMap<ServerName, (Target, AbortHandle)>,
    started: u64,
}

impl Agents {
    /// The answers so far, shared with the threads that ask for them.
    #[must_use]
    pub fn view(&self) -> AgentView {
        self.view.clone()
    }

    /// Asks whom this configuration says from now on. An agent at the same address keeps what it said. A server that `standing`
    /// has with 0 percent is held until its agent has answered, or has failed to a few times.
    pub fn configure(&mut self, config: &Config, standing: &Availability, runtime: &Handle) {
        let wanted = targets(config);
        self.tasks.retain(|name, (target, task)| {
            let stays = wanted.get(name) == Some(target);
            if !stays {
                task.abort();
            }
            stays
        });
        self.view.lock().retain(|name, asked| wanted.get(name).is_some_and(|to| to.address == asked.agent.address));
        for (name, target) in wanted {
            if !self.tasks.contains_key(&name) {
                let held = if standing.asked.get(&name) == Some(&0) { PATIENCE } else { 0 };
                let task = self.ask(target.clone(), held, runtime);
                self.tasks.insert(name, (target, task));
            }
        }
    }

    fn ask(&mut self, target: Target, held: u8, runtime: &Handle) -> AbortHandle {
        self.started += 1;
        let task = self.started;
        match self.view.lock().entry(target.server.clone()) {
            btree_map::Entry::Occupied(mut entry) => entry.get_mut().task = task,
            btree_map::Entry::Vacant(place) => {
                place.insert(Asked { agent: unheard(&target, held), task });
            }
        }
        runtime.spawn(watch(target, task, self.view.clone())).abort_handle()
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        for (_, task) in self.tasks.values() {
            task.abort();
        }
    }
}

/// The agent of every server of a cluster with `health_check.agent`, at the server's own address.
fn targets(config: &Config) -> BTreeMap<ServerName, Target> {
    let mut targets = BTreeMap::new();
    for cluster in &config.clusters {
        let check = &cluster.health_check;
        let Some(port) = check.agent else { continue };
        for server in &cluster.real_servers {
            let name = (cluster.name.clone(), server.name.clone());
            let address = SocketAddr::new(server.address, port);
            let target = Target { server: name.clone(), address, interval: check.interval, timeout: check.timeout };
            targets.insert(name, target);
        }
    }
    targets
}

fn unheard(target: &Target, held: u8) -> ServerAgent {
    let ((cluster, server), address) = (target.server.clone(), target.address);
    let standing = AgentStanding::default();
    ServerAgent { cluster, server, address, standing, said: None, error: None, unknown: 0, held }
}

/// Asks one agent until it is aborted, or replaced.
async fn watch(target: Target, task: u64, view: AgentView) {
    let mut pace = Pace::new(target.interval, RandomState::new().hash_one(&target.server));
    let mut unknown_told = false;
    sleep(pace.first()).await;
    loop {
        let next = Instant::now() + pace.pause();
        let answer = listen(target.address, target.timeout).await;
        let Some(before) = view.answered(&target, task, &answer) else { return };
        say(&target, &before, &answer);
        if let Ok(AgentLine { unknown: Some((word, _)), text, .. }) = &answer
            && !unknown_told
        {
            let (cluster, server) = (&target.server.0, &target.server.1);
            warn!(
                cluster,
                server,
                word,
                said = text,
                "the agent says what means nothing here: ignored, and counted from now on"
            );
            unknown_told = true;
        }
        sleep_until(next.max(Instant::now() + LEAST_PAUSE)).await;
    }
}

/// Connects, and takes the line; sends nothing.
async fn listen(address: SocketAddr, patience: Duration) -> Result<AgentLine, String> {
    let line = async {
        let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let (mut reader, mut buffer) = (AgentReader::default(), [0; 512]);
        loop {
            let length = stream.read(&mut buffer).await.map_err(|error| error.to_string())?;
            let read = match length {
                0 => return reader.ended().ok_or_else(|| "it closed the connection without a word".to_owned()),
                length => reader.read(buffer.get(..length).unwrap_or_default()),
            };
            if let Some(line) = read {
                return Ok(line);
            }
        }
    };
    timeout(patience, line).await.unwrap_or_else(|_| Err(format!("no line within {patience:?}")))
}

/// Changes alone. How much of its weight a server has is a detail, unless it is nothing.
fn say(target: &Target, before: &ServerAgent, answer: &Result<AgentLine, String>) {
    let ((cluster, server), address) = (&target.server, target.address);
    let line = match (answer, &before.error) {
        (Err(error), None) => {
            return warn!(cluster, server, %address, error, "the agent does not answer: what it said last goes on");
        }
        (Err(error), Some(_)) => return debug!(cluster, server, %address, error, "the agent does not answer"),
        (Ok(line), Some(_)) => {
            info!(cluster, server, %address, said = line.text, "the agent answers again");
            line
        }
        (Ok(line), None) => line,
    };
    let said = line.text.as_str();
    let (was, is) = (before.standing, before.standing.after(line));
    match (was.is_down(), is.is_down()) {
        (false, true) => {
            warn!(
                cluster,
                server, said, "server down: its agent says so; live sessions go on, new ones go to other servers"
            );
        }
        (true, false) => info!(cluster, server, said, "its agent says that the server is up"),
        _ => {}
    }
    match (was.asks(), is.asks()) {
        (was, is) if was == is => {}
        (_, 0) => {
            info!(cluster, server, said, "drained by its agent: live sessions go on, new ones go to other servers")
        }
        (0, percent) => info!(cluster, server, said, percent, "no longer drained by its agent"),
        (_, percent) => debug!(cluster, server, said, percent, "its agent asks for another part of the weight"),
    }
}
