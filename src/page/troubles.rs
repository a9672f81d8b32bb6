//! What is wrong, in sentences, the worst first.

use super::hour::{Counter, MINUTES, total};
use super::seen::Seen;
use super::words::{counted, cut, plural, since, without_words};
use crate::api::{ClusterStatus, Server, ServerState};

/// How many are shown.
const SHOWN: usize = 20;

/// Minutes.
const QUARTER: usize = 15;

/// How bad something is; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Somebody is not served.
    Alarm,
    /// A person should look.
    Warning,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// How bad it is.
    pub grade: Grade,
    /// What it is about: a cluster, or `CLUSTER/SERVER`; empty: the director.
    pub whose: String,
    /// A sentence, with what to run where there is something to run.
    pub what: String,
}

/// The first of them, and how many more there are.
pub fn troubles(seen: &Seen<'_>) -> (Vec<Trouble>, usize) {
    let mut all = of_the_director(seen);
    for cluster in &seen.status.clusters {
        all.extend(of_cluster(seen, cluster));
    }
    all.sort_by_key(|trouble| trouble.grade);
    let more = all.len().saturating_sub(SHOWN);
    all.truncate(SHOWN);
    (all, more)
}

/// Whether a server is down.
pub fn is_down(server: &Server) -> bool {
    server.state == ServerState::Down
}

/// The failing step of a server's last health check, and why; `None`: it was good, or there is none.
pub fn failing(server: &Server) -> Option<String> {
    let health = server.health.as_ref()?;
    let error = without_words(health.error.as_ref()?);
    Some(format!("{}: {error}", health.step.as_deref().unwrap_or("health check")))
}

fn of_the_director(seen: &Seen<'_>) -> Vec<Trouble> {
    let status = seen.status;
    let of = |grade, what| Trouble { grade, whose: String::new(), what };
    let mut found = Vec::new();
    if let Some(error) = &status.kernel_error {
        found.push(of(Grade::Alarm, format!("The rows in the kernel: {}", cut(error))));
    }
    if !status.config.reload_good {
        let what = "The last reload failed, and the old configuration goes on: ftpdirector check says why.";
        found.push(of(Grade::Warning, what.into()));
    }
    let findings = |severity| seen.findings.and_then(|found| found.get(severity)).copied().unwrap_or_default();
    for (severity, grade, breaks) in [("fatal", Grade::Alarm, "breaks"), ("warning", Grade::Warning, "may break")] {
        let count = findings(severity);
        if count > 0 {
            let found_there = plural(count, "finding");
            let what =
                format!("ftpdirector doctor has {found_there}: what {breaks} FTP on this machine, and its cure.");
            found.push(of(grade, what));
        }
    }
    found
}

fn of_cluster(seen: &Seen<'_>, cluster: &ClusterStatus) -> Vec<Trouble> {
    let mut found = Vec::new();
    let of = |grade, what| Trouble { grade, whose: cluster.name.clone(), what };
    if !cluster.servers.is_empty() && cluster.servers.iter().all(is_down) {
        found.push(of(Grade::Alarm, "Every real server is down.".into()));
    }
    if let Some(error) = cluster.advertise.as_ref().and_then(|advertise| advertise.error.as_ref()) {
        found.push(of(Grade::Warning, format!("The address for 227s cannot be found: {}", cut(error))));
    }
    if let Some(hour) = seen.hour.of(&cluster.name, seen.at) {
        let misdirected = total(&hour, Counter::Misdirected);
        if misdirected > 0 {
            let what = format!(
                "{} went to another server in the last hour: something changes marks or destinations after ftpdirector.",
                plural(misdirected, "data connection")
            );
            found.push(of(Grade::Alarm, what));
        }
        // As the alert FtpDirectorDataConnectionsMissing.
        let recent = hour.get(MINUTES - QUARTER..).unwrap_or_default();
        let (missing, came) = (total(recent, Counter::Missing), total(recent, Counter::Came));
        if missing > 10 && missing > came.saturating_add(missing) / 5 {
            let what = format!(
                "{} of {} announced data connections did not come in the last 15 minutes: is the passive range open on the way?",
                counted(missing),
                counted(came.saturating_add(missing))
            );
            found.push(of(Grade::Warning, what));
        }
    }
    found.extend(cluster.servers.iter().filter_map(|server| of_server(seen, server)));
    found.extend(cluster.servers.iter().filter_map(of_name));
    // What the look-up gave may be an address behind the director: that stays inside.
    let left_out = cluster.unresolved.iter().map(|server| Trouble {
        grade: Grade::Alarm,
        whose: format!("{}/{}", cluster.name, server.name),
        what: "Left out: its name has no address. ftpdirector status says why.".into(),
    });
    found.extend(left_out);
    found
}

/// A server whose name has no address any more.
fn of_name(server: &Server) -> Option<Trouble> {
    server.host_error.as_ref()?;
    let what = "Its name has no address any more, and the last one goes on. ftpdirector status says why.".into();
    Some(Trouble { grade: Grade::Warning, whose: format!("{}/{}", server.cluster, server.name), what })
}

fn of_server(seen: &Seen<'_>, server: &Server) -> Option<Trouble> {
    let grade = if is_down(server) { Grade::Alarm } else { Grade::Warning };
    let why = failing(server);
    let says_down = server.agent.as_ref().is_some_and(|agent| agent.down);
    let what = match (is_down(server), server.health.as_ref(), why) {
        (true, _, None) if says_down => "Its agent says that it is down.".into(),
        (true, Some(health), why) => {
            let why = why.unwrap_or_else(|| "its health check is good again, but not often enough yet".into());
            format!("Down for {}: {why}", since(health.since, seen.now))
        }
        (true, None, _) => "Down.".into(),
        (false, _, Some(why)) => format!("Its last health check failed: {why}"),
        (false, _, None) => return None,
    };
    Some(Trouble { grade, whose: format!("{}/{}", server.cluster, server.name), what })
}
