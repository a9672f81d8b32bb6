//! `defaults`: what every cluster says that does not say otherwise.

use super::file::OF_ONE_CLUSTER;
use super::problem::{Collector, Source, Wrong};
use super::tree::{Entry, Node, NodeKind};

/// So many values are put into clusters at most: every key into each of sixteen thousand.
const VALUES: usize = 1_000_000;
/// So many keys of a mapping are looked at: more than there are, so that a file of nonsense costs no more than it is long.
const KEYS: usize = 256;
/// A value counts once more for so many bytes of text.
const BYTES: usize = 64;

/// Puts what `defaults` has into every cluster. A key of the cluster's own stays, `null` too; of `passive` and `health_check`, which
/// are mappings, each key on its own.
pub(super) fn fill(root: &mut Node, report: &Collector<'_>) {
    let Some(defaults) = root.child("defaults") else {
        if report.is_cut(root.place) && report.has_line("defaults:") {
            unfinished(root, report);
        }
        return;
    };
    let place = defaults.place;
    if report.is_cut(place) {
        unfinished(root, report);
    }
    let common = defaults.entries().iter().filter(|entry| !OF_ONE_CLUSTER.keys.contains(&entry.key.as_str()));
    let common: Vec<Entry> = common.take(KEYS).map(of_defaults).collect();
    let NodeKind::Map(entries) = &mut root.kind else { return };
    let Some(clusters) = entries.iter_mut().find(|entry| entry.key == "clusters") else { return };
    let NodeKind::List(clusters) = &mut clusters.value.kind else { return };
    let weight: usize = common.iter().map(|entry| weight(&entry.value)).sum();
    if weight.saturating_mul(clusters.len()) > VALUES {
        let what = format!("so much for each of {} clusters is too much", clusters.len());
        report.error(place, "defaults", Wrong::new(what, "shorter lists, or split the file over more directors"));
        return;
    }
    for cluster in clusters {
        if let NodeKind::Map(own) = &mut cluster.kind {
            complete(own, &common);
        }
    }
}

/// What the clusters lack may stand where the text could not be read.
fn unfinished(root: &Node, report: &Collector<'_>) {
    let Some(Node { kind: NodeKind::List(clusters), .. }) = root.child("clusters") else { return };
    for (index, cluster) in clusters.iter().enumerate() {
        report.cut(cluster.place, Some(&format!("clusters[{index}]")));
    }
}

fn complete(own: &mut Vec<Entry>, common: &[Entry]) {
    for default in common {
        match own.iter_mut().find(|entry| entry.key == default.key).map(|entry| &mut entry.value.kind) {
            None => own.push(default.clone()),
            // One level: a mapping in these is one value, like `advertise: {dns: ftp.example.net}`.
            Some(NodeKind::Map(keys)) => {
                let missing = |key: &&Entry| keys.iter().all(|own| own.key != key.key);
                let missing: Vec<Entry> = default.value.entries().iter().take(KEYS).filter(missing).cloned().collect();
                keys.extend(missing);
            }
            Some(_) => {}
        }
    }
}

/// The entry, and that it is of `defaults`. (The tree is no deeper than YAML may be here.)
fn of_defaults(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    entry.place.source = Source::Defaults;
    mark(&mut entry.value);
    entry
}

fn mark(node: &mut Node) {
    node.place.source = Source::Defaults;
    match &mut node.kind {
        NodeKind::List(items) => items.iter_mut().for_each(mark),
        NodeKind::Map(entries) => {
            for entry in entries {
                entry.place.source = Source::Defaults;
                mark(&mut entry.value);
            }
        }
        _ => {}
    }
}

/// How many values a value is.
fn weight(node: &Node) -> usize {
    1 + match &node.kind {
        NodeKind::Plain(text) | NodeKind::Quoted(text) => text.len() / BYTES,
        NodeKind::List(items) => items.iter().map(weight).sum(),
        NodeKind::Map(entries) => entries.iter().map(|entry| weight(&entry.value) + entry.key.len() / BYTES).sum(),
        NodeKind::Null | NodeKind::Refused => 0,
    }
}

#[cfg(test)]
mod tests;
