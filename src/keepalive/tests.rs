use super::*;
use crate::lvs::PortRange;

const IDLE: Idle = Idle { tcp: Duration::from_secs(900), tcp_fin: Duration::from_secs(300) };
/// From one look to the next.
const STEP: u64 = 225;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn connection(client: &str, vip: &str, server: &str, expires: u64) -> Connection {
    let (client, vip, server) = (at(client), at(vip), at(server));
    Connection { client, vip, server, state: ConnectionState::Established, expires: Duration::from_secs(expires) }
}

/// A control connection of one client address at one server.
fn control(port: u16, expires: u64) -> Connection {
    connection(&format!("192.0.2.7:{port}"), "192.0.2.10:21", "10.0.0.11:21", expires)
}

fn data(port: u16) -> Connection {
    connection(&format!("192.0.2.7:{port}"), "192.0.2.10:31000", "10.0.0.11:31000", 899)
}

/// Of a cluster without `idle`.
fn sight(connections: &[Connection]) -> Sight {
    sight_of(connections, None, Ceiling { all: 0, of_client: 0 })
}

fn sight_of(connections: &[Connection], idle_control: Option<Duration>, ceiling: Ceiling) -> Sight {
    let service = ControlService { forwarding: ForwardingMethod::Dr, idle_control };
    let controls = BTreeMap::from([(at("192.0.2.10:21"), service)]);
    let passive_ports = PortRange::new(31000, 32999).unwrap();
    let placement = Placement {
        index: 0,
        cluster: 0,
        vip: at("192.0.2.10:0").ip(),
        server: 0,
        address: at("10.0.0.11:0").ip(),
        forwarding: ForwardingMethod::Dr,
        own_range: Some(passive_ports),
        active_port: None,
        active_ports: None,
        own_active_port: false,
        client_prefix: 32,
        passive_ports,
        public_ports: None,
    };
    let second = Placement { server: 1, address: at("10.0.0.12:0").ip(), ..placement };
    let mut sight = Sight::new(controls, [placement, second], IDLE, ceiling);
    for connection in connections {
        let _ = sight.connection(connection);
    }
    sight.pair();
    sight
}

#[test]
fn a_call_is_known_by_the_port_that_its_server_calls_from() {
    let sight = sight(&[]);
    let servers = |connection: &Connection| sight.answered(connection).map(|place| place.server).collect::<Vec<_>>();
    let call = connection("192.0.2.7:51210", "192.0.2.10:20", "10.0.0.12:20", 100);
    assert_eq!(servers(&call), [1]);
    assert_eq!(servers(&Connection { state: ConnectionState::HalfClosed, ..call }), [1]);
    assert!(servers(&data(51210)).is_empty() && servers(&control(51210, 100)).is_empty());
    assert!(servers(&connection("192.0.2.7:51210", "192.0.2.10:20", "10.0.0.13:20", 100)).is_empty());
    let elsewhere = connection("192.0.2.7:51210", "192.0.2.10:40000", "10.0.0.12:40000", 100);
    assert!(servers(&elsewhere).is_empty());
    let more = sight.places.clone().into_iter().map(|(pair, places)| {
        let more = |place: Placement| Placement { active_ports: PortRange::new(32768, 60999), ..place };
        (pair, places.into_iter().map(more).collect())
    });
    let more = Sight { places: more.collect(), ..self::sight(&[]) };
    for known in [&call, &elsewhere] {
        assert_eq!(more.answered(known).map(|place| place.server).collect::<Vec<_>>(), [1]);
    }
    // In NAT IPVS knows nothing of calls: such an entry is another service's.
    let places = sight.places.clone().into_iter().map(|(pair, places)| {
        let nat = |place: Placement| Placement { forwarding: ForwardingMethod::Nat, ..place };
        (pair, places.into_iter().map(nat).collect())
    });
    assert_eq!(Sight { places: places.collect(), ..sight }.answered(&call).count(), 0);
}

