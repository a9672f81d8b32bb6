//! Servers speak first, and only a packet of the client makes a session: what a server says before that is heard here (NAT).
//!
//! How a server ends its lines can be learned from nothing else: later it repeats what clients say.

use std::collections::VecDeque;
use std::net::IpAddr;

use hashbrown::HashMap;

use super::interface::Setup;
use super::key::ConnectionKey;
use crate::ftp::{Context, Direction, Event, Policy, Segment, Session, Syn, Told, UnparsedReason, Verdict};
use crate::time::Time;
use crate::wire::Packet;

/// How many clients may be silent after their greeting; of more the first are forgotten, and then read as those whose
/// greeting was not seen.
const MOST: usize = 4096;

/// Sessions whose client has not spoken.
#[derive(Default)]
pub struct Greetings {
    sessions: HashMap<ConnectionKey, Session>,
    order: VecDeque<ConnectionKey>,
    policies: HashMap<IpAddr, Policy>,
    /// What is offered to a session, and what it tells.
    said: Vec<u8>,
    events: Vec<Event>,
}

impl Greetings {
    /// Takes the policies of another configuration.
    pub fn configure(&mut self, setup: &Setup) {
        let of = setup.placements.iter().map(|(placement, policies)| (placement.address, policies.explicit.clone()));
        self.policies = of.collect();
    }

    /// A server said something on a connection that is not known.
    pub fn hear(&mut self, now: Time, key: ConnectionKey, packet: &Packet, bytes: &mut [u8]) {
        if packet.payload.is_empty() {
            return;
        }
        if !self.policies.contains_key(&packet.source.ip()) {
            return;
        }
        let begins = matches!(packet.payload(bytes), [b'1' | b'2', b'2', b'0', ..]);
        if !self.sessions.contains_key(&key) {
            if !begins {
                return;
            }
            self.make_room();
            self.order.push_back(key);
        }
        let Some(policy) = self.policies.get(&packet.source.ip()) else { return };
        let session = self.sessions.entry(key).or_default();
        let context = Context { now, policy, client: key.client(), syn: Syn::Unseen };
        let tcp = &packet.tcp;
        // A copy: the packet itself passes as it is.
        self.said.clear();
        self.said.extend_from_slice(packet.payload(bytes));
        let payload = self.said.as_mut_slice();
        let (direction, seq, ack, flags) = (Direction::ToClient, tcp.seq, tcp.ack, tcp.flags);
        let mut segment = Segment { direction, seq, ack, flags, payload };
        self.events.clear();
        let nothing = &mut |_| Told::Refuse(UnparsedReason::Unasked);
        if session.segment(&context, &mut segment, nothing, &mut self.events) != Verdict::Pass || session.closed() {
            self.sessions.remove(&key);
        }
    }

    /// The session, when its client speaks.
    pub fn take(&mut self, key: &ConnectionKey) -> Option<Session> {
        self.sessions.remove(key)
    }

    fn make_room(&mut self) {
        while self.order.len() >= MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.sessions.remove(&oldest);
            }
        }
    }
}
