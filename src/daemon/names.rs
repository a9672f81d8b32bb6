//! Follows the names of real servers: a task that looks them up when they are due.
//!
//! What is known stands in [`LookedUp`]; [`NameFollower::news`] says that there is something new in it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::config::{Answers, ByName, Host};
use crate::plan::names::{AGAIN, Names};
use crate::resolver::{self, AT_ONCE, Resolver};
use crate::time::Time;

/// How long a start or a reload waits for the addresses of real servers: what comes later is taken in when it comes.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of the names, shared with the metrics.
#[derive(Clone, Default)]
pub struct LookedUp(Arc<Mutex<Names>>);

impl LookedUp {
    /// How many look-ups of a name gave no address.
    #[must_use]
    pub fn failures(&self, host: &Host) -> u64 {
        self.lock().failures(host)
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task, and what it is told.
pub struct NameFollower {
    line: Line,
    task: AbortHandle,
}

#[derive(Clone)]
struct Line {
    names: LookedUp,
    /// The begin of the clock of the names.
    started: Instant,
    /// Other names are due than before.
    due: Arc<Notify>,
    /// Something else than before is known of some name.
    news: Arc<Notify>,
    /// Some look-up is over.
    heard: Arc<Notify>,
}

impl NameFollower {
    /// Starts the task, on the runtime that this is called on.
    #[must_use]
    pub fn start() -> Self {
        let line = Line {
            names: LookedUp::default(),
            started: Instant::now(),
            due: Arc::default(),
            news: Arc::default(),
            heard: Arc::default(),
        };
        let task = tokio::spawn(follow(line.clone())).abort_handle();
        Self { line, task }
    }

    /// What is known, shared.
    #[must_use]
    pub fn looked_up(&self) -> LookedUp {
        self.line.names.clone()
    }

    /// What wakes whoever waits for news.
    #[must_use]
    pub fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.line.news)
    }

    /// What the look-ups found so far.
    #[must_use]
    pub fn answers(&self) -> Answers {
        self.line.names.lock().answers()
    }

    /// Follows the names of these files from now on.
    pub fn configure(&self, files: &[&ByName]) {
        let hosts = files.iter().flat_map(|file| file.hosts()).collect();
        self.line.names.lock().configure(hosts, self.line.now());
        self.line.due.notify_one();
    }

    /// Looks every name up at once, whatever its TTL.
    pub fn refresh(&self) {
        self.line.names.lock().refresh(self.line.now());
        self.line.due.notify_one();
    }

    /// Waits until every name was looked up since it was new, or since the last [`NameFollower::refresh`], or `limit` is over.
    pub async fn answered(&self, limit: Duration) {
        let all = async {
            while !self.line.names.lock().fresh() {
                self.line.heard.notified().await;
            }
        };
        let _ = timeout(limit, all).await;
    }
}

impl Drop for NameFollower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    fn now(&self) -> Time {
        Time::ZERO + self.started.elapsed()
    }
}

/// Looks names up when they are due, so many at once, until it is aborted.
async fn follow(line: Line) {
    let (resolver, mut under_way) = (Resolver::default(), JoinSet::new());
    loop {
        let now = line.now();
        for host in line.names.lock().due(now, AT_ONCE.saturating_sub(under_way.len())) {
            under_way.spawn(look_up(resolver.clone(), host));
        }
        let next = line.names.lock().next().filter(|_| under_way.len() < AT_ONCE);
        let pause = next.map_or(AGAIN, |next| next.since(now));
        tokio::select! {
            Some(Ok((host, found))) = under_way.join_next(), if !under_way.is_empty() => {
                if line.names.lock().learn(&host, found, line.now()) {
                    line.news.notify_one();
                }
                line.heard.notify_one();
            }
            () = line.due.notified() => {}
            () = sleep(pause) => {}
        }
    }
}

/// The addresses of a name and their TTL; in a task of its own, so that no answer ends the one that follows all names.
async fn look_up(resolver: Resolver, host: Host) -> (Host, Result<(Vec<IpAddr>, Duration), String>) {
    let asked = host.clone();
    let found = tokio::spawn(async move { resolver::host(&resolver, &asked).await }).await;
    let found = found.unwrap_or_else(|error| Err(error.to_string()));
    (host, found.map(|found| (found.addresses, found.ttl)))
}
