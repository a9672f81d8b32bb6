//! Who sends what they should not: strangers, forgers, servers.

use super::*;
use crate::steer::Row;

/// A packet of the client's half with the numbers of somebody who does not know them.
fn forged(director: &mut Director, now: Time, wire: &Wire, (seq, flags): (u32, u8), text: &[u8]) -> Vec<Action> {
    let mut bytes = tcp(wire.client, wire.far_end(), seq, flags, text);
    let (mark, mut actions) = (MARKS.control(wire.index).0, Vec::new());
    let packet = ControlPacket { id: 1, hook: Hook::Postrouting, mark, bytes: &mut bytes, truncated: false };
    let _ = director.packet(now, packet, &mut actions);
    actions
}

fn another(port: u16) -> SocketAddr {
    SocketAddr::new(client().ip(), port)
}

fn words(row: &Row) -> Vec<String> {
    row.key.iter().chain(&row.value).map(ToString::to_string).collect()
}

fn deletes(actions: &[Action]) -> usize {
    let changes = actions.iter().flat_map(|action| match action {
        Action::Rows { changes, .. } => changes.as_slice(),
        _ => &[],
    });
    changes.filter(|change| matches!(change, RowChange::Delete(..))).count()
}

fn unparsed(director: &Director, reason: &str) -> u64 {
    director.snapshot().clusters["downloads"].unparsed.get(reason).copied().unwrap_or_default()
}

#[test]
fn an_active_row_names_the_port_that_the_server_calls_from() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let (_, _, actions) = wire.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n");
    assert_eq!(words(puts(&actions)[0]), ["203.0.113.5", "51210", VIP, "20", "0x0f700001"]);
    director
        .setup
        .placements
        .iter_mut()
        .for_each(|(placement, _)| placement.active_ports = PortRange::new(32768, 60999));
    let (_, _, actions) = wire.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,11\r\n");
    let rows: Vec<_> = puts(&actions).into_iter().map(|row| (row.set.name, words(row))).collect();
    let [one, any] =
        [&["203.0.113.5", "51211", VIP, "20", "0x0f700001"][..], &["203.0.113.5", "51211", VIP, "0x0f700001"]];
    let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(rows, [(Name::Active, text(one)), (Name::ActiveAny, text(any))]);
}

/// `active4` is asked first: what another server's transfer has left there would lead a call from that port astray.
#[test]
fn a_port_that_is_named_again_leads_to_its_server_wherever_that_calls_from() {
    let mut director = director(ForwardingMethod::Dr, false);
    director.setup.placements[1].0.active_ports = PortRange::new(32768, 60999);
    let port = |index, control| Wire::new(SocketAddr::new(client().ip(), control), index, ForwardingMethod::Dr);
    let (mut first, mut next) = (port(0, 50_001), port(1, 50_002));
    let _ = first.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,11\r\n");
    let called = SocketAddr::new(VIP.parse().expect("an address"), 20);
    // Until its data connection has come the port is the first one's.
    let (_, _, actions) = next.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,11\r\n");
    assert_eq!((puts(&actions).len(), unparsed(&director, "port_taken")), (0, 1));
    let answer = tcp(SocketAddr::new(client().ip(), 51211), called, 1, 0x12, b"");
    director.landed(Time::from_millis(1000), MARKS.data(0).0, &answer);
    let (_, _, actions) = next.says(&mut director, Time::from_millis(2000), "PORT 203,0,113,5,200,11\r\n");
    let marks: Vec<_> = puts(&actions).into_iter().map(|row| words(row).pop()).collect();
    assert_eq!(marks, [Some("0x0f700001".to_owned()), Some("0x0f700001".to_owned())]);
}

/// A second transfer may be called at the client's control port too (RFC 959 §3.2). What is another session's gets no row at all.
#[test]
fn of_two_ports_the_one_that_is_anothers_has_neither_of_its_rows() {
    for (waits, expected) in [(false, 2), (true, 0)] {
        let mut director = director(ForwardingMethod::Dr, false);
        director.setup.placements[1].0.active_ports = PortRange::new(32768, 60999);
        let wire = |index, port| Wire::new(SocketAddr::new(client().ip(), port), index, ForwardingMethod::Dr);
        let (mut other, mut own) = (wire(0, 50_001), wire(1, 50_002));
        if waits {
            // At the control port of the other.
            let _ = other.says(&mut director, Time::ZERO, "PORT 203,0,113,5,195,82\r\n");
        }
        let _ = own.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,11\r\n");
        let _ = own.says(&mut director, Time::ZERO, "RETR a\r\n");
        let (_, _, actions) = own.says(&mut director, Time::ZERO, "RETR b\r\n");
        let at_control = puts(&actions).into_iter().filter(|row| words(row)[1] == "50002").count();
        assert_eq!(at_control, expected, "{actions:?}");
    }
}

