//! The command line: what `main` parses, and what completions and manual pages are made of.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;

use crate::client::top::Order;
use crate::config::Format;
use crate::director::Whom;
use crate::lvs::ForwardingMethod;

/// Makes FTP work on Linux Virtual Server: every data connection, active or passive, lands on the real server of its
/// control connection.
#[derive(Debug, Parser)]
#[command(name = "ftpdirector", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The configuration file, where none is named.
pub const CONFIG_FILE: &str = "/etc/ftpdirector/config.yaml";

const EXIT_CODES: &str = "Exit codes: 0 success; 1 problems found (plan: the kernel would change; \
drain, undrain, reload: the daemon refused; replay: the capture cannot be read; doctor: a finding is fatal; import: there is no \
FTP service to write); 2 wrong usage; \
69 a kernel feature is missing, another program is in the way, or no daemon answers; 70 internal error; \
77 no permission; 78 mistakes in the configuration (import: a file cannot be read, or is in no format that it knows).";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground. SIGHUP reloads the configuration; SIGTERM leaves all rows in the kernel, so that
    /// transfers go on.
    Run {
        /// The configuration file.
        #[command(flatten)]
        subject: Subject,
        /// Remove all rows from the kernel on SIGTERM, as `flush` does.
        #[arg(long)]
        flush_on_exit: bool,
    },
    /// Check the configuration file, with the files that it includes: every problem with its line, column, key and remedy. Warnings, also of a password or
    /// certificate file that is not there, leave the exit code at 0.
    Check(Subject),
    /// Print the configuration with every default, as one file; or the JSON Schema of the configuration file, for editors.
    Config {
        /// The configuration file.
        #[command(flatten)]
        subject: Subject,
        /// What is printed.
        #[command(flatten)]
        printed: Printed,
    },
    /// Show what `run` or a reload would change in this kernel, as ipvsadm, nft and ip commands; changes nothing. Lines that
    /// begin with `#` warn of what live sessions will notice, and name the servers and ports that stay until their last
    /// connection ends.
    Plan(Subject),
    /// Remove every row that ftpdirector owns from the kernel, and nothing else. Live sessions break. IPVS's timeouts stay as
    /// `kernel.timeouts` set them.
    Flush(Subject),
    /// Examine this machine for settings that break FTP on IPVS, each finding with its remedy; changes nothing. Exit code 1 if
    /// a finding is fatal.
    Doctor {
        /// The configuration file.
        #[command(flatten)]
        subject: Subject,
        /// Print one JSON object per line, the most severe first. Keys: severity (fatal, warning or note; good when a check
        /// found nothing wrong; unknown when it could not be made), check, what, evidence, consequence, cure.
        #[arg(long)]
        json: bool,
    },
    /// Show what the daemon would do with the FTP sessions of a packet capture, offline and without privileges. If there is
    /// none at the control ports, standard error names the ports that look like FTP.
    Replay {
        /// The capture, a pcap or pcapng file; - is standard input (tcpdump -w -).
        #[arg(value_name = "FILE")]
        capture: PathBuf,
        /// The forwarding method (nat, dr or tun): in nat the director sees both directions of a control connection, in dr
        /// and tun only what the client sends.
        #[arg(long, value_name = "METHOD", default_value = "nat", value_parser = forwarding(), hide_possible_values = true)]
        forwarding: ForwardingMethod,
        /// A control port; several as a list with commas, or by repeating the option. 990 means implicit TLS. Default: 21 and
        /// 990.
        #[arg(long = "port", value_name = "PORT", value_delimiter = ',', value_parser = port)]
        ports: Vec<u16>,
        /// Print JSON, one object per line.
        #[arg(long)]
        json: bool,
    },
    /// Write the FTP services of other programs as a configuration file of ftpdirector, on standard output. Reads keepalived.conf,
    /// ldirectord.cf, Piranha's lvs.cf, what `ipvsadm -S -n`, `iptables-save` and `nft list ruleset` print, and shell scripts that
    /// call these programs. What the files do not say is a comment that begins with GUESS, what is left out of them one that begins
    /// with LEFT OUT; an FTP service that cannot be written is a comment that begins with NOT WRITTEN, with the reason. Where firewall marks are used, give the rules that set them too. Changes nothing.
    Import {
        /// A file to read, at most 1 MiB; `-` is standard input. keepalived.conf is read with the files that it includes.
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// The format of the files, keepalived, ldirectord, piranha, ipvsadm, nft or iptables, where import does not know it by sight.
        #[arg(long = "from", value_name = "FORMAT", value_parser = format(), hide_possible_values = true)]
        format: Option<Format>,
    },
    /// Show the clusters and real servers of the running daemon: state, weight, sessions, IPVS connections, and data
    /// connections that landed.
    Status(Shown),
    /// Show the clusters and real servers of the running daemon, live: sessions, and new sessions, data connections and bytes
    /// per second.
    ///
    /// Keys on a terminal: `q` quits, `c` shows the next cluster alone, arrows scroll, space refreshes the page at once; `f`,
    /// `s`, `n`, `d`, `b` and `m` sort by order in the file, sessions, new sessions, data connections, bytes and misdirected
    /// data connections. Misdirected data connections, servers that are down and errors are red, drained servers yellow (no
    /// colours if NO_COLOR is set). Without a terminal one page is printed.
    Top {
        /// Time between two pages, in seconds, 0.1 to 3600.
        #[arg(short, long, value_name = "SECONDS", default_value = "2", value_parser = delay)]
        delay: Duration,
        /// Exit after COUNT pages. Default: no limit on a terminal, one page otherwise.
        #[arg(short = 'n', long, value_name = "COUNT", value_parser = pages)]
        iterations: Option<NonZeroU32>,
        /// Print the pages one after the other as plain text, also on a terminal.
        #[arg(short, long)]
        batch: bool,
        /// Show only this cluster.
        #[arg(long, value_name = "NAME")]
        cluster: Option<String>,
        /// Sort the servers by file, sessions, new, data, bytes or misdirected.
        #[arg(long, value_name = "ORDER", default_value = "file", value_parser = order(), hide_possible_values = true)]
        sort: Order,
        /// The configuration file.
        #[command(flatten)]
        file: File,
        /// The admin socket of the daemon. Default: admin.socket of the configuration; if the file cannot be read,
        /// /run/ftpdirector/admin.sock.
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
    /// List the control connections that the running daemon follows.
    Sessions(Listing),
    /// List the pinholes in the kernel, each with the session that it is for.
    Pinholes(Listing),
    /// Follow FTP sessions live, until interrupted: each command, reply, expected data connection, row in the kernel, and data
    /// connection that landed. Times are UTC.
    Trace {
        /// The sessions to follow.
        #[command(flatten)]
        wanted: Wanted,
        /// Exit after COUNT events.
        #[arg(long, value_name = "COUNT", value_parser = at_least_one)]
        limit: Option<u32>,
        /// The running daemon and the format of its answer.
        #[command(flatten)]
        shown: Shown,
    },
    /// Explain why a client's transfer failed: what the client did, which data connection was expected, what came instead, a
    /// verdict, and the remedy. Of the last session that failed, or of the last one at all. What happened is remembered for a
    /// day at most, also of sessions that have ended. Times are UTC.
    Explain {
        /// The client's address, its address and port (192.0.2.7:40000, [2001:db8::7]:40000), or `last` for the last session
        /// with a failure.
        #[arg(value_name = "CLIENT", value_parser = whom)]
        client: String,
        /// The running daemon and the format of its answer.
        #[command(flatten)]
        shown: Shown,
    },
    /// Drain a real server: it gets no new sessions, and its live sessions go on. Holds across restarts and reloads.
    Drain {
        /// The real server, as `ftpdirector status` shows it.
        #[arg(value_name = "CLUSTER/SERVER", value_parser = cluster_and_server)]
        server: String,
        /// The running daemon and the format of its answer.
        #[command(flatten)]
        shown: Shown,
    },
    /// End the drain of a real server: it gets new sessions again, unless its weight is 0 or it is down.
    Undrain {
        /// The real server, as `ftpdirector status` shows it.
        #[arg(value_name = "CLUSTER/SERVER", value_parser = cluster_and_server)]
        server: String,
        /// The running daemon and the format of its answer.
        #[command(flatten)]
        shown: Shown,
    },
    /// Reload the configuration file of the running daemon. If the file has a mistake, the old configuration stays in force.
    Reload(Shown),
}

