//! A mapping that is read key by key: a key that is never asked for is unknown.

use super::misplaced::{alias, misplaced};
use super::problem::{Collector, Place, Wrong, quoted};
use super::spelling::nearest;
use super::tree::{Entry, Node, NodeKind, shown};
use super::value::{Read, instead, kind, list_of};

/// The longest list: there are 0x4000 marks.
const LONGEST: usize = 0x4000;
/// For so many unknown keys of a mapping it is guessed which was meant: more than are told.
const GUESSED: usize = 64;

/// One mapping of the file, possibly left out.
pub(super) struct Section<'r, 't> {
    path: String,
    place: Place,
    entries: &'r [Entry],
    /// `false`: the mapping could not be read, so no key of it counts as missing.
    readable: bool,
    known: Vec<&'static str>,
    missing: Vec<&'static str>,
    elsewhere: Option<&'static Elsewhere>,
    report: &'r Collector<'t>,
}

/// Keys that a mapping of this kind has in other places, but not here.
pub(super) struct Elsewhere {
    pub keys: &'static [&'static str],
    pub what: &'static str,
    pub cure: &'static str,
}

impl<'r, 't> Section<'r, 't> {
    pub fn new(path: String, node: &'r Node, report: &'r Collector<'t>) -> Self {
        let readable = match &node.kind {
            NodeKind::Map(_) | NodeKind::Null => true,
            NodeKind::Refused => {
                report.unsound(&path);
                false
            }
            other => {
                let wrong = Wrong::new(format!("expected a mapping, found {}", kind(other)), instead(other, &path));
                report.error(node.place, &path, wrong);
                false
            }
        };
        Self {
            path,
            place: node.place,
            entries: node.entries(),
            readable,
            known: Vec::new(),
            missing: Vec::new(),
            elsewhere: None,
            report,
        }
    }

    /// The mapping as a part of another one: no key of it must be there, and some may not.
    pub fn partial(mut self, elsewhere: &'static Elsewhere) -> Self {
        self.readable = false;
        self.elsewhere = Some(elsewhere);
        self
    }

    /// The path of the mapping: `clusters[0]`; empty for the whole file.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn find(&mut self, key: &'static str) -> Option<&'r Node> {
        if self.elsewhere.is_some_and(|elsewhere| elsewhere.keys.contains(&key)) {
            return None;
        }
        self.known.push(key);
        #[cfg(test)]
        self.report.asked.borrow_mut().insert(without_indexes(&self.key_path(key)));
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    fn read<T>(&self, path: &str, node: &Node, read: impl FnOnce(&Node) -> Read<T>) -> Option<T> {
        if node.kind == NodeKind::Refused {
            self.report.unsound(path);
            return None;
        }
        read(node).map_err(|wrong| self.report.error(node.place, path, wrong)).ok()
    }

    /// A key that must be there.
    pub fn required<T>(&mut self, key: &'static str, read: impl FnOnce(&Node) -> Read<T>) -> Option<T> {
        match self.find(key) {
            Some(node) => self.read(&self.key_path(key), node, read),
            None => {
                self.missing.push(key);
                None
            }
        }
    }

    /// A key that may be left out or `null`.
    pub fn optional<T>(&mut self, key: &'static str, read: impl FnOnce(&Node) -> Read<T>) -> Option<T> {
        let node = self.find(key).filter(|node| node.kind != NodeKind::Null)?;
        self.read(&self.key_path(key), node, read)
    }

    /// A key that may be left out, but not `null`.
    pub fn or<T>(&mut self, key: &'static str, default: T, read: impl FnOnce(&Node) -> Read<T>) -> T {
        let found = self.find(key).and_then(|node| self.read(&self.key_path(key), node, read));
        found.unwrap_or(default)
    }

    /// A key that may be left out, and whose `null` switches something off.
    pub fn or_off<T>(&mut self, key: &'static str, default: T, read: impl FnOnce(&Node) -> Read<T>) -> Option<T> {
        match self.find(key) {
            Some(node) if node.kind == NodeKind::Null => None,
            Some(node) => Some(self.read(&self.key_path(key), node, read).unwrap_or(default)),
            None => Some(default),
        }
    }

    /// A mapping; left out or empty is as good as all its defaults.
    pub fn section(&mut self, key: &'static str) -> Section<'r, 't> {
        let path = self.key_path(key);
        match self.find(key) {
            Some(node) => Section::new(path, node, self.report),
            None => Section {
                path,
                place: self.place,
                entries: &[],
                readable: true,
                known: Vec::new(),
                missing: Vec::new(),
                elsewhere: None,
                report: self.report,
            },
        }
    }

