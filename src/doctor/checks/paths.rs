//! Filters and sizes on the way of a packet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::facts::{sysctl_cure, sysctl_name};
use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;
use crate::lvs::ForwardingMethod;

/// The interfaces that our packets use: clients' and servers'.
fn devices(facts: &Facts) -> BTreeSet<&str> {
    let clusters = facts.clusters().iter();
    clusters
        .flat_map(|cluster| {
            let clients = cluster.vips.iter().flat_map(|&vip| facts.client_devices(vip));
            clients.chain(cluster.real_servers.iter().filter_map(|server| facts.device(server.address)))
        })
        .collect()
}

/// Strict reverse path filtering where a client's way in may not be our way back. The kernel takes the larger of `all`
/// and the interface (`IN_DEV_RPFILTER`).
pub fn rp_filter(facts: &Facts) -> Vec<Finding> {
    let ways: BTreeSet<&str> = facts.defaults.iter().filter(|(v6, _)| !v6).map(|(_, name)| name.as_str()).collect();
    if ways.len() < 2 && facts.policies.is_empty() {
        return Vec::new();
    }
    let strict = |device: &&str| {
        let own = format!("net/ipv4/conf/{device}/rp_filter");
        let [all, own] = ["net/ipv4/conf/all/rp_filter", &own].map(|sysctl| facts.number(sysctl).unwrap_or(0));
        all.max(own) == 1
    };
    let finding = |device: &str| {
        let own = format!("net/ipv4/conf/{device}/rp_filter");
        let all = facts.number("net/ipv4/conf/all/rp_filter").unwrap_or(0);
        let why = if ways.len() < 2 {
            facts.policies.iter().map(|p| p.text.clone()).collect::<Vec<_>>().join("\n")
        } else {
            format!("default routes through {}", ways.iter().copied().collect::<Vec<_>>().join(", "))
        };
        Finding::warning(format!("{device} drops clients whose way back is another interface (rp_filter)"))
            .seen(format!(
                "{} = {}, net.ipv4.conf.all.rp_filter = {all} (the larger counts)\n{why}",
                sysctl_name(&own),
                facts.number(&own).unwrap_or(0)
            ))
            .means("SYNs of such clients vanish before IPVS: they time out, without a trace in any log")
            .cure(sysctl_cure([(own.as_str(), "2")]))
    };
    devices(facts).into_iter().filter(strict).map(finding).collect()
}

/// Packets from the wire that carry our own addresses.
pub fn accept_local(facts: &Facts) -> Vec<Finding> {
    let names = std::iter::once("all").chain(devices(facts));
    let on: Vec<String> =
        names.map(|name| format!("net/ipv4/conf/{name}/accept_local")).filter(|sysctl| facts.on(sysctl)).collect();
    if on.is_empty() {
        return Vec::new();
    }
    let values: Vec<String> = on.iter().map(|sysctl| format!("{} = 1", sysctl_name(sysctl))).collect();
    vec![
        Finding::note("packets from the wire may carry this machine's own addresses")
            .seen(values.join("\n"))
            .means("replies of DR servers that use the director as their router pass it, from the VIP; so does anyone who forges it")
            .cure(sysctl_cure(on.iter().map(|sysctl| (sysctl.as_str(), "0")))),
    ]
}

/// Bridged packets that pass the rules of routed ones (br_netfilter, which Docker loads). The master of a pair sends packets to
/// servers behind the backup's bridge, and the backup's rules know nothing of those sessions.
pub fn bridged(facts: &Facts) -> Vec<Finding> {
    let mut behind: BTreeMap<(bool, &str), Vec<String>> = BTreeMap::new();
    for server in facts.clusters().iter().flat_map(|cluster| &cluster.real_servers) {
        if let Some(device) = facts.device(server.address)
            && facts.link(device).is_some_and(|link| link.bridge)
        {
            behind.entry((server.address.is_ipv6(), device)).or_default().push(server.address.to_string());
        }
    }
    let finding = |((ipv6, device), servers): ((bool, &str), Vec<String>)| {
        let sysctl = if ipv6 { "net/bridge/bridge-nf-call-ip6tables" } else { "net/bridge/bridge-nf-call-iptables" };
        facts.on(sysctl).then(|| {
            Finding::warning(format!("what the bridge {device} passes on goes through the rules of routed packets"))
                .seen(format!("{} = 1
{} behind {device}", sysctl_name(sysctl), servers.join(", ")))
                .means(
                    "while another director is master, data connections that it sends to a server behind this bridge are \
                     dropped here",
                )
                .cure(sysctl_cure([(sysctl, "0")]))
        })
    };
    behind.into_iter().filter_map(finding).collect()
}

/// Full-size packets of clients that do not fit on the way to a server.
pub fn mtu(facts: &Facts) -> Vec<Finding> {
    let mut narrow: BTreeMap<(String, String), Vec<IpAddr>> = BTreeMap::new();
    let mut kind = BTreeMap::new();
    for cluster in facts.clusters() {
        for server in &cluster.real_servers {
            let overhead = match (cluster.forwarding, server.address.is_ipv6()) {
                (ForwardingMethod::Tun, false) => 20,
                (ForwardingMethod::Tun, true) => 40,
                _ => 0,
            };
            let vip = cluster.vips.iter().find(|vip| vip.is_ipv6() == server.address.is_ipv6());
            let Some((&vip, device)) = vip.zip(facts.device(server.address).and_then(|name| facts.link(name))) else {
                continue;
            };
            for client in facts.client_devices(vip).into_iter().filter_map(|name| facts.link(name)) {
                if client.mtu + overhead > device.mtu {
                    let key = (client.name.clone(), device.name.clone());
                    // Headers of IP and TCP.
                    let headers = if server.address.is_ipv6() { 60 } else { 40 };
                    kind.insert(key.clone(), (client.mtu, device.mtu, overhead, headers));
                    narrow.entry(key).or_default().push(server.address);
                }
            }
        }
    }
    let finding = |((client, device), servers): ((String, String), Vec<IpAddr>)| {
        let (from, to, overhead, headers) = kind.get(&(client.clone(), device.clone())).copied().unwrap_or_default();
        let tunnel = if overhead > 0 { format!(" less {overhead} for the tunnel") } else { String::new() };
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        let room = to - overhead;
        Finding::warning(format!("a client's full-size packet does not fit on the way to {}", servers.join(", ")))
            .seen(format!("{client}: mtu {from}; {device}: mtu {to}{tunnel}"))
            .means("uploads hang wherever ICMP \"fragmentation needed\" is filtered; listings and downloads work")
            .cure(format!(
                "ip link set {device} mtu {} (if the network carries it),\nor on every real server: ip route change default … advmss {}",
                from + overhead,
                room.saturating_sub(headers)
            ))
    };
    narrow.into_iter().map(finding).collect()
}
