use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;
use crate::config::{Parsed, parse};

/// Values of each key, good alone; those together that make no configuration are passed over.
const CLUSTER: &[(&str, &[&str])] = &[
    ("vip_interface", &["null", "eth0", "'1e3'", "0x10", "'{}'"]),
    ("ports", &["[21]", "[2121]", "[990]", "[21, 2121]", "[990, 21]", "[1]"]),
    ("forwarding", &["nat", "dr", "tun"]),
    ("scheduler", &["wlc", "'1'", "null_", "0x1"]),
    ("persistence", &["0s", "5m", "1h 30m", "1500ms500ms"]),
    ("pinhole_timeout", &["30s", "1ms", "1d1h1m1s1ms", "24d"]),
    ("idle", &["null", "2h10m", "1d"]),
    ("unexpected_data", &["drop", "reject", "pass"]),
    ("client_match", &["address", "any", "/24", "/64", "/0 /0", "\" /32  /24\"", "/128"]),
    ("bounce", &["reject", "allow"]),
    ("on_failure", &["bypass", "hold"]),
    ("sorry_server", &["null", "10.0.0.99", "10.0.0.99:2121", "\"2001:db8::9\"", "\"[2001:db8::9]:21\""]),
    ("no_servers", &["keep", "reject"]),
    ("slow_start", &["0s", "30s", "59m 60s"]),
    (
        "passive",
        &[
            "null",
            "{ports: 3000-3999}",
            "{ports: 3000-3999, public_ports: 8192-8200}",
            "{public_ports: 8192}",
            "{advertise: 198.51.100.7}",
            "{advertise: {interface: '~'}}",
            "{advertise: {dns: a.b.}}",
        ],
    ),
];

const CHECK: &[(&str, &[&str])] = &[
    ("kind", &["none", "tcp", "banner", "login", "transfer"]),
    ("tls", &["null", "none", "explicit", "implicit"]),
    ("verify", &["true", "false"]),
    ("ca_file", &["null", "/ca", "'/a: #b'", "\"/\\u2027é\\uFFFF\""]),
    ("interval", &["5s", "100ms", "24d"]),
    ("timeout", &["3s", "1h"]),
    ("rise", &["1", "4294967295", "0x10"]),
    ("fall", &["1", "3"]),
    ("agent", &["null", "1", "65535"]),
    (
        "user",
        &[
            "anonymous",
            "'null'",
            "'~'",
            "' a '",
            "\"'\"",
            "'\"'",
            "'- a'",
            "'a: b'",
            "'#'",
            "'&a'",
            "'*a'",
            "'!a'",
            "1e5",
            ".inf",
            "'---'",
            "yes",
        ],
    ),
    ("password_file", &["null", "/etc/ftpdirector/probe"]),
    ("path", &["/", "/pub/", "'%a'", "'?'", "'[]'", "\"\\U0001F600\\u200b\"", "'@`'"]),
];

const SERVER: &[(&str, &[&str])] = &[
    ("name", &["null", "rs", "'null'", "'1'", "'{a}'", "'<<'", "'='", "-a"]),
    ("port", &["null", "21", "2121", "990"]),
    ("weight", &["0", "1", "65535"]),
    ("max_sessions", &["null", "1", "4294967295"]),
    ("passive_ports", &["null", "3000", "'3000 - 3999'", "1024-65535"]),
    ("active_port", &["null", "20", "2021"]),
    ("active_ports", &["null", "32768-60999"]),
    ("mark", &["null", "0", "16383"]),
];

const REST: &[&str] = &[
    "",
    "limits: {sessions: 7, line: 64, memory: 0x100000}\nkernel: {fwmark_base: 0x40000, queue: 0, timeouts: {tcp: 90s, udp: 1d}}\n",
    "metrics: {listen: null}\n",
    "metrics: {listen: \"[::1]:9\"}\nadmin: {socket: '/a b/~'}\nlog: {level: trace, format: json, transfers: true, names: true}\n",
];

/// A mapping with one of the values for some of the keys.
fn mapping(keys: &[(&str, &[&str])], choose: &mut impl FnMut(usize) -> usize) -> String {
    let mut said = Vec::new();
    for (key, values) in keys {
        if let Some(value) = values.get(choose(4 * values.len())) {
            said.push(format!("{key}: {value}"));
        }
    }
    said.join(", ")
}

