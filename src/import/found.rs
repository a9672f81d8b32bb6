//! What was found in the files, in the same words whatever the format: services, marks, and what could not be read.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use ipnet::IpNet;

use super::text::shown;
use crate::lvs::{ForwardingMethod, PortRange};

/// More services than this are not read.
pub(super) const SERVICES: usize = 4096;
/// More real servers than this are not read, of all services together.
const SERVERS: usize = 16_384;
/// More rules that set marks than this are not read.
const MARKS: usize = 4096;
/// Why a lower threshold of connections is left out.
pub(super) const NO_LOWER_THRESHOLD: &str = "a server takes sessions again as soon as it has fewer than max_sessions";
/// More remarks than this about one thing are counted, not kept.
const REMARKS: usize = 40;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Name of the file, as it was given.
    pub file: Rc<str>,
    /// Number of the line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", shown(&self.file), self.line)
    }
}

/// What a remark means to its reader. The first word of its line says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    /// The files do not say it, and the result does.
    Guess,
    /// The files say it, and the result does not.
    LeftOut,
    /// Something to know.
    Note,
}

/// Sentences for the result's comments, in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Remarks {
    list: Vec<(Sort, String)>,
    more: usize,
}

impl Remarks {
    /// Something that the files do not say.
    pub fn guess(&mut self, text: impl Into<String>) {
        self.add(Sort::Guess, text.into());
    }

    /// Something that the result leaves out.
    pub fn left_out(&mut self, text: impl Into<String>) {
        self.add(Sort::LeftOut, text.into());
    }

    /// Something to know.
    pub fn note(&mut self, text: impl Into<String>) {
        self.add(Sort::Note, text.into());
    }

    fn add(&mut self, sort: Sort, text: String) {
        if self.list.iter().any(|(_, known)| *known == text) {
            return;
        }
        if self.list.len() >= REMARKS { self.more += 1 } else { self.list.push((sort, text)) }
    }

    /// Takes those of `other` too.
    pub fn take(&mut self, other: &Self) {
        for (sort, text) in &other.list {
            self.add(*sort, text.clone());
        }
        self.more += other.more;
    }

    /// One text for each, with its first word.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let lines = self.list.iter().map(|(sort, text)| match sort {
            Sort::Guess => format!("GUESS: {text}"),
            Sort::LeftOut => format!("LEFT OUT: {text}"),
            Sort::Note => text.clone(),
        });
        let more = (self.more > 0).then(|| format!("LEFT OUT: {} more remarks like these.", self.more));
        lines.chain(more)
    }
}

/// The protocol of a virtual service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// A host as a file names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Host {
    Address(IpAddr),
    /// A name, or what is no address.
    Name(String),
}

impl Host {
    /// Reads an address; anything else is a name.
    pub fn read(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(shown(text)), Self::Address)
    }

    /// The address, if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        if let Self::Address(address) = self { Some(*address) } else { None }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// What a virtual service is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A VIP and a port; port 0: every port.
    Place(Host, u16),
    /// A firewall mark.
    Mark {
        /// The mark.
        mark: u32,
        /// Whether it is the IPv6 service of that mark.
        ipv6: bool,
    },
}

/// A virtual service with its real servers.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// Where it begins.
    pub place: Place,
    /// What to delete, as the file writes it: `virtual_server 192.0.2.10 21 { … }`.
    pub written: String,
    pub key: Key,
    /// The VIP and port that the file has beside a mark (lvs.cf).
    pub beside: Option<(Host, u16)>,
    pub protocol: Protocol,
    /// The file's own name for it.
    pub name: Option<String>,
    /// Why it is FTP, if the file says so by itself: `service=ftp`.
    pub says_ftp: Option<String>,
    /// The kernel's name of the scheduler.
    pub scheduler: String,
    /// Timeout of persistence, seconds; 0: none.
    pub persistence: u32,
    /// The interface that the old program put the VIP on.
    pub interface: Option<String>,
    pub sorry: Option<(Host, Option<u16>)>,
    pub check: Check,
    /// A port that is checked and is not the server's own.
    pub checked_port: Option<u16>,
    pub servers: Vec<Server>,
    pub remarks: Remarks,
}

impl Service {
    /// A service without servers, with the scheduler that the format has by default.
    pub fn new(place: Place, written: String, key: Key, scheduler: &str) -> Self {
        Self {
            place,
            written,
            key,
            beside: None,
            protocol: Protocol::Tcp,
            name: None,
            says_ftp: None,
            scheduler: scheduler.to_owned(),
            persistence: 0,
            interface: None,
            sorry: None,
            check: Check::default(),
            checked_port: None,
            servers: Vec::new(),
            remarks: Remarks::default(),
        }
    }

