use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::problem::{Collector, Place, Source};
use super::tree::{self, Node, NodeKind};
use super::*;
use crate::lvs::{ForwardingMethod, PortRange};

const SMALL: &str = "\
clusters:
  - name: downloads
    vips: [192.0.2.10]
    forwarding: nat
    real_servers:
      - address: 10.0.0.11
";

/// Every key that works; each at its default, but for those without one.
pub(super) const FULL: &str = "\
clusters:
  - name: downloads
    vips: [192.0.2.10]
    vip_interface: null
    ports: [21]
    forwarding: nat
    scheduler: wlc
    persistence: 0s
    passive:
      ports: null
      public_ports: null
      advertise: vip
    pinhole_timeout: 30s
    idle: null
    unexpected_data: drop
    client_match: address
    bounce: reject
    on_failure: bypass
    sorry_server: null
    no_servers: keep
    slow_start: 0s
    health_check:
      kind: banner
      interval: 5s
      timeout: 3s
      rise: 2
      fall: 3
      user: anonymous
      password_file: null
      path: /
      tls: null
      verify: true
      ca_file: null
      agent: null
    real_servers:
      - name: 10.0.0.11
        address: 10.0.0.11
        port: null
        weight: 1
        max_sessions: null
        passive_ports: null
        active_port: null
        active_ports: null
        mark: null
limits:
  sessions: 1000000
  line: 4096
  connection_packets: 1000
  client_packets: 4000
  client_connections: 1000
  client_sessions: 10000
  memory: 67108864
kernel:
  fwmark_base: 0x0f700000
  queue: 2100
  timeouts: null
metrics:
  listen: 127.0.0.1:9786
log:
  level: info
  format: text
";

fn problems(text: &str) -> Vec<Problem> {
    parse(text, "test.yaml").map_or_else(|problems| problems.list, |parsed| parsed.warnings)
}

fn config(text: &str) -> Config {
    parse(text, "test.yaml").unwrap_or_else(|problems| panic!("{problems}")).config
}

#[test]
fn what_is_left_out_is_at_its_default() {
    assert_eq!(config(SMALL), config(FULL));
    assert_eq!(config(SMALL).admin.socket, PathBuf::from("/run/ftpdirector/admin.sock"));
    assert_eq!(config(SMALL).clusters[0].health_check.interval, Duration::from_secs(5));
}

#[test]
fn empty_sections_are_at_their_defaults() {
    assert_eq!(config(SMALL), config(&format!("{SMALL}limits:\nkernel: {{}}\nlog: ~\n")));
}

/// 990 needs no word about health checks, wherever the probes go.
#[test]
fn health_checks_begin_tls_as_their_port_says() {
    use HealthCheckTls::{Explicit, Implicit, None};
    for (keys, port, expected) in [
        ("", "21", None),
        ("ports: [990],", "null", Implicit),
        ("ports: [990, 21],", "null", Implicit),
        ("ports: [21, 990],", "null", None),
        ("ports: [990],", "2121", Implicit),
        ("ports: [2121],", "990", Implicit),
        ("ports: [2121], health_check: {tls: explicit},", "21", Explicit),
        ("ports: [2121], health_check: {tls: implicit},", "21", Implicit),
        ("ports: [990], health_check: {tls: implicit, verify: false},", "2121", Implicit),
    ] {
        let server = format!("{{address: 10.0.0.11, port: {port}, passive_ports: 31000-31999}}");
        let text =
            format!("clusters: [{{name: lab, vips: [192.0.2.10], forwarding: nat, {keys} real_servers: [{server}]}}]");
        let parsed = parse(&text, "test.yaml").unwrap_or_else(|problems| panic!("{problems}"));
        let cluster = &parsed.config.clusters[0];
        assert_eq!(cluster.tls_to(&cluster.real_servers[0]), expected, "{keys} port: {port}");
        assert!(parsed.warnings.is_empty(), "{keys}: {:?}", parsed.warnings);
    }
}

