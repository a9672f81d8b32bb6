//! NFQUEUE: packets that wait for our verdict. One thread owns a queue.
//!
//! A packet that gets no verdict waits for ever; when the socket closes, the kernel drops those that wait. While the socket is open
//! they wait, whichever process has it: so a queue can outlive its process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use super::abi::nfnetlink::{NFNL_SUBSYS_QUEUE, NFPROTO_UNSPEC, NLM_F_REQUEST};
use super::abi::nfnetlink_queue::{
    NF_ACCEPT, NF_DROP, NFQA_CAP_LEN, NFQA_CFG_CMD, NFQA_CFG_F_CONNTRACK, NFQA_CFG_F_FAIL_OPEN, NFQA_CFG_F_GSO,
    NFQA_CFG_FLAGS, NFQA_CFG_MASK, NFQA_CFG_PARAMS, NFQA_CFG_QUEUE_MAXLEN, NFQA_MARK, NFQA_PACKET_HDR, NFQA_PAYLOAD,
    NFQA_SKB_INFO, NFQA_VERDICT_HDR, NFQNL_CFG_CMD_BIND, NFQNL_COPY_PACKET, NFQNL_MSG_CONFIG, NFQNL_MSG_PACKET,
    NFQNL_MSG_VERDICT, NFQNL_MSG_VERDICT_BATCH,
};
use super::netlink::{Acknowledgement, NFGENMSG_LEN, Netfilter, Writer, attribute_ranges, be32, messages};
use super::{Errno, KernelError, requirements};

mod counters;

pub use counters::{QueueStats, reader, stats};

/// Datagrams taken with one system call; each holds one packet.
const BATCH: usize = 64;
/// As many are asked for while no more come: to ask for one costs the more the more could be taken (about 5 ns each).
const FEW: usize = 4;
/// The largest `copy` (the payload's length field has 16 bits).
pub const COPY_MAX: u32 = 65531;
/// Room for the headers and attributes beside the payload.
const OVERHEAD: usize = 4096;
/// Packets wait in the kernel's queue (counted) before they wait in our socket (not counted): so it must not be small.
const RECEIVE_BUFFER: u32 = 64 << 20;
/// The number of a message whose refusal means nothing.
const UNANSWERED: u32 = 2;
/// Verdicts are sent when they are this many bytes: below the send buffer that `Netfilter` asks for.
const FLUSH: usize = 128 * 1024;

/// A packet in the queue. It remembers whether we saw all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId {
    number: u32,
    truncated: bool,
}

/// A packet that waits.
#[derive(Debug, PartialEq, Eq)]
pub struct QueuedPacket<'a> {
    /// The packet's number in the queue, for the verdict.
    pub id: PacketId,
    /// The hook where the packet was queued (`NF_INET_FORWARD`, `NF_INET_POST_ROUTING`).
    pub hook: u8,
    /// The packet's firewall mark; 0 for none.
    pub mark: u32,
    /// From the IP header on.
    pub payload: &'a mut [u8],
    /// Whether `payload` is only its beginning. It can then not be rewritten.
    pub truncated: bool,
    /// `NFQA_SKB_*`: checksum not ready, GSO, checksum not verified.
    pub skb_info: u32,
}

/// Verdicts that were given and not yet sent.
///
/// Where several packets in a row go on with the same mark, one message says so for all of them (NFQNL_MSG_VERDICT_BATCH). It is
/// for *every* packet up to its number that waits in the kernel, so it is written only while each packet that was handed on has
/// its verdict: that of all others stands before it.
#[derive(Debug)]
pub struct Verdicts {
    queue: u16,
    out: Writer,
    /// How many packets were handed on and have no verdict.
    undecided: usize,
    /// The last message, if others may share it.
    last: Option<Shared>,
}

/// A verdict that the packets behind may share: accepted as it is, with this mark.
#[derive(Debug)]
struct Shared {
    /// Where its message begins.
    at: usize,
    /// The number of the last packet that it is for.
    number: u32,
    mark: Option<u32>,
}

impl Verdicts {
    /// No verdicts for queue `number`.
    #[must_use]
    pub fn new(number: u16) -> Self {
        Self { queue: number, out: Writer::default(), undecided: 0, last: None }
    }

