use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::director::{Mode, Outcome, Stranger, StrangerKind, Words};
use crate::ftp::{BlindReason, Source, Verb};
use crate::lvs::{ForwardingMethod, PortRange};

mod tables;

const CLIENT: ([u8; 4], u16) = ([198, 51, 100, 7], 40122);
const VIP: [u8; 4] = [192, 0, 2, 10];

fn client() -> SocketAddr {
    CLIENT.into()
}

fn place(forwarding: ForwardingMethod) -> Place {
    Place {
        cluster: "downloads".into(),
        server: "ftp1".into(),
        vip: VIP.into(),
        address: [10, 0, 0, 11].into(),
        forwarding,
        passive_ports: PortRange::new(31000, 31999).expect("a range"),
        public_ports: None,
        active_port: 20,
        active_ports: None,
        timeout: Duration::from_secs(30),
        standing: Standing::Up,
    }
}

/// An account a minute after the beginning.
fn account(moments: &[(u64, Moment)], strangers: Vec<Stranger>) -> Account {
    let happening = |&(ms, moment): &(u64, Moment)| {
        let session = (!matches!(moment, Moment::Landed { .. })).then_some(1);
        Happening { at: Time::from_millis(ms), client: client(), session, index: 0, moment }
    };
    Account {
        now: Time::from_millis(60_000),
        client: Some(client().ip()),
        port: None,
        session: None,
        happenings: moments.iter().map(happening).collect(),
        strangers,
        pushed_out: None,
    }
}

