//! argv → one subcommand → exit code.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use ftpdirector::facade::cli::{self, Cli, Command, Shown};
use ftpdirector::facade::client::top::{self, TopOptions};
use ftpdirector::facade::client::{self, Ask, ClientError, Format, Wanted};
use ftpdirector::facade::config::{self, DEFAULT_SOCKET, LogFormat, LogLevel, Parsed, Problem, ServerByName};
use ftpdirector::facade::daemon::{self, OnExit, Plan, Reconciler, RunError};
use ftpdirector::facade::files::{self, FileError};
use ftpdirector::facade::import::{self, ImportError};
use ftpdirector::facade::lvs::ForwardingMethod;
use ftpdirector::facade::{doctor, replay, resolver};

/// Exit codes, beside clap's 2 for usage: sysexits.h.
const FOUND: u8 = 1;
const INTERNAL: u8 = 70;
const CONFIG: u8 = 78;

/// How long a command waits for name servers.
const NAMES: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { subject, flush_on_exit } => run(subject.path(), flush_on_exit),
        Command::Check(subject) => check(subject.path()),
        Command::Config { printed, .. } if printed.schema => print(config::SCHEMA, ExitCode::SUCCESS),
        Command::Config { subject, .. } => with_config(subject.path(), effective),
        Command::Plan(subject) => plan(subject.path()),
        Command::Flush(subject) => with_config(subject.path(), flush),
        Command::Doctor { subject, json } => examine(subject.path(), json),
        Command::Replay { capture, forwarding, ports, json } => replay_capture(&capture, forwarding, ports, json),
        Command::Import { files, format } => import_files(&files, format),
        Command::Status(shown) => ask(&shown, &Ask::Status),
        Command::Top { delay, iterations, batch, cluster, sort, file, socket } => {
            top(&file, socket, &TopOptions { delay, pages: iterations, batch, cluster, order: sort })
        }
        Command::Sessions(cli::Listing { wanted, limit, shown }) => {
            ask(&shown, &Ask::Sessions(narrowed(wanted, Some(limit))))
        }
        Command::Pinholes(cli::Listing { wanted, limit, shown }) => {
            ask(&shown, &Ask::Pinholes(narrowed(wanted, Some(limit))))
        }
        Command::Trace { wanted, limit, shown } => ask(&shown, &Ask::Trace(narrowed(wanted, limit))),
        Command::Explain { client, shown } => ask(&shown, &Ask::Explain(client)),
        Command::Drain { server, shown } => ask(&shown, &Ask::Drain(server)),
        Command::Undrain { server, shown } => ask(&shown, &Ask::Undrain(server)),
        Command::Reload(shown) => ask(&shown, &Ask::Reload),
    }
}

/// Reads and checks a file and what it includes; says what is wrong.
fn read(path: &Path) -> Result<Parsed, String> {
    let parsed = parsed(path)?;
    warn(&parsed.warnings);
    Ok(parsed)
}

fn parsed(path: &Path) -> Result<Parsed, String> {
    files::read(path).map_err(|error| refused(&error))
}

fn warn(warnings: &[Problem]) {
    for warning in warnings {
        complain(&warning.to_string());
    }
}

/// Not `eprintln!`, which panics when the disk of the daemon's log is full, or nobody reads any more (`check 2>&1 | head`).
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn refused(error: &FileError) -> String {
    match error {
        FileError::Unreadable { error: kind, .. } if kind.kind() == io::ErrorKind::IsADirectory => {
            format!("{error}: name a file in it")
        }
        FileError::Unreadable { error: kind, .. } if kind.kind() == io::ErrorKind::PermissionDenied => {
            format!("{error}: run it with sudo; the daemon, user ftpdirector, must be able to read it too")
        }
        FileError::Unreadable { file, .. } if file == "-" => {
            format!("{error}: standard input is /dev/stdin here")
        }
        FileError::Unreadable { file, .. } if file == cli::CONFIG_FILE => {
            format!("{error}: name the file: ftpdirector check FILE")
        }
        FileError::Unreadable { .. } => format!("{error}: correct its name"),
        FileError::Wrong { .. } => error.to_string(),
    }
}

