//! What a session is found by: the two ends of its control connection; and what counts as one client.

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
    /// The control connection from `client` to `server`.
    #[must_use]
    pub fn new(client: SocketAddr, server: SocketAddr) -> Self {
        Self { client: PackedEnd::of(client), server: PackedEnd::of(server) }
    }

    /// The client's address and port.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        self.client.socket()
    }

    /// The other end's address and port: the VIP's in DR and TUN, the real server's in NAT.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.server.socket()
    }
}

/// What counts as one client: an IPv4 address, an IPv6 /64 (a host with one of its addresses has them all).
pub fn client_of(key: &ConnectionKey) -> IpAddr {
    one_client(key.client().ip())
}

/// The client that an address belongs to.
pub fn one_client(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { address } else { network(address, 64) }
}
