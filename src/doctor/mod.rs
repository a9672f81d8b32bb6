//! `ftpdirector doctor`: examines the machine for what breaks FTP on IPVS, and changes nothing.
//!
//! [`gather()`] reads the machine into [`Facts`]; each check is a pure function over them.

mod checks;
mod facts;
mod finding;
mod firewall;
mod gather;
#[cfg(test)]
mod sample;

use std::fmt;

use crate::config::Config;
use facts::Need;
pub use facts::{Facts, UNSEEN};
pub use finding::{Finding, Severity};
pub use gather::{gather, gather_for};

/// Everything that was found, the worst first, then the checks that found nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// Findings, then one [`Severity::Unknown`] or [`Severity::Good`] for each check that found nothing.
    pub findings: Vec<Finding>,
}

/// Runs every check of [`checks::ALL`] on the facts; the worst findings come first.
#[must_use]
pub fn examine(facts: &Facts) -> Examination {
    run(facts, checks::ALL.iter())
}

/// Runs the checks that need nothing but a configuration and `/proc/sys`.
#[must_use]
pub fn examine_settings(config: &Config) -> Examination {
    let read = [Need::Configuration, Need::Sysctls, Need::IpvsSysctls];
    let few = checks::ALL.iter().filter(|check| check.needs.iter().all(|need| read.contains(need)));
    run(&gather::gather_settings(config), few)
}

fn run<'a>(facts: &Facts, checks: impl Iterator<Item = &'a checks::Check>) -> Examination {
    let mut findings: Vec<Finding> = checks
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
    Examination { findings }
}

impl Examination {
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

impl fmt::Display for Examination {
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
        writeln!(f, "{fatal} fatal, {warnings} warnings, {notes} notes")
    }
}

#[cfg(test)]
mod tests {
    use super::facts::Unseen;
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
        assert!(text.ends_with("1 fatal, 0 warnings, 1 notes\n"), "{text}");
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

    /// A machine of which one part cannot be read: every check that needs it says so.
    #[test]
    fn every_read_that_fails_is_felt() {
        for need in [
            Need::Rules,
            Need::Services,
            Need::Network,
            Need::Sysctls,
            Need::Versions,
            Need::Features,
            Need::Modules,
            Need::Helpers,
            Need::Listening,
            Need::Keepalived,
            Need::Directors,
        ] {
            let mut facts = sample::nat();
            facts.unseen.push(Unseen { need: Some(need), tried: "it".into(), why: "denied".into() });
            let report = examine(&facts);
            let of = |name: &str| report.findings.iter().find(|finding| finding.check == name).map(|f| f.severity);
            let mut without = 0;
            for check in checks::ALL {
                assert!(!check.needs.is_empty(), "{} would be called good whatever was seen", check.name);
                if check.needs.contains(&need) {
                    assert_eq!(of(check.name), Some(Severity::Unknown), "{} without {need:?}", check.name);
                    without += 1;
                }
            }
            assert!(without > 0, "{need:?}");
            assert_eq!(of("unseen"), Some(Severity::Warning));
        }
    }
}
