//! Packets through the parser, and whole captures through `replay`.

use ftpdirector::facade::lvs::ForwardingMethod;
use ftpdirector::facade::replay::{ReplayOptions, ReportFormat, run as replay};
use ftpdirector::facade::wire::{Packet, checksum};

/// IPv4 with options, IPv6 with extension headers, and tunnels of both.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let tcp = [
        0x9c, 0x40, 0, 21, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x18, 1, 0, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2,
        b'P', b'A', b'S', b'V', b'\r', b'\n',
    ];
    let v4 = |protocol: u8, payload: &[u8], options: &[u8]| {
        let total = u16::try_from(20 + options.len() + payload.len()).expect("a short packet").to_be_bytes();
        let words = 0x45 + u8::try_from(options.len() / 4).expect("few options");
        let header = [words, 0, total[0], total[1], 0, 1, 0x40, 0, 64, protocol, 0, 0, 198, 51, 100, 7, 10, 0, 0, 11];
        [&header[..], options, payload].concat()
    };
    let v6 = |next: u8, payload: &[u8]| {
        let length = u16::try_from(payload.len()).expect("a short packet").to_be_bytes();
        [&[0x60, 0, 0, 0, length[0], length[1], next, 64][..], &[0x20; 32], payload].concat()
    };
    let extended = [
        &[60, 0, 0, 0, 0, 0, 0, 0, 43, 0, 0, 0, 0, 0, 0, 0, 44, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 1][..],
        &tcp,
    ]
    .concat();
    vec![
        v4(6, &tcp, &[]),
        v4(6, &tcp, &[1, 1, 1, 0]),
        v6(6, &tcp),
        v6(0, &extended),
        v4(4, &v4(6, &tcp, &[]), &[]),
        v4(41, &v6(6, &tcp), &[]),
        v6(41, &v6(6, &tcp)),
        v6(4, &v4(6, &tcp, &[])),
    ]
}

pub(super) fn run(input: &[u8]) -> Vec<u64> {
    let mut bytes = input.to_vec();
    let packet = match Packet::parse(input) {
        Ok(packet) => packet,
        Err(error) => return vec![error as u64],
    };
    assert!(packet.payload.start <= packet.payload.end && packet.payload.end <= input.len());
    assert!(packet.tcp_at + 20 <= packet.payload.start);
    // an edit that is carried into the checksum keeps the segment as right or wrong as it was
    packet.complete(&mut bytes);
    let whole = |bytes: &[u8]| {
        let segment = &bytes[packet.tcp_at..packet.payload.end];
        let pseudo = checksum::pseudo_header(&packet.source, &packet.destination, segment.len());
        checksum::add(pseudo, checksum::sum(segment))
    };
    assert_eq!(whole(&bytes), 0xffff);
    let before = packet.payload_sum(&bytes);
    for byte in packet.payload_mut(&mut bytes).iter_mut().skip(input.len() % 3).step_by(2) {
        *byte = byte.wrapping_mul(7).wrapping_add(3);
    }
    packet.amend(&mut bytes, before);
    assert_eq!(whole(&bytes), 0xffff);
    vec![100 + u64::from(packet.tunnel.is_some()) + 2 * u64::from(packet.source.is_ipv6())]
}

/// The packets in a pcap and a pcapng file.
pub(super) fn captures() -> Vec<Vec<u8>> {
    let word = |n: usize| u32::try_from(n).expect("a short file").to_le_bytes();
    let mut pcap = [&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..], &[0; 8], &[0, 0, 4, 0, 101, 0, 0, 0]].concat();
    let mut next =
        [&[10, 13, 13, 10, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8], &[28, 0, 0, 0]].concat();
    next.extend([1, 0, 0, 0, 20, 0, 0, 0, 101, 0, 0, 0, 0, 0, 4, 0, 20, 0, 0, 0]);
    for packet in seeds() {
        pcap.extend([&[0; 8], &word(packet.len())[..], &word(packet.len()), &packet].concat());
        let padding = vec![0; packet.len().next_multiple_of(4) - packet.len()];
        let length = word(32 + packet.len() + padding.len());
        let header = [&[6, 0, 0, 0][..], &length, &[0; 12], &word(packet.len()), &word(packet.len())].concat();
        next.extend([&header[..], &packet, &padding, &length].concat());
    }
    vec![pcap, next]
}

pub(super) fn run_capture(input: &[u8]) -> Vec<u64> {
    let mut features = vec![];
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr] {
        let options = ReplayOptions { forwarding, format: ReportFormat::Json, ports: vec![21] };
        let mut out = vec![];
        let feature = match replay(input, &options, &mut out) {
            Ok(summary) => summary.packets << 8 | summary.control << 4 | summary.fragments << 2 | summary.truncated,
            Err(_) => u64::MAX,
        };
        features.extend([feature, out.len() as u64 | 1 << 40]);
    }
    features
}
