//! `http://…:9786/`, a page for people: what is known in, HTML out. No clock, no socket, and no script in the browser.
//!
//! It shows names of the configuration, counts and the steps of health checks. No address of a client, no name of a user, and
//! no words of a server get here: everyone who reaches `metrics.listen` can read it.
//!
//! ```text
//! api::Status ─┐
//! Hour ────────┼─▶ render ─▶ text of bounded length
//! findings ────┘
//! ```

mod chart;
mod cluster;
mod hour;
mod html;
#[cfg(test)]
pub mod sample;
mod seen;
mod troubles;
mod words;

use std::collections::BTreeSet;
use std::time::Duration;

pub use hour::{Counter, Counts, Hour};
pub use seen::Seen;

use crate::api::{ClusterStatus, ServerState};
use hour::{LastHour, total};
use html::Html;
use seen::CLUSTERS;
use troubles::{Grade, Trouble, troubles};
use words::{counted, plural, span, time_of_day};

/// For light and dark; its variables are the colors.
const STYLE: &str = include_str!("style.css");

/// The page.
#[must_use]
pub fn render(seen: &Seen<'_>) -> String {
    let mut page = Html::default();
    page.markup("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.markup("<meta name=\"color-scheme\" content=\"light dark\">\n<meta http-equiv=\"refresh\" content=\"15\">\n");
    let host = if seen.host.is_empty() { "ftpdirector".to_owned() } else { format!("ftpdirector on {}", seen.host) };
    let (troubles, more) = troubles(seen);
    // The tab of a browser tells it too.
    let sign = if troubles.is_empty() { "" } else { "⚠ " };
    page.markup("<title>")
        .text(sign)
        .text(&host)
        .markup("</title>\n<style>\n")
        .markup(STYLE)
        .markup("</style>\n</head>\n<body>\n");
    page.element(("<header><h1>", "</h1>\n"), &host);
    summary(&mut page, seen);
    page.markup("</header>\n<main>\n");
    wrong(&mut page, &troubles, more);
    clusters(&mut page, seen);
    page.markup("</main>\n");
    footer(&mut page, seen);
    page.markup("</body>\n</html>\n");
    page.into_string()
}

/// The numbers of the director as a whole.
fn summary(page: &mut Html, seen: &Seen<'_>) {
    let status = seen.status;
    let servers = || status.clusters.iter().flat_map(|cluster| &cluster.servers);
    let up = servers().filter(|server| server.state == ServerState::Up).count();
    let size = |count: usize| counted(u64::try_from(count).unwrap_or(u64::MAX));
    // One that has left a VIP is listed twice.
    let names: BTreeSet<&str> = status.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    let hours: Vec<LastHour> = names.into_iter().filter_map(|name| seen.hour.of(name, seen.at)).collect();
    let sum = |counters: &[Counter]| {
        let each = hours.iter().flat_map(|hour| counters.iter().map(move |&counter| total(hour, counter)));
        counted(each.fold(0, u64::saturating_add))
    };
    let numbers = [
        ("Sessions", counted(status.sessions)),
        ("Servers up", format!("{} of {}", size(up), size(servers().count()))),
        ("Data connections, 1 h", sum(&[Counter::Came])),
        ("Failures, 1 h", sum(&Counter::FAILURES)),
        ("Clusters", size(status.clusters.len())),
        ("Running for", span(Duration::from_secs(status.uptime_seconds))),
    ];
    page.markup("<dl class=\"numbers\">\n");
    for (name, value) in numbers {
        page.markup("<div>").element(("<dt>", "</dt>"), name).element(("<dd>", "</dd>"), value).markup("</div>\n");
    }
    page.markup("</dl>\n");
}

fn wrong(page: &mut Html, troubles: &[Trouble], more: usize) {
    if troubles.is_empty() {
        page.markup("<p class=\"well\">All is well.</p>\n");
        return;
    }
    page.markup("<ul class=\"wrong\">\n");
    for Trouble { grade, whose, what } in troubles {
        page.markup(match grade {
            Grade::Alarm => "<li class=\"alarm\"><span class=\"grade\">Alarm</span> ",
            Grade::Warning => "<li class=\"warning\"><span class=\"grade\">Warning</span> ",
        });
        if !whose.is_empty() {
            page.element(("<b>", "</b> "), whose);
        }
        page.text(what).markup("</li>\n");
    }
    if more > 0 {
        page.markup("<li>").text(format_args!("{more} more: ")).markup("<code>ftpdirector status</code></li>\n");
    }
    page.markup("</ul>\n");
}

fn clusters(page: &mut Html, seen: &Seen<'_>) {
    let mut shown: Vec<&ClusterStatus> = seen.status.clusters.iter().collect();
    let more = shown.len().saturating_sub(CLUSTERS);
    if more > 0 {
        // What is well can be left out.
        shown.sort_by_key(|cluster| !cluster.servers.iter().any(troubles::is_down));
        shown.truncate(CLUSTERS);
    }
    for (number, cluster) in shown.into_iter().enumerate() {
        cluster::section(page, seen, number, cluster);
    }
    if more > 0 {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        page.markup("<p class=\"quiet\">").text(plural(more, "more cluster"));
        page.markup(", of which <code>ftpdirector status</code> tells.</p>\n");
    }
}

fn footer(page: &mut Html, seen: &Seen<'_>) {
    page.markup("<footer><p>Made at ").text(time_of_day(seen.now));
    page.markup(", made anew every 15 seconds; charts move once a minute. ftpdirector ").text(&seen.status.version);
    page.markup(". The same for machines: <a href=\"/metrics\">/metrics</a>, <a href=\"/healthz\">/healthz</a>, ");
    page.markup("<a href=\"/readyz\">/readyz</a>.</p></footer>\n");
}

#[cfg(test)]
mod tests;
