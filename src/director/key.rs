//! Which control connection, and whose.

use std::net::{IpAddr, SocketAddr};

use crate::lvs::network;

/// One end of a connection in 18 bytes, so that a million keys stay small; IPv4 is kept mapped (RFC 4291 §2.5.5.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PackedEnd {
    address: [u8; 16],
    port: u16,
}

impl PackedEnd {
    fn of(end: SocketAddr) -> Self {
        let address = match end.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        Self { address, port: end.port() }
    }

    fn socket(self) -> SocketAddr {
        SocketAddr::new(IpAddr::from(self.address).to_canonical(), self.port)
    }
}

/// A control connection as both hooks see it: the client, and the server's end (the VIP in DR and TUN, the real server
/// in NAT).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    client: PackedEnd,
    server: PackedEnd,
}

impl ConnectionKey {
    /// The connection between these two.
    #[must_use]
    pub fn new(client: SocketAddr, server: SocketAddr) -> Self {
        Self { client: PackedEnd::of(client), server: PackedEnd::of(server) }
    }

    /// The client's end.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        self.client.socket()
    }

    /// The server's end.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.server.socket()
    }
}

/// What counts as one client: an IPv4 address, an IPv6 /64 (who has one of its addresses has them all).
pub fn client_of(key: &ConnectionKey) -> IpAddr {
    let address = key.client().ip();
    if address.is_ipv4() { address } else { network(address, 64) }
}
