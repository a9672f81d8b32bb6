//! The model: what a file that can be used says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use crate::ftp::Bounce;
use crate::lvs::{ForwardingMethod, PortRange, Timeouts};
use crate::steer::Placement;

/// A checked configuration file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// At least one; names are unique.
    pub clusters: Vec<Cluster>,
    /// What the daemon may use of the machine.
    pub limits: Limits,
    /// The marks, the queue and the timeouts that the daemon owns in the kernel.
    pub kernel: Kernel,
    /// `metrics`: the HTTP endpoint.
    pub metrics: Metrics,
    /// `admin`: the Unix socket.
    pub admin: Admin,
    /// `log`: level and format.
    pub log: Log,
}

/// One FTP service: VIPs and control ports in front, real servers behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Name of the cluster: `[a-z0-9-]{1,32}`, unique in the file.
    pub name: String,
    /// At least one, each once; no VIP is a real server of any cluster.
    pub vips: Vec<IpAddr>,
    /// The interface that the daemon adds the VIPs to; `None`: another program adds them.
    pub vip_interface: Option<String>,
    /// Control ports: at least one, each once; 990 means implicit TLS.
    pub ports: Vec<u16>,
    /// The ports among `ports` that the file no longer has: they get no new sessions. Empty in a file's configuration.
    pub quiescing_ports: Vec<u16>,
    /// How IPVS hands packets to the real servers.
    pub forwarding: ForwardingMethod,
    /// The scheduler's kernel name, `[a-z0-9_]{1,15}`.
    pub scheduler: String,
    /// The timeout of fallback persistence, whole seconds ≥ 1; `None` without.
    pub persistence: Option<Duration>,
    /// `passive.ports`: the range of the servers that name none; `None`: any unprivileged port.
    pub passive_ports: Option<PortRange>,
    /// `passive.public_ports`: the ports of the VIPs that clients are told, and no others; `None`: the servers' own. Only in NAT,
    /// without `persistence`. Holds no control port and no privileged one.
    pub public_ports: Option<PortRange>,
    /// `passive.advertise`: what goes into a 227. Anything but the VIP only in NAT.
    pub advertise: Advertise,
    /// How long an expectation waits for its data connection; > 0.
    pub pinhole_timeout: Duration,
    /// `idle`: how long a silent control connection is kept without a transfer, > 0 and at most a day; `None`: as long as IPVS keeps
    /// it.
    pub idle_control: Option<Duration>,
    /// What becomes of a SYN that no session expects.
    pub unexpected_data: UnexpectedData,
    /// Who may use a passive row.
    pub client_match: ClientMatch,
    /// What becomes of a PORT or EPRT to another host than the control connection's.
    pub bounce: Bounce,
    /// What becomes of control packets while no daemon listens.
    pub on_failure: OnFailure,
    /// Gets new sessions while every server is down.
    pub sorry_server: Option<SorryServer>,
    /// Where new sessions go while every server is down and there is no sorry server.
    pub no_servers: NoServers,
    /// How the servers are probed.
    pub health_check: HealthCheck,
    /// How long a server that comes back takes to its whole weight, at most an hour; `None`: it has it at once.
    pub slow_start: Option<Duration>,
    /// At least one, unless those by name have no address; names and addresses are unique in the cluster.
    pub real_servers: Vec<RealServer>,
}

/// One real server of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct RealServer {
    /// Unique in the cluster; its address unless named.
    pub name: String,
    /// IPv4 serves the cluster's IPv4 VIPs, IPv6 the IPv6 ones.
    pub address: IpAddr,
    /// The name of the host that has the address, as the file has it; `None`: the file has the address.
    pub host: Option<String>,
    /// NAT: the server's control port; `None`: the port that the client used. Always `None` in DR and TUN.
    pub port: Option<u16>,
    /// `0..=65535`; 0 means drained.
    pub weight: u32,
    /// How many control connections it may have of one VIP and port, those that are just over among them; > 0. `None`: any number,
    /// as always with persistence.
    pub max_sessions: Option<u32>,
    /// The effective range: its own, else the cluster's, else [`PortRange::UNPRIVILEGED`]. Holds no control port
    /// and no privileged one.
    pub passive_ports: PortRange,
    /// Whether the range belongs to this server alone.
    pub shared: bool,
    /// The port that its active data connections come from; `None`: control port − 1 (RFC 959 §3.2).
    pub active_port: Option<u16>,
    /// More ports that its active data connections may come from, if the server calls from any port; no service of it
    /// listens there. Within the unprivileged ports; in DR and TUN the range holds no control port of its VIPs.
    pub active_ports: Option<PortRange>,
    /// Pins the server's index in the mark ranges, `0..=0x3fff`, unique in the file.
    pub mark: Option<u16>,
}

