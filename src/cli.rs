//! The command line: what `main` parses, and what completions and manual pages are made of.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use crate::client::top::Order;
use crate::lvs::ForwardingMethod;

/// Makes FTP work on Linux Virtual Server: every data connection, active or passive, lands on the real server of its
/// control connection.
#[derive(Debug, Parser)]
#[command(name = "ftpdirector", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0; 1 problems found (plan: there are changes; drain, reload: the daemon refused); \
2 usage; 69 the kernel lacks something, something is in the way or no daemon answers; 70 internal error; 77 no permission; \
78 configuration.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The daemon. SIGHUP reads the file again; SIGTERM leaves the kernel rows, so that transfers go on.
    Run {
        /// The configuration.
        #[command(flatten)]
        file: File,
        /// Take every row away on SIGTERM.
        #[arg(long)]
        flush_on_exit: bool,
    },
    /// All problems of a file, with line, column, key and cure.
    Check(File),
    /// What `run` or a reload would change in this kernel, in ipvsadm, nft and ip words; changes nothing. Lines that begin
    /// with `#` say beforehand what live sessions will notice, and who leaves only with the last connection.
    Plan(File),
    /// Removes every row that ftpdirector owns, and nothing else.
    Flush(File),
    /// Examines the machine for what breaks FTP on IPVS, each finding with its cure; changes nothing. Exit 1 if one is fatal.
    Doctor {
        /// The configuration.
        #[command(flatten)]
        file: File,
        /// One JSON object a line, the worst first: severity (fatal, warning, note; for a check that found nothing good, or
        /// unknown when it could not look), check, what, evidence, consequence, cure.
        #[arg(long)]
        json: bool,
    },
    /// What the inspector would do with a capture, offline; no privileges.
    Replay {
        /// A pcap or pcapng file.
        #[arg(value_name = "FILE")]
        capture: PathBuf,
        /// What the director would see: both halves (nat), or the client's alone (dr, tun).
        #[arg(long, value_name = "METHOD", default_value = "nat", value_parser = forwarding)]
        forwarding: ForwardingMethod,
        /// One object a line.
        #[arg(long)]
        json: bool,
    },
    /// Clusters and servers of the running daemon: state, weight, sessions, IPVS's connections, landings.
    Status(Shown),
    /// Clusters and servers of the running daemon, live: sessions, new ones, data connections and bytes a second.
    ///
    /// On a terminal `q` ends it, `c` shows one cluster after the other, `f`, `s`, `n`, `d`, `b` and `m` sort by file, sessions, new
    /// sessions, data connections, bytes and misdirected data connections, arrows scroll, space looks at once. What is
    /// misdirected, down or wrong is red, a drained server yellow (NO_COLOR: neither). Without a terminal one page is printed.
    Top {
        /// From one look to the next, in seconds.
        #[arg(short, long, value_name = "SECONDS", default_value = "2", value_parser = delay)]
        delay: Duration,
        /// So many pages, then end. Otherwise for ever, and without a terminal one.
        #[arg(short = 'n', long, value_name = "COUNT")]
        iterations: Option<NonZeroU32>,
        /// Pages one after the other as plain text, also on a terminal.
        #[arg(short, long)]
        batch: bool,
        /// Only this cluster.
        #[arg(long, value_name = "NAME")]
        cluster: Option<String>,
        /// Sorted by: file, sessions, new, data, bytes, misdirected.
        #[arg(long, value_name = "ORDER", default_value = "file", value_parser = order(), hide_possible_values = true)]
        sort: Order,
        /// The configuration.
        #[command(flatten)]
        file: File,
        /// The daemon's socket; default: what the configuration says.
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
    /// The control connections that the running daemon follows.
    Sessions(Shown),
    /// The dynamic rows in the kernel, and the sessions that they are there for.
    Pinholes(Shown),
    /// A live account of each command, reply, expectation, row and landing, until interrupted. Times are UTC.
    Trace {
        /// Only sessions of this client.
        #[arg(long, value_name = "ADDR")]
        client: Option<IpAddr>,
        /// Only sessions on this server: NAME or CLUSTER/NAME.
        #[arg(long, value_name = "NAME")]
        server: Option<String>,
        /// Which daemon, and how its answer is shown.
        #[command(flatten)]
        shown: Shown,
    },
    /// A server takes no new sessions; those it has go on. Outlives restarts and reloads.
    Drain {
        /// CLUSTER/SERVER
        #[arg(value_name = "CLUSTER/SERVER", value_parser = cluster_and_server)]
        server: String,
        /// Which daemon, and how its answer is shown.
        #[command(flatten)]
        shown: Shown,
    },
    /// A drained server takes new sessions again.
    Undrain {
        /// CLUSTER/SERVER
        #[arg(value_name = "CLUSTER/SERVER", value_parser = cluster_and_server)]
        server: String,
        /// Which daemon, and how its answer is shown.
        #[command(flatten)]
        shown: Shown,
    },
    /// The running daemon reads its file again; if anything is wrong with it the old configuration goes on.
    Reload(Shown),
}

/// The configuration file.
#[derive(Debug, Args)]
pub struct File {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/ftpdirector/config.yaml")]
    pub config: PathBuf,
}

/// Which daemon, and how its answer is shown.
#[derive(Debug, Args)]
pub struct Shown {
    /// The configuration.
    #[command(flatten)]
    pub file: File,
    /// The daemon's socket; default: what the configuration says.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// JSON, one object a line.
    #[arg(long)]
    pub json: bool,
}

fn cluster_and_server(text: &str) -> Result<String, &'static str> {
    let named = text.split_once('/').is_some_and(|(cluster, server)| !cluster.is_empty() && !server.is_empty());
    if named { Ok(text.to_owned()) } else { Err("write CLUSTER/SERVER, as `ftpdirector status` shows them") }
}

fn delay(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or("0.1 to 3600 seconds")
}

/// Named one by one, for completions.
fn order() -> impl TypedValueParser<Value = Order> {
    let named = |text: String| Order::ALL.iter().find(|(.., name)| *name == text).map(|(order, ..)| *order);
    let names = PossibleValuesParser::new(Order::ALL.map(|(.., name)| name));
    names.try_map(move |text| named(text).ok_or("file, sessions, new, data, bytes or misdirected"))
}

fn forwarding(text: &str) -> Result<ForwardingMethod, &'static str> {
    let named = ForwardingMethod::NAMED.into_iter().find(|(name, _)| *name == text);
    named.map(|(_, method)| method).ok_or("nat, dr or tun")
}