fn with_config(path: &Path, then: impl FnOnce(&Parsed) -> ExitCode) -> ExitCode {
    match read(path) {
        Ok(parsed) => then(&parsed),
        Err(problems) => {
            complain(&problems);
            ExitCode::from(CONFIG)
        }
    }
}

fn check(path: &Path) -> ExitCode {
    let parsed = match parsed(path) {
        Ok(parsed) => parsed,
        Err(problems) => {
            complain(&problems);
            return ExitCode::from(CONFIG);
        }
    };
    warn(&parsed.warnings);
    warn(&daemon::unusable(&parsed.named));
    let answers = resolver::all(&parsed.by_name.hosts(), NAMES);
    let servers = resolver::resolve(&parsed, &answers, None, &BTreeSet::new()).servers;
    unresolved(path, &servers, "until it has one, a daemon that starts leaves the server out");
    let config = parsed.by_name.whole(&parsed.config);
    let count = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    let clusters = count(config.clusters.len(), "cluster");
    let servers = count(config.clusters.iter().map(|cluster| cluster.real_servers.len()).sum(), "real server");
    print(&format!("{}: good: {clusters}, {servers}\n", path.display()), ExitCode::SUCCESS)
}

/// Names are no part of the file: what they stand for may be known tomorrow.
fn unresolved(path: &Path, servers: &[ServerByName], meanwhile: &str) {
    for complaint in servers.iter().filter_map(ServerByName::complaint) {
        let cure = "cure: correct the name, or add it to the DNS or to /etc/hosts";
        complain(&format!("{}: warning: {complaint}: {meanwhile}\n      {cure}", path.display()));
    }
}

fn effective(parsed: &Parsed) -> ExitCode {
    match config::effective(&parsed.config, &parsed.by_name) {
        Ok(text) => print(&text, ExitCode::SUCCESS),
        Err(error) => {
            complain(&format!("ftpdirector: {error}"));
            ExitCode::from(INTERNAL)
        }
    }
}

fn run(path: &Path, flush_on_exit: bool) -> ExitCode {
    let on_exit = if flush_on_exit { OnExit::Flush } else { OnExit::KeepRows };
    with_config(path, |parsed| {
        log(&parsed.config.log);
        match daemon::run(parsed.clone(), path, on_exit, || read(path)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        }
    })
}

fn plan(path: &Path) -> ExitCode {
    with_config(path, |parsed| {
        let answers = resolver::all(&parsed.by_name.hosts(), NAMES);
        match Reconciler::connect(&parsed.config).and_then(|mut kernel| kernel.plan(parsed, &answers)) {
            Ok((plan, servers)) => {
                let meanwhile = "left out here; a daemon that runs goes on with its last address";
                unresolved(path, &servers, meanwhile);
                print_plan(&plan)
            }
            Err(errors) => failed(&RunError::Kernel(errors)),
        }
    })
}