impl Config {
    /// The cluster and the real server of a placement of this configuration.
    #[must_use]
    pub fn at(&self, placement: &Placement) -> Option<(&Cluster, &RealServer)> {
        let cluster = self.clusters.get(placement.cluster)?;
        Some((cluster, cluster.real_servers.get(placement.server)?))
    }
}

impl Cluster {
    /// Where clients connect to: every VIP with every control port.
    pub fn places(&self) -> impl Iterator<Item = (IpAddr, u16)> {
        self.vips.iter().flat_map(|&vip| self.ports.iter().map(move |&port| (vip, port)))
    }

    /// The real servers that serve `vip`, with their positions: those of its family.
    pub fn servers(&self, vip: IpAddr) -> impl Iterator<Item = (usize, &RealServer)> {
        self.real_servers.iter().enumerate().filter(move |(_, server)| server.address.is_ipv4() == vip.is_ipv4())
    }

    /// The ports of the VIPs that passive data connections of `server`, one of this cluster, come to.
    #[must_use]
    pub fn ports_at_vip(&self, server: &RealServer) -> PortRange {
        self.public_ports.unwrap_or(server.passive_ports)
    }

    /// How the health checks of `server`, one of this cluster, begin TLS: as the file says, else at once if 990 is the
    /// server's port, or the one that its clients come to.
    #[must_use]
    pub fn tls_to(&self, server: &RealServer) -> HealthCheckTls {
        let implicit = [server.port, self.ports.first().copied()].contains(&Some(IMPLICIT_TLS));
        self.health_check.tls.unwrap_or(if implicit { HealthCheckTls::Implicit } else { HealthCheckTls::None })
    }
}

impl RealServer {
    /// The port that the server's active data connections come from, in sessions that came to `control_port`: control
    /// port − 1 unless the file names another (RFC 959 §3.2).
    #[must_use]
    pub fn calls_from(&self, control_port: u16) -> u16 {
        // The real server counts from its own control port.
        self.active_port.unwrap_or_else(|| self.port.unwrap_or(control_port).saturating_sub(1))
    }
}

/// What goes into the address of a 227.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Advertise {
    /// The VIP that the client came to.
    Vip,
    /// An IPv4 address, as written.
    Address(Ipv4Addr),
    /// The first IPv4 address of this interface, followed when it changes.
    Interface(String),
    /// The address that this name resolves to, followed when it changes.
    Dns(String),
}

/// What becomes of a SYN to a declared passive range that no session expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnexpectedData {
    /// Dropped, so that the client tries again.
    Drop,
    /// Answered with a reset.
    Reject,
    /// Steered by its range alone, and counted.
    Pass,
}

/// Who may use a passive row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMatch {
    /// The address of the control connection.
    Address,
    /// Every address of the control connection's network; prefix lengths.
    Prefix {
        /// `0..=32`; 32 unless written.
        ipv4: u8,
        /// `0..=128`; 128 unless written.
        ipv6: u8,
    },
    /// Every client; only with disjoint ranges.
    Any,
}

impl ClientMatch {
    /// The length of the network that may use a passive row, of the family of `vip`.
    #[must_use]
    pub const fn prefix(self, vip: IpAddr) -> u8 {
        match (self, vip) {
            (Self::Any, _) => 0,
            (Self::Prefix { ipv4, .. }, IpAddr::V4(_)) => ipv4,
            (Self::Prefix { ipv6, .. }, IpAddr::V6(_)) => ipv6,
            (Self::Address, IpAddr::V4(_)) => 32,
            (Self::Address, IpAddr::V6(_)) => 128,
        }
    }
}

/// What becomes of control packets while no daemon listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Control packets pass unread.
    Bypass,
    /// The packets are dropped, so that TCP repeats them until a daemon is back.
    Hold,
}

/// What becomes of new sessions while every server is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoServers {
    /// New sessions go to the servers that were up last.
    Keep,
    /// New sessions are refused: no server gets any.
    Reject,
}

/// Gets new sessions while every server of the cluster is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SorryServer {
    /// Address of the sorry server, of the family of a VIP.
    pub address: IpAddr,
    /// Control port of the sorry server; `None`: the port that the client used.
    pub port: Option<u16>,
}

