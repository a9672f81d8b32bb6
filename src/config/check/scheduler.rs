//! `scheduler`: a name that is none of the kernel's own.

use super::checker::One;
use crate::config::spelling::nearest;

/// Those of Linux 6.12, `net/netfilter/ipvs/ip_vs_*.c`, as ipvsadm(8) has them.
const KERNEL: [&str; 14] =
    ["rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos"];

/// No error: a module from elsewhere may bring another one.
pub(super) fn within(one: &One<'_, '_, '_>) {
    let scheduler = one.cluster.scheduler.as_str();
    if KERNEL.contains(&scheduler) || !one.sound("scheduler") {
        return;
    }
    let what =
        format!("Linux has no scheduler {scheduler:?}: without a module ip_vs_{scheduler} the daemon does not start");
    let all = KERNEL.join(", ");
    let cure = match nearest(scheduler, &KERNEL) {
        Some(meant) => format!("did you mean {meant}? ({all})"),
        None => format!("one of {all}"),
    };
    one.warning(&one.path("scheduler"), what, cure);
}
