//! VIPs that come and go.

use super::*;
use crate::state::sets::Value;
use crate::steer::{active, tls};

#[test]
fn clients_that_were_connected_get_their_pinholes() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr] {
        let mut own = director(forwarding, false);
        let clients: Vec<_> =
            (0..600_u16).map(|client| (IpAddr::from([10, 1, (client >> 8) as u8, client as u8]), 1)).collect();
        let mut actions = Vec::new();
        own.took_over(Time::ZERO, &clients, &mut actions);
        assert_eq!((actions.len(), puts(&actions).len()), (3, 600), "a few hundred rows at once");
        assert!(puts(&actions).iter().all(|row| row.set.name == Name::Open));
        // one that the configuration no longer has
        own.took_over(Time::ZERO, &[(client().ip(), 7)], &mut actions);
        assert_eq!(puts(&actions).len(), 600);
        // Which of several servers a port is of, nobody can guess.
        let mut actions = Vec::new();
        director(forwarding, true).took_over(Time::ZERO, &clients, &mut actions);
        assert!(actions.is_empty());
    }
}

/// A 227 whose PASV went by at the other director gets the address, and opens nothing: the pinhole is open.
#[test]
fn a_reply_in_flight_gets_the_address() {
    let mut director = director(ForwardingMethod::Nat, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Nat);
    let _ = wire.says(&mut director, Time::ZERO, "NOOP\r\n");
    director.gave_up(Time::ZERO, &[VIP.parse().expect("the VIP")], &mut Vec::new());
    director.took_over(Time::ZERO, &[(client().ip(), 1)], &mut Vec::new());
    let (decision, bytes, actions) =
        wire.hears(&mut director, Time::ZERO, "227 Entering Passive Mode (10,0,0,12,125,20).\r\n");
    assert!(payload(&bytes).contains("192,0,2,10,"), "{}", payload(&bytes));
    assert_eq!((decision, actions), (Decision::Accept { mark: None, edited: true }, vec![]));
    // What follows is read as ever.
    let (_, _, actions) = wire.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n");
    assert_eq!(puts(&actions).iter().filter(|row| row.set.name == Name::ActiveNat).count(), 1);
}

/// A PORT in flight: what it said is known to nobody, but who calls from where.
#[test]
fn clients_that_were_connected_may_be_called() {
    for (forwarding, name) in [(ForwardingMethod::Nat, Name::ActiveTlsNat), (ForwardingMethod::Dr, Name::ActiveTls)] {
        let mut director = director(forwarding, true);
        let mut actions = Vec::new();
        director.may_be_called(Time::ZERO, &[(client().ip(), 1, 21), (client().ip(), 7, 21)], &mut actions);
        let Action::Rows { ticket: None, changes } = &actions[0] else { panic!("rows") };
        let [RowChange::Refresh(row, left)] = &changes[..] else { panic!("one row: {changes:?}") };
        assert_eq!((row.set.name, *left), (name, Duration::from_secs(10)));
        assert!(row.key.contains(&Value::Port(20)), "{row:?}");
    }
}

/// A client of many sessions names its ports again and again: only those whose call may still come are kept from it.
#[test]
fn a_port_that_was_answered_before_the_start_may_be_named_again() {
    let (vip, port) = (SocketAddr::new(VIP.parse().expect("the VIP"), 20), SocketAddr::new(client().ip(), 51_210));
    for forwarding in [ForwardingMethod::Dr, ForwardingMethod::Tun] {
        for (calls, taken) in [
            (vec![], true),
            (vec![(port, vip, 1)], false),
            // Another server's call, another port of the client's, another of the VIP's, no server.
            (vec![(port, vip, 0)], true),
            (vec![(SocketAddr::new(port.ip(), 51_211), vip, 1)], true),
            (vec![(port, SocketAddr::new(vip.ip(), 2020), 1)], true),
            (vec![(port, vip, 7)], true),
        ] {
            let mut director = director(forwarding, false);
            let found = active::row_of_call(MARKS, &director.setup.placements[1].0, port, 20);
            director.found([(found, Time::ZERO + Duration::from_secs(30))]);
            director.answered(&calls);
            let mut wire = Wire::new(client(), 2, forwarding);
            let (_, _, actions) = wire.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n");
            assert_eq!(puts(&actions).is_empty(), taken, "{forwarding:?} {calls:?}");
            if !taken {
                // Now it is this session's, whatever an older list says.
                director.answered(&calls);
                let mut other = Wire::new(SocketAddr::new(client().ip(), 40_001), 0, forwarding);
                let (_, _, actions) = other.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n");
                assert!(puts(&actions).is_empty(), "{actions:?}");
            }
        }
    }
}