/// How the servers of a cluster are probed.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// How far a probe goes.
    pub kind: HealthCheckKind,
    /// From one probe to the next; > 0.
    pub interval: Duration,
    /// How long a probe may take; > 0.
    pub timeout: Duration,
    /// Good probes in a row that bring a server up; ≥ 1.
    pub rise: u32,
    /// Bad probes in a row that take a server down; ≥ 1.
    pub fall: u32,
    /// The user name for USER.
    pub user: String,
    /// The absolute path of the file with the password; `None`: `ftpdirector@` is sent.
    pub password_file: Option<PathBuf>,
    /// The path that a transfer asks for: LIST if it ends in `/`, else RETR.
    pub path: String,
    /// Whether and how TLS begins; `None`: as the port says, see [`Cluster::tls_to`].
    pub tls: Option<HealthCheckTls>,
    /// Whether the server's certificate must be valid: now, and signed by an authority.
    pub verify: bool,
    /// The absolute path of a PEM file of authorities, or of the server's own certificate; `None`: the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// The port of the servers' agents, which say how much of its weight a server shall have; `None`: there are none.
    pub agent: Option<u16>,
}

/// How a health check begins TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthCheckTls {
    /// Not at all.
    None,
    /// With AUTH TLS, after the greeting (RFC 4217).
    Explicit,
    /// At once, before the greeting.
    Implicit,
}

/// How far a probe goes; each kind does what the ones before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthCheckKind {
    /// No health checks; the server is never down.
    None,
    /// A TCP connection to the control port.
    Tcp,
    /// … and a 220 on the connection.
    Banner,
    /// … and a login with USER and PASS.
    Login,
    /// … and a passive data connection, with LIST or RETR over it.
    Transfer,
}

/// What the daemon may use of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions followed at the same time; > 0. More pass unread.
    pub sessions: usize,
    /// The longest line that is read, bytes; > 0.
    pub line: usize,
    /// Queued packets a second of one control connection, each way, `1..=1_000_000`; twice that in a burst. More are dropped:
    /// TCP repeats them.
    pub connection_packets: u32,
    /// Queued packets a second of one client address (/32, /64), each way; twice that in a burst. No fewer than
    /// `connection_packets`, at most 1,000,000.
    pub client_packets: u32,
    /// New control connections a second of one client address (/32, /64), `1..=1_000_000`; twice that in a burst. The SYNs of
    /// more are dropped: TCP repeats them.
    pub client_connections: u32,
    /// Control connections that are read of one client address (/32, /64), ≥ 1. More pass unread.
    pub client_sessions: u32,
    /// Bytes for held and early segments of all sessions, at least 1 MiB. Segments over the limit go unread.
    pub memory: usize,
}

/// The numbers that the daemon owns in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Data marks start here, tags at +0x10000, persistence at +0x20000, control marks at +0x30000. Not 0; the low 18
    /// bits are 0.
    pub fwmark_base: u32,
    /// The NFQUEUE number and the NFLOG groups (this number, and the one that differs in the lowest bit), 0 to 65535.
    pub queue: u16,
    /// IPVS's own timeouts, one setting per network namespace; `None`: left alone.
    pub timeouts: Option<Timeouts>,
}

/// IPVS's default (`net/netfilter/ipvs/ip_vs_proto_tcp.c`, `tcp_timeouts[IP_VS_TCP_S_ESTABLISHED]`).
const TCP_TIMEOUT: Duration = Duration::from_secs(15 * 60);

impl Kernel {
    /// How long IPVS keeps a silent TCP connection, unless another program has set that.
    #[must_use]
    pub fn tcp_timeout(&self) -> Duration {
        self.timeouts.as_ref().map_or(TCP_TIMEOUT, |timeouts| timeouts.tcp)
    }
}

/// The keys of `metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Address and port of the HTTP endpoint; `None`: there is none.
    pub listen: Option<SocketAddr>,
}

/// The control port where TLS begins at once.
pub const IMPLICIT_TLS: u16 = 990;

/// Where the admin socket is if the file does not say.
pub const DEFAULT_SOCKET: &str = "/run/ftpdirector/admin.sock";

/// The keys of `admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Absolute path of the socket, at most 90 bytes.
    pub socket: PathBuf,
}

/// The keys of `log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is written.
    pub level: LogLevel,
    /// What a line looks like.
    pub format: LogFormat,
    /// Whether each transfer that is over is written as a line of JSON.
    pub transfers: bool,
    /// Whether these lines have the names of user and file: personal data.
    pub names: bool,
}

/// The importance of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Errors alone: something failed.
    Error,
    /// Something that a person should look at.
    Warn,
    /// A change of state.
    Info,
    /// … and what happens to sessions.
    Debug,
    /// … and what happens to packets.
    Trace,
}

/// What a log line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text for each event, for people.
    Text,
    /// One JSON object a line.
    Json,
}
