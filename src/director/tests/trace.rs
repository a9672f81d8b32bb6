use super::*;

/// Whom, what: each event in a word or two.
fn told(director: &mut Director) -> Vec<String> {
    let (events, lost) = director.take_trace();
    assert_eq!(lost, 0);
    let told = |event: &TraceEvent| match &event.what {
        What::Command { verb, seq, .. } => format!("{verb} {seq}"),
        What::Reply { code, text, .. } => format!("{code} {text:?}"),
        What::Told(event) => event.to_string(),
        What::Row(RowChange::Put(row, _)) => format!("put {} {:?}", row.set, texts(&row.key)),
        What::Row(RowChange::Refresh(row, _)) => format!("refresh {}", row.set),
        What::Row(RowChange::Delete(set, _)) => format!("delete {set}"),
        What::Opened { row, timeout } => format!("pinhole {} {:?} {timeout:?}", row.set, texts(&row.key)),
        What::Ended { mode, outcome } => format!("{mode:?} {outcome:?}"),
        other => format!("{other:?}"),
    };
    events.iter().map(told).collect()
}

fn texts(key: &[crate::state::sets::Value]) -> Vec<String> {
    key.iter().map(ToString::to_string).collect()
}

fn listening(forwarding: ForwardingMethod, shared: bool) -> Director {
    let mut director = director(forwarding, shared);
    director.listen(vec![Filter::default()]);
    director
}

#[test]
fn a_passive_session_from_its_first_packet_to_its_last() {
    let mut director = listening(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let _ = wire.says(&mut director, Time::ZERO, "EPSV\r\n");
    assert_eq!(
        told(&mut director),
        ["Open", "EPSV 1000", "ask passive EPSV", "pinhole open4 [\"203.0.113.5\", \"0x0f730001\"] 10s"]
    );
    let vip = SocketAddr::new(VIP.parse().expect("the VIP"), 32010);
    director.landed(Time::ZERO, MARKS.data(1).0, &tcp(SocketAddr::new(client().ip(), 50000), vip, 1, 0x02, b""));
    assert_eq!(told(&mut director), ["Passive Used"]);
    let _ = wire.says(&mut director, Time::ZERO, "EPSV\r\n");
    director.tick(Time::from_millis(10_000), &mut Vec::new());
    let said = told(&mut director);
    assert_eq!(said.last().map(String::as_str), Some("Passive Expired"), "{said:?}");
    let mut rst = tcp(wire.client, wire.far_end(), wire.sent, 0x14, b"");
    let _ = wire.offer(&mut director, Time::ZERO, Hook::Postrouting, &mut rst);
    let said = told(&mut director);
    assert_eq!(said.last().map(String::as_str), Some("Closed"), "{said:?}");
}

#[test]
fn an_active_session_shows_its_row() {
    let mut director = listening(ForwardingMethod::Nat, false);
    let mut wire = Wire::new(client(), 2, ForwardingMethod::Nat);
    let (_, _, actions) = wire.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n");
    director.rows_done(ticket(&actions), false, &mut Vec::new());
    let said = told(&mut director);
    assert_eq!(
        said[2..],
        [
            "expect active PORT 203.0.113.5:51210",
            "put active_nat4 [\"10.0.0.13\", \"203.0.113.5\", \"51210\"]",
            "Stand { refused: false }"
        ]
    );
}

#[test]
fn no_reply_to_a_login_is_shown() {
    let mut director = listening(ForwardingMethod::Nat, false);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    let _ = wire.says(&mut director, Time::ZERO, "USER joe\r\n");
    let _ = wire.hears(&mut director, Time::ZERO, "331 Password for joe?\r\n");
    // Pipelined: the reply to PASS comes after SYST was read.
    let _ = wire.says(&mut director, Time::ZERO, "PASS hunter2\r\nSYST\r\n");
    let _ = wire.hears(&mut director, Time::ZERO, "500 'PASS hunter2': what?\r\n");
    let _ = wire.hears(&mut director, Time::ZERO, "215 UNIX hunter2\r\n");
    let _ = wire.says(&mut director, Time::ZERO, "SYST\r\n");
    let _ = wire.hears(&mut director, Time::ZERO, "215-\r\n215 UNIX \x07\r\n");
    let said = told(&mut director);
    assert!(!said.iter().any(|line| line.contains("hunter2") || line.contains("joe")), "{said:?}");
    assert_eq!(said.last().map(String::as_str), Some("215 Some(\"215 UNIX .\")"), "{said:?}");
}

#[test]
fn who_comes_late_sees_no_reply_to_what_was_asked_before() {
    let mut director = director(ForwardingMethod::Nat, false);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    let _ = wire.says(&mut director, Time::ZERO, "PASS hunter2\r\n");
    director.listen(vec![Filter::default()]);
    let _ = wire.hears(&mut director, Time::ZERO, "500 'PASS hunter2': what?\r\n");
    let _ = wire.says(&mut director, Time::ZERO, "PASV\r\n");
    let _ = wire.hears(&mut director, Time::ZERO, "227 Entering Passive Mode (10,0,0,11,121,26).\r\n");
    let said = told(&mut director);
    assert_eq!(said[0], "500 None");
    // As the server sent it; what the client gets is in the rewrite.
    assert!(said.contains(&"227 Some(\"227 Entering Passive Mode (10,0,0,11,121,26).\")".to_owned()), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("rewrite 227 10.0.0.11:31002 to 192.0.2.10:31002")), "{said:?}");
}