fn ports(found: &Looked) -> Vec<u16> {
    found.kept.iter().map(|control| control.client.port()).collect()
}

/// When IPVS was asked, and when what it said is acted on.
fn time(seconds: u64) -> (Time, Time) {
    let at = Time::ZERO + Duration::from_secs(seconds);
    (at, at)
}

#[test]
fn a_silent_control_connection_lives_as_long_as_its_data_connection() {
    let mut keepalive = Keepalive::default();
    for look in 1..100 {
        // Refreshed at each look, it has been silent for one step at the next.
        let kept = keepalive.look(time(look * STEP), &sight(&[control(5000, 900 - STEP - 1), data(6000)]));
        assert_eq!(ports(&kept), [5000], "look {look}");
    }
    assert!(keepalive.look(time(100 * STEP), &sight(&[control(5000, 674)])).kept.is_empty());
    assert!(keepalive.look(time(105 * STEP), &sight(&[])).kept.is_empty());
    assert!(keepalive.watches.is_empty());
}

/// Where listing and sending take a while, the next look finds it younger than a quarter of the timeout.
#[test]
fn a_look_between_two_keepalives_loses_nothing() {
    let mut keepalive = Keepalive::default();
    for look in 1..100 {
        let (quiet, expires) = (look % 2 == 1, if look % 2 == 1 { 450 } else { 676 });
        let kept = keepalive.look(time(look * STEP), &sight(&[control(5000, expires), data(6000)]));
        assert_eq!(!kept.kept.is_empty(), quiet, "look {look}");
    }
}

#[test]
fn who_spoke_a_moment_ago_needs_nothing() {
    assert!(sight(&[control(5000, 675), data(6000)]).quiet().is_empty());
    assert_eq!(sight(&[control(5000, 674), data(6000)]).quiet().len(), 1);
}

#[test]
fn a_session_without_a_data_connection_is_let_go() {
    let elsewhere = [
        connection("192.0.2.8:6000", "192.0.2.10:31000", "10.0.0.11:31000", 899),
        connection("192.0.2.7:6000", "192.0.2.10:32000", "10.0.0.12:32000", 899),
        connection("192.0.2.7:6000", "192.0.2.99:31000", "10.0.0.11:31000", 899),
        // The same machines serve something else at the same address.
        connection("192.0.2.7:6000", "192.0.2.10:8080", "10.0.0.11:8080", 899),
        connection("192.0.2.7:6000", "192.0.2.10:80", "10.0.0.11:80", 899),
        control(5001, 899),
        Connection { state: ConnectionState::Other, ..data(6000) },
    ];
    for other in elsewhere {
        assert!(sight(&[control(5000, 100), other]).quiet().is_empty(), "{other:?}");
    }
}

#[test]
fn a_control_connection_that_closes_is_let_go() {
    let closing = Connection { state: ConnectionState::HalfClosed, ..control(5000, 100) };
    assert!(sight(&[closing, data(6000)]).quiet().is_empty());
}

#[test]
fn an_active_data_connection_is_one() {
    let active = connection("192.0.2.7:6000", "192.0.2.10:20", "10.0.0.11:20", 899);
    assert_eq!(sight(&[control(5000, 100), active]).quiet().len(), 1);
}

#[test]
fn what_connection_tracking_translates_is_one() {
    for (vip, server, expected) in
        [("192.0.2.10:49152", "10.0.0.11", 1), ("192.0.2.99:20", "10.0.0.11", 0), ("192.0.2.10:20", "10.0.0.99", 0)]
    {
        let mut sight = sight(&[control(5000, 100), data(6000)]);
        sight.data.clear();
        sight.translated(at("192.0.2.7:6000"), at(vip), server.parse().unwrap());
        sight.pair();
        assert_eq!(sight.quiet().len(), expected, "{vip} {server}");
    }
}

