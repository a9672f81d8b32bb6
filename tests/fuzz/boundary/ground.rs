//! The configuration: what the operator declared.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ftpdirector::facade::director::{ClusterSetup, Director, Policies, SessionLimits, Setup};
use ftpdirector::facade::ftp::{Bounce, Policy, Replies};
use ftpdirector::facade::lvs::{ForwardingMethod, PortRange};
use ftpdirector::facade::state::Marks;
use ftpdirector::facade::steer::Placement;

pub(super) const MARKS: Marks = Marks { base: 0x0f70_0000 };
pub(super) const CONTROL_PORT: u16 = 21;
/// How long an expectation waits.
pub(super) const PINHOLE: Duration = Duration::from_secs(10);
/// How long IPVS keeps an idle connection.
pub(super) const IDLE: Duration = Duration::from_secs(900);
/// As long as that the director forgets nobody: a session under TLS that IPVS is not seen to have goes after half its timeout.
pub(super) const LIVELY: Duration = Duration::from_secs(440);
/// The longest command line.
pub(super) const LINE: usize = 512;
const SERVERS: u8 = 3;

/// When an execution ends: what may be left of it is another each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    /// At once.
    Now,
    /// When nothing is expected or held any more.
    Quiet,
    /// When IPVS has forgotten every connection.
    Gone,
}

/// A real server as the operator declared it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server {
    pub address: IpAddr,
    /// The passive range that is its alone.
    pub own: Option<PortRange>,
    /// Its passive range; `None`: nothing was declared.
    pub passive: Option<PortRange>,
    /// Where it calls from.
    pub active: Option<u16>,
}

/// What the first bytes of an input say.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    pub forwarding: ForwardingMethod,
    pub vip: IpAddr,
    pub servers: Vec<Server>,
    /// The ports of the VIP that clients are told in place of the servers' (NAT).
    pub public: Option<PortRange>,
    /// Whose data a pinhole lets in.
    pub prefix: u8,
    pub bounce: Bounce,
    /// Whether there are more sessions than the director may follow.
    pub crowded: bool,
    /// Whether servers end lines with LF alone, and read lines that clients end so.
    pub bare: bool,
    pub ending: Ending,
}

impl Ground {
    pub(super) fn read([first, second, ..]: [u8; 4]) -> Self {
        let forwarding = match first & 3 {
            1 => ForwardingMethod::Dr,
            2 => ForwardingMethod::Tun,
            _ => ForwardingMethod::Nat,
        };
        let v6 = first & 0x80 != 0;
        // few, and among the servers' own where these share a range
        let public = (forwarding == ForwardingMethod::Nat && second & 0x10 != 0).then(|| PortRange::new(40001, 40003));
        let public = public.flatten();
        let server = |number: u8| {
            let (own, passive) = ranges(first >> 2 & 3, u16::from(number));
            let own = own.filter(|_| public.is_none());
            let active = (first & 0x10 != 0).then_some(2020 + u16::from(number));
            Server { address: address(v6, [10, 0, 0, 11 + number]), own, passive, active }
        };
        Self {
            forwarding,
            vip: address(v6, [192, 0, 2, 10]),
            servers: (0..SERVERS).map(server).collect(),
            public,
            prefix: if first & 0x20 == 0 {
                128
            } else if v6 {
                120
            } else {
                24
            },
            bounce: if first & 0x40 == 0 { Bounce::Reject } else { Bounce::Allow },
            crowded: second & 1 != 0,
            bare: second & 2 != 0,
            ending: match second >> 2 & 3 {
                1 => Ending::Quiet,
                2 => Ending::Gone,
                _ => Ending::Now,
            },
        }
    }

    pub(super) fn nat(&self) -> bool {
        self.forwarding == ForwardingMethod::Nat
    }

    /// The far end of a control connection, as the queue sees it.
    pub(super) fn far_end(&self, server: usize) -> SocketAddr {
        SocketAddr::new(if self.nat() { self.servers[server].address } else { self.vip }, CONTROL_PORT)
    }

    /// Where a server calls from (RFC 959 §3.2).
    pub(super) fn calls_from(&self, server: usize) -> u16 {
        self.servers[server].active.unwrap_or(CONTROL_PORT - 1)
    }

    pub(super) fn director(&self) -> Director {
        Director::new(Setup {
            marks: MARKS,
            clusters: vec![ClusterSetup {
                name: "fuzz".into(),
                servers: (0..SERVERS).map(|number| format!("rs{number}")).collect(),
                pinhole_timeout: PINHOLE,
            }],
            placements: (0..self.servers.len()).map(|server| (self.placement(server), self.policies())).collect(),
            limits: SessionLimits { sessions: self.most_sessions(), client_sessions: 1000, memory: 1 << 20 },
            services: vec![],
            idle: IDLE,
        })
    }

    /// How many sessions the director may follow.
    pub(super) fn most_sessions(&self) -> usize {
        if self.crowded { 3 } else { 1000 }
    }

    fn placement(&self, number: usize) -> Placement {
        let Server { address, own, passive, active } = self.servers[number];
        Placement {
            index: u16::try_from(number).expect("few servers"),
            cluster: 0,
            vip: self.vip,
            server: number,
            address,
            forwarding: self.forwarding,
            own_range: own,
            active_port: active,
            active_ports: None,
            own_active_port: active.is_some(),
            client_prefix: if own.is_some() { self.prefix } else { 128 },
            passive_ports: passive.unwrap_or(PortRange::UNPRIVILEGED),
            public_ports: self.public,
        }
    }

    fn policies(&self) -> Policies {
        let advertise = if let IpAddr::V4(vip) = self.vip { Some(vip) } else { None };
        let explicit = Policy {
            replies: if self.nat() { Replies::Seen } else { Replies::Unseen },
            advertise: advertise.filter(|_| self.nat()),
            bounce: self.bounce,
            line_limit: LINE,
            implicit_tls: false,
            names: false,
            public_ports: self.public.is_some(),
        };
        Policies { implicit: Policy { implicit_tls: true, ..explicit.clone() }, explicit }
    }
}

/// A server's own range, and its range: disjoint, one for all, none, or some of each.
fn ranges(layout: u8, number: u16) -> (Option<PortRange>, Option<PortRange>) {
    let own = PortRange::new(31000 + 1000 * number, 31099 + 1000 * number);
    let shared = PortRange::new(40000, 40099);
    match (layout, number) {
        (0, _) | (3, 0) => (own, own),
        (2, _) => (None, None),
        (_, _) => (None, shared),
    }
}

/// An address of either family that ends like this one.
pub(super) fn address(v6: bool, [a, b, c, d]: [u8; 4]) -> IpAddr {
    if v6 {
        let [a, b, c, d] = [a, b, c, d].map(u16::from);
        IpAddr::from([0x2001, 0xdb8, a, b, c, 0, 0, d])
    } else {
        Ipv4Addr::new(a, b, c, d).into()
    }
}
