//! Services and destinations as attributes of the IPVS family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use neli::ToBytes;
use neli::genl::{AttrTypeBuilder, GenlAttrHandle, Nlattr, NlattrBuilder};
use neli::types::{Buffer, GenlBuffer};

use super::listed::{ListedDestination, ListedService, SyncDaemon, SyncRole};
use crate::kernel::abi::ip_vs::*;
use crate::lvs::{
    Destination, FirewallMark, ForwardingMethod, ServiceKey, Thresholds, Timeouts, Traffic, VirtualService,
};

pub(super) type Attributes = GenlBuffer<u16, Buffer>;
type Fields<'a> = GenlAttrHandle<'a, u16>;

const AF_INET: u16 = libc::AF_INET as u16;
const AF_INET6: u16 = libc::AF_INET6 as u16;
const IPPROTO_TCP: u16 = libc::IPPROTO_TCP as u16;

fn attribute(kind: u16, payload: impl neli::Size + ToBytes) -> Option<Nlattr<u16, Buffer>> {
    let kind = AttrTypeBuilder::default().nla_type(kind).build().ok()?;
    NlattrBuilder::default().nla_type(kind).nla_payload(payload).build().ok()
}

/// An attribute of attributes. None of these can fail to be built; one that did would be missed by the kernel (EINVAL).
fn nest(kind: u16, inner: impl IntoIterator<Item = Option<Nlattr<u16, Buffer>>>) -> Option<Nlattr<u16, Buffer>> {
    let empty = attribute(kind, Buffer::new())?;
    inner.into_iter().flatten().try_fold(empty, |nest, attribute| nest.nest(&attribute).ok())
}

/// A lone string attribute.
pub(super) fn string(kind: u16, text: &str) -> Attributes {
    attribute(kind, text).into_iter().collect()
}

/// The whole seconds of a duration, not less: a timeout of half a second is not "none".
pub(super) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs_f64().ceil() as u64).unwrap_or(u32::MAX)
}

/// `union nf_inet_addr`: 16 bytes for both families.
fn address(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
    }
}

const fn family(ipv6: bool) -> u16 {
    if ipv6 { AF_INET6 } else { AF_INET }
}

/// What a service is known by.
fn identity(key: &ServiceKey) -> Vec<Option<Nlattr<u16, Buffer>>> {
    match key {
        ServiceKey::Tcp(at) => vec![
            attribute(IPVS_SVC_ATTR_AF, family(at.is_ipv6())),
            attribute(IPVS_SVC_ATTR_PROTOCOL, IPPROTO_TCP),
            attribute(IPVS_SVC_ATTR_ADDR, address(at.ip())),
            attribute(IPVS_SVC_ATTR_PORT, at.port().to_be_bytes()),
        ],
        ServiceKey::Mark { mark, ipv6 } => {
            vec![attribute(IPVS_SVC_ATTR_AF, family(*ipv6)), attribute(IPVS_SVC_ATTR_FWMARK, mark.0)]
        }
    }
}

/// The attributes that name a service.
pub(super) fn key(key: &ServiceKey) -> Attributes {
    nest(IPVS_CMD_ATTR_SERVICE, identity(key)).into_iter().collect()
}

/// The attributes that describe a service.
pub(super) fn service(service: &VirtualService) -> Attributes {
    let ipv6 = match service.key {
        ServiceKey::Tcp(at) => at.is_ipv6(),
        ServiceKey::Mark { ipv6, .. } => ipv6,
    };
    let flags = if service.persistence.is_some() { IP_VS_SVC_F_PERSISTENT } else { 0 };
    // IPv4: a mask in network order; IPv6: a prefix length in host order.
    let netmask = if ipv6 { 128u32.to_ne_bytes() } else { [0xff; 4] };
    // struct ip_vs_flags: the flags and which of them count.
    let [f0, f1, f2, f3] = flags.to_ne_bytes();
    let mut fields = identity(&service.key);
    fields.extend([
        attribute(IPVS_SVC_ATTR_SCHED_NAME, service.scheduler.as_str()),
        attribute(IPVS_SVC_ATTR_FLAGS, [f0, f1, f2, f3, 0xff, 0xff, 0xff, 0xff]),
        attribute(IPVS_SVC_ATTR_TIMEOUT, service.persistence.map_or(0, seconds)),
        attribute(IPVS_SVC_ATTR_NETMASK, netmask),
    ]);
    nest(IPVS_CMD_ATTR_SERVICE, fields).into_iter().collect()
}

