//! What a check reads, and where it reports what it found.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use crate::config::file::Origin;
use crate::config::model::{Cluster, IMPLICIT_TLS};
use crate::config::problem::{Collector, NamedFile, Place, ProblemSeverity, Source, Wrong, quoted};
use crate::config::tree::{Node, NodeKind};
use crate::lvs::{ForwardingMethod, is_ipv6};

/// The port of implicit TLS.
pub const TLS: u16 = IMPLICIT_TLS;

/// Finds the places of problems, and tells which values could be read.
pub struct Checker<'r, 't> {
    root: &'r Node,
    report: &'r Collector<'t>,
    unsound: BTreeSet<String>,
}

impl<'r, 't> Checker<'r, 't> {
    /// What `report` holds by now is what could not be read.
    pub fn new(root: &'r Node, report: &'r Collector<'t>) -> Self {
        Self { root, report, unsound: report.paths() }
    }

    pub fn error(&self, path: &str, what: impl Into<String>, cure: impl Into<String>) {
        self.add(ProblemSeverity::Error, path, Wrong::new(what, cure));
    }

    pub fn warning(&self, path: &str, what: impl Into<String>, cure: impl Into<String>) {
        self.add(ProblemSeverity::Warning, path, Wrong::new(what, cure));
    }

    fn add(&self, severity: ProblemSeverity, path: &str, mut wrong: Wrong) {
        let place = self.place(path);
        // Found with one cluster, and told once for all that have it from there.
        if let Some(cluster) = self.name(path).filter(|_| place.source == Source::Defaults) {
            let (first, more) = wrong.cure.split_once('\n').map_or((wrong.cure.as_str(), None), |(a, b)| (a, Some(b)));
            let own = format!("{first}; or a value of its own in the cluster {}", quoted(cluster));
            wrong.cure = more.map_or_else(|| own.clone(), |more| format!("{own}\n{more}"));
        }
        self.report.add(severity, place, path, wrong);
    }

    /// The name of the cluster that a path is in, as it is written.
    fn name(&self, path: &str) -> Option<&'r str> {
        let (cluster, _) = path.strip_prefix("clusters[").and_then(|_| path.split_once(']'))?;
        match &self.root.nearest(&format!("{cluster}]")).child("name")?.kind {
            NodeKind::Plain(name) | NodeKind::Quoted(name) => Some(name),
            _ => None,
        }
    }

    /// A path as another place calls it: with its file, if that is another one.
    pub fn named(&self, path: &str, from: &str) -> String {
        let source = self.place(path).source;
        format!("{}{}", self.report.path_in(source, path), self.elsewhere(path, from))
    }

    /// ` in FILE`, if a path is in another file than `from`.
    pub fn elsewhere(&self, path: &str, from: &str) -> String {
        let [there, here] = [path, from].map(|path| self.report.file(self.place(path).source));
        if there == here { String::new() } else { format!(" in {there}") }
    }

    /// Where a path is written, or the innermost one around it.
    pub fn place(&self, path: &str) -> Place {
        self.root.nearest(path).place
    }

    /// A file that is named at `path`.
    pub fn file(&self, path: &str, file: &Path, cure: &str) -> NamedFile {
        let problem = self.report.problem(ProblemSeverity::Warning, self.place(path), path, Wrong::new("", cure));
        NamedFile::new(file.to_owned(), problem)
    }

    /// Whether everything at, below and around `path` could be read.
    pub fn sound(&self, path: &str) -> bool {
        let around = path.match_indices(['.', '[']).map(|(end, _)| &path[..end]);
        if around.chain([path]).any(|path| self.unsound.contains(path)) {
            return false;
        }
        let below = |mark: char| {
            let start = format!("{path}{mark}");
            self.unsound.range(start.clone()..).next().is_some_and(|found| found.starts_with(&start))
        };
        !below('.') && !below('[')
    }

    pub fn root(&self) -> &'r Node {
        self.root
    }
}

/// One cluster under examination.
pub struct One<'a, 'r, 't> {
    pub cluster: &'a Cluster,
    pub origin: &'a Origin,
    pub checker: &'a Checker<'r, 't>,
}

impl One<'_, '_, '_> {
    /// The path of a key of this cluster: `clusters[0].KEY`.
    pub fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.origin.path)
    }

    /// The path of a key of the server at position `server`: `clusters[0].real_servers[1].KEY`.
    pub fn server_path(&self, server: usize, key: &str) -> String {
        format!("{}.real_servers[{}].{key}", self.origin.path, self.origin.servers[server])
    }

    /// The cluster's name as `from` calls it: with its file, if that is another one.
    pub fn called_from(&self, from: &Self) -> String {
        format!("{}{}", self.cluster.name, self.checker.elsewhere(&self.origin.path, &from.origin.path))
    }

    pub fn vip_path(&self, vip: usize) -> String {
        format!("{}.vips[{}]", self.origin.path, self.origin.vips[vip])
    }

    pub fn sound(&self, key: &str) -> bool {
        self.checker.sound(&self.path(key))
    }

    /// `nat`, `dr` or `tun`; `None` when it could not be read.
    pub fn forwarding(&self) -> Option<(ForwardingMethod, &'static str)> {
        let method = self.cluster.forwarding;
        self.sound("forwarding").then_some((method, method.name()))
    }

    pub fn error(&self, path: &str, what: impl Into<String>, cure: impl Into<String>) {
        self.checker.error(path, what, cure);
    }

    pub fn warning(&self, path: &str, what: impl Into<String>, cure: impl Into<String>) {
        self.checker.warning(path, what, cure);
    }

    /// Whether the list of servers and one key of each could be read.
    pub fn servers_sound(&self, key: &str) -> bool {
        let list = self.path("real_servers");
        let written = self.checker.root.nearest(&list);
        let count = if let NodeKind::List(items) = &written.kind { items.len() } else { 0 };
        !self.checker.unsound.contains(&list)
            && count == self.cluster.real_servers.len()
            && (0..count).all(|index| self.checker.sound(&self.server_path(index, key)))
    }
}

/// The family of an address, as the problems call it.
pub fn family(address: IpAddr) -> &'static str {
    if is_ipv6(address) { "IPv6" } else { "IPv4" }
}