fn files() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<prop::sample::Index>(), 150).prop_map(|choices| {
        let mut choices = choices.into_iter();
        let mut choose = |below: usize| choices.next().map_or(0, |choice| choice.index(below));
        let mut text = String::from("clusters:\n");
        for number in 0..=choose(2) {
            let mut cluster = mapping(CLUSTER, &mut choose);
            if !cluster.contains("forwarding") {
                cluster += ", forwarding: nat";
            }
            let check = mapping(CHECK, &mut choose);
            let servers: Vec<String> = (1..=1 + choose(2))
                .map(|server| {
                    let mut keys = mapping(SERVER, &mut choose);
                    if !keys.contains("passive_ports") {
                        keys += &format!(", passive_ports: 3{server}00-3{server}99");
                    }
                    // A name has no mark: such files are passed over.
                    let named = format!("FTP{server}.c{number}.example.");
                    let address = if choose(3) == 0 { named } else { format!("10.0.{number}.{server}") };
                    format!("{{address: {address}, {}}}", keys.trim_start_matches(", "))
                })
                .collect();
            let cluster = cluster.trim_start_matches(", ");
            text += &format!(
                "  - {{name: c{number}, vips: [192.0.2.1{number}], {cluster}, health_check: {{{check}}}, real_servers: [{}]}}\n",
                servers.join(", ")
            );
        }
        text + REST[choose(REST.len())]
    })
}

/// The warnings, each once: what stands in one place for all servers, or is left out, is told in another place of what is printed.
fn said(parsed: &Parsed) -> BTreeSet<&str> {
    let pace = |what: &str| what.contains("(`fall` times `timeout`)");
    let whats = parsed.warnings.iter().map(|warning| warning.what.as_str());
    whats.map(|what| if pace(what) { "the timeout is longer than the interval" } else { what }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(3000), failure_persistence: None, ..ProptestConfig::default() })]

    /// What is printed says what was read, and brings no warning that was not there.
    #[test]
    fn what_is_printed_means_the_same(text in files()) {
        let Ok(given) = parse(&text, "given.yaml") else { return Ok(()) };
        let printed = effective(&given.config, &given.by_name).expect("YAML");
        let again = match parse(&printed, "printed.yaml") {
            Ok(again) => again,
            Err(problems) => return Err(TestCaseError::fail(format!("{text}\n{printed}\n{problems}"))),
        };
        let [again_whole, given_whole] = [&again, &given].map(|of| of.by_name.whole(&of.config));
        prop_assert_eq!(&again_whole, &filled(&given_whole), "{}\n{}", text, printed);
        prop_assert_eq!(&effective(&again.config, &again.by_name).expect("YAML"), &printed);
        prop_assert_eq!(said(&again), said(&given), "{}", text);
        for (cluster, then) in given_whole.clusters.iter().zip(&again_whole.clusters) {
            let reads = !matches!(cluster.health_check.kind, HealthCheckKind::None | HealthCheckKind::Tcp);
            for (server, then_server) in cluster.real_servers.iter().zip(&then.real_servers) {
                for &port in &cluster.ports {
                    prop_assert_eq!(server.calls_from(port), then_server.calls_from(port));
                    prop_assert_eq!(server.port.unwrap_or(port), then_server.port.unwrap_or(port));
                }
                prop_assert!(!reads || cluster.tls_to(server) == then.tls_to(then_server), "{}", printed);
            }
        }
    }
}

/// A property of nothing holds.
#[test]
fn most_of_the_files_are_configurations() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let good = (0..200).filter(|_| {
        let text = files().new_tree(&mut runner).expect("a file").current();
        parse(&text, "given.yaml").is_ok()
    });
    let good = good.count();
    assert!(good > 50, "only {good} of 200");
}

#[test]
fn defaults_that_depend_on_other_keys_are_printed_as_they_are_in_force() {
    let printed = |keys: &str| {
        let server = "{address: 10.0.0.1, passive_ports: 3000-3999}";
        let text = format!("clusters: [{{name: a, vips: [192.0.2.1], {keys}, real_servers: [{server}]}}]\n");
        let given = parse(&text, "given.yaml").unwrap_or_else(|problems| panic!("{problems}"));
        effective(&given.config, &given.by_name).expect("YAML")
    };
    let lines = |text: &str, wanted: &[&str]| {
        for line in wanted {
            assert!(text.lines().any(|found| found.trim().trim_start_matches("- ") == *line), "{line}\n{text}");
        }
    };
    lines(&printed("forwarding: nat"), &["name: 10.0.0.1", "port: 21", "active_port: 20", "tls: none", "21"]);
    lines(&printed("forwarding: dr"), &["port: null", "active_port: 20"]);
    lines(&printed("forwarding: nat, ports: [990]"), &["port: 990", "active_port: 989", "tls: implicit"]);
    // No one value is in force.
    lines(&printed("forwarding: nat, ports: [21, 990]"), &["port: null", "active_port: null", "tls: none"]);
}