/// It may have called from another port than the first of its rows is of.
#[test]
fn a_call_from_any_port_frees_both_rows_of_its_server() {
    let port = SocketAddr::new(client().ip(), 51_210);
    for calls_from in [20, 40_000] {
        let mut director = director(ForwardingMethod::Dr, false);
        director.setup.placements[1].0.active_ports = PortRange::new(32768, 60999);
        let control = SocketAddr::new(VIP.parse().expect("the VIP"), 21);
        let found = active::rows(MARKS, &director.setup.placements[1].0, port, control);
        assert_eq!(found.len(), 2);
        director.found(found.into_iter().map(|row| (row, Time::ZERO + Duration::from_secs(30))));
        let mut wire = Wire::new(client(), 2, ForwardingMethod::Dr);
        let named = |director: &mut Director, wire: &mut Wire| {
            puts(&wire.says(director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n").2).len()
        };
        assert_eq!(named(&mut director, &mut wire), 0, "it may be awaited");
        director.answered(&[(port, SocketAddr::new(control.ip(), calls_from), 1)]);
        assert_eq!(named(&mut director, &mut wire), 1, "{calls_from}");
    }
}

/// What a session holds stays its own.
#[test]
fn no_row_changes_hands_because_a_vip_came() {
    let mut director = director(ForwardingMethod::Nat, false);
    let mut held = tls::calls(MARKS, &director.setup.placements[1].0, client().ip(), 21);
    held.value = vec![Value::Address([198, 51, 100, 1].into())];
    director.found([(held, Time::ZERO + Duration::from_secs(60))]);
    let mut actions = Vec::new();
    director.may_be_called(Time::ZERO, &[(client().ip(), 1, 21)], &mut actions);
    assert!(actions.is_empty(), "{actions:?}");
}

/// While the VIP was elsewhere, both ends have gone on: more than a window, so that what comes is nobody's who is known here.
#[test]
fn a_session_that_comes_back_is_learned_anew() {
    for (forwarding, tracked) in
        [(ForwardingMethod::Nat, false), (ForwardingMethod::Dr, false), (ForwardingMethod::Dr, true)]
    {
        let mut director = director(forwarding, false);
        let mut wire = Wire::new(client(), 0, forwarding);
        let _ = wire.says(&mut director, Time::ZERO, "PASV\r\n");
        let _ = wire.says(&mut director, Time::ZERO, "half a com");
        wire.sent += 1 << 20;
        wire.answered += 1 << 20;
        if !tracked {
            director.gave_up(
                Time::ZERO,
                &["198.51.100.1".parse().expect("an address"), VIP.parse().expect("the VIP")],
                &mut Vec::new(),
            );
        }
        let (decision, _, actions) = wire.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n");
        assert_eq!(
            (decision == Decision::Held, puts(&actions).len()),
            (!tracked, usize::from(!tracked)),
            "{forwarding:?}"
        );
        // A refused command is still refused, also where nothing can be seen of what lies before it.
        let (_, bytes, _) = wire.says(&mut director, Time::ZERO, "PORT 10,0,0,99,200,10\r\n");
        assert_eq!(payload(&bytes).starts_with("XXXX"), !tracked, "{forwarding:?}");
    }
}

/// A session under TLS holds the same pinhole for as long as it lives: nobody shortens that.
#[test]
fn no_pinhole_is_shortened() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let _ = wire.says(&mut director, Time::ZERO, "AUTH TLS\r\n");
    let _ = wire.says(&mut director, Time::ZERO, "\x16\x03\x01");
    director.confirmed(Time::ZERO, wire.client, wire.far_end(), &mut Vec::new());
    let mut actions = Vec::new();
    director.took_over(Time::ZERO, &[(client().ip(), 1)], &mut actions);
    let Action::Rows { changes, .. } = &actions[0] else { panic!("rows") };
    assert!(matches!(changes[..], [RowChange::Refresh(_, left)] if left == Duration::from_secs(900)), "{changes:?}");
}

#[test]
fn nothing_is_held_for_a_vip_that_has_left() {
    let mut director = director(ForwardingMethod::Nat, false);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    let _ = wire.says(&mut director, Time::ZERO, "PASV\r\n");
    let _ = wire.hears(&mut director, Time::ZERO, "220 hello\r\n");
    // behind a gap, and a packet of too many lines
    wire.answered += 100;
    assert_eq!(wire.hears(&mut director, Time::ZERO, "200 ok\r\n").0, Decision::Held);
    assert_eq!(wire.says(&mut director, Time::ZERO, &"NOOP\r\n".repeat(100)).0, Decision::Held);
    let mut actions = Vec::new();
    director.gave_up(Time::ZERO, &[VIP.parse().expect("the VIP")], &mut actions);
    assert!(matches!(actions[..], [Action::Release { mark: None, .. }, Action::Drop { .. }]), "{actions:?}");
    assert_eq!(director.snapshot().held, 0);
}
