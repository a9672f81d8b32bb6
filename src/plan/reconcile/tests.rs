use std::time::Duration;

use super::*;
use crate::config::{SorryServer, sample};
use crate::lvs::{Destination, ForwardingMethod, Thresholds};
use crate::plan::drift::{self, Foreseen, Repair};

const IDLE: Timeouts =
    Timeouts { tcp: Duration::from_secs(900), tcp_fin: Duration::from_secs(120), udp: Duration::from_secs(300) };

/// A machine with nothing of ours.
fn nothing(actual: &State) -> Seen<'_> {
    let table = SeenTable::default();
    let (listening, helper, interfaces) = (vec![], vec![], BTreeMap::new());
    Seen {
        actual,
        table,
        others: &[],
        listening,
        helper,
        timeouts: IDLE,
        interfaces,
        keeps_who_added: true,
        former: None,
    }
}

/// A kernel in which the configuration is in force, and how our table stands in it.
fn in_force(config: &Config) -> (State, SeenTable) {
    let indexes = mark_index::assign(config, mark_index::marks(config), &State::default()).expect("room");
    let version = desired::rules(config, &indexes).version().0;
    let sets = crate::state::sets::Set::all().map(|set| set.text().to_owned()).collect();
    let table = SeenTable { there: true, versions: [version, 7].into(), fingerprint: Some(7), unstamped: false, sets };
    (desired::rows(config, &indexes, &Availability::default()), table)
}

fn plan(config: &Config, seen: &Seen<'_>) -> Plan {
    Plan::new(config, &Availability::default(), seen).expect("nothing in the way")
}

#[test]
fn what_is_in_force_is_left_alone() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr, ForwardingMethod::Tun] {
        let config = sample::config(forwarding);
        let (actual, table) = in_force(&config);
        let plan = plan(&config, &Seen { table, ..nothing(&actual) });
        assert!(plan.is_empty(), "{:?}", plan.words().collect::<Vec<_>>());
        assert!(plan.quiescing.is_empty() && plan.ours.is_none() && !plan.flushed());
    }
}

#[test]
fn rules_are_written_when_they_are_gone_or_others_or_edited() {
    let config = sample::config(ForwardingMethod::Nat);
    let (actual, right) = in_force(&config);
    let gone = SeenTable { there: false, ..SeenTable::default() };
    let other = SeenTable { versions: [1, 7].into(), ..right.clone() };
    let edited = SeenTable { fingerprint: Some(8), ..right.clone() };
    for (table, state, words) in [
        (gone, TableState::Gone, "the table is gone"),
        (other, TableState::OtherVersion, "the table is of another version"),
        (edited.clone(), TableState::Edited, "the rules were changed"),
    ] {
        let plan = plan(&config, &Seen { table, ..nothing(&actual) });
        assert_eq!((plan.table, plan.edited.as_slice()), (state, &[words.to_owned()][..]));
        assert!(plan.rules.is_some() && plan.ours.is_some());
    }
    // Ours were written a moment ago, or nobody can read them just now: no reason to write them again.
    for table in [SeenTable { unstamped: true, ..edited.clone() }, SeenTable { fingerprint: None, ..edited }] {
        assert_eq!(plan(&config, &Seen { table, ..nothing(&actual) }).table, TableState::Right);
    }
}

#[test]
fn servers_at_our_own_addresses_are_in_the_way_each_once() {
    let mut config = sample::config(ForwardingMethod::Nat);
    let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let own = |config: &Config, addresses: &[&str]| -> Vec<String> {
        let addresses = addresses.iter().copied().map(address).collect();
        own_servers(config, &addresses).into_iter().map(|obstacle| obstacle.tried).collect()
    };
    // The VIP is ours, and so is any other address.
    assert!(own(&config, &["127.0.0.1", "192.0.2.10", "10.0.0.10"]).is_empty());
    assert_eq!(own(&config, &["10.0.0.12", "10.0.0.10"]), ["cluster downloads, server 10.0.0.12"]);
    config.clusters[0].sorry_server = Some(SorryServer { address: address("10.0.0.10"), port: None });
    config.clusters.push(Cluster { name: "uploads".into(), ..config.clusters[0].clone() });
    let found = own(&config, &["10.0.0.12", "10.0.0.10"]);
    assert_eq!(found, ["cluster downloads, server 10.0.0.10", "cluster downloads, server 10.0.0.12"]);
}

#[test]
fn others_at_our_ports_are_in_the_way_all_at_once() {
    let config = sample::config(ForwardingMethod::Nat);
    let actual = State::default();
    let at = |text: &str| -> SocketAddr { text.parse().expect("an address") };
    let others = [at("192.0.2.10:80"), at("192.0.2.10:21"), at("192.0.2.99:21")];
    let seen = Seen { others: &others, helper: vec![21], ..nothing(&actual) };
    let Err(Blocked::By(obstacles)) = Plan::new(&config, &Availability::default(), &seen) else {
        panic!("nothing is in the way")
    };
    let tried: Vec<_> = obstacles.iter().map(|obstacle| obstacle.tried.as_str()).collect();
    assert_eq!(tried, ["ipvsadm -A -t 192.0.2.10:21", "cluster downloads, port 21"]);
    // What listens elsewhere, or at another port of ours, is nobody's harm; the director hears of what is at our VIPs.
    let listening = vec![at("0.0.0.0:22"), at("10.9.9.9:21")];
    let seen = Seen { others: &others[..1], listening, ..nothing(&actual) };
    assert_eq!(plan(&config, &seen).services, [at("0.0.0.0:22"), at("192.0.2.10:80")]);
}

