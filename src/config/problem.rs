//! What is wrong with a file, where, and the cure.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// More problems than this are counted, not kept.
const KEPT: usize = 1000;
/// Of no more paths than these it is known that they are wrong.
const UNSOUND: usize = 100_000;
/// The widest piece of a source line that is shown, characters.
const WIDTH: usize = 100;

/// Whether a problem keeps the file from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemSeverity {
    /// The file is refused.
    Error,
    /// The file is used; a person should look at it.
    Warning,
}

/// One problem of a file. [`fmt::Display`] gives the message, the source line with a caret, and the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the file can be used all the same.
    pub severity: ProblemSeverity,
    /// The file's name, as it was given.
    pub file: String,
    /// Number of the line, from 1.
    pub line: usize,
    /// Number of the first character that is meant in its line, from 1.
    pub column: usize,
    /// `clusters[1].real_servers[0].address`, as counted in this file; empty where the problem is of no one key.
    pub path: String,
    /// What is wrong with the value.
    pub what: String,
    /// What to write instead.
    pub cure: String,
    /// The line of the file as it stands there, without its end.
    source: String,
    /// How many characters from `column` on are underlined, at least one.
    width: usize,
    /// Which file it is: 0 the main one, then the included ones in their order.
    number: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if self.severity == ProblemSeverity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        writeln!(f, "{}", self.what)?;
        let skipped = self.skipped();
        let shown: String = self.source.chars().skip(skipped).take(WIDTH).map(printable).collect();
        if !shown.trim().is_empty() {
            let before = self.column - 1 - skipped;
            let carets = self.width.clamp(1, (WIDTH - before).max(1));
            writeln!(f, "{:>5} | {}", self.line, shown.trim_end())?;
            writeln!(f, "{:>5} | {:before$}{}", "", "", "^".repeat(carets))?;
        }
        write!(f, "      cure: {}", self.cure.replace('\n', "\n            "))
    }
}

impl Problem {
    /// Whether the piece of the file that is meant has this character.
    fn is_of(&self, wanted: char) -> bool {
        self.source.chars().skip(self.column - 1).take(self.width).any(|c| c == wanted)
    }

    /// Characters left out at the start of the source line, so that the caret stays in sight.
    fn skipped(&self) -> usize {
        if self.column + self.width.min(WIDTH / 2) <= WIDTH { 0 } else { self.column - 1 - WIDTH / 4 }
    }
}

/// The character, or one of the same width that is harmless on a terminal.
pub(crate) fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
        {
            '\u{fffd}'
        }
        c => c,
    }
}

/// `text` in quotes, escaped and shortened.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Everything that is wrong with a file and those that it includes, in file order; warnings too, but at least one error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// At least one error.
    pub list: Vec<Problem>,
    /// How many problems more there are than are kept.
    pub more: usize,
}

/// A file that the configuration names. This room reads none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Its absolute path.
    pub path: PathBuf,
    /// The warning, if the file cannot be used, but for why.
    problem: Problem,
}

impl NamedFile {
    /// `problem` without its `what`.
    pub(super) const fn new(path: PathBuf, problem: Problem) -> Self {
        Self { path, problem }
    }

    /// The warning for a file that cannot be used, and why that is.
    #[must_use]
    pub fn unusable(&self, why: &str) -> Problem {
        let what =
            format!("{}: {why}: until it can be read, servers are greeted and no more is checked", self.path.display());
        Problem { what, ..self.problem.clone() }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{problem}")?;
        }
        if self.more > 0 {
            write!(f, "\n\nand {} more problems", self.more)?;
        }
        Ok(())
    }
}

/// A piece of one line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Number of the line, from 1.
    pub line: usize,
    /// Number of the first character in its line, from 1.
    pub column: usize,
    /// How many characters, at least one.
    pub width: usize,
    /// What it is a line of.
    pub source: Source,
}

/// What a place is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// A file: 0 is the main one, then the included ones in their order.
    File(u16),
    /// `defaults` of the main file, as a cluster has them that does not say otherwise.
    Defaults,
}

