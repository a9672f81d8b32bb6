//! IPVS by generic netlink: what `ipvsadm` does.

use std::fmt;

use neli::consts::genl::{CtrlAttr, CtrlCmd};
use neli::consts::nl::{GenlId, NlmF, Nlmsg};
use neli::consts::socket::NlFamily;
use neli::err::SocketError;
use neli::genl::{Genlmsghdr, GenlmsghdrBuilder, NoUserHeader};
use neli::nl::{NlPayload, Nlmsghdr, NlmsghdrBuilder};
use neli::socket::synchronous::NlSocketHandle;
use neli::types::{Buffer, GenlBuffer};
use neli::utils::Groups;

use super::abi::ip_vs::{
    IPVS_CMD_DEL_DEST, IPVS_CMD_DEL_SERVICE, IPVS_CMD_GET_CONFIG, IPVS_CMD_GET_DAEMON, IPVS_CMD_GET_DEST,
    IPVS_CMD_GET_SERVICE, IPVS_CMD_NEW_DEST, IPVS_CMD_NEW_SERVICE, IPVS_CMD_SET_CONFIG, IPVS_CMD_SET_DEST,
    IPVS_CMD_SET_SERVICE, IPVS_GENL_NAME, IPVS_GENL_VERSION,
};
use super::netlink::{Acknowledgement, set_option};
use super::{Errno, KernelError};
use crate::lvs::{Destination, ServiceKey, Timeouts, VirtualService};

mod listed;
mod wire;

pub use listed::{ListedDestination, ListedService, SyncDaemon, SyncRole};

use wire::Attributes;

type GenlReply = Genlmsghdr<u8, u16>;

/// A connection to IPVS in this network namespace. One request at a time; each is answered before it returns.
pub struct Ipvs {
    // Not neli's router: its thread wakes ten times a second, and its channel deadlocks on long dumps.
    socket: NlSocketHandle,
    family: u16,
    seq: u32,
}

impl Ipvs {
    /// Finds the IPVS family.
    ///
    /// # Errors
    /// `NoModule("ip_vs")` when the kernel has none.
    pub fn connect() -> Result<Self, KernelError> {
        let tried = "asking the kernel for IPVS";
        let open = || -> Result<NlSocketHandle, SocketError> {
            let socket = NlSocketHandle::connect(NlFamily::Generic, None, Groups::empty())?;
            socket.set_recv_buffer_size(1 << 20)?;
            socket.enable_ext_ack(true)?;
            set_option(&socket, libc::SO_RCVTIMEO, &libc::timeval { tv_sec: 5, tv_usec: 0 })?;
            Ok(socket)
        };
        let refused = |answer: Acknowledgement| match answer.errno {
            Errno::ENOENT => KernelError::NoModule("ip_vs"),
            errno => KernelError::refused(tried, errno, answer.said),
        };
        let mut this = Self { socket: open().map_err(|e| refused(lost(&e)))?, family: 0, seq: 0 };
        let name = wire::string(CtrlAttr::FamilyName.into(), IPVS_GENL_NAME);
        let replies =
            this.exchange((GenlId::Ctrl.into(), CtrlCmd::Getfamily.into()), NlmF::ACK, name).map_err(refused)?;
        this.family = replies
            .first()
            .and_then(|reply| wire::u16_of(reply.attrs(), CtrlAttr::FamilyId.into()))
            .ok_or_else(|| garbled(tried, "no family id"))?;
        Ok(this)
    }

    /// `ipvsadm -L -n --stats --exact`: every TCP and firewall-mark service (UDP and SCTP are left out).
    ///
    /// # Errors
    /// What the kernel said.
    pub fn services(&mut self) -> Result<Vec<ListedService>, KernelError> {
        let tried = "ipvsadm -L -n";
        let replies = self.request(tried, IPVS_CMD_GET_SERVICE, NlmF::DUMP, Attributes::new())?;
        let mut services: Vec<_> = replies.iter().filter_map(|r| wire::parse_service(r.attrs())).collect();
        for listed in &mut services {
            let key = listed.service.key;
            let of = wire::key(&key);
            // A service that someone deletes meanwhile has none.
            let replies = self.request(&format!("ipvsadm -L -n {}", key), IPVS_CMD_GET_DEST, NlmF::DUMP, of)?;
            listed.destinations = replies.iter().filter_map(|r| wire::parse_destination(&key, r.attrs())).collect();
        }
        Ok(services)
    }