#[test]
fn a_half_closed_data_connection_lives_while_it_is_heard() {
    for (expires, expected) in [(299, 1), (75, 1), (74, 0)] {
        let expires = Duration::from_secs(expires);
        let half = Connection { state: ConnectionState::HalfClosed, expires, ..data(6000) };
        assert_eq!(sight(&[control(5000, 100), half]).quiet().len(), expected, "{expires:?}");
    }
}

#[test]
fn others_behind_the_address_do_not_keep_a_dead_session() {
    let mut keepalive = Keepalive::default();
    let (mut forgotten, mut times) = (900, 0);
    for look in 1..50_u16 {
        // A data connection of someone new at each look: none is there at two of them.
        let now = u64::from(look) * STEP;
        let dead = (forgotten > now).then(|| control(5000, forgotten - now));
        let seen: Vec<_> = dead.into_iter().chain([data(6000 + look)]).collect();
        if !keepalive.look(time(now), &sight(&seen)).kept.is_empty() {
            (forgotten, times) = (now + 900, times + 1);
        }
    }
    assert_eq!(times, 1 + CHANCES);
}

#[test]
fn who_speaks_again_may_have_another_data_connection() {
    let mut keepalive = Keepalive::default();
    for look in 1..50_u16 {
        // It spoke 200 seconds after each look but the first.
        let now = u64::from(look) * 2 * STEP;
        let seen = sight(&[control(5000, 650), data(6000 + look)]);
        assert_eq!(ports(&keepalive.look(time(now), &seen)), [5000], "look {look}");
    }
}

#[test]
fn a_new_port_does_not_inherit() {
    let mut keepalive = Keepalive::default();
    assert_eq!(ports(&keepalive.look(time(0), &sight(&[control(5000, 600), data(6000)]))), [5000]);
    let seen = sight(&[control(5000, 674), control(5001, 600), data(6001)]);
    assert_eq!(ports(&keepalive.look(time(STEP), &seen)), [5000, 5001]);
}

#[test]
fn sessions_that_fall_silent_together_share_what_is_remembered() {
    let mut keepalive = Keepalive::default();
    let all: Vec<_> = (0..1000).flat_map(|n| [control(5000 + n, 600), data(16000 + n)]).collect();
    for look in 0..4 {
        assert_eq!(keepalive.look(time(look * STEP), &sight(&all)).kept.len(), 1000);
        assert_eq!(keepalive.chosen.len(), 1);
    }
}

const TWO_HOURS: Duration = Duration::from_secs(7200);
const MANY: Ceiling = Ceiling { all: 1000, of_client: 1000 };

/// What happens to a control connection that had its last packet at 0.
#[derive(Default)]
struct Story {
    /// At which look it had another a moment ago.
    spoke: Option<u64>,
    /// Until which look a data connection lives.
    transfers: u64,
    /// From which look on the file has no `idle`.
    reload: Option<u64>,
    /// How long the keepalives of one look take, seconds.
    sending: u64,
}

/// For how many seconds IPVS remembers it, with `idle: 2h`.
fn life_of(story: &Story) -> u64 {
    let (mut keepalive, mut forgotten, mut look) = (Keepalive::default(), 900, 0);
    loop {
        look += 1;
        let now = look * STEP;
        if story.spoke == Some(look) {
            forgotten = now - 10 + 900;
        }
        if forgotten <= now {
            return forgotten;
        }
        assert!(look < 200, "kept for ever");
        let idle = story.reload.is_none_or(|from| look < from).then_some(TWO_HOURS);
        let data = (look < story.transfers).then(|| data(6000));
        let seen: Vec<_> = data.into_iter().chain([control(5000, forgotten - now)]).collect();
        let seen = sight_of(&seen, idle, MANY);
        let kept = keepalive.look(time(now), &seen).kept;
        if !kept.is_empty() {
            let sent = now + story.sending;
            keepalive.sent(Time::ZERO + Duration::from_secs(sent), &kept, IDLE);
            forgotten = sent + 900;
        }
    }
}

