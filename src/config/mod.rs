//! The configuration file: YAML text → a checked [`Config`], or every problem in it at once.
//!
//! A [`Config`] that exists is valid: nothing downstream checks it again.

mod by_name;
mod calling;
mod check;
mod defaults;
mod effective;
mod file;
mod foreign;
mod format;
mod host;
mod include;
mod misplaced;
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
mod text;
mod tree;
mod value;

pub use by_name::{Answers, ByName, Ground, Host, ResolvedFile, ServerByName};
pub use effective::effective;
pub use format::{Format, by_sight};
pub use include::{IncludePattern, Included, Unread};
#[cfg(test)]
pub(crate) use model::{Admin, Bounce, ClientMatch, Kernel, Limits, Metrics, SorryServer};
pub use model::{
    Advertise, Cluster, Config, DEFAULT_SOCKET, HealthCheck, HealthCheckKind, HealthCheckTls, Log, LogFormat, LogLevel,
    NoServers, OnFailure, RealServer, UnexpectedData,
};
pub(crate) use problem::printable;
use problem::{Collector, Source};
pub use problem::{NamedFile, Problem, ProblemSeverity, Problems};
use text::Text;
pub(crate) use value::unfit;

/// The JSON Schema of the file (draft 2020-12), as it is in the package.
pub const SCHEMA: &str = include_str!("../../deploy/ftpdirector.schema.json");

/// The largest file, bytes.
pub const LARGEST: usize = tree::SIZE;

/// A file that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The configuration of the file, without the servers that stand in it by name.
    pub config: Config,
    /// Those servers: their names are to be looked up.
    pub by_name: ByName,
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
    let main = Text::new(bytes, "");
    let report = Collector::new("", &main.text);
    main.tree(Source::MAIN, &report).map(|root| include::patterns(&root, &report)).unwrap_or_default()
}

/// [`parse_bytes`] with the files that it includes, in the order in which their clusters are to be.
///
/// # Errors
///
/// Every problem of all files, those of the main one first.
pub fn parse_files(bytes: &[u8], file: &str, included: &[Included]) -> Result<Parsed, Problems> {
    let main = Text::new(bytes, file);
    let readable = included.iter().filter_map(|file| Some((file.file.as_str(), file.content.as_deref().ok()?)));
    let texts: Vec<Text<'_>> = readable.map(|(file, bytes)| Text::new(bytes, file)).collect();
    let mut report = Collector::new(file, &main.text);
    for text in &texts {
        report.include(text.file, &text.text);
    }
    let mut read = None;
    if let Some(mut root) = main.tree(Source::MAIN, &report) {
        let _ = include::patterns(&root, &report);
        for included in included {
            if let Err(why) = &included.content {
                include::unread(&root, included, why, &report);
            }
        }
        let clusters = clusters(&root, &texts, &report);
        include::append(&mut root, clusters, &report);
        defaults::fill(&mut root, &report);
        let mut draft = file::read(section::Section::new(String::new(), &root, &report));
        let checker = check::Checker::new(&root, &report);
        check::check(&mut draft, &checker);
        let named = check::named_files(&draft, &checker);
        read = Some((named, by_name::take(&mut draft.config), draft.config));
    }
    let warnings = report.finish()?;
    let parsed = read.map(|(named, by_name, config)| Parsed { config, by_name, warnings, named });
    parsed.ok_or(Problems { list: Vec::new(), more: 1 })
}

/// The clusters of the included files.
fn clusters(root: &tree::Node, texts: &[Text<'_>], report: &Collector<'_>) -> Vec<tree::Node> {
    let (before, mut clusters) = (include::count(root), Vec::new());
    for (number, text) in texts.iter().enumerate() {
        let source = Source::File(u16::try_from(number + 1).unwrap_or(u16::MAX));
        report.begin(source, before.saturating_add(clusters.len()));
        let root = text.tree(source, report);
        clusters.extend(root.map(|root| include::clusters(root, report)).unwrap_or_default());
    }
    clusters
}