    /// Lets a packet go on, with another mark and other bytes if given. Bytes for a truncated packet are not sent: the
    /// kernel would cut the packet to their length. The bytes' checksums must be right; the kernel trusts them.
    pub fn accept(&mut self, id: PacketId, mark: Option<u32>, payload: Option<&[u8]>) {
        self.undecided = self.undecided.saturating_sub(1);
        let (number, payload) = (id.number, payload.filter(|_| !id.truncated));
        let shared = self.last.take().filter(|last| {
            // The kernel compares numbers like this too: they wrap.
            let after = number.wrapping_sub(last.number).cast_signed() > 0;
            self.undecided == 0 && payload.is_none() && last.mark == mark && after
        });
        let (kind, at) = match shared {
            Some(Shared { at, .. }) => (NFQNL_MSG_VERDICT_BATCH, at),
            None => (NFQNL_MSG_VERDICT, self.out.as_bytes().len()),
        };
        self.out.take_back(at);
        self.give(kind, (number, NF_ACCEPT), mark, payload);
        self.last = payload.is_none().then_some(Shared { at, number, mark });
    }

    /// Drops the packet `id`.
    pub fn drop(&mut self, id: PacketId) {
        self.undecided = self.undecided.saturating_sub(1);
        self.last = None;
        self.give(NFQNL_MSG_VERDICT, (id.number, NF_DROP), None, None);
    }

    /// Drops every packet up to the number `last`. If none waits the kernel answers with an error that [`parse`] passes over.
    fn drop_through(&mut self, last: u32) {
        self.last = None;
        let message = self.out.begin(NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT_BATCH, NLM_F_REQUEST, UNANSWERED);
        self.out.nfgenmsg(NFPROTO_UNSPEC, self.queue);
        self.out.attribute_of(NFQA_VERDICT_HDR, &[&NF_DROP.to_be_bytes(), &last.to_be_bytes()]);
        self.out.end(message);
    }

    fn give(&mut self, kind: u16, (number, verdict): (u32, u32), mark: Option<u32>, payload: Option<&[u8]>) {
        let message = self.out.begin(NFNL_SUBSYS_QUEUE << 8 | kind, NLM_F_REQUEST, 0);
        self.out.nfgenmsg(NFPROTO_UNSPEC, self.queue);
        self.out.attribute_of(NFQA_VERDICT_HDR, &[&verdict.to_be_bytes(), &number.to_be_bytes()]);
        if let Some(mark) = mark {
            self.out.attribute(NFQA_MARK, &mark.to_be_bytes());
        }
        if let Some(payload) = payload {
            self.out.attribute(NFQA_PAYLOAD, payload);
        }
        self.out.end(message);
    }

    /// The verdicts as netlink messages, ready for one send(2).
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.out.as_bytes()
    }

    /// They are sent.
    fn clear(&mut self) {
        self.last = None;
        self.out.clear();
    }
}

/// How many datagrams were taken, each with one packet, and how many could have been.
#[derive(Debug, Default)]
pub struct Taken {
    count: usize,
    most: usize,
}

impl Taken {
    /// Whether more may wait.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.most > 0 && self.count == self.most
    }
}

/// A queue that we own.
#[derive(Debug)]
pub struct Queue {
    netlink: Netfilter,
    buffers: Vec<Vec<u8>>,
    /// The lengths of the datagrams in them.
    lengths: [usize; BATCH],
    /// How many came last.
    came: usize,
    verdicts: Verdicts,
    late: u64,
}

impl Queue {
    /// Takes queue `number`: at most `maxlen` packets wait in it, of each we see the first `copy` bytes (at most
    /// 65531). Call `receive` once before waiting on the descriptor.
    ///
    /// # Errors
    /// `Conflict` when another process has it.
    pub fn open(number: u16, maxlen: u32, copy: u32) -> Result<Self, KernelError> {
        let copy = copy.min(COPY_MAX);
        let mut netlink = Netfilter::open(RECEIVE_BUFFER)?;
        // Without this an overflow would end a receive with ENOBUFS; the kernel counts it as user_dropped either way.
        netlink.socket().set_no_enobufs(true).map_err(|e| KernelError::io("setting NETLINK_NO_ENOBUFS", &e))?;
        let take = configuration(number, Some(NFQNL_CFG_CMD_BIND), maxlen, copy);
        netlink.configure(take.as_bytes()).map_err(|a| refusal(number, a))?;
        Ok(Self::with(netlink, number, copy))
    }