fn of_server(name: &str) -> Filter {
    Filter { server: Some(name.into()), ..Filter::default() }
}

fn of_clients(address: IpAddr, length: u8) -> Filter {
    Filter { client: Some(ipnet::IpNet::new(address, length).unwrap()), ..Filter::default() }
}

#[test]
fn filters_choose_sessions() {
    for (wanted, filter) in [
        (2, Filter::default()),
        (1, of_server("rs1")),
        (1, of_server("downloads/rs1")),
        (0, of_server("uploads/rs1")),
        (2, Filter { cluster: Some("downloads".into()), ..Filter::default() }),
        (0, Filter { cluster: Some("uploads".into()), ..of_server("rs1") }),
        (2, of_clients(client().ip(), 32)),
        (2, of_clients([203, 0, 113, 200].into(), 24)),
        (0, of_clients([192, 0, 2, 1].into(), 32)),
    ] {
        let mut director = director(ForwardingMethod::Dr, false);
        director.listen(vec![filter.clone()]);
        for index in [1, 2] {
            let mut wire = Wire::new(SocketAddr::new(client().ip(), 40000 + index), index, ForwardingMethod::Dr);
            let _ = wire.says(&mut director, Time::ZERO, "NOOP\r\n");
        }
        let opened = told(&mut director).iter().filter(|line| *line == "Open").count();
        assert_eq!(opened, wanted, "{filter:?}");
        director.listen(Vec::new());
        let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
        let _ = wire.says(&mut director, Time::ZERO, "NOOP\r\n");
        assert!(told(&mut director).is_empty(), "nobody listens");
    }
}

#[test]
fn a_listing_comes_in_pages_and_knows_what_is_expected() {
    let mut director = director(ForwardingMethod::Nat, false);
    for port in 0..5 {
        let mut wire = Wire::new(SocketAddr::new(client().ip(), 40000 + port), 1, ForwardingMethod::Nat);
        let _ = wire.says(&mut director, Time::from_millis(1000), "EPRT |1|203.0.113.5|51210|\r\n");
    }
    let listed = |wanted: &Filter| director.sessions(Time::from_millis(4000), 0, wanted).items.len();
    assert_eq!(listed(&of_server("downloads/rs1")), 5);
    assert_eq!(listed(&of_server("rs2")) + listed(&of_clients([192, 0, 2, 1].into(), 32)), 0);
    let listing = director.sessions(Time::from_millis(4000), 3, &Filter::default());
    assert_eq!((listing.total, listing.items.len(), listing.next), (5, 2, None));
    let listed = &listing.items[0];
    assert_eq!((listed.age.as_secs(), listed.pending, listed.server.as_str()), (3, Some(true), "rs1"));
    assert_eq!(listed.verb.map(crate::ftp::Verb::name), Some("EPRT"));
    let expected = listed.expectation.expect("an expectation");
    assert_eq!((expected.mode, expected.port, expected.remaining.as_secs()), (Mode::Active, Some(51210), 7));
    let holders = director.holders(0).items;
    assert_eq!(holders.len(), 5, "one row, five sessions");
    assert!(holders.iter().all(|(set, key, _)| *set == holders[0].0 && *key == holders[0].1));
}
