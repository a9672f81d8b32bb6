//! Other programs that manage IPVS.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::config::Cluster;
use crate::doctor::facts::{Facts, host_length};
use crate::doctor::finding::Finding;
use crate::lvs::ServiceKey;

fn ours(facts: &Facts) -> BTreeSet<SocketAddr> {
    facts.clusters().iter().flat_map(Cluster::places).map(SocketAddr::from).collect()
}

/// Services at our VIPs and ports that we did not make.
pub fn foreign(facts: &Facts) -> Vec<Finding> {
    let ours = ours(facts);
    let at_ours = facts.foreign.iter().filter_map(|listed| match listed.service.key {
        ServiceKey::Tcp(address) if ours.contains(&address) => Some((address, listed)),
        _ => None,
    });
    let real = |count: usize| if count == 1 { "1 real server".to_owned() } else { format!("{count} real servers") };
    at_ours
        .map(|(address, listed)| {
            Finding::fatal(format!("another program has a virtual service at {address}"))
                .seen(format!(
                    "ipvsadm -L -n: TCP {address} {}, {}",
                    listed.service.scheduler,
                    real(listed.destinations.len())
                ))
                .means("`ftpdirector run` refuses to start: it does not take over services that it did not create")
                .cure(format!("ipvsadm -D -t {address}\n(or take its virtual_server out of keepalived.conf)"))
        })
        .collect()
}

/// Interfaces that programs of Kubernetes make, which delete every IPVS service but their own, and what tells them to leave some.
const KUBERNETES: [(&str, &str, &str); 2] = [
    ("kube-ipvs0", "kube-proxy in IPVS mode", "--ipvs-exclude-cidrs (ipvs.excludeCIDRs in its configuration)"),
    ("kube-dummy-if", "kube-router", "--excluded-cidrs"),
];

/// Programs of Kubernetes on this machine.
pub fn kubernetes(facts: &Facts) -> Vec<Finding> {
    let here = KUBERNETES.iter().filter(|(link, ..)| facts.link(link).is_some());
    let vips: BTreeSet<String> =
        ours(facts).iter().map(|place| format!("{}/{}", place.ip(), host_length(place.ip()))).collect();
    let vips: Vec<String> = vips.into_iter().collect();
    here.map(|(link, program, option)| {
        Finding::warning(format!("{program} runs here, and deletes IPVS services that are not its own"))
            .seen(format!("ip link: {link}"))
            .means("our services vanish each time that it synchronises its own; new sessions fail until ftpdirector has put them back")
            .cure(format!("let it leave the VIPs alone: {option} {}\n(if it does already, nothing is to be done)", vips.join(",")))
    })
    .collect()
}

/// What keepalived does to services that are not its own.
pub fn keepalived(facts: &Facts) -> Vec<Finding> {
    let ours = ours(facts);
    let mut findings = Vec::new();
    for (file, text) in &facts.keepalived {
        for (number, line) in text.lines().enumerate() {
            // `#` and `!` begin a comment.
            let words: Vec<&str> = line.split(['#', '!']).next().unwrap_or_default().split_whitespace().collect();
            let seen = format!("{file}:{}: {}", number + 1, line.trim());
            match words[..] {
                [word @ ("lvs_flush" | "lvs_flush_onstop" | "lvs_flush_on_stop"), ..] => findings.push(
                    Finding::warning(format!("keepalived removes every IPVS service ({word})"))
                        .seen(seen)
                        .means("each (re)start of keepalived wipes our services; new sessions fail until ftpdirector has put them back")
                        .cure(format!("delete {word} in {file}, then: systemctl reload keepalived")),
                ),
                ["virtual_server", address, port, ..] => {
                    let at = address.parse().ok().zip(port.parse().ok()).map(|(ip, port)| SocketAddr::new(ip, port));
                    if let Some(at) = at.filter(|at| ours.contains(at)) {
                        findings.push(
                            Finding::fatal(format!("keepalived has a virtual_server at our {at}"))
                                .seen(seen)
                                .means("both write the same service; each reload of keepalived undoes ours")
                                .cure(format!("delete that virtual_server in {file}, then: systemctl reload keepalived\nipvsadm -D -t {at}")),
                        );
                    }
                }
                _ => {}
            }
        }
    }
    findings
}
