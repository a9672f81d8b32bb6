//! Every transfer is counted once, by how it ended.

use proptest::prelude::*;

use super::*;
use TransferOutcome::{Aborted, Complete, NoDataConnection, Refused, ServerError, Unknown};

const NAT: ForwardingMethod = ForwardingMethod::Nat;
const EPSV: &str = "229 Entering Extended Passive Mode (|||31007|)\r\n";

/// What was counted: verb, mode, outcome, how often.
fn counted(director: &Director) -> Vec<(Verb, Mode, TransferOutcome, u64)> {
    let snapshot = director.snapshot();
    let servers = snapshot.clusters["downloads"].transfers.values();
    let all = servers.flatten().map(|(&(verb, mode, outcome), &count)| (verb, mode, outcome, count));
    all.collect()
}

/// `C` lines are the client's, `S` lines the server's, each in a packet of its own; `\n` parts lines of one packet.
fn talk(director: &mut Director, wire: &mut Wire, lines: &[&str]) {
    for line in lines {
        let (who, text) = line.split_at(1);
        let text = text.replace('\n', "\r\n") + "\r\n";
        let (_, _, mut actions) =
            if who == "C" { wire.says(director, Time::ZERO, &text) } else { wire.hears(director, Time::ZERO, &text) };
        read_on(director, Time::ZERO, &mut actions);
        // the kernel writes every row
        for action in actions {
            if let Action::Rows { ticket: Some(ticket), .. } = action {
                director.rows_done(ticket, false, &mut Vec::new());
            }
        }
    }
}

fn hang_up(director: &mut Director, wire: &mut Wire) {
    let mut rst = tcp(wire.client, wire.far_end(), wire.sent, 0x14, b"");
    let _ = wire.offer(director, Time::ZERO, Hook::Postrouting, &mut rst);
}

fn data(port: u16) -> Vec<u8> {
    let vip = SocketAddr::new(VIP.parse().expect("the VIP"), port);
    tcp(SocketAddr::new(client().ip(), 50000), vip, 1, 0x02, b"")
}

/// What is counted of a dialogue, and again when its session is gone.
fn outcomes_of(lines: &[&str]) -> Vec<(Verb, TransferOutcome, u64)> {
    let mut director = director(NAT, false);
    let mut wire = Wire::new(client(), 0, NAT);
    talk(&mut director, &mut wire, lines);
    hang_up(&mut director, &mut wire);
    assert_eq!(director.table.len(), 0);
    counted(&director).into_iter().map(|(verb, _, outcome, count)| (verb, outcome, count)).collect()
}

#[test]
fn by_the_servers_own_final_reply() {
    let retr = Verb::Retr;
    for (lines, wanted) in [
        (&["CRETR f", "S150 x", "S226 x"][..], &[(retr, Complete, 1)][..]),
        (&["CRETR f", "S125 x", "S250 x"], &[(retr, Complete, 1)]),
        (&["CRETR f", "S550 no such file"], &[(retr, Refused, 1)]),
        (&["CRETR f", "S530 log in first"], &[(retr, Refused, 1)]),
        (&["CRETR f", "S425 use PASV first"], &[(retr, NoDataConnection, 1)]),
        (&["CRETR f", "S150 x", "S425 nobody came"], &[(retr, NoDataConnection, 1)]),
        (&["CRETR f", "S150 x", "S426 they left"], &[(retr, Aborted, 1)]),
        (&["CRETR f", "S150 x", "S451 disk"], &[(retr, ServerError, 1)]),
        (&["CSTOR f", "S150 x", "S552 full"], &[(Verb::Stor, ServerError, 1)]),
        (&["CLIST", "S150-x\n150 y", "S226-x\n some\n226 y"], &[(Verb::List, Complete, 1)]),
        // nothing was said of it
        (&["CRETR f"], &[(retr, Unknown, 1)]),
        (&["CRETR f", "S150 x"], &[(retr, Unknown, 1)]),
        // no transfer
        (&["CNOOP", "S200 x", "CSIZE f", "S550 x", "CPASV", "S425 x"], &[]),
    ] {
        assert_eq!(outcomes_of(lines), wanted, "{lines:?}");
    }
}

