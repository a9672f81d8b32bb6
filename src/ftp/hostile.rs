//! What hostile clients, servers and third parties send, and that it gets them nothing.

use super::testing::Wire;
use super::{BlindReason, Bounce, Direction, Event, Flags, Replies, Syn, Verdict};

const ELSEWHERE: &str = "PORT 10,0,0,99,0,25\r\n";

/// What comes before the command, so that it be not seen.
fn covers() -> Vec<Vec<u8>> {
    let mut covers: Vec<Vec<u8>> = [
        "",
        "\n",
        "\r\n\r\n",
        "\u{1}\r\n",
        "\u{1}\r\nX\r\n",
        "X\r\n",
        "\u{16}\r\nX\r\n",
        "NOOP\r\n\u{16}\u{3}\u{1}x\r\n",
        "AUTH TLS\r\n\u{16}\u{3}\u{1}x\r\nX\r\n",
        "AUTH TLS\r\n\u{16}\u{3}\u{1}x\r\n\r\n",
        "ADAT YWJj\r\nX\r\n",
        "PASS \u{1}\u{2}\r\n",
        "  \t",
        "NOOP\n",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    covers.extend([b"\xff\xf1".to_vec(), b"\xff\xfa\x18abc\xff\xf0".to_vec(), b"\xf2".to_vec(), b"\0".to_vec()]);
    covers.extend([b"\n".repeat(257), b"\r\n".repeat(5000), b"NOOP\r\n".repeat(40), b"P\n".repeat(200)]);
    covers.extend([b" ".repeat(9000), b"\xff\xf1".repeat(3000)]);
    covers.extend([b"x".repeat(5000), b"SITE ".repeat(1000)].map(|line| [line, b"\r\n".to_vec()].concat()));
    covers
}

/// Whether a server, however lenient, finds the command in what it gets.
fn is_obeyed(stream: &[u8]) -> bool {
    stream.split(|b| *b == b'\n').any(|line| {
        let text: Vec<u8> = line.iter().copied().filter(|b| b.is_ascii_graphic()).collect();
        text.windows(18).any(|part| part == b"PORT10,0,0,99,0,25")
    })
}

/// A stream to the server in pieces; TCP repeats what is dropped.
fn sent(wire: &mut Wire, stream: &[u8], pieces: &[(usize, usize)]) -> Vec<u8> {
    let start = wire.next[0];
    let mut got: Vec<Option<u8>> = vec![None; stream.len()];
    let mut left = pieces.to_vec();
    for _ in 0..=pieces.len() {
        for (from, to) in std::mem::take(&mut left) {
            let mut payload = stream[from..to].to_vec();
            let seq = start.wrapping_add(u32::try_from(from).unwrap());
            let verdict = loop {
                let verdict = wire.raw(Direction::ToServer, seq, Flags::ACK, &mut payload);
                if verdict != Verdict::More {
                    break verdict;
                }
            };
            match verdict {
                Verdict::Drop => left.push((from, to)),
                Verdict::Hold | Verdict::More => panic!("commands are never held"),
                Verdict::Pass | Verdict::Edited => {
                    for (slot, byte) in got[from..to].iter_mut().zip(payload) {
                        slot.get_or_insert(byte);
                    }
                }
            }
        }
    }
    wire.next[0] = start.wrapping_add(u32::try_from(stream.len()).unwrap());
    got.into_iter().map_while(|byte| byte).collect()
}

#[test]
fn nothing_hides_a_refused_command() {
    for (which, cover) in covers().iter().enumerate() {
        for replies in [Replies::Seen, Replies::Unseen] {
            let stream = [cover, ELSEWHERE.as_bytes()].concat();
            let (end, length) = (stream.len(), cover.len());
            let mut cuts = vec![vec![(0, end)], vec![(0, length), (length, end)]];
            cuts.extend((length..end).map(|at| vec![(0, at), (at, end)]));
            cuts.extend((length + 1..end).map(|at| vec![(0, length), (length, at), (at, end)]));
            cuts.push([(0, length)].into_iter().chain((length..end).map(|at| (at, at + 1))).collect());
            // out of order; what looks encrypted, to one who does not hear the server, is not put in order
            let dark = replies == Replies::Unseen && (cover.starts_with(b"AUTH") || cover.starts_with(b"ADAT"));
            let cuts_in_order = cuts.len();
            cuts.extend((length..end).map(|at| vec![(at, end), (0, at)]));
            cuts.extend((length + 1..end).map(|at| vec![(at, end), (length, at), (0, length)]));
            cuts.push((length..end).map(|at| (at, at + 1)).chain([(0, length)]).rev().collect());
            if dark {
                cuts.truncate(cuts_in_order);
            }
            for pieces in cuts {
                let mut wire = if replies == Replies::Seen { Wire::nat() } else { Wire::dr() };
                let pieces: Vec<_> = pieces.into_iter().filter(|(from, to)| from < to).collect();
                let stream = sent(&mut wire, &stream, &pieces);
                assert!(!is_obeyed(&stream), "cover {which}, {replies:?}: {pieces:?}");
                assert!(stream.len() == end || replies == Replies::Unseen, "cover {which}: {pieces:?}");
                let opened = wire.events.iter().any(|event| matches!(event, Event::ExpectActive { .. }));
                assert!(!opened, "cover {which}: {pieces:?}");
            }
        }
    }
}

/// A copy that the server never got is followed by another text with the same numbers.
#[test]
fn a_second_copy_is_judged_like_the_first() {
    for replies in [Replies::Seen, Replies::Unseen] {
        let mut wire = if replies == Replies::Seen { Wire::nat() } else { Wire::dr() };
        let seq = wire.next[0];
        wire.client("NOOP xxxxxxxxxxxxxxx\r\nNOOP\r\n");
        for second in
            ["PORT 10,0,0,99,0,25\r\nNOOP\r\n", "PORT 10,0,0,99,0,25\r\n", "PORT 10,0,0,99,0,25\r\nNOOP\r\nNOOP\r\n"]
        {
            let mut payload = second.as_bytes().to_vec();
            while wire.raw(Direction::ToServer, seq, Flags::ACK, &mut payload) == Verdict::More {}
            assert!(!is_obeyed(&payload), "{second:?}: {}", String::from_utf8_lossy(&payload));
        }
    }
}

#[test]
fn work_per_go_is_bounded_and_nothing_is_lost() {
    for (line, most) in
        [("NOOP\r\n", 16), ("A\n", 16), ("RETR x\r\n", 48), ("PORT 10,0,0,99,0,25\r\n", 32), ("\u{1}\n", 1)]
    {
        let mut wire = Wire::dr();
        let count = 300;
        let mut payload = line.repeat(count).into_bytes();
        let (mut goes, mut told) = (0, 0);
        loop {
            let before = wire.events.len();
            let verdict = wire.raw(Direction::ToServer, wire.next[0], Flags::ACK, &mut payload);
            told += wire.events.iter().skip(before).filter(|event| matches!(event, Event::Command { .. })).count();
            assert!(wire.events.len() - before <= most, "{line:?}");
            goes += 1;
            if verdict != Verdict::More {
                assert_eq!(verdict == Verdict::Edited, line.starts_with("PORT"), "{line:?}");
                break;
            }
        }
        assert_eq!(goes, count.div_ceil(16), "{line:?}");
        assert!(told == count || line == "\u{1}\n", "{line:?}: {told}");
        assert!(!is_obeyed(&payload));
        assert!(wire.session.heap_bytes() < 1024, "{line:?}: {}", wire.session.heap_bytes());
    }
    // empty lines are no commands, and are read in stretches
    let mut wire = Wire::nat();
    let mut payload = [&b"\r\n".repeat(10_000), ELSEWHERE.as_bytes()].concat();
    let mut goes = 1;
    while wire.raw(Direction::ToServer, wire.next[0], Flags::ACK, &mut payload) == Verdict::More {
        goes += 1;
    }
    assert!(!is_obeyed(&payload) && goes <= 30, "{goes}");
    assert_eq!(wire.session.awaiting(), 1);
}

#[test]
fn copies_are_read_in_goes_too() {
    let mut wire = Wire::dr();
    let start = wire.next[0];
    // early ones, which pass, and then the one before them
    let early = "NOOP\r\n".repeat(16);
    for piece in 0..5 {
        let at = start + 6 + piece * 96;
        assert_eq!(wire.raw(Direction::ToServer, at, Flags::ACK, &mut early.clone().into_bytes()), Verdict::Pass);
    }
    let mut first = b"NOOP\r\n".to_vec();
    let mut goes = 1;
    while wire.raw(Direction::ToServer, start, Flags::ACK, &mut first) == Verdict::More {
        goes += 1;
    }
    assert_eq!((goes, wire.events.len()), (6, 81));
    assert_eq!((wire.session.heap_bytes(), wire.session.deadline()), (0, None));
}

#[test]
fn edits_are_small_and_age() {
    for replies in [Replies::Seen, Replies::Unseen] {
        let mut wire = if replies == Replies::Seen { Wire::nat() } else { Wire::dr() };
        let line = format!("PORT 10,0,0,99,0,25,{}\r\n", "a".repeat(1400));
        for _ in 0..40 {
            wire.client(&line);
            wire.client("NOOP\r\n");
        }
        assert!(wire.session.heap_bytes() <= 1200, "{}", wire.session.heap_bytes());
        if replies == Replies::Seen {
            wire.server("500 no\r\n");
        } else {
            wire.timeout(119_000);
            assert!(wire.session.heap_bytes() > 0);
            wire.timeout(1_000);
            // what is sent again only now is not let through
            let seq = wire.next[0] - 1428;
            assert_eq!(wire.raw(Direction::ToServer, seq, Flags::ACK, &mut line.clone().into_bytes()), Verdict::Drop);
        }
        assert_eq!((wire.session.heap_bytes(), wire.session.deadline()), (0, None), "{replies:?}");
    }
}

#[test]
fn a_retransmission_is_edited_again_and_what_is_forgotten_does_not_pass() {
    let mut wire = Wire::dr();
    let start = wire.next[0];
    let line = format!("NOOP\r\n{ELSEWHERE}");
    for _ in 0..60 {
        wire.client(&line);
    }
    let length = u32::try_from(line.len()).unwrap();
    let again =
        |wire: &mut Wire, seq, mut bytes: Vec<u8>| (wire.raw(Direction::ToServer, seq, Flags::ACK, &mut bytes), bytes);
    let (verdict, bytes) = again(&mut wire, start, line.clone().into_bytes());
    assert_eq!((verdict, bytes.as_slice()), (Verdict::Edited, &b"NOOP\r\nXXXX XXXXXXXXXXXXXX\r\n"[..]));
    // another text, cut otherwise
    let (verdict, bytes) = again(&mut wire, start + 8, b"PORT 10,0,0,99,0,25\r\n".to_vec());
    assert_eq!((verdict, bytes.as_slice()), (Verdict::Edited, &b"XXXX XXXXXXXXXXXXXX\r\n"[..]));
    for _ in 0..10 {
        wire.client(&line);
    }
    assert_eq!(again(&mut wire, start, line.clone().into_bytes()).0, Verdict::Drop);
    assert_eq!(again(&mut wire, start + 12, line.as_bytes()[12..].to_vec()).0, Verdict::Drop);
    let (verdict, bytes) = again(&mut wire, start + 20 * length, line.into_bytes());
    assert!(verdict == Verdict::Edited && !is_obeyed(&bytes));
}

#[test]
fn memory_is_given_up_without_letting_anything_through() {
    for begun in ["", "PORT 10,0", "PO", "PORT 10,0,0,99"] {
        let mut wire = Wire::nat();
        wire.client("PASV\r\n");
        wire.client(ELSEWHERE);
        let seq = wire.next[0] - 21;
        if !begun.is_empty() {
            wire.client(begun);
        }
        wire.told();
        wire.session.give_up_memory(&mut wire.events);
        assert_eq!(wire.session.heap_bytes(), 0);
        assert_eq!(wire.told(), ["blind memory"]);
        let mut again = ELSEWHERE.as_bytes().to_vec();
        assert_eq!(wire.raw(Direction::ToServer, seq, Flags::ACK, &mut again), Verdict::Drop);
        let rest = wire.client(ELSEWHERE.get(begun.len()..).unwrap());
        assert!(!is_obeyed(&[begun.as_bytes(), &rest].concat()), "{begun:?}");
        wire.client("NOOP\r\n");
        assert_eq!(wire.session.blind(), None);
    }
    // nor is half an echo a reply
    let mut wire = Wire::nat();
    wire.server("220 hello\r\n");
    wire.client("X\r\nPASV\r\n");
    wire.server("500 X");
    wire.session.give_up_memory(&mut wire.events);
    wire.server("227 (10,0,0,11,12,234)\r\n");
    assert!(!wire.told().iter().any(|told| told.starts_with("expect")));
}

/// One line of an echo, in pieces.
#[test]
fn no_part_of_an_echo_is_a_reply() {
    let echo =
        "500 Command \"X\n227\t(1,1,1,1,12,234)\r227\t(1,1,1,1,12,234)\0\" not understood.\r\n530 Log in first.\r\n";
    for cut in 0..echo.len() {
        for second in cut..echo.len() {
            let mut wire = Wire::nat();
            wire.server("220 hello\r\n");
            wire.client("X\n227\t(1,1,1,1,12,234)\r\nPASV\r\n");
            for piece in [&echo[..cut], &echo[cut..second], &echo[second..]] {
                wire.server(piece);
            }
            let told = wire.told();
            assert!(!told.iter().any(|told| told.starts_with("expect")), "{cut} {second}: {told:?}");
        }
    }
}

const FAR: [u32; 4] = [1 << 19, 0x7000_0000, 0_u32.wrapping_sub(1 << 19), 0x9000_0000];

/// A client with a pinhole.
pub(super) fn active(replies: Replies) -> Wire {
    let mut wire = if replies == Replies::Seen { Wire::nat() } else { Wire::dr() };
    wire.client("USER a\r\n");
    if replies == Replies::Seen {
        wire.server("331 b\r\n");
    }
    wire.client("PORT 198,51,100,7,200,10\r\n");
    wire.told();
    wire
}

#[test]
fn who_does_not_know_the_numbers_changes_nothing() {
    let fin = Flags::FIN.with(Flags::ACK);
    let rst = Flags::RST.with(Flags::ACK);
    for (replies, syn) in [Replies::Seen, Replies::Unseen].iter().flat_map(|r| [(*r, Syn::Unseen), (*r, Syn::Seen)]) {
        let mut wire = active(replies);
        wire.syn = syn;
        let (before, [seq, ack]) = (format!("{:?}", wire.session), wire.next);
        for (far, text) in FAR.iter().flat_map(|far| [(*far, "x"), (*far, "ABOR\r\n"), (*far, "")]) {
            let mut numbers = vec![];
            for flags in [Flags::ACK, fin, rst] {
                numbers.extend([
                    ((seq.wrapping_add(far), ack), flags),
                    ((seq.wrapping_add(far), ack.wrapping_add(far)), flags),
                ]);
            }
            // where replies are not heard, nobody knows how far they have come
            let believed = replies == Replies::Unseen && far.cast_signed() > 0;
            for flags in [Flags::ACK, fin].iter().filter(|_| !believed) {
                numbers.push(((seq, ack.wrapping_add(far)), *flags));
            }
            if !text.is_empty() {
                numbers.push(((seq + 1, ack.wrapping_add(far)), Flags::ACK));
            }
            // no TCP reads what acknowledges nothing
            numbers.extend([
                ((seq, ack), Flags::FIN),
                ((seq, ack), Flags::PSH),
                ((seq.wrapping_add(1), ack), Flags::RST),
            ]);
            for (numbers, flags) in numbers {
                let verdict = wire.numbered(Direction::ToServer, numbers, flags, &mut text.as_bytes().to_vec());
                assert!(matches!(verdict, Verdict::Pass | Verdict::Drop), "{verdict:?}");
                assert_eq!(wire.told(), [""; 0], "{numbers:?} {flags:?} {text:?}");
                assert_eq!(format!("{:?}", wire.session), before, "{numbers:?} {flags:?} {text:?}");
            }
        }
        // further ahead than anything is kept: it would lie in the server's buffer until its turn
        let mut bytes = b"x\r\n".to_vec();
        let ahead = wire.numbered(Direction::ToServer, (seq + (1 << 19), ack), Flags::ACK, &mut bytes);
        assert_eq!(ahead, Verdict::Drop);
        // the very next number is proof enough (RFC 5961 §3.2)
        assert_eq!(wire.numbered(Direction::ToServer, (seq, 0), Flags::RST, &mut []), Verdict::Pass);
        assert_eq!(wire.told(), ["cancel close", "end"]);
    }
}

#[test]
fn a_syn_that_was_seen_begins_another_connection() {
    for replies in [Replies::Seen, Replies::Unseen] {
        let mut wire = active(replies);
        let (seq, ack) = (0x7000_0000, 0x1234_5678);
        let noop =
            |wire: &mut Wire| wire.numbered(Direction::ToServer, (seq, ack), Flags::ACK, &mut b"NOOP\r\n".to_vec());
        wire.timeout(60_000);
        assert_eq!(noop(&mut wire), Verdict::Pass);
        assert_eq!(wire.told(), [""; 0], "no SYN was seen");
        wire.syn = Syn::Seen;
        assert_eq!(noop(&mut wire), Verdict::Pass);
        assert_eq!(wire.told(), ["cancel close", "end", "command NOOP"]);
        // it may be somebody's who knew that a SYN had passed, and the client's own comes now
        wire.next = [seq + (1 << 26), ack + (1 << 20)];
        wire.client("NOOP\r\n");
        assert_eq!(wire.told(), ["end", "command NOOP"]);
        // who has said more is believed for a minute
        wire.client("NOOP\r\n");
        wire.told();
        assert_eq!(noop(&mut wire), Verdict::Pass);
        assert_eq!(wire.told(), [""; 0]);
    }
}

#[test]
fn keep_alives_are_harmless() {
    for replies in [Replies::Seen, Replies::Unseen] {
        let mut wire = active(replies);
        let before = wire.next[0] - 1;
        for mut byte in [vec![], vec![0], vec![b'\n']] {
            assert_eq!(wire.raw(Direction::ToServer, before, Flags::ACK, &mut byte), Verdict::Pass);
        }
        wire.session.give_up_memory(&mut wire.events);
        assert_eq!(wire.raw(Direction::ToServer, before, Flags::ACK, &mut [0]), Verdict::Pass);
        assert_eq!(wire.told(), [""; 0]);
    }
}

/// Of an encrypted connection not every segment comes here.
#[test]
fn an_encrypted_connection_ends_by_both_numbers() {
    let encrypted = |replies| {
        let mut wire = active(replies);
        wire.server("200 ok\r\n");
        wire.client("AUTH TLS\r\n");
        wire.server("234 go\r\n");
        wire.client("\u{16}\u{3}\u{1}hello");
        wire.next = [wire.next[0] + 200_000, wire.next[1] + 200_000];
        wire.client("\u{17}\u{3}\u{3}hello");
        wire.next = [wire.next[0] + 200_000, wire.next[1] + 200_000];
        assert_eq!(wire.session.blind(), Some(BlindReason::Tls), "{replies:?}");
        wire.told();
        wire
    };
    for replies in [Replies::Seen, Replies::Unseen] {
        for flags in [Flags::RST, Flags::FIN].map(|flags| flags.with(Flags::ACK)) {
            for (far, near) in FAR.iter().flat_map(|far| [((*far, 0), false), ((0, *far), false), ((0, 0), true)]) {
                let mut wire = encrypted(replies);
                let numbers = (wire.next[0].wrapping_add(far.0), wire.next[1].wrapping_add(far.1));
                let verdict = wire.numbered(Direction::ToServer, numbers, flags, &mut []);
                assert_eq!(verdict, Verdict::Pass);
                // where the server is heard it has to agree to a FIN
                let ends = near && (flags.has(Flags::RST) || replies == Replies::Unseen);
                assert_eq!(wire.told().contains(&"end".to_owned()), ends, "{replies:?} {flags:?} {far:?}");
            }
        }
        let mut wire = encrypted(replies);
        let _ = wire.raw(Direction::ToServer, wire.next[0], Flags::RST, &mut []);
        assert_eq!(wire.told(), [""; 0]);
    }
}

#[test]
fn allowed_is_allowed_and_still_nothing_wraps() {
    let mut wire = Wire::dr();
    wire.policy.bounce = Bounce::Allow;
    assert_eq!(wire.client("PORT 10,0,0,99,200,10\r\n"), b"PORT 10,0,0,99,200,10\r\n");
    assert_eq!(wire.client("PORT 10,0,0,355,200,10\r\n"), b"PORT 10,0,0,355,200,10\r\n");
    assert_eq!(
        wire.told(),
        ["command PORT", "expect active PORT 10.0.0.99:51210", "command PORT", "refuse PORT impossible"]
    );
}

/// As early as the number is settled.
#[test]
fn what_a_lenient_server_takes_for_another_host_is_refused() {
    for (line, settled) in [
        ("PORT 266,0,0,99,0,25", 8),
        ("PORT -246,0,0,99,0,25", 7),
        ("PORT 10,-256,0,99,0,25", 10),
        ("PORT 198,51,100,7,256,25", 21),
        ("PORT 198,51,100,7,200,300", 25),
        ("PORT 198,51,100,7,-252,25", 20),
        ("LPRT 4,4,198,51,100,263,2,200,10", 23),
        ("LPRT 260,4,198,51,100,7,2,200,10", 8),
        ("EPRT |1|198.51.100.263|5000|", 24),
        ("EPRT |1|198.51.100.7|65561|", 26),
        ("EPRT |1|198.51.100.7|-65511|", 23),
        ("EPRT |1|198.51.100.7|+80|", 25),
    ] {
        let whole = format!("{line}\r\n");
        for cut in 0..whole.len() {
            let mut wire = Wire::nat();
            let out = [wire.client(&whole[..cut]), wire.client(&whole[cut..])].concat();
            assert_eq!(out.len(), whole.len());
            assert!(out.contains(&b'X') && !String::from_utf8_lossy(&out).contains(line), "{line} at {cut}");
            assert!(wire.told().iter().any(|told| told.starts_with("refuse")), "{line} at {cut}");
            if (settled..=line.len()).contains(&cut) {
                assert_eq!(out[cut - 1], b'X', "{line} at {cut}: {}", String::from_utf8_lossy(&out));
            }
        }
    }
}

/// A RST that is near ends the connection for us, and for no server; neither does a FIN behind bytes that were given up. The rest
/// of a line must not begin a session of its own.
#[test]
fn no_command_is_completed_behind_an_end_that_was_guessed() {
    for replies in [Replies::Seen, Replies::Unseen] {
        let wire = || if replies == Replies::Seen { Wire::nat() } else { Wire::dr() };
        let rest = || b"RT 6,6,6,6,0,22\r\n".to_vec();
        let (mut near, next) = (wire(), wire().next[0] + 2);
        near.client("PO");
        let _ = near.numbered(Direction::ToServer, (next + 50, near.next[1]), Flags::RST.with(Flags::ACK), &mut []);
        assert!(near.session.closed() && !near.session.gone());
        assert_eq!(near.raw(Direction::ToServer, next, Flags::ACK, &mut rest()), Verdict::Drop);
        assert_eq!(near.raw(Direction::ToServer, next, Flags::ACK, &mut b"NOOP\r\n".to_vec()), Verdict::Pass);
        // at the end of a line, and with the very number, there is nothing to complete
        let mut whole = wire();
        whole.client("NOOP\r\n");
        let (next, ack) = (whole.next[0], whole.next[1]);
        let _ = whole.numbered(Direction::ToServer, (next + 50, ack), Flags::RST.with(Flags::ACK), &mut []);
        assert!(whole.session.gone());
        let mut exact = wire();
        exact.client("PO");
        let (next, ack) = (exact.next[0], exact.next[1]);
        let _ = exact.numbered(Direction::ToServer, (next, ack), Flags::RST, &mut []);
        assert!(exact.session.gone());
    }
    // DR: a FIN behind a gap that was given up
    let mut wire = Wire::dr();
    let next = wire.next[0];
    wire.client("PO");
    wire.next[0] += 98;
    wire.client("NOOP\r\n");
    wire.timeout(31_000);
    let (seq, ack) = (wire.next[0], wire.next[1]);
    let _ = wire.numbered(Direction::ToServer, (seq, ack), Flags::FIN.with(Flags::ACK), &mut []);
    assert!(wire.session.closed() && !wire.session.gone());
    assert_eq!(
        wire.raw(Direction::ToServer, next + 2, Flags::ACK, &mut b"RT 6,6,6,6,0,22\r\n".to_vec()),
        Verdict::Drop
    );
}
