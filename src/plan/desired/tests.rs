use super::*;
use crate::config::{ClientMatch, sample};
use crate::plan::mark_index;
use crate::state::diff;

fn words(config: &Config) -> Vec<String> {
    let indexes = mark_index::assign(config, marks(config), &State::default()).expect("room");
    diff(&State::default(), &rows(config, &indexes, &Availability::default())).iter().map(ToString::to_string).collect()
}

fn has(words: &[String], line: &str) -> bool {
    words.iter().any(|word| word == line)
}

#[test]
fn nat_reads_replies_and_gives_active_connections_the_vip() {
    let words = words(&sample::config(ForwardingMethod::Nat));
    for line in [
        "ipvsadm -A -f 258998272 -s rr",
        "ipvsadm -a -f 258998272 -r 10.0.0.11:0 -m -w 1",
        "ipvsadm -A -t 192.0.2.10:21 -s wlc",
        "ipvsadm -a -t 192.0.2.10:21 -r 10.0.0.13:21 -m -w 1",
        "nft add element inet ftpdirector ranges4 { 192.0.2.10 . 31000-31999 : 0x0f730000 }",
        "nft add element inet ftpdirector passive4 { 192.0.2.10 . 31000-31999 : 0x0f710000 }",
        "nft add element inet ftpdirector server_marks4 { 0x0f710000 . 10.0.0.12 : 0x0f730001 }",
        "nft add element inet ftpdirector nat_servers4 { 10.0.0.12 . 21 }",
        "nft add element inet ftpdirector active_servers4 { 192.0.2.10 . 10.0.0.12 : 0x0f700001 }",
    ] {
        assert!(has(&words, line), "no `{line}` in {words:#?}");
    }
    assert!(!words.iter().any(|word| word.contains("active_ports4")));
}

#[test]
fn a_limit_of_sessions_holds_for_control_connections_alone() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr, ForwardingMethod::Tun] {
        let mut config = sample::config(forwarding);
        config.clusters[0].ports = vec![21, 2121];
        config.clusters[0].real_servers[1].max_sessions = Some(100);
        let words = words(&config);
        let limited: Vec<_> = words.iter().filter(|word| word.contains(" -x ")).collect();
        let line = |port| {
            format!("ipvsadm -a -t 192.0.2.10:{port} -r 10.0.0.12:{port} -{} -w 1 -x 100 -y 100", option(forwarding))
        };
        assert_eq!(limited, [&line(21), &line(2121)]);
    }
}

fn option(forwarding: ForwardingMethod) -> char {
    match forwarding {
        ForwardingMethod::Nat => 'm',
        ForwardingMethod::Dr => 'g',
        ForwardingMethod::Tun => 'i',
    }
}

#[test]
fn dr_watches_the_active_port_of_the_vip() {
    let words = words(&sample::config(ForwardingMethod::Dr));
    assert!(has(&words, "nft add element inet ftpdirector active_ports4 { 192.0.2.10 . 20 : 0x0f710000 }"));
    assert!(!words.iter().any(|word| word.contains("nat_servers4")));
}

#[test]
fn ports_that_servers_call_from_are_nobodys_to_call() {
    let mut config = sample::config(ForwardingMethod::Dr);
    // Other servers' overlapping ranges, and another cluster at the same VIP: an interval set holds no overlaps.
    for (server, last) in config.clusters[0].real_servers.iter_mut().zip([60999, 61999]) {
        server.active_ports = PortRange::new(last - 1000, last);
    }
    let mut other = config.clusters[0].clone();
    other.ports = vec![990];
    other.real_servers[0].active_ports = PortRange::new(60500, 62500);
    config.clusters.push(other);
    let words = words(&config);
    let made: Vec<_> = words.iter().filter(|word| word.contains("calling_ports4")).collect();
    assert_eq!(made, ["nft add element inet ftpdirector calling_ports4 { 192.0.2.10 . 59999-62500 : 0x0f710000 }"]);
    let mut config = sample::config(ForwardingMethod::Nat);
    config.clusters[0].real_servers[0].active_ports = PortRange::new(32768, 60999);
    assert!(!self::words(&config).concat().contains("calling_ports4"));
}

#[test]
fn a_port_of_its_own_says_which_server_calls_where_what_is_unexpected_passes() {
    let mut config = sample::config(ForwardingMethod::Dr);
    config.clusters[0].ports = vec![21, 2121];
    for (server, port) in config.clusters[0].real_servers.iter_mut().zip([2021, 2022, 2022]) {
        server.active_port = Some(port);
    }
    let made =
        |config: &Config| words(config).into_iter().filter(|word| word.contains("active_alone")).collect::<Vec<_>>();
    assert!(made(&config).is_empty());
    config.clusters[0].unexpected_data = UnexpectedData::Pass;
    assert_eq!(made(&config), ["nft add element inet ftpdirector active_alone4 { 192.0.2.10 . 2021 : 0x0f700000 }"]);
    config.clusters[0].persistence = Some(Duration::from_secs(300));
    assert!(made(&config).is_empty(), "its mark stands for active ports");
    config.clusters[0].persistence = None;
    config.clusters[0].forwarding = ForwardingMethod::Nat;
    assert!(made(&config).is_empty());
}

