//! The checks: pure functions over [`Facts`]. A new check is a row here.

mod clusters;
mod directors;
mod firewall;
mod machine;
mod marks;
mod network;
mod occupied;
mod others;
mod owners;
mod paths;
mod services;
mod tracking;
mod traffic;

use super::facts::{Facts, Need, UNSEEN};
use super::finding::Finding;

const CONFIG: &[Need] = &[Need::Configuration];
const IPVS: &[Need] = &[Need::Sysctls, Need::IpvsSysctls];
const SERVICES: &[Need] = &[Need::Configuration, Need::Services];
const NETWORK: &[Need] = &[Need::Configuration, Need::Network];
const SETTINGS: &[Need] = &[Need::Configuration, Need::Sysctls];
const BOTH: &[Need] = &[Need::Configuration, Need::Network, Need::Sysctls];
const RULES: &[Need] = &[Need::Configuration, Need::Network, Need::Rules];
const HELPERS: &[Need] = &[Need::Configuration, Need::Helpers];
const KEEPALIVED: &[Need] = &[Need::Configuration, Need::Keepalived];
const PORTS: &[Need] = &[Need::Configuration, Need::Services, Need::Listening];
const SYNC: &[Need] = &[Need::Configuration, Need::Services, Need::Keepalived];

/// In the order of the report, within one severity.
pub const ALL: &[Check] = &[
    Check { name: "configuration", good: "the file can be used", needs: CONFIG, run: machine::configuration },
    Check { name: UNSEEN, good: "everything could be examined", needs: CONFIG, run: machine::unseen },
    Check { name: "versions", good: "nft is new enough", needs: &[Need::Versions], run: machine::versions },
    Check {
        name: "features",
        good: "the kernel takes every part of the rules",
        needs: &[Need::Features],
        run: machine::features,
    },
    Check {
        name: "modules",
        good: "the kernel modules are there",
        needs: &[Need::Configuration, Need::Modules],
        run: machine::modules,
    },
    Check { name: "ip-vs-ftp", good: "no kernel helper on our ports", needs: HELPERS, run: machine::helper },
    Check { name: "backup-only", good: "IPVS works on this node", needs: IPVS, run: machine::backup_only },
    Check {
        name: "overload-defence",
        good: "IPVS drops no packets and adopts no connections by itself",
        needs: IPVS,
        run: machine::defences,
    },
    Check {
        name: "services",
        good: "no other program balances our VIPs and ports",
        needs: SERVICES,
        run: services::foreign,
    },
    Check {
        name: "keepalived",
        good: "keepalived leaves our services alone",
        needs: KEEPALIVED,
        run: services::keepalived,
    },
    Check {
        name: "kubernetes",
        good: "no program of Kubernetes deletes our services",
        needs: NETWORK,
        run: services::kubernetes,
    },
    Check {
        name: "other-director",
        good: "no other ftpdirector, and nobody else at our queue, in this network namespace",
        needs: &[Need::Configuration, Need::Directors, Need::Services],
        run: others::directors,
    },
    Check { name: "vip", good: "the VIPs are addresses of this machine", needs: NETWORK, run: network::vips },
    Check {
        name: "advertise",
        good: "interfaces that 227s follow have an address",
        needs: NETWORK,
        run: network::advertised,
    },
    Check {
        name: "routes",
        good: "the real servers can be reached the way they must",
        needs: NETWORK,
        run: network::servers,
    },
    Check {
        name: "tunnel-source",
        good: "tunnelled packets leave with an address of the director's own",
        needs: NETWORK,
        run: network::tunnel_source,
    },
    Check {
        name: "ip-forward",
        good: "packets are forwarded where NAT needs it",
        needs: SETTINGS,
        run: network::forwarding,
    },
    Check { name: "redirects", good: "no ICMP redirects round the director", needs: BOTH, run: network::redirects },
    Check {
        name: "rp-filter",
        good: "no strict reverse path filter where clients have several routes",
        needs: BOTH,
        run: paths::rp_filter,
    },
    Check {
        name: "accept-local",
        good: "packets with our own source addresses are refused",
        needs: BOTH,
        run: paths::accept_local,
    },
    Check {
        name: "bridge",
        good: "bridges pass packets on without the rules of routed ones",
        needs: BOTH,
        run: paths::bridged,
    },
    Check { name: "mtu", good: "full-size packets fit on the way to the servers", needs: NETWORK, run: paths::mtu },
    Check {
        name: "ranges",
        good: "passive ranges tell the servers apart where they must",
        needs: CONFIG,
        run: clusters::ranges,
    },
    Check {
        name: "occupied",
        good: "no other service uses a port of data connections at the VIPs",
        needs: PORTS,
        run: occupied::ports,
    },
    Check { name: "tls", good: "TLS sessions can be steered", needs: CONFIG, run: clusters::tls },
    Check { name: "conn-reuse", good: "reused client ports find a live server", needs: SETTINGS, run: clusters::reuse },
    Check {
        name: "sync",
        good: "several directors know of each other's connections",
        needs: SYNC,
        run: directors::sync,
    },
    Check {
        name: "sync-marks",
        good: "directors that share connections mean the same servers by a mark",
        needs: SERVICES,
        run: directors::marks,
    },
    Check {
        name: "sync-period",
        good: "other directors hear of sessions in time",
        needs: &[Need::Services, Need::Sysctls, Need::Configuration],
        run: directors::period,
    },
    Check {
        name: "quiescent",
        good: "drained servers lose their persistent clients",
        needs: SETTINGS,
        run: clusters::quiescent,
    },
    Check {
        name: "firewall",
        good: "the rules let control and data connections pass",
        needs: RULES,
        run: firewall::packets,
    },
    Check {
        name: "firewall-programs",
        good: "no program that writes the firewall by itself has rules on our way",
        needs: RULES,
        run: owners::programs,
    },
    Check { name: "legacy-iptables", good: "no rules outside nftables", needs: RULES, run: firewall::legacy },
    Check { name: "notrack", good: "sessions that need conntrack are tracked", needs: RULES, run: tracking::notrack },
    Check { name: "ct-helper", good: "no conntrack helper on our ports", needs: RULES, run: tracking::helper },
    Check {
        name: "conntrack",
        good: "conntrack has room, and follows connections that it did not see begin",
        needs: SETTINGS,
        run: tracking::table,
    },
    Check {
        name: "marks",
        good: "no other rule uses or overwrites our firewall marks",
        needs: RULES,
        run: marks::marks,
    },
];

/// One row of [`ALL`].
pub struct Check {
    /// What reports call it.
    pub name: &'static str,
    /// What is true when the check finds nothing.
    pub good: &'static str,
    /// The facts that the check needs: if one could not be read, finding nothing is *unknown*, not *good*.
    pub needs: &'static [Need],
    /// Runs the check; finds nothing where all is well.
    pub run: fn(&Facts) -> Vec<Finding>,
}

#[cfg(test)]
mod tests;
