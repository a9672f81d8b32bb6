//! One cluster: what it is, the charts of its last hour, its servers.

use super::chart::charts;
use super::html::Html;
use super::seen::{SERVERS, Seen};
use super::troubles::{failing, is_down};
use super::words::{counted, plural, since};
use crate::api::{ClusterStatus, DrainedBy, HealthStatus, Server, ServerState};

/// Adds the section of a cluster, `number` of those on the page.
pub fn section(page: &mut Html, seen: &Seen<'_>, number: usize, cluster: &ClusterStatus) {
    page.markup("<section aria-labelledby=\"cluster-").text(number).markup("\">\n<h2 id=\"cluster-").text(number);
    page.element(("\">", "</h2>\n"), &cluster.name);
    let list = |items: Vec<String>| items.join(", ");
    let vips = list(cluster.vips.iter().map(ToString::to_string).collect());
    let ports = list(cluster.ports.iter().map(ToString::to_string).collect());
    let what = format!("{vips}, port {ports}, {}, {}", cluster.forwarding, cluster.scheduler);
    page.element(("<p class=\"quiet\">", "</p>\n"), what);
    match seen.hour.of(&cluster.name, seen.at) {
        Some(hour) => charts(page, number, &hour),
        None => {
            page.markup(
                "<p class=\"quiet\">No history is kept of this cluster: of the first ones of the file alone.</p>\n",
            );
        }
    }
    servers(page, seen, cluster);
    page.markup("</section>\n");
}

fn servers(page: &mut Html, seen: &Seen<'_>, cluster: &ClusterStatus) {
    page.markup("<table>\n<caption>Real servers of ").text(&cluster.name).markup("</caption>\n<thead><tr>");
    page.markup("<th scope=\"col\">Server</th><th scope=\"col\">State</th><th scope=\"col\" class=\"n\">Sessions</th>");
    page.markup("<th scope=\"col\" class=\"n\">Landed</th><th scope=\"col\" class=\"n\">Misdirected</th></tr></thead>\n<tbody>\n");
    let mut shown: Vec<&Server> = cluster.servers.iter().collect();
    let more = shown.len().saturating_sub(SERVERS);
    if more > 0 {
        // What is well can be left out.
        shown.sort_by_key(|server| !is_down(server));
        shown.truncate(SERVERS);
    }
    for server in shown {
        row(page, seen, server);
    }
    page.markup("</tbody></table>\n");
    if more > 0 {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        page.markup("<p class=\"quiet\">").text(plural(more, "more server"));
        page.markup(", none of them worse: <code>ftpdirector status</code></p>\n");
    }
}

/// One line, and one across below it of what the health checks say: a phone has no room beside the numbers.
fn row(page: &mut Html, seen: &Seen<'_>, server: &Server) {
    let opened =
        if server.health.is_some() { "<tr><th scope=\"row\" rowspan=\"2\">" } else { "<tr><th scope=\"row\">" };
    page.element((opened, "</th><td>"), &server.name);
    let (class, name) = match server.state {
        ServerState::Up => ("<span class=\"state up\">", "up"),
        ServerState::Down => ("<span class=\"state down\">", "down"),
        ServerState::Drained => ("<span class=\"state drained\">", "drained"),
    };
    page.element((class, "</span>"), name);
    page.element((" <span class=\"quiet weight\">", "</span>"), weight(server) + more(server));
    number(page, Some(server.sessions), false);
    number(page, server.landed, false);
    number(page, server.misdirected, server.misdirected.is_some_and(|count| count > 0));
    page.markup("</td></tr>\n");
    if let Some(health) = &server.health {
        page.markup("<tr class=\"checked\"><td colspan=\"4\">");
        if let Some(why) = failing(server) {
            page.element(("<span class=\"why\">", "</span><br>"), why);
        }
        page.element(("<span class=\"quiet\">", "</span></td></tr>\n"), checked(health, seen.now));
    }
}

fn number(page: &mut Html, number: Option<u64>, bad: bool) {
    page.markup(if bad { "</td><td class=\"n bad\">" } else { "</td><td class=\"n\">" });
    page.text(number.map_or_else(|| "?".to_owned(), counted));
}

fn weight(server: &Server) -> String {
    let Server { weight, effective_weight, .. } = server;
    if weight == effective_weight {
        format!("weight {weight}")
    } else {
        format!("weight {effective_weight} of {weight}")
    }
}

/// What more there is to say of a state.
fn more(server: &Server) -> &'static str {
    match (server.drained_by, server.full) {
        (Some(DrainedBy::Agent), _) => ", by its agent",
        (None, true) => ", full",
        _ => "",
    }
}

/// Since when a server is what it is, and how long its last health check took.
fn checked(health: &HealthStatus, now: f64) -> String {
    let took: f64 = health.seconds.values().sum();
    let took = if took < 1.0 { format!("{:.0} ms", took * 1000.0) } else { format!("{took:.1} s") };
    format!("{} for {}, last check {took}", health.state, since(health.since, now))
}
