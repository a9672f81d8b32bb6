//! Addresses, routes and forwarding.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::facts::{host_length, sysctl_cure, sysctl_name};
use crate::config::{Advertise, Cluster};
use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;
use crate::lvs::ForwardingMethod;
use crate::plan::reconcile::NAMESPACE;

/// VIPs that this machine does not have.
pub fn vips(facts: &Facts) -> Vec<Finding> {
    if facts.links.is_empty() {
        return Vec::new();
    }
    let all = facts.clusters().iter().flat_map(|cluster| cluster.vips.iter().map(move |&vip| (cluster, vip)));
    all.filter_map(|(cluster, vip)| {
        if let Some(name) = &cluster.vip_interface {
            return facts.link(name).is_none().then(|| no_interface(facts, cluster, name));
        }
        let local = facts.carrier(vip).is_some() || facts.routes.get(&vip).is_some_and(|route| route.local);
        (!local).then(|| not_local(facts, cluster, vip))
    })
    .collect()
}

fn no_interface(facts: &Facts, cluster: &Cluster, name: &str) -> Finding {
    let there: Vec<&str> = facts.links.iter().map(|link| link.name.as_str()).collect();
    Finding::fatal(format!("cluster {}: there is no interface {name}", cluster.name))
        .seen(format!("ip link: {}", there.join(", ")))
        .means("the VIPs cannot be added: clients get no answer")
        .cure("correct `vip_interface` in the file")
}

/// Interfaces whose address should go into 227s, and that have none.
pub fn advertised(facts: &Facts) -> Vec<Finding> {
    let of_cluster = facts.clusters().iter().filter_map(|cluster| {
        let Advertise::Interface(name) = &cluster.advertise else { return None };
        let link = facts.link(name);
        let seen = match link {
            None => "there is no such interface".to_owned(),
            Some(link) if link.addresses.iter().any(|(address, _)| address.is_ipv4()) => return None,
            Some(_) => "it has no IPv4 address".to_owned(),
        };
        Some(
            Finding::warning(format!("cluster {}: no address of {name} to advertise", cluster.name))
                .seen(format!("ip address show {name}: {seen}"))
                .means("227s name the last address that it had, or else the VIP: clients that cannot reach that hang in PASV")
                .cure(format!("bring {name} up, or correct `passive.advertise` in the file")),
        )
    });
    of_cluster.collect()
}

fn not_local(facts: &Facts, cluster: &Cluster, vip: IpAddr) -> Finding {
    let length = if vip.is_ipv6() { 128 } else { 32 };
    let device = facts.device(vip).or_else(|| facts.defaults.first().map(|(_, name)| name.as_str())).unwrap_or("eth0");
    let what = format!("cluster {}: the VIP {vip} is not an address of this machine", cluster.name);
    let means =
        "IPVS takes only packets to this machine: connections to the VIP are forwarded or refused, none is balanced";
    let managed = facts.keepalived.iter().find_map(|(file, text)| {
        let mut lines = text.lines().enumerate();
        // `192.0.2.10`, `192.0.2.10/32 dev eth0`.
        let (number, line) = lines.find(|(_, line)| {
            line.split_whitespace().next().is_some_and(|word| word.split('/').next() == Some(vip.to_string().as_str()))
        })?;
        Some(format!("{file}:{}: {}", number + 1, line.trim()))
    });
    match managed {
        Some(seen) => Finding::warning(what)
            .seen(format!("{seen}\nip address: no {vip}"))
            .means(format!("right on a VRRP backup; on the master: {means}"))
            .cure("journalctl -u keepalived"),
        None => Finding::fatal(what)
            .seen(format!("ip address: no {vip}; vip_interface: null"))
            .means(means)
            .cure(format!("ip address add {vip}/{length} dev {device}\n(or let `vip_interface: {device}` in the file do it, or keepalived's virtual_ipaddress)")),
    }
}

/// Real servers that cannot be reached the way their forwarding method needs.
pub fn servers(facts: &Facts) -> Vec<Finding> {
    if !facts.routes_known {
        return Vec::new();
    }
    let mut findings = BTreeMap::new();
    for cluster in facts.clusters() {
        for server in &cluster.real_servers {
            if let Some(finding) = server_route(facts, cluster, server.address) {
                findings.entry((server.address, finding.what.clone())).or_insert(finding);
            }
        }
    }
    findings.into_values().collect()
}

fn server_route(facts: &Facts, cluster: &Cluster, address: IpAddr) -> Option<Finding> {
    let name = &cluster.name;
    let Some(route) = facts.routes.get(&address) else {
        return Some(
            Finding::fatal(format!("cluster {name}: there is no route to real server {address}"))
                .seen(format!("ip route get {address}: unreachable"))
                .means("sessions that IPVS gives to this server hang")
                .cure(format!("ip route add {address} via ROUTER dev INTERFACE")),
        );
    };
    if route.local {
        return Some(
            Finding::fatal(format!("cluster {name}: real server {address} is this machine"))
                .seen(format!("ip route get {address}: local"))
                .means("its packets never leave, so its control connections cannot be read: `ftpdirector run` refuses to start")
                .cure(format!("let the FTP server run on another machine, or here {NAMESPACE}")),
        );
    }
    let gateway = route.gateway.filter(|_| cluster.forwarding == ForwardingMethod::Dr)?;
    Some(
        Finding::fatal(format!("cluster {name}: real server {address} is behind a router, and the forwarding is dr"))
            .seen(format!("ip route get {address}: via {gateway} dev {}", route.device))
            .means(
                "direct routing only changes the MAC address: the router sends the packet back to the VIP, in a loop",
            )
            .cure("put director and server into one network, or set `forwarding: tun`"),
    )
}

