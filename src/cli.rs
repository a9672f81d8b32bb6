//! The command line: what `main` parses, and what completions and manual pages are made of.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    /// What `run` or a reload would change in this kernel, in ipvsadm and nft words; changes nothing. Lines that begin with
    /// `#` say beforehand what live sessions will notice, and who leaves only with the last connection.
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

fn forwarding(text: &str) -> Result<ForwardingMethod, &'static str> {
    match text {
        "nat" => Ok(ForwardingMethod::Nat),
        "dr" => Ok(ForwardingMethod::Dr),
        "tun" => Ok(ForwardingMethod::Tun),
        _ => Err("nat, dr or tun"),
    }
}
