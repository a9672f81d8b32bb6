use std::fmt::Write as _;

use crate::config::{Config, Problem, parse};

const SERVERS: &str = "real_servers: [{address: 10.0.0.11, passive_ports: 31000-31999}]";

/// A cluster `a` that has these keys, of a file with these defaults.
fn file(defaults: &str, keys: &str) -> String {
    format!("defaults: {defaults}\nclusters: [{{name: a, vips: [192.0.2.10], {keys} {SERVERS}}}]\n")
}

fn config(text: &str) -> Config {
    parse(text, "test.yaml").unwrap_or_else(|problems| panic!("{text}{problems}")).config
}

fn problems(text: &str) -> Vec<Problem> {
    parse(text, "test.yaml").map_or_else(|problems| problems.list, |parsed| parsed.warnings)
}

/// Each key alone; of `passive` and `health_check` each of theirs.
#[test]
fn a_cluster_has_what_it_does_not_say_from_the_defaults() {
    for (defaults, keys, meant) in [
        ("{forwarding: nat}", "", "forwarding: nat,"),
        ("{forwarding: dr}", "forwarding: nat,", "forwarding: nat,"),
        ("{}", "forwarding: nat,", "forwarding: nat,"),
        ("null", "forwarding: nat,", "forwarding: nat,"),
        ("{forwarding: dr, idle: 2h, ports: [21, 2121]}", "", "forwarding: dr, idle: 2h, ports: [21, 2121],"),
        // Lists and words are replaced.
        ("{forwarding: dr, ports: [21, 2121]}", "ports: [990],", "forwarding: dr, ports: [990],"),
        ("{forwarding: dr, idle: 2h}", "idle: 3h,", "forwarding: dr, idle: 3h,"),
        // And null says: as without any.
        ("{forwarding: dr, idle: 2h}", "idle: null,", "forwarding: dr,"),
        ("{forwarding: nat, vip_interface: eth0}", "vip_interface: ~,", "forwarding: nat,"),
        (
            "{forwarding: nat, passive: {advertise: 198.51.100.7}}",
            "passive: {ports: 32000-32999},",
            "forwarding: nat, passive: {ports: 32000-32999, advertise: 198.51.100.7},",
        ),
        (
            "{forwarding: nat, health_check: {kind: login, interval: 9s, fall: 7}}",
            "health_check: {interval: 10s, rise: 1},",
            "forwarding: nat, health_check: {kind: login, fall: 7, interval: 10s, rise: 1},",
        ),
        (
            "{forwarding: nat, passive: {advertise: 198.51.100.7}}",
            "passive: {},",
            "forwarding: nat, passive: {advertise: 198.51.100.7},",
        ),
        ("{forwarding: nat, passive: {advertise: 198.51.100.7}}", "passive: null,", "forwarding: nat,"),
        (
            "{forwarding: nat, health_check: null}",
            "health_check: {fall: 7},",
            "forwarding: nat, health_check: {fall: 7},",
        ),
        // What is no mapping of keys but one value.
        (
            "{forwarding: nat, passive: {advertise: {dns: ftp.example.net}}}",
            "passive: {advertise: {interface: ppp0}},",
            "forwarding: nat, passive: {advertise: {interface: ppp0}},",
        ),
    ] {
        assert_eq!(config(&file(defaults, keys)), config(&file("{}", meant)), "{defaults} {keys}");
    }
}

