//! What concerns many sessions: no call goes through all of them, and none is left out.

use super::*;
use crate::director::unfinished::PART;

const MANY: u16 = 3000;

/// A director with room for many, and so many sessions of an address each, which have said this.
fn many(forwarding: ForwardingMethod, line: impl Fn(u16) -> String) -> (Director, Vec<Wire>) {
    let mut director = director(forwarding, false);
    (director.setup.limits.sessions, director.setup.limits.memory) = (100_000, 1 << 30);
    let mut wires = Vec::new();
    for nth in 0..MANY {
        let mut wire = Wire::new(from(nth), 1, forwarding);
        let (_, _, actions) = wire.says(&mut director, Time::ZERO, &line(nth));
        for action in actions {
            if let Action::Rows { ticket: Some(ticket), .. } = action {
                director.rows_done(ticket, false, &mut Vec::new());
            }
        }
        wires.push(wire);
    }
    (director, wires)
}

fn from(nth: u16) -> SocketAddr {
    let [high, low] = nth.to_be_bytes();
    SocketAddr::from(([198, 18, high, low], 40_000))
}

fn port(nth: u16) -> String {
    let [high, low] = nth.to_be_bytes();
    format!("PORT 198,18,{high},{low},200,10\r\n")
}

/// Ticks as long as something is due by `now`; how often, and what came of the dearest tick.
fn ticks(director: &mut Director, now: Time, actions: &mut Vec<Action>) -> (usize, usize) {
    let (mut times, mut most) = (0, 0);
    while director.due().is_some_and(|due| due <= now) {
        let before = changes(actions).len();
        director.tick(now, actions);
        (times, most) = (times + 1, most.max(changes(actions).len() - before));
        assert!(times < 10_000, "it never ends");
    }
    (times, most)
}

fn changes(actions: &[Action]) -> Vec<&RowChange> {
    let rows = actions
        .iter()
        .filter_map(|action| if let Action::Rows { changes, .. } = action { Some(changes) } else { None });
    rows.flatten().collect()
}

#[test]
fn all_expectations_may_end_at_once() {
    let (mut director, _) = many(ForwardingMethod::Dr, port);
    let end = Time::from_millis(10_000);
    director.tick(end, &mut Vec::new());
    let expired = |director: &Director| {
        let counters = &director.snapshot().clusters["downloads"].expectations;
        counters.get(&(Mode::Active, Outcome::Expired)).copied().unwrap_or_default()
    };
    assert_eq!(expired(&director), PART as u64, "no more in one call");
    assert_eq!(director.due().map(|due| due <= end), Some(true), "the others are due");
    let (times, _) = ticks(&mut director, end, &mut Vec::new());
    assert_eq!((times, expired(&director)), (usize::from(MANY) / PART, u64::from(MANY)));
}

#[test]
fn rows_that_were_lost_are_written_in_parts() {
    // By rows of their own, and by pinholes that control packets opened.
    let line = |nth: u16| if nth.is_multiple_of(2) { port(nth) } else { "EPSV\r\n".into() };
    let (mut director, mut wires) = many(ForwardingMethod::Dr, line);
    let (now, mut actions) = (Time::from_millis(1000), Vec::new());
    director.rows_lost(now, &mut actions);
    assert_eq!(changes(&actions).len(), PART);
    // Meanwhile some go, also such as have not been written: what is at the end takes their places.
    for nth in (0..MANY).step_by(10) {
        let _ = wires[usize::from(nth)].says(&mut director, now, "ABOR\r\n");
    }
    let (_, most) = ticks(&mut director, now, &mut actions);
    assert!(most <= 2 * PART, "{most}");
    let put: std::collections::BTreeSet<_> = puts(&actions).into_iter().map(|row| row.key.clone()).collect();
    for nth in (0..MANY).filter(|nth| !nth.is_multiple_of(10)) {
        let client = from(nth).ip();
        let found = put.iter().any(|key| key.first() == Some(&crate::state::sets::Value::Address(client)));
        assert!(found, "{client}");
    }
    assert_eq!(director.due().map(|due| due > now), Some(true), "all is done");
}

#[test]
fn sessions_of_a_vip_that_has_left_are_told_in_parts() {
    let (mut director, mut wires) = many(ForwardingMethod::Nat, |_| "NOOP\r\n".into());
    let lost = |director: &Director| director.table.iter().filter(|entry| entry.ftp.has_lost_track()).count();
    director.gave_up(Time::ZERO, &[VIP.parse().expect("the VIP")], &mut Vec::new());
    assert_eq!(lost(&director), PART);
    // The VIP is here again, and one that was not told yet speaks: it has missed as much as the others.
    let late = wires.last_mut().expect("many");
    late.sent += 1 << 20;
    late.answered += 1 << 20;
    let (decision, _, actions) = late.says(&mut director, Time::ZERO, &port(MANY - 1));
    assert_eq!((decision, puts(&actions).len()), (Decision::Held, 1), "it was learned anew");
    director.rows_done(ticket(&actions), false, &mut Vec::new());
    // Who comes now was never meant.
    let mut fresh = Wire::new(from(MANY), 1, ForwardingMethod::Nat);
    let _ = fresh.says(&mut director, Time::ZERO, "NOOP\r\n");
    let (times, _) = ticks(&mut director, Time::ZERO, &mut Vec::new());
    assert_eq!(times, usize::from(MANY) / PART);
    assert_eq!(lost(&director), usize::from(MANY) - 1, "all but the two");
    let (decision, _, _) = late.says(&mut director, Time::ZERO, "NOOP\r\n");
    assert_eq!(without_calm(decision), PASSES_UNMARKED, "it goes on where it was");
}

#[test]
fn rows_of_the_process_before_are_forgotten_in_parts() {
    let mut director = director(ForwardingMethod::Dr, false);
    director.setup.limits.sessions = 100_000;
    let placement = director.setup.placements[0].0;
    let end = Time::from_millis(5000);
    director.found((0..MANY).map(|nth| (range::pinhole(MARKS, &placement, from(nth).ip()), end)));
    // One of them is a session's by now.
    let mut wire = Wire::new(from(7), 0, ForwardingMethod::Dr);
    let _ = wire.says(&mut director, Time::ZERO, "AUTH TLS\r\n");
    let _ = wire.says(&mut director, Time::ZERO, "\x16\x03\x01");
    let before = director.pinholes.len();
    let kept = before - usize::from(MANY) + 1;
    director.tick(end, &mut Vec::new());
    let gone = before - director.pinholes.len();
    assert!((PART - kept..=PART).contains(&gone), "no more in one call: {gone}");
    ticks(&mut director, end, &mut Vec::new());
    assert_eq!(director.pinholes.len(), kept);
}

#[test]
fn a_session_is_found_however_large_the_index_has_grown() {
    let (director, wires) = many(ForwardingMethod::Dr, |_| "NOOP\r\n".into());
    for wire in &wires {
        let key = crate::director::key::ConnectionKey::new(wire.client, wire.far_end());
        let found = director.table.find(&key).and_then(|slot| director.table.entry(slot));
        assert_eq!(found.map(|entry| entry.key.client()), Some(wire.client));
    }
}
