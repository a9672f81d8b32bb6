use super::*;
use crate::config::{SorryServer, sample};
use crate::lvs::ForwardingMethod;
use crate::plan::desired;

/// The weights of rs1, rs2 and rs3 with these down and those drained.
fn weights(config: &Config, down: &[&str], drained: &[&str]) -> [u32; 3] {
    let cluster = &config.clusters[0];
    let names = |names: &[&str]| names.iter().map(|name| (cluster.name.clone(), (*name).to_owned())).collect();
    let availability = Availability { down: names(down), drained: names(drained), ..Availability::default() };
    let weights: Vec<u32> =
        cluster.real_servers.iter().map(|server| availability.weight(cluster, cluster.vips[0], server)).collect();
    weights.try_into().expect("three servers")
}

#[test]
fn what_becomes_of_the_weights() {
    let keep = sample::config(ForwardingMethod::Nat);
    let mut reject = keep.clone();
    reject.clusters[0].no_servers = NoServers::Reject;
    let mut sorry = keep.clone();
    sorry.clusters[0].sorry_server =
        Some(SorryServer { address: "10.0.0.99".parse().expect("an address"), port: None });
    let mut other_family = keep.clone();
    other_family.clusters[0].sorry_server =
        Some(SorryServer { address: "2001:db8::99".parse().expect("an address"), port: None });
    let all = ["rs1", "rs2", "rs3"];
    for (config, down, drained, expected) in [
        (&keep, &[][..], &[][..], [1, 1, 1]),
        (&keep, &["rs2"], &[], [1, 0, 1]),
        (&keep, &["rs2"], &["rs1"], [0, 0, 1]),
        (&keep, &all, &[], [1, 1, 1]),
        // The last willing one counts: a drained server is no help.
        (&keep, &["rs2", "rs3"], &["rs1"], [0, 1, 1]),
        (&reject, &["rs2"], &[], [1, 0, 1]),
        (&reject, &all, &[], [0, 0, 0]),
        (&sorry, &["rs2"], &[], [1, 0, 1]),
        (&sorry, &all, &[], [0, 0, 0]),
        // It takes nobody's place on an IPv4 VIP.
        (&other_family, &all, &[], [1, 1, 1]),
    ] {
        assert_eq!(weights(config, down, drained), expected, "down {down:?}, drained {drained:?}");
    }
}

/// Else whoever moves a name every few seconds keeps its server in service without one good check.
#[test]
fn a_name_that_moves_is_down_until_a_check_there_is_good() {
    let mut before = sample::config(ForwardingMethod::Nat);
    before.clusters[0].health_check.kind = HealthCheckKind::Banner;
    for server in before.clusters[0].real_servers.iter_mut().take(2) {
        server.host = Some(format!("{}.example.net", server.name));
    }
    let mut now = before.clone();
    let servers = &mut now.clusters[0].real_servers;
    servers[0].address = "10.0.0.98".parse().expect("an address");
    // An address that the operator wrote is his word.
    servers[2].address = "10.0.0.99".parse().expect("an address");
    let name = |server: &str| (now.clusters[0].name.clone(), server.to_owned());
    let stands = Availability { asked: [(name("rs1"), 0), (name("rs2"), 50)].into(), ..Availability::default() };
    let mut availability = stands.clone();
    let moved = availability.follow_names(&before, &now);
    let asked = [(name("rs1"), 0)].into();
    assert_eq!(moved, Availability { down: [name("rs1")].into(), asked, ..Availability::default() });
    assert_eq!(availability, Availability { down: [name("rs1")].into(), ..stands.clone() });
    assert_eq!(availability.weight(&now.clusters[0], now.clusters[0].vips[0], &now.clusters[0].real_servers[0]), 0);
    // One that is new, or is not checked.
    let mut shorter = before.clone();
    shorter.clusters[0].real_servers.remove(0);
    assert_eq!(Availability::default().follow_names(&shorter, &now), Availability::default());
    now.clusters[0].health_check.kind = HealthCheckKind::None;
    assert_eq!(Availability::default().follow_names(&before, &now), Availability::default());
}

#[test]
fn the_sorry_server_stands_in_while_all_are_down_and_only_then() {
    let mut config = sample::config(ForwardingMethod::Nat);
    config.clusters[0].sorry_server =
        Some(SorryServer { address: "10.0.0.99".parse().expect("an address"), port: Some(2121) });
    let indexes = mark_index::assign(&config, mark_index::marks(&config), &State::default()).expect("room");
    let all: Vec<ServerName> = (1..=3).map(|number| ("downloads".into(), format!("rs{number}"))).collect();
    for (down, stands) in [(&all[..2], false), (&all[..], true)] {
        let availability = Availability { down: down.iter().cloned().collect(), ..Availability::default() };
        let desired = desired::rows(&config, &indexes, &availability);
        let changes = crate::state::diff(&State::default(), &desired);
        let words: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let line = "ipvsadm -a -t 192.0.2.10:21 -r 10.0.0.99:2121 -m -w 1";
        assert_eq!(words.iter().any(|word| word == line), stands, "{words:#?}");
        // Sessions that go on still get their data connections.
        assert!(words.iter().any(|word| word == "ipvsadm -a -f 258998272 -r 10.0.0.11:0 -m -w 1"), "{words:#?}");
    }
}

