//! The connections whose addresses connection tracking translates, `conntrack -L --src-nat` and `--dst-nat`: in NAT IPVS
//! knows nothing of active data connections, nor of passive ones whose port is translated. And those that it should have translated.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::abi::nfnetlink::{
    NFNL_SUBSYS_CTNETLINK, NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_UNSPEC, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR,
};
use super::abi::nfnetlink_conntrack::{
    CTA_ID, CTA_IP_V4_DST, CTA_IP_V4_SRC, CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_PROTO_DST_PORT, CTA_PROTO_NUM,
    CTA_PROTO_SRC_PORT, CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE, CTA_STATUS, CTA_STATUS_MASK,
    CTA_TIMEOUT, CTA_TUPLE_IP, CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_TUPLE_REPLY, IPCTNL_MSG_CT_DELETE,
    IPCTNL_MSG_CT_GET, IPS_DST_NAT, IPS_SEEN_REPLY, IPS_SRC_NAT, TCP_CONNTRACK_CLOSE_WAIT, TCP_CONNTRACK_ESTABLISHED,
    TCP_CONNTRACK_FIN_WAIT, TCP_CONNTRACK_SYN_SENT,
};
use super::netlink::{Dumped, NFGENMSG_LEN, Netfilter, Writer, attributes, be32, messages};
use super::{Errno, KernelError};

const TRIED: &str = "conntrack -L";

/// Where the packets of one direction come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Address and port of the sender.
    pub source: SocketAddr,
    /// Address and port of the receiver.
    pub destination: SocketAddr,
}

/// A translated TCP connection that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The addresses of its first packet, as it came.
    pub original: Tuple,
    /// The addresses of its answers, as they come.
    pub reply: Tuple,
    /// Whether both ends may send.
    established: bool,
    /// Time until conntrack forgets the connection, unless a packet comes.
    expires: Duration,
}

/// For how long a connection is kept without a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(Duration);

impl Patience {
    /// `net.netfilter.nf_conntrack_tcp_timeout_established`; five days where it cannot be read.
    #[must_use]
    pub fn of_kernel() -> Self {
        let text = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established");
        let seconds = text.ok().and_then(|text| text.trim().parse().ok());
        Self(Duration::from_secs(seconds.unwrap_or(432_000)))
    }
}

/// What is kept when something that was sent has not been acknowledged
/// (`nf_conntrack_tcp_timeout_unacknowledged`, `…_max_retrans`): soon over by itself.
const UNACKNOWLEDGED: Duration = Duration::from_secs(300);

impl Tracked {
    /// Whether the connection has had a packet within `idle`, as far as can be known.
    #[must_use]
    pub fn lives(&self, patience: Patience, idle: Duration) -> bool {
        !self.established || self.expires <= UNACKNOWLEDGED || self.expires + idle >= patience.0
    }
}

/// Every translated TCP connection that is open. A connection that comes or goes meanwhile may be missed or come twice.
///
/// # Errors
/// `NoModule("nf_conntrack_netlink")`; else what the kernel said.
pub fn translated() -> Result<Vec<Tracked>, KernelError> {
    let mut netlink = Netfilter::open(4 << 20)?;
    let mut all = Vec::new();
    for (seq, status) in [(1, IPS_SRC_NAT), (2, IPS_DST_NAT)] {
        all.extend(list(&mut netlink, seq, (status, status), parse)?);
    }
    Ok(all)
}

