//! A client's segments that fit one of its numbers alone.

use super::hostile::active;
use super::{Direction, Flags, Replies, Syn, Verdict};

const ELSEWHERE: &str = "PORT 10,0,0,99,0,25\r\n";

/// What only the client's own number fits: the server may take it, or have taken it already.
#[test]
fn who_acknowledges_something_else_hides_no_command() {
    for replies in [Replies::Seen, Replies::Unseen] {
        for syn in [Syn::Unseen, Syn::Seen] {
            for far in [0_u32.wrapping_sub(300_000), 0_u32.wrapping_sub(1 << 30)] {
                let mut wire = active(replies);
                wire.timeout(61_000);
                wire.syn = syn;
                wire.client("PORT 10,0,");
                let [seq, ack] = wire.next;
                let mut rest = b"0,99,0,25\r\n".to_vec();
                for at in [seq, seq + 200_000, seq - 5] {
                    let verdict =
                        wire.numbered(Direction::ToServer, (at, ack.wrapping_add(far)), Flags::ACK, &mut rest);
                    assert_eq!(verdict, Verdict::Drop, "{replies:?} {syn:?} {far}");
                }
                // TCP repeats it, and it is read.
                assert!(wire.client("0,99,0,25\r\n").starts_with(b"XXX"), "{replies:?} {syn:?}");
            }
        }
    }
}

/// Acknowledgements that a server does not believe: behind them the true ones are not somebody else's.
#[test]
fn who_acknowledges_what_never_came_hides_no_command() {
    let mut wire = active(Replies::Unseen);
    let [seq, ack] = wire.next;
    for far in [1 << 18, 1 << 19, 3 << 18] {
        let _ = wire.numbered(Direction::ToServer, (seq - 1, ack + far), Flags::ACK, &mut [0]);
    }
    let verdict = wire.numbered(Direction::ToServer, (seq, ack), Flags::ACK, &mut ELSEWHERE.as_bytes().to_vec());
    assert_eq!(verdict, Verdict::Drop);
    let mut wire = active(Replies::Unseen);
    let _ = wire.numbered(Direction::ToServer, (seq, ack + (1 << 20)), Flags::ACK, &mut b"NOOP\r\n".to_vec());
    let verdict = wire.numbered(Direction::ToServer, (seq, ack), Flags::ACK, &mut ELSEWHERE.as_bytes().to_vec());
    assert_eq!(verdict, Verdict::Drop);
}

/// Acknowledgements without a payload do not come here, so that they can be far ahead behind a long reply.
#[test]
fn behind_a_long_reply_that_was_not_heard_commands_are_read() {
    let mut wire = active(Replies::Unseen);
    wire.client("STAT -R\r\n");
    wire.next[1] += 5_000_000;
    let [seq, ack] = wire.next;
    // what was lost behind the director comes again, and what keeps the connection alive
    for (from, text) in [(9, &b"STAT -R\r\n"[..]), (1, b"\n"), (1, b"\0")] {
        let verdict = wire.numbered(Direction::ToServer, (seq - from, ack), Flags::ACK, &mut text.to_vec());
        assert_eq!(verdict, Verdict::Pass, "{text:?}");
    }
    // early: the one before it comes again first
    let mut pasv = b"PASV\r\n".to_vec();
    assert_eq!(wire.numbered(Direction::ToServer, (seq + 6, ack), Flags::ACK, &mut pasv), Verdict::Drop);
    wire.told();
    wire.client("NOOP\r\n");
    wire.client("PASV\r\n");
    assert_eq!(wire.told(), ["command NOOP", "command PASV", "ask passive PASV"]);
}
