//! The body of `GET /trace`: a JSON line for each event, until the client leaves.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::Receiver;

use super::traced;
use crate::daemon::trace_subscribers::TraceLine;

/// What the packet thread tells, as it comes.
pub struct Lines {
    pub heard: Receiver<TraceLine>,
    /// One of the places for traces.
    pub _place: OwnedSemaphorePermit,
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.heard.poll_recv(context).map(|heard| {
            let heard = heard?;
            let mut line = serde_json::to_vec(&traced::line(&heard)).unwrap_or_default();
            line.push(b'\n');
            Some(Ok(Frame::data(Bytes::from(line))))
        })
    }
}
