//! The TCP header (RFC 9293 §3.1).

use std::ops::Range;

use super::unreadable::Unreadable;

/// Where the checksum stands in the header.
pub(super) const CHECKSUM: Range<usize> = 16..18;

/// The control bits that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// First segment of a direction.
    pub const SYN: Self = Self(0x02);
    /// The connection is torn down.
    pub const RST: Self = Self(0x04);
    /// Data that should be delivered at once.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These bits and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The low six bits of the header's flag byte.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0x3f)
    }
}

/// The fields of a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Port of the sender.
    pub source: u16,
    /// Port of the receiver.
    pub destination: u16,
    /// Sequence number of the first payload byte (of the SYN itself, where it is set).
    pub seq: u32,
    /// Acknowledgement number; counts with [`Flags::ACK`].
    pub ack: u32,
    /// Control bits, in the order of the header.
    pub flags: Flags,
    /// Urgent pointer: the payload's bytes up to and including the urgent one (RFC 6093).
    pub urgent: u16,
}

impl Tcp {
    /// Reads a header and says how long it is with its options.
    pub(super) fn parse(segment: &[u8]) -> Result<(Self, usize), Unreadable> {
        let header = segment.first_chunk::<20>().ok_or(Unreadable::Truncated)?;
        let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, _, _, _, _, u0, u1] = *header;
        let length = usize::from(offset >> 4).saturating_mul(4);
        if length < 20 {
            return Err(Unreadable::Malformed);
        }
        if length > segment.len() {
            return Err(Unreadable::Truncated);
        }
        let tcp = Self {
            source: u16::from_be_bytes([s0, s1]),
            destination: u16::from_be_bytes([d0, d1]),
            seq: u32::from_be_bytes([q0, q1, q2, q3]),
            ack: u32::from_be_bytes([a0, a1, a2, a3]),
            flags: Flags::from_bits(flags),
            urgent: u16::from_be_bytes([u0, u1]),
        };
        Ok((tcp, length))
    }
}
