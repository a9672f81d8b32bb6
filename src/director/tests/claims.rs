//! A forged SYN, and segments with any numbers behind it, beside a connection that lives.

use super::*;
use crate::director::key::ConnectionKey;
use crate::director::shares::Share;

/// What an address that is forged sends behind its SYN.
fn forged(director: &mut Director, now: Time, wire: &Wire, seq: u32, text: &str) -> (Decision, Vec<Action>) {
    let mut bytes = tcp(wire.client, wire.far_end(), seq, 0x18, text.as_bytes());
    let (mark, mut actions) = (MARKS.control(wire.index).0 | Marks::BEGUN, Vec::new());
    let packet = ControlPacket { id: 1, hook: Hook::Postrouting, mark, bytes: &mut bytes, truncated: false };
    let decision = without_calm(director.packet(now, packet, &mut actions));
    (decision, actions)
}

/// A packet of the client with both numbers.
fn numbered(seq: u32, ack: u32, wire: &Wire, text: &str) -> Vec<u8> {
    let mut bytes = tcp(wire.client, wire.far_end(), seq, 0x18, text.as_bytes());
    bytes[28..32].copy_from_slice(&ack.to_be_bytes());
    wire::Packet::parse(&bytes).expect("a packet").complete(&mut bytes);
    bytes
}

/// Sends a packet whose connection has seen a SYN within the last minute (`Marks::BEGUN`).
fn claims(director: &mut Director, now: Time, wire: &Wire, mut bytes: Vec<u8>) -> (Decision, String, Vec<Action>) {
    let (mark, mut actions) = (MARKS.control(wire.index).0 | Marks::BEGUN, Vec::new());
    let packet = ControlPacket { id: 1, hook: Hook::Postrouting, mark, bytes: &mut bytes, truncated: false };
    let decision = without_calm(director.packet(now, packet, &mut actions));
    (decision, payload(&bytes), actions)
}

fn deletes(actions: &[Action]) -> usize {
    let changes = actions.iter().flat_map(|action| match action {
        Action::Rows { changes, .. } => changes.as_slice(),
        _ => &[],
    });
    changes.filter(|change| matches!(change, RowChange::Delete(..))).count()
}

fn at(second: u64) -> Time {
    Time::from_millis(second * 1000)
}

const PORT: &str = "PORT 203,0,113,5,200,10\r\n";
const ASTRAY: u32 = 0x7000_0000;

/// A session with a pinhole that stands for long.
fn with_a_pinhole(forwarding: ForwardingMethod) -> (Director, Wire) {
    let mut director = director(forwarding, false);
    director.setup.clusters[0].pinhole_timeout = Duration::from_secs(600);
    let mut wire = Wire::new(client(), 2, forwarding);
    let _ = wire.says(&mut director, Time::ZERO, "USER joe\r\n");
    if forwarding == ForwardingMethod::Nat {
        let _ = wire.hears(&mut director, Time::ZERO, "331 who\r\n");
    }
    let (_, _, actions) = wire.says(&mut director, Time::ZERO, PORT);
    director.rows_done(ticket(&actions), false, &mut Vec::new());
    (director, wire)
}

#[test]
fn a_forged_syn_replaces_nobody() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr] {
        let (mut director, mut wire) = with_a_pinhole(forwarding);
        for step in 0..2 {
            let (_, actions) = forged(&mut director, at(61), &wire, ASTRAY + step * 6, "NOOP\r\n");
            assert_eq!(deletes(&actions), 0, "{forwarding:?}");
        }
        let (_, actions) = forged(&mut director, at(62), &wire, ASTRAY + 12, "QUIT\r\n");
        assert_eq!(deletes(&actions), 0, "{forwarding:?}");
        if forwarding == ForwardingMethod::Nat {
            let _ = wire.hears(&mut director, at(63), "200 ok\r\n");
        }
        let (_, _, actions) = wire.says(&mut director, at(64), "RETR x\r\n");
        assert_eq!(puts(&actions).len(), 1, "{forwarding:?}: it is where it was, and its row is renewed");
        director.rows_done(ticket(&actions), false, &mut Vec::new());
        let (_, _, actions) = wire.says(&mut director, at(65), "ABOR\r\n");
        assert_eq!(deletes(&actions), 1, "{forwarding:?}: its own");
    }
}

