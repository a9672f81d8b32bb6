use super::*;

/// `PASV` from 198.51.100.7:40000 to 10.0.0.11:21, with a timestamp option.
const TCP: [u8; 38] = [
    0x9c, 0x40, 0, 21, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x18, 1, 0, 0, 0, 0, 9, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, b'P',
    b'A', b'S', b'V', b'\r', b'\n',
];

fn v4(protocol: u8, fragment: [u8; 2], options: &[u8], payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + options.len() + payload.len()).unwrap().to_be_bytes();
    let words = 0x45 + u8::try_from(options.len() / 4).unwrap();
    let [f0, f1] = fragment;
    let header = [words, 0, total[0], total[1], 0, 1, f0, f1, 64, protocol, 0, 0, 198, 51, 100, 7, 10, 0, 0, 11];
    [&header[..], options, payload].concat()
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut header = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
    header.extend([0x20, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    header.extend([0x20, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 17]);
    [&header, payload].concat()
}

const WHOLE: [u8; 2] = [0x40, 0];

#[test]
fn a_plain_packet() {
    let mut bytes = v4(6, WHOLE, &[], &TCP);
    bytes.extend([0; 6]); // an Ethernet frame's padding
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(packet.payload(&bytes), b"PASV\r\n");
    assert_eq!(packet.source, "198.51.100.7:40000".parse().unwrap());
    assert_eq!(packet.destination, "10.0.0.11:21".parse().unwrap());
    assert_eq!((packet.tcp.seq, packet.tcp.ack, packet.tcp.urgent, packet.tcp_at), (1, 2, 9, 20));
    assert!(packet.tcp.flags.has(Flags::PSH.with(Flags::ACK)) && !packet.tcp.flags.has(Flags::SYN));
    assert_eq!(packet.tunnel, None);
}

#[test]
fn options_extension_headers_and_tunnels() {
    let hops = [60, 0, 0, 0, 0, 0, 0, 0, 51, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let authenticated = [6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let extended = [&hops[..8], &[51, 0, 0, 0, 0, 0, 0, 0], &authenticated, &TCP].concat();
    let inner4 = v4(6, WHOLE, &[], &TCP);
    let inner6 = v6(6, &TCP);
    for (name, bytes, tunnelled) in [
        ("options", v4(6, WHOLE, &[1, 1, 1, 0, 1, 1, 1, 0], &TCP), false),
        ("IPv6", v6(6, &TCP), false),
        ("extension headers", v6(0, &extended), false),
        ("atomic fragment", v6(44, &[&[6, 0, 0, 0, 0, 0, 0, 1][..], &TCP].concat()), false),
        ("IPIP", v4(4, WHOLE, &[], &inner4), true),
        ("6in4", v4(41, WHOLE, &[], &inner6), true),
        ("IPv6 in IPv6", v6(41, &inner6), true),
        ("4in6", v6(4, &inner4), true),
    ] {
        let packet = Packet::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(packet.payload(&bytes), b"PASV\r\n", "{name}");
        assert_eq!(packet.tunnel.is_some(), tunnelled, "{name}");
        for cut in 0..bytes.len() {
            assert!(Packet::parse(&bytes[..cut]).is_err(), "{name} cut at {cut}");
        }
    }
}

#[test]
fn what_cannot_be_read() {
    let mut header_too_long = TCP;
    header_too_long[12] = 0xf0;
    let mut header_too_short = TCP;
    header_too_short[12] = 0x40;
    for (bytes, error) in [
        (vec![], Unreadable::Truncated),
        (vec![0x50; 40], Unreadable::NotIp),
        (v4(17, WHOLE, &[], &TCP), Unreadable::NotTcp),
        (v4(6, [0x20, 0], &[], &TCP), Unreadable::Fragment),
        (v4(6, [0, 1], &[], &TCP), Unreadable::Fragment),
        (v6(44, &[&[6, 0, 0, 1, 0, 0, 0, 1][..], &TCP].concat()), Unreadable::Fragment),
        (v6(59, &TCP), Unreadable::NotTcp),
        (v6(60, &[60, 0, 0, 0, 0, 0, 0, 0].repeat(9)), Unreadable::Malformed),
        (v4(6, WHOLE, &[], &header_too_long), Unreadable::Truncated),
        (v4(6, WHOLE, &[], &header_too_short), Unreadable::Malformed),
        (v4(4, WHOLE, &[], &v4(4, WHOLE, &[], &v4(6, WHOLE, &[], &TCP))), Unreadable::NotTcp),
    ] {
        assert_eq!(Packet::parse(&bytes), Err(error), "{bytes:?}");
    }
}

#[test]
fn an_edit_is_carried_into_the_checksum() {
    for mut bytes in [v4(6, WHOLE, &[], &TCP), v6(6, &TCP), v4(41, WHOLE, &[], &v6(6, &TCP[..37]))] {
        let packet = Packet::parse(&bytes).unwrap();
        let right = |bytes: &[u8]| {
            let segment = &bytes[packet.tcp_at..packet.payload.end];
            let pseudo = checksum::pseudo_header(&packet.source, &packet.destination, segment.len());
            checksum::add(pseudo, checksum::sum(segment)) == 0xffff
        };
        packet.complete(&mut bytes);
        assert!(right(&bytes));
        let before = packet.payload_sum(&bytes);
        packet.payload_mut(&mut bytes)[1..4].copy_from_slice(b"XYZ");
        assert!(!right(&bytes));
        packet.amend(&mut bytes, before);
        assert!(right(&bytes));
        // RFC 1624 keeps damage damaged
        bytes[packet.tcp_at + 4] ^= 1;
        let before = packet.payload_sum(&bytes);
        packet.payload_mut(&mut bytes)[0] = b'Q';
        packet.amend(&mut bytes, before);
        assert!(!right(&bytes));
    }
}

#[test]
fn sums() {
    // RFC 1071 §3
    assert_eq!(checksum::sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    assert_eq!(checksum::sum(&[0x12]), 0x1200);
    // however many bytes there are: word by word, with the carries added
    for bytes in (0..80_u8).map(|length| (0..length).map(|n| n.wrapping_mul(37).wrapping_add(200)).collect::<Vec<_>>())
    {
        let words = bytes.chunks(2).map(|word| u32::from_be_bytes([0, 0, word[0], word.get(1).copied().unwrap_or(0)]));
        let carried = |sum: u32| (sum & 0xffff) + (sum >> 16);
        assert_eq!(u32::from(checksum::sum(&bytes)), carried(carried(words.sum())), "{bytes:?}");
    }
    // RFC 1624 §4: HC = 0xDD2F, m = 0x5555, m' = 0x3285
    assert_eq!(checksum::update(0xdd2f, 0x5555, 0x3285), 0x0000);
    // a range at an odd offset: the sums' bytes are swapped
    let (old, new) = ([1, 2, 3, 4, 5, 6], [1, 9, 8, 7, 5, 6]);
    let (before, after) = (checksum::sum(&old[1..4]).swap_bytes(), checksum::sum(&new[1..4]).swap_bytes());
    assert_eq!(checksum::update(!checksum::sum(&old), before, after), !checksum::sum(&new));
}