#[test]
fn in_nat_the_answer_opens_the_pinhole_and_a_refusal_does_not() {
    for (reply, mark) in [
        ("227 Entering Passive Mode (10,0,0,12,125,5).\r\n", Some(MARKS.control(1).0)),
        ("530 Log in first.\r\n", None),
        // Another server's range, and a port that nobody declared.
        ("227 Entering Passive Mode (10,0,0,12,128,237).\r\n", None),
        ("227 Entering Passive Mode (10,0,0,12,12,234).\r\n", None),
    ] {
        let mut director = director(ForwardingMethod::Nat, false);
        let mut wire = Wire::new(client(), 1, ForwardingMethod::Nat);
        assert_eq!(wire.says(&mut director, Time::ZERO, "PASV\r\n").0, PASSES_UNMARKED);
        let (decision, bytes, actions) = wire.hears(&mut director, Time::ZERO, reply);
        let Decision::Accept { mark: marked, .. } = decision else { panic!("{decision:?}") };
        assert_eq!((marked, puts(&actions).len()), (mark, 0), "{reply}");
        if mark.is_none() {
            assert_eq!(payload(&bytes), reply);
        }
    }
}

#[test]
fn a_server_with_another_range_than_declared_is_told_of_once() {
    for shared in [false, true] {
        let mut director = director(ForwardingMethod::Nat, shared);
        let mut said = Vec::new();
        for port in 40000..40003 {
            let mut wire = Wire::new(another(port), 1, ForwardingMethod::Nat);
            let _ = wire.says(&mut director, Time::ZERO, "EPSV\r\n");
            let (_, _, actions) =
                wire.hears(&mut director, Time::ZERO, "229 Entering Extended Passive Mode (|||3306|)\r\n");
            assert!(puts(&actions).is_empty());
            said.extend(actions);
        }
        assert!(matches!(&said[..], [Action::OutOfRange(OutOfRange { port: 3306, .. })]), "{said:?}");
        assert_eq!(unparsed(&director, "out_of_range"), 3);
    }
}

#[test]
fn a_port_of_another_service_is_translated() {
    let mut director = director(ForwardingMethod::Nat, true);
    let services = ["192.0.2.10:40007", "0.0.0.0:40008", "[::]:40009", "198.51.100.1:40010"];
    let services = services.map(|text| text.parse().expect("an address")).to_vec();
    director.configure(Setup { services, ..director.setup.clone() });
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Nat);
    let _ = wire.says(&mut director, Time::ZERO, "EPSV\r\n");
    let (_, _, actions) = wire.hears(&mut director, Time::ZERO, "229 Entering Extended Passive Mode (|||40007|)\r\n");
    let names: Vec<_> = puts(&actions).iter().map(|row| (row.set.name, row.key[2].to_string())).collect();
    assert_eq!(names, [(Name::Exact, "40010".into()), (Name::Translated, "40010".into())]);
}

#[test]
fn a_server_without_a_range_gets_no_port_of_one_that_has() {
    let mut director = director(ForwardingMethod::Nat, false);
    let mut setup = director.setup.clone();
    setup.placements[0].0.own_range = None;
    setup.placements[0].0.passive_ports = PortRange::UNPRIVILEGED;
    director.configure(setup);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    let _ = wire.says(&mut director, Time::ZERO, "EPSV\r\n");
    let (_, _, actions) = wire.hears(&mut director, Time::ZERO, "229 Entering Extended Passive Mode (|||33005|)\r\n");
    let told: u16 = puts(&actions)[0].key[2].to_string().parse().expect("a port");
    assert!(!(32000..=32099).contains(&told) && !(33000..=33099).contains(&told), "{told}");
    assert_eq!(puts(&actions)[1].set.name, Name::Translated);
}

