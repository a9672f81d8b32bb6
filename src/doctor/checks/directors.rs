//! Several directors that tell each other of connections.

use super::super::facts::sysctl_cure;
use crate::config::Cluster;
use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;
use crate::kernel::ipvs::SyncRole;

const UNIT: &str = "/usr/share/doc/ftpdirector/examples/ecmp/ftpdirector-sync.service";

/// What `ipvsadm -l --daemon` shows.
fn seen(facts: &Facts) -> String {
    if facts.sync_daemons.is_empty() {
        return "ipvsadm -l --daemon: none".into();
    }
    facts.sync_daemons.iter().map(|daemon| format!("ipvsadm -l --daemon: {daemon}")).collect::<Vec<_>>().join("\n")
}

/// Connections are shared, and the marks that go with them are each director's own choice.
pub fn marks(facts: &Facts) -> Vec<Finding> {
    let without = |cluster: &Cluster| {
        let servers = cluster.real_servers.iter().filter(|server| server.mark.is_none());
        let names: Vec<&str> = servers.map(|server| server.name.as_str()).collect();
        (!facts.sync_daemons.is_empty() && !names.is_empty()).then(|| {
            Finding::warning(format!("cluster {}: another director may mean other servers by the same marks", cluster.name))
                .seen(format!("{}\nno `mark`: {}", seen(facts), names.join(", ")))
                .means("IPVS tells the other directors the mark of each data connection; there it stands for the server that their daemon gave it to")
                .cure("a `mark` for every real server, and the same file on every director")
        })
    };
    facts.clusters().iter().filter_map(without).collect()
}

/// A file for several directors at once (marks are pinned, data connections pass by their port alone), of which one does not
/// hear of the others' connections, or tells of none.
pub fn sync(facts: &Facts) -> Vec<Finding> {
    let several: Vec<&str> = facts
        .clusters()
        .iter()
        .filter(|cluster| cluster.steers_by_port() && cluster.real_servers.iter().all(|server| server.mark.is_some()))
        .map(|cluster| cluster.name.as_str())
        .collect();
    // keepalived runs the one that its state needs.
    let keepalived = facts
        .keepalived
        .iter()
        .any(|(_, text)| text.lines().any(|line| line.split_whitespace().next() == Some("lvs_sync_daemon")));
    let missing: Vec<SyncRole> = [SyncRole::Master, SyncRole::Backup]
        .into_iter()
        .filter(|role| facts.sync_daemons.iter().all(|daemon| daemon.role != *role))
        .collect();
    if several.is_empty() || keepalived || missing.is_empty() {
        return Vec::new();
    }
    let interface = facts.sync_daemons.first().map_or("eth1", |daemon| daemon.interface.as_str());
    let id = facts.sync_daemons.first().map_or(21, |daemon| daemon.id);
    let means = match missing[..] {
        [SyncRole::Master] => {
            "the other directors do not hear of this one's sessions: when the router moves one there, it ends"
        }
        [SyncRole::Backup] => {
            "this director does not hear of the others' sessions: when the router moves one here, it ends"
        }
        _ => "directors know their own sessions only: one that the router moves to another director ends",
    };
    let commands: Vec<String> = missing
        .iter()
        .map(|role| format!("ipvsadm --start-daemon {} --mcast-interface {interface} --syncid {id}", role.name()))
        .collect();
    let cluster = several.join(", ");
    vec![
        Finding::warning(format!(
            "cluster {cluster}: a file for several directors, and connections are not shared both ways"
        ))
        .seen(format!("{}\n`unexpected_data: pass`, and a `mark` for every server", seen(facts)))
        .means(means)
        .cure(format!("{}\n({UNIT} does it at each start)", commands.join("\n"))),
    ]
}

/// Connections are told of by the number of their packets, and control connections have few.
pub fn period(facts: &Facts) -> Vec<Finding> {
    const REFRESH: &str = "net/ipv4/vs/sync_refresh_period";
    const THRESHOLD: &str = "net/ipv4/vs/sync_threshold";
    if facts.sync_daemons.is_empty() || facts.number(REFRESH) != Some(0) {
        return Vec::new();
    }
    let threshold = facts.sysctls.get(THRESHOLD).map_or("", String::as_str).replace('\t', " ");
    vec![
        Finding::warning("other directors hear of a control connection by the number of its packets")
            .seen(format!("net.ipv4.vs.sync_refresh_period = 0, net.ipv4.vs.sync_threshold = {threshold}"))
            .means(
                "they hear too late of sessions that say little, and forget them after IPVS's TCP timeout (15 minutes)",
            )
            .cure(sysctl_cure([(THRESHOLD, "\"3 0\""), (REFRESH, "10")])),
    ]
}