#[test]
fn without_a_transfer_a_silent_session_lives_for_idle() {
    // Two quarters of IPVS's timeout more, at most.
    let within = |since: u64, life: u64| assert!((since + 7200..=since + 7200 + 450).contains(&life), "{since} {life}");
    within(0, life_of(&Story::default()));
    // Again as long since its last packet, and since its last transfer was seen.
    within(20 * STEP - 10, life_of(&Story { spoke: Some(20), ..Story::default() }));
    within(48 * STEP, life_of(&Story { transfers: 50, ..Story::default() }));
    // Our own keepalive is no packet of theirs, also where many take a while.
    within(0, life_of(&Story { sending: 30, ..Story::default() }));
}

#[test]
fn a_reload_may_take_idle_away() {
    assert_eq!(life_of(&Story { reload: Some(10), ..Story::default() }), 8 * STEP + 900);
}

#[test]
fn a_connection_that_idle_keeps_has_no_data_connection_of_others() {
    let mut keepalive = Keepalive::default();
    let look = |keepalive: &mut Keepalive, number: u64, seen: &[Connection]| {
        ports(&keepalive.look(time(number * STEP), &sight_of(seen, Some(TWO_HOURS), MANY)))
    };
    assert_eq!(look(&mut keepalive, 1, &[control(5000, 674)]), [5000]);
    // Others behind its address transfer all the time.
    let last = (2..100).take_while(|&number| {
        let others = data(6000 + u16::try_from(number).unwrap());
        !look(&mut keepalive, number, &[control(5000, 674), others]).is_empty()
    });
    let life = last.last().unwrap() * STEP + 900;
    // At two looks one of theirs might have been its own.
    assert!((7200..=7200 + 900 + u64::from(CHANCES + 1) * STEP).contains(&life), "{life}");
}

/// One client, or one host that forges, opens as many as it can and says nothing.
#[test]
fn idle_keeps_no_more_than_its_ceiling() {
    let of =
        |client: u8, port: u16| connection(&format!("192.0.2.{client}:{port}"), "192.0.2.10:21", "10.0.0.11:21", 674);
    let ceiling = Ceiling::within(60, 20);
    assert_eq!(ceiling, Ceiling { all: 30, of_client: 10 });
    let mut keepalive = Keepalive::default();
    let mut look = |number: u64, seen: &[Connection]| {
        keepalive.look(time(number * STEP), &sight_of(seen, Some(TWO_HOURS), ceiling))
    };
    let mut flood: Vec<_> = (0..10_000).map(|port| of(7, 5000 + port)).collect();
    let first = look(1, &flood);
    assert_eq!((first.kept.len(), first.left.values().sum::<u64>()), (10, 9990));
    // The same ones at each look: else none would stay.
    flood.reverse();
    let kept = |found: &Looked| found.kept.iter().copied().collect::<HashSet<_>>();
    let second = look(2, &flood);
    assert_eq!(kept(&second), kept(&first));
    // Of all clients together, whoever they are; another client has its own share.
    let others: Vec<_> = (8..200).flat_map(|client| [of(client, 5000), of(client, 5001)]).collect();
    let third = look(3, &flood.iter().chain(&others).copied().collect::<Vec<_>>());
    assert!(third.kept.len() == 30 && kept(&third).is_superset(&kept(&first)), "{}", third.kept.len());
    // Transfers are not counted among them.
    let busy: Vec<_> = (0..100).flat_map(|port| [of(7, 5000 + port), data(16_000 + port)]).collect();
    assert_eq!(look(4, &busy).kept.len(), 100);
}

