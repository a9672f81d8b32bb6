//! Answers for people: plain aligned columns, nothing but text.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use crate::api::{
    AdvertiseStatus, ClusterStatus, Connections, Drained, DrainedBy, ExpectationStatus, Pinhole, PinholeList, Server,
    ServerState, SessionStatus, Sessions, Status, Trace, UnresolvedServer,
};

/// Prints `ftpdirector status`: one table for each cluster.
#[must_use]
pub fn status(status: &Status) -> String {
    let Status { version, uptime_seconds, config, drift, sessions, pinholes, held, .. } = status;
    let up = span(Duration::from_secs(*uptime_seconds));
    let reload = if config.reload_good {
        "in force"
    } else {
        "THE LAST RELOAD FAILED: see the log; the old configuration is in force"
    };
    let mut text = format!(
        "ftpdirector {version}, up {up}\nconfiguration {}: {reload}\nsessions {sessions}, pinholes {pinholes}, held packets {held}, drift {drift}\n",
        config.file
    );
    if let Some(error) = &status.kernel_error {
        text.push_str(&format!("KERNEL: {error}\n"));
    }
    for cluster in &status.clusters {
        text.push('\n');
        text.push_str(&of_cluster(cluster));
    }
    text
}

fn of_cluster(cluster: &ClusterStatus) -> String {
    let list = |items: Vec<String>| items.join(" ");
    let vips = list(cluster.vips.iter().map(ToString::to_string).collect());
    let ports = list(cluster.ports.iter().map(ToString::to_string).collect());
    let heading = format!("{}: {vips} port {ports}, {}, {}\n", cluster.name, cluster.forwarding, cluster.scheduler);
    let header = [
        "SERVER",
        "ADDRESS",
        "STATE",
        "WEIGHT",
        "SESSIONS",
        "CONTROL",
        "CLOSING",
        "DATA",
        "CLOSING",
        "LANDED",
        "MISDIRECTED",
    ];
    let rows = cluster.servers.iter().map(|server| {
        let Server { weight, effective_weight, .. } = server;
        let weight =
            if weight == effective_weight { weight.to_string() } else { format!("{effective_weight} of {weight}") };
        let [control, data] = [server.control, server.data].map(columns);
        vec![
            server.name.clone(),
            server.address.to_string(),
            state(server).to_owned(),
            weight,
            server.sessions.to_string(),
            control.0,
            control.1,
            data.0,
            data.1,
            known(server.landed),
            known(server.misdirected),
        ]
    });
    let of_servers =
        cluster.servers.iter().flat_map(|server| [host(server), drain(server), failing(server), agent(server)]);
    let notes: String = of_servers.flatten().chain(cluster.unresolved.iter().map(left_out)).collect();
    let advertise = cluster.advertise.as_ref().map(advertises).unwrap_or_default();
    heading + &advertise + &table(&header, 3, rows) + &notes
}

/// The address that goes into 227s, where it follows an interface or a DNS name.
fn advertises(advertise: &AdvertiseStatus) -> String {
    let AdvertiseStatus { source, address, error } = advertise;
    let address = address.map_or_else(|| "the VIP".to_owned(), |address| address.to_string());
    let error = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    format!("advertises {address} ({source}{error})\n")
}

/// Where the address of a server comes from, unless its name says it; and what is wrong with that.
fn host(server: &Server) -> Option<String> {
    let (name, host) = (&server.name, server.host.as_ref()?);
    match &server.host_error {
        Some(error) => Some(format!("{name}: {host} has no usable address: {error}; the last one goes on\n")),
        None if host.trim_end_matches('.') == name => None,
        None => Some(format!("{name}: at the address of {host}\n")),
    }
}

/// A server whose name has no address.
fn left_out(UnresolvedServer { name, host, error }: &UnresolvedServer) -> String {
    format!("{name}: left out: {host} has no usable address: {error}\n")
}

