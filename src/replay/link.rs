//! Link layers: where the IP packet begins (<https://www.tcpdump.org/linktypes.html>).

const NULL: i32 = 0;
const ETHERNET: i32 = 1;
const RAW_BSD: i32 = 12;
const RAW_OPENBSD: i32 = 14;
const RAW: i32 = 101;
const LOOP: i32 = 108;
const LINUX_SLL: i32 = 113;
const IPV4: i32 = 228;
const IPV6: i32 = 229;
const LINUX_SLL2: i32 = 276;

/// Whether frames of this link type are understood.
pub(super) const fn is_known(link: i32) -> bool {
    matches!(link, NULL | ETHERNET | RAW_BSD | RAW_OPENBSD | RAW | LOOP | LINUX_SLL | IPV4 | IPV6 | LINUX_SLL2)
}

/// The IP packet in a frame; `None` if it carries something else.
pub(super) fn ip_packet(link: i32, frame: &[u8]) -> Option<&[u8]> {
    match link {
        RAW_BSD | RAW_OPENBSD | RAW | IPV4 | IPV6 => Some(frame),
        NULL | LOOP => frame.get(4..),
        ETHERNET => by_type(frame.get(12..)?),
        LINUX_SLL => by_type(frame.get(14..)?),
        LINUX_SLL2 => {
            let (kind, rest) = frame.split_first_chunk::<2>()?;
            let payload = rest.get(18..)?;
            match u16::from_be_bytes(*kind) {
                ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => Some(payload),
                VLAN | SERVICE_VLAN => by_type(payload.get(2..)?),
                _ => None,
            }
        }
        _ => None,
    }
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q.
const VLAN: u16 = 0x8100;
/// IEEE 802.1ad.
const SERVICE_VLAN: u16 = 0x88a8;
/// What 802.1ad was before its standard.
const OLD_SERVICE_VLAN: u16 = 0x9100;

/// What begins with an ethertype, perhaps with VLAN tags before the packet.
fn by_type(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (kind, payload) = rest.split_first_chunk::<2>()?;
        rest = match u16::from_be_bytes(*kind) {
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => return Some(payload),
            VLAN | SERVICE_VLAN | OLD_SERVICE_VLAN => payload.get(2..)?,
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_type_leads_to_the_packet() {
        let packet = [0x45, 1, 2, 3];
        let frame = |prefix: &[u8]| [prefix, &packet].concat();
        let mut ethernet = vec![0; 12];
        ethernet.extend([0x08, 0x00]);
        let mut tagged = vec![0; 12];
        tagged.extend([0x88, 0xa8, 0, 1, 0x81, 0x00, 0, 2, 0x08, 0x00]);
        let mut cooked = vec![0; 14];
        cooked.extend([0x08, 0x00]);
        let mut cooked2 = vec![0x08, 0x00];
        cooked2.extend([0; 18]);
        let mut cooked2_tagged = vec![0x81, 0x00];
        cooked2_tagged.extend([0; 18]);
        cooked2_tagged.extend([0, 5, 0x08, 0x00]);
        for (link, prefix) in [
            (ETHERNET, ethernet),
            (ETHERNET, tagged),
            (LINUX_SLL, cooked),
            (LINUX_SLL2, cooked2),
            (LINUX_SLL2, cooked2_tagged),
            (RAW, vec![]),
            (NULL, vec![2, 0, 0, 0]),
        ] {
            assert_eq!(ip_packet(link, &frame(&prefix)), Some(&packet[..]), "link type {link}");
        }
        assert_eq!(ip_packet(ETHERNET, &[0; 13]), None);
        assert_eq!(ip_packet(105, &packet), None);
    }
}
