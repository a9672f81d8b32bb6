//! YAML text → a tree in which every key and value knows its place.
//!
//! Plain data only: anchors, aliases, merge keys, tags and further documents are refused, so nothing expands.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::problem::{Collector, Place, Source, Wrong, quoted};

/// The deepest nesting; the schema needs five.
const DEPTH: usize = 16;
/// The largest file, bytes: sixteen thousand real servers fit.
pub(super) const SIZE: usize = 8 << 20;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub place: Place,
    pub kind: NodeKind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NodeKind {
    /// `null`, `~` or nothing.
    Null,
    /// A scalar without quotes: word, number or `true`.
    Plain(String),
    /// Quoted, or a block scalar.
    Quoted(String),
    List(Vec<Node>),
    /// A mapping; each key once.
    Map(Vec<Entry>),
    /// A value that was already reported as wrong.
    Refused,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub place: Place,
    pub value: Node,
}

impl Node {
    /// The entries of a mapping; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        if let NodeKind::Map(entries) = &self.kind { entries } else { &[] }
    }

    /// The value of a key.
    pub fn child(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The value at `clusters[0].vips[1]`, or the innermost one around it.
    pub fn nearest(&self, path: &str) -> &Node {
        let mut node = self;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match (&node.kind, step.strip_suffix(']').map(str::parse::<usize>)) {
                (NodeKind::List(items), Some(Ok(index))) => items.get(index),
                _ => node.child(step),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }
}

/// The tree of a file's one document. Where it is no YAML from some place on: of what stands before, if there is anything. What is
/// wrong is in `report`.
pub(super) fn read(text: &str, source: Source, report: &Collector<'_>) -> Option<Node> {
    if text.len() > SIZE {
        let cure = format!("at most {SIZE} bytes a file; `include` reads further files");
        report.error(start(source), "", Wrong::new("the file is too large", cure));
        return None;
    }
    if let Some((line, column, c)) = forbidden(text) {
        let what = format!("the invisible character U+{:04X}", u32::from(c));
        let cure = if text.as_bytes().iter().take(2).any(|byte| *byte == 0) {
            "save the file as UTF-8 (is it UTF-16?)"
        } else {
            "remove it"
        };
        report.error(Place { line, column, width: 1, source }, "", Wrong::new(what, cure));
        return None;
    }
    let mut builder = Builder { source, report, open: Vec::new(), ended: Vec::new(), root: None, documents: 0 };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => {
                if !builder.take(event, span) {
                    return None;
                }
            }
            Err(error) => {
                let (place, wrong) = builder.indentation(text, &error).unwrap_or_else(|| syntax(text, &error));
                report.error(Place { source, ..place }, "", wrong);
                return builder.cut();
            }
        }
    }
    Some(builder.root.unwrap_or(Node { place: start(source), kind: NodeKind::Null }))
}

/// Where a file begins.
pub(super) fn start(source: Source) -> Place {
    Place { line: 1, column: 1, width: 1, source }
}

/// Control characters, and what is a line break or a byte order mark to some readers of YAML and not to others.
fn forbidden(text: &str) -> Option<(usize, usize, char)> {
    let odd = |c: char| match c {
        '\t' | '\n' | '\r' => false,
        c => c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}'),
    };
    let found = text.char_indices().find(|(_, c)| odd(*c));
    found.map(|(at, c)| {
        let before = &text[..at];
        let column = before.chars().rev().take_while(|c| !matches!(c, '\n' | '\r')).count() + 1;
        (before.matches('\n').count() + 1, column, c)
    })
}

