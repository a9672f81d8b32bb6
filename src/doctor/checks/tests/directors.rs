//! One of several directors, and what the checks must say of it.

use super::super::super::{Facts, Severity, sample};
use super::rows::{Row, cluster};
use crate::config;
use crate::kernel::ipvs::{SyncDaemon, SyncRole};

/// As [`super::rows::ROWS`].
pub const ROWS: &[Row] = &[
    (
        "sync",
        sample::dr,
        several_directors,
        Severity::Warning,
        "ipvsadm -l --daemon: none",
        "ipvsadm --start-daemon master --mcast-interface eth1 --syncid 21\nipvsadm --start-daemon backup",
    ),
    (
        "sync",
        sample::dr,
        |f| {
            several_directors(f);
            f.sync_daemons = vec![sync_daemon(SyncRole::Master)];
        },
        Severity::Warning,
        "master sync daemon (mcast=eth2, syncid=7)",
        "ipvsadm --start-daemon backup --mcast-interface eth2 --syncid 7",
    ),
    (
        "sync-marks",
        sample::nat,
        |f| {
            f.sync_daemons = vec![sync_daemon(SyncRole::Backup)];
            cluster(f).real_servers[1].mark = Some(7);
        },
        Severity::Warning,
        "no `mark`: rs1, rs3",
        "a `mark` for every real server",
    ),
    (
        "sync-period",
        sample::nat,
        |f| {
            f.sync_daemons = vec![sync_daemon(SyncRole::Master)];
            f.set("net/ipv4/vs/sync_refresh_period", "0");
            f.set("net/ipv4/vs/sync_threshold", "3\t50");
        },
        Severity::Warning,
        "net.ipv4.vs.sync_threshold = 3 50",
        "sysctl -w net.ipv4.vs.sync_threshold=\"3 0\"\nsysctl -w net.ipv4.vs.sync_refresh_period=10",
    ),
];

/// A file as every director of a group has it.
pub fn several_directors(facts: &mut Facts) {
    let cluster = cluster(facts);
    cluster.unexpected_data = config::UnexpectedData::Pass;
    for (server, number) in cluster.real_servers.iter_mut().zip(1..) {
        (server.mark, server.active_port) = (Some(number), Some(2020 + number));
    }
}

pub fn sync_daemon(role: SyncRole) -> SyncDaemon {
    SyncDaemon { role, interface: "eth2".into(), id: 7 }
}
