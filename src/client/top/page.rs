//! One page: what is known in, lines out. No terminal, no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::text;
use super::rates::{Rate, Sample, rates};
use crate::api::{ClusterStatus, Server, ServerState, Status};

/// By what the servers of a cluster are sorted; numbers with the largest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As in the file.
    #[default]
    File,
    /// Sessions that the daemon follows.
    Sessions,
    /// New sessions a second.
    New,
    /// Data connections a second.
    Data,
    /// Bytes a second, both directions.
    Bytes,
    /// First packets of data connections that went to another server.
    Misdirected,
}

impl Order {
    /// Each order with its key on a terminal and its name for `--sort`.
    pub const ALL: [(Self, char, &'static str); 6] = [
        (Self::File, 'f', "file"),
        (Self::Sessions, 's', "sessions"),
        (Self::New, 'n', "new"),
        (Self::Data, 'd', "data"),
        (Self::Bytes, 'b', "bytes"),
        (Self::Misdirected, 'm', "misdirected"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(order, ..)| *order == self).map_or("", |(.., name)| name)
    }
}

/// How a piece of text is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Ordinary text, in the terminal's colours.
    Plain,
    /// Black on white, or what the terminal shows for reverse video.
    Reverse,
    /// The heading of a cluster.
    Bold,
    /// Misdirected data connections, servers that are down, errors: red.
    Alarm,
    /// A state that an operator chose, like drained or full: yellow.
    Notice,
}

/// Pieces of text, side by side.
pub type Line = Vec<(Paint, String)>;

/// What the user chose to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageView {
    /// The only cluster that is shown; `None`: all.
    pub cluster: Option<String>,
    /// The order of the servers.
    pub order: Order,
    /// The first line of the list.
    pub first: usize,
}

/// What a page is made of.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The latest answer of the daemon.
    pub now: &'a Sample,
    /// The answer before, for rates; `None` on the first page.
    pub before: Option<&'a Sample>,
    /// Why the latest answer is out of date: the error of the requests since; `None`: it is not.
    pub lost: Option<&'a str>,
}

/// The columns after the name: heading, width.
const COLUMNS: [(&str, usize); 9] = [
    ("STATE", 7),
    ("WEIGHT", 6),
    ("SESS", 5),
    ("NEW/s", 6),
    ("DATA", 5),
    ("DATA/s", 6),
    ("IN/s", 6),
    ("OUT/s", 6),
    ("MISDIR", 6),
];

/// The least width of the name column: with it a page is 80 wide.
const NAME: usize = 18;

/// Lines above the list, with the heading of its columns.
const ABOVE: usize = 4;

/// A page for a terminal of this size: exactly `height` lines, the last one for the keys.
#[must_use]
pub fn screen(known: &Known<'_>, view: &PageView, (width, height): (usize, usize)) -> Vec<Line> {
    let mut lines = above(known, width);
    let list = list(known, view, width);
    let room = height.saturating_sub(ABOVE + 1);
    let first = view.first.min(list.len().saturating_sub(room));
    let below = list.len().saturating_sub(first + room);
    lines.extend(list.into_iter().skip(first).take(room));
    lines.resize(height.saturating_sub(1), Line::new());
    lines.push(vec![(Paint::Reverse, fit(&keys(view, below), width))]);
    lines.truncate(height);
    lines.into_iter().map(|line| cut(line, width)).collect()
}

/// The whole page, however long; its columns are as wide as `width` lets them.
#[must_use]
pub fn whole(known: &Known<'_>, view: &PageView, width: usize) -> Vec<Line> {
    let mut lines = above(known, width);
    lines.extend(list(known, view, width));
    lines
}

/// How many lines the list has.
#[must_use]
pub fn length(known: &Known<'_>, view: &PageView) -> usize {
    list(known, view, 0).len()
}

/// The width of a page with room for names of `name` characters.
#[must_use]
pub fn width_for(name: usize) -> usize {
    COLUMNS.iter().map(|(_, width)| width + 1).sum::<usize>() + name.max(NAME)
}