/// The scanner stops at the line before or after a tab, or a colon without a space, as often as at its own.
fn syntax(text: &str, error: &ScanError) -> (Place, Wrong) {
    let at = |line, column, width| Place { line, column, width, source: Source::MAIN };
    let (line, column) = (error.marker().line(), error.marker().col() + 1);
    let tab = |line: &str| line.trim_start_matches(' ').starts_with('\t') && !line.trim().is_empty();
    let near = || text.lines().enumerate().skip(line.saturating_sub(2)).take(3);
    if let Some((index, found)) = near().find(|(_, line)| tab(line)) {
        let wrong = Wrong::new("not YAML: a tab in the indentation", "indent with spaces only");
        return (at(index + 1, found.find('\t').unwrap_or(0) + 1, 1), wrong);
    }
    if let Some((index, (before, key))) = near().find_map(|(index, line)| Some((index, tabbed(line)?))) {
        let wrong = Wrong::new(format!("not YAML: a tab after `{key}:`"), "a space in its place");
        return (at(index + 1, before + 1, key.len() + 1), wrong);
    }
    if let Some((index, (before, key, value))) = near().find_map(|(index, line)| Some((index, unspaced(line)?))) {
        let value: String = value.chars().take_while(|c| !c.is_whitespace() && !c.is_control()).take(40).collect();
        let wrong = Wrong::new(format!("not YAML: a space is missing after `{key}:`"), format!("`{key}: {value}`"));
        return (at(index + 1, before + 1, key.len() + 1), wrong);
    }
    let cure = "look for a missing quote, bracket, colon or space of indentation here or just above";
    // Behind the end there is nothing to show.
    let last = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).last();
    let (line, column) = match last {
        Some((index, last)) if line > index + 1 => (index + 1, last.trim_end().chars().count()),
        _ => (line, column),
    };
    (at(line, column, 1), Wrong::new(format!("not YAML: {}", error.info()), cure))
}

/// A line that begins with a key and a value that no space divides (`forwarding:nat`): see [`keyed`].
fn unspaced(line: &str) -> Option<(usize, &str, &str)> {
    keyed(line).filter(|(.., value)| !value.is_empty() && !value.starts_with([' ', '\t', ':', '/']))
}

/// A line that begins with a key and has a tab before the value: how many bytes stand before the key, and the key.
fn tabbed(line: &str) -> Option<(usize, &str)> {
    keyed(line).filter(|(.., value)| value.starts_with('\t')).map(|(before, key, _)| (before, key))
}

/// A line that begins with a key: how many bytes stand before the key, the key, and what follows its colon.
fn keyed(line: &str) -> Option<(usize, &str, &str)> {
    let rest = line.trim_start_matches([' ', '-']);
    let (key, value) = rest.split_once(':')?;
    let named = key.len() > 1 && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    named.then_some((line.len() - rest.len(), key, value))
}

/// A list or mapping that has not ended yet.
struct Open {
    place: Place,
    /// The path of the list or mapping: `clusters[0]`; empty for the whole file.
    path: String,
    content: Content,
}

/// A list or mapping that has just ended.
struct Ended {
    place: Place,
    path: String,
    /// Whether it is a list, whose lines begin with `- `.
    items: bool,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// Every key so far, with the number of its line.
        seen: BTreeMap<String, usize>,
        /// The key whose value comes next.
        key: Option<(String, Place)>,
        /// Whether the value of `key` is to be thrown away.
        refused: bool,
    },
}

impl Open {
    /// The path of the value that comes next.
    fn next(&self) -> String {
        match &self.content {
            Content::List(items) => format!("{}[{}]", self.path, items.len()),
            Content::Map { key: Some((key, _)), .. } if self.path.is_empty() => shown(key),
            Content::Map { key: Some((key, _)), .. } => format!("{}.{}", self.path, shown(key)),
            Content::Map { key: None, .. } => self.path.clone(),
        }
    }

    fn expects_key(&self) -> bool {
        matches!(self.content, Content::Map { key: None, .. })
    }
}

/// A key as it stands in a path.
pub(super) fn shown(key: &str) -> String {
    let plain = key.len() <= 60 && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if plain { key.to_owned() } else { quoted(key) }
}

struct Builder<'r, 't> {
    source: Source,
    report: &'r Collector<'t>,
    open: Vec<Open>,
    /// Those that have ended since the last word: by an indentation, perhaps, that was not meant.
    ended: Vec<Ended>,
    root: Option<Node>,
    documents: usize,
}