#[test]
fn who_was_down_before_a_restart_is_known_by_weight_0() {
    let mut config = sample::config(ForwardingMethod::Nat);
    config.clusters[0].health_check.kind = HealthCheckKind::Banner;
    let marks = mark_index::marks(&config);
    let indexes = mark_index::assign(&config, marks, &State::default()).expect("room");
    let name = |server: &str| (config.clusters[0].name.clone(), server.to_owned());
    let (down, drained) = ([name("rs2")].into(), [name("rs3")].into());
    let availability = Availability { down, drained, ..Availability::default() };
    let actual = desired::rows(&config, &indexes, &availability);
    assert_eq!(Availability::standing(&config, &indexes, &actual), availability);
    assert_eq!(Availability::standing(&config, &indexes, &State::default()), Availability::default());
    let mut persistent = config.clone();
    persistent.clusters[0].persistence = Some(std::time::Duration::from_secs(300));
    let actual = desired::rows(&persistent, &indexes, &availability);
    assert_eq!(Availability::standing(&persistent, &indexes, &actual), availability);
    // Its agent may have had the say; it is asked before the server gets sessions.
    persistent.clusters[0].health_check.agent = Some(8080);
    let held = Availability { asked: [(name("rs2"), 0)].into(), ..availability };
    assert_eq!(Availability::standing(&persistent, &indexes, &actual), held);
    persistent.clusters[0].health_check.kind = HealthCheckKind::None;
    let held = Availability { down: BTreeSet::new(), ..held };
    assert_eq!(Availability::standing(&persistent, &indexes, &actual), held);
    config.clusters[0].health_check.kind = HealthCheckKind::None;
    assert!(Availability::standing(&config, &indexes, &actual).down.is_empty(), "nobody would ever bring it up");
}

#[test]
fn an_agent_asks_for_a_part_of_the_weight() {
    let mut config = sample::config(ForwardingMethod::Nat);
    config.clusters[0].real_servers[0].weight = 200;
    let name = |server: &str| (config.clusters[0].name.clone(), server.to_owned());
    let weights = |percent| {
        let asked = [(name("rs1"), percent), (name("rs2"), percent)].into();
        let (cluster, availability) = (&config.clusters[0], Availability { asked, ..Availability::default() });
        [0, 1, 2].map(|at| availability.weight(cluster, cluster.vips[0], &cluster.real_servers[at]))
    };
    for (percent, expected) in [
        (0, [0, 0, 1]),
        (1, [2, 1, 1]),
        (50, [100, 1, 1]),
        (100, [200, 1, 1]),
        (250, [500, 2, 1]),
        (100_000, [65535, 1000, 1]),
        (u32::MAX, [65535, 65535, 1]),
    ] {
        assert_eq!(weights(percent), expected, "{percent} %");
    }
}

#[test]
fn who_drains_a_server() {
    let mut config = sample::config(ForwardingMethod::Nat);
    config.clusters[0].no_servers = NoServers::Reject;
    let cluster = &config.clusters[0];
    let name = |server: &str| (cluster.name.clone(), server.to_owned());
    let drained = [name("rs1"), name("rs2")].into();
    let asked = [(name("rs2"), 0), (name("rs3"), 0)].into();
    let availability = Availability { drained, asked, ..Availability::default() };
    let by = |server: &RealServer| availability.drained_by(cluster, server);
    let found: Vec<_> = cluster.real_servers.iter().map(by).collect();
    assert_eq!(found, [Some(DrainedBy::Administrator), Some(DrainedBy::Administrator), Some(DrainedBy::Agent)]);
    assert_eq!(by(&RealServer { weight: 0, ..cluster.real_servers[0].clone() }), Some(DrainedBy::File));
    // Nobody is left to fail: that is no reason for a sorry server.
    assert!(!availability.all_down(cluster, cluster.vips[0]));
    let half = Availability { asked: [(name("rs2"), 50), (name("rs3"), 0)].into(), ..availability.clone() };
    assert!(!half.serves_as(&availability));
    let more = Availability { asked: [(name("rs2"), 80), (name("rs3"), 0)].into(), ..availability.clone() };
    assert!(more.serves_as(&half));
}

/// A start that could not look its name up knew it by its address.
#[test]
fn a_drain_follows_from_the_address_to_the_name() {
    let mut before = sample::config(ForwardingMethod::Nat);
    before.clusters[0].real_servers[1].name = "10.0.0.12".into();
    let mut now = before.clone();
    now.clusters[0].real_servers[1].name = "rs2".into();
    let name = |server: &str| ("downloads".to_owned(), server.to_owned());
    let drained = |now: &Config, drained: &str| {
        let mut availability = Availability { drained: [name(drained)].into(), ..Availability::default() };
        availability.follow(&before, now);
        availability.retain(now);
        availability.drained.into_iter().map(|(_, server)| server).collect::<Vec<_>>()
    };
    assert_eq!(drained(&now, "10.0.0.12"), [""; 0], "a server of the file's is another one");
    now.clusters[0].real_servers[1].host = Some("ftp2.example.net".into());
    assert_eq!(drained(&now, "10.0.0.12"), ["rs2"]);
    assert_eq!(drained(&now, "rs1"), ["rs1"]);
    now.clusters[0].real_servers[1].address = "10.0.0.22".parse().expect("an address");
    assert_eq!(drained(&now, "10.0.0.12"), [""; 0], "the name stands for another machine");
}
