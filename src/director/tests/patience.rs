//! Slow servers, slow users, transfers that are refused: which rows stand, and how long.

use super::*;

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

/// What the director asks for by itself up to this second.
fn pass(director: &mut Director, seconds: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    while let Some(due) = director.due().filter(|due| *due <= at(seconds)) {
        director.tick(due, &mut actions);
    }
    director.tick(at(seconds), &mut actions);
    actions
}

fn deletes(actions: &[Action]) -> usize {
    let rows = actions.iter().map(|action| match action {
        Action::Rows { changes, .. } => changes.iter().filter(|row| matches!(row, RowChange::Delete(..))).count(),
        _ => 0,
    });
    rows.sum()
}

/// The rows of `actions` are acknowledged.
fn stand(director: &mut Director, actions: &[Action]) {
    director.rows_done(ticket(actions), false, &mut Vec::new());
}

const NAMED: &str = "227 (10,0,0,11,156,66)\r\n";

/// NAT, one range for all servers: the row of the reply.
fn named(director: &mut Director, wire: &mut Wire) {
    wire.says(director, at(0), "PASV\r\n");
    let (_, _, actions) = wire.hears(director, at(0), NAMED);
    assert_eq!(puts(&actions).len(), 1);
    stand(director, &actions);
}

#[test]
fn what_was_named_stays_named_and_a_transfer_opens_it_again() {
    let mut director = director(ForwardingMethod::Nat, true);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    named(&mut director, &mut wire);
    pass(&mut director, 60);
    assert_eq!((director.pinholes.len(), outcomes(&director, Mode::Passive, Outcome::Expired)), (0, 1));
    assert_eq!(director.due(), None, "nothing is waited for");
    let (decision, _, actions) = wire.says(&mut director, at(60), "RETR a\r\n");
    assert_eq!(decision, Decision::Held, "the row first");
    assert_eq!(puts(&actions).len(), 1);
    // It came, and is over: named no longer.
    director.landed(at(60), MARKS.data(0).0, &tcp(SocketAddr::new(client().ip(), 50000), vip(40002), 1, 0x02, b""));
    assert_eq!(outcomes(&director, Mode::Passive, Outcome::Used), 1);
    stand(&mut director, &actions);
    pass(&mut director, 120);
    let (decision, _, actions) = wire.says(&mut director, at(120), "RETR b\r\n");
    assert_eq!((decision, actions.len()), (Decision::Accept { mark: Some(0), edited: false }, 0));
}

#[test]
fn what_another_took_meanwhile_is_not_opened_again() {
    let mut director = director(ForwardingMethod::Nat, true);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    named(&mut director, &mut wire);
    pass(&mut director, 60);
    let mut other = Wire::new(SocketAddr::new(client().ip(), 40001), 1, ForwardingMethod::Nat);
    other.says(&mut director, at(60), "PASV\r\n");
    let (_, _, actions) = other.hears(&mut director, at(60), "227 (10,0,0,12,156,66)\r\n");
    assert_eq!(puts(&actions)[0].value, [crate::state::sets::Value::Mark(MARKS.data(1))]);
    stand(&mut director, &actions);
    let (_, _, actions) = wire.says(&mut director, at(61), "RETR a\r\n");
    assert_eq!(puts(&actions).len(), 0, "it is the other's now");
}

#[test]
fn a_transfer_keeps_its_rows_while_ipvs_has_its_session() {
    for (forwarding, shared) in
        [(ForwardingMethod::Nat, true), (ForwardingMethod::Nat, false), (ForwardingMethod::Dr, false)]
    {
        let mut director = director(forwarding, shared);
        let mut wire = Wire::new(client(), 0, forwarding);
        wire.says(&mut director, at(0), "PORT 203,0,113,5,200,10\r\n");
        let (_, _, actions) = wire.says(&mut director, at(5), "RETR tape\r\n");
        assert_eq!(puts(&actions).len(), 1, "for another ten seconds");
        assert!(!director.wants_confirmation());
        for second in [10, 16, 22, 28] {
            assert_eq!(puts(&pass(&mut director, second)).len(), 0);
            assert!(director.wants_confirmation(), "IPVS is asked when half of the time is over: {second}");
            let mut actions = Vec::new();
            director.confirmed(at(second), wire.client, wire.far_end(), &mut actions);
            // Long before the kernel's row ends: there is never none.
            assert_eq!(puts(&actions).len(), 1, "{second}");
            assert!(!director.wants_confirmation());
        }
        // Two packets with a forged address hold nothing: IPVS has no such connection.
        assert_eq!(deletes(&pass(&mut director, 39)), 0, "the kernel's row ends by itself");
        assert_eq!((director.pinholes.len(), director.doubted.len()), (0, 0));
        assert_eq!(outcomes(&director, Mode::Active, Outcome::Expired), 1);
    }
}

/// A reload took the server away, with a transfer that waits and a refused command that is remembered.
#[test]
fn a_session_without_its_server_is_not_due_for_ever() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Dr);
    wire.says(&mut director, at(0), "PORT 10,0,0,99,200,10\r\n");
    wire.says(&mut director, at(0), "PORT 203,0,113,5,200,10\r\n");
    wire.says(&mut director, at(0), "RETR tape\r\n");
    let mut setup = director.setup.clone();
    setup.placements.remove(0);
    director.configure(setup);
    pass(&mut director, 300);
    assert_eq!(director.table.len(), 0);
}

