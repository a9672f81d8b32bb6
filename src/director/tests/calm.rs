//! Replies that nobody has to wait for (NAT): which they are, and that they open nothing.

use super::*;

const NOW: Time = Time::ZERO;

/// A client that has logged in at server 1, with the director that saw it.
fn logged_in(shared: bool) -> (Director, Wire) {
    let mut director = director(ForwardingMethod::Nat, shared);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Nat);
    let _ = wire.hears(&mut director, NOW, "220 hello\r\n");
    let _ = wire.says(&mut director, NOW, "USER joe\r\n");
    let _ = wire.hears(&mut director, NOW, "331 password\r\n");
    let _ = wire.says(&mut director, NOW, "PASS secret\r\n");
    let _ = wire.hears(&mut director, NOW, "230 welcome\r\n");
    (director, wire)
}

/// The mark that a client's line leaves with.
fn leaves(wire: &mut Wire, director: &mut Director, now: Time, line: &str) -> Option<u32> {
    let (decision, _, _) = wire.says(director, now, line);
    assert!(matches!(decision, Decision::Accept { .. }), "{line:?}: {decision:?}");
    wire.mark
}

/// The server's line goes by, and the director is told of it.
fn passes(wire: &mut Wire, director: &mut Director, line: &str) -> Vec<Action> {
    let mut bytes = acknowledging(wire.sent, wire.far_end(), wire.client, wire.answered, 0x18, line.as_bytes());
    wire.answered += u32::try_from(line.len()).expect("short");
    let mut actions = Vec::new();
    director.overheard(NOW, &mut bytes, &mut actions);
    actions
}

fn read(opens: bool, calm: bool) -> Option<u32> {
    Some(MARKS.read(1, opens, calm).0)
}

#[test]
fn replies_are_held_only_for_what_their_answer_matters_to() {
    for (line, calm) in [
        ("NOOP\r\n", true),
        ("TYPE I\r\n", true),
        ("SIZE a\r\n", true),
        ("PASV\r\n", false),
        ("epsv\r\n", false),
        ("LPSV\r\n", false),
        ("CPSV\r\n", false),
        ("EPSV ALL\r\n", false),
        ("AUTH TLS\r\n", false),
        ("AUTH GSSAPI\r\n", false),
        ("NOOP\r\nPASV\r\n", false),
        // half a line: what it becomes is not known
        ("NOO", false),
        // it is overwritten, also when it comes again
        ("PORT 10,9,9,9,4,1\r\n", false),
    ] {
        let (mut director, mut wire) = logged_in(false);
        // PASS said so already, and the rules know.
        assert_eq!(leaves(&mut wire, &mut director, NOW, "NOOP\r\n"), Some(0), "{line:?}");
        let _ = passes(&mut wire, &mut director, "200 ok\r\n");
        let mark = leaves(&mut wire, &mut director, NOW, line);
        let is = mark.is_some_and(|mark| mark == 0 || mark & Marks::CALM != 0);
        assert_eq!(is, calm, "{line:?}: {mark:x?}");
    }
}

#[test]
fn an_unfinished_greeting_or_reply_is_held_to_its_end() {
    let (mut director, mut wire) =
        (director(ForwardingMethod::Nat, false), Wire::new(client(), 1, ForwardingMethod::Nat));
    let _ = wire.hears(&mut director, NOW, "120 soon\r\n");
    assert_eq!(leaves(&mut wire, &mut director, NOW, "USER joe\r\n"), read(false, false));
    let _ = wire.hears(&mut director, NOW, "220 hello\r\n");
    let _ = wire.hears(&mut director, NOW, "331-a\r\n");
    assert_eq!(leaves(&mut wire, &mut director, NOW, "PASS secret\r\n"), read(false, false));
    let _ = wire.hears(&mut director, NOW, "331 b\r\n");
    assert_eq!(leaves(&mut wire, &mut director, NOW, "NOOP\r\n"), read(false, true));
}

