use super::*;

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
