//! Protocols that carry other packets and are not looked into: a capture of them looks empty, and says why.

/// One of them; several numbers may mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encapsulation {
    /// RFC 3032.
    Mpls,
    /// RFC 2516, with something else than IP in it (compressed, encrypted, in several links).
    Pppoe,
    /// IEEE 802.1AE.
    Macsec,
    /// RFC 2784, and with it PPTP.
    Gre,
    /// RFC 4302, 4303, and 3948: also behind UDP.
    Ipsec,
    /// RFC 2661.
    L2tp,
    /// RFC 7348.
    Vxlan,
    /// RFC 8926.
    Geneve,
}

impl Encapsulation {
    /// As people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mpls => "MPLS",
            Self::Pppoe => "PPPoE without IP",
            Self::Macsec => "MACsec",
            Self::Gre => "GRE",
            Self::Ipsec => "IPsec",
            Self::L2tp => "L2TP",
            Self::Vxlan => "VXLAN",
            Self::Geneve => "Geneve",
        }
    }

    /// What an ethertype announces.
    pub(super) const fn by_type(kind: u16) -> Option<Self> {
        match kind {
            0x8847 | 0x8848 => Some(Self::Mpls),
            0x88e5 => Some(Self::Macsec),
            _ => None,
        }
    }

    /// What is in a PPP frame that is no IP packet: the numbers from 0x8000 on are those of link and network control, which
    /// carry no packets (RFC 1661 §2).
    pub(super) const fn by_ppp(protocol: u16) -> Option<Self> {
        if protocol < 0x8000 { Some(Self::Pppoe) } else { None }
    }

    /// What an IP packet is that holds no TCP segment. Extension headers are not stepped over.
    pub(super) fn of(ip: &[u8]) -> Option<Self> {
        let (protocol, length) = match ip.first()? >> 4 {
            4 => (*ip.get(9)?, usize::from(ip.first()? & 0x0f) * 4),
            6 => (*ip.get(6)?, 40),
            _ => return None,
        };
        match protocol {
            17 => Self::by_port(ip.get(length..)?),
            47 => Some(Self::Gre),
            50 | 51 => Some(Self::Ipsec),
            115 => Some(Self::L2tp),
            _ => None,
        }
    }

    fn by_port(udp: &[u8]) -> Option<Self> {
        match u16::from_be_bytes([*udp.get(2)?, *udp.get(3)?]) {
            1701 => Some(Self::L2tp),
            4500 => Some(Self::Ipsec),
            // 8472 is Linux's own, from before there was a number for it
            4789 | 8472 => Some(Self::Vxlan),
            6081 => Some(Self::Geneve),
            _ => None,
        }
    }
}