#[test]
fn many_ports_of_one_client_are_placed() {
    let mut director = director(ForwardingMethod::Nat, true);
    (director.setup.limits.sessions, director.setup.limits.client_sessions) = (20_000, 20_000);
    let mut told = BTreeSet::new();
    for port in 0..9000 {
        let index = port % 3;
        let mut wire = Wire::new(another(1024 + port), index, ForwardingMethod::Nat);
        let _ = wire.says(&mut director, Time::ZERO, "EPSV\r\n");
        let (_, _, actions) =
            wire.hears(&mut director, Time::ZERO, "229 Entering Extended Passive Mode (|||40000|)\r\n");
        let exact = puts(&actions).into_iter().find(|row| row.set.name == Name::Exact);
        told.extend(exact.map(|row| row.key[2]));
        director.rows_done(ticket(&actions), false, &mut Vec::new());
    }
    assert!(told.len() > 5000, "{}", told.len());
}

#[test]
fn no_session_takes_or_ends_anothers_active_row() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut first = Wire::new(client(), 2, ForwardingMethod::Dr);
    let (_, _, actions) = first.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n");
    director.rows_done(ticket(&actions), false, &mut Vec::new());
    let mut second = Wire::new(another(40001), 1, ForwardingMethod::Dr);
    let (decision, _, actions) = second.says(&mut director, Time::from_millis(100), "PORT 203,0,113,5,200,10\r\n");
    assert_eq!((decision, &actions[..]), (PASSES_UNMARKED, &[][..]));
    assert_eq!(unparsed(&director, "port_taken"), 1);
    let (_, _, actions) = second.says(&mut director, Time::from_millis(200), "ABOR\r\n");
    assert_eq!(&actions[..], &[]);
    let (_, _, actions) = first.says(&mut director, Time::from_millis(2000), "RETR x\r\n");
    assert_eq!(puts(&actions).len(), 1, "the first renews its row");
}

#[test]
fn a_row_of_the_former_process_is_nobody_elses() {
    let mut director = director(ForwardingMethod::Nat, true);
    let row = crate::steer::exact::row(MARKS, &director.setup.placements[0].0, client().ip(), 40007);
    director.found([(row.clone(), Time::from_millis(8000))]);
    let line = "229 Entering Extended Passive Mode (|||40007|)\r\n";
    let mut wire = Wire::new(another(40001), 1, ForwardingMethod::Nat);
    let _ = wire.says(&mut director, Time::ZERO, "EPSV\r\n");
    let (_, _, actions) = wire.hears(&mut director, Time::ZERO, line);
    assert!(puts(&actions).iter().all(|put| put.key != row.key), "{actions:?}");
    // The session that it was made for may be on the same server; its row is renewed, and left to end by itself.
    let mut same = Wire::new(another(40002), 0, ForwardingMethod::Nat);
    let _ = same.says(&mut director, Time::ZERO, "EPSV\r\n");
    let (_, _, actions) = same.hears(&mut director, Time::ZERO, line);
    assert_eq!(puts(&actions), [&row]);
    director.rows_done(ticket(&actions), false, &mut Vec::new());
    assert_eq!(deletes(&same.says(&mut director, Time::ZERO, "ABOR\r\n").2), 0);
    // When it has ended the port is free.
    director.tick(Time::from_millis(30_000), &mut Vec::new());
    let mut later = Wire::new(another(40003), 1, ForwardingMethod::Nat);
    let _ = later.says(&mut director, Time::from_millis(30_000), "EPSV\r\n");
    let (_, _, actions) = later.hears(&mut director, Time::from_millis(30_000), line);
    assert_eq!(puts(&actions).iter().map(|row| row.set.name).collect::<Vec<_>>(), [Name::Exact]);
}

#[test]
fn a_forged_byte_or_reset_takes_nothing() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr] {
        let mut director = director(forwarding, forwarding == ForwardingMethod::Nat);
        let mut wire = Wire::new(client(), 2, forwarding);
        let (_, _, actions) = wire.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n");
        director.rows_done(ticket(&actions), false, &mut Vec::new());
        for (flags, text) in [(0x18, &b"x"[..]), (0x04, b""), (0x14, b""), (0x11, b""), (0x13, b"x")] {
            let actions = forged(&mut director, Time::from_millis(100), &wire, (0x7000_0000, flags), text);
            assert_eq!(&actions[..], &[], "{forwarding:?} {flags:#x}");
        }
        let (_, _, actions) = wire.says(&mut director, Time::from_millis(2000), "RETR x\r\n");
        assert_eq!(puts(&actions).len(), 1, "{forwarding:?}: still expected");
    }
}

