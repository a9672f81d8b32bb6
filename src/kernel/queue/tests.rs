use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::counters::parse_stats;
use super::*;
use crate::kernel::netlink::attributes;

fn packet_message(number: u32, cap_len: Option<u32>, payload: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    let message = out.begin(NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET, 0, 0);
    out.nfgenmsg(2, 2100);
    out.attribute_of(NFQA_PACKET_HDR, &[&number.to_be_bytes(), &[0x08, 0x00, 4]]);
    out.attribute(NFQA_MARK, &0x0f73_0001_u32.to_be_bytes());
    if let Some(len) = cap_len {
        out.attribute(NFQA_CAP_LEN, &len.to_be_bytes());
    }
    out.attribute(NFQA_PAYLOAD, payload);
    out.end(message);
    out.as_bytes().to_vec()
}

fn seen(datagram: &mut [u8]) -> Vec<(PacketId, u8, u32, Vec<u8>)> {
    let mut all = Vec::new();
    parse(datagram, &mut |p| all.push((p.id, p.hook, p.mark, p.payload.to_vec())));
    all
}

#[test]
fn a_packet_is_read() {
    let whole = PacketId { number: 7, truncated: false };
    assert_eq!(seen(&mut packet_message(7, None, b"abcde")), [(whole, 4, 0x0f73_0001, b"abcde".to_vec())]);
    let cut = PacketId { number: 8, truncated: true };
    assert_eq!(seen(&mut packet_message(8, Some(99), b"abcde"))[0].0, cut);
}

#[test]
fn damaged_datagrams_do_not_panic() {
    let whole = packet_message(7, Some(3), b"abcde");
    for cut in 0..whole.len() {
        seen(&mut whole[..cut].to_vec());
    }
    for at in 0..whole.len() {
        for value in [0, 1, 3, 0x7f, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            seen(&mut damaged);
        }
    }
}

/// `struct nfqnl_msg_verdict_hdr { be32 verdict; be32 id; }`, then the mark, then the payload, padded.
#[test]
fn verdicts_are_written() {
    let mut verdicts = Verdicts::new(2100);
    verdicts.accept(PacketId { number: 7, truncated: false }, Some(0x0f73_0001), Some(b"abcde"));
    let want = [
        &[52, 0, 0, 0, 1, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x34][..],
        &[12, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 7, 8, 0, 3, 0, 0x0f, 0x73, 0, 1][..],
        &[9, 0, 10, 0, b'a', b'b', b'c', b'd', b'e', 0, 0, 0][..],
    ];
    assert_eq!(verdicts.as_bytes(), want.concat());
}

/// NFQNL_MSG_VERDICT_BATCH: the header's number is the last of those that it is for.
#[test]
fn what_a_former_process_had_read_is_dropped_at_once() {
    let mut verdicts = Verdicts::new(2100);
    verdicts.drop_through(7);
    let want = [
        &[32, 0, 0, 0, 3, 3, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x34][..],
        &[12, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 7][..],
    ];
    assert_eq!(verdicts.as_bytes(), want.concat());
    // There was none: the kernel's ENOENT is no late verdict.
    let refused = |seq| {
        let mut out = Writer::default();
        let message = out.begin(libc::NLMSG_ERROR as u16, 0, seq);
        let mut bytes = {
            out.end(message);
            out.as_bytes().to_vec()
        };
        bytes.extend((-libc::ENOENT).to_ne_bytes());
        bytes.extend([0; 16]);
        bytes[0] = bytes.len() as u8;
        bytes
    };
    assert_eq!((parse(&mut refused(0), &mut |_| {}), parse(&mut refused(UNANSWERED), &mut |_| {})), (1, 0));
}

#[test]
fn a_truncated_packet_is_never_rewritten() {
    let mut with = Verdicts::new(1);
    with.accept(PacketId { number: 7, truncated: true }, None, Some(b"abcde"));
    let mut without = Verdicts::new(1);
    without.accept(PacketId { number: 7, truncated: true }, None, None);
    assert_eq!(with.as_bytes(), without.as_bytes());
}

#[test]
fn verdicts_are_sent_in_portions_of_whole_messages() {
    let mut verdicts = Verdicts::new(1);
    (0..10).for_each(|number| verdicts.drop(PacketId { number, truncated: false }));
    let bytes = verdicts.as_bytes();
    let one = bytes.len() / 10;
    let lengths: Vec<_> = portions(bytes, 3 * one).map(<[u8]>::len).collect();
    assert_eq!(lengths, [3 * one, 3 * one, 3 * one, one]);
    assert_eq!(portions(&[], 10).count(), 0);
}

