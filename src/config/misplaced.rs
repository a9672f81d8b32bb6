//! Keys that stand in a mapping that does not have them: where they belong, and what other words mean.

/// Keys of a real server.
const OF_SERVERS: [&str; 6] = ["address", "weight", "mark", "active_port", "active_ports", "max_sessions"];
/// Keys of `passive`.
const OF_PASSIVE: [&str; 2] = ["advertise", "public_ports"];
/// Keys of `health_check`.
const OF_CHECKS: [&str; 12] = [
    "kind",
    "interval",
    "timeout",
    "rise",
    "fall",
    "user",
    "password_file",
    "path",
    "tls",
    "verify",
    "ca_file",
    "agent",
];
/// Keys that each cluster has for itself.
const OF_CLUSTERS: [&str; 3] = ["name", "vips", "real_servers"];
/// Keys of clusters that `defaults` may have too.
const OF_ALL_CLUSTERS: [&str; 16] = [
    "bounce",
    "client_match",
    "forwarding",
    "health_check",
    "idle",
    "no_servers",
    "on_failure",
    "passive",
    "persistence",
    "pinhole_timeout",
    "ports",
    "scheduler",
    "slow_start",
    "sorry_server",
    "unexpected_data",
    "vip_interface",
];

/// What to do with a key that no key of this mapping stands for, however near its letters are. `known` are the keys of the mapping.
pub(super) fn misplaced(key: &str, known: &[&str]) -> Option<&'static str> {
    let (whole, cluster) = (known.contains(&"clusters"), known.contains(&"real_servers"));
    // `defaults` has it too.
    let checked = known.contains(&"health_check");
    match key {
        "queues" if known.contains(&"queue") => Some("there is one queue, and no key for more yet: remove it"),
        "passive_ports" if cluster => {
            Some("it belongs into each of `real_servers`; one range for all of them is `passive: {ports: …}`")
        }
        key if cluster && OF_SERVERS.contains(&key) => Some("it belongs into each of `real_servers`"),
        key if checked && OF_PASSIVE.contains(&key) => Some("it belongs under `passive:`"),
        key if checked && OF_CHECKS.contains(&key) => Some("it belongs under `health_check:`"),
        key if whole && OF_CLUSTERS.contains(&key) => Some("it belongs into a cluster, an entry of `clusters:`"),
        key if whole && OF_ALL_CLUSTERS.contains(&key) => {
            Some("it belongs into a cluster, an entry of `clusters:`, or for all of them into `defaults:`")
        }
        _ => None,
    }
}

/// The key that another program's word means here.
pub(super) fn alias<'w>(key: &str, known: &[&'w str]) -> Option<&'w str> {
    let ours = match key {
        "servers" | "backends" | "realservers" | "real_server" => "real_servers",
        "vip" | "virtual_ips" => "vips",
        _ => return None,
    };
    known.iter().copied().find(|known| *known == ours)
}