/// Who keeps new sessions from a server.
fn drain(server: &Server) -> Option<String> {
    let Server { cluster, name, .. } = server;
    Some(match server.drained_by? {
        DrainedBy::File => format!("{name}: drained by the file: its weight there is 0\n"),
        DrainedBy::Administrator => {
            format!("{name}: drained by an administrator: ftpdirector undrain {cluster}/{name}\n")
        }
        DrainedBy::Agent => format!("{name}: drained by its agent\n"),
    })
}

/// What the agent on a server says, unless it is that all is well.
fn agent(server: &Server) -> Option<String> {
    let agent = server.agent.as_ref()?;
    let said = agent.said.as_ref().map_or_else(|| "has said nothing yet".to_owned(), |said| format!("says \"{said}\""));
    let name = &server.name;
    match &agent.error {
        Some(error) => {
            Some(format!("{name}: agent: does not answer: {error}; it {said}, and that goes on ({})\n", agent.standing))
        }
        None if agent.standing == "up" => None,
        None => Some(format!("{name}: agent: {said} ({})\n", agent.standing)),
    }
}

/// What the last health check of a server ran into.
fn failing(server: &Server) -> Option<String> {
    let health = server.health.as_ref()?;
    let error = health.error.as_ref()?;
    Some(format!("{}: health check: {}: {error}\n", server.name, health.step.as_deref().unwrap_or("-")))
}