#[test]
fn an_ipv6_client_is_its_network() {
    let mut crowd = Crowd::default();
    let ceiling = Ceiling { all: 100, of_client: 2 };
    let mut admits = |address: &str| crowd.admits(address.parse().unwrap(), ceiling);
    assert_eq!(
        ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.2"].map(&mut admits),
        [true, true, false, true, true, true]
    );
}

#[test]
fn what_was_remembered_is_forgotten() {
    let mut keepalive = Keepalive::default();
    keepalive.look(time(0), &sight(&[control(5000, 600), data(6000)]));
    assert_eq!((keepalive.watches.len(), keepalive.chosen.len()), (1, 1));
    keepalive.look(time(902), &sight(&[]));
    assert_eq!((keepalive.watches.len(), keepalive.chosen.len()), (0, 0));
}

#[test]
fn the_far_end_is_what_a_session_is_known_by() {
    let control = sight(&[control(5000, 1), data(6000)]).quiet()[0].control;
    assert_eq!(control.far_end(), at("192.0.2.10:21"));
    let nat = ControlConnection { forwarding: ForwardingMethod::Nat, ..control };
    assert_eq!(nat.far_end(), at("10.0.0.11:21"));
}

/// A look at these, offered twice as the kernel's list is.
fn look_at_data(keepalive: &mut Keepalive, seconds: u64, connections: &[Connection]) -> Vec<u16> {
    let mut sight = sight(connections);
    if sight.wants_another() {
        connections.iter().for_each(|connection| sight.again(connection));
    }
    keepalive.look_at_data(time(seconds), &sight).iter().map(|data| data.client.port()).collect()
}

fn silent(port: u16, expires: u64) -> Connection {
    Connection { expires: Duration::from_secs(expires), ..data(port) }
}

#[test]
fn a_silent_data_connection_lives_as_long_as_its_control_connection() {
    let mut keepalive = Keepalive::default();
    // Also beside a client that sends NOOPs.
    for (look, control_expires) in [(1, 899), (2, 600), (3, 899)] {
        let seen = [control(5000, control_expires), silent(6000, 900 - STEP - 1)];
        assert_eq!(look_at_data(&mut keepalive, look * STEP, &seen), [6000], "look {look}");
    }
    let other = connection("192.0.2.8:5000", "192.0.2.10:21", "10.0.0.11:21", 899);
    let closing = Connection { state: ConnectionState::HalfClosed, ..control(5000, 899) };
    for without in [vec![], vec![other], vec![closing]] {
        let seen: Vec<_> = without.into_iter().chain([silent(6000, 100)]).collect();
        assert!(look_at_data(&mut Keepalive::default(), 0, &seen).is_empty(), "{seen:?}");
    }
    // What is sent on, and what has ended, needs nothing.
    let closing = Connection { state: ConnectionState::HalfClosed, ..silent(6001, 100) };
    assert!(look_at_data(&mut keepalive, 9 * STEP, &[control(5000, 899), data(6000), closing]).is_empty());
}

/// For how many seconds IPVS remembers one that is silent; `spoke`: at which look something has just been sent on it.
fn life(spoke: Option<u64>) -> u64 {
    let (mut keepalive, mut expires, mut look) = (Keepalive::default(), 900, 0);
    while expires > STEP {
        look += 1;
        expires = if spoke == Some(look) { 890 } else { expires - STEP };
        assert!(look < 200, "kept for ever");
        if !look_at_data(&mut keepalive, look * STEP, &[control(5000, 899), silent(6000, expires)]).is_empty() {
            expires = 900;
        }
    }
    look * STEP + expires
}

#[test]
fn nobody_keeps_a_data_connection_that_is_dead() {
    let limit = 7200 + 9 * 75;
    let never = life(None);
    assert!((limit..=limit + 900).contains(&never), "{never}");
    // One that spoke in between has as long again.
    let (spoke, once) = (20 * STEP - 10, life(Some(20)));
    assert!((spoke + limit..=spoke + limit + 900).contains(&once), "{once}");
}
