//! Machines on which another program manages IPVS too.

use super::super::super::facts::Link;
use super::super::super::{Facts, Severity, sample};
use super::rows::Row;

fn add_link(facts: &mut Facts, name: &str) {
    facts.links.push(Link { name: name.into(), mtu: 1500, up: false, bridge: false, addresses: vec![] });
}

/// As [`super::rows::ROWS`].
pub const ROWS: &[Row] = &[
    (
        "kubernetes",
        sample::nat,
        |f| add_link(f, "kube-ipvs0"),
        Severity::Warning,
        "ip link: kube-ipvs0",
        "--ipvs-exclude-cidrs (ipvs.excludeCIDRs in its configuration) 192.0.2.10/32\n",
    ),
    (
        "kubernetes",
        sample::dr,
        |f| add_link(f, "kube-dummy-if"),
        Severity::Warning,
        "kube-dummy-if",
        "--excluded-cidrs",
    ),
    (
        "keepalived",
        sample::nat,
        |f| f.keepalived.push(("k.conf".into(), "global_defs {\n  lvs_flush\n ! lvs_flush\n}".into())),
        Severity::Warning,
        "k.conf:2: lvs_flush",
        "reload keepalived",
    ),
    (
        "keepalived",
        sample::nat,
        |f| {
            f.keepalived
                .push(("k.conf".into(), "virtual_server 192.0.2.10 21 {\n}\nvirtual_server 192.0.2.10 80 {".into()))
        },
        Severity::Fatal,
        "k.conf:1",
        "delete",
    ),
];