#[test]
fn a_vip_waits_for_its_interface_and_is_not_taken_from_others() {
    let mut config = sample::config(ForwardingMethod::Dr);
    config.clusters[0].vip_interface = Some("vip0".into());
    let vip = LocalAddress { interface: "vip0".into(), address: config.clusters[0].vips[0] };
    let actual = State::default();
    let with = |there: Option<&[IpAddr]>| {
        let addresses = there.map(|there| ("vip0".to_owned(), there.iter().copied().collect()));
        plan(&config, &Seen { interfaces: addresses.into_iter().collect(), ..nothing(&actual) })
    };
    let adds = |plan: &Plan| plan.changes.iter().any(|change| matches!(change, Change::AddAddress(_)));
    let (absent, fresh, taken) = (with(None), with(Some(&[])), with(Some(&[vip.address])));
    assert_eq!((absent.absent.as_slice(), adds(&absent)), (&[vip][..], false));
    assert!(fresh.absent.is_empty() && adds(&fresh));
    assert!(taken.absent.is_empty() && !adds(&taken), "someone else has added it, and may take it away");
}

#[test]
fn a_vip_that_could_not_be_told_from_others_is_not_added() {
    let mut config = sample::config(ForwardingMethod::Dr);
    let actual = State::default();
    let seen = Seen { keeps_who_added: false, ..nothing(&actual) };
    // Who adds no VIP lacks nothing.
    assert!(!plan(&config, &seen).is_empty());
    config.clusters[0].vip_interface = Some("vip0".into());
    let Err(Blocked::By(obstacles)) = Plan::new(&config, &Availability::default(), &seen) else {
        panic!("nothing is in the way")
    };
    let vips = config.clusters[0].vips.len();
    assert_eq!(obstacles.len(), vips);
    assert!(obstacles[0].tried.starts_with("ip address add 192.0.2.10/32 dev vip0"), "{obstacles:?}");
    assert!(obstacles[0].holder.contains("IFA_PROTO") && obstacles[0].cure.contains("vip_interface"), "{obstacles:?}");
}

#[test]
fn timeouts_are_set_only_where_the_file_wants_others() {
    let mut config = sample::config(ForwardingMethod::Nat);
    let (actual, table) = in_force(&config);
    for (wanted, set) in [(None, None), (Some(IDLE), None), (Some(Timeouts { udp: Duration::ZERO, ..IDLE }), Some(0))] {
        config.kernel.timeouts = wanted;
        let plan = plan(&config, &Seen { table: table.clone(), ..nothing(&actual) });
        assert_eq!(plan.timeouts.map(|timeouts| timeouts.udp.as_secs()), set);
    }
}

#[test]
fn drift_is_what_nobody_expected() {
    let config = sample::config(ForwardingMethod::Nat);
    let (mut actual, table) = in_force(&config);
    let control = ServiceKey::Tcp("192.0.2.10:21".parse().expect("the VIP"));
    let server: SocketAddr = "10.0.0.99:21".parse().expect("a server");
    let destination =
        Destination { address: server, forwarding: ForwardingMethod::Nat, weight: 0, thresholds: Thresholds::NONE };
    let service = actual.services.get_mut(&control).expect("the control service");
    service.destination(destination);
    service.destinations.values_mut().next().expect("a server").destination.weight = 9;
    let plan = plan(&config, &Seen { table, ..nothing(&actual) });
    let drift = |quiescing: BTreeSet<_>| {
        let found = drift::found(&plan, Foreseen { quiescing: &quiescing, absent: &[] });
        (found.len(), found.iter().map(Repair::drift).sum::<u64>())
    };
    assert_eq!(drift(BTreeSet::new()), (2, 2), "a weight, and a server that someone added");
    assert_eq!(drift([(control, server)].into()), (2, 1), "that server was to go with its last connection");
}

#[test]
fn a_flushed_table_is_told_by_its_number_of_rows() {
    let config = sample::config(ForwardingMethod::Nat);
    let (mut actual, _) = in_force(&config);
    let elements: usize = actual.elements.values().map(BTreeMap::len).sum();
    actual.elements.clear();
    let plan = plan(&config, &nothing(&actual));
    assert!(plan.flushed());
    let found = drift::found(&plan, Foreseen { quiescing: &BTreeSet::new(), absent: &[] });
    let Some(Repair::Flushed(told)) = found.iter().find(|found| matches!(found, Repair::Flushed(_))) else {
        panic!("{found:?}")
    };
    assert_eq!((*told, found.iter().map(Repair::drift).sum()), (elements, elements as u64 + 1), "{found:?}");
}

#[test]
fn nat_servers_call_and_no_others() {
    for (forwarding, calls) in [(ForwardingMethod::Nat, true), (ForwardingMethod::Dr, false)] {
        let plan = plan(&sample::config(forwarding), &nothing(&State::default()));
        assert_eq!(plan.calls("10.0.0.11".parse().expect("an address")), calls);
        assert!(!plan.calls("192.0.2.7".parse().expect("an address")));
    }
}