#[test]
fn an_abort_is_counted_once_however_it_is_answered() {
    let retr = Verb::Retr;
    for (lines, wanted) in [
        (&["CRETR f", "S150 x", "CABOR", "S426 x", "S226 x"][..], Aborted),
        (&["CRETR f", "S150 x", "CABOR", "S426 x\n226 x", "CNOOP", "S200 x"], Aborted),
        (&["CRETR f", "S150 x", "CABOR", "S225 x", "CNOOP", "S200 x"], Aborted),
        (&["CRETR f", "S150 x", "CABOR", "S451 x", "S226 x"], Aborted),
        // it was done already
        (&["CRETR f", "S150 x", "CABOR", "S226 x", "S225 x"], Complete),
        (&["CRETR f", "S150 x", "S226 x", "CABOR", "S225 x"], Complete),
        // the server does not know it
        (&["CRETR f", "S150 x", "CABOR", "S502 x", "S226 x"], Complete),
        (&["CRETR f", "CABOR", "S550 x", "S225 x"], Refused),
        // the client gives up waiting
        (&["CRETR f", "S150 x", "CABOR"], Aborted),
    ] {
        assert_eq!(outcomes_of(lines), [(retr, wanted, 1)], "{lines:?}");
    }
    // and the next transfer is its own
    let lines = ["CRETR f", "S150 x", "CABOR", "S426 x", "CRETR g", "S150 x", "S226 x"];
    assert_eq!(outcomes_of(&lines), [(retr, Complete, 1), (retr, Aborted, 1)]);
}

#[test]
fn pipelined_verbs_each_have_their_own() {
    for (lines, wanted) in [
        (
            &["CTYPE I\nRETR a\nRETR b\nLIST", "S200 x\n150 x", "S226 x", "S550 x", "S150 x\n426 x"][..],
            &[(Verb::Retr, Complete, 1), (Verb::Retr, Refused, 1), (Verb::List, Aborted, 1)][..],
        ),
        (&["CRETR a\nNOOP", "S150 x", "S200 answered meanwhile", "S426 x"], &[(Verb::Retr, Aborted, 1)]),
        (&["CRETR a\nQUIT", "S150 x", "S226 x", "S221 x"], &[(Verb::Retr, Complete, 1)]),
        // more than anybody numbers: the oldest are given up
        (
            &["CRETR a\nRETR b\nRETR c\nRETR d\nRETR e", "S550 a", "S550 b", "S550 c", "S550 d", "S550 e"],
            &[(Verb::Retr, Refused, 3), (Verb::Retr, Unknown, 2)],
        ),
    ] {
        assert_eq!(outcomes_of(lines), wanted, "{lines:?}");
    }
}

#[test]
fn what_goes_dark_or_elsewhere_is_unknown() {
    let tls = ["CRETR f", "S150 x", "CAUTH TLS", "S234 x"];
    assert_eq!(outcomes_of(&tls), [(Verb::Retr, Unknown, 1)]);
    let mut director = director(NAT, false);
    let mut wire = Wire::new(client(), 0, NAT);
    talk(&mut director, &mut wire, &["CRETR f", "S150 x"]);
    director.gave_up(Time::ZERO, &[VIP.parse().expect("the VIP")], &mut Vec::new());
    talk(&mut director, &mut wire, &["S226 x", "CRETR f", "S150 x", "S226 x"]);
    hang_up(&mut director, &mut wire);
    assert_eq!(counted(&director), [(Verb::Retr, Mode::Active, Complete, 1), (Verb::Retr, Mode::Active, Unknown, 1)]);
}

#[test]
fn where_replies_are_not_seen_the_verb_is_counted_at_once() {
    for forwarding in [ForwardingMethod::Dr, ForwardingMethod::Tun] {
        let mut director = director(forwarding, false);
        let mut wire = Wire::new(client(), 1, forwarding);
        talk(&mut director, &mut wire, &["CEPSV\nRETR a\nPORT 203,0,113,5,200,10\nSTOR b"]);
        let both = [(Verb::Retr, Mode::Passive, Unknown, 1), (Verb::Stor, Mode::Active, Unknown, 1)];
        assert_eq!(counted(&director), both);
        director.landed(Time::ZERO, MARKS.data(1).0, &data(32010));
        assert!(director.table.iter().all(|entry| entry.under_way.is_none()), "nothing is kept");
        talk(&mut director, &mut wire, &["CABOR\nQUIT"]);
        hang_up(&mut director, &mut wire);
        assert_eq!(counted(&director), both);
    }
}