#[test]
fn a_forged_syn_again_and_again_replaces_nobody() {
    let (mut director, mut wire) = with_a_pinhole(ForwardingMethod::Dr);
    for round in 1..9 {
        for guess in 0..12_u32 {
            let seq = ASTRAY.wrapping_mul(guess).wrapping_add(0x0100_0000) + u32::try_from(round).expect("small");
            let (_, actions) = forged(&mut director, at(61 * round), &wire, seq, "NOOP\r\n");
            let (_, more) = forged(&mut director, at(61 * round), &wire, seq.wrapping_add(6), "NOOP\r\n");
            assert_eq!(deletes(&actions) + deletes(&more), 0, "{round} {guess}");
        }
        assert!(director.table.len() <= 4, "{}", director.table.len());
    }
    let (_, _, actions) = wire.says(&mut director, at(500), "RETR x\r\n");
    assert_eq!(puts(&actions).len(), 1, "it is where it was");
}

#[test]
fn a_new_connection_on_a_known_pair_is_read() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr] {
        let (mut director, mut old) = with_a_pinhole(forwarding);
        let mut new = Wire::new(client(), 2, forwarding);
        (new.sent, new.answered) = (0x7000_0000, 0x6000_0000);
        let (decision, _) = forged(&mut director, at(61), &new, new.sent, "USER joe\r\n");
        new.sent += 10;
        assert_eq!(decision, PASSES_UNMARKED, "{forwarding:?}");
        // Its SYN is long ago, and it is still read.
        let (decision, _, actions) = new.says(&mut director, at(200), "PORT 203,0,113,5,200,99\r\n");
        assert_eq!((decision, puts(&actions).len()), (Decision::Held, 1), "{forwarding:?}");
        director.rows_done(ticket(&actions), false, &mut Vec::new());
        assert_eq!(director.table.len(), 2, "{forwarding:?}");
        // Each ends what is its own.
        let mut rst = tcp(new.client, new.far_end(), new.sent, 0x14, b"");
        let (_, _, actions) = new.offer(&mut director, at(201), Hook::Postrouting, &mut rst);
        assert_eq!((deletes(&actions), director.table.len()), (1, 1), "{forwarding:?}");
        let mut rst = tcp(old.client, old.far_end(), old.sent, 0x14, b"");
        let (_, _, actions) = old.offer(&mut director, at(202), Hook::Postrouting, &mut rst);
        assert_eq!((deletes(&actions), director.table.len()), (1, 0), "{forwarding:?}");
        assert_eq!(director.snapshot().pinholes, 0);
    }
}

#[test]
fn a_claim_is_one_of_its_clients_sessions() {
    let (mut director, wire) = with_a_pinhole(ForwardingMethod::Dr);
    director.setup.limits.client_sessions = 1;
    let (decision, actions) = forged(&mut director, at(61), &wire, ASTRAY, "NOOP\r\n");
    assert_eq!((decision, deletes(&actions), director.table.len()), (OPENS_PINHOLE, 0, 1));
}

#[test]
fn on_another_server_all_of_a_pair_are_forgotten() {
    let (mut director, wire) = with_a_pinhole(ForwardingMethod::Dr);
    let _ = forged(&mut director, at(61), &wire, ASTRAY, "NOOP\r\n");
    assert_eq!(director.table.len(), 2);
    let mut other = Wire::new(client(), 1, ForwardingMethod::Dr);
    let (_, _, actions) = other.says(&mut director, at(62), "NOOP\r\n");
    assert_eq!((deletes(&actions), director.table.len()), (1, 1));
    assert_eq!(director.snapshot().sessions.values().sum::<u64>(), 1);
}

#[test]
fn what_ipvs_has_is_of_all_on_a_pair() {
    let (mut director, wire) = with_a_pinhole(ForwardingMethod::Dr);
    let _ = forged(&mut director, at(61), &wire, ASTRAY, "USER x\r\n");
    assert!(!director.may_transfer(wire.client, wire.far_end()), "neither is in the middle of a transfer");
    let mut wire = wire;
    let _ = wire.says(&mut director, at(62), "RETR x\r\n");
    let _ = forged(&mut director, at(63), &wire, ASTRAY + 8, "USER x\r\n");
    assert!(director.may_transfer(wire.client, wire.far_end()));
    for second in (100..2000).step_by(100) {
        director.refreshed(at(second), wire.client, wire.far_end());
        director.tick(at(second), &mut Vec::new());
    }
    let (decision, ..) = wire.says(&mut director, at(2000), PORT);
    assert_eq!(decision, Decision::Held, "it is still where it was");
}

