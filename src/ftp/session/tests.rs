use super::super::testing::Wire;

#[test]
fn an_ordinary_session() {
    let mut wire = Wire::nat();
    wire.server("220 hello\r\n");
    wire.client("USER anonymous\r\n");
    wire.server("331 password\r\n");
    wire.client("PASS secret\r\n");
    wire.server("230 in\r\n");
    wire.client("PASV\r\n");
    let out = wire.server("227 Entering Passive Mode (10,0,0,11,121,26).\r\n").unwrap();
    assert_eq!(String::from_utf8_lossy(&out), "227 Entering Passive Mode(192,0,2,10,121,26).\r\n");
    wire.client("RETR x\r\n");
    wire.server("150 coming\r\n226 done\r\n");
    wire.client("EPSV\r\n");
    wire.server("229 Entering Extended Passive Mode (|||31002|)\r\n");
    wire.client("PORT 198,51,100,7,200,10\r\n");
    let out = wire.client("PORT 198,51,100,8,200,10\r\n");
    assert_eq!(String::from_utf8_lossy(&out), "XXXX XXXXXXXXXXXXXXXXXXX\r\n");
    wire.client("QUIT\r\n");
    let told = wire.told();
    assert_eq!(
        told,
        [
            "reply 220",
            "command USER",
            "reply 331",
            "command PASS",
            "reply 230",
            "command PASV",
            "ask passive PASV",
            "expect passive PASV 227 10.0.0.11:31002 as 31002",
            "rewrite 227 10.0.0.11:31002 to 192.0.2.10:31002",
            "reply 227",
            "command RETR",
            "transfer RETR",
            "reply 150",
            "reply 226",
            "transfer over 226",
            "command EPSV",
            "ask passive EPSV",
            "expect passive EPSV 229 *:31002 as 31002",
            "reply 229",
            "command PORT",
            "expect active PORT 198.51.100.7:51210",
            "command PORT",
            "refuse PORT third-party",
            "command QUIT",
            "cancel quit",
        ]
    );
}

#[test]
fn size() {
    assert!(size_of::<super::Session>() <= 120, "{}", size_of::<super::Session>());
    println!("size of an idle session: {}", size_of::<super::Session>());
}

/// How a session got where it is, and what is pending there.
struct State {
    name: &'static str,
    /// `C…` and `S…` lines.
    steps: &'static [&'static str],
    pending: bool,
    began: bool,
    named: bool,
    epsv_all: bool,
}

const STATES: &[State] = &[
    State { name: "new", steps: &[], pending: false, began: false, named: false, epsv_all: false },
    State { name: "asked", steps: &["CPASV"], pending: true, began: false, named: true, epsv_all: false },
    State {
        name: "passive",
        steps: &["CEPSV", "S229 (|||31002|)"],
        pending: true,
        began: false,
        named: true,
        epsv_all: false,
    },
    State {
        name: "active",
        steps: &["CPORT 198,51,100,7,200,10", "S200 ok"],
        pending: true,
        began: false,
        named: true,
        epsv_all: false,
    },
    State {
        name: "transfer",
        steps: &["CPORT 198,51,100,7,200,10", "S200 ok", "CRETR a"],
        pending: true,
        began: true,
        named: true,
        epsv_all: false,
    },
    State {
        name: "aborted",
        steps: &["CPASV", "S227 (1,2,3,4,5,6)", "CABOR", "S226 ok"],
        pending: false,
        began: false,
        named: true,
        epsv_all: false,
    },
    State { name: "default port", steps: &["CRETR a"], pending: true, began: true, named: false, epsv_all: false },
    State {
        name: "epsv all",
        steps: &["CEPSV ALL", "S200 ok"],
        pending: false,
        began: false,
        named: false,
        epsv_all: true,
    },
];

/// What a command tells in a state, by the RFCs' words and not by the table's.
fn expected(verb: &str, state: &State) -> Vec<String> {
    let mut told = vec![format!("command {verb}")];
    match verb {
        "PORT" | "EPRT" | "LPRT" if state.epsv_all => told.push(format!("refuse {verb} epsv-all")),
        "PORT" | "EPRT" | "LPRT" => told.push(format!("expect active {verb} 198.51.100.7:51210")),
        "PASV" | "P@SW" | "LPSV" | "CPSV" if state.epsv_all => told.push(format!("refuse {verb} epsv-all")),
        "PASV" | "P@SW" | "LPSV" | "CPSV" | "EPSV" => told.push(format!("ask passive {verb}")),
        "RETR" | "STOR" | "STOU" | "APPE" | "LIST" | "NLST" | "MLSD" => {
            if !state.named {
                told.push(format!("expect active {verb} 198.51.100.7:40000 by default"));
            }
            if state.name == "transfer" {
                told.push(format!("expect active {verb} 198.51.100.7:51210 as before, or by default"));
            }
            told.push(format!("transfer {verb}"));
        }
        "ABOR" if state.pending => told.push("cancel abort".to_owned()),
        "REIN" if state.pending && !state.began => told.push("cancel rein".to_owned()),
        "QUIT" if state.pending && !state.began => told.push("cancel quit".to_owned()),
        _ => {}
    }
    told
}