#[test]
fn what_is_written_is_what_is_meant() {
    let config = config(
        "clusters:\n  - {name: a, vips: [192.0.2.10], ports: [2121, 21], forwarding: dr, scheduler: sh, pinhole_timeout: 1m30s,\n     \
         idle: 2h10m, unexpected_data: pass, bounce: allow, on_failure: hold, passive: {ports: 32000-32999}, real_servers: [\n     \
         {name: one, address: 10.0.0.1, weight: 0, passive_ports: 31000-31999, active_port: 2020, mark: 0x10},\n     \
         {address: 10.0.0.2, active_ports: 32768-60999}]}\n\
         limits: {connection_packets: 7, client_packets: 7, client_connections: 5, client_sessions: 8, memory: 0x100000}\n\
         kernel: {fwmark_base: 0x40000, queue: 0}\nmetrics: {listen: \"[::1]:9\"}\nlog: {level: trace, format: json}\n",
    );
    let cluster = &config.clusters[0];
    assert_eq!((cluster.ports.as_slice(), cluster.scheduler.as_str()), ([2121, 21].as_slice(), "sh"));
    assert_eq!((cluster.forwarding, cluster.pinhole_timeout), (ForwardingMethod::Dr, Duration::from_secs(90)));
    assert_eq!((cluster.unexpected_data, cluster.bounce), (UnexpectedData::Pass, Bounce::Allow));
    assert_eq!((cluster.on_failure, cluster.idle_control), (OnFailure::Hold, Some(Duration::from_secs(7800))));
    let one = &cluster.real_servers[0];
    assert_eq!((one.weight, one.active_port, one.mark), (0, Some(2020), Some(16)));
    assert_eq!(one.passive_ports, PortRange::new(31000, 31999).unwrap());
    let two = &cluster.real_servers[1];
    assert_eq!((two.name.as_str(), two.passive_ports), ("10.0.0.2", PortRange::new(32000, 32999).unwrap()));
    assert_eq!((one.active_ports, two.active_ports), (None, PortRange::new(32768, 60999)));
    let Limits { connection_packets, client_packets, client_connections, client_sessions, memory, .. } = config.limits;
    assert_eq!((connection_packets, client_packets, client_connections), (7, 7, 5));
    assert_eq!((client_sessions, memory), (8, 1 << 20));
    assert_eq!((config.kernel.fwmark_base, config.kernel.queue), (0x40000, 0));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Trace, LogFormat::Json));
}

#[test]
fn a_range_is_shared_when_it_meets_another_server_s() {
    let shared = |ranges: &[&str]| {
        let mut text = "clusters: [{name: a, vips: [192.0.2.10], forwarding: nat, real_servers: [".to_owned();
        for (index, range) in ranges.iter().enumerate() {
            write!(text, "{{address: 10.0.0.{}, passive_ports: {range}}},", index + 1).unwrap();
        }
        let config = config(&format!("{text}]}}]"));
        config.clusters[0].real_servers.iter().map(|server| server.shared).collect::<Vec<bool>>()
    };
    assert_eq!(shared(&["null"]), [false]);
    assert_eq!(shared(&["null", "null"]), [true, true]);
    assert_eq!(shared(&["3000-3999", "4000-4999", "3999"]), [true, false, true]);
    assert_eq!(shared(&["3000-9000", "4000", "5000", "9001"]), [true, true, true, false]);
    assert_eq!(shared(&["9000-9999", "1024-1025", "1025-8999"]), [false, true, true]);
}

#[test]
fn null_switches_the_metrics_off() {
    assert_eq!(config(SMALL).metrics.listen, Some(([127, 0, 0, 1], 9786).into()));
    assert_eq!(config(&format!("{SMALL}metrics: {{listen: null}}\n")).metrics.listen, None);
    assert_eq!(
        config(&format!("{SMALL}metrics: {{listen: \"[::]:1\"}}\n")).metrics.listen,
        Some("[::]:1".parse().unwrap())
    );
}

/// What stands before it is all there may be of a file; what stands behind it may be what is missed.
#[test]
fn before_a_place_that_cannot_be_read_nothing_is_missed() {
    let paths = |text: &str| problems(text).into_iter().map(|problem| problem.path).collect::<Vec<String>>();
    assert_eq!(paths("clusters:\n  - name: a\n    forwarding: [\n"), [""]);
    assert_eq!(paths("limits: {sessions: 0}\nclusters: [\n"), ["limits.sessions", ""]);
    assert_eq!(
        paths("clusters:\n  - name: A\n    weight: 1\n    scheduler: rr\n    vips: ]\n"),
        ["clusters[0].name", "clusters[0].weight", ""]
    );
    assert_eq!(
        paths("clusters:\n  - {name: a}\n  - {name: b\n").len(),
        4,
        "the first cluster is whole, and lacks three keys"
    );
}

