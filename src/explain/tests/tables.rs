//! Each verdict, with its sentence and a word of its cure.

use super::*;
use crate::ftp::{RefuseReason, UnparsedReason};

type Row = (&'static str, Vec<(u64, Moment)>, Vec<Stranger>, &'static str, &'static str);

fn all(forwarding: ForwardingMethod, rows: Vec<Row>) {
    for (verdict, moments, strangers, sentence, cure) in rows {
        let told = told(&place(forwarding), &moments, strangers);
        assert_eq!(told.verdict.name(), verdict, "{told:#?}");
        assert_eq!(told.sentence, sentence);
        assert!(told.cure.clone().unwrap_or_default().contains(cure), "{told:#?}");
        assert_eq!(told.cure.is_none(), cure.is_empty(), "{told:#?}");
    }
}

#[test]
fn passive_in_nat() {
    use StrangerKind::Syn;
    let vip = |port| (VIP, port);
    let rows: Vec<Row> = vec![
        (
            "other_address",
            vec![(0, ASKED), (10, tells()), (11, LIST), (30_010, EXPIRED)],
            vec![
                stranger(20, Syn, ([198, 51, 100, 9], 1), vip(31005)),
                stranger(21, Syn, ([203, 0, 113, 1], 1), vip(31006)),
            ],
            "the data connection to port 31005 came from 198.51.100.9, and the control connection comes from 198.51.100.7: \
             only the address of the control connection is let in",
            "client_match: /24 in cluster downloads",
        ),
        (
            "no_syn",
            vec![
                (0, ASKED),
                (10, tells()),
                (11, LIST),
                (20_010, said(Verb::List, 425)),
                (20_010, words("No way.")),
                (20_010, Moment::Over(425)),
                (20_010, SUPERSEDED),
            ],
            vec![],
            "no SYN of 198.51.100.7 came for the data connection within 20 s",
            "tcpdump -ni any 'host 198.51.100.7 and tcp port 31005'",
        ),
        (
            "no_syn",
            vec![
                (0, ASKED),
                (10, tells()),
                (5010, Moment::Said(Verb::Quit)),
                (5010, SUPERSEDED),
                (5020, Moment::Closed),
            ],
            vec![],
            "no SYN of 198.51.100.7 came for the data connection within 5.0 s",
            "a firewall on the way",
        ),
        ("no_reply", vec![(0, ASKED)], vec![], "downloads/ftp1 has not named a port within 60 s", "look at the server"),
        (
            "not_rewritten",
            vec![(0, ASKED), (10, tells()), (10, Moment::NoRoom(227)), (30_010, EXPIRED)],
            vec![],
            "the server's reply had no room for the address or port that the client must be told",
            "EPSV",
        ),
        (
            "ports_taken",
            vec![(0, ASKED), (10, Moment::Crowded)],
            vec![],
            "no port of 31000-31999 was free for 198.51.100.7: as many of its data connections were awaited as there are ports",
            "a larger range",
        ),
        (
            "out_of_range",
            vec![(0, ASKED), (10, Moment::Undeclared(45000))],
            vec![],
            "downloads/ftp1 named passive port 45000, outside of its declared passive_ports 31000-31999: nothing is opened there",
            "pasv_min_port",
        ),
        (
            "too_late",
            vec![(0, ASKED), (10, tells()), (30_010, EXPIRED)],
            vec![stranger(40_010, Syn, (CLIENT.0, 40123), vip(31005))],
            "the data connection came 40 s after it could first come, when it was not expected any more",
            "pinhole_timeout of cluster downloads is 30 s",
        ),
        (
            "wrong_port",
            vec![(0, ASKED), (10, tells()), (30_010, EXPIRED)],
            vec![stranger(20, Syn, (CLIENT.0, 40123), vip(31006))],
            "the client was told port 31005, and connected to port 31006 of 192.0.2.10",
            "FTP helper",
        ),
        (
            "server_refused",
            vec![(0, ASKED), (10, said(Verb::Pasv, 500)), (10, words("Not today."))],
            vec![],
            "downloads/ftp1 refused PASV: 500 \"Not today.\"",
            "another mode",
        ),
        (
            "server_refused",
            vec![
                (0, ASKED),
                (10, tells()),
                (11, LIST),
                (12, said(Verb::List, 550)),
                (12, words("No.")),
                (12, Moment::Over(550)),
                (12, SUPERSEDED),
            ],
            vec![],
            "downloads/ftp1 refused LIST: 550 \"No.\"",
            "permissions",
        ),
        (
            "server_refused",
            vec![(0, Moment::Opened), (1, said(Verb::Pass, 530)), (2, Moment::Closed)],
            vec![],
            "downloads/ftp1 refused PASS: 530 (its words are not kept)",
            "the login was refused",
        ),
        (
            "reset",
            vec![
                (0, ASKED),
                (10, tells()),
                (11, LANDED),
                (12, LIST),
                (13, said(Verb::List, 425)),
                (13, words("No.")),
                (13, Moment::Over(425)),
            ],
            vec![],
            "the data connection reached downloads/ftp1, and was not taken there at port 31005: 425 \"No.\"",
            "ss -ltn",
        ),
        (
            "broke_off",
            vec![
                (0, ASKED),
                (10, tells()),
                (11, LANDED),
                (12, LIST),
                (9000, said(Verb::List, 426)),
                (9000, Moment::Over(426)),
            ],
            vec![],
            "the data connection to downloads/ftp1 was up, and broke off: 426 (its words are not kept)",
            "MTU",
        ),
        (
            "fine",
            vec![
                (0, Moment::Asked(Verb::Epsv)),
                (1, said(Verb::Epsv, 502)),
                (5, ASKED),
                (10, tells()),
                (11, LANDED),
                (12, LIST),
                (13, Moment::Over(226)),
            ],
            vec![],
            "nothing failed: 1 data connection(s) landed on downloads/ftp1",
            "",
        ),
        (
            "waiting",
            vec![(59_000, ASKED), (59_500, tells())],
            vec![],
            "the data connection may still come: it has been expected for 0.5 s",
            "",
        ),
        (
            "running",
            vec![(0, ASKED), (10, tells()), (11, LANDED), (12, LIST)],
            vec![],
            "the data connection has landed on downloads/ftp1, and the server has not said that the transfer is over",
            "",
        ),
        ("nothing_asked", vec![(0, Moment::Opened)], vec![], "the client has asked for no data connection", ""),
    ];
    all(ForwardingMethod::Nat, rows);
}

#[test]
fn passive_in_dr() {
    use StrangerKind::Syn;
    let vip = |port| (VIP, port);
    let rows: Vec<Row> = vec![
        (
            "other_address",
            vec![(0, ASKED), (5, LIST), (30_000, EXPIRED)],
            vec![
                stranger(20, Syn, ([203, 0, 113, 1], 1), vip(31007)),
                stranger(20, Syn, ([198, 51, 7, 9], 1), vip(31005)),
            ],
            "the data connection to port 31005 came from 198.51.7.9 (probably this client's), and the control connection comes \
             from 198.51.100.7: only the address of the control connection is let in",
            "client_match: /16",
        ),
        (
            "no_syn",
            vec![(0, ASKED), (30_000, EXPIRED)],
            vec![stranger(20, Syn, ([203, 0, 113, 1], 1), vip(31007))],
            "no SYN of 198.51.100.7 came for the data connection within 30 s",
            "pasv_address",
        ),
        (
            "landed",
            vec![(0, ASKED), (10, LANDED), (11, LIST)],
            vec![],
            "the data connection landed on downloads/ftp1; what became of it is not seen here, since the server's replies do not \
             pass the director",
            "the server's own log",
        ),
    ];
    all(ForwardingMethod::Dr, rows);
}

#[test]
fn active() {
    use StrangerKind::{Answer, Call};
    let nat: Vec<Row> = vec![
        (
            "no_call",
            vec![(0, CALLED), (1, LIST), (60_001, said(Verb::List, 425)), (60_001, Moment::Over(425))],
            vec![],
            "no SYN of downloads/ftp1 came for the data connection within 60 s",
            "default route",
        ),
        (
            "no_answer",
            vec![
                (0, CALLED),
                (1, LIST),
                (2, CALL_LANDED),
                (10_001, said(Verb::List, 425)),
                (10_001, Moment::Over(425)),
            ],
            vec![],
            "downloads/ftp1 called 198.51.100.7:50123, and the client's answer never came",
            "passive mode",
        ),
        (
            "no_answer",
            vec![(0, CALLED), (2, CALL_LANDED), (10_001, said(Verb::Port, 425))],
            vec![],
            "downloads/ftp1 called 198.51.100.7:50123, and the client's answer never came",
            "passive mode",
        ),
        (
            "too_late",
            vec![(0, CALLED), (1, LIST), (30_001, CALL_EXPIRED)],
            vec![stranger(35_001, Call, ([10, 0, 0, 11], 20), (CLIENT.0, 50123))],
            "the data connection came 35 s after it could first come, when it was not expected any more",
            "pinhole_timeout",
        ),
        (
            "bounce",
            vec![(0, Moment::Refused(Verb::Port, RefuseReason::ThirdParty)), (1, said(Verb::Port, 500))],
            vec![],
            "the PORT named another host than 198.51.100.7, where the control connection comes from: it was refused as a bounce",
            "passive mode",
        ),
        (
            "not_understood",
            vec![(0, Moment::Unread(Verb::Port, UnparsedReason::Malformed))],
            vec![],
            "the PORT could not be understood (malformed), so nothing was opened for it",
            "passive mode",
        ),
    ];
    all(ForwardingMethod::Nat, nat);
    let dr: Vec<Row> = vec![
        (
            "other_active_port",
            vec![(0, CALLED), (1, LIST), (30_001, CALL_EXPIRED)],
            vec![stranger(10, Answer, (CLIENT.0, 50123), (VIP, 41000))],
            "downloads/ftp1 called the client from port 41000, and is declared to call from 20: the client's answer is not let in",
            "active_port: 41000",
        ),
        (
            "no_call_or_answer",
            vec![(0, CALLED), (1, LIST), (30_001, CALL_EXPIRED)],
            vec![stranger(10, Answer, (CLIENT.0, 50999), (VIP, 41000))],
            "no SYN-ACK of 198.51.100.7 came within 30 s: downloads/ftp1 did not call, or the client's answer never came (the \
             server's own packets and replies do not pass the director)",
            "passive mode",
        ),
        // It has named a port, and asked for nothing.
        (
            "fine",
            vec![(0, CALLED), (30_001, CALL_EXPIRED)],
            vec![],
            "nothing failed: no data connection was waited for",
            "",
        ),
    ];
    all(ForwardingMethod::Dr, dr);
}

#[test]
fn what_cannot_be_read() {
    let landed = Moment::Landed { mode: Mode::Passive, port: 31001, times: 3 };
    let rows: Vec<Row> = vec![
        (
            "encrypted",
            vec![(2, landed), (5, Moment::Said(Verb::Auth)), (6, Moment::Blind(BlindReason::Tls)), (9, landed)],
            vec![stranger(4, StrangerKind::Syn, ([198, 51, 100, 9], 1), (VIP, 31002))],
            "the control connection is under TLS and cannot be read; 3 data connection(s) of 198.51.100.7 landed on \
             downloads/ftp1, and none came from elsewhere",
            "require_ssl_reuse",
        ),
        (
            "other_address",
            vec![(0, Moment::Said(Verb::Auth)), (1, Moment::Blind(BlindReason::Tls)), (9, landed)],
            vec![stranger(10, StrangerKind::Syn, ([198, 51, 100, 9], 1), (VIP, 31002))],
            "the data connection to port 31002 came from 198.51.100.9 (probably this client's), and the control connection comes \
             from 198.51.100.7: only the address of the control connection is let in",
            "client_match",
        ),
        (
            "unreadable",
            vec![(1, Moment::Blind(BlindReason::Garbage))],
            vec![],
            "the control connection cannot be read (garbage), so no data connection is expected",
            "trace",
        ),
        (
            "over_limit",
            vec![(0, Moment::Limited("memory")), (1, ASKED), (2, tells()), (30_002, EXPIRED)],
            vec![],
            "the client is over limits.memory, so its control connection passes without being read and its 227 is not rewritten",
            "raise limits.memory",
        ),
    ];
    all(ForwardingMethod::Nat, rows);
}

#[test]
fn what_comes_behind_a_good_transfer_or_was_taken_back_is_no_failure() {
    let landed = Moment::Ended(Mode::Passive, Outcome::Used);
    let good = [(0, ASKED), (10, tells()), (11, LIST), (12, landed), (20, Moment::Over(226))];
    let silent = [(300_000, said(Verb::List, 421)), (300_000, words("Timeout.")), (300_001, Moment::Closed)];
    let aborted = [
        (0, ASKED),
        (10, tells()),
        (11, LIST),
        (12, landed),
        (20, Moment::Said(Verb::Abor)),
        (21, said(Verb::List, 426)),
        (21, Moment::Over(426)),
    ];
    let another = [(0, Moment::Asked(Verb::Epsv)), (1, said(Verb::Epsv, 500))];
    let another = [&another[..], &good.map(|(at, moment)| (at + 10, moment))].concat();
    for moments in [[&good[..], &silent].concat(), aborted.to_vec(), another] {
        let told = told(&place(ForwardingMethod::Nat), &moments, vec![]);
        assert!(!told.verdict.is_failure(), "{told:#?}");
    }
    assert!(!Moment::Reply { verb: Some(Verb::List), code: 421 }.is_failure());
    assert!(!Moment::Reply { verb: Some(Verb::Auth), code: 530 }.is_failure());
    assert!(Moment::Reply { verb: Some(Verb::Pasv), code: 500 }.is_failure());
}
