use super::*;
use crate::director::{Moment, StrangerKind};
use crate::ftp::{RefuseReason, Verb};

fn moments(director: &Director) -> Vec<Moment> {
    let account = director.account(Time::ZERO, Whom::Client(client().ip()));
    account.happenings.into_iter().map(|happening| happening.moment).collect()
}

/// The server's words that are kept.
fn kept(director: &Director) -> String {
    let words = moments(director).into_iter().filter_map(|moment| match moment {
        Moment::Words(words) => Some(words.text().to_owned()),
        _ => None,
    });
    words.collect()
}

#[test]
fn a_passive_session_is_remembered_after_its_end() {
    let (mut director, now) = (director(ForwardingMethod::Nat, true), Time::ZERO);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Nat);
    let _ = wire.says(&mut director, now, "PASV\r\n");
    let _ = wire.hears(&mut director, now, "227 Entering Passive Mode (10,0,0,12,156,64).\r\n");
    let _ = wire.says(&mut director, now, "LIST\r\n");
    let vip = SocketAddr::new(VIP.parse().expect("the VIP"), 40000);
    director.landed(now, MARKS.data(1).0, &tcp(SocketAddr::new(client().ip(), 50000), vip, 1, 0x02, b""));
    let _ = wire.hears(&mut director, now, "150 Here it comes.\r\n");
    let _ = wire.hears(&mut director, now, "226 Done.\r\n");
    // Longer than IPVS remembers it.
    director.tick(Time::from_millis(1_000_000), &mut Vec::new());
    assert_eq!(director.sessions(now, 0, &Filter::default()).total, 0);
    let (address, told) = (Some([10, 0, 0, 12].into()), Some([192, 0, 2, 10].into()));
    assert_eq!(
        moments(&director),
        [
            Moment::Opened,
            Moment::Asked(Verb::Pasv),
            Moment::Named { code: 227, said: 40000, port: 40000, address, told },
            Moment::Began(Verb::List),
            Moment::Ended(Mode::Passive, Outcome::Used),
            Moment::Over(226),
            Moment::Closed,
        ]
    );
}

#[test]
fn a_refusal_keeps_the_servers_words_and_a_login_never_does() {
    let (mut director, now) = (director(ForwardingMethod::Nat, true), Time::ZERO);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    for (command, reply) in [
        ("USER joe\r\n", "500 joe who?\r\n"),
        ("PASS hunter2\r\n", "500 'PASS hunter2': what?\r\n"),
        ("hunter2\r\n", "500 hunter2 what?\r\n"),
        ("ACCT hunter2\r\nPASV\r\n", "500 hunter2\r\n"),
        ("", "500 Not now.\r\n"),
        ("PASV\r\n", "530 hunter2\r\n"),
    ] {
        let _ = wire.says(&mut director, now, command);
        let _ = wire.hears(&mut director, now, reply);
    }
    // Two replies in one segment: which is whose?
    let _ = wire.says(&mut director, now, "PASS hunter2\r\nLIST\r\n");
    let _ = wire.hears(&mut director, now, "500 hunter2?\r\n425 hunter2?\r\n");
    assert!(!kept(&director).contains("hunter2") && !kept(&director).contains("joe"), "{:?}", moments(&director));
    let _ = wire.says(&mut director, now, "LIST\r\n");
    let _ = wire.hears(&mut director, now, "425-Many\r\n425 Fail\x1bed to connect.\r\n");
    assert!(kept(&director).ends_with("Fail.ed to connect."), "{:?}", moments(&director));
    let last = director.account(now, Whom::Last);
    assert_eq!((last.client, last.port), (Some(client().ip()), Some(client().port())));
}

#[test]
fn what_opens_nothing_is_remembered() {
    let (mut director, now) = (director(ForwardingMethod::Nat, true), Time::ZERO);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    let _ = wire.says(&mut director, now, "PORT 10,0,0,99,200,10\r\n");
    let _ = wire.hears(&mut director, now, "500 What?\r\n");
    let _ = wire.says(&mut director, now, "PASV\r\n");
    let _ = wire.hears(&mut director, now, "227 Entering Passive Mode (10,0,0,11,200,10).\r\n");
    let moments = moments(&director);
    assert!(moments.contains(&Moment::Refused(Verb::Port, RefuseReason::ThirdParty)), "{moments:?}");
    assert!(moments.contains(&Moment::Undeclared(51210)), "{moments:?}");
}