/// Nobody is asked to look at what is as it should be.
#[test]
fn what_is_right_has_no_warning() {
    for text in [
        // Ephemeral ports are much the same on every server, in every cluster, and passive ranges lie where they like.
        "clusters:\n  - {name: a, vips: [192.0.2.10], forwarding: dr, real_servers: [\n     \
         {address: 10.0.0.1, passive_ports: 40000-40999, active_ports: 32768-60999},\n     \
         {address: 10.0.0.2, passive_ports: 41000-41999, active_ports: 32768-60999}]}\n  \
         - {name: b, vips: [192.0.2.10], ports: [2121], forwarding: tun, real_servers: [\n     \
         {address: 10.0.0.1, passive_ports: 42000-42999, active_ports: 32768-60999}]}\n  \
         - {name: c, vips: [192.0.2.11], ports: [40000], forwarding: dr, real_servers: [\n     \
         {address: 10.0.0.3, passive_ports: 1024-1025}]}\n",
        "clusters: [{name: a, vips: [192.0.2.10], forwarding: nat, passive: {ports: 1024-1033}, real_servers: [{address: 10.0.0.1}]}]\n\
         limits: {client_packets: 1000, connection_packets: 1000, client_sessions: 4000000, sessions: 1}\n",
        "clusters:\n  - {name: a, vips: [192.0.2.10], forwarding: nat, idle: 1d, passive: {ports: 3000-3009}, real_servers: [{address: 10.0.0.1}]}\n  \
         - {name: b, vips: [192.0.2.11], forwarding: nat, idle: 61s, passive: {ports: 3000-3009}, real_servers: [{address: 10.0.0.2}]}\n\
         kernel: {timeouts: {tcp: 60s}}\n",
    ] {
        let found = problems(text);
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn a_problem_points_at_what_it_means() {
    let text = "# é\r\nclusters:\r\n- {name: ü, vips: [192.0.2.10],\r\n   \"forwarding\": 'drr', real_servers: [{address: 10.0.0.1}]}\r\n";
    let found: Vec<_> = problems(text).into_iter().map(|p| (p.line, p.column, p.path)).collect();
    assert_eq!(found, [(3, 10, "clusters[0].name".to_owned()), (4, 18, "clusters[0].forwarding".to_owned())]);
    let shown = parse(text, "f").unwrap_err().to_string();
    assert!(shown.contains("   \"forwarding\": 'drr', real"), "{shown}");
    assert!(shown.contains(&format!("| {}^^^^^\n", " ".repeat(17))), "{shown}");
}

/// Not where the value begins that it stands before.
#[test]
fn an_anchor_is_pointed_at_where_it_stands() {
    let text = "limits: &all\n  # all\n  sessions: 1\nlog: *all\n";
    let report = Collector::new("f", text);
    tree::read(text, Source::MAIN, &report);
    let found: Vec<_> = report.finish().unwrap_err().list.into_iter().map(|p| (p.line, p.column)).collect();
    assert_eq!(found, [(1, 9), (4, 6)]);
}

#[test]
fn a_byte_order_mark_is_no_problem() {
    assert_eq!(config(&format!("\u{feff}{SMALL}")), config(SMALL));
}

#[test]
fn a_mapping_knows_its_places() {
    let text = "a: [1, 'two']\nb:\n  - c: ~\n";
    let report = Collector::new("f", text);
    let root = tree::read(text, Source::MAIN, &report).unwrap();
    assert_eq!(root.nearest("a[1]").place, Place { line: 1, column: 8, width: 5, source: Source::MAIN });
    assert_eq!(root.nearest("a[1]").kind, NodeKind::Quoted("two".to_owned()));
    assert_eq!(root.nearest("b[0].c").place, Place { line: 3, column: 8, width: 1, source: Source::MAIN });
    assert_eq!(root.nearest("b[0].d").place, root.nearest("b[0]").place);
    assert_eq!(root.nearest("b[7].c").place, root.nearest("b").place);
}

/// Each of these is answered by an error; one that goes off does not end, or takes all memory.
#[test]
fn bombs_do_not_go_off() {
    let servers = |count: usize, ranges: &str| {
        let mut text = "clusters: [{name: a, vips: [192.0.2.10], forwarding: dr, real_servers: [\n".to_owned();
        for index in 0..count {
            writeln!(text, "{{address: 10.{}.{}.{}{ranges}}},", index >> 16, (index >> 8) & 255, index & 255).unwrap();
        }
        text + "]}]\n"
    };
    let laughs: String = (1..30).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
        let last = n - 1;
        text + &format!("a{n}: &a{n} [*a{last}, *a{last}, *a{last}]\n")
    });
    let bombs = [
        ("flow", "[".repeat(100_000)),
        ("flow mapping", "{a: ".repeat(100_000)),
        ("block", "- ".repeat(100_000)),
        ("block mapping", (0..3000).map(|n| format!("{}a:\n", " ".repeat(n))).collect()),
        ("keys", "? ".repeat(100_000)),
        ("laughs", laughs),
        ("unknown", (0..100_000).map(|n| format!("a{n}: 1\n")).collect()),
        ("one line", format!("{{{}}}", "a: 1, ".repeat(100_000))),
        ("long", format!("clusters: {}", "x".repeat(4 << 20))),
        ("quoted", format!("\"{}", "\\\"".repeat(1 << 20))),
        ("huge", " ".repeat(9 << 20)),
        ("servers", servers(16_384, "")),
        ("ranges", servers(16_384, ", passive_ports: 3000-4000")),
        ("active ports", servers(16_384, ", active_ports: 1024-65535")),
        ("too many servers", servers(20_000, "")),
    ];
    for (name, text) in bombs {
        let problems = parse(&text, "bomb").unwrap_err().to_string();
        assert!(problems.len() < 1_000_000, "{name}: {}", problems.len());
    }
}

