use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use super::*;
use crate::lvs::{FirewallMark, ForwardingMethod, Thresholds, VirtualService};
use crate::state::sets::{Name, Value};

/// A kernel that does what it is told and knows what it would refuse.
fn apply(state: &mut State, change: &Change) {
    match change {
        Change::AddService(service) => {
            assert!(!state.services.contains_key(&service.key), "EEXIST");
            state.service(service.clone());
        }
        Change::EditService(service) => {
            state.services.get_mut(&service.key).expect("ESRCH").service = service.clone();
        }
        Change::DeleteService(key) => {
            let service = state.services.remove(key).expect("ESRCH");
            assert!(service.destinations.values().all(|entry| entry.connections == 0), "live entries silenced");
        }
        Change::AddDestination(key, to) => {
            let service = state.services.get_mut(key).expect("ESRCH");
            assert!(!service.destinations.contains_key(&to.address), "EEXIST");
            service.destination(to.clone());
        }
        Change::EditDestination(key, to) => {
            let entry = state.services.get_mut(key).expect("ESRCH").destinations.get_mut(&to.address).expect("ENOENT");
            entry.destination = to.clone();
        }
        Change::DeleteDestination(key, to) => {
            let entry = state.services.get_mut(key).expect("ESRCH").destinations.remove(&to.address).expect("ENOENT");
            assert_eq!(entry.connections, 0, "live entries silenced");
        }
        Change::AddElement(set, key, value) => {
            let before = state.elements.entry(*set).or_default().insert(key.clone(), value.clone());
            assert!(before.is_none(), "EEXIST");
        }
        Change::DeleteElement(set, key) => {
            let elements = state.elements.get_mut(set).expect("ENOENT");
            elements.remove(key).expect("ENOENT");
            if elements.is_empty() {
                state.elements.remove(set);
            }
        }
        Change::AddAddress(to) => {
            let answers = |key: &ServiceKey| matches!(key, ServiceKey::Tcp(at) if at.ip() == to.address);
            assert!(state.services.keys().any(answers), "the VIP before its service");
            assert!(state.addresses.insert(to.clone()), "EEXIST");
        }
        Change::DeleteAddress(from) => assert!(state.addresses.remove(from), "EADDRNOTAVAIL"),
    }
}

/// Every range's control mark, made a data mark, has a service with a real server.
fn no_mark_into_the_void(state: &State) -> bool {
    let ranges = state.elements.get(&Set::of(Name::Ranges, VIP));
    ranges.into_iter().flat_map(BTreeMap::values).flatten().all(|value| {
        let Value::Mark(FirewallMark(mark)) = value else { return false };
        let key = ServiceKey::Mark { mark: FirewallMark(mark & 0xfffc_ffff), ipv6: false };
        state.services.get(&key).is_some_and(|service| !service.destinations.is_empty())
    })
}

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));

/// A cluster of the servers whose bit is set in `servers`, each with a range of its own.
fn state(servers: u8, weight: u32, connections: u32) -> State {
    let mut state = State::default();
    for index in (0..8u8).filter(|index| servers & (1 << index) != 0) {
        let server = SocketAddr::from(([10, 0, 0, index], 21));
        let mark = 0x0f70_0000 + u32::from(index);
        let forwarding = ForwardingMethod::Dr;
        for (key, address, weight) in [
            (ServiceKey::Tcp(SocketAddr::new(VIP, 21)), server, weight),
            (ServiceKey::Mark { mark: FirewallMark(mark), ipv6: false }, SocketAddr::new(server.ip(), 0), 1),
        ] {
            let service = state.service(VirtualService { key, scheduler: "rr".into(), persistence: None });
            let thresholds = Thresholds::NONE;
            let destination = Destination { address, forwarding, weight, thresholds };
            service.destinations.insert(address, DestinationState { destination, connections });
        }
        let first = 31000 + u16::from(index) * 100;
        let range = crate::lvs::PortRange::new(first, first + 99).expect("a range");
        let value = vec![Value::Mark(FirewallMark(mark + 0x30000))];
        state.element(Set::of(Name::Ranges, VIP), vec![Value::Address(VIP), Value::Ports(range)], value);
        state.element(Set::of(Name::Owned, VIP), vec![Value::Address(VIP), Value::Port(21)], vec![]);
        state.addresses.insert(LocalAddress { interface: "eth0".into(), address: VIP });
    }
    state
}

proptest! {
    #[test]
    fn reaches_the_desired_state_and_then_rests(from: u8, to: u8, old in 0..3u32, new in 0..3u32) {
        let (mut actual, desired) = (state(from, old, 0), state(to, new, 0));
        for change in diff(&actual, &desired) {
            apply(&mut actual, &change);
            prop_assert!(no_mark_into_the_void(&actual), "after {change}");
        }
        prop_assert_eq!(&actual, &desired);
        prop_assert!(diff(&actual, &desired).is_empty());
    }

    #[test]
    fn live_connections_keep_their_service(from: u8, to: u8) {
        let (mut actual, desired) = (state(from, 1, 5), state(to, 1, 0));
        for change in diff(&actual, &desired) {
            apply(&mut actual, &change);
        }
        for (key, service) in &state(from, 1, 5).services {
            let left = &actual.services[key];
            for address in service.destinations.keys() {
                prop_assert!(left.destinations.contains_key(address));
            }
        }
        prop_assert!(from == 0 || actual.addresses == state(from, 1, 5).addresses, "the VIP of live connections");
    }
}