#[test]
fn a_forged_reset_or_fin_does_not_end_a_session_under_tls() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr] {
        let mut director = director(forwarding, false);
        let mut wire = Wire::new(client(), 1, forwarding);
        let _ = wire.says(&mut director, Time::ZERO, "AUTH TLS\r\n");
        if forwarding == ForwardingMethod::Nat {
            let _ = wire.hears(&mut director, Time::ZERO, "234 go\r\n");
        }
        let (_, _, actions) = wire.says(&mut director, Time::ZERO, "\u{16}\u{3}\u{1}\u{0}\u{5}hello");
        for actions in [actions] {
            if let Some(Action::Rows { ticket: Some(ticket), .. }) = actions.last() {
                director.rows_done(*ticket, false, &mut Vec::new());
            }
        }
        for flags in [0x04, 0x14, 0x11] {
            let actions = forged(&mut director, Time::from_millis(100), &wire, (0x7000_0000, flags), b"");
            assert_eq!(&actions[..], &[], "{forwarding:?} {flags:#x}");
        }
        assert_eq!(director.table.len(), 1);
    }
}

#[test]
fn a_wrong_checksum_is_not_believed() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut bytes = tcp(client(), SocketAddr::new(VIP.parse().expect("the VIP"), 21), 1000, 0x18, b"PASV\r\n");
    bytes[45] ^= 1;
    let packet =
        ControlPacket { id: 1, hook: Hook::Postrouting, mark: MARKS.control(1).0, bytes: &mut bytes, truncated: false };
    assert_eq!(director.packet(Time::ZERO, packet, &mut Vec::new()), PASSES_UNMARKED);
    assert_eq!((director.table.len(), director.snapshot().unreadable), (0, 1));
}

#[test]
fn two_forged_packets_hold_a_pinhole_no_longer_than_its_timeout() {
    let mut director = director(ForwardingMethod::Dr, false);
    let wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let actions = forged(&mut director, Time::ZERO, &wire, (1, 0x18), b"\x16\x03");
    let times: Vec<_> = actions
        .iter()
        .flat_map(|action| if let Action::Rows { changes, .. } = action { changes.as_slice() } else { &[] })
        .filter_map(|change| if let RowChange::Put(_, time) = change { Some(time.as_secs()) } else { None })
        .collect();
    assert!(!times.is_empty() && times.iter().all(|time| *time <= 10), "{times:?}");
    director.rows_done(ticket(&actions), false, &mut Vec::new());
    let mut refreshed = 0;
    for second in 1..1000 {
        let mut actions = Vec::new();
        director.tick(Time::from_millis(second * 1000), &mut actions);
        refreshed += puts(&actions).iter().filter(|row| row.set.name == Name::Open).count();
    }
    // (The last one lets the pinhole close soon.)
    assert!(refreshed <= 1, "{refreshed}");
    assert_eq!(director.table.len(), 0);
}

#[test]
fn a_session_under_tls_stays_while_ipvs_has_its_connection() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let _ = wire.says(&mut director, Time::ZERO, "AUTH TLS\r\n");
    let (_, _, actions) = wire.says(&mut director, Time::ZERO, "\u{16}\u{3}\u{1}\u{0}\u{5}hello");
    director.rows_done(ticket(&actions), false, &mut Vec::new());
    assert!(director.wants_confirmation());
    let mut renewed = 0;
    for second in 1..7200 {
        let (now, mut actions) = (Time::from_millis(second * 1000), Vec::new());
        director.tick(now, &mut actions);
        if second % 225 == 1 {
            director.confirmed(now, wire.client, wire.far_end(), &mut actions);
            assert!(!director.wants_confirmation());
        }
        renewed += puts(&actions).iter().filter(|row| row.set.name == Name::Open).count();
    }
    assert_eq!((director.table.len(), renewed), (1, 32));
    let mut actions = Vec::new();
    director.tick(Time::from_millis(7_700_000), &mut actions);
    assert_eq!(director.table.len(), 0);
}