/// Lines that a careless or hostile hand might put somewhere.
const SNIPPETS: &[&str] = &[
    "",
    "\t",
    "- ",
    ": ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "<<: ",
    "!!int ",
    "|\n",
    ">-\n  ",
    "'",
    "\"",
    "#",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "? ",
    "~",
    "null",
    "0x",
    "-1",
    "99999999999999999999",
    "é",
    "\u{feff}",
    "\0",
    "\r",
    "\u{2028}",
    "10s",
    "dr",
    "tun",
    "990",
    "::1",
    "0-0",
    "31000-31999",
    "ports: [2121]\n",
    "    real_servers: []\n",
    "  - name: downloads\n",
    "\\x",
    "@",
    "`",
    ",",
];

pub(super) fn mutated() -> impl Strategy<Value = String> {
    let place = || any::<prop::sample::Index>();
    let edit = (place(), place(), 0_usize..SNIPPETS.len() + 3);
    prop::collection::vec(edit, 1..8).prop_map(|edits| {
        let mut text: Vec<char> = FULL.chars().collect();
        for (from, to, what) in edits {
            let (from, to) = (from.index(text.len() + 1), to.index(text.len() + 1));
            let end = to.clamp(from, (from + 40).min(text.len()));
            match SNIPPETS.get(what) {
                Some(snippet) => drop(text.splice(from..(from + to % 3).min(text.len()), snippet.chars())),
                None if what == SNIPPETS.len() => drop(text.drain(from..end)),
                None => {
                    let copy = text[from..end].to_vec();
                    drop(text.splice(to..to, copy));
                }
            }
        }
        text.into_iter().collect()
    })
}

/// The same lists, keys and quoted texts.
fn same(ours: &Node, theirs: &serde_yaml::Value) -> bool {
    match (&ours.kind, theirs) {
        (NodeKind::List(a), serde_yaml::Value::Sequence(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (NodeKind::Map(a), serde_yaml::Value::Mapping(b)) => {
            // Compared by position: a key may be a number or null there.
            a.len() == b.len() && a.iter().zip(b).all(|(a, (_, b))| same(&a.value, b))
        }
        (NodeKind::Quoted(a), serde_yaml::Value::String(b)) => a == b,
        (NodeKind::Null, theirs) => theirs.is_null(),
        (NodeKind::Plain(a), serde_yaml::Value::String(b)) => a == b,
        (NodeKind::Plain(_), serde_yaml::Value::Bool(_) | serde_yaml::Value::Number(_)) => true,
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2000), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to a file, the answer is a configuration or problems that can be shown.
    #[test]
    fn no_file_panics(text in mutated()) {
        if let Err(problems) = parse(&text, "mutated.yaml") {
            prop_assert!(!problems.list.is_empty());
            prop_assert!(problems.list.iter().any(|problem| problem.severity == ProblemSeverity::Error));
            let lines = text.matches(['\n', '\r']).count() + 1;
            prop_assert!(problems.list.iter().all(|problem| (1..=lines + 1).contains(&problem.line)));
            prop_assert!(!problems.to_string().contains('\r'));
        }
    }

    #[test]
    fn no_bytes_panic(mut bytes in Just(FULL.as_bytes().to_vec()), edits in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..6)) {
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = parse_bytes(&bytes, "mutated.yaml").map_err(|problems| problems.to_string());
    }

    /// Where we read a file, another YAML library reads the same.
    #[test]
    fn yaml_is_what_others_read(text in mutated()) {
        let report = Collector::new("mutated.yaml", &text);
        if let Some(root) = tree::read(&text, Source::MAIN, &report).filter(|_| report.paths().is_empty())
            && let Ok(theirs) = serde_yaml::from_str::<serde_yaml::Value>(&text)
        {
            prop_assert!(same(&root, &theirs), "{:?}\n{theirs:?}", root.kind);
        }
    }
}