/// What a reply tells after a command; `asked`: the passive command that is open.
fn expected_reply(reply: &str, asked: Option<&str>, auth: Option<&str>) -> Vec<String> {
    let code = &reply[..3];
    let mut told = vec![];
    match (code, asked) {
        ("227", Some(verb)) => told.extend([
            format!("expect passive {verb} 227 10.0.0.11:31002 as 31002"),
            "rewrite 227 10.0.0.11:31002 to 192.0.2.10:31002".to_owned(),
        ]),
        ("228", Some(verb)) => told.extend([
            format!("expect passive {verb} 228 10.0.0.11:31002 as 31002"),
            "rewrite 228 10.0.0.11:31002 to 192.0.2.10:31002".to_owned(),
        ]),
        ("229", Some(verb)) => told.push(format!("expect passive {verb} 229 *:31002 as 31002")),
        ("227" | "228" | "229", None) => told.push(format!("unparsed {code} unasked")),
        _ => {}
    }
    told.push(format!("reply {code}"));
    match (code, auth) {
        ("234", Some("AUTH")) => told.push("blind tls".to_owned()),
        ("234" | "235", Some("ADAT")) => told.push("blind gssapi".to_owned()),
        _ => {}
    }
    told
}

#[test]
fn every_verb_in_every_state_with_every_reply() {
    const REPLIES: &[&str] = &[
        "150 x",
        "200 x",
        "227 Entering Passive Mode (10,0,0,11,121,26)",
        "228 Entering Long Passive Mode (4,4,10,0,0,11,2,121,26)",
        "229 x (|||31002|)",
        "234 x",
        "235 x",
        "334 x",
        "421 x",
        "500 x",
        "501 x",
    ];
    let verbs = super::super::Verb::all().map(|verb| verb.name()).chain(["other"]);
    let mut cases = 0;
    for (verb, state) in verbs.flat_map(|verb| STATES.iter().map(move |state| (verb, state))) {
        for reply in REPLIES {
            let mut wire = Wire::nat();
            for step in state.steps {
                match step.split_at(1) {
                    ("C", line) => _ = wire.client(format!("{line}\r\n")),
                    (_, line) => _ = wire.server(format!("{line}\r\n")),
                }
            }
            wire.told();
            let argument = match verb {
                "PORT" => "198,51,100,7,200,10",
                "LPRT" => "4,4,198,51,100,7,2,200,10",
                "EPRT" => "|1|198.51.100.7|51210|",
                "AUTH" => "TLS",
                "EPSV" | "PASV" | "P@SW" | "LPSV" | "CPSV" => "",
                _ => "secret",
            };
            let word = if verb == "other" { "FOO" } else { verb };
            wire.client(format!("{word} {argument}\r\n"));
            let case = format!("{verb} in state {} with {reply}", state.name);
            assert_eq!(wire.told(), expected(verb, state), "{case}");
            // another reply is outstanding before it
            let behind = matches!(state.name, "asked" | "transfer" | "default port");
            let asks = matches!(verb, "EPSV") || (matches!(verb, "PASV" | "P@SW" | "LPSV" | "CPSV") && !state.epsv_all);
            let asked = if asks && !behind { Some(verb) } else { (state.name == "asked").then_some("PASV") };
            wire.server(format!("{reply}\r\n"));
            let mut told = expected_reply(reply, asked, Some(verb));
            let transfers = super::super::Verb::parse(verb.as_bytes()).transfers();
            // the first final reply is the oldest's; an ABOR is answered behind it
            let oldest = matches!(state.name, "transfer" | "default port") || (transfers && !behind);
            // a first 421 stands for the greeting
            let greets = reply.starts_with("421") && !state.steps.iter().any(|step| step.starts_with('S'));
            if &reply[..1] != "1" && !greets && oldest {
                told.insert(
                    told.iter().take_while(|told| !told.starts_with("blind")).count(),
                    format!("transfer over {}", &reply[..3]),
                );
            }
            assert_eq!(wire.told(), told, "{case}");
            cases += 1;
        }
    }
    assert_eq!(cases, (super::super::Verb::all().count() + 1) * STATES.len() * REPLIES.len());
}