/// Prints `ftpdirector sessions`: one line for each control connection.
#[must_use]
pub fn sessions(sessions: &Sessions) -> String {
    let header = ["CLIENT", "CLUSTER", "SERVER", "AGE", "IDLE", "COMMAND", "EXPECTS", "BLIND"];
    let rows = sessions.sessions.iter().map(|session| {
        vec![
            session.client.to_string(),
            session.cluster.clone(),
            session.server.clone(),
            seconds(session.age_seconds),
            seconds(session.idle_seconds),
            command(session),
            session.expectation.as_ref().map_or_else(|| "-".to_owned(), expects),
            session.blind.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let Sessions { total, matching, sessions } = sessions;
    table(&header, usize::MAX, rows) + &count(sessions.len(), (*matching, *total), "session")
}

fn command(session: &SessionStatus) -> String {
    let verb = session.verb.as_deref().unwrap_or("-");
    if session.pending == Some(true) { format!("{verb} (waits)") } else { verb.to_owned() }
}

fn expects(expectation: &ExpectationStatus) -> String {
    let ExpectationStatus { mode, port, remaining_seconds, used } = expectation;
    let port = port.map_or_else(|| "own range".to_owned(), |port| format!("port {port}"));
    let state = if *used { "came".to_owned() } else { format!("{remaining_seconds:.1} s left") };
    format!("{mode} {port}, {state}")
}

/// Prints `ftpdirector pinholes`: one line for each dynamic row.
#[must_use]
pub fn pinholes(pinholes: &PinholeList) -> String {
    let header = ["SET", "KEY", "VALUE", "SERVER", "LEFT", "SESSIONS"];
    let rows = pinholes.pinholes.iter().map(|row| {
        vec![
            row.set.clone(),
            row.key.clone(),
            row.value.clone().unwrap_or_else(|| "-".to_owned()),
            leads_to(row),
            row.remaining_seconds.map_or_else(|| "-".to_owned(), |left| format!("{left:.1} s")),
            row.sessions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        ]
    });
    let PinholeList { total, matching, pinholes } = pinholes;
    table(&header, usize::MAX, rows) + &count(pinholes.len(), (*matching, *total), "pinhole")
}

fn leads_to(row: &Pinhole) -> String {
    match (&row.cluster, &row.server) {
        (Some(cluster), Some(server)) => format!("{cluster}/{server}"),
        _ => "-".to_owned(),
    }
}

/// `ftpdirector drain` and `undrain`.
#[must_use]
pub fn drained(Drained { server }: &Drained) -> String {
    let name = format!("{}/{}", server.cluster, server.name);
    let left = left(server);
    match server.state {
        ServerState::Drained if server.weight == 0 => {
            format!("{name} gets no new sessions: its weight in the file is 0. {left}\n")
        }
        ServerState::Drained if server.drained_by == Some(DrainedBy::Agent) => {
            format!("{name} gets no new sessions: its agent drains it. {left}\n")
        }
        ServerState::Drained => format!(
            "{name} gets no new sessions; its live sessions go on, with new data connections too. {left}\n\
             to watch them end: watch ftpdirector status\nto end the drain: ftpdirector undrain {name}\n"
        ),
        ServerState::Down if server.agent.as_ref().is_some_and(|agent| agent.down) => {
            format!("{name} is no longer drained, but its agent says that it is down. {left}\n")
        }
        ServerState::Down => format!("{name} is no longer drained, but its health checks fail. {left}\n"),
        ServerState::Up => format!("{name} gets new sessions. {left}\n"),
    }
}

fn left(server: &Server) -> String {
    let sessions = plural(server.sessions, "session");
    match (server.control, server.data) {
        (Some(control), Some(data)) => format!(
            "It has {sessions} ({} established, {} closing), {}.",
            plural(control.active, "control connection"),
            control.inactive,
            plural(data.active, "data connection"),
        ),
        _ => format!("It has {sessions}; IPVS could not be asked."),
    }
}

/// One line of `ftpdirector trace`; times are UTC.
#[must_use]
pub fn trace(trace: &Trace) -> String {
    if trace.event == "lost" {
        let count = trace.fields.get("count").and_then(Value::as_u64).unwrap_or_default();
        return format!("… {count} events lost");
    }
    let fields = trace.fields.iter().map(|(name, value)| match value {
        Value::String(text) if name == "text" => format!("{text:?}"),
        Value::String(text) if text.contains(' ') => format!("{name}=({text})"),
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    });
    let fields: String = fields.map(|field| format!(" {field}")).collect();
    let Trace { session, cluster, server, event, .. } = trace;
    let client = session.split_once('>').map_or(session.as_str(), |(client, _)| client);
    format!("{} {client} {cluster}/{server} {event}{fields}", time_of_day(trace.at))
}

pub(super) fn time_of_day(at: f64) -> String {
    let at = Duration::try_from_secs_f64(at).unwrap_or_default();
    let (seconds, ms) = (at.as_secs() % 86_400, at.subsec_millis());
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Columns two blanks apart; the first `numbers` columns are flush left, the others flush right.
fn table(header: &[&str], numbers: usize, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied()).add_rows(rows);
    for (position, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if position >= numbers {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn columns(connections: Option<Connections>) -> (String, String) {
    let active = known(connections.map(|connections| connections.active));
    (active, known(connections.map(|connections| connections.inactive)))
}

fn known(count: Option<u64>) -> String {
    count.map_or_else(|| "?".to_owned(), |count| count.to_string())
}

pub(super) const fn state(server: &Server) -> &'static str {
    match server.state {
        ServerState::Up if server.full => "full",
        ServerState::Up => "up",
        ServerState::Down => "down",
        ServerState::Drained => "drained",
    }
}

/// How many there are, and what of them is not shown.
fn count(shown: usize, (matching, total): (Option<u64>, u64), what: &str) -> String {
    let matching = matching.unwrap_or(total);
    let mut text = if matching == total { String::new() } else { format!("{matching} of ") };
    text.push_str(&plural(total, what));
    if u64::try_from(shown).is_ok_and(|shown| shown < matching) {
        text.push_str(&format!(
            ", the first {shown} shown: --limit shows more, --client, --cluster and --server choose"
        ));
    }
    text + "\n"
}

fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn seconds(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// A duration in its two largest units.
pub(super) fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        seconds @ 3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        seconds => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod manual;
#[cfg(test)]
mod tests;
