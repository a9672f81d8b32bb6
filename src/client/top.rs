//! `ftpdirector top`: `status` again and again, with what happens each second.

mod page;
mod rates;
mod terminal;

use std::io::{self, IsTerminal, Write as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

pub use page::Order;

use super::request::{self, Ask, ClientError};
use page::{Known, PageView};
use rates::Sample;
use terminal::{Keys, Keystroke, Screen};

/// What the user wants to see.
#[derive(Clone, Debug)]
pub struct TopOptions {
    /// Time between two requests to the daemon.
    pub delay: Duration,
    /// How many pages to show; `None`: no limit on a terminal, one page anywhere else.
    pub pages: Option<NonZeroU32>,
    /// Pages one after the other, as text, also on a terminal.
    pub batch: bool,
    /// The only cluster that is shown; `None`: all.
    pub cluster: Option<String>,
    /// The order of the servers.
    pub order: Order,
}

/// Shows what the daemon behind `socket` does.
///
/// # Errors
/// Why there is nothing to show. Once a daemon has answered, one that is restarted is waited for.
pub fn run(socket: &Path, options: &TopOptions) -> Result<(), ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let top = Top {
        socket: socket.to_owned(),
        began: Instant::now(),
        view: PageView { cluster: options.cluster.clone(), order: options.order, first: 0 },
    };
    runtime.map_err(ClientError::Output)?.block_on(async {
        let first = top.look(top.began).await?;
        top.knows_cluster(&first)?;
        if options.batch || !terminal::is_there() {
            top.batch(first, options).await
        } else {
            top.live(first, options).await
        }
    })
}

struct Top {
    socket: PathBuf,
    began: Instant,
    view: PageView,
}

impl Top {
    async fn look(&self, began: Instant) -> Result<Sample, ClientError> {
        look(self.socket.clone(), began).await
    }

    /// A cluster that the daemon does not have is a mistake on the command line: there is nothing to wait for.
    fn knows_cluster(&self, sample: &Sample) -> Result<(), ClientError> {
        let clusters = sample.status.clusters.iter().map(|cluster| cluster.name.as_str());
        match &self.view.cluster {
            Some(wanted) if !clusters.clone().any(|name| name == wanted) => {
                let all = clusters.collect::<Vec<_>>().join(", ");
                Err(ClientError::Refused(format!("no cluster {wanted}: there are {all}")))
            }
            _ => Ok(()),
        }
    }

    /// Prints the pages as text, to the last one.
    async fn batch(self, first: Sample, options: &TopOptions) -> Result<(), ClientError> {
        let width = if io::stdout().is_terminal() { 80 } else { widest(&first) };
        let mut before = first;
        for number in 0..options.pages.map_or(1, NonZeroU32::get) {
            // One answer alone gives no rates.
            sleep(options.delay).await;
            let now = self.look(self.began).await?;
            let known = Known { now: &now, before: Some(&before), lost: None };
            let mut text = String::from(if number > 0 { "\n" } else { "" });
            for line in page::whole(&known, &self.view, width) {
                let line: String = line.into_iter().map(|(_, piece)| piece).collect();
                text.push_str(line.trim_end());
                text.push('\n');
            }
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(ClientError::Output)?;
            drop(out);
            before = now;
        }
        Ok(())
    }

    /// Shows the pages on a terminal, until the user quits.
    async fn live(mut self, first: Sample, options: &TopOptions) -> Result<(), ClientError> {
        let mut keys = Keys::listen().map_err(ClientError::Output)?;
        let mut signals = Signals::watch().map_err(ClientError::Output)?;
        // Given back however this function ends.
        let screen = Screen::enter().map_err(ClientError::Output)?;
        let (mut now, mut before, mut lost) = (first, None, None);
        let mut left = options.pages.map(NonZeroU32::get);
        let mut asked: Option<JoinHandle<Result<Sample, ClientError>>> = None;
        let mut next = Instant::now() + options.delay;
        loop {
            let known = Known { now: &now, before: before.as_ref(), lost: lost.as_deref() };
            let (length, size) = (page::length(&known, &self.view), screen.size());
            screen.show(&page::screen(&known, &self.view, size)).map_err(ClientError::Output)?;
            let answer = tokio::select! {
                typed = keys.next() => {
                    let Some(typed) = typed else { return Ok(()) };
                    for key in typed {
                        match key {
                            Keystroke::Char('q' | 'Q' | '\x03') => return Ok(()),
                            Keystroke::Char('\x1a') => screen.suspend().map_err(ClientError::Output)?,
                            Keystroke::Char(' ') => next = Instant::now(),
                            key => self.key(key, &now, length, size.1),
                        }
                    }
                    continue;
                }
                asked_for = signals.next() => match asked_for {
                    Asked::Stop => return Ok(()),
                    Asked::Paint => continue,
                },
                () = sleep_until(next), if asked.is_none() => {
                    asked = Some(tokio::spawn(look(self.socket.clone(), self.began)));
                    continue;
                }
                answer = finished(&mut asked) => answer,
            };
            asked = None;
            next = Instant::now() + options.delay;
            match answer {
                Ok(sample) => {
                    before = Some(std::mem::replace(&mut now, sample));
                    lost = None;
                    left = left.map(|left| left - 1);
                    if left == Some(0) {
                        return Ok(());
                    }
                }
                Err(error @ (ClientError::Permission { .. } | ClientError::Output(_))) => return Err(error),
                Err(ClientError::Nobody { error, .. }) => {
                    lost = Some(format!("no daemon answers at {}: {error}", self.socket.display()));
                }
                Err(error) => lost = Some(error.to_string()),
            }
        }
    }