fn stranger(ms: u64, kind: StrangerKind, source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Stranger {
    Stranger { at: Time::from_millis(ms), kind, source: source.into(), destination: destination.into(), known: false }
}

const ASKED: Moment = Moment::Asked(Verb::Pasv);
const EXPIRED: Moment = Moment::Ended(Mode::Passive, Outcome::Expired);
const SUPERSEDED: Moment = Moment::Ended(Mode::Passive, Outcome::Superseded);
const LANDED: Moment = Moment::Ended(Mode::Passive, Outcome::Used);
const LIST: Moment = Moment::Began(Verb::List);
const CALLED: Moment = Moment::Called { verb: Verb::Port, port: 50123, source: Source::Command };
const CALL_LANDED: Moment = Moment::Ended(Mode::Active, Outcome::Used);
const CALL_EXPIRED: Moment = Moment::Ended(Mode::Active, Outcome::Expired);

fn said(verb: Verb, code: u16) -> Moment {
    Moment::Reply { verb: Some(verb), code }
}

fn words(text: &str) -> Moment {
    Moment::Words(Words::pieces(text).next().expect("a text"))
}

const fn tells() -> Moment {
    let (address, told) = (Some(std::net::Ipv4Addr::new(10, 0, 0, 11)), Some(std::net::Ipv4Addr::new(192, 0, 2, 10)));
    Moment::Named { code: 227, said: 31005, port: 31005, address, told }
}

/// What is told of a session: the name of the verdict, its sentence and its cure.
fn told(place: &Place, moments: &[(u64, Moment)], strangers: Vec<Stranger>) -> Explanation {
    explain(&account(moments, strangers), |_| Some(place.clone()), &[])
}

#[test]
fn a_server_that_is_down() {
    let down = Place { standing: Standing::Down("connect: timed out".into()), ..place(ForwardingMethod::Nat) };
    for moments in [
        vec![(0, ASKED)],
        vec![(0, Moment::Opened)],
        vec![(0, ASKED), (10, tells()), (11, LANDED), (12, LIST)],
        vec![(0, ASKED), (10, tells()), (30_010, EXPIRED)],
        vec![(0, Moment::Blind(BlindReason::Tls))],
    ] {
        let told = told(&down, &moments, vec![]);
        assert_eq!(told.sentence, "downloads/ftp1 is down: connect: timed out", "{moments:?}");
        assert!(told.verdict.is_failure() && told.cure.is_some());
    }
}

#[test]
fn where_clients_are_told_public_ports() {
    let place = Place { public_ports: PortRange::new(8192, 8200), ..place(ForwardingMethod::Nat) };
    let named = Moment::Named { code: 229, said: 31005, port: 8193, address: None, told: None };
    for (moments, verdict, sentence, cure) in [
        (
            vec![(0, ASKED), (10, Moment::Crowded)],
            "ports_taken",
            "no port of 8192-8200 was free",
            "passive.public_ports",
        ),
        (vec![(0, ASKED), (10, named), (30_010, EXPIRED)], "no_syn", "no SYN", "must let ports 8192-8200 pass"),
        (vec![(0, Moment::Blind(BlindReason::Tls))], "encrypted", "under TLS", "without passive.public_ports"),
    ] {
        let told = told(&place, &moments, vec![]);
        let texts = (told.sentence.as_str(), told.cure.unwrap_or_default());
        assert_eq!(told.verdict.name(), verdict, "{texts:?}");
        assert!(texts.0.contains(sentence) && texts.1.contains(cure), "{texts:?}");
    }
}

#[test]
fn who_was_never_seen() {
    let nobody = account(&[], vec![]);
    let never = explain(&nobody, |_| None, &[]);
    assert_eq!((never.verdict.name(), never.session, never.sessions), ("never_seen", None, 0));
    let closed = [("downloads".to_owned(), "2 down, 0 drained".to_owned())];
    let none = explain(&nobody, |_| None, &closed);
    assert_eq!(
        (none.verdict.name(), none.sentence.as_str()),
        (
            "no_servers",
            "no control connection of 198.51.100.7 was seen, and no server takes new sessions in downloads (2 down, 0 drained)"
        )
    );
    let last = explain(&Account { client: None, ..nobody.clone() }, |_| None, &closed);
    assert_eq!((last.verdict.name(), last.cure), ("no_failure", None));
    let mut unread = account(&[(0, Moment::Limited("client_sessions"))], vec![]);
    unread.happenings[0].session = None;
    let unread = explain(&unread, |_| Some(place(ForwardingMethod::Dr)), &[]);
    assert_eq!((unread.verdict.name(), unread.index), ("over_limit", Some(0)));
}

#[test]
fn of_several_sessions_the_last_that_failed_is_told_of() {
    let mut several = account(
        &[
            (0, ASKED),
            (1, tells()),
            (30_001, EXPIRED),
            (31_000, ASKED),
            (31_001, tells()),
            (31_002, LANDED),
            (31_003, Moment::Over(226)),
        ],
        vec![],
    );
    for later in &mut several.happenings[3..] {
        (later.session, later.client) = (Some(2), (CLIENT.0, 40999).into());
    }
    let of = |several: &Account| explain(several, |_| Some(place(ForwardingMethod::Nat)), &[]);
    let failed = of(&several);
    assert_eq!((failed.session, failed.verdict.name(), failed.sessions), (Some(client()), "no_syn", 2));
    let other = of(&Account { port: Some(40999), ..several.clone() });
    assert_eq!((other.session.map(|end| end.port()), other.verdict.name()), (Some(40999), "fine"));
    let unknown = of(&Account { port: Some(1), ..several });
    assert_eq!((unknown.session, unknown.verdict.name()), (None, "never_seen"));
}

#[test]
fn it_says_what_was_expected_and_what_came() {
    let nat = place(ForwardingMethod::Nat);
    let syn = stranger(510, StrangerKind::Syn, ([198, 51, 100, 9], 4711), (VIP, 31005));
    let moments = [
        (0, ASKED),
        (10, tells()),
        (11, LIST),
        (30_000, said(Verb::List, 425)),
        (30_000, words("Failed \"to\" connect")),
        (30_000, words("ion.")),
        (30_000, Moment::Over(425)),
        (30_000, SUPERSEDED),
    ];
    let other = told(&nat, &moments, vec![syn]);
    assert_eq!(other.expected.as_deref(), Some("a SYN from 198.51.100.7 to 192.0.2.10:31005, within 30 s"));
    assert_eq!(other.came.as_deref(), Some("a SYN from 198.51.100.9:4711 to 192.0.2.10:31005"));
    let lines: Vec<_> = other.lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(
        lines,
        [
            "PASV",
            "227: 10.0.0.11:31005, and the client was told 192.0.2.10:31005",
            "LIST",
            "425 to LIST \"Failed \\\"to\\\" connection.\"",
            "the client's data connection is not waited for any longer",
        ]
    );
    let own = Stranger { source: (CLIENT.0, 4711).into(), ..syn };
    let late = told(&nat, &moments, vec![own]);
    assert_eq!(late.lines[3].text, "unexpected: a SYN from 198.51.100.7:4711 to 192.0.2.10:31005");
    let none = told(&nat, &moments, vec![]);
    assert_eq!(none.came.as_deref(), Some("425 \"Failed \\\"to\\\" connection.\""));
    let dr = told(&place(ForwardingMethod::Dr), &[(0, CALLED), (1, LIST), (30_001, CALL_EXPIRED)], vec![]);
    assert_eq!(
        dr.expected.as_deref(),
        Some("the SYN-ACK of 198.51.100.7:50123 to port 20 of 192.0.2.10: its answer to ftp1")
    );
    assert_eq!(dr.came.as_deref(), Some("nothing, for 30 s"));
}

#[test]
fn a_private_address_in_the_227_is_noticed() {
    let (told_address, address) = (Some([192, 168, 1, 1].into()), None);
    let named = Moment::Named { code: 227, said: 31005, port: 31005, address, told: told_address };
    let told = told(&place(ForwardingMethod::Nat), &[(0, ASKED), (1, named), (30_001, EXPIRED)], vec![]);
    assert!(told.cure.clone().unwrap_or_default().contains("192.168.1.1, which is a private address"), "{told:?}");
}

#[test]
fn a_flood_is_owned_up_to() {
    let flood = (0..100).map(|n| stranger(n, StrangerKind::Syn, ([203, 0, 113, 1], 1), (VIP, 31500))).collect();
    let told = told(&place(ForwardingMethod::Nat), &[(0, ASKED), (1, tells()), (30_001, EXPIRED)], flood);
    assert!(told.sentence.ends_with("it may be among them)"), "{}", told.sentence);
}

/// Whatever a server says, nothing but printable ASCII is told, and a quotation mark ends nothing.
#[test]
fn hostile_words_are_escaped() {
    let hostile = "\x1b]0;x\x07 \"; rm\u{9b}";
    let told =
        told(&place(ForwardingMethod::Nat), &[(0, ASKED), (1, said(Verb::Pasv, 500)), (1, words(hostile))], vec![]);
    let texts = told.lines.iter().map(|line| &line.text).chain([&told.sentence]).chain(&told.came).chain(&told.cure);
    for text in texts {
        assert!(text.chars().all(|c| c == '−' || (' '..='~').contains(&c)), "{text:?}");
    }
    assert_eq!(told.sentence, "downloads/ftp1 refused PASV: 500 \".]0;x. \\\"; rm..\"");
}

#[test]
fn what_had_to_make_room_may_have_been_the_clients() {
    let moments = [(10_000, ASKED), (10_010, tells()), (40_010, Moment::Ended(Mode::Passive, Outcome::Expired))];
    for (until, missing) in [(None, false), (Some(9_000), false), (Some(20_000), true)] {
        let account = Account { pushed_out: until.map(Time::from_millis), ..account(&moments, vec![]) };
        let told = explain(&account, |_| Some(place(ForwardingMethod::Nat)), &[]);
        assert_eq!(told.verdict.name(), "no_syn");
        assert_eq!(told.sentence.contains("it may be among them"), missing, "{until:?}: {}", told.sentence);
    }
}