/// Deletes the connections that nobody has answered and nobody translates, of the sources that `calls` chooses: `conntrack -D`. A call
/// that a server made while no rule of ours was there keeps what was decided then, that it is not translated, for two minutes after
/// each of its SYNs, and gives it to every later call of the same ports. Returns how many these were.
///
/// # Errors
/// `NoModule("nf_conntrack_netlink")`; else what the kernel said.
pub fn forget_unanswered(calls: impl Fn(SocketAddr) -> bool) -> Result<usize, KernelError> {
    let mut netlink = Netfilter::open(4 << 20)?;
    let any = IPS_SEEN_REPLY | IPS_SRC_NAT | IPS_DST_NAT;
    let found = list(&mut netlink, 1, (0, any), parse_unanswered)?;
    let meant: Vec<_> = found.into_iter().filter(|(original, _)| calls(original.source)).collect();
    for (original, id) in &meant {
        match netlink.configure(deletion(original, *id).as_bytes()) {
            Ok(()) => {}
            // It has ended meanwhile.
            Err(answer) if answer.errno == Errno::ENOENT => {}
            Err(answer) => return Err(KernelError::refused("conntrack -D", answer.errno, answer.said)),
        }
    }
    Ok(meant.len())
}

fn list<T>(
    netlink: &mut Netfilter,
    seq: u32,
    status: (u32, u32),
    of: fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>, KernelError> {
    let mut all = Vec::new();
    let mut each = |datagram: &[u8]| {
        let entries = messages(datagram)
            .filter(|message| message.seq == seq && !matches!(message.kind, NLMSG_DONE | NLMSG_ERROR));
        all.extend(entries.filter_map(|message| datagram.get(message.body).and_then(of)));
    };
    match netlink.dump(seq, request(seq, status).as_bytes(), &mut each) {
        // A connection that came or went meanwhile is seen at the next look.
        Ok(Dumped::Whole | Dumped::Interrupted) => Ok(all),
        Ok(Dumped::Lost) => Err(KernelError::refused(TRIED, Errno::ENOBUFS, None)),
        Err(answer) if matches!(answer.errno.0, libc::EINVAL | libc::EOPNOTSUPP) => {
            Err(KernelError::NoModule("nf_conntrack_netlink"))
        }
        Err(answer) => Err(KernelError::refused(TRIED, answer.errno, answer.said)),
    }
}

/// Asks for the connections with this status among the bits of a mask; the kernel leaves others out since Linux 5.17.
fn request(seq: u32, (status, mask): (u32, u32)) -> Writer {
    let mut out = Writer::default();
    let kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
    let message = out.begin(kind, NLM_F_REQUEST | NLM_F_DUMP, seq);
    out.nfgenmsg(NFPROTO_UNSPEC, 0);
    out.attribute(CTA_STATUS, &status.to_be_bytes());
    out.attribute(CTA_STATUS_MASK, &mask.to_be_bytes());
    out.end(message);
    out
}

/// The body of a message; `None` when it is not TCP, neither open nor half open, or not translated (older kernels list these too).
fn parse(body: &[u8]) -> Option<Tracked> {
    let body = body.get(NFGENMSG_LEN..)?;
    let state = *at(body, &[CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE])?.first()?;
    if !matches!(state, TCP_CONNTRACK_ESTABLISHED | TCP_CONNTRACK_FIN_WAIT | TCP_CONNTRACK_CLOSE_WAIT) {
        return None;
    }
    let (original, reply) = (way(at(body, &[CTA_TUPLE_ORIG])?)?, way(at(body, &[CTA_TUPLE_REPLY])?)?);
    if (original.source, original.destination) == (reply.destination, reply.source) {
        return None;
    }
    Some(Tracked {
        original,
        reply,
        established: state == TCP_CONNTRACK_ESTABLISHED,
        expires: Duration::from_secs(be32(at(body, &[CTA_TIMEOUT])?)?.into()),
    })
}

/// The first packet's addresses, and the number of the entry; `None` when it is not TCP, was answered, or is translated.
fn parse_unanswered(body: &[u8]) -> Option<(Tuple, u32)> {
    let body = body.get(NFGENMSG_LEN..)?;
    let state = *at(body, &[CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE])?.first()?;
    let (original, reply) = (way(at(body, &[CTA_TUPLE_ORIG])?)?, way(at(body, &[CTA_TUPLE_REPLY])?)?);
    let as_sent = (original.source, original.destination) == (reply.destination, reply.source);
    (state == TCP_CONNTRACK_SYN_SENT && as_sent).then_some((original, be32(at(body, &[CTA_ID])?)?))
}

/// The number says that no later connection of the same addresses is meant.
fn deletion(original: &Tuple, id: u32) -> Writer {
    let mut out = Writer::default();
    let message = out.begin(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST, 2);
    out.nfgenmsg(if original.source.is_ipv4() { NFPROTO_IPV4 } else { NFPROTO_IPV6 }, 0);
    let tuple = out.nest(CTA_TUPLE_ORIG);
    let ip = out.nest(CTA_TUPLE_IP);
    for (address, v4, v6) in [
        (original.source.ip(), CTA_IP_V4_SRC, CTA_IP_V6_SRC),
        (original.destination.ip(), CTA_IP_V4_DST, CTA_IP_V6_DST),
    ] {
        match address {
            IpAddr::V4(address) => out.attribute(v4, &address.octets()),
            IpAddr::V6(address) => out.attribute(v6, &address.octets()),
        }
    }
    out.end_nest(ip);
    let proto = out.nest(CTA_TUPLE_PROTO);
    out.attribute(CTA_PROTO_NUM, &[6]);
    out.attribute(CTA_PROTO_SRC_PORT, &original.source.port().to_be_bytes());
    out.attribute(CTA_PROTO_DST_PORT, &original.destination.port().to_be_bytes());
    out.end_nest(proto);
    out.end_nest(tuple);
    out.attribute(CTA_ID, &id.to_be_bytes());
    out.end(message);
    out
}

fn way(tuple: &[u8]) -> Option<Tuple> {
    let ip = |v4, v6| {
        let v4 = at(tuple, &[CTA_TUPLE_IP, v4]).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        let v6 = at(tuple, &[CTA_TUPLE_IP, v6]).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        v4.map(|v4| IpAddr::from(Ipv4Addr::from(v4))).or(v6.map(|v6| IpAddr::from(Ipv6Addr::from(v6))))
    };
    let port = |kind| Some(u16::from_be_bytes(at(tuple, &[CTA_TUPLE_PROTO, kind])?.try_into().ok()?));
    if *at(tuple, &[CTA_TUPLE_PROTO, CTA_PROTO_NUM])?.first()? != 6 {
        return None;
    }
    Some(Tuple {
        source: SocketAddr::new(ip(CTA_IP_V4_SRC, CTA_IP_V6_SRC)?, port(CTA_PROTO_SRC_PORT)?),
        destination: SocketAddr::new(ip(CTA_IP_V4_DST, CTA_IP_V6_DST)?, port(CTA_PROTO_DST_PORT)?),
    })
}

/// The attribute at the end of a path through nests.
fn at<'a>(bytes: &'a [u8], path: &[u16]) -> Option<&'a [u8]> {
    path.iter()
        .try_fold(bytes, |bytes, kind| attributes(bytes).find(|(found, _)| found == kind).map(|(_, found)| found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(out: &mut Writer, kind: u16, [from, to]: [[u8; 4]; 2], [sport, dport]: [u16; 2]) {
        let tuple = out.nest(kind);
        let ip = out.nest(CTA_TUPLE_IP);
        out.attribute(CTA_IP_V4_SRC, &from);
        out.attribute(CTA_IP_V4_DST, &to);
        out.end_nest(ip);
        let proto = out.nest(CTA_TUPLE_PROTO);
        out.attribute(CTA_PROTO_NUM, &[6]);
        out.attribute(CTA_PROTO_SRC_PORT, &sport.to_be_bytes());
        out.attribute(CTA_PROTO_DST_PORT, &dport.to_be_bytes());
        out.end_nest(proto);
        out.end_nest(tuple);
    }

    const SERVER: [u8; 4] = [10, 0, 0, 11];

    /// An active data connection, as `nf_conntrack_netlink.c` lists it.
    fn body(state: u8, expires: u32) -> Vec<u8> {
        answered_at([192, 0, 2, 10], state, expires)
    }

    /// The same with another address in its answers.
    fn answered_at(vip: [u8; 4], state: u8, expires: u32) -> Vec<u8> {
        let (server, client) = (SERVER, [192, 0, 2, 7]);
        let mut out = Writer::default();
        out.nfgenmsg(2, 0);
        tuple(&mut out, CTA_TUPLE_ORIG, [server, client], [20, 50000]);
        tuple(&mut out, CTA_TUPLE_REPLY, [client, vip], [50000, 20]);
        out.attribute(CTA_TIMEOUT, &expires.to_be_bytes());
        let info = out.nest(CTA_PROTOINFO);
        let tcp = out.nest(CTA_PROTOINFO_TCP);
        out.attribute(CTA_PROTOINFO_TCP_STATE, &[state]);
        out.end_nest(tcp);
        out.end_nest(info);
        out.as_bytes().to_vec()
    }

    #[test]
    fn an_active_data_connection() {
        let tracked = parse(&body(TCP_CONNTRACK_ESTABLISHED, 431_999)).unwrap();
        assert_eq!(tracked.original.source, "10.0.0.11:20".parse().unwrap());
        assert_eq!(tracked.original.destination, "192.0.2.7:50000".parse().unwrap());
        assert_eq!(tracked.reply.destination, "192.0.2.10:20".parse().unwrap());
        assert_eq!(parse(&body(7, 100)), None, "TIME_WAIT");
    }

    /// Before Linux 5.17 they are listed too, whatever was asked for.
    #[test]
    fn what_is_not_translated_is_left_out() {
        assert_eq!(parse(&answered_at(SERVER, TCP_CONNTRACK_ESTABLISHED, 431_999)), None);
    }

    #[test]
    fn a_call_that_nobody_translated() {
        let with_id = |mut body: Vec<u8>| {
            let mut out = Writer::default();
            out.attribute(CTA_ID, &77_u32.to_be_bytes());
            body.extend_from_slice(out.as_bytes());
            body
        };
        let (original, id) = parse_unanswered(&with_id(answered_at(SERVER, TCP_CONNTRACK_SYN_SENT, 119))).unwrap();
        assert_eq!(
            (original.source, original.destination),
            ("10.0.0.11:20".parse().unwrap(), "192.0.2.7:50000".parse().unwrap())
        );
        // What is asked to be deleted reads as what was found.
        let message = deletion(&original, id);
        let body = &message.as_bytes()[16 + NFGENMSG_LEN..];
        assert_eq!(at(body, &[CTA_TUPLE_ORIG]).and_then(way), Some(original));
        assert_eq!((at(body, &[CTA_ID]), id), (Some(&77_u32.to_be_bytes()[..]), 77));
        for other in [body_of(TCP_CONNTRACK_SYN_SENT), answered_at(SERVER, TCP_CONNTRACK_ESTABLISHED, 119)] {
            assert_eq!(parse_unanswered(&with_id(other)), None, "translated, or answered");
        }
        assert_eq!(parse_unanswered(&answered_at(SERVER, TCP_CONNTRACK_SYN_SENT, 119)), None, "without its number");
    }

    fn body_of(state: u8) -> Vec<u8> {
        body(state, 100)
    }

    #[test]
    fn cut_short_it_is_none() {
        let whole = body(TCP_CONNTRACK_ESTABLISHED, 431_999);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn who_is_silent_for_longer_than_ipvs_waits_is_dead() {
        let (patience, idle) = (Patience(Duration::from_secs(432_000)), Duration::from_secs(900));
        let lives = |state, expires| parse(&body(state, expires)).unwrap().lives(patience, idle);
        assert!(lives(TCP_CONNTRACK_ESTABLISHED, 432_000) && lives(TCP_CONNTRACK_ESTABLISHED, 431_100));
        assert!(!lives(TCP_CONNTRACK_ESTABLISHED, 431_099) && !lives(TCP_CONNTRACK_ESTABLISHED, 1000));
        // Something sent waits for its acknowledgement.
        assert!(lives(TCP_CONNTRACK_ESTABLISHED, 299));
        assert!(lives(TCP_CONNTRACK_FIN_WAIT, 119));
    }
}