/// What a reload no longer declares is not opened again, nor what another session of the client was told since.
#[test]
fn what_may_not_be_named_now_is_not_opened_again() {
    let mut director = director(ForwardingMethod::Nat, true);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    named(&mut director, &mut wire);
    pass(&mut director, 60);
    let mut setup = director.setup.clone();
    setup.placements[0].0.passive_ports = PortRange::new(40050, 40099).expect("a range");
    director.configure(setup);
    let (_, _, actions) = wire.says(&mut director, at(60), "RETR a\r\n");
    assert!(actions.is_empty(), "{actions:?}");
}

/// Without its translation the row would lead to a port that nobody named.
#[test]
fn a_translated_port_closes_with_its_translation() {
    let mut director = director(ForwardingMethod::Nat, true);
    director.setup.clusters[0].pinhole_timeout = Duration::from_secs(300);
    let mut first = Wire::new(client(), 0, ForwardingMethod::Nat);
    named(&mut director, &mut first);
    let mut second = Wire::new(SocketAddr::new(client().ip(), 40001), 1, ForwardingMethod::Nat);
    second.says(&mut director, at(0), "PASV\r\n");
    let (_, bytes, actions) = second.hears(&mut director, at(0), "227 (10,0,0,12,156,66)   \r\n");
    assert!(payload(&bytes).contains("156,67"), "{}", payload(&bytes));
    stand(&mut director, &actions);
    let syn = tcp(SocketAddr::new(client().ip(), 50000), vip(40003), 1, 0x02, b"");
    director.landed(at(1), MARKS.data(1).0, &syn);
    assert_eq!(outcomes(&director, Mode::Passive, Outcome::Used), 0, "the log sees the server's port");
    let syn = tcp(SocketAddr::new(client().ip(), 50000), vip(40002), 1, 0x02, b"");
    director.landed(at(1), MARKS.data(1).0, &syn);
    assert_eq!(outcomes(&director, Mode::Passive, Outcome::Used), 1);
    assert_eq!(deletes(&pass(&mut director, 11)), 2);
}

/// EPSV in DR: the pinhole of the whole range, which control packets open.
#[test]
fn the_pinhole_of_a_range_is_kept_too() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Dr);
    let keeps = |decision| assert_eq!(decision, Decision::Accept { mark: None, edited: false });
    keeps(wire.says(&mut director, at(0), "EPSV\r\n").0);
    pass(&mut director, 30);
    keeps(wire.says(&mut director, at(30), "RETR a\r\n").0);
    pass(&mut director, 35);
    let mut actions = Vec::new();
    director.confirmed(at(35), wire.client, wire.far_end(), &mut actions);
    assert_eq!(puts(&actions)[0].set.name, Name::Open);
    // The next command says that it is over.
    wire.says(&mut director, at(36), "NOOP\r\n");
    pass(&mut director, 41);
    assert!(!director.wants_confirmation());
    assert_eq!(puts(&pass(&mut director, 51)).len(), 0);
}

#[test]
fn a_final_reply_ends_the_patience() {
    let mut director = director(ForwardingMethod::Nat, true);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    wire.says(&mut director, at(0), "PORT 203,0,113,5,200,10\r\n");
    wire.hears(&mut director, at(0), "220 hello\r\n");
    wire.hears(&mut director, at(0), "200 ok\r\n");
    wire.says(&mut director, at(0), "RETR a\r\n");
    let (_, _, actions) = wire.hears(&mut director, at(1), "550 no\r\n");
    assert_eq!((deletes(&actions), director.pinholes.len()), (1, 0));
    assert_eq!(outcomes(&director, Mode::Active, Outcome::Superseded), 1);
    // Another one opens it again, and the default data port beside it.
    let (_, _, actions) = wire.says(&mut director, at(30), "RETR b\r\n");
    assert_eq!(puts(&actions).len(), 2);
    wire.hears(&mut director, at(31), "150 b\r\n");
    wire.hears(&mut director, at(31), "226 b\r\n");
    pass(&mut director, 36);
    assert!(!director.wants_confirmation());
}

/// A port that its data connection has used is free for others after ten seconds, however long `pinhole_timeout` is.
#[test]
fn used_rows_are_held_for_repetitions_only() {
    let mut director = director(ForwardingMethod::Nat, true);
    director.setup.clusters[0].pinhole_timeout = Duration::from_secs(300);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    named(&mut director, &mut wire);
    director.landed(at(1), MARKS.data(0).0, &tcp(SocketAddr::new(client().ip(), 50000), vip(40002), 1, 0x02, b""));
    pass(&mut director, 10);
    assert_eq!(director.pinholes.len(), 1);
    pass(&mut director, 11);
    assert_eq!(director.pinholes.len(), 0);
}

fn vip(port: u16) -> SocketAddr {
    SocketAddr::new(VIP.parse().expect("the VIP"), port)
}
