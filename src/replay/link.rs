//! Link layers: where the IP packet begins (<https://www.tcpdump.org/linktypes.html>).

use super::encapsulation::Encapsulation;

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

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried<'a> {
    /// From its IP header on.
    Ip(&'a [u8]),
    /// Packets, perhaps, that are not looked for.
    Inside(Encapsulation),
    /// Neither, or the frame ends early.
    Nothing,
}

/// What a frame of this link type carries.
pub(super) fn carried(link: i32, frame: &[u8]) -> Carried<'_> {
    find(link, frame).unwrap_or(Carried::Nothing)
}

/// `None` where the frame ends early.
fn find(link: i32, frame: &[u8]) -> Option<Carried<'_>> {
    match link {
        RAW_BSD | RAW_OPENBSD | RAW | IPV4 | IPV6 => Some(Carried::Ip(frame)),
        NULL | LOOP => frame.get(4..).map(Carried::Ip),
        ETHERNET => typed(frame.get(12..)?),
        LINUX_SLL => typed(frame.get(14..)?),
        // the type stands first, and 18 bytes of header behind it
        LINUX_SLL2 => by_type(number(frame)?, frame.get(20..)?),
        _ => None,
    }
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Ethertype of a VLAN tag (IEEE 802.1Q).
const VLAN: u16 = 0x8100;
/// Ethertype of a service VLAN tag (IEEE 802.1ad).
const SERVICE_VLAN: u16 = 0x88a8;
/// What 802.1ad was before its standard.
const OLD_SERVICE_VLAN: u16 = 0x9100;

/// RFC 2516 §4: the stage in which PPP frames are carried.
const PPPOE_SESSION: u16 = 0x8864;

/// PPP's protocol numbers (RFC 1332, RFC 5072).
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

/// The 16-bit number that some bytes begin with.
fn number(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().copied().map(u16::from_be_bytes)
}

/// What begins with an ethertype.
fn typed(bytes: &[u8]) -> Option<Carried<'_>> {
    by_type(number(bytes)?, bytes.get(2..)?)
}

/// What an ethertype announces, perhaps with VLAN tags before the packet.
fn by_type(mut kind: u16, mut payload: &[u8]) -> Option<Carried<'_>> {
    while let VLAN | SERVICE_VLAN | OLD_SERVICE_VLAN = kind {
        (kind, payload) = (number(payload.get(2..)?)?, payload.get(4..)?);
    }
    match kind {
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => Some(Carried::Ip(payload)),
        // version, type, code, session and length: the packet knows its own length
        PPPOE_SESSION => by_protocol(payload.get(6..)?),
        kind => Encapsulation::by_type(kind).map(Carried::Inside),
    }
}

/// What begins with PPP's protocol field, two bytes long (RFC 2516 §7 advises against its compression).
fn by_protocol(bytes: &[u8]) -> Option<Carried<'_>> {
    match number(bytes)? {
        PPP_IPV4 | PPP_IPV6 => bytes.get(2..).map(Carried::Ip),
        protocol => Encapsulation::by_ppp(protocol).map(Carried::Inside),
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
        let pppoe = [0x88, 0x64, 0x11, 0, 0, 1, 0, 6, 0x00, 0x21];
        let tagged_pppoe = [&[0; 12][..], &[0x81, 0x00, 0, 7], &pppoe[..8], &[0x00, 0x57]].concat();
        let mut cooked2_tagged = vec![0x81, 0x00];
        cooked2_tagged.extend([0; 18]);
        cooked2_tagged.extend([0, 5, 0x08, 0x00]);
        for (link, prefix) in [
            (ETHERNET, ethernet),
            (ETHERNET, tagged),
            (ETHERNET, [&[0; 12][..], &pppoe].concat()),
            (ETHERNET, tagged_pppoe),
            (LINUX_SLL, [&[0; 14][..], &pppoe].concat()),
            (LINUX_SLL2, [&pppoe[..2], &[0; 18], &pppoe[2..]].concat()),
            (LINUX_SLL, cooked),
            (LINUX_SLL2, cooked2),
            (LINUX_SLL2, cooked2_tagged),
            (RAW, vec![]),
            (NULL, vec![2, 0, 0, 0]),
        ] {
            assert_eq!(carried(link, &frame(&prefix)), Carried::Ip(&packet), "link type {link}");
        }
        assert_eq!(carried(ETHERNET, &[0; 13]), Carried::Nothing);
        assert_eq!(carried(105, &packet), Carried::Nothing);
    }

    #[test]
    fn what_is_not_looked_into_is_named() {
        let inside = |kind: [u8; 2], rest: &[u8]| match carried(ETHERNET, &[&[0; 12][..], &kind, rest].concat()) {
            Carried::Inside(encapsulation) => Some(encapsulation),
            Carried::Ip(_) | Carried::Nothing => None,
        };
        assert_eq!(inside([0x88, 0x47], &[0, 1, 0x41, 64, 0x45]), Some(Encapsulation::Mpls));
        assert_eq!(inside([0x88, 0xe5], &[]), Some(Encapsulation::Macsec));
        assert_eq!(inside([0x81, 0x00], &[0, 7, 0x88, 0x48]), Some(Encapsulation::Mpls));
        // compressed (RFC 1962), and in several links (RFC 1990)
        for protocol in [0xfd, 0x3d] {
            assert_eq!(inside([0x88, 0x64], &[0x11, 0, 0, 1, 0, 6, 0, protocol]), Some(Encapsulation::Pppoe));
        }
        // ARP, and discovery in PPPoE
        for kind in [[0x08, 0x06], [0x88, 0x63]] {
            assert_eq!(inside(kind, &[0; 28]), None);
        }
    }

    #[test]
    fn a_frame_that_ends_early_or_holds_no_packet_is_none() {
        let whole = [&[0; 12][..], &[0x81, 0, 0, 7, 0x88, 0x64, 0x11, 0, 0, 1, 0, 6, 0x00, 0x21]].concat();
        assert_eq!(carried(ETHERNET, &whole), Carried::Ip(&[]));
        for length in 0..whole.len() {
            assert_eq!(carried(ETHERNET, &whole[..length]), Carried::Nothing, "{length} bytes");
        }
        // LCP
        assert_eq!(carried(ETHERNET, &[&whole[..24], &[0xc0, 0x21, 9, 0]].concat()), Carried::Nothing);
    }
}
