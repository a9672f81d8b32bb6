//! What a reload cannot change.

use crate::config::Config;

/// The key that differs and is read only when the daemon starts; with what to do where that is not plain.
#[must_use]
pub fn needed(old: &Config, new: &Config) -> Option<&'static str> {
    if old.kernel.queue != new.kernel.queue {
        return Some("kernel.queue");
    }
    if old.kernel.fwmark_base != new.kernel.fwmark_base {
        return Some("kernel.fwmark_base (stop, `ftpdirector flush` with the old file, start: it)");
    }
    if old.log != new.log {
        return Some("log");
    }
    if old.admin != new.admin {
        return Some("admin.socket");
    }
    (old.metrics.listen != new.metrics.listen).then_some("metrics.listen")
}
