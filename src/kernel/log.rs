//! NFLOG: packets that the ruleset tells us about. What is lost is lost; nothing waits for us.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::abi::nfnetlink::{NFNL_SUBSYS_ULOG, NFPROTO_UNSPEC, NLM_F_REQUEST};
use super::abi::nfnetlink_log::{
    NFULA_CFG_CMD, NFULA_CFG_MODE, NFULA_CFG_QTHRESH, NFULA_MARK, NFULA_PACKET_HDR, NFULA_PAYLOAD, NFULA_PREFIX,
    NFULNL_CFG_CMD_BIND, NFULNL_COPY_PACKET, NFULNL_MSG_CONFIG, NFULNL_MSG_PACKET,
};
use super::netlink::{NFGENMSG_LEN, Netfilter, Writer, attributes, be32, messages};
use super::{Errno, KernelError, requirements};

/// Enough of the first packet of a data connection: IP (60 bytes at most, outer and inner header in TUN) and the beginning of TCP.
pub const HEADERS: u32 = 128;
/// All of a short packet: longer ones are not logged.
pub const SHORT: u32 = 1024;
/// The kernel gathers this many packets before it sends them: each goes into our socket before the packet goes on, so that what
/// anyone answers to it is queued later.
const QTHRESH: u32 = 1;
/// Bytes that wait in the socket, headers and all.
const BUFFER: u32 = 8 << 20;
/// Datagrams handled before `receive` returns, more than the buffer holds: a socket that overflowed takes nothing more until it has
/// been emptied (net/netlink/af_netlink.c: `NETLINK_S_CONGESTED`), and says so once.
const DATAGRAMS: usize = 32 * 1024;

/// A packet that a `log group` rule matched.
#[derive(Debug, PartialEq, Eq)]
pub struct Logged<'a> {
    /// The packet's firewall mark; 0 for none.
    pub mark: u32,
    /// The hook where the packet was logged (`NF_INET_…`).
    pub hook: u8,
    /// The rule's `prefix`, without its NUL.
    pub prefix: &'a [u8],
    /// From the IP header on, as many bytes as the group was opened for.
    pub payload: &'a [u8],
}

/// An NFLOG group that we own.
#[derive(Debug)]
pub struct PacketLog {
    netlink: Netfilter,
    overruns: u64,
}

impl PacketLog {
    /// Takes NFLOG group `group` for this process; of each packet it sees the first `copy` bytes.
    ///
    /// # Errors
    /// `Conflict` when another process (ulogd, tcpdump) has it.
    pub fn open(group: u16, copy: u32) -> Result<Self, KernelError> {
        let mut netlink = Netfilter::open(BUFFER)?;
        let tried = format!("listening on NFLOG group {group}");
        let conflict = |whose: &str| KernelError::Conflict {
            tried: tried.clone(),
            holder: format!("group {group} is taken by another process{whose}"),
            cure: "stop that process (ulogd, tcpdump -i nflog), or choose another number with kernel.queue".to_owned(),
        };
        // EPERM means "not yours" as well as "no CAP_NET_ADMIN": `/proc` tells them apart, or the capability where `/proc` does not.
        netlink.configure(configuration(group, copy).as_bytes()).map_err(|answer| {
            match (answer.errno, owner(group)) {
                (Errno::EPERM | Errno::EBUSY, Ok(Some(portid))) => conflict(&format!(" (portid {portid})")),
                (Errno::EPERM | Errno::EBUSY, Err(_)) if requirements::net_admin().is_ok() => conflict(""),
                (Errno(libc::EINVAL | libc::EOPNOTSUPP), _) => KernelError::NoModule("nfnetlink_log"),
                (errno, _) => KernelError::refused(tried.clone(), errno, answer.said),
            }
        })?;
        Ok(Self { netlink, overruns: 0 })
    }

