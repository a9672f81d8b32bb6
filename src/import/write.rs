//! Clusters → our YAML, with comments between the keys.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::check;
use super::draft::{Draft, DraftServer};
use super::page::Page;
use super::ranges::{Passive, Ranges};
use super::text::shown;
use crate::lvs::ForwardingMethod;

/// The lines to put into a server are written for so many of them.
const EXPLAINED: usize = 64;

/// A cluster as an item of `clusters`.
pub(super) fn cluster(draft: &Draft, name: &str, ranges: &Ranges) -> String {
    let mut page = Page::default();
    for (place, written) in draft.sources.iter().take(EXPLAINED) {
        page.comment(2, &format!("From {place}: {written}"));
    }
    page.remarks(2, &draft.remarks);
    page.entry(2, "- ", "name", &name);
    page.entry(2, "  ", "vips", &draft.vips);
    if let Some(interface) = &draft.interface {
        page.comment(4, "The old program put the VIP there itself; without this key another one has to.");
        page.entry(2, "  ", "vip_interface", interface);
    }
    page.entry(2, "  ", "ports", &draft.ports);
    page.entry(2, "  ", "forwarding", &draft.forwarding.name());
    page.entry(2, "  ", "scheduler", &draft.scheduler);
    passive(&mut page, draft, ranges);
    if let Some((address, port)) = draft.sorry {
        let written = match (port, address) {
            (None, address) => address.to_string(),
            (Some(port), IpAddr::V4(address)) => format!("{address}:{port}"),
            (Some(port), IpAddr::V6(address)) => format!("[{address}]:{port}"),
        };
        page.comment(4, "It takes control connections only: a 421, or a banner that says when the servers are back.");
        page.entry(2, "  ", "sorry_server", &written);
    }
    check::write(&mut page, draft);
    page.text.push_str("    real_servers:\n");
    for server in &draft.servers {
        real_server(&mut page, server, ranges);
    }
    page.text
}

fn real_server(page: &mut Page, server: &DraftServer, ranges: &Ranges) {
    page.remarks(6, &server.remarks);
    let kept = server.max_sessions.filter(|_| ranges.persistence == 0);
    if let Some(sessions) = server.max_sessions.filter(|_| kept.is_none()) {
        page.comment(
            6,
            &format!(
                "LEFT OUT: max_sessions: {sessions}: with persistence IPVS counts data connections too; `check` refuses both together."
            ),
        );
    }
    match &server.name {
        Some(name) => {
            page.entry(6, "- ", "name", name);
            page.entry(6, "  ", "address", &server.address);
        }
        None => page.entry(6, "- ", "address", &server.address),
    }
    if let Some(port) = server.port {
        page.entry(6, "  ", "port", &port);
    }
    page.entry(6, "  ", "weight", &server.weight);
    if let Some(sessions) = kept {
        page.entry(6, "  ", "max_sessions", &sessions);
    }
    if let Some(range) = ranges.proposals.get(&server.machine) {
        match ranges.passive {
            Passive::Own => page.entry(6, "  ", "passive_ports", &range.to_string()),
            Passive::Known(_) | Passive::Open => page.entry_as_comment(8, "passive_ports", &range.to_string()),
        }
    }
}

/// What the passive ranges are, what is to be done in the servers, and what became of persistence.
fn passive(page: &mut Page, draft: &Draft, ranges: &Ranges) {
    let method = draft.forwarding.name();
    match ranges.passive {
        Passive::Known(range) => {
            if ranges.persistence > 0 {
                page.comment(
                    4,
                    "As the old set-up has it, from its marks: the servers need no change, and each client address has one server for all \
                     of its sessions. Better: give every server the slice of the range below, then take the comment signs \
                     off `passive_ports` and delete `persistence` and `passive`. Users behind one address are spread then.",
                );
                page.entry(2, "  ", "persistence", &format!("{}s", ranges.persistence));
            } else {
                lost_persistence(page, draft);
                page.comment(
                    4,
                    "The range is that of the old marks: the servers need no change. Better: give every server the slice of the range \
                     below, then take the comment signs off `passive_ports` and delete `passive`.",
                );
            }
            page.entry(2, "  ", "passive", &BTreeMap::from([("ports", range.to_string())]));
        }
        Passive::Open => {
            lost_persistence(page, draft);
            page.comment(
                4,
                "GUESS: these files do not tell the passive ports of the servers. The director reads them in the replies, so that this works \
                 with the servers as they are (`ftpdirector check` warns of it). Better, and needed for TLS: give every server the range \
                 below, then take the comment signs off `passive_ports`.",
            );
        }
        Passive::Own if draft.forwarding == ForwardingMethod::Nat => {
            lost_persistence(page, draft);
            page.comment(
                4,
                "GUESS: these files do not tell the passive ports of the servers, which have to be known where a control port is above 1023, or \
                 where several clusters have one VIP. BEFORE you switch, give every server the range below (the old set-up works with it \
                 too), or write the one here that it has.",
            );
        }
        Passive::Own => {
            lost_persistence(page, draft);
            let whence = if draft.range.is_some() {
                "which server has which passive ports"
            } else {
                "the passive ports of the servers"
            };
            page.comment(
                4,
                &format!(
                    "GUESS: these files do not tell {whence}, and in {method} the director does not see them in the replies. BEFORE you \
                     switch, give every server the range below (the old set-up works with it too), or write the one here that it has."
                ),
            );
        }
    }
    into_the_servers(page, draft, ranges);
}

/// Persistence that is not carried over.
fn lost_persistence(page: &mut Page, draft: &Draft) {
    if draft.persistence > 0 {
        page.comment(
            4,
            &format!(
                "LEFT OUT: persistence of {} s. It kept the data connections of a client with its control connection, and with them all \
                 users behind one address on one server. Here each data connection is steered by itself.",
                draft.persistence
            ),
        );
    }
}

/// The lines to put into each server.
fn into_the_servers(page: &mut Page, draft: &Draft, ranges: &Ranges) {
    let mut told = Vec::new();
    for server in &draft.servers {
        let Some(range) = ranges.proposals.get(&server.machine).filter(|_| !told.contains(&server.machine)) else {
            continue;
        };
        if told.len() == EXPLAINED {
            return page.comment(4, "  … and so on, each with the range of its `passive_ports`.");
        }
        told.push(server.machine);
        let (first, last) = (range.first(), range.last());
        let who = server.name.as_deref().map_or_else(|| server.address.to_string(), shown);
        page.verbatim(4, &format!("  {who}"));
        page.verbatim(4, &format!("    vsftpd     pasv_min_port={first}"));
        page.verbatim(4, &format!("               pasv_max_port={last}"));
        page.verbatim(4, &format!("    ProFTPD    PassivePorts {first} {last}"));
        page.verbatim(
            4,
            &format!(
                "    Pure-FTPd  -p {first}:{last}  (Debian: echo {first} {last} > /etc/pure-ftpd/conf/PassivePortRange)"
            ),
        );
    }
}

/// The text of a cluster as a comment: what keeps it from being used stands above.
pub(super) fn held_back(cluster: &str, why: &[String]) -> String {
    let mut page = Page::default();
    page.comment(2, "NOT WRITTEN, for `ftpdirector check` would refuse it:");
    for why in why {
        page.comment(2, &format!("  {}", shown(why)));
    }
    for line in cluster.lines() {
        page.verbatim(2, line.strip_prefix("  ").unwrap_or(line));
    }
    page.text
}