#[test]
fn commands_that_come_too_early_are_read_in_their_turn() {
    let mut wire = Wire::dr();
    let start = wire.next[0];
    for (at, text) in [(14, "RETR x\r\n"), (6, "PASS b\r\n"), (6, "PASS b\r\n")] {
        let _ = wire.raw(super::Direction::ToServer, start + at, super::Flags::ACK, &mut text.as_bytes().to_vec());
    }
    assert!(wire.session.heap_bytes() > 0 && wire.session.deadline().is_some());
    assert!(wire.told().is_empty());
    let _ = wire.raw(super::Direction::ToServer, start, super::Flags::ACK, &mut b"EPSV\r\n".to_vec());
    assert_eq!(wire.told(), ["command EPSV", "ask passive EPSV", "command PASS", "command RETR", "transfer RETR"]);
    assert_eq!((wire.session.heap_bytes(), wire.session.deadline()), (0, None), "an idle session owns nothing");
}

#[test]
fn missing_commands_are_given_up() {
    let mut wire = Wire::dr();
    let missing = wire.next[0];
    wire.next[0] += 5;
    wire.client("PASV\r\n");
    wire.timeout(29_999);
    assert!(wire.told().is_empty());
    wire.timeout(1);
    assert_eq!(wire.told(), ["blind gap"]);
    wire.client("EPSV\r\n");
    assert_eq!(wire.told(), ["sighted", "command EPSV", "ask passive EPSV"]);
    // now they come, and were never read
    for (at, text) in [(0, "PORT "), (0, "PORT 10,0,0,99,0,25\r\n"), (2, "RT 10,0,0,99,0,25\r\n")] {
        let late = wire.raw(super::Direction::ToServer, missing + at, super::Flags::ACK, &mut text.as_bytes().to_vec());
        assert_eq!(late, super::Verdict::Drop, "{text}");
    }
    // more than is kept
    wire.next[0] += 5;
    for _ in 0..20 {
        wire.client("NOOP\r\n".repeat(16));
    }
    for _ in 0..32 {
        wire.client("PASS x\r\n");
    }
    assert_eq!(wire.told()[0], "blind gap");
    assert_eq!((wire.session.heap_bytes(), wire.session.deadline()), (0, None));
}

#[test]
fn missing_replies_are_given_up() {
    let mut wire = Wire::nat();
    wire.client("PASV\r\n");
    let at = wire.next[1] + 5;
    let line = b"227 Entering Passive Mode (10,0,0,11,121,26).\r\n";
    let offer = |wire: &mut Wire| wire.raw(super::Direction::ToClient, at, super::Flags::ACK, &mut line.to_vec());
    assert_eq!(offer(&mut wire), super::Verdict::Hold);
    wire.timeout(999);
    assert_eq!(offer(&mut wire), super::Verdict::Hold);
    wire.timeout(1);
    assert_eq!(offer(&mut wire), super::Verdict::Edited);
    assert_eq!(
        wire.told()[2..],
        [
            "unparsed 000 gap",
            "expect passive PASV 227 10.0.0.11:31002 as 31002",
            "rewrite 227 10.0.0.11:31002 to 192.0.2.10:31002",
            "reply 227"
        ]
    );
}

/// A server that sends nothing but gaps holds its packets for one second, not for one second each.
#[test]
fn replies_behind_several_gaps_wait_together() {
    let mut wire = Wire::nat();
    wire.client("PASV\r\n");
    let first = wire.next[1];
    let offer = |wire: &mut Wire, number: u32| {
        wire.raw(super::Direction::ToClient, first + 20 * number, super::Flags::ACK, &mut b"200 ok\r\n".to_vec())
    };
    for number in [1, 3, 2] {
        assert_eq!(offer(&mut wire, number), super::Verdict::Hold, "{number}");
    }
    wire.timeout(1000);
    for number in 1..=3 {
        assert_eq!(offer(&mut wire, number), super::Verdict::Pass, "{number}");
    }
    assert_eq!(offer(&mut wire, 5), super::Verdict::Hold, "the next gap waits again");
    // what was held is dropped elsewhere, and does not come again
    wire.timeout(1000);
    assert_eq!(offer(&mut wire, 7), super::Verdict::Hold, "nor does that wait for ever");
    wire.timeout(1000);
    assert_eq!(offer(&mut wire, 7), super::Verdict::Pass);
    assert_eq!((wire.session.heap_bytes(), wire.session.deadline()), (0, None));
}

