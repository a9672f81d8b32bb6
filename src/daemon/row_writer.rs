//! The row thread: writes pinholes into the kernel, so that the packet thread never waits for a transaction.

use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::thread;
use std::time::Instant;

use tracing::warn;

use super::messages::RowsDone;
use super::repeated::Repeated;
use crate::kernel::KernelError;
use crate::kernel::apply;
use crate::kernel::nftables::{ElementChange, Elements};
use crate::kernel::wait::Wake;
use crate::steer::RowChange;

/// Rows to write, and the packet that waits for them.
#[derive(Debug)]
pub struct Job {
    /// The ticket that the answer carries; `None`: no packet waits.
    pub ticket: Option<u64>,
    /// The changes, written in this order.
    pub changes: Vec<RowChange>,
}

/// How many changes go into one transaction at most: jobs that wait together are committed together.
const MOST: usize = 512;

/// Runs until the packet thread is gone.
///
/// # Errors
/// When the thread cannot be started.
pub fn spawn(
    mut elements: Elements,
    jobs: Receiver<Job>,
    answers: Sender<RowsDone>,
    wake: Wake,
) -> std::io::Result<()> {
    let work = move || {
        let mut warning = Repeated::default();
        while let Ok(first) = jobs.recv() {
            let batch = collect(first, &jobs);
            let refused = write(&mut elements, &batch, &mut warning);
            for (job, refused) in batch.into_iter().zip(refused) {
                if let Some(ticket) = job.ticket
                    && answers.send(RowsDone { ticket, refused }).is_err()
                {
                    return;
                }
            }
            wake.wake();
        }
    };
    thread::Builder::new().name("rows".into()).spawn(work).map(drop)
}

/// The first job, and what has come since.
fn collect(first: Job, jobs: &Receiver<Job>) -> Vec<Job> {
    let mut count = first.changes.len();
    let mut batch = vec![first];
    while count < MOST {
        match jobs.try_recv() {
            Ok(job) => {
                count += job.changes.len();
                batch.push(job);
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
        }
    }
    batch
}

/// Writes the jobs; says of each whether a row that it needs was refused.
fn write(elements: &mut Elements, batch: &[Job], warning: &mut Repeated) -> Vec<bool> {
    let changes: Vec<ElementChange> = batch.iter().flat_map(|job| &job.changes).map(apply::element).collect();
    let mut results = elements.apply(&changes).into_iter();
    let mut lost: Option<(usize, KernelError)> = None;
    let mut refused = |result: Result<(), KernelError>| match (result, &mut lost) {
        (Ok(()), _) => false,
        (Err(_), Some((count, _))) => {
            *count += 1;
            true
        }
        (Err(error), none) => {
            *none = Some((1, error));
            true
        }
    };
    let refused = batch
        .iter()
        .map(|job| results.by_ref().take(job.changes.len()).map(&mut refused).fold(false, |any, one| any | one))
        .collect();
    // A full set refuses every row.
    if let Some((count, error)) = lost
        && let Some(kept_back) = warning.say(Instant::now())
    {
        warn!(count, %error, kept_back, "pinholes were refused: their data connections will not be expected");
    }
    refused
}
