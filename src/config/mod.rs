//! The configuration file: YAML text → a checked [`Config`], or every problem in it at once.
//!
//! A [`Config`] that exists is valid: nothing downstream checks it again.

mod calling;
mod check;
mod file;
mod foreign;
mod model;
mod problem;
#[cfg(test)]
pub(crate) mod sample;
mod section;
mod spelling;
#[cfg(test)]
mod tests;
mod tree;
mod value;

#[cfg(test)]
pub(crate) use model::{Admin, Bounce, ClientMatch, Kernel, Limits, Metrics, SorryServer};
pub use model::{
    Advertise, Cluster, Config, DEFAULT_SOCKET, HealthCheck, HealthCheckKind, HealthCheckTls, Log, LogFormat, LogLevel,
    NoServers, OnFailure, RealServer, UnexpectedData,
};
pub use problem::{NamedFile, Problem, ProblemSeverity, Problems};
pub(crate) use value::unfit;

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

/// Reads a file's text; `file` is its name, for the problems.
///
/// # Errors
///
/// Every problem of the file, warnings too, in file order. Where its text is no YAML from some place on, those before that
/// place.
pub fn parse(text: &str, file: &str) -> Result<Parsed, Problems> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let report = problem::Collector::new(file, text);
    let root = tree::read(text, &report);
    let ours = root.as_ref().is_some_and(|root| root.child("clusters").is_some());
    if let Some((place, wrong)) = (!ours).then(|| foreign::recognized(text, file)).flatten() {
        return Err(problem::only(file, text, place, wrong));
    }
    let mut read = None;
    if let Some(root) = &root {
        let mut draft = file::read(section::Section::new(String::new(), root, &report));
        let checker = check::Checker::new(root, &report);
        check::check(&mut draft, &checker);
        read = Some((check::named_files(&draft, &checker), draft.config));
    }
    let warnings = report.finish()?;
    let parsed = read.map(|(named, config)| Parsed { config, warnings, named });
    parsed.ok_or(Problems { list: Vec::new(), more: 1 })
}

/// [`parse`] for a file as it was read from disk.
///
/// # Errors
///
/// As [`parse`]; also when it is not UTF-8.
pub fn parse_bytes(bytes: &[u8], file: &str) -> Result<Parsed, Problems> {
    let valid = match std::str::from_utf8(bytes) {
        Ok(text) => return parse(text, file),
        Err(error) => error.valid_up_to(),
    };
    let text = String::from_utf8_lossy(bytes);
    let (place, wrong) = foreign::not_utf8(bytes, valid, file);
    let mut problems = problem::only(file, &text, place, wrong);
    // A letter of another encoding in a comment hides nothing else.
    if foreign::is_text(&text) {
        let mut others = parse(&text, file).map_or_else(|problems| problems, |parsed| parsed.warnings.into());
        others.list.retain(|problem| !problem.is_of(char::REPLACEMENT_CHARACTER));
        problems.add(others);
    }
    Err(problems)
}
