//! `ftpdirector replay`: what the inspector would do with a capture, offline.

mod capture;
mod connection;
mod elsewhere;
mod encapsulation;
mod interface;
mod link;
mod report;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;

pub use interface::{ReplayError, ReplayOptions, ReportFormat, Summary};

use capture::Frame;
use connection::Replayed;
use elsewhere::Elsewhere;
use encapsulation::Encapsulation;
use interface::Endpoints;
use link::Carried;
use report::{At, Printer};

use crate::ftp::{Direction, Flags};
use crate::lvs::ForwardingMethod;
use crate::time::Time;
use crate::wire::{Packet, Unreadable};

/// Replays a capture and reports every event to `out`.
///
/// # Errors
/// When the capture cannot be read at all (one that ends early is reported as far as it goes) or `out` fails.
pub fn run(
    capture: impl Read + Send,
    options: &ReplayOptions,
    out: &mut (impl Write + ?Sized),
) -> Result<Summary, ReplayError> {
    let mut replay = Replay {
        options,
        report: Printer::new(options.format, out),
        connections: BTreeMap::new(),
        elsewhere: Elsewhere::default(),
        summary: Summary::default(),
        first: None,
    };
    let cut_short = capture::read(capture, |frame| replay.frame(&frame))?;
    replay.end()?;
    replay.summary.cut_short = cut_short;
    replay.summary.elsewhere = replay.elsewhere.ports();
    replay.report.summary(&replay.summary)?;
    Ok(replay.summary)
}

struct Replay<'a, W: Write + ?Sized> {
    options: &'a ReplayOptions,
    report: Printer<'a, W>,
    connections: BTreeMap<Endpoints, Replayed>,
    elsewhere: Elsewhere,
    summary: Summary,
    /// When the first frame was captured.
    first: Option<Time>,
}

impl<W: Write + ?Sized> Replay<'_, W> {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), ReplayError> {
        self.summary.packets += 1;
        self.first.get_or_insert(frame.time);
        let ip = match link::carried(frame.link, frame.data) {
            Carried::Ip(ip) => ip,
            Carried::Inside(encapsulation) => {
                self.not_looked_into(encapsulation);
                return Ok(());
            }
            Carried::Nothing => {
                self.summary.unknown_link += u64::from(!link::is_known(frame.link));
                return Ok(());
            }
        };
        match Packet::parse(ip) {
            Ok(packet) => self.packet(frame.time, &packet, packet.payload(ip))?,
            Err(Unreadable::Fragment) => self.summary.fragments += 1,
            Err(Unreadable::Truncated) => self.summary.truncated += 1,
            Err(Unreadable::NotTcp) => {
                if let Some(encapsulation) = Encapsulation::of(ip) {
                    self.not_looked_into(encapsulation);
                }
            }
            Err(Unreadable::NotIp | Unreadable::Malformed) => {}
        }
        Ok(())
    }

    fn not_looked_into(&mut self, encapsulation: Encapsulation) {
        *self.summary.encapsulated.entry(encapsulation).or_default() += 1;
    }

    fn packet(&mut self, now: Time, packet: &Packet, payload: &[u8]) -> Result<(), ReplayError> {
        let Some((ends, direction)) = self.ends(packet) else {
            self.elsewhere.packet(packet, payload);
            return Ok(());
        };
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
        let at = At { frame: self.summary.packets, after: now.since(self.first.unwrap_or(now)) };
        let connection = self.connections.entry(ends).or_insert_with(|| Replayed::new(ends, forwarding));
        connection.packet(now, direction, &packet.tcp, payload);
        for event in connection.events.drain(..) {
            self.report.event(Some(at), (ends, forwarding), &event)?;
        }
        if connection.session.closed() {
            self.connections.remove(&ends);
        }
        Ok(())
    }

    /// Whose packet it is, if it belongs to a control connection.
    fn ends(&self, packet: &Packet) -> Option<(Endpoints, Direction)> {
        let is_control = |at: &SocketAddr| self.options.ports.contains(&at.port());
        let to_server = (Endpoints { client: packet.source, server: packet.destination }, Direction::ToServer);
        let to_client = (Endpoints { client: packet.destination, server: packet.source }, Direction::ToClient);
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
                self.report.event(None, (*ends, self.options.forwarding), &event)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
