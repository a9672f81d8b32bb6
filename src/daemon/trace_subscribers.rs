//! The running traces (`ftpdirector trace`), as listeners to sessions. The packet thread never waits for a slow listener.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use crate::director::{Director, Filter, TraceEvent};

/// How many events one listener may be behind; more are counted as lost.
pub const BEHIND: usize = 4096;

/// What a listener hears.
#[derive(Clone, Debug, PartialEq)]
pub enum TraceLine {
    /// An event of a session.
    Event {
        /// When, seconds since the epoch.
        at: f64,
        /// What happened, and to which session.
        event: Box<TraceEvent>,
    },
    /// The listener was too slow for this many events.
    Lost(u64),
}

/// A `ftpdirector trace`: its filter, its line, and how many events it has lost.
#[derive(Debug)]
pub struct Listener {
    filter: Filter,
    line: Sender<TraceLine>,
    lost: u64,
}

impl Listener {
    /// A listener to the sessions that `filter` wants, until the far end of `line` is dropped.
    #[must_use]
    pub const fn new(filter: Filter, line: Sender<TraceLine>) -> Self {
        Self { filter, line, lost: 0 }
    }

    fn hear(&mut self, at: f64, event: &TraceEvent) {
        if !self.filter.wants(event.client.ip(), &event.cluster, &event.server) {
            return;
        }
        self.own_up();
        let full = |error| matches!(error, TrySendError::Full(_));
        let heard = TraceLine::Event { at, event: Box::new(event.clone()) };
        if self.lost > 0 || self.line.try_send(heard).is_err_and(full) {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Tells how many events were lost, as soon as there is room.
    fn own_up(&mut self) {
        if self.lost > 0 && self.line.try_send(TraceLine::Lost(self.lost)).is_ok() {
            self.lost = 0;
        }
    }
}

/// Every `ftpdirector trace` that is connected.
#[derive(Debug, Default)]
pub struct Listeners(Vec<Listener>);

impl Listeners {
    /// Whether no trace is connected.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a trace; the director tells events from now on.
    pub fn add(&mut self, listener: Listener, director: &mut Director) {
        self.0.push(listener);
        self.tell(director);
    }

    /// Passes the director's events on; forgets the listeners that left.
    pub fn pass_on(&mut self, director: &mut Director) {
        let (events, lost) = director.take_trace();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        for listener in &mut self.0 {
            listener.lost = listener.lost.saturating_add(lost);
            events.iter().for_each(|event| listener.hear(at, event));
            listener.own_up();
        }
        let before = self.0.len();
        self.0.retain(|listener| !listener.line.is_closed());
        if self.0.len() != before {
            self.tell(director);
        }
    }

    fn tell(&self, director: &mut Director) {
        director.listen(self.0.iter().map(|listener| listener.filter.clone()).collect());
    }
}
