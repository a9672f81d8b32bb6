//! `include`: which files it means, and their clusters among those of the main file.

use std::path::{Path, PathBuf};

use super::problem::{Collector, Place, ProblemSeverity, Source, Wrong, quoted};
use super::section::{Elsewhere, Section};
use super::tree::{Entry, Node, NodeKind, start};
use super::value::{self, Read};

/// The keys of the main file that an included one cannot have.
const OF_THE_MAIN_FILE: Elsewhere = Elsewhere {
    keys: &["defaults", "include", "limits", "kernel", "metrics", "admin", "log"],
    what: "belongs in the main file: an included file has `clusters:` alone",
    cure: "write it there",
};

/// One item of `include`: a file, or a pattern for the names of files in one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncludePattern {
    /// Which item of the list, from 0.
    pub item: usize,
    /// Absolute, or relative to the directory of the including file; empty: that directory.
    pub directory: PathBuf,
    /// The file's name, or a pattern with `*`, `?` and `[…]` for it.
    pub name: String,
    /// Whether the name is a pattern: none needs to match it.
    pub pattern: Option<glob::Pattern>,
}

impl IncludePattern {
    /// Whether a file of this name in the directory is meant. Hidden files are meant only by patterns that begin with a dot.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
        self.pattern.as_ref().map_or(self.name == name, |pattern| pattern.matches_with(name, options))
    }
}

/// A file that an item of `include` led to, or why it did not.
#[derive(Clone, Debug)]
pub struct Included {
    /// Which item of the list, from 0.
    pub item: usize,
    /// The file's name, for the problems.
    pub file: String,
    /// The file as it was read from disk.
    pub content: Result<Vec<u8>, Unread>,
}

/// Why a file is not there.
#[derive(Clone, Debug)]
pub struct Unread {
    /// Whether the configuration can be used without it.
    pub severity: ProblemSeverity,
    /// What is wrong, after the name of the file.
    pub what: String,
    /// What to do.
    pub cure: String,
}

/// An item of `include`, not knowing which.
pub(super) fn pattern(node: &Node) -> Read<IncludePattern> {
    const CURE: &str = "a file or a pattern, like clusters.d/*.yaml";
    let text = value::text(node, CURE)?;
    if text.contains(value::breaks) {
        return Err(Wrong::new(format!("{} is no path", quoted(text)), CURE));
    }
    let (directory, name) = text
        .rsplit_once('/')
        .map_or(("", text), |(directory, name)| (if directory.is_empty() { "/" } else { directory }, name));
    if matches!(name, "" | "." | "..") {
        let all = format!("{}/*.yaml", text.trim_end_matches('/'));
        return Err(Wrong::new(format!("{} is a directory", quoted(text)), format!("the files in it: {all}")));
    }
    if directory.contains(WILD) {
        let what = format!("{} is a pattern for directories", quoted(text));
        return Err(Wrong::new(what, "`*`, `?` and `[…]` after the last `/` only; an item for each directory"));
    }
    let wild = name.contains(WILD).then(|| glob::Pattern::new(name)).transpose();
    let pattern = wild.map_err(|error| Wrong::new(format!("{} is no pattern: {}", quoted(text), error.msg), CURE))?;
    Ok(IncludePattern { item: 0, directory: Path::new(directory).to_owned(), name: name.to_owned(), pattern })
}

const WILD: [char; 3] = ['*', '?', '['];

/// The items of a main file's `include` that can be followed.
pub(super) fn patterns(root: &Node, report: &Collector<'_>) -> Vec<IncludePattern> {
    let items = Section::new(String::new(), root, report).list("include", pattern).unwrap_or_default();
    items.into_iter().map(|(item, pattern)| IncludePattern { item, ..pattern }).collect()
}

/// Says why an included file could not be read, where it is included.
pub(super) fn unread(root: &Node, included: &Included, why: &Unread, report: &Collector<'_>) {
    let path = format!("include[{}]", included.item);
    let wrong = Wrong::new(format!("{}: {}", included.file, why.what), why.cure.as_str());
    report.add(why.severity, root.nearest(&path).place, &path, wrong);
}

/// The clusters of an included file.
pub(super) fn clusters(root: Node, report: &Collector<'_>) -> Vec<Node> {
    let mut section = Section::new(String::new(), &root, report).partial(&OF_THE_MAIN_FILE);
    let _ = section.list("clusters", |_| Ok(()));
    section.finish();
    let NodeKind::Map(entries) = root.kind else { return Vec::new() };
    let lists = entries.into_iter().filter(|entry| entry.key == "clusters");
    lists.flat_map(|entry| if let NodeKind::List(items) = entry.value.kind { items } else { Vec::new() }).collect()
}

/// How many clusters a file has.
pub(super) fn count(root: &Node) -> usize {
    root.child("clusters").map_or(0, |node| if let NodeKind::List(items) = &node.kind { items.len() } else { 0 })
}

/// Puts the clusters of the included files behind those of the main file.
pub(super) fn append(root: &mut Node, included: Vec<Node>, report: &Collector<'_>) {
    let includes = root.child("include").map(|node| node.place);
    let NodeKind::Map(entries) = &mut root.kind else { return };
    let at = entries.iter().position(|entry| entry.key == "clusters");
    let list = match (at.and_then(|at| entries.get_mut(at)), includes) {
        (Some(Entry { value: Node { kind: NodeKind::List(items), .. }, .. }), _) => return items.extend(included),
        // What stands there is no list, or the key is missing: that is said later.
        (Some(_), _) | (None, None) => return,
        (None, Some(place)) if included.is_empty() => nothing(place, report),
        (None, Some(place)) => Node { place, kind: NodeKind::List(included) },
    };
    entries.push(Entry { key: "clusters".to_owned(), place: start(Source::MAIN), value: list });
}

/// No `clusters`, and an `include` that brings none. If a file could not be read, that was said.
fn nothing(place: Place, report: &Collector<'_>) -> Node {
    if !report.failed() {
        let what = "there is no cluster: this file has no `clusters:`, nor has a file that it includes";
        report.error(place, "include", Wrong::new(what, "`clusters:` in such a file, or here"));
    }
    Node { place, kind: NodeKind::Refused }
}

#[cfg(test)]
mod tests;