#[test]
fn one_that_is_not_read_is_remembered_with_the_limit() {
    let mut director = director(ForwardingMethod::Dr, false);
    director.setup.limits.client_sessions = 1;
    let _ = Wire::new(client(), 0, ForwardingMethod::Dr).says(&mut director, Time::ZERO, "NOOP\r\n");
    let other = SocketAddr::new(client().ip(), 50000);
    let mut unread = Wire::new(other, 0, ForwardingMethod::Dr);
    for _ in 0..50 {
        let _ = unread.says(&mut director, Time::ZERO, "NOOP\r\n");
    }
    let happenings = director.account(Time::ZERO, Whom::Session(other)).happenings;
    let limited: Vec<_> = happenings.iter().filter(|one| one.moment == Moment::Limited("client_sessions")).collect();
    assert_eq!(limited.iter().map(|one| (one.client, one.session)).collect::<Vec<_>>(), [(other, None)]);
}

#[test]
fn data_connections_of_nobody_are_told_with_whom_they_concern() {
    let mut director = director(ForwardingMethod::Nat, false);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    let at = Time::from_millis(1000);
    let _ = wire.says(&mut director, at, "PASV\r\n");
    let vip = SocketAddr::new(VIP.parse().expect("the VIP"), 31005);
    let end = |address: [u8; 4], port: u16| SocketAddr::from((address, port));
    let later = Time::from_millis(2000);
    for (from, to, flags) in [
        (end([198, 51, 100, 1], 1), vip, 0x02),
        (SocketAddr::new(client().ip(), 1), vip, 0x02),
        (server(0), SocketAddr::new(client().ip(), 50123), 0x02),
        (SocketAddr::new(client().ip(), 50123), SocketAddr::new(vip.ip(), 20), 0x12),
        // of clients that nobody knows
        (server(0), end([198, 51, 100, 1], 50123), 0x02),
        (end([198, 51, 100, 1], 50123), SocketAddr::new(vip.ip(), 20), 0x12),
    ] {
        director.unexpected(later, &tcp(from, to, 1, flags, b""));
    }
    director.unexpected(later, b"no packet");
    let account = director.account(later, Whom::Client(client().ip()));
    let kinds: Vec<_> = account.strangers.iter().map(|one| (one.kind, one.known)).collect();
    use StrangerKind::{Answer, Call, Syn};
    assert_eq!(kinds, [(Syn, false), (Syn, true), (Call, true), (Answer, true)]);
}

#[test]
fn data_connections_under_tls_are_remembered_as_the_clients() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Dr);
    let _ = wire.says(&mut director, Time::ZERO, "AUTH TLS\r\n");
    let _ = wire.says(&mut director, Time::ZERO, "\x16\x03\x01");
    let vip = |port| SocketAddr::new(VIP.parse().expect("the VIP"), port);
    for port in [31001, 31002] {
        let syn = tcp(SocketAddr::new(client().ip(), 50000), vip(port), 1, 0x02, b"");
        director.landed(Time::ZERO, MARKS.data(0).0, &syn);
        let stranger = tcp(SocketAddr::from(([198, 51, 100, 1], 1)), vip(port), 1, 0x02, b"");
        director.landed(Time::ZERO, MARKS.data(0).0, &stranger);
    }
    let last = moments(&director).last().copied();
    assert_eq!(last, Some(Moment::Landed { mode: Mode::Passive, port: 31002, times: 2 }));
    assert!(director.account(Time::ZERO, Whom::Client([198, 51, 100, 1].into())).happenings.is_empty());
}

#[test]
fn whom_is_read_from_what_people_write() {
    let address: IpAddr = "2001:db8::7".parse().expect("an address");
    for (text, whom) in [
        ("last", Some(Whom::Last)),
        ("203.0.113.5", Some(Whom::Client(client().ip()))),
        ("::ffff:203.0.113.5", Some(Whom::Client(client().ip()))),
        (CLIENT, Some(Whom::Session(client()))),
        ("2001:db8::7", Some(Whom::Client(address))),
        ("[2001:db8::7]:21", Some(Whom::Session(SocketAddr::new(address, 21)))),
        ("203.0.113.0/24", None),
        ("LAST", None),
        ("", None),
    ] {
        assert_eq!(text.parse().ok(), whom, "{text}");
    }
}