#[test]
fn a_client_that_claims_a_connection_hides_no_command() {
    let (mut director, mut wire) = with_a_pinhole(ForwardingMethod::Dr);
    for step in 0..2 {
        let _ = forged(&mut director, at(61), &wire, ASTRAY + step * 6, "NOOP\r\n");
    }
    // On the connection that the server has: in its turn, and further ahead than anything is kept.
    let (_, bytes, _) = wire.says(&mut director, at(61), "PORT 10,0,0,99,200,10\r\n");
    assert_eq!(payload(&bytes), "XXXX XXXXXXXXXXXXXXXX\r\n");
    let _ = forged(&mut director, at(61), &wire, ASTRAY + 12, "NOOP\r\n");
    let (decision, _) = forged(&mut director, at(61), &wire, wire.sent + (1 << 19), "RT 10,0,0,99,200,10\r\n");
    assert_eq!(decision, Decision::Drop);
}

#[test]
fn a_bare_reset_ends_the_connection_that_it_is_next_of() {
    let (mut director, wire) = with_a_pinhole(ForwardingMethod::Dr);
    let _ = forged(&mut director, at(61), &wire, ASTRAY, "NOOP\r\n");
    let mut wire = wire;
    let mut rst = tcp(wire.client, wire.far_end(), wire.sent, 0x04, b"");
    let (_, _, actions) = wire.offer(&mut director, at(62), Hook::Postrouting, &mut rst);
    assert_eq!((deletes(&actions), director.table.len()), (1, 1));
}

const THIRD: &str = "PORT 10,0,0,99,200,10\r\n";

/// Whose numbers are all known is asked before one that anything fits.
#[test]
fn a_claim_takes_no_segment_that_fits_both_numbers() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr] {
        let (mut director, mut wire) = with_a_pinhole(forwarding);
        let ack = wire.answered;
        if forwarding == ForwardingMethod::Dr {
            let mut bytes = numbered(wire.sent, ack, &wire, "NOOP\r\n");
            let _ = wire.offer(&mut director, Time::ZERO, Hook::Postrouting, &mut bytes);
            wire.sent += 6;
        }
        let mut bytes = numbered(wire.sent, ack, &wire, &THIRD[..10]);
        let _ = wire.offer(&mut director, at(61), Hook::Postrouting, &mut bytes);
        wire.sent += 10;
        // Right behind, and with a number that is near but fits nothing.
        let behind = wire.sent.wrapping_sub((1 << 18) + 1);
        for seq in [behind, wire.sent] {
            let bytes = numbered(seq, ack.wrapping_sub(ASTRAY), &wire, "NOOP\r\n");
            let (decision, ..) = claims(&mut director, at(61), &wire, bytes);
            assert_eq!(decision == Decision::Drop, seq == wire.sent, "{forwarding:?}");
        }
        assert_eq!(director.table.len(), 2, "{forwarding:?}");
        let (decision, text, _) = claims(&mut director, at(61), &wire, numbered(wire.sent, ack, &wire, &THIRD[10..]));
        assert!(matches!(decision, Decision::Accept { edited: true, .. }), "{forwarding:?}: {decision:?} {text}");
        assert!(text.starts_with("XXX"), "{forwarding:?}: {text}");
    }
}

/// The true connection's first command came behind one that was forged, and then it is idle.
#[test]
fn claims_replace_each_other_and_not_who_is_idle() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr] {
        let mut director = director(forwarding, false);
        director.setup.clusters[0].pinhole_timeout = Duration::from_secs(600);
        let wire = Wire::new(client(), 2, forwarding);
        let _ = claims(&mut director, Time::ZERO, &wire, numbered(ASTRAY, ASTRAY, &wire, "NOOP\r\n"));
        let (decision, _, actions) = claims(&mut director, at(1), &wire, numbered(1000, 5000, &wire, PORT));
        assert_eq!((decision, director.table.len()), (Decision::Held, 2), "{forwarding:?}");
        director.rows_done(ticket(&actions), false, &mut Vec::new());
        for guess in 2..12_u32 {
            let far = guess << 27;
            let (.., actions) =
                claims(&mut director, at(70), &wire, numbered(ASTRAY ^ far, ASTRAY ^ far, &wire, "NOOP\r\n"));
            assert_eq!(deletes(&actions), 0, "{forwarding:?} {guess}");
        }
        assert_eq!(director.table.len(), 4, "{forwarding:?}");
    }
}