    /// Goes on with the queue of a former process, whose socket this is: what has come since waits in it to be read. What that
    /// process had read and gave no verdict is dropped, so that TCP repeats it. `None` if the socket has another queue, or none.
    ///
    /// # Errors
    /// When the kernel refuses to go on.
    pub fn go_on(mut netlink: Netfilter, number: u16, maxlen: u32, copy: u32) -> Result<Option<Self>, KernelError> {
        let copy = copy.min(COPY_MAX);
        // What the former process was still to be told.
        while let Next::Answer = next(&mut netlink) {
            let _ = netlink.receive(libc::MSG_DONTWAIT);
        }
        let go_on = configuration(number, None, maxlen, copy);
        match netlink.configure(go_on.as_bytes()) {
            Ok(()) => {}
            // It is another socket's, or nobody's (nfqnl_recv_config).
            Err(Acknowledgement { errno: Errno(libc::EPERM | libc::ENODEV), .. }) => return Ok(None),
            Err(answer) => return Err(refusal(number, answer)),
        }
        // A refusal stands behind packets. Where there are some, they say whose they are.
        if matches!(next(&mut netlink), Next::Packet { queue, .. } if queue != number) {
            return Ok(None);
        }
        let mut queue = Self::with(netlink, number, copy);
        queue
            .drop_read(stats(number))
            .map_err(|error| KernelError::io("dropping what the former daemon had read", &error))?;
        Ok(Some(queue))
    }

    fn with(netlink: Netfilter, number: u16, copy: u32) -> Self {
        let room = copy as usize + OVERHEAD;
        let buffers = (0..BATCH).map(|_| vec![0; room]).collect();
        Self { netlink, buffers, lengths: [0; BATCH], came: 0, verdicts: Verdicts::new(number), late: 0 }
    }

    /// Drops the packets that wait before the first that can be read, or all of `standing` if there is none; `None`: this user may not
    /// see how many wait.
    fn drop_read(&mut self, standing: Option<QueueStats>) -> io::Result<()> {
        if standing.is_some_and(|standing| standing.queued == 0) {
            return Ok(());
        }
        let last = match next(&mut self.netlink) {
            Next::Packet { number, .. } => Some(number.wrapping_sub(1)),
            Next::Nothing | Next::Answer => standing.map(|standing| standing.last),
        };
        match last {
            Some(last) => self.verdicts.drop_through(last),
            // Each takes half of all numbers with it: they are compared as differences (nfq_cmp_id).
            None => [u32::MAX / 2, u32::MAX].into_iter().for_each(|last| self.verdicts.drop_through(last)),
        }
        self.flush()
    }

    /// Takes the packets that are there, at most 64; does not wait. [`Queue::hand_on`] comes next.
    ///
    /// # Errors
    /// Those of recvmmsg(2) other than EAGAIN and EINTR.
    pub fn take(&mut self) -> io::Result<Taken> {
        let (buffers, lengths) = (&mut self.buffers, &mut self.lengths);
        let (received, most) = if self.came < FEW {
            (receive_many::<FEW>(&self.netlink, buffers, lengths), FEW)
        } else {
            (receive_many::<BATCH>(&self.netlink, buffers, lengths), BATCH)
        };
        self.came = match received {
            Ok(count) => count,
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EINTR | libc::ENOBUFS)) => 0,
            Err(e) => return Err(e),
        };
        Ok(Taken { count: self.came, most })
    }

    /// Hands the packets that were taken to `on`.
    pub fn hand_on(&mut self, taken: Taken, on: &mut dyn FnMut(QueuedPacket<'_>, &mut Verdicts)) {
        let Self { buffers, lengths, verdicts, late, .. } = self;
        for (buffer, &length) in buffers.iter_mut().zip(&*lengths).take(taken.count) {
            let Some(datagram) = buffer.get_mut(..length) else { continue };
            *late += parse(datagram, &mut |packet| {
                verdicts.undecided += 1;
                on(packet, verdicts);
            });
        }
    }

    /// Sends the verdicts, if they are many.
    ///
    /// # Errors
    /// As [`Queue::flush`].
    pub fn flush_much(&mut self) -> io::Result<()> {
        if self.verdicts.as_bytes().len() >= FLUSH { self.flush() } else { Ok(()) }
    }

    /// Where verdicts are given outside `receive`.
    pub const fn verdicts(&mut self) -> &mut Verdicts {
        &mut self.verdicts
    }

    /// Sends the verdicts given so far. The rest of the packets' way through the stack happens in this call.
    ///
    /// # Errors
    /// Those of send(2); the verdicts are kept, to be sent with the next.
    pub fn flush(&mut self) -> io::Result<()> {
        match self.verdicts.as_bytes() {
            [] => return Ok(()),
            few if few.len() <= FLUSH => self.netlink.send(few)?,
            many => portions(many, FLUSH).try_for_each(|part| self.netlink.send(part))?,
        }
        self.verdicts.clear();
        Ok(())
    }

    /// Verdicts that came too late: the kernel had dropped the packet (its interface or a chain went away).
    #[must_use]
    pub const fn late(&self) -> u64 {
        self.late
    }
}

