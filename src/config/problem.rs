//! What is wrong with a file, where, and the cure.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// More problems than this are counted, not kept.
const KEPT: usize = 1000;
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
    /// `clusters[1].real_servers[0].address`; empty where the problem is of no one key.
    pub path: String,
    /// What is wrong with the value.
    pub what: String,
    /// What to write instead.
    pub cure: String,
    /// The line of the file as it stands there, without its end.
    source: String,
    /// How many characters from `column` on are underlined, at least one.
    width: usize,
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
    pub(super) fn is_of(&self, wanted: char) -> bool {
        self.source.chars().skip(self.column - 1).take(self.width).any(|c| c == wanted)
    }

    /// Characters left out at the start of the source line, so that the caret stays in sight.
    fn skipped(&self) -> usize {
        if self.column + self.width.min(WIDTH / 2) <= WIDTH { 0 } else { self.column - 1 - WIDTH / 4 }
    }
}

/// The character, or one of the same width that is harmless on a terminal.
fn printable(c: char) -> char {
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

/// Everything that is wrong with a file, in file order; warnings too, but at least one error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// At least one error.
    pub list: Vec<Problem>,
    /// How many problems more there are than are kept.
    pub more: usize,
}

impl Problems {
    /// Adds those of the same file that were found another way.
    pub(super) fn add(&mut self, others: Self) {
        self.list.extend(others.list);
        self.list.sort_by_key(|p| (p.line, p.column));
        self.more += others.more;
    }
}

impl From<Vec<Problem>> for Problems {
    fn from(list: Vec<Problem>) -> Self {
        Self { list, more: 0 }
    }
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

/// A piece of one line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Number of the line, from 1.
    pub line: usize,
    /// Number of the first character in its line, from 1.
    pub column: usize,
    /// How many characters, at least one.
    pub width: usize,
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

/// Collects the problems of one file.
pub(super) struct Collector<'t> {
    file: &'t str,
    lines: Vec<&'t str>,
    problems: RefCell<Vec<Problem>>,
    more: Cell<usize>,
    /// The lists and mappings whose end could not be read.
    cut: RefCell<BTreeSet<Place>>,
    /// The paths of values of which nothing can be said, besides those with a problem.
    unsure: RefCell<Vec<String>>,
}

impl<'t> Collector<'t> {
    pub fn new(file: &'t str, text: &'t str) -> Self {
        Self {
            file,
            lines: lines(text),
            problems: RefCell::default(),
            more: Cell::new(0),
            cut: RefCell::default(),
            unsure: RefCell::default(),
        }
    }

    /// Notes that a list or mapping goes on behind the place where the text could no longer be read: what it lacks may stand
    /// there. `unfinished`: its path, unless what was read of it can be checked as if it were all.
    pub fn cut(&self, place: Place, unfinished: Option<&str>) {
        self.cut.borrow_mut().insert(place);
        unfinished.into_iter().for_each(|path| self.unsure(path.to_owned()));
    }

    /// Notes that nothing can be said of the value at `path`.
    pub fn unsure(&self, path: String) {
        self.unsure.borrow_mut().push(path);
    }

    /// Whether the list or mapping that begins there goes on where the text could not be read.
    pub fn is_cut(&self, place: Place) -> bool {
        self.cut.borrow().contains(&place)
    }

    pub fn error(&self, place: Place, path: &str, wrong: Wrong) {
        self.add(ProblemSeverity::Error, place, path, wrong);
    }

    /// Notes a problem once, however often it is found.
    pub fn add(&self, severity: ProblemSeverity, place: Place, path: &str, wrong: Wrong) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() >= KEPT {
            self.more.set(self.more.get() + 1);
            return;
        }
        if problems.iter().any(|p| p.path == path && p.line == place.line && p.what == wrong.what) {
            return;
        }
        problems.push(self.problem(severity, place, path, wrong));
    }

    /// A problem of this file that is not noted.
    pub fn problem(&self, severity: ProblemSeverity, place: Place, path: &str, wrong: Wrong) -> Problem {
        let source: &str = self.lines.get(place.line.saturating_sub(1)).copied().unwrap_or_default();
        Problem {
            severity,
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            path: path.to_owned(),
            what: wrong.what,
            cure: wrong.cure,
            source: source.chars().take(place.column + 4 * WIDTH).collect(),
            width: place.width,
        }
    }

    /// The paths of the problems so far, and of what else nothing can be said of.
    pub fn paths(&self) -> Vec<String> {
        let problems = self.problems.borrow();
        problems.iter().map(|p| &p.path).chain(self.unsure.borrow().iter()).cloned().collect()
    }

    /// The warnings, or everything if there is an error.
    pub fn finish(self) -> Result<Vec<Problem>, Problems> {
        let mut list = self.problems.into_inner();
        list.sort_by_key(|p| (p.line, p.column));
        if self.more.get() == 0 && list.iter().all(|p| p.severity == ProblemSeverity::Warning) {
            return Ok(list);
        }
        Err(Problems { list, more: self.more.get() })
    }
}

/// The one problem of a file in which others do not matter.
pub(super) fn only(file: &str, text: &str, place: Place, wrong: Wrong) -> Problems {
    let problem = Collector::new(file, text).problem(ProblemSeverity::Error, place, "", wrong);
    Problems { list: vec![problem], more: 0 }
}

/// The place of byte `at`.
pub(super) fn place_of(bytes: &[u8], at: usize) -> Place {
    let before = String::from_utf8_lossy(&bytes[..at]);
    let before = lines(&before);
    Place { line: before.len(), column: before.last().map_or(0, |line| line.chars().count()) + 1, width: 1 }
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