/// Tunnelled packets that leave with a VIP: the real servers have that address themselves, and drop them.
pub fn tunnel_source(facts: &Facts) -> Vec<Finding> {
    let tunnels = facts.clusters().iter().filter(|cluster| cluster.forwarding == ForwardingMethod::Tun);
    let of_cluster = tunnels.filter_map(|cluster| {
        let source = |address: IpAddr| facts.routes.get(&address).filter(|route| !route.local)?.source;
        let with_vip = |address: IpAddr| source(address).is_some_and(|source| cluster.vips.contains(&source));
        let server = cluster.real_servers.iter().map(|server| server.address).find(|address| with_vip(*address))?;
        let vip = source(server)?;
        let device = facts.carrier(vip).map_or("eth0", |link| link.name.as_str());
        let cure = format!("ip address change {vip}/{} dev {device} preferred_lft 0", host_length(vip));
        let cure = if vip.is_ipv6() {
            format!("{cure}\n(and the same where the address is kept; keepalived: {vip}/128 dev {device} preferred_lft 0)")
        } else {
            format!("ip route change {server} dev {device} src ADDRESS\n(the director's own; or add the VIP behind it, as a /32)")
        };
        Some(
            Finding::fatal(format!("cluster {}: tunnelled packets leave with the VIP {vip}", cluster.name))
                .seen(format!("ip route get {server}: src {vip}"))
                .means("the real servers have that address themselves, and drop packets that come from it: no session begins")
                .cure(cure),
        )
    });
    of_cluster.collect()
}

/// NAT on a machine that does not forward: `net.ipv4.ip_forward`, `net.ipv6.conf.all.forwarding`.
pub fn forwarding(facts: &Facts) -> Vec<Finding> {
    let needed = |ipv6: bool| {
        let nat = facts.clusters().iter().filter(|cluster| cluster.forwarding == ForwardingMethod::Nat);
        nat.flat_map(|cluster| &cluster.vips).any(|vip| vip.is_ipv6() == ipv6)
    };
    let rows = [(false, "net/ipv4/ip_forward"), (true, "net/ipv6/conf/all/forwarding")];
    let off = rows.into_iter().filter(|&(ipv6, sysctl)| needed(ipv6) && facts.number(sysctl) == Some(0));
    off.map(|(_, sysctl)| {
        Finding::fatal("packets are not forwarded, and a cluster is nat")
            .seen(format!("{} = 0", sysctl_name(sysctl)))
            .means("the servers' replies end at the director: clients never see the 220")
            .cure(sysctl_cure([(sysctl, "1")]))
    })
    .collect()
}

/// One-interface NAT whose director tells the servers to bypass it. The kernel sends redirects when `all` *or* the
/// interface says so (`IN_DEV_TX_REDIRECTS`).
pub fn redirects(facts: &Facts) -> Vec<Finding> {
    let mut arms: BTreeMap<(bool, &str), Vec<String>> = BTreeMap::new();
    for cluster in facts.clusters().iter().filter(|cluster| cluster.forwarding == ForwardingMethod::Nat) {
        for server in &cluster.real_servers {
            let vip = cluster.vips.iter().find(|vip| vip.is_ipv6() == server.address.is_ipv6());
            if let (Some(device), Some(&vip)) = (facts.device(server.address), vip)
                && facts.client_devices(vip).contains(device)
            {
                arms.entry((vip.is_ipv6(), device)).or_default().push(server.address.to_string());
            }
        }
    }
    arms.into_iter()
        .filter_map(|((ipv6, device), servers)| {
            let servers = servers.join(", ");
            if ipv6 { Some(redirects6(device, &servers)) } else { redirects4(facts, device, &servers) }
        })
        .collect()
}

const REDIRECTED: &str = "the director tells the servers that the client is their neighbour; replies then bypass it: the first \
transfer works, later ones hang";

fn redirects4(facts: &Facts, device: &str, servers: &str) -> Option<Finding> {
    let own = format!("net/ipv4/conf/{device}/send_redirects");
    let both = ["net/ipv4/conf/all/send_redirects", own.as_str()];
    let on: Vec<&str> = both.into_iter().filter(|sysctl| facts.on(sysctl)).collect();
    if on.is_empty() {
        return None;
    }
    let values: Vec<String> = on.iter().map(|sysctl| format!("{} = 1", sysctl_name(sysctl))).collect();
    Some(
        Finding::fatal(format!("ICMP redirects are on, and clients and servers share {device}"))
            .seen(format!("{}\nclients come in and {servers} are reached through {device}", values.join(", ")))
            .means(REDIRECTED)
            .cure(sysctl_cure(on.into_iter().map(|sysctl| (sysctl, "0")))),
    )
}

/// Linux has no switch for sending them in IPv6.
fn redirects6(device: &str, servers: &str) -> Finding {
    Finding::warning(format!("IPv6 redirects cannot be switched off, and clients and servers share {device}"))
        .seen(format!("clients come in and {servers} are reached through {device}"))
        .means(REDIRECTED)
        .cure("on every real server: sysctl -w net.ipv6.conf.all.accept_redirects=0\n(on its interface too), or drop them here: nft add rule inet filter output icmpv6 type nd-redirect drop")
}
