//! Packet bytes ⇄ fields: where the TCP segment of a queued packet lies, and how its checksum follows an edit.
//!
//! Nothing here borrows or copies the packet: [`Packet`] is a set of offsets, so that the payload can be edited in the
//! receive buffer it came in.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::arithmetic_side_effects
    )
)]

pub mod checksum;
pub mod forge;
mod ip;
mod tcp;
mod unreadable;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

pub use tcp::{Flags, Tcp};
pub use unreadable::Unreadable;

/// The addresses of an IP-in-IP tunnel around a packet (RFC 2003, RFC 2473).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Source address of the outer header: the tunnel's entry.
    pub source: IpAddr,
    /// The tunnel's exit: in an IPVS tunnel the real server.
    pub destination: IpAddr,
}

/// One TCP segment in an IP packet, as offsets into the packet's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The tunnel around it, outermost header only; `None` without encapsulation.
    pub tunnel: Option<Tunnel>,
    /// Address and port of the (inner) sender.
    pub source: SocketAddr,
    /// Address and port of the (inner) receiver.
    pub destination: SocketAddr,
    /// Where the TCP header begins.
    pub tcp_at: usize,
    /// The TCP header's fields.
    pub tcp: Tcp,
    /// The payload's bytes, trimmed to what the IP header says (padding is not payload).
    pub payload: Range<usize>,
}

impl Packet {
    /// Reads a packet that begins with an IP header, through at most one level of IP-in-IP.
    ///
    /// # Errors
    /// When it holds no readable TCP segment.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        let outer = ip::parse(bytes, 0)?;
        let (header, tunnel) = match outer.protocol {
            ip::Protocol::Ip => {
                let inner = ip::parse(bytes.get(..outer.payload.end).unwrap_or(bytes), outer.payload.start)?;
                (inner, Some(Tunnel { source: outer.source, destination: outer.destination }))
            }
            ip::Protocol::Tcp | ip::Protocol::Other => (outer, None),
        };
        if header.protocol != ip::Protocol::Tcp {
            return Err(Unreadable::NotTcp);
        }
        let segment = bytes.get(header.payload.clone()).ok_or(Unreadable::Truncated)?;
        let (tcp, length) = Tcp::parse(segment)?;
        Ok(Self {
            tunnel,
            source: SocketAddr::new(header.source, tcp.source),
            destination: SocketAddr::new(header.destination, tcp.destination),
            tcp_at: header.payload.start,
            payload: header.payload.start.saturating_add(length)..header.payload.end,
            tcp,
        })
    }

    /// The payload of the packet that this was parsed from.
    #[must_use]
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.payload.clone()).unwrap_or(&[])
    }

    /// The payload of the packet that this was parsed from, to edit in place; then see [`Packet::amend`].
    #[must_use]
    pub fn payload_mut<'a>(&self, bytes: &'a mut [u8]) -> &'a mut [u8] {
        bytes.get_mut(self.payload.clone()).unwrap_or(&mut [])
    }

    /// The payload's contribution to the checksum: take it before an edit and give it to [`Packet::amend`].
    #[must_use]
    pub fn payload_sum(&self, bytes: &[u8]) -> u16 {
        checksum::sum(self.payload(bytes))
    }

    /// Carries an edit of the payload into the TCP checksum (RFC 1624 eqn. 3): a damaged segment stays damaged.
    /// `before` is [`Packet::payload_sum`] of the bytes before the edit.
    pub fn amend(&self, bytes: &mut [u8], before: u16) {
        let after = self.payload_sum(bytes);
        if let Some(field) = self.checksum_field(bytes) {
            *field = checksum::update(u16::from_be_bytes(*field), before, after).to_be_bytes();
        }
    }

    /// Whether the TCP checksum is right: of a segment whose checksum is wrong the other end believes nothing (RFC 9293
    /// §3.1).
    #[must_use]
    pub fn is_intact(&self, bytes: &[u8]) -> bool {
        let segment = bytes.get(self.tcp_at..self.payload.end).unwrap_or(&[]);
        let ends = checksum::pseudo_header(&self.source, &self.destination, segment.len());
        checksum::add(ends, checksum::sum(segment)) == u16::MAX
    }

    /// Whether the checksum is left to the hardware: the field holds the sum of the pseudo header alone (`CHECKSUM_PARTIAL`).
    #[must_use]
    pub fn is_unfinished(&self, bytes: &[u8]) -> bool {
        let segment = bytes.get(self.tcp_at..self.payload.end).unwrap_or(&[]);
        let field = segment.get(tcp::CHECKSUM).and_then(|field| field.first_chunk::<2>());
        let ends = checksum::pseudo_header(&self.source, &self.destination, segment.len());
        field.is_some_and(|field| u16::from_be_bytes(*field) == ends)
    }

    /// Writes the TCP checksum anew, for a packet whose checksum was left to the hardware (`CHECKSUM_PARTIAL`,
    /// `NFQA_SKB_CSUMNOTREADY`): there the field holds no sum that could be amended.
    pub fn complete(&self, bytes: &mut [u8]) {
        if let Some(field) = self.checksum_field(bytes) {
            *field = [0, 0];
        }
        let segment = bytes.get(self.tcp_at..self.payload.end).unwrap_or(&[]);
        let whole = !checksum::add(
            checksum::pseudo_header(&self.source, &self.destination, segment.len()),
            checksum::sum(segment),
        );
        if let Some(field) = self.checksum_field(bytes) {
            *field = whole.to_be_bytes();
        }
    }

    fn checksum_field<'a>(&self, bytes: &'a mut [u8]) -> Option<&'a mut [u8; 2]> {
        bytes.get_mut(self.tcp_at..)?.get_mut(tcp::CHECKSUM)?.first_chunk_mut::<2>()
    }
}

#[cfg(test)]
mod tests;