    /// The items of a list that is not empty, each with its index, those that can be read; `None` when it is left out.
    pub fn list<T>(&mut self, key: &'static str, read: impl Fn(&Node) -> Read<T>) -> Option<Vec<(usize, T)>> {
        let items = self.items(key)?;
        let path = self.key_path(key);
        let item = |(index, node)| Some((index, self.read(&format!("{path}[{index}]"), node, &read)?));
        Some(items.iter().enumerate().filter_map(item).collect())
    }

    /// As [`Section::list`]; a list that is left out is a problem.
    pub fn required_list<T>(&mut self, key: &'static str, read: impl Fn(&Node) -> Read<T>) -> Vec<(usize, T)> {
        let list = self.list(key, read);
        if list.is_none() {
            self.missing.push(key);
        }
        list.unwrap_or_default()
    }

    /// A mapping that may be left out or `null`.
    pub fn optional_section(&mut self, key: &'static str) -> Option<Section<'r, 't>> {
        let node = self.find(key).filter(|node| node.kind != NodeKind::Null)?;
        Some(Section::new(self.key_path(key), node, self.report))
    }

    /// A required list of mappings that is not empty, each with its index.
    pub fn sections(&mut self, key: &'static str) -> Vec<(usize, Section<'r, 't>)> {
        let path = self.key_path(key);
        let Some(items) = self.items(key) else {
            self.missing.push(key);
            return Vec::new();
        };
        let item = |(index, node)| (index, Section::new(format!("{path}[{index}]"), node, self.report));
        items.iter().enumerate().map(item).collect()
    }

    fn items(&mut self, key: &'static str) -> Option<&'r [Node]> {
        let node = self.find(key)?;
        let wrong = match &node.kind {
            NodeKind::Refused => {
                self.report.unsound(&self.key_path(key));
                return Some(&[]);
            }
            NodeKind::List(items) if items.is_empty() && self.report.is_cut(node.place) => return Some(&[]),
            NodeKind::List(items) if items.is_empty() => Wrong::new("the list is empty", "at least one"),
            NodeKind::List(items) if items.len() > LONGEST => {
                Wrong::new(format!("{} are too many", items.len()), format!("at most {LONGEST}"))
            }
            NodeKind::List(items) => return Some(items),
            other => Wrong::new(format!("expected a list, found {}", kind(other)), list_of(other)),
        };
        self.report.error(node.place, &self.key_path(key), wrong);
        Some(&[])
    }

    /// Reports the keys that were never asked for as unknown, and required keys as missing unless an unknown key is a
    /// misspelling of them.
    pub fn finish(mut self) {
        let unknown = self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str()));
        for (number, entry) in unknown.enumerate() {
            let path = self.key_path(&shown(&entry.key));
            if let Some(elsewhere) = self.elsewhere.filter(|elsewhere| elsewhere.keys.contains(&entry.key.as_str())) {
                self.report.error(entry.place, &path, Wrong::new(elsewhere.what, elsewhere.cure));
                continue;
            }
            let unspaced =
                entry.key.split_once(':').and_then(|(key, _)| self.known.iter().find(|known| **known == key));
            let cure = misplaced(&entry.key, &self.known);
            let near = || (number < GUESSED).then(|| nearest(&entry.key, &self.known)).flatten();
            let guess = || alias(&entry.key, &self.known).or_else(near);
            let meant = unspaced.copied().or_else(guess).filter(|_| cure.is_none());
            self.missing.retain(|missing| Some(*missing) != meant);
            // What hangs on the key that was meant is not known.
            meant.iter().for_each(|known| self.report.unsound(&self.key_path(known)));
            let otherwise = || match meant {
                Some(known) if unspaced.is_some() => format!("a space after `{known}:`"),
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            let cure = cure.map_or_else(otherwise, str::to_owned);
            let wrong = Wrong::new(format!("unknown key {}", quoted(&entry.key)), cure);
            self.report.error(entry.place, &path, wrong);
        }
        let whole = self.readable && !self.report.is_cut(self.place);
        for key in self.missing.iter().filter(|_| whole) {
            let wrong = Wrong::new("required, and missing", format!("add `{key}:` and its value"));
            self.report.error(self.place, &self.key_path(key), wrong);
        }
    }
}

/// `clusters[0].name` → `clusters[].name`
#[cfg(test)]
fn without_indexes(path: &str) -> String {
    path.chars().filter(|c| !c.is_ascii_digit()).collect()
}
