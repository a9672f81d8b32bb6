//! What a replay is asked, and what it comes to.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::encapsulation::Encapsulation;
use crate::lvs::ForwardingMethod;

/// How a capture is replayed.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// How the captured connections are taken to be forwarded: decides which half the inspector sees.
    pub forwarding: ForwardingMethod,
    /// The format of the report.
    pub format: ReportFormat,
    /// The control ports; 990 is implicit TLS.
    pub ports: Vec<u16>,
}

/// How to print events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
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
    /// Control connections in the capture.
    pub sessions: u64,
    /// IP fragments; they are not reassembled.
    pub fragments: u64,
    /// Packets of which the capture holds only the beginning.
    pub truncated: u64,
    /// Packets of link types that are not known.
    pub unknown_link: u64,
    /// Packets that may carry others, which are not looked for.
    pub encapsulated: BTreeMap<Encapsulation, u64>,
    /// Other ports on which FTP was spoken, those with the most sessions; ascending.
    pub elsewhere: Vec<u16>,
    /// Whether the file ends in the middle of a packet.
    pub cut_short: bool,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets, control, sessions, fragments, truncated, .. } = self;
        let many = if *sessions == 1 { "" } else { "s" };
        write!(f, "{packets} packets, {control} of {sessions} control connection{many}")?;
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

impl Summary {
    /// What keeps sessions from being seen, and what to do: the control `ports`, or where it was captured.
    #[must_use]
    pub fn hints(&self, ports: &[u16]) -> Vec<String> {
        self.elsewhere(ports).into_iter().chain(self.encapsulated()).collect()
    }

    fn encapsulated(&self) -> Option<String> {
        let counts = self.encapsulated.iter().map(|(encapsulation, count)| format!("{count} {}", encapsulation.name()));
        let counts = counts.reduce(|list, next| format!("{list}, {next}"))?;
        Some(format!("packets that are not looked into: {counts}: capture on an interface behind the tunnel's end"))
    }

    fn elsewhere(&self, ports: &[u16]) -> Option<String> {
        let listed = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>();
        let asked = listed(ports).join(" or ");
        let nothing = match (self.sessions, self.control) {
            (0, 0) => format!("nothing on port {asked}"),
            (0, _) => format!("no control connection begins on port {asked}: capture from before the client connects"),
            _ => return None,
        };
        let other = listed(&self.elsewhere);
        Some(match other.as_slice() {
            [] if self.control > 0 || !self.encapsulated.is_empty() => nothing,
            [] => format!("{nothing}: name the control port with --port"),
            [port] => format!("{nothing}; port {port} looks like FTP: replay --port {port}"),
            _ => format!("{nothing}; ports {} look like FTP: replay --port {}", other.join(" and "), other.join(",")),
        })
    }
}

/// Why a capture cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file is neither pcap nor pcapng, or damaged.
    #[error("cannot read the capture: {0}")]
    Capture(String),
    /// The report cannot be written.
    #[error("cannot write the report: {0}")]
    Output(#[from] io::Error),
}

/// Both ends of a control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoints {
    pub client: SocketAddr,
    pub server: SocketAddr,
}