#[test]
fn the_time_runs_from_the_first_packet_to_the_final_reply() {
    for landing_first in [true, false] {
        let mut director = director(NAT, false);
        let mut wire = Wire::new(client(), 0, NAT);
        director.log_transfers();
        talk(&mut director, &mut wire, &["CEPSV"]);
        let _ = wire.hears(&mut director, Time::from_millis(100), EPSV);
        if landing_first {
            director.landed(Time::from_millis(200), MARKS.data(0).0, &data(31007));
            let _ = wire.says(&mut director, Time::from_millis(300), "RETR f\r\n");
        } else {
            let _ = wire.says(&mut director, Time::from_millis(150), "RETR f\r\n");
            director.landed(Time::from_millis(200), MARKS.data(0).0, &data(31007));
        }
        let _ = wire.hears(&mut director, Time::from_millis(400), "150 x\r\n");
        // long after the expectation is forgotten
        director.tick(Time::from_millis(30_000), &mut Vec::new());
        let _ = wire.hears(&mut director, Time::from_millis(60_200), "226 x\r\n");
        let seconds = &director.snapshot().clusters["downloads"].transfer_seconds;
        assert_eq!((seconds.count(), seconds.sum), (1, Duration::from_secs(60)));
        let (records, lost) = director.take_transfers();
        assert_eq!((records.len(), lost), (1, 0));
        assert_eq!((records[0].duration, records[0].code), (Some(Duration::from_secs(60)), Some(226)));
        assert_eq!((records[0].client, &*records[0].server, records[0].mode), (client(), "rs0", Mode::Passive));
        // one that nobody saw land, or end, or whose SYN came to nothing, has none
        talk(&mut director, &mut wire, &["CRETR f", "S150 x", "S226 x", "CEPSV"]);
        let _ = wire.hears(&mut director, Time::ZERO, EPSV);
        director.landed(Time::ZERO, MARKS.data(0).0, &data(31007));
        talk(&mut director, &mut wire, &["CRETR f", "S425 x", "CEPSV"]);
        let _ = wire.hears(&mut director, Time::ZERO, EPSV);
        director.landed(Time::ZERO, MARKS.data(0).0, &data(31007));
        talk(&mut director, &mut wire, &["CRETR f", "S150 x"]);
        hang_up(&mut director, &mut wire);
        assert_eq!(director.snapshot().clusters["downloads"].transfer_seconds.count(), 1);
        let durations: Vec<_> = director.take_transfers().0.into_iter().map(|record| record.duration).collect();
        assert_eq!(durations, [None, None, None]);
    }
}

#[test]
fn a_landing_for_another_data_connection_is_not_the_transfers() {
    let mut director = director(NAT, false);
    let mut wire = Wire::new(client(), 0, NAT);
    talk(&mut director, &mut wire, &["CEPSV"]);
    let _ = wire.hears(&mut director, Time::ZERO, EPSV);
    director.landed(Time::ZERO, MARKS.data(0).0, &data(31007));
    talk(&mut director, &mut wire, &["CPORT 203,0,113,5,200,10", "S200 x", "CRETR f", "S150 x", "S226 x"]);
    assert_eq!(counted(&director), [(Verb::Retr, Mode::Active, Complete, 1)]);
    assert_eq!(director.snapshot().clusters["downloads"].transfer_seconds.count(), 0);
    assert!(director.table.iter().all(|entry| entry.under_way.is_none()), "an idle session owns nothing");
}

#[test]
fn names_are_told_where_they_are_wanted() {
    for names in [true, false] {
        let mut director = director(NAT, false);
        director.log_transfers();
        for (_, policies) in &mut director.setup.placements {
            policies.explicit.names = names;
        }
        let mut wire = Wire::new(client(), 0, NAT);
        let lines = [
            "CUSER joe",
            "S331 x",
            "CPASS hunter2\nCWD pub\nRETR a b",
            "S230 x\n250 x",
            "S550 x",
            "CNLST",
            "S150 x\n226 x",
        ];
        talk(&mut director, &mut wire, &lines);
        let records = director.take_transfers().0;
        let text = |name: &Option<Box<[u8]>>| name.as_ref().map(|name| String::from_utf8_lossy(name).into_owned());
        let told: Vec<_> = records.iter().map(|record| (text(&record.user), text(&record.path))).collect();
        let some = |name: &str| Some(name.to_owned());
        let wanted = [(some("joe"), some("a b")), (some("joe"), some(""))];
        assert_eq!(told, if names { wanted } else { Default::default() });
        assert_eq!(director.table.iter().filter(|entry| entry.under_way.is_some()).count(), usize::from(names));
    }
}