    /// `ipvsadm -l --daemon`: the sync daemons of this network namespace, one of each role at most.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>, KernelError> {
        let replies = self.request("ipvsadm -l --daemon", IPVS_CMD_GET_DAEMON, NlmF::DUMP, Attributes::new())?;
        Ok(replies.iter().filter_map(|reply| wire::parse_sync_daemon(reply.attrs())).collect())
    }

    /// `ipvsadm -A`: adds a service without real servers.
    ///
    /// # Errors
    /// EEXIST when it is there; ENOENT when the kernel lacks the scheduler.
    pub fn add_service(&mut self, service: &VirtualService) -> Result<(), KernelError> {
        self.change(service.ipvsadm('A'), IPVS_CMD_NEW_SERVICE, wire::service(service), |errno| {
            scheduler_cure(errno, service)
        })
    }

    /// `ipvsadm -E`: scheduler and persistence.
    ///
    /// # Errors
    /// ESRCH when it is not there; ENOENT when the kernel lacks the scheduler.
    pub fn edit_service(&mut self, service: &VirtualService) -> Result<(), KernelError> {
        self.change(service.ipvsadm('E'), IPVS_CMD_SET_SERVICE, wire::service(service), |errno| {
            scheduler_cure(errno, service)
        })
    }

    /// `ipvsadm -D`, with its destinations.
    ///
    /// # Errors
    /// ESRCH when it is not there.
    pub fn delete_service(&mut self, service: &ServiceKey) -> Result<(), KernelError> {
        self.change(format!("ipvsadm -D {}", service), IPVS_CMD_DEL_SERVICE, wire::key(service), no_service)
    }

    /// `ipvsadm -a`: adds a real server to a service.
    ///
    /// # Errors
    /// ESRCH when the service is not there, EEXIST when the destination is.
    pub fn add_destination(&mut self, service: &ServiceKey, destination: &Destination) -> Result<(), KernelError> {
        let attributes = wire::destination(service, destination);
        self.change(destination.ipvsadm('a', service), IPVS_CMD_NEW_DEST, attributes, destination_cure)
    }

    /// `ipvsadm -e`: forwarding method, weight and thresholds.
    ///
    /// # Errors
    /// ESRCH when the service is not there, ENOENT when the destination is not.
    pub fn edit_destination(&mut self, service: &ServiceKey, destination: &Destination) -> Result<(), KernelError> {
        let attributes = wire::destination(service, destination);
        self.change(destination.ipvsadm('e', service), IPVS_CMD_SET_DEST, attributes, destination_cure)
    }

    /// `ipvsadm -d`: address and port of `destination` count.
    ///
    /// # Errors
    /// ESRCH when the service is not there, ENOENT when the destination is not.
    pub fn delete_destination(&mut self, service: &ServiceKey, destination: &Destination) -> Result<(), KernelError> {
        let tried = destination.ipvsadm_delete(service);
        self.change(tried, IPVS_CMD_DEL_DEST, wire::destination(service, destination), destination_cure)
    }

    /// `ipvsadm -L --timeout`: the timeouts in force in this network namespace.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn timeouts(&mut self) -> Result<Timeouts, KernelError> {
        let tried = "ipvsadm -L --timeout";
        let replies = self.request(tried, IPVS_CMD_GET_CONFIG, NlmF::ACK, Attributes::new())?;
        replies.first().and_then(|r| wire::parse_timeouts(r.attrs())).ok_or_else(|| garbled(tried, "no timeouts"))
    }

    /// `ipvsadm --set`: a timeout of 0 stays as it is.
    ///
    /// # Errors
    /// EINVAL when the kernel cannot count that far.
    pub fn set_timeouts(&mut self, timeouts: &Timeouts) -> Result<(), KernelError> {
        let [tcp, fin, udp] = [timeouts.tcp, timeouts.tcp_fin, timeouts.udp].map(wire::seconds);
        let tried = format!("ipvsadm --set {tcp} {fin} {udp}");
        self.change(tried, IPVS_CMD_SET_CONFIG, wire::timeouts(timeouts), |_| None)
    }

    fn change(
        &mut self,
        tried: String,
        command: u8,
        attributes: Attributes,
        cure: impl FnOnce(Errno) -> Option<String>,
    ) -> Result<(), KernelError> {
        match self.exchange((self.family, command), NlmF::ACK, attributes) {
            Ok(_) => Ok(()),
            Err(answer) => Err(KernelError::refused(tried, answer.errno, answer.said.or_else(|| cure(answer.errno)))),
        }
    }

    fn request(
        &mut self,
        tried: &str,
        command: u8,
        flags: NlmF,
        of: Attributes,
    ) -> Result<Vec<GenlReply>, KernelError> {
        self.exchange((self.family, command), flags, of)
            .map_err(|answer| KernelError::refused(tried, answer.errno, answer.said))
    }

    /// Sends a request and collects its replies: all of them, before anything else is asked.
    fn exchange(
        &mut self,
        (family, command): (u16, u8),
        flags: NlmF,
        attributes: Attributes,
    ) -> Result<Vec<GenlReply>, Acknowledgement> {
        self.seq = self.seq.wrapping_add(1);
        let payload = GenlmsghdrBuilder::<u8, u16, NoUserHeader>::default()
            .cmd(command)
            .version(IPVS_GENL_VERSION)
            .attrs(attributes)
            .build()
            .map_err(|e| unwritten(&e))?;
        let request = NlmsghdrBuilder::default()
            .nl_type(family)
            .nl_flags(NlmF::REQUEST | flags)
            .nl_seq(self.seq)
            .nl_payload(NlPayload::Payload(payload))
            .build()
            .map_err(|e| unwritten(&e))?;
        self.socket.send(&request).map_err(|e| lost(&e))?;
        let mut replies = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv::<u16, GenlReply>().map_err(|e| lost(&e))?;
            for message in datagram {
                let message: Nlmsghdr<u16, GenlReply> = message.map_err(|e| lost(&e))?;
                if *message.nl_seq() != self.seq {
                    continue;
                }
                let done = *message.nl_type() == u16::from(Nlmsg::Done);
                match message.nl_payload() {
                    NlPayload::Ack(_) => return Ok(replies),
                    NlPayload::Err(e) => return Err(answer(*e.error(), e.ext_ack())),
                    NlPayload::DumpExtAck(e) if *e.error() != 0 => return Err(answer(*e.error(), e.ext_ack())),
                    NlPayload::Payload(reply) if !done => replies.push(reply.clone()),
                    _ => {}
                }
                if done {
                    return Ok(replies);
                }
            }
        }
    }
}

