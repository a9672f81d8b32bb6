//! Each check on a healthy machine with one thing wrong.

use serde_json::json;

use super::super::{Facts, Finding, Severity, examine, sample};
use super::ALL;
use crate::kernel::ipvs::SyncRole;
use crate::lvs::PortRange;

mod directors;
mod rivals;
mod rows;

use directors::{several_directors, sync_daemon};
use rivals::{director, docker};
use rows::{Row, rule, second_interface};

fn rows() -> impl Iterator<Item = &'static Row> {
    rows::ROWS.iter().chain(directors::ROWS).chain(rivals::ROWS)
}

/// Everything that is not good.
fn found(facts: &Facts) -> Vec<Finding> {
    examine(facts).findings.into_iter().filter(|finding| finding.severity != Severity::Good).collect()
}

#[test]
fn one_thing_wrong_is_one_finding_with_its_cure() {
    for (number, (check, machine, harm, severity, evidence, cure)) in rows().enumerate() {
        let mut facts = machine();
        harm(&mut facts);
        let findings = found(&facts);
        // A shared range is two things at once in DR.
        let mine: Vec<&Finding> = findings.iter().filter(|finding| finding.check == *check).collect();
        assert_eq!(mine.len(), 1, "row {number} ({check}): {findings:#?}");
        assert_eq!(mine[0].severity, *severity, "row {number}: {}", mine[0]);
        assert!(mine[0].evidence.contains(evidence), "row {number}: {evidence:?} in\n{}", mine[0]);
        assert!(mine[0].cure.contains(cure), "row {number}: {cure:?} in\n{}", mine[0]);
        assert!(!mine[0].what.contains('\n'), "row {number}: {}", mine[0].what);
    }
}

#[test]
fn every_check_has_a_row() {
    for check in ALL {
        assert!(rows().any(|row| row.0 == check.name), "{} is not tested", check.name);
    }
}

/// What looks like harm and is none.
#[test]
fn harmless_things_are_no_findings() {
    type Harmless = (fn() -> Facts, fn(&mut Facts));
    let rows: &[Harmless] = &[
        (sample::dr, |f| f.set("net/ipv4/ip_forward", "0")),
        (sample::dr, |f| f.set("net/ipv4/conf/all/send_redirects", "1")),
        (sample::nat, |f| f.set("net/ipv4/vs/conn_reuse_mode", "1")),
        (sample::nat, |f| f.helper_ports = vec![2121]),
        // Two interfaces: nobody is told to bypass us.
        (sample::nat, |f| {
            second_interface(f, 1500);
            f.set("net/ipv4/conf/all/send_redirects", "1");
        }),
        // No bridge on the way to the servers; a bridge, and none of its packets passes the rules.
        (sample::dr, |f| f.set("net/bridge/bridge-nf-call-iptables", "1")),
        (sample::dr, |f| {
            f.links[1].bridge = true;
            f.set("net/bridge/bridge-nf-call-iptables", "0");
        }),
        // One way in: strict filtering drops nobody.
        (sample::nat, |f| f.set("net/ipv4/conf/all/rp_filter", "1")),
        // Tracked NAT: its replies are known.
        (sample::nat, |f| {
            f.set("net/ipv4/vs/conntrack", "1");
            rule(
                f,
                "forward",
                json!([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}}, {"drop": null}]),
            );
        }),
        // NAT replies that pass the forward chain are no business of the input chain's ssh rule.
        (sample::nat, |f| {
            let ssh =
                json!({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}});
            rule(f, "input", json!([ssh, {"drop": null}]));
        }),
        (sample::dr, |f| rule(f, "prerouting", json!([{"notrack": null}]))),
        // Our own daemon runs, and reads the queue.
        (sample::nat, |f| {
            (f.directors, f.answers, f.queue_reader) = (vec![director(12, "/etc/a.yaml")], true, Some(12));
        }),
        // Containers beside a director whose packets IPVS takes at input.
        (sample::dr, |f| docker(f, "drop")),
        // keepalived's master tells, and its backup hears.
        (sample::dr, |f| {
            several_directors(f);
            f.keepalived.push(("k.conf".into(), "global_defs {\n    lvs_sync_daemon eth1 ftp id 21\n}".into()));
            f.sync_daemons = vec![sync_daemon(SyncRole::Backup)];
        }),
        (sample::dr, |f| {
            several_directors(f);
            f.sync_daemons = vec![sync_daemon(SyncRole::Master), sync_daemon(SyncRole::Backup)];
        }),
        // Other addresses, other ports, and no range that anyone has declared.
        (sample::nat, |f| {
            let servers = &mut f.config.as_mut().expect("a configuration").clusters[0].real_servers;
            servers[0].active_ports = PortRange::new(40000, 60999);
            servers[1].passive_ports = PortRange::UNPRIVILEGED;
            f.listening = ["192.0.2.11:31500", "[2001:db8::10]:31500", "192.0.2.10:30999", "192.0.2.10:40000"]
                .map(|text| text.parse().expect("an address and a port"))
                .into();
        }),
    ];
    for (number, (machine, change)) in rows.iter().enumerate() {
        let mut facts = machine();
        change(&mut facts);
        assert!(found(&facts).is_empty(), "row {number}: {:#?}", found(&facts));
    }
}