/// The configuration file.
#[derive(Debug, Args)]
pub struct File {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = CONFIG_FILE)]
    pub config: PathBuf,
}

/// What `config` prints.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Printed {
    /// Print the configuration as one file, with the clusters of included files, with `defaults` in every cluster, and with
    /// every key that is at its default. Passwords are not in it.
    #[arg(long)]
    pub effective: bool,
    /// Print the JSON Schema of the configuration file.
    #[arg(long)]
    pub schema: bool,
}

/// The configuration file of a command that is about it: an argument, or the option of all commands.
#[derive(Debug, Args)]
pub struct Subject {
    /// The configuration file, instead of `--config`.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    argument: Option<PathBuf>,
    #[command(flatten)]
    file: File,
}

impl Subject {
    /// The file that was named, or the default.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.argument.as_ref().unwrap_or(&self.file.config)
    }
}

/// The sessions that a list or a trace is for.
#[derive(Debug, Args)]
pub struct Wanted {
    /// Show only the sessions of this client address, or of this network.
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = network)]
    pub client: Option<IpNet>,
    /// Show only the sessions of this cluster.
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Show only the sessions of this real server: NAME or CLUSTER/NAME.
    #[arg(long, value_name = "NAME")]
    pub server: Option<String>,
}

/// The options of the commands that list sessions or what belongs to them.
#[derive(Debug, Args)]
pub struct Listing {
    /// The sessions that it is about.
    #[command(flatten)]
    pub wanted: Wanted,
    /// List at most COUNT of them, 1 to 100000.
    #[arg(long, value_name = "COUNT", default_value = "10000", value_parser = listed)]
    pub limit: u32,
    /// The running daemon and the format of its answer.
    #[command(flatten)]
    pub shown: Shown,
}

