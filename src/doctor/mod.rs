//! `ftpdirector doctor`: examines the machine for what breaks FTP on IPVS, and changes nothing.
//!
//! [`gather`] reads the machine into [`Facts`]; each check is a pure function over them.

mod checks;
mod facts;
mod firewall;
mod gather;
#[cfg(test)]
mod sample;

use std::fmt;

use serde::Serialize;

pub use facts::Facts;
use facts::Need;
pub use gather::gather;

/// How bad a finding is; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// FTP does not work, or not for everyone.
    Fatal,
    /// It may not work, or we could not prove that it does.
    Warning,
    /// Worth knowing when something else is wrong.
    Note,
    /// A check that could not be made, and found nothing.
    Unknown,
    /// A check that found nothing.
    Good,
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
    /// A finding of the check that is running; [`examine`] fills in its name.
    fn new(severity: Severity, what: impl Into<String>) -> Self {
        let empty = String::new;
        Self { severity, check: "", what: what.into(), evidence: empty(), consequence: empty(), cure: empty() }
    }

    fn fatal(what: impl Into<String>) -> Self {
        Self::new(Severity::Fatal, what)
    }

    fn warning(what: impl Into<String>) -> Self {
        Self::new(Severity::Warning, what)
    }

    fn note(what: impl Into<String>) -> Self {
        Self::new(Severity::Note, what)
    }

    fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = evidence.into();
        self
    }

    fn means(mut self, consequence: impl Into<String>) -> Self {
        self.consequence = consequence.into();
        self
    }

    fn cure(mut self, cure: impl Into<String>) -> Self {
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

/// One row of [`checks::ALL`].
struct Check {
    name: &'static str,
    /// What is true when it finds nothing.
    good: &'static str,
    /// What it looks at.
    needs: &'static [Need],
    run: fn(&Facts) -> Vec<Finding>,
}

/// Everything that was found, the worst first, then the checks that found nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Findings, then one [`Severity::Unknown`] or [`Severity::Good`] for each check that found nothing.
    pub findings: Vec<Finding>,
}

/// Runs every check.
#[must_use]
pub fn examine(facts: &Facts) -> Report {
    let mut findings: Vec<Finding> = checks::ALL
        .iter()
        .flat_map(|check| {
            let mut found = (check.run)(facts);
            if found.is_empty() {
                let severity = if facts.seen(check.needs) { Severity::Good } else { Severity::Unknown };
                found.push(Finding::new(severity, check.good));
            }
            found.into_iter().map(|finding| Finding { check: check.name, ..finding })
        })
        .collect();
    findings.sort_by_key(|finding| finding.severity);
    Report { findings }
}

impl Report {
    /// Whether FTP cannot work on this machine.
    #[must_use]
    pub fn fatal(&self) -> bool {
        self.count(Severity::Fatal) > 0
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// One JSON object a line.
    ///
    /// # Errors
    /// None in practice: every field is text.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let lines: Result<Vec<_>, _> = self.findings.iter().map(serde_json::to_string).collect();
        Ok(lines?.into_iter().map(|line| line + "\n").collect())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in self.findings.iter().filter(|finding| finding.severity < Severity::Unknown) {
            writeln!(f, "{finding}\n")?;
        }
        for (severity, title) in [(Severity::Unknown, "not examined: whether"), (Severity::Good, "good:")] {
            let found: Vec<_> = self.findings.iter().filter(|finding| finding.severity == severity).collect();
            if !found.is_empty() {
                writeln!(f, "{title}")?;
                for finding in found {
                    writeln!(f, "  {:<18} {}", finding.check, finding.what)?;
                }
                writeln!(f)?;
            }
        }
        let [fatal, warnings, notes] = [Severity::Fatal, Severity::Warning, Severity::Note].map(|s| self.count(s));
        writeln!(f, "{fatal} fatal, {warnings} to look at, {notes} notes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_good_checks_are_named() {
        let mut facts = sample::nat();
        facts.set("net/ipv4/ip_forward", "0");
        facts.set("net/ipv4/vs/sloppy_tcp", "1");
        let report = examine(&facts);
        assert!(report.fatal());
        assert_eq!(report.findings[0].check, "ip-forward");
        let text = report.to_string();
        assert!(text.contains("cure: sysctl -w net.ipv4.ip_forward=1"), "{text}");
        assert!(text.ends_with("1 fatal, 0 to look at, 1 notes\n"), "{text}");
        let json = report.json().expect("text");
        assert!(json.lines().all(|line| line.starts_with("{\"severity\":\"")), "{json}");
        assert_eq!(json.lines().count(), report.findings.len());
    }

    #[test]
    fn a_healthy_machine_has_no_findings() {
        for facts in [sample::nat(), sample::dr()] {
            let report = examine(&facts);
            assert!(report.findings.iter().all(|finding| finding.severity == Severity::Good), "{report}");
        }
    }

    #[test]
    fn what_was_not_seen_is_not_called_good() {
        let report = examine(&Facts::default());
        let firewall = report.findings.iter().find(|finding| finding.check == "firewall").expect("a row");
        assert_eq!(firewall.severity, Severity::Unknown);
        assert!(report.to_string().contains("not examined: whether"), "{report}");
    }
}
