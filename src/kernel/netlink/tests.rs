use super::*;

#[test]
fn what_is_written_can_be_read() {
    let mut writer = Writer::default();
    let message = writer.begin(0x0a0c, 0x5, 7);
    writer.nfgenmsg(1, 10);
    writer.string(1, "ab");
    let nest = writer.nest(2);
    writer.attribute(3, &[1, 2, 3, 4, 5]);
    writer.end_nest(nest);
    writer.end(message);
    let bytes = writer.as_bytes();
    let all: Vec<_> = messages(bytes).collect();
    assert_eq!(all, [NetlinkMessage { kind: 0x0a0c, flags: 5, seq: 7, body: 16..bytes.len() }]);
    let body = &bytes[16 + NFGENMSG_LEN..];
    let top: Vec<_> = attributes(body).collect();
    assert_eq!(top[0], (1, &b"ab\0"[..]));
    assert_eq!(top[1].0, 2, "without NLA_F_NESTED");
    assert_eq!(attributes(top[1].1).collect::<Vec<_>>(), [(3, &[1, 2, 3, 4, 5][..])]);
}

#[test]
fn malformed_lengths_end_the_iteration() {
    for len in [0u32, 15, 21, u32::MAX] {
        let mut bytes = vec![0; 20];
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        assert_eq!(messages(&bytes).count(), 0, "{len}");
    }
    for len in [0u16, 3, 9, u16::MAX] {
        let mut bytes = vec![0; 8];
        bytes[..2].copy_from_slice(&len.to_ne_bytes());
        assert_eq!(attributes(&bytes).count(), 0, "{len}");
    }
    assert_eq!(messages(&[1, 2]).count(), 0);
}

/// Built by hand after `netlink_ack()`: error, header of the refused request, then the words.
#[test]
fn an_error_carries_the_kernels_words() {
    let mut writer = Writer::default();
    let message = writer.begin(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, 9);
    writer.bytes.extend_from_slice(&(-17i32).to_ne_bytes());
    writer.bytes.extend_from_slice(&[0; NLMSG_HDRLEN]);
    writer.string(NLMSGERR_ATTR_MSG, "already there");
    writer.end(message);
    let bytes = writer.as_bytes();
    let answer = messages(bytes).next().unwrap().answer(bytes).unwrap();
    assert_eq!(answer, Acknowledgement { errno: Errno::EEXIST, said: Some("already there".to_owned()) });
}
