//! Clusters with `public_ports`.

use super::*;
use crate::steer::exact;

/// Three servers that share 40000-40099 behind these ports of the VIP.
fn public(first: u16, last: u16) -> Director {
    let director = director(ForwardingMethod::Nat, true);
    let mut setup = director.setup.clone();
    for (placement, policies) in &mut setup.placements {
        placement.public_ports = PortRange::new(first, last);
        policies.explicit.public_ports = true;
        policies.implicit.public_ports = true;
    }
    Director::new(setup)
}

fn wire(port: u16, index: u16) -> Wire {
    Wire::new(SocketAddr::new(client().ip(), port), index, ForwardingMethod::Nat)
}

fn deletes(actions: &[Action]) -> usize {
    let changes = actions.iter().flat_map(|action| match action {
        Action::Rows { changes, .. } => changes.as_slice(),
        _ => &[],
    });
    changes.filter(|change| matches!(change, RowChange::Delete(..))).count()
}

const fn at(second: u64) -> Time {
    Time::from_millis(1000 * second)
}

/// What the client reads when its server names a port, and all that happened.
fn named(director: &mut Director, wire: &mut Wire, now: Time, port: u16) -> (String, Vec<Action>) {
    let (_, _, mut actions) = wire.says(director, now, "EPSV\r\n");
    let line = format!("229 Entering Extended Passive Mode (|||{port}|)\r\n");
    let (decision, mut bytes, more) = wire.hears(director, now, &line);
    if decision == Decision::Held {
        let mut released = Vec::new();
        director.rows_done(ticket(&more), false, &mut released);
        let Some(Action::Release { bytes: edited, .. }) = released.pop() else { panic!("{released:?}") };
        // Told as it was named, a 229 is not edited.
        bytes = edited.unwrap_or(bytes);
    }
    let text = payload(&bytes);
    assert_eq!(text.len(), line.len());
    actions.extend(more);
    (text, actions)
}

/// The port that the client is told.
fn told(text: &str) -> Option<u16> {
    text.strip_prefix("229 ")?.split('|').nth(3)?.parse().ok()
}

/// The rows that were asked for, as `PORT=MARK` and `PORT>SERVER:PORT`.
fn rows(actions: &[Action]) -> Vec<String> {
    let text = |row: &crate::steer::Row| match row.value.as_slice() {
        [mark] => format!("{}={mark}", row.key[2]),
        [server, port] => format!("{}>{server}:{port}", row.key[2]),
        other => panic!("{other:?}"),
    };
    puts(actions).into_iter().map(text).collect()
}

/// The data connection of a client came to `port` of a server.
fn lands(director: &mut Director, now: Time, index: u16, port: u16) {
    let to = SocketAddr::new(server(index).ip(), port);
    let syn = tcp(SocketAddr::new(client().ip(), 50_000), to, 1, 0x02, b"");
    director.landed(now, MARKS.data(index).0, &syn);
}

fn crowds(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Crowded(_))).count()
}

#[test]
fn a_public_port_is_told_and_leads_to_the_servers_own() {
    let mut director = public(8192, 8200);
    let (text, actions) = named(&mut director, &mut wire(40_001, 1), at(0), 40_007);
    let port = told(&text).expect("a port");
    assert!((8192..=8200).contains(&port), "{text}");
    assert_eq!(rows(&actions), [format!("{port}=0x0f700001"), format!("{port}>10.0.0.12:40007")]);
    lands(&mut director, at(1), 1, 40_007);
    assert_eq!(outcomes(&director, Mode::Passive, Outcome::Used), 1);
}

#[test]
fn a_servers_number_is_told_where_it_is_public_and_free() {
    let mut director = public(40_000, 40_009);
    let (text, actions) = named(&mut director, &mut wire(40_001, 0), at(0), 40_007);
    assert_eq!(told(&text), Some(40_007));
    assert_eq!(rows(&actions), ["40007=0x0f700000", "40007>10.0.0.11:40007"], "translated all the same");
    let (text, _) = named(&mut director, &mut wire(40_002, 1), at(0), 40_007);
    assert_eq!(told(&text), Some(40_008));
}

#[test]
fn an_undeclared_port_of_a_server_is_told_to_nobody() {
    let mut director = public(8192, 8200);
    let (text, actions) = named(&mut director, &mut wire(40_001, 0), at(0), 3306);
    assert!(rows(&actions).is_empty() && told(&text) == Some(3306), "{text} {actions:?}");
}

