//! What a cluster asks of ranges, persistence and IPVS's sysctls.

use super::super::facts::{sysctl_cure, sysctl_name};
use crate::config::Cluster;
use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;
use crate::lvs::{ForwardingMethod, PortRange};

/// Servers that share ports in DR and TUN, where the replies that could tell them apart are not seen.
pub fn ranges(facts: &Facts) -> Vec<Finding> {
    let blind = facts.clusters().iter().filter(|c| c.forwarding != ForwardingMethod::Nat && c.persistence.is_none());
    blind
        .filter_map(|cluster| {
            let shared: Vec<_> = cluster.real_servers.iter().filter(|server| server.shared).collect();
            let (first, second) = (shared.first()?, shared.get(1)?);
            Some(
                Finding::fatal(format!("cluster {}: {} servers share passive ports", cluster.name, shared.len()))
                    .seen(format!("{} {}, {} {}", first.name, first.passive_ports, second.name, second.passive_ports))
                    .means("data connections cannot be told apart: they are dropped")
                    .cure(format!(
                        "clusters: {}: give every server a `passive_ports` of its own, in the file and in the server",
                        cluster.name
                    )),
            )
        })
        .collect()
}

/// Sessions that cannot be read, on a cluster that has nothing else to go by.
pub fn tls(facts: &Facts) -> Vec<Finding> {
    let finding = |cluster: &Cluster| {
        if let Some(public) = cluster.public_ports {
            return Some(unreadable(cluster, public));
        }
        let shared: Vec<&str> = cluster.real_servers.iter().filter(|s| s.shared).map(|s| s.name.as_str()).collect();
        (shared.len() > 1 && cluster.persistence.is_none()).then(|| {
            Finding::warning(format!("cluster {}: TLS clients cannot transfer", cluster.name))
                .seen(format!("{} share their passive ports, and there is no persistence", shared.join(", ")))
                .means("after AUTH TLS nobody can tell which server a data connection belongs to: it is dropped")
                .cure("give every server a `passive_ports` of its own (best), or set `persistence: 5m`")
        })
    };
    facts.clusters().iter().filter_map(finding).collect()
}

/// Public ports are named by rewriting what under TLS nobody can rewrite.
fn unreadable(cluster: &Cluster, public: PortRange) -> Finding {
    Finding::note(format!("cluster {}: TLS clients cannot transfer in passive mode", cluster.name))
        .seen(format!("public_ports: {public}"))
        .means("after AUTH TLS the server's reply names a port of its own, which is closed at the VIP")
        .cure("a cluster without `public_ports` for TLS clients, at another control port or VIP; or let the servers refuse AUTH")
}

/// A setting of IPVS: its value, how it was seen, and what must be loaded before it can be changed. While IPVS is not
/// loaded its default counts: that is what it will have.
fn setting(facts: &Facts, sysctl: &str, default: i64) -> (i64, String, String) {
    let name = sysctl_name(sysctl);
    match facts.number(sysctl) {
        Some(value) => (value, format!("{name} = {value}"), String::new()),
        None => (default, format!("{name} = {default} by default (ip_vs is not loaded)"), "modprobe ip_vs\n".into()),
    }
}

/// conn_reuse_mode without bit 2.
pub fn reuse(facts: &Facts) -> Vec<Finding> {
    const SYSCTL: &str = "net/ipv4/vs/conn_reuse_mode";
    let blind: Vec<&str> = facts
        .clusters()
        .iter()
        .filter(|cluster| cluster.forwarding != ForwardingMethod::Nat)
        .map(|cluster| cluster.name.as_str())
        .collect();
    let (mode, seen, load) = setting(facts, SYSCTL, 1);
    if blind.is_empty() || mode & 2 != 0 {
        return Vec::new();
    }
    vec![
        Finding::warning(format!("cluster {}: client ports that are used again go to the old server", blind.join(", ")))
            .seen(format!("{seen}: bit 2 is not set"))
            .means("in DR and TUN IPVS sees half of a close and keeps the entry in FIN_WAIT for two minutes; a new data connection with the same two ports follows the old entry: a transfer now and then hangs")
            .cure(load + &sysctl_cure([(SYSCTL, if mode & 1 == 0 { "2" } else { "3" })])),
    ]
}

/// Persistence templates that outlive a server's weight.
pub fn quiescent(facts: &Facts) -> Vec<Finding> {
    const SYSCTL: &str = "net/ipv4/vs/expire_quiescent_template";
    let persistent: Vec<&str> =
        facts.clusters().iter().filter(|c| c.persistence.is_some()).map(|c| c.name.as_str()).collect();
    let (value, seen, load) = setting(facts, SYSCTL, 0);
    if persistent.is_empty() || value != 0 {
        return Vec::new();
    }
    vec![
        Finding::warning(format!("cluster {}: a drained server keeps its persistent clients", persistent.join(", ")))
            .seen(seen)
            .means("weight 0 does not end a persistence template: its client comes back to that server for ever, and a drain never ends")
            .cure(load + &sysctl_cure([(SYSCTL, "1")])),
    ]
}