/// The attributes that name a service and describe one of its destinations.
pub(super) fn destination(of: &ServiceKey, destination: &Destination) -> Attributes {
    let method = match destination.forwarding {
        ForwardingMethod::Nat => IP_VS_CONN_F_MASQ,
        ForwardingMethod::Tun => IP_VS_CONN_F_TUNNEL,
        ForwardingMethod::Dr => IP_VS_CONN_F_DROUTE,
    };
    let fields = [
        attribute(IPVS_DEST_ATTR_ADDR_FAMILY, family(destination.address.is_ipv6())),
        attribute(IPVS_DEST_ATTR_ADDR, address(destination.address.ip())),
        attribute(IPVS_DEST_ATTR_PORT, destination.address.port().to_be_bytes()),
        attribute(IPVS_DEST_ATTR_FWD_METHOD, method),
        attribute(IPVS_DEST_ATTR_WEIGHT, destination.weight),
        attribute(IPVS_DEST_ATTR_U_THRESH, destination.thresholds.upper),
        attribute(IPVS_DEST_ATTR_L_THRESH, destination.thresholds.lower),
    ];
    [nest(IPVS_CMD_ATTR_SERVICE, identity(of)), nest(IPVS_CMD_ATTR_DEST, fields)].into_iter().flatten().collect()
}