    /// Hands the packets that are there to `on`; returns how many there were. Does not wait.
    ///
    /// # Errors
    /// Those of recv(2) other than EAGAIN and ENOBUFS.
    pub fn receive(&mut self, on: &mut dyn FnMut(Logged<'_>)) -> io::Result<usize> {
        let mut count = 0;
        for _ in 0..DATAGRAMS {
            match self.netlink.receive(libc::MSG_DONTWAIT) {
                Ok(datagram) => count += parse(datagram, on),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if Errno::of(&e) == Errno::ENOBUFS => self.overruns += 1,
                Err(e) => return Err(e),
            }
        }
        Ok(count)
    }

    /// Times that the socket's buffer overflowed and an unknown number of packets was lost.
    #[must_use]
    pub const fn overruns(&self) -> u64 {
        self.overruns
    }
}

impl AsFd for PacketLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}

/// Which process listens on a group. Columns of `/proc/net/netfilter/nfnetlink_log`: group, portid, queued, copy mode, copy
/// range, …
///
/// # Errors
/// When this user may not see it.
fn owner(group: u16) -> io::Result<Option<u32>> {
    let text = fs::read_to_string("/proc/net/netfilter/nfnetlink_log")?;
    Ok(text.lines().find_map(|line| {
        let mut columns = line.split_whitespace();
        (columns.next()?.parse() == Ok(group)).then(|| columns.next()?.parse().ok()).flatten()
    }))
}

fn configuration(group: u16, copy: u32) -> Writer {
    let mut out = Writer::default();
    let message = out.begin(NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG, NLM_F_REQUEST, 1);
    out.nfgenmsg(NFPROTO_UNSPEC, group);
    out.attribute(NFULA_CFG_CMD, &[NFULNL_CFG_CMD_BIND]);
    out.attribute_of(NFULA_CFG_MODE, &[&copy.to_be_bytes(), &[NFULNL_COPY_PACKET, 0]]);
    out.attribute(NFULA_CFG_QTHRESH, &QTHRESH.to_be_bytes());
    out.end(message);
    out
}

/// Hands the packets in a datagram to `on`; returns how many there were. Never panics.
pub fn parse(datagram: &[u8], on: &mut dyn FnMut(Logged<'_>)) -> usize {
    let packets = messages(datagram)
        .filter(|message| message.kind == NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET)
        .filter_map(|message| datagram.get(message.body)?.get(NFGENMSG_LEN..));
    let mut count = 0;
    for fields in packets {
        let mut logged = Logged { mark: 0, hook: 0, prefix: &[], payload: &[] };
        for (kind, value) in attributes(fields) {
            match kind {
                NFULA_PACKET_HDR => logged.hook = value.get(2).copied().unwrap_or_default(),
                NFULA_MARK => logged.mark = be32(value).unwrap_or_default(),
                NFULA_PREFIX => logged.prefix = value.strip_suffix(&[0]).unwrap_or(value),
                NFULA_PAYLOAD => logged.payload = value,
                _ => {}
            }
        }
        on(logged);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_packet_is_read_and_damage_does_not_panic() {
        let mut out = Writer::default();
        let message = out.begin(NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET, 0, 0);
        out.nfgenmsg(2, 5);
        out.attribute(NFULA_PACKET_HDR, &[8, 0, 4, 0]);
        out.attribute(NFULA_MARK, &[0x0f, 0x70, 0, 1]);
        out.string(NFULA_PREFIX, "landed");
        out.attribute(NFULA_PAYLOAD, b"E...");
        out.end(message);
        let bytes = out.as_bytes();
        let want = Logged { mark: 0x0f70_0001, hook: 4, prefix: b"landed", payload: b"E..." };
        assert_eq!(parse(bytes, &mut |logged| assert_eq!(logged, want)), 1);
        for at in 0..bytes.len() {
            parse(&bytes[..at], &mut |_| {});
            for value in [0, 1, 0xff] {
                let mut damaged = bytes.to_vec();
                damaged[at] = value;
                parse(&damaged, &mut |_| {});
            }
        }
    }
}