/// What stands first in a socket's buffer.
enum Next {
    /// Nothing.
    Nothing,
    /// A packet of this queue, with its number there.
    Packet { queue: u16, number: u32 },
    /// What the kernel answered.
    Answer,
}

fn next(netlink: &mut Netfilter) -> Next {
    let Ok(datagram) = netlink.receive(libc::MSG_DONTWAIT | libc::MSG_PEEK) else { return Next::Nothing };
    let body = messages(datagram).next().and_then(|message| datagram.get(message.body));
    let queue = body.and_then(|body| Some(u16::from_be_bytes(body.get(2..NFGENMSG_LEN)?.try_into().ok()?)));
    let mut number = None;
    parse(&mut datagram.to_vec(), &mut |packet| number = Some(packet.id.number));
    queue.zip(number).map_or(Next::Answer, |(queue, number)| Next::Packet { queue, number })
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}

/// BIND (unless we have the queue), PARAMS, MAXLEN and FLAGS in one message: between BIND and PARAMS the kernel would drop packets. No
/// FAIL_OPEN: what is let through unread overtakes what waits. No GSO: the kernel segments, and completes the
/// checksums that we rewrite.
fn configuration(number: u16, command: Option<u8>, maxlen: u32, copy: u32) -> Writer {
    let mut out = Writer::default();
    let message = out.begin(NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG, NLM_F_REQUEST, 1);
    out.nfgenmsg(NFPROTO_UNSPEC, number);
    if let Some(command) = command {
        out.attribute(NFQA_CFG_CMD, &[command, 0, 0, 0]);
    }
    out.attribute_of(NFQA_CFG_PARAMS, &[&copy.to_be_bytes(), &[NFQNL_COPY_PACKET]]);
    out.attribute(NFQA_CFG_QUEUE_MAXLEN, &maxlen.to_be_bytes());
    let mask = NFQA_CFG_F_FAIL_OPEN | NFQA_CFG_F_CONNTRACK | NFQA_CFG_F_GSO;
    out.attribute(NFQA_CFG_MASK, &mask.to_be_bytes());
    out.attribute(NFQA_CFG_FLAGS, &0u32.to_be_bytes());
    out.end(message);
    out
}

/// EPERM means "not yours" as well as "no CAP_NET_ADMIN": `/proc` tells them apart, or the capability where `/proc` does not.
fn refusal(number: u16, answer: Acknowledgement) -> KernelError {
    let tried = format!("listening on NFQUEUE {number}");
    let conflict = |whose: &str| KernelError::Conflict {
        tried: tried.clone(),
        holder: format!("queue {number} is taken by another process{whose}"),
        cure: "stop that process, or choose another number with kernel.queue".to_owned(),
    };
    match (answer.errno, reader(number)) {
        (Errno::EPERM | Errno::EBUSY, Ok(Some(portid))) => conflict(&format!(" (portid {portid})")),
        (Errno::EPERM | Errno::EBUSY, Err(_)) if requirements::net_admin().is_ok() => conflict(""),
        (Errno(libc::EINVAL | libc::EOPNOTSUPP), _) => KernelError::NoModule("nfnetlink_queue"),
        (errno, _) => KernelError::refused(tried, errno, answer.said),
    }
}

