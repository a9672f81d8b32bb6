//! `health_check` of a cluster, from the checks of the old set-up.

use std::time::Duration;

use super::draft::Draft;
use super::found::{Check, CheckKind};
use super::page::Page;
use super::text::{shown, written};

/// The defaults of our file.
const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(3);
/// Where TLS begins at once.
const TLS: u16 = 990;

/// Writes the section, or a comment where the default holds.
pub(super) fn write(page: &mut Page, draft: &Draft) {
    let check = &draft.check;
    let mut section = Page::default();
    let kind = kind(&mut section, check, draft.ports == [TLS]);
    if let Some(kind) = kind {
        section.entry(4, "  ", "kind", &kind);
    }
    if kind == Some("transfer")
        && let Some(path) = argument(check.path.as_deref())
    {
        section.entry(4, "  ", "path", &path);
    }
    if kind != Some("none") {
        pace(&mut section, check);
    }
    // Comments alone are no mapping.
    if section.text.lines().all(|line| line.trim_start().starts_with('#')) {
        let lines = section.text.lines().map(|line| line.strip_prefix("  ").unwrap_or(line));
        page.text.extend(lines.map(|line| format!("{line}\n")));
    } else {
        page.text.push_str("    health_check:\n");
        page.text.push_str(&section.text);
    }
}

/// The kind to write; `None`: the default.
fn kind(page: &mut Page, check: &Check, tls: bool) -> Option<&'static str> {
    if tls && !matches!(check.kind, CheckKind::Off | CheckKind::Tcp) {
        page.comment(6, "GUESS: on port 990 anything but `tcp` begins TLS, and needs a certificate that verifies, or `verify: false`.");
        return Some("tcp");
    }
    match check.kind {
        CheckKind::Other => {
            page.comment(
                6,
                "GUESS: no health checks that speak FTP are in these files. Here a server that does not say 220 in time gets no new sessions \
                 (`kind: banner`, the default). `none` switches checks off, `transfer` goes furthest.",
            );
            None
        }
        CheckKind::Off => {
            page.comment(6, "The old checks were off. `banner` or `transfer` would find a server that hangs.");
            Some("none")
        }
        CheckKind::Tcp => {
            page.comment(6, "As before. `banner` waits for a 220, `transfer` logs in and lists a directory.");
            Some("tcp")
        }
        CheckKind::Banner => Some("banner"),
        CheckKind::Login | CheckKind::Transfer => Some(login(page, check)),
    }
}

/// A login needs a password, which is not copied: the check that does not is written.
fn login(page: &mut Page, check: &Check) -> &'static str {
    let kind = if check.kind == CheckKind::Login { "login" } else { "transfer" };
    let Some(user) = argument(check.user.as_deref()) else { return kind };
    let password = check.password.as_ref().map_or_else(String::new, |place| format!(" ({place})"));
    page.comment(
        6,
        &format!(
            "LEFT OUT: the login of the old checks: its password{password} is not copied. Put it into a file that the user ftpdirector can read, \
             take the comment signs off these lines, and write `kind: {kind}` instead of `kind: banner`:"
        ),
    );
    page.entry_as_comment(6, "user", &user);
    page.entry_as_comment(6, "password_file", &"/etc/ftpdirector/passwords/probe");
    if let Some(path) = argument(check.path.as_deref()).filter(|_| kind == "transfer") {
        page.entry_as_comment(6, "path", &path);
    }
    "banner"
}

/// What our file accepts as an argument of an FTP command.
fn argument(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty() && text.len() <= 255 && **text == shown(text))
}

/// Interval, timeout and number of checks. A check must not outlast the interval.
fn pace(page: &mut Page, check: &Check) {
    let positive = |duration: Option<Duration>| duration.filter(|duration| !duration.is_zero());
    let (interval, timeout) = (positive(check.interval), positive(check.timeout));
    let longest = timeout.unwrap_or(TIMEOUT);
    if interval.unwrap_or(INTERVAL) < longest {
        let before = interval.unwrap_or(INTERVAL);
        page.comment(
            6,
            &format!("GUESS: the interval was {}, shorter than a check may take; it is as long here.", written(before)),
        );
        page.entry(4, "  ", "interval", &written(longest));
    } else if let Some(interval) = interval {
        page.entry(4, "  ", "interval", &written(interval));
    }
    if let Some(timeout) = timeout {
        page.entry(4, "  ", "timeout", &written(timeout));
    }
    if let Some(fall) = check.fall.filter(|fall| *fall > 0) {
        page.entry(4, "  ", "fall", &fall);
    }
}