#[test]
fn says_it_in_the_words_of_ipvsadm_and_nft() {
    let words: Vec<_> = diff(&State::default(), &state(2, 7, 0)).iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "ipvsadm -A -f 258998273 -s rr",
            "ipvsadm -a -f 258998273 -r 10.0.0.1:0 -g -w 1",
            "nft add element inet ftpdirector owned4 { 192.0.2.10 . 21 }",
            "nft add element inet ftpdirector ranges4 { 192.0.2.10 . 31100-31199 : 0x0f730001 }",
            "ipvsadm -A -t 192.0.2.10:21 -s rr",
            "ipvsadm -a -t 192.0.2.10:21 -r 10.0.0.1:21 -g -w 7",
            "ip address add 192.0.2.10/32 dev eth0 proto 0x46",
        ]
    );
}

#[test]
fn a_threshold_is_changed_in_place() {
    let (mut actual, mut desired) = (state(2, 7, 5), state(2, 7, 0));
    let of = |state: &mut State, thresholds| {
        let control = state.services.get_mut(&ServiceKey::Tcp(SocketAddr::new(VIP, 21))).expect("the control service");
        control.destinations.values_mut().for_each(|entry| entry.destination.thresholds = thresholds);
    };
    let words =
        |actual: &State, desired: &State| diff(actual, desired).iter().map(ToString::to_string).collect::<Vec<_>>();
    let edit = "ipvsadm -e -t 192.0.2.10:21 -r 10.0.0.1:21 -g -w 7";
    of(&mut desired, Thresholds::at(9));
    assert_eq!(words(&actual, &desired), [format!("{edit} -x 9 -y 9")]);
    of(&mut actual, Thresholds { upper: 9, lower: 0 });
    assert_eq!(words(&actual, &desired), [format!("{edit} -x 9 -y 9")], "the lower one counts too");
    assert_eq!(words(&desired, &state(2, 7, 0)), [edit]);
    // A server that leaves keeps it for its last connections.
    let leaves = "ipvsadm -e -t 192.0.2.10:21 -r 10.0.0.1:21 -g -w 0 -x 9".to_owned();
    assert_eq!(words(&actual, &State::default()).last(), Some(&leaves));
}

/// The service of index 0, with these servers and this persistence.
fn one_service(servers: &[(u8, u32)], persistence: Option<std::time::Duration>, key: ServiceKey) -> State {
    let mut state = State::default();
    let service = state.service(VirtualService { key, scheduler: "rr".into(), persistence });
    for &(number, connections) in servers {
        let address = SocketAddr::from(([10, 0, 0, number], 0));
        let (forwarding, thresholds) = (ForwardingMethod::Dr, Thresholds::NONE);
        let destination = Destination { address, forwarding, weight: 1, thresholds };
        service.destinations.insert(address, DestinationState { destination, connections });
    }
    state
}

#[test]
fn a_data_service_never_chooses_between_two_servers() {
    let key = ServiceKey::Mark { mark: FirewallMark(0x0f70_0000), ipv6: false };
    for connections in [0, 5] {
        let mut actual = one_service(&[(1, connections)], None, key);
        for change in diff(&actual, &one_service(&[(2, 0)], None, key)) {
            apply(&mut actual, &change);
            let willing = actual.services[&key].destinations.values().filter(|entry| entry.destination.weight > 0);
            assert!(willing.count() <= 1, "after {change}");
        }
    }
}

#[test]
fn a_persistent_service_gives_a_leaving_server_nothing_new() {
    let key = ServiceKey::Mark { mark: FirewallMark(0x0f72_0000), ipv6: false };
    let timeout = Some(std::time::Duration::from_secs(300));
    let words: Vec<_> = diff(&one_service(&[(1, 5), (2, 5)], timeout, key), &one_service(&[(2, 0)], timeout, key))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(words, ["ipvsadm -e -f 259129344 -r 10.0.0.1:0 -g -w 0"]);
}

#[test]
fn a_service_that_still_lives_is_still_owned() {
    let mut actual = state(1, 1, 5);
    let owned = Set::of(Name::Owned, VIP);
    for change in diff(&actual, &State::default()) {
        apply(&mut actual, &change);
    }
    assert!(actual.elements.contains_key(&owned), "a restart would take the service for somebody else's");
    for entry in actual.services.values_mut().flat_map(|service| service.destinations.values_mut()) {
        entry.connections = 0;
    }
    for change in diff(&actual, &State::default()) {
        apply(&mut actual, &change);
    }
    assert_eq!(actual, State::default());
}

#[test]
fn replies_from_a_servers_old_port_are_read_while_it_has_connections() {
    let server = IpAddr::from([10, 0, 0, 0]);
    let row = vec![Value::Address(server), Value::Port(21)];
    for (connections, gone) in [(3, false), (0, true)] {
        let mut actual = state(1, 1, connections);
        actual.element(Set::of(Name::NatServers, server), row.clone(), vec![]);
        let changes = diff(&actual, &state(2, 1, 0));
        let deleted = Change::DeleteElement(Set::of(Name::NatServers, server), row.clone());
        assert_eq!(changes.contains(&deleted), gone, "{connections} connections: {changes:?}");
    }
}