    /// For lists: `TCP 192.0.2.10:80`, `mark 21`.
    pub fn short(&self) -> String {
        let protocol = self.protocol;
        match &self.key {
            Key::Place(host, 0) => format!("{protocol} {host}, every port"),
            Key::Place(Host::Address(IpAddr::V6(vip)), port) => format!("{protocol} [{vip}]:{port}"),
            Key::Place(host, port) => format!("{protocol} {host}:{port}"),
            Key::Mark { mark, ipv6: false } => format!("firewall mark {mark}"),
            Key::Mark { mark, ipv6: true } => format!("firewall mark {mark} (IPv6)"),
        }
    }
}

/// A real server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub name: Option<String>,
    pub host: Host,
    /// `None`: that of the service.
    pub port: Option<u16>,
    pub weight: u32,
    /// Connections with which it gets no new ones.
    pub max_sessions: Option<u32>,
    pub forwarding: ForwardingMethod,
    pub remarks: Remarks,
}

/// How far the old checks went, as far as ours know the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CheckKind {
    /// None, or of a sort that ours do not know.
    #[default]
    Other,
    /// Switched off.
    Off,
    Tcp,
    Banner,
    Login,
    Transfer,
}

/// Health checks of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Check {
    pub kind: CheckKind,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    /// Bad checks in a row that take a server down.
    pub fall: Option<u32>,
    /// The user name of a login, unless it is anonymous.
    pub user: Option<String>,
    /// Where the password of that user stands. It is not read.
    pub password: Option<Place>,
    /// What a transfer asks for.
    pub path: Option<String>,
}

/// A rule of iptables or nft that sets a mark.
#[derive(Clone, Debug)]
pub(super) struct MarkRule {
    pub place: Place,
    /// How to delete it.
    pub written: String,
    pub mark: u32,
    /// Destination addresses; empty: any.
    pub addresses: Vec<IpNet>,
    /// Destination ports; empty: any.
    pub ports: Vec<PortRange>,
    /// What else the rule asks for and was not read.
    pub unread: Option<String>,
}

/// The kernel helper `ip_vs_ftp`.
#[derive(Clone, Debug)]
pub(super) struct Helper {
    pub place: Place,
    /// Its control ports; 21 unless the module's parameter says another.
    pub ports: BTreeSet<u16>,
}

/// Everything that was found in the files.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub services: Vec<Service>,
    pub marks: Vec<MarkRule>,
    pub helper: Option<Helper>,
    /// Addresses that VRRP moves.
    pub moved: Vec<IpAddr>,
    /// More to delete than the services: what, and where.
    pub delete: Remarks,
    /// About no one service.
    pub remarks: Remarks,
    servers: usize,
}

impl Found {
    /// Adds a service, unless there are too many. Returns whether it did.
    pub fn add(&mut self, service: Service) -> bool {
        let servers = self.servers.saturating_add(service.servers.len());
        if self.services.len() >= SERVICES || servers > SERVERS {
            // The same text each time: it is kept once.
            let text = format!("what is more than {SERVICES} services or {SERVERS} real servers.");
            self.remarks.left_out(text);
            return false;
        }
        self.servers = servers;
        self.services.push(service);
        true
    }

    /// Whether there is no place for another service.
    pub fn is_full(&self) -> bool {
        self.services.len() >= SERVICES
    }

    /// Adds a server to the service at `index`, unless there are too many.
    pub fn add_server(&mut self, index: usize, server: Server) {
        let Some(service) = self.services.get_mut(index) else { return };
        if self.servers >= SERVERS {
            return self.remarks.left_out(format!("what is more than {SERVERS} real servers."));
        }
        self.servers += 1;
        service.servers.push(server);
    }

    /// Adds a rule, unless there are too many.
    pub fn add_mark(&mut self, rule: MarkRule) {
        if self.marks.len() >= MARKS {
            return self.remarks.left_out(format!("what is more than {MARKS} rules that set marks."));
        }
        self.marks.push(rule);
    }
}

/// A file that an `include` line names, as it was read.
#[derive(Debug)]
pub struct Include {
    /// Its path: what makes it another file than the others.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Reads the files that a pattern names, seen from the file that includes them, or says why it does not.
pub type Includes<'a> = dyn Fn(&str, &str) -> Result<Vec<Include>, String> + 'a;

/// Why there is no result.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// A file that cannot be read, or is in no format that is known.
    #[error("{0}")]
    Unreadable(String),
    /// There is no FTP service in the files, or none that can be written.
    #[error("{0}")]
    Nothing(String),
}