impl Builder<'_, '_> {
    /// Takes the parser's next event. Returns whether to go on.
    fn take(&mut self, event: Event<'_>, span: Span) -> bool {
        let place = self.place(span);
        if !matches!(event, Event::SequenceEnd | Event::MappingEnd) {
            self.ended.clear();
        }
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.refuse(place, "a second document", "one document a file: remove what follows");
                    return false;
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.extras(place, anchor, tag.is_some());
                if self.expects_key() {
                    self.key(text.into_owned(), place);
                } else {
                    self.value(Node { place, kind: scalar(text.into_owned(), style) });
                }
            }
            Event::Alias(_) => {
                let merge = matches!(self.open.last(), Some(Open { content: Content::Map { key: Some((key, _)), .. }, .. }) if key == "<<");
                if !merge {
                    self.refuse(place, "an alias (`*`)", "write the value out");
                }
                if self.expects_key() {
                    self.key("*".to_owned(), place);
                } else {
                    self.value(Node { place, kind: NodeKind::Refused });
                }
            }
            Event::SequenceStart(anchor, tag) => {
                self.extras(place, anchor, tag.is_some());
                return self.begin(place, Content::List(Vec::new()));
            }
            Event::MappingStart(anchor, tag) => {
                self.extras(place, anchor, tag.is_some());
                let content = Content::Map { entries: Vec::new(), seen: BTreeMap::new(), key: None, refused: false };
                return self.begin(place, content);
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        true
    }

    fn expects_key(&self) -> bool {
        self.open.last().is_some_and(Open::expects_key)
    }

