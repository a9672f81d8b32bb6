//! One client, or many together, who fill what is bounded: places for packets, and bytes.

use super::*;
use crate::director::key::{ConnectionKey, client_of};
use crate::director::shares::{Share, Shares};

const MANY: usize = 17;

fn roomy(forwarding: ForwardingMethod) -> Director {
    let mut director = director(forwarding, false);
    (director.setup.limits.sessions, director.setup.limits.client_sessions) = (100_000, 100_000);
    director
}

/// The nth client of many.
fn from(nth: u16, port: u16) -> SocketAddr {
    let [high, low] = nth.to_be_bytes();
    SocketAddr::from(([198, 18, high, low], port))
}

/// Fills places: on each connection a packet of many lines, and others behind it.
fn fills_places(director: &mut Director, client: IpAddr, connections: u16) {
    for port in 0..connections {
        let mut wire = Wire::new(SocketAddr::new(client, 10_000 + port), 1, ForwardingMethod::Dr);
        for _ in 0..MANY {
            let _ = wire.says(director, Time::ZERO, &"NOOP\r\n".repeat(MANY));
        }
    }
}

/// Fills memory: commands whose predecessors never come.
fn fills_memory(director: &mut Director, client: IpAddr, connections: u16) {
    for port in 0..connections {
        let mut wire = Wire::new(SocketAddr::new(client, 10_000 + port), 1, ForwardingMethod::Dr);
        let _ = wire.says(director, Time::ZERO, "NOOP\r\n");
        wire.sent += 7;
        for _ in 0..15 {
            let _ = wire.says(director, Time::ZERO, &format!("CWD {}\r\n", "x".repeat(1000)));
        }
    }
}

/// A packet that waits for a row is held, and goes on with it.
fn gets_its_row(director: &mut Director, client: SocketAddr, now: Time) {
    let IpAddr::V4(address) = client.ip() else { panic!("IPv4 only") };
    let line = format!("PORT {},200,10\r\n", address.to_string().replace('.', ","));
    let mut wire = Wire::new(client, 2, ForwardingMethod::Dr);
    let (decision, _, actions) = wire.says(director, now, &line);
    assert_eq!((decision, puts(&actions).len()), (Decision::Held, 1));
    let mut released = Vec::new();
    director.rows_done(ticket(&actions), false, &mut released);
    assert!(matches!(released[..], [Action::Release { id, .. }] if id == wire.id), "{released:?}");
}

/// When everybody has gone, nothing is counted.
fn all_go(director: &mut Director, actions: &mut Vec<Action>) {
    read_on(director, Time::ZERO, actions);
    director.tick(Time::from_millis(10_000_000), actions);
    assert_eq!(director.table.len(), 0);
    assert_eq!((director.snapshot().held, director.snapshot().memory), (0, 0));
    assert_eq!(director.held.shares.clients(), 0);
}

#[test]
fn one_client_fills_no_place_of_others() {
    let mut director = roomy(ForwardingMethod::Dr);
    fills_places(&mut director, client().ip(), 300);
    gets_its_row(&mut director, from(1, 20_000), Time::ZERO);
    // Nor of packets that wait for rows at the same address.
    gets_its_row(&mut director, SocketAddr::new(client().ip(), 40_001), Time::ZERO);
    let mut other = Wire::new(from(2, 20_000), 1, ForwardingMethod::Dr);
    let (decision, ..) = other.says(&mut director, Time::ZERO, &"NOOP\r\n".repeat(MANY));
    assert_eq!(decision, Decision::Held, "read in turns");
    all_go(&mut director, &mut Vec::new());
}