/// Linux 6.12, `cat /proc/net/netfilter/nfnetlink_queue`.
#[test]
fn the_kernels_counters_are_read() {
    let text =
        " 2099   1000     0 2 65531     0     0        1  1\n 2100   4711     3 2 65531     5     6      900  1\n";
    let want = QueueStats { portid: 4711, queued: 3, queue_dropped: 5, user_dropped: 6, last: 900 };
    assert_eq!(parse_stats(text, 2100), Some(want));
    assert_eq!(parse_stats(text, 1), None);
}

/// Hands out a packet: it waits for its verdict from now on.
fn handed(verdicts: &mut Verdicts, number: u32) -> PacketId {
    verdicts.undecided += 1;
    PacketId { number, truncated: false }
}

#[test]
fn packets_in_a_row_that_go_on_with_one_mark_share_a_verdict() {
    let mut verdicts = Verdicts::new(2100);
    // Numbers wrap.
    for number in [u32::MAX, 0, 1] {
        let id = handed(&mut verdicts, number);
        verdicts.accept(id, Some(0), None);
    }
    let want = [
        &[40, 0, 0, 0, 3, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x34][..],
        &[12, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 3, 0, 0, 0, 0, 0][..],
    ];
    assert_eq!(verdicts.as_bytes(), want.concat());
}

/// The kernel's queue: what becomes of each packet.
#[derive(Default)]
struct Model {
    waits: Vec<u32>,
    done: HashMap<u32, (u32, Option<u32>)>,
}

impl Model {
    /// As `nfqnl_recv_verdict` and `nfqnl_recv_verdict_batch` have it.
    fn send(&mut self, bytes: &[u8]) {
        for message in messages(bytes) {
            let fields = &bytes[message.body][NFGENMSG_LEN..];
            let of = |wanted| attributes(fields).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            let header = of(NFQA_VERDICT_HDR).expect("a header");
            let (verdict, number) = (be32(header).expect("a verdict"), be32(&header[4..]).expect("a number"));
            let mark = of(NFQA_MARK).and_then(be32);
            let batch = message.kind & 0xff == NFQNL_MSG_VERDICT_BATCH;
            assert!(!batch || of(NFQA_PAYLOAD).is_none(), "the kernel does not read it there");
            let meant = |id: u32| if batch { number.wrapping_sub(id).cast_signed() >= 0 } else { id == number };
            let (now, later): (Vec<u32>, Vec<u32>) = self.waits.iter().copied().partition(|&id| meant(id));
            self.waits = later;
            now.into_iter().for_each(|id| _ = self.done.insert(id, (verdict, mark)));
        }
    }
}

proptest! {
    /// Whatever is held meanwhile, each packet gets the verdict that was given for it, and none gets one that was not.
    #[test]
    fn a_shared_verdict_is_for_nobody_else(
        first in prop_oneof![Just(1_u32), Just(u32::MAX - 5)],
        deeds in prop::collection::vec((0..12_u8, 0..4_usize, prop::option::of(0..2_u32)), 1..80),
    ) {
        let (mut verdicts, mut model) = (Verdicts::new(1), Model::default());
        let (mut held, mut given, mut next) = (Vec::new(), HashMap::new(), first);
        for (what, which, mark) in deeds {
            if what == 0 {
                model.send(verdicts.as_bytes());
                verdicts.clear();
                continue;
            }
            let id: PacketId = match what {
                1..=3 if which < held.len() => held.remove(which),
                _ => {
                    next = next.wrapping_add(1);
                    model.waits.push(next);
                    handed(&mut verdicts, next)
                }
            };
            let verdict = match what {
                3 | 4 => {
                    verdicts.drop(id);
                    (NF_DROP, None)
                }
                5 => {
                    held.push(id);
                    continue;
                }
                6 => {
                    verdicts.accept(id, mark, Some(b"abcde"));
                    (NF_ACCEPT, mark)
                }
                _ => {
                    verdicts.accept(id, mark, None);
                    (NF_ACCEPT, mark)
                }
            };
            given.insert(id.number, verdict);
        }
        model.send(verdicts.as_bytes());
        let waits = held.iter().map(|id| id.number).collect::<HashSet<_>>();
        prop_assert_eq!(model.waits.into_iter().collect::<HashSet<_>>(), waits);
        prop_assert_eq!(model.done, given);
    }
}
