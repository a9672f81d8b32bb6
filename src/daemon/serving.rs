//! What the two listeners, `metrics.listen` and `admin.socket`, have in common.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::warn;

use super::repeated::Repeated;

/// Pause after a connection that could not be accepted.
const AGAIN: Duration = Duration::from_millis(200);

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// How many are served at once.
    pub most: usize,
    /// How many of one source: an address, or a user.
    pub each: usize,
    /// How long a connection may say nothing, or half a request, from its first moment on.
    pub silence: Duration,
    /// How long a connection may last; the answer that is under way then may take `silence` more.
    pub whole: Duration,
}

/// The next connection, of a listener whose `poll_accept` is `accept`. `deaf` limits the warnings while there is none.
pub async fn accepted<T>(
    mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    listener: &str,
    deaf: &mut Repeated,
) -> T {
    loop {
        match poll_fn(&mut accept).await {
            Ok(accepted) => return accepted,
            Err(error) => {
                // Out of descriptors, mostly: it passes when a connection ends.
                if let Some(kept_back) = deaf.say(Instant::now()) {
                    warn!(%error, kept_back, "{listener} cannot accept");
                }
                sleep(AGAIN).await;
            }
        }
    }
}