#[test]
fn the_rules_are_told_again_before_they_forget() {
    let (mut director, mut wire) = logged_in(false);
    for (seconds, told) in [(1, false), (29, false), (30, true), (31, false), (200, true)] {
        let mark = leaves(&mut wire, &mut director, Time::from_millis(seconds * 1000), "NOOP\r\n");
        assert_eq!(mark, if told { read(false, true) } else { Some(0) }, "after {seconds} s");
        let _ = passes(&mut wire, &mut director, "200 ok\r\n");
    }
}

#[test]
fn a_session_that_was_not_heard_before_says_so_at_once() {
    let mut director = director(ForwardingMethod::Nat, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Nat);
    // Another session on the same ports may have left its word.
    assert_eq!(leaves(&mut wire, &mut director, NOW, "NOOP\r\n"), read(false, false));
}

#[test]
fn that_replies_are_held_is_said_with_each_packet() {
    let (mut director, mut wire) = logged_in(false);
    assert_eq!(leaves(&mut wire, &mut director, NOW, "PASV\r\n"), read(false, false));
    // The first may have been dropped behind the daemon, before the rules saw its mark.
    wire.sent -= 6;
    assert_eq!(leaves(&mut wire, &mut director, NOW, "PASV\r\n"), read(false, false));
}

#[test]
fn a_long_reply_is_read_at_once_and_a_longer_one_does_not_stop_its_session() {
    let (mut director, mut wire) = logged_in(false);
    let _ = leaves(&mut wire, &mut director, NOW, "STAT a\r\n");
    let lines: String = (0..150).map(|_| "213-\r\n").chain(["213 end\r\n"]).collect();
    assert_eq!(passes(&mut wire, &mut director, &lines), []);
    assert_eq!(director.table.iter().map(|entry| entry.ftp.awaiting()).sum::<u8>(), 0);
    assert_eq!(director.snapshot().held, 0);
}

#[test]
fn where_the_client_says_no_more_replies_are_held() {
    let (mut director, mut wire) = logged_in(false);
    let (from, to) = (wire.client, wire.far_end());
    let mut fin = acknowledging(wire.answered, from, to, wire.sent, 0x11, b"");
    let _ = wire.offer(&mut director, NOW, Hook::Postrouting, &mut fin);
    assert_eq!(wire.mark, read(false, false));
}

#[test]
fn elsewhere_nothing_is_said_of_replies() {
    for forwarding in [ForwardingMethod::Dr, ForwardingMethod::Tun] {
        let mut director = director(forwarding, false);
        let mut wire = Wire::new(client(), 1, forwarding);
        for line in ["USER joe\r\n", "NOOP\r\n"] {
            assert_eq!(leaves(&mut wire, &mut director, NOW, line), Some(0), "{forwarding:?}, {line:?}");
        }
    }
}

#[test]
fn a_transfer_is_followed_by_what_was_told() {
    let (mut director, mut wire) = logged_in(false);
    assert_eq!(leaves(&mut wire, &mut director, NOW, "PASV\r\n"), read(false, false));
    let (decision, bytes, _) = wire.hears(&mut director, NOW, "227 Entering Passive Mode (10,0,0,12,125,1).\r\n");
    assert_eq!(decision, Decision::Accept { mark: Some(MARKS.control(1).0), edited: true });
    assert!(payload(&bytes).contains("192,0,2,10,125,1"), "{}", payload(&bytes));
    // Its acknowledgement says that the client has the edited reply: nothing is left to be repeated.
    assert_eq!(leaves(&mut wire, &mut director, NOW, "RETR a\r\n"), read(true, true));
    let _ = passes(&mut wire, &mut director, "150 here it comes\r\n");
    assert!(director.table.iter().next().is_some_and(|entry| entry.expectation.is_some()));
    let _ = passes(&mut wire, &mut director, "550 no\r\n");
    // Without a data connection and refused: it is over.
    let over = [Outcome::Refused, Outcome::Superseded].map(|outcome| outcomes(&director, Mode::Passive, outcome));
    assert_eq!(over.iter().sum::<u64>(), 1);
    assert_eq!(director.snapshot().replies_logged, 2);
}

