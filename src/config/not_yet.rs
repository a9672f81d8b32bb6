//! What the schema has and this release does not: refused by name, never ignored.
//!
//! Whoever builds a feature deletes its row.

use super::check::Checker;
use super::tree::{Kind, Node};

/// When a row applies to a value.
enum When {
    /// It is a mapping.
    Mapping,
}

/// Key path, when, what does not exist yet, the cure.
const NOT_YET: &[(&str, When, &str, &str)] = &[
    (
        "clusters[].passive.advertise",
        When::Mapping,
        "an advertised address that follows changes",
        "vip or an IPv4 address",
    ),
];

/// Refuses what does not work yet.
pub(super) fn not_yet(checker: &Checker<'_, '_>) {
    for (pattern, when, what, cure) in NOT_YET {
        visit(checker.root(), pattern, String::new(), &mut |path, node| {
            if when.applies(node) && checker.sound(path) {
                checker.error(path, format!("{what} is not implemented yet"), *cure);
            }
        });
    }
}

impl When {
    fn applies(&self, node: &Node) -> bool {
        match (self, &node.kind) {
            (Self::Mapping, Kind::Map(_)) => true,
            _ => false,
        }
    }
}

/// Calls `found` for every value at `pattern`; `[]` stands for every item of a list.
fn visit(node: &Node, pattern: &str, path: String, found: &mut dyn FnMut(&str, &Node)) {
    if let Some(rest) = pattern.strip_prefix("[]") {
        if let Kind::List(items) = &node.kind {
            for (index, item) in items.iter().enumerate() {
                visit(item, rest, format!("{path}[{index}]"), found);
            }
        }
        return;
    }
    let pattern = pattern.trim_start_matches('.');
    if pattern.is_empty() {
        found(&path, node);
        return;
    }
    let (key, rest) = pattern.split_at(pattern.find(['.', '[']).unwrap_or(pattern.len()));
    if let Some(value) = node.child(key) {
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        visit(value, rest, path, found);
    }
}