fn print_plan(plan: &Plan) -> ExitCode {
    let notes = plan.notes.harm.iter().chain(&plan.notes.quiescing).map(|note| format!("# {note}\n"));
    let rules = plan.rules.iter().map(|rules| format!("nft -f - <<'EOF'\n{rules}EOF\n"));
    let text: String = notes.chain(rules).chain(plan.words().map(|words| words + "\n")).collect();
    print(&text, if plan.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

fn flush(parsed: &Parsed) -> ExitCode {
    let flushed = daemon::flush(&parsed.config);
    if flushed.errors.is_empty() {
        print(&format!("{flushed}\n"), ExitCode::SUCCESS)
    } else {
        failed(&RunError::Kernel(flushed.errors))
    }
}

fn examine(path: &Path, json: bool) -> ExitCode {
    let report = doctor::examine(&doctor::gather(path));
    let text = match report.json() {
        Ok(lines) if json => lines,
        _ => report.to_string(),
    };
    print(&text, if report.fatal() { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

/// Not `print!`, which panics when the disk is full or nobody reads any more (`ftpdirector plan | head`).
fn print(text: &str, code: ExitCode) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => code,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => answered(Err(ClientError::Output(error))),
    }
}

fn replay_capture(capture: &Path, forwarding: ForwardingMethod, ports: Vec<u16>, json: bool) -> ExitCode {
    let format = if json { replay::ReportFormat::Json } else { replay::ReportFormat::Text };
    let ports = if ports.is_empty() { vec![21, 990] } else { ports };
    let options = replay::ReplayOptions { forwarding, format, ports };
    let unreadable = |error: &dyn Display| {
        complain(&format!("ftpdirector: {}: {error}", capture.display()));
        ExitCode::from(FOUND)
    };
    let file: Box<dyn Read + Send> = if capture == Path::new("-") {
        Box::new(io::stdin())
    } else if capture.is_dir() {
        return unreadable(&"is a directory: name a pcap or pcapng file");
    } else {
        match File::open(capture) {
            Ok(file) => Box::new(BufReader::new(file)),
            Err(error) => return unreadable(&error),
        }
    };
    match replay::run(file, &options, &mut io::stdout().lock()) {
        Ok(summary) => {
            // On stderr, where it stands in no program's way.
            for hint in summary.hints(&options.ports) {
                complain(&format!("ftpdirector: {hint}"));
            }
            ExitCode::SUCCESS
        }
        Err(replay::ReplayError::Output(error)) => answered(Err(ClientError::Output(error))),
        Err(error) => unreadable(&error),
    }
}

fn import_files(files: &[PathBuf], format: Option<import::Format>) -> ExitCode {
    match import::run(files, format) {
        Ok(imported) => {
            for sentence in imported.said {
                // On stderr, where it does not get into the file.
                complain(&format!("ftpdirector: {sentence}"));
            }
            print(&imported.text, ExitCode::SUCCESS)
        }
        Err(error) => {
            complain(&format!("ftpdirector: {error}"));
            ExitCode::from(if matches!(error, ImportError::Nothing(_)) { FOUND } else { CONFIG })
        }
    }
}

fn top(file: &cli::File, socket: Option<PathBuf>, options: &TopOptions) -> ExitCode {
    with_socket(file, socket, |socket| answered(top::run(socket, options)))
}

fn with_socket(file: &cli::File, named: Option<PathBuf>, then: impl FnOnce(&Path) -> ExitCode) -> ExitCode {
    let known = named.map_or_else(|| files::read(&file.config).map(|parsed| parsed.config.admin.socket), Ok);
    match known {
        Ok(socket) => then(&socket),
        // Members of the socket's group need not be able to read the file.
        Err(error) if error.unread() && Path::new(DEFAULT_SOCKET).exists() => then(Path::new(DEFAULT_SOCKET)),
        Err(error) => {
            complain(&format!("{}\nftpdirector: or name the daemon's socket: --socket PATH", refused(&error)));
            ExitCode::from(CONFIG)
        }
    }
}

fn narrowed(wanted: cli::Wanted, limit: Option<u32>) -> Wanted {
    let cli::Wanted { client, cluster, server } = wanted;
    Wanted { client, cluster, server, limit }
}

fn ask(shown: &Shown, ask: &Ask) -> ExitCode {
    let format = if shown.json { Format::Json } else { Format::Text };
    // Written at once: whoever reads a trace through a pipe wants each line when it happens.
    let print = |text: &str| {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    };
    with_socket(&shown.file, shown.socket.clone(), |socket| answered(client::run(socket, ask, format, print)))
}

fn answered(result: Result<(), ClientError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // `ftpdirector trace | head`, and so with `replay`
        Err(ClientError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("ftpdirector: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn failed(error: &RunError) -> ExitCode {
    complain(&format!("ftpdirector: {error}"));
    ExitCode::from(error.exit_code())
}

fn log(log: &config::Log) {
    let level = match log.level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    // A line that cannot be written (disk full, journald gone) is lost; to complain about it on stderr would panic.
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    let lines = lines.with_target(false).log_internal_errors(false);
    match log.format {
        LogFormat::Text => lines.with_ansi(false).init(),
        LogFormat::Json => lines.json().init(),
    }
}
