//! `ftpdirector replay`: what the inspector would do with a capture, offline.

mod capture;
mod connection;
mod link;
mod report;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use capture::Frame;
use connection::Connection;
use report::Report;

use crate::ftp::{Direction, Flags};
use crate::lvs::ForwardingMethod;
use crate::time::Time;
use crate::wire::{Packet, Unreadable};

/// How to replay.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the captured connections are taken to be forwarded: decides which half the inspector sees.
    pub forwarding: ForwardingMethod,
    /// How to print.
    pub format: Format,
    /// Control ports.
    pub ports: Vec<u16>,
}

/// How to print events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// What was in the capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Packets of any kind.
    pub packets: u64,
    /// Packets of control connections.
    pub control: u64,
    /// Control connections.
    pub sessions: u64,
    /// Fragments: not reassembled.
    pub fragments: u64,
    /// Packets of which the capture holds only the beginning.
    pub truncated: u64,
    /// Packets of link types that are not known.
    pub unknown_link: u64,
    /// Whether the file ends in the middle of a packet.
    pub cut_short: bool,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets, control, sessions, fragments, truncated, .. } = self;
        write!(f, "{packets} packets, {control} of {sessions} control connections")?;
        write!(f, "; not read: {fragments} fragments, {truncated} truncated")?;
        if self.unknown_link > 0 {
            write!(f, ", {} of an unknown link type", self.unknown_link)?;
        }
        if self.cut_short {
            f.write_str("; the file ends in the middle of a packet")?;
        }
        Ok(())
    }
}

/// Why a capture cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It is neither pcap nor pcapng, or damaged.
    #[error("cannot read the capture: {0}")]
    Capture(String),
    /// The report cannot be written.
    #[error("cannot write the report: {0}")]
    Output(#[from] io::Error),
}

/// Replays a capture and reports every event to `out`.
///
/// # Errors
/// When the capture cannot be read at all (one that ends early is reported as far as it goes) or `out` fails.
pub fn run(
    capture: impl Read + Send,
    options: &Options,
    out: &mut (impl Write + ?Sized),
) -> Result<Summary, ReplayError> {
    let mut replay = Replay {
        options,
        report: Report::new(options.format, out),
        connections: BTreeMap::new(),
        summary: Summary::default(),
    };
    let cut_short = capture::read(capture, |frame| replay.frame(&frame))?;
    replay.end()?;
    replay.summary.cut_short = cut_short;
    replay.report.summary(&replay.summary)?;
    Ok(replay.summary)
}

/// Both ends of a control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ends {
    client: SocketAddr,
    server: SocketAddr,
}

struct Replay<'a, W: Write + ?Sized> {
    options: &'a Options,
    report: Report<'a, W>,
    connections: BTreeMap<Ends, Connection>,
    summary: Summary,
}

impl<W: Write + ?Sized> Replay<'_, W> {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), ReplayError> {
        self.summary.packets += 1;
        let Some(ip) = link::ip_packet(frame.link, frame.data) else {
            self.summary.unknown_link += u64::from(!link::is_known(frame.link));
            return Ok(());
        };
        match Packet::parse(ip) {
            Ok(packet) => self.packet(frame.time, &packet, packet.payload(ip))?,
            Err(Unreadable::Fragment) => self.summary.fragments += 1,
            Err(Unreadable::Truncated) => self.summary.truncated += 1,
            Err(Unreadable::NotIp | Unreadable::NotTcp | Unreadable::Malformed) => {}
        }
        Ok(())
    }

    fn packet(&mut self, now: Time, packet: &Packet, payload: &[u8]) -> Result<(), ReplayError> {
        let Some((ends, direction)) = self.ends(packet) else { return Ok(()) };
        self.summary.control += 1;
        if !self.connections.contains_key(&ends) {
            let opens = match direction {
                Direction::ToServer => packet.tcp.flags.has(Flags::SYN) || !payload.is_empty(),
                Direction::ToClient => payload.starts_with(b"220") && self.options.forwarding == ForwardingMethod::Nat,
            };
            if !opens {
                return Ok(()); // the end of a connection, or one that began before the capture
            }
            self.summary.sessions += 1;
        }
        let forwarding = self.options.forwarding;
        let connection = self.connections.entry(ends).or_insert_with(|| Connection::new(ends, forwarding));
        connection.packet(now, direction, &packet.tcp, payload);
        for event in connection.events.drain(..) {
            self.report.event(ends, forwarding, &event)?;
        }
        if connection.session.closed() {
            self.connections.remove(&ends);
        }
        Ok(())
    }

    /// Whose packet it is, if it belongs to a control connection.
    fn ends(&self, packet: &Packet) -> Option<(Ends, Direction)> {
        let is_control = |at: &SocketAddr| self.options.ports.contains(&at.port());
        let to_server = (Ends { client: packet.source, server: packet.destination }, Direction::ToServer);
        let to_client = (Ends { client: packet.destination, server: packet.source }, Direction::ToClient);
        match (is_control(&packet.source), is_control(&packet.destination)) {
            (true, true) if self.connections.contains_key(&to_client.0) => Some(to_client),
            (_, true) => Some(to_server),
            (true, false) => Some(to_client),
            (false, false) => None,
        }
    }

    /// What is still held when the capture ends.
    fn end(&mut self) -> Result<(), ReplayError> {
        for (ends, connection) in &mut self.connections {
            connection.give_up();
            for event in connection.events.drain(..) {
                self.report.event(*ends, self.options.forwarding, &event)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
