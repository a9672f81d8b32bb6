//! What a check finds.

use std::fmt;

use serde::Serialize;

/// How bad a finding is; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// FTP does not work, or not for everyone.
    Fatal,
    /// FTP may not work, or we could not prove that it does.
    Warning,
    /// Worth knowing when something else is wrong.
    Note,
    /// A check that could not be made, and found nothing.
    Unknown,
    /// A check that found nothing.
    Good,
}

impl Severity {
    /// As in JSON and in the label of the metric.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fatal => "fatal",
            Self::Warning => "warning",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Good => "good",
        }
    }
}

/// One thing that a check found. Every text is for a person; `evidence` and `cure` may have several lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which check found it.
    pub check: &'static str,
    /// What is wrong, one line.
    pub what: String,
    /// The file, value or rule that was seen.
    pub evidence: String,
    /// What the user will see.
    pub consequence: String,
    /// Commands, or what to write where.
    pub cure: String,
}

impl Finding {
    /// A finding of the check that is running; [`super::examine`] fills in its name.
    pub(super) fn new(severity: Severity, what: impl Into<String>) -> Self {
        let empty = String::new;
        Self { severity, check: "", what: what.into(), evidence: empty(), consequence: empty(), cure: empty() }
    }

    pub(super) fn fatal(what: impl Into<String>) -> Self {
        Self::new(Severity::Fatal, what)
    }

    pub(super) fn warning(what: impl Into<String>) -> Self {
        Self::new(Severity::Warning, what)
    }

    pub(super) fn note(what: impl Into<String>) -> Self {
        Self::new(Severity::Note, what)
    }

    pub(super) fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = evidence.into();
        self
    }

    pub(super) fn means(mut self, consequence: impl Into<String>) -> Self {
        self.consequence = consequence.into();
        self
    }

    pub(super) fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = cure.into();
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Fatal => "FATAL",
            Severity::Warning => "WARNING",
            Severity::Note => "note",
            Severity::Unknown => "unknown",
            Severity::Good => "good",
        };
        write!(f, "{severity}: {} [{}]", self.what, self.check)?;
        for (label, text) in [("seen", &self.evidence), ("means", &self.consequence), ("cure", &self.cure)] {
            if !text.is_empty() {
                write!(f, "\n  {label:>5}: {}", text.trim_end().replace('\n', "\n         "))?;
            }
        }
        Ok(())
    }
}
