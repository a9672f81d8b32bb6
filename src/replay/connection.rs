//! One control connection of a capture, with the segments that would be held.

use std::net::IpAddr;

use super::interface::Endpoints;
use crate::ftp::{Bounce, Context, Direction, Event, Policy, Replies, Segment, Session, Syn, Told, Verdict};
use crate::lvs::ForwardingMethod;
use crate::time::Time;
use crate::wire::Tcp;

/// The default of `limits.line`, in bytes.
const LINE_LIMIT: usize = 4096;

pub(super) struct Replayed {
    ends: Endpoints,
    policy: Policy,
    pub session: Session,
    pub events: Vec<Event>,
    /// In the order of their sequence numbers.
    held: Vec<EarlySegment>,
}

struct EarlySegment {
    tcp: Tcp,
    payload: Vec<u8>,
}

impl Replayed {
    pub(super) fn new(ends: Endpoints, forwarding: ForwardingMethod) -> Self {
        let replies = match forwarding {
            ForwardingMethod::Nat => Replies::Seen,
            ForwardingMethod::Dr | ForwardingMethod::Tun => Replies::Unseen,
        };
        // the captured server stands for the advertised address
        let advertise = match ends.server.ip().to_canonical() {
            IpAddr::V4(ip) if replies == Replies::Seen => Some(ip),
            _ => None,
        };
        let implicit_tls = ends.server.port() == 990;
        let policy = Policy {
            replies,
            advertise,
            public_ports: false,
            bounce: Bounce::Reject,
            line_limit: LINE_LIMIT,
            implicit_tls,
            names: false,
        };
        Self { ends, policy, session: Session::new(), events: Vec::new(), held: Vec::new() }
    }

    /// What the director would do with a packet.
    pub(super) fn packet(&mut self, now: Time, direction: Direction, tcp: &Tcp, payload: &[u8]) {
        if direction == Direction::ToClient && self.policy.replies == Replies::Unseen {
            return;
        }
        while let Some(at) = self.session.deadline().filter(|at| *at <= now) {
            self.pass_time(at);
        }
        let mut payload = payload.to_vec();
        let verdict = self.offer(now, direction, tcp, &mut payload);
        if self.events.contains(&Event::End) {
            self.held.clear();
        }
        if verdict == Verdict::Hold {
            let behind = |held: &EarlySegment| held.tcp.seq.wrapping_sub(tcp.seq).cast_signed() <= 0;
            let at = self.held.partition_point(behind);
            self.held.insert(at, EarlySegment { tcp: *tcp, payload });
        }
        self.offer_held(now);
    }

    /// The capture is over: nothing more will come.
    pub(super) fn give_up(&mut self) {
        while let Some(at) = self.session.deadline() {
            self.pass_time(at);
        }
    }

    fn pass_time(&mut self, now: Time) {
        let context = Context { now, policy: &self.policy, client: self.ends.client, syn: Syn::Unseen };
        self.session.timeout(&context, &mut self.events);
        self.offer_held(now);
    }

    fn offer_held(&mut self, now: Time) {
        let mut before = usize::MAX;
        while self.held.len() < before {
            before = self.held.len();
            for mut held in std::mem::take(&mut self.held) {
                if self.offer(now, Direction::ToClient, &held.tcp, &mut held.payload) == Verdict::Hold {
                    self.held.push(held);
                }
            }
        }
    }

    fn offer(&mut self, now: Time, direction: Direction, tcp: &Tcp, payload: &mut [u8]) -> Verdict {
        // a capture shows the SYN itself
        let context = Context { now, policy: &self.policy, client: self.ends.client, syn: Syn::Unseen };
        loop {
            let mut segment =
                Segment { direction, seq: tcp.seq, ack: tcp.ack, flags: tcp.flags, payload: &mut *payload };
            let verdict = self.session.segment(&context, &mut segment, &mut |port| Told::Port(port), &mut self.events);
            if verdict != Verdict::More {
                return verdict;
            }
        }
    }
}
