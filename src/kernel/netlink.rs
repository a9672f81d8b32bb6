//! Netlink messages and attributes as bytes, and a socket for the netfilter family.
//!
//! Reading never panics: what is malformed ends the iteration. Headers and nfgenmsg lengths are the kernel's:
//!
//! ```text
//! nlmsghdr  u32 len, u16 type, u16 flags, u32 seq, u32 portid    host order
//! nfgenmsg  u8 family, u8 version, be16 res_id                   after nlmsghdr in NETLINK_NETFILTER
//! nlattr    u16 len, u16 type                                    len without padding; each starts at a multiple of 4
//! ```

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};

use super::abi::nfnetlink::{
    NFPROTO_UNSPEC, NLA_F_NESTED, NLA_TYPE_MASK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP_INTR, NLMSG_DONE,
    NLMSG_ERROR, NLMSGERR_ATTR_MSG,
};
use super::{Errno, KernelError};

const NLMSG_HDRLEN: usize = 16;
const NLA_HDRLEN: usize = 4;
/// Bytes of a nfgenmsg.
pub const NFGENMSG_LEN: usize = 4;
/// The largest payload that the 16 bit length of an attribute can tell.
pub const NLA_MAX_PAYLOAD: usize = u16::MAX as usize - NLA_HDRLEN;

const fn align(n: usize) -> usize {
    n.next_multiple_of(4)
}

/// The `N` bytes at `at`, if they are there.
fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// A message in a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetlinkMessage {
    /// `nlmsg_type` of the header.
    pub kind: u16,
    /// `nlmsg_flags` of the header: `NLM_F_…`.
    pub flags: u16,
    /// `nlmsg_seq` of the header: answers carry the number of their request.
    pub seq: u32,
    /// Where its body stands in the buffer.
    pub body: Range<usize>,
}

/// How a dump went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dumped {
    /// The dump holds all there is.
    Whole,
    /// What was listed changed meanwhile (NLM_F_DUMP_INTR): some of it may be missing, or be there twice.
    Interrupted,
    /// The socket's buffer was full (ENOBUFS): some of it is missing.
    Lost,
}

/// What a NLMSG_ERROR message says; `errno` 0 acknowledges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// 0, or a positive error number.
    pub errno: Errno,
    /// The text of the kernel's extended acknowledgement.
    pub said: Option<String>,
}

/// The messages in a datagram.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = NetlinkMessage> + use<'_> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(take(datagram, at)?) as usize;
        let end = at.checked_add(len)?;
        if len < NLMSG_HDRLEN || end > datagram.len() {
            return None;
        }
        let message = NetlinkMessage {
            kind: u16::from_ne_bytes(take(datagram, at + 4)?),
            flags: u16::from_ne_bytes(take(datagram, at + 6)?),
            seq: u32::from_ne_bytes(take(datagram, at + 8)?),
            body: at + NLMSG_HDRLEN..end,
        };
        at += align(len);
        Some(message)
    })
}

impl NetlinkMessage {
    /// The acknowledgement or error that this message is, if it is one.
    #[must_use]
    pub fn answer(&self, datagram: &[u8]) -> Option<Acknowledgement> {
        if self.kind != NLMSG_ERROR {
            return None;
        }
        let body = datagram.get(self.body.clone())?;
        let errno = Errno(i32::from_ne_bytes(take(body, 0)?).saturating_neg());
        // The header of the refused request follows, then its body unless capped, then the kernel's words.
        let request = u32::from_ne_bytes(take(body, 4).unwrap_or_default()) as usize;
        let said = (self.flags & NLM_F_ACK_TLVS != 0).then(|| {
            let echoed = if self.flags & NLM_F_CAPPED == 0 { align(request.min(body.len())) } else { NLMSG_HDRLEN };
            let words = body.get(4usize.saturating_add(echoed)..)?;
            let text = attributes(words).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)?.1;
            Some(text_of(text))
        });
        Some(Acknowledgement { errno, said: said.flatten() })
    }
}

/// The attributes in `bytes`: type without its flag bits, and where the payload stands.
pub fn attribute_ranges(bytes: &[u8]) -> impl Iterator<Item = (u16, Range<usize>)> + use<'_> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(take(bytes, at)?));
        let kind = u16::from_ne_bytes(take(bytes, at + 2)?) & NLA_TYPE_MASK;
        let end = at.checked_add(len)?;
        if len < NLA_HDRLEN || end > bytes.len() {
            return None;
        }
        let payload = at + NLA_HDRLEN..end;
        at += align(len);
        Some((kind, payload))
    })
}

/// The attributes in `bytes`: type without its flag bits, and payload.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    attribute_ranges(bytes).filter_map(|(kind, range)| Some((kind, bytes.get(range)?)))
}

/// A big-endian u32 payload.
#[must_use]
pub fn be32(payload: &[u8]) -> Option<u32> {
    take(payload, 0).map(u32::from_be_bytes)
}

/// A big-endian u64 payload.
#[must_use]
pub fn be64(payload: &[u8]) -> Option<u64> {
    take(payload, 0).map(u64::from_be_bytes)
}

