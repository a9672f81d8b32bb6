//! `idle`: how long a silent control connection is kept, where that is longer than IPVS does by itself.

use super::checker::One;
use crate::config::model::Kernel;

/// The `idle` of one cluster. No error: another program may have set shorter timeouts.
pub(super) fn within(one: &One<'_, '_, '_>, kernel: &Kernel) {
    let Some(idle) = one.cluster.idle_control else { return };
    let tcp = kernel.tcp_timeout();
    if idle <= tcp && one.checker.sound("kernel.timeouts") {
        let tcp = tcp.as_secs();
        let what = format!("without effect: IPVS itself keeps a silent control connection for {tcp}s");
        one.warning(&one.path("idle"), what, format!("more than {tcp}s, a shorter `kernel.timeouts.tcp`, or null"));
    }
}