#[test]
fn many_clients_leave_places_to_those_who_wait_for_rows() {
    let mut director = roomy(ForwardingMethod::Dr);
    (0..40).for_each(|nth| fills_places(&mut director, from(nth, 0).ip(), 20));
    gets_its_row(&mut director, client(), Time::ZERO);
    // Of more lines than are read at once the rest goes unread.
    let mut other = Wire::new(from(100, 20_000), 1, ForwardingMethod::Dr);
    let lines = "NOOP\r\n".repeat(MANY);
    assert_eq!(other.says(&mut director, Time::ZERO, &lines).0, OPENS_PINHOLE);
    assert_eq!(other.says(&mut director, Time::ZERO, "NOOP\r\n").0, PASSES_UNMARKED, "and is read again");
    let counted = &director.snapshot().clusters["downloads"];
    assert!(counted.limited["memory"] > 0 && counted.blind["memory"] > 0);
    // But not what a third party could be named in.
    let mut hostile = Wire::new(from(101, 20_000), 1, ForwardingMethod::Dr);
    let lines = "NOOP\r\n".repeat(16) + "PORT 10,0,0,99,200,10\r\n";
    assert_eq!(hostile.says(&mut director, Time::ZERO, &lines).0, Decision::Drop);
    hostile.sent -= u32::try_from(lines.len()).expect("short");
    let (_, bytes, _) = hostile.says(&mut director, Time::ZERO, &lines);
    assert!(payload(&bytes).ends_with("XXXX XXXXXXXXXXXXXXXX\r\n"), "{}", payload(&bytes));
    all_go(&mut director, &mut Vec::new());
}

#[test]
fn replies_that_cannot_be_kept_pass_unread() {
    let mut director = roomy(ForwardingMethod::Nat);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Nat);
    let mut cut = Wire::new(SocketAddr::new(client().ip(), 40_001), 1, ForwardingMethod::Nat);
    let _ = wire.says(&mut director, Time::ZERO, "HELP\r\nPASV\r\n");
    let _ = cut.says(&mut director, Time::ZERO, "PASV\r\n");
    director.setup.limits.memory = 0;
    let help = "214-help\r\n".to_owned() + &" and more\r\n".repeat(100) + "214 end\r\n";
    let (decision, bytes, _) = wire.hears(&mut director, Time::ZERO, &help);
    assert!(matches!(decision, Decision::Accept { edited: false, .. }), "{decision:?}");
    assert_eq!(payload(&bytes), help);
    // Half a reply, and what follows it opens nothing.
    let (decision, ..) = cut.hears(&mut director, Time::ZERO, "227 Entering Passive Mode (10,0,");
    assert!(matches!(decision, Decision::Accept { edited: false, .. }), "{decision:?}");
    let (decision, _, actions) = cut.hears(&mut director, Time::ZERO, "0,12,125,5).\r\n");
    assert!(matches!(decision, Decision::Accept { edited: false, .. }), "{decision:?}");
    assert!(puts(&actions).is_empty());
    assert_eq!(director.snapshot().held, 0);
}

#[test]
fn one_client_fills_no_memory_of_others() {
    let mut director = roomy(ForwardingMethod::Dr);
    director.setup.limits.memory = 1 << 20;
    fills_memory(&mut director, client().ip(), 100);
    let kept = director.snapshot().memory;
    assert!(kept > 100_000 && kept <= (1 << 20) / 8, "{kept}");
    // Another's gap is kept, not given up.
    let blind = director.snapshot().clusters["downloads"].blind["memory"];
    fills_memory(&mut director, from(1, 0).ip(), 1);
    assert_eq!(director.snapshot().clusters["downloads"].blind["memory"], blind);
    gets_its_row(&mut director, from(2, 20_000), Time::ZERO);
    director.setup.limits.memory = 64 << 20;
    all_go(&mut director, &mut Vec::new());
}

#[test]
fn many_clients_fill_memory_and_others_go_unread() {
    let mut director = roomy(ForwardingMethod::Dr);
    director.setup.limits.memory = 1 << 20;
    for nth in 0..200 {
        fills_memory(&mut director, from(nth, 0).ip(), 3);
        assert!(director.snapshot().memory <= 1 << 20, "{nth}: {}", director.snapshot().memory);
    }
    gets_its_row(&mut director, client(), Time::ZERO);
    // However full it is.
    director.setup.limits.memory = director.snapshot().memory;
    gets_its_row(&mut director, from(1000, 20_000), Time::ZERO);
    let mut other = Wire::new(from(1001, 20_000), 1, ForwardingMethod::Dr);
    assert_eq!(other.says(&mut director, Time::ZERO, &"NOOP\r\n".repeat(MANY)).0, OPENS_PINHOLE);
    assert_eq!(other.says(&mut director, Time::ZERO, "CWD /a").0, OPENS_PINHOLE);
    assert_eq!(other.says(&mut director, Time::ZERO, "/b\r\nNOOP\r\n").0, PASSES_UNMARKED);
    all_go(&mut director, &mut Vec::new());
}