/// A session that begins where another was waits for nothing that was that one's.
#[test]
fn a_claim_inherits_no_rows_that_are_waited_for() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 2, ForwardingMethod::Dr);
    let mut tickets = Vec::new();
    for port in 10..18 {
        let (_, _, actions) = wire.says(&mut director, Time::ZERO, &format!("PORT 203,0,113,5,200,{port}\r\n"));
        tickets.push(ticket(&actions));
    }
    assert_eq!(wire.says(&mut director, Time::ZERO, "NOOP\r\n").0, Decision::Drop, "it asks too much");
    let slot = director.table.find(&ConnectionKey::new(wire.client, wire.far_end())).expect("a session");
    director.remove(Time::ZERO, slot, &mut Vec::new());
    let mut next = Wire::new(SocketAddr::new(client().ip(), 40_001), 2, ForwardingMethod::Dr);
    assert_eq!(next.says(&mut director, Time::ZERO, "NOOP\r\n").0, PASSES_UNMARKED);
    let (decision, _, actions) = next.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,99\r\n");
    assert_eq!(decision, Decision::Held);
    let mut released = Vec::new();
    tickets.into_iter().for_each(|ticket| director.rows_done(ticket, false, &mut released));
    assert_eq!(released.len(), 8, "what waited goes on");
    assert_eq!(next.says(&mut director, Time::ZERO, "NOOP\r\n").0, Decision::Held, "its own row is not there");
    director.rows_done(ticket(&actions), false, &mut Vec::new());
    assert_eq!(next.says(&mut director, Time::ZERO, "NOOP\r\n").0, PASSES_UNMARKED);
}

/// While more rows are waited for than are written, no claim is begun, and dropped before it is read.
#[test]
fn a_claim_that_cannot_be_read_begins_nothing() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr] {
        let (mut director, wire) = with_a_pinhole(forwarding);
        director.held.shares.take(wire.client.ip(), Share { tickets: 4096, ..Share::default() });
        let (decision, ..) = claims(&mut director, at(61), &wire, numbered(ASTRAY, ASTRAY, &wire, "NOOP\r\n"));
        assert_eq!((decision, director.table.len()), (Decision::Drop, 1), "{forwarding:?}");
        director.held.shares.give(wire.client.ip(), Share { tickets: 4096, ..Share::default() });
        let (decision, ..) = claims(&mut director, at(61), &wire, numbered(ASTRAY, ASTRAY, &wire, "NOOP\r\n"));
        assert_eq!((decision, director.table.len()), (PASSES_UNMARKED, 2), "{forwarding:?}: it comes again");
    }
}

/// There is no room for the claim, and the segment may be of the connection that is there.
#[test]
fn a_claim_without_room_hides_no_command() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr] {
        let (mut director, wire) = with_a_pinhole(forwarding);
        director.setup.limits.client_sessions = 1;
        for (far, decides) in [(0, Decision::Drop), (1 << 20, Decision::Drop), (ASTRAY, OPENS_PINHOLE)] {
            let bytes = numbered(wire.sent + far, wire.answered.wrapping_sub(ASTRAY), &wire, THIRD);
            assert_eq!(claims(&mut director, at(61), &wire, bytes).0, decides, "{forwarding:?} {far}");
        }
        assert_eq!(director.table.len(), 1, "{forwarding:?}");
    }
}

/// What was forged and heard twice does not keep a new connection from being read.
#[test]
fn behind_two_forged_segments_a_new_connection_is_read() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr] {
        let (mut director, wire) = with_a_pinhole(forwarding);
        for step in 0..2 {
            let _ = claims(&mut director, at(61), &wire, numbered(ASTRAY + step * 6, ASTRAY, &wire, "NOOP\r\n"));
        }
        let bytes = numbered(0x4000_0000, 0x4000_0000, &wire, "PORT 203,0,113,5,200,99\r\n");
        let (decision, ..) = claims(&mut director, at(61), &wire, bytes);
        assert_eq!(decision, Decision::Held, "{forwarding:?}");
    }
}