#[test]
fn when_all_are_awaited_a_client_is_refused_and_others_are_not() {
    let mut director = public(8192, 8194);
    let mut wires: Vec<Wire> = (0..4).map(|n| wire(40_001 + n, n % 3)).collect();
    let mut ports: Vec<_> =
        wires.iter_mut().take(3).map(|wire| told(&named(&mut director, wire, at(0), 40_007).0)).collect();
    ports.sort_unstable();
    assert_eq!(ports, [Some(8192), Some(8193), Some(8194)]);
    let (text, actions) = named(&mut director, &mut wires[3], at(1), 40_008);
    assert_eq!((text.trim_end(), rows(&actions).len()), ("425 No data port is free, try again.", 0));
    assert_eq!((director.snapshot().clusters["downloads"].unparsed.get("port_taken"), crowds(&actions)), (Some(&1), 1));
    // Its transfer verb, which a client that was refused does not send, opens nothing.
    let (_, _, actions) = wires[3].says(&mut director, at(1), "RETR x\r\n");
    assert!(rows(&actions).is_empty(), "{actions:?}");
    let _ = wires[3].hears(&mut director, at(2), "425 no\r\n");
    // Said once a minute.
    for (second, said) in [(2, 0), (60, 0), (61, 1)] {
        for wire in wires.iter_mut().take(3) {
            assert!(told(&named(&mut director, wire, at(second), 40_007).0).is_some(), "its own is free again");
        }
        assert_eq!(crowds(&named(&mut director, &mut wires[3], at(second), 40_008).1), said, "{second}");
    }
    let mut other = Wire::new("198.51.100.9:40000".parse().expect("a client"), 0, ForwardingMethod::Nat);
    assert!(told(&named(&mut director, &mut other, at(61), 40_009).0).is_some(), "each address has them all");
}

/// Connection tracking has the data connection by then. Until then its SYN may be repeated, or was forged.
#[test]
fn a_port_is_free_when_its_transfer_is_over() {
    for second in [0, 1] {
        let mut director = public(8192, 8192);
        let (mut first, mut next) = (wire(40_001, 0), wire(40_002, second));
        assert_eq!(told(&named(&mut director, &mut first, at(0), 40_007).0), Some(8192));
        lands(&mut director, at(1), 0, 40_007);
        assert!(named(&mut director, &mut next, at(1), 40_008).0.starts_with("425 "));
        let _ = first.says(&mut director, at(2), "RETR x\r\n");
        let _ = first.hears(&mut director, at(2), "150 here it comes\r\n");
        assert!(named(&mut director, &mut next, at(2), 40_008).0.starts_with("425 "));
        let (_, _, actions) = first.hears(&mut director, at(3), "226 done\r\n");
        assert_eq!((deletes(&actions), director.snapshot().pinholes), (2, 0));
        let (text, actions) = named(&mut director, &mut next, at(3), 40_008);
        assert_eq!(told(&text), Some(8192));
        assert_eq!(rows(&actions), [format!("8192=0x0f70000{second}"), format!("8192>{}:40008", server(second).ip())]);
        // The first session has nothing to do with it any more.
        let mut actions = first.says(&mut director, at(4), "ABOR\r\n").2;
        director.tick(at(12), &mut actions);
        assert_eq!(deletes(&actions), 0, "{actions:?}");
    }
}

#[test]
fn a_port_is_free_ten_seconds_after_its_data_connection_came() {
    let mut director = public(8192, 8192);
    let (mut first, mut next) = (wire(40_001, 0), wire(40_002, 1));
    let _ = named(&mut director, &mut first, at(0), 40_007);
    let (_, _, actions) = first.says(&mut director, at(5), "RETR big\r\n");
    director.rows_done(ticket(&actions), false, &mut Vec::new());
    lands(&mut director, at(5), 0, 40_007);
    director.tick(at(14), &mut Vec::new());
    assert!(named(&mut director, &mut next, at(14), 40_008).0.starts_with("425 "));
    let mut actions = Vec::new();
    director.tick(at(15), &mut actions);
    assert!(deletes(&actions) > 0, "{actions:?}");
    assert_eq!(told(&named(&mut director, &mut next, at(15), 40_008).0), Some(8192));
}

#[test]
fn what_nobody_came_for_is_free_again() {
    let mut director = public(8192, 8192);
    let _ = named(&mut director, &mut wire(40_001, 0), at(0), 40_007);
    assert!(named(&mut director, &mut wire(40_003, 1), at(10), 40_007).0.starts_with("425 "), "nobody has looked yet");
    let mut actions = Vec::new();
    director.tick(at(10), &mut actions);
    assert_eq!(deletes(&actions), 1, "of the translation; the other row ends by itself");
    assert_eq!(told(&named(&mut director, &mut wire(40_002, 1), at(10), 40_007).0), Some(8192));
}

/// A refused transfer, or another PASV: the SYN to the port that was told before may still be on its way, or be repeated.
#[test]
fn what_was_told_in_vain_is_told_to_others_last() {
    for words in ["RETR x", "ABOR", "PASV"] {
        let mut director = public(8192, 8194);
        let (mut first, mut stranger) = (wire(40_001, 0), wire(40_009, 0));
        stranger.client = "198.51.100.9:40009".parse().expect("a client");
        let old = told(&named(&mut director, &mut first, at(0), 40_007).0);
        let (_, _, mut actions) = first.says(&mut director, at(0), &format!("{words}\r\n"));
        if words == "RETR x" {
            actions = first.hears(&mut director, at(0), "550 no\r\n").2;
        }
        assert_eq!(deletes(&actions), 2, "{words}");
        // Where the next is looked for moves on with everyone's questions.
        let (mut next, mut last) = (wire(40_002, 1), wire(40_003, 2));
        for _ in 0..2 {
            let _ = named(&mut director, &mut stranger, at(1), 40_007);
        }
        let told_next = told(&named(&mut director, &mut next, at(1), 40_008).0);
        let told_last = told(&named(&mut director, &mut last, at(1), 40_009).0);
        assert!(told_next.is_some() && told_next != old && told_last.is_some() && told_last != old);
        // Better that one than none.
        assert_eq!(told(&named(&mut director, &mut wire(40_004, 1), at(2), 40_008).0), old);
    }
}