impl Source {
    /// The main file.
    pub const MAIN: Self = Self::File(0);

    const fn file(self) -> u16 {
        if let Self::File(number) = self { number } else { 0 }
    }

    fn number(self) -> usize {
        self.file().into()
    }
}

/// What is wrong with a value, before it is known where the value stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub what: String,
    pub cure: String,
}

impl Wrong {
    pub fn new(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { what: what.into(), cure: cure.into() }
    }
}

/// Collects the problems of a file and of those that it includes.
///
/// Within, all clusters are one list, so that `clusters[7]` is one cluster: what is told is the path in the file.
pub(super) struct Collector<'t> {
    texts: Vec<Text<'t>>,
    problems: RefCell<Vec<Problem>>,
    unsound: RefCell<BTreeSet<String>>,
    more: Cell<usize>,
    /// The lists and mappings whose end could not be read.
    cut: RefCell<BTreeSet<Place>>,
    /// Every key that was asked for, `[]` for an index.
    #[cfg(test)]
    pub asked: RefCell<BTreeSet<String>>,
}

/// The text of one file.
struct Text<'t> {
    file: &'t str,
    lines: Vec<&'t str>,
    /// How many clusters the files before this one have.
    before: Cell<usize>,
    replaced: Cell<bool>,
}

