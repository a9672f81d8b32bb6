//! Packets, as the queue hands them over.

use std::net::{IpAddr, SocketAddr};

use ftpdirector::facade::wire::Packet;

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub payload: &'a [u8],
    /// The end of the tunnel that it is in.
    pub tunnel: Option<IpAddr>,
    /// Whether its checksum is wrong.
    pub damaged: bool,
}

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const ACK: u8 = 0x10;

impl Segment<'_> {
    /// Writes it from the IP header on.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        let length = 20 + self.payload.len();
        if let Some(exit) = self.tunnel {
            let (header, protocol) = if self.from.is_ipv4() { (20, 4) } else { (40, 41) };
            ip(out, exit, exit, protocol, header + length);
        }
        ip(out, self.from.ip(), self.to.ip(), 6, length);
        let at = out.len();
        out.extend(self.from.port().to_be_bytes());
        out.extend(self.to.port().to_be_bytes());
        out.extend(self.seq.to_be_bytes());
        out.extend(self.ack.to_be_bytes());
        out.extend([0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        out.extend(self.payload);
        Packet::parse(out).expect("a packet").complete(out);
        out[at + 16] ^= u8::from(self.damaged);
    }
}

fn ip(out: &mut Vec<u8>, from: IpAddr, to: IpAddr, protocol: u8, length: usize) {
    let length = u16::try_from(length).expect("a short packet");
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = (20 + length).to_be_bytes();
            out.extend([0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
            out.extend(from.octets());
            out.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [high, low] = length.to_be_bytes();
            out.extend([0x60, 0, 0, 0, high, low, protocol, 64]);
            out.extend(from.octets());
            out.extend(to.octets());
        }
        _ => panic!("one family"),
    }
}
