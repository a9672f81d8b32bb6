//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use std::net::{IpAddr, SocketAddr};

/// The one's complement sum of `bytes` as big-endian words, an odd last byte padded with zero; not inverted.
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    // Four at a time, and in the machine's own order: the sum comes out in that order too (RFC 1071 §2 (B), (C)).
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
    // 2^32 words would fit
    let add = |total: u64, word: &[u8; 4]| total.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
    let total = add(words.iter().fold(0, add), &last);
    u16::from_be_bytes(fold(total).to_ne_bytes())
}

/// The one's complement sum of two sums.
#[must_use]
pub fn add(a: u16, b: u16) -> u16 {
    fold(u64::from(a).saturating_add(u64::from(b)))
}

/// The checksum field after a range that summed to `before` came to sum to `after` (RFC 1624 eqn. 3:
/// `HC' = ~(~HC + ~m + m')`). The range begins at an even offset; for one that begins at an odd offset swap the bytes
/// of both sums ([`u16::swap_bytes`], RFC 1071 §2 (B)).
#[must_use]
pub fn update(field: u16, before: u16, after: u16) -> u16 {
    !add(add(!field, !before), after)
}

/// The sum of the pseudo header of a TCP segment (RFC 9293 §3.1, RFC 8200 §8.1).
#[must_use]
pub fn pseudo_header(source: &SocketAddr, destination: &SocketAddr, length: usize) -> u16 {
    const TCP: u64 = 6;
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => sum(&ip.octets()),
        IpAddr::V6(ip) => sum(&ip.octets()),
    };
    let length = fold(u64::try_from(length).unwrap_or(u64::MAX));
    let ends = add(address(source.ip()), address(destination.ip()));
    add(ends, fold(TCP.saturating_add(u64::from(length))))
}

fn fold(mut total: u64) -> u16 {
    while u16::try_from(total).is_err() {
        total = (total & 0xffff).saturating_add(total >> 16);
    }
    u16::try_from(total).unwrap_or(0)
}
