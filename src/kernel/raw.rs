//! Sockets that send whole IP packets (raw(7), `IPPROTO_RAW`).

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Errno, KernelError};

/// Two sockets, one for IPv4 and one for IPv6.
#[derive(Debug)]
pub struct Raw {
    v4: Socket,
    /// `None` on a machine without IPv6.
    v6: Option<Socket>,
}

impl Raw {
    /// Opens both sockets.
    ///
    /// # Errors
    /// `Missing` without CAP_NET_RAW.
    pub fn open() -> Result<Self, KernelError> {
        let open = |domain| Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)));
        let refused = |error: io::Error| match Errno::of(&error) {
            Errno::EPERM | Errno(libc::EACCES) => KernelError::Missing {
                what: format!("opening a raw socket: {}", Errno::of(&error)),
                cure: "give the service CAP_NET_RAW (systemd: AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW)".into(),
            },
            errno => KernelError::refused("opening a raw socket", errno, None),
        };
        // Sends only: IPPROTO_RAW receives nothing, and on IPv4 it includes the header by itself.
        let v4 = open(Domain::IPV4).map_err(refused)?;
        let v6 = match open(Domain::IPV6) {
            Ok(socket) => {
                socket.set_header_included_v6(true).map_err(refused)?;
                Some(socket)
            }
            Err(error) if Errno::of(&error) == Errno(libc::EAFNOSUPPORT) => None,
            Err(error) => return Err(refused(error)),
        };
        Ok(Self { v4, v6 })
    }

    /// Sends a packet, from its IP header on, to the address that stands in it.
    ///
    /// # Errors
    /// Those of sendto(2): EPERM when a rule of the output hook drops it.
    pub fn send(&self, packet: &[u8], to: IpAddr) -> Result<(), KernelError> {
        let socket = match to {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => self.v6.as_ref().unwrap_or(&self.v4),
        };
        let tried = || format!("sending a packet to {to}");
        // In IPv6 the port is a protocol number (raw(7)); 0 is the socket's own.
        match socket.send_to(packet, &SockAddr::from(SocketAddr::new(to, 0))) {
            Ok(_) => Ok(()),
            Err(error) if Errno::of(&error) == Errno::EPERM => Err(KernelError::Conflict {
                tried: tried(),
                holder: "a rule of the output hook drops it (EPERM)".into(),
                cure: format!("let TCP to {to} pass there (nft list ruleset)"),
            }),
            Err(error) => Err(KernelError::Refused { tried: tried(), errno: Errno::of(&error), said: None }),
        }
    }
}

/// Whether packets to `address` end on this machine: its own address is then the source that the kernel would choose.
#[must_use]
pub fn is_local(address: IpAddr) -> bool {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => ([0; 4], 0).into(),
        IpAddr::V6(_) => ([0; 16], 0).into(),
    };
    // Connecting a UDP socket sends nothing; 9 is the port of discard.
    let source =
        UdpSocket::bind(any).and_then(|socket| socket.connect((address, 9)).and_then(|()| socket.local_addr()));
    source.is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_local_and_the_world_is_not() {
        assert!(is_local("127.0.0.1".parse().unwrap()));
        // RFC 5737: nobody's.
        assert!(!is_local("192.0.2.1".parse().unwrap()));
    }
}
