//! Rows that come late, floods, and what must not stay behind.

use super::*;

#[test]
fn a_repeated_packet_waits_for_a_late_row_too() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let line = "PORT 203,0,113,5,200,10\r\n";
    let (_, _, asked) = wire.says(&mut director, Time::ZERO, line);
    let mut actions = Vec::new();
    let late = director.due().expect("something is due");
    director.tick(late, &mut actions);
    assert!(actions.contains(&Action::Drop { id: wire.id }), "{actions:?}");
    wire.sent -= u32::try_from(line.len()).expect("short");
    assert_eq!(wire.says(&mut director, late, line).0, Decision::Held);
    let mut released = Vec::new();
    director.rows_done(ticket(&asked), false, &mut released);
    assert!(matches!(released[..], [Action::Release { id, .. }] if id == wire.id), "{released:?}");
}

#[test]
fn of_pipelined_ports_only_the_last_is_written() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let lines: String = (0..40).map(|port| format!("PORT 203,0,113,5,200,{port}\r\n")).collect();
    let (decision, _, mut actions) = wire.says(&mut director, Time::ZERO, &lines);
    assert_eq!(decision, Decision::Held);
    read_on(&mut director, Time::ZERO, &mut actions);
    let rows = puts(&actions);
    assert_eq!(rows.len(), 3, "one for each sixteen lines: {rows:?}");
    assert_eq!(rows[2].key[1].to_string(), (200 * 256 + 39).to_string());
    assert_eq!(director.snapshot().pinholes, 1);
}

#[test]
fn nothing_is_awaited_after_the_last_expectation() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    for port in 0..50 {
        let now = Time::from_millis(port * 1000);
        let (_, _, actions) = wire.says(&mut director, now, &format!("PORT 203,0,113,5,201,{port}\r\n"));
        director.rows_done(ticket(&actions), false, &mut Vec::new());
    }
    assert_eq!(director.waiting.len(), 1);
    let _ = wire.says(&mut director, Time::from_millis(50_000), "QUIT\r\n");
    assert_eq!(director.waiting.len(), 0);
}

#[test]
fn a_session_that_closed_while_its_row_was_written_is_forgotten() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let (_, _, asked) = wire.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n");
    let mut rst = tcp(wire.client, wire.far_end(), wire.sent, 0x14, b"");
    let _ = wire.offer(&mut director, Time::ZERO, Hook::Postrouting, &mut rst);
    let mut actions = Vec::new();
    director.rows_done(ticket(&asked), false, &mut actions);
    assert_eq!(director.table.len(), 0);
}

#[test]
fn an_idle_session_is_forgotten_soon_after_ipvs_forgot_it() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let _ = wire.says(&mut director, Time::ZERO, "NOOP\r\n");
    let mut actions = Vec::new();
    director.tick(Time::from_millis(900_000), &mut actions);
    assert_eq!(director.table.len(), 1);
    director.tick(Time::from_millis(961_000), &mut actions);
    assert_eq!(director.table.len(), 0);
}

#[test]
fn a_reply_without_room_does_not_take_anothers_port() {
    let mut director = director(ForwardingMethod::Nat, true);
    let mut first = Wire::new(client(), 0, ForwardingMethod::Nat);
    let _ = first.says(&mut director, Time::ZERO, "PASV\r\n");
    let (_, _, actions) = first.hears(&mut director, Time::ZERO, "227 Entering Passive Mode (10,0,0,11,156,71).\r\n");
    let taken = puts(&actions)[0].clone();
    let mut second = Wire::new(SocketAddr::new(client().ip(), 40001), 1, ForwardingMethod::Nat);
    let _ = second.says(&mut director, Time::ZERO, "PASV\r\n");
    // Not a byte to spare for `192,0,2,10`.
    let (_, _, actions) = second.hears(&mut director, Time::ZERO, "227 1,0,0,1,156,71\r\n");
    assert!(puts(&actions).iter().all(|row| row.key != taken.key), "{actions:?}");
}

#[test]
fn what_is_dropped_in_a_flood_gets_its_row_when_it_comes_again() {
    let mut director = director(ForwardingMethod::Dr, false);
    director.setup.limits.sessions = 10_000;
    director.setup.limits.client_sessions = 10_000;
    let mut tickets = Vec::new();
    for port in 0..4096_u16 {
        let [high, low] = port.to_be_bytes();
        let mut flood = Wire::new(SocketAddr::from(([198, 51, high, low], 20_000)), 1, ForwardingMethod::Dr);
        let line = format!("PORT 198,51,{high},{low},200,10\r\n");
        tickets.push(ticket(&flood.says(&mut director, Time::ZERO, &line).2));
    }
    let line = "PORT 203,0,113,5,200,10\r\n";
    let mut wire = Wire::new(SocketAddr::new(client().ip(), 40001), 2, ForwardingMethod::Dr);
    let (decision, _, actions) = wire.says(&mut director, Time::ZERO, line);
    assert_eq!((decision, &actions[..]), (Decision::Drop, &[][..]));
    tickets.into_iter().for_each(|ticket| director.rows_done(ticket, false, &mut Vec::new()));
    wire.sent -= u32::try_from(line.len()).expect("short");
    let (decision, _, actions) = wire.says(&mut director, Time::ZERO, line);
    assert_eq!((decision, puts(&actions).len()), (Decision::Held, 1));
}