#[test]
fn who_ipvs_has_forgotten_makes_room() {
    let mut director = director(ForwardingMethod::Dr, false);
    for port in 0..100 {
        let wire = Wire::new(SocketAddr::from(([198, 51, 100, 7], 1000 + port)), 1, ForwardingMethod::Dr);
        let actions = forged(&mut director, Time::ZERO, &wire, (1, 0x18), b"NOOP\r\n");
        assert!(actions.is_empty());
    }
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let _ = wire.says(&mut director, Time::from_millis(900_000), "NOOP\r\n");
    assert_eq!((director.table.len(), director.snapshot().over_limit), (100, 1), "IPVS may still have them all");
    let (_, _, actions) = wire.says(&mut director, Time::from_millis(961_000), "PORT 203,0,113,5,200,10\r\n");
    assert_eq!((director.table.len(), puts(&actions).len()), (100, 1));
}

#[test]
fn one_clients_sessions_are_bounded() {
    let mut director = director(ForwardingMethod::Dr, false);
    director.setup.limits.client_sessions = 10;
    let mut unread = 0;
    for port in 0..30 {
        let mut wire = Wire::new(another(50000 + port), 1, ForwardingMethod::Dr);
        unread += usize::from(wire.says(&mut director, Time::ZERO, "NOOP\r\n").0 == OPENS_PINHOLE);
    }
    assert_eq!((unread, director.snapshot().clusters["downloads"].limited["client_sessions"]), (20, 20));
    let mut other = Wire::new("198.51.100.7:50000".parse().expect("an address"), 1, ForwardingMethod::Dr);
    assert_eq!(other.says(&mut director, Time::ZERO, "NOOP\r\n").0, PASSES_UNMARKED);
}

#[test]
fn whoever_waits_is_forgotten_with_the_expectation() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut holder = Wire::new(client(), 1, ForwardingMethod::Dr);
    let mut flood = Wire::new(another(40001), 1, ForwardingMethod::Dr);
    let _ = holder.says(&mut director, Time::ZERO, "PASV\r\n");
    for round in 0..100 {
        let now = Time::from_millis(round * 5000);
        let _ = holder.says(&mut director, now, "LIST\r\n");
        let (_, _, mut actions) = flood.says(&mut director, now, &"PASV\r\n".repeat(240));
        read_on(&mut director, now, &mut actions);
        director.tick(now, &mut actions);
    }
    assert!(director.waiting.len() <= 2, "{}", director.waiting.len());
}

#[test]
fn a_packet_of_many_lines_is_read_in_turns_and_wholly() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let lines = "NOOP\r\n".repeat(100) + "EPSV\r\n" + &"NOOP\r\n".repeat(99);
    let (decision, _, mut actions) = wire.says(&mut director, Time::ZERO, &lines);
    assert_eq!((decision, director.has_turn(Time::ZERO)), (Decision::Held, true));
    // Who comes behind waits for it.
    assert_eq!(wire.says(&mut director, Time::ZERO, "RETR x\r\n").0, Decision::Held);
    assert!(director.snapshot().clusters["downloads"].commands["NOOP"] <= 16);
    read_on(&mut director, Time::ZERO, &mut actions);
    let counted = &director.snapshot().clusters["downloads"].commands;
    assert_eq!((counted["NOOP"], counted["EPSV"], counted["RETR"]), (199, 1, 1));
    // Both carry the mark that opens the pinhole.
    let marks: Vec<_> = actions
        .iter()
        .filter_map(|action| if let Action::Release { mark, .. } = action { Some(*mark) } else { None })
        .collect();
    assert_eq!(marks, [None, None]);
    assert_eq!((director.snapshot().held, director.snapshot().memory), (0, 0));
}