#[test]
fn a_reload_takes_no_count_back() {
    let mut director = director(NAT, false);
    let mut wire = Wire::new(client(), 2, NAT);
    talk(&mut director, &mut wire, &["CRETR f", "S150 x", "S226 x", "CRETR g", "S150 x"]);
    let before = director.setup.clone();
    let mut without = before.clone();
    without.placements.pop();
    director.configure(without);
    let after = [(Verb::Retr, Mode::Active, Complete, 1), (Verb::Retr, Mode::Active, Unknown, 1)];
    assert_eq!(counted(&director), after);
    director.configure(before.clone());
    assert_eq!(counted(&director), after);
    // another server has the name's place
    let mut renamed = before;
    renamed.clusters[0].servers[2] = "rs9".into();
    talk(&mut director, &mut wire, &["CRETR h"]);
    director.configure(renamed);
    talk(&mut director, &mut wire, &["CLIST"]);
    hang_up(&mut director, &mut wire);
    let transfers = &director.snapshot().clusters["downloads"].transfers;
    let of = |server: &str| transfers[server].values().sum::<u64>();
    assert_eq!((of("rs2"), of("rs9")), (3, 1));
}

/// Lines that clients and servers say, in any order: what makes sense and what does not.
const CLIENT: &[&str] = &[
    "RETR f",
    "STOR f",
    "LIST",
    "MLSD",
    "ABOR",
    "NOOP",
    "STAT",
    "PASV",
    "EPSV",
    "PORT 203,0,113,5,200,10",
    "AUTH TLS",
    "REIN",
    "QUIT",
    "\u{16}\u{3}\u{1}\u{0}",
    "XYZZY what",
    "RETR a\nRETR b",
    "PASV\nRETR f\nABOR\nRETR f",
    "",
];
const SERVER: &[&str] = &[
    "150 x",
    "226 x",
    "550 x",
    "425 x",
    "426 x",
    "451 x",
    "200 x",
    "227 (10,0,0,11,121,26)",
    "229 (|||31007|)",
    "221 x",
    "234 x",
    "502 x",
    "150-x",
    "150 x\n226 x",
    "what",
    "426 x\n226 x",
    "331 x",
    "",
];

proptest! {
    /// The sum of all outcomes is the number of transfer verbs that were read.
    #[test]
    fn every_verb_is_counted_once(
        nat in any::<bool>(),
        script in prop::collection::vec((0..8_u8, any::<prop::sample::Index>()), 1..40),
    ) {
        let forwarding = if nat { NAT } else { ForwardingMethod::Dr };
        let mut director = director(forwarding, false);
        director.log_transfers();
        let mut wire = Wire::new(client(), 0, forwarding);
        for (what, which) in script {
            match what {
                0..=3 => talk(&mut director, &mut wire, &[&format!("C{}", CLIENT[which.index(CLIENT.len())])]),
                4..=6 if nat => talk(&mut director, &mut wire, &[&format!("S{}", SERVER[which.index(SERVER.len())])]),
                7 if which.index(4) == 0 => hang_up(&mut director, &mut wire),
                7 if which.index(4) == 1 => director.gave_up(Time::ZERO, &[VIP.parse().expect("the VIP")], &mut Vec::new()),
                7 => director.landed(Time::ZERO, MARKS.data(0).0, &data(31007)),
                // bytes that were not seen here
                _ => (wire.sent, wire.answered) = (wire.sent + 3, wire.answered + 7),
            }
        }
        director.tick(Time::from_millis(60_000), &mut Vec::new());
        director.tick(Time::from_millis(2_000_000), &mut Vec::new());
        prop_assert_eq!(director.table.len(), 0);
        let commands = &director.snapshot().clusters["downloads"].commands;
        let verbs = Verb::all().filter(|verb| verb.transfers());
        let read: u64 = verbs.filter_map(|verb| commands.get(verb.name())).sum();
        let all: u64 = counted(&director).into_iter().map(|(.., count)| count).sum();
        prop_assert_eq!(all, read);
        prop_assert_eq!(director.take_transfers().0.len() as u64, read);
    }
}

#[test]
fn where_replies_were_lost_a_transfer_is_unknown_and_the_next_is_its_own() {
    let mut director = director(NAT, false);
    let mut wire = Wire::new(client(), 0, NAT);
    talk(&mut director, &mut wire, &["CUSER x", "S230 y", "CEPSV", EPSV_LINE, "CRETR f"]);
    director.lost_replies(Time::ZERO);
    wire.answered += 30;
    talk(&mut director, &mut wire, &["CRETR g", "S150 x", "S226 x"]);
    let all = counted(&director);
    let outcomes: Vec<_> = all.iter().map(|&(_, _, outcome, count)| (outcome, count)).filter(|&(_, n)| n > 0).collect();
    assert_eq!(outcomes, [(Complete, 1), (Unknown, 1)], "{all:?}");
    assert!(director.table.iter().all(|entry| entry.under_way.as_ref().is_none_or(|some| some.open() == 0)));
}

const EPSV_LINE: &str = "S229 Entering Extended Passive Mode (|||31007|)";