#[test]
fn shared_ranges_are_declared_once_and_belong_to_nobody() {
    let mut config = sample::config(ForwardingMethod::Nat);
    for (server, (first, last)) in config.clusters[0].real_servers.iter_mut().zip([(100, 200), (150, 300), (100, 200)])
    {
        server.passive_ports = PortRange::new(30000 + first, 30000 + last).expect("a range");
        server.shared = true;
    }
    let words = words(&config);
    assert!(has(&words, "nft add element inet ftpdirector passive4 { 192.0.2.10 . 30100-30300 : 0x0f710000 }"));
    assert!(!words.iter().any(|word| word.contains("ranges4")));
}

#[test]
fn with_public_ports_the_servers_own_are_nothing_at_the_vip() {
    let mut config = sample::config(ForwardingMethod::Nat);
    assert!(words(&config).concat().contains("ranges4"));
    config.clusters[0].public_ports = PortRange::new(8192, 8200);
    let words = words(&config);
    let made: Vec<_> = words.iter().filter(|word| word.contains("ranges4") || word.contains(" passive4")).collect();
    assert_eq!(made, ["nft add element inet ftpdirector passive4 { 192.0.2.10 . 8192-8200 : 0x0f710000 }"]);
    let indexes = mark_index::assign(&config, marks(&config), &State::default()).expect("room");
    assert!(indexes.placements.iter().all(|one| one.own_range.is_none() && one.public_ports.is_some()));
    assert!(indexes.placements[0].declares(31_500) && !indexes.placements[0].declares(8192));
}

#[test]
fn a_network_of_clients_is_a_mask_beside_the_mark() {
    let mut config = sample::config(ForwardingMethod::Dr);
    let networks = |config: &Config| {
        let indexes = mark_index::assign(config, marks(config), &State::default()).expect("room");
        rules(config, &indexes).networks
    };
    assert!(!words(&config).iter().any(|word| word.contains("networks4")) && networks(&config).is_empty());
    for (chosen, length, mask) in
        [(ClientMatch::Prefix { ipv4: 20, ipv6: 64 }, 20, "255.255.240.0"), (ClientMatch::Any, 0, "0.0.0.0")]
    {
        config.clusters[0].client_match = chosen;
        let line = format!("nft add element inet ftpdirector networks4 {{ 0x0f730002 . {mask} }}");
        assert!(has(&words(&config), &line), "no `{line}`");
        assert_eq!(networks(&config), [Network { family: Family::V4, length }]);
    }
}

#[test]
fn one_pinhole_timeout_for_all_keeps_the_rules_free_of_marks() {
    let mut config = sample::config(ForwardingMethod::Nat);
    let mut other = config.clusters[0].clone();
    other.vips = vec!["192.0.2.11".parse().expect("a VIP")];
    config.clusters.push(other);
    let rules_of = |config: &Config| {
        let indexes = mark_index::assign(config, marks(config), &State::default()).expect("room");
        rules(config, &indexes).pinhole_timeouts
    };
    assert_eq!(rules_of(&config).len(), 1);
    config.clusters[1].pinhole_timeout = Duration::from_secs(30);
    let timeouts = rules_of(&config);
    assert!(timeouts[0].1.is_empty());
    assert_eq!(timeouts[1].1, [FirewallMark(0x0f73_0003), FirewallMark(0x0f73_0004), FirewallMark(0x0f73_0005)]);
}

#[test]
fn persistence_is_one_mark_for_control_and_data() {
    let mut config = sample::config(ForwardingMethod::Dr);
    config.clusters[0].persistence = Some(Duration::from_secs(300));
    let words = words(&config);
    for line in [
        "ipvsadm -A -f 259129344 -s wlc -p 300",
        "ipvsadm -a -f 259129344 -r 10.0.0.12:0 -g -w 1",
        "nft add element inet ftpdirector persistent4 { 192.0.2.10 . 20 : 0x0f720000 }",
        "nft add element inet ftpdirector persistent4 { 192.0.2.10 . 21 : 0x0f720000 }",
        "nft add element inet ftpdirector persistent4 { 192.0.2.10 . 31000-31999 : 0x0f720000 }",
    ] {
        assert!(has(&words, line), "no `{line}` in {words:#?}");
    }
    assert!(!words.iter().any(|word| word.contains("-t 192.0.2.10:21")));
    // In NAT no answer of a client needs it, and a SYN must not have it.
    config.clusters[0].forwarding = ForwardingMethod::Nat;
    assert!(!has(
        &self::words(&config),
        "nft add element inet ftpdirector persistent4 { 192.0.2.10 . 20 : 0x0f720000 }"
    ));
}
