//! What goes over the admin socket, as JSON. Users script against these names: adding is free, renaming is not.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::lvs::Traffic;

/// The answer to `GET /status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version, `MAJOR.MINOR.PATCH`.
    pub version: String,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// The file and its last reload.
    pub config: ConfigState,
    /// Rows that were missing or changed by another program, and put right.
    pub drift: u64,
    /// What is wrong with the kernel's rows, or why they could not be read just now.
    pub kernel_error: Option<String>,
    /// Sessions that the daemon follows.
    pub sessions: u64,
    /// Dynamic rows of this process that stand.
    pub pinholes: u64,
    /// Control packets that wait for a row or for the rest of their line.
    pub held: u64,
    /// The clusters, in the order of the file.
    pub clusters: Vec<ClusterStatus>,
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigState {
    /// Path of the configuration file, as `run` was given it.
    pub file: String,
    /// Whether the last reload was good; if not, the configuration before it is in force.
    pub reload_good: bool,
    /// When the configuration in force was read, seconds since the epoch.
    pub read_at: f64,
}

/// A cluster in `Status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Its name, as in the file.
    pub name: String,
    /// Its VIPs, in the order of the file.
    pub vips: Vec<IpAddr>,
    /// Its control ports, in the order of the file.
    pub ports: Vec<u16>,
    /// `nat`, `dr` or `tun`.
    pub forwarding: String,
    /// The IPVS scheduler of its control services: `wlc`, `rr`, …
    pub scheduler: String,
    /// The interface or DNS name whose address goes into 227s; `null`: the VIP or a fixed address.
    #[serde(default)]
    pub advertise: Option<AdvertiseStatus>,
    /// The real servers, in the order of the file.
    pub servers: Vec<Server>,
    /// The servers that are left out, since the names that they have in the file have no address.
    #[serde(default)]
    pub unresolved: Vec<UnresolvedServer>,
}

/// A server whose name has no address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnresolvedServer {
    /// Name of the server, unique in its cluster.
    pub name: String,
    /// The name that is looked up.
    pub host: String,
    /// Why it has no address.
    pub error: String,
}

/// An advertised address that follows its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvertiseStatus {
    /// `interface NAME` or `dns NAME`.
    pub source: String,
    /// The last address that the interface or name had; `null`: none so far, and the VIP goes into 227s.
    pub address: Option<Ipv4Addr>,
    /// Why the interface or name has no address at present; `null`: it has one.
    pub error: Option<String>,
}

/// One real server. What the kernel counts is `null` while it cannot be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Name of its cluster.
    pub cluster: String,
    /// Name of the server, unique in its cluster: the label `server` of the metrics.
    pub name: String,
    /// The server's own address, not the VIP.
    pub address: IpAddr,
    /// Whether the server gets new sessions.
    pub state: ServerState,
    /// The configured weight, 0 to 65535.
    pub weight: u32,
    /// The weight in its control service; with 0 it gets no new sessions.
    pub effective_weight: u32,
    /// Sessions on this server that the daemon follows.
    pub sessions: u64,
    /// IPVS's connections of the control services.
    pub control: Option<Connections>,
    /// IPVS's connections of the data services.
    pub data: Option<Connections>,
    /// What IPVS counted of its control connections; as the metrics it never goes back while the daemon runs.
    #[serde(default)]
    pub control_traffic: Option<Traffic>,
    /// What IPVS counted of its data connections (not the active ones in NAT, which are the connection tracking's).
    #[serde(default)]
    pub data_traffic: Option<Traffic>,
    /// First packets of data connections that went to this server as they should.
    pub landed: Option<u64>,
    /// First packets of this server's data connections that went elsewhere; should be 0.
    pub misdirected: Option<u64>,
    /// What its health checks found; `null` where there are none.
    #[serde(default)]
    pub health: Option<HealthStatus>,
    /// Who drains it; `null`: nobody.
    #[serde(default)]
    pub drained_by: Option<DrainedBy>,
    /// How many control connections it may have of one VIP and port; `null`: any number.
    #[serde(default)]
    pub max_sessions: Option<u32>,
    /// Whether it has so many of one VIP and port, and takes no more there.
    #[serde(default)]
    pub full: bool,
    /// What the agent on it says; `null` where none is asked.
    #[serde(default)]
    pub agent: Option<AgentStatus>,
    /// The name that the address was looked up from; `null`: the file has the address.
    #[serde(default)]
    pub host: Option<String>,
    /// Why the last look-up gave no address, so that the last one goes on; `null`: it gave this one.
    #[serde(default)]
    pub host_error: Option<String>,
}

