//! What `ftpdirector doctor` would say, asked by the daemon itself: at its start what a look at sysctls tells, and everything
//! once it has run for a while, again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::{error, info, warn};

use super::view::View;
use crate::config::Config;
use crate::doctor::{self, Examination, Finding, Severity};

/// From the start to the first whole examination: a machine that boots is not ready at once.
const FIRST: Duration = Duration::from_secs(60);

/// From one examination to the next.
const PERIOD: Duration = Duration::from_secs(300);

/// An examination takes at most this part of the time (each server's route is asked for).
const SHARE: u32 = 100;

/// How many findings there are, by [`Severity::name`]. What could not be examined is not known, and no warning: the daemon may
/// read less than root.
#[must_use]
pub fn count(examination: &Examination) -> BTreeMap<&'static str, u64> {
    let counted = [Severity::Fatal, Severity::Warning, Severity::Note, Severity::Unknown];
    let mut found: BTreeMap<_, u64> = counted.into_iter().map(|severity| (severity.name(), 0)).collect();
    for finding in &examination.findings {
        let severity = if finding.check == doctor::UNSEEN { Severity::Unknown } else { finding.severity };
        if let Some(count) = found.get_mut(severity.name()) {
            *count = count.saturating_add(1);
        }
    }
    found
}

/// What was said of this machine already, so that each finding is said once.
#[derive(Debug, Default)]
pub struct Said(BTreeSet<(&'static str, String)>);

impl Said {
    /// The findings that are worth a line of the log and were not there before; then those that are gone.
    fn news<'a>(&mut self, examination: &'a Examination) -> (Vec<&'a Finding>, Vec<String>) {
        let bad = examination.findings.iter().filter(|finding| {
            matches!(finding.severity, Severity::Fatal | Severity::Warning) && finding.check != doctor::UNSEEN
        });
        let bad: Vec<&Finding> = bad.collect();
        let now: BTreeSet<_> = bad.iter().map(|finding| (finding.check, finding.what.clone())).collect();
        let gone = self.0.difference(&now).map(|(_, what)| what.clone()).collect();
        let new = bad.into_iter().filter(|finding| !self.0.contains(&(finding.check, finding.what.clone()))).collect();
        self.0 = now;
        (new, gone)
    }

    fn say(&mut self, examination: &Examination) {
        let (new, gone) = self.news(examination);
        for Finding { severity, check, what, consequence, cure, .. } in new {
            let cure = cure.replace('\n', "; ");
            let text = format!("doctor: {what}: {consequence} (cure: {cure})");
            if *severity == Severity::Fatal { error!(check, "{text}") } else { warn!(check, "{text}") }
        }
        gone.iter().for_each(|what| info!("doctor: no longer: {what}"));
    }
}

/// Says what can be seen at a start without asking other programs.
#[must_use]
pub fn at_start(config: &Config) -> Said {
    let mut said = Said::default();
    said.say(&doctor::examine_settings(config));
    said
}

/// Examines the machine again and again; what was `said` at the start is not said again.
pub async fn watch(view: Arc<Mutex<View>>, mut said: Said) {
    let mut next = FIRST;
    loop {
        sleep(next).await;
        let config = Arc::clone(&lock(&view).file);
        let began = Instant::now();
        let examined = tokio::task::spawn_blocking(move || doctor::examine(&doctor::gather_for(&config))).await;
        next = PERIOD.max(began.elapsed().saturating_mul(SHARE));
        if let Ok(examination) = examined {
            said.say(&examination);
            lock(&view).history.findings = Some(count(&examination));
        }
    }
}

fn lock(view: &Mutex<View>) -> std::sync::MutexGuard<'_, View> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, check: &'static str, what: &str) -> Finding {
        let text = String::new;
        Finding { severity, check, what: what.into(), evidence: text(), consequence: text(), cure: text() }
    }

    #[test]
    fn what_could_not_be_read_is_unknown() {
        let findings = vec![
            finding(Severity::Fatal, "vip", "a"),
            finding(Severity::Warning, doctor::UNSEEN, "b"),
            finding(Severity::Warning, "mtu", "c"),
            finding(Severity::Unknown, "keepalived", "d"),
            finding(Severity::Good, "marks", "e"),
        ];
        let counted = count(&Examination { findings });
        assert_eq!(counted, BTreeMap::from([("fatal", 1), ("note", 0), ("unknown", 2), ("warning", 1)]));
    }

    #[test]
    fn each_finding_is_said_once_and_when_it_is_gone() {
        let mut said = Said::default();
        let of = |findings: &[Finding]| Examination { findings: findings.to_vec() };
        let (mtu, vip) = (finding(Severity::Warning, "mtu", "small"), finding(Severity::Fatal, "vip", "gone"));
        let quiet = [finding(Severity::Note, "tls", "x"), finding(Severity::Warning, doctor::UNSEEN, "y")];
        let mut told = |findings: &[Finding]| {
            let examination = of(findings);
            let (new, gone) = said.news(&examination);
            (new.iter().map(|finding| finding.what.clone()).collect::<Vec<_>>(), gone)
        };
        assert_eq!(told(&quiet), (vec![], vec![]));
        assert_eq!(told(std::slice::from_ref(&mtu)), (vec!["small".into()], vec![]));
        assert_eq!(told(&[mtu.clone(), vip.clone()]), (vec!["gone".into()], vec![]));
        assert_eq!(told(&[vip]), (vec![], vec!["small".into()]));
        assert_eq!(told(&[mtu]), (vec!["small".into()], vec!["gone".into()]));
    }
}
