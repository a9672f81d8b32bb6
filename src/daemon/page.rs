//! `GET /` of `metrics.listen`: what the page for people is made of, and the hour that it shows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::admin::{DaemonFacts, Sources};
use super::messages::Packets;
use super::metrics::KernelCounters;
use crate::config::{Config, UnexpectedData};
use crate::director::{Outcome, Snapshot, TransferOutcome};
use crate::page::{Counter, Counts, Hour, Seen, render};
use crate::time::Time;

/// From one look for the hour to the next.
const MINUTE: Duration = Duration::from_secs(60);

/// How long a page is good for everyone who asks: whoever asks a thousand times a second costs one.
const FRESH: Duration = Duration::from_secs(1);

/// How long the packet thread may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// The page for people, and what it remembers. In tests a stand-in tells the facts.
pub struct Page<F> {
    facts: Arc<F>,
    packets: Packets,
    started: Instant,
    host: String,
    hour: Arc<Mutex<Hour>>,
    made: tokio::sync::Mutex<Option<(Instant, String)>>,
}

impl<F: DaemonFacts> Page<F> {
    /// A page that knows of no minute yet.
    #[must_use]
    pub fn new(facts: F, packets: Packets) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        let (hour, made) = (Arc::default(), tokio::sync::Mutex::default());
        Self { facts: Arc::new(facts), packets, started: Instant::now(), host, hour, made }
    }

    /// The page, made at most once a second.
    ///
    /// # Errors
    /// When the packet thread does not answer.
    pub async fn html(self: Arc<Self>) -> Result<String, String> {
        // Whoever asks meanwhile waits for this one.
        let mut made = self.made.lock().await;
        if let Some((at, page)) = &*made
            && at.elapsed() < FRESH
        {
            return Ok(page.clone());
        }
        let page = self.make().await?;
        *made = Some((Instant::now(), page.clone()));
        Ok(page)
    }

    async fn make(&self) -> Result<String, String> {
        let snapshot = self.snapshot().await?;
        let (facts, hour, host) = (Arc::clone(&self.facts), Arc::clone(&self.hour), self.host.clone());
        let (at, uptime) = (self.now(), self.started.elapsed().as_secs());
        let make = move || {
            let belief = facts.belief();
            let counted = facts.counted(&belief);
            let status = Sources::new(&belief, &snapshot, &counted).status("", uptime);
            let hour = hour.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            render(&Seen {
                status: &status,
                findings: belief.history.findings.as_ref(),
                hour: &hour,
                at,
                now,
                host: &host,
            })
        };
        tokio::task::spawn_blocking(make).await.map_err(|error| error.to_string())
    }

    /// Looks once a minute, until the runtime ends.
    pub async fn watch(self: Arc<Self>) {
        let mut minutes = interval_at(self.started, MINUTE);
        minutes.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            minutes.tick().await;
            // What cannot be read now is counted in a later minute.
            let Ok(snapshot) = self.snapshot().await else { continue };
            let (facts, hour, now) = (Arc::clone(&self.facts), Arc::clone(&self.hour), self.now());
            let look = move || {
                let belief = facts.belief();
                let Ok(observed) = facts.counted(&belief) else { return };
                let counts = counts(&belief.config, &snapshot, &observed.counters);
                let sessions = sessions(&snapshot);
                let of = |name| {
                    (counts.get(name).copied().unwrap_or_default(), sessions.get(name).copied().unwrap_or_default())
                };
                let clusters = belief.config.clusters.iter().map(|cluster| {
                    let (counts, sessions) = of(cluster.name.as_str());
                    (cluster.name.as_str(), counts, sessions)
                });
                hour.lock().unwrap_or_else(PoisonError::into_inner).record(now, clusters);
            };
            let _ = tokio::task::spawn_blocking(look).await;
        }
    }

    /// On the clock of the hour, which begins with this process.
    fn now(&self) -> Time {
        Time::ZERO + self.started.elapsed()
    }

    async fn snapshot(&self) -> Result<Snapshot, String> {
        let answered = timeout(ANSWER, self.packets.snapshot()).await;
        answered.map_err(|_| "the packet thread does not answer")?.ok_or_else(|| "the packet thread is gone".into())
    }
}

/// What was counted of each cluster, here and in the kernel.
fn counts<'a>(config: &Config, snapshot: &'a Snapshot, kernel: &'a KernelCounters) -> BTreeMap<&'a str, Counts> {
    let mut counts: BTreeMap<&str, Counts> = BTreeMap::new();
    for (cluster, counted) in &snapshot.clusters {
        for (&(_, outcome), &count) in &counted.expectations {
            let counter = match outcome {
                Outcome::Used => Counter::Came,
                Outcome::Expired => Counter::Missing,
                Outcome::Refused => Counter::Refused,
                // The client changed its mind.
                Outcome::Superseded => continue,
            };
            counts.entry(cluster).or_default().add(counter, count);
        }
        for (&(_, _, outcome), &count) in counted.transfers.values().flatten() {
            let counter = match outcome {
                TransferOutcome::Complete => Counter::Complete,
                TransferOutcome::NoDataConnection | TransferOutcome::Aborted | TransferOutcome::ServerError => {
                    Counter::Failed
                }
                TransferOutcome::Refused => Counter::Denied,
                TransferOutcome::Unknown => Counter::Unseen,
            };
            counts.entry(cluster).or_default().add(counter, count);
        }
    }
    for server in &kernel.servers {
        counts.entry(&server.cluster).or_default().add(Counter::Misdirected, server.misdirected);
    }
    // Of several directors another one may have the session.
    let passes = |name: &String| {
        config.clusters.iter().any(|cluster| cluster.name == *name && cluster.unexpected_data == UnexpectedData::Pass)
    };
    for (cluster, count) in kernel.unexpected.iter().filter(|(cluster, _)| !passes(cluster)) {
        counts.entry(cluster).or_default().add(Counter::Unexpected, *count);
    }
    counts
}

fn sessions(snapshot: &Snapshot) -> BTreeMap<&str, u64> {
    let mut sessions: BTreeMap<&str, u64> = BTreeMap::new();
    for ((cluster, _), &count) in &snapshot.sessions {
        let sum = sessions.entry(cluster).or_default();
        *sum = sum.saturating_add(count);
    }
    sessions
}

#[cfg(test)]
mod tests;