/// Who keeps new sessions from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainedBy {
    /// The file: its weight there is 0.
    File,
    /// An operator, with `drain`.
    Administrator,
    /// The agent on it.
    Agent,
}

/// What the agent on a server says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// What it has asked for so far: words of `down`, `fail`, `stopped`, `drain`, `maint`, `75%`; or `up`.
    pub standing: String,
    /// Whether it says that the server cannot serve.
    pub down: bool,
    /// The last line that it said, printable ASCII; `null`: none so far.
    pub said: Option<String>,
    /// Why it did not answer the last time; `null`: it did, or was not asked yet.
    pub error: Option<String>,
}

/// What the health checks of one server found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthStatus {
    /// `up`, `down`, or `unknown` before the first good one: such a server takes sessions.
    pub state: String,
    /// When that state began, seconds since the epoch.
    pub since: f64,
    /// The last step of the last check: `connect`, `banner`, `auth`, `tls`, `certificate`, `user`, `password`, `pbsz`, `prot`,
    /// `pasv`, `pasv_connect`, `pasv_transfer`, `epsv`, `epsv_connect`, `epsv_transfer`, `quit`; `null` before the first.
    pub step: Option<String>,
    /// Why the last check failed, in the server's own words if it said any; `null`: it was good.
    pub error: Option<String>,
    /// How long each step of the last check took.
    pub seconds: BTreeMap<String, f64>,
}

/// Whether a server gets new sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// It gets new sessions.
    Up,
    /// Its health checks fail, or its agent says that it is down.
    Down,
    /// An operator or its agent drains it, or its weight in the file is 0.
    Drained,
}

/// IPVS's counts of one service's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Established connections (ActiveConn of `ipvsadm -L`).
    pub active: u64,
    /// Connections in any other state: closing, mostly (InActConn of `ipvsadm -L`).
    pub inactive: u64,
}

/// `GET /sessions`: those that are wanted, at most `limit`, and how many there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sessions {
    /// How many sessions there are.
    pub total: u64,
    /// How many of them are wanted; `null` from a daemon that is older than this field.
    #[serde(default)]
    pub matching: Option<u64>,
    /// The first of those that are wanted.
    pub sessions: Vec<SessionStatus>,
}

/// A control connection in `Sessions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Address and port of the client.
    pub client: SocketAddr,
    /// The other end: the VIP in DR and TUN, the real server in NAT.
    pub far_end: SocketAddr,
    /// Name of its cluster.
    pub cluster: String,
    /// Name of its real server.
    pub server: String,
    /// Time since the session's first packet that this process saw.
    pub age_seconds: f64,
    /// Time since the session's last packet that this process saw.
    pub idle_seconds: f64,
    /// The last command; `null` before any was read.
    pub verb: Option<String>,
    /// Whether a command waits for its reply; `null` in DR and TUN, where replies are not seen.
    pub pending: Option<bool>,
    /// The data connection that may come.
    pub expectation: Option<ExpectationStatus>,
    /// Why the session cannot be read; `null`: it is read.
    pub blind: Option<String>,
}

