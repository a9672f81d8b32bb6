//! The files that a configuration names. Who can look at them finds here what to say of one that is not as it should be.

use std::collections::BTreeSet;
use std::path::Path;

use super::checker::{Checker, One};
use crate::config::file::Draft;
use crate::config::model::HealthCheckKind;
use crate::config::problem::NamedFile;

/// Those that are read: what a kind of health check has no use for is warned of as such.
pub(in crate::config) fn files(draft: &Draft, checker: &Checker<'_, '_>) -> Vec<NamedFile> {
    let (mut files, mut seen) = (Vec::new(), BTreeSet::new());
    // One in `defaults` is that of many clusters.
    let mut add = |path: &str, file: &Path, cure: &str| {
        if seen.insert(checker.place(path)) {
            files.push(checker.file(path, file, cure));
        }
    };
    for (cluster, origin) in draft.config.clusters.iter().zip(&draft.origins) {
        let (one, check) = (One { cluster, origin, checker }, &cluster.health_check);
        let logs_in = matches!(check.kind, HealthCheckKind::Login | HealthCheckKind::Transfer);
        if let Some(path) = check.password_file.as_ref().filter(|_| logs_in) {
            let cure = "the password in the first line of a file that the user ftpdirector can read: mode 0640, group ftpdirector, \
                        in /etc/ftpdirector/passwords/";
            add(&one.path("health_check.password_file"), path, cure);
        }
        if let Some(path) = check.ca_file.as_ref().filter(|_| check.kind != HealthCheckKind::None) {
            let cure = "a PEM file with the certificates, which the user ftpdirector can read";
            add(&one.path("health_check.ca_file"), path, cure);
        }
    }
    files
}
