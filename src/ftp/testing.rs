//! A control connection in a test: both ends' sequence numbers, one session between them.

use std::net::{Ipv4Addr, SocketAddr};

use super::{Bounce, Context, Direction, Event, Flags, Policy, Replies, Segment, Session, Syn, Told, Verdict};
use crate::time::Time;

/// A session with what surrounds it.
pub(super) struct Wire {
    pub session: Session,
    pub policy: Policy,
    pub client: SocketAddr,
    pub now: Time,
    pub next: [u32; 2],
    pub events: Vec<Event>,
    pub port_shift: u16,
    pub syn: Syn,
}

impl Wire {
    pub fn nat() -> Self {
        let policy = Policy {
            replies: Replies::Seen,
            advertise: Some(Ipv4Addr::new(192, 0, 2, 10)),
            bounce: Bounce::Reject,
            line_limit: 4096,
            implicit_tls: false,
            names: false,
            public_ports: false,
        };
        let client = SocketAddr::from(([198, 51, 100, 7], 40_000));
        let mut wire = Self {
            session: Session::new(),
            policy,
            client,
            now: Time::ZERO,
            next: [1000, 9000],
            events: vec![],
            port_shift: 0,
            syn: Syn::Unseen,
        };
        for (direction, seq) in [(Direction::ToServer, 999), (Direction::ToClient, 8999)] {
            let _ = wire.raw(direction, seq, Flags::SYN, &mut []);
        }
        wire
    }

    pub fn dr() -> Self {
        let mut wire = Self::nat();
        wire.policy.replies = Replies::Unseen;
        wire.policy.advertise = None;
        wire
    }

    pub fn raw(&mut self, direction: Direction, seq: u32, flags: Flags, payload: &mut [u8]) -> Verdict {
        let ack = self.next[1 - direction as usize];
        self.numbered(direction, (seq, ack), flags, payload)
    }

    pub fn numbered(
        &mut self,
        direction: Direction,
        (seq, ack): (u32, u32),
        flags: Flags,
        payload: &mut [u8],
    ) -> Verdict {
        let context = Context { now: self.now, policy: &self.policy, client: self.client, syn: self.syn };
        let mut segment = Segment { direction, seq, ack, flags, payload };
        let shift = self.port_shift;
        self.session.segment(&context, &mut segment, &mut |port| Told::Port(port + shift), &mut self.events)
    }

    /// The next bytes of one direction; what comes out, `None` if they are held.
    pub fn send(&mut self, direction: Direction, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut payload = bytes.to_vec();
        let seq = self.next[direction as usize];
        self.next[direction as usize] = seq.wrapping_add(u32::try_from(bytes.len()).unwrap());
        loop {
            match self.raw(direction, seq, Flags::ACK, &mut payload) {
                Verdict::More => {}
                Verdict::Hold | Verdict::Drop => return None,
                Verdict::Pass => {
                    assert_eq!(payload, bytes);
                    return Some(payload);
                }
                Verdict::Edited => return Some(payload),
            }
        }
    }

    pub fn client(&mut self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        self.send(Direction::ToServer, bytes.as_ref()).expect("commands are never held")
    }

    pub fn server(&mut self, bytes: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        self.send(Direction::ToClient, bytes.as_ref())
    }

    pub fn timeout(&mut self, after_ms: u64) {
        self.now = Time::from_millis(self.now.as_millis() + after_ms);
        let context = Context { now: self.now, policy: &self.policy, client: self.client, syn: Syn::Unseen };
        self.session.timeout(&context, &mut self.events);
    }

    /// The events since the last call, as text.
    pub fn told(&mut self) -> Vec<String> {
        self.events.drain(..).map(|event| event.to_string()).collect()
    }
}