/// A string payload without its NUL.
#[must_use]
pub fn text_of(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

/// Messages that are being written.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

/// Where a message or nest began; `end` or `end_nest` closes it.
#[derive(Debug)]
#[must_use]
pub struct Unclosed(usize);

impl Writer {
    /// Takes back what was written behind the first `at` bytes, where a message ends.
    pub fn take_back(&mut self, at: usize) {
        self.bytes.truncate(at);
    }

    /// Begins a message of the netfilter family.
    pub fn begin(&mut self, kind: u16, flags: u16, seq: u32) -> Unclosed {
        let open = Unclosed(self.bytes.len());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&seq.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        open
    }

    /// The nfgenmsg of the message just begun; its version is always 0.
    pub fn nfgenmsg(&mut self, family: u8, res_id: u16) {
        let [high, low] = res_id.to_be_bytes();
        self.bytes.extend_from_slice(&[family, 0, high, low]);
    }

    /// Bytes that are encoded already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// An attribute. A payload that is too long for its length field is cut: callers stay below `NLA_MAX_PAYLOAD`.
    pub fn attribute(&mut self, kind: u16, payload: &[u8]) {
        self.attribute_of(kind, &[payload]);
    }

    /// An attribute whose payload comes in pieces.
    pub fn attribute_of(&mut self, kind: u16, pieces: &[&[u8]]) {
        let open = self.begin_nest(kind & NLA_TYPE_MASK);
        pieces.iter().for_each(|piece| self.bytes.extend_from_slice(piece));
        self.bytes.truncate(open.0 + NLA_HDRLEN + NLA_MAX_PAYLOAD);
        self.close(&open);
    }

    /// A string attribute with its NUL.
    pub fn string(&mut self, kind: u16, text: &str) {
        self.attribute_of(kind, &[text.as_bytes(), &[0]]);
    }

    /// Begins an attribute that holds attributes.
    pub fn nest(&mut self, kind: u16) -> Unclosed {
        self.begin_nest(kind | NLA_F_NESTED)
    }

    fn begin_nest(&mut self, kind: u16) -> Unclosed {
        let open = Unclosed(self.bytes.len());
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        open
    }

    fn close(&mut self, open: &Unclosed) {
        let len = u16::try_from(self.bytes.len() - open.0).unwrap_or(u16::MAX);
        self.bytes[open.0..open.0 + 2].copy_from_slice(&len.to_ne_bytes());
        self.bytes.resize(align(self.bytes.len()), 0);
    }

    /// Ends what `nest` began.
    #[expect(clippy::needless_pass_by_value, reason = "a nest is closed once")]
    pub fn end_nest(&mut self, open: Unclosed) {
        self.close(&open);
    }

    /// Ends what `begin` began.
    #[expect(clippy::needless_pass_by_value, reason = "a message is closed once")]
    pub fn end(&mut self, open: Unclosed) {
        let len = u32::try_from(self.bytes.len() - open.0).unwrap_or(u32::MAX);
        self.bytes[open.0..open.0 + 4].copy_from_slice(&len.to_ne_bytes());
    }

    /// The messages that were written, ready to be sent.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what was written, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }
}

/// A message without attributes for the netfilter family.
#[must_use]
pub fn bare(kind: u16, flags: u16, seq: u32) -> Writer {
    let mut writer = Writer::default();
    let open = writer.begin(kind, flags, seq);
    writer.nfgenmsg(NFPROTO_UNSPEC, 0);
    writer.end(open);
    writer
}

/// A socket of the netfilter family (or of rtnetlink, which speaks alike) that talks to the kernel only.
#[derive(Debug)]
pub struct Netfilter {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Netfilter {
    /// Opens a socket that holds about `receive_buffer` bytes of answers and waits at most 5 s for one.
    ///
    /// # Errors
    /// `NoModule` without nfnetlink; else what the kernel said.
    pub fn open(receive_buffer: u32) -> Result<Self, KernelError> {
        let tried = "opening a NETLINK_NETFILTER socket";
        let socket = Socket::new(NETLINK_NETFILTER).map_err(|e| match Errno::of(&e).0 {
            libc::EPROTONOSUPPORT => KernelError::NoModule("nfnetlink"),
            _ => KernelError::io(tried, &e),
        })?;
        let this = Self { socket, buffer: vec![0; 64 * 1024] };
        this.prepare(receive_buffer).map_err(|e| KernelError::io(tried, &e))?;
        Ok(this)
    }

    /// Opens an rtnetlink socket, which also hears of what happens to `groups` (RTMGRP_…), and waits at most 5 s for an
    /// answer.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn route(groups: u32) -> Result<Self, KernelError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, groups))?;
            let this = Self { socket, buffer: vec![0; 64 * 1024] };
            this.prepare(1 << 20)?;
            Ok(this)
        };
        open().map_err(|error| KernelError::io("opening a NETLINK_ROUTE socket", &error))
    }

    /// The socket that a former process left with the service manager under this name (sd_listen_fds(3)). Answers once.
    #[must_use]
    pub fn kept(name: &str) -> Option<Self> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let (fd, _) = sd_notify::listen_fds_with_names().ok()?.find(|(_, given)| given == name)?;
        if TAKEN.swap(true, Ordering::Relaxed) {
            return None;
        }
        #[expect(unsafe_code, reason = "sd-notify tells descriptors as numbers, and netlink-sys takes numbers")]
        // SAFETY: the service manager opened it for this process, and nobody else takes it.
        let socket = unsafe { Socket::from_raw_fd(fd) };
        Some(Self { socket, buffer: vec![0; 64 * 1024] })
    }

    fn prepare(&self, receive_buffer: u32) -> io::Result<()> {
        self.socket.connect(&SocketAddr::new(0, 0))?;
        self.socket.set_ext_ack(true)?;
        self.socket.set_cap_ack(true)?;
        let size = i32::try_from(receive_buffer).unwrap_or(i32::MAX);
        // The FORCE variants pass net.core.[rw]mem_max and need CAP_NET_ADMIN.
        for (force, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
            set_option(&self.socket, force, &size).or_else(|_| set_option(&self.socket, plain, &size))?;
        }
        let wait = libc::timeval { tv_sec: 5, tv_usec: 0 };
        set_option(&self.socket, libc::SO_RCVTIMEO, &wait)
    }

    /// The socket below, for poll(2).
    #[must_use]
    pub const fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Sends one datagram of one or more messages.
    ///
    /// # Errors
    /// Those of send(2).
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send(bytes, 0) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Waits for one datagram, or takes one that is there (MSG_DONTWAIT), or looks at it (MSG_PEEK).
    ///
    /// # Errors
    /// Those of recv(2): EAGAIN when none came in time, ENOBUFS when answers were lost.
    pub fn receive(&mut self, flags: i32) -> io::Result<&[u8]> {
        loop {
            let mut room = &mut self.buffer[..];
            match self.socket.recv(&mut room, flags) {
                Ok(len) => return Ok(&self.buffer[..len.min(self.buffer.len())]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Sends a request with NLM_F_DUMP and hands every datagram of the answer to `each`, until NLMSG_DONE.
    ///
    /// # Errors
    /// What the kernel answered instead, or the socket's error other than ENOBUFS.
    pub fn dump(&mut self, seq: u32, request: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<Dumped, Acknowledgement> {
        let failed = |error: &io::Error| Acknowledgement { errno: Errno::of(error), said: None };
        self.send(request).map_err(|error| failed(&error))?;
        let mut dumped = Dumped::Whole;
        loop {
            let datagram = match self.receive(0) {
                Ok(datagram) => datagram,
                Err(error) if Errno::of(&error) == Errno::ENOBUFS => {
                    dumped = Dumped::Lost;
                    continue;
                }
                Err(error) => return Err(failed(&error)),
            };
            // First: the last rows may stand in one datagram with NLMSG_DONE.
            each(datagram);
            for message in messages(datagram).filter(|message| message.seq == seq) {
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    dumped = dumped.max(Dumped::Interrupted);
                }
                match message.kind {
                    NLMSG_DONE => return Ok(dumped),
                    NLMSG_ERROR => match message.answer(datagram) {
                        Some(answer) if answer.errno != Errno(0) => return Err(answer),
                        _ => {}
                    },
                    _ => {}
                }
            }
        }
    }

    /// Throws away every answer that is there.
    pub fn drain(&mut self) {
        loop {
            match self.receive(libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(e) if Errno::of(&e) == Errno::ENOBUFS => {}
                Err(_) => return,
            }
        }
    }

    /// Sends a configuration message whose group or queue then feeds this socket. The kernel answers within send(2),
    /// and only to refuse: so what stands first in the buffer is a refusal, or a packet to be left there.
    ///
    /// # Errors
    /// The refusal.
    pub fn configure(&mut self, bytes: &[u8]) -> Result<(), Acknowledgement> {
        let failed = |e: io::Error| Acknowledgement { errno: Errno::of(&e), said: None };
        self.send(bytes).map_err(failed)?;
        let first = match self.receive(libc::MSG_DONTWAIT | libc::MSG_PEEK) {
            Ok(datagram) => messages(datagram).next().and_then(|message| message.answer(datagram)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
            Err(e) => return Err(failed(e)),
        };
        match first {
            Some(answer) if answer.errno != Errno(0) => Err(answer),
            Some(_) => self.receive(libc::MSG_DONTWAIT).map(|_| ()).map_err(failed),
            None => Ok(()),
        }
    }
}

impl AsFd for Netfilter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sets a socket option at SOL_SOCKET (setsockopt(2)).
pub(super) fn set_option<T>(fd: &impl AsRawFd, option: i32, value: &T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "netlink-sys and rustix lack SO_SNDBUFFORCE, and neli's socket fits neither")]
    // SAFETY: `value` points to `len` readable bytes for the duration of the call.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const *value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests;