/// The attributes of `ipvsadm --set`.
pub(super) fn timeouts(timeouts: &Timeouts) -> Attributes {
    [
        attribute(IPVS_CMD_ATTR_TIMEOUT_TCP, seconds(timeouts.tcp)),
        attribute(IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, seconds(timeouts.tcp_fin)),
        attribute(IPVS_CMD_ATTR_TIMEOUT_UDP, seconds(timeouts.udp)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A u16 in host order.
pub(super) fn u16_of(attributes: &Attributes, kind: u16) -> Option<u16> {
    attributes.get_attr_handle().get_attr_payload_as(kind).ok()
}

fn u32_of(fields: &Fields<'_>, kind: u16) -> Option<u32> {
    fields.get_attr_payload_as(kind).ok()
}

fn port_of(fields: &Fields<'_>, kind: u16) -> Option<u16> {
    fields.get_attr_payload_as(kind).ok().map(u16::from_be)
}

fn address_of(fields: &Fields<'_>, kind: u16, family: u16) -> Option<IpAddr> {
    let bytes: [u8; 16] = fields.get_attr_payload_as(kind).ok()?;
    match (family, bytes) {
        (AF_INET, [a, b, c, d, ..]) => Some(Ipv4Addr::new(a, b, c, d).into()),
        (AF_INET6, bytes) => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

pub(super) fn parse_timeouts(attributes: &Attributes) -> Option<Timeouts> {
    let fields = attributes.get_attr_handle();
    let time = |kind| u32_of(&fields, kind).map(|seconds| Duration::from_secs(seconds.into()));
    Some(Timeouts {
        tcp: time(IPVS_CMD_ATTR_TIMEOUT_TCP)?,
        tcp_fin: time(IPVS_CMD_ATTR_TIMEOUT_TCP_FIN)?,
        udp: time(IPVS_CMD_ATTR_TIMEOUT_UDP)?,
    })
}

fn parse_traffic(fields: &Fields<'_>, kind: u16) -> Traffic {
    let Ok(stats) = fields.get_nested_attributes::<u16>(kind) else { return Traffic::default() };
    let number = |kind| stats.get_attr_payload_as::<u64>(kind).unwrap_or_default();
    Traffic {
        connections: number(IPVS_STATS_ATTR_CONNS),
        packets_in: number(IPVS_STATS_ATTR_INPKTS),
        packets_out: number(IPVS_STATS_ATTR_OUTPKTS),
        bytes_in: number(IPVS_STATS_ATTR_INBYTES),
        bytes_out: number(IPVS_STATS_ATTR_OUTBYTES),
    }
}

/// `None` for UDP and SCTP, and for what makes no sense.
pub(super) fn parse_service(attributes: &Attributes) -> Option<ListedService> {
    let top = attributes.get_attr_handle();
    let fields = top.get_nested_attributes::<u16>(IPVS_CMD_ATTR_SERVICE).ok()?;
    let af: u16 = fields.get_attr_payload_as(IPVS_SVC_ATTR_AF).ok()?;
    let key = match u32_of(&fields, IPVS_SVC_ATTR_FWMARK) {
        Some(mark) if mark != 0 => ServiceKey::Mark { mark: FirewallMark(mark), ipv6: af == AF_INET6 },
        _ if fields.get_attr_payload_as::<u16>(IPVS_SVC_ATTR_PROTOCOL).ok()? != IPPROTO_TCP => return None,
        _ => ServiceKey::Tcp(SocketAddr::new(
            address_of(&fields, IPVS_SVC_ATTR_ADDR, af)?,
            port_of(&fields, IPVS_SVC_ATTR_PORT)?,
        )),
    };
    let scheduler: String = fields.get_attr_payload_as_with_len(IPVS_SVC_ATTR_SCHED_NAME).ok()?;
    let [f0, f1, f2, f3, ..]: [u8; 8] = fields.get_attr_payload_as(IPVS_SVC_ATTR_FLAGS).ok()?;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]) & !IP_VS_SVC_F_HASHED;
    let netmask = u32_of(&fields, IPVS_SVC_ATTR_NETMASK)?;
    let timeout = Duration::from_secs(u32_of(&fields, IPVS_SVC_ATTR_TIMEOUT)?.into());
    Some(ListedService {
        service: VirtualService {
            key,
            scheduler: scheduler.trim_end_matches('\0').to_owned(),
            persistence: (flags & IP_VS_SVC_F_PERSISTENT != 0).then_some(timeout),
        },
        flags,
        netmask: if af == AF_INET6 { u8::try_from(netmask).unwrap_or(128) } else { netmask.count_ones() as u8 },
        traffic: parse_traffic(&fields, IPVS_SVC_ATTR_STATS64),
        destinations: Vec::new(),
    })
}

pub(super) fn parse_destination(of: &ServiceKey, attributes: &Attributes) -> Option<ListedDestination> {
    let top = attributes.get_attr_handle();
    let fields = top.get_nested_attributes::<u16>(IPVS_CMD_ATTR_DEST).ok()?;
    let of_family = match of {
        ServiceKey::Tcp(at) => family(at.is_ipv6()),
        ServiceKey::Mark { ipv6, .. } => family(*ipv6),
    };
    let af = fields.get_attr_payload_as(IPVS_DEST_ATTR_ADDR_FAMILY).unwrap_or(of_family);
    let method = u32_of(&fields, IPVS_DEST_ATTR_FWD_METHOD)? & IP_VS_CONN_F_FWD_MASK;
    Some(ListedDestination {
        destination: Destination {
            address: SocketAddr::new(
                address_of(&fields, IPVS_DEST_ATTR_ADDR, af)?,
                port_of(&fields, IPVS_DEST_ATTR_PORT)?,
            ),
            forwarding: match method {
                IP_VS_CONN_F_MASQ => ForwardingMethod::Nat,
                IP_VS_CONN_F_TUNNEL => ForwardingMethod::Tun,
                _ => ForwardingMethod::Dr,
            },
            weight: u32_of(&fields, IPVS_DEST_ATTR_WEIGHT)?,
            thresholds: Thresholds {
                upper: u32_of(&fields, IPVS_DEST_ATTR_U_THRESH).unwrap_or_default(),
                lower: u32_of(&fields, IPVS_DEST_ATTR_L_THRESH).unwrap_or_default(),
            },
        },
        local: method == IP_VS_CONN_F_LOCALNODE,
        active: u32_of(&fields, IPVS_DEST_ATTR_ACTIVE_CONNS).unwrap_or_default(),
        inactive: u32_of(&fields, IPVS_DEST_ATTR_INACT_CONNS).unwrap_or_default(),
        persistent: u32_of(&fields, IPVS_DEST_ATTR_PERSIST_CONNS).unwrap_or_default(),
        traffic: parse_traffic(&fields, IPVS_DEST_ATTR_STATS64),
    })
}

pub(super) fn parse_sync_daemon(attributes: &Attributes) -> Option<SyncDaemon> {
    let top = attributes.get_attr_handle();
    let fields = top.get_nested_attributes::<u16>(IPVS_CMD_ATTR_DAEMON).ok()?;
    let interface: String = fields.get_attr_payload_as_with_len(IPVS_DAEMON_ATTR_MCAST_IFN).ok()?;
    let role = match u32_of(&fields, IPVS_DAEMON_ATTR_STATE)? {
        IP_VS_STATE_MASTER => SyncRole::Master,
        IP_VS_STATE_BACKUP => SyncRole::Backup,
        _ => return None,
    };
    let id = u32_of(&fields, IPVS_DAEMON_ATTR_SYNC_ID)?;
    Some(SyncDaemon { role, interface: interface.trim_end_matches('\0').to_owned(), id })
}