impl fmt::Debug for Ipvs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ipvs").field("family", &self.family).finish_non_exhaustive()
    }
}

fn answer(errno: i32, words: &GenlBuffer<neli::consts::nl::NlmsgerrAttr, Buffer>) -> Acknowledgement {
    let said = words
        .get_attr_handle()
        .get_attr_payload_as_with_len_borrowed::<&str>(neli::consts::nl::NlmsgerrAttr::Msg)
        .ok()
        .map(|text| text.trim_end_matches('\0').to_owned());
    Acknowledgement { errno: Errno(errno.saturating_neg()), said }
}

/// The socket failed, or neli cannot read what came.
fn lost(error: &SocketError) -> Acknowledgement {
    match error {
        SocketError::Io(e) => Acknowledgement { errno: Errno::of(e), said: None },
        other => Acknowledgement { errno: Errno(libc::EBADMSG), said: Some(other.to_string()) },
    }
}

/// neli could not write a message: a field was forgotten.
fn unwritten(error: &dyn fmt::Display) -> Acknowledgement {
    Acknowledgement { errno: Errno(libc::EINVAL), said: Some(error.to_string()) }
}

fn garbled(tried: &str, why: &str) -> KernelError {
    KernelError::Garbled { tried: tried.to_owned(), why: why.to_owned() }
}

fn scheduler_cure(errno: Errno, service: &VirtualService) -> Option<String> {
    match errno {
        Errno::ENOENT => Some(format!("no scheduler '{0}': modprobe ip_vs_{0}", service.scheduler)),
        _ => no_service(errno),
    }
}

fn no_service(errno: Errno) -> Option<String> {
    (errno == Errno::ESRCH).then(|| "no such service: ipvsadm -L -n".to_owned())
}

fn destination_cure(errno: Errno) -> Option<String> {
    match errno {
        Errno::ENOENT => Some("the service has no such destination".to_owned()),
        Errno(libc::ERANGE) => Some("the weight is too large".to_owned()),
        _ => no_service(errno),
    }
}

#[cfg(test)]
mod tests;
