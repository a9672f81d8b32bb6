//! A server's 227 on a connection that is not known, because its client has said nothing since this process reads (NAT). The
//! pinholes of clients that were connected before are open ([`Director::took_over`]); what is missing is the address.

use super::interface::Decision;
use super::{Director, unread};
use crate::ftp::readdress;
use crate::wire::Packet;

impl Director {
    /// What becomes of a reply on a connection that is not known.
    pub(super) fn unasked(&mut self, packet: &Packet, bytes: &mut [u8]) -> Decision {
        let Some(at) = self.advertised.by(packet.source.ip()) else { return unread() };
        let Some((placement, policies)) = self.setup.placements.get(at) else { return unread() };
        let (placement, before) = (*placement, packet.payload_sum(bytes));
        let declares = |port| placement.declares(port);
        let Some(event) = readdress(&policies.explicit, packet.payload_mut(bytes), declares) else { return unread() };
        packet.amend(bytes, before);
        self.count_event(&placement, &event);
        Decision::Accept { mark: None, edited: true }
    }
}