    fn key(&mut self, key: Keystroke, now: &Sample, length: usize, height: usize) {
        let page = height.saturating_sub(5).max(1);
        let last = length.saturating_sub(page);
        let first = self.view.first.min(last);
        self.view.first = match key {
            Keystroke::Up | Keystroke::Char('k') => first.saturating_sub(1),
            Keystroke::Down | Keystroke::Char('j') => first + 1,
            Keystroke::PageUp => first.saturating_sub(page),
            Keystroke::PageDown => first + page,
            Keystroke::Home => 0,
            Keystroke::End => last,
            Keystroke::Char('c') => {
                self.view.cluster = next_cluster(self.view.cluster.as_deref(), now);
                0
            }
            Keystroke::Char(typed) => {
                if let Some((order, ..)) = Order::ALL.iter().find(|(_, key, _)| *key == typed) {
                    self.view.order = *order;
                }
                first
            }
        }
        .min(last);
    }
}

async fn look(socket: PathBuf, began: Instant) -> Result<Sample, ClientError> {
    let mut status = None;
    request::exchange(&socket, &Ask::Status, |line| {
        status = Some(request::read(&socket, line));
        Ok(())
    })
    .await?;
    let nothing = || ClientError::Broken { socket: socket.clone(), why: "there is none".into() };
    Ok(Sample { at: began.elapsed().as_secs_f64(), status: status.ok_or_else(nothing)?? })
}

/// The answer to the request that is under way; never returns without one.
async fn finished(asked: &mut Option<JoinHandle<Result<Sample, ClientError>>>) -> Result<Sample, ClientError> {
    match asked {
        Some(handle) => handle.await.unwrap_or_else(|error| Err(ClientError::Output(io::Error::other(error)))),
        None => std::future::pending().await,
    }
}

/// The cluster to show next: all, the first, the second, …, all again.
fn next_cluster(shown: Option<&str>, now: &Sample) -> Option<String> {
    let mut names = now.status.clusters.iter().map(|cluster| cluster.name.as_str());
    let next = match shown {
        None => names.next(),
        Some(shown) => names.skip_while(|name| *name != shown).nth(1),
    };
    next.map(ToOwned::to_owned)
}

/// The width of a page with room for every name.
fn widest(sample: &Sample) -> usize {
    let servers = sample.status.clusters.iter().flat_map(|cluster| &cluster.servers);
    let longest = servers.map(|server| server.name.chars().count() + 2).max().unwrap_or_default();
    page::width_for(longest).max(80)
}

enum Asked {
    Stop,
    Paint,
}

/// Signals that end `top` or paint it anew. In raw mode Ctrl-C is a key, not SIGINT.
struct Signals {
    stop: [Signal; 3],
    size: Signal,
}

impl Signals {
    fn watch() -> io::Result<Self> {
        let stop = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let [term, int, hangup] = stop.map(signal);
        Ok(Self { stop: [term?, int?, hangup?], size: signal(SignalKind::window_change())? })
    }

    async fn next(&mut self) -> Asked {
        let [term, int, hangup] = &mut self.stop;
        tokio::select! {
            _ = term.recv() => Asked::Stop,
            _ = int.recv() => Asked::Stop,
            _ = hangup.recv() => Asked::Stop,
            _ = self.size.recv() => Asked::Paint,
        }
    }
}