#[test]
fn a_network_is_one_client() {
    let mut shares = Shares::default();
    let client = client_of(&ConnectionKey::new(
        "[2001:db8::1:2]:40000".parse().expect("an address"),
        "[2001:db8::21]:21".parse().expect("an address"),
    ));
    assert_eq!(client.to_string(), "2001:db8::");
    shares.take(client, Share::bytes(7));
    shares.give(client, Share::bytes(7));
    assert_eq!(shares.clients(), 0);
}

/// A client that has used up its part.
fn without_room(forwarding: ForwardingMethod) -> (Director, Wire) {
    let mut director = roomy(forwarding);
    director.setup.limits.memory = 0;
    let mut wire = Wire::new(client(), 1, forwarding);
    assert_eq!(wire.says(&mut director, Time::ZERO, "NOOP\r\n").0, PASSES_UNMARKED);
    (director, wire)
}

#[test]
fn what_was_dropped_half_read_is_judged_when_another_text_comes_in_its_place() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr] {
        let (mut director, mut wire) = without_room(forwarding);
        let seq = wire.sent;
        let lines = "NOOP\r\n".repeat(16) + "PORT 10,0,0,99,200,10\r\n";
        assert_eq!(wire.says(&mut director, Time::ZERO, &lines).0, Decision::Drop);
        wire.sent = seq;
        let lines = "PORT 10,0,0,99,200,10\r\n".to_owned() + &format!("NOOP {}\r\n", "x".repeat(66)) + "NOOP\r\n";
        let (_, bytes, _) = wire.says(&mut director, Time::ZERO, &lines);
        assert!(payload(&bytes).starts_with("XXXX "), "{forwarding:?}: {}", payload(&bytes));
    }
}

/// How a packet passes that is not read yet: it may ask for a data connection, and where replies are not seen that may come at
/// once.
fn behind(forwarding: ForwardingMethod) -> Decision {
    if forwarding == ForwardingMethod::Nat { PASSES_UNMARKED } else { OPENS_PINHOLE }
}

#[test]
fn a_hole_behind_what_goes_unread_is_still_read() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr] {
        let (mut director, mut wire) = without_room(forwarding);
        director.setup.limits.memory = 64 << 20;
        let seq = wire.sent;
        wire.sent = seq + 200;
        assert_eq!(wire.says(&mut director, Time::ZERO, "NOOP\r\nNOOP\r\n").0, behind(forwarding));
        director.setup.limits.memory = 0;
        wire.sent = seq;
        let decision = wire.says(&mut director, Time::ZERO, &"NOOP\r\n".repeat(MANY)).0;
        assert_eq!(decision, OPENS_PINHOLE, "{forwarding:?}: unread");
        director.setup.limits.memory = 64 << 20;
        let _ = wire.says(&mut director, Time::ZERO, "PORT 10,0,");
        let (_, bytes, _) = wire.says(&mut director, Time::ZERO, "0,99,200,10\r\n");
        assert!(payload(&bytes).starts_with("XXX"), "{forwarding:?}: {}", payload(&bytes));
    }
}

/// Of what lies right behind it nothing is missing.
#[test]
fn what_follows_copies_that_go_unread_is_read() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr] {
        let (mut director, mut wire) = without_room(forwarding);
        director.setup.limits.memory = 64 << 20;
        let seq = wire.sent;
        let lines = "NOOP\r\n".repeat(MANY);
        wire.sent = seq + u32::try_from(lines.len()).expect("short");
        assert_eq!(wire.says(&mut director, Time::ZERO, "NOOP\r\nNOOP\r\n").0, behind(forwarding));
        let end = wire.sent;
        director.setup.limits.memory = 0;
        wire.sent = seq;
        assert_eq!(wire.says(&mut director, Time::ZERO, &lines).0, OPENS_PINHOLE, "{forwarding:?}: unread");
        wire.sent = end;
        let (decision, _, actions) = wire.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n");
        assert_eq!((decision, puts(&actions).len()), (Decision::Held, 1), "{forwarding:?}");
    }
}

#[test]
fn a_packet_of_many_lines_has_one_turn_at_a_time() {
    let mut director = roomy(ForwardingMethod::Dr);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let _ = wire.says(&mut director, Time::ZERO, &"NOOP\r\n".repeat(16 * 60));
    let mut goes = 1;
    while let Some(turn) = director.held.next_turn() {
        director.resume(turn, &mut Vec::new());
        goes += 1;
    }
    assert_eq!(goes, 60);
}
