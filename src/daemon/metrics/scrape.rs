//! What `/metrics` and `/readyz` answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::Histogram;

use super::observe::Observer;
use super::servers::Servers;
use super::text::Scrape;
use crate::daemon::messages::Packets;
use crate::daemon::view::View;
use crate::kernel::queue;

/// How long the packet thread may take to answer whether it is ready.
const ANSWER: Duration = Duration::from_secs(1);

/// Whether control packets are read: the queue is ours, its thread answers, and the kernel's rows are right.
///
/// # Errors
/// Why they are not, one reason a line.
pub async fn ready(packets: Packets, view: Arc<Mutex<View>>) -> Result<String, String> {
    let (queue, complaint) = {
        let view = view.lock().unwrap_or_else(PoisonError::into_inner);
        (view.config.kernel.queue, view.history.complaint.clone())
    };
    let answered = tokio::time::timeout(ANSWER, packets.alive()).await;
    let mut wrong = Vec::new();
    // Where this user may not see it, that the thread lives must do: it ends with its queue.
    if matches!(queue::reader(queue), Ok(None)) {
        wrong.push(format!("nobody listens on NFQUEUE {queue}"));
    }
    if answered != Ok(true) {
        wrong.push("the packet thread does not answer".to_owned());
    }
    wrong.extend(complaint);
    if wrong.is_empty() { Ok("ready\n".to_owned()) } else { Err(wrong.join("\n")) }
}

/// The text of `/metrics`.
///
/// # Errors
/// When the packet thread is gone, or the kernel refuses to list.
pub async fn scrape(
    packets: Packets,
    view: Arc<Mutex<View>>,
    observer: Arc<Mutex<Observer>>,
    verdicts: Histogram,
) -> Result<String, String> {
    let snapshot = packets.snapshot().await.ok_or("the packet thread is gone")?;
    let read = move || {
        let (config, indexes, availability, health, agents, history, by_name) = {
            let view = view.lock().unwrap_or_else(PoisonError::into_inner);
            let View { config, indexes, availability, health, agents, history, by_name, looked_up, .. } = &*view;
            let (health, agents) = (health.snapshot(), agents.snapshot());
            let by_name: Vec<_> = by_name.iter().map(|of| (of.clone(), looked_up.failures(&of.host))).collect();
            (Arc::clone(config), indexes.clone(), availability.clone(), health, agents, history.clone(), by_name)
        };
        // A long listing holds up only other listings.
        let observed = observer.lock().unwrap_or_else(PoisonError::into_inner).look(&config, &indexes);
        let kernel = observed.map_err(|error| error.to_string())?.counters;
        let (queue, history, availability) = (config.kernel.queue, &history, &availability);
        let servers = Servers { config: &config, availability, health: &health, agents: &agents, by_name: &by_name };
        let scrape = Scrape { snapshot: &snapshot, kernel: &kernel, verdicts: &verdicts, queue, history, servers };
        scrape.text().map_err(|error| error.to_string())
    };
    tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
}