impl<'t> Collector<'t> {
    pub fn new(file: &'t str, text: &'t str) -> Self {
        Self {
            texts: vec![Text::new(file, text)],
            problems: RefCell::default(),
            unsound: RefCell::default(),
            more: Cell::new(0),
            cut: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    /// One more file, after those that are there.
    pub fn include(&mut self, file: &'t str, text: &'t str) {
        self.texts.push(Text::new(file, text));
    }

    /// The clusters of a file begin, behind those of the files before it.
    pub fn begin(&self, source: Source, clusters_before: usize) {
        if let Some(text) = self.texts.get(source.number()) {
            text.before.set(clusters_before);
        }
    }

    /// What is not UTF-8 in a file was replaced. That is known by now, and is not to be told again of each value.
    pub fn replaced(&self, source: Source) {
        if let Some(text) = self.texts.get(source.number()) {
            text.replaced.set(true);
        }
    }

    /// The name of the file that a place is in.
    pub fn file(&self, source: Source) -> &'t str {
        self.texts.get(source.number()).map_or("", |text| text.file)
    }

    /// A path as it is in the file: `clusters[7].name` may be `clusters[0].name` there, or stand in `defaults`.
    pub fn path_in(&self, source: Source, path: &str) -> String {
        let Some((index, rest)) = cluster(path) else { return path.to_owned() };
        let before = |text: &Text<'_>| index.saturating_sub(text.before.get());
        match source {
            Source::Defaults => format!("defaults{rest}"),
            Source::File(_) => {
                format!("clusters[{}]{rest}", self.texts.get(source.number()).map_or(index, before))
            }
        }
    }

    /// The other way round: a path of one file as a path of all clusters.
    pub fn path_of_all(&self, source: Source, path: &str) -> String {
        let before = self.texts.get(source.number()).map_or(0, |text| text.before.get());
        match cluster(path) {
            Some((index, rest)) => format!("clusters[{}]{rest}", index.saturating_add(before)),
            None => path.to_owned(),
        }
    }

    /// Notes that a list or mapping goes on behind the place where the text could no longer be read: what it lacks may stand
    /// there. `unfinished`: its path, unless what was read of it can be checked as if it were all.
    pub fn cut(&self, place: Place, unfinished: Option<&str>) {
        self.cut.borrow_mut().insert(place);
        unfinished.into_iter().for_each(|path| self.unsound(path));
    }

    /// Whether the list or mapping that begins there goes on where the text could not be read.
    pub fn is_cut(&self, place: Place) -> bool {
        self.cut.borrow().contains(&Place { source: Source::File(place.source.file()), ..place })
    }

    /// Whether a line of the main file begins so.
    pub fn has_line(&self, start: &str) -> bool {
        self.texts.first().is_some_and(|text| text.lines.iter().any(|line| line.starts_with(start)))
    }

    pub fn error(&self, place: Place, path: &str, wrong: Wrong) {
        self.add(ProblemSeverity::Error, place, path, wrong);
    }

    /// Notes a problem once, however often it is found.
    pub fn add(&self, severity: ProblemSeverity, place: Place, path: &str, wrong: Wrong) {
        // `clusters` of an included file is not the list of all.
        if place.source.number() == 0 || path != "clusters" {
            self.unsound(path);
        }
        let (number, here) = (place.source.number(), self.path_in(place.source, path));
        let mut problems = self.problems.borrow_mut();
        let full = problems.len() >= KEPT;
        let same = |p: &Problem| p.line == place.line && p.number == number && p.path == here && p.what == wrong.what;
        // What stands in `defaults` is found with every cluster.
        if (!full || place.source == Source::Defaults) && problems.iter().any(same) {
            return;
        }
        if full {
            self.more.set(self.more.get() + 1);
            return;
        }
        let problem = self.problem(severity, place, path, wrong);
        let replaced = self.texts.get(number).is_some_and(|text| text.replaced.get());
        if !(replaced && problem.is_of(char::REPLACEMENT_CHARACTER)) {
            problems.push(problem);
        }
    }

    /// A problem of these files that is not noted.
    pub fn problem(&self, severity: ProblemSeverity, place: Place, path: &str, wrong: Wrong) -> Problem {
        let (number, path) = (place.source.number(), self.path_in(place.source, path));
        let lines = self.texts.get(number).map_or(&[][..], |text| &text.lines);
        let source: &str = lines.get(place.line.saturating_sub(1)).copied().unwrap_or_default();
        Problem {
            severity,
            file: self.file(place.source).to_owned(),
            line: place.line,
            column: place.column,
            path,
            what: wrong.what,
            cure: wrong.cure,
            source: source.chars().take(place.column + 4 * WIDTH).collect(),
            width: place.width,
            number,
        }
    }

    /// What stands at a path could not be read, or is not known.
    pub fn unsound(&self, path: &str) {
        let mut unsound = self.unsound.borrow_mut();
        if unsound.len() < UNSOUND && !unsound.contains(path) {
            unsound.insert(path.to_owned());
        }
    }

    /// Whether there is an error so far.
    pub fn failed(&self) -> bool {
        let is_error = |problem: &Problem| problem.severity == ProblemSeverity::Error;
        self.more.get() > 0 || self.problems.borrow().iter().any(is_error)
    }

    /// The paths of what could not be read so far.
    pub fn paths(&self) -> BTreeSet<String> {
        self.unsound.borrow().clone()
    }

    /// The warnings, or everything if there is an error.
    pub fn finish(self) -> Result<Vec<Problem>, Problems> {
        let mut list = self.problems.into_inner();
        list.sort_by_key(|p| (p.number, p.line, p.column));
        if self.more.get() == 0 && list.iter().all(|p| p.severity == ProblemSeverity::Warning) {
            return Ok(list);
        }
        Err(Problems { list, more: self.more.get() })
    }
}

impl<'t> Text<'t> {
    fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, lines: lines(text), before: Cell::new(0), replaced: Cell::new(false) }
    }
}

/// `clusters[7].name` → (7, `.name`)
fn cluster(path: &str) -> Option<(usize, &str)> {
    let (index, rest) = path.strip_prefix("clusters[")?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

/// The place of byte `at`.
pub(super) fn place_of(bytes: &[u8], at: usize) -> Place {
    let before = String::from_utf8_lossy(&bytes[..at]);
    let before = lines(&before);
    Place {
        line: before.len(),
        column: before.last().map_or(0, |line| line.chars().count()) + 1,
        width: 1,
        source: Source::MAIN,
    }
}

/// The lines of `text` as YAML counts them: ended by LF, CR or CRLF.
fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\n', '\r']) {
        lines.push(&rest[..end]);
        let ended = &rest[end..];
        rest = ended.strip_prefix("\r\n").unwrap_or(&ended[1..]);
    }
    lines.push(rest);
    lines
}