    fn place(&self, span: Span) -> Place {
        let (start, end) = (span.start, span.end);
        let width = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 1 };
        Place { line: start.line(), column: start.col() + 1, width: width.max(1), source: self.source }
    }

    /// `path` is the one in this file.
    fn error(&self, place: Place, path: &str, wrong: Wrong) {
        self.report.error(place, &self.report.path_of_all(self.source, path), wrong);
    }

    fn refuse(&self, place: Place, what: &str, cure: &str) {
        let path = self.open.last().map(Open::next).unwrap_or_default();
        self.error(place, &path, Wrong::new(format!("{what} is not accepted"), cure));
    }

    fn extras(&self, place: Place, anchor: usize, tag: bool) {
        if anchor != 0 {
            self.refuse(place, "an anchor (`&`)", "remove it, and write the value out where it is used");
        }
        if tag {
            self.refuse(place, "a tag (`!`)", "remove it; every key has one type");
        }
    }

    fn key(&mut self, text: String, place: Place) {
        let Some(open) = self.open.last_mut() else { return };
        let path = if open.path.is_empty() { shown(&text) } else { format!("{}.{}", open.path, shown(&text)) };
        let Content::Map { seen, key, refused, .. } = &mut open.content else { return };
        let wrong = if text == "<<" {
            Some(Wrong::new("a merge key (`<<`) is not accepted", "write the merged keys out"))
        } else {
            let twice =
                |line| Wrong::new(format!("the key stands here twice; first on line {line}"), "keep one of them");
            seen.get(&text).map(twice)
        };
        *refused = text == "<<" || text == "*" || seen.contains_key(&text);
        seen.entry(text.clone()).or_insert(place.line);
        *key = Some((text, place));
        if let Some(wrong) = wrong {
            self.error(place, &path, wrong);
        }
    }

    fn value(&mut self, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, key, refused, .. } => {
                if let Some((key, place)) = key.take().filter(|_| !*refused) {
                    entries.push(Entry { key, place, value: node });
                }
            }
        }
    }

    /// Begins a list or mapping. Returns whether to go on.
    fn begin(&mut self, place: Place, content: Content) -> bool {
        if self.expects_key() {
            self.refuse(place, "a list or mapping as a key", "a key is a word");
            return false;
        }
        if self.open.len() >= DEPTH {
            self.refuse(place, &format!("nesting deeper than {DEPTH}"), "flatten it; see the configuration reference");
            return false;
        }
        let path = self.open.last().map(Open::next).unwrap_or_default();
        self.open.push(Open { place, path, content });
        true
    }

    /// What to say of a line in a block that begins in a column where nothing above it does.
    fn indentation(&self, text: &str, error: &ScanError) -> Option<(Place, Wrong)> {
        let (number, block) = (error.marker().line(), error.info().contains("block"));
        let line = text.lines().nth(number.checked_sub(1)?).filter(|_| block)?;
        let rest = line.trim_start_matches(' ');
        let (indent, item) = (line.len() - rest.len(), rest == "-" || rest.starts_with("- "));
        let open = self.open.iter().map(|open| (open.place, matches!(open.content, Content::List(_))));
        let all = open.chain(self.ended.iter().map(|ended| (ended.place, ended.items)));
        let bracket = |place: Place| {
            let above = text.lines().nth(place.line - 1).and_then(|line| line.chars().nth(place.column - 1));
            matches!(above, Some('[' | '{'))
        };
        let same = all.filter(|(place, items)| *items == item && !bracket(*place));
        let levels: BTreeSet<usize> = same.map(|(place, _)| place.column - 1).collect();
        if rest.is_empty() || rest.starts_with('\t') || levels.is_empty() || levels.contains(&indent) {
            return None;
        }
        let levels: Vec<String> = levels.iter().map(usize::to_string).collect();
        let place = Place { line: number, column: indent + 1, width: 1, source: self.source };
        let lines = if item { "the other items of a list" } else { "the other keys of a mapping" };
        let what = format!("not YAML: the line is indented by {indent}, and no line above that it could belong to");
        Some((place, Wrong::new(what, format!("{} spaces, as {lines}", levels.join(" or ")))))
    }

    /// What stands before a place where the text can no longer be read. The last word is left out: what is wrong behind it may
    /// have changed it.
    fn cut(mut self) -> Option<Node> {
        let word = |node: &Node| !matches!(node.kind, NodeKind::List(_) | NodeKind::Map(_));
        match self.open.last_mut().map(|open| &mut open.content) {
            Some(Content::List(items)) => drop(items.pop_if(|item| word(item))),
            Some(Content::Map { entries, .. }) => drop(entries.pop_if(|entry| word(&entry.value))),
            None => {}
        }
        // A bracket that nothing closes may not have been meant as one.
        if let Some(Open { place, .. }) =
            self.open.pop_if(|open| matches!(&open.content, Content::List(items) if items.iter().all(word)))
        {
            self.value(Node { place, kind: NodeKind::Refused });
        }
        for (depth, open) in self.open.iter().enumerate() {
            // The whole file, and its list of clusters: those that were read to their ends can be checked.
            let checked = depth == 0 || depth == 1 && matches!(open.content, Content::List(_));
            let path = self.report.path_of_all(self.source, &open.path);
            self.report.cut(open.place, Some(path.as_str()).filter(|_| !checked));
        }
        for Ended { place, path, .. } in &self.ended {
            self.report.cut(*place, Some(&self.report.path_of_all(self.source, path)));
        }
        while !self.open.is_empty() {
            self.end();
        }
        self.root
    }

    fn end(&mut self) {
        let Some(Open { place, content, path }) = self.open.pop() else { return };
        self.ended.push(Ended { place, path, items: matches!(content, Content::List(_)) });
        let kind = match content {
            Content::List(items) => NodeKind::List(items),
            Content::Map { entries, .. } => NodeKind::Map(entries),
        };
        self.value(Node { place, kind });
    }
}

fn scalar(text: String, style: ScalarStyle) -> NodeKind {
    match style {
        ScalarStyle::Plain if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") => NodeKind::Null,
        ScalarStyle::Plain => NodeKind::Plain(text),
        _ => NodeKind::Quoted(text),
    }
}