#[test]
fn what_is_wrong_with_a_default_is_told_once_and_there() {
    let clusters = |keys: &str| {
        let mut text = "clusters:\n".to_owned();
        for number in 1..=50 {
            writeln!(text, "  - {{name: c{number}, vips: [192.0.2.{number}], {keys} {SERVERS}}}").expect("written");
        }
        text
    };
    for (defaults, expected) in [
        ("{forwarding: drr}", "defaults.forwarding: unknown forwarding method \"drr\""),
        ("{forwarding: nat, health_check: {fall: 0}}", "defaults.health_check.fall: 0 is out of range"),
        ("{forwarding: nat, health_check: {fal: 1}}", "defaults.health_check.fal: unknown key \"fal\""),
        ("{forwarding: nat, colour: [red]}", "defaults.colour: unknown key \"colour\""),
        ("{forwarding: nat, ports: [21, 0]}", "defaults.ports[1]: 0 is out of range"),
        ("{forwarding: nat, passive: [dr]}", "defaults.passive: expected a mapping, found a list"),
        ("{forwarding: nat, idle: &i 2h}", "defaults.idle: an anchor (`&`) is not accepted"),
        ("{forwarding: nat, idle: !!str 2h}", "defaults.idle: a tag (`!`) is not accepted"),
        (
            "{forwarding: dr, passive: {advertise: 192.0.2.7}}",
            "defaults.passive.advertise: in dr the replies do not pass",
        ),
        ("{forwarding: nat, idle: 10s}", "defaults.idle: without effect"),
        ("{forwarding: nat, client_match: /64}", "defaults.client_match: /64 is a network of IPv6"),
        (
            "{forwarding: nat, health_check: {kind: login, user: probe}}",
            "defaults.health_check.user: probe logs in without",
        ),
    ] {
        let found = problems(&format!("defaults: {defaults}\n{}", clusters("")));
        let told: Vec<String> = found.iter().map(|p| format!("{}: {}", p.path, p.what)).collect();
        assert!(told.len() == 1 && told[0].starts_with(expected) && found[0].line == 1, "{defaults}: {told:#?}");
    }
    // One that no cluster has from there is wrong all the same.
    let found = problems(&format!("defaults: {{forwarding: drr}}\n{}", clusters("forwarding: nat,")));
    assert!(found.len() == 1 && found[0].path == "defaults.forwarding", "{found:#?}");
}

#[test]
fn what_a_default_means_for_one_cluster_names_it() {
    let found = problems(&file("{forwarding: dr, passive: {advertise: 192.0.2.7}}", ""));
    assert!(found[0].cure.ends_with("; or a value of its own in the cluster \"a\""), "{}", found[0].cure);
    // A value of the cluster's own stands in the cluster.
    let found = problems(&file("{forwarding: dr}", "passive: {advertise: 192.0.2.7},"));
    assert!(found[0].path == "clusters[0].passive.advertise" && found[0].line == 2, "{found:#?}");
}

#[test]
fn what_two_clusters_never_have_in_common_is_no_default() {
    let text = file("{forwarding: nat, name: b, vips: [192.0.2.9], real_servers: []}", "");
    let found: Vec<String> = problems(&text).into_iter().map(|problem| problem.path).collect();
    assert_eq!(found, ["defaults.name", "defaults.vips", "defaults.real_servers"]);
}

/// A file of a megabyte that would be a hundred gigabytes.
#[test]
fn bombs_do_not_go_off() {
    let ports: String = (1..16_384).map(|port| format!("{port},")).collect();
    let words: String = (0..20_000).map(|number| format!("k{number}: {{a: [b, c]}}, ")).collect();
    let long = "x".repeat(1 << 20);
    let clusters: String = (0..16_384).map(|number| format!("{{name: c{number}}},\n")).collect();
    for defaults in [format!("ports: [{ports}]"), words, format!("scheduler: {long}")] {
        let text = format!("defaults: {{{defaults}}}\nclusters: [{clusters}]\n");
        let said = parse(&text, "bomb").expect_err("a bomb").to_string();
        assert!(said.contains("so much for each of 16384 clusters is too much"), "{}", &said[..300]);
        assert!(said.len() < 1_000_000, "{}", said.len());
    }
}

/// Nonsense costs what it is long, and is told.
#[test]
fn many_keys_that_mean_nothing_are_told_and_not_looked_for() {
    let junk: String = (0..30_000).map(|number| format!("k{number}: 1, ")).collect();
    let text = file(&format!("{{forwarding: nat, {junk}passive: {{{junk}}}}}"), &format!("passive: {{{junk}}},"));
    let told = problems(&text);
    assert!(told.iter().any(|problem| problem.path == "defaults.passive.k0"), "{}", told.len());
    // What stands first in it is used.
    assert!(!told.iter().any(|problem| problem.path.ends_with(".forwarding")), "{}", told.len());
}
