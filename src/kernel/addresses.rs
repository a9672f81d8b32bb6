//! Addresses of interfaces, through rtnetlink.
//!
//! Each address says who added it (`IFA_PROTO`, Linux 5.18), so that ours are known after a restart and nobody else's is
//! touched. [`Addresses::keeps_who_added`] asks the kernel whether it does.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixDatagram;

use netlink_packet_core::{Emitable as _, Parseable as _};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeader, AddressMessage, AddressProtocol, CacheInfo,
};
use rustix::net::netdevice::{index_to_name, name_to_index};

use super::abi::nfnetlink::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST};
use super::abi::rtnetlink::{IFA_PROTO, RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR};
use super::netlink::{Acknowledgement, Dumped, Netfilter, Writer, messages};
use super::{Errno, KernelError};
use crate::state::{Change, LocalAddress, PROTOCOL};

/// How often a dump is begun again because an address changed meanwhile.
const DUMPS: usize = 8;

/// An address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedAddress {
    /// The number of the interface (`ifindex`).
    pub index: u32,
    /// The address, without its prefix length.
    pub address: IpAddr,
    /// Whether the daemon added the address (`IFA_PROTO` 0x46).
    pub ours: bool,
    /// IPv4: whether another of the same network came first.
    pub secondary: bool,
}

/// A connection to rtnetlink.
#[derive(Debug)]
pub struct Addresses {
    netlink: Netfilter,
    seq: u32,
}

impl Addresses {
    /// Opens an rtnetlink socket.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn connect() -> Result<Self, KernelError> {
        Ok(Self { netlink: Netfilter::route(0)?, seq: 0 })
    }

    /// Every address of this machine, in the kernel's order: `ip address show`.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn list(&mut self) -> Result<Vec<ListedAddress>, KernelError> {
        let refused = |answer: Acknowledgement| KernelError::refused("ip address show", answer.errno, answer.said);
        for _ in 0..DUMPS {
            if let Some(listed) = self.list_once().map_err(refused)? {
                return Ok(listed);
            }
        }
        Err(KernelError::refused("ip address show", Errno(libc::EINTR), None))
    }

    /// `None` when an address changed during the dump.
    fn list_once(&mut self) -> Result<Option<Vec<ListedAddress>>, Acknowledgement> {
        let (seq, request) = self.request(RTM_GETADDR, NLM_F_DUMP, &AddressMessage::default());
        let mut listed = Vec::new();
        let dumped = self.netlink.dump(seq, request.as_bytes(), &mut |datagram| {
            let rows = messages(datagram).filter(|message| message.seq == seq && message.kind == RTM_NEWADDR);
            listed.extend(rows.filter_map(|message| datagram.get(message.body).and_then(parse)));
        })?;
        match dumped {
            Dumped::Whole => Ok(Some(listed)),
            Dumped::Interrupted => Ok(None),
            Dumped::Lost => Err(Acknowledgement { errno: Errno::ENOBUFS, said: None }),
        }
    }

    /// `ip address add`; that it is there already is no error.
    ///
    /// # Errors
    /// What the kernel refused: ENODEV when there is no such interface.
    pub fn add(&mut self, to: &LocalAddress) -> Result<(), KernelError> {
        let tried = Change::AddAddress(to.clone()).to_string();
        let mut message = message(to, &tried)?;
        if to.address.is_ipv6() {
            let mut lifetime = CacheInfo::default();
            (lifetime.ifa_preferred, lifetime.ifa_valid) = (0, u32::MAX);
            message.attributes.push(AddressAttribute::CacheInfo(lifetime));
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        message.attributes.push(AddressAttribute::Protocol(AddressProtocol::from(PROTOCOL)));
        self.change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &message, &tried, Errno::EEXIST)
    }

    /// `ip address delete`; that it is gone already is no error.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn delete(&mut self, from: &LocalAddress) -> Result<(), KernelError> {
        let tried = Change::DeleteAddress(from.clone()).to_string();
        // An interface that is gone has taken its addresses with it.
        if index_of(&from.interface).is_none() {
            return Ok(());
        }
        let message = message(from, &tried)?;
        self.change(RTM_DELADDR, 0, &message, &tried, Errno(libc::EADDRNOTAVAIL))
    }

    /// Whether the kernel keeps who added an address. It is asked for something that it must refuse: an address on no interface,
    /// added by nobody. Only a kernel that overlooks the empty `IFA_PROTO` comes to look for the interface (ENODEV); one that knows
    /// it finds it too short before that (ERANGE).
    ///
    /// # Errors
    /// What the kernel said, if it could not be asked.
    pub fn keeps_who_added(&mut self) -> Result<bool, KernelError> {
        let tried = "asking the kernel for IFA_PROTO";
        let mut message = AddressMessage::default();
        let index = i32::MAX.unsigned_abs();
        message.header =
            AddressHeader { family: AddressFamily::Inet, prefix_len: 32, index, ..AddressHeader::default() };
        message.attributes = vec![AddressAttribute::Local(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        let (seq, request) =
            self.request_with(RTM_NEWADDR, NLM_F_ACK, &message, |writer| writer.attribute(IFA_PROTO, &[]));
        self.netlink.send(request.as_bytes()).map_err(|error| KernelError::io(tried, &error))?;
        let Acknowledgement { errno, said } = self.answer(seq, tried)?;
        match KernelError::refused(tried, errno, said) {
            denied @ KernelError::Permission { .. } => Err(denied),
            _ => Ok(errno != Errno(libc::ENODEV)),
        }
    }

    fn change(
        &mut self,
        kind: u16,
        flags: u16,
        message: &AddressMessage,
        tried: &str,
        already: Errno,
    ) -> Result<(), KernelError> {
        let refused = |answer: Acknowledgement| KernelError::refused(tried, answer.errno, answer.said);
        let seq = self.send(kind, flags | NLM_F_ACK, message).map_err(refused)?;
        let answer = self.answer(seq, tried)?;
        if answer.errno == Errno(0) || answer.errno == already { Ok(()) } else { Err(refused(answer)) }
    }

    fn answer(&mut self, seq: u32, tried: &str) -> Result<Acknowledgement, KernelError> {
        loop {
            let datagram = self.netlink.receive(0).map_err(|error| KernelError::io(tried, &error))?;
            let answers = messages(datagram).filter(|message| message.seq == seq);
            if let Some(answer) = answers.filter_map(|message| message.answer(datagram)).next() {
                return Ok(answer);
            }
        }
    }

    fn send(&mut self, kind: u16, flags: u16, message: &AddressMessage) -> Result<u32, Acknowledgement> {
        let (seq, request) = self.request(kind, flags, message);
        let sent = self.netlink.send(request.as_bytes());
        sent.map_err(|error| Acknowledgement { errno: Errno::of(&error), said: None })?;
        Ok(seq)
    }

    /// A request and its number.
    fn request(&mut self, kind: u16, flags: u16, message: &AddressMessage) -> (u32, Writer) {
        self.request_with(kind, flags, message, |_| ())
    }

    /// A request with more attributes, and its number.
    fn request_with(
        &mut self,
        kind: u16,
        flags: u16,
        message: &AddressMessage,
        more: impl FnOnce(&mut Writer),
    ) -> (u32, Writer) {
        self.seq = self.seq.wrapping_add(1);
        let mut body = vec![0; message.buffer_len()];
        message.emit(&mut body);
        let mut writer = Writer::default();
        let open = writer.begin(kind, NLM_F_REQUEST | flags, self.seq);
        writer.raw(&body);
        more(&mut writer);
        writer.end(open);
        (self.seq, writer)
    }
}

fn message(of: &LocalAddress, tried: &str) -> Result<AddressMessage, KernelError> {
    let index = index_of(&of.interface).ok_or_else(|| no_interface(&of.interface, tried))?;
    let mut message = AddressMessage::default();
    message.header = AddressHeader {
        family: if of.address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 },
        prefix_len: of.length(),
        index,
        ..AddressHeader::default()
    };
    message.attributes = vec![AddressAttribute::Local(of.address), AddressAttribute::Address(of.address)];
    Ok(message)
}

