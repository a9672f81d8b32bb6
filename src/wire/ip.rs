//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::unreadable::Unreadable;

/// What an IP header carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    /// Another IP packet: protocol 4 (RFC 2003) or 41 (RFC 2473).
    Ip,
    Other,
}

impl From<u8> for Protocol {
    fn from(number: u8) -> Self {
        match number {
            6 => Self::Tcp,
            4 | 41 => Self::Ip,
            _ => Self::Other,
        }
    }
}

/// One IP header; `payload` is in the coordinates of the whole packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: Protocol,
    pub payload: Range<usize>,
}

/// Reads the IP header that begins at `at`.
pub(super) fn parse(bytes: &[u8], at: usize) -> Result<Header, Unreadable> {
    let packet = bytes.get(at..).ok_or(Unreadable::Truncated)?;
    match packet.first().map(|b| b >> 4) {
        Some(4) => v4(packet, at),
        Some(6) => v6(packet, at),
        Some(_) => Err(Unreadable::NotIp),
        None => Err(Unreadable::Truncated),
    }
}

fn v4(packet: &[u8], at: usize) -> Result<Header, Unreadable> {
    let header = packet.first_chunk::<20>().ok_or(Unreadable::Truncated)?;
    let [version, _, l0, l1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let length = usize::from(version & 0x0f).saturating_mul(4);
    // 0: a segment larger than 64 KiB that the hardware will cut (BIG TCP); the buffer is the length
    let total = match u16::from_be_bytes([l0, l1]) {
        0 => packet.len(),
        total => usize::from(total),
    };
    if length < 20 || total < length {
        return Err(Unreadable::Malformed);
    }
    if u16::from_be_bytes([f0, f1]) & 0x3fff != 0 {
        return Err(Unreadable::Fragment);
    }
    if total > packet.len() {
        return Err(Unreadable::Truncated);
    }
    Ok(Header {
        source: Ipv4Addr::new(s0, s1, s2, s3).into(),
        destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
        protocol: protocol.into(),
        payload: at.saturating_add(length)..at.saturating_add(total),
    })
}

fn v6(packet: &[u8], at: usize) -> Result<Header, Unreadable> {
    let header = packet.first_chunk::<40>().ok_or(Unreadable::Truncated)?;
    let [_, _, _, _, l0, l1, next, _, addresses @ ..] = *header;
    let (source, destination) = addresses.split_at(16);
    let (Some(source), Some(destination)) = (source.first_chunk::<16>(), destination.first_chunk::<16>()) else {
        return Err(Unreadable::Truncated);
    };
    let total = match u16::from_be_bytes([l0, l1]) {
        0 => packet.len(), // jumbogram (RFC 2675) or BIG TCP
        length => usize::from(length).saturating_add(40),
    };
    if total > packet.len() {
        return Err(Unreadable::Truncated);
    }
    let (protocol, length) = extensions(packet.get(..total).unwrap_or(packet), next)?;
    Ok(Header {
        source: Ipv6Addr::from(*source).into(),
        destination: Ipv6Addr::from(*destination).into(),
        protocol: protocol.into(),
        payload: at.saturating_add(length)..at.saturating_add(total),
    })
}

/// Steps over extension headers (RFC 8200 §4): the upper protocol and where it begins.
fn extensions(packet: &[u8], first: u8) -> Result<(u8, usize), Unreadable> {
    let (mut next, mut at) = (first, 40_usize);
    // more headers than RFC 8200 §4.1 lists is an attempt to waste time
    for _ in 0..8 {
        let header = packet.get(at..).and_then(<[u8]>::first_chunk::<8>);
        let [following, length, offset, flags, ..] = match (next, header) {
            (0 | 43 | 44 | 51 | 60 | 135, Some(header)) => *header,
            (0 | 43 | 44 | 51 | 60 | 135, None) => return Err(Unreadable::Truncated),
            _ => return Ok((next, at)),
        };
        let size = match next {
            // atomic fragments (RFC 6946) are whole packets
            44 if u16::from_be_bytes([offset, flags]) & 0xfff9 != 0 => return Err(Unreadable::Fragment),
            44 => 8,
            51 => usize::from(length).saturating_add(2).saturating_mul(4), // RFC 4302 §2.2: in words
            _ => usize::from(length).saturating_add(1).saturating_mul(8),
        };
        at = at.saturating_add(size);
        if at > packet.len() {
            return Err(Unreadable::Truncated);
        }
        next = following;
    }
    Err(Unreadable::Malformed)
}