/// A data connection that may come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpectationStatus {
    /// `passive` (the client connects) or `active` (the server does).
    pub mode: String,
    /// The port that the data connection goes to; `null`: any port of the server's range.
    pub port: Option<u16>,
    /// Time until the pinhole closes, unless its time is extended before.
    pub remaining_seconds: f64,
    /// Whether the data connection came. The row stays until the deadline, for a repeated SYN.
    pub used: bool,
}

/// `GET /pinholes`: the dynamic rows in the kernel that are wanted, at most `limit`, and how many there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PinholeList {
    /// How many dynamic rows there are.
    pub total: u64,
    /// How many of them are wanted; `null` from a daemon that is older than this field.
    #[serde(default)]
    pub matching: Option<u64>,
    /// The first of those that are wanted.
    pub pinholes: Vec<Pinhole>,
}

/// One dynamic row as it stands in the kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pinhole {
    /// The set or map, as nft names it.
    pub set: String,
    /// Its key, as nft writes it.
    pub key: String,
    /// Its value, as nft writes it; `null` in a set.
    pub value: Option<String>,
    /// The cluster that the row leads to, where that is certain.
    pub cluster: Option<String>,
    /// The server that the row leads to, where that is certain.
    pub server: Option<String>,
    /// Time until the kernel removes the row by itself.
    pub remaining_seconds: Option<f64>,
    /// The clients' ends of the sessions that the row is for, as far as this process knows them.
    pub sessions: Vec<SocketAddr>,
}

/// `POST /drain?server=CLUSTER/SERVER`, `POST /undrain?server=CLUSTER/SERVER`: the server afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drained {
    /// The server that was drained or undrained.
    pub server: Server,
}

/// The answer to `POST /reload`: the file is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The file that was read.
    pub file: String,
}

/// `GET /explain?client=…`: what is remembered of a client, and why its last data connection failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// What was asked for: an address, an address with its port, or `last`.
    pub asked: String,
    /// The client's end of the control connection that it is about; `null`: none of the client is remembered.
    pub session: Option<SocketAddr>,
    /// Name of its cluster; `null`: none is known.
    pub cluster: Option<String>,
    /// Name of its real server; `null`: none is known.
    pub server: Option<String>,
    /// How many sessions of the client are remembered.
    pub sessions: u64,
    /// What happened, in order.
    pub events: Vec<ExplainedEvent>,
    /// The data connection that was expected; `null`: none that the verdict is about.
    pub expected: Option<String>,
    /// What came instead; `null` as above.
    pub came: Option<String>,
    /// `fine`, `no_syn`, `other_address`, …: the manual lists them.
    pub verdict: String,
    /// Whether something failed.
    pub failed: bool,
    /// The verdict in a sentence.
    pub sentence: String,
    /// What to do; `null`: nothing.
    pub cure: Option<String>,
}

/// One line of `Explanation`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedEvent {
    /// Seconds since the epoch.
    pub at: f64,
    /// What happened: printable ASCII, the server's words in quotation marks.
    pub text: String,
}

/// Every answer with a status of 400 or more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What was tried, what went wrong, what to do.
    pub error: String,
}

/// One line of `GET /trace`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Seconds since the epoch; 0 with `event: lost`.
    pub at: f64,
    /// `CLIENT:PORT>SERVER:PORT`, as in `replay --json`; empty with `event: lost`.
    pub session: String,
    /// Name of the cluster; empty with `event: lost`.
    pub cluster: String,
    /// Name of the real server; empty with `event: lost`.
    pub server: String,
    /// `open`, `command`, `reply`, `expect`, `transfer`, `rewrite`, `refuse`, `blind`, `unparsed`, `row`, `rows`, `used`,
    /// `expired`, `superseded`, `end`, `closed`, `lost`, …
    pub event: String,
    /// `verb`, `code`, `seq`, `ack`, `text`, `mode`, `address`, `port`, `set`, `key`, `value`, …: what the event has.
    #[serde(flatten)]
    pub fields: BTreeMap<String, serde_json::Value>,
}
