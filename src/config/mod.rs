//! The configuration file: YAML text → a checked [`Config`], or every problem in it at once.
//!
//! A [`Config`] that exists is valid: nothing downstream checks it again.

mod calling;
mod check;
mod defaults;
mod effective;
mod file;
mod foreign;
mod include;
mod model;
mod problem;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod schema_tests;
mod section;
mod spelling;
#[cfg(test)]
mod tests;
mod tree;
mod value;

use std::borrow::Cow;

pub use effective::effective;
pub use include::{IncludePattern, Included, Unread};
#[cfg(test)]
pub(crate) use model::{Admin, Bounce, ClientMatch, Kernel, Limits, Metrics, SorryServer};
pub use model::{
    Advertise, Cluster, Config, DEFAULT_SOCKET, HealthCheck, HealthCheckKind, HealthCheckTls, Log, LogFormat, LogLevel,
    NoServers, OnFailure, RealServer, UnexpectedData,
};
use problem::{Collector, Source};
pub use problem::{NamedFile, Problem, ProblemSeverity, Problems};
pub(crate) use value::unfit;

/// The JSON Schema of the file (draft 2020-12), as it is in the package.
pub const SCHEMA: &str = include_str!("../../deploy/ftpdirector.schema.json");

/// The largest file, bytes.
pub const LARGEST: usize = tree::SIZE;

/// A file that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The configuration of the file.
    pub config: Config,
    /// What a human should look at; warnings only.
    pub warnings: Vec<Problem>,
    /// The files that it names, to be looked at by who can.
    pub named: Vec<NamedFile>,
}

/// Reads a file's text; `file` is its name, for the problems. Other files are not read: what it includes is not in the answer.
///
/// # Errors
///
/// Every problem of the file, warnings too, in file order. Where its text is no YAML from some place on, those before that
/// place.
pub fn parse(text: &str, file: &str) -> Result<Parsed, Problems> {
    parse_bytes(text.as_bytes(), file)
}

/// [`parse`] for a file as it was read from disk.
///
/// # Errors
///
/// As [`parse`]; also when it is not UTF-8.
pub fn parse_bytes(bytes: &[u8], file: &str) -> Result<Parsed, Problems> {
    parse_files(bytes, file, &[])
}

/// What a file says that it includes, as far as that can be read: [`parse_files`] says what is wrong with the rest.
#[must_use]
pub fn includes(bytes: &[u8]) -> Vec<IncludePattern> {
    // Nearly every file is but one: it is read once.
    if memchr::memmem::find(bytes, b"include").is_none() {
        return Vec::new();
    }
    let (text, _) = text(bytes);
    let report = Collector::new("", &text);
    tree::read(&text, &report).map(|root| include::patterns(&root, &report)).unwrap_or_default()
}

/// [`parse_bytes`] with the files that it includes, in the order in which their clusters are to be.
///
/// # Errors
///
/// Every problem of all files, those of the main one first.
pub fn parse_files(bytes: &[u8], file: &str, included: &[Included]) -> Result<Parsed, Problems> {
    let (main, valid) = text(bytes);
    let Some(valid) = valid else { return parse_texts(&main, file, included) };
    let (place, wrong) = foreign::not_utf8(bytes, valid, file);
    let mut problems = problem::only(file, &main, place, wrong);
    // A letter of another encoding in a comment hides nothing else.
    if foreign::is_text(&main) {
        let others = parse_texts(&main, file, included);
        let mut others = others.map_or_else(|problems| problems, |parsed| parsed.warnings.into());
        others.list.retain(|problem| !problem.is_of(char::REPLACEMENT_CHARACTER));
        problems.add(others);
    }
    Err(problems)
}

fn parse_texts(main: &str, file: &str, included: &[Included]) -> Result<Parsed, Problems> {
    let main = main.strip_prefix('\u{feff}').unwrap_or(main);
    let texts: Vec<(&Included, Cow<'_, str>, Option<usize>)> = included
        .iter()
        .filter_map(|included| {
            let (text, valid) = text(included.content.as_deref().ok()?);
            Some((included, text, valid))
        })
        .collect();
    let mut report = Collector::new(file, main);
    for (included, text, _) in &texts {
        report.include(&included.file, text);
    }
    let mut root = tree::read(main, &report);
    let ours = |root: &tree::Node| ["clusters", "include"].iter().any(|key| root.child(key).is_some());
    let foreign = (!root.as_ref().is_some_and(ours)).then(|| foreign::recognized(main, file)).flatten();
    if let Some((place, wrong)) = foreign {
        return Err(problem::only(file, main, place, wrong));
    }
    let mut read = None;
    if let Some(root) = &mut root {
        let _ = include::patterns(root, &report);
        for included in included {
            if let Err(why) = &included.content {
                include::unread(root, included, why, &report);
            }
        }
        let clusters = clusters(root, &texts, &report);
        include::append(root, clusters, &report);
        defaults::fill(root, &report);
        let mut draft = file::read(section::Section::new(String::new(), root, &report));
        let checker = check::Checker::new(root, &report);
        check::check(&mut draft, &checker);
        read = Some((check::named_files(&draft, &checker), draft.config));
    }
    let warnings = report.finish()?;
    let parsed = read.map(|(named, config)| Parsed { config, warnings, named });
    parsed.ok_or(Problems { list: Vec::new(), more: 1 })
}

/// The clusters of the included files.
fn clusters(
    root: &tree::Node,
    texts: &[(&Included, Cow<'_, str>, Option<usize>)],
    report: &Collector<'_>,
) -> Vec<tree::Node> {
    let (before, mut clusters) = (include::count(root), Vec::new());
    for (number, (included, text, valid)) in texts.iter().enumerate() {
        let source = Source::File(u16::try_from(number + 1).unwrap_or(u16::MAX));
        report.begin(source, before.saturating_add(clusters.len()));
        match (valid, &included.content) {
            (Some(valid), Ok(bytes)) => {
                let (place, wrong) = foreign::not_utf8(bytes, *valid, &included.file);
                report.error(problem::Place { source, ..place }, "", wrong);
            }
            _ => {
                let root = tree::read_file(text, source, report);
                clusters.extend(root.map(|root| include::clusters(root, report)).unwrap_or_default());
            }
        }
    }
    clusters
}

/// A file's text, without a byte order mark; and the byte up to which it is UTF-8, unless all of it is.
fn text(bytes: &[u8]) -> (Cow<'_, str>, Option<usize>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)), None),
        Err(error) => (String::from_utf8_lossy(bytes), Some(error.valid_up_to())),
    }
}
