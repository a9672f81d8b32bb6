//! Sessions that are silent: whether they may transfer, and how long we remember them.

use std::collections::HashMap;

use super::*;

fn may(director: &Director, wire: &Wire) -> bool {
    director.may_transfer(wire.client, wire.far_end())
}

#[test]
fn only_who_transfers_or_cannot_be_heard_may_have_a_data_connection() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr, ForwardingMethod::Tun] {
        let mut director = director(forwarding, false);
        let mut wire = Wire::new(client(), 0, forwarding);
        assert!(may(&director, &wire), "not known: it may have begun before this process");
        for (line, expected) in [
            ("USER anonymous\r\n", false),
            ("EPSV\r\n", false),
            ("RETR big\r\n", true),
            ("NOOP\r\n", true),
            ("STAT\r\n", true),
            ("CWD /\r\n", false),
            ("STOR big\r\n", true),
            ("TYPE I\r\n", false),
        ] {
            wire.says(&mut director, Time::ZERO, line);
            assert_eq!(may(&director, &wire), expected, "{forwarding:?} {line}");
        }
    }
}

#[test]
fn a_blind_session_may_have_a_data_connection() {
    let mut director = director(ForwardingMethod::Nat, false);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    wire.says(&mut director, Time::ZERO, "AUTH TLS\r\n");
    assert!(!may(&director, &wire));
    wire.hears(&mut director, Time::ZERO, "234 go on\r\n");
    assert!(may(&director, &wire));
}

/// `idle` keeps it in IPVS for longer than IPVS does by itself; what it transfers then must find its rows.
#[test]
fn under_tls_the_rows_stand_while_ipvs_has_the_silent_connection() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr, ForwardingMethod::Tun] {
        let mut director = director(forwarding, false);
        let mut wire = Wire::new(client(), 0, forwarding);
        // Until when the kernel has each row.
        let mut rows = HashMap::new();
        let mut write = |now: Time, actions: &[Action]| {
            for action in actions {
                let Action::Rows { changes, .. } = action else { continue };
                for change in changes {
                    match change {
                        RowChange::Put(row, left) | RowChange::Refresh(row, left) => {
                            rows.insert((row.set, row.key.clone()), now + *left);
                        }
                        RowChange::Delete(set, key) => drop(rows.remove(&(*set, key.clone()))),
                    }
                }
            }
            rows.values().filter(|until| **until > now).count()
        };
        write(Time::ZERO, &wire.says(&mut director, Time::ZERO, "AUTH TLS\r\n").2);
        if forwarding == ForwardingMethod::Nat {
            write(Time::ZERO, &wire.hears(&mut director, Time::ZERO, "234 go on\r\n").2);
        }
        let all = write(Time::ZERO, &wire.says(&mut director, Time::ZERO, "\u{16}\u{3}\u{1}\u{0}\u{5}hello").2);
        let expected = match forwarding {
            ForwardingMethod::Nat => 3,
            ForwardingMethod::Dr => 2,
            ForwardingMethod::Tun => 1,
        };
        assert_eq!(all, expected, "{forwarding:?}");
        for second in 1..7200 {
            let (now, mut actions) = (Time::ZERO + Duration::from_secs(second), Vec::new());
            director.tick(now, &mut actions);
            if second % 225 == 1 {
                director.confirmed(now, wire.client, wire.far_end(), &mut actions);
            }
            assert_eq!(write(now, &actions), expected, "{forwarding:?} after {second} s");
        }
    }
}

#[test]
fn we_remember_a_silent_session_as_long_as_ipvs_does() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Dr);
    wire.says(&mut director, Time::ZERO, "RETR big\r\n");
    let at = |director: &mut Director, seconds| {
        director.tick(Time::ZERO + Duration::from_secs(seconds), &mut Vec::new());
        director.snapshot().sessions.values().sum::<u64>()
    };
    director.refreshed(Time::ZERO + Duration::from_secs(890), wire.client, wire.far_end());
    assert_eq!(at(&mut director, 1800), 1);
    assert_eq!(at(&mut director, 1900), 0);
    // Of one that is not known nothing is remembered.
    director.refreshed(Time::ZERO + Duration::from_secs(1900), wire.client, wire.far_end());
    assert_eq!(at(&mut director, 1901), 0);
}

/// While another session waits to be confirmed, IPVS is looked at every second.
#[test]
fn rows_are_not_written_again_at_each_look() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr, ForwardingMethod::Tun] {
        let mut director = director(forwarding, false);
        let mut wire = Wire::new(client(), 0, forwarding);
        wire.says(&mut director, Time::ZERO, "AUTH TLS\r\n");
        if forwarding == ForwardingMethod::Nat {
            wire.hears(&mut director, Time::ZERO, "234 go on\r\n");
        }
        wire.says(&mut director, Time::ZERO, "\u{16}\u{3}\u{1}\u{0}\u{5}hello");
        let written = (1..=450).filter(|second| {
            let mut actions = Vec::new();
            director.confirmed(Time::from_millis(second * 1000), wire.client, wire.far_end(), &mut actions);
            !actions.is_empty()
        });
        assert_eq!(written.collect::<Vec<_>>(), [1, 114, 227, 340], "{forwarding:?}");
    }
}
