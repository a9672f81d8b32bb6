//! What the packet thread is told, and the line to it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::oneshot;

use super::trace_subscribers::Listener;
use crate::director::{Account, Filter, Holder, Listed, Page, Setup, Snapshot, Whom};
use crate::kernel::wait::Wake;

/// What the row thread tells the packet thread, past the messages: packets wait for it.
#[derive(Clone, Copy, Debug)]
pub struct RowsDone {
    /// The ticket of the packet that waits for the rows.
    pub ticket: u64,
    /// Whether the kernel refused one.
    pub refused: bool,
}

/// What the packet thread is told.
#[derive(Debug)]
pub enum Message {
    /// Asks for all counters.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Asks for what the filter wants of the page of sessions that begins at this slot.
    Sessions(u32, Arc<Filter>, oneshot::Sender<Page<Listed>>),
    /// Asks which sessions the dynamic rows are there for, page by page: the page that begins at this slot.
    Holders(u32, oneshot::Sender<Page<Holder>>),
    /// Asks which of these sessions, given as client and far end, may have a data connection.
    MayTransfer(Vec<(SocketAddr, SocketAddr)>, oneshot::Sender<Vec<bool>>),
    /// IPVS was made to remember these sessions, client and far end.
    Refreshed(Vec<(SocketAddr, SocketAddr)>),
    /// IPVS has these connections, client and far end, established.
    Confirmed(Vec<(SocketAddr, SocketAddr)>),
    /// Asks whether a session waits for such a confirmation.
    WantsConfirmation(oneshot::Sender<bool>),
    /// Asks what is remembered of a client.
    Explain(Whom, oneshot::Sender<Account>),
    /// Adds a trace.
    Listen(Listener),
    /// Asks whether the thread still runs.
    Ping(oneshot::Sender<()>),
    /// The configuration from now on, after a reload or a drain.
    Configure(Box<Setup>),
    /// Another program flushed the dynamic rows.
    RowsLost,
    /// IPVS has control connections of these clients at VIPs that have just come, with the servers of these indexes.
    TookOver(Vec<(IpAddr, u16)>),
    /// These of them may be called: client, index, the port of the server's end of the control connection.
    MayBeCalled(Vec<(IpAddr, u16, u16)>),
    /// IPVS has these calls, which their clients have answered: client, VIP and the port that was called from, index.
    Answered(Vec<(SocketAddr, SocketAddr, u16)>),
    /// These VIPs have left this machine.
    GaveUp(Vec<IpAddr>),
    /// Ends the packet thread.
    Stop,
}

impl Message {
    /// Whether it is about many sessions. Of such messages one is read at a time, and packets between them.
    #[must_use]
    pub const fn is_long(&self) -> bool {
        match self {
            Self::Sessions(..)
            | Self::Holders(..)
            | Self::MayTransfer(..)
            | Self::Refreshed(_)
            | Self::Confirmed(_)
            | Self::Explain(..)
            | Self::RowsLost
            | Self::TookOver(_)
            | Self::MayBeCalled(_)
            | Self::Answered(_)
            | Self::GaveUp(_) => true,
            Self::Snapshot(_)
            | Self::WantsConfirmation(_)
            | Self::Listen(_)
            | Self::Ping(_)
            | Self::Configure(_)
            | Self::Stop => false,
        }
    }
}

/// A line to the packet thread.
#[derive(Clone, Debug)]
pub struct Packets {
    messages: Sender<Message>,
    wake: Wake,
}

impl Packets {
    /// A line, its far end, and what wakes the thread there.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn line() -> io::Result<(Self, Receiver<Message>, Wake)> {
        let (messages, inbox) = channel();
        let wake = Wake::new()?;
        Ok((Self { messages, wake: wake.clone() }, inbox, wake))
    }

    /// What wakes the thread for the row thread's answers.
    #[must_use]
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// Tells the thread; `false` when it is gone.
    #[must_use]
    pub fn tell(&self, message: Message) -> bool {
        let told = self.messages.send(message).is_ok();
        self.wake.wake();
        told
    }

    /// Whether the thread answers.
    pub async fn alive(&self) -> bool {
        self.ask(Message::Ping).await.is_some()
    }

    /// What there is and what was counted; `None` when the thread is gone.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        self.ask(Message::Snapshot).await
    }

    /// The answer to a question; `None` when the thread is gone.
    pub async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Message) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        if self.tell(question(answer)) { answered.await.ok() } else { None }
    }

    /// As [`Packets::ask`], for a thread that may wait.
    pub fn ask_and_wait<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Message) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        if self.tell(question(answer)) { answered.blocking_recv().ok() } else { None }
    }
}