/// The addresses that we added, of interfaces that still exist.
#[must_use]
pub fn own(listed: &[ListedAddress]) -> BTreeSet<LocalAddress> {
    let ours = listed.iter().filter(|listed| listed.ours);
    let named =
        ours.filter_map(|listed| Some(LocalAddress { interface: name_of(listed.index)?, address: listed.address }));
    named.collect()
}

/// What is said of an interface that does not exist.
#[must_use]
pub fn no_interface(interface: &str, tried: &str) -> KernelError {
    KernelError::Missing {
        what: format!("{tried}: there is no interface {interface}"),
        cure: "create the interface, or correct `vip_interface` (ip link)".to_owned(),
    }
}

fn parse(body: &[u8]) -> Option<ListedAddress> {
    let message = AddressMessage::parse(body).ok()?;
    let (mut local, mut far, mut ours, mut secondary) = (None, None, false, false);
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(address),
            AddressAttribute::Address(address) => far = Some(address),
            AddressAttribute::Protocol(protocol) => ours = u8::from(protocol) == PROTOCOL,
            AddressAttribute::Flags(flags) => secondary = flags.contains(AddressFlags::Secondary),
            _ => {}
        }
    }
    // Point to point, the second one is the other end.
    Some(ListedAddress { index: message.header.index, address: local.or(far)?, ours, secondary })
}

/// The number of an interface, if there is one of that name.
#[must_use]
pub fn index_of(name: &str) -> Option<u32> {
    name_to_index(any_socket()?, name).ok()
}

/// The name of an interface, if it still exists.
#[must_use]
pub fn name_of(index: u32) -> Option<String> {
    index_to_name(any_socket()?, index).ok()
}

/// netdevice(7): a socket of any family will do.
fn any_socket() -> Option<UnixDatagram> {
    UnixDatagram::unbound().ok()
}

/// Hears of addresses that come and go.
#[derive(Debug)]
pub struct AddressChanges(Netfilter);

impl AddressChanges {
    /// Listens from now on.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn open() -> Result<Self, KernelError> {
        Netfilter::route(RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR).map(Self)
    }

    /// Waits for a change, at most some seconds; takes in what else has changed by then.
    ///
    /// # Errors
    /// Those of recv(2). That changes were lost is a change.
    pub fn changed(&mut self) -> io::Result<bool> {
        match self.0.receive(0) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if Errno::of(&error) == Errno::ENOBUFS => {}
            Err(error) => return Err(error),
        }
        self.0.drain();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux 5.18 and later; without privileges every request is refused before it is read (EPERM).
    #[test]
    fn a_kernel_is_asked_whether_it_keeps_who_added_an_address() {
        let asked = Addresses::connect().expect("a socket").keeps_who_added();
        assert!(matches!(asked, Ok(true) | Err(KernelError::Permission { .. })), "{asked:?}");
    }

    #[test]
    fn an_interface_has_a_number_and_a_name() {
        let lo = index_of("lo").expect("every network namespace has one");
        assert_eq!(name_of(lo).as_deref(), Some("lo"));
        assert_eq!(name_of(u32::MAX), None);
        for name in ["", "lo0123456789abcdef"] {
            assert_eq!(index_of(name), None, "{name}");
        }
    }
}
