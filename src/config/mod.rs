//! The configuration file: YAML text → a checked [`Config`], or every problem in it at once.
//!
//! A [`Config`] that exists is valid: nothing downstream checks it again.

mod calling;
mod check;
mod file;
mod model;
mod problem;
#[cfg(test)]
pub(crate) mod sample;
mod section;
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
pub use problem::{Problem, ProblemSeverity, Problems};
pub(crate) use value::unfit;

/// A file that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The configuration of the file.
    pub config: Config,
    /// What a human should look at; warnings only.
    pub warnings: Vec<Problem>,
}

/// Reads a file's text; `file` is its name, for the problems.
///
/// # Errors
///
/// Every problem of the file, warnings too, in file order.
pub fn parse(text: &str, file: &str) -> Result<Parsed, Problems> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let report = problem::Collector::new(file, text);
    let mut config = None;
    if let Some(root) = tree::read(text, &report) {
        let mut draft = file::read(section::Section::new(String::new(), &root, &report));
        let checker = check::Checker::new(&root, &report);
        check::check(&mut draft, &checker);
        config = Some(draft.config);
    }
    let warnings = report.finish()?;
    config.map(|config| Parsed { config, warnings }).ok_or(Problems { list: Vec::new(), more: 1 })
}

/// [`parse`] for a file as it was read from disk.
///
/// # Errors
///
/// As [`parse`]; also when it is not UTF-8.
pub fn parse_bytes(bytes: &[u8], file: &str) -> Result<Parsed, Problems> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(text, file),
        Err(error) => Err(problem::not_utf8(bytes, error.valid_up_to(), file)),
    }
}