fn above(known: &Known<'_>, width: usize) -> Vec<Line> {
    let Status { version, uptime_seconds, config, drift, kernel_error, sessions, pinholes, held, .. } =
        &known.now.status;
    let up = text::span(Duration::from_secs(*uptime_seconds));
    let first =
        format!("ftpdirector {version}, up {up}: {sessions} sessions, {pinholes} pinholes, {held} held, drift {drift}");
    let second = if config.reload_good {
        (Paint::Plain, config.file.clone())
    } else {
        (Paint::Alarm, format!("{}: THE LAST RELOAD FAILED, the configuration before it goes on", config.file))
    };
    let third = match (known.lost, kernel_error) {
        (Some(lost), _) => (Paint::Alarm, format!("trying again: {lost}")),
        (None, Some(error)) => (Paint::Alarm, format!("KERNEL: {error}")),
        (None, None) => (Paint::Plain, String::new()),
    };
    let clean = |(paint, text): (Paint, String)| vec![(paint, clean(&text))];
    let header = row("NAME", &COLUMNS.map(|(heading, _)| heading.to_owned()), width);
    vec![clean((Paint::Plain, first)), clean(second), clean(third), vec![(Paint::Reverse, header)]]
}

fn keys(view: &PageView, below: usize) -> String {
    let cluster = view.cluster.as_deref().unwrap_or("all");
    let keys: Vec<String> = Order::ALL.iter().map(|(_, key, _)| key.to_string()).collect();
    let more = if below > 0 { format!("  {below} more below: arrows") } else { String::new() };
    format!("q quit  c cluster: {cluster}  sorted by {}: {}{more}", view.order.name(), keys.join(" "))
}

fn list(known: &Known<'_>, view: &PageView, width: usize) -> Vec<Line> {
    let rates = known.before.map(|before| rates(before, known.now)).unwrap_or_default();
    let clusters = known.now.status.clusters.iter();
    let shown = clusters.filter(|cluster| view.cluster.as_ref().is_none_or(|name| *name == cluster.name));
    shown.flat_map(|cluster| of_cluster(cluster, &rates, view.order, width)).collect()
}

type Rates = BTreeMap<(String, String), Rate>;

fn of_cluster(cluster: &ClusterStatus, rates: &Rates, order: Order, width: usize) -> Vec<Line> {
    let rate = |server: &Server| rates.get(&(server.cluster.clone(), server.name.clone())).copied();
    let mut servers: Vec<(&Server, Option<Rate>)> =
        cluster.servers.iter().map(|server| (server, rate(server))).collect();
    servers.sort_by(|(a, a_rate), (b, b_rate)| {
        weight(b, b_rate.unwrap_or_default(), order).total_cmp(&weight(a, a_rate.unwrap_or_default(), order))
    });
    let mut lines = vec![summary(cluster, &servers, width)];
    for (server, rate) in servers {
        lines.push(of_server(cluster, server, rate, width));
        if let Some(health) = &server.health
            && let Some(error) = &health.error
        {
            let step = health.step.as_deref().unwrap_or("-");
            lines.push(vec![(Paint::Alarm, clean(&format!("    health check: {step}: {error}")))]);
        }
    }
    lines
}

/// What a server is sorted by.
fn weight(server: &Server, rate: Rate, order: Order) -> f64 {
    match order {
        Order::File => 0.0,
        Order::Sessions => server.sessions as f64,
        Order::New => rate.sessions,
        Order::Data => rate.data,
        Order::Bytes => rate.bytes_in + rate.bytes_out,
        Order::Misdirected => server.misdirected.unwrap_or_default() as f64,
    }
}

fn summary(cluster: &ClusterStatus, servers: &[(&Server, Option<Rate>)], width: usize) -> Line {
    let up = servers.iter().filter(|(server, _)| server.state == ServerState::Up).count();
    let mut all = None;
    for rate in servers.iter().filter_map(|(_, rate)| *rate) {
        *all.get_or_insert_with(Rate::default) += rate;
    }
    let sum = |of: fn(&Server) -> Option<u64>| {
        servers.iter().map(|(server, _)| of(server)).try_fold(0_u64, |sum, one| Some(sum.saturating_add(one?)))
    };
    let cells = cells(Cells {
        state: format!("{up}/{} up", servers.len()),
        weight: String::new(),
        sessions: sum(|server| Some(server.sessions)),
        data: sum(|server| server.data.map(|data| data.active)),
        misdirected: sum(|server| server.misdirected),
        rate: all,
        replies_seen: cluster.forwarding == "nat",
    });
    let name = format!("{} {}", cluster.name, cluster.forwarding);
    let state = if up == 0 { Paint::Alarm } else { Paint::Bold };
    painted(&name, &cells, (Paint::Bold, state), width)
}

