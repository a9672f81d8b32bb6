//! `log.transfers`: a line of JSON for each transfer that is over, on standard output. A thread of its own writes them: the packet
//! thread never waits for whoever reads them.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tracing::warn;

use super::repeated::Repeated;
use crate::director::{Director, TransferRecord};

/// How many lines may wait to be written; more are lost, and counted.
const WAITING: usize = 4096;

/// How many lines are written at once at most.
const AT_ONCE: usize = 256;

/// How long the end of the daemon waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// A record, and when it was made: seconds since the epoch.
type Stamped = (f64, TransferRecord);

/// The line to the thread that writes.
#[derive(Debug)]
pub struct TransferLog {
    lines: SyncSender<Stamped>,
    lost: Arc<AtomicU64>,
    writer: JoinHandle<()>,
}

impl TransferLog {
    /// Starts the thread `transfers`, which writes to `out`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, inbox) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        let writer = thread::Builder::new().name("transfers".into()).spawn(move || write(out, &inbox, &counted))?;
        Ok(Self { lines, lost, writer })
    }

    /// Passes on what the director has kept. Never waits.
    pub fn pass_on(&self, director: &mut Director) {
        let (records, mut lost) = director.take_transfers();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        for record in records {
            lost += u64::from(self.lines.try_send((at, record)).is_err());
        }
        if lost > 0 {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// How many lines were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until the last line is written, or for a second.
    pub fn finish(self) {
        drop(self.lines);
        let until = Instant::now() + LAST_LINES;
        while !self.writer.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn write(mut out: impl Write, inbox: &Receiver<Stamped>, lost: &AtomicU64) {
    let (mut warning, mut said) = (Repeated::default(), 0);
    while let Ok(first) = inbox.recv() {
        let batch: Vec<Stamped> = std::iter::once(first).chain(inbox.try_iter()).take(AT_ONCE).collect();
        let text: String = batch.iter().map(|(at, record)| line(*at, record)).collect();
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            lost.fetch_add(u64::try_from(batch.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        let all = lost.load(Ordering::Relaxed);
        if all > said && warning.say(Instant::now()).is_some() {
            warn!(
                lost = all - said,
                "log.transfers: lines are lost: whoever reads them is too slow, or the disk is full"
            );
            said = all;
        }
    }
}

/// What a line says.
#[derive(Serialize)]
struct Line<'a> {
    time: f64,
    client: SocketAddr,
    cluster: &'a str,
    server: &'a str,
    mode: &'static str,
    verb: &'static str,
    outcome: &'static str,
    code: Option<u16>,
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// One transfer as a line, its end included.
fn line(at: f64, record: &TransferRecord) -> String {
    let text = |name: &Option<Box<[u8]>>| name.as_ref().map(|name| String::from_utf8_lossy(name).into_owned());
    let line = Line {
        time: (at * 1000.0).round() / 1000.0,
        client: record.client,
        cluster: &record.cluster,
        server: &record.server,
        mode: record.mode.name(),
        verb: record.verb.name(),
        outcome: record.outcome.name(),
        code: record.code,
        seconds: record.duration.map(|duration| duration.as_secs_f64()),
        user: text(&record.user),
        path: text(&record.path),
    };
    let mut ascii = escaped(&serde_json::to_string(&line).unwrap_or_default());
    ascii.push('\n');
    ascii
}

/// JSON with nothing in it but visible ASCII: whoever shows a log on a terminal shows no control sequence of a client's, nor text
/// that runs from right to left. Characters beyond stand in strings alone.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii_graphic() || c == ' ' {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // A string takes all that is written.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::director::{Mode, TransferOutcome};
    use crate::ftp::Verb;

    fn record() -> TransferRecord {
        TransferRecord {
            client: "203.0.113.5:40000".parse().expect("an address"),
            cluster: "downloads".into(),
            server: "rs1".into(),
            verb: Verb::Retr,
            mode: Mode::Passive,
            outcome: TransferOutcome::Complete,
            code: Some(226),
            duration: Some(Duration::from_millis(1234)),
            user: None,
            path: None,
        }
    }

    #[test]
    fn a_line_has_what_is_known_and_no_names() {
        assert_eq!(
            line(1_764_230_400.123_456, &record()),
            "{\"time\":1764230400.123,\"client\":\"203.0.113.5:40000\",\"cluster\":\"downloads\",\"server\":\"rs1\",\
             \"mode\":\"passive\",\"verb\":\"RETR\",\"outcome\":\"complete\",\"code\":226,\"seconds\":1.234}\n"
        );
        let unknown = TransferRecord { outcome: TransferOutcome::Unknown, code: None, duration: None, ..record() };
        assert!(line(0.0, &unknown).ends_with("\"outcome\":\"unknown\",\"code\":null,\"seconds\":null}\n"));
    }

    #[test]
    fn names_from_the_wire_are_escaped() {
        let name = "a\"b\\\u{1b}[2J\n\u{7f}\u{9b}1m\u{202e}ä\u{1f600}";
        let mut bytes = name.as_bytes().to_vec();
        bytes.push(0xff);
        let named = TransferRecord { user: Some(b"joe".to_vec().into()), path: Some(bytes.into()), ..record() };
        let line = line(0.0, &named);
        assert!(line.trim_end_matches('\n').chars().all(|c| c.is_ascii_graphic()), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((read["user"].as_str(), read["path"].as_str()), (Some("joe"), Some(&*format!("{name}\u{fffd}"))));
    }

    /// Takes nothing until it is let go.
    struct Stuck(Arc<Mutex<()>>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _gate = self.0.lock().expect("the gate");
            self.1.lock().expect("the text").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_that_is_stuck() {
        let (gate, text) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(Vec::new())));
        let closed = gate.lock().expect("the gate");
        let log = TransferLog::start(Stuck(Arc::clone(&gate), Arc::clone(&text))).expect("a thread");
        let all = WAITING + AT_ONCE + 10;
        let sent = (0..all).filter(|_| log.lines.try_send((0.0, record())).is_ok()).count();
        assert!((WAITING..all).contains(&sent), "{sent}");
        drop(closed);
        log.finish();
        let written = text.lock().expect("the text").iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(written, sent);
    }

    #[test]
    fn a_full_disk_is_counted() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let log = TransferLog::start(full).expect("a thread");
        log.lines.send((0.0, record())).expect("room");
        let lost = Arc::clone(&log.lost);
        log.finish();
        assert_eq!(lost.load(Ordering::Relaxed), 1);
    }
}