/// The options of every command that asks the running daemon.
#[derive(Debug, Args)]
pub struct Shown {
    /// The configuration file.
    #[command(flatten)]
    pub file: File,
    /// The admin socket of the daemon. Default: admin.socket of the configuration; if the file cannot be read,
    /// /run/ftpdirector/admin.sock.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print JSON, one object per line.
    #[arg(long)]
    pub json: bool,
}

fn port(text: &str) -> Result<u16, &'static str> {
    text.parse().ok().filter(|port| *port > 0).ok_or("write a port number, 1 to 65535")
}

fn at_least_one(text: &str) -> Result<u32, &'static str> {
    text.parse().ok().filter(|count| *count > 0).ok_or("write a number, at least 1")
}

fn pages(text: &str) -> Result<NonZeroU32, &'static str> {
    text.parse().map_err(|_| "write a number, at least 1")
}

fn listed(text: &str) -> Result<u32, &'static str> {
    text.parse().ok().filter(|count| (1..=100_000).contains(count)).ok_or("write a number, 1 to 100000")
}

fn cluster_and_server(text: &str) -> Result<String, &'static str> {
    let named = text.split_once('/').is_some_and(|(cluster, server)| !cluster.is_empty() && !server.is_empty());
    if named { Ok(text.to_owned()) } else { Err("write CLUSTER/SERVER, as `ftpdirector status` shows them") }
}

fn whom(text: &str) -> Result<String, &'static str> {
    text.parse::<Whom>().map(|_| text.to_owned())
}

fn network(text: &str) -> Result<IpNet, &'static str> {
    let one = text.parse::<IpAddr>().map(IpNet::from);
    one.or_else(|_| text.parse()).map_err(|_| "write an address (192.0.2.7) or a network (192.0.2.0/24, 2001:db8::/64)")
}

fn delay(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or("write a number of seconds, 0.1 to 3600")
}

/// Listed one by one, so that shell completions know them.
fn order() -> impl TypedValueParser<Value = Order> {
    let named = |text: String| Order::ALL.iter().find(|(.., name)| *name == text).map(|(order, ..)| *order);
    let names = PossibleValuesParser::new(Order::ALL.map(|(.., name)| name));
    names.try_map(move |text| named(text).ok_or("write file, sessions, new, data, bytes or misdirected"))
}

/// Listed one by one, so that shell completions know them.
fn format() -> impl TypedValueParser<Value = Format> {
    let named = |text: String| Format::NAMED.into_iter().find(|(name, _)| *name == text).map(|(_, format)| format);
    let names = PossibleValuesParser::new(Format::NAMED.map(|(name, _)| name));
    names.try_map(move |text| named(text).ok_or("write keepalived, ldirectord, piranha, ipvsadm, nft or iptables"))
}

fn forwarding() -> impl TypedValueParser<Value = ForwardingMethod> {
    let named =
        |text: String| ForwardingMethod::NAMED.iter().find(|(name, _)| *name == text).map(|(_, method)| *method);
    let names = PossibleValuesParser::new(ForwardingMethod::NAMED.map(|(name, _)| name));
    names.try_map(move |text| named(text).ok_or("write nat, dr or tun"))
}
