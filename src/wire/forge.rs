//! A packet that refreshes an IPVS entry and that no real server takes for part of the connection.

use std::net::{IpAddr, SocketAddr};

use super::checksum;

const TTL: u8 = 64;
const TCP: u8 = 6;
const TCP_LENGTH: u8 = 20;
const ACK: u8 = 0x10;
/// What the TCP checksum is off by. IPVS's NAT updates a checksum incrementally (RFC 1624), so it stays off by this.
const OFF_BY: u16 = 0x5555;

/// An ACK from `client` to `vip` with a wrong TCP checksum, from the IP header on; `None` when the two are not of one
/// family. IPVS does not look at the checksum; the real server drops the segment before it looks at anything else
/// (RFC 9293 §3.1) and counts it in `InCsumErrors`.
#[must_use]
pub fn stale_ack(client: SocketAddr, vip: SocketAddr) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(60);
    match (client.ip(), vip.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            // RFC 791 §3.1; identification and header checksum are the kernel's (raw(7)). May not be fragmented.
            packet.extend([0x45, 0, 0, 20 + TCP_LENGTH, 0, 0, 0x40, 0, TTL, TCP, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            // RFC 8200 §3.
            packet.extend([0x60, 0, 0, 0, 0, TCP_LENGTH, TCP, TTL]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        _ => return None,
    }
    let [[c0, c1], [v0, v1]] = [client.port().to_be_bytes(), vip.port().to_be_bytes()];
    let header = [c0, c1, v0, v1, 0, 0, 0, 0, 0, 0, 0, 0, TCP_LENGTH << 2, ACK, 0, 0];
    let pseudo = checksum::pseudo_header(&client, &vip, usize::from(TCP_LENGTH));
    let wrong = checksum::add(!checksum::add(pseudo, checksum::sum(&header)), OFF_BY);
    packet.extend(header);
    packet.extend(wrong.to_be_bytes());
    packet.extend([0, 0]);
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::*;

    fn forged(client: &str, vip: &str) -> Vec<u8> {
        stale_ack(client.parse().unwrap(), vip.parse().unwrap()).unwrap()
    }

    #[test]
    fn it_is_an_empty_ack_between_the_two() {
        for (client, vip) in [("10.1.0.11:40000", "10.0.0.100:21"), ("[fd00:1::11]:40000", "[fd00::100]:2121")] {
            let parsed = Packet::parse(&forged(client, vip)).unwrap();
            assert_eq!((parsed.source, parsed.destination), (client.parse().unwrap(), vip.parse().unwrap()));
            assert_eq!(parsed.tcp.flags, super::super::Flags::ACK);
            assert!(parsed.payload.is_empty());
        }
    }

    #[test]
    fn its_checksum_is_never_right() {
        // Every port, so that no carry makes it right by chance; a wrong sum of 0 and of 0xffff are the same number.
        for port in 1..=u16::MAX {
            for (client, vip) in [("192.0.2.7", "192.0.2.10:21"), ("2001:db8::7", "[2001:db8::10]:21")] {
                let client = SocketAddr::new(client.parse().unwrap(), port);
                let packet = stale_ack(client, vip.parse().unwrap()).unwrap();
                let parsed = Packet::parse(&packet).unwrap();
                let segment = &packet[parsed.tcp_at..];
                let pseudo = checksum::pseudo_header(&parsed.source, &parsed.destination, segment.len());
                assert!(!matches!(checksum::add(pseudo, checksum::sum(segment)), 0 | 0xffff), "port {port}");
            }
        }
    }

    #[test]
    fn two_families_make_no_packet() {
        assert_eq!(stale_ack("192.0.2.7:1".parse().unwrap(), "[2001:db8::10]:21".parse().unwrap()), None);
    }
}
