//! The files that a configuration names. Who can look at them finds here what to say of one that is not as it should be.

use super::checker::{Checker, One};
use crate::config::file::Draft;
use crate::config::model::HealthCheckKind;
use crate::config::problem::NamedFile;

/// Those that are read: what a kind of health check has no use for is warned of as such.
pub(in crate::config) fn files(draft: &Draft, checker: &Checker<'_, '_>) -> Vec<NamedFile> {
    let mut files = Vec::new();
    for (cluster, origin) in draft.config.clusters.iter().zip(&draft.origins) {
        let (one, check) = (One { cluster, origin, checker }, &cluster.health_check);
        let logs_in = matches!(check.kind, HealthCheckKind::Login | HealthCheckKind::Transfer);
        if let Some(path) = check.password_file.as_ref().filter(|_| logs_in) {
            let cure = "the password in the first line of a file that the user ftpdirector can read: mode 0640, group ftpdirector, \
                        in /etc/ftpdirector/passwords/";
            files.push(one.checker.file(&one.path("health_check.password_file"), path, cure));
        }
        if let Some(path) = check.ca_file.as_ref().filter(|_| check.kind != HealthCheckKind::None) {
            let cure = "a PEM file with the certificates, which the user ftpdirector can read";
            files.push(one.checker.file(&one.path("health_check.ca_file"), path, cure));
        }
    }
    files
}