#[test]
fn a_227_that_was_not_held_opens_nothing() {
    for shared in [false, true] {
        let (mut director, mut wire) = logged_in(shared);
        let _ = leaves(&mut wire, &mut director, NOW, "NOOP\r\n");
        assert_eq!(passes(&mut wire, &mut director, "227 (10,0,0,12,156,70)\r\n"), [], "shared: {shared}");
        // Nor one that overtook what its client said: then it answers something else.
        let _ = leaves(&mut wire, &mut director, NOW, "PASV\r\n");
        assert_eq!(passes(&mut wire, &mut director, "227 (10,0,0,12,156,71)\r\n"), [], "shared: {shared}");
        assert!(director.table.iter().all(|entry| entry.expectation.is_none()));
    }
}

#[test]
fn one_that_is_told_of_before_another_is_read_behind_it() {
    let (mut director, mut wire) = logged_in(false);
    let _ = leaves(&mut wire, &mut director, NOW, "STAT a\r\n");
    let began = wire.answered;
    wire.answered += 10;
    let _ = passes(&mut wire, &mut director, "213 done\r\n");
    assert_eq!(director.table.iter().map(|entry| entry.ftp.awaiting()).sum::<u8>(), 1);
    wire.answered = began;
    let actions = passes(&mut wire, &mut director, "100 now.\r\n");
    assert!(actions.iter().all(|action| matches!(action, Action::Release { id: 0, .. })), "{actions:?}");
    assert_eq!(director.table.iter().map(|entry| entry.ftp.awaiting()).sum::<u8>(), 0);
}

#[test]
fn replies_that_nobody_was_told_of_do_not_keep_the_next_waiting() {
    let (mut director, mut wire) = logged_in(false);
    let _ = leaves(&mut wire, &mut director, NOW, "NOOP\r\n");
    wire.answered += 500;
    director.lost_replies(NOW);
    // Not calm before the server was heard again.
    assert_eq!(leaves(&mut wire, &mut director, NOW, "PASV\r\n"), read(false, false));
    let (decision, bytes, _) = wire.hears(&mut director, NOW, "227 Entering Passive Mode (10,0,0,12,125,1).\r\n");
    assert_eq!(decision, Decision::Accept { mark: Some(MARKS.control(1).0), edited: true });
    assert!(payload(&bytes).contains("192,0,2,10,125,1"), "{}", payload(&bytes));
}

#[test]
fn a_checksum_may_be_left_to_the_hardware_and_must_not_be_wrong() {
    for (field, read) in [("whole", true), ("unfinished", true), ("wrong", false)] {
        let (mut director, mut wire) = logged_in(false);
        let _ = leaves(&mut wire, &mut director, NOW, "NOOP\r\n");
        let (from, to) = (wire.far_end(), wire.client);
        let mut bytes = acknowledging(wire.sent, from, to, wire.answered, 0x18, b"200 ok\r\n");
        let parsed = wire::Packet::parse(&bytes).expect("a packet");
        let unfinished = wire::checksum::pseudo_header(&from, &to, bytes.len() - parsed.tcp_at);
        let at = parsed.tcp_at + 16;
        match field {
            "unfinished" => bytes[at..at + 2].copy_from_slice(&unfinished.to_be_bytes()),
            "wrong" => bytes[at] ^= 0x55,
            _ => {}
        }
        director.overheard(NOW, &mut bytes, &mut Vec::new());
        let awaiting: u8 = director.table.iter().map(|entry| entry.ftp.awaiting()).sum();
        assert_eq!(awaiting == 0, read, "{field}");
    }
}