#[test]
fn a_reply_of_many_lines_opens_the_pinhole_wherever_its_port_stands() {
    let mut director = director(ForwardingMethod::Nat, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Nat);
    let _ = wire.says(&mut director, Time::ZERO, "PASV\r\nHELP\r\n");
    let help = "214-help\r\n".to_owned() + &" and more\r\n".repeat(100) + "214 end\r\n";
    let (decision, _, mut actions) =
        wire.hears(&mut director, Time::ZERO, &("227 Entering Passive Mode (10,0,0,12,125,5).\r\n".to_owned() + &help));
    assert_eq!(decision, Decision::Held);
    read_on(&mut director, Time::ZERO, &mut actions);
    let released = actions
        .iter()
        .find_map(|action| if let Action::Release { mark, bytes, .. } = action { Some((*mark, bytes)) } else { None });
    let Some((mark, Some(bytes))) = released else { panic!("{actions:?}") };
    assert_eq!(mark, Some(MARKS.control(1).0));
    assert!(payload(bytes).starts_with("227 Entering Passive Mode(192,0,2,10,125,5)."), "{}", payload(bytes));
    let mut again = bytes.clone();
    wire::Packet::parse(bytes).expect("a packet").complete(&mut again);
    assert_eq!(again, *bytes, "the checksum is right");
}

#[test]
fn what_is_kept_has_a_ceiling() {
    let mut director = director(ForwardingMethod::Dr, false);
    director.setup.limits.memory = 100_000;
    for port in 0..50 {
        let mut wire = Wire::new(another(50000 + port), 1, ForwardingMethod::Dr);
        let _ = wire.says(&mut director, Time::ZERO, "NOOP\r\n");
        wire.sent += 7;
        for _ in 0..10 {
            let _ = wire.says(&mut director, Time::ZERO, &format!("CWD {}\r\n", "x".repeat(1000)));
        }
        assert!(director.snapshot().memory <= 100_000, "{}", director.snapshot().memory);
    }
    assert!(director.snapshot().clusters["downloads"].limited["memory"] > 0);
    assert!(director.snapshot().clusters["downloads"].blind["memory"] > 0);
}

#[test]
fn nobody_waits_for_more_rows_than_are_written() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let mut dropped = 0;
    for port in 0..20 {
        let (decision, ..) = wire.says(&mut director, Time::ZERO, &format!("PORT 203,0,113,5,200,{port}\r\n"));
        dropped += usize::from(decision == Decision::Drop);
    }
    assert_eq!(dropped, 12);
}

#[test]
fn a_port_may_be_named_again_when_its_data_connection_has_come() {
    let mut director = director(ForwardingMethod::Dr, false);
    let line = "PORT 203,0,113,5,200,10\r\n";
    let mut first = Wire::new(client(), 2, ForwardingMethod::Dr);
    let (_, _, actions) = first.says(&mut director, Time::ZERO, line);
    director.rows_done(ticket(&actions), false, &mut Vec::new());
    let vip = SocketAddr::new(VIP.parse().expect("the VIP"), 20);
    director.landed(Time::ZERO, MARKS.data(2).0, &tcp(another(51210), vip, 1, 0x12, b""));
    let mut second = Wire::new(another(40001), 1, ForwardingMethod::Dr);
    let (_, _, actions) = second.says(&mut director, Time::from_millis(100), line);
    assert_eq!(words(puts(&actions)[0])[4], "0x0f700001");
    director.rows_done(ticket(&actions), false, &mut Vec::new());
    // Nor does the first take it away again.
    assert_eq!(deletes(&first.says(&mut director, Time::from_millis(200), "ABOR\r\n").2), 0);
}

#[test]
fn a_connection_to_the_vip_is_not_the_one_that_a_server_was_asked_for() {
    let mut director = director(ForwardingMethod::Dr, false);
    let line = "PORT 203,0,113,5,200,10\r\n";
    let mut first = Wire::new(client(), 2, ForwardingMethod::Dr);
    let (_, _, actions) = first.says(&mut director, Time::ZERO, line);
    director.rows_done(ticket(&actions), false, &mut Vec::new());
    // Somebody at the same address connects to a port of the VIP that has the same number.
    let vip = SocketAddr::new(VIP.parse().expect("the VIP"), 51210);
    director.landed(Time::ZERO, MARKS.data(2).0, &tcp(another(50000), vip, 1, 0x02, b""));
    let mut second = Wire::new(another(40001), 1, ForwardingMethod::Dr);
    let (_, _, actions) = second.says(&mut director, Time::from_millis(100), line);
    assert_eq!(puts(&actions), Vec::<&Row>::new());
}