/// Cuts messages into parts of about `limit` bytes.
fn portions(bytes: &[u8], limit: usize) -> impl Iterator<Item = &[u8]> {
    let mut ends: Vec<usize> = Vec::new();
    let mut start = 0;
    for message in messages(bytes) {
        let end = message.body.end;
        if end - start >= limit || end == bytes.len() {
            ends.push(end);
            start = end;
        }
    }
    let mut at = 0;
    ends.into_iter().map(move |end| &bytes[std::mem::replace(&mut at, end)..end])
}

/// Hands the packets in a datagram to `on`; returns how many errors stood in it. Never panics.
pub fn parse(mut datagram: &mut [u8], on: &mut dyn FnMut(QueuedPacket<'_>)) -> u64 {
    let mut errors = 0;
    loop {
        let Some(message) = messages(datagram).next() else { return errors };
        let end = message.body.end.next_multiple_of(4).min(datagram.len());
        if message.kind == NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET {
            let body = datagram.get_mut(message.body).and_then(|body| body.get_mut(NFGENMSG_LEN..));
            if let Some(packet) = body.and_then(parse_packet) {
                on(packet);
            }
        } else if message.seq != UNANSWERED {
            errors += u64::from(message.answer(datagram).is_some_and(|answer| answer.errno != Errno(0)));
        }
        datagram = &mut datagram[end..];
    }
}

/// The attributes of a packet. Without a payload, or when the kernel says that there is more (NFQA_CAP_LEN), it is
/// truncated.
fn parse_packet(attributes: &mut [u8]) -> Option<QueuedPacket<'_>> {
    let (mut header, mut mark, mut skb_info, mut body, mut cut) = (None, 0, 0, None, false);
    for (kind, range) in attribute_ranges(attributes) {
        let payload = attributes.get(range.clone()).unwrap_or_default();
        match kind {
            NFQA_PACKET_HDR => header = be32(payload).zip(payload.get(6).copied()),
            NFQA_MARK => mark = be32(payload).unwrap_or_default(),
            NFQA_SKB_INFO => skb_info = be32(payload).unwrap_or_default(),
            NFQA_CAP_LEN => cut = true,
            NFQA_PAYLOAD => body = Some(range),
            _ => {}
        }
    }
    let (number, hook) = header?;
    let truncated = cut || body.is_none();
    let payload = attributes.get_mut(body.unwrap_or_default())?;
    Some(QueuedPacket { id: PacketId { number, truncated }, hook, mark, payload, truncated, skb_info })
}

/// One recvmmsg(2) with MSG_DONTWAIT for at most `N` datagrams: how many there were, and their lengths, in the order of `buffers`.
fn receive_many<const N: usize>(from: &Netfilter, buffers: &mut [Vec<u8>], lengths: &mut [usize]) -> io::Result<usize> {
    let mut pieces = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; N];
    for (piece, buffer) in pieces.iter_mut().zip(buffers.iter_mut()) {
        *piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    }
    #[expect(unsafe_code, reason = "mmsghdr has private padding on some targets, so it cannot be written out")]
    // SAFETY: mmsghdr is plain integers and pointers; all zero is a valid one.
    let mut headers: [libc::mmsghdr; N] = unsafe { std::mem::zeroed() };
    for (header, piece) in headers.iter_mut().zip(pieces.iter_mut()) {
        header.msg_hdr.msg_iov = ptr::from_mut(piece);
        header.msg_hdr.msg_iovlen = 1;
    }
    let fd = from.as_fd().as_raw_fd();
    let count = libc::c_uint::try_from(buffers.len().min(N)).unwrap_or_default();
    #[expect(unsafe_code, reason = "neither std nor netlink-sys has recvmmsg")]
    // SAFETY: the first `count` headers point to one iovec each, and those to whole buffers borrowed mutably until
    // this returns.
    let received = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _, ptr::null_mut()) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for (length, header) in lengths.iter_mut().zip(&headers[..received]) {
        *length = header.msg_len as usize;
    }
    Ok(received)
}

#[cfg(test)]
mod tests;