fn of_server(cluster: &ClusterStatus, server: &Server, rate: Option<Rate>, width: usize) -> Line {
    let cells = cells(Cells {
        state: text::state(server).to_owned(),
        weight: count(u64::from(server.effective_weight)),
        sessions: Some(server.sessions),
        data: server.data.map(|data| data.active),
        misdirected: server.misdirected,
        rate,
        replies_seen: cluster.forwarding == "nat",
    });
    let state = match server.state {
        ServerState::Up if server.full => Paint::Notice,
        ServerState::Up => Paint::Plain,
        ServerState::Down => Paint::Alarm,
        ServerState::Drained => Paint::Notice,
    };
    painted(&format!("  {}", server.name), &cells, (Paint::Plain, state), width)
}

struct Cells {
    state: String,
    weight: String,
    sessions: Option<u64>,
    data: Option<u64>,
    misdirected: Option<u64>,
    rate: Option<Rate>,
    replies_seen: bool,
}

fn cells(of: Cells) -> [String; 9] {
    let known = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), count);
    let rate = |of: Option<f64>| of.map_or_else(|| "-".to_owned(), each_second);
    let bytes = |of: Option<f64>| of.map_or_else(|| "-".to_owned(), |bytes| short(bytes.round()));
    let bytes_out = of.rate.filter(|_| of.replies_seen).map(|rate| rate.bytes_out);
    [
        of.state,
        of.weight,
        known(of.sessions),
        rate(of.rate.map(|rate| rate.sessions)),
        known(of.data),
        rate(of.rate.map(|rate| rate.data)),
        bytes(of.rate.map(|rate| rate.bytes_in)),
        bytes(bytes_out),
        known(of.misdirected),
    ]
}

/// The row in pieces: the state in its own colour; counts that should be 0 and are not in red.
fn painted(name: &str, cells: &[String; 9], (paint, state): (Paint, Paint), width: usize) -> Line {
    let text = row(name, cells, width);
    let from_end = |columns: &[(&str, usize)]| columns.iter().map(|(_, width)| width + 1).sum::<usize>();
    let total = text.chars().count();
    let begin = total - from_end(&COLUMNS);
    let end = begin + 1 + COLUMNS[0].1;
    let last = total - from_end(&COLUMNS[8..]);
    let piece = |from: usize, to: usize| text.chars().skip(from).take(to - from).collect::<String>();
    let misdirected = if matches!(cells[8].as_str(), "0" | "?") { paint } else { Paint::Alarm };
    vec![
        (paint, piece(0, begin)),
        (state, piece(begin, end)),
        (paint, piece(end, last)),
        (misdirected, piece(last, total)),
    ]
}

/// A name, and cells that are flush right but for the first.
fn row(name: &str, cells: &[String; 9], width: usize) -> String {
    let mut text = fit(&clean(name), NAME + width.saturating_sub(width_for(NAME)));
    for (number, (cell, (_, width))) in cells.iter().zip(COLUMNS).enumerate() {
        text.push(' ');
        text.push_str(&if number == 0 { fit(cell, width) } else { format!("{cell:>width$}") });
    }
    text
}

/// `text`, cut or padded to `width` columns.
fn fit(text: &str, width: usize) -> String {
    format!("{:width$}", clip(text, width))
}

/// `text`, cut to `width` columns.
fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain((width > 0).then_some('~')).collect()
}

/// A line, cut to the width of the terminal.
fn cut(line: Line, mut room: usize) -> Line {
    let cut = line.into_iter().map(|(paint, text)| {
        let text = clip(&text, room);
        room -= text.chars().count();
        (paint, text)
    });
    cut.collect()
}

/// `text` without control characters: a server's own words must not steer the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn each_second(rate: f64) -> String {
    if rate < 99.95 { format!("{rate:.1}") } else { short(rate.round()) }
}

fn count(number: u64) -> String {
    short(number as f64)
}

/// A number in at most five characters: 12345, 123k, 1.2M, 12M, …
fn short(number: f64) -> String {
    const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    if number < 99_999.5 {
        return format!("{number:.0}");
    }
    let (mut number, mut unit) = (number, 0);
    while number >= 999.5 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1000.0, unit + 1);
    }
    let name = UNITS[unit];
    if number < 9.95 { format!("{number:.1}{name}") } else { format!("{number:.0}{name}") }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