#[test]
fn an_edit_is_repeated_until_it_is_acknowledged() {
    let mut wire = Wire::nat();
    wire.client("PASV\r\n");
    let seq = wire.next[1];
    let line = b"227 Entering Passive Mode (10,0,0,11,121,26).\r\n";
    let out = wire.server(line).unwrap();
    for (from, to) in [(0, line.len()), (20, 40), (26, 27), (30, line.len())] {
        let mut again = line[from..to].to_vec();
        let _ = wire.raw(super::Direction::ToClient, seq + u32::try_from(from).unwrap(), super::Flags::ACK, &mut again);
        assert_eq!(again, out[from..to]);
    }
    assert!(wire.session.heap_bytes() > 0);
    let context =
        super::Context { now: wire.now, policy: &wire.policy, client: wire.client, syn: super::super::Syn::Unseen };
    let mut noop = *b"NOOP\r\n";
    let mut segment = super::Segment {
        direction: super::Direction::ToServer,
        seq: wire.next[0],
        ack: wire.next[1],
        flags: super::Flags::ACK,
        payload: &mut noop,
    };
    let _ = wire.session.segment(&context, &mut segment, &mut |port| super::super::Told::Port(port), &mut wire.events);
    assert_eq!(wire.session.heap_bytes(), 0);
}

#[test]
fn a_password_is_never_kept_nor_shown() {
    let mut wire = Wire::dr();
    for piece in ["PA", "SS se", "qz", "et"] {
        wire.client(piece);
        let kept = wire.session.heap.as_ref().map(|heap| heap.command.clone()).unwrap_or_default();
        assert!(!kept.contains(&b'z'), "{kept:?}");
        assert!(!format!("{:?}", wire.session).contains("qz"));
    }
    wire.client("\r\n");
    assert_eq!(wire.told(), ["command PASS"]);
}

/// A reply in pieces, some so late that those before had to be released: the client reads what it shall read.
#[test]
fn late_pieces_are_completed() {
    let (mut wrong, mut no_room) = (vec![], 0);
    let mut random = 1_u64;
    let mut below = |limit: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % limit
    };
    const CASES: usize = 20_000;
    for case in 0..CASES {
        let (line, port) = [
            ("227 Entering Passive Mode (10,0,0,11,121,26).", [121, 26]),
            ("227 Entering Passive Mode (192,168,100,111,4,9)", [4, 9]),
            ("227 Entering Passive (10, 0, 0, 5, 195, 80)", [195, 80]),
        ][case % 3];
        let mut wire = Wire::nat();
        wire.client("PASV\r\n");
        let mut cuts: Vec<_> = (0..1 + below(8)).map(|_| below(line.len())).collect();
        cuts.extend([0, line.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let pieces: Vec<_> = cuts.windows(2).map(|pair| &line[pair[0]..pair[1]]).chain(["\r\n"]).collect();
        let mut out = vec![None; pieces.len()];
        let start = wire.next[1];
        for (at, piece) in pieces.iter().enumerate() {
            out[at] = wire.server(piece);
            if below(2) == 0 {
                wire.timeout(200);
            }
            let mut seq = start;
            for (out, piece) in out.iter_mut().zip(&pieces).take(at + 1) {
                let mut again = piece.as_bytes().to_vec();
                let verdict = wire.raw(super::Direction::ToClient, seq, super::Flags::ACK, &mut again);
                match (&*out, verdict) {
                    (Some(before), verdict) => {
                        assert!(verdict != super::Verdict::Hold && *before == again, "{pieces:?}")
                    }
                    (None, super::Verdict::Hold) => {}
                    (None, _) => *out = Some(again),
                }
                seq += u32::try_from(piece.len()).unwrap();
            }
        }
        let out: Vec<u8> = out.into_iter().flat_map(|out| out.expect("released")).collect();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.len(), line.len() + 2);
        let digits = out[4..].split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
        let numbers: Vec<u32> = digits.map(|n| n.parse().unwrap()).collect();
        if out.trim_end() == line && wire.told().contains(&"no room 227".to_owned()) {
            no_room += 1;
        } else if numbers != [&[192, 0, 2, 10][..], &port].concat() {
            wrong.push(format!("{pieces:?}: {out:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {CASES}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(no_room < CASES / 20, "{no_room} of {CASES} passed unchanged");
}