/// A public port is kept when it is told, and it is told when the line has ended.
#[test]
fn a_reply_whose_end_comes_late_names_no_port_that_another_was_told() {
    for ends in [true, false] {
        let mut director = public(8192, 8192);
        let (mut first, mut next) = (wire(40_001, 0), wire(40_002, 1));
        let _ = first.says(&mut director, at(0), "EPSV\r\n");
        let line = "229 Entering Extended Passive Mode (|||40007|)";
        assert_eq!(first.hears(&mut director, at(0), line).0, Decision::Held);
        assert_eq!(told(&named(&mut director, &mut next, at(0), 40_008).0), Some(8192));
        let mut actions = Vec::new();
        if ends {
            actions = first.hears(&mut director, at(0), "\r\n").2;
        } else {
            director.tick(at(1), &mut actions);
        }
        let released = actions.iter().find_map(|action| match action {
            Action::Release { bytes: Some(bytes), .. } => Some(payload(bytes)),
            _ => None,
        });
        let text = released.unwrap_or_else(|| panic!("{actions:?}"));
        assert!(text.starts_with("425 ") && text.len() == line.len(), "{text}");
        assert!(rows(&actions).is_empty(), "{actions:?}");
    }
}

#[test]
fn a_session_asks_again_and_again_with_one_port() {
    let (mut director, mut wire) = (public(8192, 8192), wire(40_001, 0));
    for second in 0..5 {
        assert_eq!(told(&named(&mut director, &mut wire, at(second), 40_007).0), Some(8192));
    }
    assert_eq!(director.snapshot().pinholes, 2);
}

#[test]
fn rows_of_the_former_process_keep_their_ports() {
    let mut director = public(8192, 8193);
    let found = exact::public(MARKS, &director.setup.placements[0].0, client().ip(), (40_007, 8192));
    director.found(found.map(|row| (row, at(8))));
    let (mut first, mut next) = (wire(40_001, 0), wire(40_002, 0));
    assert_eq!(told(&named(&mut director, &mut first, at(0), 40_007).0), Some(8193));
    assert!(named(&mut director, &mut next, at(1), 40_008).0.starts_with("425 "));
    assert_eq!(told(&named(&mut director, &mut next, at(8), 40_008).0), Some(8192));
    assert_eq!(deletes(&next.says(&mut director, at(9), "ABOR\r\n").2), 2, "they are its own");
}

#[test]
fn after_a_reload_no_port_is_opened_that_is_public_no_longer() {
    let (mut director, mut wire) = (public(8192, 8192), wire(40_001, 0));
    let _ = named(&mut director, &mut wire, at(0), 40_007);
    director.tick(at(10), &mut Vec::new());
    let mut setup = director.setup.clone();
    setup.placements.iter_mut().for_each(|(placement, _)| placement.public_ports = PortRange::new(9000, 9000));
    director.configure(setup);
    let (_, _, actions) = wire.says(&mut director, at(11), "RETR x\r\n");
    assert!(rows(&actions).is_empty(), "{actions:?}");
}

#[test]
fn ports_of_others_at_the_vip_are_not_told() {
    let director = public(8192, 8193);
    let services = vec!["192.0.2.10:8192".parse().expect("an address")];
    let mut director = Director::new(Setup { services, ..director.setup.clone() });
    for (port, wanted) in [(40_001, Some(8193)), (40_002, None)] {
        assert_eq!(told(&named(&mut director, &mut wire(port, 0), at(0), 40_007).0), wanted);
    }
}

#[test]
fn under_tls_no_passive_port_is_opened() {
    let (mut director, mut wire) = (public(8192, 8200), wire(40_001, 0));
    let _ = wire.says(&mut director, at(0), "AUTH TLS\r\n");
    let (_, _, actions) = wire.hears(&mut director, at(0), "234 go on\r\n");
    let sets: Vec<Name> = puts(&actions).iter().map(|row| row.set.name).collect();
    assert!(!sets.is_empty() && !sets.contains(&Name::Open), "{sets:?}");
}

/// The replies of a client that hides behind one address, nine ports, and a thousand sessions that never connect.
#[test]
fn an_address_with_many_sessions_takes_no_more_than_its_ports() {
    let mut director = public(8192, 8200);
    (director.setup.limits.sessions, director.setup.limits.client_sessions) = (2000, 2000);
    let answers: Vec<_> =
        (0..1000).map(|n| told(&named(&mut director, &mut wire(2000 + n, n % 3), at(0), 40_007).0)).collect();
    assert_eq!(answers.iter().flatten().count(), 9);
    assert_eq!(director.snapshot().pinholes, 18);
}
